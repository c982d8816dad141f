"""Settings → E*TRADE: how the sign-in stands, the link, the code, and what is in the way. It asks by commands only."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import uuid4

import streamlit as st

import bootstrap
import settings as settings_file
from domain.calendars import NEW_YORK
from domain.commands import Kind
from ui import keys, roles, sign_in, wording
from ui.asking import ask, engine_runs, fate, show_fate
from ui.session import Open

FEED = "etrade"
OFF = """
E\\*TRADE is off. To use it, choose an environment here and give its key: E\\*TRADE gives one for each. Then choose
E\\*TRADE under Data source. What `.env` says wins (`ETRADE_ENVIRONMENT`,
`ETRADE_CONSUMER_KEY`, `ETRADE_CONSUMER_SECRET`).

To try everything without a key: `make simulator` in a second terminal, and the environment *simulator*.
`docs/etrade.md` has the whole way, from the agreements to the daily sign-in. Where orders go is not chosen here: that
is `TRADING` in `.env`, and armed under Trading.
"""
KEYS_ON = "Keys and environment"
TOMORROW = """
E*TRADE ends every sign-in at midnight in New York; nobody can stay signed in for longer.

- **Prices stop** at midnight, and the charts show what is kept. The desk says so in red on every page.
"""
AT_ETRADE = """
- **This desk's stops** rest at E*TRADE and work without us. Nothing else can be sent, no entry and no exit, and targets
  are not watched. After the next sign-in everything is read and compared again first.
- **Orders for the day** end with the day.
"""
ON_PAPER = """
- **This paper desk** holds its positions and its stops, but it fills orders from E*TRADE's prices: no stop of it can
  trigger until somebody signs in. A stop that was passed meanwhile fills at the first price after it.
- **Orders at E*TRADE itself**, placed on its web site, need no sign-in of ours: good-till-cancelled stops rest there
  and work, orders for the day end with the day.
