"""What every door may see of a ledger. It cannot write, never waits for the engine, and needs no lease.

A ledger that is not there yet is an empty desk. One that is there and cannot be read raises LedgerUnusable, but for
`trading_state`, which never raises: what cannot be read is DISABLED.
"""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import chain
from typing import Any

import sqlalchemy as sa

from desk import audit, control, rows, schema
from desk import statements as sql
from desk.control import Control, halted
from desk.database import Database
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
from domain.breaker import Breaker
from domain.clock import Clock
from domain.commands import Answer, Command, CommandState
from domain.orders import OPEN, Order, Purpose, Side, Status
from domain.positions import Account, Position
from domain.round_trips import RoundTrip, RoundTrips

NO_LEDGER = "nobody has started this desk yet"
_UNDEFINED_TABLE = "42P01"
_fills_after = sa.select(schema.fill).where(schema.fill.c.seq > sa.bindparam("after_seq")).order_by(schema.fill.c.seq)
_adjustments_after = (
    sa.select(schema.adjustment)
    .where(schema.adjustment.c.seq > sa.bindparam("after_seq"))
    .order_by(schema.adjustment.c.seq)
)
_ledger_id = sa.select(schema.meta.c.value).where(schema.meta.c.key == "id")


class Reader:
    """One ledger, read-only; several threads may share it. Positions are folded once and then only extended, so that
    asking again costs what is new."""

    def __init__(self, where: str | Database, clock: Clock) -> None:
        self._database = where if isinstance(where, Database) else Database(where, read_only=True)
        self._clock, self._folds = clock, _Folds()
        self._seen: tuple[int, int] | None = None

    # Orders and fills

    def open_orders(self, account: str = "", symbol: str = "") -> list[Order]:
        """Orders that may still do something, oldest first."""
        wanted = _of(schema.orders, account=account, symbol=symbol)
        return self._orders(schema.orders.c.status.in_(sorted(OPEN)), *wanted)

    def orders_between(self, start: datetime, end: datetime, account: str = "") -> list[Order]:
        """Orders created from `start` up to `end`, done ones too: the orders of a day."""
        created = schema.orders.c.created
        return self._orders(created >= start, created < end, *_of(schema.orders, account=account))

    def family(self, parents: Collection[str]) -> list[Order]:
        """Every order, done or not, with one of these parents."""
        return self._orders(schema.orders.c.parent.in_(sorted(parents))) if parents else []

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
        found = self._rows(sa.select(schema.account).order_by(schema.account.c.name))
        return [AccountInfo(r.name, r.kind, r.starting_cash, r.created) for r in found]

    def account(self, name: str) -> Account | None:
        """Cash and positions of an account, folded from its fills; None where there is no such account."""
        with self._connection() as db:
            return self._folds.account(db, name) if db else None

    def positions(self, account: str) -> dict[str, Position]:
        """What an account holds now, by symbol; what it held and sold again is left out."""
        found = self.account(account)
        return {symbol: p for symbol, p in found.positions.items() if p.quantity} if found else {}

    def round_trips(self, account: str, since: datetime) -> tuple[RoundTrip, ...]:
        """What the account opened and closed again, by when it closed; oldest first."""
        with self._connection() as db:
            return self._folds.round_trips(db, account, since) if db else ()

    def protection(self, account: str) -> dict[str, Protection]:
        """What each symbol's position shall be protected by, by symbol; symbols it was never said of are left out."""
        found = self._rows(sql.PROTECTION, of_account=account)
        return {r.symbol: Protection(r.symbol, r.stop, r.target, r.actor, r.at) for r in found}

    def sent_since(self, account: str, since: datetime) -> list[SentOrder]:
        """Every sending of an order of this account from `since` on, oldest first."""
        found = self._rows(sql.SENT_SINCE, of_account=account, since=since)
        return [SentOrder(r.signed, r.symbol, Side(r.side), Purpose(r.purpose), r.id, r.parent) for r in found]

    def refusals_in_a_row(self, account: str, since: datetime | None = None) -> int:
        """How many of the newest sendings the broker refused, without one between that it took; none before `since`."""
        count = 0
        for row in self._rows(sql.NEWEST_SENT, of_account=account):
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
        found = self._rows(sql.BREAKER, of_account=account)
        return rows.breaker_of(found[0]) if found else None

    # The right to trade

    def trading_state(self, account: str = "", symbol: str = "") -> Control:
        """What may be traded: the strictest of the desk's, the account's and the instrument's switch. Never raises."""
        try:
            with self._connection() as db:
                return control.strictest(db, account, symbol) if db else halted(NO_LEDGER)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the switch, the answer is to stop
            return halted(f"the trading state cannot be read: {error}")

    def arming(self) -> Arming:
        """Which account is picked and whether it may trade real money; nobody where that was never said."""
        found = self._rows(sql.ARMING)
        return next((Arming(r.account, r.armed, r.reason, r.actor, r.at) for r in found), Arming())

    def controls(self) -> list[Control]:
        """Every switch that was ever set, as it is now."""
        with self._connection() as db:
            return control.every_scope(db) if db else []

    def limits(self) -> dict[str, Any]:
        """Every limit that was ever set, as it is now; `Limits.from_dict` knows the defaults of the others."""
        return {row.name: json.loads(row.new) for row in self._rows(sql.LIMITS)}

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
        return None if status is None else self._clock.now() - status.beat

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
        return self._orders(schema.orders.c.signal_id != "", schema.orders.c.signal_id == signal_id)

    def rows(self, statement: sa.Select[Any], **values: Any) -> list[sa.Row[Any]]:
        """What a statement of a room that keeps its own tables finds; nothing where the desk was never opened."""
        return self._rows(statement, **values)

    # Helpers

    @contextmanager
    def _connection(self) -> Iterator[sa.Connection | None]:
        """One look, or None where the desk was never opened."""
        if self._database.missing:
            yield None
            return
        with self._database.read() as db:
            if self._seen != self._database.file and _has_tables(db):
                self._seen = self._database.file
            yield db if self._seen == self._database.file else None

    def _rows(self, statement: sa.Select[Any], **values: Any) -> list[sa.Row[Any]]:
        with self._connection() as db:
            return list(db.execute(statement, values)) if db else []

    def _orders(self, *conditions: sa.ColumnElement[bool]) -> list[Order]:
        return [rows.order_of(row) for row in self._rows(rows.orders_where(*conditions))]


