"""A whole day and night of trading on a virtual clock: 31 symbols, two accounts, a busy trader, restarts in between.

python -m tests.campaigns.day [seed]      cash to the cent and positions to the share, ledger beside broker beside sum
"""

from __future__ import annotations

import asyncio
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from pathlib import Path
from typing import Any

from domain.calendars import Phase, calendar
from domain.clock import ManualClock
from domain.commands import Kind
from domain.instruments import KNOWN
from domain.orders import AT_BROKER, Fill, Purpose
from tests.trading import PaperDesk

SYMBOLS = [symbol for symbol, what in KNOWN.items() if not what.is_crypto][:31]
BEGINS = datetime(2026, 11, 20, 13, 0, tzinfo=UTC)  # Friday, 08:00 New York
LASTS = timedelta(hours=24)
ACCOUNTS = {"main": D(100_000), "savings": D(50_000)}
LIMITS = {"max_orders_per_day": 5000, "max_orders_per_minute": 60, "max_open_positions": 40, "duplicate_window_s": 5}


@dataclass(slots=True)
class Seen:
    """What happened, and a sentence for whatever went wrong."""

    turns: int = 0
    commands: Counter[str] = field(default_factory=Counter)
    restarts: int = 0
    fills: int = 0
    orders: int = 0
    problems: list[str] = field(default_factory=list)
    unprotected_s: float = 0.0
    rss_mb: tuple[float, float] = (0.0, 0.0)


async def live(folder: Path, seed: int, lasts: timedelta = LASTS) -> Seen:
    """The day, then everything counted."""
    chance, seen = random.Random(seed), Seen()
    accounts = "main:margin:100000,savings:cash:50000"
    desk = PaperDesk(folder, accounts=accounts, clock=ManualClock(BEGINS))
    desk.prices.last = {symbol: D(chance.randrange(2_000, 40_000)) / 100 for symbol in SYMBOLS}
    await desk.start()
    for name, value in LIMITS.items():
        await desk.ask(Kind.SET_LIMIT, name=name, value=value)
    end, checked = BEGINS + lasts, 0
    begun = _memory_mb()
    while desk.clock.now() < end:
        regular = calendar("XNYS").phase(desk.clock.now()) is Phase.OPEN
        _move(desk, chance, regular)
        _wish(desk, chance, seen, regular)
        await desk.tick(seconds=5 if regular else 60)
        seen.turns += 1
        if chance.random() < 0.004:
            await desk.stop()
            await desk.start()
            seen.restarts += 1
        if seen.turns - checked >= 200:
            checked = seen.turns
            seen.problems += await _differences(desk)
        if seen.turns == 500:
            begun = _memory_mb()
    await desk.tick(20)
    seen.problems += await _differences(desk)
    assert desk.engine is not None
    seen.problems += desk.problems()
    seen.unprotected_s = desk.engine.supervisor.longest_naked.total_seconds()
    seen.fills = len(desk.reader.fills(most=100_000))
    seen.orders = len(desk.reader.orders_between(BEGINS, desk.clock.now()))
    seen.rss_mb = (begun, _memory_mb())
    await desk.stop()
    return seen


def _move(desk: PaperDesk, chance: random.Random, regular: bool) -> None:
    """Each price takes a step of some cents, now and then a jump."""
    for symbol in SYMBOLS:
        size = 0.004 if chance.random() < 0.01 else 0.0004
        moved = float(desk.prices.last[symbol]) * (1 + chance.gauss(0, size if regular else size / 4))
        desk.prices.last[symbol] = max(D("5.00"), D(str(round(moved, 2))))


def _wish(desk: PaperDesk, chance: random.Random, seen: Seen, regular: bool) -> None:
    """Now and then the trader wants something; most of it in regular hours."""
    if chance.random() > (0.35 if regular else 0.05):
        return
    account, symbol = chance.choice(list(ACCOUNTS)), chance.choice(SYMBOLS)
    kind, payload = _command(desk, chance, account, symbol)
    seen.commands[kind] += 1
    desk.append(kind, payload)


