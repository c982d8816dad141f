"""A world that repeats whatever it is sent: every secret that a desk can hold, and servers that echo them back."""

from __future__ import annotations

import base64
import json
import re
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

MARK = re.compile(rb"(?i)cnry[a-z]+x[0-9a-f]{10}")
SETTINGS = (
    "ETRADE_CONSUMER_KEY",
    "ETRADE_CONSUMER_SECRET",
    "ETRADE_ACCESS_TOKEN",
    "ETRADE_ACCESS_TOKEN_SECRET",
    "SMTP_PASS",
    "TWILIO_ACCOUNT_SID",
    "TWILIO_AUTH_TOKEN",
    "SLACK_BOT_TOKEN",
    "WEBHOOK_SECRET",
)
LEARNED = ("request token", "request secret", "access token", "access secret")


def canary(name: str) -> str:
    """A secret that tells its name wherever it turns up, and is spelled the same everywhere."""
    plain = re.sub("[^a-z]", "", name.lower())
    return f"cnry{plain}x{abs(hash(name)) % 16**10:010x}"


def found_in(content: bytes) -> set[str]:
    """Which canaries sing there, in the clear or in base64."""
    texts = [content, *(_decoded(part) for part in re.findall(rb"[A-Za-z0-9+/]{24,}={0,2}", content))]
    return {found.decode().lower() for text in texts for found in MARK.findall(text)}


def _decoded(part: bytes) -> bytes:
    try:
        return base64.b64decode(part[: len(part) // 4 * 4])
    except ValueError:
        return b""


class Parrot(BaseHTTPRequestHandler):
    """E*TRADE's door for tokens, and for all else an error that says everything it was sent and everything it knows."""

    protocol_version = "HTTP/1.1"
    statuses = (500, 401, 400, 403, 404, 429)
    count = 0

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode("utf-8", "replace")
        Parrot.count += 1
        signed = "OAuth " in self.headers.get("Authorization", "")  # who never had the tokens cannot know them again
        tokens = {name: canary(name) for name in LEARNED if signed}
        if self.path.startswith(("/oauth/request_token", "/oauth/access_token")):
            kind = "request" if "request" in self.path else "access"
            told = f"oauth_token={canary(f'{kind} token')}&oauth_token_secret={canary(f'{kind} secret')}"
            self._say(200, f"{told}&oauth_callback_confirmed=true")
            return
        echo = f"{self.command} {self.path} {dict(self.headers)} {body} knows {tokens} {' '.join(tokens.values())}"
        status = self.statuses[Parrot.count % len(self.statuses)]
        if Parrot.count % 2:
            echo = json.dumps({"Error": {"code": 100, "message": echo}, "ok": False, "error": echo, "message": echo})
        self._say(status, echo)

    do_GET = do_POST = do_PUT = _answer

    def _say(self, status: int, text: str) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Type", "application/json" if text.startswith("{") else "text/plain")
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


class MailParrot(socketserver.StreamRequestHandler):
    """A mail server that repeats each line it does not like, which is each."""

    def handle(self) -> None:
        self.wfile.write(b"220 parrot\r\n")
        for line in self.rfile:
            word = line.strip().upper()
            if word.startswith(b"EHLO"):
                self.wfile.write(b"250-parrot\r\n250 AUTH PLAIN LOGIN\r\n")
            elif word.startswith(b"QUIT"):
                return
            else:
                plain = b" ".join(_decoded(part) for part in line.split()[-1:])
                self.wfile.write(b"535 5.7.8 no: " + line.strip() + b" " + plain.replace(b"\0", b" ") + b"\r\n")


@contextmanager
def parrots() -> Iterator[dict[str, str]]:
    """The environment of a desk that talks to them, every secret set."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), Parrot)
    mail = socketserver.ThreadingTCPServer(("127.0.0.1", 0), MailParrot)
    for server in (http, mail):
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    url = f"http://127.0.0.1:{http.server_address[1]}"
    key = f"apikey={canary('candles key')}"
    try:
        yield {
            **{name: canary(name) for name in SETTINGS},
            "TWILIO_ACCOUNT_SID": "AC" + canary("TWILIO_ACCOUNT_SID"),
            "SLACK_BOT_TOKEN": "xoxb-" + canary("SLACK_BOT_TOKEN"),
            "ETRADE_ENVIRONMENT": "simulator",
            "ETRADE_SIMULATOR_URL": url,
            "ETRADE_HISTORY": "http",
            "DATA_SOURCE": "etrade",
            "CANDLES_URL": url + "/candles?symbol={symbol}&interval={interval}&start={start}&end={end}&" + key,
            "SMTP_SERVER": "127.0.0.1",
            "SMTP_PORT": str(mail.server_address[1]),
            "SMTP_SECURITY": "none",
            "SMTP_USER": "desk@example.com",
            "EMAIL_FROM": "desk@example.com",
            "EMAIL_TO": "you@example.com",
            "TWILIO_URL": url,
            "TWILIO_FROM_NUMBER": "+12125550100",
            "SMS_TO": "+12125550123",
            "WHATSAPP_FROM_NUMBER": "+12125550100",
            "WHATSAPP_TO": "+12125550123",
            "SLACK_URL": url + "/api/",
            "SLACK_CHANNEL": "#desk",
            "WEBHOOK_URL": f"{url}/hooks/{canary('webhook address')}",
            "ALERT_TIMEOUT_S": "5",
            "FETCH_TIMEOUT_S": "5",
        }
    finally:
        for server in (http, mail):
            server.shutdown()
            server.server_close()


def files_with_any(folder: Path) -> dict[str, set[str]]:
    """Every file below a folder that one sings in, whole: what is deleted in a database still lies in its pages."""
    found = {str(path.relative_to(folder)): found_in(path.read_bytes()) for path in folder.rglob("*") if path.is_file()}
    return {name: names for name, names in found.items() if names}


def quoted(text: str) -> str:
    """As a link spells it."""
    return quote(text, safe="")
