"""Orders in E*TRADE's words: what is sent, and what a preview, a place and a cancel answer.

An `EtradeOrder` that exists is well-formed. A `Preview` carries the order it was made for, so that the same body and
the same clientOrderId are placed: to place anything else cannot be written down.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from etrade.errors import plain
from etrade.fields import Fields
from etrade.market import Product

PREVIEW_LIVES_S = 170  # E*TRADE keeps one for about three minutes
CLIENT_ORDER_ID = re.compile(r"[A-Za-z0-9]{1,20}", re.ASCII)
QUEUED = 1027


class Action(StrEnum):
    BUY = "BUY"
    SELL = "SELL"
    SELL_SHORT = "SELL_SHORT"
    BUY_TO_COVER = "BUY_TO_COVER"
    BUY_OPEN = "BUY_OPEN"
    BUY_CLOSE = "BUY_CLOSE"
    SELL_OPEN = "SELL_OPEN"
    SELL_CLOSE = "SELL_CLOSE"


class PriceType(StrEnum):
    """Those that may be sent; the list knows more."""

    MARKET = "MARKET"
    LIMIT = "LIMIT"
    STOP = "STOP"
    STOP_LIMIT = "STOP_LIMIT"
    TRAILING_STOP = "TRAILING_STOP_CNST"
    TRAILING_STOP_PERCENT = "TRAILING_STOP_PRCT"
    NET_DEBIT = "NET_DEBIT"
    NET_CREDIT = "NET_CREDIT"


class Term(StrEnum):
    DAY = "GOOD_FOR_DAY"
    GTC = "GOOD_UNTIL_CANCEL"
    IOC = "IMMEDIATE_OR_CANCEL"
    FOK = "FILL_OR_KILL"


class MarketSession(StrEnum):
    REGULAR = "REGULAR"
    EXTENDED = "EXTENDED"


_LIMITED = frozenset({PriceType.LIMIT, PriceType.STOP_LIMIT, PriceType.NET_DEBIT, PriceType.NET_CREDIT})
_STOPPED = frozenset({PriceType.STOP, PriceType.STOP_LIMIT, PriceType.TRAILING_STOP, PriceType.TRAILING_STOP_PERCENT})


@dataclass(frozen=True, slots=True)
class Leg:
    """One instrument of an order, in whole shares or contracts."""

    product: Product
    action: Action
    quantity: int

    @classmethod
    def stock(cls, symbol: str, action: Action, quantity: int) -> Leg:
        return cls(Product(symbol, "EQ"), action, quantity)


@dataclass(frozen=True, slots=True)
class EtradeOrder:
    """What is wished. `stop` is the trigger's price, or the distance of a trailing stop in dollars or in percent.
    ValueError where the prices do not fit the type, or the session does not take it."""

    legs: tuple[Leg, ...]
    price_type: PriceType
    term: Term = Term.DAY
    session: MarketSession = MarketSession.REGULAR
    limit: Decimal | None = None
    stop: Decimal | None = None
    all_or_none: bool = False
    kind: str = "EQ"

    def __post_init__(self) -> None:
        if wrong := [*_price_faults(self), *_leg_faults(self)]:
            raise ValueError("; ".join(wrong))

    def body(self) -> dict[str, Any]:
        """The block that preview and place share."""
        product = [
            {"Product": _product_body(leg.product), "orderAction": leg.action.value}
            | {"quantityType": "QUANTITY", "quantity": leg.quantity}
            for leg in self.legs
        ]
        prices = {"limitPrice": self.limit, "stopPrice": self.stop}
        return {
            "allOrNone": self.all_or_none,
            "priceType": self.price_type.value,
            "orderTerm": self.term.value,
            "marketSession": self.session.value,
            **{name: price for name, price in prices.items() if price is not None},
            "Instrument": product,
        }


def _price_faults(order: EtradeOrder) -> list[str]:
    wrong = []
    for name, price, needed in (
        ("limit", order.limit, order.price_type in _LIMITED),
        ("stop", order.stop, order.price_type in _STOPPED),
    ):
        if (price is not None) != needed:
            wrong.append(f"{order.price_type} {'needs a' if needed else 'takes no'} {name}: got {price}")
        elif price is not None and not (price.is_finite() and price > 0):
            wrong.append(f"{name} must be a finite price above zero: got {price}")
    if order.session is MarketSession.EXTENDED and order.price_type is not PriceType.LIMIT:
        wrong.append(f"the extended session takes limit orders only: got {order.price_type}")
    if order.term in (Term.IOC, Term.FOK) and order.price_type is not PriceType.LIMIT:
        wrong.append(f"{order.term} is for limit orders only: got {order.price_type}")
    return wrong


def _leg_faults(order: EtradeOrder) -> list[str]:
    wrong = [] if order.legs else ["an order needs a leg"]
    for leg in order.legs:
        if isinstance(leg.quantity, bool) or not isinstance(leg.quantity, int) or not 0 < leg.quantity < 10**9:
            wrong.append(f"{leg.product.symbol}: a quantity is a whole number above zero: got {leg.quantity}")
        if not leg.product.symbol:
            wrong.append("a leg needs a symbol")
    return wrong


def _product_body(product: Product) -> dict[str, Any]:
    body: dict[str, Any] = {"symbol": product.symbol, "securityType": product.kind}
    if (option := product.option) is not None:
        on = option.expires
        body |= {"callPut": "CALL" if option.call else "PUT", "strikePrice": option.strike}
        body |= {"expiryYear": on.year, "expiryMonth": on.month, "expiryDay": on.day}
    return body


@dataclass(frozen=True, slots=True)
class Message:
    """E*TRADE's remark: `kind` is WARNING, INFO, INFO_HOLD or ERROR. A place that went well also is a WARNING."""

    code: int | None
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class PreviewId:
    """An order that is part cash and part margin has two."""

    id: int
    cash_margin: str = ""