def _command(desk: PaperDesk, chance: random.Random, account: str, symbol: str) -> tuple[Kind, dict[str, Any]]:
    last = desk.prices.last[symbol]
    held = sorted(desk.reader.positions(account))
    what = chance.choices(("enter", "close", "protect", "cancel", "change"), (10, 3, 2, 1, 2))[0]
    open_ = [
        o for o in desk.reader.open_orders(account) if o.request.purpose is Purpose.ENTRY and o.status in AT_BROKER
    ]
    if what == "close" and held:
        percent = chance.choice(("25", "50", "75", "100"))
        return Kind.CLOSE, {"account": account, "symbol": chance.choice(held), "percent": percent, "type": "market"}
    if what == "protect" and held:
        symbol = chance.choice(held)
        return Kind.PROTECT, {
            "account": account,
            "symbol": symbol,
            "stop": _cents(desk.prices.last[symbol] * D("0.98")),
        }
    if what == "cancel" and open_:
        return Kind.CANCEL, {"order": chance.choice(open_).id}
    if what == "change" and open_:
        order = chance.choice(open_)
        if order.request.limit is not None:
            return Kind.CHANGE, {
                "order": order.id,
                "limit": _cents(desk.prices.last[order.request.symbol] * D("0.999")),
            }
    limit = _cents(last * D("0.9995")) if chance.random() < 0.5 else None
    request = {
        "account": account,
        "symbol": symbol,
        "side": "buy",
        "quantity": str(max(1, int(chance.uniform(500, 6000) / float(last)))),
        "type": "limit" if limit else "market",
        "limit": limit,
        "time_in_force": chance.choice(("day", "good till cancelled")),
        "session": "regular",
        "purpose": "entry",
        "stop_loss": _cents(last * D("0.99")) if chance.random() < 0.9 else None,
        "target": _cents(last * D("1.01")) if chance.random() < 0.7 else None,
    }
    return Kind.PLACE, {"request": request}


def _cents(price: D) -> str:
    return f"{price:.2f}"


async def _differences(desk: PaperDesk) -> list[str]:
    """Cash and positions: the ledger's fold, the broker's word, and the plain sum over every fill."""
    found = []
    at_broker = {account.name: account for account in await desk.broker.accounts()}
    fills = [heard.fill for heard in desk.reader.fills(most=100_000)]
    for name, start in ACCOUNTS.items():
        folded = desk.reader.account(name)
        assert folded is not None
        mine = [fill for fill in fills if fill.account == name]
        cash = start + sum((fill.cash for fill in mine), D(0))
        positions = {s: q for s, q in _sums(mine).items() if q}
        if not folded.cash == cash == at_broker[name].cash:
            found.append(f"{desk.clock.now()}: cash of {name}: {folded.cash}, {cash}, {at_broker[name].cash}")
        if not desk_positions(desk, name) == positions == dict(at_broker[name].positions):
            found.append(f"{desk.clock.now()}: positions of {name} differ: {positions}, {at_broker[name].positions}")
    return found


def _sums(fills: list[Fill]) -> dict[str, D]:
    held: dict[str, D] = {}
    for fill in fills:
        held[fill.symbol] = held.get(fill.symbol, D(0)) + fill.side.sign * fill.quantity
    return held


def _memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def desk_positions(desk: PaperDesk, account: str) -> dict[str, D]:
    """What the ledger says is held."""
    return {symbol: position.quantity for symbol, position in desk.reader.positions(account).items()}


def run(evidence: Path, seed: int = 7, lasts: timedelta = LASTS) -> bool:
    """The campaign; writes what it found and says whether it found nothing."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        seen = asyncio.run(live(Path(folder), seed, lasts))
    commands = ", ".join(f"{count:,} {kind}" for kind, count in sorted(seen.commands.items()))
    evidence.write_text(
        "# A day and a night\n\n"
        f"{lasts} on a virtual clock from Friday 08:00 New York, {len(SYMBOLS)} symbols, a margin and a cash account, "
        f"seed {seed}: {seen.turns:,} turns of the engine, {commands}; {seen.orders:,} orders, {seen.fills:,} fills, "
        f"{seen.restarts} restarts, in {time.perf_counter() - begin:.0f} s.\n\n"
        f"Cash to the cent and positions to the share, every 200 turns and at the end, ledger beside broker beside the "
        f"plain sum over all fills; then the whole ledger against itself. Differences: {len(seen.problems)}. "
        f"Longest time a position stood without its stop: {seen.unprotected_s:g} s of virtual time (a turn is 5 s). "
        f"Memory {seen.rss_mb[0]:.0f} MB after 500 turns, {seen.rss_mb[1]:.0f} MB at the end.\n"
        + "".join(f"- {problem}\n" for problem in seen.problems[:20]),
        encoding="utf-8",
    )
    return not seen.problems


if __name__ == "__main__":
    report = Path(tempfile.mkdtemp()) / "day.md"
    sound = run(report, *map(int, sys.argv[1:2]))
    print(report.read_text(encoding="utf-8"))
    sys.exit(not sound)
