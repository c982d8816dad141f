"""What holds for every order and every price: the laws of domain/matching.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as hs

from domain.fees import Commission
from domain.instruments import instrument
from domain.matching import FillRules, PriceStep, step, step_exits
from domain.orders import Fill, OrderRequest, OrderType, Side, TimeInForce
from domain.positions import fold
from domain.quotes import Bar
from domain.working import Working, accept

AAPL = instrument("AAPL")
OPENS = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)
NO_COSTS = FillRules(half_spread_bps=0.0, slippage_bps=0.0, regulatory_fees=False)
RULES = hs.builds(
    FillRules,
    half_spread_bps=hs.sampled_from([0.0, 1.0, 25.0]),
    slippage_bps=hs.sampled_from([0.0, 2.0, 7.5]),
    volume_cap=hs.sampled_from([0.05, 1.0]),
    ignore_volume=hs.booleans(),
    touch_fills=hs.booleans(),
    commission=hs.sampled_from([Commission(), Commission(per_order=Decimal("4.95"), per_share=Decimal("0.005"))]),
)
LEVELS = hs.integers(9_980, 10_020)  # in cents, as are all whole prices here
CENT = Decimal("0.01")


def cents(price: int) -> Decimal:
    return Decimal(price) / 100


@hs.composite
def orders(draw: hs.DrawFn, quantity: int | None = None) -> Working:
    side, kind = draw(hs.sampled_from(Side)), draw(hs.sampled_from(OrderType))
    stop, limit, trail = draw(LEVELS), draw(LEVELS), draw(hs.integers(1, 25))
    force = TimeInForce.DAY
    if kind in (OrderType.MARKET, OrderType.LIMIT):
        force = draw(hs.sampled_from(TimeInForce))
    request = OrderRequest(
        "paper",
        "AAPL",
        side,
        Decimal(quantity or draw(hs.integers(1, 300))),
        kind,
        limit=cents(limit) if kind in (OrderType.LIMIT, OrderType.STOP_LIMIT) else None,
        stop=cents(stop) if kind in (OrderType.STOP, OrderType.STOP_LIMIT) else None,
        trail=cents(trail) if kind is OrderType.TRAILING_STOP else None,
        time_in_force=force,
    )
    return accept("o1", request, AAPL, OPENS)


def bar(minute: int, prices: tuple[int, int, int, int], volume: float) -> Bar:
    """A bar from any four prices in cents: the first opens it, the last closes it."""
    open_, close = prices[0] / 100, prices[3] / 100
    return Bar(OPENS + timedelta(minutes=minute), open_, max(prices) / 100, min(prices) / 100, close, volume)


PRICES = hs.tuples(LEVELS, LEVELS, LEVELS, LEVELS)
RAW = hs.lists(hs.tuples(PRICES, hs.sampled_from([0.0, 15.0, 400.0, 2000.0])), min_size=1, max_size=8)


def bars(raw: Sequence[tuple[tuple[int, int, int, int], float]]) -> list[Bar]:
    return [bar(minute, prices, volume) for minute, (prices, volume) in enumerate(raw)]


def run(working: Working | None, prices: Sequence[Bar | PriceStep], rules: FillRules) -> list[tuple[int, Fill]]:
    """Each fill with the number of the bar it came in."""
    found = []
    for number, each in enumerate(prices):
        if working is None:
            break
        done = step(working, each, rules)
        working, found = done.working, [*found, *((number, fill) for fill in done.fills)]
    return found


@settings(deadline=None)
@given(orders(), RAW, RULES)
def test_a_fill_stays_inside_its_bar_its_costs_and_its_limit(
    working: Working, raw: list[tuple[tuple[int, int, int, int], float]], rules: FillRules
) -> None:
    candles = bars(raw)
    cost = Decimal(str(rules.half_spread_bps + rules.slippage_bps)) / 10_000
    limit = working.request.limit
    for number, fill in run(working, candles, rules):
        high, low = Decimal(str(candles[number].high)), Decimal(str(candles[number].low))
        assert fill.price % AAPL.tick == 0
        if fill.side is Side.BUY:
            assert low <= fill.price < high * (1 + cost) + CENT
            assert limit is None or fill.price <= limit
        else:
            assert low * (1 - cost) - CENT < fill.price <= high
            assert limit is None or fill.price >= limit


@settings(deadline=None)
@given(orders(), RAW, RULES)
def test_no_order_gets_more_than_it_asked_for_or_its_share_of_the_volume(
    working: Working, raw: list[tuple[tuple[int, int, int, int], float]], rules: FillRules
) -> None:
    candles = bars(raw)
    found = run(working, candles, rules)

    assert sum(fill.quantity for _, fill in found) <= working.request.quantity
    assert len({fill.id for _, fill in found}) == len(found)
    if not rules.ignore_volume:
        assert all(candles[number].volume > 0 for number, _ in found)
        seen = sum(candle.volume for candle in candles)
        assert sum(float(fill.quantity) for _, fill in found) <= rules.volume_cap * seen + 1e-9


@settings(deadline=None)
@given(orders(), RAW, RULES, hs.data())
def test_a_fill_knows_nothing_of_later_bars(
    working: Working, raw: list[tuple[tuple[int, int, int, int], float]], rules: FillRules, data: hs.DataObject
) -> None:
    candles = bars(raw)
    cut = data.draw(hs.integers(0, len(candles)))

    early = run(working, candles[:cut], rules)

    assert early == [(number, fill) for number, fill in run(working, candles, rules) if number < cut]
    assert run(replace(working, placed=candles[-1].time + timedelta(minutes=1)), candles, rules) == []


@settings(deadline=None)
@given(orders(), RAW, hs.integers(-500, 500))
def test_prices_moved_by_a_dollar_move_fills_by_a_dollar(
    working: Working, raw: list[tuple[tuple[int, int, int, int], float]], move: int
) -> None:
    moved = {k: v + cents(move) for k in ("limit", "stop") if (v := getattr(working.request, k)) is not None}
    there = replace(working, request=replace(working.request, **moved))
    higher = [(tuple(price + move for price in prices), volume) for prices, volume in raw]

    here = run(working, bars(raw), NO_COSTS)

    shifted = [(number, replace(fill, price=fill.price + cents(move))) for number, fill in here]
    assert run(there, bars(higher), NO_COSTS) == shifted  # type: ignore[arg-type]


@settings(deadline=None)
@given(orders(quantity=100), PRICES, hs.sampled_from([0.0, 300.0, 3000.0, 1e6]), RULES)
def test_twice_the_quantity_never_gets_a_better_price(
    working: Working, prices: tuple[int, int, int, int], volume: float, rules: FillRules
) -> None:
    twice = accept("o2", replace(working.request, quantity=Decimal(200)), AAPL, OPENS)

    small, large = (run(each, [bar(0, prices, volume)], rules) for each in (working, twice))

    assert [number for number, _ in small] == [number for number, _ in large]
    for (_, less), (_, more) in zip(small, large, strict=True):
        assert more.side.sign * (more.price - less.price) >= 0
        assert more.quantity >= less.quantity


PATHS = hs.lists(hs.sampled_from([-1, 1]), min_size=8, max_size=60)


def walk(moves: list[int]) -> tuple[list[PriceStep], Bar]:
    """A path of single ticks from 100.00, and the one bar it makes."""
    prices = [10_000]
    for move in moves:
        prices.append(prices[-1] + move)
    steps = [PriceStep(OPENS + timedelta(seconds=1 + at), price / 100, 1e6) for at, price in enumerate(prices)]
    whole = Bar(OPENS, 100.0, max(prices) / 100, min(prices) / 100, prices[-1] / 100, 1e6)
    return steps, whole


@settings(deadline=None, max_examples=300)
@given(orders(), PATHS, RULES)
def test_a_bar_is_never_kinder_than_the_path_it_hides(working: Working, moves: list[int], rules: FillRules) -> None:
    patient = replace(working, request=replace(working.request, time_in_force=TimeInForce.DAY))
    steps, whole = walk(moves)
    rules = replace(rules, ignore_volume=True)

    coarse, fine = (run(patient, prices, rules) for prices in ([whole], steps))

    # A bar sets off every trailing stop that some path could, and fills nothing else that the path would not.
    assert len(coarse) >= len(fine) if patient.request.trail else len(coarse) <= len(fine)
    for (_, rough), (_, true) in zip(coarse, fine, strict=False):
        assert rough.side.sign * (rough.price - true.price) >= 0


@settings(deadline=None, max_examples=200)
@given(hs.integers(1, 6), hs.integers(1, 6), hs.booleans(), PATHS, RULES)
def test_a_bar_is_never_kinder_to_a_pair_of_exits_either(
    below: int, above: int, trailing: bool, moves: list[int], rules: FillRules
) -> None:
    def selling(name: str, kind: OrderType, **prices: Decimal) -> Working:
        return accept(name, OrderRequest("paper", "AAPL", Side.SELL, Decimal(100), kind, **prices), AAPL, OPENS)

    rules = replace(rules, ignore_volume=True)
    if trailing:
        stop = selling("stop", OrderType.TRAILING_STOP, trail=cents(below))
    else:
        stop = selling("stop", OrderType.STOP, stop=cents(10_000 - below))
    target = selling("target", OrderType.LIMIT, limit=cents(10_000 + above))
    steps, whole = walk(moves)

    coarse = [fill for done in step_exits(stop, target, whole, rules) for fill in done.fills]

    fine: list[Fill] = []
    one, two = stop, target
    for each in steps:
        pair = step_exits(one, two, each, rules)
        fine += [fill for done in pair for fill in done.fills]
        if pair[0].working is None or pair[1].working is None:
            break
        one, two = pair[0].working, pair[1].working
    assert len(fine) <= len(coarse) <= 1 if trailing else len(coarse) == len(fine)
    for rough, true in zip(coarse, fine, strict=False):
        assert rough.price <= true.price


@settings(deadline=None)
@given(hs.lists(orders(), min_size=1, max_size=6), RAW, RULES)
def test_cash_is_what_the_fills_say_to_the_cent(
    many: list[Working], raw: list[tuple[tuple[int, int, int, int], float]], rules: FillRules
) -> None:
    named = [replace(working, order_id=f"o{number}") for number, working in enumerate(many)]
    fills = [fill for working in named for _, fill in run(working, bars(raw), rules)]

    account = fold("paper", Decimal(100_000), [*fills, *fills])

    total, held = 10_000_000, 0  # whole cents and whole shares, added up by hand
    for fill in fills:
        signed = int(fill.quantity) if fill.side is Side.BUY else -int(fill.quantity)
        total -= signed * int(fill.price * 100) + int(fill.fee * 100)
        held += signed
    assert account.cash == cents(total)
    assert sum(position.quantity for position in account.positions.values()) == held
