"""The books of the compiled pass: what each symbol holds and has on order, and what a fill does to it.

A symbol's state is one row of floats; the names below are its columns. Quantities are whole lots (as floats, exact),
prices floats. Everything is compiled into `backtest.kernel`; nothing here is called from Python.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np

from backtest import sizing
from domain import fill_prices as prices

Floats = np.ndarray[Any, np.dtype[np.float64]]

Function = TypeVar("Function", bound=Callable[..., Any])


def compiled(function: Function) -> Function:
    """Part of the pass. Nothing in it allocates, so that references need no counting: that alone took half the time."""
    return cast(Function, numba.njit(_nrt=False, forceinline=True)(function))  # type: ignore[call-overload]


paid = compiled(prices.paid)
within = compiled(prices.within)
lots_within = compiled(prices.lots_within)
commission = compiled(sizing.commission)
sale_fees = compiled(sizing.sale_fees)
exit_price = compiled(sizing.exit_price)
trail_distance = compiled(sizing.trail_distance)
SAME = prices.SAME

# A symbol's row: what it holds and the exits around it,
POS, LEAVING, FLOOR, CEILING, STOP, TARGET, TRAIL, LEVEL, LOW, HIGH, MARK, HELD = range(12)
# its wishes and market orders (the distances of exits are those of the next position),
WANT, PENDING, CLOSE_LEFT, CLOSE_WHY, OPEN_LEFT, OPEN_SIDE, SIGNAL, DECISION, AWAY_STOP, AWAY_TARGET, AWAY_TRAIL = (
    range(12, 23)
)
# the trade that is on,
ENTRY_BAR, T_SIGNAL, T_DECISION, IN_LOTS, IN_VALUE, OUT_VALUE, FEES, SLIPPAGE, STOP_FIRST = range(23, 32)
# its share of this bar's volume, where its calendar stands, and the side of the trade,
TAKEN, TAKEN_BAR, SESSION, SIDE = range(32, 36)
# and of each order the quantity and value it has, and the part of a lot that earlier volume left over.
OPENING, CLOSING, STOPPING, TAKING = 36, 39, 42, 45
FILLED, VALUE, UNUSED = 0, 1, 2
# What is known of the symbol: its steps, whether US fees are due, and where its sessions stand in the list of all.
TICK, LOT, US, SESSIONS_TO = range(48, 52)
COLUMNS = 52

# The account's row.
CASH, N_FILLS, N_TRADES, BUSY, FEE_ROW, CUT, REFUSED, DOUBTFUL, FIRST_BAR = range(9)
ACCOUNT = 9

# Why something was bought or sold: `purpose` of a fill, `reason` of a trade.
ENTRY, BY_SIGNAL, BY_STOP, BY_TARGET, BY_TRAIL, BY_TIME, STILL_OPEN = range(7)

FILL_COLUMNS = 9  # symbol, bar, side, quantity, price, fee, market's price, purpose, order's own bar
TRADE_COLUMNS = 17

CLOSE_ENOUGH = 1e-9
OPEN, HIGHEST, LOWEST, CLOSE, VOLUME = range(5)  # a bar's row


# The rules of the run are one row of floats too. Of stop, target and trail each: per cent of the price, money, and how
# many times which ATR (-1: none).
(
    BPS,
    CAP,
    IGNORE_VOLUME,
    TOUCH,
    REGULATED,
    PER_ORDER,
    PER_SHARE,
    COMMISSION_BPS,
    MINIMUM,
    MAXIMUM,
    COSTS,
    CENTS,
    BY,
    FRACTION,
    RISK,
    MAX_POSITION_PCT,
    SHARES,
    AT_OPEN,
    LEVERAGE,
    FROM_SIGNAL,
    MAX_BARS,
) = range(21)
PCT, MONEY, TIMES, WHICH = 21, 24, 27, 30
RULES = 33


@compiled
def trades_now(me: Floats, time: int, volume: float, rules: Floats, sessions: Floats) -> bool:
    """Whether anything can trade in this bar: somebody did, and the regular session is on."""
    if not (volume > 0.0 or (rules[IGNORE_VOLUME] > 0.0 and volume == volume)):
        return False
    at, last = int(me[SESSION]), int(me[SESSIONS_TO]) - 1
    while at < last and sessions[0, at + 1] <= time:
        at += 1
    me[SESSION] = at
    return bool(sessions[0, at] <= time < sessions[1, at])


@compiled
def share(me: Floats, order: int, left: float, volume: float, bar: float, rules: Floats) -> float:
    """How many lots of an order may fill in this bar, after what others of this symbol took of it."""
    if rules[IGNORE_VOLUME] > 0.0:
        me[order + UNUSED] = 0.0
        return left
    taken = me[TAKEN] if me[TAKEN_BAR] == bar else 0.0
    lots = lots_within(volume, rules[CAP], me[LOT], me[order + UNUSED]) - taken
    whole = max(math.floor(lots * (1.0 + SAME)), 0)
    me[order + UNUSED] = max(lots - whole, 0.0)
    return min(left, float(whole))


@compiled
def owed(quantity: float, value: float, rules: Floats) -> float:
    return commission(
        quantity,
        value,
        rules[PER_ORDER],
        rules[PER_SHARE],
        rules[COMMISSION_BPS],
        rules[MINIMUM],
        rules[MAXIMUM],
        rules[CENTS],
    )


@compiled
def fill(
    account: Floats,
    fills: Floats,
    me: Floats,
    s: int,
    bar: float,
    time: int,
    side: float,
    lots: float,
    at: float,
    limit: float,
    order: int,
    purpose: int,
    rules: Floats,
    fees: Floats,
) -> float:
    """Enter a fill of `lots` at the market's price `at`; the price paid."""
    lot, tick = me[LOT], me[TICK]
    price = paid(at, side, rules[BPS], tick)
    if limit == limit:
        price = within(price, limit, side)
    quantity = lots * lot
    filled, value = me[order + FILLED] + quantity, me[order + VALUE] + quantity * price
    fee = 0.0
    if rules[COSTS] > 0.0:
        fee = owed(filled, value, rules) - owed(me[order + FILLED], me[order + VALUE], rules)
    me[order + FILLED], me[order + VALUE] = filled, value
    if rules[REGULATED] > 0.0 and side < 0.0 and me[US] > 0.0:
        row = int(account[FEE_ROW])
        while row + 1 < fees.shape[1] and fees[0, row + 1] <= time:
            row += 1
        account[FEE_ROW] = row
        fee += sale_fees(quantity, quantity * price, fees[1, row], fees[2, row], fees[3, row], rules[CENTS])
    account[CASH] -= side * quantity * price + fee
    me[FEES] += fee
    me[SLIPPAGE] += side * (price - at) * quantity
    me[TAKEN] = lots + (me[TAKEN] if me[TAKEN_BAR] == bar else 0.0)
    me[TAKEN_BAR] = bar
    me[POS] += side * lots
    n = int(account[N_FILLS])
    fills[n, 0], fills[n, 1], fills[n, 2], fills[n, 3], fills[n, 4] = s, bar, side, quantity, price
    fills[n, 5], fills[n, 6], fills[n, 7], fills[n, 8] = fee, at, purpose, me[SIGNAL]
    account[N_FILLS] = n + 1
    return price


