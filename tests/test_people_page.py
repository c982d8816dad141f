"""Settings → People and My account: who may do what to whom, through the page's buttons and the routes behind its
forms."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyotp
import pytest
from streamlit.testing.v1 import AppTest

import backtest  # noqa: F401 - before a page of the same name is found
import bootstrap
from desk.authority import LOCAL_OWNER, Role
from desk.subscriptions import wish
from tests.accounts import OTHER, PASSWORD, accounts_in
from tests.conftest import ROOT
from tests.peopled import Peopled, page, peopled, words
from tests.posting import post
from ui import own_account, people, sign_in

SETTINGS = ROOT / "pages" / "settings.py"
LOGIN_BACK = "/sign-in?next=%2Fsettings%3Ftab%3DPeople"
BOTH = {"password": OTHER, "again": OTHER}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Peopled]:
    """olga owns, tim trades, vera views; olga is signed in."""
    with peopled(tmp_path, monkeypatch) as found:
        found.enter("olga")
        yield found


@pytest.fixture
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Peopled]:
    """The same desk before anybody has an account."""
    with peopled(tmp_path, monkeypatch) as found:
        (tmp_path / "bare").mkdir()
        bare = accounts_in(tmp_path / "bare", found.clock)
        monkeypatch.setattr(bootstrap, "accounts", lambda: bare)
        found.accounts = bare
        yield found


def said(at: AppTest) -> str:
    kinds = (at.markdown, at.caption, at.info, at.error, at.warning, at.success)
    boxes = [one.label for one in at.expander]
    return "\n".join([*boxes, *(element.value for kind in kinds for element in kind)]).replace("\\", "")


def press(at: AppTest, key: str) -> AppTest:
    at.button(key=key).click().run()
    assert not at.exception, at.exception
    return at


def roles(desk: Peopled) -> dict[str, str]:
    return {one.name: str(one.role) for one in desk.accounts.all()}


async def ask(desk: Peopled, path: str, **fields: str) -> Any:
    return await post(path, fields, desk.cookies.get("sid", ""))


# The first owner


async def test_without_accounts_the_page_says_what_that_means_and_makes_the_first_owner(nobody: Peopled) -> None:
    at = page(SETTINGS, tab="People")
    assert "This desk has no account. It opens for whoever sits at this machine" in said(at)
    assert [tab.label for tab in at.tabs][-1] == "People"

    unequal = await ask(nobody, people.POST, do="first", name="ada", password=PASSWORD, again=OTHER)
    weak = await ask(nobody, people.POST, do="first", name="ada", password="short", again="short")
    assert (unequal.told["problem"], nobody.accounts.any()) == (people.TWICE, False)
    assert "A password has at least 12 characters" in weak.told["problem"]

    made = await ask(nobody, people.POST, do="first", name="Ada", password=PASSWORD, again=PASSWORD)

    assert made.told["go"] == LOGIN_BACK
    assert roles(nobody) == {"ada": "owner"}
    assert nobody.accounts.events()[0].by == LOCAL_OWNER
    assert sign_in.who() is None  # it makes an account and lets nobody in
    assert "This desk has no account" not in said(page(SETTINGS, tab="People"))


async def test_the_first_account_is_made_at_this_machine_and_is_an_owners(nobody: Peopled) -> None:
    first = {"do": "first", "name": "ada", "password": PASSWORD, "again": PASSWORD}

    from_elsewhere = await post(people.POST, first, client="192.0.2.7")
    from_another_page = await post(people.POST, first, origin="http://evil.example")
    a_viewer = await ask(nobody, people.POST, do="add", name="vera", role="viewer", **BOTH)

    assert (from_elsewhere.status, from_another_page.status, a_viewer.status) == (403, 403, 400)
    assert not nobody.accounts.any()


async def test_nobody_makes_a_second_first_owner(desk: Peopled) -> None:
    stranger = await post(people.POST, {"do": "first", "name": "eve", "password": PASSWORD, "again": PASSWORD})
    viewer = await ask(desk, people.POST, do="first", name="eve", password=PASSWORD, again=PASSWORD)

    assert (stranger.status, viewer.status) == (401, 400)
    assert "eve" not in roles(desk)


# Everybody


async def test_an_owner_adds_somebody_and_sets_a_password(desk: Peopled) -> None:
    added = await ask(desk, people.POST, do="add", name="Max", role="trader", **BOTH)
    assert (added.status, added.told["said"]) == (200, "max may sign in now, as trader.")
    secret = desk.accounts.sign_in("max", OTHER)

    again = await ask(desk, people.POST, do="password", name="max", password=PASSWORD, again=PASSWORD)

    assert again.status == 200
    assert desk.accounts.who(secret) is None
    assert PASSWORD not in again.text
    desk.accounts.sign_in("max", PASSWORD)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"do": "add", "name": "tim", "role": "viewer", **BOTH}, "Tim has an account already"),
        ({"do": "add", "name": "max", "role": "king", **BOTH}, "A role is viewer, trader, owner: got 'king'"),
        ({"do": "add", "name": "engine", "role": "owner", **BOTH}, "Engine is a word of the desk itself"),
        ({"do": "password", "name": "nemo", **BOTH}, "Nemo has no account"),
        ({"do": "crown", "name": "tim"}, "nothing that can be done"),
    ],
)
async def test_what_cannot_be_done_is_said(desk: Peopled, fields: dict[str, str], problem: str) -> None:
    before = roles(desk)

    answer = await ask(desk, people.POST, **fields)

    assert answer.status == 400
    assert problem in answer.told["problem"]
    assert roles(desk) == before


@pytest.mark.parametrize("name", ["tim", "vera"])
async def test_nobody_else_changes_people(desk: Peopled, name: str) -> None:
    desk.enter(name)

    answer = await ask(desk, people.POST, do="add", name="eve", role="owner", **BOTH)

    assert answer.status == 400
    assert "eve" not in roles(desk)


def test_who_may_not_sees_a_sentence_and_nothing_to_press(desk: Peopled) -> None:
    at = page(SETTINGS, tab="People")
    desk.enter("vera")

    assert "changes no people" in said(page(SETTINGS, tab="People"))
    assert not [one.key for one in page(SETTINGS, tab="People").button if str(one.key).startswith("people_")]
    assert "is out" not in said(press(at, "people_suspend_tim"))  # a page that olga left open
    assert not any(one.suspended for one in desk.accounts.all())


def test_what_an_owner_does_counts_at_once(desk: Peopled) -> None:
    tim, other = desk.accounts.sign_in("tim", PASSWORD, "192.0.2.7"), desk.accounts.sign_in("vera", PASSWORD)
    at = page(SETTINGS, tab="People")
    assert "**tim** · trader · 1 sign-in" in said(at)
    assert "From 192.0.2.7 since" in said(at)

    at.radio(key="people_role_tim").set_value(Role.VIEWER)
    assert "tim is viewer now, from the next sign-in on." in said(press(at, "people_role_tim_give"))
    assert desk.accounts.who(tim) is None

    press(at, "people_suspend_vera")
    assert desk.accounts.who(other) is None
    assert "**vera** · viewer · suspended" in said(at)
    press(at, "people_restore_vera")
    back = desk.accounts.sign_in("vera", PASSWORD)

    press(at.run(), "people_out_vera")
    assert desk.accounts.who(back) is None
    assert "vera is signed out everywhere." in said(at)

    press(at, "people_gone_vera")
    assert roles(desk) == {"olga": "owner", "tim": "viewer"}
    assert "account removed" in set(at.dataframe[0].value["What"])


def test_another_of_the_same_name_begins_anew(desk: Peopled) -> None:
    """Nobody is told by somebody else's address."""
    choices = bootstrap.people()
    for name in ("tim", "vera"):
        choices.subscribe(wish(name, "fill", channels=["email"]))
        choices.prefer("addresses", {"email": f"{name}@example.com"}, name)

    people._removed(desk.accounts, "tim", "olga")

    assert [one.person for one in choices.subscriptions()] == ["vera"]
    assert (choices.preferences("tim"), choices.preference("addresses", {}, "vera")) == (
        {},
        {"email": "vera@example.com"},
    )


