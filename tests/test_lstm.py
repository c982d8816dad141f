"""A trained model as a strategy: the same answer bar by bar as in one batch, and none where none is honest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import backtester
from domain import models
from domain.candles import expected, resample, timeframe
from domain.clock import ManualClock
from domain.instruments import instrument
from domain.models import ModelFacts, use_shelf
from learning.features import WARMUP
from model_manager import ModelManager, Shelf
from strategies.base import Floats, Wanted, asked
from strategies.lstm import Lstm
from tests.made_models import HOUR, hours, saved

CANDLES = hours(420)
AAPL = instrument("AAPL")
SESSION_END = pd.Timedelta("30min")  # the last hourly bar of a session opens half an hour before its close


@pytest.fixture(autouse=True)
def _shelf(tmp_path: Path) -> Iterator[None]:
    """An empty one, until a test puts a model on it."""
    before = use_shelf(Shelf(ModelManager(tmp_path / "models", ManualClock())))
    yield
    use_shelf(before)


def champion(folder: Path, **more: Any) -> None:
    manager, entry = saved(folder / "models", **more)
    manager.point("champion", entry.called)
    use_shelf(Shelf(manager))


def wants_nothing(wanted: Wanted, why: str) -> None:
    assert not wanted.exposure.any()
    assert not wanted.confidence.any()
    assert why in wanted.why(-1)


@pytest.mark.parametrize("backbone", ["lstm", "gru"])
def test_bar_by_bar_it_says_what_it_says_in_one_batch(tmp_path: Path, backbone: str) -> None:
    """To the last digit, whatever the length of the history behind it."""
    champion(tmp_path, backbone=backbone)
    strategy, model = Lstm(hold=8, short=True), models.shelf().model("champion")
    whole, p = asked(strategy, CANDLES), model.predict(CANDLES)

    assert {-1.0, 0.0, 1.0} == set(whole.exposure.tolist())
    for row in range(0, 420, 19):
        for begin in (0, max(0, row - 4 * strategy.warmup), max(0, row - strategy.warmup)):
            window = CANDLES.iloc[begin : row + 1]
            part = asked(strategy, window)
            enough = row - begin >= strategy.warmup
            assert part.exposure[-1] == (whole.exposure[row] if enough else 0.0)
            if enough:
                assert part.confidence[-1] == whole.confidence[row]
                assert np.array_equal(model.predict(window)[-1], p[row])


@pytest.mark.parametrize("cut", [0, 57, 58, 200, 301, 419])
def test_no_later_bar_changes_an_answer(tmp_path: Path, cut: int) -> None:
    champion(tmp_path)
    model = models.shelf().model("champion")
    other = CANDLES.copy()
    other.iloc[cut:] = hours(420, seed=9).iloc[cut:] * 3.0

    assert np.array_equal(model.predict(CANDLES)[:cut], model.predict(other)[:cut], equal_nan=True)
    assert np.array_equal(model.predict(CANDLES)[:cut], model.predict(CANDLES.iloc[:cut]), equal_nan=True)
    whole, part = asked(Lstm(), CANDLES), asked(Lstm(), other)
    assert np.array_equal(whole.exposure[:cut], part.exposure[:cut])
    assert np.array_equal(whole.confidence[:cut], part.confidence[:cut])


def test_many_symbols_in_one_call_hear_what_each_hears_alone(tmp_path: Path) -> None:
    champion(tmp_path)
    model = models.shelf().model("champion")
    gap, still = CANDLES.drop(CANDLES.index[-3]), CANDLES.assign(close=100.0)
    frames = [CANDLES.iloc[:n] for n in (0, 20, WARMUP + 5, WARMUP + 6, 200, 420)] + [hours(300, seed=4), gap, still]

    together = model.latest(frames)

    alone = [model.predict(frame)[-1] if len(frame) else np.full(2, np.nan) for frame in frames]
    assert np.array_equal(together, np.array(alone), equal_nan=True)
    assert np.isfinite(together[:, 0]).tolist() == [False, False, False, True, True, True, True, False, False]
    assert np.isnan(model.latest([])).all()


def test_its_probabilities_are_whole_and_begin_with_the_first_full_window(tmp_path: Path) -> None:
    champion(tmp_path)
    model = models.shelf().model("champion")
    p = model.predict(CANDLES)
    first = int(np.flatnonzero(np.isfinite(p[:, 0]))[0])

    assert first == model.facts.warmup - 1 == WARMUP + 6 - 1
    assert np.isfinite(p[first:]).all()
    assert np.allclose(p[first:].sum(axis=1), 1.0, atol=2e-6)


def test_without_a_model_it_wants_nothing_and_says_how_to_get_one() -> None:
    wants_nothing(asked(Lstm(), CANDLES), "no model is the champion yet: train one")
    wants_nothing(asked(Lstm(version=3), CANDLES), "there is no model pattern_nn_v3")
    assert Lstm().warmup >= 1


def test_a_damaged_model_wants_nothing(tmp_path: Path) -> None:
    champion(tmp_path)
    path = tmp_path / "models" / "pattern_nn_v1.pth"
    path.write_bytes(path.read_bytes()[:-1])

    wants_nothing(asked(Lstm(), CANDLES), "pattern_nn_v1.pth is torn")


def test_a_model_of_other_features_wants_nothing(tmp_path: Path) -> None:
    champion(tmp_path)
    path = tmp_path / "models" / "pattern_nn_v1.json"
    said = json.loads(path.read_text())
    said["features"]["spec_sha256"] = "0" * 64
    path.write_text(json.dumps(said))

    wants_nothing(asked(Lstm(), CANDLES), "was trained on other features (version 1")


def test_a_stale_model_wants_nothing_from_the_bar_on_at_which_it_is(tmp_path: Path) -> None:
    champion(tmp_path, data={"symbols": ["BTCUSDT"], "end": "2024-01-01T00:00:00+00:00"})
    wanted = asked(Lstm(max_age_days=10, enter=0.51), CANDLES)

    assert wanted.exposure[:241].any()  # 240 hours are ten days
    assert not wanted.exposure[241:].any()
    assert "is stale: its data end on 2024-01-01, more than 10 days before" in wanted.why(-1)


def test_of_bars_it_learned_from_it_says_nothing_unless_told_to(tmp_path: Path) -> None:
    spans = {part: ["2023-01-01", "2023-01-02"] for part in ("train", "val", "test")}
    split = {**spans, "calib": ["2023-12-01", "2024-01-11T00:00:00+00:00"], "scheme": "chronological"}
    champion(tmp_path, split={**split, "embargo_bars": 6}, data={"symbols": ["BTCUSDT"], "end": "2024-02-01"})
    wanted = asked(Lstm(enter=0.51), CANDLES)

    assert not wanted.exposure[:240].any()
    assert wanted.exposure[240:].any()
    assert "learned from bars up to 2024-01-11: its word on 2024-01-09 proves nothing" in wanted.why(200)
    assert asked(Lstm(enter=0.51, unseen=False), CANDLES).exposure[:240].any()


def test_of_bars_of_another_length_it_says_nothing(tmp_path: Path) -> None:
    champion(tmp_path)
    longer = resample(CANDLES, timeframe("4h"), instrument("BTCUSDT"))

    wants_nothing(asked(Lstm(), longer), "pattern_nn_v1 reads bars of 1h; these lie 240 minutes apart")


def test_of_windows_with_a_missing_bar_it_says_nothing(tmp_path: Path) -> None:
    champion(tmp_path)
    holed = CANDLES.drop(CANDLES.index[300])
    model = models.shelf().model("champion")
    silent = np.flatnonzero(np.isnan(model.predict(holed)[100:, 0])) + 100

    assert silent.tolist() == list(range(300, 306))  # the six windows that reach over the hole
    assert "are not consecutive 1h bars" in model.why_not(holed, 302)


def with_extended_hours(regular: pd.DataFrame) -> pd.DataFrame:
    """The same bars with one before and one after each session, far off in price."""
    days = regular.groupby(regular.index.date)
    early, late = days.head(1), days.tail(1)
    thin = pd.concat([early.set_axis(early.index - pd.Timedelta("30min")), late.set_axis(late.index + SESSION_END)])
    return pd.concat([regular, thin * 1.5]).sort_index()


def test_it_is_shown_regular_hours_alone_and_its_word_stands_through_the_others(tmp_path: Path) -> None:
    """It learned from regular hours: with the bars between them its windows would be others, or none."""
    champion(tmp_path, data={"symbols": ["AAPL"]})
    opens = expected(datetime(2024, 1, 2, tzinfo=UTC), datetime(2024, 4, 1, tzinfo=UTC), timeframe("1h"), AAPL)
    regular = CANDLES.set_axis(pd.to_datetime(opens[: len(CANDLES)], utc=True))
    mixed, strategy = with_extended_hours(regular), Lstm(hold=3, enter=0.51, leave=0.5)
    alone, among = strategy.target(regular), strategy.target(mixed)

    own = mixed.index.isin(regular.index)
    assert len(mixed) > len(regular)
    assert set(alone.exposure.tolist()) == {0.0, 1.0}
    assert np.array_equal(among.exposure[own], alone.exposure)
    assert np.array_equal(among.confidence[own], alone.confidence)
    standing = pd.Series(alone.exposure, regular.index).reindex(mixed.index).ffill().fillna(0.0)
    assert np.array_equal(among.exposure, standing)
    assert "bars of regular hours, and there is none yet" in among.why(0)
    assert among.why(-1) == alone.why(-1)
    for row in range(4 * strategy.warmup, len(mixed), 23):
        window = mixed.iloc[row - 4 * strategy.warmup : row + 1]
        assert asked(strategy, window).exposure[-1] == among.exposure[row]


def test_of_prices_that_stand_still_it_says_nothing(tmp_path: Path) -> None:
    champion(tmp_path)
    still = CANDLES.copy()
    still.iloc[200:, :4] = 100.0

    wanted = asked(Lstm(enter=0.51, leave=0.5), still)
    assert not wanted.exposure[207:].any()
    assert "the price stood still for 6 bars" in wanted.why(-1)


def test_a_model_that_recognises_patterns_foresees_nothing(tmp_path: Path) -> None:
    champion(tmp_path, kind="pattern")

    wants_nothing(asked(Lstm(), CANDLES), "it does not foresee a rise or a fall")


def test_it_sells_short_only_on_the_word_of_a_model_of_the_direction(tmp_path: Path) -> None:
    champion(tmp_path, kind="triple_barrier")

    assert asked(Lstm(short=True), CANDLES).exposure.min() == 0.0


class Says:
    """A model that says what it is told to."""

    def __init__(self, *up: float) -> None:
        self.up = np.array(up)
        self.facts = ModelFacts(
            name="says",
            version=1,
            timeframe="1h",
            seq_len=1,
            warmup=0,
            classes=("down", "up"),
            label="direction",
            seen_until=0,
            data_until=2**62,
            sha256="",
        )

    def predict(self, candles: pd.DataFrame) -> Floats:
        return np.column_stack([1 - self.up, self.up])[: len(candles)]

    def why_not(self, candles: pd.DataFrame, row: int) -> str:
        return "it was told to be silent"

    def model(self, asked: str) -> Says:
        return self


def wanted_of(strategy: Lstm, *up: float) -> Wanted:
    model = Says(*up)
    use_shelf(model)  # type: ignore[arg-type]
    return strategy.target(hours(len(up), begin=HOUR))


def test_it_enters_high_leaves_low_and_a_yes_is_believed_for_its_bars() -> None:
    strategy = Lstm(enter=0.6, leave=0.5, hold=3)
    wanted = wanted_of(strategy, 0.55, 0.6, 0.52, 0.49, 0.59, 0.7, 0.55, 0.55, 0.55, 0.6, np.nan, 0.55)

    assert wanted.exposure.tolist() == [0, 1, 1, 0, 0, 1, 1, 1, 0, 1, 0, 0]
    assert wanted.confidence.tolist() == [0, 0.6, 0.52, 0, 0, 0.7, 0.55, 0.55, 0, 0.6, 0, 0]
    assert wanted.why(1) == "says_v1 gives a rise 60.0%; held: in from 60%, out under 50%, 3 bars at most"
    assert wanted.why(10) == "it was told to be silent"


def test_short_is_the_same_of_a_fall() -> None:
    strategy = Lstm(enter=0.6, leave=0.5, hold=3, short=True)
    wanted = wanted_of(strategy, 0.4, 0.45, 0.51, 0.39, 0.61)

    assert wanted.exposure.tolist() == [-1, -1, 0, -1, 1]
    assert wanted.confidence.tolist() == pytest.approx([0.6, 0.55, 0, 0.61, 0.61])


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"enter": 0.55, "leave": 0.6}, "leave must not exceed enter: got 0.6 and 0.55"),
        ({"enter": 0.7, "leave": 0.3, "short": True}, "leave must exceed 1 - enter"),
        ({"model": "best"}, "model must be one of champion, challenger"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        Lstm(**settings)


def test_the_backtester_runs_it_with_a_model_and_without(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ohlcv").mkdir()
    CANDLES.to_csv(tmp_path / "ohlcv" / "BTCUSDT_1h.csv")
    line = ["--symbol", "BTCUSDT", "--interval", "1h", "--start", "2024-01-04", "--end", "2024-01-18", "--json"]
    line += ["--data-dir", str(tmp_path / "ohlcv"), "--out", str(tmp_path / "out"), "--source", "files"]

    assert backtester.main([*line, "--strategy", "all"]) == 0
    trades = {name: run["metrics"]["trades"] for name, run in _told(capsys).items()}
    assert trades["lstm"]["value"] == 0
    champion(tmp_path)
    assert backtester.main([*line, "--strategy", "lstm", "--param", "hold=5", "enter=0.6"]) == 0
    assert _told(capsys)["lstm"]["metrics"]["trades"]["value"] > 0


def _told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)["strategies"]
    return found
