"""Who works on a data folder: every program that opens a desk holds a shared lock on it, a restore an exclusive one.

The rule: nothing is swapped under a running program, and no program starts on a folder that is half restored. The lock
is the operating system's: it falls with its process. Where there is none (Windows, some network disks) the engine's
own lease is what remains.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from domain.errors import BackupError, SettingsError

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]

FILE, JOURNAL = "in-use.lock", "restore.json"
HALF = (
    "{folder} is half restored: a restore was cut short. Nothing is lost and nothing starts before it is finished: "
    "make restore"
)
_held: dict[Path, int] = {}


def enter(folder: Path) -> None:
    """This process works on the folder from now on. SettingsError while it is restored, or half restored."""
    place = folder.resolve()
    if place not in _held and (lock := _opened(place)) is not None:
        try:
            _flock(lock, exclusive=False)
        except BlockingIOError:
            os.close(lock)
            raise SettingsError(f"{folder} is being restored just now: wait until `make restore` has ended") from None
        except OSError:
            os.close(lock)  # a disk that knows no locks
        else:
            _held[place] = lock
    if (place / JOURNAL).exists():
        leave(folder)
        raise SettingsError(HALF.format(folder=folder))


def leave(folder: Path) -> None:
    """This process is done with it. Harmless where it never entered."""
    if (lock := _held.pop(folder.resolve(), None)) is not None:
        os.close(lock)


class Alone:
    """The folder for one process alone, as long as the block runs; BackupError where another works on it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder, -1

    def __enter__(self) -> Alone:
        lock = _opened(self._folder.resolve())
        if lock is None:
            return self
        try:
            _flock(lock, exclusive=True)
        except BlockingIOError:
            os.close(lock)
            raise BackupError(
                f"a dashboard, an engine or another program of the desk works on {self._folder}: stop it first "
                "(Ctrl+C where it runs), then restore; nothing was changed"
            ) from None
        except OSError:
            os.close(lock)
            return self
        self._lock = lock
        return self

    def __exit__(self, *_: Any) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def used(folder: Path) -> bool:
    """Whether a program works on it now, as far as the lock tells."""
    if not (folder / FILE).exists():
        return False
    try:
        with Alone(folder):
            return False
    except BackupError:
        return True


def _opened(place: Path) -> int | None:
    if fcntl is None:
        return None
    try:
        place.mkdir(parents=True, exist_ok=True)
        return os.open(place / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:  # a folder that cannot be written is said by whoever writes there first
        return None


def _flock(lock: int, *, exclusive: bool) -> None:
    fcntl.flock(lock, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
