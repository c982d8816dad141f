"""Named places where a test may kill the process. Without a test each is a no-op.

`install(hook)` is called by code only, never by a setting: nothing outside a test can make the desk die.
"""

from __future__ import annotations

from collections.abc import Callable

LEDGER_POINTS = ("after_intent", "before_commit", "mid_fill_tx", "after_fill_commit", "after_lease", "during_migration")

Hook = Callable[[str], None]
_hook: Hook | None = None


def install(hook: Hook | None) -> None:
    """From now on every crash point calls `hook` with its name; None takes it away again."""
    global _hook
    _hook = hook


def crash_point(name: str) -> None:
    """A place where dying must do no harm."""
    if _hook is not None:
        _hook(name)
