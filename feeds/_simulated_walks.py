"""Where the made-up prices come from: chance, the characters of the symbols, the walks they follow by day.

Chance is a hash of (name, day or minute), and only + - * / and sqrt follow it, one array operation at a
time: these round alike on every machine. A *walk* (the market, a sector, a symbol's own) lives through
blocks of days (trend, range, shock) and is gently pulled home; a symbol's logarithm is a drift plus a
weighted sum of walks.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from domain.calendars import ALWAYS, calendar
from domain.instruments import KNOWN

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

EPOCH = np.datetime64("2010-01-01", "D")

_SEED = "candlestick-desk-73"
ANCHOR_DAY = np.datetime64("2025-01-01", "D").astype(np.int64)
_BLOCK_DAYS = 28
_HOME_PULL, _RANGE_PULL = 0.003, 0.12
OVERNIGHT, INTRADAY = 0.5, 0.866  # shares of a day's standard deviation: their squares sum to one

_LANES = 0x0000FFFF0000FFFF


class Regime(IntEnum):
    """How a walk behaves during one block of days."""

    TREND = 0
    RANGE = 1
    SHOCK = 2


@dataclass(frozen=True, slots=True)
class Character:
    """What makes a symbol itself: its price around 2025, volatility and drift by year, millions traded a
    day, how often it trades outside regular hours (0 to 1), and the weight of each walk in it (its own
    takes the rest)."""

    price: float
    volatility: float
    drift: float
    millions: float
    liquidity: float
    weights: dict[str, float]


def _stock(
    price: float, volatility: float, drift: float, millions: float, liquidity: float, **weights: float
) -> Character:
    return Character(price, volatility, drift, millions, liquidity, weights)


CHARACTERS: dict[str, Character] = {
    "AAPL": _stock(236, 0.25, 0.12, 54, 0.85, market=0.62, technology=0.42),
    "MSFT": _stock(424, 0.23, 0.12, 22, 0.75, market=0.64, technology=0.46),
    "NVDA": _stock(134, 0.44, 0.15, 230, 0.97, market=0.52, technology=0.2, semiconductors=0.58),
    "AMD": _stock(128, 0.46, 0.13, 42, 0.85, market=0.48, technology=0.18, semiconductors=0.58),
    "AMZN": _stock(215, 0.30, 0.13, 41, 0.8, market=0.6, technology=0.35, consumer=0.25),
    "GOOG": _stock(188, 0.28, 0.12, 20, 0.65, market=0.6, technology=0.35, communication=0.3),
    "META": _stock(585, 0.34, 0.13, 15, 0.75, market=0.55, technology=0.35, communication=0.35),
    "TSLA": _stock(330, 0.54, 0.14, 95, 0.97, market=0.48, technology=0.2, consumer=0.35),
    "NFLX": _stock(880, 0.34, 0.13, 4, 0.5, market=0.5, technology=0.2, communication=0.35),
    "AVGO": _stock(205, 0.40, 0.13, 26, 0.7, market=0.52, technology=0.2, semiconductors=0.52),
    "INTC": _stock(24, 0.40, 0.02, 70, 0.8, market=0.46, technology=0.15, semiconductors=0.48),
    "MU": _stock(98, 0.44, 0.11, 22, 0.7, market=0.46, technology=0.15, semiconductors=0.56),
    "CRM": _stock(305, 0.32, 0.11, 7, 0.45, market=0.55, technology=0.45),
    "ORCL": _stock(168, 0.30, 0.10, 10, 0.45, market=0.54, technology=0.42),
    "JPM": _stock(240, 0.22, 0.09, 9, 0.45, market=0.58, financials=0.55),
    "BAC": _stock(44, 0.25, 0.07, 36, 0.55, market=0.58, financials=0.58),
    "V": _stock(315, 0.19, 0.11, 6, 0.35, market=0.58, financials=0.35),
    "WMT": _stock(91, 0.19, 0.09, 16, 0.4, market=0.42, staples=0.5),
    "COST": _stock(925, 0.20, 0.11, 2, 0.35, market=0.46, staples=0.45),
    "KO": _stock(62, 0.15, 0.05, 15, 0.3, market=0.4, staples=0.55),
    "DIS": _stock(111, 0.26, 0.06, 10, 0.4, market=0.55, communication=0.35),
    "BA": _stock(176, 0.34, 0.06, 9, 0.5, market=0.5, geopolitics=0.3),
    "XOM": _stock(108, 0.23, 0.04, 15, 0.45, market=0.35, energy=0.6, geopolitics=0.25),
    "CVX": _stock(146, 0.22, 0.04, 8, 0.4, market=0.36, energy=0.6, geopolitics=0.22),
    "RTX": _stock(117, 0.22, 0.06, 5, 0.3, market=0.4, geopolitics=0.66),
    "LMT": _stock(488, 0.21, 0.08, 1.2, 0.25, market=0.32, geopolitics=0.66),
    "SPY": _stock(588, 0.16, 0.10, 62, 0.99, market=0.985),
    "QQQ": _stock(514, 0.21, 0.12, 38, 0.99, market=0.82, technology=0.5),
    "IWM": _stock(223, 0.22, 0.07, 28, 0.9, market=0.86, financials=0.2),
    "GLD": _stock(243, 0.15, 0.05, 8, 0.7, market=0.05, gold=0.9, geopolitics=0.25),
    "USO": _stock(75, 0.33, 0.02, 4, 0.6, market=0.22, energy=0.5, geopolitics=0.66),
    "BTCUSDT": _stock(94_000, 0.50, 0.15, 0.028, 1, crypto=0.9),
    "ETHUSDT": _stock(3_350, 0.62, 0.12, 0.45, 1, crypto=0.85),
    "BNBUSDT": _stock(700, 0.52, 0.12, 0.32, 1, crypto=0.75),
    "ADAUSDT": _stock(0.85, 0.72, 0.06, 190, 1, crypto=0.75),
}


def key(*words: object) -> int:
    """The 64 bits that stand for a name and a purpose."""
    text = ":".join(map(str, (_SEED, *words)))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def keys(names: tuple[str, ...], purpose: str) -> Hashes:
    """One key a name, as a row."""
    return np.array([[key(name, purpose) for name in names]], dtype=np.uint64)


class Chance:
    """Random numbers by count (a day, a minute, a second): a count and a key always give the same number."""

    def __init__(self, counts: Ints) -> None:
        self._counters = counts.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)

    def uniform(self, key: int | Hashes) -> Floats:
        """In [0, 1)."""
        return (self._mixed(key) >> 11).astype(np.float64) * (1.0 / 9007199254740992.0)

    def halves(self, key: int | Hashes) -> tuple[Floats, Floats]:
        """Two independent numbers in [0, 1) for the price of one."""
        x, scale = self._mixed(key), 1.0 / 4294967296.0
        return (x >> 32).astype(np.float64) * scale, (x & 0xFFFFFFFF).astype(np.float64) * scale

    def normal(self, key: int | Hashes) -> Floats:
        """Nearly normal, mean 0, deviation 1: the sum of the hash's four 16-bit lanes."""
        x = self._mixed(key)
        lanes = (x >> 16) & _LANES
        lanes += x & _LANES
        out = ((lanes >> 32) + (lanes & 0xFFFFFFFF)).astype(np.float64)
        out -= 131070.0
        out *= 1.0 / 37837.227
        return out

    def _mixed(self, key: int | Hashes) -> Hashes:
        # The finalizer of splitmix64 (Steele, Lea, Flood 2014) over key + count * golden ratio.
        x = self._counters + (np.uint64(key) if isinstance(key, int) else key)
        x ^= x >> 30
        x *= np.uint64(0xBF58476D1CE4E5B9)
        x ^= x >> 27
        x *= np.uint64(0x94D049BB133111EB)
        x ^= x >> 31
        return x


