"""The statements of `Writing`, each built once: SQLAlchemy finds what it compiled by the object it compiled."""

from __future__ import annotations

import sqlalchemy as sa

from desk import schema

_orders, _fill, _attempt, _outcome = schema.orders.c, schema.fill.c, schema.attempt.c, schema.outcome.c

ADD_ORDER = sa.insert(schema.orders)
MOVE_ORDER = sa.update(schema.orders).where(
    _orders.id == sa.bindparam("of_id"),
    _orders.version == sa.bindparam("of_version"),
    _orders.status == sa.bindparam("of_status"),
)
COUNT_FILL = sa.update(schema.orders).where(_orders.id == sa.bindparam("of_id"))
ORDER_BY_ID = sa.select(schema.orders).where(_orders.id == sa.bindparam("of_id"))
ORDER_AT_BROKER = sa.select(schema.orders).where(
    _orders.account == sa.bindparam("of_account"), _orders.broker_id == sa.bindparam("of_broker_id")
)
ORDER_SENT_AS = (
    sa.select(schema.orders)
    .join_from(schema.orders, schema.attempt)
    .where(schema.attempt.c.client_order_id == sa.bindparam("client_id"))
)
ADD_EVENT = sa.insert(schema.order_event)

ADD_FILL = sa.insert(schema.fill)
FILL_BY_ID = sa.select(schema.fill).where(_fill.id == sa.bindparam("fill_id"))

ADD_ATTEMPT = sa.insert(schema.attempt)
ATTEMPT = (
    sa.select(_attempt.client_order_id, _orders.account)
    .join_from(schema.attempt, schema.orders)
    .where(_attempt.client_order_id == sa.bindparam("client_id"))
)
ADD_OUTCOME = sa.insert(schema.outcome)
TOLD = sa.select(_outcome.client_order_id).where(
    _outcome.account == sa.bindparam("of_account"), _outcome.broker_order_id == sa.bindparam("broker_id")
)

ADD_SIGNAL = sa.insert(schema.signal)
SIGNAL_BY_ID = sa.select(schema.signal.c.seq).where(schema.signal.c.id == sa.bindparam("signal_id"))
ADD_DECISION = sa.insert(schema.decision)
ANSWER = sa.update(schema.command).where(
    schema.command.c.key == sa.bindparam("of_key"), schema.command.c.state == "queued"
)

ADD_CONTROL = sa.insert(schema.control)
ADD_LIMIT = sa.insert(schema.limits)
LIMITS = sa.select(schema.limits).where(
    schema.limits.c.seq.in_(sa.select(sa.func.max(schema.limits.c.seq)).group_by(schema.limits.c.name))
)
ADD_PROTECTION = sa.insert(schema.protection)
_level, _plan = schema.trail_level.c, schema.protection.c
PROTECTION = (
    sa.select(schema.protection, _level.level, _level.since, _level.seen)
    .select_from(
        schema.protection.outerjoin(
            schema.trail_level, sa.and_(_level.account == _plan.account, _level.symbol == _plan.symbol)
        )
    )
    .where(
        _plan.seq.in_(
            sa.select(sa.func.max(_plan.seq)).where(_plan.account == sa.bindparam("of_account")).group_by(_plan.symbol)
        )
    )
)
ADD_LEVEL = sa.insert(schema.trail_level)
MOVE_LEVEL = sa.update(schema.trail_level).where(
    _level.account == sa.bindparam("of_account"), _level.symbol == sa.bindparam("of_symbol")
)
SENT_SINCE = (
    sa.select(_attempt.signed, _orders.symbol, _orders.side, _orders.purpose, _orders.id, _orders.parent)
    .join_from(schema.attempt, schema.orders)
    .where(_orders.account == sa.bindparam("of_account"), _attempt.signed >= sa.bindparam("since"))
    .order_by(_attempt.seq)
)
NEWEST_SENT = (
    sa.select(_orders.status, _orders.updated)
    .join_from(schema.attempt, schema.orders)
    .where(_orders.account == sa.bindparam("of_account"))
    .order_by(_attempt.seq.desc())
    .limit(20)
)
ATTEMPTS = sa.select(schema.attempt).where(_attempt.order_id == sa.bindparam("of_id")).order_by(_attempt.n)
ADD_ADJUSTMENT = sa.insert(schema.adjustment)
ADJUSTMENT_BY_ID = sa.select(schema.adjustment.c.seq).where(schema.adjustment.c.id == sa.bindparam("adjustment_id"))
NEWEST_FILL = sa.select(sa.func.coalesce(sa.func.max(_fill.seq), 0))
# A broker that tells sums names each fill account:order:sum, so that these lie side by side.
TOLD_FILLS = sa.select(schema.fill).where(_fill.id >= sa.bindparam("first"), _fill.id < sa.bindparam("behind"))
ADD_ARMING = sa.insert(schema.arming)
ARMING = sa.select(schema.arming).order_by(schema.arming.c.seq.desc()).limit(1)
BREAKER = sa.select(schema.breaker).where(schema.breaker.c.account == sa.bindparam("of_account"))
SAVE_BREAKER = sa.update(schema.breaker).where(schema.breaker.c.account == sa.bindparam("of_account"))
ADD_BREAKER = sa.insert(schema.breaker)

ACCOUNT = sa.select(schema.account).where(schema.account.c.name == sa.bindparam("of_name"))
ADD_ACCOUNT = sa.insert(schema.account)
EQUITY_AT = sa.select(schema.equity.c.seq).where(
    schema.equity.c.account == sa.bindparam("of_account"), schema.equity.c.at == sa.bindparam("of_at")
)
ADD_EQUITY = sa.insert(schema.equity)
BEAT = sa.update(schema.engine).where(schema.engine.c.name == "engine")
FIRST_BEAT = sa.insert(schema.engine)
