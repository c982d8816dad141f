"""What time it is. The only file that reads the wall clock, so that tests and replays can own time."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The present, aware, UTC."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class ShiftedClock:
    """Another clock moved by a fixed `offset`: it ticks at the same speed, somewhere else in the week."""

    base: Clock
    offset: timedelta

    def now(self) -> datetime:
        return self.base.now() + self.offset


@dataclass(slots=True)
class ManualClock:
    """A clock that moves only when told to."""

    time: datetime = field(default_factory=lambda: datetime(2026, 1, 2, 15, 0, tzinfo=UTC))

    def __post_init__(self) -> None:
        if self.time.tzinfo is None:
            raise ValueError(f"time must carry a zone: got {self.time.isoformat()}; add tzinfo=UTC")

    def now(self) -> datetime:
        return self.time.astimezone(UTC)

    def advance(self, **by: float) -> None:
        """Move forward by `timedelta(**by)`; going back is refused."""
        step = timedelta(**by)
        if step < timedelta():
            raise ValueError(f"a clock does not go back: got {step}")
        self.time += step


def speed_of(clock: Clock) -> float:
    """How many seconds of this clock pass in one of the machine's: 1, but for the fast clock of a demo."""
    return float(getattr(clock, "speed", 1.0))


def ago(clock: Clock, moment: datetime) -> timedelta:
    """How long ago a moment of this clock was, as the machine counts: what says whether a program lives, or how long a
    person has had."""
    return (clock.now() - moment) / speed_of(clock)


def monotonic() -> float:
    """Seconds that only grow: for durations and time-outs, never for dates."""
    return time.monotonic()
