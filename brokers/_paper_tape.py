"""Quotes as the paper broker reads them: each newer one becomes a price step with what traded since the one before.

The rule: a volume nobody watched trade fills no order. After a pause, over the turn of a day, or where the day's volume
fell, a quote only says where counting begins.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from domain.instruments import instrument
from domain.matching import PriceStep
from domain.quotes import Quote

PAUSE = timedelta(minutes=2)


class Tape:
    """The newest quotes this process has seen. What the file keeps of them (`kept`) may be newer: another process may
    follow too."""

    def __init__(self) -> None:
        self._seen: dict[str, Quote] = {}
        self._looked: dict[str, datetime] = {}
        self._awake: datetime | None = None

    def wake(self, now: datetime) -> None:
        """Quotes are being told, be it none that is newer; after a pause every symbol begins anew."""
        if self._awake is not None and now - self._awake > PAUSE:
            self._looked.clear()
        self._awake = now

    def ordered(self, symbol: str, now: datetime) -> None:
        """An order came. Without one a symbol may have gone unwatched since it was last seen."""
        if now - self._looked.get(symbol, now) > PAUSE:
            del self._looked[symbol]

    def newest(self, symbol: str, kept: Quote | None) -> Quote | None:
        found = [quote for quote in (kept, self._seen.get(symbol)) if quote is not None]
        return max(found, key=lambda quote: quote.time, default=None)

    def all_newest(self, kept: Mapping[str, Quote]) -> dict[str, Quote]:
        pairs = {symbol: self.newest(symbol, kept.get(symbol)) for symbol in {*kept, *self._seen}}
        return {symbol: quote for symbol, quote in pairs.items() if quote is not None}

    def remember(self, quote: Quote, now: datetime) -> None:
        """It was told `now`, newer or not."""
        seen = self._seen.get(quote.symbol)
        if seen is None or quote.time > seen.time:
            self._seen[quote.symbol] = quote
        self._looked[quote.symbol] = now

    def step(self, quote: Quote, kept: Quote | None) -> PriceStep | None:
        """What it adds to the quote before it; None where it is not newer, or its prices are of another session than
        the one it arrives in. A delayed quote counts at the moment it is told."""
        before = self.newest(quote.symbol, kept)
        if before is not None and quote.time <= before.time:
            return None
        told = quote.time + timedelta(seconds=quote.delayed_s)
        calendar = instrument(quote.symbol).calendar
        if quote.delayed_s and calendar.phase(quote.time) is not calendar.phase(told):
            return None
        watched = before is not None and (quote.symbol in self._looked or quote.time - before.time <= PAUSE)
        return replace(PriceStep.of(quote, _traded(before, quote) if watched and before else 0.0), time=told)


def readable(quotes: Iterable[Quote], now: datetime) -> list[Quote]:
    """The quotes in the order of their time, each with a volume one can count with. One from the future is left out:
    nothing after it would count as newer."""
    known = [quote for quote in quotes if quote.time - now <= PAUSE]
    return [_countable(quote) for quote in sorted(known, key=lambda quote: quote.time)]


def _countable(quote: Quote) -> Quote:
    sound = math.isfinite(quote.volume) and quote.volume >= 0
    return quote if sound else replace(quote, volume=0.0)


def _traded(before: Quote, quote: Quote) -> float:
    """The day's volume less the day's volume before. A volume of zero is one the source did not tell."""
    if _day(before) != _day(quote) or not 0 < before.volume <= quote.volume:
        return 0.0
    return quote.volume - before.volume


def _day(quote: Quote) -> date:
    return quote.time.astimezone(ZoneInfo(instrument(quote.symbol).zone)).date()
