"""The training loop: learn from the train slice, stop by the validation slice, calibrate on the calibration slice.

    trained = train(flat, split, Options(epochs=30, lr=1e-3), n_classes=2, checkpoint=folder / "checkpoint.pt")
    trained.probabilities(flat.X, flat.ends[split.test])

The test slice is not looked at here. On the processor, one thread and one seed give the same weights to the last bit,
also where the run was killed and went on from its checkpoint.
"""

from __future__ import annotations

import copy
import hashlib
import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from domain.clock import monotonic
from domain.errors import CheckpointMismatch, ModelDamaged, TrainingDiverged, TrainingStopped
from learning._files import put
from learning.calibration import log_loss, softmax, temperature
from learning.network import PatternNN, threads, weights_hash
from learning.options import Epoch, Options, Tick
from learning.scaler import Scaler

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
FORMAT = 1
WARM_UP, LAST_LR = 0.05, 0.01  # share of the steps that climb to lr; share of lr that the cosine ends at
CLIP_NORM = 1.0
EVALUATE = 8192  # windows at a time where nothing is learned
SAY_EVERY_S = 0.5
PROBED, PROBE_STEPS = (1, 2, 4), 20


class Windows(Protocol):
    """What is needed of `learning.windows.Flat`: rows of features, and the row each window ends at."""

    @property
    def X(self) -> npt.NDArray[np.float32]: ...
    @property
    def ends(self) -> Ints: ...
    @property
    def y(self) -> Ints: ...
    @property
    def seq_len(self) -> int: ...


class Slices(Protocol):
    """What is needed of `learning.splits.Split`: which windows each slice holds."""

    @property
    def train(self) -> Ints: ...
    @property
    def val(self) -> Ints: ...
    @property
    def calib(self) -> Ints: ...


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """The weights of the best epoch, and how they were found."""

    net: PatternNN
    scaler: Scaler
    temperature: float
    options: Options
    history: tuple[Epoch, ...]
    best_epoch: int
    val_loss: float
    batch: int
    device: str
    threads: int
    windows: int
    seq_len: int
    resumed: int = 0  # epochs that an earlier run had done

    @property
    def seconds(self) -> float:
        return sum(e.seconds for e in self.history)

    @property
    def rate(self) -> float:
        """Windows learned from, a second."""
        return self.windows * len(self.history) / max(self.seconds, 1e-9)

    @property
    def hash(self) -> str:
        return weights_hash(self.net.state_dict())

    def logits(self, features: npt.NDArray[np.float32], ends: Ints) -> Floats:
        with threads(1):
            return logits_of(self.net, self.scaler(features), ends, self.seq_len)

    def probabilities(self, features: npt.NDArray[np.float32], ends: Ints) -> Floats:
        """Calibrated probabilities of the windows of unscaled `features` that end at `ends`."""
        return softmax(self.logits(features, ends) / self.temperature)


Hear = Callable[[Tick], None]


def train(
    flat: Windows,
    split: Slices,
    options: Options,
    *,
    n_classes: int = 2,
    progress: Hear | None = None,
    cancel: Callable[[], bool] | None = None,
    checkpoint: Path | None = None,
    resume: bool = True,
) -> Trained:
    """Train on `split.train`, stop by `split.val`, calibrate on `split.calib`.

    With `checkpoint` each epoch is kept there and, unless `resume` is off, a run goes on from it: exactly as if it had
    never stopped. Refused with a ModelError: too few windows or a loss that is no number (TrainingDiverged), a
    checkpoint of other data or options (CheckpointMismatch) or a torn one (ModelDamaged). `cancel` is asked at every
    step; where it says so TrainingStopped is raised, and the last epoch's checkpoint stands.
    """
    if not len(split.train) or not len(split.val):
        raise TrainingDiverged(
            f"nothing to train on: {len(split.train):,} windows to learn from and {len(split.val):,} to validate with; "
            "give more candles or a shorter --seq-len"
        )
    hear, called_off = progress or (lambda tick: None), cancel or (lambda: False)
    with _quiet_machine(options.where):
        run = _Run(flat, split, options, n_classes, hear, called_off, checkpoint)
        if checkpoint is not None and resume and checkpoint.exists():
            run.go_on(load_checkpoint(checkpoint))
        return run.finish()


