"""One call to E*TRADE from its limits to its answer: the only way out of this house.

Reads are asked again, a few times and later each time; what changes something is sent once, whatever happens. A token
that slept is renewed first and the renewal verified; a token known to be dead is never signed with.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NoReturn
from urllib.parse import quote

from domain.clock import Clock
from etrade import replies
from etrade.environments import Environment
from etrade.errors import KeyRefused, OverLimit, RequestWrong, SignInAgain, Unavailable
from etrade.limits import Limits, Module
from etrade.replies import TryAgain, Unauthorized
from etrade.signing import Keys, Pair, authorization, nonce
from etrade.tokens import KEY_PROBLEMS, NOT_THE_TOKEN, Token, TokenKeeper, explain
from etrade.transport import Reply, Request, Transport, TransportError

TRIES = 3
FIRST_WAIT_S = 0.3
LONGEST_WAIT_S = 5.0
SIGNED_FOR = timedelta(seconds=60)  # an older moment than this is not signed with: E*TRADE's own window is five minutes
_log = logging.getLogger("etrade")


@dataclass(frozen=True, slots=True)
class Call:
    """A call before it is signed. `what` names it in messages, where no address may stand; `path` is final and
    percent-encoded; `urgent` may use the calls kept for cancels; `signed_at` the moment to sign with, else now."""

    what: str
    module: Module
    path: str = field(repr=False)
    method: str = "GET"
    query: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes | None = field(default=None, repr=False)
    urgent: bool = False
    alone: bool = False
    tries: int = TRIES
    preview: bool = False
    signed_at: datetime | None = None


class Caller:
    """Signs, sends, waits, and keeps the sign-in awake."""

    def __init__(
        self,
        environment: Environment,
        keys: Keys,
        keeper: TokenKeeper,
        clock: Clock,
        transport: Transport,
        limits: Limits,
        monotonic: Callable[[], float],
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        self.environment, self.keeper, self.limits, self.clock = environment, keeper, limits, clock
        self._keys, self._transport, self._monotonic, self._sleep = keys, transport, monotonic, sleep
        self._renewing = asyncio.Lock()
        self.skew: timedelta | None = None

    async def read(self, call: Call) -> Any:
        """The answer's body, None for 204. Every error of `etrade.errors` but Refused (previews may) and Ambiguous."""
        await self.wake()
        token = self.keeper.need()
        try:
            return await self._read(call)
        except Unauthorized as error:
            if not error.may_sleep:
                self._lock_out(error, token)
        await self._renew(token)
        try:
            return await self._read(call)
        except Unauthorized as error:
            self._not_for_us(call, error)

    async def write(self, call: Call, final: frozenset[int]) -> Any:
        """The answer's body. It is sent once; Refused or Ambiguous where that did not end well. SignInAgain,
        Unavailable, OverLimit: nothing was sent."""
        await self.wake()
        try:
            reply, token = await self._send(call)
        except TransportError as error:
            if error.sent:
                raise replies.uncertain(call.what, error.reason) from None
            raise Unavailable(f"E*TRADE cannot be reached, {call.what} was not sent: {error.reason}") from None
        self._heed(call, reply)
        if reply.status != 401:
            self._used(token)
        elif not (no := replies.unauthorized(reply)).may_sleep:
            self._remember(no, token)
        found = replies.written(call.what, reply, final)
        self.limits.went_well(call.module)
        return found

    async def wake(self) -> None:
        """Renew the token where it sleeps or soon will. SignInAgain where there is none to renew."""
        token = self.keeper.need()
        if self.keeper.wants_renewal():
            await self._renew(token)

    async def renew(self) -> None:
        """Renew whether it sleeps or not. SignInAgain where there is none to renew."""
        await self._renew(self.keeper.need())

    async def verify(self, call: Call, pair: Pair) -> None:
        """One call signed with a pair that is not kept yet, renewed once where it slept. Unauthorized where E*TRADE
        does not take it."""
        try:
            await self._tried(call, lambda: self._judged(call, pair))
        except Unauthorized as error:
            if not error.may_sleep:
                raise
            await self._token_call("the renewal", "/renew_access_token", pair)
            await self._tried(call, lambda: self._judged(call, pair))

    async def token_pair(
        self, what: str, path: str, pair: Pair | None, *, tries: int, callback: str = "", verifier: str = ""
    ) -> Pair:
        """A token call that answers with a token."""
        call = Call(what, Module.SIGN_IN, path, tries=tries)

        async def once() -> Pair:
            reply = await self._signed(call, self.environment.oauth, pair, callback, verifier)
            return replies.pair(what, reply, self.clock.now())

        try:
            found: Pair = await self._tried(call, once)
            return found
        except Unauthorized as error:
            self._lock_out(error, None)

    async def revoke(self, token: Token) -> None:
        """End it at E*TRADE. Unauthorized where it was over already."""
        await self._token_call("the sign-out", "/revoke_access_token", token.pair)

    async def _read(self, call: Call) -> Any:
        return await self._tried(call, lambda: self._judged(call))

    async def _judged(self, call: Call, pair: Pair | None = None) -> Any:
        reply, token = await self._send(call, pair)
        if reply.status != 401:
            self._used(token)
        found = replies.read(call.what, reply, self.clock.now(), preview=call.preview)
        self.limits.went_well(call.module)
        return found

    async def _tried(self, call: Call, once: Callable[[], Awaitable[Any]]) -> Any:
        """What `once` gives, after as many tries as the call allows."""
        left, nonces, wait_s = call.tries, 1, FIRST_WAIT_S
        while True:
            try:
                return await once()
            except TransportError as error:
                again = TryAgain(Unavailable(f"E*TRADE gave no {call.what}: {error.reason}"))
            except TryAgain as error:
                again = error
            if again.once and nonces:
                nonces -= 1
                continue
            left -= 1
            if again.over:
                self._pause(call, again)
            if left <= 0 or again.once:
                raise again.error from None
            if not again.over:
                jitter = random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, guards nothing
                await self._sleep(wait_s * jitter)
                wait_s = min(wait_s * 2, LONGEST_WAIT_S)

    def _pause(self, call: Call, again: TryAgain) -> None:
        wait_s = self.limits.pause(call.module, again.wait_s)
        if isinstance(again.error, OverLimit):
            again.error.wait_s = wait_s

    async def _send(self, call: Call, pair: Pair | None = None) -> tuple[Reply, Token | None]:
        """One attempt, with the kept token unless a pair is given."""
        await self.limits.take(call.module, urgent=call.urgent)
        token = None if pair else self.keeper.need()  # waiting may have taken it past midnight
        now = self.clock.now()
        if call.signed_at is not None and abs(now - call.signed_at) > SIGNED_FOR:
            raise Unavailable(
                f"{call.what} was not sent: it was signed for {call.signed_at:%H:%M:%S} UTC, too long ago"
            )
        given = pair or (token.pair if token else None)
        return await self._post(call, self.environment.api, given, at=call.signed_at or now), token

    async def _signed(self, call: Call, base: str, pair: Pair | None, callback: str = "", verifier: str = "") -> Reply:
        await self.limits.take(call.module)
        return await self._post(call, base, pair, at=self.clock.now(), callback=callback, verifier=verifier)

    async def _post(
        self, call: Call, base: str, pair: Pair | None, *, at: datetime, callback: str = "", verifier: str = ""
    ) -> Reply:
        query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in call.query)
        url = f"{base}{call.path}" + (f"?{query}" if query else "")
        sign = authorization(
            call.method,
            url,
            self._keys,
            at,
            nonce=nonce(),
            pair=pair,
            callback=callback or None,
            verifier=verifier or None,
        )
        headers = {"Authorization": sign, "Accept": "application/json", "Accept-Encoding": "gzip"}
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        request = Request(call.what, call.method, url, headers, call.body, call.alone)
        begun = self._monotonic()
        try:
            reply = await self._transport.send(request)
        except TransportError as error:
            _log.debug("%s: %s", call.what, error.reason)
            raise
        except Exception as error:  # noqa: BLE001 - whatever a transport raises, the request may have left
            raise TransportError(f"the connection failed ({type(error).__name__})", sent=True) from None
        self._note(call, reply, self._monotonic() - begun)
        return reply

    def _note(self, call: Call, reply: Reply, took_s: float) -> None:
        _log.debug(
            "%s: %s in %.0f ms, trace %s", call.what, reply.status, took_s * 1000, replies.trace(reply) or "none"
        )
        if (server := replies.server_time(reply)) is not None and took_s < 5:
            self.skew = server - (self.clock.now() - timedelta(seconds=took_s / 2))

    def _used(self, token: Token | None) -> None:
        if token is not None:
            self.keeper.used(token)

    def _heed(self, call: Call, reply: Reply) -> None:
        """What a write's answer says about limits binds the calls after it."""
        wait_s = replies.retry_after(reply, self.clock.now())
        if replies.over_limit(reply) or (wait_s is not None and reply.status >= 400):
            self.limits.pause(call.module, wait_s)

    async def _renew(self, token: Token) -> None:
        """Renew, then verify by one cheap call: renewals that said yes and did nothing have been seen."""
        async with self._renewing:
            now = self.keeper.need()
            if now.pair != token.pair or now.last_used > token.last_used:
                return  # another call did it meanwhile
            try:
                await self._token_call("the renewal", "/renew_access_token", token.pair)
                call = Call("the list of accounts", Module.ACCOUNTS, "/accounts/list.json")
                await self._tried(call, lambda: self._judged(call, token.pair))
            except Unauthorized as error:
                self._lock_out(error, token)
            self.keeper.used(token)

    async def _token_call(self, what: str, path: str, pair: Pair) -> None:
        call = Call(what, Module.SIGN_IN, path)

        async def once() -> None:
            replies.sentence(what, await self._signed(call, self.environment.oauth, pair), self.clock.now())

        await self._tried(call, once)

    def _lock_out(self, error: Unauthorized, token: Token | None) -> NoReturn:
        self._remember(error, token)
        said, kind = str(explain(error.problem)), KeyRefused if error.problem in KEY_PROBLEMS else SignInAgain
        raise kind(said, problem=error.problem, trace=error.trace, status=error.status) from None

    def _remember(self, error: Unauthorized, token: Token | None) -> None:
        if error.problem in KEY_PROBLEMS:
            self.keeper.refuse_key(error.problem)
        elif token is not None and error.problem not in NOT_THE_TOKEN:
            self.keeper.refuse(token, error.problem)

    def _not_for_us(self, call: Call, error: Unauthorized) -> NoReturn:
        """The token was just seen to work, and this call is refused all the same."""
        if error.problem in NOT_THE_TOKEN:
            self._lock_out(error, None)
        raise RequestWrong(
            f"E*TRADE does not allow {call.what} to this sign-in, though it allows others",
            trace=error.trace,
            status=error.status,
        )
