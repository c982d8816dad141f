"""The port every broker fits. Add a file here and the desk can trade through it.

The rule: a broker takes only what `RiskManager.review` approved, sends it once, and never tries an order again by
itself. What it cannot say for certain it says as OrderAmbiguous; what became of it is then found in `orders`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from domain.clock import Clock
from domain.context import AccountKind
from domain.orders import OrderRequest, OrderType, Side, Status
from domain.quotes import Quote
from risk_manager import Approved
from settings import Settings


@dataclass(frozen=True, slots=True)
class Estimate:
    """What an order would cost, in the account's currency. `cost` is what it takes from the cash (below zero: what it
    brings), `fees` included; `price` what a share is expected to fill at; `preview_id` the broker's name for it."""

    price: Decimal
    cost: Decimal
    fees: Decimal
    buying_power_after: Decimal
    preview_id: str = ""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was asked of the broker before an order leaves; the desk writes `known` and `preview_id` down with the
    marker SENDING. `known`: the orders of that account and symbol it listed just before, by its own ids (empty where
    it tells our name for each order); `handle` is the broker's own and comes back to it in `place`."""

    known: tuple[str, ...] = ()
    preview_id: str = ""
    handle: object = None


@dataclass(frozen=True, slots=True)
class CashMove:
    """Money that moved without a trade: a dividend, interest, a deposit. `id` is unique for ever."""

    id: str
    account: str
    amount: Decimal
    what: str
    time: datetime


@dataclass(frozen=True, slots=True)
class BrokerOrder:
    """An order as the broker lists it. `client_order_id` is '' where the broker never tells it; `status` one of
    WORKING PARTIAL FILLED CANCELLED EXPIRED REFUSED; `said` the broker's own words where it refused.
    `average_price` and `fees` are of what is `filled`."""

    broker_id: str
    account: str
    symbol: str
    side: Side
    quantity: Decimal
    type: OrderType
    status: Status
    placed: datetime
    updated: datetime
    limit: Decimal | None = None
    stop: Decimal | None = None
    trail: Decimal | None = None
    filled: Decimal = Decimal(0)
    client_order_id: str = ""
    said: str = ""
    average_price: Decimal | None = None
    fees: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class BrokerFill:
    """A trade at the broker; `id` is unique for ever, `recorded` when the broker wrote it down."""

    id: str
    broker_id: str
    account: str
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    time: datetime
    recorded: datetime


@dataclass(frozen=True, slots=True)
class BrokerAccount:
    """An account as the broker sees it now: `settled_cash` before resting orders, `buying_power` after them;
    `positions` without those of quantity zero, below zero when short, and what was paid for a share of each in `costs`;
    `bought_unsettled` the symbols held that were bought with money not yet settled."""

    name: str
    kind: AccountKind
    cash: Decimal
    settled_cash: Decimal
    buying_power: Decimal
    positions: Mapping[str, Decimal] = field(default_factory=dict)
    costs: Mapping[str, Decimal] = field(default_factory=dict)
    bought_unsettled: frozenset[str] = frozenset()


class Broker(Protocol):
    """A drawer file ends with `PART = ItsClass`; its class is made by `PART(settings, clock, desk)`, where `desk` is
    the name its state is kept under and `clock` the market's.

    name        the file's stem
    label       what a person reads
    real_money  False where nothing it does can move money
    oco         whether orders of one `group` cancel each other at the broker
    echoes_ids  whether `orders` tells the `client_order_id` it was given
    tells_fills whether it tells each fill; where not, `fills` is empty and `orders` tells the sum of each order's
    polled      whether asking costs: it has limits, and what it said a moment ago is good enough to judge by
    fence_s     how long after its signature an order may still arrive
    list_lag_s  how long after its arrival an order may be missing in `orders`
    """

    name: str
    label: str
    real_money: bool
    oco: bool
    echoes_ids: bool
    tells_fills: bool
    polled: bool
    fence_s: float
    list_lag_s: float

    def __init__(self, settings: Settings, clock: Clock, desk: str) -> None: ...

    @property
    def clock_skew_s(self) -> float | None:
        """How far the broker's clock is ahead of ours; None where it has not been seen yet."""
        ...

    def account_names(self) -> tuple[str, ...]:
        """Those one may be picked from, as last seen; none where all are traded side by side."""
        ...

    def use(self, account: str) -> None:
        """Trade this one of them from now on."""
        ...

    async def accounts(self) -> list[BrokerAccount]:
        """Every account that is traded. BrokerUnavailable (also where one must be picked first), SignInNeeded."""
        ...

    async def preview(self, request: OrderRequest) -> Estimate:
        """What it would cost; moves nothing and may be asked again. OrderRefused with every reason the broker has."""
        ...

    async def prepare(self, approved: Approved, *, client_order_id: str) -> Prepared:
        """Everything the broker must be asked before the order leaves; moves nothing and may be asked again.
        OrderRefused: it would not take it, or understood another order. BrokerUnavailable, SignInNeeded."""
        ...

    async def place(
        self,
        approved: Approved,
        *,
        client_order_id: str,
        prepared: Prepared,
        group: str = "",
        signed: datetime | None = None,
    ) -> str:
        """Send it, once; the broker's id for it. `prepared` is what `prepare` gave for this very sending, `signed` the
        moment written down for it. The same `client_order_id` again is OrderRefused or the same order, never a second
        one (where the broker can tell). `group`: what one order of it fills, the others lose.

        OrderRefused: final, it does not stand. BrokerUnavailable, SignInNeeded: nothing was sent. OrderAmbiguous:
        it may stand."""
        ...

    async def cancel(self, account: str, broker_id: str) -> None:
        """Ask to cancel; what became of it is in `orders`. OrderRefused: it is done already. The others as `place`."""
        ...

    async def orders(self, since: datetime) -> list[BrokerOrder]:
        """Every open order, and every one placed or changed from `since` on: in all states, all pages."""
        ...

    async def fills(self, since: datetime) -> list[BrokerFill]:
        """Every fill recorded from `since` on, oldest first; none where `tells_fills` is False."""
        ...

    async def cash_moves(self, since: datetime) -> list[CashMove]:
        """Money that moved without a trade from `since` on."""
        ...

    async def follow(self, quotes: Sequence[Quote]) -> None:
        """Newer quotes: what a broker that only simulates matches its orders against. A real one has no use for it."""
        ...

    async def close(self) -> None:
        """Give back connections. Safe to call twice."""
        ...
