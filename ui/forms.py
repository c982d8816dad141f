"""Inputs that more than one line of a page is about: the watch list and what a chart shows."""

from __future__ import annotations

from typing import Any

import streamlit as st

import indicators
import patterns
from domain.candles import TIMEFRAMES
from domain.errors import DeskError
from domain.instruments import KNOWN, instrument, search
from ui import model_line
from ui.components import ticker_strip
from ui.palettes import PALETTES
from ui.session import Open
from ui.views import Study

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
    "Model": model_line.STUDY,
}
ON_PRICE = {name for name, known in indicators.CATALOGUE.items() if known.place == "price"}
MOST_OTHERS = 6
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
        on_drop=lambda: _drop(app, st.session_state.desk_strip.dropped, chosen),
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
    known = [*indicators.CATALOGUE, *indicators.long_tail()]
    others = st.multiselect(
        "Any other indicator",
        known,
        default=[s for s in saved.get("others", []) if not _complaint(s)][:MOST_OTHERS],
        key="desk_others",
        accept_new_options=True,
        max_selections=MOST_OTHERS,
        help="By name, with its numbers after colons where they differ from the usual: rsi:7, sma:200, supertrend",
    )
    wrong = {text: said for text in others if (said := _complaint(text))}
    for said in wrong.values():
        st.error(said, icon=":material/error:")
    return {"patterns": marked, "extended": extended, "others": [text for text in others if text not in wrong]}


@st.cache_data(max_entries=500, show_spinner=False)
def _complaint(text: str) -> str:
    """Why an indicator as somebody typed it cannot be drawn; '' where it can."""
    try:
        return Study.parse(text).complaint()
    except ValueError as error:
        return str(error)


def _saved(saved: dict[str, Any], name: str, fallback: str, allowed: Any) -> str:
    value = saved.get(name, fallback)
    return value if value in allowed else fallback


def _picked(app: Open, symbols: list[str]) -> str:
    """The symbol of the address, else the one looked at last, else the first; a deep link is remembered."""
    linked, last = st.query_params.get("symbol", ""), app.preferences.get("symbol", "")
    for wanted in (linked, last):
        try:
            symbol = instrument(wanted).symbol if wanted else ""
        except DeskError as error:
            st.error(str(error), icon=":material/error:")
            st.query_params.pop("symbol", None)
            continue
        if symbol:
            if symbol != last:
                app.people.prefer("symbol", symbol)
            return symbol
    return symbols[0] if symbols else ""


def _pick(app: Open, symbol: str | None) -> None:
    if symbol:
        st.query_params["symbol"] = symbol
        app.people.prefer("symbol", symbol)


def _drop(app: Open, symbol: str | None, shown: str) -> None:
    if not symbol:
        return
    app.people.unwatch(symbol)
    left = app.people.watchlist()
    if symbol == shown:
        st.query_params.pop("symbol", None)
        app.people.prefer("symbol", left[0] if left else "")


def _add(app: Open, typed: str | None) -> None:
    st.session_state.desk_add = None
    if not typed:
        return
    try:
        symbol = _meant(app, typed)
        app.people.watch(symbol)
        _pick(app, symbol)
    except (DeskError, ValueError) as error:
        st.session_state.desk_add_problem = str(error)


def _meant(app: Open, typed: str) -> str:
    """The symbol behind what was typed: a symbol the source knows, else the one company whose name it is part of."""
    try:
        symbol = instrument(typed).symbol
        app.desk.probe(symbol)
        return symbol
    except (DeskError, ValueError) as error:
        named = [i for i in search(typed) if typed.strip().lower() in i.name.lower()]
        if len(named) == 1:
            app.desk.probe(named[0].symbol)
            return named[0].symbol
        if named:
            listed = ", ".join(f"{i.symbol} ({i.name})" for i in named[:6])
            raise DeskError(f"{typed!r} may mean several: {listed}. Type the symbol.") from None
        raise error
