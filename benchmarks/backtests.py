"""Backtests beside backtesting.py and vectorbt: one run, a sweep, a year of many symbols with one cash.

The peers live in an environment of their own under `benchmarks/.peers`, made at the first run with pinned versions.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import backtests_data as data
from benchmarks.backtests_bare import FROM_SIGNAL, OURS, STOP_FIRST, WORDS
from benchmarks.backtests_both import PINS, Answer, Both, Call, alone, by_turns, environment, ours_in, peers_in
from benchmarks.backtests_data import QUICK, Sizes
from benchmarks.report import Goal, Section, Spread, Table, time_of

HOW = (
    "An SMA crossover (10/30; in the sweep 50 fast windows with 200 slow ones) on bars made from a fixed seed, which "
    "both sides read from the same files; fills at the next open, commission 10 bps a side, 100 pieces, long and "
    "short; where there are stops, out at 1 % loss or 2 % gain. Frames stand ready before the clock starts. "
    "**Whole**: ours with its table of trades and every metric; vectorbt with its records of trades and `stats()`; "
    "backtesting.py as it comes. Each side runs in a process of its own, the sides take turns, each after a run that "
    "is not counted. Peak memory is that of a fresh process that does this and nothing else. vectorbt is asked with "
    "each of its engines; goals are measured against the quicker one. Its sweep also in chunks of 500 pairs, which is "
    "how it is kept small. backtesting.py's sweep is `optimize` in its own processes, over two parts of the pairs, "
    "from which all of them are extrapolated; of the year it runs one symbol alone, since it knows no shared cash, "
    "times the number of symbols."
)
TICK = "ours rounds every price to the tick, here of 1e-8, which is what is left between it and the bare loop"


def measure(quick: bool) -> Section:
    """All three cases."""
    sizes = QUICK if quick else Sizes()
    environment()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        data.make(folder, sizes)
        load = os.getloadavg()[0]
        with ours_in(folder) as ours, peers_in(folder) as peers:
            both = Both(ours, peers, folder, sizes, [], [], [])
            for bars in sizes.one:
                _one(both, bars)
            _sweep(both)
            _year(both)
            _parts(both)
        if not quick:
            _first(both)
    versions = ", ".join(pin.replace("==", " ") for pin in PINS)
    both.notes.append(
        f"Peers: {versions}, on the same Python. The load average was {load:.1f} before and "
        f"{os.getloadavg()[0]:.1f} after."
    )
    header = ["Case", "Engine", "Time", "Times ours", "Peak memory", "Trades", "Final equity, or profit of all pairs"]
    return Section("Backtests", HOW, Table(header, both.rows), both.goals, both.notes)


# The cases


def _one(both: Both, bars: int) -> None:
    """A run with stops."""
    case, turns = f"{bars:,} bars, stops", both.sizes.slow_turns
    calls: dict[str, Call] = {
        "ours": lambda: both.ours("one", bars=bars),
        "vectorbt (numba)": lambda: both.peers("vectorbt_one", bars=bars, engine="numba"),
        "vectorbt (rust)": lambda: both.peers("vectorbt_one", bars=bars, engine="rust"),
        "backtesting.py": lambda: both.peers("backtesting_one", bars=bars),
    }
    bare_calls: dict[str, Call] = {
        "ours": lambda: both.ours("one", bars=bars, whole=False),
        "vectorbt (numba)": lambda: both.peers("vectorbt_one", bars=bars, engine="numba", whole=False),
        "vectorbt (rust)": lambda: both.peers("vectorbt_one", bars=bars, engine="rust", whole=False),
    }
    seen, last = by_turns(calls, turns)
    bare, _ = by_turns(bare_calls, both.sizes.turns)
    peaks = {
        "ours": alone(both, "ours", "one", bars=bars),
        "vectorbt (numba)": alone(both, "peers", "vectorbt_one", bars=bars, engine="numba"),
        "vectorbt (rust)": alone(both, "peers", "vectorbt_one", bars=bars, engine="rust"),
        "backtesting.py": alone(both, "peers", "backtesting_one", bars=bars),
    }
    for who in calls:
        both.row(case, who, seen[who], seen["ours"], peaks[who], last[who])
    for who in bare_calls:
        both.row(f"{bars:,} bars, the run alone", who, bare[who], bare["ours"], None, {})
    best = min(seen["vectorbt (numba)"].median, seen["vectorbt (rust)"].median)
    ours, peer = seen["ours"].median, seen["backtesting.py"].median
    both.goals.append(Goal(f"{bars:,} bars, whole: backtesting.py's time / ours", 100, peer / ours, at_most=False))
    wanted = 3 if bars <= 100_000 else 4
    both.goals.append(Goal(f"{bars:,} bars, whole: vectorbt's time / ours", wanted, best / ours, at_most=False))
    bare_best = min(bare["vectorbt (numba)"].median, bare["vectorbt (rust)"].median)
    readable = both.peers("vectorbt_one", bars=bars, whole=False, readable=True)["seconds"]
    both.notes.append(
        f"{bars:,} bars: vectorbt's run alone, without table or figure, takes {bare_best / ours:.2g} times our whole "
        f"result; with its table of trades in readable form (`records_readable`, as ours is) {time_of(readable)}."
    )
    _agreement(both, bars, last)


def _agreement(both: Both, bars: int, last: dict[str, Answer]) -> None:
    """Why trades and equity differ, by a loop that follows each side's rules."""
    ours = last | {"ours, from the signal": both.ours("one", bars=bars, exits_from="signal")}
    sides = (
        (OURS, "ours", "ours"),
        (FROM_SIGNAL, "backtesting.py", "backtesting.py"),
        (FROM_SIGNAL, "ours, from the signal", 'ours with `exits_from="signal"`'),
        (STOP_FIRST, "vectorbt (numba)", "vectorbt"),
    )
    rows = []
    for rules, who, words in sides:
        bare = both.ours("second_opinion", bars=bars, rules=rules)
        apart = abs(bare["equity"] - ours[who]["equity"])
        trades = [f"{ours[who]['trades']:,}", f"{bare['trades']:,}"]
        rows.append([words, WORDS[rules], *trades, f"{apart:.2g}"])
    header = ["Side", "Its rules", "Trades", "Trades of a bare loop by these rules", "Equity apart from it"]
    both.notes.append(f"Why they differ, {bars:,} bars; {TICK}:\n\n" + "\n".join(Table(header, rows).lines()))


