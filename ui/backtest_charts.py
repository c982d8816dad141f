"""A study in, Plotly figures out: equity, months, returns, parameters, luck and costs.

Nothing here knows Streamlit, the disk or the clock. What is told by a colour is told by a sign, a shape or a word too;
gains and losses in heat maps are blue and orange whatever the palette, for eyes that cannot tell green from red.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from ui import palettes, theme

if TYPE_CHECKING:
    from research.study import Run, Study, Surface

Floats = npt.NDArray[np.float64]
Drawn = dict[str, Any]
MOST_POINTS = 2_000  # of a line; a screen has fewer columns
MOST_WRITTEN = 240  # cells of a surface that still hold their number
GAIN, LOSS = palettes.GAIN, palettes.LOSS
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DIVERGING = [[0.0, theme.value("heat-loss")], [0.5, theme.value("heat-even")], [1.0, theme.value("heat-gain")]]
SIMULATED = "SIMULATED"
LEGEND: Drawn = {"orientation": "h", "x": 0, "y": 1.01, "yanchor": "bottom", "font": {"size": 11}}


def mark_of(study: Study) -> str:
    """What is written across every figure of made-up prices."""
    return SIMULATED if study.simulated else ""


# Equity


def equity(study: Study, zone: str, *, log: bool = False, switch: bool = False) -> go.Figure:
    """Each run's equity and what buying and holding came to, their drawdowns beneath. `switch` draws buttons for the
    axis into the figure, for where no page is around it."""
    lines, depths = [], []
    for at, run in enumerate(study.runs):
        line = {"color": palettes.LINES[at % len(palettes.LINES)], "dash": DASHES[at % len(DASHES)], "width": 2}
        lines += [_line(run.label, run.curve["equity"], line, zone)]
        depths += [_depth(run.label, run.curve["drawdown"], line, zone)]
    line = {"color": palettes.TEXT, "dash": "dot", "width": 1.4}
    held = study.benchmark
    lines += [_line("buy and hold", held, line, zone)]
    depths += [_depth("buy and hold", held / held.cummax() - 1.0, line, zone)]
    kind = "log" if log else "linear"
    axes = {
        "xaxis": {**axis(), "type": "date", "anchor": "y2"},
        "yaxis": {**axis(), "side": "right", "domain": [0.33, 1.0], "type": kind, "tickformat": ",.0f"},
        "yaxis2": {**axis(), "side": "right", "domain": [0.0, 0.27], "tickformat": ".0%", "nticks": 4},
    }
    notes = [_note("equity", 1.0, "top"), _note("drawdown", 0.0, "bottom")]
    layout = framed(470, mark_of(study), notes, hovermode="x unified", margin={"l": 10, "r": 66, "t": 34, "b": 28})
    return go.Figure({"data": lines + depths, "layout": layout | axes | (_switch() if switch else {})})


def _line(label: str, values: pd.Series, line: Drawn, zone: str) -> Drawn:
    kept = thinned(values.to_numpy(np.float64))
    return {
        "type": "scatter",
        "mode": "lines",
        "name": safe(label),
        "legendgroup": label,
        "x": _local(values.index[kept], zone),
        "y": values.to_numpy(np.float64)[kept].round(2),
        "line": line,
        "hovertemplate": "%{y:,.0f}",
    }


def _depth(label: str, values: pd.Series, line: Drawn, zone: str) -> Drawn:
    drawn = _line(label, values, {**line, "width": 1.2}, zone)
    kept = thinned(values.to_numpy(np.float64))
    beneath = {"y": values.to_numpy(np.float64)[kept].round(5), "yaxis": "y2", "showlegend": False, "hoverinfo": "skip"}
    return {k: v for k, v in drawn.items() if k != "hovertemplate"} | beneath


def thinned(values: Floats, most: int = MOST_POINTS) -> npt.NDArray[np.int64]:
    """Rows that keep a line's shape: the lowest and the highest of each stretch, the first and the last."""
    rows = len(values)
    if rows <= most:
        return np.arange(rows)
    edges = np.linspace(0, rows, most // 2 + 1).astype(np.int64)
    kept = {0, rows - 1}
    for begin, end in itertools.pairwise(edges):
        part = values[begin:end]
        kept |= {int(begin + part.argmin()), int(begin + part.argmax())}
    return np.array(sorted(kept))


def _switch() -> Drawn:
    buttons = [
        {"label": label, "method": "relayout", "args": [{"yaxis.type": kind}]}
        for label, kind in (("Linear", "linear"), ("Log", "log"))
    ]
    place = {"x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "direction": "right", "type": "buttons"}
    look = {
        "bgcolor": theme.value("surface"),
        "bordercolor": theme.value("edge"),
        "font": {"color": palettes.TEXT, "size": 11},
    }
    return {"updatemenus": [{"buttons": buttons, **place, **look, "pad": {"b": 4}}]}


# Months, returns, luck


def monthly(run: Run, mark: str = "") -> go.Figure:
    """Each month's return, written in its cell, the newest year on top; the year's own at the right."""
    table = run.monthly.sort_index()
    months = 100 * table[list(range(1, 13))].to_numpy(np.float64)
    years = 100 * table["year"].to_numpy(np.float64)
    values = np.column_stack([months, years])
    known = np.abs(months[np.isfinite(months)])
    most = max(float(np.quantile(known, 0.95)) if len(known) else 1.0, 0.1)
    names = [*MONTHS, "Year"]
    trace = {
        "type": "heatmap",
        "z": values,
        "x": names,
        "y": [str(year) for year in table.index],
        "text": [["" if not np.isfinite(v) else f"{v:+.1f}".replace("-", "−") for v in row] for row in values],
        "texttemplate": "%{text}",
        "textfont": {"size": 11, "color": theme.value("heat-text")},
        "colorscale": _DIVERGING,
        "zmin": -most,
        "zmax": most,
        "xgap": 2,
        "ygap": 2,
        "showscale": False,
        "hoverongaps": False,
        "hovertemplate": "%{x} %{y}: %{z:+.2f} %<extra></extra>",
    }
    axes = {
        "xaxis": {**axis(), "side": "top", "showgrid": False, "fixedrange": True, "tickangle": 0},
        "yaxis": {**axis(), "type": "category", "showgrid": False, "fixedrange": True},
    }
    height = 70 + 34 * max(len(table), 1)
    layout = framed(height, mark, [], margin={"l": 44, "r": 8, "t": 30, "b": 8})
    return go.Figure({"data": [trace], "layout": layout | axes})


def histogram(run: Run, mark: str = "") -> go.Figure:
    """How often the days ended how, with the mean and the day that one in twenty is worse than."""
    returns = 100 * run.returns.to_numpy(np.float64)
    returns = returns[np.isfinite(returns)]
    counts, edges = np.histogram(returns, bins=_edges(returns))
    middles = (edges[:-1] + edges[1:]) / 2
    trace = {
        "type": "bar",
        "x": middles,
        "y": counts,
        "width": np.diff(edges) * 0.92,
        "marker": {"color": np.where(middles >= 0, GAIN, LOSS)},
        "customdata": np.column_stack([edges[:-1], edges[1:]]),
        "hovertemplate": "%{customdata[0]:+.2f} % to %{customdata[1]:+.2f} %: %{y} days<extra></extra>",
        "showlegend": False,
    }
    marks = (
        [("mean", float(returns.mean()), 1.0), ("worst 5 %", float(np.quantile(returns, 0.05)), 0.92)]
        if len(returns)
        else []
    )
    shapes = [_upright(value) for _, value, _ in marks]
    notes = [_label(f"{name} {value:+.2f} %".replace("-", "−"), value, high) for name, value, high in marks]
    axes = {
        "xaxis": {**axis(), "ticksuffix": " %", "fixedrange": True},
        "yaxis": {**axis(), "side": "right", "fixedrange": True, "range": [0, 1.3 * max(int(counts.max()), 1)]},
    }
    layout = framed(300, mark, notes, shapes=shapes, margin={"l": 10, "r": 44, "t": 26, "b": 30})
    return go.Figure({"data": [trace], "layout": layout | axes})


def _edges(values: Floats) -> Floats:
    """Bins with an edge at zero, so that no bar holds gains and losses."""
    if not len(values) or not np.ptp(values):
        return np.array([-1.0, 0.0, 1.0])
    width = np.ptp(values) / min(max(int(np.sqrt(len(values)) * 1.5), 8), 60)
    low, high = np.floor(values.min() / width), np.floor(values.max() / width) + 1
    return np.arange(low, high + 1) * width


def fan(run: Run, mark: str = "") -> go.Figure:
    """Where the same days in another order would have ended: the middle, half of them, and nine in ten."""
    found = run.fan
    kept = thinned(found["p50"].to_numpy(np.float64), 600)
    days = found.index.to_numpy()[kept]
    colour = palettes.LINES[6]

    def line(name: str, label: str, **more: Any) -> Drawn:
        values = found[name].to_numpy(np.float64)[kept].round(2)
        look = {"line": {"width": 0}, "showlegend": False} | more
        hover = f"{label}: %{{y:,.0f}}<extra></extra>"
        return {
            "type": "scatter",
            "mode": "lines",
            "x": days,
            "y": values,
            "name": label,
            "hovertemplate": hover,
        } | look

    def band(low: str, high: str, label: str, alpha: float) -> list[Drawn]:
        filled = {"fill": "tonexty", "fillcolor": palettes.faded(colour, alpha), "showlegend": True}
        return [line(low, f"{low[1:]} % are worse"), line(high, label, **filled)]

    data = band("p5", "p95", "nine in ten", 0.18) + band("p25", "p75", "half of them", 0.30)
    data.append(line("p50", "the middle one", line={"color": colour, "width": 2}, showlegend=True))
    start = float(found["p50"].iloc[0])
    level = {
        "type": "line",
        "xref": "paper",
        "x0": 0,
        "x1": 1,
        "y0": start,
        "y1": start,
        "line": {"color": palettes.MUTED, "dash": "dot", "width": 1},
    }
    axes = {
        "xaxis": {**axis(), "title": {"text": "trading day", "font": {"size": 11}}},
        "yaxis": {**axis(), "side": "right", "tickformat": ",.0f"},
    }
    layout = framed(320, mark, [], shapes=[level], hovermode="x unified", margin={"l": 10, "r": 66, "t": 34, "b": 44})
    return go.Figure({"data": data, "layout": layout | axes})


# Parameters and costs


def surface(found: Surface, mark: str = "") -> go.Figure:
    """The objective over two parameters; the best point is ★."""
    heat = found.heat
    values = heat.to_numpy(np.float64)
    x, y = [f"{v:g}" for v in heat.columns], [f"{v:g}" for v in heat.index]
    written = values.size <= MOST_WRITTEN
    text = [["" if not np.isfinite(v) else f"{v:.2f}".replace("-", "−") for v in row] for row in values]
    notes = []
    if np.isfinite(values).any():
        row, column = np.unravel_index(np.nanargmax(values), values.shape)
        text[row][column] = f"★ {text[row][column]}" if written else "★"
        notes = [] if written else [_star(x[column], y[row])]
    trace = {
        "type": "heatmap",
        "z": values,
        "x": x,
        "y": y,
        "text": text,
        "texttemplate": "%{text}" if written else "",
        "textfont": {"size": 11},
        "colorscale": "Cividis",
        "xgap": 1,
        "ygap": 1,
        "colorbar": {"thickness": 10, "outlinewidth": 0, "tickfont": {"size": 10}},
        "hoverongaps": False,
        "hovertemplate": f"{safe(found.x)} %{{x}}, {safe(found.y)} %{{y}}: %{{z:.3f}}<extra></extra>",
    }
    axes = {
        "xaxis": {**axis(), "type": "category", "title": {"text": safe(found.x)}, "showgrid": False, "tickangle": 0},
        "yaxis": {**axis(), "type": "category", "title": {"text": safe(found.y)}, "showgrid": False},
    }
    height = min(max(260, 120 + 26 * len(y)), 640)
    layout = framed(height, mark, notes, margin={"l": 56, "r": 10, "t": 12, "b": 48})
    return go.Figure({"data": [trace], "layout": layout | axes})


def _star(x: str, y: str) -> Drawn:
    return {"x": x, "y": y, "text": "★", "showarrow": False, "font": {"size": 18, "color": theme.value("heat-text")}}


def costs(study: Study) -> go.Figure:
    """What each run paid: fees, and what spread and slippage took."""
    labels = [safe(run.label) for run in study.runs]
    hatched = {"shape": "/", "bgcolor": LOSS, "fgcolor": palettes.GROUND, "solidity": 0.25, "size": 6}
    looks = {"fees": {"color": GAIN}, "slippage_cost": {"color": LOSS, "pattern": hatched}}
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": "fees" if column == "fees" else "spread and slippage",
            "y": labels,
            "x": [float(run.trades[column].sum()) for run in study.runs],
            "marker": look,
            "hovertemplate": "%{y} %{x:,.2f}",
        }
        for column, look in looks.items()
    ]
    axes = {
        "xaxis": {**axis(), "tickformat": ",.0f", "fixedrange": True},
        "yaxis": {**axis(), "autorange": "reversed", "automargin": True, "fixedrange": True, "ticksuffix": "  "},
    }
    margin = {"l": 10, "r": 16, "t": 34, "b": 30}
    layout = framed(
        100 + 34 * len(labels),
        mark_of(study),
        [],
        barmode="stack",
        margin=margin,
        legend=LEGEND | {"traceorder": "normal"},
    )
    return go.Figure({"data": data, "layout": layout | axes})


