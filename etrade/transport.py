"""How a signed request reaches E*TRADE. The rule: one request is one attempt; nothing in here asks twice.

aiohttp repeats PUT and DELETE by itself on a connection that went stale: that is switched off, and what changes
something goes out on a connection of its own, so that a stale one cannot make an order's fate uncertain.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Protocol

import aiohttp
from yarl import URL

MOST_BYTES = 4 * 1024 * 1024
TIMEOUT_S = 15.0
CONNECT_S = 5.0


@dataclass(frozen=True, slots=True)
class Request:
    """A signed request. `what` is its name in messages and logs, where no address may stand; `alone` asks for a
    connection of its own."""

    what: str
    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    alone: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back, unread; header names in lower case."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class TransportError(Exception):
    """No reply. `sent` is False only where it is certain that not a byte of the request left."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.reason, self.sent = reason, sent


class Transport(Protocol):
    async def send(self, request: Request) -> Reply:
        """Send it, once. TransportError where no whole reply came."""
        ...

    async def close(self) -> None:
        """Give back connections. Safe to call twice."""
        ...


@dataclass(slots=True)
class _Sessions:
    kept: aiohttp.ClientSession
    alone: aiohttp.ClientSession


class AiohttpTransport:
    """The real one: TLS verified, no redirects, no cookies, no proxy from the environment."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S, connect_s: float = CONNECT_S, most_bytes: int = MOST_BYTES):
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, connect=min(connect_s, timeout_s))
        self._most_bytes = most_bytes
        self._open: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Sessions] = weakref.WeakKeyDictionary()

    async def send(self, request: Request) -> Reply:
        connected = SimpleNamespace(yes=not request.alone)  # a kept connection is connected from the start
        sessions = self._sessions()
        session = sessions.alone if request.alone else sessions.kept
        try:
            async with session.request(
                request.method,
                URL(request.url, encoded=True),
                data=request.body,
                headers=request.headers,
                allow_redirects=False,
                trace_request_ctx=connected,
            ) as response:
                body = await self._body(response)
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Reply(response.status, headers, body)
        except TransportError:
            raise
        except aiohttp.ClientConnectorError as error:
            reason = getattr(getattr(error, "os_error", None), "strerror", None) or type(error).__name__
            raise TransportError(f"no connection ({reason})", sent=False) from None
        except TimeoutError:
            raise TransportError(f"no answer within {self._timeout.total:g} s", sent=connected.yes) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            # No text of the error's own: aiohttp puts the whole address there.
            reason = f"the connection broke off ({type(error).__name__})"
            raise TransportError(reason, sent=connected.yes) from None

    async def close(self) -> None:
        sessions = self._open.pop(asyncio.get_running_loop(), None)
        if sessions is not None:
            await sessions.kept.close()
            await sessions.alone.close()

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        parts, size = [], 0
        async for part in response.content.iter_chunked(65_536):
            size += len(part)
            if size > self._most_bytes:
                raise TransportError(f"the answer is larger than {self._most_bytes >> 10:,} KiB", sent=True)
            parts.append(part)
        return b"".join(parts)

    def _sessions(self) -> _Sessions:
        loop = asyncio.get_running_loop()
        known = self._open.get(loop)
        if known is None or known.kept.closed:
            known = self._open[loop] = _Sessions(self._session(alone=False), self._session(alone=True))
        return known

    def _session(self, *, alone: bool) -> aiohttp.ClientSession:
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=8, force_close=alone),
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            trace_configs=[_tells_when_connected()],
            raise_for_status=False,
        )
        session._retry_connection = False
        return session


def _tells_when_connected() -> aiohttp.TraceConfig:
    """From the end of connecting on, bytes may have left."""
    config = aiohttp.TraceConfig()

    async def connected(_: object, context: SimpleNamespace, __: object) -> None:
        context.trace_request_ctx.yes = True

    config.on_connection_create_end.append(connected)
    return config
