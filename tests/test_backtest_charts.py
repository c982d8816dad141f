"""What a study looks like: figures, tables and files say what its runs came to, and nothing else."""

from __future__ import annotations

import functools
import io
import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from plotly.offline import get_plotlyjs

from research.study import Study
from tests import studies
from ui import backtest_candles as candle_charts
from ui import backtest_charts as charts
from ui import backtest_report as report
from ui import backtest_tables as tables

ZONE = "America/New_York"
study = functools.cache(studies.study)


def traces(figure: object) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for trace in figure.data:  # type: ignore[attr-defined]
        found.setdefault(trace.name or "", []).append(trace)
    return found


# Figures


def test_every_run_and_the_benchmark_have_a_line_and_a_drawdown() -> None:
    given = study()
    figure = charts.equity(given, ZONE, log=True)

    names = [run.label for run in given.runs] + ["buy and hold"]
    assert [trace.name for trace in figure.data] == names * 2
    assert [trace.yaxis for trace in figure.data] == [None] * 3 + ["y2"] * 3
    assert figure.layout.yaxis.type == "log"
    assert figure.data[0].y[-1] == pytest.approx(given.runs[0].curve["equity"].iloc[-1], abs=0.01)
    assert min(figure.data[3].y) == pytest.approx(given.runs[0].curve["drawdown"].min(), abs=1e-5)
    assert charts.equity(given, ZONE).layout.yaxis.type == "linear"


def test_a_thinned_line_keeps_its_ends_and_its_extremes() -> None:
    values = np.cumsum(np.random.default_rng(0).normal(size=50_001))

    kept = charts.thinned(values, 1_000)

    assert len(kept) <= 1_002
    assert (kept[0], kept[-1]) == (0, 50_000)
    assert {int(values.argmin()), int(values.argmax())} <= set(kept.tolist())
    assert (np.diff(kept) > 0).all()


def test_each_trade_of_the_window_is_marked_and_told() -> None:
    given = study()
    run = given.runs[0]
    count = len(given.candles["AAPL"])

    drawn = traces(candle_charts.trades(given, run, "AAPL", 0, count, palette="green-red", zone=ZONE))

    marks = [name for name in drawn if "entry" in name]
    assert sum(len(drawn[name][0]["x"]) for name in marks) == len(run.trades)
    closed = run.trades[run.trades["exit_time"].notna()]
    won = int((closed["profit"] > 0).sum())
    assert len(drawn["exit, won ●"][0]["x"]) == won
    assert len(drawn["exit, lost ✕"][0]["x"]) == len(closed) - won
    first, told = run.trades.iloc[0], drawn["long entry ▲"][0]["text"][0]
    assert f"{first.entry:,.6g}" in told
    assert f"+{first.profit:,.2f}" in told
    assert "signal" in told
    assert drawn["long entry ▲"][0]["x"][0] == f"{first.entry_time.tz_convert(ZONE):%Y-%m-%d}"


def test_a_window_shows_its_own_bars_and_trades_only_and_never_more_than_a_thousand() -> None:
    given = study(days=1_200)
    run = given.runs[0]

    whole = candle_charts.trades(given, run, "AAPL", 0, 5_000, palette="green-red", zone=ZONE)
    part = traces(candle_charts.trades(given, run, "AAPL", 1_150, 50, palette="green-red", zone=ZONE))

    assert len(whole.data[0].x) == candle_charts.MOST_BARS
    days = set(part["price"][0]["x"])
    assert len(days) == 50
    entries = {f"{t.tz_convert(ZONE):%Y-%m-%d}" for t in run.trades["entry_time"]} & days
    assert {x for name in part if "entry" in name for x in part[name][0]["x"]} == entries


def test_a_window_stands_around_its_moment_and_within_the_candles() -> None:
    bars = studies.candles()

    assert candle_charts.bars_around(bars, bars.index[100], 60) == 70
    assert candle_charts.bars_around(bars, bars.index[3], 60) == 0
    assert candle_charts.bars_around(bars, bars.index[-1], 60) == len(bars) - 60
    assert candle_charts.bars_around(bars, bars.index[-1], len(bars)) == 0


