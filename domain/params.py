"""Tunable fields, declared once: `fast: int = param(10, low=2, high=100)`.

Forms, sweeps, tuners, the API and the ledger all read this one declaration.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from domain.errors import UnknownName

_KEY = "param"


@dataclass(frozen=True, slots=True)
class Param:
    """One tunable field: what it is called, what it may be, and what to say about it."""

    name: str
    default: Any
    kind: type
    low: float | None = None
    high: float | None = None
    step: float | None = None
    choices: tuple[Any, ...] = ()
    help: str = ""

    def refuse(self, value: Any) -> str | None:
        """Why `value` may not stand here, or None where it may."""
        if self.choices and value not in self.choices:
            return f"{self.name} must be one of {', '.join(map(str, self.choices))}: got {value!r}"
        if self.kind in (int, float):
            return self._refuse_number(value)
        if not isinstance(value, self.kind):
            return f"{self.name} must be a {self.kind.__name__}: got {value!r}"
        return None

    def _refuse_number(self, value: Any) -> str | None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return f"{self.name} must be a finite number: got {value!r}"
        if self.kind is int and value != int(value):
            return f"{self.name} must be a whole number: got {value!r}"
        if self.low is not None and value < self.low:
            return f"{self.name} must be at least {self.low}: got {value!r}"
        if self.high is not None and value > self.high:
            return f"{self.name} must be at most {self.high}: got {value!r}"
        return None


def param(
    default: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    step: float | None = None,
    choices: tuple[Any, ...] = (),
    help: str = "",
) -> Any:
    """Declare a dataclass field with its range; the field's type is that of `default`."""
    declared = Param("", default, type(default), low, high, step, tuple(choices), help)
    if reason := dataclasses.replace(declared, name="default").refuse(default):
        raise ValueError(reason)
    return dataclasses.field(default=default, metadata={_KEY: declared})


def params_of(cls: type) -> dict[str, Param]:
    """The tunable fields of a dataclass, in order; fields without `param()` are not tunable."""
    declared = ((f.name, f.metadata.get(_KEY)) for f in dataclasses.fields(cls))
    return {name: dataclasses.replace(found, name=name) for name, found in declared if found}


def check_params(instance: Any) -> None:
    """Call in `__post_init__`: every tunable field within its range, or a ValueError that names all that are not."""
    declared = params_of(type(instance))
    reasons = [p.refuse(getattr(instance, name)) for name, p in declared.items()]
    if wrong := [reason for reason in reasons if reason]:
        raise ValueError(f"{type(instance).__name__}: " + "; ".join(wrong))


def build(cls: type, values: dict[str, Any]) -> Any:
    """`cls(**values)` for values from a form or an API: an unknown name is answered with the nearest known one."""
    declared = params_of(cls)
    for name in values:
        if name not in declared:
            raise UnknownName.of(f"setting of {cls.__name__}", name, declared)
    return cls(**values)
