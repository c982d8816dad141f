"""Candles from a server of your own: CANDLES_URL, with places for the symbol, the timeframe and the span.

    http://127.0.0.1:9000/candles?symbol={symbol}&interval={interval}&start={start}&end={end}

`start` and `end` are filled in as UTC, `2026-01-31T14:30:00Z`; bars that open in [start, end) are wanted. The answer
is JSON (a list of objects, or an object of columns; either may lie under `candles` or `data`) or CSV, with time,
open, high, low, close and volume. Times without a zone are UTC here; a date alone is a session, as in files.
Only reads are sent, so a failed one is asked again, up to three times, each time after a longer wait; not where the
server wants to be left alone for longer than ten seconds.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import string
import weakref
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote as encode

import aiohttp
import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
from yarl import URL

from domain.candles import Timeframe, between, empty, ends, faults, nanos, timeframe, unclosed
from domain.clock import Clock
from domain.errors import DataError, FeedBusy, FeedUnavailable, SettingsError, UnknownName
from domain.instruments import Instrument
from domain.quotes import Quote
from feeds._pacing import Calls
from feeds._tables import RawTable, TableError, candles, name_columns, read_csv, read_times, refuse_wrong_zone, to_utc
from feeds.base import Asked, Pace
from settings import Settings

MOST_BYTES = 8 * 1024 * 1024
TRIES = 3
FIRST_WAIT_S = 0.25
LONGEST_WAIT_S = 10.0
SURE_AFTER_NS = 3 * 86_400_000_000_000  # three days tell a zone; a morning alone cannot
_PLACES = frozenset({"symbol", "interval", "start", "end"})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 3


class _TryAgain(Exception):
    """Worth another try, after `wait_s` where the server named one; `busy` where it was asked too often."""

    def __init__(self, reason: str, wait_s: float | None = None, *, busy: bool = False) -> None:
        self.reason, self.wait_s, self.busy = reason, wait_s, busy
        super().__init__(reason)


class HttpFeed:
    """The user's own candle server."""

    name = "http"
    label = "Your own server"
    simulated = False
    poll_s = 5.0
    pace = Pace()  # one request a symbol, a batch at a time
    limits = "Your own server (CANDLES_URL): as far back, as fine and as fresh as it answers."

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.clock = clock
        self._template = _checked_template(settings.candles_url)
        self._host = URL(_fill(self._template, dict.fromkeys(_PLACES, "x"))).host
        self._timeout = aiohttp.ClientTimeout(total=settings.fetch_timeout_s)
        self._at_once = settings.fetch_at_once
        self._calls = Calls()
        self._open: weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, tuple[aiohttp.ClientSession, asyncio.Semaphore]
        ] = weakref.WeakKeyDictionary()

    async def candles(self, instrument: Instrument, tf: Timeframe, start: datetime, end: datetime) -> pd.DataFrame:
        """One request for the span. UnknownName: it answered 404; DataError: it answered nonsense."""
        places = {"symbol": instrument.symbol, "interval": tf.name, "start": _iso(start), "end": _iso(end)}
        data = await self._fetch(URL(_fill(self._template, places), encoded=True), instrument.symbol)
        found = await asyncio.to_thread(_parse, data, instrument, tf)
        if wrong := faults(found, instrument, tf):
            error = TableError(wrong[0].row, wrong[0].rule, wrong[0].found)
            raise DataError(f"{instrument.symbol}: the server's answer, {error}")
        return between(found[~unclosed(nanos(found), tf, instrument, self.clock.now())], start, end)

    async def quotes(self, instruments: Sequence[Instrument]) -> dict[str, Quote]:
        """The newest closed minute of each symbol; an error only where none could be had, the first one."""
        answers = await asyncio.gather(*(self._quote(i) for i in instruments), return_exceptions=True)
        wrong = [a for a in answers if isinstance(a, BaseException)]
        for error in wrong:
            if not isinstance(error, FeedUnavailable | DataError | UnknownName):
                raise error
        if wrong and len(wrong) == len(answers):
            raise wrong[0]
        return {a.symbol: a for a in answers if isinstance(a, Quote)}

    def usage(self) -> Asked:
        """Requests of the last hour, those for candles too, and what the server's headers say is left."""
        return self._calls.told()

    async def close(self) -> None:
        """Close the connections of this event loop; those of a loop that has ended are dropped with it."""
        session, _ = self._open.pop(asyncio.get_running_loop(), (None, None))
        if session is not None:
            await session.close()

    async def _quote(self, instrument: Instrument) -> Quote | None:
        now, minute = self.clock.now(), timeframe("1m")
        start = now - timedelta(hours=1) if instrument.is_crypto else instrument.calendar.last_open(now)
        found = await self.candles(instrument, minute, start, now)
        if found.empty:
            return None
        closed = int(ends(nanos(found)[-1:], minute, instrument)[0])
        at = datetime.fromtimestamp(closed // 10**9, tz=UTC)
        day = 0.0 if instrument.is_crypto else float(found["volume"].sum())
        return Quote(instrument.symbol, at, Decimal(repr(float(found["close"].iloc[-1]))), self.name, volume=day)

    async def _fetch(self, url: URL, symbol: str) -> bytes:
        """The body of a good answer, after at most TRIES requests. Errors name the host, never the whole address.
        FeedBusy, and nothing sent, while a long pause lasts that the server asked for; a short one is waited for."""
        if (left := self._calls.told().wait_s) > LONGEST_WAIT_S:
            raise FeedBusy(f"{self._host} asks for a pause (429)", left)
        await asyncio.sleep(left)
        session, bound = self._session()
        wait = FIRST_WAIT_S
        for attempt in range(1, TRIES + 1):
            try:
                async with bound:
                    return await self._once(session, url, symbol)
            except _TryAgain as error:
                patient = (error.wait_s or 0.0) <= LONGEST_WAIT_S
                if attempt == TRIES or not patient:
                    said = f"{self._host}, asked for {symbol}: {error.reason}, {attempt} times"
                    busy = error.busy or not patient
                    raise (FeedBusy(said, error.wait_s) if busy else FeedUnavailable(said)) from None
                jitter = random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, guards nothing
                await asyncio.sleep(error.wait_s if error.wait_s is not None else wait * jitter)
                wait = min(wait * 2, LONGEST_WAIT_S)
        raise AssertionError("unreachable")

    async def _once(self, session: aiohttp.ClientSession, url: URL, symbol: str) -> bytes:
        self._calls.made()
        try:
            async with self._follow(session, url, symbol) as response:
                self._judge(response, symbol)
                return await self._body(response, symbol)
        except TimeoutError:
            raise _TryAgain(f"no answer within {self._timeout.total:g} s") from None
        except aiohttp.ClientConnectorError as error:
            raise _TryAgain(f"no connection ({error.os_error.strerror or 'refused'})") from None
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError):
            raise _TryAgain("the connection broke off") from None
        except aiohttp.ClientError as error:
            raise FeedUnavailable(f"{self._host}, asked for {symbol}: {type(error).__name__}") from None

    @asynccontextmanager
    async def _follow(
        self, session: aiohttp.ClientSession, url: URL, symbol: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer, after redirects within the same host only."""
        for _ in range(_MOST_REDIRECTS + 1):
            async with session.get(url, allow_redirects=False) as response:
                if response.status not in _REDIRECTS:
                    yield response
                    return
                target = url.join(URL(response.headers.get("Location", "")))
            if (target.scheme, target.host, target.port) != (url.scheme, url.host, url.port):
                raise FeedUnavailable(
                    f"{self._host}, asked for {symbol}: it sends on to {target.host}; redirects to "
                    "another host are not followed: set CANDLES_URL to where the candles are"
                )
            url = target
        raise FeedUnavailable(f"{self._host}, asked for {symbol}: redirects in a circle")

    def _judge(self, response: aiohttp.ClientResponse, symbol: str) -> None:
        status, now = response.status, self.clock.now()
        self._calls.heard(response.headers, now.timestamp())
        if status == 200:
            return
        said = f"it answered {status} {response.reason or ''}".strip()
        if status == 404:
            raise UnknownName(f"{self._host} knows no symbol {symbol} (404)")
        if status == 429 or status >= 500:
            wait_s = _retry_after(response.headers.get("Retry-After"), now)
            if status == 429:
                self._calls.refused(wait_s)
            raise _TryAgain(said, wait_s, busy=status == 429)
        raise FeedUnavailable(f"{self._host}, asked for {symbol}: {said}")

    async def _body(self, response: aiohttp.ClientResponse, symbol: str) -> bytes:
        parts, size = [], 0
        async for part in response.content.iter_chunked(65_536):
            size += len(part)
            if size > MOST_BYTES:
                raise DataError(f"{self._host}, asked for {symbol}: more than {MOST_BYTES >> 20} MiB; ask for less")
            parts.append(part)
        return b"".join(parts)

    def _session(self) -> tuple[aiohttp.ClientSession, asyncio.Semaphore]:
        loop = asyncio.get_running_loop()
        known = self._open.get(loop)
        if known is None or known[0].closed:
            connector = aiohttp.TCPConnector(limit=self._at_once)
            session = aiohttp.ClientSession(connector=connector, timeout=self._timeout, raise_for_status=False)
            session._retry_connection = False  # it would ask a broken connection again by itself, uncounted
            known = self._open[loop] = session, asyncio.Semaphore(self._at_once)
        return known


def _checked_template(template: str) -> str:
    """The template, or a SettingsError that says what is wrong with it."""
    example = "http://127.0.0.1:9000/candles?symbol={symbol}&interval={interval}&start={start}&end={end}"
    try:
        names = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
        url = URL(_fill(template, dict.fromkeys(names, "x")))
    except (ValueError, KeyError, IndexError):
        raise SettingsError(f"CANDLES_URL is no address: write it as {example}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise SettingsError(f"CANDLES_URL must begin with http:// or https:// and a host, such as {example}")
    if missing := sorted(_PLACES - names):
        raise SettingsError(f"CANDLES_URL lacks {', '.join('{' + m + '}' for m in missing)}: such as {example}")
    if extra := sorted(names - _PLACES):
        raise SettingsError(f"CANDLES_URL has a place nobody fills: {', '.join('{' + e + '}' for e in extra)}")
    return template


def _fill(template: str, places: dict[str, str]) -> str:
    return template.format(**{name: encode(value, safe="") for name, value in places.items()})


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _retry_after(said: str | None, now: datetime) -> float | None:
    """The wait a server asked for, in seconds; None where it asked for none that can be read."""
    if not said:
        return None
    try:
        wait = float(said) if said.strip().isdigit() else (parsedate_to_datetime(said) - now).total_seconds()
    except (TypeError, ValueError):
        return None
    return max(wait, 0.0)


def _parse(data: bytes, of: Instrument, tf: Timeframe) -> pd.DataFrame:
    """The answer as a candle frame; DataError names the row and the rule it breaks."""
    try:
        text = data.lstrip()
        raw = _read_json(text) if text[:1] in (b"[", b"{") else _read_text(text)
        if raw is None or not len(raw.rows):
            return empty()
        written = read_times(raw.columns["time"])
        times = to_utc(written, of, daily=tf.daily, naive="UTC")
        if not (tf.daily or of.is_crypto) and len(times) and times.max() - times.min() > SURE_AFTER_NS:
            refuse_wrong_zone(times, tf, of, naive=False)
        return candles(raw, times)
    except TableError as error:
        raise DataError(f"{of.symbol}: the server's answer, {error}") from None


def _read_text(text: bytes) -> RawTable | None:
    if text[:1] == b"<":
        raise TableError(-1, "not candles", "it is a web page")
    return read_csv(text)


def _read_json(text: bytes) -> RawTable | None:
    try:
        found: Any = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise TableError(-1, "not JSON", str(error)[:120]) from None
    for key in ("candles", "data"):
        if isinstance(found, dict) and key in found:
            found = found[key]
            break
    if isinstance(found, list):
        found = _columns(found)
    if not isinstance(found, dict):
        raise TableError(-1, "not candles", f"a list of objects is needed, got {type(found).__name__}")
    if not found:
        return None
    return _table(found)


def _columns(rows: list[Any]) -> dict[str, list[Any]]:
    if odd := [at for at, row in enumerate(rows) if type(row) is not dict]:
        raise TableError(odd[0], "not an object", repr(rows[odd[0]])[:60])
    header = dict.fromkeys(itertools.chain.from_iterable(rows))
    return {name: [row.get(name) for row in rows] for name in header}


def _table(columns: dict[str, Any]) -> RawTable:
    wanted = name_columns([str(name) for name in columns])
    values = list(columns.values())
    found: dict[str, pa.Array] = {}
    for name, at in wanted.items():
        if not isinstance(values[at], list):
            raise TableError(-1, "not a column", f"{name} is no list")
        found[name] = _array(values[at], name)
    lengths = {len(column) for column in found.values()}
    if len(lengths) > 1:
        raise TableError(-1, "columns differ in length", ", ".join(f"{n} {len(c)}" for n, c in found.items()))
    return RawTable(found, np.arange(1, lengths.pop() + 1, dtype=np.int64))


def _array(values: list[Any], name: str) -> pa.Array:
    """JSON values as one column; numbers may be mixed with numbers in quotes, as exchanges write them."""
    rule = "not a time" if name == "time" else "not a number"
    kinds = set(map(type, values)) - {type(None)}
    if strange := kinds - {int, float, str}:
        at = next(at for at, value in enumerate(values) if type(value) in strange)
        raise TableError(at, rule, f"{name} {values[at]!r}"[:80])
    if str in kinds and len(kinds) > 1:
        values = [value if value is None else str(value) for value in values]
    try:
        return pa.array(values, pa.float64() if kinds == {int, float} else None)
    except (pa.ArrowInvalid, OverflowError) as error:
        raise TableError(-1, rule, f"{name}: {error}"[:120]) from None


PART = HttpFeed
