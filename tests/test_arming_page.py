"""How a desk at E*TRADE stands on its pages, and that each button asks for exactly what it says; the engine's word is
in a real ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pyotp
import pytest
from streamlit.testing.v1 import AppTest

import bootstrap
import performance_utils as pu
from desk.accounts import Accounts
from desk.authority import Authority
from desk.records import EngineStatus
from domain.clock import ManualClock, SystemClock
from domain.commands import Command, Kind
from domain.limits import Limits
from tests.accounts import PASSWORD, with_people
from tests.conftest import ROOT
from tests.desk_stand_in import ACCOUNT, OTHER, PHRASE, StandIn, arming, difference, uncertain
from tests.ledgers import NOW
from ui import differences, sign_in, standing
from ui.desk_state import desk_state


class Peopled(NamedTuple):
    """A desk with people, and the browser of one of them."""

    accounts: Accounts
    secret: str
    clock: ManualClock
    cookies: dict[str, str]


ENVIRONMENTS = {"live": "production", "rehearsal": "simulator"}
Start = Callable[[str], StandIn]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Begin a desk at E*TRADE, with who speaks for its engine."""
    begun: list[StandIn] = []

    def go(tone: str) -> StandIn:
        values = {
            "DATA_DIR": str(tmp_path / "data"),
            "TRADING": "etrade",
            "DATA_SOURCE": "etrade",
            "ETRADE_ENVIRONMENT": ENVIRONMENTS[tone],
            "ETRADE_SIMULATOR_URL": "http://127.0.0.1:9",
            "ETRADE_CONSUMER_KEY": "k" * 32,
            "ETRADE_CONSUMER_SECRET": "s" * 32,
            "ETRADE_HISTORY": "files" if tone == "live" else "",
            "ENGINE": "off",
        }
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        trading = bootstrap.trading()
        begun.append(StandIn(trading.place, trading.clock))
        return begun[-1]

    monkeypatch.chdir(ROOT)
    bootstrap.people.cache_clear()
    bootstrap._trading.cache_clear()
    monkeypatch.setattr(bootstrap, "_started", None)
    yield go
    for one in begun:
        one.close()
    bootstrap.people.cache_clear()
    bootstrap._trading.cache_clear()
    pu.use_desk(None)


@pytest.fixture
def engine(start: Start) -> StandIn:
    return start("live")


def settings_page() -> AppTest:
    at = AppTest.from_file(str(ROOT / "pages" / "settings.py"), default_timeout=60)
    at.query_params["tab"] = "Trading"
    return ran(at.run())


def positions_page(dialog: str = "", **about: Any) -> AppTest:
    at = AppTest.from_file(str(ROOT / "pages" / "positions.py"), default_timeout=60)
    if dialog:
        at.session_state["desk_dialog"] = (dialog, uuid4().hex, about)
    return ran(at.run())


def ran(at: AppTest) -> AppTest:
    assert not at.exception, at.exception
    return at


def said(at: AppTest) -> str:
    kinds = (at.markdown, at.caption, at.info, at.error, at.warning, at.success)
    return "\n".join(element.value for kind in kinds for element in kind).replace("\\", "")


def button(at: AppTest, label: str) -> Any:
    return next(one for one in at.button if one.label.replace("\\", "") == label)


def asked(engine: StandIn) -> Command:
    [command] = engine.inbox.pending()
    return command


def look() -> dict[str, Any]:
    return desk_state(bootstrap.trading())


# Settings → Trading


def test_a_paper_desk_says_so_and_how_to_get_to_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: Start
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SIMULATED_START", "2026-11-20T10:30")
    monkeypatch.setenv("ENGINE", "off")

    at = settings_page()

    told = said(at)
    assert ":blue[paper]" in told
    assert "no part of this desk can reach a broker's orders" in told
    assert "TRADING=etrade" in told
    assert look().get("banner") is None
    assert all(one.key != "arm_submit" for one in at.button)


def test_before_the_engine_has_said_anything_nothing_can_be_armed(engine: StandIn) -> None:
    at = settings_page()

    assert standing_words(at) == "The engine has not said yet how this desk stands"
    assert all(one.key != "arm_submit" for one in at.button)


def standing_words(at: AppTest) -> str:
    return next(warning.value.partition(":")[0] for warning in at.warning)


def test_a_step_that_is_missing_is_told_with_its_cure_and_the_button_waits(engine: StandIn) -> None:
    engine.says(arming=arming(False, "Limits"))

    at = settings_page()

    assert "4 of 5 steps are done" in said(at)
    assert (
        "5. Limits** · not yet. Not set on purpose: max_notional, max_orders_per_day. **Settings → Risk: set"
        in said(at)
    )
    assert button(at, f"Arm {ACCOUNT}").disabled
    assert at.text_input(key="arm_typed").disabled


