"""What a person sees of being told: history, log, subscriptions, channels and rules, for an owner and for others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from pathlib import Path
from uuid import uuid4

import filelock
import pytest
from streamlit.testing.v1 import AppTest

import backtest  # noqa: F401 - AppTest puts pages/ first on the path, where a page has this name
import bootstrap
import performance_utils as pu
from desk.people import OWNER, People
from desk.subscriptions import wish
from domain.clock import ManualClock
from domain.notices import Kind, Severity
from notices.odds import odds
from notices.outbox import Ended, Outbox, State
from notices.rules import Rules
from notifier import rules_of, switch_channel
from tests.accounts import PASSWORD, with_people
from tests.alert_servers import says, silent_server, web_server
from tests.conftest import ROOT
from tests.notices import notice
from ui import alert_history, alert_log, channel_trials, channels, notice_rules, pattern_past, sign_in, telling

AT = datetime.now(UTC).replace(microsecond=0)
SLACK = "SLACK_WEBHOOK_URL"


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A newcomer's machine, its simulated market open."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SIMULATED_START", "2026-11-20T10:30")
    monkeypatch.chdir(ROOT)
    forget()
    monkeypatch.setattr(bootstrap, "_started", None)
    yield tmp_path / "data"
    forget()
    pu.use_desk(None)


def forget() -> None:
    bootstrap.people.cache_clear()
    bootstrap._trading.cache_clear()
    telling._held.clear()


@pytest.fixture
def people() -> People:
    return bootstrap.people()


@pytest.fixture
def outbox(data: Path) -> Iterator[Outbox]:
    data.mkdir(exist_ok=True)
    found = Outbox(f"sqlite:///{data / 'notices.db'}", ManualClock(AT))
    yield found
    found.close()


def signed_in(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this person look at every page: the accounts and the sign-in are real, the cookie is given by hand."""
    accounts = with_people(tmp_path)
    monkeypatch.setattr(bootstrap, "accounts", lambda: accounts)
    secret = accounts.sign_in(name, PASSWORD, "127.0.0.1")
    monkeypatch.setattr(sign_in, "_secret", lambda: secret)


def page(name: str = "alerts", tab: str = "", **query: str) -> AppTest:
    at = AppTest.from_file(str(ROOT / "pages" / f"{name}.py"), default_timeout=60)
    for key, value in {**({"tab": tab} if tab else {}), **query}.items():
        at.query_params[key] = value
    return ran(at.run())


def ran(at: AppTest) -> AppTest:
    assert not at.exception, at.exception
    return at


def said(at: AppTest) -> str:
    kinds = (at.markdown, at.caption, at.info, at.error, at.warning, at.success)
    texts = [*(element.value for kind in kinds for element in kind), *(one.label for one in at.toggle)]
    return "\n".join(texts).replace("\\", "")


def lines(at: AppTest) -> list[dict[str, object]]:
    [table] = [frame.value for frame in at.dataframe if "State" in frame.value]
    return list(table.to_dict("records"))


def told_in_every_state(outbox: Outbox) -> None:
    """Sent to mail, failed by phone after two tries, waiting for Slack, and one that no channel took."""
    to = (("email", "olga@example.com", None), ("sms", "+12125550123", None), ("slack", "", AT + timedelta(hours=9)))
    outbox.put([notice("1", to=to, title="Sold 120 NVDA at 187.20", symbol="NVDA", kind=Kind.BIG_TRADE)])
    outbox.put([notice("2", to=(), why_not="sms: is not set up", symbol="TSLA", kind=Kind.PATTERN)])
    [mail] = outbox.turn("email", claim=1)
    outbox.turn("email", [Ended(mail.rows, State.SENT, "250 OK")])
    [text] = outbox.turn("sms", claim=1)
    [text] = outbox.turn("sms", [Ended(text.rows, State.WAITING, "busy", AT)], claim=1)
    outbox.turn("sms", [Ended(text.rows, State.FAILED, "not a valid phone number")])


