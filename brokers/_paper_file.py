"""The paper broker's SQLite file: opened safely, changed in whole transactions, and its own errors in plain words.

The rule: a change takes the write lock before it reads, so any number of processes may share the file.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock
from urllib.parse import quote

from domain.errors import BrokerUnavailable, OrderAmbiguous, SettingsError

BUSY_S = 5.0
OURS = 0x5042524B  # "PBRK" in the file's header
VERSION = 1

_SCHEMA = (
    """CREATE TABLE account (
        name TEXT PRIMARY KEY, kind TEXT NOT NULL, opened_with TEXT NOT NULL, cash TEXT NOT NULL,
        opened INTEGER NOT NULL
    ) STRICT""",
    """CREATE TABLE position (
        account TEXT NOT NULL REFERENCES account, symbol TEXT NOT NULL, quantity TEXT NOT NULL, cost TEXT NOT NULL,
        realised TEXT NOT NULL, fees TEXT NOT NULL, PRIMARY KEY (account, symbol)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE orders (
        seq INTEGER PRIMARY KEY, broker_id TEXT NOT NULL UNIQUE, client_order_id TEXT NOT NULL UNIQUE,
        account TEXT NOT NULL REFERENCES account, symbol TEXT NOT NULL, family TEXT NOT NULL, request TEXT NOT NULL,
        status TEXT NOT NULL, open INTEGER NOT NULL, said TEXT NOT NULL, worst_price TEXT NOT NULL,
        placed INTEGER NOT NULL, updated INTEGER NOT NULL, expires INTEGER, remaining TEXT NOT NULL,
        filled TEXT NOT NULL, value TEXT NOT NULL, armed INTEGER NOT NULL, level REAL, rested INTEGER NOT NULL,
        unused REAL NOT NULL
    ) STRICT""",
    "CREATE INDEX orders_open ON orders (open, symbol) WHERE open = 1",
    "CREATE INDEX orders_updated ON orders (updated)",
    "CREATE INDEX orders_family ON orders (family) WHERE family <> ''",
    """CREATE TABLE fill (
        seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, broker_id TEXT NOT NULL REFERENCES orders (broker_id),
        account TEXT NOT NULL, symbol TEXT NOT NULL, side TEXT NOT NULL, quantity TEXT NOT NULL, price TEXT NOT NULL,
        fee TEXT NOT NULL, time INTEGER NOT NULL, recorded INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX fill_recorded ON fill (recorded)",
    """CREATE TABLE unsettled (
        account TEXT NOT NULL, until INTEGER NOT NULL, amount TEXT NOT NULL, PRIMARY KEY (account, until)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE bought_unsettled (
        account TEXT NOT NULL, symbol TEXT NOT NULL, until INTEGER NOT NULL, PRIMARY KEY (account, symbol)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE quote (
        symbol TEXT PRIMARY KEY, time INTEGER NOT NULL, last TEXT NOT NULL, bid TEXT, ask TEXT, volume REAL NOT NULL,
        delayed_s INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    f"PRAGMA application_id = {OURS}",
    f"PRAGMA user_version = {VERSION}",
)


class PaperFile:
    """`write()` is one durable transaction, `read()` one consistent look; `run` works inside either.

    SettingsError: the file is another program's, or of a newer version. BrokerUnavailable: it was busy or broken, and
    nothing was written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = RLock()
        with self._plainly():
            self._db = self._connect()
            try:
                self._prepare()
            except BaseException:
                self._db.close()
                raise

    def run(self, statement: str, *values: object) -> sqlite3.Cursor:
        return self._db.execute(statement, values)

    @contextmanager
    def write(self) -> Iterator[None]:
        with self._lock, self._plainly():
            self.run("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._roll_back()
                raise
            self._commit()

    @contextmanager
    def read(self) -> Iterator[None]:
        with self._lock, self._plainly():
            self.run("BEGIN")
            try:
                yield
            finally:
                self._roll_back()

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _commit(self) -> None:
        try:
            self.run("COMMIT")
        except sqlite3.Error as error:
            if not self._db.in_transaction:
                raise OrderAmbiguous(f"{self.path}: it is not certain that the change was kept ({error})") from error
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        if self._db.in_transaction:  # a full disk has ended it already
            self.run("ROLLBACK")

    def _connect(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):  # never one that is there: see desk.database
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        address = f"file:{quote(str(self.path.absolute()))}?mode=rw"
        db = sqlite3.connect(address, uri=True, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        db.row_factory = sqlite3.Row
        return db

    def _prepare(self) -> None:
        self._check_ours()
        self.path.chmod(0o600)
        for pragma in (f"busy_timeout = {int(BUSY_S * 1000)}", "synchronous = FULL", "foreign_keys = ON"):
            self.run(f"PRAGMA {pragma}")
        if self._pragma("journal_mode") != "wal":
            self.run("PRAGMA journal_mode = WAL")
        with self.write():
            if not self._check_ours():
                for statement in _SCHEMA:
                    self.run(statement)

    def _check_ours(self) -> bool:
        """Whether our tables are in it; SettingsError where another's are."""
        marks = (self._pragma("application_id"), self._pragma("user_version"))
        if marks == (OURS, VERSION):
            return True
        if marks == (0, 0) and self.run("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            return False
        what = f"of version {marks[1]}, this program knows {VERSION}" if marks[0] == OURS else "another program's"
        raise SettingsError(f"{self.path}: the file is {what}; move it away or choose another DATA_DIR")

    def _pragma(self, name: str) -> object:
        found: object = self.run(f"PRAGMA {name}").fetchone()[0]
        return found

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise BrokerUnavailable(f"{self.path}: cannot be opened for writing: {error.strerror}") from error
        except sqlite3.Error as error:
            code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
            if code == sqlite3.SQLITE_NOTADB:
                raise SettingsError(f"{self.path}: is no SQLite file; move it away") from error
            if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                said = f"another process held it for {BUSY_S:g} s; nothing was written, try again"
                raise BrokerUnavailable(f"{self.path}: {said}") from error
            raise BrokerUnavailable(f"{self.path}: {error}; nothing was written") from error
