"""What somebody is told of: each wish with its switch, changed, removed and put back."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import streamlit as st

from desk.authority import Deed
from desk.subscriptions import Subscription
from domain.errors import DeskError
from ui import sign_in, telling, wording
from ui.telling import Panel

ALWAYS, EDGE = "Each time", "With an edge above the base rate"


def everything(here: Panel) -> None:
    """Each with its switch, the way to change it and the way to remove it."""
    symbol, kept = here.symbol, here.app.people.subscriptions()
    shown = [one for one in kept if not symbol or one.symbol in (symbol, "")]
    st.markdown(f"**What I am told{f' about {wording.plain(symbol)}' if symbol else ''}**")
    if not shown:
        st.info(
            "Nothing yet. Choose what you want to hear of, look at what followed it so far, and press Tell me.",
            icon=":material/notifications_none:",
        )
    for one in reversed(shown):
        _row(here, one)
    _undo(here)
    if others := len(kept) - len(shown):
        st.caption(f"And {others} about other symbols: Alerts → My subscriptions.")


def _row(here: Panel, one: Subscription) -> None:
    with st.container(key=f"tell_row_{here.place}_{one.id}", gap=None):
        key = here.key(f"on_{one.id}")
        st.session_state[key] = one.on
        words = wording.plain(one.words)
        st.toggle(words if one.on else f":gray[{words} (off)]", key=key, on_change=_switch, args=(here, one))
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(wording.plain(_reach(here, one)))
            st.button(
                "Change",
                key=here.key(f"change_{one.id}"),
                type="tertiary",
                icon=":material/edit:",
                on_click=_edit,
                args=(here, one),
                disabled=here.symbol != "" and not one.symbol,
                help="Alerts → My subscriptions" if here.symbol and not one.symbol else None,
            )
            st.button(
                "Remove",
                key=here.key(f"remove_{one.id}"),
                type="tertiary",
                icon=":material/delete:",
                on_click=_remove,
                args=(here, one),
            )


def _reach(here: Panel, one: Subscription) -> str:
    """By what, and which of it reaches nobody."""
    chosen = here.way(one)
    if not chosen:
        return "by no channel at all"
    reached = here.reaching(one)
    missed = [name for name in chosen if name not in reached]
    if not reached:
        return f"by {telling.listed(chosen)}: none of them reaches you now"
    lost = f" ({telling.listed(missed)}: not usable now)" if missed and one.channels else ""
    return f"by {telling.listed(reached)}{lost}"


def _switch(here: Panel, one: Subscription) -> None:
    try:
        sign_in.must(Deed.OWN_CHOICES)
        here.app.people.all.switch(one.id, bool(here.value(f"on_{one.id}")), one.person)
        here.drop("said")
    except DeskError as error:
        here.put("said", (False, wording.sentence(str(error))))


def _remove(here: Panel, one: Subscription) -> None:
    try:
        sign_in.must(Deed.OWN_CHOICES)
        here.app.people.all.unsubscribe(one.id, one.person)
    except DeskError as error:
        here.put("said", (False, wording.sentence(str(error))))
        return
    here.put("gone", one)
    here.drop("said")
    if here.value("editing") == one.id:
        here.drop("editing")


def _undo(here: Panel) -> None:
    gone: Subscription | None = here.value("gone")
    if gone is not None:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.caption(f"Removed: {wording.plain(gone.words)}")
            st.button("Undo", key=here.key("undo"), icon=":material/undo:", on_click=_back, args=(here, gone))


def _back(here: Panel, gone: Subscription) -> None:
    try:
        sign_in.must(Deed.OWN_CHOICES)
        kept = here.app.people.all.subscribe(gone)
        here.app.people.all.switch(kept.id, gone.on, gone.person)
    except DeskError as error:
        here.put("said", (False, wording.sentence(str(error))))
        return
    here.drop("gone")


def _edit(here: Panel, one: Subscription) -> None:
    """In a callback: the fields say what this one says."""
    values: dict[str, Any] = {"kind": one.kind, "symbol": one.symbol, "editing": one.id}
    if one.pattern:
        values["pattern"] = one.pattern
        values["when"] = EDGE if one.judged else ALWAYS
        values["edge"], values["confidence"] = one.least_edge_bps or 0.0, round(one.least_confidence * 100)
    if one.level is not None:
        values["level"] = _plain(one.level)
    if one.timeframe:
        values["tf"] = one.timeframe
    values |= {f"by_{state.name}": state.name in one.channels for state in here.states}
    for name, value in values.items():
        here.put(name, value)
    here.drop("said")


def _plain(level: Decimal) -> str:
    return f"{level.normalize():f}"
