"""Indicators are TA-Lib's to the bit, agree with a reference sheet, and never look ahead."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from indicators import (
    CATALOGUE,
    adx,
    atr,
    bollinger,
    ema,
    indicator,
    long_tail,
    macd,
    obv,
    rsi,
    sma,
    stochastic,
    vwap,
)

ROOT = Path(__file__).parents[1]


def walk(rows: int, seed: int = 0, freq: str = "15min") -> pd.DataFrame:
    chance = np.random.default_rng(seed)
    close = 100 + np.cumsum(chance.normal(0, 0.4, rows))
    opened = close + chance.normal(0, 0.3, rows)
    high = np.maximum(opened, close) + np.abs(chance.normal(0, 0.2, rows))
    low = np.minimum(opened, close) - np.abs(chance.normal(0, 0.2, rows))
    volume = chance.integers(1, 1000, rows).astype(float)
    index = pd.date_range("2024-03-08 12:00", periods=rows, freq=freq, tz="UTC", name="time")
    table = {"open": opened, "high": high, "low": low, "close": close, "volume": volume}
    return pd.DataFrame(table, index=index)


def closes(*prices: float) -> pd.DataFrame:
    index = pd.date_range("2024-01-01", periods=len(prices), freq="D", tz="UTC", name="time")
    close = np.array(prices, dtype=float)
    return pd.DataFrame({"open": close, "high": close + 1, "low": close - 1, "close": close, "volume": 10.0}, index)


def bare(candles: pd.DataFrame) -> dict[str, list[np.ndarray]]:
    """TA-Lib's own answers, line by line in our order of columns."""
    high, low, close, volume = (candles[name].to_numpy().copy() for name in ("high", "low", "close", "volume"))
    answers = {
        "sma": talib.SMA(close, 20),
        "ema": talib.EMA(close, 20),
        "rsi": talib.RSI(close, 14),
        "macd": talib.MACD(close, 12, 26, 9),
        "bollinger": talib.BBANDS(close, 20, 2.0, 2.0),
        "atr": talib.ATR(high, low, close, 14),
        "adx": [f(high, low, close, 14) for f in (talib.ADX, talib.PLUS_DI, talib.MINUS_DI)],
        "stochastic": talib.STOCH(high, low, close, 14, 3, 0, 3, 0),
        "obv": talib.OBV(close, volume),
    }
    return {name: list(found) if isinstance(found, tuple | list) else [found] for name, found in answers.items()}


def lines(result: pd.Series | pd.DataFrame) -> list[np.ndarray]:
    table = result.to_frame() if isinstance(result, pd.Series) else result
    return [table[name].to_numpy() for name in table.columns]


