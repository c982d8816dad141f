"""What several commands ask of the ledger."""

from __future__ import annotations

from decimal import Decimal

from desk.ticket import TicketFault, text
from desk.tools import Key, Tools
from domain.commands import Command
from domain.errors import OrderRefused
from domain.orders import Order, OrderRequest, Purpose, Side
from domain.trading_state import TradingState

ZERO = Decimal(0)


def order_of(tools: Tools, command: Command) -> Order:
    """The order a command is about."""
    order = tools.reader.order(text(command.payload, "order"))
    if order is None:
        raise TicketFault(f"no order is called {command.payload['order']!r}")
    return order


def held_of(tools: Tools, key: Key, side: Side | None = None) -> Decimal:
    """What is held of this desk's own, below zero when short. OrderRefused where an order of `side` (any, where none is
    named) would close what came from outside."""
    position = tools.reader.positions(key[0]).get(key[1])
    ours = tools.ours(position)
    if position is not None and not ours and (side is None or position.quantity * side.sign < 0):
        raise OrderRefused(
            f"The {abs(position.quantity).normalize():f} {key[1]} in {key[0]} came from outside this desk, which never "
            f"touches them: use {tools.broker.label} itself."
        )
    return ours


def must_act(tools: Tools) -> None:
    """OrderRefused at HALT: then nothing is sent at all."""
    control = tools.reader.trading_state()
    if control.state is TradingState.DISABLED:
        raise OrderRefused(f"Trading is disabled ({control.reason}): nothing is sent, not even cancels.")


def freed(tools: Tools, request: OrderRequest) -> frozenset[str]:
    """The exits that make room for an order that closes; nothing for one that opens."""
    if request.purpose is not Purpose.EXIT:
        return frozenset()
    orders = tools.reader.open_orders(request.account, request.symbol)
    return frozenset(o.id for o in orders if o.request.purpose in (Purpose.STOP, Purpose.TARGET))


def named(order: Order) -> str:
    """An order in a few words."""
    asked = order.request
    return f"{asked.side.capitalize()} {asked.quantity.normalize():f} {asked.symbol}"
