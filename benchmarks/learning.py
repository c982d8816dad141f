"""Learning beside plain PyTorch: the training loop, batches of windows, answers of a served model, labels."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from benchmarks.report import Goal, Section, Spread, Table
from domain.models import ModelFacts
from learning.calibration import log_loss, softmax
from learning.features import NAMES, WARMUP, features
from learning.labels import Label, labelled
from learning.network import PatternNN, threads
from learning.planted import planted
from learning.scaler import Scaler
from learning.served import Served
from learning.splits import Split, chronological
from learning.training import CLIP_NORM, Lookup, Options, Trained, logits_of, schedule, train
from learning.windows import Flat, flatten, gather

SEQ_LEN, BATCH, QUALITY = 10, 256, 0.75
TOLERANCE = 0.01  # of the log-loss; between knowing nothing and the best possible lie 0.131
TENSORS, ARRAYS = "DataLoader, items cut from tensors", "DataLoader, items cut from arrays"
HOW = (
    f"One thread, on the processor; windows of {SEQ_LEN} bars with {len(NAMES)} features, {BATCH} a batch. "
    "**Training**: the epochs of `learning.training.train` against a plain loop over a `DataLoader`, whose `Dataset` "
    "cuts one window an item and whose default collate stacks them; network, seed, AdamW, schedule, clipping, data and "
    "number of epochs are the same, each side shuffles, and validation is outside the clock on both. Items are cut "
    "from tensors, as tutorials do, and from numpy arrays, which is quicker. **Batches**: windows in random order, "
    "without a network. **Answers**: the served model begins with candles (features, admissible windows, "
    "network in double precision, calibration); eager torch in single precision is handed scaled windows and gives "
    "logits. **Labels**: `labelled` of a whole frame. All sides take turns; ratios are medians over the turns."
)
Seconds = dict[str, list[float]]


@dataclass(frozen=True)
class Sizes:
    """How much of everything."""

    symbols: int = 20
    bars: int = 3000
    epochs: int = 1
    learned: int = 15  # turns of the training: short ones, for a machine's mood changes
    turns: int = 5
    rows: int = 500_000  # of the matrix that batches are gathered from
    picked: int = 300_000  # windows of a turn of gathering
    loaded: int = 50_000  # windows of a turn of a DataLoader
    asked: int = 101  # turns of one answer
    answers: int = 500
    labelled: int = 1_000_000  # bars


QUICK = Sizes(1, 700, learned=2, turns=2, rows=3000, picked=2000, loaded=500, asked=3, answers=5, labelled=5000)


@dataclass
class Seen:
    """What has been found so far."""

    sizes: Sizes
    rows: list[list[str]]
    goals: list[Goal]
    notes: list[str]

    def rates(self, case: str, unit: str, count: dict[str, int], took: Seconds, ours: str) -> dict[str, Spread]:
        """A row a side, as many a second; the others' time for one, by ours."""
        each = {who: [seconds / count[who] for seconds in took[who]] for who in took}
        ratios = {who: _beside(each[who], each[ours]) for who in each}
        for who, seconds in each.items():
            rate = Spread.of([1.0 / one for one in seconds])
            self.rows.append([case, who, f"{rate.plain()} {unit}", "" if who == ours else ratios[who].plain()])
        return ratios


def measure(quick: bool) -> Section:
    """All four."""
    seen = Seen(QUICK if quick else Sizes(), [], [], [])
    load = os.getloadavg()[0]
    with threads(1), torch.random.fork_rng(devices=[]):
        trained = _training(seen)
        _batches(seen)
        _answers(seen, trained)
        _labels(seen)
    seen.notes.append(
        f"torch {metadata.version('torch')}. The load average was {load:.1f} before and {os.getloadavg()[0]:.1f} after."
    )
    return Section(
        "Learning", HOW, Table(["Case", "Side", "Speed or time", "Time, of ours"], seen.rows), seen.goals, seen.notes
    )


def _by_turns(calls: Mapping[str, Callable[[], float]], turns: int) -> Seconds:
    """The seconds that each call says it took; who is first changes from turn to turn."""
    names = list(calls)
    took: Seconds = {name: [] for name in names}
    for turn in range(turns):
        for step in range(len(names)):
            name = names[(turn + step) % len(names)]
            took[name].append(calls[name]())
    return took


def _beside(seconds: list[float], ours: list[float]) -> Spread:
    """How often as long as ours, turn by turn."""
    return Spread.of([theirs / own for theirs, own in zip(seconds, ours, strict=True)])


def _time(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


# Training


class Items(Dataset[Any]):
    """Windows one by one, of tensors or of arrays."""

    def __init__(self, features: Any, ends: Any, labels: Any) -> None:
        self.features, self.ends, self.labels = features, ends, labels

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, at: int) -> tuple[Any, Any]:
        end = self.ends[at]
        return self.features[end - SEQ_LEN + 1 : end + 1], self.labels[at]


