"""Signing in: the page, the routes behind it, and who is asking, for pages.

    POST /auth/login    name, password, next; a form or JSON. Sets the cookie, which no script can read.
    POST /auth/logout   ends the sign-in and takes the cookie away

The password goes from the browser to this route by a plain form: no Streamlit state, no log and no script sees it.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import parse_qs

import orjson
import streamlit as st
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

import bootstrap
from desk.authority import DEEDS, LOCAL_OWNER, MAY, STOPS, Deed, Role
from desk.door import is_loopback
from desk.known import IDLE_AFTER, SignedIn
from desk.people import OWNER
from domain.clock import SystemClock
from domain.commands import Kind
from domain.errors import AccountError, DeskError, LockedOut
from ui import theme
from ui.doorkeeper import (
    COOKIES,
    LOGIN,
    LOGOUT,
    PAGE,
    UNREADABLE,
    Doorkeeper,
    cookie,
    own_origin,
    secret_in,
    secret_of,
)

MOST_BYTES, BODY_S = 4096, 10.0
AT_ONCE, IN_LINE = 2, 8  # each costs half a second of a core; the engine needs the others
BUSY = "Many are signing in at this moment. Try again in a few seconds."
UNSTATED = "an unstated proxy"  # one for all: what it says is nobody's address
CODE_FIRST = "Give a one-time code first (Settings, People): this changes who may come in."
ELSEWHERE = "Sign in on the desk's own page."
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with none at all a form would say Origin: null
}
_TEMPLATE = Template((Path(__file__).parent / "sign_in.html").read_text(encoding="utf-8"))
_log = logging.getLogger(__name__)


class Gate:
    """A few passwords at a time, a few in line, and a word for the others."""

    def __init__(self, at_once: int = AT_ONCE, in_line: int = IN_LINE) -> None:
        self._free, self._most, self._here = asyncio.Semaphore(at_once), at_once + in_line, 0

    async def through(self, work: Callable[[], Any]) -> Any:
        """What `work` gives, on a thread of its own; Full where the line is long."""
        if self._here >= self._most:
            raise Full
        self._here += 1
        try:
            async with self._free:
                return await run_in_threadpool(work)
        finally:
            self._here -= 1


class Full(Exception):
    """Too many at once."""


@functools.cache
def gate(loop: asyncio.AbstractEventLoop) -> Gate:
    """The one of this server."""
    return Gate()


# What pages ask


def who() -> SignedIn | None:
    """Who looks at this page, as of now; None for a stranger, and where a desk has no accounts (`needed`)."""
    return bootstrap.accounts().who(_secret())


def needed() -> bool:
    """Whether this desk asks people to sign in."""
    return bootstrap.accounts().any()


def pressed() -> SignedIn | None:
    """The same as `who`, for a callback: a hand was there, which counts as activity."""
    return bootstrap.accounts().active(_secret())


def actor(kind: Kind) -> str:
    """What a command of this page names as its actor: a reference the engine looks up. AccountError for a stranger.
    What stops the desk waits for nothing: that a hand was there need not be written down first."""
    if not needed():
        return LOCAL_OWNER
    signed = who() if kind in STOPS else pressed()
    if signed is None:
        raise AccountError("You are not signed in any more. Sign in and try again.")
    return signed.actor


def person(signed: SignedIn | None) -> str:
    """Whose choices these are (`desk.people`): every owner's are the desk's own."""
    return OWNER if signed is None or signed.role is Role.OWNER else signed.name


def may(signed: SignedIn | None, what: Deed | Kind) -> bool:
    """Whether it is worth offering to who looks; None: the owner of a desk without accounts."""
    if signed is None:
        return True
    return what in MAY[signed.role] if isinstance(what, Kind) else what in DEEDS[signed.role]


def must(deed: Deed, secret: str | None = None) -> str:
    """In a callback, before a page does something by itself: the name of who does it. AccountError for who may not, and
    for an idle sign-in where it is more than a look. `secret`: of the sign-in's cookie, where no page runs."""
    if not needed():
        return LOCAL_OWNER
    signed = bootstrap.accounts().active(_secret() if secret is None else secret)
    if signed is None:
        raise AccountError("You are not signed in any more. Sign in and try again.")
    if deed not in DEEDS[signed.role]:
        raise AccountError(f"{signed.name} may not {deed}: the role is {signed.role}. Ask the owner.")
    if signed.idle and deed not in DEEDS[Role.VIEWER]:
        raise AccountError(idle_words(signed))
    if deed is Deed.PEOPLE and not bootstrap.accounts().fresh(signed):
        raise AccountError(CODE_FIRST)
    return signed.name


