"""Orders at E*TRADE: real money in production, none at the simulator.

The rule: an order is previewed, written down, and sent once. E*TRADE never tells the name we gave an order, so that
what stands is found again by what it looks like, among the orders that were not listed before it was sent.
"""

from __future__ import annotations

import hashlib
from base64 import b32encode
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, TypeVar

from brokers import _etrade_accounts as money
from brokers import _etrade_words as words
from brokers._etrade_list import DAY, Looks, new_york_day
from brokers.base import Broker, BrokerAccount, BrokerFill, BrokerOrder, CashMove, Estimate, Prepared
from domain.clock import Clock
from domain.errors import BrokerUnavailable, FeedUnavailable, OrderAmbiguous, OrderRefused, SettingsError, SignInNeeded
from domain.orders import OrderRequest, Purpose
from domain.quotes import Quote
from etrade.accounts import Account, named
from etrade.errors import KeyRefused, RequestWrong, SignInAgain
from etrade.orders import EtradeOrder, Preview
from etrade.session import LABELS, SIGN_IN, EtradeSession
from etrade.tokens import TokenState
from etrade_client import EtradeClient
from risk_manager import Approved
from settings import Settings

T = TypeVar("T")
Across = Callable[[Coroutine[Any, Any, Any]], Awaitable[Any]]

KEY_REFUSED = "E*TRADE refuses the consumer key: Settings → E*TRADE says what to do"
FENCE_S = 300.0  # an older signature is not accepted any more
WATERMARK = timedelta(days=2)
LATELY = timedelta(seconds=3)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PRICE_STEP = Decimal("0.0001")


class OrderSplit(OrderAmbiguous):
    """E*TRADE made several orders of one: all of them stand, under `broker_ids`."""

    def __init__(self, broker_ids: tuple[str, ...]) -> None:
        ids = ", ".join(broker_ids)
        said = f"E*TRADE split the order into a cash and a margin part, its orders {ids}: all of them stand"
        super().__init__(f"{said}; look at them on E*TRADE's web site")
        self.broker_ids = broker_ids


