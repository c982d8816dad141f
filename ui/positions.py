"""The positions page: what is held and what it is worth now, what has traded, and the equity over time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

import bootstrap
from desk.records import EquityPoint, HeardFill
from domain.commands import Kind
from domain.errors import DeskError
from ui import dialogs, holdings, orders, palettes, roles, tables, wording
from ui.components import steady_figure
from ui.holdings import Holding
from ui.position_dialogs import PERCENTS, STOP_ATR
from ui.session import Open

NOTHING_HELD = (
    "No open positions. Place a paper order from the live dashboard; it appears here within a second of its fill."
)
NO_ACCOUNT = "No account yet. The engine opens a paper account when it starts; what it holds appears here."
NOT_OURS = "bought outside"
PAGE_OF_FILLS = 25
SPANS = {"Today": timedelta(days=1), "Week": timedelta(days=7), "All": None}


def account() -> str | None:
    """The account the page is about; None, and said, where there is none."""
    info = orders.pick_account()
    if info is None:
        st.info(NO_ACCOUNT, icon=":material/account_balance:")
        return None
    return info.name


@st.fragment(run_every=1)
def positions(app: Open, name: str) -> None:
    """Totals and table, renewed each second."""
    dialogs.step_out()
    try:
        held, outside = holdings.held_by(app.desk, name), bought_outside(name)
        _totals(name, held)
    except DeskError as error:
        st.error(wording.plain(error), icon=":material/error:")
        return
    if not held:
        st.info(NOTHING_HELD, icon=":material/inbox:")
        return
    roles.said(Kind.CLOSE, "pos")
    _unguarded(app, [one for one in held if one.unguarded > outside.get(one.symbol, 0)])
    st.session_state.pos_shown = [one.symbol for one in held]
    st.dataframe(
        tables.painted(marked(_table(app, held), held, outside), app.colours, app.theme),
        hide_index=True,
        key="pos_table",
        column_config=tables.position_columns(on_click=lambda: _chosen(app, name), key="pos_act")
        | {"Outside": st.column_config.TextColumn(alignment="right", width=80)},
    )


def _table(app: Open, held: list[Holding]) -> pd.DataFrame:
    """The positions; who may not close any has only the way to the chart in a row's menu."""
    table = tables.positions_table(held)
    if not app.may(Kind.CLOSE):
        table["Do"] = [[tables.ONLY_CHART] for _ in held]
    return table


def bought_outside(name: str) -> dict[str, Decimal]:
    """How many shares of each symbol came from outside this desk, by the ledger; symbols without any are left out."""
    trading = bootstrap.trading()
    held = trading.reader.positions(name) if trading.place.needs_arming else {}
    return {symbol: abs(position.outside) for symbol, position in held.items() if position.outside}


def marked(table: pd.DataFrame, held: list[Holding], outside: dict[str, Decimal]) -> pd.DataFrame:
    """The table with a column for shares from outside, where there are any: those need no stop of this desk."""
    if not outside:
        return table
    shares = [outside.get(one.symbol, Decimal(0)) for one in held]
    table.insert(3, "Outside", [wording.quantity(count) if count else "" for count in shares])
    for row, (one, count) in enumerate(zip(held, shares, strict=True)):
        if count and one.unguarded <= count:
            table.loc[row, "Protected"] = NOT_OURS
        if count == abs(one.quantity) and not one.average:  # what was paid for them is not known here
            table.loc[row, ["Avg", "Open P/L", "%"]] = wording.NOTHING
    return table


