"""A desk that trades at E*TRADE, in a real Chromium: whose money it is on every page, arming, and what a person must
decide. The engine is a stand-in that writes a real ledger."""

from __future__ import annotations

import json
import os
import re
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from desk import place as places
from domain.clock import ShiftedClock, SystemClock
from domain.commands import Kind
from settings import Settings
from tests.browser.conftest import PHONE, WIDE, Server, start_server
from tests.desk_stand_in import ACCOUNT, OTHER, PHRASE, StandIn, arming, difference, uncertain

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser"), pytest.mark.timeout(420)]
TAB = "/settings?tab=Trading"
SHOTS = os.environ.get("DESK_SHOTS", "")
PAGES = ("/", "/positions", "/settings")


def started(data: Path, environment: str, **more: str) -> tuple[Server, StandIn]:
    """A dashboard without an engine on a desk at E*TRADE, and who speaks for its engine."""
    data.mkdir()
    asked = {"TRADING": "etrade", "DATA_SOURCE": "etrade", "ETRADE_ENVIRONMENT": environment, **more}
    server = start_server(data, ENGINE="off", **asked)
    with urllib.request.urlopen(f"{server.url}/live/desk", timeout=10) as answer:
        now = json.load(answer)["state"]["now_ms"] / 1000
    clock = ShiftedClock(SystemClock(), timedelta(seconds=now - SystemClock().now().timestamp()))
    here = Settings(_env_file=None, data_dir=data, **{name.lower(): value for name, value in asked.items()})
    prices = "etrade" if environment == "production" else f"etrade-{environment}"
    return server, StandIn(places.of(here, prices, simulated=environment != "production"), clock)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, StandIn]]:
    """The desk for real money; no key in it works, and nobody asks E*TRADE anything."""
    keys = {"ETRADE_CONSUMER_KEY": "k" * 32, "ETRADE_CONSUMER_SECRET": "s" * 32, "ETRADE_HISTORY": "files"}
    server, engine = started(tmp_path_factory.mktemp("live") / "data", "production", **keys)
    engine.bought("AAPL", 100, "229.40", stop="221")
    engine.from_outside("KO", 20)
    yield server, engine.run()
    engine.close()
    server.stop()


@pytest.fixture
def desk(live: tuple[Server, StandIn]) -> Server:
    return live[0]


@pytest.fixture
def engine(live: tuple[Server, StandIn]) -> StandIn:
    live[1].seen.clear()
    live[1].refuse = ""
    return live[1]


def shot(page: Page, name: str) -> None:
    if SHOTS:
        for word, size in (("", WIDE), ("-phone", PHONE)):
            page.set_viewport_size(size)  # type: ignore[arg-type]
            page.wait_for_timeout(1200)
            page.screenshot(path=str(Path(SHOTS) / f"arming-{name}{word}.png"))
        page.set_viewport_size(WIDE)  # type: ignore[arg-type]


def asked(engine: StandIn, kind: Kind) -> list[dict[str, Any]]:
    return [command.payload for command in engine.seen if command.kind is kind]


def test_every_page_says_whose_money_it_is_and_nothing_moves_when_it_is_drawn_again(
    desk: Server, engine: StandIn, page: Page
) -> None:
    engine.says(arming=arming(True))
    for path in PAGES:
        page.goto(desk.url + path)
        expect(page.locator(".dk-banner")).to_have_text(re.compile(f"LIVE.*real money.*{ACCOUNT}.*ARMED"))
        expect(page).to_have_title(re.compile("^LIVE · "))
    page.evaluate("window.__kept = document.querySelector('.dk-banner'); window.__blank = 0")
    page.evaluate(
        "new MutationObserver(() => { if (!window.__kept.isConnected || !window.__kept.innerText) window.__blank++ })"
        ".observe(document.body, {childList: true, subtree: true})"
    )
    before = page.locator(".dk-banner").bounding_box()

    page.get_by_role("tab", name="Appearance").click()
    page.get_by_text("Time on charts and tables").wait_for()
    page.get_by_role("tab", name="Trading").click()
    page.get_by_role("heading", name="Armed").wait_for()

    assert page.evaluate("window.__blank") == 0
    assert page.locator(".dk-banner").bounding_box() == before
    shot(page, "banner")


def test_the_banner_stays_in_sight_and_fits_a_phone(desk: Server, engine: StandIn, page: Page) -> None:
    engine.says(arming=arming(False))
    page.set_viewport_size(PHONE)  # type: ignore[arg-type]
    page.goto(desk.url + TAB)
    banner = page.locator(".dk-banner")
    expect(banner).to_contain_text("DISARMED")
    page.locator("[data-testid=stMain]").evaluate("main => main.scrollTo(0, main.scrollHeight)")

    on_top = "it => { const r = it.getBoundingClientRect(); return document.elementFromPoint(r.x + 20, r.y + 4) }"
    assert banner.evaluate(f"it => it.contains(({on_top})(it)) && it.getBoundingClientRect().y >= 0")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.locator(".dk-means").evaluate("it => it.scrollWidth <= it.clientWidth")


