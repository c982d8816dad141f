"""Candles to learn from: the user's own files or frames in hand, through one gate that says what it let in.

    data = load(files, "5m")                  # `files` is the feed of the user's own folder
    data = gathered(frames, "5m")             # frames by symbol, already in hand
    print(data.said)                          # a line a symbol: bars, gaps, what was left out and why
    require(data, Label(), seq_len=30)        # DataError where that is too little, with what there is and what it takes

The rule: nothing is repaired. A row that breaks a rule of candle frames is left out and counted, and so are the bars of
extended hours (thin ones, which no window of regular bars should hold). What lies before a jump that looks like an
unadjusted split is left out too: a fall of a half that nobody suffered would be the strongest lesson of all.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from domain import candles as cd
from domain.candles import Timeframe, expected, nanos, sift
from domain.errors import DataError
from domain.instruments import Instrument, instrument
from learning.features import WARMUP
from learning.labels import Label

Ints = npt.NDArray[np.int64]
FEWEST = 500  # windows below which nothing that was learned would mean anything
SPLITS = (1.5, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50)
_NEAR = 0.06  # how far, in logs, a night's move may lie from a split's ratio
_SHOWN = 8


class OwnFiles(Protocol):
    """The feed of the user's own files, as far as it is needed here."""

    def all_bars(self, instrument: Instrument, tf: Timeframe) -> pd.DataFrame: ...
    def holdings(self) -> list[Any]: ...
    def refused(self) -> list[Any]: ...
    def notes(self) -> list[str]: ...


