"""Stories of the rehearsal desk, each on a virtual clock and judged by the simulator's own book."""

from __future__ import annotations

import asyncio
import functools
import gc
import threading
import types
from collections import deque
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest

import bootstrap
from domain.calendars import NEW_YORK
from domain.commands import CommandState, Kind
from domain.orders import Purpose, Status
from etrade.order_calls import OrderCalls
from etrade.transport import Request
from etrade_client import EtradeReader
from performance_utils import Desk, bridge
from settings import Settings
from simulator.running import running
from tests.etrade_trading import TradingDesk, bare_spans, trading_desk

DONE, REFUSED = CommandState.DONE, CommandState.REFUSED


def new_york(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[TradingDesk]:
    async with trading_desk(tmp_path) as desk:
        yield desk


# From the first order to the last


async def test_an_armed_desk_buys_protects_takes_its_profit_and_ends_flat(desk: TradingDesk) -> None:
    await desk.place(stop_loss="490.00", target="510.00")
    await desk.tick(8)
    [stop] = desk.resting()
    assert (desk.held(), desk.shares()) == (10, {"MSFT": D(10)})
    assert (stop.ticket.price_type, stop.ticket.stop, stop.ticket.term) == ("STOP", D(490), "GOOD_UNTIL_CANCEL")
    assert desk.apart() == []

    await desk.tick(8, MSFT="510.50")

    assert desk.held() == 0
    assert desk.resting() == []
    assert desk.book().cash > 100_100
    assert desk.apart() == []
    assert desk.faults_of_ledger() == []
    assert desk.orders(Purpose.TARGET)[0].status is Status.FILLED
    assert desk.sim.control("counters", "GET")["over_limit"]["orders"] == 0


async def test_a_trailing_stop_rests_there_follows_and_is_never_placed_anew_further_away(desk: TradingDesk) -> None:
    await desk.place(stop_loss="490.00")
    await desk.tick(8)
    await desk.ask_slowly(Kind.PROTECT, account=desk.account, symbol="MSFT", trail="6.00", stop=None)
    await desk.until_true(lambda: _trails(desk))
    [trail] = desk.resting()
    assert (trail.ticket.stop, trail.ticket.term) == (D(6), "GOOD_UNTIL_CANCEL")
    assert desk.apart() == []

    await desk.tick(6, MSFT="512.00")
    await desk.tick(6, MSFT="509.00")
    await desk.ask_slowly(Kind.CLOSE, account=desk.account, symbol="MSFT", quantity="4", type="market")
    await desk.until_true(lambda: desk.held() == 6 and desk.resting())
    await desk.tick(6)
    [stop] = desk.resting()
    assert (stop.ticket.price_type, stop.ticket.stop, stop.remaining) == ("STOP", D(506), 6)
    await desk.tick(4, MSFT="513.00")
    await desk.until_true(lambda: _trails(desk))
    await desk.tick(8, MSFT="506.90")

    assert (desk.held(), desk.resting()) == (0, [])
    assert desk.apart() == []
    assert desk.faults_of_ledger() == []


def _trails(desk: TradingDesk) -> bool:
    return [kept.ticket.price_type for kept in desk.resting()] == ["TRAILING_STOP_CNST"]


async def test_a_desk_starts_disarmed_and_sends_nothing(tmp_path: Path) -> None:
    async with trading_desk(tmp_path, armed=False) as desk:
        await desk.tick(2)
        assert desk.state() == "signed out"
        await desk.sign_in()
        await desk.tick(6)
        assert "pick one on Settings → Trading" in desk.problems()
        await desk.ask(Kind.PICK_ACCOUNT, account=desk.account)
        await desk.tick(6)
        assert desk.state() == "ready"

        denied = await desk.preview()
        wrong = await desk.ask_slowly(Kind.ARM, account=desk.account, phrase="TRADE 0017")

        assert "not armed" in str(denied.details["verdicts"])
        assert wrong.state is REFUSED
        assert "Not set on purpose: max_notional, max_daily_loss_pct, max_orders_per_day" in wrong.said
        assert desk.book().orders == []


async def test_fills_that_come_in_parts_are_counted_once_and_protected_as_they_come(desk: TradingDesk) -> None:
    desk.sim.control("rules", volume_cap=0.05)
    desk.trades = 60  # three shares of it are ours
    await desk.place(stop_loss="490.00")
    await desk.tick(2)
    assert 0 < desk.held() < 10
    assert sum(kept.ticket.quantity for kept in desk.resting() if kept.ticket.price_type == "STOP") == desk.held()

    await desk.tick(12)

    assert desk.held() == 10
    assert sum(kept.remaining for kept in desk.resting()) == 10
    assert desk.apart() == []


# The sign-in dies


async def test_at_midnight_the_sign_in_dies_and_the_stop_stays(tmp_path: Path) -> None:
    async with trading_desk(tmp_path, begins=new_york("2026-11-19T15:30")) as desk:
        await desk.place(stop_loss="490.00", target="510.00")
        await desk.tick(6)
        await desk.until("2026-11-19T23:59:50")
        assert desk.state() == "ready"
        await desk.tick(12)

        assert desk.state() == "signed out"
        assert "SIGNED OUT: nothing can be sent" in desk.problems()
        assert "Sign in to E*TRADE: Settings → E*TRADE" in desk.problems()
        refused = await desk.preview()
        assert refused.state is REFUSED
        await desk.until("2026-11-20T09:00")
        assert [kept.ticket.stop for kept in desk.resting()] == [D(490)]
        [stop] = desk.open()
        await desk.sign_in()
        await desk.tick(6)
        assert desk.state() == "ready"
        assert [order.id for order in desk.open()] == [stop.id]
        await desk.until("2026-11-20T09:31")
        await desk.tick(8, MSFT="511.00")
        assert (desk.held(), desk.apart()) == (0, [])


async def test_a_stop_that_filled_while_signed_out_is_heard_at_the_next_sign_in(tmp_path: Path) -> None:
    async with trading_desk(tmp_path, begins=new_york("2026-11-19T15:30")) as desk:
        await desk.place(stop_loss="490.00", target="510.00")
        await desk.tick(6)
        await desk.until("2026-11-20T09:31", step_s=3600, MSFT="480.00")
        await desk.tick(3)
        assert desk.shares() == {}
        assert desk.held() == 10
        await desk.sign_in()
        await desk.tick(6)

        assert desk.state() == "ready"
        assert desk.held() == 0
        assert desk.orders(Purpose.STOP)[0].average_price == D("479.99")  # the bid at the open
        assert desk.apart() == []
        assert desk.open() == []


# The calendar


@pytest.mark.parametrize(
    ("friday", "sunday", "monday", "hours"),
    [("2026-10-30", "2026-11-01", "2026-11-02", 25), ("2027-03-12", "2027-03-14", "2027-03-15", 23)],
)
async def test_a_weekend_on_which_the_clocks_change(
    tmp_path: Path, friday: str, sunday: str, monday: str, hours: int
) -> None:
    async with trading_desk(tmp_path, begins=new_york(f"{friday}T15:00")) as desk:
        await desk.place(stop_loss="490.00", target="510.00")
        await desk.tick(6)
        await desk.until(f"{sunday}T00:05", step_s=7200)
        assert desk.state() == "signed out"
        await desk.sign_in()
        await desk.tick(6)
        assert desk.details()["etrade"]["seconds_left"] > (hours - 0.2) * 3600
        closed = await desk.preview("KO")
        assert "The market is closed" in str(closed.details["verdicts"])
        await desk.until(f"{sunday}T23:59:55", step_s=7200)
        assert desk.state() == "ready"
        await desk.tick(10)
        assert desk.state() == "signed out"

        await desk.until(f"{monday}T09:29", step_s=3600)
        await desk.sign_in()
        await desk.tick(5)
        early = await desk.preview("KO")
        await desk.until(f"{monday}T09:30:05")
        in_time = await desk.preview("KO")

        assert not early.details["approved"]
        assert in_time.details["approved"], in_time.said
        assert [kept.ticket.stop for kept in desk.resting()] == [D(490)]
        assert desk.apart() == []


async def test_a_half_day_ends_at_one(tmp_path: Path) -> None:
    async with trading_desk(tmp_path, begins=new_york("2026-11-27T12:40")) as desk:
        await desk.place(stop_loss="490.00")
        await desk.place("KO", type="limit", limit="59.00", stop_loss="57.00")
        await desk.until("2026-11-27T12:59:50")
        assert len(desk.resting()) == 2
        await desk.until("2026-11-27T13:01")
        await desk.tick(8)

        late = await desk.preview("NVDA")
        await desk.ask(Kind.CLOSE, account=desk.account, symbol="MSFT", percent="100", type="market")

        assert desk.orders(Purpose.ENTRY, "KO")[0].status is Status.EXPIRED
        assert "The market is after hours" in str(late.details["verdicts"])
        assert [kept.ticket.symbol for kept in desk.resting()] == ["MSFT"]
        assert "Mon 30 Nov 09:30 New York" in desk.details()["flatten_estimate"]
        assert desk.apart() == []


async def test_an_hour_of_maintenance_changes_nothing(desk: TradingDesk) -> None:
    await desk.place(stop_loss="490.00")
    await desk.tick(6)
    desk.sim.fault("maintenance")
    await desk.tick(10, seconds=60.0)
    refused = await desk.ask(Kind.PREVIEW, account=desk.account, symbol="KO", side="buy", type="market", quantity="1")
    assert refused.state is REFUSED or not refused.details["approved"]
    assert "maintenance" in desk.problems()

    await desk.stop()
    await desk.start()
    assert desk.state() == "recovering"
    await desk.tick(8, seconds=60.0)
    assert desk.state() == "recovering"
    assert "Not ready, nothing is sent" in desk.problems()
    desk.market_moves()
    desk.sim.control("faults", "DELETE")
    await desk.tick(8)

    assert desk.state() == "ready"
    assert desk.problems() == ""
    assert [kept.ticket.stop for kept in desk.resting()] == [D(490)]
    assert desk.apart() == []


# Orders nobody knows about


async def test_an_order_whose_answer_is_lost_is_found_within_seconds(desk: TradingDesk) -> None:
    desk.sim.fault("drop_after", where="orders/place")
    await desk.place(type="limit", limit="495.00", stop_loss="490.00")
    assert len(desk.book().orders) == 1
    took = await desk.until_true(lambda: desk.orders(Purpose.ENTRY)[0].status is Status.WORKING)

    assert took <= 5
    [order] = desk.open()
    assert order.broker_id == str(desk.book().orders[0].order_id)
    assert desk.details()["uncertain"] == []
    assert desk.apart() == []


async def test_an_order_lost_on_the_way_is_proved_absent_behind_the_fence(desk: TradingDesk) -> None:
    desk.sim.fault("drop_before", where="orders/place")
    await desk.place(stop_loss="490.00")
    [lost] = desk.orders(Purpose.ENTRY)
    assert lost.status is Status.AMBIGUOUS
    await desk.tick(4)
    [told] = desk.details()["uncertain"]
    blocked, other = await desk.preview(), await desk.preview("KO")
    assert (told["order"], told["symbol"], told["frozen"]) == (lost.id, "MSFT", False)
    assert "is not yet known" in str(blocked.details["verdicts"])
    assert other.details["approved"]

    took = await desk.until_true(lambda: desk.orders(Purpose.ENTRY)[0].status is Status.NOT_PLACED, 100, 5.0)

    assert 300 < took < 400
    assert desk.book().orders == []
    assert (await desk.preview()).details["approved"]
    assert desk.heard("Not yet known what became of an order in MSFT")


# Prices that cannot be trusted


async def test_nothing_is_sent_on_delayed_quotes(desk: TradingDesk) -> None:
    desk.sim.control("rules", quote_status="DELAYED")
    await desk.tick(2)
    preview = await desk.preview(stop_loss="490.00", key="preview-late")
    token, request = preview.details["token"], preview.details["request"]
    placed = await desk.ask(Kind.PLACE, key=token, preview="preview-late", request=request)
    await desk.tick(5)

    assert "900 s delayed" in str(preview.details["verdicts"])
    assert placed.state is REFUSED
    assert desk.calls("orders/place") == 0
    assert desk.book().orders == []


async def test_nothing_is_sent_on_stale_quotes_neither_an_exit(desk: TradingDesk) -> None:
    await desk.place()
    await desk.tick(6)
    sent = desk.calls("orders/place")
    desk.sim.fault("stale_quotes", seconds=120, times=None)
    await desk.tick(20)
    bought = await desk.preview("KO")
    close = await desk.ask(Kind.CLOSE, account=desk.account, symbol="MSFT", percent="100", type="market")
    await desk.tick(5)

    assert not bought.details["approved"]
    assert close.state is REFUSED
    assert "wait for a fresh one" in close.said
    assert desk.calls("orders/place") == sent
    assert desk.shares() == {"MSFT": D(10)}


# Protection


async def test_a_bought_share_stands_under_its_stop_within_seconds(desk: TradingDesk) -> None:
    await desk.place(stop_loss="490.00")
    await desk.tick(6)

    [(symbol, why, (bought, rests))] = bare_spans(desk.book(), ["MSFT"], desk.clock.now())
    assert (symbol, why) == ("MSFT", "fill")
    assert (rests - bought).total_seconds() < 3
    assert desk.details()["longest_unprotected_s"] < 3


async def test_a_stop_the_price_is_beyond_becomes_a_sale_at_market(desk: TradingDesk) -> None:
    await desk.place(stop_loss="499.00")

    def falls(request: Request) -> None:
        """The price falls while the stop is on its way."""
        if request.url.endswith("/orders/preview.json") and b"STOP" in (request.body or b""):
            desk.sim.price("MSFT", "498.00", bid="497.99", ask="498.01")

    desk.session.line.meanwhile = falls
    await desk.tick()
    [refused] = desk.orders(Purpose.STOP)
    assert refused.status is Status.DENIED
    assert "must be below the current market price" in str(refused.reasons)
    await desk.tick(10, MSFT="498.00")

    assert desk.shares() == {}
    [exit_] = desk.orders(Purpose.EXIT)
    assert "beyond the stop 499" in exit_.request.reason
    [(_, _, (since, until))] = bare_spans(desk.book(), ["MSFT"], desk.clock.now())
    assert (until - since).total_seconds() < 15
    assert desk.apart() == []


async def test_a_position_without_its_stop_for_fifteen_seconds_is_an_alarm(desk: TradingDesk) -> None:
    await desk.place(stop_loss="490.00")
    desk.sim.fault("error_before", where="orders/preview", status=503, times=None)
    await desk.until_true(lambda: desk.heard("UNPROTECTED"))
    [(_, _, (bought, _))] = bare_spans(desk.book(), ["MSFT"], desk.clock.now())
    assert 15 < (desk.clock.now() - bought).total_seconds() < 25
    assert "UNPROTECTED: 10 MSFT have been without their stop since" in desk.problems()
    [bare] = desk.details()["unprotected"]
    assert (bare["symbol"], bare["quantity"]) == ("MSFT", "10")

    desk.sim.control("faults", "DELETE")
    await desk.tick(10)

    assert [kept.ticket.stop for kept in desk.resting()] == [D(490)]
    assert desk.details()["unprotected"] == []
    assert "UNPROTECTED" not in desk.problems()


async def test_the_time_without_a_stop_counts_from_the_fill(tmp_path: Path) -> None:
    async with trading_desk(tmp_path, begins=new_york("2026-11-19T15:50")) as desk:
        gtc = {"type": "limit", "limit": "495.00", "time_in_force": "good till cancelled"}
        await desk.place(**gtc, stop_loss="490.00")
        await desk.tick(3)
        await desk.until("2026-11-20T09:31", step_s=10_000, MSFT="494.00")
        assert desk.shares() == {"MSFT": D(10)}
        await desk.until("2026-11-20T09:36")
        await desk.sign_in()
        await desk.tick(6)
        assert [kept.ticket.stop for kept in desk.resting()] == [D(490)]

        assert desk.details()["longest_unprotected_s"] > 240


async def test_a_split_sells_nothing_before_a_person_has_looked(desk: TradingDesk) -> None:
    await desk.place("NVDA", quantity="30", stop_loss="180.00", target="230.00")
    await desk.tick(6)
    before = desk.calls("accounts/portfolio")
    await desk.until_true(lambda: desk.calls("accounts/portfolio") > before, 20, 5.0)  # the next comparison is far off
    desk.sim.control("split", symbol="NVDA", ratio="10:1")  # its open orders are cancelled there
    desk.last["NVDA"] = D("20.00")
    await desk.tick(30, seconds=5.0)

    assert desk.shares() == {"NVDA": D(300)}
    assert [(one["about"], one["here"], one["there"]) for one in desk.differences()] == [("NVDA", "30", "300")]


async def test_after_a_split_the_old_stop_is_not_taken_for_one_the_price_is_beyond(desk: TradingDesk) -> None:
    await desk.place("NVDA", quantity="30", stop_loss="180.00", target="230.00")
    await desk.tick(6)
    desk.sim.control("split", symbol="NVDA", ratio="10:1")
    desk.last["NVDA"] = D("20.00")
    await desk.ask_slowly(Kind.KILL, level=4, reason="so that nothing is sent until it was compared")
    await desk.tick(15, seconds=10.0)
    await desk.accept("NVDA")
    await desk.ask(Kind.RE_ARM, reason="accepted")
    await desk.tick(10)

    assert desk.shares() == {"NVDA": D(300)}


# Disarmed


async def test_disarmed_in_the_middle_what_rests_is_minded_and_nothing_is_begun(desk: TradingDesk) -> None:
    await desk.place(type="limit", limit="495.00", stop_loss="490.00")
    await desk.tick(3)
    await desk.ask(Kind.DISARM, reason="lunch")
    denied = await desk.preview("KO")
    assert "not armed" in str(denied.details["verdicts"])
    await desk.tick(8, MSFT="494.50")
    assert desk.held() == 10
    assert [kept.ticket.price_type for kept in desk.resting()] == ["STOP"]
    await desk.ask(Kind.PROTECT, account=desk.account, symbol="MSFT", stop="492.00")
    await desk.tick(8)
    assert [kept.ticket.stop for kept in desk.resting()] == [D(492)]

    await desk.ask(Kind.CLOSE, account=desk.account, symbol="MSFT", percent="100", type="market")
    await desk.tick(5)

    assert desk.shares() == {}
    assert desk.apart() == []


async def test_paper_holds_no_object_that_could_order_at_etrade(tmp_path: Path) -> None:
    with running() as sim:
        there = {"etrade_environment": "simulator", "etrade_simulator_url": sim.url, "data_source": "etrade"}
        found = {}
        for trading in ("paper", "etrade"):
            settings = Settings(data_dir=tmp_path / trading, trading=trading, **there)  # type: ignore[arg-type]
            here = Desk(settings)
            try:
                bridge().run(here.market.feed.session.keep_alive())  # type: ignore[union-attr]
                parts = bootstrap.engine_parts(here, "process")
                found[trading] = list(reachable(parts))
            finally:
                here.close()

    assert any(isinstance(one, EtradeReader) for one in found["paper"])
    assert not any(isinstance(one, OrderCalls) for one in found["paper"])
    assert any(isinstance(one, OrderCalls) for one in found["etrade"])


SKIPPED = (types.ModuleType, type, asyncio.AbstractEventLoop, threading.Thread, types.FrameType)


def reachable(root: object) -> Iterator[object]:
    """Everything that can be got at from `root` by attributes, items and closures, but for modules and loops."""
    seen, waiting = set[int](), deque([root])
    globals_ = {id(vars(module)) for module in list(__import__("sys").modules.values()) if module is not None}
    while waiting:
        one = waiting.popleft()
        if id(one) in seen or id(one) in globals_ or isinstance(one, SKIPPED):
            continue
        seen.add(id(one))
        yield one
        waiting.extend(_inside(one))


def _inside(one: object) -> list[Any]:
    if isinstance(one, types.FunctionType):
        return [*(one.__closure__ or ()), *(one.__defaults__ or ())]
    if isinstance(one, functools.partial):
        return [one.func, *one.args, *one.keywords.values()]
    return gc.get_referents(one)


# A week


async def test_a_week_with_all_that_happens_in_one(tmp_path: Path) -> None:
    async with trading_desk(tmp_path, begins=new_york("2026-11-23T10:00")) as desk:
        desk.sim.control("rules", volume_cap=0.05)
        await _monday(desk)
        await _evening(desk, "2026-11-23")
        await _tuesday(desk)
        await _evening(desk, "2026-11-24")
        await _wednesday(desk)
        await _evening(desk, "2026-11-25")
        await desk.until("2026-11-26T12:00", step_s=14_400)  # Thanksgiving; nobody signs in
        assert desk.state() == "signed out"
        await desk.until("2026-11-27T09:00", step_s=14_400)
        await _friday(desk)


async def _monday(desk: TradingDesk) -> None:
    """Three purchases, one of them in parts."""
    await desk.place("MSFT", quantity="20", stop_loss="480.00", target="530.00")
    await desk.place("NVDA", quantity="30")
    await desk.tick(4)
    desk.trades = 400
    await desk.place("KO", quantity="100", type="limit", limit="60.20", stop_loss="57.00", target="65.00")
    await desk.until_true(lambda: desk.held("KO"))
    assert desk.held("KO") < 100
    await desk.until_true(lambda: desk.held("KO") == 100)
    await desk.tick(3)
    desk.trades = 100_000
    assert desk.shares() == {"MSFT": D(20), "NVDA": D(30), "KO": D(100)}


async def _tuesday(desk: TradingDesk) -> None:
    """A dividend, and the owner buys by himself."""
    desk.sim.control("cash", account=desk.book().key, amount="51.00", type="Dividend", symbol="KO")
    desk.by_hand("MSFT", "BUY", "5")
    await desk.tick(5, seconds=30.0)
    assert [a.reason for a in desk.reader.adjustments(desk.account) if a.cash == 51] == ["Dividend: KO COCA-COLA COM"]
    assert desk.details()["outside"] == [{"account": desk.account, "symbol": "MSFT", "quantity": "5"}]
    assert sum(kept.remaining for kept in desk.resting("MSFT")) == 20


async def _wednesday(desk: TradingDesk) -> None:
    """Nvidia is split ten for one: frozen until a person takes the figure over and says where the stop is now."""
    desk.sim.control("split", symbol="NVDA", ratio="10:1")
    desk.last["NVDA"] = D("20.00")
    await desk.tick(8, seconds=20.0)
    [differs] = desk.differences()
    assert (differs["about"], differs["here"], differs["there"]) == ("NVDA", "30", "300")
    assert "10-for-1 split" in differs["hint"]
    assert desk.state() == "frozen"
    assert "NVDA is frozen" in str((await desk.preview("NVDA")).details["verdicts"])
    assert (await desk.accept("NVDA")).state is DONE


async def _friday(desk: TradingDesk) -> None:
    """Coca-Cola is called otherwise; then everything of ours is sold, and the owner's five shares are not."""
    desk.sim.control("symbol", **{"from": "KO", "to": "COKE"})
    desk.last["COKE"] = desk.last.pop("KO")
    await desk.sign_in()
    await desk.tick(8, seconds=20.0)
    hints = {one["about"]: one["hint"] for one in desk.differences()}
    assert hints == {"COKE": "looks like it was called KO before", "KO": "looks like KO is called COKE now"}
    assert desk.state() == "frozen"
    await desk.accept("KO")
    await desk.accept("COKE")
    await desk.until("2026-11-27T09:31")
    assert desk.state() == "ready"
    assert desk.apart() == []

    await desk.ask(Kind.KILL, level=3, typed="FLATTEN", reason="the week is over")
    await desk.tick(15)
    assert desk.shares() == {"MSFT": D(5), "COKE": D(100)}
    assert desk.apart() == []
    assert desk.faults_of_ledger() == []


async def _evening(desk: TradingDesk, day: str) -> None:
    """The close, what the day has brought compared, midnight, and a sign-in in the morning."""
    await desk.until(f"{day}T16:30", step_s=3600)
    await desk.tick(3)
    assert desk.apart() == []
    assert desk.faults_of_ledger() == []
    await desk.until(f"{day}T23:50", step_s=7200)
    await desk.tick(3, seconds=400.0)
    assert desk.state() == "signed out"
    if day == "2026-11-25":
        return
    await desk.tick(1, seconds=9 * 3600.0)
    await desk.sign_in()
    await desk.tick(6)
    assert desk.state() == "ready"
    await desk.tick(1, seconds=3600.0)
