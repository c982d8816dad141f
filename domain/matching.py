"""The one set of fill rules: the backtester, the paper broker and the E*TRADE simulator all fill orders here.

A working order meets either a bar (backtests) or a price step (paper trading) and comes back with its fills. Nothing
here knows the time, the disk or chance, and where the data leave a doubt the trader gets the worse of it:

- Nothing fills on prices from before the order: a bar may open when it was placed, a price step must be newer.
- Market orders pay the next price, half the spread and slippage; with a book the ask or bid and slippage.
- Stops fill at the worse of open and stop, with the same costs; what wakes a trailing stop is in `trail_fill`. One that
  is taken while the market trades may begin at the price that stands (`Working.trailing_from`).
- Limits need a trade one tick beyond them (`touch_fills` asks for less). A bar that opens beyond fills at its open,
  with costs but never beyond the limit. In a price step an order that finds the book (or last) on its side takes
  from it; one that has rested fills at its limit, since prices pass it on their way.
- Stop before target when both lie in one bar, unless the open itself is beyond the target, or a trailing stop would
  have had to follow the price beyond it.
- A fill takes at most `volume_cap` of the volume; the rest stays open, or is cancelled for an IOC. No volume, no trade:
  such a bar wakes no stop and moves no trail.
- Prices round to the tick that is worse for the trader; quantities down to the lot.
- A regular order sees only the regular session, an extended one all three parts of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from domain.calendars import NEW_YORK, Phase
from domain.fees import FREE, Commission, regulatory_fees
from domain.fill_prices import (
    SAME,
    limit_fill,
    lots_within,
    paid,
    stop_fill,
    stop_limit_fill,
    trail_fill,
    trail_level,
    trail_reach,
    within,
)
from domain.orders import Fill, OrderType, Session, Side, Status, TimeInForce
from domain.params import check_params, param
from domain.quotes import Bar, Quote
from domain.working import Working

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class FillRules:
    """What trading costs and how kindly orders fill. Costs are in ten-thousandths of the price, each side."""

    half_spread_bps: float = param(1.0, low=0.0, high=1000.0, step=0.5, help="half the bid-ask spread")
    slippage_bps: float = param(1.0, low=0.0, high=1000.0, step=0.5, help="paid beyond the spread")
    volume_cap: float = param(0.05, low=0.0001, high=1.0, step=0.01, help="the share of the volume one may have")
    ignore_volume: bool = param(False, help="for prices that come without volume: no cap at all")
    touch_fills: bool = param(False, help="a limit fills when merely touched; too kind for most queues")
    regulatory_fees: bool = param(True, help="SEC and FINRA fees on sales of US shares")
    commission: Commission = FREE

    def __post_init__(self) -> None:
        check_params(self)

    def through(self, tick: Decimal) -> float:
        return 0.0 if self.touch_fills else float(tick)


@dataclass(frozen=True, slots=True)
class PriceStep:
    """What a quote adds to the one before it: `volume` is what traded in between, not the day's."""

    time: datetime
    last: float
    volume: float
    bid: float | None = None
    ask: float | None = None

    @classmethod
    def of(cls, quote: Quote, traded: float) -> PriceStep:
        bid, ask = (None if price is None else float(price) for price in (quote.bid, quote.ask))
        return cls(quote.time, float(quote.last), traded, bid, ask)

    def book(self, side: Side) -> float | None:
        """The price that stands against an order of this side."""
        return self.ask if side is Side.BUY else self.bid


class Step(NamedTuple):
    """What a price did to an order: what is left of it (None: nothing), its fills, its status, and the market's price
    `at` which it filled, before costs (NaN: it did not)."""

    working: Working | None
    fills: tuple[Fill, ...]
    status: Status
    at: float = math.nan


def step(working: Working, prices: Bar | PriceStep, rules: FillRules, *, taken: Decimal = ZERO) -> Step:
    """The order after these prices, which must come in the order of time. `taken` is what our other orders already
    have of their volume: the cap is one for all of them."""
    if prices.time < working.placed or (isinstance(prices, PriceStep) and prices.time == working.placed):
        return Step(working, (), working.status)
    if working.expires is not None and prices.time >= working.expires:
        return Step(None, (), Status.EXPIRED)
    if not _trades(working, prices, rules):
        return _unfilled(working)
    moved, at = _in_bar(working, prices, rules) if isinstance(prices, Bar) else _at_step(working, prices, rules)
    if math.isnan(at):
        return _unfilled(moved)
    quantity, unused = _share(moved, prices.volume, rules, taken)
    moved = replace(moved, unused=unused)
    return _filled(moved, prices, at, quantity, rules) if quantity else _unfilled(moved)


