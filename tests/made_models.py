"""Small models for tests: a network with drawn weights, saved and described like a trained one, in no time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from domain.candles import frame
from domain.clock import ManualClock
from learning.features import NAMES, spec
from learning.labels import Label
from learning.network import PatternNN
from model_manager import Entry, ModelManager

HOUR = 3_600_000_000_000
BEGIN = pd.Timestamp("2024-01-01", tz="UTC").value


def hours(rows: int, seed: int = 0, begin: int = BEGIN) -> pd.DataFrame:
    """Hourly candles of a market that never closes."""
    chance = np.random.default_rng(seed)
    close = 100.0 * np.exp(np.cumsum(chance.normal(0, 0.01, rows)))
    opened = np.concatenate([[100.0], close[:-1]])[:rows]
    high = np.maximum(opened, close) * np.exp(np.abs(chance.normal(0, 0.003, rows)))
    low = np.minimum(opened, close) * np.exp(-np.abs(chance.normal(0, 0.003, rows)))
    volume = chance.lognormal(10, 0.5, rows)
    prices = {"open": opened, "high": high, "low": low, "close": close, "volume": volume}
    return frame(begin + np.arange(rows) * HOUR, prices)


def weights(seed: int = 0, hidden: int = 8, backbone: str = "lstm", n_classes: int = 2) -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = PatternNN(len(NAMES), hidden, n_classes=n_classes, backbone=backbone)
    return dict(net.state_dict())


def about(
    hidden: int = 8,
    seq_len: int = 6,
    timeframe: str = "1h",
    kind: str = "direction",
    backbone: str = "lstm",
    **more: Any,
) -> dict[str, Any]:
    """A sidecar; `more` goes over it, one part at a time. The calibration ended with 2023, the data a little later."""
    label, recipe = Label(kind, horizon=1), spec(timeframe, seq_len)
    arch = PatternNN(len(NAMES), hidden, n_classes=len(label.classes), backbone=backbone).arch()
    span = ["2023-01-01T00:00:00+00:00", "2023-12-30T00:00:00+00:00"]
    test = {"n": 100, "acc": 0.51, "acc_ci95": [0.41, 0.61], "majority_acc": 0.52, "logloss": 0.69, "brier": 0.25}
    told: dict[str, Any] = {
        "sentence": "On 100 later bars it is right in 51.0%: no skill is shown.",
        "arch": {**arch, "classes": list(label.classes)},
        "features": {
            "spec_version": recipe["version"],
            "names": list(NAMES),
            "seq_len": seq_len,
            "timeframe": timeframe,
            "warmup_bars": recipe["warmup"],
            "spec_sha256": recipe["sha256"],
        },
        "scaler": {
            "kind": "standard",
            "mean": [0.0] * len(NAMES),
            "std": [0.5] * len(NAMES),
            "clip": 10.0,
            "fit_rows": 1000,
        },
        "label": label.to_dict(),
        "data": {
            "symbols": ["BTCUSDT"],
            "start": span[0],
            "end": "2024-01-01T00:00:00+00:00",
            "n_rows": 1000,
            "source_sha256": "0" * 64,
        },
        "split": {
            "scheme": "chronological",
            "train": span,
            "val": span,
            "calib": span,
            "test": span,
            "embargo_bars": 6,
        },
        "training": {"best_epoch": 1, "lr": 1e-3},
        "calibration": {"method": "temperature", "T": 0.2},
        "metrics": {"test": test, "baselines": {"majority": {**test, "acc": 0.5}}},
        "limits": ["It was drawn by lot."],
    }
    return told | {
        key: {**told[key], **value} if value and isinstance(value, dict) and key in told else value
        for key, value in more.items()
    }


def saved(folder: Path, seed: int = 0, **more: Any) -> tuple[ModelManager, Entry]:
    """A manager over the folder and one more version in it."""
    manager = ModelManager(folder, ManualClock())
    said = about(**more)
    arch = said["arch"]
    return manager, manager.save(weights(seed, arch["hidden"], arch["backbone"], arch["n_classes"]), said)
