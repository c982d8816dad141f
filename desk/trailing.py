"""Trailing stops: how near to the price each has come, and which order rests for it now.

The rule: a stop that trails is never placed anew further from the market than it stood. The nearest level so far is
kept in the ledger. Where a trailing order that is placed now would begin further away than that, or further away than
the fixed stop beside it, a plain stop rests at the nearer of the two until it would not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple, Protocol

import pandas as pd

from desk.protection import Rest
from desk.records import Protection
from desk.stop_leg import StopLeg, level_at, nearer, nearest, stop_leg
from desk.tools import Key, Tools
from domain import candles as cd
from domain.calendars import Phase
from domain.errors import DeskError
from domain.instruments import Instrument, instrument
from domain.orders import Purpose
from domain.quotes import Quote

NOT_AGAIN_FOR = timedelta(seconds=60)
LOOKS_BACK_AFTER = timedelta(seconds=60)
LOOKS_BACK_FOR_S = 10.0
MOST_BARS = 2_000
BACKWARDS = cd.timeframe("1m")
A_PART = Decimal("0.25")


class _Look(Protocol):
    """What is looked at of a position."""

    @property
    def held(self) -> Decimal: ...
    @property
    def plan(self) -> Protection: ...


class Unseen(NamedTuple):
    """The best price of what nobody saw since then; None where nothing traded."""

    since: datetime
    best: Decimal | None


class Trails:
    """The trailing stops of one engine."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._refused: dict[Key, datetime] = {}
        self._stood: dict[Key, Decimal] = {}
        self._back: dict[Key, asyncio.Task[Unseen | None]] = {}
        self._quoted: dict[Key, datetime] = {}

    # How near they have come

    def follow(self, looks: Mapping[Key, _Look]) -> bool:
        """Write down every level that has come nearer to the price since it was last looked at; whether any has."""
        trailing = {key: look for key, look in looks.items() if look.plan.trail is not None and look.held}
        self._forget_all_but(trailing)
        moved = {key: level for key, look in trailing.items() if (level := self._nearer(key, look)) is not None}
        if moved:
            with self._tools.write() as write:
                for (account, symbol), level in moved.items():
                    write.move_trail(account, symbol, level)
        return bool(moved)

    def _nearer(self, key: Key, look: _Look) -> Decimal | None:
        plan = look.plan
        assert plan.trail is not None
        if key[1] in self._tools.frozen or key[1] in self._tools.suspect:
            return None  # a split may have moved all prices
        quote, found = self._tools.facts.quotes.get(key[1]), plan.level
        if quote is not None and self._counts(quote, plan):
            found = nearest(look.held, found, level_at(look.held, quote.last, plan.trail))
        if (best := self._looked_back(key, plan)) is not None:
            found = nearest(look.held, found, level_at(look.held, best, plan.trail))
        return found if found != plan.level else None

    def _counts(self, quote: Quote, plan: Protection) -> bool:
        """A price of regular hours, when stops rest, and of a moment at which this trail followed already. On paper a
        late price counts at the moment it is told, since that is when orders meet it."""
        calendar, now = instrument(quote.symbol).calendar, self._tools.now()
        told = quote.time if self._tools.broker.polled else quote.time + timedelta(seconds=quote.delayed_s)
        open_ = calendar.phase(quote.time) is Phase.OPEN and calendar.phase(min(told, now)) is Phase.OPEN
        return open_ and (plan.since is None or told >= plan.since)

    # Which order rests

    def leg(self, key: Key, look: _Look) -> StopLeg:
        """How its stop shall rest now."""
        if look.plan.trail is None:
            return StopLeg(look.plan.stop)
        quote, tick = self._tools.facts.quotes.get(key[1]), instrument(key[1]).tick
        last = None if quote is None else quote.last
        found = stop_leg(look.held, look.plan, last, tick, may_trail=self._may_trail(key, quote))
        return self._not_too_often(key, look, found) if key in self._refused else found

    def refused(self, key: Key, why: str) -> None:
        """Neither gates nor broker take a trailing order: a plain stop rests instead, and is moved by hand."""
        self._refused[key] = self._tools.now()
        self._tools.note(f"trailing {key[0]} {key[1]}", f"The stop of {key[1]} cannot trail at the broker: {why}"[:300])

    def taken(self, key: Key, look: _Look, step: Rest) -> None:
        """This order rests. Where a plain one does in the stead of a trail that nothing has moved yet, outside regular
        hours for one, the trail stands there: another price does not move it away."""
        if step.trail is not None:
            self._refused.pop(key, None)
            self._stood.pop(key, None)
            self._tools.clear(f"trailing {key[0]} {key[1]}")
            return
        plan, price = look.plan, step.price
        if step.purpose is not Purpose.STOP or plan.trail is None or plan.level is not None or price is None:
            return
        if plan.stop is None or nearer(look.held, price, plan.stop):
            with self._tools.write() as write:
                write.move_trail(*key, price)

    def _may_trail(self, key: Key, quote: Quote | None) -> bool:
        now, refused = self._tools.now(), self._refused.get(key)
        if refused is not None and timedelta() <= now - refused < NOT_AGAIN_FOR:
            return False
        if quote is None or key in self._back or instrument(key[1]).calendar.phase(now) is not Phase.OPEN:
            return False
        age = abs((now - quote.time).total_seconds()) - quote.delayed_s
        return age <= float(self._tools.risk.limits.max_quote_age_s)

    def _not_too_often(self, key: Key, look: _Look, found: StopLeg) -> StopLeg:
        """While the desk itself moves a plain stop, it does so in steps of a quarter of the distance; a fixed stop that
        is nearer counts at once."""
        stood, trail = self._stood.get(key), look.plan.trail
        if found.trail is not None or found.price is None or trail is None:
            return found
        if stood is None or not nearer(look.held, found.price, stood) or abs(found.price - stood) >= trail * A_PART:
            self._stood[key] = found.price
            return found
        return StopLeg(nearest(look.held, stood, look.plan.stop), None, found.keeps)

    # What happened while nobody looked

    def look_back(self, looks: Mapping[Key, _Look]) -> None:
        """Where prices went unseen for a while at a broker whose orders followed them all the same, ask the candles,
        beside the turn, and for so long at most. On paper an order follows only what an engine tells it."""
        if not self._tools.broker.polled or self._tools.facts.bars is None:
            return
        for key, look in looks.items():
            quote = self._tools.facts.quotes.get(key[1])
            if look.plan.trail is None or look.plan.seen is None or quote is None:
                continue
            before = max(self._quoted.get(key, look.plan.seen), look.plan.seen)
            self._quoted[key] = max(before, quote.time)
            if quote.time - before > LOOKS_BACK_AFTER and key not in self._back:
                best = _best_since(self._tools, instrument(key[1]), before, up=look.held > 0)
                self._back[key] = asyncio.create_task(best)

    def _looked_back(self, key: Key, plan: Protection) -> Decimal | None:
        """The best price since, once it is known; nothing where the trail began anew meanwhile."""
        task = self._back.get(key)
        if task is None or not task.done():
            return None
        del self._back[key]
        found = None if task.cancelled() or task.exception() is not None else task.result()
        if found is None:
            self._tools.note(
                f"trailing {key[0]} {key[1]}",
                f"The candles of {key[1]} cannot be had: its trailing stop counts from what was seen before.",
            )
            return None
        return found.best if plan.since is None or plan.since <= found.since else None

    def _forget_all_but(self, trailing: Mapping[Key, _Look]) -> None:
        for kept in (self._refused, self._stood, self._quoted):
            for key in [key for key in kept if key not in trailing]:
                del kept[key]
        for key in [key for key in self._back if key not in trailing]:
            self._back.pop(key).cancel()
        self._tools.keep_only("trailing", (f"trailing {key[0]} {key[1]}" for key in trailing))

    async def close(self) -> None:
        """Nothing goes on."""
        tasks = list(self._back.values())
        self._back.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _best_since(tools: Tools, what: Instrument, seen: datetime, *, up: bool) -> Unseen | None:
    """The best price of all minutes of regular hours that began after `seen`; None where they cannot be had. The minute
    in which it was last seen is left out: nobody knows which part of it came before."""
    bars = tools.facts.bars
    assert bars is not None, "looked at before"
    count = len(cd.expected(seen, tools.now(), BACKWARDS, what)) + 1
    try:
        frame = await asyncio.wait_for(bars(what, BACKWARDS, min(count, MOST_BARS)), LOOKS_BACK_FOR_S)
    except (DeskError, TimeoutError):
        return None
    young = frame[frame.index >= pd.Timestamp(seen)]
    regular = [what.calendar.phase(time.to_pydatetime()) is Phase.OPEN for time in young.index]
    young = young[regular]
    if young.empty:
        return Unseen(seen, None)
    return Unseen(seen, Decimal(str(float(young["high"].max() if up else young["low"].min()))))
