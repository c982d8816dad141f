"""The project's own programs in processes of their own.

`started` is the command line itself. `forked` runs the same file as the same `__main__` in a child of a process that
has done the imports once: two seconds of a start are imports, and a suite starts fifty programs.
"""

from __future__ import annotations

import os
import runpy
import signal
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from tests.conftest import ROOT
from tests.ledgers import preload, spawn

# What the programs import sooner or later. The pages themselves are read by each dashboard anew.
preload(
    "streamlit.web.cli",
    "uvicorn.protocols.http.h11_impl",
    "uvicorn.protocols.websockets.websockets_sansio_impl",
    "alembic.command",
    "numba",
    "bootstrap",
    "brokers.paper",
    "feeds.etrade",
    "feeds.simulated",
    "ui.live",
    "ui.session",
    "tests.programs",
)


class Program(Protocol):
    """One that runs, as `subprocess.Popen` tells it."""

    pid: int

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, number: int) -> None: ...
    def terminate(self) -> None: ...
    def kill(self) -> None: ...


class Forked:
    """One that was forked, with the manners of a `subprocess.Popen`."""

    def __init__(self, arguments: list[str], environment: dict[str, str], told: Path) -> None:
        self._arguments = arguments
        self._process = spawn(_become, arguments, environment, str(told))
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self._arguments, timeout or 0)
        return int(self._process.exitcode)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def started(arguments: list[str], environment: dict[str, str], told: Path) -> Program:
    """`python` with these arguments; what it prints goes to the file `told`."""
    with told.open("ab") as log:
        return subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=environment, stdout=log, stderr=log)


def forked(arguments: list[str], environment: dict[str, str], told: Path) -> Program:
    """The same, without its imports."""
    return Forked(arguments, environment, told)


def _become(arguments: list[str], environment: dict[str, str], told: str) -> None:
    """This process from now on: another environment, folder and command line, and what reads them is run afresh."""
    import multiprocessing

    log = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number in (1, 2):
        os.dup2(log, number)
    os.close(log)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    multiprocessing.current_process().daemon = False  # it may have children of its own
    first, *others = arguments
    if first == "-m":
        sys.argv = others
        runpy.run_module(others[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        runpy.run_path(first, run_name="__main__")
