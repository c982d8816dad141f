"""Blocks of the live dashboard below and beside the chart."""

from __future__ import annotations

import functools

import streamlit as st

import bootstrap
from domain import registry
from domain.errors import DeskError
from ui import forms, guide, orders, subscribing, tables
from ui.live import Shared, bars_for, read_view
from ui.session import Open

_tables = Shared(32)  # worked out once a bar, for all viewers


def chart_height(query: dict[str, str]) -> int:
    """Tall enough that each panel can be read."""
    panels = sum(text.split(":")[0] not in forms.ON_PRICE for text in query["studies"].split(",") if text)
    return min(590 + 85 * panels, 1300)


def nothing_watched(app: Open) -> None:
    """The empty watch list: what will appear here and what to do next."""
    st.subheader("No symbols yet")
    st.write("Search for a symbol or a company; its live candles, patterns and indicators appear here.")
    forms.add_symbol(app)


def chart_notes(app: Open, query: dict[str, str]) -> None:
    """Where the candles come from, and what a reader should know about them."""
    try:
        answer = app.desk.live(query["symbol"], query["tf"], bars_for(query["symbol"], read_view(query))).answer
    except (DeskError, ValueError):
        return  # the chart itself says what is wrong
    for name in answer.sources:
        part = registry.part("feeds", name)
        st.caption(f"Candles: {part.label}. {part.limits}")
    for note in answer.notes:
        st.caption(f":material/info: {note}")
    if answer.feed_error:
        st.warning(f"{answer.feed_error} Showing the candles that are kept.", icon=":material/cloud_off:")


def pattern_panels(app: Open, query: dict[str, str]) -> None:
    """Beneath the chart: the day's orders, the list of marks, the test of what they were worth, and who is told."""
    names = ["Orders of the day", "Patterns on this chart", "Pattern edge", "Tell me"]
    ordered, marks, edge, tell = st.tabs(names, on_change="rerun", key="desk_pattern_tabs")
    if ordered.open:
        with ordered:
            _orders(app)
    if marks.open:
        with marks:
            _marks(app, query)
    if edge.open:
        with edge:
            _edge(app, query)
    if tell.open:
        with tell:
            subscribing.tell_me(app, query["symbol"], query["tf"])


def _orders(app: Open) -> None:
    known = {info.name for info in bootstrap.trading().reader.accounts()}
    chosen = st.session_state.get("desk_account")
    if account := chosen if chosen in known else min(known, default=""):
        orders.orders_of_the_day(app, account)
    else:
        st.info("No account yet: the engine opens one when it starts.", icon=":material/account_balance:")


@st.fragment(run_every=15)
def _marks(app: Open, query: dict[str, str]) -> None:
    try:
        view = read_view(query)
        live = app.desk.live(query["symbol"], view.tf, bars_for(query["symbol"], view))
    except (DeskError, ValueError) as error:
        st.info(str(error), icon=":material/info:")
        return
    build = functools.partial(tables.pattern_table, live.closed, live.instrument, view)
    table = _tables.get((live.revision, view), build)
    if table.empty:
        st.info(
            "None of the chosen patterns stands on this chart. Choose others under More.",
            icon=":material/search:",
        )
        return
    st.dataframe(table, hide_index=True, column_config=tables.pattern_columns(live.instrument, view), key="desk_marks")
    guide.pattern_was_shown(app)


def _edge(app: Open, query: dict[str, str]) -> None:
    st.caption(
        "Did a pattern on this symbol and timeframe ever pay? Forward return and hit rate **minus** those of every "
        "bar, with a 95 % bootstrap interval, corrected for the number of patterns tried."
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        horizon = st.number_input("Bars ahead", 1, 60, 5, key="desk_horizon", width=140)
        every = st.toggle("All 61 patterns", key="desk_edge_all")
    try:
        view = read_view(query)
        answer = app.desk.candles(query["symbol"], view.tf, tables.EDGE_DAYS[view.tf])
    except (DeskError, ValueError) as error:
        st.info(str(error), icon=":material/info:")
        return
    if answer.simulated:
        st.warning(
            "SIMULATED prices: an edge found here says nothing about a real market.",
            icon=":material/science:",
        )
    table = tables.edge_table(answer.candles, () if every else view.patterns, int(horizon))
    st.caption(tables.edge_span(answer.candles, view))
    st.dataframe(
        tables.edge_view(table),
        hide_index=True,
        column_config=tables.EDGE_COLUMNS,
        height=360,
        key="desk_edge",
    )
