"""Strategies at work on a desk beside their backtests: the same fills, bar by bar, though engines die on the way.

python -m tests.campaigns.adopted [seed ...]      made walks, and real five-minute bars where this machine has them
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from backtester import Exit
from tests.replaying import Replay, made_bars, real_bars
from tests.test_adopting import PATTERNS, SMA, STOPS, promised, rules, told

SHARED = Path(__file__).parents[3] / "shared" / "data"
SEEDS = tuple(range(4))
PERCENT = {"stop": Exit("pct", 0.4), "target": Exit("pct", 0.6)}
EXITS: dict[str, dict[str, Exit]] = {"none": {}, "1 and 1.5 ATR": STOPS, "0.4 and 0.6 %": PERCENT}
WEEKS = (("AAPL", "2025-09-08", "2025-09-11"), ("NVDA", "2026-01-12", "2026-01-15"))


@dataclass(frozen=True, slots=True)
class Case:
    """One adopted strategy over some bars."""

    bars: str
    frames: Mapping[str, pd.DataFrame]
    strategy: tuple[str, dict[str, Any]]
    exits: str
    deaths: int
    seed: int


@dataclass(frozen=True, slots=True)
class Found:
    """What the desk filled, what the backtest says, and where they differ."""

    case: Case
    died: int
    filled: int
    promised: int
    apart: tuple[str, ...]

    @property
    def row(self) -> str:
        c = self.case
        exits = f"{c.exits} | {self.died} | {self.filled} | {self.promised} | {len(self.apart)}"
        return f"| {c.bars} | {c.strategy[0]} | {exits} |"


def cases(seeds: tuple[int, ...] = SEEDS) -> list[Case]:
    """Every strategy under every kind of exit; engines die in two of three."""
    found = []
    for seed in seeds:
        for strategy in (SMA, PATTERNS):
            frames = {"AAPL": made_bars(100 + seed, days=3), "NVDA": made_bars(200 + seed, days=3, symbol="NVDA")}
            exits = list(EXITS)[seed % len(EXITS)]
            found.append(Case(f"made, seed {seed}", frames, strategy, exits, seed % 3 * 6, seed))
    if SHARED.is_dir():
        for symbol, first, last in WEEKS:
            frames = {symbol: real_bars(SHARED, symbol, first, last)}
            found += [
                Case(f"real, {symbol} {first}", frames, strategy, exits, deaths, 1)
                for strategy in (SMA, PATTERNS)
                for exits, deaths in (("none", 0), ("1 and 1.5 ATR", 6))
            ]
    return found


async def tried(case: Case, folder: Path) -> Found:
    """The desk, the backtest, and what only one of them did."""
    # Each symbol its part of nine tenths: where money is short, the backtester cuts by an open that no desk knows.
    setup = rules(fraction=0.9 / len(case.frames), **EXITS[case.exits])
    start = next(iter(case.frames.values())).index[60].to_pydatetime()
    replay = Replay(folder, case.frames, deaths=case.deaths, seed=case.seed)
    desk = sorted(told(await replay.run(*case.strategy, setup, start)))
    backtest = sorted(promised(dict(case.frames), case.strategy, setup, start))
    apart = [f"only the desk: {one}" for one in desk if one not in backtest]
    apart += [f"only the backtest: {one}" for one in backtest if one not in desk]
    if not apart and len(desk) != len(backtest):
        apart = [f"{len(desk)} fills on the desk, {len(backtest)} in the backtest"]
    return Found(case, len(replay.died), len(desk), len(backtest), tuple(apart))


def run(evidence: Path, seeds: tuple[int, ...] = SEEDS) -> bool:
    """The campaign; writes what it found and says whether every fill agreed."""
    begin, found = time.perf_counter(), []
    for case in cases(seeds):
        with tempfile.TemporaryDirectory() as folder:
            found.append(asyncio.run(tried(case, Path(folder))))
        print(found[-1].row, *found[-1].apart[:4], sep="\n  ", flush=True)
    fills, deaths = sum(one.promised for one in found), sum(one.died for one in found)
    apart = sum(len(one.apart) for one in found)
    lines = [
        "# Adopted strategies beside their backtests\n",
        f"{len(found)} desks, {fills:,} fills that a backtest promised, {deaths} engines that died on the way, in "
        f"{time.perf_counter() - begin:.0f} s. Compared are bar, symbol, side, quantity and price to the cent. "
        f"Differences: {apart}.\n",
        "| bars | strategy | stop and target | deaths | filled | promised | differences |",
        "|---|---|---|---:|---:|---:|---:|",
        *(one.row for one in found),
        *(f"\n- {one.case.bars}, {one.case.strategy[0]}: {line}" for one in found for line in one.apart[:5]),
    ]
    evidence.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return not apart


if __name__ == "__main__":
    report = Path(tempfile.mkdtemp()) / "adopted.md"
    sound = run(report, tuple(map(int, sys.argv[1:])) or SEEDS)
    print(report.read_text(encoding="utf-8"))
    sys.exit(not sound)
