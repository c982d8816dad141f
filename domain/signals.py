"""A signal: how much of an instrument somebody wants to hold, and why. The same wish twice is the same wish."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Signal:
    """`exposure` in [-1, 1] of what sizing allows, `confidence` in [0, 1]; `source` such as `strategy:sma_crossover`
    or `manual`; `bar_time` the open of the closed bar it was decided on."""

    symbol: str
    bar_time: datetime
    exposure: float
    confidence: float
    source: str
    reason: str

    def __post_init__(self) -> None:
        if self.bar_time.tzinfo is None:
            raise ValueError(f"{self.symbol}: a signal's bar time must carry a zone: got {self.bar_time.isoformat()}")
        for name, value, low in (("exposure", self.exposure, -1.0), ("confidence", self.confidence, 0.0)):
            if not (math.isfinite(value) and low <= value <= 1.0):
                raise ValueError(f"{self.symbol}: {name} must lie in [{low:g}, 1]: got {value}")

    @property
    def id(self) -> str:
        """A hash of what it says: equal signals have equal ids, on every machine."""
        parts = (
            self.symbol,
            self.bar_time.timestamp().hex(),
            (self.exposure + 0.0).hex(),  # minus zero equals zero, so it must hash alike
            (self.confidence + 0.0).hex(),
            self.source,
            self.reason,
        )
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
