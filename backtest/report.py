"""A result as text: the table of figures, strategies side by side, and as JSON values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from backtest.result import Result
from domain.metrics import Metric, conventions, measure

DRAWS = 1000


def summary(result: Result, draws: int = DRAWS) -> str:
    """What was run and every figure: value, 95 % interval, number of cases and definition."""
    figures = result.measured(draws)
    rows: list[tuple[str, ...]] = [("", "value", "95 % interval", "n", "")]
    rows += [(m.name, m.text, between(m), f"{m.n:,}", m.words) for m in figures.values()]
    return "\n".join(
        [*headline(result), "", *table(rows, words=True), "", conventions(result.periods, 0.0), *result.notes]
    )


def compare(results: Mapping[str, Result], verdicts: Mapping[str, str] | None = None, draws: int = 0) -> str:
    """Strategies side by side, their verdicts in a word, and what buying and holding would have come to."""
    figures = {name: result.measured(draws) for name, result in results.items()}
    one = next(iter(results.values()))
    held = holding(one)
    rows: list[tuple[str, ...]] = [("", *results, str(one.benchmark.name))]
    if verdicts is not None:
        rows.append(("Verdict", *(verdicts[name] for name in results), ""))
    for key, metric in next(iter(figures.values())).items():
        of_holding = held[key].text if held[key].value is not None else ""
        rows.append((metric.name, *(figures[name][key].text for name in results), of_holding))
    notes = [f"{name}: {note}" for name, result in results.items() for note in result.notes]
    lines = [*headline(one)[1:], "", *table(rows), "", conventions(one.periods, 0.0), *notes]
    return "\n".join(lines)


def holding(result: Result) -> dict[str, Metric]:
    """The figures of buying and holding; n/a is what only trades have."""
    return measure(result.benchmark, periods=result.periods, zone=result.zone, market=result._market_days())


def headline(result: Result) -> list[str]:
    """What ran, on what, under which rules."""
    params = ", ".join(f"{name} {value}" for name, value in result.params.items())
    symbols = ", ".join(result.inputs.symbols)
    first, last = result.times[1], result.times[-1]
    return [
        f"{result.strategy}{f' ({params})' if params else ''}",
        f"{symbols}: {len(result.inputs.times):,} bars, {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC",
        result.inputs.setup.words,
    ]


def table(rows: list[tuple[str, ...]], words: bool = False) -> list[str]:
    """Columns: the first to the left, the others to the right; with `words` the last one as it is."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    right = len(widths) - 1 if words else len(widths)
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(row[at].rjust(widths[at]) for at in range(1, right)), *row[right:]]
        lines.append("  ".join(cells).rstrip())
    return lines


def between(metric: Metric) -> str:
    """Its interval as text, empty where it has none."""
    if metric.low is None or metric.high is None:
        return ""
    return f"{replace(metric, value=metric.low).text} to {replace(metric, value=metric.high).text}"


def to_json(result: Result, draws: int = DRAWS) -> dict[str, Any]:
    """Figures, notes and stamp as JSON values; n/a is null."""
    figures = {
        key: {"name": m.name, "value": m.value, "low": m.low, "high": m.high, "n": m.n, "unit": m.unit}
        for key, m in result.measured(draws).items()
    }
    return {"metrics": figures, "notes": result.notes, "stamp": result.stamp}
