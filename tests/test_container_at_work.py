"""The image at work: what its entry point starts, when its health check says so, and, in a long test, all of it in a
file system of the very same shape."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import Any

import pytest

from desk.lease import Lease
from domain.clock import ManualClock, SystemClock
from tests.conftest import ROOT
from tests.image_files import image_files
from tests.ledgers import opened
from tests.sealed import Sealed, possible

pytest_plugins = ["tests.ledger_fixtures"]
ENTRYPOINT = ROOT / "docker" / "entrypoint"
PASSWORD = "violet kettle march nine"


def free_port() -> int:
    with socket.socket() as line:
        line.bind(("127.0.0.1", 0))
        return int(line.getsockname()[1])


def docker_module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docker_{name}", ROOT / "docker" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# The entry point


@pytest.fixture
def entry(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs it with a `python` that says what it was asked."""
    (tmp_path / "bin").mkdir()
    said = (
        'for one in "$@"; do printf "%s " "$one"; done; echo "| $NUMBA_CACHE_DIR | ${STREAMLIT_SERVER_SSL_KEY_FILE:-}"'
    )
    (tmp_path / "bin" / "python").write_text(f"#!/bin/sh\n{said}\n")
    (tmp_path / "bin" / "python").chmod(0o755)
    (tmp_path / "tmp").mkdir()

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        known = {
            "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
            "TMPDIR": str(tmp_path / "tmp"),
            "DATA_DIR": str(tmp_path),
        }
        return subprocess.run([ENTRYPOINT, *arguments], env=known | more, cwd="/", capture_output=True, text=True)

    return run


@pytest.mark.parametrize(
    ("asked", "becomes"),
    [
        ((), "-m streamlit run streamlit_dashboard.py"),
        (("dashboard", "--server.port", "9000"), "-m streamlit run streamlit_dashboard.py --server.port 9000"),
        (("bot", "--kill", "2"), "trading_bot.py --kill 2"),
        (("notifier",), "notifier.py"),
        (("backtest", "--symbol", "A B"), "backtester.py --symbol A B"),
        (("train",), "ml_pipeline.py"),
        (("owner", "ada"), "-m desk.accounts owner ada"),
        (("accounts", "list"), "-m desk.accounts list"),
        (("certificate", "--renew"), "docker/certificate.py --renew"),
        (("backup", "/data/b"), "-m upkeep backup /data/b"),
        (("doctor",), "-m upkeep doctor"),
    ],
)
def test_each_command_becomes_a_program(entry: Any, asked: tuple[str, ...], becomes: str) -> None:
    found = entry(*asked)

    assert found.stdout.split("|")[0].strip() == becomes
    file = next(word for word in becomes.split() if word.endswith(".py")) if ".py" in becomes else ""
    assert (ROOT / file).exists()


def test_another_word_is_refused_with_those_there_are(entry: Any) -> None:
    found = entry("bash")

    assert found.returncode == 2
    assert "there is no command bash" in found.stderr
    assert "certificate" in found.stderr


def test_what_was_compiled_is_at_hand_where_it_may_be_written(entry: Any, tmp_path: Path) -> None:
    (tmp_path / "compiled").mkdir()
    (tmp_path / "compiled" / "kernel.nbi").write_text("once")
    entry("bot", DESK_COMPILED=str(tmp_path / "compiled"))
    (tmp_path / "tmp" / "numba" / "kernel.nbi").write_text("since then")

    entry("bot", DESK_COMPILED=str(tmp_path / "compiled"))

    assert (tmp_path / "tmp" / "numba" / "kernel.nbi").read_text() == "since then"
    assert sorted(path.name for path in (tmp_path / "tmp").iterdir()) == ["desk-command", "numba"]


def test_health_asks_what_the_container_was_started_for(entry: Any) -> None:
    entry("bot")
    entry("backtest")  # beside it, within the same container

    assert entry("health").stdout.startswith("docker/health.py bot |")


