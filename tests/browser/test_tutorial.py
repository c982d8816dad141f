"""The tutorial, walked word by word: a desk that was started by its own command, a reader in Chromium, a real shell."""

from __future__ import annotations

import os
import re
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from playwright.sync_api import Page

from research.jobs import Jobs
from tests import tutorial
from tests.browser.conftest import usual_port
from tests.conftest import ROOT

pytestmark = [
    pytest.mark.browser,
    pytest.mark.long,
    pytest.mark.xdist_group("browser"),
    pytest.mark.timeout(900),
]


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    found = Reader(tmp_path)
    yield found
    found.go_away()


class Reader:
    """A person with a browser and two terminals, in the folder that was cloned."""

    def __init__(self, folder: Path) -> None:
        self.port, self.log, self._desk = usual_port(), folder / "make-run.log", None
        self.data = folder / "data"
        bin_first = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
        ours = {"DATA_DIR": str(self.data), "SIMULATED_START": "2026-11-20T10:30", "PORT": str(self.port)}
        self._environment = {**os.environ, "PATH": bin_first, **ours}
        self.ran: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def starts_the_desk(self) -> None:
        """`make run`, as the tutorial has it; but in the folder that is here, which nobody need clone."""
        with self.log.open("wb") as log:
            self._desk = subprocess.Popen(["make", "run"], cwd=ROOT, env=self._environment, stdout=log, stderr=log)
        until = time.monotonic() + 300
        while time.monotonic() < until:
            with suppress(OSError), urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=2):
                return
            assert self._desk.poll() is None, self.log.read_text()
            time.sleep(0.2)
        raise AssertionError(self.log.read_text())

    def shell(self, lines: str) -> None:
        """A block of the tutorial in a shell that stops at the first error."""
        if "make run" in lines:
            assert re.search(r"^git clone <this repository> desk\ncd desk\nmake run$", lines, re.M)
            return  # it runs already: the page is open
        self.ran += lines.split("\n")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", lines],
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "sma_crossover" in done.stdout
        assert "PAPER · simulated prices" in done.stdout

    def go_away(self) -> None:
        if self._desk is not None:
            self._desk.terminate()
            self._desk.wait(30)
        jobs = Jobs(f"sqlite:///{self.data / 'research.db'}")
        for pid in {job.pid for job in jobs.latest("backtest", 20) if job.pid}:
            with suppress(ProcessLookupError):
                os.kill(pid, 15)
        jobs.close()


def test_the_tutorial_can_be_walked_as_it_is_written(reader: Reader, page: Page) -> None:
    seen: list[str] = []
    reader.starts_the_desk()
    assert f"The candlestick desk opens on {reader.url}" in reader.log.read_text()
    page.goto(reader.url)

    walked = tutorial.walk(page, shell=reader.shell, picture=seen.append)

    assert walked >= 40
    assert seen == list(tutorial.PICTURES)
    assert "python trading_bot.py --adopted" in reader.ran
