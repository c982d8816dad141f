"""Email by SMTP, encrypted before anything is said, the server's certificate verified.

A server that offers no encryption gets nothing. `Message-ID` is made from the message's id, so that a mail sent twice
after a crash is one mail to most mailboxes.
"""

from __future__ import annotations

import contextlib
import hashlib
import smtplib
import ssl
from datetime import datetime
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid

from alerts.base import Message, OneThread, lacking, need, trusted
from domain.clock import SystemClock
from domain.errors import AlertLater, AlertRefused, AlertUnusable
from settings import Settings

GOODBYE_S = 1.0


class EmailAlert:
    """One mail an address: nobody reads who else is told."""

    name, label, personal, kind = "email", "Email", True, "email"
    idempotent, bundles, per_hour, at_once = False, True, 60, 1

    def __init__(self, settings: Settings) -> None:
        need(EmailAlert, settings)
        self._settings, self._thread = settings, OneThread(self.name)
        self._tls = None if settings.smtp_security == "none" else trusted(settings.smtp_ca_file)
        self._from = settings.email_from or settings.smtp_user

    @classmethod
    def missing(cls, settings: Settings) -> list[str]:
        missing = lacking(settings, "smtp_server", "email_from|smtp_user", "email_to|smtp_user")
        if not missing and not (settings.email_from or "@" in settings.smtp_user):
            missing.append("EMAIL_FROM (SMTP_USER is no address)")
        if not missing and not (settings.email_to or "@" in settings.smtp_user):
            missing.append("EMAIL_TO (SMTP_USER is no address)")
        return missing

    def addresses(self) -> tuple[str, ...]:
        return self._settings.email_to or (self._settings.smtp_user,)

    async def send(self, message: Message) -> str:
        return await self._thread.run(lambda: self._deliver(message))

    async def arrived(self, message: Message, since: datetime) -> bool | None:
        return None

    async def close(self) -> None:
        pass

    def _deliver(self, message: Message) -> str:
        mail = self._mail(message)
        try:
            server = self._connected()
            try:
                return self._hand_over(server, mail)
            finally:
                _leave(server)
        except (smtplib.SMTPServerDisconnected, OSError) as error:
            # SMTPException is an OSError too, but each of its answers was read where it came.
            raise AlertLater(f"{self._where}: {_words(error)}") from error

    def _connected(self) -> smtplib.SMTP:
        settings = self._settings
        tls = settings.smtp_security == "tls" or (settings.smtp_security == "auto" and settings.smtp_port == 465)
        address, wait = (settings.smtp_server, settings.smtp_port), settings.alert_timeout_s
        try:
            if tls:
                server: smtplib.SMTP = smtplib.SMTP_SSL(*address, timeout=wait, context=self._tls)
            else:
                server = smtplib.SMTP(*address, timeout=wait)
        except ssl.SSLCertVerificationError as error:
            raise AlertUnusable(f"{self._where}: its certificate is not trusted: {error.verify_message}") from error
        except smtplib.SMTPConnectError as error:
            raise AlertLater(f"{self._where}: {_said(error)}") from error
        try:
            if not tls and self._tls is not None:
                self._encrypt(server)
            self._sign_in(server)
        except BaseException:
            server.close()
            raise
        return server

    def _encrypt(self, server: smtplib.SMTP) -> None:
        server.ehlo()
        if not server.has_extn("starttls"):
            raise AlertUnusable(f"{self._where} offers no encryption (STARTTLS): nothing is sent in the clear")
        try:
            server.starttls(context=self._tls)
        except ssl.SSLCertVerificationError as error:
            raise AlertUnusable(f"{self._where}: its certificate is not trusted: {error.verify_message}") from error
        except smtplib.SMTPResponseException as error:
            raise AlertLater(f"{self._where}: {_said(error)}") from error
        server.ehlo()

    def _sign_in(self, server: smtplib.SMTP) -> None:
        if not self._settings.smtp_pass:
            return
        try:
            server.login(self._settings.smtp_user, self._settings.smtp_pass)
        except smtplib.SMTPAuthenticationError as error:
            if 400 <= error.smtp_code < 500:
                raise AlertLater(f"{self._where}: {_said(error)}") from error
            raise AlertUnusable(f"{self._where} refuses SMTP_USER and SMTP_PASS: {_said(error)}") from error
        except smtplib.SMTPNotSupportedError as error:
            raise AlertUnusable(f"{self._where} takes no password: leave SMTP_PASS empty") from error
        except smtplib.SMTPException as error:
            raise AlertLater(f"{self._where}: {_words(error)}") from error

    def _hand_over(self, server: smtplib.SMTP, mail: EmailMessage) -> str:
        try:
            server.send_message(mail)
        except smtplib.SMTPRecipientsRefused as error:
            [code, said] = next(iter(error.recipients.values()))
            raise self._answer(code, _plain(said)) from error
        except smtplib.SMTPResponseException as error:
            raise self._answer(error.smtp_code, _plain(error.smtp_error)) from error
        except smtplib.SMTPNotSupportedError as error:
            raise AlertRefused(f"{self._where}: {error}") from error
        except (smtplib.SMTPServerDisconnected, OSError) as error:
            raise AlertLater(f"{self._where}: {_words(error)}", doubtful=True) from error
        return str(mail["Message-ID"])

    def _answer(self, code: int, said: str) -> AlertLater | AlertRefused | AlertUnusable:
        words = f"{self._where} answered {code}: {said}"
        if 400 <= code < 500:
            return AlertLater(words)
        if code in (530, 534, 535, 538):
            return AlertUnusable(f"{words}: check SMTP_USER and SMTP_PASS")
        return AlertRefused(words)

    def _mail(self, message: Message) -> EmailMessage:
        mail = EmailMessage()
        mail["Subject"] = message.headline[:200]
        mail["From"], mail["To"] = self._from, message.to
        mail["Date"] = format_datetime(SystemClock().now())
        domain = self._from.rpartition("@")[2] or make_msgid().rpartition("@")[2].rstrip(">")
        name = hashlib.sha256(f"{message.id}\x1f{message.to}".encode()).hexdigest()[:32]
        mail["Message-ID"] = f"<{name}@{domain}>"
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(f"{message.text or message.title}\n")
        return mail

    @property
    def _where(self) -> str:
        return f"{self._settings.smtp_server}:{self._settings.smtp_port}"


def _leave(server: smtplib.SMTP) -> None:
    """What happens from here on changes nothing about the mail."""
    with contextlib.suppress(OSError):
        if server.sock is not None:
            server.sock.settimeout(GOODBYE_S)
            server.quit()
    server.close()


def _said(error: smtplib.SMTPResponseException) -> str:
    return f"{error.smtp_code} {_plain(error.smtp_error)}"


def _plain(said: bytes | str) -> str:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    return " ".join(text.split())[:200]


def _words(error: Exception) -> str:
    if isinstance(error, TimeoutError) or "timed out" in str(error):
        return "it did not answer in time"
    return " ".join((str(error) or type(error).__name__).split())[:200]


PART = EmailAlert
