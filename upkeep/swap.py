"""The swap: what is staged takes the place of what is there, step by step, each of them safe to repeat.

The rule: the journal lists every move before the first is made. Whoever finds one goes on with it; moves that were made
are known by what lies where.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from desk.crash import crash_point
from desk.halt import write_halt
from domain.errors import BackupError
from domain.trading_state import KillLevel
from settings import Settings
from upkeep import durable, halting
from upkeep.archive import Manifest
from upkeep.presence import JOURNAL

STAGED = ".restoring"
HALT = "HALT"
_LOGS = ("", "-wal", "-shm", "-journal")


def begin(settings: Settings, manifest: Manifest, now: datetime) -> Path:
    """Write the journal, which decides that it will be done, then do it: where the things of before lie."""
    aside = _free(settings, f"before-restore-{now:%Y%m%dT%H%M%SZ}")
    moves = [
        *_moves(settings.data_dir, "data", aside, also=_databases(settings.data_dir)),
        *_moves(settings.models_dir, "models", aside),
    ]
    journal = {
        "archive": manifest.made_at.isoformat(),
        "aside": aside,
        "halt": not (settings.data_dir / HALT).exists(),
        "reason": halting.reason(manifest.made_at),
        "moves": moves,
    }
    durable.put(settings.data_dir / JOURNAL, json.dumps(journal).encode())
    crash_point("restore_decided")
    return finish(settings, journal)


def pending(data_dir: Path) -> dict[str, Any] | None:
    """The journal of a restore that was cut short; None where there is none."""
    try:
        found = json.loads((data_dir / JOURNAL).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if not isinstance(found, dict):
        raise BackupError(f"{data_dir / JOURNAL} cannot be read: nothing was changed")
    return found


def finish(settings: Settings, journal: Mapping[str, Any]) -> Path:
    """Every move that was not made yet."""
    roots = {"data": settings.data_dir, "models": settings.models_dir}
    halt = settings.data_dir / HALT
    if journal["halt"]:  # beside what is written in the ledgers: whatever lies there half swapped, nothing trades on it
        write_halt(halt, KillLevel.HALT, journal["reason"])
        durable.sync_file(halt)
        durable.sync_folder(halt.parent)
    for where, start, end in journal["moves"]:
        _move(roots[where] / start, roots[where] / end)
    for root in roots.values():
        durable.remove(root / STAGED)
        if root.is_dir():
            durable.sync_folder(root)
    crash_point("restore_moved")
    if journal["halt"]:
        halt.unlink(missing_ok=True)  # each ledger says it itself, and lets nobody trade before a person has spoken
    (settings.data_dir / JOURNAL).unlink()
    durable.sync_folder(settings.data_dir)
    return settings.data_dir / str(journal["aside"])


def _moves(root: Path, where: str, aside: str, also: list[str] | None = None) -> list[tuple[str, str, str]]:
    """First what is there goes aside, then what is staged comes in: by the names at the top of the folder."""
    staged = sorted(path.name for path in (root / STAGED).iterdir()) if (root / STAGED).is_dir() else []
    going = sorted({*staged, *(also or [])})
    out = [(where, name, f"{aside}/{name}") for name in going if (root / name).exists()]
    return [*out, *((where, f"{STAGED}/{name}", name) for name in staged)]


def _databases(data_dir: Path) -> list[str]:
    """Every database with its log, those too that the archive does not have: they belong to what was."""
    return [path.name + log for path in data_dir.glob("*.db") for log in _LOGS]


def _move(start: Path, end: Path) -> None:
    coming_in = start.parent.name == STAGED
    if not start.exists() or (not coming_in and end.exists()):
        return  # made before it was cut short
    if end.exists():
        raise BackupError(f"{end} appeared while it was restored: move it out of the folder, then `make restore` again")
    end.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    start.rename(end)
    durable.sync_folder(end.parent)
    durable.sync_folder(start.parent)
    crash_point("restore_moving")


def _free(settings: Settings, name: str) -> str:
    """A name for the folder that nothing has."""
    n, found = 1, name
    while any((root / found).exists() for root in (settings.data_dir, settings.models_dir)):
        n, found = n + 1, f"{name}-{n + 1}"
    return found
