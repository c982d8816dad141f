"""The desk's rules of who is told what, when and how much: one form, kept as a whole or not at all."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import time
from typing import Any
from zoneinfo import available_timezones

import streamlit as st

import notifier
from desk.authority import Deed
from domain import registry
from domain.errors import DeskError
from domain.notices import ABOUT, Kind, Severity
from notices.rules import MOST_PER_HOUR, NEW_YORK, Rules
from ui import roles, sign_in, telling, wording
from ui.alert_history import SEVERITIES
from ui.session import Open

KINDS = [kind for kind in Kind if kind is not Kind.TEST]


def form(app: Open) -> None:
    """The form; who may not change it reads it."""
    rules = notifier.rules_of(app.people.all)
    st.subheader("What goes where, and when", anchor=False)
    shut = roles.said(Deed.CHANNELS, "rules")
    mark = _mark(rules)
    with st.form(f"rules_{mark}"):
        _routes(rules, mark, shut)
        _amounts(rules, mark, shut)
        _quiet(rules, mark, shut)
        _figures(rules, mark, shut)
        st.form_submit_button("Keep these rules", type="primary", on_click=_keep_rules, args=(app, mark), disabled=shut)
    telling.said("rules_said")


def _mark(rules: Rules) -> str:
    """Names the fields by what they began with: rules that somebody else has kept meanwhile are shown anew."""
    told = json.dumps({**rules.to_dict(), "off": []}, sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:8]


def _key(mark: str, name: str) -> str:
    return f"rules_{mark}_{name}"


def _routes(rules: Rules, mark: str, shut: bool) -> None:
    st.markdown("**Which channels hear of what.** One that is not set up is passed over; what is urgent goes to any.")
    names = registry.names("alerts")
    halves = st.columns(2, gap="large")
    for at, kind in enumerate(KINDS):
        about = ABOUT[kind]
        halves[2 * at // len(KINDS)].pills(
            f"{about.label} ({SEVERITIES[about.severity]})",
            names,
            selection_mode="multi",
            wrap=True,
            default=[name for name in names if name in rules.channels(kind)],
            format_func=telling.label,
            key=_key(mark, f"route_{kind.value}"),
            disabled=shut,
        )


def _amounts(rules: Rules, mark: str, shut: bool) -> None:
    st.markdown("**How urgent at least, and how many an hour** (0: as many as there are; what is urgent goes past it)")
    names = registry.names("alerts")
    for name, column in zip(names, st.columns(len(names)), strict=True):
        column.selectbox(
            f"{telling.label(name)}, at least",
            list(Severity),
            index=rules.least.get(name, Severity.INFO).rank,
            format_func=lambda one: SEVERITIES[one],
            key=_key(mark, f"least_{name}"),
            disabled=shut,
        )
        column.number_input(
            f"{telling.label(name)}, an hour",
            0,
            MOST_PER_HOUR,
            rules.per_hour.get(name, registry.part("alerts", name).per_hour),
            key=_key(mark, f"hour_{name}"),
            disabled=shut,
        )


def _quiet(rules: Rules, mark: str, shut: bool) -> None:
    quiet = rules.quiet
    st.markdown("**Quiet hours.** What is milder than you choose waits for their end.")
    zones = sorted(available_timezones())
    names = registry.names("alerts")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.toggle("Keep quiet hours", quiet is not None, key=_key(mark, "quiet"), disabled=shut)
        st.time_input("From", quiet.start if quiet else time(22), key=_key(mark, "from"), width=110, disabled=shut)
        st.time_input("Until", quiet.end if quiet else time(7), key=_key(mark, "until"), width=110, disabled=shut)
        zone = quiet.zone if quiet else NEW_YORK
        at = zones.index(zone) if zone in zones else zones.index("UTC")
        st.selectbox("Time zone", zones, index=at, key=_key(mark, "zone"), width=220, disabled=shut)
        st.selectbox(
            "Goes out all the same",
            list(Severity)[1:],
            index=(quiet.passes if quiet else Severity.URGENT).rank - 1,
            format_func=lambda one: SEVERITIES[one] + (" or worse" if one is not Severity.URGENT else ""),
            key=_key(mark, "passes"),
            width=190,
            disabled=shut,
        )
        st.pills(
            "Channels that keep them (none chosen: all)",
            names,
            selection_mode="multi",
            wrap=True,
            default=list(quiet.channels) if quiet else [],
            format_func=telling.label,
            key=_key(mark, "keepers"),
            disabled=shut,
        )


def _figures(rules: Rules, mark: str, shut: bool) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input(
            "A big trade is worth at least",
            f"{rules.big_trade:f}",
            key=_key(mark, "big"),
            width=210,
            disabled=shut,
            help="In the account's currency",
        )
        st.time_input(
            "Daily summary at (New York)", rules.summary_at, key=_key(mark, "summary"), width=210, disabled=shut
        )


def _keep_rules(app: Open, mark: str) -> None:
    """In a callback: all of the form, or an error and every field as it is."""
    try:
        sign_in.must(Deed.CHANNELS)
        wanted = Rules.of(_asked(mark))
        notifier.set_rules(app.people.all, replace(wanted, off=notifier.rules_of(app.people.all).off))
    except DeskError as error:
        st.session_state["rules_said"] = (False, f"Nothing was changed. {wording.sentence(str(error))}")
        return
    st.session_state["rules_said"] = (True, "Kept. The notifier goes by these rules within ten seconds.")


def _asked(mark: str) -> dict[str, Any]:
    """The fields as `Rules.to_dict` writes them; what is as it always was is left out."""

    def value(name: str) -> Any:
        return st.session_state[_key(mark, name)]

    names = registry.names("alerts")
    routes = {kind: tuple(value(f"route_{kind.value}")) for kind in KINDS}
    quiet = {
        "start": _hour(value("from")),
        "end": _hour(value("until")),
        "zone": value("zone"),
        "passes": value("passes").value,
        "channels": value("keepers"),
    }
    hours = {name: int(value(f"hour_{name}") or 0) for name in names}
    return {
        "routes": {k.value: list(to) for k, to in routes.items() if set(to) != set(ABOUT[k].channels)},
        "least": {n: least.value for n in names if (least := value(f"least_{n}")) is not Severity.INFO},
        "per_hour": {n: most for n, most in hours.items() if most != registry.part("alerts", n).per_hour},
        "quiet": quiet if value("quiet") else None,
        "big_trade": str(value("big")).replace(",", "").strip(),
        "summary_at": _hour(value("summary")),
    }


def _hour(chosen: time | None) -> str:
    return "" if chosen is None else f"{chosen:%H:%M}"
