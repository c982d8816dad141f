"""desk/ledger.py: what was written stays, as a whole, exactly, and by its one writer."""

from __future__ import annotations

import random
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from desk import crash, migrations, schema
from desk.database import Database
from desk.lease import Lease
from desk.ledger import Ledger
from desk.reader import Reader
from desk.records import Attempt, Decision
from domain.breaker import Breaker
from domain.clock import ManualClock, SystemClock
from domain.errors import (
    DataError,
    Fenced,
    LedgerConflict,
    LedgerError,
    LedgerMismatch,
    LedgerUnusable,
    SettingsError,
)
from domain.orders import AT_BROKER, MAY_BECOME, Order, Status, WrongMove
from domain.positions import fold
from domain.signals import Signal
from tests.campaigns import ledger_writers
from tests.conftest import ROOT
from tests.ledgers import CASH, NOW, PROCESSES, die_at, fill, founded, opened, order, spawn, tampering, working
from tests.ledgers import trade_until_killed as trade

pytest_plugins = ["tests.ledger_fixtures"]
D = Decimal


def read(url: str) -> Reader:
    return Reader(url, ManualClock(NOW))


def sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'ledger.db'}"


# Whose ledger


def test_a_ledger_opens_again_with_what_was_written(ledger_url: str) -> None:
    ledger, epoch = founded(ledger_url)
    with ledger.write(epoch) as write:
        write.add_order(order(), Decision(True, [{"gate": "size", "passed": True}], {"equity": D("1e5")}))
    ledger.close()

    again = opened(ledger_url)

    [kept] = read(ledger_url).open_orders()
    assert kept == order()
    assert again.verify() == []


@pytest.mark.parametrize(("desk", "source"), [("live", "simulated"), ("paper", "yahoo")])
def test_another_desk_or_price_source_is_refused(ledger_url: str, desk: Any, source: str) -> None:
    opened(ledger_url).close()

    with pytest.raises(LedgerMismatch, match="each desk and price source has a ledger of its own"):
        Ledger.open(ledger_url, desk=desk, price_source=source, clock=ManualClock(NOW))


def test_a_database_of_something_else_is_refused(ledger_url: str) -> None:
    database = Database(ledger_url)
    database.create()
    with database.write() as db:
        db.execute(sa.text("CREATE TABLE recipes (name TEXT)"))

    with pytest.raises(LedgerMismatch, match="holds recipes and is no ledger"):
        opened(ledger_url)


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://me:secret@host/db", "rubbish"])
def test_only_a_file_or_postgresql_can_hold_a_ledger(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Database(url)

    assert "secret" not in str(caught.value)


def test_the_file_is_for_its_owners_eyes_only(tmp_path: Path) -> None:
    founded(sqlite_url(tmp_path / "new"))

    assert {stat.S_IMODE(p.stat().st_mode) for p in (tmp_path / "new").iterdir()} == {0o600}


def test_sqlite_is_opened_for_durability(tmp_path: Path) -> None:
    ledger, _ = founded(sqlite_url(tmp_path))

    with ledger.database.read() as db:
        found = [
            db.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "recursive_triggers")
        ]

    assert found == ["wal", 2, 1, 5000, 1]


def test_a_live_desk_starts_disabled_and_a_paper_desk_enabled(tmp_path: Path) -> None:
    Ledger.open(sqlite_url(tmp_path / "live"), desk="live", price_source="etrade", clock=ManualClock(NOW))
    opened(sqlite_url(tmp_path / "paper"))

    assert read(sqlite_url(tmp_path / "live")).trading_state().state == "disabled"
    assert read(sqlite_url(tmp_path / "paper")).trading_state().state == "enabled"


# Migrations


def test_an_empty_file_becomes_a_ledger_and_a_second_opening_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").touch()
    ledger = opened(sqlite_url(tmp_path))
    with ledger.database.read() as db:
        before = db.execute(sa.text("SELECT sql FROM sqlite_master ORDER BY name")).all()

    opened(sqlite_url(tmp_path))
    with ledger.database.write() as db:
        migrations.upgrade(db)

    with ledger.database.read() as db:
        assert db.execute(sa.text("SELECT sql FROM sqlite_master ORDER BY name")).all() == before


