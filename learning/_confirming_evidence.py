"""What later events showed of a confirmation, and whether that is enough to follow it.

The rule: a confirmation is armed where `refusals` finds nothing, worked out from its figures whenever somebody asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from learning.scoring import auc, scores, wilson
from learning.splits import overlap
from learning.windows import Flat

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
SURE = 0.70
FEWEST = 200  # judged events below which nothing is armed
DIGITS = 6


def refusals(said: Mapping[str, Any]) -> tuple[str, ...]:
    """Why a confirmation is not armed, each reason a sentence; empty where it is. Worked out from its figures."""
    e, even = said["evidence"], said["break_even"]
    if e["n"] < FEWEST:
        return (f"only {e['n']:,} events could judge it and {FEWEST} are needed",)
    if not e["confirmed"]:
        return (f"none of {e['n']:,} judged events reached {SURE:.0%}: there is nothing to confirm",)
    found = []
    low, high = e["precision_ci95"]
    if not low > even:
        found.append(
            f"of {e['confirmed']:,} events at {SURE:.0%} and above {e['precision']:.1%} earned something (95 % "
            f"interval {low:.1%} to {high:.1%}), which is not surely above the {even:.1%} that break even"
        )
    if not e["net_confirmed"] > 0.0:
        found.append(f"the {e['confirmed']:,} confirmed events came to {e['net_confirmed']:+.2%} after costs")
    return tuple(found)


def sentence(said: Mapping[str, Any]) -> str:
    """One honest sentence on what the judged events showed."""
    e, why = said["evidence"], refusals(said)
    begin = "Its prices were simulated: it is good for trying things out. " * bool(said["data"]["simulated"])
    begin += f"{e['n']:,} judged events, {e['base_rate']:.1%} of which earned something"
    if why:
        return f"{begin}. Not armed, it lets nothing through: {'; '.join(why)}."
    low, high = e["precision_ci95"]
    return (
        f"{begin}; of the {e['coverage']:.1%} at {SURE:.0%} and above {e['precision']:.1%} did (95 % interval "
        f"{low:.1%} to {high:.1%}), and {said['break_even']:.1%} break even. Armed."
    )


def report(said: Mapping[str, Any]) -> str:
    """The figures as lines, and the sentence."""
    e, folds, spans = said["evidence"], said["out_of_fold"], said["split"]["spans"]
    low, high = e["precision_ci95"] or (None, None)
    lines = [
        ("events", f"{e['events']:,} of {len(said['data']['symbols'])} symbols, {said['timeframe']}"),
        ("judged", f"{e['n']:,}, {spans['test'][0][:10]} to {spans['test'][1][:10]}"),
        ("earn something", f"{e['base_rate']:.1%}"),
        ("break even", f"{said['break_even']:.1%}"),
        (f"at {SURE:.0%} and above", f"{e['confirmed']:,} ({e['coverage']:.1%})"),
        ("of those earned", f"{_share(e['precision'])}, 95 % interval {_share(low)} to {_share(high)}"),
        ("net of all, of those", f"{e['net']:+.2%}, {e['net_confirmed']:+.2%}"),
        ("calibration error", f"{e['ece']:.3f}"),
        ("out of fold", f"{folds['coverage']:.1%} at {SURE:.0%} and above, of which {_share(folds['precision'])}"),
    ]
    return "\n".join([*(f"{name:<22}{value}" for name, value in lines), "", sentence(said)])


def _share(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.1%}"


def evidence(flat: Flat, rows: Ints, p: Floats, even: float) -> dict[str, Any]:
    """What these events show of these probabilities. Keys:

    n, base_rate, break_even        events, how many earned something, how many must
    confirmed, coverage             events at SURE and above, and their share
    precision, precision_ci95       how many of those earned something; Wilson's interval over `cases`: events of many
    cases, claimed                  symbols at one moment, or with answers open at once, count as one; what was claimed
    net, net_confirmed              sum of all events' net returns, and of the confirmed ones'
    ece, reliability                how far claims lie from what came true, and where; with brier, logloss, auc
    """
    y, ret, sure = flat.y[rows], flat.ret[rows], p >= SURE
    plain = scores(np.column_stack([1.0 - p, p]), y)
    count = int(sure.sum())
    told: dict[str, Any] = {name: plain[name] for name in ("n", "base_rate", "ece", "reliability", "brier", "logloss")}
    told |= {"break_even": even, "auc": auc(p, y == 1), "confirmed": count, "coverage": count / max(len(rows), 1)}
    told |= {"net": float(ret.sum()), "net_confirmed": float(ret[sure].sum())}
    if not count:
        return told | {"cases": 0.0, "precision": None, "precision_ci95": None, "claimed": None}
    precision = float(y[sure].mean())
    cases = min(count / overlap(flat, rows[sure]), float(len(np.unique(flat.at[rows[sure]]))))
    return told | {
        "cases": round(cases, 1),
        "precision": precision,
        "precision_ci95": list(wilson(precision, cases)),
        "claimed": float(p[sure].mean()),
    }


def break_even(won: Floats, lost: Floats, ret: Floats, cost: float) -> float:
    """The share of events that must earn something: (stop + cost) / (target + stop) from the bracket's distances, or
    what the wins and losses that came about make of it (time runs out, prices gap), whichever is higher."""
    by_bracket = (float(lost.mean()) + cost) / float((won + lost).mean())
    gains, losses = ret[ret > 0.0], -ret[ret <= 0.0]
    if not len(gains) or not len(losses):
        return by_bracket
    return max(by_bracket, float(losses.mean() / (gains.mean() + losses.mean())))


def probability(odds: Any, level: float, factor: float) -> Floats:
    """Calibrated probabilities of log-odds, rounded to six digits."""
    z = level + factor * (np.asarray(odds, dtype=np.float64) - level)
    return np.asarray(np.round(1.0 / (1.0 + np.exp(-z)), DIGITS))
