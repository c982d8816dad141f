"""Many symbols within a source's limits: batches, rests, ticks in any order, a line that breaks, a warm start."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import hypothesis
import pandas as pd
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

import backtest  # noqa: F401 - AppTest puts pages/ first on the path, where a page has this name
import bootstrap
from backtest.setup import Setup
from desk.adoptions import decisions
from domain.candles import TIMEFRAMES, Timeframe, between, ends, nanos
from domain.clock import Clock, ManualClock
from domain.commands import CommandState
from domain.errors import DataError, DeskError, FeedBusy, FeedUnavailable
from domain.instruments import KNOWN, Instrument, instrument
from domain.matching import FillRules
from domain.quotes import Bar, Quote
from etrade.vault import Vault, file_key
from feeds._minutes import WATCHED_WITHIN, Minutes, Tick
from feeds._pacing import LONGEST_FIRST_S, LONGEST_REST_S, Calls, Rests, batch_size, pause_s
from feeds.base import AT_HAND, Asked, Pace
from feeds.board import SILENT_S, QuoteBoard, Standing
from feeds.etrade import EtradeFeed
from feeds.files import FilesFeed
from feeds.http import HttpFeed
from feeds.market import Market, Resting, Usage, Watch
from feeds.store import CandleStore
from performance_utils import Desk
from settings import Settings
from simulator.running import FRIDAY, running
from tests.etrade_person import code_of
from tests.fakes import ScriptedFeed
from tests.replaying import Replay, made_bars
from tests.trading import trading

ETRADE = Pace(usual=25, wide=50, most=50, a_second=3, at_once=3)
NAMES = [f"S{n:03}" for n in range(500)]
BEGIN = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
MINUTE = TIMEFRAMES["1m"]


class Time:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Venue(ScriptedFeed):
    """A source whose calls are written down with their time. `wrong` says what a call fails with."""

    def __init__(self, clock: Clock, ticks: Callable[[], float], pace: Pace) -> None:
        super().__init__(clock)
        self.ticks, self.pace = ticks, pace
        self.calls: list[tuple[float, list[str]]] = []
        self.wrong: Callable[[list[str]], DeskError | None] = lambda symbols: None
        self.slow: Callable[[list[str]], asyncio.Event | None] = lambda symbols: None

    async def quotes(self, instruments: Sequence[Instrument]) -> dict[str, Quote]:
        symbols = [i.symbol for i in instruments]
        self.calls.append((self.ticks(), symbols))
        if hangs := self.slow(symbols):
            await hangs.wait()
        if error := self.wrong(symbols):
            raise error
        return await super().quotes(instruments)

    def times(self, symbol: str) -> list[float]:
        return [when for when, symbols in self.calls if symbol in symbols]


class World:
    """A board over a venue, driven through time by hand."""

    def __init__(self, settings: Settings, clock: ManualClock, pace: Pace | None = None, **chosen: Any) -> None:
        self.time = Time()
        self.venue = Venue(clock, self.time, pace or Pace())
        files, store = FilesFeed(settings, clock), CandleStore(settings.store_dir, clock)
        self.market = Market(files, store, self.venue, clock)
        self.board = QuoteBoard(self.market, ticks=self.time, chance=lambda: 1.0, **chosen)

    async def run(self, seconds: float, viewed: Sequence[str] = (), held: Sequence[str] = ()) -> None:
        until = self.time.now + seconds
        while self.time.now < until:
            self.board.want(viewed)
            self.board.want(held, first=True)
            wait_s = self.board.step()
            for _ in range(4):
                await asyncio.sleep(0)
            self.time.now += max(wait_s, 0.001)


@pytest.fixture
def world(settings: Settings, clock: ManualClock) -> Callable[..., World]:
    return lambda *args, **chosen: World(settings, clock, *args, **chosen)


# Batches and pauses


@pytest.mark.parametrize(
    ("wanted", "pace", "chosen", "size"),
    [
        (500, Pace(), None, 10),
        (500, Pace(), 40, 40),
        (60, ETRADE, None, 25),
        (76, ETRADE, None, 50),
        (500, ETRADE, 10, 10),
        (500, ETRADE, 400, 50),
        (500, AT_HAND, 10, 500),
    ],
)
def test_a_batch_is_what_was_chosen_within_what_the_source_takes(
    wanted: int, pace: Pace, chosen: int | None, size: int
) -> None:
    assert batch_size(wanted, pace, chosen) == size


def test_a_pause_is_never_shorter_than_the_limit_asks_for() -> None:
    assert [pause_s(ETRADE, chosen) for chosen in (None, 0.0, 2.0)] == [1 / 3, 1 / 3, 2.0]
    assert [pause_s(Pace(), chosen) for chosen in (None, 0.5)] == [0.0, 0.5]


async def test_five_hundred_symbols_stay_within_three_calls_a_second_of_fifty(world: Callable[..., World]) -> None:
    w = world(ETRADE)

    await w.run(20, NAMES)

    begun = [when for when, _ in w.venue.calls]
    assert max(len(symbols) for _, symbols in w.venue.calls) == 50
    assert all(later - one >= 1 / 3 - 1e-9 for one, later in pairwise(begun))
    gaps = [later - one for name in NAMES for one, later in pairwise(w.venue.times(name))]
    assert max(gaps) < 4.0  # ten calls, three a second
    assert w.market.poll_s == pytest.approx(10 / 3)


async def test_what_was_chosen_counts_for_a_source_without_a_rule(world: Callable[..., World]) -> None:
    w = world(batch=7, pause_s=0.5)

    await w.run(5, NAMES[:31])

    assert {len(symbols) for _, symbols in w.venue.calls[:4]} == {7}
    assert all(later - one >= 0.5 - 1e-9 for (one, _), (later, _) in pairwise(w.venue.calls))


async def test_what_is_held_has_a_round_of_its_own(world: Callable[..., World]) -> None:
    """Looked at by nobody, behind five hundred symbols that are: a second old, not four."""
    w, held = world(ETRADE), ["KO", "MSFT"]

    await w.run(20, NAMES, held)

    assert w.venue.calls[0][1] == held
    for symbol in held:
        gaps = [later - one for one, later in pairwise(w.venue.times(symbol))]
        assert len(gaps) >= 14
        assert max(gaps) <= w.venue.poll_s + 1 / 3 + 0.02
    assert all(set(symbols) == set(held) for _, symbols in w.venue.calls if set(symbols) & set(held))
    assert min(len(w.venue.times(name)) for name in NAMES) >= 3


async def test_the_engine_tells_what_is_held_and_what_has_an_order(tmp_path: Path) -> None:
    async with trading(tmp_path) as paper:
        told: list[set[str]] = []
        assert paper.engine is not None
        paper.engine.parts = replace(paper.engine.parts, needs=lambda symbols: told.append(set(symbols)))
        await paper.tick()
        assert told[-1] == set()

        for ticket in ({"quantity": "5", "stop_loss": "97.00"}, {"symbol": "KO", "type": "limit", "limit": "59.00"}):
            answer = await paper.place(**ticket)
            assert answer.state is CommandState.DONE, answer.said
        await paper.tick(3)

        assert told[-1] == {"AAPL", "KO"}


def test_the_board_of_a_desk_is_told_by_its_engine(desk: Desk) -> None:
    bootstrap.engine_parts(desk, "dashboard").needs(["KO"])

    assert desk.market.usage().watch.first == 1


async def test_calls_that_hang_never_hold_up_what_is_held(world: Callable[..., World]) -> None:
    w, never = world(ETRADE), asyncio.Event()
    w.venue.slow = lambda symbols: None if "KO" in symbols else never

    await w.run(6, NAMES[:200], ["KO"])

    gaps = [later - one for one, later in pairwise(w.venue.times("KO"))]
    assert len(gaps) >= 4
    assert max(gaps) < 1.5
    never.set()
    await w.run(0.1)


async def test_quotes_are_there_as_each_batch_arrives(world: Callable[..., World]) -> None:
    w = world(Pace(a_second=1.0))

    await w.run(1.5, NAMES[:25])

    assert [w.board.get(name) is not None for name in NAMES[:25]] == [True] * 20 + [False] * 5


async def test_thirty_one_symbols_are_brought_in_one_round(settings: Settings, clock: ManualClock) -> None:
    """A desk opens: four calls, none twice, and whoever waits has all of them."""
    symbols = [i.symbol for i in KNOWN.values() if not i.is_crypto][:31]
    ticks = asyncio.get_running_loop().time
    venue = Venue(clock, ticks, Pace())
    files, store = FilesFeed(settings, clock), CandleStore(settings.store_dir, clock)
    board = QuoteBoard(Market(files, store, venue, clock), ticks=ticks)

    await asyncio.wait_for(board.bring(symbols), 5)

    assert sorted(s for _, asked in venue.calls for s in asked) == sorted(symbols)
    assert [len(asked) for _, asked in venue.calls] == [10, 10, 10, 1]
    assert all(board.get(symbol) for symbol in symbols)


# What fails rests


async def test_a_batch_that_fails_loses_no_other_and_is_named(world: Callable[..., World]) -> None:
    w = world()
    w.venue.wrong = lambda symbols: FeedUnavailable("the line is dead") if "S003" in symbols else None

    await w.run(0.5, NAMES[:30])

    assert [name for name in NAMES[:30] if w.board.get(name) is None] == NAMES[:10]
    assert w.board.error == "S000, S001, S002 and 7 more: the line is dead"
    assert [resting.said for resting in w.market.usage().watch.resting] == ["the line is dead"]


async def test_a_rest_grows_to_a_minute_and_ends_with_the_first_answer(world: Callable[..., World]) -> None:
    w = world()
    w.venue.wrong = lambda symbols: FeedUnavailable("down")

    await w.run(320, ["AAPL"])

    gaps = [later - one for one, later in pairwise(w.venue.times("AAPL"))]
    assert [round(gap) for gap in gaps] == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60]
    assert w.board.error == "down"
    w.venue.wrong = lambda symbols: None
    await w.run(61, ["AAPL"])
    assert w.board.error == ""
    assert w.venue.times("AAPL")[-1] - w.venue.times("AAPL")[-2] < 1.5


async def test_what_is_held_rests_ten_seconds_at_most(world: Callable[..., World]) -> None:
    w = world()
    w.venue.wrong = lambda symbols: FeedUnavailable("down")

    await w.run(120, ["AAPL"], ["KO"])

    assert max(later - one for one, later in pairwise(w.venue.times("KO"))) < LONGEST_FIRST_S + 1
    assert max(later - one for one, later in pairwise(w.venue.times("AAPL"))) > 30


async def test_one_bad_symbol_is_found_and_alone_in_the_end(world: Callable[..., World]) -> None:
    w = world()
    w.venue.wrong = lambda symbols: DataError("S003 is nonsense") if "S003" in symbols else None

    await w.run(60, NAMES[:20])

    assert [name for name in NAMES[:20] if w.board.get(name) is None] == ["S003"]
    assert w.board.error == "S003: S003 is nonsense"


async def test_after_an_outage_of_the_whole_source_all_come_back_together(world: Callable[..., World]) -> None:
    w = world()
    w.venue.wrong = lambda symbols: FeedUnavailable("no network")
    await w.run(100, NAMES[:60])
    w.venue.wrong = lambda symbols: None
    calls = len(w.venue.calls)

    await w.run(LONGEST_REST_S, NAMES[:60])

    back = [when for when, _ in w.venue.calls[calls : calls + 6]]
    assert w.board.error == ""
    assert back[-1] - back[0] < 1.0
    assert sorted(s for _, asked in w.venue.calls[calls : calls + 6] for s in asked) == NAMES[:60]


@pytest.mark.parametrize(("named", "quiet_s"), [(30.0, 30.0), (None, 1.0), (0.0, 0.0)])
async def test_a_source_that_wants_to_be_left_alone_is(
    world: Callable[..., World], named: float | None, quiet_s: float
) -> None:
    w = world()
    await w.run(0.3, NAMES[:30])
    w.venue.wrong = lambda symbols: FeedBusy("too many requests", named)
    await w.run(0.9, NAMES[:30])
    refused, calls = w.time.now, len(w.venue.calls)
    w.venue.wrong = lambda symbols: None

    await w.run(40, NAMES[:30], ["KO"])

    assert w.venue.calls[calls][0] - refused >= quiet_s - 1.0
    assert w.board.error == ""


async def test_prices_at_hand_never_rest(world: Callable[..., World]) -> None:
    """Nobody is signed in: nothing was asked, so nothing has to wait, and the first quote comes with the sign-in."""
    w = world(AT_HAND)
    w.venue.wrong = lambda symbols: FeedUnavailable("Sign in")
    await w.run(60, NAMES[:40])
    assert w.board.error == "Sign in"
    w.venue.wrong, w.venue.pace = (lambda symbols: None), ETRADE

    await w.run(2.5, NAMES[:40])

    assert all(w.board.get(name) for name in NAMES[:40])


@given(st.lists(st.sampled_from(["fails", "answers", "refused", "waits"]), max_size=60), st.floats(0.75, 1.0))
def test_no_rest_is_ever_longer_than_a_minute_or_forgotten(deeds: list[str], chance: float) -> None:
    time = Time()
    rests = Rests(time, lambda: chance)
    for deed in deeds:
        if deed == "fails":
            rests.failed(["A", "B"], "no")
        elif deed == "answers":
            rests.went_well(["A"])
        elif deed == "refused":
            rests.refused("busy", None)
        time.now += 7.0 if deed == "waits" else 0.5
        assert all(rest.until - time.now <= LONGEST_REST_S for rest in rests.all())
        assert rests.busy_until - time.now <= LONGEST_REST_S
        assert len(rests.symbols()) == sum(len(rest.symbols) for rest in rests.all())
    time.now += 61.0
    assert {s for rest in rests.due() for s in rest.symbols} == rests.symbols()


def test_the_first_answer_after_an_outage_ends_every_rest() -> None:
    time = Time()
    rests = Rests(time, lambda: 1.0)
    for _ in range(5):
        rests.failed(["A"], "no network")
        rests.failed(["B"], "no network")
        time.now += 10.0
    rests.failed(["B"], "no network")
    assert [rest.symbols for rest in rests.due()] == []

    rests.went_well(["A"])

    assert [rest.symbols for rest in rests.due()] == [["B"]]


# Ticks in any order

Ticks = list[tuple[datetime, float, float]]


@st.composite
def days(draw: st.DrawFn) -> Ticks:
    """Ticks of some minutes in the order of their time, the volume of the day growing; sometimes it begins anew."""
    steps = draw(st.lists(st.tuples(st.integers(1, 25), st.integers(90, 110), st.integers(0, 9)), min_size=1))
    anew = draw(st.integers(0, 80))
    found: Ticks = []
    at, total = BEGIN, 1_000.0
    for number, (seconds, price, traded) in enumerate(steps):
        at += timedelta(seconds=seconds)
        total = float(traded) if number == anew else total + traded
        found.append((at, float(price), total))
    return found


def shuffled(draw: st.DrawFn, ticks: Ticks) -> Ticks:
    """Within each minute in any order, some of them twice or thrice."""
    found: Ticks = []
    for minute in sorted({tick[0].replace(second=0) for tick in ticks}):
        mine = [tick for tick in ticks if tick[0].replace(second=0) == minute]
        again = draw(st.lists(st.sampled_from(mine), max_size=4))
        found += draw(st.permutations(mine + again))
    return found


def plain_bars(ticks: Ticks) -> dict[datetime, Bar]:
    """What the minutes are: a model with all of time at hand."""
    found: dict[datetime, Bar] = {}
    before, base = None, 0.0
    for minute in sorted({tick[0].replace(second=0) for tick in ticks}):
        mine = sorted(tick for tick in set(ticks) if tick[0].replace(second=0) == minute)
        prices, totals = [tick[1] for tick in mine], [tick[2] for tick in mine]
        base = totals[0] if before is None else before if before <= totals[0] else 0.0
        base = 0.0 if any(later < one for one, later in pairwise(totals)) else base
        volume = max(0.0, totals[-1] - base)
        found[minute] = Bar(minute, prices[0], max(prices), min(prices), prices[-1], volume)
        before = totals[-1]
    return found


def plain_watched(ticks: Ticks) -> set[datetime]:
    """The minutes with a look at most ten seconds before, in and after them, and no longer silence between."""
    times = sorted({tick[0] for tick in ticks})
    found = set()
    for minute in {time.replace(second=0) for time in times}:
        inside = [t for t in times if t.replace(second=0) == minute]
        before, after = [t for t in times if t < inside[0]], [t for t in times if t > inside[-1]]
        looks = [*before[-1:], *inside, *after[:1]]
        whole = bool(before and after)
        if whole and all(later - one <= WATCHED_WITHIN for one, later in pairwise(looks)):
            found.add(minute)
    return found


@given(st.data())
@hypothesis.settings(max_examples=50)
def test_ticks_of_a_minute_make_the_same_bar_in_any_order(data: st.DataObject) -> None:
    ticks = data.draw(days())
    minutes, formed = Minutes(), {}

    for time, price, total in shuffled(data.draw, ticks):
        bar = minutes.take(time, price, total)
        formed[bar.time] = bar

    assert formed == plain_bars(ticks)
    kept = {time: bar for time, bar in minutes._watched.items() if bar is not None}
    watched = plain_watched(ticks)
    assert set(minutes._watched) == watched
    assert kept == {time: bar for time, bar in plain_bars(ticks).items() if time in watched and bar.volume > 0}


def test_a_look_that_comes_late_can_show_that_the_minute_before_was_watched() -> None:
    minutes = Minutes()
    for second in [*range(55, 120, 5), 128]:
        minutes.take(BEGIN + timedelta(seconds=second), 100.0, 1_000.0 + second)
    assert list(minutes._watched) == []  # from :55 to :08 nobody looked, it seems

    minutes.take(BEGIN + timedelta(seconds=121), 100.0, 1_121.0)

    assert list(minutes._watched) == [BEGIN + timedelta(minutes=1)]


@given(st.data())
@hypothesis.settings(max_examples=50)
def test_a_tick_of_a_closed_minute_is_dropped_whenever_it_comes(data: st.DataObject) -> None:
    """Any order at all: what comes after its minute has closed changes nothing, the rest make the bars they make."""
    ticks = data.draw(st.permutations(data.draw(days())))
    newest, in_time = BEGIN, []
    minutes, told = Minutes(), []
    formed = {}
    for tick in ticks:
        newest = max(newest, tick[0].replace(second=0))
        in_time += [tick] if tick[0].replace(second=0) == newest else []
        bar = minutes.take(*tick)
        formed[bar.time] = bar
        told.append(minutes.told)

    assert told.count(Tick.CLOSED) == len(ticks) - len(in_time)
    for minute, bar in plain_bars(in_time).items():
        got = formed[minute]
        assert (got.open, got.high, got.low, got.close) == (bar.open, bar.high, bar.low, bar.close)


def quote(second: float, price: float, volume: float = 0.0, **more: Any) -> Quote:
    return Quote("AAPL", BEGIN + timedelta(seconds=second), D(str(price)), "test", volume=volume, **more)


@given(st.data())
@hypothesis.settings(max_examples=50)
def test_the_board_keeps_the_newest_quote_and_the_whole_minute(data: st.DataObject) -> None:
    ticks = data.draw(days())
    arrived = [Quote("AAPL", t, D(str(p)), "test", volume=v) for t, p, v in shuffled(data.draw, ticks)]
    standing = Standing(arrived[0], 0.0)
    newest = arrived[0]
    for one in arrived:
        standing.take(one, 1.0, pushed=True)
        newest = max(newest, one, key=lambda q: q.time)
        assert standing.quote == newest

    last = plain_bars(ticks)
    assert standing.minute == last[max(last)]


def test_a_late_tick_widens_its_minute_and_is_never_the_newest_price() -> None:
    standing = Standing(quote(10, 100.0, 50), 0.0)
    for second, price, volume in ((10, 100.0, 50), (20, 101.0, 60)):
        standing.take(quote(second, price, volume), 1.0, pushed=True)

    told = standing.take(quote(15, 90.0, 55), 2.0, pushed=True)

    assert told is Tick.LATE
    assert (standing.quote, standing.came) == (quote(20, 101.0, 60), 1.0)
    assert standing.minute == Bar(BEGIN, 100.0, 101.0, 90.0, 101.0, 10.0)


def test_minutes_that_the_venue_tells_are_believed_and_only_widened_by_late_ones() -> None:
    def told(high: float, low: float) -> Bar:
        return Bar(BEGIN, 100.0, high, low, 100.0, 7.0)

    standing = Standing(quote(10, 100.0), 0.0)
    standing.take(quote(30, 100.0, 7, minute=told(103.0, 99.0)), 1.0)

    late = standing.take(quote(20, 104.0, 6, minute=told(104.0, 98.0)), 2.0)
    closed = standing.take(quote(-30, 50.0, 1, minute=replace(told(50.0, 50.0), time=BEGIN - timedelta(minutes=1))), 3)

    assert (late, closed) == (Tick.LATE, Tick.CLOSED)
    assert standing.minute == Bar(BEGIN, 100.0, 104.0, 98.0, 100.0, 7.0)
    assert standing.quote.last == D("100.0")
    standing.take(quote(31, 105.0, 8), 4.0)  # between trades it tells a price without a minute
    assert standing.minute is not None
    assert (standing.minute.high, standing.minute.close, standing.minute.volume) == (105.0, 105.0, 7.0)


def test_who_asks_again_and_finds_the_same_has_a_fresh_quote_and_dropped_nothing() -> None:
    standing = Standing(quote(10, 100.0), 0.0)

    told = [standing.take(quote(10, 100.0), came) for came in (1.0, 2.0)]

    assert told == [Tick.NEWEST, Tick.AGAIN]
    assert standing.came == 2.0
    wider = quote(10, 100.0, bid=D("99.5"))
    assert standing.take(wider, 3.0) is Tick.NEWEST  # the same trade, another spread
    assert standing.quote == wider


async def test_a_quote_that_a_source_tells_backwards_all_night_is_counted_once(world: Callable[..., World]) -> None:
    w = world()
    await w.run(1.5, ["AAPL"])
    w.venue.clock = ManualClock(w.venue.clock.now() - timedelta(hours=1))

    await w.run(30, ["AAPL"])

    assert w.market.usage().watch.closed == 1


# What a venue counts


def test_calls_are_counted_in_a_window_and_what_the_venue_says_wins() -> None:
    time = Time()
    calls = Calls(window_s=60.0, ticks=time)
    for _ in range(5):
        calls.made(2)
        time.now += 10
    assert (calls.told().used, calls.told().left, calls.told().by_venue) == (10, None, False)

    calls.heard({"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": "93", "X-RateLimit-Reset": "30"}, 0.0)
    assert (calls.told().limit, calls.told().left, calls.told().by_venue) == (100, 93, True)
    time.now += 31
    assert calls.told().left is None
    calls.heard({"RateLimit-Remaining": "4", "RateLimit-Reset": "2000000050"}, 2_000_000_000.0)
    time.now += 49
    assert calls.told().left == 4
    calls.heard({"X-RateLimit-Remaining": "many"}, 0.0)
    assert calls.told().left == 4
    time.now += 200
    assert calls.told().used == 0


class Server:
    """A candle server with a limit of its own."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.pause = ""
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request.query["symbol"])
        if self.pause:
            return web.Response(status=429, headers={"Retry-After": self.pause})
        end = datetime.fromisoformat(request.query["end"]).replace(second=0) - timedelta(minutes=2)
        bar = {"time": end.isoformat(), "open": 10, "high": 11, "low": 9, "close": 10, "volume": 5}
        left = str(100 - len(self.asked))
        return web.json_response([bar], headers={"X-RateLimit-Limit": "100", "X-RateLimit-Remaining": left})


