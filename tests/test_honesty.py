"""research/honesty.py: planted faults are caught by the check they were planted for, clean strategies are not."""

from __future__ import annotations

import functools
import importlib
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest

from backtester import Backtest, Desk, Exit, Seen, Setup
from research import _checks, _null, _probes
from research.honesty import FAIL, RULES, WEAK, WORTH, Check, Outcome, Verdict, combined, verdict
from research.trials import DataSet, Lockbox, TrialLedger, Tried, Variant
from strategies.base import Wanted
from strategies.sma_crossover import SmaCrossover
from tests.campaigns import honesty as campaign
from tests.conftest import ROOT
from tests.planted import markets
from tests.planted.cases import Case, run
from tests.planted.clean import CLEAN
from tests.planted.faulty import FAULTY, LastMove

PASS, DOUBT, FAILED = Outcome.PASS, Outcome.DOUBT, Outcome.FAIL
ONE = Tried(1, (0.1,))


def check(outcome: Outcome) -> Check:
    return Check("costs", outcome, 1.0, "So it is.", "Nothing.")


@functools.cache
def clean(name: str = "crossover") -> tuple[Case, Verdict]:
    case = CLEAN[name]()
    return case, case.judged()


def ask(candles: Any, strategy: Any, setup: Setup | None = None, tried: Tried | None = ONE, **more: Any) -> Verdict:
    rules = setup or Setup()
    return verdict(candles, strategy, rules, run(candles, strategy, rules), tried, **more)


# The planted ones


@pytest.mark.parametrize("name", FAULTY)
def test_a_planted_fault_is_caught_by_its_check(name: str) -> None:
    case = FAULTY[name]()
    result = case.result or run(case.candles, case.strategy, case.setup)
    assert result.equity.iloc[-1] > 1.05 * result.equity.iloc[0], "a fault that does not look good is no test"

    found = case.judged()

    assert found.word == FAIL
    assert case.caught_by is not None
    assert found[case.caught_by].outcome is FAILED


@pytest.mark.parametrize("name", CLEAN)
def test_a_clean_strategy_is_worth_paper_trading(name: str) -> None:
    _, found = clean(name)

    assert [c.name for c in found.checks if c.outcome is FAILED] == []
    assert found.word == WORTH


def test_a_search_on_noise_fails_and_one_on_an_edge_does_not() -> None:
    noise = campaign.search(markets.noise, repetitions=5, count=40, seed=3)
    edge = campaign.search(markets.trending, repetitions=2, count=40, seed=3)

    assert noise.failed == 1.0
    assert edge.failed == 0.0


def test_the_campaign_searches_two_hundred_and_says_what_it_counted(tmp_path: Path, monkeypatch: Any) -> None:
    assert len({repr(one) for one in campaign.variants()}) == campaign.VARIANTS == 200
    monkeypatch.setattr(campaign, "VARIANTS", 12)
    monkeypatch.setattr(campaign, "search", functools.partial(campaign.search, count=12))

    assert campaign.run(tmp_path / "honesty.md", repetitions=1)

    assert "| noise | 1 | 1 | 0 | 0 |" in (tmp_path / "honesty.md").read_text(encoding="utf-8")


# The rule that makes a word of many checks


@pytest.mark.parametrize(
    ("outcomes", "word"),
    [
        ([PASS, PASS], WORTH),
        ([PASS, DOUBT], WORTH),
        ([DOUBT, DOUBT], WEAK),
        ([PASS, DOUBT, DOUBT, DOUBT], WEAK),
        ([PASS, PASS, FAILED], FAIL),
        ([DOUBT, DOUBT, FAILED], FAIL),
    ],
)
def test_one_fail_fails_and_two_doubts_are_weak(outcomes: list[Outcome], word: str) -> None:
    assert combined(map(check, outcomes)) == word


def test_a_verdict_says_its_word_its_checks_and_what_it_cannot_know() -> None:
    _, found = clean()

    assert str(found).startswith("Worth paper trading (every check passes)")
    assert "no universe was declared" in str(found)
    told = json.loads(json.dumps(found.to_dict()))
    assert told["verdict"] == WORTH
    assert [row["name"] for row in told["checks"]] == [c.name for c in found.checks]
    assert all(row["said"].endswith(".") and row["cure"].endswith(".") for row in told["checks"])
    assert Verdict((check(FAILED), check(DOUBT))).said == "Fail (fails: costs; doubts: costs)"
    with pytest.raises(KeyError, match="no check 'luck' was asked"):
        found["luck"]


