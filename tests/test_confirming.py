"""Confirming signals: planted ones are found, noise arms nothing, no row knows a later one, and files are whole."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import ml_pipeline
from backtest.setup import Exit, Setup
from backtester import Backtest
from domain.candles import frame, timeframe
from domain.clock import ManualClock
from domain.errors import DataError, ModelDamaged, ModelError, ModelMissing
from domain.instruments import instrument
from domain.matching import FillRules
from domain.models import use_shelf
from learning import confirming
from learning._confirming_events import NAMES, events, reach
from learning._confirming_evidence import break_even, refusals
from learning.confirming import Bracket, load, save, teach, versions
from learning.leaks import looks_ahead
from learning.splits import inner
from model_manager import Shelf
from strategies.base import Floats, Wanted
from strategies.lstm import Lstm
from strategies.sma_crossover import SmaCrossover
from tests import made_models
from tests.campaigns import confirming as campaign
from tests.campaigns.confirming import ABOVE, ECE, NAME, OF_IDEAL, PLANTED, PRECISION, TIMES, Came, Found, strategy
from tests.made_confirmations import changed, frames, saved, taught

HOUR = timeframe("1h")
BTC = instrument("BTCUSDT")


@dataclasses.dataclass(frozen=True)
class Says:
    """A strategy that wants what it is told to."""

    exposure: tuple[float, ...]
    warmup: int = 0

    def target(self, candles: pd.DataFrame) -> Wanted:
        told = np.zeros(len(candles))
        told[: len(self.exposure)] = self.exposure[: len(candles)]
        return Wanted(told)


def bars(*rows: tuple[float, float, float, float]) -> pd.DataFrame:
    """Hours of open, high, low, close."""
    values = dict(zip(("open", "high", "low", "close"), zip(*rows, strict=True), strict=True))
    begin = pd.Timestamp("2024-01-01", tz="UTC").value
    return frame(begin + np.arange(len(rows)) * HOUR.nanos, {**values, "volume": np.ones(len(rows))})


FLAT = (100.0, 100.5, 99.5, 100.0)
TWO_ONE = Bracket(Exit("pct", 2.0), Exit("pct", 1.0), horizon=3, cost_bps=10.0)


@pytest.mark.parametrize(
    ("later", "side", "ret", "end"),
    [
        ([FLAT, (100, 102.5, 99.5, 101)], 1.0, 0.02, 3),  # the target
        ([FLAT, (100, 100.5, 98.5, 99)], 1.0, -0.01, 3),  # the stop
        ([(100, 103, 98, 100)], 1.0, -0.01, 2),  # both in one bar: the stop
        ([FLAT, (98, 98.5, 97, 98)], 1.0, -0.02, 3),  # a gap through the stop is paid in full
        ([FLAT, (103, 104, 98, 98)], 1.0, 0.03, 3),  # opened beyond the target: filled there
        ([FLAT, FLAT, (100, 101, 99.5, 100.8)], 1.0, 0.008, 4),  # time is up: the close
        ([(101, 101.5, 100.5, 101), (101, 102.1, 100, 101)], 1.0, 102 / 101 - 1, 3),  # prices count from the decision
        ([FLAT, (100, 100.5, 97.9, 98)], -1.0, 0.02, 3),  # sold short: the target lies below
        ([(100, 101.5, 97, 98)], -1.0, -0.01, 2),
    ],
)
def test_a_bracket_earns_what_the_desk_would_have_earned(
    later: list[tuple[float, float, float, float]], side: float, ret: float, end: int
) -> None:
    found = events(Says((0.0, side)), bars(FLAT, FLAT, *later, *[FLAT] * 3), TWO_ONE, BTC, HOUR)

    assert found.rows.tolist() == [1]
    assert found.ret[0] == pytest.approx(ret - 0.001)
    assert (found.end[0], found.y[0]) == (end, int(ret > 0.001))


@pytest.mark.parametrize("side", [1.0, -1.0])
@pytest.mark.parametrize("exits", [(Exit("atr", 3.0), Exit("atr", 2.0)), (Exit("pct", 2.0), Exit("pct", 1.5, 20))])
def test_a_bracket_ends_as_the_backtester_ends_it(side: float, exits: tuple[Exit, Exit]) -> None:
    """Under the setup of a strategy at work: exits counted from the close it was decided on."""
    candles, (target, stop) = made_models.hours(700, seed=8), exits
    free = FillRules(half_spread_bps=0, slippage_bps=0, ignore_volume=True)
    rules = Setup(sizing="shares", shares=1.0, stop=stop, target=target, exits_from="signal", fills=free)
    for row in range(60, 560, 50):
        says = Says(tuple(side * (np.arange(700) >= row)))
        [trade] = Backtest({"BTCUSDT": candles}, says, rules, timeframe="1h").run().trades.itertuples()
        found = events(says, candles, Bracket(target, stop, horizon=600, cost_bps=0.0), BTC, HOUR)

        assert candles.index[found.end[0]] == trade.exit_time
        assert found.ret[0] == pytest.approx(trade.profit / trade.entry, abs=3e-4)  # their prices are whole cents


def test_an_answer_that_the_frame_does_not_hold_is_none() -> None:
    found = events(Says((0.0, 1.0, -1.0, 1.0)), bars(*[FLAT] * 5), TWO_ONE, BTC, HOUR)

    assert found.rows.tolist() == [1, 2, 3]
    assert found.y.tolist() == [0, -1, -1]
    assert np.isnan(found.ret[1:]).all()


def test_an_event_is_a_side_that_appears_or_turns_round_and_not_a_change_of_size() -> None:
    found = events(Says((0, 0.5, 1, 1, 0, 1, -1, -0.2, 0)), bars(*[FLAT] * 9), TWO_ONE, BTC, HOUR)

    assert found.rows.tolist() == [1, 5, 6]
    assert found.side.tolist() == [1.0, 1.0, -1.0]


def test_a_missing_bar_leaves_neither_an_answer_nor_a_past() -> None:
    candles = frames()["PLANT000USDT"]
    whole = events(strategy(), candles, PLANTED, BTC, HOUR)
    at = int(whole.rows[np.flatnonzero(whole.whole)[20]])
    holed = events(strategy(), candles.drop(candles.index[at + 1]), PLANTED, BTC, HOUR)

    [before] = np.flatnonzero(holed.rows == at)
    assert holed.y[before] == -1
    after = (holed.rows > at) & (holed.rows <= at + 50)
    assert after.any()
    assert not holed.whole[after].any()
    assert holed.whole[holed.rows > at + 51].all()


def test_the_record_holds_only_brackets_that_had_ended() -> None:
    """One at row 1 that wins at row 3, one at row 2 that is open still: at row 2 nothing had ended, at row 4 one."""
    rows = [FLAT, FLAT, FLAT, (100, 102.5, 99.5, 100), *[FLAT] * 60]
    told = [0.0] * 51
    told += [1.0, -1.0, 1.0, -1.0]
    found = events(Says(tuple(told)), bars(*[FLAT] * 50, *rows), TWO_ONE, BTC, HOUR)

    hits, finished = found.X[:, NAMES.index("hits")], np.expm1(found.X[:, NAMES.index("finished")])
    assert found.rows.tolist() == [51, 52, 53, 54]
    assert found.end.tolist() == [53, 53, 56, 57]
    assert finished.round().tolist() == [0, 0, 2, 2]  # known at the close of the bar that ended them
    assert hits[:3] == pytest.approx([0.5, 0.5, 0.5])  # of two one was won: (1 + 1) / (2 + 2)


# No row knows a later one


def _said(candles: pd.DataFrame, bracket: Bracket) -> Floats:
    """A row a bar of everything that is known of its event."""
    found = events(SmaCrossover(fast=5, slow=15), candles, bracket, BTC, HOUR)
    out = np.full((len(candles), len(NAMES) + 1), np.nan)
    out[found.rows[found.whole]] = np.column_stack([found.X, found.side])[found.whole]
    return out


@pytest.mark.parametrize("bracket", [Bracket(), PLANTED])
def test_what_is_known_of_an_event_never_changes_with_what_comes_later(bracket: Bracket) -> None:
    candles = made_models.hours(1100)
    assert np.isfinite(_said(candles, bracket)[:, 0]).sum() > 20

    assert looks_ahead(lambda part: _said(part, bracket), candles, [*NAMES, "side"]) == []


def test_an_answer_never_changes_with_what_comes_later(tmp_path: Path) -> None:
    found, candles = saved(tmp_path), frames()["PLANT001USDT"].iloc[:1500]

    def answers(part: pd.DataFrame) -> Floats:
        said = found.answers(part)
        return np.column_stack([said.p, said.side, said.whole])

    assert np.isfinite(answers(candles)[:, 0]).sum() > 100
    assert looks_ahead(answers, candles, ["p", "side", "whole"]) == []


@pytest.mark.parametrize("bracket", [Bracket(), PLANTED])
def test_a_window_knows_what_all_of_history_knows(bracket: Bracket) -> None:
    """To the bit, with and without an average that never forgets behind the bracket."""
    candles, need = made_models.hours(1600, seed=3), reach(strategy(), bracket)
    whole = _said(candles, bracket)
    rows = np.flatnonzero(np.isfinite(whole[:, 0]))

    assert len(rows) > 40
    for row in rows[::6]:
        assert np.array_equal(_said(candles.iloc[row - need : row + 1], bracket)[-1], whole[row])
        assert not np.isfinite(_said(candles.iloc[row - need + 1 : row + 1], bracket)[-1]).any()


def test_row_by_row_it_gives_the_probabilities_of_the_whole_batch(tmp_path: Path) -> None:
    found, candles = saved(tmp_path), frames()["PLANT002USDT"].iloc[:2000]
    whole = found.answers(candles).p
    rows = np.flatnonzero(np.isfinite(whole))

    assert len(set(whole[rows])) > 20
    for row in rows[::12]:
        assert found.answers(candles.iloc[row - found.reach : row + 1]).p[-1] == whole[row]


# Planted and noise


def test_planted_signals_are_found_and_armed() -> None:
    said = taught().said
    e = said["evidence"]
    flat, *_ = confirming.gathered(frames(), strategy(), PLANTED, "1h")
    ideal = campaign._ideal(frames(), PLANTED)

    assert len(flat) == e["events"] > 5000
    assert taught().refused == ()
    assert e["precision"] >= PRECISION
    assert e["coverage"] >= OF_IDEAL * ideal
    assert 0.12 <= ideal <= 0.18
    assert e["ece"] <= ECE + 0.01  # of 1,500 judged events; the campaign judges more
    assert e["net_confirmed"] >= TIMES * e["net"] > 0.0
    assert said["break_even"] == pytest.approx((1.0 + 0.05) / 2.5, abs=0.005)


def test_noise_arms_nothing() -> None:
    e = taught(planted=False).said["evidence"]

    assert e["coverage"] <= ABOVE
    assert [reason for reason in taught(planted=False).refused if "nothing to confirm" in reason]
    assert "lets nothing through" in taught(planted=False).sentence


def test_trees_left_alone_are_sure_of_noise() -> None:
    """Without this the test above would prove nothing."""
    share, came_true = campaign._left_alone(frames(campaign.EVEN, campaign.EVEN), PLANTED)

    assert share > 0.02
    assert came_true < 0.6


def test_answers_dealt_at_random_arm_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    real, chance = confirming.gathered, np.random.default_rng(0)

    def dealt(*given: Any) -> Any:
        flat, *rest = real(*given)
        order = chance.permutation(len(flat))
        return dataclasses.replace(flat, y=flat.y[order], ret=flat.ret[order]), *rest

    monkeypatch.setattr(confirming, "gathered", dealt)

    assert teach(frames(), NAME, strategy(), "1h", PLANTED).refused


def test_nothing_learned_depends_on_what_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    real = confirming.gathered

    def turned(*given: Any) -> Any:
        flat, *rest = real(*given)
        *_, test = inner(flat, np.arange(len(flat)), confirming.SHARES)
        y, ret, X = flat.y.copy(), flat.ret.copy(), flat.X.copy()
        y[test], ret[test], X[test] = 1 - y[test], -ret[test], 9.0
        return dataclasses.replace(flat, y=y, ret=ret, X=X), *rest

    monkeypatch.setattr(confirming, "gathered", turned)
    other = teach(frames(), NAME, strategy(), "1h", PLANTED)

    assert other.trees == taught().trees
    for part in ("calibration", "break_even", "out_of_fold", "split"):
        assert other.said[part] == taught().said[part]
    assert other.said["evidence"] != taught().said["evidence"]


def test_each_part_was_known_before_the_next_began() -> None:
    spans = taught().said["split"]["spans"]

    assert spans["learn"][1] < spans["calib"][0]
    assert spans["calib"][1] < spans["test"][0]
    assert pd.Timestamp(taught().said["split"]["seen_until"], tz="UTC") == pd.Timestamp(spans["calib"][1])


# What is refused


def _with(**more: Any) -> tuple[str, ...]:
    return changed(taught(), evidence=more).refused


def test_a_confirmation_says_why_it_is_not_armed() -> None:
    assert "only 199 events could judge it and 200 are needed" in _with(n=199)
    assert _with(n=200) == ()
    [reason] = _with(precision=0.75, precision_ci95=[0.42, 0.9])
    assert "which is not surely above the 42.0% that break even" in reason
    assert "came to -0.10% after costs" in _with(net_confirmed=-0.001)[0]
    assert "there is nothing to confirm" in _with(confirmed=0, precision=None, precision_ci95=None)[0]


def test_to_break_even_takes_what_the_bracket_needs_or_what_came_about() -> None:
    far, near = np.full(4, 0.02), np.full(4, 0.01)

    by_bracket = break_even(far, near, np.array([0.019, -0.011, 0.019, -0.011]), 0.001)
    assert by_bracket == pytest.approx(0.011 / 0.030)
    timed_out = break_even(far, near, np.array([0.005, -0.011, 0.005, -0.011]), 0.001)
    assert timed_out == pytest.approx(0.011 / 0.016)


def test_events_of_many_symbols_at_one_moment_count_as_one_case() -> None:
    flat, *_ = confirming.gathered(frames(), strategy(), PLANTED, "1h")
    rows = np.arange(len(flat))
    together = dataclasses.replace(flat, at=flat.at // (20 * HOUR.nanos) * (20 * HOUR.nanos))
    sure = np.full(len(flat), 0.75)

    apart = confirming.evidence(flat, rows, sure, 0.4)
    assert confirming.evidence(together, rows, sure, 0.4)["cases"] <= 4000 / 20 + 1 < apart["cases"] / 5


def test_too_few_events_are_not_learned_from() -> None:
    few = {symbol: candles.iloc[:1500] for symbol, candles in list(frames().items())[:1]}
    with pytest.raises(DataError, match="and 300 are needed to learn from"):
        teach(few, NAME, strategy(), "1h", PLANTED)
    with pytest.raises(DataError, match="no symbol has more than the 311 bars"):
        teach({"BTCUSDT": few["PLANT000USDT"].iloc[:200]}, NAME, strategy(), "1h", PLANTED)
    with pytest.raises(DataError, match="symbols of one calendar"):
        teach({"AAPL": few["PLANT000USDT"], "BTCUSDT": few["PLANT000USDT"]}, NAME, strategy(), "1h", PLANTED)


@pytest.fixture
def champion(tmp_path: Path) -> Iterator[None]:
    """A network that learned up to the end of 2023."""
    manager, entry = made_models.saved(tmp_path / "models")
    manager.point("champion", entry.called)
    before = use_shelf(Shelf(manager))
    yield
    use_shelf(before)


@dataclasses.dataclass(frozen=True)
class Learned(SmaCrossover):
    """Sides everywhere, as if a model had taken them."""

    unseen: bool = True

    @property
    def asked(self) -> str:
        return "champion"


@pytest.mark.usefixtures("champion")
def test_a_learned_strategy_is_not_confirmed_on_its_own_lessons() -> None:
    with pytest.raises(DataError, match="leave unseen on"):
        teach(frames(), "lstm", Lstm(unseen=False), "1h", PLANTED)
    with pytest.raises(DataError, match="took sides before 2023-12-30"):
        teach(frames(), "lstm", Learned(fast=5, slow=15), "1h", PLANTED)


@pytest.mark.usefixtures("champion")
def test_a_learned_strategy_is_confirmed_on_what_came_after_its_lessons() -> None:
    """Its network was drawn by lot, so that there is nothing to confirm."""
    later = {f"LATER{n:03d}USDT": made_models.hours(2500, seed=n) for n in range(4)}
    lesson = teach(later, "lstm", Lstm(enter=0.51, hold=4, short=True), "1h", PLANTED)

    assert lesson.refused
    assert lesson.said["primary"]["model"]["called"] == "pattern_nn_v1"
    assert pd.Timestamp(lesson.said["split"]["spans"]["learn"][0]) > pd.Timestamp("2023-12-30", tz="UTC")


# Files


def test_what_was_saved_is_what_is_loaded(tmp_path: Path) -> None:
    first, second = saved(tmp_path), saved(tmp_path)

    assert [first.called, second.called] == ["sma_crossover_v1", "sma_crossover_v2"]
    assert load(tmp_path, "sma_crossover").called == "sma_crossover_v2"
    assert load(tmp_path, "sma_crossover", 1).armed
    assert load(tmp_path, "sma_crossover", 1).strategy() == strategy()
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix == ".txt") == [
        "sma_crossover_v1.txt",
        "sma_crossover_v2.txt",
    ]
    assert (tmp_path / "sma_crossover_v1.txt").read_text() == taught().trees
    assert json.loads((tmp_path / "sma_crossover_v1.json").read_text())["evidence"] == taught().said["evidence"]


def test_saves_at_the_same_time_take_a_version_each(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        called = list(pool.map(lambda _: saved(tmp_path).called, range(8)))

    assert sorted(called) == [f"sma_crossover_v{n}" for n in range(1, 9)]
    assert versions(tmp_path, "sma_crossover") == list(range(1, 9))


def _json(path: Path, change: Any) -> None:
    said = json.loads(path.read_text())
    change(said)
    path.write_text(json.dumps(said))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda at: at.with_suffix(".txt").write_text(taught().trees.replace("=", "= ", 1)), "was changed since"),
        (lambda at: at.with_suffix(".txt").unlink(), "is gone"),
        (lambda at: at.write_text(""), "was never finished"),
        (lambda at: at.write_text(at.read_text()[:-40]), "is torn"),
        (lambda at: at.write_text("[1]"), "is torn"),
        (lambda at: _json(at, lambda said: said["evidence"].update(precision=0.99)), "was changed since"),
        (lambda at: _json(at, lambda said: said.update(break_even=0.01)), "was changed since"),
        (lambda at: _json(at, lambda said: said.update(schema_version=2)), "has schema 2 and this program knows 1"),
        (lambda at: _json(at, lambda said: said.pop("evidence")), "lacks evidence"),
    ],
)
def test_what_is_not_to_the_byte_what_was_saved_is_refused(tmp_path: Path, spoil: Any, words: str) -> None:
    saved(tmp_path)
    assert load(tmp_path, "sma_crossover").armed

    spoil(tmp_path / "sma_crossover_v1.json")

    with pytest.raises(ModelDamaged, match=words):
        load(tmp_path, "sma_crossover")


def test_one_that_is_being_written_is_not_the_newest_yet(tmp_path: Path) -> None:
    saved(tmp_path)
    (tmp_path / "sma_crossover_v2.json").touch()
    (tmp_path / "sma_crossover_v3.txt").write_text(taught().trees)

    assert load(tmp_path, "sma_crossover").called == "sma_crossover_v1"
    for version, words in ((2, "was never finished"), (3, "is gone")):
        with pytest.raises(ModelDamaged, match=words):
            load(tmp_path, "sma_crossover", version)
    assert saved(tmp_path).called == "sma_crossover_v4"


def test_a_version_is_not_renamed_and_names_are_no_paths(tmp_path: Path) -> None:
    saved(tmp_path)
    for suffix in ("json", "txt"):
        (tmp_path / f"other_v1.{suffix}").write_bytes((tmp_path / f"sma_crossover_v1.{suffix}").read_bytes())

    with pytest.raises(ModelDamaged, match="describes sma_crossover_v1"):
        load(tmp_path, "other")
    for name in ("../sma_crossover", "", "A"):
        with pytest.raises(ModelMissing, match="there are other, sma_crossover"):
            load(tmp_path, name)
    with pytest.raises(ModelError, match="begins with a letter"):
        save(tmp_path, taught(), ManualClock(), "../sma")


def test_whether_it_is_armed_is_worked_out_and_not_read(tmp_path: Path) -> None:
    found = saved(tmp_path, evidence={"n": 150}, armed=True)

    assert not found.armed
    assert refusals(found.said) == found.refused
    assert "is not armed: only 150 events" in found.problem()


# The command line


def test_the_command_line_learns_saves_and_says_what_was_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "data" / "ohlcv"
    folder.mkdir(parents=True)
    for symbol in list(frames())[:2]:
        frames()[symbol].reset_index().to_csv(folder / f"{symbol}_1h.csv", index=False)
    line = ["--confirm", NAME, "--param", "fast=5", "slow=15", "--interval", "1h", "--data-dir", str(folder)]
    line += ["--stop", "1%", "--target", "1.5%", "--cost-bps", "5", "--out-dir", str(tmp_path / "models")]

    assert ml_pipeline.main([*line, "--dry-run"]) == 0
    assert "Nothing was saved." in capsys.readouterr().out
    assert ml_pipeline.main(line) == 0

    out = capsys.readouterr().out
    found = load(tmp_path / "models" / "confirmations", NAME)
    assert "Not armed, it lets nothing through: only" in out
    assert (found.strategy(), found.bracket.words) == (strategy(), PLANTED.words)
    assert found.said["data"]["simulated"] is False
    assert ml_pipeline.main([*line, "--symbols", "ETHUSDT"]) == 2


# The campaign

SILENT = Found("one chance", 0, 4000, 1000, 0.44, 0.0, None, None, 0.42, 0.02, 0.1, 0.0, False, 1.0, 0.0, (0.1, 0.44))
PLANT = Found("planted", 0, 9000, 2000, 0.45, 0.14, 0.8, 0.76, 0.42, 0.02, 1.0, 2.0, True, 1.0, 0.15)


@pytest.mark.parametrize(
    ("noise", "plant", "words"),
    [
        ({}, {}, ""),
        ({"armed": True}, {}, "noise: confirmations armed, of 1"),
        ({"coverage": 0.002}, {}, "noise: signals at 70 % and above, the worst seed"),
        ({}, {"armed": False}, "planted: confirmations not armed"),
        ({}, {"precision": 0.74}, "planted: precision, the worst seed"),
        ({}, {"coverage": 0.07}, "planted: share of the ideal coverage, the worst seed"),
        ({}, {"ece": 0.031}, "planted: calibration error (ECE), the middle seed"),
        ({}, {"net_confirmed": 1.4}, "planted: net of confirmed over net of all, the worst seed"),
        ({}, {"net": -1.0, "net_confirmed": -0.1}, "planted: net of confirmed over net of all, the worst seed"),
    ],
)
def test_the_campaign_names_a_missed_goal(noise: dict[str, Any], plant: dict[str, Any], words: str) -> None:
    came = Came([dataclasses.replace(SILENT, **noise)], [dataclasses.replace(PLANT, **plant)], 9.0)

    assert [name for name, *_, enough in came.goals() if not enough] == [words] * bool(words)
    assert (f"**Not met: {words}.**" if words else "**Every goal is met.**") in campaign._text(came)
