"""Being told, in a real Chromium and before a real server that stands for Slack: a wish from beneath the chart, a test
that arrives, and its line in the history."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from desk.people import OWNER, People
from tests.alert_servers import Server as Room
from tests.alert_servers import says, web_server
from tests.browser.conftest import Server, start_server

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser"), pytest.mark.timeout(420)]
SHOTS = os.environ.get("DESK_SHOTS", "")


@contextmanager
def room() -> Iterator[Room]:
    """A server that stands for Slack, on a thread of its own."""
    loop, made, over = asyncio.new_event_loop(), threading.Event(), asyncio.Event()
    found: list[Room] = []

    async def serve() -> None:
        async with web_server(says(200, "ok")) as server:
            found.append(server)
            made.set()
            await over.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert made.wait(10)
    try:
        yield found[0]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join(10)
        loop.close()


@pytest.fixture
def slack() -> Iterator[Room]:
    with room() as found:
        yield found


@pytest.fixture
def desk(tmp_path: Path, slack: Room) -> Iterator[Server]:
    (tmp_path / "data").mkdir()
    server = start_server(tmp_path / "data", ENGINE="off", SLACK_WEBHOOK_URL=f"{slack.url}/hook")
    yield server
    server.stop()


def shot(page: Page, name: str) -> None:
    if SHOTS:
        page.screenshot(path=str(Path(SHOTS) / f"alerts-{name}.png"))


def test_a_person_asks_to_be_told_tries_the_channel_and_finds_both(desk: Server, slack: Room, page: Page) -> None:
    page.goto(f"{desk.url}/?symbol=NVDA")
    page.get_by_role("tab", name="Tell me").click()
    expect(page.get_by_text("Hammer (bullish) on NVDA 5m: seen ")).to_be_visible()
    page.get_by_text("Slack", exact=True).click()
    wish = "Tell me by Slack when a Hammer with an edge above the base rate appears on NVDA 5m."
    expect(page.get_by_text(wish, exact=True)).to_be_visible()
    page.get_by_role("button", name="Tell me").click()
    expect(page.get_by_text(f"Kept. {wish}")).to_be_visible()
    shot(page, "kept")
    [kept] = People(f"sqlite:///{desk.data / 'people.db'}").subscriptions(OWNER)
    assert (kept.symbol, kept.timeframe, kept.channels) == ("NVDA", "5m", ("slack",))

    page.goto(f"{desk.url}/settings?tab=Notifications")
    card = page.locator(".st-key-channel_slack")
    card.get_by_role("button", name="Test").click()
    expect(card.get_by_text("sent to Slack")).to_be_visible()
    shot(page, "tested")
    assert ["A test from your trading desk" in heard.body.decode() for heard in slack.heard] == [True]

    page.get_by_role("link", name="Alerts").click()
    expect(page.get_by_role("tab", name="History")).to_have_attribute("aria-selected", "true")
    table = page.get_by_test_id("stDataFrame").first
    expect(table).to_contain_text("A test from your trading desk")
    expect(table).to_contain_text("✔ sent")
    shot(page, "history")
    page.get_by_text("Today", exact=True).click()
    expect(page).to_have_url(re.compile("span=Today"))
    expect(table).to_contain_text("✔ sent")
    page.evaluate("window.__kept = document.querySelector('[data-testid=stDataFrame]')")
    top = table.bounding_box()
    page.wait_for_timeout(3500)  # a tick of its own
    assert page.evaluate("window.__kept.isConnected")
    assert table.bounding_box() == top
    expect(page.get_by_text("Nobody tells anybody")).to_have_count(0)
