"""What an account of the paper broker may do: cash and margin rules, settlement. Pure arithmetic, no file, no clock.

Cash accounts buy with the cash they have, settled or not, and sell what they hold. Margin accounts buy, or sell short,
up to twice the equity that half the worth of all positions leaves free (Regulation T's initial 50 %). What rests
counts as if it had filled at its worst price; orders of one group count once. A gap can cost more than that: then cash
goes below zero, as it would at a broker, and nothing more may be bought.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np

from brokers.base import BrokerAccount
from domain.calendars import NEW_YORK
from domain.context import AccountKind
from domain.fill_prices import paid, within
from domain.instruments import Instrument
from domain.matching import FillRules
from domain.orders import Fill, OrderRequest, OrderType, Side
from domain.positions import Position
from domain.quotes import Quote

ZERO = Decimal(0)
_LIMITED = (OrderType.LIMIT, OrderType.STOP_LIMIT)
_LONGEST_PAUSE = timedelta(days=4)


@dataclass(frozen=True, slots=True)
class Claim:
    """What an order would still trade: shares, and the worst price of one."""

    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    group: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """An account at a moment. `prices` are the newest seen; a position without one counts at its cost."""

    name: str
    kind: AccountKind
    cash: Decimal
    unsettled: Decimal
    positions: Mapping[str, Position]
    prices: Mapping[str, Decimal]
    resting: tuple[Claim, ...] = ()
    bought_unsettled: frozenset[str] = frozenset()

    @property
    def settled(self) -> Decimal:
        """What is settled of the cash; purchases use settled money up first."""
        return min(self.cash, max(ZERO, self.cash - self.unsettled))

    @property
    def funds(self) -> Decimal:
        """What the broker lets orders cost, those that rest included."""
        if self.kind is AccountKind.CASH:
            return self.cash
        worth = [held.value(self.prices.get(symbol, held.cost)) for symbol, held in self.positions.items()]
        equity, gross = self.cash + sum(worth, ZERO), sum(map(abs, worth), ZERO)
        return 2 * (equity - gross / 2)

    @property
    def buying_power(self) -> Decimal:
        funds = self.settled if self.kind is AccountKind.CASH else self.funds
        return max(ZERO, funds - self.cost(self.resting))

    def held(self, symbol: str) -> Decimal:
        return self.positions[symbol].quantity if symbol in self.positions else ZERO

    def opened(self, claims: Iterable[Claim]) -> dict[tuple[str, Side], list[Claim]]:
        """The part of the claims that opens or adds to positions, the dearest first; the rest closes."""
        found: dict[tuple[str, Side], list[Claim]] = defaultdict(list)
        for claim in sorted(_once(claims), key=lambda each: each.price):
            found[claim.symbol, claim.side].append(claim)
        return {of: _beyond(same, -of[1].sign * self.held(of[0])) for of, same in found.items()}

    def cost(self, claims: Iterable[Claim]) -> Decimal:
        """What they tie up. A cash account's sales tie up shares, not money."""
        return sum(
            (
                claim.quantity * claim.price
                for (_, side), opening in self.opened(claims).items()
                for claim in opening
                if side is Side.BUY or self.kind is AccountKind.MARGIN
            ),
            ZERO,
        )

    def faults(self, claim: Claim, fees: Decimal) -> Iterator[str]:
        """Why the broker would not take one more order; a claim of price zero is one without any price yet."""
        before, both = self.cost(self.resting), (*self.resting, claim)
        of = (claim.symbol, claim.side)
        opening, resting = (_total(self.opened(claims).get(of, [])) for claims in (both, self.resting))
        if opening <= resting:
            return
        if self.kind is AccountKind.CASH and claim.side is Side.SELL:
            free = max(ZERO, self.held(claim.symbol) - _total(_side(self.resting, of)))
            yield f"{free} {claim.symbol} are held and free: a cash account cannot sell more, sell less or cancel first"
        elif not claim.price:
            yield f"there is no price yet for {claim.symbol}: wait for its first quote"
        elif (need := self.cost(both) - before + fees) > (free := max(ZERO, self.funds - before)):
            yield f"it needs {need:.2f}, {free:.2f} may be spent in account {self.name}: order less, or free some"

    def after(self, fill: Fill, *, settles: bool) -> Standing:
        """The account with one more fill; `settles`: its money is good at once."""
        held = self.positions.get(fill.symbol, Position(self.name, fill.symbol)).after(fill)
        late = ZERO if settles else max(ZERO, fill.cash)
        positions = {**self.positions, fill.symbol: held}
        prices = {fill.symbol: fill.price, **self.prices}
        return replace(
            self, cash=self.cash + fill.cash, unsettled=self.unsettled + late, positions=positions, prices=prices
        )

    def seen(self) -> BrokerAccount:
        """The account as the port tells it."""
        positions = {symbol: held.quantity for symbol, held in self.positions.items() if held.quantity}
        bought = frozenset(symbol for symbol in self.bought_unsettled if positions.get(symbol, ZERO) > 0)
        costs = {symbol: self.positions[symbol].cost for symbol in positions}
        figures = (self.cash, self.settled, self.buying_power)
        return BrokerAccount(self.name, self.kind, *figures, positions, costs, bought_unsettled=bought)


