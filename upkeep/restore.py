"""The way back from a backup: looked at, staged, halted, then swapped in, all of it or nothing.

    restore.restore(settings, Path("backups/desk-….zip"), clock=SystemClock())

The rule: nothing that was there is deleted, it is moved aside into a dated folder; and no ledger lies where an engine
could find it before HALT is written in it. A kill before the journal is written changes nothing; after it, the next
`restore` finishes what was begun (`swap.py`), and no program of the desk starts in between (`presence.py`).
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from desk import schema
from desk.crash import crash_point
from domain.clock import Clock
from domain.errors import BackupError
from settings import Settings
from upkeep import archive, contents, copies, durable, halting, swap
from upkeep.archive import SECRETS, Entry, LedgerFacts, Manifest, Reader
from upkeep.backup import SPARE, locked
from upkeep.presence import Alone
from upkeep.sealed import unseal

STAGED = swap.STAGED
SETTINGS_FOLDER = "restored-settings"
_SECRET_TOPS = tuple(f"data/{name}/" for name in contents.SECRET_FOLDERS)


@dataclass(frozen=True, slots=True)
class Restored:
    """What was done: the manifest of what is there now (None where an earlier restore was finished), where what was
    there before lies, and what a person has to do next."""

    manifest: Manifest | None
    aside: Path
    notes: tuple[str, ...]


def restore(
    settings: Settings, path: Path, *, clock: Clock, passphrase: str | None = None, accept_damage: bool = False
) -> Restored:
    """Put the archive in the place of what is there. Where an earlier restore was cut short, that one is finished
    instead. BackupError says why nothing was restored; then everything is as it was."""
    with ExitStack() as stack:
        stack.enter_context(Alone(settings.data_dir))
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        stack.enter_context(locked(settings.data_dir))
        stack.enter_context(_no_engine(settings.data_dir))
        stack.enter_context(_disk_troubles())
        if (journal := swap.pending(settings.data_dir)) is not None:
            aside = swap.finish(settings, journal)
            return Restored(None, aside, ("the restore that was cut short is finished; restore again for another one",))
        with archive.reading(path) as opened:
            _refuse(settings, opened.manifest)
            secrets = _secrets(opened, passphrase)
            opened.prove()
            _room(settings, opened.manifest)
            try:
                _stage(settings, opened)
                _stage_secrets(settings, secrets)
                _prepare(settings, opened.manifest, clock, accept_damage=accept_damage)
                _into_postgres(settings, opened.manifest)
                for root in _roots(settings):
                    durable.sync_tree(root / STAGED)
                crash_point("restore_staged")
            except BaseException:
                _unstage(settings)
                raise
            aside = swap.begin(settings, opened.manifest, clock.now())
            return Restored(opened.manifest, aside, _notes(opened.manifest, secrets))


def _roots(settings: Settings) -> list[Path]:
    return [root for root in (settings.data_dir, settings.models_dir) if (root / STAGED).is_dir()]


def _refuse(settings: Settings, manifest: Manifest) -> None:
    """What must not be restored here, whatever its content."""
    if manifest.revision > schema.REVISION or any(one.revision > schema.REVISION for one in manifest.ledgers):
        newest = max([manifest.revision, *(one.revision for one in manifest.ledgers)])
        raise BackupError(
            f"the archive's tables are at {newest[:20]}, this version knows up to {schema.REVISION}: update the desk "
            "first; nothing was changed"
        )
    told = {one.name for one in manifest.ledgers}
    if untold := [one.name for one in manifest.files if contents.is_ledger(one.name) and one.name not in told]:
        raise BackupError(f"{untold[0]} is a ledger and the manifest does not say of which desk: use another archive")
    for one in manifest.ledgers:
        if one.kept_in not in ("sqlite", "postgresql"):
            raise BackupError(f"{one.name} was kept in {one.kept_in[:20]!r}: update the desk first")
        if one.kept_in == "sqlite" and settings.database_url:
            raise BackupError(
                "DATABASE_URL is set here and the archive's ledger is an SQLite file: the desk would go on with "
                "another ledger, not halted. Take DATABASE_URL out of .env, restore, and start again"
            )
        if one.kept_in == "postgresql" and not settings.database_url:
            raise BackupError(
                "the archive's ledger was in PostgreSQL: let DATABASE_URL name a new, empty database, "
                "then restore again"
            )


def _secrets(opened: Reader, passphrase: str | None) -> dict[str, bytes]:
    if not opened.manifest.secrets or passphrase is None:
        return {}
    found = unseal(opened.bytes_of(SECRETS), passphrase)
    for name in found:
        plain = name.startswith("settings/") and name.count("/") == 1 and name.removeprefix("settings/") in _FILES
        if not plain:
            archive.check_name(name)
            if not name.startswith(_SECRET_TOPS):
                raise BackupError(f"{name[:80]!r} is no secret that a backup has: use another archive")
    return found


_FILES = {Path(name).name for name in contents.SECRET_FILES}


def _room(settings: Settings, manifest: Manifest) -> None:
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    needed = manifest.unpacked + SPARE
    if (free := shutil.disk_usage(settings.data_dir).free) < needed:
        said = f"{settings.data_dir} has {free >> 20:,} MB free and {needed >> 20:,} MB are needed"
        raise BackupError(f"{said}: make room first; nothing was changed")


# Staging


def _stage(settings: Settings, opened: Reader) -> None:
    _unstage(settings)
    for entry in opened.manifest.files:
        if entry.name == SECRETS:
            continue
        into = staged_path(settings, entry)
        into.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with into.open("xb") as file:
            into.chmod(0o600)
            for chunk in opened.chunks(entry):
                file.write(chunk)
        crash_point("restore_staging")


def staged_path(settings: Settings, entry: Entry) -> Path:
    """Where a file of the archive waits for its place: on the same disk."""
    top, _, rest = entry.name.partition("/")
    allowed = {*contents.FOLDERS, *contents.CANDLES}
    first, *deeper = rest.split("/")
    known = first in allowed if deeper else (first in contents.FILES or first.endswith(".db"))
    if (top == "data" and not known) or (top == "models" and (deeper or first.startswith("."))):
        raise BackupError(f"{entry.name[:80]!r} is no file that a backup has: use another archive")
    root = settings.data_dir if top == "data" else settings.models_dir
    return root / STAGED / rest


def _stage_secrets(settings: Settings, secrets: dict[str, bytes]) -> None:
    for name, content in secrets.items():
        rest = name.removeprefix("data/") if name.startswith("data/") else f"{SETTINGS_FOLDER}/{Path(name).name}"
        into = settings.data_dir / STAGED / rest
        into.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with into.open("xb") as file:
            into.chmod(0o600)
            file.write(content)


def _unstage(settings: Settings) -> None:
    for root in (settings.data_dir, settings.models_dir):
        durable.remove(root / STAGED)


def _prepare(settings: Settings, manifest: Manifest, clock: Clock, *, accept_damage: bool) -> None:
    """Every database looked through; ledgers halted, people signed out, messages that waited dropped."""
    ledgers = {one.name: one for one in manifest.ledgers}
    for entry in manifest.files:
        if entry.kind != "database" and not entry.name.endswith(".db"):
            continue
        path = staged_path(settings, entry)
        with contextlib.closing(sqlite3.connect(path)) as db:
            copies.look_through(db, entry.name)
        if entry.name in ledgers:
            halting.halt_ledger(path, ledgers[entry.name], manifest.made_at, clock, accept_damage=accept_damage)
        elif entry.name == "data/accounts.db":
            halting.sign_everybody_out(path, clock)
        elif entry.name == "data/notices.db":
            halting.drop_unsent(path, clock)
        copies.settle(path, wal=entry.wal)
    crash_point("restore_prepared")


def _into_postgres(settings: Settings, manifest: Manifest) -> None:
    """Ledgers that live in PostgreSQL go there, halted; their files are not left lying about."""
    for one in manifest.ledgers:
        if one.kept_in == "postgresql":
            path = settings.data_dir / STAGED / Path(one.name).name
            copies.into_postgres(path, postgres_address(settings, one))
            for beside in path.parent.glob(f"{path.name}*"):  # with the log that looking at it made
                beside.unlink()
            crash_point("restore_carried")


def postgres_address(settings: Settings, ledger: LedgerFacts) -> str:
    """Which database this desk's ledger belongs into."""
    desk = Path(ledger.name).stem.removeprefix("ledger-").replace("-", "_")
    return settings.database_url.replace("{desk}", desk)