@pytest.mark.parametrize("rows", [0, 1, 2, 14, 33, 34, 700])
def test_nine_are_talibs_to_the_bit_however_few_the_rows(rows):
    candles = walk(rows)

    for name, expected in bare(candles).items():
        result = CATALOGUE[name].compute(candles)

        assert result.index.equals(candles.index)
        for ours, theirs in zip(lines(result), expected, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_frame_of_any_memory_layout_dtype_and_index_unit_gives_the_same():
    candles = walk(300).round(2)
    rows_first = pd.DataFrame(candles.to_numpy().copy(order="C"), candles.index.as_unit("us"), candles.columns)
    cents = (candles * 100).round().astype("int64")

    for name, known in CATALOGUE.items():
        for ours, plain in zip(lines(known.compute(rows_first)), lines(known.compute(candles)), strict=True):
            np.testing.assert_array_equal(ours, plain, err_msg=name)
    np.testing.assert_allclose(sma(cents) / 100, sma(candles))


def test_results_are_ordinary_frames_that_leave_the_candles_alone():
    candles = walk(60)
    before = candles.copy(deep=True)

    bands, average = bollinger(candles), sma(candles, 1)
    bands["width"] = bands["upper"] - bands["lower"]
    bands.columns.name = "line"
    average.iloc[:] = 0
    average.loc[candles.index[3]] = 5.0

    assert average.sum() == 5
    assert (average + 1).rename("x").to_frame().join(bands).shape == (60, 5)
    assert bollinger(candles).columns.tolist() == ["upper", "middle", "lower"]
    assert bollinger(candles).columns.name is None
    pd.testing.assert_frame_equal(candles, before)
    pd.testing.assert_series_equal(sma(candles), pd.Series(talib.SMA(before["close"], 20), name="sma"))


def test_averages_by_hand():
    candles = closes(1, 2, 3, 4, 8)

    assert sma(candles, 3).tolist()[2:] == pytest.approx([2, 3, 5])
    assert ema(candles, 3).tolist()[2:] == pytest.approx([2, 3, 5.5])  # alpha 1/2, begun at 2
    assert sma(candles, 3).isna().sum() == 2


def test_rsi_by_hand():
    """Gains 2, 0, 1 and losses 0, 1, 0 over three bars: 3 of 4 points of movement went up. Then Wilder's smoothing."""
    found = rsi(closes(10, 12, 11, 12, 10), 3)

    assert found.isna().tolist() == [True, True, True, False, False]
    assert found.iloc[3] == pytest.approx(75)
    assert found.iloc[4] == pytest.approx(100 * (1 * 2 / 3) / (1 * 2 / 3 + (1 / 3 * 2 + 2) / 3))


def test_bands_ranges_stochastic_and_volume_by_hand():
    candles = closes(1, 2, 3, 6)
    deviation = math.sqrt(((2 - 11 / 3) ** 2 + (3 - 11 / 3) ** 2 + (6 - 11 / 3) ** 2) / 3)

    bands = bollinger(candles, 3, 1.5)
    assert bands.iloc[3].tolist() == pytest.approx([11 / 3 + 1.5 * deviation, 11 / 3, 11 / 3 - 1.5 * deviation])
    assert atr(candles, 2).tolist()[2:] == pytest.approx([2, (2 + 4) / 2])  # true ranges 2, 2, 4
    assert obv(candles).tolist() == [10, 20, 30, 40]
    assert stochastic(candles, k=3, d=1, smooth=1)["k"].tolist()[2:] == pytest.approx([75, 100 * 5 / 6])


def test_macd_is_the_difference_of_two_averages_and_a_straight_line_has_a_constant_one():
    found = macd(closes(*range(1, 61)), 3, 6, 4)

    assert found.columns.tolist() == ["macd", "signal", "histogram"]
    assert found["macd"].iloc[-1] == pytest.approx(1.5)  # a lag of 2.5 bars less one of 1, at 1 a bar
    assert found["histogram"].iloc[-1] == pytest.approx(0)
    assert found["macd"].first_valid_index() == found.index[6 + 4 - 2]


def test_a_pure_rise_is_all_plus_direction():
    found = adx(closes(*range(1, 61)))

    assert found["minus_di"].iloc[-1] == 0
    assert found["adx"].iloc[-1] == pytest.approx(100)
    assert found["adx"].first_valid_index() == found.index[27]


@pytest.mark.parametrize("zone", ["America/New_York", "UTC", "Asia/Tokyo"])
def test_vwap_is_a_plain_groupby_over_each_local_day(zone):
    candles = walk(900)  # across the change to summer time in New York
    typical = (candles["high"] + candles["low"] + candles["close"]) / 3
    days = candles.index.tz_convert(zone).date
    value = (typical * candles["volume"]).groupby(days).cumsum()

    expected = value / candles["volume"].groupby(days).cumsum()

    pd.testing.assert_series_equal(vwap(candles, zone), expected.rename("vwap"), rtol=1e-12)
    first = np.flatnonzero(pd.Series(days).ne(pd.Series(days).shift()))
    np.testing.assert_allclose(vwap(candles, zone).iloc[first], typical.iloc[first])


def test_vwap_waits_for_the_days_first_trade():
    candles = closes(10, 20).assign(volume=[0.0, 5.0])
    candles.index = pd.DatetimeIndex(["2024-01-02 15:00", "2024-01-02 15:01"], tz="UTC", name="time")

    assert vwap(candles).isna().tolist() == [True, False]
    assert vwap(candles).iloc[1] == 20


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 160))
def test_each_row_depends_only_on_rows_up_to_it(seed, cut):
    candles = walk(160, seed)

    for name, known in CATALOGUE.items():
        for part, whole in zip(lines(known.compute(candles.iloc[:cut])), lines(known.compute(candles)), strict=True):
            np.testing.assert_array_equal(part, whole[:cut], err_msg=name)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda c: sma(c, 0), "length must be from 1 to 100000: got 0"),
        (lambda c: rsi(c, 1), "length must be from 2 to 100000: got 1"),
        (lambda c: atr(c, 14.5), "length must be a whole number of bars: got 14.5"),
        (lambda c: macd(c, 26, 12), "slow must exceed fast: got 26 and 12"),
        (lambda c: bollinger(c, 20, 0), "deviations must be above 0: got 0"),
        (lambda c: bollinger(c, 20, math.nan), "deviations must be above 0: got nan"),
        (lambda c: vwap(c, "Mars/Olympus"), "anchor must be a time zone such as America/New_York or UTC"),
        (lambda c: indicator(c, "bolinger"), "Did you mean 'bollinger'"),
        (lambda c: indicator(c, "supertrand"), "Did you mean 'supertrend'"),
        (lambda c: indicator(c, "rsi", lenght=3), "parameter of rsi is called 'lenght'. Did you mean 'length'"),
        (lambda c: indicator(c, "kama", lenth=3), "parameter of kama is called 'lenth'. Did you mean 'length'"),
        (lambda c: indicator(c, "kama", offset=-3), "offset must not be negative"),
    ],
)
def test_a_wrong_parameter_is_refused_with_the_cure(call, words):
    with pytest.raises(ValueError, match=words):
        call(walk(50))


