"""How well is a spread told from candles, and by which estimator? Bars made of trades on bid and ask, whose spread is
known: EDGE, which the filter uses, beside Corwin and Schultz' and Abdi and Ranaldo's.

python -m tests.campaigns.spread [estimates of each]      300 unless told
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from domain.candles import frame
from filters.spread import spread_bps

ESTIMATES, BARS, SEED = 300, 51, 3000  # 50 pairs of bars an estimate
SPREADS = (1, 3, 10, 20, 50, 100)  # bps
NAMES = ("Corwin and Schultz", "Abdi and Ranaldo", "EDGE")
SURELY = 0.10  # goals: EDGE errs least over all rows, and no row has more false alarms than this


@dataclass(frozen=True)
class Kind:
    """Bars of one kind: how far a bar swings and opens from the last close, its moments, the share with a trade."""

    name: str
    swing: float
    night: float
    moments: int
    traded: float


KINDS = (
    Kind("5 minutes", 0.0012, 0.0, 60, 1.0),
    Kind("5 minutes, one moment in five traded", 0.0012, 0.0, 60, 0.2),
    Kind("days", 0.012, 0.5, 390, 1.0),
    Kind("days, one moment in ten traded", 0.012, 0.5, 390, 0.1),
)


def bars(kind: Kind, spread: float, seed: int, rows: int = BARS) -> pd.DataFrame:
    """Each trade is on the bid or on the ask, by chance, of a price that walks; the first and last moments trade."""
    chance = np.random.default_rng(seed)
    moves = chance.normal(0, kind.swing / np.sqrt(kind.moments), (rows, kind.moments))
    moves[:, 0] += kind.night * kind.swing * chance.normal(0, 1, rows)
    paid = np.cumsum(moves.ravel()).reshape(moves.shape) + spread / 2 * chance.choice([-1.0, 1.0], moves.shape)
    quiet = chance.random(moves.shape) > kind.traded
    quiet[:, [0, -1]] = False
    high, low = np.where(quiet, -np.inf, paid).max(1), np.where(quiet, np.inf, paid).min(1)
    prices = {"open": paid[:, 0], "high": high, "low": low, "close": paid[:, -1]}
    values = {name: 50.0 * np.exp(each) for name, each in prices.items()}
    return frame(np.arange(rows) * 300 * 1_000_000_000, {**values, "volume": np.ones(rows)})


def corwin_schultz(candles: pd.DataFrame) -> float:
    """Of 2012, with the adjustment for nights; negative pairs count as 0, as its authors advise."""
    high, low, close = (np.log(candles[name].to_numpy()) for name in ("high", "low", "close"))
    night = np.maximum(low[1:] - close[:-1], 0.0) - np.maximum(close[:-1] - high[1:], 0.0)
    high1, low1, k = high[1:] - night, low[1:] - night, 3.0 - 2.0 * np.sqrt(2.0)
    beta = (high[:-1] - low[:-1]) ** 2 + (high1 - low1) ** 2
    gamma = (np.maximum(high[:-1], high1) - np.minimum(low[:-1], low1)) ** 2
    alpha = (np.sqrt(2.0 * beta) - np.sqrt(beta)) / k - np.sqrt(gamma / k)
    return float(np.maximum(2.0 * np.expm1(alpha) / (1.0 + np.exp(alpha)), 0.0).mean())


def abdi_ranaldo(candles: pd.DataFrame) -> float:
    """Of 2017: the mean over all pairs, 0 where it is negative."""
    high, low, close = (np.log(candles[name].to_numpy()) for name in ("high", "low", "close"))
    middle = (high + low) / 2.0
    return float(np.sqrt(max((4.0 * (close[:-1] - middle[:-1]) * (close[:-1] - middle[1:])).mean(), 0.0)))


@dataclass(frozen=True)
class Found:
    """One row: the root of the mean squared error of each estimator in bps, and the share of EDGE's sure overestimates
    by more than a tenth."""

    kind: str
    bps: int
    errors: tuple[float, float, float]
    edge: float  # its mean
    false: float


def compared(kind: Kind, bps: int, estimates: int) -> Found:
    """Each estimator on the same bars."""
    told, least = np.empty((estimates, 3)), np.empty(estimates)
    for number in range(estimates):
        candles = bars(kind, bps * 1e-4, SEED + number)
        found, at_least = spread_bps(candles, BARS - 1)
        told[number] = 1e4 * corwin_schultz(candles), 1e4 * abdi_ranaldo(candles), found[-1]
        least[number] = at_least[-1]
    errors = np.sqrt(((told - bps) ** 2).mean(0))
    one, two, three = (float(error) for error in errors)
    return Found(kind.name, bps, (one, two, three), float(told[:, 2].mean()), float(np.mean(least > 1.1 * bps + 1.0)))


def run(path: Path, estimates: int = ESTIMATES) -> bool:
    """Whether EDGE errs least over all rows and is seldom sure of too much; what was measured goes to `path`."""
    begin = time.perf_counter()
    found = [compared(kind, bps, estimates) for kind in KINDS for bps in SPREADS]
    means = [float(np.mean([one.errors[at] for one in found])) for at in range(len(NAMES))]
    false = [one for one in found if one.false > SURELY]
    lines = [
        "# The spread, told from candles",
        "",
        f"Written by `make prove`. {estimates} estimates from {BARS - 1} pairs of bars for each row, of trades on bid "
        "and ask. Bars of 5 minutes swing by 12 bps, days by 120. Root of the mean squared error in bps.",
        "",
        f"| bars | true spread | {' | '.join(NAMES)} | EDGE, mean | sure of more than it is |",
        "|---|---|---|---|---|---|---|",
        *(
            f"| {one.kind} | {one.bps} | {' | '.join(f'{error:.1f}' for error in one.errors)} | {one.edge:.1f} "
            f"| {one.false:.1%} |"
            for one in found
        ),
        f"| all rows, mean | | {' | '.join(f'{mean:.1f}' for mean in means)} | | |",
        "",
        "Sure of more than it is: the estimate, less 1.645 standard errors, is above the true spread by more than a "
        "tenth of it and 1 bp; such a bar's entry would be stopped wrongly.",
        "",
        f"{time.perf_counter() - begin:.0f} s. Rows with more than {SURELY:.0%} sure of too much: {len(false)}.",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return means[2] == min(means) and not false


def main(estimates: int = ESTIMATES) -> int:
    """Run it and print what it found; 1 where a goal was missed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "spread.md"
        sound = run(report, estimates)
        print(report.read_text(encoding="utf-8"))
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:2])))
