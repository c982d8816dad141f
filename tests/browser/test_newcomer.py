"""From nothing to the first alert, by the pages alone: what somebody does who has read nothing, in Chromium, with a
server that stands for Slack and a market that moves by itself."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pyotp
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.accounts import OTHER, PASSWORD
from tests.alert_servers import Server as Room
from tests.browser.conftest import PHONE, Server
from tests.browser.test_alerts import room

pytestmark = [
    pytest.mark.browser,
    pytest.mark.long,
    pytest.mark.xdist_group("browser"),
    pytest.mark.timeout(600),
]
SHOTS = os.environ.get("DESK_SHOTS", "")
NEAR = 0.02  # from the last price: a minute or two of this market crosses it
PATIENCE_S = 300
OWNERS_TABS = ("Data source", "E*TRADE", "Risk", "Notifications", "People")


@pytest.fixture
def slack() -> Iterator[Room]:
    with room() as found:
        yield found


def shot(page: Page, name: str) -> None:
    if SHOTS:
        page.screenshot(path=str(Path(SHOTS) / f"newcomer-{name}.png"))


def sign_in(page: Page, name: str, password: str) -> None:
    """By the keyboard alone: the first field has the focus."""
    expect(page.get_by_label("Name")).to_be_focused()
    page.keyboard.type(name)
    page.keyboard.press("Tab")
    page.keyboard.type(password)
    page.keyboard.press("Enter")


def test_from_nothing_to_the_first_alert_and_who_may_see_it(
    server: Server, slack: Room, page: Page, browser: Browser
) -> None:
    page.goto(server.url)
    _makes_an_owner(page)
    _adds_somebody_who_looks_on(page)
    _sets_up_slack(page, slack)
    _asks_to_be_told(page, server)
    _is_told(page, slack)

    page.get_by_role("button", name="Sign out", exact=True).click()
    expect(page).to_have_url(re.compile("/sign-in"))
    sign_in(page, "ada", PASSWORD)
    expect(page.get_by_test_id("stSidebar").get_by_text("ada · owner")).to_be_visible()
    _sets_up_codes(page, server)

    theirs = browser.new_context(viewport=PHONE)
    other = theirs.new_page()
    other.set_default_timeout(20_000)
    other.goto(server.url)
    sign_in(other, "vera", OTHER)
    _looks_on(other, server)
    _is_put_out(page, other, server)
    _is_locked_out(other)
    theirs.close()


def _makes_an_owner(page: Page) -> None:
    bar = page.get_by_test_id("stSidebar")
    expect(bar.get_by_text("opens for whoever sits at this machine")).to_be_visible()
    shot(page, "1-open")
    bar.get_by_role("button", name="Make it ask who you are").click()
    expect(page.get_by_text("This desk has no account.")).to_be_visible()

    page.get_by_label("Name to sign in with").focus()
    for typed in ("ada", "short", "short"):
        page.keyboard.type(typed)
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_text("A password has at least 12 characters")).to_be_visible()
    for label in ("Password", "The same again"):
        page.get_by_label(label, exact=True).fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile("/sign-in"))
    sign_in(page, "ada", PASSWORD)
    expect(page.get_by_test_id("stSidebar").get_by_text("ada · owner")).to_be_visible()


def _adds_somebody_who_looks_on(page: Page) -> None:
    page.get_by_text("Add somebody").click()
    form = page.locator(".st-key-people_add")
    form.get_by_label("Name", exact=True).fill("vera")
    form.get_by_label("Role").select_option("viewer")
    for label in ("Password", "The same again"):
        form.get_by_label(label, exact=True).fill(OTHER)
    form.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_text("vera · viewer")).to_be_visible()
    expect(form.get_by_text("vera may sign in now, as viewer.")).to_be_visible()
    shot(page, "4-added")


def _sets_up_slack(page: Page, slack: Room) -> None:
    page.get_by_role("tab", name="Notifications").click()
    card = page.locator(".st-key-channel_slack")
    expect(card.get_by_text("Not set up: it needs Webhook address or Bot token.")).to_be_visible()
    card.get_by_text("Keys and addresses", exact=True).click()
    card.get_by_label("Webhook address").fill("hooks.example.com/desk")
    card.get_by_role("button", name="Keep").click()
    expect(card.get_by_text("Webhook address: it must be an https:// address")).to_be_visible()
    card.get_by_label("Webhook address").fill(f"{slack.url}/hook")
    card.get_by_role("button", name="Keep").click()
    expect(card.get_by_text("Kept: Webhook address.")).to_be_visible()
    card.get_by_role("button", name="Test").click()
    expect(card.get_by_text("Sent to Slack")).to_be_visible()
    assert ["A test from your trading desk" in heard.body.decode() for heard in slack.heard] == [True]
    shot(page, "5-tested")


def _asks_to_be_told(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/?symbol=NVDA&tf=15m")
    page.get_by_role("tab", name="Tell me").click()
    _choose_bars(page, "15m")
    page.get_by_text("Slack", exact=True).click()
    wish = "Tell me by Slack when a Hammer with an edge above the base rate appears on NVDA 15m."
    expect(page.get_by_text(wish, exact=True)).to_be_visible()
    page.get_by_role("button", name="Tell me").click()
    expect(page.get_by_text(f"Kept. {wish}")).to_be_visible()

    for side, sign, verb in (("Price above", 1, "rises"), ("Price below", -1, "falls")):
        page.get_by_text(side, exact=True).click()
        expect(page.get_by_text("Kept. ")).to_have_count(0)  # of the wish before
        level = page.get_by_label("Level")
        level.fill("")
        page.keyboard.press("Enter")
        expect(level).to_have_attribute("placeholder", re.compile(r"last \d"))
        last = float((level.get_attribute("placeholder") or "").split()[1].replace(",", ""))
        level.fill(f"{last - sign * 5:.2f}")
        page.keyboard.press("Enter")
        expect(page.get_by_text(re.compile("it already, at .* a bar has to close"))).to_be_visible()
        level.fill(f"{last + sign * NEAR:.2f}")
        page.keyboard.press("Enter")
        _choose_bars(page, "1m")
        page.get_by_role("button", name="Tell me").click()
        expect(page.get_by_text(f"Kept. Tell me by Slack when NVDA {verb} to ")).to_be_visible()
    shot(page, "6-kept")


def _choose_bars(page: Page, tf: str) -> None:
    page.get_by_role("combobox", name="Bars").click()
    page.get_by_role("option", name=tf, exact=True).click()


def _is_told(page: Page, slack: Room) -> None:
    """By the market itself, which moves past one of the two levels."""
    until = time.monotonic() + PATIENCE_S
    while not (told := [heard.json["text"] for heard in slack.heard if " bar closed at " in heard.body.decode()]):
        assert time.monotonic() < until, [heard.body for heard in slack.heard]
        page.wait_for_timeout(500)
    assert re.match(r"NVDA (rose|fell) to [\d.]+: the 1m bar closed at [\d.]+", told[0])

    page.get_by_role("link", name="Alerts").click()
    table = page.get_by_test_id("stDataFrame").first
    expect(table).to_contain_text(told[0])
    expect(table).to_contain_text("✔ sent")
    page.get_by_role("tab", name="My subscriptions").click()
    expect(page.get_by_text("Hammer with an edge above the base rate on NVDA 15m")).to_be_visible()
    shot(page, "7-told")


def _sets_up_codes(page: Page, server: Server) -> None:
    page.goto(f"{server.url}/settings?tab=My+account")
    form = page.locator(".st-key-account_enrol")
    form.get_by_label("Your password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(form.get_by_role("img", name="QR code for an authenticator app")).to_be_visible()
    secret = form.locator("dd").first.inner_text().replace(" ", "")
    code = page.get_by_role("textbox", name="One-time code")
    code.fill("12345x")
    page.keyboard.press("Enter")
    expect(page.locator(".st-key-account_confirm .bad")).to_be_visible()
    code.fill(pyotp.TOTP(secret).now())
    page.keyboard.press("Enter")
    expect(page.get_by_text("They are set up: arming live trading asks for one.")).to_be_visible()


def _looks_on(other: Page, server: Server) -> None:
    """Sees, changes nothing, and has wishes of her own."""
    expect(other.get_by_text("You look on: the role viewer places no orders.")).to_be_visible()
    expect(other.locator("[data-press=stop]")).to_have_count(0)
    for tab in OWNERS_TABS:
        other.goto(f"{server.url}/settings?tab={tab.replace('*', '%2A').replace(' ', '+')}")
        panel = other.get_by_role("tabpanel", name=tab)
        expect(panel.get_by_text("You look on: the role viewer").first).to_be_visible()
        expect(other.locator(".sf form")).to_have_count(0)
    other.goto(f"{server.url}/alerts?tab=My+subscriptions")
    expect(other.get_by_text("Nothing yet.")).to_be_visible()
    other.get_by_role("tab", name="History").click()
    expect(other.get_by_test_id("stDataFrame").first).to_contain_text("bar closed at")  # a room is everybody's
    shot(other, "9-looks-on")


def _is_put_out(page: Page, other: Page, server: Server) -> None:
    page.goto(f"{server.url}/settings?tab=People")
    page.locator(".st-key-people_vera summary").click()
    page.get_by_role("button", name="End every sign-in").locator("visible=true").click()
    expect(page.get_by_text("vera is signed out everywhere.")).to_be_visible()
    expect(other.get_by_text("This desk shows nothing before you have signed in.")).to_be_visible()
    expect(other.get_by_test_id("stDataFrame")).to_have_count(0)
    shot(other, "10-put-out")
    other.get_by_role("link", name="Sign in").click()


def _is_locked_out(other: Page) -> None:
    for attempt in range(6):
        other.get_by_label("Name").fill("vera")
        other.get_by_label("Password").fill(f"not this one {attempt}")
        with other.expect_navigation():
            other.keyboard.press("Enter")
        said = (
            "Name or password do not fit." if attempt < 5 else re.compile(r"Too many attempts\. Try again in \d+ s, at")
        )
        expect(other.get_by_role("alert")).to_have_text(said)
    shot(other, "11-locked")
