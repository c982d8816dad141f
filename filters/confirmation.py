"""A trained confirmation: an entry is let through where boosted trees, armed by later events, give it a high chance.

What is confirmed is one entry: at the open that follows the bar on which the strategy takes its side. On any other bar
nothing passes. Without a confirmation, with one that is damaged or not armed, about bars it learned from, and for
wishes that are not those of the strategy it learned to judge, nothing passes either, and the reason says so.
`docs/confirmation.md` tells how one is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from domain.candles import nanos
from domain.errors import DeskError
from domain.instruments import instrument
from domain.params import check_params, param
from filters.base import REACH, Others, Verdicts
from strategies.base import Wanted

if TYPE_CHECKING:
    from learning._confirming_shelf import Exits
    from learning.confirming import Answers, Confirmation

DAY_NS = 86_400_000_000_000
UNKNOWN_WARMUP = 170  # without a confirmation nothing passes; a guess keeps forms and charts sensible


@dataclass(frozen=True)
class ConfirmationFilter:
    """Lets an entry through where the confirmation gives its bracket at least `least` of earning something."""

    label: ClassVar[str] = "Trained confirmation"
    about: ClassVar[str] = "Lets an entry through where a confirmation that proved itself gives it a high probability."

    confirmation: str = param("", help="the confirmation's name, such as sma_crossover")
    version: int = param(0, low=0, high=999_999_999, help="this version of it; 0: the newest")
    least: float = param(0.70, low=0.01, high=0.99, step=0.01, help="least probability; at least what breaks even")
    max_age_days: int = param(365, low=1, high=10_000, help="days after its data's end that it is believed for")
    unseen: bool = param(True, help="pass only bars later than what the confirmation learned from")
    symbol: str = ""

    def __post_init__(self) -> None:
        check_params(self)

    @property
    def warmup(self) -> int:
        try:
            return -(-self._found().reach // REACH)
        except DeskError:
            return UNKNOWN_WARMUP

    def verdicts(self, candles: pd.DataFrame, wanted: Wanted, others: Others | None = None) -> Verdicts:
        try:
            found = self._found()
            if why := found.problem() or self._unfit(found):
                return _none(candles, why)
            said = found.answers(candles)
        except (DeskError, ValueError) as error:  # also a strategy that refuses what it was set to
            return _none(candles, str(error))
        side, times = np.sign(wanted.exposure), nanos(candles)
        believed = times <= found.data_until + self.max_age_days * DAY_NS
        if self.unseen:
            believed &= times >= found.seen_until
        passes = (said.p >= self.least) & (said.side == side) & (side != 0.0) & believed
        return Verdicts(passes, lambda row: self._why(found, said, side, times, row))

    def misfit(self, setup: Exits) -> str:
        """Why it says nothing beside these exits; '' where it learned with the same, or is not to be had at all, which
        the verdicts tell."""
        try:
            return self._found().misfit(setup)
        except (DeskError, ValueError):
            return ""

    def _found(self) -> Confirmation:
        from learning.confirming import load, place  # here, for numba's import is slow and a form needs only the names

        return load(place(), self.confirmation, self.version)

    def _unfit(self, found: Confirmation) -> str:
        """Why it says nothing of these bars, whatever they are; '' where it may."""
        if self.least < found.break_even:
            return (
                f"least must be at least {found.break_even:.1%}, where {found.called} breaks even: got {self.least:.1%}"
            )
        market = instrument(found.said["market"])
        if self.symbol and instrument(self.symbol).calendar_code != market.calendar_code:
            return f"{found.called} learned from bars of a market like {market.symbol}'s, not like {self.symbol}'s"
        return ""

    def _why(
        self,
        found: Confirmation,
        said: Answers,
        side: npt.NDArray[np.float64],
        times: npt.NDArray[np.int64],
        row: int,
    ) -> str:
        name, p = found.called, float(said.p[row])
        if not said.regular[row]:
            return f"{name} reads bars of regular hours, and this is none"
        if said.side[row] == 0.0:
            ago = np.flatnonzero(said.side[: row + 1])
            when = f"; the last one was {row - int(ago[-1])} bars ago" if len(ago) else ""
            return f"{name} confirms the bar on which {found.words} takes a side, and only that{when}"
        if said.side[row] != side[row]:
            return f"{name} judges {found.words}, which wants another side here: what is wanted is not its signal"
        if not said.whole[row]:
            return f"{name} needs {found.reach} bars before a signal and the last ones without a gap"
        if times[row] > found.data_until + self.max_age_days * DAY_NS:
            end = _day(found.data_until)
            return f"{name} is stale: its data end on {end}, more than {self.max_age_days} days before"
        if self.unseen and times[row] < found.seen_until:
            end = _day(found.seen_until)
            return f"{name} learned from bars up to {end}: its word on {_day(times[row])} proves nothing"
        return f"{name} gives {p:.1%} that this earns something ({found.bracket.words}); {self.least:.1%} are asked for"


def _none(candles: pd.DataFrame, why: str) -> Verdicts:
    return Verdicts(np.zeros(len(candles), dtype=np.bool_), lambda row: why)


def _day(at: int) -> str:
    return f"{pd.Timestamp(int(at), unit='ns'):%Y-%m-%d}"


PART = ConfirmationFilter
