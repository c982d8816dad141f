"""performance_utils.py: nothing is asked twice that need not be, and one failure is one message."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

import performance_utils as pu
from domain.clock import ManualClock
from domain.errors import DataError, FeedUnavailable, UnknownName
from domain.instruments import instrument
from tests.fakes import ScriptedFeed


def test_candles_come_as_a_frame_and_are_cached(desk: pu.Desk, feed: ScriptedFeed) -> None:
    first = pu.get_candles_cached("aapl", "1d", days=30)
    asked = len(feed.asked)
    again = pu.get_candles_cached("AAPL", "1d", 30)

    assert len(feed.asked) == asked
    assert list(first.columns) == ["open", "high", "low", "close", "volume"]
    assert str(first.index.tz) == "UTC"
    assert first.equals(again)


def test_a_shell_that_asks_for_no_candles_makes_no_cache(desk: pu.Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Streamlit warns of each one that is made outside of a page."""
    monkeypatch.setattr(pu, "_loaders", {})

    pu.use_desk(desk)

    assert pu._loaders == {}


def test_a_cached_frame_that_a_caller_spoils_is_whole_again(desk: pu.Desk) -> None:
    spoiled = pu.get_candles_cached("AAPL", "1d", 30)
    spoiled["close"] = -1.0

    assert (pu.get_candles_cached("AAPL", "1d", 30)["close"] > 0).all()


