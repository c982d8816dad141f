"""Does a confirmation find the signals that are worth following, and arm nothing where there are none?

Markets in which a strategy's brackets come to a drawn end: 15 % of its signals win with 80 %, the others with 38 %, and
what tells them apart is there to be read. Random walks, and the same markets with one chance for all signals, in twenty
seeds each: there nothing may be armed. Random walks once more under a bracket so lopsided that most signals win: there
a high hit rate is no skill, and nothing may be armed either.
"""

from __future__ import annotations

import itertools
import multiprocessing
import platform
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from backtest.setup import Exit
from domain.candles import frame
from learning import confirming
from learning.confirming import SURE, Bracket, teach
from learning.planted import planted
from learning.splits import inner
from strategies.base import find

FRESH = multiprocessing.get_context("spawn")
NOISES, PLANTS, PROCESSES = 20, 5, 2
GOOD, REST, EVEN = 0.80, 0.38, 0.44
NAME, FAST, SLOW = "sma_crossover", 5, 15
PLANTED = Bracket(Exit("pct", 1.5), Exit("pct", 1.0), horizon=20, cost_bps=5.0)
LOPSIDED = Bracket(Exit("atr", 1.0), Exit("atr", 4.0), horizon=60)
SILENT = ("random walk", "one chance")  # where nothing may come near 70 %
PRECISION, OF_IDEAL, ECE, TIMES = 0.75, 0.5, 0.03, 1.5
ABOVE = 0.001  # the most of noise that may be claimed at 70 % and above
MARKED, HALF_A_DAY = 0.52, 12  # volume this far above its mean, in this half of the day: 15 % of all bars
_BEGIN = pd.Timestamp("2020-01-01", tz="UTC").value
_HOUR = 3_600_000_000_000


def market(symbols: int, bars: int, seed: int, good: float = GOOD, rest: float = REST) -> dict[str, pd.DataFrame]:
    """Hours of markets that never close, in which the bar after each signal of the strategy ends its bracket."""
    return {f"PLANT{n:03d}USDT": _one(bars, np.random.default_rng([seed, n]), good, rest) for n in range(symbols)}


def _one(bars: int, chance: np.random.Generator, good: float, rest: float) -> pd.DataFrame:
    volume = chance.lognormal(10, 0.5, bars)
    marked = _marked(volume)
    wins = chance.random(bars) < np.where(marked, good, rest)
    steps, close = chance.normal(0, 0.003, bars), [100.0]
    side, told = 0, 0.0
    for t in range(1, bars):
        close.append(close[-1] * (1.0 + (told or steps[t])))
        told = 0.0
        if t < SLOW:
            continue
        now = 1 if sum(close[-FAST:]) / FAST > sum(close[-SLOW:]) / SLOW else -1
        if side and now != side:
            told = now * (0.016 if wins[t] else -0.012)
        side = now
    ends, opens = np.array(close), np.array([100.0, *close[:-1]])
    wicks = 1.0 + np.abs(chance.normal(0, 0.001, (bars, 2)))
    prices = {"open": opens, "high": np.maximum(opens, ends) * wicks[:, 0], "close": ends, "volume": volume}
    prices["low"] = np.minimum(opens, ends) / wicks[:, 1]
    return frame(_BEGIN + np.arange(bars) * _HOUR, prices)


def _marked(volume: Any) -> Any:
    """What tells good signals from the others: much volume, and the hour; neither of them alone."""
    logs = pd.Series(np.log1p(volume))
    far = (logs - logs.rolling(50).mean()) / logs.rolling(50).std(ddof=0)
    return (far.to_numpy() > MARKED) & (np.arange(len(volume)) % 24 < HALF_A_DAY)


def strategy() -> Any:
    return find(NAME)(fast=FAST, slow=SLOW)


@dataclass(frozen=True)
class Found:
    """What one confirmation came to on a made market. `ideal` is the share of good signals; `alone` what trees left to
    themselves claim: the share at 70 % and above, and how often that came true."""

    kind: str
    seed: int
    events: int
    n: int
    base: float
    coverage: float
    precision: float | None
    low: float | None
    even: float
    ece: float
    net: float
    net_confirmed: float
    armed: bool
    seconds: float
    ideal: float = 0.0
    alone: tuple[float, float] = (0.0, 0.0)


