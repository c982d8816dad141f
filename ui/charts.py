"""Candle frames in, Plotly figures out. Nothing here knows Streamlit, the network or the clock.

A live chart has two parts: the `base` (a whole figure of closed bars, built once a bar and shared by all viewers) and
the `tail` (the bar that is forming and what the lines are worth on it), a few hundred bytes a second.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

import indicators
import patterns
from domain import candles as cd
from domain.instruments import Instrument
from domain.quotes import Bar
from ui import palettes, theme
from ui.model_line import Said
from ui.views import Study, Times, View, axis_times, axis_zone, visible

FIRST_VIEW_BARS = 140


def base(
    candles: pd.DataFrame, instrument: Instrument, view: View, watermark: str = "", said: Said | None = None
) -> tuple[go.Figure, dict[str, Any]]:
    """The figure of closed bars and what the browser needs beside it: bar times and which trace is which line.

    `watermark` is written across the plot, `said` is what a model says of each of the `candles`. These may be more than
    `view.bars` rows: the earlier ones only warm the indicators up.
    """
    shown = visible(candles, instrument, view)
    drawn = shown.tail(view.bars)
    times, zone = axis_times(drawn, instrument, view), instrument.zone
    colours = palettes.PALETTES[view.palette]
    decimals = _decimals(drawn, instrument)
    studies = [_placed(study, _tail_of(study.lines(shown, zone), len(drawn)), drawn) for study in view.studies]
    panels: list[Study | Said] = [study for study, _, on_price in studies if not on_price]
    panels += [said] if said else []
    traces = [_candles(drawn, times, colours, decimals), _volume(drawn, times, colours)]
    lines = _lines(studies, times, panels)
    lines += _said(said, candles, drawn, times, f"y{2 + len(panels)}") if said else []
    mark = _marks(drawn, shown, times, view, colours)
    layout = _layout(drawn, times, instrument, view, panels)
    if watermark:
        layout["annotations"].append(_watermark(watermark))
    figure = go.Figure({"data": [*traces, *lines, mark], "layout": layout})
    about = {
        "times": times,
        "on_every_bar": len(lines) + 2,
        "lines": {line["meta"]: at + 2 for at, line in enumerate(lines)},
        "words": {name: [said.lead, said.trail(name)] for name in said.lines} if said else {},
        "decimals": decimals,
        "bar_s": cd.timeframe(view.tf).seconds,
        "epoch": cd.nanos(drawn) // 1_000_000_000,
        "zone": "New York" if axis_zone(instrument, view) == "America/New_York" else "UTC",
    }
    return figure, about


def tail(candles: pd.DataFrame, forming: Bar | None, instrument: Instrument, view: View) -> dict[str, Any]:
    """The forming bar and the value of every line on it; without one, nothing."""
    if forming is None:
        return {}
    shown = visible(candles, instrument, view)
    if not view.extended and not _regular(forming, instrument):
        return {}
    row = [forming.open, forming.high, forming.low, forming.close, forming.volume]
    with_it = _append(shown, forming, row)
    values = {
        name: _json_number(line[-1])
        for study in view.studies
        for name, line in study.lines(with_it, instrument.zone).items()
    }
    return {
        "x": str(axis_times(with_it.iloc[-1:], instrument, view)[0]),
        "bar": [float(f"{v:.8g}") for v in row],
        "lines": values,
    }


def _placed(study: Study, lines: dict[str, Any], drawn: pd.DataFrame) -> tuple[Study, dict[str, Any], bool]:
    """A study, the lines of it to draw, and whether they lie over the candles. One of the long tail lies where its
    values are near the price; then what is not (a direction of 1 and -1) is left out."""
    if study.place or drawn.empty:
        return study, lines, study.place == "price"
    low, high = drawn["low"].min() / 2, drawn["high"].max() * 2
    near = {name: line for name, line in lines.items() if _within(line, low, high)}
    return (study, near, True) if near else (study, lines, False)


def _within(line: npt.NDArray[np.float64], low: float, high: float) -> bool:
    values = line[np.isfinite(line)]
    return len(values) > 0 and bool(np.all((values > low) & (values < high)))


def _tail_of(lines: dict[str, npt.NDArray[np.float64]], rows: int) -> dict[str, npt.NDArray[np.float64]]:
    return {name: line[len(line) - rows :] for name, line in lines.items()}


def _json_number(value: float) -> float | None:
    return float(f"{value:.8g}") if np.isfinite(value) else None


def _decimals(candles: pd.DataFrame, instrument: Instrument) -> int:
    """A price below one needs more decimals than its tick says."""
    last = float(candles["close"].iloc[-1]) if len(candles) else 1.0
    return max(instrument.decimals, 4 if last < 1 else 2)


def _regular(bar: Bar, instrument: Instrument) -> bool:
    _, phase = instrument.calendar.locate(np.array([pd.Timestamp(bar.time).value]))
    return instrument.is_crypto or bool(phase[0] == 2)


def _append(candles: pd.DataFrame, bar: Bar, row: list[float]) -> pd.DataFrame:
    times = np.append(cd.nanos(candles), pd.Timestamp(bar.time).value)
    values = np.vstack([candles[list(cd.COLUMNS)].to_numpy(), row])
    return cd.frame(times, {c: values[:, at] for at, c in enumerate(cd.COLUMNS)})


def _candles(drawn: pd.DataFrame, times: Times, colours: palettes.Palette, decimals: int) -> dict[str, Any]:
    prices = {c: drawn[c].to_numpy().round(decimals + 2) for c in ("open", "high", "low", "close")}
    return {
        "type": "candlestick",
        "name": "price",
        "x": times,
        **prices,
        "increasing": {"line": {"color": colours.up, "width": 1.2}, "fillcolor": palettes.HOLLOW},
        "decreasing": {"line": {"color": colours.down, "width": 1.2}, "fillcolor": colours.down},
        "hoverinfo": "none",
        "showlegend": False,
        "whiskerwidth": 0,
    }


def _volume(drawn: pd.DataFrame, times: Times, colours: palettes.Palette) -> dict[str, Any]:
    rising = drawn["close"].to_numpy() >= drawn["open"].to_numpy()
    shades = np.where(rising, palettes.faded(colours.up, 0.45), palettes.faded(colours.down, 0.45))
    return {
        "type": "bar",
        "name": "volume",
        "x": times,
        "y": drawn["volume"].to_numpy(),
        "yaxis": "y2",
        "marker": {"color": shades, "line": {"width": 0}},
        "hoverinfo": "none",
        "showlegend": False,
    }


def _lines(studies: list[Any], times: Times, panels: list[Study | Said]) -> list[dict[str, Any]]:
    """One colour a study over the price, one colour a line in a panel; a study stands in the legend once."""
    out: list[dict[str, Any]] = []
    for at, (study, lines, _) in enumerate(studies):
        axis = f"y{3 + panels.index(study)}" if study in panels else "y"
        for part, (name, values) in enumerate(lines.items()):
            colour = palettes.LINES[(part if study in panels else at) % len(palettes.LINES)]
            line = _line(name, values, times, axis, colour)
            out.append({**line, "meta": name, "name": study.label, "showlegend": axis == "y" and part == 0})
    return out


def _said(said: Said, candles: pd.DataFrame, drawn: pd.DataFrame, times: Times, axis: str) -> list[dict[str, Any]]:
    """A model's lines in its panel: dashed where it learned from the bars, for there its word proves nothing."""
    rows = candles.index.get_indexer(drawn.index)
    out = []
    for at, (name, values) in enumerate(said.lines.items()):
        line = _line(name, values[rows], times, axis, palettes.LINES[6] if not at else palettes.MUTED)
        around = f"{wrap(said.lead + '…' + said.trail(name))}<extra></extra>".replace("…", "%{text}")
        hover = {"hoverinfo": "text", "hovertemplate": around, "text": list(said.verbs[rows])}
        line["line"] = {**line["line"], "dash": "dot" if at else "solid"}
        out.append({**line, **hover, "meta": name, "name": name, "showlegend": False})
    return out


