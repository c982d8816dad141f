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
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from domain.errors import DataError, ModelError, TrainingStopped
from domain.instruments import instrument
from learning.datasets import Dataset, require
from learning.judging import judged
from learning.labels import Label
from learning.options import Epoch, Options, Tick
from learning.splits import Split, chronological
from learning.training import Trained, load_checkpoint, train
from learning.windows import Flat, flatten

if TYPE_CHECKING:
    from torch import Tensor

Ints = npt.NDArray[np.int64]
Progress = Callable[[float, str], None]
Cancel = Callable[[], bool]
CHECKPOINT, EVENTS = "checkpoint.pt", "events.jsonl"
LIBRARIES = ("torch", "numpy", "pandas", "scikit-learn", "lightgbm")
CURVE = 400  # points of an equity curve in the description
LEAST = 200  # windows to test with: of fewer no figure means anything


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
    """DataError where there are too few candles, or candles of markets with different days; ModelError without the GPU
    that was asked for."""
    if asked.options.device == "cuda" and not torch.cuda.is_available():
        raise ModelError("device cuda: there is no GPU here that torch can use; ask for auto or cpu")
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
    told = Told(folder, progress or (lambda share, said: None), cancel or (lambda: False))
    told.say(0.0, "candles become windows")
    ready = prepare(data, asked)
    trained = fit(ready, asked, folder, told)
    told.say(0.82, "baselines learn from the same windows")
    about = judged(ready, asked, trained, told)
    told.event({"event": "done", "sentence": about["sentence"]})
    told.say(1.0, about["sentence"])
    return Lesson(trained, trained.net.state_dict(), about)


def fit(ready: Prepared, asked: Asked, folder: Path, told: Told) -> Trained:
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


class Told:
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
