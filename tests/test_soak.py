"""The soak in small: a few minutes of a bad day, nothing drifts; and its own checks notice what they are there for."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from pathlib import Path

import pytest

from desk import crash
from domain.orders import Purpose
from tests.campaigns import soak
from tests.campaigns.soak import Soak
from tests.campaigns.soak_seen import Hour, Seen, told
from tests.faults import truth
from tests.faults.bounds import Bounds, twice

MORNING = datetime(2026, 12, 22, 15, 0, tzinfo=UTC)  # 10:00 New York
SYMBOLS = ("AAPL", "KO", "XOM", "SPY", "NVDA", "GLD")


@dataclass(frozen=True)
class Ran:
    """A soak that is over, and what it saw."""

    soak: Soak
    seen: Seen

    @property
    def orders(self) -> list[truth.Row]:
        return truth.Broker.read(self.soak.broker).orders


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(soak, "DIES", 0.5)
        patch.setattr(soak, "BUSY", 0.5)
        one = Soak(tmp_path_factory.mktemp("soak"), seed=5, begins=MORNING, lasts=timedelta(minutes=4), symbols=SYMBOLS)
        yield Ran(one, asyncio.run(one.run()))
    crash.install(None)


def test_nothing_drifts_on_a_bad_line_with_engines_that_die(ran: Ran) -> None:
    assert ran.seen.problems == []
    assert ran.seen.counts["entries sent"] >= 3
    assert ran.seen.counts["fills"] >= 3
    assert ran.seen.deaths >= 1
    assert ran.seen.met["another writer in the ledger"] >= 1
    assert "**Differences: 0.**" in told(ran.seen, len(SYMBOLS), 5, 1.0)


def test_an_entry_beyond_a_limit_is_noticed(ran: Ran) -> None:
    dear = Bounds(lambda symbol, at: ran.soak.walks.last(symbol, at) * 50)

    said = list(dear.broken(ran.soak.ledger))

    assert {line.split(":")[0] for line in said} >= {"max_position_pct", "max_symbol_pct", "max_gross_pct"}


@pytest.mark.parametrize(("name", "most"), [("max_orders_per_minute", 1), ("max_orders_per_day", 2)])
def test_too_many_orders_are_noticed(ran: Ran, monkeypatch: pytest.MonkeyPatch, name: str, most: int) -> None:
    held_to = Bounds.limits.fget
    assert held_to is not None
    strict = property(lambda self: replace(held_to(self), **{name: most}))
    monkeypatch.setattr(Bounds, "limits", strict)

    said = list(Bounds(ran.soak.walks.last).broken(ran.soak.ledger))

    assert any(line.startswith(f"{name}: ") for line in said)


def test_a_decision_sent_twice_is_noticed(ran: Ran) -> None:
    [entry, *_] = [one for one in ran.orders if one["request"]["purpose"] == Purpose.ENTRY]

    assert list(twice(ran.orders, ran.soak.ledger)) == []
    assert any("reached the broker 2 times" in said for said in twice([*ran.orders, entry], ran.soak.ledger))


def test_shares_without_their_stop_are_noticed(ran: Ran, tmp_path: Path) -> None:
    taken_away = Path(shutil.copy(ran.soak.broker, tmp_path))
    with closing(sqlite3.connect(taken_away)) as db, db:
        db.execute("UPDATE orders SET open = 0")
        held = {symbol for symbol, n in db.execute("SELECT symbol, quantity FROM position") if D(n)}

    assert soak._bare(ran.soak.broker) == set()
    assert held
    assert soak._bare(taken_away) == held


def test_what_grows_is_noticed() -> None:
    files = {"ledger.db": 1_000_000, "ledger.db-wal": 1_000_000}
    warm = Hour(MORNING + timedelta(hours=11), 300.0, 25, files, 1_000)
    late = Hour(
        MORNING + timedelta(hours=70), 316.0, 34, {"ledger.db": 2_000_000, "ledger.db-wal": 3 * 10**7, "new": 1}, 1_500
    )

    assert list(Seen(MORNING, hours=[warm, warm]).grown()) == []
    said = [line.split(":")[0] for line in Seen(MORNING, hours=[warm, late]).grown()]
    assert said == ["memory", "open handles", "a row", "files nobody had before", "logs"]
