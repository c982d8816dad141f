"""desk/reader.py: every door sees what is committed, costs the engine nothing, and is told to stop when in doubt."""

from __future__ import annotations

import time
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from desk.control import account_scope, instrument_scope
from desk.reader import Reader
from desk.records import Decision
from domain.clock import ManualClock, SystemClock
from domain.commands import Answer, Command, CommandState, Kind
from domain.errors import LedgerUnusable
from domain.orders import Order, Side, Status
from domain.positions import fold
from domain.trading_state import KillLevel, TradingState
from tests.ledgers import CASH, NOW, PROCESSES, fill, founded, order, spawn, tampering, working

pytest_plugins = ["tests.ledger_fixtures"]
D = Decimal


def read(url: str) -> Reader:
    return Reader(url, ManualClock(NOW + timedelta(seconds=7)))


def test_a_desk_nobody_has_started_is_empty(ledger_url: str) -> None:
    reader = read(ledger_url)

    lists = [reader.open_orders(), reader.fills(), reader.accounts(), reader.audit_tail(), reader.controls()]
    lists += [reader.equity_curve("main"), reader.limit_history(), reader.decisions(), reader.order_events("o1")]
    assert lists == [[]] * 9
    nothing = [reader.account("main"), reader.engine(), reader.heartbeat_age(), reader.holder(), reader.order("o1")]
    assert nothing == [None] * 5
    assert (reader.positions("main"), reader.limits(), reader.owner(), reader.queued()) == ({}, {}, {}, 0)
    assert (reader.trading_state().state, reader.trading_state().reason) == (
        TradingState.DISABLED,
        "nobody has started this desk yet",
    )


def test_a_reader_sees_the_desk_that_is_started_after_it(ledger_url: str) -> None:
    reader = read(ledger_url)
    assert reader.accounts() == []

    founded(ledger_url)

    [account] = reader.accounts()
    assert (account.name, account.kind, account.starting_cash, account.created) == ("main", "margin", CASH, NOW)
    assert reader.owner()["desk"] == "paper"


def test_a_reader_cannot_write(ledger_url: str) -> None:
    founded(ledger_url)
    database = read(ledger_url)._database

    with pytest.raises(LedgerUnusable, match="read"), database.write() as db:
        db.execute(sa.text("UPDATE breaker SET actor = 'me'"))
    with pytest.raises(LedgerUnusable, match="read"), database.write() as db:
        db.execute(sa.text("CREATE TABLE mine (x TEXT)"))


def test_orders_open_and_of_a_day(ledger_url: str) -> None:
    ledger, epoch = founded(ledger_url)
    yesterday = Order("old", order().request, Status.NEW, NOW - timedelta(days=1), NOW)
    with ledger.write(epoch) as write:
        write.add_order(yesterday)
        for name in ("o1", "o2"):
            write.add_order(order(name, symbol="MSFT" if name == "o2" else "AAPL"))
        write.move(order("o1"), Status.DENIED, reasons=("no quote", "halted"))
    reader = read(ledger_url)

    assert [o.id for o in reader.open_orders()] == ["old", "o2"]
    assert [o.id for o in reader.open_orders(symbol="MSFT")] == ["o2"]
    assert [o.id for o in reader.orders_between(NOW, NOW + timedelta(days=1))] == ["o1", "o2"]
    denied = reader.order("o1")
    assert denied is not None
    assert denied.reasons == ("no quote", "halted")
    assert [(e.before, e.after, e.epoch) for e in reader.order_events("o1")] == [("", "NEW", 1), ("NEW", "DENIED", 1)]


def test_fills_are_paged_newest_first(ledger_url: str) -> None:
    ledger, epoch = founded(ledger_url)
    with ledger.write(epoch) as write:
        working(write, order())
        for n in range(7):
            write.add_fill(fill(f"f{n}", "1"))
    reader = read(ledger_url)

    first = reader.fills(most=3)
    second = reader.fills(most=3, before=first[-1].seq)

    assert [heard.fill.id for heard in first + second] == ["f6", "f5", "f4", "f3", "f2", "f1"]
    assert reader.fills(symbol="MSFT") == reader.fills(account="other") == []


def test_positions_follow_the_fills_and_leave_out_what_is_closed(ledger_url: str) -> None:
    ledger, epoch = founded(ledger_url)
    with ledger.write(epoch) as write:
        write.add_fill(fill("f1", "40", "10", of=""))
        write.add_fill(fill("f2", "5", "20", of="", symbol="MSFT"))
    reader = read(ledger_url)
    assert reader.positions("main").keys() == {"AAPL", "MSFT"}

    with ledger.write(epoch) as write:
        write.add_fill(fill("f3", "40", "11", of="", side=Side.SELL))
        write.add_account("second", "cash", D(10))
        write.add_fill(fill("f4", "1", "3", of="", account="second"))

    assert reader.positions("main").keys() == {"MSFT"}
    account, second = reader.account("main"), reader.account("second")
    assert account is not None
    assert second is not None
    assert (account.realised, account.cash) == (D("38.5"), CASH - 100 + 40 - D("1.5"))
    assert second.cash == D("6.5")


