"""What a model sees of a candle frame: fifteen numbers a bar that mean the same at any price and of any symbol.

    X = features(candles)                    # float32, a row a bar; NaN in the first WARMUP rows
    X = features(candles, "UTC")             # crypto: the hour of the day in UTC

The rule: row t is worked out from rows t - WARMUP to t, always by the same steps in the same order. So nothing here
changes by a bit when later rows do, when earlier ones are cut off, or when bars arrive one by one; nothing is fitted,
nothing needs to be saved but the `spec`. Averages that never forget would break this: the "ewm" of the trade is a plain
mean over a fixed stretch here.

`VERSION` goes up whenever a number changes, so that no model meets features it was not trained on.
"""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pandas as pd

from domain.calendars import NEW_YORK
from domain.candles import COLUMNS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.float32]

NAMES: tuple[str, ...] = (
    "return",  # log of close over the close before
    "gap",  # log of open over the close before
    "body",  # (close - open) / range, -1 to 1
    "upper",  # upper shadow / range
    "lower",  # lower shadow / range
    "range",  # log of high over low
    "location",  # where in its range the bar closed, -1 at the low to 1 at the high
    "channel",  # where in the last 20 bars' range it closed, -1 to 1
    "volume",  # log volume, in standard deviations from its mean over the last 50 bars
    "move",  # return in units of what a bar moved over the last 50 (root mean square)
    "move_5",  # the return over 5 bars, in units of that times the root of 5
    "move_20",  # likewise over 20
    "heat",  # log of what a bar moved over the last 10, over the last 50
    "hour_sin",  # the time of day as a place on a circle
    "hour_cos",
)
WARMUP = 50
VERSION = 1
_CHANNEL, _HEAT = 20, 10
_DAY = 86_400_000_000_000


def features(candles: pd.DataFrame, zone: str = str(NEW_YORK)) -> Matrix:
    """A float32 row a bar, a column a name of `NAMES`; NaN where fewer than WARMUP bars lie before.

    `zone` is where the hour of the day is read: an instrument's own `zone`. Where prices or volume stand still, what
    would be divided by nothing is 0.
    """
    o, h, l, c, v = (np.ascontiguousarray(candles[name], dtype=np.float64) for name in COLUMNS)  # noqa: E741
    return _features(o, h, l, c, v, _time_of_day(candles, zone))


def spec(timeframe: str, seq_len: int) -> dict[str, Any]:
    """What a model must be shown again, as JSON values, with the sha256 of all of it."""
    told: dict[str, Any] = {
        "names": list(NAMES),
        "version": VERSION,
        "warmup": WARMUP,
        "seq_len": int(seq_len),
        "timeframe": timeframe,
    }
    return told | {"sha256": hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()}


def _time_of_day(candles: pd.DataFrame, zone: str) -> Ints:
    """Nanoseconds since midnight in the zone, of each bar's open."""
    index = candles.index
    assert isinstance(index, pd.DatetimeIndex)
    local = index.as_unit("ns") if zone == "UTC" else index.as_unit("ns").tz_convert(zone).tz_localize(None)
    return np.asarray(local.asi8 % _DAY, dtype=np.int64)


@numba.njit(cache=True)
def _features(o: Floats, h: Floats, l: Floats, c: Floats, v: Floats, clock: Ints) -> Matrix:  # noqa: E741
    rows = len(c)
    X = np.full((rows, 15), np.nan, dtype=np.float32)
    step, weight = np.zeros(rows), np.zeros(rows)
    for t in range(rows):
        weight[t] = math.log(1.0 + v[t])
        if t > 0:
            step[t] = math.log(c[t] / c[t - 1])
    for t in range(WARMUP, rows):
        whole, late, total = 0.0, 0.0, 0.0
        for k in range(t - WARMUP + 1, t + 1):
            whole += step[k] * step[k]
            total += weight[k]
            if k > t - _HEAT:
                late += step[k] * step[k]
        mean = total / WARMUP
        spread = 0.0
        for k in range(t - WARMUP + 1, t + 1):
            spread += (weight[k] - mean) * (weight[k] - mean)
        top, bottom = h[t], l[t]
        for k in range(t - _CHANNEL + 1, t):
            top, bottom = max(top, h[k]), min(bottom, l[k])
        size, spread, tall, wide = math.sqrt(whole / WARMUP), math.sqrt(spread / WARMUP), h[t] - l[t], top - bottom
        X[t, 0] = step[t]
        X[t, 1] = math.log(o[t] / c[t - 1])
        X[t, 5] = math.log(h[t] / l[t])
        X[t, 2] = (c[t] - o[t]) / tall if tall > 0.0 else 0.0
        X[t, 3] = (h[t] - max(o[t], c[t])) / tall if tall > 0.0 else 0.0
        X[t, 4] = (min(o[t], c[t]) - l[t]) / tall if tall > 0.0 else 0.0
        X[t, 6] = 2.0 * (c[t] - l[t]) / tall - 1.0 if tall > 0.0 else 0.0
        X[t, 7] = 2.0 * (c[t] - bottom) / wide - 1.0 if wide > 0.0 else 0.0
        X[t, 8] = (weight[t] - mean) / spread if spread > 1e-9 else 0.0
        X[t, 9] = step[t] / size if size > 0.0 else 0.0
        X[t, 10] = math.log(c[t] / c[t - 5]) / (size * math.sqrt(5.0)) if size > 0.0 else 0.0
        X[t, 11] = math.log(c[t] / c[t - 20]) / (size * math.sqrt(20.0)) if size > 0.0 else 0.0
        X[t, 12] = 0.5 * math.log(late / _HEAT / (whole / WARMUP)) if late > 0.0 else 0.0
        angle = 2.0 * math.pi * (clock[t] / 86_400_000_000_000.0)
        X[t, 13], X[t, 14] = math.sin(angle), math.cos(angle)
    return X
