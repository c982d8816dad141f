"""The guide to a first trade: a strip above the chart for who has never traded at this desk.

The rule: a tick says what happened. The ledger knows of the preview, the order, its stop and the end of the position;
only that a pattern was read is noted by the page that showed it. Who looks on sees what there is to look at.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from html import escape
from typing import Any
from uuid import uuid4

import streamlit as st

import bootstrap
from desk.authority import LOCAL_OWNER
from desk.first_trade import FirstTrade, FirstTrades
from desk.people import OWNER
from desk.reader import Reader
from domain.commands import Kind
from domain.errors import DeskError
from ui import guide_steps as steps
from ui import ticket, wording
from ui.guide_steps import STEPS, Progress, Step, Way
from ui.session import Open

PREFERENCE, READ, RUNS = "guide", "guide_read", "guide_runs"
BEGUN, AWAY, NO_NEWCOMER = "begun", "away", "no newcomer"
RISK_PCT = "0.25"
TICKET = {
    "side": "buy",
    "risk_pct": RISK_PCT,
    "type": "market",
    "stop_atr": "1.5",
    "target_atr": "3",
    "time_in_force": "day",
    "session": "regular",
}
TABS = "desk_pattern_tabs"
_GO, _SCROLL = "guide_go", "guide_scroll"
# Rooms of a fixed size: a tick, or the next sentence, moves nothing on the page.
_STYLE = """<style>
.st-key-guide { border: 1px solid color-mix(in srgb, currentColor 22%, transparent); border-radius: 8px;
  padding: 8px 12px; gap: .35rem; }
.st-key-guide ol { display: flex; flex-wrap: wrap; gap: 2px 18px; list-style: none; margin: 0; padding: 0; }
.st-key-guide li { margin: 0; padding: 0 0 1px; font-size: 14px; white-space: nowrap;
  border-bottom: 2px solid transparent; }
.st-key-guide li[aria-current] { border-bottom-color: currentColor; }
.st-key-guide li b { display: inline-block; width: 1.3em; font-weight: 700; }
.st-key-guide .guide-said { margin: 0; min-height: 2.9em; font-size: 14px; line-height: 1.45; display: flex;
  align-items: center; }
.st-key-guide [data-testid="stHorizontalBlock"] { row-gap: .25rem; }
.st-key-guide button { min-height: 36px; }
.st-key-guide_leads { position: absolute; height: 0; }
@media (min-width: 1001px) {
  .st-key-guide_way { flex-wrap: nowrap !important; }
  .st-key-guide_way > :first-child { flex: 1 1 0; min-width: 0; }
}
@media (max-width: 1000px) {
  .st-key-guide .guide-said { min-height: 4.35em; }
  .st-key-guide button { padding: 0 9px; }
}
</style>"""
_leads = st.components.v2.component(
    "desk_guide_leads",
    html="<span hidden></span>",
    js="""export default function ({ data, parentElement }) {
  if (!data.to || parentElement.dataset.led === data.nonce) return;
  parentElement.dataset.led = data.nonce;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let tries = 0;
  const lead = () => {
    const found = document.querySelector(".st-key-" + data.to);
    if (found) found.scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "nearest" });
    else if (tries++ < 40) setTimeout(lead, 100);
  };
  lead();
}""",
)


def strip(app: Open, symbol: str) -> None:
    """The guide, where there is one to show. Nothing of it is asked once it was put away."""
    if not _wanted(app):
        return
    st.html(_STYLE)
    with st.container(key="guide"):
        if app.may(Kind.PLACE):
            _ticking(app, symbol)
        else:
            _looks_on(app)


def pattern_was_shown(app: Open) -> None:
    """In the list of patterns, once it stands there with at least one row: whoever looks has it before them."""
    if app.preferences.get(PREFERENCE) != BEGUN or app.preferences.get(READ) or st.session_state.get(READ):
        return
    st.session_state[READ] = True
    app.people.prefer(READ, True)


def choice(app: Open) -> None:
    """The settings' line that brings the guide back, or puts it away."""
    st.session_state.guide_shown = app.preferences.get(PREFERENCE) in (None, BEGUN)
    st.toggle(
        "Guide to a first trade on the live dashboard",
        key="guide_shown",
        help="Shown on paper desks only",
        on_change=lambda: _keep(app, BEGUN if st.session_state.guide_shown else AWAY),
    )


def _keep(app: Open, state: str) -> None:
    app.people.prefer(PREFERENCE, state)
    st.toast("Saved", icon=":material/check:")


