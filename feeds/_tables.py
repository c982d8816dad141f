"""Tables that people and servers hand over, made into candle frames: header words, times, numbers.

Whatever cannot be read is refused with its row and the rule it breaks (`TableError`); nothing is guessed.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from domain.calendars import NEW_YORK
from domain.candles import COLUMNS, Timeframe, expected, frame, session_times
from domain.errors import DataError
from domain.instruments import Instrument

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

# What a header may call each column, the most telling word first. `adj close` is no close and is not listed.
WORDS: dict[str, tuple[str, ...]] = {
    "time": ("timestamp", "datetime", "open_time", "time", "date", "t", "__index_level_0__"),
    "open": ("open", "o"),
    "high": ("high", "h"),
    "low": ("low", "l"),
    "close": ("close", "c"),
    "volume": ("volume", "vol", "v"),
    "symbol": ("symbol", "ticker"),
    "source": ("source",),
}
_DAY = 86_400_000_000_000
_DATE = r"^\d{4}-\d{2}-\d{2}$"
_MOMENT = r"^\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}(:?\d{2})?)?$"
_NUMBERS = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_null)
_OFFSET = r":\d{2}(\.\d+)?(Z|[+-]\d{2}(:?\d{2})?)$"


class TableError(DataError):
    """One broken rule: `row` is the position among the table's rows, -1 where the whole table is meant.

    `line` is the row as a person counts it, where only the reader of the file knew it.
    """

    def __init__(self, row: int, rule: str, found: str, line: int = 0) -> None:
        self.row, self.rule, self.found, self.line = row, rule, found, line
        super().__init__(f"{f'row {row + 1}: ' if row >= 0 else ''}{rule}: {found}")


@dataclass(frozen=True, slots=True)
class RawTable:
    """Columns by our names, unread, and for each row the number a person finds it under (a CSV's line)."""

    columns: Mapping[str, pa.Array]
    rows: Ints

    def take(self, positions: Ints) -> RawTable:
        return RawTable({k: v.take(pa.array(positions)) for k, v in self.columns.items()}, self.rows[positions])


@dataclass(frozen=True, slots=True)
class Times:
    """Times as written: nanoseconds on their own clock, and which rows carry a zone or are a mere date."""

    nanos: Ints
    aware: Mask
    dated: Mask

    @property
    def all_dates(self) -> bool:
        """Only dates, or only naive midnights, which say no more than a date."""
        return bool(self.dated.all()) or bool(not self.aware.any() and (self.nanos % _DAY == 0).all())


def name_columns(header: Sequence[str]) -> dict[str, int]:
    """The position of each of our columns in `header`: case, spaces and a leading `1.` do not matter."""
    said = [re.sub(r"[\s\-]+", "_", re.sub(r"^\d+\.\s*", "", name.strip().lower())) for name in header]
    found: dict[str, int] = {}
    for column, words in WORDS.items():
        at = [i for word in words for i, name in enumerate(said) if name == word]
        if len(at) > 1 and column != "time":
            raise TableError(-1, "two columns", f"{' and '.join(header[i] for i in at)} both mean {column}")
        if at:
            found[column] = at[0]
    missing = [c for c in ("time", *COLUMNS) if c not in found]
    if missing:
        raise TableError(-1, "missing column", f"{', '.join(missing)}; the header says {', '.join(header)}"[:300])
    if "date" in said and "time" in said:
        raise TableError(-1, "two columns", "date and time apart: write both in one column, as 2024-01-31 09:30")
    return found


def csv_header(first_line: str) -> tuple[list[str], str]:
    """The names in a header line and the delimiter: comma, semicolon or tab, whichever is there most."""
    delimiter = max(",;\t", key=first_line.count)
    return next(csv.reader([first_line.strip("\ufeff\r\n")], delimiter=delimiter), []), delimiter


def read_csv(data: bytes) -> RawTable:
    """The columns we know of a CSV, as text. Line numbers are those that an editor shows."""
    if not data.strip():
        raise TableError(-1, "empty file", "there is nothing in it")
    if b"\0" in data[:1_000_000]:
        raise TableError(-1, "not a text file", "save it as CSV, UTF-8")
    body = data.removeprefix(b"\xef\xbb\xbf")
    above = len(body) - len(body.lstrip(b"\r\n"))
    skipped = body[:above].count(b"\n")
    body = body[above:]
    try:
        header, delimiter = csv_header(body.split(b"\n", 1)[0].decode("utf-8"))
    except UnicodeDecodeError as error:
        raise TableError(-1, "not UTF-8", f"{error.reason}: save it as CSV, UTF-8") from None
    wanted = name_columns(header)
    table = _parse_csv(body, header, wanted, delimiter, skipped)
    columns = {c: table.column(f"c{at}").combine_chunks() for c, at in wanted.items()}
    return RawTable(columns, _lines(body, table.num_rows) + skipped)


def read_times(column: pa.Array) -> Times:
    """Times of any usual kind. TableError `no time`, `not a time` names the first row that is neither."""
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise TableError(row, "no time", "the time is missing")
    if pa.types.is_timestamp(kind):
        return _times(_cast(column, pa.timestamp("ns", kind.tz), "not a time"), aware=kind.tz is not None)
    if pa.types.is_date(kind):
        return _times(_cast(column, pa.timestamp("ns"), "not a time"), dated=True)
    if pa.types.is_integer(kind):
        return _times(_epoch(column.cast(pa.int64()).to_numpy()), aware=True)
    if pa.types.is_floating(kind):
        values = column.to_numpy()
        if odd := np.flatnonzero(values != np.floor(values)).tolist():
            raise TableError(odd[0], "not a time", f"{values[odd[0]]:g}")
        return _times(_epoch(values.astype(np.int64)), aware=True)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _text_times(column.cast(pa.string()))
    raise TableError(-1, "not a time", f"the time column holds {kind}")


def read_numbers(column: pa.Array, name: str) -> Floats:
    """A column as float64, exact; an empty cell is NaN. TableError `not a number` names the first other row."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        text = pc.utf8_trim_whitespace(column)
        column = pc.if_else(pc.equal(text, ""), pa.scalar(None, text.type), text)
    elif not any(is_kind(column.type) for is_kind in _NUMBERS):
        raise TableError(-1, "not a number", f"column {name} holds {column.type}")
    values: Floats = np.array(
        _cast(column, pa.float64(), "not a number", name).to_numpy(zero_copy_only=False), dtype=np.float64
    )
    return values


def to_utc(
    times: Times,
    instrument: Instrument,
    *,
    daily: bool | None,
    naive: Literal["exchange", "UTC"] = "exchange",
) -> Ints:
    """Times as UTC nanoseconds of the bar's open. `daily` None means that this is not known yet.

    A time with a zone is taken as it is. A naive one is on the exchange's clock (or UTC). A date, and in a daily
    table a midnight on every row, is that day's session: its open for stocks, the UTC day for crypto.
    """
    if daily is not False and (times.all_dates or _all_midnights(times, instrument)):
        return _days(times, instrument)
    if times.dated.any():
        row = int(np.flatnonzero(times.dated)[0])
        raise TableError(row, "no time of day", "a date alone does not say when an intraday bar opens")
    zone_given = times.aware | (naive == "UTC") | instrument.is_crypto
    if zone_given.all():
        return times.nanos
    return np.where(zone_given, times.nanos, _from_new_york(times.nanos, ~zone_given))


def candles(table: RawTable, times: Ints) -> pd.DataFrame:
    """The table's numbers at `times` as a candle frame, unchecked."""
    return frame(times, {c: read_numbers(table.columns[c], c) for c in COLUMNS})


def _times(values: pa.Array | Ints, *, aware: bool = False, dated: bool = False) -> Times:
    nanos = values if isinstance(values, np.ndarray) else values.cast(pa.int64()).to_numpy()
    return Times(nanos, np.full(len(nanos), aware), np.full(len(nanos), dated))


def _text_times(column: pa.Array) -> Times:
    text = pc.utf8_trim_whitespace(column)
    if bool(pc.all(pc.match_substring_regex(text, r"^\d{9,19}$")).as_py()):
        return _times(_epoch(text.cast(pa.int64()).to_numpy()), aware=True)
    text = pc.replace_substring_regex(text, r"^(\d{4})/(\d{2})/(\d{2})", r"\1-\2-\3")
    text = pc.replace_substring_regex(text, r"^((?:19|20)\d{2})(\d{2})(\d{2})$", r"\1-\2-\3")
    text = pc.replace_substring_regex(text, r"(?i)\s*(UTC|GMT|Z)$", "Z")
    text = pc.replace_substring_regex(text, r"\s+([+-]\d{2}:?\d{0,2})$", r"\1")
    dated = pc.match_substring_regex(text, _DATE).to_numpy(zero_copy_only=False)
    known = dated | pc.match_substring_regex(text, _MOMENT).to_numpy(zero_copy_only=False)
    if not known.all():
        row = int(np.flatnonzero(~known)[0])
        found = str(column[row].as_py())[:40]
        if not found.strip():
            raise TableError(row, "no time", "the time is missing")
        raise TableError(row, "not a time", f"{found!r}: write it as 2024-01-31 or 2024-01-31 09:30:00")
    aware = pc.match_substring_regex(text, _OFFSET).to_numpy(zero_copy_only=False)
    nanos = np.empty(len(text), dtype=np.int64)
    for which, zone in ((aware, "UTC"), (~aware, None)):
        if which.any():
            at = np.flatnonzero(which)
            part = _cast(text.take(pa.array(at)), pa.timestamp("ns", zone), "not a time", positions=at)
            nanos[at] = part.cast(pa.int64()).to_numpy()
    return Times(nanos, aware, dated)


def _epoch(values: Ints) -> Ints:
    """Seconds, milli-, micro- or nanoseconds since 1970, told apart by their size."""
    if odd := np.flatnonzero((values < 10**8) | (values > 4 * 10**18)).tolist():
        raise TableError(odd[0], "not a time", f"{values[odd[0]]} is no epoch time")
    sizes = [values < 10**11, values < 10**14, values < 10**17]
    return values * np.select(sizes, [10**9, 10**6, 10**3], 1).astype(np.int64)


def _all_midnights(times: Times, instrument: Instrument) -> bool:
    """Every row is a midnight in New York by its own zone: an instant that names a day of a stock's exchange."""
    if instrument.is_crypto or not times.aware.all() or not len(times.nanos):
        return False
    local = pd.DatetimeIndex(times.nanos, tz="UTC").tz_convert(NEW_YORK)
    return bool((local == local.normalize()).all())


def _days(times: Times, instrument: Instrument) -> Ints:
    days = times.nanos.view("datetime64[ns]").astype("datetime64[D]")
    if times.aware.any() and not instrument.is_crypto:
        local = pd.DatetimeIndex(times.nanos, tz="UTC").tz_convert(NEW_YORK).tz_localize(None)
        days = local.to_numpy().astype("datetime64[D]")
    if instrument.is_crypto:
        return days.astype("datetime64[ns]").astype(np.int64)
    opens = session_times(days, instrument)
    if closed := np.flatnonzero(opens < 0).tolist():
        raise TableError(closed[0], "no session that day", f"{days[closed[0]]}: the exchange was closed")
    return opens


def _from_new_york(nanos: Ints, used: Mask) -> Ints:
    wall = pd.DatetimeIndex(nanos.view("datetime64[ns]"))
    zoned = wall.tz_localize(NEW_YORK, ambiguous="NaT", nonexistent="NaT")
    if lost := np.flatnonzero(np.asarray(zoned.isna()) & used).tolist():
        row = lost[0]
        twice = wall[row : row + 1].tz_localize(NEW_YORK, ambiguous=np.array([True]), nonexistent="NaT")
        rule = "time that never was" if twice.isna()[0] else "ambiguous time"
        raise TableError(row, rule, f"{wall[row]} New York, on a night the clocks change: add its offset")
    return zoned.as_unit("ns").asi8


def _cast(column: pa.Array, to: pa.DataType, rule: str, name: str = "", positions: Ints | None = None) -> pa.Array:
    """`column` cast to `to`; the first cell that cannot be is found by halving, and named."""
    attempt: Callable[[pa.Array], pa.Array] = lambda part: part.cast(to, safe=not pa.types.is_integer(part.type))  # noqa: E731
    try:
        return attempt(column)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        low, high = 0, len(column)
        while high - low > 1:
            middle = (low + high) // 2
            try:
                attempt(column.slice(low, middle - low))
                low = middle
            except pa.ArrowInvalid:
                high = middle
        row = low if positions is None else int(positions[low])
        found = f"{name + ' ' if name else ''}{str(column[low].as_py())[:40]!r}"
        raise TableError(row, rule, found) from None


def _parse_csv(body: bytes, header: list[str], wanted: Mapping[str, int], delimiter: str, skipped: int) -> pa.Table:
    names = [f"c{i}" for i in range(len(header))]
    kept = [f"c{at}" for at in wanted.values()]
    convert = pa_csv.ConvertOptions(include_columns=kept, column_types=dict.fromkeys(kept, pa.string()))
    ragged: list[Any] = []

    def note(row: Any) -> str:
        ragged.append(row)
        return "error"

    def parse(use_threads: bool) -> pa.Table:
        read = pa_csv.ReadOptions(column_names=names, skip_rows=1, use_threads=use_threads)
        shape = pa_csv.ParseOptions(delimiter=delimiter, invalid_row_handler=note)
        return pa_csv.read_csv(pa.BufferReader(body), read, shape, convert)

    try:
        return parse(use_threads=True)
    except pa.ArrowInvalid as error:
        if "UTF8" in str(error):
            raise TableError(-1, "not UTF-8", "save it as CSV, UTF-8") from None
        if not ragged:
            raise TableError(-1, "not a CSV", "no rows under its header") from None
        ragged.clear()
    try:
        return parse(use_threads=False)
    except pa.ArrowInvalid as error:
        if not ragged or ragged[0].number is None:
            raise TableError(-1, "not a CSV", str(error)[:200]) from None
        row = ragged[0]
        found = f"{row.actual_columns} cells where the header has {row.expected_columns}"
        line = int(_lines(body, row.number)[row.number - 2]) + skipped
        raise TableError(row.number - 2, "wrong number of cells", found, line) from None


def _lines(body: bytes, rows: int) -> Ints:
    """The line of each row: the header is line 1, and blank lines count as an editor counts them."""
    if b"\n\n" not in body and b"\n\r\n" not in body:
        return np.arange(rows, dtype=np.int64) + 2
    full = [i + 1 for i, line in enumerate(body.split(b"\n")) if line.strip(b"\r")]
    return np.array(full[1 : rows + 1], dtype=np.int64)


def refuse_wrong_zone(times: Ints, tf: Timeframe, of: Instrument, *, naive: bool) -> None:
    """Most bars outside regular hours, and less than two thirds of the regular bars due: a wrong zone. Due are those
    between the file's first and last bar, so that one that breaks off on a morning is not blamed for its last day;
    a file of one day is held to the whole day."""
    session, phase = of.calendar.locate(times)
    if (phase == 2).mean() >= 0.5:
        return
    days = np.unique(np.clip(session, 0, None))
    s = of.calendar.sessions
    first, last = (s.open[days[0]], s.close[days[0]]) if len(days) == 1 else (times.min(), times.max() + 1)
    due = len(expected(_moment(first), _moment(last), tf, of))
    if (phase == 2).sum() < due * 2 / 3:
        share = f"{(phase == 2).mean():.0%} of its bars are in regular hours"
        naive_cure = "times without a zone are New York; is it UTC? then add a Z"
        cure = naive_cure if naive else "are its times really in the zone they name?"
        raise TableError(-1, "wrong zone", f"{share}: {cure}")


def _moment(nanos: np.int64) -> datetime:
    return datetime.fromtimestamp(int(nanos) / 10**9, tz=UTC)
