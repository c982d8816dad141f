"""The engine over the real ledger and paper broker, on a virtual clock: a wish becomes a position, once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from pathlib import Path

import pytest

from desk import crash
from desk.live_book import LiveBook
from desk.switches import stop_trading
from domain.commands import CommandState, Kind
from domain.errors import LeaseHeld
from domain.orders import Order, OrderType, Purpose, Side, Status
from domain.trading_state import KillLevel, TradingState
from tests.trading import PaperDesk, trading

DONE, REFUSED = CommandState.DONE, CommandState.REFUSED


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[PaperDesk]:
    async with trading(tmp_path) as desk:
        yield desk
        assert desk.problems() == []


async def bought(desk: PaperDesk, **ticket: str) -> None:
    """A hundred Apple with a stop at 97 and a target at 106, filled and protected."""
    answer = await desk.place(**{"stop_loss": "97.00", "target": "106.00", **ticket})
    assert answer.state is DONE, answer.said
    await desk.tick(4)
    assert desk.held() == D(ticket.get("quantity", "100"))


def resting(desk: PaperDesk, purpose: Purpose) -> list[tuple[D, D | None]]:
    found = [o for o in desk.open() if o.request.purpose is purpose]
    return [(o.remaining, o.request.stop or o.request.limit) for o in found]


def of_today(desk: PaperDesk) -> list[Order]:
    now = desk.clock.now()
    return desk.reader.orders_between(now - timedelta(hours=1), now + timedelta(seconds=1))


# A ticket


async def test_a_preview_answers_with_every_gate_and_sends_nothing(desk: PaperDesk) -> None:
    answer = await desk.preview(quantity="100", stop_loss="97.00", target="106.00")

    told = answer.details
    assert told["approved"] is True
    assert len(told["verdicts"]) == 16
    assert told["request"]["quantity"] == "100"
    assert told["estimate"]["price"] == "100.0300"  # the ask, and the slippage that a fill would pay
    assert told["loss_at_stop"] == "303.00"
    assert told["gain_at_target"] == "597.00"
    assert desk.open() == []


async def test_the_size_by_risk_loses_that_much_at_the_stop(desk: PaperDesk) -> None:
    answer = await desk.preview(risk_pct="0.5", stop_atr="1.5", target_atr="3")

    # Half a per cent of 100,000 is 500; the stop is 1.5 ATR of 2 dollars away, so 166 shares, capped by 20 % of equity.
    assert answer.details["atr"] == "2.00"
    assert answer.details["request"]["stop_loss"] == "97.01"
    assert answer.details["request"]["target"] == "106.01"
    assert answer.details["request"]["quantity"] == "166"


async def test_the_size_by_dollars_is_rounded_down_to_whole_shares(desk: PaperDesk) -> None:
    answer = await desk.preview(dollars="5000")

    assert answer.details["request"]["quantity"] == "49"


@pytest.mark.parametrize(
    ("ticket", "said"),
    [
        ({"quantity": "0"}, "quantity must be above zero"),
        ({"quantity": "1e3"}, "quantity must be a plain number"),
        ({"quantity": "NaN"}, "quantity must be a plain number"),
        ({"quantity": "١٠٠"}, "quantity must be a plain number"),
        ({"quantity": "10", "dollars": "5"}, "give the size once"),
        ({"risk_pct": "1"}, "a size by risk needs a stop"),
        ({"type": "limit"}, "a limit order needs a limit"),
        ({"type": "magic"}, "type must be one of"),
        ({"side": "hold"}, "side must be one of"),
        ({"symbol": "../x"}, "a symbol is up to 15"),
        ({"symbol": "ZZZZ"}, "ZZZZ has no price yet"),
        ({"account": ""}, "account must be given"),
        ({"colour": "red"}, "a ticket has no field 'colour'"),
        ({"stop_loss": "97", "stop_atr": "1"}, "two ways to say one thing"),
        ({"stop_loss": "106", "target": "97"}, "the stop must lie below the target"),
    ],
)
async def test_a_ticket_that_cannot_be_understood_is_refused_in_words(
    desk: PaperDesk, ticket: dict[str, str], said: str
) -> None:
    answer = await desk.preview(**ticket)  # type: ignore[arg-type]

    assert answer.state is REFUSED
    assert said in answer.said


async def test_an_account_nobody_has_is_refused(desk: PaperDesk) -> None:
    answer = await desk.preview(account="other")

    assert (answer.state, "no account is called 'other'" in answer.said) == (REFUSED, True)


# Placing


async def test_a_placed_order_fills_and_stands_under_its_stop_and_target(desk: PaperDesk) -> None:
    await bought(desk)

    assert resting(desk, Purpose.STOP) == [(D(100), D("97.00"))]
    assert resting(desk, Purpose.TARGET) == [(D(100), D("106.00"))]
    assert desk.engine is not None
    assert desk.engine.supervisor.naked == {}
    assert desk.engine.supervisor.longest_naked <= timedelta(seconds=1)


async def test_the_same_token_places_one_order_however_often_it_is_pressed(desk: PaperDesk) -> None:
    key = "preview-once"
    previewed = await desk.preview(key=key)
    payload = {"preview": key, "request": previewed.details["request"]}

    for _ in range(5):
        desk.append(Kind.PLACE, payload, key=previewed.details["token"])
        await desk.tick()
    await desk.tick(5)

    assert len(of_today(desk)) == 1
    assert desk.held() == 100


async def test_another_order_under_the_token_of_a_preview_is_refused(desk: PaperDesk) -> None:
    previewed = await desk.preview(key="preview-swap")
    request = {**previewed.details["request"], "quantity": "101"}

    answer = await desk.ask(Kind.PLACE, key=previewed.details["token"], preview="preview-swap", request=request)

    assert "not the order that was previewed" in answer.said
    assert desk.open() == []


async def test_an_expired_preview_places_nothing(desk: PaperDesk) -> None:
    previewed = await desk.preview(key="preview-late")
    desk.clock.advance(minutes=5)

    answer = await desk.ask(
        Kind.PLACE, key=previewed.details["token"], preview="preview-late", request=previewed.details["request"]
    )

    assert (answer.state, "has expired" in answer.said) == (REFUSED, True)


async def test_an_order_without_a_preview_of_that_name_is_refused(desk: PaperDesk) -> None:
    previewed = await desk.preview(key="preview-mine")

    answer = await desk.ask(Kind.PLACE, key="place-of-nobody", preview="no-such", request=previewed.details["request"])

    assert "was not previewed" in answer.said


async def test_a_gate_that_refuses_leaves_an_order_denied_with_every_reason(desk: PaperDesk) -> None:
    answer = await desk.place(quantity="900")

    assert answer.state is REFUSED
    [order] = of_today(desk)
    assert order.status is Status.DENIED
    assert any("max_position_pct" in reason for reason in order.reasons)
    assert desk.reader.decisions(order_id=order.id)[0].approved is False


async def test_a_stranger_may_ask_for_nothing(desk: PaperDesk) -> None:
    for kind in Kind:
        answer = await desk.ask(kind, actor="somebody", level=1, reason="x", symbol="AAPL", account="main")

        assert (answer.state, "somebody may not" in answer.said) == (REFUSED, True)
    assert desk.reader.trading_state().state is TradingState.ENABLED


async def test_what_was_asked_long_ago_is_not_done_any_more(desk: PaperDesk) -> None:
    previewed = await desk.preview(key="preview-old")
    await desk.stop()
    desk.append(
        Kind.PLACE,
        {"preview": "preview-old", "request": previewed.details["request"]},
        key=previewed.details["token"],
    )
    desk.clock.advance(minutes=30)
    await desk.start()
    await desk.tick(3)

    answer = desk.inbox.answer(previewed.details["token"])

    assert answer is not None
    assert "It was asked 30 min ago" in answer.said
    assert desk.held() == 0


# What rests


async def test_a_resting_limit_is_cancelled(desk: PaperDesk) -> None:
    placed = await desk.place(type="limit", limit="98.00")

    answer = await desk.ask(Kind.CANCEL, order=placed.details["order"])

    assert answer.said == "Buy 100 AAPL: cancelled."
    assert desk.open() == []


async def test_a_change_is_a_cancel_and_a_new_order(desk: PaperDesk) -> None:
    placed = await desk.place(type="limit", limit="98.00")

    answer = await desk.ask(Kind.CHANGE, order=placed.details["order"], limit="98.50", quantity="60")

    [order] = desk.open()
    assert order.id == answer.details["order"] != placed.details["order"]
    assert (order.request.quantity, order.request.limit, order.status) == (D(60), D("98.50"), Status.WORKING)
    old = desk.reader.order(placed.details["order"])
    assert old is not None
    assert old.status is Status.CANCELLED


async def test_a_change_to_what_the_gates_refuse_leaves_the_old_order(desk: PaperDesk) -> None:
    placed = await desk.place(type="limit", limit="98.00")

    answer = await desk.ask(Kind.CHANGE, order=placed.details["order"], quantity="2000")

    assert answer.state is REFUSED
    assert [o.id for o in desk.open()] == [placed.details["order"]]


async def test_cancel_all_leaves_protection_standing(desk: PaperDesk) -> None:
    await bought(desk)
    desk.clock.advance(minutes=1)
    await desk.place("KO", type="limit", limit="59.00")

    answer = await desk.ask(Kind.CANCEL_ALL, account="main", symbol="")

    assert len(answer.details["orders"]) == 1
    assert desk.open("KO") == []
    assert resting(desk, Purpose.STOP) == [(D(100), D("97.00"))]


# Positions


@pytest.mark.parametrize(("percent", "left"), [("25", 75), ("50", 50), ("75", 25), ("100", 0)])
async def test_a_part_of_a_position_is_closed_and_the_rest_stays_protected(
    desk: PaperDesk, percent: str, left: int
) -> None:
    await bought(desk)

    answer = await desk.ask(Kind.CLOSE, account="main", symbol="AAPL", percent=percent, type="market")
    await desk.tick(5)

    assert answer.state is DONE, answer.said
    assert desk.held() == left
    assert sum(q for q, _ in resting(desk, Purpose.STOP)) == left
    assert sum(q for q, _ in resting(desk, Purpose.TARGET)) == left


async def test_two_closes_at_once_never_sell_more_than_is_held(desk: PaperDesk) -> None:
    await bought(desk)
    close = {"account": "main", "symbol": "AAPL", "percent": "100", "type": "market"}

    desk.append(Kind.CLOSE, close, key="close-one")
    desk.append(Kind.CLOSE, close, key="close-two")
    await desk.tick(40)

    assert desk.held() == 0
    assert desk.inbox.pending() == []


async def test_a_stop_that_is_hit_sells_and_takes_the_target_along(desk: PaperDesk) -> None:
    await bought(desk)

    await desk.tick(5, AAPL="96.50")

    assert desk.held() == 0
    assert desk.open() == []


async def test_a_target_that_is_reached_sells_and_takes_the_stop_along(desk: PaperDesk) -> None:
    await bought(desk)

    await desk.tick(5, AAPL="107.00")

    assert desk.held() == 0
    assert desk.open() == []


async def test_a_moved_stop_replaces_the_old_one(desk: PaperDesk) -> None:
    await bought(desk)

    answer = await desk.ask(Kind.PROTECT, account="main", symbol="AAPL", stop="98.50")
    await desk.tick(3)

    assert answer.said == "AAPL: stop 98.50, target 106.00."
    assert resting(desk, Purpose.STOP) == [(D(100), D("98.50"))]
    assert resting(desk, Purpose.TARGET) == [(D(100), D("106.00"))]


async def test_a_position_without_a_stop_gets_one_when_asked(desk: PaperDesk) -> None:
    await desk.place()
    await desk.tick(4)
    assert resting(desk, Purpose.STOP) == []

    await desk.ask(Kind.PROTECT, account="main", symbol="AAPL", stop="95.00")
    await desk.tick(2)

    assert resting(desk, Purpose.STOP) == [(D(100), D("95.00"))]


@pytest.mark.parametrize(
    ("exits", "said"),
    [
        ({"stop": "101.00"}, "beyond the price"),
        ({"target": "99.00"}, "behind the price"),
        ({"stop": "95.001"}, "multiple of 0.01"),
        ({"stop": "-5"}, "must be a plain number"),
    ],
)
async def test_a_stop_on_the_wrong_side_is_refused(desk: PaperDesk, exits: dict[str, str], said: str) -> None:
    await bought(desk)

    answer = await desk.ask(Kind.PROTECT, account="main", symbol="AAPL", **exits)

    assert (answer.state, said in answer.said) == (REFUSED, True)
    assert resting(desk, Purpose.STOP) == [(D(100), D("97.00"))]


async def test_a_gap_through_the_stop_before_it_rests_sells_at_market(desk: PaperDesk) -> None:
    await desk.place(stop_loss="97.00")
    desk.prices.step = 0.0
    await desk.tick()
    desk.prices.step = 100_000.0

    await desk.tick(6, AAPL="96.00")

    assert desk.held() == 0


async def test_a_second_entry_grows_the_protection(desk: PaperDesk) -> None:
    await bought(desk)
    desk.clock.advance(minutes=1)

    await desk.place(quantity="50")
    await desk.tick(4)

    assert desk.held() == 150
    assert sum(q for q, _ in resting(desk, Purpose.STOP)) == 150


async def test_a_sale_of_what_is_held_is_an_exit_and_keeps_the_rest_protected(desk: PaperDesk) -> None:
    await bought(desk)

    answer = await desk.place(side="sell", quantity="40")
    await desk.tick(5)

    assert answer.state is DONE, answer.said
    assert desk.held() == 60
    assert resting(desk, Purpose.STOP) == [(D(60), D("97.00"))]


async def test_shares_under_a_stop_cannot_rest_in_a_limit_as_well(desk: PaperDesk) -> None:
    await bought(desk)

    answer = await desk.preview(side="sell", quantity="40", type="limit", limit="104.00")

    assert (answer.state, "set a target" in answer.said) == (REFUSED, True)


async def test_more_than_is_held_is_not_sold_short_unless_allowed(desk: PaperDesk) -> None:
    await bought(desk)
    desk.clock.advance(minutes=1)

    answer = await desk.place(side="sell", quantity="140")

    assert (answer.state, desk.held()) == (REFUSED, D(100))


async def test_a_short_position_is_protected_from_above(desk: PaperDesk) -> None:
    await desk.ask(Kind.SET_LIMIT, name="shorting", value=True)

    answer = await desk.place(side="sell", quantity="50", stop_loss="103.00", target="94.00")
    await desk.tick(4)

    assert answer.state is DONE, answer.said
    assert desk.held() == -50
    assert resting(desk, Purpose.STOP) == [(D(50), D("103.00"))]
    await desk.tick(5, AAPL="103.50")
    assert desk.held() == 0


# Stopping


async def test_pause_refuses_entries_and_lets_positions_be_closed(desk: PaperDesk) -> None:
    await bought(desk)
    await desk.ask(Kind.KILL, level=1, reason="test")
    desk.clock.advance(minutes=1)

    entry = await desk.place("KO")
    close = await desk.ask(Kind.CLOSE, account="main", symbol="AAPL", percent="50", type="market")

    assert (entry.state, close.state) == (REFUSED, DONE)


async def test_cancel_takes_resting_entries_away_and_keeps_stops(desk: PaperDesk) -> None:
    await bought(desk)
    desk.clock.advance(minutes=1)
    await desk.place("KO", type="limit", limit="59.00")

    await desk.ask(Kind.KILL, level=2, reason="test")
    await desk.tick(2)

    assert desk.open("KO") == []
    assert len(resting(desk, Purpose.STOP)) == 1


async def test_flatten_needs_the_word_and_sells_everything(desk: PaperDesk) -> None:
    await bought(desk)
    refused = await desk.ask(Kind.KILL, level=3, reason="test")
    assert refused.state is REFUSED

    await desk.ask(Kind.KILL, level=3, reason="test", typed="FLATTEN")
    await desk.tick(6)

    assert desk.held() == 0
    assert desk.open() == []


async def test_flatten_at_night_keeps_the_stop_and_sells_at_the_open(desk: PaperDesk) -> None:
    await bought(desk)
    desk.clock.time = datetime(2026, 11, 21, 2, 0, tzinfo=UTC)
    await desk.tick(2)

    await desk.ask(Kind.KILL, level=3, reason="test", typed="FLATTEN")
    await desk.tick(3)
    at_night = (desk.held(), len(resting(desk, Purpose.STOP)))
    desk.clock.time = datetime(2026, 11, 23, 14, 30, 5, tzinfo=UTC)
    await desk.tick(8)

    assert at_night == (D(100), 1)
    assert desk.held() == 0


async def test_halt_sends_nothing_not_even_exits(desk: PaperDesk) -> None:
    await bought(desk)
    await desk.ask(Kind.KILL, level=4, reason="test")
    before = await desk.broker.orders(desk.clock.now())

    close = await desk.ask(Kind.CLOSE, account="main", symbol="AAPL", percent="100", type="market")
    cancel = await desk.ask(Kind.CANCEL_ALL, account="", symbol="")
    await desk.tick(5)

    assert (close.state, cancel.state) == (REFUSED, REFUSED)
    assert {o.broker_id for o in await desk.broker.orders(desk.clock.now())} == {o.broker_id for o in before}


async def test_the_kill_switch_survives_a_restart_until_a_person_re_arms(desk: PaperDesk) -> None:
    await desk.ask(Kind.KILL, level=1, reason="test")
    await desk.stop()
    await desk.start()
    await desk.tick()

    refused = await desk.place()
    await desk.ask(Kind.RE_ARM, reason="looked at it")
    placed = await desk.place()

    assert (refused.state, placed.state) == (REFUSED, DONE)


async def test_a_halt_file_stops_the_desk_and_must_go_before_it_trades_again(desk: PaperDesk) -> None:
    path = desk.settings.data_dir / "HALT"
    path.write_text("")
    await desk.tick()
    assert desk.reader.trading_state().level is KillLevel.HALT

    refused = await desk.ask(Kind.RE_ARM, reason="go on")
    path.unlink()
    armed = await desk.ask(Kind.RE_ARM, reason="go on")

    assert (refused.state, armed.state) == (REFUSED, DONE)


# Losses


async def test_a_day_that_lost_too_much_trips_the_breaker_for_good(desk: PaperDesk) -> None:
    await desk.ask(Kind.SET_LIMIT, name="max_daily_loss_pct", value=0.2)
    await bought(desk, stop_loss="90.00", target="120.00")

    await desk.tick(3, AAPL="96.00")  # 400 of 100,000
    await desk.stop()
    await desk.start()
    await desk.tick(2, AAPL="101.00")
    entry = await desk.place("KO")

    assert entry.state is REFUSED
    assert "circuit breaker" in entry.said
    await desk.ask(Kind.RESET_BREAKER, account="main", reason="understood")
    assert (await desk.place("KO")).state is DONE


async def test_a_tripped_breaker_takes_resting_entries_away_and_leaves_the_stop(desk: PaperDesk) -> None:
    await desk.ask(Kind.SET_LIMIT, name="max_daily_loss_pct", value=0.2)
    await desk.place("KO", type="limit", limit="58.00")
    desk.clock.advance(minutes=1)
    await bought(desk, stop_loss="90.00", target="120.00")

    await desk.tick(4, AAPL="96.00")

    assert desk.open("KO") == []
    assert resting(desk, Purpose.STOP) == [(D(100), D("90.00"))]


async def test_a_limit_is_set_within_its_ceiling_only(desk: PaperDesk) -> None:
    good = await desk.ask(Kind.SET_LIMIT, name="max_quantity", value=50)
    bad = await desk.ask(Kind.SET_LIMIT, name="max_quantity", value=10**9)
    unknown = await desk.ask(Kind.SET_LIMIT, name="max_quantty", value=5)

    assert good.said == "max_quantity: 10000 is now 50."
    assert (bad.state, unknown.state) == (REFUSED, REFUSED)
    assert (await desk.place(quantity="60")).state is REFUSED


# Life


async def test_a_second_engine_finds_the_lease_held(desk: PaperDesk, tmp_path: Path) -> None:
    twin = PaperDesk(tmp_path, clock=desk.clock)

    with pytest.raises(LeaseHeld):
        await twin.start()


async def test_a_restart_finds_everything_as_it_was(desk: PaperDesk) -> None:
    await bought(desk)
    before = (desk.held(), resting(desk, Purpose.STOP), desk.reader.account("main"))

    await desk.stop()
    await desk.start()
    await desk.tick(3)

    assert (desk.held(), resting(desk, Purpose.STOP), desk.reader.account("main")) == before


async def test_pages_find_quotes_and_a_heartbeat(desk: PaperDesk) -> None:
    await desk.place()
    await desk.tick(2)
    status = desk.reader.engine()

    assert LiveBook(desk.place_of.live_path).quotes()["AAPL"].last == D("100.00")
    assert status is not None
    assert (status.state, status.details["problems"]) == ("ready", [])


async def test_no_prices_are_said_and_nothing_is_sent(desk: PaperDesk) -> None:
    desk.prices.fails = "the line is dead"
    await desk.tick(20)

    answer = await desk.place(type="limit", limit="99.00")

    assert answer.state is REFUSED
    status = desk.reader.engine()
    assert status is not None
    assert status.details["problems"] == ["No prices: the line is dead"]


async def test_cash_and_positions_are_the_sum_of_the_fills(desk: PaperDesk) -> None:
    await bought(desk)
    await desk.tick(5, AAPL="107.00")
    folded = desk.reader.account("main")
    [at_broker] = await desk.broker.accounts()

    assert folded is not None
    assert folded.cash == at_broker.cash
    assert at_broker.positions == {}
    sides = [h.fill.side for h in desk.reader.fills()]
    assert Side.SELL in sides
    assert {o.request.type for o in desk.reader.family({""})} == {OrderType.MARKET}


@pytest.mark.parametrize("breaks", [OSError("disk"), ValueError("nonsense"), KeyError("row"), RecursionError()])
async def test_a_kill_switch_that_cannot_be_read_means_stop(
    desk: PaperDesk, monkeypatch: pytest.MonkeyPatch, breaks: Exception
) -> None:
    previewed = await desk.preview(key="preview-switch")

    def unreadable(*args: object) -> None:
        raise breaks

    monkeypatch.setattr("desk.control.strictest", unreadable)
    desk.append(
        Kind.PLACE,
        {"preview": "preview-switch", "request": previewed.details["request"]},
        key=previewed.details["token"],
    )
    for _ in range(4):
        with suppress(Exception):
            await desk.tick()

    assert await desk.broker.orders(desk.clock.now() - timedelta(hours=1)) == []


async def test_a_stop_between_the_review_and_the_sending_stops_it(
    desk: PaperDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The switch is read once more in the very transaction that marks the order as sent."""
    previewed = await desk.preview(key="preview-race")

    def press(name: str) -> None:
        if name == "after_intent":
            crash.install(None)
            assert desk.engine is not None
            with desk.engine.tools.write() as write:
                stop_trading(write, KillLevel.PAUSE, reason="just in time", actor="owner")

    crash.install(press)
    answer = await desk.ask(
        Kind.PLACE,
        key=previewed.details["token"],
        preview="preview-race",
        request=previewed.details["request"],
    )

    [order] = of_today(desk)
    assert answer.state is DONE  # it was taken; what became of it stands at the order
    assert (order.status, "entries were stopped" in order.reasons[0]) == (Status.DENIED, True)
    assert await desk.broker.orders(desk.clock.now() - timedelta(hours=1)) == []
