"""A preview for a person: what would happen, what it costs, what the gates say, and why it may not be confirmed."""

from __future__ import annotations

from typing import Any

import streamlit as st

from desk.place import Place
from domain.instruments import Instrument
from ui import verdicts, wording


def label(told: dict[str, Any], place: Place) -> str:
    """What the button does: `Place paper order: buy 41 AAPL at market`."""
    kind = "REAL MONEY" if place.real_money else "paper"
    return f"Place {kind} order: {wording.plain(wording.order_words(told['request']))}"


def why_not(told: dict[str, Any]) -> str:
    """Why this preview cannot be confirmed; '' where it can."""
    stopped = [v["gate"] for v in verdicts.refused(told.get("verdicts") or [])]
    if stopped:
        return f"Refused by {', '.join(stopped)}: mend what is said above, then preview again."
    if told.get("broker_said"):
        return f"The broker would refuse it: {' '.join(told['broker_said'])}"
    return "" if told.get("approved") is True else "The engine does not approve it."


def show(told: dict[str, Any], what: Instrument, place: Place) -> None:
    """Everything the engine worked out, the order first and the gates last."""
    with st.container(key="tkt_card"):
        _worked_out(told, what, place)
    for said in told.get("broker_said") or []:
        st.error(f"**Broker: refused.** {wording.plain(said)}", icon=":material/block:")
    verdicts.show(told.get("verdicts") or [])


def _worked_out(told: dict[str, Any], what: Instrument, place: Place) -> None:
    st.markdown(f"**{'Real money' if place.real_money else 'Paper'}: {wording.plain(_sentence(told, what))}**")
    if sizing := told.get("sizing"):
        st.caption(wording.plain(f"Quantity {wording.quantity(told['request'].get('quantity'))}: {sizing}"))
    st.markdown("\n".join(f"- :gray[{name}] {wording.plain(value)}" for name, value in _figures(told, what)))
    if note := told.get("atr_note"):
        st.caption(wording.plain(note))


def _sentence(told: dict[str, Any], what: Instrument) -> str:
    request, estimate = told["request"], told.get("estimate") or {}
    priced = estimate.get("price") and request.get("limit") is None
    about = f", about {wording.price(estimate['price'], what)}" if priced else ""
    more = [str(request[name]) for name in ("time_in_force",) if request.get(name) not in (None, "day")]
    more += ["extended hours"] if request.get("session") == "extended" else []
    return f"{wording.order_words(request)}{about}" + (f" ({', '.join(more)})" if more else "")


def _figures(told: dict[str, Any], what: Instrument) -> list[tuple[str, str]]:
    """The lines of the card; what the engine does not know is said, not left out."""
    estimate, request = told.get("estimate") or {}, told["request"]
    lines = [
        *_money(estimate, told.get("notional")),
        ("Stop", _exit(request.get("stop_loss"), told.get("loss_at_stop"), "no stop", what, "loss")),
        ("Target", _exit(request.get("target"), told.get("gain_at_target"), "no target", what, "gain")),
    ]
    loss, gain = wording.number(told.get("loss_at_stop")), wording.number(told.get("gain_at_target"))
    if loss and gain:
        lines.append(("Reward to risk", f"{abs(gain / loss):.1f} : 1"))
    return lines


def _money(estimate: dict[str, Any], notional: object) -> list[tuple[str, str]]:
    if not estimate:
        return [("Worth", f"{wording.amount(notional)}; the broker gave no estimate")]
    before, after = (wording.amount(estimate.get(name)) for name in ("buying_power", "buying_power_after"))
    return [
        ("Cost", f"{wording.amount(estimate.get('cost'))}, of that fees {wording.amount(estimate.get('fees'))}"),
        ("Buying power", f"{before} → {after}"),
    ]


def _exit(at: object, worth: object, none: str, what: Instrument, word: str) -> str:
    if at is None:
        return none
    read = wording.number(worth)
    said = "" if read is None else f", {word} about {wording.amount(abs(read))}"
    return f"{wording.price(at, what)}{said}"
