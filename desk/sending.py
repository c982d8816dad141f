"""From an approved order to the broker and back: written before it leaves, sent once, heard until it is done.

The rule: the intent and the marker SENDING are committed before anything is sent; whatever is not a certain answer is
AMBIGUOUS, and only what the broker lists can end that.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal

from brokers.base import BrokerFill, BrokerOrder
from desk.crash import crash_point
from desk.records import Attempt
from desk.schema import EPOCH
from desk.tools import Key, Tools
from desk.writing import Writing
from domain.errors import BrokerUnavailable, DeskError, OrderRefused, SignInNeeded
from domain.orders import AT_BROKER, OPEN, UNCERTAIN, Fill, Order, Purpose, Status
from domain.trading_state import TradingState
from risk_manager import Approved

OVERLAP = timedelta(seconds=30)
ASK_TO_CANCEL_AGAIN = timedelta(seconds=5)
_ENDED = {Status.CANCELLED, Status.EXPIRED, Status.FILLED}


def client_order_id(account: str, order_id: str, n: int) -> str:
    """The same for the same sending, on every machine: 20 letters and digits."""
    digest = hashlib.sha256(f"{account}|{order_id}|{n}".encode()).digest()
    return base64.b32encode(digest).decode()[:20]


async def send(tools: Tools, order: Order, approved: Approved, *, preview_id: str = "") -> Order:
    """Send an order that is NEW, once. It comes back WORKING, REFUSED, AMBIGUOUS, or DENIED where the desk was stopped
    since it was reviewed."""
    if approved.request != order.request:
        raise ValueError(f"order {order.id}: the approval is for another request")
    with tools.write() as write:
        if said := _barred(write, order):
            return write.move(order, Status.DENIED, reasons=(said,))
        name = client_order_id(order.request.account, order.id, 1)
        write.add_attempt(Attempt(order.id, 1, name, tools.now(), preview_id))
        sending = write.move(order, Status.SENDING)
        write.crash_points.append("after_sending")
    group = "" if order.request.purpose is Purpose.ENTRY else order.parent
    said, status, broker_id = await _placed(tools, approved, name, group)
    crash_point("reply_before_commit")
    with tools.write() as write:
        write.add_outcome(name, said, broker_order_id=broker_id)
        moved = write.move(sending, status, reasons=() if status is Status.WORKING else (said,), broker_id=broker_id)
        write.crash_points.append("after_working")
    return moved


def _barred(write: Writing, order: Order) -> str:
    """Why this may not go out after all, as this very transaction sees it; '' where it may."""
    asked = order.request
    control = write.control(asked.account, asked.symbol)
    if control.state is TradingState.DISABLED:
        return f"trading was disabled before it was sent: {control.reason}"
    if control.state is TradingState.REDUCE_ONLY and asked.purpose is Purpose.ENTRY:
        return f"entries were stopped before it was sent: {control.reason}"
    same = [
        o for o in write.orders(UNCERTAIN, account=asked.account, symbol=asked.symbol) if o.request.side is asked.side
    ]
    if same:
        return f"order {same[0].id} of the same side is not resolved yet"
    return ""


async def _placed(tools: Tools, approved: Approved, name: str, group: str) -> tuple[str, Status, str]:
    """What the broker said, in words, as a status and with its id. Nothing it may do passes for a refusal but one."""
    try:
        broker_id = await tools.broker.place(approved, client_order_id=name, group=group)
    except OrderRefused as error:
        return f"refused: {error}", Status.REFUSED, ""
    except (BrokerUnavailable, SignInNeeded) as error:
        return f"nothing was sent: {error}", Status.REFUSED, ""
    except Exception as error:  # noqa: BLE001 - whatever broke on the way, the order may stand
        return f"no certain answer: {error or type(error).__name__}", Status.AMBIGUOUS, ""
    return "taken", Status.WORKING, broker_id


async def cancel(tools: Tools, order: Order, *, reason: str, actor: str = "engine") -> Order:
    """Ask the broker to cancel; the order is CANCELLING until the broker lists what became of it."""
    if order.status not in AT_BROKER:
        raise OrderRefused(f"order {order.id} is {order.status}: only what rests at the broker can be cancelled")
    if order.status is not Status.CANCELLING:
        with tools.write() as write:
            order = write.move(order, Status.CANCELLING, reasons=(reason,), actor=actor)
            write.crash_points.append("during_cancel")
    try:
        await tools.broker.cancel(order.request.account, order.broker_id)
    except OrderRefused:
        tools.clear(f"cancel {order.id}")  # it is done already: what became of it is heard next
    except DeskError as error:
        tools.note(f"cancel {order.id}", f"Cancelling {order.request.symbol} got no clear answer: {error}")
    else:
        tools.clear(f"cancel {order.id}")
    return order


async def hear(tools: Tools, since: datetime | None = None) -> bool:
    """Write down what the broker says became of our orders, from `since` on, or from where it last told us everything;
    True where anything was new. A failed question changes nothing: silence never counts as an empty list."""
    ours, now = tools.reader.open_orders(), tools.now()
    if since is None and not ours and now - tools.heard_until < OVERLAP:
        return False
    start = max((tools.heard_until if since is None else since) - OVERLAP, EPOCH)
    try:
        fills, listed = await tools.broker.fills(start), await tools.broker.orders(start)
    except DeskError as error:
        tools.note("broker", f"{tools.broker.label} does not tell about orders: {error}")
        return False
    tools.clear("broker")
    news = _News(tools, {order.broker_id: order for order in ours if order.broker_id}, fills, listed)
    if news.anything:
        crash_point("during_hear")
        with tools.write() as write:
            news.write_down(write)
        tools.heard.update(news.taken)
        crash_point("after_hear")
    if not news.left_over:
        tools.heard_until = now
    return news.anything


class _News:
    """What the broker says, beside what the ledger knows: only what is new is written. `left_over`: a fill could not
    be taken yet, because something of its symbol is uncertain; it must be asked for again."""

    def __init__(
        self, tools: Tools, ours: dict[str, Order], fills: Iterable[BrokerFill], listed: Iterable[BrokerOrder]
    ) -> None:
        self._tools, self._ours = tools, ours
        self._fills = [fill for fill in fills if fill.id not in tools.heard]
        listed = list(listed)
        self._listed = [one for one in listed if self._changed(one)]
        self._strangers = [one for one in listed if one.broker_id not in ours and self._unmapped(one)]
        self._held: dict[Key, Decimal] = {}
        self._plans: dict[Key, tuple[Decimal | None, Decimal | None]] = {}
        self.taken: list[str] = []
        self.left_over = False

    def _changed(self, one: BrokerOrder) -> bool:
        order = self._ours.get(one.broker_id)
        return order is not None and (one.status != order.status or one.filled != order.filled)

    @property
    def anything(self) -> bool:
        return bool(self._fills or self._listed or self._strangers)

    def _unmapped(self, one: BrokerOrder) -> bool:
        """An order of the broker's that no order of ours stands for, and that bears a name we could have given it."""
        if not one.client_order_id or one.broker_id in self._tools.mapped:
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
        for one in self._listed:
            self._follow(write, one)

    def _adopt(self, write: Writing, one: BrokerOrder) -> None:
        """An order that arrived after it had been given up: it is ours all the same. One still on its way is left to
        `resolve`; one that nobody here sent is remembered as somebody else's."""
        order = write.order_sent_as(one.client_order_id)
        if order is not None and order.status in (Status.NOT_PLACED, Status.REFUSED):
            write.add_outcome(one.client_order_id, "arrived late", broker_order_id=one.broker_id)
            late = ("it arrived after all",)
            adopted = write.move(order, Status.WORKING, broker_id=one.broker_id, revive=True, reasons=late)
            self._ours[one.broker_id] = adopted
            self._listed.append(one)
            write.crash_points.append("after_adopt")
        elif order is None:
            self._tools.mapped.add(one.broker_id)

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
        self._held[fill.account, fill.symbol] = held + fill.side.sign * fill.quantity
        if order is not None:
            self._protect(write, order, held)
            self._settle(write, order.id)

    def _held_before(self, fill: Fill) -> Decimal:
        """What was held before this fill, those of this very transaction counted."""
        key = (fill.account, fill.symbol)
        if key not in self._held:
            position = self._tools.reader.positions(fill.account).get(fill.symbol)
            self._held[key] = position.quantity if position else Decimal(0)
        return self._held[key]

    def _protect(self, write: Writing, order: Order, held: Decimal) -> None:
        """What shall protect the position from now on: what its first entry asked for, or what a later one adds."""
        asked = order.request
        if asked.purpose is not Purpose.ENTRY:
            return
        key = (asked.account, asked.symbol)
        plan = self._plans.get(key) or self._plan(key)
        if held == 0 or plan is None:
            wanted = asked.stop_loss, asked.target
        else:
            wanted = asked.stop_loss or plan[0], asked.target or plan[1]
        if plan != wanted:
            write.set_protection(*key, stop=wanted[0], target=wanted[1])
        self._plans[key] = wanted

    def _plan(self, key: Key) -> tuple[Decimal | None, Decimal | None] | None:
        found = self._tools.reader.protection(key[0]).get(key[1])
        return (found.stop, found.target) if found else None

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
            write.move(order, one.status, reasons=(one.said,) if one.said else ())
        elif one.status is Status.REFUSED:
            write.move(order, Status.CANCELLED, reasons=(f"the broker withdrew it: {one.said}",))


