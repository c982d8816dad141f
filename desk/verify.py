"""Does a ledger contradict itself? Every cache against what it was folded from, every row against its audit line."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from desk import audit, rows, schema
from domain.orders import MAY_BECOME, MAY_REVIVE, Status

ZERO = Decimal(0)


def problems(db: sa.Connection) -> list[str]:
    """One sentence for each contradiction; empty where the ledger is sound."""
    return [*audit.verify(db), *_owner(db), *_fills(db), *_filled(db), *_moves(db)]


def _owner(db: sa.Connection) -> Iterator[str]:
    written = {row.key: row.value for row in db.execute(sa.select(schema.meta))}
    founded = next(audit.lines(db, "founded"), None)
    if founded is None or founded.details != written:
        yield "meta: desk or price source differ from the audit's first line"


def _fills(db: sa.Connection) -> Iterator[str]:
    """Each fill is in the audit as it was heard, once."""
    heard = {line.details["id"]: rows.canonical(line.details) for line in audit.lines(db, "fill")}
    for row in db.execute(sa.select(schema.fill).order_by(schema.fill.c.seq)):
        fill = rows.fill_of(row)
        if heard.pop(fill.id, None) != rows.canonical(rows.fill_values(fill)):
            yield f"fill {fill.id}: differs from its line in the audit"
    yield from (f"fill {id_}: is in the audit and gone from the fills" for id_ in heard)


def _filled(db: sa.Connection) -> Iterator[str]:
    """Each order's filled quantity and value are the sums of its fills."""
    quantity: dict[str, Decimal] = defaultdict(Decimal)
    value: dict[str, Decimal] = defaultdict(Decimal)
    for row in db.execute(sa.select(schema.fill).where(schema.fill.c.order_id.is_not(None))):
        quantity[row.order_id] += row.quantity
        value[row.order_id] += row.quantity * row.price
    for order in db.execute(sa.select(schema.orders)):
        if order.filled != quantity[order.id] or order.filled_value != value[order.id]:
            yield f"order {order.id}: says {order.filled} filled, its fills sum to {quantity[order.id]}"


def _moves(db: sa.Connection) -> Iterator[str]:
    """Each order is where its events led it, along the table of moves."""
    last: dict[str, sa.Row[Any]] = {}
    for event in db.execute(
        sa.select(schema.order_event).order_by(schema.order_event.c.order_id, schema.order_event.c.version)
    ):
        before = last.get(event.order_id)
        if event.before != (before.after if before else "") or not _allowed(event.before, event.after):
            yield f"order {event.order_id}: version {event.version} jumped from {event.before!r} to {event.after}"
        last[event.order_id] = event
    for order in db.execute(sa.select(schema.orders)):
        newest = last.get(order.id)
        if newest is None or newest.after != order.status or newest.version > order.version:
            yield f"order {order.id}: is {order.status}, its events say {newest.after if newest else 'nothing'}"


def _allowed(before: str, after: str) -> bool:
    if not before:
        return after in (Status.NEW, Status.DENIED)
    start = Status(before)
    return Status(after) in MAY_BECOME[start] | MAY_REVIVE.get(start, frozenset())
