"""Yahoo Finance through yfinance: free, delayed, without a promise.

Prices are adjusted for splits and not for dividends. BTCUSDT is asked for as BTC-USD and BRK.B as BRK-B: Yahoo's
crypto prices are in dollars, not in USDT. yfinance blocks, and it logs its errors instead of raising them; here it
runs in a few threads, and what it logs is read and becomes our own error with a plain sentence.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd

from domain.calendars import NEW_YORK
from domain.candles import COLUMNS, Timeframe, between, empty, frame, nanos, resample, session_times, sift, timeframe
from domain.clock import Clock
from domain.errors import FeedBusy, FeedLimit, FeedUnavailable, UnknownName
from domain.instruments import Instrument
from domain.quotes import Bar, Quote
from feeds._pacing import Calls
from feeds.base import Asked, Pace
from settings import Settings

Download = Callable[..., "pd.DataFrame | None"]

# How far back Yahoo goes, and how much of it in one request, as yfinance's own `history` says.
_REACH: dict[str, timedelta | None] = {
    "1m": timedelta(days=30),
    "5m": timedelta(days=60),
    "15m": timedelta(days=60),
    "1h": timedelta(days=730),
    "4h": timedelta(days=730),
    "1d": None,
}
_PIECE = {"1m": timedelta(days=7)}
_EDGE = timedelta(minutes=5)  # a request at the very edge would be beyond it by the time it arrives
_AT_ONCE = 4
_DELAY_S = 900  # what Yahoo says of US exchanges; its crypto is seconds old
_NO_NETWORK = ("resolve host", "dnserror", "connect", "timed out", "timeout", "network", "certificate", "curl:")
_NOBODY = ("no timezone found", "delisted", "no data found", "not found", "symbol may be")
_NO_BARS = ("no price data found", "possibly delisted; no price data", "data doesn't exist for startdate")
_TOO_FAR = ("requested range must be within", "data not available", "must be within the last", "only 8 days")


@dataclass(frozen=True, slots=True)
class _Reply:
    """What one download gave: frames by Yahoo's symbol, and what yfinance logged meanwhile."""

    frames: dict[str, pd.DataFrame]
    said: str


