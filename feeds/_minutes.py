"""One-minute bars folded from ticks: quotes asked for again and again, or pushed. Only minutes watched from end to end
count.

A quote tells the last price and the day's volume so far. So a bar's open, high and low are those of the prices seen:
what came and went between two looks is missed. Its volume is the difference of two running totals, and misses nothing.

The rule: in whatever order the ticks of one minute come, and however often each, they make the same bar.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import pairwise

import numpy as np
import pandas as pd

from domain.candles import COLUMNS, TIMEFRAMES, Timeframe, ends, frame, nanos, resample, starts
from domain.instruments import Instrument
from domain.quotes import Bar

MINUTE = timedelta(minutes=1)
WATCHED_WITHIN = timedelta(seconds=10)  # a longer silence between two looks leaves its minutes unwatched
MOST_MINUTES = 2_000


class Tick(StrEnum):
    """What a tick was: the newest, an older one of the minute that forms, one known already, one of a minute that has
    closed. The last two change nothing."""

    NEWEST = "newest"
    LATE = "late"
    AGAIN = "again"
    CLOSED = "closed"


@dataclass(slots=True)
class _Minute:
    """A minute and its ticks: `first` the earliest, `before` the running total it counts from, `after` the last look
    of the minute before."""

    bar: Bar
    first: datetime
    before: float
    after: datetime | None
    seen: set[tuple[datetime, float, float]] = field(default_factory=set)


class Minutes:
    """The minutes of one symbol, the newest `kept` that were watched. `told` is what the last tick was."""

    def __init__(self, kept: int = MOST_MINUTES) -> None:
        self.told = Tick.NEWEST
        self._kept = kept
        self._forming: _Minute | None = None
        self._ended: _Minute | None = None
        self._looked: datetime | None = None
        self._total = 0.0
        self._watched: OrderedDict[datetime, Bar | None] = OrderedDict()

    def take(self, time: datetime, price: float, total: float) -> Bar:
        """One look: the price and the day's volume so far. The bar that forms."""
        minute, now = minute_of(time), self._forming
        if now is None or minute > now.bar.time:
            now = self._begin(minute, time, price, total)
        else:
            self.told = self._place(now, minute, time, price, total)
            if self.told is Tick.NEWEST:
                self._go_on(now, time, price, total)
            elif self.told is Tick.LATE:
                self._widen(now, time, price, total)
        if self.told in (Tick.NEWEST, Tick.LATE):
            now.seen.add((time, price, total))
        return now.bar

    def _place(self, now: _Minute, minute: datetime, time: datetime, price: float, total: float) -> Tick:
        """Of two ticks of one time the greater total is the newer; of one total too, whichever came last."""
        assert self._looked is not None, "a minute forms from a look"
        if minute < now.bar.time:
            return Tick.CLOSED
        if (time, price, total) in now.seen:
            return Tick.AGAIN
        older = time < self._looked or (time == self._looked and total < self._total)
        return Tick.LATE if older else Tick.NEWEST

    def _begin(self, minute: datetime, time: datetime, price: float, total: float) -> _Minute:
        before = self._base(total)
        begun = Bar(minute, price, price, price, price, max(0.0, total - before))
        self._ended, self._forming = self._forming, _Minute(begun, time, before, self._looked)
        self.told, self._looked, self._total = Tick.NEWEST, time, total
        self._judge()
        return self._forming

    def _go_on(self, now: _Minute, time: datetime, price: float, total: float) -> None:
        if total < now.before:
            now.before = 0.0
        now.bar = now.bar.with_price(price, max(0.0, total - now.before))
        self._looked, self._total = time, total

    def _widen(self, now: _Minute, time: datetime, price: float, total: float) -> None:
        """A late tick: its price was reached, and the earliest one opened the minute. The newest price stays."""
        bar = replace(now.bar, high=max(now.bar.high, price), low=min(now.bar.low, price))
        earliest = time < now.first
        if earliest:
            now.first, bar = time, replace(bar, open=price)
        if earliest and now.after is None:
            now.before = total if total <= self._total else 0.0
        elif total < now.before:
            now.before = 0.0
        now.bar = replace(bar, volume=max(0.0, self._total - now.before))
        if earliest:
            self._judge()

    def _base(self, total: float) -> float:
        """The running total a new minute counts from: a total that fell began anew, with the day."""
        if self._looked is None:
            return total
        return self._total if self._total <= total else 0.0

    def _judge(self) -> None:
        """Keep the minute that ended, where it was watched from before its begin until after its end."""
        ended, now = self._ended, self._forming
        if ended is None or ended.after is None or now is None or not self._kept:
            return
        looks = [ended.after, *sorted({time for time, _, _ in ended.seen}), now.first]
        if any(later - one > WATCHED_WITHIN for one, later in pairwise(looks)):
            return
        self._watched[ended.bar.time] = ended.bar if ended.bar.volume > 0 else None
        while len(self._watched) > self._kept:
            self._watched.popitem(last=False)

    def bars(self, of: Instrument, tf: Timeframe, start: datetime, end: datetime) -> pd.DataFrame:
        """The bars that open in [start, end) and every minute of which was watched; a minute without trade has none."""
        watched = [(t, b) for t, b in list(self._watched.items()) if start <= t < end + tf.duration]
        traded = [b for _, b in watched if b is not None]
        found = _frame(traded)
        if found.empty or tf.daily:
            return found.iloc[:0]
        found = found[starts(nanos(found), TIMEFRAMES["1m"], of) == nanos(found)]
        if tf.seconds > 60 and len(found):
            found = _whole(resample(found, tf, of), {_nano(t) for t, _ in watched}, tf, of)
        lo, hi = pd.Timestamp(start), pd.Timestamp(end)
        return found[(found.index >= lo) & (found.index < hi)]


def _whole(coarse: pd.DataFrame, watched: set[int], tf: Timeframe, of: Instrument) -> pd.DataFrame:
    step = 60_000_000_000
    opens = nanos(coarse)
    keep = [
        all(minute in watched for minute in range(int(begin), int(close), step))
        for begin, close in zip(opens, ends(opens, tf, of), strict=True)
    ]
    return coarse[np.array(keep, dtype=bool)]


def _frame(bars: list[Bar]) -> pd.DataFrame:
    times = np.array([_nano(bar.time) for bar in bars], dtype=np.int64)
    return frame(times, {name: [getattr(bar, name) for bar in bars] for name in COLUMNS})


def _nano(moment: datetime) -> int:
    return int(moment.astimezone(UTC).timestamp()) * 1_000_000_000


def minute_of(time: datetime) -> datetime:
    return time.replace(second=0, microsecond=0)
