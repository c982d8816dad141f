"""Does a market trend, or does it go to and fro? Three measures of the last bars, their mean, and a reading of it.

    regimes(candles)[-1]      # TRENDING, RANGING or UNKNOWN

Row t is worked out from rows up to t, and from no more than `reach` of them, so that a window of so many bars gives the
reading that all of history gives, to the bit. Therefore ADX is taken with plain averages, where Wilder's never forget.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
import pandas as pd

from domain.candles import Floats

Readings = npt.NDArray[np.int8]
TRENDING, RANGING, UNKNOWN = 1, 0, -1

# Chosen on seeds that the evidence does not use (docs/evidence/regime.md).
LENGTH, ENTER, LEAVE, DWELL = 30, 0.43, 0.23, 2
_MEMORY = 3  # lengths for which a reading is believed that no bar has confirmed


@dataclass(frozen=True, slots=True, eq=False)
class Measures:
    """One row a bar, NaN in the first `length` and where prices stood still.

    `efficiency` (Kaufman): the way made good over the way gone, 0 to 1. `adx`: the excess of rising over falling
    ranges, 0 to 1. `variance_ratio` (Lo and MacKinlay, about a mean of 0): the variance of moves of two fifths of the
    length over that of one bar's, 1 for a random walk, less where moves are undone. `score`: their mean, 0 to 1,
    efficiency counted twice and the ratio as v / (1 + v).
    """

    efficiency: Floats
    adx: Floats
    variance_ratio: Floats
    score: Floats


def measures(candles: pd.DataFrame, length: int = LENGTH) -> Measures:
    """The three measures over `length` bars and their mean. ValueError for a length under 10."""
    if length < 10:
        raise ValueError(f"length must be at least 10 bars: got {length}")
    high, low, close = (np.ascontiguousarray(candles[name], dtype=np.float64) for name in ("high", "low", "close"))
    return Measures(*_measured(high, low, close, length))


def regimes(
    candles: pd.DataFrame,
    *,
    length: int = LENGTH,
    enter: float = ENTER,
    leave: float = LEAVE,
    dwell: int = DWELL,
) -> Readings:
    """1 (trending) from the bar on that has seen a score of `enter` or more for `dwell` bars in a row, 0 (ranging) from
    one that has seen `leave` or less for as long, -1 before either and once three lengths have passed without.

    No reading therefore lasts less than `dwell` bars.
    """
    return read(measures(candles, length).score, length=length, enter=enter, leave=leave, dwell=dwell)


def read(score: Floats, *, length: int, enter: float, leave: float, dwell: int) -> Readings:
    """The reading of a score, by the rule of `regimes`."""
    if not leave < enter:
        raise ValueError(f"enter must exceed leave: got {enter} and {leave}")
    if dwell < 1:
        raise ValueError(f"dwell must be at least 1 bar: got {dwell}")
    return _read(score, enter, leave, dwell, _MEMORY * length)


def warmup(length: int = LENGTH, dwell: int = DWELL) -> int:
    """Bars that must lie before a bar for it to be read."""
    return length + dwell


def reach(length: int = LENGTH, dwell: int = DWELL) -> int:
    """Bars, its own included, that a row can depend on: at most 4 * warmup + 1."""
    return (_MEMORY + 1) * length + dwell + 1


@numba.njit(cache=True)
def _measured(high: Floats, low: Floats, close: Floats, length: int) -> tuple[Floats, Floats, Floats, Floats]:
    """The sums are taken afresh for each row: a running sum would carry the last digits of bars long gone."""
    rows, short, lag = len(close), length // 3, 2 * length // 5
    at, one_way = np.empty(rows), _one_way(high, low, short)
    for t in range(rows):
        at[t] = np.log(close[t])
    efficiency, adx = np.full(rows, np.nan), np.full(rows, np.nan)
    ratio, score = np.full(rows, np.nan), np.full(rows, np.nan)
    for t in range(length, rows):
        path, single = _gone(at, t - length + 1, t, 1)
        if path > 0.0:
            _, joined = _gone(at, t - length + lag, t, lag)
            efficiency[t] = abs(at[t] - at[t - length]) / path
            adx[t] = _total(one_way, t - short + 1, t) / short
            ratio[t] = (joined / (length - lag + 1)) / (lag * single / length)
            score[t] = (2.0 * efficiency[t] + adx[t] + ratio[t] / (1.0 + ratio[t])) / 4.0
    return efficiency, adx, ratio, score


@numba.njit(cache=True)
def _one_way(high: Floats, low: Floats, bars: int) -> Floats:
    """Wilder's DX, 0 to 1, of plain sums: 1 where each new range was on one side of the one before."""
    rise, fall, out = np.zeros(len(high)), np.zeros(len(high)), np.zeros(len(high))
    for t in range(1, len(high)):
        up, down = np.log(high[t] / high[t - 1]), np.log(low[t - 1] / low[t])
        if up > down and up > 0.0:
            rise[t] = up
        elif down > up and down > 0.0:
            fall[t] = down
        if t >= bars:
            ups, downs = _total(rise, t - bars + 1, t), _total(fall, t - bars + 1, t)
            out[t] = abs(ups - downs) / (ups + downs) if ups + downs > 0.0 else 0.0
    return out


@numba.njit(cache=True)
def _gone(at: Floats, first: int, last: int, lag: int) -> tuple[float, float]:
    """The sum of the moves over `lag` bars that end on these rows, and that of their squares."""
    path, squares = 0.0, 0.0
    for s in range(first, last + 1):
        move = at[s] - at[s - lag]
        path += abs(move)
        squares += move * move
    return path, squares


@numba.njit(cache=True)
def _total(values: Floats, first: int, last: int) -> float:
    total = 0.0
    for s in range(first, last + 1):
        total += values[s]
    return total


@numba.njit(cache=True)
def _read(score: Floats, enter: float, leave: float, dwell: int, memory: int) -> Readings:
    out = np.full(len(score), -1, dtype=np.int8)
    above, below, last, age = 0, 0, -1, 0
    for t in range(len(score)):
        above = above + 1 if score[t] >= enter else 0
        below = below + 1 if score[t] <= leave else 0
        if above >= dwell or below >= dwell:
            last, age = 1 if above else 0, 0
        else:
            age += 1
        if age < memory:
            out[t] = last
    return out
