"""The manual's rule: candlestick patterns. Long on a bullish one, out or short on a bearish one.

Dojis and other patterns that point nowhere move nothing, and neither does a bar that says both. A pattern is complete
at its bar's close, so it is acted on at the next open; it is believed for `hold` bars, and a newer one takes over.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from domain.params import check_params, param
from domain.pattern_rules import PATTERNS
from patterns import detect, explain
from strategies.base import Floats, Wanted, held

if TYPE_CHECKING:
    from streams.candle_patterns import PatternStream

GROUPS: dict[str, tuple[str, ...]] = {
    "classic": ("Hammer", "Engulfing", "Doji", "Morning Star", "Evening Star"),  # the manual's six: two engulf
    "reversal": (
        "Hammer",
        "Inverted Hammer",
        "Hanging Man",
        "Shooting Star",
        "Engulfing",
        "Harami",
        "Piercing Line",
        "Dark Cloud Cover",
        "Morning Star",
        "Morning Doji Star",
        "Evening Star",
        "Evening Doji Star",
        "Three White Soldiers",
        "Three Black Crows",
        "Three Inside",
        "Three Outside",
    ),
    "continuation": (
        "Rising and Falling Three Methods",
        "Mat Hold",
        "Tasuki Gap",
        "Gap Side-by-Side White Lines",
        "Gap Three Methods",
        "Separating Lines",
        "In-Neck",
        "On-Neck",
        "Thrusting",
    ),
    "all": tuple(pattern.label for pattern in PATTERNS.values() if pattern.bias != "neutral"),
}
_BY_LABEL = {pattern.label: pattern for pattern in PATTERNS.values()}
_REACH = 20  # bars that no pattern looks back beyond


@dataclass(frozen=True)
class CandlePatterns:
    """Long for `hold` bars after a bullish pattern; a bearish one ends that, and goes short where `short` is on."""

    label: ClassVar[str] = "Candlestick patterns"
    about: ClassVar[str] = (
        "Buys after a bullish candlestick pattern and leaves after a bearish one or a few bars later."
    )

    patterns: str = param("classic", choices=tuple(GROUPS), help="which patterns count; classic: the manual's six")
    hold: int = param(5, low=1, high=100, help="bars that a pattern is believed for")
    short: bool = param(False, help="sell short after a bearish pattern; else just be out")

    def __post_init__(self) -> None:
        check_params(self)

    @property
    def warmup(self) -> int:
        return _REACH + self.hold

    def target(self, candles: pd.DataFrame) -> Wanted:
        grades = detect(candles, GROUPS[self.patterns])
        bullish, bearish = _strongest(grades, 1), _strongest(grades, -1)
        events = np.where(bearish > 0, -1.0, 0.0) + (bullish > 0)
        exposure = held(events, self.hold)
        allowed = exposure if self.short else np.maximum(exposure, 0.0)
        return Wanted(allowed, reason=lambda row: self._why(candles, grades, events, row))

    def stream(self) -> PatternStream:
        """The same rule, bar by bar."""
        from streams.candle_patterns import PatternStream

        read = {"bullish": 1, "bearish": -1, "neutral": 0, "both": None}
        chosen = {label: _BY_LABEL[label] for label in GROUPS[self.patterns]}
        biases = {label: (pattern.code, read[pattern.bias]) for label, pattern in chosen.items()}

        def say(candles: pd.DataFrame, at: int, fired: list[str]) -> str:
            return self._say(candles, at, fired, len(candles) - 1)

        return PatternStream(self, biases, self.hold, self.short, self.warmup, say)

    def _why(self, candles: pd.DataFrame, grades: pd.DataFrame, events: Floats, row: int) -> str:
        first = max(0, row - self.hold + 1)
        recent = np.flatnonzero(events[first : row + 1])
        at = first + int(recent[-1]) if len(recent) else -1
        if at < 0:
            return self._say(candles, at, [], row)
        fired = [name for name in grades.columns if _sided(grades[name].to_numpy()[at : at + 1], name)[0] != 0]
        return self._say(candles, at, fired, row)

    def _say(self, candles: pd.DataFrame, at: int, fired: list[str], row: int) -> str:
        if at < 0:
            return f"no pattern in the last {self.hold} bars"
        ago = "" if at == row else f" ({row - at} bars ago)"
        return " ".join(explain(candles, name, at) for name in fired) + ago


def _sided(grades: Floats, name: str) -> Floats:
    """Grades signed by what the pattern is read as: a bearish doji's +100 becomes -100, a neutral one's 0."""
    bias = _BY_LABEL[name].bias
    if bias == "both":
        return grades
    return np.abs(grades) * {"bullish": 1, "bearish": -1, "neutral": 0}[bias]


def _strongest(grades: pd.DataFrame, sign: int) -> Floats:
    """The highest grade on one side of each bar, 0 where nothing on that side fired."""
    out = np.zeros(len(grades))
    for name in grades.columns:
        np.maximum(out, sign * _sided(grades[name].to_numpy(), str(name)), out=out)
    return out


PART = CandlePatterns
