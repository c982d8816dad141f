"""Engines are killed, hundreds of times, wherever they may die; then the broker's own file is asked what they did.

python -m tests.campaigns.crashes [runs] [first seed] [variant]      1,000 runs unless told; a variant alone by its name
"""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal as D
from pathlib import Path
from typing import Any

from desk.authority import LOCAL_OWNER
from desk.inbox import Inbox
from desk.ticket import to_json
from domain.commands import Command, Kind
from domain.errors import DeskError, LedgerBusy
from domain.orders import OrderRequest, OrderType, Side, TimeInForce
from tests.faults import engines
from tests.faults.engines import BEGIN, HALTING, Walk, World
from tests.faults.machine import LIMITS, MEMORY
from tests.faults.points import points
from tests.faults.variants import VARIANTS
from tests.ledgers import PROCESSES, spawn

SEED = 20261120
SIDE_BY_SIDE = 2
LIFE_S, START_S = 0.4, 1.5
ONCE = frozenset({"after_lease", "during_migration", "during_recovery"})
OFTEN = frozenset({"before_commit", "turn_begins", "turn_ends"})
VARIANT_RUNS = 60
AT_RANDOM = "any moment"
POINTS = points()


@dataclass(slots=True)
class Tally:
    """What happened over all runs, and a sentence for whatever was wrong after one."""

    runs: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    twins: int = 0
    halts: int = 0
    orders: int = 0
    fills: int = 0
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    violated: int = 0

    def add(self, one: Run) -> None:
        self.runs += 1
        self.kills.update(one.kills)
        self.faults.update(one.faults)
        self.twins += one.twin
        self.halts += one.halts
        self.orders += one.orders
        self.fills += one.fills
        self.violated += bool(one.wrong)
        self.problems += [f"seed {one.seed}: {said}" for said in one.wrong]


@dataclass(slots=True)
class Run:
    """One folder, one script, one to three deaths and an engine that cleans up."""

    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    twin: bool = False
    halts: int = 0
    orders: int = 0
    fills: int = 0
    wrong: list[str] = field(default_factory=list)


def run_one(seed: int, template: Path | None, variant: str = "") -> Run:
    """The run of this seed, in a fresh folder."""
    chance, one = random.Random(seed), Run(seed)
    folder = Path(tempfile.mkdtemp(prefix="crash-", dir=MEMORY if MEMORY.is_dir() else None))
    try:
        if template is not None and chance.random() < 0.9:
            shutil.copytree(template, folder / "data")
        world = World(folder, seed, time.monotonic(), variant)
        _live_and_die(world, chance, one)
        _clean_up(world, one)
        _read_log(world, one)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return one


def _live_and_die(world: World, chance: random.Random, one: Run) -> None:
    one.twin = chance.random() < 0.25 or world.variant in ("no lease", "deferred transactions")
    deaths = [_death(world, chance) for _ in range(chance.randint(1, 3))]
    script = [*_limits(), *_script(world, chance)] if not world.ledger_path.exists() else _script(world, chance)
    inbox = Inbox(f"sqlite:///{world.ledger_path}", world)
    waiting = list(enumerate([*deaths, ("", 0)] if one.twin else deaths))
    alive = [_spawn(world, waiting) for _ in range(1 + one.twin)]
    for _ in deaths:
        _until_dead(world, chance, alive[0], inbox, script)
        alive.pop(0)
        if waiting:
            alive.append(_spawn(world, waiting))
    while script:  # what was asked while nobody lived
        if not _asked(inbox, world, script.pop(0)):
            break
    for process in alive:
        if process.is_alive():
            _kill(world, process)
    inbox.close()


def _spawn(world: World, waiting: list[tuple[int, tuple[str, int]]]) -> Any:
    number, death = waiting.pop(0)
    return spawn(engines.live, world, number, *death)


def _until_dead(world: World, chance: random.Random, first: Any, inbox: Inbox, script: list[tuple[Kind, Any]]) -> None:
    """People ask while it lives; what does not die in time by itself is killed."""
    before, begin, acted = _openings(world), time.monotonic(), 0.0
    life = LIFE_S * chance.uniform(0.3, 1.0)
    while first.is_alive():
        time.sleep(chance.uniform(0.001, 0.012))
        now = time.monotonic()
        acted = acted or (now if _openings(world) > before else 0.0)
        if script and acted and _asked(inbox, world, script[0]):
            script.pop(0)
        if (acted and now - acted > life) or now - begin > START_S:
            _kill(world, first)
            break
    first.join()


def _openings(world: World) -> int:
    try:
        return (world.folder / "log").read_bytes().count(b"opened")
    except FileNotFoundError:
        return 0


def _kill(world: World, process: Any) -> None:
    process.kill()
    process.join()
    world.note(f"died {AT_RANDOM}")


def _death(world: World, chance: random.Random) -> tuple[str, int]:
    """A named place and which passing of it; or somewhere at random."""
    if world.variant == "halt not asked when sending" or chance.random() < 0.08:
        return HALTING, chance.randint(1, 3)
    if world.variant == "fill and order in two commits" and chance.random() < 0.7:
        return "between_commits", chance.randint(1, 3)
    if chance.random() < 0.25:
        return "", 0
    point = chance.choice(POINTS)
    return point, 1 if point in ONCE else chance.randint(1, 10 if point in OFTEN else 2)


def _limits() -> list[tuple[Kind, dict[str, Any]]]:
    return [(Kind.SET_LIMIT, {"name": name, "value": value}) for name, value in LIMITS.items()]


