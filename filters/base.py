"""What a filter is: a frozen dataclass that says of each bar whether a strategy may enter on it, and why.

    verdicts = judged(Volume(bars=50), candles, wanted)
    verdicts.passes[-1]      # whether an entry on this bar is let through, for the side that is wanted there
    verdicts.why(-1)         # in words, with the figures
    held, state = filtered(wanted, [verdicts])

The rules: row t is worked out from rows up to t, and from no more than `REACH * warmup + 1` of them, so that a window
of so many bars gives the last row that all of history gives, to the bit. A filter stops entries only. An exit, the end
of a side that turns round and a change of size within a side are never held up.

An entry is let in on the first bar where all filters pass, while its signal is at most `good_for` bars old. After that
nothing is held until the strategy wants another side, or nothing, and then a side again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import pandas as pd

from domain import registry
from strategies.base import Wanted

Mask = npt.NDArray[np.bool_]
Others = Mapping[str, tuple[pd.DataFrame, Wanted]]  # by symbol: its candles and what its strategy wants
REACH = 4  # a filter's last row needs so many warm-ups of bars, as a strategy's does
GOOD_FOR = 3


@dataclass(frozen=True, slots=True, eq=False)
class Verdicts:
    """One row a bar: whether an entry on it is let through, for the side wanted there; `reason(row)` says why in one
    line with the figures, whichever way it was decided."""

    passes: Mask
    reason: Callable[[int], str]

    def why(self, row: int) -> str:
        """The reason for a row (negative counts from the end), on one line."""
        return " ".join(self.reason(row % len(self.passes)).split())


@runtime_checkable
class Filter(Protocol):
    """A frozen dataclass of `param` fields with one pure method. The file's stem is its name; it ends with `PART`.

    A filter that must know whose bars it judges has a plain field `symbol: str = ""` besides; `judged` fills it in.
    """

    label: ClassVar[str]
    about: ClassVar[str]  # one plain sentence

    @property
    def warmup(self) -> int:
        """Bars that must lie before a bar for it to be judged; the rows before do not pass."""
        ...

    def verdicts(self, candles: pd.DataFrame, wanted: Wanted, others: Others | None) -> Verdicts:
        """One row a bar. `others` are the symbols traded beside this one, where there are any."""
        ...


def judged(
    which: Filter, candles: pd.DataFrame, wanted: Wanted, others: Others | None = None, *, symbol: str = ""
) -> Verdicts:
    """What the filter says, checked; no row of its warm-up passes. ValueError names the filter and the rule.

    `symbol` is whose bars these are, for the filters that ask.
    """
    name = type(which).__name__
    if len(wanted.exposure) != len(candles):
        raise ValueError(f"{name}: got {len(wanted.exposure)} rows of wants for {len(candles)} bars")
    answer = _for_symbol(which, symbol).verdicts(candles, wanted, others)
    passes = np.asarray(answer.passes)
    if passes.dtype != np.bool_:
        raise ValueError(f"{name}: passes must be true or false: got an array of {passes.dtype}")
    if passes.shape != (len(candles),):
        raise ValueError(f"{name}: passes must have one row a bar: got shape {passes.shape} for {len(candles)}")
    return _still(Verdicts(passes, answer.reason), which.warmup)


def _for_symbol(which: Filter, symbol: str) -> Filter:
    if symbol and is_dataclass(which) and any(field.name == "symbol" for field in fields(which)):
        found: Filter = replace(which, symbol=symbol)
        return found
    return which


def _still(answer: Verdicts, warmup: int) -> Verdicts:
    passes, said = answer.passes.copy(), answer.reason
    passes[:warmup] = False

    def reason(row: int) -> str:
        return said(row) if row >= warmup else f"needs {warmup} bars before this one and there are {row}"

    return Verdicts(passes, reason)


# From verdicts to what is held


class State(NamedTuple):
    """What the next bar must know of the ones before. Three plain numbers: `State(*json.loads(json.dumps(state)))`."""

    side: int = 0  # the side that the strategy wanted on the bar before: 1, -1 or 0
    waits: int = 0  # bars for which its signal may still be let in; 0 once it was, or is too old
    inside: int = 0  # 1 while it is followed


START = State()


def step(state: State, raw_exposure: float, passes: bool, *, good_for: int = GOOD_FOR) -> tuple[float, State]:
    """What is held from this bar on, and the state to keep for the next one. Call it once for every bar, in order.

    `raw_exposure` is what the strategy wants on this bar, `passes` whether all filters let an entry through on it.
    """
    from filters import _kernels  # here, for numba's import is slow and a form needs only the names

    if not -1.0 <= raw_exposure <= 1.0:
        raise ValueError(f"raw_exposure must be a number in [-1, 1]: got {raw_exposure}")
    _check_good_for(good_for)
    side, waits, inside = (int(one) for one in state)
    after = State(*_kernels.let_in(side, waits, inside, float(raw_exposure), bool(passes), good_for))
    return (float(raw_exposure) if after.inside else 0.0), after


def filtered(
    wanted: Wanted, verdicts: Sequence[Verdicts], *, good_for: int = GOOD_FOR, start: State = START
) -> tuple[Wanted, State]:
    """What is held once the filters have spoken, bar by bar from the state `start`, and the state after the last bar.

    Equal to calling `step` on each row. Without filters, what is wanted is what is held. `why(row)` tells an entry that
    waits, one that was refused and what refused it from one that was let in.
    """
    from filters import _kernels

    _check_good_for(good_for)
    raw = np.ascontiguousarray(wanted.exposure, dtype=np.float64)
    passes = all_pass(verdicts, len(raw))
    first = tuple(int(one) for one in start)
    exposure, waits, end = _kernels.filtered(raw, passes, good_for, *first)
    why = _Told(wanted, tuple(verdicts), exposure, waits, passes)
    return replace(wanted, exposure=exposure, reason=why), State(*end)


def all_pass(verdicts: Sequence[Verdicts], rows: int) -> Mask:
    """Where every filter passes; everywhere where there is none. ValueError where one has another number of rows."""
    passes = np.ones(rows, dtype=np.bool_)
    for one in verdicts:
        if one.passes.shape != (rows,):
            raise ValueError(f"each filter must have one verdict a bar: got {one.passes.shape} for {rows}")
        passes &= one.passes
    return passes


def _check_good_for(good_for: int) -> None:
    if isinstance(good_for, bool) or not isinstance(good_for, int) or good_for < 0:
        raise ValueError(f"good_for must be a whole number of bars, 0 or more: got {good_for!r}")


@dataclass(frozen=True, slots=True, eq=False)
class _Told:
    """The reason of a filtered row: the strategy's own, and what the filters made of it."""

    wanted: Wanted
    verdicts: tuple[Verdicts, ...]
    exposure: npt.NDArray[np.float64]
    waits: npt.NDArray[np.int64]
    passes: Mask

    def __call__(self, row: int) -> str:
        own, raw = self.wanted.why(row), self.wanted.exposure[row]
        if raw == 0.0 or self.exposure[row] != 0.0:
            return own
        against = "; ".join(one.why(row) for one in self.verdicts if not one.passes[row])
        if self.waits[row]:
            return _joined(own, f"held back for at most {self.waits[row]} more bars: {against}")
        if self.passes[row]:
            return _joined(own, "not held: the filters pass now, but the signal is too old")
        return _joined(own, f"not held: {against}")


def _joined(own: str, said: str) -> str:
    return f"{own}; {said}" if own else said


# The drawer


def names() -> list[str]:
    """The filters there are, by name."""
    return registry.names("filters")


def find(name: str) -> type[Any]:
    """The class of a filter by its file's name. UnknownName offers the nearest."""
    found: type[Any] = registry.part("filters", name)
    return found


def unusable() -> dict[str, str]:
    """What is wrong with the files of the drawer that no form can offer, by name."""
    return registry.unusable("filters")
