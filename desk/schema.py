"""The tables of a ledger, and its two conventions for what SQL has no type for.

A time is a whole number of microseconds since 1970, UTC. An amount (money, price, quantity) is exact decimal text,
never floating point. JSON is text in one canonical spelling. What a table may lose or change is said here in `guard`
and enforced in the database itself, by the triggers of `migrations/`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from domain.errors import DataError

REVISION = "r0006"  # the newest file in migrations/versions; a test compares
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MOST_DIGITS = 40


class Moment(sa.TypeDecorator[datetime]):
    """An aware datetime as microseconds since 1970, UTC; a naive one is refused."""

    impl = sa.BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> int | None:
        if value is None:
            return None
        if not isinstance(value, datetime) or value.tzinfo is None:
            raise DataError(f"a time in the ledger must be a datetime with a zone: got {value!r}")
        return (value - EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: sa.Dialect) -> datetime | None:
        return None if value is None else EPOCH + timedelta(microseconds=value)


class Amount(sa.TypeDecorator[Decimal]):
    """A finite Decimal as plain text, digit for digit; float, int, NaN and infinity are refused."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: Decimal | None, dialect: sa.Dialect) -> str | None:
        return None if value is None else exact(value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> Decimal | None:
        return None if value is None else Decimal(value)


def exact(value: Decimal) -> str:
    """The amount as plain text, digit for digit; DataError for what is not a finite Decimal of a sane length."""
    if not isinstance(value, Decimal) or not value.is_finite():
        raise DataError(f"an amount in the ledger must be a finite Decimal: got {value!r}")
    if len(text := format(value, "f") if abs(value.adjusted()) < _MOST_DIGITS else "") in range(1, 2 * _MOST_DIGITS):
        return text
    raise DataError(f"an amount in the ledger has at most {_MOST_DIGITS} digits: got {value!r}")


metadata = sa.MetaData()
_Seq = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_Double: sa.Double[float] = sa.Double().with_variant(sa.REAL(), "sqlite")


def _seq() -> sa.Column[int]:
    return sa.Column("seq", _Seq, primary_key=True, autoincrement=True)


def _text(name: str, *args: Any, **kwargs: Any) -> sa.Column[str]:
    return sa.Column(name, sa.Text, *args, nullable=False, **kwargs)


def _amount(name: str, nullable: bool = False) -> sa.Column[Decimal]:
    return sa.Column(name, Amount, nullable=nullable)


def _moment(name: str, nullable: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, Moment, nullable=nullable)


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False)


def _table(name: str, *parts: sa.schema.SchemaItem) -> sa.Table:
    return sa.Table(name, metadata, *parts)


# Whose ledger this is: desk, price source, a name of its own, when it was made.
meta = _table("meta", sa.Column("key", sa.Text, primary_key=True), _text("value"))

# Who may write. `until` counts for a holder that no longer proves it lives by its lock.
lease = _table(
    "lease",
    sa.Column("name", sa.Text, primary_key=True),
    _text("holder"),
    _count("epoch"),
    _moment("since"),
    _moment("until"),
    sa.Column("locked", sa.Boolean, nullable=False),
)

# The inbox: any process appends, the engine answers.
command = _table(
    "command",
    _seq(),
    _text("key", unique=True),
    _text("kind"),
    _text("actor"),
    _text("body"),
    _text("fingerprint"),
    _moment("created"),
    _text("state"),
    _text("said"),
    _text("details"),
    _moment("answered", nullable=True),
)
sa.Index(
    "command_queued",
    command.c.seq,
    sqlite_where=command.c.state == "queued",
    postgresql_where=command.c.state == "queued",
)

account = _table(
    "account", sa.Column("name", sa.Text, primary_key=True), _text("kind"), _amount("starting_cash"), _moment("created")
)

