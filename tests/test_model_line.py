"""ui/model_line.py: what a model says of a chart's bars, when it abstains, and that this is worked out once a bar."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from domain import candles as cd
from domain.instruments import instrument
from domain.models import use_shelf
from model_manager import ModelManager, Shelf
from tests import made_models
from ui import charts, model_line
from ui.live import read_view
from ui.views import View

BTC = instrument("BTCUSDT")
AFTER = pd.Timestamp("2024-01-01", tz="UTC").value


@pytest.fixture
def champion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelManager]:
    manager, entry = made_models.saved(tmp_path)
    manager.point("champion", entry.called)
    before = use_shelf(Shelf(manager))
    monkeypatch.setattr(model_line, "_facts", (float("-inf"), ""))
    monkeypatch.setattr(model_line, "WAIT_S", 20.0)
    model_line._kept.clear()
    yield manager
    use_shelf(before)
    model_line._kept.clear()


def live(candles: pd.DataFrame, tf: str = "1h", revision: str = "r1") -> Any:
    return SimpleNamespace(closed=candles, instrument=BTC, tf=cd.timeframe(tf), revision=revision)


def test_the_champion_says_its_probability_with_version_and_age(champion: ModelManager) -> None:
    candles = made_models.hours(120, begin=AFTER)

    said = model_line.said(live(candles))

    p = champion.load("champion").predict(candles)[-1, 1]
    assert said.words.startswith(f"Model v1: up {100 * p:.0f} % · trained ")
    assert said.words.endswith(" on 1h BTCUSDT")
    [line] = said.lines.values()
    assert line[-1] == pytest.approx(100 * p, abs=0.06)
    assert np.isnan(line[:50]).all()


def test_bars_it_learned_from_are_told_apart(champion: ModelManager) -> None:
    begin = pd.Timestamp("2023-12-27", tz="UTC").value
    candles = made_models.hours(120, begin=begin)

    said = model_line.said(live(candles))

    counts, learned = said.lines.values()
    until = pd.Timestamp("2023-12-30", tz="UTC")
    assert np.isnan(counts[candles.index < until]).all()
    assert np.isnan(learned[candles.index >= until]).all()
    assert np.isfinite(learned).any()
    assert said.trail(list(said.lines)[1]).startswith(" · it learned from this bar")


def test_other_bars_are_not_asked_about_and_the_reason_is_said(champion: ModelManager) -> None:
    said = model_line.said(live(made_models.hours(120), tf="5m"))

    assert said.words == "Model abstains: model v1 reads 1h bars; this chart shows 5m"
    assert said.lines == {}


def test_too_few_bars_are_a_reason(champion: ModelManager) -> None:
    said = model_line.said(live(made_models.hours(30, begin=AFTER)))

    assert said.words.startswith("Model abstains: pattern_nn_v1 needs ")


def test_without_a_champion_the_way_to_one_is_said(tmp_path: Path, champion: ModelManager) -> None:
    use_shelf(Shelf(ModelManager(tmp_path / "empty", champion.clock)))

    assert "no model is the champion yet" in model_line.said(live(made_models.hours(120))).words


def test_it_is_worked_out_once_a_bar(champion: ModelManager, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    work = model_line.of
    monkeypatch.setattr(model_line, "of", lambda *given: (asked.append(len(given[1])), work(*given))[1])
    candles = made_models.hours(121, begin=AFTER)

    first = [model_line.said(live(candles.iloc[:120])).key for _ in range(5)]
    model_line.said(live(candles, revision="r2"))

    assert asked == [120, 121]
    assert len(set(first)) == 1


def test_a_model_that_breaks_leaves_the_chart_as_it_is(champion: ModelManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_line, "of", lambda *_: 1 / 0)

    assert model_line.said(live(made_models.hours(120))).words == "Model abstains: division by zero"


def test_what_it_says_stands_in_a_panel_of_its_own_with_its_hover_text() -> None:
    candles = made_models.hours(100)
    line = np.linspace(45.0, 70.0, 100)
    verbs = np.array([f"up {v:.0f} %" for v in line], dtype=object)
    said = model_line.Said("k", "Model v3: up 70 %", {"model v3 up, %": line}, verbs, "model v3: ", "trained today")

    figure, about = charts.base(candles, BTC, View(tf="1h", bars=60, model=True), said=said)

    drawn = figure.data[about["lines"]["model v3 up, %"]]
    assert drawn.yaxis == "y3"
    assert list(drawn.text)[-1] == "up 70 %"
    assert drawn.hovertemplate == "model v3: %{text} · trained today<extra></extra>"
    assert figure.layout.yaxis3.range == (40.0, 72.0)
    assert about["words"] == {"model v3 up, %": ["model v3: ", " · trained today"]}
    assert "Model v3: up 70 %" in {note.text for note in figure.layout.annotations}


def test_a_view_asks_for_the_model_beside_its_indicators() -> None:
    view = read_view({"tf": "1h", "studies": "rsi:14,model"})

    assert view.model
    assert [study.name for study in view.studies] == ["rsi"]
    assert not replace(view, model=False).model
