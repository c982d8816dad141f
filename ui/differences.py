"""Where ledger and broker disagree, and orders of which it is not known whether they stand: what is known, what a
person can decide. The engine decides again before it does anything: what changed meanwhile is refused."""

from __future__ import annotations

from typing import Any

import streamlit as st

import bootstrap
from desk.records import EngineStatus
from domain.commands import Kind
from ui import dialogs, standing, wording
from ui.session import Open
from ui.standing import Difference, Uncertain

WHY = "Write why: the audit keeps it beside your name."
NONE = ""  # the broker's id of "none of these"


def heard() -> EngineStatus | None:
    """The engine's last word; None on a desk that has no broker to differ from."""
    trading = bootstrap.trading()
    return trading.reader.engine() if trading.place.needs_arming else None


# Differences


@st.fragment(run_every=2)
def cards(app: Open, account: str) -> None:
    """A card for each difference, renewed every two seconds; nothing where all is the same."""
    dialogs.step_out()
    for number, one in enumerate(standing.differences(heard(), account)):
        _card(app, one, f"{number}_{one.about}")


def _card(app: Open, one: Difference, key: str) -> None:
    with st.container(border=True, key=f"diff_card_{key}"):
        said, figures, button = st.columns([5, 4, 2], vertical_alignment="center")
        with said:
            st.markdown(f":red[:material/difference:] **{wording.plain(one.name)}: ledger and E\\*TRADE differ**")
            if told := " ".join(wording.sentence(text) for text in (one.said, one.hint) if text):
                st.write(wording.plain(told))
        with figures, st.container(horizontal=True):
            st.metric("This desk", one.figure(one.here))
            st.metric("E*TRADE", one.figure(one.there))
        if app.may(Kind.ACCEPT):
            button.button(
                "Take E\\*TRADE's figure…",
                key=f"diff_take_{key}",
                width="stretch",
                on_click=dialogs.soon,
                args=("accept_difference",),
                kwargs={"account": one.account, "about": one.about, "here": one.here, "there": one.there},
            )


@dialogs.dialog
@st.dialog("Take E*TRADE's figure")
def accept_difference(app: Open, key: str, account: str, about: str, here: str, there: str) -> None:
    one = Difference(account, about, here, there, "", "")
    st.write(f"**{wording.plain(one.name)}** in {wording.plain(account)}: {one.figure(here)} → **{one.figure(there)}**")
    st.write(
        "The ledger takes over what E\\*TRADE says. No order is sent. Profits count from the new figure; for shares, "
        "what was paid for all of them stays the same."
    )
    st.caption(
        "Only where E\\*TRADE is right: a split, a dividend, a transfer, or a trade made on its web site. If it is "
        "wrong, close this and ask E\\*TRADE."
    )
    st.text_input("Why E*TRADE is right", key=f"diff_reason_{key}", max_chars=200)
    payload = _accepting(one, key)
    dialogs.confirm(
        f"Take {one.figure(there)} for {one.name}",
        Kind.ACCEPT,
        payload,
        key,
        now=lambda: _accepting(one, key),
        why_not="" if payload["reason"] else WHY,
    )


def _accepting(one: Difference, key: str) -> dict[str, Any]:
    reason = st.session_state.get(f"diff_reason_{key}", "").strip()
    return {"account": one.account, "about": one.about, "here": one.here, "there": one.there, "reason": reason}


@st.fragment(run_every=5)
def outside(account: str) -> None:
    """Shares of others in the same account, in one quiet line."""
    found = standing.outside(heard(), account)
    if found:
        listed = ", ".join(f"{wording.quantity(one.quantity)} {one.symbol}" for one in found)
        st.caption(
            f":material/person: Bought outside this desk: {wording.plain(listed)}. Counted, never touched: no stop and "
            "no order of this desk is about them."
        )


# Orders that are not known yet


def not_known(app: Open, account: str, key: str) -> None:
    """A card for each, inside a part that ticks; `key` tells apart the lists that show them."""
    for one in standing.uncertain(heard(), account):
        with st.container(border=True, key=f"{key}_unknown_{one.order}", horizontal=True, vertical_alignment="center"):
            st.markdown(f":orange[:material/help:] {wording.plain(standing.uncertain_words(one, app.zone))}")
            if one.frozen and app.may(Kind.SETTLE):
                st.button(
                    "Say which it is…",
                    key=f"{key}_settle_{one.order}",
                    on_click=dialogs.soon,
                    args=("settle_order",),
                    kwargs={"order_id": one.order},
                )


@dialogs.dialog
@st.dialog("What became of this order", width="medium")
def settle_order(app: Open, key: str, order_id: str) -> None:
    one = next((one for one in standing.uncertain(heard()) if one.order == order_id), None)
    if one is None or not one.frozen:
        st.info("Nothing is left to say here: it is settled, or the engine is still looking.")
        return
    st.write(f"**{wording.plain(one.words)}** was sent, and no answer came. E\\*TRADE lists these like it:")
    names = {**dict(one.candidates), NONE: "None of these: it never reached E*TRADE"}
    choice = st.radio(
        "Which one is it?",
        list(names),
        index=None,
        format_func=lambda broker_id: _candidate(broker_id, names[broker_id]),
        key=f"settle_choice_{key}",
    )
    st.text_input("How do you know?", key=f"settle_reason_{key}", max_chars=200)
    st.caption(_then(choice))
    payload = _settling(one, key)
    why_not = "Choose one first." if payload is None else "" if payload["reason"] else WHY
    label = "None of these" if choice == NONE else f"It is order {choice}" if choice else "Say so"
    dialogs.confirm(label, Kind.SETTLE, payload, key, now=lambda: _settling(one, key), why_not=why_not)


def _candidate(broker_id: str, said: str) -> str:
    return wording.plain(said if broker_id == NONE else f"Order {broker_id}: {said}" if said else f"Order {broker_id}")


def _then(choice: str | None) -> str:
    if choice is None:
        return "Compare with the list of orders on E\\*TRADE's web site before you choose."
    if choice == NONE:
        return "The desk counts it as never placed."
    return "The desk takes it for its own: its fills count, and it can be cancelled and changed."


def _settling(one: Uncertain, key: str) -> dict[str, Any] | None:
    choice = st.session_state.get(f"settle_choice_{key}")
    if choice is None:
        return None
    reason = st.session_state.get(f"settle_reason_{key}", "").strip()
    return {"order": one.order, "broker_id": choice, "reason": reason}
