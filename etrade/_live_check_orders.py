"""The orders of the live check: each is known from before it is sent until it is seen to be cancelled.

E*TRADE's list names no clientOrderId. An order is this check's where E*TRADE answered with its number, or where it
looks the same, was not there before, and an answer is missing; never more of these than answers that are missing.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from domain.calendars import NEW_YORK
from domain.clock import Clock
from domain.errors import BrokerUnavailable, DeskError
from etrade._live_check_guard import Guard
from etrade._live_check_talk import Pace
from etrade.errors import Ambiguous, EtradeError, Refused
from etrade.listed import ListedOrder, OrderStatus
from etrade.orders import Action, EtradeOrder, Leg, Preview, PriceType
from etrade_client import EtradeClient

LOOK_EVERY_S = 0.5
SKEW = timedelta(seconds=60)
WATCH_NO_S = 15.0  # after a plain no, the list is watched all the same
WATCH_SILENCE_S = 330.0  # a signed order may be taken for five minutes; and the list may lag
CANCELLED_WITHIN_S = 60.0
READ_WITHIN_S = 30.0
TRIES = 5
_DONE = frozenset({OrderStatus.CANCELLED, OrderStatus.REJECTED, OrderStatus.EXPIRED, OrderStatus.EXECUTED})


class Outcome(StrEnum):
    """Of a placing. A NO is a whole answer with an error's code; after SILENT nobody knows."""

    UNDER_WAY = "under way"
    PLACED = "placed"
    NO = "refused"
    SILENT = "no certain answer"
    UNSENT = "not sent"
    FOUND = "found in the list"


@dataclass(slots=True)
class Sent:
    """One placing. `ids` are its order numbers, as answered or as found; `begun` is the pace's time."""

    client_order_id: str
    begun: float
    outcome: Outcome = Outcome.UNDER_WAY
    ids: tuple[int, ...] = ()
    code: int | None = None
    status: int = 0
    said: str = ""
    answered: float = 0.0

    @property
    def words(self) -> str:
        return self.said if self.outcome is Outcome.UNSENT else no_words(self.status, self.code, self.said)

    @property
    def unclear(self) -> bool:
        """Whether an order of it may stand that is not known."""
        return not self.ids and self.outcome in (Outcome.UNDER_WAY, Outcome.NO, Outcome.SILENT)


@dataclass(frozen=True, slots=True)
class CancelSaid:
    """What a cancel was answered with."""

    taken: bool
    words: str
    code: int | None = None
    status: int = 0


