"""Candles for the command line: which span to ask for, and what to say where there is nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from domain.candles import Timeframe, between
from domain.errors import DataError, DeskError
from domain.instruments import Instrument

SESSION_S = 23_400
YEARS_BACK = 5


@dataclass(frozen=True, slots=True)
class Span:
    """From the first moment to before the last, `warm` earlier so that the strategy can decide from the start."""

    start: datetime
    end: datetime
    warm: datetime


@dataclass(frozen=True, slots=True)
class Loaded:
    """Candles by symbol, what to know about them, whether they are made up, and the sources they come from."""

    frames: dict[str, pd.DataFrame]
    span: Span
    notes: tuple[str, ...]
    simulated: bool
    sources: tuple[str, ...] = ()


class Elsewhere:
    """Settings whose own candle files lie directly in `folder`."""

    def __init__(self, settings: Any, folder: Path) -> None:
        self._settings, self.files_dir = settings, folder

    def __getattr__(self, name: str) -> Any:
        return getattr(self._settings, name)


def span_of(start: str, end: str, of: Instrument, tf: Timeframe, warmup: int, now: datetime) -> Span:
    """Dates are days of the exchange, both included; without them the last five years."""
    zone = ZoneInfo(of.zone)
    to = _day(end, zone) + timedelta(days=1) if end else now
    begin = _day(start, zone) if start else to - timedelta(days=365.25 * YEARS_BACK)
    if begin >= to:
        raise DataError(f"start must lie before end: got {start} and {end or 'today'}")
    a_day = 1 if tf.daily else max(SESSION_S // tf.seconds, 1)
    return Span(begin, to, begin - timedelta(days=math.ceil(warmup / a_day) * 1.6 + 5 if warmup else 0))


async def load(
    market: Any,
    of: Sequence[Instrument],
    tf: Timeframe,
    span: Span,
    looked: str,
    heard: Callable[[str], None] = lambda symbol: None,
) -> Loaded:
    """The candles of all symbols. DataError says what there is, and where it looked, for the first that has none.
    `heard` is told of each symbol before it is asked for."""
    frames, notes, simulated, sources = {}, [], False, dict[str, None]()
    try:
        for one in of:
            heard(one.symbol)
            answer = await _answer(market, one, tf, span, looked)
            frames[one.symbol] = answer.candles
            notes += [f"{one.symbol}: {note}" for note in (*answer.notes, answer.feed_error) if note]
            notes += _short_of(one, between(answer.candles, span.start, span.end), span)
            simulated |= answer.simulated
            sources |= dict.fromkeys(answer.sources)
    finally:
        await market.close()
    return Loaded(frames, span, tuple(notes), simulated, tuple(sources))


async def _answer(market: Any, one: Instrument, tf: Timeframe, span: Span, looked: str) -> Any:
    why = ""
    for start in dict.fromkeys((span.warm, span.start)):  # a source may go just as far back as was asked
        try:
            answer = await market.candles(one, tf, start, span.end)
        except DeskError as error:
            why = str(error)
            continue
        if len(between(answer.candles, span.start, span.end)):
            return answer
        why = answer.feed_error
    asked = f"{one.symbol} {tf.name}: no candles from {span.start:%Y-%m-%d} to {_last_day(span):%Y-%m-%d}"
    said = [asked, why, *_what_there_is(market, one), f"Looked in {looked}."]
    raise DataError("\n".join(line for line in said if line))


def _what_there_is(market: Any, one: Instrument) -> list[str]:
    series = [(h.symbol, h.timeframe, h.first, h.last, h.rows, h.file) for h in market.holdings()]
    series += [(k.symbol, k.timeframe, k.first, k.last, k.rows, "kept") for k in market.kept() if k.first]
    own = [s for s in series if s[0] == one.symbol]
    if own:
        return [
            f"There is {symbol} {tf} from {first:%Y-%m-%d} to {last:%Y-%m-%d} ({rows:,} bars, {where})."
            for symbol, tf, first, last, rows, where in own
        ]
    others = sorted({s[0] for s in series})
    shown = ", ".join(others[:20]) + (f" and {len(others) - 20} more" if len(others) > 20 else "")
    return [f"There is nothing of {one.symbol}. There are: {shown or 'no candles at all'}."]


def _short_of(one: Instrument, found: pd.DataFrame, span: Span) -> list[str]:
    """Where the candles cover less than was asked for; a week is no news, there are holidays."""
    first, last, week = found.index[0], found.index[-1], timedelta(days=7)
    said = [f"begins on {first:%Y-%m-%d}"] if first - span.start > week else []
    said += [f"ends on {last:%Y-%m-%d}"] if min(span.end, datetime.max.replace(tzinfo=UTC)) - last > week else []
    return [f"{one.symbol}: {' and '.join(said)}, which is less than was asked for"] if said else []


def _last_day(span: Span) -> datetime:
    return span.end - timedelta(microseconds=1)


def _day(text: str, zone: ZoneInfo) -> datetime:
    try:
        return datetime.combine(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=zone).date(), time(), zone)
    except ValueError:
        raise DataError(f"a date is written 2024-03-28: got {text!r}") from None
