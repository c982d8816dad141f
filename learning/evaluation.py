"""What a way of learning comes to out of sample: asked only about bars that came later, over several seeds, beside the
baselines, and after costs.

    mine = walk_forward(flat, fit, folds=5, seeds=range(5))      # fit(train, val, calib, seed) -> predict(rows)
    print(compared({"pattern_nn": mine.scores, **{n: walk_forward(flat, fitting(n, flat)).scores for n in NAMES}}))
    print(after_costs(frames, flat, mine.rows, mine.p.mean(axis=0)).said)

The rule: everything is learned anew inside each fold, scaling and calibration too, and what was asked about once is
traded once, through the same backtester as any other strategy. One seed is an anecdote: the spread over seeds stands
beside each mean.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from backtest.result import Result
from backtester import Backtest, Setup
from domain.candles import nanos, timeframe
from learning.baselines import NAMES, Fit, Predict, fitting
from learning.hysteresis import exposure
from learning.scoring import Scores, scores, wilson
from learning.splits import PurgedWalkForward, inner, overlap
from learning.windows import Flat
from strategies.base import Wanted

__all__ = ["AfterCosts", "Fit", "Predict", "WalkForward", "after_costs", "compared", "plain_models", "walk_forward"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Progress = Callable[[float, str], None]
SEEDS = (0, 1, 2, 3, 4)
ALIKE = ("majority", "logistic")  # the same whatever the seed
METRICS = ("balanced_acc", "mcc", "logloss", "brier", "ece", "auc", "ic", "coverage_p70", "precision_p70")
STEPS = 40  # random shifts that the signal is held against need at least so many bars of room


@dataclass(frozen=True, slots=True, eq=False)
class WalkForward:
    """`rows` are the places in the flat that were asked about, fold by fold; `p` (seeds, rows, classes) what was said;
    `scores` a seed's each; `folds` what each fold learned from and was asked about, as JSON values."""

    rows: Ints
    p: npt.NDArray[np.float64]
    scores: list[Scores]
    folds: list[dict[str, Any]]

    def summary(self) -> dict[str, dict[str, float | None]]:
        """Each number's mean and standard deviation over the seeds; None where a seed has none."""
        return {name: {"mean": _mean(self.scores, name), "std": _std(self.scores, name)} for name in ("acc", *METRICS)}


def walk_forward(
    flat: Flat,
    fit: Fit,
    *,
    folds: int = 5,
    seeds: Sequence[int] = SEEDS,
    embargo: int | None = None,
    progress: Progress | None = None,
) -> WalkForward:
    """Learn on each fold's past (a part of it to stop and one to calibrate), ask about its future, once a seed."""
    plan = [
        (*inner(flat, past, embargo=embargo), asked) for past, asked in PurgedWalkForward(folds, embargo).split(flat)
    ]
    rows = np.concatenate([asked for *_, asked in plan])
    said = np.zeros((len(seeds), len(rows), len(flat.classes)))
    shared = overlap(flat, rows)
    for at, seed in enumerate(seeds):
        begin = 0
        for fold, (train, val, calib, asked) in enumerate(plan):
            if progress:
                progress((at * folds + fold) / (folds * len(seeds)), f"seed {seed}, fold {fold + 1} of {folds}")
            said[at, begin : begin + len(asked)] = fit(train, val, calib, seed)(asked)
            begin += len(asked)
    found = [scores(p, flat.y[rows], flat.ret[rows], overlap=shared) for p in said]
    return WalkForward(rows, said, found, [_fold(flat, *each) for each in plan])


def plain_models(flat: Flat, *, folds: int = 5, seeds: Sequence[int] = SEEDS) -> dict[str, WalkForward]:
    """The baselines, walked forward alike; those that know no chance once only."""
    return {
        name: walk_forward(flat, fitting(name, flat), folds=folds, seeds=seeds[:1] if name in ALIKE else seeds)
        for name in NAMES
    }


def compared(models: Mapping[str, Sequence[Scores]]) -> pd.DataFrame:
    """A row a model, from its scores over seeds: means, `acc_std` and `logloss_std` over seeds, the accuracy's interval
    (`low`, `high`, by the cases that one seed's answers count for) and whether that reaches down to always naming
    the most frequent class: `overlaps_majority`. NaN is n/a."""
    return pd.DataFrame({name: _line(found) for name, found in models.items()}).T.convert_dtypes()


