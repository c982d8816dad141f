"""A line to a source that pushes: subscribed in batches, opened again with all that is wanted when it broke."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from domain.clock import monotonic
from domain.errors import DeskError
from domain.instruments import instrument
from domain.quotes import Quote
from feeds._pacing import Jitter, Ticks, grown, jitter
from feeds.base import Line

LOOK_S = 0.1
_log = logging.getLogger(__name__)


class Pushing:
    """Keeps the line of `feed` up, as long as something is `wanted`. Each quote goes to `take`; `batch` and `pause_s`
    say how many are subscribed together and how long after the last."""

    def __init__(
        self,
        feed: Any,
        *,
        wanted: Callable[[], list[str]],
        take: Callable[[Quote], None],
        batch: Callable[[], int],
        pause_s: Callable[[], float],
        ticks: Ticks = monotonic,
        chance: Jitter = jitter,
    ) -> None:
        self._feed, self._wanted, self._take = feed, wanted, take
        self._batch, self._pause_s, self._ticks, self._chance = batch, pause_s, ticks, chance
        self.subscribed: set[str] = set()
        self.lines = 0
        self.error = ""
        self._tries = 0
        self._next = float("-inf")

    @property
    def up(self) -> bool:
        return bool(self.subscribed)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if batch := self._wanted()[: self._batch()]:
                await self._one_line(batch)
                await asyncio.sleep(grown(self._tries) * self._chance())
            else:
                await asyncio.sleep(LOOK_S)

    async def _one_line(self, batch: list[str]) -> None:
        """From its opening to its end; why it ended is kept."""
        line: Line | None = None
        self._tries += 1
        try:
            line = await self._feed.stream([instrument(symbol) for symbol in batch])
            self.lines, self.subscribed, self.error = self.lines + 1, set(batch), ""
            self._next = self._ticks() + self._pause_s()
            await self._while_it_lasts(line)
            self.error = f"{self._feed.label} closed the line of its quotes"
        except DeskError as error:
            self.error = str(error)
        except Exception as error:  # noqa: BLE001 - a fault of one source must not end the board
            _log.exception("the line to %s failed", self._feed.label)
            self.error = f"{self._feed.label}: the line of its quotes broke ({type(error).__name__})"
        finally:
            self.subscribed = set()
            if line is not None:
                await line.close()

    async def _while_it_lasts(self, line: Line) -> None:
        listening = asyncio.ensure_future(self._listen(line))
        try:
            while not listening.done():
                await self._adjust(line)
                await asyncio.wait({listening}, timeout=LOOK_S)
            listening.result()
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

    async def _listen(self, line: Line) -> None:
        async for quote in line:
            self._tries = 0
            self._take(quote)

    async def _adjust(self, line: Line) -> None:
        """Subscribe what is newly wanted, a batch after each pause; let go of what nobody wants."""
        wanted = self._wanted()
        if gone := self.subscribed - set(wanted):
            await line.unsubscribe([instrument(symbol) for symbol in sorted(gone)])
            self.subscribed -= gone
        more = [symbol for symbol in wanted if symbol not in self.subscribed][: self._batch()]
        if more and self._ticks() >= self._next:
            await line.subscribe([instrument(symbol) for symbol in more])
            self.subscribed |= set(more)
            self._next = self._ticks() + self._pause_s()
