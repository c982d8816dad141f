"""What a trained network is worth: scores beside the baselines, costs, other seeds, leaks, and one honest sentence.

The rule: only the test slice counts, which nobody learned or tuned from, and the majority stands beside every figure.
"""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from learning.baselines import NAMES, Predict, fitting
from learning.evaluation import AfterCosts, after_costs, walk_forward
from learning.features import NAMES as FEATURES
from learning.features import spec
from learning.leaks import examine
from learning.scoring import Scores, scores
from learning.splits import Split, overlap
from learning.training import Trained, train
from learning.windows import Flat

if TYPE_CHECKING:
    from learning.job import Asked, Cancel, Prepared, Told

Ints = npt.NDArray[np.int64]
LIBRARIES = ("torch", "numpy", "pandas", "scikit-learn", "lightgbm")
CURVE = 400  # points of an equity curve in the description
LIMITS = (
    "Past accuracy is no promise: markets change, and a model does not notice.",
    "It knows bars of the market and timeframe it learned from, and abstains on others.",
    "Only figures of the test slice count; bars before it were learned or tuned from.",
)


def judged(ready: Prepared, asked: Asked, trained: Trained, told: Told) -> dict[str, Any]:
    flat, split = ready.flat, ready.split
    shared = overlap(flat, split.test)

    def score(predict: Predict) -> Scores:
        return scores(predict(split.test), flat.y[split.test], flat.ret[split.test], overlap=shared)

    mine = trained.probabilities(flat.X, flat.ends[split.test])
    metrics: dict[str, Any] = {"test": score(lambda rows: mine), "baselines": {}}
    for at, name in enumerate(NAMES):
        told.say(0.83 + 0.03 * at, f"baseline: {name}")
        fitted = fitting(name, flat)(split.train, split.val, split.calib, asked.options.seed)
        metrics["baselines"][name] = score(fitted)
    if "up" in flat.classes:
        told.say(0.92, "what it would have earned after costs")
        traded = after_costs(ready.data.frames, flat, split.test, mine, draws=0)
        metrics["backtest_net"] = {**traded.figures, "said": traded.said}
        metrics["equity"] = _curve(traded)
    if asked.seeds > 1:
        metrics["seeds"] = _other_seeds(ready, asked, metrics["test"], score, told)
    if asked.folds:
        metrics["walk_forward"] = _walked(ready, asked, told)
    told.say(0.99, "could it have seen the future?")
    return _about(ready, asked, trained, metrics)


def _curve(traded: AfterCosts) -> dict[str, Any]:
    """What the account came to beside buying and holding, at some hundred moments."""
    own, held = traded.result.equity, traded.result.benchmark
    rows = np.unique(np.linspace(0, len(own) - 1, CURVE).astype(int))
    return {
        "at": [time.isoformat() for time in own.index[rows]],
        "model": [float(x) for x in own.iloc[rows]],
        "held": [float(x) for x in held.iloc[rows]],
    }


def _leaks(ready: Prepared, asked: Asked) -> dict[str, Any]:
    """The sentinel's word."""
    frames = {symbol: ready.data.frames[symbol] for symbol in ready.flat.symbols}
    found = examine(frames, asked.label, asked.options.seq_len, ready.data.timeframe)
    return {"clean": found.clean, "asked": list(found.asked), "leaks": [leak.said for leak in found.leaks]}


def _other_seeds(
    ready: Prepared, asked: Asked, first: Scores, score: Callable[[Predict], Scores], told: Told
) -> dict[str, Any]:
    """Accuracies and log-losses of the other seeds beside the first one's, on the same slices."""
    found = [first]
    for more in range(1, asked.seeds):
        told.say(0.93, f"seed {more + 1} of {asked.seeds}")
        predict = _network(ready.flat, asked, told.cancel)(
            ready.split.train, ready.split.val, ready.split.calib, asked.options.seed + more
        )
        found.append(score(predict))
    return {"n": len(found), **_mean_and_std(found)}


def _walked(ready: Prepared, asked: Asked, told: Told) -> dict[str, Any]:
    """Learned anew in each fold, asked only about what came after it."""
    found = walk_forward(
        ready.flat,
        _network(ready.flat, asked, told.cancel),
        folds=asked.folds,
        seeds=[asked.options.seed],
        progress=lambda share, said: told.say(0.94 + 0.05 * share, f"walk-forward: {said}"),
    )
    return {"folds": found.folds, **_mean_and_std(found.scores), "n": found.scores[0]["n"]}


