"""What passwords, codes and keys are posted to: routes of this server, never a Streamlit widget, whose values travel
over its WebSocket and stand in its state.

    ROUTES = [route("/auth/keys", _keep)]      def _keep(asked: Asked) -> Done: ...

The rule: JSON from the desk's own page alone. What goes wrong comes back in words and is never logged with what was
typed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from desk.authority import Deed
from domain.clock import SystemClock
from domain.errors import DeskError, LedgerError, LockedOut, WrongSignIn
from ui import sign_in, wording
from ui.doorkeeper import own_origin, secret_of

NOT_OURS = "This was not sent by the desk's own page."


@dataclass(frozen=True, slots=True)
class Asked:
    """What was posted: the fields, the secret of the sign-in's cookie ('' for none) and where it came from."""

    fields: dict[str, str] = field(repr=False)
    secret: str = field(repr=False)
    address: str = ""

    def must(self, deed: Deed) -> str:
        """As `sign_in.must`."""
        return sign_in.must(deed, self.secret)

    def text(self, name: str) -> str:
        """A field; '' where it is not there."""
        return self.fields.get(name, "")


@dataclass(frozen=True, slots=True)
class Done:
    """What to tell the form: a sentence, where to go, what to show once; `secret`: of a new sign-in, for the cookie."""

    said: str = ""
    go: str = ""
    once: dict[str, str] = field(default_factory=dict, repr=False)
    secret: str = field(default="", repr=False)


def route(path: str, work: Callable[[Asked], Done]) -> Route:
    """A route that has `work` done on a thread of its own, a few at a time; it may raise any DeskError."""
    return Route(path, _endpoint(work), methods=["POST"])


def _endpoint(work: Callable[[Asked], Done]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        if not own_origin(request.headers) or not sign_in.is_json(request):
            return _answer({"problem": NOT_OURS}, 403)
        fields = await sign_in.fields_of(request)
        if fields is None:
            return _answer({"problem": NOT_OURS}, 400)
        asked = Asked(fields, secret_of(request.headers), sign_in.address_of(request))
        try:
            done: Done = await sign_in.gate(asyncio.get_running_loop()).through(lambda: work(asked))
        except sign_in.Full:
            return _answer({"problem": sign_in.BUSY}, 429)
        except DeskError as error:
            return _refused(error)
        answer = _answer({"said": done.said, "go": done.go, "once": done.once})
        if done.secret:
            sign_in.give_cookie(answer, done.secret)
        return answer

    return endpoint


def _refused(error: DeskError) -> Response:
    if isinstance(error, LockedOut):
        wait = max(1, int((error.until - SystemClock().now()).total_seconds()) + 1)
        return _answer({"problem": sign_in.locked_words(error.until, wait)}, 429)
    if isinstance(error, LedgerError):
        logging.getLogger(__name__).error("the accounts cannot be used: %s", error)
        return _answer({"problem": sign_in.UNREADABLE}, 503)
    return _answer({"problem": wording.sentence(str(error))}, 401 if isinstance(error, WrongSignIn) else 400)


def _answer(told: dict[str, Any], status: int = 200) -> Response:
    return JSONResponse(told, status, headers=sign_in.HEADERS)
