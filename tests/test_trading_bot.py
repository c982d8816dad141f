"""The engine as a process of its own: started, asked, stopped in every way there is, and none the worse for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
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

pytestmark = pytest.mark.xdist_group("processes")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A newcomer's machine: simulated prices on the real clock, so that all processes share the time."""
    own = {"DATA_DIR": str(tmp_path / "data"), "SIMULATED_CLOCK": "real", "DATA_SOURCE": "simulated"}
    return {**os.environ, **own, "PYTHONPATH": str(ROOT)}


@contextmanager
def engine(environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """One running, until it is killed here."""
    process = subprocess.Popen([sys.executable, ROOT / "trading_bot.py"], env=environment, cwd=ROOT)
    try:
        until(
            lambda: (found := reader(environment).engine()) is not None and found.holder.split()[1] == str(process.pid)
        )
        until(lambda: (found := reader(environment).engine()) is not None and found.state == "ready")
        yield process
    finally:
        process.kill()
        process.wait()


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "trading_bot.py"), *arguments]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120)


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
    with engine(environment) as process:
        answer = ask(environment, Kind.SET_LIMIT, {"name": "max_quantity", "value": 77})
        second = run(environment)
        process.send_signal(signal.SIGTERM)
        stopped = process.wait(30)

    assert answer.said == "max_quantity: 10000 is now 77."
    assert (second.returncode, "Another engine runs" in second.stderr) == (3, True)
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
        said = run(environment, "--kill", "cancel", "--reason", "lunch").stdout
        until(lambda: reader(environment).trading_state().level is KillLevel.CANCEL)
        run(environment, "--re-arm", "back from lunch")
        until(lambda: reader(environment).trading_state().state is TradingState.ENABLED)
        status = run(environment, "--status").stdout

    assert "CANCEL is asked for" in said
    assert "enabled: back from lunch" in status


def test_a_stop_that_no_engine_hears_is_the_first_thing_the_next_one_does(environment: dict[str, str]) -> None:
    with engine(environment):
        pass
    run(environment, "--kill", "4")

    with engine(environment):
        assert reader(environment).trading_state().level is KillLevel.HALT


def test_where_everything_is_broken_the_stop_is_a_file(environment: dict[str, str]) -> None:
    broken = {**environment, "DATABASE_URL": "mysql://nowhere"}

    said = run(broken, "--kill", "4").stdout

    assert "HALT" in said
    assert list(Path(environment["DATA_DIR"]).glob("HALT*")) != []


def test_a_level_nobody_knows_is_refused(environment: dict[str, str]) -> None:
    answer = run(environment, "--kill", "5")

    assert (answer.returncode, "1 to 4" in answer.stderr) == (2, True)
