"""The work behind a study: load candles, run every strategy, sweep, write everything down, then judge.

The rule: a variant stands in the trial ledger before its result leaves this file.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from backtest import loading
from backtest.loading import Loaded
from backtest.result import Result
from backtest.run import compiled_before
from backtester import Backtest
from domain.candles import timeframe
from domain.clock import SystemClock
from domain.daily import daily
from domain.errors import DataError
from domain.instruments import instrument
from domain.params import params_of as declared_by
from feeds.market import open_market
from research._checks import MOST_VARIANTS, overfitting
from research._grid import each
from research._study_values import Asked, Chosen
from research.honesty import Verdict, verdict
from research.jobs import JobCancelled
from research.sweep import Sweep, sweep
from research.trials import DataSet, TrialLedger, Tried, Variant
from settings import Settings
from strategies.base import asked as asked_of
from strategies.base import find

Floats = npt.NDArray[np.float64]
Progress = Callable[[float, str], None]
Cancel = Callable[[], bool]
AT_ONCE = 5_000


@dataclass(frozen=True, slots=True)
class Step:
    """Where the work is: a part of the whole, from `low` to `high`. Each word asks whether to go on."""

    progress: Progress
    cancel: Cancel
    low: float = 0.0
    high: float = 1.0

    def say(self, share: float, said: str) -> None:
        """JobCancelled where somebody has called it off."""
        if self.cancel():
            raise JobCancelled(f"called off at: {said}")
        self.progress(self.low + (self.high - self.low) * share, said)

    def judging(self, label: str) -> Progress:
        """`say` for the checks of one run."""
        return lambda share, said: self.say(share, f"judging {label}: {said}")

    def part(self, low: float, high: float) -> Step:
        wide = self.high - self.low
        return replace(self, low=self.low + wide * low, high=self.low + wide * high)


@dataclass(frozen=True, eq=False)
class Ran:
    """One strategy on one account: what it came to, what the ledger says, and how far to believe it."""

    label: str
    chosen: Chosen
    result: Result
    tried: Tried
    verdict: Verdict | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Answered:
    """Everything a question came to, before it is made into a `Study` or printed."""

    asked: Asked
    loaded: Loaded
    source: str
    runs: tuple[Ran, ...]
    swept: Sweep | None
    notes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class _Account:
    """Symbols that share their cash, and their candles, those that only warm up included."""

    frames: dict[str, pd.DataFrame]
    name: str  # before the label of a run; empty where there is one account


def answered(asked: Asked, settings: Settings, step: Step, files: Path | None = None) -> Answered:
    """Answer a question. `files` is a folder of the user's own candles where it is not the settings' one."""
    step.say(0.0, "loading candles")
    loaded, source = load(asked, settings, step.part(0.0, 0.1), files, warmup(asked))
    if not compiled_before():
        step.say(0.1, "compiling the backtester, once on this machine (some twenty seconds)")
    ledger = ledger_of(settings)
    try:
        accounts = _accounts(asked, loaded.frames)
        runs: list[Ran] = []
        swept: Sweep | None = None
        for number, account in enumerate(accounts):
            part = step.part(0.1, 0.97).part(number / len(accounts), (number + 1) / len(accounts))
            found, swept = _of_account(asked, loaded, account, ledger, part)
            runs += found
    finally:
        ledger.close()
    return Answered(asked, loaded, source, tuple(runs), swept, _notes(asked, loaded, swept))


def ledger_of(settings: Settings) -> TrialLedger:
    """The trial ledger of a data folder."""
    return TrialLedger(f"sqlite:///{Path(settings.data_dir) / 'research.db'}")


def data_of(result: Result, loaded: Loaded) -> DataSet:
    """What a result ran on, as the ledger knows it; made-up prices are never the real symbol's."""
    return DataSet.of(result, "simulated" if loaded.simulated else "")


# Candles


def load(asked: Asked, settings: Settings, step: Step, files: Path | None, warm: int) -> tuple[Loaded, str]:
    """The candles, `warm` bars before the first day among them, and where they come from. DataError says what there
    is, and where it looked."""
    chosen = asked.source or ("files" if settings.data_source == "simulated" else settings.data_source)
    placed = settings.model_copy(update={"data_source": chosen})
    here: Any = loading.Elsewhere(placed, files) if files else placed
    market, tf = open_market(here, SystemClock()), timeframe(asked.interval)
    of = [instrument(symbol) for symbol in dict.fromkeys((*asked.symbols, *asked.universe))]
    span = loading.span_of(asked.start, asked.end, of[0], tf, warm, market.clock.now())
    looked = f"{here.files_dir}, {here.store_dir} and the source {market.label!r} (another source may have it)"
    names = [one.symbol for one in of]

    def heard(symbol: str) -> None:
        step.say(names.index(symbol) / len(names), f"loading candles of {symbol}")

    loaded = asyncio.run(loading.load(market, of, tf, span, looked, heard))
    return loaded, ", ".join(loaded.sources) or str(market.label)


