"""Targets at a broker where they cannot rest beside a stop: watched on quotes, and swapped in for the stop.

The rule: the swap begins on a fresh quote of a market that trades, its limit is the target itself, and a limit that
has not filled in ten seconds gives way to the stop again. What goes on is read from the orders; only the pause after
a swap that failed is remembered.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal

from desk.records import Protection
from desk.tools import Key, Tools
from domain.calendars import Phase
from domain.instruments import instrument
from domain.orders import OPEN, Order, Purpose

FILLS_WITHIN = timedelta(seconds=10)
NOT_AGAIN_FOR = timedelta(seconds=30)
NEARER = Decimal("0.01")


class Targets:
    """Which positions stand at their target now."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._failed: dict[Key, datetime] = {}

    def reached(self, key: Key, held: Decimal, plan: Protection, family: Iterable[Order]) -> bool:
        """Whether the shares are to be sold at the target now, instead of resting under their stop."""
        if plan.target is None or not plan.stops or held == 0:
            return False
        now = self._tools.now()
        selling = [o for o in family if o.status in OPEN and o.request.purpose is Purpose.TARGET]
        if selling:
            in_time = now - min(order.created for order in selling) <= FILLS_WITHIN
            if not in_time:
                self._failed[key] = now
            return in_time
        if now - self._failed.get(key, now - NOT_AGAIN_FOR) < NOT_AGAIN_FOR:
            return False
        return self._at(key[1], held, plan.target)

    def failed(self, key: Key) -> None:
        """The shares could not be offered at the target: they stay under their stop for a while."""
        self._failed[key] = self._tools.now()

    def limit(self, symbol: str, held: Decimal, target: Decimal) -> Decimal:
        """What to offer them at: the target, or where the price is far beyond it already, nearer to the price."""
        quote, what = self._tools.facts.quotes.get(symbol), instrument(symbol)
        book = None if quote is None else quote.bid if held > 0 else quote.ask
        if book is None:
            return target
        near = book * (1 - NEARER * (1 if held > 0 else -1))
        return max(target, what.round_price(near)) if held > 0 else min(target, what.round_price(near))

    def _at(self, symbol: str, held: Decimal, target: Decimal) -> bool:
        quote, now = self._tools.facts.quotes.get(symbol), self._tools.now()
        if quote is None or quote.delayed_s or instrument(symbol).calendar.phase(now) is not Phase.OPEN:
            return False
        if abs((now - quote.time).total_seconds()) > float(self._tools.risk.limits.max_quote_age_s):
            return False
        book = quote.bid if held > 0 else quote.ask
        return book is not None and (book >= target if held > 0 else book <= target)
