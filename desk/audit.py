"""The audit: one line for whatever changed money, each sealed by the hash of the line before.

Who flips, deletes or slips in a row breaks the chain, and `verify` names the row. It proves that nothing was changed
by accident or by hand; whoever can run programs as the engine's user could rebuild the whole chain.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from desk import schema
from desk.prepared import put
from desk.records import AuditRow
from desk.rows import canonical

GENESIS = "0" * 64
HEAD = "audit"
_insert = sa.insert(schema.audit)


@dataclass(slots=True)
class Chain:
    """The end of the chain within one transaction. A trigger of the database notes each new end in `audit_head`, so
    that a line cut off the end is missed too."""

    seq: int
    hash: str

    def add(
        self, db: sa.Connection, event: str, actor: str, details: dict[str, Any], *, at: datetime, epoch: int
    ) -> None:
        """One more line."""
        text, previous = canonical(details), self.hash
        self.seq += 1
        self.hash = _seal(previous, self.seq, at, event, actor, text, epoch)
        put(
            db,
            _insert,
            {
                "seq": self.seq,
                "at": at,
                "event": event,
                "actor": actor,
                "details": text,
                "epoch": epoch,
                "previous": previous,
                "hash": self.hash,
            },
        )


def _seal(previous: str, seq: int, at: datetime, event: str, actor: str, details: str, epoch: int) -> str:
    content = json.dumps([previous, seq, at.isoformat(), event, actor, details, epoch], ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()


def tail(db: sa.Connection, most: int) -> list[AuditRow]:
    """The newest lines, newest first."""
    rows = db.execute(sa.select(schema.audit).order_by(schema.audit.c.seq.desc()).limit(most))
    return [_row(row) for row in rows]


def lines(db: sa.Connection, event: str = "") -> Iterator[AuditRow]:
    """Every line, or those of one event, oldest first."""
    chosen = sa.select(schema.audit).order_by(schema.audit.c.seq)
    for row in db.execute(chosen.where(schema.audit.c.event == event) if event else chosen):
        yield _row(row)


def verify(db: sa.Connection) -> list[str]:
    """What is wrong with the chain, one sentence a break; nothing where it is whole."""
    wrong, seq, hash_ = [], 0, GENESIS
    for row in db.execute(sa.select(schema.audit).order_by(schema.audit.c.seq)):
        if row.seq != seq + 1:
            wrong.append(f"audit {row.seq}: follows {seq}; {row.seq - seq - 1} rows are missing before it")
        if row.previous != hash_:
            wrong.append(f"audit {row.seq}: does not follow the row before it")
        if row.hash != _seal(row.previous, row.seq, row.at, row.event, row.actor, row.details, row.epoch):
            wrong.append(f"audit {row.seq}: its content does not match its hash")
        seq, hash_ = row.seq, row.hash
    head = db.execute(sa.select(schema.audit_head).where(schema.audit_head.c.name == HEAD)).one_or_none()
    if head is None or (head.seq, head.hash) != (seq, hash_):
        wrong.append(f"audit: ends at row {seq}, not where its head says ({head.seq if head else 'no head'})")
    return wrong


def _row(row: sa.Row[Any]) -> AuditRow:
    return AuditRow(row.seq, row.at, row.event, row.actor, json.loads(row.details), row.epoch, row.previous, row.hash)
