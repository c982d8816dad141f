"""Settings, Risk: every limit with what it refused this week, the way to change one, the breakers and the gates."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import streamlit as st

import bootstrap
from desk.arming import DELIBERATE
from desk.control import GLOBAL, Control
from desk.records import LimitChange
from domain.commands import Kind
from domain.errors import DeskError
from domain.gates import GATES
from domain.limits import CEILINGS, LADDER, Limits
from domain.params import Param, params_of
from domain.trading_state import TradingState
from ui import dialogs, refusals, roles, tables, wording
from ui.asking import ask, fate, show_fate
from ui.session import Open

WEEK = timedelta(days=7)
MOST_DECISIONS = 2_000
_SIGNS = {TradingState.ENABLED: "●", TradingState.REDUCE_ONLY: "◐", TradingState.DISABLED: "■"}


def risk(app: Open) -> None:
    """The whole tab."""
    try:
        _may_trade(app)
        now = in_force()
        week = this_week()
        if app.may(Kind.SET_LIMIT):
            _on_purpose(now)
        _limits(app, now, week)
        if app.may(Kind.SET_LIMIT):
            _change(now, week)
        else:
            roles.said(Kind.SET_LIMIT, "risk")
        _gates()
        _history(app)
    except DeskError as error:
        st.error(wording.plain(error), icon=":material/error:")


def in_force() -> dict[str, Any]:
    """Every limit as it is now: what was set, and the defaults of the others."""
    known = params_of(Limits)
    return {**Limits().to_dict(), **{n: v for n, v in bootstrap.trading().reader.limits().items() if n in known}}


def this_week() -> refusals.Week:
    """What the gates refused in the last seven days."""
    trading = bootstrap.trading()
    return refusals.week(trading.reader.decisions(most=MOST_DECISIONS), trading.clock.now() - WEEK)


# What may be traded now


def _may_trade(app: Open) -> None:
    """The trading state of every scope, and each account's breaker."""
    reader = bootstrap.trading().reader
    st.subheader("May trade now")
    for control in reader.controls() or [reader.trading_state()]:
        st.markdown(_control_words(control, app.zone))
    for info in reader.accounts():
        _breaker(app, info.name)


def _control_words(control: Control, zone: str) -> str:
    scope = "Everything" if control.scope == GLOBAL else control.scope.replace(":", " ")
    level = f" Kill switch {control.level.value}: {control.level.means}" if control.level else ""
    since = f" Since {wording.hour(control.at, zone)}" if control.at else ""
    who = f" by {wording.plain(control.actor)}" if control.actor else ""
    why = f": {wording.plain(control.reason)}." if control.reason else "."
    return f"{_SIGNS[control.state]} **{wording.plain(scope)}: {control.state}.**{level}{since}{who}{why}"


def _breaker(app: Open, account: str) -> None:
    breaker = bootstrap.trading().reader.breaker(account)
    if breaker is None:
        st.markdown(f"○ **Breaker of {account}: no mark yet.** It begins with the engine's first look at the equity.")
        return
    loss = breaker.loss_pct()
    day = "no mark today" if loss is None else f"today {-loss:+.2f} %".replace("-", "−")
    limit = f"trips at −{breaker.limit_pct} %"
    if not breaker.latched:
        st.markdown(f"● **Breaker of {account}: closed.** {day}, {limit}.")
        return
    st.error(
        f"**Breaker of {account}: tripped.** {day}, {limit}. {wording.plain(breaker.reason)}", icon=":material/bolt:"
    )
    if app.may(Kind.RESET_BREAKER):
        st.button(
            f"Reset the breaker of {account}",
            key=f"risk_reset_{account}",
            on_click=dialogs.soon,
            args=("reset_breaker",),
            kwargs={"account": account},
        )


@dialogs.dialog
@st.dialog("Reset the breaker")
def reset_breaker(app: Open, key: str, account: str) -> None:
    breaker = bootstrap.trading().reader.breaker(account)
    if breaker is not None:
        st.write(f"It tripped: {wording.plain(breaker.reason)}")
    st.write("Entries are allowed again, and the day's loss counts from the equity of now.")
    st.text_input("Why is it safe to go on?", key=f"risk_reason_{key}")
    payload = _reset(account, key)
    why_not = "" if payload["reason"] else "Write why: it is kept in the audit."
    label = f"Reset the breaker of {account}"
    dialogs.confirm(label, Kind.RESET_BREAKER, payload, key, now=lambda: _reset(account, key), why_not=why_not)


def _reset(account: str, key: str) -> dict[str, Any]:
    return {"account": account, "reason": st.session_state.get(f"risk_reason_{key}", "").strip()}


