"""The drawer of strategies: what each file in it, present and future, must keep to, and what each of ours does."""

from __future__ import annotations

import dataclasses
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import strategies
from domain import registry
from domain.candles import empty, frame
from domain.errors import UnknownName
from domain.models import ModelFacts, use_shelf
from domain.params import Param, params_of
from domain.pattern_rules import PATTERNS
from patterns import detect
from strategies.base import Floats, Strategy, Wanted, asked, checked, find, held, names, side
from strategies.candle_patterns import GROUPS, CandlePatterns, _strongest
from strategies.mean_reversion import MeanReversion
from strategies.sma_crossover import PAIRS, SmaCrossover
from strategies.trend_following import TrendFollowing
from tests.conftest import ROOT

MINUTE = 60_000_000_000
AGREE = 0.99  # share of bars on which a window of 4 warm-ups and all of history want the same
EXAMPLE = "channel_breakout"


def walk(rows: int, seed: int = 0, tick: float = 0.01) -> pd.DataFrame:
    """Random candles on ticks, as markets have them: ties happen."""
    chance = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(chance.normal(0, 0.004, rows)))
    opened = np.concatenate([[100.0], close[:-1]])[:rows] * (1 + chance.normal(0, 0.001, rows))
    high = np.maximum(opened, close) * (1 + np.abs(chance.normal(0, 0.002, rows)))
    low = np.minimum(opened, close) * (1 - np.abs(chance.normal(0, 0.002, rows)))
    prices = {"open": opened, "high": high, "low": low, "close": close}
    on_ticks = {name: np.round(values / tick) * tick for name, values in prices.items()}
    return frame(np.arange(rows) * 15 * MINUTE, {**on_ticks, "volume": chance.integers(0, 1000, rows).astype(float)})


def of_closes(closes: list[float]) -> pd.DataFrame:
    price = np.asarray(closes, dtype=float)
    return frame(
        np.arange(len(price)) * MINUTE,
        {"open": price, "high": price, "low": price, "close": price, "volume": np.ones(len(price))},
    )


def example() -> str:
    """The file that `docs/strategies.md` shows."""
    text = (ROOT / "docs" / "strategies.md").read_text(encoding="utf-8")
    [code] = re.findall(rf"`strategies/{EXAMPLE}\.py`:\n\n```python\n(.*?)```", text, flags=re.S)
    return code


@pytest.fixture(autouse=True, scope="module")
def _example_in_the_drawer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The documents' own strategy lies in the drawer beside ours, and keeps to the same contract."""
    folder = tmp_path_factory.mktemp("drawer")
    (folder / f"{EXAMPLE}.py").write_text(example(), encoding="utf-8")
    strategies.__path__.append(str(folder))
    yield
    strategies.__path__.remove(str(folder))
    sys.modules.pop(f"strategies.{EXAMPLE}", None)


class Leaning:
    """A model of ten lines: the more of the last bars' moves went up, the likelier a rise."""

    facts = ModelFacts(
        name="leaning",
        version=1,
        timeframe="15m",
        seq_len=8,
        warmup=10,
        classes=("down", "up"),
        label="direction",
        seen_until=-1,
        data_until=2**62,
        sha256="",
    )

    def predict(self, candles: pd.DataFrame) -> Floats:
        moves = np.sign(candles["close"].diff())
        up = 0.5 + 0.5 * moves.rolling(8).mean().to_numpy()
        return np.column_stack([1.0 - up, up])

    def why_not(self, candles: pd.DataFrame, row: int) -> str:
        return "too few bars"


class OneModel:
    """A shelf with one model, whatever is asked for."""

    def facts(self, asked: str) -> ModelFacts:
        return Leaning.facts

    def model(self, asked: str) -> Leaning:
        return Leaning()


@pytest.fixture(autouse=True, scope="module")
def _a_model_on_the_shelf() -> Iterator[None]:
    """What asks a model has one to ask; `tests/test_lstm.py` has trained ones, and none."""
    before = use_shelf(OneModel())
    yield
    use_shelf(before)


every = pytest.mark.parametrize("name", [*names(), EXAMPLE])


