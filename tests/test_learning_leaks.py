"""Honesty of learning: nothing is found in noise, what was planted is found, and what knows the future is caught."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import pytest

from learning import baselines as plain
from learning.baselines import Fit, baselines, calibrated, fitting, table
from learning.evaluation import after_costs
from learning.features import NAMES, features
from learning.labels import Label
from learning.leaks import examine, looks_ahead, sentinel, shuffled
from learning.planted import Planted, planted
from learning.scoring import scores
from learning.splits import PurgedWalkForward, Split, chronological, overlap
from learning.windows import Flat, flatten

NEXT = Label("direction", horizon=1, cost_bps=0)
SEQ = 3


@functools.cache
def world(kind: str, q: float = 0.6, symbols: int = 16, bars: int = 3000, seed: int = 1) -> tuple[Planted, Flat, Split]:
    market = planted(kind, q, symbols, bars, seed)
    flat = flatten(market.frames, NEXT, SEQ, market.timeframe)
    return market, flat, chronological(flat)


@functools.cache
def recovered(kind: str, q: float, model: str) -> float:
    """How much of what there is to find was found: 1 is all, 0 nothing."""
    market, flat, split = world(kind, q)
    p = fitting(model, flat)(split.train, split.val, split.calib, 0)(split.test)
    acc = scores(p, flat.y[split.test])["acc"]
    return float((acc - 0.5) / (market.bayes - 0.5))


# Noise


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_in_noise_nothing_is_found_nothing_is_sure_and_nothing_is_earned(seed: int) -> None:
    market, flat, split = world("noise", symbols=18, bars=3000, seed=seed)
    for name in ("logistic", "lightgbm"):
        p = fitting(name, flat)(split.train, split.val, split.calib, seed)(split.test)
        found = scores(p, flat.y[split.test])
        assert found["n"] >= 10_000
        assert abs(found["acc"] - 0.5) <= 3.3 * np.sqrt(0.25 / found["n"])
        assert found["coverage_p70"] <= 0.001
        assert found["ece"] <= 0.02
    traded = after_costs(market.frames, flat, split.test, p, enter=0.505, draws=0).figures
    assert traded["trades"] == 0 or traded["sharpe_ci95"][0] <= 0


# What was planted


def test_a_planted_line_is_found_by_all_and_a_planted_bend_by_trees_alone() -> None:
    assert recovered("reversal", 0.6, "logistic") >= 0.9
    assert recovered("reversal", 0.6, "lightgbm") >= 0.9
    assert recovered("xor", 0.75, "lightgbm") >= 0.9
    assert abs(recovered("xor", 0.75, "logistic")) <= 0.1


def test_nobody_does_better_than_the_best_possible() -> None:
    for kind, q in (("reversal", 0.6), ("xor", 0.75)):
        split = world(kind, q)[2]
        assert recovered(kind, q, "lightgbm") <= 1 + 3.3 * np.sqrt(q * (1 - q) / len(split.test)) / (q - 0.5)


def test_the_planted_rule_holds_as_often_as_it_says() -> None:
    for kind in ("reversal", "xor"):
        close = next(iter(planted(kind, 0.8, symbols=1, bars=20_000, seed=4).frames.values()))["close"]
        sign = np.sign(np.diff(np.log(close)))
        rule = -sign[:-1] if kind == "reversal" else sign[2:-1] * sign[:-3]
        assert np.mean(sign[-len(rule) :] == rule) == pytest.approx(0.8, abs=0.01)
    with pytest.raises(ValueError, match="kind must be one of noise, reversal, xor"):
        planted("trend")


def test_all_baselines_stand_side_by_side() -> None:
    _, flat, split = world("reversal", 0.6)
    found = baselines(flat, split)

    assert list(found) == list(plain.NAMES)
    assert found["majority"]["acc"] == pytest.approx(found["majority"]["base_rate"], abs=0.5)
    assert found["majority"]["overlaps_majority"]
    assert not found["lightgbm"]["overlaps_majority"]
    assert found["lightgbm"]["logloss"] < found["majority"]["logloss"]


def test_three_classes_are_learned_as_two_are() -> None:
    market = planted("reversal", 0.9, symbols=2, bars=1200)
    flat = flatten(market.frames, Label("direction", horizon=1, dead_band_bps=30), SEQ, "1h")
    split = chronological(flat)

    assert flat.classes == ("down", "flat", "up")
    for name in plain.NAMES:
        p = fitting(name, flat)(split.train, split.val, split.calib, 0)(split.test)
        assert p.shape == (len(split.test), 3)
        assert scores(p, flat.y[split.test])["acc"] >= (0.5 if name != "majority" else 0.3)


# The future


def test_a_centred_mean_and_a_filled_gap_are_caught_looking_ahead() -> None:
    candles = planted("noise", symbols=1, bars=300).frames["PLANT000USDT"]
    holed = lambda f: f["close"].where(f["volume"] > f["volume"].iloc[:50].median()).bfill()  # noqa: E731

    [leak] = looks_ahead(lambda f: f["close"].rolling(5, center=True).mean().to_numpy(), candles, ["centred"])
    assert leak.said.startswith("centred knows the future: its value at 2020-01-")
    assert looks_ahead(holed, candles, ["filled"])
    assert looks_ahead(lambda f: (f["close"] - f["close"].mean()).to_numpy(), candles, ["standardised"])
    assert looks_ahead(lambda f: f["close"].rolling(5).mean().to_numpy(), candles, ["honest"]) == []
    assert [leak.thing for leak in looks_ahead(lambda f: f["close"].to_numpy()[10:], candles)] == ["column 0", "rows"]


def test_a_column_of_tomorrow_s_close_is_caught_and_the_honest_ones_are_not() -> None:
    candles = planted("noise", symbols=1, bars=2000).frames["PLANT000USDT"]
    y = np.r_[np.sign(np.diff(candles["close"])) > 0, False].astype(int)
    tomorrow = candles["close"].shift(-1).to_numpy()
    size = np.abs(np.r_[np.diff(np.log(candles["close"])), np.nan])  # tells a third class, and no direction
    X = np.column_stack([features(candles), tomorrow, -tomorrow, size])
    names = [*NAMES, "tomorrow", "turned", "size"]

    found = sentinel(X, names, y, candles["close"].to_numpy())
    assert [leak.thing for leak in found] == ["tomorrow", "turned"]
    assert found[0].number == pytest.approx(1.0)
    middle = np.abs(np.nan_to_num(size) - 0.0065) < 0.004  # neither small nor great: no line tells it from both
    assert "size" in [leak.thing for leak in sentinel(X, names, np.where(middle, 0, 1))]
    with pytest.raises(ValueError, match="a column a name"):
        sentinel(X, NAMES, y)


def test_the_whole_examination_names_what_leaks_and_is_clean_where_nothing_does() -> None:
    market = planted("reversal", 0.6, symbols=2, bars=1200)

    def leaking(candles: pd.DataFrame, zone: str) -> np.ndarray:
        return np.column_stack([features(candles, zone), candles["close"].shift(-1)])

    clean = examine(market.frames, NEXT, SEQ, "1h")
    caught = examine(market.frames, NEXT, SEQ, "1h", leaking, (*NAMES, "canary"))

    assert clean.clean
    assert "no proof" in clean.said
    assert [leak.thing for leak in caught.leaks] == ["canary"]
    assert caught.said.startswith("PLANT000USDT: canary knows the future")


def test_answers_dealt_at_random_teach_nothing_and_a_way_around_learning_is_caught() -> None:
    _, flat, split = world("reversal", 0.9, 2, 1500)
    assert shuffled(flat, split) == []

    def cheating(dealt: Flat) -> Fit:
        return lambda train, val, calib, seed: lambda rows: np.eye(2)[flat.y[rows]]

    [leak] = shuffled(flat, split, cheating, "a cheat")
    assert leak.said.startswith("a cheat: right in 100.0%")


# Splits that lie


def test_random_folds_prove_skill_in_a_random_walk_and_a_purged_walk_forward_does_not() -> None:
    """Thirty bars' answers overlap, and the price tells which bars are neighbours: at random each has been seen."""
    frames = planted("noise", symbols=4, bars=800, seed=3).frames
    flat = flatten(frames, Label("direction", horizon=30), 1, "1h")
    price = np.concatenate([candles["close"] for _, candles in sorted(frames.items())])[flat.ends]
    X = np.column_stack([table(flat, np.arange(len(flat))), price])
    greedy = {"objective": "binary", "min_data_in_leaf": 5, "num_threads": 1, "verbosity": -1, "seed": 0}

    def found(folds: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, Any]:
        asked = np.concatenate([test for _, test in folds])
        trees = (lightgbm.train(greedy, lightgbm.Dataset(X[train], flat.y[train]), 100) for train, _ in folds)
        up = np.concatenate([tree.predict(X[test]) for tree, (_, test) in zip(trees, folds, strict=True)])
        return scores(np.column_stack([1 - up, up]), flat.y[asked], overlap=overlap(flat, asked))

    parts = np.array_split(np.random.default_rng(0).permutation(len(flat)), 4)
    at_random = found([(np.setdiff1d(np.arange(len(flat)), part), part) for part in parts])
    walked = found(list(PurgedWalkForward(3).split(flat)))

    assert at_random["acc"] > 0.65
    assert not at_random["overlaps_majority"]
    assert walked["acc"] < 0.58
    assert walked["overlaps_majority"]


