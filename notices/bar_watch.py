"""Closed candles against what people asked for: a price that came to a level, a pattern that appeared.

Each bar is judged once for each subscription, by its time: how far a subscription has come is remembered with the
messages that came of it. A new one, or one that was off, begins with the next bar to close.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

import patterns
from desk.subscriptions import Subscription
from domain import candles as cd
from domain.clock import Clock, monotonic
from domain.errors import DeskError
from domain.instruments import Instrument, instrument
from domain.notices import ABOUT, Kind
from notices.happenings import Happening, plain
from notices.odds import HISTORY, Odds, odds

Bars = Callable[[Instrument, cd.Timeframe, int], Awaitable[pd.DataFrame]]
log = logging.getLogger("notifier")
PREFIX = "subscription:"
LOOK_BACK = 120  # bars before the first new one that a pattern and its sentence need
ASK_AGAIN_S = 10.0
LATE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Found:
    """What a subscription is to be told."""

    wanted: Subscription
    happening: Happening


@dataclass(slots=True)
class _Series:
    """What was last seen of a symbol's bars."""

    bucket: int = -2
    last_end: int = -1
    asked: float = float("-inf")


class BarWatch:
    """All subscriptions to bars. `bars` gives the newest closed candles of a series; `clock` is the market's."""

    def __init__(self, bars: Bars, clock: Clock) -> None:
        self._bars, self._clock = bars, clock
        self._series: dict[tuple[str, str], _Series] = {}

    async def look(
        self, wanted: Collection[Subscription], positions: dict[str, Any]
    ) -> tuple[list[Found], dict[str, tuple[Any, Any]]]:
        """What is new, and the positions to write with it. A series that fails is left for the next look."""
        found, moved = list[Found](), dict[str, tuple[Any, Any]]()
        order = sorted(wanted, key=_series_of)
        for (symbol, tf_name), group in itertools.groupby(order, key=_series_of):
            mine = list(group)
            try:
                told, read = await self._series_look(instrument(symbol), cd.timeframe(tf_name), mine, positions)
            except DeskError as error:
                log.info("%s %s: %s", symbol, tf_name, error, extra={"symbol": symbol})
                continue
            except Exception:  # one wish that breaks keeps nobody else's from being looked at
                log.exception("%s %s cannot be looked at", symbol, tf_name, extra={"symbol": symbol})
                continue
            found += told
            moved |= read
        return found, moved

    async def _series_look(
        self, what: Instrument, tf: cd.Timeframe, wanted: list[Subscription], positions: dict[str, Any]
    ) -> tuple[list[Found], dict[str, tuple[Any, Any]]]:
        seen = self._series.setdefault((what.symbol, tf.name), _Series())
        new = any(position_of(one) not in positions for one in wanted)
        if not new and not self._due(seen, what, tf):
            return [], {}
        bucket = self._bucket(what, tf)
        candles = await self._newest(what, tf, [positions.get(position_of(one)) for one in wanted])
        seen.asked, seen.bucket = monotonic(), bucket
        if candles.empty:
            return [], {}
        seen.last_end = int(cd.ends(cd.nanos(candles)[-1:], tf, what)[0])
        return await self._judge(what, tf, candles, wanted, positions)

    def _due(self, seen: _Series, what: Instrument, tf: cd.Timeframe) -> bool:
        """A bar must have closed since, or the source still owes one."""
        bucket = self._bucket(what, tf)
        if bucket != seen.bucket:
            return True
        owed = bucket < 0 or seen.last_end < bucket
        return owed and monotonic() - seen.asked >= (ASK_AGAIN_S if bucket >= 0 else 6 * ASK_AGAIN_S)

    def _bucket(self, what: Instrument, tf: cd.Timeframe) -> int:
        return int(cd.starts(np.array([pd.Timestamp(self._clock.now()).value]), tf, what)[0])

    async def _newest(self, what: Instrument, tf: cd.Timeframe, positions: list[Any]) -> pd.DataFrame:
        """Enough to judge whatever was not judged yet: after a long pause that may be more than the usual."""
        candles = await self._bars(what, tf, 2 * LOOK_BACK)
        known = [pd.Timestamp(position) for position in positions if position is not None]
        if known and len(candles) and int(candles.index.searchsorted(min(known), side="right")) < LOOK_BACK:
            candles = await self._bars(what, tf, HISTORY)
        return candles

    async def _judge(
        self,
        what: Instrument,
        tf: cd.Timeframe,
        candles: pd.DataFrame,
        wanted: list[Subscription],
        positions: dict[str, Any],
    ) -> tuple[list[Found], dict[str, tuple[Any, Any]]]:
        newest = candles.index[-1]
        told, moved = list[Found](), dict[str, tuple[Any, Any]]()
        grades = await self._graded(candles, wanted)
        for one in wanted:
            before = positions.get(position_of(one))
            if before is not None:
                first = int(candles.index.searchsorted(pd.Timestamp(before), side="right"))
                for row in range(max(first, 1), len(candles)):
                    happening = await self._happening(one, what, tf, candles, grades, row)
                    told += [Found(one, happening)] if happening is not None else []
            if before != newest.isoformat() and (before is None or pd.Timestamp(before) < newest):
                moved[position_of(one)] = (before, newest.isoformat())
        return told, moved

    async def _graded(self, candles: pd.DataFrame, wanted: Iterable[Subscription]) -> pd.DataFrame:
        names = sorted({one.pattern for one in wanted if one.kind is Kind.PATTERN})
        return await asyncio.to_thread(patterns.detect, candles, names) if names else pd.DataFrame()

    async def _happening(
        self,
        one: Subscription,
        what: Instrument,
        tf: cd.Timeframe,
        candles: pd.DataFrame,
        grades: pd.DataFrame,
        row: int,
    ) -> Happening | None:
        if one.kind is not Kind.PATTERN:
            return self._price(one, what, tf, candles, row)
        grade = int(grades[one.pattern].iloc[row])
        if not grade:
            return None
        seen: Odds | None = None
        if one.judged:
            seen = await self._odds(one, what, tf, candles.index[row], 1 if grade > 0 else -1)
            if not seen.meets(one):
                log.info("not told: %s: %s", one.words, seen.words, extra={"symbol": what.symbol})
                return None
        said = patterns.explain(candles, one.pattern, row)
        text = "\n".join(
            line for line in (said, seen.words if seen else "", self._late(what, tf, candles, row)) if line
        )
        close = plain(what.round_price(_money(candles, row)))
        title = f"{one.pattern} on {what.symbol} {tf.name}, close {close}"
        return self._made(one, what, tf, candles, row, title, text)

    async def _odds(self, one: Subscription, what: Instrument, tf: cd.Timeframe, at: Any, sign: int) -> Odds:
        """As they were known when that bar closed."""
        history = await self._bars(what, tf, HISTORY)
        return await asyncio.to_thread(odds, history[history.index <= at], one.pattern, sign)

    def _price(
        self, one: Subscription, what: Instrument, tf: cd.Timeframe, candles: pd.DataFrame, row: int
    ) -> Happening | None:
        """A bar that reached the level after one that closed on its other side."""
        assert one.level is not None
        level, before = float(one.level), float(candles["close"].iloc[row - 1])
        if one.kind is Kind.PRICE_ABOVE:
            reached = before < level <= float(candles["high"].iloc[row])
        else:
            reached = before > level >= float(candles["low"].iloc[row])
        if not reached:
            return None
        way = "rose to" if one.kind is Kind.PRICE_ABOVE else "fell to"
        close = plain(what.round_price(_money(candles, row)))
        title = f"{what.symbol} {way} {plain(one.level)}: the {tf.name} bar closed at {close}"
        return self._made(one, what, tf, candles, row, title, self._late(what, tf, candles, row))

    def _made(
        self,
        one: Subscription,
        what: Instrument,
        tf: cd.Timeframe,
        candles: pd.DataFrame,
        row: int,
        title: str,
        text: str,
    ) -> Happening:
        closed, about = _closed(what, tf, candles, row), f"{PREFIX}{one.id}"
        severity, opened = ABOUT[one.kind].severity, candles.index[row].isoformat()
        return Happening(f"{about}:{opened}", one.kind, severity, title, text, closed, what.symbol, about)

    def _late(self, what: Instrument, tf: cd.Timeframe, candles: pd.DataFrame, row: int) -> str:
        closed = _closed(what, tf, candles, row)
        late = self._clock.now() - closed > LATE
        return f"Told late: this bar closed at {closed:%Y-%m-%d %H:%M} UTC." if late else ""


def position_of(wanted: Subscription) -> str:
    """What a subscription's position is kept under."""
    return f"{PREFIX}{wanted.id}"


def _series_of(wanted: Subscription) -> tuple[str, str]:
    return wanted.symbol, wanted.timeframe


def _closed(what: Instrument, tf: cd.Timeframe, candles: pd.DataFrame, row: int) -> datetime:
    end = cd.ends(cd.nanos(candles)[row : row + 1], tf, what)[0]
    return pd.Timestamp(int(end), tz="UTC").to_pydatetime()


def _money(candles: pd.DataFrame, row: int) -> Decimal:
    return Decimal(str(float(candles["close"].iloc[row])))