def grown(y: Floats) -> Floats:
    """e to the y, but for its 7th digit: ((1 + y/2048) / (1 - y/2048)) to the 1024th by squaring."""
    out = (2048.0 + y) / (2048.0 - y)
    for _ in range(10):
        out = out * out
    return out


@dataclass(frozen=True, slots=True)
class Walks:
    """The walks of one calendar, a row a day, a column a walk, in daily standard deviations: the level at the
    open and at the close, how many times its usual size the day's noise is, and the regime."""

    names: tuple[str, ...]
    opens: Floats
    closes: Floats
    noise: Floats
    regimes: npt.NDArray[np.int8]


def _walked(names: tuple[str, ...], days: Ints, overnight: float, intraday: float) -> Walks:
    offsets = (keys(names, "offset") % np.uint64(_BLOCK_DAYS)).astype(np.int64)
    blocks = (days[:, None] + offsets) // _BLOCK_DAYS
    fresh = np.vstack([np.ones((1, len(names)), dtype=bool), blocks[1:] != blocks[:-1]])
    by_block, by_day = Chance(blocks), Chance(days[:, None])

    draw = by_block.uniform(keys(names, "regime"))
    regimes = np.select([draw < 0.42, draw < 0.8], [Regime.TREND, Regime.RANGE], Regime.SHOCK)
    size, side = by_block.halves(keys(names, "push"))
    sign = np.where(side < 0.5, -1.0, 1.0)
    trend = np.where(regimes == Regime.TREND, sign * (0.05 + 0.12 * size), 0.0)
    jump = np.where((regimes == Regime.SHOCK) & fresh, sign * (1.4 + 2.2 * size), 0.0)
    calm = np.array([0.8, 0.72, 1.5])[regimes]
    noise = calm * (0.7 + 0.6 * by_day.uniform(keys(names, "turbulence")))
    gap = overnight * noise * by_day.normal(keys(names, "gap"))
    move = intraday * noise * by_day.normal(keys(names, "day")) + trend
    if overnight:
        gap += jump
    else:
        move += jump
    tie = np.where(regimes == Regime.RANGE, _RANGE_PULL, 0.0)
    opens, closes = _accumulated(gap, move, tie, fresh)
    return Walks(names, opens, closes, noise, regimes.astype(np.int8))


