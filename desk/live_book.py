"""The newest quotes as the engine saw them, for every process that shows them. Disposable: the next second replaces it.

Only the engine writes. A reader gets what there is, and nothing where there is nothing yet.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from domain.quotes import Quote

_TABLE = "CREATE TABLE IF NOT EXISTS quote (symbol TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID"
_PUT = "INSERT INTO quote VALUES (?, ?) ON CONFLICT (symbol) DO UPDATE SET body = excluded.body"


class LiveBook:
    """One desk's quotes in one small file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def write(self, quotes: Iterable[Quote]) -> None:
        """Newer quotes; a file that cannot be written is left: nothing of value is in it."""
        rows = [(quote.symbol, quote.to_text()) for quote in quotes]
        if not rows:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with closing(sqlite3.connect(self._path, timeout=0.5, isolation_level=None)) as db:
                db.execute("PRAGMA journal_mode=WAL")
                db.execute("PRAGMA synchronous=OFF")
                db.execute(_TABLE)
                db.execute("BEGIN IMMEDIATE")
                db.executemany(_PUT, rows)
                db.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            if "malformed" in str(error) or "not a database" in str(error):
                self._path.unlink(missing_ok=True)

    def quotes(self) -> dict[str, Quote]:
        """Every quote there is, by symbol."""
        if not self._path.exists():
            return {}
        try:
            with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=0.5)) as db:
                return {
                    symbol: Quote.from_text(symbol, body)
                    for symbol, body in db.execute("SELECT symbol, body FROM quote")
                }
        except (sqlite3.Error, ValueError, KeyError):
            return {}
