"""Round trips: from flat to flat in one symbol, with what each brought after all fees. A pure fold over fills.

The rule: a profit is the sum of the trip's cash, so that a trip that broke even comes to exactly zero.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from domain.orders import Fill

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """A position that is closed. `profit` is after all fees, below zero for a loss; `closed` when it ended."""

    symbol: str
    closed: datetime
    profit: Decimal

    @property
    def lost(self) -> bool:
        return self.profit < 0


@dataclass(slots=True)
class _Trip:
    """One that is still open: `flow` is its cash so far, `known` False where shares came without their price."""

    quantity: Decimal
    flow: Decimal
    known: bool = True


class RoundTrips:
    """The round trips of one account, fed fill by fill.

    A fill through zero closes one trip, to which its whole fee belongs, and begins the next. What the broker's figures
    changed (`adjust`) keeps what was paid, as a split does. A trip that began with such a change, or ended in one, has
    no known price: it is neither a loss nor a gain, and is left out.
    """

    def __init__(self) -> None:
        self._open: dict[str, _Trip] = {}
        self._closed: list[RoundTrip] = []

    def fill(self, fill: Fill) -> None:
        trip = self._open.get(fill.symbol) or _Trip(ZERO, ZERO)
        left = trip.quantity + fill.side.sign * fill.quantity
        over = left if left * trip.quantity < 0 else ZERO
        flow = trip.flow + fill.cash + over * fill.price  # what begins the next trip was not spent on this one
        if left and not over:
            self._open[fill.symbol] = _Trip(left, flow, trip.known)
            return
        if trip.known:
            insort(self._closed, RoundTrip(fill.symbol, fill.time, flow), key=_when)
        self._begin(fill.symbol, over, -over * fill.price)

    def adjust(self, symbol: str, change: Decimal) -> None:
        """The broker's count of the symbol's shares was taken over."""
        trip = self._open.get(symbol) or _Trip(ZERO, ZERO)
        left = trip.quantity + change
        if trip.quantity * left > 0:
            trip.quantity = left
            return
        self._begin(symbol, left, ZERO, known=False)

    def since(self, moment: datetime) -> tuple[RoundTrip, ...]:
        """Those that closed at `moment` or later, in the order of time."""
        return tuple(self._closed[bisect_left(self._closed, moment, key=_when) :])

    def _begin(self, symbol: str, quantity: Decimal, flow: Decimal, *, known: bool = True) -> None:
        self._open.pop(symbol, None)
        if quantity:
            self._open[symbol] = _Trip(quantity, flow, known)


def _when(trip: RoundTrip) -> datetime:
    return trip.closed
