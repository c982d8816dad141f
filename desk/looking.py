"""The newest closed bars of what a strategy trades, fetched and put to the strategy beside the engine's turns.

The rule: neither a source that hangs nor a strategy that thinks for long holds up a turn, for a turn watches stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from backtest.setup import Setup
from backtest.wishes import judged_wants
from desk.adoptions import Adoption
from desk.following import Followed, Seen, asked_whole
from desk.tools import Tools
from domain import candles as cd
from domain.candles import Timeframe
from domain.errors import DeskError
from domain.instruments import Instrument, instrument
from filters.base import REACH, Verdicts
from strategies.base import Strategy, Wanted
from streams.base import OutOfStep

log = logging.getLogger("engine")
ANSWERS_WITHIN_S = 60.0
LOOKED_FOR_S = 0.01
AGAIN_AFTER = timedelta(seconds=2)
AHEAD = timedelta(days=10)
# Wilder's average forgets a bar by 1/period a step: after so many periods what came before is below rounding.
ATR_PERIODS = 40
MOMENTS = 64


@dataclass(slots=True)
class Look:
    """What one look at all symbols brought: what was seen, and a sentence for each that failed: its candles could not
    be had (`errors`), or the strategy could not be asked (`faults`)."""

    seen: dict[str, Seen] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)


class Looking:
    """Starts a look when a bar has closed, and keeps its answer until it is taken."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._tasks: dict[str, asyncio.Task[Look]] = {}
        self._buckets: dict[str, tuple[int, ...]] = {}
        self._again: dict[str, datetime] = {}
        self._followed: dict[tuple[str, str], Followed] = {}

    async def take(self, adoption: Adoption) -> Look | None:
        """A finished look; None while there is none. Begins one where a bar has closed since the last, or where `owed`
        said so."""
        if (task := self._tasks.get(adoption.id)) is None:
            if not self._due(adoption):
                return None
            task = self._tasks[adoption.id] = asyncio.create_task(self._look(adoption))
            await asyncio.wait([task], timeout=LOOKED_FOR_S)
        if not task.done():
            return None
        del self._tasks[adoption.id]
        try:
            return task.result()
        except TimeoutError:
            return Look(faults=dict.fromkeys(adoption.symbols, f"it did not answer within {ANSWERS_WITHIN_S:g} s"))

    def owed(self, adoption: Adoption) -> None:
        """The source has not given the bar that closed last: look again soon."""
        self._again[adoption.id] = self._tools.now() + AGAIN_AFTER

    async def settle(self) -> None:
        """Until every look that was begun is finished."""
        if self._tasks:
            await asyncio.wait(self._tasks.values())

    async def close(self) -> None:
        """Nothing goes on."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._tasks.clear()

    def _due(self, adoption: Adoption) -> bool:
        now = self._tools.now()
        buckets = tuple(bucket_of(symbol, adoption.tf, now) for symbol in adoption.symbols)
        again = self._again.get(adoption.id)
        if buckets == self._buckets.get(adoption.id) and (again is None or now < again):
            return False
        self._buckets[adoption.id] = buckets
        self._again.pop(adoption.id, None)
        return True

    async def _look(self, adoption: Adoption) -> Look:
        found = Look()
        try:
            made = adoption.made
        except (DeskError, ValueError, TypeError) as error:
            found.faults = dict.fromkeys(adoption.symbols, str(error))
            return found
        bars = window(made, adoption.setup)
        await asyncio.gather(*(self._one(adoption, made, instrument(s), bars, found) for s in adoption.symbols))
        if adoption.setup.filters and found.seen:
            await self._judge(adoption, found)
        return found

    async def _judge(self, adoption: Adoption, found: Look) -> None:
        """Every filter's word on every symbol; where one fails nothing is decided."""
        try:
            wants = {symbol: (one.candles, one.wanted) for symbol, one in found.seen.items()}
            thinking = asyncio.to_thread(_judged, adoption.setup, wants)
            said = await asyncio.wait_for(thinking, ANSWERS_WITHIN_S)
        except Exception as error:  # noqa: BLE001 - a person's own filter may fail in any way
            log.warning("the filters of %s could not be asked: %r", adoption.label, error)
            why = f"its filters could not be asked: {error or type(error).__name__}"
            found.faults |= dict.fromkeys(found.seen, why)
            found.seen = {}
            return
        for symbol, (wanted, why, verdicts) in said.items():
            found.seen[symbol] = replace(found.seen[symbol], wanted=wanted, why=why, verdicts=verdicts)

    async def _one(self, adoption: Adoption, made: Strategy, what: Instrument, bars: int, found: Look) -> None:
        key = adoption.id, what.symbol
        # Taken out for the look: one that fails, or is not waited for, is not gone on with.
        followed = None if adoption.setup.filters else self._followed.pop(key, None)
        try:
            if followed is not None:
                with contextlib.suppress(OutOfStep):
                    found.seen[what.symbol] = await self._put(followed.look, adoption, what, followed.bars(bars))
                    self._followed[key] = followed
                    return
            if adoption.setup.filters:
                ask = functools.partial(asked_whole, made, adoption.setup)
                found.seen[what.symbol] = await self._put(ask, adoption, what, bars)
                return
            followed = Followed(made, adoption.setup)
            found.seen[what.symbol] = await self._put(followed.look, adoption, what, bars)
            self._followed[key] = followed
        except _NoCandles as error:
            found.errors[what.symbol] = str(error)
        except Exception as error:  # noqa: BLE001 - whatever a strategy does, the desk goes on
            log.warning("%s could not be asked about %s: %r", adoption.label, what.symbol, error)
            found.faults[what.symbol] = str(error) or type(error).__name__

    async def _put(self, ask: Callable[[pd.DataFrame], Seen], adoption: Adoption, what: Instrument, bars: int) -> Seen:
        """The newest closed bars, put to the strategy on a thread of its own."""
        frame = await self._candles(adoption.tf, what, bars)
        return await asyncio.wait_for(asyncio.to_thread(ask, frame), ANSWERS_WITHIN_S)

    async def _candles(self, tf: Timeframe, what: Instrument, bars: int) -> pd.DataFrame:
        assert self._tools.facts.bars is not None, "checked when it was adopted"
        try:
            frame = await asyncio.wait_for(self._tools.facts.bars(what, tf, bars), ANSWERS_WITHIN_S)
            frame = cd.check(frame, what)
        except TimeoutError:
            raise _NoCandles(f"no candles of {what.symbol} within {ANSWERS_WITHIN_S:g} s") from None
        except DeskError as error:
            raise _NoCandles(str(error)) from error
        if frame.empty:
            raise _NoCandles(f"there are no candles of {what.symbol} yet")
        return frame

    def forget(self, adoption: Adoption) -> None:
        """It is asked no more."""
        for symbol in adoption.symbols:
            self._followed.pop((adoption.id, symbol), None)


