"""Streams say, bar by bar and after any restart, what the same strategies and indicators say of the whole frame."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.candles import frame, nanos
from domain.errors import UnknownName
from domain.params import param
from indicators import CATALOGUE, adx, atr, bollinger, ema, rsi, sma
from strategies.base import Floats, Wanted, asked, find, names
from strategies.candle_patterns import GROUPS
from streams import _kernels
from streams.base import Decision, OutOfStep, Stream, follow, stream_of
from streams.handles import Handle
from streams.many import Many
from streams.ranges import Ranges
from streams.window import Window
from tests.test_strategies import drawn, of_closes, walk

COMPILED = ["sma_crossover", "trend_following", "mean_reversion"]
STREAMED = [*COMPILED, "candle_patterns"]
TICKS = [0.01, 0.25, 1.0]  # the coarser the tick, the more averages tie


def through(stream: Stream, candles: pd.DataFrame) -> list[Decision]:
    """Every bar's decision, one after the other."""
    rows = candles.itertuples()
    found = [stream.on_bar(row[0].to_pydatetime(), *row[1:6]) for row in rows]
    assert None not in found
    return [decision for decision in found if decision is not None]


def agree(said: list[Decision], wanted: Wanted, first: int, rows: Iterator[int] | range) -> None:
    """Exposure and confidence of every row from `first` on, and the words of some."""
    assert [d.exposure for d in said] == wanted.exposure[first:].tolist()
    assert [d.confidence for d in said] == wanted.confidence[first:].tolist()
    assert [said[row].why() for row in rows] == [wanted.why(first + row) for row in rows]


def real(shared: Path) -> dict[str, pd.DataFrame]:
    """Daily and five-minute bars of markets that were."""
    folder = shared / "equities_daily"
    tables = {name: pd.read_csv(folder / f"{name}.csv", parse_dates=["timestamp"]) for name in ("AAPL", "GLD")}
    for name in ("SPY", "AMD"):
        [path] = (shared / "equities_intraday").glob(f"{name}_5m_*.parquet")
        tables[f"{name} 5m"] = pd.read_parquet(path).iloc[:3000]
    return {name: _framed(table) for name, table in tables.items()}


def _framed(table: pd.DataFrame) -> pd.DataFrame:
    values = {name: table[name].to_numpy(np.float64) for name in ("open", "high", "low", "close", "volume")}
    return frame(np.arange(len(table)) * 300_000_000_000, values)


# Strategies


@pytest.mark.parametrize("name", STREAMED)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1), tick=st.sampled_from(TICKS))
@settings(max_examples=12)
def test_a_stream_says_what_the_strategy_says_row_for_row(
    name: str, data: st.DataObject, seed: int, tick: float
) -> None:
    candles, strategy = walk(700, seed, tick), drawn(data, name)

    said = through(stream_of(strategy), candles)

    agree(said, asked(strategy, candles), 0, range(0, 700, 69))


@pytest.mark.parametrize("name", COMPILED)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1), tick=st.sampled_from(TICKS))
@settings(max_examples=12)
def test_warmed_kept_and_restored_at_any_row_it_goes_on_as_if_nothing_had_been(
    name: str, data: st.DataObject, seed: int, tick: float
) -> None:
    candles, strategy = walk(600, seed, tick), drawn(data, name)
    wanted, stream = asked(strategy, candles), stream_of(strategy)
    first, *cuts = sorted(data.draw(st.lists(st.integers(1, 599), min_size=2, max_size=4, unique=True)))

    decision = stream.warm(candles.iloc[:first])

    assert decision is not None
    assert (decision.exposure, decision.why()) == (wanted.exposure[first - 1], wanted.why(first - 1))
    for begin, end in zip([first, *cuts], [*cuts, 600], strict=True):
        kept = json.loads(json.dumps(stream.state()))
        stream = stream_of(strategy)
        stream.restore(kept)
        agree(through(stream, candles.iloc[begin:end]), Wanted(*_upto(wanted, end)), begin, range(0))
    assert stream.last == candles.index[-1]


def _upto(wanted: Wanted, end: int) -> tuple[Floats, Floats]:
    return wanted.exposure[:end], wanted.confidence[:end]


@pytest.mark.parametrize("name", STREAMED)
def test_on_real_candles_too(name: str, shared: Path) -> None:
    kinds = [{"combined": True}, {}] if name == "sma_crossover" else [{}]
    for candles in real(shared).values():
        for settings_ in kinds:
            strategy = find(name)(**settings_)
            agree(through(stream_of(strategy), candles), asked(strategy, candles), 0, range(0, len(candles), 499))


