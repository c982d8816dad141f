"""What a training came to, as Plotly figures: losses, honesty, mistakes, and what was left after costs.

Values in, figures out: nothing here knows Streamlit, the disk or the clock. What a colour tells, a dash, a shape or a
number tells too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from ui import palettes, theme

Drawn = dict[str, Any]
SIMULATED = "SIMULATED"
MODEL, OTHER, BEST = palettes.LINES[6], palettes.LINES[1], palettes.MARK
_BLUES = [[0.0, theme.value("heat-even")], [1.0, theme.value("heat-gain")]]
_LEGEND = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "bgcolor": "rgba(0,0,0,0)", "font": {"size": 11}}
FIRST_EPOCHS = 12
_MOST_CELLS = 10  # classes whose names still fit beside a matrix


def losses(epochs: Sequence[Mapping[str, Any]], best: int = 0, planned: int = 0, mark: str = "") -> go.Figure:
    """The loss of each epoch on what is learned from and on what is only looked at; the epoch that is kept is ★.
    Of `planned` epochs the axis shows as many as keep the curve wide; it grows by doubling, so that it seldom moves."""
    x = [int(one["epoch"]) for one in epochs]
    data = [
        _curve("learned from", x, [one["train_loss"] for one in epochs], OTHER, "dash", "circle-open"),
        _curve("validation", x, [one["val_loss"] for one in epochs], MODEL, "solid", "circle"),
    ]
    if kept := [one for one in epochs if int(one["epoch"]) == best]:
        data.append(_star(best, float(kept[0]["val_loss"])))
    last = max([*x, 2])
    if planned > last:
        last = min(planned, max(FIRST_EPOCHS, 2 ** math.ceil(math.log2(last + 1))))
    axes = {
        "xaxis": {**_axis(), "range": [0.6, last + 0.4], "title": _title("epoch"), "dtick": math.ceil(last / 12)},
        "yaxis": {**_axis(), "side": "right", "tickformat": ".4~f", "nticks": 6},
    }
    return _figure(data, 300, mark, axes, hovermode="x unified", uirevision="losses")


def reliability(found: Mapping[str, Any], mark: str = "") -> go.Figure:
    """What was claimed against what happened: an honest model lies on the diagonal. The larger a point, the more cases
    stand behind it."""
    rows = [row for row in found.get("reliability") or () if row.get("n")]
    most = max((row["n"] for row in rows), default=1)
    points = {
        "type": "scatter",
        "mode": "markers+lines",
        "name": "this model",
        "x": [row["claimed"] for row in rows],
        "y": [row["happened"] for row in rows],
        "line": {"color": MODEL, "width": 1.5},
        "marker": {
            "color": MODEL,
            "size": [6 + 16 * (row["n"] / most) ** 0.5 for row in rows],
            "line": {"width": 1, "color": palettes.GROUND},
        },
        "customdata": [row["n"] for row in rows],
        "hovertemplate": "claimed %{x:.1%}, happened %{y:.1%}, %{customdata:,} cases<extra></extra>",
    }
    low = min([0.5, *(min(row["claimed"], row["happened"]) for row in rows)]) - 0.05
    high = max([0.6, *(max(row["claimed"], row["happened"]) for row in rows)]) + 0.05
    low, high = max(0.0, low), min(1.0, high)
    ideal = _curve("honest", [low, high], [low, high], palettes.MUTED, "dot", "")
    axes = {
        "xaxis": {**_axis(), "range": [low, high], "tickformat": ".0%", "title": _title("claimed")},
        "yaxis": {**_axis(), "range": [low, high], "tickformat": ".0%", "title": _title("happened"), "side": "left"},
    }
    return _figure([ideal, points], 330, mark, axes, margin={"l": 58, "r": 12, "t": 30, "b": 46})


def confusion(table: Sequence[Sequence[int]], classes: Sequence[str], mark: str = "") -> go.Figure:
    """Rows are the truth, columns what was said; each row sums to 100 %, with the counts written in."""
    shares = [[cell / sum(row) if sum(row) else 0.0 for cell in row] for row in table]
    long = len(classes) > 3
    names = [_short(name) if long else name for name in classes]
    text = [
        [f"{share:.0%}" if long else f"{share:.0%}<br>{count:,}" for share, count in zip(a, b, strict=True)]
        for a, b in zip(shares, table, strict=True)
    ]
    heat = {
        "type": "heatmap",
        "z": shares,
        "x": names,
        "y": names,
        "text": text,
        "textfont": {"color": theme.value("heat-text")},
        "texttemplate": "%{text}" if len(classes) <= _MOST_CELLS else "",
        "customdata": [list(row) for row in table],
        "hovertemplate": "was %{y}, said %{x}: %{customdata:,} (%{z:.1%} of its row)<extra></extra>",
        "colorscale": _BLUES,
        "zmin": 0,
        "zmax": 1,
        "showscale": False,
        "xgap": 2,
        "ygap": 2,
    }
    plain = {**_axis(), "type": "category", "showgrid": False}
    axes = {
        "xaxis": {**plain, "title": _title("said"), "side": "bottom", "tickangle": 0 if not long else -40},
        "yaxis": {**plain, "title": _title("was"), "autorange": "reversed", "automargin": True},
    }
    height = 330 if not long else 400
    return _figure([heat], height, mark, axes, margin={"l": 70, "r": 12, "t": 12, "b": 46 if not long else 90})


def equity(kept: Mapping[str, Sequence[Any]], mark: str = "") -> go.Figure:
    """What trading it left after costs beside buying and holding: `at` ISO moments, `model` and `held` in money."""
    data = [
        _curve("this model, after costs", kept["at"], kept["model"], MODEL, "solid", "", "%{y:,.0f}"),
        _curve("buying and holding", kept["at"], kept["held"], palettes.TEXT, "dot", "", "%{y:,.0f}"),
    ]
    axes = {
        "xaxis": {**_axis(), "type": "date"},
        "yaxis": {**_axis(), "side": "right", "tickformat": ",.0f"},
    }
    return _figure(data, 320, mark, axes, hovermode="x unified")


def beside(rows: Mapping[str, Mapping[str, Any]], mark: str = "") -> go.Figure:
    """How often each was right, with its interval; the dotted line is always naming the commonest class. Who does not
    lie wholly to the right of it has shown nothing."""
    names = list(rows)
    acc = [rows[name]["acc"] for name in names]
    around = [rows[name].get("acc_ci95") or (rows[name]["acc"],) * 2 for name in names]
    own = [MODEL if name == names[-1] else palettes.MUTED for name in names]
    points = {
        "type": "scatter",
        "mode": "markers",
        "x": acc,
        "y": names,
        "marker": {"color": own, "size": 12, "symbol": ["circle-open"] * (len(names) - 1) + ["diamond"]},
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [high - a for a, (_, high) in zip(acc, around, strict=True)],
            "arrayminus": [a - low for a, (low, _) in zip(acc, around, strict=True)],
            "color": palettes.MUTED,
            "thickness": 1.5,
        },
        "hovertemplate": "%{y}: right in %{x:.1%}<extra></extra>",
        "showlegend": False,
    }
    majority = float(rows[names[-1]]["majority_acc"])
    axes = {
        "xaxis": {**_axis(), "tickformat": ".0%", "title": _title("right")},
        "yaxis": {**_axis(), "type": "category", "autorange": "reversed", "automargin": True, "ticksuffix": "  "},
    }
    shape = {"type": "line", "yref": "paper", "x0": majority, "x1": majority, "y0": 0, "y1": 1}
    line = {"color": palettes.TEXT, "dash": "dot", "width": 1.4}
    margin = {"l": 10, "r": 12, "t": 12, "b": 46}
    return _figure([points], 90 + 40 * len(names), mark, axes, margin=margin, shapes=[{**shape, "line": line}])


# What all of them share


def _curve(
    name: str,
    x: Sequence[Any],
    y: Sequence[Any],
    colour: str,
    dash: str,
    symbol: str,
    hover: str = "%{y:.4f}",
) -> Drawn:
    return {
        "type": "scatter",
        "mode": "lines+markers" if symbol else "lines",
        "name": name,
        "x": list(x),
        "y": list(y),
        "line": {"color": colour, "dash": dash, "width": 2},
        "marker": {"size": 5, "symbol": symbol or "circle"},
        "hovertemplate": hover,
    }


def _star(x: int, y: float) -> Drawn:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": f"kept: epoch {x}",
        "x": [x],
        "y": [y],
        "marker": {"symbol": "star", "size": 14, "color": BEST, "line": {"width": 1, "color": palettes.GROUND}},
        "hoverinfo": "skip",
    }


def _short(name: str) -> str:
    """`Bullish Engulfing` as `Bull. Engulfing`."""
    return name.replace("Bullish", "Bull.").replace("Bearish", "Bear.")


def _title(text: str) -> Drawn:
    return {"text": text, "font": {"size": 11, "color": palettes.MUTED}, "standoff": 8}


def _axis() -> Drawn:
    common = {"gridcolor": palettes.GRID, "zeroline": False, "color": palettes.MUTED, "tickfont": {"size": 11}}
    return {**common, "fixedrange": True}


def _figure(data: list[Drawn], height: int, mark: str, axes: Drawn, **more: Any) -> go.Figure:
    layout = {
        "template": "none",
        "height": height,
        "paper_bgcolor": palettes.GROUND,
        "plot_bgcolor": palettes.GROUND,
        "font": {"color": palettes.TEXT, "family": theme.FONT, "size": 12},
        "hoverlabel": {
            "bgcolor": theme.value("tip"),
            "bordercolor": theme.value("edge"),
            "font": {"color": palettes.TEXT, "size": 12},
        },
        "legend": _LEGEND,
        "margin": {"l": 12, "r": 62, "t": 30, "b": 42},
        "dragmode": False,
        "annotations": [_watermark(mark, height)] if mark else [],
    }
    return go.Figure({"data": data, "layout": layout | axes | more})


def _watermark(mark: str, height: int) -> Drawn:
    """Across the whole plot, so that no picture of it can be taken for the market."""
    place = {"xref": "paper", "yref": "paper", "x": 0.5, "y": 0.55, "showarrow": False}
    return {
        "text": mark,
        **place,
        "font": {"size": max(16, min(40, height // 8)), "color": palettes.faded(palettes.SEAL, 0.15)},
    }
