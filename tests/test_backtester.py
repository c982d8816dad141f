"""backtester.py: its rules by hand, its peers' published numbers, and its command line."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

import backtester
from backtester import Backtest, Desk, Exit, Result, Seen, Setup
from domain.candles import frame, session_times
from domain.errors import DataError
from domain.fees import Commission
from domain.instruments import Instrument, instrument
from domain.matching import FillRules
from domain.params import param
from research.sweep import main as sweep_main
from strategies.base import Wanted

FREE = FillRules(half_spread_bps=0.0, slippage_bps=0.0, ignore_volume=True, regulatory_fees=False)
TEN = Setup(fills=FREE, sizing="shares", shares=10.0)
START = pd.Timestamp("2024-06-03T13:30:00Z").value  # a Monday, 09:30 New York
MINUTE = 60_000_000_000
Row = tuple[float, ...]


def bars(*rows: Row, symbol_minutes: int = 1) -> pd.DataFrame:
    """Minutes from the open on: open, high, low, close and, where it matters, volume."""
    full = np.array([row if len(row) == 5 else (*row, 1e6) for row in rows])
    times = START + MINUTE * symbol_minutes * np.arange(len(rows))
    return frame(times, dict(zip(("open", "high", "low", "close", "volume"), full.T, strict=True)))


@dataclass(frozen=True)
class Told:
    """Wants what it was told, row by row; the last wish stays."""

    label: ClassVar[str] = "Told"
    about: ClassVar[str] = "Wants what it was told."

    wants: tuple[float, ...] = ()
    delay: int = param(0, low=0, high=9)

    @property
    def warmup(self) -> int:
        return self.delay

    def target(self, candles: pd.DataFrame) -> Wanted:
        told = np.array([*self.wants, *[self.wants[-1]] * len(candles)])
        return Wanted(told[: len(candles)])


def run(candles: pd.DataFrame, wants: list[float], setup: Setup = TEN, of: str = "AAPL") -> Result:
    """The run, once compiled and once in plain Python: the same, or the test fails here."""
    test = Backtest({of: candles}, Told(tuple(wants)), setup)
    result, plain = test.run(), test.run(plainly=True)
    np.testing.assert_allclose(result.walked.fills, plain.walked.fills, atol=1e-9)
    np.testing.assert_allclose(result.walked.trades, plain.walked.trades, atol=1e-9)
    np.testing.assert_allclose(result.equity, plain.equity, atol=1e-9)
    return result


def told(result: Result) -> list[tuple[Any, ...]]:
    """Each trade as (side, bar of entry, entry, bar of exit, exit, profit, reason)."""
    place = {time: row for row, time in enumerate(result.times[1:])}
    return [
        (t.side, place[t.entry_time], t.entry, place.get(t.exit_time), t.exit, round(t.profit, 6), t.reason)
        for t in result.trades.itertuples()
    ]


# When it trades


def test_what_a_closed_bar_decides_trades_at_the_next_open() -> None:
    candles = bars((100, 101, 99, 100.5), (102, 103, 101, 102.5), (104, 105, 103, 104.5))

    assert told(run(candles, [1, 0, 0])) == [("long", 1, 102, 2, 104, 20, "signal")]


def test_the_last_bar_s_decision_is_never_traded() -> None:
    assert told(run(bars((100, 101, 99, 100), (100, 101, 99, 100)), [0, 1])) == []


def test_a_reversal_closes_and_opens_at_one_open_and_is_two_trades() -> None:
    candles = bars((100, 100, 100, 100), (101, 101, 101, 101), (103, 103, 103, 103), (102, 102, 102, 102))

    assert told(run(candles, [1, -1, 0])) == [
        ("long", 1, 101, 2, 103, 20, "signal"),
        ("short", 2, 103, 3, 102, 10, "signal"),
    ]


def test_an_open_position_is_marked_and_listed_but_not_closed() -> None:
    result = run(bars((100, 100, 100, 100), (100, 106, 100, 105)), [1])

    assert told(result) == [("long", 1, 100, None, 105, 50, "open")]
    assert result.equity.tolist() == [100_000, 100_000, 100_050]
    assert result.equity.index[0] == result.equity.index[1] - pd.Timedelta("1min")


def test_after_a_stop_nothing_is_entered_until_the_wish_changes() -> None:
    setup = replace(TEN, stop=Exit("price distance", 1.0))
    flat = (100.0, 100.2, 99.8, 100.0)
    candles = bars(flat, flat, (100, 100.2, 98.0, 99), flat, flat, flat, flat)

    assert told(run(candles, [1, 1, 1, 1, 0.5, 0], setup)) == [
        ("long", 1, 100, 2, 99, -10, "stop"),
        ("long", 5, 100, 6, 100, 0, "signal"),
    ]


def test_a_position_is_closed_after_its_most_bars() -> None:
    flat = (100.0, 100.2, 99.8, 100.0)

    result = run(bars(*[flat] * 6), [1], replace(TEN, max_bars=3))

    assert told(result) == [("long", 1, 100, 4, 100, 0, "time")]
    assert result.trades.bars.tolist() == [3]


# Where peers misprice: what a bar says about an exit, spelled out


def test_an_exit_due_at_the_open_comes_before_a_stop_inside_that_bar() -> None:
    """Long 10 from 100 with a stop at 99. Bar 1's close says: out. Bar 2 opens at 101 and falls to 98 later. Sold at
    the open, +10; an engine that asks the stop first books the stop, -10."""
    setup = replace(TEN, stop=Exit("price distance", 1.0))
    candles = bars((100, 100, 100, 100), (100, 100.5, 99.5, 100), (101, 101, 98, 98.5))

    assert told(run(candles, [1, 0], setup)) == [("long", 1, 100, 2, 101, 10, "signal")]


def test_a_reversal_due_at_the_open_comes_before_the_old_stop_and_has_a_stop_of_its_own() -> None:
    """Long from 100, stop 99. Turned short at the open of 101: the bar's low of 98 is no longer its business, and the
    new stop at 102 stands in the same bar, which goes to 102.5."""
    setup = replace(TEN, stop=Exit("price distance", 1.0))
    candles = bars((100, 100, 100, 100), (100, 100.5, 99.5, 100), (101, 102.5, 98, 98.5))

    assert told(run(candles, [1, -1], setup)) == [
        ("long", 1, 100, 2, 101, 10, "signal"),
        ("short", 2, 101, 2, 102, -10, "stop"),
    ]


def test_the_bar_of_the_entry_is_checked_too() -> None:
    """Bought at bar 1's open of 100, stop 99, and that same bar falls to 98: out at 99 in it, -10. An engine that
    begins to look at the next bar holds on, here to 105."""
    setup = replace(TEN, stop=Exit("price distance", 1.0))
    candles = bars((100, 100, 100, 100), (100, 100.5, 98, 100.2), (104, 106, 104, 105))

    assert told(run(candles, [1], setup)) == [("long", 1, 100, 1, 99, -10, "stop")]


def test_a_target_in_the_bar_of_the_entry_fills_there() -> None:
    setup = replace(TEN, target=Exit("price distance", 1.0))
    candles = bars((100, 100, 100, 100), (100, 101.5, 99.9, 100.2), (104, 106, 104, 105))

    assert told(run(candles, [1], setup)) == [("long", 1, 100, 1, 101, 10, "target")]


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ((97.0, 98, 96, 97), (97, -30, "stop")),  # a gap through the stop: the worse open
        ((100.0, 103, 98.9, 102), (99, -10, "stop")),  # stop and target in one bar: the stop
        ((102.5, 103, 98.9, 102), (102.5, 25, "target")),  # it opens beyond the target: that came first
        ((100.0, 102.0, 99.5, 102), (102, 20, "open")),  # merely touched: no fill
        ((100.0, 102.01, 99.5, 101), (102, 20, "target")),  # one tick through it
    ],
)
def test_stop_and_target_of_a_long(second: Row, expected: tuple[float, float, str]) -> None:
    setup = replace(TEN, stop=Exit("price distance", 1.0), target=Exit("price distance", 2.0))
    candles = bars((100, 100, 100, 100), (100, 100.5, 99.5, 100), second)

    [trade] = told(run(candles, [1], setup))

    assert trade[4:] == expected


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ((103.0, 104, 102, 103), (103, -30, "stop")),
        ((100.0, 101, 97, 98), (101, -10, "stop")),
        ((97.5, 101.1, 97, 98), (97.5, 25, "target")),
        ((100.0, 100.5, 97.99, 99), (98, 20, "target")),
    ],
)
def test_stop_and_target_of_a_short(second: Row, expected: tuple[float, float, str]) -> None:
    setup = replace(TEN, stop=Exit("price distance", 1.0), target=Exit("price distance", 2.0))
    candles = bars((100, 100, 100, 100), (100, 100.5, 99.5, 100), second)

    [trade] = told(run(candles, [-1], setup))

    assert trade[4:] == expected


def test_bars_that_hold_both_stop_and_target_are_counted() -> None:
    setup = replace(TEN, stop=Exit("price distance", 1.0), target=Exit("price distance", 2.0))

    result = run(bars((100, 100, 100, 100), (100, 103, 98, 100)), [1], setup)

    assert result.notes == ["1 bars held both stop and target; the stop was taken"]


def test_a_trailing_stop_follows_the_best_price_and_never_goes_back() -> None:
    setup = replace(TEN, trail=Exit("price distance", 1.0))
    candles = bars((100, 100, 100, 100), (100, 100.5, 99.8, 100), (102.5, 103, 102.2, 103), (102.5, 102.6, 101, 101.5))

    assert told(run(candles, [1], setup)) == [("long", 1, 100, 3, 102, 20, "trailing stop")]


def test_a_trailing_stop_follows_no_further_than_a_target_beside_it_lets_the_price_go() -> None:
    """To 102.5 and back to 100.5 would set off a trail of 1, but on that way the target at 101 has filled."""
    away = {"trail": Exit("price distance", 1.0), "target": Exit("price distance", 1.0)}
    candles = bars((100, 100, 100, 100), (100, 100.2, 99.8, 100), (100.6, 102.5, 100.5, 102))

    assert told(run(candles, [1], replace(TEN, **away))) == [("long", 1, 100, 2, 101, 10, "target")]
    alone = replace(TEN, trail=away["trail"])
    assert told(run(candles, [1], alone)) == [("long", 1, 100, 2, 100.5, 5, "trailing stop")]
    falls = bars((100, 100, 100, 100), (100, 100.2, 99.8, 100), (100.6, 102.5, 99.95, 102))
    assert told(run(falls, [1], replace(TEN, **away))) == [("long", 1, 100, 2, 99.95, -0.5, "trailing stop")]


def test_exits_by_atr_and_per_cent_are_rounded_towards_the_entry() -> None:
    flat = (100.0, 100.5, 99.17, 100.0)  # a true range of 1.33
    candles = bars(*[flat] * 20)
    setup = replace(TEN, stop=Exit("atr", 3.0, 14), target=Exit("pct", 3.333))

    result = run(candles, [1], setup)

    assert result.trades.stop_at_entry.tolist() == pytest.approx([96.01])
    assert result.trades.entry_time[0] == candles.index[15]  # the first ATR is known at the close of row 14
    short = run(candles, [-1], setup)
    assert short.trades.stop_at_entry.tolist() == pytest.approx([103.99])


# What it costs


def test_costs_of_both_sides_are_in_the_trade() -> None:
    """Bought 10 at 100 and sold at 110: half-spread 5 and slippage 5 bps make 100.10 and 109.89; commission of 10 bps
    1.01 and 1.10; SEC fee of 27.80 a million on 1098.90 is 0.04, TAF 0.01."""
    fills = FillRules(half_spread_bps=5.0, slippage_bps=5.0, ignore_volume=True, commission=Commission(bps=Decimal(10)))
    candles = bars((100, 100, 100, 100), (100, 100, 100, 100), (110, 110, 110, 110))

    result = run(candles, [1, 0], replace(TEN, fills=fills))

    [trade] = result.trades.itertuples()
    assert (trade.entry, trade.exit) == pytest.approx((100.10, 109.89))
    assert trade.fees == pytest.approx(1.01 + 1.10 + 0.04 + 0.01)
    assert trade.slippage_cost == pytest.approx(10 * (0.10 + 0.11))
    assert trade.profit == pytest.approx(97.90 - 2.16)
    assert result.equity.iloc[-1] == pytest.approx(100_000 + 97.90 - 2.16)


def test_fees_are_those_of_the_day() -> None:
    """A sale of 1,000 shares for 100,000 dollars: SEC fee 0.80 at 8.00 a million, from 22 May 2024 on 2.78 at 27.80;
    TAF 0.17 on both days."""
    costs = []
    for day in ("2024-05-21", "2024-05-22"):
        times = session_times([day], instrument("AAPL")) + MINUTE * np.arange(3)
        candles = frame(times, {name: np.full(3, 100.0) for name in ("open", "high", "low", "close", "volume")})
        result = run(candles, [1, 0], replace(TEN, fills=replace(FREE, regulatory_fees=True), shares=1000.0))
        costs.append(round(float(result.fills.fee.sum()), 2))

    assert costs == [0.97, 2.95]


def test_the_volume_cap_carries_the_rest_to_the_next_bar() -> None:
    setup = Setup(fills=replace(FREE, ignore_volume=False, volume_cap=0.05), sizing="shares", shares=100.0)
    flat = (100.0, 100.0, 100.0, 100.0)
    candles = bars((*flat, 1e6), (*flat, 800), (*flat, 0), (*flat, 700), (*flat, 1e6), (*flat, 1e6))

    result = run(candles, [1], setup)

    assert result.fills[["quantity"]].to_numpy().ravel().tolist() == [40, 35, 25]
    assert [list(result.times[1:]).index(t) for t in result.fills.time] == [1, 3, 4]


def test_a_stop_without_volume_goes_on_as_a_market_order() -> None:
    setup = Setup(
        fills=replace(FREE, ignore_volume=False), sizing="shares", shares=100.0, stop=Exit("price distance", 1.0)
    )
    candles = bars((100, 100, 100, 100), (100, 100, 100, 100), (98.5, 99, 98, 98.5, 1200), (99.5, 99.5, 99.5, 99.5))

    result = run(candles, [1], setup)

    assert result.fills.price.tolist() == [100, 98.5, 99.5]
    assert result.fills.quantity.tolist() == [100, 60, 40]
    assert told(result)[0][-1] == "stop"


def test_nothing_trades_outside_the_regular_session() -> None:
    """Half-day of 29 November 2024: the close is at 13:00, and what is decided then waits for Monday's open."""
    times = [pd.Timestamp(text, tz="America/New_York").value for text in ("2024-11-29T12:58", "2024-11-29T12:59")]
    times += [pd.Timestamp(text, tz="America/New_York").value for text in ("2024-11-29T13:00", "2024-12-02T09:30")]
    columns = {name: np.full(4, 100.0) for name in ("open", "high", "low", "close", "volume")}

    result = run(frame(times, columns), [0, 1], TEN)

    assert result.fills.time.tolist() == [pd.Timestamp("2024-12-02T14:30:00Z")]