def test_the_document_has_every_rule() -> None:
    text = (ROOT / "docs" / "honesty.md").read_text(encoding="utf-8")

    assert [name for name, rule in RULES.items() if f"| {name} | {rule} |" not in text] == []


def test_the_same_arguments_give_the_same_verdict() -> None:
    case, found = clean()

    assert case.judged() == found


def test_what_is_no_sensible_question_is_refused() -> None:
    case, _ = clean()
    result = run(case.candles, case.strategy, case.setup)
    with pytest.raises(ValueError, match="draws must be at least 1000"):
        verdict(case.candles, case.strategy, case.setup, result, ONE, draws=10)
    with pytest.raises(ValueError, match="must be those of the result"):
        verdict({"AAPL": markets.noise(1)}, case.strategy, case.setup, result, ONE)


# Single checks


@pytest.mark.parametrize(("closed", "outcome"), [(0, FAILED), (9, FAILED), (10, DOUBT), (29, DOUBT), (30, PASS)])
def test_trades_are_counted(closed: int, outcome: Outcome) -> None:
    assert _checks.sample_size(closed, 100).outcome is outcome


@pytest.mark.parametrize(
    ("paid", "even", "outcome"),
    [
        (3.0, 5.9, FAILED),
        (3.0, 6.1, DOUBT),
        (3.0, 12.1, PASS),
        (0.0, 3.9, FAILED),
        (3.0, None, PASS),
        (3.0, 0.0, FAILED),
    ],
)
def test_costs_must_leave_room_even_where_none_were_charged(paid: float, even: float | None, outcome: Outcome) -> None:
    assert _checks.costs(_null.Costs(paid, even, {1: 0.0})).outcome is outcome


def test_at_the_break_even_cost_nothing_is_left() -> None:
    case, _ = clean("reversion")
    result = run(case.candles, case.strategy, case.setup)
    even = _null.break_even(result.inputs)
    assert even is not None

    left = Backtest(case.candles, case.strategy, _null.flat_cost(case.setup, even)).run()

    assert abs(left.equity.iloc[-1] / case.setup.cash - 1.0) < 0.005
    found = _null.costs(result)
    assert found.sweep[0] > found.sweep[1] > found.sweep[2] > found.sweep[4]
    assert found.sweep[1] == pytest.approx(result.trades["profit"].sum())
    assert found.paid_bps == pytest.approx(2.5, abs=0.3)  # 2 bps and the regulators' fees


def test_the_best_trades_are_taken_away() -> None:
    assert _checks.best_trades(np.array([10.0, -4.0, -4.0])).outcome is FAILED
    assert _checks.best_trades(np.array([10.0, 6.0, 5.0, 5.0, 5.0, -4.0])).outcome is DOUBT
    assert _checks.best_trades(np.array([3.0] * 9 + [-2.0])).number == 10.0
    assert _checks.best_trades(np.empty(0)).outcome is FAILED


def test_more_trials_need_a_higher_sharpe_ratio() -> None:
    returns = np.random.default_rng(1).normal(0.0, 0.01, 1500)
    returns += 0.0007 - returns.mean()
    found = [_checks.deflated_sharpe(returns, 252, tried) for tried in (ONE, Tried(20), Tried(500))]

    numbers = [c.number or 0.0 for c in found]
    assert numbers == sorted(numbers, reverse=True)
    assert [c.outcome for c in found] == [PASS, FAILED, FAILED]
    assert "more months" in found[1].cure
    assert _checks.deflated_sharpe(returns, 252, None).outcome is DOUBT


def test_an_edge_that_ends_is_seen_out_of_sample() -> None:
    chance = np.random.default_rng(2)
    early, late = chance.normal(0.002, 0.01, 1050), chance.normal(-0.002, 0.01, 450)

    assert _checks.out_of_sample(np.r_[early, late], 252).outcome is FAILED
    assert _checks.out_of_sample(np.r_[early, np.abs(early[:450])], 252).outcome is PASS
    assert _checks.out_of_sample(np.r_[early, 0.0004 + 0.01 * np.sign(late)], 252).outcome is not PASS
    assert _checks.out_of_sample(np.zeros(100), 252).outcome is DOUBT