def _wanted(app: Open) -> bool:
    """Whether to show it: on paper, to who has not put it away and never traded here before it began."""
    state = app.preferences.get(PREFERENCE)
    if state in (AWAY, NO_NEWCOMER):
        return False
    try:
        if bootstrap.trading().place.needs_arming:
            return False
        if state is None and app.may(Kind.PLACE):
            state = NO_NEWCOMER if _facts(app).placed else BEGUN
            app.people.prefer(PREFERENCE, state)
            app.preferences[PREFERENCE] = state
    except DeskError:
        return False  # the page says itself what is broken
    return state != NO_NEWCOMER


def names_of(app: Open) -> tuple[str, ...]:
    """Under which names the ledger knows who looks: an owner is also who sat at this machine before there were
    accounts."""
    if app.signed is None:
        return (LOCAL_OWNER,)
    return (app.signed.name, LOCAL_OWNER) if app.people.person == OWNER else (app.signed.name,)


@functools.lru_cache(maxsize=4)
def _ledger(reader: Reader) -> FirstTrades:
    return FirstTrades(reader)


def _facts(app: Open) -> FirstTrade:
    return _ledger(bootstrap.trading().reader).of(names_of(app))


@st.fragment(run_every=2)
def _ticking(app: Open, symbol: str) -> None:
    _leave()
    try:
        facts, now = _facts(app), bootstrap.trading().clock.now()
    except DeskError as error:
        st.caption(wording.plain(f"How far you have come is not known: {error}"))
        return
    chosen = {**app.preferences, **{name: True for name in (READ, RUNS) if st.session_state.get(name)}}
    come = steps.progress(facts, read=bool(chosen.get(READ)), runs=bool(chosen.get(RUNS)), now=now)
    _draw(app, come.next, symbol, _ticks(come))


def _looks_on(app: Open) -> None:
    _leave()
    _draw(app, steps.LOOKS_ON, "", f"<ol><li>{escape(steps.LOOKS_ON.name)}:</li></ol>")


def _draw(app: Open, step: Step, symbol: str, ticks: str) -> None:
    """Always the same rooms in the same order: whatever is next, nothing jumps."""
    st.html(ticks)
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key="guide_way"):
        title = "<b>Where to go from here.</b>&nbsp;" if step is steps.ENDS else ""
        st.html(f"<p class='guide-said' role='status'><span>{title}{escape(step.said)}</span></p>")
        with st.container(horizontal=True, gap="small", width="content", key="guide_ways"):
            for at, way in enumerate(step.ways):
                key = f"guide_{STEPS.index(step) if step in STEPS else 'end'}_{at}"
                st.button(way.label, key=key, on_click=_follow, args=(app, way, symbol))
            st.button("Put away", key="guide_away", type="tertiary", on_click=_put_away, args=(app,))
    _leads(key="guide_leads", data=st.session_state.get(_SCROLL) or {"to": "", "nonce": ""})


def _ticks(come: Progress) -> str:
    """The row of steps; the sign says what the words read aloud say."""
    items = []
    for step, done in zip(STEPS, come.done, strict=True):
        now = " aria-current='step'" if step is come.next else ""
        said = f"{step.name}, {'done' if done else 'to do'}"
        items.append(f"<li{now} aria-label='{escape(said)}'><b>{'✓' if done else '○'}</b>{escape(step.name)}</li>")
    return f"<ol aria-label='Your first trade'><li aria-hidden='true'>Your first trade:</li>{''.join(items)}</ol>"


# In callbacks


def _put_away(app: Open) -> None:
    app.people.prefer(PREFERENCE, AWAY)
    st.session_state[_GO] = ""
    st.toast("Put away. Settings, Appearance brings it back.", icon=":material/check:")


def _follow(app: Open, way: Way, symbol: str) -> None:
    does: dict[str, Callable[[], Any]] = {
        steps.FILL: lambda: ticket.fill(symbol, TICKET),
        steps.RUN: lambda: _let_it_run(app),
    }
    does.get(way.place, _nothing)()
    if way.place in (steps.PATTERNS, steps.ORDERS):
        st.session_state[TABS] = way.place
    to = {steps.FILL: "desk_ticket", steps.TICKET: "desk_ticket"}.get(way.place, TABS)
    if way.place.startswith("pages/"):
        st.session_state[_GO] = way.place
    elif way.place != steps.RUN:
        st.session_state[_SCROLL] = {"to": to, "nonce": uuid4().hex}
        st.session_state[_GO] = ""


def _let_it_run(app: Open) -> None:
    st.session_state[RUNS] = True
    app.people.prefer(RUNS, True)


def _nothing() -> None: ...


def _leave() -> None:
    """After a button: to another page, or the whole of this one anew."""
    go = st.session_state.pop(_GO, None)
    if go:
        st.switch_page(go)
    if go is not None:
        st.rerun()
