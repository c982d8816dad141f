"""Trailing stops at the desk: what rests, what is remembered, and that neither ever goes away from the price."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from backtester import Exit, Setup
from desk.choosing import lots_wanted
from desk.database import Database
from desk.migrations.versions.r0001_first import FIXED_COLUMNS
from desk.records import Protection
from desk.stop_leg import StopLeg, level_at, nearer, nearest, stop_leg
from domain import candles as cd
from domain.calendars import NEW_YORK
from domain.candles import Timeframe
from domain.clock import ManualClock
from domain.commands import CommandState, Kind
from domain.errors import LedgerConflict, OrderRefused
from domain.instruments import Instrument
from domain.orders import OrderType, Purpose
from risk_manager import Approved, Denied, RiskManager
from tests.faults.mute import Line, MuteBroker
from tests.risk_world import ask, review, world
from tests.trading import MORNING, PaperDesk, trading

pytest_plugins = ["tests.ledger_fixtures"]
CENT, TRAIL, DAY = D("0.01"), D(2), timedelta(days=1)


def plan(stop: object = None, level: object = None, trail: object = TRAIL) -> Protection:
    stop, level = (None if price is None else D(str(price)) for price in (stop, level))
    return Protection("AAPL", stop, None, trail=None if trail is None else D(str(trail)), level=level)


# The arithmetic


@pytest.mark.parametrize(
    ("held", "of", "last", "may", "wanted"),
    [
        (1, plan(), 100, True, StopLeg(D("98.00"), TRAIL, TRAIL)),
        (-1, plan(), 100, True, StopLeg(D("102.00"), TRAIL, TRAIL)),
        (1, plan(level=98), 100, True, StopLeg(D("98.00"), TRAIL, TRAIL)),  # as near as it stood
        (1, plan(level=99), 100, True, StopLeg(D("99.00"), None, TRAIL)),  # nearer than a fresh one would be
        (-1, plan(level=101), 100, True, StopLeg(D("101.00"), None, TRAIL)),
        (1, plan(stop=98), 100, True, StopLeg(D("98.00"), None, TRAIL)),  # a tie is the stop's
        (1, plan(stop=97), 100, True, StopLeg(D("98.00"), TRAIL, TRAIL)),
        (1, plan(stop=99, level=98), 100, True, StopLeg(D("99.00"), None, None)),  # moved nearer than the trail
        (1, plan(level="98.004"), 99, True, StopLeg(D("98.01"), None, TRAIL)),  # rounded towards the price
        (-1, plan(level="101.996"), 101, True, StopLeg(D("101.99"), None, TRAIL)),
        (1, plan(), 100, False, StopLeg(D("98.00"), None, TRAIL)),
        (1, plan(level=97), 100, False, StopLeg(D("97.00"), None, TRAIL)),
        (1, plan(stop=97), 100, False, StopLeg(D("98.00"), None, TRAIL)),  # the nearer one, though none may trail yet
        (-1, plan(stop=101), 100, False, StopLeg(D("101.00"), None, TRAIL)),
        (1, plan(), None, True, StopLeg(None, TRAIL, TRAIL)),  # without a price only the broker knows where it begins
        (1, plan(level=97), None, True, StopLeg(D("97.00"), None, TRAIL)),
        (1, plan(stop=95, trail=None), 100, True, StopLeg(D(95))),
        (1, plan(trail=None), 100, True, StopLeg()),
    ],
)
def test_how_a_stop_rests(held: int, of: Protection, last: int | None, may: bool, wanted: StopLeg) -> None:
    assert stop_leg(D(held), of, None if last is None else D(last), CENT, may_trail=may) == wanted


@dataclass
class Venue:
    """A broker that keeps one stop, and what the desk keeps beside it; every price is told to both."""

    held: D
    trail: D
    fixed: D | None
    level: D | None = None
    rests: StopLeg | None = None
    stands: D | None = None  # where the resting stop would sell
    stood: list[D] = field(default_factory=list)

    def price(self, last: D, may_trail: bool) -> bool:
        """Whether the position lives on at this price."""
        if self.rests is not None and self.rests.trail is not None:
            self.stands = nearest(self.held, self.stands, level_at(self.held, last, self.trail))
        if self.stands is not None and not nearer(self.held, last, self.stands):
            return False
        self.level = nearest(self.held, self.level, level_at(self.held, last, self.trail))
        self.place(last, may_trail)
        return True

    def place(self, last: D, may_trail: bool) -> None:
        known = Protection("AAPL", self.fixed, None, trail=self.trail, level=self.level)
        leg = stop_leg(self.held, known, last, CENT, may_trail=may_trail)
        kept = self.rests is not None and (
            self.rests.trail == leg.keeps
            if self.rests.trail is not None
            else leg.trail is None and self.rests.price == leg.price
        )
        if not kept:
            self.rests = leg
            self.stands = level_at(self.held, last, self.trail) if leg.trail is not None else leg.price
        assert self.stands is not None
        self.stood.append(self.stands)


@given(
    st.sampled_from([D(1), D(-1)]),
    st.sampled_from([None, D("98.50"), D("99.70"), D("101.50"), D("100.30")]),
    st.lists(st.tuples(st.integers(-90, 90), st.sampled_from(["", "", "restart", "refused"])), min_size=1, max_size=60),
)
def test_wherever_the_price_goes_no_stop_is_placed_further_away_than_one_stood(
    held: D, fixed: D | None, moves: list[tuple[int, str]]
) -> None:
    last, trail = D(100), D("1.20")
    wrong_side = fixed is not None and not nearer(held, last, fixed)
    venue = Venue(held, trail, None if wrong_side else fixed)
    for by, what in moves:
        last += D(by) / 100
        if what == "restart":  # whatever rested is placed anew
            venue.rests = venue.stands = None
            beyond = venue.level is not None and not nearer(held, last, venue.level)
            if beyond or (venue.fixed is not None and not nearer(held, last, venue.fixed)):
                break  # sold at market: the price is beyond it
        if not venue.price(last, may_trail=what != "refused"):
            break

    assert all(not nearer(held, before, after) for before, after in zip(venue.stood, venue.stood[1:], strict=False))
    for stands in venue.stood:
        assert venue.fixed is None or not nearer(held, venue.fixed, stands)


# At the desk


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[PaperDesk]:
    async with trading(tmp_path) as desk:
        yield desk
        assert desk.problems() == []


async def bought(desk: PaperDesk, **protected: str | None) -> None:
    await desk.place()
    await desk.tick(2)
    answer = await desk.ask(Kind.PROTECT, account="main", symbol="AAPL", **protected)
    assert answer.state is CommandState.DONE, answer.said
    await desk.tick(3)


def stops(desk: PaperDesk) -> list[tuple[str, D, D | None]]:
    """What rests as a stop: kind, shares, and its price or distance."""
    found = [order for order in desk.open() if order.request.purpose is Purpose.STOP]
    return [(str(o.request.type), o.remaining, o.request.trail or o.request.stop) for o in found]


def level(desk: PaperDesk) -> D | None:
    return desk.reader.protection("main")["AAPL"].level


async def test_a_trailing_stop_rests_at_the_broker_follows_and_sells(desk: PaperDesk) -> None:
    await bought(desk, trail="2.00")
    assert stops(desk) == [("trailing stop", D(100), D(2))]
    assert level(desk) == D(98)

    await desk.tick(2, AAPL="103.00")
    await desk.tick(2, AAPL="101.50")
    assert (level(desk), desk.held()) == (D(101), 100)
    await desk.tick(3, AAPL="100.90")

    assert desk.held() == 0
    [sold] = [one.fill for one in desk.reader.fills() if one.fill.side == "sell"]
    assert D("100.80") < sold.price <= D("100.90")


async def test_a_short_is_trailed_from_below(desk: PaperDesk) -> None:
    await desk.ask(Kind.SET_LIMIT, name="shorting", value=True)
    await desk.place(side="sell")
    await desk.tick(2)
    await desk.ask(Kind.PROTECT, account="main", symbol="AAPL", trail="2.00")
    await desk.tick(3, AAPL="97.00")
    await desk.tick(2, AAPL="98.50")

    assert (level(desk), desk.held()) == (D(99), -100)
    await desk.tick(3, AAPL="99.10")
    assert desk.held() == 0


async def test_beside_a_fixed_stop_the_nearer_one_rests(desk: PaperDesk) -> None:
    await bought(desk, stop="98.50", trail="2.00")
    assert stops(desk) == [("stop", D(100), D("98.50"))]

    await desk.tick(3, AAPL="100.50")  # a fresh trail would stand at the stop itself
    assert stops(desk) == [("stop", D(100), D("98.50"))]
    await desk.tick(3, AAPL="100.60")

    assert stops(desk) == [("trailing stop", D(100), D(2))]
    await desk.ask(Kind.PROTECT, account="main", symbol="AAPL", stop="99.50")  # moved nearer by hand
    await desk.tick(3)
    assert stops(desk) == [("stop", D(100), D("99.50"))]


async def test_after_a_part_was_closed_a_plain_stop_keeps_the_level_until_a_fresh_trail_is_as_near(
    desk: PaperDesk,
) -> None:
    await bought(desk, trail="2.00")
    await desk.tick(2, AAPL="104.00")
    await desk.tick(2, AAPL="103.00")

    await desk.ask(Kind.CLOSE, account="main", symbol="AAPL", percent="50", type="market")
    await desk.tick(4)

    assert (desk.held(), stops(desk)) == (50, [("stop", D(50), D("102.00"))])
    await desk.tick(3, AAPL="103.99")
    assert stops(desk) == [("stop", D(50), D("102.00"))]
    await desk.tick(3, AAPL="104.00")
    assert stops(desk) == [("trailing stop", D(50), D(2))]


async def test_after_a_restart_the_level_is_as_it_was(desk: PaperDesk) -> None:
    await bought(desk, trail="2.00", target="120.00")
    await desk.tick(2, AAPL="104.00")
    await desk.tick(2, AAPL="103.00")
    resting = [order.id for order in desk.open()]
    await desk.stop()
    desk.clock.advance(seconds=30)
    await desk.start()
    await desk.tick(3)
    assert [order.id for order in desk.open()] == resting

    await desk.ask(Kind.PROTECT, account="main", symbol="AAPL", target="121.00")  # the piece is placed anew
    await desk.tick(3)

    assert (level(desk), stops(desk)) == (D(102), [("stop", D(100), D("102.00"))])


async def test_further_shares_come_under_a_stop_as_near_as_the_first(desk: PaperDesk) -> None:
    await bought(desk, trail="2.00")
    await desk.tick(2, AAPL="104.00")
    await desk.tick(2, AAPL="103.00")
    await desk.ask(Kind.SET_LIMIT, name="duplicate_window_s", value=1.0)

    await desk.place(quantity="40")
    await desk.tick(4)

    assert stops(desk) == [("trailing stop", D(100), D(2)), ("stop", D(40), D("102.00"))]
    await desk.tick(4, AAPL="105.00")
    assert stops(desk) == [("trailing stop", D(100), D(2)), ("trailing stop", D(40), D(2))]


async def test_a_position_that_turns_does_not_keep_the_level_of_the_old_side(desk: PaperDesk) -> None:
    await desk.ask(Kind.SET_LIMIT, name="shorting", value=True)
    await bought(desk, trail="2.00")
    await desk.tick(2, AAPL="104.00")
    await desk.ask(Kind.CLOSE, account="main", symbol="AAPL", percent="100", type="market")
    await desk.tick(40)
    await desk.place(side="sell", stop_loss="110.00")
    await desk.tick(3)

    assert (desk.held(), stops(desk)) == (-100, [("stop", D(100), D("110.00"))])
    assert level(desk) is None
    await desk.ask(Kind.PROTECT, account="main", symbol="AAPL", trail="3.00")
    await desk.tick(3)
    assert (level(desk), stops(desk)) == (D(107), [("trailing stop", D(100), D(3))])


async def test_a_wish_for_another_distance_begins_where_the_market_stands(desk: PaperDesk) -> None:
    await bought(desk, trail="2.00")
    await desk.tick(2, AAPL="104.00")

    await desk.ask(Kind.PROTECT, account="main", symbol="AAPL", trail="5.00")
    await desk.tick(3)
    assert (level(desk), stops(desk)) == (D(99), [("trailing stop", D(100), D(5))])
    await desk.ask(Kind.PROTECT, account="main", symbol="AAPL", trail=None, stop="100.00")
    await desk.tick(3)

    assert stops(desk) == [("stop", D(100), D("100.00"))]
    wrong = await desk.ask(Kind.PROTECT, account="main", symbol="AAPL", trail="60.00")
    odd = await desk.ask(Kind.PROTECT, account="main", symbol="AAPL", trail="1.005")
    assert wrong.said == "A trail of 60.00 at 104.00 protects nothing: keep it nearer."
    assert odd.said == "The trail must be a multiple of 0.01: got 1.005."


async def test_outside_regular_hours_no_price_moves_the_level(desk: PaperDesk) -> None:
    await bought(desk, trail="2.00")
    desk.clock.time = desk.clock.now().astimezone(NEW_YORK).replace(hour=17)

    await desk.tick(5, AAPL="108.00")

    assert (level(desk), stops(desk)) == (D(98), [("trailing stop", D(100), D(2))])


@pytest.mark.parametrize(("side", "prices", "stands"), [("buy", "98 99.50 97", 98), ("sell", "101 99 103", 102)])
async def test_a_trail_that_begins_outside_regular_hours_stays_where_its_plain_stop_rests(
    desk: PaperDesk, side: str, prices: str, stands: int
) -> None:
    await desk.ask(Kind.SET_LIMIT, name="shorting", value=True)
    await desk.place(side=side)
    await desk.tick(2)
    desk.clock.time = desk.clock.now().astimezone(NEW_YORK).replace(hour=17)
    await desk.ask(Kind.PROTECT, account="main", symbol="AAPL", trail="2.00")
    await desk.tick(2, AAPL="100.00")
    resting = [order.id for order in desk.open()]

    for price in prices.split():
        await desk.tick(7, AAPL=price)

    assert [order.id for order in desk.open()] == resting
    assert (level(desk), stops(desk)) == (stands, [("stop", D(100), D(stands))])


# Where nobody takes it


class NoTrails(MuteBroker):
    """It takes every order but one that trails."""

    async def place(self, approved: Approved, **how: Any) -> str:
        if approved.request.type is OrderType.TRAILING_STOP and self.line.refuses is Purpose.STOP:
            raise OrderRefused("1527: trailing stops are not offered today")
        return await super().place(approved, **how)

    async def prepare(self, approved: Approved, **how: Any) -> Any:
        refuses, self.line.refuses = self.line.refuses, None
        try:
            return await super().prepare(approved, **how)
        finally:
            self.line.refuses = refuses


async def test_where_the_broker_takes_no_trailing_stop_a_plain_one_rests_at_once_and_is_moved(tmp_path: Path) -> None:
    line = Line(refuses=Purpose.STOP)
    clock = ManualClock(MORNING)
    async with trading(tmp_path, clock=clock, broker=lambda inner: NoTrails(inner, clock, line)) as desk:
        await bought(desk, trail="2.00")
        assert stops(desk) == [("stop", D(100), D("98.00"))]
        assert desk.engine is not None
        assert desk.engine.supervisor.longest_naked.total_seconds() <= 3
        assert any("cannot trail at the broker: refused: 1527" in said for said in desk.engine.tools.problems.values())

        await desk.tick(8, AAPL="100.30")  # less than a quarter of the distance
        assert stops(desk) == [("stop", D(100), D("98.00"))]
        await desk.tick(8, AAPL="100.60")
        assert stops(desk) == [("stop", D(100), D("98.60"))]
        line.refuses = None
        await desk.tick(70)

        assert stops(desk) == [("trailing stop", D(100), D(2))]
        assert not any("cannot trail" in said for said in desk.engine.tools.problems.values())


async def test_a_fixed_stop_moved_nearer_counts_at_once_where_the_desk_moves_the_trail(tmp_path: Path) -> None:
    line, clock = Line(refuses=Purpose.STOP), ManualClock(MORNING)
    async with trading(tmp_path, clock=clock, broker=lambda inner: NoTrails(inner, clock, line)) as desk:
        await bought(desk, trail="4.00")
        assert stops(desk) == [("stop", D(100), D("96.00"))]

        await desk.ask(Kind.PROTECT, account="main", symbol="AAPL", stop="96.80")  # less than a quarter nearer
        await desk.tick(8)

        assert stops(desk) == [("stop", D(100), D("96.80"))]


async def test_where_the_gates_refuse_a_trailing_stop_a_plain_one_stays(
    desk: PaperDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bought(desk, stop="98.50", trail="2.00")
    real = RiskManager.review

    def no_trails(self: RiskManager, request: Any, context: Any) -> Approved | Denied:
        answer = real(self, request, context)
        return answer if request.trail is None else Denied(request, answer.verdicts, ("No trails today.",))

    monkeypatch.setattr(RiskManager, "review", no_trails)
    before = [order.id for order in desk.open()]
    await desk.tick(1, AAPL="100.60")

    assert stops(desk) == [("stop", D(100), D("98.60"))]  # moved by the desk, never bare for a turn
    assert before != [order.id for order in desk.open()]
    assert desk.engine is not None
    assert not desk.engine.supervisor.naked


# At a broker with one order a share


async def test_a_target_that_is_not_met_gives_way_to_a_stop_as_near_as_before(tmp_path: Path) -> None:
    clock = ManualClock(MORNING)
    async with trading(tmp_path, clock=clock, broker=lambda inner: MuteBroker(inner, clock)) as desk:
        await bought(desk, trail="2.00", target="106.00")
        assert stops(desk) == [("trailing stop", D(100), D(2))]
        desk.prices.step = 0.0
        await desk.tick(4, AAPL="106.50")
        assert [order.request.purpose for order in desk.open()] == [Purpose.TARGET]
        await desk.tick(14, AAPL="105.00")

        assert stops(desk) == [("stop", D(100), D("104.50"))]


@pytest.mark.parametrize("first", ["prices", "shares"])
async def test_a_level_is_split_once_whichever_comes_first_the_prices_or_the_shares(tmp_path: Path, first: str) -> None:
    """One for ten. Split twice the level would stand far above the price, and the shares would be sold at market."""
    clock = ManualClock(MORNING)
    async with trading(tmp_path, clock=clock, broker=lambda inner: MuteBroker(inner, clock)) as desk:
        await bought(desk, trail="2.00")
        assert desk.engine is not None
        assert isinstance(desk.broker, MuteBroker)
        if first == "prices":
            await desk.tick(3, AAPL="1000.00")
        desk.broker.given["AAPL"] -= 90
        desk.engine.tools.look_again = True
        await desk.tick(3, AAPL="1000.00")

        figures = {"here": "100", "there": "10", "reason": "a split was announced"}
        await desk.ask(Kind.ACCEPT, account="main", about="AAPL", **figures)
        await desk.tick(4)

        assert (desk.held(), level(desk)) == (10, D(980))
        assert desk.reader.protection("main")["AAPL"].trail == D(20)


async def test_prices_that_no_engine_saw_are_asked_of_the_candles_where_the_order_followed_them(tmp_path: Path) -> None:
    """Regular hours alone count, and the minute in which it was last seen does not."""
    clock, highs = ManualClock(MORNING), {1: 150.0, 4: 108.5, 5: 107.0}

    async def minutes(what: Instrument, tf: Timeframe, most: int) -> pd.DataFrame:
        times = cd.expected(MORNING, clock.now() - tf.duration, tf, what)[-most:]
        high = np.array([highs.get((time - pd.Timestamp(MORNING).value) // 60_000_000_000, 104.0) for time in times])
        flat = np.full(len(times), 104.0)
        return cd.frame(times, {"open": flat, "high": high, "low": flat, "close": flat, "volume": flat})

    async with trading(tmp_path, clock=clock, broker=lambda inner: MuteBroker(inner, clock), bars=minutes) as desk:
        await desk.tick(60)
        await bought(desk, trail="2.00")
        await desk.tick(2, AAPL="104.00")
        await desk.stop()
        clock.advance(minutes=10)
        desk.prices.last["AAPL"] = D("107.50")
        await desk.start()
        await desk.tick(2)
        assert desk.engine is not None
        await asyncio.gather(*desk.engine.supervisor._trails._back.values())
        await desk.tick(2)

        assert level(desk) == D("106.50")


# The gates


def test_an_entry_is_judged_by_what_its_trail_can_lose() -> None:
    tight, wide = ask(stop_loss=None, stop_trail=D("2.00")), ask(stop_loss=None, stop_trail=D("30.00"))

    assert isinstance(review(tight, world(), risk_per_trade_pct=1.0), Approved)
    denied = review(wide, world(), risk_per_trade_pct=1.0)
    assert isinstance(denied, Denied)
    assert any("The loss at the stop" in said for said in denied.reasons)
    assert isinstance(
        review(ask(stop_trail=D("30.00")), world(), risk_per_trade_pct=1.0), Approved
    )  # the stop is nearer


def test_a_size_by_risk_counts_to_the_trail_where_there_is_no_fixed_stop() -> None:
    away = {"trail": Exit("price distance", 2.0)}
    setup = Setup(sizing="risk", risk_per_trade=0.01, max_position_pct=100.0, **away)

    assert lots_wanted(setup, 1.0, 100_000.0, 100.0, {}, 1.0) == 500
    assert lots_wanted(replace(setup, stop=Exit("price distance", 4.0)), 1.0, 100_000.0, 100.0, {}, 1.0) == 250


# Ledgers of before


def as_before(url: str) -> None:
    """The ledger as the version before trailing stops left it."""
    database = Database(url)
    postgres = url.startswith("postgresql")
    with database.write() as db:
        for statement in (
            "DROP TRIGGER orders_rewritten" + (" ON orders" if postgres else ""),
            "DROP TABLE trail_level",
            *(f"ALTER TABLE {table} DROP COLUMN {name}" for table, name in ADDED),
            f"CREATE TRIGGER orders_rewritten BEFORE UPDATE OF {FIXED_COLUMNS['orders']} ON orders "
            + ("FOR EACH ROW EXECUTE FUNCTION refuse_change()" if postgres else REFUSE),
            "UPDATE alembic_version SET version_num = 'r0005'",
        ):
            db.execute(sa.text(statement))


ADDED = (("orders", "stop_trail"), ("protection", "trail"), ("bar_decision", "trail"))
REFUSE = "BEGIN SELECT RAISE(ABORT, 'orders is append-only'); END"


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.xdist_group("postgres"))])
async def test_a_ledger_of_before_is_migrated_and_traded_on(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str
) -> None:
    more = {"database_url": request.getfixturevalue("postgres_url")} if kind == "postgres" else {}
    async with trading(tmp_path, **more) as desk:
        await desk.place(stop_loss="95.00", target="120.00")
        await desk.tick(4)
        before = [order.id for order in desk.open()]
        await desk.stop()
        as_before(desk.place_of.ledger_url)

        await desk.start()
        await desk.tick(2)

        assert [order.id for order in desk.open()] == before
        assert desk.reader.protection("main")["AAPL"].stop == D(95)
        answer = await desk.ask(Kind.PROTECT, account="main", symbol="AAPL", stop=None, trail="2.00")
        await desk.tick(3, AAPL="104.00")
        assert (answer.state, stops(desk), level(desk)) == (
            CommandState.DONE,
            [("trailing stop", D(100), D(2))],
            D(102),
        )
        assert desk.problems() == []
        [first, *_] = [order for order in desk.reader.orders_between(MORNING - DAY, MORNING + DAY) if order.filled]
        database = Database(desk.place_of.ledger_url)
        with pytest.raises(LedgerConflict, match="append-only"), database.write() as db:  # what was asked for stays
            db.execute(sa.text("UPDATE orders SET stop_trail = '9' WHERE id = :id"), {"id": first.id})
