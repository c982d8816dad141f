"""What the server makes of what a browser says: a press is carried out, whole; a tick brings no news.

Streamlit 1.67 has two habits that a trading page cannot have.

- Whoever asks for the whole page stops the run that is under way. A press that waited for its turn in that run is
  forgotten, and one that was being carried out is broken off in the middle.
- A part of a page that is renewed each second asks under the page, and with the fields, that the browser knew of when
  it asked, and is believed. On its way while somebody opens another page it leads back to the old one; a field that the
  desk has just filled is emptied again, as though a person had done it.

The rules here: what a person pressed goes along with the run that takes over; a callback is carried out to its end; a
tick renews its own part, with the fields as the desk knows them, on the page that is open, or nothing. A few methods of
Streamlit are wrapped for that. Where another release has them otherwise, `install` says so and leaves all as it is.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from streamlit import config
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.runtime.app_session import AppSession
from streamlit.runtime.scriptrunner.script_runner import ScriptRunner
from streamlit.runtime.scriptrunner_utils import script_requests
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData, ScriptRequests, ScriptRequestType
from streamlit.runtime.state.safe_session_state import SafeSessionState

_FIELDS = {"fragment_id", "fragment_id_queue", "is_auto_rerun", "widget_states", "page_script_hash", "query_string"}
_METHODS: tuple[tuple[type, str, tuple[str, ...]], ...] = (
    (AppSession, "request_rerun", ("self", "client_state")),
    (ScriptRequests, "request_rerun", ("self", "new_data")),
    (ScriptRunner, "_run_script", ("self", "rerun_data")),
    (ScriptRunner, "_maybe_handle_execution_control_request", ("self",)),
    (SafeSessionState, "on_script_will_rerun", ("self", "fresh_widget_states")),
)
_FUNCTIONS = ("_is_full_app_rerun", "_coalesce_widget_states")
_log = logging.getLogger(__name__)


def install() -> bool:
    """Once a process. False where this Streamlit is not the one that is known here."""
    if hasattr(ScriptRequests.request_rerun, "__wrapped__"):
        return True
    if missing := _unknown():
        _log.warning("presses and ticks are heard as Streamlit hears them: %s", missing)
        return False
    for owner, name, wrap in (
        (AppSession, "request_rerun", _with_what_waits),
        (ScriptRequests, "request_rerun", _ticks_bring_no_news),
        (ScriptRunner, "_run_script", _ticks_stay_on_their_page),
        (ScriptRunner, "_maybe_handle_execution_control_request", _unless_in_a_callback),
        (SafeSessionState, "on_script_will_rerun", _to_the_end),
    ):
        plain = getattr(owner, name)
        wrapped = wrap(plain)
        wrapped.__wrapped__ = plain
        setattr(owner, name, wrapped)
    return True


def _unknown() -> str:
    if lacking := _FIELDS - {f.name for f in fields(RerunData)}:
        return f"RerunData has no {', '.join(sorted(lacking))}"
    for owner, name, wanted in _METHODS:
        found = tuple(inspect.signature(getattr(owner, name, lambda: None)).parameters)
        if found[: len(wanted)] != wanted:
            return f"{owner.__name__}.{name} takes {found}"
    lacking = {name for name in _FUNCTIONS if not hasattr(script_requests, name)}
    return f"script_requests has no {', '.join(sorted(lacking))}" if lacking else ""


# Presses


def _with_what_waits(ask: Callable[[AppSession, ClientState | None], None]) -> Callable[..., None]:
    def request_rerun(self: AppSession, client_state: ClientState | None) -> None:
        whole = client_state is not None and not client_state.fragment_id
        if whole and self._scriptrunner is not None and config.get_option("runner.fastReruns"):
            waiting = _taken(self._scriptrunner._requests)
            if waiting is not None and waiting.widget_states is not None:
                both = script_requests._coalesce_widget_states(waiting.widget_states, client_state.widget_states)
                client_state, asked = ClientState(), client_state
                client_state.CopyFrom(asked)
                client_state.widget_states.CopyFrom(both)
        ask(self, client_state)

    return request_rerun


def _taken(requests: ScriptRequests) -> RerunData | None:
    """What still waited for its turn in a run that is to end now: it is had once, here or there."""
    with requests._lock:
        if requests._state is not ScriptRequestType.RERUN:
            return None
        requests._state = ScriptRequestType.STOP
        return requests._rerun_data


def _to_the_end(dispatch: Callable[..., None]) -> Callable[..., None]:
    def on_script_will_rerun(self: SafeSessionState, *args: Any, **kwargs: Any) -> None:
        runner = getattr(self._yield_callback, "__self__", None)
        if not isinstance(runner, ScriptRunner):
            dispatch(self, *args, **kwargs)
            return
        runner.in_a_callback = True
        try:
            dispatch(self, *args, **kwargs)
        finally:
            runner.in_a_callback = False

    return on_script_will_rerun


def _unless_in_a_callback(yield_: Callable[[ScriptRunner], None]) -> Callable[[ScriptRunner], None]:
    def _maybe_handle_execution_control_request(self: ScriptRunner) -> None:
        if not getattr(self, "in_a_callback", False):
            yield_(self)

    return _maybe_handle_execution_control_request


# Ticks


def _is_tick(asked: RerunData) -> bool:
    return asked.is_auto_rerun and bool(asked.fragment_id or asked.fragment_id_queue)


def _ticks_bring_no_news(ask: Callable[[ScriptRequests, RerunData], bool]) -> Callable[..., bool]:
    def request_rerun(self: ScriptRequests, new_data: RerunData) -> bool:
        if not _is_tick(new_data):
            return ask(self, new_data)
        new_data = replace(new_data, widget_states=None)
        waiting = self._rerun_data if self._state is ScriptRequestType.RERUN else None
        if waiting is None:
            return ask(self, new_data)
        if script_requests._is_full_app_rerun(waiting) or waiting.page_script_hash != new_data.page_script_hash:
            return True  # the page is about to be drawn whole, or it is another one
        kept = replace(new_data, query_string=waiting.query_string, is_auto_rerun=waiting.is_auto_rerun)
        return ask(self, kept)

    return request_rerun


def _ticks_stay_on_their_page(run: Callable[[ScriptRunner, RerunData], None]) -> Callable[..., None]:
    def _run_script(self: ScriptRunner, rerun_data: RerunData) -> None:
        if _is_tick(rerun_data):
            shown = self._pages_manager.current_page_script_hash
            if shown and rerun_data.page_script_hash not in ("", shown):
                return
            if rerun_data.widget_states is None:  # what the desk set is told the browser once, not at each tick
                self._session_state.on_script_will_rerun(None)
        run(self, rerun_data)

    return _run_script
