"""The same rules as one bare loop over arrays: about what the machine can do, and a second opinion on every trade.

It has no frames, no costs beyond a rate, no table: it is no product. `RULES` are ours, and those of the two peers, so
that a difference in trades is explained by running this loop their way.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
OURS, FROM_SIGNAL, STOP_FIRST = range(3)
WORDS = {
    OURS: "exits from the fill, the entry bar checked, what is due at an open before any stop in that bar",
    FROM_SIGNAL: "as ours, but exits from the close that decided",
    STOP_FIRST: "a stop beats an exit due at the open and swallows the entry due with it; the entry bar is not checked",
}


@numba.njit(cache=True)
def bare(bars: Any, fast: int, slow: int, stop: float, target: float, rate: float, size: float, rules: int) -> Any:
    """Trades closed, profit (open ones at the last close) and deepest fall of the account of an SMA crossover; `stop`
    and `target` are shares of the price, 0 for none."""
    n = bars.shape[1]
    cash, pos, floor, ceiling, due, decided, last = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    quick, steady, peak, worst, trades = 0.0, 0.0, 0.0, 0.0, 0
    for t in range(n):
        o, h, l, c = bars[0, t], bars[1, t], bars[2, t], bars[3, t]  # noqa: E741 - the field's letters
        entered = False
        if rules == STOP_FIRST and due != 0.0 and pos != 0.0 and _out(o, h, l, pos, floor, ceiling) > 0.0:
            due = 0.0  # the exit below takes the bar, and the order with it
        if due != 0.0:
            if pos != 0.0:
                cash += pos * o - abs(pos) * o * rate
                trades += 1
            pos = due * size
            cash -= pos * o + abs(pos) * o * rate
            entry = decided if rules == FROM_SIGNAL else o
            floor, ceiling = entry * (1.0 - stop * due), entry * (1.0 + target * due)
            due, entered = 0.0, True
        if pos != 0.0 and stop > 0.0 and not (entered and rules == STOP_FIRST):
            at = _out(o, h, l, pos, floor, ceiling)
            if at > 0.0:
                cash += pos * at - abs(pos) * at * rate
                pos, trades = 0.0, trades + 1
        profit = cash + pos * c
        peak = max(peak, profit)
        worst = min(worst, profit - peak)
        quick += c - (bars[3, t - fast] if t >= fast else 0.0)
        steady += c - (bars[3, t - slow] if t >= slow else 0.0)
        if t >= slow:  # a strategy's warm-up is `slow` bars
            side = 1.0 if quick / fast > steady / slow else -1.0
            if side != last:
                due, decided, last = side, c, side
    return trades, cash + pos * bars[3, n - 1], worst


@numba.njit(cache=True)
def _out(o: float, h: float, l: float, pos: float, stop: float, target: float) -> float:  # noqa: E741
    """Where a bar ends the position; 0 where it does not. The stop first, unless the bar opens beyond the target."""
    if pos > 0.0:
        if o >= target:
            return o
        if l <= stop:
            return min(o, stop)
        return target if h >= target else 0.0
    if o <= target:
        return o
    if h >= stop:
        return max(o, stop)
    return target if l <= target else 0.0


@numba.njit(cache=True)
def bare_sweep(bars: Any, fasts: Any, slows: Any, rate: float, size: float, out: Floats) -> None:
    """Trades and profit of every pair, without exits."""
    for k in range(len(fasts)):
        trades, profit, worst = bare(bars, fasts[k], slows[k], 0.0, 0.0, rate, size, 0)
        out[k, 0], out[k, 1], out[k, 2] = trades, profit, worst


@numba.njit(cache=True)
def bare_many(
    blocks: Any, fast: int, slow: int, stop: float, target: float, rate: float, size: float, rules: int
) -> Any:
    """Every symbol on its own."""
    trades, profit = 0, 0.0
    for s in range(len(blocks)):
        found, made, _ = bare(blocks[s], fast, slow, stop, target, rate, size, rules)
        trades += found
        profit += made
    return trades, profit
