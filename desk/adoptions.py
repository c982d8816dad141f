"""Strategies at work, as the ledger keeps them: what was adopted, and what was decided on each bar that closed.

The rule: a bar is decided once for ever. The decision is written, with its signal, before anything is done about it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple

import sqlalchemy as sa

from backtest.setup import Setup
from desk import schema
from desk.reader import Reader
from desk.rows import canonical, order_of
from desk.writing import Writing
from domain.candles import Timeframe, timeframe
from domain.errors import DeskError
from domain.orders import Order
from domain.params import build
from domain.signals import Signal
from filters.base import State as Waits
from strategies.base import Strategy, find

_adoption, _decision = schema.adoption, schema.bar_decision
ADD_ADOPTION, ADD_DECISION = sa.insert(_adoption), sa.insert(_decision)
ADOPTIONS = sa.select(_adoption).order_by(_adoption.c.seq)
HISTORY = sa.select(_adoption).where(_adoption.c.id == sa.bindparam("of_id")).order_by(_adoption.c.seq)
_of = (_decision.c.adoption == sa.bindparam("of_id"), _decision.c.symbol == sa.bindparam("of_symbol"))
SINCE_BAR = sa.select(_decision).where(*_of, _decision.c.bar_time >= sa.bindparam("first")).order_by(_decision.c.seq)
DECISIONS = sa.select(_decision).where(*_of).order_by(_decision.c.seq.desc()).limit(sa.bindparam("most"))
ACTED = (
    sa.select(_decision)
    .where(*_of, _decision.c.done.in_(["ordered", "not ours", "too small", "shadow"]))
    .order_by(_decision.c.seq.desc())
    .limit(1)
)
_made_by = (
    sa.select(schema.orders)
    .join(schema.signal, schema.orders.c.signal_id == schema.signal.c.id)
    .where(schema.orders.c.signal_id != "", schema.signal.c.source == sa.bindparam("of_source"))
)
ORDERS = _made_by.order_by(schema.orders.c.created.desc(), schema.orders.c.id).limit(sa.bindparam("most"))
COUNT = sa.select(sa.func.count().label("orders")).select_from(_made_by.subquery())


class State(StrEnum):
    """PAUSED by a fault of the strategy's own, which the engine says, or by a person; RETIRED for good."""

    WORKING = "working"
    PAUSED = "paused"
    RETIRED = "retired"


class Done(StrEnum):
    """What became of a bar: a changed wish became orders, or could not (`not ours`: a person's position stands there;
    `too small`: less than one lot; `shadow`: it stands where nothing is ordered); the wish was as before; the bar was
    seen too late; the strategy failed."""

    ORDERED = "ordered"
    NOT_OURS = "not ours"
    TOO_SMALL = "too small"
    SHADOW = "shadow"
    HELD = "as before"
    MISSED = "missed"
    FAULT = "failed"


@dataclass(frozen=True, slots=True)
class Adoption:
    """A strategy at work. It trades its own money: what `setup` begins with, and what it has won and lost `since`."""

    id: str
    account: str
    strategy: str
    params: dict[str, Any]
    symbols: tuple[str, ...]
    interval: str
    setup: Setup
    actor: str
    since: datetime
    state: State = State.WORKING
    reason: str = ""
    changed: datetime | None = None

    @property
    def made(self) -> Strategy:
        """The strategy itself. DeskError or ValueError where this version of the desk cannot make it any more."""
        found: Strategy = build(find(self.strategy), self.params)
        return found

    @property
    def tf(self) -> Timeframe:
        return timeframe(self.interval)

    @property
    def source(self) -> str:
        """Where its signals come from, as they say it."""
        return f"strategy:{self.strategy}/{self.id}"

    @property
    def label(self) -> str:
        """In a few words: `sma_crossover 5/15 on AAPL, NVDA 5m`."""
        numbers = "/".join(f"{v:g}" for v in self.params.values() if type(v) in (int, float))
        return f"{self.strategy}{f' {numbers}' if numbers else ''} on {', '.join(self.symbols)} {self.interval}"

    @property
    def body(self) -> dict[str, Any]:
        """What was adopted, as JSON values."""
        return {
            "params": self.params,
            "symbols": list(self.symbols),
            "interval": self.interval,
            "setup": self.setup.to_dict(),
        }


class Said(NamedTuple):
    """One filter's word on an entry."""

    name: str
    passes: bool
    why: str


@dataclass(frozen=True, slots=True)
class BarDecision:
    """What was made of one closed bar. `exposure` None where none could be had; `held` what the strategy held of its
    own then, `wanted` what it shall hold (a shadow: would hold), both below zero when short; `state`: where its
    filters stand after the bar; `verdicts`: what each of them said where the strategy wanted in."""

    adoption: str
    symbol: str
    bar_time: datetime
    exposure: float | None
    done: Done
    said: str
    held: Decimal = Decimal(0)
    wanted: Decimal = Decimal(0)
    stop: Decimal | None = None
    target: Decimal | None = None
    signal_id: str = ""
    at: datetime | None = None
    state: Waits | None = None
    verdicts: tuple[Said, ...] = ()
    trail: Decimal | None = None


