"""The nightly replay: a strategy that trades as promised shows no drift, a desk that does not is found out."""

from __future__ import annotations

import dataclasses
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from backtester import Exit
from desk import crash, nightly
from desk.adoptions import Adoption, Done, State, keep, orders
from desk.choosing import Choosing
from desk.drift import BY_HAND, BY_SIGNAL, BY_STOP
from desk.nights import Night
from desk.own_trades import OwnTrades, Way
from desk.protection import BEYOND
from desk.reader import Reader
from desk.rungs import Rung, Why, stage_of
from domain.clock import ManualClock
from domain.commands import Kind
from domain.orders import Purpose, Side
from domain.signals import Signal
from strategies.base import find
from streams.window import Window
from tests.faults.points import Died, at
from tests.ledgers import NOW, fill, founded, order, working
from tests.nights import SETUP, SMA, Nights, replay_of
from tests.trading import PaperDesk


async def test_a_strategy_that_trades_as_promised_shows_no_drift(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay = await replay_of(tmp_path, 10, deaths=4).over(6)

    nights = replay.nights
    assert len({night.day for night in nights}) == len(nights) == 4
    assert nights[-1].fills >= 6
    for night in nights:
        assert (night.odd, night.odd_fills, night.price_bps, night.behind_pct) == (0, 0, 0.0, 0.0)
        assert (night.differing, night.beyond, dict(night.explained)) == ((), (), {})
    assert replay.stage.rung is Rung.PAPER
    assert "cannot be compared" not in replay.notes
    assert replay.desk.engine is not None
    monkeypatch.setattr(nightly, "MOST_SESSIONS", 2)  # from a bar on which it held nothing, with the money it had then
    late = await replay.desk.engine._desk.strategies.climbing.nightly._compare(replay.one, replay.stage, nights[-1].day)
    assert late.first > nights[-1].first
    assert 0 < late.fills < nights[-1].fills
    assert (late.odd, late.odd_fills, late.price_bps, late.differing) == (0, 0, 0.0, ())
    await replay.desk.stop()


async def test_worse_prices_are_found_out_and_the_strategy_goes_down_by_itself(tmp_path: Path) -> None:
    async def strict(replay: Nights) -> None:
        await replay.desk.ask(Kind.SET_LIMIT, name="max_drift_price_bps", value=10.0)

    replay = replay_of(tmp_path, 9, before={1: strict})
    replay.desk.prices._both *= 12  # type: ignore[attr-defined]

    await replay.over(6)

    first, second = replay.nights
    assert first.price_bps is not None
    assert second.price_bps is not None
    assert first.price_bps > 10 < second.price_bps
    assert (first.odd, second.odd) == (0, 0)
    assert "bps worse than its backtest's, at most 10 may be" in second.words
    [step] = [step for step in replay.stage.steps if step.night is None]
    assert (step.rung, step.by_drift, replay.stage.rung) == (Rung.RESEARCH, True, Rung.RESEARCH)
    ordered = [o.created for o in orders(replay.desk.reader, replay.one) if o.request.purpose is Purpose.ENTRY]
    assert max(ordered) < step.at
    assert "went down to research by itself" in replay.notes
    await replay.desk.stop()
    await replay.desk.start()
    await replay._turn()
    assert "went down to research by itself" in replay.notes
    assert replay.desk.problems() == []
    await replay.desk.stop()


async def test_a_trailing_stop_that_only_some_path_sets_off_is_no_drift(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The market goes the straight way; its backtest supposed the worst one."""
    monkeypatch.setattr(Nights, "_lure", lambda *of: [])
    replay = replay_of(tmp_path, 7, setup=dataclasses.replace(SETUP, stop=None, target=None, trail=Exit("atr", 0.8)))

    await replay.over(5)

    night = replay.nights[-1]
    assert (night.odd, night.odd_fills, night.differing) == (0, 0, ())
    assert night.explained["path in the bar"] == 1
    assert set(night.explained) <= {"path in the bar", "follows", "other money"}
    await replay.desk.stop()


async def test_a_skipped_decision_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newest, skipped = Choosing._newest, list[datetime]()

    def lazy(self: Choosing, symbol: str, bar: datetime, *rest: Any) -> Any:
        decision, signal = newest(self, symbol, bar, *rest)
        if decision.done is Done.ORDERED and len(skipped) < 1:
            skipped.append(bar)
            return dataclasses.replace(decision, done=Done.HELD, wanted=decision.held, signal_id=""), None
        return decision, signal

    monkeypatch.setattr(Choosing, "_newest", lazy)

    replay = await replay_of(tmp_path, 8).over(6)

    night = replay.nights[0]
    assert (night.odd, night.drifts) == (1, True)
    assert f"AAPL {skipped[0]:%Y-%m-%d %H:%M}: the desk stood for +0" in night.differing[0]
    await replay.desk.stop()


async def test_a_strategy_that_looks_at_the_clock_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    replay, target = replay_of(tmp_path, 8), find("sma_crossover").target

    def by_day(self: Any, candles: pd.DataFrame) -> Any:
        wanted = target(self, candles)
        late = replay.clock.now().day > 11
        return dataclasses.replace(wanted, exposure=-wanted.exposure) if late else wanted

    monkeypatch.setattr(
        find("sma_crossover"), "stream", lambda self: Window(self)
    )  # as of a file that brings no stream of its own
    monkeypatch.setattr(find("sma_crossover"), "target", by_day)

    await replay.over(6)

    first, second = replay.nights
    assert first.odd == 0
    assert second.odd >= 3
    assert second.drifts
    await replay.desk.stop()


async def test_what_has_a_known_reason_is_listed_and_is_no_drift(tmp_path: Path) -> None:
    """An engine that was away, a gate that refused, and a person who sold."""

    async def pause(replay: Nights) -> None:
        await replay.desk.ask(Kind.KILL, level=1, reason="test")

    async def go_on(replay: Nights) -> None:
        await replay.desk.ask(Kind.RE_ARM, reason="test")

    async def sell(replay: Nights) -> None:
        if replay.desk.held():
            await replay.desk.ask(Kind.CLOSE, account="main", symbol="AAPL", percent="100", turns=20)

    before = {2: pause, 9: go_on, **dict.fromkeys((19, 20, 22), sell)}
    replay = replay_of(tmp_path, 10, before=before, dead=frozenset({16, 17}))

    await replay.over(6)

    last = replay.nights[-1]
    assert {"refused", "missed", "by hand"} <= set(last.explained), last
    assert (last.odd, last.odd_fills, last.differing) == (0, 0, ())
    assert abs(last.behind_pct) < 0.5
    assert replay.stage.rung is Rung.PAPER


@pytest.mark.parametrize(
    ("symbols", "now", "day"),
    [
        (("AAPL",), "2026-11-20T21:29:59Z", date(2026, 11, 19)),
        (("AAPL",), "2026-11-20T21:30:00Z", date(2026, 11, 20)),
        (("AAPL",), "2026-11-22T12:00:00Z", date(2026, 11, 20)),
        (("AAPL",), "2026-11-27T18:30:00Z", date(2026, 11, 27)),  # shut at one after Thanksgiving
        (("BTC/USDT",), "2026-11-21T00:29:59Z", date(2026, 11, 19)),
        (("BTC/USDT",), "2026-11-21T00:30:00Z", date(2026, 11, 20)),
        (("BTC/USDT", "AAPL"), "2026-11-21T00:30:00Z", date(2026, 11, 20)),
    ],
)
async def test_a_night_is_due_half_an_hour_after_the_close(
    tmp_path: Path, symbols: tuple[str, ...], now: str, day: date
) -> None:
    async def bars(*asked: Any) -> pd.DataFrame:
        raise AssertionError("nobody asks yet")

    desk = PaperDesk(tmp_path, bars=bars)
    desk.clock.time = pd.Timestamp("2026-11-18T15:00:00Z").to_pydatetime()
    engine = await desk.start()
    one = Adoption("s-1", "main", *SMA, symbols, "1h", SETUP, "owner", desk.clock.now())
    desk.clock.time = pd.Timestamp(now).to_pydatetime()
    due = engine._desk.strategies.climbing.nightly._due

    assert due(one, stage_of(desk.reader, one, live=False)) == day
    assert due(dataclasses.replace(one, since=desk.clock.now()), stage_of(desk.reader, one, live=True)) is None
    await desk.stop()


async def test_a_death_in_a_night_leaves_neither_its_row_nor_the_step_down(tmp_path: Path) -> None:
    desk = PaperDesk(tmp_path)
    engine = await desk.start()
    one = Adoption("s-1", "main", *SMA, ("AAPL",), "1h", SETUP, "owner", desk.clock.now())
    with engine.tools.write() as write:
        keep(write, one, State.WORKING, reason="adopted", actor="owner")
    climbing, night = engine._desk.strategies.climbing, Night(date(2026, 11, 20), "", beyond=("It is far behind.",))
    before = stage_of(desk.reader, one, live=False)

    crash.install(at("before_commit", 1, _die))
    with pytest.raises(Died):
        climbing._keep(one, before, night, (Rung.RESEARCH, ""))
    crash.install(None)
    died = stage_of(desk.reader, one, live=False)
    climbing._keep(one, before, night, (Rung.RESEARCH, ""))
    after = stage_of(desk.reader, one, live=False)

    assert died == before
    assert [step.why for step in after.steps] == [Why.NIGHT, Why.DEMOTED]
    assert (after.rung, after.steps[-1].by_drift, after.steps[0].night) == (Rung.RESEARCH, True, night)
    assert desk.problems() == []
    await desk.stop()


def _die() -> None:
    raise Died


@pytest.mark.parametrize(
    ("reason", "way", "leg"),
    [(f"{BEYOND} 9.50", Way.STOP, BY_STOP), ("closed by owner", Way.PERSON, BY_HAND)],
)
def test_a_stop_that_the_desk_sold_at_market_is_no_sale_by_hand(
    tmp_path: Path, reason: str, way: Way, leg: str
) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger, epoch = founded(url)
    one = Adoption("s-1", "main", *SMA, ("AAPL",), "1h", SETUP, "owner", NOW)
    bought = Signal("AAPL", NOW, 1.0, 1.0, one.source, "up")
    entry = dataclasses.replace(order().request, signal_id=bought.id)
    leaves = dataclasses.replace(order(side=Side.SELL).request, purpose=Purpose.EXIT, reason=reason)
    with ledger.write(epoch) as write:
        write.add_signal(bought)
        for name, asked, price in (("o1", entry, "10"), ("o2", leaves, "9.4")):
            working(write, dataclasses.replace(order(name), request=asked))
            write.add_fill(fill(f"f-{name}", "100", price, of=name, side=asked.side))
    reader = Reader(url, ManualClock(NOW))

    [trade] = OwnTrades(one).refresh(reader).closed

    assert trade.way is way
    assert [move.leg for move in nightly._moves(reader, one)] == [BY_SIGNAL, leg]
