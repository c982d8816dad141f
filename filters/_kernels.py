"""The compiled loops of the drawer. Each walks forward once, and a row's sums are taken afresh from its own window: a
running sum would carry the last digits of bars that a live engine no longer holds."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


def let_in(side: int, waits: int, inside: int, raw: float, passes: bool, good_for: int) -> tuple[int, int, int]:
    """One bar of the rule that stops entries; side, waits and inside are `filters.base.State`."""
    now = 1 if raw > 0.0 else (-1 if raw < 0.0 else 0)
    if now == 0:
        return 0, 0, 0
    if now != side:
        inside, waits = 0, good_for + 1
    if inside == 0 and waits > 0:
        if passes:
            inside, waits = 1, 0
        else:
            waits -= 1
    return now, waits, inside


_let_in = numba.njit(cache=True)(let_in)


@numba.njit(cache=True)
def filtered(
    raw: Floats, passes: Mask, good_for: int, side: int, waits: int, inside: int
) -> tuple[Floats, Ints, tuple[int, int, int]]:
    """What is held, the bars that a signal still waits on each row, and the state after the last."""
    out, waiting = np.zeros(len(raw)), np.zeros(len(raw), dtype=np.int64)
    for t in range(len(raw)):
        side, waits, inside = _let_in(side, waits, inside, raw[t], passes[t], good_for)
        waiting[t] = waits
        if inside == 1:
            out[t] = raw[t]
    return out, waiting, (side, waits, inside)


@numba.njit(cache=True)
def edge(opened: Floats, high: Floats, low: Floats, close: Floats, pairs: int, errors: float) -> tuple[Floats, Floats]:
    """The spread as a share of the price by EDGE over the last `pairs` pairs of bars, and what it is at the least,
    `errors` standard errors of its square below. 0 where a square is negative, NaN in the first rows and where prices
    stand still. The letters are those of the paper's own code."""
    rows = len(close)
    found, least = np.full(rows, np.nan), np.full(rows, np.nan)
    o, h, el, c = np.log(opened), np.log(high), np.log(low), np.log(close)
    m = (h + el) / 2.0
    for t in range(pairs, rows):
        moved, at_open, at_close, s1, s3, s5 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        for i in range(t - pairs + 1, t + 1):
            s1 += m[i] - o[i]
            s3 += m[i] - c[i - 1]
            s5 += o[i] - c[i - 1]
            if h[i] != el[i] or el[i] != c[i - 1]:
                moved += 1.0
                at_open += (1.0 if o[i] != h[i] else 0.0) + (1.0 if o[i] != el[i] else 0.0)
                at_close += (1.0 if c[i - 1] != h[i - 1] else 0.0) + (1.0 if c[i - 1] != el[i - 1] else 0.0)
        if moved < 2.0 or at_open == 0.0 or at_close == 0.0:
            continue
        by_open, by_close = -4.0 * pairs / at_open, -4.0 * pairs / at_close
        shift1, shift3, shift5 = s1 / moved, s3 / moved, s5 / moved
        e1, e2, v1, v2, v12 = 0.0, 0.0, 0.0, 0.0, 0.0
        for i in range(t - pairs + 1, t + 1):
            tau = 1.0 if h[i] != el[i] or el[i] != c[i - 1] else 0.0
            r2, r4, r5 = o[i] - m[i - 1], c[i - 1] - m[i - 1], o[i] - c[i - 1]
            d1 = m[i] - o[i] - shift1 * tau
            d3 = m[i] - c[i - 1] - shift3 * tau
            d5 = r5 - shift5 * tau
            x1 = by_open * d1 * r2 + by_close * d3 * r4
            x2 = by_open * d1 * r5 + by_close * d5 * r4
            e1 += x1
            e2 += x2
            v1 += x1 * x1
            v2 += x2 * x2
            v12 += x1 * x2
        e1, e2 = e1 / pairs, e2 / pairs
        v1, v2, v12 = v1 / pairs - e1 * e1, v2 / pairs - e2 * e2, v12 / pairs - e1 * e2
        share = v2 / (v1 + v2) if v1 + v2 > 0.0 else 0.5
        square = share * e1 + (1.0 - share) * e2
        variance = share * share * v1 + (1.0 - share) ** 2 * v2 + 2.0 * share * (1.0 - share) * v12
        error = np.sqrt(max(variance, 0.0) / pairs)
        found[t] = np.sqrt(max(square, 0.0))
        least[t] = np.sqrt(max(square - errors * error, 0.0))
    return found, least


@numba.njit(cache=True)
def correlation(a: Floats, b: Floats, bars: int, least: int) -> Floats:
    """Pearson's correlation of the last `bars` rows in which both are numbers; NaN under `least` of them, and where one
    stands still."""
    out = np.full(len(a), np.nan)
    for t in range(bars - 1, len(a)):
        count, sum_a, sum_b = 0, 0.0, 0.0
        for i in range(t - bars + 1, t + 1):
            if np.isfinite(a[i]) and np.isfinite(b[i]):
                count += 1
                sum_a += a[i]
                sum_b += b[i]
        if count < least:
            continue
        aa, bb, ab, mean_a, mean_b = 0.0, 0.0, 0.0, sum_a / count, sum_b / count
        for i in range(t - bars + 1, t + 1):
            if np.isfinite(a[i]) and np.isfinite(b[i]):
                aa += (a[i] - mean_a) ** 2
                bb += (b[i] - mean_b) ** 2
                ab += (a[i] - mean_a) * (b[i] - mean_b)
        if aa > 0.0 and bb > 0.0:
            out[t] = ab / np.sqrt(aa * bb)
    return out
