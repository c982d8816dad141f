"""Which of a strategy's signals are worth following? Boosted trees that answer with a probability, and are armed only
where later events show that acting on it would have paid.

    lesson = teach(data.frames, "sma_crossover", SmaCrossover(fast=5, slow=15), "1h", Bracket())
    lesson.said["evidence"]["precision"], refusals(lesson.said)
    saved = save(folder, lesson, clock)              # models/confirmations/sma_crossover_v1.txt and .json
    found = load(folder, "sma_crossover")            # `Confirmation`: probabilities of events, bar by bar

The rule: learned from the past, calibrated on what came after it, judged once on what came last; all symbols are cut at
the same moments, purged by when each answer was known. Nothing is armed that rests on fewer than `FEWEST` judged
events, or whose hit rate at `SURE` and above is not surely above what the bracket needs to break even. What is not
armed confirms nothing.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass, replace
from importlib import metadata
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from domain.candles import ends as closes_of
from domain.candles import nanos, timeframe
from domain.errors import DataError
from domain.instruments import instrument
from domain.models import ModelFacts, shelf
from domain.params import params_of
from learning._confirming_events import Bracket, Events, events, reach, spec
from learning._confirming_evidence import FEWEST, SURE, break_even, evidence, probability, refusals, report, sentence
from learning._confirming_shelf import (
    ROOM,
    Answers,
    Confirmation,
    Lesson,
    load,
    names,
    place,
    save,
    use_folder,
    versions,
)
from learning.datasets import Dataset
from learning.labels import Label
from learning.splits import PurgedKFold, inner
from learning.windows import Flat
from strategies.base import Strategy

__all__ = [
    "FEWEST",
    "ROOM",
    "SURE",
    "Answers",
    "Bracket",
    "Confirmation",
    "Lesson",
    "load",
    "names",
    "place",
    "refusals",
    "report",
    "save",
    "sentence",
    "teach",
    "teach_on",
    "use_folder",
    "versions",
]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
LEAST = 300  # events below which nothing is learned
SHARES = (0.60, 0.15, 0.25)  # to learn, to calibrate, to judge: of the moments of decision
FOLDS = 5
ROUNDS, PATIENCE = 800, 50
BOLDEST = 2.0
TREES: dict[str, Any] = {  # on planted signals four leaves and all columns did better than eight leaves and some
    "objective": "binary",
    "num_leaves": 4,
    "min_data_in_leaf": 100,
    "learning_rate": 0.03,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 1.0,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}
LIBRARIES = ("lightgbm", "numpy", "pandas")


def teach_on(
    data: Dataset, name: str, strategy: Strategy, bracket: Bracket, *, simulated: bool = False, seed: int = 7
) -> Lesson:
    """`teach` on checked data, with their stamp."""
    return teach(
        data.frames, name, strategy, data.timeframe, bracket, stamp=data.stamp(), simulated=simulated, seed=seed
    )


def teach(
    frames: Mapping[str, pd.DataFrame],
    name: str,
    strategy: Strategy,
    tf: str,
    bracket: Bracket | None = None,
    *,
    stamp: Mapping[str, Any] | None = None,
    simulated: bool = False,
    seed: int = 7,
    trees: Mapping[str, Any] | None = None,
) -> Lesson:
    """Learn from checked candles of regular hours by symbol (`learning.datasets`). `name` is the strategy's in its
    drawer, `stamp` what the data say of themselves, `trees` goes over `TREES`.

    DataError where there are too few events, or where the strategy is a model that saw the very bars it would be
    confirmed on.
    """
    bracket = bracket or Bracket()
    of_model = _primary(strategy)
    flat, won, lost, held = gathered(frames, strategy, bracket, tf)
    _unseen(strategy, of_model, flat)
    if len(flat) < LEAST:
        raise DataError(
            f"{name} took a side {len(flat):,} times with a past and an answer, and {LEAST} are needed to learn from: "
            f"give longer candles, more symbols or finer bars"
        )
    learn, calib, test = inner(flat, np.arange(len(flat)), SHARES)
    settings = TREES | {"seed": seed} | dict(trees or {})
    booster, rounds, held_out = _grown(flat, learn, settings)
    level = _odds(float(flat.y[learn].mean()))
    later, (unseen, said_then) = booster.predict(flat.X[calib], raw_score=True), held_out
    factor = drawn(np.r_[said_then, later], np.r_[flat.y[unseen], flat.y[calib]], level)
    p = probability(booster.predict(flat.X[test], raw_score=True), level, factor)
    even = break_even(won[learn], lost[learn], flat.ret[learn], bracket.cost_bps / 1e4)
    parts = {"learn": learn, "calib": calib, "test": test}
    said = {
        "primary": {"strategy": name, "params": _params(strategy), "model": of_model and _told(of_model)},
        "bracket": bracket.to_dict(),
        "timed_out": float((held >= bracket.horizon).mean()),
        "timeframe": tf,
        "market": flat.symbols[0],
        "reach": reach(strategy, bracket),
        "features": spec(tf),
        "calibration": {"level": level, "factor": factor},
        "break_even": even,
        "evidence": evidence(flat, test, p, even) | {"events": len(flat)},
        "out_of_fold": _out_of_fold(flat, *held_out, level, factor),
        "split": {
            "seen_until": int(flat.known[np.r_[learn, calib]].max()),
            "data_until": _last(frames, tf),
            "events": {part: len(rows) for part, rows in parts.items()},
            "spans": {part: [_iso(flat.at[rows].min()), _iso(flat.known[rows].max())] for part, rows in parts.items()},
            "embargo": flat.embargo,
        },
        "data": dict(stamp or {}) | {"symbols": list(flat.symbols), "simulated": simulated},
        "training": {"rounds": rounds, "folds": FOLDS, "trees": settings},
        "code": {one: metadata.version(one) for one in LIBRARIES} | {"python": platform.python_version()},
    }
    return Lesson(booster.model_to_string(num_iteration=rounds), said)


# Learning


def gathered(
    frames: Mapping[str, pd.DataFrame], strategy: Strategy, bracket: Bracket, tf: str
) -> tuple[Flat, Floats, Floats, Ints]:
    """Every whole event with an answer of all symbols, as windows of one bar, what target and stop would be, and for
    how many bars it was held.
    DataError for symbols of exchanges with other hours: one confirmation knows one calendar."""
    if len(hours := {instrument(symbol).calendar_code for symbol in frames}) != 1:
        raise DataError(f"symbols of one calendar are learned from together: got those of {', '.join(sorted(hours))}")
    need = reach(strategy, bracket)
    long = [symbol for symbol in sorted(frames) if len(frames[symbol]) > need]
    if not long:
        raise DataError(f"no symbol has more than the {need:,} bars that an event looks back on: give longer candles")
    found = {symbol: _one(symbol, frames[symbol], strategy, bracket, tf) for symbol in long}
    parts = [part for part, *_ in found.values()]
    rows = [mine for _, mine, _ in found.values()]
    times = [when for *_, when in found.values()]

    def joined(values: Callable[[Events, Ints], Any]) -> Any:
        return np.concatenate([values(part, mine) for part, mine in zip(parts, rows, strict=True)])

    def at(which: Callable[[Events, Ints], Ints], column: int) -> Any:
        whole = zip(parts, rows, times, strict=True)
        return np.concatenate([when[column][which(part, mine)] for part, mine, when in whole])

    counts = [len(mine) for mine in rows]
    starts = np.r_[0, np.cumsum([len(when[0]) for when in times])].astype(np.int64)[:-1]
    flat = Flat(
        X=joined(lambda e, mine: e.X[mine]),
        ends=np.arange(sum(counts)),
        y=joined(lambda e, mine: e.y[mine]),
        ret=joined(lambda e, mine: e.ret[mine]),
        at=at(lambda e, mine: e.rows[mine], 1),
        known=at(lambda e, mine: e.end[mine], 1),
        began=at(lambda e, mine: e.rows[mine], 0),
        symbol=np.repeat(np.arange(len(parts), dtype=np.int16), counts),
        first=starts,
        seq_len=1,
        symbols=tuple(found),
        names=tuple(spec(tf)["names"]),
        label=Label("triple_barrier", horizon=bracket.horizon, cost_bps=bracket.cost_bps),
        timeframe=tf,
    )
    won, lost = joined(lambda e, mine: e.won[mine]), joined(lambda e, mine: e.lost[mine])
    return flat, won, lost, joined(lambda e, mine: e.end[mine] - e.rows[mine])


def _one(
    symbol: str, candles: pd.DataFrame, strategy: Strategy, bracket: Bracket, name: str
) -> tuple[Events, Ints, tuple[Ints, Ints]]:
    """One symbol's events, which of them can be learned from, and when its bars open and close."""
    of, tf = instrument(symbol), timeframe(name)
    found = events(strategy, candles, bracket, of, tf)
    opens = nanos(candles)
    return found, np.flatnonzero(found.whole & (found.y >= 0)), (opens, closes_of(opens, tf, of))


