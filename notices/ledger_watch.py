"""Follow one desk's ledger: what its audit tells, and the engine's signs of life. It reads, and can do nothing else.

How far the audit was read is remembered with the messages that came of it. A ledger seen for the first time is followed
from its end: nobody is told what is over.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from desk import schema
from desk.database import Database
from desk.place import Place
from desk.records import AuditRow, EngineStatus
from domain.clock import monotonic
from domain.errors import LedgerUnusable
from domain.instruments import instrument
from domain.notices import Kind, Severity
from notices.happenings import EVENTS, Before, Happening, mark, of, plain

log = logging.getLogger("notifier")
SILENT_S = 60.0
PROBLEM_S = 60.0
AT_A_TIME = 200
_audit = sa.select(schema.audit)
_last = sa.select(sa.func.coalesce(sa.func.max(schema.audit.c.seq), 0))
_ledger_id = sa.select(schema.meta.c.value).where(schema.meta.c.key == "id")


@dataclass(frozen=True, slots=True)
class Read:
    """What came of a look: happenings, and the position (name, before, after) to write with them; `more` waits."""

    happenings: list[Happening]
    moved: dict[str, tuple[Any, Any]]
    more: bool = False


class LedgerWatch:
    """One desk's. `read` is asked again and again; it never waits for the engine."""

    def __init__(self, place: Place) -> None:
        self._place, self._database = place, Database(place.ledger_url, read_only=True)
        self._was_missing = False

    @property
    def name(self) -> str:
        """What its position is kept under."""
        return f"ledger:{self._place.name}"

    def read(self, before: Any, big_trade: Decimal) -> Read:
        """What happened since `before`, a position this gave earlier; None: nothing was read yet."""
        if self._missing():
            self._was_missing = True
            return Read([], {})
        with self._database.read() as db:
            if not sa.inspect(db).has_table("audit"):
                self._was_missing = True
                return Read([], {})
            ledger, end = db.execute(_ledger_id).scalar_one(), db.execute(_last).scalar_one()
            same = before is not None and before.get("ledger") == ledger and int(before["seq"]) <= end
            start = self._start(before, ledger, end)
            rows = list(_rows(db, start, end))
            wanted = Before(_Protections(db), _Orders(db), _Switches(db))
            found = (self._told(row, f"{ledger}", big_trade, wanted) for row in rows)
            happenings = [one for one in found if one is not None]
        reached = rows[-1].seq if len(rows) == AT_A_TIME else end
        after = {"ledger": ledger, "seq": reached}
        # What was read in vain is read again after a restart, rather than written down each second.
        vain = not happenings and same and reached - start < AT_A_TIME
        moved = {} if vain or after == before else {self.name: (before, after)}
        return Read(happenings, moved, more=reached < end)

    def _told(self, row: AuditRow, ledger: str, big_trade: Decimal, wanted: Before) -> Happening | None:
        """What a line tells; of one that nobody can make words of, that it is there: it stands in no other's way."""
        try:
            return of(row, ledger, self._place.words, big_trade, wanted)
        except Exception:
            log.exception("line %d of the audit (%s) cannot be told", row.seq, row.event)
            title, text = f"Something happened that could not be put in words: {row.event}", self._place.words
            return Happening(f"{ledger}:{row.seq}", Kind.ERROR, Severity.WARNING, title, text, row.at)

    def engine(self) -> EngineStatus | None:
        """The engine's last sign of life; None where there was none, or none can be read just now."""
        if self._missing():
            return None
        with self._database.read() as db:
            if not sa.inspect(db).has_table("engine"):
                return None
            row = db.execute(sa.select(schema.engine)).first()
        if row is None:
            return None
        return EngineStatus(row.holder, row.epoch, row.started, row.beat, row.state, json.loads(row.details))

    def close(self) -> None:
        self._database.close()

    def _missing(self) -> bool:
        try:
            return self._database.missing
        except OSError as error:
            raise LedgerUnusable(f"{self._place.ledger_url}: {error.strerror}") from error

    def _start(self, before: Any, ledger: str, end: int) -> int:
        """Where to go on. A ledger that began while this watched is new from its first line; one that was put back
        from a backup goes on from where it ends."""
        if before is None or before.get("ledger") != ledger:
            return 0 if self._was_missing else end
        return min(int(before["seq"]), end)


def _rows(db: sa.Connection, start: int, end: int) -> Iterator[AuditRow]:
    """Lines that may be told of, behind `start`."""
    table = schema.audit.c
    wanted = _audit.where(table.seq > start, table.seq <= end, table.event.in_(EVENTS)).order_by(table.seq)
    for row in db.execute(wanted.limit(AT_A_TIME)):
        yield AuditRow(
            row.seq, row.at, row.event, row.actor, json.loads(row.details), row.epoch, row.previous, row.hash
        )


