"""Candle frames with known faults, from a seed: which row breaks which rule is decided here, before any rule is asked.

Sound bars come from the simulated market, in mixed symbols and timeframes, extended hours included. Faults lie at
least six rows apart, so that none touches its neighbour; some rows carry two.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd

from domain.candles import COLUMNS, TIMEFRAMES, Timeframe, frame, nanos
from domain.clock import ManualClock
from domain.instruments import Instrument, instrument
from feeds.simulated import SimulatedFeed
from settings import Settings

NEW_YORK = ZoneInfo("America/New_York")
SYMBOLS = ("AAPL", "NVDA", "SPY", "XOM", "USO", "BTCUSDT", "ADAUSDT")
DAYS = {"1m": 10, "5m": 30, "15m": 60, "1h": 90, "4h": 200, "1d": 2500}
APART = 6
HOUR = 3_600_000_000_000
OPEN, HIGH, LOW, CLOSE, VOLUME = range(5)
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(slots=True)
class Case:
    """One frame. `kinds` and `rules` tell, by row (-1: the whole frame), what was done and how it must be called.

    `loose`: the whole frame was moved, so rows beyond those listed may be refused too.
    """

    of: Instrument
    tf: Timeframe
    candles: pd.DataFrame
    kinds: dict[int, str] = field(default_factory=dict)
    rules: dict[int, frozenset[str]] = field(default_factory=dict)
    now: datetime | None = None
    loose: bool = False

    def expect(self, row: int, kind: str, *rules: str) -> None:
        self.kinds[row] = kind if row not in self.kinds else "two faults in one row"
        self.rules[row] = self.rules.get(row, frozenset()) | set(rules)


Draw = np.random.Generator
Values = Callable[[Floats, Draw], None]


def _nan(bar: Floats, draw: Draw) -> None:
    bar[draw.integers(5)] = np.nan


def _infinite(bar: Floats, draw: Draw) -> None:
    bar[draw.integers(5)] = draw.choice([np.inf, -np.inf])


def _zero(bar: Floats, draw: Draw) -> None:
    bar[draw.integers(4)] = 0.0


def _negative(bar: Floats, draw: Draw) -> None:
    at = draw.integers(4)
    bar[at] = -bar[at]


def _negative_volume(bar: Floats, draw: Draw) -> None:
    bar[VOLUME] = -draw.uniform(0.01, 1000)


def _high_below_low(bar: Floats, draw: Draw) -> None:
    bar[HIGH] = bar[LOW] * draw.uniform(0.5, 0.999)


def _high_too_low(bar: Floats, draw: Draw) -> None:
    bar[LOW], bar[HIGH] = min(bar[OPEN], bar[CLOSE]) * 0.98, max(bar[OPEN], bar[CLOSE]) * 0.99


def _low_too_high(bar: Floats, draw: Draw) -> None:
    bar[HIGH], bar[LOW] = max(bar[OPEN], bar[CLOSE]) * 1.02, min(bar[OPEN], bar[CLOSE]) * 1.01


# What is done to one bar's numbers, and the rule that must name it.
IN_VALUES: dict[str, tuple[Values, str]] = {
    "NaN": (_nan, "NaN"),
    "infinite": (_infinite, "infinite"),
    "zero price": (_zero, "not above zero"),
    "negative price": (_negative, "not above zero"),
    "negative volume": (_negative_volume, "negative volume"),
    "high below low": (_high_below_low, "high below low"),
    "high below open or close": (_high_too_low, "high below open or close"),
    "low above open or close": (_low_too_high, "low above open or close"),
}
SHIFTED_ROW = "shifted by the UTC offset"
IN_ROWS = (*IN_VALUES, "duplicate time", "out of order", "off the grid", "no time", SHIFTED_ROW)
IN_FRAMES = {
    "no zone": "wrong zone",
    "another zone": "wrong zone",
    "missing column": "missing column",
    "text in a number column": "not a number",
    "no times": "wrong index",
}
FORMING, SHIFTED, CLEAN = "forming bar", "whole frame shifted by the UTC offset", "clean"
TURNS = (CLEAN, "rows", FORMING, "rows", *IN_FRAMES, "rows", SHIFTED, CLEAN, "rows", CLEAN)


def cases(
    total: int, seed: int, *, most_rows: int = 4000, faults: int | None = None, whole_days: bool = False
) -> Iterator[Case]:
    """Frames that hold `total` candles together; `faults` row faults a frame, one in twenty rows where None.

    `whole_days`: each frame begins and ends with a New York day, as exported files do.
    """
    draw = np.random.default_rng(seed)
    made = turn = 0
    while made < total:
        case = _sound(draw, min(most_rows, total - made), whole_days)
        made += len(case.candles)
        _spoil(case, TURNS[turn % len(TURNS)], draw, faults)
        turn += 1
        yield case


def regular_hours_moved(total: int, seed: int) -> Iterator[Case]:
    """Frames of regular hours alone, moved whole by the UTC offset, one way or the other: the hardest to see, since
    they may land on hours in which a bar may stand."""
    for number, case in enumerate(cases(total, seed, whole_days=True)):
        times = nanos(case.candles) if not case.kinds else np.empty(0, dtype=np.int64)
        if case.of.is_crypto or case.tf.daily or not len(times):
            continue
        regular = case.candles[case.of.calendar.locate(times)[1] == 2]
        moved = nanos(regular) + _offset(nanos(regular)) * (-1) ** number
        shifted = frame(moved, {c: regular[c].to_numpy() for c in COLUMNS})
        yield Case(case.of, case.tf, shifted, {-1: SHIFTED}, {-1: frozenset()}, loose=True)


def _sound(draw: Draw, most: int, whole_days: bool) -> Case:
    of, tf = instrument(str(draw.choice(SYMBOLS))), TIMEFRAMES[str(draw.choice(list(TIMEFRAMES)))]
    feed = SimulatedFeed(Settings(simulated_clock="real"), ManualClock(datetime(2026, 11, 20, 21, tzinfo=UTC)))
    start = datetime(2012, 1, 2, tzinfo=UTC) + timedelta(days=int(draw.integers(0, 2600)))
    found = asyncio.run(feed.candles(of, tf, start, start + timedelta(days=DAYS[tf.name])))
    begin = int(draw.integers(0, max(1, len(found) // 4)))
    rows = slice(begin, begin + min(most, int(draw.integers(150, 4000))))
    if whole_days and not tf.daily:
        days = pd.DatetimeIndex(found.index).tz_convert(NEW_YORK).normalize().as_unit("ns").asi8
        first = np.searchsorted(days, days[begin])
        last = max(np.searchsorted(days, days[min(rows.stop, len(days) - 1)]), np.searchsorted(days, days[first] + 1))
        rows = slice(int(first), int(last))
    return Case(of, tf, found.iloc[rows].copy())


def _spoil(case: Case, turn: str, draw: Draw, faults: int | None) -> None:
    if turn == "rows" and len(case.candles) > 4 * APART:
        _spoil_rows(case, draw, faults or max(1, len(case.candles) // 20))
    elif turn in IN_FRAMES:
        _spoil_frame(case, turn, draw)
    elif turn == SHIFTED and not case.of.is_crypto:
        _shift(case)
    elif turn == FORMING and len(case.candles) > 3:
        _form(case, draw)


def _spoil_rows(case: Case, draw: Draw, faults: int) -> None:
    times, values = nanos(case.candles).copy(), case.candles.to_numpy().copy()
    kinds = draw.choice(IN_ROWS, size=faults).tolist()
    nights = draw.permutation(_before_a_night(case, times))[: kinds.count(SHIFTED_ROW)]
    places = np.arange(APART, len(times) - APART, APART)
    places = places[(np.abs(places[:, None] - nights) >= APART).all(axis=1)]
    for row in nights.tolist():
        times[row] = _moved(times[row : row + 1], case.tf)[0]
        case.expect(row, SHIFTED_ROW, "outside the session")
    elsewhere = [kind for kind in kinds if kind != SHIFTED_ROW]
    for row, kind in zip(draw.permutation(places).tolist(), elsewhere, strict=False):
        if kind in IN_VALUES:
            _spoil_values(case, row, kind, values, draw)
        else:
            _spoil_time(case, row, kind, times, values, draw)
        if faults > 1 and kind in ("off the grid", "duplicate time") and draw.random() < 0.5:
            _spoil_values(case, row, "negative volume", values, draw)
    case.candles = frame(times, {c: values[:, at] for at, c in enumerate(COLUMNS)})


def _spoil_values(case: Case, row: int, kind: str, values: Floats, draw: Draw) -> None:
    spoil, rule = IN_VALUES[kind]
    spoil(values[row], draw)
    case.expect(row, kind, rule)


def _spoil_time(case: Case, row: int, kind: str, times: Ints, values: Floats, draw: Draw) -> None:
    if kind == "duplicate time":
        times[row] = times[row - 1]
        if draw.random() < 0.5:
            values[row] = values[row - 1]
    elif kind == "out of order":  # an earlier bar comes late
        back = int(draw.integers(1, 4))
        for column in (times, values):
            column[row - back : row + 1] = np.roll(column[row - back : row + 1], -1, axis=0)
    elif kind == "off the grid":  # within half an hour, the shortest that a bar of 1h or 4h can be
        times[row] += int(draw.integers(1, min(case.tf.seconds, 1800))) * 10**9
    else:
        times[row] = np.iinfo(np.int64).min
    case.expect(row, kind, kind)


def _before_a_night(case: Case, times: Ints) -> Ints:
    """Rows that a shift by the UTC offset puts into the night, and no further than their neighbours."""
    if case.of.is_crypto:
        return np.empty(0, dtype=np.int64)
    moved = _moved(times, case.tf)[1:-1]
    found = _at_night(moved, case.tf) & (times[:-2] < moved) & (moved < times[2:])
    return np.flatnonzero(found) + 1


def _moved(times: Ints, tf: Timeframe) -> Ints:
    """UTC's wall clock taken for New York's; for daily bars the other way round, since that falls out of the day."""
    return times + _offset(times) * (-1 if tf.daily else 1)


def _spoil_frame(case: Case, kind: str, draw: Draw) -> None:
    candles, column = case.candles, str(draw.choice(COLUMNS))
    if kind == "no zone":
        case.candles = candles.tz_localize(None)
    elif kind == "another zone":
        case.candles = candles.tz_convert(str(draw.choice(["America/New_York", "Europe/London", "Asia/Tokyo"])))
    elif kind == "missing column":
        case.candles = candles.drop(columns=column)
    elif kind == "no times":
        case.candles = candles.reset_index(drop=True)
    else:
        texts = candles[column].astype(object)
        texts.iloc[int(draw.integers(len(texts)))] = "n/a"
        case.candles = candles.assign(**{column: texts})
    case.expect(-1, kind, IN_FRAMES[kind])


def _shift(case: Case) -> None:
    """All bars moved by the UTC offset. Rows that land in the night must be named; without one nothing is moved."""
    moved = _moved(nanos(case.candles), case.tf)
    for row in np.flatnonzero(_at_night(moved, case.tf)).tolist():
        case.expect(row, SHIFTED, "outside the session")
    if case.kinds:
        case.loose = True
        case.candles = frame(moved, {c: case.candles[c].to_numpy() for c in COLUMNS})


def _form(case: Case, draw: Draw) -> None:
    """The clock stands inside one of the last three bars."""
    last = int(draw.integers(1, 4))
    begin = int(nanos(case.candles)[-last])
    inside = int(draw.integers(0, min(case.tf.seconds, 1800)))
    case.now = datetime.fromtimestamp(begin // 10**9 + inside, tz=UTC)
    for row in range(len(case.candles) - last, len(case.candles)):
        case.expect(row, FORMING, "forming bar")


def _offset(times: Ints) -> Ints:
    """How far New York is behind UTC at these moments."""
    index = pd.DatetimeIndex(times, tz="UTC")
    return times - index.tz_convert(NEW_YORK).tz_localize(None).as_unit("ns").asi8


def _at_night(times: Ints, tf: Timeframe) -> npt.NDArray[np.bool_]:
    """No US exchange trades from 20:00 to 04:00 New York; a daily bar opens in no hour before 09:30."""
    hours = pd.DatetimeIndex(times, tz="UTC").tz_convert(NEW_YORK).hour.to_numpy()
    return (hours >= 20) | (hours < (9 if tf.daily else 4))