class YahooFeed:
    """Yahoo Finance. `download` stands in for `yfinance.download` in tests."""

    name = "yahoo"
    label = "Yahoo Finance"
    simulated = False
    poll_s = 15.0
    pace = Pace(a_second=1.0, at_once=2)  # Yahoo publishes no limit and refuses who hurries
    limits = (
        "Yahoo Finance, about 15 minutes late for US stocks: 1m bars of the last 30 days, 5m and 15m of 60 days, "
        "1h and 4h of 730 days, 1d from the start. Adjusted for splits, not for dividends; crypto in USD, not USDT."
    )

    def __init__(self, settings: Settings, clock: Clock, download: Download | None = None) -> None:
        self.clock = clock
        self.dropped = 0
        self._cache = settings.data_dir / "yfinance"
        self._timeout = settings.fetch_timeout_s
        self._given = download
        self._calls = Calls()
        self._closes: dict[str, tuple[int, Decimal | None]] = {}
        self._pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="yahoo")
        weakref.finalize(self, self._pool.shutdown, wait=False, cancel_futures=True)

    def reach(self, tf: Timeframe) -> timedelta | None:
        """How far back from now there are bars of this timeframe; None: to the start."""
        far = _REACH[tf.name]
        return far and far - _EDGE

    async def candles(self, instrument: Instrument, tf: Timeframe, start: datetime, end: datetime) -> pd.DataFrame:
        """See `feeds.base.Feed`. 4h bars are made from 1h ones; 1m bars come a week at a time.

        Rows with a hole (Yahoo has some) are left out and counted in `dropped`.
        """
        now = self.clock.now()
        end = min(end, now)
        far = _REACH[tf.name]
        if far is not None and start < now - far:
            earliest = (now - far).date().isoformat()
            raise FeedLimit(f"Yahoo has {tf.name} bars only for the last {far.days} days: ask from {earliest} on")
        if start >= end:
            return empty()
        source = timeframe("1h") if tf.name == "4h" else tf
        # Four hours begin with their first: one bar more, so that the first is whole.
        since = max(start - tf.duration, now - far) if tf.name == "4h" and far else start
        spans = _cut(since, end, _PIECE.get(source.name))
        pieces = [await self._piece(instrument, source, a, b) for a, b in spans]
        whole = pd.concat(pieces) if len(pieces) > 1 else pieces[0]
        whole = whole[~whole.index.duplicated(keep="last")].sort_index()
        found, wrong = sift(whole, instrument, source, now)
        self.dropped += sum(fault.rule not in ("forming bar", "off the grid") for fault in wrong)
        if tf.name == "4h":
            found = resample(found, tf, instrument, until=now)
        return between(found, start, end)

    async def quotes(self, instruments: Sequence[Instrument]) -> dict[str, Quote]:
        """The newest minute of each symbol, all asked for at once, with the day's close before it where known."""
        if not instruments:
            return {}
        symbols = {_yahoo_symbol(i): i for i in instruments}
        reply = await self._ask(list(symbols), interval="1m", period="1d", prepost=True)
        if not reply.frames and reply.said and (trouble := _trouble(reply.said)):
            raise trouble
        closes = await self._previous_closes({s: symbols[s] for s in reply.frames})
        made = [_quote(table, symbols[s], self.name, closes.get(s)) for s, table in reply.frames.items()]
        return {quote.symbol: quote for quote in made if quote is not None}

    def usage(self) -> Asked:
        """Requests of the last hour, one a symbol and question, those for candles too."""
        return self._calls.told()

    async def close(self) -> None:
        """Let running downloads end on their own and start no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _previous_closes(self, symbols: dict[str, Instrument]) -> dict[str, Decimal]:
        """The daily close before the present session, asked for once a session; without it a quote has no change."""
        now = np.array([pd.Timestamp(self.clock.now()).value])
        session = {s: int(i.calendar.locate(now)[0][0]) for s, i in symbols.items()}
        if fresh := [s for s in symbols if self._closes.get(s, (None, None))[0] != session[s]]:
            reply = await self._ask(fresh, interval="1d", period="5d")
            for s in fresh:
                close = _close_before(reply.frames.get(s), symbols[s], session[s])
                self._closes[s] = session[s], close
        return {s: close for s in symbols if (close := self._closes[s][1]) is not None}

    async def _piece(self, of: Instrument, tf: Timeframe, start: datetime, end: datetime) -> pd.DataFrame:
        symbol = _yahoo_symbol(of)
        if tf.daily:  # by day, in the exchange's own calendar; the day of `end` included
            zone = UTC if of.is_crypto else NEW_YORK
            span = {"start": start.astimezone(zone).date(), "end": end.astimezone(zone).date() + timedelta(days=1)}
        else:
            span = {"start": start, "end": end}
        reply = await self._ask([symbol], interval=tf.name, prepost=not tf.daily, **span)
        table = reply.frames.get(symbol)
        if table is None or table.empty:
            if reply.said and (trouble := _why(reply.said, of, symbol, tf)):
                raise trouble
            return empty()
        found, holes = _candles(table, of, tf)
        self.dropped += holes
        return found

    async def _ask(self, symbols: list[str], **wish: Any) -> _Reply:
        """One download in a thread. FeedUnavailable where it does not come back in time."""
        loop = asyncio.get_running_loop()
        self._calls.made(len(symbols))
        try:
            work = loop.run_in_executor(self._pool, lambda: self._download(symbols, **wish))
        except RuntimeError:  # the pool was closed
            raise FeedUnavailable("Yahoo: this source was closed") from None
        try:
            reply = await asyncio.wait_for(work, self._timeout * 2)
            if isinstance(_trouble(reply.said) if reply.said else None, FeedBusy):
                self._calls.refused()
            return reply
        except FeedBusy:
            self._calls.refused()
            raise
        except TimeoutError:
            raise FeedUnavailable(f"Yahoo gave no answer within {self._timeout * 2:g} s: try again later") from None

    def _download(self, symbols: list[str], **wish: Any) -> _Reply:
        download = self._given or self._yfinance()
        with _listening() as said:
            try:
                table = download(
                    symbols,
                    auto_adjust=False,
                    actions=False,
                    progress=False,
                    threads=_AT_ONCE if len(symbols) > 1 else False,
                    group_by="column",
                    timeout=self._timeout,
                    ignore_tz=False,
                    **wish,
                )
            except Exception as error:
                raise _failure(f"{type(error).__name__}: {error}") from error
        return _Reply(_by_symbol(table, symbols), "\n".join(said))

    def _yfinance(self) -> Download:
        import yfinance  # heavy, and only needed once somebody asks

        if self._given is None:
            self._cache.mkdir(parents=True, exist_ok=True)
            yfinance.set_tz_cache_location(str(self._cache))
            warnings.filterwarnings("ignore", module=r"yfinance")
            self._given = yfinance.download
        return self._given


def _yahoo_symbol(of: Instrument) -> str:
    return of.symbol.removesuffix("USDT") + "-USD" if of.is_crypto else of.symbol.replace(".", "-")


def _cut(start: datetime, end: datetime, piece: timedelta | None) -> list[tuple[datetime, datetime]]:
    if piece is None:
        return [(start, end)]
    edges = [start]
    while edges[-1] + piece < end:
        edges.append(edges[-1] + piece)
    return list(zip(edges, [*edges[1:], end], strict=True))


class _Ear(logging.Handler):
    """Keeps what yfinance logs, by the thread that logged it."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.heard: dict[int, list[str]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        lines = self.heard.get(record.thread or 0)
        if lines is not None:
            lines.append(record.getMessage())


