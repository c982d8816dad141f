"""learning/windows.py: which windows there are, and that a batch holds the very bars."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from domain.candles import expected, frame, timeframe
from domain.errors import DataError
from domain.instruments import instrument
from learning.features import NAMES, WARMUP, features
from learning.labels import Label, labelled
from learning.planted import planted
from learning.windows import breaks, flatten, gather

HOUR = 3_600_000_000_000
FRAMES = planted("noise", symbols=2, bars=200, seed=1).frames
NEXT = Label("direction", horizon=3)
ONE, TWO = sorted(FRAMES)


def of(times: list[int] | np.ndarray) -> pd.DataFrame:
    chance = np.random.default_rng(0)
    close = 100 * np.exp(np.cumsum(chance.normal(0, 0.01, len(times))))
    prices = {"open": close, "high": close * 1.01, "low": close * 0.99, "close": close}
    return frame(times, {**prices, "volume": chance.lognormal(8, 1, len(times))})


def test_a_batch_holds_the_very_bars_oldest_first() -> None:
    flat = flatten(FRAMES, NEXT, 4, "1h")
    batch = gather(flat.X, flat.ends[[0, 5, -1]], 4)

    assert batch.shape == (3, 4, len(NAMES))
    for window, end in zip(batch, flat.ends[[0, 5, -1]], strict=True):
        assert np.array_equal(window, flat.X[end - 3 : end + 1])
    assert np.isfinite(gather(flat.X, flat.ends, 4)).all()


def test_every_window_and_answer_is_that_of_its_own_symbol() -> None:
    flat = flatten(FRAMES, NEXT, 4, "1h")

    assert flat.symbols == (ONE, TWO)
    for at, symbol in enumerate(flat.symbols):
        own = np.flatnonzero(flat.symbol == at)
        rows, candles, answers = flat.rows(own), FRAMES[symbol], labelled(FRAMES[symbol], NEXT)
        assert rows.tolist() == list(range(WARMUP + 3, 200 - 3))
        assert np.array_equal(flat.X[flat.ends[own]], features(candles, "UTC")[rows])
        assert np.array_equal(flat.y[own], answers.y[rows])
        assert np.array_equal(flat.ret[own], answers.ret[rows])
        opens = candles.index.asi8
        assert np.array_equal(flat.at[own], opens[rows] + HOUR)
        assert np.array_equal(flat.known[own], opens[rows + 3] + HOUR)
        assert np.array_equal(flat.began[own], opens[rows - 3])


def test_no_window_and_no_answer_reaches_over_a_missing_bar() -> None:
    torn = FRAMES[ONE].drop(FRAMES[ONE].index[120])  # rows 120 and on are behind the gap
    flat = flatten({ONE: torn}, NEXT, 4, "1h")
    found = flat.rows(np.arange(len(flat))).tolist()

    assert found == [*range(WARMUP + 3, 120 - 3), *range(120 + 4, 199 - 3)]


def test_a_night_of_the_exchange_is_no_gap_and_a_missing_bar_of_it_is() -> None:
    stock, five = instrument("AAPL"), timeframe("5m")
    days = (pd.Timestamp(day, tz="America/New_York") for day in ("2026-03-05", "2026-03-10"))
    opens = expected(*(day.to_pydatetime() for day in days), five, stock)  # Thursday, Friday, Monday; clocks changed
    whole, torn = of(opens), of(np.delete(opens, [90, 91]))

    assert np.flatnonzero(breaks(whole, five, stock)).tolist() == [0]
    assert np.flatnonzero(breaks(torn, five, stock)).tolist() == [0, 90]


def test_bars_outside_regular_hours_follow_nothing_and_nothing_follows_them() -> None:
    stock, five = instrument("AAPL"), timeframe("5m")
    at = [pd.Timestamp(f"2026-03-05 {t}", tz="America/New_York").value for t in ("09:20", "09:25", "09:30", "09:35")]

    assert breaks(of(at), five, stock).tolist() == [True, True, True, False]
    assert breaks(of([at[1], at[3]]), five, stock).tolist() == [True, True]


def test_too_few_bars_are_named_with_what_it_takes() -> None:
    short = {symbol: candles.iloc[:50] for symbol, candles in FRAMES.items()}

    with pytest.raises(DataError, match=rf"needs 63 consecutive bars \(50 to warm up, 10 to look.*{ONE} 50, {TWO} 50"):
        flatten(short, NEXT, 10, "1h")
    with pytest.raises(DataError, match="there are none"):
        flatten({}, NEXT, 10, "1h")


def test_a_batch_refuses_ends_that_have_no_window() -> None:
    X = np.zeros((5, 2), dtype=np.float32)

    assert gather(X, np.array([2, 4]), 3).shape == (2, 3, 2)
    assert gather(X[:2], np.empty(0, np.int64), 3).shape == (0, 3, 2)
    for end in (1, 5):
        with pytest.raises(IndexError, match=r"ends must lie in \[2, 5\)"):
            gather(X, np.array([end]), 3)
