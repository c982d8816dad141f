"""The backtest page: what is asked becomes one job, and whatever becomes of the job is shown."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

import backtest  # noqa: F401 - AppTest puts pages/ first on the path, where a page has this name
import bootstrap
import performance_utils as pu
import strategies
from research.jobs import Job, Jobs
from research.study import Asked, Chosen
from tests import studies
from tests.conftest import ROOT
from ui import backtest_page

PAGE = str(ROOT / "pages" / "backtest.py")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A newcomer's machine, and nobody who works on jobs: what becomes of them is each test's to say."""
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SIMULATED_START", "2026-11-20T10:30")
    monkeypatch.chdir(ROOT)
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])  # AppTest leaves the page there
    monkeypatch.setattr(Jobs, "_hire", lambda *_: None)
    bootstrap.people.cache_clear()
    monkeypatch.setattr(bootstrap, "_started", None)
    yield tmp_path / "data"
    bootstrap.people.cache_clear()
    pu.use_desk(None)


def opened(**query: str) -> AppTest:
    at = AppTest.from_file(PAGE, default_timeout=60)
    for name, value in query.items():
        at.query_params[name] = value
    return ran(at)


def ran(at: AppTest) -> AppTest:
    at.run()
    assert not at.exception, at.exception
    return at


def asked() -> list[Job]:
    return backtest_page.jobs().latest("backtest", 50)


def over(job: Job, state: str, error: str = "") -> None:
    jobs = backtest_page.jobs()
    taken = jobs.claim("w", "backtest", os.getpid())
    assert taken is not None
    assert taken.id == job.id
    jobs.finish("w", job.id, state, error=error)


def answered(**about: bool) -> Job:
    """A job that is done, its answer a real study."""
    study = studies.study(**about)
    job = backtest_page.jobs().start("backtest", study.asked.to_dict())
    study.save(job.folder)
    over(job, "done")
    return job


def said(at: AppTest) -> str:
    parts = (at.markdown, at.caption, at.info, at.warning, at.error, at.title, at.subheader)
    return "\n".join(str(one.value) for kind in parts for one in kind)


def field(at: AppTest, label: str) -> object:
    return next(one for one in at.number_input if one.label == label)


# Asking


def test_a_newcomer_is_told_what_will_appear_and_where_candles_come_from() -> None:
    at = opened(job="20200101-000000-abcd")

    assert "not there any more" in at.warning[0].value
    assert "Nothing asked yet" in said(at)
    assert "your own files" in said(at)
    assert next(s for s in at.selectbox if s.label == "Prices from").value == "simulated"


def test_running_twice_is_one_job_and_the_address_holds_it() -> None:
    at = opened()
    at.button(key="bt_go_button").click().run()
    [job] = asked()
    at.button(key="bt_go_button").click().run()

    assert [one.id for one in asked()] == [job.id]
    assert at.query_params["job"] == job.id
    question = Asked.of(job.asked)
    assert (question.symbols, question.source) == (("AAPL",), "simulated")
    assert question.strategies[0].label == "sma_crossover 10/30"
    assert "Waiting" in said(at)


