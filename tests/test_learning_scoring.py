"""learning/scoring.py: each number by hand or by scikit-learn, and None where nothing is defined."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from learning.hysteresis import exposure
from learning.scoring import auc, scores, wilson

UP = [0.9, 0.8, 0.6, 0.4, 0.2, 0.55]
TRUTH = [1, 1, 0, 0, 0, 1]


def two(up: list[float]) -> np.ndarray:
    return np.column_stack([1 - np.array(up), up])


def test_six_cases_by_hand() -> None:
    found = scores(two(UP), TRUTH, ret=[0.02, 0.01, -0.01, -0.02, -0.03, np.nan])

    assert found["n"] == 6
    assert found["base_rate"] == found["majority_acc"] == 0.5
    assert found["acc"] == pytest.approx(5 / 6)
    assert found["confusion"] == [[2, 1], [0, 3]]
    assert found["balanced_acc"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["mcc"] == pytest.approx((3 * 2 - 1 * 0) / np.sqrt(4 * 3 * 3 * 2))
    assert found["brier"] == pytest.approx((0.01 + 0.04 + 0.36 + 0.16 + 0.04 + 0.2025) / 6)
    assert found["logloss"] == pytest.approx(-np.log([0.9, 0.8, 0.4, 0.6, 0.8, 0.55]).mean())
    assert found["auc"] == pytest.approx(8 / 9)  # of nine pairs only (0.55, 0.6) stands the wrong way
    assert found["coverage_p70"] == pytest.approx(3 / 6)
    assert found["precision_p70"] == 1.0
    assert found["claimed_p70"] == pytest.approx((0.9 + 0.8 + 0.8) / 3)
    assert found["ece"] == pytest.approx((0.1 + 0.2 + 0.6 + 0.4 + 0.2 + 0.45) / 6)  # each alone in its bin
    assert found["ic"] == pytest.approx(np.corrcoef(UP[:5], [0.02, 0.01, -0.01, -0.02, -0.03])[0, 1])
    assert found["rank_ic"] == pytest.approx(1.0)


def test_wilson_s_interval_is_the_published_one() -> None:
    assert wilson(0.5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(0.0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson(0.3, 0) == (0.0, 1.0)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_they_agree_with_scikit_learn(classes: int) -> None:
    chance = np.random.default_rng(classes)
    p, y = chance.dirichlet(np.ones(classes), 500), chance.integers(0, classes, 500)
    ret = chance.normal(0, 1, 500)
    found, said = scores(p, y, ret), p.argmax(axis=1)

    assert found["acc"] == pytest.approx(metrics.accuracy_score(y, said))
    assert found["mcc"] == pytest.approx(metrics.matthews_corrcoef(y, said))
    assert found["confusion"] == metrics.confusion_matrix(y, said).tolist()
    each = [metrics.roc_auc_score(y == k, p[:, k]) for k in range(classes)]
    assert found["auc"] == pytest.approx(np.mean(each))
    leaning = pd.Series(p[:, -1] - p[:, 0])
    assert found["rank_ic"] == pytest.approx(leaning.rank().corr(pd.Series(ret).rank()))
    assert sum(row["n"] for row in found["reliability"]) == 500


def test_claims_that_come_true_as_often_as_they_say_have_no_error() -> None:
    up, truth = [0.25] * 4 + [0.75] * 4, [0, 0, 0, 1, 1, 1, 1, 0]
    found = scores(two(up), truth)

    assert found["ece"] == pytest.approx(0.0)
    assert [(row["low"], row["n"], row["happened"]) for row in found["reliability"]] == [(0.2, 4, 0.25), (0.7, 4, 0.75)]
    assert scores(two([0.95] * 8), truth)["ece"] == pytest.approx(0.45)


def test_what_is_not_defined_is_none() -> None:
    one_kind = scores(two([0.6, 0.7]), [1, 1])
    assert [one_kind[name] for name in ("auc", "mcc", "balanced_acc", "ic", "precision_p70")] == [None] * 5
    said_one = scores(two([0.6, 0.7, 0.6]), [1, 0, 1], ret=[np.nan, np.nan, 0.1])
    assert (said_one["mcc"], said_one["ic"]) == (None, None)
    flat = scores(two([0.5] * 4), [0, 1, 0, 1], ret=[0.1, -0.1, 0.2, 0.1])
    assert (flat["ic"], flat["auc"]) == (None, 0.5)
    nothing = scores(np.zeros((0, 2)), [])
    assert nothing["n"] == 0
    assert nothing["acc"] is nothing["logloss"] is nothing["majority_acc"] is None
    assert nothing["overlaps_majority"] is True
    assert set(nothing) == set(one_kind)


def test_answers_that_overlap_make_the_interval_wider() -> None:
    chance = np.random.default_rng(1)
    y = chance.integers(0, 2, 4000)
    p = two(np.where(chance.random(4000) < 0.53, y, 1 - y) * 0.2 + 0.4)
    alone, shared = scores(p, y), scores(p, y, overlap=20)

    assert alone["acc"] == shared["acc"]
    assert not alone["overlaps_majority"]
    assert shared["overlaps_majority"]
    assert shared["n_effective"] == 200


def test_they_are_plain_values() -> None:
    found = scores(two(UP), TRUTH, ret=np.linspace(-1, 1, 6), overlap=2)

    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(
    ("p", "y", "rule"),
    [
        ([[0.5, 0.6]], [0], "sum to 1"),
        ([[np.nan, 0.5]], [0], "must be finite"),
        ([[0.5, 0.5]], [2], r"y must lie in 0\.\.1: got 2"),
        ([0.5], [1], r"p must be \(n, classes\)"),
    ],
)
def test_what_is_no_probability_is_refused(p: list, y: list, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        scores(p, y)


def test_an_area_needs_both_kinds() -> None:
    assert auc(np.array([1.0, 2.0]), np.array([True, True])) is None
    assert auc(np.array([1.0, 2.0, 2.0]), np.array([False, True, False])) == 0.75


# From a probability to what to hold


def test_in_above_one_line_and_out_below_a_lower_one() -> None:
    assert exposure([0.5, 0.56, 0.52, 0.49, 0.54, 0.55]).tolist() == [0, 1, 1, 0, 0, 1]
    assert exposure([0.5, 0.56, 0.44, 0.48, 0.51, 0.4], short=True).tolist() == [0, 1, -1, -1, 0, -1]
    assert exposure([0.5, 0.44], short=False).tolist() == [0, 0]


def test_who_says_nothing_holds_nothing() -> None:
    assert exposure([0.6, np.nan, 0.52]).tolist() == [1, 0, 0]
    assert exposure([]).tolist() == []


def test_what_is_held_depends_on_no_later_row() -> None:
    p = np.random.default_rng(0).uniform(0.3, 0.7, 500)
    whole = exposure(p, 0.6, 0.45, short=True)

    assert all(np.array_equal(exposure(p[:cut], 0.6, 0.45, short=True), whole[:cut]) for cut in range(0, 500, 37))


def test_lines_that_cross_are_refused() -> None:
    for enter, leave in ((0.5, 0.5), (0.55, 0.6), (1.0, 0.5), (0.6, 0.0)):
        with pytest.raises(ValueError, match="enter must lie between"):
            exposure([0.5], enter, leave)
