"""At what price an order fills inside a bar: the arithmetic, in plain floats.

Everything that fills orders stands on these functions: `domain.matching` calls them with values from orders and
quotes, a compiled backtest calls the same ones under `numba.njit`. For that, each keeps to itself: numbers in, one
number out, no call to another, no objects. `side` is 1 for a buy and -1 for a sell; NaN means *does not fill*. Prices
are what the market did, before costs, until `paid` adds them. A price step is a bar whose four prices are equal.

Where a bar does not say which of its prices came first, the trader gets the worst that any order of them allows: no
path through the bar that moves in single ticks would have done worse than the bar says.
"""

from __future__ import annotations

import math

# Two prices this close, as a share of themselves, are one price: what is left is the noise of binary fractions.
SAME = 1e-10


def stop_fill(open_: float, high: float, low: float, stop: float, side: float) -> float:
    """A stop order: the worse of open and stop once the bar reaches the stop, so a gap is paid in full."""
    if side > 0:
        return max(open_, stop) if high >= stop * (1.0 - SAME) else math.nan
    return min(open_, stop) if low <= stop * (1.0 + SAME) else math.nan


def limit_fill(open_: float, high: float, low: float, limit: float, side: float, through: float) -> float:
    """A resting limit order: its limit, or the open where that is already better.

    The price must trade `through` beyond the limit (one tick; 0 for touch fills): who merely touches it met the queue.
    """
    if side > 0:
        reach = limit - through + limit * SAME
        if open_ <= reach:
            return min(open_, limit)
        return limit if low <= reach else math.nan
    reach = limit + through - limit * SAME
    if open_ >= reach:
        return max(open_, limit)
    return limit if high >= reach else math.nan


def stop_limit_fill(
    open_: float,
    high: float,
    low: float,
    close: float,
    stop: float,
    limit: float,
    side: float,
    through: float,
    bps: float,
) -> float:
    """A stop-limit order whose stop has not been reached before this bar (once it has, ask `limit_fill`).

    It wakes at the worse of open and stop and fills there where that price, with `bps` of costs, is within its limit.
    Else it rests at the limit and only what surely came later can fill it: the rest of the bar when the open woke it,
    the close when the bar did. After a gap beyond the limit it may stay unfilled.
    """
    if side > 0:
        if not high >= stop * (1.0 - SAME):
            return math.nan
        start, reach = max(open_, stop), limit - through + limit * SAME
        if start <= reach and start * (1.0 + bps / 1e4) <= limit * (1.0 + SAME):
            return start
        later = low if open_ >= stop else close
        return limit if later < start and later <= reach else math.nan
    if not low <= stop * (1.0 + SAME):
        return math.nan
    start, reach = min(open_, stop), limit + through - limit * SAME
    if start >= reach and start * (1.0 - bps / 1e4) >= limit * (1.0 - SAME):
        return start
    later = high if open_ <= stop else close
    return limit if later > start and later >= reach else math.nan


def trail_fill(open_: float, high: float, low: float, level: float, trail: float, side: float) -> float:
    """A trailing stop that stands at `level` when the bar begins (infinitely far away when it is new).

    First the open is held against that level, and a gap fills at the open. Then the trail follows the open and the
    bar's best price, and the bar's worst price is held against where the trail then stands. It fills at the worst
    price at which any path through the bar could have set it off.
    """
    if side > 0:
        if open_ >= level * (1.0 - SAME):
            return open_
        start = min(level, open_ + trail)
        return min(start, high) if high >= min(start, low + trail) * (1.0 - SAME) else math.nan
    if open_ <= level * (1.0 + SAME):
        return open_
    start = max(level, open_ - trail)
    return max(start, low) if low <= max(start, high - trail) * (1.0 + SAME) else math.nan


def trail_level(high: float, low: float, level: float, trail: float, side: float) -> float:
    """Where a trailing stop stands after a bar that did not set it off; it only ever moves towards the price."""
    return min(level, low + trail) if side > 0 else max(level, high - trail)


def trail_reach(
    open_: float, high: float, low: float, target: float, side: float, through: float, tick: float
) -> float:
    """The best price of a bar that a trailing stop can have followed while a target beside it was not filled: one tick
    before the price that fills the target, where the bar reaches that after its open."""
    if side > 0:
        reach = target - through
        return low if low > reach + target * SAME or open_ <= reach + target * SAME else min(open_, reach + tick)
    reach = target + through
    return high if high < reach - target * SAME or open_ >= reach - target * SAME else max(open_, reach - tick)


def paid(price: float, side: float, bps: float, tick: float) -> float:
    """`price` with `bps` of costs against the trader, to the next tick that is worse for them, at least one tick."""
    steps = price * (1.0 + side * bps / 1e4) / tick
    whole = math.ceil(steps * (1.0 - SAME)) if side > 0 else math.floor(steps * (1.0 + SAME))
    return max(whole, 1) * tick


def within(price: float, limit: float, side: float) -> float:
    """`price`, but never worse than the limit."""
    return min(price, limit) if side > 0 else max(price, limit)


def lots_within(volume: float, cap: float, lot: float, unused: float) -> float:
    """How many lots `cap` of `volume` allows, not rounded, with the part of a lot that earlier volume left `unused`."""
    return volume * cap / lot + unused if volume > 0.0 else 0.0
