"""One question at a time in a dialog: what will happen, and the one button that asks the engine for it.

A wish gets its key when its dialog opens, so that a double click asks for it once. What is sent is what was last
drawn: where a field changed in the same breath as the click, nothing is sent and the person looks again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import streamlit as st

from domain.commands import Kind
from ui import roles, wording
from ui.asking import ask, fate, show_fate
from ui.session import Open

Dialog = Callable[..., None]
_PENDING, _LOOK_AGAIN, _TOLD = "desk_dialog", "desk_dialog_look_again", "desk_dialog_told"
_known: dict[str, Dialog] = {}


def dialog(function: Dialog) -> Dialog:
    """One that `soon` can open by its name: it is called with the page, the key and what `soon` gave."""
    _known[function.__name__] = function
    return function


def soon(name: str, **about: Any) -> None:
    """In a callback: open this dialog in the next run."""
    st.session_state[_PENDING] = (name, uuid4().hex, about)
    st.session_state.pop(_LOOK_AGAIN, None)


def show(app: Open) -> None:
    """Near the top of a page, before anything that ticks: open the dialog that was asked for, once."""
    if pending := st.session_state.pop(_PENDING, None):
        name, key, about = pending
        _known[name](app, key, **about)


def step_out() -> None:
    """First in a part that ticks: a dialog is the whole page's to open."""
    if _PENDING in st.session_state:
        st.rerun()


def confirm(
    label: str,
    kind: Kind,
    payload: dict[str, Any] | None,
    key: str,
    *,
    now: Callable[[], dict[str, Any] | None] | None = None,
    why_not: str = "",
) -> None:
    """The button that asks, and then what became of it. `payload` is what was drawn, `now` what the fields say when it
    is pressed; `why_not` disables it and says why."""
    with st.empty().container():
        if fate(key).state in ("queued", "done", "refused"):
            _outcome(key)
        else:
            refused = roles.said(kind, f"ask_{key}")
            _button(label, kind, None if refused else payload, key, now, "" if refused else why_not)


def _button(
    label: str,
    kind: Kind,
    payload: dict[str, Any] | None,
    key: str,
    now: Callable[[], dict[str, Any] | None] | None,
    why_not: str,
) -> None:
    if st.session_state.get(_LOOK_AGAIN) == key:
        st.info("A field changed as you pressed. Nothing was sent: look again and press once more.")
    st.button(
        label,
        key=f"desk_ask_{key}",
        type="primary",
        width="stretch",
        disabled=bool(why_not) or payload is None,
        help=why_not or None,
        on_click=_ask,
        args=(kind, payload, key, now),
    )
    show_fate(key)
    if why_not:
        st.caption(wording.plain(why_not))


def _ask(kind: Kind, payload: dict[str, Any], key: str, now: Callable[[], dict[str, Any] | None] | None) -> None:
    if now is not None and now() != payload:
        st.session_state[_LOOK_AGAIN] = key
        return
    ask(kind, payload, key)


@st.fragment(run_every=0.5)
def _outcome(key: str) -> None:
    """The fate while it is waited for; a wish that was done says so and closes the dialog."""
    now = fate(key)
    if now.state == "queued":
        st.info(wording.plain(now.said), icon=":material/hourglass_top:")
        return
    if now.state == "done" and st.session_state.get(_TOLD) != key:
        st.session_state[_TOLD] = key
        st.toast(wording.plain(now.said or "Done."), icon=":material/check:")
        st.rerun()
    show_fate(key)
