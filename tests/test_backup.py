"""Backups: consistent while the engine writes, proved, and never half there."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import zipfile
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from desk.lease import Lease
from domain.clock import ManualClock, SystemClock
from domain.errors import BackupError
from settings import Settings
from tests.kept_desks import (
    BOOK,
    KEY,
    LEDGER,
    PASSPHRASE,
    backup_on_a_full_disk,
    backup_until_killed,
    kept_desk,
    made,
    rows,
    settings_in,
    small,
)
from tests.ledgers import fill, opened, order, spawn, tampering, working
from tests.trading import MORNING
from upkeep import archive, backup, line, sealed


@pytest.fixture
async def desk(tmp_path: Path) -> Settings:
    """A data folder whose engine has stopped."""
    async with kept_desk(tmp_path) as running:
        return running.settings


async def test_a_backup_of_a_running_desk_holds_all_that_matters_and_says_what_it_leaves_out(tmp_path: Path) -> None:
    async with kept_desk(tmp_path) as running:
        found = backup.make(running.settings, tmp_path / "backups", clock=running.clock)
        await running.tick(2)
        assert running.problems() == []

    names = {one.name for one in found.manifest.files}
    assert names == {
        *(f"data/{name}" for name in (LEDGER, BOOK, "people.db", "accounts.db", "notices.db", "backup-id")),
        "data/simulated-clock.json",
        "data/jobs/j1/answer.json",
        "models/pattern_nn_v1.json",
        "models/registry.json",
    }
    assert (found.path.stat().st_mode & 0o777, found.path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert sorted(path.name for path in found.path.parent.iterdir()) == [found.path.name]
    [ledger] = found.manifest.ledgers
    assert (ledger.desk, ledger.price_source, ledger.kept_in, ledger.problems) == ("paper", "scripted", "sqlite", ())
    said = " ".join(found.manifest.left_out)
    assert "kept keys" in said
    assert "candles" in said
    assert "stray.txt: nobody knows what it is" in said
    assert archive.verified(found.path) == found.manifest
    assert KEY not in found.path.read_bytes()


def test_each_backup_beside_a_writer_is_one_moment_of_its_ledger(tmp_path: Path) -> None:
    """Every transaction writes an order, its moves, its fill and its lines: in no copy is there a part of one."""
    settings = settings_in(tmp_path)
    url = f"sqlite:///{settings.data_dir / 'ledger-paper-simulated.db'}"
    ledger = opened(url, SystemClock())
    epoch = Lease(ledger.database, SystemClock()).acquire("engine")
    with ledger.write(epoch) as write:
        write.add_account("main", "margin", Decimal(100_000))
    stop, written = threading.Event(), list[int]()

    def go_on() -> None:
        while not stop.is_set():
            n = len(written) + 1
            with ledger.write(epoch) as write:
                write.add_fill(fill(f"f{n}", "100", of=working(write, order(f"o{n}"), f"b{n}").id))
            written.append(n)

    writer = threading.Thread(target=go_on)
    writer.start()
    try:
        for n in range(3):
            before = len(written)
            found = backup.make(settings, settings.backup_dir, clock=ManualClock(MORNING + timedelta(seconds=n)))
            with zipfile.ZipFile(found.path) as opened_zip:
                copy = Path(opened_zip.extract("data/ledger-paper-simulated.db", tmp_path / f"copy-{n}"))
            counts = rows(copy, "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM fill)")
            assert found.manifest.ledgers[0].problems == ()
            assert counts[0][0] == counts[0][1] >= before
    finally:
        stop.set()
        writer.join()
    ledger.close()
    assert written


@pytest.mark.parametrize("point", ["backup_begun", "backup_copied", "backup_written", "backup_named"])
def test_killed_at_any_point_there_is_a_whole_backup_or_none_and_the_next_one_tidies_up(
    tmp_path: Path, point: str
) -> None:
    settings = small(tmp_path)

    process = spawn(backup_until_killed, str(tmp_path), point)
    process.join(60)

    assert process.exitcode == -signal.SIGKILL
    there = [one.path for one in backup.listed(settings.backup_dir)]
    assert len(there) == (point == "backup_named")
    for path in there:
        archive.verified(path)
    later = made(settings, ManualClock(MORNING + timedelta(seconds=9)))
    assert sorted(settings.backup_dir.iterdir()) == sorted([*there, later])


def test_on_a_full_disk_there_is_no_backup_and_no_half_of_one(tmp_path: Path) -> None:
    """The kernel refuses to let a file grow past 40 kB, as a full disk would."""
    small(tmp_path)

    process = spawn(backup_on_a_full_disk, str(tmp_path))
    process.join(60)

    assert process.exitcode == 0
    assert "no backup was made" in (tmp_path / "said").read_text()
    assert list((tmp_path / "backups").iterdir()) == []


def test_too_little_room_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = small(tmp_path)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(backup, "SPARE", usage.free + (1 << 30))

    with pytest.raises(BackupError, match=r"MB free and up to [0-9,]+ MB are needed"):
        made(settings)

    assert list(settings.backup_dir.iterdir()) == []


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    settings = small(tmp_path)

    with backup.locked(settings.data_dir), pytest.raises(BackupError, match=r"another backup or restore .* under way"):
        made(settings)

    assert not settings.backup_dir.exists()


@pytest.mark.parametrize("inside", ["data", "data/backups", "models/kept", "data/../data/x"])
def test_a_folder_within_what_is_backed_up_is_refused(tmp_path: Path, inside: str) -> None:
    settings = small(tmp_path)

    with pytest.raises(BackupError, match="lies within"):
        backup.make(settings, tmp_path / inside, clock=ManualClock(MORNING))


def test_a_link_into_the_data_folder_is_such_a_folder(tmp_path: Path) -> None:
    settings = small(tmp_path)
    (tmp_path / "elsewhere").symlink_to(settings.data_dir)

    with pytest.raises(BackupError, match="lies within"):
        backup.make(settings, tmp_path / "elsewhere", clock=ManualClock(MORNING))


def test_a_damaged_database_is_named_and_nothing_is_made(tmp_path: Path) -> None:
    settings = small(tmp_path)
    (settings.data_dir / "people.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 8_000)

    with pytest.raises(BackupError, match=r"people\.db"):
        made(settings)

    assert list(settings.backup_dir.iterdir()) == []


def test_a_ledger_that_contradicts_itself_is_backed_up_and_said(tmp_path: Path) -> None:
    settings = small(tmp_path)
    with tampering(f"sqlite:///{settings.data_dir / 'ledger-paper-simulated.db'}") as db:
        db.exec_driver_sql("UPDATE audit SET actor = 'nobody'")

    found = backup.make(settings, settings.backup_dir, clock=ManualClock(MORNING))

    assert "content does not match its hash" in found.manifest.ledgers[0].problems[0]


# Which ones stay


def test_only_sound_backups_of_this_desk_count_and_go(tmp_path: Path) -> None:
    settings, other = small(tmp_path / "here"), small(tmp_path / "other")
    other = other.model_copy(update={"backup_dir": settings.backup_dir})
    mine = [made(settings, ManualClock(MORNING + timedelta(days=n))) for n in range(5)]
    foreign = made(other, ManualClock(MORNING - timedelta(days=9)))
    damaged = bytearray(mine[3].read_bytes())
    damaged[len(damaged) // 3] ^= 0xFF
    mine[3].write_bytes(damaged)
    unknown = settings.backup_dir / "holiday.zip"
    unknown.write_bytes(b"mine")
    disguised = settings.backup_dir / f"desk-{backup.identity(settings.data_dir)[:8]}-20200101T000000Z.zip"
    shutil.copy(foreign, disguised)

    gone = backup.prune(settings, settings.backup_dir, 2)

    assert gone == [mine[1], mine[0]]
    assert set(settings.backup_dir.iterdir()) == {mine[4], mine[3], mine[2], foreign, unknown, disguised}
    with pytest.raises(BackupError, match="1 or more"):
        backup.prune(settings, settings.backup_dir, 0)


def test_the_list_says_where_it_looked_and_that_others_lie_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings, other = small(tmp_path / "here"), small(tmp_path / "other")
    monkeypatch.setenv("DATA_DIR", str(settings.data_dir))
    backup.identity(settings.data_dir, make=True)
    to = settings.backup_dir

    assert line.run(["list", "--to", str(to)]) == 0
    made(other.model_copy(update={"backup_dir": to}))
    assert line.run(["list", "--to", str(to)]) == 0

    first, second = capsys.readouterr().out.splitlines()
    assert first == f"none of this desk in {to}"
    assert second == f"{first}; 1 of other desks there: name one to restore it"


def test_a_keep_that_cannot_be_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATA_DIR", str(small(tmp_path).data_dir))

    assert line.run(["backup", "--to", str(tmp_path / "to"), "--keep", "0"]) == 2

    assert "1 or more" in capsys.readouterr().err
    assert not (tmp_path / "to").exists()


# Secrets


async def test_secrets_travel_only_sealed_and_open_only_by_their_passphrase(
    desk: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("ETRADE_CONSUMER_SECRET=canary-of-the-env\n")

    path = made(desk, passphrase=PASSPHRASE)

    with archive.reading(path) as opened_archive:
        block = opened_archive.bytes_of(archive.SECRETS)
    found = sealed.unseal(block, PASSPHRASE)
    assert found["data/keys/key"] == KEY
    assert found["settings/.env"] == b"ETRADE_CONSUMER_SECRET=canary-of-the-env\n"
    assert all(part not in path.read_bytes() for part in (KEY, b"canary-of-the-env"))
    for passphrase, sealed_block in (("another passphrase", block), (PASSPHRASE, block[:-1] + bytes([block[-1] ^ 1]))):
        with pytest.raises(BackupError, match="does not fit"):
            sealed.unseal(sealed_block, passphrase)
    with pytest.raises(BackupError, match="at least 12 characters"):
        sealed.seal({}, "short")


def test_candles_come_along_where_asked(tmp_path: Path) -> None:
    settings = small(tmp_path)
    for name in ("candles/yahoo/AAPL.parquet", "ohlcv/mine.csv", "candles/.lock", "candles/x.lock"):
        path = settings.data_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    os.symlink("/etc/passwd", settings.data_dir / "ohlcv" / "link.csv")

    names = {one.name for one in archive.verified(made(settings, candles=True)).files}

    assert {name for name in names if "candles" in name or "ohlcv" in name} == {
        "data/candles/yahoo/AAPL.parquet",
        "data/ohlcv/mine.csv",
    }
