"""Whoever comes to the server passes here first: pages, live figures, WebSocket, uploads, all of it.

The rule: from the first account on nothing is told to who is not signed in but the page to sign in. A WebSocket comes
from the desk's own page, whatever Streamlit's options say. It guards the door; what may be done is the engine's to say.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import streamlit as st
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import bootstrap
from desk.accounts import Accounts
from desk.door import Door, is_loopback
from domain.errors import DeskError
from ui.open_line import OpenLine

PAGE, LOGIN, LOGOUT = "/sign-in", "/auth/login", "/auth/logout"
HEALTH = "/_stcore/health"
OPEN = {PAGE: ("GET", "HEAD"), LOGIN: ("POST",), LOGOUT: ("POST",), HEALTH: ("GET", "HEAD")}
SCRIPTS = "/static/"  # Streamlit's own, as everybody has them: a page that is put out still needs them to say so
COOKIES = ("__Host-sid", "sid")  # the first one only where browsers come by https
FORWARDED = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
# No other site draws the desk within a page of its own, for somebody to press what they do not see.
NOT_FRAMED = {"Content-Security-Policy": "frame-ancestors 'self'", "X-Frame-Options": "SAMEORIGIN"}
UNREADABLE = (
    "The accounts of this desk cannot be read; its log says why. On its own machine, python trading_bot.py --kill 2 "
    "stops trading all the same."
)
_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Turned:
    """Turned away: with which status, and why."""

    status: int
    said: str


class Doorkeeper:
    """The middleware. `accounts` is asked at each request, so that a sign-in revoked is a request refused."""

    def __init__(self, app: ASGIApp, accounts: Callable[[], Accounts]) -> None:
        self._app, self._accounts = app, accounts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        if scope["type"] == "http":
            send = _not_framed(send)
        turned = await self._turned(scope)
        if turned is None and scope["type"] == "websocket":
            await self._watched(scope, receive, send)
        elif turned is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": ""})  # before it is accepted: 403
        else:
            await _answer(scope, turned)(scope, receive, send)

    async def _watched(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A line that is open, for as long as it is."""

        async def shut() -> bool:
            return await self._turned(scope) is not None

        line = OpenLine(receive, shut)
        try:
            await self._app(scope, line, send)
        finally:
            line.close()

    async def _turned(self, scope: Scope) -> Turned | None:
        headers = Headers(scope=scope)
        if scope["type"] == "websocket" and not own_origin(headers):
            return Turned(403, "this address answers the desk's own page only")
        if scope["type"] == "http" and _is_open(scope["path"], scope["method"]):
            return None
        try:
            return await run_in_threadpool(self._stranger, scope, headers)
        except DeskError as error:
            _log.error("nobody is let in: %s", error)
            return Turned(503, UNREADABLE)

    def _stranger(self, scope: Scope, headers: Headers) -> Turned | None:
        accounts = self._accounts()
        if not accounts.any():
            return _from_elsewhere(scope, headers)
        return None if accounts.who(secret_of(headers)) else Turned(401, "Sign in first.")


def _not_framed(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in NOT_FRAMED.items():
                headers.setdefault(name, value)
        await send(message)

    return sent


def _is_open(path: str, method: str) -> bool:
    return method in OPEN.get(path, ()) or (path.startswith(SCRIPTS) and ".." not in path)


def _from_elsewhere(scope: Scope, headers: Headers) -> Turned | None:
    """A desk without accounts is this machine's alone, however it was started and whatever stands in front of it."""
    ends = [end[0] for end in (scope.get("server"), scope.get("client")) if end]
    if all(is_loopback(end) for end in ends) and not any(name in headers for name in FORWARDED):
        return None
    return Turned(403, "This desk has no account yet and opens on its own machine only: `make owner` makes one.")


def _answer(scope: Scope, turned: Turned) -> Response:
    """A person is led to the page to sign in and back; a program gets the status."""
    path, query = scope["path"], scope.get("query_string", b"").decode("latin-1")
    wants_page = "text/html" in Headers(scope=scope).get("accept", "") and scope["method"] in ("GET", "HEAD")
    if turned.status == 401 and wants_page:
        back = quote(path + (f"?{query}" if query else ""), safe="")
        return RedirectResponse(f"{PAGE}?next={back}", 303, headers={"Cache-Control": "no-store"})
    if wants_page:
        return PlainTextResponse(turned.said, turned.status)
    return JSONResponse({"problem": turned.said}, turned.status, headers={"Cache-Control": "no-store"})


def secret_of(headers: Headers | Any) -> str:
    """What the sign-in's cookie holds; '' where there is none."""
    return secret_in(cookie_parser(headers.get("cookie", "")))


def secret_in(cookies: Any) -> str:
    """The same, of cookies that were taken apart already (`st.context.cookies`)."""
    return str(cookies.get(cookie()[0]) or "")


def cookie() -> tuple[str, bool]:
    """The cookie's name, and whether it travels by https only. Where browsers come by https the other name counts for
    nothing: any neighbour under the same domain could plant it."""
    secure = Door.of(st.get_option, bootstrap.reached_by()[0]).secure
    return COOKIES[0 if secure else 1], secure


def own_origin(headers: Headers) -> bool:
    """Whether a page of this very host sent it: browsers always say so, and a page elsewhere cannot lie about it."""
    origins, hosts = headers.getlist("origin"), headers.getlist("host")
    if len(origins) != 1 or len(hosts) != 1:
        return False
    try:
        origin, host = urlsplit(origins[0]), urlsplit(f"//{hosts[0]}")
        port = _PORTS[origin.scheme]
        same = (origin.hostname, origin.port or port) == (host.hostname, host.port or port)
    except (ValueError, KeyError):
        return False
    return same and bool(origin.hostname) and not (origin.path or origin.query or origin.username)