@pytest.mark.parametrize("group", list(GROUPS))
def test_every_group_of_patterns_on_real_candles(group: str, shared: Path) -> None:
    candles, strategy = real(shared)["SPY 5m"].iloc[:1500], find("candle_patterns")(patterns=group, short=True)

    agree(through(stream_of(strategy), candles), asked(strategy, candles), 0, range(0, 1500, 149))


def test_patterns_go_on_after_a_restart_but_for_candles_on_the_very_limit(shared: Path) -> None:
    for candles in real(shared).values():
        strategy = find("candle_patterns")(patterns="reversal", short=True)
        wanted, half = asked(strategy, candles), len(candles) // 2
        stream = stream_of(strategy)
        stream.warm(candles.iloc[:half])
        again = stream_of(strategy)
        again.restore(json.loads(json.dumps(stream.state())))

        said = np.array([d.exposure for d in through(again, candles.iloc[half:])])

        assert (said == wanted.exposure[half:]).mean() >= 0.995


@pytest.mark.parametrize("name", STREAMED)
def test_a_price_that_stands_still_wants_nothing(name: str) -> None:
    assert {d.exposure for d in through(stream_of(find(name)()), of_closes([123.45] * 400))} == {0.0}


@pytest.mark.parametrize("name", STREAMED)
def test_a_bar_that_is_not_newer_or_not_finite_changes_nothing(name: str) -> None:
    candles, strategy = walk(300, 3), find(name)()
    stream, other = stream_of(strategy), stream_of(strategy)
    stream.warm(candles.iloc[:200])
    other.warm(candles.iloc[:200])
    time = candles.index[199].to_pydatetime()

    assert stream.on_bar(time, 1.0, 2.0, 0.5, 1.5, 10.0) is None
    assert stream.on_bar(time - timedelta(days=1), 1.0, 2.0, 0.5, 1.5, 10.0) is None
    with pytest.raises(ValueError, match="five finite numbers"):
        stream.on_bar(time + timedelta(minutes=15), 1.0, 2.0, 0.5, float("nan"), 10.0)
    with pytest.raises(ValueError, match="zone"):
        stream.on_bar(time.replace(tzinfo=None), 1.0, 2.0, 0.5, 1.5, 10.0)
    assert stream.state() == other.state()


def test_a_reason_stays_that_of_its_own_bar() -> None:
    candles, strategy = walk(200, 5), find("sma_crossover")()
    said, wanted = through(stream_of(strategy), candles), asked(strategy, candles)

    assert [d.why() for d in reversed(said)] == [wanted.why(row) for row in range(199, -1, -1)]


def test_a_state_of_other_settings_or_an_older_layout_is_refused() -> None:
    stream = stream_of(find("sma_crossover")(fast=5))
    stream.warm(walk(100))
    kept = stream.state()

    with pytest.raises(ValueError, match=r"fast=5.* does not fit .*fast=6"):
        stream_of(find("sma_crossover")(fast=6)).restore(kept)
    with pytest.raises(ValueError, match="layout 0"):
        stream.restore({**kept, "layout": 0})
    with pytest.raises(ValueError, match="cannot be read"):
        stream.restore({**kept, "numbers": kept["numbers"][:81]})
    with pytest.raises(ValueError, match=r"numbers: got 9"):
        stream.restore({**kept, "numbers": kept["numbers"][:96]})
    assert stream.state() == kept


# Strategies without a streaming form


class UpBars:
    """A person's own strategy, of ten lines, that knows nothing of streams."""

    label = about = "Up bars."
    warmup = 7
    length: int = param(7, low=2, high=50)

    def target(self, candles: pd.DataFrame) -> Wanted:
        share = (candles["close"] > candles["open"]).rolling(7).mean().fillna(0.0).to_numpy()
        return Wanted((share > 0.5) * 1.0, share, lambda row: f"{share[row]:.2f} of 7 bars rose")

    def __repr__(self) -> str:
        return "UpBars()"


def test_any_strategy_is_driven_by_its_last_bars() -> None:
    candles, strategy = walk(120, 9), UpBars()
    stream = stream_of(strategy)

    said = through(stream, candles.iloc[:60])
    kept = json.loads(json.dumps(stream.state()))
    stream = stream_of(strategy)
    stream.restore(kept)
    said += through(stream, candles.iloc[60:])

    reach = 4 * strategy.warmup + 1
    parts = [asked(strategy, candles.iloc[max(0, end - reach) : end]) for end in range(1, 121)]
    assert isinstance(stream, Window)
    assert [d.exposure for d in said] == [part.exposure[-1] for part in parts]
    assert [d.confidence for d in said] == [part.confidence[-1] for part in parts]
    assert [d.why() for d in said] == [part.why(-1) for part in parts]


