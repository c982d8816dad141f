"""The simulated market, what everything works with from the first minute: made-up, believable, repeatable.

The same symbol and minute give the same bar on every machine; nothing here says anything about the real one.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import accumulate, pairwise

import numpy as np
import pandas as pd

from domain import candles
from domain.calendars import TradingCalendar
from domain.candles import Timeframe
from domain.clock import Clock
from domain.errors import SettingsError, UnknownName
from domain.instruments import KNOWN, Instrument
from domain.quotes import Bar, Quote
from feeds import _demo_day as demos
from feeds import _simulated_clock as clocks
from feeds._simulated_prices import MINUTE, Bars, Tape, tape
from feeds._simulated_walks import CHARACTERS, Chance, Floats, key
from feeds.base import AT_HAND
from settings import Settings

_SECOND = 1_000_000_000
_REGULAR = 2
_FEW = 4  # sessions: up to here a window is cut from sessions kept in memory
_SPREAD_OF_VOLATILITY = 0.00015


class SimulatedFeed:
    """A market of 31 stocks and 4 crypto pairs that never existed, from 2010 on, in every timeframe.

    It lives on a clock of its own (`settings.simulated_clock`, `settings.simulated_start`): `shift` says
    how far that is from real time, `clock_note` says it in words. All bars of a timeframe are its 1m bars
    resampled, exactly. A quote's `volume` counts from 04:00 New York (crypto: from midnight UTC);
    `previous_close` is the regular close of the session before (crypto: of the UTC day before). Between
    trades a quote carries the last trade's price and time and no `minute`.
    """

    name = "simulated"
    label = "Simulated market"
    simulated = True
    poll_s = 1.0
    pace = AT_HAND
    limits = "Made-up prices from 2010 on, in every timeframe, without delay: nothing here is real."

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._demo = demos.of(settings, clock)
        self._moved = None if self._demo else _moved_clock(settings, clock)
        self.clock: Clock = self._moved or clock
        if self._demo:
            self.clock, self.label, self.poll_s = self._demo.clock, demos.LABEL, demos.POLL_S

    @property
    def shift(self) -> timedelta:
        """How far the simulated clock is ahead of real time (negative: behind)."""
        return self._moved.shift if self._moved else timedelta()

    @property
    def clock_note(self) -> str:
        """One sentence for the page; empty on real time."""
        return self._demo.note if self._demo else clocks.note(self.clock.now(), self.shift)

    def skip_to_open(self) -> datetime:
        """Jump forward to the next 10:30 New York of a session, on a person's wish; gives the new time.

        Other processes follow within a second. SettingsError where the clock is real.
        """
        if self._moved is None:
            if self._demo:
                raise SettingsError("the clock of a demo cannot skip: it runs through its day by itself")
            raise SettingsError("SIMULATED_CLOCK is real, so it cannot skip: set SIMULATED_CLOCK=shifted")
        return self._moved.skip_to_open()

    async def candles(self, instrument: Instrument, tf: Timeframe, start: datetime, end: datetime) -> pd.DataFrame:
        """See `feeds.base.Feed`: sound by construction. A year of 1m bars takes some 50 ms."""
        prices = self._tape(instrument)
        now = self.clock.now()
        lo, hi = _nanos(start), _nanos(min(end, now))
        bars = _days(prices, lo, hi, now) if tf.daily else _finer(prices, tf, lo, hi, now)
        times = candles.nanos(bars)
        return bars.iloc[np.searchsorted(times, lo) : np.searchsorted(times, hi)]

    async def quotes(self, instruments: Sequence[Instrument]) -> dict[str, Quote]:
        """See `feeds.base.Feed`."""
        now = self.clock.now().replace(microsecond=0)
        asked = [KNOWN[i.symbol] for i in instruments if i.symbol in CHARACTERS]
        places = {i.calendar_code: _place(i.calendar, _nanos(now)) for i in asked}
        found = (_quote(i, self._tape(i), now, *places[i.calendar_code]) for i in asked)
        return {quote.symbol: quote for quote in found if quote is not None}

    async def close(self) -> None:
        """Nothing to give back."""

    def _tape(self, instrument: Instrument) -> Tape:
        if instrument.symbol not in CHARACTERS:
            raise UnknownName.of("simulated instrument", instrument.symbol, CHARACTERS)
        return (self._demo.tape(instrument.symbol) if self._demo else None) or tape(instrument.symbol)


def _moved_clock(settings: Settings, base: Clock) -> clocks.SimulatedClock | None:
    if settings.simulated_start.strip():
        return clocks.pinned(settings.simulated_start, base)
    if settings.simulated_clock == "real":
        return None
    return clocks.SimulatedClock(base, settings.data_dir / "simulated-clock.json")


def _nanos(moment: datetime) -> int:
    return pd.Timestamp(moment).value


def _days(prices: Tape, lo: int, hi: int, now: datetime) -> pd.DataFrame:
    s = prices.sessions
    first = max(int(np.searchsorted(s.open, lo)), prices.first)
    stop = min(int(np.searchsorted(s.open, hi)), int(np.searchsorted(s.close, _nanos(now), side="right")), prices.stop)
    return _frame(prices, prices.daily(first, stop)) if first < stop else candles.empty()


def _finer(prices: Tape, tf: Timeframe, lo: int, hi: int, now: datetime) -> pd.DataFrame:
    """Whole sessions around the window, made into bars of `tf`: those that have ended by `now`."""
    s = prices.sessions
    first = max(int(np.searchsorted(s.post, lo, side="right")), prices.first)
    stop = min(int(np.searchsorted(s.pre, hi)), prices.stop)
    if first >= stop:
        return candles.empty()
    minutes = _frame(prices, _gathered(prices, first, stop))
    minutes = minutes.iloc[: np.searchsorted(candles.nanos(minutes), _nanos(now) - MINUTE, side="right")]
    if tf.nanos == MINUTE:
        return minutes
    return candles.resample(minutes, tf, KNOWN[prices.symbol], until=now)


def _gathered(prices: Tape, first: int, stop: int) -> Bars:
    if stop - first > _FEW:
        return prices.minutes(first, stop)
    kept: list[Bars] = [_session(prices, number).bars for number in range(first, stop)]
    if len(kept) == 1:
        return kept[0]
    return Bars(*(np.concatenate([getattr(b, name) for b in kept]) for name in Bars.__slots__))


def _frame(prices: Tape, bars: Bars) -> pd.DataFrame:
    unit = prices.ticks_per_unit
    return candles.frame(
        bars.times,
        {
            "open": bars.open / unit,
            "high": bars.high / unit,
            "low": bars.low / unit,
            "close": bars.close / unit,
            "volume": bars.volume,
        },
    )


@dataclass(frozen=True, slots=True)
class _Session:
    """One session's minutes, and the volume traded up to the end of each."""

    bars: Bars
    traded: Floats


