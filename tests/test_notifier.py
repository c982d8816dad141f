"""notifier.py and its queue: everybody is told once, whatever fails, and nothing is lost over a kill."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import notifier as program
from desk import logs
from desk.beside import Beside
from desk.live_book import LiveBook
from desk.people import People
from desk.subscriptions import Subscription, wish
from domain import candles as cd
from domain.clock import ManualClock, SystemClock, monotonic
from domain.commands import Kind as Command
from domain.errors import DataError, DeskError, LeaseHeld, LedgerConflict, UnknownName
from domain.instruments import Instrument, instrument
from domain.notices import Kind, Severity
from domain.orders import Fill, Side
from domain.positions import Position
from domain.quotes import Quote
from notices import happenings, ledger_watch, sending
from notices.addressing import ADDRESSES, Directory
from notices.bar_watch import BarWatch, position_of
from notices.happenings import Happening
from notices.ledger_watch import LedgerWatch, Pulse
from notices.odds import odds
from notices.outbox import Ended, Outbox, State
from notices.rules import Quiet, Rules
from notices.sending import Pace
from notices.summary import brought, due, summary
from notifier import Notifier, Parts
from settings import Settings
from tests.accounts import with_people
from tests.alert_servers import free_port, mail_server, says, twilio_ok, web_server
from tests.campaigns import notices as campaign
from tests.notices import AT, notice
from tests.trading import MORNING, trading

ALL_DAY = Quiet(time(0), time(23, 59), "UTC")
QUICK = Pace(first_rest_s=0.03, longest_rest_s=0.1, look_s=0.02)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(AT)


@pytest.fixture
def outbox(tmp_path: Path, clock: ManualClock) -> Iterator[Outbox]:
    made = Outbox(f"sqlite:///{tmp_path / 'notices.db'}", clock)
    yield made
    made.close()


@pytest.fixture
def people(tmp_path: Path) -> People:
    return People(f"sqlite:///{tmp_path / 'people.db'}")


def sent(*rows: int) -> Ended:
    return Ended(rows, State.SENT, "ok")


# The queue


def test_a_message_and_its_position_stand_or_fall_together(outbox: Outbox) -> None:
    outbox.put([notice("1")], {"ledger": (None, 5)})

    with pytest.raises(LedgerConflict, match="another notifier has read on to 5"):
        outbox.put([notice("2")], {"ledger": (None, 9)})

    assert outbox.position("ledger") == 5
    assert [one.id for one in outbox.history()] == ["n:1"]


def test_saying_it_again_tells_nobody_twice(outbox: Outbox) -> None:
    assert outbox.put([notice("1"), notice("1")]) == 1
    assert outbox.put([notice("1")]) == 0

    assert outbox.counts() == {"waiting": 1}


def test_the_same_thing_is_told_once_in_its_window(outbox: Outbox, clock: ManualClock) -> None:
    def error(name: str, person: str = "owner") -> Any:
        return notice(name, kind=Kind.ERROR, about="error:x", person=person)

    outbox.put([error("1"), error("2"), error("3"), error("4", "ann")])
    clock.advance(seconds=3601)
    outbox.put([error("5")])

    assert [(one.id, one.repeats) for one in outbox.history()] == [("n:5", 0), ("n:4", 0), ("n:1", 2)]


def test_what_is_claimed_is_nobody_else_s(outbox: Outbox) -> None:
    outbox.put([notice(str(n)) for n in range(5)])

    first, second = outbox.turn("webhook", claim=3), outbox.turn("webhook", claim=3)

    assert [one.message.id for one in first + second] == [f"n:{n}" for n in range(5)]
    assert outbox.turn("webhook", claim=3) == []
    assert outbox.turn("email", claim=3) == []


def test_the_urgent_goes_first(outbox: Outbox) -> None:
    outbox.put([notice("1"), notice("2", severity=Severity.URGENT), notice("3", severity=Severity.WARNING)])

    assert [one.message.id for one in outbox.turn("webhook", claim=3)] == ["n:2", "n:3", "n:1"]


def test_what_was_under_way_at_a_death_is_in_doubt(outbox: Outbox, clock: ManualClock) -> None:
    outbox.put([notice("1"), notice("2")])
    [under_way] = outbox.turn("webhook", claim=1)
    clock.advance(seconds=9)

    assert outbox.recover() == 1

    again, fresh = outbox.turn("webhook", claim=2)
    assert (again.rows, again.doubtful, again.since) == (under_way.rows, True, AT)
    assert (fresh.message.id, fresh.doubtful) == ("n:2", False)


def test_a_cap_holds_back_all_but_the_urgent(outbox: Outbox, clock: ManualClock) -> None:
    outbox.put([notice(str(n)) for n in range(4)])
    for _ in range(4):
        for one in outbox.turn("webhook", claim=1, per_hour=2):
            clock.advance(seconds=1)
            outbox.turn("webhook", [sent(*one.rows)])
    outbox.put([notice("now", severity=Severity.URGENT)])

    assert outbox.counts() == {"sent": 2, "waiting": 3}
    assert [one.message.id for one in outbox.turn("webhook", claim=1, per_hour=2)] == ["n:now"]
    clock.advance(minutes=61)
    assert [one.message.id for one in outbox.turn("webhook", claim=1, per_hour=2)] == ["n:2"]


def test_many_go_as_one_and_stay_one_at_every_try(outbox: Outbox) -> None:
    outbox.put([notice(str(n), "sms", "+1") for n in range(8)] + [notice("else", "sms", "+2")])

    [many], [other] = (outbox.turn("sms", claim=1, bundles=True) for _ in range(2))
    outbox.put([notice("late", "sms", "+1")])
    outbox.turn("sms", [Ended(many.rows, State.WAITING, "down", due=AT), sent(*other.rows)])
    again = outbox.turn("sms", claim=1, bundles=True)[0]

    assert many.message.title == "8 notices"
    assert many.message.text.splitlines()[0] == "15:30 Fill 0"
    assert again.message == many.message
    assert again.rows == many.rows


def test_quiet_hours_span_midnight() -> None:
    quiet = Quiet(time(22), time(7), "America/New_York")
    rules = Rules(quiet=quiet)
    night, day = datetime(2026, 11, 21, 4, tzinfo=AT.tzinfo), AT  # 23:00 and 10:30 in New York

    assert rules.held_until("sms", Severity.INFO, night) == datetime(2026, 11, 21, 12, tzinfo=AT.tzinfo)
    assert rules.held_until("sms", Severity.URGENT, night) is None
    assert rules.held_until("sms", Severity.INFO, day) is None
    assert replace(rules, quiet=replace(quiet, channels=("email",))).held_until("sms", Severity.INFO, night) is None


def test_what_waits_for_a_day_is_given_up_and_says_why(outbox: Outbox, clock: ManualClock) -> None:
    outbox.put([notice("1"), notice("2", "sms")])
    [one] = outbox.turn("webhook", claim=1)
    outbox.turn("webhook", [Ended(one.rows, State.WAITING, "down", due=clock.now())])
    clock.advance(hours=25)

    assert outbox.tidy(["webhook"]) == 2

    assert {(told.channel, told.state, told.said) for told in outbox.history()} == {
        ("webhook", State.FAILED, "given up after a day: down"),
        ("sms", State.DROPPED, "the channel is off or not set up"),
    }


def test_the_history_is_found_by_what_one_looks_for(outbox: Outbox) -> None:
    outbox.put(
        [notice("1", symbol="AAPL"), notice("2", "sms", "+1", kind=Kind.BREAKER), notice("3", title="100 % sure")]
    )
    [one] = outbox.turn("webhook", claim=1)
    outbox.turn("webhook", [Ended(one.rows, State.FAILED, "refused")])

    assert [told.id for told in outbox.history()] == ["n:3", "n:2", "n:1"]
    assert [told.id for told in outbox.history(channel="sms")] == ["n:2"]
    assert [told.id for told in outbox.history(state="failed")] == ["n:1"]
    assert [told.id for told in outbox.history(kind="breaker")] == ["n:2"]
    assert [told.id for told in outbox.history(symbol="AAPL")] == ["n:1"]
    assert [told.id for told in outbox.history(text="100 %")] == ["n:3"]
    assert [told.id for told in outbox.history(before=outbox.history()[0].seq, most=1)] == ["n:2"]


# Rules, subscriptions, who is told


def test_rules_come_back_as_they_were_kept(people: People) -> None:
    rules = Rules(
        off=frozenset({"sms"}),
        routes={Kind.FILL: ("slack",), Kind.SUMMARY: ()},
        least={"email": Severity.WARNING},
        per_hour={"slack": 0},
        quiet=Quiet(time(22), time(7, 30), "Europe/Berlin", Severity.WARNING, ("email",)),
        big_trade=D("2500.50"),
        summary_at=time(17, 5),
    )
    program.set_rules(people, rules)

    assert program.rules_of(people) == rules
    program.switch_channel(people, "sms", True)
    assert program.rules_of(people).off == frozenset()


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"of": []}, "no rule is called 'of'"),
        ({"off": ["emial"]}, "Did you mean 'email'"),
        ({"routes": {"fil": ["email"]}}, "Did you mean 'fill'"),
        ({"quiet": {"start": "25:00", "end": "07:00"}}, "a time of day is written 22:00"),
        ({"quiet": {"start": "22:00", "end": "07:00", "zone": "Mars/X"}}, "no time zone is called 'Mars/X'"),
        ({"per_hour": {"sms": -1}}, r"0 \(any number\) to"),
        ({"big_trade": "much"}, "a big trade is an amount above zero"),
    ],
)
def test_a_wrong_rule_is_named(told: dict[str, Any], said: str) -> None:
    with pytest.raises(DeskError, match=said):
        Rules.of(told)


def test_a_wish_is_kept_in_one_spelling(people: People) -> None:
    hammer = wish("owner", "pattern", symbol="nvda", pattern="HAMMER", timeframe="15m", least_edge_bps=0)
    kept = people.subscribe(hammer)

    assert kept.words == "Hammer with an edge above the base rate on NVDA 15m"
    assert people.subscriptions("owner") == [kept]
    assert people.subscribe(hammer) == kept  # the same wish is the one there is
    people.switch(kept.id, False, "owner")
    assert people.subscriptions(only_on=True) == []
    people.unsubscribe(kept.id, "ann")
    assert len(people.subscriptions()) == 1
    people.unsubscribe(kept.id, "owner")
    assert people.subscribe(hammer).id > kept.id  # what was told is remembered by its id


def test_nobody_changes_somebody_else_s_wish(people: People) -> None:
    kept = people.subscribe(wish("owner", "fill", symbol="AAPL"))

    with pytest.raises(DeskError, match="is not there any more"):
        people.switch(kept.id, False, "ann")
    with pytest.raises(DeskError, match="is not there any more"):
        people.change(kept.id, wish("ann", "fill", symbol="KO"))


@pytest.mark.parametrize(
    ("asked", "error", "said"),
    [
        ({"kind": "patern"}, UnknownName, "Did you mean 'pattern'"),
        ({"kind": "pattern", "symbol": "NVDA", "timeframe": "15m"}, DeskError, "choose a pattern"),
        (
            {"kind": "pattern", "symbol": "NVDA", "pattern": "Hamer", "timeframe": "15m"},
            UnknownName,
            "Did you mean 'Hammer'",
        ),
        ({"kind": "pattern", "symbol": "NVDA", "pattern": "Hammer"}, DeskError, "choose the timeframe"),
        ({"kind": "pattern", "pattern": "Hammer", "timeframe": "15m"}, DeskError, "choose a symbol"),
        ({"kind": "price_above", "symbol": "NVDA"}, DeskError, "a price level is a number"),
        ({"kind": "price_above", "symbol": "NVDA", "level": "nan"}, DeskError, "must be above zero"),
        ({"kind": "price_below", "symbol": "N/V", "level": 5}, DataError, "a symbol is up to 15"),
        ({"kind": "fill", "level": 5}, DeskError, "takes no price level"),
        ({"kind": "fill", "symbol": "KO", "channels": ["emial"]}, UnknownName, "Did you mean 'email'"),
        ({"kind": "breaker", "symbol": "KO"}, DeskError, "concerns the whole desk"),
        ({"kind": "test"}, UnknownName, "no kind of notice"),
    ],
)
def test_a_wish_that_cannot_be_is_refused_by_name(asked: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        wish("owner", **asked)


class _Room:
    personal, kind = False, ""

    def addresses(self) -> tuple[str, ...]:
        return ("",)


class _Personal:
    personal, kind = True, "email"

    def addresses(self) -> tuple[str, ...]:
        return ("me@example.com",)


HAPPENED = Happening("l:7", Kind.FILL, Severity.INFO, "Bought 10 AAPL", "", AT, "AAPL")


def directory(*subscriptions: Subscription, rules: Rules | None = None, **addresses: dict[str, str]) -> Directory:
    usable: dict[str, Any] = {"email": _Personal(), "slack": _Room()}
    return Directory(rules or Rules(), usable, subscriptions, addresses)


def test_each_person_gets_one_notice_with_all_their_channels() -> None:
    mine = wish("owner", "fill", symbol="AAPL", channels=["email", "slack"])
    hers = wish("ann", "fill", channels=["email", "slack"])
    here = directory(mine, hers, wish("ann", "fill", symbol="KO"), ann={"email": "ann@example.com"})

    owner, ann = here.notices(HAPPENED, AT)

    assert (owner.id, owner.to) == ("l:7:owner", (("email", "me@example.com", None), ("slack", "", None)))
    assert (ann.id, ann.to) == ("l:7:ann", (("email", "ann@example.com", None), ("slack", "", None)))


def test_nobody_s_mail_goes_to_the_owner_and_the_reason_is_kept(outbox: Outbox) -> None:
    [_, ann] = directory(wish("ann", "fill", channels=["email", "sms"])).notices(HAPPENED, AT)
    outbox.put([ann])

    assert ann.to == ()
    [told] = outbox.history()
    assert (told.state, told.said) == (State.DROPPED, "email: has no address for ann; sms: is not set up")


def test_rules_route_hold_and_leave_out() -> None:
    def to(rules: Rules, kind: Kind = Kind.FILL, severity: Severity = Severity.INFO) -> list[str]:
        [owner] = directory(rules=rules).notices(replace(HAPPENED, kind=kind, severity=severity), AT)
        return [name for name, _, _ in owner.to]

    assert to(Rules()) == ["email", "slack"]
    assert to(Rules(off=frozenset({"email"}))) == ["slack"]
    assert to(Rules(routes={Kind.FILL: ()})) == []
    assert to(Rules(least={"slack": Severity.NOTICE})) == ["email"]
    assert to(Rules(), Kind.ERROR) == ["slack"]
    # What is urgent goes anywhere rather than nowhere.
    assert to(Rules(routes={Kind.BREAKER: ("sms",)}), Kind.BREAKER, Severity.URGENT) == ["email", "slack"]
    quiet = Rules(quiet=Quiet(time(10), time(11)))
    assert directory(rules=quiet).notices(HAPPENED, AT)[0].to[0][2] == AT + timedelta(minutes=30)


def test_half_a_character_stops_nobody_from_being_told(outbox: Outbox) -> None:
    """As a broker's JSON may say it: it goes into no file."""
    outbox.put(directory().notices(replace(HAPPENED, title="Refused: \ud800", text="\udfff"), AT))

    assert {(one.title, one.text) for one in outbox.history()} == {("Refused: ?", "?")}


