"""A study as one HTML file that needs nothing else: figures, tables and Plotly itself are in it.

The rule: every value is escaped on its way in, whoever wrote it; figures are data in the file, never code.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape
from typing import TYPE_CHECKING, Any

import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from ui import backtest_candles as candle_charts
from ui import backtest_charts as charts
from ui import backtest_tables as tables
from ui import palettes, theme, wording

if TYPE_CHECKING:
    from research.study import Run, Study

BARS = 400  # of candles, the newest
MOST_TRADES = 500
MOST_SYMBOLS = 6


def html(study: Study, *, palette: str = palettes.DEFAULT, zone: str = "America/New_York") -> str:
    """The report of a study."""
    title = f"Backtest · {tables.asked_words(study.asked)}"
    body = [
        f"<h1>{escape(title)}</h1>",
        _banner(study),
        f"<p class='answer'>{escape(study.answer)}</p>" if study.answer else "",
        f"<div class='cards'>{''.join(_card(run) for run in study.runs)}</div>",
        "<h2>Figures side by side</h2>",
        _table(tables.headline(study).reset_index()),
        "<p class='small'>★ is the best of its row. Net of all costs; – where undefined.</p>",
        _comparison(study),
        "<h2>Equity and drawdown</h2>",
        _figure(charts.equity(study, zone, switch=True)),
        *(_run(study, run, palette, zone) for run in study.runs),
        _surface(study),
        "<h2>What trading cost</h2>",
        _figure(charts.costs(study)),
        _list(f"{run.label} {tables.costs_said(run)}" for run in study.runs),
        _how(study),
    ]
    return _PAGE.format(
        title=escape(title), style=theme.plain(_STYLE, "dark"), plotly=get_plotlyjs(), body="\n".join(body), draw=_DRAW
    )


def _banner(study: Study) -> str:
    if not study.simulated:
        return ""
    return "<p class='simulated'>SIMULATED PRICES<small>Made up: there is no market behind these figures.</small></p>"


def _card(run: Run) -> str:
    box = tables.box(run.verdict)
    checks = "".join(_check(check) for check in box.checks)
    listed = f"<details><summary>The checks: {escape(tables.counted(box.checks))}</summary><ul>{checks}</ul></details>"
    why = "<br>".join(escape(line) for line in tables.grounds(box))
    return (
        f"<section class='card {box.tone}'><b>{escape(run.label)}</b>"
        f"<p class='word'>{box.sign} {escape(box.word)}</p><p>{why}</p>"
        f"{listed if checks else ''}{_list((*run.notes, *box.unknown))}</section>"
    )


def _check(check: dict[str, Any]) -> str:
    outcome = str(check.get("outcome", ""))
    cure = f" <i>Cure: {escape(str(check['cure']))}</i>" if outcome != "pass" and check.get("cure") else ""
    name = f"{tables.OUTCOMES.get(outcome, outcome)} · {check.get('name', '')}"
    return f"<li><b>{escape(name)}.</b> {escape(str(check.get('said', '')))}{cure}</li>"


def _comparison(study: Study) -> str:
    found = tables.comparison(study)
    if found is None:
        return ""
    return (
        f"<h3>Is the best really better than the next?</h3>{_table(found)}<p class='small'>{tables.COMPARISON_SAID}</p>"
    )


def _run(study: Study, run: Run, palette: str, zone: str) -> str:
    mark, parts = charts.mark_of(study), [f"<h2>{escape(run.label)}</h2>"]
    parts.append(f"<p class='small'>{escape(tables.params_words(run.strategy, run.params))}</p>")
    for symbol in tables.symbols_of(run)[:MOST_SYMBOLS]:
        first = max(0, len(study.candles[symbol]) - BARS)
        parts.append(f"<h3>Trades on {escape(symbol)}, its newest {min(BARS, len(study.candles[symbol]))} bars</h3>")
        parts.append(_figure(candle_charts.trades(study, run, symbol, first, BARS, palette=palette, zone=zone)))
    parts += ["<h3>Month by month, %</h3>", _figure(charts.monthly(run, mark))]
    parts += ["<h3>How the days ended</h3>", _figure(charts.histogram(run, mark))]
    parts.append(f"<h3>The same days in another order</h3><p>{escape(wording.sentence(run.fan_said))}</p>")
    parts += [_figure(charts.fan(run, mark))] if not run.fan.empty else []
    return "".join([*parts, _trades(run, tables.zone_of(study, zone)), _every(run)])


def _trades(run: Run, zone: str) -> str:
    found = tables.trade_list(run, zone)
    shown = found.tail(MOST_TRADES).iloc[::-1]
    left = len(found) - len(shown)
    note = f"<p class='small'>{left:,} older trades are left out here; the CSV has all.</p>" if left else ""
    return f"<details><summary>{len(found):,} trades</summary>{_table(shown)}{note}</details>"


def _every(run: Run) -> str:
    return f"<details><summary>Every figure</summary>{_table(tables.intervals(run))}</details>"


def _surface(study: Study) -> str:
    if study.surface is None:
        return ""
    found = study.surface
    figure = _figure(charts.surface(found, charts.mark_of(study)))
    return f"<h2>The parameters around the best ones</h2><p>{escape(found.plateau)}</p>{figure}{_table(found.top)}"


def _how(study: Study) -> str:
    stamps = json.dumps({run.label: run.stamp for run in study.runs}, indent=1, default=str)
    said = [f"Prices: {study.source}", f"Rules: {study.asked.setup.words}", f"Made: {study.made}", *study.notes]
    return (
        f"<h2>How this was made</h2>{_list(said)}<details><summary>Stamp</summary><pre>{escape(stamps)}</pre></details>"
    )


def _list(lines: Iterable[str]) -> str:
    told = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul class='small'>{told}</ul>" if told else ""


def _table(frame: pd.DataFrame) -> str:
    head = "".join(f"<th>{escape(str(name))}</th>" for name in frame.columns)
    rows = "".join(
        f"<tr>{''.join(f'<td>{escape(_cell(value))}</td>' for value in row)}</tr>"
        for row in frame.itertuples(index=False)
    )
    return f"<div class='wide'><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"


def _cell(value: Any) -> str:
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, float):
        return "–" if value != value else f"{value:,.4g}" if abs(value) < 1 else f"{value:,.2f}"
    return "–" if value is pd.NaT or value is None else str(value)


def _figure(figure: go.Figure) -> str:
    """A figure as data: nothing in it can end its element, and nothing of it is run."""
    told = str(figure.to_json()).replace("<", "\\u003c")
    return f"<div class='figure'><script type='application/json'>{told}</script></div>"


_DRAW = """
for (const place of document.querySelectorAll('.figure')) {
  const told = JSON.parse(place.querySelector('script').textContent);
  Plotly.newPlot(place, told.data, told.layout, {responsive: true, displayModeBar: false});
}
"""
_STYLE = """
body { background: var(--desk-ground); color: var(--desk-text); font: 15px/1.5 Inter, 'Segoe UI', system-ui, sans-serif;
       max-width: 1200px; margin: 0 auto; padding: 16px; }
