"""The user's own server, played by a real local one with latency and faults."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import web

from domain.candles import TIMEFRAMES, expected
from domain.clock import ManualClock
from domain.errors import DataError, FeedUnavailable, SettingsError, UnknownName
from domain.instruments import KNOWN, instrument
from feeds import http as http_module
from feeds.http import HttpFeed
from settings import Settings

AAPL = instrument("AAPL")
M5, M1, D1 = (TIMEFRAMES[name] for name in ("5m", "1m", "1d"))
START = datetime(2026, 11, 19, 14, 30, tzinfo=UTC)
END = START + timedelta(hours=1)
PLACES = "/candles?symbol={symbol}&interval={interval}&start={start}&end={end}"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def rows(start: datetime = START, end: datetime = END, tf: str = "5m") -> list[dict[str, Any]]:
    due = expected(start, end, TIMEFRAMES[tf], AAPL)
    times = [datetime.fromtimestamp(t // 10**9, tz=UTC).isoformat() for t in due.tolist()]
    return [
        {"time": t, "open": 10, "high": 11.5, "low": 9, "close": 10 + n / 100, "volume": 5} for n, t in enumerate(times)
    ]


@dataclass
class Server:
    """Answers with `handler`, or with good rows; remembers what was asked."""

    handler: Handler | None = None
    asked: list[dict[str, str]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    port: int = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(dict(request.query))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return await (self.handler(request) if self.handler else good(request))
        finally:
            self.at_once -= 1


async def good(request: web.Request) -> web.Response:
    start, end = (datetime.fromisoformat(request.query[k]) for k in ("start", "end"))
    return web.json_response(rows(start, end, request.query["interval"]))


def says(body: Any, **kind: Any) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=body if isinstance(body, bytes) else json.dumps(body).encode(), **kind)

    return handler


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server()
    app = web.Application()
    app.router.add_get("/candles", made.answer)
    app.router.add_get("/elsewhere", made.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.port = runner.addresses[0][1]
    yield made
    await runner.cleanup()


@pytest.fixture
async def feed(server: Server, settings: Settings, clock: ManualClock, monkeypatch: Any) -> AsyncIterator[HttpFeed]:
    monkeypatch.setattr(http_module, "FIRST_WAIT_S", 0.01)
    url = f"http://127.0.0.1:{server.port}{PLACES}"
    made = HttpFeed(settings.model_copy(update={"candles_url": url, "fetch_timeout_s": 0.5}), clock)
    yield made
    await made.close()
    await made.close()


async def ask(feed: HttpFeed, tf: Any = M5) -> Any:
    return await feed.candles(AAPL, tf, START, END)


async def test_it_asks_for_the_span_in_utc_and_gives_candles(feed: HttpFeed, server: Server) -> None:
    found = await ask(feed)

    assert server.asked == [
        {"symbol": "AAPL", "interval": "5m", "start": "2026-11-19T14:30:00Z", "end": "2026-11-19T15:30:00Z"}
    ]
    assert len(found) == 12
    assert found.index[0] == START
    assert found["close"].iloc[3] == 10.03


@pytest.mark.parametrize(
    "body",
    [
        {"time": ["2026-11-19T14:30:00Z"], "open": [10], "high": [11], "low": [9], "close": ["10.5"], "volume": [5]},
        {"candles": [{"t": 1795098600, "o": 10, "h": 11, "l": 9, "c": 10.5, "v": 5}]},
        [{"Time": "2026-11-19 14:30", "Open": "10", "High": "11", "Low": "9", "Close": 10.5, "Volume": 5}],
        b"time,open,high,low,close,volume\n2026-11-19T14:30:00Z,10,11,9,10.5,5\n",
    ],
)
async def test_json_of_both_shapes_and_csv_are_read(feed: HttpFeed, server: Server, body: Any) -> None:
    server.handler = says(body)

    found = await ask(feed)

    assert found.index[0] == START
    assert found.iloc[0].tolist() == [10, 11, 9, 10.5, 5]


@pytest.mark.parametrize("body", [[], {}, {"candles": []}, b"time,open,high,low,close,volume\n"])
async def test_no_bars_are_an_empty_frame(feed: HttpFeed, server: Server, body: Any) -> None:
    server.handler = says(body)

    assert (await ask(feed)).empty


async def test_the_forming_bar_and_bars_not_asked_for_are_left_out(feed: HttpFeed, server: Server) -> None:
    late = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)  # the clock's now
    server.handler = says(rows(START, late + timedelta(minutes=30)))

    assert len(await ask(feed)) == 12
    newest = await feed.candles(AAPL, M5, START, late + timedelta(hours=9))
    assert newest.index[-1] == late - timedelta(minutes=5)


async def test_a_daily_bar_may_be_a_date(feed: HttpFeed, server: Server) -> None:
    server.handler = says([{"date": "2026-11-19", "open": 1, "high": 1, "low": 1, "close": 1, "volume": 1}])

    assert list((await ask(feed, D1)).index) == [START]


def faulty(*faults: Handler) -> Handler:
    left = list(faults)

    async def handler(request: web.Request) -> web.StreamResponse:
        return await (left.pop(0) if left else good)(request)

    return handler


async def reset(request: web.Request) -> web.StreamResponse:
    assert request.transport
    request.transport.abort()
    return web.Response()


async def truncated(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "100000"})
    await response.prepare(request)
    await response.write(b'[{"time": "2026-')
    assert request.transport
    request.transport.close()
    return response


async def hanging(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.Response()


@pytest.mark.parametrize(
    "fault", [says(b"", status=500), says(b"", status=503), reset, truncated, says(b"", status=429)]
)
async def test_a_passing_fault_is_asked_again(feed: HttpFeed, server: Server, fault: Handler) -> None:
    server.handler = faulty(fault, fault)

    assert len(await ask(feed)) == 12
    assert len(server.asked) == 3


@pytest.mark.parametrize("fault", [says(b"", status=500), reset, truncated])
async def test_a_lasting_fault_is_given_up_after_three_tries(feed: HttpFeed, server: Server, fault: Handler) -> None:
    server.handler = faulty(*[fault] * 9)

    with pytest.raises(FeedUnavailable, match=r"127\.0\.0\.1, asked for AAPL: .*, 3 times"):
        await ask(feed)
    assert len(server.asked) == 3


async def test_a_server_that_hangs_is_given_up(feed: HttpFeed, server: Server, monkeypatch: Any) -> None:
    monkeypatch.setattr(http_module, "TRIES", 1)
    server.handler = hanging
    begun = time.monotonic()

    with pytest.raises(FeedUnavailable, match="no answer within"):
        await ask(feed)
    assert time.monotonic() - begun < 2


async def test_retry_after_is_obeyed(feed: HttpFeed, server: Server) -> None:
    server.handler = faulty(says(b"", status=429, headers={"Retry-After": "1"}))
    begun = time.monotonic()

    await ask(feed)
    assert time.monotonic() - begun >= 1


async def test_a_server_that_is_not_there_is_one_sentence(
    server: Server, settings: Settings, clock: ManualClock
) -> None:
    feed = HttpFeed(settings.model_copy(update={"candles_url": f"http://127.0.0.1:1{PLACES}"}), clock)

    with pytest.raises(FeedUnavailable, match="no connection"):
        await ask(feed)
    await feed.close()


@pytest.mark.parametrize(("status", "error"), [(404, UnknownName), (400, FeedUnavailable), (403, FeedUnavailable)])
async def test_a_refusal_is_final(feed: HttpFeed, server: Server, status: int, error: type[Exception]) -> None:
    server.handler = says(b"", status=status)

    with pytest.raises(error, match=str(status)):
        await ask(feed)
    assert len(server.asked) == 1


BAR = {"time": "2026-11-19T14:30:00Z", "open": 10, "high": 11, "low": 9, "close": 10, "volume": 5}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"[{", "not JSON"),
        (b"<html>sign in</html>", "web page"),
        (b"hello", "missing column: time"),
        ([1, 2], "row 1: not an object"),
        ([BAR, {**BAR, "time": "2026-11-19T14:35:00Z", "close": 99}], "row 2: high below open or close"),
        ([BAR, {**BAR, "time": "soon"}], "row 2: not a time"),
        ([{**BAR, "open": "ten"}], "row 1: not a number: open 'ten'"),
        ([{**BAR, "open": None}], "row 1: NaN"),
        ([{**BAR, "open": True}], "row 1: not a number"),
        ([{**BAR, "open": [1]}], "row 1: not a number"),
        ([{**BAR, "time": "2026-11-19T14:31:00Z"}], "off the grid"),
        ([BAR, BAR], "duplicate time"),
        ({"time": ["2026-11-19T14:30:00Z"], "open": 1, "high": 1, "low": 1, "close": 1, "volume": 1}, "is no list"),
        ({**{k: [v] for k, v in BAR.items()}, "open": [1, 2]}, "differ in length"),
        ("text", "missing column"),
    ],
)
async def test_nonsense_is_refused_with_its_row_and_rule(feed: HttpFeed, server: Server, body: Any, said: str) -> None:
    server.handler = says(body)

    with pytest.raises(DataError, match=said.replace("(", r"\(")):
        await ask(feed)


async def test_new_york_times_sent_as_if_they_were_utc_are_refused(feed: HttpFeed, server: Server) -> None:
    """Regular hours moved by five hours land on the pre-market, where bars may stand: only days together tell."""
    week = rows(START - timedelta(days=7), END)
    naive = [{**row, "time": (datetime.fromisoformat(row["time"]) - timedelta(hours=5)).isoformat()} for row in week]
    server.handler = says(naive)

    with pytest.raises(DataError, match=r"wrong zone: .* are its times really in the zone they name"):
        await feed.candles(AAPL, M5, START - timedelta(days=7), END)


async def test_a_huge_answer_is_cut_off(feed: HttpFeed, server: Server, monkeypatch: Any) -> None:
    monkeypatch.setattr(http_module, "MOST_BYTES", 1 << 20)
    server.handler = says(b" " * (3 << 20))

    with pytest.raises(DataError, match="more than 1 MiB"):
        await ask(feed)


def sends_to(target: str) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        return (
            await good(request)
            if request.path == "/elsewhere"
            else web.Response(status=302, headers={"Location": target})
        )

    return handler


async def test_redirects_are_followed_on_the_same_host_only(feed: HttpFeed, server: Server) -> None:
    server.handler = sends_to("/elsewhere?symbol=AAPL&interval=5m&start=2026-11-19T14:30:00Z&end=2026-11-19T15:30:00Z")
    assert len(await ask(feed)) == 12

    server.handler = sends_to("http://localhost:9/candles")
    with pytest.raises(FeedUnavailable, match="another host"):
        await ask(feed)

    server.handler = sends_to("/candles")
    with pytest.raises(FeedUnavailable, match="in a circle"):
        await ask(feed)


async def test_many_symbols_at_once_are_bounded_and_one_failure_stays_one(
    server: Server, settings: Settings, clock: ManualClock
) -> None:
    symbols = [i for i in KNOWN.values() if not i.is_crypto][:31]

    async def slow(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.1)
        return web.Response(status=404) if request.query["symbol"] == "XOM" else await good(request)

    server.handler = slow
    url = f"http://127.0.0.1:{server.port}{PLACES}"
    feed = HttpFeed(settings.model_copy(update={"candles_url": url, "fetch_at_once": 16}), clock)
    begun = time.monotonic()

    answers = await asyncio.gather(*(feed.candles(i, M5, START, END) for i in symbols), return_exceptions=True)

    assert time.monotonic() - begun < 1.5
    assert [type(a) for i, a in zip(symbols, answers, strict=True) if i.symbol == "XOM"] == [UnknownName]
    assert sum(not isinstance(a, BaseException) and len(a) == 12 for a in answers) == 30
    assert server.most_at_once <= 16
    await feed.close()


async def test_a_quote_is_the_newest_closed_minute(feed: HttpFeed, server: Server) -> None:
    quotes = await feed.quotes([AAPL])

    assert quotes["AAPL"].time == datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
    assert float(quotes["AAPL"].last) == 10.59
    assert quotes["AAPL"].source == "http"


async def test_a_symbol_without_a_quote_is_left_out_and_no_server_is_an_error(feed: HttpFeed, server: Server) -> None:
    async def only_apple(request: web.Request) -> web.StreamResponse:
        return await good(request) if request.query["symbol"] == "AAPL" else web.Response(status=404)

    server.handler = only_apple
    assert list(await feed.quotes([AAPL, instrument("MSFT")])) == ["AAPL"]

    server.handler = says(b"", status=500)
    with pytest.raises(FeedUnavailable):
        await feed.quotes([AAPL, instrument("MSFT")])


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "http:// or https://"),
        ("ftp://host/" + PLACES, "http:// or https://"),
        ("file:///etc/passwd?{symbol}{interval}{start}{end}", "http:// or https://"),
        ("http://host/{symbol}/{interval}?start={start}", r"lacks \{end\}"),
        ("http://host/?s={symbol}&i={interval}&a={start}&b={end}&c={key}", r"nobody fills: \{key\}"),
        ("http://host/{symbol", "no address"),
        ("http://host/{symbol.__class__}{interval}{start}{end}", "no address|nobody fills|lacks"),
    ],
)
def test_an_address_that_cannot_work_is_refused_at_once(
    settings: Settings, clock: ManualClock, url: str, said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        HttpFeed(settings.model_copy(update={"candles_url": url}), clock)


async def test_a_symbol_cannot_change_the_address(feed: HttpFeed, server: Server) -> None:
    await feed.candles(instrument("BRK.B"), M5, START, END)

    assert server.asked[0]["symbol"] == "BRK.B"


async def test_errors_never_show_the_whole_address(server: Server, settings: Settings, clock: ManualClock) -> None:
    url = f"http://127.0.0.1:{server.port}{PLACES}&key=hunter2"
    feed = HttpFeed(settings.model_copy(update={"candles_url": url}), clock)
    server.handler = says(b"", status=403)

    with pytest.raises(FeedUnavailable) as caught:
        await ask(feed)
    assert "hunter2" not in str(caught.value)
    await feed.close()