def test_a_pattern_concerns_only_who_asked() -> None:
    assert directory().notices(replace(HAPPENED, kind=Kind.PATTERN), AT) == []


def test_an_address_is_checked_and_a_room_has_none(people: People) -> None:
    program.set_address(people, "ann", "sms", "+1 (212) 555-0123")

    assert people.preference(ADDRESSES, {}, "ann") == {"sms": "+12125550123"}
    with pytest.raises(DeskError, match="an email address looks like"):
        program.set_address(people, "ann", "email", "ann")
    with pytest.raises(DeskError, match="is a room"):
        program.set_address(people, "ann", "slack", "#x")


# Sending, with real servers


@asynccontextmanager
async def notifying(folder: Path, pace: Pace = QUICK, **settings: Any) -> AsyncIterator[Notifier]:
    """A running notifier without a desk."""
    given = Settings(**{"data_dir": folder, "alert_timeout_s": 0.3, **settings})
    people = People(given.people_url)
    made = Notifier(Parts(lambda: given, people, SystemClock(), SystemClock(), pace=pace), random.Random(1))
    stop = asyncio.Event()
    task = asyncio.create_task(made.run(stop))
    await until(lambda: bool(made._workers) or task.done())
    try:
        yield made
    finally:
        stop.set()
        await task


