"""The port every source of candles and quotes fits: add a file here and it can be chosen in Settings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import pandas as pd

from domain.candles import Timeframe
from domain.clock import Clock
from domain.instruments import Instrument
from domain.quotes import Quote
from settings import Settings


@dataclass(frozen=True, slots=True)
class Pace:
    """How a source may be asked for quotes: what its own rules allow, and what suits it where nobody chose.

    usual     symbols in one call; `wide` ones once a second's calls of `usual` are not enough (0: never)
    most      symbols in one call at most, whatever was chosen
    a_second  calls in any second; None where no rule is known
    at_once   calls that may be under way together
    at_hand   nobody is asked, prices are at hand: everything wanted is one question, and no limit applies
    """

    usual: int = 10
    wide: int = 0
    most: int = 1_000
    a_second: float | None = None
    at_once: int = 4
    at_hand: bool = False


AT_HAND = Pace(at_hand=True)


@dataclass(frozen=True, slots=True)
class Asked:
    """How often a source was asked, in calls.

    used           in the last `window_s` seconds, whatever was asked for
    limit, left    of that window; None where nobody has published one. `by_venue`: it said so itself, in its answers
    refusals       answers of "too often" since the start, the last `refused_ago_s` ago; nothing is sent for `wait_s`
    """

    used: int
    window_s: float
    limit: int | None = None
    left: int | None = None
    by_venue: bool = False
    refusals: int = 0
    refused_ago_s: float | None = None
    wait_s: float = 0.0


class Line(Protocol):
    """An open line to a source that pushes. It ends, or raises, where it broke; then another one is opened."""

    async def subscribe(self, instruments: Sequence[Instrument]) -> None: ...
    async def unsubscribe(self, instruments: Sequence[Instrument]) -> None: ...
    def __aiter__(self) -> AsyncIterator[Quote]: ...
    async def close(self) -> None: ...


class Feed(Protocol):
    """A source. A drawer file ends with `PART = ItsClass`, and its class is made by `PART(settings, clock)`.

    name       the file's stem, written beside every bar kept from it
    label      what a person reads
    simulated  True where the prices are made up: shown in large letters, never written to the store
    poll_s     how often asking for quotes makes sense
    limits     one sentence for the page: how far back and how fine, how delayed
    clock      the time this source lives in (the simulated market may live on a shifted one)

    What it may have besides:
    pace                         a `Pace`; without one, ten symbols a call and no rule
    usage() -> Asked             how often it was asked, and what is left
    async stream(instruments)    -> Line, subscribed to these: it pushes, and is asked only while its line is down
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
