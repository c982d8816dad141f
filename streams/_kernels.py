"""The compiled steps: one bar in, one decision out, for one symbol or many, each symbol's numbers in a row of its own.

The rule: a step does TA-Lib's arithmetic in TA-Lib's order, so that its values are TA-Lib's batch values to the bit
(`tests/test_streams.py`). The formulas are those of the TA-Lib named in `requirements.txt`; a version that sums
otherwise fails there. All of it stays in this one file: numba's cache of a caller does not see that a callee changed.

`walk_*` take the states (a row a symbol), which rows are meant, the settings, the bars as (bar, symbol, open high low
close volume), and write (bar, symbol, exposure confidence). A state's first number counts its bars.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numba import types
from numba.extending import intrinsic

Floats = np.ndarray[Any, np.dtype[np.float64]]
Rows = np.ndarray[Any, np.dtype[np.int64]]
HIGH, LOW, CLOSE = 1, 2, 3
NOTHING = 1e-14  # TA-Lib's own zero
AGAIN = 32  # lengths after which TA-Lib sums a variance anew
COLLAPSED, OUTLIER, FLOOR = 1e-6, 1e6, 1e-12  # and what else makes it do so


def _fuse(_context: Any, _a: Any, _b: Any, _c: Any) -> Any:
    """a * b + c, rounded once, as TA-Lib's averages have it; where the processor cannot, the C library does."""
    return types.float64(types.float64, types.float64, types.float64), lambda _ctx, build, _sig, args: build.fma(*args)


_fused: Any = intrinsic(_fuse)


# Indicators, a bar a call; the numbers they keep begin at `at`


@numba.njit(cache=True)
def _average(state: Floats, at: int, length: int, ring: int) -> float:
    """The simple average of the closes in the ring, the newest of which is this bar's. Keeps 1 number."""
    bar, size = int(state[0]), len(state) - ring
    state[at] += state[ring + bar % size]
    if bar < length - 1:
        return np.nan
    mean: float = state[at] / length
    state[at] -= state[ring + (bar - length + 1) % size]
    return mean


@numba.njit(cache=True)
def _exponential(state: Floats, at: int, length: int, close: float) -> float:
    """Begun at the first bars' mean. Keeps 1 number."""
    bar = int(state[0])
    if bar >= length:
        state[at] = _fused(close - state[at], 2.0 / (length + 1), state[at])
    else:
        state[at] += close
        if bar < length - 1:
            return np.nan
        state[at] /= length
    average: float = state[at]
    return average


@numba.njit(cache=True)
def _strength(state: Floats, at: int, length: int, close: float) -> float:
    """RSI. Keeps 3 numbers: the last close, and the averages of rises and of falls."""
    bar, change = int(state[0]), close - state[at]
    state[at] = close
    if bar == 0:
        return np.nan
    up, down, inverse = max(change, 0.0), max(-change, 0.0), 1.0 / length
    if bar > length:
        state[at + 1] = (state[at + 1] * (length - 1) + up) * inverse
        state[at + 2] = (state[at + 2] * (length - 1) + down) * inverse
    else:
        state[at + 1] += up
        state[at + 2] += down
        if bar < length:
            return np.nan
        state[at + 1] *= inverse
        state[at + 2] *= inverse
    moved = state[at + 1] + state[at + 2]
    strength: float = 100.0 * (state[at + 1] / moved) if moved > 0.0 else 0.0
    return strength


@numba.njit(cache=True)
def _true_range(high: float, low: float, before: float) -> float:
    return max(max(high - low, abs(before - high)), abs(before - low))


@numba.njit(cache=True)
def _direction(down: float, up: float, reach: float) -> float:
    """How one-sided the moves are, 0 to 100; -1 where it cannot be told."""
    if abs(reach) < NOTHING:
        return -1.0
    minus, plus = 100.0 * (down / reach), 100.0 * (up / reach)
    both = minus + plus
    return 100.0 * (abs(minus - plus) / both) if abs(both) >= NOTHING else -1.0


