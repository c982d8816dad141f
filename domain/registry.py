"""Find the parts in a drawer. Adding a part is adding a file: its stem is its name, its `PART` is the class.

A file is imported only when its part is asked for, so a heavy one costs nothing until it is used.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Any

from domain.errors import UnknownName
from domain.params import params_of

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


def written(drawer: str) -> dict[str, tuple[int, int]]:
    """When each file of a drawer was last written (nanoseconds), and its size: a process that began with others holds
    code that is no longer there."""
    package = importlib.import_module(drawer)
    files = [file for folder in package.__path__ for file in sorted(Path(folder).glob("*.py"))]
    return {str(file): (found.st_mtime_ns, found.st_size) for file in files if (found := file.stat())}


def part(drawer: str, name: str) -> Any:
    """The class in `drawer/name.py`. UnknownName names the nearest one where there is none of that name, and says what
    is wrong with a file that cannot be loaded."""
    check_name(drawer, name)
    try:
        module = importlib.import_module(f"{drawer}.{name}")
    except Exception as error:
        raise UnknownName(f"{drawer}/{name}.py cannot be loaded: {type(error).__name__}: {error}") from error
    found = getattr(module, "PART", None)
    if found is None:
        raise UnknownName(f"{drawer}/{name}.py has no PART: add `PART = YourClass` at its end")
    return found


def unusable(drawer: str) -> dict[str, str]:
    """What is wrong with the files of a drawer that no form can offer, by name: a form needs a label, a sentence and
    the declared parameters."""
    found = {}
    for name in names(drawer):
        try:
            kind = part(drawer, name)
            _ = kind.label, kind.about, params_of(kind)
        except Exception as error:  # noqa: BLE001 - a person's own file may fail in any way; the others are offered
            found[name] = str(error) or type(error).__name__
    return found
