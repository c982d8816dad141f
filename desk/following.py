"""One symbol followed bar by bar: what a strategy says of its newest closed bar, a step for each bar that is new.

The rule: what was summed up is believed only while the bars it was summed up from stand as they were. A frame that
tells its last bars otherwise, or leaves some out, is answered with `OutOfStep`, and the whole window is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from backtest.setup import Setup
from backtest.wishes import tradable
from filters.base import Verdicts
from indicators import atr
from strategies.base import Strategy, Wanted, asked, checked
from streams.base import OutOfStep, Stream, follow, stream_of
from streams.ranges import Ranges

OVERLAP = 32  # bars asked for again at each look: what changed among them is seen


@dataclass(frozen=True, slots=True)
class Seen:
    """What a strategy said of one symbol's closed bars, as far as the setup trades it, and `why` of the newest;
    `ranges` are the ATRs that its exits ask for at that bar, by period; `verdicts` what each filter says. Without
    filters `wanted` has the newest row alone."""

    candles: pd.DataFrame
    wanted: Wanted
    why: str
    ranges: Mapping[int, float]
    verdicts: tuple[Verdicts, ...] = ()

    @property
    def close(self) -> float:
        return float(self.candles["close"].iloc[-1])


@dataclass(slots=True)
class Followed:
    """A strategy on one symbol. One that failed, or was not waited for, is thrown away."""

    made: Strategy
    setup: Setup
    _stream: Stream = field(init=False)
    _ranges: Ranges = field(init=False)
    _seen: Seen | None = None

    def __post_init__(self) -> None:
        self._stream, self._ranges = stream_of(self.made), Ranges(self.setup.periods)

    def bars(self, whole: int) -> int:
        """How many bars the next look needs: `whole` the first time."""
        return whole if self._seen is None else min(whole, OVERLAP)

    def look(self, candles: pd.DataFrame) -> Seen:
        """The newest closed bar of these. OutOfStep where they do not carry on from the last look."""
        before = self._seen
        if before is not None and not _as_they_were(before.candles, candles):
            raise OutOfStep("bars that were followed already are told otherwise now")
        decision = follow(self._stream, candles)
        if decision is None:
            assert before is not None, "a first look has bars"
            return before
        if before is None:
            self._ranges.warm(candles)
        else:
            for row in candles[candles.index > before.candles.index[-1]].itertuples():
                self._ranges.on_bar(row[0].to_pydatetime(), *row[1:6])
        ranges = dict(self._ranges.values)
        word = Wanted(np.array([decision.exposure]), np.array([decision.confidence]))
        word = checked(word, candles.iloc[-1:], type(self.made).__name__)
        wanted = tradable(word, self.setup, [np.array([value]) for value in ranges.values()])
        self._seen = Seen(candles, wanted, decision.why(), ranges)
        return self._seen


def asked_whole(made: Strategy, setup: Setup, candles: pd.DataFrame) -> Seen:
    """The same by asking of all bars at once, a row each: for filters, which judge them all."""
    word = asked(made, candles)
    ranges = {period: atr(candles, period).to_numpy() for period in setup.periods}
    wanted = tradable(word, setup, list(ranges.values()))
    return Seen(candles, wanted, word.why(-1), {period: float(values[-1]) for period, values in ranges.items()})


def _as_they_were(before: pd.DataFrame, now: pd.DataFrame) -> bool:
    """Whether the bars that both tell are the same, none of them left out or put between."""
    first, last = max(before.index[0], now.index[0]), before.index[-1]
    one = before[before.index >= first]
    two = now[(now.index >= first) & (now.index <= last)]
    return len(two) > 0 and one.index.equals(two.index) and bool(np.array_equal(one.to_numpy(), two.to_numpy()))
