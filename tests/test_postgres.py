"""The ledger in a real PostgreSQL: what only a server can get wrong. What both must do runs there by `ledger_url`."""

from __future__ import annotations

import threading
import time

import psycopg
import pytest
import sqlalchemy as sa

from desk.database import Database
from desk.inbox import Inbox
from desk.lease import Lease
from desk.reader import Reader
from domain.clock import ManualClock
from domain.commands import Command, Kind
from domain.errors import LeaseHeld, LedgerBusy, LedgerUnusable
from tests.ledgers import NOW, founded, opened, order

pytest_plugins = ["tests.ledger_fixtures"]
pytestmark = pytest.mark.xdist_group("postgres")


def test_every_commit_waits_for_the_disk(postgres_url: str) -> None:
    database = Database(postgres_url)

    with database.read() as db:
        assert db.execute(sa.text("SHOW synchronous_commit")).scalar_one() == "on"


def test_a_second_writer_waits_its_turn_and_then_sees_what_the_first_wrote(postgres_url: str) -> None:
    ledger, epoch = founded(postgres_url)
    other = opened(postgres_url)
    seen: list[int] = []

    def second() -> None:
        with other.write(epoch) as write:
            seen.append(len(write.orders()))
            write.add_order(order("o2"))

    thread = threading.Thread(target=second)
    with ledger.write(epoch) as write:
        thread.start()
        time.sleep(0.2)
        assert seen == []
        write.add_order(order("o1"))
    thread.join()

    assert seen == [1]
    assert ledger.verify() == []


def test_a_writer_gives_up_on_a_lock_that_does_not_come(postgres_url: str) -> None:
    ledger, epoch = founded(postgres_url)
    other = opened(postgres_url)
    sa.event.listen(other.database.engine, "begin", lambda db: db.exec_driver_sql("SET LOCAL lock_timeout = 50"))

    with ledger.write(epoch), pytest.raises(LedgerBusy, match="try again"), other.write(epoch):
        pytest.fail("two engines wrote at once")


def test_the_inbox_does_not_wait_for_the_engine(postgres_url: str) -> None:
    ledger, epoch = founded(postgres_url)

    with ledger.write(epoch):
        assert Inbox(postgres_url, ManualClock(NOW)).append(Command("ticket-1", Kind.PLACE, "owner")) == "queued"


def test_a_session_that_the_server_ended_frees_the_lease_and_a_renewal_takes_it_again(postgres_url: str) -> None:
    lease, other = (Lease(opened(postgres_url).database, ManualClock(NOW)) for _ in range(2))
    lease.acquire("first")
    _end_sessions_with_locks(postgres_url)

    lease.renew()

    with pytest.raises(LeaseHeld):
        other.acquire("second")
    _end_sessions_with_locks(postgres_url)
    assert other.acquire("second") == 2


def _end_sessions_with_locks(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as db:
        holders = "SELECT pid FROM pg_locks WHERE locktype = 'advisory'"
        db.execute(f"SELECT pg_terminate_backend(pid) FROM ({holders}) AS holder".encode())
        for _ in range(100):
            if not db.execute(holders.encode()).fetchall():
                return
            time.sleep(0.02)


def test_a_lost_server_is_a_plain_error_without_the_password(postgres_url: str) -> None:
    ledger, epoch = founded(postgres_url)
    gone = postgres_url.rsplit("/", 1)[0] + "/gone"

    with pytest.raises(LedgerUnusable, match="does not exist") as caught:
        opened(gone)
    with pytest.raises(LedgerUnusable, match="nothing was written") as lost, ledger.write(epoch) as write:  # noqa: PT012
        _end_every_session(postgres_url)
        write.add_order(order())

    secret = postgres_url.split(":")[2].split("@")[0]
    assert secret not in str(caught.value) + str(lost.value)
    with ledger.write(epoch) as write:
        write.add_order(order())
    assert [o.id for o in Reader(postgres_url, ManualClock(NOW)).open_orders()] == ["o1"]


def _end_every_session(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_a_driver_need_not_be_named(postgres_url: str) -> None:
    for spelled in ("postgres://", "postgresql://", "postgresql+psycopg2://"):
        database = Database(postgres_url.replace("postgresql://", spelled))
        with database.read() as db:
            assert db.dialect.driver == "psycopg"