def _network(flat: Flat, asked: Asked, cancel: Cancel) -> Callable[[Ints, Ints, Ints, int], Predict]:
    """The network as a way of learning (`evaluation.Fit`)."""

    def learn(fitted: Ints, val: Ints, calib: Ints, seed: int) -> Predict:
        part = Split(fitted, val, calib, val[:0], {}, flat.embargo)
        trained = train(flat, part, replace(asked.options, seed=seed), n_classes=len(flat.classes), cancel=cancel)
        return lambda rows: trained.probabilities(flat.X, flat.ends[rows])

    return learn


def _mean_and_std(found: list[Scores]) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for name in ("acc", "logloss"):
        values = [each[name] for each in found]
        told[f"{name}_mean"] = float(np.mean(values))
        told[f"{name}_std"] = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return told


def verdict(label: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """One honest sentence about the test slice."""
    test = metrics["test"]
    low, high = test["acc_ci95"]
    said = f"On {test['n']:,} later bars it is right in {test['acc']:.1%} (95 % interval {low:.1%} to {high:.1%}); "
    said += f"always naming the commonest class gets {test['majority_acc']:.1%}"
    if label["kind"] == "pattern":
        return f"{said}. It recognises patterns that a rule defines: this says nothing about what prices do next."
    net = metrics.get("backtest_net", {}).get("said", "")
    if test["overlaps_majority"]:
        return f"{said}: no skill is shown. {net}".rstrip()
    beaten = [name for name, other in metrics["baselines"].items() if other["logloss"] <= test["logloss"]]
    plain = f"; {' and '.join(beaten)} did as well or better" if beaten else "; better than every plain baseline"
    return f"{said}{plain}. {net}".rstrip()


def _about(ready: Prepared, asked: Asked, trained: Trained, metrics: dict[str, Any]) -> dict[str, Any]:
    """The sidecar, but for what the model manager adds."""
    flat, split, options = ready.flat, ready.split, trained.options
    told, label = spec(ready.data.timeframe, options.seq_len), asked.label.to_dict()
    spans = {name: [_iso(low), _iso(high)] for name, (low, high) in split.bounds.items()}
    return {
        "sentence": verdict(label, metrics),
        "code": {name: metadata.version(name) for name in LIBRARIES} | {"python": platform.python_version()},
        "arch": {**trained.net.arch(), "classes": list(flat.classes)},
        "features": {
            "spec_version": told["version"],
            "names": list(FEATURES),
            "seq_len": options.seq_len,
            "timeframe": ready.data.timeframe,
            "warmup_bars": told["warmup"],
            "spec_sha256": told["sha256"],
        },
        "scaler": {**trained.scaler.to_dict(), "fit_end_utc": spans["train"][1]},
        "label": label,
        "data": {
            **ready.data.stamp(),
            "symbols": list(flat.symbols),
            "simulated": asked.simulated,
        },
        "split": {
            "scheme": "chronological, purged",
            **spans,
            "windows": {name: len(getattr(split, name)) for name in spans},
            "embargo_bars": split.embargo,
        },
        "training": {
            **dataclasses.asdict(options),
            "epochs_max": options.epochs,
            "epochs_run": len(trained.history),
            "best_epoch": trained.best_epoch,
            "batch": trained.batch,
            "device": trained.device,
            "threads": trained.threads,
            "seconds": trained.seconds,
            "windows_per_s": trained.rate,
            "parameters": trained.net.size,
            "weights_hash": trained.hash,
            "history": [dataclasses.asdict(one) for one in trained.history],
        },
        "calibration": {"method": "temperature", "T": trained.temperature},
        "metrics": metrics,
        "leaks": _leaks(ready, asked),
        "lineage": {"parent": None, "mlflow_run_id": None, "optuna_study": None},
        "limits": [*LIMITS, *(["Its prices were simulated: it is good for trying things out."] * asked.simulated)],
    }


def _iso(at: int) -> str:
    return pd.Timestamp(at, tz="UTC").isoformat()
