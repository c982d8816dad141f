"""Quotes as the paper broker reads them: each newer one becomes a price step with what traded since the one before.

The rule: a volume nobody watched trade fills no order. After a pause, over the turn of a day, or where the day's volume
fell, a quote only says where counting begins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
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

    def newest(self, symbol: str, kept: Quote | None) -> Quote | None:
        found = [quote for quote in (kept, self._seen.get(symbol)) if quote is not None]
        return max(found, key=lambda quote: quote.time, default=None)

    def all_newest(self, kept: Mapping[str, Quote]) -> dict[str, Quote]:
        pairs = {symbol: self.newest(symbol, kept.get(symbol)) for symbol in {*kept, *self._seen}}
        return {symbol: quote for symbol, quote in pairs.items() if quote is not None}

    def remember(self, quote: Quote, now: datetime) -> None:
        """It was looked at `now`, newer or not."""
        newest = self.newest(quote.symbol, quote)
        self._seen[quote.symbol] = newest if newest is not None else quote
        self._looked[quote.symbol] = now

    def step(self, quote: Quote, kept: Quote | None, now: datetime) -> PriceStep | None:
        """What it adds to the quote before it; None where it is not newer, or its prices are of another session than
        the one it arrives in. A delayed quote counts at the moment it is told."""
        before = self.newest(quote.symbol, kept)
        if before is not None and quote.time <= before.time:
            return None
        told = quote.time + timedelta(seconds=quote.delayed_s)
        calendar = instrument(quote.symbol).calendar
        if quote.delayed_s and calendar.phase(quote.time) is not calendar.phase(told):
            return None
        watched = before is not None and self._watched(quote, before, now)
        return replace(PriceStep.of(quote, _traded(before, quote) if watched and before else 0.0), time=told)

    def _watched(self, quote: Quote, before: Quote, now: datetime) -> bool:
        looked = self._looked.get(quote.symbol)
        return (looked is not None and now - looked <= PAUSE) or quote.time - before.time <= PAUSE


def readable(quote: Quote) -> Quote:
    """The quote with a volume one can count with."""
    sound = math.isfinite(quote.volume) and quote.volume >= 0
    return quote if sound else replace(quote, volume=0.0)


def _traded(before: Quote, quote: Quote) -> float:
    """The day's volume less the day's volume before. A volume of zero is one the source did not tell."""
    if _day(before) != _day(quote) or not 0 < before.volume <= quote.volume:
        return 0.0
    return quote.volume - before.volume


def _day(quote: Quote) -> date:
    return quote.time.astimezone(ZoneInfo(instrument(quote.symbol).zone)).date()
