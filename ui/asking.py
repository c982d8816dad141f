"""How a page asks: it puts a command into the inbox and shows what became of it. It never acts by itself.

    st.button("Cancel", on_click=ask, args=(Kind.CANCEL, {"order": order.id}, key))   # `key` made when it was drawn
    show_fate(key)

Ask in a button's callback: Streamlit may break off a script at any line to run it anew, but never a callback.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

import streamlit as st

import bootstrap
from domain.commands import Command, CommandState, Kind
from domain.errors import LedgerBusy, LedgerConflict
from ui import sign_in, wording

SILENT_AFTER = timedelta(seconds=5)
WAITING = "Waiting for the engine …"
NO_ENGINE = "No engine runs: it is queued and waits for one."
NO_ENGINE_TO_STOP = "No engine runs: it is queued and will be the first thing done."
_FAILED = "desk_asked_in_vain"

FateState = Literal["not asked", "not sent", "queued", "done", "refused"]


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a command: `not asked` where nobody pressed, `not sent` where the inbox did not take it, else as
    the engine answered. `said` is a sentence for the person, `details` the engine's JSON."""

    state: FateState
    said: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settled(self) -> bool:
        """Done or refused, for good."""
        return self.state in ("done", "refused")


def ask(kind: Kind, payload: dict[str, Any], key: str) -> str:
    """Put this wish into the inbox under `key` and give the key back. The same key again is the same wish and asks
    nothing twice. It never raises: what went wrong is kept for `fate(key)` to say."""
    st.session_state.setdefault(_FAILED, {}).pop(key, None)
    try:
        bootstrap.trading().inbox.append(Command(key, kind, sign_in.actor(kind), payload))
    except Exception as error:  # noqa: BLE001 - whatever broke, a person pressed a button and must be told
        st.session_state[_FAILED][key] = _in_vain(error)
    return key


def fate(key: str) -> Fate:
    """What became of the command under `key`, as of now. It never raises."""
    if said := failed(key):
        return Fate("not sent", said)
    try:
        return fate_of(bootstrap.trading(), key)
    except Exception as error:  # noqa: BLE001 - a desk that cannot even open is something to say here
        return Fate("queued", f"The desk cannot be opened, so what became of it is not known: {error}")


def failed(key: str) -> str:
    """Why the command under `key` never reached the inbox; '' where it did, or where nobody asked."""
    return str(st.session_state.get(_FAILED, {}).get(key, ""))


def fate_of(trading: bootstrap.Trading, key: str) -> Fate:
    """The same as the ledger knows it, outside of any page. It never raises."""
    try:
        known = trading.reader.command(key)
    except Exception as error:  # noqa: BLE001 - not to know is an answer too
        return Fate("queued", f"The ledger cannot be read, so what became of it is not known: {error}")
    if known is None:
        return Fate("not asked")
    command, answer = known
    if answer.state is CommandState.QUEUED:
        unheard = NO_ENGINE_TO_STOP if command.kind is Kind.KILL else NO_ENGINE
        return Fate("queued", WAITING if engine_runs(trading) else unheard)
    return Fate("done" if answer.state is CommandState.DONE else "refused", answer.said, answer.details)


def engine_runs(trading: bootstrap.Trading) -> bool:
    """Whether the engine has shown a sign of life in the last five seconds; False where that cannot be known."""
    try:
        silence = trading.reader.heartbeat_age()
    except Exception:  # noqa: BLE001 - an engine nobody can hear is no engine
        return False
    return silence is not None and silence <= SILENT_AFTER


def show_fate(key: str) -> None:
    """Draw what became of the command under `key`, looking again each second until it is settled; nothing where nobody
    asked."""
    now = fate(key)
    if now.state == "queued":
        _watched(key)
    else:
        _draw(now)


@st.fragment(run_every=1.0)
def _watched(key: str) -> None:
    _draw(fate(key))


def _draw(now: Fate) -> None:
    said = wording.plain(now.said)
    if now.state == "queued":
        st.info(said, icon=":material/hourglass_top:")
    elif now.state == "done":
        st.success(said or "Done.", icon=":material/check:")
    elif now.state == "refused":
        st.error(f"Refused. {said}", icon=":material/block:")
    elif now.state == "not sent":
        st.error(f"Not sent. {said}", icon=":material/error:")


def _in_vain(error: Exception) -> str:
    if isinstance(error, LedgerBusy):
        return "The ledger was busy and nothing was asked. Press again."
    if isinstance(error, LedgerConflict):
        return "This button was used for something else already. Close and open it again."
    return str(error) or type(error).__name__
