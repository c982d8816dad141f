"""How long a sign-in lasts, told from the clock before E*TRADE says so.

An access token dies at midnight in New York, whenever it was made, and sleeps after two hours without a call; asleep
it can be renewed, dead it cannot. The rule: no call is made on a token known to be dead.
"""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from enum import StrEnum
from typing import Protocol
from zoneinfo import ZoneInfo

from domain.clock import Clock
from etrade.errors import KeyRefused, SignInAgain
from etrade.signing import Keys, Pair

NEW_YORK = ZoneInfo("America/New_York")
SLEEPS_AFTER = timedelta(hours=2)
RENEW_AFTER = timedelta(minutes=90)
REQUEST_TOKEN_LIVES = timedelta(minutes=5)
SAVE_EVERY = timedelta(minutes=1)
_log = logging.getLogger("etrade")


class TokenState(StrEnum):
    NONE = "none"
    LIVE = "live"
    IDLE = "idle"
    DEAD = "dead"
    KEY_REFUSED = "key refused"


@dataclass(frozen=True, slots=True)
class Token:
    """An access token with its life. `refused` is E*TRADE's reason where it turned it down for good; `taken_over` the
    fingerprint of the `.env` token that it, or one before it, came from."""

    pair: Pair = field(repr=False)
    environment: str
    issued_at: datetime
    last_used: datetime
    refused: str = ""
    taken_over: str = ""

    def state(self, now: datetime) -> TokenState:
        if self.refused or now >= midnight_after(self.issued_at):
            return TokenState.DEAD
        return TokenState.IDLE if now - self.last_used >= SLEEPS_AFTER else TokenState.LIVE


@dataclass(frozen=True, slots=True)
class RequestToken:
    """Half a sign-in: good for five minutes, and for one code."""

    pair: Pair = field(repr=False)
    issued_at: datetime

    def expired(self, now: datetime) -> bool:
        return now - self.issued_at >= REQUEST_TOKEN_LIVES


@dataclass(frozen=True, slots=True)
class SignIn:
    """What a page shows. `ends` is the coming midnight in New York, `sleeps` when two hours without a call are over;
    both None where nobody is signed in. `said` is a sentence for a person."""

    state: TokenState
    said: str
    issued_at: datetime | None = None
    ends: datetime | None = None
    sleeps: datetime | None = None

    @property
    def usable(self) -> bool:
        """Whether a call may be made, after a renewal where it sleeps."""
        return self.state in (TokenState.LIVE, TokenState.IDLE)


def midnight_after(moment: datetime) -> datetime:
    """The next 00:00 in New York, as UTC: 23, 24 or 25 hours after the one before.

    >>> midnight_after(datetime(2026, 3, 8, 6, 59, tzinfo=UTC)).isoformat()
    '2026-03-09T04:00:00+00:00'
    """
    day = moment.astimezone(NEW_YORK).date() + timedelta(days=1)
    return datetime.combine(day, time(), NEW_YORK).astimezone(UTC)


def seconds_to_midnight(now: datetime) -> float:
    """Seconds until today's sign-in ends."""
    return (midnight_after(now) - now).total_seconds()


@dataclass(frozen=True, slots=True)
class Explanation:
    """An `oauth_problem` in plain words."""

    meaning: str
    cure: str

    def __str__(self) -> str:
        return f"{self.meaning}: {self.cure}"


SIGN_IN_AGAIN = "open the sign-in link and paste a new code"
_PROBLEMS = {
    "token_expired": Explanation("the sign-in is over, as every day at midnight in New York", SIGN_IN_AGAIN),
    "token_rejected": Explanation(
        "E*TRADE does not take this sign-in: it slept too long, the code was mistyped, or it belongs to another "
        "environment",
        SIGN_IN_AGAIN,
    ),
    "token_revoked": Explanation("the sign-in was ended on purpose", SIGN_IN_AGAIN),
    "signature_invalid": Explanation(
        "the consumer secret does not fit the consumer key",
        "copy ETRADE_CONSUMER_SECRET again, whole and without spaces",
    ),
    "consumer_key_unknown": Explanation(
        "E*TRADE does not know this consumer key: sandbox and production have one each",
        "check ETRADE_CONSUMER_KEY and ETRADE_ENVIRONMENT",
    ),
    "consumer_key_rejected": Explanation(
        "E*TRADE no longer takes this consumer key: keys lapse when unused, and sandbox and production have one each",
        "check ETRADE_ENVIRONMENT, or ask E*TRADE for a new key",
    ),
    "timestamp_refused": Explanation(
        "this machine's clock is more than five minutes off",
        "set the clock, best by switching on time over the network",
    ),
    "nonce_used": Explanation("E*TRADE took the request for a repeated one", "try again in a moment"),
    "parameter_absent": Explanation("E*TRADE missed a part of the request, which passes", "try again in a moment"),
    "callback_rejected": Explanation(
        "this consumer key is set to send you to an address instead of showing a code",
        "ask E*TRADE to set it back to out-of-band (oob) codes",
    ),
}
KEY_PROBLEMS = frozenset({"consumer_key_unknown", "consumer_key_rejected"})
# The token may be sound: the clock or the keys are not.
NOT_THE_TOKEN = KEY_PROBLEMS | {"timestamp_refused", "signature_invalid"}


