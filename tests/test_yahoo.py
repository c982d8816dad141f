"""Yahoo without the network: a stand-in for yfinance.download gives frames shaped as it really shapes them."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from domain.candles import TIMEFRAMES, Timeframe
from domain.clock import ManualClock
from domain.errors import FeedLimit, FeedUnavailable, UnknownName
from domain.instruments import instrument
from feeds.yahoo import YahooFeed
from settings import Settings

AAPL, BTC, BRK = instrument("AAPL"), instrument("BTCUSDT"), instrument("BRK.B")
M1, M5, H1, H4, D1 = (TIMEFRAMES[name] for name in ("1m", "5m", "1h", "4h", "1d"))
NOW = datetime(2026, 11, 20, 15, 32, tzinfo=UTC)  # a Friday, 10:32 New York
FIELDS = ["Adj Close", "Close", "High", "Low", "Open", "Volume"]


def shaped(index: pd.DatetimeIndex, symbols: list[str], close: float = 250.42) -> pd.DataFrame:
    """What yfinance.download gives: columns (Price, Ticker), prices that were float32, volumes whole."""
    price = float(np.float32(close))
    row = [price, price, price + 1, price - 1, price, 1000.0]
    columns = pd.MultiIndex.from_product([FIELDS, symbols], names=["Price", "Ticker"])
    values = np.repeat(np.array(row)[None, :], len(index), axis=0)
    return pd.DataFrame(np.repeat(values, len(symbols), axis=1), index=index, columns=columns)


def minutes(first: str, count: int, step: int = 1) -> pd.DatetimeIndex:
    return pd.date_range(first, periods=count, freq=f"{step}min", tz="America/New_York", name="Datetime").as_unit("s")


def days(*labels: str, tz: str | None = "America/New_York") -> pd.DatetimeIndex:
    return pd.DatetimeIndex(list(labels), tz=tz, name="Date").as_unit("s")


@dataclass
class Download:
    """Stands in for yfinance.download: gives `table`, logs `said`, raises `error`; remembers what was asked."""

    table: pd.DataFrame | None = None
    said: str = ""
    error: Exception | None = None
    wait_s: float = 0.0
    asked: list[tuple[list[str], dict[str, Any]]] = field(default_factory=list)

    def __call__(self, symbols: list[str], **wish: Any) -> pd.DataFrame | None:
        self.asked.append((symbols, wish))
        time.sleep(self.wait_s)
        if self.said:
            logging.getLogger("yfinance").error(self.said)
        if self.error:
            raise self.error
        return shaped(days(), symbols) if self.table is None else self.table


@pytest.fixture
def download() -> Download:
    return Download()


@pytest.fixture
async def feed(settings: Settings, download: Download) -> AsyncIterator[YahooFeed]:
    made = YahooFeed(settings, ManualClock(NOW), download=download)
    yield made
    await made.close()
    await made.close()


def ago(**by: float) -> datetime:
    return NOW - timedelta(**by)


async def test_intraday_bars_come_in_utc_without_the_forming_one(feed: YahooFeed, download: Download) -> None:
    download.table = shaped(minutes("2026-11-20 10:00", 7, 5), ["AAPL"])

    found = await feed.candles(AAPL, M5, ago(hours=2), NOW)

    assert found.index[0] == datetime(2026, 11, 20, 15, 0, tzinfo=UTC)
    assert found.index[-1] == datetime(2026, 11, 20, 15, 25, tzinfo=UTC)  # 10:30 still forms
    assert found["close"].iloc[0] == float(np.float32(250.42))
    [(symbols, wish)] = download.asked
    assert symbols == ["AAPL"]
    assert (wish["interval"], wish["prepost"], wish["auto_adjust"]) == ("5m", True, False)


@pytest.mark.parametrize("tz", [None, "America/New_York"])
async def test_a_daily_label_becomes_the_open_of_its_session(
    feed: YahooFeed, download: Download, tz: str | None
) -> None:
    download.table = shaped(days("2026-10-30", "2026-11-02", "2026-11-20", tz=tz), ["AAPL"])

    found = await feed.candles(AAPL, D1, datetime(2026, 10, 1, tzinfo=UTC), NOW)

    assert [t.isoformat() for t in found.index] == ["2026-10-30T13:30:00+00:00", "2026-11-02T14:30:00+00:00"]
    assert (download.asked[0][1]["start"], download.asked[0][1]["prepost"]) == (date(2026, 9, 30), False)


async def test_crypto_is_asked_for_in_dollars_and_its_day_is_utc(feed: YahooFeed, download: Download) -> None:
    download.table = shaped(days("2026-11-18", "2026-11-19", "2026-11-20", tz="UTC"), ["BTC-USD"], 90_000.5)

    found = await feed.candles(BTC, D1, ago(days=5), NOW)

    assert [t.isoformat() for t in found.index] == ["2026-11-18T00:00:00+00:00", "2026-11-19T00:00:00+00:00"]
    assert download.asked[0][0] == ["BTC-USD"]
    assert "USD, not USDT" in feed.limits


async def test_a_class_share_is_asked_for_with_a_dash(feed: YahooFeed, download: Download) -> None:
    download.table = shaped(days("2026-11-18"), ["BRK-B"])

    assert len(await feed.candles(BRK, D1, ago(days=5), NOW)) == 1
    assert download.asked[0][0] == ["BRK-B"]


async def test_rows_with_holes_are_left_out_and_counted(feed: YahooFeed, download: Download) -> None:
    table = shaped(minutes("2026-11-20 10:00", 5), ["AAPL"])
    table.iloc[1, :4] = np.nan
    table.loc[table.index[2], ("High", "AAPL")] = 1.0  # below its low
    table.iloc[-1] = np.nan
    download.table = table

    found = await feed.candles(AAPL, M1, ago(hours=2), NOW)

    assert [t.minute for t in found.index] == [0, 3]
    assert feed.dropped == 2


async def test_the_newest_row_with_its_odd_second_is_no_bar(feed: YahooFeed, download: Download) -> None:
    live = minutes("2026-11-20 10:30", 1) + pd.Timedelta(seconds=47)
    download.table = shaped(minutes("2026-11-20 10:28", 3).append(live), ["AAPL"])

    found = await feed.candles(AAPL, M1, ago(hours=2), NOW)

    assert [t.minute for t in found.index] == [28, 29, 30]


async def test_minutes_are_asked_for_a_week_at_a_time(feed: YahooFeed, download: Download) -> None:
    await feed.candles(AAPL, M1, ago(days=20), NOW)

    spans = [(wish["start"], wish["end"]) for _, wish in download.asked]
    assert [end - start for start, end in spans] == [timedelta(days=7), timedelta(days=7), timedelta(days=6)]
    assert (spans[0][0], spans[-1][1]) == (ago(days=20), NOW)


async def test_four_hours_are_made_from_hours(feed: YahooFeed, download: Download) -> None:
    index = minutes("2026-11-19 09:30", 7, 60).append(minutes("2026-11-20 09:30", 2, 60))
    download.table = shaped(index, ["AAPL"])

    found = await feed.candles(AAPL, H4, ago(days=3), NOW)

    assert download.asked[0][1]["interval"] == "1h"
    assert [t.strftime("%d %H:%M") for t in found.index] == ["19 14:30", "19 18:30"]
    assert found["volume"].tolist() == [4000, 3000]


@pytest.mark.parametrize(("tf", "far"), [(M1, 30), (M5, 60), (H1, 730), (H4, 730)])
async def test_beyond_its_limits_it_says_what_can_be_had(
    feed: YahooFeed, download: Download, tf: Timeframe, far: int
) -> None:
    with pytest.raises(FeedLimit, match=f"only for the last {far} days: ask from {ago(days=far).date()} on"):
        await feed.candles(AAPL, tf, ago(days=far + 1), NOW)

    assert download.asked == []
    assert feed.reach(tf) is not None
    assert feed.reach(D1) is None
    await feed.candles(AAPL, tf, NOW - feed.reach(tf), NOW)  # type: ignore[operator]


async def test_nothing_is_asked_about_the_future(feed: YahooFeed, download: Download) -> None:
    assert (await feed.candles(AAPL, D1, NOW, NOW + timedelta(days=3))).empty
    assert download.asked == []


NO_NETWORK = "['AAPL']: DNSError('Failed to perform, curl: (6) Could not resolve host: query2.finance.yahoo.com.')"
TOO_MANY = "['AAPL']: YFRateLimitError('Too Many Requests. Rate limited. Try after a while.')"
NOBODY = "['AAPL']: possibly delisted; no timezone found"
NO_BARS = "['AAPL']: possibly delisted; no price data found  (1m 2026-11-14 -> 2026-11-15)"
TOO_OLD = "['AAPL']: 1m data not available for startTime=1. The requested range must be within the last 30 days."


@pytest.mark.parametrize(
    ("said", "error", "words"),
    [
        (NO_NETWORK, FeedUnavailable, "Yahoo cannot be reached: is there a network?"),
        (TOO_MANY, FeedUnavailable, "too many requests"),
        (NOBODY, UnknownName, "Yahoo knows no symbol AAPL"),
        (TOO_OLD, FeedLimit, "that far back"),
        ("something quite new", FeedUnavailable, "Yahoo failed: something quite new"),
    ],
)
async def test_what_yfinance_logs_becomes_our_sentence(
    feed: YahooFeed, download: Download, said: str, error: type[Exception], words: str, capsys: Any
) -> None:
    download.said = said

    with pytest.raises(error, match=words.replace("?", r"\?")):
        await feed.candles(AAPL, D1, ago(days=5), NOW)

    assert not logging.getLogger("yfinance").propagate
    assert capsys.readouterr().err == ""


async def test_a_span_without_bars_is_empty(feed: YahooFeed, download: Download) -> None:
    download.said = NO_BARS
    assert (await feed.candles(AAPL, M1, ago(days=6), ago(days=5))).empty

    download.said, download.table = "", None
    assert (await feed.candles(AAPL, M1, ago(days=6), ago(days=5))).empty


async def test_whatever_it_raises_is_one_sentence(feed: YahooFeed, download: Download) -> None:
    download.error = KeyError("chart")
    with pytest.raises(FeedUnavailable, match="Yahoo failed: KeyError"):
        await feed.candles(AAPL, D1, ago(days=5), NOW)

    download.error = ConnectionError("reset")
    with pytest.raises(FeedUnavailable, match="network"):
        await feed.candles(AAPL, D1, ago(days=5), NOW)


async def test_a_download_that_hangs_is_given_up(settings: Settings) -> None:
    slow = Download(wait_s=0.5)
    feed = YahooFeed(settings.model_copy(update={"fetch_timeout_s": 0.05}), ManualClock(NOW), download=slow)

    with pytest.raises(FeedUnavailable, match="no answer within"):
        await feed.candles(AAPL, D1, ago(days=5), NOW)
    await feed.close()
    with pytest.raises(FeedUnavailable, match="closed"):
        await feed.candles(AAPL, D1, ago(days=5), NOW)


async def test_it_never_blocks_the_loop(feed: YahooFeed, download: Download) -> None:
    threads: list[str] = []

    def watched(symbols: list[str], **wish: Any) -> Any:
        threads.append(threading.current_thread().name)
        return download(symbols, **wish)

    feed._given = watched

    await feed.candles(AAPL, D1, ago(days=5), NOW)

    assert threads[0].startswith("yahoo")


async def test_quotes_of_many_symbols_are_one_download(feed: YahooFeed, download: Download) -> None:
    table = shaped(minutes("2026-11-20 10:00", 3), ["AAPL", "BTC-USD", "NOPE"])
    table.loc[:, table.columns.get_level_values("Ticker") == "NOPE"] = np.nan
    table.loc[table.index[-1], table.columns.get_level_values("Ticker") == "AAPL"] = np.nan  # another's minute
    daily = shaped(days("2026-11-18", "2026-11-19", "2026-11-20"), ["AAPL", "BTC-USD"], 240.0)
    feed._given = lambda symbols, **wish: download(symbols, **wish) if wish["interval"] == "1m" else daily
    download.table = table

    quotes = await feed.quotes([AAPL, BTC, instrument("NOPE")])
    await feed.quotes([AAPL, BTC, instrument("NOPE")])

    assert len(download.asked) == 2
    assert sorted(quotes) == ["AAPL", "BTCUSDT"]
    apple = quotes["AAPL"]
    assert (apple.last, apple.previous_close, apple.delayed_s) == (Decimal("250.42"), Decimal("240.0"), 900)
    assert apple.time == datetime(2026, 11, 20, 15, 1, tzinfo=UTC)
    assert apple.minute is not None
    assert (apple.minute.time, apple.volume) == (apple.time, 2000.0)
    assert quotes["BTCUSDT"].delayed_s == 0


async def test_quotes_without_a_network_are_an_error_of_nobody_none(feed: YahooFeed, download: Download) -> None:
    download.said = NO_NETWORK
    with pytest.raises(FeedUnavailable, match="network"):
        await feed.quotes([AAPL])

    download.said = NOBODY
    assert await feed.quotes([AAPL]) == {}
    assert await feed.quotes([]) == {}


def test_importing_the_feed_does_not_load_yfinance() -> None:
    code = "import feeds.yahoo, sys; sys.exit('yfinance' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
