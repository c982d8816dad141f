"""The desk at a broker that tells neither our names nor single fills: what it cannot know it finds out, or waits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest

from brokers.base import CashMove, Prepared
from brokers.paper import PaperBroker
from domain.commands import CommandState, Kind
from domain.orders import OrderRequest, OrderType, Purpose, Side, Status
from domain.positions import Position
from risk_manager import Approved
from tests.faults.mute import Line, MuteBroker
from tests.trading import PaperDesk, trading


class Mute(PaperDesk):
    """A desk over that broker; `line` is what goes wrong on the way to it."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.line = Line()
        super().__init__(folder, broker=self._mute, **options)
        self.mute: MuteBroker

    def _mute(self, inner: Any) -> Any:
        before = getattr(self, "mute", None)
        self.mute = MuteBroker(inner, self.clock, self.line)
        if before is not None:
            self.mute.given, self.mute.moved, self.mute.moves = before.given, before.moved, before.moves
            self.mute.hidden = before.hidden
        return self.mute

    async def by_hand(self, quantity: str = "100", side: Side = Side.BUY, **how: Any) -> str:
        """An order of the owner's on the broker's own web site."""
        request = OrderRequest("main", "AAPL", side, D(quantity), **how)
        name = f"hand{len(self.mute.hidden)}{self.clock.now():%H%M%S%f}"
        return await self.mute.inner.place(_approved(request), client_order_id=name, prepared=Prepared())

    async def by_hand_on_site(self, limit: D) -> None:
        """The same while no engine runs."""
        paper = PaperBroker(self.settings, self.clock, self.place_of.name)
        request = OrderRequest("main", "AAPL", Side.BUY, D(100), OrderType.LIMIT, limit=limit)
        await paper.place(_approved(request), client_order_id="onthesite", prepared=Prepared())
        await paper.close()

    def order(self, purpose: Purpose = Purpose.ENTRY) -> Any:
        found = [o for o in self.all_orders() if o.request.purpose is purpose]
        return found[-1]

    def all_orders(self) -> list[Any]:
        begin, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
        return self.reader.orders_between(begin, end)

    @property
    def tools(self) -> Any:
        assert self.engine is not None
        return self.engine.tools


def _approved(request: OrderRequest) -> Approved:
    made = object.__new__(Approved)
    object.__setattr__(made, "request", request)
    object.__setattr__(made, "verdicts", ())
    return made


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Mute]:
    desk = Mute(tmp_path)
    await desk.start()
    await desk.tick(2)
    try:
        yield desk
    finally:
        await desk.stop()


async def test_a_position_stands_under_its_stop_and_its_fills_are_counted_once(desk: Mute) -> None:
    await desk.place(stop_loss="96.00", target="106.00")
    await desk.tick(8)

    assert desk.held() == 100
    [stop] = desk.open()
    assert (stop.request.purpose, stop.request.stop, stop.status) == (Purpose.STOP, D(96), Status.WORKING)
    await desk.stop()
    await desk.start()
    await desk.tick(4)
    assert desk.held() == 100
    assert desk.tools.differing == []
    assert desk.problems() == []


async def test_a_lost_answer_is_found_by_its_looks(desk: Mute) -> None:
    desk.line.place = ["answer lost"]
    await desk.place(stop_loss="96.00")
    assert desk.order().status is Status.AMBIGUOUS
    await desk.tick(6)

    assert desk.order().status is Status.FILLED
    assert desk.held() == 100
    assert [o.request.purpose for o in desk.open()] == [Purpose.STOP]


async def test_what_never_arrived_is_given_up_behind_the_fence_and_not_before(desk: Mute) -> None:
    desk.line.place = ["lost on the way"]
    await desk.place()
    await desk.tick(60, 5.0)
    assert desk.order().status is Status.AMBIGUOUS
    blocked = await desk.preview()
    assert "not yet known" in str(blocked.details["verdicts"])

    await desk.tick(10, 5.0)
    assert desk.order().status is Status.NOT_PLACED
    assert desk.held() == 0


