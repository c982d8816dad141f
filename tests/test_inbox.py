"""desk/inbox.py: one key is one wish, whoever presses it and however often."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa

from desk.database import Database
from desk.inbox import Inbox
from domain.clock import ManualClock, SystemClock
from domain.commands import Answer, Command, CommandState, Kind
from domain.errors import LedgerBusy, LedgerConflict, LedgerError, LedgerUnusable
from tests.ledgers import NOW, PROCESSES, founded, order, spawn

pytest_plugins = ["tests.ledger_fixtures"]
DONE = Answer(CommandState.DONE, "placed", {"order": "o1"})


def ask(key: str = "ticket-1", **payload: Any) -> Command:
    return Command(key, Kind.PLACE, "owner", payload or {"symbol": "AAPL", "quantity": "100"})


def inbox_of(url: str) -> Inbox:
    return Inbox(url, ManualClock(NOW))


def test_a_command_waits_until_it_is_answered(ledger_url: str) -> None:
    ledger, epoch = founded(ledger_url)
    inbox = inbox_of(ledger_url)

    assert inbox.append(ask()) == "queued"
    assert (inbox.pending(), inbox.answer("ticket-1"), inbox.state("ticket-1")) == ([ask()], None, "queued")

    with ledger.write(epoch) as write:
        write.answer_command("ticket-1", DONE)

    answer = inbox.answer("ticket-1")
    assert answer is not None
    assert (inbox.pending(), answer.state, answer.said, answer.at) == ([], "done", "placed", NOW)
    assert answer.details == {"order": "o1"}


def test_a_double_click_asks_once(ledger_url: str) -> None:
    founded(ledger_url)
    inbox = inbox_of(ledger_url)

    assert [inbox.append(ask()) for _ in range(5)] == ["queued", *["known"] * 4]
    assert len(inbox.pending()) == 1


def test_an_answered_command_stays_known(ledger_url: str) -> None:
    ledger, epoch = founded(ledger_url)
    inbox = inbox_of(ledger_url)
    inbox.append(ask())
    with ledger.write(epoch) as write:
        write.answer_command("ticket-1", DONE)

    assert inbox.append(ask()) == "known"
    assert inbox.pending() == []


def test_one_key_cannot_stand_for_two_wishes(ledger_url: str) -> None:
    founded(ledger_url)
    inbox = inbox_of(ledger_url)
    inbox.append(ask())

    with pytest.raises(LedgerConflict, match="stands for another wish already"):
        inbox.append(ask(symbol="AAPL", quantity="1000"))

    assert inbox.pending() == [ask()]


def test_commands_are_answered_in_the_order_they_came(ledger_url: str) -> None:
    founded(ledger_url)
    inbox = inbox_of(ledger_url)
    for n in (3, 1, 2):
        inbox.append(ask(f"ticket-{n}"))

    assert [c.key for c in inbox.pending()] == ["ticket-3", "ticket-1", "ticket-2"]
    assert [c.key for c in inbox.pending(most=1)] == ["ticket-3"]


def test_an_answer_and_what_it_did_are_one(ledger_url: str) -> None:
    ledger, epoch = founded(ledger_url)
    inbox = inbox_of(ledger_url)
    inbox.append(ask())

    with pytest.raises(ZeroDivisionError), ledger.write(epoch) as write:  # noqa: PT012 - the point is what follows
        write.add_order(order())
        write.answer_command("ticket-1", DONE)
        raise ZeroDivisionError

    assert inbox.pending() == [ask()]
    with ledger.write(epoch) as write:
        assert write.orders() == []


@pytest.mark.parametrize("key", ["ticket-1", "never-asked"])
def test_a_second_answer_undoes_what_came_with_it_even_when_caught(ledger_url: str, key: str) -> None:
    ledger, epoch = founded(ledger_url)
    inbox_of(ledger_url).append(ask())
    with ledger.write(epoch) as write:
        write.answer_command("ticket-1", DONE)

    with pytest.raises(LedgerError, match="nothing of it is kept"), ledger.write(epoch) as write:  # noqa: PT012
        write.add_order(order())
        with pytest.raises(LedgerConflict, match="answered already, or was never asked"):
            write.answer_command(key, DONE)

    with ledger.write(epoch) as write:
        assert write.orders() == []


def test_an_answer_is_final(ledger_url: str) -> None:
    ledger, epoch = founded(ledger_url)

    with pytest.raises(LedgerError, match="done or refused, not queued"), ledger.write(epoch) as write:
        write.answer_command("ticket-1", Answer(CommandState.QUEUED))


def press(url: str, key: str, times: int, told: Any) -> None:
    inbox = Inbox(url, SystemClock())
    told.send([inbox.append(ask(f"{key}-{n}")) for n in range(times)])


def test_four_tabs_that_press_the_same_buttons_ask_once_each(ledger_url: str) -> None:
    founded(ledger_url)
    here, there = PROCESSES.Pipe(duplex=False)
    tabs = [spawn(press, ledger_url, "button", 50, there) for _ in range(4)]
    said = [word for _ in tabs for word in here.recv()]
    for tab in tabs:
        tab.join()

    assert (said.count("queued"), said.count("known")) == (50, 150)
    assert len(inbox_of(ledger_url).pending(most=1000)) == 50


def test_an_inbox_that_cannot_write_says_so_and_gives_up(ledger_url: str) -> None:
    ledger, epoch = founded(ledger_url)
    if ledger.database.path is None:
        pytest.skip("in PostgreSQL the engine's transaction does not hold up the inbox")
    database = Database(ledger_url)
    sa.event.listen(database.engine, "checkout", lambda dbapi, *_: dbapi.execute("PRAGMA busy_timeout=50"))

    with ledger.write(epoch), pytest.raises(LedgerBusy, match="nothing was written, try again"):
        Inbox(database, ManualClock(NOW)).append(ask())

    assert inbox_of(ledger_url).pending() == []


def test_without_a_ledger_a_door_is_told_to_start_the_engine(tmp_path: Any) -> None:
    with pytest.raises(LedgerUnusable, match="no ledger yet; start the engine first"):
        inbox_of(f"sqlite:///{tmp_path}/none.db").append(ask())

    assert not (tmp_path / "none.db").exists()
