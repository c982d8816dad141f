"""The positions page: what is held, in words and figures; each action asks for exactly what its dialog says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from streamlit.testing.v1 import AppTest

import bootstrap
import performance_utils as pu
from desk.records import Protection
from domain.commands import Command
from domain.orders import OrderType, Purpose, Side
from domain.positions import Account, Position
from domain.quotes import Quote
from tests.conftest import ROOT
from tests.ledgers import NOW
from tests.toy_engine import ToyEngine, of_this_machine
from ui import holdings, position_dialogs, positions, tables, wording
from ui.holdings import Holding


@pytest.fixture(autouse=True)
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ToyEngine]:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SIMULATED_START", "2026-11-20T10:30")
    monkeypatch.chdir(ROOT)
    bootstrap.people.cache_clear()
    bootstrap._trading.cache_clear()
    monkeypatch.setattr(bootstrap, "_started", None)
    yield of_this_machine(tmp_path / "data")
    bootstrap.people.cache_clear()
    bootstrap._trading.cache_clear()
    pu.use_desk(None)


def seen(symbol: str = "AAPL", last: str = "231.40") -> None:
    """The engine has seen this price."""
    book = bootstrap.trading().book
    book.write([Quote(symbol, bootstrap.trading().clock.now(), Decimal(last), "simulated")])


def page(dialog: str = "", **about: Any) -> AppTest:
    """The page, with a dialog open where one is named."""
    at = AppTest.from_file(str(ROOT / "pages" / "positions.py"), default_timeout=60)
    if dialog:
        at.session_state["desk_dialog"] = (dialog, uuid4().hex, about)
    at.run()
    assert not at.exception, at.exception
    return at


def said(at: AppTest) -> str:
    kinds = (at.markdown, at.caption, at.info, at.error, at.warning, at.success)
    return "\n".join(element.value for kind in kinds for element in kind).replace("\\", "")


def table(at: AppTest, column: str) -> Any:
    """The one table that has this column."""
    [found] = [frame.value for frame in at.dataframe if column in frame.value.columns]
    return found


def confirm(at: AppTest) -> Any:
    return next(button for button in at.button if (button.key or "").startswith("desk_ask_"))


def asked(engine: ToyEngine) -> Command:
    [command] = engine.inbox.pending()
    return command


def holding(**changed: Any) -> Holding:
    values: dict[str, Any] = {
        "account": "main",
        "symbol": "AAPL",
        "quantity": Decimal(41),
        "average": Decimal("229.40"),
        "last": Decimal("231.40"),
        "stop": None,
        "target": None,
        "guarded": Decimal(0),
    }
    return Holding(**{**values, **changed})


def test_a_position_knows_its_profit_and_what_guards_it() -> None:
    one = holding()

    assert (one.value, one.profit) == (Decimal("9487.40"), Decimal("82.00"))
    assert round(one.percent or 0, 2) == Decimal("0.87")
    assert one.guard == "NO STOP"
    assert holding(guarded=Decimal(20)).guard == "21 WITHOUT STOP"
    assert holding(guarded=Decimal(41)).guard == "yes"
    assert holding(quantity=Decimal(-10)).profit == Decimal("-20.00")


def test_without_a_price_nothing_is_made_up() -> None:
    one = holding(last=None)
    sums = holdings.totals(Account("main", Decimal(500), {}), [one], Decimal(1000))

    assert (one.value, one.profit, sums.equity, sums.day, sums.exposure) == (None, None, None, None, None)
    assert tables.positions_table([one])["Last"][0] == "no price"


def test_a_part_is_a_whole_lot_and_all_of_it_is_all() -> None:
    odd = holding(quantity=Decimal("41.5"))

    assert odd.part(Decimal(25)) == 10
    assert odd.part(Decimal(100)) == Decimal("41.5")


def test_a_plan_without_a_resting_stop_is_no_protection() -> None:
    plan = {"AAPL": Protection("AAPL", Decimal("221.75"), Decimal("244.70"))}
    held = {"AAPL": Position("main", "AAPL", Decimal(41), Decimal("229.40"))}
    quote = {"AAPL": Quote("AAPL", NOW, Decimal("231.40"), "simulated")}

    [one] = holdings.holdings(held, quote, plan, [])

    assert (one.stop, one.target, one.guard) == (Decimal("221.75"), Decimal("244.70"), "NO STOP")


def trailed(engine: ToyEngine) -> None:
    """41 shares under a stop that trails by 1.20 and has come to 228.35, with a fixed one further away."""
    with engine.ledger.write(engine.epoch) as write:
        engine.order(write, "AAPL", Decimal(41), fills="41")
        resting = {"type": OrderType.TRAILING_STOP, "trail": Decimal("1.20"), "purpose": Purpose.STOP}
        engine.order(write, "AAPL", Decimal(41), side=Side.SELL, **resting)
        write.set_protection("main", "AAPL", stop=Decimal("221.75"), target=None, trail=Decimal("1.20"))
        write.begin_trail("main", "AAPL", Decimal("228.35"))


def test_a_stop_that_trails_is_shown_with_its_distance_and_where_it_has_come_to(engine: ToyEngine) -> None:
    trailed(engine)

    at = page()

    [row] = table(at, "Protected").to_dict("records")
    assert (row["Stop"], row["Protected"]) == ("228.35", "yes, trailing by 1.20")
    assert list(table(at, "State")["Order"]) == ["sell 41 AAPL, trailing by 1.20, now at 228.35"]


def test_a_trail_is_set_and_taken_away_in_the_dialog(engine: ToyEngine) -> None:
    trailed(engine)
    seen()
    at = page("protect", account="main", symbol="AAPL")
    fields = {one.label: one for one in at.number_input}
    assert (fields["Stop"].value, fields["Trailing stop, distance"].value) == (221.75, 1.2)
    assert "The stop is trailing by 1.20, now at 228.35." in said(at)

    one, [key] = holding(trail=Decimal("1.20"), fixed=Decimal("221.75"), stop=Decimal("228.35")), ["k" * 8]
    import streamlit as st

    st.session_state[f"pos_stop_at_{key}"], st.session_state[f"pos_trail_at_{key}"] = 221.75, 2.5
    payload = position_dialogs.protection(replace(one, guarded=Decimal(41)), key)
    assert payload == {"account": "main", "symbol": "AAPL", "trail": "2.50"}
    assert confirm_label(payload) == "Set trail 2.50"
    told = position_dialogs._protection_words(one, payload).replace("\\", "")
    assert "gives back at most about 102.50 from the best price" in told
    assert "at most half of the price" in position_dialogs._protection_fault(one, {"trail": "200.00"})


def test_an_empty_page_says_what_to_do() -> None:
    assert "No open positions. Place a paper order from the live dashboard" in said(page())


def test_what_is_held_is_shown_with_sign_and_missing_stop(engine: ToyEngine) -> None:
    engine.holds("AAPL", "41")
    seen()

    at = page()

    [row] = table(at, "Protected").to_dict("records")
    assert (row["Symbol"], row["Qty"], row["Protected"]) == ("AAPL", "41", "NO STOP")
    assert row["Open P/L"].startswith(("▲ +", "▼ −", "◆"))
    assert [metric.label for metric in at.metric] == ["Equity", "Today", "Open P/L", "Exposure", "Cash"]
    assert at.button(key="pos_stop_AAPL").label == "Set a stop at 1.5 ATR"


def test_a_resting_stop_covers_the_position(engine: ToyEngine) -> None:
    engine.holds("AAPL", "41", stop="221.75")

    at = page()

    [row] = table(at, "Protected").to_dict("records")
    assert (row["Protected"], row["Stop"]) == ("yes", "221.75")
    assert list(table(at, "State")["Order"]) == ["sell 41 AAPL, stop 221.75"]


def test_closing_a_quarter_says_what_it_brings_and_asks_for_it(engine: ToyEngine) -> None:
    engine.holds("AAPL", "41")
    seen()
    at = page("close", account="main", symbol="AAPL", percent="25")

    assert "Closes 10 of 41 AAPL at about" in said(at)
    assert confirm(at).label == "Place paper order: sell 10 AAPL at market"
    confirm(at).click().run()
    command = asked(engine)
    assert (command.kind.value, command.payload) == (
        "close",
        {"account": "main", "symbol": "AAPL", "percent": "25", "type": "market"},
    )


def test_closing_at_a_limit_carries_the_price_on_the_tick(engine: ToyEngine) -> None:
    engine.holds("AAPL", "41")
    [key, payload] = ["k" * 8, None]
    import streamlit as st

    st.session_state[f"pos_part_{key}"], st.session_state[f"pos_type_{key}"] = "part", "limit"
    st.session_state[f"pos_quantity_{key}"], st.session_state[f"pos_limit_{key}"] = 7.0, 231.456
    payload = position_dialogs.closing(holding(), key)

    assert payload == {"account": "main", "symbol": "AAPL", "type": "limit", "quantity": "7", "limit": "231.46"}


def test_a_field_that_changed_with_the_click_sends_nothing(engine: ToyEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    from ui import dialogs

    monkeypatch.setattr(dialogs.st, "session_state", {})
    dialogs._ask(dialogs.Kind.CLOSE, {"percent": "25"}, "a" * 32, lambda: {"percent": "100"})

    assert engine.inbox.pending() == []


def test_a_stop_is_suggested_and_set_with_one_click(engine: ToyEngine) -> None:
    engine.holds("AAPL", "41")
    seen()
    at = page("protect", account="main", symbol="AAPL", suggest=True)

    assert "Suggested: 1.5 × ATR" in said(at)
    confirm(at).click().run()
    payload = asked(engine).payload
    assert set(payload) == {"account", "symbol", "stop"}
    assert confirm_label(payload).startswith("Set stop ")


def confirm_label(payload: dict[str, Any]) -> str:
    return position_dialogs._protect_label(payload)


def test_a_stop_on_the_wrong_side_cannot_be_set() -> None:
    payload: dict[str, str | None] = {"account": "main", "symbol": "AAPL", "stop": "240.00"}

    assert "below the last price" in position_dialogs._protection_fault(holding(), payload)
    assert position_dialogs._protection_fault(holding(quantity=Decimal(-41)), payload) == ""


def test_cancelling_names_the_order_and_asks_once(engine: ToyEngine) -> None:
    with engine.ledger.write(engine.epoch) as write:
        order = engine.order(write, "MSFT", Decimal(5), type=OrderType.LIMIT, limit=Decimal("410.00"))
    at = page("cancel_order", order_id=order.id)

    assert confirm(at).label == "Cancel: buy 5 MSFT, limit 410.00"
    confirm(at).click().run()
    assert asked(engine).payload == {"order": order.id}


def test_cancel_all_leaves_protection_alone_and_says_so(engine: ToyEngine) -> None:
    engine.holds("AAPL", "41", stop="221.75")
    with engine.ledger.write(engine.epoch) as write:
        engine.order(write, "MSFT", Decimal(5), type=OrderType.LIMIT, limit=Decimal("410.00"))
    at = page("cancel_all", account="main")

    assert confirm(at).label == "Cancel 1 order"
    assert "Protective stops and targets stay" in said(at)
    confirm(at).click().run()
    assert asked(engine).payload == {"account": "main", "symbol": ""}


def test_a_changed_order_sends_only_what_changed(engine: ToyEngine) -> None:
    with engine.ledger.write(engine.epoch) as write:
        order = engine.order(write, "MSFT", Decimal(5), type=OrderType.LIMIT, limit=Decimal("410.00"))
    at = page("change_order", order_id=order.id)
    assert confirm(at).disabled

    import streamlit as st

    from ui.orders import changes

    st.session_state["desk_change_limit_key"] = 409.5
    assert changes(order, "key") == {"order": order.id, "limit": "409.50"}


def test_the_story_of_an_order_tells_each_move(engine: ToyEngine) -> None:
    engine.holds("AAPL", "41")
    at = page("story_order", order_id="order-1")

    assert list(table(at, "Became")["Became"]) == ["new", "being sent", "working", "filled"]


def test_files_carry_exact_amounts_and_the_word_simulated(engine: ToyEngine) -> None:
    engine.holds("AAPL", "41")

    lines = tables.fills_file(positions.every_fill("main"), "paper-simulated", True).splitlines()

    assert lines[0] == "time_utc,symbol,side,quantity,price,fee,order_id,desk,prices"
    assert lines[1].endswith(",AAPL,buy,41,229.40,1.00,order-1,paper-simulated,SIMULATED")
    assert "SIMULATED" in tables.positions_file([holding()], "paper-simulated", True)


def test_fills_come_a_page_at_a_time_newest_first(engine: ToyEngine) -> None:
    for _ in range(30):
        engine.holds("AAPL", "1")

    at = page()
    shown = table(at, "Fee")
    assert (len(shown), shown["Order"][0]) == (25, "order-30")
    at.button(key="pos_more").click().run()
    assert len(table(at, "Fee")) == 30


@pytest.mark.parametrize(
    ("value", "text"), [("12.345", "▲ +12.34"), ("-4", "▼ −4.00"), ("0.001", "◆ 0.00"), ("-1234.5", "▼ −1,234.50")]
)
def test_a_profit_is_told_by_sign_and_arrow(value: str, text: str) -> None:
    assert wording.signed(Decimal(value)) == text


def test_no_text_is_read_as_markdown() -> None:
    assert wording.plain("$5 *now* :red[x] max_position_pct") == r"\$5 \*now\* \:red\[x\] max\_position\_pct"


def test_a_short_position_gains_when_it_falls() -> None:
    short = holding(quantity=Decimal(-10), average=Decimal(100), last=Decimal(90))

    assert (short.profit, short.closing, short.gain(Decimal(5), Decimal(90))) == (100, Side.BUY, 50)
