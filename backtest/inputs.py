"""From candle frames to the arrays the pass walks over: checked bars, wishes, ranges, sessions and fee tables."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pandas as pd

from backtest import book as b
from backtest.book import Floats
from backtest.setup import SIZINGS, Setup
from backtest.wishes import judged_wants, let_in, tradable
from domain import candles as cd
from domain.calendars import ALWAYS, NEW_YORK
from domain.fees import FINRA_TAF, SEC_SECTION_31, rate_on
from domain.instruments import Instrument, instrument
from indicators import atr
from strategies.base import Wanted

Ints = npt.NDArray[np.int64]
Frames = Mapping[str, pd.DataFrame]

# Candles nobody gave a name to: cents, whole pieces, no hours, and what US shares cost.
UNNAMED = Instrument("UNNAMED", calendar_code=ALWAYS)


@dataclass(frozen=True, slots=True, eq=False)
class One:
    """One symbol in the span that is traded. `block` is open, high, low, close and volume as rows; `at` says which of
    all times each bar has, None for all of them; `ranges` one row for each ATR an exit asks for."""

    instrument: Instrument
    candles: pd.DataFrame
    block: Floats
    at: Ints | None
    want: Floats
    ranges: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Everything a pass reads. `times` are the opens of all bars of all symbols, once each."""

    ones: tuple[One, ...]
    times: Ints
    setup: Setup

    @property
    def symbols(self) -> list[str]:
        return [one.instrument.symbol for one in self.ones]


def named(
    candles: pd.DataFrame | Frames, given: Instrument | Mapping[str, Instrument] | None
) -> list[tuple[Instrument, pd.DataFrame]]:
    """Each frame with its instrument, in the order of symbols."""
    if isinstance(candles, pd.DataFrame):
        if isinstance(given, Mapping):
            raise ValueError("one frame of candles takes one instrument: got a mapping")
        return [(given or UNNAMED, candles)]
    if not candles:
        raise ValueError("there are no candles: give a frame, or frames by symbol")
    if isinstance(given, Instrument):
        raise ValueError("frames by symbol take instruments by symbol: instrument={'AAPL': ...}")
    found = given or {}
    return [(found.get(symbol) or instrument(symbol), candles[symbol]) for symbol in sorted(candles)]


def checked(candles: pd.DataFrame, of: Instrument) -> pd.DataFrame:
    """The frame, held to the rules of candle frames; DataError names the first bad row."""
    index = candles.index
    usual = isinstance(index, pd.DatetimeIndex) and str(index.tz) == "UTC" and list(candles.columns) == list(cd.COLUMNS)
    usual = usual and len(candles) > 0 and all(kind == np.float64 for kind in candles.dtypes)
    if usual and _sound(read_only(times_of(candles)), read_only(block_of(candles))):
        return candles
    return cd.check(candles, None if of is UNNAMED else of)


def gather(
    given: list[tuple[Instrument, pd.DataFrame]],
    wishes: Callable[[Instrument, pd.DataFrame], Wanted | Floats],
    setup: Setup,
    start: datetime | None,
    end: datetime | None,
) -> Inputs:
    """The inputs of a run from `start` to before `end`. Bars before the start only warm the strategy up."""
    periods = setup.periods
    wants: dict[str, tuple[pd.DataFrame, Wanted]] = {}
    raw = []
    for of, candles in given:
        whole = checked(candles, of)
        if end is not None:
            whole = whole.iloc[: int(np.searchsorted(times_of(whole), _nanos(end)))]
        first = 0 if start is None else int(np.searchsorted(times_of(whole), _nanos(start)))
        ranges = [atr(whole, period).to_numpy() for period in periods]
        word = wishes(of, whole)
        wanted = tradable(word if isinstance(word, Wanted) else Wanted(word), setup, ranges)
        bands = np.array([r[first:] for r in ranges]).reshape(len(periods), len(whole) - first)
        wants[of.symbol] = whole, wanted
        raw.append((of, whole, wanted, first, bands))
    if setup.filters:
        found = judged_wants(setup, wants)
        raw = [(of, bars, let_in(setup, *found[of.symbol], first), first, bands) for of, bars, _, first, bands in raw]
    cut = [(of, bars.iloc[first:], w.exposure[first:], bands) for of, bars, w, first, bands in raw]
    times = _union([times_of(candles) for _, candles, _, _ in cut])
    if not len(times):
        raise ValueError(f"there are no bars to trade{_span(start, end)}: {_held(given)}")
    return Inputs(tuple(_one(times, *each) for each in cut), times, setup)


def times_of(candles: pd.DataFrame) -> Ints:
    """The index as UTC nanoseconds, without a copy where it is that already."""
    return cd.nanos(candles)


def block_of(candles: pd.DataFrame) -> Floats:
    """The five columns as rows of one array; without copying where they lie so already."""
    values = candles.to_numpy().T
    if values.flags.c_contiguous and values.dtype == np.float64 and list(candles.columns) == list(cd.COLUMNS):
        return values
    return np.ascontiguousarray(np.stack([candles[name].to_numpy(np.float64) for name in cd.COLUMNS]))


