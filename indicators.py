"""Indicators: a candle frame in, a Series or a frame of lines out.

The rule: a row never depends on a later row. Results carry the candles' index and are NaN in their warm-up;
a frame too short for an indicator answers with NaN alone. Ten indicators are TA-Lib's, to the bit, and
`CATALOGUE` describes them to forms and charts; `indicator()` computes those and pandas-ta-classic's by name:

    fast = sma(candles, 10)
    bands = bollinger(candles, 20, 2.0)            # upper, middle, lower
    trend = indicator(candles, "supertrend", length=10)

Where TA-Lib cannot be imported, pandas-ta-classic stands in for it: slower, and equal to 1e-6 once warm (MACD
is seeded from other bars and needs some 250 of them).
"""

from __future__ import annotations

import functools
import inspect
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, cast
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from pandas.api.internals import create_dataframe_from_blocks  # type: ignore[import-not-found]
from pandas.core.internals.managers import SingleBlockManager  # type: ignore[import-not-found]

from domain.errors import UnknownName
from domain.params import Param

try:
    import talib as _talib
except ImportError:
    _talib = None  # type: ignore[assignment]

Array = np.ndarray[Any, np.dtype[np.float64]]
NEW_YORK = "America/New_York"
_LONGEST = 100_000  # TA-Lib's own limit for a period


def sma(candles: pd.DataFrame, length: int = 20) -> pd.Series:
    """Simple moving average of the close; the first value is at row `length - 1`."""
    length = _whole("length", length, low=1)
    return _series(candles, "sma", _kernel.SMA(*_arrays(candles, "close"), length))


def ema(candles: pd.DataFrame, length: int = 20) -> pd.Series:
    """Exponential moving average of the close, alpha 2 / (length + 1), begun at the first bars' mean."""
    length = _whole("length", length, low=1)
    return _series(candles, "ema", _kernel.EMA(*_arrays(candles, "close"), length))


def rsi(candles: pd.DataFrame, length: int = 14) -> pd.Series:
    """Wilder's relative strength index, 0 to 100; the first value is at row `length`."""
    length = _whole("length", length, low=2)
    return _series(candles, "rsi", _kernel.RSI(*_arrays(candles, "close"), length))


def macd(candles: pd.DataFrame, fast: int = 12, slow: int = 26, signal: int = 9) -> pd.DataFrame:
    """Columns macd, signal, histogram; first values at row `slow + signal - 2`.

    `fast` must be below `slow` (TA-Lib would swap the two without a word): ValueError.
    """
    fast, slow, signal = (
        _whole("fast", fast, low=2),
        _whole("slow", slow, low=2),
        _whole("signal", signal, low=1),
    )
    if fast >= slow:
        raise ValueError(f"slow must exceed fast: got {fast} and {slow}")
    return _frame(candles, _MACD, _kernel.MACD(*_arrays(candles, "close"), fast, slow, signal))


def bollinger(candles: pd.DataFrame, length: int = 20, deviations: float = 2.0) -> pd.DataFrame:
    """Columns upper, middle, lower: the SMA and `deviations` population standard deviations either side."""
    length, width = _whole("length", length, low=2), float(deviations)
    if not 0 < width < float("inf"):
        raise ValueError(f"deviations must be above 0: got {deviations!r}")
    return _frame(candles, _BANDS, _kernel.BBANDS(*_arrays(candles, "close"), length, width, width))


def atr(candles: pd.DataFrame, length: int = 14) -> pd.Series:
    """Wilder's average true range, in the price's unit; the first value is at row `length`."""
    length = _whole("length", length, low=1)
    return _series(candles, "atr", _kernel.ATR(*_arrays(candles, "high", "low", "close"), length))


def adx(candles: pd.DataFrame, length: int = 14) -> pd.DataFrame:
    """Columns adx, plus_di, minus_di, each 0 to 100; adx begins at row `2 * length - 1`, the others earlier.

    Three TA-Lib calls, since TA-Lib keeps the directional lines that its ADX is made of to itself. Its start
    differs from other libraries' by up to a point, which 250 bars wear off.
    """
    length = _whole("length", length, low=2)
    prices = _arrays(candles, "high", "low", "close")
    lines = (_kernel.ADX, _kernel.PLUS_DI, _kernel.MINUS_DI)
    return _frame(candles, _ADX, tuple(line(*prices, length) for line in lines))


