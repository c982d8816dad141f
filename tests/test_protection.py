"""desk/protection.py: whatever happened before, a few steps later exactly what is held rests under the plan."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from decimal import Decimal as D

from hypothesis import given
from hypothesis import strategies as st

from desk.protection import EXITS, Cancel, Rest, covered, pieces, steps, stopped
from desk.records import Protection
from domain.orders import AT_BROKER, OPEN, Order, OrderRequest, OrderType, Purpose, Side, Status, TimeInForce
from tests.ledgers import NOW

ROUNDS = 4


@dataclass
class Market:
    """A position and the exits around it, at a broker that does what it is told. With `slow`, a cancel is confirmed
    one round later."""

    held: D
    plan: Protection
    claimed: D = D(0)
    oco: bool = True
    slow: bool = False
    reached: bool = False
    orders: list[Order] = field(default_factory=list)
    made: int = 0

    @property
    def family(self) -> list[Order]:
        parents = {order.parent for order in self.orders if order.status in OPEN}
        return [order for order in self.orders if order.parent in parents]

    @property
    def cover(self) -> D:
        return max(D(0), abs(self.held) - self.claimed)

    @property
    def wanted(self) -> dict[Purpose, D]:
        prices = {Purpose.STOP: self.plan.stop, Purpose.TARGET: self.plan.target}
        if not self.oco:  # one of them rests: the stop, but where there is none, or where the target is reached
            sells = self.plan.target is not None and (self.reached or self.plan.stop is None)
            del prices[Purpose.STOP if sells else Purpose.TARGET]
        return {purpose: price for purpose, price in prices.items() if price is not None}

    def round(self) -> bool:
        """One look and all its steps; False where there was nothing to do and nothing under way."""
        under_way = [order for order in self.orders if order.status is Status.CANCELLING]
        todo = steps(self.held, self.claimed, self.plan, self.family, oco=self.oco, reached=self.reached)
        for step in todo:
            if isinstance(step, Cancel):
                assert step.order.status in {Status.WORKING, Status.PARTIAL}, "asked to cancel what cannot be"
                self.become(step.order, Status.CANCELLING if self.slow else Status.CANCELLED)
            else:
                self.rest(step)
        for order in under_way:
            self.become(order, Status.CANCELLED)
        return bool(todo or under_way)

    def rest(self, step: Rest) -> None:
        assert step.quantity > 0
        self.made += 1
        is_stop = step.purpose is Purpose.STOP
        request = OrderRequest(
            "main",
            "AAPL",
            Side.SELL if self.held > 0 else Side.BUY,
            step.quantity,
            OrderType.STOP if is_stop else OrderType.LIMIT,
            stop=step.price if is_stop else None,
            limit=None if is_stop else step.price,
            time_in_force=TimeInForce.GTC,
            purpose=step.purpose,
        )
        self.orders.append(
            Order(f"o{self.made:03}", request, Status.WORKING, NOW, NOW, parent=step.parent or f"x{self.made:03}")
        )

    def become(self, order: Order, status: Status) -> None:
        """Unless it is done already."""
        at = next(n for n, one in enumerate(self.orders) if one.id == order.id)
        if self.orders[at].status in OPEN:
            self.orders[at] = replace(self.orders[at], status=status)

    def fill(self, leg: Order, quantity: D) -> None:
        """What one leg fills, the position loses; with the piece's last share both legs are done."""
        [piece] = [piece for piece in pieces(self.family) if piece.parent == leg.parent]
        quantity = min(quantity, piece.remaining, leg.remaining)
        if quantity <= 0:
            return
        self.held += leg.request.side.sign * quantity
        at = self.orders.index(leg)
        self.orders[at] = replace(leg, filled=leg.filled + quantity, status=Status.PARTIAL)
        if piece.remaining == quantity:
            for order in [one for one in self.orders if one.parent == leg.parent]:
                self.become(order, Status.CANCELLED if order.remaining else Status.FILLED)

    def settle(self) -> int:
        for rounds in range(20):
            if not self.round():
                return rounds
        raise AssertionError(f"never done: {self.plan}, {self.held} held, {self.family}")

    def check_settled(self) -> None:
        standing = pieces(self.family)
        assert covered(standing) == (self.cover if self.wanted else 0)
        for piece in standing:
            assert {order.request.purpose for order in piece.open} == set(self.wanted)
            for order in piece.open:
                price = order.request.stop if order.request.purpose is Purpose.STOP else order.request.limit
                assert price == self.wanted[order.request.purpose]
                assert order.request.side.sign * self.held < 0
        assert stopped(standing) == (self.cover if self.plan.stop else 0)


