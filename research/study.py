"""One question a person asks of history, and its whole answer: the page, the command line and the report all show it.

    asked = sma_pairs(("AAPL",), months=6)
    found = study(asked, settings.load())
    print(found.answer)             # which pair did best, and whether that means anything
    found.runs[0].verdict, found.runs[0].metrics["sharpe"], found.runs[0].fan
    found.save(folder); Study.load(folder) == found

The rule: every variant that was tried stands in the trial ledger before anything of it is shown.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import settings as settings_file
from backtest.setup import Setup
from domain.candles import between
from domain.clock import SystemClock
from research import _study_compare, _study_views
from research._study_run import Answered, Ran, Step, answered
from research._study_values import NOT_JUDGED, Asked, Chosen, Run, Study, Surface
from research.sweep import Sweep
from settings import Settings

__all__ = ["NOT_JUDGED", "Asked", "Chosen", "Run", "Study", "Surface", "sma_pairs", "study", "told", "work"]

Progress = Callable[[float, str], None]
Cancel = Callable[[], bool]
PAIRS = ((5, 15), (10, 30), (20, 50))
DRAWS = 1000
TOP = 20


def sma_pairs(
    symbols: Sequence[str],
    months: int = 6,
    *,
    today: date | None = None,
    interval: str = "1d",
    source: str = "",
    setup: Setup | None = None,
    judged: bool = True,
) -> Asked:
    """SMA 5/15, 10/30, 20/50 and their majority over the last months up to `today` (without it the real one; a
    simulated market has a day of its own)."""
    if months < 1:
        raise ValueError(f"months must be at least 1: got {months}")
    end = pd.Timestamp(today or SystemClock().now().date())
    pairs = [Chosen("sma_crossover", {"fast": fast, "slow": slow}) for fast, slow in PAIRS]
    return Asked(
        tuple(symbols),
        interval,
        start=f"{end - pd.DateOffset(months=months):%Y-%m-%d}",
        source=source,
        strategies=(*pairs, Chosen("sma_crossover", {"combined": True})),
        setup=setup or Setup(),
        judged=judged,
    )


def study(
    asked: Asked,
    settings: Settings,
    *,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> Study:
    """Answer a question.

    progress    called with a share from 0 to 1 and what is being done;  `cancel` asked as often: True ends in
                `JobCancelled`, or `SweepCancelled` in a sweep

    DataError says what there is and where it looked, where candles are missing.
    """
    step = Step(progress or (lambda share, said: None), cancel or (lambda: False))
    found = told(answered(asked, settings, step), step.part(0.97, 1.0))
    step.say(1.0, "done")
    return found


def work(asked: Mapping[str, Any], folder: Path, progress: Progress, cancel: Cancel) -> None:
    """A job of `research.jobs`: the study is written into the folder, for `Study.load`. The folder lies in the data
    folder's `jobs`, and that data folder's candles and trial ledger are the ones used."""
    settings = settings_file.load(data_dir=folder.parent.parent)
    study(Asked.of(asked), settings, progress=progress, cancel=cancel).save(folder)


def told(found: Answered, step: Step) -> Study:
    """What was found, as values to keep and to draw."""
    runs = []
    for number, ran in enumerate(found.runs):
        step.say(number / len(found.runs), f"figures of {ran.label}")
        runs.append(_run(ran))
    tried = {ran.label: ran.tried for ran in found.runs}
    compared = _study_compare.comparison(tuple(runs), tried)
    span = found.loaded.span
    return Study(
        asked=found.asked,
        made=SystemClock().now().isoformat(timespec="seconds"),
        simulated=found.loaded.simulated,
        source=found.source,
        notes=found.notes,
        candles={s: between(found.loaded.frames[s], span.start, span.end) for s in found.asked.symbols},
        benchmark=_benchmark(found),
        runs=tuple(runs),
        answer=_study_compare.answer(found.asked, tuple(runs), compared, tried),
        comparison=compared,
        surface=_surface(found.swept) if found.swept is not None else None,
    )


def _run(ran: Ran) -> Run:
    result = ran.result
    days = _study_views.days_of(result)
    fan, said = _study_views.fan(days)
    return Run(
        label=ran.label,
        strategy=ran.chosen.name,
        params=_plain(dict(result.params)),
        metrics=result.measured(DRAWS),
        verdict=_plain(ran.verdict.to_dict()) if ran.verdict is not None else None,
        curve=_study_views.curve(result),
        trades=_study_views.trades(result),
        monthly=_study_views.monthly(days),
        returns=_study_views.returns(days),
        fan=fan,
        fan_said=said,
        notes=(*ran.notes, *result.notes),
        stamp=_plain(result.stamp | {"trials": ran.tried.count}),
    )


def _benchmark(found: Answered) -> pd.Series:
    """Buying and holding all symbols in equal parts."""
    held: dict[tuple[str, ...], pd.Series] = {tuple(r.result.inputs.symbols): r.result.benchmark for r in found.runs}
    series = list(held.values())
    if len(series) == 1:
        return series[0].copy()
    together = pd.concat(series, axis=1).ffill().fillna(found.asked.setup.cash)
    return together.mean(axis=1).rename("buy and hold")


def _surface(swept: Sweep) -> Surface:
    names = [axis.name for axis in swept.grid.swept]
    if len(names) > 1:
        heat = swept.heat()
    else:
        [axis] = swept.grid.swept or swept.grid.axes[:1]
        laid = swept.grid.full(swept.values).reshape(1, -1)
        heat = pd.DataFrame(laid, index=pd.Index([""], name=""), columns=pd.Index(axis.values, name=axis.name))
    plateau = swept.plateau
    assert plateau is not None
    return Surface(
        heat=heat,
        x=str(heat.columns.name),
        y=str(heat.index.name),
        objective=swept.objective,
        plateau=str(plateau),
        top=swept.top(TOP).reset_index(drop=True),
        best=_plain(plateau.best),
        centre=_plain(plateau.centre),
        tried=len(swept.table),
        refused=swept.refused,
    )


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """As JSON values."""

    def told(value: Any) -> Any:
        return value.item() if isinstance(value, np.generic) else str(value)

    found: dict[str, Any] = json.loads(json.dumps(values, default=told))
    return found
