"""The demo: a day that is the same each time, a clock that hurries, a folder of its own, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

import bootstrap
import patterns
import performance_utils as pu
import settings as settings_file
from desk.reader import Reader
from domain import candles as cd
from domain.candles import timeframe
from domain.clock import ManualClock, SystemClock, ago, speed_of
from domain.errors import SettingsError
from domain.instruments import instrument
from domain.quotes import Quote
from feeds.market import Market, open_market
from settings import Settings
from simulator.demo import __main__ as demo_line
from simulator.demo import market, person, room, script
from tests.browser.conftest import free_port
from tests.conftest import ROOT
from tests.toy_engine import ToyEngine, of_this_machine
from ui.desk_state import engine_words
from upkeep import presence

REAL = ManualClock().now()
DAY_S = (script.moment(script.ENDS) - script.moment(script.OPENS)).total_seconds()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return room.made(tmp_path / "demo-data")


def opened(folder: Path, hour: str = "") -> tuple[Market, ManualClock]:
    """The market of a demo, and real time; at that hour of its day, where one is named."""
    real = ManualClock()
    if hour:
        room.begin(folder, real.now())
        real.advance(seconds=(script.moment(hour) - script.moment(script.OPENS)).total_seconds() / script.SPEED)
    return open_market(Settings(data_dir=folder, demo_speed=script.SPEED), real), real


async def bars(here: Market, symbol: str, tf: str, count: int) -> pd.DataFrame:
    return (await here.window(instrument(symbol), timeframe(tf), bars=count)).candles


async def quote(here: Market, symbol: str) -> Quote:
    return (await here.feed.quotes([instrument(symbol)]))[symbol]


# The script


def test_the_day_is_sound_and_the_same_each_time() -> None:
    first, again = market.day(), market.day()

    assert first == again
    for symbol, rows in first.items():
        for at, begin, high, low, end, volume in rows:
            assert low <= min(begin, end) <= max(begin, end) <= high, (symbol, at)
            assert low > 0.9
            assert high < 1.1
            assert volume >= 1
    assert [len(first[s]) for s in ("AAPL", "NVDA")] == [390, 390 - 14]


def test_chapters_and_deeds_come_in_the_order_of_the_day() -> None:
    hours = [script.moment(one.at) for one in script.CHAPTERS]
    deeds = [at for at, _ in person.plan(person.Person(*[None] * 5))]  # type: ignore[arg-type]

    assert hours == sorted(hours)
    assert hours[0] == script.moment(script.OPENS)
    assert deeds == sorted(deeds)
    assert max(*hours, *deeds) < script.moment(script.ENDS)
    assert DAY_S / script.SPEED < 7 * 60


# The folder


def test_a_folder_that_is_somebody_elses_is_never_touched(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger-paper-simulated.db"
    ledger.write_bytes(b"mine")

    with pytest.raises(SettingsError, match="holds something that is no demo's"):
        room.made(tmp_path)

    assert ledger.read_bytes() == b"mine"


def test_a_link_to_another_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)

    with pytest.raises(SettingsError, match="is a link"):
        room.made(tmp_path / "link")


def test_a_file_or_a_demo_that_runs_there_is_left_as_it_is(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(SettingsError, match="is no folder"):
        room.made(tmp_path / "file")

    presence.enter(folder)
    try:
        running = subprocess.run(
            [
                sys.executable,
                "-c",
                f"from simulator.demo import room; from pathlib import Path; room.made(Path({str(folder)!r}))",
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=120,
        )
    finally:
        presence.leave(folder)

    assert "another demo runs in" in running.stderr
    assert (folder / room.INSIDE / room.DAY).is_file()


@pytest.mark.parametrize("asked", [["--speed", "0"], ["--speed", "nan"], ["--port", "99999"], ["--wait", "-1"]])
def test_a_figure_that_no_demo_can_have_is_refused_in_words(
    asked: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        demo_line._parser().parse_args(asked)

    assert f"{asked[0]}: " in (said := capsys.readouterr().err)
    assert f"got {asked[1]}" in said


def test_each_demo_begins_in_an_empty_folder(folder: Path) -> None:
    (folder / "ledger-paper-simulated.db").write_bytes(b"yesterday's")
    room.begin(folder, REAL)

    room.made(folder)

    assert [p.name for p in folder.rglob("*") if p.is_file()] == ["day.json"]


def test_speed_and_folder_belong_together(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is no demo's folder"):
        open_market(Settings(data_dir=tmp_path / "mine", demo_speed=60), ManualClock())
    with pytest.raises(SettingsError, match="belongs to `make demo`"):
        open_market(Settings(data_dir=folder), ManualClock())


def test_the_demos_dashboard_sees_none_of_our_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "ETRADE_ACCESS_TOKEN", "TRADING", "Smtp_Pass"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("LANG", "C.UTF-8")

    told = settings_file.without_ours(data_dir="demo-data")

    assert "secret" not in told.values()
    assert (told["DATA_DIR"], told["LANG"]) == ("demo-data", "C.UTF-8")


# The clock


def test_the_clock_stands_then_hurries_then_walks(folder: Path) -> None:
    here, real = opened(folder)
    real.advance(seconds=500)
    assert here.clock.now() == script.moment("09:22")

    room.begin(folder, real.now())
    time.sleep(0.06)  # it looks at the file every twentieth of a second
    assert here.clock.now() == script.moment("09:22")
    real.advance(seconds=8)
    assert here.clock.now() == script.moment("09:30")
    assert speed_of(here.clock) == 60
    assert ago(here.clock, script.moment("09:29")) == timedelta(seconds=1)
    real.advance(seconds=DAY_S / 60 - 8 + 30)
    assert here.clock.now() == script.moment(script.ENDS) + timedelta(seconds=30)
    assert speed_of(here.clock) == 1

    other, _ = opened(folder)
    assert other.clock.now() == script.moment("09:22")  # another machine's real time, but the same file
    assert speed_of(SystemClock()) == 1


def test_an_engine_that_beats_on_a_fast_clock_is_not_silent(folder: Path) -> None:
    here, _ = opened(folder, "12:00")
    toy = ToyEngine(folder, here.clock)
    toy.beat(timedelta(seconds=120))
    status = Reader(f"sqlite:///{folder / 'ledger-paper-simulated.db'}", here.clock).engine()

    assert engine_words(status, here.clock.now(), 0)["state"] == "silent"
    assert engine_words(status, here.clock.now(), 0, speed_of(here.clock))["state"] == "running"


# The market


async def test_what_is_written_is_what_is_seen_from_minutes_to_days(folder: Path) -> None:
    here, _ = opened(folder, script.ENDS)
    for symbol in script.PATHS:
        minutes, days = await bars(here, symbol, "1m", 2000), await bars(here, symbol, "1d", 3)
        opens = instrument(symbol).calendar.session_open(script.DAY)
        today = cd.between(minutes, opens, script.moment("16:00"))
        before = float(days["close"].iloc[-2])
        rows = market.day()[symbol]

        assert len(today) == len(rows)
        assert today["close"].to_numpy() == pytest.approx([row[4] * before for row in rows], abs=0.0051)
        last = days.iloc[-1]
        assert last["open"] == today["open"].iloc[0]
        assert (last["high"], last["low"]) == (today["high"].max(), today["low"].min())
        assert (last["close"], last["volume"]) == (today["close"].iloc[-1], today["volume"].sum())
        cd.check(minutes, instrument(symbol), timeframe("1m"))


async def test_what_the_script_promises_can_be_seen(folder: Path) -> None:
    here, _ = opened(folder, script.ENDS)
    tesla = await bars(here, "TSLA", "5m", 300)
    hammer = patterns.detect(tesla, ["Hammer"])["Hammer"]
    assert hammer.loc[pd.Timestamp(script.moment("10:20"))] == 100

    nvidia = await bars(here, "NVDA", "1d", 2)
    assert nvidia["open"].iloc[-1] / nvidia["close"].iloc[-2] == pytest.approx(0.979, abs=0.0005)
    minutes = await bars(here, "NVDA", "1m", 600)
    quiet = cd.between(minutes, script.moment("11:10"), script.moment("11:24"))
    assert quiet.empty
    halted, _ = opened(folder, "11:20")
    told = await quote(halted, "NVDA")
    assert halted.clock.now() - told.time >= timedelta(minutes=10)
    assert told.minute is None


async def test_no_price_of_the_future_is_told(folder: Path) -> None:
    here, _ = opened(folder, "10:07")
    seen = await bars(here, "AAPL", "1m", 2000)

    assert seen.index[-1] < here.clock.now()
    assert (await quote(here, "AAPL")).time <= here.clock.now()


async def test_other_symbols_and_other_desks_have_the_prices_they_always_had(folder: Path, settings: Settings) -> None:
    here, _ = opened(folder, script.ENDS)
    plain = settings.model_copy(update={"simulated_start": script.moment(script.ENDS).isoformat()})
    usual = open_market(plain, ManualClock())

    pd.testing.assert_frame_equal(await bars(here, "KO", "5m", 100), await bars(usual, "KO", "5m", 100))
    assert not (await bars(here, "AAPL", "5m", 50)).equals(await bars(usual, "AAPL", "5m", 50))
    with pytest.raises(SettingsError, match="cannot skip"):
        here.skip_to_open()


# On the page


@pytest.fixture
def page(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[AppTest]:
    for name, value in (("DATA_DIR", str(folder)), ("DEMO_SPEED", "60")):
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(ROOT)
    for kept in (bootstrap.people, bootstrap._trading):
        kept.cache_clear()
    monkeypatch.setattr(bootstrap, "_started", None)
    room.begin(folder, SystemClock().now() - timedelta(seconds=DAY_S / 60 + 5))
    of_this_machine(folder)
    yield AppTest.from_file(str(ROOT / "pages" / "alerts.py"), default_timeout=60)
    for kept in (bootstrap.people, bootstrap._trading):
        kept.cache_clear()
    pu.use_desk(None)


def test_every_page_says_that_it_is_a_demo_and_at_the_end_how_the_day_went(page: AppTest) -> None:
    page.run()

    assert not page.exception
    html = "".join(str(one.proto.body) for one in page.get("html"))
    assert "DEMO · SIMULATED PRICES · A CLOCK 60 TIMES AS FAST: NOTHING HERE IS REAL" in html
    assert "16:02 New York · The close." in html
    assert "The day: Wed 18 Nov" in html


# The program


def started(folder: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "simulator.demo", "--port", str(free_port()), "--folder", str(folder), *more]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def until_said(demo: subprocess.Popen[str], words: str) -> str:
    told = ""
    assert demo.stdout is not None
    for line in demo.stdout:
        told += line
        if words in line:
            return told
    raise AssertionError(told)


def left_of(folder: Path) -> list[str]:
    """Processes that have to do with this folder, read from /proc."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and int(entry.name) != os.getpid() and os.readlink(entry / "cwd") == str(folder):
                found.append((entry / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


ENDS = {
    "Ctrl+C": signal.SIGINT,
    "a terminal that closes": signal.SIGHUP,
    "SIGTERM": signal.SIGTERM,
    "killed outright": signal.SIGKILL,
}


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="it looks at /proc")
@pytest.mark.parametrize("way", list(ENDS))
def test_nothing_of_it_runs_on(tmp_path: Path, way: str) -> None:
    folder = tmp_path / "demo-data"
    demo = started(folder)
    until_said(demo, "Open http://127.0.0.1:")
    assert left_of(folder)

    demo.send_signal(ENDS[way])
    code = demo.wait(30)

    end = time.monotonic() + 20
    while left_of(folder) and time.monotonic() < end:
        time.sleep(0.1)
    assert left_of(folder) == []
    assert code == (-signal.SIGKILL if way == "killed outright" else 0)


def test_it_refuses_a_folder_that_holds_something_else(tmp_path: Path) -> None:
    (tmp_path / "ledger-paper-simulated.db").write_bytes(b"mine")

    demo = started(tmp_path)
    told, _ = demo.communicate(timeout=60)

    assert demo.returncode == 2
    assert "no demo's" in told
    assert [p.name for p in tmp_path.iterdir()] == ["ledger-paper-simulated.db"]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_whole_day_trades_stops_refuses_and_ends_with_its_figures(tmp_path: Path) -> None:
    """With the real engine, at the speed of the demo; nothing of it depends on how fast this machine is."""
    folder = tmp_path / "demo-data"
    demo = started(folder, "--wait", "0")
    try:
        told = until_said(demo, "The day is over.")
    finally:
        demo.terminate()
        demo.wait(30)

    assert told.count("Adopts") == 3
    assert "Buys 35 MSFT" in told
    assert "venue's time" in told  # the silence: NVDA was refused
    assert "Limits the day's loss to" in told
    assert "Wed 18 Nov: " in told
    assert json.loads((folder / "demo" / "begun.json").read_text())["begun"]