_EAR = _Ear()


@contextmanager
def _listening() -> Iterator[list[str]]:
    """What yfinance logs in this thread meanwhile; it reaches no other log."""
    log = logging.getLogger("yfinance")
    if _EAR not in log.handlers:
        log.addHandler(_EAR)
        log.propagate = False
    lines = _EAR.heard[threading.get_ident()] = []
    try:
        yield lines
    finally:
        _EAR.heard.pop(threading.get_ident(), None)


def _failure(said: str) -> FeedUnavailable:
    return _trouble(said) or FeedUnavailable(f"Yahoo failed: {said.strip().splitlines()[-1][:160]}")


def _trouble(said: str) -> FeedUnavailable | None:
    """The error of the whole source behind what was logged; None where it is about a symbol only."""
    low = said.lower()
    if "too many requests" in low or "rate limit" in low or "ratelimit" in low or "error 429" in low:
        return FeedBusy("Yahoo asks for a pause (too many requests): try again in some minutes")
    if any(word in low for word in _NO_NETWORK):
        return FeedUnavailable("Yahoo cannot be reached: is there a network?")
    if "invalid crumb" in low or "unauthorized" in low or "currently down" in low:
        return FeedUnavailable("Yahoo turned the request down: try again later, or update yfinance")
    return None


def _why(said: str, of: Instrument, symbol: str, tf: Timeframe) -> FeedUnavailable | UnknownName | None:
    """Why there is nothing; None where there simply were no bars in that span."""
    low = said.lower()
    if any(word in low for word in _TOO_FAR):
        return FeedLimit(f"Yahoo does not have {tf.name} bars of {of.symbol} that far back: ask for fewer days")
    if trouble := _trouble(said):
        return trouble
    if any(word in low for word in _NO_BARS):
        return None
    if any(word in low for word in _NOBODY):
        asked = "" if symbol == of.symbol else f", asked for as {symbol}"
        return UnknownName(f"Yahoo knows no symbol {of.symbol}{asked}")
    return _failure(said)


