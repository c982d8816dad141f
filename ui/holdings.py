"""What an account holds, priced and judged for a person: profit, protection, totals. Knows nothing of Streamlit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal

import bootstrap
from desk.records import Protection
from domain.instruments import Instrument, instrument
from domain.orders import AT_BROKER, Order, Purpose, Side, Status
from domain.positions import ZERO, Account, Position
from domain.quotes import Quote
from performance_utils import Desk
from ui import wording

NO_STOP = "NO STOP"


@dataclass(frozen=True, slots=True)
class Holding:
    """One position as it is shown. `guarded` is how many of its shares a resting stop covers; `last` None where no
    price is known, and with it all that follows from it; `outside` how many came from outside a desk at a broker.
    `stop` is where its stop stands now; `fixed` the plan's own beside a `trail`, which is its distance in money;
    `trails` says that a trailing order rests."""

    account: str
    symbol: str
    quantity: Decimal
    average: Decimal
    last: Decimal | None
    stop: Decimal | None
    target: Decimal | None
    guarded: Decimal
    outside: Decimal = ZERO
    trail: Decimal | None = None
    fixed: Decimal | None = None
    trails: bool = False

    @property
    def ours(self) -> Decimal:
        """The part of it this desk may close."""
        return self.quantity - self.outside

    @property
    def what(self) -> Instrument:
        return instrument(self.symbol)

    @property
    def closing(self) -> Side:
        return Side.SELL if self.quantity > 0 else Side.BUY

    @property
    def value(self) -> Decimal | None:
        return None if self.last is None else self.quantity * self.last

    @property
    def profit(self) -> Decimal | None:
        return None if self.last is None else self.quantity * (self.last - self.average)

    @property
    def percent(self) -> Decimal | None:
        paid = abs(self.quantity * self.average)
        return None if self.profit is None or not paid else 100 * self.profit / paid

    @property
    def unguarded(self) -> Decimal:
        return max(ZERO, abs(self.quantity) - self.guarded)

    @property
    def guard(self) -> str:
        """Whether a stop rests for it: `yes`, `NO STOP`, or how much of it is not covered."""
        if not self.unguarded:
            return f"yes{self._trailing}"
        return NO_STOP if not self.guarded else f"{self.unguarded:f} WITHOUT STOP"

    @property
    def _trailing(self) -> str:
        if self.trail is None:
            return ""
        return f", {'' if self.trails else 'then '}{wording.trailing(self.trail)}"

    @property
    def planned(self) -> Decimal | None:
        """The fixed stop that was asked for: beside a trail the plan's, else where it stands."""
        return self.stop if self.trail is None else self.fixed

    def part(self, percent: Decimal) -> Decimal:
        """So many per cent of it in whole lots, as a closing order would take them."""
        return abs(self.quantity) if percent == 100 else self.what.round_quantity(abs(self.quantity) * percent / 100)

    def gain(self, shares: Decimal, price: Decimal) -> Decimal:
        """The profit of closing so many at `price`, before fees."""
        return shares * (price - self.average) * (1 if self.quantity > 0 else -1)


@dataclass(frozen=True, slots=True)
class Totals:
    """The strip above the table; None where a price or the day's beginning is missing."""

    equity: Decimal | None
    day: Decimal | None
    open: Decimal | None
    exposure: Decimal | None
    cash: Decimal


def holdings(
    positions: Mapping[str, Position],
    quotes: Mapping[str, Quote],
    plans: Mapping[str, Protection],
    orders: Iterable[Order],
) -> list[Holding]:
    """The positions by symbol, priced and with what protects them."""
    resting = list(orders)
    return [
        _holding(position, quotes.get(symbol), plans.get(symbol), resting)
        for symbol, position in sorted(positions.items())
    ]


def _holding(position: Position, quote: Quote | None, plan: Protection | None, resting: list[Order]) -> Holding:
    stops = [o for o in resting if _is_stop_of(o, position)]
    trails = any(o.request.trail is not None for o in stops)
    level = None if plan is None or plan.level is None else instrument(position.symbol).round_price(plan.level)
    plain = next((o.request.stop for o in stops if o.request.stop is not None), None)
    stop = level if trails else plain if stops else plan.stop if plan else None
    targets = [o for o in resting if o.request.symbol == position.symbol and o.request.purpose is Purpose.TARGET]
    target = targets[0].request.limit if targets else plan.target if plan else None
    return Holding(
        position.account,
        position.symbol,
        position.quantity,
        position.cost,
        quote.last if quote else None,
        stop,
        target,
        min(abs(position.quantity), sum((o.remaining for o in stops), ZERO)),
        trail=plan.trail if plan else None,
        fixed=plan.stop if plan else None,
        trails=trails,
    )


def _is_stop_of(order: Order, position: Position) -> bool:
    asked = order.request
    rests = order.status in AT_BROKER and order.status is not Status.CANCELLING
    return rests and asked.symbol == position.symbol and asked.purpose is Purpose.STOP


def totals(account: Account, held: list[Holding], day_began: Decimal | None) -> Totals:
    """Equity, the day's profit against what it began with, open profit and exposure."""
    values, profits = [one.value for one in held], [one.profit for one in held]
    known = [value for value in values if value is not None]
    whole = len(known) == len(held)
    equity = account.cash + sum(known, ZERO) if whole else None
    return Totals(
        equity=equity,
        day=equity - day_began if equity is not None and day_began else None,
        open=sum((p for p in profits if p is not None), ZERO) if whole else None,
        exposure=sum((abs(value) for value in known), ZERO) if whole else None,
        cash=account.cash,
    )


def held_by(desk: Desk, account: str) -> list[Holding]:
    """An account's positions, priced and with what protects them."""
    trading = bootstrap.trading()
    positions = trading.reader.positions(account)
    plans, resting = trading.reader.protection(account), trading.reader.open_orders(account)
    found = holdings(positions, quotes(trading, desk, positions), plans, resting)
    if not trading.place.needs_arming:
        return found
    return [replace(one, outside=positions[one.symbol].outside) for one in found]


def quotes(trading: bootstrap.Trading, desk: Desk, symbols: Iterable[str]) -> dict[str, Quote]:
    """The newest quote of each symbol: the engine's, or the charts' where that one is newer."""
    wanted = list(symbols)
    desk.board.want(wanted)
    seen = trading.book.quotes()
    return {symbol: quote for symbol in wanted if (quote := _newer(seen.get(symbol), desk, symbol))}


def _newer(seen: Quote | None, desk: Desk, symbol: str) -> Quote | None:
    standing = desk.board.get(symbol)
    if standing is None:
        return seen
    return standing.quote if seen is None or standing.quote.time > seen.time else seen
