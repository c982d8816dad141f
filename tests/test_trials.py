"""research/trials.py: what was tried is counted, whatever one does to bring the count down."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as hs

from backtester import Backtest, Setup
from domain.clock import ManualClock
from domain.errors import LedgerConflict, LedgerUnusable
from domain.luck import best_of
from research.trials import DataSet, TrialLedger, Tried, Variant
from strategies.sma_crossover import SmaCrossover
from tests.planted import markets

CANDLES = markets.noise(5, 400)
DATA = DataSet.of({"AAPL": CANDLES})


@pytest.fixture
def ledger(tmp_path: Path) -> TrialLedger:
    return TrialLedger(f"sqlite:///{tmp_path / 'data' / 'research.db'}", ManualClock())


def variant(number: int, sharpe: float = 0.01) -> Variant:
    return Variant("SmaCrossover", {"fast": number}, {"cash": 1e5}, sharpe)


def count(ledger: TrialLedger, data: DataSet, *numbers: int) -> int:
    return ledger.note(data, [variant(number) for number in numbers]).count


def test_a_variant_counts_once_and_another_one_too(ledger: TrialLedger) -> None:
    assert count(ledger, DATA, 1) == 1
    assert count(ledger, DATA, 1) == 1
    assert count(ledger, DATA, 2, 3, 3) == 3
    assert ledger.tried(DATA).count == 3


def test_a_variant_is_its_strategy_its_parameters_its_setup_and_what_it_came_to() -> None:
    result = Backtest(CANDLES, SmaCrossover()).run()
    own = Variant.of(result, SmaCrossover())

    assert own == Variant.of(result, SmaCrossover())
    assert own.sharpe is not None
    assert own.code
    assert Variant.by(SmaCrossover(), Setup(), own.sharpe) == own
    assert own.sharpe == pytest.approx(result.metrics["sharpe"].value / 252**0.5)
    others = [
        replace(own, strategy="Other"),
        replace(own, params={**own.params, "fast": 11}),
        replace(own, setup=Setup(cash=1.0).to_dict()),
        replace(own, code="edited"),
    ]
    assert len({own.key, *(other.key for other in others)}) == 5


def test_other_code_under_an_old_name_comes_to_something_else_and_counts(ledger: TrialLedger) -> None:
    ledger.note(DATA, [variant(1, 0.01)])

    assert ledger.note(DATA, [variant(1, 0.02)]).count == 2


@pytest.mark.parametrize(
    "alike",
    [
        {"AAPL": CANDLES.iloc[1:]},
        {"AAPL": CANDLES.iloc[:-30]},
        {"ZZZ": CANDLES},
        {"ZZZ": CANDLES.iloc[5:], "YYY": markets.noise(6, 400)},
        CANDLES,
        {"AAPL": CANDLES * 1.001},
    ],
    ids=["a bar less", "an earlier end", "another name", "in company", "no name", "adjusted prices"],
)
def test_neither_a_bar_nor_a_name_starts_the_count_anew(ledger: TrialLedger, alike: object) -> None:
    count(ledger, DATA, 1, 2, 3)

    assert count(ledger, DataSet.of(alike), 4) == 4  # type: ignore[arg-type]


def test_other_prices_have_their_own_count(ledger: TrialLedger) -> None:
    count(ledger, DATA, 1, 2, 3)

    assert count(ledger, DataSet.of({"MSFT": markets.noise(6, 400)}), 1) == 1
    assert count(ledger, DataSet.of({"AAPL": markets.noise(7, 400)}, source="simulated"), 1) == 1


def test_asking_again_as_bars_are_added_is_no_new_trial(ledger: TrialLedger) -> None:
    for bars in (380, 390, 400):
        assert count(ledger, DataSet.of({"AAPL": CANDLES.iloc[:bars]}), 1) == 1
    assert count(ledger, DataSet.of({"AAPL": CANDLES.iloc[:385]}), 1) == 2


def test_the_same_variant_on_other_symbols_is_told_apart(ledger: TrialLedger) -> None:
    for at, symbol in enumerate(("MSFT", "NVDA")):
        count(ledger, DataSet.of({symbol: markets.noise(60 + at, 400)}), 1)

    assert ledger.note(DATA, [variant(1)]).elsewhere == 2
    assert ledger.note(DATA, [variant(2)]).elsewhere == 0


@pytest.mark.parametrize(
    "attack",
    [
        "DELETE FROM trials",
        "UPDATE trials SET data = 'elsewhere'",
        "DELETE FROM data_marks",
        "INSERT OR REPLACE INTO trials SELECT number, 'x', variant, strategy, params, setup, sharpe, outcome, at "
        "FROM trials",
        "INSERT INTO trials SELECT number + 9, 'x', variant, strategy, params, setup, sharpe, outcome, at FROM trials",
    ],
)
def test_rows_are_only_ever_added(ledger: TrialLedger, tmp_path: Path, attack: str) -> None:
    count(ledger, DATA, 1, 2, 3)

    with sqlite3.connect(tmp_path / "data" / "research.db") as db, pytest.raises(sqlite3.IntegrityError):
        db.execute(attack)

    assert ledger.tried(DATA).count == 3


@pytest.mark.parametrize(
    "attack",
    [
        "DROP TRIGGER trials_delete; DELETE FROM trials WHERE number = 2",
        "DROP TRIGGER trials_update",
        "INSERT OR REPLACE INTO trials SELECT 4, data, variant, strategy, params, setup, sharpe, outcome, at FROM "
        "trials WHERE number = 1",
    ],
)
def test_a_file_somebody_took_rows_out_of_is_not_believed(ledger: TrialLedger, tmp_path: Path, attack: str) -> None:
    count(ledger, DATA, 1, 2, 3)
    with sqlite3.connect(tmp_path / "data" / "research.db") as db:
        db.executescript(attack)

    with pytest.raises(LedgerUnusable, match="tampered"):
        ledger.tried(DATA)
    with pytest.raises(LedgerUnusable, match="tampered"):
        count(ledger, DATA, 4)


def test_trials_whose_table_was_thrown_away_are_missed(ledger: TrialLedger, tmp_path: Path) -> None:
    """A new table in its place is sound in itself; the data sets still say what was tried on them."""
    count(ledger, DATA, 1, 2, 3)
    file = tmp_path / "data" / "research.db"
    with sqlite3.connect(file) as db:
        db.executescript("DROP TABLE trials")

    with pytest.raises(LedgerUnusable, match=r"the trials on .* are gone; restore a backup"):
        TrialLedger(f"sqlite:///{file}")


def test_many_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'research.db'}"
    TrialLedger(url).close()

    def write(first: int) -> None:
        own = TrialLedger(url)
        for number in range(first, first + 5):
            count(own, DATA, number)
        own.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(0, 20, 5)))

    assert TrialLedger(url).tried(DATA).count == 20


def test_it_is_kept_over_a_restart_and_lives_in_a_file(ledger: TrialLedger, tmp_path: Path) -> None:
    count(ledger, DATA, 1, 2)
    ledger.close()

    assert TrialLedger(f"sqlite:///{tmp_path / 'data' / 'research.db'}").tried(DATA).count == 2
    with pytest.raises(LedgerUnusable, match="SQLite file"):
        TrialLedger("postgresql://desk/ledger")


def test_nothing_tried_and_no_candles_are_refused(ledger: TrialLedger) -> None:
    with pytest.raises(ValueError, match="nothing was tried"):
        ledger.note(DATA, [])
    with pytest.raises(ValueError, match="no candles"):
        DataSet.of(CANDLES.iloc[:0])
    with pytest.raises(ValueError, match="no fewer trials"):
        Tried(1, (0.1, 0.2))


# The hurdle


def test_the_hurdle_is_the_best_that_luck_would_show_among_the_trials() -> None:
    sharpes = (0.01, -0.02, 0.015, 0.0, -0.01)

    assert Tried(1, (0.1,)).hurdle(500) == 0.0
    assert Tried(5, sharpes).hurdle(500) == pytest.approx(best_of(5, float(np.std(sharpes, ddof=1))))
    assert Tried(5).hurdle(500) == pytest.approx(best_of(5, 499**-0.5))
    # Spread beyond what luck can do is a difference of costs.
    assert Tried(3, (0.0, -9.0, 9.0)).hurdle(500) == pytest.approx(best_of(3, 499**-0.5))


numbers = hs.floats(-0.2, 0.2)


@given(hs.lists(numbers, min_size=1, max_size=30), hs.lists(numbers, max_size=30), hs.integers(3, 2000))
def test_no_trial_added_later_lowers_the_hurdle(before: list[float], later: list[float], days: int) -> None:
    first, more = Tried(len(before), tuple(before)), Tried(len(before) + len(later), (*before, *later))

    assert more.hurdle(days) >= first.hurdle(days) - 1e-12


def test_a_thousand_dummies_do_not_talk_it_down() -> None:
    real = tuple(np.random.default_rng(1).normal(0, 0.02, 200))

    assert Tried(1200, real + (0.0,) * 1000).hurdle(1500) >= Tried(200, real).hurdle(1500)


# The lockbox


def sealed(ledger: TrialLedger) -> str:
    since = str(CANDLES.index[300].date())
    box = ledger.seal(DATA, since)
    assert box.opened_by is None
    assert len(box.before(CANDLES)) == 300
    return since


def test_a_lockbox_opens_once(ledger: TrialLedger) -> None:
    sealed(ledger)
    searched = DataSet.of({"AAPL": CANDLES.iloc[:300]})
    assert count(ledger, searched, 1, 2, 3) == 3

    assert ledger.open_lockbox(DATA, variant(2)).opened_by == variant(2).key

    with pytest.raises(LedgerConflict, match="opens once"):
        ledger.open_lockbox(DATA, variant(2))
    tried = ledger.note(DATA, [variant(2)])
    assert tried.count == 3
    assert tried.lockbox is not None
    assert tried.lockbox.opened_by == tried.variant


def test_looking_into_a_closed_lockbox_opens_it(ledger: TrialLedger) -> None:
    sealed(ledger)

    count(ledger, DataSet.of({"AAPL": CANDLES.iloc[:301]}), 7, 8)

    with pytest.raises(LedgerConflict, match="was opened"):
        ledger.open_lockbox(DATA, variant(7))
    tried = ledger.tried(DATA, variant(7))
    assert tried.lockbox is not None
    assert tried.lockbox.opened_by == ""


def test_there_is_one_lockbox_and_it_holds_what_nobody_has_seen(ledger: TrialLedger) -> None:
    since = sealed(ledger)
    with pytest.raises(LedgerConflict, match="only one"):
        ledger.seal(DataSet.of({"AAPL": CANDLES.iloc[2:]}), since)

    other = DataSet.of({"MSFT": markets.noise(6, 400)})
    with pytest.raises(LedgerConflict, match="no lockbox"):
        ledger.open_lockbox(other, variant(1))
    count(ledger, other, 1)
    with pytest.raises(LedgerConflict, match="tried already"):
        ledger.seal(other, since)
    with pytest.raises(ValueError, match="within the data"):
        ledger.seal(other, str(pd.Timestamp("2099-01-01").date()))
