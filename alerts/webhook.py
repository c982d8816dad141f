"""Your own server: one HTTPS POST of JSON a message.

`Idempotency-Key` is the message's id, the same at every try, so that a server which keeps it takes each message once.
Redirects are not followed, and no more than 64 KiB of an answer is read.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import datetime

import aiohttp

from alerts.base import Message, answer_error, lacking, need
from domain.errors import AlertLater, AlertUnusable
from settings import Settings

MOST_BYTES = 65_536


class WebhookAlert:
    """A program that wants to know. With WEBHOOK_SECRET, `X-Desk-Signature` proves who sent it."""

    name, label, personal, kind = "webhook", "Webhook", False, ""
    idempotent, bundles, per_hour, at_once = True, False, 0, 8

    def __init__(self, settings: Settings) -> None:
        need(WebhookAlert, settings)
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def missing(cls, settings: Settings) -> list[str]:
        return lacking(settings, "webhook_url")

    def addresses(self) -> tuple[str, ...]:
        return ("",)

    async def send(self, message: Message) -> str:
        body = _body(message)
        headers = {"Content-Type": "application/json", "Idempotency-Key": message.id}
        if self._settings.webhook_secret:
            sealed = hmac.new(self._settings.webhook_secret.encode(), body, hashlib.sha256).hexdigest()
            headers["X-Desk-Signature"] = f"sha256={sealed}"
        try:
            return await self._post(body, headers)
        except aiohttp.ClientConnectorCertificateError as error:
            raise AlertUnusable("the webhook's certificate is not trusted") from error
        except aiohttp.ClientConnectorError as error:
            raise AlertLater("the webhook cannot be reached") from error
        except TimeoutError as error:
            raise AlertLater("the webhook did not answer in time", doubtful=True) from error
        except (aiohttp.ClientError, OSError) as error:
            raise AlertLater(f"the line to the webhook broke ({type(error).__name__})", doubtful=True) from error

    async def arrived(self, message: Message, since: datetime) -> bool | None:
        return None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _post(self, body: bytes, headers: dict[str, str]) -> str:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=self._settings.alert_timeout_s)
            self._session = aiohttp.ClientSession(
                timeout=timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
            )
        url = self._settings.webhook_url
        async with self._session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
            said = (await answer.content.read(MOST_BYTES)).decode("utf-8", "replace")
            if failed := answer_error("the webhook", answer.status, " ".join(said.split())[:120], answer.headers):
                raise failed
            return str(answer.status)


def _body(message: Message) -> bytes:
    told = {name: getattr(message, name) for name in ("id", "severity", "title", "text", "symbol", "about")}
    return json.dumps({**told, "at": message.at.isoformat()}, ensure_ascii=False).encode()


PART = WebhookAlert