# How much


def test_an_order_is_sized_at_the_close_and_cut_to_what_the_account_can_carry() -> None:
    candles = bars((100, 100, 100, 100), (102, 102, 102, 102), (102, 102, 102, 102))

    result = run(candles, [1], Setup(cash=10_000.0, fills=FREE))

    assert result.fills.quantity.tolist() == [98]
    assert result.notes == ["1 orders were cut to what the account could carry"]
    assert run(candles, [1], Setup(cash=10_000.0, fills=FREE, fraction=0.5)).fills.quantity.tolist() == [50]


def test_symbols_share_one_cash_and_closings_come_first() -> None:
    flat = [(100.0, 100.0, 100.0, 100.0)] * 4
    frames = {"AAPL": bars(*flat), "MSFT": bars(*flat)}

    class Swap(Backtest):
        def target(self, candles: pd.DataFrame) -> list[float]:
            return [0.0, 1.0, 1.0, 1.0] if self.symbol == "AAPL" else [1.0, 0.0, 0.0, 0.0]

    test = Swap(frames, setup=Setup(cash=10_000.0, fills=FREE))

    for result in (test.run(), test.run(plainly=True)):
        fills = result.fills
        assert list(zip(fills.symbol, fills.side, fills.quantity, strict=True)) == [
            ("MSFT", "buy", 100),
            ("MSFT", "sell", 100),
            ("AAPL", "buy", 100),
        ]