async def until(so: Callable[[], bool], within_s: float = 10.0) -> None:
    end = monotonic() + within_s
    while not so():
        assert monotonic() < end, "it did not come to that"
        await asyncio.sleep(0.02)


def state_of(notifier: Notifier, channel: str) -> list[State]:
    return [told.state for told in notifier.outbox.history(channel=channel)]


TWILIO = {"twilio_account_sid": "AC1", "twilio_auth_token": "t", "twilio_from_number": "+12125550100"}


async def test_a_channel_that_fails_never_blocks_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "GRACE_S", 0.1)
    async with (
        web_server(says(200, "ok")) as works,
        web_server(says(200, "ok")) as slow,
        web_server(twilio_ok) as twilio,
    ):
        slow.delay_s = 30.0
        twilio.mood = says(401, {"code": 20003, "message": "Authenticate"})
        settings = {
            **TWILIO,
            "webhook_url": works.url,
            "slack_webhook_url": slow.url,
            "twilio_url": twilio.url,
            "sms_to": "+12125550123",
            "smtp_server": "127.0.0.1",
            "smtp_port": free_port(),
            "smtp_user": "me@example.com",
        }
        begin = monotonic()
        async with notifying(tmp_path, **settings) as notifier:
            for n in range(20):
                happened = replace(HAPPENED, id=f"l:{n}", kind=Kind.BIG_TRADE)
                await notifier.tell([happened])
            await until(lambda: len(works.heard) == 20)
            took = monotonic() - begin
            await until(lambda: notifier.outbox.health("webhook").waiting == 0)
            await until(lambda: notifier.outbox.health("slack").failures > 0)
            await until(lambda: notifier.outbox.health("email").failures > 0)
            await until(lambda: notifier.outbox.health("sms").needs_person)
            healths = {name: notifier.outbox.health(name) for name in ("webhook", "slack", "sms", "email")}

    assert took < 5
    assert [healths[name].waiting for name in ("webhook", "slack", "sms", "email")] == [0, 20, 20, 20]
    assert healths["sms"].needs_person
    assert "did not answer in time" in healths["slack"].said
    assert healths["webhook"].failures == 0


