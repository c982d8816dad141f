"""What was told: each message on each channel, where it is by now, and why one failed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pandas as pd
import streamlit as st

from domain import registry
from domain.clock import SystemClock
from domain.errors import DeskError
from domain.notices import ABOUT, Kind, Severity
from notices.outbox import Outbox, State, Told
from ui import dialogs, telling, wording
from ui.session import Open

PAGE = 50
STATES = {
    State.WAITING: "◷ waits",
    State.SENDING: "➤ being sent",
    State.SENT: "✔ sent",
    State.FAILED: "✖ failed",
    State.DROPPED: "⊘ not sent",
}
SEVERITIES = {
    Severity.INFO: "○ info",
    Severity.NOTICE: "● notice",
    Severity.WARNING: "▲ warning",
    Severity.URGENT: "‼ urgent",
}
SPANS = {"Any time": None, "Today": 1, "7 days": 7, "30 days": 30}
ANY = "Any"
OPEN = ":material/visibility:"
_PAGES, _SHOWN = "history_pages", "history_shown"


@dataclass(frozen=True, slots=True)
class Filters:
    """What is looked for; '' and None: anything."""

    channel: str = ""
    state: str = ""
    kind: str = ""
    symbol: str = ""
    days: int | None = None

    @property
    def any(self) -> bool:
        return self != Filters()


def history(app: Open) -> None:
    """The whole tab."""
    telling.teller(app)
    _lines(app, _filters())


def _filters() -> Filters:
    """The fields, kept in the address."""
    channels = {telling.label(name): name for name in registry.names("alerts")}
    states, kinds = {words: state for state, words in STATES.items()}, {ABOUT[kind].label: kind for kind in Kind}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        more: dict[str, Any] = {"on_change": _first_page, "bind": "query-params"}
        channel = st.selectbox("Channel", [ANY, *channels], key="channel", width=140, **more)
        state = st.selectbox("State", [ANY, *states], key="state", width=150, **more)
        kind = st.selectbox("About", [ANY, *kinds], key="kind", width=240, **more)
        symbol = st.text_input("Symbol", key="symbol", placeholder=ANY, width=110, **more)
        span = st.segmented_control("Time", list(SPANS), default="Any time", required=True, key="span", **more)
    return Filters(
        channels.get(channel, ""),
        str(states.get(state, "")),
        str(kinds.get(kind, "")),
        symbol.strip().upper(),
        SPANS[span],
    )


def found(outbox: Outbox, app: Open, wanted: Filters, before: int | None, most: int) -> list[Told]:
    """The newest lines that fit and that who looks may see, newest first."""
    asked: dict[str, Any] = {"state": wanted.state, "kind": wanted.kind, "symbol": wanted.symbol}
    asked |= {"before": before, "most": most}
    if telling.sees_all(app):
        lines = outbox.history(channel=wanted.channel, **asked)
    else:
        rooms = [name for name in telling.rooms() if wanted.channel in ("", name)]
        mine = outbox.history(channel=wanted.channel, person=app.people.person, **asked)
        heard = [line for name in rooms for line in outbox.history(channel=name, **asked)]
        lines = sorted({line.seq: line for line in [*mine, *heard]}.values(), key=lambda line: -line.seq)[:most]
    since = None if wanted.days is None else SystemClock().now() - timedelta(days=wanted.days)
    return [line for line in lines if since is None or line.made >= since]


@st.fragment(run_every=3)
def _lines(app: Open, wanted: Filters) -> None:
    """The list, renewed every three seconds; it keeps its place while it ticks."""
    dialogs.step_out()
    telling.step_out()
    if st.session_state.pop("history_again", False):
        st.rerun()  # the fields stand outside of this part
    pages: list[int] = st.session_state.setdefault(_PAGES, [])
    try:
        lines = found(telling.outbox(), app, wanted, pages[-1] if pages else None, PAGE + 1)
    except DeskError as error:
        st.error(f"The history cannot be read: {wording.plain(error)}", icon=":material/error:")
        return
    shown = lines[:PAGE]
    if not shown:
        _empty(app, wanted)
        return
    st.session_state[_SHOWN] = shown
    st.dataframe(table(shown, app), hide_index=True, key="history", column_config=_columns(app.zone))
    _turning(pages, shown, more=len(lines) > PAGE)


def table(lines: list[Told], app: Open) -> pd.DataFrame:
    """The lines in words."""
    now = SystemClock().now()
    return pd.DataFrame(
        {
            "Do": [OPEN],
            "Time": wording.hour(line.made, app.zone),
            "State": state_words(line, now, app.zone),
            "Message": line.title + (f" (and {line.repeats} more of the same)" if line.repeats else ""),
            "Channel": telling.label(line.channel) or wording.NOTHING,
            "To": to_words(line),
            "Said": said_words(line),
            "Symbol": line.symbol or wording.NOTHING,
            "About": ABOUT[line.kind].label,
            "Tries": line.tries,
        }
        for line in lines
    )


def state_words(line: Told, now: datetime, zone: str) -> str:
    """Where it is, with until when it waits."""
    words = STATES[line.state]
    if line.state is State.WAITING and line.due > now:
        here = wording.local(line.due, zone)
        return (
            f"{words} until {here:%H:%M}"
            if line.due - now < timedelta(hours=20)
            else f"{words} until {here:%d %b %H:%M}"
        )
    if line.state is State.FAILED and line.tries > 1:
        return f"{words}, {line.tries} tries"
    return f"{words}, maybe twice" if line.doubtful and line.state is State.SENT else words


def to_words(line: Told) -> str:
    """Whom it reaches."""
    if not line.channel:
        return line.person
    where = line.address or "everybody there"
    return where if line.person == "owner" or not line.address else f"{line.person}, {where}"


def said_words(line: Told) -> str:
    """Why it failed or waits, or what the other side called it."""
    if line.doubtful:
        return f"It was under way when the notifier died and may have reached them twice. {line.said}".strip()
    return line.said


def _columns(zone: str) -> dict[str, Any]:
    return {
        "Do": st.column_config.ButtonColumn(
            "", width=44, on_click=_chosen, key="history_act", type="tertiary", pinned=True
        ),
        "Time": st.column_config.TextColumn(f"Time ({wording.zone_name(zone)})", width=150),
        "State": st.column_config.TextColumn(width=135),
        "Message": st.column_config.TextColumn(width=350),
        "Channel": st.column_config.TextColumn(width=80),
        "To": st.column_config.TextColumn(width=120),
        "Said": st.column_config.TextColumn("Why, or what was answered", width=230),
        "Symbol": st.column_config.TextColumn(width=70),
        "About": st.column_config.TextColumn(width=150),
        "Tries": st.column_config.NumberColumn(width=55),
    }


def _empty(app: Open, wanted: Filters) -> None:
    if wanted.any or st.session_state[_PAGES]:
        st.info("Nothing fits these filters.", icon=":material/filter_alt_off:")
        st.button("Show everything", key="history_clear", on_click=_clear)
        return
    try:
        ready = [state for state in telling.states() if not telling.unusable(app, state)]
    except DeskError as error:
        st.error(wording.plain(error), icon=":material/error:")
        return
    if ready:
        names = telling.listed([state.name for state in ready])
        st.info(
            f"**Nothing has been told yet.** {names} {'is' if len(ready) == 1 else 'are'} ready. Fills, moved stops, "
            "errors and what you subscribe to appear here, each with whom it reached. Press Test in Settings → "
            "Notifications to see the first one.",
            icon=":material/notifications:",
        )
    else:
        st.info(
            "**No channel reaches you yet.** This desk can tell you of fills, stops, errors, patterns and prices by "
            "email, SMS, WhatsApp, Slack or to a program of your own. Set one of them up, press Test, and its first "
            "line appears here.",
            icon=":material/notifications_off:",
        )
    telling.to_settings("history_setup", "Set up a channel" if not ready else "Settings → Notifications")


def _turning(pages: list[int], shown: list[Told], *, more: bool) -> None:
    """Older and newer."""
    if not pages and not more:
        st.caption(f"{len(shown)} line{'' if len(shown) == 1 else 's'}")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Newer", key="history_newer", icon=":material/chevron_left:", on_click=_back, disabled=not pages)
        st.caption(f"Page {len(pages) + 1}")
        last = shown[-1].seq
        st.button(
            "Older", key="history_older", icon=":material/chevron_right:", on_click=_on, args=(last,), disabled=not more
        )


def _back() -> None:
    st.session_state[_PAGES] = st.session_state[_PAGES][:-1]


def _on(before: int) -> None:
    """A double click turns one page."""
    if before not in st.session_state[_PAGES]:
        st.session_state[_PAGES] = [*st.session_state[_PAGES], before]


def _first_page() -> None:
    st.session_state[_PAGES] = []


def _clear() -> None:
    _first_page()
    st.session_state.update({"channel": ANY, "state": ANY, "kind": ANY, "symbol": "", "span": "Any time"})
    st.session_state["history_again"] = True


def _chosen() -> None:
    """A press in a row: its line is looked up in the rows as they were shown."""
    click, shown = st.session_state["history_act"], st.session_state.get(_SHOWN, [])
    if click and click["row"] < len(shown):
        dialogs.soon("told", line=shown[click["row"]])


@dialogs.dialog
@st.dialog("What was told", width="medium")
def told(app: Open, key: str, line: Told) -> None:
    """One line, whole."""
    st.markdown(f"**{wording.plain(line.title)}**")
    if line.text:
        st.markdown("  \n".join(wording.plain(text) for text in line.text.splitlines()))
    about = [SEVERITIES[line.severity], ABOUT[line.kind].label, *([line.symbol] if line.symbol else [])]
    st.caption(wording.plain(f"{' · '.join(about)} · happened {wording.hour(line.at, app.zone)}"))
    if line.repeats:
        st.caption(f"The same came {line.repeats} more times and was told once.")
    rows = {
        "State": state_words(line, SystemClock().now(), app.zone),
        "Channel": telling.label(line.channel) or "none took it",
        "To": to_words(line),
        "Tries": str(line.tries),
        "Ended": wording.hour(line.ended, app.zone) if line.ended else wording.NOTHING,
        "Said": said_words(line) or wording.NOTHING,
    }
    st.markdown("\n".join(f"- **{name}**: {wording.plain(value)}" for name, value in rows.items()))
