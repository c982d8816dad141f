"""Many processes write one ledger at once: nothing may be lost, nobody locked out, every line in its chain.

python -m tests.campaigns.ledger_writers [processes] [transactions each]      4 and 10,000 unless told
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from desk.inbox import Inbox
from desk.ledger import Ledger
from desk.reader import Reader
from domain.clock import SystemClock
from domain.commands import Command, Kind
from domain.errors import DeskError
from tests import ledgers
from tests.ledgers import CASH, PROCESSES, fill, founded, opened, order, working

PRICE = Decimal("10.01")


@dataclass(slots=True)
class Tally:
    """What the writers did: each transaction's time in ms, and a sentence for whatever went wrong."""

    times_ms: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def transactions(self) -> int:
        return len(self.times_ms)

    @property
    def p50_p99(self) -> tuple[float, float]:
        cuts = statistics.quantiles(self.times_ms, n=100)
        return cuts[49], cuts[98]


def write_together(url: str, processes: int, each: int) -> Tally:
    """`processes` writers, each with `each` fills of one shared order and as many commands; then everything counted."""
    ledger, epoch = founded(url, SystemClock())
    with ledger.write(epoch) as write:
        working(write, order("shared", processes * each))
    here, there = PROCESSES.Pipe(duplex=False)
    begin = time.perf_counter()
    writers = [ledgers.spawn(_write, url, epoch, who, each, there) for who in range(processes)]
    there.close()
    tally = Tally()
    for _ in writers:
        times, problems = here.recv()
        tally.times_ms += times
        tally.problems += problems
    for writer in writers:
        writer.join()
    tally.seconds = time.perf_counter() - begin
    tally.problems += _missing(url, ledger, processes * each)
    return tally


def _write(url: str, epoch: int, who: int, each: int, told: Any) -> None:
    clock = SystemClock()
    ledger, inbox = opened(url, clock), Inbox(url, clock)
    times, problems = [], []
    for n in range(each):
        for act in (_fill_one, _ask_one):
            begin = time.perf_counter()
            try:
                act(ledger, inbox, epoch, f"{who:03}-{n:06}")
            except DeskError as error:
                problems.append(f"writer {who}: {error}")
            times.append(1000 * (time.perf_counter() - begin))
    told.send((times, problems))


def _fill_one(ledger: Ledger, inbox: Inbox, epoch: int, name: str) -> None:
    with ledger.write(epoch) as write:
        write.add_fill(fill(name, "1", str(PRICE), of="shared", fee=Decimal(0)))


def _ask_one(ledger: Ledger, inbox: Inbox, epoch: int, name: str) -> None:
    inbox.append(Command(f"ask-{name}", Kind.PREVIEW, "owner", {"name": name}))


def _missing(url: str, ledger: Ledger, fills: int) -> list[str]:
    reader = Reader(url, SystemClock())
    shared, account = reader.order("shared"), reader.account("main")
    assert shared is not None
    assert account is not None
    found = {
        "fills": (len(reader.fills(most=fills + 1)), fills),
        "filled": (shared.filled, fills),
        "commands": (reader.queued(), fills),
        "cash": (account.cash, CASH - fills * PRICE),
    }
    wrong = [f"{what}: {got}, must be {wanted}" for what, (got, wanted) in found.items() if got != wanted]
    return wrong + ledger.verify()


def run(evidence: Path, processes: int = 4, each: int = 10_000) -> bool:
    """The campaign; writes what it found and says whether it found nothing."""
    with tempfile.TemporaryDirectory() as folder:
        tally = write_together(f"sqlite:///{folder}/ledger.db", processes, each)
    p50, p99 = tally.p50_p99
    evidence.write_text(
        "# Many writers, one ledger\n\n"
        f"{processes} processes, {tally.transactions:,} durable transactions (half fills of one shared order, half "
        f"commands) in {timedelta(seconds=round(tally.seconds))}: {tally.transactions / tally.seconds:,.0f} a second, "
        f"p50 {p50:.2f} ms, p99 {p99:.2f} ms, longest {max(tally.times_ms):.0f} ms. "
        f"Lost, refused or contradictory: {len(tally.problems)}.\n"
        + "".join(f"- {problem}\n" for problem in tally.problems[:20]),
        encoding="utf-8",
    )
    return not tally.problems


def main(processes: int = 4, each: int = 10_000) -> int:
    """Run it and print what it found; 1 where something was wrong."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "ledger_writers.md"
        sound = run(report, processes, each)
        print(report.read_text(encoding="utf-8"))
    return 0 if sound else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:3])))
