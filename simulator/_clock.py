"""The simulator's time. Markets, tokens and orders live on a clock that can be moved and stopped; signatures and rate
limits go by the real one, since the callers' computers do too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from domain.clock import Clock


class MovedClock:
    """A clock moved by `offset`, or standing at `stopped`. It never goes back."""

    def __init__(self, real: Clock) -> None:
        self.real = real
        self.offset = timedelta()
        self.stopped: datetime | None = None
        self.skew = timedelta()

    def now(self) -> datetime:
        return self.real.now() + self.offset if self.stopped is None else self.stopped

    def server(self) -> datetime:
        """The server's own clock: what signatures are held against, and the Date header tells."""
        return self.real.now() + self.skew

    def move_to(self, moment: datetime) -> None:
        """Forward to `moment`; ValueError where that is in the past."""
        if moment < self.now():
            raise ValueError(f"the clock does not go back: it is {self.now().isoformat()}")
        self.begin_at(moment)

    def begin_at(self, moment: datetime) -> None:
        if self.stopped is None:
            self.offset = moment - self.real.now()
        else:
            self.stopped = moment.astimezone(UTC)

    def stop(self) -> None:
        self.stopped = self.now()

    def go_on(self) -> None:
        now = self.now()
        self.stopped = None
        self.offset = now - self.real.now()