def _line(name: str, values: npt.NDArray[np.float64], times: Times, axis: str, colour: str) -> dict[str, Any]:
    common = {"x": times, "y": values, "yaxis": axis, "hoverinfo": "none"}
    if name.endswith("histogram"):
        return {"type": "bar", **common, "marker": {"color": palettes.faded(colour, 0.5)}}
    return {"type": "scatter", "mode": "lines", **common, "line": {"width": 1.4, "color": colour}}


def _marks(
    drawn: pd.DataFrame, shown: pd.DataFrame, times: Times, view: View, colours: palettes.Palette
) -> dict[str, Any]:
    found = patterns.marks(shown.tail(len(drawn) + 60), view.patterns)
    first = len(shown.tail(len(drawn) + 60)) - len(drawn)
    found = found[found["position"] >= first]
    at = found["position"].to_numpy(np.int64) - first
    side = found["side"].to_numpy()
    shape = np.where(side > 0, "triangle-up", np.where(side < 0, "triangle-down", "diamond"))
    colour = np.where(side > 0, colours.up, np.where(side < 0, colours.down, palettes.MARK))
    return {
        "type": "scatter",
        "mode": "markers",
        "name": "patterns",
        "x": times[at],
        "y": found["price"].to_numpy(np.float64),
        "text": [wrap(text) for text in found["text"]],
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {
            "symbol": shape,
            "size": 10,
            "color": colour,
            "line": {"width": 1, "color": palettes.GROUND},
        },
        "showlegend": False,
    }


