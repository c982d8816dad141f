"""Errors of every program of this desk, from its log, for whoever is told of errors.

How far the log was read is remembered with the messages that came of it, over its turning over too. The notifier's own
lines are left out: a channel that fails must not tell of itself by itself.
"""

from __future__ import annotations

import contextlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

from desk.logs import KEPT, numbered
from domain.notices import ABOUT, Kind, Severity
from notices.happenings import Happening, mark

NAME = "log"
MOST_BYTES = 400_000
_LEVELS = {"error": Severity.WARNING, "critical": Severity.URGENT}
_OWN = ("notifier", "alerts", "apscheduler")


def read(path: Path, before: Any) -> tuple[list[Happening], dict[str, tuple[Any, Any]]]:
    """Errors since `before`, a position this gave earlier, and the position to write with them; None: from its end."""
    file, offset = _place(path, before)
    if file is None:
        return [], {}
    if before is None:
        return [], {NAME: (None, {"file": _name(file), "at": file.stat().st_size})}
    with file.open("rb") as opened:
        opened.seek(offset)
        read = opened.read(MOST_BYTES)
    whole = read.rfind(b"\n") + 1
    if not whole and len(read) == MOST_BYTES:
        whole = len(read)  # no line of ours is that long
    after = {"file": _name(file), "at": offset + whole}
    if file != path and not whole:
        after = {"file": _name(_next(path, file)), "at": 0}
    told, at = list[Happening](), offset
    for line in read[:whole].splitlines(keepends=True):
        if (happening := _told(line, f"log:{_name(file)}:{at}")) is not None:
            told.append(happening)
        at += len(line)
    return told, {} if after == before else {NAME: (before, after)}


def _place(path: Path, before: Any) -> tuple[Path | None, int]:
    """The file to go on in: the same one, wherever it has been moved; else the newest from its start."""
    with contextlib.suppress(OSError):
        for file in (path, *(numbered(path, n) for n in range(1, KEPT + 1))):
            if before is not None and file.exists() and _name(file) == before["file"]:
                fits = before["at"] <= file.stat().st_size
                return file, int(before["at"]) if fits else 0
    return (path, 0) if path.exists() else (None, 0)


def _next(path: Path, file: Path) -> Path:
    """The one that was begun after it."""
    number = int(file.name.rpartition(".")[2])
    return path if number == 1 else numbered(path, number - 1)


def _name(file: Path) -> str:
    return str(file.stat().st_ino)


def _told(line: bytes, id: str) -> Happening | None:
    try:
        said = json.loads(line)
        severity = _LEVELS.get(said["level"])
        if severity is None or str(said.get("logger", "")).split(".")[0] in _OWN:
            return None
        at = datetime.fromisoformat(said["at"])
        event = " ".join(str(said["event"]).split())[:200] or "an error"
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if at.tzinfo is None:
        return None
    trace = str(said.get("exception", "")).strip().splitlines()
    text = "\n".join(
        line
        for line in (trace[-1][:500] if trace else "", f"{said.get('program', '')} {said.get('logger', '')}".strip())
        if line
    )
    steady = "".join(letter for letter in event if not letter.isdigit())
    about, symbol = f"error:{mark(steady)}", str(said.get("symbol", ""))
    return Happening(id, Kind.ERROR, severity, event, text, at, symbol, about, ABOUT[Kind.ERROR].window_s)