def test_a_wish_below_one_lot_is_refused_and_told() -> None:
    result = run(bars((100, 100, 100, 100), (100, 100, 100, 100)), [1], Setup(cash=50.0, fills=FREE))

    assert told(result) == []
    assert result.notes == ["1 wishes came to less than one lot and were let go"]


def test_long_only_turns_short_wishes_into_none() -> None:
    flat = [(100.0, 100.0, 100.0, 100.0)] * 4

    assert told(run(bars(*flat), [1, -1], replace(TEN, short=False))) == [("long", 1, 100, 2, 100, 0, "signal")]


# What it takes and gives


def test_bars_before_the_start_only_warm_up() -> None:
    flat = [(100.0, 100.0, 100.0, 100.0)] * 6
    candles = bars(*flat)

    result = Backtest(candles, Told((0, 1), delay=2), TEN, start=candles.index[3], end=candles.index[5]).run()

    assert len(result.equity) == 3
    assert result.fills.time.tolist() == [candles.index[4]]


def test_nothing_to_trade_says_what_there_is() -> None:
    candles = bars((100, 100, 100, 100))

    with pytest.raises(ValueError, match=r"UNNAMED has 1 bars, 2024-06-03 to 2024-06-03"):
        Backtest(candles, Told((1,)), start="2025-01-01").run()


