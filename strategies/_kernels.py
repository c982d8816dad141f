"""The compiled loops of the drawer. Each walks forward once, so that no row can know a later one."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float64]]


@numba.njit(cache=True)
def side(a: Floats, b: Floats, tie: float) -> Floats:
    """1 where a is above b, -1 where below; a tie or NaN keeps the side before it, 0 at the start."""
    out = np.zeros(len(a))
    last = 0.0
    for t in range(len(a)):
        margin = tie * max(abs(a[t]), abs(b[t]))
        if a[t] - b[t] > margin:
            last = 1.0
        elif b[t] - a[t] > margin:
            last = -1.0
        out[t] = last
    return out


@numba.njit(cache=True)
def held(events: Floats, bars: int) -> Floats:
    """The last event's sign for `bars` rows from the event on, then 0; a newer event takes over."""
    out = np.zeros(len(events))
    last, left = 0.0, 0
    for t in range(len(events)):
        if events[t] != 0.0:
            last, left = events[t], bars
        if left > 0:
            out[t] = last
        left -= 1
    return out


@numba.njit(cache=True)
def back_to_mean(stretched: Floats, score: Floats, leave: float, bars: int) -> Floats:
    """From a stretched row on (1: wants to be long), until the score has come back to within `leave` of 0, or for
    `bars` rows from the last stretched one."""
    out = np.zeros(len(score))
    last, left = 0.0, 0
    for t in range(len(score)):
        if stretched[t] != 0.0:
            last, left = stretched[t], bars
        elif last * score[t] >= -leave:
            left = 0
        if left > 0:
            out[t] = last
        left -= 1
    return out
