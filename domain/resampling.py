"""Intervals by resampling: the stationary block bootstrap of Politis and Romano (1994).

Blocks of random length keep losing streaks together, which shuffling single days would break up. The same seed gives
the same interval on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
FEWEST = 10  # values from which an interval is given at all
_CELLS = 2_000_000  # drawn at once, so that memory stays flat


def block_length(n: int) -> int:
    """Mean length of a block: the cube root of `n`, at least 2."""
    return max(2, int(np.rint(np.cbrt(n))))


def draws(n: int, count: int, seed: int, length: int | None = None) -> Iterator[npt.NDArray[np.int64]]:
    """`count` resamplings of `n` positions, in batches of rows; the series is taken as a ring."""
    chance = np.random.default_rng(seed)
    mean_length = length or block_length(n)
    at_once = max(1, _CELLS // max(n, 1))
    for start in range(0, count, at_once):
        rows = min(at_once, count - start)
        begins = chance.random((rows, n)) < 1.0 / mean_length
        begins[:, 0] = True
        positions = chance.integers(0, n, (rows, n))
        steps = np.arange(n)
        latest = np.maximum.accumulate(np.where(begins, steps, 0), axis=1)
        yield (np.take_along_axis(positions, latest, axis=1) + steps - latest) % n


def intervals(
    n: int,
    measures: Callable[[npt.NDArray[np.int64]], dict[str, Floats]],
    count: int,
    seed: int,
) -> dict[str, tuple[float, float]]:
    """95 % percentile intervals. `measures` takes a batch of positions and gives one value a row for each name.

    A name whose value is undefined (NaN) in more than one draw of twenty gets none.
    """
    if n < FEWEST or count < 1:
        return {}
    batches = [measures(rows) for rows in draws(n, count, seed)]
    found = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    defined = {name: values[np.isfinite(values)] for name, values in found.items()}
    return {
        name: (float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975)))
        for name, values in defined.items()
        if len(values) >= 0.95 * count
    }