async def test_what_arrives_after_it_was_given_up_is_ours_all_the_same(desk: Mute) -> None:
    desk.line.place = ["answer lost"]
    desk.mute.hidden = Everything()
    desk.line.hides = True
    await desk.place(stop_loss="96.00")
    await desk.tick(75, 5.0)
    assert desk.order().status is Status.NOT_PLACED

    desk.line.hides = False
    await desk.tick(10, 5.0)
    assert desk.order().status is Status.FILLED
    assert [o.request.purpose for o in desk.open()] == [Purpose.STOP]


async def test_an_order_that_was_there_before_is_not_taken_for_ours(desk: Mute) -> None:
    await desk.by_hand(type=OrderType.LIMIT, limit=D("99.00"))
    desk.line.place = ["lost on the way"]
    await desk.place(type="limit", limit="99.00")
    await desk.tick(75, 5.0)

    assert desk.order().status is Status.NOT_PLACED


async def test_what_was_placed_long_after_the_signature_is_somebody_elses(desk: Mute) -> None:
    """Nobody looked for an hour, and meanwhile the owner ordered the same by hand."""
    desk.line.place = ["lost on the way"]
    await desk.place(type="limit", limit="95.00")
    await desk.stop()
    desk.clock.advance(seconds=3600)
    await desk.by_hand_on_site(limit=D("95.00"))
    await desk.start()
    await desk.tick(12, 5.0)

    assert desk.order().status is Status.NOT_PLACED


async def test_two_that_look_alike_are_for_a_person_to_tell_apart(desk: Mute) -> None:
    desk.line.place = ["answer lost"]
    await desk.place(type="limit", limit="95.00", stop_loss="90.00")
    twin = await desk.by_hand(type=OrderType.LIMIT, limit=D("95.00"))
    await desk.tick(3)
    order = desk.order()
    assert order.status is Status.FROZEN
    assert desk.tools.frozen == frozenset() or "AAPL" in desk.tools.frozen
    await desk.tick(12, 6.0)
    assert desk.tools.frozen == {"AAPL"}

    [seen] = [c for c in desk.tools.unseen[order.id].candidates if c.broker_id != twin]
    wrong = await desk.ask(Kind.SETTLE, order=order.id, broker_id="99", reason="looked")
    assert wrong.state is CommandState.REFUSED
    settled = await desk.ask(Kind.SETTLE, order=order.id, broker_id=seen.broker_id, reason="looked")
    assert settled.state is CommandState.DONE
    await desk.tick(5)
    assert desk.order().status is Status.WORKING
    assert desk.tools.frozen == frozenset()


async def test_a_stop_whose_answer_is_lost_is_sent_again_within_seconds(desk: Mute) -> None:
    desk.line.place = ["", "lost on the way"]
    await desk.place(stop_loss="96.00")
    await desk.tick(25)

    resting = [o for o in await desk.mute.inner.orders(desk.clock.now()) if o.status is Status.WORKING]
    assert [(o.stop, o.quantity) for o in resting] == [(D(96), D(100))]
    assert desk.engine is not None
    assert desk.engine.supervisor.longest_naked.total_seconds() <= 25
    await desk.tick(75, 5.0)
    stops = [o.status for o in desk.all_orders() if o.request.purpose is Purpose.STOP]
    assert sorted(stops) == [Status.NOT_PLACED, Status.WORKING]


async def test_a_stop_that_stands_unseen_is_never_doubled(desk: Mute) -> None:
    desk.line.place = ["", "answer lost"]
    desk.mute.hidden = NewOnes(keep=1)
    desk.line.hides = True
    await desk.place(stop_loss="96.00")
    await desk.tick(30)
    resting = [o for o in await desk.mute.inner.orders(desk.clock.now()) if o.status is Status.WORKING]
    assert len(resting) == 1

    desk.line.hides = False
    await desk.tick(30)
    assert [o.status for o in desk.open()] == [Status.WORKING]
    assert desk.open()[0].broker_id == resting[0].broker_id


