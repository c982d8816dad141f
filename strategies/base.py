"""What a strategy is: a frozen dataclass that turns closed candles into wanted exposure, one row a bar.

    wanted = asked(SmaCrossover(fast=10, slow=30), candles)
    wanted.exposure[-1]      # in [-1, 1]: what to hold from the next bar's open on
    wanted.why(-1)           # the reason, in words

The rule: row t is worked out from rows up to t. `asked` is the one door: the backtester and the engine both go through
it and therefore agree. A decision made on a window of the last `4 * warmup + 1` bars is the one made on all of history,
but for rounding.

Ties: two values closer than 1e-9 of the larger one are equal, and a tie keeps the decision before it (`side`).
Averages of many prices differ in their last digits with the row they were begun at; without this rule a backtest and
a live engine would now and then read the same bar differently.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import pandas as pd

from domain import registry

Floats = npt.NDArray[np.float64]
TIE = 1e-9
ALSO_CALLED = {"rule": "candle_patterns"}  # the manual's word for it
_CERTAIN: Floats = np.ones(1)


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """What a strategy wants, one row a bar.

    `exposure` in [-1, 1] of what sizing allows; `confidence` in [0, 1], 1 everywhere where it is not given (read-only
    then); `reason(row)` says why in words, for the rows somebody asks about.
    """

    exposure: Floats
    confidence: Floats = field(default_factory=lambda: _CERTAIN)
    reason: Callable[[int], str] | None = None

    def __post_init__(self) -> None:
        if self.confidence is _CERTAIN:
            object.__setattr__(self, "confidence", np.broadcast_to(_CERTAIN, np.shape(self.exposure)))

    def why(self, row: int) -> str:
        """The reason for a row (negative counts from the end); empty where the strategy gives none."""
        return self.reason(row % len(self.exposure)) if self.reason else ""


@runtime_checkable
class Strategy(Protocol):
    """A frozen dataclass of `param` fields with one pure method. The file's stem is its name; it ends with `PART`."""

    label: ClassVar[str]
    about: ClassVar[str]  # one plain sentence

    @property
    def warmup(self) -> int:
        """Bars that must lie before a bar for its decision to be trusted; the rows before are 0."""
        ...

    def target(self, candles: pd.DataFrame) -> Wanted:
        """One row a bar, from a frame of closed candles of any length, none included."""
        ...


def asked(strategy: Strategy, candles: pd.DataFrame) -> Wanted:
    """What the strategy wants, checked, and 0 in its warm-up. ValueError names the strategy, the row and the rule."""
    return checked(strategy.target(candles), candles, type(strategy).__name__, strategy.warmup)


def checked(answer: Wanted | pd.Series | Floats, candles: pd.DataFrame, name: str, warmup: int = 0) -> Wanted:
    """An answer held to the rules: a row a bar, finite, in range. A plain array or Series is taken as the exposure."""
    if isinstance(answer, pd.Series) and not answer.index.equals(candles.index):
        raise ValueError(f"{name}: the answer's index must be the candles' own, so that each row is its bar's")
    wanted = answer if isinstance(answer, Wanted) else Wanted(np.asarray(answer, dtype=np.float64))
    exposure = _in_range(wanted.exposure, -1.0, "exposure", candles, name)
    certain = wanted.confidence.strides == (0,)
    confidence = wanted.confidence if certain else _in_range(wanted.confidence, 0.0, "confidence", candles, name)
    if exposure[:warmup].any():
        exposure = exposure.copy()
        exposure[:warmup] = 0.0
    if exposure is wanted.exposure and confidence is wanted.confidence:
        return wanted
    return replace(wanted, exposure=exposure, confidence=confidence)


def _in_range(values: Any, low: float, what: str, candles: pd.DataFrame, name: str) -> Floats:
    array = np.ascontiguousarray(values, dtype=np.float64)
    if array.shape != (len(candles),):
        raise ValueError(f"{name}: {what} must have one row a bar: got shape {np.shape(values)} for {len(candles)}")
    if len(array) and not (array.min() >= low and array.max() <= 1.0):
        row = int(np.flatnonzero(~((array >= low) & (array <= 1.0)))[0])
        when = f"row {row} ({candles.index[row]})"
        raise ValueError(f"{name}: {what} must be a number in [{low:g}, 1]: got {array[row]} in {when}")
    return array


# The drawer


def names() -> list[str]:
    """The strategies there are, by name."""
    return registry.names("strategies")


def find(name: str) -> type[Any]:
    """The class of a strategy by its file's name, or by the manual's (`rule`). UnknownName offers the nearest."""
    found: type[Any] = registry.part("strategies", ALSO_CALLED.get(name, name))
    return found


def unusable() -> dict[str, str]:
    """What is wrong with the files of the drawer that no form can offer, by name."""
    return registry.unusable("strategies")


# What several strategies share


def closes(candles: pd.DataFrame) -> Floats:
    """The closes as one contiguous array."""
    return np.ascontiguousarray(candles["close"], dtype=np.float64)


def side(a: pd.Series | Floats, b: pd.Series | Floats) -> Floats:
    """1 where `a` is above `b`, -1 where it is below; a tie keeps the side before it, and NaN too (0 at the start)."""
    from strategies import _kernels  # here, for numba's import is slow and a form needs only the names

    return _kernels.side(_array(a), _array(b), TIE)


def held(events: Floats, bars: int) -> Floats:
    """Each event (1, -1) wanted for `bars` rows from its own on, then 0; a newer event takes over."""
    from strategies import _kernels

    return _kernels.held(_array(events), bars)


def back_to_mean(stretched: Floats, score: Floats, leave: float, bars: int) -> Floats:
    """Each stretched row's side (1, -1) wanted until `score` is back within `leave` of 0, at most `bars` rows."""
    from strategies import _kernels

    return _kernels.back_to_mean(_array(stretched), _array(score), leave, bars)


def _array(values: pd.Series | Floats) -> Floats:
    return np.ascontiguousarray(values, dtype=np.float64)
