"""Text messages by Twilio."""

from __future__ import annotations

from datetime import datetime

from alerts._twilio import Line, short
from alerts.base import Message, lacking, need
from settings import Settings

MOST_LETTERS = 480  # three to seven parts of one text message


class SmsAlert:
    """One text message a number."""

    name, label, personal, kind = "sms", "SMS", True, "phone"
    idempotent, bundles, per_hour, at_once = False, True, 20, 1

    def __init__(self, settings: Settings) -> None:
        need(SmsAlert, settings)
        self._to = settings.sms_to
        self._line = Line(settings, self.name, settings.twilio_from_number)

    @classmethod
    def missing(cls, settings: Settings) -> list[str]:
        return lacking(settings, "twilio_account_sid", "twilio_auth_token", "twilio_from_number", "sms_to")

    def addresses(self) -> tuple[str, ...]:
        return self._to

    async def send(self, message: Message) -> str:
        return await self._line.send(message, short(message, MOST_LETTERS))

    async def arrived(self, message: Message, since: datetime) -> bool | None:
        return await self._line.arrived(message, short(message, MOST_LETTERS), since)

    async def close(self) -> None:
        pass


PART = SmsAlert