@contextlib.asynccontextmanager
async def served(routes: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]]) -> AsyncIterator[str]:
    app = web.Application()
    for path, handler in routes.items():
        app.router.add_get(path, handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_a_server_of_ones_own_is_left_alone_for_as_long_as_it_says(
    settings: Settings, clock: ManualClock
) -> None:
    server = Server()
    async with served({"/": server.answer}) as where:
        url = f"http://{where}/?symbol={{symbol}}&interval={{interval}}&start={{start}}&end={{end}}"
        feed = HttpFeed(settings.model_copy(update={"candles_url": url}), clock)
        market = Market(FilesFeed(settings, clock), CandleStore(settings.store_dir, clock), feed, clock)
        board = QuoteBoard(market)
        board.want(["AAPL", "MSFT", "KO"])
        await board.refresh()
        told = market.usage()
        assert told.asked is not None
        assert (told.asked.used, told.asked.limit, told.asked.left, told.asked.by_venue) == (3, 100, 97, True)

        server.pause = "120"
        await board.refresh()
        asked = len(server.asked)
        await board.refresh()

        assert len(server.asked) == asked  # not once more
        told = market.usage()
        assert told.asked is not None
        assert told.asked.refusals == asked - 3
        assert 100 < told.asked.wait_s <= 120
        assert 100 < told.watch.busy_s <= 121
        assert "429" in board.error
        await market.close()


@pytest.fixture
def sim() -> Iterator[Any]:
    with running(limited=True) as sim:
        yield sim


async def test_many_symbols_of_etrade_stay_within_its_limits_and_are_counted(sim: Any, tmp_path: Path) -> None:
    clock = ManualClock(FRIDAY.astimezone(UTC))
    settings = Settings(data_dir=tmp_path, etrade_environment="simulator", etrade_simulator_url=sim.url)
    feed = EtradeFeed(settings, clock, store=Vault(settings.etrade_dir, file_key))
    market = Market(FilesFeed(settings, clock), CandleStore(settings.store_dir, clock), feed, clock)
    board = QuoteBoard(market)
    names = NAMES[:60]
    for name in names:
        sim.price(name, "10.00")
    assert (market.usage().at_hand, market.usage().elsewhere) == (True, True)
    await feed.session.finish(await asyncio.to_thread(code_of, await feed.session.link()))
    before = sim.control("counters", "GET")["calls"].get("market", 0)

    board.want(names)
    board.want(["S059"], first=True)
    await board.refresh()

    counted, told = sim.control("counters", "GET"), market.usage()
    assert all(board.get(name) for name in names)
    made = counted["calls"]["market"] - before
    assert made >= 4  # what is held, each second anew; then 25, 25 and 9
    assert counted["busiest_second"]["market"] <= 4
    assert set(counted["over_limit"].values()) == {0}
    assert told.asked is not None
    assert (told.asked.used, told.asked.limit, told.asked.left) == (made, 14_000, 14_000 - made)
    assert (told.at_hand, told.a_second, told.watch.batch, told.watch.first) == (False, 3, 25, 1)
    await market.close()


# A source that pushes


class PushServer:
    """A venue over a real WebSocket: it keeps what each line subscribed, and tells what the test says."""

    def __init__(self) -> None:
        self.lines: list[web.WebSocketResponse] = []
        self.said: list[list[tuple[str, list[str]]]] = []
        self.open = True

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if not self.open:
            return web.Response(status=503)
        line = web.WebSocketResponse()
        await line.prepare(request)
        said: list[tuple[str, list[str]]] = []
        self.lines.append(line)
        self.said.append(said)
        async for message in line:
            told = json.loads(message.data)
            said.append((told["do"], told["symbols"]))
        return line

    def subscribed(self, line: int = -1) -> list[str]:
        found: set[str] = set()
        for deed, symbols in self.said[line]:
            found = found | set(symbols) if deed == "subscribe" else found - set(symbols)
        return sorted(found)

    async def push(self, symbol: str, second: float, price: str, volume: float = 0.0) -> None:
        told = {"symbol": symbol, "time": (BEGIN + timedelta(seconds=second)).isoformat(), "last": price}
        await self.lines[-1].send_json({**told, "volume": volume})


class PushLine:
    def __init__(self, session: aiohttp.ClientSession, line: aiohttp.ClientWebSocketResponse) -> None:
        self._session, self._line = session, line

    async def subscribe(self, instruments: Sequence[Instrument]) -> None:
        await self._line.send_json({"do": "subscribe", "symbols": [i.symbol for i in instruments]})

    async def unsubscribe(self, instruments: Sequence[Instrument]) -> None:
        await self._line.send_json({"do": "unsubscribe", "symbols": [i.symbol for i in instruments]})

    async def __aiter__(self) -> AsyncIterator[Quote]:
        async for message in self._line:
            told = json.loads(message.data)
            time, last = datetime.fromisoformat(told["time"]), D(told["last"])
            yield Quote(told["symbol"], time, last, "push", volume=told["volume"])

    async def close(self) -> None:
        await self._line.close()
        await self._session.close()


class PushFeed(Venue):
    """It pushes, and can be asked while its line is down."""

    poll_s = 0.05
    url = ""

    async def stream(self, instruments: Sequence[Instrument]) -> PushLine:
        session = aiohttp.ClientSession()
        try:
            line = PushLine(session, await session.ws_connect(self.url))
        except aiohttp.ClientError as error:
            await session.close()
            raise FeedUnavailable(f"no line ({type(error).__name__})") from None
        await line.subscribe(instruments)
        return line


async def until(what: Callable[[], Any]) -> None:
    for _ in range(500):
        if what():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came about")


@pytest.fixture
async def pushing(settings: Settings, clock: ManualClock) -> AsyncIterator[tuple[PushServer, PushFeed, QuoteBoard]]:
    """A server that pushes and a board that follows it, its waits a hundredth as long."""
    server = PushServer()
    async with served({"/": server.answer}) as where:
        feed = PushFeed(clock, asyncio.get_running_loop().time, Pace())
        feed.url = f"ws://{where}/"
        market = Market(FilesFeed(settings, clock), CandleStore(settings.store_dir, clock), feed, clock)
        board = QuoteBoard(market, batch=10, pause_s=0.02, chance=lambda: 0.02)
        following = asyncio.create_task(board.follow())
        yield server, feed, board
        board.close()
        await following


async def test_a_source_that_pushes_is_subscribed_in_batches_and_not_asked(
    pushing: tuple[PushServer, PushFeed, QuoteBoard],
) -> None:
    server, feed, board = pushing
    board.want(NAMES[:31])
    await until(lambda: server.lines and server.subscribed() == NAMES[:31])
    assert [len(symbols) for _, symbols in server.said[0]] == [10, 10, 10, 1]

    await until(lambda: all(board.get(name) for name in NAMES[:31]))  # each was asked for once, not to wait for a trade
    asked = {name: len(feed.times(name)) for name in NAMES[:31]}
    await server.push("S030", 1.0, "7.25", 10)
    await until(lambda: board.get("S030").quote.last == D("7.25"))
    await asyncio.sleep(4 * feed.poll_s)

    assert {name: len(feed.times(name)) for name in NAMES[:31]} == asked
    assert board.watch().pushed == 31
    assert SILENT_S > 10


async def test_pushed_ticks_in_any_order_are_one_bar_and_counted(
    pushing: tuple[PushServer, PushFeed, QuoteBoard],
) -> None:
    server, _, board = pushing
    board.want(["AAPL"])
    await until(lambda: server.lines and server.subscribed() == ["AAPL"] and board.get("AAPL"))

    for second, price, volume in ((70, "10", 5), (80, "12", 8), (80, "12", 8), (75, "9", 6), (30, "99", 1)):
        await server.push("AAPL", second, price, volume)
    await until(lambda: board.watch().closed == 1)

    standing, told = board.get("AAPL"), board.watch()
    assert (standing.quote.last, standing.minute.high, standing.minute.low) == (D("12"), 12.0, 9.0)
    assert standing.minute.volume == 8.0
    assert (told.late, told.again, told.closed) == (1, 1, 1)


async def test_a_line_that_breaks_is_opened_again_with_exactly_what_is_wanted(
    pushing: tuple[PushServer, PushFeed, QuoteBoard], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, feed, board = pushing
    board.want(NAMES[:12])
    await until(lambda: server.lines and server.subscribed() == NAMES[:12])
    await until(lambda: all(board.get(name) for name in NAMES[:12]))
    with board._lock:
        del board._wanted["S000"]
    await until(lambda: server.subscribed() == NAMES[1:12])
    server.open = False
    await server.lines[0].close()
    asked = len(feed.calls)

    await until(lambda: {s for _, symbols in feed.calls[asked:] for s in symbols} >= set(NAMES[1:12]))  # asked instead
    assert board.watch().pushed == 0
    assert board.watch().line_error == "no line (WSServerHandshakeError)"
    board.want(["KO"], first=True)
    server.open = True
    await until(lambda: len(server.lines) == 2 and server.subscribed() == sorted(["KO", *NAMES[1:12]]))

    assert server.said[1][0][1][0] == "KO"
    assert (board.watch().reconnects, board.watch().line_error) == (1, "")
    await server.push("KO", 5.0, "61.00")
    await until(lambda: board.get("KO") and board.get("KO").quote.last == D("61.00"))


# A warm start


class Young(ScriptedFeed):
    """A source that has no past: only what happened since it was opened."""

    def __init__(self, clock: Clock, frames: dict[str, pd.DataFrame], since: datetime) -> None:
        super().__init__(clock)
        self._frames, self._since = frames, since

    async def candles(self, instrument: Instrument, tf: Timeframe, start: datetime, end: datetime) -> pd.DataFrame:
        frame = self._frames[instrument.symbol]
        closed = ends(nanos(frame), tf, instrument) <= pd.Timestamp(self.clock.now()).value
        return between(frame[closed], max(start, self._since), end)


class Warm(Replay):
    """A desk whose candles come as they do in earnest: through the market, from the store and the source together."""

    source = "young"

    async def begin(self, start: datetime) -> None:
        settings = Settings(data_dir=self.folder / "candles")
        settings.files_dir.mkdir(parents=True)
        files, store = FilesFeed(settings, self.clock), CandleStore(settings.store_dir, self.clock)
        self.clock.time = start
        tf = TIMEFRAMES[self.interval]
        for symbol, frame in self.frames.items():
            past = frame[frame.index < start]
            store.merge(instrument(symbol), tf, past, "scripted", (past.index[0].to_pydatetime(), start))
        feed = files if self.source == "files" else Young(self.clock, dict(self.frames), start)
        self.market, self._files_dir = Market(files, store, feed, self.clock), settings.files_dir
        await super().begin(start)

    async def bars(self, what: Instrument, tf: Timeframe, most: int) -> pd.DataFrame:
        if self.source == "files":
            closed = await super().bars(what, tf, 10_000)
            closed.iloc[-60:].reset_index().to_csv(self._files_dir / f"{what.symbol}_{tf.name}.csv", index=False)
        return (await self.market.window(what, tf, bars=most)).candles


async def test_a_strategy_decides_on_the_first_bar_that_closes(tmp_path: Path) -> None:
    """Its past is in the store: nobody waits for forty bars to close. It says what all of history says, whether a
    source without a past gives the newest bar or the user's own file does."""
    frames = {"AAPL": made_bars(11, days=2)}
    start = frames["AAPL"].index[90].to_pydatetime()
    setup = Setup(cash=15_000.0, fraction=0.9, fills=FillRules(ignore_volume=True), exits_from="signal")
    young, files, whole = Warm(tmp_path / "1", frames), Warm(tmp_path / "2", frames), Replay(tmp_path / "3", frames)
    files.source = "files"
    told = []
    for replay in (young, files, whole):
        await replay.begin(start)
        adoption = await replay.adopt("sma_crossover", {"fast": 3, "slow": 8}, setup)

        await replay.bars_close(1)

        [decision] = decisions(replay.desk.reader, adoption, "AAPL", 20)
        told.append((decision.bar_time, decision.exposure, decision.wanted, decision.said))
        await replay.desk.stop()
    assert told[0][0] == frames["AAPL"].index[90]
    assert told[0][1] is not None
    assert told == [told[2]] * 3


# What a person is shown


def usage(**more: Any) -> Usage:
    watch = Watch(wanted=31, first=2, batch=25, pause_s=1 / 3, round_s=1.0)
    asked = Asked(1_234, 3_600.0, 14_000, 12_766)
    return replace(Usage("E*TRADE", False, 3.0, asked, watch), **more)


def shown(told: Usage, name: str = "etrade") -> tuple[list[str], str]:
    """The panel's figures and its words, over a market that says this."""

    def page(told, name):  # a file of its own, where no name of this one is known
        from types import SimpleNamespace

        from ui.feed_status import feed_status

        market = SimpleNamespace(name=name, usage=lambda: told)
        feed_status(SimpleNamespace(desk=SimpleNamespace(market=market, board=SimpleNamespace(error="Sign in"))))

    at = AppTest.from_function(page, args=(told, name), default_timeout=30).run()
    assert not at.exception, at.exception
    words = [one.value for kind in (at.markdown, at.caption, at.warning, at.info) for one in kind]
    words += [block.proto.text for block in at.get("progress")]
    return [f"{one.label}: {one.value}" for one in at.metric], "\n".join(words).replace("\\", "")


def test_the_panel_tells_used_left_and_refused() -> None:
    figures, words = shown(usage())

    assert figures == ["Used this hour: 1,234", "Left: 12,766", "Refusals: 0"]
    assert "12,766 of 14,000 calls left, by its published limit. It has refused none." in words
    assert "31 symbols looked at, 2 of them held or with an order: those come first." in words
    assert "Calls of up to 25 symbols, 0.33 s apart; each symbol every 1 s." in words


def test_the_panel_tells_what_is_waited_for() -> None:
    asked = Asked(90, 3_600.0, refusals=3, refused_ago_s=190.0, wait_s=42.0)
    resting = Resting(("S000", "S001", "S002", "S003"), 12.0, "the line is dead")
    watch = Watch(wanted=4, batch=10, round_s=5.0, resting=(resting,), late=3, again=2, closed=1, reconnects=1)

    figures, words = shown(usage(asked=asked, watch=watch))

    assert figures == ["Used this hour: 90", "Left: –", "Refusals: 3"]
    assert "No limit is published. It last refused 3 min ago." in words
    assert "E*TRADE wants a pause: nothing is sent for 42 s." in words
    assert "S000, S001, S002 and 1 more: The line is dead; again in 12 s." in words
    assert "Ticks: 3 late, 2 told twice, 1 dropped after their minute closed." in words
    assert "Its line was opened again 1 time." in words


@pytest.mark.parametrize(
    ("name", "more", "said"),
    [
        ("simulated", {"at_hand": True, "asked": None}, "this market is made up here"),
        ("files", {"at_hand": True, "asked": None}, "read from your files"),
        ("etrade", {"at_hand": True, "elsewhere": True}, "Another process on this machine asks E*TRADE for all."),
        ("etrade", {"at_hand": True}, "E*TRADE is not asked now: Sign in."),
        ("http", {"asked": Asked(0, 3_600.0)}, "has not been asked in this hour. Calls are counted"),
        ("other", {"asked": None}, "keeps no count"),
    ],
)
def test_the_panel_says_why_there_are_no_figures(name: str, more: dict[str, Any], said: str) -> None:
    figures, words = shown(usage(**more), name)

    assert figures == []
    assert said in words
