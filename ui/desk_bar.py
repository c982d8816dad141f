"""The desk on every page: how it stands, and the switch that stops it.

Drawn before anything else of a page, so that it works while the rest is broken. It never raises.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import streamlit as st

import bootstrap
import settings as settings_file
from desk.halt import halt_level, write_halt
from domain.clock import speed_of
from domain.commands import Kind
from domain.trading_state import KillLevel
from ui import demo_sign, roles, sign_in, standing, wording
from ui.asking import ask, engine_runs, failed, fate, show_fate
from ui.components import desk_panel
from ui.desk_state import engine_words, trading_words
from ui.doorkeeper import LOGOUT
from ui.live import desk_answer
from ui.palettes import DEFAULT, PALETTES, Palette
from ui.sealed_form import signed_out_by

SIDEBAR_WIDTH = 232
ACCOUNT_KEY = "desk_account"  # where a page keeps which account is looked at
PRESSED = "pressed in the dashboard"
FLATTEN_WORD = KillLevel.FLATTEN.name
NAMES = {
    KillLevel.PAUSE: "Pause",
    KillLevel.CANCEL: "Cancel entries",
    KillLevel.FLATTEN: "Flatten",
    KillLevel.HALT: "Halt",
}
_PENDING, _FILE, _CHOSEN, _GO = "desk_bar_dialog", "desk_halt_file", "desk_kill_wishes", "desk_bar_go"
_log = logging.getLogger(__name__)


def draw() -> None:
    """The sidebar's panel, banner and strip above the page, and the dialog that was asked for."""
    if go := st.session_state.pop(_GO, None):
        _leave_for(go)
    colours, account = _colours(), str(st.session_state.get(ACCOUNT_KEY) or "")
    told = _desk_now(account)
    demo_sign.draw()
    with st.sidebar:
        desk_panel("side", account, colours=colours, key="desk_side", on_press=_presses("desk_side"), told=told)
        if not _looks_on(Kind.KILL):
            st.button(
                "Stop trading",
                key="desk_stop",
                shortcut="Ctrl+Shift+X",
                width="stretch",
                on_click=_soon,
                args=("stop",),
            )
        _signed_in()
    if first := _banner():
        on_press = _presses("desk_banner")
        desk_panel("banner", account, colours=colours, key="desk_banner", on_press=on_press, first=first)
    on_press, stops = _presses("desk_strip_top"), not _looks_on(Kind.KILL)
    desk_panel("strip", account, colours=colours, key="desk_strip_top", on_press=on_press, stops=stops, told=told)
    if pending := st.session_state.pop(_PENDING, None):
        name, key = pending
        (_re_arm if name == "arm" else _stop)(key)


def _signed_in() -> None:
    """Who looks, and the way out; on a desk without accounts, for whom it opens and where that is changed."""
    try:
        signed, asks = sign_in.who(), sign_in.needed()
    except Exception:  # noqa: BLE001 - the page says itself what is broken
        return
    if signed is None:
        if not asks:
            _open_to_this_machine()
        return
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="desk_who"):
        st.caption(f"{wording.plain(signed.name)} · {signed.role}")
        signed_out_by(LOGOUT, "Sign out", key="desk_sign_out")
    if signed.idle:
        st.caption(sign_in.idle_words(signed))
        sign_in.way_in("bar")


def _open_to_this_machine() -> None:
    st.caption("No sign-in yet: this desk opens for whoever sits at this machine, and for nobody else.")
    st.button("Make it ask who you are", key="desk_first_owner", width="stretch", on_click=_go, args=("People",))


def _go(place: str) -> None:
    st.session_state[_GO] = place


def _looks_on(kind: Kind) -> bool:
    """Whether this is certainly not for who looks. Where that cannot be known the switch is there."""
    try:
        return not sign_in.may(sign_in.who(), kind)
    except Exception:  # noqa: BLE001 - to stop must work whatever is broken
        return False


def _only_looks(kind: Kind, key: str) -> bool:
    """The same, and a sentence that says so."""
    return _looks_on(kind) and roles.said(kind, f"bar_{key}")


def _colours() -> Palette:
    try:
        chosen = bootstrap.people().preference("palette", None, sign_in.person(sign_in.who()))
        return PALETTES[chosen or DEFAULT]
    except Exception:  # noqa: BLE001 - the bar must be there whatever is broken
        return PALETTES[DEFAULT]


