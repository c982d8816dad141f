"""One answer for candles: the user's files, then what is kept, then the feed for what is still missing.

Simulated prices are never mixed with others and never kept: where the files hold a symbol, they alone are shown.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd

from domain import registry
from domain.candles import Timeframe, between, empty, ends, nanos, starts
from domain.clock import Clock
from domain.errors import DeskError
from domain.instruments import Instrument
from domain.quotes import Quote
from feeds.base import Asked, Feed, Pace
from feeds.keeper import Keeper
from feeds.store import CandleStore, KeptSeries, Span, without
from settings import Settings

_FILES = "files"
_QUIET_S = 5.0  # at least this long after a failure, or a question without an answer, nothing is asked again
_RESTATED = 0.02  # a kept close that differs from the feed's own by more: a split was worked into its history


class OwnFiles(Feed, Protocol):
    """The user's files, beyond what every feed can do."""

    time_rules: str

    def all_bars(self, instrument: Instrument, tf: Timeframe) -> pd.DataFrame: ...
    def holds(self, instrument: Instrument, tf: Timeframe | None = None) -> bool: ...
    def refusals_of(self, instrument: Instrument) -> list[Any]: ...
    def refused(self) -> list[Any]: ...
    def holdings(self) -> list[Any]: ...
    def notes(self) -> list[str]: ...


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """Candles and what to know about them.

    sources      where the bars come from: `files`, or the name of the feed that gave them, now or earlier
    simulated    the prices are made up
    feed_error   why the feed could not add what is missing; '' where it could
    live         the feed's quotes go on where these candles end
    """

    candles: pd.DataFrame
    sources: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    simulated: bool = False
    feed_error: str = ""
    live: bool = False


@dataclass(frozen=True, slots=True)
class Stretch:
    """A run of bars from one source; `first` and `last` are opens."""

    source: str
    first: datetime
    last: datetime
    bars: int


@dataclass(frozen=True, slots=True)
class Resting:
    """Symbols whose call failed, the seconds until they are asked for again, and what was said."""

    symbols: tuple[str, ...]
    wait_s: float
    said: str


