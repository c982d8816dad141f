"""The port every source of candles and quotes fits: add a file here and it can be chosen in Settings."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import pandas as pd

from domain.candles import Timeframe
from domain.clock import Clock
from domain.instruments import Instrument
from domain.quotes import Quote
from settings import Settings


class Feed(Protocol):
    """A source. A drawer file ends with `PART = ItsClass`, and its class is made by `PART(settings, clock)`.

    name       the file's stem, written beside every bar kept from it
    label      what a person reads
    simulated  True where the prices are made up: shown in large letters, never written to the store
    poll_s     how often asking for quotes makes sense
    limits     one sentence for the page: how far back and how fine, how delayed
    clock      the time this source lives in (the simulated market may live on a shifted one)
    """

    name: str
    label: str
    simulated: bool
    poll_s: float
    limits: str
    clock: Clock

    def __init__(self, settings: Settings, clock: Clock) -> None: ...

    async def candles(self, instrument: Instrument, tf: Timeframe, start: datetime, end: datetime) -> pd.DataFrame:
        """Closed bars that open in [start, end), checked, as a candle frame; empty where there are none.

        FeedUnavailable: nothing could be fetched; FeedLimit: this span or timeframe is beyond the source;
        UnknownName: it has no such symbol; DataError: it answered nonsense.
        """
        ...

    async def quotes(self, instruments: Sequence[Instrument]) -> dict[str, Quote]:
        """The newest quote by symbol; a symbol it knows nothing of is left out. FeedUnavailable as above."""
        ...

    async def close(self) -> None:
        """Give back connections. Safe to call twice."""
        ...
