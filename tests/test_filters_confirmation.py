"""The filter of trained confirmations: it passes what an armed one confirms, on that very bar, or nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from backtest.setup import Exit, Setup
from backtest.wishes import judged_wants, misfit
from domain.candles import expected, frame, resample, timeframe
from domain.instruments import instrument
from domain.models import use_shelf
from filters.base import REACH, Filter, filtered, find, judged
from filters.confirmation import UNKNOWN_WARMUP, ConfirmationFilter
from learning.confirming import use_folder
from model_manager import Shelf
from strategies.base import Wanted, asked
from strategies.sma_crossover import SmaCrossover
from tests import made_models
from tests.campaigns.confirming import strategy
from tests.conftest import ROOT
from tests.made_confirmations import frames, saved, taught

CANDLES = frames()["PLANT003USDT"]
WANTED = asked(strategy(), CANDLES)
SEEN_UNTIL = int(taught().said["split"]["seen_until"])
DAY = 86_400_000_000_000


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    """An empty one, until a test puts a confirmation into it."""
    before = use_folder(tmp_path)
    yield tmp_path
    use_folder(before)


def asking(**more: Any) -> ConfirmationFilter:
    return ConfirmationFilter(**{"confirmation": "sma_crossover", **more})


def passes_nothing(why: str, which: ConfirmationFilter) -> None:
    said = judged(which, CANDLES, WANTED)
    assert not said.passes.any()
    assert why in said.why(-1)


def test_it_is_a_part_of_the_drawer() -> None:
    assert find("confirmation") is ConfirmationFilter
    assert isinstance(asking(), Filter)


def test_it_passes_signals_of_a_high_probability_and_no_others(folder: Path) -> None:
    found = saved(folder)
    said, p = judged(asking(), CANDLES, WANTED), found.answers(CANDLES).p
    side, times = np.sign(WANTED.exposure), CANDLES.index.asi8
    turned = np.r_[False, side[1:] != side[:-1]] & (side != 0.0)

    assert said.passes.any()
    assert np.array_equal(said.passes, (np.nan_to_num(p) >= 0.7) & (times >= SEEN_UNTIL))
    assert not said.passes[~turned].any()
    row = int(np.flatnonzero(said.passes)[0])
    assert said.why(row).startswith(f"sma_crossover_v1 gives {p[row]:.1%} that this earns something (target 1.5 %")
    refused = int(np.flatnonzero((p < 0.7) & (times >= SEEN_UNTIL))[0])
    assert said.why(refused).endswith("70.0% are asked for")
    assert "takes a side, and only that; the last one was 1 bars ago" in said.why(row + 1) or turned[row + 1]


def test_what_it_lets_in_earns_more_than_what_it_stops(folder: Path) -> None:
    """Through the drawer's own door, on bars that were only judged."""
    saved(folder)
    earned, stopped = [], []
    for candles in list(frames().values())[:6]:
        wanted = asked(strategy(), candles)
        held, _ = filtered(wanted, [judged(asking(), candles, wanted)])
        side, close = np.sign(wanted.exposure), candles["close"].to_numpy()
        fresh = np.flatnonzero((side[1:] != side[:-1]) & (side[1:] != 0) & (CANDLES.index.asi8[1:] >= SEEN_UNTIL)) + 1
        for row in fresh[fresh < len(close) - 1]:
            into = earned if held.exposure[row] else stopped
            into.append(side[row] * (close[row + 1] / close[row] - 1.0))

    assert len(earned) > 30
    assert np.mean(earned) > 0.008 > np.mean(stopped) + 0.005


def test_a_window_of_as_many_bars_as_the_drawer_allows_gives_the_last_row_of_all_of_history(folder: Path) -> None:
    saved(folder)
    which = asking()
    whole, need = judged(which, CANDLES, WANTED), REACH * which.warmup + 1
    rows = np.r_[np.flatnonzero(whole.passes)[::4], np.arange(len(CANDLES) - 12, len(CANDLES))]

    assert need >= taught().said["reach"] + 1
    for row in rows:
        part = CANDLES.iloc[row + 1 - need : row + 1]
        said = judged(which, part, asked(strategy(), part))
        assert said.passes[-1] == whole.passes[row]
        assert said.why(-1) == whole.why(row)


