"""Stops and targets of the compiled pass: what a bar sets off, and what its volume then gives."""

from __future__ import annotations

import math
from typing import Any

from backtest import book as b
from backtest.book import HIGHEST, LOWEST, OPEN, VOLUME, Floats, compiled
from domain import fill_prices as prices

stop_fill = compiled(prices.stop_fill)
limit_fill = compiled(prices.limit_fill)
trail_fill = compiled(prices.trail_fill)
trail_level = compiled(prices.trail_level)
trail_reach = compiled(prices.trail_reach)


@compiled
def stop_price(me: Floats, o: float, h: float, l: float, side: float) -> tuple[float, int]:  # noqa: E741
    """Where the stop or the trailing stop fills in a bar, whichever is nearer to the price, and which it is."""
    at, why = math.nan, b.BY_STOP
    if me[b.STOP] == me[b.STOP]:
        at = stop_fill(o, h, l, me[b.STOP], side)
    if me[b.TRAIL] == me[b.TRAIL]:
        trailed = trail_fill(o, h, l, me[b.LEVEL], me[b.TRAIL], side)
        if trailed == trailed and not side * (at - trailed) <= b.SAME * trailed:  # a tie is the stop's
            at, why = trailed, b.BY_TRAIL
    return at, why


@compiled
def take(
    account: Floats,
    me: Floats,
    fills: Floats,
    trades: Floats,
    s: int,
    bar: float,
    time: int,
    volume: float,
    at: float,
    why: int,
    rules: Floats,
    fees: Floats,
) -> None:
    """What the volume leaves of a stop or a target is filled. Either ends what was still to be opened on this side; a
    stop, once set off, takes all there is from then on."""
    side = -1.0 if me[b.POS] > 0.0 else 1.0
    order, limit = b.STOPPING, math.nan
    if why == b.BY_TARGET:
        order, limit = b.TAKING, me[b.TARGET]
    else:
        me[b.LEAVING], me[b.CLOSE_LEFT] = why, 0.0
        account[b.BUSY] = 1.0
    lots = b.share(me, order, abs(me[b.POS]), volume, bar, rules)
    if me[b.OPEN_SIDE] == -side and (lots > 0.0 or me[b.LEAVING] > 0.0):
        me[b.OPEN_LEFT] = me[b.PENDING] = 0.0
    if lots > 0.0:
        price = b.fill(account, fills, me, s, bar, time, side, lots, at, limit, order, why, rules, fees)
        b.sold(account, trades, me, s, bar, lots, price, at, why)


@compiled
def exits(
    account: Floats,
    state: Floats,
    fills: Floats,
    trades: Floats,
    bars: Any,
    s: int,
    t: int,
    time: int,
    rules: Floats,
    sessions: Floats,
    fees: Floats,
) -> None:
    """Stops and target of a position against the bar: the stop first, unless the bar opens beyond the target. An entry
    fills at the open, so that for it too all of the bar comes after."""
    me, bar = state[s], account[b.FIRST_BAR] + t
    o, h, l, volume = bars[s, OPEN, t], bars[s, HIGHEST, t], bars[s, LOWEST, t], bars[s, VOLUME, t]  # noqa: E741
    if not b.trades_now(me, time, volume, rules, sessions):
        return
    me[b.LOW], me[b.HIGH] = min(me[b.LOW], o), max(me[b.HIGH], o)
    side = -1.0 if me[b.POS] > 0.0 else 1.0
    through = 0.0 if rules[b.TOUCH] > 0.0 else me[b.TICK]
    goal, gapped = math.nan, False
    if me[b.TARGET] == me[b.TARGET]:
        goal = limit_fill(o, h, l, me[b.TARGET], side, through)
        gapped = not math.isnan(limit_fill(o, o, o, me[b.TARGET], side, through))
        if side < 0.0:
            h = trail_reach(o, h, l, me[b.TARGET], side, through, me[b.TICK])
        else:
            l = trail_reach(o, h, l, me[b.TARGET], side, through, me[b.TICK])  # noqa: E741
    at, why = stop_price(me, o, h, l, side)
    if at == at and goal == goal and not gapped:
        account[b.DOUBTFUL] += 1
    if gapped:
        take(account, me, fills, trades, s, bar, time, volume, goal, b.BY_TARGET, rules, fees)
    if at == at and me[b.POS] != 0.0:
        take(account, me, fills, trades, s, bar, time, volume, at, why, rules, fees)
    elif me[b.TRAIL] == me[b.TRAIL]:
        me[b.LEVEL] = trail_level(h, l, me[b.LEVEL], me[b.TRAIL], side)
    if goal == goal and not gapped and at != at:
        take(account, me, fills, trades, s, bar, time, volume, goal, b.BY_TARGET, rules, fees)
    b.guard(me)
