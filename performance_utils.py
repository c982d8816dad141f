"""Fast candles: cached for pages, many symbols at once, quotes kept warm, and the one bridge from async to sync.

get_candles_cached("AAPL", "1d", days=365)            one symbol, cached by timeframe
await fetch_all_candles(["AAPL", "MSFT"], "5m", 5)    many at once; one failure is one message
desk().live("AAPL", "1m")                             closed bars and the one that is forming
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
import os
import threading
import zlib
from collections import OrderedDict
from collections.abc import Coroutine, Iterable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import streamlit as st

import settings as settings_file
from domain import candles as cd
from domain.clock import Clock, SystemClock, monotonic
from domain.errors import DeskError, FeedUnavailable
from domain.instruments import Instrument, instrument
from domain.quotes import Bar
from feeds.board import QuoteBoard
from feeds.market import Answer, Market, open_market

T = TypeVar("T")

# How long a page may show closed bars before it asks again, in seconds.
FRESH_S = {"1m": 5, "5m": 15, "15m": 30, "1h": 60, "4h": 120, "1d": 300}
ASK_AGAIN_S = 2.0
PATIENCE_S = 0.3
RENEWAL_LIMIT_S = 60.0
MOST_SERIES = 300
CLOSE_LIMIT_S = 10.0
_log = logging.getLogger(__name__)


class Fetched(dict[str, pd.DataFrame]):
    """Candles by symbol, with one sentence for each symbol that failed in `errors`."""

    def __init__(self, frames: dict[str, pd.DataFrame], errors: dict[str, str]) -> None:
        super().__init__(frames)
        self.errors = errors


class Bridge:
    """One event loop on one daemon thread: pages call `run` and never await."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="bridge", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float = 120) -> T:
        """The result of `work`, awaited on the bridge's loop; TimeoutError after `timeout_s`, the work cancelled."""
        future = asyncio.run_coroutine_threadsafe(work, self.loop)
        try:
            return future.result(timeout_s)
        except TimeoutError:
            future.cancel()
            raise

    def start(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Let `work` run on its own; its result can be waited for from any thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)


@functools.cache
def bridge() -> Bridge:
    return Bridge()


@dataclass(frozen=True, slots=True)
class LiveCandles:
    """What a live chart shows: closed bars, the forming one, and where they come from.

    `revision` changes exactly when `closed` does.
    """

    instrument: Instrument
    tf: cd.Timeframe
    closed: pd.DataFrame
    forming: Bar | None
    answer: Answer
    revision: str


@dataclass(slots=True)
class _Kept:
    """The newest answer about one series, the state of the user's files it was made from, and the next answer on its
    way. `known` is replaced whole, so that who reads it gets bars and revision that belong together."""

    bars: int = 0
    last_bucket: int = -1
    files: int = 0
    asked: float = float("-inf")
    known: tuple[Answer, str] = field(default_factory=lambda: (Answer(cd.empty()), ""))
    renewal: Future[None] | None = None

    @property
    def renewing(self) -> bool:
        return self.renewal is not None and not self.renewal.done()


