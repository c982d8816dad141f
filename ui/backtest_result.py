"""The answer to a backtest's question, top down: what to think of it, the figures, the curves, the trades, the luck.

Figures are built once a study and kept; what a click changes stands in a fragment of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import plotly.graph_objects as go
import streamlit as st

from research.study import Run, Study
from ui import backtest_candles as candle_charts
from ui import backtest_charts as charts
from ui import backtest_report as report
from ui import backtest_tables as tables
from ui import wording
from ui.adopting import adopt_button
from ui.components import steady_figure
from ui.session import Open

CHART = {"displayModeBar": False, "scrollZoom": False}
CANDLES = {"displayModeBar": False, "scrollZoom": True}
WINDOWS = (60, 150, 400, 1000)
CARDS = 4  # in a row
MOST_CARDS = 8  # the others stand in a list to open
SIMULATED = (
    "## SIMULATED\n**These prices are made up.** There is no market behind them: nothing on this page says what a "
    "strategy would have earned. It shows how the page works."
)


def show(app: Open, key: str, study: Study) -> None:
    """The whole answer; `key` names the study in caches and in widgets."""
    if study.simulated:
        st.warning(SIMULATED, icon=":material/science:")
    if study.answer:
        st.info(f"#### {wording.plain(study.answer)}", icon=":material/question_answer:")
    _verdicts(app, study, key)
    st.subheader("Figures side by side")
    _figures(study, key)
    st.subheader("Equity and drawdown")
    _equity(app, key, study)
    _one_run(app, key, study)
    _surface(key, study)
    st.subheader("What trading cost")
    _plot(
        _built(f"{key}-costs", lambda: charts.costs(study)), f"bt_costs_{key}", "Fees, spread and slippage of each run"
    )
    for run in study.runs:
        st.caption(f"**{wording.plain(run.label)}** {wording.plain(tables.costs_said(run))}")
    st.subheader("Take it with you")
    _downloads(key, study)
    _how(study)


@st.cache_resource(max_entries=96, show_spinner=False)
def _built(key: str, _make: Callable[[], go.Figure]) -> go.Figure:
    """A figure, built once."""
    return _make()


def _plot(figure: go.Figure, key: str, label: str, config: dict[str, Any] = CHART) -> None:
    steady_figure(figure, key=key, label=label, config=config)


# What to think of it


def _verdicts(app: Open, study: Study, key: str) -> None:
    """A card a run: sign and word in large type, then the checks."""
    shown, others = study.runs[:MOST_CARDS], study.runs[MOST_CARDS:]
    for begin in range(0, len(shown), CARDS):
        row = shown[begin : begin + CARDS]
        for column, (at, run) in zip(st.columns(len(row)), enumerate(row, begin), strict=True):
            with column:
                _card(app, study, run, f"{key}_{at}")
    if others:
        with st.expander(f"{len(others)} more runs"):
            for at, run in enumerate(others, MOST_CARDS):
                _card(app, study, run, f"{key}_{at}")


def _card(app: Open, study: Study, run: Run, key: str) -> None:
    box = tables.box(run.verdict)
    with st.container(border=True, key=f"bt_card_{box.tone}_{key}", height="stretch"):
        st.caption(f"**{wording.plain(run.label)}**")
        st.markdown(f"## {box.sign} {wording.plain(box.word)}")
        st.markdown("  \n".join(wording.plain(line) for line in tables.grounds(box)))
        if box.checks:
            with st.expander(f"The checks: {tables.counted(box.checks)}"):
                _checks(box)
        for note in run.notes:
            st.caption(f":material/info: {wording.plain(note)}")
        _adopt(app, study, run)


def _checks(box: tables.Box) -> None:
    """Each check with its outcome and what it found; the cure where it did not pass."""
    for check in box.checks:
        outcome = str(check.get("outcome", ""))
        said = f"**{tables.OUTCOMES.get(outcome, outcome)} · {wording.plain(check.get('name', ''))}.** "
        cure = f"  \n*Cure: {wording.plain(check['cure'])}*" if outcome != "pass" and check.get("cure") else ""
        st.markdown(f"{said}{wording.plain(check.get('said', ''))}{cure}")
    for line in box.unknown:
        st.caption(f"? {wording.plain(line)}")


def _adopt(app: Open, study: Study, run: Run) -> None:
    """The way from here to the paper desk; once for runs that are the same."""
    same = [one for one in study.runs if _wish(one) == _wish(run)]
    if same[0] is not run:
        return
    adopt_button(
        app,
        strategy=run.strategy,
        params=dict(run.params),
        symbols=tables.symbols_of(run),
        interval=study.asked.interval,
        setup=study.asked.setup,
        verdict_word=run.word,
    )


def _wish(run: Run) -> tuple[Any, ...]:
    return run.strategy, run.params, tables.symbols_of(run)


# Figures and curves


def _figures(study: Study, key: str) -> None:
    table = tables.headline(study)
    columns: dict[str, Any] = {"Figure": st.column_config.TextColumn(width=140, pinned=True)}
    columns |= {name: st.column_config.TextColumn(alignment="right", width=150) for name in table.columns}
    st.dataframe(table, key=f"bt_figures_{key}", column_config=columns, height="content")
    st.caption("★ is the best of its row. Net of all costs; – where a figure is undefined or says nothing.")
    with st.expander("Every figure, with its 95 % interval and definition"):
        labels = [run.label for run in study.runs]
        label = st.selectbox("Of", labels, key=f"bt_every_{key}") if len(labels) > 1 else labels[0]
        st.dataframe(tables.intervals(study[label]), hide_index=True, key=f"bt_intervals_{key}")
    if (ranked := tables.comparison(study)) is not None:
        with st.expander("Is the best really better than the next?"):
            st.dataframe(ranked, hide_index=True, key=f"bt_ranked_{key}", column_config=_RANKED_COLUMNS)
            st.caption(tables.COMPARISON_SAID)


_RANKED_COLUMNS: dict[str, Any] = {
    **{n: st.column_config.NumberColumn(format="%.2f") for n in ("Sharpe", "from", "to")},
    "Return %": st.column_config.NumberColumn(format="%+.2f"),
    **{n: st.column_config.NumberColumn(format="%.0f") for n in ("Better, %", "Such a lead by luck, %", "No luck, %")},
}


@st.fragment
def _equity(app: Open, key: str, study: Study) -> None:
    scale = st.segmented_control(
        "Scale", ["Linear", "Log"], default="Linear", required=True, key=f"bt_scale_{key}", label_visibility="collapsed"
    )
    log = scale == "Log"
    build = f"{key}-equity-{app.zone}-{log}"
    _plot(
        _built(build, lambda: charts.equity(study, app.zone, log=log)),
        f"bt_equity_{key}",
        "Equity and drawdown of each run over time",
    )


# One run


@st.fragment
def _one_run(app: Open, key: str, study: Study) -> None:
    """Trades on the candles, their list, months, days and luck, of the run that is looked at."""
    labels = [run.label for run in study.runs]
    label = labels[0]
    if len(labels) > 1:
        st.subheader("One run in detail")
        label = st.selectbox("Run", labels, key=f"bt_run_{key}", label_visibility="collapsed", width=420)
    run, of = study[label], f"{key}_{labels.index(label)}"
    mark = charts.mark_of(study)
    _trades(app, of, study, run)
    months, days = st.columns([3, 2])
    with months:
        st.subheader("Month by month, %")
        with st.container(key=f"bt_wide_{of}"):
            _plot(_built(f"{of}-months", lambda: charts.monthly(run, mark)), f"bt_months_{of}", "Return of each month")
    with days:
        st.subheader("How the days ended")
        _plot(
            _built(f"{of}-days", lambda: charts.histogram(run, mark)),
            f"bt_days_{of}",
            "How often days ended with which return",
        )
    st.subheader("The same days in another order")
    if run.fan.empty:
        st.info(wording.plain(run.fan_said or "Too few days to resample."), icon=":material/info:")
        return
    st.markdown(wording.plain(wording.sentence(run.fan_said)))
    _plot(
        _built(f"{of}-fan", lambda: charts.fan(run, mark)),
        f"bt_fan_{of}",
        "Where the same days in another order would have ended",
    )


def _trades(app: Open, key: str, study: Study, run: Run) -> None:
    st.subheader("Trades on the candles")
    found = run.trades
    if found.empty:
        st.info(
            "No trades: the strategy wanted nothing in this span, or nothing it could carry. The figures above say why "
            "under each verdict.",
            icon=":material/inbox:",
        )
    symbol, count = _window(key, study, run)
    candles = study.candles[symbol]
    count = min(count, len(candles))
    chosen = st.session_state.get(f"bt_trade_{key}")
    at = _moment(key, candles)
    first = candle_charts.bars_around(candles, at, count)
    build = f"{key}-candles-{symbol}-{first}-{count}-{app.palette}-{app.zone}-{chosen}"
    about = {"palette": app.palette, "zone": app.zone, "chosen": chosen}
    figure = _built(build, lambda: candle_charts.trades(study, run, symbol, first, count, **about))
    _plot(figure, f"bt_candles_{key}", "Candles with the trades of this run; the table beneath lists them", CANDLES)
    if found.empty:
        return
    st.caption(
        f"{len(found):,} trades. Click the box before a row to see it on the candles; click a heading to sort. MAE and "
        "MFE are a trade's worst and best open result, in money."
    )
    st.dataframe(
        tables.trade_list(run, tables.zone_of(study, app.zone)),
        hide_index=True,
        key=f"bt_trades_{key}",
        height=min(72 + 35 * len(found), 330),
        column_config=_trade_columns(tables.zone_of(study, app.zone), found),
        on_select=lambda: _picked(key, run),
        selection_mode="single-row",
    )


def _window(key: str, study: Study, run: Run) -> tuple[str, int]:
    """Which symbol, how many bars, and the buttons that move the view."""
    with st.container(horizontal=True, vertical_alignment="bottom", key=f"bt_window_{key}"):
        symbols, found = tables.symbols_of(run), run.trades
        symbol = symbols[0]
        if len(symbols) > 1:
            symbol = st.selectbox("Symbol", symbols, key=f"bt_symbol_{key}", width=140, on_change=_forget, args=(key,))
        count = st.segmented_control("Bars in view", list(WINDOWS), default=150, required=True, key=f"bt_count_{key}")
        candles = study.candles[symbol]
        for label, step in (("◀ bars", -1), ("bars ▶", 1)):
            st.button(label, key=f"bt_move_{step}_{key}", on_click=_move, args=(key, candles, step * int(count)))
        own = found.index[found["symbol"].astype(str) == symbol].tolist()
        for label, step in (("◀ trade", -1), ("trade ▶", 1)):
            st.button(
                label,
                key=f"bt_step_{step}_{key}",
                on_click=_step,
                args=(key, found, own, step),
                disabled=not own,
            )
    return symbol, int(count)


def _moment(key: str, candles: pd.DataFrame) -> pd.Timestamp:
    """The middle of the view; the newest bars to begin with."""
    return st.session_state.get(f"bt_at_{key}", candles.index[-1])


def _forget(key: str) -> None:
    st.session_state.pop(f"bt_at_{key}", None)
    st.session_state.pop(f"bt_trade_{key}", None)


def _move(key: str, candles: pd.DataFrame, bars: int) -> None:
    count = min(abs(bars), len(candles))
    first = candle_charts.bars_around(candles, _moment(key, candles), count)
    middle = min(max(first + bars + count // 2, count // 2), len(candles) - 1)
    st.session_state[f"bt_at_{key}"] = candles.index[middle]


def _step(key: str, found: pd.DataFrame, own: list[int], step: int) -> None:
    """To the next trade of the symbol; from nowhere to the newest one."""
    now = st.session_state.get(f"bt_trade_{key}")
    at = own.index(now) + step if now in own else len(own) - 1
    _look_at(key, found, own[min(max(at, 0), len(own) - 1)])


def _picked(key: str, run: Run) -> None:
    """A row of the list was clicked: its place in the frame is its trade, however the list is sorted."""
    rows = st.session_state[f"bt_trades_{key}"]["selection"]["rows"]
    if not rows:
        return
    trade = run.trades.index[rows[0]]
    symbol = str(run.trades.at[trade, "symbol"])
    if f"bt_symbol_{key}" in st.session_state:
        st.session_state[f"bt_symbol_{key}"] = symbol
    _look_at(key, run.trades, trade)


def _look_at(key: str, found: pd.DataFrame, trade: int) -> None:
    st.session_state[f"bt_trade_{key}"] = trade
    st.session_state[f"bt_at_{key}"] = found.at[trade, "entry_time"]


def _trade_columns(zone: str, found: pd.DataFrame) -> dict[str, Any]:
    number = st.column_config.NumberColumn
    price = "%.2f" if float(found["entry"].min()) >= 1 else "%.6f"
    times = {
        name: st.column_config.DatetimeColumn(f"{name} ({wording.zone_name(zone)})", format="YYYY-MM-DD HH:mm")
        for name in ("In", "Out")
    }
    prices = {name: number(format=price) for name in ("Entry", "Exit")} | {"Quantity": number(format="localized")}
    money = {name: number(format="%.2f") for name in ("Profit", "MAE", "MFE", "Fees", "Slippage")}
    helps = {
        "MAE": number(format="%.2f", help="Worst open result of the trade, in money"),
        "MFE": number(format="%.2f", help="Best open result of the trade, in money"),
        "%": number(format="%+.2f", help="Profit of the money put in"),
    }
    return {"No": number(width=50, pinned=True), **times, **prices, **money, **helps}


# Parameters


def _surface(key: str, study: Study) -> None:
    found = study.surface
    if found is None:
        return
    st.subheader("The parameters around the best ones")
    st.markdown(f"**{wording.plain(wording.sentence(found.plateau))}**")
    refused = f", {found.refused:,} refused by the strategy" if found.refused else ""
    st.caption(f"{wording.plain(found.objective)} of {found.tried:,} combinations{refused}. ★ is the best.")
    with st.container(key=f"bt_wide_surface_{key}"):
        _plot(
            _built(f"{key}-surface", lambda: charts.surface(found, charts.mark_of(study))),
            f"bt_surface_{key}",
            "The objective over two parameters",
        )
    with st.expander("The best combinations"):
        st.dataframe(found.top, hide_index=True, key=f"bt_top_{key}")


# Files, and how it was made


def _downloads(key: str, study: Study) -> None:
    stem = tables.file_stem(study)
    files: list[tuple[str, str, str, Callable[[], str], str]] = [
        ("Equity as CSV", f"{stem}_equity.csv", "text/csv", lambda: tables.equity_csv(study), "equity"),
        ("Trades as CSV", f"{stem}_trades.csv", "text/csv", lambda: tables.trades_csv(study), "trades"),
        ("Report, one HTML file", f"{stem}.html", "text/html", lambda: report.html(study), "report"),
    ]
    with st.container(horizontal=True):
        for label, name, mime, make, what in files:
            st.download_button(
                label,
                make,
                file_name=name,
                mime=mime,
                icon=":material/download:",
                on_click="ignore",
                key=f"bt_file_{what}_{key}",
            )
    st.caption("The report opens in any browser, without network: charts included.")


def _how(study: Study) -> None:
    """What a reader must know to believe or to repeat it."""
    for note in study.notes:
        st.caption(f":material/info: {wording.plain(note)}")
    with st.expander("How this was made"):
        st.markdown(f"**Prices** {wording.plain(study.source)}")
        st.markdown(f"**Rules** {wording.plain(study.asked.setup.words)}")
        st.markdown(f"**Made** {wording.plain(study.made)}")
        for run in study.runs:
            st.markdown(
                f"**{wording.plain(run.label)}** {wording.plain(tables.params_words(run.strategy, run.params))}"
            )
        st.json({run.label: run.stamp for run in study.runs}, expanded=False)