def test_the_phrase_is_sent_as_it_was_typed_and_never_judged_here(engine: StandIn) -> None:
    engine.says(arming=arming(False))
    at = settings_page()
    assert at.text_input(key="arm_typed").label == f"Type {PHRASE}"

    at.text_input(key="arm_typed").set_value("trade real money")
    ran(button(at, f"Arm {ACCOUNT}").click().run())

    command = asked(engine)
    assert (command.kind, command.payload) == (Kind.ARM, {"account": ACCOUNT, "phrase": "trade real money"})


def test_the_same_phrase_twice_is_one_wish_until_it_was_answered(engine: StandIn) -> None:
    engine.says(arming=arming(False))
    at = settings_page()
    at.text_input(key="arm_typed").set_value("no")
    for _ in range(2):
        ran(button(at, f"Arm {ACCOUNT}").click().run())
    first = asked(engine)

    engine.refuse = "Type it exactly."
    engine.answer()
    engine.says(arming=arming(False))
    assert "Refused. Type it exactly." in said(ran(at.run()))
    ran(button(at, f"Arm {ACCOUNT}").click().run())

    assert asked(engine).key != first.key


def test_nothing_typed_asks_nothing(engine: StandIn) -> None:
    engine.says(arming=arming(False))

    ran(button(settings_page(), f"Arm {ACCOUNT}").click().run())

    assert engine.inbox.pending() == []


def test_an_armed_desk_says_who_armed_it_and_is_disarmed_without_a_phrase(engine: StandIn) -> None:
    engine.says(arming=arming(True))
    at = settings_page()
    assert "Armed by owner on Fri 20 Nov at 09:31:05 New York." in said(at)
    assert all(one.key != "arm_submit" for one in at.button)

    ran(button(at, "Disarm").click().run())

    command = asked(engine)
    assert (command.kind, command.payload) == (Kind.DISARM, {"reason": "pressed in the dashboard"})


# Where the desk has people


@pytest.fixture
def signed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Peopled:
    """One person of each role over this desk; olga, who owns it, is signed in."""
    clock = ManualClock(SystemClock().now() - timedelta(minutes=10))  # the page looks at the wall
    accounts, cookies = with_people(tmp_path, clock), {}
    monkeypatch.setattr(bootstrap, "accounts", lambda: accounts)
    monkeypatch.setattr(sign_in, "_secret", lambda: sign_in.secret_in(cookies))
    cookies["sid"] = accounts.sign_in("olga", PASSWORD)
    return Peopled(accounts, cookies["sid"], clock, cookies)


def heard_page(engine: StandIn) -> AppTest:
    """The page of a desk whose engine has just shown a sign of life."""
    engine.says(arming=arming(False))
    return settings_page()


def test_arming_asks_for_a_one_time_code_where_the_desk_has_people(engine: StandIn, signed: Peopled) -> None:
    at = heard_page(engine)
    assert "none is set up for you: Settings → My account" in said(at)
    assert button(at, f"Arm {ACCOUNT}").disabled

    totp = pyotp.TOTP(signed.accounts.enrol(signed.secret, PASSWORD).secret)
    signed.accounts.confirm(signed.secret, totp.at(signed.clock.now()))
    at = heard_page(engine)
    assert "**One-time code** of your authenticator app, first:" in said(at)
    assert button(at, f"Arm {ACCOUNT}").disabled

    signed.clock.advance(minutes=10)
    signed.accounts.confirm(signed.secret, totp.at(signed.clock.now()))
    at = heard_page(engine)
    assert "Code taken: good for one arming until" in said(at)
    at.text_input(key="arm_typed").set_value(PHRASE)
    ran(button(at, f"Arm {ACCOUNT}").click().run())

    command = asked(engine)
    assert command.kind is Kind.ARM
    assert Authority(signed.accounts).rule(command.actor, command.kind).allowed
    assert not Authority(signed.accounts).rule(command.actor, command.kind).allowed
    assert totp.secret not in repr(at.session_state)


def test_who_may_not_arm_sees_why_and_no_field(engine: StandIn, signed: Peopled) -> None:
    engine.says(arming=arming(False))
    signed.cookies["sid"] = signed.accounts.sign_in("tim", PASSWORD)

    at = settings_page()

    assert "does not arm" in said(at)
    assert "Disarmed" in said(at)
    assert not any(str(one.key).startswith(("arm_", "etrade_")) for one in [*at.button, *at.text_input])


