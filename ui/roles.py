"""What is worth offering to who looks, and the calm sentence in its place where it is not.

The rule: this is courtesy. The engine decides on a command, and `sign_in.must` on what a page does by itself.
"""

from __future__ import annotations

import streamlit as st

from desk.authority import DEEDS, STOPS, Deed, Role
from domain.commands import Kind
from domain.errors import DeskError
from ui import sign_in

OVER = "Your sign-in is over: load this page anew to sign in again."
_NOT: dict[Kind | Deed, str] = {
    Kind.PREVIEW: "places no orders",
    Kind.PLACE: "places no orders",
    Kind.CANCEL: "cancels no orders",
    Kind.CANCEL_ALL: "cancels no orders",
    Kind.CHANGE: "changes no orders",
    Kind.CLOSE: "closes and protects no positions",
    Kind.PROTECT: "closes and protects no positions",
    Kind.KILL: "does not stop trading",
    Kind.DISARM: "does not disarm",
    Kind.ADOPT: "puts no strategy to work",
    Kind.RETIRE: "retires no strategy",
    Kind.PROMOTE: "promotes no strategy",
    Kind.DEMOTE: "demotes no strategy",
    Kind.PAUSE_STRATEGY: "pauses no strategy",
    Kind.RESUME_STRATEGY: "lets no strategy go on",
    Kind.RE_ARM: "does not let trading go on",
    Kind.RESET_BREAKER: "resets no breaker",
    Kind.SET_LIMIT: "changes no limits",
    Kind.SIGN_IN: "does not sign in to the broker",
    Kind.PICK_ACCOUNT: "picks no account",
    Kind.ARM: "does not arm",
    Kind.ACCEPT: "decides no differences",
    Kind.SETTLE: "decides no differences",
    Deed.RESEARCH: "starts and removes no backtests and no trainings",
    Deed.MODELS: "changes no models",
    Deed.DATA_SOURCE: "does not choose the data source",
    Deed.KEYS: "changes no keys",
    Deed.CHANNELS: "does not change how people are told",
    Deed.PEOPLE: "changes no people",
    Deed.BACKUPS: "makes and reads no backups",
}


def why_not(what: Deed | Kind) -> str:
    """Why it is of no use to ask for this now, in a sentence; '' where it may be asked. It never raises."""
    try:
        if not sign_in.needed():
            return ""
        signed = sign_in.who()
    except DeskError:
        return sign_in.UNREADABLE
    if signed is None:
        return OVER
    if not sign_in.may(signed, what):
        begin = "You look on: the" if signed.role is Role.VIEWER else "The"
        return f"{begin} role {signed.role} {_NOT.get(what, f'may not {what}')}."
    return "" if what in STOPS or what in DEEDS[Role.VIEWER] else sign_in.idle_words(signed)


def said(what: Deed | Kind, key: str) -> bool:
    """Whether it is of no use to ask for this now: then the sentence stands there, and where a password mends it, the
    way to give it. `key` is the place's own."""
    why = why_not(what)
    if not why:
        return False
    st.caption(f":material/visibility: {why}")
    if "sign in again" in why.lower():
        sign_in.way_in(key)
    return True
