"""What a page draws of one result: its curve, its months, its days, and what resampled histories would have given."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from backtest.result import Result
from domain import ratios, resampling
from domain.daily import Daily, daily

Floats = npt.NDArray[np.float64]
DRAWS = 1000
PERCENTILES = (5, 25, 50, 75, 95)


def curve(result: Result) -> pd.DataFrame:
    """A row a bar's close: equity, drawdown (a share, 0 or less), exposure (minus for short)."""
    equity = result.equity.to_numpy()
    return pd.DataFrame(
        {"equity": equity, "drawdown": ratios.drawdowns(equity), "exposure": result.exposure.to_numpy()},
        index=result.times,
    )


def trades(result: Result) -> pd.DataFrame:
    """As `Result.trades`, words as text."""
    words = {name: str for name, kind in result.trades.dtypes.items() if isinstance(kind, pd.CategoricalDtype)}
    return result.trades.astype(words)


def monthly(days: Daily) -> pd.DataFrame:
    """Returns by year and month, and of each whole year in the column "year"; NaN outside the span."""
    columns = [*range(1, 13), "year"]
    if days.days is None or not days.n:
        return pd.DataFrame(columns=columns, dtype=np.float64, index=pd.Index([], dtype=np.int64))
    dates = pd.DatetimeIndex(days.days[1:])
    marks = pd.Series(days.equity[1:], dates)
    by_month = _changes(marks.groupby([dates.year, dates.month]).last(), days.equity[0])
    table = by_month.unstack().reindex(columns=range(1, 13))
    table["year"] = _changes(marks.groupby(dates.year).last(), days.equity[0])
    return pd.DataFrame(table.to_numpy(np.float64), index=table.index.to_numpy(np.int64), columns=columns)


def _changes(marks: pd.Series, start: float) -> pd.Series:
    """From each mark to the next; NaN where nothing was left to begin with."""
    values = marks.to_numpy(np.float64)
    before = np.r_[start, values[:-1]]
    with np.errstate(divide="ignore", invalid="ignore"):
        return pd.Series(np.where(before > 0, values / before - 1.0, np.nan), marks.index)


def returns(days: Daily) -> pd.Series:
    """Of each day; NaN where nothing was left to begin with."""
    values = _changes(pd.Series(days.equity[1:]), days.equity[0] if days.n else np.nan).to_numpy()
    dates = days.days[1:] if days.days is not None else np.arange(len(values)).astype("datetime64[D]")
    return pd.Series(values, pd.DatetimeIndex(dates, name="day").as_unit("ns"), name="return")


def fan(days: Daily, draws: int = DRAWS, seed: int = 0) -> tuple[pd.DataFrame, str]:
    """Percentiles of equity over resampled histories (blocks of days keep losing streaks together), and what they say
    in words; nothing below ten days, or where the account was ruined."""
    names = [f"p{p}" for p in PERCENTILES]
    if days.n < resampling.FEWEST or days.equity.min() <= 0:
        why = "the account was ruined" if days.n and days.equity.min() <= 0 else "there are too few days to resample"
        return pd.DataFrame(columns=names, dtype=np.float64, index=pd.RangeIndex(0, name="day")), f"n/a: {why}"
    own = days.returns
    paths = np.concatenate([ratios.from_start(own[rows]) for rows in resampling.draws(days.n, draws, seed)])
    depth = ratios.drawdowns(paths).min(axis=-1)
    table = np.percentile(paths, PERCENTILES, axis=0).T * days.equity[0]
    below, deep = 100 * float(np.mean(paths[:, -1] < 1.0)), -100 * float(np.quantile(depth, 0.05))
    said = f"of {draws:,} resampled histories {below:.0f} % end below the start"
    said += f", the worst 5 % draw down {deep:.0f} % or more"
    return pd.DataFrame(table, columns=names, index=pd.RangeIndex(days.n + 1, name="day")), said


def days_of(result: Result) -> Daily:
    return daily(result.equity, result.zone)