@dataclass(frozen=True, slots=True)
class Quality:
    """What the gate found in one symbol. `rows` are left in; `missing` bars lie between them, `longest` in one gap;
    `refused` rows by rule; `extended` bars outside regular hours and `early` ones before a jump were left out; `silent`
    bars without volume stay in."""

    symbol: str
    rows: int
    first: str = ""
    last: str = ""
    missing: int = 0
    longest: int = 0
    silent: int = 0
    extended: int = 0
    early: int = 0
    refused: tuple[tuple[str, int], ...] = ()
    jumps: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        parts = [f"{self.rows:,} bars" + (f", {self.first[:10]} to {self.last[:10]}" if self.rows else "")]
        if self.missing:
            parts.append(
                f"{self.missing:,} missing between them (the longest gap {self.longest:,}): no window spans one"
            )
        parts += [f"{count:,} left out: {rule}" for rule, count in self.refused]
        parts += [f"{self.extended:,} left out: outside regular hours"] * bool(self.extended)
        parts += [f"{self.silent:,} without volume"] * bool(self.silent)
        if self.jumps:
            parts.append(f"{'; '.join(self.jumps)}: the {self.early:,} bars before are left out; adjust the file")
        return f"{self.symbol}: " + "; ".join(parts)


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Checked candles of regular hours by symbol, with what was found on the way."""

    frames: dict[str, pd.DataFrame]
    timeframe: str
    quality: tuple[Quality, ...]
    notes: tuple[str, ...] = ()

    @property
    def said(self) -> str:
        return "\n".join([*(q.said for q in self.quality), *self.notes])

    def stamp(self) -> dict[str, Any]:
        """What was learned from, as JSON values: enough to tell it from anything else."""
        told, held = hashlib.sha256(), [f for f in self.frames.values() if len(f)]
        for symbol in sorted(self.frames):
            told.update(symbol.encode() + nanos(self.frames[symbol]).tobytes())
            told.update(np.ascontiguousarray(self.frames[symbol][list(cd.COLUMNS)].to_numpy()).tobytes())
        return {
            "symbols": sorted(self.frames),
            "timeframe": self.timeframe,
            "start": min(q.first for q in self.quality if q.rows) if held else "",
            "end": max(q.last for q in self.quality if q.rows) if held else "",
            "n_rows": sum(map(len, held)),
            "source_sha256": told.hexdigest(),
            "quality": {
                "gaps": sum(q.missing for q in self.quality),
                "refused": sum(count for q in self.quality for _, count in q.refused),
                "extended": sum(q.extended for q in self.quality),
                "silent": sum(q.silent for q in self.quality),
                "jumps": sum(len(q.jumps) for q in self.quality),
            },
        }


def load(files: OwnFiles, timeframe: str = "", symbols: Iterable[str] = (), looked: str = "the folder") -> Dataset:
    """Every symbol of the user's files, or those asked for, in one timeframe; without one, in that of most symbols (of
    equals the finest). Coarser bars are made from finer files. Refused files are told in `notes`.

    DataError where there is nothing, with what there is and where it `looked`.
    """
    holdings = files.holdings()
    name = timeframe or _commonest(holdings)
    wanted = sorted({instrument(s).symbol for s in symbols} or {h.symbol for h in holdings})
    refused = tuple(f"{one.file} is not used: {one.message}" for one in files.refused())
    if not wanted or not name:
        raise DataError("\n".join([_no_files(looked), *refused]))
    tf = cd.timeframe(name)
    found = {symbol: files.all_bars(instrument(symbol), tf) for symbol in wanted}
    empty = [symbol for symbol, frame in found.items() if frame.empty]
    kept = {symbol: frame for symbol, frame in found.items() if not frame.empty}
    if not kept:
        raise DataError(f"no {name} candles of {', '.join(wanted)} in {looked}: there are {_there(holdings)}")
    said = tuple(f"{symbol}: no {name} candles, nor finer ones to make them from" for symbol in empty)
    made = gathered(kept, name)
    return Dataset(made.frames, name, made.quality, (*said, *refused, *files.notes()))


def gathered(frames: Mapping[str, pd.DataFrame], timeframe: str, now: datetime | None = None) -> Dataset:
    """Frames by symbol through the gate. With `now` a bar that has not closed by then is left out as forming.

    DataError for a frame that is wrong as a whole: a missing column, a time without a zone.
    """
    tf = cd.timeframe(timeframe)
    passed = {instrument(symbol).symbol: _gate(instrument(symbol), frames[symbol], tf, now) for symbol in frames}
    kept = {symbol: passed[symbol][0] for symbol in sorted(passed)}
    return Dataset(kept, timeframe, tuple(passed[symbol][1] for symbol in kept))


def require(data: Dataset, label: Label, seq_len: int, fewest: int = FEWEST) -> None:
    """DataError where the candles cannot give `fewest` windows: what there is, and how many bars it takes."""
    lead = WARMUP + seq_len + label.reach - 1
    windows = {symbol: max(0, len(frame) - lead) for symbol, frame in data.frames.items()}
    if sum(windows.values()) >= fewest:
        return
    held = "; ".join(f"{q.symbol} {q.rows:,} bars" for q in data.quality[:_SHOWN])
    held += f" and {len(data.quality) - _SHOWN} symbols more" * (len(data.quality) > _SHOWN)
    raise DataError(
        f"too few candles to learn from: {held or 'none'} of {data.timeframe} give {sum(windows.values()):,} windows, "
        f"and {fewest:,} are needed. One symbol alone takes {lead + fewest:,} bars: {WARMUP} to warm up, {seq_len} to "
        f"look at, {label.reach} until the answer is known, {fewest:,} to learn and be judged on. Give longer or more "
        f"files, or finer bars."
    )


# The gate


def _gate(of: Instrument, raw: pd.DataFrame, tf: Timeframe, now: datetime | None) -> tuple[pd.DataFrame, Quality]:
    good, faults = sift(raw, of, tf, now)
    if faults and faults[0].row < 0:
        raise DataError(f"{of.symbol}: {faults[0]}")
    rules = tuple(sorted(Counter(fault.rule for fault in faults).items()))
    regular = of.calendar.locate(nanos(good))[1] == 2
    inside = good[regular]
    jumps = [] if of.is_crypto else _jumps(inside)
    early = jumps[-1][0] if jumps else 0
    kept = inside.iloc[early:]
    missing, longest = _missing(kept, tf, of)
    return kept, Quality(
        of.symbol,
        len(kept),
        kept.index[0].isoformat() if len(kept) else "",
        kept.index[-1].isoformat() if len(kept) else "",
        missing,
        longest,
        int((kept["volume"] == 0).sum()),
        int((~regular).sum()),
        early,
        rules,
        tuple(said for _, said in jumps),
    )


def _jumps(candles: pd.DataFrame) -> list[tuple[int, str]]:
    """Rows whose open lies from the close before as a split would put it, and the sentence for each."""
    o, c = candles["open"].to_numpy(), candles["close"].to_numpy()
    if len(c) < 2:
        return []
    moved = np.log(o[1:] / c[:-1])
    ratios = np.log(np.array(SPLITS, dtype=np.float64))
    far = np.flatnonzero(np.abs(moved) > ratios[0] - _NEAR)
    found = []
    for at in far.tolist():
        nearest = int(np.abs(ratios - abs(moved[at])).argmin())
        if abs(ratios[nearest] - abs(moved[at])) < _NEAR:
            parts = f"{SPLITS[nearest]:g}:1" if moved[at] < 0 else f"1:{SPLITS[nearest]:g}"
            day = f"{candles.index[at + 1]:%Y-%m-%d}"
            found.append((at + 1, f"{day} opens at {o[at + 1]:g} after {c[at]:g}, as after a split {parts}"))
    return found


def _missing(candles: pd.DataFrame, tf: Timeframe, of: Instrument) -> tuple[int, int]:
    """Bars that the exchange's hours would hold and the frame does not, and the most of them in a row."""
    if candles.empty:
        return 0, 0
    times = nanos(candles)
    begin, end = (datetime.fromtimestamp(int(at) // 10**9, tz=UTC) for at in (times[0], times[-1]))
    there = np.isin(expected(begin, end + timedelta(seconds=1), tf, of), times)
    edges = np.flatnonzero(np.diff(np.r_[True, there, True].astype(np.int8)))
    runs = edges[1::2] - edges[::2]
    return int(runs.sum()), int(runs.max(initial=0))


# What to say where there is nothing


def _commonest(holdings: list[Any]) -> str:
    counts = Counter(name for _, name in {(h.symbol, h.timeframe) for h in holdings})
    return min(counts, key=lambda name: (-counts[name], cd.timeframe(name).seconds)) if counts else ""


def _there(holdings: list[Any]) -> str:
    series = sorted({f"{h.symbol} {h.timeframe}" for h in holdings})
    more = f" and {len(series) - _SHOWN} more" if len(series) > _SHOWN else ""
    return ", ".join(series[:_SHOWN]) + more or "none"


def _no_files(looked: str) -> str:
    return (
        f"no candles to learn from in {looked}: put CSV or Parquet files there, one a symbol (AAPL_5m.csv), with the "
        f"columns time, open, high, low, close, volume"
    )