def rules_of(setup: Setup) -> Floats:
    """The setup as the pass reads it."""
    fills, paid, rules = setup.fills, setup.fills.commission, np.zeros(b.RULES)
    rules[b.BPS], rules[b.CAP] = fills.half_spread_bps + fills.slippage_bps, fills.volume_cap
    rules[b.IGNORE_VOLUME], rules[b.TOUCH] = fills.ignore_volume, fills.touch_fills
    rules[b.REGULATED] = fills.regulatory_fees
    rules[b.PER_ORDER], rules[b.PER_SHARE] = float(paid.per_order), float(paid.per_share)
    rules[b.COMMISSION_BPS], rules[b.MINIMUM] = float(paid.bps), float(paid.minimum)
    rules[b.MAXIMUM] = np.inf if paid.maximum is None else float(paid.maximum)
    rules[b.COSTS] = max(paid.per_order, paid.per_share, paid.bps, paid.minimum) > 0
    rules[b.CENTS] = setup.whole_cents
    rules[b.BY] = SIZINGS.index(setup.sizing)
    rules[b.FRACTION], rules[b.RISK] = setup.fraction, setup.risk_per_trade
    rules[b.MAX_POSITION_PCT], rules[b.SHARES] = setup.max_position_pct, setup.shares
    rules[b.AT_OPEN], rules[b.LEVERAGE] = setup.size_at == "open", setup.leverage
    rules[b.FROM_SIGNAL], rules[b.MAX_BARS] = setup.exits_from == "signal", setup.max_bars
    periods = setup.periods
    for e, way_out in enumerate(setup.exits):
        rules[b.WHICH + e] = -1.0
        if way_out is not None:
            column = {"pct": b.PCT, "price distance": b.MONEY, "atr": b.TIMES}[way_out.kind]
            rules[column + e] = way_out.amount
        if way_out is not None and way_out.kind == "atr":
            rules[b.WHICH + e] = periods.index(way_out.period)
    return rules


def state_of(inputs: Inputs) -> tuple[Floats, Floats]:
    """Each symbol's row before the first bar, and the sessions (opens, closes) they trade in."""
    state = np.zeros((len(inputs.ones), b.COLUMNS))
    state[:, [b.STOP, b.TARGET, b.TRAIL]] = np.nan
    state[:, b.FLOOR], state[:, b.CEILING], state[:, b.TAKEN_BAR] = -np.inf, np.inf, -1.0
    places: dict[str, tuple[int, int]] = {}
    hours: list[Floats] = []
    for me, one in zip(state, inputs.ones, strict=True):
        of = one.instrument
        if of.calendar_code not in places:
            found, before = _sessions(of, inputs.times[0], inputs.times[-1]), sum(h.shape[1] for h in hours)
            places[of.calendar_code] = (before, before + found.shape[1])
            hours.append(found)
        me[b.TICK], me[b.LOT], me[b.US] = float(of.tick), float(of.lot), of.venue == "US"
        me[b.SESSION], me[b.SESSIONS_TO] = places[of.calendar_code]
    return state, np.ascontiguousarray(np.concatenate(hours, axis=1))


@functools.cache
def fee_table() -> Floats:
    """Rows: from which moment on, SEC a million, TAF a share, its cap. The first rates hold before their day too."""
    days = sorted({rate.start for rate in (*SEC_SECTION_31, *FINRA_TAF)})
    starts = [pd.Timestamp(day).tz_localize(NEW_YORK).value for day in days]
    sec, taf = ([rate_on(table, day) for day in days] for table in (SEC_SECTION_31, FINRA_TAF))
    caps = [np.inf if rate.cap is None else float(rate.cap) for rate in taf]
    return np.array([starts, [float(r.per) for r in sec], [float(r.per) for r in taf], caps], dtype=np.float64)


def _sessions(of: Instrument, first: int, last: int) -> Floats:
    if of.calendar_code == ALWAYS:
        return np.array([[-np.inf], [np.inf]])
    s = of.calendar.sessions
    lo, hi = max(int(np.searchsorted(s.open, first)) - 1, 0), int(np.searchsorted(s.open, last, side="right")) + 1
    return np.array([s.open[lo:hi], s.close[lo:hi]], dtype=np.float64)


def _one(times: Ints, of: Instrument, candles: pd.DataFrame, want: Floats, ranges: Floats) -> One:
    own = times_of(candles)
    at = None if len(own) == len(times) else np.searchsorted(times, own)
    return One(of, candles, block_of(candles), at, np.ascontiguousarray(want), np.ascontiguousarray(ranges))


def _union(all_times: list[Ints]) -> Ints:
    first = all_times[0]
    if all(len(other) == len(first) and np.array_equal(other, first) for other in all_times[1:]):
        return first
    return np.unique(np.concatenate(all_times))


def _nanos(moment: datetime) -> int:
    return pd.Timestamp(moment).value


def _span(start: datetime | None, end: datetime | None) -> str:
    said = [f"from {start:%Y-%m-%d}" if start else "", f"to {end:%Y-%m-%d}" if end else ""]
    return "".join(f" {part}" for part in said if part)


def _held(given: list[tuple[Instrument, pd.DataFrame]]) -> str:
    return "; ".join(
        f"{of.symbol} has {len(f)} bars, {f.index[0]:%Y-%m-%d} to {f.index[-1]:%Y-%m-%d}"
        if len(f)
        else f"{of.symbol} none"
        for of, f in given
    )


def read_only(array: Any) -> Any:
    """Frames lend their numbers read-only; one kind of array means one compiled pass."""
    view = array.view()
    view.flags.writeable = False
    return view


@numba.njit(cache=True)
def _sound(times: Ints, bars: Floats) -> bool:
    """Whether no number breaks a rule of candle frames."""
    wrong = 0
    for t in range(len(times)):
        o, h, l, c, v = bars[0, t], bars[1, t], bars[2, t], bars[3, t], bars[4, t]  # noqa: E741 - the field's letters
        fine = (l > 0.0) & (l <= o) & (l <= c) & (h >= o) & (h >= c) & (h < np.inf) & (v >= 0.0) & (v < np.inf)
        wrong += not fine
    for t in range(1, len(times)):
        wrong += times[t] <= times[t - 1]
    return bool(wrong == 0 and times[0] > -9223372036854775808)