def step_exits(
    stop: Working, target: Working, prices: Bar | PriceStep, rules: FillRules, *, taken: Decimal = ZERO
) -> tuple[Step, Step]:
    """A stop and a target of which one cancels the other: what one fills, the other loses.

    The stop is asked first, and once it has been set off the target gets nothing, whatever the volume allowed the
    stop. Only a bar that opens beyond the target asks the target first: then it is known which came first. A trailing
    stop follows the price to just before where the target fills, and no further: no path leads beyond it.
    """
    stop_first = stop.armed or not _opens_beyond(target, prices, rules)
    first, second = (stop, target) if stop_first else (target, stop)
    seen = before_target(stop, target, prices, rules) if stop_first else prices
    one = step(first, seen, rules, taken=taken)
    got = _got(one)
    left = second.reduced(got)
    if left is None:
        two = Step(None, (), Status.CANCELLED)
    elif stop_first and (got or (one.working and one.working.armed)):
        two = Step(left, (), left.status)
    else:
        two = step(left, prices, rules, taken=taken + got)
        one = _less(one, _got(two))
    return (one, two) if stop_first else (two, one)


def before_target(stop: Working, target: Working, prices: Bar | PriceStep, rules: FillRules) -> Bar | PriceStep:
    """The bar as a trailing stop beside this target meets it; anything else as it is."""
    if not isinstance(prices, Bar) or stop.kind is not OrderType.TRAILING_STOP or target.kind is not OrderType.LIMIT:
        return prices
    limit, side, tick = _float(target.request.limit), float(target.request.side.sign), target.instrument.tick
    most = trail_reach(prices.open, prices.high, prices.low, limit, side, rules.through(tick), float(tick))
    return replace(prices, low=most) if side > 0 else replace(prices, high=most)


def rest_of_bar(bar: Bar, at: float, side: Side) -> Bar:
    """The part of a bar that comes after an entry filled `at` this price: what its exits are held against.

    After an entry at the open that is the bar. After one inside it, only the close is known to come later, but the
    stop is held against the whole bar's worst price all the same.
    """
    if at == bar.open:
        return bar
    if side is Side.BUY:
        return replace(bar, open=at, high=max(at, bar.close))
    return replace(bar, open=at, low=min(at, bar.close))


def _opens_beyond(target: Working, prices: Bar | PriceStep, rules: FillRules) -> bool:
    if not isinstance(prices, Bar):
        return False
    moment = replace(prices, high=prices.open, low=prices.open, close=prices.open)
    return not math.isnan(step(target, moment, rules).at)


def _got(done: Step) -> Decimal:
    return sum((fill.quantity for fill in done.fills), ZERO)


def _less(done: Step, by: Decimal) -> Step:
    if not by or done.working is None:
        return done
    kept = done.working.reduced(by)
    return done._replace(working=kept, status=done.status if kept else Status.CANCELLED)


def _trades(working: Working, prices: Bar | PriceStep, rules: FillRules) -> bool:
    if not (prices.volume > 0 or rules.ignore_volume):
        return False
    phase = working.instrument.calendar.phase(prices.time)
    return phase is Phase.OPEN or (working.request.session is Session.EXTENDED and phase is not Phase.CLOSED)


def _in_bar(working: Working, bar: Bar, rules: FillRules) -> tuple[Working, float]:
    """The order as the bar leaves it, and the price at which it filled."""
    request, side, through = working.request, float(working.request.side.sign), rules.through(working.instrument.tick)
    span = (bar.open, bar.high, bar.low)
    match working.kind:
        case OrderType.MARKET:
            return working, bar.open
        case OrderType.LIMIT:
            return working, limit_fill(*span, _float(request.limit), side, through)
        case OrderType.TRAILING_STOP:
            return _trailed(working, *span)
        case OrderType.STOP:
            at = stop_fill(*span, _float(request.stop), side)
            return replace(working, armed=not math.isnan(at)), at
        case OrderType.STOP_LIMIT:
            stop, limit = _float(request.stop), _float(request.limit)
            woken = not math.isnan(stop_fill(*span, stop, side))
            at = stop_limit_fill(*span, bar.close, stop, limit, side, through, _bps(bar, request.side, rules))
            return replace(working, armed=woken), at


