"""The user's own files: what is read, by which rules, and what is refused in which words."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from domain.candles import TIMEFRAMES, check, expected
from domain.clock import ManualClock
from domain.errors import DataError, UnknownName
from domain.instruments import instrument
from feeds import _own_file
from feeds import files as files_module
from feeds._own_file import Refusal
from feeds.files import FilesFeed
from settings import Settings

AAPL, BTC = instrument("AAPL"), instrument("BTCUSDT")
HEADER = "timestamp,open,high,low,close,volume"
DAYS = "2024-01-02,10,12,9,11,100\n2024-01-03,11,13,10,12,200\n"


@pytest.fixture
def feed(settings: Settings, clock: ManualClock) -> FilesFeed:
    settings.files_dir.mkdir(parents=True)
    return FilesFeed(settings, clock)


def put(feed: FilesFeed, name: str, rows: str, header: str = HEADER) -> Path:
    path = feed.folder / name
    path.write_text(f"{header}\n{rows}", encoding="utf-8")
    return path


def refusal(feed: FilesFeed) -> Refusal:
    [only] = feed.refused()
    return only


def bars(times: list[str], price: int = 10) -> str:
    return "".join(f"{t},{price},{price + 1},{price - 1},{price},5\n" for t in times)


def opens(feed: FilesFeed, symbol: str, tf: str) -> list[str]:
    found = feed.all_bars(instrument(symbol), TIMEFRAMES[tf])
    return [t.strftime("%m-%d %H:%M") for t in found.index]


def session_minutes(day: str, count: int, step: int = 5) -> list[str]:
    start = datetime.fromisoformat(f"{day} 09:30")
    return [(start + timedelta(minutes=step * n)).strftime("%Y-%m-%d %H:%M:%S") for n in range(count)]


def test_a_daily_file_is_read_by_its_name_with_bars_at_the_session_open(feed: FilesFeed) -> None:
    put(feed, "AAPL.csv", DAYS)

    [held] = feed.holdings()
    found = feed.all_bars(AAPL, TIMEFRAMES["1d"])

    assert (held.symbol, held.timeframe, held.file, held.rows) == ("AAPL", "1d", "AAPL.csv", 2)
    assert held.first == datetime(2024, 1, 2, 14, 30, tzinfo=UTC)
    assert found["close"].tolist() == [11, 12]
    assert feed.refused() == feed.notes() == []


@pytest.mark.parametrize(
    ("name", "symbol", "tf"),
    [
        ("AAPL_5m.csv", "AAPL", "5m"),
        ("aapl-5m.CSV", "AAPL", "5m"),
        ("SPY_5m_2025-05_2026-03.csv", "SPY", "5m"),
        ("BRK-B_5min.csv", "BRK-B", "5m"),
        ("BRK.B.csv", "BRK.B", "5m"),
        ("AAPL_5m_lean_20140605_20140609.csv", "AAPL", "5m"),
        ("my_own.csv", "MY", "5m"),
    ],
)
def test_symbol_and_timeframe_come_from_the_name(feed: FilesFeed, name: str, symbol: str, tf: str) -> None:
    put(feed, name, bars(session_minutes("2024-01-02", 70)))

    assert [(h.symbol, h.timeframe) for h in feed.holdings()] == [(symbol, tf)]


@pytest.mark.parametrize(
    "name", ["BTCUSDT_1d_2017-08-17_2026-03-03.csv", "BTCUSDT-1d-2024-01.csv", "btcusdt_daily.csv"]
)
def test_exchange_style_names_are_understood(feed: FilesFeed, name: str) -> None:
    put(feed, name, bars(["2024-01-06", "2024-01-07"]))

    assert [(h.symbol, h.timeframe, h.first.hour) for h in feed.holdings()] == [("BTCUSDT", "1d", 0)]


def test_a_symbol_column_may_hold_several_symbols(feed: FilesFeed) -> None:
    rows = "aapl,2024-01-02,1,1,1,1,1\nMSFT,2024-01-02,2,2,2,2,2\naapl,2024-01-03,3,3,3,3,3\n"
    put(feed, "all.csv", rows, "Ticker,Date,O,H,L,C,V")

    assert feed.symbols() == ["AAPL", "MSFT"]
    assert feed.all_bars(AAPL, TIMEFRAMES["1d"])["close"].tolist() == [1, 3]


@pytest.mark.parametrize(
    "header",
    [
        "Date,Open,High,Low,Close,Volume",
        "\ufeffDATETIME, o ,h,l,c,v",
        "1. Time,1. open,2. high,3. low,4. close,5. volume",
    ],
)
def test_headers_are_known_in_any_usual_spelling(feed: FilesFeed, header: str) -> None:
    put(feed, "AAPL.csv", DAYS, header)

    assert feed.all_bars(AAPL, TIMEFRAMES["1d"])["high"].tolist() == [12, 13]


def test_extra_columns_are_ignored_and_adjusted_closes_are_no_closes(feed: FilesFeed) -> None:
    rows = "2024-01-02,10,12,9,11,5.5,100,x\n2024-01-03,10,12,9,11,5.5,100,x\n"
    put(feed, "AAPL.csv", rows, "date,open,high,low,close,adj_close,volume,source")

    assert feed.all_bars(AAPL, TIMEFRAMES["1d"])["close"].tolist() == [11, 11]


@pytest.mark.parametrize(
    ("times", "first"),
    [
        (["2024-07-01T09:30:00-04:00", "2024-07-01T09:35:00-04:00"], "07-01 13:30"),
        (["2024-07-01T13:30:00Z", "2024-07-01 13:35:00 UTC"], "07-01 13:30"),
        (["2024-07-01 09:30", "2024-07-01 09:35"], "07-01 13:30"),
        (["2024/07/01 09:30:00", "2024/07/01 09:35:00"], "07-01 13:30"),
        (["1719840600", "1719840900"], "07-01 13:30"),
        (["1719840600000", "1719840900000"], "07-01 13:30"),
        (["1719840600000000", "1719840900000000"], "07-01 13:30"),
        (["1719840600000000000", "1719840900000000000"], "07-01 13:30"),
    ],
)
def test_times_are_read_by_the_rules(feed: FilesFeed, times: list[str], first: str) -> None:
    put(feed, "AAPL_5m.csv", bars(times))

    assert feed.refused() == []
    assert opens(feed, "AAPL", "5m")[0] == first


def test_naive_crypto_is_utc_and_naive_stocks_are_new_york(feed: FilesFeed) -> None:
    put(feed, "BTCUSDT.csv", bars(["2024-07-01 09:00", "2024-07-01 10:00", "2024-07-01 11:00"]))
    put(feed, "AAPL.csv", bars(session_minutes("2024-07-01", 70)))

    assert opens(feed, "BTCUSDT", "1h")[0] == "07-01 09:00"
    assert opens(feed, "AAPL", "5m")[0] == "07-01 13:30"


def test_midnights_on_every_row_of_a_daily_file_are_dates(feed: FilesFeed) -> None:
    put(feed, "AAPL.csv", bars(["2024-07-01 00:00:00", "2024-07-02 00:00:00"]))
    put(feed, "MSFT_1d.csv", bars(["2024-03-08 00:00:00-05:00", "2024-03-11 00:00:00-04:00"]))

    assert opens(feed, "AAPL", "1d") == ["07-01 13:30", "07-02 13:30"]
    assert opens(feed, "MSFT", "1d") == ["03-08 14:30", "03-11 13:30"]


@pytest.mark.parametrize(
    ("time", "rule"), [("2024-11-03 01:30:00", "ambiguous time"), ("2024-03-10 02:30:00", "time that never was")]
)
def test_times_the_clocks_skip_or_repeat_are_refused_by_row(feed: FilesFeed, time: str, rule: str) -> None:
    put(feed, "AAPL_5m.csv", bars([*session_minutes("2024-01-02", 70), time]))

    assert (refusal(feed).row, refusal(feed).rule) == (72, rule)


@pytest.mark.parametrize("tf", TIMEFRAMES)
def test_the_timeframe_is_inferred_from_the_usual_spacing(feed: FilesFeed, tf: str) -> None:
    span = datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 1, 31, tzinfo=UTC)
    for one in (AAPL, BTC):
        due = expected(*span, TIMEFRAMES[tf], one)
        times = [pd.Timestamp(t, tz="UTC").isoformat() for t in np.delete(due, [1, 2, 7])]
        put(feed, f"{one.symbol}.csv", bars(times))

    assert {h.timeframe for h in feed.holdings()} == {tf}


@pytest.mark.parametrize(("name", "step"), [("AAPL.csv", 2), ("AAPL.csv", 30), ("AAPL_30m.csv", 5), ("AAPL_1M.csv", 5)])
def test_timeframes_we_do_not_have_are_refused_with_the_list(feed: FilesFeed, name: str, step: int) -> None:
    put(feed, name, bars(session_minutes("2024-01-02", 13 if step == 30 else 78, step)))

    assert refusal(feed).rule == "unknown timeframe"
    assert "1m, 5m, 15m, 1h, 4h, 1d" in refusal(feed).message


def test_weekly_bars_are_refused(feed: FilesFeed) -> None:
    put(feed, "AAPL.csv", bars(["2024-01-08", "2024-01-16", "2024-01-22", "2024-01-29", "2024-02-05", "2024-02-12"]))

    assert refusal(feed).rule == "unknown timeframe"


def test_one_bar_alone_needs_its_timeframe_in_the_name(feed: FilesFeed) -> None:
    put(feed, "AAPL.csv", bars(["2024-01-08 09:30"]))
    put(feed, "MSFT_1d.csv", bars(["2024-01-08"]))

    assert refusal(feed).rule == "unknown timeframe"
    assert [h.symbol for h in feed.holdings()] == ["MSFT"]


def test_a_file_in_a_wrong_zone_is_refused(feed: FilesFeed) -> None:
    utc = [t for hour in range(14, 20) for t in (f"2024-01-03 {hour}:{m:02}" for m in range(0, 60, 5))]
    put(feed, "AAPL_5m.csv", bars(["2024-01-02 14:30", *utc]))

    assert refusal(feed).rule == "wrong zone"
    assert "add a Z" in refusal(feed).message


def test_a_file_that_breaks_off_on_a_morning_is_no_wrong_zone(feed: FilesFeed) -> None:
    """From the afternoon of one day to the next day before the open: few regular bars, and all that were due."""
    after = [f"2024-01-02 {hour:02}:{m:02}" for hour in range(15, 20) for m in range(0, 60, 5)]
    before = [f"2024-01-03 {hour:02}:{m:02}" for hour in range(4, 9) for m in range(0, 60, 5)]
    put(feed, "AAPL_5m.csv", bars([*after, *before]))

    assert feed.refused() == []


def test_whole_extended_hours_are_no_wrong_zone(feed: FilesFeed) -> None:
    day = [f"2024-01-02 {hour:02}:{m:02}" for hour in range(4, 20) for m in range(0, 60, 5)]
    put(feed, "AAPL_5m.csv", bars(day))

    assert feed.refused() == []
    assert len(feed.all_bars(AAPL, TIMEFRAMES["5m"])) == 192


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ("2024-01-04,10,9,11,10,5", "high below low"),
        ("2024-01-04,10,12,9,,5", "NaN"),
        ("2024-01-04,10,12,9,inf,5", "infinite"),
        ("2024-01-04,10,12,9,11,-5", "negative volume"),
        ("2024-01-04,0,12,0,11,5", "not above zero"),
        ("2024-01-04,ten,12,9,11,5", "not a number"),
        ('2024-01-04,"1,000",1200,900,1100,5', "not a number"),
        ("2024-01-03,10,12,9,11,5", "duplicate time"),
        ("2023-12-29,10,12,9,11,5", "out of order"),
        ("2024-01-06,10,12,9,11,5", "no session that day"),
        ("04/01/2024,10,12,9,11,5", "not a time"),
        ("2024-02-30,10,12,9,11,5", "not a time"),
        (",10,12,9,11,5", "no time"),
        ("2024-01-04,10,12,9,11", "wrong number of cells"),
        ("2024-01-04,10,12,9,11,5,6", "wrong number of cells"),
    ],
)
def test_a_bad_row_refuses_its_file_and_no_other(feed: FilesFeed, row: str, rule: str) -> None:
    put(feed, "AAPL.csv", f"{DAYS}\n\n{row}\n")
    put(feed, "MSFT.csv", DAYS)

    assert (refusal(feed).file, refusal(feed).row, refusal(feed).rule) == ("AAPL.csv", 6, rule)
    assert refusal(feed).message.startswith(f"AAPL.csv, line 6: {rule}")
    assert feed.symbols() == ["MSFT"]
    with pytest.raises(DataError, match="line 6"):
        feed.all_bars(AAPL, TIMEFRAMES["1d"])


def test_a_bad_row_of_one_symbol_among_many_keeps_its_own_line(feed: FilesFeed) -> None:
    rows = "AAPL,2024-01-02,1,1,1,1,1\nMSFT,2024-01-02,2,2,2,2,2\nMSFT,2024-01-03,2,1,2,2,2\n"
    put(feed, "all.csv", rows, f"symbol,{HEADER}")

    assert refusal(feed).row == 4


def test_a_bad_row_in_parquet_is_named_by_its_number(feed: FilesFeed) -> None:
    bad = {"open": [1.0, 1], "high": [1.0, 1], "low": [1.0, 2], "close": [1.0, 1], "volume": [1, 1]}
    table = pd.DataFrame({"date": pd.to_datetime(["2024-01-02", "2024-01-03"]), **bad})
    table.to_parquet(feed.folder / "AAPL_1d.parquet")

    assert (refusal(feed).row, refusal(feed).message.split(":")[0]) == (2, "AAPL_1d.parquet, row 2")


def test_parquet_may_keep_its_times_in_the_index(feed: FilesFeed) -> None:
    index = pd.to_datetime(["2024-01-02 14:30", "2024-01-03 14:30"], utc=True)
    pd.DataFrame(dict.fromkeys(["Open", "High", "Low", "Close", "Volume"], 1.0), index=index).to_parquet(
        feed.folder / "AAPL.parquet"
    )

    assert opens(feed, "AAPL", "1d") == ["01-02 14:30", "01-03 14:30"]


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "empty file"),
        (b"timestamp,open,high,low,close,volume\n", "empty file"),
        (b"\x89PNG\r\n\0\0\0", "not a text file"),
        ("timestamp,open\n2024-01-02,é\n".encode("latin-1"), "missing column"),
        ("timestamp,open,high,low,close,volume\n2024-01-02,1,1,1,1,é\n".encode("latin-1"), "not UTF-8"),
        (b"timestamp,open,high,low,close\n2024-01-02,1,1,1,1\n", "missing column"),
        (b"timestamp,open,high,low,close,volume,vol\n2024-01-02,1,1,1,1,1,1\n", "two columns"),
    ],
)
def test_a_file_that_is_no_table_of_candles_is_refused(feed: FilesFeed, content: bytes, rule: str) -> None:
    (feed.folder / "AAPL.csv").write_bytes(content)

    assert refusal(feed).rule == rule


def test_a_broken_parquet_a_link_out_a_pipe_and_a_huge_file_are_refused(
    feed: FilesFeed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (feed.folder / "A.parquet").write_bytes(b"PAR1 and nothing")
    secret = tmp_path / "secret.csv"
    secret.write_text(f"{HEADER}\n{DAYS}")
    (feed.folder / "B.csv").symlink_to(secret)
    (feed.folder / "C.csv").symlink_to(feed.folder / "C.csv")
    os.mkfifo(feed.folder / "D.csv")
    put(feed, "E_1d.csv", DAYS * 50)
    put(feed, "F.csv", DAYS)
    (feed.folder / "G.csv").mkdir()
    monkeypatch.setattr(_own_file, "MOST_BYTES", 1000)

    assert {r.file: r.rule for r in feed.refused()} == {
        "A.parquet": "not Parquet",
        "B.csv": "outside the folder",
        "C.csv": "cannot be opened",
        "D.csv": "not a file",
        "E_1d.csv": "too large",
    }
    assert feed.symbols() == ["F"]


def test_a_file_that_may_not_be_read_is_refused(feed: FilesFeed, monkeypatch: pytest.MonkeyPatch) -> None:
    put(feed, "AAPL.csv", DAYS)

    def denied(self: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", denied)

    assert (refusal(feed).rule, refusal(feed).row) == ("cannot be opened", 0)


def test_a_file_is_read_again_only_when_it_changed(feed: FilesFeed, monkeypatch: pytest.MonkeyPatch) -> None:
    path = put(feed, "AAPL.csv", DAYS)
    feed.holdings()
    reads: list[str] = []
    really = files_module.read
    monkeypatch.setattr(files_module, "read", lambda *a: reads.append(a[0].name) or really(*a))

    feed.holdings()
    feed.all_bars(AAPL, TIMEFRAMES["1d"])
    assert reads == []

    put(feed, "AAPL.csv", DAYS + "2024-01-04,1,1,1,1,1\n")
    os.utime(path, ns=(1, 1))
    assert len(feed.all_bars(AAPL, TIMEFRAMES["1d"])) == 3
    assert reads == ["AAPL.csv"]

    path.unlink()
    with pytest.raises(UnknownName):
        feed.all_bars(AAPL, TIMEFRAMES["1d"])


def test_asking_for_one_symbol_reads_only_its_files(feed: FilesFeed, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AAPL.csv", "MSFT.csv", "TSLA_1d.csv"):
        put(feed, name, DAYS)
    reads: list[str] = []
    really = files_module.read
    monkeypatch.setattr(files_module, "read", lambda *a: reads.append(a[0].name) or really(*a))

    feed.all_bars(AAPL, TIMEFRAMES["1d"])

    assert reads == ["AAPL.csv"]


def test_of_two_files_with_the_same_bars_the_first_name_wins_and_this_is_said(feed: FilesFeed) -> None:
    put(feed, "AAPL_a.csv", DAYS)
    put(feed, "AAPL_b.csv", "2024-01-03,50,50,50,50,5\n2024-01-04,60,60,60,60,5\n")

    assert feed.all_bars(AAPL, TIMEFRAMES["1d"])["close"].tolist() == [11, 12, 60]
    [note] = feed.notes()
    assert note == "AAPL_a.csv and AAPL_b.csv share 1 bars of AAPL 1d, 1 of them differ: those of AAPL_a.csv are used"


def test_a_file_written_newest_first_is_turned_round(feed: FilesFeed) -> None:
    put(feed, "AAPL.csv", "2024-01-04,3,3,3,3,3\n2024-01-03,2,2,2,2,2\n2024-01-02,1,1,1,1,1\n")

    assert feed.all_bars(AAPL, TIMEFRAMES["1d"])["close"].tolist() == [1, 2, 3]


def test_coarser_bars_are_made_from_the_finest_file_and_never_finer_ones(feed: FilesFeed) -> None:
    put(feed, "AAPL_5m.csv", bars(session_minutes("2024-01-02", 78)) + bars(session_minutes("2024-01-03", 40), 20))

    first = [f"01-02 {hour}:30" for hour in range(14, 21)]
    assert opens(feed, "AAPL", "1h") == [*first, "01-03 14:30", "01-03 15:30", "01-03 16:30"]
    assert opens(feed, "AAPL", "1d") == ["01-02 14:30"]
    assert feed.all_bars(AAPL, TIMEFRAMES["1d"])["volume"].tolist() == [78 * 5]
    assert opens(feed, "AAPL", "1m") == []
    assert feed.holds(AAPL, TIMEFRAMES["4h"])
    assert not feed.holds(AAPL, TIMEFRAMES["1m"])


def test_a_daily_file_gives_no_intraday_bars(feed: FilesFeed) -> None:
    put(feed, "AAPL.csv", DAYS)

    assert opens(feed, "AAPL", "1h") == []


async def test_bars_that_have_not_closed_yet_are_left_out_until_they_have(feed: FilesFeed, clock: ManualClock) -> None:
    put(feed, "AAPL.csv", bars(["2026-11-18", "2026-11-19", "2026-11-20"]))
    ask = AAPL, TIMEFRAMES["1d"], datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)

    assert len(await feed.candles(*ask)) == 2
    assert feed.notes() == ["AAPL 1d: 1 bars have not closed yet and are left out"]

    clock.advance(hours=6)
    assert len(await feed.candles(*ask)) == 3
    assert feed.notes() == []


async def test_a_quote_is_the_last_close_with_its_own_time(feed: FilesFeed) -> None:
    put(feed, "AAPL.csv", DAYS)

    quotes = await feed.quotes([AAPL, BTC])

    assert list(quotes) == ["AAPL"]
    assert quotes["AAPL"].time == datetime(2024, 1, 3, 21, 0, tzinfo=UTC)
    assert (quotes["AAPL"].last, quotes["AAPL"].previous_close) == (Decimal("12.0"), Decimal("11.0"))


def test_a_doubtful_name_is_remarked_on(feed: FilesFeed) -> None:
    put(feed, "AAPL_1m.csv", bars(session_minutes("2024-01-02", 78, 5)))

    assert [h.timeframe for h in feed.holdings()] == ["1m"]
    assert feed.notes() == ["AAPL_1m.csv: its name says 1m, most of its bars are 5m apart"]


def test_an_unknown_symbol_is_answered_with_the_nearest(feed: FilesFeed) -> None:
    put(feed, "AAPL.csv", DAYS)

    with pytest.raises(UnknownName, match="Did you mean 'AAPL'"):
        feed.all_bars(instrument("AAPLE"), TIMEFRAMES["1d"])


def test_a_missing_folder_is_an_empty_one(settings: Settings, clock: ManualClock) -> None:
    feed = FilesFeed(settings, clock)

    assert feed.holdings() == feed.refused() == feed.notes() == []


def test_the_time_rules_are_told() -> None:
    assert FilesFeed.time_rules.startswith("- a time with an offset")


@pytest.mark.parametrize(
    ("folder", "held", "refused"),
    [("equities_daily", 14, 0), ("equities_intraday", 14, 0), ("crypto", 2, 1), ("patterns", 1, 0)],
)
def test_real_files_load(feed: FilesFeed, shared: Path, folder: str, held: int, refused: int) -> None:
    for path in (shared / folder).iterdir():
        shutil.copy(path, feed.folder)

    assert len(feed.holdings()) == held
    assert [r.rule for r in feed.refused()] == ["missing column"] * refused
    for line in feed.holdings():
        one, tf = instrument(line.symbol), TIMEFRAMES[line.timeframe]
        check(feed.all_bars(one, tf), one, tf)


def test_apple_closed_at_250_42_on_the_last_day_of_2024(feed: FilesFeed, shared: Path) -> None:
    shutil.copy(shared / "equities_daily" / "AAPL.csv", feed.folder)
    found = feed.all_bars(AAPL, TIMEFRAMES["1d"])
    [close] = found["close"][found.index.date == date(2024, 12, 31)]

    assert close == 250.419998


@pytest.mark.parametrize(
    ("name", "rows", "header"),
    [
        ("AAPL.csv", "2024-01-02,10,12,9,11,100,simulated\n", f"{HEADER},source"),
        ("AAPL.csv", "2024-01-02,10,12,9,11,100,Simulated market\n", f"{HEADER},source"),
        ("AAPL_1d_SIMULATED.csv", DAYS, HEADER),
    ],
)
def test_simulated_prices_cannot_come_back_as_somebodys_own(feed: FilesFeed, name: str, rows: str, header: str) -> None:
    """The CSV that the chart hands out says what it is; put into the folder it must not become real."""
    put(feed, name, rows, header)

    assert refusal(feed).rule == "simulated prices"
    assert not feed.holds(AAPL)


def test_another_source_column_is_no_concern(feed: FilesFeed) -> None:
    put(feed, "AAPL.csv", "2024-01-02,10,12,9,11,100,my broker\n", f"{HEADER},source")

    assert feed.holds(AAPL)