def settings_of(declared: Param) -> st.SearchStrategy[Any]:
    if declared.choices:
        return st.sampled_from(declared.choices)
    if declared.kind is bool:
        return st.booleans()
    if declared.kind is int:
        return st.integers(int(declared.low or 0), int(declared.high or 100))
    return st.floats(float(declared.low or 0.0), float(declared.high or 1.0))


def drawn(data: st.DataObject, name: str) -> Strategy:
    """The strategy with any settings its declarations allow and its own checks take."""
    cls = find(name)
    chosen = {p.name: data.draw(settings_of(p), label=p.name) for p in params_of(cls).values()}
    try:
        return cls(**chosen)
    except ValueError:
        assume(False)
        raise


# The contract


@every
def test_it_is_a_frozen_dataclass_that_says_what_it_is(name: str) -> None:
    cls = find(name)
    made = cls()

    assert isinstance(made, Strategy)
    assert dataclasses.is_dataclass(cls)
    with pytest.raises(dataclasses.FrozenInstanceError):
        made.anything = 1
    assert made == cls()
    assert hash(made) == hash(cls())
    assert cls.label
    assert re.fullmatch(r"[A-Z].*\.", cls.about)
    assert made.warmup == int(made.warmup) >= 1


@every
def test_every_field_is_declared_with_its_range_and_refused_outside(name: str) -> None:
    cls = find(name)
    declared = params_of(cls)

    assert list(declared) == [field.name for field in dataclasses.fields(cls)]
    for found in declared.values():
        assert found.help, found.name
        if found.kind in (int, float):
            assert found.low is not None, found.name
            assert found.high is not None, found.name
            with pytest.raises(ValueError, match=found.name):
                cls(**{found.name: found.high + 1})


@every
def test_the_registry_finds_it_and_a_slip_of_the_pen_is_offered_it(name: str) -> None:
    assert name in registry.names("strategies")
    assert registry.part("strategies", name) is find(name)
    with pytest.raises(UnknownName, match=name):
        find(name[:-1])


@every
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15)
def test_a_row_depends_on_no_later_row(name: str, data: st.DataObject, seed: int) -> None:
    candles, strategy = walk(420, seed), drawn(data, name)
    whole = asked(strategy, candles)

    for cut in data.draw(st.lists(st.integers(0, 420), min_size=1, max_size=6)):
        part = asked(strategy, candles.iloc[:cut])
        assert np.array_equal(part.exposure, whole.exposure[:cut])
        assert np.array_equal(part.confidence, whole.confidence[:cut])


@every
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=15)
def test_every_row_is_a_number_in_range_and_the_warm_up_is_still(name: str, data: st.DataObject, seed: int) -> None:
    candles, strategy = walk(420, seed, tick=1.0), drawn(data, name)
    before = candles.copy()
    wanted = asked(strategy, candles)

    assert wanted.exposure.dtype == np.float64
    assert wanted.exposure.shape == wanted.confidence.shape == (420,)
    assert np.abs(wanted.exposure).max() <= 1
    assert 0 <= wanted.confidence.min() <= wanted.confidence.max() <= 1
    assert not wanted.exposure[: strategy.warmup].any()
    assert all(isinstance(wanted.why(row), str) for row in (0, 210, -1))
    pd.testing.assert_frame_equal(candles, before)
    assert np.array_equal(asked(strategy, candles).exposure, wanted.exposure)


@functools.cache
def history(seed: int) -> pd.DataFrame:
    return walk(6000, seed)


def agreement(strategy: Strategy, seed: int, rows: int) -> float:
    candles = history(seed)
    whole, reach = asked(strategy, candles).exposure, 4 * strategy.warmup + 1
    picked = np.random.default_rng(seed).integers(min(reach, 5900), 6000, rows)
    same = [whole[t] == asked(strategy, candles.iloc[max(0, t + 1 - reach) : t + 1]).exposure[-1] for t in picked]
    return float(np.mean(same))


@every
def test_a_window_of_four_warm_ups_decides_as_all_of_history(name: str) -> None:
    assert np.mean([agreement(find(name)(), seed, 100) for seed in (1, 2, 3)]) >= AGREE


@every
@given(data=st.data())
@settings(max_examples=8)
def test_so_it_does_whatever_the_settings(name: str, data: st.DataObject) -> None:
    strategy = drawn(data, name)

    assert agreement(strategy, 4, 40) >= 0.95  # 38 of 40: a drawing of forty is coarse


