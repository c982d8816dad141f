"""Averages by the market's regime: wide ones while it trends, tight ones while it goes to and fro."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from domain.params import check_params, param
from indicators import sma
from strategies.base import Floats, Wanted, side

# The reading's own (domain/regimes.py), which a test compares: to import it here would load numba for every form.
LENGTH, ENTER, LEAVE, DWELL = 30, 0.43, 0.23, 2


@dataclass(frozen=True)
class SmaByRegime:
    """In a trend long while SMA `wide_fast` is above SMA `wide_slow`, in a range while `tight_fast` is above
    `tight_slow`; below short, or out where `short` is off. Out while the market cannot be read."""

    label: ClassVar[str] = "SMA crossover by regime"
    about: ClassVar[str] = "Crosses wide averages while the market trends and tight ones while it goes to and fro."

    wide_fast: int = param(20, low=2, high=100, help="bars of the fast average in a trend")
    wide_slow: int = param(50, low=3, high=400, help="bars of the slow average in a trend; more than the fast one's")
    tight_fast: int = param(5, low=2, high=50, help="bars of the fast average in a range")
    tight_slow: int = param(15, low=3, high=200, help="bars of the slow average in a range; more than the fast one's")
    length: int = param(LENGTH, low=10, high=100, help="bars that the regime is read from")
    enter: float = param(ENTER, low=0.3, high=0.9, step=0.01, help="score from which the market trends")
    leave: float = param(LEAVE, low=0.05, high=0.29, step=0.01, help="score down to which it still does")
    dwell: int = param(DWELL, low=1, high=50, help="bars in a row that must agree before the reading changes")
    short: bool = param(True, help="sell short while the fast average is below; else just be out")

    def __post_init__(self) -> None:
        check_params(self)
        for what, fast, slow in (("wide", *self.wide), ("tight", *self.tight)):
            if fast >= slow:
                raise ValueError(f"{what}_slow must exceed {what}_fast: got {fast} and {slow}")

    @property
    def wide(self) -> tuple[int, int]:
        return self.wide_fast, self.wide_slow

    @property
    def tight(self) -> tuple[int, int]:
        return self.tight_fast, self.tight_slow

    @property
    def warmup(self) -> int:
        return max(self.wide_slow, self.tight_slow, self.length + self.dwell)

    def target(self, candles: pd.DataFrame) -> Wanted:
        from domain import regimes  # here, for numba's import is slow and a form needs only the names

        score = regimes.measures(candles, self.length).score
        read = regimes.read(score, length=self.length, enter=self.enter, leave=self.leave, dwell=self.dwell)
        wide, tight = (self._side(candles, *pair) for pair in (self.wide, self.tight))
        exposure = np.select([read == regimes.TRENDING, read == regimes.RANGING], [wide, tight], 0.0)
        return Wanted(exposure, reason=lambda row: self._why(candles, int(read[row]), float(score[row]), row))

    def _side(self, candles: pd.DataFrame, fast: int, slow: int) -> Floats:
        sides = side(sma(candles, fast), sma(candles, slow))
        return sides if self.short else np.maximum(sides, 0.0)

    def _why(self, candles: pd.DataFrame, read: int, score: float, row: int) -> str:
        if read < 0:
            return f"whether the market trends cannot be told from {row + 1} bars"
        fast, slow = self.wide if read else self.tight
        if row + 1 < slow:
            return f"SMA {slow} needs {slow} bars and there are {row + 1}"
        seen = candles["close"].to_numpy()[: row + 1]
        quick, steady = float(seen[-fast:].mean()), float(seen[-slow:].mean())
        order = "above" if quick > steady else "below" if quick < steady else "level with"
        market = "the market trends" if read else "the market ranges"
        return f"{market} (score {score:.2f}): SMA {fast} at {quick:,.6g} is {order} SMA {slow} at {steady:,.6g}"


PART = SmaByRegime