class Hand:
    """Everything the check does with orders."""

    def __init__(self, client: EtradeClient, guard: Guard, account_key: str, clock: Clock, pace: Pace) -> None:
        self._client, self._guard, self._key, self._clock, self._pace = client, guard, account_key, clock, pace
        self.order: EtradeOrder | None = None
        self.sent: list[Sent] = []
        self.rows: dict[int, ListedOrder] = {}
        self.too_many: tuple[int, ...] = ()
        self.watch_no_s = WATCH_NO_S
        self._before: frozenset[int] = frozenset()
        self._begun = clock.now()
        self._under_way: set[asyncio.Task[Any]] = set()
        self._asked: set[int] = set()

    @property
    def ids(self) -> tuple[int, ...]:
        return tuple(dict.fromkeys(number for one in self.sent for number in one.ids))

    async def begin(self, symbol: str, limit: Decimal) -> None:
        """From here on there is one order, and what the list shows now is somebody else's."""
        self.order = EtradeOrder((Leg.stock(symbol, Action.BUY, 1),), PriceType.LIMIT, limit=limit)
        self._before = frozenset(row.id for row in await self._list())

    def new_id(self) -> str:
        return f"LC{int(self._clock.now().timestamp() * 1000):X}{secrets.token_hex(3).upper()}"[:20]

    async def preview(self, client_order_id: str) -> Preview:
        assert self.order is not None
        return await self._client.preview(self._key, self.order, client_order_id)

    async def place(self, preview: Preview) -> Sent:
        """Once, and to the end even where the person stops meanwhile. An old preview is sent as well: whether E*TRADE
        takes it is the question."""
        sent = Sent(preview.client_order_id, self._pace.monotonic())
        self.sent.append(sent)
        await self._to_the_end(self._place(sent, replace(preview, at=self._clock.now())))
        return sent

    async def _place(self, sent: Sent, preview: Preview) -> None:
        try:
            placed = await self._client.place(preview)
        except (Refused, Ambiguous) as error:
            whole = isinstance(error, Refused) or (error.code is not None and 400 <= error.status < 500)
            sent.outcome = Outcome.NO if whole else Outcome.SILENT
            sent.code, sent.status, sent.said = error.code, error.status, _bare(error.said)
        except DeskError as error:
            sent.outcome, sent.said = Outcome.UNSENT, str(error)
        else:
            sent.outcome, sent.status = Outcome.PLACED, 200
            sent.said = "; ".join(message.text for message in placed.messages)
            self._own(sent, placed.order_ids)
        sent.answered = self._pace.monotonic()

    async def cancel(self, order_id: int) -> CancelSaid:
        found: list[CancelSaid] = []
        self._asked.add(order_id)
        await self._to_the_end(self._cancel(order_id, found))
        return found[0]

    async def _cancel(self, order_id: int, found: list[CancelSaid]) -> None:
        try:
            asked = await self._client.cancel(self._key, order_id)
        except (Refused, Ambiguous) as error:
            words = no_words(error.status, error.code, _bare(error.said))
            found.append(CancelSaid(False, words, error.code, error.status))
        except DeskError as error:
            self._asked.discard(order_id)
            found.append(CancelSaid(False, f"not sent: {error}", getattr(error, "code", None)))
        else:
            code = asked.messages[0].code if asked.messages else None
            found.append(CancelSaid(True, f"taken, with code {code or 'none'}", code, 200))

    async def look(self) -> dict[int, ListedOrder]:
        """This check's orders as the list has them now."""
        rows = {row.id: row for row in await self._list()}
        strange = sorted(number for number, row in rows.items() if self._is_strange(row))
        unclear = self._unclear()
        if len(strange) <= len(unclear):
            for one, number in zip(unclear, strange, strict=False):
                one.outcome = Outcome.FOUND
                self._own(one, (number,))
            strange = []
        self.too_many = tuple(strange)
        self.rows = {number: rows[number] for number in self.ids if number in rows}
        return self.rows

    async def look_until(self, there: Callable[[], bool], until: float) -> bool:
        """Look twice a second until `there()` or the pace's time is `until`; a look that fails is no answer."""
        while True:
            try:
                await self.look()
            except BrokerUnavailable:
                pass
            else:
                if there():
                    return True
            if self._pace.monotonic() >= until:
                return False
            await self._pace.rest(LOOK_EVERY_S)

    def expect_lag(self, seconds: float) -> None:
        """The list was seen to lag so much: a no is watched for longer."""
        self.watch_no_s = max(self.watch_no_s, seconds * 3 + 5)

    async def watch(self, sent: Sent) -> None:
        """Until an order of this placing shows up, or none can any more."""
        if sent.unclear:
            await self.look_until(lambda: not sent.unclear, self._watch_until(sent))

    async def ended(self, numbers: tuple[int, ...]) -> bool:
        """Whether all of them are seen to be over within a minute."""
        until = self._pace.monotonic() + CANCELLED_WITHIN_S
        return await self.look_until(lambda: all(self.status(number) in _DONE for number in numbers), until)

    def status(self, number: int) -> str:
        """As last seen; '' where the list has not shown it."""
        row = self.rows.get(number)
        return row.parts[0].status if row is not None else ""

    def bought(self) -> tuple[int, ...]:
        """Orders that filled."""
        return tuple(n for n, row in self.rows.items() if any(leg.filled for part in row.parts for leg in part.legs))

    async def clean_up(self) -> list[str]:
        """Cancel what stands, wait for what is not certain; then a sentence for everything that is left behind."""
        if self._under_way:
            await asyncio.wait(self._under_way)
        if not self.sent:
            return []
        read = False
        for _ in range(TRIES):
            read = await self.look_until(lambda: True, self._pace.monotonic() + READ_WITHIN_S)
            await self._cancel_standing()
            if (wait_s := self.waits_s()) > 0:
                until = self._pace.monotonic() + wait_s
                await self.look_until(lambda: bool(self._standing()) or not self._unclear(), until)
            if read and not self._standing():
                break
        return self._left(read)

    def waits_s(self) -> float:
        """How long the clean-up may have to look for an order whose answer is missing."""
        return max((self._watch_until(one) for one in self._unclear()), default=0.0) - self._pace.monotonic()

    def unfinished(self) -> list[str]:
        """What to say where the clean-up itself was stopped."""
        return self._left(False) if self.sent else []

    async def _cancel_standing(self) -> None:
        for number in self._standing():
            if number not in self._asked or self.status(number) == OrderStatus.OPEN:
                await self.cancel(number)
        if standing := self._standing():
            await self.ended(standing)

    def _standing(self) -> tuple[int, ...]:
        return tuple(number for number in self.ids if self.status(number) not in _DONE)

    def _unclear(self) -> list[Sent]:
        """Placings that may have left an order nobody has seen: those without an answer first, then the newest."""
        unclear = [one for one in self.sent if one.unclear]
        return sorted(unclear, key=lambda one: (one.outcome is Outcome.NO, -one.begun))

    def _watch_until(self, sent: Sent) -> float:
        return sent.begun + (self.watch_no_s if sent.outcome is Outcome.NO else WATCH_SILENCE_S)

    def _left(self, read: bool) -> list[str]:
        left = [self._standing_words(number) for number in self._standing()]
        for number in self.bought():
            left.append(f"ORDER {number} WAS FILLED: a share was bought. This check sells nothing: keep it or sell it.")
        for number in self.too_many:
            left.append(
                f"ORDER {number} looks like this check's and is more than it sent: look at it on E*TRADE's web site "
                "and cancel it there if it is not yours."
            )
        now = self._pace.monotonic()
        if any(one.outcome is not Outcome.NO and self._watch_until(one) > now for one in self._unclear()):
            left.append(NOT_CERTAIN)
        if not read and not left:
            left.append("THE LIST OF ORDERS COULD NOT BE READ at the end: " + LOOK_THERE)
        return left

    def _standing_words(self, number: int) -> str:
        seen = self.status(number) or "not seen in the list"
        return f"ORDER {number} MAY STILL STAND ({seen}): cancel it on E*TRADE's web site, under Orders."

    async def _list(self) -> tuple[ListedOrder, ...]:
        """All of them, as the desk reads them: no filter but the days."""
        today = self._clock.now().astimezone(NEW_YORK).date()
        return await self._client.orders(self._key, start=today - timedelta(days=1), end=today)

    def _is_strange(self, row: ListedOrder) -> bool:
        """It looks like this check's order, and its number is not known."""
        assert self.order is not None
        if row.id in self._before or row.id in self.ids or len(row.parts) != 1 or len(row.parts[0].legs) != 1:
            return False
        part, leg, order = row.parts[0], row.parts[0].legs[0], self.order
        seen = (leg.product.symbol, leg.action, leg.quantity, part.price_type, part.limit)
        mine = (order.legs[0].product.symbol, Action.BUY.value, Decimal(1), order.price_type.value, order.limit)
        return seen == mine and part.placed >= self._begun - SKEW

    def _own(self, sent: Sent, numbers: tuple[int, ...]) -> None:
        sent.ids = numbers
        self._guard.own |= set(numbers)

    async def _to_the_end(self, work: Coroutine[Any, Any, None]) -> None:
        """Ctrl+C does not cut off what is on its way: the clean-up waits for it."""
        task = asyncio.ensure_future(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        await asyncio.shield(task)


LOOK_THERE = "look on E*TRADE's web site, under Orders, for BUY 1 at this limit, and cancel it there."
NOT_CERTAIN = "AN ORDER WENT OUT WITHOUT A CERTAIN ANSWER and may still appear within six minutes: " + LOOK_THERE


def no_words(status: int, code: int | None, said: str) -> str:
    """An answer that was no success, in a line."""
    if not status:
        return f"no answer ({said})" if said else "no answer"
    return f"HTTP {status}, code {code if code is not None else 'none'}: {said or 'nothing said'}"


def _bare(said: str) -> str:
    """E*TRADE's words without ours before them."""
    return re.sub(r"^it answered \d+: ", "", said)


def error_words(error: EtradeError) -> str:
    return no_words(error.status, error.code, error.said or str(error))
