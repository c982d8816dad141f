"""Who may be learned from, and who is asked: splits in time that let no answer leak into a question.

    split = chronological(flat)                      # train 60 %, val 10 %, calib 10 %, test 20 %
    for train, test in PurgedWalkForward(5).split(flat): ...

The rule: whatever is learned from was known before the first bar of any window that is asked about opened. All symbols
are cut at the same moments, for they move together. Samples whose answer reaches over a cut are purged, and `embargo`
more bars are left out.

Random folds break the rule. On a random walk with answers that overlap they show two thirds right and more.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from domain.errors import DataError
from learning.windows import Flat

Ints = npt.NDArray[np.int64]
Bounds = dict[str, tuple[int, int]]
PARTS = ("train", "val", "calib", "test")


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Positions of windows in a `Flat`, by part. `bounds` are each part's first moment of decision and the last moment
    at which one of its answers was known, UTC nanoseconds."""

    train: Ints
    val: Ints
    calib: Ints
    test: Ints
    bounds: Bounds
    embargo: int


def chronological(
    flat: Flat, shares: tuple[float, float, float, float] = (0.6, 0.1, 0.1, 0.2), embargo: int | None = None
) -> Split:
    """Four parts one after another: to fit, to stop, to calibrate, to judge. `shares` are of the moments of decision.

    DataError where a part is left without a window; ValueError for an embargo shorter than `flat.embargo`.
    """
    wait = _embargo(flat, embargo)
    if len(shares) != 4 or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-9:
        raise ValueError(f"shares must be four numbers above 0 that sum to 1: got {shares}")
    moments = np.unique(flat.at)
    cuts = np.round(np.cumsum(shares)[:-1] * len(moments)).astype(int)
    parts = dict(zip(PARTS, _one_after_another(flat, np.arange(len(flat)), moments, cuts, wait), strict=True))
    return Split(**parts, bounds=_bounds(flat, parts), embargo=wait)


def inner(
    flat: Flat, rows: Ints, shares: tuple[float, float, float] = (0.75, 0.125, 0.125), embargo: int | None = None
) -> tuple[Ints, Ints, Ints]:
    """Train, val and calib out of what a fold may learn from, by the same rule."""
    moments = np.unique(flat.at[rows])
    cuts = np.round(np.cumsum(shares)[:-1] * len(moments)).astype(int)
    train, val, calib = _one_after_another(flat, rows, moments, cuts, _embargo(flat, embargo))
    return train, val, calib


class PurgedWalkForward:
    """Learn from the past, be asked about the next stretch, `n_splits` times; the first stretch is never asked about.

    `train_blocks` stretches are learned from (0: all there were). As in scikit-learn `split` gives (train, test).
    """

    def __init__(self, n_splits: int = 5, embargo: int | None = None, train_blocks: int = 0) -> None:
        if n_splits < 1 or train_blocks < 0:
            raise ValueError(f"n_splits must be at least 1 and train_blocks 0 or more: got {n_splits}, {train_blocks}")
        self.n_splits, self.embargo, self.train_blocks = n_splits, embargo, train_blocks

    def get_n_splits(self, *_: object) -> int:
        return self.n_splits

    def split(self, flat: Flat, y: object = None, groups: object = None) -> Iterator[tuple[Ints, Ints]]:
        wait = _embargo(flat, self.embargo)
        moments = np.unique(flat.at)
        edges = np.linspace(0, len(moments), self.n_splits + 2).astype(int)
        for block in range(1, self.n_splits + 1):
            begin = edges[max(0, block - self.train_blocks)] if self.train_blocks else 0
            past = np.flatnonzero(_within(flat, moments, begin, edges[block]))
            asked = np.flatnonzero(_within(flat, moments, edges[block], edges[block + 1]))
            yield _told(_before(flat, past, asked, moments, edges[block], wait), asked, f"fold {block}")


