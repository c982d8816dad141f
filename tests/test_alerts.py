"""alerts/: each channel through its real library to a real server, and every way that can end."""

from __future__ import annotations

import hashlib
import hmac
import inspect
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from alerts.base import Message, OneThread, retry_after
from domain import registry
from domain.clock import monotonic
from domain.errors import AlertLater, AlertRefused, AlertUnusable, SettingsError
from domain.notices import Severity
from settings import Settings
from tests.alert_servers import (
    Mailbox,
    Server,
    certificate,
    free_port,
    mail_server,
    says,
    silent_server,
    twilio_error,
    twilio_ok,
    web_server,
)

AT = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
TOLD = Message(
    "fill:7:owner", Severity.INFO, "Bought 10 AAPL at 187.20", "Account main.", "AAPL", AT, to="you@example.com"
)
PHONE = "+12125550123"


@pytest.fixture(scope="module")
def cert(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("cert"))


def alert(name: str, **settings: Any) -> Any:
    return registry.part("alerts", name)(Settings(**{"alert_timeout_s": 1.0, **settings}))


def email(port: int, cert: tuple[Path, Path] | None, **settings: Any) -> Any:
    given = {"smtp_server": "127.0.0.1", "smtp_port": port, "smtp_user": "desk@example.com", "smtp_pass": "swordfish"}
    trust = {"smtp_ca_file": str(cert[0])} if cert else {}
    return alert("email", **{**given, **trust, **settings})


# The drawer


@pytest.mark.parametrize("name", registry.names("alerts"))
def test_every_channel_fits_the_port(name: str) -> None:
    part = registry.part("alerts", name)

    assert part.name == name
    assert part.label
    assert part.kind in ("email", "phone", "")
    assert part.personal == bool(part.kind)
    assert all(isinstance(getattr(part, switch), bool) for switch in ("personal", "idempotent", "bundles"))
    assert part.at_once >= 1
    assert part.per_hour >= 0
    assert all(inspect.iscoroutinefunction(getattr(part, verb)) for verb in ("send", "arrived", "close"))
    assert part.missing(Settings())
    with pytest.raises(SettingsError, match=r"is not set up: .* must be set"):
        part(Settings())


# Email


async def test_a_mail_arrives_encrypted_and_signed_in(cert: tuple[Path, Path]) -> None:
    with mail_server(cert) as box:
        said = await email(box.port, cert).send(TOLD)

    [mail] = box.mails
    letter = message_from_bytes(mail.original_content or b"", policy=policy.default)
    assert box.logins == [("desk@example.com", "swordfish")]
    assert (mail.mail_from, mail.rcpt_tos) == ("desk@example.com", ["you@example.com"])
    assert letter["Subject"] == "Bought 10 AAPL at 187.20"
    assert letter.get_content().strip() == "Account main."
    assert letter["Message-ID"] == said


async def test_a_mail_goes_by_tls_from_the_first_byte(cert: tuple[Path, Path]) -> None:
    with mail_server(cert, tls=True) as box:
        await email(box.port, cert, smtp_security="tls").send(TOLD)

    assert len(box.mails) == 1


async def test_the_same_message_has_the_same_id_at_every_try(cert: tuple[Path, Path]) -> None:
    with mail_server(cert) as box:
        channel = email(box.port, cert)
        first, second = await channel.send(TOLD), await channel.send(TOLD)
        other = await channel.send(replace(TOLD, id="fill:8:owner"))

    assert first == second != other


async def test_a_stranger_s_certificate_gets_no_password(cert: tuple[Path, Path]) -> None:
    with mail_server(cert) as box, pytest.raises(AlertUnusable, match="certificate is not trusted"):
        await email(box.port, None).send(TOLD)

    assert (box.mails, box.logins) == ([], [])


