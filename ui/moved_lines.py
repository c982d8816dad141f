"""A line that was dragged on the chart and applied: asked of the engine under the key its draft was given."""

from __future__ import annotations

from typing import Any

import streamlit as st

from domain.commands import Kind
from ui.asking import ask, failed
from ui.session import Open

CHART, ACCOUNT = "desk_chart", "desk_account"
_ASKED, _MOST = "desk_moves", 8


def callbacks(app: Open) -> dict[str, Any]:
    """What `live_chart` needs beside what it shows: whose orders, and what to do with a line that was moved."""
    held = not app.may(Kind.PROTECT)
    account = st.session_state.get(ACCOUNT) or ""
    return {"account": account, "on_move": ask_for_move, "failed": failed_moves(), "held": held}


def ask_for_move() -> None:
    """The chart's callback."""
    moved = st.session_state[CHART].moved
    if not moved:
        return
    key, kind, payload = read_move(moved)
    st.session_state[_ASKED] = [*(k for k in st.session_state.get(_ASKED, []) if k != key), key][-_MOST:]
    ask(kind, payload, key)


def read_move(moved: dict[str, Any]) -> tuple[str, Kind, dict[str, Any]]:
    """The key, kind and payload of a moved line: a stop or target is the position's protection, any other an order."""
    field, price = str(moved["field"]), str(moved["price"])
    if moved["kind"] == "protect" and field in ("stop", "target"):
        return str(moved["key"]), Kind.PROTECT, {"account": moved["account"], "symbol": moved["symbol"], field: price}
    if moved["kind"] == "change" and field in ("limit", "stop"):
        return str(moved["key"]), Kind.CHANGE, {"order": moved["order"], field: price}
    raise ValueError(f"a line of the chart cannot ask for {moved['kind']} {field}")


def failed_moves() -> dict[str, str]:
    """Moves that never reached the inbox, and why; by key."""
    return {key: said for key in st.session_state.get(_ASKED, []) if (said := failed(key))}
