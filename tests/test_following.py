"""desk/following.py: bar by bar it says what the whole window says, and never goes on from a past that changed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from backtester import Exit, Setup
from desk.following import OVERLAP, Followed, asked_whole
from desk.looking import window
from domain.params import build
from strategies.base import find
from streams.base import OutOfStep
from tests.replaying import made_bars

SETUP = Setup(stop=Exit("atr", 2.0, 5), short=False)
BARS = made_bars(21, days=3)


@pytest.mark.parametrize("name", ["sma_crossover", "mean_reversion", "candle_patterns", "sma_by_regime"])
def test_each_look_says_what_the_whole_window_says(name: str) -> None:
    made = build(find(name), {})
    followed, whole = Followed(made, SETUP), window(made, SETUP)
    first = min(whole, len(BARS) - 40)
    said = []

    for now in range(first, len(BARS), 3):  # several bars may have closed since the last look
        frame = BARS.iloc[max(0, now - followed.bars(whole)) : now]
        seen, asked = followed.look(frame), asked_whole(made, SETUP, BARS.iloc[max(0, now - whole) : now])
        assert seen.wanted.exposure[-1] == asked.wanted.exposure[-1]
        assert seen.why == asked.why
        assert seen.ranges[5] == pytest.approx(asked.ranges[5], rel=1e-6)
        said.append(float(seen.wanted.exposure[-1]))

    assert followed.bars(whole) == min(whole, OVERLAP)
    assert min(said) >= 0.0


def started() -> Followed:
    followed = Followed(build(find("sma_crossover"), {"fast": 3, "slow": 8}), SETUP)
    followed.look(BARS.iloc[:100])
    return followed


def test_a_look_without_a_new_bar_says_the_same() -> None:
    followed = started()

    assert followed.look(BARS.iloc[80:100]) is followed.look(BARS.iloc[90:100])


@pytest.mark.parametrize(
    "told",
    [
        BARS.iloc[110:130],  # a gap
        BARS.iloc[80:104].drop(BARS.index[95]),  # one taken away
        pd.concat([BARS.iloc[80:90], BARS.iloc[90:104] * 0.5]),  # split
        BARS.iloc[80:104].assign(close=lambda f: np.where(f.index == BARS.index[97], f["close"] + 0.01, f["close"])),
    ],
    ids=["gap", "taken away", "split", "corrected"],
)
def test_a_past_that_changed_is_not_gone_on_from(told: pd.DataFrame) -> None:
    with pytest.raises(OutOfStep):
        started().look(told)


def test_a_bar_that_comes_late_is_not_left_out() -> None:
    late = BARS.drop(BARS.index[98])
    followed = Followed(build(find("sma_crossover"), {}), SETUP)
    followed.look(late.iloc[:100])

    with pytest.raises(OutOfStep):
        followed.look(BARS.iloc[80:104])
