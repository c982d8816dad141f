"""The lease: of all engines that might run, the one that acts.

Two proofs work together. A lock of the operating system (a file beside SQLite, a session's advisory lock in
PostgreSQL) falls the moment its process dies, so a successor takes over at once. An epoch that grows with each holder
fences one that merely slept: `Ledger.write` refuses every epoch but the newest. Without the lock the lease counts until
`until`, which `renew` moves on. Give it the machine's own clock, never a shifted one. SQLite: a local disk, never NFS.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Protocol

import sqlalchemy as sa
from filelock import FileLock, Timeout

from desk import audit, schema
from desk.crash import crash_point
from desk.database import Database
from desk.ledger import ENGINE, FENCE
from desk.records import Holder
from domain.clock import Clock
from domain.errors import Fenced, LeaseHeld

TIME_TO_LIVE = timedelta(seconds=15)
_ADVISORY = 7_061_002
_mine = sa.update(schema.lease).where(schema.lease.c.name == ENGINE)
_renewed = _mine.where(schema.lease.c.epoch == sa.bindparam("of_epoch"))
_held = sa.select(schema.lease).where(schema.lease.c.name == ENGINE)


class Lock(Protocol):
    """What the operating system or the server frees by itself when the holder dies."""

    def take(self) -> bool:
        """Hold it, now or from before; False where somebody else does."""
        ...

    def drop(self) -> None:
        """Let go; harmless where it is not held."""
        ...


class Lease:
    """One engine's claim on one ledger. `acquire`, then `renew` several times within `ttl`, then `release`. Keep the
    object for as long as the engine runs: the lock goes with it."""

    def __init__(self, database: Database, clock: Clock, ttl: timedelta = TIME_TO_LIVE) -> None:
        self._database, self._clock, self._ttl = database, clock, ttl
        path = database.path
        self._lock: Lock = _FileLock(path) if path else _AdvisoryLock(database.engine)
        self.epoch = 0

    def acquire(self, holder: str) -> int:
        """The epoch to write with. LeaseHeld names who holds it and since when. `holder` must say which process, such
        as `engine 4711 on desk-1`; acquiring again what is still ours only renews it."""
        if self.epoch:
            with suppress(Fenced):
                self.renew()
                return self.epoch
        locked = self._lock.take()
        try:
            self.epoch = self._take(holder, locked)
        except BaseException:
            self._lock.drop()
            raise
        crash_point("after_lease")
        return self.epoch

    def renew(self) -> None:
        """Still here: the lease counts for another `ttl`. Fenced where another engine took it meanwhile."""
        now = self._clock.now()
        values = {"until": now + self._ttl, "locked": self._lock.take(), "of_epoch": self.epoch}
        with self._database.write() as db:
            renewed = self.epoch and db.execute(_renewed, values).rowcount
            row = db.execute(_held).one()
        if not renewed:
            self._forget()
            raise Fenced(f"the lease went to {row.holder or 'nobody'} (epoch {row.epoch}); stop")

    def release(self) -> None:
        """Give it back, for the next engine to take at once. Harmless where it is no longer ours."""
        epoch, now = self.epoch, self._clock.now()
        try:
            with self._database.write() as db:
                row = db.execute(FENCE).one()
                if epoch and row.epoch == epoch and row.holder:
                    db.execute(_mine.values(holder="", until=now, locked=False))
                    self._log(db, row, "lease released", row.holder, epoch)
        finally:
            self._forget()

    def holder(self) -> Holder | None:
        """Who holds it, as the ledger says; None where nobody does. A dead holder is named until another takes it."""
        with self._database.read() as db:
            return holder_of(db)

    def _take(self, holder: str, locked: bool) -> int:
        now = self._clock.now()
        with self._database.write() as db:
            row = db.execute(FENCE).one()
            # A holder that had the lock and lost it is dead; one that never had it is believed until its time is up.
            alive = row.until > now and not (locked and row.locked)
            if row.holder and alive:
                raise LeaseHeld(
                    f"{self._database.name}: {row.holder} acts on this ledger since {row.since:%Y-%m-%d %H:%M:%S} UTC "
                    f"(epoch {row.epoch}); stop it first"
                )
            epoch: int = row.epoch + 1
            db.execute(_mine.values(holder=holder, epoch=epoch, since=now, until=now + self._ttl, locked=locked))
            self._log(db, row, "lease taken", holder, epoch)
        return epoch

    def _log(self, db: sa.Connection, row: sa.Row[tuple[object, ...]], event: str, holder: str, epoch: int) -> None:
        chain = audit.Chain(row.audit_seq, row.audit_hash)
        chain.add(db, event, holder, {"from": row.holder}, at=self._clock.now(), epoch=epoch)

    def _forget(self) -> None:
        self.epoch = 0
        self._lock.drop()


def holder_of(db: sa.Connection) -> Holder | None:
    """Who holds the lease of this ledger; None where nobody does."""
    row = db.execute(_held).one_or_none()
    if row is None or not row.holder:
        return None
    return Holder(row.holder, row.epoch, row.since, row.until, row.locked)


class _FileLock:
    """`flock` on a file beside the database; the kernel frees it with the process."""

    def __init__(self, database: Path) -> None:
        path = database.with_name(database.name + ".lock")
        self._lock = FileLock(path, blocking=False, mode=0o600, thread_local=False, fallback_to_soft=False)

    def take(self) -> bool:
        if self._lock.is_locked:
            return True
        try:
            self._lock.acquire()
        except Timeout:
            return False
        return True

    def drop(self) -> None:
        self._lock.release(force=True)


class _AdvisoryLock:
    """PostgreSQL's advisory lock, on a session of its own; the server frees it with the connection."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._session: sa.Connection | None = None

    def take(self) -> bool:
        if self._session is not None and self._alive():
            return True
        session = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        if session.execute(sa.select(sa.func.pg_try_advisory_lock(_ADVISORY))).scalar_one():
            self._session = session
            return True
        session.close()
        return False

    def drop(self) -> None:
        if self._session is not None:
            with suppress(sa.exc.SQLAlchemyError):
                self._session.execute(sa.select(sa.func.pg_advisory_unlock(_ADVISORY)))
            # Closed for good, not back to the pool: were the unlocking lost, the lock would live on there.
            with suppress(sa.exc.SQLAlchemyError):
                self._session.invalidate()
            self._session.close()
            self._session = None

    def _alive(self) -> bool:
        assert self._session is not None
        try:
            self._session.execute(sa.text("SELECT 1"))
        except sa.exc.DBAPIError:
            self.drop()
            return False
        return True
