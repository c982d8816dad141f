"""One wish pressed in every way people press, three hundred times in a real Chromium: each time one order.

python -m tests.campaigns.clicks [trials]      also counts what the machine was too slow to press
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.browser.clicks import WAYS, Trader, orders_of
from tests.browser.conftest import FLAGS, WIDE, start_server


def run(evidence: Path, trials: int = 300) -> bool:
    """The campaign; writes what it found and says whether each wish made one order."""
    begin, made = time.perf_counter(), dict[str, Counter[int]]()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        data.mkdir()
        server = start_server(data)
        try:
            made = _press(server.url, data, trials)
        finally:
            server.stop()
    rows = [f"| {way} | {sum(seen.values())} | {_counts(seen)} |" for way, seen in made.items()]
    wrong = sum(count for seen in made.values() for orders, count in seen.items() if orders != 1)
    evidence.write_text(
        "# One wish, one order\n\n"
        f"{trials} tickets previewed and placed in a real Chromium against the real dashboard and its engine, "
        f"{time.perf_counter() - begin:.0f} s. Wishes that made another number of orders than one: {wrong}.\n\n"
        "| pressed by | wishes | orders that came of it |\n| --- | --- | --- |\n" + "\n".join(rows) + "\n",
        encoding="utf-8",
    )
    return wrong == 0


def _press(url: str, data: Path, trials: int) -> dict[str, Counter[int]]:
    ways = list(WAYS)
    made = {way: Counter[int]() for way in ways}
    with sync_playwright() as play:
        chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
        browser = play.chromium.launch(executable_path=chromium, args=FLAGS)
        context = browser.new_context(viewport=WIDE)
        page = context.new_page()
        page.set_default_timeout(30_000)
        trader = Trader(url, data, context)
        trader.make_room()
        for trial in range(trials):
            way = ways[trial % len(ways)]
            made[way][orders_of(trader, page, way)] += 1
        browser.close()
    return made


def _counts(seen: Counter[int]) -> str:
    return ", ".join(f"{count} × {orders}" for orders, count in sorted(seen.items()))


if __name__ == "__main__":
    report = Path(tempfile.mkdtemp()) / "clicks.md"
    sound = run(report, *map(int, sys.argv[1:2]))
    print(report.read_text(encoding="utf-8"))
    sys.exit(not sound)