def test_the_migrations_make_the_tables_that_the_code_uses(ledger_url: str) -> None:
    ledger = opened(ledger_url)

    with ledger.database.read() as db:
        found = compare_metadata(MigrationContext.configure(db, opts={"compare_type": True}), schema.metadata)
        assert db.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one() == schema.REVISION

    assert found == []


def test_a_ledger_of_a_newer_version_is_refused(ledger_url: str) -> None:
    ledger = opened(ledger_url)
    with ledger.database.write() as db:
        db.execute(sa.text("UPDATE alembic_version SET version_num = 'r9999'"))

    with pytest.raises(LedgerUnusable, match="tables are at r9999, this version knows up to r0006"):
        opened(ledger_url)


def open_and_die(url: str) -> None:
    crash.install(die_at("during_migration", 1))
    opened(url)


def test_a_kill_during_the_migration_leaves_no_half_ledger(ledger_url: str) -> None:
    victim = spawn(open_and_die, ledger_url)
    victim.join()

    assert victim.exitcode == -signal.SIGKILL
    assert opened(ledger_url).verify() == []


# One writer


def test_a_stale_epoch_writes_nothing(ledger_url: str) -> None:
    ledger, epoch = founded(ledger_url)
    clock = ManualClock(NOW)
    clock.advance(minutes=1)
    Lease(ledger.database, clock).acquire("successor")

    with (
        pytest.raises(Fenced, match=r"the lease went to successor at .* \(epoch 2, ours 1\)"),
        ledger.write(epoch) as w,
    ):
        w.add_order(order())

    assert read(ledger_url).open_orders() == []


def test_without_a_lease_nothing_is_written(ledger_url: str) -> None:
    ledger = opened(ledger_url)

    for epoch in (0, 1):
        with pytest.raises(Fenced), ledger.write(epoch) as write:
            write.add_account("main", "cash", CASH)


def test_four_processes_write_and_nothing_is_lost(ledger_url: str) -> None:
    tally = ledger_writers.write_together(ledger_url, processes=4, each=60)

    assert tally.problems == []
    assert tally.transactions == 480


def test_the_write_lock_is_taken_at_once(tmp_path: Path) -> None:
    ledger, epoch = founded(sqlite_url(tmp_path))
    other = Database(sqlite_url(tmp_path))
    sa.event.listen(other.engine, "connect", lambda dbapi, _: dbapi.execute("PRAGMA busy_timeout=50"))

    with ledger.write(epoch), pytest.raises(LedgerError, match="another writer held it"), other.write():
        pytest.fail("a second transaction began inside the first")


# Orders and fills


def test_a_wrong_move_is_refused_and_changes_nothing(ledger_url: str) -> None:
    ledger, epoch = founded(ledger_url)
    with ledger.write(epoch) as write:
        write.add_order(order())

    with pytest.raises(WrongMove, match="NEW cannot become FILLED"), ledger.write(epoch) as write:
        write.move(order(), Status.FILLED)

    assert [e.after for e in read(ledger_url).order_events("o1")] == [Status.NEW]


def test_a_move_from_an_older_version_is_a_conflict(ledger_url: str) -> None:
    ledger, epoch = founded(ledger_url)
    with ledger.write(epoch) as write:
        write.add_order(order())
        write.move(order(), Status.SENDING)

    with pytest.raises(LedgerConflict, match="is SENDING at version 2, not NEW at 1"), ledger.write(epoch) as write:
        write.move(order(), Status.LAPSED)
    with pytest.raises(LedgerConflict, match="is not in this ledger"), ledger.write(epoch) as write:
        write.move(order("o9"), Status.LAPSED)


