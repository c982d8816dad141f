"""What a strategy decided over a stretch of bars, in a few bytes a bar: most bars say no more than "as before".

The rule: no more of the ledger is read than the stretch that is asked for, and its rows are looked at one by one, so
that a comparison of many sessions costs the engine no more memory than its answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from desk.adoptions import Adoption, BarDecision, Done, decision_of
from desk.reader import Reader
from desk.schema import EPOCH, bar_decision

ACTED = frozenset({Done.ORDERED, Done.NOT_OURS, Done.TOO_SMALL})
AS_BEFORE = BarDecision("", "", EPOCH, 0.0, Done.HELD, "as before")
MICRO = 1_000
_c = bar_decision.c
_micros = sa.type_coerce(_c.bar_time, sa.BigInteger).label("at")
_within = (
    _c.adoption == sa.bindparam("of_id"),
    _c.symbol == sa.bindparam("of_symbol"),
    _c.bar_time >= sa.bindparam("first"),
    _c.bar_time < sa.bindparam("end"),
)
_TOLD = sa.select(bar_decision).where(*_within, _c.done.not_in([Done.HELD, Done.SHADOW])).order_by(_c.bar_time)
_AS_BEFORE = sa.select(_micros).where(*_within, _c.done == Done.HELD).order_by(_c.bar_time)
_WISHES = sa.select(_micros, _c.exposure, _c.done, _c.state).where(*_within).order_by(_c.bar_time)
_STOOD = sa.select(_c.exposure).where(*_within, _c.exposure.is_not(None)).order_by(_c.bar_time.desc()).limit(1)
_ROW = np.dtype([("at", "i8"), ("exposure", "f8"), ("acted", "?"), ("waits", "?")])
Nanos = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Decided:
    """The bars of one symbol, by their opens in UTC nanoseconds: `told` are those that say something (acted, missed,
    failed), `as_before` all that changed nothing, in order."""

    told: Mapping[int, BarDecision] = field(default_factory=dict)
    as_before: Nanos = field(default_factory=lambda: np.empty(0, np.int64))

    def at(self, bar: int) -> BarDecision | None:
        """What was decided on a bar; `AS_BEFORE` where that was nothing new, None where nothing was decided."""
        if (found := self.told.get(bar)) is not None:
            return found
        place = int(np.searchsorted(self.as_before, bar))
        return AS_BEFORE if place < len(self.as_before) and self.as_before[place] == bar else None

    def after(self, bar: int) -> BarDecision | None:
        """The decision on the first bar behind it that has one."""
        told = min((at for at in self.told if at > bar), default=None)
        place = int(np.searchsorted(self.as_before, bar, side="right"))
        quiet = int(self.as_before[place]) if place < len(self.as_before) else None
        if told is None or (quiet is not None and quiet < told):
            return None if quiet is None else AS_BEFORE
        return self.told[told]


def decided(reader: Reader, adoption: str, symbol: str, first: datetime, end: datetime) -> Decided:
    """What was decided of the bars that open from `first` up to before `end`."""
    about = {"of_id": adoption, "of_symbol": symbol, "first": first, "end": end}
    told = {_nanos(row.bar_time): decision_of(row) for row in reader.stream(_TOLD, **about)}
    quiet = (row.at * MICRO for row in reader.stream(_AS_BEFORE, **about))
    return Decided(told, np.fromiter(quiet, np.int64))


def quiet_bars(
    reader: Reader, adoption: Adoption, symbols: Iterable[str], begun: datetime, first: datetime, end: datetime
) -> Nanos:
    """Opens of the bars from `first` up to before `end` on which each symbol's strategy wanted nothing or changed its
    mind, in order. What it wanted before `begun` counts for nothing."""
    common: Nanos | None = None
    for symbol in symbols:
        found = _quiet(reader, adoption.id, symbol, begun, first, end)
        common = found if common is None else np.intersect1d(common, found, assume_unique=True)
    return np.empty(0, np.int64) if common is None else common


def _quiet(reader: Reader, adoption: str, symbol: str, begun: datetime, first: datetime, end: datetime) -> Nanos:
    about: dict[str, Any] = {"of_id": adoption, "of_symbol": symbol}
    first = max(first, begun)
    before = reader.rows(_STOOD, **about, first=begun, end=first)
    stood = float(before[0].exposure) if before else 0.0
    rows = np.fromiter(map(_wish, reader.stream(_WISHES, **about, first=first, end=end)), _ROW)
    # What it stands for after each bar: its newest word so far.
    last = np.maximum.accumulate(np.where(np.isnan(rows["exposure"]), -1, np.arange(len(rows))))
    after = np.where(last < 0, stood, rows["exposure"][last] if len(rows) else 0.0)
    was = np.r_[stood, after[:-1]] if len(rows) else after
    still = ~np.isnan(rows["exposure"]) & (was == 0.0) & (after == 0.0) & ~rows["waits"]
    return np.asarray(rows["at"][rows["acted"] | still] * MICRO)


def _wish(row: Any) -> tuple[int, float, bool, bool]:
    exposure = float("nan") if row.exposure is None else row.exposure
    return row.at, exposure, Done(row.done) in ACTED, bool(row.state) and json.loads(row.state)[0] != 0


def _nanos(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1) * MICRO
