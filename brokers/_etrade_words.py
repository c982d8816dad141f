"""Orders in the desk's words and in E*TRADE's, both ways: what was sent must be known again in the list.

The rule: what E*TRADE would not take is refused before it is asked, and what it lists is told as it is. An order made
on its web site in a way nobody here uses says so in `said`.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from brokers.base import BrokerOrder
from domain.errors import DataError, OrderRefused
from domain.instruments import instrument
from domain.orders import OrderRequest, OrderType, Purpose, Session, Side, Status, TimeInForce
from etrade.errors import Unreadable
from etrade.listed import ListedLeg, ListedOrder, OrderPart
from etrade.market import Product
from etrade.orders import Action, EtradeOrder, Leg, MarketSession, PriceType, Term

ZERO, DOLLAR, CENT, SUB_CENT = Decimal(0), Decimal(1), Decimal("0.01"), Decimal("0.0001")
SHARE = "EQ"
PRICE_TYPES = {
    OrderType.MARKET: PriceType.MARKET,
    OrderType.LIMIT: PriceType.LIMIT,
    OrderType.STOP: PriceType.STOP,
    OrderType.STOP_LIMIT: PriceType.STOP_LIMIT,
    OrderType.TRAILING_STOP: PriceType.TRAILING_STOP,
}
TERMS = {TimeInForce.DAY: Term.DAY, TimeInForce.GTC: Term.GTC, TimeInForce.IOC: Term.IOC}
TYPES = {theirs.value: ours for ours, theirs in PRICE_TYPES.items()}
# What only its web site makes, as the nearest of our types.
NEAREST = {
    "MARKET_ON_OPEN": OrderType.MARKET,
    "MARKET_ON_CLOSE": OrderType.MARKET,
    "LIMIT_ON_OPEN": OrderType.LIMIT,
    "LIMIT_ON_CLOSE": OrderType.LIMIT,
    "HIDDEN_STOP": OrderType.STOP,
    "TRAILING_STOP_PRCT": OrderType.TRAILING_STOP,
}
SIDES = {"BUY": Side.BUY, "BUY_TO_COVER": Side.BUY, "SELL": Side.SELL, "SELL_SHORT": Side.SELL}
ENDED = {"CANCELLED": Status.CANCELLED, "EXPIRED": Status.EXPIRED, "REJECTED": Status.REFUSED}
EXECUTED = ("EXECUTED", "DONE_TRADE_EXECUTED")
AT_WORK = ("OPEN", "PARTIAL", "INDIVIDUAL_FILLS", "CANCEL_REQUESTED", *EXECUTED)
REJECTED = "E*TRADE rejected it"


def wish(request: OrderRequest) -> EtradeOrder:
    """The request as E*TRADE takes it. OrderRefused with every reason it would not."""
    if wrong := _faults(request):
        raise OrderRefused(f"{request.side} {request.symbol}: " + "; ".join(wrong))
    trailing = request.type is OrderType.TRAILING_STOP
    try:
        return EtradeOrder(
            (Leg.stock(request.symbol, action_of(request), int(request.quantity)),),
            PRICE_TYPES[request.type],
            TERMS[request.time_in_force],
            MarketSession.EXTENDED if request.session is Session.EXTENDED else MarketSession.REGULAR,
            limit=request.limit,
            stop=request.trail if trailing else request.stop,
        )
    except ValueError as error:
        raise OrderRefused(f"{request.side} {request.symbol}: {error}") from None


def action_of(request: OrderRequest) -> Action:
    """An entry that sells is a short sale; what closes or protects sells what is held, or covers what is short."""
    if request.purpose is Purpose.ENTRY:
        return Action.BUY if request.side is Side.BUY else Action.SELL_SHORT
    return Action.BUY_TO_COVER if request.side is Side.BUY else Action.SELL


def _faults(request: OrderRequest) -> list[str]:
    wrong, kind = [], request.type
    try:
        what = instrument(request.symbol)
        if what.is_crypto:
            wrong.append("E*TRADE trades no crypto")
        elif what.symbol != request.symbol:
            wrong.append(f"the symbol is written {what.symbol}")
    except DataError as error:
        wrong.append(str(error))
    if request.quantity % 1:
        wrong.append(f"E*TRADE takes whole shares: got {request.quantity}")
    if request.time_in_force is TimeInForce.IOC and kind is not OrderType.LIMIT:
        wrong.append(f"E*TRADE takes immediate or cancel for limit orders only: got a {kind} order")
    if request.session is Session.EXTENDED:
        if kind is not OrderType.LIMIT:
            wrong.append(f"extended hours take limit orders only: got a {kind} order")
        if request.time_in_force is not TimeInForce.DAY:
            wrong.append(f"extended hours take day orders only: got {request.time_in_force}")
    return wrong + _price_faults(request)


def _price_faults(request: OrderRequest) -> list[str]:
    """Cents from a dollar on, hundredths of a cent below; a trail is a distance in cents."""
    wrong = []
    for name, price in (("limit", request.limit), ("stop", request.stop), ("trail", request.trail)):
        step = SUB_CENT if name != "trail" and price is not None and price < DOLLAR else CENT
        if price is not None and price % step:
            wrong.append(f"{name} must be a multiple of {step}: got {price}")
    return wrong


def told(order: ListedOrder, account: str) -> BrokerOrder | None:
    """The listed order as the port tells it; None where it is no plain order for shares. Unreadable where it cannot be
    told which way it goes, or at what price it filled: it must not pass for none."""
    if not plain_shares(order):
        return None
    [part], kind = order.parts, _type(order.parts[0])
    [leg] = part.legs
    if leg.action not in SIDES:
        raise Unreadable("the orders list cannot be used", [f"order {order.id}: orderAction {leg.action[:20]}"])
    if leg.filled and leg.average_price is None:
        raise Unreadable("the orders list cannot be used", [f"order {order.id}: filled without averageExecutionPrice"])
    status, said = _status(part, leg)
    return BrokerOrder(
        broker_id=str(order.id),
        account=account,
        symbol=leg.product.symbol.upper(),
        side=SIDES[leg.action],
        quantity=leg.quantity,
        type=kind,
        status=status,
        placed=part.placed,
        updated=ended_at(order) or part.executed or part.placed,
        limit=part.limit if kind in (OrderType.LIMIT, OrderType.STOP_LIMIT) else None,
        stop=part.stop if kind in (OrderType.STOP, OrderType.STOP_LIMIT) else None,
        trail=part.stop if part.price_type == PriceType.TRAILING_STOP else None,
        filled=leg.filled,
        said="; ".join(filter(None, (said, _unusual(part)))),
        average_price=leg.average_price if leg.filled else None,
        fees=(leg.commission or ZERO) + (leg.fees or ZERO) if leg.filled else ZERO,
    )


def plain_shares(order: ListedOrder) -> bool:
    """Whether it is one order for one stock; brackets, spreads and options made on the web site are none."""
    legs = [leg for part in order.parts for leg in part.legs]
    return order.kind in (SHARE, "") and len(order.parts) == len(legs) == 1 and is_share(legs[0].product)


def is_share(product: Product) -> bool:
    return product.kind == SHARE


def ended_at(order: ListedOrder) -> datetime | None:
    """When it last changed, where its events are known: the list does not tell them."""
    return max((event.time for event in order.events), default=None)


def _type(part: OrderPart) -> OrderType:
    found = TYPES.get(part.price_type) or NEAREST.get(part.price_type)
    if found is not None:
        return found
    if part.stop is not None:
        return OrderType.STOP_LIMIT if part.limit is not None else OrderType.STOP
    return OrderType.LIMIT if part.limit is not None else OrderType.MARKET


def _unusual(part: OrderPart) -> str:
    return "" if part.price_type in TYPES else f"E*TRADE calls it {part.price_type[:60]}"


def _status(part: OrderPart, leg: ListedLeg) -> tuple[Status, str]:
    """Its state, and what is to be said of it. `filled` is trusted before E*TRADE's own word: an order whose word and
    sums differ is still at work, and is asked for again."""
    if part.status in ENDED:
        return ENDED[part.status], REJECTED if part.status == "REJECTED" else ""
    at_work = Status.PARTIAL if leg.filled else Status.WORKING
    if part.status not in AT_WORK:
        return at_work, f"E*TRADE says {part.status[:60]}"
    if leg.quantity and leg.filled >= leg.quantity:
        return Status.FILLED, ""
    if part.status in EXECUTED:
        return at_work, f"E*TRADE says {part.status}, with {leg.filled} of {leg.quantity} filled"
    return at_work, ""