# The wish (never changed) and, from `status` on, what has become of it so far.
orders = _table(
    "orders",
    sa.Column("id", sa.Text, primary_key=True),
    _text("account", sa.ForeignKey("account.name")),
    _text("symbol"),
    _text("side"),
    _amount("quantity"),
    _text("type"),
    _amount("limit", nullable=True),
    _amount("stop", nullable=True),
    _amount("trail", nullable=True),
    _text("time_in_force"),
    _text("session"),
    _text("purpose"),
    _amount("stop_loss", nullable=True),
    _amount("target", nullable=True),
    _text("signal_id"),
    _text("reason"),
    _text("parent"),
    _moment("created"),
    _text("status"),
    _moment("updated"),
    _amount("filled"),
    _amount("filled_value"),
    _text("broker_id"),
    _text("reasons"),
    _count("version"),
    _amount("stop_trail", nullable=True),
    sa.Index("orders_status", "status", "account", "symbol"),
    sa.Index("orders_created", "created"),
)
sa.Index(
    "orders_broker_id",
    orders.c.account,
    orders.c.broker_id,
    unique=True,
    sqlite_where=orders.c.broker_id != "",
    postgresql_where=orders.c.broker_id != "",
)

sa.Index(
    "orders_signal",
    orders.c.signal_id,
    sqlite_where=orders.c.signal_id != "",
    postgresql_where=orders.c.signal_id != "",
)

order_event = _table(
    "order_event",
    sa.Column("order_id", sa.Text, sa.ForeignKey("orders.id"), primary_key=True),
    sa.Column("version", sa.BigInteger, primary_key=True, autoincrement=False),
    _text("before"),
    _text("after"),
    _moment("at"),
    _text("reasons"),
    _text("broker_id"),
    _count("epoch"),
)

# One sending of an order, written before it leaves, and below what was heard of it.
attempt = _table(
    "attempt",
    _seq(),
    _text("order_id", sa.ForeignKey("orders.id")),
    _count("n"),
    _text("client_order_id", unique=True),
    _text("preview_id"),
    _text("watermark"),
    _moment("signed"),
    _count("epoch"),
    sa.UniqueConstraint("order_id", "n"),
    sa.Index("attempt_signed", "signed"),
)
# An E*TRADE order number is unique within its account only.
outcome = _table(
    "outcome",
    _seq(),
    _text("client_order_id", sa.ForeignKey("attempt.client_order_id")),
    _text("account"),
    _text("said"),
    sa.Column("broker_order_id", sa.Text),
    _text("details"),
    _moment("at"),
    sa.UniqueConstraint("account", "broker_order_id"),
    sa.Index("outcome_attempt", "client_order_id"),
)

# `order_id` is NULL for a trade somebody made outside this desk.
fill = _table(
    "fill",
    _seq(),
    _text("id", unique=True),
    sa.Column("order_id", sa.Text, sa.ForeignKey("orders.id")),
    _text("account", sa.ForeignKey("account.name")),
    _text("symbol"),
    _text("side"),
    _amount("quantity"),
    _amount("price"),
    _amount("fee"),
    _moment("time"),
    _moment("heard"),
    sa.Index("fill_order", "order_id"),
    sa.Index("fill_account", "account", "symbol"),
)

decision = _table(
    "decision",
    _seq(),
    sa.Column("order_id", sa.Text, sa.ForeignKey("orders.id")),
    _text("command_key"),
    sa.Column("approved", sa.Boolean, nullable=False),
    _text("request"),
    _text("verdicts"),
    _text("inputs"),
    _moment("at"),
    sa.Index("decision_order", "order_id"),
    sa.Index("decision_at", "at"),
)

signal = _table(
    "signal",
    _seq(),
    _text("id", unique=True),
    _text("symbol"),
    _moment("bar_time"),
    sa.Column("exposure", _Double, nullable=False),
    sa.Column("confidence", _Double, nullable=False),
    _text("source"),
    _text("reason"),
    _moment("at"),
)

# A strategy at work: what was adopted (`body`) and each change of its state; the newest row of an id counts.
adoption = _table(
    "adoption",
    _seq(),
    _text("id"),
    _text("account", sa.ForeignKey("account.name")),
    _text("strategy"),
    _text("body"),
    _text("state"),
    _text("reason"),
    _text("actor"),
    _moment("at"),
    sa.Index("adoption_id", "id", "seq"),
)

