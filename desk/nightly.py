"""The nightly replay: after each close, every strategy that trades is run over its own bars again, beside the turns.

The rule: it never holds up a turn, and an engine that dies in it does it again: only a comparison that is kept is done.
"""

from __future__ import annotations

import asyncio
import logging
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import numpy as np
import pandas as pd

from backtest.run import compiled_before
from backtester import Backtest
from desk.adoptions import Adoption, State, history
from desk.decided import decided, quiet_bars
from desk.drift import BY_HAND, BY_SIGNAL, BY_STOP, Did, Moved, compared
from desk.looking import bucket_of, end_of, window
from desk.nights import Night
from desk.own_book import OwnBook
from desk.protection import EXITS
from desk.reader import Reader
from desk.rungs import Stage
from desk.tools import Tools
from domain import candles as cd
from domain.calendars import TradingCalendar
from domain.errors import DeskError
from domain.instruments import instrument

log = logging.getLogger("engine")
ZERO = Decimal(0)
AFTER_CLOSE = timedelta(minutes=30)
AGAIN_AFTER = timedelta(minutes=15)
ANSWERS_WITHIN_S = 900.0
LOOKED_FOR_S = 0.01
MOST_SESSIONS = 20
LOOK_BACK = timedelta(days=30)


class CannotReplay(DeskError):
    """There is nothing sound to compare with; the words say why."""


@dataclass(frozen=True, slots=True)
class Span:
    """From which bar on, with how much money, and which symbols are held against each other, up to before `end`."""

    first: datetime
    money: Decimal
    symbols: tuple[str, ...]
    end: datetime


