"""Ledgers: whole, up to date, true to themselves, and who acts on them."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa

import settings as settings_file
from desk import schema, verify
from desk.database import Database
from desk.lease import holder_of
from domain.clock import SystemClock
from domain.errors import LedgerError
from upkeep.backup import postgres_addresses
from upkeep.copies import NO_DATABASE
from upkeep.findings import Finding, fine, note, wrong
from upkeep.unsaid import unsaid

RESTORE = "make restore FROM=backups/desk-….zip   (the newest sound one; docs/backup.md)"
BIG = 300 << 20  # bytes; a chain longer than that takes minutes to follow
SILENT_S = 10.0
COSTS = "what is bought and what was ordered is written there alone"


def ledgers() -> Iterator[Finding]:
    """Every ledger file of the data folder."""
    data = settings_file.roughly().data_dir
    found = sorted(data.glob("ledger-*.db"))
    if not found:
        yield note("Ledgers", f"none in {data} yet", "the first start of an engine makes one")
    for path in found:
        if not path.stat().st_size:
            yield note(path.name, "is empty: nobody has opened this desk yet")
            continue
        yield from _looked_at(path.name, Database(f"sqlite:///{path}", read_only=True), path.stat().st_size)


def postgres() -> Iterator[Finding]:
    """The ledgers that DATABASE_URL leads to."""
    settings = settings_file.roughly()
    if not settings.database_url:
        return
    seen = 0
    for url in postgres_addresses(settings):
        try:
            database = Database(url, read_only=True)
            with database.read() as db:
                empty = "meta" not in sa.inspect(db).get_table_names()
        except LedgerError as error:
            if NO_DATABASE in str(error):
                continue
            cure = "start the server, or mend DATABASE_URL in .env"
            yield wrong("PostgreSQL", f"cannot be asked: {unsaid(error)}", "the ledger lies there", cure)
            return
        seen += not empty
        if not empty:
            yield from _looked_at("Ledger in PostgreSQL", database, 0)
    if not seen:
        yield note("PostgreSQL", "answers, and holds no ledger yet", "the first start of an engine makes one")


def _looked_at(name: str, database: Database, size: int) -> Iterator[Finding]:
    try:
        with database.read() as db:
            if database.path is not None:
                [state] = db.execute(sa.text("PRAGMA quick_check(1)")).scalars()
                if state != "ok":
                    yield wrong(name, f"the file is damaged ({state})", COSTS, RESTORE)
                    return
            revision = str(db.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one())
            if revision > schema.REVISION:
                why = f"this version knows up to {schema.REVISION}: it does not start on it"
                yield wrong(name, f"its tables are at {revision}", why, "git pull, then make run")
                return
            if revision < schema.REVISION:
                said = f"its tables are at {revision}; the next start brings them to {schema.REVISION}"
                yield note(name, said, "a newer version cannot be undone", "make backup, then start")
                return
            yield from _chain(name, db, size)
            yield from _engine(name, db)
    except (LedgerError, sa.exc.SQLAlchemyError, ValueError) as error:
        yield wrong(name, f"cannot be read: {unsaid(error)}", COSTS, RESTORE)
    finally:
        database.close()


def _chain(name: str, db: sa.Connection, size: int) -> Iterator[Finding]:
    if size > BIG:
        why, cure = "the doctor does not follow a chain that long", "make backup   (it does)"
        yield note(name, f"{size >> 20:,} MB: its chain was not followed", why, cure)
        return
    problems = verify.problems(db)
    for said in problems[:3]:
        yield wrong(name, unsaid(said), "it was changed by hand, or by a fault: its figures cannot be trusted", RESTORE)
    if len(problems) > 3:
        yield wrong(name, f"and {len(problems) - 3} more", "the same", RESTORE)
    if not problems:
        lines = db.execute(sa.select(schema.audit_head.c.seq)).scalar_one()
        yield fine(name, f"whole, up to date, {lines:,} lines of its chain agree")


def _engine(name: str, db: sa.Connection) -> Iterator[Finding]:
    holder, now = holder_of(db), SystemClock().now()
    if holder is None:
        yield note(name, "no engine acts on it", "orders wait, stops that rest at a broker stay", "make run")
    elif holder.until < now:
        since = f"{holder.until:%d %b %H:%M} UTC"
        yield note(
            name, f"{holder.name} was last heard {since}", "it died or was killed; the next one takes over", "make run"
        )
    else:
        yield fine(name, f"{holder.name} acts on it")


def books() -> Iterator[Finding]:
    """Every other database: people, accounts, messages, research, the paper broker's own."""
    data, sound = settings_file.roughly().data_dir, 0
    if data.exists() and not os.access(data, os.W_OK):
        yield note(
            "Databases", "not looked at", f"SQLite reads one only where it may write beside it: see {data} above"
        )
        return
    for path in sorted(data.glob("*.db")):
        if path.name.startswith(("ledger-", "live-")) or not path.stat().st_size:
            continue
        said = _damage(path)
        sound += not said
        if said:
            cure = (
                f"make restore FROM=…, or take it out of the way: mv {path} {path}.damaged   (it is made anew, empty)"
            )
            yield wrong(path.name, said, "what it remembered cannot be read", cure)
    if sound:
        yield fine("Databases", f"{sound} beside the ledgers, whole")


def _damage(path: Path) -> str:
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)) as db:
            [state] = db.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        return f"cannot be read: {error}"
    return "" if state == "ok" else f"the file is damaged ({state})"
