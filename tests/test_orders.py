"""The words of an order's life: domain/orders.py, positions.py, signals.py and commands.py."""

from __future__ import annotations

import dataclasses
import itertools
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as hs
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from domain.commands import MOST_BYTES, Command, Kind
from domain.orders import (
    AT_BROKER,
    DONE,
    MAY_BECOME,
    OPEN,
    UNCERTAIN,
    Fill,
    Order,
    OrderRequest,
    OrderType,
    Side,
    Status,
    WrongMove,
)
from domain.positions import Account, Position, fold
from domain.signals import Signal
from tests.conftest import ROOT

NOW = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
LATER = NOW + timedelta(seconds=1)

# Written out a second time on purpose: changing the table means changing it twice.
TABLE = """
NEW: SENDING DENIED LAPSED
SENDING: WORKING REFUSED AMBIGUOUS
AMBIGUOUS: WORKING NOT_PLACED FROZEN
FROZEN: WORKING NOT_PLACED
WORKING: PARTIAL FILLED CANCELLING CANCELLED EXPIRED
PARTIAL: PARTIAL FILLED CANCELLING CANCELLED EXPIRED
CANCELLING: CANCELLED FILLED PARTIAL EXPIRED WORKING
"""
EDGES = {
    (Status(source), Status(target))
    for source, targets in (line.split(":") for line in TABLE.strip().splitlines())
    for target in targets.split()
}
REVIVALS = {(Status.NOT_PLACED, Status.WORKING), (Status.REFUSED, Status.WORKING)}
PAIRS = list(itertools.product(Status, Status))


def request(**changed: Any) -> OrderRequest:
    return OrderRequest(**{"account": "paper", "symbol": "AAPL", "side": Side.BUY, "quantity": Decimal(10), **changed})


def order(status: Status = Status.NEW) -> Order:
    return Order("o1", request(), status, NOW, NOW)


def fill(
    id: str, side: Side, quantity: str, price: str, fee: str = "0", *, account: str = "paper", symbol: str = "AAPL"
) -> Fill:
    return Fill(id, "o1", account, symbol, side, Decimal(quantity), Decimal(price), NOW, Decimal(fee))


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_an_order_moves_along_the_table_and_nowhere_else(source: Status, target: Status) -> None:
    if (source, target) in EDGES:
        moved = order(source).become(target, LATER, reasons=("because",), broker_id="b1")
        assert (moved.status, moved.updated, moved.created, moved.version) == (target, LATER, NOW, 2)
        assert (moved.reasons, moved.broker_id) == (("because",), "b1")
    else:
        with pytest.raises(WrongMove, match=f"order o1: {source} cannot become {target}"):
            order(source).become(target, LATER)


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_only_reconciliation_revives(source: Status, target: Status) -> None:
    if (source, target) in EDGES | REVIVALS:
        assert order(source).become(target, LATER, revive=True).status is target
    else:
        with pytest.raises(WrongMove):
            order(source).become(target, LATER, revive=True)


def test_every_status_is_open_or_done_and_the_sets_agree_with_the_table() -> None:
    assert set(Status) == OPEN | DONE
    assert not OPEN & DONE
    assert set(MAY_BECOME) == set(Status)
    assert {status for status in Status if not MAY_BECOME[status]} == DONE
    assert AT_BROKER <= OPEN
    assert UNCERTAIN <= OPEN
    assert not AT_BROKER & UNCERTAIN
    assert order(Status.FROZEN).open
    assert not order(Status.FILLED).open


def test_what_was_said_of_an_order_stays_until_something_new_is_said() -> None:
    sent = order().become(Status.SENDING, NOW).become(Status.WORKING, NOW, reasons=("found",), broker_id="b1")

    cancelled = sent.become(Status.CANCELLING, LATER).become(Status.CANCELLED, LATER)

    assert (cancelled.reasons, cancelled.broker_id, cancelled.version) == (("found",), "b1", 5)
    assert cancelled.remaining == 10


