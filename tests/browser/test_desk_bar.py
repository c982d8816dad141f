"""The desk on every page, its switch, and our orders on the chart, in a real Chromium; the engine is a stand-in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from domain.commands import Kind
from domain.orders import OrderType, Side
from tests.browser.conftest import PHONE, Server, start_server
from tests.browser.scribe import Scribe
from tests.browser.test_live_dashboard import GRAPH, open_chart, plot_box, wait_for_updates, x_range

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser"), pytest.mark.timeout(420)]


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[Server]:
    """A dashboard that runs no engine of its own."""
    (tmp_path / "data").mkdir()
    server = start_server(tmp_path / "data", ENGINE="off")
    yield server
    server.stop()


@pytest.fixture
def scribe(quiet: Server) -> Iterator[Scribe]:
    """Its desk, with 100 AAPL bought and protected, and a bid below."""
    scribe = Scribe(quiet.url, quiet.data)
    last, cent = scribe.price("AAPL"), Decimal("0.01")
    scribe.position(
        "AAPL",
        100,
        last,
        (last * Decimal("0.997")).quantize(cent),
        (last * Decimal("1.003")).quantize(cent),
    )
    bid = (last * Decimal("0.998")).quantize(cent)
    scribe.order("e1", "AAPL", Side.BUY, 50, type=OrderType.LIMIT, limit=bid)
    scribe.run()
    yield scribe
    scribe.close()


def line(page: Page, name: str) -> Locator:
    return page.locator(f".dc-order[data-line='{name}']")


def drag(page: Page, what: Locator, by: int) -> None:
    box = what.locator("span").bounding_box()
    assert box is not None
    x, y = box["x"] + 30, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y + by / 2)
    page.mouse.move(x, y + by)
    page.mouse.up()


def asked(scribe: Scribe, kind: Kind) -> list[dict[str, object]]:
    return [command.payload for command in scribe.seen if command.kind is kind]


def test_a_dragged_stop_is_a_draft_until_it_is_applied_once(page: Page, quiet: Server, scribe: Scribe) -> None:
    open_chart(page, quiet)
    box = plot_box(page)
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + box["height"] * 0.2)
    page.mouse.wheel(0, -200)
    page.wait_for_timeout(700)
    zoomed = x_range(page)
    stop, bar = line(page, "stop"), page.locator(".dc-draft")
    before = stop.get_attribute("aria-valuenow")

    drag(page, stop, 18)
    after = stop.get_attribute("aria-valuenow")
    assert before is not None
    assert after is not None
    assert float(after) < float(before)
    expect(bar).to_contain_text(re.compile(rf"Move stop {before} → {after} · loses [\d.]+ on 100 sh"))
    wait_for_updates(page, 2)
    expect(bar).to_contain_text(after)
    assert asked(scribe, Kind.PROTECT) == []

    bar.get_by_role("button", name="Apply").dblclick()
    expect(bar).to_contain_text("Done.")
    expect(line(page, "stop").locator("span")).to_contain_text(f"STOP {after}")
    page.wait_for_timeout(1500)
    assert asked(scribe, Kind.PROTECT) == [{"account": "main", "symbol": "AAPL", "stop": after}]
    assert x_range(page) == zoomed
    assert page.evaluate("document.querySelector('.dc').dataset.mounts") == "1"


def test_a_line_is_moved_by_the_keyboard_and_given_up_with_escape(page: Page, quiet: Server, scribe: Scribe) -> None:
    open_chart(page, quiet)
    entry, bar = line(page, "e1:limit"), page.locator(".dc-draft")
    expect(entry).to_have_attribute("role", "slider")
    before = Decimal(entry.get_attribute("aria-valuenow") or "")

    entry.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+ArrowDown")
    expect(bar).to_contain_text(f"→ {before - Decimal('0.11')}")
    page.keyboard.press("Escape")
    expect(bar).to_be_hidden()
    expect(entry).to_have_attribute("aria-valuenow", str(before))

    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    expect(bar).to_contain_text("Done.")
    assert asked(scribe, Kind.CHANGE) == [{"order": "e1", "limit": str(before + Decimal("0.01"))}]


def test_a_refused_move_says_why_and_the_line_goes_back(page: Page, quiet: Server, scribe: Scribe) -> None:
    scribe.refuse = "The stop must lie below the price."
    open_chart(page, quiet)
    stop, bar = line(page, "stop"), page.locator(".dc-draft")
    before = stop.get_attribute("aria-valuenow") or ""
    drag(page, stop, 14)

    bar.get_by_role("button", name="Apply").click()

    expect(bar).to_contain_text("Refused. The stop must lie below the price.")
    expect(stop).to_have_attribute("aria-valuenow", before)


def test_our_fills_are_marked_and_lines_out_of_sight_are_told_at_the_edge(
    page: Page, quiet: Server, scribe: Scribe
) -> None:
    last = scribe.price("AAPL")
    scribe.order(
        "far", "AAPL", Side.BUY, 5, type=OrderType.LIMIT, limit=(last * Decimal("0.8")).quantize(Decimal("0.01"))
    )
    open_chart(page, quiet)

    page.wait_for_function(f"{GRAPH}.data.at(-1).name === 'our fills' && {GRAPH}.data.at(-1).x.length === 1")
    said = page.evaluate(f"{GRAPH}.data.at(-1).text[0]")
    assert re.match(r"Bought 100 at [\d.]+, fee 0\.35 · Fri 20 Nov 10:\d\d:\d\d New York", said)
    expect(line(page, "far:limit")).to_have_attribute("data-off", "below")
    expect(line(page, "average").locator("span")).to_contain_text("AVG")


def test_lines_go_grey_and_say_so_when_the_dashboard_is_gone(page: Page, quiet: Server, scribe: Scribe) -> None:
    open_chart(page, quiet)
    expect(line(page, "stop").locator("span")).to_be_visible()

    page.context.set_offline(True)

    expect(page.locator(".dc-orders.old")).to_have_count(1)
    expect(page.locator(".dc-draft")).to_contain_text("Our orders as of")
    expect(page.locator(".dk-side")).to_contain_text("STALE")
    expect(page.locator(".dk-alarm.bad").first).to_contain_text("does not answer")
    page.context.set_offline(False)
    expect(page.locator(".dc-orders.old")).to_have_count(0)


def test_two_quick_clicks_stop_trading_once_and_every_page_says_so(page: Page, quiet: Server, scribe: Scribe) -> None:
    page.goto(quiet.url + "/settings")
    side = page.locator(".dk-side")
    expect(side).to_contain_text("ENABLED")
    expect(side).to_contain_text("Engine runs in its own process 4711")

    page.keyboard.press("Control+Shift+X")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Nothing is sent at all, not even exits.")
    dialog.get_by_role("button", name="Stop now: cancel entries").dblclick()
    expect(dialog).to_contain_text("kill is done.")
    page.keyboard.press("Escape")

    assert asked(scribe, Kind.KILL) == [{"level": 2, "reason": "pressed in the dashboard"}]
    for path in ("/settings", "/", "/positions"):
        page.goto(quiet.url + path)
        alarm = page.locator(".dk-alarm.bad").filter(has_text="STOPPED since")
        expect(alarm).to_contain_text("by owner: pressed in the dashboard")

    page.locator(".dk-strip").get_by_role("button", name="Re-arm…").click()
    dialog.get_by_role("button", name="Enable trading").click()
    expect(dialog).to_contain_text("Say why")
    assert asked(scribe, Kind.RE_ARM) == []
    dialog.get_by_label("Why it is safe").fill("looked at it")
    dialog.get_by_role("button", name="Enable trading").dblclick()
    expect(dialog).to_contain_text("re-arm is done.")
    assert asked(scribe, Kind.RE_ARM) == [{"reason": "looked at it"}]
    expect(page.locator(".dk-alarm")).to_have_count(0)


def test_without_an_engine_the_page_says_so_and_the_stop_waits_for_it(
    page: Page, quiet: Server, scribe: Scribe
) -> None:
    page.goto(quiet.url + "/settings")
    expect(page.locator(".dk-money")).to_be_visible()
    scribe.stop()

    expect(page.locator(".dk-alarm.bad")).to_contain_text("NO ENGINE: orders wait")
    expect(page.locator(".dk-side .dk-engine.bad")).to_contain_text("NO ENGINE")
    page.get_by_test_id("stSidebar").get_by_role("button", name="Stop trading").click()
    page.get_by_role("dialog").get_by_role("button", name="Stop now").click()
    expect(page.get_by_role("dialog")).to_contain_text("it is queued and will be the first thing done")

    scribe.run()
    expect(page.get_by_role("dialog")).to_contain_text("kill is done.")


def test_on_a_phone_the_switch_is_on_top_and_nothing_overlaps(browser: Browser, quiet: Server, scribe: Scribe) -> None:
    context = browser.new_context(viewport=PHONE, is_mobile=True, has_touch=True)
    page = context.new_page()
    open_chart(page, quiet)

    stop = page.locator(".dk-strip").get_by_role("button", name="Stop trading")
    expect(stop).to_be_in_viewport()
    expect(page.locator(".dk-strip")).to_contain_text("PAPER")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    plot = plot_box(page)
    labels = page.locator(".dc-order span").all()
    for label in labels:
        box = label.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= plot["x"] + plot["width"] + 1
    stop.tap()
    expect(page.get_by_role("dialog")).to_contain_text("How far")
    context.close()
