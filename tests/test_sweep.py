"""research/sweep.py: every combination, what lies around the best, the compiled family, other processes, a cluster."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from backtester import Backtest, Exit, Setup
from domain import luck
from domain.candles import frame
from domain.errors import DeskError, UnknownName
from domain.fees import Commission
from domain.instruments import instrument
from domain.matching import FillRules
from domain.params import check_params, param
from research import _sma_family, _task, _workers
from research._grid import axes_of
from research._task import COLUMNS, Task
from research.sweep import Sweep, SweepCancelled, main, sweep, walk_forward
from strategies.base import Wanted
from strategies.mean_reversion import MeanReversion
from strategies.sma_crossover import SmaCrossover
from tests.conftest import ROOT
from tests.test_strategies import walk

DAY = 86_400_000_000_000
BPS_10 = Setup(
    fills=FillRules(0.0, 0.0, ignore_volume=True, regulatory_fees=False, commission=Commission(bps=Decimal(10))),
    whole_cents=False,
)


def daily(rows: int, seed: int = 0, volume: float = 1e9) -> pd.DataFrame:
    candles = walk(rows, seed)
    blocks = {name: candles[name].to_numpy() for name in ("open", "high", "low", "close")}
    return frame(np.arange(rows) * DAY + 14 * 3600 * 10**9, {**blocks, "volume": np.full(rows, volume)})


CANDLES = daily(300)
FEW = {"fast": [3, 5, 8, 12], "slow": (10, 30, 4)}
SMALL = {"length": [10, 20], "entry": (1.0, 2.0, 0.5), "rsi_length": [5], "hold": [5, 10]}


def same_as_backtests(found: Sweep, every: int = 1) -> None:
    """Each row is what `Backtest` and its metrics say of these parameters."""
    names = [axis.name for axis in found.grid.axes]
    for row in found.table.iloc[::every].to_dict("records"):
        result = found.task.run({name: row[name] for name in names})
        metrics = result.metrics
        assert row["trades"] == metrics["trades"].value
        assert row["profit"] == result.equity.iloc[-1] - result.equity.iloc[0]
        assert row["sharpe"] == pytest.approx(metrics["sharpe"].value or np.nan, rel=1e-9, nan_ok=True)
        assert row["max_drawdown"] == pytest.approx(metrics["max_drawdown"].value, rel=1e-12)
        assert row["exposure"] == pytest.approx(metrics["time_exposure"].value, rel=1e-12)


@dataclass(frozen=True)
class Toy:
    """Long for `up` of every ten bars; a strategy of the user's own."""

    label: ClassVar[str] = "Toy"
    about: ClassVar[str] = "Long for some of every ten bars."

    up: int = param(3, low=0, high=9)
    weight: float = param(1.0, low=0.1, high=1.0, step=0.3)

    def __post_init__(self) -> None:
        check_params(self)
        if self.up == 7:
            raise ValueError("seven is refused")

    @property
    def warmup(self) -> int:
        return 0

    def target(self, candles: pd.DataFrame) -> Wanted:
        return Wanted(self.weight * (np.arange(len(candles)) % 10 < self.up))


# The grid


def test_every_combination_gets_the_row_that_its_backtest_gives() -> None:
    found = sweep(CANDLES, MeanReversion, SMALL)

    assert list(found.table.columns) == [*SMALL, *COLUMNS]
    assert len(found.table) == 2 * 3 * 1 * 2
    assert found.compiled == 0
    same_as_backtests(found)


def test_combinations_that_refuse_themselves_are_left_out_and_counted() -> None:
    found = sweep(CANDLES, Toy, {"up": (5, 9), "weight": [0.5, 1.0]})

    assert found.refused == 2
    assert sorted(set(found.table["up"])) == [5, 6, 8, 9]
    with pytest.raises(ValueError, match="refuses every combination: seven is refused"):
        sweep(CANDLES, Toy, {"up": [7]})


