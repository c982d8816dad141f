"""The two sides of the backtest benchmark, each in a process of its own, and what is found about them."""

from __future__ import annotations

import subprocess
import sys
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.answering import Asked
from benchmarks.backtests_data import Sizes
from benchmarks.report import Goal, Spread

PEERS = Path(__file__).parent / ".peers"
PYTHON = PEERS / "bin" / "python"
PINS = (
    "backtesting==0.6.6",
    "vectorbt==1.2.0",
    "vectorbt-rust==1.2.0",
    "numpy==2.4.6",
    "pandas==3.1.1",
    "numba==0.68.1",
)
Answer = dict[str, Any]
Call = Callable[[], Answer]


@dataclass(slots=True)
class Both:
    """The two processes, where the data lie, and what has been found so far."""

    ours: Asked
    peers: Asked
    folder: Path
    sizes: Sizes
    rows: list[list[str]]
    goals: list[Goal]
    notes: list[str]

    def row(self, case: str, who: str, seen: Spread, ours: Spread, peak: float | None, answer: Answer) -> None:
        times = f"{seen.median / ours.median:,.3g}" if seen is not ours else "1"
        memory = "" if peak is None else f"{peak:,.0f} MB"
        trades, equity = answer.get("trades"), answer.get("equity")
        told = ["" if trades is None else f"{trades:,}", "" if equity is None else f"{equity:,.4f}"]
        self.rows.append([case, who, seen.time(), times, memory, *told])


def environment() -> None:
    """Make the peers' environment, with what `PINS` says, where it is not there yet."""
    told = PEERS / "pins.txt"
    wanted = "\n".join(PINS)
    if not told.is_file() or told.read_text(encoding="utf-8") != wanted:
        print("installing the peers (a minute or two, once) ...", flush=True)
        venv.create(PEERS, with_pip=True, clear=True)
        quietly = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PINS]
        subprocess.run([str(PYTHON), *quietly], check=True, capture_output=True)
        told.write_text(wanted, encoding="utf-8")


def ours_in(folder: Path, **environment: str) -> Asked:
    return Asked(sys.executable, "benchmarks.backtests_ours", folder, **environment)


def peers_in(folder: Path, **environment: str) -> Asked:
    return Asked(PYTHON, "benchmarks.backtest_peers", folder, **environment)


def by_turns(calls: dict[str, Call], turns: int) -> tuple[dict[str, Spread], dict[str, Answer]]:
    """Seconds and the last answer of each; who is first changes from turn to turn, the first turn is not counted."""
    seen: dict[str, list[float]] = {name: [] for name in calls}
    last: dict[str, Answer] = {}
    names = list(calls)
    for turn in range(turns + 1):
        for step in range(len(names)):
            name = names[(turn + step) % len(names)]
            last[name] = calls[name]()
            if turn:
                seen[name].append(last[name]["seconds"])
    print(f"  {', '.join(names)}: {turns} turns", flush=True)
    return {name: Spread.of(found) for name, found in seen.items()}, last


def alone(both: Both, side: str, do: str, **asked: Any) -> float:
    """Peak memory of a fresh process that does just this."""
    with ours_in(both.folder) if side == "ours" else peers_in(both.folder) as one:
        return float(one(do, **asked)["peak_mb"])