def leave() -> None:
    """Sign out from within a page, in a callback."""
    bootstrap.accounts().sign_out(_secret())


def guard() -> SignedIn | None:
    """A page's first line after its title: who looks, or the way to sign in and nothing else of the page. None where
    the desk has no accounts. Whatever cannot be looked up is a stranger."""
    try:
        if not needed():
            return None
        signed = who()
    except DeskError as error:
        _log.error("nobody is let in: %s", error)
        st.error(UNREADABLE)
        st.stop()
    if signed is None:
        card()
        st.stop()
    return signed


def card() -> None:
    """What a stranger sees of any page: that it wants a sign-in, and the way there and back."""
    with st.container(horizontal_alignment="center"), st.container(border=True, width=420):
        st.subheader("Sign in", anchor=False)
        st.write("This desk shows nothing before you have signed in. Your sign-in is over, or there was none.")
        way_in("card")


def way_in(key: str) -> None:
    """The button that leads to the page to sign in, and back to this one."""
    _way_in(data={"to": PAGE}, key=f"sign_in_way_{key}")


_way_in = st.components.v2.component(
    "desk_sign_in",
    html="<a class='si'>Sign in</a>",
    css=".si { display: block; padding: .5rem 1rem; border-radius: 8px; text-align: center; text-decoration: none; "
    "background: var(--desk-accent); color: var(--desk-on-accent); font: inherit; font-weight: 600; }",
    js="""export default function ({ data, parentElement }) {
  const link = parentElement.querySelector("a");
  link.href = data.to + "?next=" + encodeURIComponent(location.pathname + location.search);
  link.target = "_top";
}""",
)