def _at_step(working: Working, now: PriceStep, rules: FillRules) -> tuple[Working, float]:
    """The order as a price step leaves it, and the price at which it filled."""
    request, side = working.request, float(working.request.side.sign)
    book = now.book(request.side)
    take = now.last if book is None else book
    match working.kind:
        case OrderType.MARKET:
            return working, take
        case OrderType.LIMIT:
            at = _limit_at_step(working, now, rules)
            return replace(working, rested=working.rested or math.isnan(at)), at
        case OrderType.TRAILING_STOP:
            moved, at = _trailed(working, now.last, now.last, now.last)
            return moved, _worse(at, take, side)
        case OrderType.STOP:
            at = stop_fill(now.last, now.last, now.last, _float(request.stop), side)
            return replace(working, armed=not math.isnan(at)), _worse(at, take, side)
        case OrderType.STOP_LIMIT:
            if math.isnan(stop_fill(now.last, now.last, now.last, _float(request.stop), side)):
                return working, math.nan
            through = 0.0 if book is not None else rules.through(working.instrument.tick)
            bps = _bps(now, request.side, rules)
            at = stop_limit_fill(take, take, take, take, take, _float(request.limit), side, through, bps)
            return replace(working, armed=True, rested=math.isnan(at)), at


def _limit_at_step(working: Working, now: PriceStep, rules: FillRules) -> float:
    limit, side = _float(working.request.limit), float(working.request.side.sign)
    through, book = rules.through(working.instrument.tick), now.book(working.request.side)
    met = math.nan if book is None else limit_fill(book, book, book, limit, side, 0.0)
    if math.isnan(met) and (working.rested or book is None):
        met = limit_fill(now.last, now.last, now.last, limit, side, through)
    return limit if working.rested and not math.isnan(met) else met


def _trailed(working: Working, open_: float, high: float, low: float) -> tuple[Working, float]:
    side, trail = float(working.request.side.sign), _float(working.request.trail)
    level = side * math.inf if working.level is None else working.level
    at = trail_fill(open_, high, low, level, trail, side)
    if not math.isnan(at):
        return replace(working, armed=True), at
    return replace(working, level=trail_level(high, low, level, trail, side)), at


def _worse(at: float, take: float, side: float) -> float:
    return at if math.isnan(at) else side * max(side * at, side * take)


def _bps(prices: Bar | PriceStep, side: Side, rules: FillRules) -> float:
    seen = isinstance(prices, PriceStep) and prices.book(side) is not None
    return rules.slippage_bps + (0.0 if seen else rules.half_spread_bps)


def _share(working: Working, volume: float, rules: FillRules, taken: Decimal) -> tuple[Decimal, float]:
    """How much of it may fill, and the part of a lot that is left over for the next time."""
    if rules.ignore_volume:
        return working.remaining, 0.0
    lot = working.instrument.lot
    lots = lots_within(volume, rules.volume_cap, float(lot), working.unused) - float(taken / lot)
    whole = max(math.floor(lots * (1.0 + SAME)), 0)
    return min(working.remaining, whole * lot), max(lots - whole, 0.0)


def _filled(working: Working, prices: Bar | PriceStep, at: float, quantity: Decimal, rules: FillRules) -> Step:
    request, instrument = working.request, working.instrument
    side, tick = float(request.side.sign), float(instrument.tick)
    cost = paid(at, side, _bps(prices, request.side, rules), tick)
    if request.limit is not None:
        cost = within(cost, float(request.limit), side)
    price = Decimal(round(cost / tick)) * instrument.tick
    filled, value = working.filled + quantity, working.value + quantity * price
    fee = rules.commission.of(filled, value) - rules.commission.of(working.filled, working.value)
    if rules.regulatory_fees and request.side is Side.SELL and instrument.venue == "US":
        fee += regulatory_fees(quantity, price, prices.time.astimezone(NEW_YORK).date())
    fill = Fill(
        id=f"{working.order_id}/{filled.normalize():f}",
        order_id=working.order_id,
        account=request.account,
        symbol=request.symbol,
        side=request.side,
        quantity=quantity,
        price=price,
        time=prices.time,
        fee=fee,
    )
    left = replace(working, remaining=working.remaining - quantity, filled=filled, value=value)
    if not left.remaining:
        return Step(None, (fill,), Status.FILLED, at)
    if request.time_in_force is TimeInForce.IOC:
        return Step(None, (fill,), Status.CANCELLED, at)
    return Step(left, (fill,), Status.PARTIAL, at)


def _unfilled(working: Working) -> Step:
    if working.request.time_in_force is TimeInForce.IOC:
        return Step(None, (), Status.CANCELLED)
    return Step(working, (), working.status)


def _float(price: Decimal | None) -> float:
    assert price is not None, "an order that checked itself has the prices of its type"
    return float(price)
