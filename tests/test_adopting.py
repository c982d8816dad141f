"""A strategy at work trades what its backtest promised, order for order, whatever dies meanwhile."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from backtester import Backtest, Exit, Setup
from desk.adopting import Adopting
from desk.adoptions import BarDecision, Done, State, adoptions, decide, decisions, history, orders
from desk.authority import Authority
from desk.reader import Reader
from domain.commands import CommandState, Kind
from domain.errors import LedgerConflict
from domain.matching import FillRules
from domain.orders import Purpose, Status
from domain.params import build
from filters.correlation import Correlation
from filters.volume import Volume
from strategies.base import find
from streams.window import Window
from tests.replaying import Replay, fills_of, made_bars

SMA = ("sma_crossover", {"fast": 3, "slow": 8})
PATTERNS = ("candle_patterns", {"hold": 3, "short": True})
STOPS = {"stop": Exit("atr", 1.0), "target": Exit("atr", 1.5)}
RULES = FillRules(ignore_volume=True)


def rules(**changed: Any) -> Setup:
    """A tenth is kept to spare: where all is spent, the backtester cuts by an open that no desk knows."""
    return Setup(**{"cash": 15_000.0, "fraction": 0.9, "fills": RULES, "exits_from": "signal", **changed})


def told(reader: Reader, interval: str = "5min") -> list[tuple[Any, ...]]:
    """The desk's fills: bar, symbol, side, quantity, price."""
    return [
        (pd.Timestamp(fill.time).floor(interval), fill.symbol, str(fill.side), fill.quantity, fill.price)
        for fill in fills_of(reader)
    ]


def promised(frames: dict[str, pd.DataFrame], strategy: Any, setup: Setup, start: datetime) -> list[tuple[Any, ...]]:
    """The backtest's."""
    name, params = strategy
    result = Backtest(frames, build(find(name), params), setup, start=start).run()
    return [
        (row.time, row.symbol, row.side, D(str(row.quantity)), D(str(round(row.price, 2))))
        for row in result.fills.itertuples()
    ]


@pytest.mark.parametrize("exits", [{}, STOPS], ids=["no exits", "stop and target"])
@pytest.mark.parametrize("strategy", [SMA, PATTERNS], ids=lambda s: s[0])
async def test_the_desk_trades_what_the_backtest_promised(tmp_path: Path, strategy: Any, exits: Any) -> None:
    frames = {"AAPL": made_bars(11, days=2).iloc[:88]}
    start = frames["AAPL"].index[56].to_pydatetime()
    setup = rules(**exits)

    reader = await Replay(tmp_path, frames).run(*strategy, setup, start)

    wanted = promised(frames, strategy, setup, start)
    assert len(wanted) >= 6
    assert told(reader) == wanted


async def test_an_engine_that_dies_again_and_again_trades_the_same(tmp_path: Path) -> None:
    frames = {"AAPL": made_bars(12, days=2).iloc[:92], "NVDA": made_bars(13, days=2, symbol="NVDA").iloc[:92]}
    start = frames["AAPL"].index[62].to_pydatetime()
    setup = rules(**STOPS)
    replay = Replay(tmp_path, frames, deaths=10)

    reader = await replay.run(*SMA, setup, start)

    wanted = promised(frames, SMA, setup, start)
    assert len(replay.died) >= 5
    assert len(wanted) >= 8
    assert sorted(told(reader)) == sorted(wanted)


@pytest.mark.parametrize("mode", ["confirm", "second trade"])
async def test_filters_let_in_at_the_desk_what_they_let_in_in_the_backtest(tmp_path: Path, mode: str) -> None:
    chance = np.random.default_rng(5)
    frames = {
        symbol: made_bars(seed, days=2, symbol=symbol).iloc[:92].assign(volume=chance.integers(1, 9, 92) * 1e5)
        for symbol, seed in (("AAPL", 12), ("NVDA", 13))
    }
    start = frames["AAPL"].index[62].to_pydatetime()
    filters = Volume(bars=10, percentile=40.0), Correlation(pairs="AAPL>NVDA", mode=mode, bars=20, least=0.0)
    setup = rules(filters=filters, fraction=0.45, short=mode == "confirm")
    replay = Replay(tmp_path, frames, deaths=6)

    reader = await replay.run(*SMA, setup, start)

    wanted = promised(frames, SMA, setup, start)
    assert len(replay.died) >= 3
    assert len(wanted) >= 4
    assert wanted != promised(frames, SMA, dataclasses.replace(setup, filters=()), start)
    assert sorted(told(reader)) == sorted(wanted)
    [one] = adoptions(reader)
    judged = [each for each in decisions(reader, one.id, "NVDA", 100) if each.verdicts]
    assert {said.passes for each in judged for said in each.verdicts} == {True, False}
    assert any("Held back for at most" in each.said and "volume" in each.said for each in judged)