def _sweep(both: Both) -> None:
    """Every pair of windows, without stops."""
    sizes = both.sizes
    fasts, slows = (list(found) for found in data.pairs(sizes))
    count = len(fasts) * len(slows)
    pairs: dict[str, Any] = {"fasts": fasts, "slows": slows}
    case = f"{sizes.swept:,} bars x {count:,} pairs"
    asked: dict[str, Any] = {
        "vectorbt (numba)": {"engine": "numba"},
        "vectorbt (rust)": {"engine": "rust"},
        f"vectorbt (numba, chunks of {sizes.chunk})": {"engine": "numba", "chunk": sizes.chunk},
    }
    calls: dict[str, Call] = {"ours": lambda: both.ours("swept", **pairs)}
    for who, more in asked.items():
        calls[who] = lambda more=more: both.peers("vectorbt_swept", **pairs, **more)  # type: ignore[misc]
    seen, last = by_turns(calls, sizes.slow_turns)
    peaks = {"ours": alone(both, "ours", "swept", **pairs)}
    peaks |= {who: alone(both, "peers", "vectorbt_swept", **pairs, **more) for who, more in asked.items()}
    for who in calls:
        both.row(case, who, seen[who], seen["ours"], peaks[who], last[who])
    peer = _optimize(both, pairs, count)
    both.row(case, "backtesting.py, extrapolated", peer, seen["ours"], None, {})
    few = alone(both, "ours", "swept", fasts=fasts[:5], slows=slows[:20])
    ours, best = seen["ours"].median, min(seen[who].median for who in asked)
    both.goals += [
        Goal(f"{case}: backtesting.py's time / ours", 1_000, peer.median / ours, at_most=False),
        Goal(f"{case}: vectorbt's time / ours", 20, best / ours, at_most=False),
        Goal(f"{case}: peak memory, ours / vectorbt's", 0.1, peaks["ours"] / peaks["vectorbt (numba)"]),
        Goal(f"{case}: peak memory, ours / ours over {5 * min(20, len(slows))} pairs", 1.5, peaks["ours"] / few),
    ]
    bare = both.ours("bare_sweep", **pairs)
    one = both.ours("swept", **pairs, jobs=1)
    both.notes.append(
        f"The sweep as a bare loop on one core, trades and profit alone: {time_of(bare['seconds'])} "
        f"({bare['trades']:,} trades, profit {bare['equity']:,.4f}); ours on one core {time_of(one['seconds'])}, "
        f"{one['compiled']:,} of {count:,} pairs in the compiled family."
    )


