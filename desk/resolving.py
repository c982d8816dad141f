"""What became of an order nobody knows about: found in what the broker lists, or waited for until it cannot come.

A broker that tells our own name for each order says for certain whether one stands. At one that does not, an order is
told by what it looks like: the same account, symbol, side, quantity, type and prices, not there when we looked just
before sending, and placed since. One such order is ours. Several are for a person to tell apart. None means nothing
before the signature can no longer be taken: only then do two clean looks say that it was not placed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from brokers.base import BrokerOrder
from desk.crash import crash_point
from desk.records import Attempt
from desk.tools import Tools
from desk.writing import Writing
from domain.errors import DeskError
from domain.orders import UNCERTAIN, Order, Purpose, Status

OVERLAP = timedelta(seconds=30)
CLOCKS_MAY_DIFFER = timedelta(seconds=5)
LOOKS_APART = timedelta(seconds=2)
SPEAK_AFTER = timedelta(seconds=30)
# A stop is not waited for: after this long unseen another may be sent. The broker has the shares once only.
OVERDUE_AFTER = timedelta(seconds=10)
# What the broker said no to and took all the same was on its way when it spoke.
REFUSED_MAY_COME = timedelta(seconds=15)


@dataclass(slots=True)
class Unseen:
    """Clean looks at the list in which an order was not: how many since it is overdue, and since it cannot come."""

    overdue: int = 0
    final: int = 0
    last: datetime | None = None
    candidates: tuple[BrokerOrder, ...] = ()


async def resolve(tools: Tools) -> bool:
    """End what is uncertain where the broker tells our names; True where nothing uncertain is left."""
    unsure = [order for order in tools.reader.open_orders() if order.status in UNCERTAIN]
    _forget_all_but(tools, unsure)
    if not unsure:
        tools.clear("uncertain")
        return True
    tools.note("uncertain", _said(tools, unsure))
    if not tools.broker.echoes_ids:
        _admit(tools, unsure)
        return False
    try:
        listed = await tools.broker.orders(min(order.created for order in unsure) - OVERLAP)
    except DeskError as error:
        tools.note("broker", f"{tools.broker.label} does not list its orders: {error}")
        return False
    by_name = {one.client_order_id: one for one in listed if one.client_order_id}
    for order in unsure:
        if order.status is not Status.FROZEN:
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
            _give_up(write, order, attempt, "the broker does not have it")
        else:
            _adopt(write, order, attempt, found)


def _admit(tools: Tools, unsure: Iterable[Order]) -> None:
    """Found SENDING, it was cut short: nobody knows."""
    for order in unsure:
        if order.status is Status.SENDING:
            with tools.write() as write:
                write.move(order, Status.AMBIGUOUS, reasons=("the desk stopped while it was sent",))


# By what it looks like


def look_among(tools: Tools, listed: Iterable[BrokerOrder], asked: datetime) -> bool:
    """End what is uncertain by a complete list, asked for at `asked`; True where anything was ended."""
    ended = False
    for order in tools.reader.open_orders():
        if order.status not in (Status.AMBIGUOUS, Status.FROZEN):
            continue
        crash_point("during_resolve")
        attempt = tools.reader.attempts(order.id)[-1]
        found = candidates(tools, order, attempt, listed, until=asked)
        if order.status is Status.FROZEN:  # a person decides; what there is to choose from is known after a restart too
            tools.unseen.setdefault(order.id, Unseen()).candidates = tuple(found)
        else:
            ended = _told_by_looks(tools, order, attempt, found, asked) or ended
    return ended


def _told_by_looks(tools: Tools, order: Order, attempt: Attempt, found: list[BrokerOrder], asked: datetime) -> bool:
    seen = tools.unseen.setdefault(order.id, Unseen())
    if len(found) == 1:
        with tools.write() as write:
            _adopt(write, order, attempt, found[0])
        return True
    if len(found) > 1:
        which = ", ".join(one.broker_id for one in found)
        said = f"orders {which} at the broker look the same: a person must say which one is ours, or none"
        with tools.write() as write:
            write.move(order, Status.FROZEN, reasons=(said,))
        seen.candidates = tuple(found)
        return True
    if seen.last is not None and asked - seen.last < LOOKS_APART:
        return False
    seen.last = asked
    seen.overdue += asked > attempt.signed + OVERDUE_AFTER
    seen.final += asked > cannot_come_after(tools, attempt)
    if order.request.purpose is not Purpose.ENTRY and seen.overdue >= 2:
        tools.overdue.add(order.id)
    if seen.final < 2:
        return False
    with tools.write() as write:
        _give_up(write, order, attempt, "the broker does not have it, and it can no longer arrive")
    return True


def candidates(
    tools: Tools, order: Order, attempt: Attempt, listed: Iterable[BrokerOrder], *, until: datetime
) -> list[BrokerOrder]:
    """The orders at the broker that this sending may have become: placed since it was signed, up to `until`, and never
    once its signature was too old to be taken, however long nobody looked."""
    before, early = set(attempt.watermark), attempt.signed - _clocks_differ(tools)
    late = min(until, attempt.signed + timedelta(seconds=tools.broker.fence_s)) + _clocks_differ(tools)
    return [
        one
        for one in listed
        if one.broker_id not in before
        and early <= one.placed <= late
        and looks(one) == looks_of(order)
        and (not one.said or one.status is Status.REFUSED)  # made in a way we never make one
        and tools.reader.order_at_broker(one.account, one.broker_id) is None
        and one.broker_id not in tools.mapped
        and not tools.reader.counted_as_others(one.account, one.broker_id)
    ]


def looks(one: BrokerOrder) -> tuple[Any, ...]:
    """What tells one order at the broker from another."""
    return (one.account, one.symbol, one.side, one.quantity, one.type, one.limit, one.stop, one.trail)


def looks_of(order: Order) -> tuple[Any, ...]:
    """What an order of ours would look like at the broker."""
    asked = order.request
    return (
        asked.account,
        asked.symbol,
        asked.side,
        asked.quantity,
        asked.type,
        asked.limit,
        asked.stop,
        asked.trail,
    )


def cannot_come_after(tools: Tools, attempt: Attempt) -> datetime:
    """From then on a clean look is the last word: the signature is too old, and the list has caught up."""
    broker = tools.broker
    return attempt.signed + timedelta(seconds=broker.fence_s + broker.list_lag_s) + _clocks_differ(tools)


def _clocks_differ(tools: Tools) -> timedelta:
    return CLOCKS_MAY_DIFFER + timedelta(seconds=abs(tools.broker.clock_skew_s or 0.0))


def late(tools: Tools, write: Writing, one: BrokerOrder) -> tuple[Order, Attempt] | None:
    """The order given up, or refused, that this one at the broker turned out to be."""
    for order in write.orders({Status.NOT_PLACED, Status.REFUSED}, account=one.account, symbol=one.symbol):
        if looks(one) != looks_of(order) or not (attempts := tools.reader.attempts(order.id)):
            continue
        attempt = attempts[-1]
        until = (
            order.updated + REFUSED_MAY_COME if order.status is Status.REFUSED else cannot_come_after(tools, attempt)
        )
        if not any("nothing was sent" in said for said in order.reasons) and candidates(
            tools, order, attempt, [one], until=until
        ):
            return order, attempt
    return None


def uncertain(tools: Tools) -> list[dict[str, Any]]:
    """What is not known, for a page: JSON values."""
    found = []
    for order in tools.reader.open_orders():
        attempts = tools.reader.attempts(order.id) if order.status in UNCERTAIN else []
        if attempts:
            asked, seen = order.request, tools.unseen.get(order.id, Unseen())
            found.append(
                {
                    "order": order.id,
                    "account": asked.account,
                    "symbol": asked.symbol,
                    "side": str(asked.side),
                    "quantity": format(asked.quantity, "f"),
                    "purpose": str(asked.purpose),
                    "since": attempts[-1].signed.isoformat(),
                    "until": cannot_come_after(tools, attempts[-1]).isoformat(),
                    "frozen": order.status is Status.FROZEN,
                    "candidates": [{"broker_id": one.broker_id, "said": _words(one)} for one in seen.candidates],
                }
            )
    return found


def _words(one: BrokerOrder) -> str:
    price = next((f" at {price}" for price in (one.limit, one.stop) if price is not None), "")
    size = f"{one.side} {one.quantity.normalize():f} {one.symbol}{price}"
    return f"{one.broker_id}: {size}, placed {one.placed:%H:%M:%S} UTC, {one.status.lower()}"


def _adopt(write: Writing, order: Order, attempt: Attempt, found: BrokerOrder) -> None:
    write.add_outcome(attempt.client_order_id, "found at the broker", broker_order_id=found.broker_id)
    if order.status is Status.SENDING:
        order = write.move(order, Status.AMBIGUOUS, reasons=("the desk stopped while it was sent",))
    write.move(order, Status.WORKING, broker_id=found.broker_id)
    write.crash_points.append("after_adopt")


def _give_up(write: Writing, order: Order, attempt: Attempt, said: str) -> None:
    write.add_outcome(attempt.client_order_id, "not at the broker")
    write.move(order, Status.NOT_PLACED, reasons=(said,))


def _forget_all_but(tools: Tools, unsure: Iterable[Order]) -> None:
    still = {order.id for order in unsure}
    tools.overdue &= still
    for gone in tools.unseen.keys() - still:
        del tools.unseen[gone]


def _said(tools: Tools, unsure: list[Order]) -> str:
    frozen = [o.request.symbol for o in unsure if o.status is Status.FROZEN]
    if frozen:
        return f"{', '.join(sorted(set(frozen)))}: a person must say what became of an order: see Orders."
    names = ", ".join(sorted({o.request.symbol for o in unsure}))
    waits = tools.now() - min(o.updated for o in unsure)
    more = " Until it is known, nothing else is bought there." if waits > SPEAK_AFTER else ""
    return f"Not yet known what became of an order in {names}; asking.{more}"