def test_the_only_owner_stays_one(desk: Peopled) -> None:
    at = page(SETTINGS, tab="People")

    for key in ("people_gone_olga", "people_suspend_olga", "people_role_olga_give"):
        assert "Olga is the only owner in use: make another one first." in said(press(at, key))

    assert roles(desk)["olga"] == "owner"


def test_an_owner_who_pressed_nothing_for_long_changes_nobody(desk: Peopled) -> None:
    at = page(SETTINGS, tab="People")
    desk.clock.advance(minutes=16)

    assert "sign in again" in said(press(at, "people_gone_tim"))

    assert "tim" in roles(desk)
    assert "**olga** · owner · 1 sign-in" in said(at)
    assert not [one.key for one in at.button if str(one.key).startswith("people_gone")]


def test_a_lost_phone_and_a_locked_name_are_mended(desk: Peopled) -> None:
    tim = desk.accounts.sign_in("tim", PASSWORD)
    code = pyotp.TOTP(desk.accounts.enrol(tim, PASSWORD).secret).at(desk.clock.now())
    desk.accounts.confirm(tim, code)
    at = page(SETTINGS, tab="People")
    assert "**tim** · trader · 1 sign-in · one-time codes" in said(at)

    press(at, "people_codes_tim")

    assert not desk.accounts.has_codes("tim")
    assert "Wrong attempts are forgotten." in said(press(at, "people_unlock"))


# My account


