"""What every feed in the drawer must do: a new file is tested here for nothing, but for one line of arrangement."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from aiohttp import web

from domain import registry
from domain.calendars import NEW_YORK
from domain.candles import COLUMNS, TIMEFRAMES, Timeframe, check, empty, ends, expected, nanos
from domain.clock import ManualClock
from domain.errors import UnknownName
from domain.instruments import Instrument, instrument
from domain.quotes import Quote
from etrade.vault import Vault, file_key
from feeds.base import Feed
from settings import Settings
from simulator.running import running
from tests.etrade_person import code_of

AAPL, MSFT, NOBODY = instrument("AAPL"), instrument("MSFT"), instrument("ZZZZ")
NOW = datetime(2026, 11, 20, 15, 32, tzinfo=UTC)  # a Friday, 10:32 New York
FEEDS = registry.names("feeds")


def bars(of: Instrument, tf: Timeframe, start: datetime, end: datetime) -> pd.DataFrame:
    """Regular bars, the forming one included, whose close tells their minute."""
    due = expected(start, end, tf, of)
    close = 100 + due // 60_000_000_000 % 1000 / 100
    index = pd.DatetimeIndex(due.view("datetime64[ns]"), tz="UTC", name="time")
    values = {"open": close, "high": close + 1, "low": close - 1, "close": close, "volume": np.full(len(due), 10.0)}
    return pd.DataFrame(values, index=index)


async def simulated(settings: Settings, clock: ManualClock) -> AsyncIterator[Feed]:
    yield registry.part("feeds", "simulated")(settings, clock)


async def files(settings: Settings, clock: ManualClock) -> AsyncIterator[Feed]:
    settings.files_dir.mkdir(parents=True)
    for of in (AAPL, MSFT):
        for tf in ("1m", "1d"):
            table = bars(of, TIMEFRAMES[tf], NOW - timedelta(days=12), NOW).reset_index()
            table.to_csv(settings.files_dir / f"{of.symbol}_{tf}.csv", index=False)
    yield registry.part("feeds", "files")(settings, clock)


async def yahoo(settings: Settings, clock: ManualClock) -> AsyncIterator[Feed]:
    def download(symbols: list[str], **wish: Any) -> pd.DataFrame:
        tf = TIMEFRAMES[wish["interval"]]
        tables = {}
        for symbol in symbols:
            known = bars(instrument(symbol), tf, NOW - timedelta(days=12), NOW).tz_convert(NEW_YORK)
            known.index = known.index.normalize() if tf.daily else known.index
            tables[symbol] = known.rename(columns=str.title).iloc[: 0 if symbol == "ZZZZ" else None]
        return pd.concat(tables, axis=1, names=["Ticker", "Price"]).swaplevel(0, 1, axis=1)

    yield registry.part("feeds", "yahoo")(settings, clock, download=download)


async def http(settings: Settings, clock: ManualClock) -> AsyncIterator[Feed]:
    async def answer(request: web.Request) -> web.Response:
        of, q = instrument(request.query["symbol"]), request.query
        if of == NOBODY:
            return web.Response(status=404)
        start, end = datetime.fromisoformat(q["start"]), datetime.fromisoformat(q["end"])
        table = bars(of, TIMEFRAMES[q["interval"]], start, end)
        return web.Response(text=table.reset_index().to_csv(index=False), content_type="text/csv")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    url = address + "?symbol={symbol}&interval={interval}&start={start}&end={end}"
    yield registry.part("feeds", "http")(settings.model_copy(update={"candles_url": url}), clock)
    await runner.cleanup()


async def etrade(settings: Settings, clock: ManualClock) -> AsyncIterator[Feed]:
    with running(at=NOW) as sim:
        for symbol in ("AAPL", "MSFT"):
            sim.price(symbol, "100.00")
        wish = {"etrade_environment": "simulator", "etrade_simulator_url": sim.url}
        chosen = settings.model_copy(update=wish)
        feed = registry.part("feeds", "etrade")(chosen, clock, store=Vault(chosen.etrade_dir, file_key))
        await feed.session.finish(await asyncio.to_thread(code_of, await feed.session.link()))
        yield feed


ARRANGED = {"simulated": simulated, "files": files, "yahoo": yahoo, "http": http, "etrade": etrade}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture(params=FEEDS)
async def feed(request: pytest.FixtureRequest, settings: Settings, clock: ManualClock) -> AsyncIterator[Feed]:
    arranged = ARRANGED.get(request.param)
    assert arranged, f"feeds/{request.param}.py: arrange it in tests/test_feeds.py, so that it needs no network"
    arranging = arranged(settings, clock)
    made = await anext(arranging)
    yield made
    await made.close()
    await made.close()
    async for _ in arranging:
        pass


def span(feed: Feed, days: float = 3) -> tuple[datetime, datetime]:
    return feed.clock.now() - timedelta(days=days), feed.clock.now()


@pytest.mark.parametrize("name", FEEDS)
def test_it_says_what_it_is(name: str) -> None:
    part = registry.part("feeds", name)

    assert part.name == name
    assert part.label
    assert part.limits.endswith(".")
    assert isinstance(part.simulated, bool)
    assert part.poll_s > 0


@pytest.mark.parametrize("tf", TIMEFRAMES.values(), ids=TIMEFRAMES)
async def test_its_candles_are_closed_checked_and_within_the_span(feed: Feed, tf: Timeframe) -> None:
    start, end = span(feed, 8 if tf.daily else 3)

    found = await feed.candles(AAPL, tf, start, end + timedelta(days=1))

    assert len(found) >= 2
    assert check(found, AAPL, tf, feed.clock.now()).equals(found)
    assert list(found.columns) == list(COLUMNS)
    assert found.index.name == "time"
    assert found.index.dtype == empty().index.dtype
    assert found.index[0] >= start
    newest = pd.Timestamp(ends(nanos(found)[-1:], tf, AAPL)[0], tz="UTC")
    assert newest <= feed.clock.now()


async def test_a_part_of_a_span_gives_a_part_of_its_bars(feed: Feed) -> None:
    start, end = span(feed)
    whole = await feed.candles(AAPL, TIMEFRAMES["5m"], start, end)
    a, b = whole.index[10], whole.index[30]

    part = await feed.candles(AAPL, TIMEFRAMES["5m"], a.to_pydatetime(), b.to_pydatetime())

    assert part.equals(whole.iloc[10:30])


async def test_the_same_question_has_the_same_answer(feed: Feed) -> None:
    one, other = [await feed.candles(AAPL, TIMEFRAMES["1h"], *span(feed)) for _ in range(2)]

    assert one.equals(other)


async def test_a_span_without_bars_is_an_empty_frame(feed: Feed) -> None:
    sunday = datetime(2026, 11, 15, 12, tzinfo=UTC)

    assert (await feed.candles(AAPL, TIMEFRAMES["5m"], sunday, sunday + timedelta(hours=2))).empty
    start, end = span(feed)
    assert (await feed.candles(AAPL, TIMEFRAMES["1h"], end, start)).empty
    assert (await feed.candles(AAPL, TIMEFRAMES["1h"], end + timedelta(days=1), end + timedelta(days=2))).empty


async def test_a_name_nobody_knows_is_an_error_or_nothing_and_never_prices(feed: Feed) -> None:
    [answer] = await asyncio.gather(feed.candles(NOBODY, TIMEFRAMES["1d"], *span(feed)), return_exceptions=True)

    if isinstance(answer, BaseException):
        assert isinstance(answer, UnknownName)
        assert "ZZZZ" in str(answer)
    else:
        assert answer.empty


async def test_quotes_name_their_source_and_leave_out_strangers(feed: Feed) -> None:
    quotes = await feed.quotes([AAPL, MSFT, NOBODY])

    assert sorted(quotes) == ["AAPL", "MSFT"]
    for symbol, quote in quotes.items():
        assert isinstance(quote, Quote)
        assert (quote.symbol, quote.source) == (symbol, feed.name)
        assert quote.time <= feed.clock.now() + timedelta(seconds=1)
        assert quote.last > 0
    assert await feed.quotes([]) == {}


async def test_many_questions_at_once_do_not_mix(feed: Feed) -> None:
    asked = [(of, TIMEFRAMES[tf]) for of in (AAPL, MSFT) for tf in ("5m", "1h")] * 3
    answers = await asyncio.gather(*(feed.candles(of, tf, *span(feed)) for of, tf in asked))

    for (of, tf), answer in zip(asked, answers, strict=True):
        check(answer, of, tf)
        assert answer.equals(await feed.candles(of, tf, *span(feed)))
