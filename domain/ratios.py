"""The arithmetic of returns. Each function takes simple returns a period along the last axis, so that one account and
a thousand resampled ones go through the same lines. NaN is what is undefined: never infinity, never a stand-in 0.

Definitions are printed in `docs/metrics.md`. `periods` is how many make a year.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_STILL = 1e-13  # a spread below this is what rounding leaves of none at all


def divide(above: Any, below: Any) -> Floats:
    """`above / below`, NaN where the divisor is 0."""
    above, below = np.asarray(above, dtype=np.float64), np.asarray(below, dtype=np.float64)
    if above.ndim == below.ndim == 0:
        return np.asarray(float(above) / float(below) if below != 0 else np.nan)
    shape = np.broadcast_shapes(above.shape, below.shape)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.asarray(np.divide(above, below, out=np.full(shape, np.nan), where=below != 0))


def mean(values: Floats) -> Floats:
    if values.shape[-1] == 0:
        return np.full(values.shape[:-1], np.nan)
    return np.asarray(np.add.reduce(values, axis=-1) / values.shape[-1])


def spread(values: Floats) -> Floats:
    """Sample standard deviation (ddof 1); 0 where only rounding differs, NaN below two values."""
    if values.shape[-1] < 2:
        return np.full(values.shape[:-1], np.nan)
    away = values - mean(values)[..., np.newaxis]
    away *= away
    found = np.sqrt(np.add.reduce(away, axis=-1) / (values.shape[-1] - 1))
    return np.where(found <= _STILL, 0.0, found)


# Growth


def total(returns: Floats) -> Floats:
    """Compounded return over the whole span."""
    return np.asarray(np.prod(1.0 + returns, axis=-1) - 1.0)


def annualised(total_return: Any, years: float) -> Floats:
    """`(1 + total) ^ (1 / years) - 1`; NaN where nothing is left or no time has passed."""
    growth = 1.0 + np.asarray(total_return, dtype=np.float64)
    if years <= 0:
        return np.full(growth.shape, np.nan)
    with np.errstate(over="ignore"):
        found = np.where(growth > 0, np.maximum(growth, 1e-300) ** (1.0 / years) - 1.0, np.nan)
    return np.where(np.isfinite(found), found, np.nan)


def volatility(returns: Floats, periods: int) -> Floats:
    return np.asarray(spread(returns) * np.sqrt(periods))


# Reward for risk


def sharpe(returns: Floats, periods: int, rf: float = 0.0) -> Floats:
    """`rf` is a year's."""
    return np.asarray(divide(mean(returns) - rf / periods, spread(returns)) * np.sqrt(periods))


def downside(returns: Floats, mar: Any = 0.0) -> Floats:
    """Root of the mean squared shortfall below `mar` (a period's), over all periods, those above it too."""
    return np.asarray(np.sqrt(mean(np.minimum(returns - mar, 0.0) ** 2)))


def sortino(returns: Floats, periods: int, mar: Any = 0.0) -> Floats:
    """`mar` is a period's: one number or one a period."""
    return np.asarray(divide(mean(returns - mar), downside(returns, mar)) * np.sqrt(periods))


def omega(returns: Floats, threshold: Any = 0.0) -> Floats:
    """Sum of what lies above `threshold` over the sum of what lies below."""
    over = returns - threshold
    return divide(np.maximum(over, 0.0).sum(axis=-1), np.maximum(-over, 0.0).sum(axis=-1))


# The shape of the distribution


def value_at_risk(returns: Floats) -> Floats:
    """The 5 % quantile, interpolated between the two nearest."""
    return quantile(returns, 0.05)


def expected_shortfall(returns: Floats) -> Floats:
    """Mean of the returns at or below the 5 % quantile."""
    worst = returns <= value_at_risk(returns)[..., np.newaxis]
    return divide(np.where(worst, returns, 0.0).sum(axis=-1), worst.sum(axis=-1))


def tail(returns: Floats) -> Floats:
    return np.abs(divide(quantile(returns, 0.95), quantile(returns, 0.05)))


def quantile(values: Floats, share: float) -> Floats:
    """Interpolated between the two nearest of finite values: what `np.quantile` gives, without what it asks first."""
    if values.shape[-1] == 0:
        return np.full(values.shape[:-1], np.nan)
    place = (values.shape[-1] - 1) * share
    below = int(place)
    above, part = min(below + 1, values.shape[-1] - 1), place - below
    ordered = np.partition(values, (below, above), axis=-1)
    low, high = ordered[..., below], ordered[..., above]
    return np.asarray(high - (high - low) * (1.0 - part) if part >= 0.5 else low + (high - low) * part)


