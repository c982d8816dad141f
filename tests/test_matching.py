"""domain/matching.py and domain/working.py: which prices fill which orders, worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from domain.errors import OrderRefused
from domain.fees import Commission
from domain.instruments import instrument
from domain.matching import FillRules, PriceStep, Step, rest_of_bar, step, step_exits
from domain.orders import OrderRequest, OrderType, Session, Side, Status, TimeInForce
from domain.quotes import Bar, Quote
from domain.working import Working, accept, expiry

AAPL, BTC = instrument("AAPL"), instrument("BTCUSDT")
OPENS = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)  # a Friday, 09:30 New York
COSTS = FillRules(ignore_volume=True)  # one basis point for half the spread, one for slippage
NO_COSTS = FillRules(half_spread_bps=0.0, slippage_bps=0.0, ignore_volume=True, regulatory_fees=False)
CAPPED = replace(NO_COSTS, ignore_volume=False)
BUY, SELL = Side.BUY, Side.SELL


def dec(number: float | str | None) -> Decimal | None:
    return None if number is None else Decimal(str(number))


def order(side: Side = BUY, kind: str = "market", quantity: int = 100, name: str = "o1", **more: object) -> Working:
    prices = {key: dec(more.pop(key, None)) for key in ("limit", "stop", "trail")}  # type: ignore[arg-type]
    request = OrderRequest("paper", "AAPL", side, Decimal(quantity), OrderType(kind), **prices, **more)  # type: ignore[arg-type]
    return accept(name, request, AAPL, OPENS)


def bar(open_: float, high: float, low: float, close: float, volume: float = 1e6, minute: int = 0) -> Bar:
    return Bar(OPENS + timedelta(minutes=minute), open_, high, low, close, volume)


def tick(
    last: float, bid: float | None = None, ask: float | None = None, volume: float = 1e6, second: int = 1
) -> PriceStep:
    return PriceStep(OPENS + timedelta(seconds=second), last, volume, bid, ask)


def price(done: Step) -> Decimal | None:
    assert len(done.fills) <= 1
    return done.fills[0].price if done.fills else None


def through(working: Working, *many: Bar | PriceStep, rules: FillRules = NO_COSTS) -> Step:
    """The last step of an order that meets these prices one after the other."""
    done = Step(working, (), Status.WORKING)
    for prices in many:
        assert done.working is not None, "the order was over before its prices were"
        done = step(done.working, prices, rules)
    return done


CALM = bar(100, 102, 97, 101)


@pytest.mark.parametrize(
    ("working", "prices", "wanted"),
    [
        (order(BUY), CALM, "100.02"),
        (order(SELL), CALM, "99.98"),
        (order(SELL, "stop", stop=98), CALM, "97.98"),  # 98 less 0.0196
        (order(SELL, "stop", stop=98), bar(96, 99, 95, 96), "95.98"),  # the gap, then the costs
        (order(BUY, "stop", stop=101), CALM, "101.03"),  # 101.0202
        (order(BUY, "stop", stop=103), CALM, None),
        (order(BUY, "limit", limit=99), CALM, "99.00"),
        (order(BUY, "limit", limit=97), CALM, None),  # touched, not traded through
        (order(BUY, "limit", limit=101), CALM, "100.02"),  # the better open is taken, so it costs
        (order(BUY, "limit", limit="100.01"), CALM, "100.01"),  # but never more than the limit
        (order(SELL, "limit", limit="101.50"), CALM, "101.50"),
        (order(SELL, "limit", limit=99), CALM, "99.98"),
        (order(BUY, "limit", limit="4.35"), bar(4.37, 4.38, 4.34, 4.36), "4.35"),  # 434.99... ticks in binary
        (order(BUY, "stop limit", stop=101, limit="101.50"), CALM, "101.03"),
        (order(BUY, "stop limit", stop=101, limit=101), CALM, None),
        (order(SELL, "trailing stop", trail=2), CALM, "97.98"),  # stands at 98 from the open on
    ],
)
def test_a_bar_by_hand(working: Working, prices: Bar, wanted: str | None) -> None:
    assert price(step(working, prices, COSTS)) == dec(wanted)


@pytest.mark.parametrize(
    ("working", "prices", "wanted"),
    [
        (order(BUY), tick(100), "100.02"),
        (order(BUY), tick(100, 99.95, 100.05), "100.07"),  # the ask and slippage: 100.060005
        (order(SELL), tick(100, 99.95, 100.05), "99.94"),  # the bid and slippage: 99.940005
        (order(SELL), tick(100, None, 100.05), "99.98"),  # no bid: half the spread is assumed
        (order(SELL, "stop", stop=98), tick(97.9, 97.8, 97.9), "97.79"),
        (order(SELL, "stop", stop=98), tick(97.9, 97.95, 98), "97.89"),  # never better than the trade that woke it
        (order(SELL, "stop", stop=98), tick(98.01, 97.9, 98.1), None),  # the last trade wakes it, not the bid
        (order(BUY, "limit", limit=100), tick(100, 99.9, 100.01), None),
        (order(BUY, "limit", limit=100), tick(100, 99.9, 100), "100.00"),  # somebody offers at the limit
        (order(BUY, "limit", limit=100), tick(99.5, 99.4, 99.5), "99.51"),
        (order(BUY, "limit", limit=100), tick(99.5, 99.9, 100.1), None),  # that trade may be older than the order
        (order(BUY, "limit", limit=100), tick(100), None),
        (order(BUY, "limit", limit=100), tick(99.99), "100.00"),
        (order(BUY, "stop limit", stop=101, limit=102), tick(101, 101, 101.1), "101.12"),
        (order(BUY, "stop limit", stop=101, limit=102), tick(103, 103, 103.1), None),
    ],
)
def test_a_price_step_by_hand(working: Working, prices: PriceStep, wanted: str | None) -> None:
    assert price(step(working, prices, COSTS)) == dec(wanted)


def test_a_limit_that_has_rested_fills_at_its_limit() -> None:
    waiting = order(BUY, "limit", limit=100)

    assert price(through(waiting, tick(101, 101, 101.1), tick(99, 98.9, 99.1, second=2))) == 100
    assert price(through(waiting, tick(101, 101, 101.1), tick(99.99, 100.01, 100.02, second=2))) == 100
    assert price(through(waiting, tick(101), tick(100, second=2))) is None
    touch = replace(NO_COSTS, touch_fills=True)
    assert price(through(waiting, tick(101), tick(100, second=2), rules=touch)) == 100


def test_a_limit_gets_the_better_open_of_a_gap_between_bars() -> None:
    done = through(order(BUY, "limit", limit=99), bar(100, 101, 99.5, 100), bar(97, 98, 96, 97, minute=1))

    assert price(done) == 97


def test_a_stop_limit_waits_after_a_gap_through_its_limit() -> None:
    working = order(BUY, "stop limit", stop=101, limit="101.50")

    gone = step(working, bar(103, 104, 102, 103), NO_COSTS)
    assert gone.working is not None
    assert (gone.fills, gone.working.armed, gone.status) == ((), True, Status.WORKING)
    assert price(step(gone.working, bar(102, 103, 101.49, 102, minute=1), NO_COSTS)) == Decimal("101.50")
    assert price(through(working, tick(103), tick(101.6, second=2), tick(101.49, second=3))) == Decimal("101.50")
    assert price(through(working, tick(103), tick(99, second=2))) == Decimal("101.50")  # it rested there


def test_a_trailing_stop_rises_with_the_price_and_falls_with_nothing() -> None:
    working = order(SELL, "trailing stop", trail=2)

    first = step(working, bar(100, 101, 99.5, 100.5), NO_COSTS)
    assert first.working is not None
    assert first.working.level == 99
    assert price(step(first.working, bar(98.5, 99, 98, 98.5, minute=1), NO_COSTS)) == Decimal("98.50")
    assert price(step(first.working, bar(100, 104, 98, 103, minute=1), NO_COSTS)) == 99
    assert price(through(working, tick(100), tick(103, second=2), tick(101, second=3))) == 101


def test_the_volume_cap_leaves_the_rest_open() -> None:
    first = step(order(quantity=120), bar(100, 101, 99, 100, volume=1000), CAPPED)
    assert first.working is not None
    second = step(first.working, bar(101, 102, 100, 101, volume=1000, minute=1), CAPPED)
    assert second.working is not None
    third = step(second.working, bar(102, 103, 101, 102, volume=1000, minute=2), CAPPED)

    assert [(s.fills[0].quantity, s.fills[0].price, s.status) for s in (first, second, third)] == [
        (50, 100, Status.PARTIAL),
        (50, 101, Status.PARTIAL),
        (20, 102, Status.FILLED),
    ]
    assert [s.fills[0].id for s in (first, second, third)] == ["o1/50", "o1/100", "o1/120"]
    assert third.working is None


def test_what_a_stop_set_off_is_left_of_is_a_market_order() -> None:
    done = through(
        order(SELL, "stop", quantity=80, stop=98),
        bar(99, 99, 97, 97.5, volume=1000),
        bar(105, 106, 104, 105, volume=1000, minute=1),
        rules=CAPPED,
    )

    assert (price(done), done.status) == (105, Status.FILLED)


def test_parts_of_a_lot_add_up() -> None:
    quiet = [tick(100, volume=30, second=second) for second in (1, 2)]  # one and a half shares each

    first = step(order(), quiet[0], CAPPED)
    assert first.working is not None
    assert first.fills[0].quantity == 1
    assert step(first.working, quiet[1], CAPPED).fills[0].quantity == 2


def test_our_orders_share_one_cap() -> None:
    done = step(order(), bar(100, 101, 99, 100, volume=1000), CAPPED, taken=Decimal(30))

    assert done.fills[0].quantity == 20
    assert step(order(), bar(100, 101, 99, 100, volume=1000), CAPPED, taken=Decimal(50)).fills == ()


@pytest.mark.parametrize("working", [order(), order(SELL, "stop", stop=99), order(BUY, "limit", limit=105)])
def test_without_volume_nothing_happens(working: Working) -> None:
    for volume in (0.0, math.nan):
        done = step(working, bar(98, 98, 98, 98, volume=volume), CAPPED)
        assert (done.working, done.fills) == (working, ())


def test_immediate_or_cancel_never_waits() -> None:
    ioc = TimeInForce.IOC
    part = step(order(quantity=120, time_in_force=ioc), bar(100, 101, 99, 100, volume=1000), CAPPED)
    none = step(order(BUY, "limit", limit=95, time_in_force=ioc), CALM, CAPPED)

    assert (part.working, part.fills[0].quantity, part.status) == (None, 50, Status.CANCELLED)
    assert (none.working, none.fills, none.status) == (None, (), Status.CANCELLED)


def test_nothing_fills_on_prices_from_before_the_order() -> None:
    for early in (bar(100, 101, 99, 100, minute=-1), tick(100, second=0), tick(100, second=-1)):
        for force in (TimeInForce.DAY, TimeInForce.IOC):
            waiting = order(time_in_force=force)
            assert step(waiting, early, NO_COSTS).working == waiting


def test_a_regular_order_sees_only_the_regular_session() -> None:
    before = bar(90, 90, 90, 90, minute=-30)  # 09:00 New York
    working = replace(order(SELL, "trailing stop", trail=2), placed=before.time)
    extended = replace(order(BUY, "limit", limit=95, session=Session.EXTENDED), placed=before.time)

    assert step(working, before, NO_COSTS).working == working
    assert price(step(extended, before, NO_COSTS)) == 90
    night = replace(before, time=datetime(2026, 11, 21, 2, tzinfo=UTC))
    assert step(replace(extended, expires=None), night, NO_COSTS).fills == ()


@pytest.mark.parametrize(
    ("placed", "session", "symbol", "wanted"),
    [
        ("2026-11-20 15:00", Session.REGULAR, "AAPL", "2026-11-20 21:00"),
        ("2026-11-20 15:00", Session.EXTENDED, "AAPL", "2026-11-21 01:00"),
        ("2026-11-20 10:00", Session.REGULAR, "AAPL", "2026-11-20 21:00"),  # before the open: today
        ("2026-11-20 21:00", Session.REGULAR, "AAPL", "2026-11-23 21:00"),  # at the close: Monday
        ("2026-11-25 22:00", Session.REGULAR, "AAPL", "2026-11-27 18:00"),  # over a holiday into a half-day
        ("2026-11-27 15:00", Session.EXTENDED, "AAPL", "2026-11-27 22:00"),
        ("2026-11-22 12:00", Session.REGULAR, "BTCUSDT", "2026-11-23 00:00"),
    ],
)
def test_a_day_order_ends_with_its_session(placed: str, session: Session, symbol: str, wanted: str) -> None:
    at, ends = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (placed, wanted))
    request = OrderRequest("paper", symbol, BUY, Decimal(1), OrderType.LIMIT, limit=Decimal(1), session=session)

    assert expiry(request, instrument(symbol).calendar, at) == ends
    assert expiry(replace(request, time_in_force=TimeInForce.GTC), instrument(symbol).calendar, at) is None


def test_a_day_order_expires_and_one_that_is_good_till_cancelled_stays() -> None:
    monday = Bar(datetime(2026, 11, 23, 14, 30, tzinfo=UTC), 100, 101, 99, 100, 1e6)
    last_minute = bar(100, 101, 99, 100, minute=389)

    assert step(order(), monday, NO_COSTS)[:3] == (None, (), Status.EXPIRED)
    assert step(order(), last_minute, NO_COSTS).status is Status.FILLED
    assert step(order(time_in_force=TimeInForce.GTC), monday, NO_COSTS).status is Status.FILLED


def test_a_venue_says_everything_it_will_not_take() -> None:
    with pytest.raises(
        OrderRefused, match=r"limit orders only: got a stop order; immediate or cancel is for .*; quant"
    ):
        order(SELL, "stop", quantity=0.5, stop=98, session=Session.EXTENDED, time_in_force=TimeInForce.IOC)  # type: ignore[arg-type]
    with pytest.raises(OrderRefused, match=r"limit must be a multiple of the tick 0.01: got 100.005"):
        order(BUY, "limit", limit="100.005")
    with pytest.raises(OrderRefused, match="an order for AAPL cannot be matched on BTCUSDT"):
        accept("o1", order().request, BTC, OPENS)


STOP, TARGET = order(SELL, "stop", stop=98, name="stop"), order(SELL, "limit", limit=105, name="target")


@pytest.mark.parametrize(
    ("prices", "stopped", "hit"),
    [
        (bar(100, 106, 97, 105), 98, None),  # both lie in the bar: the stop
        (bar(100, 106, 99, 105), None, 105),
        (bar(100, 104, 99, 103), None, None),
        (bar(107, 108, 97, 99), None, 107),  # the open itself is beyond the target: it came first
        (bar(96, 106, 95, 105), 96, None),
        (tick(97), 97, None),
        (tick(106), None, 106),
    ],
)
def test_stop_before_target(prices: Bar | PriceStep, stopped: float | None, hit: float | None) -> None:
    one, two = step_exits(STOP, TARGET, prices, NO_COSTS)

    assert (price(one), price(two)) == (stopped, hit)
    if stopped or hit:
        assert (one.working, two.working) == (None, None)
        assert {one.status, two.status} == {Status.FILLED, Status.CANCELLED}


def test_what_one_exit_fills_the_other_loses() -> None:
    one, two = step_exits(STOP, TARGET, bar(100, 106, 97, 105, volume=1000), CAPPED)
    assert one.working is not None
    assert two.working is not None
    assert (one.fills[0].quantity, two.fills) == (50, ())
    assert (one.working.remaining, two.working.remaining) == (50, 50)

    one, two = step_exits(STOP, TARGET, bar(100, 106, 99, 105, volume=1000), CAPPED)
    assert one.working is not None
    assert two.working is not None
    assert (one.working.remaining, two.working.remaining) == (50, 50)
    assert (one.status, two.status) == (Status.WORKING, Status.PARTIAL)

    one, two = step_exits(STOP, TARGET, bar(107, 108, 97, 99, volume=1000), CAPPED)
    assert one.working is not None
    assert (one.fills, one.working.armed, two.fills[0].quantity) == ((), True, 50)  # one cap for both


def test_a_stop_that_was_set_off_goes_before_the_target() -> None:
    set_off = replace(STOP, armed=True)  # what the volume left of it, a market order by now
    smaller = order(SELL, "stop", quantity=40, stop=98)

    one, two = step_exits(set_off, TARGET, bar(107, 108, 106, 107), NO_COSTS)
    assert (price(one), two.working, two.status) == (107, None, Status.CANCELLED)
    one, two = step_exits(smaller, TARGET, bar(100, 106, 97, 105), NO_COSTS)
    assert two.working is not None
    assert (price(one), two.fills, two.working.remaining) == (98, (), 60)


def test_the_entry_bar_can_stop_the_position_it_opened() -> None:
    entry_bar = bar(100, 106, 97, 105)
    entry = step(order(BUY), entry_bar, NO_COSTS)

    rest = rest_of_bar(entry_bar, entry.at, BUY)

    one, two = step_exits(STOP, TARGET, rest, NO_COSTS)
    assert rest == entry_bar
    assert (price(one), price(two)) == (98, None)


def test_after_an_entry_inside_the_bar_only_the_close_is_known_to_come_later() -> None:
    wide = bar(100, 106, 99, 103)
    entry = step(order(BUY, "stop", stop=101), wide, NO_COSTS)
    rest = rest_of_bar(wide, entry.at, BUY)

    assert (rest.open, rest.high, rest.low, rest.close) == (101, 103, 99, 103)
    assert price(step_exits(STOP, TARGET, rest, NO_COSTS)[1]) is None  # 106 may have come before the entry
    short = rest_of_bar(wide, 101, SELL)
    assert (short.open, short.high, short.low) == (101, 106, 101)


def test_a_sale_pays_the_regulators_and_each_order_one_commission() -> None:
    rules = replace(CAPPED, regulatory_fees=True, commission=Commission(per_order=Decimal("4.95")))
    fills = []
    working: Working | None = order(SELL, quantity=100)
    for minute in (0, 1):
        assert working is not None
        done = step(working, bar(200, 201, 199, 200, volume=1000, minute=minute), rules)
        working, fills = done.working, [*fills, *done.fills]

    # 10,000 dollars at 20.60 a million is 0.206, 50 shares at 0.000195 are 0.00975: 0.21 and 0.01.
    assert [fill.fee for fill in fills] == [Decimal("5.17"), Decimal("0.22")]
    bought = step(order(BUY), bar(200, 201, 199, 200, volume=1e6), rules).fills[0]
    assert bought.fee == Decimal("4.95")


def test_coins_pay_no_regulator_and_fill_in_parts() -> None:
    request = OrderRequest("paper", "BTCUSDT", SELL, Decimal("0.5"))
    done = step(accept("o1", request, BTC, OPENS), bar(60_000, 60_100, 59_900, 60_000, volume=1.00009), FillRules())

    # Five per cent of 1.00009 is 0.0500045: five thousand lots of 0.00001.
    assert (done.fills[0].quantity, done.fills[0].price) == (Decimal("0.05"), Decimal("59988.00"))
    assert done.fills[0].fee == 0


def test_a_quote_becomes_a_price_step() -> None:
    quote = Quote("AAPL", OPENS, Decimal("100.10"), "test", bid=Decimal("100.05"), volume=5e6)

    made = PriceStep.of(quote, traded=250.0)

    assert made == PriceStep(OPENS, 100.10, 250.0, 100.05, None)
    assert (made.book(SELL), made.book(BUY)) == (100.05, None)


def test_the_rules_check_themselves() -> None:
    with pytest.raises(
        ValueError, match=r"slippage_bps must be at least 0.0: got -1.0; volume_cap must be at most 1.0"
    ):
        FillRules(slippage_bps=-1.0, volume_cap=1.5)
    with pytest.raises(ValueError, match="half_spread_bps must be a finite number: got nan"):
        FillRules(half_spread_bps=math.nan)
