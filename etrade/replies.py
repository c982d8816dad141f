"""What a reply means: a value, or which of our errors.

The rule for what changes something: it was refused only where a whole error body says so with a code known to be
final. Everything else that is no success may stand, and is Ambiguous.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qsl

from etrade import body as bodies
from etrade.errors import (
    Ambiguous,
    EtradeError,
    OverLimit,
    Refused,
    RequestWrong,
    Unavailable,
    Unreadable,
    plain,
)
from etrade.signing import Pair
from etrade.transport import Reply

# Codes after which an order certainly does not stand.
FINAL_TO_PLACE = frozenset({1021, 1037, 2084, 2085, 9999})
FINAL_TO_CANCEL = frozenset({5001, 9999})
MAINTENANCE = 670
_PASSING = frozenset({163, 1508, 1524})
_PREVIEW_AGAIN = frozenset({101, 900, 1033})
_ONCE_MORE = frozenset({"nonce_used", "parameter_absent"})
_WAKES = frozenset({"token_rejected", "token_expired", ""})
LONGEST_PAUSE_S = 3600.0


class TryAgain(Exception):
    """A read may be asked again, after `wait_s` where E*TRADE named it; `error` is for when it will not be.
    `once`: a new nonce is all it takes."""

    def __init__(self, error: EtradeError, *, wait_s: float | None = None, over: bool = False, once: bool = False):
        super().__init__(str(error))
        self.error, self.wait_s, self.over, self.once = error, wait_s, over, once


class Unauthorized(Exception):
    """E*TRADE did not take the token or the key; `problem` is '' where it did not say why."""

    def __init__(self, problem: str, trace: str, status: int) -> None:
        super().__init__(problem)
        self.problem, self.trace, self.status = problem, trace, status

    @property
    def may_sleep(self) -> bool:
        """Whether renewing may help."""
        return self.problem in _WAKES


def read(what: str, reply: Reply, now: datetime, *, preview: bool = False) -> Any:
    """The body of a read's answer, None for 204. TryAgain, Unauthorized, or the error to raise."""
    if reply.status == 204:
        return None
    if reply.status == 200:
        try:
            value = bodies.read(reply.body)
        except bodies.NotData as error:
            raise TryAgain(_unreadable(what, str(error), reply)) from None
        if not bodies.has_error(value):
            return value
    raise _wrong(what, reply, now, preview=preview)


def written(what: str, reply: Reply, final: frozenset[int]) -> Any:
    """The body of the answer to something that changes something. Refused or Ambiguous, and nothing else."""
    fault = bodies.fault(reply.body)
    if reply.status == 200:
        try:
            value = bodies.read(reply.body)
        except bodies.NotData as error:
            raise uncertain(what, str(error), reply) from None
        if not bodies.has_error(value):
            return value
    elif reply.status >= 400 and fault.code in final:
        raise Refused(
            f"E*TRADE refused {what}: {plain(fault.message) or 'no reason given'} ({fault.code})",
            code=fault.code,
            said=plain(fault.message),
            trace=trace(reply),
            status=reply.status,
        )
    said = plain(fault.message) or fault.problem or "nothing readable"
    raise uncertain(what, f"it answered {reply.status}: {said}", reply, fault.code)


def uncertain(what: str, why: str, reply: Reply | None = None, code: int | None = None) -> Ambiguous:
    """The error after which nobody may repeat it."""
    return Ambiguous(
        f"{what} was sent and what became of it is not certain ({why}): look at the orders list, do not repeat it",
        code=code,
        said=why,
        trace=trace(reply) if reply else "",
        status=reply.status if reply else 0,
    )


def pair(what: str, reply: Reply, now: datetime) -> Pair:
    """The token and secret of a token call's form-encoded answer."""
    if reply.status == 200:
        text = reply.body[:10_000].decode("ascii", "replace").strip()
        found = dict(parse_qsl(text, keep_blank_values=True, encoding="ascii", errors="replace"))
        token, secret = found.get("oauth_token", ""), found.get("oauth_token_secret", "")
        if _is_token(token) and _is_token(secret):
            return Pair(token, secret)
        if not bodies.fault(reply.body).problem:
            raise TryAgain(_unreadable(what, "oauth_token or oauth_token_secret is missing", reply))
    raise _wrong(what, reply, now)