@dataclass(frozen=True, slots=True)
class Watch:
    """How quotes are asked for now: so many symbols in batches, `first` of them before all others.

    pause_s, round_s   from call to call; until each wanted symbol was asked for once
    busy_s             the source asked for a pause that lasts so much longer
    late               ticks that came after a newer one, in a minute that still formed; they widened it
    again, closed      ticks dropped: pushed twice; of a minute that was over
    pushes, pushed     whether the source pushes; how many symbols its line has now, 0 while it is down
    """

    wanted: int = 0
    first: int = 0
    batch: int = 0
    pause_s: float = 0.0
    round_s: float = 0.0
    resting: tuple[Resting, ...] = ()
    busy_s: float = 0.0
    late: int = 0
    again: int = 0
    closed: int = 0
    pushes: bool = False
    pushed: int = 0
    reconnects: int = 0
    line_error: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a source was asked and what its limits leave; `asked` None where nobody is asked, or the feed keeps no
    count; `elsewhere` where another process asks for all."""

    label: str
    at_hand: bool
    a_second: float | None
    asked: Asked | None
    watch: Watch
    elsewhere: bool = False


@dataclass(slots=True)
class _Asked:
    """The last question about the newest bars of a series, its error, and until when it is not asked again."""

    span: Span
    quiet_until: datetime
    error: DeskError | None = None


class Market:
    """What pages ask for candles and quotes. `clock` is the feed's: the simulated market may live on another."""

    def __init__(self, files: OwnFiles, store: CandleStore, feed: Feed, clock: Clock) -> None:
        self.files, self.store, self.feed = files, store, feed
        self.keeper = Keeper(store)
        self.system_clock = clock
        self._flights: dict[Any, asyncio.Task[Answer]] = {}
        self._locks: dict[Any, asyncio.Lock] = {}
        self._asked: dict[tuple[str, str], _Asked] = {}
        self.watch: Callable[[], Watch] = Watch  # the quote board puts its own here
        self.round_s = 0.0

    @property
    def clock(self) -> Clock:
        return self.feed.clock

    @property
    def name(self) -> str:
        return self.feed.name

    @property
    def price_source(self) -> str:
        """Whose prices these are, as a ledger is named for them."""
        return str(getattr(self.feed, "price_source", self.feed.name))

    @property
    def label(self) -> str:
        return self.feed.label

    @property
    def simulated(self) -> bool:
        return self.feed.simulated

    @property
    def poll_s(self) -> float:
        """How often a quote can be new: the feed's own pace, or a round of all that is wanted where that is longer."""
        return max(self.feed.poll_s, self.round_s)

    def usage(self) -> Usage:
        """How often the source was asked, what its limits leave, and how quotes are asked for. From any thread."""
        pace: Pace = getattr(self.feed, "pace", None) or Pace()
        count: Callable[[], Asked | None] | None = getattr(self.feed, "usage", None)
        asked = count() if count else None
        elsewhere = bool(getattr(self.feed, "asked_elsewhere", False))
        return Usage(self.label, pace.at_hand, pace.a_second, asked, self.watch(), elsewhere)

    @property
    def limits(self) -> str:
        return self.feed.limits

    @property
    def quotes_live(self) -> bool:
        """Whether quotes are the market's present: not where they are the last closes of files."""
        return self.feed.name != _FILES

    @property
    def clock_note(self) -> str:
        """How the feed's clock differs from real time, in words; '' where it does not."""
        return str(getattr(self.feed, "clock_note", ""))

    def skip_to_open(self) -> None:
        """Move a simulated clock to the next open; a real market cannot be hurried."""
        if skip := getattr(self.feed, "skip_to_open", None):
            skip()
            self._asked.clear()

    async def candles(self, instrument: Instrument, tf: Timeframe, start: datetime, end: datetime) -> Answer:
        """Closed bars that open in [start, end), extended hours included; the same question asked twice at once is
        answered once.

        A failing feed is told in `feed_error`. Its error is raised only where there is nothing at all to show.
        """
        loop = asyncio.get_running_loop()
        key = (id(loop), instrument.symbol, tf.name, start, end)
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = loop.create_task(self._candles(instrument, tf, start, end))
            flight.add_done_callback(functools.partial(self._landed, key))
        return await asyncio.shield(flight)

    async def window(
        self, instrument: Instrument, tf: Timeframe, *, days: float | None = None, bars: int | None = None
    ) -> Answer:
        """The last calendar `days`, or the last `bars` bars, that there are.

        Counted back from now; from the last bar held where nothing newer can come, so that old files still show.
        """
        if (days is None) == (bars is None):
            raise ValueError(f"days or bars, one of them: got {days} and {bars}")
        now = self.clock.now()
        end = await self._ends_early(instrument, tf, now)
        try:
            answer = await self._back_from(end or now, instrument, tf, days, bars)
        except DeskError as error:
            answer = Answer(empty(), feed_error=str(error))
            if (held := await self._last_held(instrument, tf)) is None:
                raise
        else:
            held = await self._last_held(instrument, tf) if answer.candles.empty else None
        if held is not None and answer.candles.empty:
            older = await self._back_from(held, instrument, tf, days, bars)
            answer = replace(older, feed_error=answer.feed_error or older.feed_error)
        return replace(answer, candles=answer.candles.iloc[-bars:]) if bars else answer

    async def sources_of(self, instrument: Instrument, tf: Timeframe, start: datetime, end: datetime) -> list[Stretch]:
        """Which of the bars at hand come from where, in order. Nothing is fetched."""
        bars, names = await asyncio.to_thread(self._at_hand, instrument, tf, start, end)
        if bars.empty:
            return []
        edges = np.flatnonzero(np.r_[True, names[1:] != names[:-1], True]).tolist()
        at = bars.index
        return [
            Stretch(str(names[a]), at[a].to_pydatetime(), at[b - 1].to_pydatetime(), b - a)
            for a, b in itertools.pairwise(edges)
        ]

    async def quotes(self, instruments: Sequence[Instrument]) -> dict[str, Quote]:
        """The feed's newest quotes; a symbol that only the files know is quoted from them, with its own time."""
        found = await self.feed.quotes(instruments)
        if self.feed.name != _FILES and (rest := [i for i in instruments if i.symbol not in found]):
            found = {**found, **await self.files.quotes(rest)}
        return found

    async def close(self) -> None:
        """Give back connections."""
        for flight in list(self._flights.values()):
            if flight.get_loop() is asyncio.get_running_loop():
                flight.cancel()
        await asyncio.to_thread(self.keeper.flush)
        await self.feed.close()
        await self.files.close()

    def kept(self) -> list[KeptSeries]:
        """What the store holds."""
        return self.store.holdings()

    @property
    def file_rules(self) -> str:
        """How times in the user's files are read, as markdown."""
        return self.files.time_rules

    def refused(self) -> list[Any]:
        """The user's files that are not used, and why."""
        return self.files.refused()

    def holdings(self) -> list[Any]:
        """What the user's files give."""
        return self.files.holdings()

    def file_notes(self) -> list[str]:
        """What is worth knowing about the files that are used, and about kept files that were set aside."""
        return [*self.files.notes(), *self.store.notes()]

    def _landed(self, key: Any, flight: asyncio.Task[Answer]) -> None:
        self._flights.pop(key, None)
        if not flight.cancelled():
            flight.exception()  # looked at: the callers that are still there get it by themselves

    async def _candles(self, of: Instrument, tf: Timeframe, start: datetime, end: datetime) -> Answer:
        own, refused = await asyncio.to_thread(lambda: (self._own(of, tf), self.files.refusals_of(of)))
        notes = tuple(f"not used: {refusal.message}" for refusal in refused)
        if self.feed.simulated:
            if len(own):
                return Answer(between(own, start, end), (_FILES,), notes)
            parts = await self._asked_feed(of, tf, Span(start, end))
            names = tuple(name for name, bars in parts if len(bars)) or (self.feed.name,)
            return Answer(_in_order(parts), names, notes, simulated=True, live=True)
        if self.feed.name == _FILES and own.empty and await self._last_held(of, tf) is None:
            await self.files.candles(of, tf, start, end)  # says in words why there is nothing
        return await self._real(of, tf, Span(start, end), own, notes)

    async def _real(
        self, of: Instrument, tf: Timeframe, span: Span, own: pd.DataFrame, notes: tuple[str, ...]
    ) -> Answer:
        error, more = await self._bring(of, tf, span, own)
        bars, names = await asyncio.to_thread(self._at_hand, of, tf, span.start, span.end)
        if bars.empty and error is not None:
            raise error
        sources = tuple(dict.fromkeys(str(name) for name in names))
        said = str(error) if error else ""
        notes = (*notes, *more, *self.keeper.problems(of, tf))
        return Answer(bars, sources, notes, feed_error=said, live=self.quotes_live)

    async def _bring(
        self, of: Instrument, tf: Timeframe, span: Span, own: pd.DataFrame
    ) -> tuple[DeskError | None, tuple[str, ...]]:
        """Fetch what is missing: the feed's error and remarks."""
        if self.feed.name == _FILES:
            return None, ()
        span, notes = self._within_reach(tf, span)
        lock = self._locks.setdefault((id(asyncio.get_running_loop()), of.symbol, tf.name), asyncio.Lock())
        async with lock:
            wanted = await asyncio.to_thread(self._missing, of, tf, span, own)
            if not wanted:
                return None, notes
            known = self._asked.get((of.symbol, tf.name))
            if known and known.error and self.clock.now() < known.quiet_until:
                return known.error, notes
            error: DeskError | None = None
            wanted = [w for w in wanted if not self._just_asked(known, w, tf)]
            for one in reversed(wanted):
                error = await self._fetch(of, tf, one)
                if error is not None or one is wanted[-1]:
                    self._remember(of, tf, one, error)
                if error is not None:
                    break
            return error, notes

    async def _fetch(self, of: Instrument, tf: Timeframe, span: Span) -> DeskError | None:
        """Fetch a span and hand it to the keeper; the feed's error, or None."""
        await self._settled(of, tf)
        before = await asyncio.to_thread(self._bar_before, of, tf, span)
        try:
            start = span.start if before is None else before[0]
            parts = await self._asked_feed(of, tf, Span(start, span.end))
            if before is not None and any(_restated(found, before) for _, found in parts):
                await asyncio.to_thread(self.keeper.flush)
                await asyncio.to_thread(self.store.set_aside, of, tf, "was restated, as after a split")
                parts = await self._asked_feed(of, tf, span)
            # The first one has the past: where it ends, what others give may still have holes.
            covered = Span(span.start, self._answered(of, tf, span, parts[0][1]))
            for name, found in parts:
                if len(found) or name == parts[0][0]:
                    self.keeper.add(of, tf, found, name, covered)
        except DeskError as error:
            return error
        return None

    async def _asked_feed(self, of: Instrument, tf: Timeframe, span: Span) -> list[tuple[str, pd.DataFrame]]:
        """The feed's bars by the name they are kept under: its own, unless it tells several sources apart."""
        if by_source := getattr(self.feed, "candles_by_source", None):
            parts: list[tuple[str, pd.DataFrame]] = await by_source(of, tf, span.start, span.end)
            return parts
        return [(self.feed.name, await self.feed.candles(of, tf, span.start, span.end))]

    async def _settled(self, of: Instrument, tf: Timeframe) -> None:
        """Wait until this series' own bars are on disk, where some are on their way."""
        if self.keeper.waiting(of, tf):
            await asyncio.to_thread(self.keeper.flush)

    def _own(self, of: Instrument, tf: Timeframe) -> pd.DataFrame:
        return self.files.all_bars(of, tf) if self.files.holds(of, tf) else empty()

    def _at_hand(self, of: Instrument, tf: Timeframe, start: datetime, end: datetime) -> tuple[pd.DataFrame, Any]:
        """Bars of the files, then kept ones where the files have none; and the source of each."""
        own = between(self._own(of, tf), start, end)
        if self.feed.simulated and len(own):
            return own, np.full(len(own), _FILES, dtype=object)
        waiting = self.keeper.waiting(of, tf)  # before the store: what is kept meanwhile is in both, never in neither
        kept = self.store.load(of, tf, start, end)
        layers = [(own, np.full(len(own), _FILES, dtype=object))]
        layers += [(between(f, start, end), np.full(len(f), n)) for f, n in waiting]
        layers += [(kept.candles, np.asarray(kept.sources, dtype=object))]
        bars, names = _stacked([(f, n[: len(f)]) for f, n in layers if len(f)])
        order = np.argsort(nanos(bars), kind="stable")
        return bars.iloc[order], names[order]

    def _within_reach(self, tf: Timeframe, span: Span) -> tuple[Span, tuple[str, ...]]:
        """The part of a span that the feed can have. A feed that is limited says so in `reach(tf)`."""
        reach: Callable[[Timeframe], timedelta | None] | None = getattr(self.feed, "reach", None)
        far = reach(tf) if reach else None
        if far is None or span.start >= self.clock.now() - far:
            return span, ()
        note = f"{self.feed.label} has {tf.name} bars only for the last {far.days} days"
        return Span(self.clock.now() - far, span.end), (note,)

    def _missing(self, of: Instrument, tf: Timeframe, span: Span, own: pd.DataFrame) -> list[Span]:
        """What neither the files nor the store can answer, up to the bar that is forming."""
        now = pd.Timestamp(self.clock.now()).value
        forming = int(starts(np.array([now]), tf, of)[0])
        until = min(span.end, _moment(forming if forming >= 0 else now))
        taken = [*self.keeper.covered(of, tf), *self.store.covered(of, tf)]  # in this order, as in `_at_hand`
        if len(own):
            taken.append(Span(_moment(nanos(own)[0]), _moment(ends(nanos(own)[-1:], tf, of)[0])))
        left = without(Span(span.start, until), sorted(taken)) if span.start < until else []
        return [gap for gap in left if _could_hold(gap, of, tf)]

    def _just_asked(self, known: _Asked | None, span: Span, tf: Timeframe) -> bool:
        """Whether bars that may only be late were asked for a moment ago."""
        if known is None or self.clock.now() >= known.quiet_until or span.end < self._late(tf):
            return False
        return known.span.start <= span.start and span.end <= known.span.end

    def _remember(self, of: Instrument, tf: Timeframe, span: Span, error: DeskError | None) -> None:
        quiet = self.clock.now() + timedelta(seconds=max(self.feed.poll_s, _QUIET_S if error else 0.0))
        self._asked[of.symbol, tf.name] = _Asked(span, quiet, error)

    def _late(self, tf: Timeframe) -> datetime:
        """From here on a bar that is not there may still come."""
        return self.clock.now() - max(3 * tf.duration, timedelta(hours=1))

    def _answered(self, of: Instrument, tf: Timeframe, span: Span, found: pd.DataFrame) -> datetime:
        """Up to where the feed's silence means that there is no bar: near now it may only be late."""
        last = _moment(ends(nanos(found)[-1:], tf, of)[0]) if len(found) else span.start
        return max(span.start, min(span.end, max(last, self._late(tf))))

    def _bar_before(self, of: Instrument, tf: Timeframe, span: Span) -> tuple[datetime, float] | None:
        """The newest kept bar of this feed just before the span: asked for again, it shows a restated history."""
        last = self.store.last(of, tf)
        if last is None or last >= span.start:
            return None
        kept = self.store.load(of, tf, last, span.start)
        if kept.candles.empty or kept.sources[-1] not in getattr(self.feed, "sources", (self.feed.name,)):
            return None
        _, notes = self._within_reach(tf, Span(last, span.end))
        return None if notes else (last, float(kept.candles["close"].iloc[-1]))

    async def _last_held(self, of: Instrument, tf: Timeframe) -> datetime | None:
        """When the newest bar of the files or the store closes; None where there is none."""
        await self._settled(of, tf)
        own = await asyncio.to_thread(self._own, of, tf)
        lasts = [nanos(own)[-1]] if len(own) else []
        if not self.feed.simulated and (kept := await asyncio.to_thread(self.store.last, of, tf)):
            lasts.append(np.int64(pd.Timestamp(kept).value))
        return _moment(ends(np.array([max(lasts)]), tf, of)[0]) if lasts else None

    async def _ends_early(self, of: Instrument, tf: Timeframe, now: datetime) -> datetime | None:
        """Where nothing newer can come than what is held: its end."""
        if not self.feed.simulated and self.feed.name != _FILES:
            return None
        held = await self._last_held(of, tf)
        return min(held, now) if held else None

    async def _back_from(
        self, end: datetime, of: Instrument, tf: Timeframe, days: float | None, bars: int | None
    ) -> Answer:
        start = end - timedelta(days=days) if days is not None else _bars_back(end, of, tf, bars or 1)
        return await self.candles(of, tf, start, end)