def _grown(flat: Flat, learn: Ints, settings: Mapping[str, Any]) -> tuple[Any, int, tuple[Ints, Floats]]:
    """Trees on all that is learned from, for as many rounds as did best over purged folds of it; and what each fold's
    trees said of the events they had not seen (places in the flat, log-odds)."""
    import lightgbm

    if len(np.unique(flat.y[learn])) < 2:
        raise DataError("every event that is learned from came to the same end: there is nothing to tell apart")
    mine = _only(flat, learn)
    folds = list(PurgedKFold(FOLDS).split(mine))
    seen = lightgbm.Dataset(mine.X, mine.y, free_raw_data=False)
    stop = lightgbm.early_stopping(PATIENCE, verbose=False)
    run = lightgbm.cv(dict(settings), seen, ROUNDS, folds=folds, callbacks=[stop], return_cvbooster=True)
    kept: Any = run["cvbooster"]
    rounds = max(1, int(kept.best_iteration))
    asked = np.concatenate([rows for _, rows in folds])
    said = [
        one.predict(mine.X[rows], raw_score=True, num_iteration=rounds)
        for one, (_, rows) in zip(kept.boosters, folds, strict=True)
    ]
    whole = lightgbm.train(dict(settings), lightgbm.Dataset(mine.X, mine.y), rounds)
    return whole, rounds, (learn[asked], np.concatenate(said))


