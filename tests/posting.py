"""A browser that posts to the routes for passwords, codes and keys, through the doorkeeper and the real ASGI app."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any

from starlette.applications import Starlette

from ui import keys, own_account, people, sign_in

HOST = "127.0.0.1:8501"
OWN = f"http://{HOST}"
APP = Starlette(
    routes=[*sign_in.ROUTES, *keys.ROUTES, *people.ROUTES, *own_account.ROUTES], middleware=[sign_in.DOORKEEPER]
)


@dataclass(slots=True)
class Answer:
    """What came back."""

    status: int
    text: str
    cookies: dict[str, str] = field(default_factory=dict)

    @property
    def told(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text)
        return found


async def post(
    path: str,
    fields: dict[str, str],
    secret: str = "",
    *,
    origin: str = OWN,
    kind: str = "application/json",
    client: str = "127.0.0.1",
) -> Answer:
    """What the server answers to these fields, sent with this sign-in's cookie."""
    sent: list[dict[str, Any]] = []
    waiting = [{"type": "http.request", "body": json.dumps(fields).encode(), "more_body": False}]

    async def receive() -> dict[str, Any]:
        return waiting.pop() if waiting else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = {"host": HOST, "content-type": kind, "origin": origin, "cookie": f"sid={secret}" if secret else ""}
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items() if value],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", 8501),
        "client": (client, 40000),
        "root_path": "",
    }
    await APP(scope, receive, send)
    kept: dict[str, str] = {}
    for name, value in sent[0]["headers"]:
        if name.lower() == b"set-cookie":
            kept |= {one: morsel.value for one, morsel in SimpleCookie(value.decode()).items()}
    return Answer(sent[0]["status"], b"".join(m.get("body", b"") for m in sent[1:]).decode(), kept)
