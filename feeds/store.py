"""Candles kept from feeds: Parquet under `data/candles/`, each bar with its source, and the spans asked.

`<root>/<venue>/<SYMBOL>/<timeframe>/<year>.parquet`, one file for each year (UTC) of a bar's open. `merge`
is the only writer: it holds a lock for its symbol and timeframe, and puts whole files in place, so that a
reader needs no lock and never sees half a file. A file that cannot be trusted is set aside, its bars are
missing again, and the next fetch brings them back.
"""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from filelock import FileLock
from pandas.api.types import union_categoricals

from domain import registry
from domain.candles import Timeframe as Tf
from domain.candles import check, empty, expected, nanos, starts, timeframe
from domain.clock import Clock
from domain.errors import DataError, DeskError
from domain.instruments import Instrument, instrument
from feeds._candle_file import (
    About,
    CandleFile,
    CorruptFile,
    NanoSpans,
    label,
    read_about,
    read_candles,
    write_candles,
)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = datetime(2000, 1, 1, tzinfo=UTC)  # calendars know nothing before
_LOCK_TIMEOUT_S = 60.0
Rows = tuple[pd.DataFrame, pd.Categorical]
_log = logging.getLogger(__name__)


class Span(NamedTuple):
    """From `start` up to, not including, `end`; UTC."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge did: bars that are new, bars whose values changed, bars that were there already."""

    added: int
    replaced: int
    same: int


@dataclass(frozen=True, slots=True)
class Kept:
    """Kept candles, the source of each row, and the covered spans, cut to what was asked for."""

    candles: pd.DataFrame
    sources: pd.Categorical
    covered: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class KeptSeries:
    """One line of what the store holds. `first` and `last` are opens; None where no bar is known."""

    symbol: str
    timeframe: str
    first: datetime | None
    last: datetime | None
    rows: int
    sources: tuple[str, ...]
    size: int


