"""The whole way of a first trade as somebody walks it who has read nothing but the guide, with the real engine."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from uuid import uuid4

import pytest
from playwright.sync_api import Locator, Page, expect

from desk.inbox import Inbox
from desk.reader import Reader
from domain.clock import SystemClock
from domain.commands import Command, CommandState, Kind
from tests.browser.clicks import Trader, place_button
from tests.browser.conftest import Server
from ui import guide_steps as steps

pytestmark = [
    pytest.mark.browser,
    pytest.mark.long,
    pytest.mark.xdist_group("browser"),
    pytest.mark.timeout(600),
]
STEPS = tuple(one.name for one in steps.STEPS)
PATIENCE_S = 90.0


def step(page: Page, name: str, said: str) -> Locator:
    return page.locator(".st-key-guide").get_by_label(f"{name}, {said}", exact=True)


def happened(page: Page, count: int) -> None:
    """So many steps are ticked, and no more."""
    for at, name in enumerate(STEPS):
        expect(step(page, name, "done" if at < count else "to do")).to_be_visible(timeout=PATIENCE_S * 1000)


def sized(guide: Locator) -> tuple[float, float]:
    box = guide.bounding_box()
    assert box is not None
    return box["width"], box["height"]


def until(page: Page, claim: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not claim():
        assert time.monotonic() < end, "waited for too long"
        page.wait_for_timeout(100)


def closed(page: Page, trader: Trader, reader: Reader) -> None:
    """By a command, as a program would. A close may be refused for a moment (an old price, a stop whose cancel is under
    way): who wants out asks again."""

    def flat() -> bool:
        if not reader.positions("main"):
            return True
        inbox, key = Inbox(trader.address, SystemClock()), uuid4().hex
        inbox.append(Command(key, Kind.CLOSE, "owner", {"account": "main", "symbol": "KO", "percent": "100"}))
        until(page, lambda: inbox.answer(key) is not None)
        answer = inbox.answer(key)
        if answer is not None and answer.state is CommandState.DONE:
            until(page, lambda: not [o for o in reader.open_orders("main") if o.request.purpose == "exit"])
        return not reader.positions("main")

    until(page, flat)


def test_from_a_pattern_to_a_closed_position_and_on(server: Server, page: Page) -> None:
    trader = Trader(server.url, server.data, page.context)
    trader.make_room()
    reader = Reader(trader.address, SystemClock())
    page.goto(f"{server.url}/?symbol=KO")
    guide = page.locator(".st-key-guide")
    happened(page, 0)
    size = sized(guide)

    guide.get_by_role("button", name="Open the patterns").click()
    expect(page.get_by_role("tab", name="Patterns on this chart")).to_have_attribute("aria-selected", "true")
    happened(page, 1)

    guide.get_by_role("button", name="Fill the ticket").click()
    expect(page.locator(".st-key-tkt_fields").get_by_role("spinbutton").first).to_have_value("0.25")
    page.get_by_role("button", name="Preview", exact=True).click()
    happened(page, 2)

    expect(place_button(page)).to_be_enabled()
    place_button(page).click()
    expect(page.get_by_text("Placed:").first).to_be_visible()
    happened(page, 4)  # the tick of the order may pass unseen: its stop rests with the fill
    [entry] = [order for order in reader.family({""}) if order.request.purpose == "entry"]
    assert not entry.open

    closed(page, trader, reader)
    happened(page, 5)
    expect(guide.get_by_text("Where to go from here.")).to_be_visible()
    assert sized(guide) == size  # nothing has jumped in all this time

    guide.get_by_role("button", name="The bot").click()
    expect(page).to_have_url(re.compile("/bot"))
    page.goto(server.url)
    guide.get_by_role("button", name="Put away").click()
    expect(guide).to_have_count(0)
