"""Whether a pattern has been worth hearing of: its past edge above the base rate, as `research.edge` measures it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pandas as pd

import patterns
from desk.subscriptions import Subscription
from domain.errors import DataError
from research.edge import pattern_edge

HORIZON = 5
HISTORY = 2000  # bars that are looked back on


@dataclass(frozen=True, slots=True)
class Odds:
    """What followed a pattern over `bars` bars: its mean return within five bars minus that of any bar, in
    ten-thousandths, with a 95 % interval; `confidence` is 1 - p of that edge. NaN, and 0, where it was too rare."""

    pattern: str
    side: str
    count: int
    edge_bps: float
    low_bps: float
    high_bps: float
    confidence: float
    verdict: str
    bars: int

    @property
    def words(self) -> str:
        if math.isnan(self.low_bps):
            return f"{self.pattern} ({self.side}) over the last {self.bars:,} bars: {self.verdict}."
        return (
            f"{self.pattern} ({self.side}) over the last {self.bars:,} bars: {self.count} cases, edge above the base "
            f"rate {self.edge_bps:+.1f} bps within {HORIZON} bars (95 %: {self.low_bps:+.1f} to {self.high_bps:+.1f}), "
            f"real with {self.confidence:.0%}."
        )

    def meets(self, wanted: Subscription) -> bool:
        """Whether it is as good as was asked for; what is too rare to be judged is not."""
        if not wanted.judged:
            return True
        if math.isnan(self.low_bps):
            return False
        return self.edge_bps > (wanted.least_edge_bps or 0.0) and self.confidence >= wanted.least_confidence


def odds(candles: pd.DataFrame, pattern: str, sign: int = 0) -> Odds:
    """The odds of a pattern on the side of `sign` (its first where 0), from closed candles alone. Costs are not in
    them. DataError where there are too few bars to look back on."""
    if len(candles) <= 2 * HORIZON:
        raise DataError(f"{pattern}: {len(candles)} bars are too few to look back on")
    sign = sign or patterns.signs(pattern)[0]
    side = "bullish" if sign > 0 else "bearish"
    table = pattern_edge(candles, [pattern], horizon=HORIZON)
    row = table[table["side"] == side].iloc[0]
    p_value = float(row["p_value"])
    return Odds(
        pattern=pattern,
        side=side,
        count=int(row["count"]),
        edge_bps=1e4 * float(row["edge"]),
        low_bps=1e4 * float(row["low"]),
        high_bps=1e4 * float(row["high"]),
        confidence=0.0 if math.isnan(p_value) else 1.0 - p_value,
        verdict=str(row["verdict"]),
        bars=len(candles),
    )
