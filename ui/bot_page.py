"""The page of the strategies at work: how the desk stands for them, their cards, and the tabs that say why."""

from __future__ import annotations

from datetime import datetime

import streamlit as st

import bootstrap
from desk.halt import halt_level
from domain.calendars import Phase
from domain.clock import speed_of
from domain.commands import Kind
from domain.errors import DeskError
from domain.instruments import instrument
from domain.trading_state import TradingState
from ui import (
    adopting,
    alert_log,
    bot_ladder,
    bot_reading,
    bot_replay,
    bot_signals,
    bot_start,
    bot_trades,
    bot_why,
    dialogs,
    telling,
    wording,
)
from ui.bot_reading import Work
from ui.desk_state import engine_words, trading_words
from ui.session import Open

TABS = ("Symbols", "Signals", "Trades", "Days", "Replay", "Log")
MOST_LINES = 60
_GO = "bot_go"
KNOWN_DIALOGS = (adopting.retire, bot_start.start_strategy)  # this page opens them by name


def page(app: Open) -> None:
    """All of it."""
    if way := st.session_state.pop(_GO, None):
        st.switch_page(way[0], query_params=way[1])
    dialogs.show(app)
    bot_ladder.style(app)
    _head(app)
    bot_start.outcome()
    try:
        past = bot_reading.works(retired=True)
    except DeskError as error:
        st.error(f"The strategies at work cannot be read: {wording.plain(error)}", icon=":material/error:")
        return
    at_work = _watch([work for work in past if work.working or work.adoption.state == "paused"])
    if not at_work:
        _nothing(app)
    if not past:
        return
    if at_work:
        _state(app)
        bot_ladder.cards(app)
    _tabs(app, bool(at_work))


def _head(app: Open) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.title("Bot", width="stretch")
        if app.may(Kind.ADOPT):
            st.button(
                "Start a strategy",
                key="bot_start",
                icon=":material/add:",
                on_click=dialogs.soon,
                args=("start_strategy",),
            )
    bot_ladder.looks_on()


def _link(app: Open, label: str, page: str, icon: str, **query: str) -> None:
    """A way to another page, for whoever may do something there."""
    if not app.may(Kind.ADOPT):
        return
    key = f"bot_go_{label.replace(' ', '_')}"
    st.button(label, key=key, icon=icon, type="tertiary", on_click=_go, args=(page, query))


def _go(page: str, query: dict[str, str]) -> None:
    st.session_state[_GO] = page, query


def _watch(found: list[Work]) -> list[Work]:
    """The same; the page is drawn anew once a strategy comes or goes."""
    _when_others_come(tuple(work.adoption.id for work in found))
    return found


@st.fragment(run_every=3)
def _when_others_come(known: tuple[str, ...]) -> None:
    try:
        if tuple(work.adoption.id for work in bot_reading.works()) != known:
            st.rerun()
    except DeskError:
        return


def _nothing(app: Open) -> None:
    """What a strategy at work is, and the three steps to one."""
    st.info("No strategy is at work on this desk.", icon=":material/smart_toy:")
    st.markdown(
        "A strategy at work is asked each time a bar closes. Where it changes its mind, its wish becomes orders, each "
        "through every gate, with its stop. This page says of every bar why it was traded or not."
    )
    first, second, third = st.columns(3)
    with first, st.container(border=True, height="stretch"):
        st.markdown("**1. Test it**")
        st.markdown("Run a backtest with a verdict over the symbols and bars you mean.")
        _link(app, "To the backtests", "pages/backtest.py", ":material/query_stats:")
    with second, st.container(border=True, height="stretch"):
        st.markdown("**2. Put it to work**")
        st.markdown("Press “Trade this on paper” under the result. It trades its own money, under its own stops.")
        _link(app, "To the results", "pages/backtest.py", ":material/smart_toy:")
    with third, st.container(border=True, height="stretch"):
        st.markdown("**3. Watch it here**")
        st.markdown("Each night it is compared with its backtest; what holds up may climb, rung by rung.")
        _link(app, "To the positions", "pages/positions.py", ":material/account_balance:")


# How the desk stands


