"""A small E*TRADE for the client's tests: a real local server that checks every signature by its own arithmetic and
answers what a test puts in its mouth. What the real one does with orders is the simulator's business, not this one's.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

from aiohttp import web

from domain.clock import ManualClock
from etrade.environments import Environment, simulator
from etrade.limits import LIMITS, Limits
from etrade.signing import Keys
from etrade.tokens import Token
from etrade.transport import AiohttpTransport
from etrade_client import EtradeClient

KEYS = Keys("demoConsumerKey0001", "demo/Consumer+Secret=")
TOKEN, SECRET = "at+Token/99=CANARYTOKEN", "atSecret/+9=CANARYSECRET"
REQUEST_TOKEN, REQUEST_SECRET, CODE = "rt+Token/01=CANARY", "rtSecret+/=CANARY", "WX8Y2"
NUMBER, KEY = "84019377", "kQ7mZr2VxPbN4tYwEoHs1A"
TRACE = "0123456789abcdef0123456789abcdef"
ACCOUNTS = {
    "AccountListResponse": {
        "Accounts": {
            "Account": [
                {
                    "accountId": NUMBER,
                    "accountIdKey": KEY,
                    "accountMode": "MARGIN",
                    "accountDesc": "Individual Brokerage",
                    "accountName": "Trading",
                    "accountType": "INDIVIDUAL",
                    "institutionType": "BROKERAGE",
                    "accountStatus": "ACTIVE",
                    "closedDate": 0,
                }
            ]
        }
    }
}
Answer = web.StreamResponse | Callable[[web.Request], Awaitable[web.StreamResponse]]


def says(body: Any, status: int = 200, **headers: str) -> web.Response:
    """A fresh answer: bytes and text as they are, anything else as JSON."""
    kind = "application/json"
    if isinstance(body, str):
        kind, body = "text/html", body.encode()
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return web.Response(status=status, body=data, headers={"X-ET-Trace": TRACE, "Content-Type": kind, **headers})


def error(code: int | None, message: str = "No.", status: int = 400) -> web.Response:
    inner: dict[str, Any] = {"message": message} | ({} if code is None else {"code": code})
    return says({"Error": inner}, status)


def problem(word: str, status: int = 401) -> web.Response:
    return error(None, f"oauth_problem={word}", status)


def encoded(text: str) -> str:
    return quote(text, safe="-._~")


def signature(method: str, url: str, params: dict[str, str], consumer_secret: str, token_secret: str) -> str:
    """RFC 5849 by hand, with nothing but the standard library."""
    address, _, query = url.partition("?")
    pairs = [(unquote(k), unquote(v)) for k, _, v in (p.partition("=") for p in query.split("&") if p)]
    pairs += [(k, v) for k, v in params.items() if k not in ("realm", "oauth_signature")]
    joined = "&".join(f"{k}={v}" for k, v in sorted((encoded(k), encoded(v)) for k, v in pairs))
    base = "&".join((method, encoded(address), encoded(joined)))
    key = f"{encoded(consumer_secret)}&{encoded(token_secret)}"
    return base64.b64encode(hmac.new(key.encode(), base.encode(), hashlib.sha1).digest()).decode()


def header_params(header: str) -> dict[str, str]:
    assert header.startswith("OAuth ")
    return {k: unquote(v) for k, v in re.findall(r'(\w+)="([^"]*)"', header)}


@dataclass
class Asked:
    """A request as it came: its raw target and body."""

    method: str
    target: str
    body: Any
    params: dict[str, str]

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


@dataclass
class Server:
    """`answers` by path come first, one after the other, the last one for ever where `stays`; else the accounts list.
    Time is `clock`'s, and a token made before its midnight is dead; one that slept wants renewing."""

    clock: ManualClock
    answers: dict[str, deque[Answer]] = field(default_factory=dict)
    stays: dict[str, Callable[[], web.StreamResponse]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    sleeping: bool = False
    renews: bool = True
    wakes: bool = True
    port: int = 0
    bad: list[str] = field(default_factory=list)
    nonces: set[str] = field(default_factory=set)
    dates: bool = True

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def count(self, part: str) -> int:
        return sum(part in asked.path for asked in self.asked)

    def next(self, part: str, *answers: Answer) -> None:
        self.answers.setdefault(part, deque()).extend(answers)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        target = request.raw_path
        params = header_params(request.headers["Authorization"])
        data = await request.read()
        self.asked.append(Asked(request.method, target, json.loads(data) if data else None, params))
        if wrong := self._wrong(request.method, target, params):
            self.bad.append(wrong)
            return problem(wrong)
        path = target.partition("?")[0]
        for part, waiting in self.answers.items():
            if part in path and waiting:
                answer = waiting.popleft()
                return answer if isinstance(answer, web.StreamResponse) else await answer(request)
        for part, make in self.stays.items():
            if part in path:
                return make()
        return self._usual(path)

    def _usual(self, path: str) -> web.Response:
        if path == "/oauth/request_token":
            token, secret = encoded(REQUEST_TOKEN), encoded(REQUEST_SECRET)
            return says(f"oauth_token={token}&oauth_token_secret={secret}&oauth_callback_confirmed=true")
        if path == "/oauth/access_token":
            return says(f"oauth_token={encoded(TOKEN)}&oauth_token_secret={encoded(SECRET)}")
        if path == "/oauth/renew_access_token":
            if not self.renews:
                return says("<html><body><b>Message</b> oauth_problem=token_rejected</body></html>", 401)
            self.sleeping = self.sleeping and not self.wakes
            return says("Access Token has been renewed")
        if path == "/oauth/revoke_access_token":
            return says("Revoked Access Token")
        if self.sleeping:
            return problem("token_rejected")
        return says(ACCOUNTS)

    def _wrong(self, method: str, target: str, params: dict[str, str]) -> str:
        secret = {REQUEST_TOKEN: REQUEST_SECRET, TOKEN: SECRET, "": ""}.get(params.get("oauth_token", ""), "?")
        good = signature(method, self.base + target, params, KEYS.secret, secret)
        if params["oauth_signature"] != good:
            return "signature_invalid"
        if params["oauth_nonce"] in self.nonces:
            return "nonce_used"
        self.nonces.add(params["oauth_nonce"])
        if abs(int(params["oauth_timestamp"]) - self.clock.now().timestamp()) > 300:
            return "timestamp_refused"
        return ""


async def _date(server: Server, response: web.StreamResponse) -> None:
    if server.dates:
        response.headers["Date"] = f"{server.clock.now():%a, %d %b %Y %H:%M:%S} GMT"


@asynccontextmanager
async def running(clock: ManualClock) -> AsyncIterator[Server]:
    server = Server(clock)
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.handle)

    async def dated(_: web.Request, response: web.StreamResponse) -> None:
        await _date(server, response)

    app.on_response_prepare.append(dated)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()