@dataclass(frozen=True, slots=True)
class Preview:
    """What an order would cost, and the right to place it for three minutes. `total` is below zero for a sale;
    `differs` names where E*TRADE's echo is not what was asked (in the sandbox it never is)."""

    account_key: str = field(repr=False)
    client_order_id: str
    order: EtradeOrder
    at: datetime
    ids: tuple[PreviewId, ...]
    total: Decimal | None
    commission: Decimal | None
    fees: Decimal | None
    buying_power_after: Decimal | None
    messages: tuple[Message, ...]
    differs: tuple[str, ...] = ()
    replaces: int | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """It stands. `queued` where the market was closed and it waits for the next open; several ids where E*TRADE split
    it into a cash and a margin part."""

    order_id: int
    order_ids: tuple[int, ...]
    time: datetime | None
    messages: tuple[Message, ...]
    replaces: int | None = None

    @property
    def queued(self) -> bool:
        return any(message.code == QUEUED for message in self.messages)


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """E*TRADE took the wish to cancel; whether it was in time, the orders list tells."""

    order_id: int
    time: datetime | None
    messages: tuple[Message, ...]


def read_preview(body: Fields, order: EtradeOrder) -> dict[str, Any]:
    """The answer's own part of a Preview."""
    blocks = list(body.many("Order"))
    ids = tuple(
        PreviewId(i.need_id("previewId"), i.text("cashMargin")) for i in body.need_many("PreviewIds", some=True)
    )
    return {
        "ids": ids,
        "total": body.number("totalOrderValue"),
        "commission": body.number("totalCommission") if body.has("totalCommission") else _sum(blocks, "Commission"),
        "fees": _sum(blocks, "Fees"),
        "buying_power_after": _buying_power_after(body),
        "messages": tuple(message for block in blocks for message in _messages(block)),
        "differs": tuple(_differences(blocks, order)),
    }


def _sum(blocks: list[Fields], name: str) -> Decimal | None:
    found = [number for block in blocks if (number := block.number("estimated" + name)) is not None]
    return sum(found, Decimal(0)) if found else None


def _buying_power_after(body: Fields) -> Decimal | None:
    for where, part in (("marginBpDetails", "marginable"), ("cashBpDetails", "settled"), ("dtBpDetails", "marginable")):
        if (found := body.child(where).child(part).number("netBp")) is not None:
            return found
    return None


def _differences(blocks: list[Fields], order: EtradeOrder) -> list[str]:
    """Where the echo differs; what E*TRADE does not echo cannot."""
    wished = sorted((leg.product.symbol, leg.action.value, Decimal(leg.quantity)) for leg in order.legs)
    found = []
    for block in blocks:
        for name, wanted in (("limitPrice", order.limit), ("stopPrice", order.stop)):
            echoed = block.price(name)
            if echoed is not None and echoed != wanted:
                found.append(f"{name} {echoed} for {wanted}")
        legs = list(block.many("Instrument"))
        echoes = sorted(
            (leg.child("Product").text("symbol"), leg.text("orderAction"), leg.number("quantity") or Decimal(0))
            for leg in legs
        )
        if legs and echoes != wished:
            found.append(f"{_legs(echoes)} for {_legs(wished)}")
    return found


def _legs(legs: list[tuple[str, str, Decimal]]) -> str:
    return ", ".join(f"{action} {quantity.normalize():f} {symbol}" for symbol, action, quantity in legs)


def read_placed(body: Fields, replaces: int | None) -> Placed:
    ids = tuple(item.need_id("orderId") for item in body.need_many("OrderIds", some=True))
    # The order stands whatever else is wrong with the answer.
    told = body.lenient()
    messages = tuple(message for block in told.many("Order") for message in _messages(block))
    return Placed(ids[0] if ids else 0, ids, told.time("placedTime"), messages, replaces)


def read_cancelled(body: Fields) -> CancelAsked:
    told = body.lenient()
    return CancelAsked(body.need_id("orderId"), told.time("cancelTime"), _messages(told))


def _messages(block: Fields) -> tuple[Message, ...]:
    return tuple(
        Message(item.whole("code"), item.text("type"), plain(item.text("description")))
        for item in block.child("Messages").many("Message")
    )
