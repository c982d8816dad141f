"""People on the real pages: the first owner, somebody who looks on, and keys, in Chromium."""

from __future__ import annotations

import json
import re
import subprocess

import pytest
from playwright.sync_api import Page, Request, expect

from tests.accounts import PASSWORD
from tests.browser.conftest import Server

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
SECRET = "canary-7f3a91bc4F2A"
TABS = {
    "Data source": "does not choose the data source",
    "E*TRADE": "changes no keys",
    "Risk": "changes no limits",
    "Notifications": "does not change how people are told",
    "People": "changes no people",
}
OWN = {"Notifications": {"Keep"}}  # one's own address


def sign_in(page: Page, name: str) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def test_the_first_owner_keeps_a_key_and_lets_somebody_look_on(server: Server, page: Page) -> None:
    posted: dict[str, str] = {}
    spoken: list[bytes] = []

    def remember(request: Request) -> None:
        if request.method == "POST":
            posted[request.url.removeprefix(server.url)] = request.post_data or ""

    page.on("request", remember)
    page.on("websocket", lambda line: line.on("framesent", lambda frame: spoken.append(_bytes(frame))))

    page.goto(f"{server.url}/settings?tab=People")
    page.get_by_label("Name to sign in with").fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_label("The same again").fill(PASSWORD)
    page.get_by_role("button", name="Make the first owner").click()
    expect(page).to_have_url(re.compile("/sign-in"))
    sign_in(page, "ada")

    page.get_by_text("Add somebody").click()
    form = page.locator(".st-key-people_add")
    form.get_by_label("Name").fill("vera")
    form.get_by_label("Role").select_option("viewer")
    form.get_by_label("Password").fill(PASSWORD)
    form.get_by_label("The same again").fill(PASSWORD)
    form.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_text("vera · viewer")).to_be_visible()

    page.get_by_role("tab", name="E*TRADE").click()
    page.get_by_label("Consumer key").fill(SECRET)
    page.get_by_role("button", name="Keep").click()
    expect(page.get_by_text("ends …4F2A")).to_be_visible()
    expect(page.get_by_label("Consumer key")).to_have_value("")
    assert json.loads(posted["/auth/keys"])["ETRADE_CONSUMER_KEY"] == SECRET

    page.get_by_role("button", name="Sign out", exact=True).click()
    expect(page).to_have_url(re.compile("/sign-in"))
    assert "sid" not in {cookie["name"] for cookie in page.context.cookies()}
    page.goto(f"{server.url}/settings?tab=People")
    sign_in(page, "vera")
    for tab, said in TABS.items():
        page.get_by_role("tab", name=tab).click()
        panel = page.get_by_role("tabpanel", name=tab)
        expect(panel.get_by_text(said).first).to_be_visible()
        offered = [one for one in panel.get_by_role("button", disabled=False).all() if one.is_visible()]
        assert {text for one in offered if (text := one.inner_text().strip())} <= OWN.get(tab, set())

    heard = b"".join(spoken)
    assert heard
    for typed in (PASSWORD, SECRET):
        assert typed.encode() not in heard
        found = subprocess.run(["grep", "-rlF", typed, str(server.data.parent)], capture_output=True, text=True)
        assert found.stdout == ""


def _bytes(frame: str | bytes) -> bytes:
    return frame if isinstance(frame, bytes) else frame.encode()
