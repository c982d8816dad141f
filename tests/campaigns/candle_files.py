"""The same faults in CSV and Parquet files: each file refused with its row and rule, each sound one read to the bit."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from domain.candles import COLUMNS
from domain.clock import ManualClock
from domain.errors import DeskError
from domain.instruments import instrument
from feeds.files import FilesFeed, Refusal
from settings import Settings
from tests.campaigns.faulty import CLEAN, FORMING, SHIFTED, Case

# Written to a file these are no fault: zones are told by the offset, and forming bars are left out when read.
NO_FAULT_IN_A_FILE = ("no zone", "another zone", "no times", FORMING)
WRONG_ZONE = frozenset({"wrong zone", "outside the session", "off the grid"})


@dataclass(slots=True)
class FileTally:
    """Counts of files by what was done to them."""

    candles: int = 0
    written: Counter[str] = field(default_factory=Counter)
    right: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return self.written == self.right

    def lines(self) -> list[str]:
        """A Markdown section."""
        out = [
            "## Through files",
            "",
            f"{self.candles:,} candles in {self.written.total()} files, CSV and Parquet by turns, at most one fault in "
            "each, read by the files feed. A faulty file is right where it is refused with its name, its row as a "
            "person counts it, and the rule; a clean one where it is read equal to the bit.",
            "",
            "| What was done to the file | Files | Right |",
            "| --- | --- | --- |",
        ]
        out += [f"| {kind} | {count} | {self.right[kind]} |" for kind, count in sorted(self.written.items())]
        return [*out, f"| **together** | {self.written.total()} | {self.right.total()} |"]


def judge_files(all_cases: Iterable[Case]) -> FileTally:
    """Write every case under a symbol of its own, then ask the feed what it makes of them."""
    tally = FileTally()
    with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
        settings = Settings(data_dir=Path(folder))
        settings.files_dir.mkdir(parents=True)
        written = {}
        for number, case in enumerate(c for c in all_cases if not set(c.kinds.values()) & set(NO_FAULT_IN_A_FILE)):
            symbol = f"C{number:04}USDT" if case.of.is_crypto else f"S{number:04}"
            name = f"{symbol}_{case.tf.name}.{('csv', 'parquet')[number % 2]}"
            _write(settings.files_dir / name, case, number)
            written[name] = symbol, case
            tally.candles += len(case.candles)
        feed = FilesFeed(settings, ManualClock(datetime(2026, 11, 20, 21, tzinfo=UTC)))
        refused = {refusal.file: refusal for refusal in feed.refused()}
        for name, (symbol, case) in written.items():
            _judge_file(feed, name, symbol, case, refused.get(name), tally)
    return tally


def _judge_file(feed: FilesFeed, name: str, symbol: str, case: Case, refusal: Refusal | None, tally: FileTally) -> None:
    kind = SHIFTED if case.loose else next(iter(case.kinds.values()), CLEAN)
    tally.written[kind] += 1
    problem = _wrong_with(refusal, case, name) if case.kinds else _unlike(feed, symbol, case, refusal)
    if problem:
        tally.problems.append(f"{name}, {kind}: {problem}")
    else:
        tally.right[kind] += 1


def _wrong_with(refusal: Refusal | None, case: Case, name: str) -> str:
    """Why a faulty file's refusal is not right; '' where it is."""
    if refusal is None:
        return "let through"
    row = next(iter(case.kinds))
    wanted = WRONG_ZONE if case.loose else case.rules[row]
    if refusal.rule not in wanted or refusal.rule not in refusal.message or name not in refusal.message:
        return f"wanted {' or '.join(sorted(wanted))}, got {refusal.message}"
    text = "not a number" in wanted
    line = _text_row(case) if text else row
    shown = 0 if line < 0 else line + (2 if name.endswith(".csv") else 1)
    if not case.loose and refusal.row != shown:
        return f"wanted row {shown}, got {refusal.message}"
    return ""


def _unlike(feed: FilesFeed, symbol: str, case: Case, refusal: Refusal | None) -> str:
    if refusal is not None:
        return f"sound but refused: {refusal.message}"
    try:
        found = feed.all_bars(instrument(symbol), case.tf)
    except DeskError as error:
        return str(error)
    return "" if found.equals(case.candles) else f"{len(found)} bars of {len(case.candles)}, or other values"


def _text_row(case: Case) -> int:
    texts = case.candles.map(lambda cell: isinstance(cell, str)).to_numpy().any(axis=1)
    return int(np.flatnonzero(texts)[0])


def _write(path: Path, case: Case, number: int) -> None:
    """Times as ISO with a Z or, where nothing is wrong with them, on the exchange's own clock without a zone."""
    candles = case.candles
    table = pd.DataFrame({c: candles[c].to_numpy() for c in COLUMNS if c in candles})
    index = candles.index
    assert isinstance(index, pd.DatetimeIndex)
    if case.loose:  # already moved by the offset: what a naive UTC file looks like when it is read as New York's
        index = index.tz_convert("America/New_York").tz_localize(None)
    elif not case.kinds and number % 3 == 0:
        index = index.tz_convert(case.of.zone).tz_localize(None)
    if path.suffix == ".parquet":
        for column in table.select_dtypes("object"):
            table[column] = table[column].map(str)
        table.insert(0, "timestamp", index)
        table.to_parquet(path, index=False)
        return
    stamps = index.strftime("%Y-%m-%dT%H:%M:%S" + ("Z" if index.tz is not None else ""))
    table.insert(0, "Date", stamps.where(~index.isna(), ""))
    table.to_csv(path, index=False, na_rep=("", "NaN")[number % 2])
