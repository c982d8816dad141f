"""All windows of all symbols without copying one: a flat matrix of bars, and the row of each window's last bar.

    flat = flatten(frames, Label(), seq_len=30, timeframe="5m")
    batch = gather(flat.X, flat.ends[rows], flat.seq_len)         # (B, T, F)

The rule: a window holds consecutive bars of one symbol. None reaches over another symbol, a missing bar, a row without
features, or on towards an answer that lies behind a missing bar.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
import pandas as pd

from domain.candles import Timeframe, ends, expected, nanos, timeframe
from domain.errors import DataError
from domain.instruments import Instrument, instrument
from learning.features import NAMES, WARMUP, Matrix, features
from learning.labels import Label, labelled

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Flat:
    """Every admissible window of every symbol, by symbol and time. All arrays but `X` and `first` have a row a window.

    X        float32, a row a bar: the features of all symbols, one below the other
    ends     row in `X` of the window's last bar, at whose close one decides
    y, ret   the class, and what acting on it would have earned (NaN where that lies beyond the frame)
    at       when the last bar closed, UTC nanoseconds: the moment of the decision
    known    when the answer's bar closed
    began    when the window's first bar opened
    symbol   place in `symbols`
    first    row in `X` of each symbol's first bar: `ends - first[symbol]` is the row in its own frame
    """

    X: Matrix
    ends: Ints
    y: Ints
    ret: Floats
    at: Ints
    known: Ints
    began: Ints
    symbol: npt.NDArray[np.int16]
    first: Ints
    seq_len: int
    symbols: tuple[str, ...]
    names: tuple[str, ...]
    label: Label
    timeframe: str

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.label.classes

    @property
    def embargo(self) -> int:
        """The fewest bars between what is learned from and what is asked: the longer of window and answer."""
        return max(self.label.reach, self.seq_len)

    def rows(self, windows: Ints) -> Ints:
        """The rows of these windows' last bars in their own symbols' frames."""
        return np.asarray(self.ends[windows] - self.first[self.symbol[windows]], dtype=np.int64)


def flatten(frames: Mapping[str, pd.DataFrame], label: Label, seq_len: int, timeframe: str) -> Flat:
    """The windows of checked candle frames by symbol. DataError where not one is left, with what there is."""
    if seq_len < 1:
        raise ValueError(f"seq_len must be at least 1: got {seq_len}")
    parts = [_part(symbol, frames[symbol], label, seq_len, timeframe) for symbol in sorted(frames)]
    sizes = [len(part.X) for part in parts]
    first = np.r_[0, np.cumsum(sizes)].astype(np.int64)[: len(parts)]
    if not sum(len(part.ends) for part in parts):
        raise DataError(_nothing(frames, label, seq_len))
    counts = [len(part.ends) for part in parts]
    return Flat(
        X=np.concatenate([part.X for part in parts]),
        ends=np.concatenate([part.ends + start for part, start in zip(parts, first, strict=True)]),
        y=np.concatenate([part.y for part in parts]),
        ret=np.concatenate([part.ret for part in parts]),
        at=np.concatenate([part.at for part in parts]),
        known=np.concatenate([part.known for part in parts]),
        began=np.concatenate([part.began for part in parts]),
        symbol=np.repeat(np.arange(len(parts), dtype=np.int16), counts),
        first=first,
        seq_len=seq_len,
        symbols=tuple(sorted(frames)),
        names=NAMES,
        label=label,
        timeframe=timeframe,
    )


def gather(X: Matrix, ends: Ints, seq_len: int) -> Matrix:
    """Windows as one array (B, T, F), oldest bar first: a copy of T x F neighbouring numbers for each of `ends`."""
    rows, width = X.shape
    flat = np.ascontiguousarray(X).reshape(-1)
    if len(ends) and (int(ends.min()) < seq_len - 1 or int(ends.max()) >= rows):
        raise IndexError(f"ends must lie in [{seq_len - 1}, {rows}): got {ends.min()} to {ends.max()}")
    if rows < seq_len:
        return np.empty((0, seq_len, width), dtype=X.dtype)
    view = np.lib.stride_tricks.as_strided(
        flat, (rows - seq_len + 1, seq_len * width), (flat.itemsize * width, flat.itemsize), writeable=False
    )
    return view[ends - (seq_len - 1)].reshape(len(ends), seq_len, width)


def breaks(candles: pd.DataFrame, tf: Timeframe, of: Instrument) -> Mask:
    """Rows that do not follow the one before without a missing bar between: the first, and each behind a gap.

    A night or a weekend of the exchange is no gap. Bars outside regular hours follow nothing.
    """
    times = nanos(candles)
    if not len(times):
        return np.zeros(0, dtype=bool)
    begin, end = (datetime.fromtimestamp(int(times[at]) // 10**9, tz=UTC) for at in (0, -1))
    grid = expected(begin, end + timedelta(seconds=1), tf, of)
    place = np.searchsorted(grid, times)
    off = (place >= len(grid)) | (grid[np.minimum(place, len(grid) - 1)] != times) if len(grid) else times == times
    apart = np.r_[True, np.diff(place) != 1] | off
    return np.asarray(apart | np.r_[False, off[:-1]])


def admissible(candles: pd.DataFrame, X: Matrix, seq_len: int, tf: Timeframe, of: Instrument) -> Mask:
    """Rows at which a window may end: `seq_len` consecutive bars, all with features, the first behind another."""
    return _none_of_the_last(breaks(candles, tf, of) | ~np.isfinite(X).all(axis=1), seq_len)


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    X: Matrix
    ends: Ints
    y: Ints
    ret: Floats
    at: Ints
    known: Ints
    began: Ints


def _part(symbol: str, candles: pd.DataFrame, label: Label, seq_len: int, name: str) -> _Part:
    of, tf = instrument(symbol), timeframe(name)
    X = features(candles, of.zone)
    answers = labelled(candles, label)
    behind = np.cumsum(breaks(candles, tf, of))
    good = admissible(candles, X, seq_len, tf, of) & (answers.y >= 0)
    good &= behind[np.maximum(answers.end, 0)] == behind
    rows = np.flatnonzero(good).astype(np.int64)
    opens = nanos(candles)
    closes = ends(opens, tf, of)
    known = closes[answers.end[rows]]
    return _Part(X, rows, answers.y[rows], answers.ret[rows], closes[rows], known, opens[rows - seq_len + 1])


def _none_of_the_last(bad: Mask, count: int) -> Mask:
    """Rows for which neither they nor the `count - 1` before are bad, and there are as many."""
    seen = np.r_[0, np.cumsum(bad)]
    out = np.zeros(len(bad), dtype=bool)
    out[count - 1 :] = seen[count:] == seen[: max(len(seen) - count, 0)]
    return out


def _nothing(frames: Mapping[str, pd.DataFrame], label: Label, seq_len: int) -> str:
    needed = WARMUP + seq_len + label.reach
    held = ", ".join(f"{symbol} {len(frames[symbol]):,}" for symbol in sorted(frames)) or "none"
    return (
        f"no window has features and an answer: each needs {needed:,} consecutive bars ({WARMUP} to warm up, "
        f"{seq_len} to look at, {label.reach} until the answer), and there are {held}. Give longer candles, or ask for "
        f"a shorter window or horizon."
    )