@pytest.mark.parametrize(
    ("symbol", "interval", "days", "error", "said"),
    [
        ("AAPL", "2m", 5, UnknownName, "no timeframe is called '2m'"),
        ("AAPL", "1d", 0, ValueError, "days must be above zero: got 0"),
        ("../x", "1d", 5, DataError, "a symbol is up to 15"),
    ],
)
def test_a_wrong_question_is_answered_in_words(
    desk: pu.Desk, symbol: str, interval: str, days: int, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        pu.get_candles_cached(symbol, interval, days)


async def test_one_failure_is_one_message_beside_the_others(desk: pu.Desk, feed: ScriptedFeed) -> None:
    feed.fails = lambda symbol: "the line is dead" if symbol == "MSFT" else None

    found = await pu.fetch_all(["NVDA", "MSFT", "AAPL", "not a symbol"], "1h", days=5)

    assert list(found) == ["NVDA", "AAPL"]
    assert found.errors["MSFT"] == "the line is dead"
    assert "a symbol is up to 15" in found.errors["not a symbol"]
    assert pu.fetch_all is pu.fetch_all_candles


async def test_many_are_fetched_at_once_but_never_more_than_allowed(desk: pu.Desk, feed: ScriptedFeed) -> None:
    running, most, gate = 0, 0, asyncio.Event()
    plain = feed.candles

    async def slow(*args):
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == desk.settings.fetch_at_once:
            gate.set()
        await asyncio.wait_for(gate.wait(), 10)
        running -= 1
        return await plain(*args)

    feed.candles = slow
    await pu.fetch_all([f"S{n}" for n in range(desk.settings.fetch_at_once + 8)], "1d", days=5)

    assert most == desk.settings.fetch_at_once


def test_a_page_can_ask_for_many_without_awaiting(desk: pu.Desk) -> None:
    assert list(pu.fetch_all_now(["AAPL", "SPY"], "1d", 10)) == ["AAPL", "SPY"]


def settle(desk: pu.Desk) -> None:
    pu.bridge().run(desk.board.refresh())


def test_a_second_look_asks_for_nothing(desk: pu.Desk, feed: ScriptedFeed) -> None:
    desk.live("AAPL", "5m", 100)
    asked = len(feed.asked)

    for _ in range(20):
        desk.live("AAPL", "5m", 100)

    assert len(feed.asked) == asked


def test_when_a_bar_closes_the_revision_changes_once(desk: pu.Desk, feed: ScriptedFeed, clock: ManualClock) -> None:
    before = desk.live("AAPL", "5m", 100)
    clock.advance(minutes=2)
    same = desk.live("AAPL", "5m", 100)
    clock.advance(minutes=3)
    after = desk.live("AAPL", "5m", 100)

    assert same.revision == before.revision
    assert after.revision != before.revision
    assert (after.closed.index[-1] - before.closed.index[-1]).total_seconds() == 300


def test_the_forming_bar_is_folded_from_closed_minutes_and_quotes(
    desk: pu.Desk, feed: ScriptedFeed, clock: ManualClock
) -> None:
    clock.advance(minutes=2, seconds=10)
    desk.live("AAPL", "5m", 100)
    for price in (109.0, 90.0, 95.0):
        feed.price = price
        settle(desk)
        clock.advance(seconds=5)

    forming = desk.live("AAPL", "5m", 100).forming

    assert forming is not None
    assert forming.time.strftime("%H:%M") == "15:30"
    assert (forming.high, forming.low, forming.close) == (109.0, 90.0, 95.0)
    assert forming.open == 100 + int(forming.time.timestamp()) // 60 % 7  # of the first closed minute
    assert forming.volume == 10.0


def test_no_forming_bar_stands_in_a_closed_market(desk: pu.Desk, clock: ManualClock) -> None:
    clock.advance(hours=30)
    desk.live("AAPL", "5m", 100)
    settle(desk)

    assert desk.live("AAPL", "5m", 100).forming is None


def test_an_outage_keeps_the_old_quotes_and_says_why(desk: pu.Desk, feed: ScriptedFeed) -> None:
    desk.board.want(["AAPL"])
    settle(desk)
    came = desk.board.get("AAPL").came
    feed.fails = lambda symbol: "no network"
    settle(desk)

    assert desk.board.error == "no network"
    assert desk.board.get("AAPL").came == came

    feed.fails = lambda symbol: None
    settle(desk)
    assert desk.board.error == ""


def test_a_probe_refuses_a_symbol_nobody_knows_but_not_for_an_outage(desk: pu.Desk, feed: ScriptedFeed) -> None:
    feed.fails = lambda symbol: "no network"
    desk.probe("AAPL")

    async def unknown(*args):
        raise UnknownName("no symbol is called ZZZZ")

    feed.candles = unknown
    with pytest.raises(UnknownName):
        desk.probe("ZZZZ")


def test_many_threads_share_one_fetch(desk: pu.Desk, feed: ScriptedFeed) -> None:
    threads = [threading.Thread(target=desk.live, args=("AAPL", "1h", 50)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert feed.asked.count(("AAPL", "1h")) == 1


def test_the_bridge_hands_errors_over(desk: pu.Desk, feed: ScriptedFeed, tmp_path: Path) -> None:
    feed.fails = lambda symbol: "no network"

    with pytest.raises(FeedUnavailable, match="no network"):
        desk.live("AAPL", "1d", 10)
    assert instrument("AAPL").symbol in desk.board.wanted()


def test_a_renewal_that_is_over_at_once_never_blocks_the_next(
    desk: pu.Desk, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A feed so quick that it answers before its question was written down: each new bar must still arrive."""
    monkeypatch.setattr(pu, "PATIENCE_S", 60.0)  # how fast this machine is must not matter
    for _ in range(300):
        clock.advance(minutes=1)
        newest = desk.live("BTCUSDT", "1m", 60).closed.index[-1]

        assert (clock.now() - newest).total_seconds() <= 60


def test_a_file_that_comes_while_watching_is_shown_soon(desk: pu.Desk, settings) -> None:
    before = desk.live("AAPL", "1d", 30)
    settings.files_dir.mkdir(parents=True)
    (settings.files_dir / "AAPL.csv").write_text("date,open,high,low,close,volume\n2026-11-18,7,9,6,8,5\n")
    desk._files = (float("-inf"), desk._files[1])

    after = desk.live("AAPL", "1d", 30)

    assert "files" not in before.answer.sources
    assert "files" in after.answer.sources
    assert 8.0 in set(after.closed["close"])


def test_only_the_newest_series_are_kept_in_mind(desk: pu.Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pu, "MOST_SERIES", 3)
    for n in range(6):
        desk.live(f"S{n}", "1d", 10)

    assert list(desk._kept) == [("S3", "1d"), ("S4", "1d"), ("S5", "1d")]
