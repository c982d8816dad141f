"""A real server on a free port and a real Chromium in front of it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from tests.programs import Program, forked, started

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDE = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
SLOW_MS = 45_000  # how fast this machine is must not matter
expect.set_options(timeout=SLOW_MS)
_ports: list[int] = []
# What a browser waited for in vain on a crowded machine is waited for once more there. What was counted wrongly (two
# orders of one wish) or thrown is never tried again.
WAITED = [r"Locator expected", r"Page expected", r"TimeoutError: .*Timeout \d+ms exceeded"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """In CI alone; what was tried again is named at the end of its run."""
    here = Path(__file__).parent
    for item in items:
        if os.environ.get("CI") and here in item.path.parents:
            item.add_marker(pytest.mark.flaky(reruns=2, only_rerun=WAITED))


@dataclass(slots=True)
class Server:
    """A dashboard that runs: its address, its data folder and its process."""

    url: str
    data: Path
    process: Program

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def usual_port() -> int:
    """A port that a dashboard of this process has had before: a Chromium keeps what it has compiled by its address."""
    for port in _ports:
        with contextlib.suppress(OSError), socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind(("127.0.0.1", port))
            return port
    _ports.append(free_port())
    return _ports[-1]


def start_server(data: Path, *, by_command: bool = False, **env: str) -> Server:
    """Start the dashboard over `data` and wait until it answers; `by_command`: as a user does, its imports included."""
    port = usual_port()
    log = data.parent / f"server-{port}.log"
    command = ["-m", "streamlit", "run", "streamlit_dashboard.py", "--server.port", str(port)]
    settings = {"DATA_DIR": str(data), "SIMULATED_START": "2026-11-20T10:30", **env}
    process = (started if by_command else forked)(command, {**os.environ, **settings}, log)
    url = f"http://127.0.0.1:{port}"
    until = time.monotonic() + 90
    while time.monotonic() < until:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/_stcore/health", timeout=2):
            return Server(url, data, process)
        if process.poll() is not None:
            break
        time.sleep(0.05)
    process.kill()
    pytest.fail(f"the dashboard did not start:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="session")
def chromium() -> str:
    """The Chromium of this machine; CI must have one."""
    # the shell is the same engine without the windows around it, and needs a fifth less of the processor
    names = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if not found:
        if os.environ.get("CI"):
            pytest.fail("CI must have a Chromium: .ci/run installs it")
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    return found


@pytest.fixture(scope="package")
def play() -> Iterator[Playwright]:
    """Gone before other tests of this process want an event loop of their own."""
    with sync_playwright() as play:
        yield play


@pytest.fixture(scope="package")
def browser(play: Playwright, chromium: str) -> Iterator[Browser]:
    """One Chromium for all of this folder, for visitors with a screen of their own."""
    browser = play.chromium.launch(executable_path=chromium, args=FLAGS)
    yield browser
    browser.close()


@pytest.fixture(scope="package")
def visits(play: Playwright, chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowserContext]:
    """One Chromium that keeps the scripts it has compiled, as anybody's does: half of what opening a page costs."""
    folder = tmp_path_factory.mktemp("chromium")
    context = play.chromium.launch_persistent_context(folder, executable_path=chromium, args=FLAGS, viewport=WIDE)
    yield context
    context.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A fresh dashboard over an empty data folder, its simulated market open."""
    (tmp_path / "data").mkdir()
    server = start_server(tmp_path / "data")
    yield server
    server.stop()


@pytest.fixture
def page(visits: BrowserContext) -> Iterator[Page]:
    """A visitor of whom nothing is known; an uncaught error in the page's scripts fails the test."""
    visits.set_offline(False)
    visits.set_storage_state({"cookies": [], "origins": []})
    page = visits.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.set_default_timeout(SLOW_MS)
    yield page
    for each in visits.pages[1:]:  # the first is what keeps it open
        each.close()
    assert errors == []
