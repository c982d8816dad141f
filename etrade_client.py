"""E*TRADE's API v1 as one asynchronous client: typed answers, errors by what to do next, nothing sent twice.

    client = EtradeClient.from_settings(settings, SystemClock())
    asked = await client.request_token()
    print(client.authorize_url(asked))                   # a person opens it and copies the code
    await client.access_token(asked, "WX8Y2")
    account = await client.account(settings.etrade_account_id)
    order = EtradeOrder((Leg.stock("MSFT", Action.BUY, 10),), PriceType.LIMIT, limit=Decimal("519.50"))
    preview = await client.preview(account.key, order, "TB251008K7Q2M9XA")
    placed = await client.place(preview)

Reads are repeated within limits. `place`, `change` and `cancel` send once: OrderRefused is final, OrderAmbiguous means
that it may stand, and BrokerUnavailable or SignInNeeded that nothing was sent. A client lives on one event loop.
An `EtradeReader` is the same without preview, place, change and cancel: nothing that holds one can order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Self

from domain import clock as clocks
from domain.clock import Clock
from domain.errors import SettingsError
from etrade.account_calls import AccountCalls
from etrade.accounts import Account, Balance, Lot, Position, Transaction
from etrade.alert_calls import AlertCalls
from etrade.alerts import Alert, AlertDetails, Deleted
from etrade.calls import Caller
from etrade.doctor import Check, Verdict, doctor
from etrade.environments import PRODUCTION, SANDBOX, Environment, simulator
from etrade.errors import (
    Ambiguous,
    EtradeError,
    KeyRefused,
    OverLimit,
    Refused,
    RequestWrong,
    SignInAgain,
    Unavailable,
    Unreadable,
    masked,
)
from etrade.limits import LIMITS, Budget, Limit, Limits, Module
from etrade.listed import ListedLeg, ListedOrder, OrderPart, OrderStatus
from etrade.market import Detail, EtradeQuote, Extended, Found, Option, Product, Quotes
from etrade.market_calls import MarketCalls
from etrade.order_calls import OrderCalls, OrderReads
from etrade.orders import (
    Action,
    CancelAsked,
    EtradeOrder,
    Leg,
    MarketSession,
    Message,
    Placed,
    Preview,
    PriceType,
    Term,
)
from etrade.sign_in import SignInCalls
from etrade.signing import Keys, Pair
from etrade.tokens import (
    RequestToken,
    SignIn,
    TokenKeeper,
    TokenState,
    TokenStore,
    explain,
    seconds_to_midnight,
)
from etrade.transport import AiohttpTransport, Reply, Request, Transport, TransportError
from etrade.vault import Vault
from settings import Settings

__all__ = [
    "LIMITS", "PRODUCTION", "SANDBOX", "Account", "Action", "Alert", "AlertDetails", "Ambiguous", "Balance", "Budget",
    "CancelAsked", "Check", "Deleted", "Detail", "Environment", "EtradeClient", "EtradeError", "EtradeOrder",
    "EtradeQuote", "EtradeReader", "Extended", "Found", "KeyRefused", "Keys", "Leg", "Limit", "Limits", "ListedLeg",
    "ListedOrder", "Lot", "MarketSession", "Message", "Module", "Option", "OrderPart", "OrderStatus", "OverLimit",
    "Pair", "Placed", "Position", "Preview", "PriceType", "Product", "Quotes", "Refused", "Reply", "Request",
    "RequestToken", "RequestWrong", "SignIn", "SignInAgain", "Term", "TokenState", "Transaction", "Transport",
    "TransportError", "Unavailable", "Unreadable", "Vault", "Verdict", "doctor", "explain", "masked",
    "seconds_to_midnight", "simulator",
]  # fmt: skip

# What the simulator prints at its start.
SIMULATOR_KEYS = Keys("simulatorDemoKey0001", "demo/Simulator+Secret=")


class EtradeReader(SignInCalls, AccountCalls, MarketCalls, OrderReads, AlertCalls):
    """One consumer key at one environment, for one person. The call budget is this process's: run one."""

    def __init__(
        self,
        environment: Environment,
        keys: Keys,
        store: TokenStore,
        clock: Clock,
        *,
        transport: Transport | None = None,
        limits: Limits | None = None,
        monotonic: Callable[[], float] = clocks.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._transport, self._limits = transport or AiohttpTransport(), limits or Limits(monotonic, sleep)
        keeper = TokenKeeper(store, keys, environment.name, clock)
        caller = Caller(environment, keys, keeper, clock, self._transport, self._limits, monotonic, sleep)
        super().__init__(environment, keys, keeper, caller, clock)

    @classmethod
    def from_settings(
        cls, settings: Settings, clock: Clock, *, transport: Transport | None = None, store: TokenStore | None = None
    ) -> Self:
        """SettingsError where E*TRADE is off or a key is missing."""
        name, keys = settings.etrade_environment, Keys(settings.etrade_consumer_key, settings.etrade_consumer_secret)
        if name == "off":
            raise SettingsError("E*TRADE is off: set ETRADE_ENVIRONMENT to sandbox, production or simulator")
        if name == "simulator":
            keys = keys if keys.key and keys.secret else SIMULATOR_KEYS
        missing = [
            label
            for label, value in (("ETRADE_CONSUMER_KEY", keys.key), ("ETRADE_CONSUMER_SECRET", keys.secret))
            if not value
        ]
        if missing:
            raise SettingsError(f"{' and '.join(missing)} missing: E*TRADE gives a key for each environment")
        places = {"production": PRODUCTION, "sandbox": SANDBOX}
        place = places.get(name) or simulator(settings.etrade_simulator_url)
        return cls(place, keys, store or Vault(settings.etrade_dir), clock, transport=transport)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.environment.name}, {self.sign_in().state})"

    def budget(self) -> dict[Module, Budget]:
        """What is left of E*TRADE's limits in this second and this hour."""
        return self._limits.budget()

    @property
    def clock_skew_s(self) -> float | None:
        """How far E*TRADE's clock is ahead of ours, from its last answer; None before one."""
        return self._caller.skew.total_seconds() if self._caller.skew is not None else None

    async def close(self) -> None:
        """Give back connections. Safe to call twice."""
        await self._transport.close()


class EtradeClient(EtradeReader, OrderCalls):
    """A reader that can also preview, place, change and cancel orders."""
