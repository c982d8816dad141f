"""Two simple moving averages: long while the fast one is above the slow one, short or out while below.

`combined` asks the pairs 5/15, 10/30 and 20/50 and follows the majority. A pair that joins or leaves the majority
changes nothing, so three crossings in a row are one signal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from domain.params import check_params, param
from indicators import sma
from strategies.base import Floats, Wanted, side

if TYPE_CHECKING:
    from streams.base import Compiled

PAIRS = ((5, 15), (10, 30), (20, 50))


@dataclass(frozen=True)
class SmaCrossover:
    """Long while SMA `fast` is above SMA `slow`; below it short, or out where `short` is off."""

    label: ClassVar[str] = "SMA crossover"
    about: ClassVar[str] = "Long while a fast moving average is above a slow one, short or out while it is below."

    fast: int = param(10, low=2, high=200, help="bars of the fast average")
    slow: int = param(30, low=3, high=400, help="bars of the slow average; more than the fast one's")
    combined: bool = param(False, help="the majority of 5/15, 10/30 and 20/50; fast and slow are not used then")
    short: bool = param(True, help="sell short while the fast average is below; else just be out")

    def __post_init__(self) -> None:
        check_params(self)
        if self.fast >= self.slow:
            raise ValueError(f"slow must exceed fast: got {self.fast} and {self.slow}")

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """The (fast, slow) pairs that are asked."""
        return PAIRS if self.combined else ((self.fast, self.slow),)

    @property
    def warmup(self) -> int:
        return max(slow for _, slow in self.pairs)

    def target(self, candles: pd.DataFrame) -> Wanted:
        sides = [side(sma(candles, fast), sma(candles, slow)) for fast, slow in self.pairs]
        if not self.combined:
            return Wanted(self._allowed(sides[0]), reason=lambda row: self._why(candles, row))
        vote = sum(sides[1:], start=sides[0])
        agreeing = (3.0 + np.abs(vote)) / 6.0  # 2 of 3 where the sum is 1, all of them where it is 3
        return Wanted(self._allowed(np.sign(vote)), agreeing, lambda row: self._why(candles, row))

    def stream(self) -> Compiled:
        """The same rule, bar by bar."""
        from streams.sma_crossover import stream

        return stream(self, self.warmup, self.short, self.combined, self.pairs, self._say)

    def _allowed(self, sides: Floats) -> Floats:
        return sides if self.short else np.maximum(sides, 0.0)

    def _why(self, candles: pd.DataFrame, row: int) -> str:
        return self._say(candles["close"].to_numpy()[: row + 1])

    def _say(self, seen: Floats) -> str:
        return "; ".join(_compare(seen, fast, slow) for fast, slow in self.pairs)


def _compare(seen: Floats, fast: int, slow: int) -> str:
    if len(seen) < slow:
        return f"SMA {slow} needs {slow} bars and there are {len(seen)}"
    quick, steady = float(seen[-fast:].mean()), float(seen[-slow:].mean())
    order = "above" if quick > steady else "below" if quick < steady else "level with"
    return f"SMA {fast} at {quick:,.6g} is {order} SMA {slow} at {steady:,.6g}"


PART = SmaCrossover
