"""The peers' side of the backtest benchmark: runs in their own virtual environment, made by `benchmarks.backtests`.

Both are used as their manuals say, with what spares them work: signals are made with whole arrays, nothing is plotted,
no progress is shown. Trades are counted and the account is read from their own answers.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import io
import sys
import time
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.answering import serve
from benchmarks.backtests_data import DAY, MINUTE, times

warnings.filterwarnings("ignore")
FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path()
CASH, SIZE, RATE = 1e7, 100, 0.001
COLUMNS = ("Open", "High", "Low", "Close", "Volume")


@functools.cache
def bars_of(name: str, each: int = MINUTE) -> pd.DataFrame:
    block = np.load(FOLDER / f"{name}.npy")
    index = pd.DatetimeIndex(times(block.shape[1], each).view("datetime64[ns]"))
    return pd.DataFrame(dict(zip(COLUMNS, block, strict=True)), index=index)


@functools.cache
def year() -> dict[str, pd.DataFrame]:
    """Of each column a frame with a column a symbol, as vectorbt wants them."""
    blocks = np.load(FOLDER / "year.npy")
    index = pd.DatetimeIndex(times(blocks.shape[2]).view("datetime64[ns]"))
    symbols = [f"S{s:02}" for s in range(len(blocks))]
    return {name: pd.DataFrame(blocks[:, at].T.copy(), index, symbols) for at, name in enumerate(COLUMNS[:4])}


# vectorbt


def turns_of(above: Any, known: Any) -> tuple[Any, Any]:
    """(entries, short entries) from `above`, told at the bar whose open fills them; the first side after the warm-up
    counts, as it does for us."""
    up, down = above & known, ~above & known
    entries, shorts = np.zeros_like(up), np.zeros_like(up)
    entries[2:], shorts[2:] = up[1:-1] & ~up[:-2], down[1:-1] & ~down[:-2]
    entries[1], shorts[1] = up[0], down[0]
    return entries, shorts


def vectorbt_portfolio(frames: Any, engine: str, **more: Any) -> Any:
    import vectorbt as vbt

    close = frames["Close"]
    fast, slow = vbt.MA.run(close, 10).ma.to_numpy(), vbt.MA.run(close, 30).ma.to_numpy()
    known = np.ones(slow.shape, dtype=bool)
    known[:30] = False
    entries, shorts = turns_of(fast > slow, known)
    return vbt.Portfolio.from_signals(
        close,
        entries=entries,
        short_entries=shorts,
        price=frames["Open"],
        open=frames["Open"],
        high=frames["High"],
        low=frames["Low"],
        sl_stop=0.01,
        tp_stop=0.02,
        stop_entry_price="fillprice",
        upon_opposite_entry="reverse",
        size=SIZE,
        fees=RATE,
        init_cash=CASH,
        freq="1min",
        engine=engine,
        **more,
    )


def vectorbt_one(bars: int, engine: str = "numba", whole: bool = True, readable: bool = False) -> dict[str, Any]:
    """A crossover with stops; `whole`: its records of trades and `stats()` too; `readable`: its readable table."""
    frames = bars_of(f"one_{bars}")

    def run() -> Any:
        found = vectorbt_portfolio(frames, engine)
        assert not readable or len(found.trades.records_readable) >= 0
        return _vectorbt_whole(found) if whole else found

    return _vectorbt_timed(run)


def vectorbt_many(engine: str = "numba", whole: bool = True) -> dict[str, Any]:
    """All symbols of the year with one cash."""
    frames = year()

    def run() -> Any:
        found = vectorbt_portfolio(frames, engine, group_by=True, cash_sharing=True)
        return _vectorbt_whole(found) if whole else found

    return _vectorbt_timed(run)


def vectorbt_swept(fasts: list[int], slows: list[int], engine: str = "numba", chunk: int = 0) -> dict[str, Any]:
    """Every pair: trades, profit, Sharpe and deepest fall; `chunk` pairs at a time where it is given."""
    close, opens = bars_of("swept", DAY)["Close"], bars_of("swept", DAY)["Open"]
    gc.collect()
    import vectorbt as vbt

    begin, trades, equity = time.perf_counter(), 0, 0.0
    windows = {n: vbt.MA.run(close, n).ma.to_numpy() for n in [*fasts, *slows]}
    every = [(fast, slow) for fast in fasts for slow in slows]
    step = chunk or len(every)
    for at in range(0, len(every), step):
        some = every[at : at + step]
        quick = np.column_stack([windows[fast] for fast, _ in some])
        steady = np.column_stack([windows[slow] for _, slow in some])
        known = np.arange(len(close))[:, None] >= np.array([slow for _, slow in some])
        entries, shorts = turns_of(quick > steady, known)
        del quick, steady, known
        found = vbt.Portfolio.from_signals(
            close,
            entries=entries,
            short_entries=shorts,
            price=opens,
            upon_opposite_entry="reverse",
            size=SIZE,
            fees=RATE,
            init_cash=CASH,
            freq="1D",
            engine=engine,
        )
        trades += int(np.sum(found.trades.closed.count().to_numpy()))
        equity += float(np.sum(found.total_profit().to_numpy()))
        assert len(found.sharpe_ratio()) == len(found.max_drawdown()) == len(some)
        del found, entries, shorts
        if chunk:
            gc.collect()  # its portfolios lie in cycles and pile up otherwise
    return {"seconds": time.perf_counter() - begin, "trades": trades, "equity": equity}


def vectorbt_first(bars: int, engine: str = "numba") -> dict[str, Any]:
    """What a fresh process waits for: its imports, and then its first whole result."""
    frames = bars_of(f"one_{bars}")
    begin = time.perf_counter()
    import vectorbt  # noqa: F401

    imported = time.perf_counter() - begin
    begin = time.perf_counter()
    _vectorbt_whole(vectorbt_portfolio(frames, engine))
    return {"seconds": time.perf_counter() - begin, "imported": imported}


def _vectorbt_whole(found: Any) -> Any:
    assert len(found.trades.records) >= 0
    assert len(found.stats()) > 0
    return found


def _vectorbt_timed(run: Callable[[], Any]) -> dict[str, Any]:
    import vectorbt  # noqa: F401 - not timed

    gc.collect()
    begin = time.perf_counter()
    found = run()
    seconds = time.perf_counter() - begin
    value = found.value()
    closed = int(np.sum(found.trades.closed.count()))
    return {"seconds": seconds, "trades": closed, "equity": float(value.iloc[-1])}


# backtesting.py


@functools.cache
def crossover() -> Any:
    from backtesting import Strategy

    class Crossover(Strategy):
        fast, slow, stop, target = 10, 30, 0.0, 0.0

        def init(self) -> None:
            close = pd.Series(self.data.Close)
            fast, slow = close.rolling(self.fast).mean(), close.rolling(self.slow).mean()
            early = np.arange(len(close)) < self.slow
            self.side = self.I(lambda: np.where(early, 0.0, np.where(fast > slow, 1.0, -1.0)))

        def next(self) -> None:
            side = self.side[-1]
            if side == self.side[-2]:
                return
            price = self.data.Close[-1]
            away = {"sl": price * (1 - side * self.stop), "tp": price * (1 + side * self.target)} if self.stop else {}
            (self.buy if side > 0 else self.sell)(size=SIZE, **away)

    Crossover.__qualname__ = "Crossover"
    globals()["Crossover"] = Crossover  # its own processes look for it by name
    return Crossover


def backtesting_one(bars: int) -> dict[str, Any]:
    """A crossover with stops, whose distance counts from the close that decided: it knows no other way."""
    test = _backtesting(bars_of(f"one_{bars}"))
    gc.collect()
    begin = time.perf_counter()
    found = _quietly(lambda: test.run(stop=0.01, target=0.02))
    return {
        "seconds": time.perf_counter() - begin,
        "trades": len(found._trades),
        "equity": float(found["Equity Final [$]"]),
    }


def backtesting_symbol() -> dict[str, Any]:
    """The first symbol of the year on its own: it knows no shared cash."""
    block = np.load(FOLDER / "year.npy", mmap_mode="r")[0]
    index = pd.DatetimeIndex(times(block.shape[1]).view("datetime64[ns]"))
    test = _backtesting(pd.DataFrame(dict(zip(COLUMNS, block, strict=True)), index=index))
    begin = time.perf_counter()
    found = _quietly(lambda: test.run(stop=0.01, target=0.02))
    return {"seconds": time.perf_counter() - begin, "trades": len(found._trades)}


def backtesting_swept(fasts: list[int], slows: list[int]) -> dict[str, Any]:
    """`optimize` over every pair, in its own processes."""
    test = _backtesting(bars_of("swept", DAY))
    gc.collect()
    begin = time.perf_counter()
    _, heat = _quietly(lambda: test.optimize(fast=fasts, slow=slows, maximize="Equity Final [$]", return_heatmap=True))
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "equity": float((heat - CASH).sum()), "count": len(heat)}


def _backtesting(data: pd.DataFrame) -> Any:
    from backtesting import Backtest

    return Backtest(data, crossover(), cash=CASH, commission=RATE, exclusive_orders=True)


def _quietly(call: Callable[[], Any]) -> Any:
    with contextlib.redirect_stderr(io.StringIO()):
        return call()


def versions() -> dict[str, Any]:
    """What this environment holds."""
    names = ("backtesting", "vectorbt", "vectorbt-rust", "numpy", "pandas", "numba")
    return {"versions": {name: metadata.version(name) for name in names}}


if __name__ == "__main__":
    serve(
        {
            "vectorbt_one": vectorbt_one,
            "vectorbt_many": vectorbt_many,
            "vectorbt_swept": vectorbt_swept,
            "vectorbt_first": vectorbt_first,
            "backtesting_one": backtesting_one,
            "backtesting_symbol": backtesting_symbol,
            "backtesting_swept": backtesting_swept,
            "versions": versions,
        }
    )
