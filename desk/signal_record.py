"""What strategies at work wished for, bar by bar, and what became of each wish: its orders, and the gates that denied.

The rule: what is a wish here is a changed mind, the first bar on which filters held one back, or a bar that was missed;
the bars on which all stayed as before are only counted.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from desk import schema
from desk.adoptions import BarDecision, Done, decision_of
from desk.reader import Reader
from desk.rows import order_of
from domain.orders import Order
from domain.verdicts import Outcome

MOST_IDS = 400  # in one question: SQLite's oldest limit of variables is 999
_bar, _signal = schema.bar_decision, schema.signal


def _before(column: sa.ColumnElement[str]) -> sa.ColumnElement[str]:
    """What stood there on the bar before of the same symbol; '' on the first."""
    lagged = sa.func.lag(column).over(partition_by=(_bar.c.adoption, _bar.c.symbol), order_by=_bar.c.seq)
    return sa.func.coalesce(lagged, "")


_side = sa.func.substr(_bar.c.state, 1, 3)
_FAILED = (Done.MISSED.value, Done.FAULT.value)
_TOLD = (
    sa.select(
        _bar,
        _before(_bar.c.verdicts).label("judged_before"),
        _side.label("side"),
        _before(_side).label("side_before"),
    )
    .where(_bar.c.seq >= sa.bindparam("first"))
    .subquery()
)
_held_back = sa.and_(_TOLD.c.verdicts != "", sa.or_(_TOLD.c.judged_before == "", _TOLD.c.side != _TOLD.c.side_before))
WISHES = (
    sa.select(_TOLD)
    .where(sa.or_(_TOLD.c.signal_id != "", _held_back), _TOLD.c.done.not_in(_FAILED))
    .order_by(_TOLD.c.seq.desc())
    .limit(sa.bindparam("most"))
)
MISSED = sa.select(_TOLD).where(_TOLD.c.done.in_(_FAILED)).order_by(_TOLD.c.seq.desc()).limit(sa.bindparam("most"))
_LAST = sa.select(sa.func.max(_bar.c.seq).label("seq"))
_FROM = sa.select(_bar.c.seq, _bar.c.at).where(_bar.c.seq >= sa.bindparam("first")).order_by(_bar.c.seq).limit(1)
_ids: sa.BindParameter[Any] = sa.bindparam("ids", expanding=True)
REASONS = sa.select(_signal.c.id, _signal.c.reason).where(_signal.c.id.in_(_ids))
MADE = (
    sa.select(schema.orders)
    .where(schema.orders.c.signal_id != "", schema.orders.c.signal_id.in_(_ids))
    .order_by(schema.orders.c.created, schema.orders.c.id)
)
DENIED = sa.select(schema.decision.c.order_id, schema.decision.c.verdicts).where(
    schema.decision.c.order_id.in_(_ids), sa.not_(schema.decision.c.approved)
)
WHY_ORDERED = sa.select(schema.orders.c.id, schema.orders.c.reason).where(schema.orders.c.id.in_(_ids))
_MARK = sa.select(
    sa.select(schema.meta.c.value).where(schema.meta.c.key == "id").scalar_subquery().label("ledger"),
    sa.select(sa.func.max(schema.audit_head.c.seq)).scalar_subquery().label("audit"),
    sa.select(sa.func.max(_bar.c.seq)).scalar_subquery().label("bars"),
)


class Mark(NamedTuple):
    """How far a ledger has come: equal marks, equal answers. Heartbeats and snapshots of equity do not move it."""

    ledger: str = ""
    audit: int = 0
    bars: int = 0


@dataclass(frozen=True, slots=True)
class Wish:
    """One of them. `reason` is the strategy's own word where its mind changed; `gates` the names of the gates that
    denied an order, by the order's id."""

    decision: BarDecision
    reason: str
    orders: tuple[Order, ...]
    gates: dict[str, tuple[str, ...]]


def mark(reader: Reader) -> Mark:
    """How far it has come by now."""
    found = reader.rows(_MARK)
    return Mark(found[0].ledger or "", found[0].audit or 0, found[0].bars or 0) if found else Mark()


def first_since(reader: Reader, since: datetime) -> int:
    """The first decision that was written at this moment or later, by its place: they are written in the order of
    time, so that a few looks find it where a search by time would read all of them."""
    last = reader.rows(_LAST)
    low, high = 1, (last[0].seq or 0) + 1 if last else 1
    while low < high:
        middle = (low + high) // 2
        found = reader.rows(_FROM, first=middle)
        if not found or found[0].at >= since:
            high = middle
        else:
            low = found[0].seq + 1
    return low


def wishes(reader: Reader, since: datetime, most: int = 500) -> list[Wish]:
    """The wishes of all strategies since a moment, newest first."""
    return _told(reader, reader.rows(WISHES, first=first_since(reader, since), most=most))


def missed(reader: Reader, since: datetime, most: int = 500) -> list[Wish]:
    """The bars that were missed, or on which a strategy failed; newest first."""
    return _told(reader, reader.rows(MISSED, first=first_since(reader, since), most=most))


def reasons(reader: Reader, signals: Iterable[str]) -> dict[str, str]:
    """Why the strategy wished what each of these signals said, by the signal's id."""
    return {row.id: row.reason for row in _by_ids(reader, REASONS, signals)}


def why_ordered(reader: Reader, orders: Iterable[str]) -> dict[str, str]:
    """The reason each of these orders was made for, by its id."""
    return {row.id: row.reason for row in _by_ids(reader, WHY_ORDERED, orders)}


def _told(reader: Reader, rows: Iterable[sa.Row[Any]]) -> list[Wish]:
    found = [decision_of(row) for row in rows]
    signals = [one.signal_id for one in found if one.signal_id]
    said, made = reasons(reader, signals), defaultdict[str, list[Order]](list)
    for row in _by_ids(reader, MADE, signals):
        made[row.signal_id].append(order_of(row))
    orders = [order.id for each in made.values() for order in each]
    denied = {row.order_id: _gates(row.verdicts) for row in _by_ids(reader, DENIED, orders)}
    return [_wish(one, said.get(one.signal_id, ""), made.get(one.signal_id, []), denied) for one in found]


def _wish(decision: BarDecision, reason: str, made: list[Order], denied: dict[str, tuple[str, ...]]) -> Wish:
    return Wish(decision, reason, tuple(made), {order.id: denied[order.id] for order in made if order.id in denied})


def _by_ids(reader: Reader, statement: sa.Select[Any], ids: Iterable[str]) -> list[sa.Row[Any]]:
    wanted = sorted({one for one in ids if one})
    parts = (wanted[at : at + MOST_IDS] for at in range(0, len(wanted), MOST_IDS))
    return [row for part in parts for row in reader.rows(statement, ids=part)]


def _gates(told: str) -> tuple[str, ...]:
    """The gates that stood against it; an outcome nobody knows counts as a refusal."""
    fine = (Outcome.PASSED.value, Outcome.WARNING.value)
    return tuple(str(v["gate"]) for v in json.loads(told) if v["outcome"] not in fine)
