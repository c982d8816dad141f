"""Every page opens, alone and from the front door, and remembers what was chosen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import backtest  # noqa: F401 - AppTest puts pages/ first on the path, where a page has this name
import bootstrap
import performance_utils as pu
from tests.conftest import ROOT

PAGES = sorted((ROOT / "pages").glob("*.py"))


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A newcomer's machine: an empty data folder, the simulated market open."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SIMULATED_START", "2026-11-20T10:30")
    monkeypatch.chdir(ROOT)
    bootstrap.people.cache_clear()
    monkeypatch.setattr(bootstrap, "_started", None)
    yield tmp_path / "data"
    bootstrap.people.cache_clear()
    pu.use_desk(None)


def opened(path: Path) -> AppTest:
    at = AppTest.from_file(str(path), default_timeout=60).run()
    assert not at.exception, at.exception
    return at


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.stem)
def test_every_page_opens_alone(path: Path) -> None:
    opened(path)


def test_the_front_door_opens_on_the_live_dashboard() -> None:
    at = opened(ROOT / "streamlit_dashboard.py")

    assert [tab.label for tab in at.tabs] == ["Orders of the day", "Patterns on this chart", "Pattern edge", "Tell me"]
    assert "Simulated market" in at.caption[0].value


def test_the_choice_of_timeframe_and_overlays_is_remembered() -> None:
    at = opened(ROOT / "pages" / "live_dashboard.py")
    at.segmented_control(key="desk_tf").set_value("1h").run()
    at.pills(key="desk_panels").set_value(["RSI"]).run()

    again = opened(ROOT / "pages" / "live_dashboard.py")

    assert again.segmented_control(key="desk_tf").value == "1h"
    assert again.pills(key="desk_panels").value == ["RSI"]


def test_an_empty_watch_list_says_what_to_do() -> None:
    for symbol in bootstrap.people().watchlist():
        bootstrap.people().unwatch(symbol)

    at = opened(ROOT / "pages" / "live_dashboard.py")

    assert at.subheader[0].value == "No symbols yet"


def test_another_data_source_is_kept_and_wins_over_the_environment() -> None:
    at = opened(ROOT / "pages" / "settings.py")
    at.radio(key="desk_source_simulated_0").set_value("files").run()

    assert bootstrap.start().market.name == "files"
    assert bootstrap.effective_settings().data_source == "files"
    assert opened(ROOT / "pages" / "settings.py").radio(key="desk_source_files_0").value == "files"


def test_a_source_that_lacks_a_setting_changes_nothing() -> None:
    at = opened(ROOT / "pages" / "settings.py")
    at.radio(key="desk_source_simulated_0").set_value("http").run()

    assert "CANDLES_URL" in at.error[0].value
    assert bootstrap.start().market.name == "simulated"
    assert bootstrap.people().preference("data_source") is None


def test_colours_and_zone_are_kept() -> None:
    at = opened(ROOT / "pages" / "settings.py")
    at.radio(key="desk_palette").set_value("green-red").run()

    assert bootstrap.people().preferences()["palette"] == "green-red"


def test_refused_files_are_listed_with_the_cure(home: Path) -> None:
    (home / "ohlcv").mkdir(parents=True)
    (home / "ohlcv" / "AAPL.csv").write_text("date,open,high,low,close,volume\n2024-12-30,5,4,6,5,1\n")

    at = opened(ROOT / "pages" / "settings.py")

    assert at.error[0].value == "1 of your files is not used."
    refused = at.dataframe[0].value
    assert list(refused["File"]) == ["AAPL.csv"]
    assert refused["Row"][0] == "2"


def test_etrade_that_is_off_says_what_to_write_where() -> None:
    at = AppTest.from_file(str(ROOT / "pages" / "settings.py"), default_timeout=60)
    at.query_params["tab"] = "E*TRADE"
    at.run()

    assert not at.exception, at.exception
    assert any("ETRADE_CONSUMER_KEY" in text.value for text in at.markdown)
