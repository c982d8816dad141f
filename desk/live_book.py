"""The newest quotes as the engine saw them, for every process that shows them. Disposable: the next second replaces it.

Only the engine writes. A reader gets what there is, and nothing where there is nothing yet.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from datetime import datetime
from decimal import Decimal
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
        rows = [(quote.symbol, _text(quote)) for quote in quotes]
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
                return {symbol: _quote(symbol, body) for symbol, body in db.execute("SELECT symbol, body FROM quote")}
        except (sqlite3.Error, ValueError, KeyError):
            return {}


def _text(quote: Quote) -> str:
    amounts = {name: _plain(getattr(quote, name)) for name in ("last", "bid", "ask", "previous_close")}
    more = {"time": quote.time.isoformat(), "volume": quote.volume, "delayed_s": quote.delayed_s}
    return json.dumps({**amounts, **more, "source": quote.source})


def _quote(symbol: str, body: str) -> Quote:
    told = json.loads(body)
    return Quote(
        symbol,
        datetime.fromisoformat(told["time"]),
        Decimal(told["last"]),
        told["source"],
        bid=_amount(told["bid"]),
        ask=_amount(told["ask"]),
        volume=told["volume"],
        previous_close=_amount(told["previous_close"]),
        delayed_s=told["delayed_s"],
    )


def _plain(amount: Decimal | None) -> str | None:
    return None if amount is None else str(amount)


def _amount(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