# One run


@dataclass
class _Best:
    epoch: int = 0
    loss: float = math.inf
    state: dict[str, Tensor] = field(default_factory=dict)


class _Run:
    """The state of one training; `finish` walks the epochs that are left."""

    def __init__(
        self,
        flat: Windows,
        split: Slices,
        options: Options,
        n_classes: int,
        hear: Hear,
        cancel: Callable[[], bool],
        checkpoint: Path | None,
    ) -> None:
        self.options, self.hear, self.cancel, self.checkpoint = options, hear, cancel, checkpoint
        self.flat, self.split = flat, split
        self.device = torch.device(options.where)
        self.scaler = Scaler.fit(flat.X, flat.ends[split.train], flat.seq_len)
        self.features = torch.from_numpy(np.nan_to_num(self.scaler(flat.X))).to(self.device)
        self.windows = Lookup(self.features, flat.seq_len)
        self.ends = torch.from_numpy(flat.ends[split.train]).to(self.device)
        self.labels = torch.from_numpy(flat.y[split.train]).to(self.device)
        self.batch = min(options.batch(len(split.train)), len(split.train))
        self.steps = -(-len(split.train) // self.batch)
        self.asked = _asked(flat, split, options, n_classes, self.batch)
        torch.manual_seed(options.seed)
        features = flat.X.shape[1]
        self.net = PatternNN(features, options.hidden, options.layers, n_classes, options.dropout, options.backbone).to(
            self.device
        )
        self.optimiser = _optimiser(self.net, options)
        self.threads = options.threads or _fastest(self)
        self.history: list[Epoch] = []
        self.best = _Best()
        self.resumed = 0

    def go_on(self, kept: dict[str, Any]) -> None:
        """Take up the state of a checkpoint."""
        if other := [name for name, value in self.asked.items() if kept["asked"].get(name) != value]:
            said = ", ".join(f"{name} was {kept['asked'].get(name)!r} and is {self.asked[name]!r}" for name in other)
            raise CheckpointMismatch(
                f"the checkpoint {self.checkpoint} belongs to another training ({said}): ask for the same, or start "
                "anew in another folder"
            )
        self.net.load_state_dict(kept["net"])
        self.optimiser.load_state_dict(kept["optimiser"])
        self.threads = kept["threads"]
        self.history = [Epoch(**one) for one in kept["history"]]
        self.best = _Best(**kept["best"])
        self.resumed = len(self.history)
        torch.set_rng_state(kept["rng"])
        if self.device.type == "cuda" and kept["rng_cuda"] is not None:
            torch.cuda.set_rng_state(kept["rng_cuda"])

    def finish(self) -> Trained:
        if self.device.type == "cpu":
            torch.set_num_threads(self.threads)
        while len(self.history) < self.options.epochs and not self.patience_is_over:
            self.epoch(len(self.history) + 1)
        self.net.load_state_dict(self.best.state)
        net = copy.deepcopy(self.net).cpu().eval()
        calib = self.flat.ends[self.split.calib]
        logits = logits_of(net, self.scaler(self.flat.X), calib, self.flat.seq_len)
        return Trained(
            net,
            self.scaler,
            temperature(logits, self.flat.y[self.split.calib]),
            self.options,
            tuple(self.history),
            self.best.epoch,
            self.best.loss,
            self.batch,
            self.device.type,
            self.threads,
            len(self.split.train),
            self.flat.seq_len,
            self.resumed,
        )

    @property
    def patience_is_over(self) -> bool:
        return bool(self.history) and self.history[-1].epoch - self.best.epoch >= self.options.patience

    def epoch(self, number: int) -> None:
        begin = self._said = monotonic()
        loss = self.learn(number, begin)
        took = max(monotonic() - begin, 1e-9)
        val = self.validate(number)
        rate = len(self.labels) / took
        lr = self.optimiser.param_groups[0]["lr"]
        self.history.append(Epoch(number, loss, val, lr, rate, monotonic() - begin))
        if val < self.best.loss:
            state = {name: value.detach().cpu().clone() for name, value in self.net.state_dict().items()}
            self.best = _Best(number, val, state)
        self.keep()
        self.tell(number, 1.0, rate, self.history[-1])

    def learn(self, number: int, begin: float) -> float:
        """One time through the train slice, in an order that only the seed and the epoch decide."""
        self.net.train()
        order = torch.from_numpy(np.random.default_rng([self.options.seed, number]).permutation(len(self.labels)))
        order = order.to(self.device)
        total = torch.zeros((), device=self.device)
        for step in range(self.steps):
            if self.cancel():
                raise TrainingStopped(self.stopped(number))
            picked = order[step * self.batch : (step + 1) * self.batch]
            total += self.step((number - 1) * self.steps + step, picked).detach() * len(picked)
            if (now := monotonic()) - self._said >= SAY_EVERY_S:
                self._said, done = now, (step + 1) / self.steps
                self.finite(total, number, "train")
                self.tell(number, done, (step + 1) * self.batch / (now - begin))
        return self.finite(total, number, "train") / len(self.labels)

    def step(self, at: int, picked: Tensor) -> Tensor:
        """One step down the gradient; the loss before it."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.options.lr * schedule(at, self.steps * self.options.epochs)
        logits = self.net(self.windows(self.ends[picked]))
        loss = functional.cross_entropy(logits, self.labels[picked], label_smoothing=self.options.label_smoothing)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), CLIP_NORM, foreach=True)
        self.optimiser.step()
        return loss

    def validate(self, number: int) -> float:
        """The log-loss on the validation slice."""
        logits = _logits(self.net, self.features, self.flat.ends[self.split.val], self.flat.seq_len)
        if not np.isfinite(logits).all():
            raise TrainingDiverged(self.diverged(number, "validation"))
        return log_loss(softmax(logits), self.flat.y[self.split.val])

    def finite(self, total: Tensor, number: int, what: str) -> float:
        found = float(total)
        if not math.isfinite(found):
            raise TrainingDiverged(self.diverged(number, what))
        return found

    def diverged(self, number: int, what: str) -> str:
        return (
            f"the {what} loss is not a number in epoch {number}: lower --lr (it is {self.options.lr:g}) or look for "
            "broken values in the candles; nothing was saved as a model"
        )

    def stopped(self, number: int) -> str:
        kept = f"{len(self.history)} epochs are kept in {self.checkpoint}" if self.checkpoint else "nothing is kept"
        return f"the training was stopped in epoch {number}; {kept}"

    def tell(self, number: int, done: float, rate: float, ended: Epoch | None = None) -> None:
        epochs = self.options.epochs
        if ended is not None and self.patience_is_over:
            self.hear(Tick(number, epochs, 1.0, rate, 0.0, self.best.epoch, ended))
            return
        left = (epochs - number + 1 - done) * len(self.labels) / max(rate, 1e-9)
        self.hear(Tick(number, epochs, (number - 1 + done) / epochs, rate, left, self.best.epoch, ended))

    def keep(self) -> None:
        """The state after this epoch, whole or not at all."""
        if self.checkpoint is None:
            return
        on_gpu = self.device.type == "cuda"
        state = {
            "format": FORMAT,
            "asked": self.asked,
            "epoch": len(self.history),
            "net": self.net.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": {"step": len(self.history) * self.steps, "steps": self.steps * self.options.epochs},
            "rng": torch.get_rng_state(),
            "rng_cuda": torch.cuda.get_rng_state() if on_gpu else None,
            "threads": self.threads,
            "best": asdict(self.best),
            "history": [asdict(e) for e in self.history],
        }
        into = io.BytesIO()
        torch.save(state, into)
        put(self.checkpoint, into.getvalue())


# Parts of it


def schedule(step: int, steps: int) -> float:
    """Share of the learning rate at a step: a climb over the first twentieth, then half a cosine down to 1 %."""
    climb = max(1, round(WARM_UP * steps))
    if step < climb:
        return (step + 1) / climb
    way = (step - climb) / max(1, steps - climb)
    return LAST_LR + (1.0 - LAST_LR) * 0.5 * (1.0 + math.cos(math.pi * way))


def _optimiser(net: PatternNN, options: Options) -> torch.optim.AdamW:
    """AdamW; biases and norms, which have one dimension, are not pulled to 0."""
    matrices = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": options.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=options.lr, fused=True)


class Lookup:
    """The windows of a matrix of bars by the rows they end at. Nothing is copied before it is asked for: the matrix is
    seen as rows of `seq_len` bars each, every row one bar further, and a batch picks whole rows."""

    def __init__(self, features: Tensor, seq_len: int) -> None:
        rows, width = features.shape
        self.shape, self.before = (-1, seq_len, width), seq_len - 1
        self.view = features.contiguous().as_strided((max(rows - self.before, 0), seq_len * width), (width, 1))

    def __call__(self, ends: Tensor) -> Tensor:
        return self.view.index_select(0, ends - self.before).view(self.shape)


def logits_of(net: PatternNN, scaled: npt.NDArray[np.float32], ends: Ints, seq_len: int) -> Floats:
    """The logits of the windows that end at `ends`."""
    return _logits(net, torch.from_numpy(np.nan_to_num(scaled)), ends, seq_len)


@torch.inference_mode()
def _logits(net: PatternNN, features: Tensor, ends: Ints, seq_len: int) -> Floats:
    was, _ = net.training, net.eval()
    windows = Lookup(features, seq_len)
    found = [np.empty((0, int(net.arch()["n_classes"])))]
    for begin in range(0, len(ends), EVALUATE):
        rows = torch.from_numpy(ends[begin : begin + EVALUATE]).to(features.device)
        found.append(net(windows(rows)).double().cpu().numpy())
    net.train(was)
    return np.concatenate(found)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The state in a checkpoint: tensors and plain values, nothing that runs. ModelDamaged where it is torn."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if state["format"] != FORMAT:
            raise ValueError(f"its format is {state['format']!r}, not {FORMAT}")
    except FileNotFoundError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever is in the file, it is not ours
        raise ModelDamaged(
            f"the checkpoint {path} cannot be read ({_first_line(error)}): delete it and start anew"
        ) from None
    return dict(state)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _asked(flat: Windows, split: Slices, options: Options, n_classes: int, batch: int) -> dict[str, Any]:
    """What a checkpoint must agree with to be gone on from."""
    digest = hashlib.sha256()
    for array in (flat.X, flat.ends, flat.y, split.train, split.val, split.calib):
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    wanted = asdict(replace(options, device=options.where, batch_size=batch))
    return {**wanted, "n_classes": n_classes, "data": digest.hexdigest()}


def _fastest(run: _Run) -> int:
    """The number of threads that twenty steps take the least time with; nothing of the run is changed by it."""
    if run.device.type != "cpu":
        return 1
    took = {}
    for count in (n for n in PROBED if n <= max(1, torch.get_num_threads())):
        probe = copy.copy(run)
        probe.net = copy.deepcopy(run.net)
        probe.optimiser = _optimiser(probe.net, run.options)
        torch.set_num_threads(count)
        picked = torch.arange(min(run.batch, len(run.labels)))
        with torch.random.fork_rng(devices=[]):
            probe.step(0, picked)
            begin = monotonic()
            for step in range(PROBE_STEPS):
                probe.step(step, picked)
            took[count] = monotonic() - begin
    return min(took, key=lambda n: took[n])


@contextmanager
def _quiet_machine(where: str) -> Iterator[None]:
    """Threads and chance of the process are given back as they were."""
    with threads(torch.get_num_threads()), torch.random.fork_rng(devices=[0] if where == "cuda" else []):
        yield
