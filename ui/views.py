"""What a viewer asked to see: indicators, bars and axis. Two viewers with the same View share one figure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

import indicators
from domain import candles as cd
from domain.errors import UnknownName
from domain.instruments import Instrument
from ui import palettes

WARM_UP_BARS = 250
SHORT = {
    "sma": "SMA",
    "ema": "EMA",
    "rsi": "RSI",
    "macd": "MACD",
    "bollinger": "Bollinger",
    "atr": "ATR",
    "vwap": "VWAP",
    "adx": "ADX",
    "stochastic": "Stochastic",
    "obv": "OBV",
}
Times = npt.NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Study:
    """One indicator on the chart: its name and parameters, written `rsi:14` or `bollinger:20:2` in addresses."""

    name: str
    params: tuple[tuple[str, float], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Study:
        """From its written form; missing parameters take their defaults, unknown names answer with the nearest."""
        name, *values = text.split(":")
        if name not in indicators.CATALOGUE:
            if name not in indicators.long_tail():
                raise UnknownName.of("indicator", name, [*indicators.CATALOGUE, *indicators.long_tail()])
            return cls(name)
        declared = indicators.CATALOGUE[name].params
        if len(values) > len(declared):
            raise ValueError(f"{text}: {name} takes at most {len(declared)} numbers ({', '.join(declared)})")
        given = zip(declared, values, strict=False)
        return cls(name, tuple((key, _number(key, value, declared[key])) for key, value in given))

    @property
    def label(self) -> str:
        numbers = " ".join(f"{value:g}" for _, value in self.params)
        return f"{SHORT.get(self.name, self.name)} {numbers}".strip()

    @property
    def place(self) -> str:
        """`price` or `panel` where the catalogue says; '' for one of the long tail: its values will tell."""
        known = indicators.CATALOGUE.get(self.name)
        return known.place if known else ""

    def complaint(self) -> str:
        """Why it cannot be drawn, tried on a few made-up bars; '' where it can."""
        try:
            self.lines(_trial_bars(), "UTC")
        except ValueError as error:
            return str(error)
        return ""

    def lines(self, candles: pd.DataFrame, zone: str) -> dict[str, npt.NDArray[np.float64]]:
        """Its values by line name, as long as the frame."""
        params: dict[str, Any] = dict(self.params)
        if self.name == "vwap":
            params["anchor"] = zone
        found = indicators.indicator(candles, self.name, **params)
        if self.name == "vwap":
            found = found.where(_whole_days(candles, zone))
        if isinstance(found, pd.Series):
            return {self.label: found.to_numpy(np.float64)}
        return {f"{self.label} {c}": found[c].to_numpy(np.float64) for c in found.columns}


@dataclass(frozen=True, slots=True)
class View:
    """What a viewer asked to see. Two viewers with the same View share one figure. `model`: what the champion says."""

    tf: str = "5m"
    studies: tuple[Study, ...] = ()
    patterns: tuple[str, ...] = ()
    extended: bool = True
    palette: str = palettes.DEFAULT
    zone: str = "America/New_York"
    bars: int = 500
    model: bool = False


def visible(candles: pd.DataFrame, instrument: Instrument, view: View) -> pd.DataFrame:
    """The bars a view is about: without extended hours where they were not asked for."""
    if view.extended or instrument.is_crypto or view.tf == "1d":
        return candles
    _, phase = instrument.calendar.locate(cd.nanos(candles))
    return candles[phase == 2]


def axis_zone(instrument: Instrument, view: View) -> str:
    """The zone of the time axis. Crypto trades through the hour that New York's clock repeats each autumn, so its
    axis is UTC; a daily bar is named by its own exchange's day."""
    return instrument.zone if instrument.is_crypto or view.tf == "1d" else view.zone


def axis_times(candles: pd.DataFrame, instrument: Instrument, view: View) -> Times:
    """Bar times as the axis shows them: naive ISO text in the axis's zone, dates alone for daily bars."""
    index = candles.index
    assert isinstance(index, pd.DatetimeIndex)
    local = index.tz_convert(axis_zone(instrument, view)).tz_localize(None).to_numpy()
    return np.datetime_as_string(local, unit="D" if view.tf == "1d" else "s")


def warm_up(view: View, instrument: Instrument) -> int:
    """Bars before the first drawn one: enough for every line to have settled, and for a VWAP its whole day."""
    minutes = 24 * 60 if instrument.is_crypto else 16 * 60
    day = -(-minutes * 60 // cd.timeframe(view.tf).seconds)
    return max(WARM_UP_BARS, 2 * day if any(study.name == "vwap" for study in view.studies) else 0)


def _whole_days(candles: pd.DataFrame, zone: str) -> npt.NDArray[np.bool_]:
    """Rows of days whose first bar is in the frame (its own first day may have begun before it), each without that
    first bar: a VWAP of one bar says nothing, and the gap keeps one day's line from running into the next's."""
    days = candles.index.tz_convert(zone).normalize()
    return (
        np.asarray((days != days[0]) & (days == days.insert(0, days[0])[:-1])) if len(days) else np.empty(0, dtype=bool)
    )


def _trial_bars() -> pd.DataFrame:
    close = 100 + np.sin(np.arange(300) / 7)
    times = 1_700_000_000_000_000_000 + np.arange(300) * 60_000_000_000
    values = {"open": close - 0.1, "high": close + 1, "low": close - 1, "close": close, "volume": np.full(300, 9.0)}
    return cd.frame(times, values)


def _number(name: str, text: str, declared: Any) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{name} must be a number: got {text!r}") from None
    if not np.isfinite(value):
        raise ValueError(f"{name} must be a finite number: got {text!r}")
    return int(value) if isinstance(declared.default, int) else value
