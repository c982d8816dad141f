"""How much of a result luck explains: the probabilistic and the deflated Sharpe ratio, the shortest track record, and
the probability that a search has overfitted.

Sharpe ratios here are a period's (a day's), never a year's: divide a year's by the root of the periods in it.
Sources: Bailey and López de Prado, 2012 (PSR, MinTRL) and 2014 (DSR); Bailey and others, 2015 (PBO by CSCV).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from domain import ratios

Floats = npt.NDArray[np.float64]
EULER = 0.5772156649015329
_NORMAL = NormalDist()
_SPLITS_AT_ONCE = 512


def sharpe_error(returns: Floats) -> float | None:
    """Standard error of a period's Sharpe ratio, for returns of any skew and kurtosis (Mertens); None where undefined.

    `sqrt((1 - skew SR + (kurtosis - 1) / 4 SR²) / (n - 1))`
    """
    shape = _shape(returns)
    return math.sqrt(shape / (len(returns) - 1)) if shape is not None else None


def _shape(returns: Floats) -> float | None:
    skew, kurtosis = ratios.moments(returns)
    found = _sharpe(returns)
    shape = 1.0 - skew * found + (kurtosis - 1.0) / 4.0 * found**2
    return shape if shape > 0 else None  # NaN is not above 0 either


def _sharpe(returns: Floats) -> float:
    return float(ratios.sharpe(returns, periods=1))


def psr(returns: npt.ArrayLike, benchmark: float = 0.0) -> float | None:
    """Probability that the true Sharpe ratio lies above `benchmark` (a period's)."""
    found = np.asarray(returns, dtype=np.float64)
    error = sharpe_error(found)
    return _NORMAL.cdf((_sharpe(found) - benchmark) / error) if error else None


def best_of(trials: int, spread: float) -> float:
    """The Sharpe ratio to expect of the best of so many trials without skill, whose Sharpe ratios spread so far."""
    if trials < 1 or not spread >= 0:
        raise ValueError(f"trials must be at least 1 and their spread at least 0: got {trials} and {spread}")
    if trials == 1:
        return 0.0
    first, second = _NORMAL.inv_cdf(1.0 - 1.0 / trials), _NORMAL.inv_cdf(1.0 - 1.0 / (trials * math.e))
    return spread * ((1.0 - EULER) * first + EULER * second)


def dsr(returns: npt.ArrayLike, trials: int, spread: float) -> float | None:
    """PSR against the best that luck alone would have found in `trials` trials, all of them counted.

    `spread` is the standard deviation of the trials' Sharpe ratios (a period's).
    """
    return psr(returns, best_of(trials, spread))


def min_trl(returns: npt.ArrayLike, benchmark: float = 0.0, confidence: float = 0.95) -> float | None:
    """Periods needed until PSR reaches `confidence`; None where the Sharpe ratio is not above `benchmark` at all."""
    found = np.asarray(returns, dtype=np.float64)
    shape, ahead = _shape(found), _sharpe(found) - benchmark
    if shape is None or not ahead > 0:
        return None
    return 1.0 + shape * (_NORMAL.inv_cdf(confidence) / ahead) ** 2


def pbo(returns: npt.ArrayLike, blocks: int = 16) -> float | None:
    """Probability of backtest overfitting by combinatorially symmetric cross-validation.

    `returns` has one column a variant. The span is cut into `blocks`; for every choice of half of them the variant
    with the best Sharpe ratio inside is looked up outside: the share of choices in which it ranks below the median
    there. None below two variants or two periods a block. The oldest rows that fill no block are left out.
    """
    table = np.asarray(returns, dtype=np.float64)
    if blocks < 2 or blocks % 2:
        raise ValueError(f"blocks must be an even number from 2: got {blocks}")
    if table.ndim != 2 or table.shape[1] < 2 or len(table) < 2 * blocks:
        return None
    sums, squares, size = _blocks(table, blocks)
    halves = np.array(list(itertools.combinations(range(blocks), blocks // 2)))
    below = 0
    for start in range(0, len(halves), _SPLITS_AT_ONCE):
        chosen = np.zeros((len(halves[start : start + _SPLITS_AT_ONCE]), blocks))
        np.put_along_axis(chosen, halves[start : start + _SPLITS_AT_ONCE], 1.0, axis=1)
        below += _losing_winners(chosen, sums, squares, size)
    return below / len(halves)


def _blocks(table: Floats, blocks: int) -> tuple[Floats, Floats, int]:
    """Per block and variant: the sum of returns and of their squares; and the periods in half of the blocks."""
    length = len(table) // blocks
    centred = table - table.mean(axis=0)  # keeps the squares' digits; the means are put back into the sums
    parts = centred[len(table) - blocks * length :].reshape(blocks, length, -1)
    return parts.sum(axis=1) + length * table.mean(axis=0), (parts**2).sum(axis=1), length * blocks // 2


def _losing_winners(chosen: Floats, sums: Floats, squares: Floats, size: int) -> int:
    middle = (sums.sum(axis=0)) / (2 * size)
    inside = _half_sharpe(chosen, sums, squares, size, middle)
    outside = _half_sharpe(1.0 - chosen, sums, squares, size, middle)
    winner = np.argmax(inside, axis=1)[:, np.newaxis]
    reached = np.take_along_axis(outside, winner, axis=1)
    lower, level = (outside < reached).sum(axis=1), (outside == reached).sum(axis=1)
    rank = lower + (level + 1) / 2
    return int(np.count_nonzero(rank < (outside.shape[1] + 1) / 2))


def _half_sharpe(chosen: Floats, sums: Floats, squares: Floats, size: int, middle: Floats) -> Floats:
    mean = chosen @ sums / size
    variance = chosen @ squares / size - (mean - middle) ** 2
    still = variance <= 1e-24
    return np.where(still, 0.0, mean / np.sqrt(np.where(still, 1.0, variance)))


def walk_forward_efficiency(inside: Sequence[float], outside: Sequence[float]) -> tuple[float | None, float | None]:
    """From the windows' annualised returns in and out of sample: mean outside over mean inside, and the share of
    windows that gained outside. The first is None unless there was a gain inside to keep."""
    if len(inside) != len(outside):
        raise ValueError(f"each window has an inside and an outside: got {len(inside)} and {len(outside)}")
    if not len(inside):
        return None, None
    gain = float(np.mean(inside))
    kept = float(np.mean(outside)) / gain if gain > 0 else None
    return kept, float(np.mean(np.asarray(outside) > 0))


def parameter_drift(chosen: Sequence[Mapping[str, float]], ranges: Mapping[str, tuple[float, float]]) -> float | None:
    """How far the chosen parameters wander: mean step from window to window, as a share of each one's range."""
    steps = [
        abs(later[name] - earlier[name]) / (high - low)
        for earlier, later in itertools.pairwise(chosen)
        for name, (low, high) in ranges.items()
        if high > low
    ]
    return float(np.mean(steps)) if steps else None