def moments(returns: Floats) -> tuple[float, float]:
    """Skew and (not excess) kurtosis of these very returns, uncorrected: what PSR is made of."""
    if len(returns) < 2 or not spread(returns) > 0:
        return np.nan, np.nan
    away = returns - mean(returns)
    squares = away * away
    variance = float(mean(squares))
    return float(mean(away**3)) / variance**1.5, float(mean(away**4)) / variance**2


def skew(returns: Floats) -> float:
    """Corrected for bias; NaN below three returns."""
    n, (plain, _) = len(returns), moments(returns)
    return plain * np.sqrt(n * (n - 1)) / (n - 2) if n > 2 else np.nan


def excess_kurtosis(returns: Floats) -> float:
    """Corrected for bias, 0 for the normal curve; NaN below four returns."""
    n, (_, plain) = len(returns), moments(returns)
    return ((n + 1) * (plain - 3.0) + 6.0) * (n - 1) / ((n - 2) * (n - 3)) if n > 3 else np.nan


# Drawdown


def drawdowns(equity: Floats) -> Floats:
    """`E / highest E so far - 1` along the last axis, whose first value is the starting equity."""
    return equity / np.maximum.accumulate(equity, axis=-1) - 1.0


def from_start(returns: Floats) -> Floats:
    """Equity from 1, one value more than returns."""
    start = np.ones((*returns.shape[:-1], 1))
    return np.concatenate([start, np.cumprod(1.0 + returns, axis=-1)], axis=-1)


def ulcer(depths: Floats) -> Floats:
    """`depths` holds the start too, which is a peak and no period."""
    return np.sqrt(mean(depths[..., 1:] ** 2))


def pain(depths: Floats) -> Floats:
    return mean(np.abs(depths[..., 1:]))


@dataclass(frozen=True, slots=True)
class Episode:
    """One drawdown by positions: its peak, its deepest point, and the new high (None: not reached yet)."""

    peak: int
    trough: int
    end: int | None
    depth: float


def episodes(depths: Floats) -> list[Episode]:
    """Every drawdown in order, from a row of `drawdowns`."""
    under = depths < 0
    begins = np.flatnonzero(under & ~np.r_[False, under[:-1]])
    ends = np.flatnonzero(~under & np.r_[False, under[:-1]])
    found = []
    for number, begin in enumerate(begins):
        end = int(ends[number]) if number < len(ends) else None
        trough = int(begin) + int(np.argmin(depths[begin:end]))
        found.append(Episode(int(begin) - 1, trough, end, float(depths[trough])))
    return found


# Beside a benchmark


def beta(returns: Floats, benchmark: Floats) -> Floats:
    n = returns.shape[-1]
    if n < 2:
        return np.full(returns.shape[:-1], np.nan)
    apart = returns - mean(returns)[..., np.newaxis]
    market = benchmark - mean(benchmark)[..., np.newaxis]
    variance = np.where(spread(benchmark) > 0, (market**2).sum(axis=-1), 0.0)
    return divide((apart * market).sum(axis=-1), variance)


def alpha(returns: Floats, benchmark: Floats, periods: int, rf: float = 0.0) -> Floats:
    free = rf / periods
    return (mean(returns) - free - beta(returns, benchmark) * (mean(benchmark) - free)) * periods


def correlation(returns: Floats, benchmark: Floats) -> Floats:
    own = np.where(spread(returns) > 0, spread(returns), np.nan)
    return np.clip(beta(returns, benchmark) * spread(benchmark) / own, -1.0, 1.0)


def tracking_error(returns: Floats, benchmark: Floats, periods: int) -> Floats:
    return volatility(returns - benchmark, periods)


def information_ratio(returns: Floats, benchmark: Floats, periods: int) -> Floats:
    return sharpe(returns - benchmark, periods)


def capture(returns: Floats, benchmark: Floats, periods: int, market: int = 0) -> float:
    """Annualised return over the benchmark's; `market` 1: only days the benchmark rose, -1: only days it fell."""
    days = np.sign(benchmark) == market if market else np.ones(len(benchmark), dtype=bool)
    years = np.count_nonzero(days) / periods
    own, other = annualised(total(returns[days]), years), annualised(total(benchmark[days]), years)
    return float(divide(own, other))
