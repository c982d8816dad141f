"""The engine broken on purpose, one rule at a time, in the process that calls it: the campaign must notice each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from brokers.base import Prepared
from desk import audit, database, hearing, lease, ledger, resolving, sending, submit
from desk.crash import crash_point
from desk.ledger import FENCE
from desk.records import Attempt
from desk.sending import client_order_id
from desk.tools import Tools
from desk.writing import Writing
from domain.orders import UNCERTAIN, Order, Purpose, Status
from risk_manager import Approved, Denied


def place_first() -> None:
    """The sending is written down once it has been answered."""

    async def send(tools: Tools, order: Order, approved: Approved, **_: Any) -> Order:
        name = client_order_id(order.request.account, order.id, 1)
        group = "" if order.request.purpose is Purpose.ENTRY else order.parent
        how = {"client_order_id": name, "prepared": Prepared(), "group": group, "signed": tools.now()}
        said, status, broker_id = await sending._placed(tools, approved, **how)
        crash_point("reply_before_commit")
        with tools.write() as write:
            write.add_attempt(Attempt(order.id, 1, name, tools.now()))
            moved = write.move(order, Status.SENDING)
            write.add_outcome(name, said, broker_order_id=broker_id)
            return write.move(moved, status, reasons=(said,), broker_id=broker_id)

    submit.send = send  # type: ignore[assignment]


def no_lease() -> None:
    """Every engine gets the lease, and every epoch may write."""

    def take(self: Any, holder: str, locked: bool) -> int:
        with self._database.write() as db:
            return int(db.execute(FENCE).one().epoch) + 1

    @contextmanager
    def write(self: Any, epoch: int) -> Iterator[Writing]:
        with self.database.write() as db:
            row = db.execute(FENCE).one()
            writing = Writing(db, epoch, self._clock.now(), audit.Chain(row.audit_seq, row.audit_hash))
            yield writing
            writing.finish()
            crash_point("before_commit")
        for name in writing.crash_points:
            crash_point(name)

    lease.Lease._take = take  # type: ignore[method-assign]
    lease.Lease.renew = lambda self: None  # type: ignore[method-assign]
    lease.Lease.release = lambda self: None  # type: ignore[method-assign]
    ledger.Ledger.write = write  # type: ignore[method-assign]


def split_commit() -> None:
    """Fills in one transaction; where they have brought the order, and what protects it, in another."""
    news = hearing._News
    take, settle, protect = news._take, news._settle, news._protect
    later: list[Callable[[Writing], None]] = []

    def anything(self: Any) -> bool:
        with self._tools.write() as write:
            for fill in self._fills:
                take(self, write, fill)
        if later:
            crash_point("between_commits")
        return bool(later or self._listed or self._strangers)

    def write_down(self: Any, write: Writing) -> None:
        steps, later[:] = list(later), []
        for step in steps:
            step(write)
        for one in self._strangers:
            self._adopt(write, one)
        for one in self._listed:
            self._follow(write, one)

    news._settle = lambda self, write, order_id: later.append(lambda w: settle(self, w, order_id))  # type: ignore
    news._protect = lambda self, write, *rest: later.append(lambda w: protect(self, w, *rest))  # type: ignore
    news.anything = property(anything)  # type: ignore[assignment,method-assign]
    news.write_down = write_down  # type: ignore[method-assign]


def deferred() -> None:
    """SQLite's own default: a transaction reads first and asks for the right to write later."""
    database._Writing._begin = "BEGIN"


def timeout_is_refusal() -> None:
    """No answer is taken for a no, and what the broker lists later for somebody else's. (With that second look, which
    adopts what arrives late, the first mistake alone does no harm.)"""
    placed = sending._placed

    async def hasty(*given: Any, **how: Any) -> tuple[str, Status, str]:
        said, status, broker_id = await placed(*given, **how)
        return said, Status.REFUSED if status is Status.AMBIGUOUS else status, broker_id

    sending._placed = hasty
    hearing._News._unmapped = lambda self, one: False  # type: ignore[method-assign]


def blind_resend() -> None:
    """What is uncertain is sent again, without asking."""
    resolve = resolving.resolve

    async def resend(tools: Tools) -> bool:
        for order in tools.reader.open_orders():
            if order.status in UNCERTAIN and order.request.purpose is Purpose.ENTRY:
                await _again(tools, order)
        return await resolve(tools)

    from desk import engine, reconcile

    engine.resolve = reconcile.resolve = resend  # type: ignore[attr-defined]


async def _again(tools: Tools, order: Order) -> None:
    name = client_order_id(order.request.account, order.id, 2)
    answer = await submit.review(tools, order.request, actor="engine", linked=frozenset({order.id}))
    if isinstance(answer, Denied):
        answer = _waved(order.request, answer.verdicts, answer.at)  # type: ignore[assignment]
    with tools.write() as write:
        write.add_attempt(Attempt(order.id, 2, name, tools.now()))
        if order.status is Status.SENDING:
            order = write.move(order, Status.AMBIGUOUS)
    how = {"client_order_id": name, "prepared": Prepared(), "group": "", "signed": tools.now()}
    _, _, broker_id = await sending._placed(tools, answer, **how)  # type: ignore[arg-type]
    with tools.write() as write:
        write.add_outcome(name, "sent again", broker_order_id=broker_id)
        write.move(order, Status.WORKING if broker_id else Status.NOT_PLACED, broker_id=broker_id)


def halt_unasked() -> None:
    """What the review saw is believed: the sending's own transaction does not look at the switch again."""
    sending._barred = lambda tools, write, order: ""


def _waved(request: Any, verdicts: Any, at: Any) -> Approved:
    import risk_manager

    return Approved(request, verdicts, at or timedelta(), risk_manager._SEAL)


VARIANTS: dict[str, Callable[[], None]] = {
    "sent first, written later": place_first,
    "no lease": no_lease,
    "fill and order in two commits": split_commit,
    "deferred transactions": deferred,
    "no answer is a no, for good": timeout_is_refusal,
    "uncertain entries sent again": blind_resend,
    "halt not asked when sending": halt_unasked,
}
