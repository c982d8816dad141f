"""A strategy over a grid of its parameters: not only which point did best, but what stands around it.

    found = sweep(candles, SmaCrossover, {"fast": (5, 50, 5), "slow": (20, 200, 10)}, Setup(), jobs=2)
    found.table                 # a row a combination: parameters, trades, profit, Sharpe, drawdown, exposure
    found.plateau               # the best point, its neighbours' mean, and the centre of the best neighbourhood
    found.heat()                # the objective over two parameters

    python -m research.sweep --symbol AAPL --strategy sma_crossover --range fast=5:50:5 slow=20:200:10

The rule: whoever works on it (threads, processes, `cluster="tcp://host:8786"`), the table is the same to the last
byte. The best of many tries is good by luck too: `research.honesty` judges it, `walk_forward` tries it on other bars.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from backtester import Setup
from domain.instruments import Instrument
from research._grid import MOST, Columns, Grid, axes_of, each
from research._task import COLUMNS, OBJECTIVES, Task, moment
from research._walk_forward import WalkForward, walk_forward
from research._workers import Cancel, Progress, SweepCancelled, run
from strategies.base import find

__all__ = ["OBJECTIVES", "Plateau", "Sweep", "SweepCancelled", "WalkForward", "main", "sweep", "walk_forward"]

Params = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plateau:
    """The best point, and the robust centre beside it.

    `around` is the mean of the best point's neighbours, `above` how far it stands above them, `spread` the standard
    deviation of all combinations. `centre` is the combination whose neighbourhood, itself included, has the highest
    mean; places where less than half of a neighbourhood is known do not count. NaN: there are no neighbours.
    """

    best: Params
    value: float
    around: float
    neighbours: int
    spread: float
    centre: Params
    centre_value: float
    centre_mean: float

    @property
    def above(self) -> float:
        return self.value - self.around

    @property
    def lonely(self) -> bool:
        """Whether the best stands further above its neighbours than combinations differ in general."""
        return bool(self.above > self.spread)

    def __str__(self) -> str:
        shape = "a lonely peak" if self.lonely else "part of a plateau"
        return (
            f"best {self.value:.3g} at {_words(self.best)}; the {self.neighbours} around it average {self.around:.3g}: "
            f"{shape} ({self.above:+.3g} above them, all combinations spread {self.spread:.3g}). "
            f"Robust centre {_words(self.centre)}: {self.centre_value:.3g}, its neighbourhood {self.centre_mean:.3g}"
        )


@dataclass(frozen=True, eq=False)
class Sweep:
    """What a sweep found. `table` has a row a combination, in the order of the grid: the swept parameters, then trades
    (closed), profit (net, open positions at the last close), sharpe, max_drawdown, exposure (share of bars with a
    position) and the objective where it is another; NaN is n/a. `compiled` of them went through the family's pass."""

    task: Task
    grid: Grid
    table: pd.DataFrame
    compiled: int

    @property
    def objective(self) -> str:
        return self.task.objective

    @property
    def refused(self) -> int:
        """Combinations of the grid that the strategy refused."""
        return self.grid.refused

    @functools.cached_property
    def values(self) -> npt.NDArray[np.float64]:
        """The objective, a row a combination."""
        return self.table[self.objective].to_numpy(np.float64)

    @property
    def best(self) -> Params | None:
        """The parameters with the highest objective (the first of equals); None where it is n/a everywhere."""
        return self._params(int(np.nanargmax(self.values))) if np.isfinite(self.values).any() else None

    @functools.cached_property
    def plateau(self) -> Plateau | None:
        values = self.values
        if self.best is None:
            return None
        best, known = int(np.nanargmax(values)), np.isfinite(values)
        total, count, whole = self.grid.around(values)
        own = np.where(known, values, 0.0)
        neighbours = int(count[best]) - 1
        means = np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)
        there = known & (2 * count >= whole)
        centre = int(np.argmax(np.where(there if there.any() else known, means, -np.inf)))
        return Plateau(
            self._params(best),
            float(values[best]),
            float((total[best] - own[best]) / neighbours) if neighbours else np.nan,
            neighbours,
            float(values[known].std(ddof=1)) if known.sum() > 1 else np.nan,
            self._params(centre),
            float(values[centre]),
            float(means[centre]),
        )

    def heat(self, x: str = "", y: str = "") -> pd.DataFrame:
        """The objective over two parameters, `x` across and `y` down; by default the first two that were swept. Others
        stand at the best point's values."""
        names = [axis.name for axis in self.grid.axes]
        found = [axis.name for axis in self.grid.swept if axis.name not in (x, y)]
        x = x or (found.pop(0) if found else "")
        y = y or (found.pop(0) if found else "")
        if x not in names or y not in names or x == y:
            raise ValueError(f"a heat map needs two of the swept parameters ({', '.join(names)}): got {x!r} and {y!r}")
        across, down = names.index(x), names.index(y)
        best = np.unravel_index(self.grid.at[int(np.nanargmax(self.values)) if self.best else 0], self.grid.shape)
        cut = tuple(slice(None) if n in (across, down) else int(at) for n, at in enumerate(best))
        laid = self.grid.full(self.values)[cut]
        axes = self.grid.axes
        return pd.DataFrame(
            laid if down < across else laid.T,
            index=pd.Index(axes[down].values, name=y),
            columns=pd.Index(axes[across].values, name=x),
        )

    def top(self, count: int = 10) -> pd.DataFrame:
        """The best rows first; n/a last, equals in the order of the grid."""
        return self.table.sort_values(self.objective, ascending=False, kind="stable").head(count)

    def summary(self) -> str:
        """What was tried and what stands out, as text."""
        name = self.task.strategy_class.__name__
        refused = f", {self.refused:,} refused" if self.refused else ""
        said = [f"{name}: {len(self.table):,} combinations by {self.objective}{refused}", self.task.setup.words]
        return "\n".join([*said, "", self.top().to_string(index=False), "", str(self.plateau or "n/a everywhere")])

    def to_json(self, count: int = 20) -> dict[str, Any]:
        """As JSON values; n/a is null."""
        rows = json.loads(self.top(count).to_json(orient="records", double_precision=15))
        plateau = {k: None if v != v else v for k, v in asdict(self.plateau).items()} if self.plateau else None
        told = {"objective": self.objective, "combinations": len(self.table), "refused": self.refused}
        return told | {"setup": self.task.setup.to_dict(), "plateau": plateau, "top": rows}

    def _params(self, row: int) -> Params:
        places = np.unravel_index(self.grid.at[row], self.grid.shape)
        return {axis.name: axis.values[int(at)] for axis, at in zip(self.grid.axes, places, strict=True)}


