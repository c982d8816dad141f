"""Backups: one consistent archive of a data folder, made while the engine runs, and the ones there are.

    made = backup.make(settings, Path("backups"), clock=SystemClock())
    backup.prune(settings, Path("backups"), keep=14)

The rule: an archive counts once it has been written, synced, read back to the last byte and only then given its name.
What dies half way leaves nothing that looks like one.
"""

from __future__ import annotations

import contextlib
import secrets as chance
import shutil
import sqlite3
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from desk import schema
from desk.crash import crash_point
from domain import registry
from domain.clock import Clock
from domain.errors import BackupError
from settings import Settings
from upkeep import archive, contents, copies, durable
from upkeep.archive import Entry, LedgerFacts, Manifest, Writer
from upkeep.contents import Piece
from upkeep.presence import HALF, JOURNAL
from upkeep.sealed import seal

LOCK = "backup.lock"
SPARE = 64 << 20  # bytes that stay free on the disk, for the ledger to go on


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that was made and proved: where it lies, its size in bytes, and what it holds."""

    path: Path
    size: int
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Listed:
    """An archive in a folder; `wrong` says why it is none that can be looked into. Its content is not read for this."""

    path: Path
    size: int
    manifest: Manifest | None
    wrong: str = ""


def make(settings: Settings, to: Path, *, clock: Clock, candles: bool = False, passphrase: str | None = None) -> Made:
    """Make one into the folder `to`. `candles`: with the kept candles and the user's own; `passphrase`: with the
    secrets, sealed by it. BackupError says why none was made; then none is there."""
    if not settings.data_dir.is_dir():
        raise BackupError(f"{settings.data_dir} is not there: nothing to back up (DATA_DIR says where it lies)")
    _outside(settings, to)
    with locked(settings.data_dir):
        if (settings.data_dir / JOURNAL).exists():
            raise BackupError(HALF.format(folder=settings.data_dir))
        desk, now = identity(settings.data_dir, make=True), clock.now()
        with _disk_troubles(to):
            to.mkdir(parents=True, exist_ok=True, mode=0o700)
            _sweep(to, desk)
            path = to / f"desk-{desk[:8]}-{now:%Y%m%dT%H%M%SZ}.zip"
            if path.exists():
                raise BackupError(f"{path.name} is there already: one a second")
            part, copied = to / f".{path.name}.part", to / f".{path.name}.copies"
            try:
                copied.mkdir(mode=0o700)
                _room(settings, to, candles=candles)
                return _made(settings, path, part, copied, desk, now, candles, passphrase)
            finally:
                durable.remove(part)
                durable.remove(copied)


def _made(
    settings: Settings,
    path: Path,
    part: Path,
    copied: Path,
    desk: str,
    now: datetime,
    candles: bool,
    passphrase: str | None,
) -> Made:
    with part.open("xb") as file, Writer(file) as writer:
        part.chmod(0o600)
        ledgers = list[LedgerFacts]()
        crash_point("backup_begun")
        carried = list(_from_postgres(settings, copied))
        for copy in carried:
            ledgers.append(_add_ledger(writer, copy, f"data/{copy.name}", "postgresql", wal=True))
        for piece in contents.databases(settings):
            if any(piece.name == f"data/{copy.name}" for copy in carried):
                continue  # a leftover beside the ledger that counts
            copy = copied / piece.path.name
            wal = copies.copy_sqlite(piece.path, copy)
            crash_point("backup_copied")
            if piece.ledger:
                ledgers.append(_add_ledger(writer, copy, piece.name, "sqlite", wal=wal))
            else:
                with copy.open("rb") as source:
                    writer.add(piece.name, source, "database", wal=wal)
            copy.unlink()
        for piece in contents.plain_files(settings, candles=candles):
            _add_file(writer, piece)
        if passphrase is not None:
            _add_secrets(writer, settings, passphrase, copied)
        said = contents.left_out(settings, candles=candles, secrets=passphrase is not None)
        manifest = Manifest(
            desk,
            now,
            app_version(),
            schema.REVISION,
            settings.trading,
            tuple(writer.entries),
            tuple(ledgers),
            tuple(said),
        )
        writer.finish(manifest)
    durable.sync_file(part)
    crash_point("backup_written")
    found = archive.verified(part)
    if found != manifest:
        raise BackupError("what was read back is not what was written; no backup was made")
    part.rename(path)
    durable.sync_folder(path.parent)
    crash_point("backup_named")
    return Made(path, path.stat().st_size, manifest)


def _add_ledger(writer: Writer, copy: Path, name: str, kept_in: str, *, wal: bool) -> LedgerFacts:
    facts = copies.ledger_facts(copy, name, kept_in)
    with copy.open("rb") as source:
        writer.add(name, source, "database", wal=wal)
    return facts


def _add_file(writer: Writer, piece: Piece) -> None:
    try:
        source: IO[bytes] = piece.path.open("rb")
    except FileNotFoundError:
        return  # a job was removed, or a candle file replaced, since the folder was listed
    with source:
        writer.add(piece.name, source, "file")


def _add_secrets(writer: Writer, settings: Settings, passphrase: str, copied: Path) -> None:
    found = {piece.name: piece.path.read_bytes() for piece in contents.secret_files(settings)}
    sealed = copied / archive.SECRETS
    sealed.write_bytes(seal(found, passphrase))
    with sealed.open("rb") as source:
        writer.add(archive.SECRETS, source, "sealed")


def _from_postgres(settings: Settings, folder: Path) -> Iterator[Path]:
    """Each ledger that DATABASE_URL leads to. BackupError where it is set and leads to none."""
    if not settings.database_url:
        return
    found = [path for url in postgres_addresses(settings) if (path := copies.from_postgres(url, folder))]
    if not found:
        raise BackupError(
            "DATABASE_URL is set, and no ledger was found there: start the engine once, or mend DATABASE_URL; no "
            "backup was made"
        )
    yield from found


def postgres_addresses(settings: Settings) -> list[str]:
    """Where a ledger may lie: the one address, or one for each desk there could be."""
    url = settings.database_url
    if "{desk}" not in url:
        return [url]
    sources = {*registry.names("feeds"), "etrade-simulator", "etrade-sandbox"}
    names = ["live-etrade", "rehearsal-etrade", *(f"paper-{source}" for source in sorted(sources))]
    return [url.replace("{desk}", name.replace("-", "_")) for name in names]


# What there is


def listed(folder: Path, desk: str = "") -> list[Listed]:
    """The archives in a folder, newest first: of the desk with this mark, or of all."""
    found = []
    for path in folder.glob("desk-*.zip") if folder.is_dir() else []:
        named = archive.NAME.fullmatch(path.name)
        if not named or (desk and named["desk"] != desk[:8]) or not path.is_file():
            continue
        try:
            with archive.reading(path) as opened:
                manifest = opened.manifest
            if not desk or manifest.desk == desk:
                found.append(Listed(path, path.stat().st_size, manifest))
        except (BackupError, OSError) as error:
            found.append(Listed(path, path.stat().st_size if path.exists() else 0, None, str(error)))
    return sorted(found, key=lambda one: archive.NAME.fullmatch(one.path.name)["stamp"], reverse=True)  # type: ignore[index]


def prune(settings: Settings, folder: Path, keep: int) -> list[Path]:
    """Remove what is older than the newest `keep` archives: of this desk, and only where those that stay were read to
    the last byte, and those that go as well. What is damaged or foreign stays and does not count."""
    check_keep(keep)
    desk, kept, gone = identity(settings.data_dir), 0, list[Path]()
    with locked(settings.data_dir):
        for one in listed(folder, desk):
            try:
                sound = one.manifest is not None and archive.verified(one.path).desk == desk
            except BackupError:
                sound = False
            if sound and kept >= keep:
                one.path.unlink()
                gone.append(one.path)
            kept += sound
        if gone:
            durable.sync_folder(folder)
    return gone


def check_keep(keep: int) -> None:
    """BackupError where so many cannot stay."""
    if keep < 1:
        raise BackupError(f"KEEP is how many backups stay, 1 or more: got {keep}")


def identity(data_dir: Path, *, make: bool = False) -> str:
    """The mark of this data folder, by which its archives are known; '' where it has none yet."""
    path = data_dir / contents.IDENTITY
    with contextlib.suppress(FileNotFoundError):
        found = path.read_text(encoding="ascii", errors="replace").strip()
        if len(found) == 32 and set(found) <= set("0123456789abcdef"):
            return found
        raise BackupError(f"{path} was changed: its 32 letters tell this desk's backups from others'; remove it")
    if not make:
        return ""
    durable.put(path, (fresh := chance.token_hex(16)).encode())
    return fresh


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """One backup or restore of a data folder at a time; BackupError for the second."""
    lock = FileLock(data_dir / LOCK, blocking=False, mode=0o600)
    try:
        lock.acquire()
    except Timeout:
        raise BackupError(f"another backup or restore of {data_dir} is under way: wait until it has ended") from None
    except OSError as error:
        raise BackupError(f"{data_dir} cannot be written ({error.strerror})") from None
    try:
        yield
    finally:
        lock.release()


def size_words(size: int) -> str:
    """Bytes for a person."""
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.0f} kB"


def app_version() -> str:
    """This project's own version; '' where its file is not there."""
    try:
        text = (Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8")
        return str(tomllib.loads(text)["project"]["version"])
    except (OSError, ValueError, KeyError):
        return ""


def _outside(settings: Settings, to: Path) -> None:
    """A backup within what is backed up would hold the ones before it, and be lost with it."""
    for inside in (settings.data_dir, settings.models_dir):
        if to.resolve().is_relative_to(inside.resolve()):
            raise BackupError(f"{to} lies within {inside}: give a folder outside, best on another disk (TO=folder)")


def _room(settings: Settings, to: Path, *, candles: bool) -> None:
    """Copies and archive lie beside each other for a moment."""
    pieces = [*contents.databases(settings), *contents.plain_files(settings, candles=candles)]
    sizes = [piece.path.stat().st_size for piece in pieces if piece.path.exists()]
    needed = sum(sizes) + max(sizes, default=0) + SPARE
    if (free := shutil.disk_usage(to).free) < needed:
        raise BackupError(
            f"{to} has {free >> 20:,} MB free and up to {needed >> 20:,} MB are needed; no backup was made"
        )


def _sweep(to: Path, desk: str) -> None:
    """What an earlier one left when it was killed: ours, by its name; and nobody works on it, for we hold the lock."""
    for path in to.glob(f".desk-{desk[:8]}-*"):
        if path.name.endswith((".zip.part", ".zip.copies")):
            durable.remove(path)


@contextmanager
def _disk_troubles(to: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackupError(f"no backup was made in {to}: {error.strerror or error}") from None
    except sqlite3.Error as error:
        raise BackupError(f"no backup was made in {to}: {error}") from None


__all__ = ["Entry", "Listed", "Made", "identity", "listed", "make", "prune"]
