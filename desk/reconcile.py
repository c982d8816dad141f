"""Recovery, which is the start, and the look that repeats it: the ledger made to agree with the broker, or frozen.

The rule: what differs is never traded away. Entries stop, the difference is said in numbers, a person decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal

from brokers.base import BrokerAccount, BrokerFill, BrokerOrder, CashMove
from desk.crash import crash_point
from desk.differences import Difference, differences
from desk.hearing import hear, told
from desk.records import Adjustment
from desk.resolving import resolve
from desk.schema import EPOCH
from desk.sending import lapse, press_cancels
from desk.tools import Tools
from domain.errors import BrokerUnavailable
from domain.orders import UNCERTAIN, Fill, Side, Status

LOOK_BACK = timedelta(days=4)
CLOCK_MAY_DIFFER = timedelta(seconds=5)
A_MOMENT = timedelta(seconds=2)
ROUNDING_A_FILL, ROUNDING_AT_MOST = Decimal("0.05"), Decimal(5)
ZERO, CENT = Decimal(0), Decimal("0.01")


async def recover(tools: Tools) -> None:
    """Everything a start must know before it may act. BrokerUnavailable where the broker does not answer, SignInNeeded
    where it wants a person first."""
    crash_point("during_recovery")
    tools.ready = tools.compared = False
    accounts = await tools.broker.accounts()
    if not accounts:
        raise BrokerUnavailable(f"{tools.broker.label} has no account")
    await _found_accounts(tools, accounts)
    lapse(tools)
    await resolve(tools)
    await hear(tools, since=_since(tools))
    if tools.deaf:
        raise BrokerUnavailable(tools.problems.get("broker") or f"{tools.broker.label} does not tell about orders")
    await press_cancels(tools)
    await reconcile(tools)
    _look_at_the_clock(tools)
    tools.ready, tools.waits = True, ""


def _look_at_the_clock(tools: Tools) -> None:
    """Time that went back fills nothing: the venue has seen later prices already."""
    newest = tools.reader.fills(most=1)
    if newest and newest[0].fill.time > tools.now() + CLOCK_MAY_DIFFER:
        said = (
            f"The clock says {tools.now():%d %b %H:%M:%S}, the last fill is of {newest[0].fill.time:%d %b %H:%M:%S} UTC"
        )
        tools.note("clock", f"{said}: nothing fills until that time is reached again.")


def _since(tools: Tools) -> datetime:
    """From when on the broker is asked: some days before the last fill we heard of, or from the beginning, which is
    the ledger's where sums are told (those of before are in what it began with)."""
    newest = tools.reader.fills(most=1)
    if newest:
        return newest[0].fill.time - LOOK_BACK
    return EPOCH if tools.broker.tells_fills else _last_agreed(tools) - LOOK_BACK


# Accounts the ledger sees for the first time


async def _found_accounts(tools: Tools, accounts: Iterable[BrokerAccount]) -> None:
    """They begin with the cash and the shares they had before any trade the broker still tells."""
    known = {account.name for account in tools.reader.accounts()}
    new = [account for account in accounts if account.name not in known]
    if not new:
        return
    fills = await tools.broker.fills(EPOCH) if tools.broker.tells_fills else await _sums(tools, new)
    moves = await tools.broker.cash_moves(tools.now())
    with tools.write() as write:
        for account in new:
            traded = [fill for fill in fills if fill.account == account.name]
            held = _held_before(account, traded, tools.now()) if not tools.broker.tells_fills else []
            moved = sum((-f.side.sign * f.quantity * f.price - f.fee for f in [*held, *traded]), ZERO)
            write.add_account(account.name, str(account.kind), account.cash - moved)
            for f in [*held, *traded]:  # from before this ledger began: nobody's order here
                write.add_fill(Fill(f.id, "", f.account, f.symbol, f.side, f.quantity, f.price, f.time, f.fee))
                tools.heard.add(f.id)
        for move in moves:  # of today, and in the cash already
            write.adjust(Adjustment(_move_id(move), move.account, reason=f"before this ledger: {move.what}"[:200]))


async def _sums(tools: Tools, new: Iterable[BrokerAccount]) -> list[BrokerFill]:
    """What the orders of the last days have filled, each as one fill. The shares must stand still meanwhile."""
    listed = [one for one in await tools.broker.orders(tools.now() - LOOK_BACK) if one.average_price]
    again = {account.name: account for account in await tools.broker.accounts()}
    if any(again.get(account.name) != account for account in new):
        raise BrokerUnavailable("the account moved while it was read for the first time: it is read again")
    return [_sum(one) for one in sorted(listed, key=lambda one: (one.updated, one.broker_id))]


