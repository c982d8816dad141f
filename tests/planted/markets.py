"""Made markets, each with one known property: nothing to find, trends, a mean, gaps, a jump. Daily bars, by seed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from domain.candles import frame
from domain.instruments import instrument

BARS = 1500


def of_returns(returns: np.ndarray, chance: np.random.Generator, gap: np.ndarray | None = None) -> pd.DataFrame:
    """Daily candles whose closes make these log returns; `gap` is the part of each that lies before the open."""
    before = np.zeros(len(returns)) if gap is None else gap
    close = 100.0 * np.exp(np.cumsum(returns))
    opened = np.concatenate([[100.0], close[:-1]]) * np.exp(before + chance.normal(0, 0.0005, len(returns)))
    high = np.maximum(opened, close) * (1 + np.abs(chance.normal(0, 0.003, len(returns))))
    low = np.minimum(opened, close) * (1 - np.abs(chance.normal(0, 0.003, len(returns))))
    opens = instrument("AAPL").calendar.sessions.open
    begin = int(np.searchsorted(opens, pd.Timestamp("2017-01-01", tz="UTC").value))
    times = opens[begin : begin + len(returns)]
    prices = {"open": opened, "high": high, "low": low, "close": close}
    return frame(times, {**prices, "volume": np.full(len(returns), 1e8)})


def noise(seed: int, bars: int = BARS, drift: float = 0.0, swing: float = 0.01) -> pd.DataFrame:
    """A random walk: nothing to find."""
    chance = np.random.default_rng(seed)
    return of_returns(chance.normal(drift, swing, bars), chance)


def trending(seed: int, bars: int = BARS, push: float = 0.004, lasting: int = 40) -> pd.DataFrame:
    """Runs up and down that last some `lasting` bars each: what follows trends earns."""
    chance = np.random.default_rng(seed)
    turns = chance.random(bars) < 1.0 / lasting
    side = np.where(np.cumsum(turns) % 2 == 0, 1.0, -1.0)
    return of_returns(push * side + chance.normal(0, 0.008, bars), chance)


def reverting(seed: int, bars: int = BARS, pull: float = 0.15) -> pd.DataFrame:
    """Pulled back to a mean: what buys low and sells high earns."""
    chance = np.random.default_rng(seed)
    level, levels = 0.0, np.empty(bars)
    for bar, shock in enumerate(chance.normal(0, 0.02, bars)):
        level = (1.0 - pull) * level + shock
        levels[bar] = level
    return of_returns(np.diff(levels, prepend=0.0), chance)


def gapping(seed: int, bars: int = BARS) -> pd.DataFrame:
    """A day's move goes on over the night and not a bit further: who fills at the close earns, who fills after does
    not."""
    chance = np.random.default_rng(seed)
    day = chance.normal(0, 0.01, bars)
    night = np.concatenate([[0.0], 0.3 * day[:-1]])
    return of_returns(day + night, chance, night)


def choppy(seed: int, bars: int = BARS, turn: float = 0.0005) -> pd.DataFrame:
    """Each bar tends to undo a little of the one before: an edge as thin as the costs."""
    chance = np.random.default_rng(seed)
    moves = chance.normal(0, 0.004, bars)
    for bar in range(1, bars):
        moves[bar] -= turn * np.sign(moves[bar - 1])
    return of_returns(moves, chance)


def jumping(seed: int, bars: int = BARS, at: int = 700, jump: float = 0.6) -> pd.DataFrame:
    """A random walk with one great rise, spread over ten bars."""
    chance = np.random.default_rng(seed)
    moves = chance.normal(0.0, 0.004, bars)
    moves[at : at + 10] += jump / 10
    return of_returns(moves, chance)