def stochastic(candles: pd.DataFrame, k: int = 14, d: int = 3, smooth: int = 3) -> pd.DataFrame:
    """Columns k and d, 0 to 100: the slow stochastic, %K of `k` bars smoothed, and %D, its mean over `d`."""
    k, d, smooth = _whole("k", k, low=1), _whole("d", d, low=1), _whole("smooth", smooth, low=1)
    lines = _kernel.STOCH(*_arrays(candles, "high", "low", "close"), k, smooth, 0, d, 0)
    return _frame(candles, _STOCHASTIC, lines)


def obv(candles: pd.DataFrame) -> pd.Series:
    """On-balance volume, from the first bar's volume on: only its changes mean anything."""
    return _series(candles, "obv", _kernel.OBV(*_arrays(candles, "close", "volume")))


def vwap(candles: pd.DataFrame, anchor: str = NEW_YORK) -> pd.Series:
    """Volume-weighted mean of the typical price (h + l + c) / 3 since midnight in the time zone `anchor`.

    Crypto is anchored to "UTC". NaN until the day's first trade; an unknown zone is a ValueError.
    """
    high, low, close, volume = _arrays(candles, "high", "low", "close", "volume")
    days = _local_days(candles.index, anchor)
    session = np.cumsum(np.diff(days, prepend=days[:1]) != 0)
    traded = pd.DataFrame({"value": (high + low + close) / 3 * volume, "volume": volume})
    total = traded.groupby(session, sort=False).cumsum()
    return _series(candles, "vwap", (total["value"] / total["volume"]).to_numpy())


def indicator(candles: pd.DataFrame, name: str, **params: Any) -> pd.Series | pd.DataFrame:
    """Any indicator by name: ours first (`CATALOGUE`), then pandas-ta-classic's (`long_tail()`).

    Of the long tail, column names come back lower-case without parameters (`SUPERTd_7_3.0` is `supertd`),
    lines that read the future (Ichimoku's chikou span, the centred DPO) are left out, and a frame too short
    gives one NaN Series. Unknown names and parameters are a ValueError that offers the nearest.
    """
    key = name.strip().lower()
    if ours := CATALOGUE.get(key):
        _check_names(key, params, ours.params)
        return cast("pd.Series | pd.DataFrame", ours.compute(candles, **params))
    if key not in _tail():
        raise UnknownName.of("indicator", name, [*CATALOGUE, *_tail()])
    return _from_tail(candles, key, params)


def long_tail() -> list[str]:
    """The names `indicator()` takes beyond the catalogue's: those of pandas-ta-classic that need only candles
    and read no future. The first call imports it (about a second)."""
    return sorted(_tail())


# the catalogue


@dataclass(frozen=True, slots=True)
class Indicator:
    """What a form and a chart must know of an indicator.

    `lines` are the result's column names (one: a Series of that name); `guides` are levels worth a horizontal
    line; `bounds` is the value's fixed range, or None where it has none.
    """

    name: str
    label: str
    place: Literal["price", "panel"]
    lines: tuple[str, ...]
    compute: Callable[..., Any] = field(repr=False)
    params: Mapping[str, Param] = field(default_factory=lambda: MappingProxyType({}))
    guides: tuple[float, ...] = ()
    bounds: tuple[float, float] | None = None


def _params(**declared: Param | tuple[float, float, float]) -> Mapping[str, Param]:
    def param(name: str, value: Param | tuple[float, float, float]) -> Param:
        if isinstance(value, Param):
            return value
        default, low, high = value
        return Param(name, default, type(default), low, high)

    return MappingProxyType({name: param(name, value) for name, value in declared.items()})


