"""Does the strategy know the future, does it depend on where its history begins, and is the result its own?

Each probe asks again and compares: on candles cut at a row, on a window, over the whole run. What it answers is the
first difference it met, or None.
"""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from backtest.result import Result
from backtest.setup import Setup
from backtester import Backtest, Desk, Seen
from domain.candles import nanos
from strategies.base import Strategy, asked, checked

Floats = npt.NDArray[np.float64]
Frames = Mapping[str, pd.DataFrame]
Ask = Callable[[str, pd.DataFrame], Floats]
SAME = 1e-6  # exposures closer than this are one
WINDOW = 4  # warm-ups that a window is long, as the desk's engine asks


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two answers part: in which bar, what was said with all candles, and what with fewer."""

    symbol: str
    row: int
    time: pd.Timestamp
    whole: float
    part: float
    error: str = ""

    @property
    def words(self) -> str:
        where = f"{self.symbol} row {self.row} ({self.time:%Y-%m-%d %H:%M})"
        if self.error:
            return f"{where}: {self.whole:+.3g} with all candles, and no answer without the later ones ({self.error})"
        return f"{where}: {self.whole:+.3g} with all candles, {self.part:+.3g} without"


@dataclass(frozen=True, slots=True)
class Probe:
    """`asked` places were looked at, `differing` of them differ, `first` is the first."""

    asked: int
    differing: int
    first: Difference | None


def asker(strategy: Strategy | Backtest) -> Ask:
    """Exposure from candles, the way a backtest asks; no other candles are within its reach."""

    def ask(symbol: str, candles: pd.DataFrame) -> Floats:
        if not isinstance(strategy, Backtest):
            return asked(strategy, candles).exposure
        if decides_bar_by_bar(strategy):
            return _wishes(strategy, candles)
        own = copy.copy(strategy)
        own.symbol, own.candles = symbol, _known_with(strategy.candles, symbol, candles)
        warm = strategy.strategy.warmup if strategy.strategy is not None else 0
        return checked(own.target(candles), candles, type(strategy).__name__, warm).exposure

    return ask


def _known_with(all_of_them: Any, symbol: str, candles: pd.DataFrame) -> Any:
    """What a test may see in `self.candles` beside these: of the other symbols, the same span."""
    if isinstance(all_of_them, pd.DataFrame):
        return candles
    first, last = candles.index[0], candles.index[-1]
    return {name: candles if name == symbol else frame.loc[first:last] for name, frame in all_of_them.items()}


def unremembering(strategy: Strategy | Backtest, frames: Frames, whole: Mapping[str, Floats]) -> Callable[[], Ask]:
    """Makes an `Ask` that has seen nothing yet: a strategy's file is executed anew, so that what it keeps between calls
    in its module, its class or itself tells it of no later bar. The strategy as it is where it is in no file of the
    drawer, or where that file no longer says what was run."""
    module = sys.modules.get(type(strategy).__module__)
    file = getattr(module, "__file__", None)
    if not (file and dataclasses.is_dataclass(strategy) and getattr(module, "PART", None) is type(strategy)):
        return lambda: asker(strategy)
    first = asker(_anew(strategy, file))
    if not all(np.array_equal(first(symbol, candles), whole[symbol]) for symbol, candles in frames.items()):
        return lambda: asker(strategy)
    return lambda: asker(_anew(strategy, file))


def _anew(strategy: Any, file: str) -> Strategy:
    name = f"{type(strategy).__module__}_anew"  # in the same package; its dataclasses look it up there
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[name]
    declared = {f.name: getattr(strategy, f.name) for f in dataclasses.fields(strategy) if f.init}
    found: Strategy = module.PART(**declared)
    return found


class _Listener:
    """A desk that writes down what it is asked for; row by row, a wish holds until another one."""

    def __init__(self, rows: int) -> None:
        self.wanted, self.desk, self.row = np.full(rows, np.nan), cast(Desk, None), 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.desk, name)

    def want(self, exposure: float) -> None:
        self.desk.want(exposure)
        self.wanted[self.row] = exposure


def _wishes(test: Backtest, candles: pd.DataFrame) -> Floats:
    """What a test that decides bar by bar wanted after each bar of one symbol."""
    own, heard = twin(test, candles, test.setup), _Listener(len(candles))

    def on_bar(bar: Seen, desk: Desk) -> None:
        heard.desk, heard.row = desk, bar.row
        test_on_bar(own, bar, cast(Desk, heard))

    test_on_bar = type(test).on_bar
    own.__dict__["on_bar"] = on_bar
    own.run()
    return pd.Series(heard.wanted).ffill().fillna(0.0).to_numpy(np.float64)


def decides_bar_by_bar(strategy: Strategy | Backtest) -> bool:
    return isinstance(strategy, Backtest) and type(strategy).on_bar is not Backtest.on_bar


def warmup_of(strategy: Strategy | Backtest) -> int | None:
    """The warm-up it declares; None where it declares none."""
    declared = strategy.strategy if isinstance(strategy, Backtest) and strategy.strategy is not None else strategy
    found = getattr(declared, "warmup", None)
    return int(found) if found is not None else None


def rows_to_ask(want: Floats, first: int, count: int) -> list[int]:
    """Up to `count` rows from `first` on: half of them around changes of the wish, the others evenly over the span."""
    if first >= len(want):
        return []
    changes = np.flatnonzero(np.abs(np.diff(want)) > SAME) + 1
    near = np.unique(np.r_[changes - 1, changes])
    near = near[(near >= first) & (near < len(want))]
    even = np.linspace(first, len(want) - 1, count - min(count // 2, len(near))).astype(np.int64)
    some = near[np.linspace(0, len(near) - 1, min(count // 2, len(near))).astype(np.int64)] if len(near) else near
    return sorted({int(row) for row in (*even, *some)})


def look_ahead(fresh: Callable[[], Ask], frames: Frames, whole: Mapping[str, Floats], warm: int, count: int) -> Probe:
    """Ask again on candles that end at a row, the earlier rows first: what was said of it, and of any row before, must
    stand."""
    places, each = 0, max(2, count // len(frames))
    for symbol, candles in frames.items():
        ask = fresh()
        for row in rows_to_ask(whole[symbol], min(warm, max(len(candles) - 2, 0)), each):
            places += 1
            found, error = _answer(ask, symbol, candles.iloc[: row + 1])
            apart = np.flatnonzero(~(np.abs(found - whole[symbol][: row + 1]) <= SAME)) if not error else [row]
            if len(apart):
                at = int(apart[0])
                told = Difference(symbol, at, candles.index[at], float(whole[symbol][at]), float(found[at]), error)
                return Probe(places, 1, told)
    return Probe(places, 0, None)


def warm_up(ask: Ask, frames: Frames, whole: Mapping[str, Floats], warm: int, count: int) -> Probe:
    """Ask again on windows as a live engine does: the last row must say what it says with all of history."""
    places, differing, first, length = 0, 0, None, WINDOW * warm + 1
    for symbol, candles in frames.items():
        for row in rows_to_ask(whole[symbol], length, max(2, count // len(frames))):
            places += 1
            found, error = _answer(ask, symbol, candles.iloc[row + 1 - length : row + 1])
            if not abs(found[-1] - whole[symbol][row]) <= SAME:
                differing += 1
                told = Difference(symbol, row, candles.index[row], float(whole[symbol][row]), float(found[-1]), error)
                first = first or told
    return Probe(places, differing, first)


def _answer(ask: Ask, symbol: str, candles: pd.DataFrame) -> tuple[Floats, str]:
    try:
        return ask(symbol, candles), ""
    except ValueError as error:
        return np.full(len(candles), np.nan), str(error)


# The result itself


def again(candles: pd.DataFrame | Frames, strategy: Strategy | Backtest, setup: Setup, result: Result) -> Result:
    """The run that `result` says it is, from the candles themselves."""
    own = {one.instrument.symbol: one.instrument for one in result.inputs.ones}
    given: Any = candles
    of: Any = own
    if isinstance(candles, pd.DataFrame):
        [of] = own.values()
    start = result.times[1].to_pydatetime()
    end = (result.times[-1] + pd.Timedelta(1, "us")).to_pydatetime()
    if isinstance(strategy, Backtest):
        test = twin(strategy, given, setup)
        test.instrument, test.start, test.end = of, start, end
        return test.run()
    return Backtest(given, strategy, setup, instrument=of, start=start, end=end).run()


def twin(test: Backtest, candles: Any, setup: Setup) -> Backtest:
    """The same test on other candles, all of them."""
    other = copy.copy(test)
    other.candles, other.setup, other.start, other.end = candles, setup, None, None
    return other


def first_apart(result: Result, real: Result) -> str:
    """Where a result leaves the run it claims to be, in words; empty where it never does."""
    for fill, time in zip(result.walked.fills, result.fills["time"], strict=True):
        if fill[8] >= fill[1] and fill[7] == 0:
            return f"the order decided at the close of {time:%Y-%m-%d %H:%M} fills in that very bar"
    for mine, other in zip(result.inputs.ones, real.inputs.ones, strict=False):
        if len(mine.candles) != len(other.candles) or not np.array_equal(nanos(mine.candles), nanos(other.candles)):
            return f"{mine.instrument.symbol}: it was run on other bars than the candles have"
        for name in ("open", "high", "low", "close"):
            apart = np.flatnonzero(mine.candles[name].to_numpy() != other.candles[name].to_numpy())
            if len(apart):
                when = mine.candles.index[int(apart[0])]
                return f"{mine.instrument.symbol}: its {name} of {when:%Y-%m-%d %H:%M} is not the candles'"
    said, found = result.equity.to_numpy(), real.equity.to_numpy()
    apart = np.flatnonzero(~(np.abs(said - found) <= 1e-9 * np.abs(found)))
    if len(apart):
        return f"equity parts from a new run at {result.times[int(apart[0])]:%Y-%m-%d %H:%M}"
    return ""
