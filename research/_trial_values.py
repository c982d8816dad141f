"""What the trial ledger speaks of: a data set, a variant, how much was tried, a lockbox."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from backtest.inputs import UNNAMED
from backtest.result import Result, params_of
from backtest.setup import Setup
from domain.candles import nanos
from domain.daily import daily
from domain.luck import best_of
from domain.ratios import sharpe as sharpe_of

DAY_NS = 86_400_000_000_000
Frames = Mapping[str, pd.DataFrame]


@dataclass(frozen=True, slots=True)
class DataSet:
    """Candles as the ledger knows them: by content. `marks` are hashes of its months (of its days where bars are
    shorter than a day), `symbols` its names with their source; `first` and `last` are opens in UTC nanoseconds."""

    key: str
    marks: frozenset[str]
    symbols: frozenset[str]
    first: int
    last: int
    words: str

    @classmethod
    def of(cls, candles: pd.DataFrame | Frames | Result, source: str = "") -> DataSet:
        """`source` keeps the symbols of, say, the simulated market apart from the real ones."""
        frames = _frames(candles)
        times = {symbol: nanos(frame) for symbol, frame in frames.items()}
        if not any(len(own) for own in times.values()):
            raise ValueError("there are no candles to know a data set by")
        told, marks = hashlib.sha256(), set()
        for symbol in sorted(frames):
            told.update(times[symbol].tobytes() + frames[symbol].to_numpy().tobytes())
            marks |= _marks(times[symbol], frames[symbol]["close"].to_numpy(np.float64))
        first, last = min(t[0] for t in times.values() if len(t)), max(t[-1] for t in times.values() if len(t))
        named = frozenset(f"{source}:{symbol}" for symbol in frames if symbol != UNNAMED.symbol)
        begin, end = (str(np.datetime64(int(at), "ns"))[:10] for at in (first, last))
        words = f"{', '.join(sorted(frames))} {begin} to {end}"
        return cls(told.hexdigest()[:32], frozenset(marks), named, int(first), int(last), words)

    def moment(self, since: str) -> int:
        """A date as nanoseconds; ValueError outside the data."""
        at = pd.Timestamp(since)
        found = (at if at.tzinfo else at.tz_localize("UTC")).value
        if not self.first < found <= self.last:
            raise ValueError(f"a lockbox begins within the data, {self.words}: got {since}")
        return int(found)


def _frames(candles: pd.DataFrame | Frames | Result) -> Frames:
    if isinstance(candles, Result):
        return {one.instrument.symbol: one.candles for one in candles.inputs.ones}
    return {UNNAMED.symbol: candles} if isinstance(candles, pd.DataFrame) else candles


def _marks(times: npt.NDArray[np.int64], closes: npt.NDArray[np.float64]) -> set[str]:
    if len(times) < 2:
        return set()
    short = int(np.median(np.diff(times))) < DAY_NS // 2
    piece = times.view("datetime64[ns]").astype("datetime64[D]" if short else "datetime64[M]").astype(np.int64)
    starts = np.flatnonzero(np.diff(piece, prepend=piece[0] - 1))
    ends = np.r_[starts[1:], len(times)]
    return {
        hashlib.sha256(closes[lo:hi].tobytes()).hexdigest()[:20]
        for lo, hi in zip(starts, ends, strict=True)
        if hi - lo > 1
    }


@dataclass(frozen=True, slots=True)
class Variant:
    """One way of trading that was tried: what decided, under which rules, and the Sharpe ratio of a day it came to."""

    strategy: str
    params: Mapping[str, Any]
    setup: Mapping[str, Any]
    sharpe: float | None
    code: str = ""

    @classmethod
    def of(cls, result: Result, strategy: object = None) -> Variant:
        """`strategy` is what decided; without it, other code under the same name is told by its result alone."""
        found = float(sharpe_of(daily(result.equity, result.zone).returns, periods=1))
        code = "" if strategy is None else _source(cast(Any, type(strategy)))
        return cls(result.strategy, result.params, result.inputs.setup.to_dict(), _finite(found), code)

    @classmethod
    def by(cls, strategy: object, setup: Setup, sharpe: float) -> Variant:
        """The same without a result, for sweeps: `sharpe` is of a day."""
        kind: Any = type(strategy)
        return cls(kind.__name__, params_of(strategy), setup.to_dict(), _finite(sharpe), _source(kind))

    @property
    def key(self) -> str:
        """The same for the same strategy, code, parameters and setup, whatever the data."""
        what = [self.strategy, self.code, dict(self.params), dict(self.setup)]
        return hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:32]

    @property
    def outcome(self) -> str:
        """What it came to, as text: other code under an old name comes to something else, and counts."""
        return "none" if self.sharpe is None else f"{self.sharpe:.6g}"


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


@functools.cache
def _source(kind: Any) -> str:
    """A number for the code of a class; empty where there is no file to read it from."""
    try:
        return hashlib.sha256(inspect.getsource(kind).encode()).hexdigest()[:16]
    except (OSError, TypeError):
        return ""


@dataclass(frozen=True, slots=True)
class Lockbox:
    """A span nobody may look at before the search is over. Times are opens in UTC nanoseconds; `opened_by` is the key
    of the variant that saw it first ("" where several did at once), None while it is closed."""

    number: int
    first: int
    last: int
    opened_by: str | None = None
    opened_at: str | None = None

    @property
    def words(self) -> str:
        begin, end = (str(np.datetime64(at, "ns"))[:10] for at in (self.first, self.last))
        return f"{begin} to {end}"

    def within(self, data: DataSet) -> bool:
        return data.first <= self.last and data.last >= self.first

    def before(self, candles: pd.DataFrame) -> pd.DataFrame:
        """The candles that may be searched."""
        return candles.iloc[: int(np.searchsorted(nanos(candles), self.first))]


@dataclass(frozen=True, slots=True)
class Tried:
    """How much was tried on a data set. `sharpes` are of a day, oldest trial first; `elsewhere` counts the other data
    sets on which the same variant was tried; `variant` is the key of the one in question."""

    count: int
    sharpes: tuple[float, ...] = field(default=(), repr=False)
    elsewhere: int = 0
    variant: str = ""
    lockbox: Lockbox | None = None

    def __post_init__(self) -> None:
        if self.count < len(self.sharpes):
            raise ValueError(f"no fewer trials than Sharpe ratios: got {self.count} and {len(self.sharpes)}")

    def hurdle(self, days: int) -> float:
        """The Sharpe ratio of a day that the best of these trials would have by luck alone over so many days.

        Their spread counts up to what luck can spread (1 / sqrt(days - 1)): what goes beyond are real differences, of
        costs mostly. It is the highest that any beginning of the list gives, so that trials added later (a thousand
        that are all alike, for instance) never lower it.
        """
        if self.count < 2 or days < 3:
            return 0.0
        most = 1.0 / math.sqrt(days - 1)
        if len(self.sharpes) < 2:
            return best_of(self.count, most)
        spreads = np.minimum(_spreads(np.asarray(self.sharpes)), most)
        unknown = self.count - len(self.sharpes)
        # A shorter beginning can only win with a wider spread than every longer one.
        wider = np.r_[np.maximum.accumulate(spreads[::-1])[::-1][1:], -1.0]
        rows = np.flatnonzero(spreads > wider)
        return max(best_of(int(row) + 1 + unknown, float(spreads[row])) for row in rows if row > 0)


def _spreads(sharpes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The sample deviation of the first k, for every k; 0 for the first."""
    count = np.arange(1, len(sharpes) + 1)
    centred = sharpes - sharpes.mean()
    squares = np.cumsum(centred**2) - np.cumsum(centred) ** 2 / count
    spreads: npt.NDArray[np.float64] = np.sqrt(np.maximum(squares, 0.0) / np.maximum(count - 1, 1))
    return spreads
