"""Files that are there whole and stay there when the power fails: written beside their place, synced, moved."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path


def sync_file(path: Path) -> None:
    """What was written to it is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_folder(path: Path) -> None:
    """Its names are on the disk; Windows cannot open a folder and does not need it."""
    with contextlib.suppress(OSError):
        sync_file(path)


def sync_tree(path: Path) -> None:
    """Everything beneath a folder, files first."""
    for folder, _, names in os.walk(path, topdown=False):
        for name in names:
            sync_file(Path(folder) / name)
        sync_folder(Path(folder))


def put(path: Path, content: bytes) -> None:
    """Replace it by `content`, mode 0600, whole or not at all."""
    beside = path.with_name(f".{path.name}.part")
    with contextlib.suppress(FileNotFoundError):
        beside.unlink()
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)
    sync_folder(path.parent)


def remove(path: Path) -> None:
    """A file or a folder with all that is in it; harmless where there is none."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
