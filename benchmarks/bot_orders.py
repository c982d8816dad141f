"""From a quote that closes a bar to the order in the ledger: the whole engine on paper, 31 and 500 symbols."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from backtest.setup import Exit, Setup
from benchmarks.report import Section, Table, time_of
from desk import crash
from desk.adoptions import State, adoptions, decisions
from desk.looking import bucket_of
from domain import candles as cd
from domain.candles import Timeframe
from domain.clock import Clock, ManualClock
from domain.commands import CommandState, Kind
from domain.instruments import Instrument, instrument
from domain.orders import Purpose
from strategies.base import Floats
from tests.trading import MORNING, PaperDesk, Prices

FAST, SLOW = 5, 15
HISTORY = 200
MOST_SYMBOLS = 50
RISES = 6  # bars that a symbol stays up
SIZES = {31: (2, 60), 500: (4, 40)}  # symbols that rise at each bar, and bars
MINUTE = cd.timeframe("1m")
LIMITS = {
    "max_open_positions": 200,
    "max_orders_per_minute": 60,
    "max_orders_per_day": 5_000,
    "duplicate_window_s": 1,
}
HOW = (
    "SMA 5/15, long only, by the minute, with a stop of 5 %, at work on a paper desk: real engine, gates, SQLite "
    "ledger (`synchronous=FULL`) and paper broker; the feed hands over closed bars and quotes at once. At each bar "
    "some symbols begin to rise and some that had risen are sold: 2 of 31, 4 of 500. Timed from the moment the closing "
    "quote is there to the commit that writes the order (it is sent after that, never before): each order's own time, "
    "through look, stream, decision, the decision's commit, 16 gates and the order's commit, one order after the "
    "other. A sale first takes its stop away. *Turn upon turn*: the work alone. *At its pace*: the engine as it runs, "
    "which begins a turn each quarter of a second. Plain pandas works out the same decisions of the same symbols with "
    "two `rolling` means over a warm-up and one bar, in a frame that is already there, and writes nothing."
)


def measure(quick: bool) -> Section:
    """Each size in a process of its own, for its memory."""
    rows, notes = list[list[str]](), list[str]()
    held: dict[int, float] = {}
    for symbols in SIZES:
        found = _child(symbols, quick)
        held[symbols] = found["held"]
        rows += [_row(symbols, name, found[name]) for name in TIMED]
        work, peer = (float(np.median(found[name])) for name in ("decisions", "pandas"))
        alike = f"{found['alike']:,} of {found['compared']:,}"
        notes.append(
            f"{symbols} symbols: pandas and the engine decide alike in {alike} decisions. The engine's, checked, "
            f"sized, held against what it has and committed, take {work / peer:,.0f} times as long as pandas' alone."
        )
    few, many = SIZES
    each = (held[many] - held[few]) / (many - few) / 1e3
    notes.append(
        f"Memory of the process with {few} symbols at work {held[few] / 1e6:,.0f} MB, with {many} "
        f"{held[many] / 1e6:,.0f} MB: {each:,.1f} kB a symbol, with its quotes, streams, last bars and books; the "
        "frames that stand for the source's store are left out."
    )
    notes.append(f"Load average of the machine at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores.")
    return Section("From a quote to an order", HOW, Table(["Symbols", "", "p50", "p99", "Timed"], rows), notes=notes)


TIMED = {
    "decisions": "all decisions of a bar written, turn upon turn",
    "pandas": "all decisions of a bar, plain pandas, unwritten",
    "entries": "a purchase in the ledger, turn upon turn",
    "sales": "a sale in the ledger, turn upon turn",
    "paced entries": "a purchase in the ledger, at its pace",
    "paced sales": "a sale in the ledger, at its pace",
}


def _row(symbols: int, name: str, seen: list[float]) -> list[str]:
    middle, worst = np.percentile(seen, [50, 99])
    return [f"{symbols}", TIMED[name], time_of(float(middle)), time_of(float(worst)), f"{len(seen):,}"]


def _child(symbols: int, quick: bool) -> dict[str, Any]:
    rises, bars = SIZES[symbols]
    asked = [sys.executable, "-m", "benchmarks.bot_orders", str(symbols), str(rises), str(14 if quick else bars)]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    if done.returncode:
        raise RuntimeError(f"{symbols} symbols could not be measured: {done.stderr.strip()[-300:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


# What the market does


class Feed(Prices):
    """One price a bar; days that have nothing to do with another symbol's."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, last={})
        self._days: dict[str, pd.DataFrame] = {}

    async def daily(self, what: Instrument, bars: int) -> pd.DataFrame:
        if what.symbol not in self._days:
            draw, tf = np.random.default_rng(int(what.symbol[1:])), cd.timeframe("1d")
            end = self.clock.now() - timedelta(days=1)
            times = cd.expected(end - timedelta(days=200), end, tf, what)[-bars:]
            close = 100 * np.exp(np.cumsum(draw.normal(0, 0.01, len(times))))
            columns = {"open": close, "high": close * 1.01, "low": close * 0.99, "close": close}
            self._days[what.symbol] = cd.frame(times, {**columns, "volume": np.full(len(times), 5e7)})
        return self._days[what.symbol]


