"""The archive: a zip with a manifest, written once, proved by reading it back.

The rule: an archive is a stranger's file until every name, size and hash in it has been looked at. Nothing is unpacked
by the names that a zip gives: only what the manifest lists, under names from a closed grammar, and no byte more than it
says.
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from domain.errors import BackupError

FORMAT, VERSION = "candlestick-desk-backup", 1
MANIFEST, SECRETS = "manifest.json", "secrets.sealed"
MOST_MANIFEST, MOST_SECRETS, MOST_FILES = 64 << 20, 64 << 20, 500_000
CHUNK = 1 << 20
NAME = re.compile(r"desk-(?P<desk>[0-9a-f]{8})-(?P<stamp>[0-9]{8}T[0-9]{6}Z)\.zip")
_TOPS = ("data", "models")
_ID, _SHA = re.compile(r"[0-9a-f]{32}"), re.compile(r"[0-9a-f]{64}")
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError, OSError, RuntimeError)


@dataclass(frozen=True, slots=True)
class Entry:
    """One file in it. `size` in bytes; `wal`: a database that writes ahead."""

    name: str
    kind: str
    size: int
    sha256: str
    wal: bool = False


@dataclass(frozen=True, slots=True)
class LedgerFacts:
    """A ledger in it: whose it is, how far it goes, where it was kept (`sqlite` or `postgresql`), what contradicts
    itself."""

    name: str
    kept_in: str
    desk: str
    price_source: str
    id: str
    revision: str
    audit_seq: int
    audit_hash: str
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an archive says of itself. `desk`: the data folder's own mark; `revision`: of the ledger's tables."""

    desk: str
    made_at: datetime
    app: str
    revision: str
    trading: str
    files: tuple[Entry, ...]
    ledgers: tuple[LedgerFacts, ...] = ()
    left_out: tuple[str, ...] = field(default=())

    @property
    def unpacked(self) -> int:
        """Bytes of everything in it, unpacked."""
        return sum(one.size for one in self.files)

    @property
    def secrets(self) -> bool:
        return any(one.name == SECRETS for one in self.files)

    def to_json(self) -> bytes:
        said = {"format": FORMAT, "version": VERSION, **asdict(self), "made_at": self.made_at.isoformat()}
        return json.dumps(said, indent=1).encode()


class Writer:
    """Files one after the other into a zip; what was added is known by size and hash."""

    def __init__(self, file: IO[bytes]) -> None:
        self._zip = zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=4)
        self.entries: list[Entry] = []

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.fp = None  # what was not finished is left as it is: on a full disk its end could not be written

    def add(self, name: str, source: IO[bytes], kind: str, *, wal: bool = False) -> None:
        check_name(name)
        seen, size = hashlib.sha256(), 0
        info = zipfile.ZipInfo(name)
        info.compress_type = zipfile.ZIP_STORED if name == SECRETS else zipfile.ZIP_DEFLATED
        info.external_attr = 0o600 << 16
        with self._zip.open(info, "w", force_zip64=True) as into:
            while chunk := source.read(CHUNK):
                seen.update(chunk)
                size += len(chunk)
                into.write(chunk)
        self.entries.append(Entry(name, kind, size, seen.hexdigest(), wal))

    def finish(self, manifest: Manifest) -> None:
        self._zip.writestr(zipfile.ZipInfo(MANIFEST), manifest.to_json())
        self._zip.close()


class Reader:
    """An archive that was looked at: its names, kinds and sizes are what its manifest says. `read` proves content."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, manifest: Manifest) -> None:
        self.path, self._zip, self.manifest = path, archive, manifest

    def chunks(self, entry: Entry) -> Iterator[bytes]:
        """Its content; BackupError, at the latest at the end, where it is not what the manifest says. Nothing beyond
        the size that was promised is ever unpacked."""
        seen, left = hashlib.sha256(), entry.size
        try:
            with self._zip.open(entry.name) as file:
                while chunk := file.read(min(CHUNK, left + 1)):
                    left -= len(chunk)
                    if left < 0:
                        break
                    seen.update(chunk)
                    yield chunk
        except _DAMAGED as error:
            raise self.wrong(f"{entry.name} cannot be unpacked ({type(error).__name__})") from None
        if left or seen.hexdigest() != entry.sha256:
            raise self.wrong(f"{entry.name} is not what was saved: its size or hash differs")

    def bytes_of(self, name: str) -> bytes:
        """A small file as a whole."""
        entry = next(one for one in self.manifest.files if one.name == name)
        return b"".join(self.chunks(entry))

    def prove(self) -> None:
        """Read every byte once."""
        for entry in self.manifest.files:
            for _ in self.chunks(entry):
                pass

    def wrong(self, said: str) -> BackupError:
        return BackupError(f"{self.path.name}: {said}; use another archive")


@contextmanager
def reading(path: Path) -> Iterator[Reader]:
    """Open an archive and look at everything but the content. BackupError says what is wrong with it."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise BackupError(f"{path}: cannot be read ({error.strerror})") from None
    with file:
        try:
            archive = zipfile.ZipFile(file)
        except _DAMAGED:
            raise BackupError(f"{path.name}: is no backup, or was cut short; use another archive") from None
        with archive:
            yield Reader(path, archive, _looked_at(path, archive))


