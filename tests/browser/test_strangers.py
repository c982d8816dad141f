"""The whole dashboard as it ships, with people: what strangers get, by raw lines and in Chromium, and those put out."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Page, expect
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import ClientConnection, connect

from desk.authority import Role
from domain.clock import SystemClock
from domain.orders import OrderType
from tests.accounts import PASSWORD, accounts_in, with_people
from tests.browser.conftest import Server, start_server
from tests.browser.test_sign_in import shaken
from tests.toy_engine import ToyEngine

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
CANARY = "4711.08"
SEEN = re.compile(rb"4,?711[.]08|NFLX")
PAGES = (
    "/",
    "/positions",
    "/bot",
    "/backtest?job=1",
    "/training?way=Load",
    "/settings?tab=Risk",
    "/alerts",
    "/sign-in/../positions",
)
ROUTES = (
    "/live/desk?account=main&symbol=NFLX",
    "/live/quotes?symbols=NFLX",
    "/live/chart?symbol=NFLX",
    "/live/plotly.min.js",
    "/_stcore/host-config",
    "/_stcore/metrics",
    "/_stcore/script-health-check",
    "/_stcore/allowed-message-origins",
    "/_stcore/bidi-components/desk_chart/x.js",
    "/media/0123.csv",
    "/component/desk_chart/index.html",
    "/app/static/x",
    "/_stcore/agent/openapi.json",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One that began without accounts; its ledger holds what a stranger must never see."""
    data = tmp_path_factory.mktemp("strangers") / "data"
    engine = ToyEngine(data, SystemClock())
    engine.holds("NFLX", "41")
    with engine.ledger.write(engine.epoch) as write:
        engine.order(write, "NFLX", Decimal(3), type=OrderType.LIMIT, limit=Decimal(CANARY))
    server = start_server(data, ENGINE="off", NOTIFIER="off")
    yield server
    server.stop()


