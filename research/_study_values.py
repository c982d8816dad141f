"""What a study is made of: the question, a run of each strategy, the surface of a sweep, and the whole answer.

The rule: a study holds arrays and JSON values only, so that it can be written down and read back the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from typing import Any

import pandas as pd

from backtest.setup import Setup
from domain import params, registry
from domain.candles import timeframe
from domain.errors import UnknownName
from domain.instruments import instrument
from domain.metrics import Metric
from research._grid import axes_of
from strategies.base import ALSO_CALLED, find

Range = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Chosen:
    """A strategy by its name, and those of its parameters that differ from the declared ones."""

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", ALSO_CALLED.get(self.name, self.name))
        object.__setattr__(self, "params", dict(self.params))

    def made(self) -> Any:
        """The strategy itself. UnknownName or ValueError where there is none such."""
        return params.build(find(self.name), dict(self.params))

    @property
    def label(self) -> str:
        """Short: `sma_crossover 5/15`, `mean_reversion length=10`."""
        made = self.made()
        given = {n: getattr(made, n) for n, p in params.params_of(type(made)).items() if getattr(made, n) != p.default}
        if hasattr(made, "fast") and hasattr(made, "slow"):
            given.pop("fast", None), given.pop("slow", None)
            whole = given.pop("combined", False)
            first = [self.name, "combined" if whole else f"{made.fast}/{made.slow}"]
        else:
            first = [self.name]
        return " ".join([*first, *(f"{name}={_short(value)}" for name, value in given.items())])


@dataclass(frozen=True, slots=True)
class Asked:
    """One question to history. ValueError (or UnknownName) names what is wrong with it.

    start, end   YYYY-MM-DD, days of the exchange, both included; "" is five years back, and now
    source       "" is the desk's own data source, never the simulated one: that is named, "simulated"
    strategies   at least one
    sweep        by parameter of the first strategy (low, high, step): every combination is tried too
    share_cash   many symbols share one account; else each has its own, with all the cash
    judged       a verdict for each run, which takes a while; the trial ledger hears of every run in any case
    universe     the symbols one could have traded; only they can tell whether `symbols` were picked
    """

    symbols: tuple[str, ...]
    interval: str = "1d"
    start: str = ""
    end: str = ""
    source: str = ""
    strategies: tuple[Chosen, ...] = (Chosen("candle_patterns"),)
    setup: Setup = field(default_factory=Setup)
    sweep: Mapping[str, Range] | None = None
    share_cash: bool = True
    judged: bool = True
    universe: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.symbols, str) or not self.symbols:
            raise ValueError(f"symbols: name at least one, such as AAPL: got {self.symbols!r}")
        for name in ("symbols", "universe"):
            named = tuple(dict.fromkeys(instrument(one).symbol for one in getattr(self, name)))
            object.__setattr__(self, name, named)
        timeframe(self.interval)
        first, last = (_day(name, getattr(self, name)) for name in ("start", "end"))
        if first and last and first > last:
            raise ValueError(f"start must lie before end: got {self.start} and {self.end}")
        if self.source:
            registry.check_name("feeds", self.source)
        if not self.strategies:
            raise ValueError("strategies: name at least one")
        for one in self.strategies:
            one.made()
        if not isinstance(self.setup, Setup):
            raise ValueError(f"setup must be a Setup: got {self.setup!r}")
        if self.sweep is not None:
            self._check_sweep(self.sweep)

    def _check_sweep(self, given: Mapping[str, Range]) -> None:
        if not given:
            raise ValueError("sweep: name at least one parameter and its range, or None")
        if len(self.symbols) > 1 and not self.share_cash:
            raise ValueError("sweep: several symbols must share their cash, or be asked for one at a time")
        for name, spec in given.items():
            if not isinstance(spec, list | tuple) or len(spec) != 3:
                raise ValueError(f"sweep: {name} is written (low, high, step): got {spec!r}")
        object.__setattr__(self, "sweep", {name: tuple(spec) for name, spec in given.items()})
        axes_of(find(self.strategies[0].name), self.sweep)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return plain | {
            "symbols": list(self.symbols),
            "universe": list(self.universe),
            "strategies": [{"name": one.name, "params": dict(one.params)} for one in self.strategies],
            "setup": self.setup.to_dict(),
            "sweep": {name: list(spec) for name, spec in self.sweep.items()} if self.sweep is not None else None,
        }

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Asked:
        """The question that `to_dict` wrote; what is left out keeps its default."""
        values, names = dict(given), [f.name for f in fields(cls)]
        for name in values:
            if name not in names:
                raise UnknownName.of("field of a question", str(name), names)
        if "symbols" not in values:
            raise ValueError("symbols: name at least one, such as AAPL: got none")
        for name in ("symbols", "universe"):
            if name in values:
                values[name] = tuple(values[name]) if not isinstance(values[name], str) else (values[name],)
        if "strategies" in values:
            values["strategies"] = tuple(_chosen(one) for one in values["strategies"])
        if "setup" in values:
            values["setup"] = Setup.of(values["setup"])
        return cls(**values)


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What one strategy came to.

    label      short and distinct within the study
    metrics    those of `domain.metrics`, by key, with intervals
    verdict    `research.honesty.Verdict.to_dict()`; None where it was not judged
    curve      a row a bar's close (the first one is the start): equity, drawdown (0 or less, a share), exposure
    trades     as `Result.trades`
    monthly    a row a year, columns 1 to 12 and "year": returns as shares, NaN outside the span
    returns    of each day
    fan        equity in resampled histories, a row a day from 0 on: p5, p25, p50, p75, p95; empty below ten days
    """

    label: str
    strategy: str
    params: dict[str, Any]
    metrics: dict[str, Metric]
    verdict: dict[str, Any] | None
    curve: pd.DataFrame
    trades: pd.DataFrame
    monthly: pd.DataFrame
    returns: pd.Series
    fan: pd.DataFrame
    fan_said: str
    notes: tuple[str, ...]
    stamp: dict[str, Any]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and same(self, other)

    @property
    def word(self) -> str:
        """The verdict in a word: fail, weak, worth paper trading, or not judged."""
        return str(self.verdict["verdict"]) if self.verdict else NOT_JUDGED


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """A sweep, to be looked at. `heat` is the objective, `y` down and `x` across ("" where one parameter was swept);
    `plateau` says what stands around the best point; `top` are the best combinations; `tried` counts all of them."""

    heat: pd.DataFrame
    x: str
    y: str
    objective: str
    plateau: str
    top: pd.DataFrame
    best: dict[str, Any]
    centre: dict[str, Any]
    tried: int
    refused: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Surface) and same(self, other)


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """A question and its whole answer.

    made         when, UTC, as ISO text
    simulated    the prices are made up
    source       where the candles come from, in words
    candles      by symbol, those of the span
    benchmark    equity of buying and holding all symbols in equal parts
    runs         one a strategy asked for (and a symbol, where they do not share their cash), in that order; after a
                 sweep its best point and its robust centre
    answer       which did best and whether that means anything; "" for one run
    comparison   a row a run, the best first: label, total_return, sharpe, low, high (its interval), next (the label it
                 is held against), better (probability that it is better than the next), chance (of a lead this large
                 by luck alone, every trial counted), deflated (probability that its Sharpe ratio is no luck), verdict
    """

    asked: Asked
    made: str
    simulated: bool
    source: str
    notes: tuple[str, ...]
    candles: dict[str, pd.DataFrame]
    benchmark: pd.Series
    runs: tuple[Run, ...]
    answer: str
    comparison: pd.DataFrame | None
    surface: Surface | None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Study) and same(self, other)

    def __getitem__(self, label: str) -> Run:
        """A run by its label; UnknownName for one that is not there."""
        for run in self.runs:
            if run.label == label:
                return run
        raise UnknownName.of("run of this study", label, [run.label for run in self.runs])

    def save(self, folder: Any) -> None:
        """Write it into a folder, as Parquet and JSON."""
        from research import _study_files

        _study_files.save(self, folder)

    @classmethod
    def load(cls, folder: Any) -> Study:
        """The study that was saved there. DataError where there is none, or it cannot be read."""
        from research import _study_files

        return _study_files.load(folder)


NOT_JUDGED = "not judged"


def same(one: Any, other: Any) -> bool:
    """Field by field, frames by content; NaN is NaN."""
    if isinstance(one, pd.DataFrame | pd.Series):
        alike = type(one) is type(other) and one.index.equals(other.index) and one.index.dtype == other.index.dtype
        return bool(alike and one.equals(other))
    if isinstance(one, Run | Surface | Study):
        return all(same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    if isinstance(one, dict):
        return isinstance(other, dict) and list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    if isinstance(one, tuple):
        return isinstance(other, tuple) and len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def _day(name: str, text: str) -> date | None:
    if not text:
        return None
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise ValueError(f"{name}: a date is written 2024-03-28: got {text!r}")


def _chosen(given: Any) -> Chosen:
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str) or set(given) - {"name", "params"}:
        raise ValueError(f'strategies: each is {{"name": ..., "params": {{...}}}}: got {given!r}')
    return Chosen(given["name"], given.get("params") or {})


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
