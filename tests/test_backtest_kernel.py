"""backtest/: the compiled pass does what domain/matching.py does, to the tick and the cent; its arithmetic is that of
the risk manager and of domain/fees.py."""

from __future__ import annotations

import math
from datetime import date
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from backtest import sizing
from backtest.inputs import fee_table
from backtest.result import Result
from backtester import Backtest, Desk, Exit, Seen, Setup
from domain.candles import frame
from domain.fees import FINRA_TAF, SEC_SECTION_31, Commission, regulatory_fees
from domain.limits import Limits
from domain.matching import FillRules
from risk_manager import RiskManager

D = Decimal
# Quarter hours from the day before Thanksgiving over the half-day after it, early and late trading included.
TIMES = np.concatenate(
    [
        pd.date_range(f"2026-11-{day}T{first}", periods=count, freq="15min", tz="America/New_York")
        .tz_convert("UTC")
        .as_unit("ns")
        .asi8
        for day, first, count in ((25, "15:15", 5), (27, "09:00", 6), (27, "12:30", 4), (30, "09:30", 9))
    ]
)
EXITS = hs.one_of(
    hs.none(),
    hs.builds(Exit, hs.just("pct"), hs.sampled_from([0.3, 1.0, 2.5])),
    hs.builds(Exit, hs.just("price distance"), hs.sampled_from([0.25, 0.804, 3.0])),
    hs.builds(Exit, hs.just("atr"), hs.sampled_from([0.7, 2.0]), hs.sampled_from([2, 3])),
)
FILLS = hs.builds(
    FillRules,
    half_spread_bps=hs.sampled_from([0.0, 1.0, 25.0]),
    slippage_bps=hs.sampled_from([0.0, 2.0]),
    volume_cap=hs.sampled_from([0.05, 1.0]),
    ignore_volume=hs.booleans(),
    touch_fills=hs.booleans(),
    regulatory_fees=hs.booleans(),
    commission=hs.sampled_from(
        [
            Commission(),
            Commission(bps=D(10)),
            Commission(per_order=D("4.95"), per_share=D("0.005"), minimum=D(6), maximum=D(30)),
        ]
    ),
)


@hs.composite
def setups(draw: hs.DrawFn) -> Setup:
    stop, target, trail = draw(EXITS), draw(EXITS), draw(EXITS)
    by = draw(hs.sampled_from(["equity", "shares"] + (["risk"] if stop or trail else [])))
    return Setup(
        cash=draw(hs.sampled_from([5_000.0, 100_000.0])),
        fills=draw(FILLS),
        sizing=by,
        fraction=draw(hs.sampled_from([0.3, 1.0, 2.0])),
        shares=draw(hs.sampled_from([1.0, 37.0])),
        size_at=draw(hs.sampled_from(["close", "open"])),
        leverage=draw(hs.sampled_from([1.0, 2.5])),
        short=draw(hs.booleans()),
        stop=stop,
        target=target,
        trail=trail,
        exits_from=draw(hs.sampled_from(["fill", "signal"])),
        max_bars=draw(hs.sampled_from([0, 0, 1, 4])),
    )


