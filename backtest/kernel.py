"""The compiled pass: every bar of every symbol once, in the order of time, with one cash for all of them.

In a bar: what was decided before trades at the open (closings first, then openings, symbol by symbol); then stops and
targets are held against the bar, of a position opened in it too; at its close the account is valued and new wishes are
sized. `docs/backtesting.md` has the rules in words, `backtest.reference` says them again in plain Python.

Most bars set nothing off. `scan` looks ahead for the next one that does, symbol by symbol, by two prices and the wish;
until then only the value of what is held changes.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any

import numba
import numpy as np

from backtest import book as b
from backtest import protection, sizing
from backtest.book import CLOSE, HIGHEST, LOWEST, OPEN, VOLUME, Floats, compiled
from backtest.protection import exits
from domain import fill_prices as prices

lots_by_equity = compiled(sizing.lots_by_equity)
lots_by_risk = compiled(sizing.lots_by_risk)
lots_affordable = compiled(sizing.lots_affordable)
whole_lots = compiled(sizing.whole_lots)


@compiled
def lots_wanted(me: Floats, want: float, equity: float, price: float, rules: Floats) -> float:
    """How many lots a wish comes to."""
    if want == 0.0:
        return 0.0
    if rules[b.BY] == 0:
        return lots_by_equity(want, rules[b.FRACTION], equity, price, me[b.LOT])
    if rules[b.BY] == 2:
        return whole_lots(abs(want) * rules[b.SHARES], me[b.LOT])
    away = b.distance(0, price, me[b.AWAY_STOP], rules)
    if away == 0.0:
        away = b.distance(2, price, me[b.AWAY_TRAIL], rules)
    return lots_by_risk(want, rules[b.RISK], equity, away, rules[b.MAX_POSITION_PCT], price, me[b.LOT])


@compiled
def place(account: Floats, me: Floats, want: float, lots: float) -> None:
    """Orders that bring the position to `lots`, from the next open on; what was still on order is cancelled. A position
    whose stop has been set off counts as none: the new one waits until it is gone."""
    me[b.OPEN_LEFT] = me[b.CLOSE_LEFT] = me[b.PENDING] = 0.0
    b.forget(me, b.OPENING)
    b.forget(me, b.CLOSING)
    held = 0.0 if me[b.LEAVING] > 0.0 else me[b.POS]
    me[b.CLOSE_WHY] = b.BY_SIGNAL
    if held * want > 0.0:
        me[b.OPEN_LEFT], me[b.CLOSE_LEFT] = max(lots - abs(held), 0.0), max(abs(held) - lots, 0.0)
    else:
        me[b.OPEN_LEFT], me[b.CLOSE_LEFT] = lots, abs(held)
    me[b.OPEN_SIDE] = 1.0 if want > 0.0 else -1.0
    if want != 0.0 and lots == 0.0:
        account[b.REFUSED] += 1
    if me[b.OPEN_LEFT] > 0.0 or me[b.CLOSE_LEFT] > 0.0:
        account[b.BUSY] = 1.0


@compiled
def worth(state: Floats, bars: Any, t: int) -> tuple[float, float]:
    """What all positions are worth at this bar's opens (at the last close where a symbol has no bar): net and gross."""
    net = gross = 0.0
    for s in range(len(state)):
        if state[s, b.POS] != 0.0:
            open_ = bars[s, OPEN, t]
            value = state[s, b.POS] * state[s, b.LOT] * (open_ if open_ == open_ else state[s, b.MARK])
            net += value
            gross += abs(value)
    return net, gross


