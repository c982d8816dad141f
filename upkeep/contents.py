"""What of a data folder goes into a backup, what stays out, and why.

The rule: every database is taken, whatever it is called; of everything else only what is known, so that a key that
somebody put there does not travel unseen.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from settings import Settings

IDENTITY = "backup-id"
FILES = (IDENTITY, "simulated-clock.json")
FOLDERS = ("jobs",)
CANDLES = ("candles", "ohlcv")
SECRET_FOLDERS = ("keys", "etrade", "accounts")
SECRET_FILES = (".env", ".streamlit/secrets.toml")
DISPOSABLE = "live-"
# Never asked for, never missed: locks, logs, what an engine makes anew, and our own marks.
_OURS = ("HALT", "logs", "restore.json", ".restoring", "in-use.lock", "backup.lock")
_LEAVINGS = (".lock", "-wal", "-shm", "-journal", ".part", ".new")
_FIRST, _LAST = ("notices.db", "people.db", "accounts.db", "research.db"), "broker-"


@dataclass(frozen=True, slots=True)
class Piece:
    """One file to take: `name` in the archive, where it lies, and whether it is a `database` or a plain `file`."""

    name: str
    path: Path
    kind: str

    @property
    def ledger(self) -> bool:
        """The memory of a desk."""
        return self.kind == "database" and is_ledger(self.name)


def is_ledger(name: str) -> bool:
    """Whether this name in an archive is a ledger's."""
    return name.startswith("data/ledger-") and name.endswith(".db")


def databases(settings: Settings) -> list[Piece]:
    """Every database file, in the order in which they are copied: what people were told before what happened, so that
    nothing is left untold; a paper broker's book after the ledger, so that nothing in the ledger is unknown to it."""

    def rank(path: Path) -> tuple[int, str]:
        return (0 if path.name in _FIRST else 2 if path.name.startswith(_LAST) else 1), path.name

    found = [p for p in settings.data_dir.glob("*.db") if p.is_file() and not p.name.startswith(DISPOSABLE)]
    return [Piece(f"data/{path.name}", path, "database") for path in sorted(found, key=rank) if path.stat().st_size]


def plain_files(settings: Settings, *, candles: bool) -> Iterator[Piece]:
    """Everything else that is taken; `candles`: the kept ones and the user's own too."""
    for name in FILES:
        if (path := settings.data_dir / name).is_file():
            yield Piece(f"data/{name}", path, "file")
    for folder in (*FOLDERS, *(CANDLES if candles else ())):
        yield from _beneath(settings.data_dir / folder, f"data/{folder}")
    if settings.models_dir.is_dir():
        for path in sorted(settings.models_dir.iterdir()):
            if path.is_file() and not path.is_symlink() and not path.name.startswith(".") and path.suffix != ".lock":
                yield Piece(f"models/{path.name}", path, "file")


def secret_files(settings: Settings) -> Iterator[Piece]:
    """Keys and what is locked with them: taken only sealed."""
    for folder in SECRET_FOLDERS:
        yield from _beneath(settings.data_dir / folder, f"data/{folder}")
    for name in SECRET_FILES:
        if (path := Path(name)).is_file():
            yield Piece(f"settings/{Path(name).name}", path, "file")


def left_out(settings: Settings, *, candles: bool, secrets: bool) -> list[str]:
    """What lies there and is not taken, a sentence each."""
    said = []
    if not secrets:
        said.append(
            ".env, kept keys, the E*TRADE sign-in and the keys of one-time codes (SECRETS=1 takes them, sealed)"
        )
    if not candles and any((settings.data_dir / name).is_dir() for name in CANDLES):
        said.append("candles, which feeds give again, and your own files in ohlcv (CANDLES=1 takes both)")
    known = {*FILES, *FOLDERS, *CANDLES, *SECRET_FOLDERS}
    for path in sorted(settings.data_dir.iterdir()) if settings.data_dir.is_dir() else []:
        name = path.name
        ours = name.startswith((*_OURS, DISPOSABLE, "before-restore-", ".")) or name.endswith(_LEAVINGS)
        if name not in known and not ours and path.suffix != ".db":
            said.append(f"{name}: nobody knows what it is")
    return said


def _beneath(folder: Path, name: str) -> Iterator[Piece]:
    """Plain files beneath a folder; links are not followed, leavings are not taken."""
    for where, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        for one in sorted(names):
            path = Path(where) / one
            if path.is_symlink() or not path.is_file() or one.endswith(_LEAVINGS):
                continue
            yield Piece(f"{name}/{path.relative_to(folder).as_posix()}", path, "file")