def drawn(odds: Any, y: Ints, level: float) -> float:
    """By how much log-odds are to be drawn away from `level` (below 1: towards it): the factor in [0, BOLDEST] with the
    least log-loss. One factor and no line, for the level of a few months says nothing about the next."""
    from scipy.optimize import minimize_scalar

    def loss(factor: float) -> float:
        z = level + factor * (np.asarray(odds) - level)
        return float(np.logaddexp(0.0, np.where(y == 1, -z, z)).mean())

    return float(minimize_scalar(loss, bounds=(0.0, BOLDEST), method="bounded").x) if len(y) else 0.0


def _out_of_fold(flat: Flat, rows: Ints, odds: Floats, level: float, factor: float) -> dict[str, Any]:
    """How the folds' trees did on what they had not seen; a second look, never what arms."""
    found = evidence(flat, rows, probability(odds, level, factor), 0.0)
    return {name: found[name] for name in ("n", "base_rate", "coverage", "precision", "precision_ci95", "ece", "auc")}


def _only(flat: Flat, rows: Ints) -> Flat:
    """The flat of these events alone."""
    per_event = ("X", "y", "ret", "at", "known", "began", "symbol")
    return replace(flat, ends=np.arange(len(rows)), **{name: getattr(flat, name)[rows] for name in per_event})


# What the strategy itself was made from


def _primary(strategy: Any) -> ModelFacts | None:
    """The model that a strategy asks, where it asks one. DataError where it would be confirmed on its own lessons."""
    of = getattr(strategy, "asked", None)
    if not isinstance(of, str):
        return None
    if not getattr(strategy, "unseen", False):
        raise DataError(
            f"{type(strategy).__name__} would speak about bars that its model learned from, where it is right for the "
            f"wrong reason: leave unseen on"
        )
    return shelf().facts(of)


def _unseen(strategy: Strategy, facts: ModelFacts | None, flat: Flat) -> None:
    if facts is not None and len(flat) and int(flat.began.min()) < facts.seen_until:
        raise DataError(
            f"{type(strategy).__name__} took sides before {_iso(facts.seen_until)}, and {facts.called} learned up to "
            f"there: give candles that begin later"
        )


def _told(facts: ModelFacts) -> dict[str, Any]:
    return {"called": facts.called, "sha256": facts.sha256, "seen_until": facts.seen_until}


def _params(strategy: Any) -> dict[str, Any]:
    if not is_dataclass(strategy) or isinstance(strategy, type):
        raise DataError(f"{type(strategy).__name__} is no dataclass: what it was set to could not be kept")
    return {name: getattr(strategy, name) for name in params_of(type(strategy))}


def _odds(share: float) -> float:
    return math.log(share / (1.0 - share))


def _last(frames: Mapping[str, pd.DataFrame], name: str) -> int:
    """When the last bar closed."""
    held = ((instrument(symbol), nanos(frame)) for symbol, frame in frames.items() if len(frame))
    return max(int(closes_of(opens[-1:], timeframe(name), of)[-1]) for of, opens in held)


def _iso(at: Any) -> str:
    return pd.Timestamp(int(at), tz="UTC").isoformat()