@compiled
def at_open(
    account: Floats,
    state: Floats,
    fills: Floats,
    trades: Floats,
    bars: Any,
    t: int,
    time: int,
    rules: Floats,
    sessions: Floats,
    fees: Floats,
) -> None:
    """What is due at this bar's open: closings of all symbols first, then openings with what is free then."""
    bar = account[b.FIRST_BAR] + t
    for s in range(len(state)):
        if state[s, b.CLOSE_LEFT] + state[s, b.LEAVING] + abs(state[s, b.PENDING]) == 0.0:
            continue
        me, open_, volume = state[s], bars[s, OPEN, t], bars[s, VOLUME, t]
        if not b.trades_now(me, time, volume, rules, sessions):
            continue
        if me[b.PENDING] * me[b.POS] > 0.0 and me[b.LEAVING] == 0.0:
            equity = account[b.CASH] + worth(state, bars, t)[0]
            place(account, me, me[b.PENDING], lots_wanted(me, me[b.PENDING], equity, open_, rules))
        if me[b.LEAVING] == 0.0 and me[b.CLOSE_LEFT] == 0.0:
            continue
        stopped = me[b.LEAVING] > 0.0
        order, why = (b.STOPPING, int(me[b.LEAVING])) if stopped else (b.CLOSING, int(me[b.CLOSE_WHY]))
        left = abs(me[b.POS]) if stopped else me[b.CLOSE_LEFT]
        lots = b.share(me, order, left, volume, bar, rules)
        if lots > 0.0:
            side = -1.0 if me[b.POS] > 0.0 else 1.0
            price = b.fill(account, fills, me, s, bar, time, side, lots, open_, math.nan, order, why, rules, fees)
            me[b.CLOSE_LEFT] = max(me[b.CLOSE_LEFT] - lots, 0.0)
            b.sold(account, trades, me, s, bar, lots, price, open_, why)
    for s in range(len(state)):
        if state[s, b.OPEN_LEFT] + abs(state[s, b.PENDING]) == 0.0:
            continue
        me, open_, volume = state[s], bars[s, OPEN, t], bars[s, VOLUME, t]
        if me[b.CLOSE_LEFT] > 0.0 or me[b.LEAVING] > 0.0:
            continue
        if me[b.POS] * me[b.OPEN_SIDE] < 0.0 or not b.trades_now(me, time, volume, rules, sessions):
            continue
        net, gross = worth(state, bars, t)
        equity = account[b.CASH] + net
        if me[b.PENDING] != 0.0:
            place(account, me, me[b.PENDING], lots_wanted(me, me[b.PENDING], equity, open_, rules))
            if me[b.OPEN_LEFT] == 0.0:
                continue
        price = b.paid(open_, me[b.OPEN_SIDE], rules[b.BPS], me[b.TICK])
        room = rules[b.LEVERAGE] * equity - gross
        first = max(rules[b.PER_ORDER], rules[b.MINIMUM])
        can = lots_affordable(room, price, me[b.LOT], first, rules[b.PER_SHARE], rules[b.COMMISSION_BPS])
        if can < me[b.OPEN_LEFT]:
            me[b.OPEN_LEFT] = can
            account[b.CUT] += 1
        lots = b.share(me, b.OPENING, me[b.OPEN_LEFT], volume, bar, rules) if can > 0.0 else 0.0
        if lots > 0.0:
            flat = me[b.POS] == 0.0
            price = b.fill(
                account,
                fills,
                me,
                s,
                bar,
                time,
                me[b.OPEN_SIDE],
                lots,
                open_,
                math.nan,
                b.OPENING,
                b.ENTRY,
                rules,
                fees,
            )
            me[b.OPEN_LEFT] -= lots
            b.bought(me, lots, price)
            if flat:
                b.begin(me, bar, price, open_, rules)
    account[b.BUSY] = 0.0
    for s in range(len(state)):
        if state[s, b.CLOSE_LEFT] + state[s, b.OPEN_LEFT] + abs(state[s, b.PENDING]) + state[s, b.LEAVING] > 0.0:
            account[b.BUSY] = 1.0