def noise(seed: int, kind: str, symbols: int, bars: int) -> Found:
    """Nothing to be found: a random walk, the same under a lopsided bracket, or brackets that all have one chance."""
    if kind == "one chance":
        return _found(kind, seed, market(symbols, bars, seed, EVEN, EVEN), PLANTED, alone=True)
    bracket = Bracket() if kind == "random walk" else LOPSIDED
    return _found(kind, seed, planted("noise", 0.5, symbols, bars, seed).frames, bracket, alone=True)


def signals(seed: int, symbols: int, bars: int) -> Found:
    """15 % of the signals are good ones."""
    return _found("planted", seed, market(symbols, bars, seed), PLANTED)


def _found(kind: str, seed: int, frames: dict[str, pd.DataFrame], bracket: Bracket, alone: bool = False) -> Found:
    begin = time.perf_counter()
    lesson = teach(frames, NAME, strategy(), "1h", bracket, seed=seed)
    seconds, e = time.perf_counter() - begin, lesson.said["evidence"]
    ideal = 0.0 if alone else _ideal(frames, bracket)
    left = _left_alone(frames, bracket) if alone else (0.0, 0.0)
    low = None if e["precision_ci95"] is None else e["precision_ci95"][0]
    return Found(
        kind,
        seed,
        e["events"],
        e["n"],
        e["base_rate"],
        e["coverage"],
        e["precision"],
        low,
        lesson.said["break_even"],
        e["ece"],
        e["net"],
        e["net_confirmed"],
        not lesson.refused,
        seconds,
        ideal,
        left,
    )


