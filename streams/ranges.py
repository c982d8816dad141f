"""The average true ranges that exits and sizes ask for, bar by bar: what `indicators.atr` gives, to the bit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from math import nan

import numpy as np
import pandas as pd

from streams import _kernels
from streams.base import Compiled, Form, State

SIZE = 3


class Ranges:
    """One symbol's ATRs by period; `values` are those of the newest bar, NaN in their warm-up."""

    def __init__(self, periods: Iterable[int]) -> None:
        self._streams = {period: Compiled(_form(period)) for period in dict.fromkeys(periods)}
        self.values: Mapping[int, float] = dict.fromkeys(self._streams, nan)

    def warm(self, candles: pd.DataFrame) -> None:
        """Forget everything and go through these bars."""
        decisions = {period: stream.warm(candles) for period, stream in self._streams.items()}
        self.values = {period: nan if found is None else found.exposure for period, found in decisions.items()}

    def on_bar(self, time: datetime, open: float, high: float, low: float, close: float, volume: float) -> None:
        """One closed bar; nothing changes where it is not newer than the last."""
        found = {p: stream.on_bar(time, open, high, low, close, volume) for p, stream in self._streams.items()}
        self.values = {**self.values, **{p: one.exposure for p, one in found.items() if one is not None}}

    def state(self) -> dict[str, State]:
        """All it knows, small and fit for JSON."""
        return {str(period): stream.state() for period, stream in self._streams.items()}

    def restore(self, state: Mapping[str, State]) -> None:
        """ValueError where the state is of other periods."""
        if set(state) != {str(period) for period in self._streams}:
            raise ValueError(f"ranges of {', '.join(state)} do not fit {', '.join(map(str, self._streams))}")
        for period, stream in self._streams.items():
            stream.restore(state[str(period)])


def _form(period: int) -> Form:
    if period < 1:
        raise ValueError(f"an ATR's period must be at least 1: got {period}")
    return Form(f"ATR {period}", _kernels.walk_range, np.array([period], np.float64), SIZE, lambda _: "")
