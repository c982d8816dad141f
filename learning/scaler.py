"""Features brought to one scale by the mean and spread of the rows that were learned from, and of no others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

CLIP = 10.0
STILL = 1e-8  # a feature that hardly moves is left as it is, less its mean

Rows = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Scaler:
    """(x - mean) / std, clipped to ±`clip`. Plain numbers: it is stored beside the weights as lists."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    rows: int
    clip: float = CLIP

    @classmethod
    def fit(cls, features: Rows, ends: npt.NDArray[np.int64], seq_len: int) -> Scaler:
        """From the rows of `features` that the windows ending at `ends` cover, each counted once."""
        used = features[covered(len(features), ends, seq_len)].astype(np.float64)
        if not len(used):
            raise ValueError("a scaler needs rows to learn from: got none")
        spread = used.std(axis=0)
        spread[spread < STILL] = 1.0
        return cls(tuple(used.mean(axis=0).tolist()), tuple(spread.tolist()), len(used))

    def __call__(self, features: Rows) -> Rows:
        """The scaled rows, float32; NaN stays NaN."""
        mean, std = np.asarray(self.mean), np.asarray(self.std)
        scaled = (features.astype(np.float64) - mean) / std
        clipped: Rows = np.clip(scaled, -self.clip, self.clip).astype(np.float32)
        return clipped

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": "standard",
            "mean": list(self.mean),
            "std": list(self.std),
            "clip": self.clip,
            "fit_rows": self.rows,
        }

    @classmethod
    def of(cls, given: dict[str, Any]) -> Scaler:
        """The scaler of `to_dict()`. ValueError where it is of another kind."""
        if given.get("kind") != "standard":
            raise ValueError(f"scaler: kind must be 'standard': got {given.get('kind')!r}")
        mean, std = tuple(map(float, given["mean"])), tuple(map(float, given["std"]))
        if len(mean) != len(std) or not all(s > 0.0 for s in std):
            raise ValueError("scaler: mean and std must be of one length, and each std above 0")
        return cls(mean, std, int(given.get("fit_rows", 0)), float(given["clip"]))


def covered(rows: int, ends: npt.NDArray[np.int64], seq_len: int) -> npt.NDArray[np.bool_]:
    """Which rows lie in any of the windows."""
    steps = np.zeros(rows + 1, dtype=np.int64)
    np.add.at(steps, ends - seq_len + 1, 1)
    np.add.at(steps, ends + 1, -1)
    return np.cumsum(steps[:-1]) > 0