def test_a_bar_is_called_by_its_day_and_minute() -> None:
    assert candle_charts.bar_names(["2026-11-18", "2026-11-18T07:35:00"]) == ["2026-11-18", "2026-11-18<br>07:35"]


def test_each_month_holds_its_number() -> None:
    run = study().runs[0]

    [trace] = charts.monthly(run).data

    assert trace.x[-1] == "Year"
    months = run.monthly.sort_index()
    assert trace.text[0][2] == f"{100 * months.iloc[0][3]:+.1f}".replace("-", "−")
    assert float(trace.text[0][12].replace("−", "-")) == pytest.approx(100 * months["year"].iloc[0], abs=0.051)
    missing = np.argwhere(months[list(range(1, 13))].isna().to_numpy())
    assert len(missing)
    assert all(trace.text[row][column] == "" for row, column in missing)


def test_the_histogram_counts_every_day_and_no_bar_holds_gains_and_losses() -> None:
    run = study().runs[0]

    [trace] = charts.histogram(run).data

    assert sum(trace.y) == len(run.returns)
    below = int((run.returns < 0).sum())
    edges = np.asarray(trace.customdata)
    assert sum(count for count, (_, high) in zip(trace.y, edges, strict=True) if high <= 1e-12) == below


def test_the_fan_and_the_costs_show_what_was_found() -> None:
    given = study()
    fan = traces(charts.fan(given.runs[0]))
    costs = charts.costs(given)

    assert fan["the middle one"][0]["y"][-1] == pytest.approx(given.runs[0].fan["p50"].iloc[-1], abs=0.01)
    assert [bar.name for bar in costs.data] == ["fees", "spread and slippage"]
    assert list(costs.data[0].x) == pytest.approx([run.trades["fees"].sum() for run in given.runs])


def test_the_best_parameters_bear_a_star() -> None:
    found = study(swept=True).surface
    assert found is not None

    [trace] = charts.surface(found).data

    row, column = np.unravel_index(np.nanargmax(found.heat.to_numpy()), found.heat.shape)
    assert [(r, c) for r, cells in enumerate(trace.text) for c, cell in enumerate(cells) if "★" in cell] == [
        (row, column)
    ]


def test_made_up_prices_are_marked_across_every_figure() -> None:
    given = study(simulated=True, swept=True)
    run, mark = given.runs[0], charts.mark_of(given)
    assert given.surface is not None
    figures = [
        charts.equity(given, ZONE),
        candle_charts.trades(given, run, "AAPL", 0, 60, palette="green-red", zone=ZONE),
        charts.monthly(run, mark),
        charts.histogram(run, mark),
        charts.fan(run, mark),
        charts.surface(given.surface, mark),
        charts.costs(given),
    ]

    assert [any(a.text == "SIMULATED" for a in figure.layout.annotations) for figure in figures] == [True] * 7
    assert charts.mark_of(study()) == ""


# Tables


def test_the_best_of_a_row_bears_a_star_and_buying_and_holding_is_a_column() -> None:
    given = study()

    table = tables.headline(given)

    assert list(table.columns) == [*(run.label for run in given.runs), "buy and hold"]
    values = {run.label: run.metrics["total_return"].value for run in given.runs}
    values["buy and hold"] = given.benchmark.iloc[-1] / given.benchmark.iloc[0] - 1
    starred = [label for label in table.columns if "★" in table.loc["Total return", label]]
    assert starred == [max(values, key=values.get)]  # type: ignore[arg-type]
    deepest = {run.label: run.metrics["max_drawdown"].value for run in given.runs}
    assert "★" not in table.loc["Max drawdown", min(deepest, key=deepest.get)]  # type: ignore[arg-type]
    assert not any("★" in cell for cell in table.loc["Trades"])
    assert table.loc["Costs", "buy and hold"] == "–"