def test_another_account_is_picked_by_its_name(engine: StandIn) -> None:
    engine.says(arming=arming(False))
    at = settings_page()

    ran(at.radio(key=f"arm_account_{ACCOUNT}").set_value(OTHER).run())
    ran(button(at, f"Use {OTHER}").click().run())

    command = asked(engine)
    assert (command.kind, command.payload) == (Kind.PICK_ACCOUNT, {"account": OTHER})


def test_the_doctor_is_asked_for_everything(engine: StandIn) -> None:
    engine.says(arming=arming(False))
    at = settings_page()

    ran(button(at, "Look at everything").click().run())
    assert (asked(engine).kind, asked(engine).payload) == (Kind.SIGN_IN, {"step": "check"})
    engine.answer()

    assert "Prices are late. Sign the market-data agreement." in said(ran(at.run()))


def test_the_rehearsal_says_that_no_money_moves(start: Start) -> None:
    start("rehearsal").says(arming=arming(False, phrase="TRADE 9377"))

    at = settings_page()

    assert ":violet[rehearsal]" in said(at)
    assert "No money moves" in said(at)
    assert "real money** in this account" not in said(at)


# The bar on every page


@pytest.mark.parametrize(
    ("state", "armed", "word", "note"),
    [
        ("ready", True, "ARMED", ""),
        ("ready", False, "DISARMED", "no entries"),
        ("signed out", True, "ARMED", "signed out, no entries"),
        ("recovering", True, "ARMED", "recovering"),
    ],
)
def test_the_banner_says_whose_money_it_is_and_what_is_sent(
    engine: StandIn, state: str, armed: bool, word: str, note: str
) -> None:
    engine.says(state, arming=arming(armed))

    banner = look()["banner"]

    assert (banner["word"], banner["money"], banner["account"]) == ("LIVE", "real money", ACCOUNT)
    assert (banner["state"], banner["note"], banner["armed"]) == (word, note, armed)


def test_an_engine_that_is_not_heard_sends_nothing_whatever_it_last_said(engine: StandIn) -> None:
    engine.says(arming=arming(True), ago=timedelta(seconds=9))

    banner = look()["banner"]

    assert (banner["state"], banner["note"], banner["armed"]) == ("NO ENGINE", "nothing is sent", False)


def test_signed_out_is_said_once_with_the_way_to_sign_in(engine: StandIn) -> None:
    problems = ["Sign in to E*TRADE: Settings → E*TRADE. The day is over.", "The disk is full."]
    engine.says("signed out", arming=arming(True), problems=problems)

    told = look()

    [notice] = told["notices"]
    assert notice["said"].startswith("Signed out of E*TRADE: no new entries. Stops that rest at E*TRADE stay and work.")
    assert (notice["tone"], notice["go"], notice["size"]) == ("bad", "E*TRADE", "big")
    assert told["engine"]["problems"] == ["The disk is full."]


def test_differences_are_one_line_and_what_is_not_known_one_each(engine: StandIn) -> None:
    many = [difference(), difference("cash", "1.00", "2.00", hint="")]
    engine.says(differences=many, uncertain=[uncertain(order=f"o{n}") for n in range(5)])

    lines = [notice["said"] for notice in look()["notices"]]

    assert lines[0] == "This desk and E*TRADE differ in 2 figures: AAPL, Cash."
    assert lines[1].startswith("Not known yet whether buy 10 MSFT reached E*TRADE. Looking; decided at 10:35:11")
    assert lines[3:] == ["And 3 more of these."]


def test_a_problem_that_only_repeats_a_difference_is_left_out(engine: StandIn) -> None:
    text = "AAPL in ••••9377: the ledger has 100, the broker 1000."
    engine.says(differences=[difference(said=text)], problems=[text, "Something else."])

    told = look()

    assert [notice["said"] for notice in told["notices"]] == [text]
    assert told["engine"]["problems"] == ["Something else."]


@pytest.mark.parametrize(
    "details",
    [
        {"arming": None, "differences": None, "uncertain": "x", "outside": {}},
        {
            "arming": {"steps": [None, {}], "accounts": None},
            "differences": [None, {}],
            "uncertain": [{}],
            "outside": [{}],
        },
        {"arming": [], "uncertain": [{"order": "o1", "until": "soon", "candidates": [None]}]},
    ],
)
def test_an_odd_word_of_the_engine_breaks_no_page(engine: StandIn, details: dict[str, Any]) -> None:
    engine.says(**details)

    assert look()["banner"]["state"] == "DISARMED"
    settings_page()
    positions_page()


# Positions and orders


def test_a_difference_is_shown_in_both_figures_and_taken_over_as_it_was_shown(engine: StandIn) -> None:
    engine.says(arming=arming(True), differences=[difference()])
    at = positions_page()
    assert "Looks like a 10-for-1 split." in said(at)
    assert [(one.label, one.value) for one in at.metric][:2] == [("This desk", "100"), ("E*TRADE", "1,000")]

    at = positions_page("accept_difference", account=ACCOUNT, about="AAPL", here="100", there="1000")
    confirm = button(at, "Take 1,000 for AAPL")
    assert confirm.disabled


