"""The way back from a backup: all of it or nothing, halted, and nothing doubled."""

from __future__ import annotations

import hashlib
import io
import json
import signal
import sqlite3
import zipfile
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from desk.database import Database
from desk.halt import write_halt
from desk.inbox import Inbox
from desk.lease import Lease
from desk.ledger import Ledger
from desk.reader import Reader
from domain.clock import ManualClock
from domain.commands import Command, CommandState, Kind
from domain.errors import BackupError, SettingsError
from domain.orders import Purpose
from domain.trading_state import KillLevel, TradingState
from tests.accounts import accounts_in
from tests.etrade_trading import TradingDesk, trading_desk
from tests.kept_desks import (
    BOOK,
    KEY,
    LEDGER,
    PASSPHRASE,
    back,
    everything,
    kept_desk,
    made,
    restore_until_killed,
    rows,
    settings_in,
    small,
)
from tests.ledgers import founded, opened, order, postgres_binaries, spawn, working
from tests.trading import MORNING, PaperDesk
from upkeep import archive, presence
from upkeep.archive import Manifest

pytest_plugins = ["tests.ledger_fixtures"]


async def test_a_restored_desk_is_what_it_was_comes_up_halted_and_says_so(tmp_path: Path) -> None:
    async with kept_desk(tmp_path) as desk:
        key = desk.append(Kind.CLOSE, {"account": "main", "symbol": "AAPL"})  # asked, and not answered yet
        path = made(desk.settings)
        await desk.tick(6)
        assert desk.held() == 0
        (desk.settings.data_dir / "keys" / "key").write_bytes(b"another key by now")
        (desk.settings.models_dir / "registry.json").write_bytes(b'{"champion": 2}')
    before = everything(desk.settings)

    done = back(desk.settings, path)

    assert done.manifest is not None
    assert "Restored from the backup of 20 Nov 2026 15:30 UTC" in done.notes[0]
    assert not (desk.settings.data_dir / "HALT").exists()
    assert (desk.settings.data_dir / "keys" / "key").read_bytes() == b"another key by now"
    assert (desk.settings.models_dir / "registry.json").read_bytes() == b'{"champion": 1}'
    kept = {p.name: p.read_bytes() for p in done.aside.iterdir() if p.is_file()}
    assert {name: kept[name] for name in (LEDGER, BOOK)} == {name: before[f"data/{name}"] for name in (LEDGER, BOOK)}

    desk.reader, desk.inbox = anew(desk)
    await desk.start()
    await desk.tick(4)
    control = desk.reader.trading_state()
    assert (control.state, control.level, control.actor) == (TradingState.DISABLED, KillLevel.HALT, "restore")
    assert control.reason == done.notes[0]
    assert desk.held() == 100
    assert desk.problems() == []
    answer = desk.inbox.answer(key)
    assert answer is not None
    assert (answer.state, answer.said[:27]) == (CommandState.REFUSED, "This was asked before the d")
    assert (await desk.preview()).details["approved"] is False
    assert (await desk.ask(Kind.RE_ARM, reason="looked at everything")).state is CommandState.DONE
    assert (await desk.place(side="sell")).state is CommandState.DONE
    await desk.stop()
    assert rows(desk.settings.data_dir / "notices.db", "SELECT DISTINCT state FROM delivery") == [("dropped",)]
    assert accounts_in(desk.settings.data_dir, desk.clock).sign_ins() == []


async def test_what_every_page_says_of_a_restored_desk(tmp_path: Path) -> None:
    from desk.halt import halt_level
    from ui.desk_state import trading_words

    settings = small(tmp_path)
    back(settings, made(settings))
    reader = Reader(f"sqlite:///{settings.data_dir / 'ledger-paper-simulated.db'}", ManualClock(MORNING))

    words = trading_words(reader.trading_state(), halt_level([settings.data_dir / "HALT"]))

    assert (words["words"], words["stopped"]) == ("HALTED", True)
    assert words["why"].startswith("Restored from the backup of 20 Nov 2026 15:30 UTC")


def anew(desk: PaperDesk | TradingDesk) -> tuple[Reader, Inbox]:
    """As a program that starts has them: none lives through a restore."""
    return Reader(desk.place_of.ledger_url, desk.clock), Inbox(desk.place_of.ledger_url, desk.clock)


# Killed on the way


PASSES = [
    ("restore_staging", 1),
    ("restore_prepared", 1),
    ("restore_staged", 1),
    ("restore_decided", 1),
    ("restore_moving", 1),
    ("restore_moving", 3),
    ("restore_moving", 5),
    ("restore_moved", 1),
]