def verified(path: Path) -> Manifest:
    """The manifest of an archive of which every byte was read and is as it was saved; BackupError otherwise."""
    with reading(path) as archive:
        archive.prove()
        return archive.manifest


def check_name(name: str) -> None:
    """Names that may stand in an archive: beneath data/ or models/, no step up, nothing odd. BackupError otherwise."""
    parts = name.split("/")
    if name == SECRETS:
        return
    odd = any(part in ("", ".", "..") or len(part.encode()) > 255 or not part.isprintable() for part in parts)
    if odd or parts[0] not in _TOPS or len(parts) < 2 or "\\" in name or ":" in name or len(name) > 1000:
        raise BackupError(f"{name[:80]!r} is no name that a backup has")


def _looked_at(path: Path, archive: zipfile.ZipFile) -> Manifest:
    def wrong(said: str) -> BackupError:
        return BackupError(f"{path.name}: {said}; use another archive")

    infos = archive.infolist()
    names = [info.filename for info in infos]
    if MANIFEST not in names or len(infos) > MOST_FILES + 1:
        raise wrong(
            "has no manifest: it is no backup of this desk" if MANIFEST not in names else "holds too many files"
        )
    if len(set(names)) < len(names):
        raise wrong("holds one name twice")
    for info in infos:
        mode = info.external_attr >> 16
        if info.is_dir() or (stat.S_IFMT(mode) and not stat.S_ISREG(mode)) or info.flag_bits & 0x1:
            raise wrong(f"{info.filename[:80]!r} is a link, a folder or locked: a backup holds plain files only")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise wrong(f"{info.filename[:80]!r} is packed in a way that no backup is")
    if sum(info.compress_size for info in infos) > path.stat().st_size:
        raise wrong("its files overlap")
    manifest = _manifest(archive, wrong)
    sizes = {info.filename: info.file_size for info in infos if info.filename != MANIFEST}
    if sizes != {one.name: one.size for one in manifest.files}:
        raise wrong("holds other files, or other sizes, than its manifest says")
    if any(one.size > MOST_SECRETS for one in manifest.files if one.name == SECRETS):
        raise wrong("its secrets are too large")
    return manifest


def _manifest(archive: zipfile.ZipFile, wrong: Any) -> Manifest:
    if archive.getinfo(MANIFEST).file_size > MOST_MANIFEST:
        raise wrong("its manifest is too large")
    try:
        with archive.open(MANIFEST) as file:
            said = json.loads(file.read(MOST_MANIFEST))
        if said["format"] != FORMAT:
            raise wrong("is no backup of this desk")
        if said["version"] != VERSION:
            raise wrong(f"was made in format {said['version']!r:.20}, this version reads {VERSION}: update it first")
        return _parsed(said)
    except BackupError:
        raise
    except (*_DAMAGED, KeyError, TypeError, AttributeError):
        raise wrong("its manifest cannot be read") from None


def _parsed(said: Mapping[str, Any]) -> Manifest:
    files = tuple(
        Entry(str(o["name"]), str(o["kind"]), int(o["size"]), str(o["sha256"]), o.get("wal") is True)
        for o in said["files"]
    )
    for one in files:
        check_name(one.name)
        if one.size < 0 or not _SHA.fullmatch(one.sha256) or one.kind not in ("database", "file", "sealed"):
            raise ValueError(one.name)
    ledgers = tuple(LedgerFacts(**{**one, "problems": tuple(one["problems"])}) for one in said["ledgers"])
    made = datetime.fromisoformat(said["made_at"])
    if made.tzinfo is None or not _ID.fullmatch(str(said["desk"])):
        raise ValueError("made_at")
    if not {one.name for one in ledgers} <= {one.name for one in files}:
        raise ValueError("ledgers")
    app, revision, trading = (str(said[name]) for name in ("app", "revision", "trading"))
    left_out = tuple(map(str, said["left_out"]))
    return Manifest(str(said["desk"]), made, app, revision, trading, files, ledgers, left_out)