def _ideal(frames: dict[str, pd.DataFrame], bracket: Bracket) -> float:
    """The share of the judged signals that are good ones."""
    flat, *_ = confirming.gathered(frames, strategy(), bracket, "1h")
    *_, test = inner(flat, np.arange(len(flat)), confirming.SHARES)
    marks = {symbol: _marked(candles["volume"].to_numpy()) for symbol, candles in frames.items()}
    places = zip(flat.symbol[test], (flat.began[test] - _BEGIN) // _HOUR, strict=True)
    return float(np.mean([marks[flat.symbols[symbol]][row] for symbol, row in places]))


def _left_alone(frames: dict[str, pd.DataFrame], bracket: Bracket) -> tuple[float, float]:
    """LightGBM as it comes, 300 trees: the share of later signals that it gives 70 % and more, and how often those
    earned something."""
    import lightgbm

    flat, *_ = confirming.gathered(frames, strategy(), bracket, "1h")
    learn, _, test = inner(flat, np.arange(len(flat)), confirming.SHARES)
    plain = {"objective": "binary", "verbosity": -1, "num_threads": 1}
    said = np.asarray(lightgbm.train(plain, lightgbm.Dataset(flat.X[learn], flat.y[learn]), 300).predict(flat.X[test]))
    sure = said >= SURE
    return float(sure.mean()), float(flat.y[test][sure].mean()) if sure.any() else float("nan")


@dataclass(frozen=True)
class Came:
    """What the whole campaign came to."""

    noise: list[Found]
    planted: list[Found]
    seconds: float

    def goals(self) -> list[tuple[str, str, str, bool]]:
        """Each goal, what was wanted, what was seen, whether that is enough."""
        armed, above = sum(f.armed for f in self.noise), max(f.coverage for f in self.noise if f.kind in SILENT)
        hit = min(f.precision or 0.0 for f in self.planted)
        part = min(f.coverage / f.ideal for f in self.planted)
        ece = float(np.median([f.ece for f in self.planted]))
        times = min(_times(f) for f in self.planted)
        unarmed = sum(not f.armed for f in self.planted)
        return [
            (f"noise: confirmations armed, of {len(self.noise)}", "none", str(armed), armed == 0),
            (
                "noise: signals at 70 % and above, the worst seed",
                f"at most {ABOVE:.1%}",
                f"{above:.2%}",
                above <= ABOVE,
            ),
            ("planted: confirmations not armed", "none", str(unarmed), unarmed == 0),
            ("planted: precision, the worst seed", f"at least {PRECISION:.0%}", f"{hit:.1%}", hit >= PRECISION),
            ("planted: share of the ideal coverage, the worst seed", "at least 50%", f"{part:.0%}", part >= OF_IDEAL),
            ("planted: calibration error (ECE), the middle seed", f"at most {ECE:.2f}", f"{ece:.3f}", ece <= ECE),
            (
                "planted: net of confirmed over net of all, the worst seed",
                "at least 1.5",
                f"{times:.1f}",
                times >= TIMES,
            ),
        ]


def _times(found: Found) -> float:
    """How many times the net of all signals the confirmed ones' is; 0 where it is a loss."""
    if found.net_confirmed <= 0.0:
        return 0.0
    return found.net_confirmed / found.net if found.net > 0.0 else float("inf")


def run(path: Path, noises: int = NOISES, plants: int = PLANTS, symbols: int = 24, bars: int = 8000) -> bool:
    """Whether all of it held; the figures go to `path` either way."""
    begin = time.perf_counter()
    with ProcessPoolExecutor(PROCESSES, FRESH) as pool:
        good = [pool.submit(partial(signals, symbols=symbols, bars=bars), seed) for seed in range(plants)]
        kinds = itertools.product((*SILENT, "lopsided"), range(noises))
        silent = [pool.submit(noise, seed, kind, max(symbols // 2, 2), bars // 2) for kind, seed in kinds]
        came = Came([one.result() for one in silent], [one.result() for one in good], 0.0)
    came = Came(came.noise, came.planted, time.perf_counter() - begin)
    path.write_text(_text(came), encoding="utf-8")
    return all(enough for *_, enough in came.goals())


def _text(came: Came) -> str:
    used = ", ".join(f"{name} {metadata.version(name)}" for name in ("lightgbm", "numpy"))
    goals, silent = came.goals(), came.noise
    missed = [words for words, *_, enough in goals if not enough]
    lines = [
        "# What a confirmation finds, and what it does not",
        "",
        f"Written by `make prove`. Made markets in which {NAME} ({FAST}/{SLOW}) takes its sides. Planted: 15 % of its "
        f"signals earn something with {GOOD:.0%}, the others with {REST:.0%}; much volume in one half of the day tells "
        f"them apart. One chance: all with {EVEN:.0%}. Random walk: under the default bracket. Lopsided: random walks "
        f"under {LOPSIDED.words}, where most signals win and still do not pay. The way is a user's: events, purged "
        "folds, calibration, one look at the last quarter of the events, by which it is armed or not.",
        "",
        f"{came.seconds:.0f} s, {PROCESSES} processes. Python {platform.python_version()}, {used}.",
        "",
        f"**Not met: {'; '.join(missed)}.**" if missed else "**Every goal is met.**",
        "",
        "| goal | wanted | seen | |",
        "|---|---|---|---|",
        *(f"| {words} | {wanted} | {seen} | {'met' if ok else '**not met**'} |" for words, wanted, seen, ok in goals),
        "",
        "## Planted",
        "",
        "Coverage: signals at 70 % and above. Net: sum of the net returns of all judged signals, and of the confirmed.",
        "",
        "| seed | events | judged | earn something | good ones | coverage | precision | from (95 %) | breaks even | "
        "ECE | net of all | net of confirmed | s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for f in came.planted:
        lines.append(
            f"| {f.seed} | {f.events:,} | {f.n:,} | {f.base:.1%} | {f.ideal:.1%} | {f.coverage:.1%} | "
            f"{f.precision or 0:.1%} | {f.low or 0:.1%} | {f.even:.1%} | {f.ece:.3f} | {f.net:+.2f} | "
            f"{f.net_confirmed:+.2f} | {f.seconds:.0f} |"
        )
    lines += ["", "## Noise", ""]
    lines += [
        "Trees alone: LightGBM as it comes, 300 trees, on the same events: what share it gives 70 % and more, and how "
        "often those earned something.",
        "",
        "| market | seeds | events each | earn something | break even | armed | largest coverage | largest ECE | "
        "trees alone: share | came true |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_line(kind, [f for f in silent if f.kind == kind]) for kind in dict.fromkeys(f.kind for f in silent)]
    return "\n".join(lines) + "\n"


def _line(kind: str, own: list[Found]) -> str:
    """All seeds of a kind of noise."""
    share, true = (float(np.nanmean([f.alone[at] for f in own])) for at in (0, 1))
    means = [float(np.mean([getattr(f, name) for f in own])) for name in ("events", "base", "even")]
    worst = [max(getattr(f, name) for f in own) for name in ("coverage", "ece")]
    return (
        f"| {kind} | {len(own)} | {means[0]:,.0f} | {means[1]:.1%} | {means[2]:.1%} | {sum(f.armed for f in own)} | "
        f"{worst[0]:.2%} | {worst[1]:.3f} | {share:.1%} | {true:.1%} |"
    )