def idle_words(signed: SignedIn) -> str:
    """Why who has pressed nothing for a while cannot trade; '' where they can."""
    minutes = int(IDLE_AFTER.total_seconds() // 60)
    return f"Nothing was pressed for {minutes} minutes: sign in again to change anything." if signed.idle else ""


def _secret() -> str:
    return secret_in(st.context.cookies)


# The routes


async def _page(request: Request) -> Response:
    back = safe_next(request.query_params.get("next", ""))
    try:
        signed = await run_in_threadpool(lambda: bootstrap.accounts().who(secret_of(request.headers)))
    except DeskError as error:
        _log.error("nobody is let in: %s", error)
        return _drawn(back, UNREADABLE, 503)
    if signed is not None and not signed.idle:
        return RedirectResponse(back, 303, headers=HEADERS)
    return _drawn(back, idle_words(signed) if signed else "", name=signed.name if signed else "")


async def _login(request: Request) -> Response:
    fields = await fields_of(request)
    if fields is None:
        return _refused(request, {}, 400, "This is not a sign-in.")
    if not own_origin(request.headers):
        return _refused(request, fields, 403, ELSEWHERE)
    back = safe_next(fields.get("next", ""))
    try:
        secret = await gate(asyncio.get_running_loop()).through(lambda: _signed_in(request, fields))
    except Full:
        return _refused(request, fields, 429, BUSY, retry=5)
    except LockedOut as error:
        wait = max(1, int((error.until - SystemClock().now()).total_seconds()) + 1)
        return _refused(request, fields, 429, locked_words(error.until, wait), retry=wait)
    except AccountError as error:
        return _refused(request, fields, 401, str(error))
    except DeskError as error:
        _log.error("nobody can sign in: %s", error)
        return _refused(request, fields, 503, UNREADABLE)
    answer: Response = RedirectResponse(back, 303, headers=HEADERS)
    if is_json(request):
        answer = JSONResponse({"next": back}, headers=HEADERS)
    give_cookie(answer, secret)
    return answer


async def _logout(request: Request) -> Response:
    if not own_origin(request.headers):
        return _refused(request, {}, 403, ELSEWHERE)
    try:
        await run_in_threadpool(lambda: bootstrap.accounts().sign_out(secret_of(request.headers)))
    except DeskError as error:
        _log.error("a sign-out failed: %s", error)
        return _refused(request, {}, 503, UNREADABLE)
    answer: Response = RedirectResponse(PAGE, 303, headers=HEADERS)
    if is_json(request):
        answer = JSONResponse({"next": PAGE}, headers=HEADERS)
    for name in COOKIES:
        answer.delete_cookie(name, path="/", httponly=True, samesite="lax", secure=name.startswith("__Host-"))
    return answer


def _signed_in(request: Request, fields: dict[str, str]) -> str:
    return bootstrap.accounts().sign_in(
        fields.get("name", ""),
        fields.get("password", ""),
        address_of(request),
        replacing=secret_of(request.headers),
    )


def address_of(request: Request) -> str:
    """Where a request came from: its sender, or what the stated proxy says of it (the last entry: its own)."""
    sender, stated = request.client.host if request.client else "", bootstrap.reached_by()[1]
    # A proxy may add to the visitor's own line or a line of its own beneath it.
    lines = ",".join(request.headers.getlist("x-forwarded-for"))
    told = [_host(entry.strip()) for entry in lines.split(",") if entry.strip()]
    # Streamlit's server believes whoever comes from this machine, and gives that as the sender.
    believed = bool(sender) and sender in told
    if told and (sender == stated or (believed and is_loopback(stated))):
        return told[-1][:45]
    return UNSTATED if believed else sender


def _host(entry: str) -> str:
    """An address without its port."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry


def safe_next(path: str) -> str:
    """Where to go after signing in: a page of this desk, never another site."""
    plain = path.startswith("/") and not path.startswith(("//", "/\\", PAGE, "/auth/", "/_stcore"))
    return path if plain and path.isprintable() and "\\" not in path and len(path) <= 500 else "/"


def locked_words(until: datetime, wait_s: int) -> str:
    """How long it is locked, for a person: the same for a name that nobody has."""
    for_words = f"{wait_s} s" if wait_s < 90 else f"{round(wait_s / 60)} min"
    return f"Too many attempts. Try again in {for_words}, at {until.astimezone(UTC):%H:%M:%S} UTC."


async def fields_of(request: Request) -> dict[str, str] | None:
    """What was sent, by a form or as JSON; None where it is too much or too slow, or neither a form nor JSON of
    texts."""
    body = b""
    try:
        async with asyncio.timeout(BODY_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MOST_BYTES:
                    return None
    except TimeoutError:
        return None
    with suppress(ValueError, UnicodeDecodeError):
        if is_json(request):
            found = orjson.loads(body)
            texts = isinstance(found, dict) and all(isinstance(value, str) for value in found.values())
            return found if texts else None
        if _kind(request) == "application/x-www-form-urlencoded":
            pairs = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=10)
            return {name: values[0] for name, values in pairs.items()}
    return None


def _kind(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def is_json(request: Request) -> bool:
    return _kind(request) == "application/json"


def _refused(request: Request, fields: dict[str, str], status: int, said: str, *, retry: int = 0) -> Response:
    more = {"Retry-After": str(retry)} if retry else {}
    if is_json(request):
        return JSONResponse({"problem": said}, status, headers={**HEADERS, **more})
    return _drawn(safe_next(fields.get("next", "")), said, status, more, name=fields.get("name", ""))


def _drawn(
    back: str, said: str = "", status: int = 200, more: dict[str, str] | None = None, *, name: str = ""
) -> Response:
    said_html = f'<p class="said" role="alert">{escape(said)}</p>' if said else ""
    focus = {"focus_name": "" if name else " autofocus", "focus_password": " autofocus" if name else ""}
    page = _TEMPLATE.substitute(
        inks=theme.css(), action=LOGIN, next=escape(back), said=said_html, name=escape(name[:60]), **focus
    )
    return HTMLResponse(page, status, headers={**HEADERS, **(more or {})})


def give_cookie(answer: Response, secret: str) -> None:
    """Hand the secret of a sign-in to the browser, where no script can read it."""
    name, secure = cookie()
    answer.set_cookie(name, secret, httponly=True, samesite="lax", secure=secure, path="/")


ROUTES = [
    Route(PAGE, _page, methods=["GET"]),
    Route(LOGIN, _login, methods=["POST"]),
    Route(LOGOUT, _logout, methods=["POST"]),
]
DOORKEEPER = Middleware(Doorkeeper, accounts=lambda: bootstrap.accounts())
