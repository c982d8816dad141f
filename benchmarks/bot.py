"""The bot's thinking: five strategies on 500 symbols, bar by bar, beside a plain pandas recompute of the same."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.report import Goal, Section, Spread, Table, time_of
from domain.candles import COLUMNS, frame
from strategies.base import Floats, asked, find
from streams.base import stream_of
from streams.many import Many
from streams.window import Window

BEGIN = 1_717_421_400_000_000_000  # a Monday in June 2024
MINUTE = 60_000_000_000
HISTORY = 1000
FEW, ALL = 31, 500
Clock = Callable[[], float]
HOW = (
    "Five strategies decide on each closed minute bar of 500 random walks after 1,000 bars of history: SMA 5/15, SMA "
    "10/30, the three pairs together, trend following (EMA 50, ADX 14), mean reversion (20 bars, RSI 14). A bar is one "
    "symbol's bar put to all five on one core; a speed is the median over the turns, by the core's own time. "
    "Plain pandas works each decision out anew from a slice of a frame that is already there, with `rolling` and `ewm` "
    "over no more rows than the strategy's own warm-up and one. `asked` is the backtester's way over "
    "the window of 4 warm-ups and a bar. The last two are timed over fewer symbols."
)
LATENCY = (
    "**From a bar to its five decisions**, thought alone: no quotes, sizes, gates or ledger are in it. The bars of all "
    "symbols close at one moment. Together: until the last symbol's fifth decision. One by one: from a symbol's turn "
    "to its fifth decision."
)


def measure(quick: bool) -> Section:
    """Speed, the time to a decision, and memory."""
    bars = _walks(ALL, HISTORY + (60 if quick else 400))
    ours, alone = _together(bars), _alone(bars)
    window, plain = _asked(bars, 2 if quick else 10), _pandas(bars, 2 if quick else 10)
    rows = [
        ["streams, all symbols in one call", *_cells(ours, plain)],
        ["streams, one symbol a call", *_cells(alone, plain)],
        ["`asked`, on a window", *_cells(window, plain)],
        ["plain pandas, on a window", *_cells(plain, plain)],
    ]
    words = "bars a second, of plain pandas', all symbols in one call"
    goals = [Goal(words, 300, ours.median / plain.median, at_most=False)]
    notes = [LATENCY, *_latency(bars, 60 if quick else 400), _memory(bars), _same(bars, 60 if quick else 400)]
    return Section("The bot's thinking", HOW, Table(["", "Bars a second", "Of plain pandas'"], rows), goals, notes)


def _cells(seen: Spread, plain: Spread) -> list[str]:
    return [f"{seen.median:,.0f} ({seen.low:,.0f}–{seen.high:,.0f})", f"{seen.median / plain.median:,.1f}"]


def _strategies() -> list[Any]:
    crossover = find("sma_crossover")
    pairs = [crossover(fast=5, slow=15), crossover(fast=10, slow=30), crossover(combined=True)]
    return [*pairs, find("trend_following")(), find("mean_reversion")()]


def _walks(symbols: int, rows: int) -> Floats:
    """(bar, symbol, open high low close volume) on ticks of a cent."""
    draw = np.random.default_rng(17)
    close = 100 * np.exp(np.cumsum(draw.normal(0, 0.002, (rows, symbols)), axis=0))
    opens = np.vstack([close[:1], close[:-1]])
    high, low = np.maximum(opens, close) * 1.001, np.minimum(opens, close) * 0.999
    volume = draw.integers(1, 1000, close.shape)
    return np.ascontiguousarray(np.round(np.stack([opens, high, low, close, volume], axis=2), 2))


def _frame(bars: Floats, symbol: int, begin: int, end: int) -> pd.DataFrame:
    values = {name: bars[begin:end, symbol, at] for at, name in enumerate(COLUMNS)}
    return frame(BEGIN + MINUTE * np.arange(begin, end), values)


def _warm(bars: Floats, symbols: int) -> list[Many]:
    names = [f"S{at}" for at in range(symbols)]
    made = [Many(strategy, names) for strategy in _strategies()]
    for at, name in enumerate(names):
        candles = _frame(bars, at, 0, HISTORY)
        for many in made:
            many.warm(name, candles)
    return made


def _together(bars: Floats) -> Spread:
    return Spread.of([ALL / seconds for seconds in _moments(bars, ALL, time.thread_time)])


def _moments(bars: Floats, symbols: int, clock: Clock) -> list[float]:
    """Seconds that each moment's bars take, all symbols and strategies."""
    made, rows, seen = _warm(bars, symbols), np.arange(symbols), []
    for t in range(HISTORY, len(bars)):
        begin = clock()
        times = np.full(symbols, BEGIN + MINUTE * t)
        for many in made:
            many.on_bars(rows, times, bars[t, :symbols])
        seen.append(clock() - begin)
    return seen


