"""The orders of one account, so that none that is open, or that changed, is missed.

E*TRADE lists orders by the day they were placed on, and not by when they changed. A look reads the days asked for and
every day since the look before; open orders that are older are read by their status; one that was open and is not
there any more, by its day. The first look goes back as far as an order lives (E*TRADE is said to end one that is good
till cancelled after sixty days).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta

from brokers import _etrade_words as words
from brokers.base import BrokerOrder
from domain.calendars import NEW_YORK
from domain.clock import Clock
from domain.orders import Status
from etrade.listed import ListedOrder, OrderStatus
from etrade_client import EtradeReader

DAY = timedelta(days=1)
FURTHEST = timedelta(days=729)  # E*TRADE: two years
LIVES = timedelta(days=65)
OPEN = frozenset({Status.WORKING, Status.PARTIAL})


def new_york_day(moment: datetime) -> date:
    return moment.astimezone(NEW_YORK).date()


class Looks:
    """What the looks at one account have shown so far; all on one event loop."""

    def __init__(self, account_key: str, name: str, clock: Clock) -> None:
        self._key, self._name, self._clock = account_key, name, clock
        self._open: dict[int, date] = {}
        self._looked: date | None = None

    async def since(self, client: EtradeReader, since: datetime) -> list[BrokerOrder]:
        """Every open order, and every one placed or changed from `since` on, by the time they were placed."""
        today = new_york_day(self._clock.now())
        first, oldest = self._looked is None, today - FURTHEST
        asked = min(max(new_york_day(since), oldest), today)
        known = (today - LIVES if self._looked is None else self._looked) - DAY
        start = max(min(asked, known), oldest)
        found = await self._days(client, start, today + DAY)
        older = [day for day in self._open.values() if day < start]
        if first or older:
            begin = oldest if first else min(older)
            found |= await self._days(client, begin, today + DAY, OrderStatus.OPEN)
        gone = {id: day for id, day in self._open.items() if id not in found}
        for day in sorted(set(gone.values())):
            found |= {id: one for id, one in (await self._days(client, day, day)).items() if id in gone}
        was_open = set(self._open)
        told = {id: one for id, order in found.items() if (one := words.told(order, self._name)) is not None}
        kept = [one for id, one in told.items() if id in was_open or await self._news(client, found[id], one, since)]
        self._remember(told.values(), today)
        return sorted(kept, key=lambda one: (one.placed, int(one.broker_id)))

    async def _days(
        self, client: EtradeReader, start: date, end: date, status: OrderStatus | None = None
    ) -> dict[int, ListedOrder]:
        return {one.id: one for one in await client.orders(self._key, start=start, end=end, status=status)}

    async def _news(self, client: EtradeReader, order: ListedOrder, one: BrokerOrder, since: datetime) -> bool:
        """Whether it is open, or placed or changed from `since` on. The list does not tell when an order was cancelled
        or ran out: one that nothing filled does no harm, for another its history is asked for."""
        if one.status in OPEN or max(one.placed, one.updated) >= since:
            return True
        if one.status is Status.FILLED or not one.filled:
            return one.status is not Status.FILLED
        whole = await client.order(self._key, order.id)
        ended = words.ended_at(whole) if whole is not None else None
        return ended is not None and ended >= since

    def _remember(self, told: Iterable[BrokerOrder], today: date) -> None:
        """A broken look has remembered nothing."""
        for one in told:
            if one.status in OPEN:
                self._open[int(one.broker_id)] = new_york_day(one.placed)
            else:
                self._open.pop(int(one.broker_id), None)
        self._looked = today
