"""One-minute bars folded from quotes that were asked for again and again. Only minutes watched from end to end count.

A quote tells the last price and the day's volume so far. So a bar's open, high and low are those of the prices seen:
what came and went between two looks is missed. Its volume is the difference of two running totals, and misses nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from domain.candles import COLUMNS, TIMEFRAMES, Timeframe, ends, frame, nanos, resample, starts
from domain.instruments import Instrument
from domain.quotes import Bar

MINUTE = timedelta(minutes=1)
WATCHED_WITHIN = timedelta(seconds=10)  # a longer silence between two looks leaves its minutes unwatched
MOST_MINUTES = 2_000


@dataclass(slots=True)
class _Forming:
    bar: Bar
    before: float  # the running total when the minute began
    whole: bool


class Minutes:
    """The minutes of one symbol. `take` each look in the order of the venue's time."""

    def __init__(self) -> None:
        self._forming: _Forming | None = None
        self._looked: datetime | None = None
        self._total = 0.0
        self._watched: OrderedDict[datetime, Bar | None] = OrderedDict()

    def take(self, time: datetime, price: float, total: float) -> Bar:
        """One look: the price and the day's volume so far. The bar that forms; a look from the past changes nothing."""
        minute = time.replace(second=0, microsecond=0)
        if self._forming is not None and self._looked is not None and time < self._looked:
            return self._forming.bar
        unbroken = self._looked is not None and time - self._looked <= WATCHED_WITHIN
        if self._forming is not None and not unbroken:
            self._forming.whole = False
        if self._forming is None or minute > self._forming.bar.time:
            self._close(unbroken)
            before = self._base(total)
            begin = Bar(minute, price, price, price, price, max(0.0, total - before))
            self._forming = _Forming(begin, before, unbroken)
        else:
            if total < self._forming.before:
                self._forming.before = 0.0
            bar = self._forming.bar.with_price(price, max(0.0, total - self._forming.before))
            self._forming.bar = bar
        self._looked, self._total = time, total
        return self._forming.bar

    def _base(self, total: float) -> float:
        """The running total a new minute counts from: a total that fell began anew, with the day."""
        if self._looked is None:
            return total
        return self._total if self._total <= total else 0.0

    def _close(self, unbroken: bool) -> None:
        """Keep the minute that ended, where it was watched from before its begin until after its end."""
        if self._forming is None or not (self._forming.whole and unbroken):
            return
        bar = self._forming.bar
        self._watched[bar.time] = bar if bar.volume > 0 else None
        while len(self._watched) > MOST_MINUTES:
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
