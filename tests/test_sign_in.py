"""ui/sign_in.py and ui/doorkeeper.py: the page, the cookie, and what a stranger gets, through the real ASGI app."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import streamlit as st
import streamlit.config as st_config
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount
from starlette.types import Receive, Scope, Send
from streamlit.testing.v1 import AppTest

import bootstrap
from desk.accounts import Accounts
from desk.authority import LOCAL_OWNER
from domain.clock import ManualClock
from domain.commands import Kind
from domain.errors import AccountError
from tests.accounts import PASSWORD, accounts_in, with_people
from tests.conftest import ROOT
from tests.signed_door import FIGURE
from ui import sign_in
from ui.doorkeeper import LOGIN, LOGOUT, PAGE

HOST = "127.0.0.1:8501"
OWN = f"http://{HOST}"


@pytest.fixture
def accounts(tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Accounts:
    found = with_people(tmp_path, clock)
    use(found, monkeypatch)
    return found


def use(accounts: Accounts, monkeypatch: pytest.MonkeyPatch, public_url: str = "", proxy: str = "") -> None:
    monkeypatch.setattr(bootstrap, "accounts", lambda: accounts)
    monkeypatch.setattr(bootstrap, "reached_by", lambda: (public_url, proxy))


async def _figure(scope: Scope, receive: Receive, send: Send) -> None:
    """What stands behind the door."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
    else:
        await PlainTextResponse(FIGURE)(scope, receive, send)


APP = Starlette(
    routes=[*sign_in.ROUTES, Mount("/", _figure)],
    middleware=[sign_in.DOORKEEPER],
)


@dataclass(slots=True)
class Answer:
    """What came back."""

    status: int
    headers: dict[str, str]
    text: str


@dataclass(slots=True)
class Browser:
    """As much of one as it takes: it keeps cookies, and says where its forms come from."""

    client: str = "127.0.0.1"
    server: str = "127.0.0.1"
    cookies: dict[str, str] = field(default_factory=dict)
    flags: str = ""

    async def ask(
        self, method: str, path: str, body: bytes = b"", *, headers: dict[str, str] | None = None, kind: str = "http"
    ) -> Answer:
        sent: list[dict[str, Any]] = []
        path, _, query = path.partition("?")
        given = {"host": HOST, "accept": "text/html", **(headers or {})}
        if self.cookies:
            given["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        waiting = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            return waiting.pop() if kind == "http" and waiting else {"type": f"{kind}.connect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": kind,
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items() if value],
            "http_version": "1.1",
            "scheme": "http",
            "server": (self.server, 8501),
            "client": (self.client, 40000),
            "root_path": "",
        }
        await APP(scope, receive, send)
        if kind == "websocket":
            return Answer(403 if sent[0]["type"] == "websocket.close" else 101, {}, "")
        pairs = [(name.decode().lower(), value.decode()) for name, value in sent[0]["headers"]]
        for name, value in pairs:
            if name == "set-cookie":
                self._keep(value)
        return Answer(sent[0]["status"], dict(pairs), b"".join(m.get("body", b"") for m in sent[1:]).decode())

    async def sign_in(self, name: str = "tim", password: str = PASSWORD, back: str = "", origin: str = OWN) -> Answer:
        body = urlencode({"name": name, "password": password, "next": back}).encode()
        kind = "application/x-www-form-urlencoded"
        return await self.ask("POST", LOGIN, body, headers={"content-type": kind, "origin": origin})

    def _keep(self, line: str) -> None:
        for name, morsel in SimpleCookie(line).items():
            self.flags = line
            self.cookies.pop(name, None)
            if morsel["max-age"] != "0":
                self.cookies[name] = morsel.value


# Coming in


