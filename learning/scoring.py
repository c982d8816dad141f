"""How good probabilities are: right how often, beside what always saying the same would get, and as sure as they claim?

    found = scores(p, y)                      # p (n, K), each row sums to 1; y (n,) in 0..K-1
    found["acc"], found["acc_ci95"], found["majority_acc"]

The rule: a number that is not defined is None. Nothing is 0, 0.5 or perfect because there was nothing to measure.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import balanced_accuracy_score, log_loss, matthews_corrcoef, roc_auc_score

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Scores = dict[str, Any]
SURE = 0.7
BINS = 10
_Z95 = 1.959963984540054


def scores(p: npt.ArrayLike, y: npt.ArrayLike, ret: npt.ArrayLike | None = None, *, overlap: float = 1.0) -> Scores:
    """Plain floats, ints, lists and None, ready for JSON.

    `ret` is what a long trade earned (NaN where it is not known), for `ic`. `overlap` is how many answers were open at
    once on average (`splits.overlap`): intervals are taken over n / overlap cases, for answers that share their bars
    are no independent cases. Keys:

    n, n_effective          cases, and what they count for
    base_rate, shares       how often the last class (up) was right; the same for each class
    majority_acc            what always naming the most frequent class would have got, chosen with hindsight
    acc, acc_ci95           right how often; Wilson's interval
    overlaps_majority       whether that interval does not lie wholly above majority_acc: then nothing is shown
    balanced_acc, mcc       mean of the classes' hit rates; Matthews' correlation, None where one class only was named
    logloss, brier          lower is better; for two classes Brier's is the mean squared error of the last one's
    ece, reliability        how far claims lie from what happened, and where: a row for each of ten bins that holds any
    auc                     area under the curve, the mean of one class against the rest where there are more than two
    ic, rank_ic             correlation of p(last) - p(first) with `ret`, and of their ranks
    coverage_p70            share of cases with a class above 0.7; how often those were right, its interval, what
    precision_p70           they claimed: precision_p70, precision_p70_ci95, claimed_p70
    confusion               [truth][said]
    """
    p, y = _checked(p, y)
    classes, n = p.shape[1], len(y)
    if not n:
        return _nothing(classes)
    said, shares = p.argmax(axis=1), np.bincount(y, minlength=classes) / n
    right, effective = said == y, max(1.0, n / max(overlap, 1.0))
    acc, majority = float(right.mean()), float(shares.max())
    interval = wilson(acc, effective)
    reliability = _reliability(p, y, said)
    return {
        "n": n,
        "n_effective": round(effective, 1),
        "base_rate": float(shares[-1]),
        "shares": shares.tolist(),
        "majority_acc": majority,
        "acc": acc,
        "acc_ci95": list(interval),
        "overlaps_majority": interval[0] <= majority,
        "balanced_acc": float(balanced_accuracy_score(y, said)) if _several(y) else None,
        "mcc": float(matthews_corrcoef(y, said)) if _several(y) and _several(said) else None,
        "logloss": float(log_loss(y, p, labels=range(classes))),
        "brier": _brier(p, y),
        "ece": sum(row["n"] * abs(row["claimed"] - row["happened"]) for row in reliability) / n,
        "reliability": reliability,
        "auc": _auc(p, y),
        **_correlations(p, ret),
        **_sure(p, right, n / effective),
        "confusion": np.bincount(y * classes + said, minlength=classes**2).reshape(classes, classes).tolist(),
    }


def wilson(share: float, n: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share seen in n cases; n need not be whole. (0, 1) for none."""
    if n <= 0:
        return 0.0, 1.0
    square = _Z95**2
    middle = (share + square / (2 * n)) / (1 + square / n)
    half = _Z95 / (1 + square / n) * math.sqrt(share * (1 - share) / n + square / (4 * n**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def auc(values: Floats, positive: npt.NDArray[np.bool_]) -> float | None:
    """How often a positive case has the higher value (ties count half); None where there is one kind only."""
    return float(roc_auc_score(positive, values)) if positive.any() and not positive.all() else None


def _checked(p: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Floats, Ints]:
    chances, truth = np.asarray(p, dtype=np.float64), np.asarray(y, dtype=np.int64)
    if chances.ndim != 2 or chances.shape[1] < 2 or truth.shape != (len(chances),):
        raise ValueError(f"p must be (n, classes) and y (n,): got {chances.shape} and {truth.shape}")
    if len(truth) and not (truth.min() >= 0 and truth.max() < chances.shape[1]):
        raise ValueError(f"y must lie in 0..{chances.shape[1] - 1}: got {truth.min()} to {truth.max()}")
    if not (np.isfinite(chances).all() and np.allclose(chances.sum(axis=1), 1.0, atol=1e-3)):
        raise ValueError("each row of p must be finite and sum to 1: they are probabilities, not scores")
    return chances / chances.sum(axis=1, keepdims=True), truth


def _several(values: Any) -> bool:
    return bool((values != values[0]).any())


def _brier(p: Floats, y: Ints) -> float:
    if p.shape[1] == 2:
        return float(np.mean((p[:, 1] - y) ** 2))
    return float(np.mean(((p - np.eye(p.shape[1])[y]) ** 2).sum(axis=1)))


def _reliability(p: Floats, y: Ints, said: Ints) -> list[dict[str, Any]]:
    """Of two classes the last one's probability against how often it happened; of more, that of the class named."""
    two = p.shape[1] == 2
    claimed, happened = (p[:, 1], y == 1) if two else (p.max(axis=1), y == said)
    which = np.minimum((claimed * BINS).astype(int), BINS - 1)
    rows = []
    for at in np.unique(which):
        inside = which == at
        rows.append(
            {
                "low": at / BINS,
                "high": (at + 1) / BINS,
                "n": int(inside.sum()),
                "claimed": float(claimed[inside].mean()),
                "happened": float(happened[inside].mean()),
            }
        )
    return [{name: v if isinstance(v, int) else float(v) for name, v in row.items()} for row in rows]


def _auc(p: Floats, y: Ints) -> float | None:
    if p.shape[1] == 2:
        return auc(p[:, 1], y == 1)
    each = [auc(p[:, k], y == k) for k in range(p.shape[1])]
    known = [value for value in each if value is not None]
    return float(np.mean(known)) if known else None


def _correlations(p: Floats, ret: npt.ArrayLike | None) -> Scores:
    none: Scores = {"ic": None, "rank_ic": None}
    if ret is None:
        return none
    earned, leaning = np.asarray(ret, dtype=np.float64), p[:, -1] - p[:, 0]
    if earned.shape != leaning.shape:
        raise ValueError(f"ret must have a row a case: got {earned.shape} for {leaning.shape}")
    known = np.isfinite(earned)
    earned, leaning = earned[known], leaning[known]
    if len(earned) < 3 or not _several(earned) or np.ptp(leaning) < 1e-12:
        return none
    return {"ic": _correlation(leaning, earned), "rank_ic": _correlation(_ranks(leaning), _ranks(earned))}


def _correlation(a: Floats, b: Floats) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: Floats) -> Floats:
    """Equal values share the mean of their ranks."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count - 1) / 2.0)[place], dtype=np.float64)


def _sure(p: Floats, right: npt.NDArray[np.bool_], overlap: float) -> Scores:
    top = p.max(axis=1)
    sure = top > SURE
    count = int(sure.sum())
    if not count:
        return {"coverage_p70": 0.0, "precision_p70": None, "precision_p70_ci95": None, "claimed_p70": None}
    precision = float(right[sure].mean())
    return {
        "coverage_p70": count / len(p),
        "precision_p70": precision,
        "precision_p70_ci95": list(wilson(precision, max(1.0, count / overlap))),
        "claimed_p70": float(top[sure].mean()),
    }


def _nothing(classes: int) -> Scores:
    names: tuple[str, ...] = (
        "base_rate",
        "shares",
        "majority_acc",
        "acc",
        "acc_ci95",
        "balanced_acc",
        "mcc",
        "logloss",
        "brier",
    )
    names += ("ece", "auc", "ic", "rank_ic", "coverage_p70", "precision_p70", "precision_p70_ci95", "claimed_p70")
    found: Scores = {"n": 0, "n_effective": 0.0, "overlaps_majority": True, "reliability": []}
    return found | dict.fromkeys(names) | {"confusion": np.zeros((classes, classes), dtype=int).tolist()}
