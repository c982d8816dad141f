"""What the simulated broker remembers: accounts with their orders, lots and history. Plain values, so that a restart
can read them back."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from domain.errors import SettingsError
from domain.working import Working
from simulator._oauth import AccessToken, RequestToken

ZERO = Decimal(0)


class OrderStatus(StrEnum):
    """As the order list spells it."""

    OPEN = "OPEN"
    EXECUTED = "EXECUTED"
    CANCEL_REQUESTED = "CANCEL_REQUESTED"
    CANCELLED = "CANCELLED"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"


LIVE = (OrderStatus.OPEN, OrderStatus.CANCEL_REQUESTED)


@dataclass(frozen=True, slots=True)
class Ticket:
    """An order as it was asked for, in E*TRADE's words. Two that are equal are the same order."""

    client_order_id: str
    symbol: str
    action: str
    quantity: Decimal
    price_type: str
    term: str
    session: str
    limit: Decimal | None = None
    stop: Decimal | None = None
    all_or_none: bool = False


@dataclass(slots=True)
class Event:
    """A line of an order's history; `quantity` and `price` say what was filled by then."""

    name: str
    at: datetime
    filled: Decimal | None = None


@dataclass(slots=True)
class Kept:
    """An order in the book. `working` is None once it is done."""

    order_id: int
    ticket: Ticket
    working: Working | None
    status: OrderStatus
    placed: datetime
    value: Decimal
    fees: Decimal
    filled: Decimal = ZERO
    filled_value: Decimal = ZERO
    fees_paid: Decimal = ZERO
    executed: datetime | None = None
    cancels_at: datetime | None = None
    replaces: int | None = None
    replaced_by: int | None = None
    events: list[Event] = field(default_factory=list)

    @property
    def live(self) -> bool:
        return self.working is not None

    @property
    def remaining(self) -> Decimal:
        return self.working.remaining if self.working else ZERO

    @property
    def average(self) -> Decimal | None:
        return self.filled_value / self.filled if self.filled else None


@dataclass(slots=True)
class Lot:
    """Shares bought (or sold short: below zero) in one fill."""

    lot_id: int
    original: Decimal
    remaining: Decimal
    price: Decimal
    acquired: datetime
    order_id: int


@dataclass(slots=True)
class Holding:
    """A position: its lots, the oldest first."""

    position_id: int
    symbol: str
    lots: list[Lot] = field(default_factory=list)

    @property
    def quantity(self) -> Decimal:
        return sum((lot.remaining for lot in self.lots), ZERO)

    @property
    def cost(self) -> Decimal:
        return sum((lot.remaining * lot.price for lot in self.lots), ZERO)


@dataclass(slots=True)
class Transaction:
    """A line of the account's history."""

    number: int
    at: datetime
    settles: datetime
    kind: str
    symbol: str
    quantity: Decimal
    price: Decimal
    fee: Decimal
    amount: Decimal
    order_id: int
    description: str = ""


@dataclass(slots=True)
class Alert:
    """What E*TRADE would have sent to the customer's inbox."""

    number: int
    at: datetime
    subject: str
    symbol: str
    status: str = "UNREAD"
    read: datetime | None = None


@dataclass(slots=True)
class Account:
    """One account and everything in it."""

    account_id: str
    key: str
    mode: str
    description: str
    name: str
    kind: str
    cash: Decimal
    next_order: int
    orders: list[Kept] = field(default_factory=list)
    holdings: dict[str, Holding] = field(default_factory=dict)
    unsettled: list[tuple[datetime, Decimal]] = field(default_factory=list)
    transactions: list[Transaction] = field(default_factory=list)
    client_ids: set[str] = field(default_factory=set)

    @property
    def margin(self) -> bool:
        return self.mode == "MARGIN"

    def held(self, symbol: str) -> Decimal:
        return self.holdings[symbol].quantity if symbol in self.holdings else ZERO

    def order(self, order_id: int) -> Kept | None:
        return next((kept for kept in self.orders if kept.order_id == order_id), None)

    def working(self) -> list[Kept]:
        return [kept for kept in self.orders if kept.live]


@dataclass(slots=True)
class Preview:
    """A preview that may still be placed; `changes` is the order it would replace."""

    account: str
    ticket: Ticket
    made: datetime
    changes: int | None = None
    used: bool = False


@dataclass(slots=True)
class State:
    """All of it. `number` counts previews, lots, positions and transactions."""

    accounts: list[Account]
    alerts: list[Alert] = field(default_factory=list)
    requests: dict[str, RequestToken] = field(default_factory=dict)
    access: dict[str, AccessToken] = field(default_factory=dict)
    previews: dict[int, Preview] = field(default_factory=dict)
    number: int = 1_840_227_714_106
    offset: timedelta = timedelta()

    def next_number(self) -> int:
        self.number += 7
        return self.number


_FILE = TypeAdapter(State)


def demo_accounts(cash: Decimal) -> list[Account]:
    """A margin account with a key that begins with a dash, a cash account with one that has an underscore."""
    return [
        Account(
            *("83520017", "-kQ7mZr2VxPbN4tYwEoH_A", "MARGIN", "Individual Brokerage", "Trading", "INDIVIDUAL"),
            cash=cash,
            next_order=389,
        ),
        Account(
            *("61184420", "Tn3uWc8JqLdF_aXvGyRb0Q", "CASH", "Individual Cash", "", "INDIVIDUAL"),
            cash=cash,
            next_order=402,
        ),
    ]


def read(path: Path) -> State | None:
    """What was kept; None where there is no file. SettingsError where it is none of ours."""
    try:
        return _FILE.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise SettingsError(f"{path}: is no state of the simulator; move it away") from error


def keep(path: Path, state: State) -> None:
    """Replace the file at once; only its owner may read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_FILE.dump_json(state))
        os.replace(name, path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