def test_a_bad_bar_is_refused_by_name() -> None:
    candles = bars((100, 100, 100, 100), (100, 99, 98, 98.5))

    with pytest.raises(DataError, match="row 1: high below open or close"):
        Backtest(candles, Told((1,))).run()


def test_without_anybody_who_decides_there_is_no_backtest() -> None:
    with pytest.raises(ValueError, match="override target or on_bar"):
        Backtest(bars((100, 100, 100, 100)))


def test_a_setup_refuses_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="sizing by risk needs a stop"):
        Setup(sizing="risk")
    with pytest.raises(ValueError, match="leverage must be at most 100"):
        Setup(leverage=1000.0)
    with pytest.raises(ValueError, match="kind must be one of atr, pct, price distance"):
        Exit("percent", 1.0)


def test_on_bar_sees_its_position_and_asks_for_the_next_open() -> None:
    class Scalp(Backtest):
        def on_bar(self, bar: Seen, desk: Desk) -> None:
            if desk.position == 0 and bar.close > bar.open:
                desk.want(1.0)
            elif desk.entry is not None and bar.close < desk.entry:
                desk.want(0.0)

    candles = bars((100, 101, 100, 101), (101, 102, 101, 102), (102, 102, 100, 100), (99, 99, 99, 99))

    result = Scalp(candles, setup=TEN).run()

    assert told(result) == [("long", 1, 101, 3, 99, -20, "signal")]