"""
STATES = {
    "live": ("Signed in", "green"),
    "idle": ("Signed in, asleep", "orange"),
    "dead": ("Sign in again", "red"),
    "none": ("Nobody is signed in", "red"),
    "key refused": ("E*TRADE refuses the key", "red"),
    "elsewhere": ("Another process has E*TRADE", "orange"),
}
VERDICTS = {"ok": (":material/check_circle:", "green"), "warn": (":material/warning:", "orange")}
_FAILED = (":material/error:", "red")
_LINK, _CODE, _OUT, _CHECK, _SEEN = "etrade_link", "etrade_code", "etrade_out", "etrade_check", "etrade_seen"


def etrade(app: Open) -> None:
    """The whole tab."""
    environment = settings_file.load().etrade_environment  # of now: a key may just have been typed
    if app.desk.market.name != FEED:
        if environment == "off":
            st.markdown(OFF)
        else:
            st.info(
                f"E*TRADE is set up ({environment}) and not in use: choose it under Data source.",
                icon=":material/power_settings_new:",
            )
        keys.key_form(app, FEED)
        return
    _in_use(app)
    with st.expander(KEYS_ON, icon=":material/key:"):
        keys.key_form(app, FEED)


def _in_use(app: Open) -> None:
    told = _told()
    st.session_state[_SEEN] = bool(told and told["signed_in"])
    _standing()
    if told is None or told["state"] == "elsewhere":
        return
    if told["signed_in"]:
        _signed_in(app)
    elif not roles.said(Kind.SIGN_IN, "etrade_in"):
        _sign_in()
    doctor()
    with st.expander("What happens if nobody signs in tomorrow"):
        at_etrade = bootstrap.trading().place.needs_arming
        st.markdown(TOMORROW.rstrip() + (AT_ETRADE if at_etrade else ON_PAPER))
    with st.expander("Calls left, and the clock"):
        _limits(told)


def _told() -> dict[str, Any] | None:
    """What the engine last said of the sign-in; None where no engine of this desk has said anything lately."""
    try:
        trading = bootstrap.trading()
        status = trading.reader.engine()
        if status is None or not engine_runs(trading):
            return None
        found: dict[str, Any] | None = status.details.get("etrade")
        return found
    except Exception:  # noqa: BLE001 - the bar above the page says what is broken
        return None


@st.fragment(run_every=1.0)
def _standing() -> None:
    """The state in large words and the time that is left, each second; the page is drawn anew when the state turns."""
    told = _told()
    if told is None:
        st.warning("The engine has not said yet how the sign-in stands: it says so within seconds of its start.")
        return
    if bool(told["signed_in"]) != st.session_state.get(_SEEN):
        st.rerun(scope="app")
    words, colour = STATES.get(str(told["state"]), (str(told["state"]), "orange"))
    mark, left = st.columns([3, 2], vertical_alignment="center")
    with mark:
        st.markdown(f"## :{colour}[{words}]")
        st.write(wording.plain(f"{told['label']}{' ' + told['account'] if told['account'] else ''} · {_since(told)}"))
    left.metric("Until midnight in New York", _countdown(told), help="E*TRADE ends every sign-in then")
    if not told["signed_in"]:
        st.caption(wording.plain(told["said"]))
    if told["problem"]:
        st.warning(wording.plain(f"Last problem: {told['problem']}"), icon=":material/warning:")


def _since(told: Mapping[str, Any]) -> str:
    if not told["signed_in"] or not told["issued_at"]:
        return "no sign-in"
    return f"signed in at {datetime.fromisoformat(told['issued_at']).astimezone(NEW_YORK):%H:%M} New York"


def _countdown(told: Mapping[str, Any]) -> str:
    left = max(0, int(told["seconds_left"]))
    return f"{left // 3600} h {left // 60 % 60:02} min {left % 60:02} s"


# Signing in


def _sign_in() -> None:
    key = st.session_state.get(_LINK)
    st.markdown("**1.** Get a link, open it, sign in at E*TRADE and accept. It shows a code.")
    if key is None or fate(key).state in ("not asked", "not sent", "refused"):
        st.button(
            "Get the link",
            type="primary",
            icon=":material/link:",
            key="etrade_get",
            on_click=_new,
            args=(_LINK, "link"),
        )
    if key is not None:
        _watched(key)
    st.markdown("**2.** Paste the code here. The link and its code are good for five minutes.")
    with st.form("etrade_form", border=False):
        field, button = st.columns([3, 1], vertical_alignment="bottom")
        field.text_input(
            "Paste the code", key="etrade_pasted", max_chars=32, placeholder="WX8Y2", autocomplete="one-time-code"
        )
        button.form_submit_button("Sign in", type="primary", width="stretch", on_click=_finish)
    if said := st.session_state.pop("etrade_wrong", None):
        st.error(said, icon=":material/error:")
    if code := st.session_state.get(_CODE):
        show_fate(code)


def _watched(key: str) -> None:
    """The link as soon as it is there; looked at again each second until then."""
    waits = fate(key).state == "queued"
    st.fragment(run_every=0.5 if waits else None)(_link)(key, waits)


def _link(key: str, waits: bool) -> None:
    now = fate(key)
    if waits and now.state != "queued":
        st.rerun(scope="app")
    if now.state != "done":
        show_fate(key)
        return
    opened, again = st.columns([1, 1])
    opened.link_button(
        "Open the link", str(now.details["url"]), type="primary", icon=":material/open_in_new:", width="stretch"
    )
    again.button(
        "Get another", key="etrade_again", on_click=_new, args=(_LINK, "link"), width="stretch", help="Where it is old"
    )


def _new(name: str, step: str) -> None:
    """A wish of its own for each press."""
    key = st.session_state[name] = f"etrade-{step}-{uuid4().hex}"
    ask(Kind.SIGN_IN, {"step": step}, key)


def _finish() -> None:
    """The same code of the same link is the same wish, however often it is sent."""
    link, code = st.session_state.get(_LINK), (st.session_state.get("etrade_pasted") or "").strip()
    if not link or not code:
        st.session_state["etrade_wrong"] = "Get the link first." if not link else "Paste the code first."
        return
    told = hashlib.sha256(f"{link} {code}".encode()).hexdigest()[:24]
    key = st.session_state[_CODE] = f"etrade-code-{told}"
    ask(Kind.SIGN_IN, {"step": "code", "code": code}, key)


# Signed in


def _signed_in(app: Open) -> None:
    for name in (_LINK, _CODE):
        st.session_state.pop(name, None)
    _accounts()
    if not app.may(Kind.SIGN_IN):
        return
    st.button("Sign out", icon=":material/logout:", key="etrade_leave", on_click=_new, args=(_OUT, "out"))
    if key := st.session_state.get(_OUT):
        show_fate(key)


@st.fragment(run_every=2.0)
def _accounts() -> None:
    """What E*TRADE said is in them, when it was last asked."""
    told = _told()
    rows = [
        {
            "Account": one["account"],
            "Kind": f"{one['type']}, {str(one['mode']).lower()}" if one["mode"] else one["type"],
            "Value": wording.amount(one["value"]),
            "Cash": wording.amount(one["cash"]),
            "Buying power": wording.amount(one["buying_power"]),
        }
        for one in (told["accounts"] if told else [])
    ]
    if rows:
        right = st.column_config.TextColumn(alignment="right")
        config = dict.fromkeys(("Value", "Cash", "Buying power"), right)
        st.dataframe(rows, hide_index=True, key="etrade_accounts", column_config=config)


# What is in the way


def doctor(label: str = "Look now") -> None:
    """The button that has the engine look at everything, and what it found."""
    if not sign_in.may(sign_in.who(), Kind.SIGN_IN):
        return
    st.subheader("Doctor")
    st.caption("Looks at keys, clock, sign-in, accounts, prices, agreements and orders. It changes nothing.")
    st.button(label, icon=":material/stethoscope:", key="etrade_look", on_click=_new, args=(_CHECK, "check"))
    if key := st.session_state.get(_CHECK):
        waits = fate(key).state == "queued"
        st.fragment(run_every=0.5 if waits else None)(_checks)(key, waits)


def _checks(key: str, waits: bool) -> None:
    now = fate(key)
    if waits and now.state != "queued":
        st.rerun(scope="app")
    if now.state != "done":
        show_fate(key)
        return
    for check in now.details["checks"]:
        icon, colour = VERDICTS.get(check["verdict"], _FAILED)
        said = " ".join(wording.sentence(text) for text in (check["said"], check["cure"]) if text)
        st.markdown(f":{colour}[{icon} **{wording.sentence(check['name'], '')}**] {wording.plain(said)}")


def _limits(told: Mapping[str, Any]) -> None:
    rows = [
        {
            "Calls about": one["module"],
            "Left this hour": f"{one['left_in_hour']:,}",
            "Of": f"{one['per_hour']:,}",
            "A second": str(one["per_second"]),
        }
        for one in told["budget"]
    ]
    if rows:
        st.dataframe(rows, hide_index=True, key="etrade_budget")
    skew = told["skew_s"]
    if skew is None:
        st.caption("E*TRADE's clock has not been compared with this machine's yet.")
    else:
        side = "behind" if skew > 0 else "ahead of"
        st.caption(f"This machine's clock is {abs(skew):.1f} s {side} E*TRADE's; five minutes are too much.")
