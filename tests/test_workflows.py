"""The workflows: they run on machines that are not here, so they are held to their rules before they get there."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.campaigns.__main__ import CAMPAIGNS
from tests.conftest import ROOT

FOLDER = ROOT / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))
PINNED = re.compile(r"uses: (actions/[\w-]+)@[0-9a-f]{40} # v\d+\.\d+\.\d+$")


def ran(tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([Path(sys.executable).with_name(tool), *arguments], cwd=ROOT, capture_output=True, text=True)


def read(name: str) -> dict[Any, Any]:
    found: dict[Any, Any] = yaml.safe_load((FOLDER / f"{name}.yml").read_text(encoding="utf-8"))
    return found


def jobs() -> list[Any]:
    return [
        pytest.param(job, id=f"{path.stem}-{name}") for path in FILES for name, job in read(path.stem)["jobs"].items()
    ]


def said(name: str) -> str:
    """Everything a workflow runs."""
    steps = [step for job in read(name)["jobs"].values() for step in job["steps"]]
    return "\n".join(step.get("run", "") for step in steps)


def test_their_shape_is_what_github_reads() -> None:
    for schema, *files in (
        ("vendor.github-workflows", *map(str, FILES)),
        ("vendor.dependabot", ".github/dependabot.yml"),
    ):
        assert ran("check-jsonschema", "--builtin-schema", schema, *files).stdout == "ok -- validation done\n"


def test_zizmor_finds_no_hole_however_small() -> None:
    found = ran("zizmor", "--offline", "--pedantic", "--no-progress", ".github")

    assert found.returncode == 0, found.stdout


def test_zizmor_would_have_found_one(tmp_path: Path) -> None:
    (tmp_path / "hole.yml").write_text(
        "on: pull_request_target\njobs: {a: {runs-on: x, steps: [{uses: actions/checkout@v7}]}}\n"
    )

    assert ran("zizmor", "--offline", "--no-progress", str(tmp_path / "hole.yml")).returncode != 0


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_action_is_githubs_own_and_held_by_its_commit(path: Path) -> None:
    lines = [line.strip("- ").strip() for line in path.read_text(encoding="utf-8").splitlines() if "uses:" in line]

    assert [line for line in lines if not PINNED.match(line)] == []
    assert len(lines) > 0


def test_one_action_has_one_version_everywhere() -> None:
    found = set(re.findall(r"uses: (\S+)", "".join(path.read_text(encoding="utf-8") for path in FILES)))

    assert len({action.split("@")[0] for action in found}) == len(found)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_workflow_may_nothing_until_a_job_says_so(path: Path) -> None:
    workflow = read(path.stem)

    assert workflow["permissions"] == {}
    assert set(workflow["concurrency"]) == {"group", "cancel-in-progress"}
    assert "pull_request_target" not in workflow[True]  # what YAML makes of the key `on`


@pytest.mark.parametrize("job", jobs())
def test_a_job_may_little_ends_by_itself_and_keeps_no_key(job: dict[str, Any]) -> None:
    [checkout] = [step for step in job["steps"] if "checkout" in step.get("uses", "")]

    assert checkout["with"] == {"persist-credentials": False}
    assert job["permissions"].pop("contents") == "read"
    assert job["runs-on"] == "ubuntu-24.04"
    assert 0 < job["timeout-minutes"] <= 240


def test_only_the_deployment_may_write_and_nothing_but_its_image() -> None:
    may = {
        path.stem: {
            name
            for job in read(path.stem)["jobs"].values()
            for name, mode in job["permissions"].items()
            if mode == "write"
        }
        for path in FILES
    }

    assert may.pop("deploy") == {"packages", "id-token", "attestations", "artifact-metadata"}
    assert set().union(*may.values()) == set()


def test_a_change_is_held_to_all_of_it() -> None:
    jobs = read("ci")["jobs"]

    assert set(jobs) == {"lint", "tests", "browser", "crashes", "documents", "image"}
    assert jobs["tests"]["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13"]
    for what in ("make lint", "make types", "make docs", "docker/smoke", '-m "browser and not long"'):
        assert what in said("ci")


def test_the_oldest_python_that_is_tried_is_the_oldest_that_is_promised() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]

    assert told == ">=" + read("ci")["jobs"]["tests"]["strategy"]["matrix"]["python"][0]


def test_a_release_is_checked_tried_listed_and_signed() -> None:
    steps = read("deploy")["jobs"]["image"]["steps"]
    text = said("deploy")

    assert read("deploy")[True] == {"push": {"tags": ["v[0-9]+.[0-9]+.[0-9]+"]}}
    order = ['test "$GITHUB_REF_NAME" = "v$version"', "docker/smoke", "docker login", "--push", "docker logout"]
    assert sorted(order, key=text.index) == order
    assert "type=sbom,generator=" in text
    assert "type=provenance,mode=max" in text
    assert any(step.get("uses", "").startswith("actions/attest@") for step in steps)


@pytest.mark.parametrize("tag", ["v0.0.0", "v999.1.0"])
def test_a_tag_that_is_not_the_version_releases_nothing(tag: str, tmp_path: Path) -> None:
    [check] = [step["run"] for step in read("deploy")["jobs"]["image"]["steps"] if "pyproject" in step.get("run", "")]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

    def run(name: str) -> subprocess.CompletedProcess[str]:
        known = {"PATH": "/usr/bin:/bin", "GITHUB_REF_NAME": name, "GITHUB_REPOSITORY": "Ada/Desk"}
        script = check.replace("python3", shlex.quote(sys.executable))
        return subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=ROOT,
            env={**known, "GITHUB_ENV": str(tmp_path / "env")},
            capture_output=True,
            text=True,
        )

    assert run(tag).returncode == 1
    assert not (tmp_path / "env").exists()
    assert run(f"v{version}").returncode == 0
    assert (tmp_path / "env").read_text() == f"VERSION={version}\nIMAGE=ghcr.io/ada/desk\n"


def test_the_night_has_the_campaigns_that_there_are() -> None:
    matrix = read("nightly")["jobs"]["crashes"]["strategy"]["matrix"]["include"]

    assert {one["campaign"] for one in matrix} == {name for name in CAMPAIGNS if name.endswith("crashes")}
    for what in ("tests.campaigns.soak", "pip-audit --strict", "-m benchmarks"):
        assert what in said("nightly")


def test_the_small_torch_comes_from_the_index_the_dockerfile_names(tmp_path: Path) -> None:
    """`.github/prepare` with a `python` and a `make` that say what they were asked."""
    (tmp_path / "bin").mkdir()
    for name in ("python", "make"):
        (tmp_path / "bin" / name).write_text(
            f'#!/bin/sh\necho {name} "$@"\nmkdir -p .venv/bin; cp "$0" .venv/bin/ 2>/dev/null || true\n'
        )
        (tmp_path / "bin" / name).chmod(0o755)
    for name in ("Dockerfile", "requirements.txt"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    path = f"{tmp_path / 'bin'}:/usr/bin:/bin"

    found = subprocess.run(
        [ROOT / ".github" / "prepare"], cwd=tmp_path, env={"PATH": path}, capture_output=True, text=True
    )

    [asked] = [line for line in found.stdout.splitlines() if "--index-url" in line]
    assert asked.endswith("torch==" + re.findall(r"(?m)^torch==(\S+)", (ROOT / "requirements.txt").read_text())[0])
    assert "--index-url https://download.pytorch.org/whl/cpu torch" in asked
    assert found.stdout.splitlines()[-1] == "make .venv/dev.stamp"


def test_newer_versions_wait_a_week() -> None:
    updates = yaml.safe_load((ROOT / ".github" / "dependabot.yml").read_text(encoding="utf-8"))["updates"]

    assert {one["package-ecosystem"] for one in updates} == {"pip", "docker", "docker-compose", "github-actions"}
    assert all(one["cooldown"]["default-days"] >= 7 for one in updates)
