"""desk/last_words.py and decided.py: what was decided last, and over a stretch, as the ledger has it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from desk import adopting
from desk.adoptions import Adoption, BarDecision, Done, decide, since_bar
from desk.decided import AS_BEFORE, decided, quiet_bars
from desk.last_words import LastWords
from desk.reader import Reader
from domain.clock import ManualClock
from domain.errors import LedgerUnusable
from filters.base import State
from tests.ledgers import NOW, founded
from tests.nights import SETUP, SMA, replay_of

pytest_plugins = ["tests.ledger_fixtures"]
HOUR = timedelta(hours=1)
ONE = Adoption("s-1", "main", *SMA, ("AAPL", "KO"), "1h", SETUP, "owner", NOW)


def bar(number: int, done: Done, exposure: float | None = 0.0, symbol: str = "AAPL", **more: Any) -> BarDecision:
    return BarDecision(ONE.id, symbol, NOW + number * HOUR, exposure, done, "said", **more)


def written(url: str, *all_of_them: BarDecision) -> Reader:
    ledger, epoch = founded(url)
    with ledger.write(epoch) as write:
        for one in all_of_them:
            decide(write, one)
    return Reader(url, ManualClock(NOW))


def nanos(number: int) -> int:
    return int((NOW + number * HOUR).timestamp()) * 10**9


def test_the_last_words_are_those_of_the_ledger_and_of_what_was_written_since(ledger_url: str) -> None:
    first, then = bar(0, Done.SHADOW, 1.0), bar(1, Done.HELD, 1.0)
    reader, words = written(ledger_url, first, then), LastWords()
    words.read(reader, [ONE])
    before = words.newest("s-1", "AAPL"), words.acted("s-1", "AAPL"), words.newest("s-1", "KO")

    words.keep([bar(2, Done.ORDERED, -1.0)])
    words.read(reader, [ONE])
    after = words.newest("s-1", "AAPL")
    words.read(reader, [])

    assert [one.bar_time for one in before[:2] if one] == [then.bar_time, first.bar_time]
    assert before[2] is None
    assert after == bar(2, Done.ORDERED, -1.0)
    assert (words.newest("s-1", "AAPL"), words.ordered) == (None, [])


async def test_a_decision_that_could_not_be_written_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failed = adopting.decide, list[BarDecision]()

    def full(write: Any, decision: BarDecision, *rest: Any) -> None:
        real(write, decision, *rest)
        if not failed:
            failed.append(decision)
            raise LedgerUnusable("the disk is full")

    monkeypatch.setattr(adopting, "decide", full)

    replay = await replay_of(tmp_path, 7).over(6)

    found = since_bar(replay.desk.reader, replay.one.id, "AAPL", replay.one.since - HOUR)
    assert len(found) == len({one.bar_time for one in found}) >= 6
    [again] = [one for one in found if one.bar_time == failed[0].bar_time]
    assert again.done in (failed[0].done, Done.MISSED)
    assert sum(one.done is not Done.MISSED for one in found) >= 5
    await replay.desk.stop()


def test_a_stretch_tells_what_was_said_on_each_bar(ledger_url: str) -> None:
    missed, ordered = bar(1, Done.MISSED, None), bar(4, Done.ORDERED, 1.0)
    others = bar(0, Done.HELD), bar(2, Done.HELD), bar(3, Done.SHADOW, 1.0), bar(6, Done.HELD, 1.0)
    reader = written(ledger_url, missed, ordered, *others)

    found = decided(reader, "s-1", "AAPL", NOW, NOW + 6 * HOUR)

    assert [found.at(nanos(n)) is AS_BEFORE for n in range(7)] == [True, False, True, False, False, False, False]
    assert [one.done for n in (1, 4) if (one := found.at(nanos(n)))] == [Done.MISSED, Done.ORDERED]
    assert [found.at(nanos(n)) for n in (3, 5, 6)] == [None] * 3
    assert found.after(nanos(1)) is AS_BEFORE
    assert [one.done for n in (0, 2) if (one := found.after(nanos(n)))] == [Done.MISSED, Done.ORDERED]
    assert found.after(nanos(4)) is None


def test_a_backtest_may_begin_where_every_symbol_wanted_nothing_or_changed_its_mind(ledger_url: str) -> None:
    waits = {"state": State(1, 2, 0)}
    apple = (bar(0, Done.HELD), bar(1, Done.ORDERED, 1.0), bar(2, Done.HELD, 1.0), bar(3, Done.ORDERED))
    apple += (bar(4, Done.HELD), bar(5, Done.HELD, **waits), bar(6, Done.MISSED, None), bar(7, Done.HELD))
    coke = [bar(n, Done.HELD, symbol="KO") for n in range(7)]
    reader = written(ledger_url, *apple, *coke)

    def quiet(symbols: tuple[str, ...], first: int) -> list[int]:
        found = quiet_bars(reader, ONE, symbols, NOW, NOW + first * HOUR, NOW + 9 * HOUR)
        return [n for n in range(9) if np.isin(nanos(n), found)]

    assert quiet(("AAPL",), 0) == [0, 1, 3, 4, 7]
    assert quiet(("AAPL",), 2) == [3, 4, 7]
    assert quiet(("AAPL", "KO"), 0) == [0, 1, 3, 4]
    assert quiet((), 0) == []