async def resolve(tools: Tools) -> bool:
    """End what is uncertain by what the broker lists; True where nothing uncertain is left.

    A broker that tells our own name for each order says for certain whether one stands. One that does not is asked
    by `desk.reconcile` in its own way."""
    unsure = [order for order in tools.reader.open_orders() if order.status in UNCERTAIN]
    unsure = [order for order in unsure if order.status is not Status.FROZEN]
    if not unsure:
        tools.clear("uncertain")
        return True
    tools.note("uncertain", f"Not yet known what became of {', '.join(o.request.symbol for o in unsure)}; asking.")
    if not tools.broker.echoes_ids:
        return False
    try:
        listed = await tools.broker.orders(min(order.created for order in unsure) - OVERLAP)
    except DeskError as error:
        tools.note("broker", f"{tools.broker.label} does not list its orders: {error}")
        return False
    by_name = {one.client_order_id: one for one in listed if one.client_order_id}
    for order in unsure:
        _resolve_one(tools, order, by_name)
    tools.clear("uncertain")
    return True


def _resolve_one(tools: Tools, order: Order, by_name: dict[str, BrokerOrder]) -> None:
    crash_point("during_resolve")
    attempt = tools.reader.attempts(order.id)[-1]
    found = by_name.get(attempt.client_order_id)
    with tools.write() as write:
        if order.status is Status.SENDING and found is None:
            order = write.move(order, Status.AMBIGUOUS, reasons=("the desk stopped while it was sent",))
        if found is None:
            write.add_outcome(attempt.client_order_id, "not at the broker")
            write.move(order, Status.NOT_PLACED, reasons=("the broker does not have it",))
        else:
            write.add_outcome(attempt.client_order_id, "found at the broker", broker_order_id=found.broker_id)
            write.move(order, Status.WORKING, broker_id=found.broker_id)
            write.crash_points.append("after_adopt")


def lapse(tools: Tools) -> None:
    """Orders written down and never sent: nobody knows whether they are still wanted, so they are not sent."""
    for order in tools.reader.open_orders():
        if order.status is Status.NEW:
            with tools.write() as write:
                write.move(order, Status.LAPSED, reasons=("the desk was cut short before it was sent; ask again",))


async def press_cancels(tools: Tools) -> None:
    """Ask again for every cancel nobody has answered for a while; at HALT nothing is asked."""
    if tools.reader.trading_state().state is TradingState.DISABLED:
        return
    going = [order for order in tools.reader.open_orders() if order.status is Status.CANCELLING]
    for order in going:
        if tools.now() - order.updated > ASK_TO_CANCEL_AGAIN:
            await cancel(tools, order, reason="asked again")
    tools.keep_only("cancel", (f"cancel {order.id}" for order in going))


def open_of(orders: Iterable[Order], purpose: Purpose) -> list[Order]:
    """The open ones of a purpose."""
    return [order for order in orders if order.status in OPEN and order.request.purpose is purpose]


def total(orders: Iterable[Order]) -> Decimal:
    """What remains of them together."""
    return sum((order.remaining for order in orders), Decimal(0))
