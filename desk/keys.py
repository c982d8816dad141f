"""The keys a person types on a page: what of them is shown, and how they are kept.

The rule: what the environment or `.env` says wins and cannot be changed here; nothing is written that the settings
themselves would refuse; and of a secret nothing is shown but its end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args, get_origin

import settings as settings_file
from desk import logs
from domain.errors import SettingsError, UnknownName
from kept_keys import GROUPS, kept_in
from settings import Settings

ENDS, LONG_ENOUGH = 4, 8
LABELS = {
    "etrade_environment": "Environment",
    "etrade_consumer_key": "Consumer key",
    "etrade_consumer_secret": "Consumer secret",
    "etrade_account_id": "Account number",
    "smtp_server": "Mail server",
    "smtp_port": "Port",
    "smtp_security": "Encryption",
    "smtp_user": "User",
    "smtp_pass": "Password",
    "email_from": "From",
    "email_to": "To",
    "twilio_account_sid": "Twilio account SID",
    "twilio_auth_token": "Twilio token",
    "twilio_from_number": "From number",
    "sms_to": "To numbers",
    "whatsapp_from_number": "From number",
    "whatsapp_to": "To numbers",
    "slack_webhook_url": "Webhook address",
    "slack_bot_token": "Bot token",
    "slack_channel": "Channel",
    "webhook_url": "Address",
    "webhook_secret": "Signing secret",
}
HINTS = {
    "etrade_environment": "each environment has a key of its own",
    "etrade_account_id": "eight digits, where there is more than one account",
    "smtp_security": "auto chooses by the port",
    "email_from": "where it differs from the user",
    "email_to": "several by commas",
    "twilio_from_number": "such as +12125550123",
    "sms_to": "several by commas",
    "whatsapp_to": "several by commas",
    "slack_webhook_url": "this, or a bot token and a channel",
    "webhook_secret": "proves to your server who sent it",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """One setting as a page may show it. `value`: '' where there is none, and the end alone of a secret; `source`:
    ".env" or "the environment" where they say it, "here" where it was typed on a page, else ''."""

    name: str
    label: str
    value: str
    source: str
    secret: bool
    choices: tuple[str, ...] = ()
    hint: str = ""

    @property
    def spelled(self) -> str:
        """As `.env` has it."""
        return self.name.upper()

    @property
    def can_be_typed(self) -> bool:
        """Whether what is typed here would count."""
        return self.source in ("", "here")


def shown(group: str) -> list[Shown]:
    """The settings of a group as they stand."""
    settings, told, kept = settings_file.load(), settings_file.said(), _kept_or_none()
    return [_shown(name, settings, told, kept) for name in names_of(group)]


def names_of(group: str) -> tuple[str, ...]:
    """Which settings a group has; UnknownName."""
    if group not in GROUPS:
        raise UnknownName.of("group of keys", group, GROUPS)
    return GROUPS[group]


def keep(group: str, typed: Mapping[str, str]) -> list[str]:
    """Keep what was typed, by names in lower case; an empty one is left as it was. The names that changed.
    SettingsError names what is wrong, and nothing is changed."""
    changes = {name: value.strip() for name, value in typed.items() if value.strip()}
    logs.hide(*(value for name, value in changes.items() if is_secret(name)))
    told = settings_file.said()
    for name in changes:
        if name not in names_of(group):
            raise SettingsError(f"{name.upper()} cannot be kept here: write it into .env")
        if name in told:
            raise SettingsError(f"{name.upper()} is set by {told[name]}, which wins: change it there")
    if changes:
        kept_in(_data_dir()).change(changes, _would_do)
    return sorted(changes)


def forget(name: str) -> None:
    """Take one away; one that is not kept is no error. SettingsError where the others would not do without it."""
    kept_in(_data_dir()).change({name: None}, _would_do)


def begin_anew() -> str:
    """Set a file that cannot be read aside; where it lies now."""
    return str(kept_in(_data_dir()).set_aside())


def is_secret(name: str) -> bool:
    """Whether no page may show it whole."""
    field = Settings.model_fields.get(name)
    return field is None or not field.repr


def end_of(secret: str) -> str:
    """As much of a secret as may be shown: its last four characters; of a short one nothing."""
    return f"…{secret[-ENDS:]}" if len(secret) >= LONG_ENOUGH else "…"


def _shown(name: str, settings: Settings, told: Mapping[str, str], kept: Mapping[str, str]) -> Shown:
    source, secret = told.get(name, "here" if name in kept else ""), is_secret(name)
    found = getattr(settings, name)
    value = ", ".join(found) if isinstance(found, tuple) else str(found)
    annotation = Settings.model_fields[name].annotation
    choices = get_args(annotation) if get_origin(annotation) is Literal else ()
    plain = end_of(value) if secret and value else value
    return Shown(name, LABELS[name], plain, source, secret, tuple(map(str, choices)), HINTS.get(name, ""))


def _would_do(kept: Mapping[str, str]) -> None:
    try:
        settings_file.over(kept)
    except SettingsError as error:
        raise SettingsError(f"{str(error).removeprefix(settings_file.WRONG)}. Nothing was changed.") from None


def _kept_or_none() -> dict[str, str]:
    try:
        return kept_in(_data_dir()).read()
    except SettingsError:
        return {}


def _data_dir() -> Path:
    return settings_file.load().data_dir