class _Protections:
    """The stop and target that a position had before a moment."""

    def __init__(self, db: sa.Connection) -> None:
        self._db = db

    def __call__(self, account: str, symbol: str, at: datetime) -> tuple[Decimal | None, Decimal | None]:
        table = schema.protection
        mine = (table.c.account == account) & (table.c.symbol == symbol) & (table.c.at < at)
        row = self._db.execute(sa.select(table).where(mine).order_by(table.c.seq.desc()).limit(1)).first()
        return (None, None) if row is None else (row.stop, row.target)


class _Switches:
    """The trading state that a scope had before a moment; '' where it was never said."""

    def __init__(self, db: sa.Connection) -> None:
        self._db = db

    def __call__(self, scope: str, at: datetime) -> str:
        table = schema.control
        mine = (table.c.scope == scope) & (table.c.at < at)
        row = self._db.execute(sa.select(table).where(mine).order_by(table.c.seq.desc()).limit(1)).first()
        return "" if row is None else str(row.state)


class _Orders:
    """An order's symbol, and what it wants in words."""

    def __init__(self, db: sa.Connection) -> None:
        self._db = db

    def __call__(self, order: str) -> tuple[str, str]:
        table = schema.orders
        row = self._db.execute(sa.select(table).where(table.c.id == order)).first()
        if row is None:
            return "", f"Order {order}"
        return row.symbol, f"{row.side.capitalize()} {plain(row.quantity)} {instrument(row.symbol).symbol}"


@dataclass(slots=True)
class Pulse:
    """Whether the engine lives, by this process's own sense of time: a clock that jumps is no silence."""

    desk: str
    where: str
    _beat: datetime | None = None
    _since: float = 0.0
    _silent: str = ""
    _problems: dict[str, float] = field(default_factory=dict)

    def look(self, status: EngineStatus | None, now: datetime) -> list[Happening]:
        """What is to be told of the engine now. One that was stopped on purpose is no silence."""
        if status is None:
            return []
        told = self._silence(status, now)
        if not self._silent:
            told += self._signed_out(status, now) + self._troubles(status, now)
        return told

    def _silence(self, status: EngineStatus, now: datetime) -> list[Happening]:
        if status.beat != self._beat:
            self._beat, self._since = status.beat, monotonic()
            was, self._silent = self._silent, ""
            return [self._tell(was + ":back", "The engine is heard again", "", now, Severity.NOTICE)] if was else []
        if self._silent or status.state == "stopping" or monotonic() - self._since < SILENT_S:
            return []
        self._silent = f"silent:{self.desk}:{status.epoch}:{status.beat.isoformat()}"
        said = (
            f"Its last sign of life is of {status.beat:%Y-%m-%d %H:%M:%S} UTC ({status.state}). Stops that rest at the "
            "broker stay there; targets and strategies wait until it runs again."
        )
        return [self._tell(self._silent, f"The engine has been silent for {SILENT_S:.0f} s", said, now)]

    def _signed_out(self, status: EngineStatus, now: datetime) -> list[Happening]:
        session = status.details.get("etrade")
        if not isinstance(session, Mapping) or session.get("signed_in", True) or not session.get("owner"):
            return []
        about, day = f"sign-in:{self.desk}", f"{now:%Y-%m-%dT%H}"
        said = f"{session.get('said', '')} Open Settings → E*TRADE.".strip()
        title = "E*TRADE wants you to sign in"
        return [self._of(Kind.SIGN_IN, f"{about}:{day}", title, said, now, about=about)]

    def _troubles(self, status: EngineStatus, now: datetime) -> list[Happening]:
        """What the engine wants a person to read, once it has stood for a minute; an unprotected position at once."""
        said = [str(one) for one in status.details.get("problems", [])]
        self._problems = {one: self._problems.get(one, monotonic()) for one in said}
        told = []
        for one, since in self._problems.items():
            urgent = one.startswith("UNPROTECTED")
            if urgent or monotonic() - since >= PROBLEM_S:
                about = f"problem:{self.desk}:{mark(_steady(one))}"
                severity = Severity.URGENT if urgent else Severity.WARNING
                told.append(self._of(Kind.ERROR, f"{about}:{now:%Y-%m-%dT%H}", one[:200], "", now, severity, about))
        return told

    def _tell(self, id: str, title: str, said: str, now: datetime, severity: Severity = Severity.URGENT) -> Happening:
        return self._of(Kind.ENGINE_SILENT, id, title, said, now, severity)

    def _of(
        self,
        kind: Kind,
        id: str,
        title: str,
        said: str,
        now: datetime,
        severity: Severity = Severity.WARNING,
        about: str = "",
    ) -> Happening:
        text = "\n".join(line for line in (said, self.where) if line)
        return Happening(id, kind, severity, title, text, now, about=about)


def _steady(text: str) -> str:
    """A sentence without its figures, so that one that counts seconds is one problem."""
    return "".join(letter for letter in text if not letter.isdigit())
