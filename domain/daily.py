"""Equity a bar, made equity a day: the last mark of each day, begun by the starting equity."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from domain.errors import DataError

Floats = npt.NDArray[np.float64]
Days = npt.NDArray[np.datetime64]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Daily:
    """`equity[0]` is the start, one more value a period after it; `days` are their dates and `rows` their rows in the
    series, both None without times."""

    equity: Floats
    days: Days | None
    rows: Rows | None = None

    @property
    def returns(self) -> Floats:
        return self.equity[1:] / self.equity[:-1] - 1.0

    @property
    def n(self) -> int:
        return max(0, len(self.equity) - 1)

    def years(self, periods: int) -> float:
        """By the calendar; without times by the number of periods."""
        if self.days is None:
            return self.n / periods
        return self.calendar_days(0, -1) / 365.25 if len(self.days) else 0.0

    def calendar_days(self, first: int, last: int) -> int:
        assert self.days is not None
        return int((self.days[last] - self.days[first]).astype(np.int64))


def daily(equity: pd.Series, zone: str = "America/New_York", market: Days | None = None) -> Daily:
    """The first row as the start, then the last row of each day in `zone`.

    `market` are the dates of a market, for accounts that trade on other days too: a weekend's mark counts on the next
    of them. A series without times has a period a row. DataError names a row that is no number or out of order.
    """
    values = check_equity(equity)
    index = equity.index
    if not isinstance(index, pd.DatetimeIndex):
        return Daily(values, None)
    if not len(values):
        return Daily(values, np.empty(0, "datetime64[D]"))
    rows, days = last_rows(index, zone, market)
    if rows[0] == 0:  # the start is alone on its day
        return Daily(values[rows], days, rows)
    rows = np.concatenate([[0], rows])
    return Daily(values[rows], np.concatenate([days[:1], days]), rows)


def last_rows(index: pd.DatetimeIndex, zone: str, market: Days | None = None) -> tuple[Rows, Days]:
    """The last row of each day that has any, and those days. The index may repeat a time but never go back."""
    times = index.asi8 if index.unit == "ns" else index.as_unit("ns").asi8
    falls = times[1:] < times[:-1]
    if times[0] == pd.NaT.value or falls.any():
        if index.hasnans:
            raise DataError(f"equity: row {int(np.flatnonzero(index.isna())[0])} has no time")
        back = int(np.flatnonzero(falls)[0]) + 1
        raise DataError(f"equity: row {back} ({index[back]}) lies before the row above it")
    local = index[[0, -1]].tz_convert(zone) if index.tz else index[[0, -1]]
    first, last = local.tz_localize(None).to_numpy().astype("datetime64[D]")
    days = np.arange(first, last + 1)
    ends = _midnights(days + 1, zone if index.tz else None)
    rows = np.searchsorted(times, ends) - 1
    filled = np.diff(rows, prepend=-1) > 0
    rows, days = rows[filled], days[filled]
    if market is None:
        return rows, days
    groups = np.searchsorted(np.asarray(market, dtype="datetime64[D]"), days)
    newest = np.diff(groups, append=-1) != 0
    return rows[newest], days[newest]


def _midnights(days: Days, zone: str | None) -> Rows:
    """The first moment of each day, in UTC nanoseconds."""
    starts = pd.DatetimeIndex(days.astype("datetime64[ns]"))
    if zone is not None:
        starts = starts.tz_localize(zone, ambiguous=np.ones(len(days), dtype=bool), nonexistent="shift_forward")
    return np.asarray(starts.as_unit("ns").asi8)


def check_equity(equity: pd.Series) -> Floats:
    """The values, or a DataError that names the first that is no number, or a start that is not above 0."""
    values = np.ascontiguousarray(equity, dtype=np.float64)
    if not np.isfinite(values.sum()) and len(bad := np.flatnonzero(~np.isfinite(values))):
        raise DataError(f"equity: row {bad[0]} ({equity.index[bad[0]]}) is {values[bad[0]]}: every row needs a number")
    if len(values) and values[0] <= 0:
        raise DataError(f"equity: the start must be above 0: got {values[0]}")
    return values