def open_market(settings: Settings, clock: Clock) -> Market:
    """The market behind `settings.data_source`. SettingsError where that source lacks a setting."""
    files = registry.part("feeds", _FILES)(settings, clock)
    chosen = settings.data_source
    feed = files if chosen == _FILES else registry.part("feeds", chosen)(settings, clock)
    return Market(files, CandleStore(Path(settings.store_dir), clock), feed, clock)


def _could_hold(span: Span, of: Instrument, tf: Timeframe) -> bool:
    """Whether any bar can open in the span: not on a weekend, for one."""
    s = of.calendar.sessions
    lo, hi = pd.Timestamp(span.start).value, pd.Timestamp(span.end).value
    if tf.daily:
        return bool(np.searchsorted(s.open, lo) < np.searchsorted(s.open, hi))
    at = int(np.searchsorted(s.post, lo, side="right"))
    return at < len(s.pre) and bool(s.pre[at] < hi)


def _stacked(layers: list[tuple[pd.DataFrame, Any]]) -> tuple[pd.DataFrame, Any]:
    """Bars of several layers, the first that has a bar wins; unsorted where there is more than one."""
    if not layers:
        return empty(), np.empty(0, dtype=object)
    bars, names = layers[0]
    for frame, said in layers[1:]:
        new = ~frame.index.isin(bars.index)
        if new.any():
            bars, names = pd.concat([bars, frame[new]]), np.r_[names, said[new]]
    return bars, names