def walk(rng: np.random.Generator, *, missing: bool) -> pd.DataFrame:
    """A walk in cents with gaps, some bars without volume and, where `missing`, some that are not there."""
    count, wild = len(TIMES), int(rng.choice([10, 60, 300]))
    steps = rng.integers(-wild, wild, (count, 2))
    close = np.maximum(10_000 + np.cumsum(steps.sum(axis=1) // 2), 200)
    open_ = np.maximum(close - steps[:, 1], 100)
    high = np.maximum(open_, close) + rng.integers(0, wild, count) // 2
    low = np.maximum(np.minimum(open_, close) - rng.integers(0, wild, count) // 2, 50)
    volume = rng.choice([0.0, 15.0, 430.0, 2e4, 1e6], count)
    keep = (rng.integers(0, 6, count) > 0) | (not missing)
    keep[0] = True
    prices = {"open": open_ / 100, "high": high / 100, "low": low / 100, "close": close / 100}
    return frame(TIMES[keep], {name: values[keep] for name, values in (prices | {"volume": volume}).items()})


class Scripted(Backtest):
    """Wants what it was told."""

    wants: dict[str, list[float]]

    def target(self, candles: pd.DataFrame) -> np.ndarray:
        return np.array(self.wants[self.symbol][: len(candles)])


class Asking(Scripted):
    """The same, bar by bar."""

    def on_bar(self, bar: Seen, desk: Desk) -> None:
        desk.want(self.wants[bar.symbol][bar.row])


def agree(one: Result, two: Result) -> None:
    """The same fills and trades to the tick and the cent, the same account after each bar."""
    np.testing.assert_allclose(one.walked.fills, two.walked.fills, rtol=0, atol=1e-6)
    np.testing.assert_allclose(one.walked.trades, two.walked.trades, rtol=1e-9, atol=1e-6)
    np.testing.assert_allclose(one.equity, two.equity, rtol=0, atol=1e-6)
    np.testing.assert_allclose(one.walked.gross, two.walked.gross, rtol=0, atol=1e-6)
    assert one.notes == two.notes


@settings(max_examples=50)
@given(setups(), hs.integers(0, 2**32 - 1), hs.booleans())
def test_the_compiled_pass_trades_as_the_fill_rules_say(setup: Setup, seed: int, several: bool) -> None:
    rng = np.random.default_rng(seed)
    symbols = ["AAPL", "BTCUSDT", "MSFT"] if several else ["AAPL"]
    frames = {symbol: walk(rng, missing=several) for symbol in symbols}
    test, asking = Scripted(frames, setup=setup), Asking(frames, setup=setup)
    wishes = rng.choice([0.0, 0.0, 1.0, 1.0, 0.5, -1.0, -0.5], (len(symbols), len(TIMES)))
    wants = {s: np.repeat(w, rng.integers(1, 5)).tolist() for s, w in zip(symbols, wishes, strict=True)}
    test.wants = asking.wants = wants

    compiled = test.run()

    agree(compiled, test.run(plainly=True))
    agree(compiled, asking.run())


# The arithmetic


MONEY = hs.integers(1_000_00, 1_000_000_00).map(lambda cents: cents / 100)
PRICES = hs.integers(100, 100_000).map(lambda cents: cents / 100)


@given(MONEY, hs.sampled_from([0.001, 0.01, 0.02]), hs.integers(1, 2_000), PRICES, hs.sampled_from(["1", "0.0001"]))
def test_sizing_by_risk_is_the_risk_manager_s(equity: float, risk: float, away: int, price: float, lot: str) -> None:
    manager = RiskManager(Limits(max_position_pct=20.0))

    wanted = manager.position_size(equity, risk, away / 100, price=price, lot=D(lot))

    assert sizing.lots_by_risk(1.0, risk, equity, away / 100, 20.0, price, float(lot)) == float(wanted / D(lot))


@given(PRICES, hs.integers(2, 900), hs.sampled_from(["buy", "sell"]))
def test_stops_and_targets_are_the_risk_manager_s(entry: float, thousandths: int, side: str) -> None:
    away, up = entry * thousandths / 1000, 1.0 if side == "buy" else -1.0
    manager = RiskManager()
    for of, towards in ((manager.stop_order, -up), (manager.target_order, up)):
        try:
            wanted = float(of(side, entry, away, 1).price)
        except ValueError:
            continue  # less than a tick away or not above zero: the risk manager refuses, a backtest makes do

        assert sizing.exit_price(entry, away, towards, 0.01) == pytest.approx(wanted, abs=1e-9)


def test_an_exit_lies_at_least_a_tick_away_and_above_zero() -> None:
    assert sizing.exit_price(100.0, 0.001, -1.0, 0.01) == pytest.approx(99.99)
    assert sizing.exit_price(100.0, 0.001, 1.0, 0.01) == pytest.approx(100.01)
    assert math.isnan(sizing.exit_price(1.0, 1.5, -1.0, 0.01))
    assert math.isnan(sizing.exit_price(1.0, 0.0, -1.0, 0.01))


@given(
    hs.integers(1, 100_000),
    hs.integers(1, 100_000),
    hs.dates(min_value=SEC_SECTION_31[0].start, max_value=FINRA_TAF[-1].start),
)
def test_fees_are_those_of_the_tables_to_the_cent(quantity: int, cents: int, day: date) -> None:
    starts, sec, taf, cap = fee_table()
    row = int(np.searchsorted(starts, pd.Timestamp(day).tz_localize("America/New_York").value, side="right")) - 1

    found = sizing.sale_fees(quantity, quantity * cents / 100, sec[row], taf[row], cap[row], 0.01)

    assert found == pytest.approx(float(regulatory_fees(D(quantity), D(cents) / 100, day)), abs=1e-9)


@given(
    hs.integers(1, 100_000), hs.integers(1, 100_000), hs.sampled_from(["0", "0.005"]), hs.sampled_from(["0", "12.5"])
)
def test_commission_is_that_of_the_table_to_the_cent(quantity: int, cents: int, per_share: str, bps: str) -> None:
    rates = Commission(per_order=D("1.99"), per_share=D(per_share), bps=D(bps), minimum=D(3), maximum=D(500))
    value = D(quantity) * cents / 100

    found = sizing.commission(quantity, float(value), 1.99, float(per_share), float(bps), 3.0, 500.0, 0.01)

    assert found == pytest.approx(float(rates.of(D(quantity), value)), abs=1e-9)
