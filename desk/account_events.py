"""What happened to accounts and sign-ins: one line each, sealed by the hash of the line before.

Who flips, deletes or slips in a row breaks the chain, and `verify` names the row. As with the ledger's audit: whoever
can run programs as the desk's user could rebuild the whole chain.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import sqlalchemy as sa

from desk.account_tables import KEEPS_HEAD, ONLY_ADDED, events, events_head

GENESIS = "0" * 64
HEAD = "events"


def add(db: sa.Connection, at: float, event: str, name: str, by: str, details: str) -> None:
    """One more line, within the transaction of what it tells of."""
    last = db.execute(sa.select(events.c.number, events.c.hash).order_by(events.c.number.desc()).limit(1)).first()
    number, previous = (last.number + 1, last.hash) if last else (1, GENESIS)
    row = {"number": number, "at": at, "event": event, "name": name, "by": by, "details": details}
    db.execute(sa.insert(events).values(**row, previous=previous, hash=_seal(previous, row)))


def verify(db: sa.Connection) -> list[str]:
    """What is wrong with the chain, one sentence a break; nothing where it is whole."""
    wrong, number, hash_ = [], 0, GENESIS
    for row in db.execute(sa.select(events).order_by(events.c.number)):
        if row.number != number + 1:
            wrong.append(f"event {row.number}: follows {number}; {row.number - number - 1} rows are missing before it")
        if row.previous != hash_:
            wrong.append(f"event {row.number}: does not follow the row before it")
        if row.hash != _seal(row.previous, row._mapping):
            wrong.append(f"event {row.number}: its content does not match its hash")
        number, hash_ = row.number, row.hash
    head = db.execute(sa.select(events_head).where(events_head.c.name == HEAD)).one_or_none()
    if (head.number, head.hash) != (number, hash_) if head else number:
        told = head.number if head else "no head"
        wrong.append(f"events: end at row {number}, not where their head says ({told})")
    return wrong


def bring_up(db: sa.Connection) -> None:
    """Seal what was written before there were seals, once: the lines as they are found then."""
    there = {row[1] for row in db.exec_driver_sql("PRAGMA table_info(events)")}
    if "hash" not in there:
        for name in ("previous", "hash"):
            db.exec_driver_sql(f"ALTER TABLE events ADD COLUMN {name} TEXT NOT NULL DEFAULT ''")
        db.exec_driver_sql("DROP TRIGGER events_update")
        _seal_all(db)
        db.exec_driver_sql(ONLY_ADDED[0])
    db.exec_driver_sql(KEEPS_HEAD)


def _seal_all(db: sa.Connection) -> None:
    number, hash_ = 0, GENESIS
    for row in db.execute(sa.select(events).order_by(events.c.number)).all():
        sealed = {"previous": hash_, "hash": _seal(hash_, row._mapping)}
        db.execute(sa.update(events).where(events.c.number == row.number).values(sealed))
        number, hash_ = row.number, sealed["hash"]
    if number:
        db.execute(sa.insert(events_head).values(name=HEAD, number=number, hash=hash_))


def _seal(previous: str, row: Any) -> str:
    content = [previous, *(row[name] for name in ("number", "at", "event", "name", "by", "details"))]
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()
