"""The arithmetic of closed trades: net profits along the last axis, one account's or a thousand resampled ones'.

NaN is what is undefined. A trade that made exactly nothing is neither a win nor a loss, but it is a trade.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from domain.errors import DataError
from domain.ratios import Floats, divide, mean, spread

FEW = 30  # trades below which SQN is a rumour
_CAP = 100  # trades beyond which Tharp's SQN grows no more


def win_rate(profits: Floats) -> Floats:
    return mean((profits > 0).astype(np.float64))


def profit_factor(profits: Floats) -> Floats:
    return divide(np.maximum(profits, 0.0).sum(axis=-1), np.maximum(-profits, 0.0).sum(axis=-1))


def payoff(profits: Floats) -> Floats:
    """Mean win over mean loss; NaN unless there are both."""
    wins, losses = _count(profits > 0), _count(profits < 0)
    best = divide(np.maximum(profits, 0.0).sum(axis=-1), wins)
    return divide(best, divide(np.maximum(-profits, 0.0).sum(axis=-1), losses))


def expectancy_ratio(profits: Floats) -> Floats:
    """`(1 + payoff) win rate - 1`: what a unit lost on a loser earns on the average trade."""
    return (1.0 + payoff(profits)) * win_rate(profits) - 1.0


def kelly(profits: Floats) -> Floats:
    """`w - (1 - w) / payoff`, w over the decided trades."""
    wins, losses = _count(profits > 0), _count(profits < 0)
    share = divide(wins, wins + losses)
    return share - divide(1.0 - share, payoff(profits))


def sqn(multiples: Floats, cap: int | None = None) -> Floats:
    """`sqrt(N) mean(R) / sd(R)`; with `cap` the root grows no further than that of so many trades."""
    n = multiples.shape[-1]
    return np.asarray(np.sqrt(min(n, cap) if cap else n) * divide(mean(multiples), spread(multiples)))


def sqn_capped(multiples: Floats) -> Floats:
    return sqn(multiples, _CAP)


def streak(hits: npt.NDArray[np.bool_]) -> int:
    """The longest run of True."""
    gaps = np.flatnonzero(~np.concatenate([[False], hits, [False]]))
    return int(np.diff(gaps).max() - 1) if len(gaps) > 1 else 0


def wilson(hits: int, n: int) -> tuple[float, float] | None:
    """95 % interval of a share (Wilson's score), None of nothing."""
    if n == 0:
        return None
    z = NormalDist().inv_cdf(0.975)
    share, weight = hits / n, 1.0 + z**2 / n
    middle = (share + z**2 / (2 * n)) / weight
    half = z / weight * float(np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)))
    return max(0.0, middle - half), min(1.0, middle + half)


def _count(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    return np.asarray(mask.sum(axis=-1))


@dataclass(frozen=True, slots=True)
class Book:
    """A table of trades as arrays, `profits` and `risks` of the closed ones: those with an exit time (all, where
    there is no such column). A risk is what stood at risk at the entry, in money; NaN for a trade without a stop."""

    table: pd.DataFrame
    done: npt.NDArray[np.bool_]
    profits: Floats
    risks: Floats
    _read: dict[str, Floats | None] = field(default_factory=dict)

    @classmethod
    def of(cls, trades: pd.DataFrame) -> Book:
        """DataError where a closed trade's profit is missing or no number."""
        if "profit" not in trades:
            raise DataError("trades: the column profit is missing")
        done = trades["exit_time"].notna().to_numpy() if "exit_time" in trades else np.ones(len(trades), dtype=bool)
        profits = _column(trades, "profit", done)
        assert profits is not None
        if not np.isfinite(profits.sum()) and len(bad := np.flatnonzero(~np.isfinite(profits))):
            raise DataError(f"trades: closed trade {bad[0]} has profit {profits[bad[0]]}: every one needs a number")
        book = cls(trades, done, profits, profits, {"profit": profits})
        return replace(book, risks=book._risks())

    def column(self, name: str) -> Floats | None:
        """A column of the closed trades as floats, None where the table has none such."""
        if name not in self._read:
            self._read[name] = _column(self.table, name, self.done)
        return self._read[name]

    def days(self) -> Floats | None:
        """How long each was held, in calendar days."""
        if "entry_time" not in self.table or "exit_time" not in self.table:
            return None
        begins, ends = (_moments(self.table[name]) for name in ("entry_time", "exit_time"))
        if begins is None or ends is None:
            held = pd.to_datetime(self.table["exit_time"]) - pd.to_datetime(self.table["entry_time"])
            return np.asarray(held.dt.total_seconds().to_numpy(np.float64)[self.done] / 86_400.0, dtype=np.float64)
        return np.asarray((ends - begins)[self.done] / 1e9 / 86_400.0, dtype=np.float64)

    def traded(self, *, closed: bool) -> float | None:
        """Money that changed hands, both sides; with `closed` off also the entries of open trades."""
        entry, leave, size = (self.column(name) for name in ("entry", "exit", "quantity"))
        if entry is None or leave is None or size is None:
            return None
        entered = np.abs(entry * size).sum()
        if not closed and not self.done.all():
            still = ~self.done
            began, held = (_column(self.table, name, still) for name in ("entry", "quantity"))
            assert began is not None
            assert held is not None
            entered += np.abs(began * held).sum()
        return float(entered + np.abs(leave * size).sum())

    def costs(self) -> float | None:
        """Fees and slippage of the closed trades; None where neither is known."""
        known = [c for c in (self.column("fees"), self.column("slippage_cost")) if c is not None]
        return float(sum(c.sum() for c in known)) if known else None

    def _risks(self) -> Floats:
        """`risk` where it is told, else |entry - first stop| x quantity."""
        risk = self.column("risk")
        entry, stop, size = (self.column(name) for name in ("entry", "stop_at_entry", "quantity"))
        if risk is None and entry is not None and stop is not None and size is not None:
            risk = np.abs((entry - stop) * size)
        return np.full(len(self.profits), np.nan) if risk is None else np.where(risk > 0, risk, np.nan)


def efficiency(profits: Floats, best: Any) -> Floats:
    """Profit over the best that was open: of all the money once in hand, the share kept."""
    return divide(profits.sum(), np.maximum(best, 0.0).sum())


def _column(table: pd.DataFrame, name: str, rows: npt.NDArray[np.bool_]) -> Floats | None:
    if name not in table:
        return None
    column = table[name]
    usual = column.dtype == np.float64  # a column of floats needs no look for its missing values
    return (column.to_numpy() if usual else column.to_numpy(np.float64, na_value=np.nan))[rows]


def _moments(column: pd.Series) -> npt.NDArray[np.int64] | None:
    """A column of times as UTC nanoseconds; None where it is kept otherwise."""
    usual = isinstance(column.dtype, pd.DatetimeTZDtype) and column.dtype.unit == "ns"
    return pd.DatetimeIndex(column).asi8 if usual else None
