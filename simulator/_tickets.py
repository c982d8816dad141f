"""Order bodies as people send them, read into tickets; what E*TRADE would not understand is refused with its code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

from domain.errors import DataError
from domain.instruments import Instrument, instrument
from domain.orders import OrderRequest, OrderType, Session, Side, TimeInForce
from simulator._state import Ticket
from simulator._wire import Refused, Tree, as_list, decimal, invalid, whole

LARGEST_QUANTITY = 10_000_000
ACTIONS = {"BUY": Side.BUY, "SELL": Side.SELL, "SELL_SHORT": Side.SELL, "BUY_TO_COVER": Side.BUY}
TERMS = {
    "GOOD_FOR_DAY": TimeInForce.DAY,
    "GOOD_UNTIL_CANCEL": TimeInForce.GTC,
    "IMMEDIATE_OR_CANCEL": TimeInForce.IOC,
    "FILL_OR_KILL": TimeInForce.IOC,
}
TYPES = {
    "MARKET": OrderType.MARKET,
    "LIMIT": OrderType.LIMIT,
    "STOP": OrderType.STOP,
    "STOP_LIMIT": OrderType.STOP_LIMIT,
    "TRAILING_STOP_CNST": OrderType.TRAILING_STOP,
    "TRAILING_STOP_PRCT": OrderType.TRAILING_STOP,
}
TRAILS = ("TRAILING_STOP_CNST", "TRAILING_STOP_PRCT")
_ID = re.compile(r"[A-Za-z0-9]{1,20}")
_DOLLAR, _CENT, _SUB_CENT = Decimal(1), Decimal("0.01"), Decimal("0.0001")


def unavailable() -> Refused:
    """What E*TRADE says when it is down, and also to a clientOrderId it does not like."""
    message = "The requested service is not currently available, please try after sometime."
    return Refused(500, 100, message)


def read(document: Tree) -> Ticket:
    """The ticket of a preview or place body."""
    client_id = document.get("clientOrderId")
    if not _ID.fullmatch(str(client_id)) or not isinstance(client_id, (str, int)):
        raise unavailable()
    order = _one(document, "Order")
    leg = _one(order, "Instrument")
    product = _one(leg, "Product")
    if document.get("orderType") != "EQ" or product.get("securityType") != "EQ":
        raise Refused(400, 9999, "Please validate the input and try again: the simulator trades shares only")
    if leg.get("quantityType", "QUANTITY") != "QUANTITY":
        raise invalid()
    kind = _word(order, "priceType", TYPES)
    limit, stop = _prices(order, kind)
    ticket = Ticket(
        client_order_id=str(client_id),
        symbol=_symbol(product.get("symbol")),
        action=_word(leg, "orderAction", ACTIONS),
        quantity=_quantity(leg.get("quantity")),
        price_type=kind,
        term=_word(order, "orderTerm", TERMS),
        session=_word(order, "marketSession", {"REGULAR": 1, "EXTENDED": 1}),
        limit=limit,
        stop=stop,
        all_or_none=str(order.get("allOrNone", "false")).lower() == "true",
    )
    _check(ticket)
    return ticket


def preview_ids(document: Tree) -> list[int]:
    """The ids a place body carries; 1033 where they are not where they belong."""
    found = [whole(one.get("previewId")) for one in as_list(document.get("PreviewIds")) if isinstance(one, dict)]
    ids = [each for each in found if each is not None]
    if not ids:
        raise Refused(400, 1033, "The original order request timed out. Please resubmit.")
    return ids


def step_of(ticket: Ticket) -> Instrument:
    """The instrument with the price step this order may use: finer below a dollar."""
    what = instrument(ticket.symbol)
    prices = [price for price in (ticket.limit, ticket.stop) if price is not None]
    cheap = prices and ticket.price_type not in TRAILS and max(prices) < _DOLLAR
    return replace(what, tick=_SUB_CENT if cheap else _CENT)


def request(ticket: Ticket, account: str, last: Decimal) -> OrderRequest:
    """The ticket in the desk's words. A trail in per cent becomes money at today's price and stays that."""
    kind, trail = TYPES[ticket.price_type], None
    if ticket.price_type == "TRAILING_STOP_CNST":
        trail = ticket.stop
    elif ticket.price_type == "TRAILING_STOP_PRCT" and ticket.stop is not None:
        trail = max(step_of(ticket).round_price(last * ticket.stop / 100), _CENT)
    return OrderRequest(
        account=account,
        symbol=ticket.symbol,
        side=ACTIONS[ticket.action],
        quantity=ticket.quantity,
        type=kind,
        limit=ticket.limit,
        stop=None if kind is OrderType.TRAILING_STOP else ticket.stop,
        trail=trail,
        time_in_force=TERMS[ticket.term],
        session=Session.EXTENDED if ticket.session == "EXTENDED" else Session.REGULAR,
    )


def _one(tree: Tree, name: str) -> Tree:
    found = as_list(tree.get(name))
    if len(found) != 1 or not isinstance(found[0], dict):
        raise invalid()
    return found[0]


def _word(tree: Tree, name: str, known: Mapping[str, object]) -> str:
    found = tree.get(name)
    if not isinstance(found, str) or found not in known:
        raise invalid()
    return found


def _symbol(found: object) -> str:
    try:
        what = instrument(str(found))
    except DataError:
        raise Refused(400, 1002, f"{str(found)[:20]} is an invalid symbol") from None
    if what.is_crypto:
        raise Refused(400, 1002, f"{what.symbol} is an invalid symbol")
    return what.symbol


def _quantity(found: object) -> Decimal:
    shares = whole(found)
    if shares is None or not 0 < shares <= LARGEST_QUANTITY:
        raise invalid()
    return Decimal(shares)


def _prices(order: Tree, kind: str) -> tuple[Decimal | None, Decimal | None]:
    """Limit and stop, those its type needs. A zero or an empty element is no price."""
    names = ("limitPrice", "stopPrice", "stopLimitPrice", "offsetValue")
    limit, stop, stop_limit, offset = (decimal(order.get(name)) or None for name in names)
    if kind in TRAILS:
        if stop_limit is not None:
            raise invalid()
        limit, stop = None, stop or offset
    elif kind == "STOP_LIMIT":
        limit = limit or stop_limit
    elif kind == "LIMIT":
        stop = None
    elif kind == "STOP":
        limit = None
    else:
        limit = stop = None
    needs_limit, needs_stop = kind in ("LIMIT", "STOP_LIMIT"), kind not in ("LIMIT", "MARKET")
    for price, needed in ((limit, needs_limit), (stop, needs_stop)):
        if needed and (price is None or price <= 0):
            raise invalid()
    return limit, stop


def _check(ticket: Ticket) -> None:
    if ticket.session == "EXTENDED":
        plain = ticket.price_type == "LIMIT" and ticket.term in ("GOOD_FOR_DAY", "IMMEDIATE_OR_CANCEL")
        if not plain or ticket.all_or_none:
            raise invalid()
    if ticket.term in ("IMMEDIATE_OR_CANCEL", "FILL_OR_KILL") and ticket.price_type != "LIMIT":
        raise invalid()
    if ticket.price_type == "TRAILING_STOP_PRCT":
        return
    tick = step_of(ticket).tick
    if any(price is not None and price % tick for price in (ticket.limit, ticket.stop)):
        raise invalid()