def warmup(asked: Asked) -> int:
    """Bars before the first day that all of it needs; of a sweep as many as its largest numbers ask for."""
    made = [one.made() for one in asked.strategies]
    if asked.sweep:
        cls = find(asked.strategies[0].name)
        kinds = declared_by(cls)
        highest = {name: kinds[name].kind(high) for name, (_, high, _) in asked.sweep.items()}
        for some in (highest, *({name: value} for name, value in highest.items())):
            with contextlib.suppress(ValueError):  # some exclude each other
                made.append(cls(**{**asked.strategies[0].params, **some}))
    needed = [int(one.warmup) for one in (*made, *asked.setup.filters)]
    return max([*needed, *(period + 1 for period in asked.setup.periods)])


def _accounts(asked: Asked, frames: Mapping[str, pd.DataFrame]) -> list[_Account]:
    own = {symbol: frames[symbol] for symbol in asked.symbols}
    if asked.share_cash or len(own) == 1:
        return [_Account(own, "")]
    return [_Account({symbol: frame}, symbol) for symbol, frame in own.items()]


# One account


def _of_account(
    asked: Asked, loaded: Loaded, account: _Account, ledger: TrialLedger, step: Step
) -> tuple[list[Ran], Sweep | None]:
    """Run, write down, judge: in this order."""
    swept = _swept(asked, loaded, account.frames, step.part(0.0, 0.4)) if asked.sweep else None
    candidates, notes = _candidates(asked, swept)
    part = step.part(0.4, 0.5) if swept is not None else step.part(0.0, 0.1)
    results = []
    for number, chosen in enumerate(candidates):
        part.say(0.9 * number / len(candidates), f"running {chosen.label}")
        results.append(_run(asked, loaded, account.frames, chosen))
    trials = _noted(ledger, data_of(results[0], loaded), candidates, results, swept, part.part(0.9, 1.0))
    verdicts = _verdicts(asked, loaded, account, candidates, results, trials, swept, step.part(0.5, 1.0))
    labels = [f"{account.name} {_label(chosen, candidates)}".strip() for chosen in candidates]
    told = zip(labels, candidates, results, trials, verdicts, strict=True)
    return [Ran(*each, (*notes.get(each[1].label, ()), *_silence(each[1], each[2]))) for each in told], swept


def _silence(chosen: Chosen, result: Result) -> tuple[str, ...]:
    """Why a strategy never wanted anything, in its own words: no flat line without a reason."""
    ones = result.inputs.ones
    if any(one.want.any() for one in ones):
        return ()
    why = asked_of(chosen.made(), ones[0].candles).why(-1)
    return (f"It wanted nothing in any bar{f': {why}' if why else ''}.",)


def _candidates(asked: Asked, swept: Sweep | None) -> tuple[list[Chosen], dict[str, tuple[str, ...]]]:
    """What to run: what was asked for, and what the sweep found. And what to say of some of them, by label."""
    found, notes = list(asked.strategies), dict[str, tuple[str, ...]]()
    for chosen, note in _found_by(asked, swept) if swept is not None else ():
        if chosen.label not in {one.label for one in found}:
            found.append(chosen)
        notes[chosen.label] = (*notes.get(chosen.label, ()), note)
    return found, notes


def _noted(
    ledger: TrialLedger,
    data: DataSet,
    candidates: list[Chosen],
    results: list[Result],
    swept: Sweep | None,
    step: Step,
) -> list[Tried]:
    own = [Variant.of(result, chosen.made()) for chosen, result in zip(candidates, results, strict=True)]
    note(ledger, data, [*(variants_of(swept) if swept is not None else ()), *own], step)
    return [ledger.tried(data, variant) for variant in own]


def note(ledger: TrialLedger, data: DataSet, variants: list[Variant], step: Step) -> Tried:
    """Write down what was tried, some thousands at a time: others wait for the same file."""
    tried = Tried(0)
    for at in range(0, len(variants), AT_ONCE):
        step.say(at / len(variants), f"writing down what was tried: {at:,} of {len(variants):,}")
        tried = ledger.note(data, variants[at : at + AT_ONCE])
    return tried


def _verdicts(
    asked: Asked,
    loaded: Loaded,
    account: _Account,
    candidates: list[Chosen],
    results: list[Result],
    trials: list[Tried],
    swept: Sweep | None,
    step: Step,
) -> list[Verdict | None]:
    if not asked.judged:
        return [None] * len(results)
    searched = _family(results, swept, step.part(0.0, 0.2))
    family = overfitting(searched) if searched is not None else None  # the same for all, and it takes a while
    universe = {symbol: loaded.frames[symbol] for symbol in asked.universe} or None
    given: Any = account.frames
    found: list[Verdict | None] = []
    for number, (chosen, result, tried) in enumerate(zip(candidates, results, trials, strict=True)):
        part = step.part(0.2, 1.0).part(number / len(results), (number + 1) / len(results))
        common: dict[str, Any] = {"family": family, "universe": universe, "progress": part.judging(chosen.label)}
        found.append(verdict(given, chosen.made(), asked.setup, result, tried, **common))
    return found


