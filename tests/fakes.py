"""Small stand-ins for what lies outside: a feed that says what it is told to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal

import numpy as np
import pandas as pd

from domain import candles as cd
from domain.clock import Clock
from domain.errors import FeedUnavailable
from domain.instruments import Instrument
from domain.quotes import Quote


class ScriptedFeed:
    """Bars that open at 100 and the minute number modulo 7; fails when told to and counts every question."""

    name, label, simulated = "scripted", "Scripted", False
    poll_s, limits = 1.0, "Whatever the test says."

    def __init__(self, clock: Clock, fails: Callable[[str], str | None] = lambda symbol: None) -> None:
        self.clock, self.fails = clock, fails
        self.asked: list[tuple[str, str]] = []
        self.quoted = 0
        self.price = 100.0

    async def candles(self, instrument: Instrument, tf: cd.Timeframe, start: datetime, end: datetime) -> pd.DataFrame:
        self.asked.append((instrument.symbol, tf.name))
        if problem := self.fails(instrument.symbol):
            raise FeedUnavailable(problem)
        times = cd.expected(start, min(end, self.clock.now()), tf, instrument)
        times = times[cd.ends(times, tf, instrument) <= pd.Timestamp(self.clock.now()).value]
        base = 100 + (times // 60_000_000_000 % 7).astype(float)
        prices = {"open": base, "high": base + 2, "low": base - 2, "close": base + 1}
        return cd.frame(times, {**prices, "volume": np.full(len(times), 5.0)})

    async def quotes(self, instruments: Sequence[Instrument]) -> dict[str, Quote]:
        self.quoted += 1
        if problem := self.fails("quotes"):
            raise FeedUnavailable(problem)
        return {
            i.symbol: Quote(i.symbol, self.clock.now(), Decimal(str(self.price)), self.name, previous_close=Decimal(80))
            for i in instruments
        }

    async def close(self) -> None:
        pass
