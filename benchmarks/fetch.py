"""31 symbols over HTTP: all at once against one by one, and against `requests` in a loop."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import orjson
import pandas as pd
import requests

import performance_utils
from benchmarks.candle_server import DAYS, INTERVAL, LATENCY_S, NOW, ROWS, running
from benchmarks.report import Goal, Section, Spread, Table, time_of
from domain.candles import timeframe
from domain.clock import ManualClock
from domain.instruments import KNOWN, instrument
from performance_utils import Desk, fetch_all_candles
from settings import Settings

HOW = (
    f"A server in a process of its own answers each symbol's {ROWS:,} candles as JSON after {LATENCY_S * 1000:.0f} ms. "
    "`fetch_all_candles` asks it through the HTTP feed, checks every row and keeps the bars on disk; each run begins "
    "with an empty data folder and new connections. The feed alone is the same without the store. The `requests` loop "
    "makes a DataFrame of each answer and checks and keeps nothing. Processor time is this process's, connections and "
    "clean-up included."
)
STOCKS = [symbol for symbol, known in KNOWN.items() if not known.is_crypto]


def measure(quick: bool) -> Section:
    """Each way in turn, the turns repeated."""
    symbols, turns = (STOCKS[:4], 1) if quick else (STOCKS, 5)
    with running() as url:
        ways: dict[str, Callable[[], float]] = {
            "fetch_all_candles, at once": lambda: _with_desk(url, lambda: _at_once(symbols)),
            "fetch_all_candles, one by one": lambda: _with_desk(url, lambda: _one_by_one(symbols)),
            "the HTTP feed alone, at once": lambda: _with_desk(url, lambda: _feed_alone(symbols)),
            "requests in a loop": lambda: _requests(url, symbols),
        }
        for way in (ways["fetch_all_candles, at once"], ways["requests in a loop"]):
            way()  # imports, the server's answers
        seen: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for turn in range(turns):
            for name, way in ways.items():
                if turn < 3 or "at once" in name:  # the slow ways are steady
                    used = time.process_time()
                    seen[name].append((way(), time.process_time() - used))
    return _section(seen, len(symbols))


def _section(seen: dict[str, list[tuple[float, float]]], symbols: int) -> Section:
    spreads = {name: Spread.of([took for took, _ in runs]) for name, runs in seen.items()}
    used = {name: time_of(Spread.of([cpu for _, cpu in runs]).median) for name, runs in seen.items()}
    slow, quick = spreads["fetch_all_candles, one by one"].median, spreads["fetch_all_candles, at once"].median
    rows = [[n, s.time(), used[n], f"{slow / s.median:.1f}", f"{s.median / LATENCY_S:.2f}"] for n, s in spreads.items()]
    rows.append([f"the floor: one latency of {LATENCY_S * 1000:.0f} ms", "", "", f"{slow / LATENCY_S:.1f}", "1"])
    header = [f"{symbols} symbols", "Time", "Processor time", "Times faster than one by one", "Times the latency"]
    goals = [Goal("times faster than one by one", 18, slow / quick, at_most=False)]
    return Section(f"{symbols} symbols over HTTP", HOW, Table(header, rows), goals)


def _with_desk(url: str, work: Callable[[], Awaitable[float]]) -> float:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        settings = Settings(data_dir=Path(folder), data_source="http", candles_url=url)
        desk = Desk(settings, ManualClock(NOW))
        performance_utils.use_desk(desk)

        async def run() -> float:
            try:
                return await work()
            finally:
                await desk.market.close()

        try:
            return asyncio.run(run())
        finally:
            performance_utils.use_desk(None)


async def _at_once(symbols: list[str]) -> float:
    begin = time.perf_counter()
    found = await fetch_all_candles(symbols, INTERVAL, DAYS)
    took = time.perf_counter() - begin
    _complete(found, found.errors, symbols)
    return took


async def _one_by_one(symbols: list[str]) -> float:
    begin = time.perf_counter()
    found: dict[str, pd.DataFrame] = {}
    for symbol in symbols:
        found.update(await fetch_all_candles([symbol], INTERVAL, DAYS))
    took = time.perf_counter() - begin
    _complete(found, {}, symbols)
    return took


async def _feed_alone(symbols: list[str]) -> float:
    feed, tf = performance_utils.desk().market.feed, timeframe(INTERVAL)
    begin = time.perf_counter()
    asked = (feed.candles(instrument(s), tf, NOW - timedelta(days=DAYS), NOW) for s in symbols)
    found = dict(zip(symbols, await asyncio.gather(*asked), strict=True))
    took = time.perf_counter() - begin
    _complete(found, {}, symbols)
    return took


def _requests(url: str, symbols: list[str]) -> float:
    begin = time.perf_counter()
    found = {}
    with requests.Session() as session:
        for symbol in symbols:
            reply = session.get(url.format(symbol=symbol, interval=INTERVAL, start="", end=""), timeout=20)
            found[symbol] = pd.DataFrame(orjson.loads(reply.content))
    took = time.perf_counter() - begin
    _complete(found, {}, symbols)
    return took


def _complete(found: dict[str, pd.DataFrame], errors: dict[str, str], symbols: list[str]) -> None:
    """A fetch that lost something must not look quick."""
    short = [s for s in symbols if s not in found or len(found[s]) != ROWS]
    if short or errors:
        raise RuntimeError(f"{len(short)} of {len(symbols)} symbols are not complete: {errors or short}")
