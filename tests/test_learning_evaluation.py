"""learning/evaluation.py: asked once, out of sample, over seeds, and traded after costs as any strategy is."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest

from backtester import Backtest, Setup
from domain.matching import FillRules
from learning.baselines import Predict
from learning.evaluation import AfterCosts, after_costs, compared, plain_models, walk_forward
from learning.hysteresis import exposure
from learning.labels import Label
from learning.planted import planted
from learning.scoring import scores
from learning.windows import Flat, flatten
from strategies.base import Wanted

MARKET = planted("noise", symbols=2, bars=700, seed=6)
FLAT = flatten(MARKET.frames, Label("direction", horizon=1), 4, "1h")
FEES = {"regulatory_fees": False}


class Spy:
    """A way of learning that notes what it was given and knows the answers for every second seed."""

    def __init__(self) -> None:
        self.given: list[tuple[int, int, int, int]] = []

    def __call__(self, train: np.ndarray, val: np.ndarray, calib: np.ndarray, seed: int) -> Predict:
        self.given.append((len(train), len(val), len(calib), seed))
        assert FLAT.known[train].max() < FLAT.began[val].min()
        assert FLAT.known[calib].max() > FLAT.known[train].max()
        return lambda rows: np.eye(2)[FLAT.y[rows] if seed % 2 else 1 - FLAT.y[rows]]


def test_each_fold_is_asked_once_a_seed_and_the_answers_stand_at_their_rows() -> None:
    spy, told = Spy(), []
    found = walk_forward(FLAT, spy, folds=3, seeds=(0, 1), progress=lambda share, said: told.append((share, said)))

    assert found.p.shape == (2, len(found.rows), 2)
    assert [one["acc"] for one in found.scores] == [0.0, 1.0]
    assert found.summary()["acc"] == {"mean": 0.5, "std": pytest.approx(np.sqrt(0.5))}
    assert len(np.unique(found.rows)) == len(found.rows) == sum(fold["windows"]["test"] for fold in found.folds)
    assert [seed for *_, seed in spy.given] == [0, 0, 0, 1, 1, 1]
    assert told[0] == (0.0, "seed 0, fold 1 of 3")
    assert [share for share, _ in told] == sorted(share for share, _ in told)


def test_the_baselines_walk_forward_alike_and_the_table_says_who_shows_nothing() -> None:
    planted_one = planted("reversal", 0.9, symbols=2, bars=900)
    flat = flatten(planted_one.frames, Label("direction", horizon=1), 2, "1h")
    walked = plain_models(flat, folds=2, seeds=(0, 1))
    table = compared({name: one.scores for name, one in walked.items()})

    assert list(table.index) == ["majority", "logistic", "lightgbm"]
    assert table["seeds"].tolist() == [1, 1, 2]
    assert table["overlaps_majority"].tolist() == [True, False, False]
    assert table.loc["lightgbm", "low"] < table.loc["lightgbm", "acc"] < table.loc["lightgbm", "high"]
    assert table.loc["logistic", "acc"] > 0.8
    assert pd.isna(table.loc["logistic", "acc_std"])
    assert np.array_equal(walked["majority"].rows, walked["lightgbm"].rows)


def test_the_table_takes_means_and_spreads_over_seeds() -> None:
    y = np.array([0, 1] * 50)
    good, poor = (np.where(np.arange(100) < right, y, 1 - y) for right in (80, 60))
    table = compared({"mine": [scores(np.eye(2)[said] * 0.8 + 0.1, y) for said in (good, poor)]})

    assert table.loc["mine", "acc"] == pytest.approx(0.7)
    assert table.loc["mine", "acc_std"] == pytest.approx(np.std([0.8, 0.6], ddof=1))
    assert (table.loc["mine", "n"], table.loc["mine", "n_effective"]) == (100, 100)


# After costs


class Held(Backtest):
    """What `after_costs` should come to, put together by hand."""

    wanted: dict[str, np.ndarray]

    def target(self, candles: pd.DataFrame) -> Wanted:
        return Wanted(self.wanted[self.symbol][: len(candles)])


def knowing(flat: Flat, rows: np.ndarray) -> np.ndarray:
    return np.eye(2)[flat.y[rows]] * 0.8 + 0.1


def test_probabilities_are_traded_as_a_strategy_of_those_exposures_is() -> None:
    rows = np.flatnonzero(FLAT.at > np.median(FLAT.at))
    setup = Setup(fraction=0.5, short=False)
    found = after_costs(MARKET.frames, FLAT, rows, knowing(FLAT, rows), setup, draws=0)
    first = pd.Timestamp(FLAT.at[rows].min(), tz="UTC")  # its bar closes here, and the next one opens
    assert FLAT.y[rows][FLAT.at[rows] == FLAT.at[rows].min()].any()
    by_hand = Held(MARKET.frames, None, setup, start=first - pd.Timedelta("1h"), timeframe="1h")
    by_hand.wanted = {}
    for symbol, candles in MARKET.frames.items():
        rises = (candles["close"] > candles["open"]).to_numpy()
        after = np.r_[np.where(rises, 0.9, 0.1)[1:], np.nan]
        after[candles.index + pd.Timedelta("1h") < first] = np.nan
        by_hand.wanted[symbol] = exposure(after)
    expected = by_hand.run()

    assert found.figures["trades"] == len(expected.trades) > 100
    last = found.result.equity.index[-1]
    assert found.result.equity.iloc[-1] == pytest.approx(expected.equity[last])
    assert found.result.fills["time"].min() == first
    assert found.figures["net_return"] > 1.0 > found.figures["hold_return"]


def test_who_knows_the_answers_beats_chance_and_costs_bite_in_order() -> None:
    rows = np.arange(len(FLAT))
    knows = after_costs(MARKET.frames, FLAT, rows, knowing(FLAT, rows), draws=20).figures
    chance = np.random.default_rng(2).permutation(len(rows))
    guesses = after_costs(MARKET.frames, FLAT, rows, knowing(FLAT, rows)[chance], draws=40)

    assert knows["percentile"] == 1.0
    assert knows["net_return"] > knows["net_return_2x"] > knows["net_return_3x"]
    assert 0.02 < guesses.figures["percentile"] < 0.98
    assert guesses.figures["net_return"] < knows["net_return_3x"]
    assert "positions at other times earned less" in guesses.said


def test_twice_the_costs_are_twice_the_costs() -> None:
    rows = np.arange(len(FLAT))
    said = knowing(FLAT, rows)
    one = Setup(fraction=0.5, fills=FillRules(half_spread_bps=4, slippage_bps=6, **FEES))
    two = dataclasses.replace(one, fills=FillRules(half_spread_bps=8, slippage_bps=12, **FEES))
    dear, dearer = (after_costs(MARKET.frames, FLAT, rows, said, setup, draws=0).figures for setup in (one, two))

    assert dear["net_return_2x"] == pytest.approx(dearer["net_return"])


def test_a_model_that_is_never_sure_never_trades_and_says_so() -> None:
    rows = np.arange(len(FLAT))
    found = after_costs(MARKET.frames, FLAT, rows, np.full((len(rows), 2), 0.5))

    assert (found.figures["trades"], found.figures["net_return"], found.figures["percentile"]) == (0, 0.0, None)
    assert found.figures["sharpe"] is None
    assert found.said.startswith("It never traded")


def test_falls_are_sold_where_short_sales_are_asked_for() -> None:
    rows = np.arange(len(FLAT))
    long, both = (
        after_costs(MARKET.frames, FLAT, rows, knowing(FLAT, rows), short=short, draws=0) for short in (False, True)
    )

    assert set(long.result.trades["side"]) == {"long"}
    assert set(both.result.trades["side"]) == {"long", "short"}
    assert both.figures["net_return"] > long.figures["net_return"]


def test_a_symbol_whose_bars_end_before_the_test_has_no_part_in_it() -> None:
    first, second = sorted(MARKET.frames)
    frames = {first: MARKET.frames[first], second: MARKET.frames[second].iloc[:200]}
    flat = flatten(frames, Label("direction", horizon=1), 4, "1h")
    rows = np.flatnonzero(flat.at > np.quantile(flat.at, 0.8))
    alone = flatten({first: frames[first]}, Label("direction", horizon=1), 4, "1h")
    same = np.flatnonzero(np.isin(alone.at, flat.at[rows]))

    found = after_costs(frames, flat, rows, knowing(flat, rows), draws=0).figures
    assert found["trades"] > 0
    assert found == after_costs({first: frames[first]}, alone, same, knowing(alone, same), draws=0).figures
    assert -1.0 < found["hold_max_drawdown"] < 0.0


def test_one_trade_is_one_trade() -> None:
    figures = {"trades": 1, "net_return": 0.1, "hold_return": 0.2, "net_return_2x": 0.0, "net_return_3x": -0.1}
    one = AfterCosts(None, {**figures, "percentile": None})  # type: ignore[arg-type]

    assert one.said.startswith("Net +10.0% in 1 trade, buying and holding +20.0%")