# What may be adopted, and what becomes of it


@pytest.fixture
async def replay(tmp_path: Path) -> AsyncIterator[Replay]:
    """A desk in the middle of a quiet morning, with bars that rise until the strategy is to buy."""
    replay = Replay(tmp_path, {"AAPL": made_bars(11, days=2)})
    await replay.begin(replay.frames["AAPL"].index[90].to_pydatetime())
    yield replay
    assert replay.desk.problems() == []
    await replay.desk.stop()


def wish(**changed: Any) -> dict[str, Any]:
    name, params = SMA
    asked = {"strategy": name, "params": params, "symbols": ["AAPL"], "interval": "5m", "setup": rules().to_dict()}
    return {**asked, **changed}


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"strategy": "sma_crosover"}, "Did you mean 'sma_crossover'?"),
    ({"params": {"fats": 3}}, "Did you mean 'fast'?"),
    ({"params": {"fast": 9, "slow": 8}}, "slow must exceed fast: got 9 and 8"),
    ({"interval": "7m"}, "no timeframe is called '7m'"),
    ({"symbols": []}, "a strategy trades 1 to 50 symbols: got 0"),
    ({"symbols": ["../x"]}, "a symbol is up to 15"),
    ({"account": "nobody"}, "no account is called 'nobody'"),
    ({"colour": "red"}, "an adoption has no field 'colour'"),
    ({"setup": rules(cash=90_000.0).to_dict()}, "one order of account main may be 20,000"),
    ({"setup": rules(max_bars=5).to_dict()}, "a strategy at work holds as long as it wants"),
    ({"setup": rules(size_at="open").to_dict()}, "nobody knows the open when an order is sent"),
    ({"setup": {"cahs": 1.0}}, "Did you mean 'cash'?"),
    ({"setup": {"filters": [{"name": "volum"}]}}, "Did you mean 'volume'?"),
    ({"setup": {"filters": [{"name": "volume", "params": {"bars": 1}}]}}, "bars must be at least 5: got 1"),
    ({"setup": {"filters": "volume"}}, "filters must be a list"),
]


async def test_what_cannot_be_adopted_is_refused_in_words(replay: Replay) -> None:
    for changed, said in REFUSALS:
        answer = await replay.desk.ask(Kind.ADOPT, **wish(**changed))

        assert (answer.state, said in answer.said) == (CommandState.REFUSED, True), answer.said
    assert adoptions(replay.desk.reader) == []


async def test_a_symbol_is_traded_by_one_strategy_only(replay: Replay) -> None:
    first = await replay.desk.ask(Kind.ADOPT, **wish())

    second = await replay.desk.ask(Kind.ADOPT, **wish(symbols=["KO", "AAPL"]))
    await replay.desk.ask(Kind.RETIRE, id=first.details["adoption"])
    third = await replay.desk.ask(Kind.ADOPT, **wish())

    assert second.said.startswith("AAPL is traded by sma_crossover 3/8 on AAPL 5m already")
    assert third.state is CommandState.DONE
    [now] = adoptions(replay.desk.reader)
    assert now.id == third.details["adoption"]
    assert [state for _, state, _, _ in history(replay.desk.reader, first.details["adoption"])] == [
        "working",
        "retired",
    ]


async def test_a_strategy_that_fails_is_paused_and_the_desk_goes_on(
    replay: Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find("sma_crossover"), "stream", lambda self: Window(self))  # as of a file that brings none
    adoption = await replay.adopt(*SMA, rules())
    monkeypatch.setattr(find("sma_crossover"), "target", lambda self, candles: candles["close"] * float("nan"))

    await replay.bars_close(2)

    [now] = adoptions(replay.desk.reader)
    assert (now.id, now.state) == (adoption, State.PAUSED)
    assert "exposure must be a number in [-1, 1]: got nan" in now.reason
    assert (await replay.desk.place("AAPL", quantity="1")).state is CommandState.DONE


async def test_bars_that_closed_while_no_engine_ran_are_missed(replay: Replay) -> None:
    adoption = await replay.adopt(*SMA, rules())
    await replay.bars_close(1)
    await replay.desk.stop()
    replay.clock.advance(minutes=31)
    await replay.desk.start()

    await replay.bars_close(1)

    told = decisions(replay.desk.reader, adoption, "AAPL", 20)
    missed = [one for one in told if one.done is Done.MISSED]
    assert len(missed) >= 4
    assert told[0].done is not Done.MISSED
    assert [one.bar_time for one in reversed(told)] == sorted({one.bar_time for one in told})
    assert all(one.wanted == one.held and not one.signal_id for one in missed)


