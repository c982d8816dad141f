"""Your own candles: CSV and Parquet files put into `data/ohlcv/`, read as they are and never changed.

A file that breaks a rule is refused whole, with its row and the rule, and never stops the others.

How its times are read:

- a time with an offset or a Z is taken as it is; a whole number is seconds, milli-, micro- or nanoseconds since
  1970, told apart by its size, UTC;
- a time without a zone is New York for stocks and UTC for crypto. One that the clocks skip or strike twice on the
  night they change is refused;
- a date without a time is a New York session for stocks (its bar opens with that session) and a UTC day for crypto.
  Midnights on every row, without a zone or at New York's own offset, say no more than a date and count as one;
- an intraday stock file with most bars outside 09:30 to 16:00 and too few inside is in a wrong zone: refused.
"""

from __future__ import annotations

import asyncio
import stat
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd

from domain.candles import Timeframe, between, empty, ends, nanos, resample, timeframe
from domain.clock import Clock
from domain.errors import DataError, UnknownName
from domain.instruments import Instrument, instrument
from domain.quotes import Quote
from feeds._own_file import Read, Refusal, Series, from_name, names_symbols, read
from feeds.base import AT_HAND
from settings import Settings

TIME_RULES = (__doc__ or "").partition("How its times are read:")[2].strip()
_SUFFIXES = (".csv", ".parquet")


@dataclass(frozen=True, slots=True)
class Holding:
    """What one file gives: `first` and `last` are the opens of its first and last bars."""

    symbol: str
    timeframe: str
    file: str
    first: datetime
    last: datetime
    rows: int


@dataclass(slots=True)
class _Entry:
    """A file as last seen; `read` is None until somebody needs what is in it."""

    path: Path
    stamp: tuple[int, int]
    symbol: str
    names_symbols: bool = False
    read: Read | None = None