def test_a_run_that_never_traded_is_best_at_nothing() -> None:
    given = study()
    idle = given.runs[1].metrics | {"trades": replace(given.runs[1].metrics["trades"], value=0.0)}
    quiet = replace(given, runs=(given.runs[0], replace(given.runs[1], metrics=idle)))

    assert not any("★" in cell for cell in tables.headline(quiet)[quiet.runs[1].label])


def test_a_verdict_is_a_sign_and_a_word_with_the_worst_checks_first() -> None:
    weak, failed = (tables.box(run.verdict) for run in study().runs)
    none = tables.box(None)

    assert (weak.sign, weak.word) == ("◐", "WEAK")
    assert (failed.sign, failed.word) == ("✖", "FAIL")
    assert [check["outcome"] for check in failed.checks] == ["fail", "pass"]
    assert tables.grounds(weak) == ["▲ doubt: sample size, costs"]
    assert tables.counted(failed.checks) == "1 fails, 1 passes"
    assert (none.tone, none.word) == ("none", "NOT JUDGED")


def test_a_verdict_nobody_knows_never_looks_good() -> None:
    odd = tables.box({"verdict": "splendid", "said": "", "checks": [], "unknown": []})

    assert (odd.sign, odd.tone) == ("?", "none")


def test_studies_that_are_not_alike_are_said_to_be() -> None:
    assert tables.unlike([study(), study()]) == ""
    assert "different symbols" in tables.unlike([study(), study(("MSFT",))])
    assert "made up" in tables.unlike([study(), study(simulated=True)])


def test_the_files_hold_every_bar_and_every_trade() -> None:
    given = study(simulated=True)

    curve = pd.read_csv(io.StringIO(tables.equity_csv(given)))
    found = pd.read_csv(io.StringIO(tables.trades_csv(given)))

    assert len(curve) == len(given.benchmark)
    assert curve[f"{given.runs[0].label} equity"].iloc[-1] == pytest.approx(given.runs[0].curve["equity"].iloc[-1])
    assert set(curve["prices"]) == {"SIMULATED"}
    assert found.groupby("run")["profit"].sum()[given.runs[1].label] == pytest.approx(
        given.runs[1].trades["profit"].sum()
    )
    assert tables.file_stem(given) == "backtest_AAPL_1d_2026-11-20_SIMULATED"


def test_the_trade_list_keeps_numbers_that_can_be_sorted() -> None:
    run = study().runs[0]

    table = tables.trade_list(run, ZONE)

    assert table["MAE"].tolist() == run.trades["mae"].tolist()
    assert table["MFE"].dtype == np.float64
    assert table["In"].iloc[0] == run.trades["entry_time"].iloc[0].tz_convert(ZONE).tz_localize(None)


# The report


def test_the_report_is_one_file_that_asks_nobody_and_runs_nothing_of_others() -> None:
    bad = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    given = study(swept=True)
    check = {"name": bad, "outcome": "fail", "number": 1.0, "said": bad, "cure": bad}
    verdict = {"verdict": bad, "said": bad, "checks": [check], "unknown": [bad]}
    run = replace(
        given.runs[0], label=bad, verdict=verdict, notes=(bad,), fan_said=bad, stamp=given.runs[0].stamp | {bad: bad}
    )
    wild = replace(given, runs=(run,), answer=bad, source=bad, notes=(bad,), made=bad)

    text = report.html(wild)

    body = text[text.index("<body>") :]
    assert "<img" not in body
    assert "<script>alert" not in body
    assert body.count("<script") == body.count("<script type='application/json'>") + 1
    assert "&lt;script&gt;alert(1)" in body
    around = text.replace(get_plotlyjs(), "")
    assert not re.search(r"(src|href|url|import)\s*[=(:]?\s*[\"']?(https?:)?//", around)
    for told in re.findall(r"<script type='application/json'>(.*?)</script>", body, re.DOTALL):
        assert json.loads(told)["data"]


def test_the_report_says_in_large_letters_that_prices_are_made_up() -> None:
    assert "SIMULATED PRICES" in report.html(study(simulated=True))
    assert "SIMULATED" not in _body(study())


def _body(given: Study) -> str:
    text = report.html(given)
    return text[text.index("<body>") :]