@compiled
def forget(me: Floats, order: int) -> None:
    """A new order has nothing yet."""
    me[order + FILLED] = me[order + VALUE] = me[order + UNUSED] = 0.0


@compiled
def distance(e: int, price: float, ranges: float, rules: Floats) -> float:
    """How far an exit lies from `price`; 0 where there is none. `ranges` is what its ATR part comes to."""
    return float(rules[PCT + e] / 100.0 * price + rules[MONEY + e] + ranges)


@compiled
def begin(me: Floats, bar: float, price: float, at: float, rules: Floats) -> None:
    """A position has been opened at `price`: its exits begin to stand."""
    side = 1.0 if me[POS] > 0.0 else -1.0
    entry = me[DECISION] if rules[FROM_SIGNAL] > 0.0 else price
    me[STOP] = exit_price(entry, distance(0, entry, me[AWAY_STOP], rules), -side, me[TICK])
    me[TARGET] = exit_price(entry, distance(1, entry, me[AWAY_TARGET], rules), side, me[TICK])
    me[TRAIL] = trail_distance(distance(2, entry, me[AWAY_TRAIL], rules), me[TICK])
    me[LEVEL] = -side * math.inf
    me[STOP_FIRST] = me[STOP]
    if me[TRAIL] == me[TRAIL]:
        start = at - side * me[TRAIL]
        if not side * me[STOP] > side * start:
            me[STOP_FIRST] = start
    forget(me, STOPPING)
    forget(me, TAKING)
    me[LOW] = me[HIGH] = at
    me[HELD] = me[LEAVING] = 0.0
    me[SIDE] = side
    me[ENTRY_BAR], me[T_SIGNAL], me[T_DECISION] = bar, me[SIGNAL], me[DECISION]
    guard(me)


