"""What the broker says became of our orders, and of others in the same account, written down: only what is new.

A broker that tells each fill is believed fill by fill. One that only tells how much of an order is filled, and at what
average, is counted by the difference to what the ledger has. An order nobody here sent is somebody else's: its fills
are counted, since the account holds what they brought, and it is never touched.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from brokers.base import BrokerFill, BrokerOrder
from desk.crash import crash_point
from desk.protection import EXITS
from desk.resolving import OVERLAP, late, look_among
from desk.schema import EPOCH
from desk.tools import Key, Tools
from desk.writing import Writing
from domain.errors import DeskError, SignInNeeded
from domain.orders import AT_BROKER, UNCERTAIN, Fill, Order, OrderType, Purpose, Status, TimeInForce
from domain.positions import Position

ZERO, CENT = Decimal(0), Decimal("0.01")
SOON, WORKING, IDLE = timedelta(seconds=1), timedelta(seconds=5), timedelta(seconds=30)
SUMS_OVERLAP = timedelta(days=1)  # what is told in sums costs no more, and shows what arrived late
PRICE_DIGITS = Decimal("1e-12")
_ENDED = {Status.CANCELLED, Status.EXPIRED, Status.FILLED}


async def hear(tools: Tools, since: datetime | None = None, *, now: bool = False) -> bool:
    """Write down what the broker says became of our orders, from `since` on, or from where it last told us everything;
    True where anything was new. One whose questions are counted is asked at a pace that fits what we wait for, or at
    once where `now`. A failed question changes nothing: silence never counts as an empty list."""
    ours, asked = tools.reader.open_orders(), tools.now()
    if since is None and not now and not _due(tools, ours, asked):
        return False
    start = tools.heard_until if since is None else since
    back = OVERLAP if tools.broker.tells_fills else SUMS_OVERLAP
    start = max(min([start, *(order.created for order in ours if order.status in UNCERTAIN)]) - back, EPOCH)
    tools.asked = asked
    try:
        fills = await tools.broker.fills(start) if tools.broker.tells_fills else []
        listed = await tools.broker.orders(start)
    except DeskError as error:
        tools.deaf = tools.broker.polled
        if isinstance(error, SignInNeeded):
            tools.signed_out(str(error))
        tools.note("broker", f"{tools.broker.label} does not tell about orders: {error}")
        return False
    tools.deaf = False
    tools.clear("broker")
    known = False if tools.broker.echoes_ids else look_among(tools, listed, asked)
    if known:
        ours = tools.reader.open_orders()
    news = _News(tools, {order.broker_id: order for order in ours if order.broker_id}, fills, listed)
    if news.anything:
        crash_point("during_hear")
        with tools.write() as write:
            news.write_down(write)
        tools.heard.update(news.taken)
        crash_point("after_hear")
    if not news.left_over:
        tools.heard_until = asked
    return news.anything or known


def _due(tools: Tools, ours: Iterable[Order], now: datetime) -> bool:
    """Whether it is time to ask again."""
    ours = list(ours)
    if not tools.broker.polled:
        return bool(ours) or now - tools.heard_until >= OVERLAP
    waited = now - tools.asked
    return waited < timedelta() or waited >= (SOON if any(map(_moving, ours)) else WORKING if ours else IDLE)


def _moving(order: Order) -> bool:
    """Something is to be heard of it any moment."""
    asked = order.request
    at_once = asked.type is OrderType.MARKET or asked.time_in_force is TimeInForce.IOC
    return order.status not in (Status.WORKING, Status.PARTIAL, Status.FROZEN) or at_once


class Plan(NamedTuple):
    """What shall protect a position."""

    stop: Decimal | None
    target: Decimal | None
    trail: Decimal | None


class _News:
    """What the broker says, beside what the ledger knows: only what is new is written. `left_over`: a fill could not
    be taken yet, because something of its symbol is uncertain; it must be asked for again."""

    def __init__(
        self, tools: Tools, ours: dict[str, Order], fills: Iterable[BrokerFill], listed: Iterable[BrokerOrder]
    ) -> None:
        self._tools, self._ours = tools, ours
        self._fills = [fill for fill in fills if fill.id not in tools.heard]
        listed = list(listed)
        sums = [] if tools.broker.tells_fills else [one for one in listed if one.filled]
        new = (one for one in sums if told(one) not in tools.heard)
        self._sums = sorted(new, key=lambda one: (one.updated, one.broker_id))
        self._listed = [one for one in listed if self._changed(one)]
        self._strangers = [one for one in listed if one.broker_id not in ours and self._unmapped(one)]
        self._held: dict[Key, Position] = {}
        self._plans: dict[Key, Plan] = {}
        self.taken: list[str] = []
        self.left_over = False

    def _changed(self, one: BrokerOrder) -> bool:
        order = self._ours.get(one.broker_id)
        return order is not None and (one.status != order.status or one.filled != order.filled)

    @property
    def anything(self) -> bool:
        return bool(self._fills or self._sums or self._listed or self._strangers)

    def _unmapped(self, one: BrokerOrder) -> bool:
        """An order of the broker's that no order of ours stands for yet."""
        nameless = self._tools.broker.echoes_ids and not one.client_order_id
        if nameless or one.broker_id in self._tools.mapped:
            return False
        if self._tools.reader.order_at_broker(one.account, one.broker_id) is None:
            return True
        self._tools.mapped.add(one.broker_id)
        return False

    def write_down(self, write: Writing) -> None:
        for one in self._strangers:
            self._adopt(write, one)
        for fill in self._fills:
            self._take(write, fill)
        for one in self._sums:
            self._count(write, one)
        for one in self._listed:
            self._follow(write, one)

    def _adopt(self, write: Writing, one: BrokerOrder) -> None:
        """An order that arrived after it had been given up: it is ours all the same. One still on its way is left to
        `resolve`; one that nobody here sent is remembered as somebody else's."""
        name, order = self._sent_as(write, one)
        if order is not None and order.status in (Status.NOT_PLACED, Status.REFUSED):
            write.add_outcome(name, "arrived late", broker_order_id=one.broker_id)
            reasons = ("it arrived after all",)
            adopted = write.move(order, Status.WORKING, broker_id=one.broker_id, revive=True, reasons=reasons)
            self._ours[one.broker_id] = adopted
            self._listed.append(one)
            write.crash_points.append("after_adopt")
        elif order is None and not write.orders(UNCERTAIN, account=one.account, symbol=one.symbol):
            self._tools.mapped.add(one.broker_id)

    def _sent_as(self, write: Writing, one: BrokerOrder) -> tuple[str, Order | None]:
        """The order of ours it is, and the name it was sent under."""
        if self._tools.broker.echoes_ids:
            return one.client_order_id, write.order_sent_as(one.client_order_id)
        found = late(self._tools, write, one)
        return (found[1].client_order_id, found[0]) if found else ("", None)

    def _count(self, write: Writing, one: BrokerOrder) -> None:
        """What of this sum the ledger does not have yet, as one fill."""
        before = write.told_fills(one.account, one.broker_id)
        quantity = Decimal(f"{(one.filled - sum((fill.quantity for fill in before), ZERO)).normalize():f}")
        if quantity <= 0 or one.average_price is None:
            self.taken.append(told(one))
            return
        value = (one.filled * one.average_price).quantize(CENT) - sum(
            ((fill.quantity * fill.price).quantize(CENT) for fill in before), ZERO
        )
        price = (value / quantity).quantize(PRICE_DIGITS).normalize() if value > 0 else one.average_price
        fee = max(ZERO, one.fees - sum((fill.fee for fill in before), ZERO))
        what = (one.account, one.symbol, one.side, quantity, price, fee)
        self._take(write, BrokerFill(told(one), one.broker_id, *what, time=one.updated, recorded=one.updated))

    def _take(self, write: Writing, told: BrokerFill) -> None:
        """A fill, and with an entry's first one the plan that protects it, in one transaction."""
        order = write.order_at_broker(told.account, told.broker_id)
        if order is None and write.orders(UNCERTAIN, account=told.account, symbol=told.symbol):
            self.left_over = True  # it may be one of ours: what is uncertain is resolved before its fills are counted
            return
        if order is not None and order.status not in AT_BROKER | _ENDED:
            self.left_over = True
            return
        fill = Fill(
            id=told.id,
            order_id=order.id if order else "",
            account=told.account,
            symbol=told.symbol,
            side=told.side,
            quantity=told.quantity,
            price=told.price,
            time=told.time,
            fee=told.fee,
        )
        held = self._held_before(fill)
        fresh = write.add_fill(fill)
        self.taken.append(fill.id)
        if not fresh:
            return
        self._held[fill.account, fill.symbol] = held.after(fill)
        if order is not None:
            self._protect(write, order, self._tools.ours(held), fill)
            self._settle(write, order.id)

    def _held_before(self, fill: Fill) -> Position:
        """What was held before this fill, those of this very transaction counted."""
        key = (fill.account, fill.symbol)
        if key not in self._held:
            self._held[key] = self._tools.reader.positions(fill.account).get(fill.symbol, Position(*key))
        return self._held[key]

    def _protect(self, write: Writing, order: Order, held: Decimal, fill: Fill) -> None:
        """What shall protect the position from now on: what its first entry asked for, or what a later one adds. One
        that turns a position begins anew on the other side; until it has, the old plan stands for what is left."""
        asked = order.request
        if asked.purpose is not Purpose.ENTRY:
            return
        key, against = (asked.account, asked.symbol), held * asked.side.sign < 0
        if against and fill.quantity <= abs(held):
            return
        plan = self._plans.get(key) or self._plan(key)
        begins = held == 0 or against
        if begins or plan is None:
            wanted = Plan(asked.stop_loss, asked.target, asked.stop_trail)
        else:
            wanted = Plan(asked.stop_loss or plan.stop, asked.target or plan.target, asked.stop_trail or plan.trail)
        if plan != wanted:
            write.set_protection(*key, stop=wanted.stop, target=wanted.target, trail=wanted.trail)
        if wanted.trail is not None and (begins or plan is None or plan.trail is None):
            write.begin_trail(*key)
        self._plans[key] = wanted

    def _plan(self, key: Key) -> Plan | None:
        found = self._tools.reader.protection(key[0]).get(key[1])
        return Plan(found.stop, found.target, found.trail) if found else None

    def _settle(self, write: Writing, order_id: str) -> None:
        """The order where its fills alone have brought it."""
        order = write.order(order_id)
        if order is None or order.status not in AT_BROKER:
            return
        if order.remaining == 0:
            write.move(order, Status.FILLED)
        elif order.status is Status.WORKING:
            write.move(order, Status.PARTIAL)

    def _follow(self, write: Writing, one: BrokerOrder) -> None:
        """The order where the broker says it is, once every fill the broker counts is here."""
        order = write.order_at_broker(one.account, one.broker_id)
        if order is None or order.status not in AT_BROKER or order.filled != one.filled:
            return
        if one.status in (Status.CANCELLED, Status.EXPIRED):
            if order.status is not Status.CANCELLING and order.request.purpose in EXITS and self._tools.broker.polled:
                self._tools.doubt(one.symbol)  # as the broker does at a split
            write.move(order, one.status, reasons=(one.said,) if one.said else ())
        elif one.status is Status.REFUSED:
            write.move(order, Status.CANCELLED, reasons=(f"the broker withdrew it: {one.said}",))


def told(one: BrokerOrder) -> str:
    """The name of a sum: account, order, how much."""
    return f"{one.account}:{one.broker_id}:{one.filled.normalize():f}"
