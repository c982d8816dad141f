"""Five honest strategies on markets that have what they look for."""

from __future__ import annotations

from collections.abc import Callable

from backtester import Exit, Setup
from strategies.base import Strategy
from strategies.mean_reversion import MeanReversion
from strategies.sma_crossover import SmaCrossover
from strategies.trend_following import TrendFollowing
from tests.planted import markets
from tests.planted.cases import Case, searched


def crossover() -> Case:
    return Case("crossover", None, markets.trending(21), SmaCrossover(fast=5, slow=15))


def reversion() -> Case:
    return Case("reversion", None, markets.reverting(22), MeanReversion(length=20, entry=1.0, oversold=50.0))


def trend_with_a_stop() -> Case:
    setup = Setup(stop=Exit("atr", 3.0), fraction=0.5)
    return Case("trend with a stop", None, markets.trending(23), TrendFollowing(length=10, strength=0.0), setup)


def whole_universe() -> Case:
    """Everything that was declared is traded, what has ended too."""
    frames = {name: markets.trending(24 + at, 1500 - 300 * at) for at, name in enumerate(("ONE", "TWO", "SIX"))}
    more = {"universe": frames}
    return Case("whole universe", None, frames, SmaCrossover(fast=5, slow=15), Setup(fraction=0.3), more=more)


def modest_search() -> Case:
    """The best of a dozen, each of them counted."""
    variants: list[Strategy] = [
        SmaCrossover(fast=fast, slow=slow) for fast in (3, 5, 8, 10) for slow in (15, 20, 30) if fast < slow
    ]
    return searched("modest search", None, markets.trending(27), variants)


CLEAN: dict[str, Callable[[], Case]] = {
    "crossover": crossover,
    "reversion": reversion,
    "trend with a stop": trend_with_a_stop,
    "whole universe": whole_universe,
    "modest search": modest_search,
}