def test_arming_step_by_step(desk: Server, engine: StandIn, page: Page) -> None:
    engine.says(arming=arming(False, "Limits"))
    page.goto(desk.url + "/positions")
    page.locator(".dk-banner").get_by_role("button", name="Arm…").click()
    expect(page.get_by_text("4 of 5 steps are done")).to_be_visible()
    arm = page.get_by_role("button", name=f"Arm {ACCOUNT}")
    expect(arm).to_be_disabled()
    page.get_by_text(OTHER).click()
    page.get_by_role("button", name=f"Use {OTHER}").click()
    expect(page.get_by_text("pick account is done.")).to_be_visible()
    page.get_by_role("button", name="Look at everything").click()
    expect(page.get_by_text("Sign the market-data agreement.")).to_be_visible()
    shot(page, "steps")

    engine.says(arming=arming(False))
    expect(arm).to_be_enabled()
    engine.refuse = "The phrase is another one."
    field = page.get_by_label(f"Type {PHRASE}")
    field.fill("TRADE")
    arm.dblclick()
    expect(page.get_by_text("Refused. The phrase is another one.")).to_be_visible()
    assert asked(engine, Kind.ARM) == [{"account": ACCOUNT, "phrase": "TRADE"}]
    arm.scroll_into_view_if_needed()
    shot(page, "refused")

    engine.refuse = ""
    field.fill(PHRASE)
    arm.dblclick()
    expect(page.get_by_text("arm is done.")).to_be_visible()
    assert asked(engine, Kind.ARM)[1:] == [{"account": ACCOUNT, "phrase": PHRASE}]

    engine.says(arming=arming(True))
    expect(page.get_by_role("heading", name="Armed")).to_be_visible()
    expect(page.get_by_text("Armed by owner on Fri 20 Nov at 09:31:05 New York.")).to_be_visible()
    page.get_by_label("Reason").fill("lunch")
    page.get_by_role("button", name="Disarm", exact=True).click()
    expect(page.get_by_text("disarm is done.")).to_be_visible()
    assert asked(engine, Kind.DISARM) == [{"reason": "lunch"}]


def test_signed_out_is_said_in_large_words_and_leads_to_the_sign_in(desk: Server, engine: StandIn, page: Page) -> None:
    engine.says("signed out", arming=arming(True), problems=["Sign in to E*TRADE: Settings → E*TRADE. It is midnight."])
    page.goto(desk.url + "/positions")

    alarm = page.locator(".dk-alarm.big")
    expect(alarm).to_contain_text("Signed out of E*TRADE: no new entries. Stops that rest at E*TRADE stay and work.")
    expect(page.locator(".dk-alarm")).to_have_count(1)
    shot(page, "signed-out")
    alarm.get_by_role("button", name="Sign in…").click()
    expect(page).to_have_url(re.compile(r"/settings\?tab=E\*TRADE|/settings\?tab=E%2ATRADE"))


def test_a_difference_is_taken_over_once_and_with_a_reason(desk: Server, engine: StandIn, page: Page) -> None:
    cash = difference("cash", "12500.25", "12750.25", hint="")
    engine.says(
        arming=arming(True),
        differences=[difference(), cash],
        outside=[{"account": ACCOUNT, "symbol": "KO", "quantity": "20"}],
    )
    page.goto(desk.url)
    page.locator(".dk-alarm").filter(has_text="differ in 2 figures: AAPL, Cash").get_by_role("button").click()
    expect(page.get_by_text("Looks like a 10-for-1 split.")).to_be_visible()
    expect(page.get_by_text("Bought outside this desk: 20 KO.")).to_be_visible()
    expect(page.locator(".dk-side")).not_to_contain_text("NO STOP")
    shot(page, "differences")

    page.get_by_role("button", name="Take E*TRADE's figure…").first.click()
    dialog = page.get_by_role("dialog")
    take = dialog.get_by_role("button", name="Take 1,000 for AAPL")
    expect(take).to_be_disabled()
    dialog.get_by_label("Why E*TRADE is right").fill("10-for-1 split of today")
    dialog.get_by_label("Why E*TRADE is right").press("Enter")
    expect(take).to_be_enabled()
    shot(page, "accept")
    take.dblclick()
    expect(page.get_by_text("accept difference is done.")).to_be_visible()
    wished = {"account": ACCOUNT, "about": "AAPL", "here": "100", "there": "1000"}
    assert asked(engine, Kind.ACCEPT) == [{**wished, "reason": "10-for-1 split of today"}]


def test_a_frozen_order_is_settled_by_a_person(desk: Server, engine: StandIn, page: Page) -> None:
    until = engine.clock.now() + timedelta(seconds=301)
    engine.says(arming=arming(True), uncertain=[uncertain(until=until), uncertain(True, order="o-2", symbol="TSLA")])
    page.goto(desk.url + "/positions")
    said = page.get_by_test_id("stMarkdown").filter(has_text="Not known yet whether buy 10 MSFT reached E*TRADE.")
    expect(said).to_contain_text(
        re.compile(r"decided at \d\d:\d\d:\d\d New York at the latest. No other entry in MSFT")
    )
    shot(page, "uncertain")

    page.get_by_role("button", name="Say which it is…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_text("Order 8144").click()
    dialog.get_by_label("How do you know?").fill("its web site")
    dialog.get_by_label("How do you know?").press("Enter")
    settle = dialog.get_by_role("button", name="It is order 8144")
    expect(settle).to_be_enabled()
    shot(page, "settle")
    settle.click()
    expect(page.get_by_text("settle order is done.")).to_be_visible()
    assert asked(engine, Kind.SETTLE) == [{"order": "o-2", "broker_id": "8144", "reason": "its web site"}]


def test_the_rehearsal_calls_itself_so_on_every_page(tmp_path: Path, page: Page) -> None:
    server, engine = started(tmp_path / "data", "simulator", ETRADE_SIMULATOR_URL="http://127.0.0.1:9")
    try:
        engine.says("recovering", arming=arming(True, phrase="TRADE 9377"))
        engine.run()
        for path in PAGES:
            page.goto(server.url + path)
            expect(page.locator(".dk-banner.rehearsal")).to_contain_text("recovering")
            expect(page).to_have_title(re.compile("^REHEARSAL · "))
        expect(page.locator(".dk-mode.live")).to_have_count(0)
        shot(page, "rehearsal")
    finally:
        engine.close()
        server.stop()