@dataclass(frozen=True, slots=True, eq=False)
class AfterCosts:
    """What trading the probabilities would have left. `result` is the backtest at the setup's own costs; `figures` JSON
    values: net_return, sharpe and its interval, max_drawdown, turnover, trades, the same of buying and holding
    (hold_return, hold_max_drawdown, hold_sharpe), the net return at twice and three times the costs, and `percentile`:
    the share of the same positions, moved to other times, that earned less (None: no trade)."""

    result: Result
    figures: dict[str, Any]

    @property
    def said(self) -> str:
        f = self.figures
        if not f["trades"]:
            return "It never traded: no probability was high enough. That is a legitimate answer."
        luck = (
            ""
            if f["percentile"] is None
            else f" {f['percentile']:.0%} of the same positions at other times earned less."
        )
        trades = f"{f['trades']} trade{'s' * (f['trades'] != 1)}"
        return (
            f"Net {f['net_return']:+.1%} in {trades}, buying and holding {f['hold_return']:+.1%}; "
            f"at twice the costs {f['net_return_2x']:+.1%}, at three times {f['net_return_3x']:+.1%}.{luck}"
        )


def after_costs(
    frames: Mapping[str, pd.DataFrame],
    flat: Flat,
    rows: Ints,
    p: Floats,
    setup: Setup | None = None,
    *,
    enter: float = 0.55,
    leave: float = 0.5,
    short: bool = False,
    draws: int = 100,
    seed: int = 0,
) -> AfterCosts:
    """The probabilities of these rows, traded: long while the last class is likely enough (`hysteresis.exposure`), from
    the first row that was asked about on. Bars nobody was asked about hold nothing.

    `frames` are those the flat was made of; one that ends before that row has no part in it. Without a setup each
    symbol may take its equal part of the equity.
    `draws` is how often the same positions are moved to other times, 0 for never.
    """
    start, end = _first_bar(frames, flat, rows), pd.Timestamp(int(flat.known[rows].max()), tz="UTC")
    wanted = _wanted(frames, flat, rows, p, enter, leave, short)
    wanted = {symbol: want for symbol, want in wanted.items() if _any_bar(frames[symbol], start, end)}
    rules = setup or Setup(fraction=1.0 / len(wanted), short=short)

    def run(want: Mapping[str, Floats], of: Setup) -> Result:
        return _Said(frames, want, of, timeframe(flat.timeframe), start, end).run()

    result = run(wanted, rules)
    figures = _figures(result)
    for times in (2, 3):
        figures[f"net_return_{times}x"] = run(wanted, _dearer(rules, times)).metrics["total_return"].value
    figures["percentile"] = _percentile(result, wanted, lambda moved: run(moved, rules), draws, seed)
    return AfterCosts(result, figures)


class _Said(Backtest):
    """A backtest of exposures that are already there, by symbol and row."""

    def __init__(self, frames: Mapping[str, pd.DataFrame], wanted: Mapping[str, Floats], *rest: Any) -> None:
        setup, tf, start, end = rest
        super().__init__({s: frames[s] for s in wanted}, None, setup, timeframe=tf, start=start, end=end)
        self.wanted = wanted

    def target(self, candles: pd.DataFrame) -> Wanted:
        return Wanted(self.wanted[self.symbol][: len(candles)])


def _wanted(
    frames: Mapping[str, pd.DataFrame], flat: Flat, rows: Ints, p: Floats, enter: float, leave: float, short: bool
) -> dict[str, Floats]:
    found = {}
    for at, symbol in enumerate(flat.symbols):
        mine = flat.symbol[rows] == at
        up = np.full(len(nanos(frames[symbol])), np.nan)
        up[flat.rows(rows[mine])] = p[mine, -1]
        found[symbol] = exposure(up, enter, leave, short)
    return found


def _first_bar(frames: Mapping[str, pd.DataFrame], flat: Flat, rows: Ints) -> pd.Timestamp:
    """The open of the first bar at whose close one was asked: what it decides must not lie before the run."""
    first = rows[flat.at[rows] == flat.at[rows].min()]
    own = zip(flat.symbol[first], flat.rows(first), strict=True)
    return min(pd.Timestamp(frames[flat.symbols[symbol]].index[row]) for symbol, row in own)