async def test_a_server_without_encryption_gets_nothing() -> None:
    with mail_server(None) as box, pytest.raises(AlertUnusable, match="offers no encryption"):
        await email(box.port, None).send(TOLD)

    assert (box.mails, box.logins) == ([], [])


async def test_a_server_on_this_machine_may_go_without() -> None:
    with mail_server(None) as box:
        await email(box.port, None, smtp_security="none", smtp_pass="").send(TOLD)

    assert len(box.mails) == 1


async def test_a_wrong_password_needs_a_person(cert: tuple[Path, Path]) -> None:
    with mail_server(cert) as box, pytest.raises(AlertUnusable, match="refuses SMTP_USER and SMTP_PASS"):
        await email(box.port, cert, smtp_pass="guess").send(TOLD)

    assert box.mails == []


@pytest.mark.parametrize(
    ("box", "error", "said"),
    [
        (Mailbox(answers={"you@example.com": "550 no such person"}), AlertRefused, "550: no such person"),
        (Mailbox(answers={"you@example.com": "450 too many"}), AlertLater, "450: too many"),
        (Mailbox(data="554 looks like spam"), AlertRefused, "554: looks like spam"),
        (Mailbox(data="452 disk full"), AlertLater, "452: disk full"),
    ],
)
async def test_a_mail_server_s_no_is_final_or_for_now(
    cert: tuple[Path, Path], box: Mailbox, error: type[Exception], said: str
) -> None:
    with mail_server(cert, box=box), pytest.raises(error, match=said):
        await email(box.port, cert).send(TOLD)


async def test_a_mail_server_that_is_down_or_silent_is_tried_later() -> None:
    with pytest.raises(AlertLater) as down:
        await email(free_port(), None).send(TOLD)
    async with silent_server() as port:
        with pytest.raises(AlertLater, match="did not answer in time") as silent:
            await email(port, None, alert_timeout_s=0.2).send(TOLD)

    assert not down.value.doubtful
    assert not silent.value.doubtful  # it never came to the mail


async def test_no_text_becomes_a_header(cert: tuple[Path, Path]) -> None:
    with mail_server(cert) as box:
        await email(box.port, cert).send(replace(TOLD, title="a\r\nBcc: thief@example.com"))

    assert box.mails[0].rcpt_tos == ["you@example.com"]
    assert message_from_bytes(box.mails[0].original_content or b"")["Bcc"] is None


# Text messages and WhatsApp


@pytest.fixture
async def twilio() -> AsyncIterator[Server]:
    async with web_server(twilio_ok) as server:
        yield server


def sms(server: Server | str, **settings: Any) -> Any:
    url = server if isinstance(server, str) else server.url
    given = {"twilio_account_sid": "AC1", "twilio_auth_token": "token", "twilio_from_number": "+1 212 555 0100"}
    return alert("sms", **{**given, "sms_to": PHONE, "twilio_url": url, **settings})


TEXT = replace(TOLD, to=PHONE)


async def test_a_text_message_goes_out_by_twilio(twilio: Server) -> None:
    said = await sms(twilio).send(TEXT)

    [heard] = twilio.heard
    assert heard.path == "/2010-04-01/Accounts/AC1/Messages.json"
    assert (heard.form["To"], heard.form["From"]) == (PHONE, "+12125550100")
    assert heard.form["Body"].startswith("Bought 10 AAPL at 187.20\nAccount main. [")
    assert heard.headers["Authorization"].startswith("Basic ")
    assert said.startswith("SM")


async def test_a_long_text_is_cut(twilio: Server) -> None:
    await sms(twilio).send(replace(TEXT, text="word " * 1000))

    assert len(twilio.heard[0].form["Body"]) <= 480


async def test_whatsapp_says_so_in_its_numbers(twilio: Server) -> None:
    given = {"twilio_account_sid": "AC1", "twilio_auth_token": "token", "twilio_from_number": PHONE}
    await alert("whatsapp", **given, whatsapp_to=PHONE, twilio_url=twilio.url).send(TEXT)

    assert twilio.heard[0].form["To"] == twilio.heard[0].form["From"] == f"whatsapp:{PHONE}"


