"""What a stream is: one strategy on one symbol, told one closed bar after the other.

    stream = stream_of(SmaCrossover(fast=10, slow=30))
    stream.warm(candles)                     # what the store has; no waiting for the first decision
    decision = stream.on_bar(time, open, high, low, close, volume)
    decision.exposure, decision.why()        # what `asked` would say of all those bars in its last row
    kept = stream.state()                    # JSON; `restore` it after a restart and go on as if nothing had been

The rule: from the same first bar a stream says what `strategies.base.asked` says, row for row. `follow` feeds what is
new in a frame and refuses one that does not carry on where the stream stands.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import pandas as pd

from domain.candles import COLUMNS, nanos
from strategies.base import Floats, Strategy

Rows = npt.NDArray[np.int64]
Walk = Callable[[Floats, Rows, Floats, Floats, Floats], None]
State = dict[str, Any]
LAYOUT = 1  # of what `state` gives; raised whenever a kernel keeps its numbers otherwise
_ONE: Rows = np.zeros(1, np.int64)


class OutOfStep(ValueError):
    """Bars that do not carry on where the stream stands: warm it anew from the store."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a strategy wants from the next bar's open on; `why()` words the reason when somebody asks."""

    exposure: float
    confidence: float
    why: Callable[[], str] = field(repr=False, compare=False)


class Stream(Protocol):
    """One strategy on one symbol."""

    @property
    def last(self) -> datetime | None:
        """The open of the newest bar it was told of."""
        ...

    @property
    def bar(self) -> tuple[float, ...]:
        """That bar's open, high, low, close and volume; empty before the first."""
        ...

    def warm(self, candles: pd.DataFrame) -> Decision | None:
        """Forget everything and go through these bars; what it wants after the last, None where there is none."""
        ...

    def on_bar(
        self, time: datetime, open: float, high: float, low: float, close: float, volume: float
    ) -> Decision | None:
        """One closed bar. None, and nothing changed, where it is not newer than the last; ValueError, and nothing
        changed, where a number in it is not finite."""
        ...

    def state(self) -> State:
        """All it knows, small and fit for JSON."""
        ...

    def restore(self, state: State) -> None:
        """Be as the stream was that gave this. ValueError where that was another strategy, other settings, or an
        older layout: then `warm` it."""
        ...


@runtime_checkable
class Streamed(Protocol):
    """A strategy whose file offers a streaming form of it."""

    def stream(self) -> Stream: ...


def stream_of(strategy: Strategy) -> Stream:
    """The form that the strategy's own file offers, else its last bars kept and asked each time."""
    if isinstance(strategy, Streamed):
        return strategy.stream()
    from streams.window import Window

    return Window(strategy)


def follow(stream: Stream, candles: pd.DataFrame) -> Decision | None:
    """Feed the frame's bars after the stream's last; the decision on the newest, None where no bar is new.

    OutOfStep where the frame does not hold the stream's last bar, or holds it with other prices: bars are missing or
    the past was written anew (a split, a correction), and what the stream has summed up is no longer true.
    """
    last = stream.last
    if last is None:
        return stream.warm(candles)
    found = int(candles.index.searchsorted(pd.Timestamp(last)))
    if found == len(candles) or candles.index[found] != last:
        raise OutOfStep(f"the bar of {last:%Y-%m-%d %H:%M} UTC, the last one followed, is not among those given")
    values = values_of(candles.iloc[found:])
    if not np.array_equal(values[0, :4], stream.bar[:4]):
        raise OutOfStep(f"the bar of {last:%Y-%m-%d %H:%M} UTC has other prices than when it was followed")
    decision = None
    for time, bar in zip(candles.index[found + 1 :], values[1:].tolist(), strict=True):
        decision = stream.on_bar(time.to_pydatetime(), *bar)
    return decision


def values_of(candles: pd.DataFrame) -> Floats:
    """A row a bar, a column each of open, high, low, close and volume."""
    return np.ascontiguousarray(candles[list(COLUMNS)], dtype=np.float64)


def refuse_bar(time: datetime, bar: tuple[float, ...]) -> None:
    """ValueError where a bar would spoil what is summed up, for ever."""
    if time.tzinfo is None:
        raise ValueError(f"a bar's time must say its zone: got {time}")
    if not isfinite(sum(bar)):
        raise ValueError(f"the bar of {time} must be five finite numbers: got {bar}")


def packed(strategy: object, last: datetime | None, numbers: Floats) -> State:
    """A state: whose it is, how far it came, and its numbers to the bit."""
    text = base64.b64encode(numbers.astype("<f8").tobytes()).decode("ascii")
    when = int(pd.Timestamp(last).value) if last is not None else None
    return {"of": repr(strategy), "layout": LAYOUT, "last": when, "numbers": text}


