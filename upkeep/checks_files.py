"""Models, kept candles and backups: there, whole, and not too old."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import settings as settings_file
from domain.clock import SystemClock
from domain.errors import BackupError, DeskError
from upkeep import backup
from upkeep.findings import Finding, fine, note, wrong
from upkeep.unsaid import unsaid

MOST_FILES = 3_000
STALE = timedelta(days=8)
LATE = timedelta(hours=30)


def models() -> Iterator[Finding]:
    """Every model's description, and whether its file has the size it was saved with."""
    from model_manager import ModelManager

    folder = settings_file.roughly().models_dir
    if not folder.is_dir():
        yield note("Models", f"{folder} is not there", "it is made with the first training")
        return
    try:
        found = ModelManager(folder, SystemClock()).entries()
    except DeskError as error:
        yield wrong("Models", unsaid(error), "no model can be used", "make restore FROM=…, or train anew")
        return
    sound = 0
    for one in found:
        said, path = one.wrong, folder / f"{one.name}_v{one.version}.pth"
        if not said and one.status not in ("unfinished", "damaged"):
            size = int(one.said["files"]["pth"]["bytes"])
            if not path.is_file():
                said = f"{path.name} is gone; its description is still there"
            elif path.stat().st_size != size:
                said = f"{path.name} is torn: {path.stat().st_size:,} bytes of {size:,}"
        sound += not said
        if said and one.status == "unfinished":
            yield note(f"Model {one.called}", unsaid(said), "a training was cut short")
        elif said:
            cure = "make restore FROM=…, or train it anew"
            yield wrong(f"Model {one.called}", unsaid(said), "whoever asks it gets no answer", cure)
    yield fine("Models", f"{sound} whole" if found else "none yet")


def candles() -> Iterator[Finding]:
    """The end of every kept file: whether it can be read at all."""
    import pyarrow.parquet as pq

    folder, broken = settings_file.roughly().store_dir, list[Path]()
    found = sorted(folder.rglob("*.parquet"))[:MOST_FILES] if folder.is_dir() else []
    for path in found:
        try:
            pq.read_metadata(path)
        except (OSError, ValueError):
            broken.append(path)
    for path in broken[:3]:
        why = "it is set aside and asked for again when somebody looks at it"
        yield note("Candles", f"{path} cannot be read", why, f"rm {path}")
    if len(broken) > 3:
        yield note("Candles", f"and {len(broken) - 3} more files cannot be read")
    if not broken:
        yield fine("Candles", f"{len(found)} kept files can be read" if found else "none kept yet")


def backups() -> Iterator[Finding]:
    """Whether there is one, how old it is, and whether it can be opened."""
    settings, cure = settings_file.roughly(), "make backup"
    if not settings.data_dir.is_dir():
        return
    try:
        desk = backup.identity(settings.data_dir)
    except BackupError as error:
        yield wrong("Backups", unsaid(error), "they cannot be told from others'", "see docs/backup.md")
        return
    found = backup.listed(settings.backup_dir, desk) if desk else []
    if not found:
        why = "a disk that dies takes the ledger, and with it what you know of your trades"
        yield note("Backups", "never backed up", why, cure)
        return
    for one in found:
        if one.manifest is None:
            why = "it would not come back"
            yield wrong("Backups", unsaid(one.wrong), why, f"make backup, then rm {one.path}")
    sound = next((one.manifest for one in found if one.manifest), None)
    if sound is None:
        return
    age = SystemClock().now() - sound.made_at
    old = f"{age.days} days old" if age.days else "less than a day old"
    said = f"the newest of {len(found)} is {old}"
    if settings.backup_daily is not None and age > LATE:
        yield wrong("Backups", said, "BACKUP_DAILY is set: the last one failed, or no dashboard ran", cure)
    elif age > STALE:
        yield note("Backups", said, "what happened since is in no backup", cure)
    else:
        yield fine("Backups", said)
