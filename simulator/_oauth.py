"""OAuth 1.0a as E*TRADE does it: HMAC-SHA1 over the raw target, and tokens that live until midnight in New York."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from enum import StrEnum
from urllib.parse import quote, unquote, urlencode, urlsplit

import numpy as np

from domain.calendars import NEW_YORK
from simulator._clock import MovedClock
from simulator._wire import Call

WINDOW = timedelta(minutes=5)
REQUEST_LIFE = timedelta(minutes=5)
IDLE = timedelta(hours=2)
OOB = "oob"
_NEEDED = ("oauth_consumer_key", "oauth_signature_method", "oauth_timestamp", "oauth_nonce", "oauth_signature")
_HEADER = re.compile(r'([A-Za-z_]+)="([^"]*)"')
_VERIFIER_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
_SECRET_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789/+"  # noqa: S105

Pairs = list[tuple[str, str]]
SecretOf = Callable[[dict[str, str]], str]


class OAuthProblem(Exception):
    """Why a call was not let in: `oauth_problem=…` with what is said beside it."""

    def __init__(self, problem: str, status: int = 401, **beside: str) -> None:
        self.problem, self.status = problem, status
        self.text = "&".join([f"oauth_problem={problem}", *(f"{k}={v}" for k, v in beside.items())])
        super().__init__(self.text)


class NotSigned(Exception):
    """A call without any OAuth parameter."""


class TokenState(StrEnum):
    """Where an access token is in its day."""

    LIVE = "live"
    IDLE = "idle"
    DEAD = "dead"
    REVOKED = "revoked"


@dataclass(slots=True)
class RequestToken:
    """A sign-in that has begun; `verifier` is empty until a person accepted."""

    key: str
    secret: str
    issued: datetime
    verifier: str = ""


@dataclass(slots=True)
class AccessToken:
    """A signed-in program."""

    key: str
    secret: str
    issued: datetime
    used: datetime
    revoked: bool = False

    def state(self, now: datetime) -> TokenState:
        if self.revoked:
            return TokenState.REVOKED
        if now >= next_midnight(self.issued):
            return TokenState.DEAD
        return TokenState.IDLE if now - self.used >= IDLE else TokenState.LIVE


def next_midnight(moment: datetime) -> datetime:
    """The first midnight in New York after `moment`: 04:00 UTC in summer, 05:00 in winter."""
    day = moment.astimezone(NEW_YORK).date() + timedelta(days=1)
    return datetime.combine(day, time(), NEW_YORK)


def encoded(text: str) -> str:
    """RFC 3986: all but letters, digits, `-._~` as %XX."""
    return quote(text, safe="~")


def base_string(method: str, address: str, parameters: Pairs) -> str:
    """What is signed. `address` has no query, its path stands as it was sent."""
    pairs = sorted((encoded(name), encoded(value)) for name, value in parameters if name != "oauth_signature")
    joined = "&".join(f"{name}={value}" for name, value in pairs)
    return "&".join((method.upper(), encoded(address), encoded(joined)))


def signature(base: str, consumer_secret: str, token_secret: str) -> str:
    """HMAC-SHA1, base64; both secrets are percent-encoded for the key."""
    key = f"{encoded(consumer_secret)}&{encoded(token_secret)}"
    return base64.b64encode(hmac.new(key.encode(), base.encode(), hashlib.sha1).digest()).decode()


def base_of(address: str) -> str:
    """Scheme and host of an address, in lower case and without the scheme's own port."""
    parts = urlsplit(address)
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port and parts.port != usual else "")


def parameters(call: Call) -> Pairs:
    """All that is signed: from the Authorization header (its realm apart), the query and a form."""
    header = call.headers.get("Authorization", "")
    found: Pairs = []
    if header[:6].lower() == "oauth ":
        found = [(name, unquote(value)) for name, value in _HEADER.findall(header) if name != "realm"]
    return [*found, *call.query_pairs, *call.form]


