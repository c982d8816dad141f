"""Keys and their companions on a page: what is set, where, and a form to set it. `key_form(app, "email")` draws the
whole of one group (`kept_keys.GROUPS`).

The rule: what is typed goes to `POST /auth/keys` and never through Streamlit; of a secret only its end comes back.
"""

from __future__ import annotations

import re

import streamlit as st

import bootstrap
import settings as settings_file
from desk import keys
from desk.authority import Deed
from desk.keys import Shown
from domain.errors import AccountError, DeskError
from ui import roles, sign_in, wording
from ui.private_post import Asked, Done, route
from ui.sealed_form import Field, sealed_form
from ui.session import Open

POST = "/auth/keys"
_WRONG, _DONE = "keys_wrong", "keys_done"
RESTART = "Start the dashboard, and an engine of its own where one runs, again; till then they go on as they were."
_SPELLED = re.compile(r"[A-Z][A-Z_]+[A-Z]")
_UNCHANGED = ("", "as it is")


def key_form(app: Open, group: str) -> None:
    """What is set of this group and where, and the fields for what can be set here."""
    if not app.may(Deed.KEYS):
        roles.said(Deed.KEYS, f"keys_{group}")
        return
    try:
        rows = keys.shown(group)
    except DeskError as error:
        st.error(wording.plain(str(error)), icon=":material/error:")
        return
    _unreadable(group)
    _standing(rows, group)
    if said := st.session_state.pop(f"{_DONE}_{group}", None):
        st.info(wording.plain(said), icon=":material/check:")
    if said := st.session_state.pop(f"{_WRONG}_{group}", None):
        st.error(wording.plain(said), icon=":material/error:")
    if roles.said(Deed.KEYS, f"keys_{group}"):
        return
    if fields := [_field(row) for row in rows if row.can_be_typed]:
        sealed_form(POST, fields, "Keep", key=f"keys_form_{group}", hidden={"group": group})


def doubts(app: Open) -> None:
    """What may be meant otherwise in `.env`, for who can mend it."""
    if app.may(Deed.KEYS):
        for said in settings_file.doubts():
            st.caption(f":material/warning: {wording.plain(said)}")


def _standing(rows: list[Shown], group: str) -> None:
    """What is set, and where."""
    told = [row for row in rows if row.source]
    if not told:
        return
    st.markdown("\n".join(f"- **{row.label}** · {_end(row)} · :gray[{_where(row)}]" for row in told))
    here = [row for row in told if row.source == "here"]
    if not here or roles.why_not(Deed.KEYS):
        return
    with st.popover("Forget", icon=":material/delete:"):
        st.write("What is forgotten must be typed again.")
        for row in here:
            key = f"keys_forget_{group}_{row.name}"
            st.button(f"Forget {row.label.lower()}", key=key, on_click=_forget, args=(row.name, group))


def _end(row: Shown) -> str:
    value = wording.plain(row.value) or "nothing"
    return f"ends {value}" if row.secret and row.value else value


def _where(row: Shown) -> str:
    return "kept on this machine, encrypted" if row.source == "here" else f"set by {row.source}, which wins"


def _field(row: Shown) -> Field:
    choices = [_UNCHANGED, *((one, one) for one in row.choices)] if row.choices else ()
    now = row.value if row.value and not row.secret else ""
    kept = "kept; type another to replace it" if row.source == "here" else ""
    return Field(
        row.spelled,
        row.label,
        kind="password" if row.secret else "text",
        autocomplete="off" if not row.secret else "new-password",
        placeholder=now or kept,
        hint=wording.sentence("; ".join(filter(None, [f"now {row.value}" if row.choices else "", row.hint])), ""),
        choices=choices,
        needed=False,
    )


def _unreadable(group: str) -> None:
    """What is kept and cannot be used is said, and nothing is written over it unasked."""
    problem = settings_file.kept_problem()
    if not problem:
        return
    st.error(wording.plain(f"{wording.sentence(problem)} The desk goes on without them."), icon=":material/lock:")
    with st.popover("Begin anew without them"):
        st.write("What is kept now is set aside, not deleted. The keys must then be typed again.")
        st.button("Set it aside", key=f"keys_aside_{group}", on_click=_set_aside, args=(group,))


def _set_aside(group: str) -> None:
    try:
        sign_in.must(Deed.KEYS)
        keys.begin_anew()
    except DeskError as error:
        st.session_state[f"{_WRONG}_{group}"] = str(error)


def _forget(name: str, group: str) -> None:
    try:
        sign_in.must(Deed.KEYS)
        keys.forget(name)
        st.session_state[f"{_DONE}_{group}"] = f"{keys.LABELS[name]} is forgotten. {_heard(group)}"
    except DeskError as error:
        st.session_state[f"{_WRONG}_{group}"] = str(error)


def _keep(asked: Asked) -> Done:
    asked.must(Deed.KEYS)
    group = asked.text("group")
    typed = {name.lower(): value for name, value in asked.fields.items() if name != "group"}
    try:
        changed = keys.keep(group, typed)
    except DeskError as error:
        raise AccountError(named(str(error))) from None
    if not changed:
        return Done("Nothing was typed, so nothing was changed.")
    return Done(f"Kept: {', '.join(keys.LABELS[name] for name in changed)}. {_heard(group)}".strip())


def named(text: str) -> str:
    """A text with the settings of `.env` in it by the names that the forms have for them."""
    return _SPELLED.sub(lambda found: keys.LABELS.get(found[0].lower(), found[0]), text)


def _heard(group: str) -> str:
    """Let the desk work with what changed, where that is safe; a sentence about what is left to do."""
    if group != "etrade":
        return "It counts from the next message on."
    running = bootstrap.start()
    if running.settings.trading == "etrade":
        return RESTART
    if running.settings.data_source != "etrade":
        return "Choose E*TRADE under Data source to use it."
    try:
        bootstrap.choose_source("etrade")
    except DeskError as error:
        return f"The desk that runs cannot be opened with it and goes on with what it had: {error}"
    return "The desk was opened with it. Sign in at E*TRADE."


ROUTES = [route(POST, _keep)]