@pytest.mark.parametrize(("point", "passing"), PASSES)
def test_killed_at_any_point_it_is_the_old_desk_or_is_finished_into_the_restored_one(
    tmp_path: Path, point: str, passing: int
) -> None:
    settings = small(tmp_path)
    (settings.data_dir / "simulated-clock.json").write_text("then")
    path = made(settings)
    (settings.data_dir / "simulated-clock.json").write_text("now")
    opened(f"sqlite:///{settings.data_dir / 'ledger-paper-later.db'}").close()  # founded after the backup
    before = everything(settings)

    process = spawn(restore_until_killed, str(tmp_path), str(path), point, passing)
    process.join(60)

    assert process.exitcode == -signal.SIGKILL
    decided = point in ("restore_decided", "restore_moving", "restore_moved")
    if decided:
        with pytest.raises(SettingsError, match="half restored"):
            presence.enter(settings.data_dir)
        with pytest.raises(BackupError, match="half restored"):
            made(settings)
        for ledger in settings.data_dir.glob("ledger-*.db"):  # whoever opened it all the same would not trade
            assert (settings.data_dir / "HALT").exists() or halted(ledger) or point == "restore_decided"
    else:
        assert {n: c for n, c in everything(settings).items() if "/.restoring/" not in n} == before
    done = back(settings, path)
    assert (done.manifest is None) == decided
    assert (settings.data_dir / "simulated-clock.json").read_text() == "then"
    assert (done.aside / "simulated-clock.json").read_text() == "now"
    assert sorted(p.name for p in done.aside.glob("*.db")) == ["ledger-paper-later.db", "ledger-paper-simulated.db"]
    assert [p.name for p in settings.data_dir.glob("*.db")] == ["ledger-paper-simulated.db"]
    assert halted(settings.data_dir / "ledger-paper-simulated.db")
    left = {p.name for p in settings.data_dir.iterdir()}
    assert left & {".restoring", "restore.json", "HALT"} == set()


def halted(path: Path) -> bool:
    return rows(path, "SELECT level, actor FROM control ORDER BY seq DESC LIMIT 1") == [(4, "restore")]


# Not now


def test_beside_a_program_of_the_desk_nothing_is_restored(tmp_path: Path) -> None:
    settings = small(tmp_path)
    path, before = made(settings), everything(settings)

    presence.enter(settings.data_dir)
    try:
        with pytest.raises(BackupError, match=r"works on .*: stop it first"):
            back(settings, path)
    finally:
        presence.leave(settings.data_dir)

    assert everything(settings) == before


def test_beside_an_engine_nothing_is_restored(tmp_path: Path) -> None:
    """Whatever program it runs in: its lease has a lock of its own."""
    settings = small(tmp_path)
    path = made(settings)
    ledger = opened(f"sqlite:///{settings.data_dir / 'ledger-paper-simulated.db'}")
    lease = Lease(ledger.database, ManualClock(MORNING))
    lease.acquire("engine 4711")

    with pytest.raises(BackupError, match=r"an engine acts on ledger-paper-simulated\.db: stop it first"):
        back(settings, path)

    assert not (settings.data_dir / ".restoring").exists()
    lease.release()
    ledger.close()
    assert back(settings, path).manifest is not None


def test_no_program_opens_a_folder_while_it_is_restored(tmp_path: Path) -> None:
    settings = small(tmp_path)

    with presence.Alone(settings.data_dir), pytest.raises(SettingsError, match="being restored just now"):
        presence.enter(settings.data_dir)


def test_a_notifier_that_died_before_its_first_table_is_no_obstacle(tmp_path: Path) -> None:
    settings = small(tmp_path)
    with closing(sqlite3.connect(settings.data_dir / "notices.db")) as db:
        db.execute("PRAGMA user_version=1")
    path = made(settings)

    assert back(settings, path).manifest is not None


def test_a_halt_file_of_a_persons_own_stays(tmp_path: Path) -> None:
    settings = small(tmp_path)
    path = made(settings)
    write_halt(settings.data_dir / "HALT", KillLevel.HALT, "mine")

    back(settings, path)

    assert "mine" in (settings.data_dir / "HALT").read_text()


def test_a_file_ledger_is_not_restored_where_the_desk_asks_postgresql(tmp_path: Path) -> None:
    settings = small(tmp_path)
    path, before = made(settings), everything(settings)

    with pytest.raises(BackupError, match=r"DATABASE_URL is set here .* not halted"):
        back(settings_in(tmp_path, database_url="postgresql://desk:x@127.0.0.1:1/ledger"), path)

    assert everything(settings) == before