@pytest.mark.parametrize("name", names())
def test_every_strategy_of_the_drawer_can_be_driven(name: str) -> None:
    candles, strategy = walk(260, 2), find(name)()
    stream = stream_of(strategy)
    stream.warm(candles.iloc[:255])

    said = through(stream, candles.iloc[255:])

    assert [d.exposure for d in said] == asked(strategy, candles).exposure[255:].tolist()


# Following frames


def test_following_frames_feeds_what_is_new_and_nothing_twice() -> None:
    candles, strategy = walk(300, 4), find("trend_following")(length=20)
    wanted, stream = asked(strategy, candles), stream_of(strategy)

    firsts = [
        follow(stream, candles.iloc[:250]),
        follow(stream, candles.iloc[200:253]),
        follow(stream, candles[240:253]),
    ]
    last = follow(stream, candles.iloc[240:300])

    assert [d and d.exposure for d in firsts] == [wanted.exposure[249], wanted.exposure[252], None]
    assert last is not None
    assert (last.exposure, last.why()) == (wanted.exposure[299], wanted.why(299))


def test_a_gap_or_a_past_written_anew_is_out_of_step() -> None:
    candles, stream = walk(300, 4), stream_of(find("sma_crossover")())
    follow(stream, candles.iloc[:200])
    kept = stream.state()

    with pytest.raises(OutOfStep, match="is not among those given"):
        follow(stream, candles.iloc[210:220])
    with pytest.raises(OutOfStep, match="other prices"):
        follow(stream, candles.iloc[150:210] * [0.5, 0.5, 0.5, 0.5, 2.0])
    assert stream.state() == kept


# Many symbols


@pytest.mark.parametrize("name", COMPILED)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=4)
def test_many_symbols_at_once_decide_as_each_by_itself(name: str, data: st.DataObject, seed: int) -> None:
    strategy, symbols = drawn(data, name), ["AAPL", "MSFT", "SPY"]
    frames = {symbol: walk(400, seed + at, 0.25) for at, symbol in enumerate(symbols)}
    wanted = {symbol: asked(strategy, candles) for symbol, candles in frames.items()}
    many = Many(strategy, symbols)
    begin = {symbol: data.draw(st.integers(0, 350), label=symbol) for symbol in symbols}
    for symbol, candles in frames.items():
        many.warm(symbol, candles.iloc[: begin[symbol]])
    values = {symbol: candles.to_numpy() for symbol, candles in frames.items()}
    times = nanos(frames["SPY"])

    for t in range(400):
        now = [symbol for symbol in symbols if t >= begin[symbol] and (seed + 7 * t + many.row[symbol]) % 5]
        for symbol in symbols:  # some come late and alone: still in their own order
            if t >= begin[symbol] and symbol not in now:
                _one(many, symbol, times[t], values[symbol][t])
        rows = np.array([many.row[symbol] for symbol in now], np.int64)
        bars = np.array([values[symbol][t] for symbol in now]).reshape(-1, 5)
        exposure, confidence = many.on_bars(rows, np.full(len(now), times[t]), bars)
        assert exposure.tolist() == [wanted[symbol].exposure[t] for symbol in now]
        assert confidence.tolist() == [wanted[symbol].confidence[t] for symbol in now]
    for symbol in symbols:
        alone = stream_of(strategy)
        alone.restore(many.state(symbol))
        assert alone.last == many.last(symbol) == frames[symbol].index[-1]
        assert many.why(symbol) == wanted[symbol].why(-1)


def _one(many: Many, symbol: str, time: int, bar: Floats) -> None:
    many.on_bars(np.array([many.row[symbol]]), np.array([time]), bar.reshape(1, -1))


def test_a_bad_bar_among_many_changes_none() -> None:
    many = Many(find("sma_crossover")(), ["AAPL", "MSFT"])
    candles = walk(100)
    for symbol in many.symbols:
        many.warm(symbol, candles.iloc[:90])
    before = [many.state(symbol) for symbol in many.symbols]
    rows, new, bars = np.array([0, 1]), nanos(candles)[[90, 90]], candles.to_numpy()[[90, 90]]
    cases: list[tuple[Any, str]] = [
        ((rows, new, bars * [[1], [np.nan]]), "MSFT: a bar must be five finite numbers"),
        ((rows, nanos(candles)[[90, 89]], bars), "MSFT: a bar must be newer"),
        ((np.array([0, 0]), new, bars), "once in a call"),
        ((rows, new, bars[:, :4]), "five numbers for each symbol"),
    ]

    for given_, rule in cases:
        with pytest.raises(ValueError, match=rule):
            many.on_bars(*given_)
    assert [many.state(symbol) for symbol in many.symbols] == before


def test_a_strategy_without_a_compiled_form_is_refused_for_many() -> None:
    with pytest.raises(ValueError, match="no compiled form"):
        Many(UpBars(), ["AAPL"])


# Indicators


