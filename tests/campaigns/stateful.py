"""The desk's state machine for long: thousands of lives, each of fifty things that happen in any order.

python -m tests.campaigns.stateful [examples] [steps]      2,000 and 50 unless told
"""

from __future__ import annotations

import logging
import secrets
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.ledgers import PROCESSES, preload

preload("tests.faults.machine")
PROCESSES_AT_ONCE = 2


@dataclass(slots=True)
class Tally:
    """What happened in all lives, and the shortest story of whatever went wrong."""

    lives: int = 0
    seeds: list[int] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    stories: list[str] = field(default_factory=list)
    seconds: float = 0.0


def live(examples: int, steps: int, seed: int, told: Any) -> None:
    """So many lives from this seed, in a process of its own; tells what happened and, if it did, what went wrong."""
    from hypothesis import HealthCheck, settings
    from hypothesis.errors import HypothesisException
    from hypothesis.stateful import run_state_machine_as_test

    from tests.faults import machine

    logging.disable(logging.CRITICAL)
    asked = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        derandomize=False,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
    machine.DeskMachine._hypothesis_internal_use_seed = seed  # type: ignore[attr-defined]
    story = ""
    try:
        run_state_machine_as_test(machine.DeskMachine, settings=asked)
    except HypothesisException:
        raise
    except BaseException as error:
        story = "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])])
    told.send((dict(machine.counts), story))


def lives(examples: int, steps: int) -> Tally:
    """All of them, shared out over the processes."""
    tally, begin = Tally(lives=examples), time.perf_counter()
    tally.seeds = [secrets.randbits(32) for _ in range(PROCESSES_AT_ONCE)]
    running = []
    for seed in tally.seeds:
        ours, theirs = PROCESSES.Pipe(duplex=False)
        process = PROCESSES.Process(target=live, args=(examples // PROCESSES_AT_ONCE, steps, seed, theirs))
        process.start()
        theirs.close()
        running.append((seed, process, ours))
    for seed, process, ours in running:
        try:
            counts, story = ours.recv()
        except EOFError:
            counts, story = {}, "the process died"
        process.join()
        tally.counts.update(counts)
        if story:
            tally.stories.append(f"seed {seed}: {story}")
    tally.seconds = time.perf_counter() - begin
    return tally


def run(evidence: Path, examples: int = 2000, steps: int = 50) -> bool:
    """The campaign; writes what it found and says whether it found nothing."""
    tally = lives(examples, steps)
    rows = [f"| {name} | {count:,} |" for name, count in sorted(tally.counts.items())]
    ended = "".join(f"\n```\n{story}\n```\n" for story in tally.stories)
    evidence.write_text(
        "# Anything, in any order\n\n"
        f"{tally.lives:,} lives of up to {steps} steps in {timedelta(seconds=round(tally.seconds))}: the whole desk, "
        "engine, ledger and paper broker, on a clock that the test moves; orders, prices, nights, kill switches, a "
        "line that loses what is sent or answered, and deaths at every named place. After each step, and again once "
        "all is quiet, the broker's own file is compared with the ledger. "
        f"Seeds {', '.join(map(str, tally.seeds))}. **Stories that ended badly: {len(tally.stories)}.**\n\n"
        "| What happened | Times |\n| --- | --- |\n" + "\n".join(rows) + "\n" + ended,
        encoding="utf-8",
    )
    return not tally.stories


def main(examples: int = 2000, steps: int = 50) -> int:
    """Run it and print what it found; 1 where something was wrong."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "stateful.md"
        sound = run(report, examples, steps)
        print(report.read_text(encoding="utf-8"))
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:3])))
