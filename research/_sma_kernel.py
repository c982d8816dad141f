"""The compiled pass over the pairs of a moving-average crossover: each walked from crossing to crossing.

Between two crossings only sums are taken, many rows at a time; at a crossing the same functions as in
`backtest.kernel` say how many lots, at what price and fee. Nothing allocates, and each pair is on its own, so that any
split over threads gives the same.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np
import numpy.typing as npt

from backtest import book as b
from backtest import sizing
from domain import fill_prices as prices
from strategies.base import TIE

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
LANES = 16

njit: Any = numba.njit  # its stubs do not know what is asked of it here
Function = TypeVar("Function", bound=Callable[..., Any])


def allocates_nothing(function: Function) -> Function:
    """Compiled into the pass."""
    compiled: Function = njit(_nrt=False)(function)
    return compiled


def sums_in_lanes(function: Function) -> Function:
    """Compiled so that sums are taken in any order, several at a time; no divisor in it can be zero, and to ask each
    time would forbid it."""
    compiled: Function = njit(_nrt=False, fastmath={"reassoc"}, error_model="numpy")(function)
    return compiled


paid = allocates_nothing(prices.paid)
lots_within = allocates_nothing(prices.lots_within)
lots_by_equity = allocates_nothing(sizing.lots_by_equity)
whole_lots = allocates_nothing(sizing.whole_lots)
lots_affordable = allocates_nothing(sizing.lots_affordable)
commission = allocates_nothing(sizing.commission)
sale_fees = allocates_nothing(sizing.sale_fees)

# What of the rules is asked for most, and the account's limits, beside `backtest.book`'s row of rules.
CASH, TICK, LOT, US, PERIODS, SHORT, LEVEL, HIGHEST, LOWEST = range(9)
# One pair's row while it is walked.
MONEY, POS, LAST_MARK, PEAK, WORST, SUM, SQUARES, FEE = range(8)


@sums_in_lanes
def kept_side(last: Floats, to_fast: Floats, to_slow: Floats, by_fast: float, by_slow: float) -> bool:
    """Whether the fast average is above the slow one in all of these rows; below, where both factors are negative."""
    others = 0
    for k in range(LANES):
        others += (last[k] - to_fast[k]) * by_fast <= (last[k] - to_slow[k]) * by_slow
    return others == 0


@allocates_nothing
def crossing(sums: Floats, row: int, end: int, fast: int, slow: int, side: float, level: float) -> int:
    """The first row from `row` on whose averages lie clearly on another side than `side`; `end` where there is none."""
    by_fast, by_slow = 1.0 / fast, 1.0 / slow
    while row < end:
        stop = min(row + LANES, end)
        if stop == row + LANES and kept_side(
            sums[row + 1 : stop + 1],
            sums[row + 1 - fast : stop + 1 - fast],
            sums[row + 1 - slow : stop + 1 - slow],
            by_fast * side,
            by_slow * side,
        ):
            row = stop
            continue
        while row < stop:
            last = sums[row + 1]
            quick, steady = (last - sums[row + 1 - fast]) * by_fast, (last - sums[row + 1 - slow]) * by_slow
            apart = quick - steady
            if apart * side <= 0.0 and abs(apart) > TIE * max(abs(quick + level), abs(steady + level)):
                return row
            row += 1
    return end


@allocates_nothing
def side_at(sums: Floats, row: int, fast: int, slow: int, level: float) -> float:
    """On which side the averages are in a row, by the last row up to it that is no tie; 0 where all are."""
    while row >= slow - 1:
        last = sums[row + 1]
        quick, steady = (last - sums[row + 1 - fast]) / fast, (last - sums[row + 1 - slow]) / slow
        if abs(quick - steady) > TIE * max(abs(quick + level), abs(steady + level)):
            return 1.0 if quick > steady else -1.0
        row -= 1
    return 0.0


@sums_in_lanes
def returns(cash: float, size: float, marked: Floats, earlier: Floats) -> tuple[float, float]:
    """The sum of an account's returns from each earlier mark to its next, and of their squares."""
    total = squares = 0.0
    for k in range(len(marked)):
        change = (cash + size * marked[k]) / (cash + size * earlier[k]) - 1.0
        total += change
        squares += change * change
    return total, squares


