"""Inputs that more than one line of a page is about: the watch list and what a chart shows."""

from __future__ import annotations

from typing import Any

import streamlit as st

import indicators
import patterns
from domain.candles import TIMEFRAMES
from domain.errors import DeskError
from domain.instruments import KNOWN, instrument, search
from ui.components import ticker_strip
from ui.palettes import PALETTES
from ui.session import Open

OVERLAYS = {
    "EMA 9": "ema:9",
    "EMA 21": "ema:21",
    "SMA 50": "sma:50",
    "Bollinger": "bollinger:20:2",
    "VWAP": "vwap",
}
PANELS = {
    "RSI": "rsi:14",
    "MACD": "macd:12:26:9",
    "Stochastic": "stochastic:14:3:3",
    "ADX": "adx:14",
    "ATR": "atr:14",
    "OBV": "obv",
}
ON_PRICE = {name for name, known in indicators.CATALOGUE.items() if known.place == "price"}
FIRST_STUDIES = ["EMA 9", "EMA 21", "VWAP"]
FIRST_PATTERNS = ["Hammer", "Bullish Engulfing", "Bearish Engulfing", "Morning Star", "Evening Star"]


def watch_strip(app: Open) -> str:
    """The ticker strip; the symbol that is picked. A symbol that could not be added is said here, nothing is lost."""
    symbols = app.people.watchlist()
    chosen = _picked(app, symbols)
    ticker_strip(
        symbols,
        chosen,
        colours=PALETTES[app.palette],
        key="desk_strip",
        on_pick=lambda: _pick(app, st.session_state.desk_strip.picked),
        on_drop=lambda: _drop(app, st.session_state.desk_strip.dropped),
    )
    if problem := st.session_state.pop("desk_add_problem", None):
        st.error(problem, icon=":material/error:")
    return chosen


def add_symbol(app: Open) -> None:
    """Search by symbol or name, or type any symbol the data source knows."""
    watched = app.people.watchlist()
    holdings = tuple(h.symbol for h in app.desk.market.holdings())
    offered = [i.symbol for i in search("", holdings) if i.symbol not in watched]
    st.selectbox(
        "Add symbol",
        offered,
        index=None,
        key="desk_add",
        label_visibility="collapsed",
        placeholder="Add symbol or name",
        format_func=lambda s: f"{s} · {KNOWN[s].name}" if s in KNOWN else s,
        accept_new_options=True,
        on_change=lambda: _add(app, st.session_state.desk_add),
        width=190,
    )


def chart_controls(app: Open) -> dict[str, str]:
    """Timeframe, overlays, panels and patterns, remembered over restarts; as the address of a chart."""
    saved = app.preferences.get("chart", {})
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="desk_controls"):
        tf = st.segmented_control(
            "Timeframe",
            list(TIMEFRAMES),
            default=_saved(saved, "tf", "5m", TIMEFRAMES),
            key="desk_tf",
            required=True,
        )
        overlays = st.pills(
            "Overlays",
            list(OVERLAYS),
            selection_mode="multi",
            default=[n for n in saved.get("overlays", FIRST_STUDIES) if n in OVERLAYS],
            key="desk_overlays",
        )
        panels = st.pills(
            "Panels",
            list(PANELS),
            selection_mode="multi",
            default=[n for n in saved.get("panels", []) if n in PANELS],
            key="desk_panels",
        )
        with st.popover("More", icon=":material/tune:"):
            more = _more(saved)
        add_symbol(app)
    choice = {"tf": tf, "overlays": overlays, "panels": panels, **more}
    if choice != saved:
        app.people.prefer("chart", choice)
    studies = [OVERLAYS[n] for n in overlays] + [PANELS[n] for n in panels] + more["others"]
    return {
        "tf": tf,
        "studies": ",".join(dict.fromkeys(studies)),
        "patterns": ",".join(more["patterns"]),
        "extended": "1" if more["extended"] else "0",
        "palette": app.palette,
        "zone": app.zone,
        "bars": str(app.desk.settings.chart_bars),
    }


def _more(saved: dict[str, Any]) -> dict[str, Any]:
    labels = [p.label for p in patterns.PATTERNS.values()]
    named = [*FIRST_PATTERNS, "Doji", *(label for label in labels if label not in FIRST_PATTERNS)]
    offered = list(dict.fromkeys(named))
    marked = st.multiselect(
        "Patterns to mark",
        offered,
        default=[n for n in saved.get("patterns", FIRST_PATTERNS) if n in offered],
        key="desk_patterns",
    )
    extended = st.toggle(
        "Pre-market and after hours",
        value=saved.get("extended", True),
        key="desk_extended",
        help="Shaded on the chart",
    )
    known = [*(f"{name}" for name in indicators.CATALOGUE), *indicators.long_tail()]
    others = st.multiselect(
        "Any other indicator",
        known,
        default=[s for s in saved.get("others", []) if s.split(":")[0] in known],
        key="desk_others",
        accept_new_options=True,
        help="By name, with its numbers after colons where they differ from the usual: rsi:7, sma:200, supertrend",
    )
    return {"patterns": marked, "extended": extended, "others": others}


def _saved(saved: dict[str, Any], name: str, fallback: str, allowed: Any) -> str:
    value = saved.get(name, fallback)
    return value if value in allowed else fallback


def _picked(app: Open, symbols: list[str]) -> str:
    wanted = st.query_params.get("symbol") or app.preferences.get("symbol") or (symbols[0] if symbols else "")
    try:
        symbol = instrument(wanted).symbol if wanted else ""
    except DeskError:
        symbol = ""
    return symbol or (symbols[0] if symbols else "")


def _pick(app: Open, symbol: str | None) -> None:
    if symbol:
        st.query_params["symbol"] = symbol
        app.people.prefer("symbol", symbol)


def _drop(app: Open, symbol: str | None) -> None:
    if not symbol:
        return
    app.people.unwatch(symbol)
    left = app.people.watchlist()
    if st.query_params.get("symbol") == symbol or app.preferences.get("symbol") == symbol:
        st.query_params.pop("symbol", None)
        app.people.prefer("symbol", left[0] if left else "")


def _add(app: Open, typed: str | None) -> None:
    st.session_state.desk_add = None
    if not typed:
        return
    try:
        what = instrument(typed)
        app.desk.probe(what.symbol)
        app.people.watch(what.symbol)
        _pick(app, what.symbol)
    except (DeskError, ValueError) as error:
        st.session_state.desk_add_problem = str(error)