@dataclass(frozen=True, slots=True)
class _Steps:
    """One minute second by second: last price, highest and lowest so far (ticks), volume so far."""

    last: list[int]
    high: list[int]
    low: list[int]
    volume: list[float]


@functools.lru_cache(maxsize=160)
def _session(prices: Tape, number: int) -> _Session:
    bars = prices.minutes(number, number + 1)
    return _Session(bars, np.cumsum(bars.volume))


@functools.lru_cache(maxsize=160)
def _steps(tape: Tape, number: int, row: int) -> _Steps:
    """From the minute's open over its high and low, in either order, to its close at second 59."""
    bars, per_unit, symbol = _session(tape, number).bars, tape.volume_steps, tape.symbol
    begin, high, low, end = (int(prices[row]) for prices in (bars.open, bars.high, bars.low, bars.close))
    draws = Chance(bars.times[row] // _SECOND + np.arange(60)).uniform(key(symbol, "second")).tolist()
    extremes = (low, high) if draws[0] < (0.75 if end >= begin else 0.25) else (high, low)
    stops = [(0, begin), (1 + int(draws[1] * 29), extremes[0]), (30 + int(draws[2] * 29), extremes[1]), (59, end)]
    last = []
    for (since, left), (until, reached) in pairwise(stops):
        last.append(left)
        for second in range(since + 1, until):
            straight = left + (reached - left) * (second - since) // (until - since)
            aside = int((draws[second] - 0.5) * 0.3 * (high - low))
            last.append(min(high, max(low, straight + aside)))
    last.append(end)
    parcels = round(float(bars.volume[row]) * per_unit)
    volume = [-(-parcels * (second + 1) // 60) / per_unit for second in range(60)]
    return _Steps(last, list(accumulate(last, max)), list(accumulate(last, min)), volume)


def _place(market: TradingCalendar, now: int) -> tuple[int, bool]:
    """The number of the session `now` belongs to, and whether its regular hours are on."""
    at, phase = market.locate(np.array([now]))
    return int(at[0]), bool(phase[0] == _REGULAR)


def _quote(instrument: Instrument, prices: Tape, now: datetime, number: int, regular: bool) -> Quote | None:
    if not prices.first <= number < prices.stop:
        return None
    nanos, day = _nanos(now), _session(prices, number)
    row = int(np.searchsorted(day.bars.times, nanos, side="right")) - 1
    if row >= 0 and nanos < day.bars.times[row] + MINUTE:
        return _forming(instrument, prices, now, number, row, regular)
    if row < 0:  # nobody has traded yet today
        if number == prices.first:
            return None
        bars, volume = _session(prices, number - 1).bars, 0.0
    else:
        bars, volume = day.bars, float(day.traded[row])
    traded_at = datetime.fromtimestamp((int(bars.times[row]) + MINUTE) // _SECOND - 1, tz=UTC)
    return _dressed(instrument, prices, number, int(bars.close[row]), traded_at, volume, regular, None)


def _forming(instrument: Instrument, prices: Tape, now: datetime, number: int, row: int, regular: bool) -> Quote:
    day, steps = _session(prices, number), _steps(prices, number, row)
    at, unit = now.second, prices.ticks_per_unit
    minute = Bar(
        time=now.replace(second=0),
        open=steps.last[0] / unit,
        high=steps.high[at] / unit,
        low=steps.low[at] / unit,
        close=steps.last[at] / unit,
        volume=steps.volume[at],
    )
    before = float(day.traded[row - 1]) if row else 0.0
    return _dressed(instrument, prices, number, steps.last[at], now, before + minute.volume, regular, minute)


def _dressed(
    instrument: Instrument,
    prices: Tape,
    number: int,
    last: int,
    time: datetime,
    volume: float,
    regular: bool,
    minute: Bar | None,
) -> Quote:
    """A quote around a last price in ticks; that trade took the ask or hit the bid, by turns."""
    places = -instrument.decimals
    width = max(1, round(last * prices.character.volatility * _SPREAD_OF_VOLATILITY)) * (1 if regular else 3)
    bid = last if time.second % 2 else max(1, last - width)
    previous = prices.previous_close(number)
    return Quote(
        symbol=instrument.symbol,
        time=time,
        last=Decimal(last).scaleb(places),
        source=SimulatedFeed.name,
        bid=Decimal(bid).scaleb(places),
        ask=Decimal(bid + width).scaleb(places),
        volume=volume,
        previous_close=None if previous is None else Decimal(int(previous)).scaleb(places),
        minute=minute,
    )


PART = SimulatedFeed
