"""A trained network that answers about candles: `domain.models.Model` over a `PatternNN`.

The rule: an answer depends on its own window and on nothing else. So it is worked out in double precision and rounded
to six digits: in how large a batch a window is asked changes the fifteenth digit, and no answer.
"""

from __future__ import annotations

from collections.abc import Mapping
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
        if not all(bool(torch.isfinite(p).all()) for p in self.net.parameters()) or not self.temperature > 0.0:
            raise ModelDamaged(f"{facts.called}: it has weights or a temperature that are no numbers")
        self.net.double().eval()
        self.of, self.tf = instrument(facts.market), timeframe(facts.timeframe)

    def predict(self, candles: pd.DataFrame) -> Floats:
        """Calibrated probabilities, a row a bar; NaN where there is no whole window of this model's bars."""
        out = np.full((len(candles), len(self.facts.classes)), np.nan)
        if len(candles) <= WARMUP or self.facts.problem:
            return out
        raw = features(candles, self.of.zone)
        rows = np.flatnonzero(admissible(candles, raw, self.facts.seq_len, self.tf, self.of) & self._moves(candles))
        scaled = torch.from_numpy(np.nan_to_num(self.scaler(raw)).astype(np.float64))
        offsets = torch.arange(1 - self.facts.seq_len, 1)
        with threads(1), torch.inference_mode():
            for begin in range(0, len(rows), AT_ONCE):
                some = rows[begin : begin + AT_ONCE]
                logits = self.net(scaled[torch.from_numpy(some)[:, None] + offsets]).numpy()
                out[some] = np.round(softmax(logits / self.temperature), DIGITS)
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
        moved = candles["close"].ne(candles["close"].shift()).astype(np.float64)
        found: npt.NDArray[np.bool_] = moved.rolling(self.facts.seq_len).sum().gt(0.0).to_numpy()
        return found


def _fits(apart_ns: int, seconds: int) -> bool:
    """A day is 23 to 25 hours from open to open where the clocks change."""
    return seconds * 10**9 == apart_ns or (seconds == 86_400 and 23 <= apart_ns / (60 * MINUTE_NS) <= 25)