@compiled
def decide(
    account: Floats,
    state: Floats,
    want: Floats,
    ranges: Any,
    bars: Any,
    t: int,
    net: float,
    rules: Floats,
    soon: Any,
) -> None:
    """At the close: whoever was held long enough goes, and every changed wish becomes an order."""
    equity = account[b.CASH] + net
    for s in range(len(state)):
        if soon[s] > t:
            continue
        me, close = state[s], bars[s, CLOSE, t]
        if close != close:
            continue
        free = me[b.POS] != 0.0 and me[b.LEAVING] == 0.0 and me[b.CLOSE_LEFT] == 0.0
        if free and 0.0 < rules[b.MAX_BARS] <= me[b.HELD]:
            me[b.CLOSE_LEFT], me[b.OPEN_LEFT], me[b.PENDING] = abs(me[b.POS]), 0.0, 0.0
            b.forget(me, b.CLOSING)
            me[b.CLOSE_WHY] = b.BY_TIME
            account[b.BUSY] = 1.0
        if not abs(want[s, t] - me[b.WANT]) > b.CLOSE_ENOUGH:
            continue
        me[b.WANT] = want[s, t]
        me[b.SIGNAL], me[b.DECISION] = account[b.FIRST_BAR] + t, close
        for e, column in enumerate((b.AWAY_STOP, b.AWAY_TARGET, b.AWAY_TRAIL)):
            at = int(rules[b.WHICH + e])
            me[column] = rules[b.TIMES + e] * ranges[s, at, t] if at >= 0 else 0.0
        if not rules[b.AT_OPEN] > 0.0:
            place(account, me, want[s, t], lots_wanted(me, want[s, t], equity, close, rules))
        else:
            turning = me[b.POS] * want[s, t] <= 0.0 and me[b.LEAVING] == 0.0
            place(account, me, 0.0, 0.0)
            if not turning:
                me[b.CLOSE_LEFT] = 0.0
            me[b.PENDING] = want[s, t]
            me[b.OPEN_SIDE] = 1.0 if want[s, t] > 0.0 else -1.0
            account[b.BUSY] = 1.0


@compiled
def scan(state: Floats, s: int, t: int, bars: Any, want: Floats, max_bars: float) -> int:
    """From bar `t` on the first bar in which this symbol does more than change its price. The bars before it are
    counted as held here and now: nobody asks before that bar."""
    wanted, end, begun = state[s, b.WANT], want.shape[1], t
    if state[s, b.CLOSE_LEFT] + state[s, b.OPEN_LEFT] + abs(state[s, b.PENDING]) + state[s, b.LEAVING] > 0.0:
        return t
    if state[s, b.POS] == 0.0:
        while t < end and not abs(want[s, t] - wanted) > b.CLOSE_ENOUGH:
            t += 1
        return t
    floor, ceiling, lowest, highest = state[s, b.FLOOR], state[s, b.CEILING], state[s, b.LOW], state[s, b.HIGH]
    if max_bars > 0.0:
        end = min(end, t + max(int(max_bars - state[s, b.HELD]) - 1, 0))
    while t < end and abs(want[s, t] - wanted) <= b.CLOSE_ENOUGH:
        low, high = bars[s, LOWEST, t], bars[s, HIGHEST, t]
        if low <= floor or high >= ceiling:
            break
        lowest, highest = min(lowest, low), max(highest, high)
        t += 1
    if t > begun:
        state[s, b.MARK] = bars[s, CLOSE, t - 1]
        state[s, b.LOW], state[s, b.HIGH] = lowest, highest
        state[s, b.HELD] += t - begun
    return t


@compiled
def value_alone(size: float, cash: float, closes: Any, equity: Any, nets: Any, grosses: Any) -> None:
    """Value a single symbol's account over bars in which only the price changes."""
    for t in range(len(equity)):
        net = size * closes[t] if size != 0.0 else 0.0
        total = cash + net
        portion = net / total if total > 0.0 else math.nan
        equity[t], nets[t], grosses[t] = total, portion, abs(portion)
        if size == 0.0:
            nets[t] = grosses[t] = 0.0


@numba.njit
def grown(rows: Any, more: int) -> Any:
    """The same rows, and space for as many again."""
    larger = np.empty((2 * len(rows) + more, rows.shape[1]))
    larger[: len(rows)] = rows
    return larger