def test_on_bar_gives_the_trades_of_the_same_strategy_as_target() -> None:
    rng = np.random.default_rng(7)
    close = np.round(100 + np.cumsum(rng.normal(0, 0.3, 200)), 2)
    open_ = np.r_[100.0, close[:-1]]
    candles = bars(*zip(open_, np.maximum(open_, close) + 0.1, np.minimum(open_, close) - 0.1, close, strict=True))

    class ByRow(Backtest):
        def target(self, candles: pd.DataFrame) -> pd.Series:
            return np.sign(candles["close"].diff(3)).fillna(0.0)

    class ByBar(Backtest):
        seen: list[float]

        def on_bar(self, bar: Seen, desk: Desk) -> None:
            self.seen = [*(self.seen if bar.row else []), bar.close]
            desk.want(float(np.sign(bar.close - self.seen[-4])) if bar.row >= 3 else 0.0)

    setup = Setup(stop=Exit("atr", 1.5, 5), target=Exit("pct", 0.5))

    one, two = ByRow(candles, setup=setup).run(), ByBar(candles, setup=setup).run()

    assert len(one.trades) > 20
    pd.testing.assert_frame_equal(one.trades, two.trades)


def test_excursions_are_money_between_entry_and_exit() -> None:
    """Long 10 from 100: down to 98, up to 103, sold at 101. The exit bar's later prices were not lived through."""
    candles = bars((100, 100, 100, 100), (100, 100.5, 98, 99), (99, 103, 99, 102), (101, 110, 90, 100))

    [trade] = run(candles, [1, 1, 0]).trades.itertuples()

    assert (trade.mae, trade.mfe, trade.bars) == (-20, 30, 2)


def test_metrics_come_with_the_result() -> None:
    candles = bars((100, 100, 100, 100), (100, 100, 100, 100), (104, 104, 104, 104))

    metrics = run(candles, [1, 0]).metrics

    assert metrics["total_return"].value == pytest.approx(0.0004)
    assert metrics["trades"].value == 1
    assert metrics["calmar"].value is None
    assert metrics["benchmark_return"].value == pytest.approx(0.04)


def test_a_mixed_account_counts_the_stock_market_s_days() -> None:
    days = pd.date_range("2024-06-03", "2024-06-14", tz="UTC")
    stocks = session_times(days[days.day_of_week < 5].tz_localize(None).to_numpy(), instrument("AAPL"))
    coins = days.as_unit("ns").asi8
    columns = ("open", "high", "low", "close", "volume")
    frames = {
        symbol: frame(times, {name: np.full(len(times), 100.0) for name in columns})
        for symbol, times in (("AAPL", stocks), ("BTCUSDT", coins))
    }

    result = Backtest(frames, Told((1,)), TEN).run()

    assert (result.periods, result.metrics["sharpe"].n) == (252, 10)


def test_the_stamp_names_data_rules_and_code() -> None:
    candles = bars((100, 100, 100, 100), (100, 100, 100, 100))

    one, same = (Backtest(candles, Told((1,)), TEN).run().stamp for _ in range(2))
    other = Backtest(bars((100, 100, 100, 100), (100, 100.01, 100, 100)), Told((1,)), TEN).run().stamp

    assert one == same
    assert one["data"] != other["data"]
    assert one["setup"]["fills"]["volume_cap"] == 0.05
    assert one["params"] == {"wants": (1,), "delay": 0}


def test_csv_files_hold_equity_and_trades(tmp_path: Path) -> None:
    result = run(bars((100, 100, 100, 100), (100, 100, 100, 100), (104, 104, 104, 104)), [1, 0])

    equity, trades, stamp = result.to_csv(tmp_path / "out")

    assert equity.read_text().splitlines()[-1] == "2024-06-03T13:32:00Z,100040,0"
    assert len(trades.read_text().splitlines()) == 2
    assert json.loads(stamp.read_text())["strategy"] == "Told"