# History


def test_who_has_no_channel_is_told_what_to_do_and_that_nobody_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFIER", "off")

    at = page()

    assert "No channel reaches you yet." in said(at)
    assert "NOTIFIER=off and no `python notifier.py` runs" in said(at)
    assert at.button(key="history_setup").label == "Set up a channel"


def test_who_has_a_channel_is_told_that_it_waits_for_its_first_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SLACK, "http://127.0.0.1:9/hook")

    assert "Nothing has been told yet. Slack is ready." in said(page()).replace("**", "")


def test_a_notifier_that_runs_ends_the_warning(data: Path) -> None:
    data.mkdir()
    with filelock.FileLock(data / "notices.lock"):
        assert "Nobody tells" not in said(page())

    telling._held.clear()  # it is kept for two seconds
    assert "Nobody tells" in said(page("settings", "Notifications"))


def test_each_line_says_where_it_is_and_why(outbox: Outbox) -> None:
    told_in_every_state(outbox)

    shown = lines(page())

    states = [(line["State"], line["Channel"], line["To"], line["Said"], line["Tries"]) for line in shown]
    local = (AT + timedelta(hours=9)).astimezone(alert_history.wording.ZoneInfo("America/New_York"))
    assert states == [
        ("⊘ not sent", "–", "owner", "sms: is not set up", 0),
        (f"◷ waits until {local:%H:%M}", "Slack", "everybody there", "", 0),
        ("✖ failed, 2 tries", "SMS", "+12125550123", "not a valid phone number", 2),
        ("✔ sent", "Email", "olga@example.com", "250 OK", 1),
    ]


def test_filters_stand_in_the_address(outbox: Outbox) -> None:
    told_in_every_state(outbox)
    at = page(kind="Big trades", symbol="nvda")
    assert [line["Channel"] for line in lines(at)] == ["Slack", "SMS", "Email"]

    ran(at.selectbox(key="channel").set_value("SMS").run())
    assert [line["Channel"] for line in lines(at)] == ["SMS"]

    ran(at.selectbox(key="state").set_value("✔ sent").run())
    assert "Nothing fits these filters." in said(at)

    ran(at.button(key="history_clear").click().run())
    assert [line["Channel"] for line in lines(at)] == ["–", "Slack", "SMS", "Email"]


def test_older_lines_are_a_press_away(outbox: Outbox) -> None:
    outbox.put([notice(str(n), title=f"Fill {n}") for n in range(60)])
    at = page()
    assert [line["Message"] for line in lines(at)][::49] == ["Fill 59", "Fill 10"]

    ran(at.button(key="history_older").click().run())
    assert [line["Message"] for line in lines(at)][::9] == ["Fill 9", "Fill 0"]


def test_what_is_older_than_asked_is_left_out(data: Path) -> None:
    data.mkdir()
    for name, days in (("new", 0), ("old", 3)):
        box = Outbox(f"sqlite:///{data / 'notices.db'}", ManualClock(AT - timedelta(days=days)))
        box.put([notice(name, title=name)])
        box.close()
    app = type("App", (), {"may": lambda self, deed: True})()

    def left(days: int) -> list[str]:
        wanted = alert_history.Filters(days=days)
        return [line.title for line in alert_history.found(telling.outbox(), app, wanted, None, 9)]

    assert (left(7), left(1)) == (["old", "new"], ["new"])


def test_a_line_opens_whole(outbox: Outbox) -> None:
    told_in_every_state(outbox)
    [line] = outbox.history(channel="sms")
    at = AppTest.from_file(str(ROOT / "pages" / "alerts.py"), default_timeout=60)
    at.session_state["desk_dialog"] = ("told", uuid4().hex, {"line": line})

    assert "not a valid phone number" in said(ran(at.run()))


