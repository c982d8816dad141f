"""One live update: what it costs the server, beside the same figure through `st.plotly_chart`."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from dataclasses import dataclass

import numpy as np

from benchmarks.report import Goal, Section, Spread, Table, time_of
from benchmarks.servers import OURS, PEER, SYMBOL, Served, chart_query, served
from benchmarks.viewers import DeskViewer, PageViewer, Watched, watch

BARS = (500, 1000)
VIEWERS = (1, 5, 20)
HOW = (
    "A candlestick chart with volume, four overlays and five patterns, its last bar forming, is watched by 1, 5 and 20 "
    "viewers on one server. A viewer speaks what the browser speaks (ours: two HTTP polls a second and the page's own "
    "timed reruns; the peer: a timed fragment rerun over the WebSocket, left out while the answer before is awaited). "
    "An update is timed from its request to its whole answer (peer: to `script_finished`); CPU is the server "
    "process's, as a share of one core. The peer draws our figure from the same desk, in a fragment with "
    "`run_every=1`, and keeps no ticker strip."
)


@dataclass(frozen=True, slots=True)
class Pace:
    warm_s: float = 5.0
    window_s: float = 20.0


def measure(quick: bool) -> Section:
    """Cells one after the other, one server at a time."""
    pace = Pace(1, 4) if quick else Pace()
    bars, viewers = (BARS[:1], VIEWERS[:1]) if quick else (BARS, VIEWERS)
    cells: dict[tuple[str, int, int], Watched] = {}
    rows: list[list[str]] = []
    with served(OURS) as here:
        for b, n in _pairs(bars, viewers):
            cells["ours", b, n] = asyncio.run(_ours(here, b, n, pace))
        if not quick:
            _await_turn(here, pace)
            turn = asyncio.run(_ours(here, 500, 20, pace, "1m"))
            rows.append(_row("ours, 1m bars, over the minute's turn", 500, 20, turn))
    with served(PEER) as here:
        for b, n in _pairs(bars, viewers):
            cells["st.plotly_chart", b, n] = asyncio.run(_peer(here, b, n, pace))
    with served(PEER, PEER_FREEZE="1") as here:
        for b, n in _pairs(bars[:1], viewers):
            cells["st.plotly_chart + gc.freeze()", b, n] = asyncio.run(_peer(here, b, n, pace))
    rows = [*(_row(who, b, n, cell) for (who, b, n), cell in sorted(cells.items(), key=_by_size)), *rows]
    header = ["Page", "Candles", "Viewers", "Median update", "p95", "Updates a viewer a second", "kB an update", "CPU"]
    return Section("A live update, on the server", HOW, Table(header, rows), _goals(cells, bars), _notes(cells))


def _pairs(bars: tuple[int, ...], viewers: tuple[int, ...]) -> list[tuple[int, int]]:
    return [(b, n) for b in bars for n in viewers]


def _by_size(item: tuple[tuple[str, int, int], Watched]) -> tuple[int, int, str]:
    (who, bars, viewers), _ = item
    return bars, viewers, who


async def _ours(here: Served, bars: int, viewers: int, pace: Pace, tf: str = "5m") -> Watched:
    return await watch(here, DeskViewer, viewers, pace.warm_s, pace.window_s, query=chart_query(bars, tf))


async def _peer(here: Served, bars: int, viewers: int, pace: Pace) -> Watched:
    return await watch(here, PageViewer, viewers, pace.warm_s, pace.window_s, query={"bars": str(bars)})


def _await_turn(here: Served, pace: Pace) -> None:
    """Wait until a window that begins after the warm-up has the market's minute turn in its middle."""
    with urllib.request.urlopen(f"{here.url}/live/quotes?symbols={SYMBOL}", timeout=5) as reply:
        now_s = json.load(reply)["now_ms"] / 1000
    lead = pace.warm_s + 1 + pace.window_s / 2
    time.sleep((60 - now_s % 60 - lead) % 60)


def _row(who: str, bars: int, viewers: int, cell: Watched) -> list[str]:
    return [
        who,
        f"{bars:,}",
        str(viewers),
        Spread.of(cell.took).time(),
        time_of(_p95(cell)),
        f"{cell.pace:.2f}",
        f"{np.mean(cell.received) / 1000:,.1f}",
        f"{cell.processor:.1%}",
    ]


def _goals(cells: dict[tuple[str, int, int], Watched], bars: tuple[int, ...]) -> list[Goal]:
    goals = []
    for b in bars:
        ours, peer = cells["ours", b, 1], cells["st.plotly_chart", b, 1]
        ratio = float(np.median(ours.took) / np.median(peer.took))
        goals.append(Goal(f"median at 1 viewer, {b:,} candles, ours / peer", 0.25, ratio))
        if ("ours", b, 20) in cells:
            ours, peer = cells["ours", b, 20], cells["st.plotly_chart", b, 20]
            goals.append(Goal(f"p95 at 20 viewers, {b:,} candles, ours / peer", 0.01, _p95(ours) / _p95(peer)))
        for n in sorted({viewers for _, size, viewers in cells if size == b}):
            ours, peer = cells["ours", b, n], cells["st.plotly_chart", b, n]
            share = ours.processor / peer.processor
            goals.append(Goal(f"processor time, {n} viewer{'s' * (n > 1)}, {b:,} candles, ours / peer", 0.2, share))
    return goals


def _notes(cells: dict[tuple[str, int, int], Watched]) -> list[str]:
    notes = []
    for who, bars, viewers in cells:
        if who.endswith("gc.freeze()"):
            ours, peer = cells["ours", bars, viewers], cells[who, bars, viewers]
            medians, tails = np.median(ours.took) / np.median(peer.took), _p95(ours) / _p95(peer)
            notes.append(
                f"Against the peer with `gc.freeze()`, {viewers} viewer{'s' * (viewers > 1)}, {bars} candles: median "
                f"{medians:.3f} of its time, p95 {tails:.3f}, processor {ours.processor / peer.processor:.3f}."
            )
    return notes


def _p95(cell: Watched) -> float:
    return float(np.percentile(cell.took, 95))