def unpacked(strategy: object, state: State) -> tuple[datetime | None, Floats]:
    """The last bar's open and the numbers; ValueError where the state is not this strategy's."""
    if (state.get("of"), state.get("layout")) != (repr(strategy), LAYOUT):
        raise ValueError(
            f"a state of {state.get('of')}, layout {state.get('layout')}, does not fit {strategy!r}, layout {LAYOUT}: "
            "warm the stream from candles"
        )
    try:
        numbers = np.frombuffer(base64.b64decode(state["numbers"], validate=True), "<f8").astype(np.float64)
        return (None if state["last"] is None else _moment(int(state["last"]))), numbers
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"a state of {strategy!r} whose numbers cannot be read: warm the stream from candles"
        ) from error


def _moment(value: int) -> datetime:
    found: datetime = pd.Timestamp(value, tz="UTC").to_pydatetime()
    return found


# Compiled strategies


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """A strategy as numbers: its compiled `walk`, the `settings` that are put to it, how many numbers (`size`) a symbol
    takes, and `say`, the reason in words from such numbers."""

    strategy: object
    walk: Walk
    settings: Floats
    size: int
    say: Callable[[Floats], str]

    def packed(self, last: datetime | None, bar: Floats, numbers: Floats) -> State:
        """One symbol's state."""
        return packed(self.strategy, last, np.concatenate([bar, numbers]))

    def unpacked(self, state: State) -> tuple[datetime | None, Floats, Floats]:
        """The last bar's open, that bar, and the numbers. ValueError where the state does not fit."""
        last, numbers = unpacked(self.strategy, state)
        if len(numbers) != len(COLUMNS) + self.size:
            raise ValueError(f"a state of {self.strategy!r} is {len(COLUMNS) + self.size} numbers: got {len(numbers)}")
        return last, numbers[: len(COLUMNS)], numbers[len(COLUMNS) :]


class Compiled:
    """A stream of a form: each bar is one call of compiled code."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self._numbers: Floats = np.zeros((1, form.size))
        self._bar: Floats = np.zeros((1, 1, len(COLUMNS)))
        self._out: Floats = np.zeros((1, 1, 2))
        self._newest, self._answer = self._bar[0, 0], self._out[0, 0]  # the same numbers, at hand
        self._row, self._walk, self._settings = self._numbers[0], form.walk, form.settings
        self._last: datetime | None = None
        self._words = Words(form, self._row)

    @property
    def last(self) -> datetime | None:
        return self._last

    @property
    def bar(self) -> tuple[float, ...]:
        return tuple(self._newest.tolist()) if self._last is not None else ()

    def warm(self, candles: pd.DataFrame) -> Decision | None:
        numbers, out = through(self.form, candles)
        self._begin(numbers)
        if candles.empty:
            self._last = None
            return None
        self._last = _moment(int(nanos(candles)[-1]))
        self._newest[:] = values_of(candles.iloc[-1:])[0]
        return self._decision(float(out[-1, 0, 0]), float(out[-1, 0, 1]))

    def on_bar(
        self, time: datetime, open: float, high: float, low: float, close: float, volume: float
    ) -> Decision | None:
        bar = (open, high, low, close, volume)
        refuse_bar(time, bar)
        if self._last is not None and time <= self._last:
            return None
        self._words.keep()
        self._last = time
        self._newest[:] = bar
        self._walk(self._numbers, _ONE, self._settings, self._bar, self._out)
        exposure, confidence = self._answer.tolist()
        return self._decision(exposure, confidence)

    def state(self) -> State:
        return self.form.packed(self._last, self._newest, self._row)

    def restore(self, state: State) -> None:
        last, bar, numbers = self.form.unpacked(state)
        self._begin(numbers)
        self._last, self._newest[:] = last, bar

    def _begin(self, numbers: Floats) -> None:
        self._words.keep()
        self._numbers[:] = numbers

    def _decision(self, exposure: float, confidence: float) -> Decision:
        self._words = Words(self.form, self._row)
        return Decision(exposure, confidence, self._words)


class Words:
    """A reason that is put into words when it is asked for: of the numbers as they were."""

    __slots__ = ("_form", "_numbers")

    def __init__(self, form: Form, numbers: Floats) -> None:
        self._form, self._numbers = form, numbers

    def keep(self) -> None:
        """The numbers are about to move on: have a copy."""
        self._numbers = self._numbers.copy()

    def __call__(self) -> str:
        return self._form.say(self._numbers)


def through(form: Form, candles: pd.DataFrame) -> tuple[Floats, Floats]:
    """A symbol's numbers after these bars, and (bar, symbol, exposure confidence) on the way."""
    numbers, bars = np.zeros((1, form.size)), values_of(candles)
    if not np.isfinite(bars).all():
        row = int(np.flatnonzero(~np.isfinite(bars).all(axis=1))[0])
        raise ValueError(f"the bar of {candles.index[row]} must be five finite numbers: got {bars[row].tolist()}")
    out = np.zeros((len(bars), 1, 2))
    form.walk(numbers, _ONE, form.settings, bars[:, np.newaxis], out)
    return numbers, out
