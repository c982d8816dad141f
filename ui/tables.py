"""Frames made ready to be read in a table: which columns, in which words, with which formats."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import pandas as pd
import streamlit as st

import patterns
from domain.calendars import NEW_YORK
from research.edge import pattern_edge
from ui.views import View, axis_zone, visible

SIDES = {1: "▲ bullish", -1: "▼ bearish", 0: "◆ neutral"}
NEWEST = 40
EDGE_DAYS = {"1m": 7, "5m": 45, "15m": 120, "1h": 500, "4h": 1500, "1d": 4000}


def pattern_table(candles: pd.DataFrame, instrument: Any, view: View) -> pd.DataFrame:
    """The newest marked patterns, newest first: time, pattern, side and why."""
    shown = visible(candles, instrument, view).tail(view.bars)
    found = patterns.marks(shown, view.patterns).tail(NEWEST).iloc[::-1]
    side = found["side"].map(SIDES)
    zone = axis_zone(instrument, view)
    times = shown.index[found["position"].to_numpy()].tz_convert(zone).tz_localize(None)
    return pd.DataFrame(
        {
            "Time": times,
            "Pattern": found["label"].to_numpy(),
            "Side": side.to_numpy(),
            "Why": found["text"].to_numpy(),
        }
    )


def pattern_columns(instrument: Any, view: View) -> dict[str, Any]:
    """How they are shown: times in the chart's own zone."""
    zone = "New York" if axis_zone(instrument, view) == "America/New_York" else "UTC"
    daily = view.tf == "1d"
    return {
        "Time": st.column_config.DatetimeColumn(
            f"Time ({zone})",
            format="YYYY-MM-DD" if daily else "ddd DD MMM HH:mm",
            timezone=view.zone,
            width="small",
        ),
        "Pattern": st.column_config.TextColumn(width="small"),
        "Side": st.column_config.TextColumn(width="small"),
        "Why": st.column_config.TextColumn(width="large"),
    }


@st.cache_data(ttl=600, max_entries=64, show_spinner="Resampling history two thousand times …")
def edge_table(candles: pd.DataFrame, names: tuple[str, ...], horizon: int) -> pd.DataFrame:
    """The pattern edge (`research.edge`), cached by the bars it was worked out on."""
    return pattern_edge(candles, list(names) or None, horizon=horizon)


def edge_span(candles: pd.DataFrame, view: View) -> str:
    """Which bars the table was worked out on."""
    if candles.empty:
        return "No candles to test on yet."
    first, last = (t.tz_convert(view.zone).strftime("%d %b %Y") for t in (candles.index[0], candles.index[-1]))
    return f"{len(candles):,} closed {view.tf} bars, {first} to {last}, before costs."


def edge_view(table: pd.DataFrame) -> pd.DataFrame:
    """The edge in percent, the surest first; what was too rare to test at the end."""
    shown = table.sort_values(["p_corrected", "count"], ascending=[True, False], na_position="last")
    percent = {
        "Edge": shown["edge"],
        "Low 95 %": shown["low"],
        "High 95 %": shown["high"],
        "Hit rate": shown["hit_rate"],
        "Hits over base": shown["hit_edge"],
    }
    return pd.DataFrame(
        {
            "Pattern": shown["pattern"].map(_label),
            "Taken": shown["side"].map({"bullish": "▲ long", "bearish": "▼ short"}),
            "Times": shown["count"],
            **{name: column * 100 for name, column in percent.items()},
            "p corrected": shown["p_corrected"],
            "Verdict": shown["verdict"],
        }
    )


_PERCENT = {name: st.column_config.NumberColumn(format="%+.3f %%") for name in ("Edge", "Low 95 %", "High 95 %")}
EDGE_COLUMNS: dict[str, Any] = {
    **_PERCENT,
    "Hit rate": st.column_config.NumberColumn(format="%.1f %%"),
    "Hits over base": st.column_config.NumberColumn(format="%+.1f %%"),
    "p corrected": st.column_config.NumberColumn(format="%.3f", help="Holm, over all patterns in this table"),
    "Verdict": st.column_config.TextColumn(width="medium"),
}

FILE_RULES = """
One file a symbol: `AAPL.csv`, `AAPL_5m.csv`, `BTCUSDT_1h.parquet`, or many symbols in one file with a `symbol` column.

Columns, in any case and order: a time (`timestamp`, `date`, `datetime` or `time`), `open`, `high`, `low`, `close`,
`volume`. Timeframes: 1m, 5m, 15m, 1h, 4h, 1d; coarser ones are made from finer ones. A file with one wrong row is
not used until the row is mended; the others are.
"""


def kept_table(kept: list[Any]) -> pd.DataFrame:
    """What the store holds, one line a symbol and timeframe."""
    return _rows(
        {
            "Symbol": k.symbol,
            "Timeframe": k.timeframe,
            "First": _when(k.first, k.timeframe),
            "Last": _when(k.last, k.timeframe),
            "Bars": k.rows,
            "From": ", ".join(k.sources),
            "Size": f"{k.size / 1024:,.0f} KiB",
        }
        for k in kept
    )


def refused_table(refused: list[Any]) -> pd.DataFrame:
    """The user's files that are not used: which, where in them, and why."""
    return _rows(
        {"File": r.file, "Row": str(r.row) if r.row > 0 else "whole file", "Rule": r.rule, "What to mend": r.message}
        for r in refused
    )


REFUSED_COLUMNS: dict[str, Any] = {
    "File": st.column_config.TextColumn(width="small"),
    "Row": st.column_config.TextColumn(width="small"),
    "Rule": st.column_config.TextColumn(width="small"),
    "What to mend": st.column_config.TextColumn(width="large"),
}


def holdings_table(held: list[Any]) -> pd.DataFrame:
    """What the user's files give."""
    return _rows(
        {
            "Symbol": h.symbol,
            "Timeframe": h.timeframe,
            "File": h.file,
            "First": _when(h.first, h.timeframe),
            "Last": _when(h.last, h.timeframe),
            "Bars": h.rows,
        }
        for h in held
    )


def _label(name: str) -> str:
    known = patterns.PATTERNS.get(name)
    return known.label if known else name


def _when(moment: datetime | None, timeframe: str) -> str:
    """A bar's open in New York's words; a day alone for daily bars."""
    if moment is None:
        return "–"
    return f"{moment.astimezone(NEW_YORK):%Y-%m-%d}" + (
        "" if timeframe == "1d" else f"{moment.astimezone(NEW_YORK): %H:%M}"
    )


def _rows(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(list(rows))