def _alone(bars: Floats) -> Spread:
    seen = np.array(_turns(bars, ALL, time.thread_time)).reshape(-1, ALL).sum(axis=1)
    return Spread.of((ALL / seen).tolist())


def _turns(bars: Floats, symbols: int, clock: Clock) -> list[float]:
    """Seconds that each bar of each symbol takes through its own five streams."""
    made = [[stream_of(strategy) for strategy in _strategies()] for _ in range(symbols)]
    for at, streams in enumerate(made):
        candles = _frame(bars, at, 0, HISTORY)
        for stream in streams:
            stream.warm(candles)
    seen = []
    for t in range(HISTORY, len(bars)):
        when, table = _moment(t), bars[t, :symbols].tolist()
        for streams, bar in zip(made, table, strict=True):
            begin = clock()
            for stream in streams:
                stream.on_bar(when, *bar)
            seen.append(clock() - begin)
    return seen


def _moment(t: int) -> datetime:
    return datetime.fromtimestamp(BEGIN / 1e9, tz=UTC) + timedelta(minutes=t)


def _asked(bars: Floats, symbols: int) -> Spread:
    def decide(strategy: Any, candles: pd.DataFrame) -> float:
        return float(asked(strategy, candles.iloc[-4 * strategy.warmup - 1 :]).exposure[-1])

    return _recomputed(bars, symbols, decide)


def _pandas(bars: Floats, symbols: int) -> Spread:
    return _recomputed(bars, symbols, _plain)


def _recomputed(bars: Floats, symbols: int, decide: Callable[[Any, pd.DataFrame], float]) -> Spread:
    frames = [_frame(bars, at, 0, len(bars)) for at in range(symbols)]
    made, speeds = _strategies(), []
    for t in range(len(bars) - 30, len(bars)):
        begin = time.thread_time()
        for candles in frames:
            seen = candles.iloc[:t]
            for strategy in made:
                decide(strategy, seen)
        speeds.append(symbols / (time.thread_time() - begin))
    return Spread.of(speeds)


def _plain(strategy: Any, candles: pd.DataFrame) -> float:
    """The last decision by pandas alone, over the rows of a warm-up and one."""
    return PLAIN[type(strategy).__name__](strategy, candles.iloc[-strategy.warmup - 1 :])


def _plain_crossover(strategy: Any, candles: pd.DataFrame) -> float:
    close = candles["close"]
    sides = [close.rolling(f).mean().iloc[-1] - close.rolling(s).mean().iloc[-1] for f, s in strategy.pairs]
    return float(np.sign(np.sign(sides).sum()))


