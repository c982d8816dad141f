"""Does the network learn what is there, and nothing where there is nothing? And does a kill ever tear a model?

Planted markets whose best possible accuracy is known, through the same features, windows, splits and training that a
user's candles go through; noise in twenty seeds; trainings killed at random moments; a folder that many processes save
into at once.
"""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

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
SEED, NOISES, PLANTS, KILLS, SAVERS = 20261121, 20, 3, 20, 50
PROCESSES, SAVING = 2, 8  # at once: for what computes, and for what saves
RECOVERED, INSIDE, SURE = 0.95, 0.95, 0.001  # of what can be known; of the noise seeds; claims above 70 % on noise
BENT = 0.2  # the most that a straight line may recover of a product of two signs: some features are no straight ones
ECE = {"noise": 0.02, "reversal": 0.03, "xor": 0.03}  # claimed chances less what came true, at most
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


def kills(numbers: Sequence[int], folder: Path) -> tuple[int, list[str]]:
    """Kill trainings at random moments; how many kills met one under way, and what was wrong afterwards."""
    flat, split, _ = drawn("xor", 0.75, 3000)
    whole, met, wrong = train(flat, split, KILLED), 0, []
    for number in numbers:
        at, chance = folder / f"{number}.pt", np.random.default_rng([SEED, number])
        met += _killed(at, float(chance.uniform(0, whole.seconds)))
        try:
            load_checkpoint(at)
            found = train(flat, split, KILLED, checkpoint=at)
        except (DeskError, FileNotFoundError) as error:
            wrong.append(f"kill {number}: {error}")
            continue
        if (found.hash, [e.val_loss for e in found.history]) != (whole.hash, [e.val_loss for e in whole.history]):
            wrong.append(f"kill {number}: after {found.resumed} epochs the resumed training went another way")
    return met, wrong


def _killed(at: Path, after: float) -> bool:
    """Start a training, kill it so many seconds after its first checkpoint; whether it was still under way."""
    command = [sys.executable, "-c", WORKER, str(at), json.dumps(dataclasses.asdict(KILLED))]
    with subprocess.Popen(command, cwd=ROOT) as child:
        while child.poll() is None and not at.exists():
            time.sleep(0.002)
        time.sleep(after)
        under_way = child.poll() is None
        child.kill()
    return under_way


def _save(folder: Path, seed: int) -> int:
    return ModelManager(folder, ManualClock()).save(weights(seed), about()).version


def savers(count: int, folder: Path, at_once: int = SAVING) -> list[str]:
    """Save from several processes at once; what was wrong."""
    with ProcessPoolExecutor(at_once, FRESH, _alone) as pool:
        versions = list(pool.map(partial(_save, folder), range(count)))
    manager, wrong = ModelManager(folder, ManualClock()), []
    if sorted(versions) != list(range(1, count + 1)):
        wrong.append(f"{count} saves came to the versions {sorted(versions)}")
    for seed, version in enumerate(versions):
        try:
            net = manager.load(f"v{version}").net  # type: ignore[attr-defined]
        except DeskError as error:
            wrong.append(f"v{version}: {error}")
            continue
        if weights_hash({k: v.float() for k, v in net.state_dict().items()}) != weights_hash(weights(seed)):
            wrong.append(f"v{version} holds other weights than were saved")
    return wrong


# All of it


@dataclass(frozen=True)
class Came:
    """What the whole campaign came to. `planted` has a list a market."""

    noise: list[Found]
    planted: list[list[Found]]
    kills: int
    met: int
    wrong: list[str]
    seconds: float

    def goals(self) -> list[tuple[str, str, str, bool]]:
        """Each goal, what was wanted, what was seen, whether that is enough."""
        silent = sum(map(shows_nothing, self.noise)) / len(self.noise)
        sure = max(found.sure for found in self.noise)
        rows = [
            ("noise: seeds that show no skill", f"at least {INSIDE:.0%}", f"{silent:.0%}", silent >= INSIDE),
            ("noise: answers claimed above 70 %, the worst seed", f"at most {SURE:.1%}", f"{sure:.2%}", sure <= SURE),
        ]
        for found in self.planted:
            middle = float(np.median([f.recovered for f in found]))
            words = f"{found[0].kind}: recovered, the middle seed"
            rows.append((words, f"at least {RECOVERED:.0%}", f"{middle:.1%}", middle >= RECOVERED))
        for found in (found for found in self.planted if found[0].kind == "xor"):
            most = max((f.plain - 0.5) / (f.q - 0.5) for f in found)
            words = "xor: recovered by a straight line, the best seed"
            rows.append((words, f"at most {BENT:.0%}", f"{most:.1%}", most <= BENT))
        for found in (self.noise, *self.planted):
            kind, middle = found[0].kind, float(np.median([f.ece for f in found]))
            words = f"{kind}: calibration error (ECE), the middle seed"
            rows.append((words, f"at most {ECE[kind]:.2f}", f"{middle:.3f}", middle <= ECE[kind]))
        torn = "torn files, other curves, lost or mixed versions"
        return [*rows, (torn, "none", str(len(self.wrong)), not self.wrong)]


