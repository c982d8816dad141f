"""The look of the desk in a real Chromium: both themes, both sizes, by eye, by keyboard and for who hears a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import PHONE, WIDE, Server, start_server
from tests.browser.test_live_dashboard import drawn
from ui import palettes, theme

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser"), pytest.mark.timeout(300)]

TABS = ("Data source", "E*TRADE", "Trading", "Risk", "Notifications", "Appearance", "Your files", "Backups", "People")
PATHS = {
    "live": "/",
    "positions": "/positions",
    "bot": "/bot",
    "backtest": "/backtest",
    "training": "/training",
    "alerts": "/alerts",
    "log": "/alerts?tab=Log",
    "subscriptions": "/alerts?tab=My+subscriptions",
    "sign-in": "/sign-in",
    **{tab: f"/settings?tab={tab.replace(' ', '+').replace('*', '%2A')}" for tab in TABS},
}
DIALOGS = {"Stop trading": "/positions", "Start a strategy": "/bot"}
SIZES = {"wide": WIDE, "phone": PHONE}
MOST_SHIFT = 0.1
SHIFTS = """window.shifted = 0; new PerformanceObserver(list => { for (const one of list.getEntries())
  if (!one.hadRecentInput) window.shifted += one.value; }).observe({type: 'layout-shift', buffered: true})"""
SETTLED = """() => document.querySelector('.dk-side')?.dataset.answers === 'yes'
  && !document.querySelector('[data-testid=stSkeleton]')"""
BACKGROUND = "getComputedStyle(document.querySelector('.stApp')).backgroundColor"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One dashboard for all of these: none changes what another looks at."""
    data = tmp_path_factory.mktemp("look") / "data"
    data.mkdir()
    server = start_server(data)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def axe() -> str:
    """axe-core, as its package carries it."""
    return (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")


def looked_at(browser: Browser, scheme: Any, size: str) -> Page:
    """A visitor of that theme and size, patient with a machine that has other things to do."""
    page = browser.new_context(viewport=SIZES[size], color_scheme=scheme).new_page()
    page.set_default_timeout(90_000)
    return page


def opened(page: Page, desk: Server, path: str) -> None:
    page.goto(desk.url + path)
    if path == "/sign-in":
        expect(page.get_by_role("button", name="Sign in")).to_be_visible()
        return
    page.wait_for_function(SETTLED)
    if path == "/":
        drawn(page)
    else:
        expect(page.get_by_role("heading", level=1)).to_be_visible()


def findings(page: Page, axe: str) -> list[str]:
    """What axe-core calls serious or critical: the rule, the element, and why."""
    page.evaluate(axe)
    told = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{rule['id']}: {node['target']} {node['failureSummary']}"
        for rule in told["violations"]
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def rgb(colour: str) -> str:
    return "rgb({}, {}, {})".format(*theme.channels(colour))


def test_a_page_follows_the_readers_theme_without_being_opened_anew(browser: Browser, desk: Server, axe: str) -> None:
    """The system changes from dark to light while a chart is watched: page, panel and candles change with it."""
    page = looked_at(browser, "dark", "wide")
    opened(page, desk, "/")
    plot = "document.querySelector('.dc-plot')"
    up = palettes.PALETTES[palettes.DEFAULT].rising
    assert page.evaluate(BACKGROUND) == rgb(theme.value("ground", "dark"))
    assert page.evaluate(f"{plot}.data[0].increasing.line.color") == up.dark
    assert page.evaluate(f"{plot}.data[0].increasing.fillcolor") == palettes.HOLLOW
    assert findings(page, axe) == []

    page.emulate_media(color_scheme="light")

    page.wait_for_function(f"{plot}.layout.plot_bgcolor === '{theme.value('plot', 'light')}'")
    assert page.evaluate(f"{plot}.data[0].increasing.line.color") == up.light
    assert page.evaluate(BACKGROUND) == rgb(theme.value("ground", "light"))
    assert page.evaluate("document.querySelector('.dc').dataset.mounts") == "1"
    assert findings(page, axe) == []
    page.context.close()


def test_the_chart_is_read_by_keyboard(browser: Browser, desk: Server) -> None:
    page = looked_at(browser, "dark", "wide")
    opened(page, desk, "/")
    plot, spoken = (
        page.get_by_role("application", name=re.compile("candlestick chart")),
        page.locator(".dc-spoken").first,
    )
    plot.focus()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") in ("solid", "auto")
    plot.press("Shift+ArrowLeft")
    expect(spoken).to_contain_text(re.compile(r"New York: close [\d.,]+, (up|down|unchanged)"))
    expect(page.locator(".dc-at")).to_be_visible()
    first = spoken.text_content()
    plot.press("ArrowLeft")
    expect(spoken).not_to_have_text(first or "")
    minute = (page.locator(".dc-when").text_content() or "")[:16]
    expect(spoken).to_contain_text(minute)
    updates = int(page.evaluate("document.querySelector('.dc').dataset.updates"))
    page.wait_for_function(f"document.querySelector('.dc').dataset.updates > {updates + 1}")
    assert (page.locator(".dc-when").text_content() or "")[:16] == minute, "the bar stays the one that was chosen"

    wide = page.evaluate("document.querySelector('.dc-plot')._fullLayout.xaxis.range.map(String).join()")
    plot.press("+")
    page.wait_for_function(
        f"document.querySelector('.dc-plot')._fullLayout.xaxis.range.map(String).join() !== '{wide}'"
    )
    plot.press("Escape")
    expect(page.locator(".dc-at")).to_be_hidden()
    page.context.close()


def test_a_small_light_page_is_whole_and_says_what_it_means(browser: Browser, desk: Server, axe: str) -> None:
    page = looked_at(browser, "light", "phone")
    for path in ("/positions", "/settings?tab=Appearance", "/sign-in"):
        opened(page, desk, path)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
        assert findings(page, axe) == [], path
    page.context.close()


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_nobody_is_shut_out_of_any_page(browser: Browser, desk: Server, axe: str, scheme: str, size: str) -> None:
    found: dict[str, list[str]] = {}
    for name, path in PATHS.items():
        page = looked_at(browser, scheme, size)
        opened(page, desk, path)
        found[name] = findings(page, axe)
        if not page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"):
            found[name].append("scrolls sideways")
        page.context.close()
    for name, path in DIALOGS.items():
        page = looked_at(browser, scheme, size)
        opened(page, desk, path)
        page.get_by_role("button", name=re.compile(f"^{name}")).locator("visible=true").first.click()
        expect(page.get_by_role("dialog")).to_be_visible()
        page.wait_for_timeout(500)  # until it has faded in: what shines through is no colour of ours
        found[name] = findings(page, axe)
        page.context.close()

    assert {name: said for name, said in found.items() if said} == {}


@pytest.mark.long
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("path", list(PATHS.values()))
def test_no_page_jumps_in_its_first_ten_seconds(browser: Browser, desk: Server, path: str, size: str) -> None:
    page = looked_at(browser, "dark", size)
    page.add_init_script(SHIFTS)
    opened(page, desk, path)
    page.wait_for_timeout(10_000)

    assert page.evaluate("window.shifted") <= MOST_SHIFT
    page.context.close()


def test_a_dashboard_that_is_gone_is_told_in_the_desks_own_words(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    server = start_server(tmp_path / "data", ENGINE="off")
    page = looked_at(browser, "dark", "wide")
    opened(page, server, "/bot")
    server.stop()

    told = page.get_by_role("dialog")
    expect(told).to_contain_text("No connection to the dashboard", timeout=60_000)
    expect(told).to_contain_text("What rests at the broker stays there.")
    expect(told).not_to_contain_text("Streamlit")
    page.context.close()