def test_an_order_enters_new_or_denied_and_once(ledger_url: str) -> None:
    ledger, epoch = founded(ledger_url)
    with ledger.write(epoch) as write:
        write.add_order(order())

    with pytest.raises(WrongMove, match="must enter the ledger NEW or DENIED"), ledger.write(epoch) as write:
        write.add_order(order("o2").become(Status.SENDING, NOW))
    with pytest.raises(LedgerConflict), ledger.write(epoch) as write:
        write.add_order(order())


def test_only_reconciliation_revives_an_order_that_was_not_placed(ledger_url: str) -> None:
    ledger, epoch = founded(ledger_url)
    with ledger.write(epoch) as write:
        write.add_order(order())
        lost = write.move(write.move(order(), Status.SENDING), Status.AMBIGUOUS)
        lost = write.move(lost, Status.NOT_PLACED)
        with pytest.raises(WrongMove):
            write.move(lost, Status.WORKING)
        found = write.move(lost, Status.WORKING, broker_id="77", revive=True)

    assert read(ledger_url).order("o1") == found
    assert ledger.verify() == []


def test_fills_set_the_filled_quantity_and_the_average_price(ledger_url: str) -> None:
    ledger, epoch = founded(ledger_url)
    with ledger.write(epoch) as write:
        working(write, order())
        assert write.add_fill(fill("f1", "40", "10.00"))
        assert write.add_fill(fill("f2", "60", "10.50"))
        after = write.order("o1")

    assert after is not None
    assert (after.filled, after.average_price, after.remaining, after.version) == (100, D("10.30"), 0, 5)
    assert ledger.verify() == []


def test_a_fill_first_heard_of_as_somebody_elses_is_counted_once(ledger_url: str) -> None:
    ledger, epoch = founded(ledger_url)
    with ledger.write(epoch) as write:
        working(write, order())
        assert write.add_fill(fill(of=""))

        assert not write.add_fill(fill())
    assert ledger.verify() == []


def test_hearing_of_a_fill_twice_does_no_harm(ledger_url: str) -> None:
    ledger, epoch = founded(ledger_url)
    with ledger.write(epoch) as write:
        working(write, order())
        assert write.add_fill(fill())
        assert not write.add_fill(fill())
    with ledger.write(epoch) as write:
        assert not write.add_fill(fill())

    account = read(ledger_url).account("main")
    assert account is not None
    assert account.cash == CASH - D("400.90")


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        (fill(price="10.02"), LedgerConflict, "is known as 40 AAPL at 10.01"),
        (fill("f2", "61"), LedgerConflict, r"61 is more than order o1 has left \(60\)"),
        (fill("f2", symbol="MSFT"), LedgerConflict, "does not fit order o1"),
        (fill("f2", of="o9"), LedgerConflict, "its order o9 is not in this ledger"),
        (fill("f2", of="o2"), WrongMove, "order o2 is NEW, it must be at the broker"),
        (fill("f2", price="1e60"), DataError, "at most 40 digits"),
    ],
)
def test_a_fill_that_contradicts_the_ledger_is_refused(tmp_path: Path, wrong: Any, error: Any, says: str) -> None:
    ledger, epoch = founded(sqlite_url(tmp_path))
    with ledger.write(epoch) as write:
        working(write, order())
        write.add_fill(fill())
        write.add_order(order("o2"))

    with pytest.raises(error, match=says), ledger.write(epoch) as write:
        write.add_fill(wrong)

    assert [heard.fill for heard in read(sqlite_url(tmp_path)).fills()] == [fill()]
    assert ledger.verify() == []


def test_a_trade_made_elsewhere_counts_without_an_order(ledger_url: str) -> None:
    ledger, epoch = founded(ledger_url)
    with ledger.write(epoch) as write:
        write.add_fill(fill(of=""))

    assert read(ledger_url).positions("main")["AAPL"].quantity == 40
    assert ledger.verify() == []


