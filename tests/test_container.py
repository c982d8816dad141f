"""The image: what goes into it, and what it and its services run as. Read from its files, which are linted: no engine
for containers is needed. tests/test_container_at_work.py runs what lies in it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from domain.registry import names as parts
from tests.conftest import ROOT
from tests.image_files import Ignored, image_files
from tests.sealed import environment
from tests.test_architecture import sources

DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
DIGEST = re.compile(r"[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}")
compose: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


def ran(tool: str, *arguments: str) -> str:
    """What a tool of this environment complains of."""
    found = subprocess.run([Path(sys.executable).with_name(tool), *arguments], cwd=ROOT, capture_output=True, text=True)
    return f"{found.stdout}{found.stderr}" if found.returncode else ""


# What goes in


@pytest.fixture(scope="module")
def inside() -> set[str]:
    return set(image_files())


def test_every_file_of_every_room_is_let_in(inside: set[str]) -> None:
    rooms = {path.relative_to(ROOT).parts[0] for path in sources() if path.parent != ROOT}
    tracked = subprocess.run(["git", "ls-files", *sorted(rooms)], cwd=ROOT, capture_output=True, text=True).stdout
    wanted = {path.relative_to(ROOT).as_posix() for path in sources()} | set(tracked.split())

    assert {path for path in wanted if (ROOT / path).exists()} - inside == set()


def test_nothing_else_is_let_in(inside: set[str]) -> None:
    rooms = {path.relative_to(ROOT).parts[0] for path in sources()} | {"docker"}
    others = {path for path in inside if path.split("/")[0] not in rooms}

    assert others == {"LICENSE", "pyproject.toml", "requirements.txt", ".streamlit/config.toml"}
    assert {
        path for path in inside if Path(path).suffix in (".db", ".pem", ".pth", ".pyc", ".csv", ".parquet")
    } == set()


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        ".env.example",
        "ui/.env",
        "docker/.env",
        ".streamlit/secrets.toml",
        ".git/config",
        ".venv/bin/python",
        "data/ledger-paper-simulated.db",
        "data/accounts.db",
        "data/keys/key",
        "desk/data/kept.sealed",
        "models/pattern_nn_v1.pth",
        "learning/checkpoint.pth",
        "desk/people.db-wal",
        "tests/conftest.py",
        "docs/index.md",
        "benchmarks/bot.py",
        ".github/workflows/ci.yml",
        "ui/__pycache__/live.cpython-311.pyc",
        "desk/logs/desk.log",
        "key.pem",
        "ui/key.pem",
        "docker/smoke",
        "docker-compose.yml",
        "nohup.out",
        "somebody/elses.py",
    ],
)
def test_no_secret_no_data_and_nothing_of_the_workshop_gets_in(path: str) -> None:
    assert Ignored((ROOT / ".dockerignore").read_text(encoding="utf-8"))(path)


@pytest.mark.parametrize(
    ("patterns", "path", "stays_out"),
    [
        ("*\n!ui", "ui/live.py", False),
        ("*\n!ui\n**/__pycache__", "ui/a/__pycache__/b.pyc", True),
        ("*\n!*.py", "ui/live.py", True),
        ("*\n!*.py", "settings.py", False),
        ("# a word\n\nui/*\n!ui/live.py", "ui/live.py", False),
        ("**/*.p[yc]d", "a/b/c.pyd", True),
        ("a?b", "a/b", False),
    ],
)
def test_patterns_are_read_as_docker_reads_them(patterns: str, path: str, stays_out: bool) -> None:
    assert Ignored(patterns)(path) is stays_out


# What it is


def test_the_dockerfile_the_scripts_and_the_compose_file_are_clean() -> None:
    assert ran("hadolint", "Dockerfile") == ""
    assert ran("shellcheck", "docker/entrypoint", "docker/smoke", ".github/prepare", ".github/image") == ""
    assert ran("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml") == ""


def test_the_linter_would_have_said_something(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM python:latest\nRUN cd /x\n")

    assert "DL3007" in ran("hadolint", str(tmp_path / "Dockerfile"))


def test_every_image_it_stands_on_is_held_by_its_digest() -> None:
    froms = re.findall(r"(?m)^FROM (\S+)", DOCKERFILE)

    assert DIGEST.fullmatch(froms[0])
    assert set(froms[1:]) == {"base"}
    assert DIGEST.fullmatch(compose["services"]["postgres"]["image"])


def test_it_runs_as_nobody_in_particular_and_tells_whether_it_is_well() -> None:
    last = DOCKERFILE.rsplit("\nFROM ", 1)[1]

    assert "\nUSER 10001:10001\n" in last
    assert "HEALTHCHECK " in last
    assert 'CMD ["dashboard"]' in last
    assert DOCKERFILE.count("download.pytorch.org/whl/") == 1  # the one index that is named


def test_whatever_would_be_written_is_led_to_a_place_that_may_be() -> None:
    known = environment(DOCKERFILE)
    places = [value for name, value in known.items() if re.search(r"DIR|HOME|FOLDER|DIRECTORY", name)]

    assert {value.split("/")[1] for value in places} == {"data", "models", "backups", "tmp"}
    assert {"MPLCONFIGDIR", "XDG_CACHE_HOME", "HOME", "DATA_DIR", "MODELS_DIR", "BACKUP_DIR"} <= set(known)
    assert known["PATH"].startswith("/opt/venv/bin:")


def test_every_service_is_locked_down() -> None:
    for name, service in compose["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["user"].split(":")[0] not in ("0", "root"), name
        assert not any("docker.sock" in str(volume) for volume in service["volumes"]), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
    assert {name: service.get("profiles") for name, service in compose["services"].items()} == {
        "dashboard": None,
        "bot": ["bot"],
        "postgres": ["postgres"],
    }


def test_no_password_stands_in_the_compose_file() -> None:
    server = compose["services"]["postgres"]

    assert server["environment"]["POSTGRES_PASSWORD"] == "${POSTGRES_PASSWORD:-}"
    assert compose["networks"]["ledger"] == {"internal": True}
    assert "ports" not in server


def test_every_desk_there_can_be_has_a_database() -> None:
    text = (ROOT / "docker" / "postgres.sql").read_text(encoding="utf-8")
    desks = {f"paper_{source}" for source in [*parts("feeds"), "etrade_sandbox", "etrade_simulator"]}

    assert set(re.findall(r"CREATE DATABASE desk_(\w+);", text)) == desks | {"live_etrade", "rehearsal_etrade"}