# What all of them share


def framed(height: int, mark: str, notes: list[Drawn], **more: Any) -> Drawn:
    watermark = {"text": mark, "xref": "paper", "yref": "paper", "x": 0.5, "y": 0.6, "showarrow": False}
    if mark:
        notes = [
            *notes,
            {
                **watermark,
                "font": {"size": max(16, min(44, height // 8)), "color": palettes.faded(palettes.SEAL, 0.14)},
            },
        ]
    return {
        "template": "none",
        "height": height,
        "paper_bgcolor": palettes.GROUND,
        "plot_bgcolor": palettes.GROUND,
        "font": {"color": palettes.TEXT, "family": theme.FONT, "size": 12},
        "hoverlabel": {
            "bgcolor": theme.value("tip"),
            "bordercolor": theme.value("edge"),
            "font": {"color": palettes.TEXT, "size": 12},
            "align": "left",
        },
        "legend": LEGEND,
        "dragmode": "zoom",
        "annotations": notes,
        "shapes": [],
    } | more


def axis() -> Drawn:
    return {"gridcolor": palettes.GRID, "zeroline": False, "color": palettes.MUTED, "tickfont": {"size": 11}}


def _note(text: str, high: float, anchor: str) -> Drawn:
    place = {"xref": "paper", "yref": "paper", "x": 0.002, "y": high, "xanchor": "left", "yanchor": anchor}
    return {"text": text, **place, "showarrow": False, "font": {"size": 11, "color": palettes.MUTED}}


def _upright(x: float) -> Drawn:
    return {
        "type": "line",
        "yref": "paper",
        "x0": x,
        "x1": x,
        "y0": 0,
        "y1": 1,
        "line": {"color": palettes.TEXT, "dash": "dot", "width": 1},
    }


def _label(text: str, x: float, high: float) -> Drawn:
    place = {"x": x, "yref": "paper", "y": high, "yanchor": "top", "xanchor": "left", "xshift": 4}
    return {"text": text, **place, "showarrow": False, "font": {"size": 11, "color": palettes.TEXT}}


def _local(index: Any, zone: str) -> Any:
    """Moments as naive ISO text in the zone of the axis."""
    return np.datetime_as_string(pd.DatetimeIndex(index).tz_convert(zone).tz_localize(None).to_numpy(), unit="s")


def safe(text: str) -> str:
    """Text of other people in a figure: Plotly reads a little HTML in names and hovers."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
