"""backtest/wishes.py: filters stand between what a strategy wants and what is traded, in a backtest as at the desk."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

from backtest.setup import Setup
from backtester import Backtest, Exit
from domain.errors import UnknownName
from filters.correlation import Correlation
from filters.volume import Volume
from strategies.base import Wanted
from tests.test_backtester import bars

QUIET, LOUD = 1e5, 9e5
LIVELY = Volume(bars=5, percentile=50.0)


@dataclass(frozen=True)
class Told:
    """Wants what it was told, row by row."""

    label: ClassVar[str] = "Told"
    about: ClassVar[str] = "Wants what it was told."

    wants: tuple[float, ...] = ()
    warmup: int = 0

    def target(self, candles: pd.DataFrame) -> Wanted:
        return Wanted(np.array(self.wants[: len(candles)]))


def candles(volumes: str) -> pd.DataFrame:
    """One flat bar a letter: `q` quiet, `L` loud."""
    found = bars(*[(100.0, 101.0, 99.0, 100.0)] * len(volumes))
    return found.assign(volume=[LOUD if letter == "L" else QUIET for letter in volumes])


def held(volumes: str, wants: str, *, good_for: int = 2, first: int = 0, **setup: object) -> str:
    """What is held after each bar's decision: `+`, `-` or `.`, as `wants` says what is wanted."""
    exposure = tuple({"+": 1.0, "-": -1.0, ".": 0.0}[letter] for letter in wants)
    frame = candles(volumes)
    rules = Setup(filters=(LIVELY,), good_for=good_for, **setup)  # type: ignore[arg-type]
    result = Backtest(frame, Told(exposure), rules, start=frame.index[first]).run()
    [one] = result.inputs.ones
    return " " * first + "".join("+" if want > 0 else "-" if want < 0 else "." for want in one.want)


@pytest.mark.parametrize(
    ("volumes", "wants", "traded"),
    [
        ("qqqqqqLqq", "......+++", "......+++"),  # on a lively bar at once, and followed through quiet ones
        ("qqqqqqqLq", "......+++", ".......++"),  # waits for one
        ("qqqqqqqqL", "......+++", "........+"),  # to the last bar it is good for
        ("qqqqqqqqqL", "......++++", ".........."),  # and no longer
        ("qqqqqqLqqq", "......++.-", "......++.."),  # an exit asks nobody; the turn waits
        ("qqqqqqLqqLq", "......++---", "......++.--"),  # what turns round is closed at once, the other side waits
        ("qqLqqqqqq", "..+++++++", "........."),  # nothing is known in a filter's warm-up
    ],
)
def test_a_filter_stops_entries_and_nothing_else(volumes: str, wants: str, traded: str) -> None:
    assert held(volumes, wants) == traded


def test_a_run_begins_with_nothing_held_and_every_signal_new() -> None:
    volumes, wants = "qqqqqqLqqqLqqq", "......++++++++"

    assert held(volumes, wants, first=9) == " " * 9 + ".++++"
    assert held(volumes, wants, first=7, good_for=1) == " " * 7 + "......."


def test_what_the_setup_rules_out_is_not_let_in_later() -> None:
    volumes, wants = "qqqqqqLqqLqq", "......---+++"

    assert held(volumes, wants) == "......---+++"
    assert held(volumes, wants, short=False) == ".........+++"
    assert held(volumes, wants, stop=Exit("atr", 1.0, 8)) == ".........+++"


def test_filters_see_the_other_symbols() -> None:
    frame = candles("qqqqqqLq" * 5)
    prices = 100.0 + np.sin(np.arange(len(frame)) / 3.0)
    frame = frame.assign(open=prices, high=prices + 1, low=prices - 1, close=prices)
    wants = Told(tuple([0.0] * 30 + [1.0] * 10))
    alone = Setup(filters=(Correlation(pairs="AAPL>KO", bars=20, least=0.0),), fraction=0.4)

    both = Backtest({"AAPL": frame, "KO": frame}, wants, alone).run().fills
    only = Backtest({"KO": frame}, wants, alone).run().fills

    assert list(both.symbol) == ["AAPL", "KO"]
    assert only.empty