async def test_what_failed_goes_out_once_the_server_is_back(tmp_path: Path) -> None:
    port = free_port()
    async with notifying(tmp_path, webhook_url=f"http://127.0.0.1:{port}") as notifier:
        await notifier.tell([HAPPENED, replace(HAPPENED, id="l:8")])
        await until(lambda: notifier.outbox.health("webhook").failures >= 2)
        async with web_server(says(503), port=port) as server:
            await until(lambda: len(server.heard) >= 2)
            server.heard.clear()
            server.mood = says(200, "ok")
            await until(lambda: state_of(notifier, "webhook") == [State.SENT, State.SENT])
            keys = [heard.headers["Idempotency-Key"] for heard in server.heard]
        assert sorted(keys) == ["l:7:owner", "l:8:owner"]
        assert notifier.outbox.health("webhook").failures == 0


async def test_a_server_s_wish_to_wait_is_obeyed(tmp_path: Path) -> None:
    async with (
        web_server(says(429, Retry_After="1")) as server,
        notifying(tmp_path, slack_webhook_url=server.url) as notifier,
    ):
        await notifier.tell([replace(HAPPENED, id=f"l:{n}") for n in range(3)])
        await until(lambda: bool(server.heard))
        asked = monotonic()
        server.mood = says(200, "ok")
        await until(lambda: state_of(notifier, "slack") == [State.SENT] * 3)

        assert monotonic() - asked > 0.8
        assert len(server.heard) == 4  # one was told to wait; nobody asked again before


async def test_a_message_nobody_takes_stands_in_nobody_s_way(tmp_path: Path) -> None:
    def mood(heard: Any) -> Any:
        return says(422 if heard.json["id"] == "l:0:owner" else 200, "no such thing")(heard)

    async with web_server(mood) as server, notifying(tmp_path, webhook_url=server.url) as notifier:
        await notifier.tell([replace(HAPPENED, id=f"l:{n}") for n in range(3)])
        await until(lambda: notifier.outbox.counts() == {"failed": 1, "sent": 2})
        [failed] = notifier.outbox.history(state="failed")

    assert failed.said == "the webhook answered 422: no such thing"