def _in_order(parts: list[tuple[str, pd.DataFrame]]) -> pd.DataFrame:
    full = [bars for _, bars in parts if len(bars)]
    if len(full) < 2:
        return full[0] if full else empty()
    return pd.concat(full).sort_index()


def _restated(found: pd.DataFrame, before: tuple[datetime, float]) -> bool:
    if pd.Timestamp(before[0]) not in found.index:
        return False
    return abs(float(found["close"].loc[pd.Timestamp(before[0])]) / before[1] - 1) > _RESTATED


def _bars_back(end: datetime, of: Instrument, tf: Timeframe, bars: int) -> datetime:
    """The start of the session from which regular hours alone give `bars` bars up to `end`."""
    s = of.calendar.sessions
    at = int(np.searchsorted(s.open, pd.Timestamp(end).value))
    longest = s.close[:at] - s.open[:at]
    each = np.ones(at, dtype=np.int64) if tf.daily else -(-longest // tf.nanos)
    enough = np.flatnonzero(np.cumsum(each[::-1]) >= bars)
    # The newest session may have only begun: one more.
    first = max(at - 2 - int(enough[0]), 0) if len(enough) else 0
    return _moment(s.pre[first])


def _moment(at: int | np.int64) -> datetime:
    return datetime.fromtimestamp(int(at) // 10**9, tz=UTC)
