"""Databases copied while others write them, and ledgers carried between PostgreSQL and a file.

The rule: a copy is one moment of its database, whoever writes meanwhile, and is looked through before it counts.
A ledger in PostgreSQL is copied into the file that a desk on SQLite would have: one kind of ledger in every archive,
and the same check of its chain.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa

from desk import migrations, schema, verify
from desk.database import Database
from domain.errors import BackupError, LedgerError, LedgerUnusable
from upkeep.archive import LedgerFacts

WAIT_S = 30.0
ROWS = 2_000
NO_DATABASE = "does not exist"


def copy_sqlite(source: Path, target: Path) -> bool:
    """Copy a database by SQLite's own backup, in one step: writers go on meanwhile. True where it writes ahead."""
    try:
        with contextlib.closing(_open(source, "ro")) as old, contextlib.closing(sqlite3.connect(target)) as new:
            [wal] = old.execute("PRAGMA journal_mode").fetchone()
            old.backup(new)
            new.execute("PRAGMA journal_mode=DELETE")
            look_through(new, source.name)
        target.chmod(0o600)
    except sqlite3.Error as error:
        raise BackupError(f"{source.name} cannot be copied: {error}; no backup was made") from None
    return str(wal).lower() == "wal"


def look_through(db: sqlite3.Connection, name: str) -> None:
    """BackupError where SQLite finds the file damaged."""
    try:
        [found] = db.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.DatabaseError as error:
        found = str(error)
    if found != "ok":
        raise BackupError(f"{name} is damaged ({found}): restore an older backup, or take the file out of the folder")


def settle(path: Path, *, wal: bool) -> None:
    """One file and no log beside it, writing ahead or not as it did before."""
    with contextlib.closing(_open(path, "rw")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.execute(f"PRAGMA journal_mode={'WAL' if wal else 'DELETE'}")


def _open(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode={mode}", uri=True, timeout=WAIT_S)


# Ledgers


def ledger_facts(path: Path, name: str, kept_in: str) -> LedgerFacts:
    """What a copied ledger is, and everything in it that contradicts itself. BackupError for what is none."""
    database = Database(f"sqlite:///{path}", read_only=True)
    try:
        with database.read() as db:
            meta = {row.key: row.value for row in db.execute(sa.select(schema.meta))}
            revision = str(db.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one())
            head = db.execute(sa.select(schema.audit_head)).one()
            # An older ledger lacks what `problems` looks at; it is brought up to date when it is restored.
            problems = tuple(verify.problems(db)) if revision == schema.REVISION else ()
    except (LedgerError, sa.exc.SQLAlchemyError) as error:
        raise BackupError(f"{Path(name).name} is no ledger that can be read: {error}") from None
    finally:
        database.close()
    which = (meta.get("desk", ""), meta.get("price_source", ""), meta.get("id", ""))
    return LedgerFacts(name, kept_in, *which, revision, head.seq, head.hash, problems[:20])


def ledger_name(desk: str, price_source: str) -> str:
    """What the file of this desk's ledger is called."""
    called = {"live": "live-etrade", "simulator": "rehearsal-etrade"}.get(desk, f"paper-{price_source}")
    return f"ledger-{called}.db"


def from_postgres(url: str, folder: Path) -> Path | None:
    """Copy the ledger at this address into a file in `folder`, as of one moment; None where there is no database of
    that name, or no ledger in it."""
    server = Database(url, read_only=True)
    try:
        with server.read() as source:
            tables = set(sa.inspect(source).get_table_names())
            if not {"meta", "alembic_version"} <= tables:
                return None
            revision = str(source.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one())
            if revision != schema.REVISION:
                raise BackupError(
                    f"{server.name}: its tables are at {revision}, this version copies {schema.REVISION}: start the "
                    "engine once, which brings them up to date"
                )
            meta = {row.key: row.value for row in source.execute(sa.select(schema.meta))}
            path = folder / ledger_name(meta.get("desk", ""), meta.get("price_source", ""))
            file = _new_ledger(path)
            try:
                with file.write() as into:
                    _carry(source, into)
            finally:
                file.close()
    except LedgerUnusable as error:
        if NO_DATABASE in str(error):
            return None
        raise BackupError(f"the ledger in PostgreSQL cannot be copied: {error}") from None
    except LedgerError as error:
        raise BackupError(f"the ledger in PostgreSQL cannot be copied: {error}") from None
    finally:
        server.close()
    settle(path, wal=False)
    return path


def into_postgres(path: Path, url: str) -> None:
    """Carry a restored ledger into an empty database, all of it or nothing. The same one once more is no error."""
    server, file = Database(url), Database(f"sqlite:///{path}", read_only=True)
    try:
        with file.read() as source, server.write() as into:
            if sa.inspect(into).get_table_names():
                if _same(source, into):
                    return
                raise BackupError(
                    f"{server.name} is not empty: nothing there is ever overwritten. Make a new, empty database and "
                    "let DATABASE_URL name it, then restore again"
                )
            migrations.upgrade(into)
            _carry(source, into)
            for table in schema.metadata.sorted_tables:
                if "seq" in table.c and table.c.seq.autoincrement is True:
                    into.execute(
                        sa.text(
                            f"SELECT setval(pg_get_serial_sequence('{table.name}', 'seq'), "  # noqa: S608 - our names
                            f"(SELECT coalesce(max(seq), 0) + 1 FROM {table.name}), false)"
                        )
                    )
    except LedgerError as error:
        raise BackupError(f"the ledger cannot be carried into PostgreSQL: {error}") from None
    finally:
        server.close()
        file.close()


def _new_ledger(path: Path) -> Database:
    database = Database(f"sqlite:///{path}")
    database.create()
    with database.write() as db:
        migrations.upgrade(db)
    return database


def _carry(source: sa.Connection, into: sa.Connection) -> None:
    """Every row, typed as the ledger types it, in the order in which rows may refer to each other."""
    for table in schema.metadata.sorted_tables:
        order = [table.c.seq] if "seq" in table.c else []
        rows = source.execution_options(yield_per=ROWS).execute(sa.select(table).order_by(*order)).mappings()
        for some in rows.partitions(ROWS):
            into.execute(sa.insert(table), [dict(row) for row in some])


def _same(source: sa.Connection, into: sa.Connection) -> bool:
    """Whether the restore that was cut short has carried this very ledger over already."""
    try:
        facts = [
            (
                {row.key: row.value for row in db.execute(sa.select(schema.meta))}.get("id"),
                db.execute(sa.select(schema.audit_head.c.seq)).scalar_one(),
                db.execute(sa.select(schema.control.c.actor).order_by(schema.control.c.seq.desc()).limit(1)).scalar(),
            )
            for db in (source, into)
        ]
    except sa.exc.SQLAlchemyError:
        return False
    return facts[0] == facts[1]