async def test_a_doubtful_message_says_so_or_is_looked_for(tmp_path: Path) -> None:
    clock = SystemClock()
    box = Outbox(f"sqlite:///{tmp_path / 'notices.db'}", clock)
    box.put([notice("1", "slack"), notice("2", "sms", "+12125550123"), notice("3", "webhook")])
    assert [len(box.turn(name, claim=1)) for name in ("slack", "sms", "webhook")] == [1, 1, 1]  # and then it died
    box.close()

    async with web_server(says(200, "ok")) as room, web_server(twilio_ok) as twilio:

        def listed(heard: Any) -> Any:
            made = {"sid": "SM1", "status": "sent", "body": "Fill 2 [....]", "date_created": None}
            from alerts._twilio import short
            from alerts.base import Message

            body = short(Message("n:2", Severity.INFO, "Fill 2", "", "", AT, to="+12125550123"), 480)
            return says(200, {"messages": [{**made, "body": body}], "page": 0})(heard)

        twilio.mood = listed
        settings = {**TWILIO, "twilio_url": twilio.url, "sms_to": "+12125550123"}
        settings |= {"slack_webhook_url": f"{room.url}/slack", "webhook_url": f"{room.url}/hook"}
        async with notifying(tmp_path, **settings) as notifier:
            await until(lambda: notifier.outbox.counts() == {"sent": 3})
            told = {one.channel: one for one in notifier.outbox.history()}

    by_path = {heard.path: heard for heard in room.heard}
    assert "may have reached you already" in str(by_path["/slack"].json)
    assert "already" not in str(by_path["/hook"].json)  # its id tells
    assert [heard.method for heard in twilio.heard] == ["GET"]  # it was there: nothing was sent again
    assert told["sms"].said == "it had arrived"
    assert all(one.doubtful for one in told.values())  # the history says "maybe twice"


async def test_who_was_let_go_is_told_nothing_more(tmp_path: Path) -> None:
    """Neither what happens from then on nor what waited; not by the accounts' silence either."""
    accounts = with_people(tmp_path)
    async with web_server(says(200, "ok")) as server, notifying(tmp_path, webhook_url=server.url) as notifier:
        notifier._parts = replace(notifier._parts, in_use=lambda name: accounts.role_of(name) is not None)
        for name in ("tim", "vera"):
            notifier._parts.people.subscribe(wish(name, "fill", channels=["webhook"]))
        program.set_rules(notifier._parts.people, Rules(routes={Kind.FILL: ()}, quiet=ALL_DAY))
        await notifier.refresh()
        await notifier.tell([HAPPENED])
        assert {one.person: one.state for one in notifier.outbox.history(channel="webhook")} == {
            "tim": State.WAITING,
            "vera": State.WAITING,
        }

        accounts.suspend("tim", by="olga")
        await notifier.refresh()
        await notifier.tell([replace(HAPPENED, id="l:8")])
        told = [(one.person, one.state) for one in notifier.outbox.history(channel="webhook")]

    assert told == [("vera", State.WAITING), ("vera", State.WAITING), ("tim", State.DROPPED)]


async def test_a_worker_that_broke_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with web_server(says(200, "ok")) as server, notifying(tmp_path, webhook_url=server.url) as notifier:
        plain = notifier.outbox.turn
        asked: list[str] = []

        def breaks(*args: Any, **more: Any) -> Any:
            asked.append("")
            if len(asked) < 3:
                raise TypeError("a line of the queue that is none")
            return plain(*args, **more)

        monkeypatch.setattr(notifier.outbox, "turn", breaks)
        await notifier.tell([HAPPENED])
        await until(lambda: [heard.json["id"] for heard in server.heard] == ["l:7:owner"])

        worker, _, task = notifier._workers["webhook"]
        task.cancel()
        await asyncio.wait([task])
        await notifier.refresh()
        assert notifier._workers["webhook"][0] is not worker


async def test_a_channel_switched_on_later_is_used_without_a_restart(tmp_path: Path) -> None:
    async with web_server(says(200, "ok")) as server, notifying(tmp_path, webhook_url=server.url) as notifier:
        people = notifier._parts.people
        program.switch_channel(people, "webhook", False)
        await notifier.refresh()
        await notifier.tell([HAPPENED])
        assert (
            notifier.outbox.history()[0].said == "email: is not set up; slack: is not set up; webhook: is switched off"
        )

        program.switch_channel(people, "webhook", True)
        await notifier.refresh()
        await notifier.tell([replace(HAPPENED, id="l:8")])
        await until(lambda: [heard.json["id"] for heard in server.heard] == ["l:8:owner"])


CANARIES = {
    "twilio_account_sid": "ACcanary42",
    "twilio_auth_token": "canary-token-42",
    "slack_bot_token": "xoxb-canary-42",
    "webhook_secret": "canary-seal-42",
    "smtp_pass": "canary pass 42",
}


def all_bytes(folder: Path) -> bytes:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"notices.db", "desk.jsonl"}
    return b"".join(path.read_bytes() for path in files)


async def test_no_secret_is_kept_or_logged_whatever_a_server_says(tmp_path: Path) -> None:
    def echo(heard: Any) -> Any:
        said = " ".join([*CANARIES.values(), *(f"{name}: {value}" for name, value in heard.headers.items())])
        if "Messages" in heard.path:
            return says(400, {"code": 1, "message": said})(heard)
        return says(422 if "hook" in heard.path else 500, said)(heard)

    async with web_server(echo) as server:
        settings = {**TWILIO, **CANARIES, "sms_to": "+12125550123", "slack_channel": "#x"}
        settings |= {"twilio_url": server.url, "slack_url": f"{server.url}/slack", "webhook_url": f"{server.url}/hook"}
        given = Settings(data_dir=tmp_path, **settings)
        logs.setup(given, "notifier", console=False)
        try:
            async with notifying(tmp_path, **settings) as notifier:
                await notifier.tell([replace(HAPPENED, kind=Kind.BIG_TRADE)])
                await until(lambda: notifier.outbox.counts() == {"failed": 2, "waiting": 1})
                await until(lambda: notifier.outbox.health("slack").failures > 0)
                tried = [
                    await program.try_channel(name, given, notifier.outbox, SystemClock()) for name in ("sms", "slack")
                ]
                logging.getLogger("x").error("and %r", given)
        finally:
            logs.restore()

    kept = all_bytes(tmp_path) + repr(tried).encode()
    assert b"answered 400" in kept
    assert [canary for canary in CANARIES.values() if canary.encode() in kept] == []


