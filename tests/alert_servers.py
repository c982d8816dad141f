"""Real servers on this machine that stand for mail, Twilio, Slack and a stranger's webhook, each in any mood."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import json
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Answer = Callable[["Heard"], web.StreamResponse]


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for this machine that nobody knows yet, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    began = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(began)
        .not_valid_after(began + dt.timedelta(days=36500))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain))
    return cert_file, key_file


# Mail


@dataclass
class Mailbox:
    """What a mail server was given. `answers`: what it says to a recipient instead of yes; `data`: to the mail."""

    mails: list[Envelope] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    data: str = "250 OK"
    password: str = "swordfish"
    port: int = 0

    async def handle_RCPT(self, server: Any, session: Any, envelope: Envelope, address: str, options: Any) -> str:
        if address in self.answers:
            return self.answers[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:
        if self.data.startswith("250"):
            self.mails.append(envelope)
        return self.data

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password.decode() == self.password, handled=False)


@contextmanager
def mail_server(cert: tuple[Path, Path] | None, *, tls: bool = False, box: Mailbox | None = None) -> Iterator[Mailbox]:
    """A mail server: STARTTLS, or TLS from the first byte, or (no certificate) in the clear only."""
    box = box or Mailbox()
    context = None
    if cert is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*cert)
    options: dict[str, Any] = {"authenticator": box.authenticate, "auth_required": cert is not None}
    if context and tls:
        controller = Controller(
            box, hostname="127.0.0.1", port=0, ssl_context=context, auth_require_tls=False, **options
        )
    elif context:
        controller = Controller(
            box, hostname="127.0.0.1", port=0, tls_context=context, require_starttls=True, **options
        )
    else:
        controller = Controller(box, hostname="127.0.0.1", port=0, auth_require_tls=False, **options)
    _started(controller)
    box.port = controller.server.sockets[0].getsockname()[1]
    try:
        yield box
    finally:
        controller.stop(no_assert=True)


def _started(controller: Controller) -> None:
    """Its own start() connects once, to the port it was asked for: 0 is none."""
    with contextlib.suppress(OSError):
        controller.start()


@asynccontextmanager
async def silent_server() -> AsyncIterator[int]:
    """It takes a connection and never says a word."""

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await reader.read(-1)
        writer.close()

    server = await asyncio.start_server(wait, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


def free_port() -> int:
    """Nobody listens there."""
    import socket

    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


# Twilio, Slack, a webhook


@dataclass(frozen=True)
class Heard:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    form: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """A web server that answers as `mood` says: a function of what it heard. `delay_s` before each answer."""

    mood: Answer
    heard: list[Heard] = field(default_factory=list)
    delay_s: float = 0.0
    url: str = ""


@asynccontextmanager
async def web_server(mood: Answer, *, port: int = 0) -> AsyncIterator[Server]:
    """Any path, any method."""
    server = Server(mood)

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        form = dict(await request.post()) if "form" in request.content_type else {}
        told = Heard(request.method, request.path, dict(request.headers), {k: str(v) for k, v in form.items()}, body)
        server.heard.append(told)
        if server.delay_s:
            await asyncio.sleep(server.delay_s)
        return server.mood(told)

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


def says(status: int, body: Any = "", **headers: str) -> Answer:
    """Always that."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    if isinstance(body, str):
        return lambda heard: web.Response(status=status, text=body, headers=names)
    return lambda heard: web.json_response(body, status=status, headers=names)


def twilio_ok(heard: Heard) -> web.Response:
    """As Twilio answers a message it takes."""
    made = {
        "sid": "SM" + "0" * 32,
        "status": "queued",
        "body": heard.form.get("Body", ""),
        "to": heard.form.get("To", ""),
    }
    return web.json_response({**made, "date_created": "Fri, 20 Nov 2026 15:30:00 +0000"}, status=201)


def twilio_error(status: int, code: int, message: str, **headers: str) -> Answer:
    return says(status, {"code": code, "message": message, "status": status}, **headers)
