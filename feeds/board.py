"""The newest quotes of every symbol somebody looks at, asked for together, once for all viewers.

In batches with a pause between, as the source's limits allow, and what is held or has an order resting first. A batch
that fails rests by itself; each one's quotes are there as soon as it is answered. A source that pushes is listened to,
and asked only while its line is down.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from domain.clock import monotonic
from domain.errors import DeskError, FeedBusy
from domain.instruments import instrument
from domain.quotes import Bar, Quote
from feeds._minutes import Minutes, Tick, minute_of
from feeds._pacing import Jitter, Rests, Ticks, batch_size, jitter, pause_s
from feeds._pushing import Pushing
from feeds.base import Pace
from feeds.market import Market, Resting, Watch

WANTED_FOR_S = 30.0
FORGOTTEN_AFTER_S = 900.0
LOOK_S = 0.2
SOON_S = 0.01
BRING_S = 10.0
SILENT_S = 30.0  # what was not pushed for so long is asked for once: nothing traded, or the line is deaf
_NEVER = float("-inf")
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Standing:
    """The newest quote of a symbol, when it came (monotonic seconds), and the minute folded from quotes so far."""

    quote: Quote
    came: float
    minute: Bar | None = None
    _minutes: Minutes = field(default_factory=lambda: Minutes(kept=0))
    _told: Bar | None = None  # the last minute that the venue told itself
    _late: Quote | None = None

    def take(self, quote: Quote, now: float, *, pushed: bool = False) -> Tick:
        """A quote, and what it was. An older one never becomes the newest; where its minute still forms, that minute
        reached its price. Where the venue tells no forming minute it is folded from the prices seen."""
        if quote.minute is None and (self._told is None or minute_of(quote.time) > self._told.time):
            tick = self._fold(quote, pushed=pushed)
        else:
            tick = self._believe(quote)
        if tick is Tick.NEWEST or (tick is Tick.AGAIN and not pushed and quote == self.quote):
            self.quote, self.came = quote, now  # asked for again and found the same: it stands as of now
        return tick

    def repeats(self, quote: Quote) -> bool:
        """Whether this late quote is the one that was late the last time: a source goes on telling it."""
        self._late, before = quote, self._late
        return before == quote

    def _fold(self, quote: Quote, *, pushed: bool) -> Tick:
        bar = self._minutes.take(quote.time, float(quote.last), quote.volume)
        tick = self._minutes.told
        if tick is not Tick.CLOSED:
            self.minute = bar
        if quote == self.quote:
            return tick if tick is Tick.NEWEST else Tick.AGAIN
        newer_words = quote.time == self.quote.time and (not pushed or _price(quote) == _price(self.quote))
        return Tick.NEWEST if newer_words else tick

    def _believe(self, quote: Quote) -> Tick:
        """The venue tells its minutes: only their order is ours to see to."""
        if quote.time < self.quote.time:
            return self._older(quote)
        again = quote == self.quote and self.minute is not None
        if quote.minute is not None:
            self.minute = self._told = quote.minute
        elif self.minute is not None:
            self.minute = self.minute.with_price(float(quote.last))
        return Tick.AGAIN if again else Tick.NEWEST

    def _older(self, quote: Quote) -> Tick:
        told, now = quote.minute, self.minute
        if told is None or now is None or told.time != now.time:
            return Tick.CLOSED
        self.minute = replace(now, high=max(now.high, told.high), low=min(now.low, told.low))
        return Tick.LATE


class QuoteBoard:
    """`want` is called by whoever shows a symbol; one that nobody wanted for half a minute is no longer asked for.

    `batch` and `pause_s` are what was chosen (STREAM_BATCH, STREAM_PAUSE_S), None where nothing was; `ticks` and
    `chance` own time and luck. Everything but `want`, `wanted`, `get` and `error` belongs on one event loop.
    """

    def __init__(
        self,
        market: Market,
        *,
        batch: int | None = None,
        pause_s: float | None = None,
        ticks: Ticks = monotonic,
        chance: Jitter = jitter,
    ) -> None:
        self._market, self._chosen_batch, self._chosen_pause = market, batch, pause_s
        self._ticks, self._chance = ticks, chance
        self._wanted: dict[str, float] = {}
        self._first: dict[str, float] = {}
        self._asked: dict[str, float] = {}
        self._standing: dict[str, Standing] = {}
        self._flying: dict[asyncio.Task[None], list[str]] = {}
        self._rests = Rests(ticks, chance)
        self._next_call = _NEVER
        self._lock = threading.Lock()
        self._pushing: Pushing | None = None
        self._late = self._again = self._closed_minutes = 0
        self._closed = False
        market.watch = self.watch

    # From any thread

    def want(self, symbols: Iterable[str], *, first: bool = False) -> None:
        """Somebody looks at these. `first`: they are held, or have an order resting, and are asked for before all
        others, in calls of their own."""
        with self._lock:
            wishes = dict.fromkeys(symbols, self._ticks())
            self._wanted.update(wishes)
            if first:
                self._first.update(wishes)

    def wanted(self) -> list[str]:
        """What somebody looks at now, what comes first in front; what nobody looked at for long is forgotten, its
        quote too."""
        now = self._ticks()
        with self._lock:
            for symbol in [s for s, when in self._wanted.items() if now - when > FORGOTTEN_AFTER_S]:
                for kept in (self._wanted, self._first, self._asked, self._standing):
                    kept.pop(symbol, None)
            self._first = {s: when for s, when in self._first.items() if now - when < WANTED_FOR_S}
            there = [s for s, when in self._wanted.items() if now - when < WANTED_FOR_S]
            return sorted(there, key=lambda symbol: symbol not in self._first)

    def get(self, symbol: str) -> Standing | None:
        return self._standing.get(symbol)

    @property
    def error(self) -> str:
        """Why some of what is wanted gets no quotes just now; '' where all of it does."""
        return self._rests.said(self.wanted())

    def watch(self) -> Watch:
        """How it is asked and what came of it, for `Market.usage`."""
        wanted, now = self.wanted(), self._ticks()
        line = self._pushing
        busy = self._rests.busy_until - now
        return Watch(
            wanted=len(wanted),
            first=len(self._first),
            batch=self._size(len(wanted)),
            pause_s=self._pause(),
            round_s=self._round_s(wanted),
            resting=tuple(Resting(tuple(r.symbols), max(0.0, r.until - now), r.said) for r in self._rests.all()),
            busy_s=max(0.0, busy),
            late=self._late,
            again=self._again,
            closed=self._closed_minutes,
            pushes=line is not None,
            pushed=len(line.subscribed) if line else 0,
            reconnects=max(0, line.lines - 1) if line else 0,
            line_error=line.error if line else "",
        )

    def close(self) -> None:
        self._closed = True

    # On the loop

    async def refresh(self) -> None:
        """Ask for everything wanted, once and now: only the source's own limits are waited for. A failure is kept as a
        sentence; the old quotes stand and grow old."""
        if under_way := list(self._flying):
            await asyncio.wait(under_way)
        begun, symbols = self._ticks(), set(self.wanted())
        self._rests.hurry()
        for symbol in symbols:
            self._asked.pop(symbol, None)
        while not self._closed and self._ticks() >= self._rests.busy_until:
            wait_s = self.step()
            if all(self._asked.get(s, _NEVER) >= begun for s in self.wanted() if s in symbols):
                break
            await asyncio.sleep(min(wait_s, SOON_S))
        if under_way := list(self._flying):
            await asyncio.wait(under_way)

    async def bring(self, symbols: Iterable[str]) -> None:
        """Wait for those of these that were never quoted, as long as they are on their way, ten seconds at most."""
        symbols = list(symbols)
        self.want(symbols)
        until = self._ticks() + BRING_S
        while not self._closed and self._ticks() < until and any(self._on_its_way(s) for s in symbols):
            wait_s = self.step()
            await asyncio.sleep(min(wait_s, 5 * SOON_S))

    async def follow(self) -> None:
        """Ask at the source's own pace until closed."""
        listening = self._listen()
        try:
            while not self._closed:
                wait_s = self.step()
                await asyncio.sleep(wait_s)
        finally:
            if listening is not None:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)

    def step(self) -> float:
        """Begin the one call that is due now, if one is; the seconds after which to look again."""
        idle = min(LOOK_S, self._market.feed.poll_s)
        wanted = [] if self._closed else self.wanted()
        self._rests.keep(wanted)
        self._market.round_s = self._round_s(wanted)
        wait_s = max(self._next_call, self._rests.busy_until) - self._ticks()
        if not wanted or wait_s > 0:
            return min(idle, max(wait_s, SOON_S)) if wanted else idle
        if not (batch := self._due(wanted)):
            return SOON_S if self._flying else idle
        now = self._ticks()
        self._asked.update(dict.fromkeys(batch, now))
        self._next_call = now + self._pause()
        flight = asyncio.ensure_future(self._ask(batch))
        self._flying[flight] = batch
        flight.add_done_callback(self._landed)
        return min(idle, max(self._pause(), SOON_S))

    # Inside

    @property
    def _pace(self) -> Pace:
        found: Pace = getattr(self._market.feed, "pace", None) or Pace()
        return found

    def _size(self, wanted: int) -> int:
        return batch_size(wanted, self._pace, self._chosen_batch)

    def _pause(self) -> float:
        return pause_s(self._pace, self._chosen_pause)

    def _round_s(self, wanted: list[str]) -> float:
        """How long until each wanted symbol was asked for once."""
        calls = math.ceil(len(wanted) / self._size(len(wanted)))
        return max(self._market.feed.poll_s, calls * self._pause())

    def _due(self, wanted: list[str]) -> list[str]:
        """The next call's symbols: what comes first in calls of its own, then what failed and has rested, then whoever
        waited longest. The last free place is kept for what comes first, so that slow calls never hold it up."""
        pace, size = self._pace, self._size(len(wanted))
        taken = {symbol for batch in self._flying.values() for symbol in batch}
        if pace.at_hand:
            return wanted if not taken and any(self._old(symbol) for symbol in wanted) else []
        room, first = pace.at_once - len(self._flying), self._first
        rested = [[s for s in rest.symbols if s not in taken][:size] for rest in self._rests.due()]
        rested = sorted((batch for batch in rested if batch), key=lambda batch: not any(s in first for s in batch))
        taken |= self._rests.symbols()
        due = sorted((s for s in wanted if s not in taken and self._old(s)), key=lambda s: self._asked.get(s, _NEVER))
        if room > 0 and (front := [s for s in due if s in first]):
            return front[:size]
        if room > 0 and rested and (any(s in first for s in rested[0]) or room > 1):
            return rested[0]
        return due[:size] if room > 1 or (room and pace.at_once == 1) else []

    def _old(self, symbol: str) -> bool:
        """Whether it is time to ask for it: not while it is pushed."""
        now, standing = self._ticks(), self._standing.get(symbol)
        if self._pushing and symbol in self._pushing.subscribed and standing and now - standing.came < SILENT_S:
            return False
        return now - self._asked.get(symbol, _NEVER) >= self._market.feed.poll_s

    def _on_its_way(self, symbol: str) -> bool:
        if symbol in self._standing:
            return False
        if any(symbol in batch for batch in self._flying.values()):
            return True
        rests = symbol in self._rests.symbols() or self._ticks() < self._rests.busy_until
        return not rests and self._old(symbol)

    async def _ask(self, batch: list[str]) -> None:
        try:
            quotes = await self._market.quotes([instrument(s) for s in batch])
        except FeedBusy as error:
            self._rests.refused(str(error), error.wait_s)
        except DeskError as error:
            self._failed(batch, str(error))
        except Exception:  # noqa: BLE001 - the board must outlive a fault of one feed, and say that there was one
            _log.exception("asking %s for quotes failed", self._market.label)
            self._failed(batch, f"{self._market.label} failed in a way nobody foresaw; the log has the details")
        else:
            self._rests.went_well(batch)
            for symbol, quote in quotes.items():
                self._take(symbol, quote)

    def _failed(self, batch: list[str], said: str) -> None:
        first = any(symbol in self._first for symbol in batch)
        self._rests.failed(batch, said, first=first, at_hand=self._pace.at_hand)

    def _landed(self, flight: asyncio.Task[None]) -> None:
        self._flying.pop(flight, None)

    def _listen(self) -> asyncio.Task[None] | None:
        """Where the source pushes: its line, kept up."""
        if not hasattr(self._market.feed, "stream"):
            return None
        self._pushing = Pushing(
            self._market.feed,
            wanted=self.wanted,
            take=lambda quote: self._take(quote.symbol, quote, pushed=True),
            batch=lambda: self._size(len(self._wanted)),
            pause_s=self._pause,
            ticks=self._ticks,
            chance=self._chance,
        )
        return asyncio.ensure_future(self._pushing.run())

    def _take(self, symbol: str, quote: Quote, *, pushed: bool = False) -> None:
        now, standing = self._ticks(), self._standing.get(symbol)
        if standing is None:
            standing = self._standing[symbol] = Standing(quote, now)
        tick = standing.take(quote, now, pushed=pushed)
        if tick is Tick.AGAIN:
            self._again += pushed  # who asks again and finds nothing new has dropped nothing
        elif tick is not Tick.NEWEST and (pushed or not standing.repeats(quote)):
            self._late += tick is Tick.LATE
            self._closed_minutes += tick is Tick.CLOSED


def _price(quote: Quote) -> tuple[object, float]:
    return quote.last, quote.volume
