"""What a model is asked to say about a bar, and when the answer is known.

    found = labelled(candles, Label("triple_barrier", horizon=20, pt=3.0, sl=3.0, cost_bps=10))
    found.y                  # the class of each row, -1 where there is none
    found.end                # the row at whose close it is known
    found.ret                # what acting on it would have earned, net of costs

The rule: who decides at the close of row t enters at the open of t + 1. Nothing is labelled whose end the frame does
not hold, so the last rows have no class.

`direction`        is the close `horizon` bars on above the entry? With a dead band there is a third class between.
`triple_barrier`   does a long trade earn something, with a target `pt` and a stop `sl` times the volatility away and
                   `horizon` bars of patience? Touches count inside a bar; where a bar holds both, the stop was first.
`pattern`          which of the named candlestick patterns is complete at this bar? Known at once, and a formula of the
                   candles: high accuracy says that a model can read, not that it can foresee.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pandas as pd

import patterns
from domain.candles import COLUMNS
from domain.params import check_params, param

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
KINDS = ("direction", "triple_barrier", "pattern")
CLASSIC = ("Hammer", "Bullish Engulfing", "Bearish Engulfing", "Doji", "Morning Star", "Evening Star")


@dataclass(frozen=True, slots=True)
class Label:
    """What is asked. The fields a kind does not use are left at their defaults and mean nothing.

    `vol_span` is the span of the exponential mean that the barriers' volatility is taken from, `dead_band_bps` how far
    a direction must go to be one, `cost_bps` what a round trip costs. For `pattern`, `horizon` only says over how many
    bars `ret` is taken.
    """

    kind: str = param("triple_barrier", choices=KINDS, help="what is asked of the model")
    horizon: int = param(20, low=1, high=10_000, help="bars from the entry until the answer is due")
    pt: float = param(3.0, low=0.01, high=100.0, step=0.5, help="the target, in a bar's volatility")
    sl: float = param(3.0, low=0.01, high=100.0, step=0.5, help="the stop, in a bar's volatility")
    vol_span: int = param(50, low=2, high=10_000, help="bars that the volatility looks back on")
    dead_band_bps: float = param(0.0, low=0.0, high=1000.0, step=1.0, help="a smaller move is neither up nor down")
    cost_bps: float = param(10.0, low=0.0, high=1000.0, step=1.0, help="what a round trip costs")
    patterns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_params(self)
        object.__setattr__(self, "patterns", tuple(self.patterns))
        if self.kind == "pattern" and not self.patterns:
            object.__setattr__(self, "patterns", CLASSIC)
        for name in self.patterns:
            patterns.signs(name)

    @property
    def classes(self) -> tuple[str, ...]:
        """What each number of `y` means; the last one is the rise wherever there is one."""
        if self.kind == "pattern":
            return ("none", *self.patterns)
        return ("down", "flat", "up") if self.kind == "direction" and self.dead_band_bps else ("down", "up")

    @property
    def reach(self) -> int:
        """How many bars ahead the answer may lie."""
        return 0 if self.kind == "pattern" else self.horizon

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self) | {"patterns": list(self.patterns)}

    @classmethod
    def of(cls, told: dict[str, Any]) -> Label:
        """From `to_dict`; a field nobody knows is a ValueError."""
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(told) - known):
            raise ValueError(f"a label has no {', '.join(unknown)}: it has {', '.join(sorted(known))}")
        return cls(**(told | {"patterns": tuple(told.get("patterns", ()))}))


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """One row a bar. `y` is -1, `end` -1 and `ret` NaN where there is no answer."""

    y: Ints
    end: Ints
    ret: Floats


def labelled(candles: pd.DataFrame, label: Label) -> Labels:
    """The answers of a whole frame. `ret` is a long trade's, as a share of its entry, less the cost of a round trip."""
    o, h, l, c = (np.ascontiguousarray(candles[name], dtype=np.float64) for name in COLUMNS[:4])  # noqa: E741
    cost = label.cost_bps / 1e4
    if label.kind == "triple_barrier":
        spread = volatility(c, label.vol_span)
        return Labels(*_barriers(o, h, l, c, spread, label.horizon, label.pt, label.sl, cost))
    moved = _moves(o, c, label.horizon)
    if label.kind == "pattern":
        return Labels(_patterns(candles, label), np.arange(len(c)), moved - cost)
    return _directions(moved, label, cost)


def _directions(moved: Floats, label: Label, cost: float) -> Labels:
    band, known = label.dead_band_bps / 1e4, np.isfinite(moved)
    up = len(label.classes) - 1
    y = np.where(moved > band, up, np.where((moved < -band) | (up == 1), 0, 1))
    end = np.arange(len(moved)) + label.horizon
    return Labels(np.where(known, y, -1), np.where(known, end, -1), moved - cost)


def _moves(o: Floats, c: Floats, horizon: int) -> Floats:
    """Row t: from the open of t + 1 to the close of t + horizon; NaN at the end."""
    out = np.full(len(c), np.nan)
    if len(c) > horizon:
        out[:-horizon] = c[horizon:] / o[1 : len(c) - horizon + 1] - 1.0
    return out


def _patterns(candles: pd.DataFrame, label: Label) -> Ints:
    """The place in the label's list, from 1, of the first pattern that fired; 0 where none did."""
    fired = patterns.detect(candles, list(label.patterns)).to_numpy() != 0
    return np.where(fired.any(axis=1), fired.argmax(axis=1) + 1, 0).astype(np.int64)


@numba.njit(cache=True)
def volatility(close: Floats, span: int) -> Floats:
    """Root of the exponential mean of squared returns, alpha 2 / (span + 1), begun at the first return; NaN in the
    first `span` rows."""
    out = np.full(len(close), np.nan)
    alpha, mean = 2.0 / (span + 1.0), 0.0
    for t in range(1, len(close)):
        move = close[t] / close[t - 1] - 1.0
        mean = move * move if t == 1 else mean + alpha * (move * move - mean)
        if t >= span:
            out[t] = math.sqrt(mean)
    return out


@numba.njit(cache=True)
def _barriers(
    o: Floats,
    h: Floats,
    l: Floats,  # noqa: E741 - the field's letter
    c: Floats,
    spread: Floats,
    horizon: int,
    pt: float,
    sl: float,
    cost: float,
) -> tuple[Ints, Ints, Floats]:
    """Class, end row and net return. A bar that opens beyond a barrier fills at its open; else the stop goes first."""
    rows = len(c)
    y, end, ret = np.full(rows, -1), np.full(rows, -1), np.full(rows, np.nan)
    for t in range(rows - 1):
        size = spread[t]
        if not size > 0.0:
            continue
        entry, last = o[t + 1], min(t + horizon, rows - 1)
        target, stop = entry * (1.0 + pt * size), entry * (1.0 - sl * size)
        k = t + 1
        while k < last and h[k] < target and l[k] > stop:
            k += 1
        if o[k] >= target:
            price = o[k]
        elif l[k] <= stop:
            price = min(o[k], stop)
        elif h[k] >= target:
            price = target
        elif k < t + horizon:
            continue  # the frame ends before the answer is known
        else:
            price = c[k]
        net = price / entry - 1.0 - cost
        y[t], end[t], ret[t] = (1 if net > 0.0 else 0), k, net
    return y, end, ret
