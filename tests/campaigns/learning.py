"""Does the network learn what is there, and nothing where there is nothing? And does a kill ever tear a model?

Planted markets whose best possible accuracy is known, through the same features, windows, splits and training that a
user's candles go through; noise in twenty seeds; trainings killed at random moments; a folder that many processes save
into at once.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from domain.clock import ManualClock
from domain.errors import DeskError
from learning.baselines import fitting
from learning.labels import Label
from learning.network import weights_hash
from learning.planted import planted
from learning.scoring import scores
from learning.splits import chronological
from learning.training import Options, load_checkpoint, train
from learning.windows import Flat, flatten
from model_manager import ModelManager
from tests.conftest import ROOT
from tests.made_models import about, weights
from tests.test_pattern_nn import planted as drawn

FRESH = multiprocessing.get_context("spawn")  # torch does not like to be forked
SEED, NOISES, KILLS, SAVERS = 20261121, 20, 20, 50
RECOVERED, INSIDE, SURE = (
    0.95,
    0.95,
    0.001,
)  # share of what can be known; noise seeds that show nothing; claims on noise
OPTIONS = Options(epochs=30, seq_len=10, lr=3e-3, device="cpu", patience=8)


@dataclass(frozen=True)
class Found:
    """What one training came to on a made market."""

    kind: str
    q: float
    seed: int
    n: int
    acc: float
    low: float
    high: float
    base: float
    sure: float
    ece: float
    epochs: int
    seconds: float
    plain: float  # the straight line's accuracy

    @property
    def recovered(self) -> float:
        """Share of what can be known that was found: 1 is all of it."""
        return (self.acc - 0.5) / (self.q - 0.5) if self.q > 0.5 else float("nan")


def learn(seed: int, kind: str, q: float, symbols: int, bars: int, options: Options = OPTIONS) -> Found:
    """Train on a made market and judge on its later bars."""
    begin = time.perf_counter()
    market = planted(kind, q, symbols, bars, seed)
    flat = flatten(market.frames, Label("direction", horizon=1, cost_bps=0.0), options.seq_len, market.timeframe)
    split = chronological(flat)
    trained = train(flat, split, dataclasses.replace(options, seed=seed))
    said = scores(trained.probabilities(flat.X, flat.ends[split.test]), flat.y[split.test])
    line = fitting("logistic", flat)(split.train, split.val, split.calib, seed)(split.test)
    return Found(
        kind,
        q,
        seed,
        said["n"],
        said["acc"],
        *said["acc_ci95"],
        _base(flat, split.test),
        said["coverage_p70"],
        said["ece"],
        len(trained.history),
        time.perf_counter() - begin,
        float((line.argmax(axis=1) == flat.y[split.test]).mean()),
    )


def _base(flat: Flat, test: Any) -> float:
    return float(flat.y[test].mean())


def shows_nothing(found: Found) -> bool:
    """Whether the interval holds a coin's half or reaches the base rates: no skill is claimed."""
    return found.low <= max(0.5, found.base, 1.0 - found.base)


# Kills

WORKER = """
import json, sys
from pathlib import Path
from learning.training import Options, train
from tests.test_pattern_nn import planted
flat, split, _ = planted("xor", 0.75, 3000)
train(flat, split, Options(**json.loads(sys.argv[2])), checkpoint=Path(sys.argv[1]))
"""
KILLED = Options(epochs=40, seq_len=4, hidden=16, lr=5e-3, batch_size=64, dropout=0.3, device="cpu", patience=40)


def kills(count: int, folder: Path, seed: int = SEED) -> tuple[int, list[str]]:
    """Kill trainings at random moments; how many kills met one under way, and what was wrong afterwards."""
    flat, split, _ = drawn("xor", 0.75, 3000)
    whole, chance, met, wrong = train(flat, split, KILLED), np.random.default_rng(seed), 0, []
    for number in range(count):
        at = folder / f"{number}.pt"
        command = [sys.executable, "-c", WORKER, str(at), json.dumps(dataclasses.asdict(KILLED))]
        child = subprocess.Popen(command, cwd=ROOT)
        while child.poll() is None and not at.exists():
            time.sleep(0.002)
        time.sleep(float(chance.uniform(0, whole.seconds)))
        met += child.poll() is None
        child.send_signal(signal.SIGKILL)
        child.wait()
        try:
            load_checkpoint(at)
            found = train(flat, split, KILLED, checkpoint=at)
        except DeskError as error:
            wrong.append(f"kill {number}: {error}")
            continue
        if (found.hash, [e.val_loss for e in found.history]) != (whole.hash, [e.val_loss for e in whole.history]):
            wrong.append(f"kill {number}: after {found.resumed} epochs the resumed training went another way")
    return met, wrong


