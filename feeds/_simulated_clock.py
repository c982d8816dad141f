"""The clock of the simulated market: real time moved by an offset, so that it trades on a Sunday too.

Its time never goes back. The offset lives in a small file that all processes share, with a moment beyond
which nobody has seen this clock yet; whoever gets there first moves that moment on.
"""

from __future__ import annotations

import json
import logging
import math
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

from domain.calendars import NEW_YORK, Phase, calendar
from domain.clock import Clock
from domain.errors import SettingsError

_log = logging.getLogger(__name__)

EXCHANGE = "XNYS"
AFTER_OPEN = timedelta(hours=1)  # 09:30 and an hour: enough bars to look at
_AHEAD = timedelta(minutes=10)
_GLANCE = timedelta(seconds=1)
_FARTHEST = timedelta(days=400)  # the calendar ends before that


@dataclass(frozen=True, slots=True)
class Kept:
    """What the file holds: the offset, and the simulated moment up to which this clock may have been seen."""

    offset: timedelta
    until: datetime


class SimulatedClock:
    """`base` moved by `shift`. With a `path` the offset is shared and kept there, else it lives here."""

    def __init__(self, base: Clock, path: Path | None = None, shift: timedelta = timedelta()) -> None:
        self._base, self._path, self._offset = base, path, shift
        self._lock = threading.Lock()
        self._looked = base.now()
        self._shown = self._until = self._looked + shift
        self._signature: tuple[int, int] | None = None
        if path is not None:
            self._start(path)

    @property
    def shift(self) -> timedelta:
        """How far this clock is ahead of the real one; negative where it is behind."""
        return self._offset

    def now(self) -> datetime:
        real = self._base.now()
        with self._lock:
            if self._path is not None and abs(real - self._looked) >= _GLANCE:
                self._look(self._path, real)
            if self._path is not None and real + self._offset >= self._until:
                self._move_on(self._path, real)
            self._shown = real + self._offset
            return self._shown

    def skip_to_open(self) -> datetime:
        """Forward to the next session's 10:30 New York; the new time. Other processes follow in a second."""
        real = self._base.now()
        with self._lock:
            if self._path is None:
                self._offset = _jump(real + self._offset, real, self._offset)
            else:
                with _kept_in(self._path):
                    self._look(self._path, real)
                    self._offset = _jump(real + self._offset, real, self._offset)
                    self._write(self._path, real)
            self._shown = real + self._offset
            return self._shown

    def _start(self, path: Path) -> None:
        with _kept_in(path):
            real = self._base.now()
            self._offset = settled(_read(path), real)
            self._write(path, real)
            self._looked, self._shown = real, real + self._offset

    def _look(self, path: Path, real: datetime) -> None:
        """Take over what another process wrote, unless time went back by it."""
        self._looked = real
        signature = _signature(path)
        if signature is None or signature == self._signature:
            return
        self._signature = signature
        kept = _read(path)
        if kept is not None and real + kept.offset >= self._shown:
            self._offset, self._until = kept.offset, kept.until

    def _move_on(self, path: Path, real: datetime) -> None:
        """Write down, before showing it, that this clock gets beyond the moment in the file."""
        try:
            with _kept_in(path):
                self._look(path, real)
                if real + self._offset >= self._until:
                    self._write(path, real)
        except SettingsError as error:
            self._until = real + self._offset + _AHEAD
            _log.warning("the clock goes on in memory only: %s", error)

    def _write(self, path: Path, real: datetime) -> None:
        self._until = real + self._offset + _AHEAD
        _replace(path, {"offset_s": int(self._offset.total_seconds()), "until": self._until.isoformat()})
        self._signature = _signature(path)