def _run(asked: Asked, loaded: Loaded, frames: dict[str, pd.DataFrame], chosen: Chosen) -> Result:
    span, tf = loaded.span, timeframe(asked.interval)
    return Backtest(frames, chosen.made(), asked.setup, timeframe=tf, start=span.start, end=span.end).run()


def _label(chosen: Chosen, candidates: list[Chosen]) -> str:
    """Its label, numbered where others have the same."""
    alike = [one for one in candidates if one.label == chosen.label]
    if len(alike) == 1:
        return chosen.label
    at = next(number for number, one in enumerate(alike, 1) if one is chosen)
    return f"{chosen.label} ({at})" if at > 1 else chosen.label


# The sweep


def _swept(asked: Asked, loaded: Loaded, frames: dict[str, pd.DataFrame], step: Step) -> Sweep:
    first = asked.strategies[0]
    assert asked.sweep is not None
    ranges = {name: [value] for name, value in first.params.items()} | dict(asked.sweep)

    def heard(done: int, of: int) -> None:
        step.progress(step.low + (step.high - step.low) * done / of, f"sweep: {done:,} of {of:,} combinations")

    step.say(0.0, "sweep: preparing")
    given: Any = frames
    span = loaded.span
    found = sweep(
        given,
        find(first.name),
        ranges,
        asked.setup,
        progress=heard,
        cancel=step.cancel,
        start=span.start,
        end=span.end,
    )
    if found.best is None:
        raise DataError(f"{first.name}: the Sharpe ratio is n/a for every combination of the sweep; take a longer span")
    return found


def _found_by(asked: Asked, swept: Sweep) -> list[tuple[Chosen, str]]:
    """The best combination and the robust centre."""
    plateau, base = swept.plateau, asked.strategies[0]
    assert plateau is not None
    many = f"{len(swept.table):,} combinations"
    best = Chosen(base.name, dict(base.params) | plateau.best)
    centre = Chosen(base.name, dict(base.params) | plateau.centre)
    return [(best, f"the best of {many} by {swept.objective}"), (centre, f"the robust centre of {many}")]


def variants_of(swept: Sweep) -> list[Variant]:
    """Every combination of a sweep, with its Sharpe ratio of a day, as the trial ledger notes it."""
    task, table = swept.task, swept.table
    names = [axis.name for axis in swept.grid.axes]
    rows = each({name: table[name].to_numpy() for name in names})
    root = math.sqrt(_periods(task.candles))
    first = Variant.by(task.strategy_class(**rows[0]), task.setup, math.nan)
    found = []
    for params, yearly in zip(rows, table["sharpe"].to_numpy(np.float64), strict=True):
        sharpe = float(yearly) / root if math.isfinite(yearly) else None
        found.append(replace(first, params={**first.params, **params}, sharpe=sharpe))
    return found


def _periods(candles: Any) -> int:
    """Days in a year of an account in these symbols, as `Result.periods` counts them."""
    of = [instrument(symbol) for symbol in candles] if isinstance(candles, Mapping) else []
    return 365 if of and all(one.is_crypto and one.venue != "US" for one in of) else 252


def _family(results: list[Result], swept: Sweep | None, step: Step) -> Floats | None:
    """The days' returns of the variants that were searched, a column each: of a large sweep the best and others evenly
    from all ranks. None where nothing was searched, or too little of it lived to be compared."""
    columns = [found for result in results if (found := _days(result)) is not None]
    if swept is not None:
        names = [axis.name for axis in swept.grid.axes]
        order = np.argsort(-np.nan_to_num(swept.values, nan=0.0), kind="stable")
        ranks = np.unique(np.linspace(0, len(order) - 1, min(MOST_VARIANTS, len(order))).astype(np.int64))
        rows = each({name: swept.table[name].to_numpy()[order[ranks]] for name in names})
        columns = []
        for number, params in enumerate(rows):
            step.say(number / len(rows), f"overfitting: {number:,} of {len(rows):,} variants")
            if (found := _days(swept.task.run(params))) is not None:
                columns.append(found)
    return np.stack(columns, axis=1) if len(columns) > 1 else None


def _days(result: Result) -> Floats | None:
    days = daily(result.equity, result.zone)
    return days.returns if days.n and days.equity.min() > 0 else None


def _notes(asked: Asked, loaded: Loaded, swept: Sweep | None) -> tuple[str, ...]:
    said = list(loaded.notes)
    if swept is not None:
        said.append(f"The sweep tried {len(swept.table):,} combinations; the trial ledger counts each of them.")
        if swept.refused:
            said.append(f"{swept.refused:,} combinations were refused by the strategy and left out.")
        if asked.judged and len(swept.table) > MOST_VARIANTS:
            said.append(f"Overfitting was asked of {MOST_VARIANTS} of them, evenly from all ranks, the best included.")
    if len(asked.symbols) > 1 and not asked.share_cash:
        said.append("Each symbol has an account of its own; to choose among them now is to choose by their fate.")
    return tuple(said)
