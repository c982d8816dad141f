"""Correlation: some markets lead others. `NVDA>AMD` says that AMD follows NVDA.

In the mode `confirm` an entry in a follower waits for its leader to want the same side. In the mode `second trade` the
follower's own entries are let through, and `followed` gives it the leader's side where its own strategy wants nothing.
Both only while the two really move together: the correlation of their moves from bar to bar is measured.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from domain.instruments import instrument
from domain.params import check_params, param
from filters.base import GOOD_FOR, Others, Verdicts, filtered
from strategies.base import Floats, Wanted, closes

CONFIRM, SECOND = "confirm", "second trade"
_SIDES = {1: "long", -1: "short", 0: "nothing"}


class Pair(NamedTuple):
    """`follower` follows `leader`."""

    leader: str
    follower: str


def pairs_of(text: str) -> tuple[Pair, ...]:
    """The pairs in a text such as `NVDA>AMD, USO>RTX`; none in an empty one. ValueError quotes what is no pair."""
    found: list[Pair] = []
    for part in filter(None, (part.strip() for part in re.split(r"[,;\n]", text))):
        names = [name.strip() for name in part.split(">")]
        if len(names) != 2 or not all(names):
            raise ValueError(f"pairs: write LEADER>FOLLOWER, with commas between them, as NVDA>AMD: got {part!r}")
        pair = Pair(*(instrument(name).symbol for name in names))
        if pair.leader == pair.follower:
            raise ValueError(f"pairs: a symbol cannot follow itself: got {part!r}")
        if pair not in found:
            found.append(pair)
    return tuple(found)


@dataclass(frozen=True)
class Correlation:
    """Passes a follower's entry where one of its leaders wants the same side on this bar or the `within` before it, and
    the two correlate by `least` or more. A symbol that follows none passes; a leader that is not there never does."""

    label: ClassVar[str] = "Leaders and followers"
    about: ClassVar[str] = "Lets an entry through only where the market that leads this one wants the same side."

    pairs: str = param("NVDA>AMD, USO>RTX", help="who leads whom: LEADER>FOLLOWER, with commas between them")
    mode: str = param(CONFIRM, choices=(CONFIRM, SECOND), help="second trade: the follower takes its leader's side too")
    within: int = param(5, low=0, high=100, help="bars before this one in which the leader may have wanted the side")
    bars: int = param(60, low=20, high=1000, help="bars whose moves are correlated; half must be there for both")
    least: float = param(0.5, low=0.0, high=0.99, step=0.01, help="lowest correlation at which the two go together")
    symbol: str = ""

    def __post_init__(self) -> None:
        check_params(self)
        pairs_of(self.pairs)

    @property
    def warmup(self) -> int:
        return max(self.bars, self.within)

    def verdicts(self, candles: pd.DataFrame, wanted: Wanted, others: Others | None) -> Verdicts:
        if self.mode == SECOND:
            return _all(candles, True, "entries of its own are let through: the leaders give second trades")
        if not self.symbol:
            return _all(candles, False, "it was not said whose bars these are, so its leaders are not known")
        leaders = [pair.leader for pair in pairs_of(self.pairs) if pair.follower == self.symbol]
        if not leaders:
            return _all(candles, True, f"{self.symbol} follows no other symbol")
        one = [self._by(leader, candles, wanted, others or {}) for leader in leaders]
        passes = np.logical_or.reduce([each.passes for each in one])

        def why(row: int) -> str:
            return "; ".join(each.why(row) for each in one if each.passes[row] == passes[row])

        return Verdicts(passes, why)

    def _by(self, leader: str, candles: pd.DataFrame, wanted: Wanted, others: Others) -> Verdicts:
        if leader not in others:
            return _all(candles, False, f"{leader} leads {self.symbol} and is not among the symbols traded")
        led = _Led.of(leader, candles, *others[leader], self.bars)
        side = np.sign(wanted.exposure)
        wants = np.zeros(len(side), dtype=np.bool_)
        for back in range(min(self.within + 1, len(side))):
            wants[back:] |= led.side[: len(side) - back] == side[back:]
        close = led.correlation >= self.least
        passes = wants & close & (side != 0.0)

        def why(row: int) -> str:
            if side[row] == 0.0:
                return f"nothing is wanted here that {leader} could confirm"
            said = "wants" if led.side[row] == side[row] else "wanted" if wants[row] else "has not wanted"
            when = "" if led.side[row] == side[row] else f" within {self.within} bars"
            asked = f"{leader} {said} {_SIDES[int(side[row])]}{when}"
            return f"{asked}; {_told(led.correlation[row], self.bars, self.least)}"

        return Verdicts(passes, why)

    def seconds(self, wanted_of_all: Others) -> dict[str, tuple[Wanted, Verdicts]]:
        """In the mode `second trade`, by follower: what its leaders want where it wants nothing itself, and whether the
        two go together there. Nothing in the mode `confirm`."""
        if self.mode != SECOND:
            return {}
        return _seconds(wanted_of_all, pairs_of(self.pairs), self.bars, self.least)

    def followed(self, wanted_of_all: Others, *, good_for: int = GOOD_FOR) -> dict[str, Wanted]:
        """What `followed` gives for this filter's pairs; nothing in the mode `confirm`."""
        if self.mode != SECOND:
            return {}
        return followed(wanted_of_all, pairs_of(self.pairs), bars=self.bars, least=self.least, good_for=good_for)


