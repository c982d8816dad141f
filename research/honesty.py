"""How far a backtest can be believed: *fail*, *weak* or *worth paper trading*, and why.

    tried = ledger.note(DataSet.of(result), [Variant.of(result, strategy)])
    box = verdict(candles, strategy, setup, result, tried)
    print(box)

The rule: one check that fails is a fail; two that doubt are weak; whatever else is worth paper trading, which is all
that a backtest can earn. Each check's own rule stands in `RULES`. The same arguments give the same verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from backtest import book
from backtest.result import Result
from backtest.setup import Setup
from backtester import Backtest
from domain.daily import daily, last_rows
from domain.errors import DeskError
from research import _checks, _null, _probes, _universe
from research._checks import RULES, Check, Outcome
from research.trials import Tried
from strategies.base import Strategy

__all__ = ["FAIL", "RULES", "WEAK", "WORTH", "Check", "Outcome", "Verdict", "combined", "verdict"]

Floats = npt.NDArray[np.float64]
FAIL, WEAK, WORTH = "fail", "weak", "worth paper trading"
DOUBTS = 2  # as many make it weak
DRAWS = 1000
ASKED = 24  # bars at which each probe asks; an eighth of it where a run decides bar by bar, which is slow


def combined(checks: Iterable[Check]) -> str:
    """The one rule that makes a word of many checks."""
    outcomes = [check.outcome for check in checks]
    if Outcome.FAIL in outcomes:
        return FAIL
    return WEAK if outcomes.count(Outcome.DOUBT) >= DOUBTS else WORTH


@dataclass(frozen=True, slots=True)
class Verdict:
    """The box on top of a result. `unknown` says in sentences what no check here can know."""

    checks: tuple[Check, ...]
    unknown: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        return combined(self.checks)

    @property
    def said(self) -> str:
        """The verdict in one line, with the checks that made it."""
        bad = [c.name for c in self.checks if c.outcome is Outcome.FAIL]
        doubts = [c.name for c in self.checks if c.outcome is Outcome.DOUBT]
        parts = [f"fails: {', '.join(bad)}"] * bool(bad) + [f"doubts: {', '.join(doubts)}"] * bool(doubts)
        return f"{self.word.capitalize()} ({'; '.join(parts) or 'every check passes'})"

    def __getitem__(self, name: str) -> Check:
        """A check by name; KeyError for one that was not asked."""
        for check in self.checks:
            if check.name == name:
                return check
        raise KeyError(f"no check {name!r} was asked: there are {', '.join(c.name for c in self.checks)}")

    def __str__(self) -> str:
        lines = [f"{c.outcome.value:<6}{c.name:<17}{c.said}" for c in self.checks]
        return "\n".join([self.said, *lines, *(f"      {line}" for line in self.unknown)])

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        names = ("name", "number", "said", "cure")
        rows = [{n: getattr(c, n) for n in names} | {"outcome": c.outcome.value} for c in self.checks]
        return {"verdict": self.word, "said": self.said, "checks": rows, "unknown": list(self.unknown)}


def verdict(
    candles: pd.DataFrame | Mapping[str, pd.DataFrame],
    strategy: Strategy | Backtest,
    setup: Setup,
    result: Result,
    trials: Tried | None,
    *,
    family: npt.ArrayLike | Check | None = None,
    universe: Mapping[str, pd.DataFrame] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    progress: Callable[[float, str], None] | None = None,
) -> Verdict:
    """Every check on a result, in the order in which one should worry.

    candles     what the result was run on, bars that only warm up included
    strategy    or the `Backtest` of one's own that decided
    trials      from the trial ledger; None is a doubt, for nobody counted
    family      the days' returns of the variants that were searched, one column each (asks for overfitting); or that
                check itself, where several results were found in one search
    universe    candles by symbol of every name one could have traded (asks whether the symbols were picked)
    draws       runs with random entries, at least 1,000
    progress    called with a share from 0 to 1 and what is being asked; what it raises ends the asking
    """
    if draws < DRAWS:
        raise ValueError(f"draws must be at least {DRAWS}: got {draws}")
    say = progress or (lambda share, said: None)
    say(0.0, "look-ahead and warm-up")
    seen = _Seen(candles, strategy, setup, result)
    returns, market = seen.days
    checks = [seen.own_result(), *seen.probes()]
    checks.append(_checks.sample_size(int((result.walked.trades[:, 10] != book.STILL_OPEN).sum()), len(returns)))
    say(0.2, "costs")
    checks.append(_checks.costs(_null.costs(result)))
    checks.append(_checks.deflated_sharpe(returns, result.periods, trials))
    if family is not None:
        found = family if isinstance(family, Check) else _checks.overfitting(np.asarray(family, dtype=np.float64))
        checks.append(found)

    def heard(done: int) -> None:
        say(0.25 + 0.7 * done / draws, f"random entries: {done:,} of {draws:,}")

    drawn = _null.random_profits(result, seen.warm, draws, seed, heard)
    checks.append(_checks.random_entries(_null.profit(result.walked, result.inputs.setup), drawn))
    checks.append(_checks.out_of_sample(returns, result.periods))
    checks.append(_checks.same_exposure(returns, market, seen.exposure, result.periods))
    checks.append(_checks.best_trades(result.walked.trades[:, 7]))
    say(0.95, "symbols")
    chosen = (
        _universe.symbols(universe, strategy, setup, result, draws, seed)
        if universe is not None
        else _universe.undeclared(result, trials)
    )
    if chosen is not None:
        checks.append(chosen)
    if trials is not None and trials.lockbox is not None and result.inputs.times[-1] >= trials.lockbox.first:
        checks.append(_checks.lockbox(trials, seen.returns_from(trials.lockbox.first), result.periods))
    return Verdict(tuple(checks), tuple(_unknown(family is not None, chosen is not None, result)))


def _unknown(family: bool, symbols: bool, result: Result) -> list[str]:
    said = ["What was tried outside the trial ledger is counted nowhere."]
    if not family:
        said.append("Overfitting was not asked: no family of variants was given.")
    if not symbols:
        of = result.inputs.ones[0].instrument.symbol
        said.append(f"Whether {of} was chosen because of how it did is not known: no universe was declared.")
    return said


class _Seen:
    """A result and what it was made of, as the checks need them."""

    def __init__(self, candles: Any, strategy: Strategy | Backtest, setup: Setup, result: Result) -> None:
        self.candles, self.strategy, self.setup, self.result = candles, strategy, setup, result
        ones = result.inputs.ones
        self.frames: dict[str, pd.DataFrame] = (
            {ones[0].instrument.symbol: candles} if isinstance(candles, pd.DataFrame) else dict(candles)
        )
        if set(self.frames) != {one.instrument.symbol for one in ones}:
            raise ValueError(f"the candles must be those of the result: got {', '.join(self.frames)}")
        bars = _probes.decides_bar_by_bar(strategy)
        self.bar_by_bar, self.declared = bars, _probes.warmup_of(strategy)
        lead = {one.instrument.symbol: int(self._before(one.instrument.symbol)) for one in ones}
        self.warm = {symbol: max(0, (self.declared or 0) - rows) for symbol, rows in lead.items()}

    def _before(self, symbol: str) -> int:
        """Bars that lie before the traded span."""
        return int(self.frames[symbol].index.searchsorted(self.result.times[1]))

    def own_result(self) -> Check:
        try:
            apart = _probes.first_apart(
                self.result, _probes.again(self.candles, self.strategy, self.setup, self.result)
            )
        except (ValueError, DeskError) as error:
            apart = f"it cannot be run again ({error})"
        return _checks.own_result(apart)

    def probes(self) -> tuple[Check, Check]:
        if self.bar_by_bar and len(self.frames) > 1:
            why = "it decides bar by bar over several symbols"
            return _checks.look_ahead(_probes.Probe(0, 0, None)), _checks.warm_up(None, why)
        ask, warm = _probes.asker(self.strategy), self.declared or 0
        try:
            whole = {symbol: ask(symbol, frame) for symbol, frame in self.frames.items()}
        except ValueError as error:
            return _checks.look_ahead(_probes.Probe(0, 0, None)), _checks.warm_up(None, str(error))
        count = ASKED // 4 if self.bar_by_bar else ASKED
        fresh = _probes.unremembering(self.strategy, self.frames, whole)
        ahead = _checks.look_ahead(_probes.look_ahead(fresh, self.frames, whole, warm, count))
        if self.bar_by_bar:
            return ahead, _checks.warm_up(None, "it decides bar by bar, looking at its own position")
        if self.declared is None:
            return ahead, _checks.warm_up(None, "it declares no warm-up")
        return ahead, _checks.warm_up(_probes.warm_up(ask, self.frames, whole, warm, count))

    @property
    def exposure(self) -> float:
        """The average net exposure."""
        found = self.result.exposure.to_numpy()[1:]
        return float(np.nanmean(found)) if np.isfinite(found).any() else 0.0

    @property
    def days(self) -> tuple[Floats, Floats]:
        """The days' returns of the account and of the market; none where the account was ruined."""
        own, market = (daily(series, self.result.zone) for series in (self.result.equity, self.result.benchmark))
        if not own.n or own.equity.min() <= 0:
            return np.empty(0), np.empty(0)
        return own.returns, market.returns

    def returns_from(self, first: int) -> Floats:
        rows, _ = last_rows(self.result.times, self.result.zone)
        begun = self.result.times.asi8[rows] >= first
        returns, _ = self.days
        return returns[-int(begun.sum()) :] if begun.any() and len(returns) else np.empty(0)
