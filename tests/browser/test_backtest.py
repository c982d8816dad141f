"""A question to history from the page, worked on by a real process: asked, watched, answered, kept, taken along."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Page, expect

from research.jobs import Jobs
from tests.browser.conftest import PHONE, Server, start_server

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser"), pytest.mark.timeout(420)]

CANDLES = "document.querySelector('[class*=st-key-bt_candles_] .js-plotly-plot')"


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Server]:
    """A dashboard over an empty data folder; the process that worked for it is ended with it."""
    (tmp_path / "data").mkdir()
    server = start_server(tmp_path / "data", ENGINE="off")
    yield server
    server.stop()
    jobs = Jobs(f"sqlite:///{server.data / 'research.db'}")
    for pid in {job.pid for job in jobs.latest("backtest", 20) if job.pid}:
        os.kill(pid, signal.SIGTERM)
    jobs.close()


def test_which_sma_pair_did_best_is_asked_answered_kept_and_taken_along(
    page: Page, bench: Server, tmp_path: Path
) -> None:
    page.goto(f"{bench.url}/backtest")
    page.get_by_role("button", name="Which SMA pair did best over the last six months?").dblclick()
    answer = page.get_by_role("heading", name="Figures side by side")
    watched = page.get_by_role("button", name="Cancel", exact=True).or_(answer)  # the answer may be the faster one
    expect(watched.first).to_be_visible(timeout=90_000)
    page.reload()  # nothing of the work is in the page
    expect(answer).to_be_visible(timeout=90_000)
    [job] = Jobs(f"sqlite:///{bench.data / 'research.db'}").latest("backtest", 20)
    assert page.url.endswith(f"?job={job.id}")
    assert job.asked["start"].startswith("2026-05-")

    expect(page.get_by_role("heading", name="SIMULATED")).to_be_visible()
    expect(page.get_by_role("heading", name=re.compile("did best"))).to_be_visible()
    expect(page.get_by_role("heading", name=re.compile("FAIL|WEAK|WORTH"))).to_have_count(4)
    page.wait_for_function(f"{CANDLES}?.data?.length > 1")

    page.get_by_role("radio", name="60", exact=True).click()
    page.wait_for_function(f"{CANDLES}?.data?.[0]?.x?.length === 60")
    newest = page.evaluate(f"{CANDLES}.data[0].x[0]")
    table = page.locator("[class*=st-key-bt_trades_] canvas").first
    table.scroll_into_view_if_needed()
    box = table.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 18, box["y"] + 52)  # the box of the first row
    page.wait_for_function(f"{CANDLES}?.data?.[0]?.x?.[0] < '{newest}'")

    with page.expect_download() as caught:
        page.get_by_role("button", name="Trades as CSV").click()
    caught.value.save_as(tmp_path / "trades.csv")
    assert caught.value.suggested_filename.endswith("_SIMULATED_trades.csv")
    assert set(pd.read_csv(tmp_path / "trades.csv")["prices"]) == {"SIMULATED"}
    with page.expect_download() as caught:
        page.get_by_role("button", name="Report, one HTML file").click()
    caught.value.save_as(tmp_path / "report.html")

    page.goto(f"file://{tmp_path / 'report.html'}")
    page.wait_for_function("[...document.querySelectorAll('.figure')].every(f => f.querySelector('.main-svg'))")
    page.set_viewport_size(PHONE)
    page.goto(f"{bench.url}/backtest?job={job.id}")
    expect(answer).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
