"""Fast candles: cached for pages, many symbols at once, quotes kept warm, and the one bridge from async to sync.

get_candles_cached("AAPL", "1d", days=365)            one symbol, cached by timeframe
await fetch_all_candles(["AAPL", "MSFT"], "5m", 5)    many at once; one failure is one message
desk().live("AAPL", "1m")                             closed bars and the one that is forming
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import zlib
from collections.abc import Coroutine, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import streamlit as st

import settings as settings_file
from domain import candles as cd
from domain.clock import Clock, SystemClock, monotonic
from domain.errors import DeskError, FeedUnavailable
from domain.instruments import Instrument, instrument
from domain.quotes import Bar, Quote
from feeds.market import Answer, Market, open_market

T = TypeVar("T")

# How long a page may show closed bars before it asks again, in seconds.
FRESH_S = {"1m": 5, "5m": 15, "15m": 30, "1h": 60, "4h": 120, "1d": 300}
WANTED_FOR_S = 30.0
ASK_AGAIN_S = 2.0
PATIENCE_S = 0.3
RENEWAL_LIMIT_S = 60.0


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


@dataclass(slots=True)
class Standing:
    """The newest quote of a symbol, when it came (monotonic seconds), and the minute folded from quotes so far."""

    quote: Quote
    came: float
    minute: Bar | None = None
    _day_volume: float = 0.0

    def take(self, quote: Quote) -> None:
        """A newer quote. Where the venue tells no forming minute it is folded from the prices seen."""
        begin = quote.time.replace(second=0, microsecond=0)
        if quote.minute is not None:
            self.minute = quote.minute
        elif self.minute is None or self.minute.time != begin:
            price = float(quote.last)
            self.minute = Bar(begin, price, price, price, price, 0.0)
        else:
            traded = max(0.0, quote.volume - self._day_volume)
            self.minute = self.minute.with_price(float(quote.last), self.minute.volume + traded)
        self.quote, self.came, self._day_volume = quote, monotonic(), quote.volume


class QuoteBoard:
    """The newest quotes of every symbol somebody looks at, asked for together, once for all viewers.

    `want` is called by whoever shows a symbol; a symbol that nobody wanted for half a minute is no longer asked for.
    """

    def __init__(self, market: Market) -> None:
        self._market = market
        self._wanted: dict[str, float] = {}
        self._standing: dict[str, Standing] = {}
        self._lock = threading.Lock()
        self._asking = asyncio.Lock()
        self._asked = float("-inf")
        self.error = ""
        self.failing_since: float | None = None
        self._closed = False

    def want(self, symbols: Iterable[str]) -> None:
        with self._lock:
            self._wanted.update(dict.fromkeys(symbols, monotonic()))

    def wanted(self) -> list[str]:
        with self._lock:
            return [s for s, when in self._wanted.items() if monotonic() - when < WANTED_FOR_S]

    def get(self, symbol: str) -> Standing | None:
        return self._standing.get(symbol)

    async def refresh(self) -> None:
        """Ask for everything wanted, once. A failure is kept as a sentence; the old quotes stand and grow old."""
        async with self._asking:
            symbols = self.wanted()
            if not symbols:
                return
            try:
                quotes = await self._market.quotes([instrument(s) for s in symbols])
            except DeskError as error:
                self.error = str(error)
                self.failing_since = self.failing_since or monotonic()
                return
            self.error, self.failing_since = "", None
            for symbol, quote in quotes.items():
                self._take(symbol, quote)

    async def follow(self) -> None:
        """Refresh at the feed's own pace until closed. A new wish is answered within a fifth of a second."""
        while not self._closed:
            fresh = any(s not in self._standing for s in self.wanted()) and not self.error
            if monotonic() - self._asked >= (min(ASK_AGAIN_S, self._market.poll_s) if fresh else self._market.poll_s):
                self._asked = monotonic()
                await self.refresh()
            await asyncio.sleep(min(0.2, self._market.poll_s))

    def close(self) -> None:
        self._closed = True

    def _take(self, symbol: str, quote: Quote) -> None:
        standing = self._standing.get(symbol)
        if standing is None:
            standing = self._standing[symbol] = Standing(quote, monotonic())
        if standing.minute is None or quote.time >= standing.quote.time:
            standing.take(quote)


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
    """The newest answer about one series, and the renewal that is on its way."""

    bars: int = 0
    last_bucket: int = -1
    asked: float = float("-inf")
    known: tuple[Answer, str] = field(default_factory=lambda: (Answer(cd.empty()), ""))  # and its revision
    renewal: Future[None] | None = None