# What the engine writes


def keep(write: Writing, adoption: Adoption, state: State, *, reason: str, actor: str) -> None:
    """The adoption in this state from now on."""
    values = {"id": adoption.id, "account": adoption.account, "strategy": adoption.strategy, "state": state}
    values |= {"reason": reason, "actor": actor}
    write.append(ADD_ADOPTION, {**values, "body": canonical(adoption.body), "at": write.now})
    write.audit("adoption", actor, {**values, **adoption.body})


def decide(write: Writing, decision: BarDecision, signal: Signal | None = None) -> None:
    """What was made of a bar, with the signal where its wish had changed; a second word on it is refused by the
    table."""
    names = ("adoption", "symbol", "bar_time", "exposure", "done", "said", "held", "wanted", "stop", "target", "trail")
    values = {name: getattr(decision, name) for name in names}
    values |= {"state": json.dumps(decision.state) if decision.state is not None else ""}
    values |= {"verdicts": canonical([list(one) for one in decision.verdicts]) if decision.verdicts else ""}
    if signal is not None:
        write.add_signal(signal)
    write.append(ADD_DECISION, {**values, "signal_id": signal.id if signal else "", "at": write.now})


# What everybody reads


def adoptions(reader: Reader, *, retired: bool = False) -> list[Adoption]:
    """Every strategy at work as it is now, oldest first; `retired` ones only where asked for."""
    found: dict[str, Adoption] = {}
    for row in reader.rows(ADOPTIONS):
        first = found.get(row.id)
        found[row.id] = _read(row, first)
    return [one for one in found.values() if retired or one.state is not State.RETIRED]


def history(reader: Reader, adoption: str) -> list[tuple[datetime, State, str, str]]:
    """When it came into which state, why and by whom; oldest first."""
    return [(r.at, State(r.state), r.reason, r.actor) for r in reader.rows(HISTORY, of_id=adoption)]


def decisions(reader: Reader, adoption: str, symbol: str, most: int = 1) -> list[BarDecision]:
    """The newest decisions on a symbol's bars, newest first."""
    return [decision_of(row) for row in reader.rows(DECISIONS, of_id=adoption, of_symbol=symbol, most=most)]


def since_bar(reader: Reader, adoption: str, symbol: str, first: datetime) -> list[BarDecision]:
    """The decisions on a symbol's bars from the one that opened at `first` on, oldest first."""
    return [decision_of(r) for r in reader.rows(SINCE_BAR, of_id=adoption, of_symbol=symbol, first=first)]


def acted(reader: Reader, adoption: str, symbol: str) -> BarDecision | None:
    """The newest decision that followed a changed wish: what the strategy last stood for."""
    return next((decision_of(r) for r in reader.rows(ACTED, of_id=adoption, of_symbol=symbol)), None)


def orders(reader: Reader, adoption: Adoption, most: int = 100) -> list[Order]:
    """The newest orders it made, newest first; its stops and targets are the desk's."""
    return [order_of(row) for row in reader.rows(ORDERS, of_source=adoption.source, most=most)]


def count_of_orders(reader: Reader, adoption: Adoption) -> int:
    """How many orders it made, refused ones too."""
    found = reader.rows(COUNT, of_source=adoption.source)
    return int(found[0].orders) if found else 0


def overlapping(working: Iterable[Adoption], symbols: Iterable[str]) -> tuple[str, Adoption] | None:
    """The first of these symbols that a strategy at work trades already, and which one that is."""
    wanted = list(symbols)
    return next(((s, one) for one in working for s in wanted if s in one.symbols), None)


def _read(row: sa.Row[Any], first: Adoption | None) -> Adoption:
    body = json.loads(row.body)
    try:
        setup = Setup.of(body["setup"])
    except (DeskError, ValueError, TypeError) as error:
        raise DeskError(f"adoption {row.id}: its setup cannot be read by this version: {error}") from error
    return Adoption(
        row.id,
        row.account,
        row.strategy,
        body["params"],
        tuple(body["symbols"]),
        body["interval"],
        setup,
        first.actor if first else row.actor,
        first.since if first else row.at,
        State(row.state),
        row.reason,
        row.at,
    )


def decision_of(row: sa.Row[Any]) -> BarDecision:
    wish = (row.adoption, row.symbol, row.bar_time, row.exposure, Done(row.done), row.said)
    state = Waits(*json.loads(row.state)) if row.state else None
    verdicts = tuple(Said(*one) for one in json.loads(row.verdicts)) if row.verdicts else ()
    amounts = row.held, row.wanted, row.stop, row.target
    return BarDecision(*wish, *amounts, row.signal_id, row.at, state, verdicts, row.trail)
