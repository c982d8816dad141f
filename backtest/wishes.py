"""From a strategy's word to what is traded of it: what the setup rules out, and what its filters let in.

The rule: the backtester and the engine both go through here, and therefore agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from backtest.setup import Setup
from filters.base import Verdicts, filtered, judged
from strategies.base import Wanted

Floats = npt.NDArray[np.float64]


def tradable(wanted: Wanted, setup: Setup, ranges: Sequence[Floats]) -> Wanted:
    """Nothing before the row where every exit can be worked out (`ranges`: the ATRs they ask for), and nothing below
    zero where nothing is sold short."""
    exposure = wanted.exposure
    if ranges:
        known = max(_first_known(one) for one in ranges)
        exposure = np.where(np.arange(len(exposure)) < known, 0.0, exposure)
    if not setup.short:
        exposure = np.maximum(exposure, 0.0)
    return wanted if exposure is wanted.exposure else replace(wanted, exposure=exposure)


def verdicts(setup: Setup, wants: Mapping[str, tuple[pd.DataFrame, Wanted]]) -> dict[str, tuple[Verdicts, ...]]:
    """What each filter of the setup says of each symbol, which they judge beside the others."""
    found = {}
    for symbol, (candles, wanted) in wants.items():
        others = {name: one for name, one in wants.items() if name != symbol}
        found[symbol] = tuple(judged(one, candles, wanted, others, symbol=symbol) for one in setup.filters)
    return found


def let_in(setup: Setup, wanted: Wanted, said: Sequence[Verdicts], first: int) -> Wanted:
    """What is held from row `first` on, where nothing was held before: 0 in the rows before it."""
    cut = Wanted(wanted.exposure[first:])
    late = [Verdicts(one.passes[first:], _later(one, first)) for one in said]
    held, _ = filtered(cut, late, good_for=setup.good_for)
    exposure = np.concatenate([np.zeros(first), held.exposure])
    return replace(wanted, exposure=exposure)


def _later(said: Verdicts, first: int) -> Any:
    return lambda row: said.why(row + first)


def _first_known(ranges: Floats) -> int:
    finite = np.isfinite(ranges)
    return int(np.argmax(finite)) if finite.any() else len(ranges)