def _plain_trend(strategy: Any, candles: pd.DataFrame) -> float:
    high, low, close = candles["high"], candles["low"], candles["close"]
    average = close.ewm(span=strategy.length, adjust=False).mean()
    rise, fall, before = high.diff(), -low.diff(), close.shift()
    reach = pd.concat([high - low, (high - before).abs(), (low - before).abs()], axis=1).max(axis=1)
    smooth = {"alpha": 1 / strategy.adx_length, "adjust": False}
    total = reach.ewm(**smooth).mean()
    plus = rise.where((rise > fall) & (rise > 0), 0.0).ewm(**smooth).mean() / total
    minus = fall.where((fall > rise) & (fall > 0), 0.0).ewm(**smooth).mean() / total
    adx = (100 * (plus - minus).abs() / (plus + minus)).ewm(**smooth).mean()
    return float(np.sign(average.iloc[-1] - average.iloc[-2])) if adx.iloc[-1] >= strategy.strength else 0.0


def _plain_reversion(strategy: Any, candles: pd.DataFrame) -> float:
    """Whether it is stretched now; how long that is believed is left out, in pandas' favour."""
    close = candles["close"]
    rolled, change = close.rolling(strategy.length), close.diff()
    score = ((close - rolled.mean()) / rolled.std(ddof=0)).iloc[-1]
    smooth = {"alpha": 1 / strategy.rsi_length, "adjust": False}
    up, down = change.clip(lower=0).ewm(**smooth).mean(), (-change).clip(lower=0).ewm(**smooth).mean()
    strength = (100 * up / (up + down)).iloc[-1]
    if score <= -strategy.entry and strength <= strategy.oversold:
        return 1.0
    return -1.0 if score >= strategy.entry and strength >= 100 - strategy.oversold else 0.0


PLAIN: dict[str, Callable[[Any, pd.DataFrame], float]] = {
    "SmaCrossover": _plain_crossover,
    "TrendFollowing": _plain_trend,
    "MeanReversion": _plain_reversion,
}


def _latency(bars: Floats, moments: int) -> list[str]:
    part = bars[: HISTORY + moments]
    rows = []
    for symbols in (FEW, ALL):
        for words, timed in (("together", _moments), ("one by one", _turns)):
            seen = timed(part, symbols, time.perf_counter)
            middle, worst = np.percentile(seen, [50, 99])
            rows.append([f"{symbols}", words, time_of(float(middle)), time_of(float(worst)), f"{len(seen):,}"])
    return ["\n".join(Table(["Symbols", "", "p50", "p99", "Timed"], rows).lines())]


def _memory(bars: Floats) -> str:
    made = _warm(bars[: HISTORY + 1], 2)
    together = sum((many.numbers_each + len(COLUMNS) + 1) * 8 for many in made)
    alone = _held(bars, lambda strategy: stream_of(strategy))
    windows = _held(bars, Window)
    return (
        f"Memory for one symbol and all five strategies, its history done: {together:,} bytes side by side, "
        f"{alone / 1024:,.1f} KiB as five streams of its own, {windows / 1024:,.1f} KiB as five windows of bars."
    )


def _held(bars: Floats, make: Callable[[Any], Any]) -> float:
    """Bytes that one symbol's five hold, over ten symbols."""
    candles = _frame(bars, 0, 0, HISTORY)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    made = [make(strategy) for _ in range(10) for strategy in _strategies()]
    for stream in made:
        stream.warm(candles)
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    return held / 10


def _same(bars: Floats, moments: int) -> str:
    """That the compared decide alike, where rounding and the start of an average leave them alike."""
    made, rows = _warm(bars, FEW), np.arange(FEW)
    frames = [_frame(bars, at, 0, len(bars)) for at in range(FEW)]
    same = count = 0
    for t in range(HISTORY, HISTORY + moments):
        times = np.full(FEW, BEGIN + MINUTE * t)
        ours = [many.on_bars(rows, times, bars[t, :FEW])[0] for many in made[:4]]
        if t % 20:
            continue
        for strategy, wanted in zip(_strategies()[:4], ours, strict=True):
            said = [_plain(strategy, candles.iloc[: t + 1]) for candles in frames]
            same, count = same + int((wanted == said).sum()), count + FEW
    return f"The first four of the five decide alike in pandas and here in {same:,} of {count:,} decisions compared."