def test_a_brokers_order_number_belongs_to_one_sending_of_its_account(ledger_url: str) -> None:
    ledger, epoch = founded(ledger_url)
    with ledger.write(epoch) as write:
        for name in ("o1", "o2"):
            write.add_order(order(name))
            write.add_attempt(Attempt(name, 1, f"client-{name}", NOW, watermark=["5", "6"]))
        write.add_outcome("client-o1", "timeout")
        write.add_outcome("client-o1", "found", broker_order_id="77")
        write.add_outcome("client-o1", "found again", broker_order_id="77")

    with pytest.raises(LedgerConflict, match="belongs to sending client-o1, not client-o2"), ledger.write(epoch) as w:
        w.add_outcome("client-o2", "found", broker_order_id="77")
    with pytest.raises(LedgerConflict), ledger.write(epoch) as write:
        write.add_attempt(Attempt("o2", 2, "client-o1", NOW))
    with pytest.raises(LedgerError, match="was never written"), ledger.write(epoch) as write:
        write.add_outcome("client-o9", "found")


def test_the_same_signal_is_written_once(ledger_url: str) -> None:
    ledger, epoch = founded(ledger_url)
    signal_ = Signal("AAPL", NOW, 0.5, 0.9, "strategy:sma_crossover", "fast above slow")

    with ledger.write(epoch) as write:
        assert [write.add_signal(signal_), write.add_signal(signal_)] == [True, False]


def test_an_account_cannot_be_opened_anew_with_other_cash(ledger_url: str) -> None:
    ledger, epoch = founded(ledger_url)

    with ledger.write(epoch) as write:
        assert not write.add_account("main", "margin", CASH)
        with pytest.raises(LedgerConflict, match="was opened as margin with 100000"):
            write.add_account("main", "margin", CASH + 1)


def test_a_latched_breaker_is_still_latched_after_a_restart(ledger_url: str) -> None:
    ledger, epoch = founded(ledger_url)
    latched = Breaker().mark(D(100_000), NOW).mark(D(90_000), NOW)
    with ledger.write(epoch) as write:
        write.save_breaker("main", Breaker())
        write.save_breaker("main", latched)
    ledger.close()

    assert read(ledger_url).breaker("main") == latched


def test_a_breaker_nobody_can_read_is_latched(tmp_path: Path) -> None:
    ledger, epoch = founded(sqlite_url(tmp_path))
    with ledger.write(epoch) as write:
        write.save_breaker("main", Breaker())
    with ledger.database.write() as db:
        db.execute(sa.text("UPDATE breaker SET body = '{'"))

    found = read(sqlite_url(tmp_path)).breaker("main")
    assert found is not None
    assert found.latched


# Exactness and wholeness


@pytest.mark.parametrize("wrong", [1.5, float("nan"), D("NaN"), D("Infinity"), 100])
def test_an_amount_that_is_not_a_finite_decimal_is_refused(ledger_url: str, wrong: Any) -> None:
    ledger, epoch = founded(ledger_url)

    with pytest.raises(DataError, match="must be a finite Decimal"), ledger.write(epoch) as write:
        write.snapshot_equity("main", CASH, wrong)

    assert read(ledger_url).equity_curve("main") == []


def test_a_time_without_a_zone_is_refused(ledger_url: str) -> None:
    ledger, epoch = founded(ledger_url)

    with pytest.raises(DataError, match="with a zone"), ledger.write(epoch) as write:
        write.add_order(Order("o1", order().request, Status.NEW, NOW.replace(tzinfo=None), NOW))


def test_a_failed_write_that_was_caught_still_undoes_everything(ledger_url: str) -> None:
    ledger, epoch = founded(ledger_url)

    with pytest.raises(LedgerError), ledger.write(epoch) as write:  # noqa: PT012 - the point is what follows
        write.add_order(order("o1"))
        with pytest.raises((sa.exc.IntegrityError, sqlite3.IntegrityError)):
            write.add_order(order("o1"))

    assert read(ledger_url).open_orders() == []


def test_an_error_of_the_caller_undoes_everything(ledger_url: str) -> None:
    ledger, epoch = founded(ledger_url)

    with pytest.raises(KeyboardInterrupt), ledger.write(epoch) as write:  # noqa: PT012
        write.add_order(order())
        raise KeyboardInterrupt

    assert read(ledger_url).open_orders() == []