def test_the_catalogue_describes_what_each_indicator_returns():
    candles = walk(120)

    assert list(CATALOGUE) == [known.name for known in CATALOGUE.values()]
    assert len(CATALOGUE) == 10
    for known in CATALOGUE.values():
        result = indicator(candles, known.name, **{name: p.default for name, p in known.params.items()})
        names = (result.name,) if isinstance(result, pd.Series) else tuple(result.columns)
        assert names == known.lines
        assert known.place in ("price", "panel")
        for param in known.params.values():
            for value in (param.default, *param.choices, *(v for v in (param.low, param.high) if v is not None)):
                assert param.refuse(value) is None
        if known.bounds:
            low, high = known.bounds
            assert all(low <= np.nanmin(line) and np.nanmax(line) <= high for line in lines(result))
            assert all(low <= guide <= high for guide in known.guides)


def test_ours_by_name_take_their_parameters():
    candles = walk(80)

    pd.testing.assert_series_equal(indicator(candles, "SMA", length=7), sma(candles, 7))
    pd.testing.assert_frame_equal(indicator(candles, "macd", fast=5), macd(candles, 5))


def test_the_long_tail_has_the_names_people_ask_for_and_none_of_ours():
    names = long_tail()

    assert {"supertrend", "ichimoku", "kama", "donchian", "psar", "cci", "willr", "mfi"} <= set(names)
    assert not set(names) & set(CATALOGUE)
    assert not [name for name in names if name.startswith("cdl")]


def test_the_long_tail_comes_back_aligned_with_plain_names():
    candles = walk(150)

    trend = indicator(candles, "supertrend", length=10, multiplier=2.0)
    assert trend.columns.tolist() == ["supert", "supertd", "supertl", "superts"]
    assert trend.index.equals(candles.index)
    assert indicator(candles, "kama").name == "kama"
    assert indicator(candles.iloc[:3], "kama").isna().all()
    assert indicator(candles.iloc[:0], "ichimoku").empty
    assert "ics" not in indicator(candles, "ichimoku")


# All 171 passed this by hand; these stand for them here, where numba's first compile of each would take minutes.
@pytest.mark.parametrize("name", ["ichimoku", "dpo", "donchian", "willr", "cmf", "linreg", "zscore", "cpr", "ao"])
def test_the_long_tail_does_not_look_ahead(name):
    candles = walk(300)

    part, whole = indicator(candles.iloc[:200], name), indicator(candles, name)

    for early, late in zip(lines(part), lines(whole), strict=True):
        np.testing.assert_allclose(early.astype(float), late[:200].astype(float), rtol=1e-8, atol=1e-9)


