"""What the simulator remembers, what the ledger says, and which order of the one is which order of the other.

The simulator knows every clientOrderId, every trade and when it was. An order placed by hand that looks like one of
ours and came after our signature is the one thing nobody could tell apart: it may stand for ours, anything else may
not.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from domain.orders import Side
from tests.faults import truth
from tests.faults.truth import ENTRY, ZERO, Row, _amount

CLOCKS = timedelta(seconds=6)  # what the desk allows two clocks to differ by, and a little for the way
TYPES = {"market": "MARKET", "limit": "LIMIT", "stop": "STOP", "stop limit": "STOP_LIMIT"}
LIVE = {"OPEN", "CANCEL_REQUESTED"}
Looks = tuple[Any, ...]
EVENTS = ("control", "limit", "order", "attempt", "fill", "protection", "move", "arming")


@dataclass(frozen=True, slots=True)
class Book(truth.Book):
    """The ledger's file, with more of its audit, the cash it began with and the broker's figures that it took over."""

    adjustments: list[Row]
    starting_cash: Decimal

    @classmethod
    def read(cls, path: Path) -> Book:
        plain = truth.Book.read(path)
        with closing(truth._open(path)) as db:
            audit = truth._rows(
                db, f"SELECT seq, event, actor, details FROM audit WHERE event IN {EVENTS} ORDER BY seq"
            )
            adjustments = truth._rows(db, "SELECT * FROM adjustment ORDER BY seq")
            accounts = truth._rows(db, "SELECT * FROM account")
        for line in audit:
            line["details"] = json.loads(line["details"])
        cash = sum((Decimal(row["starting_cash"]) for row in accounts), ZERO)
        told = (plain.orders, plain.attempts, plain.fills, audit, plain.commands, plain.plans, plain.levels)
        return cls(*told, adjustments, cash)


@dataclass(frozen=True, slots=True)
class AtBroker:
    """An order as the broker truly has it."""

    number: str
    client_id: str
    symbol: str
    side: Side
    quantity: Decimal
    type: str
    limit: Decimal | None
    stop: Decimal | None
    status: str
    placed: datetime
    filled: Decimal
    value: Decimal
    by_hand: bool

    @property
    def live(self) -> bool:
        return self.status in LIVE

    @property
    def remaining(self) -> Decimal:
        return self.quantity - self.filled if self.live else ZERO

    @property
    def looks(self) -> Looks:
        return (self.symbol, str(self.side), self.quantity, self.type, self.limit, self.stop)


@dataclass(frozen=True, slots=True)
class Hands:
    """What people did beside the desk: the numbers of their orders, and of those that were placed before an order of
    ours that looks the same, that order's name."""

    numbers: frozenset[str] = frozenset()
    before: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Venue:
    """The traded account: orders, trades in their order (number of the order, symbol, change of shares), what is held,
    and its cash."""

    orders: dict[str, AtBroker]
    trades: list[tuple[str, str, Decimal]]
    held: dict[str, Decimal]
    cash: Decimal

    @classmethod
    def read(cls, account: dict[str, Any], hands: Hands) -> Venue:
        orders = [_order(row, hands) for row in account["orders"]]
        trades = [
            (str(row["order_id"]), row["symbol"], Decimal(row["quantity"]))
            for row in sorted(account["transactions"], key=lambda row: row["number"])
        ]
        held = {
            symbol: sum((Decimal(lot["remaining"]) for lot in one["lots"]), ZERO)
            for symbol, one in account["holdings"].items()
        }
        return cls({one.number: one for one in orders}, trades, held, Decimal(account["cash"]))


def _order(row: dict[str, Any], hands: Hands) -> AtBroker:
    ticket, number = row["ticket"], str(row["order_id"])
    return AtBroker(
        number=number,
        client_id=ticket["client_order_id"],
        symbol=ticket["symbol"],
        side=Side.BUY if ticket["action"].startswith("BUY") else Side.SELL,
        quantity=Decimal(ticket["quantity"]),
        type=ticket["price_type"],
        limit=_amount(ticket["limit"]),
        stop=_amount(ticket["stop"]),
        status=row["status"],
        placed=datetime.fromisoformat(row["placed"]),
        filled=Decimal(row["filled"]),
        value=Decimal(row["filled_value"]),
        by_hand=number in hands.numbers,
    )


class Matched:
    """Which order at the broker stands for which of the ledger's. `wrong` says what should not stand for what."""

    def __init__(self, venue: Venue, book: Book, hands: Hands, lagged: bool) -> None:
        self._venue, self._book, self._hands, self._lagged = venue, book, hands, lagged
        self.sent: dict[str, list[Row]] = defaultdict(list)  # the sendings of each order of ours
        for attempt in book.attempts.values():
            self.sent[attempt["order_id"]].append(attempt)
        self.order_of: dict[str, str] = {}  # our order, by the broker's number, as the ledger has it
        self.swapped: set[str] = set()  # our orders for which another one stands that nobody could tell apart
        self.wrong: list[str] = []
        for order in book.orders.values():
            if order["broker_id"]:
                self.order_of[order["broker_id"]] = order["id"]
                self._check(order)

    def _check(self, order: Row) -> None:
        there = self._venue.orders.get(order["broker_id"])
        if there is None:
            self.wrong.append(f"I2: {order['id']} is called {order['broker_id']}, which the broker does not have")
        elif there.client_id not in {attempt["client_order_id"] for attempt in self.sent[order["id"]]}:
            whose = "placed by hand" if there.by_hand else self._owner(there)
            if self._could_be(order, there):
                self.swapped.add(order["id"])
            else:
                self.wrong.append(f"I2: {order['purpose']} {order['id']} took {there.number} for its own: {whose}")

    def _owner(self, there: AtBroker) -> str:
        attempt = self._book.attempts.get(there.client_id)
        return f"it is {attempt['order_id']}'s" if attempt else "it is nobody's"

    def _could_be(self, order: Row, there: AtBroker) -> bool:
        """Whether nobody could have told: it looks the same and came after the signature, or in one list with it."""
        attempt = max(self.sent[order["id"]], key=lambda sent: int(sent["n"]))
        if there.looks != looks_of(order) or there.placed < _moment(attempt["signed"]) - CLOCKS:
            return False
        if not there.by_hand:  # an exit may be sent again before the first is given up: they are alike in all
            return bool(self._purpose(there) == order["purpose"] != ENTRY)
        after = self._book.orders.get(self._hands.before.get(there.number, ""))
        return self._lagged or after is None or int(order["created"]) < int(after["created"])

    def _purpose(self, there: AtBroker) -> str:
        attempt = self._book.attempts.get(there.client_id)
        return str(self._book.orders[attempt["order_id"]]["purpose"]) if attempt else ""

    def stands(self, number: str) -> bool:
        """Whether an order of ours with another name stands for it, and nobody could have told."""
        return self.order_of.get(number) in self.swapped

    def ours(self, there: AtBroker) -> bool:
        """Whether what it brings is the desk's: taken for its own, or sent by it and nothing else taken for it."""
        if there.number in self.order_of or there.by_hand:
            return there.number in self.order_of
        attempt = self._book.attempts.get(there.client_id)
        return attempt is None or attempt["order_id"] not in self.swapped


def looks_of(order: Row) -> Looks:
    limit, stop = _amount(order["limit"]), _amount(order["stop"])
    return (order["symbol"], order["side"], Decimal(order["quantity"]), TYPES[order["type"]], limit, stop)


def _moment(microseconds: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(microseconds=microseconds)
