"""Positions and accounts: pure folds over fills. Whatever is stored of them elsewhere is only a cache of these.

Cost is the average-cost method; a fill through zero closes the old position and opens the new one at its own price.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import ROUND_DOWN, Decimal

from domain.orders import Fill

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Position:
    """What an account holds of a symbol. `quantity` is below zero when short; `cost` is the average entry price before
    fees; `realised` is the profit of what was closed, after all `fees`. `ours` is the part of `quantity` that orders of
    this desk brought: the rest came from outside, is counted, and is nobody's here to touch."""

    account: str
    symbol: str
    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    realised: Decimal = ZERO
    fees: Decimal = ZERO
    ours: Decimal = ZERO

    @property
    def outside(self) -> Decimal:
        """What came from outside this desk."""
        return self.quantity - self.ours

    def after(self, fill: Fill) -> Position:
        """The position after one more fill."""
        change = fill.side.sign * fill.quantity
        closing = min(abs(self.quantity), fill.quantity) if self.quantity * change < 0 else ZERO
        profit = closing * (fill.price - self.cost) * (1 if self.quantity > 0 else -1)
        left = self.quantity + change
        return replace(
            self,
            quantity=left,
            cost=self._cost_after(fill, closing, left),
            realised=self.realised + profit - fill.fee,
            fees=self.fees + fill.fee,
            ours=_within(self.ours + (change if fill.order_id else ZERO), left),
        )

    def adjusted(self, change: Decimal) -> Position:
        """The position after the broker's figure was taken over: what was paid for it stays the same in all (a split),
        and so does the part that is ours; shares that come to none, or to the other side, come from outside."""
        left = self.quantity + change
        if self.quantity * left <= 0:
            return replace(self, quantity=left, cost=ZERO, ours=ZERO)
        ours = self.ours * left / self.quantity
        if left == left.to_integral_value():  # of whole shares a part is whole shares too
            ours = ours.to_integral_value(ROUND_DOWN)
        return replace(self, quantity=left, cost=self.cost * self.quantity / left, ours=_within(ours, left))

    def _cost_after(self, fill: Fill, closing: Decimal, left: Decimal) -> Decimal:
        opening = fill.quantity - closing
        if left == 0:
            return ZERO
        if opening == 0:
            return self.cost
        held = abs(left) - opening
        return (held * self.cost + opening * fill.price) / abs(left)

    def value(self, price: Decimal) -> Decimal:
        """Its market value, below zero when short."""
        return self.quantity * price

    def unrealised(self, price: Decimal) -> Decimal:
        """Profit that is open at `price`, before the fees of closing."""
        return self.quantity * (price - self.cost)


def _within(part: Decimal, whole: Decimal) -> Decimal:
    """The part where it fits into the whole, else the nearest that does."""
    return max(min(part, max(whole, ZERO)), min(whole, ZERO))


@dataclass(frozen=True, slots=True)
class Account:
    """Cash and positions of one account, folded from its starting cash and its fills."""

    name: str
    cash: Decimal
    positions: dict[str, Position]

    def equity(self, prices: dict[str, Decimal]) -> Decimal:
        """Cash plus positions at `prices`; KeyError where a held symbol has none: no price is no equity."""
        held = (p for p in self.positions.values() if p.quantity)
        return self.cash + sum((p.value(prices[p.symbol]) for p in held), ZERO)

    @property
    def realised(self) -> Decimal:
        return sum((p.realised for p in self.positions.values()), ZERO)


def fold(name: str, starting_cash: Decimal, fills: Iterable[Fill]) -> Account:
    """The account after these fills, in their order; a fill id heard twice counts once."""
    cash, positions, seen = starting_cash, dict[str, Position](), set[str]()
    for fill in fills:
        if fill.id in seen or fill.account != name:
            continue
        seen.add(fill.id)
        cash += fill.cash
        held = positions.get(fill.symbol, Position(name, fill.symbol))
        positions[fill.symbol] = held.after(fill)
    return Account(name, cash, positions)