def test_a_full_disk_is_a_plain_error_and_loses_nothing(tmp_path: Path) -> None:
    ledger, epoch = founded(sqlite_url(tmp_path))
    with ledger.database.engine.connect() as db:
        pages = db.exec_driver_sql("PRAGMA page_count").scalar_one()
    sa.event.listen(
        ledger.database.engine, "checkout", lambda dbapi, *_: dbapi.execute(f"PRAGMA max_page_count={pages}")
    )

    written = []
    with pytest.raises(LedgerUnusable, match="is full; nothing was written"):  # noqa: PT012
        for n in range(1000):
            with ledger.write(epoch) as write:
                write.add_order(order(f"o{n}"))
            written.append(f"o{n}")

    assert [o.id for o in read(sqlite_url(tmp_path)).open_orders()] == sorted(written)
    assert opened(sqlite_url(tmp_path)).verify() == []


def write_under_a_size_limit(url: str, told: Any) -> None:
    import resource

    ledger, epoch = founded(url)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
    try:
        for n in range(10_000):
            with ledger.write(epoch) as write:
                write.add_order(order(f"o{n}"))
            told.send(n)
    except LedgerUnusable as error:
        told.send(str(error))


def test_a_file_that_may_not_grow_is_a_plain_error_and_loses_nothing(tmp_path: Path) -> None:
    here, there = PROCESSES.Pipe(duplex=False)
    process = spawn(write_under_a_size_limit, sqlite_url(tmp_path), there)
    there.close()
    said = list(_received(here))
    process.join()

    assert "nothing was written" in said[-1]
    assert len(read(sqlite_url(tmp_path)).open_orders()) == len(said) - 1
    assert opened(sqlite_url(tmp_path)).verify() == []


def test_a_read_only_ledger_is_a_plain_error(tmp_path: Path) -> None:
    ledger, epoch = founded(sqlite_url(tmp_path))
    ledger.database = Database(sqlite_url(tmp_path), read_only=True)

    with pytest.raises(LedgerUnusable, match="readonly database; nothing was written"), ledger.write(epoch) as write:
        write.add_order(order())
    with pytest.raises(LedgerUnusable, match="cannot be opened for writing"):
        opened("sqlite:////proc/nowhere/ledger.db")


def test_a_second_door_of_one_process_costs_the_first_nothing(tmp_path: Path) -> None:
    """Whatever another process opens and closes meanwhile: SQLite's locks are the process's, and to close the file
    anywhere in it drops them all."""
    url = sqlite_url(tmp_path)
    first = Database(url)
    first.create()
    with first.write() as db:
        db.exec_driver_sql("CREATE TABLE kept (n INTEGER)")
    second = Database(url)
    second.create()
    elsewhere = f"from desk.database import Database; d = Database({url!r}); d.create(); d.close()"
    subprocess.run([sys.executable, "-c", elsewhere], check=True, cwd=ROOT)

    with first.write() as db:
        db.exec_driver_sql("INSERT INTO kept VALUES (1)")

    look = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('SELECT n FROM kept').fetchall())"
    asked = [sys.executable, "-c", look, str(tmp_path / "ledger.db")]
    told = subprocess.run(asked, check=True, capture_output=True, text=True)
    assert told.stdout.strip() == "[(1,)]"
    first.close()
    second.close()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    founded(sqlite_url(tmp_path))[0].close()
    file = tmp_path / "ledger.db"
    body = bytearray(file.read_bytes())
    body[4096:] = random.Random(1).randbytes(len(body) - 4096)
    file.write_bytes(body)

    with pytest.raises(LedgerUnusable):
        opened(sqlite_url(tmp_path))


# Nothing is rewritten

APPEND_ONLY = ["fill", "order_event", "decision", "audit", "attempt", "signal", "control", "limits", "account", "meta"]


