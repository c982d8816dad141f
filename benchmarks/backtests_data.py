"""The bars both sides read: made once from a fixed seed and kept as .npy, so that nobody has other numbers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
SEED = 20240603
MINUTE, DAY = 60_000_000_000, 86_400_000_000_000
BEGIN = 1_577_836_800_000_000_000  # 2020-01-01, UTC


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of each, and how often."""

    one: tuple[int, ...] = (100_000, 1_000_000)
    swept: int = 1_260
    fasts: int = 50
    slows: int = 200
    symbols: int = 31
    year: int = 98_280
    turns: int = 7
    slow_turns: int = 5
    chunk: int = 500
    parts: tuple[int, int] = (50, 200)  # slow windows, with two fast ones, from which `optimize` is extrapolated
    optimizes: int = 3


QUICK = Sizes((20_000,), 400, 6, 10, 3, 5_000, 2, 1, 20, (5, 10), 1)


def make(folder: Path, sizes: Sizes) -> None:
    """`one_N.npy` and `swept.npy`: rows open, high, low, close, volume; `year.npy`: one such block a symbol."""
    for bars in sizes.one:
        np.save(folder / f"one_{bars}.npy", walk(SEED, bars, 0.002))
    np.save(folder / "swept.npy", walk(SEED + 1, sizes.swept, 0.015))
    year = [walk(SEED + 2 + s, sizes.year, 0.002) for s in range(sizes.symbols)]
    np.save(folder / "year.npy", np.array(year))


def walk(seed: int, bars: int, sigma: float) -> Floats:
    """A random walk with small gaps at the open. Its logarithm is drawn back to that of 100 a little, so that a million
    bars stay among prices one meets; prices have all their digits, so that no two averages are ever level."""
    draw = np.random.default_rng(seed)
    steps, close, level = draw.normal(0.0, sigma, bars), np.empty(bars), 0.0
    for t, step in enumerate(steps.tolist()):
        level = 0.9999 * level + step
        close[t] = level
    close = 100.0 * np.exp(close)
    opens = np.r_[100.0, close[:-1]] * np.exp(draw.normal(0.0, sigma / 10, bars))
    high = np.maximum(opens, close) * np.exp(np.abs(draw.normal(0.0, sigma / 2, bars)))
    low = np.minimum(opens, close) * np.exp(-np.abs(draw.normal(0.0, sigma / 2, bars)))
    return np.array([opens, high, low, close, draw.uniform(1e4, 1e5, bars)])


def times(bars: int, each: int = MINUTE) -> npt.NDArray[np.int64]:
    """The opens of that many bars, around the clock."""
    return BEGIN + each * np.arange(bars, dtype=np.int64)


def pairs(sizes: Sizes) -> tuple[range, range]:
    """The windows of the sweep, each fast one with each slow one: all of them are valid."""
    return range(2, 2 + sizes.fasts), range(2 + sizes.fasts, 2 + sizes.fasts + sizes.slows)
