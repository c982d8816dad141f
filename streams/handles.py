"""An indicator bar by bar, by TA-Lib's own streaming handles: each value equals the batch's to the bit.

    strength = Handle("rsi", length=14)
    strength.warm(candles)                       # strength.values is now the last row of rsi(candles)
    strength.update(open, high, low, close, volume)
    strength.peek(open, high, low, close, volume)        # of a bar that is still forming: nothing is kept

The rule: a bar costs the same however many came before. A handle cannot be written down: after a restart `warm` it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite, nan
from typing import Any

import numpy as np
import pandas as pd

from domain.candles import COLUMNS
from domain.errors import DataError, UnknownName
from indicators import CATALOGUE
from strategies.base import Floats
from streams.base import values_of

try:
    import talib as _talib
except ImportError:
    _talib = None  # type: ignore[assignment]

_CLOSE, _HLC, _OHLC = (3,), (1, 2, 3), (0, 1, 2, 3)


@dataclass(frozen=True, slots=True)
class _Call:
    """A TA-Lib function: which columns it wants, and its further arguments from the indicator's parameters."""

    name: str
    inputs: tuple[int, ...]
    arguments: Callable[[dict[str, Any]], tuple[Any, ...]] = lambda p: tuple(p.values())


_CALLS: dict[str, tuple[_Call, ...]] = {
    "sma": (_Call("SMA", _CLOSE),),
    "ema": (_Call("EMA", _CLOSE),),
    "rsi": (_Call("RSI", _CLOSE),),
    "macd": (_Call("MACD", _CLOSE),),
    "bollinger": (_Call("BBANDS", _CLOSE, lambda p: (p["length"], p["deviations"], p["deviations"])),),
    "atr": (_Call("ATR", _HLC),),
    "adx": (_Call("ADX", _HLC), _Call("PLUS_DI", _HLC), _Call("MINUS_DI", _HLC)),
    "stochastic": (_Call("STOCH", _HLC, lambda p: (p["k"], p["smooth"], 0, p["d"], 0)),),
    "obv": (_Call("OBV", (3, 4)),),
}


class Lines:
    """One TA-Lib handle, opened as soon as TA-Lib has bars enough; NaN (0 for a pattern) until then."""

    def __init__(
        self, name: str, inputs: tuple[int, ...], arguments: tuple[Any, ...] = (), before: Any = (nan,)
    ) -> None:
        if _talib is None:
            raise DataError("no streaming indicators without TA-Lib: pip install TA-Lib")
        self._make: Any = getattr(_talib.stream, name)
        self._inputs, self._arguments, self._before = list(inputs), arguments, before
        self._take = slice(inputs[0], inputs[-1] + 1)  # TA-Lib's inputs lie side by side
        self._waiting: list[tuple[float, ...]] = []
        self._handle: Any = None

    def open(self, bars: Floats) -> tuple[Any, ...]:
        """Begin with these bars, a row each of open, high, low, close and volume; the values at the last."""
        self._handle, self._waiting = None, [tuple(bar) for bar in bars[:, self._inputs].tolist()]
        return self._opened()

    def update(self, bar: tuple[float, ...]) -> tuple[Any, ...]:
        seen = bar[self._take]
        if self._handle is not None:
            found = self._handle.update(*seen)
            return found if type(found) is tuple else (found,)
        self._waiting.append(seen)
        return self._opened()

    def peek(self, bar: tuple[float, ...]) -> tuple[Any, ...]:
        seen = bar[self._take]
        if self._handle is not None:
            return _tuple(self._handle.peek(*seen))
        kept, self._waiting = self._waiting, [*self._waiting, seen]
        found = self._opened()
        self._handle, self._waiting = None, kept
        return found

    def _opened(self) -> tuple[Any, ...]:
        try:
            columns = np.ascontiguousarray(np.array(self._waiting, np.float64).reshape(-1, len(self._inputs)).T)
            self._handle = self._make(*columns, *self._arguments)
        except _talib.InsufficientHistory:  # type: ignore[attr-defined]
            return tuple(self._before)
        self._waiting = []
        return _tuple(self._handle.value)


class Handle:
    """One of the catalogue's indicators, by name and parameters. UnknownName offers the nearest; `vwap` and the long
    tail of `indicators.indicator` have no handle."""

    def __init__(self, name: str, **params: Any) -> None:
        if name not in _CALLS:
            raise UnknownName.of("streaming indicator", name, _CALLS)
        known = CATALOGUE[name].params
        for given in params:
            if given not in known:
                raise UnknownName.of(f"parameter of {name}", given, known)
        chosen = {key: params.get(key, param.default) for key, param in known.items()}
        CATALOGUE[name].compute(_NO_BARS, **chosen)  # refuses what the batch refuses, in its words
        outputs = len(CATALOGUE[name].lines) // len(_CALLS[name])
        self._lines = [Lines(call.name, call.inputs, call.arguments(chosen), (nan,) * outputs) for call in _CALLS[name]]
        self.values: tuple[float, ...] = (nan,) * len(CATALOGUE[name].lines)

    def warm(self, candles: pd.DataFrame) -> tuple[float, ...]:
        """Forget everything and go through these bars; the values at the last, in the order of the batch's columns."""
        bars = values_of(candles)
        self.values = tuple(value for line in self._lines for value in line.open(bars))
        return self.values

    def update(self, open: float, high: float, low: float, close: float, volume: float) -> tuple[float, ...]:
        """The values at one closed bar more. ValueError, and nothing changed, where a number is not finite."""
        bar = _finite((open, high, low, close, volume))
        self.values = tuple(value for line in self._lines for value in line.update(bar))
        return self.values

    def peek(self, open: float, high: float, low: float, close: float, volume: float) -> tuple[float, ...]:
        """What `update` would give; nothing is kept."""
        bar = _finite((open, high, low, close, volume))
        return tuple(value for line in self._lines for value in line.peek(bar))


def _finite(bar: tuple[float, ...]) -> tuple[float, ...]:
    if not isfinite(sum(bar)):
        raise ValueError(f"a bar must be five finite numbers: got {bar}")
    return bar


def _tuple(found: Any) -> tuple[Any, ...]:
    return found if isinstance(found, tuple) else (found,)


_NO_BARS = pd.DataFrame({name: np.empty(0) for name in COLUMNS})
