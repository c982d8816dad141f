"""The crash campaign at E*TRADE's simulator in small: whatever dies or is not answered, one wish makes one order."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal as D

import pytest

from tests.campaigns import etrade_crashes
from tests.faults.etrade_ending import End
from tests.faults.etrade_memory import AtBroker, Book, Hands, Side, Venue
from tests.faults.etrade_truth import settled
from tests.faults.etrade_variants import VARIANTS
from tests.faults.points import points

pytestmark = pytest.mark.xdist_group("processes")  # the runs are made once
FEW = 4
MUTANTS = {
    "not seen at once is not placed",
    "only open orders are listed",
    "no answer is a no",
    "sent first, written later",
    "nothing kept of what stood before",
    "fill and order in two commits",
    "uncertain entries sent again",
    "tried again, and written down in the end",
}


@pytest.fixture(scope="module")
def few() -> etrade_crashes.Tally:
    return etrade_crashes.runs(range(FEW))


def test_whatever_dies_the_broker_and_the_ledger_tell_the_same_story(few: etrade_crashes.Tally) -> None:
    assert few.problems == []
    assert few.runs == FEW


def test_engines_did_die_the_line_did_fail_and_orders_did_reach_the_broker(few: etrade_crashes.Tally) -> None:
    assert few.kills.total() >= FEW
    assert few.counts["orders"] > few.counts["by_hand"]
    assert few.faults.total() > 0


def test_every_mistake_that_must_be_noticed_is_known() -> None:
    assert set(VARIANTS) == MUTANTS


def test_every_named_place_is_known_to_the_campaign() -> None:
    assert {"after_intent", "after_watermark", "after_sending", "bytes_sent", "reply_before_commit"}.issubset(points())
    assert (etrade_crashes.ONCE | etrade_crashes.OFTEN).issubset(points())


def test_the_evidence_says_what_was_counted() -> None:
    sound = etrade_crashes.Tally()
    run = etrade_crashes.Run(5, twin=True, look_alikes=2)
    run.end = End(orders=7, by_hand=3)
    run.end.uncertain["found in the orders list"] += 4
    sound.add(run)
    caught = etrade_crashes.Tally(runs=3, violated=1, problems=["seed 1: I1: twice"])

    text = etrade_crashes.report(sound, dict.fromkeys(VARIANTS, caught))

    assert "1 runs" in text
    assert "**Runs with a violation: 0.**" in text
    assert "7 orders reached the broker, 3 of them by hand and 2 of these the same" in text
    assert "| found in the orders list | 4 |" in text
    assert text.count("| yes | 3 | seed 1: I1: twice |") == len(VARIANTS)


# The judge itself

NOW = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)


def at_broker(number: str, client_id: str, *, filled: int = 10, by_hand: bool = False) -> AtBroker:
    status, value = ("EXECUTED", D(100) * filled) if filled == 10 else ("OPEN", D(0))
    what = ("KO", Side.BUY, D(10), "MARKET", None, None)
    return AtBroker(number, client_id, *what, status, NOW, D(filled), value, by_hand)


def book(*, broker_id: str, status: str = "FILLED", filled: str = "10", moves: tuple[str, ...] = ()) -> Book:
    asked = {"symbol": "KO", "side": "buy", "quantity": "10", "type": "market", "limit": None, "stop": None}
    order = {**asked, "id": "o-1", "purpose": "entry", "stop_loss": None, "target": None, "filled": filled}
    order |= {"broker_id": broker_id, "status": status, "account": "main", "created": 0}
    attempt = {"order_id": "o-1", "client_order_id": "OURS", "n": 1, "signed": int(NOW.timestamp() * 1e6)}
    fill = {
        "id": "main:390:10",
        "order_id": "o-1",
        "side": "buy",
        "symbol": "KO",
        "quantity": "10",
        "price": "100",
        "fee": "0",
    }
    moved = [{"event": "move", "details": {"order": "o-1", "after": after, "reasons": []}} for after in moves]
    armed = [{"event": "arming", "details": {"armed": True}}]
    return Book({"o-1": order}, {"OURS": attempt}, [fill], [*armed, *moved], [], {}, {}, [], D(1000))


def venue(*orders: AtBroker) -> Venue:
    trades = [(one.number, one.symbol, one.filled) for one in orders if one.filled]
    held = sum((one.filled for one in orders), D(0))
    return Venue({one.number: one for one in orders}, trades, {"KO": held}, D(1000) - 100 * held)


def test_an_order_that_stands_once_and_is_known_is_right() -> None:
    assert list(settled(venue(at_broker("390", "OURS")), book(broker_id="390"), Hands(), {})) == []


def test_an_order_by_hand_from_before_ours_must_not_be_taken_for_ours() -> None:
    there = venue(at_broker("390", "by hand", by_hand=True))

    [said] = settled(there, book(broker_id="390"), Hands(frozenset({"390"}), {"390": "o-1"}), {})

    assert said == "I2: entry o-1 took 390 for its own: placed by hand"


def test_an_order_by_hand_after_our_signature_that_looks_the_same_may_stand_for_ours() -> None:
    there = venue(at_broker("390", "by hand", by_hand=True))

    assert list(settled(there, book(broker_id="390"), Hands(frozenset({"390"})), {})) == []


def test_an_order_that_was_given_up_must_never_stand_at_the_broker() -> None:
    given_up = book(broker_id="390", moves=("AMBIGUOUS", "NOT_PLACED", "WORKING"))

    [said] = settled(venue(at_broker("390", "OURS")), given_up, Hands(), {})

    assert said == "I2: o-1 was called NOT_PLACED (), the broker has it as 390"


def test_two_orders_of_one_sending_are_a_double_and_the_money_shows_it() -> None:
    said = list(settled(venue(at_broker("390", "OURS"), at_broker("391", "OURS")), book(broker_id="390"), Hands(), {}))

    assert "I1: sending OURS stands 2 times at the broker" in said
    assert any(one.startswith("I4: ") for one in said)
