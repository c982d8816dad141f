"""Confirmations for tests, learned in a second: from a planted market, and from one where nothing is planted."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pandas as pd

from domain.clock import ManualClock
from learning.confirming import Confirmation, Lesson, save, teach
from tests.campaigns.confirming import EVEN, GOOD, NAME, PLANTED, REST, market, strategy

SYMBOLS, BARS, SEED = 14, 4000, 11


@functools.cache
def frames(good: float = GOOD, rest: float = REST) -> dict[str, pd.DataFrame]:
    return market(SYMBOLS, BARS, SEED, good, rest)


@functools.cache
def taught(planted: bool = True) -> Lesson:
    return teach(frames() if planted else frames(EVEN, EVEN), NAME, strategy(), "1h", PLANTED)


def changed(lesson: Lesson, **more: Any) -> Lesson:
    """The lesson with parts of what is said of it replaced; a mapping goes over the one that is there."""
    parts = {key: {**lesson.said[key], **value} if isinstance(value, dict) else value for key, value in more.items()}
    return Lesson(lesson.trees, lesson.said | parts)


def saved(folder: Path, **more: Any) -> Confirmation:
    return save(folder, changed(taught(), **more), ManualClock(), NAME)
