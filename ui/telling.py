"""Being told, for pages: the queue of this data folder, its channels, whether anybody tells, and who sees whose.

The rule: an owner sees everything. Anybody else sees what was sent to them and what went to a room, since a room is
everybody's, and no address of anybody else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import streamlit as st

import bootstrap
import notifier
import settings as settings_file
from desk.authority import Deed
from desk.subscriptions import Subscription
from domain import registry
from domain.clock import SystemClock
from notices.addressing import ADDRESSES
from notices.outbox import Outbox
from notices.rules import Rules
from notifier import ChannelState
from ui import keys, wording
from ui.session import Open

TAB = "Notifications"
_GO = "telling_go"


@st.cache_resource(max_entries=4, show_spinner=False)
def _at(url: str) -> Outbox:
    return Outbox(url, SystemClock())


def outbox() -> Outbox:
    """The queue and the history of this data folder."""
    return _at(bootstrap.start().settings.notices_url)


def states() -> list[ChannelState]:
    """Every channel as it is now, with the keys as they are now. SettingsError where one of them is wrong."""
    return _states(bootstrap.start().settings.notices_url)


def look_again() -> None:
    """After a change of one's own: the next look is a fresh one."""
    _states.clear()


@st.cache_data(ttl=1, max_entries=4, show_spinner=False)
def _states(url: str) -> list[ChannelState]:
    """Worked out once a second for all cards and all who look: to read every setting anew takes its time."""
    return notifier.channels(settings_file.load(), bootstrap.people(), _at(url))


def rooms() -> list[str]:
    """Channels that reach everybody of this desk."""
    return [name for name in registry.names("alerts") if not registry.part("alerts", name).personal]


def label(channel: str) -> str:
    """A channel as a person reads it; one that is gone by its name."""
    known = channel in registry.names("alerts")
    return str(registry.part("alerts", channel).label) if known else channel


def listed(channels: Sequence[str], last: str = "and") -> str:
    """`Email, SMS and Slack`."""
    names = [label(name) for name in channels]
    return f" {last} ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def sees_all(app: Open) -> bool:
    return app.may(Deed.CHANNELS)


def unusable(app: Open, state: ChannelState) -> str:
    """Why this channel does not reach who looks; '' where it does."""
    if not state.usable:
        return f"{needs(state)}; Settings → Notifications" if state.missing else "switched off"
    own = sees_all(app) or state.name in rooms() or app.people.preference(ADDRESSES, {}).get(state.name)
    return "" if own else "it has no address of yours"


def needs(state: ChannelState) -> str:
    """What a channel has to be given, by the names its form has; '' where nothing is missing."""
    if not state.missing:
        return ""
    either = (keys.named(one).split(" or ") for one in state.missing)
    return f"not set up: it needs {', '.join(' or '.join(dict.fromkeys(names)) for names in either)}"


# Whether anybody tells


def runs() -> bool:
    """Whether a notifier holds this data folder's lock."""
    return _held(str(bootstrap.start().settings.data_dir / "notices.lock"))


@st.cache_data(ttl=2, max_entries=4, show_spinner=False)
def _held(path: str) -> bool:
    """The lock is tried for a moment: nothing else tells a notifier that was killed from one that works."""
    if not Path(path).exists():
        return False
    lock = filelock.FileLock(path, thread_local=False)
    try:
        with lock.acquire(timeout=0):
            return False
    except filelock.Timeout:
        return True


def teller(app: Open) -> None:
    """A warning where nobody tells anybody; nothing where a notifier runs."""
    if runs():
        return
    off = bootstrap.start().settings.notifier == "off"
    why = (
        "NOTIFIER=off and no `python notifier.py` runs. Start one, or take the line out of .env and start the "
        "dashboard again."
        if off
        else "the notifier of this dashboard is not there. It begins again within seconds; if this stays, Alerts → "
        "Log says why."
    )
    st.warning(
        f"**Nobody tells anybody at the moment:** {why} What happens until then is told once one runs.",
        icon=":material/notifications_off:",
    )


# One place where wishes are made


@dataclass(frozen=True, slots=True)
class Panel:
    """One place on a page where wishes are made: `symbol` is '' where it is chosen there. What it needs of the channels
    is asked once for each time it is drawn."""

    app: Open
    place: str
    symbol: str
    states: tuple[ChannelState, ...]
    rules: Rules

    @classmethod
    def of(cls, app: Open, place: str, symbol: str) -> Panel:
        return cls(app, place, symbol, tuple(states()), notifier.rules_of(app.people.all))

    def key(self, name: str) -> str:
        return f"tell_{self.place}_{name}"

    def value(self, name: str) -> Any:
        return st.session_state.get(self.key(name))

    def put(self, name: str, value: Any) -> None:
        st.session_state[self.key(name)] = value

    def drop(self, name: str) -> None:
        st.session_state.pop(self.key(name), None)

    def way(self, one: Subscription) -> tuple[str, ...]:
        """The channels it goes to."""
        return one.channels or self.rules.channels(one.kind)

    def reaching(self, one: Subscription) -> list[str]:
        """Those of them that reach who looks."""
        way = self.way(one)
        return [state.name for state in self.states if state.name in way and not unusable(self.app, state)]


# The way to the settings


def to_settings(key: str, text: str = "Settings → Notifications") -> None:
    """A button that leads to where channels are set up."""
    st.button(text, key=key, icon=":material/settings:", on_click=_leave)
    step_out()


def step_out() -> None:
    """In the run after the press: go."""
    if st.session_state.pop(_GO, False):
        st.switch_page("pages/settings.py", query_params={"tab": TAB})


def _leave() -> None:
    st.session_state[_GO] = True


def said(key: str) -> None:
    """What the last press of this part came to."""
    if told := st.session_state.get(key):
        good, words = told
        (st.success if good else st.error)(
            wording.plain(words), icon=":material/check:" if good else ":material/error:"
        )
