"""domain/candles.py: what a candle frame is, what is refused in one, and how bars are made coarser."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as hs

from domain import candles as cd
from domain.errors import DataError, UnknownName
from domain.instruments import instrument

AAPL, BTC = instrument("AAPL"), instrument("BTCUSDT")
M1, M5, H1, H4, D1 = (cd.timeframe(name) for name in ("1m", "5m", "1h", "4h", "1d"))


def minutes(start: str, count: int, zone: str = "America/New_York") -> pd.DataFrame:
    times = pd.date_range(pd.Timestamp(start, tz=zone), periods=count, freq="min").as_unit("ns").asi8
    base = 100 + np.arange(count) / 10
    return cd.frame(
        times,
        {
            "open": base,
            "high": base + 1,
            "low": base - 1,
            "close": base + 0.5,
            "volume": np.full(count, 10.0),
        },
    )


def local(candles: pd.DataFrame) -> list[str]:
    return list(candles.index.tz_convert("America/New_York").strftime("%m-%d %H:%M"))


def spoil(column: str, row: int, value: float) -> pd.DataFrame:
    candles = minutes("2026-11-20 09:30", 10)
    candles.iloc[row, candles.columns.get_loc(column)] = value
    return candles


def test_a_good_frame_passes_and_keeps_its_numbers() -> None:
    candles = minutes("2026-11-20 09:30", 10)

    checked = cd.check(candles, AAPL, M1, datetime(2026, 11, 20, 18, tzinfo=UTC))

    pd.testing.assert_frame_equal(checked, candles)


@pytest.mark.parametrize(
    ("rule", "candles"),
    [
        ("NaN", spoil("close", 3, np.nan)),
        ("infinite", spoil("volume", 3, np.inf)),
        ("not above zero", spoil("low", 3, 0.0)),
        ("not above zero", spoil("open", 3, -1.0)),
        ("negative volume", spoil("volume", 3, -1.0)),
        ("high below low", spoil("high", 3, 90.0)),
        ("high below open or close", spoil("close", 3, 102.0)),
        ("low above open or close", spoil("open", 3, 99.0)),
    ],
)
def test_a_bad_row_is_named_with_its_rule(rule: str, candles: pd.DataFrame) -> None:
    with pytest.raises(DataError, match=rf"AAPL: row 3: {rule}"):
        cd.check(candles, AAPL)


def test_a_duplicate_time_is_named() -> None:
    candles = minutes("2026-11-20 09:30", 4)
    twice = candles.iloc[[0, 1, 1, 2]]

    assert [(f.row, f.rule) for f in cd.faults(twice)] == [(2, "duplicate time")]


def test_a_row_out_of_order_is_named() -> None:
    candles = minutes("2026-11-20 09:30", 4)

    assert [(f.row, f.rule) for f in cd.faults(candles.iloc[[0, 2, 1, 3]])] == [(2, "out of order")]


@pytest.mark.parametrize("zone", [None, "America/New_York"])
def test_a_frame_that_is_not_in_utc_is_refused_whole(zone: str | None) -> None:
    candles = minutes("2026-11-20 09:30", 4)
    candles.index = candles.index.tz_convert(zone) if zone else candles.index.tz_localize(None)

    [fault] = cd.faults(candles)

    assert (fault.row, fault.rule) == (-1, "wrong zone")


def test_bars_shifted_by_a_wrong_zone_fall_off_the_session() -> None:
    shifted = minutes("2026-11-20 02:00", 3)
    daily = cd.frame(
        [pd.Timestamp("2026-11-20", tz="UTC").value],
        {c: [5.0] for c in cd.COLUMNS},
    )

    assert {f.rule for f in cd.faults(shifted, AAPL, M1)} == {"outside the session"}
    assert [f.rule for f in cd.faults(daily, AAPL, D1)] == ["outside the session"]


def test_a_bar_between_grid_lines_is_refused() -> None:
    odd = minutes("2026-11-20 09:32", 1)

    assert [f.rule for f in cd.faults(odd, AAPL, M5)] == ["off the grid"]


def test_the_forming_bar_is_never_a_row() -> None:
    candles = minutes("2026-11-20 09:30", 3)
    now = datetime(2026, 11, 20, 14, 32, 30, tzinfo=UTC)

    good, faults = cd.sift(candles, AAPL, M1, now)

    assert [f.rule for f in faults] == ["forming bar"]
    assert local(good) == ["11-20 09:30", "11-20 09:31"]


def test_missing_columns_and_text_are_refused_whole() -> None:
    candles = minutes("2026-11-20 09:30", 2)

    assert [f.rule for f in cd.faults(candles.drop(columns="low"))] == ["missing column"]
    assert [f.rule for f in cd.faults(candles.astype({"close": str}))] == ["not a number"]


def test_an_empty_frame_is_good() -> None:
    assert cd.check(cd.empty(), AAPL, M1, datetime(2026, 1, 1, tzinfo=UTC)).empty


def test_hours_and_four_hours_of_stocks_start_at_half_past_nine() -> None:
    day = minutes("2026-11-20 09:30", 390)

    assert local(cd.resample(day, H4, AAPL)) == ["11-20 09:30", "11-20 13:30"]
    assert local(cd.resample(day, H1, AAPL))[:2] == ["11-20 09:30", "11-20 10:30"]
    assert local(cd.resample(day, H1, AAPL))[-1] == "11-20 15:30"


def test_no_bar_mixes_regular_and_extended_hours() -> None:
    around = minutes("2026-11-20 08:00", 120)

    assert local(cd.resample(around, H4, AAPL)) == ["11-20 08:00", "11-20 09:30"]


def test_a_day_is_its_regular_session_and_starts_at_its_open() -> None:
    day = minutes("2026-11-20 08:00", 600)

    [daily] = cd.resample(day, D1, AAPL).itertuples()

    assert daily.Index == pd.Timestamp("2026-11-20 09:30", tz="America/New_York")
    assert daily.open == day["open"].iloc[90]
    assert daily.close == day["close"].iloc[90 + 389]
    assert daily.volume == 3900


def test_a_half_day_ends_at_one() -> None:
    day = minutes("2026-11-27 09:30", 300)

    daily = cd.resample(day, D1, AAPL)

    assert daily["volume"].iloc[0] == 2100
    assert cd.ends(cd.nanos(daily), D1, AAPL)[0] == pd.Timestamp("2026-11-27 13:00", tz="America/New_York").value


def test_crypto_days_are_utc_days() -> None:
    weekend = minutes("2026-11-21 00:00", 2880, zone="UTC")

    daily = cd.resample(weekend, D1, BTC)

    assert list(daily.index.strftime("%m-%d %H:%M")) == ["11-21 00:00", "11-22 00:00"]


def test_a_bucket_that_is_still_forming_is_left_out() -> None:
    some = minutes("2026-11-20 09:30", 7)
    until = datetime(2026, 11, 20, 14, 37, tzinfo=UTC)

    assert local(cd.resample(some, M5, AAPL, until)) == ["11-20 09:30"]
    assert local(cd.resample(some, M5, AAPL)) == ["11-20 09:30", "11-20 09:35"]


@given(
    picked=hs.lists(hs.integers(0, 389), min_size=1, max_size=80, unique=True).map(sorted),
    name=hs.sampled_from(["5m", "15m", "1h", "4h", "1d"]),
)
def test_resampling_agrees_with_a_plain_group_by(picked: list[int], name: str) -> None:
    day = minutes("2026-11-20 09:30", 390).iloc[picked]
    tf = cd.timeframe(name)

    ours = cd.resample(day, tf, AAPL)

    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    theirs = day.resample("24h" if tf.daily else tf.duration, origin=pd.Timestamp("2026-11-20 14:30", tz="UTC"))
    pd.testing.assert_frame_equal(ours, theirs.agg(how).dropna(), check_freq=False)


@given(hs.sampled_from(["5m", "15m", "1h", "4h"]), hs.sampled_from(["2026-03-09", "2026-11-02", "2026-11-27"]))
def test_resampling_twice_is_resampling_once(name: str, day: str) -> None:
    one = minutes(f"{day} 04:00", 700)
    tf = cd.timeframe(name)

    direct = cd.resample(one, tf, AAPL)

    pd.testing.assert_frame_equal(cd.resample(cd.resample(one, M5, AAPL), tf, AAPL), direct)


def test_clock_changes_do_not_move_the_open() -> None:
    for day in ("2026-03-06", "2026-03-09", "2026-10-30", "2026-11-02"):
        assert local(cd.resample(minutes(f"{day} 09:30", 390), H4, AAPL))[0].endswith("09:30")


def test_expected_bars_skip_weekends_and_holidays() -> None:
    week = cd.expected(datetime(2026, 11, 25, tzinfo=UTC), datetime(2026, 11, 30, tzinfo=UTC), H4, AAPL)

    assert local(cd.frame(week, dict.fromkeys(cd.COLUMNS, np.ones(len(week))))) == [
        "11-25 09:30",
        "11-25 13:30",
        "11-27 09:30",
    ]


def test_a_date_without_a_time_is_a_new_york_session() -> None:
    times = cd.session_times(np.array(["2026-11-20", "2026-11-21"], dtype="datetime64[D]"), AAPL)

    assert times[0] == pd.Timestamp("2026-11-20 09:30", tz="America/New_York").value
    assert times[1] == -1


def test_an_unknown_timeframe_offers_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean '15m'"):
        cd.timeframe("15min")