def _closes(symbols: int, rises: int, bars: int) -> Floats:
    """(bar, symbol): a slow fall, out of which some rise at each bar for a while, one after the other."""
    fall = 100 - 0.002 * np.arange(HISTORY + bars)[:, None]
    closes = np.repeat(fall, symbols, axis=1) + np.arange(symbols) % 7
    for bar in range(bars):
        at = (bar * rises + np.arange(rises)) % symbols
        closes[HISTORY + bar : HISTORY + bar + RISES, at] += 2.0
    return np.round(closes, 2)


@dataclass
class World:
    """A desk with strategies at work in `symbols` symbols, and what was timed on it."""

    folder: Path
    symbols: int
    rises: int
    bars: int
    found: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self.names = [f"S{at:03}" for at in range(self.symbols)]
        self.closes = _closes(self.symbols, self.rises, self.bars)
        start = MORNING - timedelta(days=5)
        self.times = cd.expected(start, MORNING + timedelta(hours=3), MINUTE, instrument("S000"))
        first = int(np.searchsorted(self.times, pd.Timestamp(MORNING).value)) - HISTORY
        self.times = self.times[first : first + len(self.closes)]
        self.frames = {name: self._frame(at) for at, name in enumerate(self.names)}
        self.clock = ManualClock(MORNING)
        self.desk = PaperDesk(
            self.folder, accounts="main:margin:10000000", clock=self.clock, prices=Feed, bars=self.closed
        )
        self._begin = 0.0
        self._written: list[float] = []

    def _frame(self, at: int) -> pd.DataFrame:
        close = self.closes[:, at]
        columns = {"open": close, "high": close + 0.01, "low": close - 0.01, "close": close}
        return cd.frame(self.times, {**columns, "volume": np.full(len(close), 1e5)})

    async def closed(self, what: Instrument, tf: Timeframe, most: int) -> pd.DataFrame:
        count = int(np.searchsorted(self.times, pd.Timestamp(self.clock.now()).value - MINUTE.seconds * 10**9, "right"))
        return self.frames[what.symbol].iloc[max(0, count - most) : count]

    # Its life

    async def live(self, paced: bool) -> None:
        """Every bar, timed."""
        self._prices(HISTORY - 1)
        await self.desk.start()
        for name, value in LIMITS.items():
            await self.desk.ask(Kind.SET_LIMIT, name=name, value=value)
        await self._adopt()
        await self._until_done()
        stop, engine = asyncio.Event(), self.desk.engine
        assert engine is not None
        running = asyncio.create_task(engine.run(stop)) if paced else None
        try:
            for bar in range(self.bars):
                await self._bar(bar, paced)
        finally:
            stop.set()
            if running is not None:
                await running
            crash.install(None)
        await self.desk.stop()

    async def _adopt(self) -> None:
        setup = Setup(cash=40_000.0, fraction=0.02, short=False, stop=Exit("pct", 5.0)).to_dict()
        params = {"fast": FAST, "slow": SLOW, "short": False}
        for first in range(0, self.symbols, MOST_SYMBOLS):
            names = self.names[first : first + MOST_SYMBOLS]
            wish = {"strategy": "sma_crossover", "params": params, "symbols": names, "interval": "1m", "setup": setup}
            answer = await self.desk.ask(Kind.ADOPT, **wish)
            assert answer.state is CommandState.DONE, answer.said
        assert self.desk.engine is not None
        strategies = self.desk.engine._desk.strategies
        strategies._look = self._noted(strategies._look)  # type: ignore[method-assign]

    def _noted(self, look: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*given: Any) -> Any:
            found = look(*given)
            self._written.append(time.perf_counter() - self._begin)
            return found

        return noted

    async def _bar(self, bar: int, paced: bool) -> None:
        """A bar closes: everything that follows from it, then some seconds in which what was ordered fills."""
        seen, orders = list[float](), set(self._orders())
        self._written.clear()
        crash.install(lambda name: seen.append(time.perf_counter()) if name == "after_intent" else None)
        self._prices(HISTORY + bar)
        self.clock.time = pd.Timestamp(int(self.times[HISTORY + bar]), tz="UTC").to_pydatetime() + MINUTE.duration
        self._begin = time.perf_counter()
        await self._until_done(paced)
        crash.install(None)
        new = [order for id_, order in self._orders().items() if id_ not in orders]
        assert len(new) == len(seen), "an order is written once"
        for order, at in zip(new, seen, strict=True):
            kind = {Purpose.ENTRY: "entries", Purpose.EXIT: "sales"}.get(order.request.purpose)
            if kind is not None:
                assert order.broker_id, order.reasons
                self.found[f"paced {kind}" if paced else kind].append(at - self._begin)
        if not paced:
            self.found["decisions"].append(self._written[-1])
        for _ in range(3):
            self.clock.advance(seconds=2)
            await self._until_done(paced)

    def _orders(self) -> dict[str, Any]:
        found = self.desk.reader.orders_between(MORNING, self.clock.now() + timedelta(seconds=1))
        return {order.id: order for order in found}

    async def _until_done(self, paced: bool = False) -> None:
        """Until each strategy has been asked about the newest bar and everything that follows is on its way."""
        engine = self.desk.engine
        assert engine is not None
        for turn in itertools.count(1):
            if paced:
                await asyncio.sleep(0.3 if self._all_asked() else 0.02)
            else:
                await engine.turn()
                await engine.looked()
            if turn > 1 and self._all_asked() and not self._left():
                return

    def _all_asked(self) -> bool:
        assert self.desk.engine is not None
        looking, now = self.desk.engine._desk.strategies.looking, self.clock.now()
        forming = (bucket_of(self.names[0], MINUTE, now),)
        at_work = [one for one in adoptions(self.desk.reader) if one.state is State.WORKING]
        return not looking._tasks and all(looking._buckets.get(one.id, ())[:1] == forming for one in at_work)

    def _left(self) -> bool:
        assert self.desk.engine is not None
        waiting = {order.request.signal_id for order in self.desk.reader.open_orders()}
        return any(one.signal_id not in waiting for one in self.desk.engine._desk.strategies._todo.values())

    def _prices(self, bar: int) -> None:
        self.desk.prices.last = {name: Decimal(str(self.closes[bar, at])) for at, name in enumerate(self.names)}


