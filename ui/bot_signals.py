"""The history of signals: each changed mind of a strategy, what its filters said of it, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pandas as pd
import streamlit as st

import bootstrap
from desk import signal_record
from desk.adoptions import Adoption, Done
from desk.signal_record import Wish
from domain.errors import DeskError
from domain.instruments import instrument
from domain.orders import Order, Purpose, Status
from ui import bot_reading, bot_why, dialogs, spreadsheet, wording
from ui.live import Shared
from ui.session import Open

MOST = 500
SPANS = {"Today": 0, "Week": 7, "Month": 30, "Quarter": 92}
ANY = "Any"
FATES = ("filled", "on its way", "denied", "refused", "held back", "missed", "written down", "nothing done")
FILE = ("decided_utc", "bar_utc", "strategy", "adoption", "symbol", "wants", "became", "orders", "why", "filters")
_kept = Shared(16)
NO_SIGNAL = (
    "No signal in this time. Whenever a strategy changes its mind about a symbol, it is listed here with its filters' "
    "words and with what became of it."
)


@st.fragment(run_every=4)
def signals(app: Open) -> None:
    """The whole tab."""
    dialogs.step_out()
    try:
        names = {work.adoption.id: work.adoption for work in bot_reading.works(retired=True)}
        days, fate, sought = _fields()
        told = read(days, missed=fate == "missed")
    except DeskError as error:
        st.error(wording.plain(error), icon=":material/error:")
        return
    table = table_of(app, told, names)
    shown = _matching(table, fate, sought)
    if shown.empty:
        st.info(NO_SIGNAL if table.empty else "No signal fits: take a word away.", icon=":material/sensors:")
        return
    st.dataframe(
        shown, hide_index=True, key="bot_signals", column_config=COLUMNS, height=560 if len(shown) > 14 else "auto"
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        place = bootstrap.trading().place
        st.download_button(
            "Signals as CSV",
            lambda: csv_of(told, names),
            file_name=f"signals-{place.name}.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
            key="bot_signals_csv",
        )
        most = f", the newest {MOST}" if len(told) == MOST else ""
        st.caption(f"{len(shown)} of {len(told)} signals{most}. Bars missed are listed under “missed”.")


def _fields() -> tuple[int, str, str]:
    more: dict[str, Any] = {"bind": "query-params"}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        span = st.segmented_control("Since", list(SPANS), default="Week", required=True, key="span", **more)
        fate = st.selectbox("What became of it", [ANY, *FATES], key="fate", width=170, **more)
        sought = st.text_input("Symbol, strategy or word", key="about", placeholder=ANY, width=210, **more)
    return SPANS[span], str(fate or ANY), str(sought or "")


def read(days: int, *, missed: bool = False) -> list[Wish]:
    """The signals of so many days back, read once for all who look until the ledger moves."""
    trading = bootstrap.trading()
    began = bot_reading.day_began(trading.clock.now()) - timedelta(days=days)
    ask = signal_record.missed if missed else signal_record.wishes
    key = (bot_reading.mark(), began, missed)
    found: list[Wish] = _kept.get(key, lambda: ask(trading.reader, began, MOST))
    return found


def table_of(app: Open, told: Sequence[Wish], names: Mapping[str, Adoption]) -> pd.DataFrame:
    """A row a signal."""
    rows = [_row(app, one, names) for one in told]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(app: Open, one: Wish, names: Mapping[str, Adoption]) -> dict[str, Any]:
    each, of = one.decision, names[one.decision.adoption]
    return {
        "Bar": bot_why.clock_of(each.bar_time, app.zone, of.interval),
        "Symbol": each.symbol,
        "Wants": bot_why.wants(each),
        "Became": fate_of(one),
        "Orders": orders_words(one),
        "Why": bot_why.line(each),
        "Strategy": f"{of.strategy} · {of.id}",
    }


COLUMNS = {
    "Bar": st.column_config.TextColumn(width=100, help="The closed bar it was decided on, by its open"),
    "Symbol": st.column_config.TextColumn(width=70),
    "Wants": st.column_config.TextColumn(width=80),
    "Became": st.column_config.TextColumn(width=105),
    "Orders": st.column_config.TextColumn(width=330),
    "Why": st.column_config.TextColumn(width=520),
    "Strategy": st.column_config.TextColumn(width=190),
}


def fate_of(one: Wish) -> str:
    """What became of it, in one of `FATES`."""
    states = {order.status for order in one.orders}
    if any(order.open for order in one.orders):
        return "on its way"
    if Status.FILLED in states or any(order.filled for order in one.orders):
        return "filled"
    if Status.DENIED in states:
        return "denied"
    if states:
        return "refused"
    if one.decision.done in (Done.MISSED, Done.FAULT):
        return "missed"
    if one.decision.done is Done.SHADOW:
        return "written down"
    return "held back" if bot_why.held_back(one.decision) else "nothing done"


def orders_words(one: Wish) -> str:
    """Its orders, each with what became of it; where none was made, why."""
    if one.orders:
        return "; ".join(_order(order, one.gates.get(order.id, ())) for order in one.orders)
    return {
        Done.NOT_OURS: "none: a person's position stands there",
        Done.TOO_SMALL: "none: less than one lot",
        Done.SHADOW: "none: its rung orders nothing",
        Done.ORDERED: "none yet",
    }.get(one.decision.done, "none")


def _order(order: Order, gates: Sequence[str]) -> str:
    said = f"{wording.order_words(order.request)}: {wording.STATES[order.status]}"
    if order.filled and order.average_price is not None:
        return f"{said} at {wording.price(order.average_price, instrument(order.request.symbol))}"
    if gates:
        return f"{wording.order_words(order.request)}: denied by {', '.join(gates)}"
    why = " ".join(order.reasons)
    begin = "the close of what it held" if order.request.purpose is Purpose.EXIT else wording.order_words(order.request)
    return f"{begin}: {wording.STATES[order.status]}. {why}" if why else said


def _matching(table: pd.DataFrame, fate: str, sought: str) -> pd.DataFrame:
    if fate != ANY:
        table = table[table["Became"] == fate]
    words = sought.lower().split()
    if not words or table.empty:
        return table
    text = table.agg(lambda row: " ".join(map(str, row)).lower(), axis=1)
    return table[text.map(lambda whole: all(word in whole for word in words))]


def csv_of(told: Sequence[Wish], names: Mapping[str, Adoption]) -> str:
    """The signals as a file, newest first."""
    return spreadsheet.csv(
        (
            {
                "decided_utc": one.decision.at.isoformat() if one.decision.at else "",
                "bar_utc": one.decision.bar_time.isoformat(),
                "strategy": names[one.decision.adoption].label,
                "adoption": one.decision.adoption,
                "symbol": one.decision.symbol,
                "wants": "" if one.decision.exposure is None else one.decision.exposure,
                "became": fate_of(one),
                "orders": orders_words(one),
                "why": one.decision.said,
                "filters": " · ".join(map(bot_why.verdict, one.decision.verdicts)),
            }
            for one in told
        ),
        FILE,
    )
