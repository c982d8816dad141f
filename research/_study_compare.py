"""Which of several runs did best, and whether that means anything.

Runs over the same days are resampled together, the same blocks of days for all (a paired stationary bootstrap). Under
the supposition that all earn the same on average, the lead of the first over the second, of the second over the third
and so on are drawn as often as asked: how many of them are as large as the real one is the chance of it. Looking at
the largest lead among several is in it, for each drawing looks at its own largest. What else was tried on these data
counts as further looks: with N trials and k runs, 1 - (1 - chance) ^ (N / k).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from domain import luck, resampling
from domain.metrics import Metric
from research._study_values import NOT_JUDGED, Asked, Run
from research.trials import Tried

Floats = npt.NDArray[np.float64]
DRAWS = 2000
SURE = 0.05
_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


@dataclass(frozen=True, slots=True)
class Leads:
    """From one rank to the next: `better`, the probability that the one above is, and `chance`, of a lead as large."""

    better: Floats
    chance: Floats


def leads(returns: Floats, draws: int = DRAWS, seed: int = 0) -> Leads:
    """`returns`: log returns, a row a day, a column a run, the best first (by its sum)."""
    days, count = returns.shape
    means = returns.mean(axis=0)
    real = -np.diff(means)
    centred = returns - means
    drawn = np.concatenate(
        [
            np.stack([centred[:, run][rows].mean(axis=1) for run in range(count)], axis=1)
            for rows in resampling.draws(days, draws, seed)
        ]
    )
    apart = -np.diff(drawn, axis=1) + real
    better = ((apart > 0).sum(axis=0) + 0.5 * (apart == 0).sum(axis=0)) / draws
    spacings = -np.diff(np.sort(drawn, axis=1)[:, ::-1], axis=1)
    chance = ((spacings >= real - 1e-15).sum(axis=0) + 1.0) / (draws + 1.0)
    return Leads(better, chance)


def comparison(runs: tuple[Run, ...], tried: dict[str, Tried]) -> pd.DataFrame | None:
    """A row a run, the best first; None for one run. What cannot be compared (a ruined account) has NaN."""
    if len(runs) < 2:
        return None
    ranked = sorted(runs, key=_total, reverse=True)
    rows = [_row(run, tried[run.label]) for run in ranked]
    whole = [run for run in ranked if _whole(run)]
    together = pd.concat([run.returns for run in whole], axis=1, join="inner") if len(whole) > 1 else pd.DataFrame()
    if len(together) >= resampling.FEWEST:
        logs = np.log1p(together.to_numpy(np.float64))
        order = np.argsort(-logs.sum(axis=0), kind="stable")
        found = leads(logs[:, order])
        for place, (better, chance) in enumerate(zip(found.better, found.chance, strict=True)):
            own, other = whole[order[place]].label, whole[order[place + 1]].label
            looks = max(1.0, tried[own].count / len(whole))
            counted = 1.0 - (1.0 - float(chance)) ** looks
            next(row for row in rows if row["label"] == own).update(next=other, better=float(better), chance=counted)
    return pd.DataFrame(rows)


def answer(asked: Asked, runs: tuple[Run, ...], table: pd.DataFrame | None, tried: dict[str, Tried]) -> str:
    """Which did best and whether that means anything, in plain words."""
    if table is None:
        return ""
    best, second = table.iloc[0], table.iloc[1]
    first = next(run for run in runs if run.label == best["label"])
    said = [f"Of {_span(asked, first)}, {_lead(best, second)}{_meaning(best, tried[first.label], len(runs))}."]
    if (held := first.metrics["benchmark_return"].value) is not None:
        said.append(f"Buying and holding came to {_percent(held)}.")
    if first.verdict is not None:
        said.append(f"The verdict on {first.label}: {first.word}.")
    return " ".join(said)


def _row(run: Run, tried: Tried) -> dict[str, object]:
    sharpe, returns = run.metrics["sharpe"], run.returns.to_numpy(np.float64)
    usable = len(returns) > 2 and bool(np.isfinite(returns).all())
    deflated = luck.psr(returns, tried.hurdle(len(returns))) if usable else None
    return {
        "label": run.label,
        "total_return": _number(run.metrics["total_return"].value),
        "sharpe": _number(sharpe.value),
        "low": _number(sharpe.low),
        "high": _number(sharpe.high),
        "next": "",
        "better": np.nan,
        "chance": np.nan,
        "deflated": _number(deflated),
        "verdict": run.word if run.verdict else NOT_JUDGED,
    }


def _lead(best: pd.Series, second: pd.Series) -> str:
    own, other = float(best["total_return"]), float(second["total_return"])
    if own == other:
        return f"{best['label']} and {second['label']} came to the same, {_percent(own)}"
    did = "did best" if own >= 0 else "lost least"
    return f"{best['label']} {did}: {_percent(own)} against {_percent(other)} for {second['label']}"


def _meaning(best: pd.Series, tried: Tried, runs: int) -> str:
    own = float(best["chance"])
    if not np.isfinite(own):
        return "; there are too few days in common to tell whether that means anything"
    counted = f" (all {tried.count:,} trials on these data counted)" if tried.count > runs else ""
    hundred = max(1, int(np.ceil(100 * own)))
    often = f"{hundred} of 100" if hundred < 100 else "nearly all"
    said = f"; a difference this large comes about by chance in {often} such comparisons{counted}"
    return f"{said}: " + ("that is hardly luck alone" if own <= SURE else "it means nothing yet")


def _span(asked: Asked, run: Run) -> str:
    first, last = run.curve.index[min(1, len(run.curve) - 1)], run.curve.index[-1]
    months = round((last - first).days / 30.44)
    if not asked.end and 0 < months < len(_WORDS):
        return f"the last {_WORDS[months]} months" if months > 1 else "the last month"
    return f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"


def _whole(run: Run) -> bool:
    values = run.returns.to_numpy(np.float64)
    return len(values) > 0 and bool(np.isfinite(values).all()) and bool((values > -1.0).all())


def _total(run: Run) -> float:
    value = _value(run.metrics["total_return"])
    return value if np.isfinite(value) else -np.inf


def _value(metric: Metric) -> float:
    return _number(metric.value)


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)


def _percent(share: float) -> str:
    return f"{100 * share:+.1f} %"
