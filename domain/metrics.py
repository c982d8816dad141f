"""Every number by which a backtest or a desk is judged: what it is worth, over how many cases, how sure that is.

    found = measure(result.equity, result.trades)
    print(found["sharpe"])                   # Sharpe 1.13 [0.02, 2.24], n = 756
    found["calmar"].value                    # None where it is undefined: n/a, never infinity, 0 or -100 %

The definitions are those of `domain.metric_words`, printed in `docs/metrics.md`; their arithmetic is in
`domain.ratios` and `domain.trade_ratios`, what luck explains in `domain.luck`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from domain import luck, ratios, resampling
from domain import trade_ratios as tr
from domain.daily import Daily, Days, check_equity, daily, last_rows
from domain.errors import DataError
from domain.luck import dsr, min_trl, pbo, psr
from domain.metric_words import DEFINITIONS, Metric, conventions
from domain.ratios import Floats

__all__ = ["DEFINITIONS", "Metric", "conventions", "daily", "dsr", "measure", "min_trl", "pbo", "psr"]

_Z95 = 1.959963984540054


@dataclass(slots=True)
class _Found:
    """What has been worked out so far: values, the cases behind them, their intervals, and what else to say."""

    values: dict[str, tuple[float | None, int]] = field(default_factory=dict)
    between: dict[str, tuple[float, float]] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)

    def add(self, n: int, **values: Any) -> None:
        for name, value in values.items():
            number = math.nan if value is None else float(value)
            self.values[name] = (number if math.isfinite(number) else None, n)

    def metric(self, name: str) -> Metric:
        known = DEFINITIONS[name]
        value, n = self.values.get(name, (None, 0))
        low, high = self.between.get(name, (None, None)) if value is not None else (None, None)
        words = f"{known.words}. {self.notes[name]}" if name in self.notes else known.words
        return Metric(known.label, value, n, low, high, known.unit, words)


def measure(
    equity: pd.Series,
    trades: pd.DataFrame | None = None,
    *,
    periods: int = 252,
    rf: float = 0.0,
    benchmark: pd.Series | None = None,
    exposure: pd.Series | None = None,
    zone: str = "America/New_York",
    market: Days | None = None,
    draws: int = 0,
    seed: int = 0,
) -> dict[str, Metric]:
    """Every metric of `DEFINITIONS`, in its order, by key.

    equity      marked to market, net of costs, the starting equity first; any bar length, made daily by days in `zone`
    trades      one row a trade: `profit` (net), and of the others what there is: `exit_time` (missing: still open),
                `entry_time`, `entry`, `exit`, `quantity`, `stop_at_entry` or `risk`, `fees`, `slippage_cost`, `bars`,
                `mae` and `mfe` (the worst and best open result, in money)
    periods     252 for stocks, 365 for crypto; a mixed account takes 252 and the stock market's dates as `market`
    rf          risk-free rate a year
    benchmark   its equity or price, by the same index or any other: days that both have are compared
    exposure    gross market value over equity, a row a bar
    draws       resamplings for the intervals, 1,000 is plenty; 0: only those that need none (Sharpe, win rate)

    NaN or infinity in equity, benchmark, exposure or profits is a DataError. Equity at or below 0 makes returns, and
    what is made of them, n/a.
    """
    if periods < 1:
        raise ValueError(f"periods must be at least 1: got {periods}")
    days, found = daily(equity, zone, market), _Found()
    years = days.years(periods)
    _growth(found, days, years)
    if days.n and days.equity.min() > 0:
        _returns(found, days, periods, rf)
        _resample_returns(found, days, years, periods, rf, draws, seed)
        if benchmark is not None:
            pair = _pair(equity, days, benchmark, zone, market)
            _beside(found, *pair, periods, rf, draws, seed)
    elif days.n:
        ruined = f"n/a: equity fell to {days.equity.min():,.2f}"
        found.notes |= dict.fromkeys(("cagr", "sharpe", "sortino", "volatility", "calmar"), ruined)
    if trades is not None:
        book = tr.Book.of(trades)
        _trades(found, book, years)
        _costs(found, book, equity, years)
        _resample_trades(found, book, draws, seed)
    if exposure is not None:
        _exposure(found, exposure)
    return {name: found.metric(name) for name in DEFINITIONS}


# The account


def _growth(found: _Found, days: Daily, years: float) -> None:
    """What only needs equity, whatever its sign."""
    equity = days.equity
    if not days.n:
        return
    depths = ratios.drawdowns(equity)
    episodes = ratios.episodes(depths)
    grown, deepest = equity[-1] / equity[0] - 1.0, float(depths.min())
    in_money = float((np.maximum.accumulate(equity) - equity).max())
    yearly = ratios.annualised(grown, years)
    found.add(
        days.n,
        total_return=grown,
        cagr=yearly,
        max_drawdown=deepest,
        calmar=ratios.divide(yearly, abs(deepest)),
        average_drawdown=np.mean([e.depth for e in episodes]) if episodes else None,
        ulcer=ratios.ulcer(depths),
        pain=ratios.pain(depths),
        recovery_factor=ratios.divide(equity[-1] - equity[0], in_money),
    )
    _longest(found, days, episodes)


def _longest(found: _Found, days: Daily, episodes: list[ratios.Episode]) -> None:
    if days.days is None:
        return
    last = days.n
    spans = [(days.calendar_days(e.peak, last if e.end is None else e.end), e) for e in episodes]
    length, longest = max(spans, key=lambda span: span[0], default=(0, None))
    found.add(days.n, max_drawdown_days=length)
    if longest is not None:
        until = "ongoing" if longest.end is None else f"to {days.days[longest.end]}"
        found.notes["max_drawdown_days"] = f"From {days.days[longest.peak]}, {until}"


def _returns(found: _Found, days: Daily, periods: int, rf: float) -> None:
    returns, n = days.returns, days.n
    excess = returns - rf / periods
    found.add(n, **_by_returns(returns, periods, rf))
    found.add(n, sharpe=ratios.sharpe(returns, periods, rf), skew=ratios.skew(returns), psr=psr(excess))
    found.add(n, kurtosis=ratios.excess_kurtosis(returns), min_trl=min_trl(excess))
    error, (sharpe, _) = luck.sharpe_error(excess), found.values["sharpe"]
    if error is not None and sharpe is not None:
        half = _Z95 * error * math.sqrt(periods)
        found.between["sharpe"] = (sharpe - half, sharpe + half)
    _say_track_record(found, n, periods)


def _by_returns(returns: Floats, periods: int, rf: float) -> dict[str, Floats]:
    """What depends on returns alone, of one account or of many resampled ones."""
    return {
        "volatility": ratios.volatility(returns, periods),
        "sortino": ratios.sortino(returns, periods, rf / periods),
        "omega": ratios.omega(returns),
        "tail_ratio": ratios.tail(returns),
        "var95": ratios.value_at_risk(returns),
        "cvar95": ratios.expected_shortfall(returns),
    }


def _say_track_record(found: _Found, n: int, periods: int) -> None:
    needed, _ = found.values["min_trl"]
    if needed is None:
        found.notes["min_trl"] = "No length would do: the Sharpe ratio is not above 0"
    elif needed > n:
        found.notes["min_trl"] = f"Needs {math.ceil((needed - n) / periods * 12):,} more months"
    else:
        found.notes["min_trl"] = "Long enough"


def _resample_returns(found: _Found, days: Daily, years: float, periods: int, rf: float, count: int, seed: int) -> None:
    returns = days.returns

    def measures(rows: npt.NDArray[np.int64]) -> dict[str, Floats]:
        drawn = returns[rows]
        depths = ratios.drawdowns(ratios.from_start(drawn))
        grown, deepest = ratios.total(drawn), depths.min(axis=-1)
        yearly = ratios.annualised(grown, years)
        growth = {"total_return": grown, "cagr": yearly, "calmar": ratios.divide(yearly, -deepest)}
        depth = {"max_drawdown": deepest, "ulcer": ratios.ulcer(depths), "pain": ratios.pain(depths)}
        return growth | depth | _by_returns(drawn, periods, rf)

    found.between |= resampling.intervals(len(returns), measures, count, seed)


# Its trades


def _trades(found: _Found, book: tr.Book, years: float) -> None:
    profits = book.profits
    n, wins = len(profits), int(np.count_nonzero(profits > 0))
    found.add(n, trades=n, zero_trades=np.count_nonzero(profits == 0))
    found.add(len(book.table), open_trades=len(book.table) - n)
    found.add(n, **{name: one(profits) for name, one in _BY_PROFITS.items()})
    kelly, _ = found.values["kelly"]
    found.add(n, half_kelly=None if kelly is None else kelly / 2, trades_per_year=ratios.divide(n, years))
    found.add(n, win_streak=tr.streak(profits > 0), loss_streak=tr.streak(profits < 0))
    if (share := tr.wilson(wins, n)) is not None:
        found.between["win_rate"] = share
    _in_risk(found, book)
    for name, held in (("bars", book.column("bars")), ("days", book.days())):
        if held is not None and n:
            found.add(n, **{f"{name}_median": ratios.quantile(held, 0.5), f"{name}_p90": ratios.quantile(held, 0.9)})


Measures = dict[str, Callable[[Floats], Floats]]
_BY_PROFITS: Measures = {
    "win_rate": tr.win_rate,
    "profit_factor": tr.profit_factor,
    "payoff": tr.payoff,
    "expectancy": ratios.mean,
    "expectancy_ratio": tr.expectancy_ratio,
    "kelly": tr.kelly,
}
_BY_MULTIPLES: Measures = {"expectancy_r": ratios.mean, "sqn": tr.sqn, "sqn_capped": tr.sqn_capped}


def _in_risk(found: _Found, book: tr.Book) -> None:
    risks = book.risks
    known = np.isfinite(risks)
    n, multiples = int(known.sum()), book.profits[known] / risks[known]
    found.add(n, **{name: one(multiples) for name, one in _BY_MULTIPLES.items()})
    if n < len(risks):
        found.notes["expectancy_r"] = f"{len(risks) - n} trades began without a stop and are not in it"
    if 0 < n < tr.FEW:
        found.notes |= dict.fromkeys(("sqn", "sqn_capped"), f"Only {n} trades: below {tr.FEW} it says little")
    worst, best = book.column("mae"), book.column("mfe")
    if worst is not None:
        found.add(n, mae_r=ratios.mean(worst[known] / risks[known]))
    if best is not None:
        found.add(n, mfe_r=ratios.mean(best[known] / risks[known]))
        found.add(len(best), efficiency=tr.efficiency(book.profits, best))


def _costs(found: _Found, book: tr.Book, equity: pd.Series, years: float) -> None:
    n, costs, net = len(book.profits), book.costs(), float(book.profits.sum())
    all_traded, traded = book.traded(closed=False), book.traded(closed=True)
    if all_traded is not None and len(equity):
        found.add(len(book.table), turnover=ratios.divide(all_traded, float(np.mean(equity)) * years))
    if costs is None:
        return
    gross = net + costs
    found.add(n, costs=costs, cost_share=costs / gross if gross > 0 else None)
    if traded is not None:
        found.add(n, break_even_bps=ratios.divide(gross, traded) * 10_000.0)
        if gross < 0:
            found.notes["break_even_bps"] = "Below 0: it lost before costs"


def _resample_trades(found: _Found, book: tr.Book, count: int, seed: int) -> None:
    profits, risks = book.profits, book.risks
    known = np.isfinite(risks)
    share = found.between.get("win_rate")
    found.between |= _drawn(profits, _BY_PROFITS, count, seed) | ({"win_rate": share} if share else {})
    found.between |= _drawn(profits[known] / risks[known], _BY_MULTIPLES, count, seed)


def _drawn(values: Floats, by: Measures, count: int, seed: int) -> dict[str, tuple[float, float]]:
    def measures(rows: npt.NDArray[np.int64]) -> dict[str, Floats]:
        return {name: one(values[rows]) for name, one in by.items()}

    return resampling.intervals(len(values), measures, count, seed)


def _exposure(found: _Found, exposure: pd.Series) -> None:
    values = np.ascontiguousarray(exposure, dtype=np.float64)
    if not np.isfinite(values.sum()):
        raise DataError("exposure: every row needs a number")
    if not len(values):
        return
    gross = np.abs(values) if values.min() < 0 else values
    found.add(len(values), time_exposure=np.count_nonzero(gross > 0) / len(gross), money_exposure=gross.mean())


# Beside a benchmark


def _beside(found: _Found, own: Floats, other: Floats, periods: int, rf: float, count: int, seed: int) -> None:
    if len(own) < 2 or other.min() <= 0:
        found.notes["beta"] = "n/a: the benchmark has no two days above 0 in common with the account"
        return
    returns, others = own[1:] / own[:-1] - 1.0, other[1:] / other[:-1] - 1.0

    def measures(rows: npt.NDArray[np.int64]) -> dict[str, Floats]:
        return _against(returns[rows], others[rows], periods, rf)

    found.add(len(returns), benchmark_return=other[-1] / other[0] - 1.0, **_against(returns, others, periods, rf))
    up, down = (ratios.capture(returns, others, periods, market) for market in (1, -1))
    found.add(len(returns), up_capture=up, down_capture=down)
    found.between |= resampling.intervals(len(returns), measures, count, seed)


def _against(returns: Floats, others: Floats, periods: int, rf: float) -> dict[str, Floats]:
    return {
        "beta": ratios.beta(returns, others),
        "alpha": ratios.alpha(returns, others, periods, rf),
        "correlation": ratios.correlation(returns, others),
        "tracking_error": ratios.tracking_error(returns, others, periods),
        "information_ratio": ratios.information_ratio(returns, others, periods),
    }


def _pair(
    equity: pd.Series, days: Daily, benchmark: pd.Series, zone: str, market: Days | None
) -> tuple[Floats, Floats]:
    """Both a day: row by row where they share an index, else the last marks on the days that both have."""
    if benchmark.index.equals(equity.index):
        marks = check_equity(benchmark)
        return days.equity, marks if days.rows is None else marks[days.rows]
    if not (isinstance(equity.index, pd.DatetimeIndex) and isinstance(benchmark.index, pd.DatetimeIndex)):
        raise DataError("benchmark: without times it must have the equity's own index")
    if not len(benchmark):
        return np.empty(0), np.empty(0)
    rows, dates = last_rows(equity.index, zone, market)
    other_rows, other_dates = last_rows(benchmark.index, zone, market)
    _, mine, theirs = np.intersect1d(dates, other_dates, assume_unique=True, return_indices=True)
    return check_equity(equity)[rows[mine]], check_equity(benchmark)[other_rows[theirs]]