class Desk:
    """Everything a page may ask about the market: one for the process, shared by all viewers."""

    def __init__(
        self, settings: settings_file.Settings, clock: Clock | None = None, market: Market | None = None
    ) -> None:
        self.settings = settings
        self.market = market or open_market(settings, clock or SystemClock())
        self.board = QuoteBoard(self.market)
        self._kept: dict[tuple[str, str], _Kept] = {}
        self._lock = threading.Lock()
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

    def live(self, symbol: str, tf_name: str, bars: int = 500) -> LiveCandles:
        """The newest `bars` closed bars and the forming one. Closed bars are asked for again only once a bar must
        have closed, so a second look costs next to nothing."""
        what, tf = instrument(symbol), cd.timeframe(tf_name)
        self.board.want([what.symbol])
        answer, revision = self._closed(what, tf, bars).known
        forming = self._forming(what, tf, answer)
        return LiveCandles(what, tf, answer.candles, forming, answer, revision)

    def close(self) -> None:
        self.board.close()
        bridge().run(self.market.close(), 10)

    def _closed(self, what: Instrument, tf: cd.Timeframe, bars: int) -> _Kept:
        """Closed bars, renewed where a bar must have closed since. The first look waits for the source; later ones
        wait a moment, then go on with what is kept while the source makes up its mind."""
        key = (what.symbol, tf.name)
        with self._lock:
            kept = self._kept.setdefault(key, _Kept())
            first = bars > kept.bars
            if kept.renewal is None and (first or self._outdated(kept, what, tf)):
                kept.renewal = bridge().start(self._renew(kept, what, tf, max(bars, kept.bars)))
            renewal = kept.renewal
        if renewal is not None:
            try:
                renewal.result(RENEWAL_LIMIT_S if first else PATIENCE_S)
            except TimeoutError:
                if first:
                    raise FeedUnavailable(f"{self.market.label} did not answer in {RENEWAL_LIMIT_S:.0f} s") from None
            except DeskError:
                if first:
                    raise
        return kept

    async def _renew(self, kept: _Kept, what: Instrument, tf: cd.Timeframe, bars: int) -> None:
        try:
            bucket = self._bucket(what, tf)
            answer = await self.market.window(what, tf, bars=bars)
            kept.known, kept.bars, kept.last_bucket = (answer, _revision(what, tf, answer)), bars, bucket
        finally:
            kept.asked, kept.renewal = monotonic(), None

    def _outdated(self, kept: _Kept, what: Instrument, tf: cd.Timeframe) -> bool:
        """A bar has closed since, or the source still owes one; a failing source is left in peace for a while."""
        rested = monotonic() - kept.asked > max(ASK_AGAIN_S, self.market.poll_s)
        if self._bucket(what, tf) != kept.last_bucket:
            return rested or not kept.known[0].feed_error
        return rested and self._lags(kept.known[0].candles, what, tf)

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
            return replace(minute, time=begin)
        try:
            minutes = self._closed(what, cd.TIMEFRAMES["1m"], tf.seconds // 60).known[0].candles
        except DeskError:
            return None  # half a bar would be a wrong one
        earlier = cd.resample(cd.between(minutes, begin, minute.time), tf, what)
        return _bar(earlier, -1).merge(minute) if len(earlier) else replace(minute, time=begin)


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
    for interval in FRESH_S:
        _cached(interval).clear()


@functools.cache
def _cached(interval: str) -> Any:
    """A cached loader of its own for each interval: Streamlit knows a cache, and its time to live, by this name."""

    def load(symbol: str, days: int) -> pd.DataFrame:
        return desk().candles(symbol, interval, days).candles

    load.__qualname__ = f"load_{interval}"
    return st.cache_data(ttl=FRESH_S[interval], max_entries=256, show_spinner=False)(load)


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
