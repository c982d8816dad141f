"""Settings → My account: one's own password, sign-ins and one-time codes; for everybody who is signed in.

The rule: passwords and codes go to `POST /auth/account` and never through Streamlit; the secret of one-time codes comes
back once, to the browser, and stands in no state of the page.
"""

from __future__ import annotations

import io

import segno
import streamlit as st

import bootstrap
from desk.authority import Role
from desk.known import SignedIn
from desk.one_time import Enrolment
from domain.errors import AccountError, DeskError
from ui import sign_in, wording
from ui.doorkeeper import LOGOUT
from ui.people import new_password, password_of
from ui.private_post import Asked, Done, route
from ui.sealed_form import Field, sealed_form, signed_out_by
from ui.session import Open

POST = "/auth/account"
TAB = "My account"
BACK = "/settings?tab=My+account"
CODE = Field("code", "One-time code", autocomplete="one-time-code", placeholder="123456")
OWN_PASSWORD = Field("old", "Your password", "password", "current-password")
_WRONG = "account_wrong"


def my_account(app: Open) -> None:
    """The whole tab."""
    if (signed := app.signed) is None:
        st.caption("This desk has no accounts: it opens for whoever sits at this machine.")
        return
    st.markdown(f"**{wording.plain(signed.name)}** · {signed.role}")
    if signed.idle:
        st.caption(sign_in.idle_words(signed))
        sign_in.way_in("account")
    _here_and_elsewhere(app, signed)
    _codes(signed)
    _password(signed)


def _here_and_elsewhere(app: Open, signed: SignedIn) -> None:
    st.subheader("Signed in")
    until, zone = wording.hour(signed.ends, app.zone), wording.zone_name(app.zone)
    st.write(f"Here since {wording.hour(signed.began, app.zone)}, until {until} {zone} at most.")
    others = [one for one in bootstrap.accounts().sign_ins(signed.name) if one.ref != signed.ref]
    for one in others:
        where = wording.plain(one.address or "an unknown address")
        st.markdown(f"- from {where} since {wording.hour(one.began, app.zone)} {zone}{', idle' if one.idle else ''}")
    with st.container(horizontal=True, vertical_alignment="center", key="account_out"):
        signed_out_by(LOGOUT, "Sign out here", key="account_leave")
        if others:
            st.button("Sign out everywhere else", key="account_elsewhere", on_click=_out_elsewhere)
    if said := st.session_state.pop(_WRONG, None):
        st.error(wording.plain(said), icon=":material/error:")


def _out_elsewhere() -> None:
    """To end sign-ins takes no password: what stops must be easy."""
    try:
        signed = sign_in.pressed()
        if signed is None:
            raise AccountError("You are not signed in any more.")
        bootstrap.accounts().revoke_all(signed.name, by=signed.name, but=signed.ref)
    except DeskError as error:
        st.session_state[_WRONG] = str(error)


def _password(signed: SignedIn) -> None:
    st.subheader("Password")
    if any(one.source for one in bootstrap.accounts().all() if one.name == signed.name):
        st.caption("It is written in secrets.toml: `python -m desk.accounts hash` makes another line.")
        return
    st.caption("With another password every other sign-in of yours is over.")
    fields = [OWN_PASSWORD, *new_password("New password")]
    sealed_form(POST, fields, "Change it", key="account_password", hidden={"do": "password"})


def _codes(signed: SignedIn) -> None:
    st.subheader("One-time codes")
    if bootstrap.accounts().has_codes(signed.name):
        st.markdown(":green[:material/check_circle:] They are set up: arming live trading asks for one.")
        with st.popover("Another phone"):
            st.write("Take them away here, then set them up anew. Until then nothing can be armed in your name.")
            fields = [OWN_PASSWORD, CODE]
            sealed_form(POST, fields, "Take them away", key="account_no_codes", hidden={"do": "no codes"})
            st.caption("A lost phone: another owner takes them away under People, or this machine's shell does.")
        return
    if signed.role is not Role.OWNER:
        st.caption("A code of an authenticator app is asked for before live trading is armed, which owners do.")
        return
    st.write("A code of an authenticator app, good once and for half a minute, asked for before live trading is armed.")
    st.caption("1 · The password. What the app needs is then shown here, once: scan it.")
    sealed_form(POST, [OWN_PASSWORD], "Show what the app needs", key="account_enrol", hidden={"do": "enrol"})
    st.caption("2 · The code that the app shows then.")
    sealed_form(POST, [CODE], "This is the first code", key="account_confirm", hidden={"do": "confirm"})


# What is posted


def _posted(asked: Asked) -> Done:
    accounts, signed = bootstrap.accounts(), bootstrap.accounts().active(asked.secret)
    if signed is None:
        raise AccountError("You are not signed in any more. Sign in and try again.")
    match asked.text("do"):
        case "password":
            fresh = accounts.change_password(asked.secret, asked.text("old"), password_of(asked), asked.address)
            return Done("You have another password.", go=BACK, secret=fresh)
        case "enrol":
            return _enrolled(accounts.enrol(asked.secret, asked.text("old"), asked.address))
        case "confirm":
            accounts.confirm(asked.secret, asked.text("code"), asked.address)
            return Done("Taken. It is good for two minutes.")
        case "no codes":
            accounts.verify(signed.name, asked.text("old"), asked.address)
            accounts.confirm(asked.secret, asked.text("code"), asked.address)
            accounts.forget_codes(signed.name, by=signed.name)
            return Done("There are no one-time codes any more.")
    raise AccountError("This is nothing that can be done to an account.")


def _enrolled(found: Enrolment) -> Done:
    grouped = " ".join(found.secret[at : at + 4] for at in range(0, len(found.secret), 4))
    once = {"picture": drawn(found.uri), "Or type this into the app": grouped, "Or open this on the phone": found.uri}
    return Done("Scan it now: it is not shown again.", once=once)


def drawn(uri: str) -> str:
    """The QR code of an address, as SVG, made here and nowhere else."""
    picture = io.BytesIO()
    segno.make(uri, error="m", micro=False).save(
        picture, kind="svg", xmldecl=False, svgns=True, omitsize=True, border=2, nl=False
    )
    return picture.getvalue().decode()


ROUTES = [route(POST, _posted)]
