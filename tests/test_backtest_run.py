"""backtest/run.py and backtest/compile.py: arrays that do not fit are refused, and what is compiled is found again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from backtest import compile as compiling
from backtest.inputs import gather, named
from backtest.run import compiled_before, walk
from backtest.setup import Setup
from backtester import Exit
from tests.test_backtester import bars

FLAT = bars(*[(100.0, 101.0, 99.0, 100.0)] * 6)
WITH_RANGES = Setup(stop=Exit("atr", 2.0, 2))


def inputs(setup: Setup = WITH_RANGES, **changes: Any) -> Any:
    """Two symbols, the second without its last bar, and what is changed about the first."""
    frames = {"AAPL": FLAT, "KO": FLAT.iloc[:5]}
    found = gather(named(frames, None), lambda of, candles: np.ones(len(candles)), setup, None, None)
    first, second = found.ones
    return replace(found, ones=(replace(first, **changes), second))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"want": np.ones(5)}, r"AAPL: wishes must have the shape \(6,\): got \(5,\)"),
        ({"want": np.ones(7)}, r"AAPL: wishes must have the shape \(6,\): got \(7,\)"),
        ({"ranges": np.ones((1, 5))}, r"AAPL: ranges must have the shape \(1, 6\): got \(1, 5\)"),
        ({"ranges": np.ones((0, 6))}, r"AAPL: ranges must have the shape \(1, 6\): got \(0, 6\)"),
        ({"block": np.ones((5, 5))}, r"AAPL: bars must have the shape \(5, 6\): got \(5, 5\)"),
        ({"block": np.ones((4, 6))}, r"AAPL: bars must have the shape \(5, 6\): got \(4, 6\)"),
        ({"at": np.arange(5)}, r"AAPL: bars must have the shape \(5, 5\): got \(5, 6\)"),
        ({"at": np.array([0, 1, 2, 3, 4, 6])}, "AAPL: its bars must be rows of the run's 6 bars, in order"),
        ({"at": np.array([0, 1, 2, 4, 3, 5])}, "AAPL: its bars must be rows of the run's 6 bars, in order"),
        ({"at": np.array([-1, 1, 2, 3, 4, 5])}, "AAPL: its bars must be rows of the run's 6 bars, in order"),
    ],
)
def test_arrays_that_do_not_fit_each_other_never_reach_the_pass(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        walk(inputs(**changes))


def test_a_single_symbol_is_held_to_the_same() -> None:
    whole = inputs()
    [first, _] = whole.ones

    with pytest.raises(ValueError, match=r"wishes must have the shape \(6,\): got \(2,\)"):
        walk(replace(whole, ones=(replace(first, want=np.ones(2)),)))


def test_a_run_without_symbols_or_bars_is_refused() -> None:
    with pytest.raises(ValueError, match="got 0 symbols and 6 bars"):
        walk(replace(inputs(), ones=()))


def test_what_fits_is_walked() -> None:
    assert len(walk(inputs()).equity) == 7


def test_compiling_says_one_line_and_is_remembered(capsys: pytest.CaptureFixture[str]) -> None:
    assert compiling.main() == 0

    assert capsys.readouterr().out.count("\n") == 1
    assert compiled_before()


def test_a_compilation_that_fails_says_so_and_breaks_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    def breaks(candles: pd.DataFrame) -> None:
        raise RuntimeError("no compiler here")

    assert compiling.main(breaks) == 1
    assert "at its first run: now it could not (no compiler here)" in capsys.readouterr().err
