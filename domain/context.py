"""Everything a review looks at, handed in explicitly, and how it is read: what is missing, not finite or of the wrong
type is `Unreadable`, and an input that cannot be read refuses.

Nothing here checks itself when it is made: a broken input must come to the gates, to be refused and logged there.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from domain.calendars import MarketState
from domain.errors import DeskError
from domain.instruments import Instrument
from domain.limits import Limits
from domain.orders import OPEN, Order, OrderRequest, OrderType, Purpose, Side
from domain.quotes import Quote
from domain.round_trips import RoundTrip
from domain.trading_state import TradingState

ZERO = Decimal(0)
MOST = Decimal(10) ** 15


class Unreadable(DeskError, ValueError):
    """An input no gate may trust."""


class AccountKind(StrEnum):
    CASH = "cash"
    MARGIN = "margin"


@dataclass(frozen=True, slots=True)
class Sent:
    """An order that went out, as far as the pace of orders is concerned."""

    time: datetime
    symbol: str
    side: Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The world at `now`, for one account and one instrument. Money is Decimal in the account's currency, times are
    aware. A short position's quantity is below zero.

    `clock_skew_s`     our clock minus the broker's
    `simulated`        the desk's prices are made up; `accept_simulated`, `accept_delayed`: the desk's explicit yes
    `opened`           the open of the session that runs now; None where none does, or the market never closes
    `day_began`        the first moment of the exchange's day; `day_start_equity` is the breaker's `start_equity`
    `buying_power`     what the broker would still lend and let us spend, resting orders taken off
    `settled_cash`     before resting orders: the gate takes those off itself
    `prices`           the newest price of every symbol held, resting or asked for
    `resting`          every open order of the account, but for the one under review
    `linked`           ids among `resting` that this order replaces, or that cancel each other with it: the stop beside
                       a target. Their shares are not counted twice.
    `adv`              average daily volume, in shares
    `sectors`          a sector for each of those symbols; those of sector "" count as one sector
    `correlations`     symbol by symbol, as `frame.corr().to_dict()` gives it; a pair missing there moves together
    `trips`            the account's round trips that closed in the last two days, oldest first
    `frozen`           symbols nobody may trade until a person has looked
    `bought_unsettled` symbols held that were bought with money not yet settled
    `fees`             what this order is expected to cost beside its price
    """

    now: datetime
    account: str
    account_kind: AccountKind
    global_state: TradingState
    account_state: TradingState
    instrument_state: TradingState
    mode_armed: bool
    actor: str
    actor_allowed: bool
    broker_ready: bool
    market: MarketState
    opened: datetime | None
    clock_skew_s: float
    instrument: Instrument
    quote: Quote | None
    simulated: bool
    accept_simulated: bool
    accept_delayed: bool
    equity: Decimal
    day_start_equity: Decimal
    peak_equity: Decimal
    breaker_latched: bool
    day_began: datetime
    cash: Decimal
    settled_cash: Decimal
    buying_power: Decimal
    positions: Mapping[str, Decimal]
    prices: Mapping[str, Decimal]
    resting: tuple[Order, ...]
    recent: tuple[Sent, ...]
    consecutive_refusals: int
    adv: Decimal
    sectors: Mapping[str, str]
    correlations: Mapping[str, Mapping[str, float]]
    trips: tuple[RoundTrip, ...]
    frozen: frozenset[str] = frozenset()
    linked: frozenset[str] = frozenset()
    bought_unsettled: frozenset[str] = frozenset()
    fees: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Case:
    """A request, its world and the limits: what every gate is asked about."""

    request: OrderRequest
    context: Context
    limits: Limits

    @property
    def now(self) -> datetime:
        return moment("now", self.context.now)

    @property
    def quantity(self) -> Decimal:
        return money("quantity", self.request.quantity, above=ZERO)

    @property
    def equity(self) -> Decimal:
        return money("equity", self.context.equity, above=ZERO)

    def limit(self, name: str) -> Decimal:
        """A numeric limit, exactly as it was written."""
        return number(name, getattr(self.limits, name))

    # The market

    @property
    def quote(self) -> Quote:
        if not isinstance(self.context.quote, Quote):
            raise Unreadable(f"{self.request.symbol} has no quote: wait until the feed delivers one")
        return self.context.quote

    @property
    def bid(self) -> Decimal:
        return money("the quote's bid", self.quote.bid, above=ZERO)

    @property
    def ask(self) -> Decimal:
        return money("the quote's ask", self.quote.ask, above=ZERO)

    @property
    def mid(self) -> Decimal:
        return (self.bid + self.ask) / 2

    @property
    def worst_price(self) -> Decimal:
        """What a share may cost, or be worth, when this order fills."""
        asked, ask = self.request, self.ask
        if asked.side is Side.SELL:
            return max(ask, asked.limit or ask)
        if asked.type in (OrderType.LIMIT, OrderType.STOP_LIMIT):
            return money("limit", asked.limit, above=ZERO)
        if asked.type is OrderType.TRAILING_STOP:
            return ask + money("trail", asked.trail, above=ZERO)
        return max(ask, asked.stop or ask)

    @property
    def notional(self) -> Decimal:
        return self.quantity * self.worst_price

    # The book

    def held(self, symbol: str) -> Decimal:
        return money(f"the position in {symbol}", mapping("positions", self.context.positions).get(symbol, ZERO))

    def price(self, symbol: str) -> Decimal:
        return money(f"the price of {symbol}", mapping("prices", self.context.prices).get(symbol), above=ZERO)

    def resting(self) -> Iterator[Order]:
        """The open orders that are neither replaced by this one nor cancelled with it."""
        linked = names("linked", self.context.linked)
        if not isinstance(self.context.resting, tuple):
            raise Unreadable(f"resting must be a tuple of open orders: got {self.context.resting!r}")
        for order in self.context.resting:
            self._check_resting(order)
            if order.id not in linked:
                yield order

    def _check_resting(self, order: object) -> None:
        if not (isinstance(order, Order) and order.status in OPEN and isinstance(order.request, OrderRequest)):
            raise Unreadable(f"resting must hold open orders only: got {order!r}")
        asked = order.request
        if asked.account != self.context.account:
            raise Unreadable(f"resting order {order.id} belongs to account {asked.account}")
        if not (isinstance(asked.side, Side) and isinstance(asked.purpose, Purpose) and isinstance(asked.symbol, str)):
            raise Unreadable(f"resting order {order.id} must say its symbol, side and purpose: got {asked!r}")
        money(f"the quantity of order {order.id}", asked.quantity, above=ZERO)
        money(f"what filled of order {order.id}", order.filled, low=ZERO)
        money(f"what remains of order {order.id}", order.remaining, low=ZERO)

    @property
    def closable(self) -> Decimal:
        """How much this order may sell (or buy back) of what is held, after what rests to do the same."""
        symbol, side = self.request.symbol, self.request.side
        held = self.held(symbol)
        if held * side.sign >= 0:
            return ZERO
        same = (o for o in self.resting() if o.request.symbol == symbol and o.request.side is side)
        return max(ZERO, abs(held) - sum((o.remaining for o in same), ZERO))

    @property
    def closes(self) -> bool:
        """It was meant to make a position smaller."""
        return self.request.purpose in (Purpose.EXIT, Purpose.STOP, Purpose.TARGET)

    @property
    def reduces(self) -> bool:
        """It was meant to make a position smaller, and can do nothing else."""
        return self.closes and self.quantity <= self.closable

    @property
    def rests(self) -> bool:
        """It is a stop or a target that waits at the broker: it may be placed while the market is closed."""
        waits = self.request.purpose in (Purpose.STOP, Purpose.TARGET) and self.request.type is not OrderType.MARKET
        return waits and self.reduces

    @property
    def opening(self) -> Decimal:
        """How much of it opens or adds to a position."""
        return self.quantity if self.request.side is Side.BUY else max(ZERO, self.quantity - self.closable)

    def entries(self) -> Iterator[Order]:
        return (order for order in self.resting() if order.request.purpose is Purpose.ENTRY)


