"""desk/people.py: what people chose is still there tomorrow."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from desk.people import MOST_WATCHED, People
from domain.errors import DeskError, SettingsError


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'deep' / 'people.db'}"


def test_a_watch_list_survives_a_restart_in_its_order(url: str) -> None:
    first = People(url, ("AAPL", "MSFT"))
    first.watch("NVDA")
    first.unwatch("AAPL")

    assert People(url, ("SPY",)).watchlist() == ["MSFT", "NVDA"]


def test_nobody_else_on_this_machine_reads_where_people_are_reached(tmp_path: Path) -> None:
    path = tmp_path / "people.db"
    path.touch(0o644)

    People(f"sqlite:///{path}").prefer("addresses", {"email": "ada@example.com"}, "ada")

    assert path.stat().st_mode & 0o077 == 0


def test_who_never_chose_sees_the_first_watch_list(url: str) -> None:
    assert People(url, ("AAPL",)).watchlist() == ["AAPL"]


def test_an_emptied_watch_list_stays_empty(url: str) -> None:
    people = People(url, ("AAPL",))
    people.unwatch("AAPL")

    assert People(url, ("AAPL",)).watchlist() == []


def test_adding_twice_and_removing_nothing_change_nothing(url: str) -> None:
    people = People(url, ("AAPL",))
    people.watch("AAPL")
    people.unwatch("TSLA")

    assert people.watchlist() == ["AAPL"]


def test_a_watch_list_has_an_end(url: str) -> None:
    people = People(url, [f"S{n}" for n in range(MOST_WATCHED)])

    with pytest.raises(DeskError, match="at most 60 symbols; remove one first"):
        people.watch("ONEMORE")


def test_preferences_are_kept_by_person(url: str) -> None:
    people = People(url)
    people.prefer("palette", "blue-orange")
    people.prefer("palette", "green-red")
    people.prefer("palette", "red-green", person="other")

    assert People(url).preferences() == {"palette": "green-red"}


def test_tabs_that_add_at_the_same_moment_all_keep_their_symbol(url: str) -> None:
    People(url)
    symbols = [f"S{n}" for n in range(40)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda symbol: People(url).watch(symbol), symbols))

    assert sorted(People(url).watchlist()) == sorted(symbols)
    assert People(url).preferences() == {"watchlist_chosen": True}


def test_a_folder_that_cannot_be_written_is_named_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"no folder")

    with pytest.raises(SettingsError, match=r"data cannot be written .*DATA_DIR"):
        People(f"sqlite:///{tmp_path / 'data' / 'people.db'}")