class CandleStore:
    """Kept candles under `root`. Safe for many readers and writers, in threads and processes."""

    def __init__(self, root: Path, clock: Clock) -> None:
        self.root = root
        self.clock = clock
        self._notes: list[str] = []

    def merge(
        self,
        instrument: Instrument,
        tf: Tf,
        candles: pd.DataFrame,
        source: str,
        covered: tuple[datetime, datetime] | None = None,
    ) -> Merged:
        """Keep `candles` from the feed called `source`; where a bar was kept before, the new one wins.

        `covered` is the span that was asked and answered, bars or none; it is cut before the bar that still
        forms. Merging the same again changes nothing. DataError: a row breaks a rule, or prices are made up.
        """
        if _made_up(source):
            raise DataError(f"{instrument.symbol}: bars from {source!r} are simulated; simulated bars are never kept")
        candles = check(candles, instrument, tf, self.clock.now())
        span = self._settled(instrument, tf, covered)
        times = nanos(candles)
        folder = self._folder(instrument, tf)
        folder.mkdir(parents=True, exist_ok=True)
        done = Merged(0, 0, 0)
        with self._lock(folder):
            for leftover in folder.glob(".*.tmp"):  # of a writer that died
                leftover.unlink(missing_ok=True)
            for year, lo, hi in _years(times, span):
                rows = slice(*np.searchsorted(times, [lo, hi]))
                part = None if span is None else (max(lo, span[0]), min(hi, span[1]))
                one = self._merge_year(folder / f"{year}.parquet", candles.iloc[rows], source, part)
                done = Merged(done.added + one.added, done.replaced + one.replaced, done.same + one.same)
        return done

    def load(self, instrument: Instrument, tf: Tf, start: datetime, end: datetime) -> Kept:
        """Everything kept about [start, end): candles, their sources and the covered spans, read together."""
        lo, hi = _nanos(max(start, _FIRST)), _nanos(max(end, _FIRST))
        files = [found for path in self._paths(instrument, tf, lo, hi) if (found := self._read(path))]
        covered = _clip(_union(itertools.chain.from_iterable(f.covered for f in files)), lo, hi)
        parts = [_cut(f, lo, hi) for f in files]
        candles, sources = _concat([(c, s) for c, s in parts if len(c)])
        return Kept(candles, sources, _spans(covered))

    def read(self, instrument: Instrument, tf: Tf, start: datetime, end: datetime) -> pd.DataFrame:
        """The kept candles that open in [start, end); empty where there are none."""
        return self.load(instrument, tf, start, end).candles

    def sources(self, instrument: Instrument, tf: Tf, start: datetime, end: datetime) -> pd.Categorical:
        """The source of each row that `read` gives."""
        return self.load(instrument, tf, start, end).sources

    def covered(self, instrument: Instrument, tf: Tf) -> list[Span]:
        """The spans that were asked and answered, in order, apart from each other."""
        paths = self._paths(instrument, tf, _nanos(_FIRST), None)
        return list(_spans(_union(itertools.chain.from_iterable(a.covered for p in paths if (a := self._about(p))))))

    def missing(self, instrument: Instrument, tf: Tf, start: datetime, end: datetime) -> list[Span]:
        """What of [start, end) was never answered, up to now at the latest."""
        return without(Span(max(start, _FIRST), min(end, self.clock.now())), self.covered(instrument, tf))

    def gaps(self, instrument: Instrument, tf: Tf, start: datetime, end: datetime) -> list[Span]:
        """Where a source was asked and left out bars of regular hours: first open to the last one's end."""
        kept = self.load(instrument, tf, start, end)
        due = [expected(span.start, span.end, tf, instrument) for span in kept.covered]
        bars = np.concatenate([*due, np.empty(0, np.int64)])
        absent = ~np.isin(bars, nanos(kept.candles))
        edges = np.flatnonzero(np.diff(np.r_[False, absent, False].astype(np.int8)))
        return [Span(_moment(bars[a]), _moment(bars[b - 1] + tf.nanos)) for a, b in edges.reshape(-1, 2)]

    def holdings(self) -> list[KeptSeries]:
        """What is kept, by symbol and timeframe, from the footers alone."""
        folders = sorted(p for p in self.root.glob("*/*/*") if p.is_dir())
        return [line for folder in folders if (line := self._series(folder))]

    def last(self, instrument: Instrument, tf: Tf) -> datetime | None:
        """The open of the newest kept bar; None where there is none."""
        abouts = (self._about(path) for path in reversed(self._paths(instrument, tf, _nanos(_FIRST), None)))
        return next((_moment(a.last) for a in abouts if a and a.rows), None)

    def set_aside(self, instrument: Instrument, tf: Tf, why: str) -> None:
        """Stop using what is kept of this symbol and timeframe: the files get another name and are fetched anew."""
        folder = self._folder(instrument, tf)
        if folder.exists():
            with self._lock(folder):
                for path in sorted(folder.glob("*.parquet")):
                    self._rename(path, "old", why)

    def notes(self) -> tuple[str, ...]:
        """What was set aside since the start, in words."""
        return tuple(self._notes)

    def _merge_year(self, path: Path, new: pd.DataFrame, source: str, span: tuple[int, int] | None) -> Merged:
        old = self._read_locked(path) or CandleFile(empty(), _no_sources(), ())
        covered = _union([*old.covered, *([span] if span and span[0] < span[1] else [])])
        there, values, result = _lay_over(old, new, source)
        if not (result.added or result.replaced) and covered == old.covered:
            return result
        write_candles(path, CandleFile(there, values, covered))
        return result

    def _folder(self, instrument: Instrument, tf: Tf) -> Path:
        folder = self.root / instrument.venue / instrument.symbol / tf.name
        if not folder.resolve().is_relative_to(self.root.resolve()):
            raise DataError(f"{instrument.symbol}: its folder would lie outside {self.root.name}")
        return folder

    def _lock(self, folder: Path) -> FileLock:
        return FileLock(folder.parent / f".{folder.name}.lock", timeout=_LOCK_TIMEOUT_S)

    def _paths(self, instrument: Instrument, tf: Tf, lo: int, hi: int | None) -> list[Path]:
        years = _year(lo), 9999 if hi is None else _year(hi)
        found = ((p.stem, p) for p in self._folder(instrument, tf).glob("*.parquet"))
        return sorted(p for stem, p in found if stem.isdigit() and years[0] <= int(stem) <= years[1])

    def _read(self, path: Path) -> CandleFile | None:
        """Without the lock; what looks corrupt is looked at once more under it before it is set aside."""
        try:
            return read_candles(path)
        except FileNotFoundError:
            return None
        except CorruptFile:
            with self._lock(path.parent):
                return self._read_locked(path)

    def _read_locked(self, path: Path) -> CandleFile | None:
        try:
            return read_candles(path)
        except FileNotFoundError:
            return None
        except CorruptFile as error:
            self._rename(path, "corrupt", "was damaged")
            _log.info("%s", error)
            return None

    def _about(self, path: Path) -> About | None:
        try:
            return read_about(path)
        except FileNotFoundError:
            return None
        except CorruptFile:
            self._read(path)
            return None

    def _rename(self, path: Path, suffix: str, why: str) -> None:
        names = (path.with_name(f"{path.name}.{suffix}-{n}") for n in itertools.count(1))
        aside = next(name for name in names if not name.exists())
        path.rename(aside)
        note = f"{path.relative_to(self.root)} {why}: set aside as {aside.name}, to be fetched again"
        self._notes.append(note)
        _log.warning("%s", note)

    def _settled(
        self, instrument: Instrument, tf: Tf, covered: tuple[datetime, datetime] | None
    ) -> tuple[int, int] | None:
        if covered is None:
            return None
        now = _nanos(self.clock.now())
        forming = int(starts(np.array([now]), tf, instrument)[0])
        until = forming if forming >= 0 else now
        return _nanos(max(covered[0], _FIRST)), min(_nanos(max(covered[1], _FIRST)), until)

    def _series(self, folder: Path) -> KeptSeries | None:
        paths = sorted(p for p in folder.glob("*.parquet") if p.stem.isdigit())
        abouts = [about for path in paths if (about := self._about(path))]
        try:
            symbol, tf = instrument(folder.parent.name), timeframe(folder.name)
        except DeskError:  # not a folder of ours
            return None
        if not abouts:
            return None
        full = [a for a in abouts if a.rows]
        return KeptSeries(
            symbol.symbol,
            tf.name,
            _moment(full[0].first) if full else None,
            _moment(full[-1].last) if full else None,
            sum(a.rows for a in abouts),
            tuple(sorted({name for a in full for name in a.sources})),
            sum(p.stat().st_size for p in paths if p.exists()),
        )


