"""One database, an SQLite file or PostgreSQL, opened the way money needs it.

SQLite: WAL, `synchronous=FULL`, foreign keys, and every write a `BEGIN IMMEDIATE`, so that two writers queue up where
SQLite's own default would lose one of them. PostgreSQL: `synchronous_commit`, and the caller locks the lease's row.
Either waits `BUSY_S` for another writer, never longer, and every failure comes out as a LedgerError with a sentence.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import QueuePool

from domain.errors import DeskError, LedgerBusy, LedgerConflict, LedgerError, LedgerUnusable, SettingsError

Version = tuple[int, int, int, int]
BUSY_S = 5.0
_SQLITE_SETUP = (
    f"PRAGMA busy_timeout={int(BUSY_S * 1000)}",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    "PRAGMA recursive_triggers=ON",
)
_SQLITE_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_POSTGRES_BUSY = {"55P03", "57014", "40P01", "40001"}  # lock not available, cancelled, deadlock, serialization


class _Looking(SQLiteDialect_pysqlite):
    """Every transaction is a look at one moment. A dialect, because a listener for `begin` slows every statement."""

    supports_statement_cache = True
    _begin = "BEGIN"

    def do_begin(self, dbapi_connection: DBAPIConnection) -> None:
        dbapi_connection.cursor().execute(self._begin)


class _Writing(_Looking):
    """Every transaction takes the write lock at once. A deferred one would read first, and then lose the race."""

    supports_statement_cache = True
    _begin = "BEGIN IMMEDIATE"


registry.register("sqlite.looking", __name__, "_Looking")
registry.register("sqlite.writing", __name__, "_Writing")


class Database:
    """`write()` is one durable transaction, `read()` one consistent look; `read_only` cannot write at all, and opens an
    SQLite file anew where another one lies at its place: one that appeared, or a backup."""

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        address = _address(url)
        self.name = address.render_as_string(hide_password=True)
        self.path = Path(address.database or "") if address.get_backend_name() == "sqlite" else None
        self._read_only = read_only
        self.engine = _postgres(address, read_only) if self.path is None else _sqlite(self.path, read_only)
        self.file = (0, 0)
        self._watch: sqlite3.Connection | None = None
        self._watches = 0
        self._watching = threading.Lock()

    @property
    def missing(self) -> bool:
        """No such file, or an empty one: nobody has opened this desk yet. PostgreSQL cannot say this."""
        return self.path is not None and not (self.path.exists() and self.path.stat().st_size)

    def create(self) -> None:
        """Make the file where there is none, for its owner's eyes only, and turn on write-ahead logging."""
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Never a file that is there: to close it would drop this process's locks on it, those of its other
            # connections too, and another process could then take away the log they write to.
            with contextlib.suppress(FileExistsError):
                os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            self.path.chmod(0o600)
        except OSError as error:
            raise LedgerUnusable(f"{self.name}: cannot be opened for writing: {error.strerror}") from error
        with self._plainly(), self.engine.connect() as db:
            db.connection.cursor().execute("PRAGMA journal_mode=WAL")
            [found] = db.execute(sa.text("PRAGMA quick_check(1)")).scalars()
            if found != "ok":
                raise LedgerUnusable(f"{self.name}: the file is damaged ({found}); restore a backup")

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One durable transaction: all of it or, after any error, nothing."""
        with self._plainly(), self.engine.begin() as db:
            yield db

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """One consistent look at what is committed; it never waits for a writer."""
        if self._read_only:
            self.follow()
        with self._plainly(), self.engine.connect() as db:
            yield db

    def version(self) -> Version | None:
        """What is another one after each commit to this file, by whatever process or connection, and where another
        file lies at its place. None where nobody can tell: in PostgreSQL, which has no such number that would cost
        less than a question, and of a file that is gone or cannot be read just now. Nothing is remembered of it then.
        """
        if self.path is None:
            return None
        if self._read_only and not self.follow():
            return None
        try:
            with self._watching:
                if self._watch is None:
                    self._watch = _connect(self.path, read_only=True)
                    self._watches += 1  # each counts from the beginning
                # A connection of its own, outside any transaction: of its own commits SQLite would not tell it.
                [(number,)] = self._watch.execute("PRAGMA data_version").fetchall()
                return *self.file, self._watches, number
        except sqlite3.Error:
            return None

    def follow(self) -> bool:
        """Open the file anew where another one lies at its place: connections to the old one are of no use. False where
        none lies there."""
        if self.path is None:
            return True
        try:
            found = self.path.stat()
        except OSError:
            return False
        if self.file != (found.st_dev, found.st_ino):
            self.close()
            self.file = (found.st_dev, found.st_ino)
        return True

    def close(self) -> None:
        """Let go of every connection."""
        self.engine.dispose()
        with self._watching:
            if self._watch is not None:
                self._watch.close()
            self._watch = None

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            raise _plain(error.orig, self.name) from error
        except sqlite3.Error as error:
            raise _plain(error, self.name) from error
        except sa.exc.StatementError as error:
            if isinstance(error.orig, DeskError):
                raise error.orig from None
            raise


def _address(url: str) -> sa.URL:
    try:
        address = sa.make_url(url.replace("postgres://", "postgresql://", 1))
    except sa.exc.ArgumentError:
        raise SettingsError("the ledger's address cannot be read: it looks like sqlite:///data/ledger.db") from None
    kind = address.get_backend_name()
    if kind == "sqlite" and address.database not in (None, "", ":memory:"):
        return address
    if kind == "postgresql":
        return address.set(drivername="postgresql+psycopg")
    raise SettingsError(f"a ledger lives in an SQLite file or in PostgreSQL, not in {address.render_as_string()}")


def _connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    file = f"file:{quote(str(path.absolute()))}?mode={'ro' if read_only else 'rw'}"
    connection = sqlite3.connect(
        file, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    for pragma in _SQLITE_SETUP:
        connection.execute(pragma)
    return connection


def _sqlite(path: Path, read_only: bool) -> sa.Engine:
    kind = "sqlite+looking://" if read_only else "sqlite+writing://"
    connect = functools.partial(_connect, path, read_only=read_only)
    return sa.create_engine(kind, creator=connect, poolclass=QueuePool, hide_parameters=True)


def _postgres(address: sa.URL, read_only: bool) -> sa.Engine:
    options = f"-c lock_timeout={int(BUSY_S * 1000)} -c synchronous_commit=on -c timezone=UTC"
    if read_only:
        options += " -c default_transaction_read_only=on"
    return sa.create_engine(
        address,
        connect_args={"options": options, "connect_timeout": int(BUSY_S)},
        isolation_level="REPEATABLE READ" if read_only else "READ COMMITTED",
        pool_pre_ping=True,
        hide_parameters=True,
    )


def _plain(cause: BaseException | None, name: str) -> LedgerError:
    """What the driver said, as one of our errors: busy, contradicted, or unusable."""
    said = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
    if isinstance(cause, sqlite3.IntegrityError) or (getattr(cause, "sqlstate", None) or "").startswith("23"):
        return LedgerConflict(f"{name}: {said}")
    code, state = getattr(cause, "sqlite_errorcode", 0) & 0xFF, getattr(cause, "sqlstate", None)
    if code in _SQLITE_BUSY or state in _POSTGRES_BUSY:
        return LedgerBusy(f"{name}: another writer held it for {BUSY_S:g} s; nothing was written, try again ({said})")
    return LedgerUnusable(f"{name}: {said}; nothing was written")
