"""What many tests stand on: an empty data folder, a clock that obeys, and real candles where they are at hand."""

from __future__ import annotations

import gc
import os
import shutil
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from domain.clock import ManualClock
from feeds.files import FilesFeed
from feeds.market import Market
from feeds.store import CandleStore
from performance_utils import Desk, use_desk
from settings import Settings
from tests.fakes import ScriptedFeed

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"
MEMORY = Path("/dev/shm")
ROOM = 2 << 30  # bytes


# How long an example takes says something about the machine, nothing about the code.
hypothesis.settings.register_profile("desk", deadline=None)
hypothesis.settings.load_profile("desk")


def pytest_configure() -> None:
    """Temporary folders lie in memory where there is room: a ledger waits for the disk at every commit, some ten
    thousand times in a suite, and no test is about a power cut."""
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))
    gc.disable()  # what is collected now stays until the end


def pytest_collection_finish() -> None:
    """Six thousand tests and all that they import are no garbage: nobody need look through them again and again."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Who runs what, where there are several processes."""
    from tests.sharing_out import ByUnit

    return ByUnit(config, log) if config.getvalue("dist") == "loadgroup" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes longest begins first, so that nobody waits for it at the end."""
    from tests.sharing_out import rank

    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: rank(item.nodeid))


@pytest.fixture(autouse=True)
def _no_outside_settings(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test reads the developer's own .env, environment or models."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setitem(Settings.model_config, "env_file", None)
    # A page under test becomes `__main__`, which processes started later would import once more, outside of any test.
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    if "bootstrap" in sys.modules:  # no test meets the accounts of another
        sys.modules["bootstrap"].accounts.cache_clear()
    monkeypatch.setenv("MODELS_DIR", str(tmp_path_factory.getbasetemp() / "no-models"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings over an empty folder; the simulated market starts on a Friday morning."""
    return Settings(data_dir=tmp_path / "data", simulated_start="2026-11-20T10:30")


@pytest.fixture
def clock() -> ManualClock:
    """Friday 20 November 2026, 10:30 New York."""
    return ManualClock(datetime(2026, 11, 20, 15, 30, tzinfo=UTC))


@pytest.fixture
def shared() -> Path:
    """Real candles, where this machine has them."""
    if not SHARED.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"CI must have the real candles in {SHARED.name}")
        pytest.skip("the real candles are not on this machine")
    return SHARED


@pytest.fixture
def feed(clock: ManualClock) -> ScriptedFeed:
    """A feed that says what the test tells it to."""
    return ScriptedFeed(clock)


@pytest.fixture
def desk(settings: Settings, clock: ManualClock, feed: ScriptedFeed) -> Iterator[Desk]:
    """The process's desk over the scripted feed, with real files and a real store in an empty folder."""
    market = Market(FilesFeed(settings, clock), CandleStore(settings.store_dir, clock), feed, clock)
    desk = Desk(settings, market=market)
    use_desk(desk)
    yield desk
    use_desk(None)
