"""Walk-forward: choose parameters on some bars, trade the next ones with them, move on, and look at those alone.

The rule: what is judged was never chosen on. Windows roll; the trading of all of them is one run with one account, in
which positions are carried from window to window and changes of parameters cost what they cost.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from backtester import Backtest, Result, Setup
from domain import luck, ratios
from domain.instruments import Instrument
from research._task import moment
from research._workers import Cancel, Progress
from strategies.base import asked

if TYPE_CHECKING:
    from research.sweep import Sweep

Floats = npt.NDArray[np.float64]
YEAR_S = 365.25 * 86_400


@dataclass(frozen=True, eq=False)
class WalkForward:
    """`windows` has a row a window: inside_from, outside_from, outside_to (bars' opens, the last one included), the
    chosen parameters, `inside` (the objective where it was chosen), inside_return and outside_return (annualised).
    `result` is the one run over all bars outside: its equity is the stitched one."""

    windows: pd.DataFrame
    chosen: tuple[dict[str, Any] | None, ...]
    result: Result
    efficiency: float | None
    profitable: float | None
    drift: float | None

    @property
    def equity(self) -> pd.Series:
        return self.result.equity

    def __str__(self) -> str:
        kept = "n/a" if self.efficiency is None else f"{self.efficiency:.0%}"
        drift = "n/a" if self.drift is None else f"{self.drift:.0%} of the range a step"
        return (
            f"{len(self.windows)} windows: {kept} of the return inside was kept outside, "
            f"{self.profitable or 0.0:.0%} of them gained, parameters drifted {drift}"
        )


class Stitched(Backtest):
    """Each window's own parameters, one after the other."""

    plan: tuple[tuple[Any, pd.Timestamp], ...] = ()  # the strategy of each window (None: stay out) and its begin

    def target(self, candles: pd.DataFrame) -> Floats:
        wishes = functools.cache(lambda strategy: asked(strategy, candles).exposure)
        want = np.zeros(len(candles))
        for strategy, begin in self.plan:  # each overwrites what follows its begin
            rows = slice(int(candles.index.searchsorted(begin)), None)
            want[rows] = 0.0 if strategy is None else wishes(strategy)[rows]
        return want


def walk_forward(
    candles: pd.DataFrame | dict[str, pd.DataFrame],
    strategy_class: type[Any],
    ranges: Mapping[str, Any] | None = None,
    setup: Setup | None = None,
    objective: str = "sharpe",
    *,
    inside: int = 504,
    outside: int = 126,
    anchored: bool = False,
    choose: str = "centre",
    jobs: int = 1,
    cluster: str | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    instrument: Instrument | dict[str, Instrument] | None = None,
    start: datetime | str | None = None,
    end: datetime | str | None = None,
) -> WalkForward:
    """Sweep `inside` bars, trade the `outside` bars after them with what was found, move on by `outside` bars.

    anchored    every sweep begins at the first bar instead, and grows
    choose      "centre" of the best neighbourhood, or the "best" point
    progress    of all windows together

    The last window ends with the last bar; what does not fill a window is left out at the beginning. Bars before a
    window only warm strategies up. A window inside which the objective is n/a everywhere is not traded.
    """
    from research.sweep import sweep

    if choose not in ("centre", "best"):
        raise ValueError(f"choose must be centre or best: got {choose!r}")
    setup = setup or Setup()
    times = _times(candles, moment(start), moment(end))
    begins = _windows(len(times), inside, outside)
    found: list[Sweep] = []
    for number, at in enumerate(begins):
        first = times[begins[0] if anchored else at]
        found.append(
            sweep(
                candles,
                strategy_class,
                ranges,
                setup,
                objective,
                jobs,
                cluster,
                _part(progress, number, len(begins)),
                cancel,
                instrument=instrument,
                start=first,
                end=times[at + inside],
            )
        )
    chosen = tuple(_chosen(one, choose) for one in found)
    traded = [times[at + inside] for at in begins]
    run = Stitched(candles, None, setup, instrument=instrument, start=traded[0], end=end)
    run.plan = tuple(
        (None if params is None else strategy_class(**params), begin)
        for params, begin in zip(chosen, traded, strict=True)
    )
    result = run.run()
    return _judged(found, chosen, result, times, begins, inside, outside, anchored)


def _judged(
    found: list[Sweep],
    chosen: tuple[dict[str, Any] | None, ...],
    result: Result,
    times: pd.DatetimeIndex,
    begins: list[int],
    inside: int,
    outside: int,
    anchored: bool,
) -> WalkForward:
    equity, rows = result.equity.to_numpy(), []
    for number, (one, params, at) in enumerate(zip(found, chosen, begins, strict=True)):
        first, trade = begins[0] if anchored else at, at + inside
        row = _row(one, params)
        earned = row["profit"] / one.task.setup.cash if row is not None else 0.0
        grown = equity[(number + 1) * outside] / equity[number * outside] - 1.0
        rows.append(
            {
                "inside_from": times[first],
                "outside_from": times[trade],
                "outside_to": times[trade + outside - 1],
                **(params or dict.fromkeys(axis.name for axis in one.grid.axes)),
                "inside": row[one.objective] if row is not None else math.nan,
                "inside_return": _yearly(earned, times[trade - 1] - times[first]),
                "outside_return": _yearly(grown, times[trade + outside - 1] - times[trade - 1]),
            }
        )
    windows = pd.DataFrame(rows)
    within, without = windows["inside_return"].to_numpy(), windows["outside_return"].to_numpy()
    kept, share = luck.walk_forward_efficiency(within.tolist(), without.tolist())
    ranges = {a.name: (a.values[0], a.values[-1]) for a in found[0].grid.swept if a.ordered}
    drift = luck.parameter_drift([p for p in chosen if p is not None], ranges)
    return WalkForward(
        windows, chosen, result, kept if kept is not None and math.isfinite(kept) else None, share, drift
    )


def _times(candles: Any, start: datetime | None, end: datetime | None) -> pd.DatetimeIndex:
    frames = list(candles.values()) if isinstance(candles, Mapping) else [candles]
    every = functools.reduce(lambda a, b: a.union(b), [frame.index for frame in frames])
    held = np.ones(len(every), dtype=bool)
    if start is not None:
        held &= every >= start
    if end is not None:
        held &= every < end
    return pd.DatetimeIndex(every[held])


def _windows(bars: int, inside: int, outside: int) -> list[int]:
    if inside < 1 or outside < 1:
        raise ValueError(f"inside and outside must be at least 1 bar: got {inside} and {outside}")
    if bars < inside + outside:
        raise ValueError(f"walk-forward needs at least {inside} + {outside} bars: there are {bars}")
    return list(range((bars - inside) % outside, bars - inside, outside))


def _chosen(found: Sweep, choose: str) -> dict[str, Any] | None:
    if found.plateau is None:
        return None
    return found.plateau.centre if choose == "centre" else found.plateau.best


def _row(found: Sweep, params: dict[str, Any] | None) -> Any:
    if params is None:
        return None
    same = np.logical_and.reduce([(found.table[name] == value).to_numpy() for name, value in params.items()])
    return found.table.iloc[int(np.argmax(same))]


def _yearly(total: float, span: pd.Timedelta) -> float:
    return float(ratios.annualised(total, span.total_seconds() / YEAR_S))


def _part(progress: Progress | None, number: int, of: int) -> Progress | None:
    return None if progress is None else lambda done, count: progress(number * count + done, of * count)
