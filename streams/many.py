"""One strategy on many symbols: their numbers lie side by side, and the bars of one moment are one call.

    many = Many(SmaCrossover(fast=10, slow=30), symbols)
    many.warm("AAPL", candles)
    exposure, confidence = many.on_bars(rows, times, bars)     # rows: which of the symbols; a row a bar

The rule: it says what one stream a symbol would say (it is the same compiled code).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt
import pandas as pd

from domain.candles import COLUMNS, nanos
from strategies.base import Floats, Strategy
from streams.base import Compiled, Decision, Rows, State, stream_of, through, values_of

BEFORE_ALL = np.iinfo(np.int64).min


class Many:
    """Symbols keep the order they were given in: a symbol's row is its place there.

    ValueError for a strategy without a compiled form: give each symbol a stream of its own then (`stream_of`).
    """

    def __init__(self, strategy: Strategy, symbols: Sequence[str]) -> None:
        stream = stream_of(strategy)
        if not isinstance(stream, Compiled):
            raise ValueError(f"{strategy!r} has no compiled form: use stream_of for each of its symbols")
        self.symbols = tuple(symbols)
        self.row = {symbol: at for at, symbol in enumerate(self.symbols)}
        self._form = stream.form
        self._numbers: Floats = np.zeros((len(self.symbols), self._form.size))
        self._bars: Floats = np.zeros((len(self.symbols), len(COLUMNS)))
        self._last: Rows = np.full(len(self.symbols), BEFORE_ALL, np.int64)
        self._once = np.zeros(len(self.symbols), np.bool_)

    def warm(self, symbol: str, candles: pd.DataFrame) -> Decision | None:
        """Forget the symbol and go through these bars; what is wanted after the last."""
        row = self.row[symbol]
        numbers, out = through(self._form, candles)
        self._numbers[row] = numbers[0]
        self._last[row] = nanos(candles)[-1] if len(candles) else BEFORE_ALL
        if candles.empty:
            return None
        self._bars[row] = values_of(candles.iloc[-1:])[0]
        return Decision(float(out[-1, 0, 0]), float(out[-1, 0, 1]), lambda: self._form.say(numbers[0]))

    def on_bars(self, rows: Rows, times: npt.NDArray[np.int64], bars: Floats) -> tuple[Floats, Floats]:
        """A closed bar for each of these symbols: `times` their opens in UTC nanoseconds, `bars` a row each of open,
        high, low, close and volume. Gives exposure and confidence in that order.

        ValueError, and nothing changed, where one is not finite, not newer than its symbol's last, or a symbol comes
        twice.
        """
        bars = np.ascontiguousarray(bars, np.float64)
        self._refuse(rows, times, bars)
        out = np.empty((1, len(rows), 2))
        self._form.walk(self._numbers, rows, self._form.settings, bars[np.newaxis], out)
        self._last[rows], self._bars[rows] = times, bars
        return out[0, :, 0], out[0, :, 1]

    @property
    def numbers_each(self) -> int:
        """How many numbers of 8 bytes a symbol takes, beside its newest bar and that bar's time."""
        return self._form.size

    def why(self, symbol: str) -> str:
        """The reason for the symbol's newest decision."""
        return self._form.say(self._numbers[self.row[symbol]])

    def last(self, symbol: str) -> datetime | None:
        """The open of the newest bar the symbol was told of."""
        value = int(self._last[self.row[symbol]])
        found: datetime | None = None if value == BEFORE_ALL else pd.Timestamp(value, tz="UTC").to_pydatetime()
        return found

    def state(self, symbol: str) -> State:
        """All it knows of the symbol: the state of a stream of its own."""
        row = self.row[symbol]
        return self._form.packed(self.last(symbol), self._bars[row], self._numbers[row])

    def restore(self, symbol: str, state: State) -> None:
        """ValueError where the state is not this strategy's: then `warm` the symbol."""
        row = self.row[symbol]
        last, self._bars[row], self._numbers[row] = self._form.unpacked(state)
        self._last[row] = BEFORE_ALL if last is None else pd.Timestamp(last).value

    def _refuse(self, rows: Rows, times: npt.NDArray[np.int64], bars: Floats) -> None:
        if bars.shape != (len(rows), len(COLUMNS)) or times.shape != rows.shape:
            raise ValueError(f"a time and five numbers for each symbol: got {times.shape} and {bars.shape}")
        if not np.isfinite(bars).all():
            at = int(np.flatnonzero(~np.isfinite(bars).all(axis=1))[0])
            raise ValueError(f"{self.symbols[rows[at]]}: a bar must be five finite numbers: got {bars[at].tolist()}")
        late = times <= self._last[rows]
        if late.any():
            symbol = self.symbols[rows[int(np.flatnonzero(late)[0])]]
            raise ValueError(f"{symbol}: a bar must be newer than the last, which opened {self.last(symbol)}")
        self._once[:] = False
        self._once[rows] = True
        if np.count_nonzero(self._once) != len(rows):
            raise ValueError("a symbol may come once in a call: give its bars one after the other")
