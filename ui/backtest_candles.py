"""A run's trades on the candles, in a window that can be moved: where it went in, where out, why, and what it made.

Nothing here knows Streamlit. An entry is an arrow beside its bar, an exit a dot (won) or a cross (lost) at its price.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import plotly.graph_objects as go

from domain.candles import nanos
from domain.instruments import instrument
from ui import backtest_charts as look
from ui import palettes, theme
from ui.views import View, axis_times, axis_zone
from ui.wording import zone_name

if TYPE_CHECKING:
    from research.study import Run, Study

Floats = npt.NDArray[np.float64]
Drawn = dict[str, Any]
MOST_BARS = 1_000


def bars_around(candles: pd.DataFrame, moment: pd.Timestamp, count: int) -> int:
    """The first row of a window of `count` bars with `moment` in its middle, within the candles."""
    at = int(np.searchsorted(nanos(candles), moment.value, side="right")) - 1
    return max(0, min(at - count // 2, len(candles) - count))


def trades(
    study: Study, run: Run, symbol: str, first: int, count: int, *, palette: str, zone: str, chosen: int | None = None
) -> go.Figure:
    """`count` bars from row `first` on, and the trades of a run in them; `chosen` is the row of the trade to show
    strongest. At most `MOST_BARS` bars are drawn."""
    candles, colours = study.candles[symbol], palettes.PALETTES[palette]
    shown = candles.iloc[first : first + min(count, MOST_BARS)]
    of, view = instrument(symbol), View(tf=study.asked.interval, zone=zone)
    times = axis_times(shown, of, view)
    own = run.trades[run.trades["symbol"].astype(str) == symbol]
    names = bar_names(times.tolist())
    data = [_candles(shown, names, colours), *_trade_marks(shown, names, own, axis_zone(of, view), colours, chosen)]
    axes = {
        "xaxis": {**look.axis(), "type": "category", "nticks": 4, "rangeslider": {"visible": False}, "tickangle": 0},
        "yaxis": {**look.axis(), "side": "right", "tickformat": ",.6~g"},
    }
    margin = {"l": 36, "r": 66, "t": 34, "b": 40}
    layout = look.framed(480, look.mark_of(study), [], hovermode="closest", margin=margin, dragmode="pan")
    return go.Figure({"data": data, "layout": layout | axes})


def bar_names(times: list[str]) -> list[str]:
    """What a bar is called on the axis: its day, and beneath it the minute it opened at where bars are shorter."""
    return [time[:16].replace("T", "<br>") for time in times]


def _candles(shown: pd.DataFrame, names: list[str], colours: palettes.Palette) -> Drawn:
    return {
        "type": "candlestick",
        "name": "price",
        "x": names,
        **{name: shown[name].to_numpy() for name in ("open", "high", "low", "close")},
        "increasing": {"line": {"color": colours.up, "width": 1.2}, "fillcolor": palettes.HOLLOW},
        "decreasing": {"line": {"color": colours.down, "width": 1.2}, "fillcolor": colours.down},
        "showlegend": False,
        "hoverlabel": {"split": False},
    }


def _trade_marks(
    shown: pd.DataFrame, names: list[str], own: pd.DataFrame, zone: str, colours: palettes.Palette, chosen: int | None
) -> list[Drawn]:
    """Entries, exits and the line between them, of trades that touch the window."""
    if shown.empty or own.empty:
        return []
    rows = nanos(shown)
    into = np.searchsorted(rows, _nanos(own["entry_time"]), side="right") - 1
    out = np.searchsorted(rows, _nanos(own["exit_time"]), side="right") - 1
    begun, ended = _nanos(own["entry_time"]), _nanos(own["exit_time"])
    entered = (begun >= rows[0]) & (into >= 0) & (begun <= rows[-1])
    left = own["exit_time"].notna().to_numpy() & (ended >= rows[0]) & (ended <= rows[-1])
    said = [_said(row, zone) for row in own.itertuples()]
    strong = np.array([label == chosen for label in own.index])
    long, won = own["side"].astype(str).to_numpy() == "long", own["profit"].to_numpy() > 0
    entries = _beside_the_bar(shown, into, long)
    return [
        *_ties(own, names, into, out, entered & left, won, colours),
        _points("long entry ▲", "triangle-up", names, into, entries, said, entered & long, strong, palettes.LINES[0]),
        _points(
            "short entry ▼", "triangle-down", names, into, entries, said, entered & ~long, strong, palettes.LINES[1]
        ),
        _points(
            "exit, won ●", "circle", names, out, own["exit"].to_numpy(np.float64), said, left & won, strong, colours.up
        ),
        _points(
            "exit, lost ✕", "x", names, out, own["exit"].to_numpy(np.float64), said, left & ~won, strong, colours.down
        ),
    ]


def _beside_the_bar(shown: pd.DataFrame, into: Any, long: Any) -> Floats:
    """Where an entry is marked: under a long one's bar and over a short one's, for the exit of the trade before it
    often fills at the same price."""
    low, high = shown["low"].to_numpy(np.float64), shown["high"].to_numpy(np.float64)
    air, rows = 0.03 * (high.max() - low.min()), np.maximum(into, 0)
    return np.asarray(np.where(long, low[rows] - air, high[rows] + air))


def _points(
    name: str,
    symbol: str,
    names: list[str],
    at: Any,
    prices: Floats,
    said: list[str],
    of: Any,
    strong: Any,
    colour: str,
) -> Drawn:
    rows = np.flatnonzero(of)
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [names[at[row]] for row in rows],
        "y": prices[rows],
        "text": [said[row] for row in rows],
        "hovertemplate": "%{text}<extra></extra>",
        "showlegend": bool(len(rows)),
        "marker": {
            "symbol": symbol,
            "color": colour,
            "size": np.where(strong[rows], 17, 11),
            "line": {"width": np.where(strong[rows], 2.5, 1), "color": theme.value("text")},
        },
    }


def _ties(
    own: pd.DataFrame, names: list[str], into: Any, out: Any, both: Any, won: Any, colours: palettes.Palette
) -> list[Drawn]:
    """A dotted line from entry to exit, all won ones in one trace and all lost ones in another."""
    found = []
    for of, colour in ((both & won, colours.up), (both & ~won, colours.down)):
        rows = np.flatnonzero(of)
        x = [name for row in rows for name in (names[into[row]], names[out[row]], None)]
        entry, exit_ = own["entry"].to_numpy(), own["exit"].to_numpy()
        y = [price for row in rows for price in (entry[row], exit_[row], None)]
        line = {"color": colour, "width": 1.2, "dash": "dot"}
        common = {"type": "scatter", "mode": "lines", "hoverinfo": "skip", "showlegend": False}
        found.append({**common, "x": x, "y": y, "line": line})
    return found


def _said(trade: Any, zone: str) -> str:
    """A trade as its hover box tells it."""
    sign = "▲ +" if trade.profit > 0 else "▼ −" if trade.profit < 0 else "◆ "
    ended = "still open" if pd.isna(trade.exit_time) else f"exit {_minute(trade.exit_time, zone)} at {trade.exit:,.6g}"
    lines = [
        f"<b>{look.safe(str(trade.side))} {trade.quantity:,.6g} {look.safe(str(trade.symbol))}</b>",
        f"entry {_minute(trade.entry_time, zone)} at {trade.entry:,.6g}",
        f"{ended} · {look.safe(str(trade.reason))}",
        f"profit {sign}{abs(trade.profit):,.2f} · fees {trade.fees:,.2f}",
        f"worst −{abs(min(trade.mae, 0.0)):,.2f} · best +{max(trade.mfe, 0.0):,.2f} · {trade.bars} bars",
    ]
    return "<br>".join(lines)


def _minute(moment: pd.Timestamp, zone: str) -> str:
    return f"{moment.tz_convert(zone):%Y-%m-%d %H:%M} {zone_name(zone)}"


def _nanos(times: pd.Series) -> npt.NDArray[np.int64]:
    """UTC nanoseconds; a missing time is the smallest number there is."""
    return pd.DatetimeIndex(times).as_unit("ns").asi8
