"""The ledger: the one memory of a desk. Only the engine that holds its lease writes, a transaction at a time.

    ledger = Ledger.open("sqlite:///data/ledger-paper.db", desk="paper", price_source="yahoo", clock=SystemClock())
    epoch = Lease(ledger.database, SystemClock()).acquire("engine 4711")
    with ledger.write(epoch) as write:
        write.add_order(order, decision)

What a transaction writes is there as a whole or not at all, whatever dies.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import sqlalchemy as sa

from desk import audit, schema, verify
from desk.control import GLOBAL
from desk.crash import crash_point
from desk.database import Database
from desk.writing import Writing
from domain.clock import Clock
from domain.errors import Fenced, LedgerMismatch, LedgerUnusable
from domain.trading_state import TradingState

Desk = Literal["paper-simulated", "paper", "simulator", "live"]
ENGINE = "engine"
FOUNDING = "ledger"
_MIGRATING = 7_061_001  # PostgreSQL's advisory lock while one process brings the tables up to date

# One look that says both whether the lease is still ours and where the audit ends. PostgreSQL locks both rows.
FENCE = (
    sa.select(schema.lease, schema.audit_head.c.seq.label("audit_seq"), schema.audit_head.c.hash.label("audit_hash"))
    .join_from(schema.lease, schema.audit_head, schema.audit_head.c.name == audit.HEAD)
    .where(schema.lease.c.name == ENGINE)
    .with_for_update()
)


class Ledger:
    """A desk's database, its tables up to date and its owner checked; made by `open`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self._clock = clock

    @classmethod
    def open(cls, url: str, *, desk: Desk, price_source: str, clock: Clock) -> Ledger:
        """Open it, or make it where there is none. Checks the file, adds what its tables lack, and refuses with
        LedgerMismatch the ledger of another desk or price source."""
        database = Database(url)
        database.create()
        try:
            with database.write() as db:
                _migrate(db, database.name, {"desk": desk, "price_source": price_source}, clock)
        except BaseException:
            database.close()
            raise
        return cls(database, clock)

    @contextmanager
    def write(self, epoch: int) -> Iterator[Writing]:
        """One transaction of the engine that holds the lease at `epoch`; Fenced where it no longer does. An error
        that leaves it undoes all of it, and so does a failed write that was caught inside."""
        with self.database.write() as db:
            row = db.execute(FENCE).one()
            if row.epoch != epoch or not row.holder:
                raise Fenced(_fenced(epoch, row))
            writing = Writing(db, epoch, self._clock.now(), audit.Chain(row.audit_seq, row.audit_hash))
            yield writing
            writing.finish()
            crash_point("before_commit")
        for name in writing.crash_points:
            crash_point(name)

    def verify(self) -> list[str]:
        """Everything that contradicts itself in this ledger, a sentence each; empty where it is sound."""
        with self.database.read() as db:
            return verify.problems(db)

    def close(self) -> None:
        """Let go of the database."""
        self.database.close()


def _fenced(epoch: int, row: sa.Row[Any]) -> str:
    if not row.holder:
        return f"nobody holds the lease (we had epoch {epoch}): acquire it before writing; nothing was written"
    since = f"{row.since:%Y-%m-%d %H:%M:%S} UTC"
    return f"the lease went to {row.holder} at {since} (epoch {row.epoch}, ours {epoch}); stop"


def _migrate(db: sa.Connection, name: str, owner: dict[str, str], clock: Clock) -> None:
    """Tables, their revision and their owner, in one transaction."""
    if db.dialect.name == "postgresql":
        db.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATING)))
    revision = _revision(db, name)
    if revision:
        _check_owner(db, name, owner)
    if revision != schema.REVISION:
        _upgrade(db, name, revision)
        crash_point("during_migration")
    if not revision:
        _found(db, owner, clock)


def _revision(db: sa.Connection, name: str) -> str | None:
    tables = set(sa.inspect(db).get_table_names())
    if "alembic_version" in tables and "meta" in tables:
        return str(db.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one())
    if tables:
        raise LedgerMismatch(f"{name}: holds {', '.join(sorted(tables)[:5])} and is no ledger; give another address")
    return None


def _upgrade(db: sa.Connection, name: str, revision: str | None) -> None:
    # Alembic is slow to import, and most openings have nothing to add.
    from alembic.util import CommandError

    from desk import migrations

    try:
        migrations.upgrade(db)
    except CommandError as error:
        raise LedgerUnusable(
            f"{name}: its tables are at {revision}, this version knows up to {schema.REVISION}; update it ({error})"
        ) from None


def _check_owner(db: sa.Connection, name: str, owner: dict[str, str]) -> None:
    found = {row.key: row.value for row in db.execute(sa.select(schema.meta))}
    for key, wanted in owner.items():
        if found.get(key) != wanted:
            raise LedgerMismatch(
                f"{name}: belongs to the {key.replace('_', ' ')} {found.get(key)!r}, not {wanted!r}; "
                "each desk and price source has a ledger of its own"
            )


def _found(db: sa.Connection, owner: dict[str, str], clock: Clock) -> None:
    """The first rows of a new ledger: whose it is, nobody's lease, the audit's first line, the trading state."""
    now = clock.now()
    identity = {**owner, "id": secrets.token_hex(16), "created": now.isoformat()}
    db.execute(sa.insert(schema.meta), [{"key": key, "value": value} for key, value in identity.items()])
    db.execute(sa.insert(schema.lease).values(name=ENGINE, holder="", epoch=0, since=now, until=now, locked=False))
    db.execute(sa.insert(schema.audit_head).values(name=audit.HEAD, seq=0, hash=audit.GENESIS))
    chain = audit.Chain(0, audit.GENESIS)
    chain.add(db, "founded", "ledger", identity, at=now, epoch=0)
    writing = Writing(db, 0, now, chain)
    if owner["desk"] in ("live", "simulator"):
        reason = "a desk that sends orders out starts disabled: arm it"
        writing.set_control(GLOBAL, TradingState.DISABLED, reason=reason, actor=FOUNDING)
    else:
        writing.set_control(GLOBAL, TradingState.ENABLED, reason="a new paper desk", actor=FOUNDING)
    writing.finish()
