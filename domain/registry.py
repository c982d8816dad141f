"""Find the parts in a drawer. Adding a part is adding a file: its stem is its name, its `PART` is the class.

A file is imported only when its part is asked for, so a heavy one costs nothing until it is used.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from domain.errors import UnknownName

# What lives in a drawer and is no part: the port, and what serves the whole drawer.
NOT_PARTS = frozenset({"base", "board", "keeper", "market", "store"})


_ONE = {"strategies": "strategy"}


def names(drawer: str) -> list[str]:
    """The parts in a drawer (a package such as `feeds`), sorted, none of them imported."""
    package = importlib.import_module(drawer)
    stems = {module.name for module in pkgutil.iter_modules(package.__path__)}
    return sorted(stem for stem in stems - NOT_PARTS if not stem.startswith("_"))


def check_name(drawer: str, name: str) -> None:
    """UnknownName, with the nearest one, where the drawer has no such part."""
    if name not in names(drawer):
        raise UnknownName.of(_ONE.get(drawer, drawer.rstrip("s")), name, names(drawer))


def part(drawer: str, name: str) -> Any:
    """The class in `drawer/name.py`. An unknown name is answered with the nearest known one (`UnknownName`)."""
    check_name(drawer, name)
    module = importlib.import_module(f"{drawer}.{name}")
    found = getattr(module, "PART", None)
    if found is None:
        raise UnknownName(f"{drawer}/{name}.py has no PART: add `PART = YourClass` at its end")
    return found