def test_a_certificate_of_ones_own_is_found_and_another_that_is_named_wins(entry: Any, tmp_path: Path) -> None:
    make = docker_module("certificate")
    made = make.write(tmp_path / "tls", ["localhost", "127.0.0.1", "desk.example.com"], SystemClock().now())

    assert entry().stdout.strip().endswith(f"| {tmp_path}/tls/key.pem")
    assert entry(STREAMLIT_SERVER_SSL_CERT_FILE="/x.pem").stdout.strip().endswith("|")
    assert (tmp_path / "tls" / "key.pem").stat().st_mode & 0o777 == 0o600
    ssl.create_default_context().load_cert_chain(tmp_path / "tls" / "certificate.pem", tmp_path / "tls" / "key.pem")
    assert made.not_valid_after_utc - SystemClock().now() < timedelta(days=398)


def test_a_certificate_is_never_replaced_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    make = docker_module("certificate")
    monkeypatch.setenv("DATA_DIR", str(tmp_path))

    assert make.main([]) == 0
    before = (tmp_path / "tls" / "key.pem").read_bytes()
    assert make.main([]) == 2
    assert "--renew" in capsys.readouterr().err
    assert (tmp_path / "tls" / "key.pem").read_bytes() == before
    assert make.main(["--renew", "dösk"]) == 2
    assert (tmp_path / "tls" / "key.pem").read_bytes() == before
    assert make.main(["--renew"]) == 0
    assert (tmp_path / "tls" / "key.pem").read_bytes() != before


# Health


