"""Our side of the backtest benchmark: a process that answers jobs. Started by `benchmarks.backtests`.

Frames and rules stand ready before the clock starts, as they do for the peers; each timing is of a whole answer.
"""

from __future__ import annotations

import functools
import gc
import sys
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

IMPORTING = time.perf_counter()

import numpy as np  # noqa: E402 - the clock above also counts what stands here
import pandas as pd  # noqa: E402

from backtester import Backtest, Exit, Result, Setup  # noqa: E402
from domain.calendars import ALWAYS  # noqa: E402
from domain.candles import frame  # noqa: E402
from domain.fees import Commission  # noqa: E402
from domain.instruments import Instrument  # noqa: E402
from domain.matching import FillRules  # noqa: E402
from strategies.sma_crossover import SmaCrossover  # noqa: E402

IMPORTED = time.perf_counter() - IMPORTING

from benchmarks.answering import serve  # noqa: E402
from benchmarks.backtests_data import DAY, MINUTE, times  # noqa: E402

FREE = FillRules(
    half_spread_bps=0.0,
    slippage_bps=0.0,
    ignore_volume=True,
    touch_fills=True,
    regulatory_fees=False,
    commission=Commission(bps=Decimal(10)),
)
PLAIN = Setup(cash=1e7, fills=FREE, sizing="shares", shares=100.0, whole_cents=False)
STOPS = Setup(
    cash=1e7,
    fills=FREE,
    sizing="shares",
    shares=100.0,
    whole_cents=False,
    stop=Exit("pct", 1.0),
    target=Exit("pct", 2.0),
)
FROM_SIGNAL = Setup(**{name: getattr(STOPS, name) for name in STOPS.__slots__} | {"exits_from": "signal"})
FINE = Decimal("0.00000001")  # peers know no tick: with ours this small, rounding to it changes nothing
FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()


@functools.cache
def candles(name: str, each: int = MINUTE) -> pd.DataFrame:
    return _frame(np.load(FOLDER / f"{name}.npy"), each)


@functools.cache
def year() -> dict[str, pd.DataFrame]:
    """One symbol read at a time: what the file takes in memory is no part of a backtest's."""
    count = len(np.load(FOLDER / "year.npy", mmap_mode="r"))
    return {f"S{s:02}": _frame(np.array(np.load(FOLDER / "year.npy", mmap_mode="r")[s]), MINUTE) for s in range(count)}


def _frame(block: Any, each: int) -> pd.DataFrame:
    return frame(times(block.shape[1], each), dict(zip(("open", "high", "low", "close", "volume"), block, strict=True)))


def _of(symbol: str) -> Instrument:
    return Instrument(symbol, tick=FINE, calendar_code=ALWAYS)


# Jobs


def one(bars: int, whole: bool = True, exits_from: str = "fill") -> dict[str, Any]:
    """A crossover with stops; `whole`: its trades as a table and every metric too."""
    setup, data = FROM_SIGNAL if exits_from == "signal" else STOPS, candles(f"one_{bars}")

    def run() -> Result:
        result = Backtest(data, SmaCrossover(fast=10, slow=30), setup, instrument=_of("ONE")).run()
        return _whole(result) if whole else result

    return _timed(run)


def many(whole: bool = True) -> dict[str, Any]:
    """All symbols of the year with one cash."""
    data = year()
    of = {symbol: _of(symbol) for symbol in data}

    def run() -> Result:
        result = Backtest(data, SmaCrossover(fast=10, slow=30), STOPS, instrument=of).run()
        return _whole(result) if whole else result

    return _timed(run)


def swept(fasts: list[int], slows: list[int], jobs: int = -1) -> dict[str, Any]:
    """Every pair: trades, profit, Sharpe, deepest fall and exposure."""
    from research.sweep import sweep

    data = candles("swept", DAY)
    begin = time.perf_counter()
    found = sweep(
        data, SmaCrossover, {"fast": fasts, "slow": slows}, PLAIN, jobs=jobs, most=10**6, instrument=_of("SWEPT")
    )
    seconds = time.perf_counter() - begin
    table = found.table
    return {
        "seconds": seconds,
        "trades": int(table["trades"].sum()),
        "equity": float(table["profit"].sum()),
        "compiled": found.compiled,
    }