def test_importing_indicators_imports_no_slow_library():
    probe = "import sys, indicators; sys.exit(bool({'pandas_ta_classic', 'numba', 'streamlit'} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", probe], cwd=ROOT).returncode == 0


def test_pandas_ta_classic_stands_in_where_talib_is_missing(tmp_path):
    """To 1e-6 once warm. It too is NaN in the warm-up, on the very same rows, and on frames too short."""
    pytest.importorskip("pandas_ta_classic")
    candles = walk(600)
    candles.to_pickle(tmp_path / "candles")
    probe = (
        "import sys; sys.modules['talib'] = None\n"
        "import pandas as pd, indicators\n"
        f"candles = pd.read_pickle({str(tmp_path / 'candles')!r})\n"
        "found = {name: known.compute(candles) for name, known in indicators.CATALOGUE.items()}\n"
        f"pd.to_pickle(found, {str(tmp_path / 'found')!r})\n"
        "for rows in (0, 1, 5):\n"
        "    for known in indicators.CATALOGUE.values():\n"
        "        assert len(known.compute(candles.iloc[:rows])) == rows\n"
        "assert indicators.sma(candles.iloc[:5]).isna().all()\n"
    )

    subprocess.run([sys.executable, "-c", probe], cwd=ROOT, check=True)

    for name, found in pd.read_pickle(tmp_path / "found").items():
        for theirs, ours in zip(lines(found), lines(CATALOGUE[name].compute(candles)), strict=True):
            np.testing.assert_array_equal(np.isnan(theirs), np.isnan(ours), err_msg=name)
            np.testing.assert_allclose(theirs[-250:], ours[-250:], rtol=0, atol=1e-6, err_msg=name)


@pytest.fixture
def sheet(shared: Path) -> pd.DataFrame:
    return pd.read_csv(shared / "indicators" / "skender_reference_wide.csv", index_col=0, parse_dates=True)


@pytest.fixture
def sheet_candles(sheet: pd.DataFrame) -> pd.DataFrame:
    return sheet[["open", "high", "low", "close", "volume"]].astype(float).tz_localize("UTC").rename_axis("time")


@pytest.mark.parametrize(
    ("name", "columns"),
    [
        ("sma", ["sma.sma"]),
        ("ema", ["ema.ema"]),
        ("rsi", ["rsi.rsi"]),
        ("macd", ["macd.macd", "macd.signal", "macd.histogram"]),
        ("bollinger", ["bb.upperBand", "bb.sma", "bb.lowerBand"]),
        ("atr", ["atr.atr"]),
        ("stochastic", ["stoch.oscillator", "stoch.signal"]),
        ("adx", ["adx.adx", "adx.pdi", "adx.mdi"]),  # another start, 0.8 apart at row 30, gone by row 250
    ],
)
def test_the_reference_sheet_agrees_over_its_last_250_rows(name, columns, sheet, sheet_candles):
    found = lines(CATALOGUE[name].compute(sheet_candles))

    for ours, column in zip(found, columns, strict=True):
        np.testing.assert_allclose(ours[-250:], sheet[column].to_numpy()[-250:], rtol=0, atol=1e-6)


def test_obv_differs_from_the_sheet_by_a_constant_its_start(sheet, sheet_candles):
    """TA-Lib starts at the first bar's volume, the sheet at 0."""
    apart = obv(sheet_candles).to_numpy() - sheet["obv.obv"].to_numpy()

    assert (apart == sheet_candles["volume"].iloc[0]).all()


def test_vwap_within_one_day_is_the_sheets_running_one(sheet, sheet_candles):
    """The sheet never resets, so its rows are laid into the minutes of one day."""
    one_day = sheet_candles.set_axis(pd.date_range("2024-01-02 10:00", periods=len(sheet), freq="min", tz="UTC"))

    np.testing.assert_allclose(vwap(one_day, "UTC"), sheet["vwap.vwap"], rtol=0, atol=1e-6)
