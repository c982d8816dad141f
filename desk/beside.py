"""Work on a thread and an event loop of its own, beside a server: begun again until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable

from domain.errors import DeskError, LeaseHeld

AGAIN_S = 3.0
STOP_WITHIN_S = 20.0


class Beside:
    """`run(stop)` until `stop` is set; where it ends before, or another process has its lease, it is begun again after
    `again_s`. What goes wrong is said to the log of that name."""

    def __init__(self, name: str, run: Callable[[asyncio.Event], Awaitable[object]], again_s: float = AGAIN_S) -> None:
        self._run, self._again_s, self._log = run, again_s, logging.getLogger(name)
        self._loop, self._stop = asyncio.new_event_loop(), asyncio.Event()
        self.thread = threading.Thread(target=self._live, name=name, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        """Let it finish what is under way and give its lease back."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self.thread.join(STOP_WITHIN_S)

    def _live(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._keep_running())

    async def _keep_running(self) -> None:
        while not self._stop.is_set():
            try:
                await self._run(self._stop)
            except LeaseHeld as error:
                self._log.debug("%s", error)
            except DeskError as error:
                self._log.error("it cannot run: %s", error)
            except Exception:  # noqa: BLE001 - whatever broke, it is begun again
                self._log.exception("it stopped")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), self._again_s)
