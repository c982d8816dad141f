"""What text messages and WhatsApp share: Twilio's own library, its answers as our errors.

Twilio keeps no record of what a caller calls a message, so a message that may have gone out is looked for in its list.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.http.response import Response
from twilio.rest import Client

from alerts.base import Message, OneThread, answer_error
from domain.errors import AlertError, AlertLater, AlertRefused, AlertUnusable
from settings import Settings

HOME = "https://api.twilio.com"
MOST_BYTES = 1_000_000
# https://www.twilio.com/docs/api/errors: what is wrong with the sender's side concerns every message.
_SENDER = {20003, 20005, 21212, 21606, 21659, 21660, 21661, 63007, 63112}
_CLOCKS = timedelta(minutes=5)  # between Twilio's and ours


class Line:
    """Twilio for one kind of address. `prefix` is what stands before a number: '' or 'whatsapp:'."""

    def __init__(self, settings: Settings, name: str, sender: str, prefix: str = "") -> None:
        self._from, self._prefix, self._thread = f"{prefix}{sender}", prefix, OneThread(name)
        self._client = Client(
            settings.twilio_account_sid,
            settings.twilio_auth_token,
            http_client=_Wire(settings.twilio_url, settings.alert_timeout_s),
            environment={"TWILIO_EDGE": ""},  # never what this machine's environment holds
        )

    async def send(self, message: Message, body: str) -> str:
        """The message's number at Twilio."""
        to = f"{self._prefix}{message.to}"
        made = await self._ask(lambda: self._client.messages.create(to=to, from_=self._from, body=body))
        return str(made.sid)

    async def arrived(self, message: Message, body: str, since: datetime) -> bool | None:
        """Whether the same words went to that number since then."""
        to, after = f"{self._prefix}{message.to}", since - _CLOCKS
        try:
            # Its list filters by whole days.
            found = await self._ask(
                lambda: self._client.messages.list(to=to, date_sent_after=after - timedelta(days=1), limit=200)
            )
        except AlertError:
            return None
        gone = [one for one in found if one.status not in ("failed", "canceled") and one.body == body]
        return any(one.date_created is None or one.date_created >= after for one in gone)

    async def _ask(self, call: Any) -> Any:
        try:
            return await self._thread.run(call)
        except TwilioRestException as error:
            raise _plainly(error) from error
        except requests.exceptions.SSLError as error:
            raise AlertUnusable("Twilio: its certificate is not trusted") from error
        except requests.exceptions.RequestException as error:
            raise AlertLater(f"Twilio: {_words(error)}", doubtful=not _never_sent(error)) from error
        except (TwilioException, ValueError, KeyError, TypeError) as error:
            raise AlertLater(f"Twilio gave an answer that is none: {str(error)[:200]}", doubtful=True) from error


class _Wire(TwilioHttpClient):  # type: ignore[misc]
    """Twilio's own line with a time limit, a limit for what is read, one address, and its wish to be left in peace."""

    def __init__(self, home: str, timeout_s: float) -> None:
        super().__init__(timeout=timeout_s, max_retries=0)
        self._home = home.rstrip("/")
        if self.session is not None:
            self.session.mount("http://", HTTPAdapter(max_retries=0))
            self.session.hooks["response"].append(_not_too_long)

    def request(self, method: str, url: str, *args: Any, **kwargs: Any) -> Response:
        if not url.startswith(f"{HOME}/"):  # an answer names the address of its next page
            raise requests.exceptions.InvalidURL("its answer leads elsewhere")
        url = self._home + url.removeprefix(HOME)
        answer = super().request(method, url, *args, **kwargs)
        if answer.status_code == 429:
            headers: Mapping[str, str] = answer.headers or {}
            raise answer_error("Twilio", 429, "too many at once", headers) or AssertionError
        return answer


def _not_too_long(answer: requests.Response, **_: Any) -> None:
    if len(answer.content) > MOST_BYTES:
        raise requests.exceptions.ContentDecodingError(f"it answered more than {MOST_BYTES} bytes")


def _plainly(error: TwilioRestException) -> AlertError:
    said = f"Twilio answered {error.status}: {str(error.msg)[:200]}" + (f" ({error.code})" if error.code else "")
    if error.code in _SENDER or error.status in (401, 403):
        return AlertUnusable(f"{said}; check TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN and the number it comes from")
    if error.status == 404:
        return AlertUnusable(f"{said}; check TWILIO_ACCOUNT_SID")
    if error.status >= 500:
        return AlertLater(said, doubtful=True)
    return AlertRefused(said)


def _never_sent(error: BaseException) -> bool:
    """Whether there never was a connection."""
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return True
    reason = getattr(error.args[0] if error.args else None, "reason", None)
    return isinstance(reason, urllib3.exceptions.NewConnectionError)


def _words(error: requests.exceptions.RequestException) -> str:
    if isinstance(error, requests.exceptions.Timeout):
        return "it did not answer in time"
    return "it cannot be reached" if _never_sent(error) else f"the line broke ({type(error).__name__})"


def short(message: Message, most: int) -> str:
    """Headline and text on at most that many letters. Its last four tell messages with the same words apart."""
    mark = hashlib.sha256(message.id.encode()).hexdigest()[:4]
    words = f"{message.headline}\n{message.text}".strip()
    room = most - len(mark) - 3
    return f"{words if len(words) <= room else words[: room - 1] + '…'} [{mark}]"
