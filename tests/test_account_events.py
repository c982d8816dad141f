"""desk/account_events.py: what happened to accounts is only ever added to, and a line that was touched is named."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from desk.accounts import Accounts
from desk.authority import Role
from tests.accounts import OTHER, accounts_in, with_people


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    found = with_people(tmp_path)
    found.set_role("tim", Role.VIEWER, by="olga")
    return found


@contextmanager
def by_hand(folder: Path) -> Iterator[sqlite3.Connection]:
    """The file opened by somebody who knows SQL and takes the triggers away."""
    db = sqlite3.connect(folder / "accounts.db")
    for name in ("update", "delete"):
        db.execute(f"DROP TRIGGER events_{name}")
    yield db
    db.commit()
    db.close()


def test_an_untouched_chain_is_whole_and_goes_on_after_a_restart(accounts: Accounts, tmp_path: Path) -> None:
    assert accounts.verify_events() == []
    again = accounts_in(tmp_path)
    again.set_role("tim", Role.TRADER, by="olga")

    assert [event.event for event in again.events(2)] == ["role changed", "role changed"]
    assert again.verify_events() == accounts.verify_events() == []


def test_nothing_is_changed_or_taken_away(accounts: Accounts, tmp_path: Path) -> None:
    db = sqlite3.connect(tmp_path / "accounts.db")
    for statement in ("UPDATE events SET name = 'vera'", "DELETE FROM events WHERE number = 1"):
        with pytest.raises(sqlite3.IntegrityError, match="only ever added to"):
            db.execute(statement)
    db.close()


@pytest.mark.parametrize(
    ("done", "said"),
    [
        ("UPDATE events SET details = 'owner' WHERE number = 2", "event 2: its content does not match its hash"),
        ("UPDATE events SET at = at + 1 WHERE number = 4", "event 4: its content does not match its hash"),
        ("UPDATE events SET \"by\" = 'tim' WHERE number = 4", "event 4: its content does not match its hash"),
        ("DELETE FROM events WHERE number = 2", "event 3: follows 1; 1 rows are missing before it"),
        ("DELETE FROM events WHERE number = 4", "events: end at row 3, not where their head says (4)"),
        ("DELETE FROM events", "events: end at row 0, not where their head says (4)"),
        (
            'INSERT INTO events (at, event, name, "by", details) VALUES (1, "restored", "tim", "olga", "")',
            "event 5: does not follow the row before it",
        ),
    ],
)
def test_a_touched_line_is_named(accounts: Accounts, tmp_path: Path, done: str, said: str) -> None:
    with by_hand(tmp_path) as db:
        db.execute(done)

    assert said in accounts.verify_events()


def test_a_file_from_before_there_were_seals_is_sealed_once(accounts: Accounts, tmp_path: Path) -> None:
    before = accounts.events()
    accounts.close()
    with by_hand(tmp_path) as db:
        for statement in (
            "DROP TRIGGER events_end",
            "DROP TABLE events_head",
            "ALTER TABLE events DROP COLUMN previous",
            "ALTER TABLE events DROP COLUMN hash",
            "CREATE TRIGGER events_update BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'only ever added to'); END",
            "CREATE TRIGGER events_delete BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'only ever added to'); END",
        ):
            db.execute(statement)

    later, another = accounts_in(tmp_path), accounts_in(tmp_path)
    later.set_password("vera", OTHER, by="olga")

    assert later.events()[1:] == before
    assert another.verify_events() == []
    with by_hand(tmp_path) as db:
        db.execute("UPDATE events SET details = 'viewer' WHERE number = 1")
    assert another.verify_events() == ["event 1: its content does not match its hash"]
    assert accounts_in(tmp_path).verify_events() == another.verify_events()  # opening it again mends nothing
