"""Orders: what may be asked for, what can become of it, and the one table that says so.

Money is Decimal, times are aware UTC. A request checks itself: one that exists is well-formed (whether it is wise is
`risk_manager.review`'s to say). An order only ever moves along `MAY_BECOME`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from domain.errors import DeskError


class Side(StrEnum):
    """Buy or sell; selling more than is held is a short sale, which the gates must allow."""

    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> Side:
        return Side.SELL if self is Side.BUY else Side.BUY


class OrderType(StrEnum):
    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    STOP_LIMIT = "stop limit"
    TRAILING_STOP = "trailing stop"


class TimeInForce(StrEnum):
    DAY = "day"
    GTC = "good till cancelled"
    IOC = "immediate or cancel"


class Session(StrEnum):
    REGULAR = "regular"
    EXTENDED = "extended"


class Purpose(StrEnum):
    """Why an order exists: only what protects or closes a position may repeat itself."""

    ENTRY = "entry"
    EXIT = "exit"
    STOP = "protective stop"
    TARGET = "target"


class Status(StrEnum):
    """Where an order is; see MAY_BECOME."""

    NEW = "NEW"
    DENIED = "DENIED"
    LAPSED = "LAPSED"
    SENDING = "SENDING"
    AMBIGUOUS = "AMBIGUOUS"
    WORKING = "WORKING"
    PARTIAL = "PARTIAL"
    CANCELLING = "CANCELLING"
    REFUSED = "REFUSED"
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    NOT_PLACED = "NOT_PLACED"
    FROZEN = "FROZEN"


_S = Status
MAY_BECOME: dict[Status, frozenset[Status]] = {
    _S.NEW: frozenset({_S.SENDING, _S.DENIED, _S.LAPSED}),
    _S.DENIED: frozenset(),
    _S.LAPSED: frozenset(),
    _S.SENDING: frozenset({_S.WORKING, _S.REFUSED, _S.AMBIGUOUS}),
    _S.AMBIGUOUS: frozenset({_S.WORKING, _S.NOT_PLACED, _S.FROZEN}),
    _S.WORKING: frozenset({_S.PARTIAL, _S.FILLED, _S.CANCELLING, _S.CANCELLED, _S.EXPIRED}),
    _S.PARTIAL: frozenset({_S.PARTIAL, _S.FILLED, _S.CANCELLING, _S.CANCELLED, _S.EXPIRED}),
    # The broker may still fill it, end it by itself, or refuse to cancel it.
    _S.CANCELLING: frozenset({_S.CANCELLED, _S.FILLED, _S.PARTIAL, _S.EXPIRED, _S.WORKING}),
    _S.REFUSED: frozenset(),
    _S.FILLED: frozenset(),
    _S.CANCELLED: frozenset(),
    _S.EXPIRED: frozenset(),
    _S.NOT_PLACED: frozenset(),
    # A person looked at the broker and decided.
    _S.FROZEN: frozenset({_S.WORKING, _S.NOT_PLACED}),
}
# What only reconciliation may do: the broker turned out to have it after all.
MAY_REVIVE: dict[Status, frozenset[Status]] = {
    _S.NOT_PLACED: frozenset({_S.WORKING}),
    _S.REFUSED: frozenset({_S.WORKING}),
}
OPEN = frozenset({_S.NEW, _S.SENDING, _S.AMBIGUOUS, _S.WORKING, _S.PARTIAL, _S.CANCELLING, _S.FROZEN})
DONE = frozenset(Status) - OPEN
AT_BROKER = frozenset({_S.WORKING, _S.PARTIAL, _S.CANCELLING})
UNCERTAIN = frozenset({_S.SENDING, _S.AMBIGUOUS, _S.FROZEN})


class WrongMove(DeskError):
    """An order was told to become what it cannot: a bug, never a user's mistake."""


