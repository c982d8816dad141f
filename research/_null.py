"""The same run again with something changed: other costs, or entries by chance. Only the compiled pass is repeated.

Random entries hold what the strategy held, as often and as long, under the same exits; only the moments differ. The
rows of wishes are cut where the wish changes; pieces of one wish trade their lengths, and the whole is turned by a
random number of bars.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np
import numpy.typing as npt

from backtest.inputs import Inputs
from backtest.result import Result
from backtest.run import Walked, walk
from backtest.setup import Setup
from domain.fees import FREE, Commission

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
MOST_BPS = 2000.0  # half of it is the most that a half-spread may be
_HALVINGS = 14
TELL_EVERY = 20
_BUY, _QUANTITY, _PRICE, _FEE, _MARKET = 2, 3, 4, 5, 6  # columns of a fill


def profit(walked: Walked, setup: Setup) -> float:
    """What a run earned, after costs."""
    return float(walked.equity[-1]) - setup.cash


# Costs


@dataclass(frozen=True, slots=True)
class Costs:
    """`paid_bps` a side on what was traded; `break_even_bps` a side at which nothing is left (0: not even without any
    cost, None: not at 2,000 either); `sweep` the profit at 0, 1, 2 and 4 times the costs."""

    paid_bps: float | None
    break_even_bps: float | None
    sweep: dict[int, float]


def costs(result: Result) -> Costs:
    inputs = result.inputs
    sweep = {k: _profit_under(inputs, times_cost(inputs.setup, k)) for k in (0, 2, 4)}
    sweep = {0: sweep[0], 1: profit(result.walked, inputs.setup), 2: sweep[2], 4: sweep[4]}
    return Costs(paid_bps(result.walked), break_even(inputs), sweep)


def paid_bps(walked: Walked) -> float | None:
    """Fees and slippage as a share of what was traded; None where nothing was."""
    fills = walked.fills
    value = float((fills[:, _QUANTITY] * fills[:, _MARKET]).sum())
    lost = fills[:, _BUY] * (fills[:, _PRICE] - fills[:, _MARKET]) * fills[:, _QUANTITY]
    return float(fills[:, _FEE].sum() + lost.sum()) / value * 1e4 if value > 0 else None


def break_even(inputs: Inputs) -> float | None:
    """The cost a side, in bps, at which the profit is zero, all other costs off."""
    if _profit_under(inputs, flat_cost(inputs.setup, 0.0)) <= 0:
        return 0.0
    low, high = 0.0, 4.0
    while _profit_under(inputs, flat_cost(inputs.setup, high)) > 0:
        low, high = high, 4.0 * high
        if high > MOST_BPS:
            return None
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        gains = _profit_under(inputs, flat_cost(inputs.setup, middle)) > 0
        low, high = (middle, high) if gains else (low, middle)
    return (low + high) / 2.0


def times_cost(setup: Setup, times: int) -> Setup:
    """Spread, slippage and commission so many times as dear; the regulators' fees stay, or go at 0 times."""
    rules, by = setup.fills, Decimal(times)
    paid = rules.commission
    most = None if paid.maximum is None else paid.maximum * by
    commission = Commission(paid.per_order * by, paid.per_share * by, paid.bps * by, paid.minimum * by, most)
    changed = replace(
        rules,
        half_spread_bps=min(rules.half_spread_bps * times, 1000.0),
        slippage_bps=min(rules.slippage_bps * times, 1000.0),
        regulatory_fees=rules.regulatory_fees and times > 0,
        commission=commission if times else FREE,
    )
    return replace(setup, fills=changed)


def flat_cost(setup: Setup, bps: float) -> Setup:
    """One cost a side and no other."""
    rules = replace(setup.fills, half_spread_bps=bps / 2, slippage_bps=bps / 2, regulatory_fees=False, commission=FREE)
    return replace(setup, fills=rules)


def _profit_under(inputs: Inputs, setup: Setup) -> float:
    return profit(walk(replace(inputs, setup=setup)), setup)


# Entries by chance


@dataclass(frozen=True, slots=True)
class Pieces:
    """One symbol's wishes from row `begin` on, as pieces of one wish each; `kinds` are the pieces of equal wishes."""

    begin: int
    wishes: Floats
    lengths: Ints
    kinds: tuple[Ints, ...]

    @classmethod
    def of(cls, want: Floats, begin: int) -> Pieces:
        rows = want[begin:]
        starts = np.flatnonzero(np.diff(rows, prepend=np.nan) != 0.0)
        wishes, lengths = rows[starts], np.diff(np.r_[starts, len(rows)])
        kinds = tuple(np.flatnonzero(wishes == wish) for wish in np.unique(wishes))
        return cls(begin, wishes, lengths, tuple(kind for kind in kinds if len(kind) > 1))

    def shuffled(self, chance: np.random.Generator) -> Floats:
        """As many bars of each wish in as many pieces, elsewhere."""
        lengths = self.lengths.copy()
        for kind in self.kinds:
            lengths[kind] = chance.permutation(lengths[kind])
        rows = np.repeat(self.wishes, lengths)
        turn = int(chance.integers(len(rows)))
        return np.concatenate([np.zeros(self.begin), rows[turn:], rows[:turn]])


def random_profits(
    result: Result, warm: dict[str, int], draws: int, seed: int, heard: Callable[[int], None] | None = None
) -> Floats | None:
    """What `draws` runs with random entries earned; None where the wish never changes, so that there is no entry.

    `warm` is the first row, by symbol, in which a decision could have been made; `heard` is told how many are done.
    """
    inputs, chance = result.inputs, np.random.default_rng(seed)
    pieces = []
    for one, want in zip(inputs.ones, wishes(result), strict=True):
        known = int(np.argmax(np.isfinite(one.ranges).all(axis=0))) if len(one.ranges) else 0
        changed = np.flatnonzero(want)
        first = int(changed[0]) if len(changed) else len(want) - 1
        pieces.append(Pieces.of(want, min(max(warm.get(one.instrument.symbol, 0), known), first)))
    if all(len(piece.wishes) < 2 for piece in pieces):
        return None
    earned = np.empty(draws)
    for draw in range(draws):
        ones = tuple(replace(o, want=p.shuffled(chance)) for o, p in zip(inputs.ones, pieces, strict=True))
        earned[draw] = profit(walk(replace(inputs, ones=ones)), inputs.setup)
        if heard is not None and draw % TELL_EVERY == 0:
            heard(draw)
    return earned


def wishes(result: Result) -> list[Floats]:
    """What was wanted, by symbol; of a run that decided bar by bar for one symbol, what was held from the next bar."""
    ones = result.inputs.ones
    if len(ones) == 1 and not ones[0].want.any() and len(result.walked.fills):
        held = np.sign(result.exposure.to_numpy()[1:])
        return [np.nan_to_num(np.r_[held[1:], held[-1]])]
    return [one.want for one in ones]
