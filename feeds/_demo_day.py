"""The day of a demo: written beforehand for some symbols, and passed through on a fast clock.

`make demo` lays `demo/day.json` into a data folder of its own, and `demo/begun.json` once its page can be looked at:
until then the clock stands. Only this folder may be opened with DEMO_SPEED, and only with it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from domain.calendars import NEW_YORK
from domain.clock import Clock, monotonic
from domain.errors import SettingsError
from domain.instruments import KNOWN
from feeds._simulated_prices import MINUTE, Bars, Tape
from feeds._simulated_walks import Floats, Ints
from settings import Settings

LABEL = "Demo: a scripted day"
POLL_S = 0.25
FOLDER, DAY, BEGUN = "demo", "day.json", "begun.json"
_LOOK_S = 0.05


@dataclass(slots=True, eq=False)
class DemoClock:
    """Stands at `opens` until `begun` says since when it runs; then `speed` times as fast as `base` up to `ends`, and
    at its pace from there on. Every process that reads the same file has the same time."""

    base: Clock
    begun: Path
    opens: datetime
    ends: datetime
    fast: float
    _since: datetime | None = None
    _looked: float = float("-inf")
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> datetime:
        since = self._since or self._look()
        if since is None:
            return self.opens
        real = max(self.base.now() - since, timedelta())
        hurried = min(real, self._hurry)
        return self.opens + hurried * self.fast + (real - hurried)

    @property
    def speed(self) -> float:
        """See `domain.clock.speed_of`: 1 once the day is over."""
        since = self._since or self._look()
        over = since is not None and self.base.now() - since >= self._hurry
        return 1.0 if over else self.fast

    @property
    def _hurry(self) -> timedelta:
        return (self.ends - self.opens) / self.fast

    def _look(self) -> datetime | None:
        with self._lock:
            if self._since is None and monotonic() - self._looked > _LOOK_S:
                self._looked = monotonic()
                self._since = _begun(self.begun)
            return self._since


@dataclass(frozen=True, slots=True)
class Minutes:
    """Regular minutes of one symbol: how many after the open, prices as multiples of the close before, and how many
    times their usual volume. A minute that is not there saw no trade."""

    at: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats

    @classmethod
    def of(cls, rows: list[list[float]]) -> Minutes:
        columns = np.array(rows, dtype=np.float64).T
        return cls(columns[0].astype(np.int64), *columns[1:])


class ScriptedTape(Tape):
    """A made-up symbol, one of whose sessions was written beforehand."""

    def __init__(self, symbol: str, session: int, minutes: Minutes) -> None:
        super().__init__(symbol)
        self._session, row = session, session - self.first
        base = float(self.close[row - 1])
        times = self.sessions.open[session] + minutes.at * MINUTE
        parts = (minutes.open, minutes.high, minutes.low, minutes.close)
        begin, high, low, end = (np.maximum(np.rint(part * base), 1.0) for part in parts)
        self._written = Bars(times, begin, high, low, end, minutes.volume)
        self.open[row], self.close[row] = self._written.open[0], self._written.close[-1]
        self._after, self._busy = self._day_draws()

    def minutes(self, first: int, stop: int) -> Bars:
        made = super().minutes(first, stop)
        if not first <= self._session < stop:
            return made
        begin, end = self.sessions.open[self._session], self.sessions.close[self._session]
        before, behind = np.searchsorted(made.times, begin), np.searchsorted(made.times, end)
        usual = made.volume[np.searchsorted(made.times, self._written.times)]
        written = replace(self._written, volume=self._traded_of(usual))
        parts = ((getattr(made, n)[:before], getattr(written, n), getattr(made, n)[behind:]) for n in Bars.__slots__)
        return Bars(*(np.concatenate(part) for part in parts))

    def daily(self, first: int, stop: int) -> Bars:
        made, at = super().daily(first, stop), self._session - first
        if not first <= self._session < stop:
            return made
        high, low, volume = made.high.copy(), made.low.copy(), made.volume.copy()
        day = self.minutes(self._session, self._session + 1)
        regular = np.isin(day.times, self._written.times)
        high[at], low[at] = self._written.high.max(), self._written.low.min()
        volume[at] = day.volume[regular].sum()
        return Bars(made.times, made.open, high, low, made.close, volume)

    def _traded_of(self, usual: Floats) -> Floats:
        steps = self.volume_steps
        traded: Floats = np.maximum(np.rint(usual * self._written.volume * steps), 1.0) / steps
        return traded


@dataclass(frozen=True, slots=True)
class DemoDay:
    """A demo's clock and what was written for it."""

    clock: DemoClock
    session: datetime
    written: Mapping[str, Minutes]
    _tapes: dict[str, Tape] = field(default_factory=dict)

    @property
    def note(self) -> str:
        """One sentence for the page."""
        there = self.clock.now().astimezone(NEW_YORK)
        pace = f"{self.clock.fast:g} times as fast as yours" if self.clock.speed > 1 else "the day is over"
        return f"Demo clock: {there:%a %d %b %Y %H:%M} New York, {pace}"

    def tape(self, symbol: str) -> Tape | None:
        """The prices of a symbol that has a part in the script; None for every other."""
        if symbol in self.written and symbol not in self._tapes:
            days = KNOWN[symbol].calendar.sessions.days
            number = int(np.searchsorted(days, np.datetime64(self.session.date())))
            self._tapes[symbol] = ScriptedTape(symbol, number, self.written[symbol])
        return self._tapes.get(symbol)


def of(settings: Settings, base: Clock) -> DemoDay | None:
    """The demo of this data folder; None where it is none. SettingsError where speed and folder do not belong
    together."""
    folder = settings.data_dir / FOLDER
    if settings.demo_speed == 1.0 and not folder.is_dir():
        return None
    if settings.demo_speed == 1.0:
        raise SettingsError(f"DATA_DIR={settings.data_dir} belongs to `make demo`: choose another folder")
    if not (folder / DAY).is_file():
        raise SettingsError(
            f"DEMO_SPEED={settings.demo_speed:g}: {settings.data_dir} is no demo's folder. Take DEMO_SPEED away; "
            "`make demo` sets it for itself"
        )
    return _read(folder, settings.demo_speed, base)


def _read(folder: Path, speed: float, base: Clock) -> DemoDay:
    told: dict[str, Any] = json.loads((folder / DAY).read_text(encoding="utf-8"))
    opens, ends = (datetime.fromisoformat(told[name]).astimezone(UTC) for name in ("opens", "ends"))
    written = {symbol: Minutes.of(rows) for symbol, rows in told["minutes"].items()}
    return DemoDay(DemoClock(base, folder / BEGUN, opens, ends, speed), opens.astimezone(NEW_YORK), written)


def _begun(path: Path) -> datetime | None:
    try:
        return datetime.fromisoformat(json.loads(path.read_text(encoding="utf-8"))["begun"])
    except (OSError, ValueError, KeyError):
        return None
