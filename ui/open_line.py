"""A WebSocket stays open longer than a sign-in may stand: what comes in on it is looked at anew each time.

The rule: while the sign-in stands the browser is heard word for word. From then on whatever it says is heard as "run
the page anew", which shows the way to sign in and nothing else; a browser that says nothing is told so by itself.
Looking at the page is not enough: its parts that tick run alone, and a press is answered before the page is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from google.protobuf.message import DecodeError
from starlette.types import Message, Receive
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState

LOOK_EVERY_S = 2.0
Shut = Callable[[], Awaitable[bool]]


class OpenLine:
    """What the server hears of one browser. `shut` says whether who is at the other end has been put out."""

    def __init__(self, receive: Receive, shut: Shut) -> None:
        self._receive, self._shut = receive, shut
        self._coming: asyncio.Future[Message] | None = None
        self._where = ClientState()
        self._out = False

    async def __call__(self) -> Message:
        """The next message for Streamlit."""
        while True:
            message = await self._next()
            if message is not None and message["type"] != "websocket.receive":
                return message
            was, self._out = self._out, await self._shut()
            if self._out and (message is not None or not was):
                return self._anew()
            if message is not None:
                self._remember(message)
                return message

    def close(self) -> None:
        """Wait for nothing any more."""
        if self._coming is not None:
            self._coming.cancel()

    async def _next(self) -> Message | None:
        """What the browser says; None where it said nothing for a while."""
        self._coming = self._coming or asyncio.ensure_future(self._receive())
        await asyncio.wait({self._coming}, timeout=LOOK_EVERY_S)
        if not self._coming.done():
            return None
        message, self._coming = self._coming.result(), None
        return message

    def _remember(self, message: Message) -> None:
        """Which page it shows, for the way back to it."""
        with contextlib.suppress(DecodeError, TypeError):
            asked = BackMsg.FromString(message.get("bytes") or b"")
            if asked.WhichOneof("type") == "rerun_script":
                about = asked.rerun_script
                names = ("query_string", "page_script_hash", "page_name")
                self._where = ClientState(**{name: getattr(about, name) for name in names})

    def _anew(self) -> Message:
        return {"type": "websocket.receive", "bytes": BackMsg(rerun_script=self._where).SerializeToString()}