def followed(
    wanted_of_all: Others,
    pairs: tuple[Pair, ...],
    *,
    bars: int = 60,
    least: float = 0.5,
    good_for: int = GOOD_FOR,
) -> dict[str, Wanted]:
    """What each follower is to hold besides, by symbol: its leader's exposure on rows where its own strategy wants
    nothing, 0 elsewhere. Each row is its follower's bar and knows the leader's bar of the same time, no later one.

    It is entered as by a filter: while the leader's signal is at most `good_for` bars old and the two correlate by
    `least`. It ends with the leader's, or once the follower's own strategy wants something. Of several leaders, the
    first in `pairs` that wants something counts. Only what their own strategies want is followed, never a second trade.
    Symbols that are not there give nothing.
    """
    asked = _seconds(wanted_of_all, pairs, bars, least)
    return {follower: filtered(wants, [said], good_for=good_for)[0] for follower, (wants, said) in asked.items()}


def _seconds(all_of: Others, pairs: tuple[Pair, ...], bars: int, least: float) -> dict[str, tuple[Wanted, Verdicts]]:
    by_follower: dict[str, list[str]] = {}
    for leader, follower in pairs:
        if leader in all_of and follower in all_of:
            by_follower.setdefault(follower, []).append(leader)
    return {follower: _second(all_of, follower, leaders, bars, least) for follower, leaders in by_follower.items()}


def _second(all_of: Others, follower: str, leaders: list[str], bars: int, least: float) -> tuple[Wanted, Verdicts]:
    candles, own = all_of[follower]
    raw, confidence = np.zeros(len(candles)), np.zeros(len(candles))
    chosen = np.full(len(candles), -1, dtype=np.int64)
    passes = np.zeros(len(candles), dtype=np.bool_)
    led = [_Led.of(leader, candles, *all_of[leader], bars) for leader in leaders]
    for number, one in enumerate(led):
        here = (chosen < 0) & (one.side != 0.0) & (own.exposure == 0.0)
        chosen[here], raw[here], confidence[here] = number, one.exposure[here], one.confidence[here]
        passes[here] = (one.correlation >= least)[here]

    def why(row: int) -> str:
        if chosen[row] < 0:
            return "its own strategy wants something" if own.exposure[row] else "its leaders want nothing"
        one = led[chosen[row]]
        said = f"follows {one.name}, which wants {_SIDES[int(one.side[row])]}"
        return f"{said}; {_told(one.correlation[row], bars, least)}"

    return Wanted(raw, confidence, why), Verdicts(passes, why)


@dataclass(frozen=True, slots=True, eq=False)
class _Led:
    """A leader as its follower sees it: one row for each of the follower's bars, from the leader's bar of that time."""

    name: str
    exposure: Floats  # 0 where the leader has no such bar
    confidence: Floats
    correlation: Floats  # NaN where it cannot be told

    @property
    def side(self) -> Floats:
        return np.sign(self.exposure)

    @classmethod
    def of(cls, name: str, candles: pd.DataFrame, leader: pd.DataFrame, wanted: Wanted, bars: int) -> _Led:
        """Coarser bars than the follower's never have two that follow on each other here, so nothing correlates: a bar
        that is still open cannot be read."""
        from filters import _kernels  # here, for numba's import is slow and a form needs only the names

        at: npt.NDArray[np.intp] = leader.index.get_indexer(candles.index)
        moves = _moves(closes(candles)), _moves(_taken(closes(leader), at, np.nan))
        return cls(
            name,
            _taken(wanted.exposure, at, 0.0),
            _taken(wanted.confidence, at, 0.0),
            _kernels.correlation(*moves, bars, (bars + 1) // 2),
        )


def _taken(values: Floats, at: npt.NDArray[np.intp], missing: float) -> Floats:
    if not len(values):
        return np.full(len(at), missing)
    return np.where(at >= 0, values[at], missing)


def _moves(close: Floats) -> Floats:
    return np.diff(np.log(close), prepend=np.nan)


def _told(correlation: float, bars: int, least: float) -> str:
    if np.isnan(correlation):
        return f"how the two move together cannot be told from {bars} bars"
    return f"their correlation over {bars} bars is {correlation:.2f}, {least:g} at least is asked"


def _all(candles: pd.DataFrame, passes: bool, why: str) -> Verdicts:
    return Verdicts(np.full(len(candles), passes), lambda row: why)


PART = Correlation
