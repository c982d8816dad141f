"""Orders as E*TRADE's list tells them. There is no clientOrderId in it: what is ours is told by what it looks like."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from etrade.fields import Fields
from etrade.market import Product, read_product


class OrderStatus(StrEnum):
    """As the list says it. A partly filled order may also show as OPEN: `filled` tells."""

    OPEN = "OPEN"
    EXECUTED = "EXECUTED"
    CANCELLED = "CANCELLED"
    INDIVIDUAL_FILLS = "INDIVIDUAL_FILLS"
    CANCEL_REQUESTED = "CANCEL_REQUESTED"
    EXPIRED = "EXPIRED"
    REJECTED = "REJECTED"
    PARTIAL = "PARTIAL"


@dataclass(frozen=True, slots=True)
class ListedLeg:
    """`average_price` is None until something filled."""

    product: Product
    action: str
    quantity: Decimal
    filled: Decimal
    average_price: Decimal | None
    commission: Decimal | None
    fees: Decimal | None


@dataclass(frozen=True, slots=True)
class OrderPart:
    """A plain order has one part, one made of several on the web site more. `executed` may stand on an order that
    expired: only `filled` tells of fills."""

    status: str
    price_type: str
    term: str
    session: str
    placed: datetime
    executed: datetime | None
    limit: Decimal | None
    stop: Decimal | None
    value: Decimal | None
    all_or_none: bool
    replaces: int | None
    replaced_by: int | None
    legs: tuple[ListedLeg, ...]


@dataclass(frozen=True, slots=True)
class Event:
    name: str
    time: datetime


@dataclass(frozen=True, slots=True)
class ListedOrder:
    """Ids are unique within an account only."""

    id: int
    kind: str
    parts: tuple[OrderPart, ...]
    events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class OrdersPage:
    """One page, newest first; `marker` leads to the next and is '' on the last."""

    orders: tuple[ListedOrder, ...]
    marker: str


def read_orders(body: Fields) -> OrdersPage:
    return OrdersPage(tuple(_order(item) for item in body.need_many("Order")), body.text("marker"))


def _order(item: Fields) -> ListedOrder:
    return ListedOrder(
        item.need_id("orderId"),
        item.text("orderType"),
        tuple(_part(part) for part in item.need_many("OrderDetail", some=True)),
        tuple(
            Event(event.need_text("name"), event.need_time("dateTime")) for event in item.child("Events").many("Event")
        ),
    )


def _part(part: Fields) -> OrderPart:
    return OrderPart(
        status=part.need_text("status"),
        price_type=part.need_text("priceType"),
        term=part.need_text("orderTerm"),
        session=part.text("marketSession"),
        placed=part.need_time("placedTime"),
        executed=part.time("executedTime"),
        limit=part.price("limitPrice"),
        stop=part.price("stopPrice"),
        value=part.number("orderValue"),
        all_or_none=part.flag("allOrNone"),
        replaces=part.id("replacesOrderId"),
        replaced_by=part.id("replacedByOrderId"),
        legs=tuple(_leg(leg) for leg in part.need_many("Instrument", some=True)),
    )


def _leg(leg: Fields) -> ListedLeg:
    quantity, filled = leg.need_quantity("orderedQuantity"), leg.need_quantity("filledQuantity")
    if filled > quantity:
        leg.faults.append(f"filledQuantity {filled} is above orderedQuantity {quantity}")
    return ListedLeg(
        product=read_product(leg.need_child("Product")),
        action=leg.need_text("orderAction"),
        quantity=quantity,
        filled=filled,
        average_price=leg.price("averageExecutionPrice"),
        commission=leg.number("estimatedCommission"),
        fees=leg.number("estimatedFees"),
    )
