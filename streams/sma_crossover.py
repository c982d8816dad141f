"""The streaming form of two crossing averages, one pair or three."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from strategies.base import TIE, Floats
from streams import _kernels
from streams.base import Compiled, Form


def stream(
    strategy: object,
    warmup: int,
    short: bool,
    combined: bool,
    pairs: tuple[tuple[int, int], ...],
    say: Callable[[Floats], str],
) -> Compiled:
    """`say` words the reason from the closes seen, oldest first, as far back as the slowest average reaches."""
    settings = np.array([warmup, short, combined, TIE, *(length for pair in pairs for length in pair)], np.float64)
    ring, size = 1 + 3 * len(pairs), max(slow for _, slow in pairs)
    words = lambda numbers: say(in_order(numbers[ring:], int(numbers[0])))  # noqa: E731
    return Compiled(Form(strategy, _kernels.walk_crossover, settings, ring + size, words))


def in_order(ring: Floats, bars: int) -> Floats:
    """What a ring holds after so many bars, oldest first."""
    at = bars % len(ring)
    return np.concatenate([ring[at:], ring[:at]]) if bars >= len(ring) else ring[:bars]
