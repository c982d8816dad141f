"""The streaming form of mean reversion: a distance in deviations, RSI, and how long it has been held."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from streams import _kernels
from streams.base import Compiled, Form

RING = 14


def stream(
    strategy: object,
    warmup: int,
    short: bool,
    lengths: tuple[int, int],
    levels: tuple[float, float, float],
    hold: int,
    still: float,
    say: Callable[[float, float, float], str],
) -> Compiled:
    """`lengths` of the mean and of RSI; `levels` entry, leave and oversold; `still` the share of the price below which
    a deviation is none. `say` words the reason from score, RSI and exposure."""
    settings = np.array([warmup, short, *lengths, *levels, hold, still], np.float64)
    words = lambda numbers: say(float(numbers[1]), float(numbers[2]), float(numbers[3]))  # noqa: E731
    return Compiled(Form(strategy, _kernels.walk_reversion, settings, RING + lengths[0], words))