async def test_beside_the_dashboard_it_runs_on_a_thread(tmp_path: Path) -> None:
    async with web_server(says(200, "ok")) as server:
        given = Settings(data_dir=tmp_path, webhook_url=server.url)
        box = Outbox(given.notices_url, SystemClock())
        box.put([notice("1")])
        parts = Parts(lambda: given, People(given.people_url), SystemClock(), SystemClock(), pace=QUICK)
        beside = Beside("notifier", lambda stop: Notifier(parts).run(stop))
        await until(lambda: box.counts() == {"sent": 1})
        await asyncio.to_thread(beside.stop)
        box.close()

        assert not beside.thread.is_alive()
        async with notifying(tmp_path, webhook_url=server.url):
            pass  # the lock is free again


async def test_there_is_one_notifier(tmp_path: Path) -> None:
    async with web_server(says(200, "ok")) as server, notifying(tmp_path, webhook_url=server.url) as notifier:
        second = Notifier(notifier._parts)
        with pytest.raises(LeaseHeld, match="another notifier runs"):
            await second.run(asyncio.Event())
        second.close()


def test_a_burst_reaches_everybody_once_though_engine_and_notifier_are_killed(tmp_path: Path) -> None:
    tally = campaign.tell_all(tmp_path, fills=30, kills=1)

    assert tally.problems == []
    assert tally.kills == 2
    assert len(tally.heard) == 90


# What is found out


async def test_a_fill_is_told_once_over_restarts(tmp_path: Path, outbox: Outbox) -> None:
    async with trading(tmp_path / "desk") as desk:
        watch = LedgerWatch(desk.place_of)
        first = watch.read(None, D(10_000))
        assert first.happenings == []  # nobody is told what is over
        position = first.moved[watch.name][1]

        await desk.place(quantity="10", stop_loss="95.00")
        await desk.tick(3)
        found = watch.read(position, D(10_000))
        [bought] = [one for one in found.happenings if one.kind is Kind.FILL]
        again = LedgerWatch(desk.place_of).read(position, D(10_000))  # killed before it was written down
        assert [one.id for one in again.happenings] == [one.id for one in found.happenings]
        assert watch.read(found.moved[watch.name][1], D(10_000)).happenings == []

        small = watch.read(position, D(500))
        watch.close()

    assert bought.title.startswith("Bought 10 AAPL at 100")
    assert bought.symbol == "AAPL"
    assert "PAPER" in bought.text
    assert {one.kind for one in small.happenings} >= {Kind.BIG_TRADE}


async def test_a_line_nobody_can_read_stands_in_nobody_s_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with trading(tmp_path) as desk:
        watch = LedgerWatch(desk.place_of)
        position = watch.read(None, D(10_000)).moved[watch.name][1]
        await desk.place(quantity="10")
        await desk.tick(3)
        await desk.ask(Command.KILL, level=1, reason="lunch", typed="")
        with monkeypatch.context() as patched:
            patched.setitem(happenings._TELLERS, "fill", lambda *_: {}["price"])
            told = watch.read(position, D(10_000))
        watch.close()

    assert [one.title for one in told.happenings] == [
        "Something happened that could not be put in words: fill",
        "Trading is now reduce only",
    ]
    assert told.moved


async def test_a_moved_stop_the_kill_switch_and_a_new_start_are_told(tmp_path: Path) -> None:
    async with trading(tmp_path) as desk:
        watch = LedgerWatch(desk.place_of)
        await desk.place(quantity="10", stop_loss="95.00")
        await desk.tick(3)
        position = watch.read(None, D(10_000)).moved[watch.name][1]
        await desk.ask(Command.PROTECT, account="main", symbol="AAPL", stop="96.50", target=None)
        await desk.ask(Command.KILL, level=1, reason="lunch", typed="")
        await desk.ask(Command.RE_ARM, reason="back")
        told = watch.read(position, D(10_000)).happenings
        watch.close()

    assert [(one.title, one.kind, one.severity) for one in told if one.kind is not Kind.ERROR] == [
        ("Stop of AAPL moved from 95 to 96.5", Kind.STOP_MOVED, Severity.INFO),
        ("Trading is now reduce only", Kind.BREAKER, Severity.URGENT),
        ("Trading is on again", Kind.BREAKER, Severity.NOTICE),
    ]


async def test_a_desk_that_begins_while_watched_is_told_from_its_start(tmp_path: Path) -> None:
    async with trading(tmp_path) as desk:
        watch = LedgerWatch(replace(desk.place_of, ledger_url=f"sqlite:///{tmp_path / 'later.db'}"))
        assert watch.read(None, D(10_000)).happenings == []
        await desk.place(quantity="10")
        await desk.tick(2)
        import sqlite3

        with sqlite3.connect(desk.place_of.ledger_url.removeprefix("sqlite:///")) as there:
            there.execute(f"VACUUM INTO '{tmp_path / 'later.db'}'")
        told = watch.read(None, D(10_000)).happenings
        watch.close()

    assert [one.kind for one in told] == [Kind.FILL]


