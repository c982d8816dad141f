"""Why each symbol is traded or not: the last bar, what the strategy wants, what its filters say, what comes next.

The rule: the words are the engine's own, written with the decision; nothing is asked of a strategy here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import streamlit as st

import bootstrap
from desk.adoptions import Adoption, BarDecision, Done, Said, State, decisions
from domain.errors import DeskError
from domain.orders import Order
from domain.positions import ZERO
from ui import adopting, bot_reading, dialogs, wording
from ui.bot_reading import Work
from ui.session import Open

LAST = 20
PASSES, HOLDS = "✔", "✖"
NOT_LET_IN = "another signal"
NO_BAR = "No bar has closed since it was taken on."
_AS_BEFORE = re.compile(r"^.*?Wants \S+, as before\.\s*", re.DOTALL)
_AT = "bot_why_of"


def table_of(app: Open, found: Sequence[Work]) -> pd.DataFrame:
    """A row for each strategy and symbol."""
    now = bootstrap.trading().clock.now()
    return pd.DataFrame([_row(app, work, symbol, now) for work in found for symbol in work.adoption.symbols])


def _row(app: Open, work: Work, symbol: str, now: datetime) -> dict[str, Any]:
    one, last = work.adoption, work.decided.get(symbol)
    order = order_of(work, last)
    return {
        "Symbol": symbol,
        "Holds": wording.quantity(work.held.get(symbol, ZERO)),
        "Wants": wants(last),
        "Waits for": waits_for(work, symbol, last, order),
        "Next close": _next(app, one, symbol, now),
        "Why": " · ".join(filter(None, [in_vain(order), line(last)])),
        "Last bar": clock_of(last.bar_time, app.zone, one.interval) if last else wording.NOTHING,
        "Strategy": f"{one.strategy} · {one.id}",
    }


def wants(last: BarDecision | None) -> str:
    """What the strategy wants, before its filters: `▲ long`, `▼ short 50 %`, `nothing`."""
    if last is None or last.exposure is None:
        return wording.NOTHING
    side = last.exposure or float(last.state.side if last.state is not None else 0)
    if not side:
        return "nothing"
    share = f" {abs(last.exposure):.0%}" if last.exposure and abs(last.exposure) < 1 else ""
    return f"{'▲ long' if side > 0 else '▼ short'}{share.replace('%', ' %')}"


def held_back(last: BarDecision) -> bool:
    """Whether the strategy wants in and its filters stand in the way."""
    return last.state is not None and bool(last.state.side) and not last.state.inside


def order_of(work: Work, last: BarDecision | None) -> Order | None:
    """The newest order that this decision became."""
    if last is None or not last.signal_id:
        return None
    return next((order for order in work.made if order.request.signal_id == last.signal_id), None)


def in_vain(order: Order | None) -> str:
    """Why an order came to nothing; '' for any other."""
    if order is None or order.status not in adopting.REFUSED:
        return ""
    return f"{HOLDS} order {wording.STATES[order.status]}: {' '.join(order.reasons)}".strip(": ")


def waits_for(work: Work, symbol: str, last: BarDecision | None, order: Order | None) -> str:
    """What must come before anything is done, in a few words."""
    if work.adoption.state is State.PAUSED:
        return "somebody to resume it"
    if last is None:
        return "its first closed bar"
    if order is not None and order.open:
        return f"its order: {wording.STATES[order.status]}"
    if last.done is Done.MISSED:
        return "the next bar in time"
    if last.done is Done.SHADOW:
        return "a higher rung: nothing is ordered here"
    if last.done is Done.NOT_OURS:
        return "a person's position to be closed"
    if held_back(last) and last.state is not None:
        left = last.state.waits
        return f"its filters, {left} more bar{'' if left == 1 else 's'}" if left else NOT_LET_IN
    if in_vain(order):
        return "another signal: see why"
    return "a reason to close" if work.held.get(symbol) else "a signal"


def line(last: BarDecision | None) -> str:
    """The strategy's own word, then each filter's, in one line; first those that hold it back."""
    if last is None:
        return NO_BAR
    own = last.said if last.done is not Done.HELD else _AS_BEFORE.sub("", last.said, count=1)
    if last.verdicts and own == last.said:  # what held it back is said by the filters themselves
        own = own[own.find("Wants ") :] if "Wants " in own else own
    return " · ".join([*([own.strip()] if own.strip() else []), *map(verdict, sorted(last.verdicts, key=_passes))])


def _passes(said: Said) -> bool:
    return said.passes


def verdict(said: Said) -> str:
    """`✔ volume 50/60 passes: volume 1,240,000 is above …`"""
    return f"{PASSES} {said.name} passes: {said.why}" if said.passes else f"{HOLDS} {said.name} holds back: {said.why}"


def clock_of(moment: datetime, zone: str, interval: str = "5m") -> str:
    """A bar by its open."""
    local = wording.local(moment, zone)
    return f"{local:%a %d %b}" if interval == "1d" else f"{local:%d %b %H:%M}"


def _next(app: Open, one: Adoption, symbol: str, now: datetime) -> str:
    found = bot_reading.next_close(symbol, one.interval, now) if one.state is State.WORKING else None
    return clock_of(found, app.zone) if found else wording.NOTHING


COLUMNS = {
    "Symbol": st.column_config.TextColumn(width=70, pinned=True),
    "Strategy": st.column_config.TextColumn(width=190),
    "Holds": st.column_config.TextColumn(alignment="right", width=60),
    "Wants": st.column_config.TextColumn(width=75),
    "Waits for": st.column_config.TextColumn(width=200),
    "Why": st.column_config.TextColumn(
        width=560, help="The strategy's own word on its last closed bar, then its filters'"
    ),
    "Last bar": st.column_config.TextColumn(width=100, help="By its open"),
    "Next close": st.column_config.TextColumn(width=100, help="When the next bar closes that it is asked about"),
}


@st.fragment(run_every=2)
def symbols(app: Open) -> None:
    """What every symbol waits for, and the last decisions on one of them."""
    dialogs.step_out()
    try:
        found = bot_reading.works()
        if not found:
            return
        table = table_of(app, found)
        shown = _found(table)
        if table["Strategy"].nunique() == 1:
            shown = shown.drop(columns="Strategy")
        height = 560 if len(shown) > 14 else "auto"
        st.dataframe(shown, hide_index=True, key="bot_symbols", column_config=COLUMNS, height=height)
        st.caption(_count(found, table, shown))
        _decisions(app, found)
    except DeskError as error:
        st.error(wording.plain(error), icon=":material/error:")


def _found(table: pd.DataFrame) -> pd.DataFrame:
    """Those rows in which the looked for words stand."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        sought = st.text_input(
            "Find", key="bot_find", placeholder="A symbol, or a word: volume, held, SMA", width=290, bind="query-params"
        )
    words = str(sought or "").lower().split()
    if not words:
        return table
    text = table.agg(lambda row: " ".join(map(str, row)).lower(), axis=1)
    return table[text.map(lambda whole: all(word in whole for word in words))]


