"""From an approved order to the broker and back: written before it leaves, sent once, heard until it is done.

The rule: the intent and the marker SENDING are committed before anything is sent; whatever is not a certain answer is
AMBIGUOUS, and only what the broker lists can end that.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from typing import Any

from desk.crash import crash_point
from desk.records import Attempt
from desk.tools import Tools
from desk.writing import Writing
from domain.errors import BrokerUnavailable, DeskError, OrderRefused, SignInNeeded
from domain.orders import AT_BROKER, OPEN, UNCERTAIN, Order, Purpose, Status
from domain.trading_state import TradingState
from risk_manager import Approved

ASK_TO_CANCEL_AGAIN = timedelta(seconds=5)
REVIEW_LIVES = timedelta(seconds=20)


def client_order_id(account: str, order_id: str, n: int) -> str:
    """The same for the same sending, on every machine: 20 letters and digits."""
    digest = hashlib.sha256(f"{account}|{order_id}|{n}".encode()).digest()
    return base64.b32encode(digest).decode()[:20]


async def send(tools: Tools, order: Order, approved: Approved) -> Order:
    """Send an order that is NEW, once. It comes back WORKING, REFUSED, AMBIGUOUS, or DENIED where the broker would not
    have it, or the desk was stopped since it was reviewed."""
    if approved.request != order.request:
        raise ValueError(f"order {order.id}: the approval is for another request")
    name = client_order_id(order.request.account, order.id, 1)
    try:
        prepared = await tools.broker.prepare(approved, client_order_id=name)
    except DeskError as error:
        with tools.write() as write:
            return write.move(order, Status.DENIED, reasons=(f"nothing was sent: {error}",))
    crash_point("after_watermark")
    with tools.write() as write:
        if said := _barred(tools, write, order):
            return write.move(order, Status.DENIED, reasons=(said,))
        signed = tools.now()
        write.add_attempt(Attempt(order.id, 1, name, signed, prepared.preview_id, list(prepared.known)))
        sending = write.move(order, Status.SENDING)
        write.crash_points.append("after_sending")
    group = "" if order.request.purpose is Purpose.ENTRY else order.parent
    said, status, broker_id = await _placed(
        tools, approved, client_order_id=name, prepared=prepared, group=group, signed=signed
    )
    crash_point("reply_before_commit")
    with tools.write() as write:
        write.add_outcome(name, said, broker_order_id=broker_id)
        moved = write.move(sending, status, reasons=() if status is Status.WORKING else (said,), broker_id=broker_id)
        write.crash_points.append("after_working")
    return moved


def _barred(tools: Tools, write: Writing, order: Order) -> str:
    """Why this may not go out after all, as this very transaction sees it; '' where it may."""
    asked = order.request
    if tools.now() - order.created > REVIEW_LIVES:
        return "it took too long to ask the broker about it: prices have moved on"
    control = write.control(asked.account, asked.symbol)
    if control.state is TradingState.DISABLED:
        return f"trading was disabled before it was sent: {control.reason}"
    if control.state is TradingState.REDUCE_ONLY and asked.purpose is Purpose.ENTRY:
        return f"entries were stopped before it was sent: {control.reason}"
    same = [
        o
        for o in write.orders(UNCERTAIN, account=asked.account, symbol=asked.symbol)
        if o.request.side is asked.side and not (asked.purpose is Purpose.STOP and o.id in tools.overdue)
    ]
    if same:
        return f"order {same[0].id} of the same side is not resolved yet"
    return ""


async def _placed(tools: Tools, approved: Approved, **how: Any) -> tuple[str, Status, str]:
    """What the broker said, in words, as a status and with its id. Nothing it may do passes for a refusal but one."""
    try:
        broker_id = await tools.broker.place(approved, **how)
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