class PurgedKFold:
    """Each of `n_splits` stretches is asked about in turn; learned from is what lies before it and behind it, purged
    on both sides. It uses what came later: it says how well a rule holds over time, not what one could have known."""

    def __init__(self, n_splits: int = 5, embargo: int | None = None) -> None:
        if n_splits < 2:
            raise ValueError(f"n_splits must be at least 2: got {n_splits}")
        self.n_splits, self.embargo = n_splits, embargo

    def get_n_splits(self, *_: object) -> int:
        return self.n_splits

    def split(self, flat: Flat, y: object = None, groups: object = None) -> Iterator[tuple[Ints, Ints]]:
        wait = _embargo(flat, self.embargo)
        moments = np.unique(flat.at)
        edges = np.linspace(0, len(moments), self.n_splits + 1).astype(int)
        for fold in range(self.n_splits):
            low, high = int(edges[fold]), int(edges[fold + 1])
            asked = np.flatnonzero(_within(flat, moments, low, high))
            past = np.flatnonzero(_within(flat, moments, 0, low))
            later = np.flatnonzero(_within(flat, moments, min(high + wait, len(moments)), len(moments)))
            if len(asked) and len(later):
                later = later[flat.began[later] > flat.known[asked].max()]
            train = np.sort(np.r_[_before(flat, past, asked, moments, low, wait), later])
            yield _told(train, asked, f"fold {fold + 1}")


def overlap(flat: Flat, rows: Ints) -> float:
    """How many answers of one symbol are open at once, on average: n samples carry about n / overlap of news."""
    if not len(rows):
        return 1.0
    most = 1.0
    for symbol in np.unique(flat.symbol[rows]):
        own = rows[flat.symbol[rows] == symbol]
        at, known = np.sort(flat.at[own]), np.sort(flat.known[own])
        open_now = np.arange(1, len(own) + 1) - np.searchsorted(known, at, side="right")
        most = max(most, float(open_now.mean()))
    return most


# What both kinds share


def _embargo(flat: Flat, asked: int | None) -> int:
    least = flat.embargo
    if asked is not None and asked < least:
        raise ValueError(
            f"embargo must be at least {least} bars (window {flat.seq_len}, answer {flat.label.reach}): got {asked}"
        )
    return least if asked is None else asked


def _within(flat: Flat, moments: Ints, low: int, high: int) -> npt.NDArray[np.bool_]:
    """Windows decided at moments[low] to before moments[high]."""
    if low >= high:
        return np.zeros(len(flat), dtype=bool)
    return np.asarray((flat.at >= moments[low]) & (flat.at <= moments[high - 1]))


def _before(flat: Flat, past: Ints, asked: Ints, moments: Ints, cut: int, wait: int) -> Ints:
    """Those of `past` whose answer was known before the embargo, and before any asked window began."""
    if not len(asked) or not len(past):
        return past[:0]
    limit = min(int(moments[max(cut - wait, 0)]), int(flat.began[asked].min()))
    return past[flat.known[past] < limit]


def _one_after_another(flat: Flat, rows: Ints, moments: Ints, cuts: Ints, wait: int) -> list[Ints]:
    edges = [0, *cuts.tolist(), len(moments)]
    at = flat.at[rows]
    parts = []
    for low, high in itertools.pairwise(edges):
        inside = (at >= moments[low]) & (at <= moments[high - 1]) if low < high else np.zeros(len(rows), dtype=bool)
        parts.append(rows[inside])
    for at_part in range(len(parts) - 1):
        parts[at_part] = _before(flat, parts[at_part], parts[at_part + 1], moments, edges[at_part + 1], wait)
    if not all(len(part) for part in parts):
        counts = ", ".join(f"{name} {len(part):,}" for name, part in zip(PARTS, parts, strict=False))
        raise DataError(
            f"too few windows to split: {counts} of {len(rows):,} are left after purging and an embargo of {wait} "
            f"bars. Give longer candles, or ask for a shorter window or horizon."
        )
    return parts


def _told(train: Ints, asked: Ints, name: str) -> tuple[Ints, Ints]:
    if not len(train) or not len(asked):
        raise DataError(
            f"{name}: {len(train):,} windows to learn from and {len(asked):,} to ask about are left after purging: "
            f"give longer candles or fewer folds"
        )
    return train, asked


def _bounds(flat: Flat, parts: dict[str, Ints]) -> Bounds:
    return {name: (int(flat.at[rows].min()), int(flat.known[rows].max())) for name, rows in parts.items()}
