"""From "Open the link" to E*TRADE's prices on the chart, as a person does it each morning, against a local E*TRADE."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.clicks import place_button
from tests.browser.conftest import PHONE, WIDE, Server, free_port, start_server
from tests.conftest import ROOT

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser"), pytest.mark.timeout(420)]
TAB = "/settings?tab=E*TRADE"
SHOTS = os.environ.get("DESK_SHOTS", "")


@pytest.fixture(scope="module")
def etrade() -> Iterator[str]:
    """A simulated E*TRADE in a process of its own, on a Friday morning."""
    port = free_port()
    command = [sys.executable, "-m", "simulator.etrade", "--port", str(port), "--start", "2026-11-20T10:30"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url, until = f"http://127.0.0.1:{port}", time.monotonic() + 60
    while time.monotonic() < until:
        with suppress(OSError), urllib.request.urlopen(f"{url}/simulator", timeout=2):
            break
        time.sleep(0.2)
    yield url
    process.terminate()
    process.wait(10)


@pytest.fixture(scope="module")
def desk(etrade: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("etrade") / "data"
    data.mkdir()
    with urllib.request.urlopen(f"{etrade}/simulator", timeout=5) as answer:
        account = json.load(answer)["accounts"][0]["accountId"]
    server = start_server(
        data,
        ETRADE_ACCOUNT_ID=account,
        DATA_SOURCE="etrade",
        ETRADE_ENVIRONMENT="simulator",
        ETRADE_SIMULATOR_URL=etrade,
        WATCHLIST="AAPL,MSFT,KO",
    )
    yield server
    server.stop()


def shot(page: Page, name: str) -> None:
    if SHOTS:
        page.wait_for_timeout(1200)  # for what still moves
        page.screenshot(path=str(Path(SHOTS) / f"etrade-{name}.png"), full_page=False)


def signed_in(page: Page, desk: Server) -> float:
    """Sign in as a person does; the seconds from the press of the last button to the green word."""
    page.goto(desk.url + TAB)
    page.get_by_role("button", name="Get the link").click()
    link = page.get_by_role("link", name="Open the link")
    expect(link).to_be_visible()
    with page.context.expect_page() as opened:
        link.click()
    theirs = opened.value
    theirs.get_by_role("button", name="Accept").click()
    code = theirs.locator("#verifier").input_value()
    theirs.close()
    page.get_by_label("Paste the code").fill(code)
    began = time.monotonic()
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", name="Signed in")).to_be_visible()
    return time.monotonic() - began


def test_from_the_link_to_etrades_quotes_on_the_chart(desk: Server, page: Page) -> None:
    page.goto(desk.url + TAB)
    expect(page.get_by_role("heading", name="Nobody is signed in")).to_be_visible()
    expect(page.locator(".dk-side")).to_contain_text("E*TRADE (simulator): sign in")
    shot(page, "signed-out")
    page.set_viewport_size(PHONE)
    shot(page, "signed-out-phone")
    page.set_viewport_size(WIDE)

    assert signed_in(page, desk) < 15

    metric = page.get_by_test_id("stMetricValue")
    expect(metric).to_have_text(re.compile(r"1[23] h \d\d min \d\d s"))
    before = metric.inner_text()
    expect(metric).not_to_have_text(before)
    expect(page.locator(".dk-side")).to_contain_text(re.compile(r"••••\d{4} · signed in, 1[23] h \d\d min left"))
    expect(page.locator(".dk-side")).to_contain_text("simulated E*TRADE prices")
    page.get_by_role("button", name="Look now").click()
    expect(page.get_by_text("Prices come in real time")).to_be_visible()
    expect(page.get_by_text("Nothing says that an agreement is missing")).to_be_visible()
    shot(page, "signed-in")
    page.set_viewport_size(PHONE)
    shot(page, "signed-in-phone")
    page.set_viewport_size(WIDE)

    page.goto(desk.url)
    page.wait_for_function("document.querySelector('.dc')?.dataset.updates > 2", timeout=60_000)
    expect(page.locator(".dt-bar")).to_contain_text("LIVE")
    expect(page.locator(".dt-bar")).to_contain_text("SIMULATED")
    expect(page.locator(".dt-chips")).to_contain_text("AAPL")
    page.get_by_role("button", name="Preview").click()
    expect(place_button(page)).to_be_enabled()
    page.keyboard.press("Escape")
    shot(page, "chart")
    page.set_viewport_size(PHONE)
    shot(page, "chart-phone")


def test_signing_out_says_so_everywhere_and_a_wrong_code_is_explained(desk: Server, page: Page) -> None:
    page.goto(desk.url + TAB)
    nobody = page.get_by_role("heading", name="Nobody is signed in")
    expect(nobody.or_(page.get_by_role("button", name="Sign out")).first).to_be_visible()
    if nobody.count():
        signed_in(page, desk)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in again")).to_be_visible()
    expect(page.locator(".dk-side")).to_contain_text("E*TRADE (simulator): sign in")

    page.get_by_role("button", name="Get the link").click()
    expect(page.get_by_role("link", name="Open the link")).to_be_visible()
    page.get_by_label("Paste the code").fill("AAAAA")
    page.get_by_role("button", name="Sign in", exact=True).click()

    expect(page.get_by_text(re.compile("Refused.*the code was mistyped"))).to_be_visible()
    shot(page, "wrong-code")