def test_what_is_taken_over_carries_the_figures_and_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    one = standing.Difference(ACCOUNT, "cash", "12500.25", "12750.25", "", "")
    monkeypatch.setattr(differences.st, "session_state", {"diff_reason_k": " a dividend "})

    assert differences._accepting(one, "k") == {
        "account": ACCOUNT,
        "about": "cash",
        "here": "12500.25",
        "there": "12750.25",
        "reason": "a dividend",
    }
    assert (one.name, one.figure(one.here)) == ("Cash", "12,500.25")


def test_shares_from_outside_are_marked_and_ask_for_no_stop(engine: StandIn) -> None:
    engine.bought("AAPL", 100, "229.40")
    engine.from_outside("KO", 20)
    engine.says(arming=arming(True), outside=[{"account": ACCOUNT, "symbol": "KO", "quantity": "20"}])

    at = positions_page()

    assert "Bought outside this desk: 20 KO. Counted, never touched" in said(at)
    [table] = [frame.value for frame in at.dataframe if "Outside" in frame.value.columns]
    assert list(table["Outside"]) == ["", "20"]
    assert list(table["Protected"]) == ["NO STOP", "bought outside"]
    assert [one.key for one in at.button if str(one.key).startswith("pos_stop_")] == ["pos_stop_AAPL"]
    assert look()["account"]["without_stop"] == ["AAPL"]


def test_an_order_that_is_not_known_says_until_when_and_a_frozen_one_asks(engine: StandIn) -> None:
    engine.says(arming=arming(True), uncertain=[uncertain(), uncertain(True, order="o-2", symbol="TSLA")])

    at = positions_page()

    assert "decided at 10:35:11 New York at the latest. No other entry in MSFT until then." in said(at)
    assert "A person must say what became of buy 10 TSLA" in said(at)
    assert [one.label for one in at.button].count("Say which it is…") == 1


def test_a_person_says_which_order_it_is_or_that_it_is_none(engine: StandIn) -> None:
    engine.says(arming=arming(True), uncertain=[uncertain(True)])
    at = positions_page("settle_order", order_id="o-uncertain")

    choices = next(one for one in at.radio if str(one.key).startswith("settle_choice_"))

    assert [text.replace("\\", "") for text in choices.options] == [
        "Order 8143: buy 10 MSFT, market, 10:29:41, filled",
        "Order 8144: buy 10 MSFT, market, 10:29:43, open",
        "None of these: it never reached E*TRADE",
    ]
    assert choices.value is None
    assert button(at, "Say so").disabled


@pytest.mark.parametrize(("choice", "expected"), [("8144", "8144"), ("", "")])
def test_what_is_settled_names_the_order_and_the_reason(
    monkeypatch: pytest.MonkeyPatch, choice: str, expected: str
) -> None:
    status = EngineStatus("engine 1 on here", 1, NOW, NOW, "ready", {"uncertain": [uncertain(True)]})
    [one] = standing.uncertain(status)
    monkeypatch.setattr(differences.st, "session_state", {"settle_choice_k": choice, "settle_reason_k": "its site"})

    assert differences._settling(one, "k") == {"order": "o-uncertain", "broker_id": expected, "reason": "its site"}


def test_a_settled_order_leaves_nothing_to_say(engine: StandIn) -> None:
    engine.says(arming=arming(True))

    assert "Nothing is left to say here" in said(positions_page("settle_order", order_id="o-uncertain"))


def test_amounts_of_a_difference_are_never_rounded_away() -> None:
    status = EngineStatus(
        "engine 1", 1, NOW, NOW, "ready", {"differences": [difference("BRK.B", "0.5", "-3", hint="")]}
    )
    [one] = standing.differences(status)

    assert standing.difference_words(one) == "BRK.B: this desk has 0.5, E*TRADE has −3."
    assert Decimal(one.here) == Decimal("0.5")


def test_limits_are_set_on_purpose_to_what_they_are(engine: StandIn) -> None:
    engine.says(arming=arming(False, "Limits"))
    at = AppTest.from_file(str(ROOT / "pages" / "settings.py"), default_timeout=60)
    at.query_params["tab"] = "Risk"
    at = ran(at.run())

    ran(button(at, "Set them to these values").click().run())

    wished = {command.payload["name"]: command.payload["value"] for command in engine.inbox.pending()}
    now = Limits().to_dict()
    assert wished == {name: now[name] for name in ("max_notional", "max_daily_loss_pct", "max_orders_per_day")}