@pytest.mark.parametrize("number", ["NaN", "sNaN", "Infinity", "-Infinity", "0", "-1"])
@pytest.mark.parametrize("name", ["quantity", "limit", "stop_loss", "target"])
def test_a_request_takes_no_nonsense_for_a_number(name: str, number: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a finite (number|price) above zero: got {number}"):
        request(type=OrderType.LIMIT, **{"limit": Decimal(100), name: Decimal(number)})


@pytest.mark.parametrize("number", [100, 100.0, "100"])
def test_money_is_decimal_or_refused(number: Any) -> None:
    with pytest.raises(ValueError, match="limit must be a finite price above zero"):
        request(type=OrderType.LIMIT, limit=number)


@pytest.mark.parametrize(
    ("kind", "needs"),
    [
        (OrderType.MARKET, set()),
        (OrderType.LIMIT, {"limit"}),
        (OrderType.STOP, {"stop"}),
        (OrderType.STOP_LIMIT, {"stop", "limit"}),
        (OrderType.TRAILING_STOP, {"trail"}),
    ],
)
def test_each_type_takes_its_own_prices_and_no_other(kind: OrderType, needs: set[str]) -> None:
    every = ["limit", "stop", "trail"]
    for count in range(4):
        for given in itertools.combinations(every, count):
            prices = {name: Decimal(5) for name in given}
            if set(given) == needs:
                assert request(type=kind, **prices).type is kind
                continue
            with pytest.raises(ValueError, match="order") as refused:
                request(type=kind, **prices)
            for name in every:
                assert (f"a {kind} order needs a {name}" in str(refused.value)) == (name in needs - set(given))
                assert (f"a {kind} order takes no {name}: got 5" in str(refused.value)) == (name in set(given) - needs)


@pytest.mark.parametrize(
    ("side", "stop_loss", "target", "where"),
    [(Side.BUY, 110, 100, "below"), (Side.BUY, 100, 100, "below"), (Side.SELL, 100, 110, "above")],
)
def test_exits_the_wrong_way_round_are_refused(side: Side, stop_loss: int, target: int, where: str) -> None:
    with pytest.raises(ValueError, match=f"the stop must lie {where} the target: got {stop_loss} and {target}"):
        request(side=side, stop_loss=Decimal(stop_loss), target=Decimal(target))
    if stop_loss != target:
        assert request(side=side.opposite, stop_loss=Decimal(stop_loss), target=Decimal(target)).target == target


def test_a_request_names_all_that_is_wrong_at_once() -> None:
    with pytest.raises(ValueError, match="buy AAPL: ") as refused:
        request(
            account="",
            quantity=Decimal("NaN"),
            type=OrderType.STOP_LIMIT,
            limit=Decimal(-1),
            trail=Decimal(2),
            stop_loss=Decimal(9),
            target=Decimal(8),
        )

    assert str(refused.value).removeprefix("buy AAPL: ").split("; ") == [
        "account must be named",
        "quantity must be a finite number above zero: got NaN",
        "a stop limit order needs a stop",
        "a stop limit order takes no trail: got 2",
        "limit must be a finite price above zero: got -1",
        "the stop must lie below the target: got 9 and 8",
    ]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"quantity": Decimal(0)}, "quantity and price must be above zero"),
        ({"price": Decimal("NaN")}, "quantity and price must be above zero"),
        ({"fee": Decimal("-0.01")}, "a fee must be zero or more"),
        ({"fee": Decimal("NaN")}, "a fee must be zero or more"),
        ({"time": datetime(2026, 11, 20)}, "a time must carry a zone"),  # noqa: DTZ001 - that is the point
    ],
)
def test_a_fill_checks_itself(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"fill f1: {said}"):
        dataclasses.replace(fill("f1", Side.BUY, "1", "1"), **wrong)


def test_a_fill_moves_cash_by_price_and_fee() -> None:
    assert fill("f1", Side.BUY, "10", "100.01", "0.05").cash == Decimal("-1000.15")
    assert fill("f2", Side.SELL, "10", "100.01", "0.05").cash == Decimal("1000.05")


