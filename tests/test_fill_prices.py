"""domain/fill_prices.py: at what price an order fills inside a bar, by hand and compiled."""

from __future__ import annotations

import math
from collections.abc import Callable

import numba
import numpy as np
import pytest

from domain import fill_prices as fp

NAN, INF = math.nan, math.inf
BUY, SELL = 1.0, -1.0


def same(found: float, wanted: float) -> bool:
    return found == wanted or (math.isnan(found) and math.isnan(wanted))


@pytest.mark.parametrize(
    ("bar", "stop", "side", "wanted"),
    [
        ((99, 99.5, 97), 98, SELL, 98),  # reached inside the bar: the stop
        ((96, 97, 95), 98, SELL, 96),  # a gap through it: the worse open
        ((99, 99.5, 98), 98, SELL, 98),  # a stop needs no more than a touch
        ((99, 99.5, 98.01), 98, SELL, NAN),
        ((100, 102, 99), 101, BUY, 101),
        ((103, 104, 102), 101, BUY, 103),
        ((100, 100.99, 99), 101, BUY, NAN),
        ((NAN, NAN, NAN), 101, BUY, NAN),
        ((NAN, NAN, NAN), 101, SELL, NAN),
    ],
)
def test_a_stop_fills_at_the_worse_of_open_and_stop(
    bar: tuple[float, float, float], stop: float, side: float, wanted: float
) -> None:
    assert same(fp.stop_fill(*bar, stop, side), wanted)


@pytest.mark.parametrize(
    ("bar", "limit", "side", "through", "wanted"),
    [
        ((100, 101, 99.0), 99, BUY, 0.01, NAN),  # touched only
        ((100, 101, 98.99), 99, BUY, 0.01, 99),  # one tick through
        ((100, 101, 99.0), 99, BUY, 0.0, 99),  # touch fills, opted in
        ((98, 100, 97), 99, BUY, 0.01, 98),  # a gap: the better open
        ((98.995, 100, 98.5), 99, BUY, 0.01, 99),  # an open less than a tick through is not one
        ((100, 101.0, 99), 101, SELL, 0.01, NAN),
        ((100, 101.01, 99), 101, SELL, 0.01, 101),
        ((102, 103, 100), 101, SELL, 0.01, 102),
        ((10.2, 10.3, 10.19), 10.2, BUY, 0.01, 10.2),  # 10.2 - 0.01 is not 10.19 in binary: noise decides nothing
        ((NAN, NAN, NAN), 99, BUY, 0.01, NAN),
    ],
)
def test_a_limit_needs_a_trade_beyond_it(
    bar: tuple[float, float, float], limit: float, side: float, through: float, wanted: float
) -> None:
    assert same(fp.limit_fill(*bar, limit, side, through), wanted)


@pytest.mark.parametrize(
    ("bar", "stop", "limit", "side", "bps", "wanted"),
    [
        ((100, 102, 99, 101.5), 101, 101.5, BUY, 2.0, 101),  # woken inside the bar, costs within the limit
        ((101.2, 102, 99, 101.5), 101, 101.5, BUY, 2.0, 101.2),  # woken by a gap that stops short of the limit
        ((103, 104, 102, 103), 101, 101.5, BUY, 2.0, NAN),  # a gap through the limit
        ((103, 104, 101.4, 103), 101, 101.5, BUY, 2.0, 101.5),  # and back again, surely later than the open
        ((100, 102, 99, 101.2), 101, 101.0, BUY, 0.0, NAN),  # the low of 99 may have come before it woke
        ((100, 102, 99, 100.5), 101, 101.0, BUY, 0.0, 101),  # the close came after
        ((100, 101, 99, 101), 101, 101.01, BUY, 20.0, NAN),  # costs do not fit and nothing came later
        ((100, 100.9, 99, 100), 101, 101.5, BUY, 2.0, NAN),
        ((100, 101, 98, 99), 99, 98.5, SELL, 2.0, 99),
        ((97, 98, 96, 97), 99, 98.5, SELL, 2.0, NAN),
        ((97, 98.6, 96, 97), 99, 98.5, SELL, 2.0, 98.5),
    ],
)
def test_a_stop_limit_wakes_at_the_stop_and_is_then_a_limit(
    bar: tuple[float, float, float, float], stop: float, limit: float, side: float, bps: float, wanted: float
) -> None:
    assert same(fp.stop_limit_fill(*bar, stop, limit, side, 0.01, bps), wanted)