@pytest.mark.parametrize(
    ("mood", "error", "after_s", "doubtful"),
    [
        (twilio_error(401, 20003, "Authenticate"), AlertUnusable, None, None),
        (twilio_error(400, 21606, "From is not yours"), AlertUnusable, None, None),
        (twilio_error(400, 21211, "Invalid To"), AlertRefused, None, None),
        (twilio_error(429, 20429, "Too many", Retry_After="7"), AlertLater, 7.0, False),
        (twilio_error(503, 20503, "Down"), AlertLater, None, True),
        (says(200, "no json"), AlertLater, None, True),
    ],
)
async def test_what_twilio_says_is_heard(
    twilio: Server, mood: Any, error: type[Exception], after_s: float | None, doubtful: bool | None
) -> None:
    twilio.mood = mood

    with pytest.raises(error) as told:
        await sms(twilio).send(TEXT)

    assert getattr(told.value, "after_s", None) == after_s
    assert getattr(told.value, "doubtful", None) == doubtful


async def test_twilio_down_or_slow_is_tried_later(twilio: Server) -> None:
    with pytest.raises(AlertLater, match="cannot be reached") as down:
        await sms(f"http://127.0.0.1:{free_port()}").send(TEXT)
    twilio.delay_s = 1.0
    with pytest.raises(AlertLater, match="did not answer in time") as slow:
        await sms(twilio, alert_timeout_s=0.1).send(TEXT)

    assert not down.value.doubtful
    assert slow.value.doubtful  # it may be on its way


@pytest.mark.parametrize("where", ["http://127.0.0.1:{}/caught", "https://api.twilio.com.localhost:{}/caught"])
async def test_twilio_s_library_follows_nobody_elsewhere(twilio: Server, where: str) -> None:
    """Its token is sent along to each page of a list."""
    async with web_server(says(200, {"messages": [], "page": 0})) as elsewhere:
        page = where.format(elsewhere.url.rpartition(":")[2])
        twilio.mood = says(200, {"messages": [{"sid": "SM1"}], "meta": {"key": "messages", "next_page_url": page}})

        assert await sms(twilio).arrived(TEXT, AT) is None

    assert elsewhere.heard == []


async def test_a_text_in_doubt_is_looked_for(twilio: Server) -> None:
    channel = sms(twilio)
    await channel.send(TEXT)
    body = twilio.heard[0].form["Body"]
    made = {"sid": "SM1", "status": "delivered", "date_created": "Fri, 20 Nov 2026 15:30:05 +0000"}

    def listing(body: str) -> Any:
        return says(200, {"messages": [{**made, "body": body}], "page": 0})

    twilio.mood = listing(body)
    assert await channel.arrived(TEXT, AT) is True
    assert await channel.arrived(TEXT, AT + timedelta(hours=1)) is False
    twilio.mood = listing("something else")
    assert await channel.arrived(TEXT, AT) is False
    twilio.mood = says(500, {"message": "down"})
    assert await channel.arrived(TEXT, AT) is None


# Slack


@pytest.fixture
async def slack() -> AsyncIterator[Server]:
    async with web_server(says(200, "ok")) as server:
        yield server


async def test_slack_hears_by_its_webhook(slack: Server) -> None:
    await alert("slack", slack_webhook_url=f"{slack.url}/services/T0/B0/x").send(
        replace(TOLD, title="Bought <!channel> & co", text="<!channel> *now*", severity=Severity.URGENT)
    )

    [heard] = slack.heard
    assert heard.path == "/services/T0/B0/x"
    assert heard.json["text"] == "URGENT: Bought &lt;!channel&gt; &amp; co"
    assert {block["text"]["type"] for block in heard.json["blocks"]} == {"plain_text"}  # nobody is mentioned