def sentence(what: str, reply: Reply, now: datetime) -> None:
    """Nothing, where a renewal or a revocation was answered with a success."""
    if reply.status != 200 or bodies.fault(reply.body).problem:
        raise _wrong(what, reply, now)


def unauthorized(reply: Reply) -> Unauthorized:
    return Unauthorized(bodies.fault(reply.body).problem, trace(reply), reply.status)


def over_limit(reply: Reply) -> bool:
    """Too many calls: E*TRADE says it with 400 and a sentence, or with 400 and a web page."""
    if reply.status == 429:
        return True
    if reply.status != 400:
        return False
    fault = bodies.fault(reply.body)
    return (fault.page and not fault.problem) or bool(re.search(r"rate limit", fault.message, re.IGNORECASE))


def retry_after(reply: Reply, now: datetime) -> float | None:
    """Seconds the server asked to wait; None where it asked for none that can be read."""
    said = reply.headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}", said, re.ASCII):
        return min(float(said), LONGEST_PAUSE_S)
    try:
        wait = (parsedate_to_datetime(said) - now).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(wait, 0.0), LONGEST_PAUSE_S)


def trace(reply: Reply) -> str:
    """E*TRADE's name for the call, for its support."""
    said = reply.headers.get("x-et-trace", "")
    return said if re.fullmatch(r"[0-9a-fA-F-]{8,64}", said) else ""


def server_time(reply: Reply) -> datetime | None:
    """The Date header, which is whole seconds: half of one is added."""
    try:
        return parsedate_to_datetime(reply.headers.get("date", "")) + timedelta(milliseconds=500)
    except (TypeError, ValueError, OverflowError):
        return None


def _wrong(what: str, reply: Reply, now: datetime, *, preview: bool = False) -> Exception:
    """What to raise for an answer that is no success."""
    fault, status, name = bodies.fault(reply.body), reply.status, trace(reply)
    said = "" if fault.page else plain(fault.message)
    wait_s = retry_after(reply, now)
    details: dict[str, Any] = {"code": fault.code, "said": said, "trace": name, "status": status}
    if fault.problem in _ONCE_MORE:
        text = f"E*TRADE did not take {what} ({fault.problem}): try again in a moment"
        return TryAgain(Unavailable(text, **details), once=True)
    if status == 401 or fault.problem:
        return unauthorized(reply)
    if over_limit(reply):
        wait = wait_s if wait_s is not None else 1.0
        return TryAgain(
            OverLimit(f"E*TRADE says that it was asked too often ({what})", wait, trace=name, status=status),
            wait_s=wait_s,
            over=True,
        )
    shown = f": {said}" if said else ""
    shown += f" ({fault.code})" if fault.code else f" ({status})"
    if fault.code == MAINTENANCE:
        return Unavailable(f"E*TRADE is under maintenance and gave no {what}", **details)
    if status >= 500 or fault.code in _PASSING or (preview and fault.code in _PREVIEW_AGAIN):
        return TryAgain(
            Unavailable(f"E*TRADE gave no {what}{shown}", **details), wait_s=wait_s, over=wait_s is not None
        )
    if status < 400 and fault.code is None:
        return Unavailable(f"E*TRADE gave no {what}{shown}", **details)
    kind = Refused if preview and fault.code is not None else RequestWrong
    return kind(f"E*TRADE refused {what}{shown}", **details)


def _unreadable(what: str, fault: str, reply: Reply) -> Unreadable:
    return Unreadable(f"the answer to {what} cannot be used", [fault], trace=trace(reply), status=reply.status)


def _is_token(text: str) -> bool:
    return bool(re.fullmatch(r"[!-~]{4,500}", text))
