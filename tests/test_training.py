"""The training loop: the same seed gives the same bits, and neither a stop nor a kill changes what comes out."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from domain.errors import CheckpointMismatch, ModelDamaged, TrainingDiverged, TrainingStopped
from learning import training
from learning.scaler import Scaler
from learning.training import Options, Tick, Trained, load_checkpoint, schedule, train
from tests.conftest import ROOT
from tests.test_pattern_nn import Slices, Windows, planted

OPTIONS = Options(epochs=5, seq_len=4, hidden=8, lr=5e-3, batch_size=64, dropout=0.3, device="cpu")
FLAT, SPLIT, _ = planted("xor", 0.75, 1500)


def trained(options: Options = OPTIONS, **more: object) -> Trained:
    return train(FLAT, SPLIT, options, **more)  # type: ignore[arg-type]


def curve(found: Trained) -> list[tuple[float, float, float]]:
    return [(e.train_loss, e.val_loss, e.lr) for e in found.history]


@pytest.fixture(scope="module")
def whole() -> Trained:
    """The training that nothing interrupted."""
    return trained()


def test_the_same_seed_gives_the_same_bits_and_another_one_others(whole: Trained) -> None:
    again, other = trained(), trained(dataclasses.replace(OPTIONS, seed=8))

    assert (again.hash, curve(again), again.temperature) == (whole.hash, curve(whole), whole.temperature)
    assert other.hash != whole.hash


def test_what_goes_on_elsewhere_in_the_process_changes_nothing(whole: Trained) -> None:
    torch.manual_seed(99)
    before, threads = torch.get_rng_state(), torch.get_num_threads()

    assert trained(progress=lambda tick: torch.get_num_threads()).hash == whole.hash
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads


def test_validation_and_test_rows_leave_no_trace_in_scaler_and_first_epoch(whole: Trained) -> None:
    changed = Windows(FLAT.X.copy(), FLAT.ends, FLAT.y, FLAT.seq_len)
    changed.X[FLAT.ends[SPLIT.test[0]] :] = 7.0
    other = train(changed, SPLIT, OPTIONS)

    assert other.scaler == whole.scaler == Scaler.fit(FLAT.X, FLAT.ends[SPLIT.train], FLAT.seq_len)
    assert other.hash == whole.hash


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_stopped_training_goes_on_as_if_it_had_not_been(whole: Trained, tmp_path: Path, seed: int) -> None:
    """Stopped two times, at any step."""
    at = tmp_path / "checkpoint.pt"
    for stop_after in np.random.default_rng(seed).integers(1, 40, 2):
        asked = iter(range(10_000))
        with pytest.raises(TrainingStopped, match=r"stopped in epoch \d"):
            trained(checkpoint=at, cancel=lambda: next(asked) >= stop_after)  # noqa: B023
    found = trained(checkpoint=at)

    assert found.hash == whole.hash
    assert curve(found) == curve(whole)
    assert found.temperature == whole.temperature


WORKER = """
import json, os, sys, time
from pathlib import Path
import learning.training as training
from tests.test_pattern_nn import planted

step = training._Run.step
training._Run.step = lambda self, *a: (time.sleep(0.005), step(self, *a))[1]  # time to be killed in
flat, split, _ = planted("xor", 0.75, 1500)
options = training.Options(**json.loads(sys.argv[2]))
for _ in range(2):
    child = os.fork()
    if not child:
        training.train(flat, split, options, checkpoint=Path(sys.argv[1]))
        os._exit(0)
    print(child, flush=True)
    os.waitpid(child, 0)
