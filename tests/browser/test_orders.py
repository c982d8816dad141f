"""Orders from the page, with the real engine behind it: one wish, one order, and a stop that holds."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from desk.reader import Reader
from domain.clock import SystemClock
from domain.orders import Purpose, Status
from domain.trading_state import KillLevel
from tests.browser.clicks import WAYS, Trader, orders_of, place_button, previewed
from tests.browser.conftest import Server, start_server

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser"), pytest.mark.timeout(420)]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One dashboard with its engine for all tests of this file."""
    data = tmp_path_factory.mktemp("orders") / "data"
    data.mkdir()
    server = start_server(data)
    yield server
    server.stop()


@pytest.fixture
def trader(shop: Server, page: Page) -> Trader:
    trader = Trader(shop.url, shop.data, page.context)
    trader.make_room()
    return trader


@pytest.mark.parametrize("way", list(WAYS))
def test_one_wish_makes_one_order(trader: Trader, page: Page, way: str) -> None:
    assert orders_of(trader, page, way) == 1


def test_a_placed_order_fills_and_its_position_stands_under_a_stop(trader: Trader, page: Page) -> None:
    previewed(page, trader.url)
    place_button(page).click()
    expect(page.get_by_text("Placed:").first).to_be_visible()

    reader = Reader(trader.address, SystemClock())
    until(page, lambda: (held := reader.positions("main").get("KO")) is not None and stopped(reader) == held.quantity)
    page.goto(f"{trader.url}/positions")

    expect(page.get_by_role("tab", name="Open orders")).to_be_visible()


def test_the_kill_switch_refuses_what_comes_after_it_and_survives_a_restart(tmp_path: Path, page: Page) -> None:
    (tmp_path / "data").mkdir()
    server = start_server(tmp_path / "data")
    try:
        trader = Trader(server.url, server.data, page.context)
        trader.make_room()
        previewed(page, server.url)
        stop_from_the_page(page)
        reader = Reader(trader.address, SystemClock())
        until(page, lambda: reader.trading_state().level is KillLevel.CANCEL)
        place_button(page).click()
        until(page, lambda: [o.status for o in reader.family({""})] == [Status.DENIED])
        server.stop()

        server = start_server(tmp_path / "data")
        page.goto(server.url)

        expect(page.get_by_role("button", name=re.compile("Re-arm")).first).to_be_visible()
        assert reader.trading_state().level is KillLevel.CANCEL
    finally:
        server.stop()


def stopped(reader: Reader) -> Decimal:
    """The shares that rest under a stop."""
    orders = reader.open_orders("main", "KO")
    return sum((o.remaining for o in orders if o.request.purpose is Purpose.STOP), Decimal(0))


def stop_from_the_page(page: Page) -> None:
    page.get_by_role("button", name="Stop trading").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Stop now").dblclick()
    page.wait_for_timeout(1500)
    page.keyboard.press("Escape")


def until(page: Page, claim: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not claim():
        assert time.monotonic() < end, "waited for too long"
        page.wait_for_timeout(100)
