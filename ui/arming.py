"""Settings → Trading: which desk this is, how to get to another, and the steps that arm one whose orders leave the
house. It asks by commands only; what was typed is judged by the engine, never here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC
from typing import Any
from uuid import uuid4

import streamlit as st

import bootstrap
from desk.accounts import CONFIRMED_FOR
from desk.known import SignedIn
from desk.ledger import FOUNDING
from desk.records import EngineStatus
from domain.clock import SystemClock
from domain.commands import Kind
from domain.trading_state import TradingState
from ui import etrade, own_account, roles, standing, wording
from ui.asking import ask, engine_runs, fate, show_fate
from ui.sealed_form import sealed_form
from ui.session import Open
from ui.standing import Arming

DESKS = {
    "paper": (
        "Paper",
        "blue",
        "Orders are filled on this machine, against the prices on the charts. No money moves, and no part of this desk "
        "can reach a broker's orders.",
    ),
    "rehearsal": (
        "Rehearsal",
        "violet",
        "Orders go to the simulated E*TRADE on this machine, by the same steps as real ones. No money moves.",
    ),
    "live": ("Live", "red", "Orders go to E*TRADE and **move real money**."),
}
WAYS = {
    "paper": "**Paper.** `TRADING=paper`, whatever the data source. Nothing to arm.",
    "rehearsal": "**Rehearsal.** `TRADING=etrade` and `ETRADE_ENVIRONMENT=simulator`, with `make simulator` in a "
    "second terminal. The same steps as live, without money.",
    "live": "**Live.** `TRADING=etrade` and `ETRADE_ENVIRONMENT=production`, with the key of that environment. It "
    "begins disarmed: no entry is sent before every step here is done and the phrase is typed.",
}
CHANGE = """
Write it into `.env` and start the dashboard (and an engine of its own, where one runs) again. On both desks at
E\\*TRADE the prices come from there too: `DATA_SOURCE=etrade`.

