"""What every door may see of a ledger. It cannot write, never waits for the engine, and needs no lease.

A ledger that is not there yet is an empty desk. One that is there and cannot be read raises LedgerUnusable, but for
`trading_state`, which never raises: what cannot be read is DISABLED.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from desk import audit, control, rows, schema
from desk import statements as sql
from desk.control import Control, halted
from desk.database import Database
from desk.folds import Folds
from desk.inbox import answer_of, command_of
from desk.lease import holder_of
from desk.records import (
    AccountInfo,
    Adjustment,
    Arming,
    Attempt,
    AuditRow,
    Decision,
    EngineStatus,
    EquityPoint,
    HeardFill,
    Holder,
    LimitChange,
    OrderEvent,
    Protection,
    SentOrder,
)
from desk.remembered import Remembered
from domain.breaker import Breaker
from domain.clock import Clock, ago
from domain.commands import Answer, Command, CommandState
from domain.orders import OPEN, Order, Purpose, Side, Status
from domain.positions import Account, Position
from domain.round_trips import RoundTrip

STREAMED = 500
NO_LEDGER = "nobody has started this desk yet"
_UNDEFINED_TABLE = "42P01"
_accounts = sa.select(schema.account).order_by(schema.account.c.name)


class Reader:
    """One ledger, read-only; several threads may share it. Positions are folded once and then only extended, so that
    asking again costs what is new; what a turn asks for again and again is read once between two commits."""

    def __init__(self, where: str | Database, clock: Clock) -> None:
        self._database = where if isinstance(where, Database) else Database(where, read_only=True)
        self._clock, self._folds, self._known = clock, Folds(), Remembered(self._database)
        self._seen: tuple[int, int] | None = None

    # Orders and fills

    def open_orders(self, account: str = "", symbol: str = "") -> list[Order]:
        """Orders that may still do something, oldest first."""
        found = self._known.get("open orders", lambda: self._orders(schema.orders.c.status.in_(sorted(OPEN))))
        return [o for o in found if account in ("", o.request.account) and symbol in ("", o.request.symbol)]

    def orders_between(self, start: datetime, end: datetime, account: str = "") -> list[Order]:
        """Orders created from `start` up to `end`, done ones too: the orders of a day."""
        created = schema.orders.c.created
        return self._orders(created >= start, created < end, *_of(schema.orders, account=account))

    def family(self, parents: Collection[str]) -> list[Order]:
        """Every order, done or not, with one of these parents."""
        wanted = sorted(parents)
        if not wanted:
            return []
        return list(self._known.get(("family", *wanted), lambda: self._orders(schema.orders.c.parent.in_(wanted))))

    def order(self, order_id: str) -> Order | None:
        """One order."""
        return next(iter(self._orders(schema.orders.c.id == order_id)), None)

    def order_at_broker(self, account: str, broker_id: str) -> Order | None:
        """The order the broker calls by this id."""
        table = schema.orders.c
        return next(iter(self._orders(table.account == account, table.broker_id == broker_id)), None)

    def order_events(self, order_id: str) -> list[OrderEvent]:
        """How an order got where it is, first move first."""
        table = schema.order_event
        found = self._rows(sa.select(table).where(table.c.order_id == order_id).order_by(table.c.version))
        return [
            OrderEvent(
                r.order_id,
                r.version,
                r.before,
                Status(r.after),
                r.at,
                tuple(json.loads(r.reasons)),
                r.broker_id,
                r.epoch,
            )
            for r in found
        ]

    def decisions(self, order_id: str = "", command_key: str = "", most: int = 100) -> list[Decision]:
        """What the gates said of an order, of a command, or lately of everything; newest first."""
        table = schema.decision
        wanted = _of(table, order_id=order_id, command_key=command_key)
        return [
            Decision(
                r.approved,
                json.loads(r.verdicts),
                json.loads(r.inputs),
                json.loads(r.request),
                r.command_key,
                r.order_id or "",
                r.at,
            )
            for r in self._rows(sa.select(table).where(*wanted).order_by(table.c.seq.desc()).limit(most))
        ]

    def fills(
        self, *, account: str = "", symbol: str = "", order_id: str = "", before: int | None = None, most: int = 100
    ) -> list[HeardFill]:
        """A page of fills, newest first; the next page lies `before` the last one's `seq`."""
        table = schema.fill
        wanted = _of(table, account=account, symbol=symbol, order_id=order_id)
        wanted += [table.c.seq < before] if before is not None else []
        found = self._rows(sa.select(table).where(*wanted).order_by(table.c.seq.desc()).limit(most))
        return [HeardFill(row.seq, rows.fill_of(row)) for row in found]

    def counted_as_others(self, account: str, broker_id: str) -> bool:
        """Whether fills of this order at a broker that tells sums were counted as somebody else's."""
        first, behind = (f"{account}:{broker_id}{mark}" for mark in ":;")
        return any(row.order_id is None for row in self._rows(sql.TOLD_FILLS, first=first, behind=behind))

    # Accounts

    def accounts(self) -> list[AccountInfo]:
        """Every account of this desk, by name."""
        found = self.asked(_accounts)
        return [AccountInfo(r.name, r.kind, r.starting_cash, r.created) for r in found]

    def account(self, name: str) -> Account | None:
        """Cash and positions of an account, folded from its fills; None where there is no such account."""
        found = self._known.get(("account", name), lambda: self._folded(name))
        return found and Account(found.name, found.cash, dict(found.positions))

    def _folded(self, name: str) -> Account | None:
        with self._connection() as db:
            return self._folds.account(db, name) if db else None

    def positions(self, account: str) -> dict[str, Position]:
        """What an account holds now, by symbol; what it held and sold again is left out."""
        found = self.account(account)
        return {symbol: p for symbol, p in found.positions.items() if p.quantity} if found else {}

    def round_trips(self, account: str, since: datetime) -> tuple[RoundTrip, ...]:
        """What the account opened and closed again, by when it closed; oldest first."""
        if self.account(account) is None:  # folded up to the last commit by this
            return ()
        return self._folds.round_trips(account, since)

    def protection(self, account: str) -> dict[str, Protection]:
        """What each symbol's position shall be protected by, by symbol; symbols it was never said of are left out."""
        found = self.asked(sql.PROTECTION, of_account=account)
        return {r.symbol: rows.protection_of(r) for r in found}

    def sent_since(self, account: str, since: datetime) -> list[SentOrder]:
        """Every sending of an order of this account from `since` on, oldest first."""
        found = self.asked(sql.SENT_SINCE, of_account=account, since=since)
        return [SentOrder(r.signed, r.symbol, Side(r.side), Purpose(r.purpose), r.id, r.parent) for r in found]

    def refusals_in_a_row(self, account: str, since: datetime | None = None) -> int:
        """How many of the newest sendings the broker refused, without one between that it took; none before `since`."""
        count = 0
        for row in self.asked(sql.NEWEST_SENT, of_account=account):
            if row.status != Status.REFUSED or (since is not None and row.updated < since):
                break
            count += 1
        return count

    def attempts(self, order_id: str) -> list[Attempt]:
        """Every sending of an order, first one first."""
        found = self._rows(sql.ATTEMPTS, of_id=order_id)
        return [
            Attempt(r.order_id, r.n, r.client_order_id, r.signed, r.preview_id, json.loads(r.watermark)) for r in found
        ]

    def adjustments(self, account: str = "", most: int = 100) -> list[Adjustment]:
        """The broker's figures that were taken over, newest first."""
        table = schema.adjustment
        found = self._rows(
            sa.select(table).where(*_of(table, account=account)).order_by(table.c.seq.desc()).limit(most)
        )
        return [rows.adjustment_of(row) for row in found]

    def fills_since_cash_agreed(self, account: str) -> int:
        """How many fills there are since the broker's cash was last taken over."""
        of, table = schema.adjustment.c, schema.fill.c
        last = sa.select(sa.func.coalesce(sa.func.max(of.after_fill), 0)).where(of.account == account, of.symbol == "")
        counted = sa.select(sa.func.count().label("fills")).where(
            table.account == account, table.seq > last.scalar_subquery()
        )
        found = self._rows(counted)
        return found[0].fills if found else 0

    def equity_curve(self, account: str, since: datetime | None = None) -> list[EquityPoint]:
        """The engine's snapshots of an account, oldest first."""
        table = schema.equity
        wanted = _of(table, account=account)
        wanted += [table.c.at >= since] if since is not None else []
        found = self._rows(sa.select(table).where(*wanted).order_by(table.c.at))
        return [EquityPoint(r.account, r.at, r.cash, r.equity) for r in found]

    def last_point(self, account: str) -> EquityPoint | None:
        """The newest snapshot of an account."""
        table = schema.equity
        found = self._rows(sa.select(table).where(table.c.account == account).order_by(table.c.at.desc()).limit(1))
        return next((EquityPoint(r.account, r.at, r.cash, r.equity) for r in found), None)

    def peak_equity(self, account: str) -> Decimal | None:
        """The highest equity ever kept of an account, to the cent; None before the first snapshot."""
        table = schema.equity
        highest = sa.func.max(sa.cast(table.c.equity, sa.Float)).label("peak")
        found = self._rows(sa.select(highest).where(table.c.account == account))
        return round(Decimal(str(found[0].peak)), 2) if found and found[0].peak is not None else None

    def breaker(self, account: str) -> Breaker | None:
        """The account's daily-loss breaker; None where none was ever saved, a latched one where it cannot be read."""
        found = self.asked(sql.BREAKER, of_account=account)
        return rows.breaker_of(found[0]) if found else None

    # The right to trade

    def trading_state(self, account: str = "", symbol: str = "") -> Control:
        """What may be traded: the strictest of the desk's, the account's and the instrument's switch. Never raises."""
        try:
            every = self._known.get("switches", self._switches)
            return halted(NO_LEDGER) if every is None else control.strictest(every, account, symbol)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the switch, the answer is to stop
            return halted(f"the trading state cannot be read: {error}")

    def arming(self) -> Arming:
        """Which account is picked and whether it may trade real money; nobody where that was never said."""
        found = self.asked(sql.ARMING)
        return next((Arming(r.account, r.armed, r.reason, r.actor, r.at) for r in found), Arming())

    def controls(self) -> list[Control]:
        """Every switch that was ever set, as it is now."""
        return list(self._known.get("switches", self._switches) or ())

    def _switches(self) -> list[Control] | None:
        with self._connection() as db:
            return control.every_scope(db) if db else None

    def limits(self) -> dict[str, Any]:
        """Every limit that was ever set, as it is now; `Limits.from_dict` knows the defaults of the others."""
        return {row.name: json.loads(row.new) for row in self.asked(sql.LIMITS)}

    def limit_history(self, name: str = "", most: int = 200) -> list[LimitChange]:
        """Who changed a limit (or any), from what to what and when; newest first."""
        table = schema.limits
        found = self._rows(sa.select(table).where(*_of(table, name=name)).order_by(table.c.seq.desc()).limit(most))
        return [LimitChange(r.name, _json(r.old), _json(r.new), r.actor, r.at) for r in found]

    # Engine, commands, audit

    def engine(self) -> EngineStatus | None:
        """The engine's last sign of life; None where there was none yet."""
        found = self._rows(sa.select(schema.engine))
        return next(
            (EngineStatus(r.holder, r.epoch, r.started, r.beat, r.state, json.loads(r.details)) for r in found), None
        )

    def heartbeat_age(self) -> timedelta | None:
        """How long ago the engine last said it lives; None where it never did."""
        status = self.engine()
        return None if status is None else ago(self._clock, status.beat)

    def holder(self) -> Holder | None:
        """Who holds the lease, as the ledger says."""
        with self._connection() as db:
            return holder_of(db) if db else None

    def command(self, key: str) -> tuple[Command, Answer] | None:
        """A command and its answer, whose state is QUEUED until the engine has come to it; None where nobody asked."""
        found = self._rows(sa.select(schema.command).where(schema.command.c.key == key))
        return next(((command_of(r), answer_of(r)) for r in found), None)

    def queued(self) -> int:
        """How many commands wait for the engine."""
        waiting = schema.command.c.state == CommandState.QUEUED.value
        found = self._rows(sa.select(sa.func.count().label("queued")).select_from(schema.command).where(waiting))
        return found[0].queued if found else 0

    def audit_tail(self, most: int = 50) -> list[AuditRow]:
        """The newest lines of the audit, newest first."""
        with self._connection() as db:
            return audit.tail(db, most) if db else []

    def owner(self) -> dict[str, str]:
        """Whose ledger this is: `desk`, `price_source`, `id`, `created`; empty where there is none."""
        return {row.key: row.value for row in self._rows(sa.select(schema.meta))}

    def orders_of_signal(self, signal_id: str) -> list[Order]:
        """Every order that was made of this signal, oldest first."""
        theirs = (schema.orders.c.signal_id != "", schema.orders.c.signal_id == signal_id)
        return list(self._known.get(("of signal", signal_id), lambda: self._orders(*theirs)))

    def rows(self, statement: sa.Select[Any], **values: Any) -> list[sa.Row[Any]]:
        """What a statement of a room that keeps its own tables finds; nothing where the desk was never opened."""
        return self._rows(statement, **values)

    def stream(self, statement: sa.Select[Any], **values: Any) -> Iterator[sa.Row[Any]]:
        """The same of a long answer, some hundred rows in memory at a time. It is one look for as long as it lasts: go
        through it at once."""
        with self._connection() as db:
            if db is not None:
                yield from db.execute(statement, values, execution_options={"yield_per": STREAMED})

    def asked(self, statement: sa.Select[Any], **values: Any) -> list[sa.Row[Any]]:
        """The same of one that is asked again and again, built once and with few rows: read once between two commits.
        The list is shared and must not be changed."""
        found: list[sa.Row[Any]] = self._known.get(
            (statement, *values.items()), lambda: self._rows(statement, **values)
        )
        return found

    # Helpers

    @contextmanager
    def _connection(self) -> Iterator[sa.Connection | None]:
        """One look, or None where the desk was never opened."""
        if self._database.missing:
            yield None
            return
        with self._database.read() as db:
            if self._seen != self._database.file and _has_tables(db):
                self._seen, self._folds = self._database.file, Folds()  # a backup has the same id and fewer fills
            yield db if self._seen == self._database.file else None

    def _rows(self, statement: sa.Select[Any], **values: Any) -> list[sa.Row[Any]]:
        with self._connection() as db:
            return list(db.execute(statement, values)) if db else []

    def _orders(self, *conditions: sa.ColumnElement[bool]) -> list[Order]:
        return [rows.order_of(row) for row in self._rows(rows.orders_where(*conditions))]


def _of(table: sa.Table, **wanted: str) -> list[sa.ColumnElement[bool]]:
    """A condition for each column that is asked for; an empty text asks for nothing."""
    return [table.c[name] == value for name, value in wanted.items() if value]


def _has_tables(db: sa.Connection) -> bool:
    return sa.inspect(db).has_table("meta")


def _json(text: str | None) -> Any:
    return None if text is None else json.loads(text)