@dataclass(slots=True)
class _Own:
    """All series of one symbol by timeframe, merged over its files; `made` are the coarser ones made from them."""

    stamps: tuple[tuple[str, int, int], ...]
    series: dict[str, pd.DataFrame] = field(default_factory=dict)
    made: dict[str, pd.DataFrame] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class FilesFeed:
    """The user's own files as a feed. Files are read when they are needed and again only when they have changed."""

    name = "files"
    label = "Your files"
    simulated = False
    poll_s = 60.0
    pace = AT_HAND
    limits = "Your own CSV and Parquet files in data/ohlcv: as far back and as fine as they are. No live prices."
    time_rules = TIME_RULES

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self.folder = settings.files_dir
        self.clock = clock
        self._entries: dict[str, _Entry] = {}
        self._own: dict[str, _Own] = {}
        self._lock = threading.RLock()

    async def candles(self, instrument: Instrument, tf: Timeframe, start: datetime, end: datetime) -> pd.DataFrame:
        """Closed bars from the file of that timeframe, else made from the finest one that divides it.

        UnknownName: no file holds the symbol; DataError: the only file that does is refused.
        """
        return between(await asyncio.to_thread(self.all_bars, instrument, tf), start, end)

    async def quotes(self, instruments: Sequence[Instrument]) -> dict[str, Quote]:
        """The last close of each symbol's finest file, with that bar's own closing time: it may be years old."""
        found = await asyncio.to_thread(lambda: [self._quote(i) for i in instruments])
        return {quote.symbol: quote for quote in found if quote}

    async def close(self) -> None:
        """Nothing to give back."""

    def all_bars(self, instrument: Instrument, tf: Timeframe) -> pd.DataFrame:
        """Every closed bar of the files, own or resampled; empty where they have nothing as fine as `tf`."""
        with self._lock:
            own = self._series_of(instrument)
            if not own.series:
                self._say_why(instrument)
            found = own.series.get(tf.name)
            if found is None:
                found = own.made.get(tf.name)
            if found is None:
                found = own.made[tf.name] = _coarser(own.series, tf, instrument)
        return self._closed(found, tf, instrument)

    def holds(self, instrument: Instrument, tf: Timeframe | None = None) -> bool:
        """Whether the files have this symbol, in this timeframe (own or resampled) where one is given."""
        series = self._series_of(instrument).series
        return bool(series) and (tf is None or not self.all_bars(instrument, tf).empty)

    def symbols(self) -> list[str]:
        """Every symbol that an accepted file holds."""
        return sorted({h.symbol for h in self.holdings()})

    def holdings(self) -> list[Holding]:
        """What each accepted file gives, by symbol, timeframe and file."""
        with self._lock:
            entries = self._scan()
            lines = [
                Holding(s.symbol, s.tf.name, e.path.name, _moment(s.candles, 0), _moment(s.candles, -1), len(s.candles))
                for e in entries
                for s in self._content(e).series
            ]
        return sorted(lines, key=lambda h: (h.symbol, timeframe(h.timeframe).seconds, h.file))

    def refused(self) -> list[Refusal]:
        """Every file that is not used, and why."""
        with self._lock:
            reads = [self._content(entry) for entry in self._scan()]
        return [read.refusal for read in reads if read.refusal]

    def refusals_of(self, instrument: Instrument) -> list[Refusal]:
        """The refused files that are named after this symbol."""
        with self._lock:
            reads = [self._content(e) for e in self._scan() if e.symbol == instrument.symbol]
        return [read.refusal for read in reads if read.refusal]

    def notes(self) -> list[str]:
        """What is worth knowing about files that are used: overlaps, doubtful names, bars still forming."""
        with self._lock:
            remarks = [note for entry in self._scan() for note in self._content(entry).notes]
            symbols = sorted({s.symbol for e in self._entries.values() for s in self._content(e).series})
            for symbol in symbols:
                own = self._series_of(instrument(symbol))
                remarks += own.notes
                remarks += self._still_forming(own, instrument(symbol))
        return remarks

    def _scan(self) -> list[_Entry]:
        """The folder as it is now, in the order of names; what was read stays while its file is unchanged."""
        fresh: dict[str, _Entry] = {}
        for path in sorted(self.folder.iterdir()) if self.folder.is_dir() else []:
            if path.suffix.lower() not in _SUFFIXES or path.name.startswith("."):
                continue
            stamp, known = _stamp(path), self._entries.get(path.name)
            if stamp is None:
                continue
            fresh[path.name] = known if known and known.stamp == stamp else _entry(path, stamp)
        self._entries = fresh
        return list(fresh.values())

    def _content(self, entry: _Entry) -> Read:
        if entry.read is None:
            entry.read = read(entry.path, self.folder, entry.symbol)
        return entry.read

    def _series_of(self, wanted: Instrument) -> _Own:
        with self._lock:
            entries = [e for e in self._scan() if e.symbol == wanted.symbol or e.names_symbols]
            stamps = tuple((e.path.name, *e.stamp) for e in entries)
            known = self._own.get(wanted.symbol)
            if known is None or known.stamps != stamps:
                parts = [(e.path.name, s) for e in entries for s in self._content(e).series]
                known = _merged(stamps, [(name, s) for name, s in parts if s.symbol == wanted.symbol])
                self._own[wanted.symbol] = known
            return known

    def _say_why(self, wanted: Instrument) -> None:
        """Raise what keeps this symbol from being shown."""
        for refusal in self.refusals_of(wanted):
            raise DataError(refusal.message)
        raise UnknownName.of("symbol in your files", wanted.symbol, self.symbols())

    def _closed(self, found: pd.DataFrame, tf: Timeframe, of: Instrument) -> pd.DataFrame:
        now = pd.Timestamp(self.clock.now()).value
        if found.empty or ends(nanos(found)[-1:], tf, of)[0] <= now:
            return found
        return found[ends(nanos(found), tf, of) <= now]

    def _still_forming(self, own: _Own, of: Instrument) -> list[str]:
        counts = {n: len(f) - len(self._closed(f, timeframe(n), of)) for n, f in own.series.items()}
        return [f"{of.symbol} {n}: {c} bars have not closed yet and are left out" for n, c in counts.items() if c]

    def _quote(self, wanted: Instrument) -> Quote | None:
        """From the bar that closed last; of two that closed together, from the finer one."""
        newest: tuple[int, Timeframe, pd.DataFrame] | None = None
        for tf in sorted(map(timeframe, self._series_of(wanted).series), key=lambda t: t.seconds):
            bars = self.all_bars(wanted, tf)
            closed = int(ends(nanos(bars)[-1:], tf, wanted)[0]) if len(bars) else 0
            if closed and (newest is None or closed > newest[0]):
                newest = closed, tf, bars
        if newest is None:
            return None
        closed, tf, bars = newest
        return Quote(
            wanted.symbol,
            datetime.fromtimestamp(closed // 10**9, tz=UTC),
            Decimal(repr(float(bars["close"].iloc[-1]))),
            self.name,
            volume=float(bars["volume"].iloc[-1]) if tf.daily else 0.0,
            previous_close=self._previous_close(wanted, int(nanos(bars)[-1])),
        )

    def _previous_close(self, wanted: Instrument, bar: int) -> Decimal | None:
        """The last daily close of a session before the one that `bar` belongs to."""
        daily = self.all_bars(wanted, timeframe("1d"))
        calendar = wanted.calendar
        before = calendar.locate(nanos(daily))[0] < calendar.locate(np.array([bar]))[0][0]
        return Decimal(repr(float(daily["close"].to_numpy()[before][-1]))) if before.any() else None


def _stamp(path: Path) -> tuple[int, int] | None:
    """When the file changed and how long it is; None for a folder or a file that went away meanwhile."""
    try:
        info = path.lstat() if path.is_symlink() and not path.exists() else path.stat()
    except OSError:
        return None
    return None if stat.S_ISDIR(info.st_mode) else (info.st_mtime_ns, info.st_size)


def _entry(path: Path, stamp: tuple[int, int]) -> _Entry:
    symbol, _ = from_name(path)
    return _Entry(path, stamp, symbol, names_symbols=names_symbols(path, stamp))


def _merged(stamps: tuple[tuple[str, int, int], ...], parts: Iterable[tuple[str, Series]]) -> _Own:
    """One frame a timeframe: where two files have the same bar, the one whose name comes first is used."""
    own, notes, origin = _Own(stamps), [], {}
    for name, part in parts:
        there = own.series.get(part.tf.name)
        if there is None:
            own.series[part.tf.name], origin[part.tf.name] = part.candles, name
            continue
        shared = part.candles.index.intersection(there.index)
        if len(shared):
            differ = int((part.candles.loc[shared].to_numpy() != there.loc[shared].to_numpy()).any(axis=1).sum())
            notes.append(
                f"{origin[part.tf.name]} and {name} share {len(shared)} bars of {part.symbol} {part.tf.name}, "
                f"{differ} of them differ: those of {origin[part.tf.name]} are used"
            )
        own.series[part.tf.name] = pd.concat([there, part.candles.drop(index=shared)]).sort_index()
    own.notes = tuple(notes)
    return own


def _coarser(series: dict[str, pd.DataFrame], tf: Timeframe, of: Instrument) -> pd.DataFrame:
    """Bars of `tf` made from all finer series that divide it; where several can, from the finest."""
    finer = [t for t in map(timeframe, series) if t.seconds < tf.seconds and tf.seconds % t.seconds == 0]
    made = empty()
    for source in sorted(finer, key=lambda t: t.seconds):
        bars = series[source.name]
        complete = int(ends(nanos(bars)[-1:], source, of)[0])
        until = datetime.fromtimestamp(complete // 10**9, tz=UTC)
        more = resample(bars, tf, of, until=until)
        made = pd.concat([made, more[~more.index.isin(made.index)]]).sort_index() if len(made) else more
    return made


def _moment(found: pd.DataFrame, at: int) -> datetime:
    return datetime.fromtimestamp(int(nanos(found)[at]) // 10**9, tz=UTC)


PART = FilesFeed