Each desk has a ledger of its own: positions, orders and limits of one are not those of another.
"""
PRESSED = "pressed in the dashboard"
UNHEARD = "The engine has not said yet how this desk stands: it says so within seconds of its start."
_PICK, _ARM, _DISARM, _NONCE, _SEEN = "arm_picked", "arm_asked", "arm_disarmed", "arm_nonce", "arm_seen"


def trading(app: Open) -> None:
    """The whole tab."""
    place = bootstrap.trading().place
    _which(place.tone)
    if not place.needs_arming:
        _ways(place.tone, open_at_once=True)
        return
    told, _ = heard()
    st.session_state[_SEEN] = _turns(told)
    _standing()
    if told is not None:
        _also_stopped()
        if told.armed:
            if not roles.said(Kind.DISARM, "disarm"):
                _disarm()
        elif not roles.said(Kind.ARM, "arm"):
            _arm(told, app.signed)
    _ways(place.tone)


def heard() -> tuple[Arming | None, EngineStatus | None]:
    """What a running engine last said of arming; None where no engine has said anything lately."""
    try:
        here = bootstrap.trading()
        status = here.reader.engine()
        return (standing.arming(status), status) if engine_runs(here) else (None, status)
    except Exception:  # noqa: BLE001 - the bar above the page says what is broken
        return None, None


def _which(tone: str) -> None:
    name, colour, means = DESKS.get(tone, DESKS["paper"])
    st.markdown(f"## This is the :{colour}[{name.lower()}] desk")
    st.write(means)


def _ways(tone: str, open_at_once: bool = False) -> None:
    with st.expander("How to trade on another desk", icon=":material/swap_horiz:", expanded=open_at_once):
        st.markdown("\n".join(f"- {said}{' *This is it.*' if way == tone else ''}" for way, said in WAYS.items()))
        st.markdown(CHANGE)


def _turns(told: Arming | None) -> Any:
    """What draws the page anew when it changes; the words of the steps are renewed without."""
    return told and (told.armed, told.account, told.accounts, told.phrase, told.ready)


@st.fragment(run_every=1.0)
def _standing() -> None:
    """Armed or not, in large words, and every step, each second."""
    told, _ = heard()
    if _turns(told) != st.session_state.get(_SEEN):
        st.rerun(scope="app")
    if told is None:
        st.warning(UNHEARD, icon=":material/hourglass_top:")
        return
    account = wording.plain(told.account)
    if told.armed:
        _, colour, _ = DESKS[bootstrap.trading().place.tone]
        st.markdown(f"### :{colour}[Armed] · {account}")
        st.write(wording.plain(standing.armed_words(told)))
    else:
        st.markdown(f"### Disarmed{f' · {account}' if account else ''}")
        st.write("No entries are sent. Stops and closing of what this desk holds go on.")
    _steps(told)


def _steps(told: Arming) -> None:
    done = sum(step.done for step in told.steps)
    if told.armed and done == len(told.steps):
        return
    with st.container(border=True, key="arm_steps", gap="xsmall"):
        st.markdown(f"**{done} of {len(told.steps)} steps are done**")
        for number, step in enumerate(told.steps, 1):
            icon, colour = (
                (":material/check_circle:", "green") if step.done else (":material/radio_button_unchecked:", "orange")
            )
            name = f"{number}. {wording.plain(wording.sentence(step.name, ''))}"
            state = "" if step.done else " · not yet"
            said = f" {wording.plain(wording.sentence(step.said))}" if step.said else ""
            cure = f" **{wording.plain(wording.sentence(step.cure))}**" if step.cure and not step.done else ""
            st.markdown(f":{colour}[{icon}] **{name}**{state}.{said}{cure}")


def _also_stopped() -> None:
    """The switch that stops every desk stands apart from arming; both must allow an entry."""
    with st.container():
        control = bootstrap.trading().reader.trading_state()
        if control.state is not TradingState.ENABLED and control.actor != FOUNDING:
            st.info(
                f"The switch that stops trading stands at **{control.state}**: {wording.plain(control.reason)}. It is "
                "apart from arming, and entries need both. Its button is at the top of every page.",
                icon=":material/front_hand:",
            )


# Arming


def _arm(told: Arming, signed: SignedIn | None) -> None:
    _account(told)
    etrade.doctor("Look at everything")
    st.subheader("Arm")
    key = st.session_state.get(_NONCE)
    if key is None or fate(_wish(key)).settled:
        st.session_state[_NONCE] = uuid4().hex
    _means()
    confirmed = _code(signed)
    with st.form("arm_form", border=False):
        field, button = st.columns([3, 1], vertical_alignment="bottom")
        label = f"Type {told.phrase}" if told.phrase else "The phrase appears once an account is picked"
        field.text_input(label, key="arm_typed", max_chars=60, autocomplete="off", disabled=not told.ready)
        button.form_submit_button(
            f"Arm {told.account}".strip(),
            type="primary",
            width="stretch",
            key="arm_submit",
            on_click=_ask_to_arm,
            args=(told.account,),
            disabled=not (told.ready and confirmed),
        )
    if not told.ready:
        left = [step.name for step in told.steps if not step.done]
        st.caption(wording.plain(f"Not yet: {', '.join(left)}." if left else "The engine has named no steps yet."))
    if asked := st.session_state.get(_ARM):
        show_fate(asked)


def _means() -> None:
    real = bootstrap.trading().place.real_money
    what = "spends and earns **real money** in this account" if real else "goes to the simulated E\\*TRADE"
    st.write(
        f"From then on, each order that you place here {what}, within the limits of Settings → Risk. The engine first "
        "looks at everything once more. Arming holds until somebody disarms, over restarts too."
    )


def _code(signed: SignedIn | None) -> bool:
    """The field for a one-time code, where the desk has accounts; whether arming may be asked for. The engine uses the
    code up, and refuses without one whatever is drawn here."""
    if signed is None:
        return True
    if not bootstrap.accounts().has_codes(signed.name):
        st.info(
            "Arming asks for a one-time code of your phone, and none is set up for you: Settings → My account.",
            icon=":material/phonelink_lock:",
        )
        return False
    if signed.confirmed and SystemClock().now() < signed.confirmed + CONFIRMED_FOR:
        until = (signed.confirmed + CONFIRMED_FOR).astimezone(UTC)
        st.success(f"Code taken: good for one arming until {until:%H:%M:%S} UTC.", icon=":material/phonelink_lock:")
        return True
    st.markdown("**One-time code** of your authenticator app, first:")
    sealed_form(own_account.POST, [own_account.CODE], "Give the code", key="arm_code", hidden={"do": "confirm"})
    return False


def _wish(nonce: str) -> str:
    """The key of what was last asked from the form drawn with this nonce."""
    asked = str(st.session_state.get(_ARM) or "")
    return asked if asked.startswith(f"arm-{nonce}") else f"arm-{nonce}"


def _ask_to_arm(account: str) -> None:
    """The same phrase from the same form is the same wish, however often it is sent."""
    typed = (st.session_state.get("arm_typed") or "").strip()
    if not typed:
        return
    told = hashlib.sha256(f"{account} {typed}".encode()).hexdigest()[:16]
    key = st.session_state[_ARM] = f"arm-{st.session_state[_NONCE]}-{told}"
    st.session_state.pop(_DISARM, None)
    ask(Kind.ARM, {"account": account, "phrase": typed}, key)


def _account(told: Arming) -> None:
    """Which account this desk trades; one at a time."""
    st.subheader("Account")
    if not told.accounts:
        st.caption("E*TRADE's accounts appear here once somebody is signed in.")
        return
    kinds = _kinds()
    picked = told.accounts.index(told.account) if told.account in told.accounts else None
    chosen = st.radio(
        "This desk trades one account",
        told.accounts,
        index=picked,
        captions=[kinds.get(name, "") for name in told.accounts],
        key=f"arm_account_{told.account}",
        horizontal=True,
    )
    if chosen is not None and chosen != told.account:
        st.button(f"Use {chosen}", key="arm_use", on_click=_pick, args=(chosen,))
    if key := st.session_state.get(_PICK):
        show_fate(key)


def _kinds() -> Mapping[str, str]:
    """What E*TRADE said of each account, where the engine repeats it."""
    _, status = heard()
    told = (status.details.get("etrade") if status else None) or {}
    return {
        str(one.get("account")): ", ".join(dict.fromkeys(str(one[n]).lower() for n in ("type", "mode") if one.get(n)))
        for one in told.get("accounts") or ()
    }


def _pick(account: str) -> None:
    key = st.session_state[_PICK] = f"arm-account-{uuid4().hex}"
    ask(Kind.PICK_ACCOUNT, {"account": account}, key)


def _disarm() -> None:
    """No phrase: to stop must be easy."""
    for name in (_NONCE, _PICK):
        st.session_state.pop(name, None)
    st.subheader("Disarm")
    st.write(
        "No more entries are sent. Stops, and closing of what this desk holds, go on. Entries that rest already: "
        "cancel them under Open orders, or with Stop trading."
    )
    with st.form("disarm_form", border=False):
        field, button = st.columns([3, 1], vertical_alignment="bottom")
        field.text_input("Reason", placeholder=PRESSED, key="arm_reason", max_chars=200)
        button.form_submit_button("Disarm", type="primary", width="stretch", key="arm_disarm", on_click=_ask_to_disarm)
    if asked := st.session_state.get(_DISARM):
        show_fate(asked)


def _ask_to_disarm() -> None:
    key = st.session_state[_DISARM] = f"disarm-{uuid4().hex}"
    st.session_state.pop(_ARM, None)
    ask(Kind.DISARM, {"reason": (st.session_state.get("arm_reason") or "").strip() or PRESSED}, key)