@pytest.mark.parametrize("name", ["logistic", "lightgbm"])
def test_what_was_fitted_does_not_change_with_the_test_rows(name: str) -> None:
    _, flat, split = world("reversal", 0.75, 2, 800)
    other = flat.X.copy()
    other[np.isin(np.arange(len(other)), flat.ends[split.test])] = 1e3
    changed = dataclasses.replace(flat, X=other, y=np.where(np.isin(np.arange(len(flat)), split.test), 0, flat.y))

    before, after = (fitting(name, f)(split.train, split.val, split.calib, 0)(split.calib) for f in (flat, changed))
    assert np.array_equal(before, after)


def test_the_same_seed_gives_the_same_trees() -> None:
    _, flat, split = world("reversal", 0.75, 2, 800)
    fit = fitting("lightgbm", flat)
    one, again, other = (fit(split.train, split.val, split.calib, seed)(split.test) for seed in (1, 1, 2))

    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_calibration_takes_back_what_was_claimed_too_much() -> None:
    chance = np.random.default_rng(0)
    claimed = chance.uniform(0.02, 0.98, 4000)
    true = 1 / (1 + np.exp(-0.3 * np.log(claimed / (1 - claimed))))  # three times as sure as it may be
    y = (chance.random(4000) < true).astype(int)
    raw = np.column_stack([1 - claimed, claimed])
    drawn = calibrated(raw[:2000], y[:2000], np.array([0.5, 0.5]))

    assert scores(raw[2000:], y[2000:])["ece"] > 0.1
    assert scores(drawn(raw[2000:]), y[2000:])["ece"] < 0.03


def test_calibration_takes_no_level_from_a_few_good_months() -> None:
    """All that is claimed is worth nothing, and the calibration part happened to rise nine times in ten."""
    chance = np.random.default_rng(1)
    up = chance.uniform(0.3, 0.7, 300)
    y = (chance.random(300) < 0.9).astype(int)
    drawn = calibrated(np.column_stack([1 - up, up]), y, np.array([0.45, 0.55]))

    assert drawn(np.array([[0.5, 0.5], [0.45, 0.55]]))[:, 1] == pytest.approx([0.55, 0.55], abs=0.06)