@numba.njit(cache=True)
def _trend(state: Floats, at: int, length: int, bar: Floats) -> float:
    """ADX. Keeps 7 numbers: the last high, low and close, the moves up and down, their reach, and the average."""
    count, high, low = int(state[0]), bar[HIGH], bar[LOW]
    rise, fall = high - state[at], state[at + 1] - low
    reach = _true_range(high, low, state[at + 2])
    state[at], state[at + 1], state[at + 2] = high, low, bar[CLOSE]
    if count == 0:
        return np.nan
    if count >= length:
        state[at + 3] -= state[at + 3] / length
        state[at + 4] -= state[at + 4] / length
        state[at + 5] -= state[at + 5] / length
    if fall > 0.0 and rise < fall:
        state[at + 4] += fall
    elif rise > 0.0 and rise > fall:
        state[at + 3] += rise
    state[at + 5] += reach
    if count < length:
        return np.nan
    seen = _direction(state[at + 4], state[at + 3], state[at + 5])
    if count < 2 * length:
        state[at + 6] += max(seen, 0.0)
        if count < 2 * length - 1:
            return np.nan
        state[at + 6] /= length
    elif seen >= 0.0:
        state[at + 6] = (state[at + 6] * (length - 1) + seen) / length
    average: float = state[at + 6]
    return average


@numba.njit(cache=True)
def _deviation(state: Floats, at: int, length: int, ring: int) -> float:
    """The population's standard deviation of the closes in the ring. Keeps 4 numbers: a price to measure from, the sum
    of the distances to it and of their squares, and the bars until they are summed anew. They are also summed anew
    once they hold little but rounding, so a bar costs the same on average, whatever the length."""
    bar, size = int(state[0]), len(state) - ring
    close, inverse = state[ring + bar % size], 1.0 / length
    if bar == 0:
        state[at], state[at + 3] = close, AGAIN * length
    away = close - state[at]
    state[at + 1] += away
    state[at + 2] += away * away
    if bar < length - 1:
        return np.nan
    mean = state[at + 1] * inverse
    variance = state[at + 2] * inverse - mean * mean
    oldest = bar - length + 1
    away = state[ring + oldest % size] - state[at]
    state[at + 1] -= away
    state[at + 2] -= away * away
    state[at + 3] -= 1.0
    collapsed = variance < COLLAPSED * (state[at + 2] * inverse)
    if collapsed or away * away > OUTLIER * state[at + 2] or state[at + 3] <= 0.0:
        variance = _summed_anew(state, at, length, ring)
    root: float = np.sqrt(variance)
    return root


@numba.njit(cache=True)
def _summed_anew(state: Floats, at: int, length: int, ring: int) -> float:
    bar, size, inverse = int(state[0]), len(state) - ring, 1.0 / length
    total = 0.0
    for row in range(bar - length + 1, bar + 1):
        total += state[ring + row % size]
    state[at], state[at + 1], state[at + 2], state[at + 3] = total * inverse, 0.0, 0.0, AGAIN * length
    for row in range(bar - length + 1, bar + 1):
        away = state[ring + row % size] - state[at]
        state[at + 1] += away
        state[at + 2] += away * away
    mean = state[at + 1] * inverse
    variance: float = state[at + 2] * inverse - mean * mean
    if variance < FLOOR * (state[at + 2] * inverse):
        variance = 0.0
    away = state[ring + (bar - length + 1) % size] - state[at]
    state[at + 1] -= away
    state[at + 2] -= away * away
    return variance


# The rules that strategies share (`strategies/_kernels.py`), a bar a call


@numba.njit(cache=True)
def _side(last: float, a: float, b: float, tie: float) -> float:
    margin = tie * max(abs(a), abs(b))
    if a - b > margin:
        return 1.0
    if b - a > margin:
        return -1.0
    return last


# Strategies


@numba.njit(cache=True)
def walk_crossover(states: Floats, rows: Rows, settings: Floats, bars: Floats, out: Floats) -> None:
    """Settings: warm-up, short, combined, tie, then fast and slow of each pair. State: bars; of each pair the two sums
    and the side; the ring of closes."""
    warmup, short, combined, tie = int(settings[0]), settings[1] != 0.0, settings[2] != 0.0, settings[3]
    pairs = (len(settings) - 4) // 2
    ring = 1 + 3 * pairs
    for t in range(len(bars)):
        for k in range(len(rows)):
            state = states[rows[k]]
            bar = int(state[0])
            state[ring + bar % (len(state) - ring)] = bars[t, k, CLOSE]
            vote = 0.0
            for pair in range(pairs):
                at = 1 + 3 * pair
                fast = _average(state, at, int(settings[4 + 2 * pair]), ring)
                slow = _average(state, at + 1, int(settings[5 + 2 * pair]), ring)
                state[at + 2] = _side(state[at + 2], fast, slow, tie)
                vote += state[at + 2]
            state[0] = bar + 1
            wanted = np.sign(vote)
            out[t, k, 0] = 0.0 if bar < warmup else wanted if short else max(wanted, 0.0)
            out[t, k, 1] = (3.0 + abs(vote)) / 6.0 if combined else 1.0


