"""WhatsApp by Twilio. WhatsApp lets a business write first only by an approved template, or within a day of the
person's own last message; what it does not let through, Twilio says."""

from __future__ import annotations

from datetime import datetime

from alerts._twilio import Line, short
from alerts.base import Message, lacking, need
from settings import Settings

MOST_LETTERS = 1500  # Twilio's own limit is 1,600


class WhatsappAlert:
    """One message a number."""

    name, label, personal, kind = "whatsapp", "WhatsApp", True, "phone"
    idempotent, bundles, per_hour, at_once = False, True, 30, 1

    def __init__(self, settings: Settings) -> None:
        need(WhatsappAlert, settings)
        self._to = settings.whatsapp_to
        sender = settings.whatsapp_from_number or settings.twilio_from_number
        self._line = Line(settings, self.name, sender, prefix="whatsapp:")

    @classmethod
    def missing(cls, settings: Settings) -> list[str]:
        sender = "whatsapp_from_number|twilio_from_number"
        return lacking(settings, "twilio_account_sid", "twilio_auth_token", sender, "whatsapp_to")

    def addresses(self) -> tuple[str, ...]:
        return self._to

    async def send(self, message: Message) -> str:
        return await self._line.send(message, short(message, MOST_LETTERS))

    async def arrived(self, message: Message, since: datetime) -> bool | None:
        return await self._line.arrived(message, short(message, MOST_LETTERS), since)

    async def close(self) -> None:
        pass


PART = WhatsappAlert
