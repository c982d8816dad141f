"""The real dashboard and the peer's page, each in a process of its own over an empty data folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from desk.people import People

ROOT = Path(__file__).parents[1]
OURS = ROOT / "streamlit_dashboard.py"
PEER = ROOT / "benchmarks" / "peer_page.py"
SYMBOL = "AAPL"
WATCHED = ("AAPL", "NVDA", "MSFT", "SPY", "TSLA", "BTCUSDT")
OVERLAYS = {"EMA 9": "ema:9", "EMA 21": "ema:21", "SMA 50": "sma:50", "VWAP": "vwap"}
PATTERNS = ["Hammer", "Bullish Engulfing", "Bearish Engulfing", "Morning Star", "Evening Star"]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100


@dataclass(frozen=True, slots=True)
class Served:
    """A page that answers: its address, its process and the moment it was started (perf_counter)."""

    url: str
    process: subprocess.Popen[bytes]
    began: float

    def processor_s(self) -> float:
        """Processor seconds used so far, user and system; NaN where the system does not tell."""
        try:
            after_name = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return float("nan")
        return (int(after_name[11]) + int(after_name[12])) / _TICKS


def chart_query(bars: int, tf: str = "5m") -> dict[str, str]:
    """What the page asks for with the four overlays on, as `ui.forms` writes it."""
    return {
        "symbol": SYMBOL,
        "tf": tf,
        "studies": ",".join(OVERLAYS.values()),
        "patterns": ",".join(PATTERNS),
        "extended": "1",
        "bars": str(bars),
    }


@contextlib.contextmanager
def served(script: Path, *, bars: int = 500, **env: str) -> Iterator[Served]:
    """Start `script` in Streamlit on a free port, its market an open Friday morning; it is stopped whatever happens."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        data = Path(folder) / "data"
        data.mkdir()
        _remember_overlays(data)
        port = _free_port()
        command = [sys.executable, "-m", "streamlit", "run", str(script), "--server.port", str(port)]
        settings = {
            "DATA_DIR": str(data),
            "DATA_SOURCE": "simulated",
            "SIMULATED_START": "2026-11-20T10:30",
            "CHART_BARS": str(bars),
            "WATCHLIST": ",".join(WATCHED),
        }
        with (Path(folder) / "server.log").open("wb") as log:
            began = time.perf_counter()
            process = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **settings, **env}, stdout=log, stderr=subprocess.STDOUT
            )
            try:
                here = Served(f"http://127.0.0.1:{port}", process, began)
                _wait(here, Path(log.name))
                yield here
            finally:
                _stop(process)


def chromium() -> str | None:
    """The Chromium of this machine, as the browser tests find it."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


def _remember_overlays(data: Path) -> None:
    people = People(f"sqlite:///{data / 'people.db'}", WATCHED)
    people.prefer("chart", {"tf": "5m", "overlays": list(OVERLAYS), "panels": [], "patterns": PATTERNS})


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def _wait(here: Served, log: Path) -> None:
    until = time.perf_counter() + 90
    while time.perf_counter() < until and here.process.poll() is None:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{here.url}/_stcore/health", timeout=2):
            return
        time.sleep(0.05)
    raise RuntimeError(f"the page did not start:\n{log.read_text(errors='replace')[-3000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
