"""The pattern edge finds what was planted, and nothing in noise."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from patterns import detect
from research.edge import NOTHING, REVERSED, SURVIVES, holm, pattern_edge


def walk(seed: int, rows: int = 2000) -> pd.DataFrame:
    """Fat-tailed days without memory."""
    chance = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(chance.standard_t(4, rows) * 0.008))
    opened = np.r_[100.0, close[:-1]] * np.exp(chance.normal(0, 0.004, rows))
    high = np.maximum(opened, close) * np.exp(np.abs(chance.normal(0, 0.004, rows)))
    low = np.minimum(opened, close) * np.exp(-np.abs(chance.normal(0, 0.004, rows)))
    return of(opened, high, low, close)


def of(opened: np.ndarray, high: np.ndarray, low: np.ndarray, close: np.ndarray) -> pd.DataFrame:
    index = pd.date_range("2015-01-01", periods=len(close), freq="D", tz="UTC", name="time")
    table = {"open": opened, "high": high, "low": low, "close": close, "volume": 1.0}
    return pd.DataFrame(table, index=index)


def plant(candles: pd.DataFrame, name: str, jump: float) -> pd.DataFrame:
    """Everything after a bar that follows a case is lifted by `jump`: shapes, being ratios, all but stay."""
    fired = detect(candles, name)[name].to_numpy() != 0
    lift = np.exp(np.cumsum(np.r_[0, 0, fired[:-2]] * np.log1p(jump)))
    prices = candles[["open", "high", "low", "close"]].mul(lift, axis=0)
    return candles.assign(**prices)


def test_a_case_worked_by_hand():
    """Engulfing fires up at row 2 and down at row 5 (2 rows ahead of the last 2, whose outcome is not known)."""
    opened = np.array([10.0, 10.0, 8.5, 10.5, 11.0, 12.2, 10.0, 9.0, 8.0])
    close = np.array([10.0, 9.0, 10.5, 11.0, 12.0, 10.8, 9.0, 8.0, 7.5])
    candles = of(opened, np.maximum(opened, close) + 0.1, np.minimum(opened, close) - 0.1, close)

    table = pattern_edge(candles, "Engulfing", horizon=2).set_index("side")

    every = close[2:] / opened[1:-1] - 1  # open of t + 1 to close of t + 2, t from 0 to 6
    assert table["count"].to_dict() == {"bullish": 1, "bearish": 1}
    assert table.loc["bullish", "mean_return"] == pytest.approx(12.0 / 10.5 - 1)
    assert table.loc["bearish", "mean_return"] == pytest.approx(-(8.0 / 10.0 - 1))
    assert table.loc["bullish", "base_return"] == pytest.approx(every.mean())
    assert table.loc["bearish", "edge"] == pytest.approx(0.2 + every.mean())
    assert table["hit_rate"].tolist() == [1.0, 1.0]
    assert table.loc["bullish", "base_hit_rate"] == pytest.approx(3 / 7)
    assert table["p_value"].isna().all()
    assert table["verdict"].tolist() == ["too few: 1 case", "too few: 1 case"]


def test_the_last_bars_are_no_cases():
    candles = walk(1, rows=400)
    fired = detect(candles, "Doji")["Doji"].to_numpy() != 0

    for horizon in (1, 5, 20):
        [row] = pattern_edge(candles, "Doji", horizon=horizon).itertuples()
        assert row.count == fired[:-horizon].sum()


def test_a_planted_edge_is_found_on_its_side_only():
    table = pattern_edge(plant(walk(3), "Bullish Engulfing", 0.012)).set_index(["pattern", "side"])

    found = table.loc[("CDLENGULFING", "bullish")]
    assert found["verdict"] == SURVIVES
    assert 0 < found["low"] < 0.012 < found["high"] + 0.003
    assert table.loc[("CDLENGULFING", "bearish"), "verdict"] != SURVIVES


def test_a_pattern_that_is_regularly_wrong_is_called_so():
    table = pattern_edge(plant(walk(4), "Bullish Engulfing", -0.02), "Bullish Engulfing")

    assert table["verdict"].tolist() == [REVERSED]
    assert table["high"].item() < 0


def test_noise_is_not_flagged():
    """61 patterns on each of 40 random walks: Holm promises at most one walk in twenty, on average."""
    flagged = [
        pattern_edge(walk(100 + seed), samples=50)["verdict"].isin([SURVIVES, REVERSED]).any() for seed in range(40)
    ]

    assert sum(flagged) <= 2


def test_the_interval_mostly_covers_the_nothing_that_noise_is():
    tables = [pattern_edge(walk(200 + seed), samples=400).query("count >= 30") for seed in range(10)]
    covered = np.concatenate([(t["low"] <= 0) & (t["high"] >= 0) for t in tables])

    assert covered.mean() > 0.9


def test_the_p_value_is_the_share_of_slides_as_far_out():
    candles = walk(5, rows=300)
    [row] = pattern_edge(candles, "Doji", horizon=3).itertuples()

    returns = candles["close"].to_numpy()[3:] / candles["open"].to_numpy()[1:-2] - 1
    fired = detect(candles, "Doji")["Doji"].to_numpy()[:-3] != 0
    slides = np.abs([returns[np.roll(fired, k)].mean() - returns.mean() for k in range(297)])
    further = (slides[3:-2] >= slides[0] * (1 - 1e-9)).sum()  # slides by 1 or 2 overlap the real cases
    assert further > 0
    assert row.p_value == pytest.approx((1 + further) / (1 + 297 - 5))


def test_one_row_for_each_side_a_pattern_can_take():
    table = pattern_edge(walk(6, rows=300))

    assert table["pattern"].nunique() == 61
    assert table.groupby("pattern").size().to_dict()["CDLENGULFING"] == 2
    assert table.groupby("pattern").size().to_dict()["CDLHAMMER"] == 1
    assert pattern_edge(walk(6), ["Bearish Engulfing"])["side"].tolist() == ["bearish"]


def test_few_cases_get_a_plain_word_and_no_numbers():
    table = pattern_edge(walk(7, rows=300))
    few = table[table["count"] < 10]

    assert few["verdict"].str.fullmatch(r"too few: \d cases?").all()
    assert few[["low", "high", "p_value", "p_corrected"]].isna().all(axis=None)
    assert table.loc[table["count"] >= 10, "verdict"].isin([NOTHING, SURVIVES, REVERSED]).all()


def test_the_same_seed_gives_the_same_table():
    candles = walk(8, rows=600)

    pd.testing.assert_frame_equal(pattern_edge(candles, seed=3), pattern_edge(candles, seed=3))
    assert not pattern_edge(candles, seed=3)["low"].equals(pattern_edge(candles, seed=4)["low"])


def test_prices_that_stand_still_have_no_edge():
    flat = np.full(200, 10.0)

    table = pattern_edge(of(flat, flat, flat, flat), "Doji")

    assert table["edge"].item() == 0
    assert table["verdict"].item() == NOTHING


@pytest.mark.parametrize("rows", [0, 1, 5, 6])
def test_a_frame_too_short_says_too_few(rows):
    table = pattern_edge(walk(9, rows=20).iloc[:rows], horizon=5)

    assert (table["verdict"] == "too few: 0 cases").all()


@pytest.mark.parametrize("wrong", [{"horizon": 0}, {"samples": 0}])
def test_a_horizon_or_sample_below_one_is_refused(wrong):
    with pytest.raises(ValueError, match="must be at least 1: got 0"):
        pattern_edge(walk(9, rows=50), **wrong)


def test_holm_by_hand():
    """Sorted .01 .02 .04 times 3 2 1 is .03 .04 .04."""
    assert holm(np.array([0.04, 0.01, 0.02])) == pytest.approx([0.04, 0.03, 0.04])
    assert holm(np.array([0.9, 0.6])) == pytest.approx([1.0, 1.0])
