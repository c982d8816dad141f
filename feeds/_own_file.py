"""One of the user's files: what its name says, what may be opened, and its rows as checked candles or a refusal."""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from domain.candles import TIMEFRAMES, Timeframe, faults
from domain.errors import DataError
from domain.instruments import Instrument, instrument
from feeds._tables import (
    RawTable,
    TableError,
    candles,
    csv_header,
    name_columns,
    read_csv,
    read_times,
    refuse_wrong_zone,
    to_utc,
)

MOST_BYTES = 512 * 1024 * 1024
MOST_ROWS = 20_000_000
_SAID = re.compile(r"\d+(m|min|minutes?|h|hours?|d|days?|w|weeks?|mo)|hourly|daily|weekly|monthly|d|day")
_ALSO = {
    "1min": "1m", "1minute": "1m", "5min": "5m", "5minutes": "5m", "15min": "15m", "15minutes": "15m",
    "60m": "1h", "60min": "1h", "1hour": "1h", "hourly": "1h", "240m": "4h", "4hours": "4h", "4hour": "4h",
    "1day": "1d", "daily": "1d", "day": "1d", "d": "1d",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Refusal:
    """A file that is not used: `row` as a person finds it (a CSV's line), 0 where the whole file is meant."""

    file: str
    row: int
    rule: str
    message: str


@dataclass(frozen=True, slots=True)
class Series:
    symbol: str
    tf: Timeframe
    candles: pd.DataFrame


@dataclass(frozen=True, slots=True)
class Read:
    """What came of one file: its series or its refusal, and remarks."""

    series: tuple[Series, ...] = ()
    refusal: Refusal | None = None
    notes: tuple[str, ...] = ()


def names_symbols(path: Path, stamp: tuple[int, int]) -> bool:
    """Whether the header names a symbol column; a file that cannot be opened says no and is refused when read."""
    try:
        if not path.is_file() or path.is_symlink() or stamp[1] > MOST_BYTES:
            return False
        if path.suffix.lower() == ".parquet":
            header = pq.read_schema(path).names
        else:
            with path.open("rb") as file:
                header, _ = csv_header(file.read(65_536).lstrip(b"\xef\xbb\xbf\r\n").split(b"\n", 1)[0].decode())
        return "symbol" in name_columns(header)
    except (OSError, ValueError, pa.ArrowException):
        return False


def from_name(path: Path) -> tuple[str, str]:
    """Symbol and timeframe that a file's name tells: `BTCUSDT_1h.csv`, `aapl-1d.parquet`; '' where it does not.

    The leading word is the symbol. A dash may be part of it (`BRK-B`), unless a timeframe or a number follows.
    """
    head, *rest = re.split(r"[_\s]+", path.stem)
    words = head.split("-")
    cut = next((i for i, w in enumerate(words) if i and (_SAID.fullmatch(w.lower()) or w.isdigit())), len(words))
    tokens = [*words[cut:], *(w for part in rest for w in part.split("-"))]
    said = next((t for t in tokens if _SAID.fullmatch(t.lower())), "")
    try:
        return instrument("-".join(words[:cut])).symbol, "1mo" if said == "1M" else said.lower()
    except DataError:
        return "", said.lower()


def read(path: Path, folder: Path, symbol: str) -> Read:
    raw: RawTable | None = None
    try:
        raw = _open(path, folder)
        _refuse_made_up(raw, path)
        notes: list[str] = []
        named = _named_timeframe(path)
        parts = _by_symbol(raw, symbol, path)
        series = tuple(_series(part, of, named, path, notes) for of, part in parts)
        return Read(series, notes=tuple(notes))
    except TableError as error:
        rows = raw.rows if raw else np.arange(2, dtype=np.int64)
        row = error.line or (int(rows[error.row]) if 0 <= error.row < len(rows) else 0)
        unit = "line" if path.suffix.lower() == ".csv" else "row"
        place = f", {unit} {row}" if row else ""
        message = f"{path.name}{place}: {error.rule}: {error.found}"
        return Read(refusal=Refusal(path.name, row, error.rule, message))


def _refuse_made_up(raw: RawTable, path: Path) -> None:
    """Simulated candles that were saved stay what they are: read as somebody's own they would pass for real ones."""
    rule, cure = "simulated prices", "these candles were made up by the simulated market; only real ones belong here"
    if "simulated" in path.stem.lower():
        raise TableError(-1, rule, cure)
    if (told := raw.columns.get("source")) is not None and len(told):
        texts = pc.utf8_lower(pc.cast(told, pa.string()))
        made_up = pc.fill_null(pc.match_substring(texts, "simulated"), False)
        if pc.any(made_up).as_py():
            raise TableError(int(pc.index(made_up, True).as_py()), rule, cure)


def _open(path: Path, folder: Path) -> RawTable:
    """The file's columns as they are; TableError for anything that should not be opened or cannot be read."""
    try:
        if not path.resolve(strict=True).is_relative_to(folder.resolve()):
            raise TableError(-1, "outside the folder", "a link that leads elsewhere is not followed")
        info = path.stat()
        if not stat.S_ISREG(info.st_mode):
            raise TableError(-1, "not a file", "only plain files are read")
        if info.st_size > MOST_BYTES:
            raise TableError(-1, "too large", f"{info.st_size >> 20} MiB; at most {MOST_BYTES >> 20} MiB are read")
        return read_csv(path.read_bytes()) if path.suffix.lower() == ".csv" else _open_parquet(path)
    except (OSError, RuntimeError) as error:  # RuntimeError: links in a circle
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)[:160]
        raise TableError(-1, "cannot be opened", reason or type(error).__name__) from None