@allocates_nothing
def fall(cash: float, size: float, marked: Floats, peak: float, worst: float) -> tuple[float, float]:
    """The account's peak and its deepest fall from one, after these marks."""
    floor = peak * (1.0 + worst)
    for k in range(len(marked)):
        equity = cash + size * marked[k]
        if equity > peak:
            peak = equity
            floor = peak * (1.0 + worst)
        elif equity < floor:
            worst, floor = equity / peak - 1.0, equity
    return peak, worst


@allocates_nothing
def value(me: Floats, size: float, marked: Floats, at: int, end: int) -> None:
    """Value the account on the marks from `at` to before `end`."""
    cash = me[MONEY]
    if size == 0.0:
        end = min(end, at + 1)  # after the first, nothing moves
    if at >= end:
        return
    first = (cash + size * marked[at]) / me[LAST_MARK] - 1.0
    total, squares = returns(cash, size, marked[at + 1 : end], marked[at : end - 1])
    me[SUM] += first + total
    me[SQUARES] += first * first + squares
    me[PEAK], me[WORST] = fall(cash, size, marked[at:end], me[PEAK], me[WORST])
    me[LAST_MARK] = cash + size * marked[end - 1]


@allocates_nothing
def survives(cash: float, size: float, shut: Floats, at: int, end: int, account: Floats) -> bool:
    """Whether the account stays above zero at every close from `at` to before `end`."""
    if cash + size * (account[LOWEST] if size > 0.0 else account[HIGHEST]) > 0.0:
        return True
    while at < end:
        if not cash + size * shut[at] > 0.0:
            return False
        at += 1
    return True


@allocates_nothing
def fee_of(side: float, quantity: float, worth: float, time: int, me: Floats, us: float, r: Floats, f: Any) -> float:
    """What a whole order costs beside its price."""
    fee = commission(
        quantity, worth, r[b.PER_ORDER], r[b.PER_SHARE], r[b.COMMISSION_BPS], r[b.MINIMUM], r[b.MAXIMUM], r[b.CENTS]
    )
    if r[b.REGULATED] > 0.0 and side < 0.0 and us > 0.0:
        row = int(me[FEE])
        while row + 1 < f.shape[1] and f[0, row + 1] <= time:
            row += 1
        me[FEE] = row
        fee += sale_fees(quantity, worth, f[1, row], f[2, row], f[3, row], r[b.CENTS])
    return fee


@allocates_nothing
def trade(
    me: Floats, side: float, lots: float, taken: float, bar: Any, time: int, account: Floats, r: Floats, f: Any
) -> bool:
    """Fill a whole order at the bar's open; False where the volume would cut it."""
    if not r[b.IGNORE_VOLUME] > 0.0:
        share = lots_within(bar[4], r[b.CAP], account[LOT], 0.0) - taken
        if math.floor(share * (1.0 + b.SAME)) < lots:
            return False
    price, quantity = paid(bar[0], side, r[b.BPS], account[TICK]), lots * account[LOT]
    fee = fee_of(side, quantity, quantity * price, time, me, account[US], r, f)
    me[MONEY] -= side * quantity * price + fee
    me[POS] += side * lots
    return True


@allocates_nothing
def wanted_lots(want: float, equity: float, price: float, account: Floats, r: Floats) -> float:
    """How many lots a wish comes to."""
    if want == 0.0:
        return 0.0
    if r[b.BY] == 0:
        return lots_by_equity(want, r[b.FRACTION], equity, price, account[LOT])
    return whole_lots(abs(want) * r[b.SHARES], account[LOT])


@allocates_nothing
def at_open(
    me: Floats, close_lots: float, want: float, lots: float, bar: Any, time: int, account: Floats, r: Floats, f: Any
) -> bool:
    """The orders of one decision, out first and then in; False where the volume would cut one."""
    if close_lots > 0.0 and not trade(me, -1.0 if me[POS] > 0.0 else 1.0, close_lots, 0.0, bar, time, account, r, f):
        return False
    if want != 0.0 and r[b.AT_OPEN] > 0.0:
        lots = wanted_lots(want, me[MONEY], bar[0], account, r)
    if lots > 0.0:
        price, first = paid(bar[0], want, r[b.BPS], account[TICK]), max(r[b.PER_ORDER], r[b.MINIMUM])
        room = r[b.LEVERAGE] * me[MONEY]
        can = lots_affordable(room, price, account[LOT], first, r[b.PER_SHARE], r[b.COMMISSION_BPS])
        lots = min(lots, can)
    return not lots > 0.0 or trade(me, want, lots, close_lots, bar, time, account, r, f)


