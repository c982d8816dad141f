"""What a Streamlit rerun of the live page does again: fetches, indicators, patterns, figures. Counts, not times."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import orjson
from streamlit.testing.v1 import AppTest

import bootstrap
import indicators
import patterns
import performance_utils
from benchmarks.report import Goal, Section, Table
from benchmarks.servers import ROOT, SYMBOL, WATCHED, chart_query
from ui import charts, forms
from ui.live import chart_answer, read_view

HOW = (
    "The live page is run by Streamlit's own AppTest over the simulated market, run again five times without a change, "
    "then once with the Bollinger bands added, then once more. After each run the chart is asked for as the browser "
    "asks, with the revision it holds. The feed's `candles()`, the indicator functions, the pattern marks and the "
    "figures built are counted; while a bar forms, the browser's once-a-second answer works out each line's newest "
    "value, which no rerun causes."
)
COUNTED = ("feed.candles()", "indicators", "pattern marks", "figures")


def measure(quick: bool) -> Section:
    """One newcomer, seven reruns."""
    again = 2 if quick else 5
    with _newcomer() as counts:
        at = AppTest.from_file(str(ROOT / "pages" / "live_dashboard.py"), default_timeout=60)
        steps = [("first run", at.run), *((f"rerun {n}", at.run) for n in range(1, again + 1))]
        steps += [("Bollinger added", lambda: _add_bollinger(at)), ("rerun after it", at.run)]
        rows, held, repeated = [], "", Counter[str]()
        for words, step in steps:
            run = _counted(counts, step)
            if at.exception:
                raise RuntimeError(f"the page failed: {at.exception[0].message}")
            answer: dict[str, Any] = {}
            poll = _counted(counts, lambda held=held, answer=answer: answer.update(_poll(at, held)))
            held = answer["rev"]
            rows.append([words, *(str(run[c]) for c in COUNTED), *(str(poll[c]) for c in COUNTED)])
            if words != "first run":
                repeated += run
                repeated["fetched by the poll"] += poll["feed.candles()"]
                repeated["figures again"] += poll["figures"] if words.startswith("rerun") else 0
    header = ["Step", *COUNTED, *(f"poll: {c}" for c in COUNTED)]
    goals = [
        Goal(
            "fetches in all reruns and polls after the first",
            0,
            repeated["feed.candles()"] + repeated["fetched by the poll"],
        ),
        Goal("indicators worked out by reruns after the first", 0, repeated["indicators"]),
        Goal("figures built again although nothing was changed", 0, repeated["figures again"]),
    ]
    return Section("A rerun of the live page", HOW, Table(header, rows), goals)


@contextlib.contextmanager
def _newcomer() -> Iterator[Counter[str]]:
    """A fresh desk over an empty folder, its work counted; everything is put back afterwards."""
    counts: Counter[str] = Counter()
    settings = {"DATA_SOURCE": "simulated", "SIMULATED_START": "2026-11-20T10:30", "WATCHLIST": ",".join(WATCHED)}
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, contextlib.ExitStack() as stack:
        settings |= {"DATA_DIR": str(Path(folder) / "data"), "CHART_BARS": "500"}
        stack.enter_context(mock.patch.dict(os.environ, settings))
        stack.enter_context(contextlib.chdir(ROOT))
        bootstrap.people.cache_clear()
        stack.enter_context(mock.patch.object(bootstrap, "_started", None))
        feed = bootstrap.start().market.feed
        for where, name, label in (
            (feed, "candles", "feed.candles()"),
            (indicators, "indicator", "indicators"),
            (patterns, "marks", "pattern marks"),
            (charts, "base", "figures"),
        ):
            stack.enter_context(mock.patch.object(where, name, _counting(getattr(where, name), counts, label)))
        try:
            yield counts
        finally:
            bootstrap.people.cache_clear()
            performance_utils.use_desk(None)


def _counting(function: Callable[..., Any], counts: Counter[str], label: str) -> Callable[..., Any]:
    def counted(*args: Any, **kwargs: Any) -> Any:
        counts[label] += 1
        return function(*args, **kwargs)

    return counted


def _counted(counts: Counter[str], step: Callable[[], Any]) -> Counter[str]:
    counts.clear()
    step()
    return counts.copy()


def _add_bollinger(at: AppTest) -> None:
    overlays = at.pills(key="desk_overlays")
    overlays.set_value([*overlays.value, "Bollinger"]).run()


def _poll(at: AppTest, held: str) -> dict[str, Any]:
    studies = [forms.OVERLAYS[name] for name in at.pills(key="desk_overlays").value]
    view = read_view({**chart_query(500), "studies": ",".join(studies)})
    answer: dict[str, Any] = orjson.loads(chart_answer(bootstrap.start(), SYMBOL, view, held))
    return answer
