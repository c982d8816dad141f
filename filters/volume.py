"""Volume: enter only on bars that were traded more than most of those before them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from domain.params import check_params, param
from filters.base import Others, Verdicts
from strategies.base import Wanted


@dataclass(frozen=True)
class Volume:
    """Passes where the bar's volume is above the `percentile` of the `bars` before it, its own not among them.

    A bar without volume never passes: where a source gives none, nothing is entered.
    """

    label: ClassVar[str] = "Volume"
    about: ClassVar[str] = "Lets an entry through only on a bar that was traded more than most bars before it."

    bars: int = param(50, low=5, high=1000, help="bars before it that a bar's volume is compared with")
    percentile: float = param(50.0, low=1.0, high=99.0, help="percentile of them that it must exceed; 50: the median")

    def __post_init__(self) -> None:
        check_params(self)

    @property
    def warmup(self) -> int:
        return self.bars

    def verdicts(self, candles: pd.DataFrame, wanted: Wanted, others: Others | None) -> Verdicts:
        volume = candles["volume"].to_numpy(np.float64)
        # an order statistic has no rounding that a longer history could change
        line = candles["volume"].rolling(self.bars).quantile(self.percentile / 100.0).shift(1).to_numpy(np.float64)
        passes = (volume > 0.0) & (volume > line)
        return Verdicts(passes, lambda row: self._why(float(volume[row]), float(line[row]), bool(passes[row])))

    def _why(self, volume: float, line: float, passes: bool) -> str:
        if not volume > 0.0:
            return "this bar has no volume"
        what = "median" if self.percentile == 50.0 else f"{self.percentile:g}th percentile"
        told = f"volume {volume:,.6g}" if volume < 1.0 else f"volume {volume:,.0f}"
        return f"{told} is {'above' if passes else 'not above'} its {what} of {self.bars} bars, {line:,.6g}"


PART = Volume
