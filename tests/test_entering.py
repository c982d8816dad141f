"""desk/entering.py: a limit entry waits its time, and what it left is let go, or bought once whatever happens."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from pathlib import Path

import pandas as pd
import pytest

from backtest.setup import Entry, Setup
from backtester import Backtest, Exit
from desk.adoptions import adoptions, orders
from desk.entering import as_asked, chases, entered, left_of, limit_of
from domain.commands import Kind
from domain.orders import Order, OrderRequest, OrderType, Purpose, Side, Status
from domain.params import build
from domain.quotes import Quote
from strategies.base import find
from tests.replaying import Replay, made_bars
from tests.test_adopting import RULES, SMA

NOW = datetime(2026, 11, 20, 15, tzinfo=UTC)
BUY = OrderRequest("main", "AAPL", Side.BUY, D(10), signal_id="one")
WAIT = Entry(0.1, 120.0, "drop")
CHASE = Entry(0.1, 120.0, "chase")


@pytest.fixture
async def replay(tmp_path: Path) -> AsyncIterator[Replay]:
    replay = Replay(tmp_path, {"AAPL": made_bars(11, days=2)})
    await replay.begin(replay.frames["AAPL"].index[90].to_pydatetime())
    yield replay
    assert replay.desk.problems() == []
    await replay.desk.stop()


async def waiting(replay: Replay, how: Entry) -> Order:
    """A strategy is at work, and its first entry rests."""
    exits = {"stop": Exit("pct", 2.0), "target": Exit("pct", 4.0)}
    rules = Setup(cash=15_000.0, fraction=0.9, fills=RULES, exits_from="signal", short=False, entry=how, **exits)
    await replay.adopt(*SMA, rules)
    frame = replay.frames["AAPL"]
    for at in frame.index[frame.index >= replay.clock.now()]:
        replay.desk.prices.last["AAPL"] = D(str(frame.loc[at, "close"]))
        await replay._decided(max(at.to_pydatetime() + timedelta(minutes=5), replay.clock.now()))
        await replay.desk.tick(2)
        if found := [o for o in replay.desk.open() if o.request.purpose is Purpose.ENTRY]:
            return found[0]
    raise AssertionError("it never wanted in")


def sent(replay: Replay) -> list[Order]:
    """The entries of the strategy, oldest first."""
    [one] = adoptions(replay.desk.reader)
    return [o for o in reversed(orders(replay.desk.reader, one)) if o.request.purpose is Purpose.ENTRY]


async def test_it_buys_below_the_bid_and_its_exits_rest_when_it_fills(replay: Replay) -> None:
    order = await waiting(replay, WAIT)
    bid = replay.desk.prices.quote("AAPL").bid
    assert (order.request.type, order.request.limit) == (OrderType.LIMIT, limit_of("AAPL", Side.BUY, bid, WAIT))
    assert order.request.limit <= bid * D("0.999")

    await replay.desk.tick(3, AAPL=str(order.request.limit - D("0.02")))

    assert replay.desk.held() == order.request.quantity
    resting = {o.request.purpose: o.remaining for o in replay.desk.open()}
    assert resting == {Purpose.STOP: order.request.quantity, Purpose.TARGET: order.request.quantity}


async def test_what_is_not_filled_in_time_is_let_go(replay: Replay) -> None:
    order = await waiting(replay, WAIT)

    await replay.desk.tick(3, seconds=30)
    assert [o.id for o in replay.desk.open()] == [order.id]
    await replay.desk.tick(4, seconds=10)

    assert replay.desk.open() == []
    [only] = sent(replay)
    assert (only.status, only.filled) == (Status.CANCELLED, 0)
    await replay.desk.tick(6, seconds=10)
    assert [o.id for o in sent(replay)] == [only.id]


async def test_what_runs_away_is_chased_once_engines_dying_or_not(replay: Replay) -> None:
    order = await waiting(replay, CHASE)

    await replay.desk.stop()
    replay.clock.advance(seconds=130)
    await replay.desk.start()
    await replay.desk.tick(2)
    await replay.desk.stop()
    await replay.desk.start()
    await replay.desk.tick(8)

    limit, market = sent(replay)
    assert (limit.id, limit.status) == (order.id, Status.CANCELLED)
    assert (market.request.type, market.status) == (OrderType.MARKET, Status.FILLED)
    assert replay.desk.held() == order.request.quantity
    assert {o.request.purpose for o in replay.desk.open()} == {Purpose.STOP, Purpose.TARGET}


async def test_what_a_person_took_back_is_not_chased(replay: Replay) -> None:
    order = await waiting(replay, CHASE)

    await replay.desk.ask(Kind.CANCEL, order=order.id)
    await replay.desk.tick(6, seconds=30)

    [only] = sent(replay)
    assert (only.status, replay.desk.held()) == (Status.CANCELLED, 0)


# By itself


def order(status: Status, waited: float, type_: OrderType = OrderType.LIMIT, purpose: Purpose = Purpose.ENTRY) -> Order:
    limit = D(100) if type_ is OrderType.LIMIT else None
    request = replace(BUY, type=type_, limit=limit, purpose=purpose)
    return Order("one", request, status, NOW, NOW + timedelta(seconds=waited))


@pytest.mark.parametrize(
    ("known", "how", "done"),
    [
        ([], CHASE, (False, False)),
        ([order(Status.CANCELLED, 120.0)], CHASE, (False, True)),
        ([order(Status.CANCELLED, 119.9)], CHASE, (True, False)),  # a person's or a switch's word
        ([order(Status.CANCELLED, 120.0)], WAIT, (True, False)),
        ([order(Status.CANCELLED, 120.0)], None, (True, False)),
        ([order(Status.FILLED, 120.0)], CHASE, (True, False)),
        ([order(Status.DENIED, 120.0)], CHASE, (True, False)),
        ([order(Status.LAPSED, 0.0)], CHASE, (False, False)),
        ([order(Status.CANCELLED, 120.0), order(Status.FILLED, 1.0, OrderType.MARKET)], CHASE, (True, False)),
        ([order(Status.CANCELLED, 120.0), order(Status.DENIED, 0.0, OrderType.MARKET)], CHASE, (True, False)),
        ([order(Status.CANCELLED, 120.0, purpose=Purpose.EXIT)], CHASE, (False, False)),
    ],
)
def test_what_comes_next_is_read_from_the_orders(
    known: list[Order], how: Entry | None, done: tuple[bool, bool]
) -> None:
    assert (entered(known, how), chases(known, how)) == done


@pytest.mark.parametrize(
    ("filled", "before", "own", "left"),
    [("0", "0", "0", "10"), ("4", "0", "4", "6"), ("4", "0", "-4", "6"), ("4", "5", "9", "6")],
)
def test_what_a_limit_order_left_is_bought(filled: str, before: str, own: str, left: str) -> None:
    part = replace(order(Status.CANCELLED, 120.0), filled=D(filled))

    assert left_of([part], before=D(before), own=D(own)) == D(left)


@pytest.mark.parametrize(("before", "own"), [("0", "0"), ("0", "3"), ("5", "5"), ("5", "0")])
def test_what_was_stopped_out_while_it_waited_is_not_bought_again(before: str, own: str) -> None:
    part = replace(order(Status.CANCELLED, 120.0), filled=D(4))

    assert left_of([part], before=D(before), own=D(own)) == 0


def test_a_limit_lies_on_a_tick_further_from_the_market() -> None:
    assert limit_of("AAPL", Side.BUY, D("150.07"), WAIT) == D("149.91")
    assert limit_of("AAPL", Side.SELL, D("150.07"), WAIT) == D("150.23")
    assert limit_of("AAPL", Side.BUY, D("0.01"), Entry(5.0)) == D("0.01")


def test_without_a_book_nothing_goes_out() -> None:
    quote = Quote("AAPL", NOW, D(150), "made up", bid=None, ask=None)

    assert as_asked(BUY, WAIT, [], quote) is None
    assert as_asked(BUY, None, [], quote) is BUY
    assert as_asked(BUY, CHASE, [order(Status.CANCELLED, 120.0)], quote) is BUY


def test_a_backtest_says_that_it_entered_otherwise() -> None:
    setup = Setup(entry=CHASE)

    run = Backtest(made_bars(3, days=1), build(find("sma_crossover"), {"fast": 3, "slow": 8}), setup).run()

    assert any("the desk enters by limit 0.1 % away for 120 s, then chase" in note for note in run.notes)
    assert Setup.of(json.loads(json.dumps(setup.to_dict()))) == setup
    with pytest.raises(ValueError, match="then must be one of drop, chase"):
        Setup.of({"entry": {"then": "wait"}})
    pd.testing.assert_frame_equal(
        run.fills, Backtest(made_bars(3, days=1), run_strategy(), Setup()).run().fills, check_exact=True
    )


def run_strategy() -> object:
    return build(find("sma_crossover"), {"fast": 3, "slow": 8})
