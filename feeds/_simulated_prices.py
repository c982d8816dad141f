"""The tape of one made-up symbol: its minutes and days, the same on every machine and in whatever window.

A day's open and close come from the walks; its minutes are a bridge between the two, woven from the minute
noise of the same walks, so what moves together by day moves together by minute. Prices are whole ticks, volumes
whole steps of a power of two: sums are exact in any order, so coarse bars are exactly their minutes resampled.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from domain.calendars import ALWAYS
from domain.instruments import KNOWN
from feeds._simulated_walks import (
    ANCHOR_DAY,
    CHARACTERS,
    INTRADAY,
    Chance,
    Floats,
    Ints,
    Walks,
    first_session,
    grown,
    key,
    stop_session,
    walks,
)

Mask = npt.NDArray[np.bool_]
Five = tuple[Floats, Floats, Floats, Floats, Floats]  # open, high, low, close, volume

MINUTE = 60_000_000_000
PRE_MINUTES, POST_MINUTES = 330, 240

_AFTER_HOURS, _PRE_MARKET = 0.12, 0.2  # deviations of these parts, as shares of a day's
_CHUNK = 40_000  # minutes worked on at once: arrays of this length stay in the processor's cache


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars in time order: opens in UTC nanoseconds, prices in whole ticks, volume in units."""

    times: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats


@dataclass(frozen=True, slots=True)
class Shape:
    """How a part of the day passes, by minute: the deviation of its noise (the squares sum to one), the share
    of the variance gone by at its end, its share of the volume, and how eager people are to trade, 0 to 1."""

    deviation: Floats
    elapsed: Floats
    volume: Floats
    eager: Floats


@functools.lru_cache(maxsize=16)
def shape_of(length: int, kind: str) -> Shape:
    """The shape of `length` minutes of a kind: `regular`, `crypto`, `pre` or `post`."""
    x = (np.arange(length) + 0.5) / length
    early, late = (1.0 - x) * (1.0 - x), x * x
    early, late = early * early, late * late
    if kind == "regular":  # a smile: lively after the open, quiet at noon, lively into the close
        variance = 0.55 + 2.2 * early * early + 0.7 * late
        volume = 0.6 + 1.6 * early * early + 1.7 * late * late
    elif kind == "crypto":  # Europe's afternoon and New York's morning are the busiest
        bump = np.maximum(0.0, 1.0 - 9.0 * (x - 0.62) * (x - 0.62))
        variance, volume = 0.7 + 0.6 * bump, 0.6 + 0.8 * bump
    elif kind == "pre":
        variance, volume = 0.4 + late, 0.2 + 2.5 * late
    else:
        variance, volume = 0.3 + 1.5 * early, 0.2 + 3.0 * early
    eager = {"pre": late, "post": early}.get(kind, np.ones(length))
    elapsed = np.cumsum(variance)
    total = elapsed[-1]
    return Shape(np.sqrt(variance / total), elapsed / total, volume / np.cumsum(volume)[-1], eager)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Minutes to be drawn, a row a day: the days' positions on the tape, each minute's open time, the
    prices (ticks) it leads from and to, its shape, its deviation as a share of the day's, and its volume
    as a share of the day's."""

    rows: slice
    times: Ints
    begin: Floats
    end: Floats
    shape: Shape
    share: float
    activity: float