def _training(seen: Seen) -> Trained:
    """Both loops on the same windows; the last network of ours."""
    sizes = seen.sizes
    market = planted("reversal", QUALITY, sizes.symbols, sizes.bars)
    flat = flatten(market.frames, Label("direction", horizon=1, cost_bps=0.0), SEQ_LEN, market.timeframe)
    split = chronological(flat)
    options = Options(epochs=sizes.epochs, seq_len=SEQ_LEN, lr=3e-3, batch_size=BATCH, device="cpu", patience=1000)
    scaler = Scaler.fit(flat.X, flat.ends[split.train], SEQ_LEN)
    scaled, ends, y = np.nan_to_num(scaler(flat.X)), flat.ends[split.train], flat.y[split.train]
    items = {ARRAYS: Items(scaled, ends, y), TENSORS: Items(*map(torch.from_numpy, (scaled, ends, y)))}
    losses: dict[str, float] = {}
    nets: list[Trained] = []

    def ours() -> float:
        nets.append(train(flat, split, options))
        losses["ours"] = nets[-1].history[-1].val_loss
        return sum(nets[-1].windows / epoch.rate for epoch in nets[-1].history)

    def plain(who: str) -> float:
        net, took = plain_training(items[who], options)
        losses[who] = _validation(net, scaled, flat, split)
        return took

    calls: dict[str, Callable[[], float]] = {"ours": ours, **{who: partial(plain, who) for who in (TENSORS, ARRAYS)}}
    took = _by_turns(calls, sizes.learned)
    count = dict.fromkeys(took, len(split.train) * sizes.epochs)
    ratios = seen.rates("training", "windows/s", count, took, "ours")
    seen.goals += [Goal(f"training: time of the {who} / ours", 1.2, ratios[who].median, False) for who in items]
    apart = max(abs(losses[who] - losses["ours"]) for who in items)
    seen.goals.append(Goal("training: validation losses apart", TOLERANCE, apart))
    best = -(QUALITY * np.log(QUALITY) + (1 - QUALITY) * np.log(1 - QUALITY))
    said = ", ".join(f"{who} {loss:.4f}" for who, loss in losses.items())
    seen.notes.append(
        f"Training: {len(split.train):,} windows, epochs: {sizes.epochs}, turns: {sizes.learned}. Validation log-loss "
        f"at the end: {said}; a coin has {np.log(2):.4f}, and {best:.4f} is the best that can be expected."
    )
    return nets[-1]


def plain_training(items: Items, options: Options) -> tuple[PatternNN, float]:
    """The loop that one would write first; the network, and the seconds of its epochs."""
    torch.manual_seed(options.seed)
    net = PatternNN(len(NAMES), options.hidden, options.layers, 2, options.dropout, options.backbone).train()
    pulled = {"params": [p for p in net.parameters() if p.ndim > 1], "weight_decay": options.weight_decay}
    free = {"params": [p for p in net.parameters() if p.ndim <= 1], "weight_decay": 0.0}
    optimiser = torch.optim.AdamW([pulled, free], lr=options.lr)
    loader = DataLoader(items, batch_size=options.batch_size, shuffle=True)
    rates = torch.optim.lr_scheduler.LambdaLR(optimiser, partial(schedule, steps=len(loader) * options.epochs))
    begin = time.perf_counter()
    for _ in range(options.epochs):
        total = 0.0
        for windows, labels in loader:
            loss = functional.cross_entropy(net(windows), labels)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(net.parameters(), CLIP_NORM)
            optimiser.step()
            rates.step()
            total += loss.item() * len(labels)
    return net, time.perf_counter() - begin


def _validation(net: PatternNN, scaled: Any, flat: Flat, split: Split) -> float:
    return log_loss(softmax(logits_of(net, scaled, flat.ends[split.val], SEQ_LEN)), flat.y[split.val])


# Batches


def _batches(seen: Seen) -> None:
    """Windows a second, shuffled, without a network."""
    sizes, chance = seen.sizes, np.random.default_rng(5)
    X = chance.normal(size=(sizes.rows, len(NAMES))).astype(np.float32)
    order = chance.permutation(np.arange(SEQ_LEN - 1, sizes.rows))
    y = np.zeros(len(order), dtype=np.int64)
    some = order[: sizes.loaded]
    arrays, tensors = Items(X, some, y), Items(*map(torch.from_numpy, (X, some, y)))
    picked, lookup = order[: sizes.picked], Lookup(torch.from_numpy(X), SEQ_LEN)
    calls: dict[str, Callable[[], float]] = {
        "the training loop's lookup": lambda: _time(lambda: _looked_up(lookup, torch.from_numpy(picked))),
        "`gather` of arrays": lambda: _time(lambda: _gathered(X, picked)),
        TENSORS: lambda: _time(lambda: _loaded(tensors)),
        ARRAYS: lambda: _time(lambda: _loaded(arrays)),
    }
    ours = list(calls)[:2]
    took = _by_turns(calls, sizes.turns)
    count = {who: len(picked) if who in ours else len(some) for who in calls}
    seen.rates("batches", "windows/s", count, took, ours[0])
    for who in ours:
        rate = count[who] / Spread.of(took[who]).median / 1e6
        seen.goals.append(Goal(f"batches: million windows a second, {who}", 5, rate, at_most=False))


