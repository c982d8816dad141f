"""What should rest to protect a position, beside what rests: the next steps from the one to the other.

A position is covered in pieces. A piece is a stop and a target for the same shares, with one parent: what the one
fills, the other loses. The rule: never more than is held and not claimed by a closing order, and never a piece with
another price than the plan's. All of it is worked out anew from what is, so that a restart needs no memory.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from desk.records import Protection
from desk.stop_leg import StopLeg
from domain.orders import AT_BROKER, OPEN, Order, Purpose, Status

ZERO = Decimal(0)
EXITS = (Purpose.STOP, Purpose.TARGET)
BEYOND = "the price is beyond the stop"  # how the reason of a stop begins that is sold at market, since none can rest
_OTHER = {Purpose.STOP: Purpose.TARGET, Purpose.TARGET: Purpose.STOP}
NONE = StopLeg()
Wanted = dict[Purpose, StopLeg]


@dataclass(frozen=True, slots=True)
class Cancel:
    """Take this order away, for this reason."""

    order: Order
    reason: str


@dataclass(frozen=True, slots=True)
class Rest:
    """Put this leg to rest; `parent` '' begins a new piece. With a `trail` it is a trailing stop, and `price` where a
    plain one would stand in its stead."""

    purpose: Purpose
    quantity: Decimal
    price: Decimal | None
    parent: str = ""
    trail: Decimal | None = None


Step = Cancel | Rest


@dataclass(frozen=True, slots=True)
class Piece:
    """All orders of one parent, done ones too."""

    parent: str
    orders: tuple[Order, ...]

    @property
    def open(self) -> list[Order]:
        return [order for order in self.orders if order.status in OPEN]

    @property
    def remaining(self) -> Decimal:
        """The shares it still covers: what the first leg was for, less what any leg has filled."""
        if not self.open:
            return ZERO
        most = max(order.request.quantity for order in self.orders)
        return max(ZERO, most - sum((order.filled for order in self.orders), ZERO))

    def leg(self, purpose: Purpose) -> Order | None:
        return next((order for order in self.open if order.request.purpose is purpose), None)

    @property
    def going(self) -> bool:
        """A leg of it is on its way out, or nobody knows where it is."""
        return any(order.status not in AT_BROKER or order.status is Status.CANCELLING for order in self.open)

    @property
    def newest(self) -> tuple[object, str]:
        return max((order.created, order.id) for order in self.orders)


def pieces(family: Iterable[Order]) -> list[Piece]:
    """The pieces that still have an open leg, oldest first."""
    by_parent: dict[str, list[Order]] = defaultdict(list)
    for order in family:
        if order.request.purpose in EXITS:
            by_parent[order.parent].append(order)
    found = [Piece(parent, tuple(orders)) for parent, orders in by_parent.items()]
    return sorted((piece for piece in found if piece.open), key=lambda piece: piece.newest)


def covered(found: Iterable[Piece]) -> Decimal:
    """The shares these pieces hold."""
    return sum((piece.remaining for piece in found), ZERO)


def stopped(found: Iterable[Piece]) -> Decimal:
    """The shares under a stop that rests at the broker now."""
    return sum(
        (piece.remaining for piece in found if (leg := piece.leg(Purpose.STOP)) and leg.status in AT_BROKER), ZERO
    )


def steps(
    held: Decimal,
    claimed: Decimal,
    plan: Protection,
    family: Iterable[Order],
    *,
    oco: bool,
    reached: bool = False,
    stop: StopLeg | None = None,
) -> list[Step]:
    """What to do next for one symbol: `held` below zero when short, `claimed` what closing orders are about to take,
    `family` every order of the pieces that have an open leg, `stop` how a stop shall rest now (None: at the plan's
    price). Cancels come alone: what they free is placed after.

    Where no two orders can rest for the same shares (not `oco`), the stop rests and the target is watched; once it is
    `reached` they are sold there instead of resting under the stop."""
    stop = StopLeg(plan.stop) if stop is None else stop
    one = Purpose.TARGET if plan.target is not None and (reached or not stop.wanted) else Purpose.STOP
    wanted = {Purpose.STOP: stop, Purpose.TARGET: StopLeg(plan.target)}
    if not oco:
        wanted[_OTHER[one]] = NONE
    standing, cover = pieces(family), max(ZERO, abs(held) - claimed)
    if wrong := [step for piece in standing for step in _wrong(piece, held, wanted, oco=oco)]:
        return wrong
    if surplus := _surplus(standing, cover):
        return surplus
    return [*_missing_legs(standing, wanted), *_missing_cover(standing, cover, wanted)]


def _wrong(piece: Piece, held: Decimal, wanted: Wanted, *, oco: bool) -> list[Step]:
    """The whole piece goes where one leg of it does not fit: its legs belong together."""
    said = ""
    for order in piece.open:
        if held * order.request.side.sign >= 0:
            said = "there is no position left that it protects"
        elif not _fits(order, wanted[order.request.purpose], oco=oco):
            said = _why(order, wanted)
    return (
        [Cancel(order, said) for order in piece.open if order.status in AT_BROKER - {Status.CANCELLING}] if said else []
    )


def _why(order: Order, wanted: Wanted) -> str:
    asked = order.request
    mine, other = wanted[asked.purpose], wanted[_OTHER[asked.purpose]]
    if not mine.wanted and other.wanted:
        return f"the {_OTHER[asked.purpose]} takes its place"
    if mine.trail is not None and asked.trail is None:
        return "a trailing stop takes its place"
    return "a plain stop takes its place" if asked.trail is not None and mine.wanted else "its price was changed"


def _fits(order: Order, wanted: StopLeg, *, oco: bool) -> bool:
    """At the price it should have, or trailing at the distance; a target that was swapped in may be better."""
    asked = order.request
    if asked.purpose is Purpose.STOP:
        if asked.trail is not None:
            return asked.trail == wanted.keeps
        return wanted.trail is None and asked.stop == wanted.price
    if oco or asked.limit is None or wanted.price is None:
        return asked.limit == wanted.price
    return (asked.limit - wanted.price) * asked.side.sign <= 0


def _surplus(standing: list[Piece], cover: Decimal) -> list[Step]:
    """Whole pieces, newest first, until no more is covered than may be."""
    found, left = list[Step](), covered(standing)
    for piece in reversed(standing):
        if left <= cover:
            break
        left -= piece.remaining
        said = "its shares are closed, or about to be"
        found += [Cancel(order, said) for order in piece.open if order.status in AT_BROKER - {Status.CANCELLING}]
    return found


def _missing_legs(standing: list[Piece], wanted: Wanted) -> list[Step]:
    found = list[Step]()
    for piece in standing:
        for purpose, leg in wanted.items():
            if leg.wanted and piece.leg(purpose) is None and not piece.going and piece.remaining:
                found.append(Rest(purpose, piece.remaining, leg.price, piece.parent, leg.trail))
    return found


def _missing_cover(standing: list[Piece], cover: Decimal, wanted: Wanted) -> list[Step]:
    """One new piece for what no piece covers; its second leg follows once the first one rests."""
    left = cover - covered(standing)
    if left <= 0 or any(piece.going for piece in standing):
        return []
    first = next((purpose for purpose in EXITS if wanted[purpose].wanted), None)
    return [Rest(first, left, wanted[first].price, trail=wanted[first].trail)] if first else []