def _totals(name: str, held: list[Holding]) -> None:
    reader = bootstrap.trading().reader
    found, breaker = reader.account(name), reader.breaker(name)
    if found is None:
        return
    sums = holdings.totals(found, held, breaker.start_equity if breaker else None)
    share = 100 * sums.exposure / sums.equity if sums.exposure is not None and sums.equity else None
    cells = {
        "Equity": wording.amount(sums.equity),
        "Today": wording.signed(sums.day),
        "Open P/L": wording.signed(sums.open),
        "Exposure": wording.amount(sums.exposure, Decimal(1)) + (f" · {share:.0f} %" if share is not None else ""),
        "Cash": wording.amount(sums.cash),
    }
    with st.container(horizontal=True, key="pos_totals"):
        for label, text in cells.items():
            with st.container(key=f"pos_total_{_tone(text)}_{label.split('/')[0].replace(' ', '')}", width=190):
                st.metric(label, text, border=True)


def _tone(text: str) -> str:
    return {"▲": "up", "▼": "down"}.get(text[:1], "flat")


def style(app: Open) -> None:
    """Figures of even width; profits in the chosen colours."""
    colours = palettes.PALETTES[app.palette]
    st.html(_STYLE.format(up=colours.rising.css, down=colours.falling.css))


_STYLE = """<style>
.st-key-pos_totals {{ gap: .6rem; }}
.st-key-pos_totals > * {{ flex: 1 1 150px; }}
.st-key-pos_totals > * > *, .st-key-pos_totals [data-testid="stMetric"] {{ width: 100% !important; }}
.st-key-pos_totals [data-testid="stMetric"] {{ padding: 8px 12px; }}
.st-key-pos_totals [data-testid="stMetricValue"] {{ font-size: 1.25rem; font-variant-numeric: tabular-nums; }}
[class*="st-key-pos_total_up"] [data-testid="stMetricValue"] {{ color: {up}; }}
[class*="st-key-pos_total_down"] [data-testid="stMetricValue"] {{ color: {down}; }}
[class*="st-key-diff_card_"] [data-testid="stMetricValue"] {{ font-size: 1.25rem; font-variant-numeric: tabular-nums; }}
[class*="st-key-pos_bare_"] {{ gap: .6rem; }}
</style>"""


def _unguarded(app: Open, held: list[Holding]) -> None:
    """One line for each position without a stop, and a button for who may set one."""
    for one in held:
        if not one.unguarded:
            continue
        with st.container(horizontal=True, vertical_alignment="center", key=f"pos_bare_{one.symbol}"):
            st.badge("NO STOP", color="orange", icon=":material/warning:")
            st.markdown(f"Nothing limits the loss of **{wording.quantity(one.unguarded)} {one.symbol}**.")
            if app.may(Kind.PROTECT):
                st.button(
                    f"Set a stop at {STOP_ATR} ATR",
                    key=f"pos_stop_{one.symbol}",
                    on_click=dialogs.soon,
                    args=("protect",),
                    kwargs={"account": one.account, "symbol": one.symbol, "suggest": True},
                )


def _chosen(app: Open, name: str) -> None:
    """A choice in a row's menu, its symbol looked up in the rows as they were shown."""
    click, shown = st.session_state.pos_act, st.session_state.get("pos_shown", [])
    if not click or click["row"] >= len(shown):
        return
    symbol = shown[click["row"]]
    act = next((act for act, label in tables.POSITION_MENU.items() if label == click["label"]), "")
    act = "chart" if click["label"] == tables.ONLY_CHART else act
    if act == "chart":
        app.people.prefer("symbol", symbol)
        st.session_state.pos_chart = symbol
    elif act == "protect":
        dialogs.soon("protect", account=name, symbol=symbol)
    elif act in PERCENTS:
        dialogs.soon("close", account=name, symbol=symbol, percent=act)


def to_chart() -> None:
    """Near the top of the page: off to the chart that was asked for."""
    if symbol := st.session_state.pop("pos_chart", None):
        st.switch_page("pages/live_dashboard.py", query_params={"symbol": symbol})


# Fills, files and the curve