class Keeper:
    """Who is let in. It keeps consumer keys, tokens and the nonces it has seen."""

    def __init__(self, clock: MovedClock, rng: np.random.Generator, consumers: dict[str, str], base: str = "") -> None:
        self._clock, self._rng, self._base = clock, rng, base
        self.consumers = consumers
        self.rejected_keys: set[str] = set()
        self.requests: dict[str, RequestToken] = {}
        self.access: dict[str, AccessToken] = {}
        self._nonces: dict[tuple[str, str, str], datetime] = {}

    # The four calls of /oauth

    def request_token(self, call: Call) -> str:
        given = self._signed(call, lambda _: "")
        callback = given.get("oauth_callback")
        if callback is None:
            raise OAuthProblem("parameter_absent", oauth_parameters_absent="oauth_callback")
        if callback != OOB:
            raise OAuthProblem("callback_rejected", 400, oauth_acceptable_callback=OOB)
        name, secret = self._letters(44), self._letters(44)
        self.requests[name] = RequestToken(given["oauth_consumer_key"], secret, self._clock.now())
        return urlencode({"oauth_token": name, "oauth_token_secret": secret, "oauth_callback_confirmed": "true"})

    def access_token(self, call: Call) -> str:
        given = self._signed(call, self._request_secret)
        pending = self.waiting(given["oauth_consumer_key"], given["oauth_token"])
        if "oauth_verifier" not in given:
            raise OAuthProblem("parameter_absent", oauth_parameters_absent="oauth_verifier")
        if not pending.verifier or given["oauth_verifier"] != pending.verifier:
            raise OAuthProblem("token_rejected")
        del self.requests[given["oauth_token"]]
        name, secret, now = self._letters(44), self._letters(44), self._clock.now()
        self.access[name] = AccessToken(pending.key, secret, now, now)
        return urlencode({"oauth_token": name, "oauth_token_secret": secret})

    def renew(self, call: Call) -> str:
        given = self._signed(call, self._access_secret)
        token = self._usable(given, idle_too=True)
        token.used = self._clock.now()
        return "Access Token has been renewed"

    def revoke(self, call: Call) -> str:
        given = self._signed(call, self._access_secret)
        self._usable(given, idle_too=True).revoked = True
        return "Revoked Access Token"

    # The browser's page

    def waiting(self, key: str, name: str) -> RequestToken:
        """The sign-in that this request token began; OAuthProblem where there is none any more."""
        pending = self.requests.get(name)
        if pending is None or pending.key != key:
            raise OAuthProblem("token_rejected")
        if self._clock.now() - pending.issued >= REQUEST_LIFE:
            raise OAuthProblem("token_expired")
        return pending

    def accept(self, key: str, name: str) -> str:
        """The code that a person copies."""
        pending = self.waiting(key, name)
        pending.verifier = pending.verifier or self._letters(5, _VERIFIER_LETTERS)
        return pending.verifier

    # Every call of /v1

    def let_in(self, call: Call) -> None:
        """OAuthProblem or NotSigned where the call is not let in."""
        given = self._signed(call, self._access_secret)
        self._usable(given, idle_too=False).used = self._clock.now()

    def states(self) -> list[tuple[str, TokenState, AccessToken]]:
        now = self._clock.now()
        return [(f"{name[:6]}…", token.state(now), token) for name, token in self.access.items()]

    def _usable(self, given: dict[str, str], *, idle_too: bool) -> AccessToken:
        token = self.access[given["oauth_token"]]
        match token.state(self._clock.now()):
            case TokenState.REVOKED:
                raise OAuthProblem("token_revoked")
            case TokenState.DEAD:
                raise OAuthProblem("token_expired")
            case TokenState.IDLE if not idle_too:
                raise OAuthProblem("token_rejected")
        return token

    def _request_secret(self, given: dict[str, str]) -> str:
        pending = self.requests.get(_needed(given, "oauth_token"))
        if pending is None or pending.key != given["oauth_consumer_key"]:
            raise OAuthProblem("token_rejected")
        return pending.secret

    def _access_secret(self, given: dict[str, str]) -> str:
        token = self.access.get(_needed(given, "oauth_token"))
        if token is None or token.key != given["oauth_consumer_key"]:
            raise OAuthProblem("token_rejected")
        return token.secret

    def _signed(self, call: Call, secret_of: SecretOf) -> dict[str, str]:
        """The call's parameters, once key, token, signature, time and nonce are found good."""
        pairs = parameters(call)
        given = dict(pairs)
        if not any(name.startswith("oauth_") for name in given):
            raise NotSigned
        if absent := [name for name in _NEEDED if not given.get(name)]:
            raise OAuthProblem("parameter_absent", oauth_parameters_absent=",".join(absent))
        if given["oauth_signature_method"] != "HMAC-SHA1":
            raise OAuthProblem("signature_method_rejected")
        key = given["oauth_consumer_key"]
        if key not in self.consumers:
            raise OAuthProblem("consumer_key_unknown")
        if key in self.rejected_keys:
            raise OAuthProblem("consumer_key_rejected")
        secret = secret_of(given)
        base = base_string(call.method, self.address(call), pairs)
        if not hmac.compare_digest(
            signature(base, self.consumers[key], secret).encode(), given["oauth_signature"].encode()
        ):
            raise OAuthProblem("signature_invalid")
        self._check_time(given["oauth_timestamp"])
        self._check_nonce((key, given["oauth_timestamp"], given["oauth_nonce"]))
        return given

    def address(self, call: Call) -> str:
        """The address as the caller sees it, without its query."""
        base = self._base or f"http://{call.headers.get('Host', '')}"
        return base_of(base) + call.raw_path

    def date_for(self, call: Call) -> datetime:
        """The server's time as this caller should read it: on the clock that its own timestamp is nearer to."""
        server, moved = self._clock.server(), self._clock.now()
        stamp = dict(parameters(call)).get("oauth_timestamp", "")
        if self._clock.skew or not _is_stamp(stamp):
            return server
        return min(server, moved, key=lambda clock: abs(clock.timestamp() - int(stamp)))

    def _check_time(self, stamp: str) -> None:
        """Within five minutes of the server's clock; a caller that lives on the moved clock is let in too, unless the
        server was told to be wrong."""
        clocks = [self._clock.server()]
        if not self._clock.skew:
            clocks.append(self._clock.now())
        if _is_stamp(stamp):
            away = (abs(int(stamp) - now.timestamp()) for now in clocks)
            if min(away) <= WINDOW.total_seconds():
                return
        at = int(clocks[0].timestamp())
        span = int(WINDOW.total_seconds())
        raise OAuthProblem("timestamp_refused", oauth_acceptable_timestamps=f"{at - span}-{at + span}")

    def _check_nonce(self, seen: tuple[str, str, str]) -> None:
        if seen in self._nonces:
            raise OAuthProblem("nonce_used")
        now = self._clock.real.now()
        self._nonces[seen] = now
        # The oldest stand first; three windows are more than any timestamp can still be good for.
        oldest = next(iter(self._nonces))
        if now - self._nonces[oldest] > 3 * WINDOW:
            del self._nonces[oldest]

    def _letters(self, many: int, of: str = _SECRET_LETTERS) -> str:
        drawn: Iterable[int] = self._rng.integers(0, len(of), many)
        return "".join(of[at] for at in drawn) + ("=" if of is _SECRET_LETTERS else "")


def _is_stamp(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 12


def _needed(given: dict[str, str], name: str) -> str:
    if not given.get(name):
        raise OAuthProblem("parameter_absent", oauth_parameters_absent=name)
    return given[name]