class Desk:
    """Everything a page may ask about the market: one for the process, shared by all viewers."""

    def __init__(
        self, settings: settings_file.Settings, clock: Clock | None = None, market: Market | None = None
    ) -> None:
        self.settings = settings
        self.market = market or open_market(settings, clock or SystemClock())
        self.board = QuoteBoard(self.market, batch=settings.stream_batch, pause_s=settings.stream_pause_s)
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._lock = threading.Lock()
        self._files: tuple[float, int] = (float("-inf"), 0)
        bridge().start(self.board.follow())

    @property
    def clock(self) -> Clock:
        return self.market.clock

    def candles(self, symbol: str, tf: str, days: int) -> Answer:
        """Closed bars of the last `days` days the source has; errors as in `feeds.base`."""
        return bridge().run(self.market.window(instrument(symbol), cd.timeframe(tf), days=days))

    def probe(self, symbol: str) -> None:
        """UnknownName where the source has no such symbol; a source that cannot answer just now refuses nothing."""
        with contextlib.suppress(FeedUnavailable):
            self.candles(symbol, "1d", 10)

    def prepare(self, symbol: str, tf_name: str, bars: int) -> Future[None] | None:
        """Start what `live` would have to wait for, without waiting: the future of a first answer, else None."""
        kept = self._renewed(instrument(symbol), cd.timeframe(tf_name), bars)
        return kept.renewal if kept.renewing and bars > kept.bars else None

    def live(self, symbol: str, tf_name: str, bars: int = 500) -> LiveCandles:
        """The newest `bars` closed bars and the forming one. Closed bars are asked for again only once a bar must
        have closed, so a second look costs next to nothing."""
        what, tf = instrument(symbol), cd.timeframe(tf_name)
        self.board.want([what.symbol])
        answer, revision = self._closed(what, tf, bars)
        answer = dataclasses.replace(answer, candles=answer.candles.iloc[-bars:])
        return LiveCandles(what, tf, answer.candles, self._forming(what, tf, answer), answer, revision)

    def close(self) -> None:
        """Let go of the source. One that hangs is left behind: the next desk must not wait for it."""
        self.board.close()
        try:
            bridge().run(self.market.close(), CLOSE_LIMIT_S)
        except (TimeoutError, CancelledError, DeskError, OSError) as error:
            _log.warning("closing %s: %s", self.market.label, error or type(error).__name__)

    def _closed(self, what: Instrument, tf: cd.Timeframe, bars: int) -> tuple[Answer, str]:
        """Closed bars and their revision. The first look waits for the source; later ones wait a moment, then go on
        with what is kept while the source makes up its mind."""
        kept = self._renewed(what, tf, bars)
        renewal, first = kept.renewal, bars > kept.bars
        if renewal is not None and (first or kept.renewing):
            try:
                renewal.result(RENEWAL_LIMIT_S if first else PATIENCE_S)
            except TimeoutError:
                if first:
                    raise FeedUnavailable(f"{self.market.label} did not answer in {RENEWAL_LIMIT_S:.0f} s") from None
            except CancelledError:
                raise FeedUnavailable("the data source was just changed; ask again") from None
            except DeskError:
                if first:
                    raise
        return kept.known

    def _renewed(self, what: Instrument, tf: cd.Timeframe, bars: int) -> _Kept:
        """The series' place among the newest looked at, its renewal started where one is due."""
        key = (what.symbol, tf.name)
        with self._lock:
            kept = self._kept.setdefault(key, _Kept())
            self._kept.move_to_end(key)
            while len(self._kept) > MOST_SERIES:
                self._kept.popitem(last=False)
            if not kept.renewing and (bars > kept.bars or self._outdated(kept, what, tf)):
                kept.renewal = bridge().start(self._renew(kept, what, tf, max(bars, kept.bars)))
            return kept

    async def _renew(self, kept: _Kept, what: Instrument, tf: cd.Timeframe, bars: int) -> None:
        try:
            bucket, files = self._bucket(what, tf), self._files_state()
            answer = await self.market.window(what, tf, bars=bars)
            kept.known, kept.bars, kept.last_bucket = (answer, _revision(what, tf, answer)), bars, bucket
            kept.files = files
        finally:
            kept.asked = monotonic()

    def _outdated(self, kept: _Kept, what: Instrument, tf: cd.Timeframe) -> bool:
        """A bar has closed since, the source still owes one, or the user's files are others; a failing source is left
        in peace for a while."""
        rested = monotonic() - kept.asked > max(ASK_AGAIN_S, self.market.poll_s)
        if self._bucket(what, tf) != kept.last_bucket or self._files_state() != kept.files:
            return rested or not kept.known[0].feed_error
        return rested and self._lags(kept.known[0].candles, what, tf)

    def _files_state(self) -> int:
        """A number that changes when a file of the user's comes, goes or changes; looked at once a second."""
        looked, state = self._files
        if monotonic() - looked > 1.0:
            with contextlib.suppress(OSError):
                found = [(e.name, e.stat().st_mtime_ns, e.stat().st_size) for e in os.scandir(self.settings.files_dir)]
                state = zlib.crc32(repr(sorted(found)).encode())
            self._files = (monotonic(), state)
        return state

    def _bucket(self, what: Instrument, tf: cd.Timeframe) -> int:
        """The bucket of this moment: when it changes, a bar has closed."""
        now = pd.Timestamp(self.clock.now()).value
        return int(cd.starts(np.array([now]), tf, what)[0])

    def _lags(self, closed: pd.DataFrame, what: Instrument, tf: cd.Timeframe) -> bool:
        """Whether the source still owes the bar before the forming one."""
        bucket = self._bucket(what, tf)
        if bucket < 0 or closed.empty or tf.daily:
            return False
        end = cd.ends(cd.nanos(closed)[-1:], tf, what)[0]
        return bool(end < bucket and bucket - end <= tf.nanos)

    def _forming(self, what: Instrument, tf: cd.Timeframe, answer: Answer) -> Bar | None:
        """The bar of this moment: the closed minutes of its bucket, then the minute that is forming."""
        standing = self.board.get(what.symbol)
        bucket = self._bucket(what, tf)
        if standing is None or standing.minute is None or bucket < 0 or not answer.live:
            return None
        minute = standing.minute
        begin = pd.Timestamp(bucket, tz="UTC").to_pydatetime()
        if minute.time < begin or int(cd.starts(np.array([pd.Timestamp(minute.time).value]), tf, what)[0]) != bucket:
            return None
        if tf.name == "1m" or minute.time == begin:
            return dataclasses.replace(minute, time=begin)
        need = tf.seconds // 60
        kept = self._renewed(what, cd.TIMEFRAMES["1m"], need)
        if kept.renewal is not None and kept.renewing:
            with contextlib.suppress(TimeoutError, CancelledError, DeskError):
                kept.renewal.result(PATIENCE_S)
        if need > kept.bars:
            return None  # its closed minutes are not here yet, and half a bar would be a wrong one
        earlier = cd.resample(cd.between(kept.known[0].candles, begin, minute.time), tf, what)
        return _bar(earlier, -1).merge(minute) if len(earlier) else dataclasses.replace(minute, time=begin)