def hard(kind: str, seed: int) -> pd.DataFrame:
    """Prices on which a running sum loses digits."""
    candles = walk(700, seed)
    if kind == "dear and still":
        return candles * 1e-4 + 1e6
    if kind == "stands for long":
        return candles.iloc[np.repeat(np.arange(0, 700, 35), 35)].set_axis(candles.index)
    spikes = np.where(np.arange(700) % 97 == 50, 1000.0, 1.0) if kind == "spikes" else np.ones(700)
    return candles.mul(spikes, axis=0)


@pytest.mark.parametrize("kind", ["walk", "dear and still", "stands for long", "spikes"])
@given(length=st.integers(2, 60), seed=st.integers(0, 2**32 - 1))
@example(length=5, seed=1)  # short enough to be summed anew some times
@settings(max_examples=3)
def test_the_compiled_steps_give_the_batch_s_values_to_the_bit(kind: str, length: int, seed: int) -> None:
    candles, ring = hard(kind, seed), 20
    prices, state = candles.to_numpy(), np.zeros(20 + length)
    found = np.empty((700, 5))

    for row, bar in enumerate(prices):
        state[0], state[ring + row % length] = row, bar[3]
        found[row] = (
            _kernels._average(state, 1, length, ring),
            _kernels._exponential(state, 2, length, bar[3]),
            _kernels._strength(state, 3, length, bar[3]),
            _kernels._trend(state, 6, length, bar),
            _kernels._deviation(state, 13, length, ring),
        )

    bands = bollinger(candles, length, 1.0)
    batch = [sma(candles, length), ema(candles, length), rsi(candles, length), adx(candles, length)["adx"]]
    for at, expected in enumerate(batch):
        assert np.array_equal(found[:, at], expected, equal_nan=True), at
    assert np.array_equal(found[:, 0] + found[:, 4], bands["upper"], equal_nan=True)


def handled() -> list[str]:
    return [name for name in CATALOGUE if name != "vwap"]


@pytest.mark.parametrize("name", handled())
@given(data=st.data(), seed=st.integers(0, 2**32 - 1), tick=st.sampled_from(TICKS))
@settings(max_examples=6)
def test_a_handle_gives_the_batch_s_values_to_the_bit(name: str, data: st.DataObject, seed: int, tick: float) -> None:
    candles, declared = walk(300, seed, tick), CATALOGUE[name].params
    chosen = {key: data.draw(st.integers(int(p.low or 0) or 1, 40)) for key, p in declared.items() if p.kind is int}
    if name == "macd":
        chosen["slow"] = chosen["fast"] + data.draw(st.integers(1, 20))
    batch = np.array(pd.DataFrame(CATALOGUE[name].compute(candles, **chosen)))
    begin = data.draw(st.integers(0, 299))
    handle = Handle(name, **chosen)

    assert np.array_equal(
        handle.warm(candles.iloc[:begin]), batch[begin - 1] if begin else handle.values, equal_nan=True
    )
    for row, bar in zip(range(begin, 300), candles.to_numpy()[begin:].tolist(), strict=True):
        peeked = handle.peek(*bar)
        assert np.array_equal(handle.update(*bar), batch[row], equal_nan=True)
        assert np.array_equal(peeked, handle.values, equal_nan=True)


def test_a_handle_refuses_what_is_no_bar_or_no_such_indicator() -> None:
    handle = Handle("rsi")
    before = handle.warm(walk(50))

    with pytest.raises(ValueError, match="five finite numbers"):
        handle.update(1.0, 2.0, float("inf"), 1.0, 1.0)
    assert handle.values == before
    with pytest.raises(UnknownName, match="rsi"):
        Handle("rsy")
    with pytest.raises(UnknownName, match="length"):
        Handle("rsi", lenght=3)
    with pytest.raises(ValueError, match="slow must exceed fast"):
        Handle("macd", fast=20, slow=10)


@given(seed=st.integers(0, 2**32 - 1), period=st.integers(1, 60), cut=st.integers(1, 299))
@settings(max_examples=6)
def test_the_range_that_exits_ask_for_is_the_batch_s_before_and_after_a_restart(
    seed: int, period: int, cut: int
) -> None:
    candles = walk(300, seed)
    ranges = Ranges([period, 14])
    ranges.warm(candles.iloc[:cut])
    kept, ranges = json.loads(json.dumps(ranges.state())), Ranges([period, 14])
    ranges.restore(kept)

    for time, bar in zip(candles.index[cut:], candles.to_numpy()[cut:].tolist(), strict=True):
        ranges.on_bar(time.to_pydatetime(), *bar)

    expected = {length: float(atr(candles, length).iloc[-1]) for length in (period, 14)}
    assert ranges.values.keys() == expected.keys()
    assert np.array_equal(list(ranges.values.values()), list(expected.values()), equal_nan=True)
