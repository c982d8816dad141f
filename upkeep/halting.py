"""What becomes of databases on their way back: a ledger is halted and disarmed, everybody is signed out, and nothing
that waited to be sent or done is sent or done.

The rule: this happens to the staged files, before any of them lies where an engine could find it.
"""

from __future__ import annotations

import contextlib
import sqlite3
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa

from desk import account_events, account_tables, schema
from desk.account_tables import sign_ins
from desk.database import Database
from desk.inbox import Inbox
from desk.lease import Lease
from desk.ledger import Ledger
from desk.reader import Reader
from desk.submit import refused
from desk.switches import stop_trading
from domain.clock import Clock
from domain.errors import BackupError, DeskError
from domain.trading_state import KillLevel
from upkeep.archive import LedgerFacts

ACTOR = "restore"
ASKED = "This was asked before the desk was restored from a backup: look at what stands at the broker, then ask again."
MOST_COMMANDS = 1_000_000


def reason(made_at: datetime) -> str:
    """What every page says of a restored desk, until a person lets it trade."""
    return (
        f"Restored from the backup of {made_at:%d %b %Y %H:%M} UTC: what was ordered since then is not in this ledger. "
        "Compare it with the broker before you let it trade"
    )


def halt_ledger(path: Path, facts: LedgerFacts, made_at: datetime, clock: Clock, *, accept_damage: bool) -> None:
    """Bring a staged ledger up to date, prove its chain, halt and disarm it, and refuse what waited in its inbox.
    BackupError where it is of a newer version, of another desk than was said, or contradicts itself."""
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE lease SET holder = '', locked = 0, until = 0")  # whoever held it is not here any more
    try:
        ledger = Ledger.open(
            f"sqlite:///{path}",
            desk=facts.desk,  # type: ignore[arg-type] # one it does not belong to is refused
            price_source=facts.price_source,
            clock=clock,
        )
        try:
            if (problems := ledger.verify()) and not accept_damage:
                raise BackupError(
                    f"{path.name} contradicts itself: {problems[0]} ({len(problems)} in all); use an older archive, or "
                    "--accept-damage to restore it as it is"
                )
            _halt(ledger, made_at, clock)
        finally:
            ledger.close()
    except BackupError:
        raise
    except DeskError as error:
        raise BackupError(f"{path.name} cannot be restored: {error}") from None
    Path(f"{path}.lock").unlink(missing_ok=True)


def _halt(ledger: Ledger, made_at: datetime, clock: Clock) -> None:
    lease = Lease(ledger.database, clock)
    looking = Database(f"sqlite:///{ledger.database.path}", read_only=True)
    epoch = lease.acquire(ACTOR)
    try:
        waiting = Inbox(looking, clock).pending(MOST_COMMANDS)
        arming = Reader(looking, clock).arming()
        with ledger.write(epoch) as write:
            stop_trading(write, KillLevel.HALT, reason=reason(made_at), actor=ACTOR)
            if arming.armed:
                write.set_arming(arming.account, False, reason="restored from a backup", actor=ACTOR)
            for command in waiting:
                write.answer_command(command.key, refused(ASKED), actor=ACTOR)
    finally:
        lease.release()
        looking.close()


def sign_everybody_out(path: Path, clock: Clock) -> None:
    """No sign-in of that day opens anything today; the accounts' own log says so."""
    database, now = Database(f"sqlite:///{path}"), clock.now().timestamp()
    over = {"ended": now, "why": "restored from a backup", "confirmed": None}
    try:
        with database.write() as db:
            account_tables.metadata.create_all(db)
            account_events.bring_up(db)
            ended = db.execute(sa.update(sign_ins).where(sign_ins.c.ended.is_(None)).values(over)).rowcount
            account_events.add(db, now, "restored from a backup", "", ACTOR, f"{ended} sign-ins ended")
    except DeskError as error:
        raise BackupError(f"{path.name} cannot be restored: {error}") from None
    finally:
        database.close()


def drop_unsent(path: Path, clock: Clock) -> None:
    """Messages that waited then have gone out since, or are of no use any more: none is sent twice."""
    now = schema.Moment().process_bind_param(clock.now(), None)  # type: ignore[arg-type]
    said = "the desk was restored from a backup: what waited then is not sent again"
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'delivery'").fetchone():
            return  # whoever made the file died before its tables were there
        db.execute(
            "UPDATE delivery SET state = 'dropped', ended = ?, said = ? WHERE state IN ('waiting', 'sending')",
            (now, said),
        )
