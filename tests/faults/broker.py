"""A broker on a bad line: what is asked may never arrive, and what was done may never be heard of."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from brokers.base import Broker, BrokerAccount, BrokerFill, BrokerOrder, CashMove, Estimate, Prepared
from desk.crash import crash_point
from domain.errors import BrokerUnavailable, OrderAmbiguous, OrderRefused
from domain.orders import OrderRequest
from domain.quotes import Quote
from risk_manager import Approved

PLACE_FAULTS = ("never sent", "lost on the way", "answer lost", "line broke", "refused")
CANCEL_FAULTS = ("never sent", "lost on the way", "answer lost")
LOOKS = ("accounts", "orders", "fills")
DOWN = "down"


class Faults(Protocol):
    """What goes wrong with the next call of this name; '' where nothing does."""

    def next(self, call: str) -> str: ...


@dataclass(slots=True)
class Told:
    """The faults a test asked for: one each for the next places and cancels, and what is down until it is not."""

    queued: dict[str, deque[str]] = field(default_factory=lambda: {"place": deque(), "cancel": deque()})
    down: set[str] = field(default_factory=set)
    met: Counter[str] = field(default_factory=Counter)

    def next(self, call: str) -> str:
        waiting = self.queued.get(call)
        fault = waiting.popleft() if waiting else DOWN if call in self.down else ""
        if fault:
            self.met[f"{call}: {fault}"] += 1
        return fault

    def none_any_more(self) -> None:
        self.down.clear()
        for waiting in self.queued.values():
            waiting.clear()


@dataclass(slots=True)
class Chance:
    """Faults by chance, at a rate for each call."""

    chance: random.Random
    rates: Mapping[str, float]
    met: Counter[str] = field(default_factory=Counter)

    def next(self, call: str) -> str:
        if self.chance.random() >= self.rates.get(call, 0.0):
            return ""
        kinds = {"place": PLACE_FAULTS, "cancel": CANCEL_FAULTS}.get(call, (DOWN,))
        fault = self.chance.choice(kinds)
        self.met[f"{call}: {fault}"] += 1
        return fault


class FaultyBroker:
    """The broker inside, reached over that line. `asked` hears of every place and cancel that arrives there."""

    def __init__(
        self, inner: Broker, faults: Faults, asked: Callable[[str, OrderRequest | None], None] = lambda call, what: None
    ) -> None:
        self.inner, self._faults, self._asked = inner, faults, asked
        self.name, self.label, self.real_money = inner.name, inner.label, inner.real_money
        self.oco, self.echoes_ids, self.tells_fills = inner.oco, inner.echoes_ids, inner.tells_fills
        self.polled, self.fence_s, self.list_lag_s = inner.polled, inner.fence_s, inner.list_lag_s

    @property
    def clock_skew_s(self) -> float | None:
        return self.inner.clock_skew_s

    def account_names(self) -> tuple[str, ...]:
        return self.inner.account_names()

    def use(self, account: str) -> None:
        self.inner.use(account)

    async def prepare(self, approved: Approved, *, client_order_id: str) -> Prepared:
        return await self.inner.prepare(approved, client_order_id=client_order_id)

    async def cash_moves(self, since: datetime) -> list[CashMove]:
        return await self.inner.cash_moves(since)

    async def place(self, approved: Approved, **names: Any) -> str:
        fault = self._faults.next("place")
        self._before(fault)
        if fault == "refused":
            raise OrderRefused("not today")
        crash_point("bytes_sent")
        self._asked("place", approved.request)
        broker_id = await self.inner.place(approved, **names)
        crash_point("accepted")
        self._after(fault)
        return broker_id

    async def cancel(self, account: str, broker_id: str) -> None:
        fault = self._faults.next("cancel")
        self._before(fault)
        crash_point("cancel_sent")
        self._asked("cancel", None)
        await self.inner.cancel(account, broker_id)
        crash_point("cancel_accepted")
        self._after(fault)

    def _before(self, fault: str) -> None:
        if fault == "never sent":
            raise BrokerUnavailable("the line is dead")
        if fault == "lost on the way":
            raise OrderAmbiguous("no answer came")

    def _after(self, fault: str) -> None:
        if fault == "answer lost":
            raise OrderAmbiguous("no answer came")
        if fault == "line broke":
            raise ConnectionResetError(104, "connection reset by peer")

    def _look(self, call: str) -> None:
        if self._faults.next(call):
            raise BrokerUnavailable(f"{call}: 503")

    async def accounts(self) -> list[BrokerAccount]:
        self._look("accounts")
        return await self.inner.accounts()

    async def orders(self, since: datetime) -> list[BrokerOrder]:
        self._look("orders")
        return await self.inner.orders(since)

    async def fills(self, since: datetime) -> list[BrokerFill]:
        self._look("fills")
        return await self.inner.fills(since)

    async def preview(self, request: OrderRequest) -> Estimate:
        return await self.inner.preview(request)

    async def follow(self, quotes: Sequence[Quote]) -> None:
        await self.inner.follow(quotes)

    async def close(self) -> None:
        await self.inner.close()
