"""The server: every request goes through faults, sign-in, limits and then to whoever can answer it."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from aiohttp import web

from domain.calendars import NEW_YORK
from domain.errors import SettingsError
from simulator import _control, _pages, _state
from simulator._accounts import Accounts
from simulator._book import CANCEL_TAKES, EXACT, Book
from simulator._clock import MovedClock
from simulator._faults import Fault, Plan, instead, spoiled
from simulator._history import History
from simulator._limits import Limits, module_of
from simulator._market import Market, PriceSource, Row, no_options, phase
from simulator._oauth import Keeper, NotSigned, OAuthProblem, next_midnight
from simulator._orders import Orders, Showing
from simulator._state import Account
from simulator._wire import (
    LARGEST_BODY,
    Call,
    Nothing,
    Refused,
    Reply,
    Tree,
    document,
    invalid,
    text,
    whole,
    written,
)

CONSUMER_KEY = "simulatorDemoKey0001"
CONSUMER_SECRET = "demo/Simulator+Secret="  # noqa: S105 - a demo's, printed at every start
PLAIN_KEYS = {"simulator": "simulator"}  # what the dashboard takes where nobody entered keys
NO_SESSION = "Unauthorized request - invalid Consumer key and/or session token"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
KEEP_EVERY_S = 30.0
STOPS_WITHIN_S = 0.5  # a call that a fault holds up is not waited for
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """How a simulator begins. `base`: its address as callers see it, where that is not what their Host header says."""

    port: int = 8189
    host: str = "127.0.0.1"
    seed: int = 7
    cash: Decimal = Decimal(100_000)
    base: str = ""
    state: Path | None = None
    ticking: bool = True
    tape: tuple[Row, ...] = ()


class Etrade:
    """The whole of it. `start()`, `stop()`; port 0 takes a free one, `url` then says which."""

    def __init__(self, options: Options, clock: MovedClock, feed: PriceSource | None = None) -> None:
        if not is_loopback(options.host):
            raise SettingsError(f"--host must be this computer itself, such as 127.0.0.1: got {options.host!r}")
        self.options, self.clock = options, clock
        kept = _state.read(options.state) if options.state else None
        self.state = kept or _state.State(_state.demo_accounts(options.cash))
        if kept is not None and clock.stopped is None:
            clock.offset = max(clock.offset, kept.offset)
        self._rng = np.random.default_rng(options.seed)
        self.keeper = Keeper(clock, self._rng, {CONSUMER_KEY: CONSUMER_SECRET, **PLAIN_KEYS}, options.base)
        self.keeper.requests, self.keeper.access = self.state.requests, self.state.access
        self.market = Market(clock, feed)
        self.book = Book(self.state, self.market, clock)
        self.accounts = Accounts(self.state, self.market, clock)
        self.history = History(self.state, clock)
        self.orders = Orders(self.book, clock)
        self.limits = Limits(clock.real)
        self.faults = Plan()
        self.overlap = True
        self.routes: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.problems: Counter[str] = Counter()
        self.alone = asyncio.Lock()
        self._runner: web.ServerRunner | None = None
        self._ticking: asyncio.Task[None] | None = None
        self.url = ""
        self.market.script(options.tape)

    # Its life

    async def start(self) -> None:
        """OSError where the port is taken."""
        server = web.Server(self._serve)
        runner = web.ServerRunner(server, access_log=None, handle_signals=False, shutdown_timeout=STOPS_WITHIN_S)
        await runner.setup()
        self._runner = runner
        site = web.TCPSite(runner, self.options.host, self.options.port)
        await site.start()
        port = runner.addresses[0][1]
        host = f"[{self.options.host}]" if ":" in self.options.host else self.options.host
        self.url = self.options.base or f"http://{host}:{port}"
        await self.tick()
        if self.options.ticking:
            self._ticking = asyncio.create_task(self._tick_on())

    async def stop(self) -> None:
        if self._ticking is not None:
            self._ticking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticking
        if self._runner is not None:
            await self._runner.cleanup()
        self.keep()

    async def tick(self) -> None:
        """One turn: the tape's next lines, fresh prices, what the clock ends, what the prices fill. For one caller at a
        time."""
        self.market.turn()
        await self.market.refresh(self.book.symbols())
        self.book.settle()
        self.book.meet()

    def reset(self, *, tokens: bool) -> None:
        fresh = _state.State(_state.demo_accounts(self.options.cash))
        self.state.accounts[:] = fresh.accounts
        self.state.alerts.clear()
        self.state.previews.clear()
        if tokens:
            self.state.requests.clear()
            self.state.access.clear()
        self.market.forget()
        self.market.quote_status = ""
        self.faults.faults.clear()
        self.limits.clear()
        self.book.rules, self.book.accept_duplicates, self.overlap = EXACT, False, True
        for counted in (self.routes, self.problems):
            counted.clear()
        self.statuses.clear()

    def keep(self) -> None:
        """Write the state down, where it is wanted."""
        if self.options.state is not None:
            self.state.offset = self.clock.now() - self.clock.real.now()
            _state.keep(self.options.state, self.state)

    async def _tick_on(self) -> None:
        since = 0.0
        while True:
            await asyncio.sleep(1)
            since += 1
            if self.clock.stopped is None:
                async with self.alone:
                    await self.tick()
            if since >= KEEP_EVERY_S:
                since = 0.0
                self.keep()

    # One request

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.content.read(LARGEST_BODY + 1)
        call = Call(request.method, request.raw_path, request.headers, body)
        if not self._is_ours(call):
            return self._sent(call, text("The simulator answers only to this computer.", 403))
        if call.path == "/simulator" or call.path.startswith("/simulator/"):
            async with self.alone:
                reply = await _control.answer(self, call)
            self.keep()
            return self._sent(call, reply)
        if call.path.startswith(("/v1/", "/oauth/")):
            return await self._faulty(request, call)
        return self._sent(call, self._browse(call))

    async def _faulty(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        """The call with whatever faults are planned for it."""
        met = self.faults.strike(call)
        if delay := met.get("delay"):
            await asyncio.sleep(delay.seconds)
        if "drop_before" in met:
            return _dropped(request)
        over = call.path.startswith("/v1/") and self.limits.count(module_of(call.route[1:]))
        reply = instead(met, call)
        if reply is None:
            async with self.alone:
                reply = await self._answer(call, over, met)
            if call.method != "GET" or call.path.startswith("/oauth/"):
                self.keep()
            reply = spoiled(reply, met, call)
        if "drop_after" in met:
            return _dropped(request)
        self.statuses[reply.status] += 1
        return await self._cut(request, call, reply) if "cut_body" in met else self._sent(call, reply)

    async def _answer(self, call: Call, over: bool, met: dict[str, Fault]) -> Reply:
        self.book.settle()
        if call.path.startswith("/oauth/"):
            return self._oauth(call)
        try:
            self.keeper.let_in(call)
        except NotSigned:
            return Refused(401, None, NO_SESSION).reply(call.wants_json)
        except OAuthProblem as problem:
            self.problems[problem.problem] += 1
            return Refused(problem.status, None, problem.text).reply(call.wants_json)
        if over:
            return self.limits.refusal(call.wants_json)
        try:
            return written(await self._do(call, met), call.wants_json)
        except Nothing:
            return Reply(204, kind="")
        except Refused as refused:
            return refused.reply(call.wants_json)

    def _oauth(self, call: Call) -> Reply:
        known = {
            "request_token": self.keeper.request_token,
            "access_token": self.keeper.access_token,
            "renew_access_token": self.keeper.renew,
            "revoke_access_token": self.keeper.revoke,
        }
        action = known.get(call.path.removeprefix("/oauth/"))
        if action is None:
            return _pages.tomcat(404, "Not Found")
        if call.method not in ("GET", "POST"):
            return _pages.tomcat(405, "Method Not Allowed")
        self.routes[f"oauth/{call.path.removeprefix('/oauth/')}"] += 1
        try:
            said = action(call)
        except NotSigned:
            return _pages.tomcat(401, "oauth_problem=parameter_absent")
        except OAuthProblem as problem:
            self.problems[problem.problem] += 1
            return _pages.tomcat(problem.status, problem.text)
        form = "oauth_token=" in said
        return replace(text(said), kind="application/x-www-form-urlencoded") if form else text(said)

    async def _do(self, call: Call, met: dict[str, Fault]) -> Tree:
        match call.route[1:]:
            case ["accounts", "list"]:
                self._only(call, "GET", "accounts/list")
                return self.accounts.listed()
            case ["accounts", key, *rest] if rest:
                account = self.accounts.find(key)
                await self.market.refresh({*account.holdings})
                if rest[0] == "orders":
                    return await self._orders(call, account, rest[1:], met)
                return self._account(call, account, rest)
            case ["market", *rest] if rest:
                return await self._market(call, rest)
            case ["user", "alerts", *rest] if len(rest) < 2:
                return self._alerts(call, rest)
        raise Refused(404, None, "Resource not found")

    def _account(self, call: Call, account: Account, rest: list[str]) -> Tree:
        base = self._base(call)
        match rest:
            case ["balance"]:
                self._only(call, "GET", "accounts/balance")
                return self.accounts.balance(account, call.query)
            case ["portfolio"]:
                self._only(call, "GET", "accounts/portfolio")
                return self.accounts.portfolio(account, call.query, base)
            case ["portfolio", position]:
                self._only(call, "GET", "accounts/lots")
                return self.accounts.lots(account, whole(position), base)
            case ["transactions"]:
                self._only(call, "GET", "accounts/transactions")
                return self.history.transactions(account, call.query, base, overlap=self.overlap)
            case ["transactions", wanted]:
                self._only(call, "GET", "accounts/transaction")
                return self.history.transaction(account, wanted)
        raise Refused(404, None, "Resource not found")

    async def _orders(self, call: Call, account: Account, rest: list[str], met: dict[str, Fault]) -> Tree:
        match rest:
            case []:
                self._only(call, "GET", "orders/list")
                return self.orders.listed(account, call.query, self._base(call), _showing(met))
            case ["preview"]:
                self._only(call, "POST", "orders/preview")
                return self.orders.preview(account, await self._body(call, "PreviewOrderRequest"), None)
            case ["place"]:
                self._only(call, "POST", "orders/place")
                return self.orders.place(account, await self._body(call, "PlaceOrderRequest"), None)[1]
            case ["cancel"]:
                self._only(call, "PUT", "orders/cancel")
                return self._cancel(call, account, met)
            case [order_id]:
                self._only(call, "GET", "orders/one")
                return self.orders.one(account, whole(order_id), self._base(call), _showing(met))
            case [order_id, "change", "preview" | "place" as what]:
                self._only(call, "PUT", f"orders/change/{what}")
                number = whole(order_id)
                if number is None:
                    raise invalid()
                if what == "preview":
                    return self.orders.preview(account, await self._body(call, "PreviewOrderRequest"), number)
                return self.orders.place(account, await self._body(call, "PlaceOrderRequest"), number)[1]
        raise Refused(404, None, "Resource not found")

    def _cancel(self, call: Call, account: Account, met: dict[str, Fault]) -> Tree:
        late = met.get("cancel_late")
        takes = timedelta(seconds=late.seconds) if late else CANCEL_TAKES
        kept, tree = self.orders.cancel(account, document(call, "CancelOrderRequest"), takes)
        if "fill_during_cancel" in met:
            self.book.fill_now(account, kept)
        return tree

    async def _market(self, call: Call, rest: list[str]) -> Tree:
        match rest:
            case ["quote", symbols]:
                self._only(call, "GET", "market/quote")
                return await self.market.quote_tree(symbols.split(","), call.query)
            case ["lookup", wanted]:
                self._only(call, "GET", "market/lookup")
                return self.market.lookup(wanted)
            case ["optionexpiredate" | "optionchains" as what]:
                self._only(call, "GET", f"market/{what}")
                return no_options(call.query)
        raise Refused(401, None, "Unauthorized request")

    def _alerts(self, call: Call, rest: list[str]) -> Tree:
        if rest and call.method == "DELETE":
            self.routes["alerts/delete"] += 1
            return self.history.delete_alerts(rest[0])
        self._only(call, "GET", "alerts/one" if rest else "alerts/list")
        return self.history.alert(whole(rest[0])) if rest else self.history.alerts(call.query)

    async def _body(self, call: Call, root: str) -> Tree:
        """What was sent; the price of its symbol is asked for on the way."""
        tree = document(call, root)
        await self.market.refresh(_symbols(tree))
        return tree

    def _only(self, call: Call, method: str, route: str) -> None:
        self.routes[route] += 1
        if call.method != method:
            raise Refused(405, 9999, "Please validate the input and try again")

    def _base(self, call: Call) -> str:
        return self.keeper.address(Call(call.method, "", call.headers))

    # The browser

    def _browse(self, call: Call) -> Reply:
        if call.path == "/" and call.method == "GET":
            return self._landing()
        if call.path != "/e/t/etws/authorize" or call.method not in ("GET", "POST"):
            return _pages.tomcat(404, "Not Found")
        given = dict(call.query_pairs if call.method == "GET" else call.form)
        key, token = given.get("key", ""), given.get("token", "")
        try:
            self.keeper.waiting(key, token)
            reply = _pages.ask(key, token) if call.method == "GET" else _pages.code(self.keeper.accept(key, token))
        except OAuthProblem as problem:
            return _pages.refused(problem.problem)
        self.keep()
        return reply

    def _landing(self) -> Reply:
        now = self.clock.now()
        tokens = [
            (name, state.value, next_midnight(token.issued).strftime("%a %H:%M %Z"))
            for name, state, token in self.keeper.states()
        ]
        shown = now.astimezone(NEW_YORK).strftime("%a %d %b %Y %H:%M:%S")
        return _pages.landing(shown, phase(now).value, self.url, CONSUMER_KEY, CONSUMER_SECRET, tokens)

    def _is_ours(self, call: Call) -> bool:
        """A page from elsewhere must not reach it through somebody's browser."""
        names = {*LOOPBACK, urlsplit(self.options.base).hostname}
        asked = urlsplit(f"//{call.headers.get('Host', '')}").hostname
        origin = call.headers.get("Origin")
        return asked in names and (origin is None or urlsplit(origin).hostname in names)

    # Sending

    def _sent(self, call: Call, reply: Reply) -> web.Response:
        headers = self._headers(call, reply)
        return web.Response(status=reply.status, body=reply.body, headers=headers)

    async def _cut(self, request: web.BaseRequest, call: Call, reply: Reply) -> web.StreamResponse:
        """Half of the body, then the line is dead."""
        response = web.StreamResponse(status=reply.status, headers=self._headers(call, reply))
        response.content_length = len(reply.body)
        await response.prepare(request)
        await response.write(reply.body[: len(reply.body) // 2])
        if request.transport is not None:
            request.transport.close()
        return response

    def _headers(self, call: Call, reply: Reply) -> dict[str, str]:
        letters = "".join(f"{byte:02x}" for byte in self._rng.bytes(16))
        headers = {
            "Date": format_datetime(self.keeper.date_for(call), usegmt=True),
            "Cache-Control": "no-cache, no-store",
            "apiServerName": "simulator",
            "X-ET-Trace": letters,
            "X-Simulator-Time": self.clock.now().isoformat(),
            "Set-Cookie": f"JSESSIONID={letters[:16]}; Path=/; HttpOnly",
            **reply.headers,
        }
        if reply.kind:
            headers["Content-Type"] = reply.kind
        return headers


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _dropped(request: web.BaseRequest) -> web.StreamResponse:
    """The line goes dead without a byte."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def _showing(met: dict[str, Fault]) -> Showing:
    lag = met.get("list_lag")
    return Showing(timedelta(seconds=lag.seconds) if lag else timedelta(), "list_open_only" in met)


def _symbols(tree: object) -> Iterable[str]:
    """Every symbol named anywhere in a body."""
    match tree:
        case dict():
            for name, inside in tree.items():
                if name == "symbol" and isinstance(inside, str):
                    yield inside.strip().upper()
                else:
                    yield from _symbols(inside)
        case list():
            for one in tree:
                yield from _symbols(one)