def mark() -> str:
    """What the browser tab's title begins with, on a desk whose orders leave this machine."""
    try:
        word = standing.MARKS.get(bootstrap.trading().place.tone)
    except Exception:  # noqa: BLE001 - the page says itself what is broken
        return ""
    return f"{word} · " if word else ""


def _desk_now(account: str) -> dict[str, Any] | None:
    """The desk as it stands while the page is drawn, so that what is said of it finds its place at once."""
    try:
        told: dict[str, Any] = orjson.loads(desk_answer(bootstrap.trading(), account, ""))["state"]
    except Exception:  # noqa: BLE001 - the browser asks by itself, and says what is broken
        return None
    return told


def _banner() -> dict[str, Any] | None:
    """What the banner says until the browser has asked for itself; None on paper."""
    try:
        trading = bootstrap.trading()
        if not trading.place.needs_arming:
            return None
        return standing.banner(trading.place, trading.reader.engine(), not engine_runs(trading))
    except Exception:  # noqa: BLE001 - a ledger that cannot be read has no engine that acts on it
        return _unread()


def _unread() -> dict[str, Any] | None:
    try:
        return standing.banner(bootstrap.trading().place, None, silent=True)
    except Exception:  # noqa: BLE001 - no desk, no banner
        return None


def _presses(component: str) -> Callable[[], None]:
    return lambda: _pressed(component)


def _pressed(component: str) -> None:
    name = str(st.session_state[component].pressed or "")
    if name.startswith("go "):
        _go(name.removeprefix("go "))
    elif name:
        _soon(name)


def _leave_for(place: str) -> None:
    """To where a button of the bar leads: a tab of the settings, or the positions."""
    if place == "positions":
        st.switch_page("pages/positions.py")
    st.switch_page("pages/settings.py", query_params={"tab": place})


def _soon(name: str) -> None:
    """Open this dialog in the next run. The command's key is made now, so that any number of clicks is one wish."""
    st.session_state[_PENDING] = (name, uuid4().hex)
    st.session_state.pop("desk_dialog", None)  # a page's own dialog that waits to open gives way: one at a time


# Stop


@st.dialog("Stop trading", icon=":material/front_hand:")
def _stop(key: str) -> None:
    if _only_looks(Kind.KILL, key) or _told(key):
        return
    _say_now()
    chosen = st.radio(
        "How far",
        list(KillLevel),
        index=1,
        format_func=lambda one: f"{int(one)} · {NAMES[one]}",
        captions=[one.means for one in KillLevel],
        key=f"desk_level_{key}",
    )
    level = chosen or KillLevel.CANCEL
    if level is KillLevel.FLATTEN:
        st.caption(_flatten_words())
        st.text_input(f"Type {FLATTEN_WORD} to confirm", key=f"desk_typed_{key}", autocomplete="off")
    st.text_input("Reason", placeholder=PRESSED, key=f"desk_reason_{key}", max_chars=200)
    if said := st.session_state.get(f"desk_wrong_{key}"):
        st.error(said, icon=":material/error:")
    st.button(
        f"Stop now: {NAMES[level].lower()}",
        type="primary",
        width="stretch",
        key=f"desk_kill_{key}",
        on_click=_kill,
        args=(key,),
    )


def _kill(key: str) -> None:
    """Ask for the chosen level; where the inbox cannot take it, leave the HALT file, which the engine obeys too."""
    if _looks_on(Kind.KILL):  # nor is a file left for them
        return
    chosen = st.session_state.setdefault(_CHOSEN, {})
    payload = chosen.get(key) or _wish(key)
    if payload is None:
        st.session_state[f"desk_wrong_{key}"] = f"Flattening sells every position: type {FLATTEN_WORD} to confirm it."
        return
    chosen[key] = payload  # the fields are gone once it was asked, and a second click means the same
    ask(Kind.KILL, payload, key)
    if failed(key):
        st.session_state[f"{_FILE}_{key}"] = _leave_file(KillLevel(payload["level"]), payload["reason"])
    else:
        st.session_state.pop(f"{_FILE}_{key}", None)