class Tempo:
    """Seconds that pass when slept: what was slept is counted, nobody waits."""

    def __init__(self, clock: ManualClock | None = None) -> None:
        self.now, self.slept, self._clock = 1000.0, 0.0, clock

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds
        if self._clock is not None:
            self._clock.advance(seconds=seconds)
        await asyncio.sleep(0)


class MemoryStore:
    """A token store without a disk."""

    def __init__(self, token: Token | None = None) -> None:
        self.kept, self.saves = token, 0

    def load(self, environment: str, keys: Keys) -> tuple[Token | None, str]:
        return self.kept, "" if self.kept else "Nobody has signed in."

    def save(self, token: Token, keys: Keys) -> None:
        self.kept = token
        self.saves += 1


def make_client(
    server: Server,
    store: MemoryStore,
    tempo: Tempo,
    *,
    environment: Environment | None = None,
    timeout_s: float = 20,
    **options: Any,
) -> EtradeClient:
    return EtradeClient(
        environment or simulator(server.base),
        KEYS,
        store,
        server.clock,
        transport=options.pop("transport", None) or AiohttpTransport(timeout_s=timeout_s),
        limits=Limits(tempo.monotonic, tempo.sleep, options.pop("limits", LIMITS)),
        monotonic=tempo.monotonic,
        sleep=tempo.sleep,
        **options,
    )
