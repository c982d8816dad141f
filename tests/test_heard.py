"""What waits for its turn in a run: presses are kept, ticks are not believed."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.WidgetStates_pb2 import WidgetState, WidgetStates
from streamlit.runtime.app_session import AppSession, AppSessionState
from streamlit.runtime.scriptrunner.script_runner import ScriptRunner
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData, ScriptRequests, ScriptRequestType
from streamlit.runtime.state.safe_session_state import SafeSessionState

from ui import heard


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrapped for one test, as it is for a server."""
    for owner, name, _ in heard._METHODS:
        method = getattr(owner, name)
        monkeypatch.setattr(owner, name, getattr(method, "__wrapped__", method))
    assert heard.install()


def press() -> WidgetStates:
    return WidgetStates(widgets=[WidgetState(id="shares", double_value=7), WidgetState(id="buy", trigger_value=True)])


def tick(**asked: object) -> RerunData:
    stale = WidgetStates(widgets=[WidgetState(id="shares", double_value=1)])
    asked = {"fragment_id": "ticker", "page_script_hash": "live", "query_string": "old", **asked}
    return RerunData(is_auto_rerun=True, widget_states=stale, **asked)  # type: ignore[arg-type]


def waiting(requests: ScriptRequests) -> RerunData:
    request = requests.on_scriptrunner_ready()
    assert request.type is ScriptRequestType.RERUN
    return request.rerun_data


def values(states: WidgetStates | None) -> dict[str, object]:
    assert states is not None
    return {w.id: getattr(w, w.WhichOneof("value") or "") for w in states.widgets}


def test_a_tick_brings_no_fields() -> None:
    requests = ScriptRequests()

    assert requests.request_rerun(tick())

    assert waiting(requests).widget_states is None


def test_what_a_person_does_in_a_ticking_part_is_no_tick() -> None:
    requests = ScriptRequests()
    requests.request_rerun(RerunData(fragment_id="ticker", page_script_hash="live", widget_states=press()))

    assert values(waiting(requests).widget_states) == {"shares": 7.0, "buy": True}


def test_a_press_that_waits_keeps_its_fields_and_its_address_beside_a_tick() -> None:
    requests = ScriptRequests()
    requests.request_rerun(
        RerunData(fragment_id="ticket", page_script_hash="live", query_string="new", widget_states=press())
    )

    requests.request_rerun(tick())

    run = waiting(requests)
    assert run.fragment_id_queue == ["ticket", "ticker"]
    assert values(run.widget_states) == {"shares": 7.0, "buy": True}
    assert (run.query_string, run.is_auto_rerun) == ("new", False)


@pytest.mark.parametrize("page", ["positions", "live"])
def test_a_tick_changes_nothing_of_a_page_that_is_asked_for_whole(page: str) -> None:
    requests = ScriptRequests()
    asked = RerunData(page_script_hash=page, query_string="new", widget_states=press())
    requests.request_rerun(asked)

    assert requests.request_rerun(tick())

    assert waiting(requests) == asked


def test_a_tick_of_another_page_does_not_join_a_press() -> None:
    requests = ScriptRequests()
    requests.request_rerun(RerunData(fragment_id="form", page_script_hash="settings", widget_states=press()))

    requests.request_rerun(tick())

    assert waiting(requests).fragment_id_queue == ["form"]


def test_what_waits_is_had_once() -> None:
    requests = ScriptRequests()
    requests.request_rerun(RerunData(fragment_id="ticket", page_script_hash="live", widget_states=press()))

    taken = heard._taken(requests)

    assert taken is not None
    assert values(taken.widget_states)["buy"] is True
    assert heard._taken(requests) is None
    assert requests.on_scriptrunner_ready().type is ScriptRequestType.STOP
    assert not requests.request_rerun(tick()), "a run that ended takes nothing more"


class Ended:
    """A session whose run is over but was not heard out yet, and what it is asked in the end."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, object]]] = []
        self._state, self._client_state = AppSessionState.APP_IS_RUNNING, ClientState(page_script_hash="live")
        requests = ScriptRequests()
        requests.request_stop()
        self._scriptrunner: object = SimpleNamespace(_requests=requests)
        self._event_loop = SimpleNamespace(call_later=lambda _, turn, *said: self.later.append((turn, said)))
        self.later: list[tuple[Callable[..., None], tuple[object, ...]]] = []
        self.hears = heard._with_what_waits(lambda _, state: self.asked.append(self._told(state)))

    @staticmethod
    def _told(state: ClientState) -> tuple[str, dict[str, object]]:
        return state.fragment_id, values(state.widget_states)

    def hear(self, fragment: str, *widgets: WidgetState) -> None:
        self.hears(self, ClientState(fragment_id=fragment, widget_states=WidgetStates(widgets=widgets)))

    def wait(self) -> None:
        turn, said = self.later.pop()
        turn(*said)


def test_what_is_asked_while_a_run_ends_comes_in_its_order_once_that_is_heard_out() -> None:
    session = Ended()
    session.hear("ticket", WidgetState(id="shares", double_value=7))
    session.wait()
    assert session.asked == []

    session._scriptrunner = None
    session.hear("ticket", WidgetState(id="shares", double_value=8))
    session.wait()

    assert [said["shares"] for _, said in session.asked] == [7.0, 8.0]
    assert session.later == []


def test_a_press_that_was_put_off_goes_along_with_the_whole_page_and_comes_once() -> None:
    session = Ended()
    session.hear("ticket", WidgetState(id="shares", double_value=7), WidgetState(id="buy", trigger_value=True))

    session.hear("", WidgetState(id="shares", double_value=8))
    session._scriptrunner = None
    session.wait()

    assert session.asked == [("", {"shares": 8.0, "buy": True})]


def test_a_run_that_is_never_heard_out_holds_nobody_up_for_ever() -> None:
    session = Ended()
    session.hear("ticket", WidgetState(id="buy", trigger_value=True))

    for _ in range(heard.MOST_TRIES):
        session.wait()

    assert session.asked == [("ticket", {"buy": True})]


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (AppSession, "request_rerun"),
        (ScriptRequests, "request_rerun"),
        (ScriptRunner, "_run_script"),
        (ScriptRunner, "_maybe_handle_execution_control_request"),
        (SafeSessionState, "on_script_will_rerun"),
    ],
)
def test_another_streamlit_is_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, owner: type, name: str
) -> None:
    for each, method, _ in heard._METHODS:
        monkeypatch.setattr(each, method, getattr(getattr(each, method), "__wrapped__", getattr(each, method)))
    monkeypatch.setattr(owner, name, lambda *something_else: None)

    assert not heard.install()

    assert f"{owner.__name__}.{name}" in caplog.text
    assert not any(hasattr(getattr(each, method), "__wrapped__") for each, method, _ in heard._METHODS)
