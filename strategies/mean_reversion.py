"""Mean reversion: buy what has fallen far below its average, sell what has risen far above it, leave at the average.

How far is told in standard deviations of the last closes (as Bollinger's bands are), and RSI must agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from domain.params import check_params, param
from indicators import bollinger, rsi
from strategies.base import Floats, Wanted, back_to_mean, closes

if TYPE_CHECKING:
    from streams.base import Compiled

_STILL = 1e-7  # a deviation below this share of the price is rounding: the price stands still


@dataclass(frozen=True)
class MeanReversion:
    """Long from `entry` deviations below the mean with RSI at most `oversold`, short by the mirror image.

    Out once the close is back within `leave` deviations of the mean, or `hold` bars after it was last stretched.
    """

    label: ClassVar[str] = "Mean reversion"
    about: ClassVar[str] = "Buys far below the average and sells far above it, and leaves when the price is back there."

    length: int = param(20, low=5, high=200, help="bars of the mean and its deviation")
    entry: float = param(2.0, low=0.5, high=4.0, help="deviations from the mean at which to enter")
    leave: float = param(0.0, low=0.0, high=1.5, help="deviations from the mean at which to leave; less than entry")
    rsi_length: int = param(14, low=2, high=50, help="bars of RSI")
    oversold: float = param(35.0, low=5.0, high=50.0, help="highest RSI to buy at, 100 less it the lowest to sell at")
    hold: int = param(20, low=1, high=200, help="bars after the last stretched one at which hope is given up")
    short: bool = param(True, help="sell short far above the mean; else only buy")

    def __post_init__(self) -> None:
        check_params(self)
        if self.leave >= self.entry:
            raise ValueError(f"entry must exceed leave: got {self.entry} and {self.leave}")

    @property
    def warmup(self) -> int:
        # RSI remembers its start: after ten lengths 0.06 % of it
        return max(self.length, 10 * self.rsi_length) + self.hold

    def target(self, candles: pd.DataFrame) -> Wanted:
        score = _score(candles, self.length)
        strength = rsi(candles, self.rsi_length).to_numpy()
        low = (score <= -self.entry) & (strength <= self.oversold)
        high = (score >= self.entry) & (strength >= 100.0 - self.oversold)
        stretched = low.astype(np.float64) - high
        exposure = back_to_mean(stretched, score, self.leave, self.hold)
        allowed = exposure if self.short else np.maximum(exposure, 0.0)
        return Wanted(allowed, reason=lambda row: self._why(float(score[row]), float(strength[row]), exposure[row]))

    def stream(self) -> Compiled:
        """The same rule, bar by bar."""
        from streams.mean_reversion import stream

        lengths, levels = (self.length, self.rsi_length), (self.entry, self.leave, self.oversold)
        return stream(self, self.warmup, self.short, lengths, levels, self.hold, _STILL, self._why)

    def _why(self, score: float, strength: float, exposure: float) -> str:
        where = (
            f"the close is {abs(score):.2f} deviations {'below' if score < 0 else 'above'} its {self.length}-bar mean"
        )
        rsi_says = "" if np.isnan(strength) else f", RSI {strength:.0f}"
        doing = "nothing is stretched" if exposure == 0.0 else "not yet back at the mean"
        return f"{where}{rsi_says}: {doing}"


def _score(candles: pd.DataFrame, length: int) -> Floats:
    """The close's distance from its mean in deviations; 0 in the warm-up and while the price stands still."""
    bands = bollinger(candles, length, 1.0)
    mean, upper, close = bands["middle"].to_numpy(), bands["upper"].to_numpy(), closes(candles)
    deviation = upper - mean
    score = np.zeros(len(close))
    np.divide(close - mean, deviation, out=score, where=deviation > _STILL * np.abs(mean))
    return score


PART = MeanReversion