"""


def test_a_killed_training_leaves_no_torn_file_and_goes_on_as_if_it_had_not_been(
    whole: Trained, tmp_path: Path
) -> None:
    at, chance = tmp_path / "checkpoint.pt", np.random.default_rng(11)
    told = json.dumps(dataclasses.asdict(OPTIONS))
    arguments = [sys.executable, "-c", WORKER, str(at), told]
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        had = 0
        for line in worker.stdout:
            while not _further(at, had):
                time.sleep(0.005)
            time.sleep(float(chance.uniform(0, 0.05)))
            os.kill(int(line), signal.SIGKILL)
            had = load_checkpoint(at)["epoch"]  # whole, whenever the kill came
    found = trained(checkpoint=at)

    assert 2 <= found.resumed == had
    assert (found.hash, curve(found)) == (whole.hash, curve(whole))


def _further(at: Path, had: int) -> bool:
    return at.exists() and load_checkpoint(at)["epoch"] > had


def test_it_stops_once_validation_no_longer_gets_better_and_keeps_the_best_weights() -> None:
    options = dataclasses.replace(OPTIONS, epochs=20, patience=2, lr=3e-2)
    flat, split, _ = planted("linear", 0.5, 900)  # noise: it can only get worse
    found = train(flat, split, options)
    losses = [e.val_loss for e in found.history]
    shorter = train(flat, split, dataclasses.replace(options, patience=20), cancel=None)

    assert len(losses) < 20
    assert found.best_epoch == 1 + int(np.argmin(losses)) == len(losses) - 2
    assert found.val_loss == min(losses)
    logits = found.logits(flat.X, flat.ends[split.val])
    assert training.log_loss(training.softmax(logits), flat.y[split.val]) == pytest.approx(found.val_loss, rel=1e-5)
    assert [e.val_loss for e in shorter.history][: len(losses)] == losses


def test_a_loss_that_is_no_number_ends_it_with_its_name_and_the_cure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real, calls = torch.nn.functional.cross_entropy, iter(range(10_000))

    def breaks(*args: object, **more: object) -> torch.Tensor:
        return real(*args, **more) * (math.nan if next(calls) == 20 else 1.0)  # type: ignore[arg-type]

    monkeypatch.setattr(training.functional, "cross_entropy", breaks)
    with pytest.raises(TrainingDiverged, match=r"not a number in epoch 2: lower --lr \(it is 0.005\)"):
        trained(checkpoint=tmp_path / "checkpoint.pt")
    assert load_checkpoint(tmp_path / "checkpoint.pt")["epoch"] == 1


def test_nothing_to_learn_from_is_said() -> None:
    with pytest.raises(TrainingDiverged, match="0 windows to learn from and 0 to validate with"):
        train(FLAT, Slices(*[SPLIT.train[:0]] * 4), OPTIONS)


def test_a_checkpoint_of_other_options_or_data_is_refused_by_name(tmp_path: Path) -> None:
    at = tmp_path / "checkpoint.pt"
    trained(dataclasses.replace(OPTIONS, epochs=1), checkpoint=at)

    with pytest.raises(CheckpointMismatch, match=r"lr was 0.005 and is 0.1"):
        trained(dataclasses.replace(OPTIONS, epochs=1, lr=0.1), checkpoint=at)
    other = Windows(FLAT.X + 1, FLAT.ends, FLAT.y, FLAT.seq_len)
    with pytest.raises(CheckpointMismatch, match="data was"):
        train(other, SPLIT, dataclasses.replace(OPTIONS, epochs=1), checkpoint=at)


def test_a_torn_or_evil_checkpoint_is_refused_and_runs_nothing(tmp_path: Path) -> None:
    at, ran = tmp_path / "checkpoint.pt", tmp_path / "ran"
    trained(dataclasses.replace(OPTIONS, epochs=1), checkpoint=at)
    at.write_bytes(at.read_bytes()[:-100])
    with pytest.raises(ModelDamaged, match=r"checkpoint\.pt cannot be read .*: delete it and start anew"):
        trained(checkpoint=at)

    torch.save({"format": 1, "net": Evil(ran)}, at)
    with pytest.raises(ModelDamaged):
        trained(checkpoint=at)
    assert not ran.exists()


class Evil:
    """Makes a file when it is unpickled by a loader that runs what it reads."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_the_rate_climbs_and_falls() -> None:
    rates = [schedule(step, 100) for step in range(100)]

    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates == sorted(rates[:5]) + sorted(rates[5:], reverse=True)
    assert rates[-1] < 0.02


def test_biases_and_norms_are_not_pulled_to_zero() -> None:
    net = training.PatternNN(3, hidden=4)
    pulled, free = training._optimiser(net, OPTIONS).param_groups

    assert (pulled["weight_decay"], free["weight_decay"]) == (0.01, 0.0)
    assert {id(p) for p in pulled["params"]} == {id(p) for n, p in net.named_parameters() if p.ndim == 2}
    assert len(pulled["params"]) + len(free["params"]) == len(list(net.parameters()))


def test_it_says_how_far_it_is_epoch_by_epoch() -> None:
    ticks: list[Tick] = []
    found = trained(progress=ticks.append)
    ended = [tick for tick in ticks if tick.done]

    assert [tick.done for tick in ended] == list(found.history)
    assert [tick.share for tick in ended] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert ended[-1].left_s == 0.0
    assert "epoch 5 of 5: loss 0." in ended[-1].words


def test_trying_threads_changes_nothing_but_their_number(whole: Trained) -> None:
    found = trained(dataclasses.replace(OPTIONS, threads=0))

    assert found.threads in (1, 2, 4)
    assert found.hash == whole.hash or found.threads > 1