@pytest.mark.parametrize(
    ("fills", "quantity", "cost", "realised"),
    [
        ([("buy", "10", "100", "1")], "10", "100", "-1"),
        ([("buy", "10", "100", "0"), ("buy", "30", "104", "0")], "40", "103", "0"),
        ([("buy", "10", "100", "0"), ("sell", "4", "110", "1")], "6", "100", "39"),  # 4 x 10 less the fee
        ([("buy", "10", "100", "0"), ("sell", "10", "90", "0")], "0", "0", "-100"),
        ([("buy", "10", "100", "0"), ("sell", "15", "110", "0")], "-5", "110", "100"),  # through zero
        ([("sell", "10", "100", "0"), ("buy", "4", "90", "0")], "-6", "100", "40"),
        ([("sell", "10", "100", "0"), ("buy", "12", "105", "0")], "2", "105", "-50"),
        ([("sell", "10", "100", "0"), ("sell", "10", "110", "0")], "-20", "105", "0"),
    ],
)
def test_a_position_by_hand(fills: list[tuple[str, str, str, str]], quantity: str, cost: str, realised: str) -> None:
    account = fold("paper", Decimal(0), [fill(str(n), Side(s), q, p, f) for n, (s, q, p, f) in enumerate(fills)])

    held = account.positions["AAPL"]
    assert (held.quantity, held.cost, held.realised) == (Decimal(quantity), Decimal(cost), Decimal(realised))
    assert account.realised == Decimal(realised)


def test_a_fill_heard_of_twice_counts_once_and_others_fills_not_at_all() -> None:
    once = [fill("a", Side.BUY, "10", "100", "1"), fill("b", Side.SELL, "4", "110", "1")]

    account = fold("paper", Decimal(5000), [*once, *once, fill("c", Side.BUY, "1", "1", account="other")])

    assert account == fold("paper", Decimal(5000), once)
    assert account.cash == Decimal(5000 - 1001 + 439)


def test_no_price_is_no_equity() -> None:
    closed = [fill("a", Side.BUY, "10", "100", symbol="MSFT"), fill("b", Side.SELL, "10", "101", symbol="MSFT")]
    account = fold("paper", Decimal(5000), [*closed, fill("c", Side.SELL, "10", "100")])

    assert account.equity({"AAPL": Decimal(90)}) == 5000 + 10 + 100  # what is closed needs no price
    assert account.positions["AAPL"].unrealised(Decimal(90)) == 100
    with pytest.raises(KeyError, match="AAPL"):
        account.equity({"MSFT": Decimal(100)})


class Book(RuleBasedStateMachine):
    """Fills against the slowest possible bookkeeping: one entry a share, in exact fractions."""

    def __init__(self) -> None:
        super().__init__()
        self.fills: list[Fill] = []
        self.shares: list[Fraction] = []
        self.sign = 1
        self.realised = self.fees = Fraction(0)
        self.cash = Fraction(100_000)

    @rule(
        side=hs.sampled_from(Side),
        quantity=hs.integers(1, 12),
        price=hs.decimals("0.01", "999.99", places=2),
        fee=hs.decimals("0", "3", places=2),
    )
    def trade(self, side: Side, quantity: int, price: Decimal, fee: Decimal) -> None:
        self.fills.append(fill(str(len(self.fills)), side, str(quantity), str(price), str(fee)))
        self.cash -= side.sign * quantity * Fraction(price) + Fraction(fee)
        self.realised -= Fraction(fee)
        self.fees += Fraction(fee)
        for _ in range(quantity):
            self.one_share(side.sign, Fraction(price))

    def one_share(self, sign: int, price: Fraction) -> None:
        if self.shares and sign != self.sign:
            self.realised += self.sign * (price - self.shares.pop())
            return
        self.sign = sign
        self.shares.append(price)
        self.shares = [sum(self.shares, Fraction(0)) / len(self.shares)] * len(self.shares)

    @rule(data=hs.data())
    def hear_again(self, data: hs.DataObject) -> None:
        if self.fills:
            self.fills.append(data.draw(hs.sampled_from(self.fills)))

    @invariant()
    def agrees(self) -> None:
        account = fold("paper", Decimal(100_000), self.fills)
        held = account.positions.get("AAPL", Position("paper", "AAPL"))

        assert Fraction(account.cash) == self.cash
        assert held.quantity == self.sign * len(self.shares)
        assert abs(Fraction(held.cost) - (self.shares[0] if self.shares else 0)) < Fraction(1, 10**18)
        assert abs(Fraction(held.realised) - self.realised) < Fraction(1, 10**18)
        assert Fraction(held.fees) == self.fees
        self.balances(account, held)

    def balances(self, account: Account, held: Position) -> None:
        """What was put in and what was earned is what there is, at any price."""
        price = Decimal("123.45")
        earned = account.equity({"AAPL": price}) - 100_000
        assert abs(earned - held.realised - held.unrealised(price)) < Decimal("1e-15")


