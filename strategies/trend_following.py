"""Trend following: go with the average's slope, and only while ADX says that there is a trend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from domain.params import check_params, param
from indicators import adx, ema
from strategies.base import TIE, Wanted, side

if TYPE_CHECKING:
    from streams.base import Compiled


@dataclass(frozen=True)
class TrendFollowing:
    """Long while the EMA rises and ADX is at least `strength`, short while it falls, out of the market otherwise."""

    label: ClassVar[str] = "Trend following"
    about: ClassVar[str] = "Goes with the slope of a moving average while ADX says that a trend is on, else stays out."

    length: int = param(50, low=5, high=200, help="bars of the exponential average whose slope is followed")
    adx_length: int = param(14, low=5, high=50, help="bars of ADX")
    strength: float = param(20.0, low=0.0, high=60.0, help="the lowest ADX that counts as a trend; 0: any")
    short: bool = param(True, help="sell short in falling trends; else just be out")

    def __post_init__(self) -> None:
        check_params(self)

    @property
    def warmup(self) -> int:
        # both averages remember their start: after four lengths an EMA holds 0.1 % of it, after eight ADX some 0.5 %
        return max(4 * self.length, 8 * self.adx_length)

    def target(self, candles: pd.DataFrame) -> Wanted:
        average = ema(candles, self.length).to_numpy()
        before = np.concatenate([average[:1], average[:-1]])
        slope = side(average, before)
        trend = adx(candles, self.adx_length)["adx"].to_numpy()
        strong = trend >= self.strength * (1.0 - TIE)
        exposure = np.where(strong, slope if self.short else np.maximum(slope, 0.0), 0.0)
        return Wanted(exposure, reason=lambda row: self._why(row, float(trend[row]), slope[row]))

    def stream(self) -> Compiled:
        """The same rule, bar by bar."""
        from streams.trend_following import stream

        return stream(self, self.warmup, self.short, self.length, self.adx_length, self.strength, self._why)

    def _why(self, row: int, trend: float, slope: float) -> str:
        if np.isnan(trend) or slope == 0.0:
            return f"no trend can be told from {row + 1} bars"
        course = "rises" if slope > 0 else "falls"
        judged = "a trend" if trend >= self.strength * (1.0 - TIE) else "too weak for a trend"
        return f"EMA {self.length} {course}, ADX at {trend:.1f} is {judged} (from {self.strength:g})"


PART = TrendFollowing
