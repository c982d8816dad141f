"""Engines that trade at E*TRADE's simulator are killed wherever they may die, on a line that fails in half of the calls
and beside people who order by hand; then the simulator is asked what truly happened.

python -m tests.campaigns.etrade_crashes [runs] [first seed] [variant]      1,000 runs unless told; a seed replays a run
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal as D
from pathlib import Path
from typing import Any

from domain.commands import Kind
from tests.faults import etrade_engines as engines
from tests.faults.engines import HALTING
from tests.faults.etrade_ending import End, finish
from tests.faults.etrade_engines import World
from tests.faults.etrade_people import ACCOUNT_NAME, People, entry, script
from tests.faults.etrade_variants import SPLIT, VARIANTS
from tests.faults.etrade_venue import BASE, BEGIN, Fast, Hand, menu, serve
from tests.faults.machine import LIMITS, MEMORY
from tests.faults.points import points
from tests.ledgers import PROCESSES, spawn

SEED = 20261120
SIDE_BY_SIDE = 2
SPEEDS = (30.0, 60.0, 60.0, 200.0)
LIVES_S, SHORTEST_S, STARTS_WITHIN_S = (20.0, 60.0), 0.3, 2.5  # the first in the desk's time, the others in ours
ONCE = frozenset({"after_lease", "during_recovery"})
OFTEN = frozenset({"before_commit", "turn_begins", "turn_ends"})
VARIANT_RUNS = 240
AT_RANDOM = "any moment"
HELD = ("KO", "NVDA")
POINTS = tuple(name for name in points() if name != "during_migration")  # the paper desk's campaign has it
# On top of the stateful tests' limits: a clock that runs fifty times as fast is fifty times as far off.
WIDE: dict[str, Any] = {
    **LIMITS,
    "max_notional": 50_000.0,
    "max_clock_skew_s": 120.0,
    "max_quote_age_s": 120.0,
    "max_symbol_pct": 100.0,
}


@dataclass(slots=True)
class Run:
    """One folder, one simulator, one script, one to three deaths and an engine that cleans up."""

    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    twin: bool = False
    look_alikes: int = 0
    leaps: int = 0
    halts: int = 0
    end: End = field(default_factory=End)
    wrong: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Tally:
    """What happened over all runs, and a sentence for whatever was wrong after one."""

    runs: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    uncertain: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    violated: int = 0

    def add(self, one: Run) -> None:
        end = one.end
        self.runs += 1
        self.kills.update(one.kills)
        self.faults.update(end.faults)
        self.uncertain.update(end.uncertain)
        self.counts.update(
            twins=one.twin, halts=one.halts, look_alikes=one.look_alikes, leaps=one.leaps, by_hand=end.by_hand
        )
        self.counts.update(orders=end.orders, trades=end.trades, calls=end.calls, placings=end.placings)
        self.violated += bool(one.wrong)
        self.problems += [f"seed {one.seed}: {said}" for said in one.wrong]


def run_one(seed: int, template: Path, variant: str = "") -> Run:
    """The run of this seed, in a fresh folder, with a simulator of its own."""
    chance, one = random.Random(seed), Run(seed)
    folder = _folder("etrade-crash-")
    (folder / "jumps").write_bytes(bytes(8))
    clock = Fast(time.monotonic(), chance.choice(SPEEDS), jumps=folder / "jumps")
    shutil.copytree(template / "data", folder / "data")
    venue, url = _simulator(clock, seed, template / "venue.json", kept=False, faults=menu(seed, clock.speed))
    try:
        world = World(folder, seed, clock, url, variant)
        _live_and_die(world, chance, one)
        _clean_up(world, one)
        _read_log(world, one)
    finally:
        venue.kill()
        venue.join()
        shutil.rmtree(folder, ignore_errors=True)
    return one


def _folder(prefix: str) -> Path:
    return Path(tempfile.mkdtemp(prefix=prefix, dir=MEMORY if MEMORY.is_dir() else None))


def _simulator(clock: Fast, seed: int, state: Path, *, kept: bool, faults: list[dict[str, Any]]) -> tuple[Any, str]:
    ours, theirs = PROCESSES.Pipe(duplex=False)
    process = spawn(serve, clock, seed, state, kept, faults, theirs)
    theirs.close()
    return process, ours.recv()


def _live_and_die(world: World, chance: random.Random, one: Run) -> None:
    one.twin = chance.random() < 0.25
    deaths = [_death(world, chance) for _ in range(chance.randint(1, 3))]
    people = People(world, chance, script(chance))
    waiting = list(enumerate([*deaths, ("", 0)] if one.twin else deaths))
    alive = [_spawn(world, waiting) for _ in range(1 + one.twin)]
    for _ in deaths:
        _until_dead(world, chance, alive[0], people)
        alive.pop(0)
        if not alive:
            world.sign_in_again()
        if waiting:
            alive.append(_spawn(world, waiting))
    people.all_that_is_left()
    for process in alive:
        if process.is_alive():
            _kill(world, process)
    people.close()


def _wishes() -> list[tuple[Kind, dict[str, Any]]]:
    """Limits set on purpose, the desk armed, and two positions to begin with."""
    digits = "".join(letter for letter in ACCOUNT_NAME if letter.isdigit())
    return [
        *((Kind.SET_LIMIT, {"name": name, "value": value}) for name, value in WIDE.items()),
        (Kind.ARM, {"account": ACCOUNT_NAME, "phrase": f"TRADE {digits}"}),
        *((Kind.PLACE, entry(symbol, BEGIN[symbol], 40, None, D("1.03"))) for symbol in HELD),
    ]


def _spawn(world: World, waiting: list[tuple[int, tuple[str, int]]]) -> Any:
    number, death = waiting.pop(0)
    return spawn(engines.live, world, number, *death)


def _until_dead(world: World, chance: random.Random, first: Any, people: People) -> None:
    """People ask while it lives; what does not die in time by itself is killed."""
    before, begin, acted = _openings(world), time.monotonic(), 0.0
    life = max(SHORTEST_S, chance.uniform(*LIVES_S) / world.clock.speed)
    while first.is_alive():
        time.sleep(chance.uniform(0.002, 0.03))
        now = time.monotonic()
        acted = acted or (now if _openings(world) > before else 0.0)
        if acted:
            people.ask()
        if (acted and now - acted > life) or (not acted and now - begin > STARTS_WITHIN_S):
            _kill(world, first)
            break
    first.join()


def _openings(world: World) -> int:
    return world.lines().count("opened")


def _kill(world: World, process: Any) -> None:
    process.kill()
    process.join()
    world.note(f"died {AT_RANDOM}")


def _death(world: World, chance: random.Random) -> tuple[str, int]:
    """A named place and which passing of it; or somewhere at random."""
    if world.variant == SPLIT and chance.random() < 0.7:
        return "between_commits", chance.randint(1, 3)
    if chance.random() < 0.04:
        return HALTING, chance.randint(1, 3)
    if chance.random() < 0.25:
        return "", 0
    point = chance.choice(POINTS)
    return point, 1 if point in ONCE else chance.randint(1, 10 if point in OFTEN else 2)


# The end


def _clean_up(world: World, one: Run) -> None:
    ours, theirs = PROCESSES.Pipe(duplex=False)
    last = spawn(finish, world, theirs)
    theirs.close()
    try:
        one.end = ours.recv()
        one.wrong += one.end.wrong
    except EOFError:
        one.wrong.append("I3: the engine that should clean up died")
    last.join()


def _read_log(world: World, one: Run) -> None:
    for line in world.lines():
        what, _, said = line.partition(" ")
        if what == "died":
            one.kills[said] += 1
        elif what == "look-alike":
            one.look_alikes += 1
        elif what == "leap":
            one.leaps += 1
        elif what == "halted":
            one.halts += 1
        elif what == "wrong":
            one.wrong.append(said)


# Many


def template() -> Path:
    """A desk that was signed in, given its limits and armed, and the simulator that let it in, made once."""
    folder = _folder("etrade-template-")
    clock = Fast(time.monotonic(), 20.0, BASE - timedelta(minutes=30))
    venue, url = _simulator(clock, 0, folder / "venue.json", kept=True, faults=[])
    try:
        Hand(url).ask("rules", volume_cap=0)
        ours, theirs = PROCESSES.Pipe(duplex=False)
        made = spawn(engines.found, World(folder, 0, clock, url), _wishes(), theirs)
        theirs.close()
        said = ours.recv()
        made.join()
        Hand(url).ask("tick")  # whatever is asked for here is kept once it was answered
    finally:
        venue.kill()
        venue.join()
    if said:
        raise AssertionError(f"the desk could not be made: {said}")
    return folder


def runs(seeds: Iterable[int], variant: str = "", *, until_caught: bool = False) -> Tally:
    """All of them, two at a time; `until_caught` stops after the first that found something."""
    tally, begin, of = Tally(), time.perf_counter(), template()
    try:
        with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
            caught: list[int] = []

            def one(seed: int) -> Run | None:
                if until_caught and caught:
                    return None
                found = run_one(seed, of, variant)
                if found.wrong:
                    caught.append(seed)
                return found

            for found in pool.map(one, seeds):
                if found is not None:
                    tally.add(found)
    finally:
        shutil.rmtree(of, ignore_errors=True)
    tally.seconds = time.perf_counter() - begin
    return tally


def run(evidence: Path, runs_: int = 1000) -> bool:
    """The campaign, and the proof that it bites; writes what it found and says whether it found nothing."""
    sound = runs(range(SEED, SEED + runs_))
    broken = {name: runs(range(SEED, SEED + VARIANT_RUNS), name, until_caught=True) for name in VARIANTS}
    evidence.write_text(report(sound, broken), encoding="utf-8")
    return not sound.problems and all(tally.violated for tally in broken.values())


def report(sound: Tally, broken: dict[str, Tally]) -> str:
    """A page of Markdown."""
    per_run, counts = sound.seconds / max(1, sound.runs), sound.counts
    placed = sum(many for name, many in sound.faults.items() if name.startswith("place: "))
    lines = [
        "# Killed anywhere, at E*TRADE's simulator",
        "",
        f"{sound.runs:,} runs in {timedelta(seconds=round(sound.seconds))} ({per_run:.2f} s each, {SIDE_BY_SIDE} "
        f"at a time): real engines in processes of their own, trading over HTTP at the E*TRADE simulator, killed with "
        f"SIGKILL {sound.kills.total():,} times, with a twin in {counts['twins']:,} runs and HALT committed between an "
        f"intent and its sending {counts['halts']:,} times; {counts['leaps']:,} times all clocks leapt ahead by more "
        f"than an old signature lives. {counts['calls']:,} calls of the orders module arrived and "
        f"{sound.faults.total():,} faults struck, {placed:,} of them at {counts['placings']:,} orders on their way. "
        f"{counts['orders']:,} orders reached the broker, "
        f"{counts['by_hand']:,} of them by hand and {counts['look_alikes']:,} of these the same as one of the desk's; "
        f"{counts['trades']:,} trades came of them. After each run a sound engine cleans up, and what the simulator "
        f"remembers is compared with the ledger. **Runs with a violation: {sound.violated}.**",
        "",
        *(f"- {said}" for said in sound.problems[:20]),
        "",
        *_table("Died at", {name: sound.kills[name] for name in sorted({*POINTS, *sound.kills})}),
        *_table("Orders nobody was certain of", dict(sound.uncertain.most_common())),
        *_table("Fault on the line", dict(sorted(sound.faults.items()))),
        "## The same, with the engine broken on purpose",
        "",
        "| Broken | Caught | Runs until then | Said |",
        "| --- | --- | --- | --- |",
    ]
    for name, tally in broken.items():
        said = tally.problems[0].replace("|", "/")[:140] if tally.problems else ""
        lines.append(f"| {name} | {'yes' if tally.violated else '**no**'} | {tally.runs} | {said} |")
    return "\n".join(lines) + "\n"


def _table(title: str, counted: dict[str, int]) -> list[str]:
    rows = [f"| {name} | {count:,} |" for name, count in counted.items()]
    return [f"| {title} | Times |", "| --- | --- |", *rows, ""]


def main(runs_: str = "1000", first: str = str(SEED), variant: str = "") -> int:
    """Run it and print what it found; 1 where something was wrong."""
    tally = runs(range(int(first), int(first) + int(runs_)), variant)
    print(report(tally, {}))
    return 1 if tally.problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
