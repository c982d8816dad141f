"""The guide to a first trade: a tick says what happened at the desk, and it is there for who it is meant for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import bootstrap
from desk.first_trade import FirstTrade, FirstTrades, first_trade
from desk.reader import Reader
from domain.commands import CommandState, Kind
from domain.orders import Fill, OrderType, Purpose, Side, Status
from tests.conftest import ROOT
from tests.peopled import Peopled, peopled
from tests.toy_engine import PRICE, ToyEngine, open_market
from tests.trading import PaperDesk, trading
from ui import guide, guide_steps

DONE = CommandState.DONE
ME = ["owner"]
STOP = {"stop_loss": "97.00"}


# What the ledger knows, with the real engine and the paper broker


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[PaperDesk]:
    async with trading(tmp_path) as desk:
        yield desk


def come(desk: PaperDesk, **chosen: bool) -> tuple[bool, ...]:
    """Preview, order, stop, end: the ticks but for the first."""
    facts = first_trade(desk.reader, ME)
    told = {"read": True, "runs": False, **chosen}
    return guide_steps.progress(facts, now=desk.clock.now(), **told).done[1:]


async def test_the_whole_way_ticks_one_step_after_the_other(desk: PaperDesk) -> None:
    assert come(desk) == (False, False, False, False)

    previewed = await desk.preview(key="preview-mine", **STOP)
    assert come(desk) == (True, False, False, False)

    await desk.ask(
        Kind.PLACE, key=previewed.details["token"], preview="preview-mine", request=previewed.details["request"]
    )
    assert come(desk)[:2] == (True, True)

    await desk.tick(3)
    assert desk.held() == 100
    assert come(desk) == (True, True, True, False)

    answer = await desk.ask(Kind.CLOSE, account="main", symbol="AAPL", percent="100")
    assert answer.state is DONE
    await desk.tick(3)

    assert desk.held() == 0
    assert come(desk) == (True, True, True, True)


async def test_a_close_that_fills_in_pieces_ticks_with_its_last_piece(desk: PaperDesk) -> None:
    await desk.place(**STOP)
    await desk.tick(3)
    desk.prices.step = 600.0  # of which the paper broker lets an order have a twentieth
    await desk.ask(Kind.CLOSE, account="main", symbol="AAPL", percent="100")
    await desk.tick(1)
    assert 0 < desk.held() < 100
    assert come(desk) == (True, True, True, False)

    await desk.tick(4)

    assert desk.held() == 0
    assert come(desk) == (True, True, True, True)


async def test_a_stop_counts_once_the_purchase_is_whole(desk: PaperDesk) -> None:
    desk.prices.step = 600.0
    await desk.place(**STOP)
    await desk.tick(1)
    assert 0 < desk.held() < 100
    assert any(order.request.purpose is Purpose.STOP for order in desk.open())
    assert come(desk) == (True, True, False, False)  # who closed now would buy the rest of it afterwards

    await desk.tick(4)

    assert desk.held() == 100
    assert come(desk) == (True, True, True, False)


async def test_a_position_that_its_stop_has_sold_is_closed_too(desk: PaperDesk) -> None:
    await desk.place(**STOP)
    await desk.tick(3)
    await desk.tick(3, AAPL="96.50")

    assert desk.held() == 0
    assert come(desk) == (True, True, True, True)


async def test_to_let_it_run_is_a_wish_and_a_stop_that_rests(desk: PaperDesk) -> None:
    await desk.place()
    await desk.tick(3)
    assert come(desk, runs=True) == (True, False, False, False)  # without a stop there is nothing to let run

    await desk.ask(Kind.PROTECT, account="main", symbol="AAPL", stop="97.00")
    await desk.tick(2)
    assert come(desk) == (True, True, True, False)
    assert come(desk, runs=True) == (True, True, True, True)

    await desk.ask(Kind.PROTECT, account="main", symbol="AAPL", stop=None)
    await desk.tick(2)
    assert come(desk, runs=True) == (True, True, True, False)


async def test_a_position_that_came_through_the_night_was_let_run(desk: PaperDesk) -> None:
    await desk.place(**STOP)
    await desk.tick(3)
    facts = first_trade(desk.reader, ME)
    later = desk.clock.now() + timedelta(days=1)

    assert guide_steps.progress(facts, read=True, runs=False, now=later).next is guide_steps.ENDS


async def test_what_was_refused_or_taken_back_ticks_nothing(desk: PaperDesk) -> None:
    refused = await desk.preview("ZZZZ", **STOP)
    assert refused.state is CommandState.REFUSED
    assert come(desk) == (False, False, False, False)

    await desk.place(type="limit", limit="98.50", stop_loss="95.50")
    assert come(desk) == (True, True, False, False)
    [resting] = desk.open()
    await desk.ask(Kind.CANCEL, order=resting.id)
    await desk.tick(2)

    assert come(desk) == (True, False, False, False)


async def test_what_others_did_is_no_step_of_mine(desk: PaperDesk) -> None:
    await desk.place(**STOP)
    await desk.tick(3)

    assert first_trade(desk.reader, ["ada"]) == FirstTrade()
    assert first_trade(desk.reader, ["own"]) == FirstTrade()
    assert first_trade(desk.reader, ["o_ner", "%"]) == FirstTrade()


async def test_the_ledger_is_asked_again_only_where_it_moved(desk: PaperDesk) -> None:
    class Counted(Reader):
        asked = 0

        def rows(self, *args: object, **values: object) -> list:  # type: ignore[type-arg]
            self.asked += 1
            return super().rows(*args, **values)  # type: ignore[arg-type]

    reader = Counted(desk.place_of.ledger_url, desk.clock)
    kept = FirstTrades(reader)
    assert kept.of(ME) == FirstTrade()
    before = reader.asked
    for _ in range(10):
        kept.of(ME)
    assert reader.asked == before + 10  # one look at the head of the audit each

    await desk.preview(**STOP)

    assert kept.of(ME).previewed


# On the page


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ToyEngine]:
    with open_market(tmp_path / "data", monkeypatch) as engine:
        yield engine


def dashboard() -> AppTest:
    at = AppTest.from_file(str(ROOT / "pages" / "live_dashboard.py"), default_timeout=60).run()
    assert not at.exception, at.exception
    return at


def buttons(at: AppTest) -> dict[str, str]:
    return {str(one.key): one.label for one in at.button if str(one.key).startswith("guide_")}


def ticked(at: AppTest) -> str:
    """The signs of the five steps, in order."""
    html = "".join(str(one.proto.body) for one in at.get("html"))
    return "".join(sign for sign in html.partition("Your first trade")[2].partition("</ol>")[0] if sign in "✓○")


def test_the_way_on_the_page_is_ticked_by_the_ledger_alone(engine: ToyEngine) -> None:
    at = dashboard()
    assert ticked(at) == "○○○○○"
    assert buttons(at) == {"guide_away": "Put away", "guide_0_0": "Open the patterns"}
    at.button(key="guide_0_0").click().run()
    assert at.session_state.desk_pattern_tabs == "Patterns on this chart"
    at.run()
    assert ticked(at) == "✓○○○○"  # the list stood there, with a pattern in it

    at.button(key="guide_1_0").click().run()
    assert ticked(at) == "✓○○○○"  # a click ticks nothing
    assert [at.session_state[f"tkt_{name}"] for name in ("by", "risk_pct", "loss_by")] == ["risk_pct", 0.25, "atr"]
    at.button(key="tkt_preview").click().run()
    [asked] = engine.work()
    assert asked.payload | guide.TICKET == asked.payload
    at.run()
    assert ticked(at) == "✓✓○○○"

    at.button(key="tkt_confirm").click().run()
    assert ticked(at) == "✓✓○○○"  # nor does the order, before the engine has it


def _filled_under_a_stop(engine: ToyEngine) -> None:
    """The one order there is, and what the engine would do next."""
    [order] = bootstrap.trading().reader.open_orders("main")
    about = {"account": "main", "symbol": "AAPL", "side": Side.BUY, "fee": Decimal(1), "time": engine.clock.now()}
    with engine.ledger.write(engine.epoch) as write:
        write.add_fill(Fill(id="f-mine", order_id=order.id, quantity=Decimal(10), price=PRICE, **about))
        write.move(write.order(order.id) or order, Status.FILLED)
        resting = {"type": OrderType.STOP, "stop": Decimal("221.75"), "purpose": Purpose.STOP}
        engine.order(write, "AAPL", Decimal(10), side=Side.SELL, **resting)


def test_the_end_leads_on_and_nothing_before_it_does(engine: ToyEngine) -> None:
    at = dashboard()
    at.session_state[guide.READ] = True
    at.button(key="tkt_preview").click().run()
    engine.work()
    at.run()
    at.button(key="tkt_confirm").click().run()
    engine.work()
    _filled_under_a_stop(engine)
    at.run()
    assert ticked(at) == "✓✓✓✓○"
    assert list(buttons(at).values()) == ["Open Positions", "Let it run", "Put away"]

    at.button(key="guide_4_1").click().run()

    assert ticked(at) == "✓✓✓✓✓"
    assert list(buttons(at).values()) == ["Backtest", "The bot", "Alerts", "Put away"]


def test_put_away_it_stays_away_until_the_settings_bring_it_back(engine: ToyEngine) -> None:
    at = dashboard()
    at.button(key="guide_away").click().run()
    assert buttons(at) == {}
    assert buttons(dashboard()) == {}

    settings = AppTest.from_file(str(ROOT / "pages" / "settings.py"), default_timeout=60).run()
    assert settings.toggle(key="guide_shown").value is False
    settings.toggle(key="guide_shown").set_value(True).run()

    assert "guide_away" in buttons(dashboard())


def test_who_has_traded_here_before_there_was_a_guide_is_left_in_peace(engine: ToyEngine) -> None:
    bootstrap.people().prefer(guide.PREFERENCE, guide.AWAY)
    at = dashboard()
    at.button(key="tkt_preview").click().run()
    engine.work()
    at.run()
    at.button(key="tkt_confirm").click().run()
    engine.work()
    _filled_under_a_stop(engine)
    bootstrap.people().prefer(guide.PREFERENCE, None)

    assert buttons(dashboard()) == {}
    assert bootstrap.people().preference(guide.PREFERENCE) == guide.NO_NEWCOMER


@pytest.fixture
def people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Peopled]:
    with peopled(tmp_path, monkeypatch) as found:
        yield found


def test_each_person_has_a_guide_of_their_own_and_who_looks_on_a_shorter_one(people: Peopled) -> None:
    people.enter("tim")
    at = dashboard()
    assert ticked(at) == "○○○○○"
    at.button(key="guide_away").click().run()

    people.enter("olga")
    assert ticked(dashboard()) == "○○○○○"

    people.enter("vera")
    at = dashboard()
    assert ticked(at) == ""
    assert list(buttons(at).values()) == ["Patterns", "Positions", "The bot", "Put away"]
    at.button(key="guide_away").click().run()
    assert buttons(dashboard()) == {}


def test_nothing_is_shown_where_orders_leave_this_machine(engine: ToyEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(bootstrap.trading().place), "needs_arming", True)

    app = dashboard()

    assert buttons(app) == {}


def test_every_step_has_a_name_a_sentence_and_a_way() -> None:
    for step in (*guide_steps.STEPS, guide_steps.ENDS, guide_steps.LOOKS_ON):
        assert step.ways
        assert 40 < len(step.said) < 125
    assert len(guide_steps.ENDS.ways) == 3
