"""A headless Chromium that looks at a page: is a chart drawn in this frame, was it put up anew, what came in."""

from __future__ import annotations

import base64
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks.servers import FLAGS, chromium

# Drawn: a Plotly chart stands in the page, can be seen, and holds candle shapes. The same question for both pages.
DRAWN = """() => {
  const gd = document.querySelector('.js-plotly-plot');
  if (!gd?.isConnected || !gd.checkVisibility({opacityProperty: true, visibilityProperty: true})) return false;
  const candle = gd.querySelector('.boxlayer .trace.boxes path.box');
  const box = gd.getBoundingClientRect();
  return box.width > 100 && box.height > 100 && Boolean(candle?.getAttribute('d'));
}"""
WATCH = """drawn => {
  const roots = new WeakSet(), seen = {frames: 0, blank: 0, blankMs: 0, roots: 0, svgs: 0, longest: 0};
  const count = node => {
    if (!(node instanceof Element)) return;
    for (const el of [node, ...node.querySelectorAll('.js-plotly-plot, .main-svg')]) {
      if (roots.has(el) || !el.matches('.js-plotly-plot, .main-svg')) continue;
      roots.add(el);
      if (el.matches('.js-plotly-plot')) seen.roots++; else seen.svgs++;
    }
  };
  document.querySelectorAll('.js-plotly-plot, .main-svg').forEach(el => roots.add(el));
  const mutations = new MutationObserver(list => list.forEach(m => {
    m.addedNodes.forEach(count);
    if (m.type === 'attributes') count(m.target);
  }));
  mutations.observe(document.body, {childList: true, subtree: true, attributes: true, attributeFilter: ['class']});
  let before = performance.now();
  const frame = now => {
    const blank = !drawn();
    seen.frames++;
    seen.longest = Math.max(seen.longest, now - before);
    if (blank) { seen.blank++; seen.blankMs += now - before; }
    before = now;
    if (!seen.stopped) requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
  window.benchStop = () => { seen.stopped = true; mutations.disconnect(); return seen; };
}"""
RANGE = "() => document.querySelector('.js-plotly-plot')?._fullLayout?.xaxis?.range?.map(x => +new Date(x))"


@dataclass(slots=True)
class Received:
    """Bytes that came in since `begin`."""

    http: float = 0.0
    socket: float = 0.0


@contextlib.contextmanager
def opened() -> Iterator[Browser]:
    """The browser, closed whatever happens. RuntimeError where this machine has none."""
    path = chromium()
    if path is None:
        raise RuntimeError("no Chromium on this machine (Debian: apt-get install chromium)")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def visitor(browser: Browser) -> Iterator[Page]:
    """A newcomer: nothing cached."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    try:
        page = context.new_page()
        page.set_default_timeout(60_000)
        yield page
    finally:
        context.close()


def wait_drawn(page: Page) -> None:
    page.wait_for_function(DRAWN, polling="raf")


def count_bytes(page: Page) -> Received:
    """Count from now on what the page receives, headers included."""
    received, session = Received(), page.context.new_cdp_session(page)

    def socket_frame(event: dict[str, Any]) -> None:
        frame = event["response"]
        data = frame["payloadData"]
        received.socket += len(base64.b64decode(data)) if frame["opcode"] == 2 else len(data.encode())

    def loaded(event: dict[str, Any]) -> None:
        received.http += event["encodedDataLength"]

    session.on("Network.webSocketFrameReceived", socket_frame)
    session.on("Network.loadingFinished", loaded)
    session.send("Network.enable")
    return received


def zoom_by_wheel(page: Page) -> tuple[list[float], list[float]]:
    """Turn the wheel over the chart; the time range before and once it has changed (the same where it never did)."""
    before = page.evaluate(RANGE)
    box = page.locator(".js-plotly-plot").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.4)
    page.mouse.wheel(0, -400)
    until, after = time.perf_counter() + 2, before
    while time.perf_counter() < until:
        now = page.evaluate(RANGE)
        if now and span(now) < 0.97 * span(before):
            after = now
        elif after is not before:
            break  # it was taken back already
        page.wait_for_timeout(50)
    return before, after


def span(limits: list[float]) -> float:
    return limits[1] - limits[0]
