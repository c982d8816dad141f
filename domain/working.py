"""A working order: what a venue keeps of an order between two prices, and what it asks before it takes one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np

from domain.calendars import TradingCalendar
from domain.errors import DataError, OrderRefused
from domain.instruments import Instrument
from domain.orders import OrderRequest, OrderType, Session, Status, TimeInForce

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Working:
    """An order as the matcher sees it between two prices. `armed`: its stop has been reached, what is left is a market
    or limit order; `level`: where its trailing stop stands; `rested`: as a limit it has met a price step it could not
    take; `unused`: the part of a lot its share of past volume left over; `filled` and `value`: what it has so far."""

    order_id: str
    request: OrderRequest
    instrument: Instrument
    placed: datetime
    expires: datetime | None
    remaining: Decimal
    filled: Decimal = ZERO
    value: Decimal = ZERO
    armed: bool = False
    level: float | None = None
    rested: bool = False
    unused: float = 0.0

    @property
    def kind(self) -> OrderType:
        """What kind of order it is by now."""
        if not self.armed:
            return self.request.type
        return OrderType.LIMIT if self.request.type is OrderType.STOP_LIMIT else OrderType.MARKET

    def trailing_from(self, last: float) -> Working:
        """A trailing stop that is taken while the market stands at `last` follows from there. Others as they are."""
        if self.request.trail is None:
            return self
        return replace(self, level=last + self.request.side.sign * float(self.request.trail))

    def reduced(self, by: Decimal) -> Working | None:
        """The order for that much less; None where nothing is left."""
        return replace(self, remaining=self.remaining - by) if by < self.remaining else None

    @property
    def status(self) -> Status:
        return Status.PARTIAL if self.filled else Status.WORKING


def faults(request: OrderRequest, instrument: Instrument) -> list[str]:
    """Why a venue would not take this order; empty where it would."""
    wrong = []
    if request.symbol != instrument.symbol:
        wrong.append(f"an order for {request.symbol} cannot be matched on {instrument.symbol}")
    if request.session is Session.EXTENDED and request.type is not OrderType.LIMIT:
        wrong.append(f"extended hours take limit orders only: got a {request.type} order")
    if request.time_in_force is TimeInForce.IOC and request.type not in (OrderType.MARKET, OrderType.LIMIT):
        wrong.append(f"immediate or cancel is for market and limit orders: got a {request.type} order")
    if request.quantity % instrument.lot:
        wrong.append(f"quantity must be a multiple of {instrument.lot}: got {request.quantity}")
    for name in ("limit", "stop", "trail"):
        price = getattr(request, name)
        if price is not None and price % instrument.tick:
            wrong.append(f"{name} must be a multiple of the tick {instrument.tick}: got {price}")
    return wrong


def accept(order_id: str, request: OrderRequest, instrument: Instrument, placed: datetime) -> Working:
    """The order as it begins to work; OrderRefused with every reason where the venue would not take it."""
    if wrong := faults(request, instrument):
        raise OrderRefused(f"{request.side} {request.symbol}: " + "; ".join(wrong))
    expires = expiry(request, instrument.calendar, placed)
    return Working(order_id, request, instrument, placed, expires, request.quantity)


def expiry(request: OrderRequest, calendar: TradingCalendar, placed: datetime) -> datetime | None:
    """When it ends by itself: the next regular close, or for an extended order the next end of after hours; None for
    one that is good till cancelled. Placed at that very moment it belongs to the session after."""
    if request.time_in_force is TimeInForce.GTC:
        return None
    ends = calendar.sessions.post if request.session is Session.EXTENDED else calendar.sessions.close
    now = np.datetime64(placed.astimezone(UTC).replace(tzinfo=None), "ns").astype(np.int64)
    at = int(np.searchsorted(ends, now, side="right"))
    if at == len(ends):
        raise DataError(f"{request.symbol}: the calendar {calendar.code} knows no session after {placed.isoformat()}")
    return datetime.fromtimestamp(int(ends[at]) // 1_000_000_000, tz=UTC)