async def test_the_target_is_watched_and_swapped_in_for_the_stop(desk: Mute) -> None:
    await desk.place(stop_loss="96.00", target="106.00")
    await desk.tick(6)
    await desk.tick(8, AAPL="106.50")

    assert desk.held() == 0
    assert desk.open() == []
    assert desk.order(Purpose.TARGET).status is Status.FILLED
    assert desk.order(Purpose.TARGET).average_price >= D(106)
    assert desk.order(Purpose.STOP).status is Status.CANCELLED


async def test_a_target_that_does_not_fill_gives_way_to_the_stop_again(desk: Mute) -> None:
    await desk.place(stop_loss="96.00", target="106.00")
    await desk.tick(6)
    desk.prices.step = 0.0  # nothing trades
    await desk.tick(4, AAPL="106.50")
    assert [o.request.purpose for o in desk.open()] == [Purpose.TARGET]
    await desk.tick(14, AAPL="104.00")

    assert [o.request.purpose for o in desk.open()] == [Purpose.STOP]
    assert desk.held() == 100


async def test_a_target_far_below_the_price_is_offered_near_the_price(desk: Mute) -> None:
    """A gap of 16 % beyond it: an order at the target itself would be refused as a slip, and the stop be gone."""
    await desk.place(stop_loss="96.00", target="106.00")
    await desk.tick(6)
    await desk.tick(12, AAPL="118.00")

    assert desk.held() == 0
    assert desk.order(Purpose.TARGET).request.limit == D("116.81")


async def test_a_target_that_is_refused_gives_way_to_the_stop_at_once(desk: Mute) -> None:
    await desk.place(stop_loss="96.00", target="106.00")
    await desk.tick(6)
    desk.line.refuses = Purpose.TARGET
    await desk.tick(6, AAPL="112.00")

    [stop] = desk.open()
    assert (stop.request.purpose, stop.status) == (Purpose.STOP, Status.WORKING)
    desk.line.refuses = None
    await desk.tick(40)
    assert desk.held() == 0


async def test_a_frozen_order_can_be_settled_after_a_restart(desk: Mute) -> None:
    desk.line.place = ["answer lost"]
    await desk.place(type="limit", limit="95.00", stop_loss="90.00")
    twin = await desk.by_hand(type=OrderType.LIMIT, limit=D("95.00"))
    await desk.tick(3)
    assert desk.order().status is Status.FROZEN
    await desk.stop()
    await desk.start()
    await desk.tick(8)

    [ours] = [c.broker_id for c in desk.tools.unseen[desk.order().id].candidates if c.broker_id != twin]
    settled = await desk.ask(Kind.SETTLE, order=desk.order().id, broker_id=ours, reason="looked")
    assert settled.state is CommandState.DONE
    assert desk.order().status is Status.WORKING


async def test_what_was_counted_as_others_is_never_taken_for_ours(desk: Mute) -> None:
    """Filled by hand, then missing in a list that lags: our watermark does not have it, our order looks the same."""
    await desk.preview()
    hand = await desk.by_hand("100")
    await desk.tick(12, 5.0)
    assert desk.held() == 100
    desk.line.hides, desk.mute.hidden = True, {hand}
    desk.line.place = ["lost on the way"]
    await desk.place(stop_loss="96.00")
    desk.line.hides = False
    await desk.tick(5)

    assert desk.order().status is Status.AMBIGUOUS


async def test_a_target_without_a_stop_rests_by_itself(desk: Mute) -> None:
    await desk.place(target="106.00")
    await desk.tick(6)

    assert [(o.request.purpose, o.request.limit) for o in desk.open()] == [(Purpose.TARGET, D(106))]