def _looked_up(lookup: Lookup, ends: torch.Tensor) -> None:
    for begin in range(0, len(ends), BATCH):
        lookup(ends[begin : begin + BATCH])


def _gathered(X: Any, ends: Any) -> None:
    for begin in range(0, len(ends), BATCH):
        torch.from_numpy(gather(X, ends[begin : begin + BATCH], SEQ_LEN))


def _loaded(items: Items) -> None:
    for _ in DataLoader(items, batch_size=BATCH, shuffle=True):
        pass


# Answers


def _answers(seen: Seen, trained: Trained) -> None:
    """One, and as many as a large watchlist has."""
    need, many = WARMUP + SEQ_LEN, seen.sizes.answers
    frames = list(planted("noise", 0.5, many, need, seed=3).frames.values())
    [long] = planted("noise", 0.5, 1, need + many - 1, seed=4).frames.values()
    served, net = _served(trained), trained.net.eval()
    windows = torch.randn(many, SEQ_LEN, len(NAMES))
    calls: dict[str, dict[str, Callable[[], object]]] = {
        "one answer": {
            "served model, from candles": lambda: served.predict(frames[0]),
            "served model, its network alone": lambda: _eager(served.net, windows[:1].double()),
            "eager torch, from a window": lambda: _eager(net, windows[:1]),
        },
        f"{many} answers": {
            "served model, bars of one symbol, one call": lambda: served.predict(long),
            "served model, its network alone": lambda: _eager(served.net, windows.double()),
            "eager torch, one by one": lambda: [_eager(net, windows[n : n + 1]) for n in range(many)],
            "eager torch, one batch": lambda: _eager(net, windows),
        },
        f"{many} symbols, from candles": {
            "served model, one call": lambda: served.latest(frames),
            "served model, a call a symbol": lambda: [served.predict(frame) for frame in frames],
            "eager torch, a call a symbol": lambda: [_plainly(net, served, frame) for frame in frames],
        },
    }
    for case, sides in calls.items():
        turns = seen.sizes.asked if case == "one answer" else seen.sizes.turns
        timed = {who: partial(_time, call) for who, call in sides.items()}
        for call in timed.values():
            call()
        took = _by_turns(timed, turns)
        first, *_ = took
        for who, seconds in took.items():
            ratio = "" if who == first else _beside(seconds, took[first]).plain()
            seen.rows.append([case, who, Spread.of(seconds).time(), ratio])
    seen.notes.append(_agreement(served, trained, long))


def _served(trained: Trained) -> Served:
    facts = ModelFacts(
        name="pattern_nn",
        version=1,
        timeframe="1h",
        seq_len=SEQ_LEN,
        warmup=WARMUP + SEQ_LEN,
        classes=("down", "up"),
        label="direction",
        seen_until=0,
        data_until=0,
        sha256="",
        market="BTCUSDT",
    )
    said = {
        "arch": trained.net.arch(),
        "scaler": trained.scaler.to_dict(),
        "calibration": {"T": trained.temperature},
    }
    return Served(facts, said, trained.net.state_dict())


@torch.inference_mode()
def _eager(net: PatternNN, windows: torch.Tensor) -> torch.Tensor:
    return net(windows)  # type: ignore[no-any-return]


def _plainly(net: PatternNN, served: Served, candles: pd.DataFrame) -> torch.Tensor:
    """What anyone would write: features, the last window, the network."""
    window = served.scaler(features(candles, served.of.zone))[-SEQ_LEN:]
    return _eager(net, torch.from_numpy(window.astype(np.float32))[None])


def _agreement(served: Served, trained: Trained, candles: pd.DataFrame) -> str:
    """How far the served model's answers are from those of the network it was made of."""
    flat = flatten({"BTCUSDT": candles}, Label("pattern"), SEQ_LEN, "1h")
    eager = trained.probabilities(flat.X, flat.ends)
    apart = float(np.abs(served.predict(candles)[flat.ends] - eager).max())
    return f"Answers: on {len(eager):,} windows the served model and single precision are at most {apart:.1g} apart."


# Labels


def _labels(seen: Seen) -> None:
    """Bars a second of each kind, on a random walk of minutes."""
    [candles] = planted("noise", 0.5, 1, seen.sizes.labelled, seed=6).frames.values()
    kinds = {
        "triple barrier, 20 bars": Label("triple_barrier", horizon=20),
        "direction, 20 bars": Label("direction", horizon=20),
        "six patterns": Label("pattern"),
    }
    calls = {name: partial(_time, partial(labelled, candles, label)) for name, label in kinds.items()}
    for call in calls.values():
        call()
    took = _by_turns(calls, seen.sizes.turns)
    for name, seconds in took.items():
        rate = Spread.of([len(candles) / each for each in seconds])
        seen.rows.append(["labels", name, f"{rate.plain()} bars/s", ""])
