"""Regime: enter only in a market that trends, or only in one that goes to and fro."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from domain.params import check_params, param
from filters.base import Others, Verdicts
from strategies.base import Wanted

# The reading's own (domain/regimes.py), which a test compares: to import it here would load numba for every form.
LENGTH, ENTER, LEAVE, DWELL = 30, 0.43, 0.23, 2


@dataclass(frozen=True)
class Regime:
    """Passes while the market is read as `only_in`; while it cannot be read, nothing passes."""

    label: ClassVar[str] = "Trend or range"
    about: ClassVar[str] = "Lets an entry through only while the market trends, or only while it does not."

    only_in: str = param("trend", choices=("trend", "range"), help="the market in which entries are let through")
    length: int = param(LENGTH, low=10, high=200, help="bars that are measured")
    enter: float = param(ENTER, low=0.3, high=0.9, step=0.01, help="score from which the market trends")
    leave: float = param(LEAVE, low=0.05, high=0.29, step=0.01, help="score down to which it still does")
    dwell: int = param(DWELL, low=1, high=50, help="bars in a row that must agree before the reading changes")

    def __post_init__(self) -> None:
        check_params(self)

    @property
    def warmup(self) -> int:
        return self.length + self.dwell

    def verdicts(self, candles: pd.DataFrame, wanted: Wanted, others: Others | None) -> Verdicts:
        from domain import regimes  # here, for numba's import is slow and a form needs only the names

        found = regimes.measures(candles, self.length)
        read = regimes.read(found.score, length=self.length, enter=self.enter, leave=self.leave, dwell=self.dwell)
        passes = read == (regimes.TRENDING if self.only_in == "trend" else regimes.RANGING)

        def why(row: int) -> str:
            score = float(found.score[row])
            if np.isnan(score):
                return f"whether the market trends cannot be told: its price has not moved in {self.length} bars"
            told = {1: "the market trends", 0: "the market ranges", -1: "the market neither trends nor ranges clearly"}
            figures = (
                f"efficiency {found.efficiency[row]:.2f}, ADX {100 * found.adx[row]:.0f}, "
                f"variance ratio {found.variance_ratio[row]:.2f} over {self.length} bars"
            )
            lines = f"score {score:.2f}, a trend from {self.enter:g}, a range from {self.leave:g} down"
            return f"{told[int(read[row])]}: {figures}; {lines}"

        return Verdicts(passes, why)


PART = Regime
