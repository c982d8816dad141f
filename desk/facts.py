"""What the desk knows of the market: quotes it follows, and from daily candles the ATR, the volume and what moves
together. Everything a review needs and cannot make up."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import pandas as pd

import indicators
from domain.candles import Timeframe
from domain.clock import Clock
from domain.errors import DeskError
from domain.instruments import Instrument, instrument
from domain.quotes import Quote

DAILY_BARS = 90
VOLUME_DAYS = 20
ATR_BARS = 14
FEWEST_RETURNS = 30
KEPT_FOR = timedelta(minutes=30)
TRIED_AGAIN_AFTER = timedelta(seconds=20)
FOLLOWED_FOR = timedelta(minutes=15)

Quotes = Callable[[Sequence[Instrument]], Awaitable[dict[str, Quote]]]
Daily = Callable[[Instrument, int], Awaitable[pd.DataFrame]]
Bars = Callable[[Instrument, Timeframe, int], Awaitable[pd.DataFrame]]


@dataclass(frozen=True, slots=True)
class History:
    """What daily candles say of a symbol: None or 0 where there are too few."""

    known: datetime
    atr: Decimal | None
    volume: Decimal
    returns: pd.Series[float]


class Facts:
    """The market as one desk sees it. `quotes` and `daily` are how it is asked; `simulated` that its prices are made
    up; `bars` how the newest closed bars of a timeframe are asked for, None where nothing is traded on bars; `tell` who
    hears of every newer quote: a broker that fills orders from them."""

    def __init__(
        self, clock: Clock, quotes: Quotes, daily: Daily, *, simulated: bool, bars: Bars | None = None
    ) -> None:
        self.clock, self.simulated, self.bars = clock, simulated, bars
        self._ask_quotes, self._ask_daily = quotes, daily
        self.quotes: dict[str, Quote] = {}
        self.error = ""
        self.tell: Callable[[Sequence[Quote]], Awaitable[None]] | None = None
        self._followed: dict[str, datetime] = {}
        self._history: dict[str, History] = {}
        self._pairs: dict[tuple[str, str], tuple[datetime, datetime, float | None]] = {}

    def follow(self, symbols: Iterable[str]) -> None:
        """From now on these symbols' quotes are asked for, for a quarter of an hour."""
        self._followed.update(dict.fromkeys(symbols, self.clock.now()))

    async def refresh(self, always: Iterable[str] = ()) -> list[Quote]:
        """Ask for every followed symbol, and those in `always`; what came that is newer than what was known."""
        now = self.clock.now()
        self._followed = {s: since for s, since in self._followed.items() if now - since < FOLLOWED_FOR}
        wanted = sorted({*self._followed, *always})
        if not wanted:
            return []
        try:
            answer = await self._ask_quotes([instrument(symbol) for symbol in wanted])
        except DeskError as error:
            self.error = str(error)
            return []
        self.error = ""
        newer = [q for s, q in answer.items() if s not in self.quotes or q.time > self.quotes[s].time]
        self.quotes.update({quote.symbol: quote for quote in newer})
        if self.tell is not None:
            await self.tell(newer)
        return newer

    async def quote(self, symbol: str) -> Quote | None:
        """The newest quote of a symbol, asked for now where it is not followed yet; None where there is none."""
        if symbol not in self._followed:
            self.follow([symbol])
            await self.refresh()
        self.follow([symbol])
        return self.quotes.get(symbol)

    def price(self, symbol: str) -> Decimal | None:
        """The last price seen of a symbol."""
        quote = self.quotes.get(symbol)
        return None if quote is None else quote.last

    async def history(self, symbol: str) -> History:
        """What its daily candles say, kept for half an hour; a source that fails is asked again after a while."""
        kept, now = self._history.get(symbol), self.clock.now()
        if kept is not None:
            age = now - kept.known
            if age < KEPT_FOR and (kept.volume > 0 or age < TRIED_AGAIN_AFTER):
                return kept
        try:
            frame = await self._ask_daily(instrument(symbol), DAILY_BARS)
        except DeskError:
            frame = pd.DataFrame()
        self._history[symbol] = _history(frame, now, instrument(symbol))
        return self._history[symbol]

    async def correlations(self, symbols: Iterable[str]) -> dict[str, dict[str, float]]:
        """How the daily returns of these symbols move together; a pair with too little history is left out."""
        names = sorted(set(symbols))
        told = await asyncio.gather(*(self.history(symbol) for symbol in names))
        histories = dict(zip(names, told, strict=True))
        found: dict[str, dict[str, float]] = {name: {} for name in names}
        for one, other in itertools.combinations(names, 2):
            together = self._together(one, other, histories[one], histories[other])
            if together is not None:
                found[one][other] = together
        return found

    def _together(self, one: str, other: str, first: History, second: History) -> float | None:
        """Worked out once for as long as both histories stand."""
        known = self._pairs.get((one, other))
        if known is None or known[:2] != (first.known, second.known):
            known = first.known, second.known, _correlation(first.returns, second.returns)
            self._pairs[one, other] = known
        return known[2]


def _correlation(one: pd.Series[float], other: pd.Series[float]) -> float | None:
    first, second = one.align(other, join="inner")
    if len(first) < FEWEST_RETURNS:
        return None
    if not (first.std() > 0 and second.std() > 0):
        return None
    return float(first.corr(second))


def _history(frame: pd.DataFrame, now: datetime, what: Instrument) -> History:
    if frame.empty:
        return History(now, None, Decimal(0), pd.Series(dtype=float, index=pd.DatetimeIndex([], tz="UTC")))
    volume = Decimal(str(round(float(frame["volume"].tail(VOLUME_DAYS).mean()), 4)))
    returns = frame["close"].pct_change().dropna()
    if len(frame) <= ATR_BARS:
        return History(now, None, volume, returns)
    value = float(indicators.atr(frame, ATR_BARS).iloc[-1])
    atr = what.round_price(Decimal(str(round(value, 8)))) if value > 0 else None
    return History(now, atr or None, volume, returns)
