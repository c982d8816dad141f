"""What any model must beat: always saying the most frequent class, a straight line, and boosted trees kept modest.

    plain = baselines(flat, split, seed=0)            # {"majority": scores, "logistic": scores, "lightgbm": scores}
    predict = fitting("lightgbm", flat)(train, val, calib, seed)
    p = predict(rows)                                 # (n, classes)

The rule: each learns from `train` alone; `val` only says when the trees stop, `calib` only turns scores into chances.
All on one thread, so that many can run side by side.

Trees left alone claim 80 % for one in nine cases of pure noise; few leaves, a hundred cases a leaf, a stop on the
validation's log-loss and one factor from a stretch of its own (`calibrated`) bring that to none.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from domain.errors import DataError, UnknownName
from learning.scoring import Scores, scores
from learning.splits import Split, overlap
from learning.windows import Flat, gather

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Table = npt.NDArray[np.float32]
Predict = Callable[[Ints], Floats]
Fit = Callable[[Ints, Ints, Ints, int], Predict]

NAMES = ("majority", "logistic", "lightgbm")
MOST = 200_000  # windows that are learned from; of more, as many evenly spread ones
CLIP = 10.0
ROUNDS, PATIENCE = 600, 40
TREES: dict[str, Any] = {
    "num_leaves": 8,
    "min_data_in_leaf": 100,
    "learning_rate": 0.03,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 1.0,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}
BOLDEST = 2.0
_SURELY = 1e-6


def baselines(flat: Flat, split: Split, seed: int = 0) -> dict[str, Scores]:
    """Each baseline's scores on the test part."""
    found, shared = {}, overlap(flat, split.test)
    for name in NAMES:
        predict = fitting(name, flat)(split.train, split.val, split.calib, seed)
        found[name] = scores(predict(split.test), flat.y[split.test], flat.ret[split.test], overlap=shared)
    return found


def fitting(name: str, flat: Flat) -> Fit:
    """How a baseline learns: (train, val, calib, seed) -> (rows -> probabilities), rows being places in `flat`."""
    known: dict[str, Callable[..., Predict]] = {"majority": _majority, "logistic": _logistic, "lightgbm": _lightgbm}
    if name not in known:
        raise UnknownName.of("baseline", name, known)

    def fit(train: Ints, val: Ints, calib: Ints, seed: int) -> Predict:
        return known[name](flat, _at_most(train), val, calib, seed)

    return fit


def table(flat: Flat, rows: Ints) -> Table:
    """Windows laid flat, oldest bar first: (n, T x F)."""
    return gather(flat.X, flat.ends[rows], flat.seq_len).reshape(len(rows), -1)


def calibrated(raw: Floats, y: Ints, shares: Floats) -> Callable[[Floats], Floats]:
    """As sure as the calibration part allows: log-odds drawn towards those of the training shares, or away from them,
    by the one factor in [0, BOLDEST] with the least log-loss. `raw` is (n, K), `shares` (K,).

    One factor, and no line: a few months decide how often prices rise in them, and a model that took its level from
    those would claim 70 % for a third of the next year.
    """
    level, odds = _odds(shares[None, :]), _odds(raw)

    def stretched(z: Floats, factor: float) -> Floats:
        told = np.exp(np.column_stack([np.zeros(len(z)), level + factor * (z - level)]))
        return np.asarray(told / told.sum(axis=1, keepdims=True), dtype=np.float64)

    def loss(factor: float) -> float:
        return float(-np.log(np.maximum(stretched(odds, factor)[np.arange(len(y)), y], _SURELY)).mean())

    best = float(minimize_scalar(loss, bounds=(0.0, BOLDEST), method="bounded").x) if len(y) else 0.0
    return lambda p: stretched(_odds(p), best)


def _majority(flat: Flat, train: Ints, val: Ints, calib: Ints, seed: int) -> Predict:
    """The classes' shares in what was learned from, whatever the window."""
    shares = _shares(flat, train)
    return lambda rows: np.tile(shares, (len(rows), 1))


def _logistic(flat: Flat, train: Ints, val: Ints, calib: Ints, seed: int) -> Predict:
    _two_classes(flat, train)
    x = table(flat, train)
    scaler = StandardScaler().fit(x)
    line = LogisticRegression(C=0.1, max_iter=100, tol=1e-3, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a hundred steps are what it is given
        line.fit(np.clip(scaler.transform(x), -CLIP, CLIP), flat.y[train])

    def raw(rows: Ints) -> Floats:
        out = np.zeros((len(rows), len(flat.classes)))
        out[:, line.classes_] = line.predict_proba(np.clip(scaler.transform(table(flat, rows)), -CLIP, CLIP))
        return out

    return _then(raw, flat, train, calib)


def _lightgbm(flat: Flat, train: Ints, val: Ints, calib: Ints, seed: int) -> Predict:
    _two_classes(flat, train)
    two = len(flat.classes) == 2
    kind = {"objective": "binary"} if two else {"objective": "multiclass", "num_class": len(flat.classes)}
    learn = lightgbm.Dataset(table(flat, train), flat.y[train], free_raw_data=True)
    stop = lightgbm.Dataset(table(flat, val), flat.y[val], reference=learn)
    trees = lightgbm.train(
        TREES | kind | {"seed": seed},
        learn,
        ROUNDS,
        valid_sets=[stop],
        callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
    )

    def raw(rows: Ints) -> Floats:
        p = np.asarray(trees.predict(table(flat, rows), num_iteration=trees.best_iteration), dtype=np.float64)
        return np.column_stack([1.0 - p, p]) if two else p

    return _then(raw, flat, train, calib)


def _then(raw: Predict, flat: Flat, train: Ints, calib: Ints) -> Predict:
    drawn = calibrated(raw(calib), flat.y[calib], _shares(flat, train))
    return lambda rows: drawn(raw(rows)) if len(rows) else np.zeros((0, len(flat.classes)))


def _shares(flat: Flat, train: Ints) -> Floats:
    return np.asarray(np.bincount(flat.y[train], minlength=len(flat.classes)) / len(train), dtype=np.float64)


def _odds(p: Floats) -> Floats:
    sure = np.log(np.clip(p, _SURELY, 1.0))
    return np.asarray(sure[:, 1:] - sure[:, :1], dtype=np.float64)


def _two_classes(flat: Flat, train: Ints) -> None:
    if len(np.unique(flat.y[train])) < 2:
        raise DataError("what is learned from holds one class only: give longer candles or another label")


def _at_most(rows: Ints) -> Ints:
    return rows if len(rows) <= MOST else rows[np.linspace(0, len(rows) - 1, MOST).astype(int)]
