"""Recovery, which is the start, and the look that repeats it: the ledger made to agree with the broker, or frozen.

The rule: what differs is never traded away. Entries stop, the difference is said in numbers, a person decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal

from brokers.base import BrokerAccount
from desk.crash import crash_point
from desk.schema import EPOCH
from desk.sending import hear, lapse, press_cancels, resolve
from desk.tools import Tools
from domain.errors import BrokerUnavailable
from domain.orders import UNCERTAIN, Fill

LOOK_BACK = timedelta(days=4)
CLOCK_MAY_DIFFER = timedelta(seconds=5)
ZERO = Decimal(0)


async def recover(tools: Tools) -> None:
    """Everything a start must know before it may act. BrokerUnavailable where the broker does not answer."""
    crash_point("during_recovery")
    accounts = await tools.broker.accounts()
    if not accounts:
        raise BrokerUnavailable(f"{tools.broker.label} has no account")
    await _found_accounts(tools, accounts)
    lapse(tools)
    await resolve(tools)
    await hear(tools, since=_since(tools))
    await press_cancels(tools)
    await reconcile(tools)
    _look_at_the_clock(tools)
    tools.ready = True


def _look_at_the_clock(tools: Tools) -> None:
    """Time that went back fills nothing: the venue has seen later prices already."""
    newest = tools.reader.fills(most=1)
    if newest and newest[0].fill.time > tools.now() + CLOCK_MAY_DIFFER:
        said = (
            f"The clock says {tools.now():%d %b %H:%M:%S}, the last fill is of {newest[0].fill.time:%d %b %H:%M:%S} UTC"
        )
        tools.note("clock", f"{said}: nothing fills until that time is reached again.")


def _since(tools: Tools) -> datetime:
    """From when on the broker is asked: some days before the last fill we heard of, or from the beginning."""
    newest = tools.reader.fills(most=1)
    return newest[0].fill.time - LOOK_BACK if newest else EPOCH


async def _found_accounts(tools: Tools, accounts: Iterable[BrokerAccount]) -> None:
    """Accounts the ledger sees for the first time begin with the cash they had before any trade the broker tells."""
    known = {account.name for account in tools.reader.accounts()}
    new = [account for account in accounts if account.name not in known]
    if not new:
        return
    fills = await tools.broker.fills(EPOCH)
    with tools.write() as write:
        for account in new:
            told = [fill for fill in fills if fill.account == account.name]
            moved = sum((-f.side.sign * f.quantity * f.price - f.fee for f in told), ZERO)
            write.add_account(account.name, str(account.kind), account.cash - moved)
            for f in told:  # traded before this ledger began: nobody's order here
                write.add_fill(Fill(f.id, "", f.account, f.symbol, f.side, f.quantity, f.price, f.time, f.fee))
                tools.heard.add(f.id)


async def reconcile(tools: Tools) -> None:
    """Cash to the cent and positions to the share, ledger beside broker; what differs freezes the symbol. Where the
    broker has not told everything yet there is nothing to compare."""
    asked = tools.now()
    await hear(tools, since=min(tools.heard_until, asked))
    if tools.heard_until < asked or any(o.status in UNCERTAIN for o in tools.reader.open_orders()):
        return
    wrong: dict[str, str] = {}
    for account in await tools.broker.accounts():
        wrong |= _differences(tools, account)
    for about in [about for about in tools.problems if about.startswith("differs ")]:
        tools.clear(about)
    for about, said in wrong.items():
        tools.note(f"differs {about}", said)
    tools.frozen = frozenset(about.split(" ")[-1] for about in wrong if not about.endswith(" cash"))
    tools.blocked = frozenset(about.split(" ")[0] for about in wrong)


def _differences(tools: Tools, at_broker: BrokerAccount) -> dict[str, str]:
    folded = tools.reader.account(at_broker.name)
    if folded is None:
        return {}
    found: dict[str, str] = {}
    ours = {s: p.quantity for s, p in folded.positions.items() if p.quantity}
    for symbol in sorted({*ours, *at_broker.positions}):
        here, there = ours.get(symbol, ZERO), at_broker.positions.get(symbol, ZERO)
        if here != there:
            said = f"{symbol} in {at_broker.name}: the ledger has {here}, the broker {there}. Nothing is traded in it"
            found[f"{at_broker.name} {symbol}"] = f"{said} until a person has looked."
    if folded.cash != at_broker.cash:
        said = f"Cash of {at_broker.name}: the ledger has {folded.cash}, the broker {at_broker.cash}."
        found[f"{at_broker.name} cash"] = f"{said} Entries wait until a person has looked."
    return found
