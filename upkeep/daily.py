"""One backup a day by itself, from BACKUP_DAILY's hour in New York on, in a process of its own.

The rule: whether one is due is read from the archives that lie there, so that a restart neither forgets nor repeats
one. What fails is an error in the log, which whoever is told of errors hears of; it is tried again every hour.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from datetime import datetime, timedelta

from domain.calendars import NEW_YORK
from domain.clock import Clock, SystemClock
from domain.errors import BackupError
from settings import Settings
from upkeep import backup

LOOK_EVERY_S = 60.0
AGAIN = timedelta(hours=1)
PATIENCE_S = 3600.0
MOST_SAID = 400
_log = logging.getLogger("backup")


async def run(
    settings: Settings, stop: asyncio.Event, clock: Clock | None = None, look_s: float = LOOK_EVERY_S
) -> None:
    """Until told to stop: make one whenever one is due."""
    clock, failed = clock or SystemClock(), datetime.min.replace(tzinfo=NEW_YORK)
    while not stop.is_set():
        now = clock.now()
        if now - failed >= AGAIN and due(settings, now) and not await _make(settings):
            failed = clock.now()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), look_s)


def due(settings: Settings, now: datetime) -> bool:
    """Whether the hour of today is past, and no backup is newer than it."""
    if settings.backup_daily is None:
        return False
    local = now.astimezone(NEW_YORK)
    since = local.replace(hour=settings.backup_daily, minute=0, second=0, microsecond=0)
    if local < since:
        return False
    try:
        desk = backup.identity(settings.data_dir)
    except BackupError:
        return True  # to make one says what is wrong
    found = backup.listed(settings.backup_dir, desk) if desk else []
    return not any(one.manifest is not None and one.manifest.made_at >= since for one in found)


async def _make(settings: Settings) -> bool:
    """A process of its own: a large ledger must not hold up the server's."""
    keep = ["--keep", str(settings.backup_keep)]
    arguments = ["-m", "upkeep", "backup", "--to", str(settings.backup_dir), *keep]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        told, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    except BaseException as error:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        if not isinstance(error, TimeoutError):
            raise
        _log.error("no backup was made today: it took longer than an hour and was stopped")
        return False
    said = " ".join(told.decode(errors="replace").split())[:MOST_SAID]
    if process.returncode == 0:
        _log.info("backed up: %s", said)
        return True
    _log.error("the backup of today failed: %s", said)
    return False