def fills(app: Open, name: str) -> None:
    """Fills, newest first, a page at a time."""
    most = st.session_state.setdefault("pos_fills_shown", PAGE_OF_FILLS)
    found = bootstrap.trading().reader.fills(account=name, most=most + 1)
    if not found:
        st.info(
            "No fills yet. Each trade of this account appears here, with its price and fee.", icon=":material/inbox:"
        )
        return
    st.dataframe(
        tables.fills_table(found[:most], app.zone),
        hide_index=True,
        key="pos_fills",
        column_config=tables.fill_columns(app.zone),
    )
    with st.container(horizontal=True):
        if len(found) > most:
            st.button("More", key="pos_more", on_click=_more)
        _download("All fills as CSV", "fills", name, lambda: _fills_file(name))


def _more() -> None:
    st.session_state.pos_fills_shown += PAGE_OF_FILLS * 4


def every_fill(name: str) -> list[HeardFill]:
    """All fills of an account, newest first."""
    reader, found, before = bootstrap.trading().reader, list[HeardFill](), None
    while page := reader.fills(account=name, before=before, most=1000):
        found += page
        before = page[-1].seq
    return found


def _fills_file(name: str) -> str:
    place = bootstrap.trading().place
    return tables.fills_file(every_fill(name), place.name, place.simulated)


def positions_file(app: Open, name: str) -> None:
    """The positions as they are at the click, as CSV."""
    place = bootstrap.trading().place
    _download(
        "Positions as CSV",
        "positions",
        name,
        lambda: tables.positions_file(holdings.held_by(app.desk, name), place.name, place.simulated),
    )


def _download(label: str, what: str, account: str, make: Callable[[], str]) -> None:
    mark = "-SIMULATED" if bootstrap.trading().place.simulated else ""
    st.download_button(
        label,
        make,
        file_name=f"{what}-{account}{mark}.csv",
        mime="text/csv",
        icon=":material/download:",
        on_click="ignore",
        key=f"pos_csv_{what}",
    )


@st.fragment(run_every=30)
def equity_curve(app: Open, name: str) -> None:
    """The account's equity, a point a minute, as the engine saw it."""
    span = st.segmented_control("Span", list(SPANS), default="Today", required=True, key="pos_span")
    trading, back = bootstrap.trading(), SPANS[span]
    now = trading.clock.now()
    since = None if back is None else orders.day_began(now) if span == "Today" else now - back
    points = trading.reader.equity_curve(name, since)
    if len(points) < 2:
        st.info("The curve begins once the engine has run for two minutes.", icon=":material/show_chart:")
        return
    mark = "SIMULATED" if trading.place.simulated else ""
    said = f"Equity of {name}: {points[0].equity:,.2f} at the beginning, {points[-1].equity:,.2f} now"
    steady_figure(curve(points, app, mark), key="pos_curve", label=said)


def curve(points: list[EquityPoint], app: Open, mark: str) -> go.Figure:
    """The equity as a line."""
    colours = palettes.PALETTES[app.palette]
    rose = points[-1].equity >= points[0].equity
    line = {"color": colours.up if rose else colours.down, "width": 2}
    axis = {"gridcolor": palettes.GRID, "zeroline": False, "color": palettes.MUTED}
    note = {"text": mark, "xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5, "showarrow": False}
    trace = {
        "type": "scatter",
        "mode": "lines",
        "line": line,
        "hovertemplate": "%{x|%d %b %H:%M}  %{y:,.2f}<extra></extra>",
        "x": [wording.local(p.at, app.zone) for p in points],
        "y": [float(p.equity) for p in points],
    }
    layout = {
        "template": "none",
        "height": 260,
        "paper_bgcolor": palettes.GROUND,
        "plot_bgcolor": palettes.GROUND,
        "margin": {"l": 8, "r": 70, "t": 8, "b": 28},
        "xaxis": axis,
        "yaxis": {**axis, "side": "right", "tickformat": ",.0f"},
        "annotations": [{**note, "font": {"size": 44, "color": palettes.faded(palettes.SEAL, 0.14)}}] if mark else [],
    }
    return go.Figure(data=[trace], layout=layout)