def _optimize(both: Both, pairs: dict[str, Any], count: int) -> Spread:
    """What `optimize` would take over all pairs: a line through two parts of them."""
    few, more = both.sizes.parts
    found, sums = [], set()
    for _ in range(both.sizes.optimizes):
        took = []
        for size in (few, more):
            fasts, slows = pairs["fasts"][:: len(pairs["fasts"]) - 1], pairs["slows"][:: len(pairs["slows"]) // size]
            answer = both.peers("backtesting_swept", fasts=fasts, slows=slows)
            took.append((answer["count"], answer["seconds"]))
            same = both.ours("swept", fasts=fasts, slows=slows)
            sums.add((answer["count"], round(answer["equity"], 2), round(same["equity"], 2)))
        (n1, t1), (n2, t2) = took
        found.append(t2 + (t2 - t1) / (n2 - n1) * (count - n2))
    told = "; ".join(f"{n:,} pairs: {theirs:,.2f} and ours {mine:,.2f}" for n, theirs, mine in sorted(sums))
    both.notes.append(f"backtesting.py's `optimize`, the profit of its pairs beside ours: {told}.")
    return Spread.of(found)


def _year(both: Both) -> None:
    """Many symbols with one cash."""
    sizes = both.sizes
    case = f"{sizes.symbols} symbols x {sizes.year:,} bars, one cash, stops"
    calls: dict[str, Call] = {
        "ours": lambda: both.ours("many"),
        "vectorbt (numba)": lambda: both.peers("vectorbt_many", engine="numba"),
        "vectorbt (rust)": lambda: both.peers("vectorbt_many", engine="rust"),
    }
    seen, last = by_turns(calls, sizes.slow_turns)
    single, _ = by_turns({"one": lambda: both.peers("backtesting_symbol")}, 3)
    peaks = {
        "ours": alone(both, "ours", "many"),
        "vectorbt (numba)": alone(both, "peers", "vectorbt_many", engine="numba"),
        "vectorbt (rust)": alone(both, "peers", "vectorbt_many", engine="rust"),
    }
    for who in calls:
        both.row(case, who, seen[who], seen["ours"], peaks[who], last[who])
    one = single["one"]
    apart = Spread(*(sizes.symbols * t for t in (one.median, one.low, one.high)), one.count)
    both.row(case, f"backtesting.py, {sizes.symbols} x one symbol alone", apart, seen["ours"], None, {})
    ours = seen["ours"].median
    best = min(seen["vectorbt (numba)"].median, seen["vectorbt (rust)"].median)
    least = min(peaks["vectorbt (numba)"], peaks["vectorbt (rust)"])
    both.goals += [
        Goal(f"{case}: seconds, whole", 0.25, ours),
        Goal(f"{case}: vectorbt's time / ours", 2, best / ours, at_most=False),
        Goal(f"{case}: backtesting.py's separate runs / ours", 80, apart.median / ours, at_most=False),
        Goal(f"{case}: peak memory, ours / vectorbt's lower one", 0.5, peaks["ours"] / least),
    ]
    rows = []
    for rules, who in ((OURS, "ours"), (STOP_FIRST, "vectorbt (numba)")):
        bare = both.ours("second_opinion_many", rules=rules)
        apart_by = f"{abs(bare['equity'] - last[who]['equity']):.2g}"
        rows.append([who, WORDS[rules], f"{last[who]['trades']:,}", f"{bare['trades']:,}", apart_by])
    header = ["Side", "Its rules", "Trades", "Trades of a bare loop by these rules", "Equity apart from it"]
    both.notes.append(f"Why they differ, the year; {TICK}:\n\n" + "\n".join(Table(header, rows).lines()))


def _parts(both: Both) -> None:
    """Where our time goes."""
    asked = [(f"{bars:,} bars", {"case": "one", "bars": bars}) for bars in both.sizes.one]
    asked.append((f"{both.sizes.symbols} symbols x {both.sizes.year:,} bars", {"case": "many"}))
    names = ("bare loop", "inputs", "pass", "trades", "metrics", "all of it")
    rows = []
    for words, what in asked:
        found = both.ours("parts", turns=both.sizes.slow_turns, **what)["parts"]
        rows.append([words, *(time_of(found[name]) for name in names)])
    header = [
        "Where our time goes",
        "A bare loop, for comparison",
        "Inputs: checks, strategy, arrays",
        "The compiled pass",
        "Table of trades",
        "Curves and metrics",
        "All of it, in one go",
    ]
    both.notes.append("\n".join(Table(header, rows).lines()))


def _first(both: Both) -> None:
    """What a fresh process waits for, with everything compiled already, and once with nothing compiled."""
    bars, found = both.sizes.one[0], {"ours": [], "vectorbt": []}  # type: ignore[var-annotated]
    for _ in range(3):
        with ours_in(both.folder) as ours:
            found["ours"].append(ours("first", bars=bars))
        with peers_in(both.folder) as peers:
            found["vectorbt"].append(peers("vectorbt_first", bars=bars))
    with tempfile.TemporaryDirectory(prefix="cold-") as cold, ours_in(both.folder, NUMBA_CACHE_DIR=cold) as ours:
        compiled = ours("first", bars=bars)["seconds"]
    with (
        tempfile.TemporaryDirectory(prefix="cold-") as cold,
        peers_in(both.folder, NUMBA_CACHE_DIR=cold) as peers,
    ):
        theirs = peers("vectorbt_first", bars=bars)["seconds"]
    rows = []
    for who, once in (("ours", compiled), ("vectorbt", theirs)):
        imported, first = (Spread.of([one[name] for one in found[who]]) for name in ("imported", "seconds"))
        rows.append([who, imported.time(), first.time(), time_of(once)])
        if who == "ours":
            both.goals.append(
                Goal(f"{bars:,} bars: seconds from the imports to the first whole result", 1, first.median)
            )
    header = ["A fresh process", "Imports", "First whole result after them", "The same with nothing compiled yet"]
    both.notes.append("\n".join(Table(header, rows).lines()))
