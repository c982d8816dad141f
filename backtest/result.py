"""What a run came to: equity, trades, fills, figures and the stamp that says what exactly was run."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from backtest import book as b
from backtest.book import Floats
from backtest.inputs import Inputs
from backtest.run import Walked
from domain.candles import nanos
from domain.instruments import Instrument
from domain.metrics import Metric, measure

PURPOSES = ("entry", "signal", "stop", "target", "trailing stop", "time", "open")
SIDES = ("long", "short")
_OF_LIMITS = {
    "drop": "it pays less for what fills, and misses what runs away at once, which is often the best of it.",
    "chase": "it pays less for what fills, and more for what runs away at once.",
}
LIBRARIES = ("numpy", "pandas", "numba")


@dataclass(frozen=True, eq=False)
class Result:
    """One run. `strategy` is its name and parameters in words, `inputs` what it ran on. Frames are made on first use.

    Money is what is left after costs, times are UTC opens of bars. A trade is a position's life from flat to flat; one
    that is still on at the end has the reason `open` and is valued at the last close, not closed.
    """

    inputs: Inputs
    walked: Walked
    strategy: str
    params: Mapping[str, Any]
    span_ns: int

    # Series and tables

    @functools.cached_property
    def equity(self) -> pd.Series:
        """The account after each bar, at its close; the first row, one bar earlier, is the cash it began with."""
        return pd.Series(self.walked.equity, self.times, name="equity", copy=False)

    @functools.cached_property
    def exposure(self) -> pd.Series:
        """What is held after each bar as a share of the equity, minus for short."""
        return pd.Series(self.walked.net, self.times, name="exposure", copy=False)

    @functools.cached_property
    def gross(self) -> pd.Series:
        """What is held after each bar as a share of the equity, long and short alike."""
        return pd.Series(self.walked.gross[1:], self.times[1:], name="gross", copy=False)

    @functools.cached_property
    def times(self) -> pd.DatetimeIndex:
        """The rows of `equity`: a bar before the first, then every bar."""
        own = self.inputs.times
        return _index(np.concatenate([own[:1] - self.span_ns, own]))

    @functools.cached_property
    def trades(self) -> pd.DataFrame:
        """One row a trade: symbol, side, entry_time, entry, exit_time (NaT: still open), exit, quantity, profit (net),
        fees, slippage_cost, reason, stop_at_entry (NaN: none), mae, mfe (its worst and best open profit, in money),
        bars, signal_time, decision_price."""
        rows = np.ascontiguousarray(self.walked.trades.T)
        return pd.DataFrame(
            {
                "symbol": _labels(rows[0], tuple(self.inputs.symbols)),
                "side": _labels(rows[1] < 0, SIDES),
                "entry_time": self._times(rows[2]),
                "entry": rows[3],
                "exit_time": self._times(rows[4], missing=rows[10] == b.STILL_OPEN),
                "exit": rows[5],
                "quantity": rows[6],
                "profit": rows[7],
                "fees": rows[8],
                "slippage_cost": rows[9],
                "reason": _labels(rows[10], PURPOSES),
                "stop_at_entry": rows[11],
                "mae": rows[12],
                "mfe": rows[13],
                "bars": rows[14].astype(np.int64),
                "signal_time": self._times(rows[15]),
                "decision_price": rows[16],
            },
            copy=False,
        )

    @functools.cached_property
    def fills(self) -> pd.DataFrame:
        """One row a fill: time, symbol, side, quantity, price, fee, market (the price before costs), purpose."""
        rows = self.walked.fills
        return pd.DataFrame(
            {
                "time": self._times(rows[:, 1]),
                "symbol": _labels(rows[:, 0], tuple(self.inputs.symbols)),
                "side": _labels(rows[:, 2] < 0, ("buy", "sell")),
                "quantity": rows[:, 3],
                "price": rows[:, 4],
                "fee": rows[:, 5],
                "market": rows[:, 6],
                "purpose": _labels(rows[:, 7], PURPOSES),
            }
        )

    # Figures

    @property
    def instruments(self) -> list[Instrument]:
        return [one.instrument for one in self.inputs.ones]

    @property
    def periods(self) -> int:
        """Days in a year of this account: 365 where everything trades on all of them, else 252."""
        return 365 if all(of.is_crypto and of.venue != "US" for of in self.instruments) else 252

    @property
    def zone(self) -> str:
        """The zone its days are counted in."""
        return "UTC" if self.periods == 365 else "America/New_York"

    @functools.cached_property
    def benchmark(self) -> pd.Series:
        """The cash it began with, bought and held in equal parts from the first open of each symbol on."""
        cash, count = self.inputs.setup.cash, len(self.inputs.ones)
        total = np.zeros(len(self.times))
        total[0] = cash
        for one in self.inputs.ones:
            each, closes = cash / count / one.block[0, 0], one.block[3]
            if one.at is None:
                total[1:] += closes * each
                continue
            row = np.searchsorted(one.at, np.arange(len(total) - 1), side="right") - 1
            total[1:] += np.where(row < 0, cash / count, closes[np.maximum(row, 0)] * each)
        return pd.Series(total, self.times, name="buy and hold", copy=False)

    @functools.cached_property
    def metrics(self) -> dict[str, Metric]:
        """Every figure of `domain.metrics`, by name; those intervals that need no resampling."""
        return self.measured()

    def measured(self, draws: int = 0) -> dict[str, Metric]:
        """Every figure, with intervals from `draws` resamplings as well."""
        return measure(
            self.equity,
            self.trades,
            periods=self.periods,
            benchmark=self.benchmark,
            exposure=self.gross if np.isfinite(self.gross.to_numpy().sum()) else self.gross.dropna(),
            zone=self.zone,
            market=self._market_days(),
            draws=draws,
        )

    def _market_days(self) -> Any:
        """The stock market's dates for an account that holds coins beside stocks; else None."""
        kinds = {of.is_crypto for of in self.instruments}
        stocks = [of for of in self.instruments if not of.is_crypto]
        return stocks[0].calendar.sessions.days if len(kinds) == 2 else None

    @property
    def notes(self) -> list[str]:
        """What a reader should know of this run."""
        w = self.walked
        said = [
            (w.cut, "orders were cut to what the account could carry"),
            (w.refused, "wishes came to less than one lot and were let go"),
            (w.doubtful, "bars held both stop and target; the stop was taken"),
        ]
        found = [f"{count} {words}" for count, words in said if count]
        if (entry := self.inputs.setup.entry) is not None:
            found.append(f"Entered at the market here; the desk enters by {entry.words}: {_OF_LIMITS[entry.then]}")
        return found

    @functools.cached_property
    def stamp(self) -> dict[str, Any]:
        """What was run, on what, with what: enough to run it again and get the same."""
        return {
            "strategy": self.strategy,
            "params": dict(self.params),
            "setup": self.inputs.setup.to_dict(),
            "data": {one.instrument.symbol: _hash(one.candles) for one in self.inputs.ones},
            "bars": {one.instrument.symbol: len(one.candles) for one in self.inputs.ones},
            "from": self.times[1].isoformat(),
            "to": self.times[-1].isoformat(),
            "code": _code(),
            "libraries": {name: metadata.version(name) for name in LIBRARIES} | {"python": platform.python_version()},
        }

    # Out

    def to_csv(self, folder: Path | str) -> list[Path]:
        """Write `equity.csv`, `trades.csv` and `stamp.json` into the folder; the paths."""
        to = Path(folder)
        to.mkdir(parents=True, exist_ok=True)
        curve = pd.DataFrame({"equity": self.equity, "exposure": self.exposure})
        curve.to_csv(to / "equity.csv", index_label="time", date_format=TIME_FORMAT, float_format=DIGITS)
        self.trades.to_csv(to / "trades.csv", index=False, date_format=TIME_FORMAT, float_format=DIGITS)
        (to / "stamp.json").write_text(json.dumps(self.stamp, indent=1, default=str) + "\n", encoding="utf-8")
        return [to / "equity.csv", to / "trades.csv", to / "stamp.json"]

    def summary(self) -> str:
        """The run in a few lines and its figures as a table."""
        from backtest.report import summary

        return summary(self)

    def _times(self, rows: Floats, missing: Any = None) -> pd.DatetimeIndex:
        """The opens of these bars; NaT where `missing` says so."""
        found = self.inputs.times[rows.astype(np.int64)]
        if missing is not None:
            found[missing] = pd.NaT.value
        return _index(found)