def busy_ledger(url: str) -> tuple[Ledger, int]:
    ledger, epoch = founded(url)
    with ledger.write(epoch) as write:
        working(write, order())
        write.add_attempt(Attempt("o1", 1, "client-o1", NOW))
        write.add_decision(Decision(False, [{"gate": "halt"}]))
        write.add_fill(fill())
        write.add_signal(Signal("AAPL", NOW, 0.5, 0.9, "manual", ""))
        write.set_limit("max_quantity", 5, actor="owner")
        write.beat("test engine", "ready", started=NOW)
    return ledger, epoch


@pytest.mark.parametrize("table", APPEND_ONLY)
def test_the_database_itself_refuses_to_change_what_was_written(ledger_url: str, table: str) -> None:
    ledger, _ = busy_ledger(ledger_url)
    column = next(c.name for c in schema.metadata.tables[table].columns if not c.primary_key)
    attacks = [f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}"]
    if ledger.database.path is None:
        attacks.append(f"TRUNCATE {table} CASCADE")
    else:
        attacks.append(f"INSERT OR REPLACE INTO {table} SELECT * FROM {table} LIMIT 1")

    for attack in attacks:
        with pytest.raises(LedgerConflict, match="is append-only"), ledger.database.write() as db:
            db.execute(sa.text(attack))


@pytest.mark.parametrize(("table", "column"), [("orders", "quantity"), ("orders", '"limit"'), ("command", "body")])
def test_a_wish_cannot_be_rewritten_only_its_fate(ledger_url: str, table: str, column: str) -> None:
    ledger, _ = busy_ledger(ledger_url)
    with ledger.database.write() as db:
        db.execute(sa.text("INSERT INTO command VALUES (1, 'k', '', '', '', '', 0, 'queued', '', '', NULL)"))

    for attack in (f"UPDATE {table} SET {column} = '1'", f"DELETE FROM {table}"):
        with pytest.raises(LedgerConflict, match="is append-only"), ledger.database.write() as db:
            db.execute(sa.text(attack))


@pytest.mark.parametrize(
    ("attack", "found"),
    [
        ("UPDATE audit SET details = replace(details, '40', '41') WHERE event = 'fill'", "does not match its hash"),
        ("UPDATE audit SET actor = 'nobody' WHERE seq = 2", "does not match its hash"),
        ("DELETE FROM audit WHERE seq = 3", "1 rows are missing before it"),
        ("DELETE FROM audit WHERE seq = (SELECT max(seq) FROM audit)", "not where its head says"),
        ("INSERT INTO audit SELECT max(seq) + 1, 0, '', '', '{}', 1, '', '' FROM audit", "does not follow the row"),
        ("UPDATE audit SET seq = seq + 1 WHERE seq = (SELECT max(seq) FROM audit)", "rows are missing before it"),
        ("UPDATE fill SET price = '9.99'", "fill f1: differs from its line in the audit"),
        ("DELETE FROM fill", "is in the audit and gone from the fills"),
        ("UPDATE orders SET filled = '0'", "its fills sum to 40"),
        ("UPDATE orders SET status = 'FILLED'", "its events say WORKING"),
        ("UPDATE order_event SET after = 'FILLED' WHERE version = 2", "jumped from 'NEW' to FILLED"),
        ("UPDATE meta SET value = 'live' WHERE key = 'desk'", "differ from the audit's first line"),
    ],
)
def test_verify_finds_what_was_changed_by_hand(ledger_url: str, attack: str, found: str) -> None:
    ledger, _ = busy_ledger(ledger_url)
    assert ledger.verify() == []
    with tampering(ledger_url) as db:
        db.execute(sa.text(attack))

    assert any(found in problem for problem in ledger.verify()), ledger.verify()


# Kill -9


def _received(pipe: Any) -> Iterator[Any]:
    try:
        while True:
            yield pipe.recv()
    except EOFError:
        return


POINTS = ["after_intent", "before_commit", "mid_fill_tx", "after_fill_commit", "after_lease"]


