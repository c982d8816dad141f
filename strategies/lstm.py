"""What a trained model says: long while it gives a rise enough probability, out (or short) while it does not.

The model stands on the shelf of `domain.models`: the champion, the challenger, or one version. Without one, and
wherever the model cannot honestly answer, the strategy wants nothing and says why: a model too old, made for other
bars or other features, a bar it learned from, a value that is no number.

It learned from bars of regular hours, so it is shown those alone; through the hours between, the last word stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from domain.candles import nanos
from domain.errors import DeskError
from domain.instruments import instrument
from domain.models import ALIASES, Floats, Model, ModelFacts, shelf
from domain.params import check_params, param
from strategies.base import Wanted

OPEN = 2  # a calendar's number for regular hours
DAY_NS = 86_400_000_000_000
UNKNOWN_WARMUP = 60  # without a model there is nothing to warm up; a guess keeps forms and charts sensible


@dataclass(frozen=True)
class Lstm:
    """Long from a probability of `enter` until it is under `leave`, at most `hold` bars without a new yes."""

    label: ClassVar[str] = "Trained model (LSTM)"
    about: ClassVar[str] = "Follows the calibrated probability of a trained model, and stays out where it has none."

    model: str = param("champion", choices=ALIASES, help="which model is asked; an alias of the model manager")
    version: int = param(0, low=0, high=1_000_000, help="this version of the model; 0: the one the alias names")
    enter: float = param(0.55, low=0.51, high=0.99, step=0.01, help="probability from which it is held")
    leave: float = param(0.50, low=0.01, high=0.99, step=0.01, help="probability under which it is left; at most enter")
    hold: int = param(20, low=1, high=500, help="bars that one yes is believed for")
    max_age_days: int = param(365, low=1, high=10_000, help="days after its data's end that a model is believed for")
    unseen: bool = param(True, help="answer only about bars later than what the model learned from")
    short: bool = param(False, help="sell short where a fall is as probable; only for models of the direction")

    def __post_init__(self) -> None:
        check_params(self)
        if self.leave > self.enter:
            raise ValueError(f"leave must not exceed enter: got {self.leave} and {self.enter}")
        if self.short and self.leave <= 1.0 - self.enter:
            raise ValueError(f"to sell short, leave must exceed 1 - enter: got {self.leave} and {self.enter}")

    @property
    def asked(self) -> str:
        """What the shelf is asked for."""
        return f"v{self.version}" if self.version else self.model

    @property
    def warmup(self) -> int:
        try:
            return shelf().facts(self.asked).warmup + self.hold
        except DeskError:
            return UNKNOWN_WARMUP + self.hold

    def target(self, candles: pd.DataFrame) -> Wanted:
        try:
            model = shelf().model(self.asked)
        except DeskError as error:
            return _nothing(candles, str(error))
        facts = model.facts
        if "up" not in facts.classes or "down" not in facts.classes:
            says = ", ".join(facts.classes)
            return _nothing(candles, f"{facts.called} tells {says} apart; it does not foresee a rise or a fall")
        regular = _regular(candles, facts.market)
        shown, last = candles[regular], np.cumsum(regular) - 1
        p = self._believed(model, shown)
        exposure = self._exposure(p, facts)
        confidence = np.nan_to_num(np.where(exposure != 0.0, np.where(exposure > 0.0, p, 1.0 - p), 0.0))

        def why(row: int) -> str:
            if last[row] < 0:
                return f"{facts.called} reads bars of regular hours, and there is none yet"
            return self._why(model, shown, p, exposure, int(last[row]))

        return Wanted(_standing(exposure, last), _standing(confidence, last), why)

    def _believed(self, model: Model, candles: pd.DataFrame) -> Floats:
        """The probability of a rise, half of what lies between rise and fall counted to each; NaN: no answer."""
        p, classes = model.predict(candles), model.facts.classes
        up = 0.5 + 0.5 * (p[:, classes.index("up")] - p[:, classes.index("down")])
        times = nanos(candles)
        up[~np.isfinite(up) | (times > model.facts.data_until + self.max_age_days * DAY_NS)] = np.nan
        if self.unseen:
            up[times < model.facts.seen_until] = np.nan
        return up

    def _exposure(self, p: Floats, facts: ModelFacts) -> Floats:
        from learning.hysteresis import exposure  # here, for numba's import is slow and a form needs only the names

        short = self.short and facts.label == "direction"
        held = exposure(p, self.enter, self.leave, short)
        yes = (p >= self.enter) | (short & (1.0 - p >= self.enter))
        rows = np.arange(len(p))
        last = np.maximum.accumulate(np.where(yes, rows, -self.hold)) if len(p) else rows
        return np.where(rows - last < self.hold, held, 0.0)

    def _why(self, model: Model, candles: pd.DataFrame, p: Floats, exposure: Floats, row: int) -> str:
        facts, when = model.facts, candles.index[row]
        if np.isfinite(p[row]):
            said = f"{facts.called} gives a rise {p[row]:.1%}"
            lines = f"in from {self.enter:.0%}, out under {self.leave:.0%}, {self.hold} bars at most"
            return f"{said}; {'held' if exposure[row] else 'not held'}: {lines}"
        if nanos(candles)[row] > facts.data_until + self.max_age_days * DAY_NS:
            end = pd.Timestamp(facts.data_until, unit="ns")
            return f"{facts.called} is stale: its data end on {end:%Y-%m-%d}, more than {self.max_age_days} days before"
        if self.unseen and nanos(candles)[row] < facts.seen_until:
            end = pd.Timestamp(facts.seen_until, unit="ns")
            return f"{facts.called} learned from bars up to {end:%Y-%m-%d}: its word on {when:%Y-%m-%d} proves nothing"
        return model.why_not(candles, row) or f"{facts.called} has no finite answer"


def _regular(candles: pd.DataFrame, market: str) -> npt.NDArray[np.bool_]:
    """Bars of regular hours of a market like this one; all where no market is named."""
    if not market:
        return np.ones(len(candles), dtype=bool)
    return np.asarray(instrument(market).calendar.locate(nanos(candles))[1] == OPEN)


def _standing(said: Floats, last: npt.NDArray[np.int64]) -> Floats:
    """Each bar's own word, or the last one before it; 0 where there is none."""
    return np.asarray(np.r_[said, 0.0][last], dtype=np.float64)


def _nothing(candles: pd.DataFrame, why: str) -> Wanted:
    return Wanted(np.zeros(len(candles)), np.zeros(len(candles)), lambda row: why)


PART = Lstm
