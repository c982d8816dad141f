"""From the script to minutes: a path through its points, with noise that is the same on every machine."""

from __future__ import annotations

import zlib
from itertools import pairwise

import numpy as np

from simulator.demo.script import DAY, PATHS, Candle, Path, moment

MINUTES = 390
BUSY = 4.0  # times the usual volume, at its height
Row = list[float]


def day() -> dict[str, list[Row]]:
    """By symbol its regular minutes as `feeds._demo_day.Minutes` reads them: minute, open, high, low, close (multiples
    of the close before) and how many times the usual volume."""
    return {symbol: minutes(path, zlib.crc32(f"{DAY} {symbol}".encode())) for symbol, path in PATHS.items()}


def minutes(path: Path, seed: int) -> list[Row]:
    """The rows of one symbol; those of a silence are left out."""
    chance = np.random.default_rng(seed)
    ends = _through(path, chance)
    begins = np.r_[path.points[0][1], ends[:-1]]
    wick = path.rough * 1e-4 * chance.gamma(1.5, 0.4, (2, MINUTES))
    high, low = np.maximum(begins, ends) * (1 + wick[0]), np.minimum(begins, ends) * (1 - wick[1])
    rows = [[float(at), *map(float, told)] for at, told in enumerate(zip(begins, high, low, ends, strict=True))]
    for candle in path.candles:
        _draw(rows, candle)
    if path.silence is not None:
        reopens = minute(path.silence[1])
        rows[reopens][1] = dict(path.points)[path.silence[1]]
        rows[reopens] = _sound(rows[reopens])
    shut = range(*map(minute, path.silence)) if path.silence else range(0)
    return [[*row, _volume(path, int(row[0]))] for row in rows if int(row[0]) not in shut]


def minute(hour: str) -> int:
    """Minutes from the open to that time."""
    return int((moment(hour) - moment("09:30")).total_seconds() // 60)


def _through(path: Path, chance: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The price at the end of each minute: straight from point to point, with a bridge of noise between them."""
    ends = np.empty(MINUTES)
    for (left, begin), (right, end) in pairwise(path.points):
        first, last = minute(left), minute(right)
        walk = np.cumsum(chance.normal(0.0, path.rough * 1e-4, last - first))
        part = np.arange(1, last - first + 1) / (last - first)
        ends[first:last] = begin + (end - begin) * part + (walk - walk[-1] * part)
    return ends


def _draw(rows: list[Row], candle: Candle) -> None:
    """Five minutes that together are exactly this candle: down to its low, up to its high, to its close."""
    first = minute(candle.at)
    middle = (candle.low + candle.open) / 2
    stops = [candle.open, middle, candle.low, (candle.low + candle.close) / 2, candle.high, candle.close]
    for at, (begin, end) in enumerate(pairwise(stops)):
        rows[first + at] = [float(first + at), begin, max(begin, end), min(begin, end), end]
    after = rows[first + 5]
    after[1] = candle.close
    rows[first + 5] = _sound(after)


def _sound(row: Row) -> Row:
    """High and low around open and close."""
    at, begin, high, low, end = row
    return [at, begin, max(high, begin, end), min(low, begin, end), end]


def _volume(path: Path, at: int) -> float:
    """How many times the usual volume: far more around the script's busy times."""
    near = min((abs(at - minute(hour)) for hour in path.busy), default=MINUTES)
    return round(1.0 + (BUSY - 1.0) * max(0.0, 1.0 - near / 12.0), 3)
