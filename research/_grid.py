"""The grid of a sweep: which values each parameter takes, which combinations there are, and what lies around each.

A combination's neighbours are those within `REACH` of every parameter's values from it (at least one step). Truth
rarely lives on a single point: where the neighbours of the best one are poor, luck put it there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from domain.errors import UnknownName
from domain.params import Param, params_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Columns = dict[str, npt.NDArray[Any]]  # by parameter, a row a combination
MOST = 100_000
STEPS = 20  # of a parameter of fractions that declares none
REACH = 0.05


@dataclass(frozen=True, slots=True)
class Axis:
    """One swept parameter and its values, in order."""

    name: str
    values: tuple[Any, ...]

    @property
    def array(self) -> npt.NDArray[Any]:
        """The values; those that are no numbers stay what they are."""
        kinds = {type(value) for value in self.values}
        return np.array(self.values, dtype=None if kinds in ({int}, {float}, {bool}) else object)

    @property
    def ordered(self) -> bool:
        """Whether its values lie beside each other: numbers do, yes and no do not."""
        return all(isinstance(v, int | float) and not isinstance(v, bool) for v in self.values)

    @property
    def reach(self) -> int:
        """How many steps of it still count as beside."""
        return max(1, round(REACH * len(self.values))) if self.ordered and len(self.values) > 1 else 0


@dataclass(frozen=True, slots=True)
class Grid:
    """Axes, and the combinations of them that are not refused: `at`, counted along the last axis first."""

    axes: tuple[Axis, ...]
    at: Ints
    refused: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(axis.values) for axis in self.axes)

    @property
    def swept(self) -> tuple[Axis, ...]:
        """Those that take more than one value."""
        return tuple(axis for axis in self.axes if len(axis.values) > 1)

    def columns(self) -> Columns:
        """Each parameter's value in each combination."""
        places = np.unravel_index(self.at, self.shape)
        return {axis.name: axis.array[place] for axis, place in zip(self.axes, places, strict=True)}

    def full(self, values: Floats) -> Floats:
        """The values laid out over the whole grid, NaN where there is no combination."""
        laid = np.full(math.prod(self.shape), np.nan)
        laid[self.at] = values
        return laid.reshape(self.shape)

    def around(self, values: Floats) -> tuple[Floats, Ints, Ints]:
        """Of each combination's neighbourhood, itself included: the sum of the values there are, how many these are,
        and how many combinations a whole one in the middle of the grid has (one number for all)."""
        laid = self.full(values)
        known = np.isfinite(laid)
        total, count, whole = np.where(known, laid, 0.0), known.astype(np.float64), 1
        for axis, of in enumerate(self.axes):
            total, count = _boxes(total, axis, of.reach), _boxes(count, axis, of.reach)
            whole *= min(2 * of.reach + 1, len(of.values))
        found = np.rint(count.reshape(-1)[self.at]).astype(np.int64)
        return total.reshape(-1)[self.at], found, np.full(len(self.at), whole)


def each(columns: Columns) -> list[dict[str, Any]]:
    """The parameters of each combination."""
    rows = zip(*(values.tolist() for values in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def axes_of(cls: type[Any], ranges: Mapping[str, Any] | None, most: int = MOST) -> tuple[Axis, ...]:
    """The axes asked for; without `ranges` every number the class declares, over its declared range.

    ValueError where a value lies outside its parameter's range, or where there are more than `most` combinations.
    """
    declared = params_of(cls)
    if not declared:
        raise ValueError(f"{cls.__name__} declares no parameters: there is nothing to sweep")
    for name in ranges or {}:
        if name not in declared:
            raise UnknownName.of(f"setting of {cls.__name__}", name, declared)
    wanted = ranges if ranges is not None else {n: None for n, p in declared.items() if _has_range(p)}
    if not wanted:
        raise ValueError(f"{cls.__name__}: name at least one parameter to sweep: {', '.join(declared)}")
    sizes = {name: _size(declared[name], spec) for name, spec in wanted.items()}
    if (count := math.prod(sizes.values())) > most:
        each = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
        name = max(sizes, key=lambda n: sizes[n])
        p = declared[name]
        wide = f"ranges={{{name!r}: ({p.low:g}, {p.high:g}, step)}}" if _has_range(p) else f"fewer values of {name}"
        raise ValueError(
            f"{cls.__name__}: {count:,} combinations ({each}) are more than {most:,}: name fewer parameters in ranges, "
            f"or take larger steps: {wide}"
        )
    return tuple(Axis(name, _values(declared[name], spec)) for name, spec in wanted.items())


def _has_range(p: Param) -> bool:
    return p.kind in (int, float) and p.low is not None and p.high is not None


def _spaced(p: Param, spec: Any) -> tuple[float, float, float] | None:
    """(low, high, step) where a range is asked for, None where values are."""
    if spec is not None and not isinstance(spec, tuple):
        return None
    if spec is not None and not (len(spec) in (2, 3) and all(isinstance(v, int | float) for v in spec)):
        raise ValueError(f"{p.name}: a tuple is (low, high) or (low, high, step), a list is values: got {spec!r}")
    if spec is None and not _has_range(p):
        return None
    low, high = (p.low, p.high) if spec is None else spec[:2]
    assert low is not None
    assert high is not None
    step = spec[2] if spec is not None and len(spec) == 3 else p.step
    step = step or (1 if p.kind is int else (high - low) / STEPS or 1.0)
    if not (step > 0 and high >= low and math.isfinite(high - low)):
        raise ValueError(f"{p.name}: a range goes up in steps above 0: got {spec!r}")
    return low, high, step


def _size(p: Param, spec: Any) -> int:
    spaced = _spaced(p, spec)
    if spaced is None:
        return len(_listed(p, spec))
    low, high, step = spaced
    return math.floor((high - low) / step + 1e-9) + 1


def _values(p: Param, spec: Any) -> tuple[Any, ...]:
    spaced = _spaced(p, spec)
    if spaced is None:
        found = _listed(p, spec)
    else:
        low, _, step = spaced
        found = [float(f"{low + n * step:.12g}") for n in range(_size(p, spec))]
    if reasons := [reason for reason in map(p.refuse, found) if reason]:
        raise ValueError(reasons[0])
    made = dict.fromkeys(p.kind(value) if p.kind in (int, float) else value for value in found)
    return tuple(sorted(made)) if p.kind in (int, float) else tuple(made)


def _listed(p: Param, spec: Any) -> list[Any]:
    if spec is None:
        return [False, True] if p.kind is bool else list(p.choices or [p.default])
    if isinstance(spec, str) or not isinstance(spec, Sequence | np.ndarray):
        spec = [spec]
    found = [value.item() if isinstance(value, np.generic) else value for value in spec]
    if not found:
        raise ValueError(f"{p.name}: there are no values")
    return found


def _boxes(values: Floats, axis: int, reach: int) -> Floats:
    """Sums over `reach` places on both sides along an axis."""
    if reach == 0:
        return values
    size = values.shape[axis]
    sums = np.concatenate([np.zeros_like(values.take([0], axis)), np.cumsum(values, axis=axis)], axis=axis)
    at = np.arange(size)
    high, low = np.minimum(at + reach + 1, size), np.maximum(at - reach, 0)
    return np.asarray(sums.take(high, axis) - sums.take(low, axis))