class _NoCandles(Exception):
    """Nothing to ask about."""


def window(made: Strategy, setup: Setup) -> int:
    """How many bars a decision needs to be the one made on all of history."""
    judging = (REACH * one.warmup + 1 for one in setup.filters)
    return max([4 * made.warmup + 1, *(ATR_PERIODS * period + 1 for period in setup.periods), *judging])


def bucket_of(symbol: str, tf: Timeframe, now: datetime) -> int:
    """The bar that is forming now, by its open; -1 where none is."""
    return _bucket(instrument(symbol).calendar_code, tf, now)


def end_of(symbol: str, tf: Timeframe, bar: datetime) -> datetime:
    """When a bar closes."""
    return _end(instrument(symbol).calendar_code, tf, bar)


def in_time_until(symbol: str, tf: Timeframe, bar: datetime) -> datetime:
    """When the next bar of regular hours closes: until then what this one says may be traded."""
    return _in_time(instrument(symbol).calendar_code, tf, bar)


# Once for all symbols of an exchange: a turn asks for hundreds.


@functools.lru_cache(MOMENTS)
def _bucket(exchange: str, tf: Timeframe, now: datetime) -> int:
    return int(cd.starts(np.array([pd.Timestamp(now).value]), tf, _any_of(exchange))[0])


@functools.lru_cache(MOMENTS)
def _end(exchange: str, tf: Timeframe, bar: datetime) -> datetime:
    opens = np.array([pd.Timestamp(bar).value])
    found: datetime = pd.Timestamp(int(cd.ends(opens, tf, _any_of(exchange))[0]), tz="UTC").to_pydatetime()
    return found


@functools.lru_cache(MOMENTS)
def _in_time(exchange: str, tf: Timeframe, bar: datetime) -> datetime:
    what, end = _any_of(exchange), _end(exchange, tf, bar)
    following = cd.expected(end, end + AHEAD, tf, what)[:1]
    if not len(following):
        return end + tf.duration
    found: datetime = pd.Timestamp(int(cd.ends(following, tf, what)[0]), tz="UTC").to_pydatetime()
    return found


def _any_of(exchange: str) -> Instrument:
    return Instrument("ANY", calendar_code=exchange)


def _judged(
    setup: Setup, wants: Mapping[str, tuple[pd.DataFrame, Wanted]]
) -> dict[str, tuple[Wanted, str, tuple[Verdicts, ...]]]:
    """What is wanted of each symbol, why on its newest bar, and the filters' words."""
    return {symbol: (wanted, wanted.why(-1), said) for symbol, (wanted, said) in judged_wants(setup, wants).items()}