def test_no_later_bar_changes_a_verdict(folder: Path) -> None:
    saved(folder)
    whole = judged(asking(), CANDLES, WANTED).passes
    for cut in (3300, 3600, 3900):
        other = CANDLES.copy()
        other.iloc[cut:] *= 1.7
        assert np.array_equal(judged(asking(), other, asked(strategy(), other)).passes[:cut], whole[:cut])


# Nothing passes


def test_without_one_nothing_passes_and_the_way_to_one_is_told() -> None:
    passes_nothing("there is no confirmation sma_crossover in", asking())
    passes_nothing("python ml_pipeline.py --confirm STRATEGY makes one", asking())
    passes_nothing("no confirmation is named: there is none", ConfirmationFilter())
    assert asking().warmup == UNKNOWN_WARMUP


def test_what_is_not_armed_lets_nothing_through_and_says_why(folder: Path) -> None:
    saved(folder, evidence={"n": 120})
    passes_nothing("sma_crossover_v1 is not armed: only 120 events could judge it and 200 are needed", asking())


def test_the_newest_version_counts_unless_one_is_named(folder: Path) -> None:
    saved(folder)
    saved(folder, evidence={"n": 120})

    passes_nothing("sma_crossover_v2 is not armed", asking())
    assert judged(asking(version=1), CANDLES, WANTED).passes.any()


def test_a_damaged_one_lets_nothing_through(folder: Path) -> None:
    saved(folder)
    assert judged(asking(), CANDLES, WANTED).passes.any()
    path = folder / "sma_crossover_v1.txt"
    path.write_bytes(path.read_bytes()[:-1])

    passes_nothing("was changed since it was saved", asking())


def test_one_of_other_features_lets_nothing_through(folder: Path) -> None:
    saved(folder, features={"sha256": "0" * 64})
    passes_nothing("learned from other features", asking())


def test_one_whose_strategy_is_gone_lets_nothing_through(folder: Path) -> None:
    saved(folder, primary={"strategy": "sma_crossing"})
    passes_nothing("no strategy is called 'sma_crossing'", asking())


def test_one_whose_model_is_another_by_now_lets_nothing_through(folder: Path, tmp_path: Path) -> None:
    manager, entry = made_models.saved(tmp_path / "models")
    manager.point("champion", entry.called)
    facts = manager.facts("champion")
    model = {"called": facts.called, "sha256": facts.sha256, "seen_until": facts.seen_until}
    before = use_shelf(Shelf(manager))
    try:
        found = saved(folder, primary={"strategy": "lstm", "params": {}, "model": model})
        assert found.problem() == ""
        manager.point("champion", made_models.saved(tmp_path / "models", seed=1)[1].called)

        passes_nothing("learned to judge pattern_nn_v1, and the strategy asks pattern_nn_v2 now", asking())
    finally:
        use_shelf(before)


@pytest.mark.parametrize("rows", [0, 1, 2, 60, 200])
def test_a_few_bars_are_no_trouble(folder: Path, rows: int) -> None:
    saved(folder)
    few = CANDLES.iloc[:rows]

    assert judged(asking(), few, asked(strategy(), few)).passes.tolist() == [False] * rows


def test_less_than_what_breaks_even_may_not_be_asked_for(folder: Path) -> None:
    saved(folder, break_even=0.42)
    passes_nothing("least must be at least 42.0%, where sma_crossover_v1 breaks even: got 41.0%", asking(least=0.41))
    assert judged(asking(least=0.42), CANDLES, WANTED).passes.sum() > judged(asking(), CANDLES, WANTED).passes.sum()


def test_of_bars_it_learned_from_it_passes_nothing_unless_told_to(folder: Path) -> None:
    saved(folder)
    early = CANDLES[CANDLES.index.asi8 < SEEN_UNTIL]
    wanted = asked(strategy(), early)

    assert not judged(asking(), early, wanted).passes.any()
    assert judged(asking(unseen=False), early, wanted).passes.any()
    row = int(np.flatnonzero(judged(asking(unseen=False), early, wanted).passes)[0])
    assert "learned from bars up to" in judged(asking(), early, wanted).why(row)


def test_a_stale_one_passes_nothing_from_the_bar_on_at_which_it_is(folder: Path) -> None:
    end = SEEN_UNTIL + 10 * DAY
    saved(folder, split={"data_until": end - 5 * DAY})
    said = judged(asking(max_age_days=5), CANDLES, WANTED)
    times = CANDLES.index.asi8

    assert said.passes[times <= end].any()
    assert not said.passes[times > end].any()


