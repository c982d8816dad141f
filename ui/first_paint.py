"""What the page that carries Streamlit is given before it is sent: the desk's colours, and room for what comes.

Streamlit's page is empty and white until its scripts have run, and its parts push each other about as they arrive. With
these few rules in its head it has its own ground from the first moment, and each part finds its place kept.
"""

from __future__ import annotations

import functools
from pathlib import Path

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ui import theme

_HERE = Path(__file__).parent / "components"
_HEAD = b"</head>"
_LEFT_OUT = (b"accept-encoding", b"if-none-match", b"if-modified-since")


@functools.cache
def head() -> bytes:
    """What stands at the end of the page's head."""
    sheet = theme.css() + (_HERE / "look.css").read_text(encoding="utf-8")
    script = (_HERE / "look.js").read_text(encoding="utf-8")
    return f'<meta name="color-scheme" content="light dark"><style>{sheet}</style><script>{script}</script>'.encode()


class FirstPaint:
    """Adds `head()` to every page that carries Streamlit; everything else passes through untouched."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] != "http"
            or scope["method"] != "GET"
            or "text/html" not in Headers(scope=scope).get("accept", "")
        ):
            await self._app(scope, receive, send)
            return
        # As it is on the disk: neither packed, nor compared with what a browser kept from before.
        asked = {**scope, "headers": [pair for pair in scope["headers"] if pair[0].lower() not in _LEFT_OUT]}
        await self._app(asked, receive, _Page(send).hear)


class _Page:
    """One answer on its way; only a page of Streamlit's is held back until it is whole."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = b""

    async def hear(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _page(message):
            self._start = message
        elif self._start is None:
            await self._send(message)
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._whole(self._start)

    async def _whole(self, start: Message) -> None:
        body = self._body.replace(_HEAD, head() + _HEAD, 1) if b'id="root"' in self._body else self._body
        headers = MutableHeaders(raw=start["headers"])
        headers["content-length"] = str(len(body))
        await self._send(start)
        await self._send({"type": "http.response.body", "body": body})


def _page(message: Message) -> bool:
    headers = Headers(raw=message["headers"])
    return headers.get("content-type", "").startswith("text/html") and "content-encoding" not in headers


FIRST_PAINT = Middleware(FirstPaint)
