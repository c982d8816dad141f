"""The pipeline as a user meets it: one line trains, judges and saves; what cannot be learned from is said."""

from __future__ import annotations

import dataclasses
import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import ml_pipeline
from domain.clock import ManualClock
from domain.errors import DataError, ModelError, TrainingStopped
from domain.models import use_shelf
from learning import training
from learning.datasets import gathered
from learning.job import CHECKPOINT, Asked, prepare, read_events
from learning.judging import verdict
from learning.labels import Label
from learning.planted import planted
from learning.training import Options
from model_manager import Entry, ModelManager, Shelf
from strategies.base import asked as wishes
from strategies.lstm import Lstm
from tests.conftest import ROOT

FRAMES = planted("reversal", q=0.9, symbols=2, bars=900, seed=3).frames
SMALL: dict[str, Any] = {"seq_len": 4, "hidden": 8, "device": "cpu"}
LINE = ["--seq-len", "4", "--hidden", "8", "--batch-size", "64", "--label", "direction", "--horizon", "1"]
LINE += ["--device", "cpu", "--lr", "1e-2"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of candle files."""
    at = tmp_path / "ohlcv"
    at.mkdir()
    for symbol, candles in FRAMES.items():
        candles.to_csv(at / f"{symbol}_1h.csv")
    return at


def line(folder: Path, *more: str) -> list[str]:
    return ["--data-dir", str(folder), "--out-dir", str(folder.parent / "models"), *LINE, *more]


def said(folder: Path, version: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder.parent / "models" / f"pattern_nn_v{version}.json").read_text())
    return found


def test_one_line_trains_judges_and_saves(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ml_pipeline.main(line(folder, "--epochs", "3", "--seeds", "2", "--walk-forward", "1")) == 0
    out, told = capsys.readouterr().out, said(folder)
    rows = [text.split("  ")[0] for text in out.splitlines()[1:5]]

    assert rows == ["majority", "logistic", "lightgbm", "this model"]
    models = folder.parent / "models"
    assert f"To name it there: python model_manager.py --out-dir {models} --name pattern_nn point champion v1." in out
    assert told["metrics"]["test"]["acc"] > 0.8  # nine of ten follow the rule
    assert told["sentence"] in out
    assert "always naming the commonest class gets" in told["sentence"]
    assert told["data"]["symbols"] == sorted(FRAMES)
    assert told["metrics"]["seeds"]["n"] == 2
    assert len(told["metrics"]["walk_forward"]["folds"]) == 1
    assert told["split"]["train"][1] < told["split"]["val"][0] < told["split"]["calib"][0] < told["split"]["test"][0]
    assert sorted(p.suffix for p in (folder.parent / "models").iterdir() if p.is_file()) == [".json", ".pth"]


def test_a_trained_model_trades_the_bars_it_has_not_seen(folder: Path) -> None:
    assert ml_pipeline.main(line(folder, "--epochs", "3")) == 0
    manager = ModelManager(folder.parent / "models", ManualClock())
    manager.point("champion", "v1")
    before = use_shelf(Shelf(manager))
    try:
        candles = next(iter(FRAMES.values()))
        exposure = wishes(Lstm(), candles).exposure
    finally:
        use_shelf(before)
    seen = candles.index < said(folder)["split"]["calib"][1]

    assert seen.any()
    assert not exposure[seen].any()
    ahead = candles["close"].shift(-1) > candles["close"]
    held = exposure == 1.0
    assert held.sum() > 20
    assert ahead[held].mean() > 0.75


def test_a_dry_run_says_what_would_be_learned_from_and_writes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ml_pipeline.main(line(folder, "--dry-run")) == 0

    assert "windows of 4 bars: train " in capsys.readouterr().out
    assert not (folder.parent / "models").exists()


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--data-dir", "/nowhere"], "there is no folder /nowhere"),
        (["--symbols", "AAPL"], "no symbol in your files is called 'AAPL'"),
        (["--seq-len", "1"], "seq_len must be at least 2: got 1"),
        (["--lr", "nan"], "lr must be a finite number"),
        (["--horizon", "0"], "horizon must be at least 1"),
        (["--seeds", "0"], "seeds must be from 1 to 100: got 0"),
        (["--horizon", "800"], "too few candles to learn from"),
        (["--name", "../evil"], "small letters, digits and _"),
        (["--device", "cuda"], "there is no GPU here that torch can use"),
        (["--version", "two"], "--version is auto or a number above 0: got 'two'"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(
    folder: Path, more: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ml_pipeline.main([*line(folder), *more]) == 2

    last = capsys.readouterr().err.strip()
    assert sentence in last
    assert "Traceback" not in last


def test_an_empty_folder_is_said_with_the_cure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ohlcv").mkdir()

    assert ml_pipeline.main(line(tmp_path / "ohlcv")) == 2
    assert "no candles to learn from in" in (err := capsys.readouterr().err)
    assert "put CSV or Parquet files there" in err


def test_a_loss_that_is_no_number_saves_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = torch.nn.functional.cross_entropy
    monkeypatch.setattr(training.functional, "cross_entropy", lambda *a, **k: real(*a, **k) * math.nan)

    assert ml_pipeline.main(line(folder)) == 2
    assert "loss is not a number in epoch 1: lower --lr" in capsys.readouterr().err
    assert not list((folder.parent / "models").glob("*.pth"))


@pytest.mark.long
def test_ctrl_c_keeps_the_epochs_and_resume_ends_where_it_would_have(folder: Path) -> None:
    command = [sys.executable, "ml_pipeline.py", *line(folder, "--epochs", "24", "--patience", "24")]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        for text in child.stderr:
            if "epoch 2 of" in text:
                break
        child.send_signal(signal.SIGINT)
        rest = child.stderr.read()
    assert child.returncode == 130
    assert "The same line with --resume goes on from there." in rest
    [kept] = (folder.parent / "models" / ".training").iterdir()
    had = training.load_checkpoint(kept / CHECKPOINT)["epoch"]

    assert ml_pipeline.main(line(folder, "--epochs", "24", "--patience", "24", "--resume")) == 0
    assert ml_pipeline.main(line(folder, "--epochs", "24", "--patience", "24")) == 0
    assert 2 <= had < 24
    resumed, whole = (said(folder, version)["training"] for version in (1, 2))
    assert resumed["weights_hash"] == whole["weights_hash"]
    assert [e["val_loss"] for e in resumed["history"]] == [e["val_loss"] for e in whole["history"]]


def test_the_same_training_twice_at_once_is_refused_and_another_is_not(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two in one folder would write one checkpoint in turns."""
    own = folder.parent / "models" / ".training"
    asked = ml_pipeline.asked_of(ml_pipeline.parser().parse_args(line(folder, "--epochs", "1")))
    both = own / f"pattern_nn-{asked.key}-{ml_pipeline._which(gathered(FRAMES, '1h'))}"
    with ml_pipeline._alone(both):
        assert ml_pipeline.main(line(folder, "--epochs", "1")) == 2
        assert "the same training runs already" in capsys.readouterr().err
        assert ml_pipeline.main(line(folder, "--epochs", "1", "--symbols", min(FRAMES))) == 2
        assert "too little data" in capsys.readouterr().err

    assert ml_pipeline.main(line(folder, "--horizon", "800", "--resume")) == 2
    assert "There is nothing to go on from: it begins anew." in capsys.readouterr().err


def test_the_way_on_names_the_models_that_the_strategy_asks(tmp_path: Path) -> None:
    entry = Entry("pattern_nn", 3, "candidate", {})

    said = ml_pipeline._way_on(entry, tmp_path, tmp_path)
    assert said == "To let the strategy lstm ask it: python model_manager.py point champion v3"
    other = ml_pipeline._way_on(dataclasses.replace(entry, name="mine"), tmp_path, tmp_path)
    assert "--name mine point champion v3. The strategy lstm asks pattern_nn in" in other


# As a job


def test_a_job_leaves_events_a_card_and_a_version(folder: Path, tmp_path: Path) -> None:
    training_asked = Asked(Options(epochs=2, **SMALL), Label("direction", horizon=1))
    at = tmp_path / "jobs" / "one"
    asked = {"training": training_asked.to_dict(), "out_dir": str(tmp_path / "models")}
    shares: list[float] = []
    begin = time.monotonic()
    ml_pipeline.work(json.loads(json.dumps(asked)), at, lambda share, words: shares.append(share), lambda: False)

    events = read_events(at)
    assert [e["event"] for e in events if e["event"] != "step"] == ["begin", "epoch", "epoch", "done"]
    assert {"train_loss", "val_loss", "rate", "left_s", "best_epoch"} <= set(events[-2])
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert json.loads((at / "result.json").read_text())["called"] == "pattern_nn_v1"
    assert "# pattern_nn v1 (candidate)" in (at / "card.md").read_text()
    assert time.monotonic() - begin < 60


def test_a_cancelled_job_stops_at_the_next_step_and_another_goes_on_from_it(folder: Path, tmp_path: Path) -> None:
    asked = {
        "training": Asked(
            Options(epochs=3, seq_len=4, hidden=8, device="cpu"), Label("direction", horizon=1)
        ).to_dict(),
        "out_dir": str(tmp_path / "models"),
    }
    first, second = tmp_path / "jobs" / "one", tmp_path / "jobs" / "two"
    with pytest.raises(TrainingStopped):
        ml_pipeline.work(asked, first, lambda share, words: None, lambda: "epoch" in _last_event(first))
    ml_pipeline.work({**asked, "resume": str(first)}, second, lambda share, words: None, lambda: False)

    assert not (first / "result.json").exists()
    assert (second / "result.json").exists()
    assert [e["epoch"] for e in read_events(second) if e["event"] == "epoch"] == [1, 2, 3]


def _last_event(folder: Path) -> str:
    events = [e for e in read_events(folder) if e["event"] != "step"]
    return str(events[-1]["event"]) if events else ""


def test_a_half_written_event_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_text('{"event": "begin"}\n{"event": "ep')

    assert read_events(tmp_path) == [{"event": "begin"}]
    assert read_events(tmp_path / "nowhere") == []


def test_what_is_asked_is_the_same_after_json() -> None:
    asked = Asked(Options(lr=0.01), Label("pattern"), seeds=3, folds=2)

    assert Asked.of(json.loads(json.dumps(asked.to_dict()))) == asked
    with pytest.raises(ValueError, match="a training has no colour"):
        Asked.of({"colour": "red"})


def test_candles_of_different_markets_do_not_train_one_model() -> None:
    one = next(iter(FRAMES.values()))
    data = gathered({"PLANT000USDT": one}, "1h")
    data.frames["AAPL"] = one

    with pytest.raises(DataError, match="AAPL, PLANT000USDT trade on different days"):
        prepare(data, Asked(Options(seq_len=4), Label("direction", horizon=1)))


def test_the_sentence_is_honest() -> None:
    test = {"n": 1000, "acc": 0.52, "acc_ci95": [0.49, 0.55], "majority_acc": 0.51, "logloss": 0.69}
    plain = {"logistic": {"logloss": 0.68}}
    metrics = {"test": {**test, "overlaps_majority": True}, "baselines": plain}

    assert "no skill is shown" in verdict({"kind": "direction"}, metrics)
    better = {**metrics, "test": {**test, "overlaps_majority": False}}
    assert "logistic did as well or better" in verdict({"kind": "direction"}, better)
    assert "says nothing about what prices do next" in verdict({"kind": "pattern"}, metrics)


def test_a_taken_version_is_refused_before_anything_is_trained_and_leaves_the_first_alone(folder: Path) -> None:
    assert ml_pipeline.main(line(folder, "--epochs", "1", "--version", "3")) == 0
    before = (folder.parent / "models" / "pattern_nn_v3.pth").read_bytes()

    assert ml_pipeline.main(line(folder, "--version", "3")) == 2
    assert (folder.parent / "models" / "pattern_nn_v3.pth").read_bytes() == before
    with pytest.raises(ModelError):
        ModelManager(folder.parent / "models", ManualClock()).load("v4")
