"""The single checks of a verdict: a number, held against a rule that is written down once, and said in a sentence.

`RULES` has every rule in words; the numbers in it are the ones below it, and a test holds `docs/honesty.md` to them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from domain import luck, ratios
from research._null import Costs
from research._probes import Probe
from research.trials import Tried

Floats = npt.NDArray[np.float64]

FEW_TRADES, ENOUGH_TRADES = 10, 30
LEAST_BPS, THIN, AMPLE = 2.0, 2.0, 4.0
LUCKY, LIKELY = 0.90, 0.95
OVERFIT, SURE, MOST_VARIANTS = 0.50, 0.25, 200
CHANCE, RARE = 80.0, 95.0
IN_SAMPLE, KEPT, APART = 0.70, 0.50, 1.645
WINDOWS_APART = 0.10
PICKED = 0.05

RULES = {
    "sample size": "fail below 10 closed trades, doubt below 30",
    "own result": "fail where a new run on the same candles comes to anything else, or an order fills in its own bar",
    "look-ahead": "fail where a decision changes once the later bars are cut off",
    "warm-up": "fail where more than 10 % of the windows decide otherwise than all of history, doubt where any does",
    "costs": "fail where less than 2 times the costs (at least 2 bps a side) use up the profit, doubt below 4 times",
    "deflated Sharpe": "fail below 90 %, doubt below 95 %, with every trial of the ledger counted",
    "overfitting": "fail above 50 % where the family's middle variant earns nothing, doubt above 25 %",
    "random entries": "fail below the 80th percentile of 1,000 or more, doubt below the 95th",
    "out of sample": "fail where the last 30 % lose and are worse than the rest beyond chance (5 %), doubt where they "
    "keep less than half of its Sharpe ratio",
    "same exposure": "fail where holding the same average exposure earned as much, doubt where the difference is less "
    "than 90 % sure",
    "best trades": "fail where nothing is left without the best trade, doubt where nothing is without the best five",
    "symbols": "fail where the symbols stand out of their universe (5 %) and it earned less than half as much, doubt "
    "where they stand out, or where the universe is not declared",
    "lockbox": "fail where the locked span lost, doubt where another variant saw it first",
}


class Outcome(StrEnum):
    PASS = "pass"  # noqa: S105 - no password
    DOUBT = "doubt"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One question to a result. `number` is None where it is not defined; `cure` says what would change the outcome."""

    name: str
    outcome: Outcome
    number: float | None
    said: str
    cure: str

    def __post_init__(self) -> None:
        assert self.name in RULES


def graded(failed: bool, doubted: bool) -> Outcome:
    return Outcome.FAIL if failed else Outcome.DOUBT if doubted else Outcome.PASS


# What was done


def sample_size(closed: int, days: int) -> Check:
    outcome = graded(closed < FEW_TRADES, closed < ENOUGH_TRADES)
    said = f"{closed} closed trade{'s' * (closed != 1)} in {days:,} days."
    return Check(
        "sample size", outcome, float(closed), said, "More trades: a longer span, more symbols, a faster rule."
    )


def own_result(apart: str) -> Check:
    said = f"Not what these candles give: {apart}." if apart else "A new run on the same candles gives the same."
    cure = "Run it as it is asked here: orders decided at a close fill at the next open or later."
    return Check("own result", graded(bool(apart), False), 1.0 if apart else 0.0, said, cure)


# The probes


def look_ahead(probe: Probe) -> Check:
    cure = "Let row t use rows up to t only: no shift(-1), no centred window, no figure of the whole span."
    if probe.first is not None:
        said = f"It knows the future: at {probe.first.words}."
    elif not probe.asked:
        said = "There was no bar to ask at."
    else:
        said = f"Cut off at {probe.asked} bars, the candles give the same decisions."
    outcome = graded(probe.first is not None, not probe.asked)
    return Check("look-ahead", outcome, float(probe.differing), said, cure)