def test_what_exposure_alone_earns_is_not_the_strategys() -> None:
    market = np.random.default_rng(3).normal(0.001, 0.01, 1000)

    assert _checks.same_exposure(0.5 * market - 1e-5, market, 0.5, 252).outcome is FAILED
    assert _checks.same_exposure(0.5 * market + 1e-4 * np.sign(market), market, 0.5, 252).number == pytest.approx(
        252 * 1e-4 * np.sign(market).mean()
    )


def test_a_family_of_equals_that_all_earn_is_a_doubt_and_one_that_does_not_a_fail() -> None:
    chance = np.random.default_rng(4)
    common = chance.normal(0.0, 0.01, (600, 1))
    family = chance.normal(0.0, 0.01, (600, 20))
    family -= family.mean(axis=0)  # so that what is best inside must be worst outside

    assert _checks.overfitting(family - 1e-4).outcome is FAILED
    assert _checks.overfitting(family + common + 1e-3 - common.mean()).outcome is DOUBT
    assert _checks.overfitting(family[:10]).outcome is DOUBT
    assert "of 450 variants" in _checks.overfitting(chance.normal(0, 0.01, (64, 450))).said


# Entries by chance


def test_random_entries_hold_as_much_as_often_and_as_long() -> None:
    want = np.repeat([0.0, 1.0, 0.0, -1.0, 0.5, 0.0, 1.0, 0.0], [30, 5, 20, 7, 3, 50, 11, 40])
    pieces, chance = _null.Pieces.of(want, 20), np.random.default_rng(0)

    def lengths(rows: np.ndarray, wish: float) -> list[int]:
        around = np.concatenate([rows[20:], rows[20:]])  # the last piece may go on at the beginning
        edges = np.flatnonzero(np.diff(around)) + 1
        runs = np.split(around, edges)[1:-1]
        return sorted({len(r) for r in runs if r[0] == wish})

    drawn = [pieces.shuffled(chance) for _ in range(20)]

    assert len({tuple(rows) for rows in drawn}) > 15
    for rows in drawn:
        assert np.array_equal(np.sort(rows), np.sort(want))
        assert not rows[:20].any()
        assert lengths(rows, 1.0) == [5, 11]
        assert lengths(rows, -1.0) == [7]


def test_on_noise_a_strategy_is_one_among_the_random_ones() -> None:
    ranks = []
    for seed in range(12):
        result = Backtest(markets.noise(seed, 500), SmaCrossover(5, 15), Setup(stop=Exit("atr", 2.0))).run()
        drawn = _null.random_profits(result, {}, 100, seed)
        assert drawn is not None
        ranks.append(float((drawn < _null.profit(result.walked, result.inputs.setup)).mean()))

    assert 0.25 < np.mean(ranks) < 0.75
    assert min(ranks) < 0.4 < 0.6 < max(ranks)


# Probes


@dataclass(frozen=True)
class Standardised:
    """Looks harmless: the mean is that of all candles, the later ones too."""

    label: ClassVar[str] = "Standardised"
    about: ClassVar[str] = "Long below the mean of all candles."
    warmup: ClassVar[int] = 5

    def target(self, candles: pd.DataFrame) -> Wanted:
        return Wanted((candles["close"] < candles["close"].mean()).to_numpy(np.float64))


@dataclass(frozen=True)
class Needs:
    """Cannot answer where the next bar is not there yet."""

    label: ClassVar[str] = "Needs"
    about: ClassVar[str] = "Asks for the next open."
    warmup: ClassVar[int] = 1

    def target(self, candles: pd.DataFrame) -> Wanted:
        exposure = np.sign(candles["open"].shift(-1) - candles["close"]).to_numpy(copy=True)
        if len(candles) == 600:
            exposure[-1] = 0.0
        return Wanted(exposure)


def test_the_look_ahead_probe_names_the_first_row_that_differs() -> None:
    candles = markets.noise(1, 600)
    found = ask(candles, Standardised())["look-ahead"]
    assert found.outcome is FAILED
    row = int(found.said.split("row ")[1].split()[0])
    seen = candles["close"].to_numpy()
    assert row >= 5
    assert any((seen[row] < seen[: cut + 1].mean()) != (seen[row] < seen.mean()) for cut in range(row, 600))

    silent = ask(candles, Needs())["look-ahead"]
    assert silent.outcome is FAILED
    assert "no answer without the later ones" in silent.said