@st.fragment(run_every=2)
def _state(app: Open) -> None:
    """Whatever keeps all of them from trading now: no engine, a stopped desk, a closed market, a missing source."""
    dialogs.step_out()
    try:
        found = bot_reading.works()
        for level, said in standing_in_the_way(app, found):
            {"error": st.error, "warning": st.warning, "info": st.info}[level](wording.plain(said))
    except DeskError as error:
        st.error(wording.plain(error), icon=":material/error:")


def standing_in_the_way(app: Open, found: list[Work]) -> list[tuple[str, str]]:
    """How grave, and a sentence."""
    trading = bootstrap.trading()
    reader, now = trading.reader, trading.clock.now()
    engine, said = reader.engine(), list[tuple[str, str]]()
    words = engine_words(engine, now, reader.queued(), speed_of(trading.clock))
    if words["state"] != "running":
        last = f" It was last heard {wording.hour(engine.beat, app.zone)}." if engine is not None else ""
        said.append(("error", f"No engine runs: bars that close now are missed, and are not traded afterwards.{last}"))
    stand = trading_words(reader.trading_state(), halt_level(trading.place.halt_paths))
    if stand["state"] != TradingState.ENABLED:
        said.append(("warning", f"The desk is {stand['words']}: nothing is opened. {stand['why']}".strip()))
    if closed := closed_words([s for work in found for s in work.adoption.symbols], now, app.zone):
        said.append(("info", closed))
    labels = [work.adoption.label for work in found]
    said += [("warning", one) for one in words["problems"] if any(label in one for label in labels)]
    return said


def closed_words(symbols: list[str], now: datetime, zone: str) -> str:
    """That the market is shut for all of these, and until when; '' where one of them trades."""
    states = {symbol: instrument(symbol).calendar.state(now) for symbol in dict.fromkeys(symbols)}
    if not states or any(state.phase is Phase.OPEN for state in states.values()):
        return ""
    opens = [when for symbol in states if (when := instrument(symbol).calendar.next_open(now)) is not None]
    until = f" until {wording.hour(min(opens), zone)} ({wording.zone_name(zone)})" if opens else ""
    return f"The market is closed{until}: no bar closes, and what was decided last goes out at the open."


# The tabs


def _tabs(app: Open, at_work: bool) -> None:
    shown = TABS if at_work else TABS[1:4]
    does = {
        "Symbols": bot_why.symbols,
        "Signals": bot_signals.signals,
        "Trades": bot_trades.trades,
        "Days": bot_trades.days,
        "Replay": bot_replay.replay,
        "Log": log,
    }
    for name, tab in zip(shown, st.tabs(list(shown), key="tab", on_change="rerun", bind="query-params"), strict=True):
        if tab.open:
            with tab:
                does[name](app)


def log(app: Open) -> None:
    """What the engine logged of these strategies, and how the source's limits stand."""
    _feed(app)
    st.fragment(_lines, run_every=4)(app)
    _link(app, "The whole log", "pages/alerts.py", ":material/receipt_long:", tab="Log")


def _feed(app: Open) -> None:
    """How the price source stands: limits, and what it waits for."""
    from ui.feed_status import feed_status

    feed_status(app)


def _lines(app: Open) -> None:
    dialogs.step_out()
    try:
        found = bot_reading.works()
        shown = lines(app, found)
    except (DeskError, OSError) as error:
        st.error(f"The log cannot be read: {wording.plain(error)}", icon=":material/error:")
        return
    if not shown:
        st.info("Nothing was logged about these strategies.", icon=":material/receipt_long:")
        return
    rows = alert_log.table(shown, app.zone)[["Time", "Level", "What", "Symbol"]]
    st.dataframe(rows, hide_index=True, key="bot_log", height=440 if len(rows) > 11 else "auto")


def lines(app: Open, found: list[Work]) -> list[alert_log.Line]:
    """The engine's newest lines that name one of these strategies or symbols."""
    wanted = alert_log.Filters(level="info", program="engine")
    path = bootstrap.start().settings.log_path
    names = {work.adoption.id for work in found} | {work.adoption.label for work in found}
    symbols = {symbol for work in found for symbol in work.adoption.symbols}
    newest = alert_log.lines(path, wanted, addresses=telling.sees_all(app))
    mine = [one for one in newest if one.symbol in symbols or any(name in one.event for name in names)]
    return mine[:MOST_LINES]
