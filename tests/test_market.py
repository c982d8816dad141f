"""One answer for candles: files, then what is kept, then the feed; made-up prices stay alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from domain.candles import COLUMNS, TIMEFRAMES, Timeframe, between, ends, expected, frame, nanos
from domain.clock import Clock, ManualClock
from domain.errors import DataError, DeskError, FeedLimit, FeedUnavailable, UnknownName
from domain.instruments import Instrument, instrument
from domain.quotes import Quote
from feeds.files import FilesFeed
from feeds.market import Market, open_market
from feeds.store import CandleStore, Span
from settings import Settings

AAPL, BTC = instrument("AAPL"), instrument("BTCUSDT")
M5, H1, D1 = (TIMEFRAMES[name] for name in ("5m", "1h", "1d"))
NOW = datetime(2026, 11, 20, 15, 32, tzinfo=UTC)  # a Friday, 10:32 New York


class FakeFeed:
    """Every regular bar at one price. Remembers what it was asked; fails with `error` where that is set."""

    label, poll_s, limits = "Fake", 1.0, "none"

    def __init__(self, clock: Clock, name: str = "yahoo", simulated: bool = False) -> None:
        self.clock, self.name, self.simulated = clock, name, simulated
        self.price = 100.0
        self.error: DeskError | None = None
        self.asked: list[Span] = []
        self.late = timedelta()

    async def candles(self, instrument: Instrument, tf: Timeframe, start: datetime, end: datetime) -> pd.DataFrame:
        self.asked.append(Span(start, end))
        await asyncio.sleep(0)
        if self.error:
            raise self.error
        due = expected(start, end, tf, instrument)
        due = due[ends(due, tf, instrument) <= pd.Timestamp(self.clock.now() - self.late).value]
        return frame(due, dict.fromkeys(COLUMNS, np.full(len(due), self.price)))

    async def quotes(self, instruments: Sequence[Instrument]) -> dict[str, Quote]:
        return {i.symbol: Quote(i.symbol, self.clock.now(), Decimal(1), self.name) for i in instruments if i is AAPL}

    async def close(self) -> None: ...


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def feed(clock: ManualClock) -> FakeFeed:
    return FakeFeed(clock)


@pytest.fixture
def market(settings: Settings, clock: ManualClock, feed: FakeFeed) -> Market:
    settings.files_dir.mkdir(parents=True)
    return Market(FilesFeed(settings, clock), CandleStore(settings.store_dir, clock), feed, clock)


def with_feed(market: Market, feed: object) -> Market:
    return Market(market.files, market.store, feed, market.system_clock)  # type: ignore[arg-type]


def put(settings: Settings, name: str, rows: str) -> None:
    (settings.files_dir / name).write_text(f"date,open,high,low,close,volume\n{rows}")


def day(d: int, month: int = 11) -> datetime:
    return datetime(2026, month, d, tzinfo=UTC)


def sevens(*days: int) -> pd.DataFrame:
    return frame([pd.Timestamp(day(n)).value for n in days], {c: np.full(len(days), 7.0) for c in COLUMNS})


async def test_only_what_is_missing_is_fetched_and_then_kept(market: Market, feed: FakeFeed) -> None:
    first = await market.candles(BTC, H1, day(1), day(3))
    again = await market.candles(BTC, H1, day(1), day(3))
    wider = await market.candles(BTC, H1, day(1) - timedelta(hours=5), day(4))

    assert (len(first.candles), len(again.candles), len(wider.candles)) == (48, 48, 77)
    assert feed.asked == [
        Span(day(1), day(3)),
        Span(day(3) - timedelta(hours=1), day(4)),
        Span(day(1) - timedelta(hours=5), day(1)),
    ]
    assert first.sources == ("yahoo",)
    assert (first.simulated, first.live, first.feed_error) == (False, True, "")
    market.keeper.flush()
    assert len(market.store.read(BTC, H1, day(1), day(4))) == 72


async def test_nothing_is_fetched_for_a_closed_market(market: Market, feed: FakeFeed) -> None:
    await market.candles(AAPL, M5, day(14) + timedelta(hours=1), day(16))  # 20:00 on a Friday to Sunday

    assert feed.asked == []


async def test_a_feed_error_does_not_lose_what_is_kept(market: Market, feed: FakeFeed) -> None:
    await market.candles(BTC, H1, day(1), day(2))
    feed.error = FeedUnavailable("Yahoo cannot be reached")

    answer = await market.candles(BTC, H1, day(1), day(5))

    assert len(answer.candles) == 24
    assert answer.feed_error == "Yahoo cannot be reached"


@pytest.mark.parametrize("error", [FeedUnavailable("x"), FeedLimit("x"), UnknownName("x"), DataError("x")])
async def test_an_error_is_raised_only_where_there_is_nothing_to_show(
    market: Market, feed: FakeFeed, error: DeskError
) -> None:
    feed.error = error

    with pytest.raises(type(error)):
        await market.candles(BTC, H1, day(1), day(5))
    with pytest.raises(type(error)):
        await market.window(BTC, H1, days=3)


async def test_a_failing_feed_is_left_alone_for_a_moment(market: Market, feed: FakeFeed, clock: ManualClock) -> None:
    feed.error = FeedUnavailable("down")
    for _ in range(3):
        with pytest.raises(FeedUnavailable, match="down"):
            await market.candles(BTC, H1, day(1), day(2))
    assert len(feed.asked) == 1

    feed.error = None
    clock.advance(seconds=6)
    assert len((await market.candles(BTC, H1, day(1), day(2))).candles) == 24


async def test_the_same_question_at_once_is_one_fetch(market: Market, feed: FakeFeed) -> None:
    answers = await asyncio.gather(*(market.candles(BTC, H1, day(1), day(3)) for _ in range(20)))

    assert len(feed.asked) == 1
    assert [len(a.candles) for a in answers] == [48] * 20


async def test_overlapping_questions_at_once_share_what_they_have_in_common(market: Market, feed: FakeFeed) -> None:
    ends_of = [day(n) for n in (2, 3, 4, 3, 2)]

    answers = await asyncio.gather(*(market.candles(BTC, H1, day(1), end) for end in ends_of))

    assert [len(a.candles) for a in answers] == [24, 48, 72, 48, 24]
    assert sum((span.end - span.start for span in feed.asked), timedelta()) <= timedelta(hours=72 + 2)


async def test_one_who_leaves_does_not_take_the_answer_from_the_others(market: Market) -> None:
    stays = asyncio.create_task(market.candles(BTC, H1, day(1), day(3)))
    leaves = asyncio.create_task(market.candles(BTC, H1, day(1), day(3)))
    await asyncio.sleep(0)
    leaves.cancel()

    assert len((await stays).candles) == 48


async def test_bars_that_come_late_are_asked_for_again(market: Market, feed: FakeFeed, clock: ManualClock) -> None:
    feed.late = timedelta(minutes=15)
    early = await market.candles(BTC, M5, day(20), NOW)
    feed.late = timedelta()
    at_once = await market.candles(BTC, M5, day(20), NOW)
    clock.advance(seconds=2)
    later = await market.candles(BTC, M5, day(20), NOW)

    assert [a.candles.index[-1].strftime("%H:%M") for a in (early, at_once, later)] == ["15:10", "15:10", "15:25"]
    assert len(feed.asked) == 2


async def test_the_forming_bar_is_never_asked_for(market: Market, feed: FakeFeed) -> None:
    answer = await market.candles(BTC, H1, day(20), NOW)
    await market.candles(BTC, H1, day(20), NOW)

    assert feed.asked == [Span(day(20), NOW.replace(minute=0))]
    assert answer.candles.index[-1] == NOW.replace(hour=14, minute=0)


async def test_file_bars_win_over_kept_ones_and_are_not_fetched(
    market: Market, settings: Settings, feed: FakeFeed
) -> None:
    market.store.merge(BTC, D1, sevens(1, 2, 3), "http")
    put(settings, "BTCUSDT_1d.csv", "2026-11-02,50,50,50,50,1\n2026-11-03,60,60,60,60,1\n")

    answer = await market.candles(BTC, D1, day(1), day(6))

    assert answer.candles["close"].tolist() == [100, 50, 60, 100, 100]
    assert answer.sources == ("yahoo", "files")
    assert [(s.source, s.bars) for s in await market.sources_of(BTC, D1, day(1), day(6))] == [
        ("yahoo", 1),
        ("files", 2),
        ("yahoo", 2),
    ]
    assert [span.start for span in feed.asked] == [day(4), day(1)]


async def test_kept_bars_of_another_source_stay_what_they_are(market: Market, feed: FakeFeed) -> None:
    market.store.merge(BTC, D1, sevens(1), "http", (day(1), day(2)))

    answer = await market.candles(BTC, D1, day(1), day(3))

    assert answer.candles["close"].tolist() == [7, 100]
    assert answer.sources == ("http", "yahoo")


async def test_simulated_bars_are_never_kept_and_never_mixed(
    market: Market, settings: Settings, clock: ManualClock
) -> None:
    real = market
    await real.candles(BTC, D1, day(1), day(5))
    real.keeper.flush()
    market = with_feed(market, FakeFeed(clock, "simulated", simulated=True))

    made_up = await market.candles(BTC, D1, day(1), day(9))
    assert (made_up.simulated, made_up.live, made_up.sources) == (True, True, ("simulated",))
    assert len(market.store.read(BTC, D1, day(1), day(9))) == 4

    put(settings, "BTCUSDT_1d.csv", "2026-11-02,50,50,50,50,1\n2026-11-03,60,60,60,60,1\n")
    own = await market.candles(BTC, D1, day(1), day(9))
    assert (own.simulated, own.live, own.sources) == (False, False, ("files",))
    assert own.candles["close"].tolist() == [50, 60]
    assert (await market.candles(BTC, H1, day(1), day(2))).simulated  # a daily file gives no hours


async def test_an_old_file_still_shows(market: Market, settings: Settings, feed: FakeFeed, clock: ManualClock) -> None:
    put(settings, "AAPL.csv", "2020-01-02,1,1,1,1,1\n2020-01-03,2,2,2,2,2\n2020-01-06,3,3,3,3,3\n")
    own = with_feed(market, market.files)
    made_up = with_feed(market, FakeFeed(clock, "simulated", simulated=True))
    feed.error = FeedUnavailable("no network")

    for one in (own, made_up, market):
        days = await one.window(AAPL, D1, days=4)
        bars = await one.window(AAPL, D1, bars=1)
        assert days.candles["close"].tolist() == [2, 3]
        assert bars.candles["close"].tolist() == [3]
        assert days.sources == ("files",)
    assert days.feed_error == "no network"
    assert not (await own.window(AAPL, D1, days=4)).live


@pytest.mark.parametrize(("one", "tf"), [(AAPL, "5m"), (AAPL, "1d"), (AAPL, "4h"), (BTC, "5m"), (BTC, "1d")])
async def test_a_window_of_bars_has_that_many(market: Market, one: Instrument, tf: str) -> None:
    answer = await market.window(one, TIMEFRAMES[tf], bars=300)

    assert len(answer.candles) == 300
    assert ends(nanos(answer.candles)[-1:], TIMEFRAMES[tf], one)[0] <= pd.Timestamp(NOW).value


async def test_a_window_wants_days_or_bars(market: Market) -> None:
    for wrong in ({}, {"days": 1, "bars": 1}):
        with pytest.raises(ValueError, match="days or bars"):
            await market.window(BTC, D1, **wrong)  # type: ignore[arg-type]


async def test_a_limited_feed_is_asked_for_what_it_has(market: Market, feed: FakeFeed) -> None:
    feed.reach = lambda tf: timedelta(days=2)  # type: ignore[attr-defined]

    answer = await market.candles(BTC, H1, day(1), NOW)

    assert feed.asked[0].start == NOW - timedelta(days=2)
    assert answer.notes == ("Fake has 1h bars only for the last 2 days",)


async def test_a_restated_history_is_fetched_anew(market: Market, feed: FakeFeed, clock: ManualClock) -> None:
    await market.candles(AAPL, D1, day(2), day(14))
    feed.price = 25.0  # a 4:1 split went through the feed's history

    await market.candles(AAPL, D1, day(2), NOW)
    clock.advance(seconds=6)
    answer = await market.candles(AAPL, D1, day(2), NOW)

    assert set(answer.candles["close"]) == {25.0}
    assert len(answer.candles) == 14
    assert "restated" in market.file_notes()[0]


async def test_a_disk_that_refuses_does_not_hide_the_candles(market: Market, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(market.store, "merge", full)

    await market.candles(BTC, H1, day(1), day(2))
    market.keeper.flush()
    answer = await market.candles(BTC, H1, day(1), day(2))

    assert len(answer.candles) == 24
    assert answer.notes == ("BTCUSDT 1h could not be kept on disk: No space left on device",)


async def test_a_refused_file_is_told_beside_what_is_shown_instead(market: Market, settings: Settings) -> None:
    put(settings, "AAPL.csv", "2026-11-02,50,1,50,50,1\n2026-11-03,60,60,60,60,1\n")

    answer = await market.candles(AAPL, D1, day(2), day(6))

    assert answer.sources == ("yahoo",)
    assert answer.notes[0].startswith("not used: AAPL.csv, line 2: high below low")


async def test_a_damaged_kept_file_is_fetched_again(market: Market, settings: Settings) -> None:
    await market.candles(BTC, H1, day(1), day(3))
    market.keeper.flush()
    [path] = settings.store_dir.rglob("*.parquet")
    path.write_bytes(b"")

    assert len((await market.candles(BTC, H1, day(1), day(3))).candles) == 48


async def test_files_alone_answer_in_words_where_they_have_nothing(market: Market, settings: Settings) -> None:
    own = with_feed(market, market.files)
    put(settings, "AAPL.csv", "2020-01-02,1,1,1,1,1\n")

    with pytest.raises(UnknownName, match="in your files"):
        await own.candles(BTC, D1, day(1), day(2))


async def test_quotes_come_from_the_feed_and_for_the_rest_from_the_files(market: Market, settings: Settings) -> None:
    put(settings, "AAPL.csv", "2020-01-02,1,1,1,1,1\n2020-01-03,2,2,2,2,2\n")
    put(settings, "MSFT.csv", "2020-01-02,1,1,1,1,1\n2020-01-03,2,2,2,2,2\n")

    quotes = await market.quotes([AAPL, instrument("MSFT"), BTC])

    assert {s: q.source for s, q in quotes.items()} == {"AAPL": "yahoo", "MSFT": "files"}


async def test_the_market_opens_with_the_chosen_source(settings: Settings, clock: ManualClock) -> None:
    made_up = open_market(settings, clock)
    own = open_market(settings.model_copy(update={"data_source": "files"}), clock)

    assert (made_up.name, made_up.simulated, made_up.quotes_live) == ("simulated", True, True)
    assert (own.name, own.simulated, own.quotes_live, own.clock_note) == ("files", False, False, "")
    assert own.feed is own.files
    assert (own.kept(), own.refused(), own.holdings(), own.file_notes()) == ([], [], [], [])
    assert own.file_rules.startswith("- a time")
    answer = await made_up.window(AAPL, M5, bars=50)
    assert (len(answer.candles), answer.simulated) == (50, True)
    assert made_up.kept() == []
    await made_up.close()
    await own.close()


async def test_a_span_that_is_wrong_way_round_is_empty(market: Market, feed: FakeFeed) -> None:
    assert (await market.candles(BTC, D1, day(5), day(1))).candles.empty
    assert between((await market.candles(BTC, D1, day(25), day(28))).candles, day(1), day(28)).empty
    assert feed.asked == []


async def test_an_answer_does_not_wait_for_the_disk(market: Market, feed: FakeFeed, monkeypatch) -> None:
    """What is on its way to the disk is shown, counts as fetched, and arrives there in the end."""
    release, plain = threading.Event(), market.store.merge

    def slow(*args):
        release.wait(20)
        return plain(*args)

    monkeypatch.setattr(market.store, "merge", slow)
    first = await market.candles(BTC, H1, day(1), day(3))
    again = await market.candles(BTC, H1, day(1), day(3))
    assert len(market.store.read(BTC, H1, day(1), day(3))) == 0
    release.set()
    market.keeper.flush()

    assert (len(first.candles), len(again.candles), len(feed.asked)) == (48, 48, 1)
    assert len(market.store.read(BTC, H1, day(1), day(3))) == 48


async def test_what_is_kept_while_it_is_looked_up_is_not_missed(
    market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, covered = market.store.load, market.store.covered

    def then_kept(ask: Any) -> Any:
        """The keeper is done in the moment after the store was read."""

        def asked(*given: Any) -> Any:
            found = ask(*given)
            market.keeper.flush()
            return found

        return asked

    monkeypatch.setattr(market.store, "load", then_kept(load))
    monkeypatch.setattr(market.store, "covered", then_kept(covered))

    first = await market.candles(BTC, H1, day(1), day(3))
    again = await market.candles(BTC, H1, day(1), day(3))

    assert (len(first.candles), len(again.candles)) == (48, 48)