def _any_bar(candles: pd.DataFrame, start: pd.Timestamp, end: pd.Timestamp) -> bool:
    return bool(((candles.index >= start) & (candles.index <= end)).any())


def _figures(result: Result) -> dict[str, Any]:
    m = result.metrics
    held = result.benchmark.to_numpy()
    holding = np.diff(held) / held[:-1] if len(held) > 2 else np.zeros(0)
    spread = float(holding.std(ddof=1)) if len(holding) > 1 else 0.0
    bars = len(holding) / max((result.times[-1] - result.times[0]).days / 365.25, 1e-9)
    return {
        "net_return": m["total_return"].value,
        "sharpe": m["sharpe"].value,
        "sharpe_ci95": [m["sharpe"].low, m["sharpe"].high],
        "max_drawdown": m["max_drawdown"].value,
        "turnover": m["turnover"].value,
        "trades": len(result.trades),
        "hold_return": float(held[-1] / held[0] - 1.0),
        "hold_max_drawdown": float((held / np.maximum.accumulate(held) - 1.0).min()),
        "hold_sharpe": float(holding.mean() / spread * np.sqrt(bars)) if spread > 0 else None,
    }


def _dearer(setup: Setup, times: float) -> Setup:
    """Every cost of a side so many times as high; the fees that the law sets stay."""
    f = setup.fills
    paid = dataclasses.replace(
        f.commission,
        per_order=f.commission.per_order * int(times),
        per_share=f.commission.per_share * int(times),
        bps=f.commission.bps * int(times),
    )
    fills = dataclasses.replace(
        f, half_spread_bps=f.half_spread_bps * times, slippage_bps=f.slippage_bps * times, commission=paid
    )
    return dataclasses.replace(setup, fills=fills)


def _percentile(
    result: Result, wanted: Mapping[str, Floats], run: Callable[[dict[str, Floats]], Result], draws: int, seed: int
) -> float | None:
    """All symbols' positions slid round the asked span by the same share of it, and how often that earned less."""
    span = len(result.times) - 1
    if draws < 1 or not len(result.trades) or span < STEPS:
        return None
    chance, own = np.random.default_rng(seed), float(result.equity.iloc[-1])
    below = 0.0
    for share in chance.uniform(0.05, 0.95, draws):
        other = float(run({symbol: _slid(want, share) for symbol, want in wanted.items()}).equity.iloc[-1])
        below += 1.0 if other < own else (0.5 if other == own else 0.0)
    return below / draws


def _slid(want: Floats, share: float) -> Floats:
    """The stretch from the first position to the end, turned by a share of its length."""
    held = np.flatnonzero(want)
    if not len(held):
        return want
    out = want.copy()
    out[held[0] :] = np.roll(want[held[0] :], round(share * (len(want) - held[0])))
    return out


def _fold(flat: Flat, train: Ints, val: Ints, calib: Ints, asked: Ints) -> dict[str, Any]:
    parts = {"train": train, "val": val, "calib": calib, "test": asked}
    told: dict[str, Any] = {name: len(rows) for name, rows in parts.items()}
    spans = {name: [_iso(flat.at[rows].min()), _iso(flat.known[rows].max())] for name, rows in parts.items()}
    return {"windows": told, "spans": spans}


def _iso(at: Any) -> str:
    return pd.Timestamp(int(at), tz="UTC").isoformat()


def _line(found: Sequence[Scores]) -> dict[str, Any]:
    n = float(np.mean([each["n_effective"] for each in found]))
    acc, majority = _mean(found, "acc"), _mean(found, "majority_acc")
    assert acc is not None and majority is not None  # noqa: PT018 - both are there wherever a case was asked about
    low, high = wilson(acc, n)
    told = {"seeds": len(found), "n": found[0]["n"], "n_effective": n, "majority_acc": majority, "acc": acc}
    told |= {"acc_std": _std(found, "acc"), "low": low, "high": high, "overlaps_majority": low <= majority}
    return told | {name: _mean(found, name) for name in METRICS} | {"logloss_std": _std(found, "logloss")}


def _mean(found: Sequence[Scores], name: str) -> float | None:
    values = [each[name] for each in found]
    return None if None in values or not values else float(np.mean(values))


def _std(found: Sequence[Scores], name: str) -> float | None:
    values = [each[name] for each in found]
    return None if None in values or len(values) < 2 else float(np.std(values, ddof=1))