def asked(
    server: Server, path: str, *, cookie: str = "", accept: str = "*/*", data: bytes | None = None
) -> tuple[int, bytes]:
    """The status and all bytes of an answer, redirections not followed."""
    headers = {"Accept": accept, "Cookie": f"sid={cookie}", "Origin": server.url}
    request = urllib.request.Request(server.url + path, data=data, headers=headers)
    try:
        with urllib.request.build_opener(_Stay).open(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        told = [value for name, value in error.headers.items() if name != "location"]  # that one repeats the question
        return error.code, error.read() + repr(told).encode()


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


class Listener:
    """A program at the WebSocket that does as Streamlit's page does, and keeps every byte."""

    def __init__(self, server: Server, cookie: str) -> None:
        url = server.url.replace("http", "ws") + "/_stcore/stream"
        headers = {"Cookie": f"sid={cookie}"}
        self.line: ClientConnection = connect(
            url,
            origin=server.url,
            additional_headers=headers,
            subprotocols=["streamlit"],
            max_size=None,
            legacy=True,  # type: ignore[arg-type,list-item]
        )
        self.fragments: set[str] = set()

    def say(self, **asked: object) -> bytes:
        """What comes back for this, up to the end of the run."""
        self.line.send(BackMsg(rerun_script=ClientState(**asked)).SerializeToString())  # type: ignore[arg-type]
        return self.heard()

    def heard(self, wait_s: float = 30) -> bytes:
        told = b""
        until = time.monotonic() + wait_s
        while time.monotonic() < until:
            body = self.line.recv(timeout=wait_s)
            assert isinstance(body, bytes)
            told += body
            message = ForwardMsg.FromString(body)
            if message.delta.fragment_id:
                self.fragments.add(message.delta.fragment_id)
            if message.WhichOneof("type") == "script_finished":
                return told
        raise AssertionError("no run ended")


def test_before_there_is_any_account_the_hostile_handshakes_are_refused(server: Server) -> None:
    own, port = server.url.removeprefix("http://"), server.url.rpartition(":")[2]

    assert shaken(server, f"Host: {own}", f"Origin: http://{own}") == 101
    hostile(server, own, port)
    assert shaken(server, f"Host: {own}", f"Origin: http://{own}", "X-Forwarded-For: 192.0.2.7") == 403
    assert SEEN.search(asked(server, ROUTES[0])[1])  # this machine's owner sees it


def hostile(server: Server, own: str, port: str, *cookie: str) -> None:
    """No origin; a foreign one; a name that was pointed here; another program of this machine; a page without any."""
    assert shaken(server, f"Host: {own}", *cookie) == 403
    assert shaken(server, f"Host: {own}", "Origin: http://evil.example", *cookie) == 403
    assert shaken(server, f"Host: evil.example:{port}", f"Origin: http://evil.example:{port}", *cookie) == 400
    assert shaken(server, f"Host: {own}", "Origin: http://127.0.0.1:9999", *cookie) == 403
    assert shaken(server, f"Host: {own}", "Origin: null", *cookie) == 403


def test_from_the_first_account_on_no_address_tells_a_stranger_anything(server: Server, page: Page) -> None:
    """The server is not started anew, and a line that was open before hears no more."""
    before = Listener(server, "")
    assert SEEN.search(before.say())
    accounts = with_people(server.data)
    own, port = server.url.removeprefix("http://"), server.url.rpartition(":")[2]
    hostile(server, own, port, f"Cookie: sid={accounts.sign_in('vera', PASSWORD)}")
    assert shaken(server, f"Host: {own}", f"Origin: http://{own}") == 403
    assert not SEEN.search(before.say())

    for cookie in ("", "0" * 43):
        for path in (*PAGES, *ROUTES):
            led, told = asked(server, path, cookie=cookie, accept="text/html"), asked(server, path, cookie=cookie)
            assert (led[0], told[0]) == (303, 401), path
            assert not SEEN.search(led[1] + told[1]), path
        assert asked(server, "/_stcore/upload_file/session/file", cookie=cookie, data=b"x")[0] == 401
    for path in PAGES[:-1]:
        page.goto(server.url + path)
        expect(page).to_have_url(re.compile("/sign-in\\?next="))
        expect(page.get_by_label("Password")).to_be_visible()
        assert not SEEN.search(page.content().encode())


def test_who_is_put_out_hears_no_more_on_the_line_that_is_open(server: Server) -> None:
    """By a program that goes on asking for the parts that tick, and presses, whatever the page would do."""
    accounts = accounts_in(server.data)
    cookie = accounts.sign_in("tim", PASSWORD)
    line = Listener(server, cookie)
    assert SEEN.search(line.say())
    parts = sorted(line.fragments)
    assert any(SEEN.search(line.say(fragment_id=part, is_auto_rerun=True)) for part in parts)

    accounts.set_role("tim", Role.VIEWER, by="olga")

    for part in parts:
        told = line.say(fragment_id=part, is_auto_rerun=True)
        assert not SEEN.search(told), part
        assert b"Sign in" in told
    out, suspended = accounts.sign_in("vera", PASSWORD), accounts.sign_in("tim", PASSWORD)
    assert [asked(server, ROUTES[0], cookie=one)[0] for one in (out, suspended)] == [200, 200]
    accounts.sign_out(out)
    accounts.suspend("tim", by="olga")
    for path in ROUTES[:3]:
        assert {asked(server, path, cookie=one)[0] for one in (cookie, out, suspended)} == {401}


def test_a_page_that_is_open_goes_blank_within_seconds(server: Server, page: Page) -> None:
    accounts = accounts_in(server.data)
    page.context.add_cookies([{"name": "sid", "value": accounts.sign_in("vera", PASSWORD), "url": server.url}])
    page.goto(f"{server.url}/positions")
    expect(page.get_by_text("No stop", exact=False).first).to_be_visible()
    expect(page.get_by_text("NFLX").first).to_be_attached()

    accounts.revoke_all("vera", by="olga")
    expect(page.get_by_text("This desk shows nothing before you have signed in.")).to_be_visible()

    expect(page.get_by_text("NFLX")).to_have_count(0)
    assert not SEEN.search(page.content().encode())
    page.get_by_role("link", name="Sign in").click()
    expect(page).to_have_url(re.compile("/sign-in\\?next=%2Fpositions"))
    expect(page.get_by_label("Password")).to_be_visible()


def test_the_sixth_is_locked_over_a_restart(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    with_people(data)
    for attempts, expected in ((5, 401), (1, 429)):
        server = start_server(data, ENGINE="off", NOTIFIER="off")
        try:
            for _ in range(attempts):
                status, told = asked(
                    server, "/auth/login", data=urlencode({"name": "tim", "password": "wrong one"}).encode()
                )
                assert status == expected, told
            right = urlencode({"name": "tim", "password": PASSWORD}).encode()
            assert asked(server, "/auth/login", data=right)[0] == 429  # the right one waits too
        finally:
            server.stop()
    assert json.dumps(accounts_in(data).verify_events()) == "[]"
