"""The engine broken on purpose where it meets a broker that never tells our names, one rule at a time, in the process
that calls it: the campaign must notice each."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

from brokers.base import BrokerOrder, Prepared
from brokers.etrade import EtradeBroker
from desk import hearing, resolving, sending, submit
from desk.crash import crash_point
from desk.records import Attempt
from desk.sending import client_order_id
from desk.tools import Tools
from desk.writing import Writing
from domain.orders import UNCERTAIN, Order, Purpose, Status
from risk_manager import Approved, Denied
from tests.faults.variants import _waved

SPLIT = "fill and order in two commits"
OPEN = (Status.WORKING, Status.PARTIAL)
TRIES = 3


def no_fence() -> None:
    """What the first look does not show was not placed: an old signature is not waited for."""
    told = resolving._told_by_looks

    def at_once(tools: Tools, order: Order, attempt: Attempt, found: list[BrokerOrder], asked: datetime) -> bool:
        if found:
            return told(tools, order, attempt, found, asked)
        with tools.write() as write:
            resolving._give_up(write, order, attempt, "the broker does not have it")
        return True

    resolving._told_by_looks = at_once


def open_only() -> None:
    """The broker is asked for open orders alone."""
    listed = EtradeBroker.orders

    async def orders(self: EtradeBroker, since: datetime) -> list[BrokerOrder]:
        return [one for one in await listed(self, since) if one.status in OPEN]

    EtradeBroker.orders = orders  # type: ignore[method-assign]


def silence_is_refusal() -> None:
    """No answer is taken for a no."""
    placed = sending._placed

    async def hasty(*given: Any, **how: Any) -> tuple[str, Status, str]:
        said, status, broker_id = await placed(*given, **how)
        return said, Status.REFUSED if status is Status.AMBIGUOUS else status, broker_id

    sending._placed = hasty


def marker_after() -> None:
    """The sending is written down once it has been answered."""

    async def send(tools: Tools, order: Order, approved: Approved) -> Order:
        name = client_order_id(order.request.account, order.id, 1)
        prepared = await tools.broker.prepare(approved, client_order_id=name)
        said, status, broker_id = await _placed(tools, approved, name, prepared)
        return _written(tools, order, name, prepared, said, status, broker_id)

    submit.send = send


def no_watermark() -> None:
    """What was listed just before an order left is not kept."""
    prepare = EtradeBroker.prepare

    async def blind(self: EtradeBroker, approved: Approved, *, client_order_id: str) -> Prepared:
        return dataclasses.replace(await prepare(self, approved, client_order_id=client_order_id), known=())

    EtradeBroker.prepare = blind  # type: ignore[method-assign]


def split_commit() -> None:
    """Fills in one transaction; where they have brought the order, and what protects it, in another."""
    news = hearing._News
    settle, protect, write_down = news._settle, news._protect, news.write_down
    later: list[Callable[[Writing], None]] = []

    def first(self: Any, write: Writing) -> None:
        later.clear()
        write_down(self, write)

    news._settle = lambda self, write, order_id: later.append(lambda w: settle(self, w, order_id))  # type: ignore
    news._protect = lambda self, write, *rest: later.append(lambda w: protect(self, w, *rest))  # type: ignore
    news.write_down = first  # type: ignore[method-assign]
    hear = hearing.hear

    async def in_two(tools: Tools, since: datetime | None = None, *, now: bool = False) -> bool:
        found = await hear(tools, since, now=now)
        if later:
            crash_point("between_commits")
            steps, later[:] = list(later), []
            with tools.write() as write:
                for step in steps:
                    step(write)
        return found

    _everywhere("hear", hear, in_two)


def blind_resend() -> None:
    """An entry nobody is certain of is sent again, without waiting for what the list shows."""
    resolve = resolving.resolve

    async def resend(tools: Tools) -> bool:
        for order in tools.reader.open_orders():
            once = len(tools.reader.attempts(order.id)) == 1
            if order.status in UNCERTAIN and order.request.purpose is Purpose.ENTRY and once:
                await _again(tools, order)
        return await resolve(tools)

    _everywhere("resolve", resolve, resend)


async def _again(tools: Tools, order: Order) -> None:
    name = client_order_id(order.request.account, order.id, 2)
    answer = await submit.review(tools, order.request, actor="engine", linked=frozenset({order.id}))
    if isinstance(answer, Denied):
        answer = _waved(order.request, answer.verdicts, answer.at)
    prepared = await tools.broker.prepare(answer, client_order_id=name)
    with tools.write() as write:
        write.add_attempt(Attempt(order.id, 2, name, tools.now(), prepared.preview_id, list(prepared.known)))
        if order.status is Status.SENDING:
            order = write.move(order, Status.AMBIGUOUS)
    said, status, broker_id = await _placed(tools, answer, name, prepared)
    if status is Status.WORKING:
        with tools.write() as write:
            write.add_outcome(name, said, broker_order_id=broker_id)
            write.move(order, Status.WORKING, broker_id=broker_id)


def naive() -> None:
    """Sent, tried again where no answer came, and written down in the end: what nobody should do, and many do."""

    async def send(tools: Tools, order: Order, approved: Approved) -> Order:
        for n in range(1, TRIES + 1):
            name = client_order_id(order.request.account, order.id, n)
            prepared = await tools.broker.prepare(approved, client_order_id=name)
            said, status, broker_id = await _placed(tools, approved, name, prepared)
            if status is not Status.AMBIGUOUS:
                break
        status = Status.REFUSED if status is Status.AMBIGUOUS else status
        return _written(tools, order, name, prepared, said, status, broker_id)

    submit.send = send


async def _placed(tools: Tools, approved: Approved, name: str, prepared: Prepared) -> tuple[str, Status, str]:
    how = {"client_order_id": name, "prepared": prepared, "group": "", "signed": tools.now()}
    return await sending._placed(tools, approved, **how)


def _written(
    tools: Tools, order: Order, name: str, prepared: Prepared, said: str, status: Status, broker_id: str
) -> Order:
    crash_point("reply_before_commit")
    with tools.write() as write:
        write.add_attempt(Attempt(order.id, 1, name, tools.now(), prepared.preview_id, list(prepared.known)))
        moved = write.move(order, Status.SENDING)
        write.add_outcome(name, said, broker_order_id=broker_id)
        return write.move(moved, status, reasons=(said,), broker_id=broker_id)


def _everywhere(name: str, before: Any, after: Any) -> None:
    """Put another function in its place, wherever it was imported to."""
    for module in list(sys.modules.values()):
        if getattr(module, name, None) is before and module.__name__.split(".")[0] == "desk":
            setattr(module, name, after)


VARIANTS: dict[str, Callable[[], None]] = {
    "not seen at once is not placed": no_fence,
    "only open orders are listed": open_only,
    "no answer is a no": silence_is_refusal,
    "sent first, written later": marker_after,
    "nothing kept of what stood before": no_watermark,
    SPLIT: split_commit,
    "uncertain entries sent again": blind_resend,
    "tried again, and written down in the end": naive,
}
