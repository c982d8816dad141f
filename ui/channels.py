"""Settings, Notifications: each channel with its state, its switch, its test and its keys, and where a person is
reached."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import streamlit as st

import notifier
from desk.authority import Deed
from domain import registry
from domain.clock import SystemClock, monotonic
from domain.errors import DeskError
from notices.addressing import ADDRESSES
from notifier import ChannelState
from ui import keys, notice_rules, roles, sign_in, telling, wording
from ui.channel_trials import Trial, trials
from ui.session import Open

PLACEHOLDERS = {"email": "you@example.com", "phone": "+12125550123"}


def notifications(app: Open) -> None:
    """The whole tab."""
    try:
        telling.teller(app)
        _channels(app)
        if not telling.sees_all(app):
            _own_addresses(app)
        notice_rules.form(app)
    except DeskError as error:
        st.error(wording.plain(error), icon=":material/error:")


# Channels


def _channels(app: Open) -> None:
    st.subheader("Channels", anchor=False)
    st.caption("A channel is on once it has what it needs. What failed, and why, stands in Alerts → History.")
    roles.said(Deed.CHANNELS, "channels")
    for name in registry.names("alerts"):
        with st.container(border=True, key=f"channel_{name}"):
            _status(app, name)
            if not app.may(Deed.KEYS):
                continue
            folded = st.expander("Keys and addresses", key=f"channel_keys_{name}", on_change="rerun")
            if folded.open:
                with folded:
                    keys.key_form(app, name)


@st.fragment(run_every=3)
def _status(app: Open, name: str) -> None:
    """How a channel fares, renewed every three seconds; its keys are outside, so that nothing typed moves."""
    try:
        state = next(one for one in telling.states() if one.name == name)
    except DeskError as error:
        st.error(wording.plain(error), icon=":material/error:")
        return
    shut = bool(roles.why_not(Deed.CHANNELS))
    word, colour, icon = badge(state, SystemClock().now())
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**{state.label}**")
        st.badge(word, color=colour, icon=icon)  # type: ignore[arg-type]
        if not state.missing:
            key = f"channel_on_{name}"
            st.session_state[key] = state.on
            st.toggle("Switched on", key=key, on_change=_switch, args=(app, name, key), disabled=shut)
        st.button(
            "Test",
            key=f"channel_test_{name}",
            icon=":material/send:",
            help="Set it up first" if state.missing else "Sends one message now to every address of this channel",
            on_click=_test,
            args=(app, name),
            disabled=shut or bool(state.missing),
        )
    if said := why(state, SystemClock().now()):
        st.caption(wording.plain(said))
    if not state.missing or state.health.waiting or state.health.last_sent:
        st.caption(wording.plain(counts(state, app.zone)))
    if problem := st.session_state.get(f"channel_problem_{name}"):
        st.error(wording.plain(problem), icon=":material/error:")
    trial = trials(str(app.desk.settings.data_dir)).of(name)
    if trial is not None and trial.running:
        _awaited(app, trial)
    elif trial is not None:
        _outcome(app, trial)


def badge(state: ChannelState, now: datetime) -> tuple[str, str, str]:
    """Its state as word, colour and icon."""
    if state.missing:
        return "NOT SET UP", "gray", ":material/build:"
    if not state.on:
        return "OFF", "gray", ":material/notifications_off:"
    if state.health.needs_person:
        return "NEEDS YOU", "red", ":material/error:"
    if state.health.rests_until is not None:
        word = "FAILS, TRIED AGAIN" if state.health.rests_until > now else "FAILED LAST TIME"
        return word, "orange", ":material/warning:"
    return "ON", "green", ":material/check:"


def why(state: ChannelState, now: datetime) -> str:
    """What is missing, or what went wrong last; '' where there is nothing to say."""
    health = state.health
    if state.usable and health.rests_until is not None and health.rests_until <= now:
        return wording.sentence(f"the next message is tried at once. Last time: {health.said}")
    if state.missing:
        return wording.sentence(telling.needs(state))
    return wording.sentence(state.words) if health.said else ""


def counts(state: ChannelState, zone: str) -> str:
    """What waits, and what became of the last day's."""
    health = state.health
    last = f" · last sent {wording.hour(health.last_sent, zone)}" if health.last_sent else ""
    return f"◷ {health.waiting} waiting · within a day ✔ {health.sent_day} sent, ✖ {health.failed_day} failed{last}"


def _switch(app: Open, name: str, key: str) -> None:
    _do(name, lambda: notifier.switch_channel(app.people.all, name, bool(st.session_state[key])))


def _test(app: Open, name: str) -> None:
    _do(name, lambda: trials(str(app.desk.settings.data_dir)).begin(name, telling.outbox()))


def _do(name: str, deed: Callable[[], object]) -> None:
    """In a callback: what only an owner may; why it was not done stands in the channel's card."""
    st.session_state.pop(f"channel_problem_{name}", None)
    try:
        sign_in.must(Deed.CHANNELS)
        deed()
        telling.look_again()
    except DeskError as error:
        st.session_state[f"channel_problem_{name}"] = wording.sentence(str(error))


@st.fragment(run_every=0.5)
def _awaited(app: Open, trial: Trial) -> None:
    """A test under way, until it is over."""
    if not trial.running:
        _outcome(app, trial)
        return
    st.info(
        f"The test is being sent … {monotonic() - trial.began:.0f} s. You can go on working.",
        icon=":material/hourglass_top:",
    )


def _outcome(app: Open, trial: Trial) -> None:
    ended = trial.answer.result()
    said = f"Test of {wording.hour(trial.at, app.zone)}: {wording.sentence(ended.said)}"
    if ended.ok:
        st.success(wording.plain(said), icon=":material/check:")
    else:
        st.error(wording.plain(said), icon=":material/error:")


# Where a person is reached


def _own_addresses(app: Open) -> None:
    """For who does not own the desk: the channels' own addresses are the owner's."""
    st.subheader("Where you are reached", anchor=False)
    st.caption("Messages of your own subscriptions go here. Slack and the webhook are rooms: they are everybody's.")
    known = app.people.preference(ADDRESSES, {})
    personal = [name for name in registry.names("alerts") if name not in telling.rooms()]
    with st.form("own_addresses"):
        for name in personal:
            kind = registry.part("alerts", name).kind
            st.text_input(
                telling.label(name), known.get(name, ""), key=f"own_{name}", placeholder=PLACEHOLDERS.get(kind, "")
            )
        st.form_submit_button("Keep", on_click=_keep_addresses, args=(app, personal))
    telling.said("own_said")


def _keep_addresses(app: Open, names: list[str]) -> None:
    try:
        sign_in.must(Deed.OWN_CHOICES)
        for name in names:
            notifier.set_address(app.people.all, app.people.person, name, st.session_state[f"own_{name}"])
    except DeskError as error:
        st.session_state["own_said"] = (False, f"{telling.label(name)}: {wording.sentence(str(error))}")
        return
    st.session_state["own_said"] = (True, "Kept. It counts from the next message on.")