class EtradeBroker:
    """One account of whoever is signed in. `session` is lent where there is one already, with `across` to run a call on
    its loop; without, the broker has its own on the running loop. See the port for the calls.

    SettingsError: E*TRADE is off, a key is missing, it is the sandbox, or the session lent only reads.
    """

    name = "etrade"
    label = LABELS["production"]
    real_money = True
    oco = False
    echoes_ids = False
    tells_fills = False
    polled = True
    fence_s = FENCE_S

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        desk: str,
        *,
        session: EtradeSession | None = None,
        across: Across | None = None,
    ) -> None:
        if settings.etrade_environment == "sandbox":
            raise SettingsError(
                "E*TRADE's sandbox answers with canned orders: set ETRADE_ENVIRONMENT to production or simulator"
            )
        if session is not None and not session.trades:
            raise SettingsError("the E*TRADE session of this desk only reads: set TRADING=etrade")
        self._owns = session is None
        self._session = session if session is not None else EtradeSession(settings, clock, trades=True)
        self._across: Across = across or _here
        self._number, self._picked = settings.etrade_account_id, ""
        self._signed: datetime | None = None
        self._accounts: dict[str, Account] = {}
        self._looks: dict[str, Looks] = {}
        self._last_look: tuple[datetime, str, list[BrokerOrder]] = (EPOCH, "", [])
        self.label = self._session.label
        self.real_money = settings.etrade_environment == "production"
        self.list_lag_s = settings.etrade_list_lag_s

    # Which account

    def account_names(self) -> tuple[str, ...]:
        """Their masked numbers, as E*TRADE last told them; none before it was asked. From any thread."""
        return tuple(sorted(self._accounts))

    def use(self, account: str) -> None:
        """Trade this one from now on; '' goes back to the one in the settings. That there is such a one is seen when
        something is asked of it. From any thread."""
        self._picked = account

    # The port

    @property
    def clock_skew_s(self) -> float | None:
        return self._session.clock_skew_s

    async def accounts(self) -> list[BrokerAccount]:
        """The one account that is traded."""

        async def look(client: EtradeClient) -> list[BrokerAccount]:
            name, account = await self._traded(client)
            return [await money.standing(client, name, account, self._now())]

        return await self._ask(look)

    async def preview(self, request: OrderRequest) -> Estimate:
        order = words.wish(request)

        async def look(client: EtradeClient) -> Estimate:
            account = await self._for(client, request)
            made = await self._previewed(client, account, order, self._spare_id(request))
            after = made.buying_power_after
            if after is None:
                after = (await client.balance(account.key)).buying_power or Decimal(0)
            return _estimate(request, made, after)

        return await self._ask(look)

    async def prepare(self, approved: Approved, *, client_order_id: str) -> Prepared:
        _need(approved)
        order = words.wish(approved.request)

        async def look(client: EtradeClient) -> Prepared:
            account = await self._for(client, approved.request)
            made = await self._previewed(client, account, order, client_order_id)
            known = self._seen_lately(approved.request)
            if known is None:
                known = await self._listed(client, account, approved.request.symbol)
            return Prepared(known, ",".join(str(one.id) for one in made.ids), made)

        return await self._ask(look)

    async def place(
        self,
        approved: Approved,
        *,
        client_order_id: str,
        prepared: Prepared,
        group: str = "",
        signed: datetime | None = None,
    ) -> str:
        """See the port. ValueError where `prepared` is not of this very order. `group` means nothing to E*TRADE."""
        _need(approved)
        order, made = words.wish(approved.request), prepared.handle

        async def send(client: EtradeClient) -> str:
            account = await self._for(client, approved.request)
            if not isinstance(made, Preview):
                raise ValueError("nothing was prepared for this order: prepare it first")
            if (made.account_key, made.client_order_id, made.order, made.replaces) != (
                *(account.key, client_order_id, order),
                None,
            ):
                raise ValueError("what was prepared is another order: prepare this one")
            placed = await client.place(made, signed_at=signed)
            if len(placed.order_ids) > 1:
                raise OrderSplit(tuple(str(one) for one in placed.order_ids))
            return str(placed.order_id)

        return await self._ask(send)

    async def cancel(self, account: str, broker_id: str) -> None:
        async def send(client: EtradeClient) -> None:
            found = money.named(await self._known(client), account)
            if not (broker_id.isascii() and broker_id.isdigit()):
                raise OrderRefused(f"no order at E*TRADE is called {broker_id!r}")
            await client.cancel(found.key, int(broker_id))

        await self._ask(send)

    async def orders(self, since: datetime) -> list[BrokerOrder]:
        """The port's, for shares: brackets, spreads and options of the same account are not told."""

        async def look(client: EtradeClient) -> list[BrokerOrder]:
            name, account = await self._traded(client)
            looks = self._looks.setdefault(name, Looks(account.key, name, self._session.clock))
            asked = self._now()
            found = await looks.since(client, since)
            self._last_look = (asked, name, found)
            return found

        return await self._ask(look)

    async def fills(self, since: datetime) -> list[BrokerFill]:
        """None: E*TRADE tells how much of an order is filled, in `orders`."""
        return []

    async def cash_moves(self, since: datetime) -> list[CashMove]:
        async def look(client: EtradeClient) -> list[CashMove]:
            name, account = await self._traded(client)
            return await money.cash_moves(client, name, account, since, self._now())

        return await self._ask(look)

    async def follow(self, quotes: Sequence[Quote]) -> None:
        """Nothing: E*TRADE has its own."""

    async def close(self) -> None:
        if self._owns:
            await self._across(self._session.close())

    # Inside

    def _now(self) -> datetime:
        return self._session.clock.now()

    async def _ask(self, work: Callable[[EtradeClient], Coroutine[Any, Any, T]]) -> T:
        """What `work` gives, on the session's loop; its errors as the port knows them."""
        found: T = await self._across(self._there(work))
        return found

    async def _there(self, work: Callable[[EtradeClient], Coroutine[Any, Any, T]]) -> T:
        try:
            return await work(await self._client())
        except SignInAgain as error:
            self._session.went_wrong(error)
            raise SignInNeeded(self._why(error)) from None
        except RequestWrong as error:
            self._signed = None  # the accounts may have changed
            raise BrokerUnavailable(str(error)) from None
        except BrokerUnavailable:
            raise
        except FeedUnavailable as error:
            raise BrokerUnavailable(str(error)) from None

    def _why(self, error: SignInAgain) -> str:
        """What a person must do; where the sign-in itself is good (this machine's clock is wrong), E*TRADE's reason."""
        if isinstance(error, KeyRefused):
            return KEY_REFUSED
        good = self._session.owner and self._session.client.sign_in().usable
        return str(error) if good else SIGN_IN

    async def _client(self) -> EtradeClient:
        if self._owns and not self._session.owner:
            await self._session.keep_alive()
        client = self._session.trader
        stands = client.sign_in()
        if not stands.usable:
            raise SignInNeeded(KEY_REFUSED if stands.state is TokenState.KEY_REFUSED else SIGN_IN)
        return client

    async def _known(self, client: EtradeClient) -> dict[str, Account]:
        """The accounts by name, read once a sign-in."""
        signed = client.sign_in().issued_at
        if not self._accounts or signed != self._signed:
            self._accounts, self._signed = named(await client.accounts()), signed
        return self._accounts

    async def _traded(self, client: EtradeClient) -> tuple[str, Account]:
        return money.chosen(await self._known(client), self._picked, self._number)

    async def _for(self, client: EtradeClient, request: OrderRequest) -> Account:
        """The account of a request, which must be the one that is traded."""
        account = money.named(await self._known(client), request.account)
        name, _ = await self._traded(client)
        if request.account != name:
            raise OrderRefused(f"account {request.account} is not the one this desk trades, which is {name}")
        return account

    async def _previewed(self, client: EtradeClient, account: Account, order: EtradeOrder, name: str) -> Preview:
        """E*TRADE's preview, where it would take just this order, as one."""
        try:
            made = await client.preview(account.key, order, name)
        except RequestWrong as error:
            raise OrderRefused(str(error)) from None
        if made.differs:
            raise OrderRefused(f"E*TRADE understood another order: {'; '.join(made.differs)}")
        if wrong := [message.text or str(message.code) for message in made.messages if message.kind == "ERROR"]:
            raise OrderRefused(f"E*TRADE would not take it: {'; '.join(wrong)}")
        if len(made.ids) > 1:
            raise OrderRefused(
                f"E*TRADE would split the order into {len(made.ids)}, part cash and part margin: send it in two orders"
            )
        return made

    async def _listed(self, client: EtradeClient, account: Account, symbol: str) -> tuple[str, ...]:
        today = new_york_day(self._now())
        listed = await client.orders(account.key, start=today - WATERMARK, end=today + DAY, symbols=[symbol])
        return tuple(sorted(str(one.id) for one in listed))

    def _seen_lately(self, request: OrderRequest) -> tuple[str, ...] | None:
        """What a look a moment ago showed of this symbol: good enough before an exit, whose shares E*TRADE has once
        only; before an entry the list is read anew."""
        at, account, seen = self._last_look
        fresh = timedelta() <= self._now() - at <= LATELY
        if request.purpose is Purpose.ENTRY or not fresh or account != request.account:
            return None
        return tuple(sorted(one.broker_id for one in seen if one.symbol == request.symbol))

    def _spare_id(self, request: OrderRequest) -> str:
        """A name for a preview that is never placed."""
        digest = hashlib.sha256(f"{request!r} {self._now().isoformat()}".encode()).digest()
        return b32encode(digest).decode()[:20]


def _need(approved: Approved) -> None:
    if not isinstance(approved, Approved):
        raise TypeError("a broker takes only what RiskManager.review() approved")


def _estimate(request: OrderRequest, made: Preview, after: Decimal) -> Estimate:
    """E*TRADE names the whole, fees included, below zero for a sale; the price of a share is what is left of it."""
    fees = (made.commission or Decimal(0)) + (made.fees or Decimal(0))
    price = request.limit
    if made.total is None and price is None:
        raise BrokerUnavailable("E*TRADE's preview names no total: ask again")
    sign, quantity = request.side.sign, request.quantity
    cost = made.total if made.total is not None else sign * quantity * (price or Decimal(0)) + fees
    worth = (sign * (cost - fees) / quantity).quantize(PRICE_STEP)
    said = tuple(message.text or str(message.code) for message in made.messages)
    preview_id = ",".join(str(one.id) for one in made.ids)
    return Estimate(price if price is not None else worth, cost, fees, after, preview_id, said)


async def _here(work: Coroutine[Any, Any, T]) -> T:
    return await work


PART: type[Broker] = EtradeBroker
