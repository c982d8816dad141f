"""The engine as a process of its own: started, asked, stopped in every way there is, and none the worse for it."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from desk.inbox import Inbox
from desk.lease import Lease
from desk.ledger import Ledger
from desk.reader import Reader
from domain.clock import SystemClock
from domain.commands import Answer, Command, Kind
from domain.trading_state import KillLevel, TradingState
from tests.conftest import ROOT
from tests.programs import Program, forked, started

pytestmark = pytest.mark.xdist_group("processes")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A newcomer's machine: simulated prices on the real clock, so that all processes share the time."""
    own = {"DATA_DIR": str(tmp_path / "data"), "SIMULATED_CLOCK": "real", "DATA_SOURCE": "simulated"}
    return {**os.environ, **own, "PYTHONPATH": str(ROOT)}


@contextmanager
def engine(environment: dict[str, str], *, by_command: bool = False) -> Iterator[Program]:
    """One running, until it is killed here; `by_command`: its imports included."""
    process = (started if by_command else forked)(["trading_bot.py"], environment, told(environment))
    try:
        until(
            lambda: (found := reader(environment).engine()) is not None and found.holder.split()[1] == str(process.pid)
        )
        until(lambda: (found := reader(environment).engine()) is not None and found.state == "ready")
        yield process
    finally:
        process.kill()
        process.wait()


def told(environment: dict[str, str]) -> Path:
    return Path(environment["DATA_DIR"]).parent / f"{uuid.uuid4().hex}.log"


def run(environment: dict[str, str], *arguments: str) -> tuple[int, str]:
    """Its exit status, and what it said."""
    said = told(environment)
    status = forked(["trading_bot.py", *arguments], environment, said).wait(120)
    return status, said.read_text(encoding="utf-8")


def url(environment: dict[str, str]) -> str:
    return f"sqlite:///{environment['DATA_DIR']}/ledger-paper-simulated.db"


def reader(environment: dict[str, str]) -> Reader:
    return Reader(url(environment), SystemClock())


def until(claim: Callable[[], Any], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end, "waited for too long"
        time.sleep(0.05)


def ask(environment: dict[str, str], kind: Kind, payload: dict[str, Any]) -> Answer:
    inbox, key = Inbox(url(environment), SystemClock()), uuid.uuid4().hex
    inbox.append(Command(key, kind, "owner", payload))
    until(lambda: inbox.answer(key) is not None)
    answer = inbox.answer(key)
    assert answer is not None
    return answer


def test_it_starts_answers_and_stops_cleanly_on_sigterm(environment: dict[str, str]) -> None:
    with engine(environment, by_command=True) as process:
        answer = ask(environment, Kind.SET_LIMIT, {"name": "max_quantity", "value": 77})
        status, said = run(environment)
        process.send_signal(signal.SIGTERM)
        stopped = process.wait(30)

    assert answer.said == "max_quantity: 10000 is now 77."
    assert (status, "Another engine runs" in said) == (3, True)
    assert stopped == 0
    assert reader(environment).holder() is None


def test_killed_without_warning_it_starts_again_at_once(environment: dict[str, str]) -> None:
    with engine(environment) as process:
        ask(environment, Kind.KILL, {"level": 1, "reason": "test"})
        process.kill()
    with engine(environment):
        assert reader(environment).trading_state().level is KillLevel.PAUSE

    ledger = Ledger.open(url(environment), desk="paper-simulated", price_source="simulated", clock=SystemClock())
    assert ledger.verify() == []
    assert Lease(ledger.database, SystemClock()).acquire("next") == 3


def test_the_command_line_stops_and_re_arms(environment: dict[str, str]) -> None:
    with engine(environment):
        _, said = run(environment, "--kill", "cancel", "--reason", "lunch")
        until(lambda: reader(environment).trading_state().level is KillLevel.CANCEL)
        run(environment, "--re-arm", "back from lunch")
        until(lambda: reader(environment).trading_state().state is TradingState.ENABLED)
        _, status = run(environment, "--status")

    assert "CANCEL is asked for" in said
    assert "enabled: back from lunch" in status
    assert "WARNING" not in status  # of a page's caches, which no shell has


def test_a_stop_that_no_engine_hears_is_the_first_thing_the_next_one_does(environment: dict[str, str]) -> None:
    with engine(environment):
        pass
    run(environment, "--kill", "4")

    with engine(environment):
        assert reader(environment).trading_state().level is KillLevel.HALT


def test_where_everything_is_broken_the_stop_is_a_file(environment: dict[str, str]) -> None:
    broken = {**environment, "DATABASE_URL": "mysql://nowhere"}

    _, said = run(broken, "--kill", "4")

    assert "HALT" in said
    assert list(Path(environment["DATA_DIR"]).glob("HALT*")) != []


def test_with_wrong_settings_the_stop_still_lies_where_the_engine_looks(environment: dict[str, str]) -> None:
    status, said = run({**environment, "TRADING": "nonsense"}, "--kill", "4")

    assert (status, (Path(environment["DATA_DIR"]) / "HALT").is_file()) == (0, True)
    assert environment["DATA_DIR"] in said


def test_a_stop_that_can_be_written_nowhere_says_so_and_what_is_left_to_do(environment: dict[str, str]) -> None:
    Path(environment["DATA_DIR"]).write_bytes(b"no folder")

    status, said = run(environment, "--kill", "4")

    assert status == 2
    assert "NOT STOPPED" in said
    assert "Traceback" not in said


def test_a_level_nobody_knows_is_refused(environment: dict[str, str]) -> None:
    status, said = run(environment, "--kill", "5")

    assert (status, "1 to 4" in said) == (2, True)