def _accumulated(gap: Floats, move: Floats, tie: Floats, fresh: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    opens, closes = np.empty_like(gap), np.empty_like(gap)
    level = np.zeros(gap.shape[1])
    anchor = level
    for t in range(len(gap)):
        anchor = np.where(fresh[t], level, anchor)
        pull = level * _HOME_PULL + tie[t] * (level - anchor)
        opens[t] = level + gap[t]
        level = opens[t] + move[t] - pull
        closes[t] = level
    return opens, closes


@functools.lru_cache(maxsize=4)
def walks(code: str) -> Walks:
    """The walks of one calendar, from EPOCH on: made once a process (under 0.1 s)."""
    symbols = [s for s in CHARACTERS if KNOWN[s].calendar_code == code]
    factors = dict.fromkeys(f for s in symbols for f in CHARACTERS[s].weights)
    days = calendar(code).sessions.days[first_session(code) : stop_session(code)].astype(np.int64)
    overnight, intraday = (0.0, 1.0) if code == ALWAYS else (OVERNIGHT, INTRADAY)
    return _walked((*factors, *symbols), days, overnight, intraday)


def first_session(code: str) -> int:
    """The number of the first session with prices."""
    return int(np.searchsorted(calendar(code).sessions.days, EPOCH))


def stop_session(code: str) -> int:
    """Where prices end: with the calendar of New York, a year or so ahead of the present."""
    return int(np.searchsorted(calendar(code).sessions.days, calendar("XNYS").sessions.days[-1], side="right"))