h1 { font-size: 1.4rem; } h2 { margin-top: 2.2rem; border-top: 1px solid var(--desk-line); padding-top: 1rem; }
.small, .small li { color: var(--desk-muted); font-size: .85rem; }
.simulated { border: 3px dashed var(--desk-simulated); color: var(--desk-simulated); font-size: 2rem; font-weight: 800;
  text-align: center; }
.simulated small { display: block; font-size: 1rem; font-weight: 400; }
.answer { font-size: 1.2rem; border-left: 4px solid var(--desk-accent); padding-left: .8rem; }
.cards { display: flex; flex-wrap: wrap; gap: 12px; }
.card { flex: 1 1 240px; border: 1px solid var(--desk-line); border-left-width: 6px; border-radius: 8px;
  padding: 10px 14px; }
.card.fail { border-left-color: var(--desk-bad); } .card.weak { border-left: 6px dashed var(--desk-warn); }
.card.worth { border-left: 6px double var(--desk-info); }
.word { font-size: 1.5rem; font-weight: 700; margin: .2rem 0; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 10px; text-align: right; border-bottom: 1px solid var(--desk-line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } summary { cursor: pointer; margin: .6rem 0; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; }
"""
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style><script>{plotly}</script></head>
<body>{body}<script>{draw}</script></body></html>
"""
