"""Spread: enter only where trading is cheap, as far as candles can tell.

Candles hold no quotes, so the spread is estimated from open, high, low and close: by EDGE (Ardia, Guidotti and
Kroencke, Journal of Financial Economics, 2024), which joins the estimators that use the distance of a close or an open
from the middle of the ranges beside it and weighs them by their noise. `docs/filters.md` shows why not Corwin and
Schultz' or Abdi and Ranaldo's, and how small a spread it can tell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from domain.params import check_params, param
from filters.base import Others, Verdicts
from strategies.base import Floats, Wanted

COLUMNS = ("open", "high", "low", "close")
ERRORS = 1.645  # standard errors: 19 chances in 20, on one side


@dataclass(frozen=True)
class Spread:
    """Stops an entry where the spread estimated over the last `bars` is above `limit_bps`, and surely so: 19 chances in
    20. Where the estimate cannot be told from the limit, the entry passes; where none can be made, it does not."""

    label: ClassVar[str] = "Spread"
    about: ClassVar[str] = (
        "Stops an entry where the spread estimated from the candles is surely too wide; "
        "where there is a live quote, the limit on its spread rules besides."
    )

    bars: int = param(50, low=10, high=1000, help="bars that the estimate is made from")
    limit_bps: float = param(20.0, low=0.1, high=1000.0, help="highest estimated spread, in hundredths of a percent")

    def __post_init__(self) -> None:
        check_params(self)

    @property
    def warmup(self) -> int:
        return self.bars

    def verdicts(self, candles: pd.DataFrame, wanted: Wanted, others: Others | None) -> Verdicts:
        found, least = spread_bps(candles, self.bars)
        return Verdicts(least <= self.limit_bps, lambda row: self._why(float(found[row]), float(least[row])))

    def _why(self, found: float, least: float) -> str:
        if np.isnan(found):
            return f"no spread can be told from the last {self.bars} bars: the prices hardly move"
        told = "too small to be told from 0" if found == 0.0 else f"{found:.1f} bps"
        said = f"the spread estimated from {self.bars} bars is {told}"
        limit = f"the limit of {self.limit_bps:g} bps"
        if found <= self.limit_bps:
            return f"{said}, within {limit}"
        surely = f"{least:.1f} at the least (19 chances in 20)"
        return f"{said}, {surely}: {'above' if least > self.limit_bps else 'not surely above'} {limit}"


def spread_bps(candles: pd.DataFrame, bars: int) -> tuple[Floats, Floats]:
    """The estimated spread in bps of the price over `bars` pairs of bars up to each row, and what it is at the least.

    0 where the estimate is of less than nothing, NaN in the first rows and where prices stand still.
    """
    from filters import _kernels  # here, for numba's import is slow and a form needs only the names

    opened, high, low, close = (np.ascontiguousarray(candles[name], dtype=np.float64) for name in COLUMNS)
    found, least = _kernels.edge(opened, high, low, close, bars, ERRORS)
    return found * 1e4, least * 1e4


PART = Spread