_ZONES = (NEW_YORK, "UTC", "Europe/London", "Asia/Tokyo")
_ANCHOR = Param("anchor", NEW_YORK, str, choices=_ZONES, help="the day starts at midnight here")
_MACD_PARAMS = _params(fast=(12, 2, 200), slow=(26, 3, 400), signal=(9, 1, 100))
_STOCHASTIC_PARAMS = _params(k=(14, 1, 200), d=(3, 1, 50), smooth=(3, 1, 50))
_PERCENT = (0.0, 100.0)
_WELL_KNOWN = (
    Indicator("sma", "Simple moving average", "price", ("sma",), sma, _params(length=(20, 2, 400))),
    Indicator("ema", "Exponential moving average", "price", ("ema",), ema, _params(length=(20, 2, 400))),
    Indicator(
        "bollinger",
        "Bollinger bands",
        "price",
        ("upper", "middle", "lower"),
        bollinger,
        _params(length=(20, 2, 400), deviations=(2.0, 0.5, 5.0)),
    ),
    Indicator("vwap", "Volume-weighted average price", "price", ("vwap",), vwap, _params(anchor=_ANCHOR)),
    Indicator("rsi", "RSI", "panel", ("rsi",), rsi, _params(length=(14, 2, 200)), (30.0, 70.0), _PERCENT),
    Indicator("macd", "MACD", "panel", ("macd", "signal", "histogram"), macd, _MACD_PARAMS, (0.0,)),
    Indicator(
        "stochastic",
        "Stochastic",
        "panel",
        ("k", "d"),
        stochastic,
        _STOCHASTIC_PARAMS,
        (20.0, 80.0),
        _PERCENT,
    ),
    Indicator(
        "adx",
        "ADX",
        "panel",
        ("adx", "plus_di", "minus_di"),
        adx,
        _params(length=(14, 2, 200)),
        (25.0,),
        _PERCENT,
    ),
    Indicator("atr", "Average true range", "panel", ("atr",), atr, _params(length=(14, 1, 200))),
    Indicator("obv", "On-balance volume", "panel", ("obv",), obv),
)
CATALOGUE: dict[str, Indicator] = {each.name: each for each in _WELL_KNOWN}


# Frames to arrays and back, by pandas' inner doors: an ATR of 100,000 bars takes 112 us, the front doors 50.

_MACD = pd.Index(["macd", "signal", "histogram"])
_BANDS = pd.Index(["upper", "middle", "lower"])
_ADX = pd.Index(["adx", "plus_di", "minus_di"])
_STOCHASTIC = pd.Index(["k", "d"])
_PLACES = tuple(np.array([place]) for place in range(3))


def _arrays(candles: pd.DataFrame, *names: str) -> list[Array]:
    # 1 us a column, where `candles[name].to_numpy()` takes 11
    where, column = candles.columns.get_loc, cast(Any, candles)._get_column_array
    return [np.ascontiguousarray(column(where(name)), dtype=np.float64) for name in names]


def _series(candles: pd.DataFrame, name: str, values: Array) -> pd.Series:
    # 4 us, where pd.Series(values, index) takes 9, and three times that with a cold cache
    block = SingleBlockManager.from_array(values, candles.index)
    series = cast(Any, pd.Series)._from_mgr(block, block.axes)
    series._name = name
    return cast(pd.Series, series)


def _frame(candles: pd.DataFrame, columns: pd.Index, lines: tuple[Array, ...]) -> pd.DataFrame:
    # 9 us, where DataFrame(dict) takes 50
    blocks = [(line.reshape(1, -1), place) for line, place in zip(lines, _PLACES, strict=False)]
    frame = create_dataframe_from_blocks(blocks, index=candles.index, columns=columns.view())
    return cast(pd.DataFrame, frame)


def _whole(name: str, value: int, *, low: int) -> int:
    try:
        whole = operator.index(value)
    except TypeError:
        raise ValueError(f"{name} must be a whole number of bars: got {value!r}") from None
    if not low <= whole <= _LONGEST:
        raise ValueError(f"{name} must be from {low} to {_LONGEST}: got {whole}")
    return whole


def _local_days(index: pd.Index, zone: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    try:
        local = pd.DatetimeIndex(index).tz_convert(ZoneInfo(zone)).tz_localize(None)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"anchor must be a time zone such as {NEW_YORK} or UTC: got {zone!r}") from None
    return local.to_numpy().astype("datetime64[D]").astype(np.int64)


# pandas-ta-classic: the long tail, and the stand-in

_INPUTS = {"open_": "open", "high": "high", "low": "low", "close": "close", "volume": "volume"}
# Not indicators of one candle frame: `ma` picks an average, `beta` and `correl` want a second symbol, `vp` is
# a table by price, and `tos_stdevall` fits a line through the whole frame, the future of each row included.
_NOT_OF_CANDLES = {"ma", "beta", "correl", "vp", "tos_stdevall"}
_NO_FUTURE: dict[str, dict[str, Any]] = {
    "ichimoku": {"lookahead": False, "as_dataframe": True},
    "dpo": {"lookahead": False},
}


@functools.cache
def _tail() -> Mapping[str, Callable[..., Any]]:
    import pandas_ta_classic as ta  # here, for its import is slow and few pages need it

    named = {name for names in ta.Category.values() for name in names if not name.startswith("cdl_")}
    functions = {name: getattr(ta, name) for name in named - _NOT_OF_CANDLES - set(CATALOGUE)}
    return {name: function for name, function in functions.items() if _wants_only_candles(function)}


