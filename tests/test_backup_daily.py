"""BACKUP_DAILY: one a day from its hour on, known by what lies there; a failure is an error in the log."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from domain.clock import ManualClock
from settings import Settings
from tests.conftest import ROOT
from tests.kept_desks import made, small
from upkeep import backup, daily

NINE = datetime(2026, 11, 20, 14, 0, tzinfo=UTC)  # 09:00 New York


@pytest.mark.parametrize(
    ("hour", "newest", "wanted"),
    [
        (None, None, False),
        (8, None, True),
        (9, None, True),
        (10, None, False),  # not yet today; a desk that was off yesterday waits for its hour
        (8, timedelta(minutes=30), False),
        (8, timedelta(minutes=61), True),
        (8, timedelta(days=1), True),
    ],
)
def test_one_is_due_from_its_hour_on_until_there_is_one(
    tmp_path: Path, hour: int | None, newest: timedelta | None, wanted: bool
) -> None:
    settings = small(tmp_path).model_copy(update={"backup_daily": hour})
    if newest is not None:
        made(settings, ManualClock(NINE - newest))

    assert daily.due(settings, NINE) is wanted


def test_the_hour_is_new_yorks_in_summer_and_winter(tmp_path: Path) -> None:
    settings = small(tmp_path).model_copy(update={"backup_daily": 18})

    assert daily.due(settings, datetime(2026, 7, 1, 22, 0, tzinfo=UTC))
    assert not daily.due(settings, datetime(2026, 12, 1, 22, 0, tzinfo=UTC))


@pytest.mark.long
async def test_it_makes_one_and_what_fails_is_said_and_tried_again_an_hour_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The process that makes it is the project's own command, on real files."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    settings = small(tmp_path).model_copy(update={"backup_daily": 0})
    people = settings.data_dir / "people.db"
    people.write_bytes(b"no database" * 900)
    clock, stop, tried = ManualClock(NINE), asyncio.Event(), list[bool]()
    make = daily._make

    async def counted(of: Settings) -> bool:
        tried.append(await make(of))
        clock.advance(minutes=30)
        if len(tried) == 1:
            people.unlink()
        else:
            stop.set()
        return tried[-1]

    monkeypatch.setattr(daily, "_make", counted)
    ticking = asyncio.create_task(_time_passes(clock, stop))
    with caplog.at_level(logging.INFO, "backup"):
        await daily.run(settings, stop, clock, look_s=0.01)
    await ticking

    assert tried == [False, True]
    levels = [(one.levelname, one.message) for one in caplog.records if one.name == "backup"]
    assert [level for level, _ in levels] == ["ERROR", "INFO"]
    assert "the backup of today failed: people.db" in levels[0][1]
    assert len(backup.listed(settings.backup_dir)) == 1
    assert clock.now() - NINE >= timedelta(hours=1, minutes=30)


async def _time_passes(clock: ManualClock, stop: asyncio.Event) -> None:
    while not stop.is_set():
        await asyncio.sleep(0.01)
        clock.advance(minutes=1)
