"""What a strategy did at work beside what its backtest would have done: bar by bar, order by order, to the cent.

The rule: a difference counts as drift unless it has a known reason that the ledger itself names: bars missed while no
engine ran, a pause, a gate's or the broker's refusal, a person's hand, an order cut for money or by its rung, or a
trailing stop that only some path through a bar would have set off.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from backtest.book import BY_TRAIL, CLOSE_ENOUGH, HIGHEST, LOWEST
from backtest.result import PURPOSES, Result
from desk.adoptions import BarDecision, Done
from desk.decided import ACTED, Decided
from desk.nights import MOST_KEPT, Night
from desk.rungs import CUT
from domain.candles import nanos
from domain.instruments import instrument
from domain.orders import Order, Purpose, Side, Status

_REFUSED = frozenset({Status.DENIED, Status.REFUSED, Status.NOT_PLACED, Status.LAPSED})
_ENDED = frozenset({Status.CANCELLED, Status.EXPIRED})
TRAILED = PURPOSES[BY_TRAIL]
BY_SIGNAL, BY_STOP, BY_HAND = "signal", "stop or target", "hand"


class Moved(NamedTuple):
    """A fill that changed what the strategy holds of its own by `moved`, below zero when sold."""

    symbol: str
    time: datetime
    moved: float
    price: float
    fee: float
    leg: str
    signal_id: str = ""


@dataclass(frozen=True, slots=True)
class Did:
    """What the desk did: its decisions by symbol, who tells the orders of a signal, and its fills. `paused`: when it
    was asked nothing."""

    decisions: Mapping[str, Decided]
    orders: Callable[[str], list[Order]]
    fills: list[Moved]
    paused: list[tuple[datetime, datetime]] = field(default_factory=list)


class Key(NamedTuple):
    """What fills are held against each other by: the bar they were decided on or, of a stop, on which it filled."""

    at: int
    symbol: str
    leg: str
    side: int


@dataclass(slots=True)
class Lump:
    """Fills of one key together."""

    quantity: float = 0.0
    money: float = 0.0
    fees: float = 0.0

    def add(self, quantity: float, price: float, fee: float) -> None:
        self.quantity, self.money, self.fees = self.quantity + quantity, self.money + quantity * price, self.fees + fee

    @property
    def price(self) -> float:
        return self.money / self.quantity if self.quantity else float("nan")

    def worth(self, side: int, last: float, quantity: float) -> float:
        """What `quantity` of it is worth at the last price, after its fees."""
        if not self.quantity:
            return 0.0
        return side * quantity * (last - self.price) - self.fees * quantity / self.quantity


@dataclass(slots=True)
class _Found:
    """What has been found so far."""

    money: float
    decisions: int = 0
    odd: int = 0
    fills: int = 0
    odd_fills: int = 0
    worse: float = 0.0
    traded: float = 0.0
    behind: float = 0.0
    apart: float = 0.0
    explained: Counter[str] = field(default_factory=Counter)
    supposed: set[Key] = field(default_factory=set)
    differing: list[str] = field(default_factory=list)

    def differs(self, said: str) -> None:
        if len(self.differing) < MOST_KEPT:
            self.differing.append(said)


def compared(result: Result, did: Did, symbols: Iterable[str], day: date) -> Night:
    """The desk's work held against a backtest that began with the same money, at the same bar, with nothing held; only
    of these symbols."""
    ones = {one.instrument.symbol: one for one in result.inputs.ones}
    found = _Found(result.inputs.setup.cash)
    changes: dict[str, list[int]] = {}
    for symbol in symbols:
        index = pd.DatetimeIndex(ones[symbol].candles.index)
        changes[symbol] = _decisions(found, symbol, index, ones[symbol].want, did)
    _fills(found, result, did, changes)
    return Night(
        day,
        result.times[1].isoformat(),
        found.decisions,
        found.odd,
        found.fills,
        found.odd_fills,
        round(1e4 * found.worse / found.traded, 3) if found.traded else None,
        round(100.0 * found.behind / found.money, 4),
        dict(found.explained),
        tuple(found.differing),
    )


# Decisions


def _decisions(found: _Found, symbol: str, index: pd.DatetimeIndex, want: Any, did: Did) -> list[int]:
    """Bar by bar what each of the two stood for; the rows on which the backtest changed its mind."""
    known = did.decisions.get(symbol, Decided())
    stood, before, changes = 0.0, 0.0, list[int]()
    for row, at in enumerate(index.as_unit("ns").asi8.tolist()):
        one = known.at(at)
        changed = abs(want[row] - before) > CLOSE_ENOUGH
        before = float(want[row])
        if changed:
            changes.append(row)
        acted = one is not None and one.done in ACTED
        if acted and one is not None and one.exposure is not None:
            stood = one.exposure
        if not (changed or acted):
            continue
        found.decisions += 1
        if abs(stood - before) <= CLOSE_ENOUGH:
            continue
        if reason := _why_undecided(one, at, known, did):
            found.explained[reason] += 1
            continue
        found.odd += 1
        here = f"stood for {stood:+.4g}" if one is not None else "decided nothing"
        found.differs(f"{symbol} {index[row]:%Y-%m-%d %H:%M}: the desk {here}, its backtest for {before:+.4g}.")
    return changes


def _why_undecided(one: BarDecision | None, at: int, known: Decided, did: Did) -> str:
    """The known reason why a bar was not decided; '' where there is none."""
    if one is not None:
        return {Done.MISSED: "missed", Done.FAULT: "failed"}.get(one.done, "")
    moment = pd.Timestamp(at, tz="UTC").to_pydatetime()
    if any(begin <= moment <= end for begin, end in did.paused):
        return "paused"
    following = known.after(at)
    return "missed" if following is not None and following.done is Done.MISSED else ""


# Fills


def _fills(found: _Found, result: Result, did: Did, changes: Mapping[str, list[int]]) -> None:
    ones = {one.instrument.symbol: one for one in result.inputs.ones}
    times = {symbol: nanos(ones[symbol].candles) for symbol in changes}
    theirs, ours = _promised(result, times, changes), _done(did, times)
    found.supposed = _supposed(result, times)
    lasts = {symbol: float(ones[symbol].block[3, -1]) for symbol in changes}
    excess: defaultdict[str, float] = defaultdict(float)
    for key in sorted({*theirs, *ours}, key=lambda key: (key.at, key.leg != BY_HAND, key)):
        _pair(found, key, theirs.get(key, Lump()), ours.get(key, Lump()), lasts[key.symbol], did, excess)


def _promised(result: Result, times: Mapping[str, Any], changes: Mapping[str, list[int]]) -> dict[Key, Lump]:
    lumps: defaultdict[Key, Lump] = defaultdict(Lump)
    for given in result.fills.itertuples():
        row: Any = given
        symbol = str(row.symbol)
        if symbol not in times:
            continue
        own = times[symbol]
        at = int(np.searchsorted(own, row.time.value))
        leg = BY_SIGNAL if row.purpose in ("entry", "signal") else BY_STOP
        if leg == BY_SIGNAL:
            decided = bisect_right(changes[symbol], at - 1) - 1
            at = changes[symbol][decided] if decided >= 0 else at
        side = 1 if row.side == "buy" else -1
        lumps[Key(int(own[at]), symbol, leg, side)].add(float(row.quantity), float(row.price), float(row.fee))
    return dict(lumps)


def _supposed(result: Result, times: Mapping[str, Any]) -> set[Key]:
    """The trailing stops that the backtest took for reached since some path through the bar would have set them off,
    up first and then down: what the market really did, a bar does not tell. Such a stop fills at the bar's worst."""
    ones, found = {one.instrument.symbol: one for one in result.inputs.ones}, set[Key]()
    for given in result.fills.itertuples():
        row: Any = given
        if row.purpose != TRAILED or row.symbol not in times:
            continue
        own, side = times[row.symbol], 1 if row.side == "buy" else -1
        at = int(np.searchsorted(own, row.time.value))
        worst = float(ones[row.symbol].block[HIGHEST if side > 0 else LOWEST, at])
        if side * float(row.market) >= side * worst - CLOSE_ENOUGH * worst:
            found.add(Key(int(own[at]), str(row.symbol), BY_STOP, side))
    return found