@compiled
def guard(me: Floats) -> None:
    """Between which prices a bar is quiet: nothing there can set off an exit."""
    me[FLOOR], me[CEILING] = -math.inf, math.inf
    if me[POS] == 0.0 or me[LEAVING] > 0.0:
        return
    below, above = (me[STOP], me[TARGET]) if me[POS] > 0.0 else (me[TARGET], me[STOP])
    if below == below:
        me[FLOOR] = below * (1.0 + CLOSE_ENOUGH)
    if above == above:
        me[CEILING] = above * (1.0 - CLOSE_ENOUGH)
    if me[TRAIL] == me[TRAIL]:
        me[FLOOR] = math.inf


@compiled
def bought(me: Floats, lots: float, price: float) -> None:
    """Count a fill that opens or adds."""
    me[IN_LOTS] += lots
    me[IN_VALUE] += lots * me[LOT] * price


@compiled
def sold(
    account: Floats,
    trades: Floats,
    me: Floats,
    s: int,
    bar: float,
    lots: float,
    price: float,
    at: float,
    why: int,
) -> None:
    """Count a fill that closes; a trade is written down when nothing is left."""
    me[OUT_VALUE] += lots * me[LOT] * price
    me[LOW], me[HIGH] = min(me[LOW], at), max(me[HIGH], at)
    me[CLOSE_LEFT] = min(me[CLOSE_LEFT], abs(me[POS]))
    if me[POS] != 0.0:
        return
    note(account, trades, me, s, bar, me[OUT_VALUE], why)
    me[IN_LOTS] = me[IN_VALUE] = me[OUT_VALUE] = me[FEES] = me[SLIPPAGE] = 0.0
    me[LEAVING] = 0.0
    me[STOP] = me[TARGET] = me[TRAIL] = math.nan
    guard(me)


@compiled
def note(account: Floats, trades: Floats, me: Floats, s: int, bar: float, received: float, why: int) -> None:
    """Write a trade down, from flat to flat; `received` is what all that was closed (or still stands) is worth."""
    n, side, quantity = int(account[N_TRADES]), me[SIDE], me[IN_LOTS] * me[LOT]
    entry = me[IN_VALUE] / quantity
    below, above = (me[LOW] - entry) * quantity, (me[HIGH] - entry) * quantity
    row = trades[n]
    row[0], row[1], row[2], row[3] = s, side, me[ENTRY_BAR], entry
    row[4], row[5], row[6] = bar, received / quantity, quantity
    row[7] = side * (received - me[IN_VALUE]) - me[FEES]
    row[8], row[9], row[10], row[11] = me[FEES], me[SLIPPAGE], why, me[STOP_FIRST]
    row[12] = min(below if side > 0.0 else -above, 0.0)
    row[13] = max(above if side > 0.0 else -below, 0.0)
    row[14], row[15], row[16] = me[HELD], me[T_SIGNAL], me[T_DECISION]
    account[N_TRADES] = n + 1
