"""The stream of a strategy without a streaming form: its last bars are kept, and it is asked about them each time."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd

from domain.candles import COLUMNS, frame, nanos
from strategies.base import Strategy, asked
from streams.base import Decision, State, packed, refuse_bar, unpacked, values_of

WIDTH = 1 + len(COLUMNS)


class Window:
    """`4 * warmup + 1` bars: so many make a decision that of all history. A bar costs as much as asking about them."""

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        self._reach = 4 * strategy.warmup + 1
        self._times: list[int] = []
        self._bars: list[tuple[float, ...]] = []
        self._last: datetime | None = None

    @property
    def last(self) -> datetime | None:
        return self._last

    @property
    def bar(self) -> tuple[float, ...]:
        return self._bars[-1] if self._bars else ()

    def warm(self, candles: pd.DataFrame) -> Decision | None:
        kept = candles.iloc[-self._reach :]
        values = values_of(kept)
        if not np.isfinite(values).all():
            raise ValueError("the bars must be finite numbers: a candle frame that `domain.candles.check` passes is")
        self._times, self._bars = nanos(kept).tolist(), [tuple(bar) for bar in values.tolist()]
        self._last = kept.index[-1].to_pydatetime() if len(kept) else None
        return self._decision() if len(kept) else None

    def on_bar(
        self, time: datetime, open: float, high: float, low: float, close: float, volume: float
    ) -> Decision | None:
        bar = (open, high, low, close, volume)
        refuse_bar(time, bar)
        if self._last is not None and time <= self._last:
            return None
        self._last = time
        self._times.append(pd.Timestamp(time).value)
        self._bars.append(bar)
        del self._times[: -self._reach], self._bars[: -self._reach]
        return self._decision()

    def state(self) -> State:
        micros = np.array(self._times, np.int64).reshape(-1, 1) // 1000  # nanoseconds would not fit a float
        bars = np.array(self._bars, np.float64).reshape(-1, len(COLUMNS))
        return packed(self._strategy, self._last, np.hstack([micros, bars]))

    def restore(self, state: State) -> None:
        last, numbers = unpacked(self._strategy, state)
        table = numbers.reshape(-1, WIDTH)
        self._times = (table[:, 0].astype(np.int64) * 1000).tolist()
        self._bars = [tuple(bar) for bar in table[:, 1:].tolist()]
        self._last = last

    def _decision(self) -> Decision:
        values = np.array(self._bars)
        wanted = asked(self._strategy, frame(self._times, {name: values[:, at] for at, name in enumerate(COLUMNS)}))
        return Decision(float(wanted.exposure[-1]), float(wanted.confidence[-1]), lambda: wanted.why(-1))
