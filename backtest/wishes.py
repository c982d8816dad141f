"""From a strategy's word to what is traded of it: what the setup rules out, and what its filters let in.

The rule: the backtester and the engine both go through here, and therefore agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

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


def judged_wants(
    setup: Setup, wants: Mapping[str, tuple[pd.DataFrame, Wanted]]
) -> dict[str, tuple[Wanted, tuple[Verdicts, ...]]]:
    """What is wanted of each symbol once its leaders' second trades are among it, and each filter's word on it. Filters
    judge a symbol beside the others; leaders are followed in what their own strategy wants."""
    misfits = [one.misfit(setup) if isinstance(one, Fits) else "" for one in setup.filters]
    seconds = [one.seconds(wants) if isinstance(one, Leads) else {} for one in setup.filters]
    whole = dict(wants)
    for given in seconds:
        for symbol, (second, _) in given.items():
            candles, own = whole[symbol]
            whole[symbol] = candles, _besides(own, second)
    found = {}
    for symbol, (candles, wanted) in whole.items():
        others = {name: one for name, one in wants.items() if name != symbol}
        said = tuple(
            _of_both(wants[symbol][1], given[symbol][1])
            if symbol in given
            else _nothing(why, len(candles))
            if why
            else judged(one, candles, wanted, others, symbol=symbol)
            for one, given, why in zip(setup.filters, seconds, misfits, strict=True)
        )
        found[symbol] = wanted, said
    return found


@runtime_checkable
class Leads(Protocol):
    """A filter that brings wishes of its own: what other symbols' strategies want of this one."""

    def seconds(self, wanted_of_all: Mapping[str, tuple[pd.DataFrame, Wanted]]) -> dict[str, tuple[Wanted, Verdicts]]:
        """By symbol: what is wanted besides, and whether it may be entered."""
        ...


@runtime_checkable
class Fits(Protocol):
    """A filter that was learned with certain ways out, and knows nothing of trades with others."""

    def misfit(self, setup: Setup) -> str:
        """Why it does not fit; '' where it does."""
        ...


def misfit(setup: Setup) -> str:
    """Why a filter of it would let nothing in for ever; '' where none says so."""
    return next((why for one in setup.filters if isinstance(one, Fits) and (why := one.misfit(setup))), "")


def _nothing(why: str, bars: int) -> Verdicts:
    return Verdicts(np.zeros(bars, dtype=np.bool_), lambda row: why)


def _besides(own: Wanted, second: Wanted) -> Wanted:
    """The second trade where the strategy itself wants nothing."""
    idle = own.exposure == 0.0
    exposure = np.where(idle, second.exposure, own.exposure)
    confidence = np.where(idle & (second.exposure != 0.0), second.confidence, own.confidence)
    return Wanted(exposure, confidence, lambda row: (own if own.exposure[row] else second).why(row))


def _of_both(own: Wanted, second: Verdicts) -> Verdicts:
    """The strategy's own entries need no leader."""
    mine = own.exposure != 0.0
    return Verdicts(mine | second.passes, lambda row: "its own signal, no leader's" if mine[row] else second.why(row))


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
