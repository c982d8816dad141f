"""How the stop of a position shall rest: plain at a price, or trailing; the arithmetic, without a market or a ledger.

The rule: a tie between a fixed stop and a trailing one is the fixed one's, as in a backtest.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from desk.records import Protection


@dataclass(frozen=True, slots=True)
class StopLeg:
    """How a position's stop shall rest. `price` is where a plain one does; `trail` the distance of a trailing order
    that rests instead, in money; `keeps` the distance of one that may go on resting where it rests already."""

    price: Decimal | None = None
    trail: Decimal | None = None
    keeps: Decimal | None = None

    @property
    def wanted(self) -> bool:
        return self.price is not None or self.trail is not None


def level_at(held: Decimal, price: Decimal, trail: Decimal) -> Decimal:
    """Where a trailing stop that follows from this price stands: below it for a long position."""
    return price - trail if held > 0 else price + trail


def nearer(held: Decimal, one: Decimal, other: Decimal) -> bool:
    """Whether one stop is nearer to the price than the other."""
    return one > other if held > 0 else one < other


def nearest(held: Decimal, *levels: Decimal | None) -> Decimal | None:
    """Of these stops the one that is nearest to the price; None where there is none."""
    known = [level for level in levels if level is not None]
    return None if not known else max(known) if held > 0 else min(known)


def on_tick(held: Decimal, price: Decimal, tick: Decimal) -> Decimal:
    """The price on the tick that is nearer to the market, so that no rounding moves a stop away from it."""
    ticks = (price / tick).to_integral_value(ROUND_CEILING if held > 0 else ROUND_FLOOR)
    return max(ticks, Decimal(1)) * tick


def stop_leg(held: Decimal, plan: Protection, last: Decimal | None, tick: Decimal, *, may_trail: bool) -> StopLeg:
    """How the stop of a position shall rest while the market stands at `last` (None: not known). `may_trail`: whether a
    trailing order may be placed now; one that rests goes on in any case, unless the fixed stop is nearer."""
    if plan.trail is None:
        return StopLeg(plan.stop)
    fixed, level = plan.stop, plan.level
    overtaken = fixed is not None and level is not None and nearer(held, fixed, level)
    keeps = None if overtaken else plan.trail
    floor = nearest(held, fixed, level)
    if last is None:
        return StopLeg(None, plan.trail, keeps) if floor is None else StopLeg(on_tick(held, floor, tick), None, keeps)
    fresh = level_at(held, last, plan.trail)
    beyond_fixed = fixed is None or nearer(held, fresh, fixed)  # a tie is the stop's, as in a backtest
    as_near = level is None or not nearer(held, level, fresh)
    if may_trail and beyond_fixed and as_near:
        return StopLeg(on_tick(held, fresh, tick), plan.trail, keeps)
    begins = nearest(held, fixed, fresh if level is None else level)
    assert begins is not None, "there is a price"
    return StopLeg(on_tick(held, begins, tick), None, keeps)
