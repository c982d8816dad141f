"""Were the symbols chosen because they rose? Only a declared universe can tell: the names one could have traded at the
start, those among them that have gone since.

The check runs each of them alone and asks how often as many names, drawn at random, would have done as well. It cannot
know whether the universe itself was written down at the start; one of which nothing has ended looks as if it was not.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from backtest.result import Result
from backtest.setup import Setup
from backtester import Backtest
from domain.candles import nanos
from domain.errors import DataError
from research._checks import PICKED, Check, Outcome, graded
from research._null import profit
from research._probes import twin
from research.trials import Tried
from strategies.base import Strategy

CURE = "Declare the universe as it was at the start, the names that have gone since among them."
HALF, MANY = 0.5, 10


def undeclared(result: Result, tried: Tried | None) -> Check | None:
    """None for a single symbol tried nowhere else: then there is nothing to say."""
    count, elsewhere = len(result.inputs.ones), tried.elsewhere if tried is not None else 0
    if count == 1 and not elsewhere:
        return None
    said = f"It was tried on {elsewhere} other data set{'s' * (elsewhere > 1)} too"
    said = f"{count} symbols were traded" if count > 1 else said
    return Check("symbols", Outcome.DOUBT, None, f"{said}; whether they were chosen by their fate is not known.", CURE)


def symbols(
    universe: Mapping[str, pd.DataFrame],
    strategy: Strategy | Backtest,
    setup: Setup,
    result: Result,
    draws: int,
    seed: int,
) -> Check:
    """The number is the share of random choices from the universe that earn as much."""
    picked = [one.instrument.symbol for one in result.inputs.ones]
    if outside := [symbol for symbol in picked if symbol not in universe]:
        said = f"{', '.join(outside)}: traded, and not in the declared universe."
        return Check("symbols", Outcome.DOUBT, None, said, CURE)
    earned = {symbol: _earned(symbol, universe[symbol], strategy, setup, result) for symbol in sorted(universe)}
    names, values = list(earned), np.array(list(earned.values()))
    own, everywhere = float(np.mean([earned[symbol] for symbol in picked])), float(values.mean())
    order = np.random.default_rng(seed).random((draws, len(names))).argsort(axis=1)[:, : len(picked)]
    share = float((values[order].mean(axis=1) >= own - 1e-12).mean())
    end = result.inputs.times[-1]
    ended = sum(len(frame) == 0 or nanos(frame)[-1] < end for frame in universe.values())
    stands_out = share < PICKED
    whole = f"the {len(names)} of the universe" if len(names) > len(picked) else "the whole universe"
    said = f"{own:+.1%} each on the symbols traded, {everywhere:+.1%} on {whole}; "
    said += f"{share:.0%} of random choices do as well; {ended} of the universe had ended."
    suspect = len(names) >= MANY and not ended
    if suspect:
        said += " That none has ended looks like a list of today's names."
    return Check("symbols", graded(stands_out and everywhere < HALF * own, stands_out or suspect), share, said, CURE)


def _earned(symbol: str, candles: pd.DataFrame, strategy: Strategy | Backtest, setup: Setup, result: Result) -> float:
    """The return on one symbol alone in the same span; 0 where it has no bar there."""
    start, end = result.times[1].to_pydatetime(), (result.times[-1] + pd.Timedelta(1, "us")).to_pydatetime()
    try:
        if isinstance(strategy, Backtest):
            test = twin(strategy, {symbol: candles}, setup)
            test.instrument, test.start, test.end = None, start, end
            run = test.run()
        else:
            run = Backtest({symbol: candles}, strategy, setup, start=start, end=end).run()
    except DataError:
        raise
    except ValueError:
        return 0.0
    return profit(run.walked, setup) / setup.cash