@pytest.fixture
def health(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    return docker_module("health")


def heard(url: str, ago: float) -> Lease:
    """An engine that renewed its lease so many seconds ago; keep it for as long as it shall live."""
    clock = ManualClock(SystemClock().now() - timedelta(seconds=ago))
    lease = Lease(opened(url, clock).database, clock)
    lease.acquire("engine 7 on desk-1")
    return lease


def test_a_mute_engine_is_not_well(health: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert health.main("bot") == 1
    assert "no engine has ever run" in capsys.readouterr().out

    url = f"sqlite:///{tmp_path / 'ledger-paper-simulated.db'}"
    lease = heard(url, ago=16)
    assert health.main("bot") == 1
    assert "the engine is mute: engine 7 on desk-1" in capsys.readouterr().out

    lease.release()
    lease = heard(url, ago=3)
    assert health.main("bot") == 0

    (tmp_path / "ledger-paper-yahoo.db").write_bytes(b"another desk's, long forgotten")
    assert health.main("bot") == 0
    lease.release()
    assert health.main("bot") == 1
    assert "a ledger cannot be read" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["postgres"])  # where all that needs a server runs (tests/sharing_out.py)
def test_it_looks_into_postgresql_too(
    kind: str, health: ModuleType, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres_url)

    assert health.main("bot") == 1  # nothing is there yet
    lease = heard(postgres_url, ago=3)
    assert health.main("bot") == 0
    lease.release()
    assert health.main("bot") == 1


def test_each_desk_has_its_database(health: ModuleType, tmp_path: Path) -> None:
    for name in ("live-paper-simulated.db", "broker-paper-yahoo.db", "broker-paper-simulated.db", "people.db"):
        (tmp_path / name).touch()

    found = health._addresses("postgresql://desk@server/desk_{desk}", tmp_path)

    assert found == ["postgresql://desk@server/desk_paper_simulated", "postgresql://desk@server/desk_paper_yahoo"]


@pytest.fixture
def answering() -> Iterator[tuple[ThreadingHTTPServer, list[int]]]:
    """A dashboard's server that answers with what stands in the list."""
    answers = [200]

    class Says(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(answers[0] if self.path == "/_stcore/health" else 404)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Says)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server, answers
    server.shutdown()
    server.server_close()


def test_a_dashboard_must_answer_and_have_an_engine(
    health: ModuleType, tmp_path: Path, answering: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    server, answers = answering
    monkeypatch.setenv("STREAMLIT_SERVER_PORT", str(server.server_port))
    lease = heard(f"sqlite:///{tmp_path / 'ledger-paper-simulated.db'}", ago=1)

    assert health.main("dashboard") == 0
    answers[0] = 503
    assert health.main("dashboard") == 1
    assert "answers 503" in capsys.readouterr().out
    answers[0] = 200
    lease.release()
    assert health.main("dashboard") == 1
    monkeypatch.setenv("STREAMLIT_SERVER_PORT", str(free_port()))
    assert health.main("dashboard") == 1
    assert "does not answer" in capsys.readouterr().out
    assert health.main("backtest") == 0  # it ends by itself


# All of it


@pytest.fixture
def sealed() -> Iterator[Sealed]:
    if not possible():
        pytest.skip("a mount name space of its own needs root: CI builds and tries the image itself")
    folder = Path(tempfile.mkdtemp(prefix="sealed-"))
    folder.chmod(0o755)
    built = Sealed(folder)
    yield built
    built.close()
    shutil.rmtree(folder)


def ended(process: subprocess.Popen[bytes], number: signal.Signals) -> int:
    process.send_signal(number)
    return process.wait(300)


def until(true: Callable[[], bool], seconds: float, told: Path) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, told.read_text(encoding="utf-8")[-3000:]
        time.sleep(0.5)


@pytest.mark.long
@pytest.mark.timeout(3000)
def test_the_whole_image_serves_is_well_and_falls_ill_with_its_engine(sealed: Sealed, tmp_path: Path) -> None:
    entry, told, port = "/app/docker/entrypoint", tmp_path / "told", free_port()
    served = {"STREAMLIT_SERVER_PORT": str(port)}
    quiet = {"context": ssl._create_unverified_context(), "timeout": 10}

    def sign_in_is_shown() -> bool:
        try:
            asked = urllib.request.Request(f"https://127.0.0.1:{port}/", headers={"Accept": "text/html"})
            with urllib.request.urlopen(asked, **quiet) as answer:
                return "/sign-in" in answer.url
        except OSError:
            return False

    for cure in ("has no account", "without encryption"):
        assert sealed.start(entry, told=told, **served).wait(600) != 0
        assert cure in told.read_text(encoding="utf-8")
        step = ("owner", "ada") if cure == "has no account" else ("certificate",)
        assert sealed.start(entry, *step, told=told, typed=f"{PASSWORD}\n" * 2).wait(600) == 0

    # The dashboard with its own engine: well, and stopped when it is told to.
    desk = sealed.start(entry, told=told, **served)
    until(sign_in_is_shown, 600, told)
    until(lambda: sealed.within(desk, entry, "health", **served).returncode == 0, 300, told)
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"https://127.0.0.1:{port}/live/quotes?symbols=AAPL", **quiet)
    touched = sealed.within(
        desk, "sh", "-c", "id -u; touch /x /app/x /opt/venv/x /usr/x; grep CapEff /proc/self/status"
    )
    assert touched.stdout.split() == ["10001", "CapEff:", "0000000000000000"]
    assert touched.stderr.count("Read-only file system") == 4
    assert sealed.within(desk, entry, "bot", "--status").stdout.count("heard") == 1
    made = sealed.within(desk, entry, "backup")
    assert made.returncode == 0, made.stderr
    assert ended(desk, signal.SIGTERM) in (0, -signal.SIGTERM)

    # What was kept comes back once nobody runs.
    [kept] = [path.name for path in (sealed.folder / "backups").glob("*.zip")]
    assert sealed.start(entry, "restore", f"/backups/{kept}", told=told).wait(600) == 0, told.read_text(
        encoding="utf-8"
    )

    # An engine of its own is killed: the dashboard answers as ever, and is not well.
    bot = sealed.start(entry, "bot", told=tmp_path / "bot")
    desk = sealed.start(entry, told=told, ENGINE="off", **served)
    until(sign_in_is_shown, 600, told)
    until(lambda: sealed.within(desk, entry, "health", **served).returncode == 0, 300, told)
    assert sealed.within(bot, entry, "health").returncode == 0
    ended(bot, signal.SIGKILL)
    until(lambda: sealed.within(desk, entry, "health", **served).returncode == 1, 300, told)
    assert "the engine is mute" in sealed.within(desk, entry, "health", **served).stdout
    assert sign_in_is_shown()
    ended(desk, signal.SIGTERM)

    # All that was written lies in the data folder, and nobody else may read it.
    assert {path.name for path in sealed.folder.iterdir()} == {"root", "app", "data", "models", "backups"}
    assert {
        path.relative_to(sealed.folder / "app").as_posix()
        for path in (sealed.folder / "app").rglob("*.*")
        if path.is_file()
    } <= set(image_files())
    assert os.listdir(sealed.folder / "root") == []
    assert (sealed.data / "ledger-paper-simulated.db").stat().st_uid == 10001
