"""ui/live.py: what the browser is told each second, and what it is refused."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
from dataclasses import replace
from typing import Any

import pytest
from starlette.applications import Starlette

import performance_utils as pu
from domain.clock import ManualClock
from tests.fakes import ScriptedFeed
from ui import live

QUERY = {"tf": "5m", "studies": "ema:9,rsi:14", "patterns": "Hammer", "bars": "100"}


def ask(desk: pu.Desk, held: str = "", symbol: str = "AAPL") -> dict[str, Any]:
    desk.live(symbol, "5m", 100)
    pu.bridge().run(desk.board.refresh())
    return json.loads(live.chart_answer(desk, symbol, live.read_view(QUERY), held))


async def get(
    path: str, query: str = "", accept: str = "", site: str = "same-origin"
) -> tuple[int, dict[str, str], bytes]:
    """One GET through the routes as the server runs them."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"accept-encoding", accept.encode()), (b"sec-fetch-site", site.encode())],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", 80),
        "root_path": "",
    }
    await Starlette(routes=live.ROUTES)(scope, receive, send)
    headers = {k.decode(): v.decode() for k, v in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(m.get("body", b"") for m in sent[1:])


def test_a_browser_that_holds_the_figure_gets_only_what_changed(desk: pu.Desk) -> None:
    first = ask(desk)
    second = ask(desk, held=first["rev"])

    assert len(first["base"]["about"]["times"]) == 100
    assert "base" not in second
    assert second["rev"] == first["rev"]
    assert len(json.dumps(second["tail"])) < 400
    assert set(second["tail"]["lines"]) == {"EMA 9", "RSI 14"}


def test_a_browser_with_an_old_figure_gets_the_whole_again(desk: pu.Desk, clock: ManualClock) -> None:
    first = ask(desk)
    clock.advance(minutes=5)

    assert "base" in ask(desk, held=first["rev"])
    assert "base" in ask(desk, held="from another server")


def test_a_hundred_viewers_cost_one_figure_and_one_tail(desk: pu.Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    built = {"base": 0, "tail": 0}
    monkeypatch.setattr(live, "_bases", live.Shared(8))
    monkeypatch.setattr(live, "_tails", live.Shared(8))
    for name in built:
        plain = getattr(live.charts, name)

        def counted(*args: Any, _name: str = name, _plain: Any = plain, **kwargs: Any) -> Any:
            built[_name] += 1
            return _plain(*args, **kwargs)

        monkeypatch.setattr(live.charts, name, counted)
    ask(desk)
    view = live.read_view(QUERY)

    for _ in range(100):
        live.chart_answer(desk, "AAPL", view, "")

    assert built == {"base": 1, "tail": 1}


def test_mended_prices_are_another_figure(desk: pu.Desk, feed: ScriptedFeed) -> None:
    """The same times from the same source with one other price must not be taken for the figure already held."""
    whole = desk.live("AAPL", "5m", 100)
    mended = whole.answer.candles.copy()
    mended.iloc[3, 3] += 0.01

    assert pu._revision(whole.instrument, whole.tf, replace(whole.answer, candles=mended)) != whole.revision


def test_the_status_tells_source_age_and_market(desk: pu.Desk) -> None:
    status = ask(desk)["status"]

    assert status["sources"] == ["scripted"]
    assert status["simulated"] is False
    assert (status["phase"], status["next"]) == ("open", "closes 16:00 New York")
    assert 0 <= status["age_s"] < 5
    assert status["live"] is True


def test_an_outage_is_told_and_the_candles_stay(desk: pu.Desk, feed: ScriptedFeed, clock: ManualClock) -> None:
    ask(desk)
    feed.fails = lambda symbol: "the line is dead"
    clock.advance(minutes=6)

    answer = ask(desk)

    assert answer["status"]["feed_error"] == "the line is dead"
    assert answer["status"]["error"] == "the line is dead"
    assert len(answer["base"]["about"]["times"]) == 100


def test_chips_carry_price_change_and_sign(desk: pu.Desk) -> None:
    desk.board.want(["AAPL", "BTCUSDT"])
    pu.bridge().run(desk.board.refresh())

    strip = json.loads(live.quotes_answer(desk, ["AAPL", "BTCUSDT", "MSFT"]))

    assert [(c["symbol"], c["last"], c.get("change")) for c in strip["chips"]] == [
        ("AAPL", "100.00", 25.0),
        ("BTCUSDT", "100.00", 25.0),
        ("MSFT", None, None),
    ]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("symbol=AAPL&tf=7m", "no timeframe is called '7m'"),
        ("symbol=AAPL&bars=5000", "bars must be a whole number from 20 to 1000"),
        ("symbol=AAPL&studies=bolinger", "Did you mean 'bollinger'"),
        ("symbol=AAPL&studies=" + ",".join(["sma"] * 19), "at most 18 at once"),
        ("symbol=AAPL&studies=rsi:inf", "length must be a finite number"),
        ("symbol=AAPL&studies=sma:1e400", "length must be a finite number"),
        ("symbol=AAPL&palette=pink", "no palette is called 'pink'"),
        ("symbol=AAPL&zone=Mars", "no zone is called 'Mars'"),
        ("symbol=AAPL&patterns=Hamer", "Did you mean"),
        ("symbol=..%2F..%2Fetc", "a symbol is up to 15"),
    ],
)
async def test_a_wrong_question_is_refused_in_words(desk: pu.Desk, query: str, said: str) -> None:
    status, _, body = await get(live.CHART_PATH, query)

    assert status == 422
    assert said in json.loads(body)["problem"]


