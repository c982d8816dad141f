"""How many lots, where out, and at what fee: the arithmetic of a backtest, in plain floats.

Like `domain.fill_prices`, each function keeps to itself (numbers in, one number out), so that the compiled pass and
the plain one call the same ones. Quantities are counted in whole lots. `RiskManager` and `domain.fees` say the same in
exact numbers; tests hold the two together.
"""

from __future__ import annotations

import math

# Two numbers this close, as a share of themselves, are one: what is left is the noise of binary fractions.
SAME = 1e-10
NOISE = 1e-12


def whole_lots(quantity: float, lot: float) -> float:
    """Down to whole lots."""
    return math.floor(max(quantity, 0.0) / lot * (1.0 + SAME))


def lots_by_equity(exposure: float, fraction: float, equity: float, price: float, lot: float) -> float:
    """The lots that are worth that share of the equity."""
    worth = abs(exposure) * fraction * max(equity, 0.0)
    return math.floor(worth / (price * lot) * (1.0 + SAME))


def lots_by_risk(
    exposure: float, risk: float, equity: float, away: float, max_position_pct: float, price: float, lot: float
) -> float:
    """The lots that lose `risk` of the equity over `away`, worth at most `max_position_pct` of it."""
    if not away > 0.0 or not equity > 0.0:
        return 0.0
    quantity = min(equity * risk / away, equity * max_position_pct / 100.0 / price)
    return math.floor(abs(exposure) * quantity / lot * (1.0 + SAME))


def lots_affordable(room: float, price: float, lot: float, per_order: float, per_share: float, bps: float) -> float:
    """The lots whose value and commission fit into `room`."""
    each = (price * (1.0 + bps / 1e4) + per_share) * lot
    return math.floor(max(room - per_order, 0.0) / each * (1.0 + SAME))


def exit_price(entry: float, away: float, up: float, tick: float) -> float:
    """`away` above (`up` 1) or below (-1) the entry, to the tick that is nearer to it, at least one tick from it.

    NaN where it would not be above zero (such a price is never reached) or where no distance is given.
    """
    if not away > 0.0:
        return math.nan
    steps = (entry + up * away) / tick
    whole = math.floor(steps * (1.0 + SAME)) if up > 0.0 else math.ceil(steps * (1.0 - SAME))
    apart = math.floor(entry / tick * (1.0 + SAME)) + 1 if up > 0.0 else math.ceil(entry / tick * (1.0 - SAME)) - 1
    nearest = max(whole, apart) if up > 0.0 else min(whole, apart)
    return nearest * tick if nearest > 0 else math.nan


def trail_distance(away: float, tick: float) -> float:
    """`away` down to the tick, at least one; NaN where no distance is given."""
    return max(math.floor(away / tick * (1.0 + SAME)), 1.0) * tick if away > 0.0 else math.nan


def commission(
    quantity: float,
    value: float,
    per_order: float,
    per_share: float,
    bps: float,
    minimum: float,
    maximum: float,
    cents: float,
) -> float:
    """For an order of which `quantity` has filled for `value` in all; up to the cent where `cents` is above zero."""
    if quantity <= 0.0:
        return 0.0
    owed = min(max(per_order + per_share * quantity + bps * value / 1e4, minimum), maximum)
    return math.ceil(owed * 100.0 * (1.0 - NOISE)) / 100.0 if cents > 0.0 else owed


def sale_fees(quantity: float, value: float, sec: float, taf: float, cap: float, cents: float) -> float:
    """SEC fee (`sec` a million dollars) and TAF (`taf` a share, at most `cap`) of one sale of US shares."""
    one, two = value * sec / 1e6, min(quantity * taf, cap)
    if cents > 0.0:
        return math.ceil(one * 100.0 * (1.0 - NOISE)) / 100.0 + math.ceil(two * 100.0 * (1.0 - NOISE)) / 100.0
    return one + two