@pytest.mark.parametrize(
    ("bar", "level", "side", "wanted"),
    [
        ((100, 101, 99.5), -INF, SELL, NAN),  # new, 2 away: stands at 98, then 99, and 99.5 is above both
        ((98.5, 99, 98), 99, SELL, 98.5),  # the open is held against the level as it stood: a gap
        ((100, 104, 98), 99, SELL, 99),  # 98 may have come first: the level as it stood, not 104 - 2
        ((100.5, 101, 98.2), 98, SELL, 98.5),  # the open lifts it to 98.5 before anything else can happen
        ((100, 103, 99), -INF, SELL, 99),  # up to 101, down to 99, up to 103: the worst path
        ((101.5, 102, 104), 101, BUY, 101.5),
        ((100, 101.5, 99), 101, BUY, 101),
        ((100, 100.5, 99), INF, BUY, NAN),
        ((100, 101, 98.5), INF, BUY, 101),
    ],
)
def test_a_trailing_stop_gets_the_worst_that_any_path_allows(
    bar: tuple[float, float, float], level: float, side: float, wanted: float
) -> None:
    assert same(fp.trail_fill(*bar, level, 2.0, side), wanted)


def test_a_trail_only_moves_towards_the_price() -> None:
    assert fp.trail_level(103.0, 99.0, 98.0, 2.0, SELL) == 101
    assert fp.trail_level(99.0, 98.5, 98.0, 2.0, SELL) == 98
    assert fp.trail_level(101.0, 97.0, 101.5, 2.0, BUY) == 99


@pytest.mark.parametrize(
    ("price", "side", "bps", "wanted"),
    [
        (100.0, BUY, 2.0, 100.02),
        (100.0, SELL, 2.0, 99.98),
        (33.33, BUY, 2.0, 33.34),  # 33.336666 up
        (33.33, SELL, 2.0, 33.32),  # 33.323334 down
        (10.07, BUY, 0.0, 10.07),  # a price on the tick stays, whatever 10.07 / 0.01 is in binary
        (10.07, SELL, 0.0, 10.07),
        (0.01, SELL, 500.0, 0.01),  # nothing sells for nothing
    ],
)
def test_costs_and_rounding_go_against_the_trader(price: float, side: float, bps: float, wanted: float) -> None:
    assert fp.paid(price, side, bps, 0.01) == pytest.approx(wanted, abs=1e-12)


def test_no_price_is_worse_than_the_limit() -> None:
    assert (fp.within(101.0, 100.0, BUY), fp.within(99.0, 100.0, BUY)) == (100, 99)
    assert (fp.within(99.0, 100.0, SELL), fp.within(101.0, 100.0, SELL)) == (100, 101)


def test_the_volume_cap_counts_in_lots_and_keeps_the_rest_of_one() -> None:
    assert fp.lots_within(1000.0, 0.05, 1.0, 0.0) == 50
    assert fp.lots_within(30.0, 0.05, 1.0, 0.25) == 1.75
    assert fp.lots_within(0.0, 0.05, 1.0, 0.9) == 0


def bars(count: int) -> np.ndarray:
    """Random bars on the tick, where equal prices and gaps are common."""
    chance = np.random.default_rng(7)
    low = chance.integers(9_900, 9_960, count)
    spread = chance.integers(0, 80, count)
    open_, close = (low + chance.integers(0, spread + 1) for _ in range(2))
    return np.column_stack([open_, low + spread, low, close]) / 100


def arguments(name: str, bar: np.ndarray, level: float, side: float) -> tuple[float, ...]:
    open_, high, low, close = (float(price) for price in bar)
    return {
        "stop_fill": (open_, high, low, level, side),
        "limit_fill": (open_, high, low, level, side, 0.01),
        "stop_limit_fill": (open_, high, low, close, level, level + 0.1 * side, side, 0.01, 2.0),
        "trail_fill": (open_, high, low, level, 0.3, side),
        "trail_level": (high, low, level, 0.3, side),
        "paid": (open_, side, 2.0, 0.01),
        "within": (open_, level, side),
        "lots_within": (open_, 0.05, 0.01, close % 1),
    }[name]


NAMES = ["stop_fill", "limit_fill", "stop_limit_fill", "trail_fill", "trail_level", "paid", "within", "lots_within"]


@pytest.mark.parametrize("name", NAMES)
def test_compiled_it_says_the_same_to_the_last_bit(name: str) -> None:
    plain: Callable[..., float] = getattr(fp, name)
    compiled = numba.njit(plain)
    levels = np.random.default_rng(8).integers(9_900, 10_040, 400) / 100
    asked = [
        arguments(name, bar, float(level), side)
        for bar, level in zip(bars(400), levels, strict=True)
        for side in (BUY, SELL)
    ]

    answers = [(plain(*values), compiled(*values)) for values in asked]

    assert all(same(python, machine) for python, machine in answers)
    assert len({python for python, _ in answers}) > 10