def warm_up(probe: Probe | None, why: str = "") -> Check:
    cure = "Declare the bars it takes until its start is forgotten, or forget it sooner."
    if probe is None or not probe.asked:
        why = why or "the candles are no longer than one window of four warm-ups"
        return Check("warm-up", Outcome.DOUBT, None, f"It could not be asked on shorter histories: {why}.", cure)
    share = probe.differing / probe.asked
    said = f"{probe.differing} of {probe.asked} windows decide otherwise than all of history"
    said += f": first {probe.first.words}." if probe.first is not None else "."
    return Check("warm-up", graded(share > WINDOWS_APART, share > 0), share, said, cure)


# Costs


def costs(found: Costs) -> Check:
    """The number is the break-even cost in bps a side."""
    paid = max(found.paid_bps or 0.0, LEAST_BPS)
    even = found.break_even_bps
    margin = math.inf if even is None else even / paid
    sweep = ", ".join(f"{k}x {value:+,.0f}" for k, value in found.sweep.items())
    limit = "beyond 2,000 bps" if even is None else f"at {even:.1f} bps"
    said = f"The profit is gone {limit} a side; it was charged {found.paid_bps or 0.0:.1f}. Profit at {sweep}."
    if found.paid_bps is None:
        said = "Nothing was traded."
    elif even == 0.0:
        said = f"It loses even without any costs. Profit at {sweep}."
    cure = "Fewer trades for the same profit, or a market that is cheaper to trade."
    return Check("costs", graded(margin < THIN, margin < AMPLE), even, said, cure)


# Luck


def deflated_sharpe(returns: Floats, periods: int, tried: Tried | None) -> Check:
    count = tried.count if tried is not None else 1
    hurdle = tried.hurdle(len(returns)) if tried is not None else 0.0
    found = luck.psr(returns, hurdle) if len(returns) > 2 else None
    yearly, bar = (x * math.sqrt(periods) for x in (float(ratios.sharpe(returns, periods=1)), hurdle))
    times = f"{count} trial{'s' * (count != 1)}"
    if found is None:
        said = "The Sharpe ratio is not defined."
    else:
        said = f"Sharpe {yearly:.2f} a year after {times}, whose best would show {bar:.2f} by luck: {found:.0%} sure."
    if tried is None or not tried.count:
        said += " Nobody counted the trials."
    needed = luck.min_trl(returns, hurdle, LIKELY) if found is not None else None
    more = math.ceil((needed - len(returns)) / periods * 12) if needed is not None else 0
    cure = f"{more} more months like these." if more > 0 else "A higher Sharpe ratio, or fewer trials on these data."
    unsure = found is None or found < LUCKY
    uncounted = tried is None or not tried.count
    return Check("deflated Sharpe", graded(unsure, uncounted or (found or 0) < LIKELY), found, said, cure)


def overfitting(family: Floats) -> Check:
    """`family`: the days' returns, one column a variant that was searched."""
    sharpes = np.nan_to_num(ratios.sharpe(np.ascontiguousarray(family.T), periods=1))
    middle, variants = float(np.median(sharpes)), family.shape[1]
    if variants > MOST_VARIANTS:  # the best, and others evenly from all ranks
        ranks = np.linspace(0, variants - 1, MOST_VARIANTS).astype(np.int64)
        family = family[:, np.sort(np.argsort(-sharpes, kind="stable")[ranks])]
    found = luck.pbo(family)
    cure = "Choose among fewer, or from a plateau of variants that all earn."
    if found is None:
        return Check("overfitting", Outcome.DOUBT, None, "There are too few variants or days to tell.", cure)
    said = f"In {found:.0%} of the splits the best of {variants:,} variants falls below the middle one elsewhere"
    said += "; the middle one earns." if middle > 0 else "; the middle one earns nothing."
    return Check("overfitting", graded(found > OVERFIT and middle <= 0, found > SURE), found, said, cure)