def _by_symbol(table: pd.DataFrame | None, symbols: list[str]) -> dict[str, pd.DataFrame]:
    """One frame a symbol, with Yahoo's column names. yfinance names columns (Price, Ticker), or Price alone."""
    if table is None or table.empty:
        return {}
    if not isinstance(table.columns, pd.MultiIndex):
        return {symbols[0]: table.dropna(how="all")} if len(symbols) == 1 else {}
    level = table.columns.names.index("Ticker") if "Ticker" in table.columns.names else 1
    there = table.columns.get_level_values(level)
    found: dict[str, pd.DataFrame] = {}
    for symbol in set(symbols) & set(there):
        part = table.loc[:, there == symbol]
        # With several symbols the index is the union of theirs: a row that is NaN throughout is another's.
        found[symbol] = part.set_axis(part.columns.get_level_values(1 - level), axis=1).dropna(how="all")
    return found


def _candles(table: pd.DataFrame, of: Instrument, tf: Timeframe) -> tuple[pd.DataFrame, int]:
    """Yahoo's frame as ours, unchecked, and how many rows with a hole were left out."""
    values = table.rename(columns=str.lower)[list(COLUMNS)].astype(np.float64)
    whole = np.isfinite(values.to_numpy()).all(axis=1)
    index = pd.DatetimeIndex(table.index)
    if tf.daily:
        # A day's label: midnight without a zone, or midnight of the exchange.
        labels = index if index.tz is None else index.tz_convert(UTC if of.is_crypto else NEW_YORK).tz_localize(None)
        days = labels.to_numpy().astype("datetime64[D]")
        times = days.astype("datetime64[ns]").astype(np.int64) if of.is_crypto else session_times(days, of)
    else:
        times = (index.tz_localize("UTC") if index.tz is None else index.tz_convert("UTC")).as_unit("ns").asi8
    used = whole & (times >= 0)
    found = frame(times[used], {c: values[c].to_numpy()[used] for c in COLUMNS})
    return found[~found.index.duplicated(keep="last")].sort_index(), int((~whole).sum())


def _close_before(table: pd.DataFrame | None, of: Instrument, session: int) -> Decimal | None:
    if table is None:
        return None
    daily, _ = _candles(table, of, timeframe("1d"))
    earlier = daily["close"].to_numpy()[of.calendar.locate(nanos(daily))[0] < session]
    return _price(earlier[-1]) if len(earlier) else None


def _price(value: float) -> Decimal:
    """Yahoo's float32 as the number it was made from: 250.4199981689453 is 250.42."""
    single = np.float32(value)
    return Decimal(str(single) if float(single) == value else repr(float(value)))


def _quote(table: pd.DataFrame, of: Instrument, source: str, previous: Decimal | None) -> Quote | None:
    """The last trade that Yahoo shows: its newest row, the forming minute included."""
    found, _ = _candles(table, of, timeframe("1m"))
    found = found[(found["close"] > 0).to_numpy()]
    if found.empty:
        return None
    last = found.iloc[-1]
    opened = found.index[-1].floor("min")
    # Yahoo stamps its newest row with the last trade's second, older ones with their minute.
    at = found.index[-1] if found.index[-1] != opened else opened
    minute = Bar(opened.to_pydatetime(), *(float(last[c]) for c in COLUMNS)) if _sound(last) else None
    return Quote(
        of.symbol,
        at.to_pydatetime(),
        _price(last["close"]),
        source,
        volume=float(found["volume"].sum()),
        previous_close=previous,
        delayed_s=0 if of.is_crypto else _DELAY_S,
        minute=minute,
    )


def _sound(row: pd.Series[float]) -> bool:
    return bool(0 < row["low"] <= min(row["open"], row["close"]) and row["high"] >= max(row["open"], row["close"]))


PART = YahooFeed