class Tape:
    """All prices of one symbol. Sessions are numbered as in its calendar, from `first` up to and without
    `stop`; the arrays kept here begin at `first`."""

    def __init__(self, symbol: str) -> None:
        instrument, self.character = KNOWN[symbol], CHARACTERS[symbol]
        code = instrument.calendar_code
        self.symbol, self.always_open = symbol, code == ALWAYS
        self.first, self.stop = first_session(code), stop_session(code)
        self.sessions = instrument.calendar.sessions
        self.ticks_per_unit = 10**instrument.decimals
        self.volume_steps = 1024 if self.always_open else 1  # how many make one unit of volume
        self.daily_volatility = self.character.volatility / (19.105 if self.always_open else 15.875)
        self._days = self.sessions.days[self.first : self.stop].astype(np.int64)
        shared = walks(code)
        self._parts = self._own_parts(shared)
        self._noise = [shared.noise[:, column] for column, _ in self._parts]
        self._keys = [key(shared.names[column], "minute") for column, _ in self._parts]
        self.regimes = shared.regimes[:, shared.names.index(symbol)]
        self.open, self.close = self._levels(shared)
        self._after, self._busy = self._day_draws()
        self._high, self._low, self._volume = np.zeros((3, len(self._days)))
        self._computed = np.zeros(len(self._days), dtype=bool)

    def daily(self, first: int, stop: int) -> Bars:
        """Regular hours of the sessions [first, stop): exactly their minutes resampled. Kept once made."""
        a, b = first - self.first, stop - self.first
        for lo, hi in self._alike(a + np.flatnonzero(~self._computed[a:b])):
            _, high, low, _, volume = self._bridge(self._regular(lo, hi))
            self._high[lo:hi], self._low[lo:hi] = high.max(axis=1), low.min(axis=1)
            self._volume[lo:hi] = volume.sum(axis=1)
            self._computed[lo:hi] = True  # last, so that another thread never sees half a row
        times, high, low = self.sessions.open[first:stop], self._high[a:b], self._low[a:b]
        return Bars(times, self.open[a:b], high, low, self.close[a:b], self._volume[a:b])

    def minutes(self, first: int, stop: int) -> Bars:
        """Every minute with a trade in the sessions [first, stop), extended hours included."""
        chunks = [self._chunk(lo, hi) for lo, hi in self._alike(np.arange(first, stop) - self.first)]
        return Bars(*(np.concatenate(column) for column in zip(*chunks, strict=True)))

    def previous_close(self, session: int) -> float | None:
        """The regular close of the session before, in ticks; None on the first day."""
        return float(self.close[session - self.first - 1]) if session > self.first else None

    def _own_parts(self, shared: Walks) -> list[tuple[int, float]]:
        """(column, weight) of each walk in this symbol; its own has the rest of the variance."""
        weights = self.character.weights
        left = 1.0
        for weight in weights.values():
            left -= weight * weight
        shares = {**weights, self.symbol: float(np.sqrt(left))}
        return [(shared.names.index(name), weight) for name, weight in shares.items()]

    def _levels(self, shared: Walks) -> tuple[Floats, Floats]:
        years = (self._days - ANCHOR_DAY) / 365.25
        price = self.character.price * self.ticks_per_unit
        out = []
        for levels in (shared.opens, shared.closes):
            moved = np.zeros(len(self._days))
            for column, weight in self._parts:
                moved = moved + weight * levels[:, column]
            logarithm = self.character.drift * years + self.daily_volatility * moved
            out.append(np.maximum(np.rint(price * grown(logarithm)), 1.0))
        opens, closes = out
        if self.always_open:  # a market without a night opens a hair from where it closed
            hair = 0.006 * self.daily_volatility * Chance(self._days[1:]).normal(key(self.symbol, "midnight"))
            opens[1:] = np.maximum(np.rint(closes[:-1] * (1.0 + hair)), 1.0)
        return opens, closes

    def _day_draws(self) -> tuple[Floats, Floats]:
        """By day: where after-hours trading ends (ticks), and how many times its usual volume it sees."""
        chance = Chance(self._days)
        drift = _AFTER_HOURS * self.daily_volatility * chance.normal(key(self.symbol, "evening"))
        after = np.maximum(np.rint(self.close * (1.0 + drift)), 1.0)
        moved = np.abs(self.close - self.open) / (self.open * self.daily_volatility)
        busy = (0.75 + 0.7 * chance.uniform(key(self.symbol, "volume"))) * (0.7 + 0.45 * moved)
        if self.always_open:
            weekday = (self._days + 3) % 7  # 1970-01-01 was a Thursday
            busy = np.where(weekday >= 5, 0.6 * busy, busy)
        return after, busy * (0.6 + 0.4 * self._noise[-1])

    def _alike(self, rows: Ints) -> list[tuple[int, int]]:
        """The rows as runs of neighbours with equally long sessions, each short enough to work on at once."""
        if not len(rows):
            return []
        lengths = self._regular_minutes(rows)
        most = max(1, _CHUNK // (int(lengths.max()) + (0 if self.always_open else PRE_MINUTES + POST_MINUTES)))
        cuts = np.flatnonzero((np.diff(rows) != 1) | (np.diff(lengths) != 0)) + 1
        runs = np.split(rows, cuts)
        return [
            (int(part[0]), int(part[-1]) + 1)
            for run in runs
            for part in (run[i : i + most] for i in range(0, len(run), most))
        ]

    def _regular_minutes(self, rows: Ints) -> Ints:
        s = self.sessions
        return (s.close[rows + self.first] - s.open[rows + self.first]) // MINUTE

    def _chunk(self, lo: int, hi: int) -> tuple[Ints, Floats, Floats, Floats, Floats, Floats]:
        regular = self._regular(lo, hi)
        if self.always_open:
            parts, kept = [regular], [np.ones(regular.times.shape, dtype=bool)]
        else:
            parts = [self._pre_market(lo, hi), regular, self._after_hours(lo, hi)]
            kept = [self._traded(parts[0]), np.ones(regular.times.shape, dtype=bool), self._traded(parts[2])]
        mask = np.hstack(kept)
        o, h, l, c, v = (np.hstack(column)[mask] for column in zip(*map(self._bridge, parts), strict=True))  # noqa: E741
        return np.hstack([part.times for part in parts])[mask], o, h, l, c, v

    def _times(self, lo: int, hi: int, begins: Ints, length: int) -> Ints:
        return begins[self.first + lo : self.first + hi, None] + np.arange(length, dtype=np.int64) * MINUTE

    def _regular(self, lo: int, hi: int) -> Stretch:
        length = int(self._regular_minutes(np.array([lo]))[0])
        shape = shape_of(length, "crypto" if self.always_open else "regular")
        times = self._times(lo, hi, self.sessions.open, length)
        share = 1.0 if self.always_open else INTRADAY
        return Stretch(slice(lo, hi), times, self.open[lo:hi], self.close[lo:hi], shape, share, 1.0)

    def _pre_market(self, lo: int, hi: int) -> Stretch:
        times = self._times(lo, hi, self.sessions.pre, PRE_MINUTES)
        evening = np.r_[self.open[:1], self._after][lo:hi]  # the first day has no evening before it
        gap = self.open[lo:hi] - evening
        begin = np.rint(evening + 0.5 * gap)  # half of it comes while nobody trades
        shape = shape_of(PRE_MINUTES, "pre")
        return Stretch(slice(lo, hi), times, begin, self.open[lo:hi], shape, _PRE_MARKET, self._thinness)

    def _after_hours(self, lo: int, hi: int) -> Stretch:
        times = self._times(lo, hi, self.sessions.close, POST_MINUTES)
        begin, end = self.close[lo:hi], self._after[lo:hi]
        shape = shape_of(POST_MINUTES, "post")
        return Stretch(slice(lo, hi), times, begin, end, shape, _AFTER_HOURS, self._thinness)

    @property
    def _thinness(self) -> float:
        return 0.015 * self.character.liquidity

    def _traded(self, part: Stretch) -> Mask:
        """Which minutes of extended hours saw a trade at all."""
        draw = Chance(part.times // MINUTE).uniform(key(self.symbol, "trades"))
        return draw < np.minimum(0.995, self.character.liquidity * (0.35 + 0.6 * part.shape.eager))

    def _bridge(self, part: Stretch) -> Five:
        """The bars of a stretch (prices in ticks), the last of which closes exactly at its end."""
        chance = Chance(part.times // MINUTE)
        woven, spread = self._noise_of(part, chance)
        walked, elapsed = np.cumsum(woven, axis=1), part.shape.elapsed
        begin, end = part.begin[:, None], part.end[:, None]
        close = begin + (end - begin) * elapsed + (walked - walked[:, -1:] * elapsed)
        close = np.maximum(np.rint(close), 1.0)
        close[:, -1:] = end
        aside, traded = chance.halves(key(self.symbol, "trade"))
        open_ = np.hstack([begin, close[:, :-1] + np.rint((aside - 0.5) * 0.5 * spread)[:, 1:]])
        np.maximum(open_, 1.0, out=open_)

        up, down = chance.halves(key(self.symbol, "wicks"))
        middle, body, variance = open_ + close, close - open_, spread * spread
        body *= body
        high = np.rint((middle + np.sqrt(body + variance * _chi_square(up))) * 0.5)
        low = np.maximum(np.rint((middle - np.sqrt(body + variance * _chi_square(down))) * 0.5), 1.0)
        active = (0.3 + 2.2 * traded * traded * traded) * (0.5 + 0.35 * ((high - low) / (spread + 1.0)))
        usual = (part.activity * self.character.millions * 1e6) * self._busy[part.rows, None] * part.shape.volume
        volume = (np.floor(usual * active * self.volume_steps) + 1.0) / self.volume_steps
        return open_, high, low, close, volume

    def _noise_of(self, part: Stretch, chance: Chance) -> tuple[Floats, Floats]:
        """Each minute's noise and its deviation (ticks): the walks' by weight, as wild as their day."""
        woven, squares = np.zeros(part.times.shape), np.zeros((len(part.begin), 1))
        for (_, weight), own_key, noise in zip(self._parts, self._keys, self._noise, strict=True):
            size = (weight * noise[part.rows])[:, None]
            woven += size * chance.normal(own_key)
            squares += size * size
        unit = part.begin[:, None] * (part.share * self.daily_volatility)
        deviation = part.shape.deviation * self._bursts(part.times)
        woven *= unit * deviation
        return woven, (unit * np.sqrt(squares)) * deviation

    def _bursts(self, times: Ints) -> Floats:
        """Ten minutes are calm, the next are not: a factor on the noise, 1 in the mean square."""
        tens = times[:, ::10] // (10 * MINUTE)
        draw = Chance(tens).uniform(key(self.symbol, "burst"))
        factor = 0.6 + 1.1 * draw * draw
        return np.repeat(factor, 10, axis=1)


def _chi_square(u: Floats) -> Floats:
    """-2 ln(1 - u), nearly (a Padé form): the highest point of a Brownian path between two known ends is
    (a + b + sqrt((b - a)² + variance * this)) / 2."""
    return (2.0 * u * (6.0 - u)) / (6.0 - 4.6 * u)


@functools.lru_cache(maxsize=64)
def tape(symbol: str) -> Tape:
    """The prices of one of CHARACTERS; the walks behind all of them are made once a process (about 0.1 s)."""
    return Tape(symbol)