def _save(folder: Path, seed: int) -> int:
    return ModelManager(folder, ManualClock()).save(weights(seed), about()).version


def savers(count: int, folder: Path) -> list[str]:
    """Save from several processes at once; what was wrong."""
    with ProcessPoolExecutor(8, FRESH) as pool:
        versions = list(pool.map(partial(_save, folder), range(count)))
    manager, wrong = ModelManager(folder, ManualClock()), []
    if sorted(versions) != list(range(1, count + 1)):
        wrong.append(f"{count} saves came to the versions {sorted(versions)}")
    for seed, version in enumerate(versions):
        net = manager.load(f"v{version}").net  # type: ignore[attr-defined]
        if weights_hash({k: v.float() for k, v in net.state_dict().items()}) != weights_hash(weights(seed)):
            wrong.append(f"v{version} holds other weights than were saved")
    return wrong


def _each(work: Callable[[int], Found], seeds: Sequence[int]) -> list[Found]:
    with ProcessPoolExecutor(os.cpu_count(), FRESH) as pool:
        return list(pool.map(work, seeds))


def run(path: Path, noises: int = NOISES, kill: int = KILLS, symbols: int = 20, bars: int = 3000) -> bool:
    """Whether all of it held; the figures go to `path`."""
    begin = time.perf_counter()
    noise = _each(partial(learn, kind="noise", q=0.5, symbols=symbols, bars=bars), range(noises))
    planted_ones = [
        _each(partial(learn, kind=kind, q=q, symbols=symbols, bars=bars), range(5))
        for kind, q in (("reversal", 0.60), ("xor", 0.75))
    ]
    with tempfile.TemporaryDirectory() as folder:
        met, wrong = kills(kill, Path(folder))
        wrong += savers(SAVERS, Path(folder) / "models")
    silent = sum(map(shows_nothing, noise)) / len(noise)
    sure = max(found.sure for found in noise)
    enough = all(np.median([f.recovered for f in found]) >= RECOVERED for found in planted_ones)
    path.write_text(_text(noise, planted_ones, met, kill, wrong, time.perf_counter() - begin), encoding="utf-8")
    return silent >= INSIDE and sure <= SURE and enough and not wrong


def _text(
    noise: list[Found], planted_ones: list[list[Found]], met: int, kill: int, wrong: list[str], took: float
) -> str:
    used = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "numpy", "scikit-learn"))
    o = OPTIONS
    lines = [
        "# What the network finds, and what it does not",
        "",
        "Written by `make prove`. Made markets whose best possible accuracy q is known go the way of a user's candles: "
        f"features, purged split, training (at most {o.epochs} epochs, lr {o.lr:g}, windows of {o.seq_len} bars, "
        "stopped by validation), calibration. Right: on later bars. Recovered: (right - 1/2) / (q - 1/2). The "
        "straight line is the logistic baseline: it must fail where the answer is a product of two signs.",
        "",
        f"{took:.0f} s on {os.cpu_count()} cores. Python {platform.python_version()}, {used}.",
        "",
        "| market | q | seed | test windows | right | 95 % interval | recovered | straight line | ECE | epochs | s |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for found in (f for each in planted_ones for f in each):
        lines.append(
            f"| {found.kind} | {found.q:.2f} | {found.seed} | {found.n:,} | {found.acc:.3f} | {found.low:.3f} to "
            f"{found.high:.3f} | {found.recovered:.2f} | {found.plain:.3f} | {found.ece:.3f} | {found.epochs} | "
            f"{found.seconds:.0f} |"
        )
    silent = sum(map(shows_nothing, noise))
    lines += [
        "",
        "## Noise",
        "",
        f"**{silent} of {len(noise)} seeds show no skill**; the largest share of answers claimed above 70 % is "
        f"{max(f.sure for f in noise):.2%}; right {min(f.acc for f in noise):.3f} to {max(f.acc for f in noise):.3f} "
        f"of {noise[0].n:,} windows each.",
        "",
        "## Kills",
        "",
        f"{kill} trainings were killed (SIGKILL) at random moments, {met} of them under way; {SAVERS} models were "
        f"saved by 8 processes at once. **Torn files, other curves, lost or mixed versions: {len(wrong)}.**",
        *(f"- {one}" for one in wrong),
    ]
    return "\n".join(lines) + "\n"