@every
@pytest.mark.parametrize("rows", [0, 1, 2, 5, 30])
def test_empty_and_short_frames_want_nothing(name: str, rows: int) -> None:
    candles = walk(rows) if rows else empty()
    wanted = asked(find(name)(), candles)

    assert wanted.exposure.shape == (rows,)
    assert not wanted.exposure[: find(name)().warmup].any()


@every
def test_prices_that_stand_still_want_nothing(name: str) -> None:
    assert not asked(find(name)(), of_closes([123.45] * 800)).exposure.any()


@every
def test_one_bar_more_than_the_warm_up_gives_a_decision(name: str) -> None:
    """Somewhere on a random walk: a warm-up that is never over would pass every other test."""
    strategy = find(name)()
    candles, length = history(1), strategy.warmup + 1
    last = [asked(strategy, candles.iloc[t : t + length]).exposure[-1] for t in range(0, 5000, 25)]

    assert any(last)


@every
def test_a_price_in_cents_wants_what_the_price_in_dollars_wants(name: str) -> None:
    candles = walk(1500, 6)
    in_cents = candles * [100, 100, 100, 100, 1]
    one, other = (asked(find(name)(), c).exposure for c in (candles, in_cents))

    assert (one == other).mean() >= AGREE


def test_the_drawer_opens_without_torch_and_its_names_without_numba() -> None:
    light = "import sys, strategies.base as b; b.names(); assert not {'torch', 'numba'} & set(sys.modules)"
    ours = "[b.find(name)() for name in b.names()]; assert not {'torch', 'ccxt', 'streamlit'} & set(sys.modules)"

    subprocess.run([sys.executable, "-c", f"{light}; {ours}"], cwd=ROOT, check=True)


# The door


class Says:
    """A strategy that says what it is told to."""

    warmup = 2

    def __init__(self, *answer: Any) -> None:
        self.answer = answer

    def target(self, candles: pd.DataFrame) -> Wanted:
        return Wanted(*self.answer)


def test_the_door_zeroes_the_warm_up_and_leaves_the_answer_alone() -> None:
    said = np.array([1.0, 1.0, 0.5, -1.0])
    wanted = asked(Says(said), walk(4))

    assert wanted.exposure.tolist() == [0.0, 0.0, 0.5, -1.0]
    assert said.tolist() == [1.0, 1.0, 0.5, -1.0]
    assert wanted.confidence.tolist() == [1.0] * 4
    assert wanted.why(-1) == ""