def test_a_ledger_that_contradicts_itself_comes_back_only_where_asked(tmp_path: Path) -> None:
    settings = small(tmp_path)
    with closing(sqlite3.connect(settings.data_dir / "ledger-paper-simulated.db")) as db, db:
        db.execute("DROP TRIGGER audit_changed")
        db.execute("UPDATE audit SET actor = 'nobody'")
    path, before = made(settings), everything(settings)

    with pytest.raises(BackupError, match=r"contradicts itself: .*--accept-damage"):
        back(settings, path)

    assert everything(settings) == before
    assert back(settings, path, accept_damage=True).manifest is not None


async def test_secrets_come_back_with_their_passphrase_and_dot_env_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = small(tmp_path)
    (tmp_path / ".env").write_text("A=then\n")
    (settings.data_dir / "keys").mkdir()
    (settings.data_dir / "keys" / "key").write_bytes(KEY)
    path = made(settings, passphrase=PASSPHRASE)
    (tmp_path / ".env").write_text("A=now\n")
    (settings.data_dir / "keys" / "key").write_bytes(b"another")

    with pytest.raises(BackupError, match="passphrase does not fit"):
        back(settings, path, passphrase="some other words here")
    assert (settings.data_dir / "keys" / "key").read_bytes() == b"another"
    done = back(settings, path, passphrase=PASSPHRASE)

    assert (settings.data_dir / "keys" / "key").read_bytes() == KEY
    assert (done.aside / "keys" / "key").read_bytes() == b"another"
    assert (tmp_path / ".env").read_text() == "A=now\n"
    assert (settings.data_dir / "restored-settings" / ".env").read_text() == "A=then\n"


# Forged archives


def forged(path: Path, change: Callable[[dict[str, Any], dict[str, bytes]], None], **how: Any) -> Path:
    """The same archive with its manifest or files changed as asked, written by another hand."""
    with zipfile.ZipFile(path) as old:
        files = {name: old.read(name) for name in old.namelist()}
    said = json.loads(files.pop("manifest.json"))
    change(said, files)
    out = path.with_name("forged.zip")
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = how.get("mode", 0o100600) << 16
            new.writestr(info, content, compress_type=zipfile.ZIP_DEFLATED)
        new.writestr("manifest.json", json.dumps(said))
    return out


