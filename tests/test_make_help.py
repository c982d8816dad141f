"""`make help` names every target there is, and a bare `make` still opens the dashboard."""

from __future__ import annotations

import re
import subprocess

from tests.conftest import ROOT

MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def phony() -> list[str]:
    return [name for line in re.findall(r"^\.PHONY:(.*)$", MAKEFILE, re.M) for name in line.split()]


def helped() -> dict[str, str]:
    out = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return dict(re.findall(r"^make (\S+)\s+(\S.*)$", out, re.M))


def test_every_target_has_its_line_in_the_help() -> None:
    targets = re.findall(r"^([a-z][a-z-]*):(?!=)", MAKEFILE, re.M)

    assert sorted(helped()) == sorted(targets)
    assert all(len(words) > 5 for words in helped().values())


def test_every_target_is_phony_and_every_phony_name_is_a_target() -> None:
    assert sorted(phony()) == sorted(helped())


def test_a_bare_make_is_make_run() -> None:
    first = re.search(r"^([a-z][a-z-]*):(?!=)", MAKEFILE, re.M)

    assert first is not None
    assert first[1] == "run"


def test_the_help_stays_within_a_terminal() -> None:
    assert [name for name, words in helped().items() if len(f"make {name:<12} {words}") > 120] == []
