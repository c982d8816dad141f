"""Patterns agree with TA-Lib, and every mark can say why, in numbers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

import patterns
from domain.errors import DataError
from patterns import PATTERNS, Bars, CandlestickPatterns, detect, explain, marks

ROOT = Path(__file__).parents[1]
TALIB = talib.get_function_groups()["Pattern Recognition"]
SIX = ["Hammer", "Bullish Engulfing", "Bearish Engulfing", "Doji", "Morning Star", "Evening Star"]


def frame(bars: list[tuple[float, float, float, float]] | np.ndarray) -> pd.DataFrame:
    index = pd.date_range("2024-01-01", periods=len(bars), freq="D", tz="UTC", name="time")
    prices = pd.DataFrame(bars, index=index, columns=["open", "high", "low", "close"], dtype=float)
    return prices.assign(volume=1000.0)


# Twelve bars with a body of 1 and a range of 3, falling from 112 to 100: what the averages are made of.
QUIET = [(112.0 - k, 113.0 - k, 110.0 - k, 111.0 - k) for k in range(12)]


def coarse_walk(rows: int, seed: int) -> pd.DataFrame:
    """Bars on ticks of 1/4, which floats add up exactly, with gaps and shadows coarse enough for rare patterns."""
    chance = np.random.default_rng(seed)

    def steps(low: int, high: int, sizes: list[int]) -> np.ndarray:
        return chance.integers(low, high, rows) * chance.choice(sizes, rows)

    body, gap = steps(-3, 4, [0, 1, 1, 2, 4]), steps(-2, 3, [0, 1, 1, 3])
    opened = np.cumsum(gap + np.r_[0, body[:-1]])
    closed = opened + body
    high = np.maximum(opened, closed) + steps(0, 3, [0, 1, 1, 3])
    low = np.minimum(opened, closed) - steps(0, 3, [0, 1, 1, 3])
    ticks = np.stack([opened, high, low, closed], axis=1)
    return frame((ticks - ticks.min() + 400) * 0.25)


def bare_talib(candles: pd.DataFrame, code: str) -> np.ndarray:
    return getattr(talib, code)(*(candles[name].to_numpy().copy() for name in ("open", "high", "low", "close")))


HAMMER = [*QUIET, (98.5, 99.0, 96.5, 99.0)]
MORNING_STAR = [*QUIET, (100, 100.5, 95.5, 96), (95.0, 95.5, 94.0, 94.75), (95, 99.25, 94.75, 99)]
EVENING_STAR = [*QUIET, (100, 104.5, 99.5, 104), (105, 106, 104.5, 105.25), (105, 105.5, 100.5, 101)]
BULLISH = [*QUIET, (100, 100.5, 98.5, 99), (98.5, 101.5, 98.25, 101.25)]
BEARISH = [*QUIET, (99, 100.5, 98.5, 100), (100.5, 100.75, 97.5, 98)]
DOJI = [*QUIET, (100, 101, 99, 100.25)]

# Too rare for chance: written by hand after TA-Lib's rules.
RARE = {
    "CDLMATHOLD": [
        (100, 104.25, 99.75, 104),
        (105, 105.25, 104.25, 104.5),
        (104.25, 104.5, 103.25, 103.5),
        (103.75, 104, 102.75, 103),
        (103.25, 106.25, 103, 106),
    ],
    "CDL3STARSINSOUTH": [
        (104, 104.25, 99.5, 102),
        (103, 103.25, 100.5, 102),
        (101.5, 101.5, 101.25, 101.25),
    ],
    "CDLCONCEALBABYSWALL": [
        (104, 104, 102, 102),
        (102, 102, 100, 100),
        (99.5, 100.5, 98.75, 99),
        (100.75, 101, 98.25, 98.5),
    ],
    "CDLRISEFALL3METHODS": [
        (100, 104.25, 99.75, 104),
        (103.5, 103.75, 102.75, 103),
        (103, 103.25, 102.25, 102.5),
        (102.5, 102.75, 101.75, 102),
        (102.25, 105.5, 102, 105),
    ],
}


def rare_frame(code: str, sign: int) -> pd.DataFrame:
    """The hand-written bars; for the bearish side the same picture upside down."""
    bars = np.array([*QUIET, *RARE[code]])
    return frame(bars if sign > 0 else 212 - bars[:, [0, 2, 1, 3]])


@pytest.fixture(scope="module")
def long_walk() -> pd.DataFrame:
    return coarse_walk(120_000, seed=2)


@pytest.mark.parametrize(
    ("name", "bars", "grade"),
    [
        ("hammer", HAMMER, 100),
        ("bullish_engulfing", BULLISH, 100),
        ("bearish_engulfing", BEARISH, -100),
        ("doji", DOJI, 100),
        ("morning_star", MORNING_STAR, 100),
        ("evening_star", EVENING_STAR, -100),
    ],
)
def test_each_of_the_six_fires_on_its_textbook_bars_and_only_at_the_last(name, bars, grade):
    grades = getattr(CandlestickPatterns, name)(frame(bars))

    assert grades.tolist() == [0] * (len(bars) - 1) + [grade]
    assert getattr(CandlestickPatterns(), name)(frame(bars)).equals(grades)
    assert grades.name == name


def test_engulfing_to_an_edge_grades_eighty():
    touching = [*QUIET, (100, 100.5, 98.5, 99), (98.5, 101.5, 98.25, 100)]

    assert detect(frame(touching), "Engulfing")["Engulfing"].iloc[-1] == 80


def test_no_names_means_all_of_talib_by_talibs_names():
    found = detect(coarse_walk(300, seed=1))

    assert list(found.columns) == sorted(TALIB) == list(PATTERNS)
    assert len(found.columns) == 61
    assert set(found.dtypes) == {np.dtype("int32")}


def test_columns_are_spelled_as_asked_and_spelling_does_not_matter():
    candles = coarse_walk(500, seed=3)
    asked = ["CDLHAMMER", "hammer", "Three White Soldiers", "3 white-soldiers", "BULLISH engulfing"]

    found = detect(candles, asked)

    assert list(found.columns) == asked
    assert found["CDLHAMMER"].equals(found["hammer"].rename("CDLHAMMER"))
    assert (found["Three White Soldiers"] == bare_talib(candles, "CDL3WHITESOLDIERS")).all()


def test_a_side_is_the_pattern_with_its_other_sign_silenced():
    candles = coarse_walk(2000, seed=4)
    both = bare_talib(candles, "CDLENGULFING")

    found = detect(candles, ["Bullish Engulfing", "Bearish Engulfing", "Engulfing"])

    assert (found["Bullish Engulfing"] == np.where(both > 0, both, 0)).all()
    assert (found["Bearish Engulfing"] == np.where(both < 0, both, 0)).all()
    assert (found["Engulfing"] == both).all()
    assert (found["Bearish Engulfing"] < 0).any()


def test_every_label_and_side_label_is_a_name_of_its_pattern():
    for pattern in PATTERNS.values():
        for label in (pattern.label, pattern.name, *pattern.sides.values()):
            assert patterns._find(label).pattern is pattern
        assert 1 <= pattern.bars <= 5
        assert pattern.rule
        assert pattern.meaning


@pytest.mark.parametrize(("wrong", "meant"), [("Hamer", "Hammer"), ("bulish engulfing", "Bullish Engulfing")])
def test_an_unknown_name_offers_the_nearest(wrong, meant):
    with pytest.raises(ValueError, match=f"Did you mean '{meant}'"):
        detect(frame(QUIET), [wrong])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 120), st.sampled_from([0.25, 0.01, 1e-4]))
def test_random_candles_agree_with_bare_talib(seed, rows, tick):
    candles = coarse_walk(max(rows, 1), seed).iloc[:rows] * (tick / 0.25)

    found = detect(candles)

    for code in TALIB:
        assert (found[code].to_numpy() == bare_talib(candles, code)).all()


def test_rows_depend_only_on_rows_up_to_them():
    candles = coarse_walk(900, seed=5)
    whole = detect(candles)

    for cut in (1, 13, 14, 250, 571, 899):
        pd.testing.assert_frame_equal(detect(candles.iloc[:cut]), whole.iloc[:cut])


def test_large_frames_go_by_two_threads_and_agree(long_walk):
    found = detect(long_walk)

    assert len(long_walk) >= patterns._THREADS_FROM
    for code in ("CDLHAMMER", "CDLHIKKAKE", "CDLXSIDEGAP3METHODS"):
        assert (found[code].to_numpy() == bare_talib(long_walk, code)).all()


def test_any_memory_layout_and_index_unit_will_do():
    candles = coarse_walk(200, seed=6)
    rows_first = pd.DataFrame(candles.to_numpy().copy(order="C"), candles.index.as_unit("us"), candles.columns)

    assert (detect(rows_first).to_numpy() == detect(candles).to_numpy()).all()


def test_an_empty_frame_has_no_marks_and_nothing_to_explain():
    empty = frame(np.empty((0, 4)))

    assert detect(empty).shape == (0, 61)
    assert marks(empty, SIX).empty
    with pytest.raises(DataError, match="the frame has 0 rows"):
        explain(empty, "hammer")


def test_the_rule_table_holds_exactly_where_talib_fires():
    """All 61, every row: so an explanation names the rule that TA-Lib followed, not one that sounds like it."""
    candles = pd.concat([coarse_walk(1500, seed=7), *(rare_frame(code, sign) for code in RARE for sign in (1, -1))])
    found, bars = detect(candles), Bars(candles)

    for code, pattern in PATTERNS.items():
        ours = [pattern.fires(bars, row) for row in range(30, len(candles))]

        assert ours == np.sign(found[code].to_numpy()[30:]).tolist(), code


def test_every_pattern_and_side_explains_each_place_it_fires(long_walk):
    for code, pattern in PATTERNS.items():
        grades = detect(long_walk, code)[code].to_numpy()
        for sign, label in pattern.sides.items():
            candles, places = long_walk, np.flatnonzero(grades * sign > 0)[:12]
            if code in RARE:
                candles, places = rare_frame(code, sign), np.array([11 + len(RARE[code])])
            assert len(places), f"{label} never fired"
            for row in places.tolist():
                said = explain(candles.iloc[: row + 1], code)

                assert said.startswith(f"{label}: ")
                assert re.search(r"\d", said.split(", after")[0])
                assert said.endswith(".")
                assert "nan" not in said


def test_a_hammer_says_its_own_numbers():
    """Body 0.5, lower shadow 2.0, upper shadow 0 of a range of 2.5; closes 111 to 101 are a fall of 9.0 % in 10."""
    assert explain(frame(HAMMER), "Hammer") == (
        "Hammer: lower shadow 4.0 times the body, upper shadow 0 % of the range (0, limit 0.3), "
        "body 0.5 is below its 10-bar average 1, after a fall of 9.1 % over 10 bars."
    )


def test_the_other_five_say_their_own_numbers():
    assert explain(frame(BULLISH), "engulfing") == (
        "Bullish Engulfing: second body 2.8 times the first, second close 101.25 is at least first open 100, "
        "second open 98.5 is at most first close 99, after a fall of 9.1 % over 10 bars."
    )
    assert explain(frame(BEARISH), "bearish engulfing") == (
        "Bearish Engulfing: second body 2.5 times the first, second close 98 is at most first open 99, "
        "second open 100.5 is at least first close 100, after a fall of 9.1 % over 10 bars."
    )
    assert explain(frame(DOJI), "doji") == (
        "Doji: body 0.25 is at most 0.3 (a tenth of the 10-bar average range), after a fall of 9.1 % over 10 bars."
    )
    assert explain(frame(MORNING_STAR), "Morning Star") == (
        "Morning Star: black first body 4 is above its 10-bar average 1, second body gaps 1 below the first "
        "(96 to 95), white third body 4 is above its 10-bar average 1.225, third close 99 is above 97.2 "
        "(first close plus 0.3 of first body), after a fall of 9.1 % over 10 bars."
    )
    assert "second body gaps 1 above the first (104 to 105)" in explain(frame(EVENING_STAR), "eveningstar")


def test_where_nothing_fired_it_says_so_and_names_the_rule_that_failed():
    assert explain(frame(DOJI), "hammer", -2) == (
        "No Hammer at 2024-01-12: lower shadow 1 is not above body 1 (3 of its rules fail)."
    )
    assert explain(frame(BULLISH), "Bearish Engulfing").startswith("No Bearish Engulfing at 2024-01-14: ")
    assert explain(frame(QUIET), "Morning Star", 3) == (
        "No Morning Star at 2024-01-04: its rule looks at 12 bars before, and there are 3."
    )


def test_explain_never_fails_on_any_pattern_at_any_row():
    candles = coarse_walk(40, seed=8)

    for code in PATTERNS:
        for row in range(len(candles)):
            assert re.search(r"\d", explain(candles, code, row))


def test_a_bar_is_named_by_row_or_by_time():
    candles = frame(HAMMER)
    last = candles.index[-1]

    assert explain(candles, "hammer", last) == explain(candles, "hammer", 12) == explain(candles, "hammer")
    assert explain(candles, "hammer", "2024-01-13") == explain(candles, "hammer", -1)
    with pytest.raises(DataError, match="no bar opens at 2030"):
        explain(candles, "hammer", "2030-01-01")
    with pytest.raises(DataError, match="no bar 13: the frame has 13 rows"):
        explain(candles, "hammer", 13)


def test_a_sentence_on_a_long_frame_is_the_one_on_its_last_bars():
    candles = coarse_walk(600, seed=9)
    row = int(np.flatnonzero(detect(candles, "hammer")["hammer"])[-1])

    assert explain(candles, "hammer", row) == explain(candles.iloc[row - 60 : row + 1], "hammer")


def test_marks_list_what_fired_and_where_to_draw_it():
    candles = coarse_walk(1000, seed=10)

    found = marks(candles, SIX)

    grades = detect(candles, SIX)
    assert len(found) == int((grades != 0).to_numpy().sum())
    assert list(found.columns) == ["position", "time", "name", "label", "grade", "side", "price", "text"]
    assert found["position"].is_monotonic_increasing
    low, high = candles["low"].to_numpy()[found["position"]], candles["high"].to_numpy()[found["position"]]
    assert np.where(found["side"] > 0, found["price"] < low, found["price"] > high).all()
    assert set(found.loc[found["name"] == "Doji", "side"]) <= {0}
    assert (found.loc[found["name"].str.contains("ngulfing"), "grade"] * found["side"]).dropna().gt(0).all()
    for mark in found.sample(20, random_state=0).itertuples():
        assert mark.text == explain(candles, mark.name, mark.time)
        assert mark.grade == grades.loc[mark.time, mark.name]


def test_marks_of_one_bar_stand_one_under_the_other():
    found = marks(frame(DOJI), ["Doji", "Long-Legged Doji", "Rickshaw Man"])

    assert found["position"].tolist() == [12, 12, 12]
    assert found["price"].is_monotonic_increasing
    assert found["price"].is_unique


def test_importing_patterns_imports_no_slow_library():
    probe = "import sys, patterns; sys.exit(bool({'pandas_ta_classic', 'numba', 'streamlit'} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", probe], cwd=ROOT).returncode == 0


def test_pandas_ta_classic_stands_in_where_talib_is_missing(tmp_path):
    pytest.importorskip("pandas_ta_classic")
    candles = coarse_walk(400, seed=11)
    candles.to_pickle(tmp_path / "candles")
    probe = (
        "import sys; sys.modules['talib'] = None\n"
        "import pandas as pd, patterns\n"
        f"candles = pd.read_pickle({str(tmp_path / 'candles')!r})\n"
        f"patterns.detect(candles, {SIX!r}).to_pickle({str(tmp_path / 'grades')!r})\n"
        "print(patterns.explain(candles, 'doji'))\n"
    )

    subprocess.run([sys.executable, "-c", probe], cwd=ROOT, check=True, capture_output=True)

    pd.testing.assert_frame_equal(pd.read_pickle(tmp_path / "grades").iloc[30:], detect(candles, SIX).iloc[30:])


def test_without_either_library_the_error_names_the_cure():
    probe = (
        "import sys; sys.modules['talib'] = sys.modules['pandas_ta_classic'] = None\n"
        "import pandas as pd, patterns\n"
        "patterns.detect(pd.DataFrame({k: [1.0] for k in ('open', 'high', 'low', 'close')}))\n"
    )
    ran = subprocess.run([sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True)

    assert "pip install TA-Lib" in ran.stderr.splitlines()[-1]


def test_every_sign_agrees_with_the_reference_of_500_spy_days(shared: Path):
    """Save one: the reference is of a TA-Lib before 0.8, which had no grade 80 for a harami that touches an edge."""
    reference = pd.read_csv(shared / "patterns" / "talib_cdl_spy_1d.csv", index_col=0, parse_dates=True)
    prices = reference[["open", "high", "low", "close", "volume"]].tz_localize("UTC")

    found = detect(prices.astype(float)).iloc[30:]

    expected = np.sign(reference[list(found.columns)].fillna(0).to_numpy())[30:]
    rows, columns = np.nonzero(np.sign(found.to_numpy()) != expected)
    cells = [(f"{found.index[r]:%Y-%m-%d}", found.columns[c]) for r, c in zip(rows, columns, strict=True)]
    assert cells == [("2014-07-09", "CDLHARAMI")]
    assert found.loc["2014-07-09", "CDLHARAMI"] == 80
