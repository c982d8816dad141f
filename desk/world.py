"""The world one order is reviewed in: gathered from ledger, broker and market, never guessed.

What is missing is handed on as missing; the gates refuse what they cannot read.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from brokers.base import BrokerAccount
from desk.protection import pieces
from desk.tools import Tools
from domain.calendars import NEW_YORK
from domain.commands import Kind
from domain.context import Context, Sent
from domain.instruments import instrument
from domain.orders import Order, OrderRequest, Purpose
from domain.positions import Account
from domain.trading_state import TradingState

ZERO = Decimal(0)
ENGINE = "engine"
ACCOUNTS_LAST = timedelta(seconds=5)
TRIPS_OF = timedelta(days=2)  # longer than any day, and than the longest cool-down


async def context(
    tools: Tools,
    request: OrderRequest,
    *,
    actor: str,
    linked: frozenset[str] = frozenset(),
    fees: Decimal = ZERO,
    root: str = "",
) -> Context:
    """Everything the gates look at, for this request; `root` is the first of the orders it was changed from: what was
    sent for those does not count against the pace of orders."""
    now, account, what = tools.now(), request.account, instrument(request.symbol)
    quote = await tools.facts.quote(what.symbol)
    at_broker = await _broker_account(tools, account)
    resting = _resting(tools, account)
    held = _held(tools.reader.account(account))
    symbols = sorted({what.symbol, *held, *(order.request.symbol for order in resting)})
    for symbol in symbols:
        await tools.facts.quote(symbol)
    prices = {s: price for s in symbols if (price := tools.facts.price(s)) is not None}
    equity = equity_of(tools, account)
    breaker = tools.reader.breaker(account)
    began = day_began(now, what.zone)
    history = await tools.facts.history(what.symbol)
    switch = _switches(tools, account, what.symbol)
    return Context(
        now=now,
        account=account,
        account_kind=at_broker.kind,
        global_state=switch[0],
        account_state=switch[1],
        instrument_state=switch[2],
        mode_armed=_armed(tools, request),
        actor=actor,
        actor_allowed=actor == ENGINE or tools.authority.still(actor, Kind.PLACE),
        broker_ready=tools.ready and (request.purpose is not Purpose.ENTRY or _may_open(tools, account)),
        market=what.calendar.state(now),
        opened=what.calendar.opened(now),
        clock_skew_s=_skew(tools),
        instrument=what,
        quote=quote,
        simulated=tools.facts.simulated,
        accept_simulated=tools.place.simulated,
        accept_delayed=tools.place.accepts_delayed,
        equity=equity,  # type: ignore[arg-type]  # None where a price is missing: the gates refuse it
        day_start_equity=breaker.start_equity if breaker and breaker.start_equity else equity,  # type: ignore[arg-type]
        peak_equity=max(tools.peaks.get(account, ZERO), equity or ZERO),
        breaker_latched=breaker.latched if breaker else False,
        day_began=began,
        cash=at_broker.cash,
        settled_cash=at_broker.settled_cash,
        buying_power=at_broker.buying_power,
        positions=held,
        prices=prices,
        resting=resting,
        recent=_recent(tools, account, began, root),
        consecutive_refusals=tools.reader.refusals_in_a_row(account, _released(tools)),
        adv=history.volume,
        sectors={symbol: instrument(symbol).sector for symbol in symbols},
        correlations=await tools.facts.correlations(_involved(request, held, resting)),
        trips=tools.reader.round_trips(account, now - TRIPS_OF),
        frozen=tools.frozen,
        linked=linked,
        bought_unsettled=at_broker.bought_unsettled,
        fees=fees,
    )


def equity_of(tools: Tools, account: str) -> Decimal | None:
    """Cash and positions at the last prices; None where a held symbol has none, or the account is unknown."""
    folded = tools.reader.account(account)
    if folded is None:
        return None
    prices = {s: price for s, p in folded.positions.items() if p.quantity and (price := tools.facts.price(s))}
    try:
        return folded.equity(prices)
    except KeyError:
        return None


def day_began(now: datetime, zone: str = "America/New_York") -> datetime:
    """The first moment of the exchange's day."""
    local = now if zone == "UTC" else now.astimezone(NEW_YORK)
    return local.replace(hour=0, minute=0, second=0, microsecond=0)


def _armed(tools: Tools, request: OrderRequest) -> bool:
    """Entries need an armed account. What this desk once bought is protected and closed also after it was disarmed."""
    if not tools.place.needs_arming:
        return True
    arming = tools.reader.arming()
    if request.purpose is Purpose.ENTRY:
        return arming.armed and arming.account == request.account
    position = tools.reader.positions(request.account).get(request.symbol)
    return arming.account == request.account and (arming.armed or tools.ours(position) != 0)


def _may_open(tools: Tools, account: str) -> bool:
    """Ledger and broker have agreed, and it still tells about orders."""
    return tools.compared and not tools.deaf and account not in tools.blocked


def _skew(tools: Tools) -> float:
    """Our clock minus the broker's; no number where its clock was never seen, which no gate lets pass."""
    skew = tools.broker.clock_skew_s
    return float("nan") if skew is None else -skew


async def _broker_account(tools: Tools, name: str) -> BrokerAccount:
    """One whose questions are counted has said it a moment ago: its preview asks for the money once more."""
    if not tools.broker.polled or tools.now() - tools.accounts_at > ACCOUNTS_LAST:
        tools.accounts = await tools.broker.accounts()
        tools.accounts_at = tools.now()
    found = {account.name: account for account in tools.accounts}
    if name not in found:
        raise LookupError(f"no account is called {name!r}: there are {', '.join(found) or 'none'}")
    return found[name]


def _resting(tools: Tools, account: str) -> tuple[Order, ...]:
    """The open orders; of a pair that cancels itself each leg is as large as what both have left."""
    orders = [order for order in tools.reader.open_orders(account) if order.id not in tools.overdue]
    family = tools.reader.family({order.parent for order in orders if order.parent})
    left = {piece.parent: piece.remaining for piece in pieces(family)}
    return tuple(
        replace(order, filled=order.request.quantity - left[order.parent]) if order.parent in left else order
        for order in orders
    )


def _held(account: Account | None) -> dict[str, Decimal]:
    return {s: p.quantity for s, p in account.positions.items() if p.quantity} if account else {}


def _switches(tools: Tools, account: str, symbol: str) -> tuple[TradingState, TradingState, TradingState]:
    """The desk's, the account's and the instrument's, each as strict as the whole where it cannot be told apart."""
    return (
        tools.reader.trading_state().state,
        tools.reader.trading_state(account).state,
        tools.reader.trading_state(account, symbol).state,
    )


def _recent(tools: Tools, account: str, began: datetime, root: str) -> tuple[Sent, ...]:
    """What went out today, but for the exits that follow an entry by themselves."""
    sent = tools.reader.sent_since(account, began)
    counted = (s for s in sent if s.purpose in (Purpose.ENTRY, Purpose.EXIT))
    return tuple(Sent(s.time, s.symbol, s.side) for s in counted if not root or root not in (s.order_id, s.parent))


def _released(tools: Tools) -> datetime | None:
    """When a person last set the desk's switch: refusals before that have been looked at."""
    return tools.reader.trading_state().at


def _involved(request: OrderRequest, held: dict[str, Decimal], resting: Iterable[Order]) -> set[str]:
    entries = {order.request.symbol for order in resting if order.request.purpose is Purpose.ENTRY}
    return {request.symbol, *held, *entries}
