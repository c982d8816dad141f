"""A trained model as its users see it, and the shelf it stands on.

    model = shelf().model("champion")
    p = model.predict(candles)               # a row a bar, a column a class; NaN where the model says nothing

A strategy asks the shelf; what a model is made of is no business of a strategy's. The shelf of `model_manager` is found
by its file's name when somebody first asks, as the parts of a drawer are: so it is there in every process, and nothing
heavy is loaded before. A test puts up one of its own with `use_shelf`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
ALIASES = ("champion", "challenger")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """What is known of a model without loading it. Times are UTC nanoseconds.

    `seen_until` is the last moment that anything was learned or tuned from: answers about earlier bars prove nothing.
    `data_until` is where the candles ended that it was made and judged with. `warmup` are the bars before its first
    answer. `problem` says why nothing it says may be used; '' where it may.
    """

    name: str
    version: int
    timeframe: str
    seq_len: int
    warmup: int
    classes: tuple[str, ...]
    label: str
    seen_until: int
    data_until: int
    sha256: str
    market: str = ""
    problem: str = ""

    @property
    def called(self) -> str:
        return f"{self.name}_v{self.version}"


class Model(Protocol):
    """Anything that turns closed candles into probabilities: an LSTM, a classifier, a policy."""

    @property
    def facts(self) -> ModelFacts: ...

    def predict(self, candles: pd.DataFrame) -> Floats:
        """(bars, classes), each row from the rows up to it, summing to 1; NaN where there is no answer."""
        ...

    def why_not(self, candles: pd.DataFrame, row: int) -> str:
        """Why there is no answer for a row, in words; '' where there is one."""
        ...


class Shelf(Protocol):
    """Where models stand. `asked` is an alias (`champion`) or a version (`v3`); a ModelError says what is wrong."""

    def facts(self, asked: str) -> ModelFacts: ...

    def model(self, asked: str) -> Model: ...


_shelf: Shelf | None = None


def use_shelf(shelf: Shelf | None) -> Shelf | None:
    """Put up a shelf for this process; None: the one of `model_manager`. The one before is handed back."""
    global _shelf
    before, _shelf = _shelf, shelf
    return before


def shelf() -> Shelf:
    """The shelf of this process."""
    if _shelf is not None:
        return _shelf
    found: Shelf = importlib.import_module("model_manager").shelf()
    return found


def plain(value: Any, where: str = "it") -> Any:
    """`value` where it is nothing but text, numbers, booleans, None, lists and mappings of them.

    A ValueError names the place and the type of what is not: a numpy number in a model's file makes it unreadable for
    a loader that runs nothing.
    """
    if isinstance(value, Mapping):
        for key, one in value.items():
            if type(key) is not str:
                raise ValueError(f"{where} has the key {key!r}, which is no text")
            plain(one, f"{where}.{key}")
    elif type(value) in (list, tuple):
        for at, one in enumerate(value):
            plain(one, f"{where}[{at}]")
    elif type(value) not in (str, int, float, bool, type(None)):
        raise ValueError(f"{where} is a {type(value).__module__}.{type(value).__name__}, not a plain value")
    elif type(value) is float and not np.isfinite(value):
        raise ValueError(f"{where} is {value}, which JSON does not know: write None")
    return value
