"""The inbox: any process may ask, the engine answers. A wish has a key, and one key is one wish for ever.

    inbox = Inbox("sqlite:///data/ledger-paper.db", SystemClock())
    inbox.append(command)        # "queued", and "known" however often it is pressed again
    inbox.answer(command.key)    # None until the engine has done it or refused it

Appending is one short transaction that needs no lease. The engine answers through `Writing.answer_command`, in the
transaction of what it did, so that no command is ever done twice or lost between the two.
"""

from __future__ import annotations

import json
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from desk import schema
from desk.database import Database
from desk.records import Waiting
from desk.remembered import Remembered
from domain.clock import Clock
from domain.commands import Answer, Command, CommandState, Kind
from domain.errors import LedgerConflict, LedgerUnusable

_table = schema.command
_by_key = sa.select(_table).where(_table.c.key == sa.bindparam("of_key"))
_queued = (
    sa.select(_table)
    .where(_table.c.state == CommandState.QUEUED.value)
    .order_by(_table.c.seq)
    .limit(sa.bindparam("most"))
)
_newest = sa.select(sa.func.max(_table.c.seq)).where(_table.c.state == CommandState.QUEUED.value)
_insert = {
    "sqlite": sqlite.insert(_table).on_conflict_do_nothing().returning(_table.c.seq),
    "postgresql": postgresql.insert(_table).on_conflict_do_nothing().returning(_table.c.seq),
}


class Inbox:
    """Commands of one ledger. Several threads may share one; each process opens its own."""

    def __init__(self, where: str | Database, clock: Clock) -> None:
        self._database = where if isinstance(where, Database) else Database(where)
        self._clock, self._remembered = clock, Remembered(self._database)

    def append(self, command: Command) -> Literal["queued", "known"]:
        """Ask for it: `queued`, or `known` where the same wish was asked before. LedgerConflict where its key already
        stands for another wish; LedgerBusy, and nothing asked, after five seconds of waiting for other writers."""
        if self._database.missing:
            raise LedgerUnusable(f"{self._database.name}: no ledger yet; start the engine first")
        with self._database.write() as db:
            if self._known(db, command):
                return "known"
            if db.execute(_insert[db.dialect.name], self._values(command)).one_or_none():
                return "queued"
            # PostgreSQL only: somebody else appended the same key between the look and the insert.
            self._known(db, command)
            return "known"

    def answer(self, key: str) -> Answer | None:
        """What became of a command; None where nobody asked or the engine has not come to it."""
        row = self._row(key)
        return None if row is None or row.state == CommandState.QUEUED else answer_of(row)

    def state(self, key: str) -> CommandState | None:
        """Where a command is; None where nobody asked."""
        row = self._row(key)
        return None if row is None else CommandState(row.state)

    def pending(self, most: int = 100) -> list[Command]:
        """Commands nobody has answered, in the order they came."""
        with self._database.read() as db:
            return [command_of(row) for row in db.execute(_queued, {"most": most})]

    def waiting(self, most: int = 100) -> list[Waiting]:
        """The same, each with the time it was asked."""
        return list(self._remembered.get(("waiting", most), lambda: self._waiting(most)))

    def _waiting(self, most: int) -> list[Waiting]:
        with self._database.read() as db:
            return [Waiting(command_of(row), row.created) for row in db.execute(_queued, {"most": most})]

    def newest(self) -> int:
        """The number of the newest command that waits, 0 where none does: what changes when something is asked."""
        return self._remembered.get("newest", self._newest)

    def _newest(self) -> int:
        with self._database.read() as db:
            return int(db.execute(_newest).scalar_one() or 0)

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def _row(self, key: str) -> sa.Row[Any] | None:
        with self._database.read() as db:
            return db.execute(_by_key, {"of_key": key}).one_or_none()

    def _known(self, db: sa.Connection, command: Command) -> bool:
        row = db.execute(_by_key, {"of_key": command.key}).one_or_none()
        if row is not None and row.fingerprint != command.fingerprint:
            raise LedgerConflict(
                f"command {command.key}: stands for another wish already ({row.kind} by {row.actor}); "
                "preview again for a new key"
            )
        return row is not None

    def _values(self, command: Command) -> dict[str, Any]:
        return {
            "key": command.key,
            "kind": command.kind,
            "actor": command.actor,
            "body": command.body,
            "fingerprint": command.fingerprint,
            "created": self._clock.now(),
            "state": CommandState.QUEUED,
            "said": "",
            "details": "{}",
        }


def command_of(row: sa.Row[Any]) -> Command:
    """The command in this row."""
    return Command(row.key, Kind(row.kind), row.actor, json.loads(row.body))


def answer_of(row: sa.Row[Any]) -> Answer:
    """What this row says became of it."""
    return Answer(CommandState(row.state), row.said, json.loads(row.details), row.answered)
