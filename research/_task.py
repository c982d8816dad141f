"""What a sweep asks of each combination, and the answer of one run: a row of numbers."""

from __future__ import annotations

import functools
import hashlib
import platform
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from backtest import book as b
from backtest.inputs import Inputs
from backtester import Backtest, Result, Setup
from domain import ratios
from domain.daily import last_rows
from domain.instruments import Instrument

Floats = npt.NDArray[np.float64]
COLUMNS = ("trades", "profit", "sharpe", "max_drawdown", "exposure")
MORE = (
    "total_return",
    "cagr",
    "sortino",
    "calmar",
    "omega",
    "psr",
    "recovery_factor",
    "win_rate",
    "profit_factor",
    "payoff",
    "expectancy",
    "sqn",
)
OBJECTIVES = (*COLUMNS[1:4], *MORE)  # each the higher the better
LIBRARIES = ("numpy", "numba", "pandas")


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """Everything a run needs but the parameters. It travels to other processes and machines."""

    candles: pd.DataFrame | dict[str, pd.DataFrame]
    strategy_class: type[Any]
    setup: Setup
    objective: str = "sharpe"
    instrument: Instrument | dict[str, Instrument] | None = None
    start: datetime | None = None
    end: datetime | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        return COLUMNS if self.objective in COLUMNS else (*COLUMNS, self.objective)

    def run(self, params: dict[str, Any]) -> Result:
        """The backtest of one combination."""
        strategy = self.strategy_class(**params)
        return Backtest(
            self.candles, strategy, self.setup, instrument=self.instrument, start=self.start, end=self.end
        ).run()

    def row(self, params: dict[str, Any]) -> Floats:
        """What one combination comes to, by `columns`; NaN is n/a."""
        result = self.run(params)
        found = _figures(result)
        if self.objective in COLUMNS:
            return found
        value = result.metrics[self.objective].value
        return np.append(found, np.nan if value is None else value)


def moment(given: datetime | str | None) -> datetime | None:
    """A moment; one without a zone is UTC."""
    if given is None:
        return None
    at = pd.Timestamp(given)
    if pd.isna(at):
        raise ValueError(f"a date is written 2024-03-28: got {given!r}")
    return (at if at.tzinfo else at.tz_localize("UTC")).to_pydatetime()


@dataclass(frozen=True, slots=True, eq=False)
class Marks:
    """The bars at whose closes the account is valued: the last of each day. `periods` of them make a year."""

    rows: npt.NDArray[np.int64]
    periods: int


def marks_of(inputs: Inputs) -> Marks:
    """As `Result.metrics` counts days: by the zone of the exchange, all days of the year for what trades on all."""
    always = all(one.instrument.is_crypto and one.instrument.venue != "US" for one in inputs.ones)
    index = pd.DatetimeIndex(inputs.times.view("datetime64[ns]")).tz_localize("UTC")
    rows, _ = last_rows(index, "UTC" if always else "America/New_York")
    return Marks(rows, 365 if always else 252)


def _figures(result: Result) -> Floats:
    """By `COLUMNS`, the same as in `Result.metrics` without the work of all the others."""
    every, gross, marks = result.equity.to_numpy(), result.gross.dropna().to_numpy(), marks_of(result.inputs)
    equity = np.r_[every[0], every[1:][marks.rows]]
    closed = np.count_nonzero(result.walked.trades[:, 10] != b.STILL_OPEN)
    exposure = np.count_nonzero(gross > 0.0) / max(len(gross), 1)
    sharpe = ratios.sharpe(equity[1:] / equity[:-1] - 1.0, marks.periods) if equity.min() > 0.0 else np.nan
    return np.array([closed, every[-1] - every[0], sharpe, ratios.drawdowns(equity).min(), exposure], dtype=np.float64)


@functools.cache
def stamp() -> str:
    """A number for the code and libraries that decide what a run comes to: two machines with the same one agree."""
    root = Path(__file__).parents[1]
    files = [root / "indicators.py", root / "patterns.py", root / "risk_manager.py", root / "backtester.py"]
    for room in ("backtest", "strategies", "domain", "research"):
        files += sorted((root / room).glob("*.py"))
    told = hashlib.sha256(b"".join(file.read_bytes() for file in files if file.is_file()))
    told.update(" ".join([platform.machine(), *(metadata.version(name) for name in LIBRARIES)]).encode())
    return told.hexdigest()[:16]
