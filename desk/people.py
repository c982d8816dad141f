"""What people chose: watch lists, preferences and subscriptions, kept over restarts. Each change is one short
transaction.

The person `owner` stands for whoever owns the desk: this machine's owner while there are no accounts, every account in
the role of an owner from then on. Everybody else has choices of their own, under the account's name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from desk.subscriptions import MOST_SUBSCRIPTIONS, Subscription
from domain.clock import Clock, SystemClock
from domain.errors import DeskError, SettingsError
from domain.notices import Kind

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
_subscriptions = sa.Table(
    "subscriptions",
    _metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("person", sa.String, nullable=False, index=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("symbol", sa.String, nullable=False),
    sa.Column("level", sa.String),  # exact decimal text
    sa.Column("pattern", sa.String, nullable=False),
    sa.Column("timeframe", sa.String, nullable=False),
    sa.Column("least_edge_bps", sa.Float),
    sa.Column("least_confidence", sa.Float, nullable=False),
    sa.Column("channels", sa.Text, nullable=False),
    sa.Column("is_on", sa.Boolean, nullable=False),
    sa.Column("made", sa.String, nullable=False),
    sqlite_autoincrement=True,  # an id is never given twice: what was told is remembered by it
)


class People:
    """Watch lists, preferences and subscriptions in one small database; safe to use from many threads and processes."""

    def __init__(self, url: str, first_watchlist: Iterable[str] = (), clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        if url.startswith("sqlite:///"):
            _for_its_owner(Path(url.removeprefix("sqlite:///")))
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

    def subscriptions(self, person: str = "", *, only_on: bool = False) -> list[Subscription]:
        """What one person, or everybody, wants to be told of; oldest first."""
        wanted = [_subscriptions.c.person == person] if person else []
        wanted += [_subscriptions.c.is_on.is_(True)] if only_on else []
        with self._engine.connect() as db:
            rows = db.execute(sa.select(_subscriptions).where(*wanted).order_by(_subscriptions.c.id)).all()
        return [_subscription(row) for row in rows]

    def subscribe(self, wished: Subscription) -> Subscription:
        """Keep a wish (`desk.subscriptions.wish` makes one): the one that is kept, with its id. The same wish again is
        the one there is, switched on. DeskError past two hundred a person."""
        row = _row(wished)
        with self._engine.begin() as db:
            self._put(db, wished.person, "editing", True)
            same = [_subscriptions.c[name] == value for name, value in row.items() if name not in ("is_on", "made")]
            known = db.execute(sa.select(_subscriptions.c.id).where(*same)).scalar()
            if known is not None:
                db.execute(sa.update(_subscriptions).where(_subscriptions.c.id == known).values(is_on=True))
            else:
                self._room_for_one(db, wished.person)
                made = {**row, "made": self._clock.now().isoformat()}
                known = db.execute(sa.insert(_subscriptions).values(made).returning(_subscriptions.c.id)).scalar_one()
            db.execute(sa.delete(_preferences).where(_preferences.c.name == "editing"))
            found = db.execute(sa.select(_subscriptions).where(_subscriptions.c.id == known)).one()
        return _subscription(found)

    def change(self, id: int, wished: Subscription) -> Subscription:
        """Another wish under the same id; DeskError where that person has none such."""
        with self._engine.begin() as db:
            mine = (_subscriptions.c.id == id) & (_subscriptions.c.person == wished.person)
            if not db.execute(sa.update(_subscriptions).where(mine).values(_row(wished))).rowcount:
                raise DeskError(f"subscription {id} is not there any more")
        return replace(wished, id=id)

    def switch(self, id: int, on: bool, person: str) -> None:
        """Turn a subscription on or off; DeskError where that person has none such."""
        with self._engine.begin() as db:
            mine = (_subscriptions.c.id == id) & (_subscriptions.c.person == person)
            if not db.execute(sa.update(_subscriptions).where(mine).values(is_on=on)).rowcount:
                raise DeskError(f"subscription {id} is not there any more")

    def unsubscribe(self, id: int, person: str) -> None:
        """Forget it; one that is not there, or somebody else's, is left as it is."""
        with self._engine.begin() as db:
            mine = (_subscriptions.c.id == id) & (_subscriptions.c.person == person)
            db.execute(sa.delete(_subscriptions).where(mine))

    def forget(self, person: str) -> None:
        """Everything somebody chose, addresses and subscriptions too: another one of the same name begins anew."""
        with self._engine.begin() as db:
            for table in (_subscriptions, _watched, _preferences):
                db.execute(sa.delete(table).where(table.c.person == person))

    def own(self, person: str = OWNER) -> Own:
        """The choices of one person alone."""
        return Own(self, person)

    def _room_for_one(self, db: sa.Connection, person: str) -> None:
        mine = sa.select(sa.func.count()).select_from(_subscriptions).where(_subscriptions.c.person == person)
        if db.execute(mine).scalar_one() >= MOST_SUBSCRIPTIONS:
            raise DeskError(f"a person has at most {MOST_SUBSCRIPTIONS} subscriptions; remove one first")

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


def _for_its_owner(path: Path) -> None:
    """Make the file where there is none; nobody else on this machine reads where people are reached."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(0o600)
        path.chmod(0o600)
    except OSError as error:
        raise SettingsError(
            f"{path.parent} cannot be written ({error.strerror}): the desk keeps there all it knows. Let it be written "
            "by whoever runs the desk, or let DATA_DIR name another folder"
        ) from None


@dataclass(frozen=True, slots=True)
class Own:
    """What one person chose, for the pages that person looks at."""

    all: People
    person: str = OWNER

    def watchlist(self) -> list[str]:
        return self.all.watchlist(self.person)

    def watch(self, symbol: str) -> None:
        self.all.watch(symbol, self.person)

    def unwatch(self, symbol: str) -> None:
        self.all.unwatch(symbol, self.person)

    def preference(self, name: str, default: Any = None) -> Any:
        return self.all.preference(name, default, self.person)

    def preferences(self) -> dict[str, Any]:
        return self.all.preferences(self.person)

    def prefer(self, name: str, value: Any) -> None:
        self.all.prefer(name, value, self.person)

    def subscriptions(self) -> list[Subscription]:
        return self.all.subscriptions(self.person)


def _row(wished: Subscription) -> dict[str, Any]:
    names = ("person", "symbol", "pattern", "timeframe", "least_edge_bps", "least_confidence")
    return {name: getattr(wished, name) for name in names} | {
        "kind": wished.kind.value,
        "level": None if wished.level is None else f"{wished.level.normalize():f}",
        "channels": json.dumps(sorted(wished.channels)),
        "is_on": wished.on,
    }


def _subscription(row: sa.Row[Any]) -> Subscription:
    return Subscription(
        person=row.person,
        kind=Kind(row.kind),
        symbol=row.symbol,
        level=None if row.level is None else Decimal(row.level),
        pattern=row.pattern,
        timeframe=row.timeframe,
        least_edge_bps=row.least_edge_bps,
        least_confidence=row.least_confidence,
        channels=tuple(json.loads(row.channels)),
        on=row.is_on,
        id=row.id,
        made=datetime.fromisoformat(row.made),
    )
