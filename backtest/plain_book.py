"""One symbol in the plain pass: its orders as `domain.matching` knows them, its position and the trade that is on."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from decimal import Decimal

from backtest import book as b
from backtest import sizing
from backtest.setup import Exit, Setup
from domain.calendars import Phase
from domain.instruments import Instrument
from domain.matching import FillRules, Step, before_target, step, step_exits
from domain.orders import Fill, OrderRequest, OrderType, Purpose, Side, Status, TimeInForce
from domain.quotes import Bar
from domain.working import Working, accept

ZERO = Decimal(0)
Spend = Callable[[Fill], None]


@dataclass(slots=True)
class Trade:
    """What a position has come to since it was opened from flat."""

    side: int
    entry_row: int
    stop_first: float
    low: float
    high: float
    signal_row: int
    decision: float
    bought: Decimal = ZERO
    paid: Decimal = ZERO
    received: Decimal = ZERO
    fees: Decimal = ZERO
    slippage: float = 0.0
    held: int = 0

    def seen(self, *prices: float) -> None:
        self.low, self.high = min(self.low, *prices), max(self.high, *prices)

    def row(self, symbol: int, last: int, received: Decimal, why: int) -> list[float]:
        """As `backtest.book` writes it down."""
        size, entry = float(self.bought), float(self.paid / self.bought)
        below, above = (self.low - entry) * size, (self.high - entry) * size
        profit = self.side * (received - self.paid) - self.fees
        moves = (min(below, 0.0), max(above, 0.0)) if self.side > 0 else (min(-above, 0.0), max(-below, 0.0))
        begun = [symbol, self.side, self.entry_row, entry, last, float(received / self.bought), size, float(profit)]
        costs = [float(self.fees), self.slippage, why, self.stop_first]
        return [*map(float, begun), *costs, *moves, float(self.held), float(self.signal_row), self.decision]


@dataclass(slots=True)
class Book:
    """`stop`, `trail` and `target` work while there is a position; of the market orders `closing` goes before
    `opening`; `leaving` is the protective order that has been set off. `ranges` are the ATRs at the newest decision;
    `fills` and `trades` are lists that all books write into; between `floor` and `ceiling` a bar sets nothing off."""

    number: int
    instrument: Instrument
    setup: Setup
    spend: Spend
    any_volume: FillRules
    fills: list[list[float]]
    trades: list[list[float]]
    position: Decimal = ZERO
    mark: float = 0.0
    want: float = 0.0
    pending: float = 0.0
    closing: Working | None = None
    closing_why: int = b.BY_SIGNAL
    opening: Working | None = None
    stop: Working | None = None
    trail: Working | None = None
    target: Working | None = None
    leaving: Working | None = None
    leaving_why: int = 0
    trade: Trade | None = None
    signal_row: int = 0
    decision: float = 0.0
    ranges: dict[int, float] = field(default_factory=dict)
    doubtful: int = 0
    size: float = 0.0
    floor: float = -math.inf
    ceiling: float = math.inf
    _taken: tuple[int, Decimal] = (-1, ZERO)

    # What stands around a bar

    def trades_in(self, bar: Bar) -> bool:
        fills = self.setup.fills
        return (bar.volume > 0 or fills.ignore_volume) and self.instrument.calendar.phase(bar.time) is Phase.OPEN

    @property
    def side(self) -> int:
        return (self.position > 0) - (self.position < 0)

    @property
    def waits(self) -> bool:
        return bool(self.closing or self.opening or self.leaving or self.pending)

    def away(self, way_out: Exit | None, price: float) -> float:
        """How far an exit lies from `price`; 0 where there is none."""
        if way_out is None:
            return 0.0
        part = {"pct": price / 100.0, "price distance": 1.0, "atr": self.ranges.get(way_out.period, math.nan)}
        return way_out.amount * part[way_out.kind]

    # Orders

    def place(self, want: float, quantity: Decimal, bar: Bar) -> None:
        """Market orders that bring the position to `quantity` on the side of `want`, from the next open on."""
        self.opening = self.closing = None
        self.pending, self.closing_why = 0.0, b.BY_SIGNAL
        held = ZERO if self.leaving else self.position
        more, less = quantity, abs(held)
        if float(held) * want > 0:
            more, less = max(quantity - abs(held), ZERO), max(abs(held) - quantity, ZERO)
        if more > 0:
            self.opening = self.order(Side.BUY if want > 0 else Side.SELL, more, bar)
        if less > 0:
            self.closing = self.order(Side.SELL if held > 0 else Side.BUY, less, bar, purpose=Purpose.EXIT)

    def leave_after(self, bar: Bar) -> None:
        """It was held for as long as it may be."""
        self.opening, self.pending, self.closing_why = None, 0.0, b.BY_TIME
        self.closing = self.order(Side.SELL if self.side > 0 else Side.BUY, abs(self.position), bar)

    def order(
        self,
        side: Side,
        quantity: Decimal,
        bar: Bar,
        kind: OrderType = OrderType.MARKET,
        price: float = math.nan,
        purpose: Purpose = Purpose.ENTRY,
    ) -> Working | None:
        """A working order, good till cancelled; None where its price is none."""
        if kind is not OrderType.MARKET and math.isnan(price):
            return None
        tick = self.instrument.tick
        exact = None if kind is OrderType.MARKET else Decimal(round(price / float(tick))) * tick
        request = OrderRequest(
            "backtest",
            self.instrument.symbol,
            side,
            quantity,
            kind,
            time_in_force=TimeInForce.GTC,
            purpose=purpose,
            limit=exact if kind is OrderType.LIMIT else None,
            stop=exact if kind is OrderType.STOP else None,
            trail=exact if kind is OrderType.TRAILING_STOP else None,
        )
        return accept(f"{self.instrument.symbol} {purpose}", request, self.instrument, bar.time)

    # A bar

    def close_at_open(self, bar: Bar, row: int) -> None:
        """A stop that was set off before, or a market order to close."""
        if self.leaving is not None:
            done = step(self.leaving, bar, self.setup.fills, taken=self.taken(row))
            self.leaving = done.working
            self.enter(done, row, bar, self.leaving_why)
        elif self.closing is not None:
            done = step(self.closing, bar, self.setup.fills, taken=self.taken(row))
            self.closing = done.working
            self.enter(done, row, bar, self.closing_why)

    def open_at_open(self, bar: Bar, row: int) -> None:
        assert self.opening is not None
        done = step(self.opening, bar, self.setup.fills, taken=self.taken(row))
        self.opening = done.working
        self.enter(done, row, bar, b.ENTRY)

    def hold(self, bar: Bar, row: int) -> None:
        """Stops and target against the bar."""
        if not self.position or self.leaving is not None or not self.trades_in(bar):
            return
        assert self.trade is not None
        self.trade.seen(bar.open)
        taken, fills = self.taken(row), self.setup.fills
        (chosen, why), goal = self._nearest(bar), self.target
        seen = bar if chosen is None else self._met(chosen, bar)
        one = two = Step(None, (), Status.CANCELLED)
        beyond = goal is not None and self._opens_beyond(goal, bar)
        if chosen is not None and goal is not None:
            one, two = step_exits(chosen, goal, bar, fills, taken=taken)
            both = [self._reached(chosen, seen), self._reached(goal, bar)]
            self.doubtful += not beyond and not any(map(math.isnan, both))
        elif chosen is not None:
            one = step(chosen, bar, fills, taken=taken)
        elif goal is not None:
            two = step(goal, bar, fills, taken=taken)
        set_off = bool(one.fills) or (one.working is not None and one.working.armed)
        if set_off or two.fills:
            self._cancel_entry()
        self.target = two.working
        if chosen is not None and why == b.BY_TRAIL:
            self.trail = one.working
        elif chosen is not None:
            self.stop = one.working
        if beyond:
            self.enter(two, row, bar, b.BY_TARGET)
        if set_off:
            self.stop = self.trail = self.target = self.closing = None
            self.leaving, self.leaving_why = one.working, why
            self.enter(one, row, bar, why)
        elif not beyond:
            self.enter(two, row, bar, b.BY_TARGET)

    def guard(self) -> None:
        """Work out between which prices a bar is quiet."""
        self.size, self.floor, self.ceiling = float(self.position), -math.inf, math.inf
        if not self.position or self.leaving is not None:
            return
        stop = math.nan if self.stop is None else float(self.stop.request.stop or 0)
        goal = math.nan if self.target is None else float(self.target.request.limit or 0)
        below, above = (stop, goal) if self.side > 0 else (goal, stop)
        if self.trail is not None:
            self.floor = math.inf
        elif not math.isnan(below):
            self.floor = below * (1.0 + b.CLOSE_ENOUGH)
        if not math.isnan(above):
            self.ceiling = above * (1.0 - b.CLOSE_ENOUGH)

    def close_of(self, low: float, high: float, close: float) -> None:
        """The bar is over: value and count what is held."""
        self.mark, trade = close, self.trade
        if trade is not None:
            trade.low, trade.high = min(trade.low, low), max(trade.high, high)
            trade.held += 1

    # What fills do

    def taken(self, row: int) -> Decimal:
        return self._taken[1] if self._taken[0] == row else ZERO

    def enter(self, done: Step, row: int, bar: Bar, why: int) -> None:
        for fill in done.fills:
            self._taken = (row, self.taken(row) + fill.quantity)
            self.spend(fill)
            sign, at = fill.side.sign, done.at
            price, quantity = float(fill.price), float(fill.quantity)
            line = [self.number, row, sign, quantity, price, float(fill.fee), at, why, self.signal_row]
            self.fills.append([float(value) for value in line])
            opened = not self.position
            self.position += sign * fill.quantity
            if opened:
                self._begin(fill, row, bar, at)
            assert self.trade is not None
            self.trade.fees += fill.fee
            self.trade.slippage += sign * (price - at) * quantity
            if why == b.ENTRY:
                self.trade.bought += fill.quantity
                self.trade.paid += fill.quantity * fill.price
                self._resize()
            else:
                self._less(fill, row, at, why)

    def _less(self, fill: Fill, row: int, at: float, why: int) -> None:
        assert self.trade is not None
        self.trade.received += fill.quantity * fill.price
        self.trade.seen(at)
        if self.closing is not None:
            left = min(self.closing.remaining, abs(self.position))
            self.closing = replace(self.closing, remaining=left) if left else None
        self._resize()
        if self.position:
            return
        self.trades.append(self.trade.row(self.number, row, self.trade.received, why))
        self.trade = self.stop = self.trail = self.target = self.leaving = None

    def _begin(self, fill: Fill, row: int, bar: Bar, at: float) -> None:
        setup, tick, up = self.setup, float(self.instrument.tick), float(fill.side.sign)
        out = fill.side.opposite
        entry = self.decision if setup.exits_from == "signal" else float(fill.price)
        stop = sizing.exit_price(entry, self.away(setup.stop, entry), -up, tick)
        goal = sizing.exit_price(entry, self.away(setup.target, entry), up, tick)
        trail = sizing.trail_distance(self.away(setup.trail, entry), tick)
        self.stop = self.order(out, fill.quantity, bar, OrderType.STOP, stop, Purpose.STOP)
        self.target = self.order(out, fill.quantity, bar, OrderType.LIMIT, goal, Purpose.TARGET)
        self.trail = self.order(out, fill.quantity, bar, OrderType.TRAILING_STOP, trail, Purpose.STOP)
        both = [price for price in (stop, at - up * trail) if not math.isnan(price)]
        first = math.nan if not both else max(both) if up > 0 else min(both)
        self.trade = Trade(int(up), row, first, at, at, self.signal_row, self.decision)

    def _nearest(self, bar: Bar) -> tuple[Working | None, int]:
        """Of stop and trailing stop the one that is set off nearer to the price; else the one that moves."""
        tries = [(w, why) for w, why in ((self.stop, b.BY_STOP), (self.trail, b.BY_TRAIL)) if w is not None]
        hit = [(at, w, why) for w, why in tries if not math.isnan(at := self._reached(w, self._met(w, bar)))]
        if hit:
            _, chosen, why = max(hit, key=lambda each: round(self.side * each[0], 9))
            return chosen, why
        return tries[-1] if tries else (None, b.BY_STOP)

    def _met(self, stop: Working, bar: Bar) -> Bar:
        """The bar as this stop meets it beside the target."""
        seen = bar if self.target is None else before_target(stop, self.target, bar, self.setup.fills)
        assert isinstance(seen, Bar)
        return seen

    def _opens_beyond(self, goal: Working, bar: Bar) -> bool:
        moment = replace(bar, high=bar.open, low=bar.open, close=bar.open)
        return not math.isnan(self._reached(goal, moment))

    def _reached(self, order: Working, bar: Bar) -> float:
        """Where the bar's prices would fill it, whatever the volume; NaN where they do not reach it."""
        return step(order, bar, self.any_volume).at

    def _cancel_entry(self) -> None:
        if self.opening is not None and self.opening.request.side.sign == self.side:
            self.opening = None
        if self.pending * self.side > 0:
            self.pending = 0.0

    def _resize(self) -> None:
        """The exits cover what is held."""
        held = abs(self.position)
        for name in ("stop", "trail", "target", "leaving"):
            working = getattr(self, name)
            if working is not None:
                setattr(self, name, replace(working, remaining=held) if held else None)