class Nightly:
    """Starts a comparison when an exchange day is over, and keeps its answer until it is taken."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._tasks: dict[str, tuple[Stage, asyncio.Task[Night]]] = {}
        self._again: dict[str, datetime] = {}

    async def take(self, adoption: Adoption, stage: Stage) -> Night | None:
        """A finished comparison; None while there is none. Begins one where a day is over that has none yet."""
        if adoption.id not in self._tasks:
            day = self._due(adoption, stage)
            if day is None:
                return None
            work = asyncio.wait_for(self._compare(adoption, stage, day), ANSWERS_WITHIN_S)
            self._tasks[adoption.id] = stage, asyncio.create_task(work)
        asked, task = self._tasks[adoption.id]
        await asyncio.wait([task], timeout=LOOKED_FOR_S)
        if not task.done():
            return None
        del self._tasks[adoption.id]
        about = f"replay {adoption.id}"
        try:
            found = task.result()
        except Exception as error:  # noqa: BLE001 - whatever a strategy or a source does, the desk goes on
            log.warning("%s cannot be replayed: %r", adoption.label, error)
            self._again[adoption.id] = self._tools.now() + AGAIN_AFTER
            self._tools.note(about, f"{adoption.label} cannot be compared with its backtest: {error}"[:300])
            return None
        self._tools.clear(about)
        return found if (asked.rung, asked.since) == (stage.rung, stage.since) else None

    async def settle(self) -> None:
        """Until every comparison that was begun is finished."""
        if self._tasks:
            await asyncio.wait([task for _, task in self._tasks.values()])

    async def close(self) -> None:
        """Nothing goes on."""
        tasks = [task for _, task in self._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks.clear()

    def _due(self, adoption: Adoption, stage: Stage) -> date | None:
        """The exchange day that is to be compared now."""
        now = self._tools.now()
        if not stage.trades or adoption.state is not State.WORKING or self._tools.facts.bars is None:
            return None
        if now < self._again.get(adoption.id, now):
            return None
        s = _calendar(adoption).sessions
        at = int(np.searchsorted(s.close, pd.Timestamp(now - AFTER_CLOSE).value, side="right")) - 1
        if at < 0 or s.close[at] <= pd.Timestamp(stage.since).value:
            return None
        day: date = s.days[at].item()
        last = next(reversed(stage.nights), None)
        return None if last is not None and last.day >= day else day

    async def _compare(self, adoption: Adoption, stage: Stage, day: date) -> Night:
        reader = self._tools.reader
        span = await asyncio.to_thread(_span, reader, adoption, stage, day)
        made = adoption.made
        warm = window(made, adoption.setup)
        frames = {}
        for symbol in adoption.symbols:
            frames[symbol] = await self._bars(adoption, symbol, span, warm)
        return await asyncio.to_thread(_replayed, reader, adoption, stage, span, frames, day)

    async def _bars(self, adoption: Adoption, symbol: str, span: Span, warm: int) -> pd.DataFrame:
        """Its bars of the span, and as many before it as warm the strategy up or as there are. CannotReplay where the
        source does not reach back to the beginning."""
        assert self._tools.facts.bars is not None, "looked at before"
        what, tf, first = instrument(symbol), adoption.tf, pd.Timestamp(span.first)
        expected = len(cd.expected(span.first, self._tools.now() + tf.duration, tf, what)) + warm + 1
        for most in (expected, 2 * expected):  # twice, where hours before the open and after the close are among them
            frame = cd.check(await self._tools.facts.bars(what, tf, most), what)
            if len(frame) < most or int((frame.index < first).sum()) >= warm:
                break
        if frame.empty or frame.index[0] >= first:
            raise CannotReplay(f"the source has no bars of {symbol} from before {span.first:%Y-%m-%d %H:%M} UTC")
        return frame[frame.index < pd.Timestamp(span.end)]


def _calendar(adoption: Adoption) -> TradingCalendar:
    """That of its stocks; that of its coins where it trades nothing else."""
    found = [instrument(symbol).calendar for symbol in adoption.symbols]
    return next((one for one in found if not one.always_open), found[0])


def _replayed(
    reader: Reader, adoption: Adoption, stage: Stage, span: Span, frames: dict[str, pd.DataFrame], day: date
) -> Night:
    setup = replace(adoption.setup, cash=float(span.money))
    test = Backtest(frames, adoption.made, setup, start=span.first, timeframe=adoption.tf)
    result = test.run(plainly=not compiled_before())  # compiling would take seconds from the turns
    return compared(result, _did(reader, adoption, span), span.symbols, day)


# From where on


def _span(reader: Reader, adoption: Adoption, stage: Stage, day: date) -> Span:
    """The stretch to compare: since it may open positions, the last twenty sessions at most, from a bar at which it
    held and wanted nothing."""
    sessions = _calendar(adoption).sessions
    at = int(np.searchsorted(sessions.days, np.datetime64(day, "D")))
    end = _moment(sessions.close[at])
    oldest = _moment(sessions.open[max(at - MOST_SESSIONS + 1, 0)])
    moves = _moves(reader, adoption)
    every = tuple(stage.began)
    begun = max(stage.began.values())
    first = _even(reader, adoption, _Flat(moves, every), every, begun, oldest, end)
    if first is None:
        first = min(stage.began.values())
        every = tuple(symbol for symbol, since in stage.began.items() if since == first)
        if not _Flat(moves, every).at(first):
            raise CannotReplay("it has held something ever since it came to its rung: there is no even beginning yet")
        first = _bar_of(adoption, first)
    money = Decimal(str(adoption.setup.cash)) + sum(
        (-Decimal(str(m.moved)) * Decimal(str(m.price)) - Decimal(str(m.fee)) for m in moves if m.time < first), ZERO
    )
    return Span(first, money, every, end)


class _Flat:
    """When nothing of these symbols was held."""

    def __init__(self, moves: list[Moved], symbols: tuple[str, ...]) -> None:
        held: dict[str, float] = {}
        self._times, self._flat = list[datetime](), [True]
        for move in moves:
            if move.symbol in symbols:
                held[move.symbol] = held.get(move.symbol, 0.0) + move.moved
                self._times.append(move.time)
                self._flat.append(all(abs(quantity) < 1e-9 for quantity in held.values()))

    def at(self, moment: datetime) -> bool:
        """Whether all that moved before it came to nothing."""
        return self._flat[bisect_left(self._times, moment)]


def _even(
    reader: Reader,
    adoption: Adoption,
    flat: _Flat,
    symbols: tuple[str, ...],
    begun: datetime,
    oldest: datetime,
    end: datetime,
) -> datetime | None:
    """The open of the first bar from `oldest` on that a backtest may begin at and decide the same, since nothing was
    held through it and nothing wanted; the last one before `oldest` where there is none. None where there never was."""
    tf = adoption.tf
    start = _bar_of(adoption, begun) if flat.at(begun) else None
    if start is not None and start >= oldest:
        return start

    def quiet(since: datetime, until: datetime) -> Iterator[datetime]:
        bars = (_moment(at) for at in quiet_bars(reader, adoption, symbols, begun - tf.duration, since, until))
        return (at for at in bars if flat.at(end_of(symbols[0], tf, at)))

    if (found := next(quiet(oldest, end), None)) is not None:
        return found
    until = oldest
    while until > begun - tf.duration:
        until, since = until - LOOK_BACK, until
        if (found := max(quiet(until, since), default=None)) is not None:
            return found
    return start


def _bar_of(adoption: Adoption, moment: datetime) -> datetime:
    """The open of the bar that forms at a moment, or of the next one."""
    found = bucket_of(adoption.symbols[0], adoption.tf, moment)
    if found >= 0:
        return _moment(found)
    following = cd.expected(moment, moment + timedelta(days=10), adoption.tf, instrument(adoption.symbols[0]))
    return _moment(following[0]) if len(following) else moment


def _moment(nanos: int | np.int64) -> datetime:
    return datetime.fromtimestamp(int(nanos) / 1e9, tz=UTC)


# What the ledger has


def _moves(reader: Reader, adoption: Adoption) -> list[Moved]:
    """Every change of what it holds of its own, in the order of time."""
    found, held = list[Moved](), dict.fromkeys(adoption.symbols, ZERO)
    book = OwnBook(adoption)
    for symbol, line, row in book.rows(reader):
        moved, held[symbol] = line.own - held[symbol], line.own
        if moved:
            fee = row.fee * abs(moved) / row.quantity
            leg = BY_SIGNAL if row.source == adoption.source else _leg(row.purpose)
            found.append(Moved(symbol, row.time, float(moved), float(row.price), float(fee), leg, row.signal_id))
    return sorted(found, key=lambda move: move.time)


def _leg(purpose: str) -> str:
    return BY_STOP if purpose in EXITS else BY_HAND


def _did(reader: Reader, adoption: Adoption, span: Span) -> Did:
    known = {symbol: decided(reader, adoption.id, symbol, span.first, span.end) for symbol in span.symbols}
    moves = [move for move in _moves(reader, adoption) if move.time >= span.first and move.time < span.end]
    return Did(known, reader.orders_of_signal, moves, _pauses(reader, adoption, span.end))


def _pauses(reader: Reader, adoption: Adoption, end: datetime) -> list[tuple[datetime, datetime]]:
    """When it was asked nothing, a bar longer on either side."""
    found, since = list[tuple[datetime, datetime]](), None
    tf = adoption.tf.duration
    for at, state, _, _ in history(reader, adoption.id):
        if state is State.PAUSED:
            since = since or at
        elif since is not None:
            found.append((since - tf, at + tf))
            since = None
    return [*found, (since - tf, end)] if since is not None else found