def test_others_than_the_owner_see_their_own_lines_and_the_rooms(
    outbox: Outbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told_in_every_state(outbox)
    outbox.put([notice("3", "email", "vera@example.com", person="vera", title="For vera")])
    outbox.put([notice("4", "email", "tim@example.com", person="tim", title="For tim")])
    signed_in("vera", tmp_path, monkeypatch)

    shown = [(line["Message"], line["To"]) for line in lines(page())]

    assert shown == [("For vera", "vera, vera@example.com"), ("Sold 120 NVDA at 187.20", "everybody there")]


# Log


def write(data: Path, **line: object) -> None:
    (data / "logs").mkdir(parents=True, exist_ok=True)
    told = {"at": AT.isoformat(), "level": "info", "program": "engine", "logger": "desk", "event": "x", **line}
    with (data / "logs" / "desk.jsonl").open("a") as file:
        file.write(json.dumps(told) + "\n")


def test_the_log_is_newest_first_and_says_when_it_is_empty(data: Path) -> None:
    assert "Nothing is in the log yet." in said(page(tab="Log"))
    write(data, event="began")
    write(
        data, level="error", event="refused", symbol="NVDA", order="1f03", exception="Traceback\nValueError: no price"
    )

    [table] = page(tab="Log").dataframe

    rows = table.value[["Level", "What", "Exception", "Order"]].to_numpy().tolist()
    assert rows == [["✖ error", "refused", "ValueError: no price", "1f03"], ["● info", "began", "", ""]]


def test_the_log_can_be_narrowed_in_the_address(data: Path) -> None:
    write(data, level="error", event="b", symbol="NVDA", order="1f03")
    write(data, event="c", program="notifier")
    write(data, level="debug", event="d")

    def found() -> list[str]:
        return list(at.dataframe[0].value["What"])

    at = page(tab="Log", level="Everything")
    assert found() == ["d", "c", "b"]
    ran(at.segmented_control(key="level").set_value("Errors").run())
    assert found() == ["b"]
    ran(at.segmented_control(key="level").set_value("Info").run())
    ran(at.text_input(key="about").set_value("nvda").run())
    assert found() == ["b"]
    ran(at.text_input(key="about").set_value("").run())
    ran(at.selectbox(key="program").set_value("notifier").run())
    assert found() == ["c"]
    ran(at.text_input(key="text").set_value("nothing like it").run())
    assert "No line fits these filters." in said(at)


def test_addresses_of_others_are_taken_out_of_the_log_for_who_does_not_own_the_desk(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(data, level="warning", event="email: olga@example.com, +12125550123 refused", to="olga@example.com")
    assert "olga@example.com" in page(tab="Log").dataframe[0].value["What"][0]
    signed_in("tim", tmp_path, monkeypatch)

    assert page(tab="Log").dataframe[0].value["What"].tolist() == ["email: [address], [phone] refused"]
    assert "No line fits" in said(page(tab="Log", text="olga@"))
    [line] = alert_log.lines(data / "logs" / "desk.jsonl", alert_log.Filters(), addresses=False)
    assert line.more == {"to": "[address]"}


def test_a_line_with_an_exception_opens_with_it_folded(data: Path) -> None:
    write(data, level="error", event="broke", exception="Traceback\nValueError: no price")
    [line] = alert_log.lines(data / "logs" / "desk.jsonl", alert_log.Filters(), addresses=True)
    at = AppTest.from_file(str(ROOT / "pages" / "alerts.py"), default_timeout=60)
    at.session_state["desk_dialog"] = ("log_line", uuid4().hex, {"line": line})
    ran(at.run())

    assert [fold.label for fold in at.expander] == ["ValueError: no price"]
    assert at.code[0].value == "Traceback\nValueError: no price"


# Subscriptions


def mine(**query: str) -> AppTest:
    return page(tab="My subscriptions", **query)


def test_a_wish_is_said_in_words_with_its_past_before_it_is_kept(
    people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SLACK, "http://127.0.0.1:9/hook")
    at = mine()
    assert "Not complete yet: Symbol: choose one, such as NVDA" in said(at)

    at.text_input(key="tell_mine_symbol").set_value("nvda").run()
    ran(at.toggle(key="tell_mine_by_slack").set_value(True).run())
    assert "Tell me by Slack when a Hammer with an edge above the base rate appears on NVDA 15m." in said(at)
    assert "Hammer (bullish) on NVDA 15m: seen " in said(at)
    assert at.toggle(key="tell_mine_by_email").disabled
    assert "not set up" in said(at)
    assert people.subscriptions() == []

    ran(at.button(key="tell_mine_save").click().run())
    [kept] = people.subscriptions()
    wanted = wish(
        OWNER, "pattern", symbol="NVDA", pattern="Hammer", timeframe="15m", least_edge_bps=0, channels=["slack"]
    )
    assert (kept.words, kept.channels, kept.on) == (wanted.words, ("slack",), True)
    assert "Kept. Tell me by Slack" in said(at)


def test_what_is_said_of_a_past_is_what_the_notifier_goes_by(people: People) -> None:
    app = type("App", (), {"desk": bootstrap.start()})
    [(known, words)] = pattern_past.seen(app, "NVDA", "15m", "Hammer")  # type: ignore[arg-type]
    [(rare, rarely)] = pattern_past.seen(app, "NVDA", "15m", "Concealing Baby Swallow")  # type: ignore[arg-type]

    window = app.desk.market.window(pattern_past.instrument("NVDA"), pattern_past.timeframe("15m"), bars=2000)
    assert known == odds(pu.bridge().run(window).candles, "Hammer")
    edge = f"{known.edge_bps:+.1f}".replace("-", "−")
    assert f"seen {known.count} times in 2,000 bars" in words
    assert f"edge {edge} bps" in words
    assert rare.count < 10
    assert "From 10 cases on it can be said what follows it." in rarely


def test_an_error_names_field_and_cure_and_nothing_typed_is_lost(people: People) -> None:
    at = mine()
    at.segmented_control(key="tell_mine_kind").set_value(Kind.PRICE_ABOVE).run()
    at.text_input(key="tell_mine_symbol").set_value("NVDA").run()
    at.text_input(key="tell_mine_level").set_value("12,x").run()
    ran(at.button(key="tell_mine_save").click().run())

    assert [e.value.replace("\\", "") for e in at.error] == ["A price level is a number such as 187.50: got '12x'."]
    assert (at.text_input(key="tell_mine_level").value, people.subscriptions()) == ("12,x", [])

    at.text_input(key="tell_mine_level").set_value("187.5").run()
    ran(at.button(key="tell_mine_save").click().run())
    assert [one.level for one in people.subscriptions()] == [D("187.5")]


def test_one_is_changed_switched_removed_and_put_back(people: People) -> None:
    kept = people.subscribe(wish(OWNER, "price_below", symbol="TSLA", level="200", timeframe="5m", channels=["slack"]))
    at = mine()
    assert "TSLA falls to 200 (5m bars)" in said(at)

    ran(at.toggle(key=f"tell_mine_on_{kept.id}").set_value(False).run())
    assert not people.subscriptions()[0].on

    ran(at.button(key=f"tell_mine_change_{kept.id}").click().run())
    assert at.text_input(key="tell_mine_level").value == "200"
    assert (at.selectbox(key="tell_mine_tf").value, at.toggle(key="tell_mine_by_slack").value) == ("5m", True)
    at.text_input(key="tell_mine_level").set_value("190").run()
    ran(at.button(key="tell_mine_save").click().run())
    assert [(one.id, one.level, one.on) for one in people.subscriptions()] == [(kept.id, D(190), False)]

    ran(at.button(key=f"tell_mine_remove_{kept.id}").click().run())
    assert people.subscriptions() == []
    ran(at.button(key="tell_mine_undo").click().run())
    assert [(one.level, one.on) for one in people.subscriptions()] == [(D(190), False)]


def test_the_live_dashboard_offers_it_for_the_symbol_shown(people: People) -> None:
    people.subscribe(wish(OWNER, "fill", symbol="TSLA"))
    people.subscribe(wish(OWNER, "stop_moved", symbol="NVDA"))
    at = AppTest.from_file(str(ROOT / "pages" / "live_dashboard.py"), default_timeout=60)
    at.query_params["symbol"] = "NVDA"
    at.session_state["desk_pattern_tabs"] = "Tell me"
    ran(at.run())

    assert "Tell me about NVDA" in said(at)
    assert "A stop moved in NVDA" in said(at)
    assert "And 1 about other symbols" in said(at)
    ran(at.segmented_control(key="tell_desk_kind").set_value(Kind.FILL).run())
    ran(at.button(key="tell_desk_save").click().run())
    assert people.subscriptions()[-1].words == "Fills in NVDA"


def test_a_viewer_subscribes_for_herself_and_is_told_where_she_has_no_address(
    people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"SMTP_SERVER": "127.0.0.1", "SMTP_USER": "olga@example.com", "SMTP_PASS": "p"}.items():
        monkeypatch.setenv(name, value)
    signed_in("vera", tmp_path, monkeypatch)
    at = mine()
    assert "it has no address of yours" in said(at)
    at.segmented_control(key="tell_mine_kind").set_value(Kind.FILL).run()
    ran(at.button(key="tell_mine_save").click().run())

    assert [one.person for one in people.subscriptions()] == ["vera"]


# Channels and rules


def settings_page() -> AppTest:
    return page("settings", "Notifications")


def test_each_channel_says_its_state_and_is_switched(
    people: People, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SLACK, "http://127.0.0.1:9/hook")
    monkeypatch.setenv("WEBHOOK_URL", "http://127.0.0.1:9/hook")
    outbox.note("webhook", needs_person=True, said="Webhook answered 401: its key is refused")
    at = settings_page()

    assert "Not set up: it needs Twilio account SID, Twilio token, From number, To numbers." in said(at)
    assert "NEEDS YOU" in said(at)
    assert "Needs you: Webhook answered 401: its key is refused." in said(at)
    assert at.button(key="channel_test_sms").disabled

    ran(at.toggle(key="channel_on_slack").set_value(False).run())
    assert rules_of(people).off == {"slack"}
    assert "OFF" in said(at)


def test_rules_are_kept_as_a_whole_or_not_at_all(people: People) -> None:
    switch_channel(people, "sms", False)
    at = settings_page()
    mark = notice_rules._mark(rules_of(people))
    at.pills(key=f"rules_{mark}_route_error").set_value(["email", "slack"])
    at.selectbox(key=f"rules_{mark}_least_sms").set_value(Severity.WARNING)
    at.number_input(key=f"rules_{mark}_hour_email").set_value(7)
    at.toggle(key=f"rules_{mark}_quiet").set_value(True)
    at.selectbox(key=f"rules_{mark}_zone").set_value("Europe/Berlin")
    at.text_input(key=f"rules_{mark}_big").set_value("lots")
    keep = next(b for b in at.button if b.label == "Keep these rules")
    ran(keep.click().run())
    assert "Nothing was changed. A big trade is an amount above zero, such as 10000: got 'lots'." in said(at)
    assert at.number_input(key=f"rules_{mark}_hour_email").value == 7
    assert rules_of(people) == Rules(off=frozenset({"sms"}))

    at.text_input(key=f"rules_{mark}_big").set_value("25,000")
    ran(next(b for b in at.button if b.label == "Keep these rules").click().run())

    kept = rules_of(people)
    assert (kept.off, kept.routes, kept.big_trade) == ({"sms"}, {Kind.ERROR: ("email", "slack")}, D(25_000))
    assert (kept.least, kept.per_hour) == ({"sms": Severity.WARNING}, {"email": 7})
    assert kept.quiet is not None
    assert (kept.quiet.zone, f"{kept.quiet.start:%H:%M}", kept.quiet.passes) == (
        "Europe/Berlin",
        "22:00",
        Severity.URGENT,
    )


def test_who_does_not_own_the_desk_sets_own_addresses_and_nothing_else(
    people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SLACK, "http://127.0.0.1:9/hook")
    signed_in("tim", tmp_path, monkeypatch)
    at = settings_page()
    keep = next(b for b in at.button if b.label == "Keep these rules")
    assert all(one.disabled for one in (keep, at.toggle(key="channel_on_slack"), at.button(key="channel_test_slack")))
    assert "The role trader does not change how people are told." in said(at)

    at.text_input(key="own_sms").set_value("555")
    ran(next(b for b in at.button if b.label == "Keep").click().run())
    assert "SMS: A phone number starts with + and the country" in said(at)
    assert at.text_input(key="own_sms").value == "555"
    at.text_input(key="own_sms").set_value("+12125550123")
    ran(next(b for b in at.button if b.label == "Keep").click().run())
    assert people.preference("addresses", {}, "tim") == {"sms": "+12125550123"}


@pytest.mark.parametrize("who", ["tim", "vera"])
def test_a_callback_does_nothing_for_who_may_not(
    who: str, people: People, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed_in(who, tmp_path, monkeypatch)
    state: dict[str, object] = {"on": False}
    monkeypatch.setattr(channels.st, "session_state", state)
    app = type("App", (), {"people": people.own(who), "desk": bootstrap.start()})

    channels._switch(app, "slack", "on")  # type: ignore[arg-type]
    channels._test(app, "slack")  # type: ignore[arg-type]
    notice_rules._keep_rules(app, "x")  # type: ignore[arg-type]

    assert rules_of(people) == Rules()
    assert "may not change how people are told" in str(state["channel_problem_slack"])
    assert "may not change how people are told" in str(state["rules_said"])
    assert channel_trials.trials(str(tmp_path / "data")).of("slack") is None


# A test, beside the page


def ended(trial: channel_trials.Trial) -> object:
    return trial.answer.result(20)


async def test_a_test_goes_out_beside_the_page_and_stands_in_the_history(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with web_server(says(200, "ok")) as server:
        monkeypatch.setenv(SLACK, f"{server.url}/hook")
        trials = channel_trials.Trials()
        first, again = trials.begin("slack", outbox), trials.begin("slack", outbox)
        tried = await asyncio.to_thread(ended, first)

    assert first is again
    assert (tried.ok, tried.said, len(server.heard)) == (True, "sent to Slack", 1)  # type: ignore[attr-defined]
    assert [(line.kind, line.state) for line in outbox.history()] == [(Kind.TEST, State.SENT)]


async def test_a_server_that_says_nothing_holds_nobody_up(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    async with silent_server() as port:
        monkeypatch.setenv("WEBHOOK_URL", f"http://127.0.0.1:{port}/hook")
        trial = channel_trials.Trials().begin("webhook", outbox, limit_s=0.3)
        assert trial.running
        tried = await asyncio.to_thread(ended, trial)

    assert (tried.ok, tried.said) == (False, "it did not end within 0 s")  # type: ignore[attr-defined]


def test_what_became_of_a_test_stays_in_its_card(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SLACK, "http://127.0.0.1:9/hook")
    at = settings_page()
    ran(at.button(key="channel_test_slack").click().run())
    trial = channel_trials.trials(str(data)).of("slack")
    assert trial is not None
    ended(trial)

    assert "Test of " in said(settings_page())
    assert any("Slack" in e.value for e in settings_page().error)
