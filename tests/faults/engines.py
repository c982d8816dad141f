"""Real engines in processes of their own, on one clock and one market, there to be killed; and the last one, which
cleans up and is judged."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pandas as pd

from brokers.base import Broker
from brokers.paper import PaperBroker
from desk import crash
from desk import place as places
from desk.authority import LOCAL_OWNER
from desk.facts import Facts, History
from desk.inbox import Inbox
from desk.switches import stop_trading
from domain.calendars import calendar
from domain.clock import Clock, ManualClock, SystemClock
from domain.commands import Command, Kind
from domain.errors import BrokerUnavailable, DeskError, LeaseHeld, LedgerBusy
from domain.instruments import Instrument
from domain.quotes import Quote
from domain.trading_state import KillLevel
from settings import Settings
from tests.faults import truth
from tests.faults.broker import Chance, FaultyBroker
from tests.faults.points import at, kill_myself
from tests.faults.variants import VARIANTS
from tests.ledgers import preload
from trading_bot import Engine, Parts

# The engine's own imports are half a second: done once, before the first child is forked.
preload("tests.faults.engines")

BASE = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)  # Friday, 10:30 New York
SPEED = 50
ACCOUNTS = "main:margin:100000,savings:cash:50000"
BEGIN = {"AAPL": D(100), "KO": D(60), "NVDA": D(200)}
RATES = {"place": 0.3, "cancel": 0.15, "orders": 0.03, "fills": 0.03, "accounts": 0.02}
PACE_S = 0.002
PATIENCE_S = 20.0
HALTING = "halt"
calendar("XNYS").phase(BASE)


@dataclass(frozen=True, slots=True)
class World:
    """What every process of a run shares: a folder, a market that is a function of time, and a clock."""

    folder: Path
    seed: int
    began: float
    variant: str = ""

    @property
    def settings(self) -> Settings:
        return Settings(data_dir=self.folder / "data", paper_accounts=ACCOUNTS)  # type: ignore[arg-type]

    @property
    def place(self) -> places.Place:
        return places.paper(self.settings, "scripted", simulated=False)

    @property
    def broker_path(self) -> Path:
        return self.folder / "data" / f"broker-{self.place.name}.db"

    @property
    def ledger_path(self) -> Path:
        return self.folder / "data" / f"ledger-{self.place.name}.db"

    def now(self) -> datetime:
        """Fifty times as fast as ours."""
        return BASE + timedelta(seconds=(time.monotonic() - self.began) * SPEED)

    def note(self, said: str) -> None:
        """A line in the run's log, there for good even where the next instruction is a kill."""
        log = os.open(self.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(log, f"{said}\n".encode())
        os.close(log)


class Walk:
    """Prices that depend on the seed and the time alone: the same in every process."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        self._volume = chance.choice([400.0, 4_000.0, 100_000.0])
        self._steps = {s: [D(0), *(D(chance.randint(-40, 40)) / 100 for _ in range(400))] for s in BEGIN}
        self._sums = {s: self._walk(s) for s in BEGIN}

    def _walk(self, symbol: str) -> list[D]:
        found, price = [], BEGIN[symbol]
        for step in self._steps[symbol]:
            price = min(BEGIN[symbol] * D("1.2"), max(BEGIN[symbol] * D("0.8"), price + step * BEGIN[symbol] / 100))
            found.append(price.quantize(D("0.01")))
        return found

    def last(self, symbol: str, now: datetime) -> D:
        return self._sums[symbol][min(400, int((now - BASE).total_seconds() / 2))]

    def quote(self, symbol: str, now: datetime) -> Quote:
        last, seconds = self.last(symbol, now), (now - BASE).total_seconds()
        book = {"bid": last - D("0.01"), "ask": last + D("0.01")}
        return Quote(
            symbol, now, last, "scripted", volume=1e6 + self._volume * max(0.0, seconds), previous_close=last, **book
        )


class KnownFacts(Facts):
    """Daily candles cost more than all the rest of a start, and nothing here depends on them."""

    async def history(self, symbol: str) -> History:
        return History(self.clock.now(), D(2), D(50_000_000), pd.Series(dtype=float))

    async def correlations(self, symbols: Any) -> dict[str, dict[str, float]]:
        return {one: {other: 0.1 for other in BEGIN if other != one} for one in symbols}


def parts(world: World, clock: Clock, broker: Broker) -> Parts:
    walk = Walk(world.seed)

    async def quotes(wanted: Sequence[Instrument]) -> dict[str, Quote]:
        return {what.symbol: walk.quote(what.symbol, clock.now()) for what in wanted}

    async def daily(what: Instrument, bars: int) -> pd.DataFrame:
        raise AssertionError("not asked")

    facts = KnownFacts(clock, quotes, daily, simulated=False)
    return Parts(world.place, clock, broker, facts, poll_s=0.0, machine_clock=SystemClock())


class NotingFaults(Chance):
    """Faults by chance, each in the run's log."""

    world: World

    def next(self, call: str) -> str:
        if fault := super().next(call):
            self.world.note(f"fault {call}: {fault}")
        return fault


class _Mistakes(logging.Handler):
    """What the engine survives and should not have to."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.WARNING)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else (record.args or ("",))[0] if record.args else None
        if isinstance(error, LedgerBusy):
            self._world.note(f"wrong I0: a write was turned away: {error}")
        elif isinstance(error, Exception) and not isinstance(error, BrokerUnavailable | LeaseHeld):
            self._world.note(f"wrong I0: the engine made a mistake: {error!r}")


def live(world: World, number: int, point: str, visit: int) -> None:
    """An engine until it dies: at the `visit`th passing of `point`, or when somebody kills it. `halt` is no death: it
    commits HALT in the moment between an intent and its sending."""
    _quiet(world)
    if world.variant:
        VARIANTS[world.variant]()
    faults = NotingFaults(random.Random(world.seed * 10 + number), RATES)
    faults.world = world
    loop = asyncio.new_event_loop()
    holder: list[Engine] = []

    def die() -> None:
        world.note(f"died {point}")
        kill_myself()

    def halt() -> None:
        tools = holder[-1].tools
        with tools.write() as write:
            stop_trading(write, KillLevel.HALT, reason="in the very moment", actor="test")
        world.note("halted between an intent and its sending")

    if point == HALTING:
        crash.install(at("after_intent", visit, halt))
    elif point:
        crash.install(at(point, visit, die))
    loop.run_until_complete(_serve(world, faults, holder))


async def _serve(world: World, faults: NotingFaults, holder: list[Engine]) -> None:
    while True:
        engine = None
        try:
            inner = PaperBroker(world.settings, world, world.place.name)
            engine = Engine(parts(world, world, FaultyBroker(inner, faults)))  # type: ignore[arg-type]
            holder.append(engine)
            await engine.open()
            world.note("opened")
            await engine.run(asyncio.Event(), PACE_S)
        except LeaseHeld:
            await asyncio.sleep(0.01)
        except BrokerUnavailable:
            await asyncio.sleep(0.002)
        except LedgerBusy as error:
            world.note(f"wrong I0: a write was turned away: {error}")
        except DeskError as error:
            world.note(f"wrong I0: the engine could not start: {error!r}")
            await asyncio.sleep(0.01)
        finally:
            if engine is not None:
                with suppress(DeskError):
                    await engine.close()


def _quiet(world: World) -> None:
    logger = logging.getLogger("engine")
    logger.handlers, logger.propagate = [_Mistakes(world)], False
    logging.getLogger("brokers.paper").disabled = True


def found(world: World, limits: list[tuple[Kind, dict[str, Any]]]) -> None:
    """A desk with these limits, a minute before the first run begins."""
    asyncio.run(_found(world, limits))


async def _found(world: World, limits: list[tuple[Kind, dict[str, Any]]]) -> None:
    clock = ManualClock(BASE - timedelta(minutes=1))
    engine = Engine(parts(world, clock, PaperBroker(world.settings, clock, world.place.name)))
    await engine.open()
    inbox = Inbox(world.place.ledger_url, clock)
    for number, (kind, payload) in enumerate(limits):
        inbox.append(Command(f"limit-{number:04}", kind, LOCAL_OWNER, payload))
    await engine.turn()
    await engine.close()
    inbox.close()


def finish(world: World, told: Any) -> None:
    """A sound engine on a sound line, on a clock it moves itself, until all is quiet; tells what is wrong then."""
    _quiet(world)
    clock = ManualClock(world.now())
    asyncio.run(_finish(world, clock, told))


async def _finish(world: World, clock: ManualClock, told: Any) -> None:
    broker = PaperBroker(world.settings, clock, world.place.name)
    engine = Engine(parts(world, clock, broker))
    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            await engine.open()
            break
        except LeaseHeld:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(0.005)
    wrong = ["no turn"]
    for seconds in (1, 1, 2, 6, 6, 6, 31, 6, 20, 61, 6, 6, 31, 6, 6):
        clock.advance(seconds=seconds)
        await engine.turn()
        if seconds > 1 and not (wrong := list(_judged(world, clock, engine))):
            break
    await engine.close()
    found = truth.Broker.read(world.broker_path)
    told.send(([*wrong, *truth.sound(world.place.ledger_url)], len(found.orders), len(found.fills)))


def _judged(world: World, clock: Clock, engine: Engine) -> Iterator[str]:
    broker, book = truth.Broker.read(world.broker_path), truth.Book.read(world.ledger_path)
    walk = Walk(world.seed)
    quotes = {s: ((q := walk.quote(s, clock.now())).bid or q.last, q.ask or q.last) for s in BEGIN}
    yield from truth.always(broker, book)
    yield from truth.settled(broker, book, quotes)
    read = engine.tools.reader
    fresh = type(read)(world.place.ledger_url, clock)
    for info in read.accounts():
        if read.account(info.name) != fresh.account(info.name):
            yield f"I11: {info.name} is told as {read.account(info.name)}, folded anew {fresh.account(info.name)}"