REMEMBERS = """
from dataclasses import dataclass

import numpy as np

from strategies.base import Wanted

SEEN = {}


@dataclass(frozen=True)
class Remembers:
    ahead: int = 1
    warmup = 2

    def target(self, candles):
        SEEN.update(zip(candles.index, candles["close"]))
        times = sorted(SEEN)
        later = dict(zip(times, times[self.ahead :]))
        rises = [SEEN.get(later.get(at), 0.0) > close for at, close in zip(candles.index, candles["close"])]
        return Wanted(np.array(rises, dtype=float))


PART = Remembers
"""


def test_what_a_file_remembers_from_other_candles_tells_it_of_no_later_bar(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole run has shown it every bar before the probe asks; with `ahead` 0 it looks up its own bar only."""
    (tmp_path / "remembers.py").write_text(REMEMBERS, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    kind = importlib.import_module("remembers").PART

    peeking, plain = (ask(markets.noise(1, 300), kind(ahead=rows)) for rows in (1, 0))

    assert peeking["own result"].outcome is PASS
    assert peeking["look-ahead"].outcome is FAILED
    assert plain["look-ahead"].outcome is PASS
    assert "remembers_anew" not in sys.modules


def test_rows_are_asked_around_changes_and_over_the_whole_span() -> None:
    want = np.zeros(500)
    want[300:310] = 1.0

    rows = _probes.rows_to_ask(want, 50, 24)

    assert {299, 300, 309, 310, 50, 499} <= set(rows)
    assert rows == sorted(rows)
    assert len(rows) <= 24
    assert _probes.rows_to_ask(want, 600, 24) == []


def test_a_history_too_short_for_a_window_is_a_doubt() -> None:
    found = ask(markets.noise(1, 200), SmaCrossover(20, 60))["warm-up"]

    assert found.outcome is DOUBT
    assert "no longer than one window" in found.said


def test_bars_before_the_start_only_warm_up() -> None:
    candles = markets.trending(21)
    strategy, start = SmaCrossover(5, 15), candles.index[500].to_pydatetime()
    result = Backtest(candles, strategy, start=start).run()

    found = verdict(candles, strategy, Setup(), result, ONE)

    assert found["own result"].outcome is PASS
    assert found.word == WORTH


def test_a_result_that_is_not_the_runs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    case, _ = clean()
    honest = run(case.candles, case.strategy, case.setup)

    def apart(**changes: Any) -> str:
        other = replace(honest, walked=replace(honest.walked, **changes))
        return verdict(case.candles, case.strategy, case.setup, other, ONE)["own result"].said

    better = honest.walked.equity.copy()
    better[700:] *= 1.01
    assert "equity parts from a new run" in apart(equity=better)
    same_bar = honest.walked.fills.copy()
    same_bar[same_bar[:, 7] == 0, 8] = same_bar[same_bar[:, 7] == 0, 1]
    assert "fills in that very bar" in apart(fills=same_bar)
    free = Setup(fills=_null.flat_cost(Setup(), 0.0).fills)
    cheaper = Backtest(case.candles, case.strategy, free).run()
    assert verdict(case.candles, case.strategy, case.setup, cheaper, ONE)["own result"].outcome is FAILED


# Tests of one's own


class Above(Backtest):
    def target(self, candles: pd.DataFrame) -> pd.Series:
        return (candles["close"] > candles["close"].rolling(10).mean()).astype(float)


class AboveByBar(Backtest):
    """The same, bar by bar; with `peeks` it looks one bar further in the frame it was given."""

    peeks = 0

    def on_bar(self, bar: Seen, desk: Desk) -> None:
        closes = self.candles["close"].to_numpy()  # type: ignore[call-overload]
        at = min(bar.row + self.peeks, len(closes) - 1)
        desk.want(float(at >= 10 and closes[at] > closes[at - 9 : at + 1].mean()))


class Peeking(AboveByBar):
    peeks = 1


def test_a_subclass_is_probed_as_a_strategy_is() -> None:
    candles = markets.trending(21, 600)
    test = Above(candles)

    found = verdict(candles, test, Setup(), test.run(), ONE)

    assert found["own result"].outcome is PASS
    assert found["look-ahead"].outcome is PASS
    assert found["warm-up"].said.endswith("it declares no warm-up.")


class WithTheOther(Backtest):
    """Goes with the other symbol's last move, or (`ahead`) with the one to come."""

    ahead = 0

    def target(self, candles: pd.DataFrame) -> pd.Series:
        assert isinstance(self.candles, dict)
        moves = np.sign(self.candles["ONE" if self.symbol == "TWO" else "TWO"]["close"].diff())
        return moves.shift(-self.ahead).reindex(candles.index).fillna(0.0)


class Ahead(WithTheOther):
    ahead = 1


def test_a_subclass_is_cut_off_in_all_the_candles_within_its_reach() -> None:
    frames = {name: markets.trending(seed, 300) for name, seed in (("ONE", 21), ("TWO", 22))}

    honest, peeking = (
        verdict(frames, test, Setup(), test.run(), ONE) for test in (WithTheOther(frames), Ahead(frames))
    )

    assert honest["look-ahead"].outcome is PASS
    assert peeking["own result"].outcome is PASS
    assert peeking["look-ahead"].outcome is FAILED


def test_a_test_that_decides_bar_by_bar_is_cut_off_too() -> None:
    candles = markets.trending(21, 300)
    honest, peeking = (kind(candles) for kind in (AboveByBar, Peeking))

    first = verdict(candles, honest, Setup(), honest.run(), ONE)
    second = verdict(candles, peeking, Setup(), peeking.run(), ONE)

    assert first["look-ahead"].outcome is PASS
    assert first["own result"].outcome is PASS
    assert first["random entries"].number is not None
    assert second["look-ahead"].outcome is FAILED


# Symbols


def test_whether_symbols_were_picked_needs_a_universe() -> None:
    frames = {name: markets.trending(24 + at) for at, name in enumerate(("ONE", "TWO"))}
    strategy, setup = SmaCrossover(5, 15), Setup(fraction=0.5)

    assert ask(frames, strategy, setup)["symbols"].outcome is DOUBT
    assert ask(frames, strategy, setup, universe=frames)["symbols"].outcome is PASS
    outside = ask(frames, strategy, setup, universe={"ONE": frames["ONE"]})["symbols"]
    assert outside.outcome is DOUBT
    assert outside.said.startswith("TWO: traded, and not in")
    many = frames | {f"SYM{n}": markets.trending(50 + n) for n in range(8)}
    assert "today's names" in ask(frames, strategy, setup, universe=many)["symbols"].said
    elsewhere = ask({"ONE": frames["ONE"]}, strategy, setup, replace(ONE, elsewhere=3))["symbols"]
    assert elsewhere.said.startswith("It was tried on 3 other data sets too")


# The lockbox


def test_the_locked_span_is_judged_for_the_variant_that_opened_it(tmp_path: Path) -> None:
    case, _ = clean()
    candles: Any = case.candles
    ledger = TrialLedger(f"sqlite:///{tmp_path / 'research.db'}")
    data = DataSet.of(candles)
    box = ledger.seal(data, str(candles.index[1200].date()))
    part = box.before(candles)
    searched = Backtest(part, case.strategy).run()
    tried = ledger.note(DataSet.of(searched), [Variant.of(searched, case.strategy)])
    with pytest.raises(KeyError):
        verdict(part, case.strategy, case.setup, searched, tried)["lockbox"]

    result = run(candles, case.strategy, case.setup)
    own = Variant.of(result, case.strategy)
    ledger.open_lockbox(data, own)
    opened = verdict(candles, case.strategy, case.setup, result, ledger.note(data, [own]))["lockbox"]
    other = verdict(candles, case.strategy, case.setup, result, replace(ledger.tried(data, own), variant="x"))[
        "lockbox"
    ]

    assert opened.outcome is PASS
    daily = result.equity.pct_change().to_numpy()[-300:]
    assert opened.number == pytest.approx(daily.mean() / daily.std(ddof=1) * 252**0.5)
    assert other.outcome is DOUBT
    closed = replace(tried, lockbox=Lockbox(1, box.first, box.last))
    assert "not been opened" in verdict(candles, case.strategy, case.setup, result, closed)["lockbox"].said


# Poor results


def test_whatever_there_is_gets_a_verdict() -> None:
    flat = markets.noise(1, 60).assign(open=100.0, high=100.0, low=100.0, close=100.0)
    assert ask(flat, SmaCrossover(2, 5)).word == FAIL  # never trades
    assert ask(markets.noise(1, 1), SmaCrossover(2, 5)).word == FAIL
    assert ask(markets.noise(1, 30), SmaCrossover(2, 5), tried=None).word == FAIL

    crash = markets.of_returns(np.r_[np.full(30, 0.02), 1.0, np.full(30, 0.05)], np.random.default_rng(0))
    ruined = ask(crash, LastMove(against=True), Setup(leverage=4.0, fraction=4.0))
    assert ruined["deflated Sharpe"].number is None
    assert ruined.word == FAIL