async def test_slack_hears_from_a_bot(slack: Server) -> None:
    slack.mood = says(200, {"ok": True, "ts": "1.5"})
    settings = {"slack_bot_token": "xoxb-1", "slack_channel": "#desk", "slack_url": f"{slack.url}/api/"}

    said = await alert("slack", **settings).send(TOLD)

    [heard] = slack.heard
    assert said == "1.5"
    assert heard.path == "/api/chat.postMessage"
    assert heard.headers["Authorization"] == "Bearer xoxb-1"


@pytest.mark.parametrize(
    ("mood", "error", "after_s"),
    [
        (says(403, "invalid_token"), AlertUnusable, None),
        (says(404, "no_service"), AlertUnusable, None),
        (says(400, "invalid_payload"), AlertRefused, None),
        (says(429, "rate_limited", Retry_After="30"), AlertLater, 30.0),
        (says(500, "rollup_error"), AlertLater, None),
    ],
)
async def test_what_slack_s_webhook_says_is_heard(
    slack: Server, mood: Any, error: type[Exception], after_s: float | None
) -> None:
    slack.mood = mood

    with pytest.raises(error) as told:
        await alert("slack", slack_webhook_url=slack.url).send(TOLD)

    assert getattr(told.value, "after_s", None) == after_s
    assert len(slack.heard) == 1  # trying again is not the channel's to decide


@pytest.mark.parametrize(
    ("mood", "error", "after_s"),
    [
        (says(200, {"ok": False, "error": "invalid_auth"}), AlertUnusable, None),
        (says(200, {"ok": False, "error": "channel_not_found"}), AlertUnusable, None),
        (says(200, {"ok": False, "error": "msg_too_long"}), AlertRefused, None),
        (says(429, {"ok": False, "error": "ratelimited"}, Retry_After="9"), AlertLater, 9.0),
        (says(200, {"ok": False, "error": "internal_error"}), AlertLater, None),
        (says(502, "<html>"), AlertLater, None),
    ],
)
async def test_what_slack_says_to_a_bot_is_heard(
    slack: Server, mood: Any, error: type[Exception], after_s: float | None
) -> None:
    slack.mood = mood
    settings = {"slack_bot_token": "xoxb-canary-1", "slack_channel": "#desk", "slack_url": slack.url}

    with pytest.raises(error) as told:
        await alert("slack", **settings).send(TOLD)

    assert getattr(told.value, "after_s", None) == after_s
    assert "xoxb" not in str(told.value)


@pytest.mark.parametrize("by", ["webhook", "bot"])
async def test_slack_s_library_follows_nobody_elsewhere(slack: Server, by: str) -> None:
    """Neither what is told nor the bot's token goes where an answer leads."""
    async with web_server(says(200, {"ok": True})) as elsewhere:
        slack.mood = says(307, "", Location=f"{elsewhere.url}/caught")
        bot = {"slack_bot_token": "xoxb-1", "slack_channel": "#desk", "slack_url": slack.url}
        with pytest.raises(AlertUnusable, match="redirects are not followed"):
            await alert("slack", **(bot if by == "bot" else {"slack_webhook_url": slack.url})).send(TOLD)

    assert elsewhere.heard == []


async def test_slack_down_or_slow_is_tried_later(slack: Server) -> None:
    with pytest.raises(AlertLater, match="cannot be reached"):
        await alert("slack", slack_webhook_url=f"http://127.0.0.1:{free_port()}").send(TOLD)
    slack.delay_s = 1.0
    with pytest.raises(AlertLater, match="did not answer in time") as slow:
        await alert("slack", slack_webhook_url=slack.url, alert_timeout_s=0.1).send(TOLD)

    assert slow.value.doubtful


# A webhook


