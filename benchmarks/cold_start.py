"""From `streamlit run` to the first chart that a visitor sees."""

from __future__ import annotations

import time
from pathlib import Path

from playwright.sync_api import Browser

from benchmarks.chromium import opened, visitor, wait_drawn
from benchmarks.report import Section, Spread, Table
from benchmarks.servers import OURS, PEER, served

HOW = (
    "Seconds from the start of the server's process to the first frame with candles in Chromium, which is already "
    "open but has nothing cached; the page is asked for as soon as the server says that it is well. Ours and the peer "
    "take turns."
)


def measure(quick: bool) -> Section:
    """Ours and the peer by turns, so that a slow moment of the machine falls on both."""
    runs = 1 if quick else 3
    times: dict[str, list[tuple[float, float]]] = {"ours": [], "st.plotly_chart": []}
    with opened() as browser:
        for _ in range(runs):
            times["ours"].append(_start(browser, OURS))
            times["st.plotly_chart"].append(_start(browser, PEER))
    rows = [
        [who, Spread.of([a for a, _ in seen]).time(), Spread.of([b for _, b in seen]).time(), str(len(seen))]
        for who, seen in times.items()
    ]
    header = ["Page", "Server answers after", "First chart after", "Runs"]
    return Section("Cold start", HOW, Table(header, rows))


def _start(browser: Browser, script: Path) -> tuple[float, float]:
    with visitor(browser) as page, served(script) as here:
        answered = time.perf_counter() - here.began
        page.goto(here.url)
        wait_drawn(page)
        return answered, time.perf_counter() - here.began