async def test_a_feed_that_gives_nothing_is_an_outage_not_a_mistake(desk: pu.Desk, feed: ScriptedFeed) -> None:
    feed.fails = lambda symbol: "no network"

    status, _, body = await get(live.CHART_PATH, "symbol=AAPL")

    assert (status, json.loads(body)["problem"]) == (503, "no network")


class Odd(Exception):
    """An error whose class takes more than a sentence."""

    def __init__(self, said: str, number: int) -> None:
        super().__init__(said, number)


async def test_our_own_mistake_is_told_and_logged(
    desk: pu.Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: Any) -> bytes:
        raise Odd("secret detail", 7)

    monkeypatch.setattr(live, "chart_answer", broken)

    status, _, body = await get(live.CHART_PATH, "symbol=AAPL")

    assert status == 500
    assert b"secret" not in body
    assert "secret detail" in caplog.text


async def test_a_slow_source_is_waited_for_without_a_thread(desk: pu.Desk, feed: ScriptedFeed, monkeypatch) -> None:
    """The browser hears that its answer is on the way, and gets it once it is there."""
    monkeypatch.setattr(live, "WAIT_S", 0.05)
    release = threading.Event()
    plain = feed.candles

    async def slow(*args: Any) -> Any:
        await asyncio.to_thread(release.wait, 20)
        return await plain(*args)

    feed.candles = slow
    status, _, body = await get(live.CHART_PATH, "symbol=AAPL&tf=1h")
    release.set()
    assert (status, json.loads(body)["waiting"]) == (202, "Fetching AAPL 1h from Scripted …")

    for _ in range(200):
        status, _, body = await get(live.CHART_PATH, "symbol=AAPL&tf=1h")
        if status == 200:
            break
    assert status == 200


def test_a_gate_is_not_left_behind_when_building_fails() -> None:
    shared = live.Shared(4)

    with pytest.raises(ZeroDivisionError):
        shared.get("key", lambda: 1 // 0)

    assert shared._locks == {}
    assert shared.get("key", lambda: 7) == 7


def test_a_price_that_stands_still_is_told_by_its_own_time(
    desk: pu.Desk, feed: ScriptedFeed, clock: ManualClock
) -> None:
    """The source answers each second, but with a trade of 25 minutes ago."""
    desk.board.want(["AAPL"])
    pu.bridge().run(desk.board.refresh())
    clock.advance(minutes=25)

    told = json.loads(live.quotes_answer(desk, ["AAPL"]))

    assert told["traded_s"] > 1490 > told["quiet_after_s"]
    assert told["chips"][0]["traded_s"] > 1490


def test_the_badge_is_about_the_symbol_that_is_looked_at(desk: pu.Desk, clock: ManualClock) -> None:
    clock.advance(hours=30)

    assert json.loads(live.quotes_answer(desk, ["AAPL", "BTCUSDT"], "BTCUSDT"))["phase"] == "open"
    assert json.loads(live.quotes_answer(desk, ["AAPL", "BTCUSDT"], "AAPL"))["phase"] == "closed"


async def test_another_site_cannot_put_the_desk_to_work(desk: pu.Desk) -> None:
    status, _, _ = await get(live.QUOTES_PATH, "symbols=AAPL", site="cross-site")

    assert status == 403


async def test_big_answers_travel_packed(desk: pu.Desk) -> None:
    status, headers, body = await get(live.CHART_PATH, "symbol=AAPL&tf=5m", accept="gzip")

    assert (status, headers["content-encoding"], headers["cache-control"]) == (200, "gzip", "no-store")
    assert json.loads(gzip.decompress(body))["base"]["data"][0]["type"] == "candlestick"


async def test_the_chart_library_is_the_installed_one(desk: pu.Desk) -> None:
    status, headers, body = await get(live.PLOTLY_PATH, accept="gzip")

    assert status == 200
    assert "immutable" in headers["cache-control"]
    assert b"plotly.js v" in gzip.decompress(body)[:200]