NEEDS: dict[OrderType, frozenset[str]] = {
    OrderType.MARKET: frozenset(),
    OrderType.LIMIT: frozenset({"limit"}),
    OrderType.STOP: frozenset({"stop"}),
    OrderType.STOP_LIMIT: frozenset({"stop", "limit"}),
    OrderType.TRAILING_STOP: frozenset({"trail"}),
}


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """A wish, well-formed. `trail` is the distance of a trailing stop in money; `stop_loss`, `target` and `stop_trail`
    (a trailing stop's distance in money) are the exits that come to stand when an entry fills. `signal_id` says which
    signal wished it, empty for a person."""

    account: str
    symbol: str
    side: Side
    quantity: Decimal
    type: OrderType = OrderType.MARKET
    limit: Decimal | None = None
    stop: Decimal | None = None
    trail: Decimal | None = None
    time_in_force: TimeInForce = TimeInForce.DAY
    session: Session = Session.REGULAR
    purpose: Purpose = Purpose.ENTRY
    stop_loss: Decimal | None = None
    target: Decimal | None = None
    signal_id: str = ""
    reason: str = ""
    stop_trail: Decimal | None = None

    def __post_init__(self) -> None:
        if wrong := self._faults():
            raise ValueError(f"{self.side} {self.symbol}: " + "; ".join(wrong))

    def _faults(self) -> list[str]:
        wrong = []
        if not self.account:
            wrong.append("account must be named")
        if not _above_zero(self.quantity):
            wrong.append(f"quantity must be a finite number above zero: got {self.quantity}")
        for name in ("limit", "stop", "trail"):
            price, needed = getattr(self, name), name in NEEDS[self.type]
            if needed and price is None:
                wrong.append(f"a {self.type} order needs a {name}")
            if not needed and price is not None:
                wrong.append(f"a {self.type} order takes no {name}: got {price}")
        for name in ("limit", "stop", "trail", "stop_loss", "target", "stop_trail"):
            price = getattr(self, name)
            if price is not None and not _above_zero(price):
                wrong.append(f"{name} must be a finite price above zero: got {price}")
        return wrong + self._exit_faults()

    def _exit_faults(self) -> list[str]:
        low, high = (self.stop_loss, self.target) if self.side is Side.BUY else (self.target, self.stop_loss)
        if low is not None and high is not None and _above_zero(low) and _above_zero(high) and low >= high:
            where = "below" if self.side is Side.BUY else "above"
            return [f"the stop must lie {where} the target: got {self.stop_loss} and {self.target}"]
        return []


@dataclass(frozen=True, slots=True)
class Order:
    """A request with its fate. `filled` and `average_price` follow the fills; `broker_id` is the broker's own name for
    it; `parent` the part of a position it protects: a stop and a target with one parent cancel each other; or the
    first of the orders it was changed from; `version` grows with each change."""

    id: str
    request: OrderRequest
    status: Status
    created: datetime
    updated: datetime
    filled: Decimal = Decimal(0)
    average_price: Decimal | None = None
    broker_id: str = ""
    parent: str = ""
    reasons: tuple[str, ...] = field(default=())
    version: int = 1

    @property
    def remaining(self) -> Decimal:
        return self.request.quantity - self.filled

    @property
    def open(self) -> bool:
        return self.status in OPEN

    def become(
        self, status: Status, at: datetime, *, reasons: tuple[str, ...] = (), broker_id: str = "", revive: bool = False
    ) -> Order:
        """The order in its next state; WrongMove where the table has no such edge."""
        allowed = MAY_BECOME[self.status] | (MAY_REVIVE.get(self.status, frozenset()) if revive else frozenset())
        if status not in allowed:
            raise WrongMove(f"order {self.id}: {self.status} cannot become {status}")
        return replace(
            self,
            status=status,
            updated=at,
            reasons=reasons or self.reasons,
            broker_id=broker_id or self.broker_id,
            version=self.version + 1,
        )


@dataclass(frozen=True, slots=True)
class Fill:
    """A trade of ours, append-only. `id` is the broker's fill id, or one derived from order and cumulative quantity,
    so that hearing of it twice does no harm. `price` is before `fee`; both in the account's currency."""

    id: str
    order_id: str
    account: str
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    time: datetime
    fee: Decimal = Decimal(0)

    def __post_init__(self) -> None:
        if self.time.tzinfo is None:
            raise ValueError(f"fill {self.id}: a time must carry a zone: got {self.time.isoformat()}")
        if not (_above_zero(self.quantity) and _above_zero(self.price)):
            raise ValueError(
                f"fill {self.id}: quantity and price must be above zero: got {self.quantity} at {self.price}"
            )
        if not (self.fee.is_finite() and self.fee >= 0):
            raise ValueError(f"fill {self.id}: a fee must be zero or more: got {self.fee}")

    @property
    def cash(self) -> Decimal:
        """What it did to the account's cash: minus for a purchase."""
        return -self.side.sign * self.quantity * self.price - self.fee


def _above_zero(number: Decimal) -> bool:
    return isinstance(number, Decimal) and number.is_finite() and number > 0
