"""learning/labels.py: what is asked of a model, worked out by hand, and when the answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.candles import empty, frame
from domain.errors import UnknownName
from learning.labels import KINDS, Label, labelled, volatility
from learning.planted import planted

HOUR = 3_600_000_000_000
STILL = [(100.0, 101.0, 99.0, 100.0)] * 3
NOISE = planted("noise", symbols=1, bars=400, seed=5).frames["PLANT000USDT"]


def bars(rows: list[tuple[float, float, float, float]]) -> pd.DataFrame:
    o, h, l, c = np.array(rows).T  # noqa: E741 - the field's letters
    values = {"open": o, "high": h, "low": l, "close": c, "volume": np.ones(len(rows))}
    return frame(np.arange(len(rows)) * HOUR, values)


def bracket(*after: tuple[float, float, float, float], horizon: int = 3, cost: float = 0.0) -> tuple[int, int, float]:
    """The answer of row 2, where the volatility is exactly 1 %: target at 102, stop at 99 of an entry at 100."""
    moves = [(100.0, 101.0, 100.0, 101.0), (101.0, 101.0, 99.99, 99.99)]  # +1 %, -1 %
    candles = bars([(100.0, 100.0, 100.0, 100.0), *moves, *after])
    found = labelled(candles, Label(horizon=horizon, pt=2.0, sl=1.0, vol_span=2, cost_bps=cost))
    return int(found.y[2]), int(found.end[2]), round(float(found.ret[2]), 10)


def test_the_volatility_is_the_exponential_mean_of_squared_returns() -> None:
    found = volatility(np.array([100.0, 101.0, 101.0, 101.0 * 1.03]), 2)  # returns 1 %, 0, 3 %; alpha 2/3
    second = 1e-4 / 3
    third = second / 3 + 2 * 9e-4 / 3

    assert np.isnan(found[:2]).all()
    assert found[2:] == pytest.approx([np.sqrt(second), np.sqrt(third)])


def test_a_target_that_is_touched_inside_a_bar_is_earned() -> None:
    assert bracket((100.0, 100.5, 99.5, 100.0), (100.0, 102.5, 99.5, 100.0), *STILL) == (1, 4, 0.02)


def test_a_stop_that_is_touched_inside_a_bar_is_lost() -> None:
    assert bracket((100.0, 100.5, 98.0, 100.4), *STILL) == (0, 3, -0.01)


def test_where_a_bar_holds_both_the_stop_was_first() -> None:
    assert bracket((100.0, 103.0, 98.0, 102.0), *STILL) == (0, 3, -0.01)


def test_a_gap_through_the_stop_is_paid_in_full_and_one_beyond_the_target_is_taken() -> None:
    assert bracket((100.0, 100.5, 99.5, 100.0), (97.0, 98.0, 96.0, 98.0), *STILL) == (0, 4, -0.03)
    assert bracket((100.0, 100.5, 99.5, 100.0), (104.0, 105.0, 90.0, 91.0), *STILL) == (1, 4, 0.04)


def test_patience_ends_at_the_close_of_the_last_bar_and_costs_decide() -> None:
    quiet = [(100.0, 100.9, 99.5, 100.0), (100.0, 100.9, 99.5, 100.2), (100.2, 100.9, 99.5, 100.5)]

    assert bracket(*quiet, *STILL) == (1, 5, 0.005)
    assert bracket(*quiet, *STILL, cost=60.0) == (0, 5, -0.001)


def test_an_answer_behind_the_last_bar_is_none_but_a_touch_before_it_is_one() -> None:
    quiet = (100.0, 100.9, 99.5, 100.0)
    y, end, ret = bracket(quiet, quiet)

    assert (y, end) == (-1, -1)
    assert np.isnan(ret)
    assert bracket(quiet, (100.0, 102.0, 99.5, 100.0)) == (1, 4, 0.02)


def test_a_direction_runs_from_the_next_open_to_the_close_of_the_last_bar() -> None:
    candles = bars([(9, 11, 8, 10), (10, 13, 9, 12), (20, 23, 18, 21), (21, 23, 18, 19)])
    one = labelled(candles, Label("direction", horizon=1, cost_bps=100))
    two = labelled(candles, Label("direction", horizon=2, cost_bps=0))

    assert one.y.tolist() == [1, 1, 0, -1]
    assert one.end.tolist() == [1, 2, 3, -1]
    assert one.ret[:3] == pytest.approx([0.19, 0.04, -2 / 21 - 0.01])
    assert two.y.tolist() == [1, 0, -1, -1]
    assert two.ret[:2] == pytest.approx([1.1, -0.05])


def test_a_dead_band_makes_a_third_class_between() -> None:
    candles = bars([(100, 110, 90, 100), (100, 110, 90, 101), (100, 110, 90, 100.5), (100, 110, 90, 98)])
    label = Label("direction", horizon=1, dead_band_bps=60)

    assert label.classes == ("down", "flat", "up")
    assert labelled(candles, label).y.tolist() == [2, 1, 0, -1]


def test_a_pattern_is_known_at_its_own_bar() -> None:
    chance = np.random.default_rng(0)
    rows = [(100.0, 100.6, 99.4, 100.3 if chance.random() < 0.5 else 99.7) for _ in range(40)]
    rows[29], rows[30] = (100.0, 100.2, 98.8, 99.0), (98.9, 101.2, 98.7, 101.0)
    label = Label("pattern", horizon=2, patterns=("Hammer", "Bullish Engulfing"), cost_bps=0)
    found = labelled(bars(rows), label)

    assert label.classes == ("none", "Hammer", "Bullish Engulfing")
    assert label.reach == 0
    assert found.y[30] == 2
    assert set(found.y[:29].tolist()) <= {0, 1, 2}
    assert found.end.tolist() == list(range(40))
    assert found.ret[30] == pytest.approx(rows[32][3] / rows[31][0] - 1)


@pytest.mark.parametrize("kind", KINDS)
@given(cut=st.integers(60, 395), seed=st.integers(0, 99))
@settings(max_examples=10)
def test_another_future_changes_only_answers_that_lie_in_it(kind: str, cut: int, seed: int) -> None:
    label = Label(kind, horizon=7)
    later = planted("noise", symbols=1, bars=400, seed=seed).frames["PLANT000USDT"].iloc[cut + 1 :]
    whole, other = labelled(NOISE, label), labelled(pd.concat([NOISE.iloc[: cut + 1], later]), label)
    known = (whole.end >= 0) & (whole.end <= cut)

    assert np.array_equal(other.y[known], whole.y[known])
    assert np.array_equal(other.end[known], whole.end[known])
    if kind != "pattern":  # what followed a pattern is no part of its answer
        assert np.array_equal(other.ret[known], whole.ret[known])
    assert np.array_equal(labelled(NOISE.iloc[: cut + 1], label).y[known[: cut + 1]], whole.y[known])


@pytest.mark.parametrize("kind", KINDS)
def test_empty_and_short_frames_have_no_answers(kind: str) -> None:
    for candles in (empty(), NOISE.iloc[:1], NOISE.iloc[:5]):
        found = labelled(candles, Label(kind, horizon=10))
        assert len(found.y) == len(found.end) == len(found.ret) == len(candles)
        assert np.isnan(found.ret).all()


@pytest.mark.parametrize(
    "label", [Label(), Label("direction", 3, dead_band_bps=5), Label("pattern", patterns=["doji"])]
)
def test_a_label_survives_json(label: Label) -> None:
    assert Label.of(label.to_dict()) == label


def test_a_label_refuses_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="kind must be one of direction, triple_barrier, pattern: got 'up'"):
        Label("up")
    with pytest.raises(ValueError, match="horizon must be at least 1: got 0"):
        Label(horizon=0)
    with pytest.raises(UnknownName, match="Did you mean 'Hammer'"):
        Label("pattern", patterns=("hamer",))
    with pytest.raises(ValueError, match="a label has no colour"):
        Label.of({"colour": "red"})