def _done(did: Did, times: Mapping[str, Any]) -> dict[Key, Lump]:
    told = (one for found in did.decisions.values() for one in found.told.values())
    bars = {one.signal_id: one.bar_time for one in told if one.signal_id}
    lumps: defaultdict[Key, Lump] = defaultdict(Lump)
    for fill in did.fills:
        if fill.symbol not in times:
            continue
        moment = bars.get(fill.signal_id, fill.time) if fill.leg == BY_SIGNAL else fill.time
        own = times[fill.symbol]
        at = int(own[max(int(np.searchsorted(own, pd.Timestamp(moment).value, side="right")) - 1, 0)])
        side = 1 if fill.moved > 0 else -1
        lumps[Key(at, fill.symbol, fill.leg, side)].add(abs(fill.moved), fill.price, fill.fee)
    return dict(lumps)


def _pair(
    found: _Found, key: Key, theirs: Lump, ours: Lump, last: float, did: Did, excess: defaultdict[str, float]
) -> None:
    """One key's fills. `excess`: by how much the backtest holds more than the desk for reasons known, by symbol."""
    both = min(theirs.quantity, ours.quantity)
    if both:
        found.fills += 1
        found.worse += key.side * (ours.price - theirs.price) * both
        found.traded += theirs.price * both
        found.behind += theirs.worth(key.side, last, both) - ours.worth(key.side, last, both)
    more, less = theirs.quantity - both, ours.quantity - both
    gap = theirs.worth(key.side, last, more) - ours.worth(key.side, last, less)
    delta = key.side * (more - less)
    lot = float(instrument(key.symbol).lot)
    if abs(delta) < lot / 2:
        found.apart += theirs.worth(key.side, last, both) - ours.worth(key.side, last, both)
        return
    reason = _why_apart(found, key, theirs, ours, did, excess[key.symbol], delta, lot)
    found.apart += gap
    if reason:
        excess[key.symbol] += delta
        found.explained[reason] += 1
        return
    found.odd_fills += 1
    found.behind += gap
    when = pd.Timestamp(key.at, tz="UTC")
    word = "bought" if key.side > 0 else "sold"
    found.differs(
        f"{key.symbol} {when:%Y-%m-%d %H:%M}, {key.leg}: the desk {word} {ours.quantity:g}, its backtest "
        f"{theirs.quantity:g}."
    )