# Peers' published numbers, under their rules


def peer(candles: pd.DataFrame, wants: np.ndarray, cash: float, commission: float, part: float) -> Result:
    """backtesting.py's rules: sized at the fill's open, no spread, no steps of price, fees to the last digit."""

    class Peer(Backtest):
        def target(self, candles: pd.DataFrame) -> np.ndarray:
            return wants

    rates = Commission(bps=Decimal(str(commission * 10_000)))
    setup = Setup(
        cash=cash,
        fills=replace(FREE, commission=rates),
        fraction=part / (1 + part * commission),
        size_at="open",
        whole_cents=False,
    )
    return Peer(candles, setup=setup, instrument=Instrument("PEER", tick=Decimal("0.000001"))).run()


def daily(path: Path, start: str = "", end: str = "") -> pd.DataFrame:
    table = pd.read_csv(path, parse_dates=["timestamp"]).set_index("timestamp").loc[start or None : end or None]
    return frame(session_times(table.index.to_numpy(), instrument("AAPL")), {c: table[c] for c in table.columns[:5]})


def crossings(candles: pd.DataFrame, fast: int, slow: int, below: float) -> np.ndarray:
    """1 from a crossing upwards on, `below` from one downwards; only a strict crossing counts."""
    a, b = (candles["close"].rolling(n).mean() for n in (fast, slow))
    up, down = (a.shift() < b.shift()) & (a > b), (a.shift() > b.shift()) & (a < b)
    return pd.Series(np.where(up, 1.0, np.where(down, below, np.nan))).ffill().fillna(0.0).to_numpy(copy=True)


def test_the_published_run_on_goog_is_reproduced(shared: Path) -> None:
    truth = shared / "backtest_truth" / "backtesting_py"
    expected = json.loads((truth / "expected.json").read_text())["GOOG_smacross_10_30"]["published_expected"]
    trades, equity = (pd.read_csv(truth / f"{w}_GOOG_smacross_10_30.csv") for w in ("trades", "equity"))
    candles = daily(truth / "GOOG_1d_2004_2013.csv")

    wants = crossings(candles, 10, 30, -1.0)
    wants[-2:] = 0.0  # there, what is open is closed at the last bar's open

    result = peer(candles, wants, 10_000.0, 0.0, part=0.9999)

    ours = result.trades
    assert len(ours) == expected["# Trades"] == 66
    size = np.where(ours.side == "long", ours.quantity, -ours.quantity)
    assert size.tolist() == trades["size"].tolist()
    np.testing.assert_allclose(ours.entry, trades.entry_price, rtol=1e-12)
    np.testing.assert_allclose(ours.exit, trades.exit_price, rtol=1e-12)
    np.testing.assert_allclose(ours.profit, trades.pnl, atol=1e-7)
    np.testing.assert_allclose(result.equity.iloc[1:], equity.Equity, rtol=1e-12)
    figures = result.metrics
    assert result.equity.iloc[-1] == pytest.approx(expected["Equity Final [$]"], abs=1e-7)
    assert figures["max_drawdown"].value == pytest.approx(expected["Max. Drawdown [%]"] / 100, rel=1e-9)
    assert figures["win_rate"].value == pytest.approx(expected["Win Rate [%]"] / 100, rel=1e-9)


@pytest.mark.parametrize("commission", [0.0, 0.001])
def test_the_peer_s_runs_on_aapl_are_reproduced(shared: Path, commission: float) -> None:
    """All its closed trades. The averages cross at the last close once more: that engine then runs the last bar a
    second time and buys at its open, before the close that decided it. Ours ends without that trade."""
    truth = shared / "backtest_truth" / "backtesting_py"
    name = f"AAPL_longonly_sma_10_20_comm{commission}"
    expected = json.loads((truth / "expected.json").read_text())[name]["library_output"]
    trades = pd.read_csv(truth / f"trades_{name}.csv")
    table = pd.read_csv(shared / "equities_daily" / "AAPL.csv", parse_dates=["timestamp"]).set_index("timestamp")
    table = table.loc["2021-01-01":"2025-04-28"]
    times = session_times(table.index.to_numpy(), instrument("AAPL"))
    candles = frame(times, {c: table[c] for c in ("open", "high", "low", "close", "volume")})

    result = peer(candles, crossings(candles, 10, 20, 0.0), 100_000.0, commission, part=1.0)

    assert result.trades.quantity.tolist() == trades["size"].tolist()
    np.testing.assert_allclose(result.trades.profit, trades.pnl, atol=1e-6)
    equity, last = result.equity.iloc[-1], candles.iloc[-1]
    too_many = math.floor(equity / (last.open * (1 + commission)))
    booked = too_many * (last.close - last.open * (1 + commission))
    assert equity + booked == pytest.approx(expected["Equity Final [$]"], abs=1e-6)