def test_a_follower_takes_its_leaders_side_while_it_wants_nothing_itself() -> None:
    frame = candles("q" * 60)
    prices = 100.0 + np.sin(np.arange(len(frame)) / 3.0)
    frame = frame.assign(open=prices, high=prices + 1, low=prices - 1, close=prices)
    pairs = Correlation(pairs="AAPL>KO", mode="second trade", bars=20, least=0.5)

    class OfTheLeader(Backtest):
        def target(self, candles: pd.DataFrame) -> np.ndarray:
            wants = np.zeros(len(candles))
            if self.symbol == "AAPL":
                wants[40:50] = 1.0
            else:
                wants[45:47] = -1.0
            return wants

    def wanted(setup: Setup) -> str:
        result = OfTheLeader({"AAPL": frame, "KO": frame}, setup=setup).run()
        want = result.inputs.ones[1].want[38:52]
        return "".join("+" if one > 0 else "-" if one < 0 else "." for one in want)

    assert wanted(Setup(fraction=0.4)) == ".......--....."
    assert wanted(Setup(fraction=0.4, filters=(pairs,))) == "..+++++--+++.."
    unlike = Correlation(pairs="AAPL>KO", mode="second trade", bars=45, least=0.5)
    assert wanted(Setup(fraction=0.4, filters=(unlike,))) == ".......--+++.."


def test_compiled_and_plain_pass_trade_the_same_of_it() -> None:
    chance = np.random.default_rng(3)
    close = np.round(100 + np.cumsum(chance.normal(0, 1, 200)), 2)
    frame = bars(*((c, c + 1, c - 1, c) for c in close)).assign(volume=chance.integers(1, 9, 200) * 1e5)
    wants = Told(tuple(np.repeat(chance.integers(-1, 2, 40), 5).astype(float)))
    test = Backtest(frame, wants, Setup(filters=(LIVELY,), stop=Exit("pct", 2.0)))

    compiled, plainly = test.run(), test.run(plainly=True)

    assert len(compiled.fills) > 10
    pd.testing.assert_frame_equal(compiled.fills, plainly.fills, check_exact=False, rtol=1e-9)


def test_a_test_that_decides_bar_by_bar_takes_no_filters() -> None:
    class Own(Backtest):
        def on_bar(self, bar: object, desk: object) -> None:
            return None

    with pytest.raises(ValueError, match="filters judge what a strategy wants"):
        Own(candles("qqq"), setup=Setup(filters=(LIVELY,)))


def test_a_setup_with_filters_is_written_down_and_read_again() -> None:
    setup = Setup(filters=(LIVELY, Correlation(pairs="NVDA>AMD")), good_for=5)

    assert Setup.of(json.loads(json.dumps(setup.to_dict()))) == setup
    assert "let in by volume 5/50, correlation NVDA>AMD" in setup.words
    assert setup.words.endswith("within 5 bars")
    assert "let in by" not in Setup().words


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"filters": [{"name": "volum"}]}, UnknownName, "Did you mean 'volume'?"),
        ({"filters": [{"name": "volume", "params": {"bras": 5}}]}, UnknownName, "Did you mean 'bars'?"),
        ({"filters": [{"name": "volume", "params": {"bars": 1}}]}, ValueError, "bars must be at least 5: got 1"),
        ({"filters": ["volume"]}, ValueError, "a filter is written"),
        ({"filters": "volume"}, ValueError, "filters must be a list"),
        ({"good_for": -1}, ValueError, "good_for must be at least 0: got -1"),
    ],
)
def test_a_filter_that_cannot_be_is_named(given: dict[str, object], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said.replace("?", r"\?")):
        Setup.of(given)