def first(bars: int) -> dict[str, Any]:
    """What a fresh process waits for: its imports, and then its first whole result."""
    data = candles(f"one_{bars}")
    begin = time.perf_counter()
    result = Backtest(data, SmaCrossover(fast=10, slow=30), STOPS, instrument=_of("ONE")).run()
    _whole(result)
    return {"seconds": time.perf_counter() - begin, "imported": IMPORTED}


def parts(case: str, bars: int = 0, turns: int = 5) -> dict[str, Any]:
    """Where a whole result's time goes, and what a bare loop over the same arrays takes. Medians, in seconds."""
    from backtest.inputs import gather, named
    from backtest.run import walk
    from benchmarks.backtests_bare import bare, bare_many

    given: Any = year() if case == "many" else candles(f"one_{bars}")
    of: Any = {symbol: _of(symbol) for symbol in year()} if case == "many" else _of("ONE")
    test = Backtest(given, SmaCrossover(fast=10, slow=30), STOPS, instrument=of)
    blocks = np.load(FOLDER / ("year.npy" if case == "many" else f"one_{bars}.npy"))
    bare_one = (
        (lambda: bare_many(blocks, 10, 30, 0.01, 0.02, 0.001, 100.0, 0))
        if case == "many"
        else (lambda: bare(blocks, 10, 30, 0.01, 0.02, 0.001, 100.0, 0))
    )
    seen: dict[str, list[float]] = {}

    def clock(name: str, call: Callable[[], Any]) -> Any:
        gc.collect()
        begin = time.perf_counter()
        found = call()
        seen.setdefault(name, []).append(time.perf_counter() - begin)
        return found

    for _ in range(turns + 1):
        clock("bare loop", bare_one)
        clock("all of it", lambda: _whole(test.run()))
        inputs = clock("inputs", lambda: gather(named(given, of), test._wishes, STOPS, None, None))
        clock("pass", lambda inputs=inputs: walk(inputs))
        result = test.run()
        clock("trades", lambda result=result: result.trades)
        clock("metrics", lambda result=result: result.metrics)
    return {"parts": {name: sorted(found[1:])[len(found[1:]) // 2] for name, found in seen.items()}}


def bare_sweep(fasts: list[int], slows: list[int]) -> dict[str, Any]:
    """The sweep as a bare loop, on one core."""
    from benchmarks.backtests_bare import bare_sweep as loop

    block, pairs = np.load(FOLDER / "swept.npy"), np.array([(f, s) for f in fasts for s in slows])
    fast, slow, out = np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1]), np.empty((len(pairs), 3))
    loop(block, fast[:1], slow[:1], 0.001, 100.0, out)
    begin = time.perf_counter()
    loop(block, fast, slow, 0.001, 100.0, out)
    return {"seconds": time.perf_counter() - begin, "trades": int(out[:, 0].sum()), "equity": float(out[:, 1].sum())}


def second_opinion(bars: int, rules: int) -> dict[str, Any]:
    """The bare loop by the rules of one side."""
    from benchmarks.backtests_bare import bare

    block = np.load(FOLDER / f"one_{bars}.npy")
    trades, profit, _ = bare(block, 10, 30, 0.01, 0.02, 0.001, 100.0, rules)
    return {"trades": trades, "equity": 1e7 + profit}


def second_opinion_many(rules: int) -> dict[str, Any]:
    """The same of the year."""
    from benchmarks.backtests_bare import bare_many

    trades, profit = bare_many(np.load(FOLDER / "year.npy"), 10, 30, 0.01, 0.02, 0.001, 100.0, rules)
    return {"trades": trades, "equity": 1e7 + profit}


def _whole(result: Result) -> Result:
    assert len(result.trades) >= 0
    assert len(result.metrics) > 0
    return result


def _timed(run: Callable[[], Result]) -> dict[str, Any]:
    gc.collect()
    begin = time.perf_counter()
    result = run()
    seconds = time.perf_counter() - begin
    closed = int((result.trades["reason"] != "open").sum())
    return {"seconds": seconds, "trades": closed, "equity": float(result.walked.equity[-1])}


if __name__ == "__main__":
    serve(
        {
            "one": one,
            "many": many,
            "swept": swept,
            "first": first,
            "parts": parts,
            "bare_sweep": bare_sweep,
            "second_opinion": second_opinion,
            "second_opinion_many": second_opinion_many,
        }
    )