def _script(world: World, chance: random.Random) -> list[tuple[Kind, Any]]:
    """What people ask for, in order. Entries are worked out when they are asked, around the price of that moment."""
    script: list[tuple[Kind, Any]] = [(Kind.PLACE, chance.random()) for _ in range(2)]
    for _ in range(chance.randint(4, 9)):
        script.append(
            (chance.choice([Kind.PLACE] * 6 + [Kind.CLOSE] * 3 + [Kind.PROTECT, Kind.CANCEL_ALL]), chance.random())
        )
    if chance.random() < 0.25:
        at = chance.randrange(2, len(script))
        script.insert(at, (Kind.KILL, {"level": chance.randint(1, 4), "reason": "a test", "typed": "FLATTEN"}))
        if chance.random() < 0.7:
            script.insert(chance.randint(at + 1, len(script)), (Kind.RE_ARM, {"reason": "a test"}))
    return script


def _asked(inbox: Inbox, world: World, wish: tuple[Kind, Any]) -> bool:
    """Whether it is in the inbox now; a desk that was never started has none."""
    kind, value = wish
    payload = value if isinstance(value, dict) else _payload(world, kind, random.Random(value))
    name = zlib.crc32(f"{world.seed} {kind} {value}".encode())
    try:
        inbox.append(Command(f"wish-{kind.name.lower()}-{name:08x}", kind, LOCAL_OWNER, payload))
    except LedgerBusy as error:
        world.note(f"wrong I0: a wish was turned away: {error}")
        return False
    except DeskError:
        return False
    return True


def _payload(world: World, kind: Kind, chance: random.Random) -> dict[str, Any]:
    account, symbol = chance.choice(["main", "main", "savings"]), chance.choice(list(BEGIN))
    last = Walk(world.seed).last(symbol, world.now())
    where = {"account": account, "symbol": symbol}
    if kind is Kind.CLOSE:
        return {**where, "percent": chance.choice(["25", "50", "100"]), "type": "market"}
    if kind is Kind.PROTECT:
        return {**where, "stop": str((last * D("0.98")).quantize(D("0.01")))}
    if kind is Kind.CANCEL_ALL:
        return {"account": "", "symbol": ""}
    limit = chance.random() < 0.4
    away = BEGIN[symbol] * D(chance.randint(-8, 4)) / 1000
    request = OrderRequest(
        account,
        symbol,
        Side.BUY,
        D(chance.choice([10, 25, 40])),
        OrderType.LIMIT if limit else OrderType.MARKET,
        limit=(last + away).quantize(D("0.01")) if limit else None,
        time_in_force=TimeInForce.GTC if limit else TimeInForce.DAY,
        stop_loss=(last * D("0.96")).quantize(D("0.01")),
        target=(last * D("1.03")).quantize(D("0.01")),
    )
    return {"request": to_json(request)}


def _clean_up(world: World, one: Run) -> None:
    ours, theirs = PROCESSES.Pipe(duplex=False)
    last = spawn(engines.finish, world, theirs)
    theirs.close()
    try:
        wrong, one.orders, one.fills = ours.recv()
        one.wrong += wrong
    except EOFError:
        one.wrong.append("I3: the engine that should clean up died")
    last.join()


def _read_log(world: World, one: Run) -> None:
    with suppress(FileNotFoundError):
        for line in (world.folder / "log").read_text(encoding="utf-8").splitlines():
            what, _, said = line.partition(" ")
            if what == "died":
                one.kills[said] += 1
            elif what == "fault":
                one.faults[said] += 1
            elif what == "halted":
                one.halts += 1
            elif what == "wrong":
                one.wrong.append(said)


# Many


def template() -> Path:
    """A desk that was opened and given its limits once: making one anew is half of a run."""
    folder = Path(tempfile.mkdtemp(prefix="crash-template-", dir=MEMORY if MEMORY.is_dir() else None))
    world = World(folder, 0, time.monotonic())
    made = spawn(engines.found, world, _limits())
    made.join()
    return folder / "data"


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
        shutil.rmtree(of.parent, ignore_errors=True)
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
    per_run = sound.seconds / max(1, sound.runs)
    lines = [
        "# Killed anywhere",
        "",
        f"{sound.runs:,} runs in {timedelta(seconds=round(sound.seconds))} ({per_run:.2f} s each, {SIDE_BY_SIDE} "
        f"at a time): real engines in processes of their own on a paper broker, killed with SIGKILL "
        f"{sound.kills.total():,} times, with a twin in {sound.twins} runs, HALT committed between an intent and "
        f"its sending {sound.halts} times and {sound.faults.total():,} faults on the line. {sound.orders:,} orders "
        "reached the broker, "
        f"{sound.fills:,} fills came of them. After each run a sound engine cleans up and the broker's own file is "
        f"compared with the ledger. **Runs with a violation: {sound.violated}.**",
        "",
        *(f"- {said}" for said in sound.problems[:20]),
        "",
        "| Died at | Times |",
        "| --- | --- |",
        *(f"| {name} | {sound.kills[name]} |" for name in sorted({*POINTS, *sound.kills})),
        "",
        "| Fault on the line | Times |",
        "| --- | --- |",
        *(f"| {name} | {count} |" for name, count in sorted(sound.faults.items())),
        "",
        "## The same, with the engine broken on purpose",
        "",
        "| Broken | Caught | Runs until then | Said |",
        "| --- | --- | --- | --- |",
    ]
    for name, tally in broken.items():
        said = tally.problems[0].replace("|", "/")[:140] if tally.problems else ""
        lines.append(f"| {name} | {'yes' if tally.violated else '**no**'} | {tally.runs} | {said} |")
    return "\n".join(lines) + "\n"


def main(runs_: str = "1000", first: str = str(SEED), variant: str = "") -> int:
    """Run it and print what it found; 1 where something was wrong."""
    tally = runs(range(int(first), int(first) + int(runs_)), variant)
    print(report(tally, {}))
    return 1 if tally.problems else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