def without(span: Span, taken: Sequence[Span]) -> list[Span]:
    """What is left of `span` once the spans in `taken` (in order, apart from each other) are cut out."""
    left, at = [], span.start
    for start, end in taken:
        if start > at and at < span.end:
            left.append(Span(at, min(start, span.end)))
        at = max(at, end)
    if at < span.end:
        left.append(Span(at, span.end))
    return left


def of_one_source(source: str, rows: int) -> pd.Categorical:
    """The sources of `rows` bars that all come from one."""
    return label(np.zeros(rows, dtype=np.int8), [source])


def _no_sources() -> pd.Categorical:
    return label(np.empty(0, dtype=np.int8), [])


def _cut(file: CandleFile, lo: int, hi: int) -> Rows:
    first, last = np.searchsorted(nanos(file.candles), [lo, hi])
    return file.candles.iloc[first:last], file.sources[first:last]


def _concat(parts: list[Rows]) -> Rows:
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return empty(), _no_sources()
    candles = pd.concat([c for c, _ in parts])
    return candles, union_categoricals([s for _, s in parts])


@functools.cache
def _made_up(source: str) -> bool:
    if not source or source.startswith("simulated"):
        return True
    return source in registry.names("feeds") and bool(registry.part("feeds", source).simulated)


def _lay_over(old: CandleFile, new: pd.DataFrame, source: str) -> tuple[pd.DataFrame, pd.Categorical, Merged]:
    """The old bars with the new ones laid over them, their sources, and the count of what changed."""
    if new.empty:
        return old.candles, old.sources, Merged(0, 0, 0)
    at = old.candles.index.get_indexer(new.index)
    known = at >= 0
    before = np.ascontiguousarray(old.candles.to_numpy()[at[known]]).view(np.int64)
    after = np.ascontiguousarray(new.to_numpy()[known]).view(np.int64)
    differs = np.zeros(len(new), dtype=bool)
    differs[known] = (before != after).any(axis=1)
    result = Merged(int((~known).sum()), int(differs.sum()), int((known & ~differs).sum()))
    fresh = new[~known | differs]
    stays = np.ones(len(old.candles), dtype=bool)
    stays[at[differs]] = False
    if fresh.empty:
        return old.candles, old.sources, result
    kept = old.candles[stays], old.sources[stays]
    joined, sources = _concat([kept, (fresh, of_one_source(source, len(fresh)))])
    order = np.argsort(nanos(joined), kind="stable")
    return joined.iloc[order], sources[order], result


def _years(times: npt.NDArray[np.int64], span: tuple[int, int] | None) -> Iterator[tuple[int, int, int]]:
    """(year, its first nanosecond, the next one's) for all years that the bars or the span touch."""
    years = set((times.view("datetime64[ns]").astype("datetime64[Y]").astype(int) + 1970).tolist())
    if span and span[0] < span[1]:
        years |= set(range(_year(span[0]), _year(span[1] - 1) + 1))
    for year in sorted(years):
        yield year, _nanos(datetime(year, 1, 1, tzinfo=UTC)), _nanos(datetime(year + 1, 1, 1, tzinfo=UTC))


def _union(spans: Iterable[tuple[int, int]]) -> NanoSpans:
    joined: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return tuple(joined)


def _clip(spans: NanoSpans, lo: int, hi: int) -> NanoSpans:
    return tuple((max(a, lo), min(b, hi)) for a, b in spans if max(a, lo) < min(b, hi))


def _spans(spans: NanoSpans) -> tuple[Span, ...]:
    return tuple(Span(_moment(a), _moment(b)) for a, b in spans)


def _year(at: int) -> int:
    return _moment(at).year


def _nanos(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


def _moment(at: int | np.int64) -> datetime:
    return _EPOCH + timedelta(microseconds=int(at) // 1000)