def test_a_strategy_file_that_cannot_be_loaded_is_named_and_the_others_are_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_written.py").write_text("def target(:\n", encoding="utf-8")
    (tmp_path / "no_words.py").write_text("class Mine:\n    pass\n\n\nPART = Mine\n", encoding="utf-8")
    monkeypatch.setattr(strategies, "__path__", [*strategies.__path__, str(tmp_path)])

    at = opened()

    assert [one.value.replace("\\", "") for one in at.warning] == [
        "The strategy half_written is left out: strategies/half_written.py cannot be loaded: "
        "SyntaxError: invalid syntax (half_written.py, line 1)",
        "The strategy no_words is left out: type object 'Mine' has no attribute 'label'",
    ]
    offered = next(one for one in at.selectbox if one.label == "Strategy 1").options
    assert "SMA crossover" in offered
    assert not {"half_written", "no_words"} & set(offered)


def test_what_is_wrong_is_named_beside_the_field_and_nothing_is_lost() -> None:
    at = opened()
    field(at, "fast").set_value(60)  # type: ignore[attr-defined]
    field(at, "Starting cash").set_value(5_000.0)  # type: ignore[attr-defined]
    at.button(key="bt_go_button").click().run()

    assert asked() == []
    assert [e.value.replace("\\", "") for e in at.error] == [
        "Strategy 1: slow must exceed fast: got 60 and 30",
        "Nothing was started. Mend the strategy that is marked above.",
    ]
    assert field(at, "fast").value == 60  # type: ignore[attr-defined]
    assert field(at, "Starting cash").value == 5_000.0  # type: ignore[attr-defined]


def test_strategies_costs_exits_and_a_sweep_become_the_question() -> None:
    at = opened()
    next(b for b in at.button if b.label == "Add a strategy beside it").click().run()
    next(s for s in at.selectbox if s.label == "Strategy 2").set_value("mean_reversion").run()
    next(s for s in at.selectbox if s.label == "Stop").set_value("atr").run()
    next(r for r in at.radio if r.label.startswith("An exposure")).set_value("risk").run()
    field(at, "How many").set_value(1.5)  # type: ignore[attr-defined]
    field(at, "a share").set_value(0.005)  # type: ignore[attr-defined]
    field(at, "length").set_value(15)  # type: ignore[attr-defined]
    next(t for t in at.toggle if t.label.startswith("Try every")).set_value(True).run()
    at.button(key="bt_go_button").click().run()

    [job] = asked()
    found = Asked.of(job.asked)
    assert [one.label for one in found.strategies] == ["sma_crossover 10/30", "mean_reversion length=15"]
    assert found.setup.stop is not None
    assert (found.setup.stop.kind, found.setup.stop.amount, found.setup.sizing) == ("atr", 1.5, "risk")
    assert str(found.setup.fills.commission.per_share) == "0.005"
    assert found.sweep is not None
    assert list(found.sweep) == ["fast", "slow"]


# What became of it


def test_an_answer_stands_with_its_verdicts_figures_and_trades() -> None:
    job = answered(swept=True)

    at = opened(job=job.id)

    text = said(at)
    assert "the lead is within luck" in text
    assert "## ◐ WEAK" in text
    assert "## ✖ FAIL" in text
    assert "Cure of random entries." in text
    table = at.dataframe[0].value
    assert list(table.columns) == ["sma_crossover 5/15", "sma_crossover 10/30", "buy and hold"]
    assert any("★" in cell for cell in table.loc["Sharpe"])
    trades = at.dataframe(key=f"bt_trades_{job.id}_0").value
    assert {"MAE", "MFE", "Why out"} <= set(trades.columns)
    assert len([one for one in at.get("bidi_component") if one.proto.component_name == "desk_figure"]) == 7
    assert "Robust centre" in text
    assert "SIMULATED" not in text
    assert field(at, "fast").value == 5  # type: ignore[attr-defined]


def test_a_job_without_an_answer_says_why_and_can_be_run_again() -> None:
    question = Asked(("MSFT",), strategies=(Chosen("mean_reversion", {"length": 12}),))
    jobs = {}
    for state in ("failed", "cancelled", "lost"):
        jobs[state] = backtest_page.jobs().start("backtest", question.to_dict())
        over(jobs[state], state, "Its process (7) is gone." if state == "lost" else "")

    told = {state: said(opened(job=job.id)) for state, job in jobs.items() if state != "lost"}
    at = opened(job=jobs["lost"].id)
    told["lost"] = said(at)
    at.button(key="bt_again").click().run()

    assert "It failed, so there is no answer." in told["failed"]
    assert "It was cancelled, so there is no answer." in told["cancelled"]
    assert "It was lost, so there is no answer.** Its process (7) is gone." in told["lost"]
    again = asked()[0]
    assert again.id not in {job.id for job in jobs.values()}
    assert Asked.of(again.asked).strategies[0].label == "mean_reversion length=12"
    assert at.query_params["job"] == again.id


def test_a_running_job_shows_its_words_and_can_be_cancelled() -> None:
    job = backtest_page.jobs().start("backtest", Asked(("AAPL",)).to_dict())
    backtest_page.jobs().claim("w", "backtest", os.getpid())
    backtest_page.jobs().alive("w", job.id, 0.4, "random entries: 400 of 1,000")

    at = opened(job=job.id)
    bar = at.get("progress")[0].proto
    at.button(key="bt_cancel").click().run()

    assert (bar.value, bar.text) == (40, "40% · Random entries\\: 400 of 1,000")
    assert asked()[0].cancel
    assert "Being cancelled" in at.get("progress")[0].proto.text


# Earlier ones


def test_earlier_answers_are_compared_and_removed() -> None:
    first, second = answered(), answered(simulated=True)
    at = opened()
    at.checkbox(key=f"bt_tick_{first.id}").check().run()
    at.checkbox(key=f"bt_tick_{second.id}").check().run()
    at.button(key="bt_compare").click().run()

    table = at.dataframe[0].value
    assert len(table.columns) == 6
    assert table.columns[0] == "A · sma_crossover 5/15"
    assert "★" not in table.to_string()
    assert any("Not like for like" in w.value for w in at.warning)
    assert at.warning[0].value.startswith("## SIMULATED")

    at.button(key=f"bt_remove_{first.id}").click().run()
    assert [one.id for one in asked()] == [second.id]
    assert not first.folder.exists()
