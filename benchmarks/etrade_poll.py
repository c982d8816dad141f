"""How fast E*TRADE's quotes come in within its limits: 500 symbols at three calls a second, and what one poll costs."""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from benchmarks.report import Goal, Section, Spread, Table, time_of
from domain.clock import ManualClock
from domain.instruments import Instrument, instrument
from etrade.transport import AiohttpTransport, Reply, Request
from etrade.vault import Vault, file_key
from feeds import etrade as feed_file
from feeds.etrade import A_CALL, CALLS_A_SECOND, EtradeFeed
from settings import Settings
from simulator.running import FRIDAY, Running, running
from tests.etrade_person import code_of

SYMBOLS = 500
HOW = (
    "The feed asks a local E*TRADE that refuses what comes too fast. **Floor**: the seconds that three calls a second "
    "take when the first three go at once and answers take no time. **A poll**: one call for 25 symbols, from the "
    "question to 25 quotes folded into their minutes, and the bytes of the answer's body."
)


@dataclass
class _Counting:
    """The real transport, and how many bytes came."""

    inner: AiohttpTransport = field(default_factory=AiohttpTransport)
    bytes: int = 0

    async def send(self, request: Request) -> Reply:
        reply = await self.inner.send(request)
        self.bytes += len(reply.body)
        return reply

    async def close(self) -> None:
        await self.inner.close()


def measure(quick: bool) -> Section:
    """All of it against one simulator in this process."""
    symbols = 150 if quick else SYMBOLS
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, running(limited=True) as sim:
        for number in range(symbols):
            sim.price(_name(number), str(Decimal(100 + number % 50)))
        return asyncio.run(_measured(Path(folder), sim, symbols, 20 if quick else 60, 1 if quick else 3))


async def _measured(folder: Path, sim: Running, symbols: int, polls: int, turns: int) -> Section:
    counting = _Counting()
    settings = Settings(data_dir=folder, etrade_environment="simulator", etrade_simulator_url=sim.url)
    clock = ManualClock(FRIDAY)
    feed = EtradeFeed(settings, clock, transport=counting, store=Vault(settings.etrade_dir, file_key))
    await feed.session.finish(await asyncio.to_thread(code_of, await feed.session.link()))
    wanted = [instrument(_name(number)) for number in range(symbols)]
    rows, goals = [], []
    for words, size in (("50 a call", feed_file.A_WIDE_CALL), ("25 a call", A_CALL)):
        times = [await _refreshed(feed, wanted, size) for _ in range(turns)]
        calls, spread = -(-symbols // size), Spread.of(times)
        floor = -(-calls // CALLS_A_SECOND) - 1
        rows.append([f"{symbols} symbols, {words}: {calls} calls", spread.time(), f"floor {time_of(floor)}"])
        goals.append(Goal(f"{symbols} symbols, {words}: seconds / floor", 1.1, spread.median / floor))
    took, size_of = await _polls(feed, wanted[:A_CALL], counting, polls)
    told = sim.control("counters", "GET")
    over = sum(told["over_limit"].values())
    rows.append([f"a poll of {A_CALL} symbols", took.time(), f"{took.count} polls"])
    rows.append(["bytes of its answer", f"{size_of:,.0f}", f"{size_of / A_CALL:,.0f} a symbol"])
    rows.append(["most calls in a second, as E*TRADE counts", str(told["busiest_second"]["market"]), "4 are allowed"])
    goals.append(Goal("calls over E*TRADE's limits", 0, over))
    await feed.close()
    return Section("E*TRADE's quotes", HOW, Table(["What", "Median", "Beside"], rows), goals)


async def _refreshed(feed: EtradeFeed, wanted: list[Instrument], size: int) -> float:
    """Seconds until every symbol has a new quote, with so many a call, from a fresh second on."""
    await asyncio.sleep(1.2)
    usual, feed_file.A_WIDE_CALL = feed_file.A_WIDE_CALL, size
    begin = time.perf_counter()
    try:
        found = await feed.quotes(wanted)
    finally:
        feed_file.A_WIDE_CALL = usual
    assert len(found) == len(wanted)
    return time.perf_counter() - begin


async def _polls(feed: EtradeFeed, wanted: list[Instrument], counting: _Counting, many: int) -> tuple[Spread, float]:
    times, before = [], counting.bytes
    for _ in range(many):
        begin = time.perf_counter()
        await feed.quotes(wanted)
        times.append(time.perf_counter() - begin)
        await asyncio.sleep(max(0.0, 0.3 - times[-1]))
    return Spread.of(times), (counting.bytes - before) / many


def _name(number: int) -> str:
    return f"Q{number:03}"
