"""The port every channel fits: add a file here and it can be switched on in Settings.

A channel sends one message to one address, once, and says how that ended by an error of `domain.errors.AlertError`.
It never retries, waits or chooses: that is the notifier's.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol, TypeVar

from domain.clock import SystemClock
from domain.errors import AlertError, AlertLater, AlertRefused, AlertUnusable, SettingsError
from domain.notices import Severity
from settings import Settings

T = TypeVar("T")
MOST_WAIT_S = 3600.0


@dataclass(frozen=True, slots=True)
class Message:
    """What one person is told. `id` is the same for every try, so that whoever hears it twice can tell; `at` is when it
    happened; `about` what it is about, by which the same thing is told once in a while only; `to` the address."""

    id: str
    severity: Severity
    title: str
    text: str
    symbol: str
    at: datetime
    about: str = ""
    to: str = ""

    def __post_init__(self) -> None:
        if not self.id or not self.title.strip():
            raise ValueError(f"a message must have an id and a title: got {self.id!r} and {self.title!r}")
        if self.at.tzinfo is None:
            raise ValueError(f"message {self.id}: a time must carry a zone: got {self.at.isoformat()}")

    @property
    def headline(self) -> str:
        """The title on one line; what is urgent says so."""
        words = " ".join(self.title.split())
        return f"{self.severity.value.upper()}: {words}" if self.severity.rank >= Severity.WARNING.rank else words


class Alert(Protocol):
    """A channel. A drawer file ends with `PART = ItsClass`, and its class is made by `PART(settings)`; SettingsError
    names what is missing. `missing` says it without making one.

    name        the file's stem
    label       what a person reads
    personal    it reaches one person (mail, phone), not a room: somebody else's messages need an address of theirs
    kind        what such an address is: email, phone, or '' for a room
    idempotent  the other side drops a message it has had already, by its id
    bundles     where many wait they may go as one
    per_hour    how many an hour go out until somebody chooses otherwise; 0: as many as there are
    at_once     how many are under way together
    """

    name: str
    label: str
    personal: bool
    kind: str
    idempotent: bool
    bundles: bool
    per_hour: int
    at_once: int

    def __init__(self, settings: Settings) -> None: ...

    @classmethod
    def missing(cls, settings: Settings) -> list[str]:
        """What it needs and has not got, as `.env` calls it; nothing where it can be used."""
        ...

    def addresses(self) -> tuple[str, ...]:
        """Where the desk's own messages go; `('',)` for a room."""
        ...

    async def send(self, message: Message) -> str:
        """Send it to `message.to` and say what the other side called it. AlertRefused, AlertLater, AlertUnusable."""
        ...

    async def arrived(self, message: Message, since: datetime) -> bool | None:
        """Whether a message that may have been sent since then was; None where the channel cannot say."""
        ...

    async def close(self) -> None:
        """Give back connections. Safe to call twice."""
        ...


def need(channel: type[Alert], settings: Settings) -> None:
    """SettingsError where something is missing."""
    if missing := channel.missing(settings):
        raise SettingsError(f"{channel.label} is not set up: {' and '.join(missing)} must be set in .env")


def lacking(settings: Settings, *names: str) -> list[str]:
    """Those of these settings that are empty, as `.env` calls them; `a|b` is satisfied by either."""
    return [
        " or ".join(each.upper() for each in name.split("|"))
        for name in names
        if not any(getattr(settings, each) for each in name.split("|"))
    ]


def trusted(ca_file: str = "") -> ssl.SSLContext:
    """Certificates are verified, host names too; `ca_file` is trusted beside what the system trusts."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_file:
        try:
            context.load_verify_locations(ca_file)
        except OSError as error:
            raise SettingsError(f"SMTP_CA_FILE: {ca_file} cannot be read: {error.strerror or error}") from None
    return context


def answer_error(who: str, status: int, said: str, headers: Mapping[str, str]) -> AlertError | None:
    """What an HTTP answer means; None where the message was taken."""
    said = f"{who} answered {status}{f': {said}' if said else ''}"
    if 200 <= status < 300:
        return None
    if status in (408, 425, 429):
        return AlertLater(said, retry_after(headers))
    if status >= 500:
        return AlertLater(said, retry_after(headers), doubtful=True)
    if status in (401, 403):
        return AlertUnusable(f"{said}: its key is refused; check it in .env or Settings")
    if status in (404, 410):
        return AlertUnusable(f"{said}: nobody lives at this address any more; make a new one")
    if 300 <= status < 400:
        return AlertUnusable(f"{said}: redirects are not followed; set the address it leads to")
    return AlertRefused(said)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The wait a server asks for, in seconds or as a date, at most an hour; None where it asks for none."""
    text = next((value for name, value in headers.items() if name.lower() == "retry-after"), "").strip()
    if not text:
        return None
    try:
        wait = float(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            return None
        wait = (moment.replace(tzinfo=moment.tzinfo or UTC) - SystemClock().now()).total_seconds()
    return min(max(wait, 0.0), MOST_WAIT_S) if wait == wait else None


class OneThread:
    """Calls of a blocking library, one at a time, each in a daemon thread: one that hangs for ever holds up nothing but
    its own channel, and no exit."""

    def __init__(self, name: str) -> None:
        self._name, self._busy = name, False

    async def run(self, call: Callable[[], T]) -> T:
        """Its result; AlertLater where the call before is still hanging."""
        if self._busy:
            raise AlertLater(f"{self._name}: the last sending still hangs")
        loop, answer = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()

        def work() -> None:
            try:
                told, failed = call(), None
            except BaseException as error:  # noqa: BLE001 - whatever it is, whoever waits gets it
                told, failed = None, error
            self._busy = False
            loop.call_soon_threadsafe(_settle, answer, told, failed)

        self._busy = True
        threading.Thread(target=_quietly(work), name=f"alert-{self._name}", daemon=True).start()
        found: T = await answer
        return found


def _settle(answer: asyncio.Future[T], told: T, failed: BaseException | None) -> None:
    if answer.cancelled():
        return
    if failed is None:
        answer.set_result(told)
    else:
        answer.set_exception(failed)


def _quietly(work: Callable[[], None]) -> Callable[[], None]:
    """A thread that outlived its loop has nobody to tell."""

    def run() -> None:
        try:
            work()
        except RuntimeError as error:
            if "closed" not in str(error):
                raise

    return run
