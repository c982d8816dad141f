"""What can go wrong at E*TRADE, by what to do next. Each is also an error the whole project knows.

EtradeError               .code, .said (E*TRADE's own words), .trace (X-ET-Trace, for E*TRADE's support), .status
├── SignInAgain           sign in      a person must act; .problem is E*TRADE's oauth_problem; SignInNeeded
│   └── KeyRefused        sign in      with another consumer key: this one is unknown, lapsed or of another environment
├── Unavailable           wait         nothing was changed; BrokerUnavailable and FeedUnavailable
│   ├── OverLimit         wait         .wait_s seconds at least
│   └── Unreadable        wait         an answer without what it must hold; .faults names it; never a success
├── RequestWrong          fix          our own request; asking again changes nothing
├── Refused               never again  the broker's final no; OrderRefused
└── Ambiguous             never again  sent, and no certain answer: look at the orders list; OrderAmbiguous
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from domain.errors import (
    BrokerUnavailable,
    DeskError,
    FeedUnavailable,
    OrderAmbiguous,
    OrderRefused,
    SignInNeeded,
)

MOST_TEXT = 300
_TAGS = re.compile(r"<(?:style|script)\b.*?</(?:style|script)\s*>|<[^>]{0,500}>", re.IGNORECASE | re.DOTALL)
_NUMBERS = re.compile(r"(?<![0-9])[0-9]{4,17}([0-9]{4})(?![0-9])")
# Long and with a digit in it: a key or a token, no word.
_OPAQUE = re.compile(r"(?<![A-Za-z0-9+/=_%-])(?=[A-Za-z+/=_%-]*[0-9])[A-Za-z0-9+/=_%-]{16,}")
_PAIRS = re.compile(r"(oauth_(?:token|token_secret|consumer_key|signature|nonce|verifier)\W{1,3})[^\s,&\"'<>]+")


class EtradeError(DeskError):
    """Anything E*TRADE, or the way to it, said no to."""

    def __init__(self, message: str, *, code: int | None = None, said: str = "", trace: str = "", status: int = 0):
        super().__init__(message + (f" (trace {trace})" if trace else ""))
        self.code, self.said, self.trace, self.status = code, said, trace, status


class SignInAgain(EtradeError, SignInNeeded):
    """A person must sign in. `problem` is E*TRADE's own word where it gave one."""

    def __init__(self, message: str, *, problem: str = "", trace: str = "", status: int = 0):
        super().__init__(message, trace=trace, status=status)
        self.problem = problem


class KeyRefused(SignInAgain):
    """The consumer key itself is refused: another key is needed, not another sign-in."""


class Unavailable(EtradeError, BrokerUnavailable, FeedUnavailable):
    """Nothing was changed and nothing is known: wait and ask again."""


class OverLimit(Unavailable):
    """Too many calls: `wait_s` seconds must pass first."""

    def __init__(self, message: str, wait_s: float, *, trace: str = "", status: int = 0):
        super().__init__(message, trace=trace, status=status)
        self.wait_s = wait_s


class Unreadable(Unavailable):
    """An answer that lacks what it must hold, or holds what cannot be: `faults` names each place."""

    def __init__(self, what: str, faults: Iterable[str], *, trace: str = "", status: int = 0):
        self.faults = tuple(faults)
        more = f" and {len(self.faults) - 5} more" if len(self.faults) > 5 else ""
        super().__init__(f"{what}: {'; '.join(self.faults[:5])}{more}", trace=trace, status=status)


class RequestWrong(EtradeError):
    """Our request broke a rule of E*TRADE's: asking again changes nothing."""


class Refused(EtradeError, OrderRefused):
    """The broker's final no to a preview, a place, a change or a cancel."""


class Ambiguous(EtradeError, OrderAmbiguous):
    """Sent, and no certain answer came: look at the orders list, never send it again."""


def plain(text: str) -> str:
    """Foreign text as one line that may be shown: no tags, no account number, nothing that looks like a token.

    >>> plain("<p>Account 84019377 is locked</p>")
    'Account ••••9377 is locked'
    """
    words = " ".join(_TAGS.sub(" ", text[:20_000]).split()).removeprefix("200|").strip()
    words = _NUMBERS.sub(r"••••\1", _OPAQUE.sub("…", _PAIRS.sub(r"\1…", words)))
    return "".join(c for c in words if c.isprintable())[:MOST_TEXT]


def masked(account: str) -> str:
    """An account number as it may be shown.

    >>> masked("84019377")
    '••••9377'
    """
    return "••••" + account[-4:] if len(account) >= 8 else "••••"