def settled(kept: Kept | None, real: datetime) -> timedelta:
    """The offset to start with, from what was kept (None: the first start ever) and the real time.

    Real time wherever New York trades now and nobody has seen a later simulated time; else as before where
    the simulated market trades; else forward to its next 10:30. The first start goes back, to the last
    session's 10:30.
    """
    if kept is None:
        return timedelta() if _trading(real) else _back(real)
    seen = min(kept.until, real + kept.offset)
    if _trading(real) and real >= seen:
        return timedelta()
    if _trading(real + kept.offset):
        return kept.offset
    return _jump(seen, real, kept.offset)


def note(now: datetime, shift: timedelta) -> str:
    """The sentence a page shows; empty on real time."""
    if not shift:
        return ""
    there = now.astimezone(NEW_YORK).strftime("%a %d %b %Y %H:%M")
    side = "ahead of" if shift > timedelta() else "behind"
    return f"Simulated clock: {there} New York, {_spelled(abs(shift))} {side} real time"


def pinned(text: str, base: Clock) -> SimulatedClock:
    """A clock that shows the moment `text` (ISO; New York's without a zone) now and ticks on. Uses no file."""
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise SettingsError(_wrong_start(text, "is no time")) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=NEW_YORK)
    last = calendar(EXCHANGE).sessions.days[-1]
    if not datetime(2010, 1, 4, tzinfo=UTC) <= moment < pd.Timestamp(last, tz="UTC"):
        raise SettingsError(_wrong_start(text, f"is not between 2010-01-04 and {last}"))
    return SimulatedClock(base, shift=moment.astimezone(UTC) - base.now())


def _wrong_start(text: str, why: str) -> str:
    return (
        f"SIMULATED_START: {text!r} {why}. Give an ISO time, such as 2026-11-20T10:30 (New York where no zone "
        "is written) or 2026-11-20T15:30Z, or leave it empty"
    )


def _trading(moment: datetime) -> bool:
    return calendar(EXCHANGE).phase(moment) is Phase.OPEN


def _back(real: datetime) -> timedelta:
    s = calendar(EXCHANGE).sessions
    ended = int(np.searchsorted(s.close, pd.Timestamp(real).value, side="right")) - 1
    return _offset_to(s.open[max(ended, 0)], real)


def _jump(seen: datetime, real: datetime, otherwise: timedelta) -> timedelta:
    """To the first 10:30 after `seen`; `otherwise` where the calendar ends before one."""
    opens = calendar(EXCHANGE).sessions.open
    at = int(np.searchsorted(opens, pd.Timestamp(seen - AFTER_OPEN).value, side="right"))
    return _offset_to(opens[at], real) if at < len(opens) else otherwise


def _offset_to(session_open: np.int64, real: datetime) -> timedelta:
    # Up to a whole second, so that the offset reads well and never lands before the moment itself.
    target = datetime.fromtimestamp(int(session_open) // 1_000_000_000, tz=UTC) + AFTER_OPEN
    return timedelta(seconds=math.ceil((target - real).total_seconds()))


def _spelled(span: timedelta) -> str:
    minutes = round(span.total_seconds() / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours = round(minutes / 60)
    return f"{hours} h" if hours < 48 else f"{round(hours / 24)} days"


@contextmanager
def _kept_in(path: Path) -> Iterator[None]:
    """Alone with the file, among all processes; SettingsError where the folder does not allow it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{path}.lock", timeout=5):
            yield
    except (OSError, Timeout) as error:
        raise SettingsError(
            f"DATA_DIR: the simulated clock cannot be kept in {path} ({error}): make the folder writable, "
            "or set SIMULATED_CLOCK=real"
        ) from error


def _signature(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


def _read(path: Path) -> Kept | None:
    """None where there is no file or nothing sound in it: the clock then starts as on its first day."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        kept = Kept(timedelta(seconds=float(content["offset_s"])), datetime.fromisoformat(content["until"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        _log.warning("%s is no clock file (%s): starting afresh", path, error)
        return None
    return kept if kept.until.tzinfo and abs(kept.offset) < _FARTHEST else None


def _replace(path: Path, content: dict[str, object]) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(content, file)
        os.replace(name, path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
