"""Does anything here know the future? Three questions, each answered in sentences.

    found = looks_ahead(features, candles)           # a function: does a row change when later bars do?
    found = sentinel(X, names, y, closes)            # columns: does one alone all but tell the answer?
    found = shuffled(flat, split)                    # a way of learning: does it find something in dealt answers?
    report = examine(frames, label, seq_len, "5m")   # all three, as a page shows them

The rule: no finding is no proof. What is found is a leak until somebody shows why it is not: nothing that is honest
tells the next bar nine times in ten.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from domain.candles import COLUMNS
from domain.instruments import instrument
from learning.baselines import Fit, fitting
from learning.features import NAMES, WARMUP, features
from learning.labels import Label
from learning.scoring import auc, scores
from learning.splits import Split, chronological, overlap
from learning.windows import Flat, flatten

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Features = Callable[[pd.DataFrame], npt.NDArray[Any]]
TELLS = 0.9  # of the area under one column's curve
SHARES = 0.5  # of the answer's uncertainty that one column takes away
CUTS = 8
_BINS = 20
_MOST = 50_000


@dataclass(frozen=True, slots=True)
class Leak:
    """One finding: what it is about, by what it showed, how strongly, and all of it in a sentence."""

    thing: str
    by: str
    number: float
    said: str

    def __str__(self) -> str:
        return self.said


@dataclass(frozen=True, slots=True)
class Report:
    """What was asked and what was found. `clean` is no proof."""

    asked: tuple[str, ...]
    leaks: tuple[Leak, ...]

    @property
    def clean(self) -> bool:
        return not self.leaks

    @property
    def said(self) -> str:
        found = [leak.said for leak in self.leaks] or ["No leak was found, which is no proof that there is none."]
        return "\n".join([*found, *(f"Asked: {each}" for each in self.asked)])


def looks_ahead(
    function: Features, candles: pd.DataFrame, names: Sequence[str] = (), cuts: int = CUTS, seed: int = 0
) -> list[Leak]:
    """Whether any row changes by a bit when all later bars are others, or are not there.

    `function` takes a candle frame and gives a row a bar, one column or several. Asked at `cuts` bars; each column
    that differs is named, with its first such row.
    """
    whole, chance = _table(function(candles)), np.random.default_rng(seed)
    found: dict[str, Leak] = {}
    for cut in _cuts(len(candles), cuts, chance):
        other = pd.concat([candles.iloc[: cut + 1], _another_future(candles.iloc[cut + 1 :], chance)])
        for by, answer in (("other later bars", function(other)), ("no later bars", function(candles.iloc[: cut + 1]))):
            for leak in _differing(whole, _table(answer), cut, by, names, candles):
                found.setdefault(leak.thing, leak)
    return list(found.values())


def sentinel(
    X: npt.ArrayLike,
    names: Sequence[str],
    y: npt.ArrayLike,
    closes: npt.ArrayLike | None = None,
    *,
    last: int | None = None,
) -> list[Leak]:
    """Columns of which one alone all but tells the answer: as it stands, as its change from the row before, or (with
    the rows' own `closes`) as its distance from the close. Rows are bars in order; y below 0 and rows with NaN count
    for nothing. `last` is the class that is told from the others (None: the highest).

    A column of tomorrow's close says nothing as a price level; against today's close it says everything.
    """
    table, answer = _table(np.asarray(X, dtype=np.float64)), np.asarray(y, dtype=np.int64)
    if table.shape != (len(answer), len(names)):
        raise ValueError(
            f"X must have a row an answer and a column a name: got {table.shape}, {len(answer)}, {len(names)}"
        )
    price = None if closes is None else np.asarray(closes, dtype=np.float64)
    found = (_worst(name, table[:, at], answer, price, last) for at, name in enumerate(names))
    return [leak for leak in found if leak is not None]


def shuffled(
    flat: Flat, split: Split, way: Callable[[Flat], Fit] | None = None, name: str = "the trees", seed: int = 0
) -> list[Leak]:
    """Whether a way of learning (None: boosted trees) still beats the most frequent class after the answers it learns
    from were dealt out at random. If so, they reach it by another way than through learning.

    `way` takes the flat with the dealt answers and gives what fits and predicts, as `baselines.fitting` does.
    """
    rows = np.r_[split.train, split.val, split.calib]
    y = flat.y.copy()
    y[rows] = np.random.default_rng(seed).permutation(y[rows])
    fit = (way or (lambda dealt: fitting("lightgbm", dealt)))(replace(flat, y=y))
    said = fit(split.train, split.val, split.calib, seed)(split.test)
    found = scores(said, flat.y[split.test], overlap=overlap(flat, split.test))
    if found["overlaps_majority"]:
        return []
    words = (
        f"{name}: right in {found['acc']:.1%} (always the same: {found['majority_acc']:.1%}) after learning from "
        f"answers dealt at random: the true ones reach it by another way."
    )
    return [Leak(name, "answers dealt at random", found["acc"], words)]


def examine(
    frames: Mapping[str, pd.DataFrame],
    label: Label,
    seq_len: int,
    timeframe: str,
    function: Callable[[pd.DataFrame, str], npt.NDArray[Any]] = features,
    names: Sequence[str] = NAMES,
) -> Report:
    """All three questions on candles in hand: the features of each symbol, then the windows and what learns from them.
    DataError where there are too few bars to split."""
    leaks: dict[str, Leak] = {}
    flat = flatten(frames, label, seq_len, timeframe)
    for at, symbol in enumerate(flat.symbols):
        candles, zone = frames[symbol], instrument(symbol).zone
        own = np.flatnonzero(flat.symbol == at)
        y = np.full(len(candles), -1)
        y[flat.rows(own)] = flat.y[own]
        found = looks_ahead(lambda f, z=zone: function(f, z), candles, names)  # type: ignore[misc]
        if label.kind != "pattern":  # a pattern is a formula of its own bar: a column that tells it is no leak
            found += sentinel(function(candles, zone), names, y, candles["close"].to_numpy())
        for leak in found:
            leaks.setdefault(leak.thing, replace(leak, said=f"{symbol}: {leak.said}"))
    for leak in shuffled(flat, chronological(flat)):
        leaks.setdefault(leak.thing, leak)
    return Report(
        (
            f"whether a row of {len(names)} features changes when later bars do, at {CUTS} bars of each symbol",
            f"whether one column alone tells the answer (area under the curve above {TELLS:g})",
            "whether trees find anything in answers dealt at random",
        ),
        tuple(leaks.values()),
    )


# Future


def _cuts(rows: int, count: int, chance: np.random.Generator) -> list[int]:
    low = min(WARMUP + 1, rows - 2)
    return sorted({int(at) for at in chance.integers(max(low, 0), max(rows - 1, 1), count)}) if rows > 1 else []


def _another_future(later: pd.DataFrame, chance: np.random.Generator) -> pd.DataFrame:
    """Bars at the same times with other prices and volumes, and far from them."""
    rows = len(later)
    close = float(later["close"].iloc[0]) * np.exp(1.0 + np.cumsum(chance.normal(0, 0.05, rows)))
    opened = close * np.exp(chance.normal(0, 0.02, rows))
    high = np.maximum(opened, close) * 1.01
    low = np.minimum(opened, close) * 0.99
    values = dict(zip(COLUMNS, (opened, high, low, close, chance.lognormal(8, 2, rows)), strict=True))
    return pd.DataFrame(values, index=later.index)


def _table(values: Any) -> npt.NDArray[Any]:
    table = np.asarray(values)
    return table[:, None] if table.ndim == 1 else table


def _differing(
    whole: npt.NDArray[Any],
    part: npt.NDArray[Any],
    cut: int,
    by: str,
    names: Sequence[str],
    candles: pd.DataFrame,
) -> list[Leak]:
    before, now = whole[: cut + 1], part[: cut + 1]
    if before.shape != now.shape:
        said = f"with {by} the answer has the shape {now.shape} where {before.shape} was due: give one row a bar."
        return [Leak("rows", by, 1.0, said)]
    apart = ~((before == now) | (np.isnan(before) & np.isnan(now)))
    found = []
    for column in np.flatnonzero(apart.any(axis=0)).tolist():
        name, row = (names[column] if column < len(names) else f"column {column}"), int(apart[:, column].argmax())
        when = f"{candles.index[row]:%Y-%m-%d %H:%M}"
        said = f"{name} knows the future: its value at {when} (row {row}) changes with {by} after row {cut}."
        found.append(Leak(name, by, float(apart[:, column].mean()), said))
    return found


# One column alone


def _worst(name: str, column: Floats, y: Ints, closes: Floats | None, last: int | None) -> Leak | None:
    found = [leak for by, values in _views(column, closes) if (leak := _tells(name, by, values, y, last)) is not None]
    return max(found, key=lambda leak: leak.number, default=None)


def _views(column: Floats, closes: Floats | None) -> list[tuple[str, Floats]]:
    views = [("as it stands", column), ("as its change from the row before", np.r_[np.nan, np.diff(column)])]
    if closes is not None:
        views.append(("as its distance from the close", column - closes))
    return views


def _tells(name: str, by: str, values: Floats, y: Ints, last: int | None) -> Leak | None:
    there = np.flatnonzero((y >= 0) & np.isfinite(values))
    if len(there) > _MOST:
        there = there[np.linspace(0, len(there) - 1, _MOST).astype(int)]
    if len(there) < 100:
        return None
    column, answer = values[there], y[there]
    area = auc(column, answer == (int(y.max()) if last is None else last))
    if area is not None and max(area, 1.0 - area) > TELLS:
        strength = max(area, 1.0 - area)
        said = f"{name}, {by}, tells the answer alone (area under the curve {strength:.3f}): it holds the future."
        return Leak(name, by, strength, said)
    if (share := _shared(column, answer)) > SHARES:
        said = f"{name}, {by}, takes away {share:.0%} of what is open about the answer: it holds the future."
        return Leak(name, by, share, said)
    return None


def _shared(column: Floats, y: Ints) -> float:
    """Mutual information of twenty equally filled bins with the answer, as a share of the answer's entropy."""
    edges = np.unique(np.quantile(column, np.linspace(0, 1, _BINS + 1)[1:-1]))
    which, classes = np.searchsorted(edges, column, side="right"), int(y.max()) + 1
    joint = np.bincount(which * classes + y, minlength=(len(edges) + 1) * classes).reshape(-1, classes) / len(y)
    own, answers = joint.sum(axis=1, keepdims=True), joint.sum(axis=0, keepdims=True)
    open_ = -float(sum(p * np.log(p) for p in answers.ravel() if p > 0))
    with np.errstate(divide="ignore", invalid="ignore"):
        gained = float(np.nansum(joint * np.log(joint / (own * answers))))
    return gained / open_ if open_ > 0 else 0.0
