"""Slack: an incoming webhook, or a bot that writes to a channel. Nobody is mentioned, whatever a text says, and no
redirect is followed: what is told here is told to Slack alone."""

from __future__ import annotations

from datetime import datetime
from html import escape
from typing import Any, NoReturn

import aiohttp
from slack_sdk.errors import SlackApiError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.webhook.async_client import AsyncWebhookClient

from alerts.base import Message, answer_error, lacking, need
from domain.errors import AlertError, AlertLater, AlertRefused, AlertUnusable
from settings import Settings

MOST_LETTERS = 3000
# https://docs.slack.dev/reference/methods/chat.postMessage, its errors: what concerns this one message only.
_THIS_MESSAGE = {"msg_too_long", "no_text", "invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long"}
_LATER = {"ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"}


class SlackAlert:
    """One message to the room; a bot's token wins over a webhook."""

    name, label, personal, kind = "slack", "Slack", False, ""
    idempotent, bundles, per_hour, at_once = False, True, 1800, 1

    def __init__(self, settings: Settings) -> None:
        need(SlackAlert, settings)
        self._settings = settings

    @classmethod
    def missing(cls, settings: Settings) -> list[str]:
        if settings.slack_bot_token:
            return lacking(settings, "slack_channel")
        return lacking(settings, "slack_webhook_url|slack_bot_token")

    def addresses(self) -> tuple[str, ...]:
        return ("",)

    async def send(self, message: Message) -> str:
        settings = self._settings
        timeout = aiohttp.ClientTimeout(total=settings.alert_timeout_s)
        try:
            async with aiohttp.ClientSession(timeout=timeout, trace_configs=[_no_redirects()]) as session:
                if settings.slack_bot_token:
                    return await self._as_bot(session, message)
                return await self._by_webhook(session, message)
        except aiohttp.ClientConnectorCertificateError as error:
            raise AlertUnusable("Slack: its certificate is not trusted") from error
        except aiohttp.ClientConnectorError as error:
            raise AlertLater("Slack: it cannot be reached") from error
        except TimeoutError as error:
            raise AlertLater("Slack: it did not answer in time", doubtful=True) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise AlertLater(f"Slack: the line broke ({type(error).__name__})", doubtful=True) from error

    async def arrived(self, message: Message, since: datetime) -> bool | None:
        return None

    async def close(self) -> None:
        pass

    async def _by_webhook(self, session: aiohttp.ClientSession, message: Message) -> str:
        # No retries of its own: when to try again is the notifier's to say.
        client = AsyncWebhookClient(
            self._settings.slack_webhook_url, session=session, retry_handlers=[], timeout=self._whole_seconds
        )
        answer = await client.send(text=_said(message), blocks=_blocks(message))
        if failed := answer_error("Slack", answer.status_code, str(answer.body)[:200], answer.headers):
            raise failed
        return str(answer.body)[:40]

    async def _as_bot(self, session: aiohttp.ClientSession, message: Message) -> str:
        settings = self._settings
        client = AsyncWebClient(
            settings.slack_bot_token,
            base_url=settings.slack_url,
            session=session,
            retry_handlers=[],
            timeout=self._whole_seconds,
        )
        try:
            answer = await client.chat_postMessage(
                channel=settings.slack_channel,
                text=_said(message),
                blocks=_blocks(message),
                unfurl_links=False,
                unfurl_media=False,
            )
        except SlackApiError as error:
            raise _plainly(error) from None  # what it says holds the whole answer
        return str(answer.get("ts", ""))

    @property
    def _whole_seconds(self) -> int:
        return max(1, round(self._settings.alert_timeout_s))


def _plainly(error: SlackApiError) -> AlertError:
    answer: Any = error.response
    status, headers = getattr(answer, "status_code", 0), getattr(answer, "headers", {})
    data = getattr(answer, "data", None)
    word = str(data.get("error", "")) if isinstance(data, dict) else ""
    said = f"Slack answered {word or status}"
    if status == 429 or word in _LATER or status >= 500 or not word:
        late = answer_error("Slack", status, word, headers) if status >= 400 else None
        return late or AlertLater(said, doubtful=not word)
    return AlertRefused(said) if word in _THIS_MESSAGE else AlertUnusable(f"{said}: check the bot's token and channel")


def _no_redirects() -> aiohttp.TraceConfig:
    """Slack's library would follow one wherever it leads."""

    async def refuse(_: object, __: object, about: aiohttp.TraceRequestRedirectParams) -> NoReturn:
        raise answer_error("Slack", about.response.status, "", {}) or AssertionError

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(refuse)
    return trace


def _said(message: Message) -> str:
    """For where blocks are not shown, such as a phone's first line: Slack reads marks in it, unless they are escaped.
    https://docs.slack.dev/messaging/formatting-message-text#escaping"""
    return escape(message.headline, quote=False)


def _blocks(message: Message) -> list[dict[str, Any]]:
    """Plain text, which Slack never reads as a mention, a link or a format."""

    def part(text: str, most: int) -> dict[str, Any]:
        return {"type": "plain_text", "text": text[:most], "emoji": False}

    blocks = [{"type": "header", "text": part(message.headline, 150)}]
    if message.text.strip():
        blocks.append({"type": "section", "text": part(message.text, MOST_LETTERS)})
    return blocks


PART = SlackAlert