TIME_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
DIGITS = "%.12g"  # what binary fractions add beyond is noise


def _index(times: Any) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(times.view("datetime64[ns]"), tz="UTC", name="time", copy=False)


def _labels(codes: Any, labels: tuple[str, ...]) -> Any:
    """Words for small numbers, each word kept once."""
    return pd.Categorical.from_codes(codes.astype(np.int32), dtype=_words(labels), validate=False)


@functools.lru_cache(maxsize=64)
def _words(labels: tuple[str, ...]) -> pd.CategoricalDtype:
    return pd.CategoricalDtype(pd.Index(labels))


def _hash(candles: pd.DataFrame) -> str:
    told = hashlib.sha256(nanos(candles).tobytes())
    for name in candles.columns:
        told.update(candles[name].to_numpy().tobytes())
    return told.hexdigest()[:32]


@functools.cache
def _code() -> str:
    """A number for the code that decides what a run comes to."""
    here = Path(__file__).parent
    files = [*sorted(here.glob("*.py")), here.parent / "domain" / "fill_prices.py", here.parent / "domain" / "fees.py"]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files if file.is_file())).hexdigest()[:16]


def params_of(strategy: object) -> dict[str, Any]:
    """The parameters of a strategy, as JSON values."""
    one = dataclasses.is_dataclass(strategy) and not isinstance(strategy, type)
    return dataclasses.asdict(strategy) if one else {}  # type: ignore[call-overload]