@numba.njit(cache=True)
def walk_trend(states: Floats, rows: Rows, settings: Floats, bars: Floats, out: Floats) -> None:
    """Settings: warm-up, short, length, ADX's length, strength, tie. State: bars, the average, its slope's side, ADX as
    last seen, ADX's own."""
    warmup, short, length, adx_length = int(settings[0]), settings[1] != 0.0, int(settings[2]), int(settings[3])
    strength, tie = settings[4], settings[5]
    for t in range(len(bars)):
        for k in range(len(rows)):
            state = states[rows[k]]
            bar, before = int(state[0]), state[1]
            average = _exponential(state, 1, length, bars[t, k, CLOSE])
            if bar >= length:
                state[2] = _side(state[2], average, before, tie)
            state[3] = _trend(state, 4, adx_length, bars[t, k])
            state[0] = bar + 1
            wanted = state[2] if state[3] >= strength * (1.0 - tie) else 0.0
            out[t, k, 0] = 0.0 if bar < warmup else wanted if short else max(wanted, 0.0)
            out[t, k, 1] = 1.0


@numba.njit(cache=True)
def walk_reversion(states: Floats, rows: Rows, settings: Floats, bars: Floats, out: Floats) -> None:
    """Settings: warm-up, short, length, RSI's length, entry, leave, oversold, hold, the deviation that counts as none.
    State: bars; score, RSI and exposure as last seen; the held side and its bars left; the sum of closes; the
    deviation's 4; RSI's 3; the ring of closes."""
    warmup, short, length, rsi_length = int(settings[0]), settings[1] != 0.0, int(settings[2]), int(settings[3])
    entry, leave, oversold, hold, still = settings[4], settings[5], settings[6], settings[7], settings[8]
    ring = 14
    for t in range(len(bars)):
        for k in range(len(rows)):
            state, close = states[rows[k]], bars[t, k, CLOSE]
            bar = int(state[0])
            state[ring + bar % (len(state) - ring)] = close
            mean, deviation = _average(state, 6, length, ring), _deviation(state, 7, length, ring)
            deviation = mean + deviation - mean  # as the upper band gives it
            score = (close - mean) / deviation if deviation > still * abs(mean) else 0.0
            strength = _strength(state, 11, rsi_length, close)
            low = score <= -entry and strength <= oversold
            high = score >= entry and strength >= 100.0 - oversold
            if low != high:
                state[4], state[5] = 1.0 if low else -1.0, hold
            elif state[4] * score >= -leave:
                state[5] = 0.0
            wanted = state[4] if state[5] > 0.0 else 0.0
            state[0], state[1], state[2], state[3], state[5] = bar + 1, score, strength, wanted, state[5] - 1.0
            out[t, k, 0] = 0.0 if bar < warmup else wanted if short else max(wanted, 0.0)
            out[t, k, 1] = 1.0


# The one indicator that exits and sizes ask for


@numba.njit(cache=True)
def walk_range(states: Floats, rows: Rows, settings: Floats, bars: Floats, out: Floats) -> None:
    """ATR into the first of the two numbers out, NaN in its warm-up. Settings: length. State: bars, the average, the
    last close."""
    length = int(settings[0])
    keep = (length - 1) / length
    for t in range(len(bars)):
        for k in range(len(rows)):
            state = states[rows[k]]
            bar, reach = int(state[0]), _true_range(bars[t, k, HIGH], bars[t, k, LOW], state[2])
            state[0], state[2] = bar + 1, bars[t, k, CLOSE]
            if bar > length:
                state[1] = _fused(keep, state[1], (1.0 - keep) * reach)
            elif bar > 0:
                state[1] += reach
                if bar == length:
                    state[1] /= length
            out[t, k, 0] = state[1] if bar >= length else np.nan
            out[t, k, 1] = 1.0