@pytest.mark.parametrize(
    ("exposure", "confidence", "rule"),
    [
        ([0.0, 1.5, 0.0], [1.0] * 3, r"Says: exposure must be a number in \[-1, 1\]: got 1.5 in row 1 \(1970"),
        ([0.0, 0.0, np.nan], [1.0] * 3, "got nan in row 2"),
        ([0.0, 0.0, -np.inf], [1.0] * 3, "got -inf in row 2"),
        ([0.0, 0.0], [1.0] * 3, r"one row a bar: got shape \(2,\) for 3"),
        ([[0.0], [0.0], [0.0]], [1.0] * 3, "one row a bar"),
        ([0.0] * 3, [0.0, -0.1, 0.0], r"confidence must be a number in \[0, 1\]: got -0.1 in row 1"),
        ([0.0] * 3, [0.0, 0.0], "confidence must have one row a bar"),
    ],
)
def test_the_door_refuses_by_strategy_row_and_rule(exposure: Any, confidence: Any, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        asked(Says(np.array(exposure), np.array(confidence)), walk(3))


def test_a_plain_array_or_series_is_an_exposure() -> None:
    candles = walk(3)

    assert checked(np.array([0, 1, -1]), candles, "mine").exposure.tolist() == [0.0, 1.0, -1.0]
    assert checked(pd.Series([0.0, 1.0, 0.0], candles.index), candles, "mine").exposure.tolist() == [0.0, 1.0, 0.0]
    with pytest.raises(ValueError, match="the answer's index must be the candles' own"):
        checked(pd.Series([0.0, 1.0, 0.0]), candles, "mine")


def test_a_tie_keeps_the_side_before_it_and_rounding_is_a_tie() -> None:
    nan = np.nan
    a = np.array([nan, 5.0, 6.0, 5.0, 5.0 + 1e-10, 4.0, 5.0 - 1e-10, 5.0 + 1e-7, nan])

    assert side(a, np.full(9, 5.0)).tolist() == [0, 0, 1, 1, 1, -1, -1, 1, 1]


def test_an_event_is_held_for_its_bars_and_a_newer_one_takes_over() -> None:
    events = np.array([0.0, 1.0, 0.0, 0.0, 0.0, -1.0, 1.0, 0.0, 0.0, 0.0])

    assert held(events, 3).tolist() == [0, 1, 1, 1, 0, -1, 1, 1, 1, 0]


def test_the_manual_s_word_is_known() -> None:
    assert find("rule") is CandlePatterns


# Ours


def test_the_crossover_is_long_above_and_short_or_out_below() -> None:
    candles = of_closes([10, 10, 10, 10, 12, 14, 14, 12, 9, 6, 6])
    #                   fast  -  10  10 10 11 13 14 13 10.5 7.5 6
    #                   slow  -  -   10 10 10.67 12 13.33 13.33 11.67 9 7
    fast = SmaCrossover(fast=2, slow=3)

    assert asked(fast, candles).exposure.tolist() == [0, 0, 0, 0, 1, 1, 1, -1, -1, -1, -1]
    out = dataclasses.replace(fast, short=False)
    assert asked(out, candles).exposure.tolist() == [0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0]
    assert asked(fast, candles).why(5) == "SMA 2 at 13 is above SMA 3 at 12"
    assert asked(fast, candles).why(1) == "SMA 3 needs 3 bars and there are 2"


def test_a_fast_average_must_be_faster() -> None:
    with pytest.raises(ValueError, match="slow must exceed fast: got 30 and 30"):
        SmaCrossover(fast=30, slow=30)


def test_the_combination_is_the_majority_of_its_pairs_and_signals_only_where_that_changes() -> None:
    candles = walk(3000, 8)
    single = [SmaCrossover(fast, slow).target(candles).exposure for fast, slow in PAIRS]
    combined = asked(SmaCrossover(combined=True), candles)
    votes = np.array(single)[:, 50:]
    exposure, confidence = combined.exposure[50:], combined.confidence[50:]

    assert (exposure == np.sign(votes.sum(axis=0))).all()
    assert np.allclose(confidence, (votes == exposure).mean(axis=0))
    changes = np.flatnonzero(np.diff(exposure))
    assert (np.abs(np.diff(exposure)[changes]) == 2).all()  # never the same signal twice
    crossings = sum(np.count_nonzero(np.diff(each)) for each in votes)
    assert 0 < len(changes) < crossings / 2


def test_the_combination_says_how_each_pair_stands() -> None:
    said = asked(SmaCrossover(combined=True), walk(60)).why(-1)

    assert [f"SMA {fast}" in said and f"SMA {slow}" in said for fast, slow in PAIRS] == [True] * 3


def test_the_trend_is_followed_up_and_down_and_left_where_there_is_none() -> None:
    up, noise = np.linspace(100, 160, 400), 130 + np.tile([0.0, 1.0, 0.0, -1.0], 100)
    rising, falling, still = (
        asked(TrendFollowing(), of_closes(list(prices))).exposure[-1] for prices in (up, up[::-1], noise)
    )

    assert (rising, falling, still) == (1.0, -1.0, 0.0)
    assert asked(TrendFollowing(short=False), of_closes(list(up[::-1]))).exposure[-1] == 0.0
    assert "EMA 50 rises, ADX at 100.0 is a trend" in asked(TrendFollowing(), of_closes(list(up))).why(-1)


def test_reversion_buys_the_fall_and_leaves_at_the_mean() -> None:
    calm = 100 + np.tile([0.2, -0.2], 120)
    fall = [99, 97.5, 96, 95.5, 96.5, 98, 99.5, 100, 100.2]
    wanted = asked(MeanReversion(), of_closes([*calm, *fall]))
    tail = wanted.exposure[len(calm) :]

    assert tail.tolist() == [0, 1, 1, 1, 1, 1, 0, 0, 0]  # at 99 RSI is still 40; 99.5 is above the mean by then
    assert "below its 20-bar mean, RSI" in wanted.why(len(calm) + 2)
    mirrored = asked(MeanReversion(), of_closes([*(200 - calm), *(200 - np.array(fall))]))
    assert mirrored.exposure[len(calm) :].tolist() == [0, -1, -1, -1, -1, -1, 0, 0, 0]


def test_reversion_gives_up_hope_after_its_bars() -> None:
    calm = 100 + np.tile([0.2, -0.2], 120)
    fall = [*calm, 97.0, *np.linspace(96.9, 96.8, 12)]  # stays down, never stretched again, never at the mean
    held_for = asked(MeanReversion(hold=4), of_closes(fall)).exposure[len(calm) :]

    assert held_for[0] == 1.0
    assert 4 <= np.count_nonzero(held_for) < 8
    assert held_for[-1] == 0.0


def test_reversion_must_enter_farther_out_than_it_leaves() -> None:
    with pytest.raises(ValueError, match="entry must exceed leave"):
        MeanReversion(entry=1.0, leave=1.0)


def engulfed() -> pd.DataFrame:
    """Forty quiet bars; at 30 a bullish engulfing, at 33 a bearish one."""
    bars = [(100.0, 100.6, 99.4, 100.3 if t % 2 else 99.7) for t in range(40)]
    bars[29], bars[30] = (100.0, 100.2, 98.8, 99.0), (98.9, 101.2, 98.7, 101.0)
    bars[31] = bars[32] = (101.0, 102.2, 100.9, 102.0)
    bars[33] = (102.1, 102.3, 100.2, 100.4)
    opened, high, low, close = np.array(bars).T
    prices = {"open": opened, "high": high, "low": low, "close": close}
    return frame(np.arange(40) * MINUTE, {**prices, "volume": np.ones(40)})


def test_a_bullish_pattern_is_bought_and_a_bearish_one_ends_it_or_goes_short() -> None:
    candles = engulfed()
    out = asked(CandlePatterns(hold=5), candles)
    short = asked(CandlePatterns(hold=5, short=True), candles)

    assert out.exposure[29:36].tolist() == [0, 1, 1, 1, 0, 0, 0]
    assert short.exposure[29:36].tolist() == [0, 1, 1, 1, -1, -1, -1]
    assert out.why(30).startswith("Bullish Engulfing:")
    assert out.why(32).endswith("(2 bars ago)")
    assert "Bearish Engulfing:" in short.why(33)


def test_a_pattern_is_believed_for_its_bars() -> None:
    wanted = asked(CandlePatterns(hold=2), engulfed())

    assert wanted.exposure[29:34].tolist() == [0, 1, 1, 0, 0]
    assert wanted.why(32) == "no pattern in the last 2 bars"


def test_the_groups_are_patterns_and_dojis_move_nothing() -> None:
    labels = {pattern.label for pattern in PATTERNS.values()}
    assert all(set(group) <= labels for group in GROUPS.values())
    candles = walk(800, 9)
    without = asked(CandlePatterns(), candles).exposure
    assert "Doji" in GROUPS["classic"]
    graded = detect(candles, ["Doji"])
    assert (graded["Doji"] > 0).any()
    assert not _strongest(graded, 1).any()
    assert np.abs(without).any()


def test_a_bearish_doji_is_bearish_though_its_grade_is_above_zero() -> None:
    candles = walk(3000, 11)
    graded = detect(candles, ["Gravestone Doji"])

    assert (graded["Gravestone Doji"] > 0).any()
    assert _strongest(graded, -1).any()
    assert not _strongest(graded, 1).any()


# On real candles


@every
def test_on_real_days_a_window_decides_as_all_of_history(name: str, shared: Path) -> None:
    table = pd.read_csv(next((shared / "equities_daily").glob("AAPL*.csv")))
    table.columns = [column.lower() for column in table.columns]
    times = pd.DatetimeIndex(pd.to_datetime(table["timestamp"], utc=True)).as_unit("ns").asi8
    candles = frame(times, {c: table[c].to_numpy(float) for c in ("open", "high", "low", "close", "volume")})
    strategy = find(name)()
    whole, reach = asked(strategy, candles).exposure, 4 * strategy.warmup + 1
    rows = range(reach, len(candles), 9)
    same = [whole[t] == asked(strategy, candles.iloc[t + 1 - reach : t + 1]).exposure[-1] for t in rows]

    assert np.mean(same) >= AGREE
    assert whole.any()
