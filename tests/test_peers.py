"""The bars of docs/peers.md, which peers price wrongly: what ours makes of them, worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backtester import Exit
from benchmarks.backtest_peer_bars import CASES, Case
from tests.conftest import ROOT
from tests.test_backtester import TEN, bars, run, told

EXIT_AT_THE_OPEN, REVERSAL, ENTRY_BAR = CASES
ONE_PER_CENT = replace(TEN, stop=Exit("pct", 1.0))


def answered(case: Case) -> list[tuple[Any, ...]]:
    """Our trades: what is due at a bar's open was decided at the close before it."""
    wishes, wish = [], 0.0
    for row in range(len(case.bars)):
        wish = float(case.due.get(row + 1, wish))
        wishes.append(wish)
    return told(run(bars(*case.bars), wishes, ONE_PER_CENT))


def test_what_is_due_at_the_open_is_sold_there_although_the_bar_falls_through_the_stop_later() -> None:
    """Bought 10 at 100, stop 99. Sold at bar 2's open of 101: 10 x 1 = +10. The low of 98 comes after it."""
    assert answered(EXIT_AT_THE_OPEN) == [("long", 1, 100, 2, 101, 10, "signal")]


def test_a_reversal_at_the_open_is_not_lost_to_the_old_stop() -> None:
    """Bought 10 at 100, stop 99; turned short at bar 2's open of 101: +10. The short's stop is 102.01 and bars
    2 and 3 reach 101.5: it stands, worth 10 x (101 - 97.5) = +35 at the last close."""
    assert answered(REVERSAL) == [
        ("long", 1, 100, 2, 101, 10, "signal"),
        ("short", 2, 101, None, 97.5, 35, "open"),
    ]


def test_the_stop_is_asked_in_the_bar_of_the_entry() -> None:
    """Bought 10 at bar 1's open of 100, and that bar falls to 98: out at the stop of 99, 10 x -1 = -10."""
    assert answered(ENTRY_BAR) == [("long", 1, 100, 1, 99, -10, "stop")]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_page_shows_these_very_bars(case: Case) -> None:
    page = (ROOT / "docs" / "peers.md").read_text(encoding="utf-8")

    assert [row for row in case.bars if f"| {' | '.join(f'{price:g}' for price in row)} |" not in page] == []
