"""Data folders worth keeping, for tests of backups: a paper desk that traded, its people, its messages, its files."""

from __future__ import annotations

import resource
import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path
from typing import Any

from desk import crash
from desk.people import People
from domain.clock import Clock, ManualClock
from domain.errors import BackupError
from domain.notices import Kind, Severity
from notices.outbox import Notice, Outbox
from settings import Settings
from tests.accounts import PASSWORD, with_people
from tests.ledgers import die_at, opened, preload
from tests.trading import MORNING, PaperDesk, trading
from upkeep import backup, restore
from upkeep.restore import Restored

preload("tests.kept_desks")
PASSPHRASE = "violet kettle march nine"
LEDGER, BOOK = "ledger-paper-scripted.db", "broker-paper-scripted.db"
KEY = b"the key of the keys"
_founded: list[bytes] = []


def settings_in(folder: Path, **more: Any) -> Settings:
    """Everything of one desk beneath one folder."""
    where = {"data_dir": folder / "data", "models_dir": folder / "models", "backup_dir": folder / "backups"}
    return Settings(**{**where, **more})


def small(folder: Path) -> Settings:
    """A data folder with one ledger and nothing else."""
    settings = settings_in(folder)
    path = settings.data_dir / "ledger-paper-simulated.db"
    if not _founded:  # once: what a ledger is founded with is not looked at here
        opened(f"sqlite:///{path}").close()
        _founded.append(path.read_bytes())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_founded[0])
    return settings


@asynccontextmanager
async def kept_desk(folder: Path) -> AsyncIterator[PaperDesk]:
    """A desk with its engine running: 100 Apple bought, olga signed in, a message waiting, a model, a job, a key."""
    clock = ManualClock(MORNING)
    async with trading(folder, clock=clock, models_dir=folder / "models", backup_dir=folder / "backups") as desk:
        assert (await desk.place()).state == "done"
        await desk.tick(3)
        assert desk.held() == 100
        fill(desk.settings, clock)
        yield desk


def fill(settings: Settings, clock: Clock) -> None:
    """Everything beside the ledger."""
    data = settings.data_dir
    with_people(data, clock).sign_in("olga", PASSWORD)
    People(settings.people_url, ("AAPL",)).watch("NVDA")
    outbox = Outbox(settings.notices_url, clock)
    later = clock.now() + timedelta(hours=1)
    notice = Notice("n1", Kind.FILL, Severity.INFO, "Filled", "100 AAPL", clock.now(), to=(("slack", "#desk", later),))
    outbox.put([notice])
    outbox.close()
    for path, content in {
        data / "simulated-clock.json": b"{}",
        data / "jobs" / "j1" / "answer.json": b'{"sharpe": 1}',
        data / "candles" / "yahoo" / "AAPL" / "2026.parquet": b"PAR1",
        data / "keys" / "key": KEY,
        data / "stray.txt": b"whose?",
        settings.models_dir / "pattern_nn_v1.json": b"{}",
        settings.models_dir / "registry.json": b'{"champion": 1}',
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def rows(path: Path, asked: str) -> list[tuple[Any, ...]]:
    """What SQLite says of a file nobody has open."""
    with closing(sqlite3.connect(path)) as db:
        return db.execute(asked).fetchall()


def made(settings: Settings, clock: Clock | None = None, **more: Any) -> Path:
    """The path of a backup."""
    return backup.make(settings, settings.backup_dir, clock=clock or ManualClock(MORNING), **more).path


def back(settings: Settings, path: Path, **more: Any) -> Restored:
    """Restored an hour later."""
    return restore.restore(settings, path, clock=ManualClock(MORNING + timedelta(hours=1)), **more)


def everything(settings: Settings) -> dict[str, bytes]:
    """Each file of the data and models folders by its name and content, but for locks, logs and what is ours."""
    found = {}
    for root in (settings.data_dir, settings.models_dir):
        for path in sorted(root.rglob("*")):
            if path.is_file() and not path.name.endswith((".lock", "-shm", "-wal")):
                found[f"{root.name}/{path.relative_to(root)}"] = path.read_bytes()
    return found


# Processes that die


def backup_until_killed(folder: str, point: str) -> None:
    """Kill itself at the first passing of this point."""
    crash.install(die_at(point, 1))
    made(settings_in(Path(folder)))


def restore_until_killed(folder: str, archive: str, point: str, passing: int) -> None:
    """The same on the way back, at the so many'th passing."""
    crash.install(die_at(point, passing))
    back(settings_in(Path(folder)), Path(archive))


def backup_on_a_full_disk(folder: str) -> None:
    """What was said lies in `said`. The kernel lets no file grow past 40 kB, as a full disk would not."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
    try:
        made(settings_in(Path(folder)))
    except BackupError as error:
        (Path(folder) / "said").write_text(str(error))