quantities = st.integers(1, 200).map(D)
stops, targets = st.sampled_from([None, D(95), D(96)]), st.sampled_from([None, D(105), D(106)])
plans = st.builds(Protection, st.just("AAPL"), stops, targets)
events = st.one_of(
    st.tuples(st.just("plan"), plans),
    st.tuples(st.just("held"), st.integers(-200, 200).map(D)),
    st.tuples(st.just("claim"), st.integers(0, 250).map(D)),
    st.tuples(st.just("fill"), st.tuples(st.integers(0, 5), quantities)),
    st.tuples(st.just("round"), st.none()),
)
histories = st.lists(events, max_size=12)
markets = st.builds(
    Market, st.integers(-200, 200).map(D), plans, st.integers(0, 250).map(D), st.booleans(), st.booleans()
)


def live_through(market: Market, history: list[tuple[str, object]]) -> None:
    for what, value in history:
        if what == "plan":
            assert isinstance(value, Protection)
            market.plan = value
        elif what == "held":
            assert isinstance(value, D)
            market.held = value
        elif what == "claim":
            assert isinstance(value, D)
            market.claimed = value
        elif what == "fill":
            assert isinstance(value, tuple)
            legs = [order for order in market.orders if order.status in AT_BROKER]
            if legs:
                market.fill(legs[value[0] % len(legs)], value[1])
        else:
            market.round()


@given(markets, histories)
def test_a_few_rounds_lead_from_anything_to_what_the_plan_says(
    market: Market, history: list[tuple[str, object]]
) -> None:
    live_through(market, history)

    rounds = market.settle()

    market.check_settled()
    assert rounds <= ROUNDS * (2 if market.slow else 1)


@given(markets, histories)
def test_once_it_is_right_there_is_nothing_to_do(market: Market, history: list[tuple[str, object]]) -> None:
    live_through(market, history)
    market.settle()

    assert steps(market.held, market.claimed, market.plan, market.family, oco=market.oco, reached=market.reached) == []


@given(markets, histories)
def test_nothing_is_placed_that_covers_more_than_is_held_and_free(
    market: Market, history: list[tuple[str, object]]
) -> None:
    live_through(market, history)
    for _ in range(2 * ROUNDS):
        before = {order.id for order in market.orders}
        market.round()
        if {order.id for order in market.orders} - before:
            assert covered(pieces(market.family)) <= market.cover


@given(markets, histories)
def test_cancels_and_new_legs_never_come_in_one_answer(market: Market, history: list[tuple[str, object]]) -> None:
    live_through(market, history)
    for _ in range(2 * ROUNDS):
        todo = steps(market.held, market.claimed, market.plan, market.family, oco=market.oco, reached=market.reached)
        assert len({type(step) for step in todo}) <= 1
        market.round()


@given(markets, histories, st.sampled_from(["flat", "flipped"]))
def test_what_protected_a_position_that_is_gone_or_turned_is_cancelled(
    market: Market, history: list[tuple[str, object]], how: str
) -> None:
    live_through(market, history)
    market.settle()
    before = [order.id for order in market.orders if order.status in OPEN]
    market.held = D(0) if how == "flat" else -market.held

    market.settle()

    assert not [order for order in market.orders if order.id in before and order.status in OPEN]


@given(
    quantities, quantities, st.lists(st.tuples(st.sampled_from(EXITS), st.integers(1, 60).map(D)), max_size=8), plans
)
def test_after_any_partial_fills_the_pair_still_covers_what_is_left(
    first: D, more: D, fills: list[tuple[Purpose, D]], later: Protection
) -> None:
    market = Market(first, Protection("AAPL", D(95), D(105)))
    market.settle()
    market.held += more
    market.settle()
    for purpose, quantity in fills:
        legs = [o for o in market.orders if o.status in AT_BROKER and o.request.purpose is purpose]
        if legs:
            market.fill(legs[0], quantity)
            assert covered(pieces(market.family)) == market.held, "a fill needs no step: the sibling lost as much"
        assert steps(market.held, D(0), market.plan, market.family, oco=True) == []
    market.plan = later

    market.settle()
    market.check_settled()


@given(quantities, quantities)
def test_a_second_entry_leaves_the_first_piece_standing(first: D, more: D) -> None:
    market = Market(first, Protection("AAPL", D(95), D(105)))
    market.settle()
    standing = [order.id for order in market.orders]
    market.held += more

    market.settle()

    assert [order.id for order in market.orders if order.id in standing and order.status in OPEN] == standing
    market.check_settled()


def test_a_leg_nobody_knows_the_fate_of_is_waited_for() -> None:
    market = Market(D(100), Protection("AAPL", D(95), D(105)))
    market.round()
    [stop] = market.orders
    market.become(stop, Status.AMBIGUOUS)

    assert steps(market.held, D(0), market.plan, market.family, oco=True) == []