async def test_silence_is_told_once_and_so_is_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(ledger_watch, "monotonic", lambda: now[0])
    async with trading(tmp_path) as desk:
        watch, pulse = LedgerWatch(desk.place_of), Pulse("paper", "PAPER")

        def look(after_s: float) -> list[str]:
            now[0] += after_s
            return [one.title for one in pulse.look(watch.engine(), MORNING) if one.kind is Kind.ENGINE_SILENT]

        assert look(0) == []
        assert look(59) == []
        assert look(2) == ["The engine has been silent for 60 s"]
        assert look(500) == []
        await desk.tick()
        assert look(1) == ["The engine is heard again"]
        await desk.stop()
        assert look(1) == []
        assert look(500) == []  # stopped on purpose
        watch.close()


def test_a_problem_is_told_once_it_stands_and_danger_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from desk.records import EngineStatus

    now = [0.0]
    monkeypatch.setattr(ledger_watch, "monotonic", lambda: now[0])
    pulse = Pulse("paper", "PAPER")

    def look(after_s: float, *problems: str, **details: Any) -> list[tuple[Kind, Severity]]:
        now[0] += after_s
        beat = AT + timedelta(seconds=now[0])
        status = EngineStatus("e", 1, AT, beat, "ready", {"problems": list(problems), **details})
        return [(one.kind, one.severity) for one in pulse.look(status, AT)]

    assert look(0, "No prices: down") == []
    assert look(30, "No prices: down", "UNPROTECTED: 10 AAPL") == [(Kind.ERROR, Severity.URGENT)]
    assert look(31, "No prices: down") == [(Kind.ERROR, Severity.WARNING)]
    signed_out = {"signed_in": False, "owner": True, "said": "It ended at midnight."}
    assert look(1, etrade=signed_out) == [(Kind.SIGN_IN, Severity.WARNING)]
    assert look(1, etrade={**signed_out, "signed_in": True}) == []


# Bars


class Tape:
    """Closed bars that a test appends to: 15 minutes each, in one session."""

    def __init__(self, closes: list[float]) -> None:
        self.start = datetime(2026, 11, 20, 14, 30, tzinfo=AT.tzinfo)
        self.clock = ManualClock(self.start)
        self.bars: list[tuple[float, float, float, float]] = []
        for close in closes:
            self.add(close)

    def add(
        self, close: float, *, low: float | None = None, high: float | None = None, open_: float | None = None
    ) -> None:
        first = self.bars[-1][3] if self.bars else close
        first = first if open_ is None else open_
        self.bars.append((first, high or max(first, close), low or min(first, close), close))
        self.clock.advance(minutes=15)

    async def __call__(self, what: Instrument, tf: cd.Timeframe, count: int) -> pd.DataFrame:
        times = cd.nanos_of(self.start, len(self.bars)) if hasattr(cd, "nanos_of") else self._times()
        o, h, l, c = (np.array(column, float) for column in zip(*self.bars, strict=True))  # noqa: E741
        volume = np.full(len(c), 5.0)
        return cd.frame(times, {"open": o, "high": h, "low": l, "close": c, "volume": volume}).iloc[-count:]

    def _times(self) -> Any:
        first = pd.Timestamp(self.start).value
        return first + np.arange(len(self.bars), dtype=np.int64) * 900 * 10**9


async def look(watch: BarWatch, wanted: list[Subscription], kept: dict[str, Any]) -> list[str]:
    """One look, its positions kept as the queue would."""
    found, moved = await watch.look(wanted, dict(kept))
    kept.update({name: after for name, (_, after) in moved.items()})
    return [one.happening.title for one in found]


async def test_a_level_is_told_once_a_bar_and_once_a_crossing() -> None:
    tape, kept = Tape([100, 101, 102]), dict[str, Any]()
    above = replace(wish("owner", "price_above", symbol="NVDA", level=105, timeframe="15m"), id=1)
    below = replace(wish("owner", "price_below", symbol="NVDA", level="101.5", timeframe="15m"), id=2)
    watch = BarWatch(tape, tape.clock)

    assert await look(watch, [above, below], kept) == []  # from here on
    tape.add(103, high=105.5)
    assert await look(watch, [above, below], kept) == ["NVDA rose to 105: the 15m bar closed at 103"]
    assert await look(watch, [above, below], kept) == []
    tape.add(106)
    tape.add(107)
    assert await look(watch, [above, below], kept) == ["NVDA rose to 105: the 15m bar closed at 106"]
    tape.add(101)
    tape.add(100)
    # A notifier that was killed and comes back judges what it missed, each bar once.
    late = BarWatch(tape, tape.clock)
    assert await look(late, [above, below], kept) == ["NVDA fell to 101.5: the 15m bar closed at 101"]
    assert await look(BarWatch(tape, tape.clock), [above, below], kept) == []


HAMMERS = [110 - n * 0.5 for n in range(20)]


async def test_a_pattern_is_told_with_its_reasons_and_its_odds() -> None:
    tape, kept = Tape(HAMMERS), dict[str, Any]()
    plain = replace(wish("owner", "pattern", symbol="NVDA", pattern="Hammer", timeframe="15m"), id=1)
    judged = replace(plain, id=2, least_edge_bps=0.0)
    watch = BarWatch(tape, tape.clock)
    await look(watch, [plain, judged], kept)
    tape.add(100.3, open_=100.1, high=100.32, low=98.5)

    found, moved = await watch.look([plain, judged], kept)

    assert [(one.wanted.id, one.happening.title) for one in found] == [(1, "Hammer on NVDA 15m, close 100.3")]
    assert "lower shadow" in found[0].happening.text
    # Too rare to be judged is not good enough for who asked for an edge; both have come to the same bar.
    assert set(moved) == {position_of(plain), position_of(judged)}


