"""What people chose: watch lists and preferences, kept over restarts. Each change is one short transaction.

Until accounts exist there is one person, the local owner.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from domain.errors import DeskError

OWNER = "owner"
MOST_WATCHED = 60

_metadata = sa.MetaData()
_watched = sa.Table(
    "watched",
    _metadata,
    sa.Column("person", sa.String, primary_key=True),
    sa.Column("symbol", sa.String, primary_key=True),
    sa.Column("place", sa.Integer, nullable=False),
)
_preferences = sa.Table(
    "preferences",
    _metadata,
    sa.Column("person", sa.String, primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)


class People:
    """Watch lists and preferences in one small database; safe to use from many threads and processes."""

    def __init__(self, url: str, first_watchlist: Iterable[str] = ()) -> None:
        if url.startswith("sqlite:///"):
            Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        self._engine = sa.create_engine(url, connect_args={"timeout": 10} if "sqlite" in url else {})
        self._first = tuple(first_watchlist)
        _metadata.create_all(self._engine)

    def watchlist(self, person: str = OWNER) -> list[str]:
        """Symbols in the order they were added; the first watch list for somebody who never chose."""
        with self._engine.connect() as db:
            return self._watched(db, person)

    def watch(self, symbol: str, person: str = OWNER) -> None:
        """Add a symbol at the end; one already there stays where it is. DeskError past sixty."""
        self._edit(person, lambda symbols: symbols if symbol in symbols else [*symbols, symbol])

    def unwatch(self, symbol: str, person: str = OWNER) -> None:
        """Take a symbol off; one that is not there is no error."""
        self._edit(person, lambda symbols: [s for s in symbols if s != symbol])

    def preference(self, name: str, default: Any = None, person: str = OWNER) -> Any:
        """A choice by name, or `default`."""
        return self.preferences(person).get(name, default)

    def preferences(self, person: str = OWNER) -> dict[str, Any]:
        """Every choice this person made."""
        with self._engine.connect() as db:
            rows = db.execute(
                sa.select(_preferences.c.name, _preferences.c.value).where(_preferences.c.person == person)
            )
            return {row.name: json.loads(row.value) for row in rows}

    def prefer(self, name: str, value: Any, person: str = OWNER) -> None:
        """Remember a choice (anything JSON can hold)."""
        with self._engine.begin() as db:
            self._put(db, person, name, value)

    def _watched(self, db: sa.Connection, person: str) -> list[str]:
        chosen = sa.select(_preferences.c.value).where(
            _preferences.c.person == person, _preferences.c.name == "watchlist_chosen"
        )
        if db.execute(chosen).first() is None:
            return list(self._first)
        rows = sa.select(_watched.c.symbol).where(_watched.c.person == person).order_by(_watched.c.place)
        return list(db.execute(rows).scalars())

    def _edit(self, person: str, change: Callable[[list[str]], list[str]]) -> None:
        """Read, change and write in one transaction. Its first statement writes, so that it holds the lock before it
        reads: two tabs that add at once both keep their symbol."""
        with self._engine.begin() as db:
            self._put(db, person, "editing", True)
            before = self._watched(db, person)
            symbols = change(before)
            if len(symbols) > max(MOST_WATCHED, len(before)):
                added = symbols[-1]
                raise DeskError(f"{added}: a watch list holds at most {MOST_WATCHED} symbols; remove one first")
            db.execute(sa.delete(_watched).where(_watched.c.person == person))
            rows = [{"person": person, "symbol": s, "place": at} for at, s in enumerate(symbols)]
            if rows:
                db.execute(sa.insert(_watched), rows)
            self._put(db, person, "watchlist_chosen", True)
            db.execute(sa.delete(_preferences).where(_preferences.c.name == "editing"))

    def _put(self, db: sa.Connection, person: str, name: str, value: Any) -> None:
        key = (_preferences.c.person == person) & (_preferences.c.name == name)
        db.execute(sa.delete(_preferences).where(key))
        db.execute(sa.insert(_preferences).values(person=person, name=name, value=json.dumps(value)))
