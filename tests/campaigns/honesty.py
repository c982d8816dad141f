"""Does the verdict tell luck from an edge? A search of 200 variants, on noise and on a market with an edge in it.

On noise the best of 200 always looks good, and must be called *fail* in at least 95 of 100 repetitions. Where the
market does trend, the best of the same 200 must not be.
"""

from __future__ import annotations

import itertools
import platform
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import pandas as pd

from research.honesty import FAIL, Outcome, Verdict
from strategies.base import Strategy
from strategies.mean_reversion import MeanReversion
from strategies.sma_crossover import SmaCrossover
from strategies.trend_following import TrendFollowing
from tests.planted import markets
from tests.planted.cases import searched

SEED, REPETITIONS, NEEDED = 20261120, 100, 0.95
VARIANTS = 200


def variants(count: int = VARIANTS) -> list[Strategy]:
    """A search as people make it: crossovers, mean reversion and trends, over their ranges."""
    crossovers = [
        SmaCrossover(fast=fast, slow=slow)
        for fast, slow in itertools.product((2, 3, 5, 8, 10, 13, 16, 20), (12, 15, 20, 25, 30, 40, 50, 60, 80, 100))
        if fast < slow
    ]
    reversions = [
        MeanReversion(length=length, entry=entry, oversold=50.0, hold=hold)
        for length, entry, hold in itertools.product((10, 15, 20, 30, 40), (1.0, 1.5, 2.0, 2.5), (5, 10, 20))
    ]
    trends = [
        TrendFollowing(length=length, strength=strength)
        for length, strength in itertools.product(
            (5, 8, 10, 15, 20, 25, 30, 40, 50, 60), (0.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0)
        )
    ]
    mixed = [one for some in itertools.zip_longest(crossovers, reversions, trends) for one in some if one is not None]
    return mixed[:count]


@dataclass
class Tally:
    """How the best of each search was judged: words, which checks failed, the Sharpe ratios that they showed."""

    words: Counter[str] = field(default_factory=Counter)
    failing: Counter[str] = field(default_factory=Counter)
    sharpes: list[float] = field(default_factory=list)
    slowest: float = 0.0

    @property
    def count(self) -> int:
        return self.words.total()

    @property
    def failed(self) -> float:
        return self.words[FAIL] / max(self.count, 1)

    def add(self, found: Verdict, sharpe: float | None, took: float) -> None:
        self.words[found.word] += 1
        self.failing.update(check.name for check in found.checks if check.outcome is Outcome.FAIL)
        self.sharpes.append(sharpe or 0.0)
        self.slowest = max(self.slowest, took)


def search(market: Callable[[int], pd.DataFrame], repetitions: int, count: int = VARIANTS, seed: int = SEED) -> Tally:
    """Search, keep the best, ask for the verdict; so often, each time on another market."""
    tally, tried = Tally(), variants(count)
    for repetition in range(repetitions):
        case = searched("search", None, market(seed + repetition), tried)
        begin = time.perf_counter()
        found = case.judged()
        took = time.perf_counter() - begin
        assert case.result is not None
        tally.add(found, case.result.metrics["sharpe"].value, took)
    return tally


def run(path: Path, repetitions: int = REPETITIONS) -> bool:
    """Whether noise failed often enough and the edge never; what was counted goes to `path`."""
    begin = time.perf_counter()
    noise = search(markets.noise, repetitions)
    edge = search(markets.trending, repetitions)
    path.write_text(_text(noise, edge, time.perf_counter() - begin), encoding="utf-8")
    return noise.failed >= NEEDED and edge.failed == 0.0


def _text(noise: Tally, edge: Tally, took: float) -> str:
    used = ", ".join(f"{name} {metadata.version(name)}" for name in ("numpy", "pandas", "numba"))
    lines = [
        "# Two hundred variants on noise",
        "",
        f"Written by `make prove`. {VARIANTS} variants (crossovers, mean reversion, trend following) are run on "
        f"{markets.BARS:,} daily bars with costs; all of them go into a trial ledger, the one with the highest Sharpe "
        "ratio is put to the verdict. Each repetition has another market. The noise is a random walk; the market with "
        "an edge has runs of some 40 bars.",
        "",
        f"Seed {SEED}, {took:.0f} s, slowest verdict {max(noise.slowest, edge.slowest):.1f} s. "
        f"Python {platform.python_version()}, {used}.",
        "",
        "| market | repetitions | fail | weak | worth paper trading | Sharpe of the best, middle |",
        "|---|---|---|---|---|---|",
    ]
    for name, tally in (("noise", noise), ("edge", edge)):
        words = " | ".join(f"{tally.words[word]}" for word in ("fail", "weak", "worth paper trading"))
        lines.append(f"| {name} | {tally.count} | {words} | {sorted(tally.sharpes)[tally.count // 2]:.2f} |")
    lines += ["", "Which checks failed:", "", "| check | on noise | on the edge |", "|---|---|---|"]
    checks = sorted({*noise.failing, *edge.failing}, key=lambda name: -noise.failing[name])
    lines += [f"| {name} | {noise.failing[name]} | {edge.failing[name]} |" for name in checks]
    return "\n".join(lines) + "\n"