# Limits


def _on_purpose(now: dict[str, Any]) -> None:
    """A desk whose orders leave this machine is armed only with limits that a person has set: also to what they are."""
    trading = bootstrap.trading()
    unset = [name for name in DELIBERATE if name not in trading.reader.limits()] if trading.place.needs_arming else []
    if not unset:
        return
    key = st.session_state.setdefault("risk_purpose_key", uuid4().hex)
    if all(fate(f"{key}-{name}").settled for name in unset):  # refused: the next press is a new wish
        key = st.session_state["risk_purpose_key"] = uuid4().hex
    with st.container(border=True, key="risk_purpose"):
        st.markdown("**Nobody has set these limits yet, and arming asks for it.** Change them below, or keep them:")
        for name in unset:
            st.markdown(
                f"- `{name}`: {wording.plain(params_of(Limits)[name].help)}, **{wording.plain(shown(now[name]))}**"
            )
        values = {name: now[name] for name in unset}
        if not roles.said(Kind.SET_LIMIT, "risk_keep"):
            st.button("Set them to these values", key="risk_keep", on_click=_set, args=(values, key))


def _limits(app: Open, now: dict[str, Any], week: refusals.Week) -> None:
    """Every limit in one table."""
    st.subheader("Limits")
    try:
        Limits.from_dict(now)
    except ValueError as error:
        st.error(
            f"The limits cannot be read, so every order is refused. {wording.plain(error)}", icon=":material/error:"
        )
    counted = f"{len(week.refused)} of {week.asked} wishes were refused in the last seven days."
    st.caption(counted if week.asked else "Nothing was asked of the gates in the last seven days.")
    changed = {change.name: change for change in reversed(bootstrap.trading().reader.limit_history())}
    rows = [_row(param, now, changed.get(name), week, app.zone) for name, param in params_of(Limits).items()]
    st.dataframe(
        tables.limits_table(rows),
        hide_index=True,
        column_config=tables.LIMIT_COLUMNS,
        height="content",
        key="risk_limits",
    )
    for gate, tally in week.by_gate.items():
        st.caption(f"Gate {gate}, no limit named: refused {tally.count} ×, last: {wording.plain(tally.last)}")


def _row(
    param: Param, now: dict[str, Any], change: LimitChange | None, week: refusals.Week, zone: str
) -> dict[str, Any]:
    tally = week.by_limit.get(param.name, refusals.Tally())
    return {
        "Limit": param.name,
        "What": param.help,
        "Now": shown(now[param.name]),
        "Default": shown(param.default),
        "Ceiling": shown(CEILINGS[param.name]) if param.name in CEILINGS else wording.NOTHING,
        "Refused": tally.count,
        "Last refusal": tally.last or wording.NOTHING,
        "Changed": f"{change.actor}, {wording.hour(change.at, zone)}" if change else "never",
    }


def shown(value: Any) -> str:
    """A limit's value for a person."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(value) or "all"
    if isinstance(value, str):
        return value or "none"
    return wording.quantity(value)


def _change(now: dict[str, Any], week: refusals.Week) -> None:
    """The form: what is typed is checked by `Limits` itself, and asked for one limit at a time."""
    _sent()
    stamp = hashlib.sha256(json.dumps(now, sort_keys=True).encode()).hexdigest()[:12]
    with st.expander("Change limits", icon=":material/tune:"), st.form("risk_form", border=False):
        for called, names in [*((gate.name, gate.limits) for gate in GATES), ("ladder of strategies", LADDER)]:
            if names:
                st.markdown(f"**{called.capitalize()}**")
                for column, name in zip(_grid(len(names)), names, strict=True):
                    with column:
                        _field(params_of(Limits)[name], now[name], f"risk_{name}_{stamp}")
        st.form_submit_button("Look at the changes")
    changes = {name: value for name, value in typed(stamp).items() if value != now[name]}
    if changes:
        _proposal(now, changes, week)


def _grid(count: int) -> list[Any]:
    return [column for begin in range(0, count, 3) for column in st.columns(3)[: min(3, count - begin)]]


def _field(param: Param, value: Any, key: str) -> None:
    ceiling = f", ceiling {shown(CEILINGS[param.name])}" if param.name in CEILINGS else ""
    note = f"`{param.name}`: default {shown(param.default)}{ceiling}"
    if param.kind is bool:
        st.toggle(param.help, value=bool(value), key=key, help=note)
    elif param.kind is tuple:
        st.text_input(param.help, value=", ".join(value), key=key, help=note, placeholder="all")
    elif param.kind is str:
        st.text_area(param.help, value=value, key=key, help=note, height=68, placeholder="none")
    elif param.kind is int:
        st.number_input(param.help, value=int(value), step=1, key=key, help=note)
    else:
        st.number_input(param.help, value=float(value), step=0.1, format="%g", key=key, help=note)


def typed(stamp: str) -> dict[str, Any]:
    """The form's values as JSON, without the fields that are not drawn yet."""
    found: dict[str, Any] = {}
    for name, param in params_of(Limits).items():
        value = st.session_state.get(f"risk_{name}_{stamp}")
        if value is not None:
            found[name] = _symbols(value) if param.kind is tuple else value
    return found