def explain(oauth_problem: str) -> Explanation:
    """What E*TRADE's word for it means, and what to do."""
    if oauth_problem in _PROBLEMS:
        return _PROBLEMS[oauth_problem]
    word = re.sub(r"[^a-z_]", "", oauth_problem)[:40]
    meaning = f"E*TRADE turned the request down ({word})" if word else "E*TRADE turned the request down"
    return Explanation(meaning, SIGN_IN_AGAIN)


def fingerprint(*parts: str) -> str:
    """Tells two secrets apart without telling either."""
    return hashlib.sha256("\0".join(("etrade", *parts)).encode()).hexdigest()[:24]


class TokenStore(Protocol):
    """Where a token outlives the process."""

    def load(self, environment: str, keys: Keys) -> tuple[Token | None, str]:
        """The token, or None and a sentence that says why there is none. Never an error."""
        ...

    def save(self, token: Token, keys: Keys) -> None: ...


class TokenKeeper:
    """The one token of an environment: what it is worth now, and what to keep of it."""

    def __init__(self, store: TokenStore, keys: Keys, environment: str, clock: Clock) -> None:
        self._store, self._keys, self.environment, self._clock = store, keys, environment, clock
        self._key_problem = ""
        self.token, self._said = store.load(environment, keys)
        self._saved = self.token

    def sign_in(self) -> SignIn:
        """How it stands now."""
        now, token = self._clock.now(), self.token
        if self._key_problem:
            return SignIn(TokenState.KEY_REFUSED, _sentence(explain(self._key_problem)))
        if token is None:
            return SignIn(TokenState.NONE, self._said)
        state, ends = token.state(now), midnight_after(token.issued_at)
        sleeps = min(token.last_used + SLEEPS_AFTER, ends)
        return SignIn(state, _said(token, state, ends, now), token.issued_at, ends, sleeps)

    def need(self) -> Token:
        """The token to sign with. SignInAgain, KeyRefused: known without asking E*TRADE."""
        now = self.sign_in()
        if now.state is TokenState.KEY_REFUSED:
            raise KeyRefused(now.said, problem=self._key_problem)
        if self.token is None or not now.usable:
            raise SignInAgain(now.said, problem=self.token.refused if self.token else "")
        return self.token

    def wants_renewal(self) -> bool:
        """Whether it was silent for 90 minutes: it sleeps soon, or does already."""
        return self.token is not None and self._clock.now() - self.token.last_used >= RENEW_AFTER

    def take(self, pair: Pair, *, taken_over: str = "") -> Token:
        """A new sign-in."""
        now = self._clock.now()
        before = self.token.taken_over if self.token else ""
        self._key_problem = ""
        self.token = Token(pair, self.environment, now, now, taken_over=taken_over or before)
        self._save()
        return self.token

    def used(self, token: Token) -> None:
        """E*TRADE took a call signed with it; written down once a minute."""
        if self.token is None or self.token.pair != token.pair:
            return
        self.token = replace(self.token, last_used=max(self._clock.now(), self.token.last_used))
        if self._saved is None or self.token.last_used - self._saved.last_used >= SAVE_EVERY:
            self._save()

    def refuse(self, token: Token, problem: str) -> None:
        """E*TRADE does not take it and never will: no more calls on it, after a restart neither."""
        if self.token is None or self.token.pair != token.pair or self.token.refused:
            return
        self.token = replace(self.token, refused=problem or "token_rejected")
        self._save()

    def refuse_key(self, problem: str) -> None:
        """Until the program starts with another key, or a sign-in succeeds."""
        self._key_problem = problem

    def _save(self) -> None:
        if self.token is None:
            return
        try:
            self._store.save(self.token, self._keys)
        except OSError as error:
            _log.error("the sign-in could not be kept (%s): it is lost when this program ends", error.strerror)
            return
        self._saved = self.token


def _said(token: Token, state: TokenState, ends: datetime, now: datetime) -> str:
    if token.refused:
        return _sentence(explain(token.refused))
    if state is TokenState.DEAD:
        return _sentence(explain("token_expired"))
    left = int((ends - now).total_seconds() // 60)
    until = f"signed in until midnight in New York, {left // 60} h {left % 60:02} min from now"
    if state is TokenState.IDLE:
        return f"The sign-in sleeps after two hours without a call; the next call wakes it: {until}."
    return f"{until[0].upper()}{until[1:]}."


def _sentence(what: Explanation) -> str:
    text = str(what)
    return f"{text[0].upper()}{text[1:]}." if not text.startswith("E*") else f"{text}."