def _notes(manifest: Manifest, secrets: dict[str, bytes]) -> tuple[str, ...]:
    said = [halting.reason(manifest.made_at)] if manifest.ledgers else []
    if manifest.secrets and not secrets:
        said.append("the archive has secrets: they stay in it, and the keys of this machine stay as they are")
    if any(name.startswith("settings/") for name in secrets):
        said.append(f".env as it was lies in the data folder under {SETTINGS_FOLDER}: compare, then copy what you want")
    return tuple(said)


# Who must not be there


@contextmanager
def _no_engine(data_dir: Path) -> Iterator[None]:
    """Hold the lock of every ledger that lies there; BackupError where an engine has one."""
    with ExitStack() as held:
        for path in sorted(data_dir.glob("ledger-*.db")):
            lock = FileLock(path.with_name(path.name + ".lock"), blocking=False, mode=0o600)
            try:
                lock.acquire()
            except Timeout:
                raise BackupError(
                    f"an engine acts on {path.name}: stop it first (Ctrl+C where it runs), then restore; nothing was "
                    "changed"
                ) from None
            held.callback(lock.release)
        yield


@contextmanager
def _disk_troubles() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackupError(f"not restored: {error.strerror or error} ({error.filename or 'the disk'})") from None
    except (sqlite3.Error, json.JSONDecodeError) as error:
        raise BackupError(f"not restored: {error}") from None