def _wish(key: str) -> dict[str, Any] | None:
    """What the fields say; None where flattening was not confirmed by its word."""
    level = KillLevel(st.session_state.get(f"desk_level_{key}", KillLevel.CANCEL))
    reason = (st.session_state.get(f"desk_reason_{key}") or "").strip() or PRESSED
    typed = (st.session_state.get(f"desk_typed_{key}") or "").strip()
    if level is not KillLevel.FLATTEN:
        return {"level": int(level), "reason": reason}
    return {"level": int(level), "reason": reason, "typed": typed} if typed == FLATTEN_WORD else None


def _leave_file(level: KillLevel, reason: str) -> str:
    """Write the HALT file and say so."""
    path = _halt_path()
    try:
        standing = halt_level([path])
        write_halt(path, max(level, standing[0]) if standing else level, reason)
    except OSError as error:
        _log.exception("the HALT file %s could not be written", path)
        return f"The file {path} could not be written either ({error}). Stop the engine by hand: end its process."
    return f"The file {path} was written instead: the engine stops at level {int(level)} as soon as it sees it."


def _halt_path() -> Path:
    """This desk's own file; where no desk opens, the one that stops every desk of this data folder."""
    try:
        return bootstrap.trading().place.halt_paths[1]
    except Exception:  # noqa: BLE001 - to stop must work whatever is broken
        return settings_file.load().data_dir / "HALT"


def _told(key: str) -> bool:
    """What became of it, once it was asked for."""
    if fate(key).state == "not asked":
        return False
    show_fate(key)
    if said := st.session_state.get(f"{_FILE}_{key}"):
        st.warning(wording.plain(said), icon=":material/warning:")
        st.button("Try again", key=f"desk_again_{key}", on_click=_kill, args=(key,), width="stretch")
    return True


def _flatten_words() -> str:
    try:
        trading = bootstrap.trading()
        engine = engine_words(trading.reader.engine(), trading.clock.now(), 0, speed_of(trading.clock))
    except Exception:  # noqa: BLE001
        return "How long flattening takes is not known: the ledger cannot be read."
    if engine["state"] != "running":
        return "No engine runs: positions are closed once one does."
    return f"Flattening takes {engine['flatten_estimate'] or 'an unknown time'}."


def _say_now() -> None:
    """How the desk stands already."""
    try:
        trading = bootstrap.trading()
        now = trading_words(trading.reader.trading_state(), halt_level(trading.place.halt_paths))
    except Exception as error:  # noqa: BLE001
        st.error(wording.plain(f"The desk cannot be read: {error}"), icon=":material/error:")
        return
    if now["stopped"]:
        st.info(_standing(now), icon=":material/info:")


def _standing(now: dict[str, object]) -> str:
    since = f" since {now['since']}" if now["since"] else ""
    said = f"{now['words']}{since} by {now['by'] or 'nobody known'}: {now['why']}."
    return wording.plain(said)


# Re-arm


@st.dialog("Trade again", icon=":material/play_arrow:")
def _re_arm(key: str) -> None:
    if _only_looks(Kind.RE_ARM, key) or _told(key):
        return
    _say_now()
    files = _halt_files()
    for path in files:
        st.warning(
            wording.plain(f"The file {path} stops the desk. While it is there, trading cannot be enabled."),
            icon=":material/warning:",
        )
        st.button(f"Remove {path.name}", key=f"desk_unhalt_{path.name}_{key}", on_click=_remove, args=(path, key))
    st.text_input("Why it is safe to trade again", key=f"desk_reason_{key}", max_chars=200)
    if said := st.session_state.get(f"desk_wrong_{key}"):
        st.error(wording.plain(said), icon=":material/error:")
    st.button("Enable trading", type="primary", width="stretch", key=f"desk_confirm_{key}", on_click=_arm, args=(key,))


def _arm(key: str) -> None:
    reason = (st.session_state.get(f"desk_reason_{key}") or "").strip()
    if not reason:
        st.session_state[f"desk_wrong_{key}"] = "Say why: the audit keeps it beside your name."
        return
    st.session_state.pop(f"desk_wrong_{key}", None)
    ask(Kind.RE_ARM, {"reason": reason}, key)


def _halt_files() -> list[Path]:
    try:
        return [path for path in bootstrap.trading().place.halt_paths if path.exists()]
    except Exception:  # noqa: BLE001 - then there is nothing to offer here
        return []


def _remove(path: Path, key: str) -> None:
    if said := roles.why_not(Kind.RE_ARM):
        st.session_state[f"desk_wrong_{key}"] = said
        return
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        st.session_state[f"desk_wrong_{key}"] = f"{path} could not be removed: {error}"
