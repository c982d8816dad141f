"""One wish, pressed in every way people press: how many orders come of it? Used by the tests and by `make prove`."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import BrowserContext, Locator, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from desk.inbox import Inbox
from desk.reader import Reader
from domain.clock import SystemClock
from domain.commands import Command, Kind
from domain.orders import Purpose

ROOMY = {
    "duplicate_window_s": 1,
    "max_orders_per_minute": 60,
    "max_orders_per_day": 5000,
    "max_symbol_pct": 100,
    "max_sector_pct": 100,
    "max_group_pct": 100,
}


@dataclass(slots=True)
class Trader:
    """Somebody in front of a dashboard, and the ledger behind it."""

    url: str
    data: Path
    context: BrowserContext

    @property
    def address(self) -> str:
        return f"sqlite:///{self.data}/ledger-paper-simulated.db"

    def entries(self) -> list[str]:
        """The id of every order a wish has made, stops and targets aside."""
        reader = Reader(self.address, SystemClock())
        return [order.id for order in reader.family({""}) if order.request.purpose is Purpose.ENTRY]

    def tell(self, kind: Kind, **payload: object) -> None:
        """A command by the inbox, answered before this returns."""
        inbox, key = Inbox(self.address, SystemClock()), uuid.uuid4().hex
        inbox.append(Command(key, kind, "owner", dict(payload)))
        end = time.monotonic() + 20
        while inbox.answer(key) is None:
            assert time.monotonic() < end, f"{kind} was not answered"
            time.sleep(0.05)

    def make_room(self) -> None:
        """Limits under which the same small order may be placed again and again."""
        end = time.monotonic() + 30
        while Reader(self.address, SystemClock()).engine() is None:
            assert time.monotonic() < end, "no engine runs"
            time.sleep(0.1)
        for name, value in ROOMY.items():
            self.tell(Kind.SET_LIMIT, name=name, value=value)


def previewed(page: Page, url: str) -> None:
    """A ticket for one share, previewed and about to be placed."""
    page.goto(f"{url}/?symbol=KO")
    shares = page.locator(".st-key-tkt_fields").get_by_role("spinbutton").first
    expect(shares).not_to_have_value("")
    page.get_by_role("button", name="Preview", exact=True).click()
    expect(place_button(page)).to_be_enabled()


def place_button(page: Page) -> Locator:
    return page.get_by_role("button", name=re.compile("^Place paper order"))


def double_click(trader: Trader, page: Page) -> None:
    place_button(page).dblclick()


def click_then_another_widget(trader: Trader, page: Page) -> None:
    place_button(page).click()
    page.wait_for_timeout(150)
    page.get_by_role("radio", name="15m").or_(page.get_by_role("button", name="15m")).first.click()


def click_and_reload(trader: Trader, page: Page) -> None:
    place_button(page).click(no_wait_after=True)
    page.wait_for_timeout(30)  # the click is on the wire, its answer is not
    page.reload()


def two_tabs(trader: Trader, page: Page) -> None:
    other = trader.context.new_page()
    other.goto(page.url)
    expect(place_button(other)).to_be_enabled()
    place_button(page).click(no_wait_after=True)
    with suppress(PlaywrightTimeout):  # this tab may have heard of it already and put the button away
        place_button(other).click(no_wait_after=True, timeout=1500)
    other.wait_for_timeout(400)
    other.close()


WAYS: dict[str, Callable[[Trader, Page], None]] = {
    "a double click": double_click,
    "a click, then another widget": click_then_another_widget,
    "a click, then a reload": click_and_reload,
    "two tabs": two_tabs,
}


def orders_of(trader: Trader, page: Page, way: str) -> int:
    """How many orders one wish pressed in this way has made. Who sees after a while that nothing came of it, and the
    button is still there, presses once more: a page that is left may take the press along."""
    before = set(trader.entries())
    previewed(page, trader.url)
    WAYS[way](trader, page)
    if not _come(trader, page, before, 10) and place_button(page).is_visible():
        with suppress(PlaywrightTimeout):
            place_button(page).click(timeout=3000)
        _come(trader, page, before, 30)
    page.wait_for_timeout(700)
    return len(set(trader.entries()) - before)


def _come(trader: Trader, page: Page, before: set[str], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not set(trader.entries()) - before:
        page.wait_for_timeout(100)
    return bool(set(trader.entries()) - before)