@allocates_nothing
def walk_pair(
    fast: int,
    slow: int,
    short: bool,
    first: int,
    sums: Floats,
    block: Any,
    times: Ints,
    can_trade: Any,
    marked: Floats,
    before: Ints,
    account: Floats,
    r: Floats,
    f: Any,
    me: Floats,
    out: Floats,
) -> bool:
    """One pair from the first bar to the last; False where it leaves the simple ground."""
    bars, shut = len(times), block[3]
    me[:] = 0.0
    me[MONEY] = me[LAST_MARK] = me[PEAK] = account[CASH]
    side, want, close_lots, open_lots, trades, held = 0.0, 0.0, 0.0, 0.0, 0, 0
    busy, t, seen = False, max(slow - first, 0), 0
    side = side_at(sums, min(first + t, first + bars) - 1, fast, slow, account[LEVEL])
    starting = side != 0.0  # a side that began in the warm-up is wanted from the first bar after it
    while t < bars:
        size = me[POS] * account[LOT]
        if busy and can_trade[t]:
            value(me, size, marked, before[seen], before[t])
            held += t - seen if size != 0.0 else 0
            if not survives(me[MONEY], size, shut, seen, t, account):
                return False
            if not at_open(me, close_lots, want, open_lots, block[:, t], times[t], account, r, f):
                return False
            trades += close_lots > 0.0
            size, seen, busy = me[POS] * account[LOT], t, False
        end = first + t + 1 if busy or starting else first + bars
        at = crossing(sums, first + t, end, fast, slow, side, account[LEVEL])
        if at < end:
            side = side_at(sums, at, fast, slow, account[LEVEL])
        elif not starting:
            t = end - first
            continue
        starting, t = False, min(at, end - 1) - first
        new = side if short else max(side, 0.0)
        if new != want:
            if me[POS] * new > 0.0:
                return False
            equity = me[MONEY] + size * shut[t]
            want, close_lots = new, abs(me[POS])
            open_lots = 0.0 if r[b.AT_OPEN] > 0.0 else wanted_lots(want, equity, shut[t], account, r)
            busy = close_lots > 0.0 or open_lots > 0.0 or (want != 0.0 and r[b.AT_OPEN] > 0.0)
        t += 1
    size = me[POS] * account[LOT]
    value(me, size, marked, before[seen], before[bars])
    held += bars - seen if size != 0.0 else 0
    if not survives(me[MONEY], size, shut, seen, bars, account):
        return False
    out[0], out[1], out[3] = trades, me[MONEY] + size * shut[bars - 1] - account[CASH], me[WORST]
    out[2], out[4] = sharpe(me, len(marked), account[PERIODS]), held / bars
    return True


@allocates_nothing
def sharpe(me: Floats, n: int, periods: float) -> float:
    """The year's Sharpe ratio from the sums of returns; NaN where nothing moved."""
    if n < 2:
        return math.nan
    mean = me[SUM] / n
    spread = math.sqrt(max(me[SQUARES] - n * mean * mean, 0.0) / (n - 1))
    return mean / spread * math.sqrt(periods) if spread > 1e-13 else math.nan


def _sources() -> int:
    """A number that changes with any file this is compiled from: numba's cache looks at this one alone."""
    parts = [Path(module.__file__ or "") for module in (b, sizing, prices)]
    return zlib.crc32(b"".join(path.read_bytes() for path in parts if path.is_file()))


def _compiled(sources: int) -> Any:
    @numba.njit(cache=True, nogil=True)
    def walk(
        fast: Ints,
        slow: Ints,
        short: Any,
        first: int,
        sums: Floats,
        block: Any,
        times: Ints,
        can_trade: Any,
        marked: Floats,
        before: Ints,
        account: Floats,
        rules: Floats,
        fees: Any,
        out: Floats,
        done: Any,
    ) -> None:
        if sources < 0:
            return
        me = np.empty(8)
        for n in range(len(fast)):
            done[n] = walk_pair(
                fast[n], slow[n], short[n], first, sums, block, times, can_trade, marked, before, account, rules,
                fees, me, out[n],
            )  # fmt: skip

    return walk


walk_pairs = _compiled(_sources())