def _wants_only_candles(function: Callable[..., Any]) -> bool:
    given = inspect.signature(function).parameters.values()
    return {p.name for p in given if p.default is p.empty and p.kind is not p.VAR_KEYWORD} <= set(_INPUTS)


def _from_tail(candles: pd.DataFrame, key: str, params: dict[str, Any]) -> pd.Series | pd.DataFrame:
    function = _tail()[key]
    signature = inspect.signature(function).parameters
    tunable = [p.name for p in signature.values() if p.name not in _INPUTS and p.kind is not p.VAR_KEYWORD]
    _check_names(key, params, tunable)
    if (params.get("offset") or 0) < 0:
        raise ValueError(f"offset must not be negative: {params['offset']} would show each bar its future")
    inputs = {name: candles[_INPUTS[name]] for name in signature if name in _INPUTS}
    found = function(**inputs, **params, **_NO_FUTURE.get(key, {})) if len(candles) else None
    if found is None:
        return pd.Series(np.nan, candles.index, name=key)
    return found.rename(key) if isinstance(found, pd.Series) else _plainly_named(found)


def _plainly_named(lines: pd.DataFrame) -> pd.DataFrame:
    plain = [re.sub(r"(_-?\d[\d.]*)+$", "", str(name)).lower() for name in lines.columns]
    full = [str(name).lower() for name in lines.columns]
    return lines.set_axis(plain if len(set(plain)) == len(plain) else full, axis=1)


def _check_names(indicator_name: str, params: Mapping[str, Any], known: Mapping[str, Any] | list[str]) -> None:
    for name in params:
        if name not in known:
            raise UnknownName.of(f"parameter of {indicator_name}", name, known)


class _StandIn:
    """TA-Lib's functions by its own signatures, computed by pandas-ta-classic."""

    @staticmethod
    def _run(name: str, n_lines: int, *arrays: Array, **params: Any) -> tuple[Array, ...]:
        import pandas_ta_classic as ta

        length = len(arrays[0])
        found = getattr(ta, name)(*map(pd.Series, arrays), talib=False, **params) if length else None
        if found is None:
            return tuple(np.full(length, np.nan) for _ in range(n_lines))
        table = found.to_frame() if isinstance(found, pd.Series) else found
        return tuple(table.iloc[:, line].to_numpy(dtype=np.float64) for line in range(n_lines))

    def SMA(self, close: Array, length: int) -> Array:
        return self._run("sma", 1, close, length=length)[0]

    def EMA(self, close: Array, length: int) -> Array:
        return self._run("ema", 1, close, length=length)[0]

    def RSI(self, close: Array, length: int) -> Array:
        return self._run("rsi", 1, close, length=length)[0]

    def MACD(self, close: Array, fast: int, slow: int, signal: int) -> tuple[Array, ...]:
        line, histogram, smoothed = self._run("macd", 3, close, fast=fast, slow=slow, signal=signal)
        return np.where(np.isnan(smoothed), np.nan, line), smoothed, histogram

    def BBANDS(self, close: Array, length: int, up: float, down: float) -> tuple[Array, ...]:
        lower, middle, upper = self._run("bbands", 3, close, length=length, std=up)
        return upper, middle, lower

    def ATR(self, high: Array, low: Array, close: Array, length: int) -> Array:
        return self._run("atr", 1, high, low, close, length=length)[0]

    def ADX(self, high: Array, low: Array, close: Array, length: int) -> Array:
        return self._run("adx", 3, high, low, close, length=length)[0]

    def PLUS_DI(self, high: Array, low: Array, close: Array, length: int) -> Array:
        return self._run("adx", 3, high, low, close, length=length)[1]

    def MINUS_DI(self, high: Array, low: Array, close: Array, length: int) -> Array:
        return self._run("adx", 3, high, low, close, length=length)[2]

    def STOCH(self, high: Array, low: Array, close: Array, *p: int) -> tuple[Array, ...]:
        k, d = self._run("stoch", 2, high, low, close, k=p[0], smooth_k=p[1], d=p[3])
        return np.where(np.isnan(d), np.nan, k), d

    def OBV(self, close: Array, volume: Array) -> Array:
        return self._run("obv", 1, close, volume)[0]


_kernel: Any = _talib or _StandIn()