def _plain(world: World) -> tuple[list[float], dict[datetime, list[float]]]:
    """Seconds that each bar's decisions take in pandas, and the decisions."""
    seconds, said = [], {}
    for bar in range(world.bars):
        end = HISTORY + bar + 1
        begin = time.perf_counter()
        decided = []
        for candles in world.frames.values():
            close = candles["close"].iloc[end - SLOW - 1 : end]
            decided.append(float(close.rolling(FAST).mean().iloc[-1] > close.rolling(SLOW).mean().iloc[-1]))
        seconds.append(time.perf_counter() - begin)
        said[pd.Timestamp(int(world.times[end - 1]), tz="UTC").to_pydatetime()] = decided
    return seconds, said


def _held_bytes() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return float(pages * resource.getpagesize())


def _measured(symbols: int, rises: int, bars: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for paced in (False, True):
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            world = World(Path(folder), symbols, rises, bars)
            before = _held_bytes()
            asyncio.run(world.live(paced))
            found |= world.found
            if not paced:
                frames = sum(int(one.memory_usage(deep=True).sum()) for one in world.frames.values())
                found["held"] = _held_bytes() - frames
                found["grew"] = found["held"] + frames - before
                found["pandas"], plain = _plain(world)
                found |= _alike(world, plain)
    return found


def _alike(world: World, plain: dict[datetime, list[float]]) -> dict[str, int]:
    same = compared = 0
    for one in adoptions(world.desk.reader):
        for symbol in one.symbols:
            for row in decisions(world.desk.reader, one.id, symbol, 1_000):
                if row.bar_time in plain and row.exposure is not None:
                    compared += 1
                    same += plain[row.bar_time][world.names.index(symbol)] == row.exposure
    return {"alike": same, "compared": compared}


if __name__ == "__main__":
    print(json.dumps(_measured(*map(int, sys.argv[1:4]))))
