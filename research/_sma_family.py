"""All pairs of a moving-average crossover in one compiled pass: a shared prefix sum, never a matrix of averages.

The rule: what it gives is what `Backtest` gives, fill by fill. It walks only what is simple: one symbol, whole
positions that change where the averages cross, market orders at the next bar that trades, every cost and cap of the
setup, no stops, targets or sizing by risk. Where a pair leaves that ground (an order that the volume cuts, a second
crossing before the first could trade, an account that is ruined) it gives the pair up, and `Backtest` runs it.

Memory is what the bars need and a line a pair.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from backtest import book as b
from backtest.inputs import Inputs, fee_table, gather, named, rules_of, state_of
from domain.candles import nanos
from research._grid import Columns
from research._sma_kernel import CASH, HIGHEST, LEVEL, LOT, LOWEST, PERIODS, TICK, US, walk_pairs
from research._task import COLUMNS, Task, marks_of
from strategies.base import closes, find

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def prepared(task: Task) -> Callable[[Columns], tuple[Floats, npt.NDArray[np.bool_]]] | None:
    """The pass over any of the task's pairs, by columns of parameters; None where the rules are not simple ones."""
    setup, one_frame = task.setup, not isinstance(task.candles, dict) or len(task.candles) == 1
    simple = not any(setup.exits) and not setup.max_bars and setup.sizing in ("equity", "shares")
    if not (simple and one_frame and task.columns == COLUMNS and task.strategy_class is find("sma_crossover")):
        return None
    ready, default = Prepared(task), task.strategy_class()

    def rows(columns: Columns) -> tuple[Floats, npt.NDArray[np.bool_]]:
        count = len(next(iter(columns.values())))
        fast, slow, short, combined = (
            np.ascontiguousarray(np.broadcast_to(columns.get(name, getattr(default, name)), count))
            for name in ("fast", "slow", "short", "combined")
        )
        found, done = ready.rows(fast.astype(np.int64), slow.astype(np.int64), short.astype(np.bool_))
        return found, done & ~combined.astype(np.bool_)

    return rows


def refused(task: Task, columns: Columns) -> npt.NDArray[np.bool_]:
    """Which combinations the strategy refuses, all at once; a test holds this to the strategy's own word."""
    default = task.strategy_class()
    fast, slow = (np.asarray(columns.get(name, getattr(default, name))) for name in ("fast", "slow"))
    return np.broadcast_to(fast >= slow, len(next(iter(columns.values()))))


class Prepared:
    """What all pairs share: sums of the closes, bars to trade in, days to value the account on."""

    def __init__(self, task: Task) -> None:
        whole: list[Any] = []

        def see(_: Any, candles: Any) -> Floats:
            whole.append((closes(candles), nanos(candles)))
            return np.zeros(len(candles))

        self.inputs = gather(named(task.candles, task.instrument), see, task.setup, task.start, task.end)
        [one] = self.inputs.ones
        [(every, times)] = whole
        self.first = int(np.searchsorted(times, self.inputs.times[0]))
        level = float(every[0])  # taken off, the sums stay small and keep their digits
        self.sums = np.concatenate([[0.0], np.cumsum((every - level).astype(np.longdouble)).astype(np.float64)])
        self.block = np.ascontiguousarray(one.block)
        state, sessions = state_of(self.inputs)
        self.open = _tradable(self.inputs, state[0], sessions)
        marks = marks_of(self.inputs)
        self.marked = self.block[3][marks.rows]
        self.before = np.searchsorted(marks.rows, np.arange(len(self.inputs.times) + 1)).astype(np.int64)
        account = np.zeros(9)
        account[CASH], account[PERIODS], account[LEVEL] = task.setup.cash, marks.periods, level
        account[TICK], account[LOT], account[US] = state[0, [b.TICK, b.LOT, b.US]]
        account[HIGHEST], account[LOWEST] = self.block[3].max(), self.block[3].min()
        self.account, self.rules = account, rules_of(task.setup)
        self.short = task.setup.short

    def rows(self, fast: Ints, slow: Ints, short: npt.NDArray[np.bool_]) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """A row of results a pair, and which pairs were done; the others were given up."""
        out, done = np.empty((len(fast), len(COLUMNS))), np.zeros(len(fast), dtype=np.bool_)
        walk_pairs(
            fast,
            slow,
            short & self.short,
            self.first,
            self.sums,
            self.block,
            self.inputs.times,
            self.open,
            self.marked,
            self.before,
            self.account,
            self.rules,
            fee_table(),
            out,
            done,
        )
        return out, done


def _tradable(inputs: Inputs, me: Floats, sessions: Floats) -> npt.NDArray[np.bool_]:
    """Which bars trade: somebody did, and the regular session is on."""
    volume, times = inputs.ones[0].block[4], inputs.times
    hours = sessions[:, int(me[b.SESSION]) : int(me[b.SESSIONS_TO])]
    at = np.maximum(np.searchsorted(hours[0], times.astype(np.float64), side="right") - 1, 0)
    inside = (hours[0, at] <= times) & (times < hours[1, at])
    fills = inputs.setup.fills
    return np.asarray(inside & ((volume > 0.0) | (fills.ignore_volume & np.isfinite(volume))))
