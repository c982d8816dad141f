"""A market by the minute on a bad line: walks that are a function of time alone, and a feed that tells them badly.

Prices stand at a bar's open, then at its one end and its other, then at its close, a quarter of a minute each, and at
the last close while the exchange is shut. What goes wrong is drawn once a minute: a symbol or the whole feed falls
silent, quotes come twice or late, a bar comes late or not at all.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal as D

import numpy as np
import pandas as pd

from domain import candles as cd
from domain.candles import Timeframe
from domain.clock import Clock
from domain.errors import FeedUnavailable
from domain.instruments import Instrument, instrument
from domain.quotes import Quote

MINUTE = cd.timeframe("1m")
NANOS = 60_000_000_000
QUARTERS = 4
SPREAD = D("0.02")
# For a minute: that a symbol falls silent, that all do, that a bar is late, that its source fails.
SILENT, ALL_SILENT, LATE_BAR, NO_BAR = 0.003, 0.004, 0.02, 0.004
TWICE, LATE = 0.05, 0.03


class Walks:
    """Minute bars of every symbol from `first` to `last`, in cents, and the price within each of them."""

    def __init__(self, symbols: Sequence[str], first: datetime, last: datetime, seed: int) -> None:
        draw = np.random.default_rng(seed)
        self.times = cd.expected(first, last, MINUTE, instrument(symbols[0]))
        self.bars = {symbol: self._bars(draw) for symbol in symbols}
        self._path = {symbol: self._paths(bars) for symbol, bars in self.bars.items()}
        self._volume = {symbol: np.cumsum(bars["volume"].to_numpy()) for symbol, bars in self.bars.items()}

    def _bars(self, draw: np.random.Generator) -> pd.DataFrame:
        count = len(self.times)
        drift = np.repeat(draw.normal(0.0, 1.5e-4, count // 40 + 1), 40)[:count]  # stretches that trend
        close = np.round(draw.uniform(40, 300) * np.exp(np.cumsum(draw.normal(drift, 8e-4))), 2)
        opened = np.r_[close[:1], close[:-1]]
        reach = np.abs(draw.normal(0, 4e-4, (2, count))) * close
        high = np.round(np.maximum(opened, close) + reach[0], 2)
        low = np.round(np.minimum(opened, close) - reach[1], 2)
        volume = np.round(draw.lognormal(10.5, 0.8, count))
        return cd.frame(self.times, {"open": opened, "high": high, "low": low, "close": close, "volume": volume})

    def _paths(self, bars: pd.DataFrame) -> np.ndarray:
        """(bar, quarter) in cents; which end of a bar comes first changes from bar to bar."""
        first, second = bars["low"].to_numpy(), bars["high"].to_numpy()
        turned = np.arange(len(bars)) % 2 == 1
        ends = np.where(turned, second, first), np.where(turned, first, second)
        path = np.stack([bars["open"].to_numpy(), *ends, bars["close"].to_numpy()], axis=1)
        return np.rint(path * 100).astype(np.int64)

    def _bar(self, now: datetime) -> tuple[int, float]:
        """The newest bar that has begun, and how many seconds of it are over, sixty at most."""
        nanos = pd.Timestamp(now).value
        at = int(np.searchsorted(self.times, nanos, side="right")) - 1
        return max(at, 0), min(60.0, (nanos - int(self.times[max(at, 0)])) / 1e9)

    def last(self, symbol: str, now: datetime) -> D:
        """The price at that moment."""
        at, seconds = self._bar(now)
        return D(int(self._path[symbol][at, min(QUARTERS - 1, int(seconds * QUARTERS / 60))])) / 100

    def quote(self, symbol: str, now: datetime) -> Quote:
        """The whole of it: what has traded since the walk began counts as the day's volume."""
        (at, seconds), volume = self._bar(now), self._volume[symbol]
        before = volume[at - 1] if at else 0.0
        traded = 1_000.0 + float(before + (volume[at] - before) * seconds / 60)
        last = self.last(symbol, now)
        book = {"bid": last - SPREAD / 2, "ask": last + SPREAD / 2}
        return Quote(symbol, now, last, "scripted", volume=traded, previous_close=last, **book)

    def closed(self, symbol: str, now: datetime, most: int) -> pd.DataFrame:
        """The newest closed bars."""
        count = int(np.searchsorted(self.times, pd.Timestamp(now).value - NANOS, side="right"))
        return self.bars[symbol].iloc[max(0, count - most) : count]


