"""Three days and nights of strategies at work on a virtual clock, over a bad line, and engines die: nothing drifts.

python -m tests.campaigns.soak [--hours 72] [--symbols 31] [--seed 7]      from a Tuesday to after Christmas Eve
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from pathlib import Path
from typing import Any

from backtest.setup import Entry, Exit, Setup
from brokers.base import Broker, BrokerFill
from brokers.paper import PaperBroker
from desk import crash
from desk.supervisor import ALARM_AFTER
from domain.calendars import Phase, calendar
from domain.clock import ManualClock
from domain.commands import CommandState, Kind
from domain.errors import DeskError, LeaseHeld, LedgerBusy
from domain.instruments import KNOWN
from domain.orders import UNCERTAIN, OrderRequest, OrderType, Purpose, Status
from filters.regime import Regime
from filters.volume import Volume
from tests.campaigns.soak_audit import Auditor, Money, World
from tests.campaigns.soak_seen import Seen, measured, told
from tests.faults.broker import Chance, FaultyBroker
from tests.faults.market import BadFeed, Walks
from tests.faults.points import Died
from tests.trading import PaperDesk

SYMBOLS = tuple(symbol for symbol, what in KNOWN.items() if not what.is_crypto)[:31]
BEGINS = datetime(2026, 12, 22, 14, 0, tzinfo=UTC)  # Tuesday, 09:00 New York; Thursday is a half day, Friday a holiday
HISTORY = timedelta(days=1)
HOURS = 72.0
CASH = 100_000
NYSE = calendar("XNYS")
LIMITS: dict[str, Any] = {
    "shorting": True,
    "max_gross_pct": 60.0,
    "max_open_positions": 24,
    "max_orders_per_minute": 12,
    "max_orders_per_day": 700,
    "max_consecutive_refusals": 20,
    "duplicate_window_s": 5,
    "max_daily_loss_pct": 20.0,
    "max_drawdown_pct": 50.0,
    "drift_nights": 10,  # what the faults do to it is no drift of the strategy's
}
EXITS = {"stop": Exit("atr", 3.0), "target": Exit("atr", 6.0)}
FILTERS = (Volume(bars=20, percentile=40.0), Regime())
SETUPS = (
    Setup(cash=33_000.0, fraction=0.09, **EXITS),
    Setup(cash=33_000.0, fraction=0.12, filters=FILTERS, trail=Exit("atr", 3.0), target=EXITS["target"]),
    Setup(cash=33_000.0, fraction=0.12, filters=FILTERS[:1], entry=Entry(0.02, 45.0, "chase"), **EXITS),
)
RATES = {"place": 0.05, "cancel": 0.05, "orders": 0.01, "fills": 0.01, "accounts": 0.005}
# For a minute of trading.
DIES, RESTARTS, STAYS_AWAY, BUSY, SKEWED, LATE_FILLS = 0.03, 0.005, 0.003, 0.02, 0.01, 0.02
BUSY_S = 0.2
MOST_SECONDS = 40  # of a minute that are lived one by one
CALMS_DOWN = (1, 1, 2, 6, 6, 6, 31, 6, 20, 61, 6, 6, 31, 6, 6)


@dataclass(slots=True)
class Line:
    """How the broker's line is at the moment: its clock, and how late it tells of fills."""

    skew_s: float = 0.0
    fills_late_s: float = 0.0


class BadLine(FaultyBroker):
    """Tells fills late, and by a clock of its own. An entry that comes while the clocks are apart is a mistake."""

    def __init__(self, inner: Broker, faults: Chance, line: Line, clock: ManualClock, seen: Seen) -> None:
        super().__init__(inner, faults, self._came)
        self._line, self._clock, self._seen = line, clock, seen

    @property
    def clock_skew_s(self) -> float | None:
        return self._line.skew_s

    async def fills(self, since: datetime) -> list[BrokerFill]:
        newest = self._clock.now() - timedelta(seconds=self._line.fills_late_s)
        return [fill for fill in await super().fills(since) if fill.recorded <= newest]

    def _came(self, call: str, asked: OrderRequest | None) -> None:
        if asked is not None and asked.purpose is Purpose.ENTRY and abs(self._line.skew_s) > 2:
            self._seen.problems.append(
                f"an entry in {asked.symbol} came while the clocks were {self._line.skew_s} s apart"
            )


