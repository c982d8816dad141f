"""Settings → People: who may come in, as what, who is in, and what happened; for owners.

The rule: passwords go to `POST /auth/people` and never through Streamlit. Everything else is a press of a button, and
`sign_in.must` says whose.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

import bootstrap
from desk.accounts import Accounts
from desk.authority import LOCAL_OWNER, Deed, Role
from desk.known import Account, SignedIn
from domain.errors import AccountError, DeskError
from ui import roles, sign_in, wording
from ui.private_post import Asked, Done, route
from ui.sealed_form import Field, sealed_form
from ui.session import Open

POST = "/auth/people"
TAB = "People"
RULES = "Twelve characters or more; four random words do well."
TWICE = "The two passwords are not the same: nothing was changed."
MEANS = {
    Role.VIEWER: "sees everything, changes own colours, watch list and subscriptions",
    Role.TRADER: "and places orders, adopts strategies, runs backtests and training",
    Role.OWNER: "and sets limits, keys, channels, models, people, and arms live trading",
}
WITHOUT = """
This desk has no account. It opens for whoever sits at this machine, without asking who that is, and for nobody else:
from other machines it does not open at all.

From the first account on it asks everybody to sign in, on this machine too, and the engine refuses what a role may not.
The first account is an owner's: yours. There is no default password, and nobody can send you a new one: `python -m
desk.accounts password NAME` on this machine sets another.
"""
EVENTS = 50
_SAID = "people_said"


def new_password(label: str = "Password") -> list[Field]:
    """The fields for a new one, twice."""
    first = Field("password", label, "password", "new-password", hint=RULES)
    return [first, Field("again", "The same again", "password", "new-password")]


def password_of(asked: Asked) -> str:
    """What was typed twice."""
    if asked.text("password") != asked.text("again"):
        raise AccountError(TWICE)
    return asked.text("password")


def people(app: Open) -> None:
    """The whole tab."""
    if not app.may(Deed.PEOPLE):
        roles.said(Deed.PEOPLE, "people")
        return
    if app.signed is None:
        _first()
        return
    _code(app.signed)
    with st.container():  # one place, however many: what the form beneath says stays when somebody is added
        may_change = _everybody(app)
    if may_change:
        _add()
    _events(app)


def _code(signed: SignedIn) -> None:
    """Who has one-time codes gives one before changing people: a password alone makes no owner and takes no codes."""
    from ui import own_account  # it takes the fields of a new password from here

    if bootstrap.accounts().fresh(signed):
        return
    st.markdown("**One-time code** of your authenticator app, before anything here is changed:")
    sealed_form(own_account.POST, [own_account.CODE], "Give the code", key="people_code", hidden={"do": "confirm"})


def _everybody(app: Open) -> bool:
    """A line for each person, and whether who looks may change them."""
    if told := st.session_state.pop(_SAID, None):
        good, said = told
        (st.success if good else st.error)(wording.plain(said), icon=":material/check:" if good else ":material/error:")
    may_change = not roles.said(Deed.PEOPLE, "people")
    accounts = bootstrap.accounts()
    inside = accounts.sign_ins()
    for account in accounts.all():
        _person(app, account, [one for one in inside if one.name == account.name], may_change)
    return may_change


def _first() -> None:
    st.markdown(WITHOUT)
    fields = [Field("name", "Name to sign in with", autocomplete="username"), *new_password()]
    sealed_form(POST, fields, "Make the first owner", key="people_first", hidden={"do": "first"})


# One person


def _person(app: Open, account: Account, inside: list[SignedIn], may_change: bool) -> None:
    codes = bootstrap.accounts().has_codes(account.name)
    words = [
        str(account.role),
        "suspended" if account.suspended else "",
        f"{len(inside)} sign-in{'' if len(inside) == 1 else 's'}" if inside else "",
        "one-time codes" if codes else "",
        f"in {account.source}" if account.source else "",
    ]
    label = f"**{wording.plain(account.name)}** · {' · '.join(wording.plain(word) for word in words if word)}"
    with st.expander(label, icon=":material/person:", key=f"people_{account.name}"):
        for one in inside:
            _inside(app, one, may_change)
        if not inside:
            st.caption("Not signed in.")
        if account.source:
            st.caption(f"Role and password are written in {wording.plain(account.source)}: change them there.")
        if may_change:
            _actions(account, inside, codes)


def _inside(app: Open, one: SignedIn, may_change: bool) -> None:
    own = app.signed is not None and one.ref == app.signed.ref
    idle = "idle" if one.idle else "active"
    since, seen = (wording.hour(moment, app.zone) for moment in (one.began, one.seen))
    zone = wording.zone_name(app.zone)
    with st.container(horizontal=True, vertical_alignment="center", key=f"people_in_{one.ref}"):
        where = wording.plain(one.address or "an unknown address")
        this = " · **this browser**" if own else ""
        st.markdown(f"From {where} since {since}, last press {seen} {zone} · {idle}{this}")
        if may_change and not own:
            st.button(
                "End",
                key=f"people_end_{one.ref}",
                on_click=_press,
                args=(lambda accounts, by: accounts.revoke(one.ref, by=by), f"One sign-in of {one.name} is over."),
            )


def _actions(account: Account, inside: list[SignedIn], codes: bool) -> None:
    name = account.name
    with st.container(horizontal=True, vertical_alignment="bottom", key=f"people_do_{name}"):
        if not account.source:
            _role(account)
            with st.popover("Set a password", icon=":material/password:"):
                st.write(f"Every sign-in of {name} is over with it.")
                hidden = {"do": "password", "name": name}
                sealed_form(POST, new_password("New password"), "Set it", key=f"people_password_{name}", hidden=hidden)
            _suspension(account)
        if inside:
            _button(
                name, "End every sign-in", "out", lambda a, by: a.revoke_all(name, by=by), "is signed out everywhere"
            )
        if codes:
            with st.popover("Take one-time codes away"):
                st.write(f"For a phone that is lost. {name} then sets them up anew, and cannot arm until then.")
                said = "has no one-time codes any more"
                _button(name, "Take them away", "codes", lambda a, by: a.forget_codes(name, by=by), said)
        if not account.source:
            with st.popover("Remove", icon=":material/person_remove:"):
                st.write(f"{name} is out at once and cannot come in again. What {name} did stays in the books.")
                _button(
                    name,
                    f"Remove {name} for good",
                    "gone",
                    lambda a, by: _removed(a, name, by),
                    "has no account any more",
                )


def _removed(accounts: Accounts, name: str, by: str) -> None:
    accounts.remove(name, by=by)
    bootstrap.people().forget(name)


def _role(account: Account) -> None:
    name, key = account.name, f"people_role_{account.name}"
    with st.popover("Change role", icon=":material/badge:"):
        others = [role for role in Role if role is not account.role]
        st.radio(f"From {account.role} to", others, key=key, captions=[MEANS[role] for role in others])
        st.caption(f"Every sign-in of {name} is over with it; the next one has the new role.")
        st.button("Give this role", key=f"{key}_give", on_click=_give_role, args=(name, key))


def _give_role(name: str, key: str) -> None:
    role = Role(st.session_state[key])
    _press(
        lambda accounts, by: accounts.set_role(name, role, by=by), f"{name} is {role} now, from the next sign-in on."
    )


def _suspension(account: Account) -> None:
    name = account.name
    if account.suspended:
        _button(name, "Restore", "restore", lambda a, by: a.restore(name, by=by), "may sign in again")
    else:
        said = "is out, and stays out until restored"
        _button(name, "Suspend", "suspend", lambda a, by: a.suspend(name, by=by), said)


def _button(name: str, label: str, what: str, work: Callable[[Any, str], None], said: str) -> None:
    st.button(label, key=f"people_{what}_{name}", on_click=_press, args=(work, f"{name} {said}."))


def _press(work: Callable[[Any, str], None], said: str) -> None:
    try:
        work(bootstrap.accounts(), sign_in.must(Deed.PEOPLE))
        st.session_state[_SAID] = (True, said)
    except DeskError as error:
        st.session_state[_SAID] = (False, wording.sentence(str(error)))


# Everybody


def _add() -> None:
    with st.expander("Add somebody", icon=":material/person_add:", key="people_add"):
        st.caption("They sign in with this name and password, and change the password under My account.")
        choices = [(str(role), str(role)) for role in Role]
        st.caption("  \n".join(f"**{role}** {means}" for role, means in MEANS.items()))
        fields = [Field("name", "Name"), Field("role", "Role", choices=choices), *new_password()]
        sealed_form(POST, fields, "Add", key="people_new", hidden={"do": "add"})


def _events(app: Open) -> None:
    st.subheader("What happened")
    st.button(
        "Forget wrong attempts",
        key="people_unlock",
        help="Who is locked out after wrong passwords or codes may try again at once.",
        on_click=_press,
        args=(lambda accounts, by: accounts.unlock(by=by), "Wrong attempts are forgotten."),
        disabled=bool(roles.why_not(Deed.PEOPLE)),
    )
    rows = [
        {
            f"When ({wording.zone_name(app.zone)})": wording.hour(one.at, app.zone),
            "What": one.event,
            "Who": one.name,
            "By": "" if one.by == one.name else one.by,
            "More": one.details,
        }
        for one in bootstrap.accounts().events(EVENTS)
    ]
    st.dataframe(rows, hide_index=True, key="people_events")


# What is posted


def _posted(asked: Asked) -> Done:
    accounts, name = bootstrap.accounts(), asked.text("name")
    if asked.text("do") == "first":
        return _made_first(asked)
    by = asked.must(Deed.PEOPLE)
    if not accounts.any():
        raise AccountError("The first account is an owner's: load this page anew.")
    if asked.text("do") == "add":
        role = _role_of(asked.text("role"))
        made = accounts.add(name, password_of(asked), role, by=by)
        return Done(f"{made.name} may sign in now, as {made.role}.")
    if asked.text("do") == "password":
        accounts.set_password(name, password_of(asked), by=by)
        return Done(f"{name} has another password; every sign-in under the old one is over.")
    raise AccountError("This is nothing that can be done to an account.")


def _made_first(asked: Asked) -> Done:
    """While there is none the door lets in this machine alone, so who asks sits at it."""
    if sign_in.needed():
        raise AccountError("This desk has an owner already: sign in.")
    bootstrap.accounts().add(asked.text("name"), password_of(asked), Role.OWNER, by=LOCAL_OWNER, first=True)
    return Done("Sign in now.", go=f"{sign_in.PAGE}?next=%2Fsettings%3Ftab%3D{TAB}")


def _role_of(text: str) -> Role:
    try:
        return Role(text)
    except ValueError:
        raise AccountError(f"a role is {', '.join(Role)}: got {text[:40]!r}") from None


ROUTES = [route(POST, _posted)]