def _why_apart(
    found: _Found, key: Key, theirs: Lump, ours: Lump, did: Did, excess: float, delta: float, lot: float
) -> str:
    """The known reason why quantities differ; '' where there is none."""
    if key.leg == BY_HAND:
        return "by hand"
    near = lot * 1.5 + max(theirs.quantity, ours.quantity) * abs(found.apart) / found.money
    if excess * delta < 0 and abs(delta) <= abs(excess) + near:
        return "follows"
    if key.leg == BY_SIGNAL and (reason := _of_decision(key, did, fewer=ours.quantity < theirs.quantity)):
        return reason
    if key.leg == BY_STOP and (reason := _unseen(key, did)):
        return reason
    if key in found.supposed and ours.quantity < theirs.quantity:
        return "path in the bar"
    return "other money" if theirs.quantity and ours.quantity and abs(delta) <= near else ""


def _unseen(key: Key, did: Did) -> str:
    """Why nobody saw a stop or a target reached: no engine followed the bar, where its fills need one."""
    known = did.decisions.get(key.symbol, Decided())
    one = known.at(key.at)
    return _why_undecided(one, key.at, known, did) if one is None or one.exposure is None else ""


def _of_decision(key: Key, did: Did, *, fewer: bool) -> str:
    """What the ledger says of the decision behind it."""
    known = did.decisions.get(key.symbol, Decided())
    one = known.at(key.at)
    if one is None or one.done not in ACTED:
        return _why_undecided(one, key.at, known, did) if one is None or one.exposure is None else ""
    if one.done is Done.NOT_OURS:
        return "a person's position"
    if fewer and CUT in one.said:
        return "cut by its rung"
    if one.done is Done.TOO_SMALL:
        return "too small"
    orders = did.orders(one.signal_id)
    if fewer and any(order.status in _REFUSED for order in orders):
        return "refused"
    if fewer and any(order.status in _ENDED and order.remaining for order in orders):
        return "cancelled"
    entries = [o for o in orders if o.request.purpose is Purpose.ENTRY]
    asked = sum((o.request.quantity for o in entries), Decimal(0))
    held = abs(one.held) if one.held * one.wanted > 0 else Decimal(0)
    opens = abs(one.wanted) - held
    if fewer and entries and asked < opens and entries[0].request.side is (Side.BUY if one.wanted > 0 else Side.SELL):
        return "cut for money"
    return ""
