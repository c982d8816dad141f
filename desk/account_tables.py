"""The tables of accounts.db: who may come in, who is in, and what was tried. Times are seconds since 1970, UTC.

The rule: no password, no sign-in's secret and no one-time secret lies here in the clear.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

metadata = sa.MetaData()


def _text(name: str, **more: Any) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, **more)


def _time(name: str, *, nullable: bool = False) -> sa.Column[float]:
    return sa.Column(name, sa.Float, nullable=nullable)


accounts = sa.Table(
    "accounts",
    metadata,
    _text("name", primary_key=True),
    _text("hash"),
    _text("role"),
    sa.Column("suspended", sa.Boolean, nullable=False),
    _time("made"),
)
sign_ins = sa.Table(
    "sign_ins",
    metadata,
    _text("ref", primary_key=True),
    _text("digest", unique=True),  # sha256 of what the cookie holds
    _text("name", index=True),
    _text("role"),  # as it was at that moment
    _text("stamp"),  # tells the password it was made with from a later one
    _text("address"),
    _time("began"),
    _time("seen"),
    _time("confirmed", nullable=True),
    _time("ended", nullable=True),
    _text("why"),
)
wrongs = sa.Table(
    "wrongs",
    metadata,
    _text("key", primary_key=True),  # hashed: who mistypes may type a password where a name belongs
    sa.Column("tries", sa.Integer, nullable=False),
    _time("last"),
    _time("until"),
)
codes = sa.Table(
    "codes",
    metadata,
    _text("name", primary_key=True),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("step", sa.Integer, nullable=False),  # the last half minute whose code was taken
    sa.Column("active", sa.Boolean, nullable=False),
)
# Each row's hash covers the hash before it and its own content; a trigger keeps the last one in `events_head`.
events = sa.Table(
    "events",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    _time("at"),
    _text("event"),
    _text("name"),
    _text("by"),
    _text("details"),
    _text("previous", server_default=""),
    _text("hash", server_default=""),
    sqlite_autoincrement=True,
)
events_head = sa.Table(
    "events_head",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, nullable=False),
    _text("hash"),
)
ONLY_ADDED = tuple(
    f"CREATE TRIGGER events_{verb.lower()} BEFORE {verb} ON events "
    "BEGIN SELECT RAISE(ABORT, 'events is only ever added to'); END"
    for verb in ("UPDATE", "DELETE")
)
KEEPS_HEAD = (
    "CREATE TRIGGER IF NOT EXISTS events_end AFTER INSERT ON events BEGIN "
    "INSERT INTO events_head (name, number, hash) VALUES ('events', NEW.number, NEW.hash) "
    "ON CONFLICT (name) DO UPDATE SET number = NEW.number, hash = NEW.hash; END"
)
for _rule in ONLY_ADDED:
    sa.event.listen(events, "after_create", sa.DDL(_rule))  # type: ignore[no-untyped-call]