def random_entries(own: float, drawn: Floats | None) -> Check:
    cure = "Entries that matter: at random moments the same exits and holding times do about as well."
    if drawn is None:
        said = "It never changes its mind, so there are no entries to compare."
        return Check("random entries", Outcome.DOUBT, None, said, cure)
    same = np.abs(drawn - own) <= 1e-9 * max(1.0, abs(own))
    rank = 100.0 * float((drawn < own)[~same].sum() + 0.5 * same.sum()) / len(drawn)
    said = f"Better than {rank:.1f} % of {len(drawn):,} runs that enter at random, as often and as long."
    return Check("random entries", graded(rank < CHANCE, rank < RARE), rank, said, cure)


# Does it last?


def out_of_sample(returns: Floats, periods: int) -> Check:
    """The number is the Sharpe ratio of the last 30 % over that of the rest."""
    cure = "Choose on the first part only, and let time add to the last one."
    cut = int(len(returns) * IN_SAMPLE)
    inside, outside = returns[:cut], returns[cut:]
    one, two = (float(ratios.sharpe(part, periods=1)) if len(part) > 2 else math.nan for part in (inside, outside))
    errors = [luck.sharpe_error(part) if len(part) > 2 else None for part in (inside, outside)]
    if not (math.isfinite(one) and math.isfinite(two)) or None in errors:
        said = "One of the two parts has no Sharpe ratio."
        return Check("out of sample", Outcome.DOUBT, None, said, cure)
    wide = math.hypot(*(error for error in errors if error is not None))
    root = math.sqrt(periods)
    said = f"Sharpe {one * root:.2f} in the first 70 % of the days, {two * root:.2f} in the last 30 %."
    lost = two <= 0 and (one - two > APART * wide or one <= 0)
    return Check("out of sample", graded(lost, one <= 0 or two < KEPT * one), ratios_of(two, one), said, cure)


def ratios_of(above: float, below: float) -> float | None:
    return above / below if below > 0 else None


def same_exposure(returns: Floats, market: Floats, exposure: float, periods: int) -> Check:
    """The number is what was earned a year beyond the same average exposure to the market."""
    excess = returns - exposure * market
    yearly = float(excess.mean()) * periods if len(excess) else math.nan
    sure = luck.psr(excess) if len(excess) > 2 else None
    cure = "Timing that pays: the average exposure alone, held all the time, earns the rest without trading."
    said = f"{yearly:+.1%} a year beyond holding {exposure:.0%} of the same market all the time"
    said += f" ({sure:.0%} sure)." if sure is not None else "."
    outcome = graded(not yearly > 0, sure is None or sure < LUCKY)
    return Check("same exposure", outcome, yearly if math.isfinite(yearly) else None, said, cure)


def best_trades(profits: Floats) -> Check:
    """The number is the profit without the best five trades."""
    ranked = np.sort(profits)[::-1]
    total, without_one, without_five = (float(ranked[k:].sum()) for k in (0, 1, 5))
    said = (
        f"Profit {total:+,.0f}; without the best trade {without_one:+,.0f}, without the best five {without_five:+,.0f}."
    )
    cure = "A profit that many trades share."
    return Check("best trades", graded(without_one <= 0, without_five <= 0), without_five, said, cure)


def lockbox(tried: Tried, returns: Floats, periods: int) -> Check:
    """`returns` are those of the locked span."""
    box = tried.lockbox
    assert box is not None
    yearly = float(ratios.sharpe(returns, periods=periods)) if len(returns) > 2 else math.nan
    first = bool(tried.variant) and box.opened_by == tried.variant
    said = f"Sharpe {yearly:.2f} in the locked span, {box.words}"
    others = "it has not been opened for this variant" if box.opened_by is None else "others have seen it before"
    said += "." if first else f"; {others}, so it says little."
    cure = "Nothing: a lockbox opens once. New data will tell."
    return Check("lockbox", graded(not yearly > 0, not first), yearly if math.isfinite(yearly) else None, said, cure)
