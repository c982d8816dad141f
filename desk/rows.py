"""Between rows of the ledger and the words of `domain`: each way in one place."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import sqlalchemy as sa

from desk import schema
from desk.records import Adjustment, Protection
from domain.breaker import Breaker
from domain.orders import Fill, Order, OrderRequest, OrderType, Purpose, Session, Side, Status, TimeInForce

Values = dict[str, Any]
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def canonical(value: Any) -> str:
    """JSON in its one spelling: sorted, no spaces, amounts and odd floats as text. The same value, the same text."""
    return _encode(_plain(value))


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | int) or type(value) is str:
        return value
    if isinstance(value, float):
        return value if abs(value) < float("inf") else str(value)
    if isinstance(value, Decimal):
        return format(value, "f") if value.is_finite() else str(value)
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, set | frozenset):
        return sorted(str(v) for v in value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    return _plain(value.value) if isinstance(value, Enum) else str(value)


def request_values(request: OrderRequest) -> Values:
    """The wish, column by column."""
    return {name: getattr(request, name) for name in REQUEST_COLUMNS}


REQUEST_COLUMNS = (
    "account",
    "symbol",
    "side",
    "quantity",
    "type",
    "limit",
    "stop",
    "trail",
    "time_in_force",
    "session",
    "purpose",
    "stop_loss",
    "target",
    "signal_id",
    "reason",
    "stop_trail",
)


def order_values(order: Order) -> Values:
    """A new order's row."""
    return {
        **request_values(order.request),
        "id": order.id,
        "parent": order.parent,
        "created": order.created,
        "status": order.status,
        "updated": order.updated,
        "filled": order.filled,
        "filled_value": order.filled * (order.average_price or Decimal(0)),
        "broker_id": order.broker_id,
        "reasons": canonical(order.reasons),
        "version": order.version,
    }


def order_of(row: sa.Row[Any]) -> Order:
    """The order in this row of `orders`."""
    values = row._mapping
    request = OrderRequest(
        **{
            **{name: values[name] for name in REQUEST_COLUMNS},
            "side": Side(row.side),
            "type": OrderType(row.type),
            "time_in_force": TimeInForce(row.time_in_force),
            "session": Session(row.session),
            "purpose": Purpose(row.purpose),
        }
    )
    return Order(
        id=row.id,
        request=request,
        status=Status(row.status),
        created=row.created,
        updated=row.updated,
        filled=row.filled,
        average_price=row.filled_value / row.filled if row.filled else None,
        broker_id=row.broker_id,
        parent=row.parent,
        reasons=tuple(json.loads(row.reasons)),
        version=row.version,
    )


def fill_values(fill: Fill) -> Values:
    """A fill's row, but for when it was heard."""
    return {
        "id": fill.id,
        "order_id": fill.order_id or None,
        "account": fill.account,
        "symbol": fill.symbol,
        "side": fill.side,
        "quantity": fill.quantity,
        "price": fill.price,
        "fee": fill.fee,
        "time": fill.time,
    }


def fill_of(row: sa.Row[Any]) -> Fill:
    """The fill in this row."""
    return Fill(
        id=row.id,
        order_id=row.order_id or "",
        account=row.account,
        symbol=row.symbol,
        side=Side(row.side),
        quantity=row.quantity,
        price=row.price,
        time=row.time,
        fee=row.fee,
    )


def protection_of(row: sa.Row[Any]) -> Protection:
    """The plan in this row of `protection`; a trail's level is of the position that stands now."""
    plan = Protection(row.symbol, row.stop, row.target, row.actor, row.at, row.trail)
    return plan if row.trail is None else replace(plan, level=row.level, since=row.since, seen=row.seen)


def adjustment_of(row: sa.Row[Any]) -> Adjustment:
    """The adjustment in this row."""
    return Adjustment(row.id, row.account, row.symbol, row.quantity, row.cash, row.reason, row.actor, row.at)


def orders_where(*conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Orders, oldest first."""
    return sa.select(schema.orders).where(*conditions).order_by(schema.orders.c.created, schema.orders.c.id)


def breaker_of(row: sa.Row[Any]) -> Breaker:
    """The breaker in this row; a latched one where it cannot be read."""
    try:
        return Breaker.from_dict(json.loads(row.body))
    except ValueError:
        return Breaker(latched=True, reason="its stored state is no JSON; reset it to start anew")
