"""A paper broker that speaks like E*TRADE: no name of ours in its list, sums instead of fills, one order a share."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal

from brokers.base import Broker, BrokerAccount, BrokerFill, BrokerOrder, CashMove, Estimate, Prepared
from domain.clock import Clock
from domain.errors import BrokerUnavailable, OrderAmbiguous, OrderRefused, SignInNeeded
from domain.orders import AT_BROKER, OrderRequest, Purpose
from domain.quotes import Quote
from risk_manager import Approved

ZERO = Decimal(0)


@dataclass
class Line:
    """What goes wrong next: `place` answers lost or never sent, in turn; whether the list hides what is new."""

    place: list[str] = field(default_factory=list)
    hides: bool = False
    deaf: bool = False
    refuses: Purpose | None = None
    signed_in: bool = True
    late: list[tuple[Approved, str]] = field(default_factory=list)


class MuteBroker:
    """The broker inside, as E*TRADE would tell of it."""

    name, label, real_money = "mute", "Mute broker", False
    oco, echoes_ids, tells_fills, polled = False, False, False, True
    fence_s, list_lag_s = 300.0, 30.0
    clock_skew_s: float | None = 0.0

    def __init__(self, inner: Broker, clock: Clock, line: Line | None = None) -> None:
        self.inner, self.clock, self.line = inner, clock, line or Line()
        self.moved: dict[str, Decimal] = defaultdict(Decimal)
        self.given: dict[str, Decimal] = defaultdict(Decimal)
        self.moves: list[CashMove] = []
        self.hidden: set[str] = set()
        self.names: tuple[str, ...] = ()
        self.used = ""

    def account_names(self) -> tuple[str, ...]:
        return self.names

    def use(self, account: str) -> None:
        self.used = account

    def _look(self) -> None:
        if not self.line.signed_in:
            raise SignInNeeded("sign in again")

    async def accounts(self) -> list[BrokerAccount]:
        self._look()
        return [self._as_held(account) for account in await self.inner.accounts()]

    def _as_held(self, account: BrokerAccount) -> BrokerAccount:
        """With the shares and the cash that came from outside."""
        held = dict(account.positions)
        for symbol, quantity in self.given.items():
            held[symbol] = held.get(symbol, ZERO) + quantity
        positions = {symbol: quantity for symbol, quantity in held.items() if quantity}
        costs = dict.fromkeys(positions, Decimal(50))
        return replace(account, cash=account.cash + self.moved[account.name], positions=positions, costs=costs)

    async def preview(self, request: OrderRequest) -> Estimate:
        self._look()
        return await self.inner.preview(request)

    async def prepare(self, approved: Approved, *, client_order_id: str) -> Prepared:
        self._look()
        asked = approved.request
        if asked.purpose is self.line.refuses:
            raise OrderRefused("9999: not today")
        await self._one_order_a_share(asked)
        known = [o.broker_id for o in await self.orders(self.clock.now() - timedelta(days=2))]
        return Prepared(tuple(known), f"p-{client_order_id}")

    async def _one_order_a_share(self, asked: OrderRequest) -> None:
        if asked.purpose is Purpose.ENTRY:
            return
        [account] = [a for a in await self.inner.accounts() if a.name == asked.account]
        free = abs(account.positions.get(asked.symbol, ZERO))
        for order in await self.inner.orders(self.clock.now()):
            if (order.account, order.symbol, order.side) == (asked.account, asked.symbol, asked.side):
                free -= order.quantity - order.filled if order.status in AT_BROKER else ZERO
        if asked.quantity > free:
            raise OrderRefused(f"1037: {free} {asked.symbol} are available")

    async def place(
        self,
        approved: Approved,
        *,
        client_order_id: str,
        prepared: Prepared,
        group: str = "",
        signed: datetime | None = None,
    ) -> str:
        self._look()
        assert prepared.preview_id == f"p-{client_order_id}", "prepared for another sending"
        assert signed is not None, "the moment of signing is not written down"
        fault = self.line.place.pop(0) if self.line.place else ""
        if fault == "lost on the way":
            raise OrderAmbiguous("no answer came")
        if fault == "late":
            self.line.late.append((approved, client_order_id))
            raise OrderAmbiguous("no answer came")
        await self._one_order_a_share(approved.request)
        broker_id = await self.inner.place(approved, client_order_id=client_order_id, prepared=Prepared())
        if fault:
            raise OrderAmbiguous("no answer came")
        return broker_id

    async def arrive(self) -> list[str]:
        """What was under way arrives now."""
        late, self.line.late = self.line.late, []
        return [await self.inner.place(one, client_order_id=name, prepared=Prepared()) for one, name in late]

    async def cancel(self, account: str, broker_id: str) -> None:
        self._look()
        await self.inner.cancel(account, broker_id)

    async def orders(self, since: datetime) -> list[BrokerOrder]:
        self._look()
        if self.line.deaf:
            raise BrokerUnavailable("503")
        fills = await self.inner.fills(datetime.min.replace(tzinfo=since.tzinfo))
        listed = await self.inner.orders(since)
        return [self._told(one, fills) for one in listed if not (self.line.hides and one.broker_id in self.hidden)]

    def _told(self, one: BrokerOrder, fills: Sequence[BrokerFill]) -> BrokerOrder:
        mine = [fill for fill in fills if fill.broker_id == one.broker_id]
        value = sum((fill.quantity * fill.price for fill in mine), ZERO)
        average = (value / one.filled).quantize(Decimal("1e-8")) if one.filled else None
        fees = sum((fill.fee for fill in mine), ZERO)
        return replace(one, client_order_id="", average_price=average, fees=fees)

    async def fills(self, since: datetime) -> list[BrokerFill]:
        return []

    async def cash_moves(self, since: datetime) -> list[CashMove]:
        return list(self.moves)

    async def follow(self, quotes: Sequence[Quote]) -> None:
        await self.inner.follow(quotes)

    async def close(self) -> None:
        await self.inner.close()