def settlement(instrument: Instrument, traded: datetime) -> datetime | None:
    """When the money of a sale may be counted on: US shares on the next session's day (T+1), its first moment in New
    York; None for at once."""
    if instrument.is_crypto:
        return None
    day, days = traded.astimezone(NEW_YORK).date(), instrument.calendar.sessions.days
    at = int(np.searchsorted(days, np.datetime64(day, "D"), side="right"))
    settles = days[at].item() if at < len(days) else day + _LONGEST_PAUSE
    return datetime(settles.year, settles.month, settles.day, tzinfo=NEW_YORK).astimezone(UTC)


def expected_price(request: OrderRequest, quote: Quote, instrument: Instrument, rules: FillRules) -> Decimal:
    """What a share is expected to fill at, costs included, as the market stands."""
    side, book = float(request.side.sign), quote.ask if request.side is Side.BUY else quote.bid
    take = quote.last if book is None else book
    if request.type is OrderType.LIMIT and request.limit is not None and side * float(take - request.limit) > 0:
        return request.limit
    bps = rules.slippage_bps + (rules.half_spread_bps if book is None else 0.0)
    at = _set_off(request, take)
    cost = paid(float(at), side, bps, float(instrument.tick))
    if request.limit is not None:
        cost = within(cost, float(request.limit), side)
    return Decimal(round(cost / float(instrument.tick))) * instrument.tick


def worst_price(
    request: OrderRequest, quote: Quote | None, instrument: Instrument, rules: FillRules, cost: Decimal
) -> Decimal:
    """What a share may cost, or be worth when it is sold short. Without a quote the order's own prices or the
    position's `cost` have to do; zero where there is nothing."""
    if request.side is Side.BUY and request.type in _LIMITED and request.limit is not None:
        return request.limit
    if quote is None:
        return request.limit or request.stop or cost
    expected = expected_price(request, quote, instrument, rules)
    if request.side is Side.BUY:
        return expected
    return max(expected, quote.ask or quote.last, request.limit or ZERO)


def _set_off(request: OrderRequest, take: Decimal) -> Decimal:
    """The market's price when the order comes to trade: now, or once its stop is reached."""
    worse = max if request.side is Side.BUY else min
    if request.stop is not None:
        return worse(take, request.stop)
    if request.trail is not None:
        return max(take + request.side.sign * request.trail, Decimal("0.01"))
    return take


def _once(claims: Iterable[Claim]) -> list[Claim]:
    """Orders of a group as one: the larger quantity at the worse price."""
    found: dict[object, Claim] = {}
    for number, claim in enumerate(claims):
        key = (claim.group, claim.symbol, claim.side) if claim.group else number
        seen = found.get(key, claim)
        found[key] = replace(seen, quantity=max(seen.quantity, claim.quantity), price=max(seen.price, claim.price))
    return list(found.values())


def _beyond(claims: Iterable[Claim], free: Decimal) -> list[Claim]:
    """What of the claims is left once the first of them have closed `free` shares."""
    left, found = max(ZERO, free), list[Claim]()
    for claim in claims:
        closing = min(left, claim.quantity)
        left -= closing
        found.append(replace(claim, quantity=claim.quantity - closing))
    return found


def _side(claims: Iterable[Claim], of: tuple[str, Side]) -> list[Claim]:
    return [claim for claim in _once(claims) if (claim.symbol, claim.side) == of]


def _total(claims: Iterable[Claim]) -> Decimal:
    return sum((claim.quantity for claim in claims), ZERO)
