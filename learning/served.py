"""A trained network that answers about candles: `domain.models.Model` over a `PatternNN`.

The rule: an answer depends on its own window and on nothing else. So it is worked out in double precision and rounded
to six digits: in how large a batch a window is asked changes the fifteenth digit, and no answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from domain.candles import nanos, timeframe
from domain.errors import ModelDamaged
from domain.instruments import instrument
from domain.models import ModelFacts
from learning.calibration import softmax
from learning.features import WARMUP, features
from learning.network import PatternNN, threads
from learning.scaler import Scaler
from learning.windows import admissible

Floats = npt.NDArray[np.float64]
DIGITS = 6
AT_ONCE = 4096  # windows: bounds the memory, changes nothing else
MINUTE_NS = 60_000_000_000


class Served:
    """`said` is the sidecar of the model manager, `state` the weights. ModelDamaged where the two do not fit."""

    def __init__(self, facts: ModelFacts, said: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
        self.facts = facts
        try:
            self.net = PatternNN.of({k: v for k, v in said["arch"].items() if k != "classes"})
            self.net.load_state_dict(dict(state), strict=True)
            self.scaler = Scaler.of(said["scaler"])
            self.temperature = float(said["calibration"]["T"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise ModelDamaged(f"{facts.called}: its weights and its description do not fit: {error}") from None
        whole = all(bool(torch.isfinite(p).all()) for p in self.net.parameters())
        if not (whole and 0.0 < self.temperature < math.inf):
            raise ModelDamaged(f"{facts.called}: it has weights or a temperature that are no numbers")
        self.net.double().eval()
        self.of, self.tf = instrument(facts.market), timeframe(facts.timeframe)

    def predict(self, candles: pd.DataFrame) -> Floats:
        """Calibrated probabilities, a row a bar; NaN where there is no whole window of this model's bars."""
        out = np.full((len(candles), len(self.facts.classes)), np.nan)
        rows, scaled = self._readable(candles)
        out[rows] = self._said(scaled, rows)
        return out

    def latest(self, frames: Sequence[pd.DataFrame]) -> Floats:
        """The last row of `predict` for each frame, of many symbols in one call of the network."""
        out = np.full((len(frames), len(self.facts.classes)), np.nan)
        seq_len = self.facts.seq_len
        windows, asked = [], []
        for at, candles in enumerate(frames):
            few = candles.iloc[-(WARMUP + seq_len) :]
            rows, scaled = self._readable(few)
            if len(rows) and rows[-1] == len(few) - 1:
                windows.append(scaled[-seq_len:])
                asked.append(at)
        if asked:
            ends = np.arange(1, len(asked) + 1) * seq_len - 1
            out[asked] = self._said(np.concatenate(windows), ends)
        return out

    def _readable(self, candles: pd.DataFrame) -> tuple[npt.NDArray[np.int64], Floats]:
        """The rows there is an answer for, and the scaled features of all rows."""
        if len(candles) <= WARMUP or self.facts.problem:
            return np.empty(0, np.int64), np.empty((0, 0))
        raw = features(candles, self.of.zone)
        fits = admissible(candles, raw, self.facts.seq_len, self.tf, self.of) & self._moves(candles)
        return np.flatnonzero(fits), np.nan_to_num(self.scaler(raw)).astype(np.float64)

    def _said(self, scaled: Floats, rows: npt.NDArray[np.int64]) -> Floats:
        """What the network says of the windows that end at these rows."""
        out = np.empty((len(rows), len(self.facts.classes)))
        table, offsets = torch.from_numpy(scaled), torch.arange(1 - self.facts.seq_len, 1)
        with threads(1), torch.inference_mode():
            for begin in range(0, len(rows), AT_ONCE):
                ends = torch.from_numpy(rows[begin : begin + AT_ONCE])
                logits = self.net(table[ends[:, None] + offsets]).numpy()
                out[begin : begin + AT_ONCE] = np.round(softmax(logits / self.temperature), DIGITS)
        return out

    def why_not(self, candles: pd.DataFrame, row: int) -> str:
        """The first reason why there is no answer for a row."""
        if self.facts.problem:
            return self.facts.problem
        seen = candles.iloc[: row + 1]
        if len(seen) <= self.facts.warmup:
            return f"{self.facts.called} needs {self.facts.warmup + 1} bars and there are {len(seen)}"
        apart = int(np.diff(nanos(seen)[-200:]).min())
        if not _fits(apart, self.tf.seconds):
            return f"{self.facts.called} reads bars of {self.tf.name}; these lie {apart // MINUTE_NS:,} minutes apart"
        raw = features(seen, self.of.zone)
        if not np.isfinite(raw[-self.facts.seq_len :]).all():
            return f"a feature of the last {self.facts.seq_len} bars is not a finite number"
        if not admissible(seen, raw, self.facts.seq_len, self.tf, self.of)[-1]:
            return (
                f"the last {self.facts.seq_len} bars are not consecutive {self.tf.name} bars of a market like "
                f"{self.facts.market}'s"
            )
        return "" if self._moves(seen)[-1] else f"the price stood still for {self.facts.seq_len} bars"

    def _moves(self, candles: pd.DataFrame) -> npt.NDArray[np.bool_]:
        """Rows whose window saw the price change: from prices that stand still there is nothing to read."""
        closes = candles["close"].to_numpy(np.float64)
        moved = np.cumsum(np.r_[True, closes[1:] != closes[:-1]])
        found = np.zeros(len(closes), dtype=np.bool_)
        n = self.facts.seq_len
        found[n - 1 :] = moved[n - 1 :] > np.r_[0, moved][: max(len(closes) - n + 1, 0)]
        return found


def _fits(apart_ns: int, seconds: int) -> bool:
    """A day is 23 to 25 hours from open to open where the clocks change."""
    return seconds * 10**9 == apart_ns or (seconds == 86_400 and 23 <= apart_ns / (60 * MINUTE_NS) <= 25)
