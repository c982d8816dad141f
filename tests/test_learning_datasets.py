"""learning/datasets.py: what the gate lets in, what it leaves out, and in which words."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from domain.candles import expected, frame, timeframe
from domain.clock import ManualClock
from domain.errors import DataError
from domain.instruments import instrument
from feeds.files import FilesFeed
from learning.datasets import FEWEST, gathered, load, require
from learning.labels import Label
from learning.planted import planted
from learning.windows import flatten
from settings import Settings

HEADER = "timestamp,open,high,low,close,volume"


@pytest.fixture
def files(settings: Settings, clock: ManualClock) -> FilesFeed:
    settings.files_dir.mkdir(parents=True)
    return FilesFeed(settings, clock)


def days(count: int, price: float = 100.0, start: str = "2020-01-01") -> pd.DataFrame:
    began = pd.Timestamp(start, tz="UTC").to_pydatetime()
    times = expected(began, datetime(2026, 1, 1, tzinfo=UTC), timeframe("1d"), instrument("AAPL"))[:count]
    close = price * np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.01, count)))
    prices = {"open": close, "high": close * 1.01, "low": close * 0.99, "close": close}
    return frame(times, {**prices, "volume": np.full(count, 1e6)})


def put(files: FilesFeed, name: str, candles: pd.DataFrame, cut: str = "%Y-%m-%dT%H:%M:%SZ") -> None:
    told = candles.rename_axis("timestamp").reset_index()
    told["timestamp"] = told["timestamp"].dt.strftime(cut)
    told.to_csv(files.folder / name, index=False)


def test_a_folder_of_files_is_learned_from_in_its_commonest_timeframe(files: FilesFeed) -> None:
    hours = planted("noise", symbols=2, bars=100).frames
    for symbol, candles in hours.items():
        put(files, f"{symbol}_1h.csv", candles)
    put(files, "AAPL_1d.csv", days(30), cut="%Y-%m-%d")
    found = load(files)

    assert found.timeframe == "1h"
    assert sorted(found.frames) == sorted(hours)
    assert "AAPL: no 1h candles, nor finer ones to make them from" in found.said
    pd.testing.assert_frame_equal(found.frames["PLANT000USDT"], hours["PLANT000USDT"])
    assert sorted(load(files, "1d").frames) == ["AAPL", "PLANT000USDT", "PLANT001USDT"]  # days are made of hours
    assert list(load(files, "1h", ["plant001usdt"]).frames) == ["PLANT001USDT"]


def test_a_file_with_a_repeated_or_broken_row_is_not_used_and_the_others_are(files: FilesFeed) -> None:
    good = planted("noise", symbols=1, bars=50).frames["PLANT000USDT"]
    put(files, "BTCUSDT_1h.csv", good)
    put(files, "ETHUSDT_1h.csv", good.iloc[[0, 1, 1, 2]])
    found = load(files)

    assert list(found.frames) == ["BTCUSDT"]
    assert "ETHUSDT_1h.csv is not used: ETHUSDT_1h.csv, line 4: duplicate time" in found.said


def test_an_empty_folder_says_what_belongs_there(files: FilesFeed) -> None:
    with pytest.raises(
        DataError, match=r"no candles to learn from in data/x: put CSV .*AAPL_5m.csv.* time, open, high"
    ):
        load(files, looked="data/x")
    put(files, "AAPL_1d.csv", days(30), cut="%Y-%m-%d")
    with pytest.raises(DataError, match="no 5m candles of AAPL in the folder: there are AAPL 1d"):
        load(files, "5m")


def test_rows_that_break_a_rule_are_left_out_and_counted() -> None:
    raw = planted("noise", symbols=1, bars=120).frames["PLANT000USDT"]
    torn = raw.drop(raw.index[[40, 41, 42, 80]])
    broken = pd.concat([torn.iloc[:20], torn.iloc[[19]], torn.iloc[20:]])
    broken.iloc[60, broken.columns.get_loc("high")] = 1.0
    broken.iloc[70, broken.columns.get_loc("volume")] = 0.0
    now = (raw.index[-1] + pd.Timedelta("30min")).to_pydatetime()
    found = gathered({"BTCUSDT": broken}, "1h", now)
    [quality] = found.quality

    assert dict(quality.refused) == {"duplicate time": 1, "forming bar": 1, "high below low": 1}
    assert (quality.rows, quality.missing, quality.longest, quality.silent) == (114, 5, 3, 1)
    assert quality.said == (
        "BTCUSDT: 114 bars, 2020-01-01 to 2020-01-05; 5 missing between them (the longest gap 3): no window spans one; "
        "1 left out: duplicate time; 1 left out: forming bar; 1 left out: high below low; 1 without volume"
    )
    assert found.frames["BTCUSDT"].index.is_unique


def test_a_frame_that_is_wrong_as_a_whole_is_refused() -> None:
    raw = planted("noise", symbols=1, bars=20).frames["PLANT000USDT"]

    with pytest.raises(DataError, match="BTCUSDT: missing column: volume"):
        gathered({"BTCUSDT": raw.drop(columns="volume")}, "1h")
    with pytest.raises(DataError, match="BTCUSDT: wrong zone"):
        gathered({"BTCUSDT": raw.tz_localize(None)}, "1h")


def test_what_lies_before_an_unadjusted_split_is_left_out() -> None:
    candles = days(200)
    split = candles.copy()
    split.iloc[:80, :4] *= 7.0
    found = gathered({"AAPL": split}, "1d")
    [quality] = found.quality

    assert quality.early == 80
    assert quality.jumps[0].startswith(f"{candles.index[80]:%Y-%m-%d} opens at ")
    assert "as after a split 7:1: the 80 bars before are left out; adjust the file" in quality.said
    pd.testing.assert_frame_equal(found.frames["AAPL"], candles.iloc[80:])
    assert gathered({"AAPL": candles}, "1d").quality[0].jumps == ()


def test_a_crash_that_is_no_split_s_ratio_stays() -> None:
    candles = days(200)
    candles.iloc[100:, :4] *= 0.74
    candles.iloc[150:, :4] *= 0.44

    assert gathered({"AAPL": candles}, "1d").quality[0].rows == 200


def test_thin_bars_outside_regular_hours_are_left_out() -> None:
    at = [pd.Timestamp(f"2026-03-05 {t}", tz="America/New_York").value for t in ("09:25", "09:30", "09:35", "16:00")]
    found = gathered({"AAPL": frame(at, dict.fromkeys(("open", "high", "low", "close", "volume"), np.ones(4)))}, "5m")

    assert (found.quality[0].rows, found.quality[0].extended, found.quality[0].missing) == (2, 2, 0)
    assert "2 left out: outside regular hours" in found.said


def test_too_little_is_refused_with_what_there_is_and_what_it_takes() -> None:
    label = Label("direction", horizon=5)
    frames = planted("noise", symbols=2, bars=300).frames
    data = gathered(frames, "1h")
    needed = rf"PLANT000USDT 300 bars; PLANT001USDT 300 bars of 1h give 472 windows, and {FEWEST} are needed"

    with pytest.raises(DataError, match=needed + r".*takes 564 bars: 50 to warm up, 10 to look at, 5 until"):
        require(data, label, 10)
    require(data, label, 10, fewest=472)
    assert len(flatten(data.frames, label, 10, "1h")) == 472
    with pytest.raises(DataError, match="none of 1h give 0 windows"):
        require(gathered({}, "1h"), label, 10)


def test_the_stamp_tells_one_set_of_candles_from_another() -> None:
    frames = planted("noise", symbols=2, bars=100).frames
    stamp = gathered(frames, "1h").stamp()
    changed = {symbol: candles.copy() for symbol, candles in frames.items()}
    changed["PLANT001USDT"].iloc[-1, 4] += 1

    assert json.loads(json.dumps(stamp)) == stamp
    assert (stamp["n_rows"], stamp["start"], stamp["symbols"]) == (200, "2020-01-01T00:00:00+00:00", sorted(frames))
    assert stamp["source_sha256"] == gathered(frames, "1h").stamp()["source_sha256"]
    assert stamp["source_sha256"] != gathered(changed, "1h").stamp()["source_sha256"]
