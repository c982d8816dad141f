"""research/study.py: a question, its whole answer, the files it is kept in, and what may be concluded from it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as hs

from backtester import Backtest, Exit, Setup
from domain.daily import daily
from domain.errors import DataError, UnknownName
from domain.fees import Commission
from domain.instruments import instrument
from domain.matching import FillRules
from research import _study_run, _study_views, jobs
from research._study_compare import leads
from research._study_run import variants_of
from research.jobs import JobCancelled
from research.study import Asked, Chosen, Study, sma_pairs, study, work
from research.sweep import SweepCancelled, sweep
from research.trials import DataSet, TrialLedger, Variant
from settings import Settings
from strategies.sma_crossover import SmaCrossover

FAST, SLOW = Chosen("sma_crossover", {"fast": 5, "slow": 15}), Chosen("sma_crossover")
SPAN = {"start": "2023-03-01", "end": "2024-02-29"}


def days_of(symbol: str, seed: int) -> pd.DataFrame:
    """300 sessions from January 2023 on."""
    days = instrument(symbol).calendar.sessions.days
    days = days[np.searchsorted(days, np.datetime64("2023-01-01")) :][:300]
    close = np.round(100 * np.exp(np.cumsum(np.random.default_rng(seed).normal(0, 0.012, 300))), 2)
    open_ = np.r_[100.0, close[:-1]]
    table = {"date": days, "open": open_, "high": np.maximum(open_, close), "low": np.minimum(open_, close)}
    return pd.DataFrame(table).assign(close=close, volume=1e7)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with files of AAPL and MSFT."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "ohlcv").mkdir()
    for seed, symbol in enumerate(("AAPL", "MSFT")):
        days_of(symbol, seed).to_csv(folder / "ohlcv" / f"{symbol}.csv", index=False)
    return folder


def desk(data: Path) -> Settings:
    return Settings(data_dir=data)


def asked(**changes: Any) -> Asked:
    return replace(Asked(("AAPL",), strategies=(FAST, SLOW), judged=False, **SPAN), **changes)


@pytest.fixture(scope="module")
def heard() -> list[tuple[float, str]]:
    """What the progress of `whole` said."""
    return []


@pytest.fixture(scope="module")
def whole(data: Path, heard: list[tuple[float, str]]) -> Study:
    """A judged question with a sweep, answered."""
    given = asked(judged=True, sweep={"fast": (3, 9, 3), "slow": (12, 24, 6)})
    settings = Settings(data_dir=data, _env_file=None)
    return study(given, settings, progress=lambda share, said: heard.append((share, said)))


# The question


def test_a_question_is_json_and_back() -> None:
    given = asked(
        symbols=("AAPL", "MSFT"),
        setup=Setup(stop=Exit("atr", 2.0), cash=5000.0),
        sweep={"fast": (3, 9, 3)},
        universe=("AAPL", "MSFT", "SPY"),
    )

    assert Asked.of(json.loads(json.dumps(given.to_dict()))) == given
    assert Asked.of({"symbols": ["aapl"]}).symbols == ("AAPL",)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"symbols": []}, "symbols: name at least one"),
        ({"symbols": ["?"]}, "?"),
        ({"interval": "2d"}, "timeframe"),
        ({"start": "1.3.2024"}, "start: a date is written 2024-03-28: got '1.3.2024'"),
        ({"end": "2024-02-30"}, "end: a date is written"),
        ({"start": "2024-02-01", "end": "2024-01-01"}, "start must lie before end"),
        ({"source": "yahooo"}, "Did you mean 'yahoo'"),
        ({"strategies": []}, "strategies: name at least one"),
        ({"strategies": [{"name": "sma_cros"}]}, "Did you mean 'sma_crossover'"),
        ({"strategies": [{"name": "sma_crossover", "params": {"fast": 40}}]}, "slow must exceed fast"),
        ({"strategies": [{"name": "sma_crossover", "params": {"fats": 4}}]}, "Did you mean 'fast'"),
        ({"strategies": ["rule"]}, 'each is {"name": ..., "params": {...}}'),
        ({"setup": {"cash": -1}}, "cash must be at least 1"),
        ({"sweep": {"fast": [3, 9]}}, "sweep: fast is written (low, high, step)"),
        ({"sweep": {"fats": [3, 9, 1]}}, "Did you mean 'fast'"),
        ({"sweep": {}}, "sweep: name at least one parameter"),
        ({"sweep": {"fast": [3, 9, 1]}, "symbols": ["AAPL", "MSFT"], "share_cash": False}, "must share their cash"),
        ({"symbol": "AAPL"}, "Did you mean 'symbols'"),
    ],
)
def test_a_question_that_cannot_be_is_refused_by_name(change: dict[str, Any], words: str) -> None:
    given = {"symbols": ["AAPL"], "strategies": [{"name": "sma_crossover"}]} | change

    with pytest.raises((ValueError, UnknownName)) as refused:
        Asked.of(given)

    assert words in str(refused.value)


def test_the_pairs_are_the_manual_s_three_and_their_majority() -> None:
    given = sma_pairs(("AAPL",), today=date(2026, 8, 31))

    assert given.start == "2026-02-28"
    assert [one.label for one in given.strategies] == [
        "sma_crossover 5/15",
        "sma_crossover 10/30",
        "sma_crossover 20/50",
        "sma_crossover combined",
    ]


# Setups as JSON

exits = hs.none() | hs.builds(
    Exit, hs.sampled_from(["atr", "pct", "price distance"]), hs.floats(0.1, 50.0), hs.integers(1, 50)
)
money = hs.decimals(0, 20, allow_nan=False, places=4)
setups = hs.builds(
    Setup,
    cash=hs.floats(1.0, 1e9),
    fills=hs.builds(
        FillRules,
        half_spread_bps=hs.floats(0, 50),
        ignore_volume=hs.booleans(),
        commission=hs.builds(Commission, money, money, money, hs.just(Decimal(1)), hs.none() | hs.just(Decimal("2.5"))),
    ),
    sizing=hs.sampled_from(["equity", "shares"]),
    short=hs.booleans(),
    stop=exits,
    target=exits,
    trail=exits,
    max_bars=hs.integers(0, 100),
)


@examples(max_examples=60)
@given(setups)
def test_a_setup_is_json_and_back(setup: Setup) -> None:
    assert Setup.of(json.loads(json.dumps(setup.to_dict()))) == setup


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"leverge": 2.0}, "Did you mean 'leverage'"),
        ({"leverage": 0}, "leverage must be at least 0.01"),
        ({"stop": {"amont": 2.0}}, "Did you mean 'amount'"),
        ({"stop": 2.0}, "stop must be a mapping of its fields: got 2.0"),
        ({"fills": {"commission": {"bps": "five"}}}, "bps must be an amount of money: got 'five'"),
        ({"fills": {"volume_cap": 2}}, "volume_cap must be at most 1"),
    ],
)
def test_a_setup_that_cannot_be_is_refused_by_name(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Setup.of(change)


# The answer


def test_a_run_is_the_backtest_itself(data: Path) -> None:
    found = study(asked(strategies=(FAST,)), desk(data))

    [run], candles = found.runs, found.candles["AAPL"]
    loaded, _ = _study_run.load(found.asked, desk(data), quiet(), None, 15)
    result = Backtest(loaded.frames, FAST.made(), start=candles.index[0], end=loaded.span.end, timeframe="1d").run()
    assert run.curve["equity"].to_numpy() == pytest.approx(result.equity.to_numpy(), rel=0)
    assert run.curve["drawdown"].min() == pytest.approx(result.metrics["max_drawdown"].value)
    assert len(run.trades) == len(result.trades)
    assert run.metrics["sharpe"].value == result.metrics["sharpe"].value
    assert run.metrics["sortino"].low is not None
    assert (found.answer, found.comparison, found.surface) == ("", None, None)
    assert (found.simulated, found.source) == (False, "files")
    assert found.benchmark.iloc[-1] == pytest.approx(100_000 * candles["close"].iloc[-1] / candles["open"].iloc[0])


def quiet() -> _study_run.Step:
    return _study_run.Step(lambda share, said: None, lambda: False)


def test_months_and_years_multiply_to_the_whole(whole: Study) -> None:
    for run in whole.runs:
        months, total = run.monthly.drop(columns="year").to_numpy(), run.metrics["total_return"].value
        assert np.nanprod(1 + months) - 1 == pytest.approx(total)
        assert (1 + run.monthly["year"]).prod() - 1 == pytest.approx(total)
        assert np.isnan(months[0, :2]).all()
        assert list(run.monthly.index) == [2023, 2024]
        assert (1 + run.returns).prod() - 1 == pytest.approx(total)


def test_the_first_month_counts_from_the_cash_it_began_with() -> None:
    equity = pd.Series(
        [100.0, 110.0, 99.0, 198.0],
        pd.to_datetime(["2024-01-30 21:00", "2024-01-31 21:00", "2024-02-29 21:00", "2025-03-03 21:00"], utc=True),
    )

    table = _study_views.monthly(daily(equity))

    assert table.loc[2024, 1] == pytest.approx(0.10)
    assert table.loc[2024, 2] == pytest.approx(-0.10)
    assert table.loc[2024, "year"] == pytest.approx(-0.01)
    assert table.loc[2025, 3] == pytest.approx(1.0)
    assert table.notna().to_numpy().sum() == 5


def test_the_fan_begins_at_the_cash_and_spreads(whole: Study) -> None:
    fan = whole.runs[0].fan

    assert (fan.iloc[0] == 100_000.0).all()
    assert (np.diff(fan.iloc[-1].to_numpy()) > 0).all()
    assert len(fan) == len(whole.runs[0].returns) + 1
    assert whole.runs[0].fan_said.startswith("of 1,000 resampled histories ")


def test_a_study_read_back_is_the_study_that_was_written(whole: Study, tmp_path: Path) -> None:
    whole.save(tmp_path)

    found = Study.load(tmp_path)

    assert found == whole
    assert found.runs[0].curve.index.dtype == whole.runs[0].curve.index.dtype
    assert found != replace(whole, runs=whole.runs[:1])
    assert found != replace(whole, benchmark=whole.benchmark + 1.0)


def test_what_is_no_whole_study_is_not_read(whole: Study, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no whole study here"):
        Study.load(tmp_path)
    whole.save(tmp_path)
    (tmp_path / "run0-curve.parquet").unlink()
    with pytest.raises(DataError, match="run0-curve"):
        Study.load(tmp_path)


def test_a_sweep_is_searched_shown_and_held_against_its_own_best(whole: Study) -> None:
    surface = whole.surface

    assert surface is not None
    assert surface.heat.shape == (3, 3)
    assert (surface.x, surface.y, surface.tried) == ("fast", "slow", 9)
    best = surface.heat.stack().idxmax()
    assert surface.best == {"slow": best[0], "fast": best[1]}
    own = [run for run in whole.runs if "the best of 9 combinations by sharpe" in run.notes]
    assert [run.params["fast"] for run in own] == [surface.best["fast"]]
    assert all("overfitting" in [c["name"] for c in run.verdict["checks"]] for run in whole.runs if run.verdict)
    assert all(run.word in ("fail", "weak", "worth paper trading") for run in whole.runs)


def test_symbols_share_one_account_or_have_one_each(data: Path) -> None:
    both = asked(symbols=("AAPL", "MSFT"), strategies=(SLOW,))

    [shared] = study(both, desk(data)).runs
    apart = study(replace(both, share_cash=False), desk(data))

    assert set(shared.trades["symbol"]) == {"AAPL", "MSFT"}
    assert [run.label for run in apart.runs] == ["AAPL sma_crossover 10/30", "MSFT sma_crossover 10/30"]
    assert [set(run.trades["symbol"]) for run in apart.runs] == [{"AAPL"}, {"MSFT"}]
    assert apart.comparison is not None
    assert any("by their fate" in note for note in apart.notes)


def test_only_a_universe_that_was_named_can_clear_the_symbols_of_being_picked(data: Path) -> None:
    given = asked(strategies=(SLOW,), judged=True)
    [alone] = study(replace(given, symbols=("AAPL", "MSFT")), desk(data)).runs
    [named] = study(replace(given, universe=("AAPL", "MSFT")), desk(data)).runs

    checks = [{c["name"]: c for c in run.verdict["checks"]} for run in (alone, named) if run.verdict]
    assert "whether they were chosen by their fate is not known" in checks[0]["symbols"]["said"]
    assert "on the 2 of the universe" in checks[1]["symbols"]["said"]


def test_what_is_not_there_is_said_with_what_there_is(data: Path) -> None:
    with pytest.raises(DataError) as refused:
        study(asked(symbols=("ZZZZ",)), desk(data))

    assert "There is nothing of ZZZZ. There are: AAPL, MSFT." in str(refused.value)
    assert f"Looked in {data / 'ohlcv'}" in str(refused.value)


def test_simulated_prices_come_on_request_only(data: Path) -> None:
    given = asked(symbols=("NVDA",), strategies=(SLOW,), start="2024-01-02", end="2024-03-28")

    with pytest.raises(DataError):
        study(given, desk(data))
    found = study(replace(given, source="simulated"), desk(data))

    assert found.simulated


# What was tried


def trials(data: Path, found: Study) -> int:
    """What the ledger counts on these data."""
    ledger = TrialLedger(f"sqlite:///{data / 'research.db'}")
    count = ledger.tried(DataSet.of(found.candles)).count
    ledger.close()
    return count


def test_everything_is_written_down_once_before_it_is_shown(tmp_path: Path) -> None:
    (tmp_path / "ohlcv").mkdir()
    days_of("AAPL", 0).to_csv(tmp_path / "ohlcv" / "AAPL.csv", index=False)
    given = asked(strategies=(FAST,), sweep={"fast": (3, 5, 1), "slow": (15, 17, 1)})

    first = study(given, desk(tmp_path))
    again = study(given, desk(tmp_path))
    more = study(asked(strategies=(FAST, SLOW)), desk(tmp_path))

    assert [run.stamp["trials"] for run in (*first.runs, *again.runs)] == [9] * (len(first.runs) + len(again.runs))
    assert [run.stamp["trials"] for run in more.runs] == [10, 10]
    assert trials(tmp_path, more) == 10
    assert all(run.verdict is None for run in first.runs)


def test_a_combination_of_a_sweep_is_the_trial_that_its_own_run_is(data: Path) -> None:
    given = asked(strategies=(FAST,))
    loaded, _ = _study_run.load(given, desk(data), quiet(), None, 30)
    span = {"start": loaded.span.start, "end": loaded.span.end}
    found = sweep(loaded.frames, SmaCrossover, {"fast": (4, 6), "slow": (14, 16)}, Setup(), **span)  # type: ignore[arg-type]

    for variant in variants_of(found):
        strategy = SmaCrossover(**variant.params)
        own = Variant.of(Backtest(loaded.frames, strategy, Setup(), timeframe="1d", **span).run(), strategy)  # type: ignore[arg-type]
        assert (variant.key, variant.outcome) == (own.key, own.outcome)


# Progress


def test_progress_only_grows_and_ends_at_one(whole: Study, heard: list[tuple[float, str]]) -> None:
    shares = [share for share, _ in heard]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    words = " ".join(said for _, said in heard)
    assert all(part in words for part in ("loading candles of AAPL", "sweep: ", "random entries: 400 of 1,000"))


@pytest.mark.parametrize(
    "at", ["loading", "running", "sweep", "overfitting", "look-ahead", "random entries", "figures"]
)
def test_it_can_be_called_off_at_every_step(data: Path, at: str) -> None:
    said: list[str] = []
    given = asked(strategies=(FAST,), judged=True, sweep={"fast": (3, 5, 1)})

    with pytest.raises((JobCancelled, SweepCancelled)):
        study(given, desk(data), progress=lambda share, words: said.append(words), cancel=lambda: at in " ".join(said))

    assert at in said[-1]


def test_a_job_leaves_the_study_in_its_folder(data: Path) -> None:
    folder = data / "jobs" / "one"

    work(asked(strategies=(FAST,)).to_dict(), folder, lambda share, said: None, lambda: False)

    assert Study.load(folder).runs[0].label == "sma_crossover 5/15"
    assert jobs.KINDS["backtest"] == f"{work.__module__}:{work.__name__}"


# Which did best


def test_the_answer_names_the_best_its_lead_and_what_that_is_worth(whole: Study) -> None:
    table = whole.comparison

    assert table is not None
    assert list(table["total_return"]) == sorted(table["total_return"], reverse=True)
    best, second = table["label"].iloc[0], table["label"].iloc[1]
    assert whole.answer.startswith(f"Of 2023-03-01 to 2024-02-29, {best} ")
    assert f"for {second}; a difference this large comes about by chance in " in whole.answer
    assert whole.answer.endswith(f"The verdict on {best}: {whole[best].word}.")
    assert table["next"].iloc[0] == second
    assert table["better"].iloc[0] > 0.5
    assert np.isnan(table["chance"].iloc[-1])


def test_without_a_difference_chance_has_its_share_and_a_real_one_is_seen() -> None:
    chance, small, trials = np.random.default_rng(5), 0, 120
    for seed in range(trials):
        common = chance.normal(0.0, 0.01, (126, 1))
        drawn = common + chance.normal(0.0, 0.004, (126, 3))
        drawn = drawn[:, np.argsort(-drawn.sum(axis=0))]
        small += leads(drawn, draws=200, seed=seed).chance[0] <= 0.2
    plain = common + chance.normal(0.0, 0.004, (126, 1))
    real = leads(np.hstack([plain + 0.003, plain[::-1]]), draws=500)
    same = leads(np.hstack([plain, plain]), draws=500)

    assert 0.08 < small / trials < 0.34  # 0.2, four deviations either way
    assert real.better[0] > 0.95
    assert same.chance[0] == 1.0
    assert same.better[0] == 0.5


def test_further_trials_on_the_same_data_make_a_lead_less_telling(tmp_path: Path) -> None:
    (tmp_path / "ohlcv").mkdir()
    days_of("AAPL", 0).to_csv(tmp_path / "ohlcv" / "AAPL.csv", index=False)
    before = study(asked(), desk(tmp_path))
    study(asked(strategies=(FAST,), sweep={"fast": (3, 6, 1), "slow": (15, 20, 1)}), desk(tmp_path))
    after = study(asked(), desk(tmp_path))

    assert before.comparison is not None
    assert after.comparison is not None
    first, later = before.comparison["chance"].iloc[0], after.comparison["chance"].iloc[0]
    looks = after.runs[0].stamp["trials"] / 2
    assert later == pytest.approx(1 - (1 - first) ** looks)
    assert later > first
    assert "trials on these data counted" in after.answer
