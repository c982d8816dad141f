"""`python -m backtest.compile`: compile once what backtests and sweeps run on, so that nobody's first run waits.

The rule: it only saves time. Where it fails, the first run compiles, as it always has.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from backtester import Backtest, Exit, Setup
from domain.candles import frame
from domain.errors import DeskError
from filters.base import find as filter_of
from strategies.base import find, names
from streams.base import stream_of
from streams.ranges import Ranges

BARS = 600
MINUTE = 60_000_000_000
BEGIN = 1_717_421_400_000_000_000  # a Monday in June 2024, 09:30 in New York


def main(step: Callable[[pd.DataFrame], None] | None = None) -> int:
    """0 when all of it is compiled and kept, 1 where something could not be."""
    begin, candles = time.perf_counter(), _bars()
    try:
        from research.sweep import sweep

        (step or _runs)(candles)
        sweep(candles, find("sma_crossover"), {"fast": [3, 5], "slow": [10, 20]})
    except Exception as error:  # noqa: BLE001 - whatever it is, whoever installs must get to the end
        print(f"The backtester will compile at its first run: now it could not ({error})", file=sys.stderr)
        return 1
    print(f"The backtester is compiled ({time.perf_counter() - begin:.0f} s).")
    return 0


def _bars() -> pd.DataFrame:
    """Bars in which everything happens: averages cross, candles differ, volume is there."""
    close = 100.0 + 5.0 * np.sin(np.arange(BARS) / 7.0)
    opens = np.r_[close[:1], close[:-1]]
    high, low = np.maximum(opens, close) + 0.5, np.minimum(opens, close) - 0.5
    values = {"open": opens, "high": high, "low": low, "close": close, "volume": np.full(BARS, 1e6)}
    return frame(BEGIN + MINUTE * np.arange(BARS), values)


def _runs(candles: pd.DataFrame) -> None:
    """Every strategy over one symbol, whole and bar by bar, and one over two that share the cash, with every filter:
    their results, trades and figures."""
    for name in names():
        with contextlib.suppress(DeskError, TypeError, ValueError):  # one that must be told or taught something first
            made = find(name)()
            Backtest(candles, made).run()
            stream_of(made).warm(candles)
    Ranges((14,)).warm(candles)
    filters = tuple(filter_of(name)() for name in ("volume", "spread", "regime", "correlation"))
    stop, target, trail = Exit("atr", 2.0), Exit("pct", 3.0), Exit("price distance", 1.0)
    rules = Setup(stop=stop, target=target, trail=trail, filters=filters)
    both = {"AAPL": candles, "MSFT": candles.iloc[5:]}
    assert Backtest(both, find("sma_crossover")(), rules).run().metrics


if __name__ == "__main__":
    sys.exit(main())