async def test_a_stranger_is_led_to_the_page_and_back_to_the_one_that_was_wanted(accounts: Accounts) -> None:
    browser = Browser()
    led = await browser.ask("GET", "/settings?tab=Risk")
    assert (led.status, led.headers["location"]) == (303, f"{PAGE}?next=%2Fsettings%3Ftab%3DRisk")

    shown = await browser.ask("GET", led.headers["location"])
    back = re.search(r'name="next" value="([^"]*)"', shown.text)
    assert back is not None
    assert (shown.status, back[1]) == (200, "/settings?tab=Risk")

    signed = await browser.sign_in(back=back[1])
    assert (signed.status, signed.headers["location"]) == (303, "/settings?tab=Risk")
    assert (await browser.ask("GET", "/settings?tab=Risk")).text == FIGURE


async def test_no_script_and_no_other_site_gets_at_the_cookie(accounts: Accounts) -> None:
    browser = Browser()
    await browser.sign_in()

    flags = browser.flags.lower()
    assert "httponly" in flags
    assert "samesite=lax" in flags
    assert "path=/" in flags
    assert "domain" not in flags
    assert "secure" not in flags
    assert list(browser.cookies) == ["sid"]


async def test_behind_tls_the_cookie_travels_encrypted_only(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(accounts, monkeypatch, public_url="https://desk.example.com")
    browser = Browser()
    await browser.sign_in()

    assert "secure" in browser.flags.lower()
    assert list(browser.cookies) == ["__Host-sid"]
    assert (await browser.ask("GET", "/")).text == FIGURE


async def test_a_wrong_name_and_a_wrong_password_look_the_same(accounts: Accounts) -> None:
    answers = [await Browser().sign_in(name, "wrong " + PASSWORD) for name in ("tim", "tom")]

    assert [answer.status for answer in answers] == [401, 401]
    assert answers[0].text == answers[1].text.replace("tom", "tim")
    assert "Name or password do not fit." in answers[0].text
    assert "set-cookie" not in answers[0].headers


async def test_the_sixth_is_told_until_when(accounts: Accounts) -> None:
    for _ in range(5):
        await Browser().sign_in("olga", "wrong " + PASSWORD)

    locked = await Browser().sign_in("olga")

    assert locked.status == 429
    assert "Too many attempts. Try again in" in locked.text
    assert int(locked.headers["retry-after"]) >= 1


async def test_what_was_typed_is_shown_as_text_and_the_password_never(accounts: Accounts) -> None:
    answer = await Browser().sign_in('"><script>alert(1)</script>', "secret words of mine", back='/"><b>')

    assert "<script>" not in answer.text
    assert "<b>" not in answer.text
    assert "secret words" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_a_program_signs_in_by_json(accounts: Accounts) -> None:
    headers = {"content-type": "application/json", "origin": OWN}
    right = json.dumps({"name": "tim", "password": PASSWORD, "next": "/positions"}).encode()
    browser = Browser()

    signed = await browser.ask("POST", LOGIN, right, headers=headers)
    refused = await Browser().ask("POST", LOGIN, right.replace(b"violet", b"violent"), headers=headers)

    assert (signed.status, json.loads(signed.text)) == (200, {"next": "/positions"})
    assert "httponly" in browser.flags.lower()
    assert (refused.status, json.loads(refused.text)) == (401, {"problem": "Name or password do not fit."})


async def test_what_is_no_sign_in_is_refused(accounts: Accounts) -> None:
    form, program = "application/x-www-form-urlencoded", "application/json"
    for kind, body in [
        (program, b"[]"),
        (program, b'{"name": 1}'),
        (program, b"[" * 4000),
        (program, b"\xff"),
        ("text/plain", b"name=tim"),
        ("multipart/form-data", b"name=tim"),
        (form, b"&".join(b"a=b" for _ in range(50))),
        (form, b"name=" + b"x" * 5000),
    ]:
        answer = await Browser().ask("POST", LOGIN, body, headers={"content-type": kind, "origin": OWN})

        assert answer.status == 400, body[:20]


async def test_another_site_can_neither_sign_in_nor_out(accounts: Accounts) -> None:
    origins = ["", "null", "http://evil.example", "http://127.0.0.1:9999", f"{OWN}.evil.example", f"http://x@{HOST}"]
    browser = Browser()
    for origin in origins:
        assert (await browser.sign_in(origin=origin)).status == 403
    assert browser.cookies == {}

    await browser.sign_in()
    for origin in origins:
        assert (await browser.ask("POST", LOGOUT, headers={"origin": origin})).status == 403
    assert (await browser.ask("GET", "/")).text == FIGURE


@pytest.mark.parametrize(
    ("wanted", "led"),
    [
        ("/positions?symbol=KO", "/positions?symbol=KO"),
        ("", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/a\r\nSet-Cookie: x=y", "/"),
        ("/auth/logout", "/"),
        (PAGE, "/"),
        ("/" + "x" * 600, "/"),
    ],
)
def test_the_way_back_stays_on_the_desk(wanted: str, led: str) -> None:
    assert sign_in.safe_next(wanted) == led


async def test_a_flood_waits_in_line_and_the_rest_is_sent_away(accounts: Accounts) -> None:
    gate, asked = sign_in.Gate(at_once=1, in_line=2), []

    async def one() -> str:
        try:
            return str(await gate.through(lambda: asked.append(1) or "worked"))
        except sign_in.Full:
            return "full"

    answers = await asyncio.gather(*(one() for _ in range(10)))

    assert (answers.count("worked"), answers.count("full"), len(asked)) == (3, 7, 3)


async def test_a_stated_proxy_says_who_guesses_and_nobody_else_may(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(accounts, monkeypatch, public_url="https://desk.example.com", proxy="10.0.0.2")

    def told(client: str, forwarded: str) -> str:
        scope = {"type": "http", "client": (client, 1), "headers": [(b"x-forwarded-for", forwarded.encode())]}
        return sign_in.address_of(Request(scope))

    assert told("10.0.0.2", "1.1.1.1, 192.0.2.7") == "192.0.2.7"  # the last one is the proxy's own word
    assert told("10.0.0.3", "1.1.1.1") == "10.0.0.3"
    assert told("10.0.0.2", "") == "10.0.0.2"

    assert told("10.0.0.2", "1.1.1.1, [2001:db8::7]:41") == "2001:db8::7"

    # Streamlit's server gives what is said from this machine as the sender.
    assert (told("192.0.2.7", "192.0.2.7:5000"), told("", "")) == (sign_in.UNSTATED, "")
    use(accounts, monkeypatch, public_url="https://desk.example.com", proxy="127.0.0.1")
    assert told("192.0.2.7", "1.1.1.1, 192.0.2.7:5000") == "192.0.2.7"
    use(accounts, monkeypatch, public_url="https://desk.example.com", proxy="10.0.0.2")

    lines = [(b"x-forwarded-for", line) for line in (b"1.1.1.1", b"192.0.2.7")]  # as some proxies add theirs
    both = Request({"type": "http", "client": ("10.0.0.2", 1), "headers": lines})
    assert sign_in.address_of(both) == "192.0.2.7"


async def test_a_body_that_does_not_come_to_its_end_is_given_up(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_in, "BODY_S", 0.05)

    async def drips() -> dict[str, Any]:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"a", "more_body": True}

    kind = (b"content-type", b"application/json")
    assert await sign_in.fields_of(Request({"type": "http", "headers": [kind]}, drips)) is None


async def test_behind_tls_a_cookie_that_a_neighbour_may_plant_opens_nothing(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`sid` may come from any site under the same domain; `__Host-sid` from this very one alone."""
    secret = accounts.sign_in("vera", PASSWORD)
    use(accounts, monkeypatch, public_url="https://desk.example.com")

    planted = await Browser(cookies={"sid": secret}).ask("GET", "/")
    own = await Browser(cookies={"sid": "planted", "__Host-sid": secret}).ask("GET", "/")

    assert (planted.status, own.status) == (303, 200)


@pytest.mark.parametrize("path", ["/", PAGE, "/_stcore/health"])
async def test_no_other_site_draws_the_desk_within_a_page_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """A desk without accounts opens for any page of this machine's browser: not for one that hides it."""
    use(accounts_in(tmp_path), monkeypatch)

    told = (await Browser().ask("GET", path)).headers

    assert "frame-ancestors" in told["content-security-policy"]
    assert told["x-frame-options"] == "SAMEORIGIN"


# Going out


async def test_a_stolen_cookie_is_dead_at_the_next_request_after_signing_out(accounts: Accounts) -> None:
    browser = Browser()
    await browser.sign_in()
    thief = Browser(client="192.0.2.7", cookies=dict(browser.cookies))
    assert (await thief.ask("GET", "/")).text == FIGURE

    left = await browser.ask("POST", LOGOUT, headers={"origin": OWN})

    assert (left.status, browser.cookies) == (303, {})
    assert (await thief.ask("GET", "/")).status == 303
    assert (await thief.ask("GET", "/live/desk", headers={"accept": "application/json"})).status == 401
    assert (await thief.ask("GET", "/_stcore/stream", headers={"origin": OWN}, kind="websocket")).status == 403


async def test_signing_in_gives_a_new_cookie_whatever_was_planted(accounts: Accounts) -> None:
    browser = Browser(cookies={"sid": "planted"})
    await browser.sign_in()
    first = browser.cookies["sid"]
    await browser.sign_in()

    assert len({"planted", first, browser.cookies["sid"]}) == 3
    assert (await Browser(cookies={"sid": first}).ask("GET", "/")).status == 303


async def test_who_is_idle_may_look_and_is_asked_for_the_password_to_trade(
    accounts: Accounts, clock: ManualClock
) -> None:
    browser = Browser()
    await browser.sign_in()
    assert (await browser.ask("GET", PAGE)).status == 303
    clock.advance(minutes=16)

    asked = await browser.ask("GET", f"{PAGE}?next=/positions")

    assert (await browser.ask("GET", "/positions")).text == FIGURE
    assert asked.status == 200
    assert "Nothing was pressed for 15 minutes" in asked.text
    assert 'value="tim"' in asked.text


# The door


async def test_a_stranger_gets_nothing(accounts: Accounts) -> None:
    paths = ["/", "/positions", "/settings", "/live/desk", "/live/chart", "/_stcore/metrics", "/_stcore/host-config"]
    paths += ["/media/x", "/component/x", "/_stcore/health/../metrics", "/auth/login/../../positions", "//sign-in"]

    for path in [*paths, "/sign-in/x", "/sign-in%2f..", "/sign-in/", "/auth/login", "/auth/logout"]:
        page, figures = [await Browser().ask("GET", path, headers={"accept": a}) for a in ("text/html", "*/*")]

        assert (page.status, figures.status) == (303, 401), path
        assert FIGURE not in page.text + figures.text


async def test_streamlits_own_scripts_are_no_secret_and_lead_nowhere(accounts: Accounts) -> None:
    told = [await Browser().ask("GET", path, headers={"accept": "*/*"}) for path in ("/static/js/index.js", "/static")]
    out = await Browser().ask("GET", "/static/../live/desk", headers={"accept": "*/*"})

    assert [answer.status for answer in (*told, out)] == [200, 401, 401]


async def test_a_monitor_may_ask_whether_it_lives(accounts: Accounts) -> None:
    assert (await Browser().ask("GET", "/_stcore/health")).status == 200


@pytest.mark.parametrize("cors", [True, False])
async def test_a_websocket_comes_from_the_desks_own_page(accounts: Accounts, cors: bool) -> None:
    """Also where Streamlit itself was told to take any origin."""
    before, browser = st.get_option("server.enableCORS"), Browser()
    await browser.sign_in()
    origins = ["", "null", "http://evil.example", "http://127.0.0.1:9999", "http://localhost:8501", f"{OWN}/x"]
    try:
        st_config.set_option("server.enableCORS", cors)
        for origin in origins:
            answer = await browser.ask("GET", "/_stcore/stream", headers={"origin": origin}, kind="websocket")
            assert answer.status == 403, origin
        own = await browser.ask("GET", "/_stcore/stream", headers={"origin": OWN}, kind="websocket")
    finally:
        st_config.set_option("server.enableCORS", before)

    assert own.status == 101


async def test_without_accounts_the_desk_is_this_machines_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(accounts_in(tmp_path), monkeypatch)

    assert (await Browser().ask("GET", "/")).text == FIGURE
    for stranger in (Browser(client="192.0.2.7"), Browser(server="192.168.1.5")):
        assert (await stranger.ask("GET", "/")).status == 403
        assert (await stranger.ask("GET", "/s", headers={"origin": OWN}, kind="websocket")).status == 403
    for name in ("x-forwarded-for", "forwarded", "x-real-ip"):  # a proxy nobody stated
        assert (await Browser().ask("GET", "/", headers={name: "192.0.2.7"})).status == 403


async def test_accounts_that_cannot_be_read_let_nobody_in(accounts: Accounts, tmp_path: Path) -> None:
    browser = Browser()
    await browser.sign_in()
    (tmp_path / "secrets.toml").write_text("[credentials", encoding="utf-8")

    assert (await browser.ask("GET", "/")).status == 503
    assert (await browser.sign_in()).status == 503
    assert (await browser.ask("GET", PAGE)).status == 503
    assert (await browser.ask("GET", "/s", headers={"origin": OWN}, kind="websocket")).status == 403


# Pages


@pytest.fixture
def cookies(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the browser of the page under test sends: AppTest has none of its own."""
    held: dict[str, str] = {}
    monkeypatch.setattr(sign_in, "_secret", lambda: sign_in.secret_in(held))
    return held


def page() -> AppTest:
    at = AppTest.from_file(str(ROOT / "tests" / "signed_door.py"), default_timeout=30).run()
    assert not at.exception, at.exception
    return at


def test_a_page_shows_a_stranger_the_way_in_and_no_figure(accounts: Accounts, cookies: dict[str, str]) -> None:
    at = page()

    assert [title.value for title in at.subheader] == ["Sign in"]
    assert list(at.metric) == []
    with pytest.raises(AccountError, match="not signed in any more"):
        sign_in.actor(Kind.PLACE)


def test_a_page_opens_for_who_is_signed_in_until_it_is_revoked(accounts: Accounts, cookies: dict[str, str]) -> None:
    cookies["sid"] = accounts.sign_in("vera", PASSWORD)
    at = page()
    assert at.metric[0].value == FIGURE
    signed = sign_in.who()
    assert signed is not None
    assert sign_in.actor(Kind.PLACE) == signed.actor

    accounts.revoke_all(by="olga")

    assert list(at.run().metric) == []


def test_who_stops_the_desk_waits_for_no_account(
    accounts: Accounts, clock: ManualClock, cookies: dict[str, str], tmp_path: Path
) -> None:
    cookies["sid"] = accounts.sign_in("tim", PASSWORD)
    clock.advance(seconds=30)
    with sqlite3.connect(tmp_path / "accounts.db", isolation_level=None) as writer:
        writer.execute("BEGIN IMMEDIATE")
        stops = [sign_in.actor(kind) for kind in (Kind.KILL, Kind.DISARM)]
        writer.execute("ROLLBACK")

    signed = sign_in.who()
    assert signed is not None
    assert stops == [signed.actor] * 2


def test_a_page_opens_for_this_machines_owner_without_accounts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cookies: dict[str, str]
) -> None:
    use(accounts_in(tmp_path), monkeypatch)

    assert page().metric[0].value == FIGURE
    assert sign_in.actor(Kind.PLACE) == LOCAL_OWNER