async def test_an_edge_above_the_base_rate_is_measured_on_what_was_known() -> None:
    rng = np.random.default_rng(7)
    closes = list(100 + np.cumsum(rng.normal(0, 0.2, 400)))
    tape = Tape(closes)
    candles = await tape(instrument("NVDA"), cd.timeframe("15m"), 400)
    measured = odds(candles, "Doji")
    asked = wish("owner", "pattern", symbol="NVDA", pattern="Doji", timeframe="15m", least_edge_bps=0)

    assert measured.bars == 400
    assert measured.meets(replace(asked, least_edge_bps=None, least_confidence=0.0))
    good = replace(measured, count=50, edge_bps=4.0, low_bps=1.0, high_bps=7.0, confidence=0.97)
    assert good.meets(asked)
    assert good.meets(replace(asked, least_confidence=0.95))
    assert not good.meets(replace(asked, least_edge_bps=4.0))
    assert not good.meets(replace(asked, least_confidence=0.99))
    assert "edge above the base rate +4.0 bps within 5 bars (95 %: +1.0 to +7.0), real with 97%" in good.words


# The day's summary


def test_what_a_symbol_brought_today() -> None:
    quote = Quote("AAPL", AT, D("104"), "x", previous_close=D("100"))
    bought = Fill("1", "o", "main", "AAPL", Side.BUY, D(10), D("102"), AT, D(1))

    # 20 held since yesterday rose by 4 each; 10 bought today at 102 by 2 each, for a fee of 1.
    assert brought(Position("main", "AAPL", D(30)), [bought], quote) == D(99)
    assert brought(Position("main", "AAPL", D(10)), [bought], None) is None
    sold = replace(bought, id="2", side=Side.SELL, price=D("103"))
    assert brought(Position("main", "AAPL"), [bought, sold], None) == D(8)


def test_a_summary_is_due_after_its_time_on_a_day_of_trading() -> None:
    evening, sunday = datetime(2026, 11, 20, 22, tzinfo=AT.tzinfo), datetime(2026, 11, 22, 22, tzinfo=AT.tzinfo)

    assert due(AT, time(16, 30), traded=False) is None
    assert due(evening, time(16, 30), traded=False) == date(2026, 11, 20)
    assert due(sunday, time(16, 30), traded=False) is None
    assert due(sunday, time(16, 30), traded=True) == date(2026, 11, 22)


async def test_the_summary_lists_each_symbol_and_arrives_by_mail(tmp_path: Path) -> None:
    async with trading(tmp_path / "desk") as desk:
        await desk.place(quantity="10")
        await desk.tick(3)
        book = LiveBook(tmp_path / "live.db")
        book.write([Quote("AAPL", desk.clock.now(), D("103.00"), "x", previous_close=D("99.00"))])
        told = summary(desk.place_of, desk.reader, book, date(2026, 11, 20), desk.clock.now())
    [fill] = desk.reader.fills()

    with mail_server(None) as box:
        settings = {"smtp_server": "127.0.0.1", "smtp_port": box.port, "smtp_user": "me@example.com"}
        async with notifying(tmp_path / "n", **settings, smtp_security="none") as notifier:
            await notifier.tell([told])
            await until(lambda: len(box.mails) == 1)
    letter = (box.mails[0].original_content or b"").decode()
    gained = 10 * (D("103.00") - fill.fill.price) - fill.fill.fee
    assert f"AAPL                10         103{gained:>+14,.2f}" in letter
    assert "Account main: equity" in letter


# The command line


@pytest.mark.parametrize(
    ("moods", "rc", "said"),
    [
        ({"SLACK_WEBHOOK_URL": says(200, "ok"), "WEBHOOK_URL": says(200)}, 0, "ok     sent to Slack"),
        (
            {"SLACK_WEBHOOK_URL": says(403, "invalid_token"), "WEBHOOK_URL": says(200)},
            1,
            "FAILED Slack: Slack answered 403",
        ),
        ({}, 2, "not set up: SLACK_WEBHOOK_URL or SLACK_BOT_TOKEN"),
    ],
)
async def test_a_test_tries_every_channel_that_is_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], moods: dict[str, Any], rc: int, said: str
) -> None:
    async with web_server(says(200, "ok")) as server:
        server.mood = lambda heard: moods[heard.path[1:]](heard)
        given = Settings(data_dir=tmp_path, **{name.lower(): f"{server.url}/{name}" for name in moods})
        people, box = People(given.people_url), Outbox(given.notices_url, SystemClock())

        assert await program.try_all(given, people, box, SystemClock()) == rc

        lines = capsys.readouterr().out
        told = box.history(kind="test")
        box.close()
    assert said in lines
    assert [line.split()[0] for line in lines.splitlines()] == ["email", "slack", "sms", "webhook", "whatsapp"]
    assert len(told) == len(moods)


@pytest.mark.parametrize(
    ("arguments", "rc", "said"), [(["--mode", "test"], 2, "No channel is on"), (["--mode", "x"], 2, "")]
)
def test_the_program_says_how_it_ended(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    rc: int,
    said: str,
) -> None:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    try:
        ended = program.main(arguments)
    except SystemExit as error:
        ended = int(error.code or 0)
    finally:
        logs.restore()

    assert ended == rc
    assert said in capsys.readouterr().err


def test_a_wrong_setting_stops_it_by_name(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SMTP_PORT", "mail")

    assert program.main(["--mode", "status"]) == 2
    assert "SMTP_PORT" in capsys.readouterr().err
