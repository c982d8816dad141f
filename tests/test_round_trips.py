"""Round trips: what each brought, to the last digit, and what the ledger says of them after a restart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desk.reader import Reader
from desk.records import Adjustment
from domain.clock import ManualClock
from domain.commands import CommandState, Kind
from domain.orders import Fill, Side
from domain.positions import Position
from domain.round_trips import RoundTrip, RoundTrips
from tests import ledgers
from tests.trading import PaperDesk, trading

NOW = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
BUY, SELL = Side.BUY, Side.SELL
pytest_plugins = ["tests.ledger_fixtures"]


def fills(*told: tuple[Side, str, str], symbol: str = "AAPL", fee: str = "0") -> Iterator[Fill]:
    """One a minute."""
    for n, (side, quantity, price) in enumerate(told):
        at = NOW + timedelta(minutes=n)
        yield Fill(f"{symbol}{n}", "o", "main", symbol, side, D(quantity), D(price), at, D(fee))


def folded(*all_of: Fill) -> RoundTrips:
    trips = RoundTrips()
    for fill in all_of:
        trips.fill(fill)
    return trips


def brought(*told: tuple[Side, str, str], fee: str = "0") -> list[D]:
    return [trip.profit for trip in folded(*fills(*told, fee=fee)).since(NOW)]


@pytest.mark.parametrize(
    ("told", "fee", "profits"),
    [
        ([(BUY, "10", "100"), (SELL, "10", "99.99")], "0", ["-0.10"]),
        ([(SELL, "10", "100"), (BUY, "10", "99.99")], "0", ["0.10"]),
        ([(BUY, "10", "100"), (SELL, "10", "100.10")], "0.50", ["0.00"]),
        ([(BUY, "10", "100"), (SELL, "10", "100.10")], "0.51", ["-0.02"]),
        # An average of 32/3 is no finite decimal; the trip broke even all the same.
        ([(BUY, "1", "10"), (BUY, "2", "11"), (SELL, "1", "10"), (SELL, "2", "11")], "0", ["0"]),
        ([(BUY, "10", "100"), (SELL, "4", "90"), (BUY, "4", "80"), (SELL, "10", "101")], "0", ["50"]),
        ([(BUY, "10", "100"), (SELL, "4", "90")], "0", []),
        # Through zero: the first trip pays the whole fee of the fill that turns it.
        ([(BUY, "10", "100"), (SELL, "15", "99"), (BUY, "5", "98")], "1", ["-12", "4"]),
        ([(SELL, "10", "100"), (BUY, "15", "101"), (SELL, "5", "103")], "1", ["-12", "9"]),
        ([(BUY, "1", "100"), (SELL, "1", "90"), (BUY, "1", "100"), (SELL, "1", "110")], "0", ["-10", "10"]),
    ],
)
def test_a_round_trip_brings_what_its_cash_came_to(
    told: list[tuple[Side, str, str]], fee: str, profits: list[str]
) -> None:
    assert brought(*told, fee=fee) == [D(profit) for profit in profits]


def test_symbols_are_apart_and_in_the_order_of_time() -> None:
    late, early = fills((BUY, "1", "10"), (SELL, "1", "9"), symbol="KO")
    trips = folded(*fills((BUY, "1", "10"), (SELL, "1", "11")), late, replace(early, time=NOW - timedelta(hours=1)))

    assert trips.since(NOW - timedelta(days=1)) == (
        RoundTrip("KO", NOW - timedelta(hours=1), D(-1)),
        RoundTrip("AAPL", NOW + timedelta(minutes=1), D(1)),
    )


def test_since_holds_its_own_moment() -> None:
    trips = folded(*fills((BUY, "1", "10"), (SELL, "1", "9")))
    closed = NOW + timedelta(minutes=1)

    assert len(trips.since(closed)) == 1
    assert trips.since(closed + timedelta(microseconds=1)) == ()


def test_a_split_changes_neither_gain_nor_loss() -> None:
    bought, sold = fills((BUY, "10", "100"), (SELL, "100", "9.99"))
    trips = folded(bought)
    trips.adjust("AAPL", D(90))
    trips.fill(sold)

    assert [trip.profit for trip in trips.since(NOW)] == [D("-1.00")]


@pytest.mark.parametrize("change", ["-10", "-15"])
def test_shares_that_went_or_came_without_a_price_are_no_round_trip(change: str) -> None:
    bought, other, back, again, sold = fills(
        (BUY, "10", "100"), (SELL, "3", "1"), (BUY, "3", "9"), (BUY, "1", "10"), (SELL, "1", "9")
    )
    trips = folded(bought)
    trips.adjust("AAPL", D(change))  # gone, or turned: nobody knows at what price
    if change == "-15":
        trips.fill(replace(back, quantity=D(5)))
    assert trips.since(NOW) == ()

    trips.adjust("AAPL", D(3))  # brought from outside
    trips.fill(other)
    trips.fill(again)
    trips.fill(sold)

    assert [trip.profit for trip in trips.since(NOW)] == [D(-1)]


sides, amounts = st.sampled_from([BUY, SELL]), st.integers(1, 5).map(str)
prices = st.integers(1, 10_000).map(lambda cents: str(D(cents) / 100))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(sides, amounts, prices), max_size=25))
def test_round_trips_and_what_is_still_open_add_up_to_the_cash(told: list[tuple[Side, str, str]]) -> None:
    """Whatever was traded: what the closed trips brought is what the account realised up to the last flat moment."""
    trips, position, cash, fees = RoundTrips(), Position("main", "AAPL"), D(0), D("0.07")
    for fill in fills(*told, fee=str(fees)):
        before = position.quantity
        trips.fill(fill)
        position, cash = position.after(fill), cash + fill.cash
        closed = sum((trip.profit for trip in trips.since(NOW)), D(0))
        if position.quantity == 0:
            assert closed == cash
        elif before * position.quantity < 0:
            assert abs(closed - position.realised) < D("1e-20")


async def test_after_losses_entries_rest_by_the_ledger_alone(tmp_path: Path) -> None:
    """Bought at 100 and sold lower, twice: the symbol rests, then the account, also for an engine that begins anew."""
    async with trading(tmp_path) as desk:
        for name, value in {"cool_down_min": 10, "max_consecutive_losses": 2, "duplicate_window_s": 1.0}.items():
            assert (await desk.ask(Kind.SET_LIMIT, name=name, value=value)).state is CommandState.DONE
        await _lose(desk, "AAPL")
        [trip] = desk.reader.round_trips("main", desk.clock.now() - timedelta(hours=1))
        assert trip.profit == desk.reader.account("main").cash - 100_000  # type: ignore[union-attr]

        await desk.stop()
        await desk.start()
        await desk.tick(2)
        assert "AAPL closed with a loss of " in await _refusal(desk, "AAPL")
        await _lose(desk, "KO")
        refusal = await _refusal(desk, "NVDA")
        assert "The last 2 round trips of today lost, 2 in a row end the day (max_consecutive_losses)" in refusal

        desk.clock.time += timedelta(days=3)  # Monday, at the same hour
        await desk.tick(2)
        assert (await desk.preview("AAPL", quantity="10")).details["approved"] is True


async def _refusal(desk: PaperDesk, symbol: str) -> str:
    previewed = await desk.preview(symbol, quantity="10")
    assert previewed.details["approved"] is False
    return str(previewed.details["verdicts"])


async def _lose(desk: PaperDesk, symbol: str) -> None:
    """The way out is never held up, whatever was lost before."""
    assert (await desk.place(symbol, quantity="10")).state is CommandState.DONE
    await desk.tick(2)
    await desk.tick(1, **{symbol: str(desk.prices.last[symbol] - 1)})
    await desk.ask(Kind.CLOSE, account="main", symbol=symbol, percent="100", type="market")
    await desk.tick(2)
    assert desk.held(symbol) == 0


def test_the_ledger_tells_trips_with_what_the_brokers_figures_changed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    ledger, epoch = ledgers.founded(url)
    reader = Reader(url, ManualClock(ledgers.NOW))
    assert reader.round_trips("main", ledgers.NOW) == ()
    with ledger.write(epoch) as write:
        write.add_fill(ledgers.fill("f1", "10", "100", of=""))
    assert reader.round_trips("main", ledgers.NOW) == ()
    with ledger.write(epoch) as write:
        write.adjust(Adjustment("split", "main", "AAPL", D(90), reason="split"))
        write.adjust(Adjustment("dividend", "main", "", cash=D(500), reason="dividend"))
        write.add_fill(ledgers.fill("f2", "100", "9.99", of="", side=SELL))
    ledger.close()

    again = Reader(url, ManualClock(ledgers.NOW))
    for one in (reader, again):
        assert one.round_trips("main", ledgers.NOW) == (RoundTrip("AAPL", ledgers.NOW, D("-2.00")),)
    assert again.round_trips("main", ledgers.NOW + timedelta(seconds=1)) == ()