def test_what_a_door_does_to_its_answer_does_not_reach_the_next(ledger_url: str) -> None:
    ledger, epoch = founded(ledger_url)
    with ledger.write(epoch) as write:
        write.add_fill(fill(of=""))
    reader = read(ledger_url)
    mine = reader.account("main")
    assert mine is not None
    mine.positions.clear()

    assert reader.positions("main")["AAPL"].quantity == 40


def test_a_ledger_begun_anew_is_folded_anew(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    ledger, epoch = founded(url)
    with ledger.write(epoch) as write:
        write.add_fill(fill(of=""))
    reader = read(url)
    assert reader.positions("main")

    ledger.close()
    for file in tmp_path.iterdir():
        file.unlink()
    founded(url)

    assert reader.positions("main") == {}


def test_ten_thousand_fills_sum_exactly_and_are_folded_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    ledger, epoch = founded(url)
    with ledger.write(epoch) as write:
        working(write, order(quantity=10_001))
        for n in range(10_000):
            write.add_fill(fill(f"f{n}", "1", str(10 + D(n) / 100), fee=D("0.001")))
    reader = read(url)

    account = reader.account("main")
    filled = reader.order("o1")

    closed_form = D("10") * 10_000 + D("0.01") * (9_999 * 10_000 // 2)
    assert account is not None
    assert filled is not None
    assert account.cash == CASH - closed_form - D("10.000")
    assert (filled.filled, filled.average_price) == (10_000, closed_form / 10_000)
    assert account == fold("main", CASH, [heard.fill for heard in reversed(reader.fills(most=10_000))])
    with ledger.write(epoch) as write:
        write.add_fill(fill("last", "1", "1"))
    assert _seconds(lambda: reader.account("main")) < 0.05
    assert reader.positions("main")["AAPL"].quantity == 10_001


def _seconds(act: Any) -> float:
    begin = time.perf_counter()
    act()
    return time.perf_counter() - begin


def keep_trading(url: str, epoch: int, count: int, told: Any) -> None:
    from tests.ledgers import opened

    ledger = opened(url, SystemClock())
    for n in range(count):
        with ledger.write(epoch) as write:
            working(write, order(f"w{n}", 2))
            write.add_fill(fill(f"w{n}-1", "1", "10", of=f"w{n}", fee=D(0)))
            write.add_fill(fill(f"w{n}-2", "1", "12", of=f"w{n}", fee=D(0)))
    told.send("done")


def test_a_reader_never_sees_half_a_transaction(ledger_url: str) -> None:
    _, epoch = founded(ledger_url, SystemClock())
    here, there = PROCESSES.Pipe(duplex=False)
    writer = spawn(keep_trading, ledger_url, epoch, 100, there)
    reader, looks = read(ledger_url), 0
    while not here.poll():
        account = reader.account("main")
        assert account is not None
        assert (CASH - account.cash) % 22 == 0
        looks += 1
    writer.join()

    assert looks > 5
    assert len(reader.open_orders()) == 100


# The right to trade


def test_the_strictest_switch_wins(ledger_url: str) -> None:
    ledger, epoch = founded(ledger_url)
    reader = read(ledger_url)
    with ledger.write(epoch) as write:
        write.set_control(account_scope("main"), TradingState.REDUCE_ONLY, reason="loss", actor="breaker")
        write.set_control(instrument_scope("AAPL"), TradingState.DISABLED, reason="split", actor="owner")
        assert write.control("main", "AAPL").reason == "split"

    states = [reader.trading_state(*scope).state for scope in ((), ("main",), ("main", "AAPL"), ("", "MSFT"))]
    assert states == ["enabled", "reduce only", "disabled", "enabled"]
    assert [c.scope for c in reader.controls()] == ["account:main", "global", "instrument:AAPL"]

    with ledger.write(epoch) as write:
        write.set_control(
            "global", TradingState.DISABLED, reason="a bug is suspected", actor="owner", level=KillLevel.HALT
        )
    found = reader.trading_state("main")
    assert (found.state, found.level, found.reason, found.actor) == ("disabled", 4, "a bug is suspected", "owner")


@pytest.mark.parametrize(
    "damage",
    [
        "DROP TABLE control",
        "DELETE FROM control",
        "UPDATE control SET state = 'banana'",
        "ALTER TABLE control DROP COLUMN state",
    ],
)
def test_a_trading_state_that_cannot_be_read_is_disabled(ledger_url: str, damage: str) -> None:
    ledger, epoch = founded(ledger_url)
    with tampering(ledger_url) as db:
        db.execute(sa.text(damage))

    assert read(ledger_url).trading_state("main", "AAPL").state is TradingState.DISABLED
    if "UPDATE" in damage or "DELETE" in damage:
        with ledger.write(epoch) as write:
            assert write.control("main", "AAPL").state is TradingState.DISABLED


def test_rubbish_in_place_of_a_ledger_is_disabled_and_an_error_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"this is no database, whatever its name says" * 100)
    reader = read(f"sqlite:///{tmp_path}/ledger.db")

    assert reader.trading_state().state is TradingState.DISABLED
    with pytest.raises(LedgerUnusable, match="not a database"):
        reader.open_orders()


def test_a_server_that_does_not_answer_is_disabled() -> None:
    reader = read("postgresql://desk:very-secret@127.0.0.1:1/none")

    found = reader.trading_state()
    assert found.state is TradingState.DISABLED
    assert "very-secret" not in found.reason


# Everything else a door asks


def test_decisions_of_an_order_and_of_a_command(ledger_url: str) -> None:
    ledger, epoch = founded(ledger_url)
    denied = Decision(
        False,
        [{"gate": "quote", "passed": False, "reason": "no quote"}],
        {"bid": float("nan"), "ask": D("10.10")},
        {"symbol": "AAPL"},
        command_key="ticket-1",
    )
    with ledger.write(epoch) as write:
        write.add_decision(denied)
        write.add_order(order(), Decision(True, []))
    reader = read(ledger_url)

    [preview] = reader.decisions(command_key="ticket-1")
    [placed] = reader.decisions(order_id="o1")
    assert (preview.verdicts, preview.request, preview.at) == (denied.verdicts, denied.request, NOW)
    assert preview.inputs == {"bid": "nan", "ask": "10.10"}
    assert (placed.approved, placed.order_id) == (True, "o1")
    assert reader.decisions() == [placed, preview]


def test_limits_now_and_their_history(ledger_url: str) -> None:
    ledger, epoch = founded(ledger_url)
    with ledger.write(epoch) as write:
        write.set_limit("max_quantity", 500, actor="owner")
        write.set_limit("max_quantity", 900, actor="second owner")
        write.set_limit("symbols", ["AAPL"], actor="owner")
    reader = read(ledger_url)

    assert reader.limits() == {"max_quantity": 900, "symbols": ["AAPL"]}
    changes = [(c.old, c.new, c.actor, c.at) for c in reader.limit_history("max_quantity")]
    assert changes == [(500, 900, "second owner", NOW), (None, 500, "owner", NOW)]


def test_the_heartbeat_and_its_age(ledger_url: str) -> None:
    ledger, epoch = founded(ledger_url)
    for state in ("recovering", "ready"):
        with ledger.write(epoch) as write:
            write.beat("test engine", state, started=NOW, details={"symbols": 31})
    reader = read(ledger_url)

    status = reader.engine()
    assert status is not None
    assert (status.state, status.details, status.epoch) == ("ready", {"symbols": 31}, 1)
    assert reader.heartbeat_age() == timedelta(seconds=7)


def test_equity_points_once_a_moment(ledger_url: str) -> None:
    ledger, epoch = founded(ledger_url)
    with ledger.write(epoch) as write:
        assert write.snapshot_equity("main", CASH, CASH)
        assert not write.snapshot_equity("main", CASH, CASH + 1)
    reader = read(ledger_url)

    [point] = reader.equity_curve("main")
    assert (point.at, point.cash, point.equity) == (NOW, CASH, CASH)
    assert reader.equity_curve("main", since=NOW + timedelta(seconds=1)) == []


def test_a_command_and_what_became_of_it(ledger_url: str) -> None:
    from desk.inbox import Inbox

    ledger, epoch = founded(ledger_url)
    asked = Command("ticket-1", Kind.CANCEL, "owner", {"order": "o1"})
    Inbox(ledger_url, ManualClock(NOW)).append(asked)
    reader = read(ledger_url)
    assert reader.command("ticket-1") == (asked, Answer(CommandState.QUEUED))
    assert reader.queued() == 1

    with ledger.write(epoch) as write:
        write.answer_command("ticket-1", Answer(CommandState.REFUSED, "already filled"))

    assert reader.command("ticket-1") == (asked, Answer(CommandState.REFUSED, "already filled", at=NOW))
    assert reader.command("ticket-2") is None