TestBook = Book.TestCase
TestBook.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def signal(**changed: Any) -> Signal:
    said = {"symbol": "AAPL", "bar_time": NOW, "exposure": 0.5, "confidence": 0.7, "source": "manual", "reason": "why"}
    return Signal(**{**said, **changed})


def test_the_same_wish_has_the_same_id_in_every_process() -> None:
    code = (
        "from datetime import *; from domain.signals import Signal; from domain.commands import *;"
        "at = datetime(2026, 11, 20, 15, 30, tzinfo=UTC);"
        "print(Signal('AAPL', at, 0.5, 0.7, 'manual', 'why').id,"
        " Command('12345678', Kind.PLACE, 'me', {'b': '1', 'a': [2]}).fingerprint)"
    )
    mine = f"{signal().id} {Command('87654321', Kind.PLACE, 'me', {'a': [2], 'b': '1'}).fingerprint}"

    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }

    assert said == {mine}


def test_equal_signals_have_equal_ids() -> None:
    new_york = NOW.astimezone(timezone(timedelta(hours=-5)))

    assert signal(bar_time=new_york) == signal()
    assert signal(bar_time=new_york).id == signal().id
    assert signal(exposure=-0.0) == signal(exposure=0.0)
    assert signal(exposure=-0.0).id == signal(exposure=0.0).id
    assert signal(exposure=1).id == signal(exposure=1.0).id


@pytest.mark.parametrize(
    "other",
    [
        {"symbol": "MSFT"},
        {"bar_time": LATER},
        {"exposure": 0.5000000001},
        {"confidence": 0.5},
        {"source": "strategy:x"},
        {"reason": "because"},
        {"source": "manual\x1fwhy", "reason": ""},
    ],
)
def test_another_wish_has_another_id(other: dict[str, Any]) -> None:
    assert signal(**other).id != signal().id
    assert signal(source="a\x1fb", reason="c").id != signal(source="a", reason="b\x1fc").id


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -1.01, 1.01])
@pytest.mark.parametrize("name", ["exposure", "confidence"])
def test_a_signal_takes_no_nonsense(name: str, number: float) -> None:
    with pytest.raises(ValueError, match=f"AAPL: {name} must lie in"):
        signal(**{name: number})
    with pytest.raises(ValueError, match="must carry a zone"):
        signal(bar_time=NOW.replace(tzinfo=None))


def command(**changed: Any) -> Command:
    return Command(**{"key": "12345678", "kind": Kind.PLACE, "actor": "owner", "payload": {"quantity": "1"}, **changed})


def test_a_fingerprint_is_what_is_asked_and_by_whom_but_not_the_key() -> None:
    assert command(key="abcdefgh").fingerprint == command().fingerprint
    others = [{"kind": Kind.PREVIEW}, {"actor": "guest"}, {"payload": {"quantity": "2"}}, {"payload": {}}]
    assert len({command(**other).fingerprint for other in [{}, *others]}) == 5


@pytest.mark.parametrize(
    "payload",
    [
        {"price": float("nan")},
        {"price": float("inf")},
        {"deep": {"list": [1, float("-inf")]}},
        {"price": Decimal(1)},
        {"when": NOW},
        {1: "a", "b": 2},
        {"long": "x" * MOST_BYTES},
    ],
)
def test_a_payload_is_json_or_refused(payload: dict[Any, Any]) -> None:
    with pytest.raises(ValueError, match=r"JSON|serializable|not supported|at most 16384 bytes"):
        command(payload=payload)


def test_a_payload_without_end_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(200_000):
        deep = {"a": deep}
    circle: dict[str, Any] = {}
    circle["again"] = circle

    for payload in (deep, circle):
        with pytest.raises(ValueError, match=r"recursion|Circular"):
            command(payload=payload)


@pytest.mark.parametrize("key", ["short", "x" * 81, "1234567\n", "12345678é", "1234567\x00"])
def test_a_command_has_a_printable_key_and_an_actor(key: str) -> None:
    with pytest.raises(ValueError, match="8 to 80 printable ASCII characters"):
        command(key=key)
    with pytest.raises(ValueError, match="must name its actor"):
        command(actor="")