def test_another_strategys_wish_is_not_confirmed(folder: Path) -> None:
    saved(folder)
    other = asked(SmaCrossover(fast=10, slow=30), CANDLES)
    own, mine = judged(asking(), CANDLES, WANTED).passes, judged(asking(), CANDLES, other)
    differs = np.sign(other.exposure) != np.sign(WANTED.exposure)

    assert (own & differs).any()
    assert not mine.passes[differs].any()
    row = int(np.flatnonzero(own & differs)[0])
    assert "judges sma_crossover (fast 5, slow 15" in mine.why(row)
    nothing = Wanted(np.zeros(len(CANDLES)))
    assert not judged(asking(), CANDLES, nothing).passes.any()


def test_other_markets_other_bars_and_other_hours_are_not_confirmed(folder: Path) -> None:
    saved(folder)
    assert "market like PLANT000USDT's" in judged(asking(), CANDLES, WANTED, symbol="AAPL").why(-1)
    assert not judged(asking(), CANDLES, WANTED, symbol="AAPL").passes.any()
    assert judged(asking(), CANDLES, WANTED, symbol="BTCUSDT").passes.any()
    coarse = resample(CANDLES, timeframe("4h"), instrument("BTCUSDT"))
    assert not judged(asking(unseen=False), coarse, asked(strategy(), coarse)).passes.any()


def test_hours_outside_the_session_are_not_confirmed(folder: Path) -> None:
    """The same trees for a stock: pre-market bars are neither an event nor part of one's past."""
    saved(folder, market="AAPL", split={"seen_until": 0})
    aapl, hour = instrument("AAPL"), timeframe("1h")
    begin, end = pd.Timestamp("2020-01-06", tz="UTC"), pd.Timestamp("2020-12-31", tz="UTC")
    regular = expected(begin.to_pydatetime(), end.to_pydatetime(), hour, aapl)
    early = regular[:: len(regular) // 40] - hour.nanos
    times = np.unique(np.r_[regular, early])
    drawn = made_models.hours(len(times), seed=5)
    candles = frame(times, {name: drawn[name].to_numpy() for name in drawn})
    outside = np.isin(times, early) & ~np.isin(times, regular)
    found = judged(asking(least=0.43), candles, asked(strategy(), candles))

    assert not found.passes[outside].any()
    assert "reads bars of regular hours" in found.why(int(np.flatnonzero(outside)[-1]))


def test_filters_are_looked_through_without_the_trees() -> None:
    code = "import sys, filters.base, filters.confirmation as f; filters.base.unusable(); f.PART(); "
    code += "print([m for m in ('lightgbm', 'torch', 'sklearn', 'numba') if m in sys.modules])"

    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)

    assert out.stdout.strip() == "[]"


WAYS_OUT = Setup(stop=Exit("pct", 1.0), target=Exit("pct", 1.5), max_bars=20)


@pytest.mark.parametrize(
    ("exits", "timed", "said"),
    [
        ({}, 0.6, ""),
        ({"max_bars": 0}, 0.05, ""),
        ({"max_bars": 0}, 0.6, "held as long as is wanted, not 20 bars at most (which ended 60% of what"),
        ({"max_bars": 10}, 0.0, "held 10 bars at most, not 20 bars at most"),
        ({"stop": Exit("pct", 1.1)}, 0.0, "stop 1.1 %, not 1 %"),
        ({"target": None}, 0.0, "target none, not 1.5 %"),
        ({"trail": Exit("atr", 2.0)}, 0.0, "trailing stop 2 ATR"),
    ],
)
def test_beside_other_ways_out_than_it_learned_with_it_is_a_misfit_and_lets_nothing_in(
    folder: Path, exits: dict[str, Any], timed: float, said: str
) -> None:
    saved(folder, timed_out=timed)
    setup = replace(WAYS_OUT, filters=(asking(),), **exits)

    [word] = judged_wants(setup, {"PLANT003USDT": (CANDLES, WANTED)})["PLANT003USDT"][1]

    assert said in misfit(setup)
    assert bool(said) == ("is a misfit: it learned with other ways out" in misfit(setup))
    assert bool(word.passes.any()) == (not said)
    assert said in word.why(-1)
