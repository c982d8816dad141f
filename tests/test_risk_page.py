"""Settings, Risk: limits are checked in words, changed one wish each, and what they refused is counted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from streamlit.testing.v1 import AppTest

import bootstrap
import performance_utils as pu
from desk.records import Decision
from domain.breaker import Breaker
from domain.context import Sent
from domain.limits import Limits
from domain.orders import Side
from domain.params import params_of
from domain.round_trips import RoundTrip
from risk_manager import Denied, RiskManager
from tests import risk_world
from tests.conftest import ROOT
from tests.ledgers import NOW
from tests.toy_engine import ToyEngine, of_this_machine, verdicts
from ui import refusals, risk

TOO_BIG = "The order would be 23.10 % of the equity, at most 20.0 % is allowed (max_position_pct): order less."
BIGGER = "The order would be 31.00 % of the equity, at most 20.0 % is allowed (max_position_pct): order less."
CLOSED = "The market is closed: a regular order waits for the open."

FURTHER_DOWN = replace(risk_world.QUOTE, bid=Decimal(98), ask=Decimal(99))
EARNINGS_NEAR = replace(risk_world.QUOTE, earnings=date(2026, 11, 23))
QUIET = replace(risk_world.QUOTE, traded=risk_world.ago(600))
SENT = (Sent(risk_world.ago(60), "AAPL", Side.BUY),)


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


def page(dialog: str = "", **about: Any) -> AppTest:
    at = AppTest.from_file(str(ROOT / "pages" / "settings.py"), default_timeout=60)
    at.query_params["tab"] = "Risk"
    if dialog:
        at.session_state["desk_dialog"] = (dialog, uuid4().hex, about)
    at.run()
    assert not at.exception, at.exception
    return at


def said(at: AppTest) -> str:
    kinds = (at.markdown, at.caption, at.info, at.error, at.warning, at.success)
    return "\n".join(element.value for kind in kinds for element in kind).replace("\\", "")


def limits(at: AppTest) -> Any:
    [found] = [frame.value for frame in at.dataframe if "Ceiling" in frame.value.columns]
    return found.set_index("Limit")


def field(at: AppTest, name: str) -> Any:
    return next(
        f
        for f in (*at.number_input, *at.toggle, *at.text_input, *at.text_area)
        if (f.key or "").startswith(f"risk_{name}_")
    )


def look(at: AppTest) -> AppTest:
    next(b for b in at.button if b.label == "Look at the changes").click().run()
    assert not at.exception, at.exception
    return at


def refused(*reasons: str, gate: str = "size", key: str = "", ago: timedelta = timedelta(hours=1)) -> Decision:
    told = verdicts({gate: " ".join(reasons)})
    for verdict in told:
        if verdict["gate"] == gate:
            verdict["reasons"] = list(reasons)
    return Decision(False, told, command_key=key or uuid4().hex, at=NOW - ago)


def test_every_limit_is_listed_with_default_and_ceiling() -> None:
    table = limits(page())

    assert list(table.index) == list(params_of(Limits))
    row = table.loc["max_position_pct"]
    assert (row["Now"], row["Default"], row["Ceiling"], row["Changed"]) == ("20", "20", "100", "never")


def test_every_limit_belongs_to_a_gate_and_can_be_changed() -> None:
    at = page()

    for name in params_of(Limits):
        field(at, name)


def test_a_right_limit_is_asked_for_before_and_after_named(engine: ToyEngine) -> None:
    at = page()
    field(at, "max_position_pct").set_value(25.0)
    field(at, "symbols").set_value("aapl, MSFT")
    look(at)

    assert "`max_position_pct`: 20 → **25**" in said(at)
    at.button(key="risk_set").click().run()
    assert [command.payload for command in engine.inbox.pending()] == [
        {"name": "max_position_pct", "value": 25.0},
        {"name": "symbols", "value": ["AAPL", "MSFT"]},
    ]
    engine.work()
    assert risk.in_force()["max_position_pct"] == 25.0
    row = limits(page()).loc["max_position_pct"]
    assert row["Now"] == "25"
    assert row["Changed"].startswith("owner, Fri 20 Nov")


def test_a_wrong_limit_is_refused_in_words_and_nothing_is_asked(engine: ToyEngine) -> None:
    at = page()
    field(at, "max_position_pct").set_value(150.0)
    look(at)

    assert "max_position_pct may not exceed the hard ceiling of 100: got 150.0" in said(at)
    assert "risk_set" not in {button.key for button in at.button}
    assert engine.inbox.pending() == []


def test_what_was_refused_this_week_is_counted_by_limit() -> None:
    told = refusals.week(
        [
            refused(TOO_BIG),
            refused(BIGGER),
            refused(CLOSED, gate="session"),
            refused(TOO_BIG, ago=timedelta(days=8)),
            Decision(True, verdicts(), at=NOW),
        ],
        NOW - timedelta(days=7),
    )

    assert (told.asked, len(told.refused)) == (4, 3)
    assert told.by_limit == {"max_position_pct": refusals.Tally(2, TOO_BIG)}
    assert told.by_gate == {"session": refusals.Tally(1, CLOSED)}


def test_a_wish_that_was_previewed_and_tried_again_counts_once() -> None:
    twice = [refused(TOO_BIG, key="same-wish"), refused(TOO_BIG, key="same-wish")]

    assert len(refusals.week(twice, NOW - timedelta(days=7)).refused) == 1


def test_the_week_is_judged_again_under_other_values() -> None:
    told = refusals.week([refused(TOO_BIG), refused(BIGGER), refused(TOO_BIG, CLOSED)], NOW - timedelta(days=7))

    assert told.would_pass({"max_position_pct": 25.0}) == 1
    assert told.would_pass({"max_position_pct": 31.0}) == 2
    assert told.would_pass({"max_notional": 1e6}) == 0


def test_the_page_tells_the_week(engine: ToyEngine) -> None:
    with engine.ledger.write(engine.epoch) as write:
        for said_ in (TOO_BIG, BIGGER):
            write.add_decision(Decision(False, verdicts({"size": said_}), command_key=uuid4().hex))
    at = page()
    row = limits(at).loc["max_position_pct"]
    assert (row["Refused"], row["Last refusal"]) == (2, BIGGER)

    field(at, "max_position_pct").set_value(25.0)
    look(at)

    assert "took part in 2 refusals this week; with the new values 1 of those wishes would have passed" in said(at)


@pytest.mark.parametrize(
    ("set_to", "world", "limit"),
    [
        ({"max_notional": 100.0}, {}, "max_notional"),
        ({"max_quantity": 1}, {}, "max_quantity"),
        ({"max_adv_pct": 0.001}, {"adv": Decimal(10_000)}, "max_adv_pct"),
        ({"max_spread_bps": 1.0}, {}, "max_spread_bps"),
        (
            {"max_collar_pct": 0.05},
            {"quote": replace(risk_world.QUOTE, bid=Decimal(98), ask=Decimal(99))},
            "max_collar_pct",
        ),
        ({"max_quote_age_s": 0.5}, {}, "max_quote_age_s"),
        (
            {"duplicate_window_s": 900.0},
            {"recent": SENT},
            "duplicate_window_s",
        ),
        ({}, {"settled_cash": Decimal(1)}, "settled_cash_only"),
        ({"symbols": ("MSFT",)}, {}, "symbols"),
        ({"max_clock_skew_s": 0.05}, {"clock_skew_s": 1.0}, "max_clock_skew_s"),
        ({"max_consecutive_refusals": 1}, {"consecutive_refusals": 2}, "max_consecutive_refusals"),
        ({"max_consecutive_losses": 1}, {}, "max_consecutive_losses"),
        ({"cool_down_min": 60}, {"trips": (RoundTrip("AAPL", risk_world.ago(60), Decimal(-1)),)}, "cool_down_min"),
        ({"entry_windows": "11:00-12:00"}, {}, "entry_windows"),
        ({"no_entry_after_open_min": 90}, {}, "no_entry_after_open_min"),
        ({"no_entry_before_close_min": 390}, {}, "no_entry_before_close_min"),
        ({"blackouts": "2026-11-20 * at most 5 % of the day"}, {}, "blackouts"),
        ({"no_entry_days_before_earnings": 5}, {"quote": EARNINGS_NEAR}, "no_entry_days_before_earnings"),
        ({"max_quiet_min": 5}, {"quote": QUIET}, "max_quiet_min"),
    ],
)
def test_the_gates_own_words_lead_to_the_limit(set_to: dict[str, Any], world: dict[str, Any], limit: str) -> None:
    answer = RiskManager(Limits(**set_to)).review(risk_world.ask(), risk_world.world(**world))
    assert isinstance(answer, Denied)

    found = refusals.reasons(Decision(False, [verdict.to_dict() for verdict in answer.verdicts], at=NOW))

    assert limit in {reason.limit for reason in found}


def test_a_limit_that_is_taken_off_would_have_let_the_wish_pass() -> None:
    asked = {"no_entry_after_open_min": 90, "blackouts": "2026-11-20 * payrolls"}
    answer = RiskManager(Limits(**asked)).review(risk_world.ask(), risk_world.world())
    told = refusals.week([Decision(False, [v.to_dict() for v in answer.verdicts], at=NOW)], NOW - timedelta(days=7))

    assert told.would_pass({"no_entry_after_open_min": 0, "blackouts": ""}) == 1
    assert told.would_pass({"no_entry_after_open_min": 0}) == 0
    assert told.would_pass({"no_entry_after_open_min": 0, "blackouts": "2026-11-20 * payrolls, again"}) == 0


def test_windows_and_blackouts_are_written_as_text(engine: ToyEngine) -> None:
    at = page()
    field(at, "entry_windows").set_value("9:45-11:30")
    look(at)
    assert "write it as 09:45-11:30" in said(at)

    field(at, "entry_windows").set_value("09:45-11:30")
    field(at, "blackouts").set_value("2026-12-09 13:30/14:30 FOMC\nNVDA 2026-11-25 earnings")
    look(at)
    at.button(key="risk_set").click().run()

    asked = {command.payload["name"]: command.payload["value"] for command in engine.inbox.pending()}
    assert asked == {
        "entry_windows": "09:45-11:30",
        "blackouts": "2026-12-09 13:30/14:30 FOMC\nNVDA 2026-11-25 earnings",
    }
    engine.work()
    assert limits(page()).loc["entry_windows"]["Now"] == "09:45-11:30"
    assert limits(page()).loc["max_quiet_min"]["Now"] == "0"


def test_a_tripped_breaker_is_reset_only_with_a_reason(engine: ToyEngine) -> None:
    day = bootstrap.trading().clock.now()
    tripped = Breaker().mark(Decimal(100_000), day).mark(Decimal(96_500), day)
    with engine.ledger.write(engine.epoch) as write:
        write.save_breaker("main", tripped)
    at = page("reset_breaker", account="main")
    assert "**Breaker of main: tripped.** today −3.50 %" in said(at)
    button = next(b for b in at.button if (b.key or "").startswith("desk_ask_"))
    assert button.disabled

    reason = next(t for t in at.text_input if (t.key or "").startswith("risk_reason_"))
    assert reason.label == "Why is it safe to go on?"


def test_the_gates_are_listed_in_order() -> None:
    text = said(page())

    assert "1. **trading state**" in text
    assert "16. **funding**" in text
    assert "Everything: enabled." in text