@dataclass
class BadFeed:
    """The feed over the walks. `sound` takes all faults away; `met` counts them."""

    clock: Clock
    walks: Walks
    chance: random.Random
    sound: bool = False
    met: Counter[str] = field(default_factory=Counter)
    _minute: datetime | None = None
    _silent: dict[str, datetime] = field(default_factory=dict)
    _owed: dict[str, datetime] = field(default_factory=dict)
    _told: dict[str, Quote] = field(default_factory=dict)
    _days: dict[str, pd.DataFrame] = field(default_factory=dict)

    async def quotes(self, wanted: Sequence[Instrument]) -> dict[str, Quote]:
        now = self._draw()
        if self._silent.get("", now) > now:
            raise FeedUnavailable("the feed does not answer")
        found = {one.symbol: self._quote(one.symbol, now) for one in wanted if self._silent.get(one.symbol, now) <= now}
        self._told.update(found)
        return found

    def _quote(self, symbol: str, now: datetime) -> Quote:
        luck = 1.0 if self.sound else self.chance.random()
        if luck < TWICE and symbol in self._told:
            self.met["a quote twice"] += 1
            return self._told[symbol]
        if luck > 1.0 - LATE and not self.sound:
            self.met["a quote late"] += 1
            return self.walks.quote(symbol, now - timedelta(seconds=self.chance.randint(1, 40)))
        return self.walks.quote(symbol, now)

    async def bars(self, what: Instrument, tf: Timeframe, most: int) -> pd.DataFrame:
        """The newest closed bars, as far as the source has them."""
        now = self._draw()
        if self._owed.get(f"no {what.symbol}", now) > now:
            raise FeedUnavailable(f"no candles of {what.symbol} just now")
        late = self._owed.get(what.symbol, now) > now
        return self.walks.closed(what.symbol, now - timedelta(minutes=late), most)

    async def daily(self, what: Instrument, bars: int) -> pd.DataFrame:
        """Ninety quiet days that have nothing to do with another symbol's."""
        if what.symbol not in self._days:
            draw, tf = np.random.default_rng(sum(map(ord, what.symbol))), cd.timeframe("1d")
            end = self.clock.now() - timedelta(days=1)
            times = cd.expected(end - timedelta(days=200), end, tf, what)[-bars:]
            close = float(self.walks.last(what.symbol, end)) * np.exp(np.cumsum(draw.normal(0, 0.01, len(times))))
            columns = {"open": close, "high": close * 1.01, "low": close * 0.99, "close": close}
            self._days[what.symbol] = cd.frame(times, {**columns, "volume": np.full(len(times), 5e7)})
        return self._days[what.symbol]

    def _draw(self) -> datetime:
        """What goes wrong in this minute, drawn at its first question."""
        now = self.clock.now()
        minute = now.replace(second=0, microsecond=0)
        if self.sound:
            self._silent, self._owed = {}, {}
        elif minute != self._minute:
            self._minute = minute
            self._silent = {symbol: until for symbol, until in self._silent.items() if until > now}
            self._owed = {symbol: until for symbol, until in self._owed.items() if until > now}
            self._lot("", ALL_SILENT, self._silent, 30, "all quotes silent")
            for symbol in self.walks.bars:
                self._lot(symbol, SILENT, self._silent, 90, "a symbol's quotes silent")
                self._lot(symbol, LATE_BAR, self._owed, 20, "a bar late")
                self._lot(f"no {symbol}", NO_BAR, self._owed, 100, "no bars")
        return now

    def _lot(self, name: str, rate: float, until: dict[str, datetime], most_s: int, what: str) -> None:
        if self.chance.random() < rate:
            self.met[what] += 1
            until[name] = self.clock.now() + timedelta(seconds=self.chance.randint(2, most_s))
