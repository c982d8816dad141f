"""desk/remembered.py: an answer lives until the next commit of anybody, and is asked for once until then."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa

from desk.control import GLOBAL
from desk.database import Database
from desk.inbox import Inbox
from desk.reader import Reader
from domain.clock import ManualClock
from domain.commands import Command, Kind
from domain.orders import Status
from domain.trading_state import TradingState
from tests.ledgers import NOW, fill, founded, opened, order, working

pytest_plugins = ["tests.ledger_fixtures"]
CLOCK = ManualClock(NOW + timedelta(seconds=7))


@contextmanager
def statements(reader: Reader) -> Iterator[list[str]]:
    """What the database is asked meanwhile."""
    heard = list[str]()

    def hear(db: object, cursor: object, statement: str, *rest: object) -> None:
        heard.append(statement)

    engine = reader._database.engine
    sa.event.listen(engine, "before_cursor_execute", hear)
    yield heard
    sa.event.remove(engine, "before_cursor_execute", hear)


def ask_all(reader: Reader) -> tuple[object, ...]:
    return (
        reader.open_orders(),
        reader.open_orders("main", "AAPL"),
        reader.positions("main"),
        reader.round_trips("main", NOW - timedelta(days=1)),
        reader.trading_state("main", "AAPL").state,
        reader.limits(),
        reader.protection("main"),
        reader.accounts(),
        reader.sent_since("main", NOW - timedelta(days=1)),
    )


def test_what_another_connection_commits_is_seen_at_the_next_question(ledger_url: str) -> None:
    ledger, epoch = founded(ledger_url)
    reader, other = Reader(ledger_url, CLOCK), opened(ledger_url)
    assert ask_all(reader)[:3] == ([], [], {})

    with other.write(epoch) as write:
        working(write, order())
        assert reader.open_orders() == []
    [seen] = reader.open_orders("main", "AAPL")
    with ledger.write(epoch) as write:
        write.add_fill(fill())
        write.set_limit("max_gross_pct", 10.0, actor="owner")
        write.set_control(GLOBAL, TradingState.DISABLED, reason="test", actor="owner")

    assert (seen.id, seen.filled) == ("o1", 0)
    assert [o.filled for o in reader.open_orders()] == [40]
    assert reader.positions("main")["AAPL"].quantity == 40
    assert reader.limits() == {"max_gross_pct": 10.0}
    assert reader.trading_state("main", "AAPL").state is TradingState.DISABLED


def test_what_another_process_commits_is_seen_at_the_next_question(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger, epoch = founded(url)
    with ledger.write(epoch) as write:
        working(write, order())
    reader = Reader(url, CLOCK)
    assert [o.status for o in reader.open_orders()] == [Status.WORKING]

    there = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('UPDATE orders SET status = ?'"
    there += ", ('CANCELLED',)); db.commit()"
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as db:
        db.execute("PRAGMA journal_mode=WAL")
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        db.commit()
    assert [o.status for o in reader.open_orders()] == [Status.WORKING]
    subprocess.run([sys.executable, "-c", there, str(tmp_path / "ledger.db")], check=True)

    assert reader.open_orders() == []


def test_between_two_commits_each_question_is_asked_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    founded(url)
    reader = Reader(url, CLOCK)
    first = ask_all(reader)

    with statements(reader) as heard:
        assert ask_all(reader) == first
        assert ask_all(reader) == first
        assert heard == []
        Inbox(url, CLOCK).append(Command("pressed-1", Kind.KILL, "owner", {"level": 1}))
        ask_all(reader)

    assert len(heard) >= 8


def test_in_postgresql_nothing_is_remembered(postgres_url: str) -> None:
    founded(postgres_url)
    reader = Reader(postgres_url, CLOCK)
    first = ask_all(reader)

    with statements(reader) as heard:
        assert ask_all(reader) == first

    assert reader._database.version() is None
    assert len(heard) >= 8


def test_who_changes_what_was_told_changes_it_for_nobody_else(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger, epoch = founded(url)
    with ledger.write(epoch) as write:
        working(write, order())
        write.add_fill(fill())
        write.set_protection("main", "AAPL", stop=order().request.quantity, target=None)
    reader = Reader(url, CLOCK)

    reader.open_orders().clear()
    reader.positions("main").clear()
    found = reader.account("main")
    assert found is not None
    found.positions.clear()
    reader.protection("main").clear()
    reader.family([""]).clear()
    reader.controls().clear()
    reader.limits()["max_gross_pct"] = 1

    assert len(reader.open_orders()) == len(reader.positions("main")) == len(reader.protection("main")) == 1
    assert len(reader.family([""])) == len(reader.controls()) == 1
    assert reader.limits() == {}


def test_a_file_put_in_the_place_of_the_ledger_is_another_version(tmp_path: Path) -> None:
    path, backup = tmp_path / "ledger.db", tmp_path / "backup.db"
    ledger, epoch = founded(f"sqlite:///{path}")
    with sqlite3.connect(path) as whole, sqlite3.connect(backup) as kept:
        whole.backup(kept)
    with ledger.write(epoch) as write:
        working(write, order())
        write.add_fill(fill())
    reader = Reader(f"sqlite:///{path}", CLOCK)
    assert (len(reader.open_orders()), len(reader.positions("main"))) == (1, 1)

    ledger.close()
    for name in (f"{path}-wal", f"{path}-shm"):
        Path(name).unlink(missing_ok=True)
    shutil.copy(backup, tmp_path / "new.db")
    os.replace(tmp_path / "new.db", path)

    assert (reader.open_orders(), reader.positions("main")) == ([], {})


def test_a_ledger_that_was_taken_away_lets_nobody_trade(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger, epoch = founded(f"sqlite:///{path}")
    with ledger.write(epoch) as write:
        write.set_control(GLOBAL, TradingState.ENABLED, reason="test", actor="owner")
    reader = Reader(f"sqlite:///{path}", CLOCK)
    assert reader.trading_state().state is TradingState.ENABLED

    path.unlink()

    assert reader.trading_state().state is TradingState.DISABLED


def test_a_file_that_is_not_there_has_no_version(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'none.db'}", read_only=True)

    assert database.version() is None
    assert Reader(database, CLOCK).open_orders() == []
