"""Settings → Backups: how the desk is kept, in words; one made from the page in a process of its own; owners only."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import backtest  # noqa: F401 - before a page of the same name is found
import bootstrap
from domain.clock import ManualClock, SystemClock
from domain.errors import BackupError
from tests.conftest import ROOT
from tests.kept_desks import made
from tests.peopled import Peopled, page, peopled, words
from ui import backups
from upkeep import backup

SETTINGS = ROOT / "pages" / "settings.py"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Peopled]:
    """olga owns, tim trades; olga is signed in. Backups go beneath the test's own folder."""
    monkeypatch.setenv("BACKUP_DIR", str(tmp_path / "backups"))
    with peopled(tmp_path, monkeypatch) as found:
        found.enter("olga")
        backups.runs().newest = None
        yield found
        if (run := backups.runs().newest) is not None:
            run.process.wait(60)
        backups.runs().newest = None


def said(at: AppTest) -> str:
    kinds = (at.markdown, at.caption, at.info, at.error, at.warning, at.success)
    return "\n".join(element.value for kind in kinds for element in kind).replace("\\", "")


def test_a_desk_that_was_never_backed_up_says_so_and_makes_one_without_the_page(desk: Peopled, tmp_path: Path) -> None:
    at = page(SETTINGS, tab="Backups")
    assert "Never backed up." in said(at)
    assert "BACKUP_DAILY=18 in .env" in said(at)

    at.button(key="backups_now").click().run()
    run = backups.runs().newest
    assert run is not None
    assert run.process.wait(60) == 0
    at = page(SETTINGS, tab="Backups")

    assert "The newest backup is less than a minute old." in said(at)
    assert "read back and whole" in said(at)
    [found] = backup.listed(tmp_path / "backups")
    assert at.code[-1].value == f"make restore FROM={found.path}"
    assert at.button(key=f"backups_verify_{found.path.stem}").label == "Verify"
    waits = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    backups.runs().newest = backups.Run("backup", "", SystemClock().now(), waits, run.told)
    with pytest.raises(BackupError, match="Another one is under way"):
        backups.runs().begin("verify", [])
    waits.communicate()


def test_who_does_not_own_the_desk_neither_sees_nor_makes_backups(desk: Peopled, tmp_path: Path) -> None:
    path = made(bootstrap.start().settings, SystemClock())
    desk.enter("tim")

    at = page(SETTINGS, tab="Backups")

    assert "The role trader makes and reads no backups" in said(at)
    assert path.name not in words(at)
    assert not [one for one in at.button if str(one.key).startswith("backups_")]
    backups._start("backup", ["backup"])
    assert backups.runs().newest is None


def test_stale_damaged_and_failed_are_told_apart(desk: Peopled, tmp_path: Path) -> None:
    settings, now = bootstrap.start().settings, SystemClock().now()
    old = made(settings, ManualClock(now - timedelta(days=30)))
    mark = backup.identity(settings.data_dir)
    assert backups.standing(backup.listed(settings.backup_dir, mark), now)[0] == "warn"
    assert "30 days old. What happened since is in none." in said(page(SETTINGS, tab="Backups"))

    newer = made(settings, ManualClock(now - timedelta(days=1)))
    newer.write_bytes(newer.read_bytes()[:-40])
    assert "The newest file cannot be opened. The newest sound backup is 30 days old." in said(
        page(SETTINGS, tab="Backups")
    )

    old.unlink()
    assert "No backup here can be opened." in said(page(SETTINGS, tab="Backups"))
    backups.runs().newest = ended("people.db cannot be copied: file is not a database; no backup was made", 2)
    assert "No backup was made: people.db cannot be copied" in said(page(SETTINGS, tab="Backups"))


def ended(told: str, code: int) -> backups.Run:
    """A process that said this and ended so."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the run
    process = subprocess.Popen(["sh", "-c", 'echo "$0"; exit "$1"', told, str(code)], stdout=file)
    process.wait()
    return backups.Run("backup", "", SystemClock().now(), process, file)


def test_an_age_is_said_in_its_largest_unit() -> None:
    told = [backups.ago(timedelta(minutes=n)) for n in (0, 1, 59, 60, 1439, 1440, 14400)]
    assert told == ["less than a minute", "1 minute", "59 minutes", "1 hour", "23 hours", "1 day", "10 days"]
