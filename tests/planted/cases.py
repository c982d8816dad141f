"""A case: what is put to the verdict, and which check must find the fault planted in it (None: clean)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

from backtester import Backtest, Result, Setup
from domain.daily import daily
from research.honesty import Verdict, verdict
from research.trials import DataSet, TrialLedger, Tried, Variant
from strategies.base import Strategy


@dataclass(frozen=True)
class Case:
    """Everything a verdict asks for. `caught_by` names the check."""

    name: str
    caught_by: str | None
    candles: pd.DataFrame | dict[str, pd.DataFrame]
    strategy: Strategy | Backtest
    setup: Setup = field(default_factory=Setup)
    result: Result | None = None
    tried: Tried | None = None
    more: dict[str, Any] = field(default_factory=dict)

    def judged(self) -> Verdict:
        result = self.result or run(self.candles, self.strategy, self.setup)
        tried = self.tried or noted([(result, self.strategy)])
        return verdict(self.candles, self.strategy, self.setup, result, tried, **self.more)


def run(candles: Any, strategy: Any, setup: Setup) -> Result:
    if isinstance(strategy, Backtest):
        return strategy.run()
    return Backtest(candles, strategy, setup).run()


def noted(runs: Sequence[tuple[Result, object]]) -> Tried:
    """What a new trial ledger says after these runs; the last is the one in question."""
    with TemporaryDirectory() as folder:
        ledger = TrialLedger(f"sqlite:///{Path(folder) / 'research.db'}")
        tried = ledger.note(DataSet.of(runs[-1][0]), [Variant.of(result, strategy) for result, strategy in runs])
        ledger.close()
    return tried


def searched(name: str, caught_by: str | None, candles: pd.DataFrame, variants: Iterable[Strategy]) -> Case:
    """The best of many variants, all of them in the trial ledger, the family at hand."""
    setup = Setup()
    runs = [(Backtest(candles, variant, setup).run(), variant) for variant in variants]
    family = np.array([daily(result.equity, result.zone).returns for result, _ in runs]).T
    with np.errstate(invalid="ignore", divide="ignore"):
        best = int(np.nanargmax(family.mean(axis=0) / family.std(axis=0)))
    result, strategy = runs[best]
    tried = replace(noted(runs), variant=Variant.of(result, strategy).key)
    return Case(name, caught_by, candles, strategy, setup, result, tried, {"family": family})