def _sources() -> int:
    """A number that changes with any of these files: numba's cache of the pass looks at this one alone."""
    parts = [Path(module.__file__ or "") for module in (b, protection, sizing, prices)]
    return zlib.crc32(b"".join(path.read_bytes() for path in parts if path.is_file()))


def _compiled(sources: int) -> Any:
    @numba.njit(cache=True, nogil=True)
    def walk(
        account: Floats,
        state: Floats,
        fills: Floats,
        trades: Floats,
        times: Any,
        bars: Any,
        want: Floats,
        ranges: Any,
        equity: Floats,
        nets: Floats,
        grosses: Floats,
        rules: Floats,
        sessions: Floats,
        fees: Floats,
        last: bool,
    ) -> Any:
        if sources < 0:
            return fills, trades
        symbols = len(state)
        soon, sizes = np.zeros(symbols, np.int64), np.zeros(symbols)  # when each does something, what it holds
        t = -1
        while t + 1 < len(times):
            t += 1
            if symbols == 1 and soon[0] > t:
                on = slice(t, soon[0])
                value_alone(sizes[0], account[b.CASH], bars[0, CLOSE, on], equity[on], nets[on], grosses[on])
                t = soon[0]
                if t == len(times):
                    break
            if account[b.N_FILLS] + 4 * symbols > len(fills):
                fills = grown(fills, 4 * symbols)
            if account[b.N_TRADES] + 3 * symbols > len(trades):
                trades = grown(trades, 3 * symbols)
            if account[b.BUSY] > 0.0:
                at_open(account, state, fills, trades, bars, t, times[t], rules, sessions, fees)
            net = gross = 0.0
            happened = changed = False
            for s in range(symbols):
                value = sizes[s] * bars[s, CLOSE, t]
                if soon[s] <= t:
                    happened, value = True, 0.0
                    if state[s, b.POS] != 0.0:
                        high, low, close = bars[s, HIGHEST, t], bars[s, LOWEST, t], bars[s, CLOSE, t]
                        if low <= state[s, b.FLOOR] or high >= state[s, b.CEILING]:
                            exits(account, state, fills, trades, bars, s, t, times[t], rules, sessions, fees)
                        if close == close:
                            state[s, b.MARK] = close
                            state[s, b.LOW], state[s, b.HIGH] = min(state[s, b.LOW], low), max(state[s, b.HIGH], high)
                            state[s, b.HELD] += 1.0
                            changed |= 0.0 < rules[b.MAX_BARS] <= state[s, b.HELD]
                        value = state[s, b.POS] * state[s, b.LOT] * state[s, b.MARK]
                    changed |= abs(want[s, t] - state[s, b.WANT]) > b.CLOSE_ENOUGH
                if value == value:  # without a bar a symbol that is not held has no price
                    net += value
                    gross += abs(value)
            total = account[b.CASH] + net
            equity[t], nets[t], grosses[t] = total, 0.0, 0.0
            if gross > 0.0:
                nets[t] = net / total if total > 0.0 else math.nan
                grosses[t] = gross / total if total > 0.0 else math.nan
            if changed:
                decide(account, state, want, ranges, bars, t, net, rules, soon)
            if happened:
                for s in range(symbols):
                    if soon[s] <= t:
                        soon[s] = scan(state, s, t + 1, bars, want, rules[b.MAX_BARS])
                        sizes[s] = state[s, b.POS] * state[s, b.LOT]
        account[b.FIRST_BAR] += len(times)
        if last:
            for s in range(symbols):
                me = state[s]
                if me[b.POS] != 0.0:
                    standing = me[b.OUT_VALUE] + abs(me[b.POS]) * me[b.LOT] * me[b.MARK]
                    bar = account[b.FIRST_BAR] - 1.0
                    b.note(account, trades, me, s, bar, standing, b.STILL_OPEN)
        return fills, trades

    return walk


walk = _compiled(_sources())
