"""Candle frames: what one looks like, what is refused in one, and how fine bars become coarse ones.

A candle frame has the index `time` (UTC, nanoseconds, the bar's *open* time, strictly increasing) and the columns
`open high low close volume` (float64, finite). It holds closed bars only: the forming bar is a `Quote`, never a row.
Frames are checked once, at the border, by `check`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from domain.errors import DataError, UnknownName
from domain.instruments import Instrument

COLUMNS = ("open", "high", "low", "close", "volume")
_NAMES = pd.Index(COLUMNS)
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Timeframe:
    """How long a bar lasts. `1d` is one regular session of its exchange, for crypto one UTC day."""

    name: str
    seconds: int

    @property
    def duration(self) -> timedelta:
        return timedelta(seconds=self.seconds)

    @property
    def nanos(self) -> int:
        return self.seconds * 1_000_000_000

    @property
    def daily(self) -> bool:
        return self.seconds == 86_400


TIMEFRAMES: dict[str, Timeframe] = {
    name: Timeframe(name, seconds)
    for name, seconds in {"1m": 60, "5m": 300, "15m": 900, "1h": 3600, "4h": 14_400, "1d": 86_400}.items()
}


def timeframe(name: str) -> Timeframe:
    """The timeframe called `name`; UnknownName offers the nearest."""
    if name not in TIMEFRAMES:
        raise UnknownName.of("timeframe", str(name), TIMEFRAMES)
    return TIMEFRAMES[name]


@dataclass(frozen=True, slots=True)
class Fault:
    """One broken rule: the row's position (-1: the whole frame), the rule's short name and what was found."""

    row: int
    rule: str
    found: str

    def __str__(self) -> str:
        return f"row {self.row}: {self.rule}: {self.found}" if self.row >= 0 else f"{self.rule}: {self.found}"


def empty() -> pd.DataFrame:
    """A candle frame with no rows."""
    index = pd.DatetimeIndex([], dtype="datetime64[ns, UTC]", name="time")
    return pd.DataFrame({c: np.empty(0) for c in COLUMNS}, index=index)


def frame(times: npt.ArrayLike, values: dict[str, npt.ArrayLike]) -> pd.DataFrame:
    """A candle frame from UTC nanoseconds and the five columns, unchecked."""
    nanos = np.asarray(times, dtype=np.int64)
    index = pd.DatetimeIndex(nanos.view("datetime64[ns]"), name="time", tz="UTC")
    block = np.stack([np.asarray(values[c], dtype=np.float64) for c in COLUMNS])
    return pd.DataFrame(block.T, index=index, columns=_NAMES, copy=False)


def nanos(candles: pd.DataFrame) -> npt.NDArray[np.int64]:
    """The index as UTC nanoseconds; not to be written into, since an index in nanoseconds lends its own."""
    index = candles.index
    assert isinstance(index, pd.DatetimeIndex)
    return index.asi8 if index.unit == "ns" else index.as_unit("ns").asi8


def faults(
    candles: pd.DataFrame,
    instrument: Instrument | None = None,
    tf: Timeframe | None = None,
    now: datetime | None = None,
) -> list[Fault]:
    """Every broken rule, each row under the first rule it breaks, in row order.

    With `instrument` and `tf` a bar must also start where bars of its exchange start (a shifted zone shows here);
    with `now` a bar that has not closed yet is refused as `forming bar`.
    """
    if whole := _frame_faults(candles):
        return whole
    found: dict[int, Fault] = {}
    for rule, bad, describe in _row_rules(candles, instrument, tf, now):
        for row in np.flatnonzero(bad):
            found.setdefault(int(row), Fault(int(row), rule, describe(int(row))))
    return [found[row] for row in sorted(found)]


def check(
    candles: pd.DataFrame,
    instrument: Instrument | None = None,
    tf: Timeframe | None = None,
    now: datetime | None = None,
) -> pd.DataFrame:
    """The frame in its one true shape, or a DataError that names the first bad row and how many there are."""
    if wrong := faults(candles, instrument, tf, now):
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        raise DataError(f"{instrument.symbol + ': ' if instrument else ''}{wrong[0]}{more}")
    return _normal(candles)


def sift(
    candles: pd.DataFrame,
    instrument: Instrument | None = None,
    tf: Timeframe | None = None,
    now: datetime | None = None,
) -> tuple[pd.DataFrame, list[Fault]]:
    """The good rows and the faults of the others. A frame that is wrong as a whole gives no rows."""
    wrong = faults(candles, instrument, tf, now)
    if wrong and wrong[0].row < 0:
        return empty(), wrong
    keep = np.ones(len(candles), dtype=bool)
    keep[[fault.row for fault in wrong]] = False
    return _normal(candles[keep]), wrong


def between(candles: pd.DataFrame, start: datetime, end: datetime) -> pd.DataFrame:
    """The bars that open in [start, end)."""
    at = nanos(candles)
    lo, hi = np.searchsorted(at, [pd.Timestamp(start).value, pd.Timestamp(end).value])
    return candles.iloc[lo:hi]


def session_times(days: npt.ArrayLike, instrument: Instrument) -> npt.NDArray[np.int64]:
    """Dates without a time, as the UTC nanoseconds of that session's open; -1 for a date without a session."""
    wanted = np.asarray(days, dtype="datetime64[D]")
    s = instrument.calendar.sessions
    at = np.minimum(np.searchsorted(s.days, wanted), len(s.days) - 1)
    return np.where(s.days[at] == wanted, s.open[at], -1)