# What a strategy at work made of one closed bar, written before anything is done about it. `held` is what it held
# itself, `wanted` what it shall hold, below zero when short; stop, target and trail are those of a position it opens.
bar_decision = _table(
    "bar_decision",
    _seq(),
    _text("adoption"),
    _text("symbol"),
    _moment("bar_time"),
    sa.Column("exposure", _Double),
    _text("done"),
    _text("said"),
    _amount("held"),
    _amount("wanted"),
    _amount("stop", nullable=True),
    _amount("target", nullable=True),
    _text("signal_id"),
    _moment("at"),
    _text("state", server_default=""),
    _text("verdicts", server_default=""),
    _amount("trail", nullable=True),
    sa.UniqueConstraint("adoption", "symbol", "bar_time"),
    sa.Index("bar_decision_of", "adoption", "symbol", "seq"),
)

# Every step of a strategy at work on its way from paper to all of the money; the newest of an adoption counts.
rung = _table(
    "rung",
    _seq(),
    _text("adoption"),
    _text("rung"),
    _text("reason"),
    _text("actor"),
    _text("details"),
    _moment("at"),
    sa.Index("rung_of", "adoption", "seq"),
)

# Every change of the trading state; the newest of a scope counts.
control = _table(
    "control",
    _seq(),
    _text("scope"),
    _text("state"),
    _count("level"),
    _text("reason"),
    _text("actor"),
    _moment("at"),
    sa.Index("control_scope", "scope", "seq"),
)

# Every change of a limit; the newest of a name counts. Values are JSON, amounts as text.
limits = _table(
    "limits",
    _seq(),
    _text("name"),
    sa.Column("old", sa.Text),
    _text("new"),
    _text("actor"),
    _moment("at"),
    sa.Index("limits_name", "name", "seq"),
)

# What a position's stop, target and trailing stop shall be; the newest of an account and symbol counts.
protection = _table(
    "protection",
    _seq(),
    _text("account", sa.ForeignKey("account.name")),
    _text("symbol"),
    _amount("stop", nullable=True),
    _amount("target", nullable=True),
    _text("actor"),
    _moment("at"),
    _amount("trail", nullable=True),
    sa.Index("protection_of", "account", "symbol", "seq"),
)

# How near to the price the trailing stop of the position that stands now has come; NULL before any price was seen.
trail_level = _table(
    "trail_level",
    sa.Column("account", sa.Text, sa.ForeignKey("account.name"), primary_key=True),
    sa.Column("symbol", sa.Text, primary_key=True),
    _amount("level", nullable=True),
    _moment("since"),
    _moment("seen"),
)

# A figure of the broker's taken over: shares or cash that no fill explains. It counts after the fill `after_fill`.
adjustment = _table(
    "adjustment",
    _seq(),
    _text("id", unique=True),
    _text("account", sa.ForeignKey("account.name")),
    _text("symbol"),
    _amount("quantity"),
    _amount("cash"),
    _count("after_fill"),
    _text("reason"),
    _text("actor"),
    _moment("at"),
)

# Which account may trade real money, and who said so; the newest row counts.
arming = _table(
    "arming",
    _seq(),
    _text("account"),
    sa.Column("armed", sa.Boolean, nullable=False),
    _text("reason"),
    _text("actor"),
    _text("details"),
    _moment("at"),
)

breaker = _table(
    "breaker",
    sa.Column("account", sa.Text, sa.ForeignKey("account.name"), primary_key=True),
    _text("body"),
    _text("actor"),
    _moment("at"),
)

equity = _table(
    "equity",
    _seq(),
    _text("account", sa.ForeignKey("account.name")),
    _moment("at"),
    _amount("cash"),
    _amount("equity"),
    sa.UniqueConstraint("account", "at"),
)

engine = _table(
    "engine",
    sa.Column("name", sa.Text, primary_key=True),
    _text("holder"),
    _count("epoch"),
    _moment("started"),
    _moment("beat"),
    _text("state"),
    _text("details"),
)

# Each row's hash covers the hash before it and its own content; a trigger keeps the last one in `audit_head`.
audit = _table(
    "audit",
    sa.Column("seq", _Seq, primary_key=True, autoincrement=False),
    _moment("at"),
    _text("event"),
    _text("actor"),
    _text("details"),
    _count("epoch"),
    _text("previous"),
    _text("hash"),
)
audit_head = _table(
    "audit_head",
    sa.Column("name", sa.Text, primary_key=True),
    _count("seq"),
    _text("hash"),
)
