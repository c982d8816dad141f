"""What a soak saw: measured each hour, judged for what grew, and written down."""

from __future__ import annotations

import ctypes
import gc
import resource
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from desk.supervisor import ALARM_AFTER

WARM = timedelta(hours=10)  # the first session and its nightly comparison, for which code is compiled
# A pool keeps up to five connections of those that read side by side, as at night, and each holds two files. Whatever
# is forgotten at a death, a start or an hour comes to more.
HANDLES_MAY = 8
MEMORY_MAY, BYTES_MAY, LOG_MAY_MB = 1.05, 1.15, 24.0
HEAP = ctypes.CDLL(None)


@dataclass(frozen=True, slots=True)
class Hour:
    """What the process and its folder measured then."""

    at: datetime
    rss_mb: float
    handles: int
    files: Mapping[str, int]
    rows: int

    @property
    def bytes_a_row(self) -> float:
        return sum(size for name, size in self.files.items() if name.endswith(".db")) / max(1, self.rows)

    @property
    def logs_mb(self) -> float:
        """What is written and not folded into its file yet."""
        return sum(size for name, size in self.files.items() if name.endswith("-wal")) / 1e6

    @property
    def row(self) -> str:
        figures = f"{self.rss_mb:.0f} MB | {self.handles} | {self.rows:,} | {self.bytes_a_row:.0f} | {self.logs_mb:.1f}"
        return f"| {self.at:%a %H:%M} | {figures} MB |"


def measured(at: datetime, data: Path, *books: Path) -> Hour:
    """This process and that folder, as they are now."""
    gc.collect()
    HEAP.malloc_trim(0)  # what is free goes back first: what is left is held by somebody
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    handles = len(list(Path("/proc/self/fd").iterdir()))
    files = {path.name: path.stat().st_size for path in sorted(data.rglob("*")) if path.is_file()}
    return Hour(at, pages * resource.getpagesize() / 1e6, handles, files, sum(map(_rows, books)))


def _rows(file: Path) -> int:
    with closing(sqlite3.connect(file)) as db:
        names = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return sum(db.execute(f'SELECT COUNT(*) FROM "{name}"').fetchone()[0] for name in names)


@dataclass(slots=True)
class Seen:
    """What happened, and a sentence for whatever went wrong."""

    begins: datetime
    turns: int = 0
    met: Counter[str] = field(default_factory=Counter)
    hours: list[Hour] = field(default_factory=list)
    naked_s: list[float] = field(default_factory=list)
    alarms: set[str] = field(default_factory=set)
    closest: Mapping[str, float] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    statuses: Mapping[str, int] = field(default_factory=dict)
    done: Mapping[str, int] = field(default_factory=dict)
    audits: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def warm(self) -> list[Hour]:
        return [hour for hour in self.hours if hour.at - self.begins >= WARM]

    @property
    def deaths(self) -> int:
        return sum(n for name, n in self.met.items() if name.startswith("died "))

    def grown(self) -> Iterator[str]:
        """What grew since it was warm, and should not have."""
        if len(self.warm) < 2:
            return
        first, last = self.warm[0], self.warm[-1]
        if last.rss_mb > first.rss_mb * MEMORY_MAY:
            yield f"memory: {first.rss_mb:.0f} MB when warm, {last.rss_mb:.0f} MB at the end"
        if last.handles > first.handles + HANDLES_MAY:
            yield f"open handles: {first.handles} when warm, {last.handles} at the end"
        if last.bytes_a_row > first.bytes_a_row * BYTES_MAY:
            yield f"a row: took {first.bytes_a_row:.0f} bytes when warm, {last.bytes_a_row:.0f} at the end"
        if new := sorted(set(last.files) - set(first.files)):
            yield f"files nobody had before: {', '.join(new)}"
        for hour in self.warm:
            if hour.logs_mb > LOG_MAY_MB:
                yield f"logs: {hour.logs_mb:.0f} MB at {hour.at} that should be folded in"


# In words


def told(seen: Seen, symbols: int, seed: int, seconds: float) -> str:
    """The evidence, as far as it goes."""
    met = sorted(seen.met.items())
    parts = [
        "# Strategies at work without a pause",
        _what(seen, symbols, seed, seconds),
        f"Decisions: {_listed(seen.done)}. Orders in the ledger: {_listed(seen.statuses)}. {_listed(seen.counts)}.",
        f"Each hour of a session, after each session and at the end, {seen.audits} times in all: cash and fees to the "
        "cent and positions to the share, ledger beside broker beside the plain sum over all fills; each order and "
        "each stop where it should be; each decision sent once; every entry held against the limits, worked out again "
        "from the ledger's rows; the ledger against itself, its chain of hashes included. "
        f"**Differences: {len(seen.problems)}.**",
        *(f"- {problem}" for problem in seen.problems[:20]),
        "How near the entries came to a limit, 1 being the limit (money with 2 % for prices that were on their way): "
        f"{', '.join(f'{name} {value:.2f}' for name, value in sorted(seen.closest.items()))}.",
        _protection(seen),
        _growth(seen),
        _table("what went wrong on purpose | times", (f"| {name} | {n:,} |" for name, n in met if n)),
    ]
    return "\n\n".join(parts) + "\n"


def _what(seen: Seen, symbols: int, seed: int, seconds: float) -> str:
    hours = (seen.hours[-1].at - seen.begins).total_seconds() / 3600
    return (
        f"{hours:.0f} hours on a virtual clock from {seen.begins:%A %d %B %Y %H:%M} UTC, {symbols} symbols by the "
        "minute, three strategies at work (SMA crossover, the three pairs together: plain; with filters volume and "
        "regime, and a stop that trails; with filter volume and a limit entry that is chased), on the paper broker "
        "over a bad line, seed "
        f"{seed}: {seen.turns:,} turns of the engine in {seconds:,.0f} s. {seen.deaths} engines died on the way."
    )


def _protection(seen: Seen) -> str:
    naked = np.array(seen.naked_s or [0.0])
    half, worst = np.percentile(naked, [50, 99])
    return (
        f"Shares without a stop or a sale, by the broker's own file: {len(seen.naked_s)} times, p50 {half:.0f} s, p99 "
        f"{worst:.0f} s, longest {naked.max():.0f} s of virtual time. Alarms in {len(seen.alarms)} minutes; one "
        f"missing half a minute after the {ALARM_AFTER.seconds} s it may take would be a difference above."
    )


def _growth(seen: Seen) -> str:
    shown = seen.hours[:: max(1, len(seen.hours) // 12)]
    said = f"Warm after {WARM.total_seconds() / 3600:g} hours; shorter runs are not judged for what grows."
    if len(seen.warm) > 1:
        first, last = seen.warm[0], seen.warm[-1]
        said = (
            f"From {first.at:%a %H:%M}, when all was warm, to the end: {first.rss_mb:.0f} to {last.rss_mb:.0f} MB "
            f"({100 * (last.rss_mb / first.rss_mb - 1):+.1f} %), {first.handles} to {last.handles} open handles."
        )
    return _table("at | memory | handles | rows | bytes a row | logs", (one.row for one in shown)) + f"\n\n{said}"


def _table(header: str, rows: Iterator[str]) -> str:
    return "\n".join([f"| {header} |", f"|{' --- |' * (header.count('|') + 1)}", *rows])


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))