def listed(name: str, content: bytes = b"x", kind: str = "file") -> Callable[[dict[str, Any], dict[str, bytes]], None]:
    """One more file, its hash and size as they must be."""

    def change(said: dict[str, Any], files: dict[str, bytes]) -> None:
        files[name] = content
        entry = {"name": name, "kind": kind, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        said["files"].append({**entry, "wal": False})

    return change


def flipped(said: dict[str, Any], files: dict[str, bytes]) -> None:
    name = "data/backup-id"
    files[name] = files[name][::-1]


def newer(said: dict[str, Any], files: dict[str, bytes]) -> None:
    said["ledgers"][0]["revision"] = said["revision"] = "r9999"


def newer_inside(said: dict[str, Any], files: dict[str, bytes]) -> None:
    """Only the tables themselves tell."""
    name = "data/ledger-paper-simulated.db"
    with closing(sqlite3.connect(":memory:")) as db:
        db.deserialize(files[name])
        db.execute("UPDATE alembic_version SET version_num = 'r9999'")
        db.commit()
        changed = db.serialize()
    files[name] = changed
    for one in said["files"]:
        if one["name"] == name:
            one.update(size=len(changed), sha256=hashlib.sha256(changed).hexdigest())


def bomb(said: dict[str, Any], files: dict[str, bytes]) -> None:
    """Ten megabytes of nothing under a manifest that speaks of ten bytes."""
    files["data/simulated-clock.json"] = bytes(10 << 20)
    said["files"].append(
        {"name": "data/simulated-clock.json", "kind": "file", "size": 10, "sha256": "0" * 64, "wal": False}
    )


def huge(said: dict[str, Any], files: dict[str, bytes]) -> None:
    said["files"][0]["size"] = 1 << 60


def changed(**values: Any) -> Callable[[dict[str, Any], dict[str, bytes]], None]:
    return lambda said, files: said.update(values)


def renamed_ledger(said: dict[str, Any], files: dict[str, bytes]) -> None:
    said["ledgers"] = []


FORGERIES: dict[str, tuple[Callable[[dict[str, Any], dict[str, bytes]], None], str]] = {
    "up": (listed("data/../../evil"), "no name that a backup has"),
    "absolute": (listed("/etc/cron.d/evil"), "no name that a backup has"),
    "backslash": (listed("data\\..\\evil"), "no name that a backup has"),
    "nul": (listed("data/a\x07b.db"), "no name that a backup has"),
    "elsewhere": (listed("pages/live_dashboard.py"), "no name that a backup has"),
    "a key nobody sealed": (listed("data/keys/key"), "no file that a backup has"),
    "halt": (listed("data/HALT"), "no file that a backup has"),
    "model folder": (listed("models/.hidden/x"), "no file that a backup has"),
    "flipped": (flipped, "its size or hash differs"),
    "newer": (newer, "this version knows up to"),
    "newer inside": (newer_inside, "cannot be restored: .*this version knows up to"),
    "bomb": (bomb, "other sizes, than its manifest says"),
    "huge": (huge, "other sizes, than its manifest says"),
    "not said": (lambda said, files: files.update({"data/people.db": b"x"}), "other files"),
    "gone": (lambda said, files: files.pop("data/backup-id") and None, "other files"),
    "format": (changed(format="holiday pictures"), "is no backup of this desk"),
    "version": (changed(version=2), "was made in format 2, this version reads 1"),
    "no zone": (changed(made_at="2026-11-20T10:00:00"), "manifest cannot be read"),
    "mark": (changed(desk="../../x"), "manifest cannot be read"),
    "no words": (changed(files="all of them"), "manifest cannot be read"),
    "ledger untold": (renamed_ledger, "does not say of which desk"),
    "no database": (listed("data/people.db", b"x" * 5000, "database"), "people.db is damaged"),
}


@pytest.mark.parametrize("which", FORGERIES)
def test_a_forged_archive_is_refused_by_name_and_nothing_is_changed(tmp_path: Path, which: str) -> None:
    settings = small(tmp_path)
    change, said = FORGERIES[which]
    path, before = forged(made(settings), change), everything(settings)

    with pytest.raises(BackupError, match=said):
        back(settings, path)

    assert everything(settings) == before
    assert not list(settings.data_dir.glob("before-restore-*"))
    assert not (tmp_path.parent / "evil").exists()


def test_links_cut_archives_and_other_files_are_refused(tmp_path: Path) -> None:
    settings = small(tmp_path)
    path, before = made(settings), everything(settings)
    cut = path.with_name("cut.zip")
    cut.write_bytes(path.read_bytes()[:-300])
    text = path.with_name("text.zip")
    text.write_text("a shopping list")
    twice = path.with_name("twice.zip")
    twice.write_bytes(path.read_bytes())
    with zipfile.ZipFile(twice, "a") as more, pytest.warns(UserWarning, match="Duplicate"):
        more.writestr("data/backup-id", "x")

    for archive_path, said in (
        (forged(path, lambda said, files: None, mode=0o120777), "is a link"),
        (cut, "is no backup, or was cut short"),
        (text, "is no backup, or was cut short"),
        (twice, "one name twice"),
        (path.with_name("nowhere.zip"), "cannot be read"),
        (settings.backup_dir, "cannot be read"),
    ):
        with pytest.raises(BackupError, match=said):
            back(settings, archive_path)

    assert everything(settings) == before


def test_what_unpacks_to_more_than_it_says_is_never_unpacked_to_its_end(tmp_path: Path) -> None:
    """The zip's own directory lies about the size as the manifest does."""
    content = bytes(64 << 20)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        new.writestr("data/simulated-clock.json", content)
    raw = out.getvalue().replace((64 << 20).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    said = Manifest(
        "0" * 32,
        MORNING,
        "",
        "r0001",
        "paper",
        (archive.Entry("data/simulated-clock.json", "file", 10, "0" * 64),),
    )
    path = tmp_path / "bomb.zip"
    path.write_bytes(raw)
    with zipfile.ZipFile(path, "a") as more:
        more.writestr("manifest.json", said.to_json())

    with archive.reading(path) as found:
        [entry] = found.manifest.files
        with pytest.raises(BackupError, match=r"size or hash differs|cannot be unpacked"):
            assert sum(map(len, found.chunks(entry))) <= 10


# At the broker


async def test_what_was_ordered_after_the_backup_is_found_at_etrade_as_from_outside_and_nothing_is_doubled(
    tmp_path: Path,
) -> None:
    async with trading_desk(tmp_path) as desk:
        settings = desk.settings.model_copy(update={"models_dir": tmp_path / "m", "backup_dir": tmp_path / "backups"})
        await desk.place(quantity="10", stop_loss="490.00")
        await desk.tick(8)
        assert desk.held() == 10
        path = made(settings, desk.manual)
        await desk.place("KO", quantity="20", stop_loss="58.00")  # filled since
        await desk.tick(8)
        await desk.place("NVDA", quantity="5", type="limit", limit="150.00")  # rests since
        await desk.tick(4)
        assert desk.held("KO") == 20
        await desk.stop()
        resting, placed = len(desk.resting()), desk.calls("place")

        back(settings, path)
        desk.reader, desk.inbox = (
            Reader(desk.place_of.ledger_url, desk.clock),
            Inbox(desk.place_of.ledger_url, desk.clock),
        )
        await desk.start()
        await desk.tick(20)

        control = desk.reader.trading_state()
        assert (control.level, control.actor) == (KillLevel.HALT, "restore")
        assert not desk.reader.arming().armed
        assert (len(desk.resting()), desk.calls("place")) == (resting, placed)
        assert desk.held() == 10
        assert desk.shares()["KO"] == 20
        outside = {(one["symbol"], one["quantity"]) for one in desk.details()["outside"]}
        assert ("KO", "20") in outside
        assert desk.orders(Purpose.ENTRY, "KO") == desk.orders(Purpose.ENTRY, "NVDA") == []
        assert (await desk.preview("NVDA", quantity="5")).details["approved"] is False
        assert (len(desk.resting()), desk.calls("place")) == (resting, placed)
        assert desk.engine is not None
        assert desk.engine.tools.ledger.verify() == []


# PostgreSQL


@pytest.mark.skipif(postgres_binaries() is None, reason="no PostgreSQL server is installed")
@pytest.mark.parametrize("there", ["postgres"])
def test_a_ledger_in_postgresql_is_saved_as_of_one_moment_and_comes_back_halted_into_an_empty_one(
    tmp_path: Path, postgres_url: str, there: str
) -> None:
    settings = settings_in(tmp_path, database_url=postgres_url)
    settings.data_dir.mkdir()
    ledger, epoch = founded(postgres_url)
    with ledger.write(epoch) as write:
        working(write, order("o1"), "b1")
    ledger.close()
    key = "asked-before"
    Inbox(postgres_url, ManualClock(MORNING)).append(Command(key, Kind.CANCEL_ALL, "owner", {}))
    path = made(settings)
    [facts] = archive.verified(path).ledgers
    assert (facts.kept_in, facts.name, facts.problems) == ("postgresql", "data/ledger-paper-simulated.db", ())

    with pytest.raises(BackupError, match="is not empty: nothing there is ever overwritten"):
        back(settings, path)
    with pytest.raises(BackupError, match="was in PostgreSQL"):
        back(settings_in(tmp_path), path)
    with psycopg.connect(postgres_url, autocommit=True) as db:
        db.execute("CREATE DATABASE restored")
    empty = settings.model_copy(update={"database_url": postgres_url.rsplit("/", 1)[0] + "/restored"})
    back(empty, path)
    back(empty, path)  # once more, as after a kill between the two

    database = Database(empty.database_url)
    reader = Reader(empty.database_url, ManualClock(MORNING))
    assert reader.trading_state().level is KillLevel.HALT
    answer = Inbox(empty.database_url, ManualClock(MORNING)).answer(key)
    assert answer is not None
    assert answer.state is CommandState.REFUSED
    again = Ledger.open(empty.database_url, desk="paper", price_source="simulated", clock=ManualClock(MORNING))
    assert again.verify() == []
    epoch = Lease(again.database, ManualClock(MORNING + timedelta(days=1))).acquire("engine")
    with again.write(epoch) as write:
        working(write, order("o2"), "b2")
    assert again.verify() == []
    assert list(settings.data_dir.glob("ledger-*")) == []
    again.close()
    database.close()


def test_with_database_url_and_no_ledger_behind_it_no_backup_pretends_to_hold_one(tmp_path: Path) -> None:
    settings = small(tmp_path).model_copy(update={"database_url": "postgresql://desk:hush@127.0.0.1:1/none"})

    with pytest.raises(BackupError, match="cannot be copied") as caught:
        made(settings)

    assert "hush" not in str(caught.value)
    assert list(settings.backup_dir.iterdir()) == []