async def test_a_webhook_is_told_in_json_with_a_seal(slack: Server) -> None:
    channel = alert("webhook", webhook_url=f"{slack.url}/told", webhook_secret="seal")
    await channel.send(TOLD)
    await channel.close()

    [heard] = slack.heard
    sealed = hmac.new(b"seal", heard.body, hashlib.sha256).hexdigest()
    assert heard.headers["Idempotency-Key"] == "fill:7:owner"
    assert heard.headers["X-Desk-Signature"] == f"sha256={sealed}"
    assert heard.json["title"] == "Bought 10 AAPL at 187.20"
    assert heard.json["at"] == "2026-11-20T15:30:00+00:00"


@pytest.mark.parametrize(
    ("mood", "error"),
    [
        (says(302, Location="http://127.0.0.1:1/elsewhere"), AlertUnusable),
        (says(401), AlertUnusable),
        (says(410), AlertUnusable),
        (says(422, "no"), AlertRefused),
        (says(429, Retry_After="5"), AlertLater),
        (says(503), AlertLater),
    ],
)
async def test_a_webhook_s_answer_is_heard(slack: Server, mood: Any, error: type[Exception]) -> None:
    slack.mood = mood
    channel = alert("webhook", webhook_url=slack.url)

    with pytest.raises(error):
        await channel.send(TOLD)
    await channel.close()

    assert len(slack.heard) == 1


async def test_a_flood_of_an_answer_is_not_read(slack: Server) -> None:
    def flood(heard: Any) -> web.Response:
        return web.Response(body=b"\0" * 20_000_000, headers={"Content-Encoding": "gzip"})

    slack.mood = flood
    channel = alert("webhook", webhook_url=slack.url)

    assert await channel.send(TOLD) == "200"
    await channel.close()


# What they share


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("SMS_TO", "0212 555", r"starts with \+ and the country"),
        ("EMAIL_TO", "you@example.com, nobody", "looks like you@example.com"),
        ("SLACK_WEBHOOK_URL", "http://hooks.slack.com/x", "must be an https:// address"),
        ("WEBHOOK_URL", "ftp://x", "must be an https:// address"),
        ("TWILIO_AUTH_TOKEN", "two words", "without spaces"),
        ("SMTP_SECURITY", "none", "mail server on this machine"),
    ],
)
def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    from settings import load

    monkeypatch.setenv("SMTP_SERVER", "mail.example.com")
    monkeypatch.setenv(name, value)

    with pytest.raises(SettingsError, match=said):
        load()


def test_the_manual_s_env_works_with_its_empty_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    from settings import load

    names = "SMTP_SERVER SMTP_PORT SMTP_USER SMTP_PASS TWILIO_ACCOUNT_SID TWILIO_AUTH_TOKEN TWILIO_FROM_NUMBER"
    for name in [*names.split(), "SLACK_WEBHOOK_URL", "ETRADE_OAUTH_TOKEN", "ETRADE_OAUTH_TOKEN_SECRET"]:
        monkeypatch.setenv(name, "")
    assert load() == Settings()

    monkeypatch.setenv("ETRADE_OAUTH_TOKEN", "abc")
    assert load().etrade_access_token == "abc"


def test_a_server_s_wish_to_wait_is_bounded() -> None:
    assert retry_after({"retry-after": "7"}) == 7.0
    assert retry_after({"Retry-After": "86400"}) == 3600.0
    assert retry_after({"Retry-After": "Fri, 20 Nov 2020 15:30:00 GMT"}) == 0.0
    assert retry_after({"Retry-After": "soon"}) is None
    assert retry_after({}) is None


async def test_a_library_that_hangs_holds_up_only_itself() -> None:
    import asyncio
    import threading

    hold, thread = threading.Event(), OneThread("test")
    begin = monotonic()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(thread.run(lambda: hold.wait(30)), 0.05)
    with pytest.raises(AlertLater, match="still hangs"):
        await thread.run(lambda: None)
    hold.set()

    assert monotonic() - begin < 5