class _Folds:
    """Every account folded up to the last fill seen. A ledger with another id, restored or begun anew, starts over."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._begin("")

    def _begin(self, ledger: str) -> None:
        self._ledger, self._seq, self._adjusted = ledger, 0, 0
        self._accounts: dict[str, Account] = {}
        self._trips: defaultdict[str, RoundTrips] = defaultdict(RoundTrips)

    def account(self, db: sa.Connection, name: str) -> Account | None:
        with self._turn:
            self._catch_up(db, name)
            found = self._accounts.get(name)
            return found and Account(found.name, found.cash, dict(found.positions))

    def round_trips(self, db: sa.Connection, name: str, since: datetime) -> tuple[RoundTrip, ...]:
        with self._turn:
            self._catch_up(db, name)
            return self._trips[name].since(since)

    def _catch_up(self, db: sa.Connection, name: str) -> None:
        if (ledger := db.execute(_ledger_id).scalar_one()) != self._ledger:
            self._begin(ledger)
        fills = db.execute(_fills_after, {"after_seq": self._seq}).all()
        adjustments = db.execute(_adjustments_after, {"after_seq": self._adjusted}).all()
        if {name, *(row.account for row in (*fills, *adjustments))} - self._accounts.keys():
            self._accounts = _opened(db) | self._accounts
        for adjusting, row in _in_order(fills, adjustments):
            (self._adjust if adjusting else self._fill)(row)

    def _fill(self, row: sa.Row[Any]) -> None:
        fill, self._seq = rows.fill_of(row), row.seq
        account, held = self._held(fill.account, fill.symbol)
        account.positions[fill.symbol] = held.after(fill)
        self._accounts[fill.account] = Account(account.name, account.cash + fill.cash, account.positions)
        self._trips[fill.account].fill(fill)

    def _adjust(self, row: sa.Row[Any]) -> None:
        self._adjusted = row.seq
        account, held = self._held(row.account, row.symbol)
        if row.symbol:
            account.positions[row.symbol] = held.adjusted(row.quantity)
            self._trips[row.account].adjust(row.symbol, row.quantity)
        self._accounts[row.account] = Account(account.name, account.cash + row.cash, account.positions)

    def _held(self, account: str, symbol: str) -> tuple[Account, Position]:
        found = self._accounts[account]
        return found, found.positions.get(symbol, Position(account, symbol))


def _in_order(fills: Sequence[sa.Row[Any]], adjustments: Sequence[sa.Row[Any]]) -> Iterator[tuple[bool, sa.Row[Any]]]:
    """An adjustment right behind the fill that was the newest when it was written."""
    left = iter(fills)
    for adjustment in adjustments:
        while (fill := next(left, None)) is not None:
            if fill.seq > adjustment.after_fill:
                left = chain([fill], left)
                break
            yield False, fill
        yield True, adjustment
    for fill in left:
        yield False, fill


def _opened(db: sa.Connection) -> dict[str, Account]:
    found = db.execute(sa.select(schema.account.c.name, schema.account.c.starting_cash))
    return {row.name: Account(row.name, Decimal(row.starting_cash), {}) for row in found}


def _of(table: sa.Table, **wanted: str) -> list[sa.ColumnElement[bool]]:
    """A condition for each column that is asked for; an empty text asks for nothing."""
    return [table.c[name] == value for name, value in wanted.items() if value]


def _has_tables(db: sa.Connection) -> bool:
    return sa.inspect(db).has_table("meta")


def _json(text: str | None) -> Any:
    return None if text is None else json.loads(text)
