"""The order ticket: what a preview asks for, what its card says, and that one preview makes at most one order."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import bootstrap
from domain.commands import Command, Kind
from domain.instruments import instrument
from domain.orders import Side
from domain.quotes import Quote
from tests.conftest import ROOT
from tests.ledgers import NOW
from tests.toy_engine import ToyEngine, open_market
from ui import ticket_fields

TICKET = {
    "account": "main",
    "symbol": "AAPL",
    "side": "buy",
    "quantity": "10",
    "type": "market",
    "time_in_force": "day",
    "session": "regular",
    "stop_atr": "1.5",
    "target_atr": "3",
}


@pytest.fixture(autouse=True)
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ToyEngine]:
    """A machine whose simulated market is open and whose engine answers when told to."""
    with open_market(tmp_path / "data", monkeypatch) as engine:
        yield engine


def dashboard(preview: str = "") -> AppTest:
    at = AppTest.from_file(str(ROOT / "pages" / "live_dashboard.py"), default_timeout=60)
    if preview:
        at.query_params["preview"] = preview
    at.run()
    assert not at.exception, at.exception
    return at


def said(at: AppTest) -> str:
    """Every word of the page."""
    kinds = (at.markdown, at.caption, at.info, at.error, at.warning, at.success)
    return "\n".join(element.value for kind in kinds for element in kind).replace("\\", "")


def labels(at: AppTest) -> dict[str, Any]:
    return {button.key: button for button in at.button}


def previewed(engine: ToyEngine) -> tuple[AppTest, str]:
    """A page on which a preview was asked for and has come."""
    at = dashboard()
    at.button(key="tkt_preview").click().run()
    [asked] = engine.work()
    at.run()
    assert not at.exception, at.exception
    return at, asked.key


def placed(engine: ToyEngine) -> list[Command]:
    return [command for command in engine.inbox.pending() if command.kind is Kind.PLACE]


def test_a_preview_asks_for_exactly_what_the_ticket_says(engine: ToyEngine) -> None:
    at = dashboard()
    at.button(key="tkt_preview").click().run()

    [asked] = engine.inbox.pending()
    assert (asked.kind, asked.actor, asked.payload) == (Kind.PREVIEW, "owner", TICKET)
    assert at.query_params["preview"] == asked.key
    assert "Asking the engine" in said(at)


def test_price_fields_come_with_the_type_and_are_written_on_the_tick(engine: ToyEngine) -> None:
    at = dashboard()
    at.selectbox(key="tkt_type").set_value("stop limit").run()
    at.number_input(key="tkt_stop").set_value(231.004).run()
    at.number_input(key="tkt_limit").set_value(231.5).run()
    at.segmented_control(key="tkt_by").set_value("risk_pct").run()
    at.segmented_control(key="tkt_loss_by").set_value("price").run()
    at.number_input(key="tkt_stop_loss").set_value(221.0).run()
    at.segmented_control(key="tkt_gain_by").set_value("none").run()
    at.selectbox(key="tkt_time").set_value("good till cancelled").run()
    at.button(key="tkt_preview").click().run()

    [asked] = engine.inbox.pending()
    assert asked.payload == {
        "account": "main",
        "symbol": "AAPL",
        "side": "buy",
        "risk_pct": "1",
        "type": "stop limit",
        "stop": "231.00",
        "limit": "231.50",
        "stop_loss": "221.00",
        "time_in_force": "good till cancelled",
        "session": "regular",
    }


def test_what_is_not_filled_in_is_said_and_nothing_is_asked(engine: ToyEngine) -> None:
    at = dashboard()
    at.number_input(key="tkt_quantity").set_value(0.0).run()
    at.button(key="tkt_preview").click().run()

    assert "Size: write how many shares, above zero." in said(at)
    assert engine.inbox.pending() == []


def test_risk_needs_a_stop(engine: ToyEngine) -> None:
    at = dashboard()
    at.segmented_control(key="tkt_by").set_value("risk_pct").run()
    at.segmented_control(key="tkt_loss_by").set_value("none").run()
    at.button(key="tkt_preview").click().run()

    assert "A size by risk needs a stop" in said(at)
    assert engine.inbox.pending() == []


def test_the_card_says_what_will_happen_and_what_the_gates_say(engine: ToyEngine) -> None:
    engine.warns = {"size": "No stop is attached."}
    at, _ = previewed(engine)

    text = said(at)
    assert "Paper: buy 10 AAPL at market, about 229.40" in text
    assert "100,000.00 → 97,706.00" in text
    assert "221.75, loss about 76.50" in text
    assert "2.0 : 1" in text
    assert "size: warning.** No stop is attached." in text
    assert "✓ 15 gates passed" in [expander.label for expander in at.expander]
    assert labels(at)["tkt_confirm"].label == "Place paper order: buy 10 AAPL at market"
    assert not labels(at)["tkt_confirm"].disabled


def test_a_refused_preview_cannot_be_confirmed_and_says_why(engine: ToyEngine) -> None:
    engine.refuses = {"size": "The order would be 23.10 % of the equity (max_position_pct): order less."}
    at, _ = previewed(engine)

    assert "size: refused.** The order would be 23.10 %" in said(at)
    assert labels(at)["tkt_confirm"].disabled
    assert "Refused by size" in said(at)


def test_confirming_twice_asks_for_one_order(engine: ToyEngine) -> None:
    at, key = previewed(engine)
    confirm = at.button(key="tkt_confirm")
    confirm.click().run()
    assert "waiting for its answer" in said(at)
    [once] = placed(engine)
    again = dashboard(key)

    assert [command.key for command in placed(engine)] == [f"token-{key}"]
    assert once.payload == {"preview": key, "request": bootstrap.trading().inbox.answer(key).details["request"]}
    assert "tkt_confirm" not in labels(again)


def test_the_callback_itself_may_fire_twice(engine: ToyEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    from ui import ticket

    once = ticket._ask_place
    monkeypatch.setattr(ticket, "_ask_place", lambda *args: (once(*args), once(*args)))
    at, _ = previewed(engine)
    at.button(key="tkt_confirm").click().run()

    assert len(placed(engine)) == 1


def test_a_reload_shows_the_preview_and_its_ticket_again(engine: ToyEngine) -> None:
    at = dashboard()
    at.selectbox(key="tkt_type").set_value("limit").run()
    at.number_input(key="tkt_limit").set_value(228.0).run()
    at.number_input(key="tkt_quantity").set_value(7.0).run()
    at.button(key="tkt_preview").click().run()
    [asked] = engine.work()

    again = dashboard(asked.key)

    assert labels(again)["tkt_confirm"].label == "Place paper order: buy 7 AAPL, limit 228.00"
    assert again.number_input(key="tkt_limit").value == 228.0


def test_a_reload_after_it_was_placed_says_so_and_the_ticket_is_new(engine: ToyEngine) -> None:
    at, key = previewed(engine)
    at.button(key="tkt_confirm").click().run()
    engine.work()

    again = dashboard(key)

    assert "Placed: buy 10 AAPL at market." in said(again)
    assert "preview" not in again.query_params
    assert "tkt_preview" in labels(again)


def test_after_an_order_the_ticket_begins_anew(engine: ToyEngine) -> None:
    at = dashboard()
    at.number_input(key="tkt_quantity").set_value(7.0).run()
    at.button(key="tkt_preview").click().run()
    engine.work()
    at.run()
    at.button(key="tkt_confirm").click().run()
    engine.work()
    at.run().run()

    assert at.number_input(key="tkt_quantity").value == 10.0
    assert "Placed: buy 7 AAPL at market." in said(at)


def test_a_placement_that_was_refused_says_why(engine: ToyEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    from domain.commands import Answer, CommandState

    refusal = Answer(CommandState.REFUSED, "The price moved too far.")
    monkeypatch.setattr(engine, "_place", lambda *_: refusal)
    at, _ = previewed(engine)
    at.button(key="tkt_confirm").click().run()
    engine.work()
    at.run()

    assert "Not placed.** The price moved too far." in said(at)
    assert "tkt_again" in labels(at)


def test_a_changed_field_puts_the_preview_away(engine: ToyEngine) -> None:
    at, _ = previewed(engine)
    at.number_input(key="tkt_quantity").set_value(11.0).run()

    assert "You changed the order" in said(at)
    assert "preview" not in at.query_params
    assert "tkt_confirm" not in labels(at)


def test_another_symbol_puts_the_preview_away(engine: ToyEngine) -> None:
    at, _ = previewed(engine)
    bootstrap.people().prefer("symbol", "MSFT")
    at.run()

    assert "tkt_confirm" not in labels(at)
    assert "preview" not in at.query_params


def test_an_expired_preview_cannot_be_confirmed(engine: ToyEngine) -> None:
    engine.holds_for = timedelta(seconds=-1)
    at, first = previewed(engine)

    assert labels(at)["tkt_confirm"].disabled
    assert "has expired" in said(at)
    at.button(key="tkt_again").click().run()
    [second] = engine.inbox.pending()
    assert second.payload == TICKET
    assert second.key != first


def test_a_silent_engine_is_said_and_nothing_can_be_confirmed(engine: ToyEngine) -> None:
    at, _ = previewed(engine)
    engine.beat(ago=timedelta(seconds=30))
    at.run()

    assert labels(at)["tkt_confirm"].disabled
    assert "silent for 3" in said(at)


def test_selling_what_is_held_takes_no_stop_of_its_own(engine: ToyEngine) -> None:
    engine.holds("AAPL", "41")
    at = dashboard()
    at.segmented_control(key="tkt_side").set_value("sell").run()
    at.button(key="tkt_preview").click().run()

    [asked] = engine.inbox.pending()
    assert asked.payload == {k: v for k, v in TICKET.items() if "atr" not in k} | {"side": "sell"}


def test_an_unknown_preview_in_the_address_is_said(engine: ToyEngine) -> None:
    at = dashboard("nobody-asked-for-this")

    assert "not known to this desk" in said(at)
    assert "preview" not in at.query_params


def test_without_an_account_the_ticket_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "empty"))
    bootstrap._trading.cache_clear()
    monkeypatch.setattr(bootstrap, "_started", None)

    assert "No account yet." in said(dashboard())


def test_prices_begin_on_the_right_side_of_the_market() -> None:
    quote = Quote("AAPL", NOW, Decimal("200.00"), "simulated", bid=Decimal("199.98"), ask=Decimal("200.02"))
    what = instrument("AAPL")

    def begins(side: Side) -> list[float | None]:
        names = ("limit", "stop", "limit after stop", "trail", "stop_loss", "target")
        return [ticket_fields.begin(name, what, quote, side) for name in names]

    assert begins(Side.BUY) == [200.02, 201.0, 201.4, 2.0, 196.0, 208.0]
    assert begins(Side.SELL) == [199.98, 199.0, 198.6, 2.0, 204.0, 192.0]
    assert ticket_fields.begin("limit", what, None, Side.BUY) is None
