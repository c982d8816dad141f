"""One training from candles to a judged model: windows, split, training, baselines, costs, and the description of it.

    lesson = teach(gathered(frames, "1h"), Asked(), folder, progress, cancel)
    manager.save(lesson.weights, lesson.about)

In `folder` lie `checkpoint.pt` (the state after the last epoch) and `events.jsonl`, a line an event, for whoever wants
to draw the curve while it runs. Called again with the same folder it goes on where it was, also after a kill.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from domain.errors import DataError, TrainingStopped
from domain.instruments import instrument
from learning.baselines import NAMES, Predict, fitting
from learning.datasets import Dataset, require
from learning.evaluation import after_costs, walk_forward
from learning.features import NAMES as FEATURES
from learning.features import spec
from learning.labels import Label
from learning.scoring import Scores, scores
from learning.splits import Split, chronological, overlap
from learning.training import Epoch, Options, Tick, Trained, load_checkpoint, train
from learning.windows import Flat, flatten

if TYPE_CHECKING:
    from torch import Tensor

Ints = npt.NDArray[np.int64]
Progress = Callable[[float, str], None]
Cancel = Callable[[], bool]
CHECKPOINT, EVENTS = "checkpoint.pt", "events.jsonl"
LIBRARIES = ("torch", "numpy", "pandas", "scikit-learn", "lightgbm")
LEAST = 200  # windows to test with: of fewer no figure means anything
LIMITS = (
    "Past accuracy is no promise: markets change, and a model does not notice.",
    "It knows bars of the market and timeframe it learned from, and abstains on others.",
    "Only figures of the test slice count; bars before it were learned or tuned from.",
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What to train. `seeds` more than one: so many trainings, to see how much is chance; the first is the one kept.
    `folds` above 0: a walk-forward beside it. `simulated`: the candles are made up, and the model says so for ever."""

    options: Options = field(default_factory=Options)
    label: Label = field(default_factory=Label)
    name: str = "pattern_nn"
    seeds: int = 1
    folds: int = 0
    simulated: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.seeds <= 100:
            raise ValueError(f"seeds must be from 1 to 100: got {self.seeds}")
        if not 0 <= self.folds <= 50:
            raise ValueError(f"walk-forward folds must be from 0 to 50: got {self.folds}")

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        told = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return told | {"options": dataclasses.asdict(self.options), "label": self.label.to_dict()}

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Asked:
        """From `to_dict`; what is missing is as if not said, a field nobody knows is a ValueError."""
        known = {f.name for f in dataclasses.fields(cls)}
        if unknown := sorted(set(told) - known):
            raise ValueError(f"a training has no {', '.join(unknown)}: it has {', '.join(sorted(known))}")
        options = Options(**told.get("options", {}))
        return cls(**{**told, "options": options, "label": Label.of(dict(told.get("label", {})))})

    @property
    def key(self) -> str:
        """A short name for exactly this."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:10]


@dataclass(frozen=True, slots=True, eq=False)
class Lesson:
    """What came of it: the weights and everything worth writing beside them."""

    trained: Trained
    weights: Mapping[str, Tensor]
    about: dict[str, Any]

    @property
    def sentence(self) -> str:
        return str(self.about["sentence"])


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """Windows and who may be learned from."""

    data: Dataset
    flat: Flat
    split: Split


def prepare(data: Dataset, asked: Asked) -> Prepared:
    """DataError where there are too few candles, or candles of markets with different days."""
    require(data, asked.label, asked.options.seq_len)
    frames = {symbol: candles for symbol, candles in data.frames.items() if len(candles)}
    markets = {instrument(symbol).calendar_code for symbol in frames}
    if len(markets) > 1:
        raise DataError(
            f"{', '.join(sorted(frames))} trade on different days ({', '.join(sorted(markets))}): one model reads one "
            "kind of market; choose with --symbols"
        )
    flat = flatten(frames, asked.label, asked.options.seq_len, data.timeframe)
    split = chronological(flat)
    if len(split.test) < LEAST:
        raise DataError(
            f"too little data: {len(flat):,} windows leave {len(split.test):,} to test with and {LEAST} are the least; "
            "give more candles"
        )
    return Prepared(data, flat, split)


def teach(
    data: Dataset, asked: Asked, folder: Path, progress: Progress | None = None, cancel: Cancel | None = None
) -> Lesson:
    """Prepare, train, judge. `cancel` ends it with TrainingStopped; else it refuses what `prepare` and `train` do."""
    told = _Told(folder, progress or (lambda share, said: None), cancel or (lambda: False))
    told.say(0.0, "candles become windows")
    ready = prepare(data, asked)
    trained = fit(ready, asked, folder, told)
    told.say(0.82, "baselines learn from the same windows")
    about = _judged(ready, asked, trained, told)
    told.event({"event": "done", "sentence": about["sentence"]})
    told.say(1.0, about["sentence"])
    return Lesson(trained, trained.net.state_dict(), about)


def fit(ready: Prepared, asked: Asked, folder: Path, told: _Told) -> Trained:
    """Train with a checkpoint in `folder`, and go on from one that is there."""
    flat, at = ready.flat, folder / CHECKPOINT
    kept = [Epoch(**one) for one in load_checkpoint(at)["history"]] if at.exists() else []
    told.begin({"event": "begin", "windows": len(ready.split.train), "asked": asked.to_dict()}, kept)
    return train(
        flat,
        ready.split,
        asked.options,
        n_classes=len(flat.classes),
        progress=told.tick,
        cancel=told.cancel,
        checkpoint=at,
    )


# Telling


class _Told:
    """Everybody who wants to know how far it is: the one who asked, and `events.jsonl`."""

    def __init__(self, folder: Path, progress: Progress, cancel: Cancel) -> None:
        self._progress, self.cancel = progress, cancel
        self._events = folder / EVENTS
        folder.mkdir(parents=True, exist_ok=True)

    def begin(self, first: dict[str, Any], kept: list[Epoch]) -> None:
        """A new file, with the epochs that an earlier run did: a killed writer's half a line is gone with it."""
        lines = [first, *({"event": "epoch", **dataclasses.asdict(one)} for one in kept)]
        self._events.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")

    def event(self, line: dict[str, Any]) -> None:
        with self._events.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def tick(self, tick: Tick) -> None:
        line: dict[str, Any] = {"event": "step", "epoch": tick.epoch, "share": tick.share, "rate": tick.rate}
        if tick.done is not None:
            line = {"event": "epoch", **dataclasses.asdict(tick.done), "best_epoch": tick.best_epoch}
        self.event({**line, "left_s": tick.left_s})
        self._progress(0.02 + 0.78 * tick.share, tick.words)

    def say(self, share: float, said: str) -> None:
        if self.cancel():
            raise TrainingStopped("the training was stopped; its checkpoint goes on from there")
        self._progress(share, said)


def read_events(folder: Path) -> list[dict[str, Any]]:
    """What was told so far; half a line at the end, still being written, is left out."""
    try:
        text = (folder / EVENTS).read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


# Judging


def _judged(ready: Prepared, asked: Asked, trained: Trained, told: _Told) -> dict[str, Any]:
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
    if asked.seeds > 1:
        metrics["seeds"] = _other_seeds(ready, asked, metrics["test"], score, told)
    if asked.folds:
        metrics["walk_forward"] = _walked(ready, asked, told)
    return _about(ready, asked, trained, metrics)


def _other_seeds(
    ready: Prepared, asked: Asked, first: Scores, score: Callable[[Predict], Scores], told: _Told
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


def _walked(ready: Prepared, asked: Asked, told: _Told) -> dict[str, Any]:
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
        "lineage": {"parent": None, "mlflow_run_id": None, "optuna_study": None},
        "limits": [*LIMITS, *(["Its prices were simulated: it is good for trying things out."] * asked.simulated)],
    }


def _iso(at: int) -> str:
    return pd.Timestamp(at, tz="UTC").isoformat()
