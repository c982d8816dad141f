"""The newest quotes of every symbol somebody looks at, asked for together, once for all viewers."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass

from domain.clock import monotonic
from domain.errors import DeskError
from domain.instruments import instrument
from domain.quotes import Bar, Quote
from feeds.market import Market

WANTED_FOR_S = 30.0
FORGOTTEN_AFTER_S = 900.0
NEW_WISH_S = 2.0
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Standing:
    """The newest quote of a symbol, when it came (monotonic seconds), and the minute folded from quotes so far."""

    quote: Quote
    came: float
    minute: Bar | None = None
    _day_volume: float = 0.0

    def take(self, quote: Quote) -> None:
        """A newer quote. Where the venue tells no forming minute it is folded from the prices seen."""
        begin = quote.time.replace(second=0, microsecond=0)
        if quote.minute is not None:
            self.minute = quote.minute
        elif self.minute is None or self.minute.time != begin:
            price = float(quote.last)
            self.minute = Bar(begin, price, price, price, price, 0.0)
        else:
            traded = max(0.0, quote.volume - self._day_volume)
            self.minute = self.minute.with_price(float(quote.last), self.minute.volume + traded)
        self.quote, self.came, self._day_volume = quote, monotonic(), quote.volume


class QuoteBoard:
    """`want` is called by whoever shows a symbol; one that nobody wanted for half a minute is no longer asked for."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._wanted: dict[str, float] = {}
        self._standing: dict[str, Standing] = {}
        self._lock = threading.Lock()
        self._asking = asyncio.Lock()
        self._asked = float("-inf")
        self.error = ""
        self._closed = False

    def want(self, symbols: Iterable[str]) -> None:
        with self._lock:
            self._wanted.update(dict.fromkeys(symbols, monotonic()))

    def wanted(self) -> list[str]:
        """What somebody looks at now; what nobody looked at for long is forgotten, its quote too."""
        now = monotonic()
        with self._lock:
            for symbol in [s for s, when in self._wanted.items() if now - when > FORGOTTEN_AFTER_S]:
                del self._wanted[symbol]
                self._standing.pop(symbol, None)
            return [s for s, when in self._wanted.items() if now - when < WANTED_FOR_S]

    def get(self, symbol: str) -> Standing | None:
        return self._standing.get(symbol)

    async def refresh(self) -> None:
        """Ask for everything wanted, once. A failure is kept as a sentence; the old quotes stand and grow old."""
        async with self._asking:
            symbols = self.wanted()
            if not symbols:
                return
            try:
                quotes = await self._market.quotes([instrument(s) for s in symbols])
            except DeskError as error:
                self.error = str(error)
                return
            except Exception:  # noqa: BLE001 - the board must outlive a fault of one feed, and say that there was one
                _log.exception("asking %s for quotes failed", self._market.label)
                self.error = f"{self._market.label} failed in a way nobody foresaw; the log has the details"
                return
            self.error = ""
            for symbol, quote in quotes.items():
                self._take(symbol, quote)

    async def follow(self) -> None:
        """Refresh at the feed's own pace until closed; a new wish is answered within two seconds."""
        while not self._closed:
            fresh = any(s not in self._standing for s in self.wanted()) and not self.error
            pace = min(NEW_WISH_S, self._market.poll_s) if fresh else self._market.poll_s
            if monotonic() - self._asked >= pace:
                self._asked = monotonic()
                await self.refresh()
            await asyncio.sleep(min(0.2, self._market.poll_s))

    def close(self) -> None:
        self._closed = True

    def _take(self, symbol: str, quote: Quote) -> None:
        standing = self._standing.get(symbol)
        if standing is None:
            standing = self._standing[symbol] = Standing(quote, monotonic())
        if standing.minute is None or quote.time >= standing.quote.time:
            standing.take(quote)
