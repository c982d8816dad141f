"""The live dashboard as a visitor meets it, in a real Chromium against a real server."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, expect

from desk.people import People
from tests.browser.conftest import PHONE, Server, start_server

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser"), pytest.mark.timeout(420)]

GRAPH = "document.querySelector('.dc-plot')"


def open_chart(page: Page, server: Server, path: str = "/") -> None:
    page.goto(server.url + path)
    drawn(page)


def drawn(page: Page) -> None:
    page.wait_for_function(f"{GRAPH}?._fullLayout && document.querySelector('.dc').dataset.updates > 0")


def chart_of(page: Page, symbol: str, tf: str) -> None:
    expect(page.locator(".dc-values")).to_contain_text(f"{symbol}{tf}")


def x_range(page: Page) -> list[str]:
    return page.evaluate(f"{GRAPH}._fullLayout.xaxis.range.map(String)")


def updates(page: Page) -> int:
    return int(page.evaluate("document.querySelector('.dc').dataset.updates"))


def wait_for_updates(page: Page, count: int) -> None:
    page.wait_for_function(f"document.querySelector('.dc').dataset.updates >= {updates(page) + count}")


def plot_box(page: Page) -> dict[str, float]:
    """Where the candles are drawn, in page pixels."""
    return page.evaluate(
        f"""(() => {{ const g = {GRAPH}, r = g.getBoundingClientRect(), {{xaxis: x, yaxis: y}} = g._fullLayout;
        return {{x: r.left + x._offset, y: r.top + y._offset, width: x._length, height: y._length}}; }})()"""
    )


def trace_names(page: Page) -> list[str]:
    return page.evaluate(f"{GRAPH}.data.map(t => t.name)")


def mark_in_view(page: Page) -> dict[str, float]:
    """The page position of the newest pattern mark inside the view."""
    return page.evaluate(
        f"""(() => {{ const g = {GRAPH}, r = g.getBoundingClientRect(), {{xaxis: x, yaxis: y}} = g._fullLayout;
        const t = g.data.find(t => t.name === 'patterns');
        for (let i = t.x.length - 1; i >= 0; i--) {{
          const px = x._offset + x.d2p(t.x[i]), py = y._offset + y.d2p(t.y[i]);
          if (px > x._offset + 40 && px < x._offset + x._length - 40) return {{x: r.left + px, y: r.top + py}};
        }} return null; }})()"""
    )


def test_a_visitor_reads_the_market_without_being_disturbed(page: Page, server: Server) -> None:
    """Cold open, add a symbol, switch timeframe, indicators, a mark explained, zoom kept over ticks, network cut."""
    open_chart(page, server)
    expect(page.get_by_text("SIMULATED", exact=True).first).to_be_visible()
    expect(page.locator(".dt-badge.good")).to_have_text("LIVE")
    expect(page.locator(".dt-badge.open")).to_contain_text("MARKET OPEN · closes 16:00 New York")

    add = page.get_by_role("combobox", name="Add symbol")
    add.fill("XOM")
    page.get_by_role("option", name=re.compile("XOM")).first.click()
    expect(page.locator(".dt-chip.on[data-symbol=XOM]")).to_be_visible()
    chart_of(page, "XOM", "5m")

    page.get_by_role("radio", name="1m", exact=True).click()
    chart_of(page, "XOM", "1m")
    page.get_by_role("button", name="RSI", exact=True).click()
    page.get_by_role("button", name="Bollinger", exact=True).click()
    page.wait_for_function(f"{GRAPH}.data.some(t => t.name.startsWith('RSI'))")
    page.wait_for_function(f"{GRAPH}.data.some(t => t.name.startsWith('Bollinger'))")

    page.wait_for_function(f"{GRAPH}.data.find(t => t.name === 'patterns').x.length > 0")
    mark = mark_in_view(page)
    assert mark is not None
    page.mouse.move(mark["x"], mark["y"])
    hover = page.locator(".dc-plot .hoverlayer .hovertext")
    expect(hover).to_be_visible()
    said = hover.text_content() or ""
    assert re.search(r"(Hammer|Engulfing|Star)", said, re.IGNORECASE)
    assert re.search(r"\d", said)
    wait_for_updates(page, 2)
    expect(hover).to_be_visible()

    box = plot_box(page)
    before = x_range(page)
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.5)
    page.mouse.wheel(0, -400)
    page.wait_for_function(f"String({GRAPH}._fullLayout.xaxis.range.map(String)) !== '{','.join(before)}'")
    page.wait_for_timeout(600)
    zoomed = x_range(page)
    wait_for_updates(page, 3)
    assert x_range(page) == zoomed
    assert page.evaluate("document.querySelector('.dc').dataset.mounts") == "1"

    page.context.set_offline(True)
    expect(page.locator(".dc-veil")).to_contain_text("STALE")
    expect(page.locator(".dt-badge.bad")).to_contain_text("STALE")
    page.context.set_offline(False)
    expect(page.locator(".dt-badge.good")).to_have_text("LIVE")
    expect(page.locator(".dc-veil")).to_be_hidden()
    assert x_range(page) == zoomed


def test_the_watch_list_is_still_there_after_a_restart(page: Page, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    first = start_server(tmp_path / "data", by_command=True)
    try:
        open_chart(page, first)
        add = page.get_by_role("combobox", name="Add symbol")
        add.fill("RTX")
        page.get_by_role("option", name=re.compile("RTX")).first.click()
        expect(page.locator(".dt-chip[data-symbol=RTX]")).to_be_visible()
        page.get_by_role("button", name="Remove MSFT").click()
        expect(page.locator(".dt-chip[data-symbol=MSFT]")).to_have_count(0)
    finally:
        first.stop()
    again = start_server(tmp_path / "data")
    try:
        open_chart(page, again)
        expect(page.locator(".dt-chip[data-symbol=RTX]")).to_be_visible()
        expect(page.locator(".dt-chip[data-symbol=MSFT]")).to_have_count(0)
        expect(page.locator(".dt-chip.on")).to_have_attribute("data-symbol", "RTX")
    finally:
        again.stop()


def test_a_symbol_nobody_knows_is_refused_in_words(page: Page, server: Server) -> None:
    open_chart(page, server)
    chips = page.locator(".dt-chip").count()
    add = page.get_by_role("combobox", name="Add symbol")
    add.fill("NVDX")
    add.press("Enter")

    expect(page.get_by_role("alert").filter(has_text="Did you mean")).to_contain_text("NVDA")
    assert page.locator(".dt-chip").count() == chips


def test_a_company_is_found_by_its_name(page: Page, server: Server) -> None:
    open_chart(page, server)
    add = page.get_by_role("combobox", name="Add symbol")
    add.fill("boeing")
    add.press("Enter")

    expect(page.locator(".dt-chip.on[data-symbol=BA]")).to_be_visible()


def test_the_candles_in_view_come_down_as_csv(page: Page, server: Server, tmp_path: Path) -> None:
    open_chart(page, server)
    with page.expect_download() as caught:
        page.get_by_role("button", name="Download CSV").click()
    download = caught.value
    download.save_as(tmp_path / "candles.csv")

    assert download.suggested_filename == "AAPL_5m_SIMULATED.csv"
    frame = pd.read_csv(tmp_path / "candles.csv")
    assert list(frame) == ["time", "open", "high", "low", "close", "volume", "source"]
    assert 100 < len(frame) <= 200
    assert set(frame["source"]) == {"simulated"}
    assert pd.to_datetime(frame["time"]).is_monotonic_increasing


def test_a_file_of_the_users_own_is_shown_and_never_mixed_with_simulated_prices(
    page: Page, server: Server, tmp_path: Path
) -> None:
    folder = server.data / "ohlcv"
    folder.mkdir(parents=True)
    days = pd.bdate_range("2024-12-09", "2024-12-31").drop("2024-12-25")
    rows = [f"{d:%Y-%m-%d},250,270,230,{240 + i},1000" for i, d in enumerate(days)]
    (folder / "AAPL.csv").write_text("\n".join(["Date,Open,High,Low,Close,Volume", *rows]) + "\n")
    (folder / "BROKEN.csv").write_text("date,open,high,low,close,volume\n2024-12-30,5,4,6,5,1\n")

    open_chart(page, server)
    page.get_by_role("radio", name="1d", exact=True).click()
    chart_of(page, "AAPL", "1d")
    expect(page.locator(".dc-when")).to_have_text("2024-12-31 New York")
    expect(page.locator(".dc-values")).to_contain_text(f"C{240 + len(days) - 1}.00")
    expect(page.locator(".dc-tag")).to_have_text("NOT LIVE · ends 2024-12-31")
    expect(page.get_by_text("Candles: Your files", exact=False).first).to_be_visible()
    assert page.evaluate(f"({GRAPH}.layout.annotations ?? []).some(a => a.text === 'SIMULATED')") is False

    page.goto(server.url + "/settings")
    page.get_by_role("tab", name="Your files").click()
    expect(page.get_by_text("1 of your files is not used.")).to_be_visible()


def test_every_page_opens_by_its_address_on_a_phone(browser: Browser, server: Server) -> None:
    context = browser.new_context(viewport=PHONE, is_mobile=True, has_touch=True)
    page = context.new_page()
    errors: list[Any] = []
    page.on("pageerror", lambda error: errors.append(error))

    page.goto(server.url + "/settings")
    expect(page.get_by_role("heading", name="Settings")).to_be_visible()
    open_chart(page, server)

    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert errors == []
    context.close()


def test_a_name_that_was_pointed_at_this_machine_gets_nothing(server: Server) -> None:
    """DNS rebinding: the browser believes it talks to another host, and says so."""
    for path in ("/live/quotes?symbols=AAPL", "/live/chart?symbol=AAPL", "/"):
        request = urllib.request.Request(server.url + path, headers={"Host": "prices.example"})
        with pytest.raises(urllib.error.HTTPError, match="400"):
            urllib.request.urlopen(request, timeout=10)


def test_the_chart_offers_nothing_that_leaves_the_machine(page: Page, server: Server) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    open_chart(page, server)
    box = plot_box(page)
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    titles = page.evaluate("[...document.querySelectorAll('.modebar-btn')].map(b => b.dataset.title)")

    assert titles == ["Pan", "Zoom", "Zoom in", "Zoom out"]
    here = (server.url, server.url.replace("http", "ws"), "data:", "blob:")
    assert [url for url in asked if not url.startswith(here)] == []


def test_a_finger_that_scrolls_over_the_chart_does_not_freeze_it(browser: Browser, server: Server) -> None:
    context = browser.new_context(viewport=PHONE, is_mobile=True, has_touch=True)
    page = context.new_page()
    open_chart(page, server)
    page.evaluate(
        """() => { const plot = document.querySelector('.dc-plot');
        for (const kind of ['pointerdown', 'pointercancel'])
          plot.dispatchEvent(new PointerEvent(kind, {bubbles: true, pointerType: 'touch'})); }"""
    )

    wait_for_updates(page, 2)
    context.close()


def until(holds: Callable[[], bool], within_s: float = 60.0) -> None:
    """Wait for what no page shows."""
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.1)


def open_tab(page: Page, name: str) -> None:
    """A run that is under way when the tab is clicked puts the old one back: click until it stays."""
    tab = page.get_by_role("tab", name=name, exact=True)

    def stays() -> bool:
        tab.click()
        page.wait_for_timeout(1500)
        return tab.get_attribute("aria-selected") == "true"

    until(stays)


def test_choosing_a_source_in_one_tab_is_not_undone_by_another(page: Page, server: Server) -> None:
    """Tab B opened Settings before tab A changed the source; whatever B clicks, A's choice stands."""
    other = page.context.new_page()
    for tab in (page, other):
        tab.goto(server.url + "/settings")
        expect(tab.get_by_role("radio", name=re.compile("Simulated market"))).to_be_checked()
    page.get_by_role("radiogroup").get_by_text("Your files", exact=True).click()
    expect(page.get_by_role("radio", name=re.compile("^Your files"))).to_be_checked()
    people = People(f"sqlite:///{server.data / 'people.db'}", ())
    until(lambda: people.preference("data_source") == "files")  # the server knows it too
    expect(page.get_by_text("The prices on every chart are made up")).to_have_count(0)

    open_tab(other, "Your files")
    other.get_by_role("button", name="Look again").click()
    open_tab(other, "Data source")

    expect(other.get_by_role("radio", name=re.compile("^Your files"))).to_be_checked()
    page.reload()
    expect(page.get_by_role("radio", name=re.compile("^Your files"))).to_be_checked()