class Soak:
    """One desk with three strategies at work, from `begins` for as long as `lasts`."""

    def __init__(
        self, folder: Path, *, seed: int, begins: datetime, lasts: timedelta, symbols: Sequence[str] = SYMBOLS
    ) -> None:
        self.chance, self.seen, self.line = random.Random(seed), Seen(begins), Line()
        self.begins, self.ends, self.symbols = begins, begins + lasts, tuple(symbols)
        self.clock = ManualClock(begins)
        market = (self.symbols, begins - HISTORY, self.ends, seed)
        self.walks = Walks(*market)
        self.feed = BadFeed(self.clock, self.walks, self.chance, met=self.seen.met)
        self.faults = Chance(self.chance, dict(RATES), met=self.seen.met)
        self.desk = PaperDesk(
            folder,
            accounts=f"main:margin:{CASH}",
            clock=self.clock,
            prices=lambda clock: self.feed,  # type: ignore[arg-type,return-value]
            bars=self.feed.bars,
            broker=lambda inner: BadLine(inner, self.faults, self.line, self.clock, self.seen),  # type: ignore[return-value]
        )
        self.data = folder / "data"
        self.ledger = self.data / f"ledger-{self.desk.place_of.name}.db"
        self.broker = self.data / f"broker-{self.desk.place_of.name}.db"
        self._auditor = Auditor(World(self.ledger, self.broker, *market, CASH))
        self._naked: dict[str, datetime] = {}
        self._lived = Counter[datetime]()
        self._looked = False

    async def run(self, progress: bool = False, audited: Callable[[], None] = lambda: None) -> Seen:
        """All of it; what was seen. `audited` is called whenever everything was compared."""
        try:
            return await self._run(progress, audited)
        finally:
            self._auditor.close()

    async def _run(self, progress: bool, audited: Callable[[], None]) -> Seen:
        await self._begin()
        was_open, audit_at, hour = False, None, self.begins
        while self.clock.now() < self.ends:
            opened = NYSE.phase(self.clock.now()) is Phase.OPEN
            if opened and self.clock.now().second == 0:
                await self._mishaps()
            await self._on(opened)
            if was_open and not opened:
                audit_at = self.clock.now() + timedelta(minutes=10)
            was_open = opened
            if audit_at is not None and self.clock.now() >= audit_at:
                audit_at = None
                await self._audit()
            if self.clock.now() - hour >= timedelta(hours=1):
                hour = self.clock.now()
                if opened:
                    await self._audit()
                self._measure(progress)
                audited()
        await self._audit()
        self._measure(progress)
        self.seen.problems += self.seen.grown()
        await self.desk.stop()
        return self.seen

    async def _begin(self) -> None:
        await self.desk.start()
        for name, value in LIMITS.items():
            await self.desk.ask(Kind.SET_LIMIT, name=name, value=value)
        for number, setup in enumerate(SETUPS):
            symbols = list(self.symbols[number :: len(SETUPS)])
            wish = {"strategy": "sma_crossover", "params": {"combined": True}, "symbols": symbols, "interval": "1m"}
            answer = await self.desk.ask(Kind.ADOPT, **wish, setup=setup.to_dict())
            assert answer.state is CommandState.DONE, answer.said

    # Time

    async def _on(self, opened: bool) -> None:
        """To the next moment at which something happens: a second while orders are under way, a quarter of a minute
        while the market trades, else a minute."""
        now = self.clock.now()
        minute = now.replace(second=0, microsecond=0)
        busy = opened and (self._looked or self._busy()) and self._lived[minute] < MOST_SECONDS
        self._lived = Counter({minute: self._lived[minute] + busy})
        step = 1 if busy else 15 - now.second % 15 if opened else 60 - now.second
        self.clock.time = now + timedelta(seconds=step)
        await self._turn()
        self._looked = False
        engine = self.desk.engine
        if engine is not None and engine._desk.strategies.looking._tasks:  # no virtual time goes by while it thinks
            await engine.looked()
            self._looked = True
        if opened:
            self._watch()

    async def _turn(self) -> None:
        """A turn, as the engine's own loop survives it."""
        self.seen.turns += 1
        try:
            if self.desk.engine is None:
                await self.desk.start()
            assert self.desk.engine is not None
            await self.desk.engine.turn()
        except Died:
            await self._bury()
        except LeaseHeld:
            raise
        except LedgerBusy:
            self.seen.met["a turn that found the ledger busy"] += 1
        except DeskError as error:
            self.seen.met[f"a turn cut short: {type(error).__name__}"] += 1
        except Exception as error:  # the engine survives its own mistakes; here each is one
            self.seen.problems.append(f"{self.clock.now()}: the engine made a mistake: {error!r}")

    def _busy(self) -> bool:
        engine = self.desk.engine
        if engine is None or engine.supervisor.naked:
            return True
        open_ = self.desk.reader.open_orders()
        moving = {Status.NEW, Status.CANCELLING} | UNCERTAIN
        waiting = {order.request.signal_id for order in open_}
        todo = engine._desk.strategies._todo.values()
        return any(o.request.type is OrderType.MARKET or o.status in moving for o in open_) or any(
            decision.signal_id not in waiting for decision in todo
        )

    # What goes wrong

    async def _mishaps(self) -> None:
        """What this minute has in store."""
        luck = {name: self.chance.random() for name in ("dies", "starts", "away", "busy", "skew", "late")}
        if luck["dies"] < DIES:
            self._doom()
        if luck["starts"] < RESTARTS:
            self.seen.met["an engine stopped and started"] += 1
            await self.desk.stop()
        if luck["away"] < STAYS_AWAY:
            self.seen.met["no engine for minutes"] += 1
            await self.desk.stop()
            self.clock.advance(minutes=self.chance.randint(2, 6))
            self.clock.time = self.clock.now().replace(second=0)
        if luck["busy"] < BUSY and self.desk.engine is not None:
            self.seen.met["another writer in the ledger"] += 1
            await self._held_up()
        self.line.skew_s = self.chance.choice((-60.0, -2.5, 2.5, 30.0)) if luck["skew"] < SKEWED else 0.0
        self.seen.met["clocks apart for a minute"] += bool(self.line.skew_s)
        self.line.fills_late_s = self.chance.uniform(1, 15) if luck["late"] < LATE_FILLS else 0.0
        self.seen.met["fills told late for a minute"] += bool(self.line.fills_late_s)

    async def _held_up(self) -> None:
        """Somebody else writes into the ledger while the engine turns."""
        has_it = threading.Event()
        writer = threading.Thread(target=self._write, args=(has_it,))
        writer.start()
        has_it.wait(5.0)
        await self._turn()
        writer.join()

    def _write(self, has_it: threading.Event) -> None:
        with closing(sqlite3.connect(self.ledger, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            has_it.set()
            time.sleep(BUSY_S)
            db.execute("ROLLBACK")

    def _doom(self) -> None:
        """From now on: at one of the next places of the code where a death is thinkable."""
        left = itertools.count(-self.chance.randrange(1, 40))

        def hook(name: str) -> None:
            if next(left) == -1:
                self.seen.met[f"died {name}"] += 1
                raise Died

        crash.install(hook)

    async def _bury(self) -> None:
        """As the kernel does with a dead process: locks fall and connections close, nothing is said or written."""
        crash.install(None)
        engine = self.desk.engine
        assert engine is not None
        if hasattr(engine, "_desk"):
            await engine._desk.strategies.close()
        if hasattr(engine, "_lease"):
            engine._lease._lock.drop()
        if hasattr(engine, "_ledger"):
            engine._ledger.close()
            engine._looking.close()
        paper = engine.parts.broker
        while not isinstance(paper, PaperBroker):
            paper = paper.inner  # type: ignore[attr-defined]
        paper._book.close()
        self.desk.engine = None

    # What is looked at

    def _watch(self) -> None:
        """By the broker's own file: what is held and neither under a stop nor being closed, and for how long."""
        now, engine = self.clock.now(), self.desk.engine
        if engine is None:
            self._naked = {symbol: max(since, now) for symbol, since in self._naked.items()}  # nobody could mind it
            return
        bare = _bare(self.broker)
        for symbol in sorted(set(self._naked) - bare):
            self.seen.naked_s.append((now - self._naked.pop(symbol)).total_seconds())
        alarmed = {said.split()[2] for said in engine.tools.problems if said.startswith("unprotected ")}
        self.seen.alarms |= {f"{now:%d %b %H:%M} {symbol}" for symbol in alarmed}
        for symbol in bare:
            since = self._naked.setdefault(symbol, now)
            if now - since > ALARM_AFTER + timedelta(seconds=30) and symbol not in alarmed:
                self.seen.problems.append(f"{now}: {symbol} is without its stop since {since} and nobody says so")

    async def _audit(self) -> None:
        """All faults are over: once it is quiet, everything must agree."""
        self.seen.audits += 1
        crash.install(None)
        self.feed.sound, self.faults.rates, self.line.skew_s, self.line.fills_late_s = True, {}, 0.0, 0.0
        wrong = ["no turn"]
        for seconds in CALMS_DOWN:
            self.clock.advance(seconds=seconds)
            await self._turn()
            if seconds > 1 and not (wrong := await self._quiet()):
                break
        found = self._auditor.everything()
        self.seen.problems += [f"{self.clock.now()}: {said}" for said in (*wrong, *found.wrong)]
        self.seen.closest, self.seen.counts = found.closest, found.counts
        self.seen.statuses, self.seen.done = found.statuses, found.done
        self.feed.sound, self.faults.rates = False, dict(RATES)

    async def _quiet(self) -> list[str]:
        folded, [there] = self.desk.reader.account("main"), await self.desk.broker.accounts()
        held = {symbol: position.quantity for symbol, position in self.desk.reader.positions("main").items()}
        money = Money(folded.cash if folded else None, there.cash, held, dict(there.positions))
        return self._auditor.quiet(self.clock.now(), money)

    def _measure(self, progress: bool) -> None:
        self.seen.hours.append(last := measured(self.clock.now(), self.data, self.ledger, self.broker))
        if progress:
            print(
                f"{last.at:%a %d %b %H:%M} UTC: {self.seen.turns:,} turns, {last.rows:,} rows, {last.rss_mb:.0f} MB, "
                f"{last.handles} handles, {len(self.seen.problems)} problems",
                *self.seen.problems[-1:],
                flush=True,
            )


def _bare(broker: Path) -> set[str]:
    """The symbols that are held without a stop or a sale for every share."""
    with closing(sqlite3.connect(f"file:{broker}?mode=ro", uri=True)) as db:
        held = {symbol: D(n) for symbol, n in db.execute("SELECT symbol, quantity FROM position") if D(n)}
        for symbol, left, purpose in db.execute(
            "SELECT symbol, remaining, json_extract(request, '$.purpose') FROM orders WHERE open = 1"
        ):
            if purpose in (Purpose.STOP, Purpose.EXIT) and symbol in held:
                held[symbol] = abs(held[symbol]) - D(left)
    return {symbol for symbol, left in held.items() if abs(left) > 0 and left}


def run(evidence: Path, seed: int = 7, hours: float = HOURS, symbols: int = len(SYMBOLS)) -> bool:
    """The campaign; writes what it found, also on the way, and says whether it found nothing."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder), seed=seed, begins=BEGINS, lasts=timedelta(hours=hours), symbols=SYMBOLS[:symbols])

        def write() -> None:
            text = told(soak.seen, len(soak.symbols), seed, time.perf_counter() - begin)
            evidence.write_text(text, encoding="utf-8")

        seen = asyncio.run(soak.run(progress=True, audited=write))
        write()
    return not seen.problems


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.campaigns.soak", description=__doc__)
    parser.add_argument("--hours", type=float, default=HOURS, help="of virtual time")
    parser.add_argument("--symbols", type=int, default=len(SYMBOLS), help="how many are traded, 3 or more")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "soak.md", help="the file to write")
    asked = parser.parse_args()
    sound = run(asked.out, asked.seed, asked.hours, asked.symbols)
    print(asked.out.read_text(encoding="utf-8"))
    sys.exit(not sound)
