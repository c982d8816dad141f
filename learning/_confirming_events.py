"""The moments that are confirmed or not: where a strategy takes a side, what was known then, and what came of it.

    found = events(strategy, candles, Bracket(), instrument("AAPL"), timeframe("1h"))
    found.rows, found.X, found.y

An event is a bar at whose close a strategy wants a side that it did not want a bar before. It is asked about with its
bracket: in at the next bar's open, target and stop counted from the close it was decided on (as the desk places them),
out at the close after `horizon` bars; where a bar holds both prices, the stop was first.

The rule: what is known of an event at row t is worked out from rows t - reach to t, by the same steps wherever they
stand. A window of `reach + 1` bars gives the numbers that all of history gives.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pandas as pd

from backtest.setup import Exit
from domain.candles import COLUMNS, Timeframe
from domain.instruments import Instrument
from domain.params import check_params, param
from indicators import atr
from learning import features as bars
from learning.windows import breaks
from strategies.base import Strategy, asked

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

RECALL = 250  # bars that the record of the strategy's finished brackets looks back on
SETTLED = 30  # lengths after which nothing is left of what a Wilder average began with, to the last digit
SLOW, QUICK = 50, 20  # bars of the two trends
VERSION = 1
TURNED = ("return", "gap", "body", "location", "channel", "move", "move_5", "move_20")  # seen from the side taken
PLAIN = ("range", "volume", "heat", "hour_sin", "hour_cos")
NAMES: tuple[str, ...] = (
    *TURNED,
    "ahead",  # the shadow on the side that is to be gone towards, as a share of the range
    "behind",  # the other one
    *PLAIN,
    "side",
    "exposure",
    "confidence",
    "size",  # log of what a bar moved over the last 50
    "trend_20",  # how straight the way of 20 bars was, 0 to 1, signed by the side
    "trend_50",
    "since",  # log of the bars since the event before, at most RECALL
    "hits",  # how often the brackets finished by then earned something: (won + 1) / (finished + 2)
    "finished",  # log of how many these are
)


@dataclass(frozen=True, slots=True)
class Bracket:
    """What an entry comes with. `cost_bps` is what the round trip costs."""

    target: Exit = field(default_factory=lambda: Exit("atr", 3.0))
    stop: Exit = field(default_factory=lambda: Exit("atr", 2.0))
    horizon: int = param(20, low=1, high=1000, help="bars after which it is closed where neither price was reached")
    cost_bps: float = param(10.0, low=0.0, high=1000.0, step=1.0, help="what a round trip costs")

    def __post_init__(self) -> None:
        check_params(self)
        if not (isinstance(self.target, Exit) and isinstance(self.stop, Exit)):
            raise ValueError(f"target and stop must be exits: got {self.target!r} and {self.stop!r}")

    @property
    def words(self) -> str:
        return (
            f"target {self.target.words}, stop {self.stop.words}, at most {self.horizon} bars, "
            f"{self.cost_bps:g} bps a round trip"
        )

    @property
    def settled(self) -> int:
        """Bars that the ATRs of its exits look back on."""
        return SETTLED * max((e.period for e in (self.target, self.stop) if e.kind == "atr"), default=0)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self)

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Bracket:
        """From `to_dict`."""
        values = dict(told)
        return cls(Exit(**values.pop("target")), Exit(**values.pop("stop")), **values)


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """One row an event, in order of time. `y` (1: it earned something) and `end` are -1 and `ret` NaN where the frame
    does not hold the answer; `won` and `lost` are what target and stop would come to, as shares of the close."""

    rows: Ints
    side: Floats
    X: Matrix
    y: Ints
    end: Ints
    ret: Floats
    won: Floats
    lost: Floats
    whole: Mask  # whether all that is asked of it lies in unbroken bars behind it

    def __len__(self) -> int:
        return len(self.rows)


def reach(strategy: Strategy, bracket: Bracket) -> int:
    """How many bars before an event its numbers depend on."""
    return RECALL + max(4 * strategy.warmup + 1, bracket.settled, bars.WARMUP)


def spec(timeframe: str) -> dict[str, Any]:
    """What a confirmation must be shown again, with the sha256 of all of it."""
    told: dict[str, Any] = {
        "names": list(NAMES),
        "version": VERSION,
        "of_bars": bars.VERSION,
        "recall": RECALL,
        "timeframe": timeframe,
    }
    return told | {"sha256": hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()}


def events(strategy: Strategy, candles: pd.DataFrame, bracket: Bracket, of: Instrument, tf: Timeframe) -> Events:
    """All events of a frame of one symbol's bars in regular hours. Those whose past is cut short or broken are listed
    and not `whole`: nothing is learned from them, and no answer is given."""
    wanted = asked(strategy, candles)
    sides = np.sign(wanted.exposure)
    rows = _taken(sides, 4 * strategy.warmup)
    o, h, l, c = (np.ascontiguousarray(candles[name], dtype=np.float64) for name in COLUMNS[:4])  # noqa: E741
    gain, loss = _away(bracket.target, candles, c), _away(bracket.stop, candles, c)
    side = sides[rows]
    y, end, ret = _brackets(o, h, l, c, rows, side, gain, loss, bracket.horizon, bracket.cost_bps / 1e4)
    seen = bars.features(candles, of.zone)
    around = _around(c, rows, y, end, RECALL, SLOW, QUICK)
    X = _table(seen[rows], side, wanted.exposure[rows], wanted.confidence[rows], around)
    behind = np.cumsum(breaks(candles, tf, of))
    unbroken = behind[rows] == behind[np.maximum(rows - bars.WARMUP, 0)]
    whole = (rows >= reach(strategy, bracket)) & unbroken & np.isfinite(X).all(axis=1)
    known = (y >= 0) & (behind[np.maximum(end, 0)] == behind[rows])
    return Events(
        rows,
        side,
        X,
        np.where(known, y, -1),
        np.where(known, end, -1),
        np.where(known, ret, np.nan),
        gain[rows] / c[rows],
        loss[rows] / c[rows],
        whole,
    )


def _taken(sides: Floats, before: int) -> Ints:
    """Rows at which a side appears or turns round; none before both this row's and the last one's can be trusted."""
    fresh = np.r_[False, (sides[1:] != 0.0) & (sides[1:] != sides[:-1])] if len(sides) else np.zeros(0, dtype=bool)
    rows = np.flatnonzero(fresh)
    return np.asarray(rows[rows > before], dtype=np.int64)


def _away(way_out: Exit, candles: pd.DataFrame, close: Floats) -> Floats:
    """How far the exit lies from each close; NaN where that is not known yet."""
    if way_out.kind == "atr":
        return np.asarray(way_out.amount * atr(candles, way_out.period).to_numpy(), dtype=np.float64)
    return way_out.amount * (close / 100.0 if way_out.kind == "pct" else np.ones(len(close)))


def _table(seen: Matrix, side: Floats, exposure: Floats, confidence: Floats, around: Floats) -> Matrix:
    at = {name: number for number, name in enumerate(bars.NAMES)}
    upper, lower, long = seen[:, at["upper"]], seen[:, at["lower"]], side > 0
    columns: list[npt.NDArray[Any]] = [seen[:, at[name]] * side for name in TURNED]
    columns += [np.where(long, upper, lower), np.where(long, lower, upper)]
    columns += [seen[:, at[name]] for name in PLAIN]
    columns += [side, np.abs(exposure), confidence, around[:, 0], around[:, 1] * side, around[:, 2] * side]
    columns += [around[:, 3], around[:, 4], around[:, 5]]
    return np.column_stack(columns).astype(np.float32)


@numba.njit(cache=True)
def _brackets(
    o: Floats,
    h: Floats,
    l: Floats,  # noqa: E741 - the field's letter
    c: Floats,
    rows: Ints,
    side: Floats,
    gain: Floats,
    loss: Floats,
    horizon: int,
    cost: float,
) -> tuple[Ints, Ints, Floats]:
    """Class, end row and net return of each event. What opens beyond a price is filled at its open; else the stop goes
    first."""
    y, end, ret = np.full(len(rows), -1), np.full(len(rows), -1), np.full(len(rows), np.nan)
    final = len(c) - 1
    for i in range(len(rows)):
        t, s = rows[i], side[i]
        if t >= final or not (gain[t] > 0.0 and loss[t] > 0.0):
            continue
        entry, target, stop = o[t + 1], c[t] + s * gain[t], c[t] - s * loss[t]
        if not (stop > 0.0 and target > 0.0):
            continue
        price = np.nan
        k = t
        while k < min(t + horizon, final) and price != price:
            k += 1
            best, worst = (h[k], l[k]) if s > 0.0 else (l[k], h[k])
            if s * (o[k] - target) >= 0.0:
                price = o[k]
            elif s * (worst - stop) <= 0.0:
                price = o[k] if s * (o[k] - stop) <= 0.0 else stop
            elif s * (best - target) >= 0.0:
                price = target
        if price != price:
            if k < t + horizon:
                continue  # the frame ends before the answer is known
            price = c[k]
        net = s * (price - entry) / entry - cost
        y[i], end[i], ret[i] = (1 if net > 0.0 else 0), k, net
    return y, end, ret


@numba.njit(cache=True)
def _around(c: Floats, rows: Ints, y: Ints, end: Ints, recall: int, slow: int, quick: int) -> Floats:
    """Size, both trends, bars since the event before, record of the finished brackets and how many they are."""
    out = np.full((len(rows), 6), np.nan)
    for i in range(len(rows)):
        t = rows[i]
        if t >= slow:
            moved, squares, way_quick, way_slow = 0.0, 0.0, 0.0, 0.0
            for k in range(t - slow + 1, t + 1):
                moved = np.log(c[k] / c[k - 1])
                squares += moved * moved
                way_slow += abs(moved)
                if k > t - quick:
                    way_quick += abs(moved)
            out[i, 0] = 0.5 * np.log(max(squares / slow, 1e-18))
            out[i, 1] = np.log(c[t] / c[t - quick]) / way_quick if way_quick > 0.0 else 0.0
            out[i, 2] = np.log(c[t] / c[t - slow]) / way_slow if way_slow > 0.0 else 0.0
        won, finished, since = 0, 0, recall
        for j in range(i - 1, -1, -1):
            if rows[j] < t - recall:
                break
            since = min(since, t - rows[j])
            if y[j] >= 0 and end[j] <= t:
                finished += 1
                won += y[j]
        out[i, 3] = np.log(float(since))
        out[i, 4] = (won + 1.0) / (finished + 2.0)
        out[i, 5] = np.log(1.0 + finished)
    return out
