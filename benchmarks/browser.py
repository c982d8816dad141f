"""What a viewer's browser goes through while the chart ticks: bytes, blank frames, charts put up anew, a lost zoom."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser

from benchmarks.chromium import DRAWN, RANGE, WATCH, count_bytes, opened, span, visitor, wait_drawn, zoom_by_wheel
from benchmarks.report import Goal, Section, Table
from benchmarks.servers import OURS, PEER, served

HOW = (
    "One viewer in headless Chromium, 1440 x 900, the same 500 candles with four overlays on both pages. Each "
    "animation frame is looked at: blank means that no chart stands in the page, or that it is hidden or holds no "
    "candle. A chart counts as put up anew with each new `.js-plotly-plot` or drawing root in the page. Bytes are "
    "those of HTTP and WebSocket by the browser's own count. The wheel zooms in after a third of the time; the zoom "
    "is kept where the time range is still the same at the end."
)


@dataclass(frozen=True, slots=True)
class Visit:
    """One visit's counts; bytes are those of a second."""

    seen: dict[str, Any]
    seconds: float
    http: float
    socket: float
    zoom: str


def measure(quick: bool) -> Section:
    """Ours, then the peer, each in a fresh context of the same browser."""
    seconds = 4.0 if quick else 15.0
    with opened() as browser:
        visits = {
            "ours": _visit(browser, OURS, seconds),
            "st.plotly_chart": _visit(browser, PEER, seconds),
        }
    header = ["Page", "kB/s by HTTP", "kB/s by WebSocket", "Frames", "Blank", "Blank ms a second"]
    header += ["Charts put up anew", "Longest frame", "Zoom"]
    rows = [_row(who, visit) for who, visit in visits.items()]
    ours = visits["ours"]
    goals = [
        Goal("blank frames, ours", 0, ours.seen["blank"]),
        Goal("charts put up anew, ours", 0, _anew(ours)),
        Goal("zoom kept, ours (1: yes)", 1, float(ours.zoom == "kept"), at_most=False),
    ]
    return Section("The chart in the browser", HOW, Table(header, rows), goals)


def _visit(browser: Browser, script: Path, seconds: float) -> Visit:
    with served(script) as here, visitor(browser) as page:
        page.goto(here.url)
        wait_drawn(page)
        page.wait_for_timeout(4_000)
        received, begin = count_bytes(page), time.perf_counter()
        page.evaluate(f"({WATCH})({DRAWN})")
        page.wait_for_timeout(seconds * 1000 / 3)
        before, zoomed = zoom_by_wheel(page)
        page.wait_for_timeout(max(0.0, seconds * 1000 * 2 / 3 - 2000))
        seen = page.evaluate("() => window.benchStop()")
        watched = time.perf_counter() - begin
        zoom = _verdict(before, zoomed, page.evaluate(RANGE))
        return Visit(seen, watched, received.http / watched, received.socket / watched, zoom)


def _verdict(before: list[float], zoomed: list[float], at_end: list[float] | None) -> str:
    if zoomed == before:
        return "never took"
    return "kept" if at_end and abs(span(at_end) / span(zoomed) - 1) < 0.02 else "lost"


def _anew(visit: Visit) -> int:
    """A Plotly root holds three drawings: whichever shows more new charts."""
    return max(visit.seen["roots"], -(-visit.seen["svgs"] // 3))


def _row(who: str, visit: Visit) -> list[str]:
    seen = visit.seen
    return [
        who,
        f"{visit.http / 1000:.1f}",
        f"{visit.socket / 1000:.1f}",
        str(seen["frames"]),
        str(seen["blank"]),
        f"{seen['blankMs'] / visit.seconds:.0f}",
        str(_anew(visit)),
        f"{seen['longest']:.0f} ms",
        visit.zoom,
    ]
