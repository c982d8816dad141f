"""The pattern edge: has a pattern been followed by better prices than any other bar?

    table = pattern_edge(candles, horizon=5)
    table[table["verdict"] == "edge survives correction"]

The rule: nothing here knows the future of its own case. A pattern is complete at its bar's close, so its case is
entered at the next bar's open and left at the close `horizon` bars after the pattern; the last `horizon` bars, whose
outcome is not known yet, are no cases and no base rate.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd

import patterns

Array = np.ndarray[Any, np.dtype[Any]]
FEWEST = 10  # cases from which a row is tested at all
LEVEL = 0.05
_MOST_BLOCKS = 2_000  # keeps the bootstrap's memory and time flat however long the frame

SURVIVES = "edge survives correction"
REVERSED = "the opposite survives correction"
NOTHING = "no edge seen"


def pattern_edge(
    candles: pd.DataFrame,
    names: str | Iterable[str] | None = None,
    horizon: int = 5,
    samples: int = 2000,
    seed: int = 0,
) -> pd.DataFrame:
    """One row a pattern and side that can fire: bullish (grade above 0) and bearish (below).

    All returns are fractions in the pattern's direction: what a bearish pattern was followed by is turned in sign,
    so a number above 0 always means the pattern was right. Costs are not in them. Columns:

    pattern, side           as asked (`detect`'s names), "bullish" or "bearish"
    count                   bars where it fired and whose outcome is known
    mean_return             mean of close[t + horizon] / open[t + 1] - 1 over those
    base_return, edge       the same over every bar; mean_return - base_return
    hit_rate, base_hit_rate, hit_edge    the share of returns above 0, likewise
    low, high               95 % interval of `edge`
    p_value, p_corrected    two-sided; corrected by Holm over all rows tested
    verdict                 "too few: 7 cases", "no edge seen", "edge survives correction", or the opposite survives

    The interval is a block bootstrap: cases `horizon` bars long overlap, so stretches of at least twice that are
    drawn, not bars. The p-value asks how often the same cases, slid round the calendar to every other
    place, met returns as far from the base rate: sliding keeps their clusters and the overlap as they are. Where no
    place did, it is read off the slides' normal curve. Holm, because many rows are
    tried, they overlap (every Takuri is a Doji), and one false edge costs more than one missed: it bounds the
    chance of even one, under any dependence. Rows with fewer than 10 cases get neither interval nor p-value.

    The same seed gives the same table. `horizon` or `samples` below 1 is a ValueError, and so is an unknown name.
    """
    for name, value in (("horizon", horizon), ("samples", samples)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1: got {value}")
    returns = _forward_returns(candles, horizon)
    cases = _cases(patterns.detect(candles, names), len(returns))
    rows = [_row(name, side, fired, returns) for name, side, fired in cases]
    table = pd.DataFrame(rows, columns=_MEASURED)
    tested = np.flatnonzero(table["count"].to_numpy() >= FEWEST)
    interval = np.full((len(table), 2), np.nan)
    p_values, corrected = np.full(len(table), np.nan), np.full(len(table), np.nan)
    if len(tested):
        fired = np.array([cases[row][2] for row in tested])
        signs = np.array([cases[row][1] for row in tested])
        interval[tested] = _intervals(fired, signs, returns, horizon, samples, np.random.default_rng(seed))
        p_values[tested] = _p_values(fired, returns, horizon)
        corrected[tested] = holm(p_values[tested])
    table = table.assign(low=interval[:, 0], high=interval[:, 1], p_value=p_values, p_corrected=corrected)
    verdicts = map(_verdict, table["count"], table["edge"], table["p_corrected"])
    return table.assign(verdict=pd.Series(list(verdicts), index=table.index, dtype=str))


_MEASURED = [
    "pattern",
    "side",
    "count",
    "mean_return",
    "base_return",
    "edge",
    "hit_rate",
    "base_hit_rate",
    "hit_edge",
]


def _forward_returns(candles: pd.DataFrame, horizon: int) -> Array:
    """Row t: from the open of t + 1 to the close of t + horizon. Shorter than the frame by `horizon`."""
    rows = max(0, len(candles) - horizon)
    entry = candles["open"].to_numpy()[1 : rows + 1]
    leave = candles["close"].to_numpy()[horizon : rows + horizon]
    returns: Array = leave / entry - 1.0
    return returns


def _cases(grades: pd.DataFrame, rows: int) -> list[tuple[str, int, Array]]:
    """(name, sign, where it fired) for each side that the pattern, as asked, can take."""
    found = []
    for name in grades.columns:
        fired = grades[name].to_numpy()[:rows]
        found += [(str(name), sign, fired * sign > 0) for sign in patterns.signs(str(name))]
    return found


def _row(name: str, sign: int, fired: Array, returns: Array) -> tuple[Any, ...]:
    followed, base = sign * returns[fired], sign * returns
    side, count = "bullish" if sign > 0 else "bearish", len(followed)
    if count == 0 or len(base) == 0:
        return (name, side, count, *[np.nan] * 6)
    mean, base_mean = float(followed.mean()), float(base.mean())
    hits, base_hits = float((followed > 0).mean()), float((base > 0).mean())
    return name, side, count, mean, base_mean, mean - base_mean, hits, base_hits, hits - base_hits


def _intervals(
    fired: Array, signs: Array, returns: Array, horizon: int, samples: int, chance: np.random.Generator
) -> Array:
    """The middle 95 % of each row's edge over resampled histories, every row on the same ones.

    Blocks do not overlap and are drawn with replacement, so a history is a count of each block, and all its sums are
    one product of that count with the blocks' sums.
    """
    rows = len(returns)
    length = max(2 * horizon, round(rows ** (1 / 3)), -(-rows // _MOST_BLOCKS))
    starts = np.arange(0, rows, length)
    blocks = len(starts)
    lines = chain((one * returns for one in fired), (one * 1.0 for one in fired), (returns, np.ones(rows)))
    sums = np.array([np.add.reduceat(line, starts) for line in lines]).T
    drawn = chance.integers(0, blocks, size=(samples, blocks)) + blocks * np.arange(samples)[:, None]
    counts = np.bincount(drawn.ravel(), minlength=samples * blocks).reshape(samples, blocks)
    total = counts.astype(np.float64) @ sums
    tested = len(fired)
    with np.errstate(invalid="ignore", divide="ignore"):  # a history may hold none of a rare pattern's cases
        edges = total[:, :tested] / total[:, tested:-2] - total[:, -2:-1] / total[:, -1:]
    interval: Array = np.nanquantile(edges * signs, [0.025, 0.975], axis=0).T
    return interval


def _p_values(fired: Array, returns: Array, horizon: int) -> Array:
    """For each row the share of circular slides whose mean lies as far from the base rate as the real one's."""
    size = 1 << (2 * len(returns)).bit_length()  # a power of two: a prime length would be ten times as slow
    waves = np.conj(np.fft.rfft(returns - returns.mean(), size))
    return np.array([_p_value(one, waves, size, horizon) for one in fired])


def _p_value(fired: Array, waves: Array, size: int, horizon: int) -> float:
    rows = len(fired)
    lagged = np.fft.irfft(np.fft.rfft(fired.astype(np.float64), size) * waves, size)
    slid = np.abs(lagged[:rows] + lagged[-rows:]) / fired.sum()  # what slides off one end comes in at the other
    # Slides of less than `horizon` share bars with the real cases, hence their edge: only the others are chance.
    seen, others = float(slid[0]), slid[horizon : rows - horizon + 1]
    spread = float(np.sqrt(np.mean(others**2))) if len(others) else 0.0
    if spread < 1e-15:  # it fires on every bar, or prices never move
        return 1.0
    further = int(np.sum(others >= seen * (1 - 1e-9)))
    share = (1 + further) / (1 + len(others))
    return share if further else min(share, 2 * NormalDist().cdf(-seen / spread))


def holm(p_values: Array) -> Array:
    """Holm's step-down correction: the chance of even one false find, whatever the dependence (Holm 1979)."""
    order = np.argsort(p_values)
    steps = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(steps, 1.0)
    return corrected


def _verdict(count: int, edge: float, p_corrected: float) -> str:
    if count < FEWEST:
        return f"too few: {count} case{'s' * (count != 1)}"
    if p_corrected >= LEVEL:
        return NOTHING
    return SURVIVES if edge > 0 else REVERSED