async def test_another_password_is_another_sign_in(desk: Peopled) -> None:
    old, elsewhere = desk.cookies["sid"], desk.accounts.sign_in("olga", PASSWORD)

    wrong = await ask(desk, own_account.POST, do="password", old="not this one", **BOTH)
    right = await ask(desk, own_account.POST, do="password", old=PASSWORD, **BOTH)

    assert (wrong.status, right.status) == (401, 200)
    assert right.told["go"] == own_account.BACK
    assert [desk.accounts.who(secret) for secret in (old, elsewhere)] == [None, None]
    fresh = desk.accounts.who(right.cookies["sid"])
    assert fresh is not None
    assert fresh.name == "olga"
    assert right.cookies["sid"] not in right.text


async def test_one_time_codes_are_shown_once_and_counted_from_the_first_right_one(desk: Peopled) -> None:
    assert "asked for before live trading is armed" in said(page(SETTINGS, tab="My account"))

    enrolled = await ask(desk, own_account.POST, do="enrol", old=PASSWORD)
    once = enrolled.told["once"]
    secret = once["Or type this into the app"].replace(" ", "")
    assert pyotp.parse_uri(once["Or open this on the phone"]).secret == secret
    assert re.fullmatch(r"([A-Z2-7]{4} ){7}[A-Z2-7]{4}", once["Or type this into the app"])
    assert once["picture"].startswith("<svg ")

    at = page(SETTINGS, tab="My account")
    assert secret not in words(at) + repr(at.session_state)
    wrong = await ask(desk, own_account.POST, do="confirm", code="000000")
    code = pyotp.TOTP(secret).at(desk.clock.now())
    right = await ask(desk, own_account.POST, do="confirm", code=code)
    twice = await ask(desk, own_account.POST, do="confirm", code=code)

    assert (wrong.status, right.status, twice.status) == (401, 200, 401)
    assert "They are set up" in said(page(SETTINGS, tab="My account"))

    assert (await ask(desk, own_account.POST, do="no codes", old="not this one")).status == 401
    assert desk.accounts.has_codes("olga")
    assert (await ask(desk, own_account.POST, do="no codes", old=PASSWORD, code=code)).status == 401
    desk.clock.advance(minutes=1)
    fresh = pyotp.TOTP(secret).at(desk.clock.now())
    assert (await ask(desk, own_account.POST, do="no codes", old=PASSWORD, code=fresh)).status == 200
    assert not desk.accounts.has_codes("olga")


async def test_a_password_alone_changes_nobody_where_its_owner_has_one_time_codes(desk: Peopled) -> None:
    secret = desk.accounts.enrol(desk.cookies["sid"], PASSWORD).secret
    desk.accounts.confirm(desk.cookies["sid"], pyotp.TOTP(secret).at(desk.clock.now()))
    desk.clock.advance(minutes=3)
    another = {"do": "add", "name": "mallory", "role": "owner", **BOTH}

    refused = await ask(desk, people.POST, **another)
    at = page(SETTINGS, tab="People")
    assert "before anything here is changed" in said(at)
    assert "Give a one-time code first" in said(press(at, "people_gone_tim"))
    assert (refused.status, "mallory" in roles(desk), "tim" in roles(desk)) == (400, False, True)

    code = pyotp.TOTP(secret).at(desk.clock.now())
    assert (await ask(desk, own_account.POST, do="confirm", code=code)).status == 200
    assert (await ask(desk, people.POST, **another)).status == 200
    assert "before anything here is changed" not in said(page(SETTINGS, tab="People"))


async def test_too_many_wrong_codes_say_how_long_to_wait(desk: Peopled) -> None:
    await ask(desk, own_account.POST, do="enrol", old=PASSWORD)
    answers = [await ask(desk, own_account.POST, do="confirm", code="000000") for _ in range(6)]

    assert [one.status for one in answers] == [401] * 5 + [429]
    assert answers[-1].told["problem"].startswith("Too many attempts. Try again in ")


def test_everywhere_else_is_signed_out_and_this_browser_stays(desk: Peopled) -> None:
    elsewhere, tim = desk.accounts.sign_in("olga", PASSWORD), desk.accounts.sign_in("tim", PASSWORD)

    press(page(SETTINGS, tab="My account"), "account_elsewhere")

    assert desk.accounts.who(elsewhere) is None
    assert desk.accounts.who(tim) is not None
    assert sign_in.who() is not None


def test_the_sidebar_says_who_is_here_and_leads_out(desk: Peopled) -> None:
    desk.enter("vera")
    at = page(SETTINGS)

    assert "vera · viewer" in [one.value for one in at.sidebar.caption]
    assert "/auth/logout" in words(at)
    assert "desk_stop" not in [one.key for one in at.sidebar.button]

    desk.enter("tim")
    desk.clock.advance(minutes=16)
    at = page(SETTINGS)

    assert "desk_stop" in [one.key for one in at.sidebar.button]
    assert any("Nothing was pressed for 15 minutes" in one.value for one in at.sidebar.caption)


def test_a_desk_without_accounts_says_nothing_of_who_is_here(nobody: Peopled) -> None:
    at = page(SETTINGS)

    assert "/auth/logout" not in words(at)
    assert "desk_stop" in [one.key for one in at.sidebar.button]
