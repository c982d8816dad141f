"""Room to grow: what one more symbol, strategy, viewer and year of history cost, and where one machine ends."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.live import Pace, _ours
from benchmarks.report import Goal, Section, Table, time_of
from benchmarks.servers import OURS, served
from tests.ledgers import postgres, postgres_binaries

ROOT = Path(__file__).parents[1]
SYMBOLS, EACH = (10, 31, 100, 250, 500), 50
SPLIT = 100, (50, 10)  # so many symbols, traded by strategies of so many symbols each
YEARS = (1, 5, 20)
VIEWERS = (1, 10)
BARS = 10
TURNS_A_MINUTE, PRICED_A_MINUTE = 240, 60
MINUTE_S = 60.0
HOW = (
    "Each desk in a process of its own: the real engine, gates, SQLite ledger (`synchronous=FULL`) and paper "
    "broker, strategies by the minute as in *From a quote to an order*, two symbols that rise at each bar. "
    "Processor time is the engine process's: a bar is everything from its closing quotes until what was ordered has"
    " filled; a minute is a bar and 240 turns, 60 of them with new prices. *Late* is how long after the closing "
    "quotes the last decision and the last order stood in the ledger, worst of all bars. A year of history is what "
    "a strategy of ten symbols by the hour leaves behind: some 17,600 decisions, 98,000 points of equity and 500 "
    "orders; the Bot page is run by Streamlit's AppTest. A viewer watches the live chart as in *A live update, on "
    "the server*."
)


def measure(quick: bool) -> Section:
    """Every desk, one after the other."""
    sizes, bars, years = (SYMBOLS[:2], 2, (1,)) if quick else (SYMBOLS, BARS, YEARS)
    desks = {n: _turns(n, EACH, bars) for n in sizes}
    rows = [_row(f"{n} symbols, {-(-n // EACH)} strategies", found) for n, found in desks.items()]
    symbols, split = (20, (10, 5)) if quick else SPLIT
    parts = {each: _turns(symbols, each, bars) for each in split}
    rows += [_row(f"{symbols} symbols, {symbols // each} strategies", found) for each, found in parts.items()]
    notes = [_of_symbols(desks), _of_strategies(symbols, parts)]
    if postgres_binaries() is not None:
        with postgres() as address:
            there = _turns(sizes[1], EACH, bars, address)
        rows.append(_row(f"{sizes[1]} symbols, PostgreSQL on this machine", there))
        notes.append(_of_postgres(desks[sizes[1]], there))
    notes += [_of_viewers(quick), _of_years(years), _load()]
    header = ["Desk", "A bar", "A quiet turn", "with new prices", "A minute", "Statements a bar", "Late: decision"]
    latest = max(desks[sizes[-1]]["decisions"])
    goals = [Goal(f"{sizes[-1]} symbols: the last decision, in seconds after the close", MINUTE_S / 4, latest)]
    return Section("Room to grow", HOW, Table([*header, "order", "Memory"], rows), goals, notes)


def _child(module: str, *asked: object) -> Any:
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, asked)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[2:4])} could not be measured: {done.stderr.strip()[-400:]}")
    return json.loads(done.stdout.splitlines()[-1])


def _turns(symbols: int, each: int, bars: int, database: str = "") -> dict[str, Any]:
    found: dict[str, Any] = _child("scaling_turns", symbols, each, bars, *([database] if database else []))
    return found


def _minute(found: dict[str, Any]) -> float:
    """Processor seconds of a minute."""
    bar, priced, unpriced = (float(np.median(found[name])) for name in ("bar", "priced", "unpriced"))
    return bar + PRICED_A_MINUTE * priced + (TURNS_A_MINUTE - PRICED_A_MINUTE) * unpriced


def _row(words: str, found: dict[str, Any]) -> list[str]:
    bar, priced, unpriced, asked = (float(np.median(found[n])) for n in ("bar", "priced", "unpriced", "asked"))
    orders = [*found.get("entries", ()), *found.get("sales", ())]
    return [
        words,
        time_of(bar),
        time_of(unpriced),
        time_of(priced),
        f"{_minute(found) / MINUTE_S:.1%} of a core",
        f"{asked:,.0f}",
        time_of(max(found["decisions"])),
        time_of(max(orders)) if orders else "none",
        f"{found['held'] / 1e6:,.0f} MB",
    ]


def _slope(xs: Sequence[float], ys: Sequence[float]) -> float:
    return float(np.polyfit(xs, ys, 1)[0])


def _of_symbols(desks: dict[int, dict[str, Any]]) -> str:
    sizes = list(desks)
    processor = _slope(sizes, [_minute(found) for found in desks.values()])
    bar = _slope(sizes, [float(np.median(found["bar"])) for found in desks.values()])
    memory = _slope(sizes, [found["held"] for found in desks.values()])
    return (
        f"**One more symbol** takes {1e3 * processor:,.1f} ms of processor time a minute, {1e3 * bar:,.1f} ms of them "
        f"when the bar closes, and {memory / 1e3:,.0f} kB of memory (straight line through {len(sizes)} desks)."
    )


def _of_strategies(symbols: int, parts: dict[int, dict[str, Any]]) -> str:
    (few, one), (many, other) = sorted((symbols // each, found) for each, found in parts.items())
    more = (_minute(other) - _minute(one)) / (many - few)
    held = (other["held"] - one["held"]) / (many - few)
    begin, shared = (
        "**One more strategy** on symbols that are traded already takes",
        f"{symbols} symbols, {few} and {many}",
    )
    if more <= 0:
        return f"{begin} too little to be told from noise ({shared})."
    return f"{begin} {1e3 * more:,.1f} ms of processor time a minute and {held / 1e3:,.0f} kB ({shared})."


def _of_postgres(here: dict[str, Any], there: dict[str, Any]) -> str:
    bar, turn = (float(np.median(there[name]) / np.median(here[name])) for name in ("decisions", "unpriced"))
    late = max(there["entries"]) / max(here["entries"])
    return (
        f"**PostgreSQL beside SQLite**, the same desk: the decisions of a bar take {bar:.1f} times as long, the latest "
        f"purchase {late:.1f} times, a quiet turn {turn:.1f} times the processor time; "
        f"{np.median(there['asked']):,.0f} statements a bar instead of {np.median(here['asked']):,.0f}, since nothing "
        "is remembered between them."
    )


def _of_viewers(quick: bool) -> str:
    pace = Pace(1, 4) if quick else Pace(5, 20)
    with served(OURS) as here:
        used = [asyncio.run(_ours(here, 500, n, pace)).processor for n in VIEWERS]
    more = (used[1] - used[0]) / (VIEWERS[1] - VIEWERS[0])
    return (
        f"**One more viewer** of the live page takes {more:.1%} of a core ({VIEWERS[0]} viewer: {used[0]:.1%}, "
        f"{VIEWERS[1]} viewers: {used[1]:.1%})."
    )


def _of_years(years: Sequence[int]) -> str:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        found = _child("scaling_years", Path(folder) / "data", *years)
    rows = [
        [
            f"{one['years']}",
            f"{one['bytes'] / 1e6:,.0f} MB",
            *(time_of(one[name]) for name in ("opened", "folded", "again", "trades", "peak", "page", "page_again")),
        ]
        for one in found
    ]
    header = ["Years", "Ledger", "Opened and checked", "Positions folded", "again", "A strategy's trades"]
    table = Table([*header, "Highest equity", "Bot page", "again"], rows)
    each = f"{_slope(years, [one['bytes'] for one in found]) / 1e6:,.0f} MB" if len(years) > 1 else rows[0][1]
    return "\n".join([f"**One more year of history** is {each} of ledger.", "", *table.lines()])


def _load() -> str:
    return f"Load average of the machine at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores."
