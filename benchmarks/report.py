"""What a measurement hands over, and RESULTS.md: one section a measurement, replaced when it is measured again."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

LIBRARIES = ("streamlit", "plotly", "pandas", "numpy", "pyarrow", "TA-Lib", "pandas-ta-classic", "aiohttp", "requests")


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of several measurements, with their smallest and largest."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(float(np.median(values)), float(min(values)), float(max(values)), len(values))

    def time(self) -> str:
        """`3.1 ms (2.8–9.0)`, all three in the median's unit."""
        scale, unit = _unit(self.median)
        return f"{_short(self.median * scale)} {unit} ({_short(self.low * scale)}–{_short(self.high * scale)})"

    def plain(self) -> str:
        """`0.93 (0.90–0.97)`."""
        return f"{_short(self.median)} ({_short(self.low)}–{_short(self.high)})"


@dataclass(frozen=True, slots=True)
class Goal:
    """What was wanted, what was seen, and which way it counts."""

    words: str
    wanted: float
    seen: float
    at_most: bool = True

    @property
    def met(self) -> bool:
        return self.seen <= self.wanted if self.at_most else self.seen >= self.wanted

    def row(self) -> list[str]:
        bound = f"{'at most' if self.at_most else 'at least'} {_short(self.wanted)}"
        return [self.words, bound, _short(self.seen), "met" if self.met else "**not met**"]


@dataclass(frozen=True, slots=True)
class Table:
    """A header and its rows, every cell as text."""

    header: list[str]
    rows: list[list[str]]

    def lines(self) -> list[str]:
        rule = ["---"] * len(self.header)
        return [f"| {' | '.join(row)} |" for row in (self.header, rule, *self.rows)]


@dataclass(frozen=True, slots=True)
class Section:
    """One measurement: `how` is a sentence on how it was measured, `notes` what a reader should know of the figures."""

    title: str
    how: str
    table: Table
    goals: list[Goal] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        lines = [f"## {self.title}", "", self.how, "", *self.table.lines()]
        if self.goals:
            goals = Table(["Goal", "Wanted", "Seen", ""], [goal.row() for goal in self.goals])
            lines += ["", *goals.lines()]
        for note in self.notes:
            lines += ["", note]
        return "\n".join(lines)


def time_of(seconds: float) -> str:
    """One duration in the unit that suits it."""
    scale, unit = _unit(seconds)
    return f"{_short(seconds * scale)} {unit}"


def write(path: Path, name: str, section: Section, order: Sequence[str]) -> None:
    """Put the section into the file at `path`, in place of the one measured before; the header is written anew."""
    kept = _sections(path)
    kept[name] = section.text()
    blocks = [f"<!-- {n} -->\n{kept[n]}\n<!-- end {n} -->" for n in order if n in kept]
    path.write_text("\n\n".join([_header(), *blocks]) + "\n", encoding="utf-8")


def _sections(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    found = re.findall(r"<!-- (\w+) -->\n(.*?)\n<!-- end \1 -->", path.read_text(encoding="utf-8"), re.DOTALL)
    return dict(found)


def _header() -> str:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)
    return (
        "# Speed beside peers\n\n"
        "Written by `make bench`. Compare only inside one table: both sides ran in the same run on the same machine. "
        "Times are medians with the smallest and largest in brackets; a ratio below 1 means that ours takes less.\n\n"
        f"Machine: {_processor()}, {os.cpu_count()} cores, {platform.system()}. "
        f"Python {platform.python_version()}, {versions}."
    )


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return model[1].strip() if model else platform.machine()


def _unit(seconds: float) -> tuple[float, str]:
    if seconds >= 1:
        return 1.0, "s"
    return (1e3, "ms") if seconds >= 1e-3 else (1e6, "us")


def _short(value: float) -> str:
    """Three figures that count, no exponent."""
    if value != value or abs(value) == float("inf"):
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return np.format_float_positional(value, precision=3, fractional=False, unique=False, trim="-")
