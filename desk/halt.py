"""The HALT file: whoever can write a file into the data folder can stop the desk, whatever else is broken.

Its content is a level, 1 to 4 or its name; an empty one, or one that cannot be read, is HALT.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from domain.trading_state import KillLevel


def halt_level(paths: Iterable[Path]) -> tuple[KillLevel, Path] | None:
    """The strictest level that a file asks for, and which file; None where there is none."""
    found = [(level, path) for path in paths if (level := _level(path)) is not None]
    return max(found, key=lambda one: one[0], default=None)


def _level(path: Path) -> KillLevel | None:
    try:
        said = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return KillLevel.HALT
    return KillLevel.read(said.split()[0]) if said else KillLevel.HALT


def write_halt(path: Path, level: KillLevel, reason: str) -> None:
    """Ask for this level by file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{int(level)} {reason}\n", encoding="utf-8")
