"""learning/features.py: what a model sees, by hand, and that it never sees more than it may."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.candles import empty, frame
from domain.instruments import instrument
from learning.features import NAMES, WARMUP, features, spec
from learning.leaks import looks_ahead
from learning.planted import planted

MARKET = planted("noise", symbols=1, bars=300, seed=3).frames["PLANT000USDT"]
WHOLE = features(MARKET)
AT = {name: place for place, name in enumerate(NAMES)}


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype == np.float32 and a.tobytes() == b.tobytes()


def test_each_number_is_what_its_name_says() -> None:
    t, c = 200, MARKET["close"].to_numpy()
    o, h, l = (MARKET[name].to_numpy() for name in ("open", "high", "low"))  # noqa: E741 - the field's letters
    step, weight = np.diff(np.log(c), prepend=np.nan), np.log1p(MARKET["volume"].to_numpy())[t - 49 : t + 1]
    size = np.sqrt(np.mean(step[t - 49 : t + 1] ** 2))
    top, bottom = h[t - 19 : t + 1].max(), l[t - 19 : t + 1].min()
    turn = 2 * np.pi * MARKET.index[t].tz_convert("America/New_York").hour / 24
    by_hand = {
        "return": step[t],
        "gap": np.log(o[t] / c[t - 1]),
        "body": (c[t] - o[t]) / (h[t] - l[t]),
        "upper": (h[t] - max(o[t], c[t])) / (h[t] - l[t]),
        "lower": (min(o[t], c[t]) - l[t]) / (h[t] - l[t]),
        "range": np.log(h[t] / l[t]),
        "location": 2 * (c[t] - l[t]) / (h[t] - l[t]) - 1,
        "channel": 2 * (c[t] - bottom) / (top - bottom) - 1,
        "volume": (weight[-1] - weight.mean()) / weight.std(),
        "move": step[t] / size,
        "move_5": np.log(c[t] / c[t - 5]) / (size * np.sqrt(5)),
        "move_20": np.log(c[t] / c[t - 20]) / (size * np.sqrt(20)),
        "heat": np.log(np.sqrt(np.mean(step[t - 9 : t + 1] ** 2)) / size),
        "hour_sin": np.sin(turn),
        "hour_cos": np.cos(turn),
    }

    assert list(by_hand) == list(NAMES)
    assert WHOLE[t] == pytest.approx(np.array(list(by_hand.values())), rel=1e-5, abs=1e-6)


def test_the_warm_up_is_not_a_number_and_everything_after_it_is() -> None:
    assert WHOLE.shape == (300, len(NAMES))
    assert np.isnan(WHOLE[:WARMUP]).all()
    assert np.isfinite(WHOLE[WARMUP:]).all()


def test_no_row_changes_by_a_bit_when_later_bars_do_or_are_not_there() -> None:
    assert looks_ahead(features, MARKET, NAMES, cuts=20) == []


@given(start=st.integers(0, 200), rows=st.integers(1, 100))
@settings(max_examples=25)
def test_a_window_gives_the_very_numbers_of_all_of_history(start: int, rows: int) -> None:
    stop = min(start + WARMUP + rows, 300)
    part = features(MARKET.iloc[start:stop])

    assert same(part[WARMUP:], WHOLE[start + WARMUP : stop])


def test_bar_by_bar_gives_what_the_whole_gives() -> None:
    live = [features(MARKET.iloc[t - WARMUP : t + 1])[-1] for t in range(WARMUP, 300)]

    assert same(np.array(live), WHOLE[WARMUP:])


def test_memory_laid_otherwise_gives_the_same() -> None:
    scattered = pd.DataFrame({name: MARKET[name].to_numpy() for name in reversed(MARKET.columns)}, index=MARKET.index)

    assert same(features(scattered), WHOLE)


def test_they_mean_the_same_at_any_price() -> None:
    in_cents = MARKET * [100, 100, 100, 100, 1]

    assert features(in_cents)[WARMUP:] == pytest.approx(WHOLE[WARMUP:], abs=1e-5)


def test_the_hour_is_the_exchange_s_own_over_a_change_of_clocks() -> None:
    times = [pd.Timestamp(f"2026-03-{day:02d} 09:30", tz="America/New_York").value for day in range(1, 32)]
    long = [*(pd.Timestamp("2026-01-01", tz="UTC").value + np.arange(WARMUP) * 60_000_000_000), *times]
    ones = np.ones(len(long))
    X = features(frame(long, dict.fromkeys(("open", "high", "low", "close", "volume"), ones)), instrument("AAPL").zone)

    assert len(np.unique(X[WARMUP:, AT["hour_sin"]])) == 1
    assert X[-1, AT["hour_sin"]] == pytest.approx(np.sin(2 * np.pi * 9.5 / 24), abs=1e-6)


def test_prices_that_stand_still_are_zeros() -> None:
    flat = dict.fromkeys(("open", "high", "low", "close"), np.full(80, 5.0)) | {"volume": np.zeros(80)}
    X = features(frame(np.arange(80) * 60_000_000_000, flat), "UTC")

    assert not X[WARMUP:, : AT["hour_sin"]].any()


@pytest.mark.parametrize("rows", [0, 1, WARMUP])
def test_too_short_a_frame_gives_rows_without_numbers(rows: int) -> None:
    X = features(MARKET.iloc[:rows] if rows else empty())

    assert X.shape == (rows, len(NAMES))
    assert np.isnan(X).all()


def test_the_spec_tells_one_set_of_features_from_another() -> None:
    told = spec("5m", 30)

    assert told["names"] == list(NAMES)
    assert (told["warmup"], told["seq_len"], told["timeframe"]) == (WARMUP, 30, "5m")
    assert told == spec("5m", 30)
    assert len({spec(tf, n)["sha256"] for tf in ("5m", "1h") for n in (10, 30)}) == 4