def wrap(text: str, width: int = 62) -> str:
    """Long sentences over several lines of a hover box."""
    lines, line = [], ""
    for word in text.replace("<", "&lt;").split():
        if len(line) + len(word) > width:
            lines.append(line)
            line = ""
        line = f"{line} {word}".strip()
    return "<br>".join([*lines, line])


def _layout(
    drawn: pd.DataFrame, times: Times, instrument: Instrument, view: View, panels: list[Study | Said]
) -> dict[str, Any]:
    share = 0.0 if not panels else min(0.17, 0.6 / len(panels))
    foot = share * len(panels)
    axis = {
        "side": "right",
        "gridcolor": palettes.GRID,
        "zeroline": False,
        "fixedrange": True,
        "tickfont": {"size": 11},
        "automargin": False,
    }
    layout: dict[str, Any] = {
        "template": "none",
        "paper_bgcolor": palettes.GROUND,
        "plot_bgcolor": palettes.GROUND,
        "font": {"color": palettes.TEXT, "family": theme.FONT, "size": 12},
        "margin": {"l": 6, "r": 66, "t": 8, "b": 26},
        "dragmode": "pan",
        "hovermode": "closest",
        "hoverdistance": 14,
        "spikedistance": -1,
        "uirevision": f"{instrument.symbol}-{view.tf}-{view.extended}-{view.zone}",
        "showlegend": True,
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1,
            "yanchor": "top",
            "bgcolor": "rgba(0,0,0,0)",
            "font": {"size": 11},
        },
        "hoverlabel": {
            "bgcolor": theme.value("tip"),
            "bordercolor": theme.value("edge"),
            "align": "left",
            "font": {"size": 12, "color": theme.value("text")},
        },
        "bargap": 0.25,
        "xaxis": _x_axis(drawn, times, instrument, view),
        "yaxis": {**axis, "domain": [foot + 0.17, 1.0], "showspikes": True, **_spike()},
        "yaxis2": {
            **axis,
            "domain": [foot + 0.01, foot + 0.14],
            "nticks": 3,
            "rangemode": "tozero",
            "showgrid": False,
        },
        "shapes": _shades(drawn, times, instrument, view),
        "annotations": [],
    }
    for at, study in enumerate(panels):
        top = foot - share * at
        layout[f"yaxis{3 + at}"] = {**axis, "domain": [top - share + 0.02, top - 0.015], "nticks": 4}
        if isinstance(study, Said):
            layout[f"yaxis{3 + at}"]["range"] = list(study.span)
        layout["annotations"].append(_caption(study, top - 0.012))
        layout["shapes"] += _guides(study, f"y{3 + at}")
    return layout


def _x_axis(drawn: pd.DataFrame, times: Times, instrument: Instrument, view: View) -> dict[str, Any]:
    first = times[max(0, len(times) - FIRST_VIEW_BARS)] if len(times) else None
    last = _after(times, view)
    return {
        "type": "date",
        "range": [first, last] if first is not None else None,
        "rangeslider": {"visible": False},
        "rangebreaks": _breaks(drawn, instrument, view),
        "gridcolor": palettes.GRID,
        "showspikes": True,
        **_spike(),
        "anchor": "free",
        "position": 0,
        "tickfont": {"size": 11},
    }


def _spike() -> dict[str, Any]:
    return {
        "spikemode": "across",
        "spikesnap": "cursor",
        "spikethickness": 1,
        "spikedash": "dot",
        "spikecolor": palettes.MUTED,
    }


