"""What the server makes of what a browser says: a press is carried out, whole; a tick brings no news.

Streamlit 1.67 has some habits that a trading page cannot have.

- Who asks for the whole page stops the run that is under way. A press that waited for its turn in that run is
  forgotten, and one that was being carried out is broken off in the middle. What a run has said is dropped where the
  next one begins before it was heard, the address that it gave the page included.
- A part of a page that is renewed each second asks under the page, and with the fields, that the browser knew of when
  it asked, and is believed. On its way while somebody opens another page it leads back to the old one; a field that the
  desk has just filled is emptied again, as though a person had done it.
- What the desk puts into a field is told the browser with the next drawing of it. Where a tick draws the field again
  before that has gone out, it is never told: the field stays empty, and means something else here than there.

The rules here: what a person pressed goes along with the run that takes over; a callback is carried out to its end; a
run is heard out; a tick renews its own part, with the fields as the desk knows them, on the page that is open, or
nothing; and a field is told until the browser says it back. A few methods of Streamlit are wrapped for that. Where
another release has them otherwise, `install` says so and leaves all as it is.
"""

from __future__ import annotations

import inspect
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from streamlit import config
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.WidgetStates_pb2 import WidgetStates
from streamlit.runtime.app_session import AppSession, AppSessionState
from streamlit.runtime.scriptrunner.script_runner import ScriptRunner, ScriptRunnerEvent
from streamlit.runtime.scriptrunner_utils import script_requests
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData, ScriptRequests, ScriptRequestType
from streamlit.runtime.state.safe_session_state import SafeSessionState
from streamlit.runtime.state.session_state import SessionState, unpack_widget_state_value

_FIELDS = {"fragment_id", "fragment_id_queue", "is_auto_rerun", "widget_states", "page_script_hash", "query_string"}
_METHODS: tuple[tuple[type, str, tuple[str, ...]], ...] = (
    (AppSession, "request_rerun", ("self", "client_state")),
    (AppSession, "_handle_scriptrunner_event_on_event_loop", ("self", "sender", "event", "forward_msg")),
    (ScriptRequests, "request_rerun", ("self", "new_data")),
    (ScriptRunner, "_run_script", ("self", "rerun_data")),
    (ScriptRunner, "_maybe_handle_execution_control_request", ("self",)),
    (SafeSessionState, "on_script_will_rerun", ("self", "fresh_widget_states")),
    (SessionState, "reset_state_value", ("self", "user_key", "value")),
)
TRY_AGAIN_S, MOST_TRIES = 0.005, 400
MOST_TOLD = 5  # a browser that writes a value otherwise than the desk does would never say it back
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
        (AppSession, "_handle_scriptrunner_event_on_event_loop", _with_its_address),
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
        runner, put_off = self._scriptrunner, _put_off(self)
        if client_state is not None and client_state.fragment_id:
            if put_off or _ends(self):
                put_off.append(ClientState.FromString(client_state.SerializeToString()))
                if len(put_off) == 1:
                    self._event_loop.call_later(TRY_AGAIN_S, turn, self, 1)
            else:
                ask(self, client_state)
            return
        if client_state is not None:
            for earlier in put_off:  # all of the page: what was asked for before goes along
                client_state = _both(earlier.widget_states, client_state)
            if runner is not None:
                client_state = _joined(self, runner, client_state)
        put_off.clear()
        ask(self, client_state)

    def turn(self: AppSession, tries: int) -> None:
        """What was put off, in the order in which it was asked for, once the run before has been heard out."""
        put_off = _put_off(self)
        if put_off and _ends(self) and tries < MOST_TRIES:
            self._event_loop.call_later(TRY_AGAIN_S, turn, self, tries + 1)
            return
        while put_off:
            ask(self, put_off.popleft())

    return request_rerun


def _put_off(session: AppSession) -> deque[ClientState]:
    found: deque[ClientState] = session.__dict__.setdefault("put_off", deque())
    return found


def _ends(session: AppSession) -> bool:
    """A run is over, but its last words are still on their way; nobody would hear them once there is another one."""
    runner = session._scriptrunner
    return (
        runner is not None
        and runner._requests._state is ScriptRequestType.STOP
        and session._state is not AppSessionState.SHUTDOWN_REQUESTED
    )


def _both(earlier: WidgetStates, asked: ClientState) -> ClientState:
    """The later one, with what was pressed before it."""
    both = ClientState.FromString(asked.SerializeToString())
    both.widget_states.CopyFrom(script_requests._coalesce_widget_states(earlier, asked.widget_states))
    return both


def _joined(session: AppSession, runner: ScriptRunner, asked: ClientState) -> ClientState:
    """What the whole page is asked with, where the run under way is stopped for it."""
    if not config.get_option("runner.fastReruns"):
        return asked
    runner.gives_way_to = asked.page_script_hash or session._client_state.page_script_hash
    runner.was_on = session._client_state.page_script_hash
    waiting = _taken(runner._requests)
    if waiting is None or waiting.widget_states is None:
        return asked
    return _both(waiting.widget_states, asked)


def _with_its_address(handle: Callable[..., None]) -> Callable[..., None]:
    """A run that gave way had perhaps put something into the page's address: that stands, on the same page."""

    def _handle_scriptrunner_event_on_event_loop(
        self: AppSession, sender: ScriptRunner | None, event: ScriptRunnerEvent, *args: Any, **kwargs: Any
    ) -> None:
        said = args[0] if args else kwargs.get("forward_msg")
        if (
            event is ScriptRunnerEvent.ENQUEUE_FORWARD_MSG
            and sender is not self._scriptrunner
            and said is not None
            and said.WhichOneof("type") == "page_info_changed"
            and getattr(sender, "gives_way_to", None) == getattr(sender, "was_on", "")
        ):
            self._enqueue_forward_msg(said)
        else:
            handle(self, sender, event, *args, **kwargs)

    return _handle_scriptrunner_event_on_event_loop


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
        self.seen = new_data.widget_states  # what stands in the browser's fields
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
            if rerun_data.widget_states is None:
                _forget_but_unheard(self)
        run(self, rerun_data)

    return _run_script


def _forget_but_unheard(runner: ScriptRunner) -> None:
    """What the desk set is told the browser with one drawing, and again while the browser shows something else."""
    state, seen = runner._session_state._state, getattr(runner._requests, "seen", None)
    told = dict(state._new_session_state)
    runner._session_state.on_script_will_rerun(None)
    times: dict[str, int] = runner._pages_manager.__dict__.setdefault("told_again", {})
    for key in [key for key in times if key not in told]:
        del times[key]
    for key, value in told.items():
        if times.get(key, 0) < MOST_TOLD and _shows_otherwise(state, key, value, seen):
            times[key] = times.get(key, 0) + 1
            state.reset_state_value(key, value)


def _shows_otherwise(state: SessionState, key: str, value: Any, seen: WidgetStates | None) -> bool:
    widget = state._key_id_mapper.get_id_from_key(key)
    known = state._new_widget_state.widget_metadata.get(widget) if widget else None
    if known is None or known.value_type.endswith("trigger_value"):
        return False
    shown = next((each for each in (seen.widgets if seen else ()) if each.id == widget), None)
    return shown is None or known.deserializer(unpack_widget_state_value(shown)) != value