def _symbols(text: str) -> list[str]:
    return [part.strip().upper() for part in text.split(",") if part.strip()]


def _proposal(now: dict[str, Any], changes: dict[str, Any], week: refusals.Week) -> None:
    """Before and after, what it would have meant this week, and the button; a wrong value says why instead."""
    try:
        Limits.from_dict({**now, **changes})
    except ValueError as error:
        st.error(wording.plain(error), icon=":material/block:")
        return
    for name, value in changes.items():
        st.markdown(f"- `{name}`: {wording.plain(shown(now[name]))} → **{wording.plain(shown(value))}**")
    st.caption(judged_again(week, changes))
    key = st.session_state.setdefault("risk_key", uuid4().hex)
    count = "1 limit" if len(changes) == 1 else f"{len(changes)} limits"
    if not roles.said(Kind.SET_LIMIT, "risk_set"):
        st.button(f"Set {count}", type="primary", key="risk_set", on_click=_set, args=(changes, key))


def judged_again(week: refusals.Week, changes: dict[str, Any]) -> str:
    """What the changed values would have done to the week's refusals, and what cannot be told."""
    touched = sum(any(reason.limit in changes for reason in order) for order in week.refused)
    if not touched:
        return (
            "None of this week's refusals came from these limits. What a tighter value would have refused is not "
            "known: orders that passed keep no figures to judge again."
        )
    passed = week.would_pass(changes)
    refused = "1 refusal" if touched == 1 else f"{touched} refusals"
    return (
        f"These limits took part in {refused} this week; with the new values "
        f"{passed} of those wishes would have passed every gate. What a tighter value would have refused is not known."
    )


def _set(changes: dict[str, Any], key: str) -> None:
    """One wish a limit; a second click sends the same keys again."""
    st.session_state.risk_sent = [
        ask(Kind.SET_LIMIT, {"name": name, "value": value}, f"{key}-{name}") for name, value in changes.items()
    ]
    st.session_state.pop("risk_key", None)


@st.fragment(run_every=1)
def _sent() -> None:
    """What became of the last changes; once all are settled the page shows the new values."""
    keys = st.session_state.get("risk_sent", [])
    for key in keys:
        show_fate(key)
    if keys and st.session_state.get("risk_settled") != keys and all(fate(key).settled for key in keys):
        st.session_state.risk_settled = keys
        st.toast(wording.plain(" ".join(fate(key).said for key in keys)))
        st.rerun()


# The gates and what was changed


def _gates() -> None:
    with st.expander(f"The {len(GATES)} gates, in order", icon=":material/door_front:"):
        st.caption("Every order passes all of them; one refusal stops it. Those for entries let a position be closed.")
        for number, gate in enumerate(GATES, 1):
            kind = "every order" if not gate.entry_checks else "entries" if not gate.checks else "entries, in part all"
            of = f" Limits: {', '.join(f'`{name}`' for name in gate.limits)}." if gate.limits else ""
            st.markdown(f"{number}. **{gate.name}** ({kind}). Passes when: {gate.passes}{of}")


def _history(app: Open) -> None:
    """Who changed what."""
    reader = bootstrap.trading().reader
    changes = [
        f"{wording.hour(c.at, app.zone)} · {c.actor} · `{c.name}`: "
        f"{'default' if c.old is None else wording.plain(shown(c.old))} → {wording.plain(shown(c.new))}"
        for c in reader.limit_history(most=50)
    ]
    switched = [
        f"{wording.hour(row.at, app.zone)} · {row.actor} · {wording.plain(row.details.get('scope', ''))}: "
        f"{row.details.get('state', '')}, {wording.plain(row.details.get('reason', ''))}"
        for row in reader.audit_tail(most=2_000)
        if row.event == "control"
    ]
    with st.expander("Changes of limits and of the trading state", icon=":material/history:"):
        for title, lines in (("Limits", changes), ("Trading state", switched)):
            st.markdown(f"**{title}**")
            st.markdown("\n".join(f"- {line}" for line in lines) or "No changes yet.")