async def test_nothing_is_opened_beside_a_persons_position(replay: Replay) -> None:
    await replay.desk.place("AAPL", quantity="5", stop_loss="100.00")
    await replay.desk.tick(3)
    adoption = await replay.adopt(*SMA, rules())

    await replay.bars_close(9)

    found = [one for one in decisions(replay.desk.reader, adoption, "AAPL", 20) if one.done is Done.NOT_OURS]
    assert found
    assert "The position in AAPL is not ours" in found[0].said
    assert replay.desk.held() == 5
    assert not any(one.done is Done.ORDERED for one in decisions(replay.desk.reader, adoption, "AAPL", 20))


async def test_a_paused_desk_lets_a_strategy_close_and_not_open(replay: Replay) -> None:
    adoption = await replay.adopt(*SMA, rules(**STOPS))
    await replay.until_held()
    await replay.desk.ask(Kind.KILL, level=1, reason="test")
    stopped = replay.clock.now()

    await replay.bars_close(14)

    made = orders(replay.desk.reader, next(one for one in adoptions(replay.desk.reader) if one.id == adoption))
    entries = [one for one in made if one.request.purpose is Purpose.ENTRY and one.created > stopped]
    assert replay.desk.held() == 0
    assert {one.status for one in entries} == {Status.DENIED}


async def test_what_a_retired_strategy_holds_stays_under_its_stops(replay: Replay) -> None:
    adoption = await replay.adopt(*SMA, rules(**STOPS))
    await replay.until_held()
    held = replay.desk.held()

    answer = await replay.desk.ask(Kind.RETIRE, id=adoption)

    assert f"and is yours now: {held.normalize():f} AAPL" in answer.said
    assert {one.request.purpose for one in replay.desk.open()} == {Purpose.STOP, Purpose.TARGET}
    assert adoptions(replay.desk.reader) == []


# What a sale that does not come about leaves behind


async def about_to_sell(replay: Replay) -> tuple[Adopting, D]:
    """The strategy holds something under its stop, and has just decided to sell it."""
    adoption = await replay.adopt(*SMA, rules(**STOPS))
    await replay.until_held()
    assert replay.desk.engine is not None
    strategies, held = replay.desk.engine._desk.strategies, replay.desk.held()
    now = replay.clock.now()
    sale = BarDecision(adoption, "AAPL", now, 0.0, Done.ORDERED, "sell", held, D(0), signal_id="sale")
    strategies._todo[adoption, "AAPL"] = sale
    return strategies, held


def stopped(replay: Replay) -> D:
    """How many shares are under a stop."""
    return sum((o.remaining for o in replay.desk.open() if o.request.purpose is Purpose.STOP), D(0))


async def test_shares_go_back_under_their_stop_when_the_strategy_is_retired_before_it_sold(replay: Replay) -> None:
    strategies, held = await about_to_sell(replay)
    [one] = strategies.working()
    strategies._carrying.claims.take(f"{one.id}|AAPL", ("main", "AAPL"), abs(held))  # its stop is being taken away

    await replay.desk.ask(Kind.RETIRE, id=one.id)
    await replay.desk.tick(3)

    assert (replay.desk.held(), stopped(replay)) == (held, abs(held))


async def test_shares_go_back_under_their_stop_when_the_market_shuts_before_they_were_sold(replay: Replay) -> None:
    strategies, held = await about_to_sell(replay)
    [one] = strategies.working()
    strategies._carrying.claims.take(f"{one.id}|AAPL", ("main", "AAPL"), abs(held))
    replay.clock.time = replay.clock.now().replace(hour=21, minute=0)  # 16:00 New York

    await replay.desk.tick(3)

    assert (replay.desk.held(), stopped(replay)) == (held, abs(held))


async def test_no_stop_is_taken_away_for_a_sale_that_the_gates_refuse(replay: Replay) -> None:
    _strategies, held = await about_to_sell(replay)
    assert replay.desk.engine is not None
    replay.desk.engine.tools.authority = NobodyLeft()
    stops = [order.id for order in replay.desk.open() if order.request.purpose is Purpose.STOP]

    await replay.desk.tick(3)

    assert (replay.desk.held(), stopped(replay)) == (held, abs(held))
    assert [order.id for order in replay.desk.open() if order.request.purpose is Purpose.STOP] == stops
    [said] = [said for said in replay.desk.engine.tools.problems.values() if "cannot close AAPL" in said]
    assert "ask the owner" in said


class NobodyLeft(Authority):
    """Whoever adopted may not trade any more."""

    def still(self, name: str, kind: Kind) -> bool:
        return False


async def test_a_bar_is_decided_once(replay: Replay) -> None:
    adoption = await replay.adopt(*SMA, rules())
    await replay.bars_close(1)
    [known] = decisions(replay.desk.reader, adoption, "AAPL")
    assert replay.desk.engine is not None

    with pytest.raises(LedgerConflict), replay.desk.engine.tools.write() as write:
        decide(write, known)