def kill_one(url: str, run: int, point: str, delay_s: float) -> list[str]:
    """One engine from start to SIGKILL; the orders it said were safe."""
    here, there = PROCESSES.Pipe(duplex=False)
    victim = spawn(trade, url, str(run), run, point, there)
    there.close()
    if not point:
        here.poll(5)
        time.sleep(delay_s)
        victim.kill()
    told = list(_received(here))
    victim.join()
    assert victim.exitcode == -signal.SIGKILL
    return told


def test_twenty_kills_lose_nothing_and_leave_nothing_half_done(ledger_url: str) -> None:
    chance = random.Random(7)
    told: list[str] = []
    for run, point in enumerate([*POINTS, *POINTS, *[""] * 10]):
        told += kill_one(ledger_url, run, point, chance.uniform(0, 0.06))

    ledger, reader = opened(ledger_url), Reader(ledger_url, SystemClock())
    assert ledger.verify() == []
    statuses = {o.id: o.status for o in reader.orders_between(NOW, NOW.replace(year=2027))}
    assert {id_: statuses[id_] for id_ in told} == dict.fromkeys(told, Status.FILLED)
    assert len(told) > 20
    fills = [heard.fill for heard in reversed(reader.fills(most=1_000_000))]
    assert reader.account("main") == fold("main", CASH, fills)


# Orders and fills against a model


class LedgerMachine(RuleBasedStateMachine):
    """Random moves and fills, legal or not: the ledger agrees with a dictionary after each."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.url = sqlite_url(Path(self._folder.name))
        self.ledger, self.epoch = founded(self.url)
        self.reader = read(self.url)
        self.status: dict[str, Status] = {}
        self.fills: dict[str, tuple[str, int, Decimal]] = {}

    def teardown(self) -> None:
        assert self.ledger.verify() == []
        self.ledger.close()
        self._folder.cleanup()

    @rule(n=st.integers(0, 4))
    def add(self, n: int) -> None:
        name = f"o{n}"
        try:
            with self.ledger.write(self.epoch) as write:
                write.add_order(order(name, 10))
            assert name not in self.status
            self.status[name] = Status.NEW
        except LedgerConflict:
            assert name in self.status

    @rule(n=st.integers(0, 4), to=st.sampled_from(Status))
    def move(self, n: int, to: Status) -> None:
        name = f"o{n}"
        if name not in self.status:
            return
        try:
            with self.ledger.write(self.epoch) as write:
                current = write.order(name)
                assert current is not None
                write.move(current, to)
            assert to in MAY_BECOME[self.status[name]]
            self.status[name] = to
        except WrongMove:
            assert to not in MAY_BECOME[self.status[name]]

    @rule(n=st.integers(0, 4), id_=st.integers(0, 20), quantity=st.integers(1, 6), cents=st.integers(1, 5000))
    def fill(self, n: int, id_: int, quantity: int, cents: int) -> None:
        name, heard = f"o{n}", (f"o{n}", quantity, D(cents) / 100)
        try:
            with self.ledger.write(self.epoch) as write:
                new = write.add_fill(fill(f"f{id_}", str(quantity), str(heard[2]), of=name))
            assert new == (f"f{id_}" not in self.fills)
            assert self.fills.setdefault(f"f{id_}", heard) == heard
        except LedgerConflict:
            known = self.fills.get(f"f{id_}", heard)
            assert known != heard or name not in self.status or self.filled(name) + quantity > 10
        except WrongMove:
            assert self.status[name] not in AT_BROKER

    def filled(self, name: str) -> int:
        return sum(quantity for of, quantity, _ in self.fills.values() if of == name)

    @invariant()
    def the_ledger_says_what_happened(self) -> None:
        with self.ledger.write(self.epoch) as write:
            found = {o.id: (o.status, o.filled) for o in write.orders(list(Status))}
        assert found == {name: (status, self.filled(name)) for name, status in self.status.items()}
        spent = sum((q * price + D("0.5") for _, q, price in self.fills.values()), D(0))
        account = self.reader.account("main")
        assert account is not None
        assert account.cash == CASH - spent


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(max_examples=12, stateful_step_count=25, deadline=None)