def _revision(what: Instrument, tf: cd.Timeframe, answer: Answer) -> str:
    """A name for these bars from this source; other bars, or other prices in them, have another."""
    told = zlib.crc32(cd.nanos(answer.candles).tobytes())
    for column in cd.COLUMNS:
        told = zlib.crc32(answer.candles[column].to_numpy().tobytes(), told)
    return f"{what.symbol}.{tf.name}.{'+'.join(answer.sources)}.{told:08x}"


def _bar(candles: pd.DataFrame, at: int) -> Bar:
    row = candles.iloc[at]
    return Bar(candles.index[at].to_pydatetime(), *(float(row[c]) for c in cd.COLUMNS))


_desk: Desk | None = None
_desk_lock = threading.Lock()


def desk() -> Desk:
    """The process's desk, opened on first use with the settings of the environment."""
    global _desk
    with _desk_lock:
        if _desk is None:
            _desk = Desk(settings_file.load())
        return _desk


def use_desk(new: Desk | None) -> None:
    """Put another desk in place (another data source was chosen; a test brings its own); caches are cleared."""
    global _desk
    with _desk_lock:
        old, _desk = _desk, new
    if old is not None and old is not new:
        old.close()
    for kept in list(_loaders.values()):  # only those there are: to make one warns a shell that no page runs
        kept.clear()


_loaders: dict[str, Any] = {}


def _cached(interval: str) -> Any:
    """A cached loader of its own for each interval: Streamlit knows a cache, and its time to live, by this name."""
    if interval in _loaders:
        return _loaders[interval]

    def load(symbol: str, days: int) -> pd.DataFrame:
        return desk().candles(symbol, interval, days).candles

    load.__qualname__ = f"load_{interval}"
    cached = st.cache_data(ttl=FRESH_S[interval], max_entries=256, show_spinner=False)(load)
    return _loaders.setdefault(interval, cached)


def get_candles_cached(symbol: str, interval: str = "1d", days: int = 365) -> pd.DataFrame:
    """Closed candles of the last `days` calendar days the source has, as a candle frame (`domain.candles`).

    Cached by symbol, interval and days for a time that fits the interval (5 s for 1m, 5 min for 1d).
    UnknownName, DataError, FeedUnavailable as in `feeds.base`; ValueError where `days` is not above zero.
    """
    if days <= 0:
        raise ValueError(f"days must be above zero: got {days}")
    tf = cd.timeframe(interval)
    found: pd.DataFrame = _cached(tf.name)(instrument(symbol).symbol, int(days))
    return found


async def fetch_all_candles(symbols: Iterable[str], interval: str = "1d", days: int = 365) -> Fetched:
    """Candles of many symbols at once, at most FETCH_AT_ONCE in flight.

    A symbol that fails is one sentence in `.errors`; the others are there all the same. Can be awaited on any loop.
    """
    tf, here = cd.timeframe(interval), desk()
    gate = asyncio.Semaphore(here.settings.fetch_at_once)
    frames: dict[str, pd.DataFrame] = {}
    errors: dict[str, str] = {}

    async def one(symbol: str) -> None:
        async with gate:
            try:
                what = instrument(symbol)
                frames[what.symbol] = (await here.market.window(what, tf, days=days)).candles
            except DeskError as error:
                errors[symbol] = str(error)

    asked = dict.fromkeys(symbols)
    await asyncio.gather(*(one(symbol) for symbol in asked))
    return Fetched({s: frames[s] for s in _in_order(asked, frames)}, errors)


fetch_all = fetch_all_candles


def fetch_all_now(symbols: Iterable[str], interval: str = "1d", days: int = 365) -> Fetched:
    """`fetch_all_candles` for a page, which never awaits."""
    return bridge().run(fetch_all_candles(symbols, interval, days))


def _in_order(asked: Iterable[str], frames: dict[str, pd.DataFrame]) -> list[str]:
    order = {s.strip().upper(): at for at, s in enumerate(asked)}
    return sorted(frames, key=lambda s: order.get(s, len(order)))