# The command line


@pytest.fixture
def own_files(tmp_path: Path) -> Path:
    """A folder with 300 sessions of AAPL from January 2023 on."""
    days = instrument("AAPL").calendar.sessions.days
    days = days[np.searchsorted(days, np.datetime64("2023-01-01")) :][:300]
    close = np.round(100 * np.exp(np.cumsum(np.random.default_rng(3).normal(0, 0.01, 300))), 2)
    open_ = np.r_[100.0, close[:-1]]
    table = pd.DataFrame(
        {"date": days, "open": open_, "high": np.maximum(open_, close), "low": np.minimum(open_, close)}
    )
    (tmp_path / "ohlcv").mkdir()
    table.assign(close=close, volume=1e7).to_csv(tmp_path / "ohlcv" / "AAPL.csv", index=False)
    return tmp_path


def ask(*arguments: str) -> int:
    return backtester.main(list(arguments))


def test_the_manual_s_command_line_runs(own_files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = ask(
        *("--symbol", "AAPL", "--start", "2023-03-01", "--end", "2024-01-31", "--strategy", "rule"),
        *("--data-dir", str(own_files)),
    )

    answer = capsys.readouterr()
    said = answer.out
    assert found == 0
    assert said.startswith("Fail (fails: ")
    assert said.index("deflated Sharpe  ") < said.index("CandlePatterns") < said.index("Max drawdown")
    assert all(word in said for word in ("Trades", "Sharpe", "Max drawdown", "Win rate", "n/a", "sd(r)"))
    assert "The trial ledger counts 1 trial on these data." in said
    assert "judging candle_patterns: random entries" in answer.err
    assert "SIMULATED" not in said
    [folder] = (own_files / "backtests").iterdir()
    assert folder.name == "AAPL_1d_rule"
    assert {p.name for p in folder.iterdir()} == {"equity.csv", "trades.csv", "stamp.json"}
    assert pd.read_csv(folder / "equity.csv").time[1] == "2023-03-01T14:30:00Z"


def test_json_is_json_and_the_folder_may_hold_the_files_itself(
    own_files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = ask(
        *("--symbol", "aapl", "--start", "2023-03-01", "--end", "2024-01-31", "--strategy", "sma_crossover"),
        *("--param", "fast=5", "slow=15", "--data-dir", str(own_files / "ohlcv"), "--cash", "50000"),
        *("--commission-bps", "5", "--slippage-bps", "2", "--out", str(own_files / "out"), "--json"),
        *("--filter", "volume", "percentile=20", "--filter", "regime"),
    )

    answer = capsys.readouterr()
    told = json.loads(answer.out)["strategies"]["sma_crossover"]
    assert (found, answer.err) == (0, "")
    assert (told["verdict"]["verdict"], told["trials"]) == ("fail", 1)
    assert "deflated Sharpe" in [check["name"] for check in told["verdict"]["checks"]]
    assert (told["stamp"]["params"]["fast"], told["stamp"]["setup"]["cash"]) == (5, 50_000.0)
    assert told["stamp"]["setup"]["fills"]["commission"]["bps"] == "5"
    chosen = {one["name"]: one["params"] for one in told["stamp"]["setup"]["filters"]}
    assert (chosen["volume"]["percentile"], chosen["regime"]["only_in"]) == (20.0, "trend")
    assert told["metrics"]["sharpe"]["n"] > 200
    assert (own_files / "out" / "trades.csv").exists()


def test_all_strategies_stand_side_by_side(own_files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    span = ("--symbol", "AAPL", "--start", "2023-06-01", "--end", "2024-01-31", "--data-dir", str(own_files))

    found = ask(*span, "--strategy", "all")

    said = capsys.readouterr().out
    [header] = [line for line in said.splitlines() if line.startswith("    ") and "sma_crossover" in line]
    names = header.replace("buy and hold", "held").split()
    [words] = [line for line in said.splitlines() if line.startswith("Verdict")]
    [held] = [line for line in said.splitlines() if line.startswith("Total return")]
    [benchmark] = [line for line in said.splitlines() if line.startswith("Benchmark's return")]
    assert found == 0
    assert names[-1] == "held"
    assert {"candle_patterns", "mean_reversion", "sma_crossover", "trend_following"} <= set(names)
    assert words.count("fail") + words.count("weak") + words.count("worth") == len(names) - 1
    assert held.split()[-2] == benchmark.split()[-2]
    assert said.index("sma_crossover: ") < said.index("such comparisons") < said.index(header)
    assert f"The trial ledger counts {len(names) - 1} trials on these data." in said


def test_without_a_verdict_it_says_so_on_top_and_counts_all_the_same(
    own_files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    span = ("--symbol", "AAPL", "--start", "2023-06-01", "--end", "2024-01-31", "--data-dir", str(own_files))

    for fast in ("5", "6", "5"):
        assert ask(*span, "--strategy", "sma_crossover", "--param", f"fast={fast}", "--no-verdict") == 0

    said = capsys.readouterr().out
    assert said.startswith("Not judged (--no-verdict)")
    counted = [line for line in said.splitlines() if line.startswith("The trial ledger")]
    assert [line.split()[4] for line in counted] == ["1", "2", "2"]


def test_a_strategy_that_wants_nothing_says_why(own_files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    span = ("--symbol", "AAPL", "--start", "2023-06-01", "--end", "2024-01-31", "--data-dir", str(own_files))
    impossible = ("--strategy", "sma_crossover", "--param", "fast=100", "slow=400", "short=no", "--no-verdict")

    assert ask(*span, *impossible) == 0
    assert ask(*span, *impossible, "--json") == 0

    text, _, told = capsys.readouterr().out.partition("\n{")
    assert "\nsma_crossover: It wanted nothing in any bar: SMA 400 needs 400 bars and there are " in text
    assert "It wanted nothing" in json.loads("{" + told)["strategies"]["sma_crossover"]["notes"][0]


def test_a_sweep_is_counted_with_every_combination(own_files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    span = ("--symbol", "AAPL", "--start", "2023-06-01", "--end", "2024-01-31", "--data-dir", str(own_files))
    ranges = ("--strategy", "sma_crossover", "--range", "fast=3:6:1", "slow=10,20")

    assert sweep_main([*span, *ranges]) == 0
    swept = capsys.readouterr().out
    assert ask(*span, "--strategy", "sma_crossover", "--param", "fast=4", "slow=20", "--no-verdict") == 0

    assert "The trial ledger counts 8 trials on these data, each of these combinations among them." in swept
    assert "The trial ledger counts 8 trials on these data." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("--symbol", "ZZZZ"), "There is nothing of ZZZZ. There are: AAPL"),
        (("--start", "2020-01-01", "--end", "2020-12-31"), "There is AAPL 1d from 2023-01-03 to"),
        (("--strategy", "sma_cros"), "Did you mean 'sma_crossover'?"),
        (("--start", "2024-02-30"), "a date is written 2024-03-28"),
        (("--start", "2024-02-01", "--end", "2024-01-01"), "start must lie before end: got 2024-02-01 and 2024-01-01"),
        (("--data-dir", "nowhere"), "there is no folder nowhere"),
        (("--param", "fast=x"), "no setting"),
        (("--cash", "-5"), "cash must be at least 1"),
        (("--risk", "1"), "--risk is what a stop would lose: add --stop or --trail"),
        (("--filter", "volum"), "Did you mean 'volume'?"),
        (("--filter", "volume", "50"), "--filter takes name=value, such as bars=5: got '50'"),
        (("--filter", "volume", "bars=many"), "--filter bars=many: 'many' is no int"),
        (("--good-for", "-1"), "good_for must be at least 0"),
    ],
)
def test_what_is_missing_or_wrong_is_said_and_ends_with_2(
    own_files: Path, capsys: pytest.CaptureFixture[str], change: tuple[str, ...], words: str
) -> None:
    found = ask("--symbol", "AAPL", "--start", "2023-03-01", "--data-dir", str(own_files), *change)

    said = capsys.readouterr()
    assert found == 2
    assert words in said.err
    assert said.out == ""


def test_where_it_looked_is_said(own_files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask("--symbol", "ZZZZ", "--data-dir", str(own_files))

    assert f"Looked in {own_files / 'ohlcv'}, {own_files / 'candles'}" in capsys.readouterr().err


def test_simulated_candles_only_on_request_and_in_large_letters(
    own_files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    span = ("--start", "2024-01-02", "--end", "2024-03-28", "--data-dir", str(own_files))

    without = ask("--symbol", "MSFT", *span)
    capsys.readouterr()
    asked_for = ask("--symbol", "MSFT", *span, "--source", "simulated")

    assert (without, asked_for) == (2, 0)
    assert "SIMULATED PRICES" in capsys.readouterr().out


@pytest.mark.parametrize("stop", ["two", "1..2", "."])
def test_what_is_no_option_ends_with_2(stop: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        ask("--symbol", "AAPL", "--stop", stop)

    assert ended.value.code == 2
    assert f"an exit is written 2atr, 1% or 0.50: got '{stop}'" in capsys.readouterr().err