def starts(times: npt.NDArray[np.int64], tf: Timeframe, instrument: Instrument) -> npt.NDArray[np.int64]:
    """The open time of the bar that each moment belongs to; -1 for a moment in no bar.

    Buckets are counted from the start of their own part of the session (04:00, 09:30, the close), so that no bar
    mixes regular and extended hours: 1h and 4h bars of stocks start at 09:30 New York. `1d` knows regular hours only.
    """
    s = instrument.calendar.sessions
    at, phase = instrument.calendar.locate(times)
    safe = np.maximum(at, 0)
    if tf.daily:
        return np.where(phase == 2, s.open[safe], -1)
    begin = np.select([phase == 1, phase == 2, phase == 3], [s.pre[safe], s.open[safe], s.close[safe]], 0)
    return np.where(phase == 0, -1, begin + (times - begin) // tf.nanos * tf.nanos)


def ends(opens: npt.NDArray[np.int64], tf: Timeframe, instrument: Instrument) -> npt.NDArray[np.int64]:
    """When bars that open at these moments close: after their length, or with their part of the session."""
    s = instrument.calendar.sessions
    at, phase = instrument.calendar.locate(opens)
    safe = np.maximum(at, 0)
    part_ends = np.select([phase == 1, phase == 2, phase == 3], [s.open[safe], s.close[safe], s.post[safe]], opens)
    return part_ends if tf.daily else np.minimum(opens + tf.nanos, np.maximum(part_ends, opens))


def unclosed(opens: npt.NDArray[np.int64], tf: Timeframe, instrument: Instrument, now: datetime) -> Mask:
    """Which bars have not closed by `now`. No bar lasts longer than its timeframe, so only young ones are looked at."""
    moment = pd.Timestamp(now).value
    young = opens > moment - tf.nanos
    if young.any():
        young[young] = ends(opens[young], tf, instrument) > moment
    return np.asarray(young)


def expected(start: datetime, end: datetime, tf: Timeframe, instrument: Instrument) -> npt.NDArray[np.int64]:
    """The opens of all regular-hours bars in [start, end): what a store without gaps would hold."""
    s = instrument.calendar.sessions
    lo, hi = pd.Timestamp(start).value, pd.Timestamp(end).value
    first, last = np.searchsorted(s.close, lo, side="right"), np.searchsorted(s.open, hi)
    if tf.daily:
        opens = s.open[first:last]
    else:
        spans = zip(s.open[first:last], s.close[first:last], strict=True)
        opens = np.concatenate([np.arange(a, b, tf.nanos) for a, b in spans] or [np.empty(0, np.int64)])
    return opens[(opens >= lo) & (opens < hi)]


def resample(
    candles: pd.DataFrame,
    tf: Timeframe,
    instrument: Instrument,
    until: datetime | None = None,
) -> pd.DataFrame:
    """Coarser bars from finer ones: first open, highest high, lowest low, last close, summed volume.

    `until` is the moment up to which the finer bars are complete: a bucket that ends later is left out, since it
    is still forming. Without it every bucket is kept.
    """
    times = nanos(candles)
    bucket = starts(times, tf, instrument)
    inside = bucket >= 0
    if not inside.any():
        return empty()
    bucket = bucket[inside]
    first = np.flatnonzero(np.r_[True, bucket[1:] != bucket[:-1]])
    last = np.r_[first[1:], len(bucket)] - 1
    o, h, l, c, v = (candles[name].to_numpy()[inside] for name in COLUMNS)  # noqa: E741 - the field's letters
    out = frame(
        bucket[first],
        {
            "open": o[first],
            "high": np.maximum.reduceat(h, first),
            "low": np.minimum.reduceat(l, first),
            "close": c[last],
            "volume": np.add.reduceat(v, first),
        },
    )
    if until is None:
        return out
    return out[ends(nanos(out), tf, instrument) <= pd.Timestamp(until).value]


def _normal(candles: pd.DataFrame) -> pd.DataFrame:
    return frame(nanos(candles), dict(zip(COLUMNS, _columns(candles), strict=True)))


def _columns(candles: pd.DataFrame) -> list[Floats]:
    """The five, each as numbers: out of one block where the frame has its shape already, as nearly every one has."""
    if candles.columns.equals(_NAMES):
        return list(candles.to_numpy(np.float64).T)
    return [candles[name].to_numpy(np.float64) for name in COLUMNS]


def _frame_faults(candles: pd.DataFrame) -> list[Fault]:
    shaped = candles.columns.equals(_NAMES) and candles.to_numpy().dtype == np.float64
    if missing := [c for c in COLUMNS if not shaped and c not in candles.columns]:
        return [Fault(-1, "missing column", ", ".join(missing))]
    index = candles.index
    if not isinstance(index, pd.DatetimeIndex):
        return [Fault(-1, "wrong index", f"times are needed, got {index.dtype}")]
    if index.tz is None or str(index.tz) not in ("UTC", "datetime.timezone.utc"):
        return [Fault(-1, "wrong zone", f"the index must be UTC, got {index.tz or 'no zone'}")]
    texts = [c for c in COLUMNS if not shaped and not pd.api.types.is_numeric_dtype(candles[c])]
    return [Fault(-1, "not a number", f"column {c} holds {candles[c].dtype}") for c in texts]


Rule = tuple[str, Mask, Callable[[int], str]]
_NO_TIME = np.iinfo(np.int64).min


def _sound(o: Floats, h: Floats, l: Floats, c: Floats, v: Floats) -> bool:  # noqa: E741 - the field's letters
    """Whether no number breaks a rule: true of nearly every frame, and told in a fraction of the time."""
    with np.errstate(invalid="ignore"):
        lowest = np.minimum(np.minimum(o, c), l)
        highest = np.maximum(np.maximum(o, c), h)
        tight = np.all(lowest == l) and np.all(highest == h) and np.all(v >= 0)
        return bool(tight and len(l) and l.min() > 0 and np.isfinite(h.max()) and np.isfinite(v.max()))


def _row_rules(
    candles: pd.DataFrame, instrument: Instrument | None, tf: Timeframe | None, now: datetime | None
) -> Iterator[Rule]:
    """(rule, mask of bad rows, row -> what was found), the most telling rule first."""
    o, h, l, c, v = _columns(candles)  # noqa: E741 - the field's letters
    times = nanos(candles)

    def when(r: int) -> str:
        return str(candles.index[r].isoformat())

    def show(r: int) -> str:
        return f"{when(r)} open {o[r]:g} high {h[r]:g} low {l[r]:g} close {c[r]:g}"

    if not _sound(o, h, l, c, v):
        prices = np.column_stack([o, h, l, c])
        every = np.column_stack([prices, v])
        yield "NaN", np.asarray(np.isnan(every).any(axis=1)), lambda r: f"{show(r)} volume {v[r]:g}"
        yield "infinite", np.asarray(np.isinf(every).any(axis=1)), lambda r: f"{show(r)} volume {v[r]:g}"
        yield "not above zero", np.asarray((prices <= 0).any(axis=1)), show
        yield "negative volume", v < 0, lambda r: f"{when(r)} volume {v[r]:g}"
        yield "high below low", h < l, show
        yield "high below open or close", h < np.maximum(o, c), show
        yield "low above open or close", l > np.minimum(o, c), show
    if len(times) and not (times[0] > _NO_TIME and np.all(times[1:] > times[:-1])):
        yield "no time", np.asarray(candles.index.isna()), lambda r: "the time is missing"
        highest = np.maximum.accumulate(np.r_[_NO_TIME, times[:-1]])
        yield "duplicate time", np.asarray(pd.Index(times).duplicated()), when
        yield "out of order", np.asarray(times < highest), when
    if instrument is not None and tf is not None:
        begin = starts(times, tf, instrument)
        label = f"{tf.name} bar of {instrument.symbol}"
        yield (
            "outside the session",
            begin < 0,
            lambda r: f"{when(r)} is in no {label}: is its time zone right?",
        )
        yield (
            "off the grid",
            times != begin,
            lambda r: f"{when(r)} does not start a {label}: is its time zone right?",
        )
        if now is not None:
            yield "forming bar", unclosed(times, tf, instrument, now), lambda r: f"{when(r)} has not closed yet"
    elif tf is not None and now is not None:
        open_still = times + tf.nanos > pd.Timestamp(now).value
        yield "forming bar", open_still, lambda r: f"{when(r)} has not closed yet"
