"""Walk the compiled pass over the inputs, a stretch of time at a time, so that many symbols need little memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backtest import book as b
from backtest.book import Floats
from backtest.inputs import Inputs, fee_table, read_only, rules_of, state_of

STRETCH_BYTES = 4_000_000
BARS_A_TRADE = 16  # where trades are denser, the pass makes more space itself


@dataclass(frozen=True, slots=True, eq=False)
class Walked:
    """What a pass leaves behind: the account before the first bar and after each, what is held as a share of it (net,
    gross; NaN where nothing is left to share), and rows as `backtest.book` describes them. `cut` orders
    were more than the account could carry, `refused` wishes came to less than one lot, and in `doubtful` bars both the
    stop and the target lay."""

    equity: Floats
    net: Floats
    gross: Floats
    fills: Floats
    trades: Floats
    cut: int = 0
    refused: int = 0
    doubtful: int = 0


def compiled_before() -> bool:
    """Whether this machine has compiled the pass, as it is written now; else the next run takes some twenty seconds
    longer."""
    from backtest.kernel import walk as compiled

    kept = list(Path(compiled.stats.cache_path).glob("kernel.*.nbi"))
    written = max((file.stat().st_mtime for file in kept), default=0.0)
    parts = [Path(__file__).with_name(f"{name}.py") for name in ("kernel", "book", "protection", "sizing")]
    return written > max((file.stat().st_mtime for file in parts if file.is_file()), default=0.0)


def walk(inputs: Inputs) -> Walked:
    """The run, compiled. ValueError where a symbol's arrays do not fit each other: the pass would read past them."""
    from backtest.kernel import walk as compiled  # reading the compiled code takes a moment

    check(inputs)
    bars = len(inputs.times)
    account, rules, (state, sessions) = np.zeros(b.ACCOUNT), rules_of(inputs.setup), state_of(inputs)
    account[b.CASH] = inputs.setup.cash
    equity, net, gross = np.empty((3, bars + 1))
    equity[0], net[0], gross[0] = inputs.setup.cash, 0.0, 0.0
    likely = bars * len(inputs.ones) // BARS_A_TRADE + 512  # rows that nobody writes to take no memory
    fills, trades = np.empty((2 * likely, b.FILL_COLUMNS)), np.empty((likely, b.TRADE_COLUMNS))
    for lo, hi, block, want, ranges in _stretches(inputs):
        fills, trades = compiled(
            account,
            state,
            fills,
            trades,
            read_only(inputs.times[lo:hi]),
            read_only(block),
            read_only(want),
            read_only(ranges),
            equity[1 + lo : 1 + hi],
            net[1 + lo : 1 + hi],
            gross[1 + lo : 1 + hi],
            rules,
            sessions,
            fee_table(),
            hi == bars,
        )
    counts = (int(account[at]) for at in (b.CUT, b.REFUSED, b.DOUBTFUL))
    n_fills, n_trades = int(account[b.N_FILLS]), int(account[b.N_TRADES])
    return Walked(equity, net, gross, fills[:n_fills], trades[:n_trades], *counts)


def check(inputs: Inputs) -> None:
    """ValueError names the symbol and what does not fit."""
    bars, lines = len(inputs.times), len(inputs.setup.periods)
    if not inputs.ones or not bars:
        raise ValueError(f"a run needs symbols and bars: got {len(inputs.ones)} symbols and {bars} bars")
    for one in inputs.ones:
        own = bars if one.at is None else len(one.at)
        for name, array, wanted in (
            ("bars", one.block, (5, own)),
            ("wishes", one.want, (own,)),
            ("ranges", one.ranges, (lines, own)),
        ):
            if array.shape != wanted:
                raise ValueError(f"{one.instrument.symbol}: {name} must have the shape {wanted}: got {array.shape}")
        if one.at is not None and own and not (one.at[0] >= 0 and one.at[-1] < bars and (np.diff(one.at) > 0).all()):
            raise ValueError(f"{one.instrument.symbol}: its bars must be rows of the run's {bars} bars, in order")


def _stretches(inputs: Inputs) -> Any:
    """(from, to, bars, wishes, ranges): for one symbol everything as it lies, for many a copy of some thousand bars."""
    bars, only = len(inputs.times), inputs.ones[0]
    if len(inputs.ones) == 1:
        yield 0, bars, only.block[None], only.want[None], only.ranges[None]
        return
    lines = len(inputs.ones), 6 + len(only.ranges)
    most = max(STRETCH_BYTES // (8 * lines[0] * lines[1]), 16)
    for lo in range(0, bars, most):
        hi = min(lo + most, bars)
        block, want = np.empty((lines[0], 5, hi - lo)), np.empty((lines[0], hi - lo))
        ranges = np.empty((lines[0], len(only.ranges), hi - lo))
        for s, one in enumerate(inputs.ones):
            if one.at is None:
                block[s], want[s], ranges[s] = one.block[:, lo:hi], one.want[lo:hi], one.ranges[:, lo:hi]
                continue
            first, last = np.searchsorted(one.at, [lo, hi])
            to = one.at[first:last] - lo
            block[s], want[s], ranges[s] = np.nan, np.nan, np.nan
            block[s][:, to], want[s, to] = one.block[:, first:last], one.want[first:last]
            ranges[s][:, to] = one.ranges[:, first:last]
        yield lo, hi, block, want, ranges
