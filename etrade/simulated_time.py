"""The simulator's own time: it may live on another day than this machine, and says so in each answer."""

from __future__ import annotations

import json
import threading
import urllib.request
from datetime import UTC, datetime, timedelta

from domain.calendars import Phase, calendar
from domain.clock import Clock
from etrade.transport import Reply, Request, Transport

TIME_HEADER = "x-simulator-time"
EXCHANGE = "XNYS"
AFTER_OPEN = timedelta(hours=1)
ASKED_FOR_S = 1.0
MOST_BYTES = 262_144


class SimulatorClock:
    """`base` moved to the simulator's time, as last heard. After the first word it only ever goes forward.

    Before that it is where a simulator begins: now while New York trades, else an hour into its last session.
    """

    def __init__(self, base: Clock, url: str) -> None:
        self._base, self._lock = base, threading.Lock()
        self._heard, self._offset = False, timedelta()
        if (moment := _asked(url)) is not None:
            self.hear(moment)
        elif (market := calendar(EXCHANGE)).phase(base.now()) is not Phase.OPEN:
            self._offset = market.last_open(base.now()) + AFTER_OPEN - base.now()

    def now(self) -> datetime:
        return self._base.now() + self._offset

    @property
    def offset(self) -> timedelta:
        """How far it is ahead of this machine (negative: behind)."""
        return self._offset

    def hear(self, moment: datetime) -> None:
        """The simulator said that it is `moment` there."""
        with self._lock:
            offset = moment - self._base.now()
            if not self._heard or offset > self._offset:
                self._heard, self._offset = True, offset


class TimedTransport:
    """Another transport that tells the clock what time the answers bear."""

    def __init__(self, inner: Transport, clock: SimulatorClock) -> None:
        self._inner, self._clock = inner, clock

    async def send(self, request: Request) -> Reply:
        reply = await self._inner.send(request)
        if (moment := _read(reply.headers.get(TIME_HEADER, ""))) is not None:
            self._clock.hear(moment)
        return reply

    async def close(self) -> None:
        await self._inner.close()


def _asked(url: str) -> datetime | None:
    """The simulator's time, asked for once; None where none answers there."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url.rstrip('/')}/simulator", timeout=ASKED_FOR_S) as answer:
            return _read(str(json.loads(answer.read(MOST_BYTES)).get("now", "")))
    except (OSError, ValueError, AttributeError):
        return None


def _read(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.astimezone(UTC) if moment.tzinfo else None
