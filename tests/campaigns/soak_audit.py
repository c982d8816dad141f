"""The audits of a soak, in a process of their own: what they read and keep shall not count as the engine's memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from pathlib import Path

from desk.database import Database
from desk.reader import Reader
from desk.verify import problems
from domain.clock import ManualClock
from tests.faults import truth
from tests.faults.bounds import Bounds, twice
from tests.faults.market import Walks
from tests.ledgers import PROCESSES

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class World:
    """Where a soak's files lie, and what its market is made of: the same walk in every process."""

    ledger: Path
    broker: Path
    symbols: Sequence[str]
    first: datetime
    last: datetime
    seed: int
    cash: int


@dataclass(frozen=True, slots=True)
class Money:
    """One account in the words of the ledger, as the engine's process has folded it, and of the broker."""

    folded: Decimal | None
    there: Decimal
    held: Mapping[str, Decimal]
    held_there: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class Audited:
    """What a whole audit found: `wrong` in sentences, and the counts of the evidence."""

    wrong: list[str]
    closest: dict[str, float] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)


class Auditor:
    """Asks the other process, and waits for it."""

    def __init__(self, world: World) -> None:
        self._there = ProcessPoolExecutor(1, mp_context=PROCESSES, initializer=_begin, initargs=(world,))

    def quiet(self, now: datetime, money: Money) -> list[str]:
        """Whether everything is where it should be once all is over, a sentence for what is not."""
        return self._there.submit(_quiet, now, money).result()

    def everything(self) -> Audited:
        """Every limit held, everything sent once, the ledger against itself; and how much there is."""
        return self._there.submit(_everything).result()

    def close(self) -> None:
        self._there.shutdown()


# There

_world: World
_walks: Walks


def _begin(world: World) -> None:
    global _world, _walks
    _world, _walks = world, Walks(world.symbols, world.first, world.last, world.seed)


def _quiet(now: datetime, money: Money) -> list[str]:
    broker, book = truth.Broker.read(_world.broker), truth.Book.read(_world.ledger)
    quotes = {symbol: _walks.quote(symbol, now) for symbol in _world.symbols}
    books = {symbol: (quote.bid or quote.last, quote.ask or quote.last) for symbol, quote in quotes.items()}
    return [*truth.always(broker, book), *truth.settled(broker, book, books), *_money(broker, now, money)]


def _money(broker: truth.Broker, now: datetime, said: Money) -> list[str]:
    """Cash, fees and positions: the ledger's fold, the broker's word, and the plain sum over every fill."""
    reader = Reader(f"sqlite:///{_world.ledger}", ManualClock(now))
    fills = [heard.fill for heard in reader.fills(most=1_000_000)]
    fees, paid = sum((f.fee for f in fills), ZERO), sum((Decimal(f["fee"]) for f in broker.fills), ZERO)
    cash = _world.cash + sum((fill.cash for fill in fills), ZERO)
    wrong = []
    if not said.folded == cash == said.there:
        wrong.append(f"cash: {said.folded} in the ledger, {cash} by its fills, {said.there} there")
    if said.held != said.held_there:
        wrong.append(f"positions: {said.held} in the ledger, {said.held_there} at the broker")
    if fees != paid or len(fills) != len(broker.fills):
        wrong.append(f"fees: {fees} in {len(fills)} fills of the ledger, {paid} in {len(broker.fills)} there")
    return wrong


def _everything() -> Audited:
    broker, bounds = truth.Broker.read(_world.broker), Bounds(_walks.last)
    wrong = [*bounds.broken(_world.ledger), *twice(broker.orders, _world.ledger)]
    database = Database(f"sqlite:///{_world.ledger}", read_only=True)
    with database.read() as db:
        wrong += problems(db)
    database.close()
    with closing(sqlite3.connect(_world.ledger)) as db:
        statuses = dict(db.execute("SELECT status, COUNT(*) FROM orders GROUP BY status"))
        done = dict(db.execute("SELECT done, COUNT(*) FROM bar_decision GROUP BY done"))
    counts = {"entries sent": bounds.entries, "orders at the broker": len(broker.orders), "fills": len(broker.fills)}
    return Audited(wrong, dict(bounds.closest), counts, statuses, done)