async def test_shares_from_outside_are_counted_and_never_touched(desk: Mute) -> None:
    await desk.preview()  # the market has a price of it
    await desk.by_hand("40")
    await desk.tick(15, 5.0)
    assert desk.held() == 40
    assert desk.reader.positions("main")["AAPL"].ours == 0
    await desk.place(stop_loss="96.00")
    await desk.tick(8)

    assert desk.held() == 140
    [stop] = desk.open()
    assert stop.request.quantity == 100
    await desk.ask(Kind.KILL, level=3, typed="FLATTEN", reason="a test")
    await desk.tick(15)
    assert desk.held() == 40
    refused = await desk.ask(Kind.CLOSE, account="main", symbol="AAPL", percent="100", type="market")
    assert "came from outside this desk" in refused.said
    assert desk.tools.differing == []


async def test_shares_sold_by_hand_leave_no_stop_behind(desk: Mute) -> None:
    await desk.place(stop_loss="96.00")
    await desk.tick(6)
    [stop] = desk.open()
    await desk.mute.inner.cancel("main", stop.broker_id)
    await desk.by_hand("100", Side.SELL)
    await desk.tick(15, 5.0)

    assert desk.held() == 0
    assert desk.open() == []


async def test_what_was_there_before_the_ledger_is_where_it_begins(tmp_path: Path) -> None:
    desk = Mute(tmp_path)
    await desk.start()
    await desk.stop()
    _forget(desk.settings.data_dir)
    begun = Mute(tmp_path)
    begun._mute(object())
    begun.mute.given["KO"] = D(70)
    begun.mute.moves = [CashMove("old", "main", D("9.99"), "Dividend KO of this morning", begun.clock.now())]
    await begun.start()
    begun.mute.moved["main"] = D("5.00")
    begun.mute.moves += [CashMove("new", "main", D("5.00"), "Interest", begun.clock.now())]
    await begun.tick(14, 5.0)
    try:
        assert begun.held("KO") == 70
        assert begun.reader.positions("main")["KO"].ours == 0
        account = begun.reader.account("main")
        assert account is not None
        assert round(account.cash, 2) == D(100_005)  # the dividend was in it, the interest came after
        assert begun.tools.compared
        assert begun.tools.differing == []
    finally:
        await begun.stop()


async def test_a_split_freezes_the_symbol_until_a_person_takes_the_figure(desk: Mute) -> None:
    await desk.place(stop_loss="96.00")
    await desk.tick(6)
    desk.mute.given["AAPL"] = D(900)
    await desk.tick(14, 5.0)
    [differs] = desk.tools.differing
    assert (differs["about"], differs["here"], differs["there"]) == ("AAPL", "100", "1000")
    assert "10-for-1 split" in differs["hint"]
    assert desk.tools.frozen == {"AAPL"}
    denied = await desk.preview()
    assert not denied.details["approved"]

    stale = await desk.ask(
        Kind.ACCEPT, account="main", about="AAPL", here="100", there="900", reason="a split was announced"
    )
    assert stale.state is CommandState.REFUSED
    taken = await desk.ask(
        Kind.ACCEPT, account="main", about="AAPL", here="100", there="1000", reason="a split was announced"
    )
    assert taken.state is CommandState.DONE
    await desk.tick(3)
    assert desk.tools.frozen == frozenset()
    position = desk.reader.positions("main")["AAPL"]
    assert (position.quantity, position.ours) == (1000, 1000)
    assert position.cost < 11
    assert desk.problems() == []


async def test_a_split_that_takes_the_stop_away_sells_nothing(desk: Mute) -> None:
    """Four for one: the broker cancels the stop, the price is a quarter, far below where the stop was."""
    await desk.place(stop_loss="96.00")
    await desk.tick(6)
    [stop] = desk.open()
    await desk.mute.inner.cancel("main", stop.broker_id)
    desk.mute.given["AAPL"] = D(300)
    await desk.tick(20, AAPL="25.00")

    assert desk.held() == 100
    assert desk.tools.frozen == {"AAPL"}
    assert [o.request.purpose for o in desk.all_orders() if o.request.purpose is Purpose.EXIT] == []