def _sum(one: BrokerOrder) -> BrokerFill:
    price = one.average_price or ZERO
    what = (one.account, one.symbol, one.side, one.filled, price, one.fees)
    return BrokerFill(told(one), one.broker_id, *what, time=one.updated, recorded=one.updated)


def _held_before(account: BrokerAccount, traded: Iterable[BrokerFill], now: datetime) -> list[BrokerFill]:
    """The shares that were there before these trades, as if bought at what the broker says they cost."""
    before = dict(account.positions)
    for fill in traded:
        before[fill.symbol] = before.get(fill.symbol, ZERO) - fill.side.sign * fill.quantity
    found = []
    for symbol, quantity in sorted(before.items()):
        cost = account.costs.get(symbol) or CENT
        if quantity:
            side = Side.BUY if quantity > 0 else Side.SELL
            what = (account.name, symbol, side, abs(quantity), max(cost, CENT), ZERO)
            found.append(BrokerFill(f"{account.name}:before:{symbol}", "", *what, time=now, recorded=now))
    return found


# The comparison


async def reconcile(tools: Tools) -> None:
    """Cash to the cent and positions to the share, ledger beside broker; what differs freezes the symbol. Where the
    broker has not told everything yet there is nothing to compare. One whose answers come one after the other is
    asked twice: something may have filled between them."""
    found = await _compared(tools)
    if found and tools.broker.polled:
        await _explain(tools, found)
        again = await _compared(tools, again=True)
        found = again if again is None else [one for one in found if one in again]
    if found is None:
        _freeze(tools)
        return
    unsure = _unsure(tools)
    if unsure:  # of these, and of the money they move, nothing new can be said
        kept = [one for one in tools.differing if one["about"] in (*unsure, "cash")]
        tools.differing = [*kept, *(one.to_json() for one in found)]
    else:
        tools.compared, tools.differing = True, [one.to_json() for one in found]
    tools.suspect &= unsure
    for about in [about for about in tools.problems if about.startswith("differs ")]:
        tools.clear(about)
    for one in tools.differing:
        tools.note(f"differs {one['account']} {one['about']}", one["said"])
    tools.blocked = frozenset(one["account"] for one in tools.differing)
    _freeze(tools)


def _unsure(tools: Tools) -> set[str]:
    """Symbols with an order nobody knows about."""
    return {order.request.symbol for order in tools.reader.open_orders() if order.status in UNCERTAIN}


def _freeze(tools: Tools) -> None:
    """Symbols that differ, and those of orders a person must look at."""
    asked = (o.request.symbol for o in tools.reader.open_orders() if o.status is Status.FROZEN)
    tools.frozen = frozenset([*asked, *(one["about"] for one in tools.differing if one["about"] != "cash")])


async def _compared(tools: Tools, *, again: bool = False) -> list[Difference] | None:
    """What differs now; None where it cannot be said yet. What a polled broker told a moment ago need not be asked for
    anew, but to look `again` at what differs."""
    asked = tools.now()
    if tools.broker.polled and not again and timedelta() <= asked - tools.heard_until < A_MOMENT:
        asked = tools.heard_until
    else:
        await hear(tools, since=min(tools.heard_until, asked))
    if tools.heard_until < asked:
        return None
    accounts, unsure = await tools.broker.accounts(), _unsure(tools)
    found = [one for account in accounts for one in differences(tools, account)]
    return [one for one in found if one.about not in unsure and not (unsure and one.about == "cash")]


async def _explain(tools: Tools, found: Iterable[Difference]) -> None:
    """Cash that moved without a trade is booked as what the broker calls it; cents that its fees and averages round
    away, as that."""
    cash = [one for one in found if one.about == "cash"]
    if not cash:
        return
    moves = await tools.broker.cash_moves(_last_agreed(tools))
    with tools.write() as write:
        for move in moves:
            write.adjust(Adjustment(_move_id(move), move.account, cash=move.amount, reason=move.what[:200]))
    for one in cash:
        account = next((a for a in await tools.broker.accounts() if a.name == one.account), None)
        folded = tools.reader.account(one.account)
        if account is None or folded is None:
            continue
        left = round(account.cash, 2) - round(folded.cash, 2)
        fills = tools.reader.fills_since_cash_agreed(one.account)
        if left and abs(left) <= min(ROUNDING_A_FILL * fills, ROUNDING_AT_MOST):
            id_ = f"{one.account}:rounding:{tools.now().isoformat()}"
            reason = f"fees and averages as {tools.broker.label} rounds them, {fills} fills"
            with tools.write() as write:
                write.adjust(Adjustment(id_, one.account, cash=left, reason=reason))


def _move_id(move: CashMove) -> str:
    return f"{move.account}:{move.id}"


def _last_agreed(tools: Tools) -> datetime:
    """The ledger's beginning: what was booked since is known by its id."""
    return min((account.created for account in tools.reader.accounts()), default=tools.now())
