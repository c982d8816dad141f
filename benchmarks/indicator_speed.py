"""Eight indicators against bare TA-Lib on the same arrays, at 1,000, 100,000 and a million bars."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pandas_ta_classic as ta
import talib

import indicators
from benchmarks.report import Goal, Section, Spread, Table
from domain.candles import expected, frame, timeframe
from domain.instruments import instrument

Floats = npt.NDArray[np.float64]
TURNS = {1_000: 301, 100_000: 101, 1_000_000: 31}
HOW = (
    "Ours takes a candle frame and gives a Series or frame with its index. Bare TA-Lib is called on the same frame's "
    'columns (`candles["close"].to_numpy()`) and gives arrays; the stricter column spares it even that and hands it '
    "arrays taken out beforehand. The three run by turns, and a speed is the median over the turns of TA-Lib's time by "
    "ours. Our ADX also gives +DI and -DI, so bare TA-Lib makes the same three calls. pandas-ta-classic runs as it "
    "comes, without TA-Lib, a few times, for information."
)
HLC = ("high", "low", "close")
Call = Callable[[], Any]


def measure(quick: bool) -> Section:
    """All eight at each size."""
    turns = {1_000: 11, 100_000: 3} if quick else TURNS
    rows, goals = [], []
    for bars, count in turns.items():
        candles = _candles(bars)
        timed = {name: _by_turns(_three(candles, *calls), count) for name, calls in _calls(candles).items()}
        for name, seen in timed.items():
            other = _few(_pandas_ta(candles)[name], 1 if bars > 100_000 or quick else 3)
            ours, bare = Spread.of(seen[:, 0]), Spread.of(seen[:, 1])
            speeds = [_speed(seen, 1).plain(), _speed(seen, 2).plain()]
            rows.append([f"{bars:,}", name, ours.time(), bare.time(), *speeds, other.time()])
        whole = np.sum(list(timed.values()), 0)
        speeds = [_speed(whole, 1).plain(), _speed(whole, 2).plain()]
        rows.append([f"{bars:,}", "all eight", "", "", *speeds, ""])
        if bars >= 100_000:
            slowest = min(timed, key=lambda name: _speed(timed[name], 1).median)
            seen = {"all eight": whole, f"the slowest of the eight ({slowest})": timed[slowest]}
            for words, table in seen.items():
                speed = _speed(table, 1).median
                goals.append(Goal(f"speed at {bars:,} bars, of TA-Lib's, {words}", 0.9, speed, at_most=False))
    header = ["Bars", "Indicator", "Ours", "Bare TA-Lib", "Speed, of TA-Lib's", "of TA-Lib's on arrays"]
    return Section("Indicators", HOW, Table([*header, "pandas-ta-classic"], rows), goals)


def _candles(bars: int) -> pd.DataFrame:
    """A random walk of minute bars around the clock."""
    draw = np.random.default_rng(11)
    begin = datetime(2022, 1, 1, tzinfo=UTC)
    end = datetime.fromtimestamp(begin.timestamp() + bars * 60, tz=UTC)
    times = expected(begin, end, timeframe("1m"), instrument("BTCUSDT"))
    close = 100 * np.exp(np.cumsum(draw.normal(0, 0.001, bars)))
    opens = np.r_[close[:1], close[:-1]]
    high, low = np.maximum(opens, close) * 1.0005, np.minimum(opens, close) * 0.9995
    values = {"open": opens, "high": high, "low": low, "close": close, "volume": draw.uniform(1, 1000, bars)}
    return frame(times, values)


def _calls(candles: pd.DataFrame) -> dict[str, tuple[Call, tuple[str, ...], Callable[..., Any]]]:
    """Ours, and for TA-Lib the columns it wants and the call on them."""
    close = ("close",)
    return {
        "SMA 20": (lambda: indicators.sma(candles, 20), close, lambda c: talib.SMA(c, 20)),
        "EMA 20": (lambda: indicators.ema(candles, 20), close, lambda c: talib.EMA(c, 20)),
        "RSI 14": (lambda: indicators.rsi(candles, 14), close, lambda c: talib.RSI(c, 14)),
        "MACD 12 26 9": (lambda: indicators.macd(candles, 12, 26, 9), close, lambda c: talib.MACD(c, 12, 26, 9)),
        "BBANDS 20 2": (lambda: indicators.bollinger(candles, 20, 2.0), close, lambda c: talib.BBANDS(c, 20, 2.0, 2.0)),
        "ATR 14": (lambda: indicators.atr(candles, 14), HLC, lambda *hlc: talib.ATR(*hlc, 14)),
        "ADX 14, +DI, -DI": (lambda: indicators.adx(candles, 14), HLC, _directional),
        "STOCH 14 3 3": (
            lambda: indicators.stochastic(candles, 14, 3, 3),
            HLC,
            lambda *hlc: talib.STOCH(*hlc, 14, 3, 0, 3, 0),
        ),
    }


def _directional(*prices: Any) -> tuple[Any, ...]:
    return talib.ADX(*prices, 14), talib.PLUS_DI(*prices, 14), talib.MINUS_DI(*prices, 14)


def _pandas_ta(candles: pd.DataFrame) -> dict[str, Call]:
    high, low, close = (candles[c] for c in ("high", "low", "close"))
    return {
        "SMA 20": lambda: ta.sma(close, length=20),
        "EMA 20": lambda: ta.ema(close, length=20),
        "RSI 14": lambda: ta.rsi(close, length=14),
        "MACD 12 26 9": lambda: ta.macd(close),
        "BBANDS 20 2": lambda: ta.bbands(close, length=20, std=2.0),
        "ATR 14": lambda: ta.atr(high, low, close, length=14),
        "ADX 14, +DI, -DI": lambda: ta.adx(high, low, close, length=14),
        "STOCH 14 3 3": lambda: ta.stoch(high, low, close, k=14, d=3, smooth_k=3),
    }


def _three(candles: pd.DataFrame, ours: Call, columns: tuple[str, ...], bare: Callable[..., Any]) -> list[Call]:
    arrays = [candles[c].to_numpy() for c in columns]
    return [ours, lambda: bare(*(candles[c].to_numpy() for c in columns)), lambda: bare(*arrays)]


def _by_turns(calls: list[Call], turns: int) -> Floats:
    """Seconds, a row a turn and a column a call; who is first changes from turn to turn."""
    seen = np.empty((turns, len(calls)))
    for call in calls:
        call()
    for turn in range(turns):
        for step in range(len(calls)):
            at = (turn + step) % len(calls)
            seen[turn, at] = _time(calls[at])
    return seen


def _speed(seen: Floats, peer: int) -> Spread:
    return Spread.of(seen[:, peer] / seen[:, 0])


def _few(call: Call, count: int) -> Spread:
    return Spread.of([_time(call) for _ in range(count)])


def _time(call: Call) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin
