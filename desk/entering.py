"""How a strategy's entry is sent: at the market, or as a limit order that is taken back when it has waited long enough.

The rule: what is next is read from the entry orders there are, so that a restart needs no memory. A limit order that
was taken back for its time is followed by one order at the market where the setup says chase; one that a person or a
switch took back is followed by nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from backtest.setup import Entry
from desk.sending import cancel
from desk.tools import Tools
from domain.instruments import instrument
from domain.orders import AT_BROKER, Order, OrderRequest, OrderType, Purpose, Side, Status
from domain.quotes import Quote

# Never at the broker: nobody stands for it any more, so that it may be asked for anew.
NEVER_SENT = frozenset({Status.LAPSED, Status.NOT_PLACED})


def entries(orders: Iterable[Order]) -> list[Order]:
    """The orders that open."""
    return [order for order in orders if order.request.purpose is Purpose.ENTRY]


def entered(orders: Iterable[Order], how: Entry | None) -> bool:
    """Whether the entry of a decision was made, so that nothing more is sent for it."""
    made = [order for order in entries(orders) if order.status not in NEVER_SENT]
    return bool(made) and not chases(made, how)


def chases(orders: Iterable[Order], how: Entry | None) -> bool:
    """Whether what a limit order left is to be bought at the market now."""
    made = [order for order in entries(orders) if order.status not in NEVER_SENT]
    return how is not None and how.then == "chase" and bool(made) and all(_timed_out(order, how) for order in made)


def left_of(orders: Iterable[Order], *, before: Decimal, own: Decimal) -> Decimal:
    """What a limit order left to be bought at the market; nothing where a part of what it bought is gone again: that
    was stopped out, or sold by a person, and is not bought anew."""
    made = [order for order in entries(orders) if order.status not in NEVER_SENT]
    bought = sum((order.filled for order in made), Decimal(0))
    return sum((order.remaining for order in made), Decimal(0)) if abs(own) == abs(before) + bought else Decimal(0)


def _timed_out(order: Order, how: Entry) -> bool:
    waited = order.updated - order.created >= timedelta(seconds=how.wait_s)
    return order.request.type is OrderType.LIMIT and order.status is Status.CANCELLED and waited


def as_asked(request: OrderRequest, how: Entry | None, orders: Iterable[Order], quote: Quote) -> OrderRequest | None:
    """The entry as it goes out now; None while the book that a limit is counted from is not known."""
    if how is None or chases(orders, how):
        return request
    beside = quote.bid if request.side is Side.BUY else quote.ask
    if beside is None or not beside > 0:
        return None
    return replace(request, type=OrderType.LIMIT, limit=limit_of(request.symbol, request.side, beside, how))


def limit_of(symbol: str, side: Side, beside: Decimal, how: Entry) -> Decimal:
    """So far below the bid when buying, above the ask when selling; on the tick that is further away."""
    tick, away = instrument(symbol).tick, Decimal(str(how.away_pct)) / 100
    buys = side is Side.BUY
    ticks = (beside * (1 - away if buys else 1 + away) / tick).to_integral_value(ROUND_FLOOR if buys else ROUND_CEILING)
    return max(ticks, Decimal(1)) * tick


async def take_back(tools: Tools, orders: Iterable[Order], how: Entry | None, now: datetime) -> None:
    """Cancel a limit entry that has waited for as long as it may."""
    if how is None:
        return
    for order in entries(orders):
        waits = order.request.type is OrderType.LIMIT and order.status in AT_BROKER - {Status.CANCELLING}
        if waits and now - order.created >= timedelta(seconds=how.wait_s):
            await cancel(tools, order, reason=f"not filled within {how.wait_s:g} s")
