"""Signing in at a real server: by raw sockets, as an attacker does, and in Chromium, as a person does."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.accounts import PASSWORD, accounts_in, with_people
from tests.browser.conftest import Server, free_port
from tests.programs import forked
from tests.signed_door import FIGURE

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A small page behind the real door, one person of each role."""
    port, folder = free_port(), tmp_path_factory.mktemp("door")
    with_people(folder)
    command = ["-m", "streamlit", "run", "tests/signed_door.py", "--server.port", str(port)]
    process = forked(command, {**os.environ, "DATA_DIR": str(folder)}, folder / "server.log")
    server = Server(f"http://127.0.0.1:{port}", folder, process)
    until = time.monotonic() + 60
    while not said(server, "GET /_stcore/health HTTP/1.1", f"Host: 127.0.0.1:{port}").startswith("HTTP/1.1 200"):
        assert process.poll() is None, (folder / "server.log").read_text()
        assert time.monotonic() < until
        time.sleep(0.05)
    yield server
    server.stop()


def said(server: Server, *lines: str) -> str:
    """The first line and the headers of what the server answers to exactly this."""
    port = int(server.url.rpartition(":")[2])
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10) as line:
        line.sendall("\r\n".join([*lines, "", ""]).encode())
        answer = b""
        while b"\r\n\r\n" not in answer and (more := line.recv(4096)):
            answer += more
        return answer.decode("latin-1")
    return ""


def shaken(server: Server, *headers: str) -> int:
    """The status of a WebSocket's handshake with these headers."""
    upgrade = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}"]
    answer = said(server, "GET /_stcore/stream HTTP/1.1", *upgrade, "Sec-WebSocket-Protocol: streamlit", *headers)
    return int(answer.split()[1])


def test_the_hostile_handshakes_are_refused(server: Server) -> None:
    """No origin; a foreign one; a foreign name that points here (DNS rebinding); another program of this machine. Each
    with a cookie that counts, as a browser would send it."""
    own, port = server.url.removeprefix("http://"), server.url.rpartition(":")[2]
    accounts = accounts_in(server.data)
    cookie = f"Cookie: sid={accounts.sign_in('vera', PASSWORD)}"

    assert shaken(server, f"Host: {own}", f"Origin: http://{own}", cookie) == 101
    assert shaken(server, f"Host: {own}", cookie) == 403
    assert shaken(server, f"Host: {own}", "Origin: http://evil.example", cookie) == 403
    assert shaken(server, f"Host: evil.example:{port}", f"Origin: http://evil.example:{port}", cookie) == 400
    assert shaken(server, f"Host: {own}", "Origin: http://127.0.0.1:9999", cookie) == 403
    assert shaken(server, f"Host: {own}", f"Origin: http://{own}", "Origin: http://evil.example", cookie) == 400

    assert shaken(server, f"Host: {own}", f"Origin: http://{own}") == 403
    accounts.revoke_all(by="olga")
    assert shaken(server, f"Host: {own}", f"Origin: http://{own}", cookie) == 403
    assert said(server, "GET / HTTP/1.1", f"Host: {own}", "Accept: text/html").startswith("HTTP/1.1 303")


def test_a_person_signs_in_and_is_put_out_at_once(server: Server, page: Page) -> None:
    page.goto(f"{server.url}/?symbol=KO")
    expect(page).to_have_url(re.compile(r"/sign-in\?next="))
    page.get_by_label("Name").fill("tim")
    page.get_by_label("Password").fill("not the password")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("Name or password do not fit.")

    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text(FIGURE)).to_be_visible()
    expect(page).to_have_url(f"{server.url}/?symbol=KO")
    [cookie] = [c for c in page.context.cookies() if c["name"] == "sid"]
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    assert "sid" not in page.evaluate("document.cookie")

    accounts_in(server.data).revoke_all(by="olga")
    page.keyboard.press("r")  # run the page anew, on the line that is open already
    expect(page.get_by_text(FIGURE)).to_have_count(0)
    page.get_by_role("link", name="Sign in").click()
    expect(page.get_by_label("Password")).to_be_visible()
    page.get_by_label("Name").fill("vera")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_text(FIGURE)).to_be_visible()
    expect(page).to_have_url(f"{server.url}/?symbol=KO")