def _count(found: Sequence[Work], table: pd.DataFrame, shown: pd.DataFrame) -> str:
    held = sum(len(work.held) for work in found)
    back = sum(held_back(last) for work in found for last in work.decided.values())
    said = f"{len(table)} symbol{'' if len(table) == 1 else 's'}, {held} held, {back} wanted and held back by filters"
    return said if len(shown) == len(table) else f"{len(shown)} of {said}"


def _decisions(app: Open, found: Sequence[Work]) -> None:
    """The last decisions on one symbol, each with its words in full."""
    of = {_name(work, symbol): (work, symbol) for work in found for symbol in work.adoption.symbols}
    label = f"The last {LAST} decisions on a symbol"
    with st.expander(label, icon=":material/history:", key="bot_last", on_change="rerun") as opened:
        if not opened.open:
            return
        chosen = st.selectbox("Symbol", list(of), key=_AT, width=340)
        if chosen is None:
            return
        work, symbol = of[chosen]
        st.dataframe(decided(app, work.adoption, symbol), hide_index=True, key="bot_decisions", column_config=_DECIDED)


def _name(work: Work, symbol: str) -> str:
    return f"{symbol} · {work.adoption.strategy} {work.adoption.id}"


def decided(app: Open, one: Adoption, symbol: str) -> pd.DataFrame:
    """The newest decisions on a symbol, newest first."""
    found = decisions(bootstrap.trading().reader, one.id, symbol, LAST)
    rows = [
        {
            "Bar": clock_of(each.bar_time, app.zone, one.interval),
            "Wants": wants(each),
            "Became": became(each),
            "Holds": _change(each.held, each.wanted),
            "Why": line(each),
        }
        for each in found
    ]
    return pd.DataFrame(rows, columns=list(_DECIDED))


_DECIDED = {
    "Bar": st.column_config.TextColumn(width=100),
    "Wants": st.column_config.TextColumn(width=80),
    "Became": st.column_config.TextColumn(width=110),
    "Holds": st.column_config.TextColumn(alignment="right", width=90),
    "Why": st.column_config.TextColumn(width=720),
}


def became(each: BarDecision) -> str:
    """What became of a bar, in a word."""
    if each.done is Done.HELD and held_back(each):
        return "held back"
    return {Done.ORDERED: "order", Done.SHADOW: "written down"}.get(each.done, str(each.done))


def _change(held: Decimal, wanted: Decimal) -> str:
    if held == wanted:
        return wording.quantity(held)
    return f"{wording.quantity(held)} → {wording.quantity(wanted)}"