def _open_parquet(path: Path) -> RawTable:
    try:
        file = pq.ParquetFile(path)
        if file.metadata.num_rows > MOST_ROWS:
            raise TableError(-1, "too large", f"{file.metadata.num_rows:,} rows; at most {MOST_ROWS:,} are read")
        header = file.schema_arrow.names
        wanted = name_columns(header)
        table = file.read(columns=[header[at] for at in wanted.values()])
    except (pa.ArrowException, OSError) as error:
        raise TableError(-1, "not Parquet", str(error)[:160]) from None
    if not table.num_rows:
        raise TableError(-1, "empty file", "there is no row in it")
    columns = {c: table.column(header[at]).combine_chunks() for c, at in wanted.items()}
    return RawTable(columns, np.arange(1, table.num_rows + 1, dtype=np.int64))


def _named_timeframe(path: Path) -> Timeframe | None:
    said = from_name(path)[1]
    name = _ALSO.get(said, said)
    if said and name not in TIMEFRAMES:
        raise TableError(-1, "unknown timeframe", f"{said}: there are {', '.join(TIMEFRAMES)}")
    return TIMEFRAMES[name] if said else None


def _by_symbol(raw: RawTable, symbol: str, path: Path) -> list[tuple[Instrument, RawTable]]:
    if not len(raw.rows):
        raise TableError(-1, "empty file", "there is no row under its header")
    if "symbol" not in raw.columns:
        if not symbol:
            raise TableError(-1, "no symbol", f"name the file after it, such as AAPL_1d{path.suffix.lower()}")
        return [(instrument(symbol), raw)]
    codes, names = pd.factorize(pd.array(raw.columns["symbol"].to_pylist(), dtype=object))
    missing = [int(np.argmax(codes < 0))] if (codes < 0).any() else []
    if missing:
        raise TableError(missing[0], "no symbol", "the symbol is missing")
    parts: dict[str, list[int]] = {}
    for code, name in enumerate(names):
        try:
            parts.setdefault(instrument(str(name)).symbol, []).append(code)
        except DataError as error:
            raise TableError(int(np.argmax(codes == code)), "not a symbol", str(error)) from None
    return [(instrument(s), raw.take(np.flatnonzero(np.isin(codes, which)))) for s, which in parts.items()]


def _series(raw: RawTable, of: Instrument, named: Timeframe | None, path: Path, notes: list[str]) -> Series:
    try:
        return _checked(raw, of, named, path, notes)
    except TableError as error:  # rows of one symbol among others: their own numbers, not their positions
        line = error.line or (int(raw.rows[error.row]) if 0 <= error.row < len(raw.rows) else 0)
        raise TableError(error.row, error.rule, error.found, line) from None


def _checked(raw: RawTable, of: Instrument, named: Timeframe | None, path: Path, notes: list[str]) -> Series:
    written = read_times(raw.columns["time"])
    times = to_utc(written, of, daily=named.daily if named else None)
    if len(times) > 1 and (np.diff(times) < 0).all():  # newest first
        order = np.arange(len(times) - 1, -1, -1)
        raw, times = raw.take(order), times[order]
    tf = named or (TIMEFRAMES["1d"] if written.all_dates and len(np.unique(times)) < 2 else _usual_spacing(times, of))
    if named and len(times) > 1 and (usual := _try_spacing(times, of)) not in (None, named):
        notes.append(f"{path.name}: its name says {named.name}, most of its bars are {usual and usual.name} apart")
    if not tf.daily and not of.is_crypto:
        refuse_wrong_zone(times, tf, of, naive=not written.aware.all())
    found = candles(raw, times)
    if wrong := faults(found, of, tf):
        more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
        line = int(raw.rows[wrong[0].row]) if wrong[0].row >= 0 else 0
        raise TableError(wrong[0].row, wrong[0].rule, wrong[0].found + more, line)
    return Series(of.symbol, tf, found)


def _try_spacing(times: npt.NDArray[np.int64], of: Instrument) -> Timeframe | None:
    try:
        return _usual_spacing(times, of)
    except TableError:
        return None


def _usual_spacing(times: npt.NDArray[np.int64], of: Instrument) -> Timeframe:
    """The timeframe whose length is the most common distance between bars of one session."""
    times = np.unique(times)
    step, sessions = np.diff(times), np.diff(of.calendar.locate(times)[0])
    same = np.ones(len(step), dtype=bool) if of.is_crypto else sessions == 0
    if not len(step):
        raise TableError(-1, "unknown timeframe", "too few bars to tell: say it in the name, such as AAPL_1d.csv")
    if not of.is_crypto and same.mean() < 0.25:
        seconds = 86_400 * _most_common(sessions[sessions > 0])
    else:
        seconds = _most_common(step[same]) // 10**9
    found = next((t for t in TIMEFRAMES.values() if t.seconds == seconds), None)
    if found is None:
        spacing = f"{seconds // 60} minutes" if seconds < 86_400 else f"{seconds // 86_400} days"
        raise TableError(-1, "unknown timeframe", f"its bars are {spacing} apart: there are {', '.join(TIMEFRAMES)}")
    return found


def _most_common(values: npt.NDArray[np.int64]) -> int:
    found, counts = np.unique(values, return_counts=True)
    return int(found[np.argmax(counts)]) if len(found) else 0
