"""The streaming form of the candlestick patterns: one TA-Lib handle each, and what fired in the last bars.

The rule: from the same first bar it says what `asked` says. TA-Lib's handles cannot be written down, so one that was
restored begins at the bars it kept. Its averages are then summed from there, and a candle that lies on a pattern's very
limit, to the last digit, can be judged the other way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from datetime import datetime

import numpy as np
import pandas as pd

from domain.candles import COLUMNS, frame, nanos
from strategies.base import Floats
from streams.base import Decision, State, packed, refuse_bar, unpacked, values_of
from streams.handles import Lines

LOOKS_BACK = 80  # rows that any one explanation can look back on
Say = Callable[[pd.DataFrame, int, list[str]], str]


class PatternStream:
    """`biases` are the patterns by label, with their TA-Lib code and what they are read as (1, -1, 0, or None: their
    grade's sign); `say` words the reason from the last bars, the row of the newest event (-1: none) and what fired."""

    def __init__(
        self,
        strategy: object,
        biases: Mapping[str, tuple[str, int | None]],
        hold: int,
        short: bool,
        warmup: int,
        say: Say,
    ) -> None:
        self._strategy, self._hold, self._short, self._warmup, self._say = strategy, hold, short, warmup, say
        self._reach = max(4 * warmup + 1, LOOKS_BACK + hold)
        self._patterns = [
            (label, bias, Lines(code, (0, 1, 2, 3), before=(0,))) for label, (code, bias) in biases.items() if bias != 0
        ]
        self._forget()

    def _forget(self) -> None:
        self._bars: deque[tuple[float, ...]] = deque(maxlen=self._reach)  # each after its open in microseconds
        self._fired: list[str] = []
        self._count, self._side, self._ago = 0, 0.0, self._hold  # bars seen, the event's side, bars since
        self._last: datetime | None = None

    @property
    def last(self) -> datetime | None:
        return self._last

    @property
    def bar(self) -> tuple[float, ...]:
        return self._bars[-1][1:] if self._bars else ()

    def warm(self, candles: pd.DataFrame) -> Decision | None:
        values = values_of(candles)
        if not np.isfinite(values).all():
            raise ValueError("the bars must be finite numbers: a candle frame that `domain.candles.check` passes is")
        self._forget()
        begin = max(0, len(values) - self._hold)
        self._begin(np.column_stack([nanos(candles) // 1000, values])[:begin])
        self._count = begin
        decision = None
        for time, bar in zip(candles.index[begin:], values[begin:].tolist(), strict=True):
            decision = self.on_bar(time.to_pydatetime(), *bar)
        return decision

    def on_bar(
        self, time: datetime, open: float, high: float, low: float, close: float, volume: float
    ) -> Decision | None:
        bar = (open, high, low, close, volume)
        refuse_bar(time, bar)
        if self._last is not None and time <= self._last:
            return None
        self._last = time
        self._bars.append((pd.Timestamp(time).value // 1000, *bar))
        signs = {label: _sign(int(line.update(bar)[0]), bias) for label, bias, line in self._patterns}
        self._count += 1
        self._ago += 1
        event = float((1 in signs.values()) - (-1 in signs.values()))
        if event != 0.0:
            self._side, self._ago, self._fired = event, 0, [label for label, sign in signs.items() if sign]
        return self._decision()

    def state(self) -> State:
        head = (self._count, self._side, self._ago, 0.0, 0.0, 0.0)
        return {**packed(self._strategy, self._last, np.array([head, *self._bars])), "fired": list(self._fired)}

    def restore(self, state: State) -> None:
        last, numbers = unpacked(self._strategy, state)
        head, *_ = table = numbers.reshape(-1, 1 + len(COLUMNS))
        self._forget()
        self._count, self._side, self._ago = int(head[0]), float(head[1]), int(head[2])
        self._fired, self._last = list(state["fired"]), last
        self._begin(table[1:])

    def _begin(self, table: Floats) -> None:
        for _, _, line in self._patterns:
            line.open(table[:, 1:])
        self._bars.extend(tuple(row) for row in table.tolist())

    def _decision(self) -> Decision:
        wanted = self._side if self._ago < self._hold and self._count > self._warmup else 0.0
        exposure = wanted if self._short else max(wanted, 0.0)
        bars, fired, ago = list(self._bars), self._fired, self._ago
        return Decision(exposure, 1.0, lambda: self._worded(bars, fired, ago))

    def _worded(self, bars: list[tuple[float, ...]], fired: list[str], ago: int) -> str:
        table = np.array(bars)
        times = table[:, 0].astype(np.int64) * 1000
        candles = frame(times, {name: table[:, at] for at, name in enumerate(COLUMNS, 1)})
        return self._say(candles, len(bars) - 1 - ago if ago < self._hold else -1, fired)


def _sign(grade: int, bias: int | None) -> int:
    if bias is None:
        return (grade > 0) - (grade < 0)
    return bias if grade else 0
