"""Every named place where the desk may die, read from its own source: a new one is tested without being listed here."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
_NAMED = re.compile(r'crash_point(?:s\.append)?\("(\w+)"\)')
ON_THE_LINE = ("bytes_sent", "accepted", "cancel_sent", "cancel_accepted")  # tests/faults/broker.py
SOURCES = (*(ROOT / "desk").glob("*.py"), *(ROOT / "brokers").glob("*.py"), ROOT / "trading_bot.py")


def points() -> tuple[str, ...]:
    """Their names; `during_migration` too, which only a ledger's first opening passes."""
    found = {name for path in SOURCES for name in _NAMED.findall(path.read_text(encoding="utf-8"))}
    return tuple(sorted(found | set(ON_THE_LINE)))


class Died(BaseException):
    """A death in the middle of it, for a test that lives on: nothing in the desk catches it."""


def at(point: str, visit: int, then: Callable[[], None]) -> Callable[[str], None]:
    """A hook that does `then` on that visit of that point, once."""
    passed = 0

    def hook(name: str) -> None:
        nonlocal passed
        passed += name == point
        if name == point and passed == visit:
            then()

    return hook


def kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die() -> None:
    raise Died
