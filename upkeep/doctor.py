"""The doctor: everything a desk stands on, looked at one after the other, whatever is broken before.

    python -m upkeep doctor          (or `make doctor`, `python -m bootstrap --check`)

The rule: a check that fails is a finding, never the end. Each room of checks is imported only when its turn comes, so
that a package that is missing is said by name and the rest is still looked at.
"""

from __future__ import annotations

import importlib
from typing import Iterator, Tuple  # noqa: UP035 - read by Pythons that are too old for the rest

from upkeep.findings import Finding, wrong

# By room and function; each answers with findings. The first room needs nothing but the standard library.
CHECKS: Tuple[Tuple[str, str], ...] = (  # noqa: UP006
    ("checks_machine", "python"),
    ("checks_machine", "packages"),
    ("checks_machine", "tools"),
    ("checks_settings", "read"),
    ("checks_settings", "folder"),
    ("checks_ledgers", "ledgers"),
    ("checks_ledgers", "postgres"),
    ("checks_ledgers", "books"),
    ("checks_settings", "halt"),
    ("checks_settings", "etrade"),
    ("checks_doors", "accounts"),
    ("checks_doors", "port_and_tls"),
    ("checks_doors", "channels"),
    ("checks_files", "models"),
    ("checks_files", "candles"),
    ("checks_files", "backups"),
    ("checks_machine", "clock"),
)


def examine() -> Iterator[Finding]:
    """Every finding, as soon as it is known. It never raises."""
    for room, name in CHECKS:
        try:
            check = getattr(importlib.import_module("upkeep." + room), name)
        except ImportError as error:
            missing = getattr(error, "name", "") or str(error)
            yield wrong(
                name.replace("_", " "),
                f"cannot be looked at: {missing} is not installed",
                "the desk itself would not start either",
                "make run   (installs what requirements.txt names)",
            )
            continue
        except Exception as error:  # noqa: BLE001 - one broken part must not hide the others
            yield _broken(name, error)
            continue
        try:
            yield from check()  # one by one: what was found before it broke is said
        except Exception as error:  # noqa: BLE001
            yield _broken(name, error)


def _broken(name: str, error: Exception) -> Finding:
    from upkeep.unsaid import unsaid

    said = unsaid(f"{type(error).__name__}: {error}")
    return wrong(
        name.replace("_", " "),
        f"the look itself broke off ({said})",
        "what cannot be looked at may be broken",
        "mend what the sentence names; if it names nothing, report it with this line",
    )
