"""A simulator in a thread of this process, for tests: its clock stands still, its prices are what a test says.

with running() as sim:
    sim.price("MSFT", "500.00", bid="499.99", ask="500.01")
    ...                         # a client talks to sim.url
    sim.tick()                  # a second passes, orders meet the price
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

from domain.calendars import NEW_YORK
from domain.clock import Clock, SystemClock
from simulator import _control
from simulator._clock import MovedClock
from simulator._market import PriceSource
from simulator._server import Etrade, Options
from simulator._wire import Call

T = TypeVar("T")
FRIDAY = datetime(2026, 11, 20, 10, 30, tzinfo=NEW_YORK)
STARTS_WITHIN_S = 20.0


class Running:
    """A simulator that runs. `server` is the object itself: look at it only while nothing is under way."""

    def __init__(self, server: Etrade, loop: asyncio.AbstractEventLoop) -> None:
        self.server, self._loop = server, loop

    @property
    def url(self) -> str:
        return self.server.url

    def control(self, route: str, method: str = "POST", /, **wish: object) -> dict[str, Any]:
        """A control call, as over the wire; ValueError with its words where it is refused."""
        call = Call(method, f"/simulator/{route}", {"Content-Type": "application/json"}, json.dumps(wish).encode())
        reply = self._run(self._alone(call))
        told: dict[str, Any] = json.loads(reply)
        if "error" in told:
            raise ValueError(told["error"])
        return told

    def price(self, symbol: str, last: str, **beside: str) -> None:
        self.control("price", "POST", symbol=symbol, last=last, **beside)

    def tick(self, seconds: float = 1) -> None:
        self.control("tick", seconds=seconds)

    def move_to(self, moment: str) -> None:
        """The clock, to an ISO time (New York's where no zone is written)."""
        self.control("clock", to=moment)

    def fault(self, name: str, **how: object) -> None:
        self.control("faults", name=name, **how)

    async def _alone(self, call: Call) -> bytes:
        async with self.server.alone:
            return (await _control.answer(self.server, call)).body

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(STARTS_WITHIN_S)


@contextmanager
def running(
    options: Options | None = None,
    *,
    at: datetime = FRIDAY,
    feed: PriceSource | None = None,
    real: Clock | None = None,
    limited: bool = False,
) -> Iterator[Running]:
    """A simulator on a free port, its clock standing at `at`. `limited`: it refuses what comes too fast."""
    clock = MovedClock(real or SystemClock())
    clock.stop()
    clock.begin_at(at)
    server = Etrade(replace(options or Options(), port=0, ticking=False), clock, feed)
    server.limits.enforced = limited
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="simulator", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(STARTS_WITHIN_S)
        try:
            yield Running(server, loop)
        finally:
            asyncio.run_coroutine_threadsafe(_ended(server), loop).result(STARTS_WITHIN_S)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(STARTS_WITHIN_S)
        loop.close()


async def _ended(server: Etrade) -> None:
    """Stopped, and nothing left behind that a fault still held up."""
    await server.stop()
    left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