def _after(times: Times, view: View) -> str | None:
    """A little air right of the newest bar."""
    if not len(times):
        return None
    air = np.timedelta64(cd.timeframe(view.tf).seconds * 4, "s")
    return str(np.datetime64(times[-1], "s") + air)


def _breaks(drawn: pd.DataFrame, instrument: Instrument, view: View) -> list[dict[str, Any]]:
    """Stretches of the time axis without trading, left out of the drawing."""
    if instrument.is_crypto or len(drawn) < 2:
        return []
    if view.tf == "1d":
        return [{"bounds": ["sat", "mon"]}, {"values": _holidays(drawn, instrument)}]
    gaps = _closed_gaps(drawn, instrument, view)
    return [{"bounds": gap} for gap in gaps]


def _holidays(drawn: pd.DataFrame, instrument: Instrument) -> list[str]:
    days = instrument.calendar.sessions.days
    first, last = (np.datetime64(t, "D") for t in (drawn.index[0].date(), drawn.index[-1].date()))
    every = np.arange(first, last + np.timedelta64(1, "D"))
    weekdays = every[np.is_busday(every)]
    return [str(day) for day in np.setdiff1d(weekdays, days)]


def _closed_gaps(drawn: pd.DataFrame, instrument: Instrument, view: View) -> list[list[str]]:
    """Between one day's last moment of trading and the next day's first, in the axis's zone; the night to come too."""
    s = instrument.calendar.sessions
    begin, end = (s.pre, s.post) if view.extended else (s.open, s.close)
    times = cd.nanos(drawn)
    first, last = np.searchsorted(begin, [times[0], times[-1]], side="right") - 1
    closes, opens = end[first : last + 1], begin[first + 1 : last + 2]
    spans = np.column_stack([closes[: len(opens)], opens])
    index = pd.DatetimeIndex(spans.ravel()).tz_localize("UTC").tz_convert(axis_zone(instrument, view)).tz_localize(None)
    text = np.datetime_as_string(index.to_numpy(), unit="s").reshape(-1, 2)
    return [list(map(str, pair)) for pair in text]


def _shades(drawn: pd.DataFrame, times: Times, instrument: Instrument, view: View) -> list[dict[str, Any]]:
    """Pre-market and after hours, shaded."""
    if instrument.is_crypto or view.tf == "1d" or not view.extended or drawn.empty:
        return []
    s = instrument.calendar.sessions
    at, _ = instrument.calendar.locate(cd.nanos(drawn))
    days = np.unique(at)
    spans = np.vstack([np.column_stack([s.pre[days], s.open[days]]), np.column_stack([s.close[days], s.post[days]])])
    index = pd.DatetimeIndex(spans.ravel()).tz_localize("UTC").tz_convert(axis_zone(instrument, view)).tz_localize(None)
    text = np.datetime_as_string(index.to_numpy(), unit="s").reshape(-1, 2)
    return [
        {
            "type": "rect",
            "xref": "x",
            "yref": "paper",
            "x0": str(a),
            "x1": str(b),
            "y0": 0,
            "y1": 1,
            "fillcolor": palettes.SHADE,
            "line": {"width": 0},
            "layer": "below",
        }
        for a, b in text
    ]


def _watermark(text: str) -> dict[str, Any]:
    """Across the whole plot, so that no screenshot of it can be taken for the market."""
    return {
        "text": text,
        "xref": "paper",
        "yref": "paper",
        "x": 0.5,
        "y": 0.62,
        "showarrow": False,
        "font": {"size": 64, "color": palettes.faded(palettes.SEAL, 0.11)},
    }


def _caption(study: Study | Said, top: float) -> dict[str, Any]:
    return {
        "text": wrap(study.label, 110),
        "align": "left",
        "xref": "paper",
        "yref": "paper",
        "x": 0.004,
        "y": top,
        "xanchor": "left",
        "yanchor": "top",
        "showarrow": False,
        "font": {"size": 11, "color": palettes.MUTED},
    }


def _guides(study: Study | Said, axis: str) -> list[dict[str, Any]]:
    known = None if isinstance(study, Said) else indicators.CATALOGUE.get(study.name)
    return [
        {
            "type": "line",
            "xref": "paper",
            "yref": axis,
            "x0": 0,
            "x1": 1,
            "y0": level,
            "y1": level,
            "line": {"width": 1, "dash": "dot", "color": palettes.faded(palettes.MUTED, 0.5)},
            "layer": "below",
        }
        for level in (study.guides if isinstance(study, Said) else known.guides if known else ())
    ]
