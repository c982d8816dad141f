"""The benchmarks run and write what they found; no time is ever asserted."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from benchmarks import __main__ as bench
from benchmarks import etrade_orders, watched_engine
from benchmarks.etrade_orders import ANSWERED, ELSE, WAITED
from benchmarks.report import Goal, Section, Spread, Table, write
from benchmarks.watched_engine import Seen

ORDER = ["first", "second"]


def section(words: str) -> Section:
    return Section(f"About {words}", "How.", Table(["A"], [[words]]), [Goal("least", 0.5, 0.25)])


@pytest.mark.parametrize("module", bench.MEASUREMENTS.values())
def test_every_measurement_is_there(module: str) -> None:
    assert callable(importlib.import_module(module).measure)


def test_the_cheap_ones_run_and_are_written_down(tmp_path: Path) -> None:
    out = tmp_path / "RESULTS.md"

    failed = bench.main(["store", "fetch", "indicators", "--quick", "--out", str(out)])

    assert failed == 0
    text = out.read_text(encoding="utf-8")
    assert [text.count(f"<!-- {name} -->") for name in ("fetch", "store", "indicators")] == [1, 1, 1]
    assert "Python " in text.split("##")[0]
    assert str(Path.home()) not in text


def test_measuring_again_replaces_its_own_section_only(tmp_path: Path) -> None:
    out = tmp_path / "RESULTS.md"
    write(out, "second", section("two"), ORDER)
    write(out, "first", section("one"), ORDER)
    write(out, "second", section("three"), ORDER)

    text = out.read_text(encoding="utf-8")

    assert text.index("About one") < text.index("About three")
    assert "About two" not in text


def test_an_unknown_measurement_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench.main(["sped"])

    assert "there are live, browser" in capsys.readouterr().err


def test_a_spread_shows_all_three_in_one_unit() -> None:
    assert Spread.of([0.0031, 0.0029, 0.012]).time() == "3.1 ms (2.9–12)"


@pytest.mark.parametrize(("seen", "verdict"), [(0.25, "met"), (0.5, "met"), (0.51, "**not met**")])
def test_a_goal_says_whether_it_was_met(seen: float, verdict: str) -> None:
    assert Goal("least", 0.5, seen).row()[-1] == verdict


def test_time_is_told_apart_by_what_the_calls_did_then() -> None:
    calls = [
        Seen("the preview", "orders", wanted=1.0, let=2.0, done=2.5),
        Seen("the order", "orders", wanted=2.25, let=2.75, done=3.0),
        Seen("quotes", "market", wanted=0.0, let=0.0, done=9.0),
    ]

    assert etrade_orders.split(calls, 0.5, 4.0) == {WAITED: 1.5, ANSWERED: 0.5, ELSE: 1.5}


def test_only_the_last_life_of_an_engine_counts(tmp_path: Path) -> None:
    call = '{"what": "the preview", "module": "orders", "wanted": 3.0, "let": 3.0, "done": 4.0}'
    notes = tmp_path / "notes"
    notes.write_text(f'{{"began": 1.0}}\n{{"ready": 2.0}}\n{call}\n{{"began": 5.0}}\n{call}\n', encoding="utf-8")

    read = watched_engine.read(notes)

    assert (read.began, read.ready, len(read.calls)) == (5.0, 0.0, 1)