def test_ranges_are_what_is_declared_unless_said_otherwise() -> None:
    every, some = axes_of(Toy, None), axes_of(Toy, {"weight": (0.2, 0.8, 0.2), "up": np.int64(4)})

    assert [(axis.name, axis.values) for axis in every] == [("up", tuple(range(10))), ("weight", (0.1, 0.4, 0.7, 1.0))]
    assert [(axis.name, axis.values) for axis in some] == [("weight", (0.2, 0.4, 0.6, 0.8)), ("up", (4,))]
    assert axes_of(SmaCrossover, {"short": None})[0].values == (False, True)


@pytest.mark.parametrize(
    ("ranges", "said"),
    [
        ({"fsat": [3]}, "Did you mean 'fast'"),
        ({"fast": [1, 3]}, "fast must be at least 2: got 1"),
        ({"fast": (9, 3)}, "goes up in steps above 0"),
        ({"fast": (3, 9, 0.5)}, "fast must be a whole number: got 3.5"),
        ({"fast": []}, "there are no values"),
        ({"fast": ("a", "b")}, "a tuple is"),
        ({}, "name at least one parameter"),
    ],
)
def test_a_wrong_range_says_what_is_wrong(ranges: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        sweep(CANDLES, SmaCrossover, ranges)


def test_too_many_combinations_are_refused_before_anything_is_run() -> None:
    with pytest.raises(ValueError, match=r"79,202 combinations \(fast 199, slow 398\) are more than 1,000.*ranges="):
        sweep(CANDLES, SmaCrossover, most=1_000)
    with pytest.raises(UnknownName):
        axes_of(MeanReversion, {"lenght": [1]})


def test_an_objective_beyond_the_usual_columns_is_one_more_column() -> None:
    found = sweep(CANDLES, Toy, {"up": [2, 4]}, objective="calmar")

    row = found.table.iloc[0]
    assert row["calmar"] == found.task.run({"up": 2}).metrics["calmar"].value
    with pytest.raises(ValueError, match="objective must be one of profit, sharpe"):
        sweep(CANDLES, Toy, objective="luck")


# What lies around the best


def test_a_lonely_peak_is_told_from_a_plateau() -> None:
    found = sweep(CANDLES, Toy, {"up": [0, 1, 2, 3, 4, 5, 6, 8, 9], "weight": (0.1, 1.0, 0.1)})
    sharpe = np.zeros((9, 10))
    sharpe[1, 1] = 3.0  # alone among zeros
    sharpe[4:7, 5:8] = 2.0  # nine together
    sharpe[5, 6] = 1.9
    made = replace(found, table=found.table.assign(sharpe=sharpe.ravel()))

    plateau = made.plateau

    assert plateau is not None
    assert (plateau.best, plateau.value) == ({"up": 1, "weight": 0.2}, 3.0)
    assert (plateau.neighbours, plateau.around, plateau.above) == (8, 0.0, 3.0)
    assert plateau.lonely
    assert (plateau.centre, plateau.centre_value) == ({"up": 5, "weight": 0.7}, 1.9)
    assert plateau.centre_mean == pytest.approx((8 * 2.0 + 1.9) / 9)
    assert "a lonely peak" in str(plateau)


def test_the_heat_map_has_the_objective_where_it_belongs() -> None:
    found = sweep(CANDLES, SmaCrossover, {**FEW, "short": [False, True]})

    heat = found.heat()
    turned = found.heat("slow", "fast")

    assert (heat.columns.name, heat.index.name, heat.shape) == ("fast", "slow", (6, 4))
    best = found.best
    assert best is not None
    assert heat.loc[best["slow"], best["fast"]] == np.nanmax(found.values)
    assert np.isnan(heat.loc[10, 12])  # refused
    pd.testing.assert_frame_equal(turned, heat.T)
    with pytest.raises(ValueError, match="needs two of the swept parameters"):
        found.heat("fast", "fast")


def test_no_trades_at_all_have_no_best() -> None:
    found = sweep(CANDLES, Toy, {"up": [0]})

    assert found.best is None
    assert found.plateau is None
    assert "n/a everywhere" in found.summary()
    assert json.loads(json.dumps(found.to_json()))["top"][0]["sharpe"] is None


# The compiled family


def test_the_family_gives_what_backtests_give() -> None:
    found = sweep(daily(900, seed=3), SmaCrossover, {"fast": (2, 60, 3), "slow": (5, 200, 7)}, BPS_10)

    assert found.compiled == len(found.table)
    assert found.refused == sum(fast >= slow for fast in range(2, 61, 3) for slow in range(5, 201, 7))
    same_as_backtests(found, every=7)


def test_the_family_refuses_what_the_strategy_refuses() -> None:
    columns = {"fast": np.array([2, 5, 30, 9]), "slow": np.array([3, 5, 20, 10])}
    refused = _sma_family.refused(Task(CANDLES, SmaCrossover, Setup()), columns)

    for fast, slow, no in zip(*(values.tolist() for values in columns.values()), refused, strict=True):
        if no:
            with pytest.raises(ValueError, match="slow must exceed fast"):
                SmaCrossover(fast=fast, slow=slow)
        else:
            SmaCrossover(fast=fast, slow=slow)


FILLS = hs.builds(
    FillRules,
    half_spread_bps=hs.sampled_from([0.0, 1.0, 25.0]),
    slippage_bps=hs.sampled_from([0.0, 2.0]),
    volume_cap=hs.sampled_from([0.0005, 0.05, 1.0]),
    ignore_volume=hs.booleans(),
    regulatory_fees=hs.booleans(),
    commission=hs.sampled_from(
        [
            Commission(),
            Commission(bps=Decimal(10)),
            Commission(per_order=Decimal("4.95"), per_share=Decimal("0.005"), minimum=Decimal(6), maximum=Decimal(30)),
        ]
    ),
)
SETUPS = hs.builds(
    Setup,
    cash=hs.sampled_from([500.0, 100_000.0]),
    fills=FILLS,
    sizing=hs.sampled_from(["equity", "shares"]),
    fraction=hs.sampled_from([0.5, 1.0, 3.0]),
    shares=hs.sampled_from([1.0, 700.0]),
    size_at=hs.sampled_from(["close", "open"]),
    leverage=hs.sampled_from([1.0, 4.0]),
    short=hs.booleans(),
    whole_cents=hs.booleans(),
)


@settings(max_examples=10)
@given(setup=SETUPS, seed=hs.integers(0, 1000), minutes=hs.booleans(), begin=hs.sampled_from([0, 40, 260]))
def test_under_any_simple_rules_the_family_gives_what_backtests_give(
    setup: Setup, seed: int, minutes: bool, begin: int
) -> None:
    """Volumes that cut, bars without any, early and late trading, ruin, ties: what the pass cannot do it gives up."""
    candles, of = daily(320, seed, volume=400_000.0), None
    if minutes:  # round the clock, so that most bars of a US share do not trade
        candles, of = walk(320, seed, tick=0.5), instrument("AAPL")
        candles.index += pd.Timestamp("2026-06-30T12:00Z") - candles.index[0]
    start = candles.index[begin]
    found = sweep(
        candles, SmaCrossover, {"fast": [2, 5, 13], "slow": [3, 8, 50, 399]}, setup, instrument=of, start=start
    )

    same_as_backtests(found, every=3)


def test_an_order_that_volume_cuts_is_left_to_the_backtest() -> None:
    plenty, scarce = (sweep(daily(300, volume=v), SmaCrossover, FEW) for v in (1e9, 1_000.0))

    assert plenty.compiled == len(plenty.table)
    assert scarce.compiled == 0
    same_as_backtests(scarce, every=5)


@pytest.mark.parametrize(
    ("setup", "ranges"),
    [
        (Setup(stop=Exit("pct", 1.0)), FEW),
        (Setup(trail=Exit("atr", 3.0)), FEW),
        (Setup(max_bars=5), FEW),
        (Setup(sizing="risk", stop=Exit("atr", 2.0)), FEW),
        (Setup(), {"combined": [True]}),
    ],
)
def test_rules_beyond_the_family_take_the_general_path(setup: Setup, ranges: dict[str, Any]) -> None:
    found = sweep(CANDLES, SmaCrossover, ranges, setup)

    assert found.compiled == 0
    same_as_backtests(found, every=9)


def test_memory_does_not_grow_with_bars_times_pairs() -> None:
    """The arrays of the pass: seven a bar, five numbers a pair."""
    ready = _sma_family.Prepared(Task(CANDLES, SmaCrossover, BPS_10))
    shared = sum(a.nbytes for a in vars(ready).values() if isinstance(a, np.ndarray))

    assert shared < 100 * len(CANDLES) + 1_000


# Other hands


def test_processes_and_threads_give_the_same_bytes() -> None:
    for cls, ranges in ((SmaCrossover, FEW), (MeanReversion, SMALL)):
        serial, parallel = sweep(CANDLES, cls, ranges), sweep(CANDLES, cls, ranges, jobs=2)

        assert parallel.table.to_numpy().tobytes() == serial.table.to_numpy().tobytes()


def test_progress_is_told_and_a_cancelled_sweep_ends() -> None:
    told: list[tuple[int, int]] = []
    sweep(CANDLES, Toy, {"up": [1, 2, 3]}, progress=lambda done, of: told.append((done, of)))

    assert told[-1] == (3, 3)
    with pytest.raises(SweepCancelled, match="stopped after 0 of 3"):
        sweep(CANDLES, Toy, {"up": [1, 2, 3]}, cancel=lambda: True)


def test_a_worker_with_other_code_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    stamp = _task.stamp()
    monkeypatch.setattr(_task, "stamp", lambda: "other")

    with pytest.raises(DeskError, match="runs other code or libraries"):
        _workers.everything(Task(CANDLES, Toy, Setup()), {"up": np.array([1])}, stamp)


@dataclass
class Cluster:
    address: str
    workers: list[subprocess.Popen[bytes]]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A real scheduler and three worker processes, without anyone who would start a dead one again."""
    known = tmp_path / "scheduler.json"
    quiet = {"cwd": ROOT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    dask = [sys.executable, "-m", "dask"]
    scheduler = [*dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show"]
    worker = [*dask, "worker", "--no-nanny", "--nthreads", "1", "--no-dashboard", "--local-directory", str(tmp_path)]
    file = ["--scheduler-file", str(known)]
    started = [subprocess.Popen([*scheduler, *file], **quiet)]
    started += [subprocess.Popen([*worker, *file], **quiet) for _ in range(3)]
    try:
        for _ in range(600):
            if known.exists() and known.read_text(encoding="utf-8").rstrip().endswith("}"):
                break
            time.sleep(0.1)
        address = json.loads(known.read_text(encoding="utf-8"))["address"]
        from distributed import Client

        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(3, timeout=60)
        yield Cluster(address, started[1:])
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait()


@pytest.mark.timeout(170)
def test_a_cluster_that_loses_a_worker_half_way_gives_the_same_bytes(cluster: Cluster) -> None:
    ranges = {"length": (5, 20), "entry": (0.5, 2.0, 0.5), "rsi_length": [5]}
    serial = sweep(CANDLES, MeanReversion, ranges)
    killed: list[int] = []

    def kill(done: int, of: int) -> None:
        if 2 * done >= of and not killed:
            os.kill(cluster.workers[0].pid, signal.SIGKILL)
            killed.append(done)

    found = sweep(CANDLES, MeanReversion, ranges, cluster=cluster.address, progress=kill)

    assert killed
    assert killed[0] < len(found.table)
    assert cluster.workers[0].wait() == -signal.SIGKILL
    assert found.table.to_numpy().tobytes() == serial.table.to_numpy().tobytes()
    family = sweep(CANDLES, SmaCrossover, FEW, cluster=cluster.address)
    assert family.table.to_numpy().tobytes() == sweep(CANDLES, SmaCrossover, FEW).table.to_numpy().tobytes()


def test_a_cluster_that_is_not_there_says_how_to_start_one(monkeypatch: pytest.MonkeyPatch) -> None:
    import distributed

    def silent(*_: object, **__: object) -> None:
        raise TimeoutError("no answer")

    monkeypatch.setattr(distributed, "Client", silent)

    with pytest.raises(DeskError, match=r"no Dask scheduler answers at tcp://127.0.0.1:1 .*dask scheduler"):
        sweep(CANDLES, Toy, {"up": [1]}, cluster="tcp://127.0.0.1:1")


# Walk-forward


def test_walk_forward_chooses_inside_and_is_judged_outside() -> None:
    found = walk_forward(CANDLES, SmaCrossover, FEW, BPS_10, inside=100, outside=60, choose="best")

    windows = found.windows
    assert [CANDLES.index.get_loc(at) for at in windows["outside_from"]] == [120, 180, 240]
    assert windows["outside_to"].iloc[-1] == CANDLES.index[-1]
    assert len(found.equity) == 180 + 1
    for row, chosen in zip(windows.to_dict("records"), found.chosen, strict=True):
        inside = sweep(CANDLES, SmaCrossover, FEW, BPS_10, start=row["inside_from"], end=row["outside_from"])
        assert chosen == inside.best
        assert row["inside"] == np.nanmax(inside.values)
    kept, share = luck.walk_forward_efficiency(windows["inside_return"].tolist(), windows["outside_return"].tolist())
    drift = luck.parameter_drift([c for c in found.chosen if c], {"fast": (3, 12), "slow": (10, 30)})
    assert (found.efficiency, found.profitable, found.drift) == (kept, share, drift)


def test_with_one_choice_the_stitched_run_is_the_plain_one() -> None:
    """Nothing is closed, reopened or lost where one window ends and the next begins."""
    found = walk_forward(CANDLES, SmaCrossover, {"fast": [5], "slow": [20]}, BPS_10, inside=100, outside=50)
    plain = Backtest(CANDLES, SmaCrossover(fast=5, slow=20), BPS_10, start=CANDLES.index[100]).run()

    pd.testing.assert_series_equal(found.equity, plain.equity)
    assert found.drift is None
    grown = (1 + found.windows["outside_return"]) ** (50 / 365.25)
    assert grown.prod() == pytest.approx(plain.equity.iloc[-1] / plain.equity.iloc[0])


def test_later_bars_change_no_earlier_choice() -> None:
    changed = CANDLES.copy()
    changed.iloc[240:, :4] *= 1.5
    before, after = (walk_forward(c, SmaCrossover, FEW, inside=100, outside=60) for c in (CANDLES, changed))

    assert after.chosen == before.chosen
    pd.testing.assert_series_equal(after.equity.iloc[:121], before.equity.iloc[:121])


def test_windows_inside_which_nothing_traded_stay_out() -> None:
    found = walk_forward(CANDLES, Toy, {"up": [0]}, inside=100, outside=100, anchored=True)

    assert found.chosen == (None, None)
    assert found.equity.nunique() == 1
    with pytest.raises(ValueError, match="needs at least 400 \\+ 100 bars: there are 300"):
        walk_forward(CANDLES, Toy, {"up": [1]}, inside=400, outside=100)


# The command line


def test_the_command_line_sweeps_and_answers_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "candles"
    folder.mkdir()
    days = pd.date_range("2024-01-01", periods=400).strftime("%Y-%m-%d")
    daily(400).set_axis(days).to_csv(folder / "BTCUSDT_1d.csv", index_label="time")
    said = ["--symbol", "BTCUSDT", "--strategy", "sma_crossover", "--data-dir", str(folder), "--ignore-volume"]
    said += ["--start", "2024-01-10", "--end", "2025-02-01", "--range", "fast=3:9:3", "slow=10,20", "--json"]

    code = main([*said, "--walk-forward", "120", "60", "--out", str(tmp_path / "out")])

    answer = capsys.readouterr()
    assert (code, answer.err) == (0, "")
    told = json.loads(answer.out)
    assert told["combinations"] == 6
    assert len(told["top"]) == 6
    assert len(told["walk_forward"]["windows"]) >= 2
    assert len(pd.read_csv(tmp_path / "out" / "sweep.csv")) == 6


def test_the_command_line_says_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--symbol", "AAPL", "--strategy", "all"]) == 2
    assert main(["--symbol", "AAPL", "--strategy", "sma_crossover", "--range", "fast=a:b"]) == 2

    assert "--range is written fast=5:50:5" in capsys.readouterr().err
