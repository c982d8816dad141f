"""The dashboard of a demo: the project's own, in a process that ends with its parent whatever ends that one."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE_S = 10.0
_PR_SET_PDEATHSIG = 1


def started(folder: Path, port: int, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """The dashboard over `folder`. It runs in that folder, so that no `.env` of yours is read; what it prints goes to
    `dashboard.log` there."""
    with contextlib.suppress(OSError):
        (folder / ".streamlit").symlink_to(ROOT / ".streamlit")
    command = [sys.executable, "-m", "streamlit", "run", str(ROOT / "streamlit_dashboard.py")]
    with (folder / "dashboard.log").open("ab") as log:
        return subprocess.Popen(  # noqa: S603 - our own program, with our own arguments
            [*command, "--server.port", str(port)],
            cwd=folder,
            env={**environment, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl+C reaches us alone, and we end it
            preexec_fn=_ends_with(os.getpid()) if sys.platform == "linux" else None,
        )


def answers(port: int) -> bool:
    """Whether the dashboard can be looked at."""
    with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2):
        return True
    return False


def ended(process: subprocess.Popen[bytes]) -> None:
    """Stop it and all it started: asked first, then made to."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_S)
            break
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)  # children that would outlive it


def _ends_with(parent: int):  # type: ignore[no-untyped-def]
    """In the child, before it becomes the dashboard: a parent that is killed outright takes it along (Linux)."""
    library = ctypes.CDLL(None, use_errno=True)

    def bind() -> None:
        library.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)

    return bind