def sweep(
    candles: pd.DataFrame | dict[str, pd.DataFrame],
    strategy_class: type[Any],
    ranges: Mapping[str, Any] | None = None,
    setup: Setup | None = None,
    objective: str = "sharpe",
    jobs: int = 1,
    cluster: str | None = None,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
    *,
    instrument: Instrument | dict[str, Instrument] | None = None,
    start: datetime | str | None = None,
    end: datetime | str | None = None,
    most: int = MOST,
) -> Sweep:
    """Every combination of the parameters, each backtested under the same setup.

    ranges      by parameter: (low, high) in its declared step, (low, high, step), a list of values, one value, or None
                for all it declares. Parameters not named keep their default. No ranges: every number, all it declares
    objective   one of `OBJECTIVES`, the higher the better
    jobs        processes (threads for a compiled family); -1: every core
    cluster     address of a Dask scheduler, such as "tcp://host:8786", whose workers do it instead
    progress    called with (done, of how many) now and then;  `cancel` asked as often: True ends in `SweepCancelled`
    most        more combinations than this are refused with a ValueError

    Combinations the strategy itself refuses (ValueError) are left out and counted. `start`, `end`, `instrument` are
    those of `Backtest`.
    """
    if objective not in OBJECTIVES:
        raise ValueError(f"objective must be one of {', '.join(OBJECTIVES)}: got {objective!r}")
    axes = axes_of(strategy_class, ranges, most)
    task = Task(candles, strategy_class, setup or Setup(), objective, instrument, moment(start), moment(end))
    grid, columns = _combinations(task, Grid(axes, np.arange(int(np.prod([len(axis.values) for axis in axes])))))
    rows, compiled = run(task, columns, jobs, cluster, progress, cancel)
    table = pd.DataFrame(columns | dict(zip(task.columns, rows.T, strict=True)))
    return Sweep(task, grid, table.astype({COLUMNS[0]: np.int64}), compiled)


def _combinations(task: Task, whole: Grid) -> tuple[Grid, Columns]:
    """The grid without what the strategy refuses, and its columns."""
    columns, reason = whole.columns(), ""
    if task.strategy_class is find("sma_crossover"):
        from research import _sma_family

        refused = _sma_family.refused(task, columns)
    else:
        said = [_refusal(task, params) for params in each(columns)]
        refused, reason = np.array([bool(one) for one in said]), said[0]
    if not refused.any():
        return whole, columns
    if refused.all():
        raise ValueError(f"{task.strategy_class.__name__} refuses every combination{f': {reason}' if reason else ''}")
    kept = Grid(whole.axes, whole.at[~refused], int(refused.sum()))
    return kept, kept.columns()


def _refusal(task: Task, params: Params) -> str:
    try:
        task.strategy_class(**params)
    except ValueError as error:
        return str(error) or "refused"
    return ""


def _words(params: Params) -> str:
    return ", ".join(
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in params.items()
    )


def main(arguments: list[str] | None = None) -> int:
    """0 when it ran, 2 where something asked for is missing or wrong."""
    from domain.errors import DeskError
    from research import _sweep_command

    try:
        print(_sweep_command.answer(arguments))
    except (DeskError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