def number(name: str, value: object, *, low: Decimal | None = None, above: Decimal | None = None) -> Decimal:
    """A finite number as Decimal, floats as they are written; Unreadable where it is none or too small."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or not math.isfinite(value):
        raise Unreadable(f"{name} must be a finite number: got {value!r}")
    read = value if isinstance(value, Decimal) else Decimal(str(value))
    if not abs(read) <= MOST:
        raise Unreadable(f"{name} must be a number one can believe: got {value!r}")
    if low is not None and not read >= low:
        raise Unreadable(f"{name} must be {low} or more: got {value!r}")
    if above is not None and not read > above:
        raise Unreadable(f"{name} must be above {above}: got {value!r}")
    return read


def money(name: str, value: object, *, low: Decimal | None = None, above: Decimal | None = None) -> Decimal:
    """Like `number`, of what must be Decimal: a float where money belongs is a fault somewhere."""
    if not isinstance(value, Decimal):
        raise Unreadable(f"{name} must be a Decimal: got {value!r}")
    return number(name, value, low=low, above=above)


def moment(name: str, value: object) -> datetime:
    if not (isinstance(value, datetime) and value.tzinfo is not None):
        raise Unreadable(f"{name} must be a time with its zone: got {value!r}")
    return value


def mapping(name: str, value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise Unreadable(f"{name} must be given symbol by symbol: got {value!r}")
    return value


def names(name: str, value: object) -> frozenset[str]:
    if not (isinstance(value, frozenset | set | tuple | list) and all(isinstance(each, str) for each in value)):
        raise Unreadable(f"{name} must be a set of names: got {value!r}")
    return frozenset(value)


def flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise Unreadable(f"{name} must be true or false: got {value!r}")
    return value
