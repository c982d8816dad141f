"""The streaming form of trend following: an exponential average, its slope's side, and ADX."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from strategies.base import TIE
from streams import _kernels
from streams.base import Compiled, Form

SIZE = 11


def stream(
    strategy: object,
    warmup: int,
    short: bool,
    length: int,
    adx_length: int,
    strength: float,
    say: Callable[[int, float, float], str],
) -> Compiled:
    """`say` words the reason from the newest bar's row, its ADX and its slope."""
    settings = np.array([warmup, short, length, adx_length, strength, TIE], np.float64)
    return Compiled(
        Form(strategy, _kernels.walk_trend, settings, SIZE, lambda n: say(int(n[0]) - 1, float(n[3]), float(n[2])))
    )
