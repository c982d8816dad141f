"""A study for tests of what shows one: every number comes from real runs of the backtester over seeded candles."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pandas as pd

from backtester import Backtest, Result
from domain.candles import frame
from domain.instruments import instrument
from research.study import Asked, Chosen, Run, Study, Surface
from research.sweep import sweep
from strategies.base import find

DAYS = 320
PAIRS = ((5, 15), (10, 30))


@functools.cache
def candles(symbol: str = "AAPL", days: int = DAYS) -> pd.DataFrame:
    """Daily bars of a seeded walk, on the days that New York trades."""
    rng = np.random.default_rng(sum(map(ord, symbol)))
    close = np.round(150 * np.exp(np.cumsum(rng.normal(0.0005, 0.018, days))), 2)
    opened = np.round(close * (1 + rng.normal(0, 0.004, days)), 2)
    high = np.round(np.maximum(opened, close) * 1.006, 2)
    low = np.round(np.minimum(opened, close) * 0.994, 2)
    opens = instrument("AAPL").calendar.sessions.open
    at = opens[np.searchsorted(opens, pd.Timestamp("2019-01-02", tz="UTC").value) :][:days]
    values = {"open": opened, "high": high, "low": low, "close": close, "volume": np.full(days, 5e6)}
    return frame(at, values)


def study(
    symbols: tuple[str, ...] = ("AAPL",), *, simulated: bool = False, swept: bool = False, days: int = DAYS
) -> Study:
    """SMA 5/15 beside 10/30; the second one carries a verdict that fails a check."""
    chosen = tuple(Chosen("sma_crossover", {"fast": fast, "slow": slow}) for fast, slow in PAIRS)
    ranges = {"fast": (4, 10, 2), "slow": (15, 30, 5)} if swept else None
    asked = Asked(symbols, strategies=chosen, sweep=ranges, source="simulated" if simulated else "")
    frames = {symbol: candles(symbol, days) for symbol in asked.symbols}
    given = frames if len(frames) > 1 else frames[asked.symbols[0]]
    results = [
        Backtest(
            given, one.made(), asked.setup, instrument=None if len(frames) > 1 else instrument(asked.symbols[0])
        ).run()
        for one in chosen
    ]
    return Study(
        asked=asked,
        made="2026-11-20T15:30:00+00:00",
        simulated=simulated,
        source="files of the test",
        notes=("AAPL: begins on 2019-01-02, which is less than was asked for",),
        candles=frames,
        benchmark=results[0].benchmark,
        runs=tuple(
            run(one, result, VERDICTS[at]) for at, (one, result) in enumerate(zip(chosen, results, strict=True))
        ),
        answer="sma_crossover 5/15 ended highest, and that means nothing: the lead is within luck.",
        comparison=None,
        surface=surface(asked, frames[asked.symbols[0]]) if swept else None,
    )


def check(name: str, outcome: str) -> dict[str, object]:
    return {"name": name, "outcome": outcome, "number": 7.0, "said": f"What {name} found.", "cure": f"Cure of {name}."}


VERDICTS = (
    {
        "verdict": "weak",
        "said": "Weak (doubts: sample size, costs)",
        "checks": [check("own result", "pass"), check("sample size", "doubt"), check("costs", "doubt")],
        "unknown": ["What was tried outside the trial ledger is counted nowhere."],
    },
    {
        "verdict": "fail",
        "said": "Fail (fails: random entries)",
        "checks": [check("own result", "pass"), check("random entries", "fail")],
        "unknown": [],
    },
)


def run(chosen: Chosen, result: Result, verdict: dict[str, object] | None) -> Run:
    """A run as `research.study` makes it, of a real result."""
    equity = result.equity
    days = equity.groupby(equity.index.tz_convert(result.zone).date).last()
    days.index = pd.DatetimeIndex(days.index)
    returns = days.pct_change().dropna()
    curve = pd.DataFrame({"equity": equity, "drawdown": equity / equity.cummax() - 1.0, "exposure": result.exposure})
    return Run(
        label=chosen.label,
        strategy=chosen.name,
        params=dict(chosen.params),
        metrics=result.metrics,
        verdict=verdict,
        curve=curve,
        trades=result.trades,
        monthly=months(returns),
        returns=returns,
        fan=fan(returns, float(equity.iloc[0])),
        fan_said="of 200 resampled histories some end below the start",
        notes=tuple(result.notes),
        stamp=result.stamp,
    )


def months(returns: pd.Series) -> pd.DataFrame:
    """Returns by year and month, and of the year."""
    grown = 1.0 + returns
    by_month = grown.groupby([returns.index.year, returns.index.month]).prod() - 1.0
    table = by_month.unstack().reindex(columns=range(1, 13))
    table["year"] = grown.groupby(returns.index.year).prod() - 1.0
    return table


def fan(returns: pd.Series, start: float) -> pd.DataFrame:
    """Quantiles of the same days drawn again."""
    rng = np.random.default_rng(1)
    drawn = rng.choice(returns.to_numpy(), (200, len(returns)))
    paths = start * np.column_stack([np.ones(200), np.cumprod(1 + drawn, axis=1)])
    quantiles = np.quantile(paths, [0.05, 0.25, 0.5, 0.75, 0.95], axis=0)
    return pd.DataFrame(quantiles.T, columns=["p5", "p25", "p50", "p75", "p95"])


def surface(asked: Asked, bars: pd.DataFrame) -> Surface:
    """A real sweep."""
    assert asked.sweep is not None
    found = sweep(bars, find("sma_crossover"), {n: tuple(r) for n, r in asked.sweep.items()}, asked.setup)
    assert found.plateau is not None
    return Surface(
        heat=found.heat("slow", "fast"),
        x="slow",
        y="fast",
        objective=found.objective,
        plateau=str(found.plateau),
        top=found.top(5),
        best=found.plateau.best,
        centre=found.plateau.centre,
        tried=len(found.table),
        refused=found.refused,
    )


def unjudged(given: Study) -> Study:
    """The same without verdicts."""
    return replace(given, runs=tuple(replace(one, verdict=None) for one in given.runs))