def _alone() -> None:
    """One thread for this process: others compute beside it."""
    torch.set_num_threads(1)
    threadpool_limits(1)


def run(path: Path, noises: int = NOISES, kill: int = KILLS, symbols: int = 20, bars: int = 3000) -> bool:
    """Whether all of it held; the figures go to `path` either way."""
    begin, each = time.perf_counter(), partial(learn, symbols=symbols, bars=bars)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with ProcessPoolExecutor(PROCESSES, FRESH, _alone) as pool:
            xor, reversal = (
                [pool.submit(each, seed, kind, q) for seed in range(PLANTS)]
                for kind, q in (("xor", 0.75), ("reversal", 0.60))
            )
            noise = [pool.submit(each, seed, "noise", 0.5) for seed in range(noises)]
            killed = [pool.submit(kills, range(n, kill, PROCESSES), folder) for n in range(PROCESSES)]
            ended = [each.result() for each in killed]
            planted_ones = [[one.result() for one in some] for some in (reversal, xor)]
            silent = [one.result() for one in noise]
        wrong = [line for _, lines in ended for line in lines] + savers(SAVERS, folder / "models")
    met = sum(count for count, _ in ended)
    came = Came(silent, planted_ones, kill, met, wrong, time.perf_counter() - begin)
    path.write_text(_text(came), encoding="utf-8")
    return all(enough for *_, enough in came.goals())


def _text(came: Came) -> str:
    used = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "numpy", "scikit-learn"))
    o, goals, noise = OPTIONS, came.goals(), came.noise
    missed = [words for words, *_, enough in goals if not enough]
    lines = [
        "# What the network finds, and what it does not",
        "",
        "Written by `make prove`. Made markets whose best possible accuracy q is known go the way of a user's candles: "
        f"features, purged split, training (at most {o.epochs} epochs, lr {o.lr:g}, windows of {o.seq_len} bars, "
        "stopped by validation), calibration. Right: on later bars. Recovered: (right - 1/2) / (q - 1/2). The "
        "straight line is the logistic baseline: it must fail where the answer is a product of two signs.",
        "",
        f"{came.seconds:.0f} s, {PROCESSES} processes of one thread. Python {platform.python_version()}, {used}.",
        "",
        f"**Not met: {'; '.join(missed)}.**" if missed else "**Every goal is met.**",
        "",
        "| goal | wanted | seen | |",
        "|---|---|---|---|",
        *(f"| {words} | {wanted} | {seen} | {'met' if ok else '**not met**'} |" for words, wanted, seen, ok in goals),
        "",
        "| market | q | seed | test windows | right | 95 % interval | recovered | straight line | ECE | epochs | s |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for found in (f for some in came.planted for f in some):
        lines.append(
            f"| {found.kind} | {found.q:.2f} | {found.seed} | {found.n:,} | {found.acc:.3f} | {found.low:.3f} to "
            f"{found.high:.3f} | {found.recovered:.2f} | {found.plain:.3f} | {found.ece:.3f} | {found.epochs} | "
            f"{found.seconds:.0f} |"
        )
    lines += [
        "",
        "## Noise",
        "",
        f"**{sum(map(shows_nothing, noise))} of {len(noise)} seeds show no skill**; the largest share of answers "
        f"claimed above 70 % is {max(f.sure for f in noise):.2%}, the largest ECE {max(f.ece for f in noise):.3f}; "
        f"right {min(f.acc for f in noise):.3f} to {max(f.acc for f in noise):.3f} of {noise[0].n:,} windows each.",
        "",
        "## Kills",
        "",
        f"{came.kills} trainings were killed (SIGKILL) at random moments, {came.met} of them under way; {SAVERS} "
        f"models were saved by {SAVING} processes at once. **Torn files, other curves, lost or mixed versions: "
        f"{len(came.wrong)}.**",
        *(f"- {one}" for one in came.wrong),
    ]
    return "\n".join(lines) + "\n"
