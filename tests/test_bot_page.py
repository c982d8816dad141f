"""What a person sees of the strategies at work: why each symbol is traded or not, and figures the fills bear out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal as D
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as some
from streamlit.testing.v1 import AppTest

import backtest  # noqa: F401 - before a page of the same name is run
import bootstrap
import performance_utils as pu
from backtest.setup import Exit, Setup
from desk import signal_record
from desk.adoptions import Adoption, BarDecision, Done, Said, State, decide, keep
from desk.nights import Night
from desk.own_trades import OwnTrades
from desk.reader import Reader
from desk.rungs import Rung, Why, keep_step
from desk.schema import bar_decision
from domain.clock import ManualClock
from domain.commands import Kind
from domain.orders import Purpose, Side
from domain.round_trips import RoundTrips
from domain.signals import Signal
from filters.base import State as Waits
from filters.regime import Regime
from filters.volume import Volume
from tests.conftest import ROOT
from tests.peopled import Peopled, peopled
from tests.toy_engine import ToyEngine, of_this_machine
from ui import bot_signals, bot_start, bot_trades, filters_form, spreadsheet

SETUP = Setup(cash=10_000.0, stop=Exit("atr", 2.0), filters=(Volume(bars=50, percentile=60.0),))
SINCE = datetime(2026, 11, 20, 14, 30, tzinfo=UTC)  # the open of Friday, 20 November 2026


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ToyEngine]:
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("SIMULATED_START", "2026-11-20T10:30")
    monkeypatch.chdir(ROOT)
    for kept in (bootstrap.people, bootstrap._trading):
        kept.cache_clear()
    monkeypatch.setattr(bootstrap, "_started", None)
    yield of_this_machine(tmp_path / "data")
    for kept in (bootstrap.people, bootstrap._trading):
        kept.cache_clear()
    pu.use_desk(None)


def adopted(id_: str = "s-1", symbols: tuple[str, ...] = ("AAPL", "NVDA"), setup: Setup = SETUP) -> Adoption:
    return Adoption(id_, "main", "sma_crossover", {"fast": 5, "slow": 15}, symbols, "5m", setup, "owner", SINCE)


def at_work(engine: ToyEngine, one: Adoption, state: State = State.WORKING, reason: str = "adopted") -> None:
    with engine.ledger.write(engine.epoch) as write:
        keep(write, one, state, reason=reason, actor="owner")


def wished(engine: ToyEngine, one: Adoption, symbol: str, bar: int, **decision: Any) -> Signal | None:
    """A decision on a bar, with its signal where `done` says that its mind had changed."""
    at = SINCE + timedelta(minutes=5 * bar)
    facts: dict[str, Any] = {"exposure": 1.0, "done": Done.ORDERED, "said": "Wants +1: from 0 to 10. SMA 5 is above"}
    facts |= decision
    signal = None
    if facts["done"] in (Done.ORDERED, Done.SHADOW, Done.NOT_OURS):
        signal = Signal(symbol, at, facts["exposure"], 0.6, one.source, "SMA 5 is above SMA 15")
        facts["signal_id"] = signal.id
    with engine.ledger.write(engine.epoch) as write:
        decide(write, BarDecision(one.id, symbol, at, **facts), signal)
    return signal


def held_back(engine: ToyEngine, one: Adoption, symbol: str, bar: int, waits: int = 2) -> None:
    said = (Said("volume 60/50", False, "volume 900,000 is below its 60th percentile of 50 bars, 1,200,000"),)
    words = f"Held back for at most {waits} more bars: {said[0].why}. Wants +0, as before. SMA 5 is above SMA 15"
    facts = {"exposure": 0.0, "done": Done.HELD, "said": words, "verdicts": said, "state": Waits(1, waits, 0)}
    wished(engine, one, symbol, bar, **facts)


def filled(
    engine: ToyEngine, signal: Signal | None, side: Side, quantity: int, price: str, symbol: str = "AAPL", **more: Any
) -> None:
    of = {"signal_id": signal.id} if signal else {}
    with engine.ledger.write(engine.epoch) as write:
        engine.order(write, symbol, D(quantity), side=side, fills=str(quantity), price=D(price), **of, **more)


def page(dialog: str = "", tab: str = "", **about: Any) -> AppTest:
    at = AppTest.from_file(str(ROOT / "pages" / "bot.py"), default_timeout=60)
    if tab:
        at.query_params["tab"] = tab
    if dialog:
        at.session_state["desk_dialog"] = (dialog, uuid4().hex, about)
    at.run()
    assert not at.exception, at.exception
    return at


def said(at: AppTest) -> str:
    kinds = (at.markdown, at.caption, at.info, at.error, at.warning, at.success)
    return "\n".join(str(element.value) for kind in kinds for element in kind).replace("\\", "")


def frame(at: AppTest, column: str) -> Any:
    return next(each.value for each in at.dataframe if column in each.value)


def labels(at: AppTest) -> set[str]:
    return {button.label for button in at.button}


# States of the page


@pytest.mark.parametrize(
    ("exits", "words"),
    [
        ({"stop": None, "target": Exit("pct", 2.0), "trail": Exit("pct", 1.0)}, "target 2 % and trailing stop 1 %"),
        ({"stop": None}, "no stop, no target"),
    ],
)
def test_a_card_says_where_its_positions_end(engine: ToyEngine, exits: dict[str, Any], words: str) -> None:
    at_work(engine, adopted(setup=replace(SETUP, **exits)))

    assert words in said(page())


def test_a_desk_without_strategies_says_what_one_is_and_the_way_to_it(engine: ToyEngine) -> None:
    at = page()

    assert "No strategy is at work on this desk." in said(at)
    assert all(step in said(at) for step in ("1. Test it", "2. Put it to work", "3. Watch it here"))
    assert "Start a strategy" in labels(at)
    assert not at.dataframe


def test_a_symbol_says_what_it_waits_for_and_why(engine: ToyEngine) -> None:
    one = adopted()
    at_work(engine, one)
    held_back(engine, one, "AAPL", 1)

    at = page()

    table = frame(at, "Waits for").set_index("Symbol")
    assert table.loc["AAPL", "Wants"] == "▲ long"
    assert table.loc["AAPL", "Waits for"] == "its filters, 2 more bars"
    assert table.loc["AAPL", "Why"] == (
        "SMA 5 is above SMA 15 · ✖ volume 60/50 holds back: volume 900,000 is below its 60th percentile of 50 bars, "
        "1,200,000"
    )
    assert table.loc["NVDA", "Why"] == "No bar has closed since it was taken on."
    assert table.loc["NVDA", "Waits for"] == "its first closed bar"
    assert "1 wanted and held back by filters" in said(at)
    assert "SMA crossover (fast 5, slow 15) on AAPL, NVDA, 5m bars" in said(at)
    assert "let in by Volume (bars 50, percentile 60.0), within 3 bars" in said(at)
    assert {"Pause", "Retire"} <= labels(at)


def test_a_paused_strategy_says_by_whom_and_can_be_resumed(engine: ToyEngine) -> None:
    at_work(engine, adopted())
    at_work(engine, adopted(), State.PAUSED, "AAPL: exposure must be a number: got nan")

    at = page()

    assert "Paused: AAPL: exposure must be a number: got nan. Its stops go on resting." in said(at)
    assert "Resume" in labels(at)
    assert "Pause" not in labels(at)
    assert set(frame(at, "Waits for")["Waits for"]) == {"somebody to resume it"}


def test_what_is_open_on_the_ladder_is_told_by_sign_and_word(engine: ToyEngine) -> None:
    one = adopted()
    at_work(engine, one)
    with engine.ledger.write(engine.epoch) as write:
        keep_step(write, one, Rung.RESEARCH, Why.ADOPTED, reason="adopted", actor="owner")

    at = page()

    assert "**● research** → ○ paper → ○ small → ○ full" in said(at)
    assert "○ **verdict, trades, win rate**, open: No finished backtest with a verdict" in said(at)
    assert "Promote to paper" in labels(at)
    assert "Back to research" not in labels(at)

    dialog = page("promote", adoption=one.id)
    assert any(button.label == "Promote it to paper" for button in dialog.button)


def test_a_strategy_on_paper_can_go_back_and_counts_what_small_will_ask_for(engine: ToyEngine) -> None:
    at_work(engine, adopted())

    at = page()

    assert "✔ research → **● paper**" in said(at)
    assert any(each.label.startswith("For small on a desk with real money: ") for each in at.expander)
    assert "○ **paper days**, open: 0 days on paper (s-1); at least 14 are needed." in said(at)
    assert "Back to research" in labels(at)


def test_a_night_that_drifts_is_flagged_and_told(engine: ToyEngine) -> None:
    one = adopted()
    at_work(engine, one)
    night = Night(date(2026, 11, 19), "", 10, 3, 4, 1, 31.5, 2.4, {"missed": 2}, ("AAPL 10:35: bought",), ("Too far.",))
    with engine.ledger.write(engine.epoch) as write:
        keep_step(write, one, Rung.PAPER, Why.NIGHT, reason=night.words, actor="engine", night=night)

    assert "Replay of 2026-11-19: drift. Too far." in said(page())
    at = page(tab="Replay")
    assert frame(at, "Verdict").iloc[0].tolist() == ["Thu 19 Nov", "▲ drift", 10, 3, 4, 1, "+31.5", "+2.40", "2 missed"]
    assert "AAPL 10:35: bought" in said(at)


def test_silence_and_a_stopped_desk_are_said(engine: ToyEngine) -> None:
    at_work(engine, adopted())
    engine.beat(ago=timedelta(minutes=5))

    assert "No engine runs: bars that close now are missed" in said(page())


def test_who_only_looks_on_finds_no_button_and_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with peopled(tmp_path, monkeypatch) as desk:
        at_work(desk.engine, adopted())
        viewer = _as(desk, "vera")

        assert not {"Pause", "Retire", "Start a strategy", "Back to research"} & labels(viewer)
        assert "You look on: the role viewer" in said(viewer)
        assert {"Pause", "Retire", "Start a strategy"} <= labels(_as(desk, "tim"))


def _as(desk: Peopled, name: str) -> AppTest:
    desk.enter(name)
    return page()


# Signals


def test_each_signal_says_what_became_of_it(engine: ToyEngine) -> None:
    one = adopted()
    at_work(engine, one)
    bought = wished(engine, one, "AAPL", 1)
    filled(engine, bought, Side.BUY, 10, "230.00")
    held_back(engine, one, "NVDA", 1)
    held_back(engine, one, "NVDA", 2, waits=1)
    wished(engine, one, "NVDA", 3, exposure=None, done=Done.MISSED, said="Missed, and not traded: late.")
    wished(engine, one, "AAPL", 4, done=Done.SHADOW, said="Wants +1: would hold 10; it stands in research.")

    at = page(tab="Signals")

    table = frame(at, "Became")
    assert table[["Symbol", "Became"]].to_numpy().tolist() == [
        ["AAPL", "written down"],
        ["NVDA", "held back"],
        ["AAPL", "filled"],
    ]
    assert table.iloc[2]["Orders"] == "buy 10 AAPL at market: filled at 230.00"
    reader = bootstrap.trading().reader
    [missed] = signal_record.missed(reader, SINCE)
    assert bot_signals.fate_of(missed) == "missed"


def test_the_first_decision_since_a_moment_is_found_without_reading_all_of_them(engine: ToyEngine) -> None:
    one, reader = adopted(), bootstrap.trading().reader
    assert signal_record.first_since(reader, SINCE) == 1
    for bar in range(9):
        held_back(engine, one, "AAPL", bar)
    written = [row.at for row in reader.rows(sa.select(bar_decision.c.at).order_by(bar_decision.c.seq))]

    for moment in (SINCE, *written, written[-1] + timedelta(days=1)):
        plain = sum(at < moment for at in written) + 1
        assert signal_record.first_since(reader, moment) == plain


def test_no_cell_of_a_file_is_worked_out_by_a_spreadsheet() -> None:
    rows = [{"a": "=HYPERLINK(1)", "b": "-12.50"}, {"a": "@now", "b": "-2+3"}, {"a": "plain", "b": -1.5}]

    assert spreadsheet.csv(rows, ["a", "b"]) == "a,b\n'=HYPERLINK(1),-12.50\n'@now,'-2+3\nplain,-1.5\n"


# Trades and figures


def test_a_trade_says_why_it_began_and_why_it_ended(engine: ToyEngine) -> None:
    one = adopted()
    at_work(engine, one)
    bought = wished(engine, one, "AAPL", 1)
    filled(engine, bought, Side.BUY, 10, "230.00")
    filled(engine, None, Side.SELL, 10, "227.50", purpose=Purpose.STOP)
    again = wished(engine, one, "AAPL", 3)
    filled(engine, again, Side.BUY, 8, "228.00")
    filled(engine, None, Side.SELL, 8, "231.00", purpose=Purpose.EXIT, reason="closed by ada")

    at = page(tab="Trades")

    table = frame(at, "Why opened")
    shown = table[["P/L", "Closed by", "Why opened", "Why closed"]].to_numpy().tolist()
    assert shown == [
        ["▲ +22.00", "a person", "SMA 5 is above SMA 15", "closed by ada"],
        ["▼ −27.00", "stop", "SMA 5 is above SMA 15", "its stop filled at 227.50"],
    ]
    metrics = {metric.label: metric.value for metric in at.metric}
    assert metrics["Trades won"] == "50 %"
    assert metrics["A trade"] == "▼ −2.50"
    assert metrics["Own equity"] == "9,995.00"
    assert metrics["Since adopted"] == "▼ −5.00"
    assert "1 of 2 closed trades won, too few to tell: 9 to 91 % fits as well" in said(at)
    days = page(tab="Days")
    heat = frame(days, "Sum")
    assert heat[heat["Symbol"] == "all"]["Sum"].tolist() == ["▼ −5.00"]
    assert "The day as the mail tells it" in {each.label for each in days.expander}


QUANTITY = some.integers(1, 40)
FILLS = some.lists(
    some.tuples(some.sampled_from(["buys", "sells", "stop", "person"]), QUANTITY, some.integers(9_000, 11_000)),
    max_size=30,
)


def test_the_figures_are_those_worked_out_plainly_from_the_fills(tmp_path: Path) -> None:
    clock = ManualClock(SINCE + timedelta(hours=1))
    engine, count = ToyEngine(tmp_path / "data", clock), itertools.count(1)
    reader = Reader(engine.ledger.database, clock)

    @trials(max_examples=30)
    @given(FILLS)
    def law(fills: list[tuple[str, int, int]]) -> None:
        symbol = f"T{next(count):03}"  # a symbol of its own, so that all it holds is the strategy's
        one, plain = adopted(f"s-{symbol}", (symbol,)), RoundTrips()
        at_work(engine, one)
        signal, held, cash = wished(engine, one, symbol, 1), D(0), D(0)
        for kind, shares, cents in fills:
            own = kind in ("buys", "sells")
            side = {"buys": Side.BUY, "sells": Side.SELL}.get(kind, Side.SELL if held > 0 else Side.BUY)
            shares = shares if own else min(shares, int(abs(held)))
            how = {"stop": {"purpose": Purpose.STOP}, "person": {"purpose": Purpose.EXIT}}.get(kind, {})
            if shares:
                filled(engine, signal if own else None, side, shares, str(D(cents) / 100), symbol=symbol, **how)
                held += side.sign * shares
        for heard in reversed(reader.fills(symbol=symbol, most=100)):
            plain.fill(heard.fill)
            cash += heard.fill.cash

        trades = OwnTrades(one).refresh(reader)

        assert sorted(trades.profits) == sorted(trip.profit for trip in plain.since(SINCE))
        assert (trades.book.own(symbol), trades.book.cash) == (held, D(10_000) + cash)
        assert bool(trades.open) == bool(held)
        if not held:
            assert sum(trades.profits, D(0)) == cash
        table = bot_trades.heat(bot_trades.by_day(trades.closed), most=1000)
        assert table.iloc[0]["Sum"] == sum(trades.profits, D(0))
        won = sum(profit > 0 for profit in trades.profits)
        assert bot_trades.figures(trades.profits)["said"].startswith(f"{won} of " if trades.profits else "no trade")

    law()


# Starting and switching


def test_switching_says_what_becomes_of_the_position_and_asks_in_this_order(engine: ToyEngine) -> None:
    one = adopted()
    at_work(engine, one)
    bought = wished(engine, one, "AAPL", 1)
    filled(engine, bought, Side.BUY, 10, "230.00")
    page()
    from ui import bot_reading

    works = bot_reading.works()
    wish = {"strategy": "mean_reversion", "symbols": ["AAPL"]}

    [told] = bot_start.consequences(works, ["AAPL"], sold=False, again=False)
    assert "is retired first" in told
    assert "is yours: 10 AAPL. The new strategy opens nothing there until that is closed." in told
    assert "Its other symbols, NVDA: no strategy trades them then." in told
    steps = bot_start.steps_of(works, wish, "k" * 32, sold=True, again=False)
    assert [step.kind for step in steps] == [Kind.RETIRE, Kind.CLOSE, Kind.ADOPT]
    assert steps[1].payload == {"account": "main", "symbol": "AAPL", "quantity": "10", "type": "market"}
    assert len({step.key for step in steps}) == 3
    *_, anew = bot_start.steps_of(works, wish, "k" * 32, sold=False, again=True)
    assert (anew.kind, anew.payload["symbols"], anew.payload["strategy"]) == (Kind.ADOPT, ["NVDA"], "sma_crossover")
    assert bot_start.consequences(works, ["KO"], sold=False, again=False) == []


def test_the_dialog_starts_a_strategy_with_its_filters(engine: ToyEngine) -> None:
    at, key = AppTest.from_file(str(ROOT / "pages" / "bot.py"), default_timeout=60), uuid4().hex
    at.session_state["desk_dialog"] = ("start_strategy", key, {})
    at.session_state[f"start_symbols_{key}"] = ["aapl"]
    at.session_state[f"start_filters_{key}"] = ["volume"]
    at.run()
    assert not at.exception, at.exception
    assert "let in by volume 50/50 within 3 bars" in said(at)
    next(button for button in at.button if button.label == "Start it").click().run()

    [command] = engine.work()

    assert command.kind is Kind.ADOPT
    assert command.payload["symbols"] == ["AAPL"]
    assert command.payload["setup"]["filters"] == [{"name": "volume", "params": {"bars": 50, "percentile": 50.0}}]
    assert Setup.of(command.payload["setup"]).filters == (Volume(),)
    assert "adopt strategy: done." in said(at.run())
    next(button for button in at.button if button.label == "Close").click().run()
    assert "adopt strategy: done." not in said(at)


# Filters in the backtest's form


def test_filters_chosen_in_the_form_are_part_of_the_question() -> None:
    held = {"filters": ["volume", "regime"], "filter_volume_percentile": 70.0, "setup_good_for": 1}

    chosen = filters_form.chosen([], 3, lambda name, otherwise: held.get(name, otherwise))

    setup = Setup.of({**Setup().to_dict(), **chosen})
    assert setup.filters == (Volume(percentile=70.0), Regime())
    assert setup.good_for == 1
    written = setup.to_dict()
    again = filters_form.chosen(written["filters"], written["good_for"], lambda name, otherwise: otherwise)
    assert Setup.of({**written, **again}) == setup
    assert filters_form.words([], 3) == ""
    assert "percentile must be" in filters_form.complaint([{"name": "volume", "params": {"percentile": 500.0}}])


def test_the_backtests_form_offers_the_drawer_and_shows_what_was_chosen(engine: ToyEngine) -> None:
    at = AppTest.from_file(str(ROOT / "pages" / "backtest.py"), default_timeout=60).run()
    assert not at.exception, at.exception
    [offered] = [each for each in at.multiselect if each.label.startswith("Let an entry in")]
    assert {"Volume", "Spread", "Trend or range"} <= set(offered.options)

    offered.set_value(["volume"]).run()

    assert not at.exception, at.exception
    assert "let in by volume 50/50 within 3 bars" in said(at)
    assert {"bars", "percentile", "Bars it waits"} <= {field.label for field in at.number_input}
