"""When an exchange trades: regular sessions from exchange_calendars, with the hours before and after around them.

Extended hours of US stocks run from 04:00 to 20:00 New York, to 17:00 on a half-day. Crypto never closes.
"""

from __future__ import annotations

import functools
import warnings
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

import exchange_calendars
import numpy as np
import numpy.typing as npt
import pandas as pd

NEW_YORK = ZoneInfo("America/New_York")
ALWAYS = "24/7"
FIRST_SESSION = "2000-01-03"

Nanos = npt.NDArray[np.int64]
_HOUR = 3_600_000_000_000
_DAY = 24 * _HOUR


class Phase(StrEnum):
    """Where in its day a market is."""

    PRE = "pre-market"
    OPEN = "open"
    AFTER = "after hours"
    CLOSED = "closed"


_PHASES = (Phase.CLOSED, Phase.PRE, Phase.OPEN, Phase.AFTER)


@dataclass(frozen=True, slots=True)
class Sessions:
    """A run of sessions as UTC nanoseconds: pre-market open, open, close, end of after hours."""

    days: npt.NDArray[np.datetime64]
    pre: Nanos
    open: Nanos
    close: Nanos
    post: Nanos


@dataclass(frozen=True, slots=True)
class MarketState:
    """What a badge shows: the phase now, and the next one with its moment (None where it never changes)."""

    phase: Phase
    next_phase: Phase | None
    changes_at: datetime | None


class TradingCalendar:
    """Sessions of one exchange by its exchange_calendars code (`XNYS`), or `24/7`."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.always_open = code == ALWAYS
        self.sessions = _always_sessions() if self.always_open else _exchange_sessions(code)

    def locate(self, times: Nanos) -> tuple[Nanos, npt.NDArray[np.int8]]:
        """For UTC nanoseconds: the position of the session each belongs to and its phase (0 closed, 1 pre, 2 open,
        3 after). A closed moment belongs to the session before it; -1 where there is none."""
        s = self.sessions
        at = np.searchsorted(s.pre, times, side="right") - 1
        safe = np.maximum(at, 0)
        phase = np.where(times < s.open[safe], 1, np.where(times < s.close[safe], 2, 3))
        phase[(times >= s.post[safe]) | (at < 0)] = 0
        return at, phase.astype(np.int8)

    def phase(self, moment: datetime) -> Phase:
        return _PHASES[int(self.locate(np.array([_nanos(moment)]))[1][0])]

    def state(self, moment: datetime) -> MarketState:
        """The phase at `moment` and what comes next. Beyond the calendar's end nothing is known: CLOSED."""
        if self.always_open:
            return MarketState(Phase.OPEN, None, None)
        s, now = self.sessions, _nanos(moment)
        phase = self.phase(moment)
        at = int(np.searchsorted(s.pre, now, side="right") - 1)
        if phase is Phase.CLOSED:
            if at + 1 >= len(s.open):
                return MarketState(Phase.CLOSED, None, None)
            return MarketState(phase, Phase.OPEN, _moment(s.open[at + 1]))
        upcoming = {
            Phase.PRE: (Phase.OPEN, s.open),
            Phase.OPEN: (Phase.CLOSED, s.close),
            Phase.AFTER: (Phase.CLOSED, s.post),
        }
        following, column = upcoming[phase]
        return MarketState(phase, following, _moment(column[at]))

    def last_open(self, moment: datetime) -> datetime:
        """The open of the newest session that has begun by `moment`."""
        at = int(np.searchsorted(self.sessions.open, _nanos(moment), side="right") - 1)
        return _moment(self.sessions.open[max(at, 0)])

    def next_open(self, moment: datetime) -> datetime | None:
        """The first regular open after `moment`; None beyond the calendar's end."""
        at = int(np.searchsorted(self.sessions.open, _nanos(moment), side="right"))
        return _moment(self.sessions.open[at]) if at < len(self.sessions.open) else None

    def session_open(self, day: date) -> datetime | None:
        """The regular open of a session date; None where that day has no session."""
        at = int(np.searchsorted(self.sessions.days, np.datetime64(day, "D")))
        if at >= len(self.sessions.days) or self.sessions.days[at] != np.datetime64(day, "D"):
            return None
        return _moment(self.sessions.open[at])

    def opened(self, moment: datetime) -> datetime | None:
        """The open of the session that runs at `moment`; None where none does, or the market never closes."""
        runs = not self.always_open and self.phase(moment) is Phase.OPEN
        return self.last_open(moment) if runs else None

    def sessions_between(self, start: date, end: date) -> int:
        """How many session dates lie in [start, end)."""
        first, last = np.searchsorted(self.sessions.days, [np.datetime64(day, "D") for day in (start, end)])
        return int(last - first)


@functools.lru_cache(maxsize=8)
def calendar(code: str) -> TradingCalendar:
    """The calendar by its code, built once a process (about 0.2 s)."""
    return TradingCalendar(code)


def _nanos(moment: datetime) -> int:
    if moment.tzinfo is None:
        raise ValueError(f"a moment must carry a zone: got {moment.isoformat()}; add tzinfo=UTC")
    return pd.Timestamp(moment).value


def _moment(nanos: int | np.int64) -> datetime:
    return datetime.fromtimestamp(int(nanos) // 1_000_000_000, tz=UTC)


def _exchange_sessions(code: str) -> Sessions:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # exchange_calendars 4.13 uses what pandas 3.1 has begun to deprecate
        schedule = exchange_calendars.get_calendar(code, start=FIRST_SESSION).schedule
    days = schedule.index.to_numpy().astype("datetime64[D]")
    opens, closes = (_utc_nanos(schedule[column]) for column in ("open", "close"))
    midnight = pd.DatetimeIndex(days).tz_localize(NEW_YORK).as_unit("ns").asi8
    # Sessions never fall on a night the clocks change, so midnight plus hours is the wall-clock hour.
    half_day = closes < midnight + 16 * _HOUR
    post = midnight + np.where(half_day, 17, 20) * _HOUR
    return Sessions(days, midnight + 4 * _HOUR, opens, closes, post)


def _utc_nanos(column: pd.Series[pd.Timestamp]) -> Nanos:
    return column.dt.tz_convert(None).to_numpy().astype("datetime64[ns]").astype(np.int64)


def _always_sessions() -> Sessions:
    days = np.arange(np.datetime64("2000-01-01"), np.datetime64("2100-01-01"))
    opens = days.astype("datetime64[ns]").astype(np.int64)
    return Sessions(days, opens, opens, opens + _DAY, opens + _DAY)