async def test_a_dividend_is_booked_as_what_it_is_and_other_money_waits_for_a_person(desk: Mute) -> None:
    desk.mute.moved["main"] = D("12.34")
    desk.mute.moves = [CashMove("t1", "main", D("12.34"), "Dividend KO", desk.clock.now())]
    await desk.tick(14, 5.0)
    assert desk.tools.differing == []
    assert [a.reason for a in desk.reader.adjustments("main")] == ["Dividend KO"]

    desk.mute.moved["main"] += D("500.00")
    await desk.tick(14, 5.0)
    [differs] = desk.tools.differing
    assert (differs["about"], differs["here"], differs["there"]) == ("cash", "100012.34", "100512.34")
    assert not (await desk.preview()).details["approved"]
    await desk.ask(
        Kind.ACCEPT, account="main", about="cash", here="100012.34", there="100512.34", reason="a deposit of mine"
    )
    await desk.tick(3)
    assert (await desk.preview()).details["approved"]


async def test_while_orders_are_not_told_nothing_new_is_bought(desk: Mute) -> None:
    desk.line.deaf = True
    await desk.tick(40)
    assert desk.tools.deaf
    denied = await desk.preview()
    assert not denied.details["approved"]
    assert "broker is not ready" in str(denied.details["verdicts"])

    desk.line.deaf = False
    await desk.tick(40)
    assert (await desk.preview()).details["approved"]


async def test_a_sign_in_that_died_stops_everything_until_all_was_looked_at_again(desk: Mute) -> None:
    await desk.place(stop_loss="96.00")
    await desk.tick(6)
    desk.line.signed_in = False
    await desk.tick(10)
    assert not desk.tools.ready
    status = desk.reader.engine()
    assert status is not None
    assert status.state == "signed out"
    assert any("SIGNED OUT" in said for said in status.details["problems"])
    refused = await desk.ask(Kind.PREVIEW, account="main", symbol="AAPL", side="buy", type="market", quantity="1")
    assert refused.state is CommandState.REFUSED
    killed = await desk.ask(Kind.KILL, level=1, reason="even so")
    assert killed.state is CommandState.DONE

    desk.line.signed_in = True
    await desk.tick(10)
    assert desk.tools.ready
    assert desk.tools.compared
    assert [o.request.purpose for o in desk.open()] == [Purpose.STOP]


async def test_an_engine_starts_signed_out_and_says_so(tmp_path: Path) -> None:
    async with trading(tmp_path):
        pass
    desk = Mute(tmp_path)
    desk.line.signed_in = False
    await desk.start()
    await desk.tick(3)
    try:
        status = desk.reader.engine()
        assert status is not None
        assert status.state == "signed out"
        desk.line.signed_in = True
        await desk.tick(8)
        assert desk.tools.ready
    finally:
        await desk.stop()


def _forget(folder: Path) -> None:
    for left in folder.glob("ledger-*"):
        left.unlink()


class Everything(set[str]):
    """Hides whatever is asked for."""

    def __contains__(self, item: object) -> bool:
        return True


class NewOnes(set[str]):
    """Hides all but the first `keep` orders."""

    def __init__(self, keep: int) -> None:
        super().__init__()
        self._keep, self._first = keep, list[object]()

    def __contains__(self, item: object) -> bool:
        if len(self._first) < self._keep and item not in self._first:
            self._first.append(item)
        return item not in self._first


def test_the_part_that_is_ours_stays_whole_shares_at_a_split() -> None:
    held = Position("main", "AAPL", D(21), D(30), ours=D(7)).adjusted(D(10))

    assert (held.quantity, held.ours) == (31, 10)
    assert Position("main", "AAPL", D(100), D(90), ours=D(100)).adjusted(D(900)).ours == 1000
