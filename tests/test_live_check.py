"""The one-share check against the simulator: what it finds, and that it leaves nothing behind however it ends."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from domain.clock import ManualClock
from etrade import live_check
from etrade._live_check_guard import Guard, Permit
from etrade._live_check_talk import Findings, Pace, Talk, advice
from etrade.body import write
from etrade.limits import LIMITS, Limit, Module
from etrade.session import EtradeSession
from etrade.transport import Reply, Request, TransportError
from etrade.vault import Vault, file_key
from settings import Settings
from simulator._state import Ticket
from simulator.running import Running, running
from tests.etrade_person import code_of

KEY = "kQ7mZr2VxPbN4tYwEoHs1A"


@dataclass
class Person:
    """Whoever sits at the keyboard. `does` says what is answered where a question or its step's title holds
    some words, else Enter; `hears` what happens when words are told, `at` after so many seconds."""

    sim: Running
    settings: Settings
    clock: ManualClock
    does: dict[str, str | Callable[[], str]] = field(default_factory=dict)
    hears: dict[str, Callable[[], object]] = field(default_factory=dict)
    at: dict[float, Callable[[], object]] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    passed: float = 0.0

    @property
    def text(self) -> str:
        return "\n".join(self.told)

    @property
    def account(self) -> str:
        return self.sim.server.state.accounts[0].account_id

    def ask(self, words: str) -> str:
        titles = [line for line in self.told if re.match(r"\d  ", line)]
        title = titles[-1] if "Enter: do it" in words else ""
        self.told.append(words)
        for part, answer in self.does.items():
            if part in words or part in title:
                return answer if isinstance(answer, str) else answer()
        if "The code" in words:
            [link] = [line for line in self.told if line.startswith("http")]
            return code_of(link)
        if "Which symbol" in words:
            return "f"
        if "Which one" in words:
            return self.account[-4:]
        if found := re.search(r"Type {2}(.+?) {2}to begin", words):
            return found[1]
        return ""

    def tell(self, words: str = "") -> None:
        self.told.append(words)
        for part in [part for part in self.hears if part in words]:
            self.hears.pop(part)()

    async def rest(self, seconds: float) -> None:
        """Time goes by in all three places, and orders meet the prices."""
        self.passed += seconds
        self.clock.advance(seconds=seconds)
        await asyncio.to_thread(self.sim.tick, seconds)
        for moment in [moment for moment in self.at if moment <= self.passed]:
            self.at.pop(moment)()

    def run(self) -> int:
        pace = Pace(lambda: 1000.0 + self.passed, self.rest)
        store = Vault(self.settings.etrade_dir, file_key)
        return live_check.main(self.settings, self.clock, ask=self.ask, tell=self.tell, pace=pace, store=store)

    @property
    def kept(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        return found

    @property
    def path(self) -> Path:
        return self.settings.data_dir / "live-check-simulator.json"

    def found(self, name: str) -> dict[str, Any]:
        [finding] = [one for one in self.kept["findings"] if one["name"] == name]
        return {"found": finding["found"], **finding["value"]}

    def orders(self) -> list[dict[str, Any]]:
        return [order for one in self.sim.control("book", "GET")["accounts"] for order in one["orders"]]

    def statuses(self) -> list[str]:
        return [order["status"] for order in self.orders()]


@pytest.fixture
def person(tmp_path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Person]:
    for module in (Module.ORDERS, Module.MARKET, Module.ACCOUNTS, Module.SIGN_IN):
        monkeypatch.setitem(LIMITS, module, Limit(1000, 7000, reserve=200))
    with running() as sim:
        sim.price("F", "12.01", bid="12.00", ask="12.02")
        wish = {"etrade_environment": "simulator", "etrade_simulator_url": sim.url}
        settings = Settings(data_dir=tmp_path / "data", trading="etrade", data_source="etrade", **wish)
        yield Person(sim, settings, clock)


def test_the_whole_run_settles_its_questions_and_leaves_nothing(person: Person) -> None:
    code = person.run()

    assert code == 0
    assert person.statuses() == ["CANCELLED"]
    assert person.found("limit")["limit"] == "6.00"
    assert person.found("preview")["found"] == "total 6.00, commission 0.00; no remarks"
    assert (person.found("preview lifetime")["taken"], person.found("preview lifetime")["code"]) == (False, 101)
    assert person.found("list lag")["seconds"] == 0.0
    assert person.found("ids in the list")["the orders list"] == []
    assert (person.found("the same order again")["taken"], person.found("the same order again")["code"]) == (False, 101)
    assert (person.found("the same id again")["taken"], person.found("the same id again")["code"]) == (False, 1099)
    assert (person.found("cancel")["seconds"], person.found("cancel")["status"]) == (1.0, "CANCELLED")
    assert person.found("cancel again")["code"] == 5001
    assert person.found("left behind")["found"] == "nothing: 1 placed, 1 over, no share bought"
    assert person.kept["finished"]
    assert "ETRADE_LIST_LAG_S=10" in person.text
    assert person.kept["left"] == []


def test_each_answer_is_in_the_file_before_the_next_step(person: Person) -> None:
    seen: list[list[str]] = []
    person.hears = {
        words: lambda: seen.append([one["name"] for one in person.kept["findings"]])
        for words in ("2  A preview", "4  One order")
    }

    person.run()

    assert seen[0] == ["quote", "limit"]
    assert seen[1] == ["quote", "limit", "preview", "preview lifetime"]


def test_nothing_secret_is_kept_or_told(person: Person) -> None:
    person.run()
    text = person.path.read_text(encoding="utf-8") + person.text.replace(person.sim.url, "")

    assert person.kept["account"] == "••••" + person.account[-4:]
    assert person.kept["program"] == "0.1.0"
    assert not any(one.account_id in text or one.key in text for one in person.sim.server.state.accounts)
    access = person.sim.server.keeper.access
    assert access
    assert not any(secret in text for name, token in access.items() for secret in (name, token.secret))


def test_a_list_that_lags_is_measured_and_becomes_advice(person: Person) -> None:
    person.sim.fault("list_lag", seconds=4)

    code = person.run()

    assert code == 0
    assert person.found("list lag")["seconds"] == 4.0
    assert "ETRADE_LIST_LAG_S=17" in person.text
    assert person.kept["advice"][0]["value"] == 17
    assert person.statuses() == ["CANCELLED"]


def test_a_list_that_never_shows_it_is_said_and_the_order_is_cancelled_all_the_same(person: Person) -> None:
    person.sim.fault("list_lag", seconds=80)

    code = person.run()

    assert person.found("list lag")["not_within_s"] == 60
    assert person.statuses() == ["CANCELLED"]
    assert code == 0
    assert "ETRADE_LIST_LAG_S=185" in person.text


def test_a_lost_reply_is_found_in_the_list_and_cancelled(person: Person) -> None:
    person.does = {"3  How long": "s"}
    person.sim.fault("list_lag", seconds=3)
    person.sim.fault("drop_after", where="orders/place", times=1)

    code = person.run()

    assert code == 0
    assert "it may stand, looking for it" in person.found("place")["found"]
    assert "the answer was lost" in person.found("list lag")["found"]
    assert person.statuses() == ["CANCELLED"]


def test_a_lost_request_is_watched_until_no_order_of_it_can_come(person: Person) -> None:
    person.does = {"3  How long": "s"}
    person.sim.fault("drop_before", where="orders/place", times=1)

    code = person.run()

    assert code == 1
    assert person.orders() == []
    assert person.passed >= 330
    assert person.kept["left"] == []
    assert "does not stand" in person.found("cut short")["found"]


@pytest.mark.parametrize("where", ["5  The same again", "6  A new preview", "7  Cancel it"])
def test_ctrl_c_at_a_question_goes_through_the_clean_up(person: Person, where: str) -> None:
    def pressed() -> str:
        raise KeyboardInterrupt

    person.does = {"3  How long": "s", where: pressed}

    code = person.run()

    assert code == 1
    assert person.statuses() == ["CANCELLED"]
    assert not person.kept["finished"]
    assert person.kept["left"] == []
    assert "stopped by hand" in person.found("cut short")["found"]


def test_ctrl_c_in_the_middle_of_a_step_goes_through_the_clean_up(person: Person) -> None:
    person.does = {"3  How long": "s"}
    person.hears = {"→ place": lambda: signal.raise_signal(signal.SIGINT)}
    before = signal.getsignal(signal.SIGINT)

    code = person.run()

    assert code == 1
    assert person.statuses() == ["CANCELLED"]
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_while_the_order_is_on_its_way_does_not_lose_it(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Guard.send

    async def pressed(guard: Guard, request: Request) -> Reply:
        if request.what == "the order" and request.method == "POST":
            signal.raise_signal(signal.SIGINT)
            await asyncio.sleep(0)
        return await sent(guard, request)

    monkeypatch.setattr(Guard, "send", pressed)
    person.does = {"3  How long": "s"}

    code = person.run()

    assert code == 1
    assert person.statuses() == ["CANCELLED"]


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def test_ctrl_c_twice_in_the_clean_up_says_which_order_may_stand(person: Person) -> None:
    person.does = {"3  How long": "s", "5  The same": "q"}
    person.hears = {"Cleaning up": press}
    person.sim.fault("cancel_late", seconds=600)
    person.at[1.0] = press

    code = person.run()

    assert code == 1
    number = person.orders()[0]["orderId"]
    assert f"ORDER {number} MAY STILL STAND (CANCEL_REQUESTED)" in " ".join(person.kept["left"])


def test_ctrl_c_twice_while_an_answer_is_missing_says_so(person: Person) -> None:
    person.does = {"3  How long": "s"}
    person.hears = {"An answer is missing": lambda: person.at.update({120.0: press}), "Cleaning up": press}
    person.at[60.0] = press
    person.sim.fault("drop_before", where="orders/place", times=1)

    code = person.run()

    assert code == 1
    assert person.passed == 120.0
    assert "AN ORDER WENT OUT WITHOUT A CERTAIN ANSWER" in " ".join(person.kept["left"])


@pytest.mark.parametrize("typed", ["", "one share", "REHEARSE", "REHEARSE 0000", "ONE SHARE 9377", "rehearse {last}"])
def test_a_wrong_phrase_sends_nothing(person: Person, typed: str) -> None:
    person.does = {"to begin with account": typed.format(last=person.account[-4:])}

    code = person.run()

    assert code == 2
    assert "that is not the phrase. Nothing was sent." in person.text
    assert person.sim.control("counters", "GET")["routes"].get("orders/preview") is None
    assert not person.path.exists()


@pytest.mark.parametrize(
    ("price", "said"),
    [
        (("0.01", "0.01", "0.02"), "half of 0.01 is less than a cent"),
        (("12.00", "7.00", "12.02"), "a limit must be 30 % below the bid at least"),
    ],
)
def test_a_limit_that_cannot_be_far_below_the_market_stops_it(
    person: Person, price: tuple[str, str, str], said: str
) -> None:
    last, bid, ask = price
    person.sim.price("F", last, bid=bid, ask=ask)

    code = person.run()

    assert code == 1
    assert said in " ".join(person.text.split())
    assert person.sim.control("counters", "GET")["routes"].get("orders/preview") is None


def test_a_price_that_fell_meanwhile_stops_the_orders(person: Person) -> None:
    person.hears = {"4  One order": lambda: person.sim.price("F", "7.01", bid="7.00", ask="7.02")}

    code = person.run()

    assert code == 1
    assert "no longer far below" in person.found("cut short")["found"]
    assert person.orders() == []


def test_delayed_prices_stop_it(person: Person) -> None:
    person.sim.control("rules", quote_status="DELAYED")

    assert person.run() == 1
    assert "not real-time" in person.found("cut short")["found"]
    assert person.orders() == []


def test_an_accepted_repeat_is_cancelled_at_once_and_said_in_capitals(person: Person) -> None:
    person.sim.control("rules", duplicates="accept")

    code = person.run()

    assert code == 0
    assert person.found("the same order again")["taken"] is False
    assert "E*TRADE MADE A SECOND ORDER OF IT" in person.found("the same id again")["found"]
    assert person.statuses() == ["CANCELLED", "CANCELLED"]
    assert person.found("left behind")["orders"] == 2


def test_an_accepted_repeat_whose_answer_is_lost_is_found_and_cancelled(person: Person) -> None:
    person.sim.control("rules", duplicates="accept")
    person.hears = {"6  A new preview": lambda: person.sim.fault("drop_after", where="orders/place", times=1)}

    code = person.run()

    assert code == 0
    assert "MADE A SECOND ORDER" in person.found("the same id again")["found"]
    assert person.statuses() == ["CANCELLED", "CANCELLED"]


def test_a_preview_that_lives_longer_is_the_finding_and_its_order_is_cancelled(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simulator._book.PREVIEW_LIFE", timedelta(minutes=30))

    code = person.run()

    assert code == 0
    assert "WAS TAKEN" in person.found("preview lifetime")["found"]
    assert person.statuses() == ["CANCELLED", "CANCELLED"]


def test_an_order_that_fills_is_said_and_nothing_more_is_sent(person: Person) -> None:
    person.sim.fault("fill_during_cancel")

    code = person.run()

    assert code == 1
    assert person.statuses() == ["EXECUTED"]
    assert "WAS FILLED: a share was bought" in " ".join(person.kept["left"])
    assert "cancel again" not in [one["name"] for one in person.kept["findings"]]


def test_everything_skipped_sends_nothing_and_one_question_needs_another(person: Person) -> None:
    person.does = {"Enter: do it": "s"}

    assert person.run() == 0
    assert person.orders() == []
    assert "without a price nothing else can be done" in person.found("limit")["found"]


def test_without_the_order_of_step_four_the_ones_after_it_are_skipped(person: Person) -> None:
    person.does = {"3  How long": "s", "4  One order": "s"}

    assert person.run() == 0
    assert person.orders() == []
    assert "no order of step 4" in person.found("cancel")["found"]


def test_after_the_close_only_the_first_two_steps_are_done(person: Person) -> None:
    person.sim.move_to("2026-11-20T16:30")
    person.clock.advance(hours=6)

    assert person.run() == 0
    assert person.orders() == []
    assert [one["step"] for one in person.kept["findings"]] == ["1", "1", "2", "3", "8", "9"]
    assert "steps 3 to 7 need the regular session" in person.found("orders")["found"]


def look_alike(person: Person, name: str) -> None:
    """Somebody places the very same order by hand."""
    account, book = person.sim.server.state.accounts[0], person.sim.server.book
    ticket = Ticket(name, "F", "BUY", Decimal(1), "LIMIT", "GOOD_FOR_DAY", "REGULAR", Decimal("6.00"), None, False)
    book.place(account, ticket, book.preview(account, ticket)[0])


def test_an_order_that_looks_the_same_and_was_there_before_is_left_alone(person: Person) -> None:
    person.hears = {"1  The price": lambda: look_alike(person, "other1")}
    person.does = {"3  How long": "s"}

    code = person.run()

    assert code == 0
    assert person.statuses() == ["OPEN", "CANCELLED"]
    assert person.found("left behind")["orders"] == 1


def test_more_look_alikes_than_missing_answers_are_said_and_left_alone(person: Person) -> None:
    def two() -> None:
        look_alike(person, "other1")
        look_alike(person, "other2")

    person.hears = {"7  Cancel it": two}
    person.does = {"3  How long": "s", "5  The same": "s", "6  A new": "s"}

    code = person.run()

    assert code == 1
    assert person.statuses() == ["CANCELLED", "OPEN", "OPEN"]
    assert sum("more than it sent" in line for line in person.kept["left"]) == 2


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"etrade_environment": "off"}, "E*TRADE is off"),
        ({"etrade_environment": "sandbox"}, "canned answers"),
        ({"trading": "paper"}, "TRADING is paper"),
    ],
)
def test_it_refuses_where_nothing_could_be_learned_or_sent(person: Person, wish: dict[str, str], said: str) -> None:
    person.settings = person.settings.model_copy(update=wish)

    assert person.run() == 2
    assert said in person.text


def test_it_refuses_beside_another_owner(person: Person) -> None:
    async def beside() -> int:
        session = EtradeSession(person.settings, person.clock, store=Vault(person.settings.etrade_dir, file_key))
        assert await session.claim()
        try:
            return await asyncio.to_thread(person.run)
        finally:
            await session.close()

    assert asyncio.run(beside()) == 2
    assert "Another process on this machine talks to E*TRADE" in person.text
    assert person.sim.control("counters", "GET")["routes"] == {}


def test_a_failure_of_the_doctor_stops_it_before_the_phrase(person: Person) -> None:
    person.sim.fault("error_before", where="/balance", times=None, status=503)

    assert person.run() == 2
    assert "FAIL  agreements" in person.text
    assert "Type  " not in person.text


def test_ctrl_c_before_the_phrase_says_that_nothing_was_sent(person: Person) -> None:
    def pressed() -> str:
        raise KeyboardInterrupt

    person.does = {"Which symbol": pressed}

    assert person.run() == 2
    assert "Stopped before anything was sent." in person.text


# The guard


class Wire:
    """A transport that notes what came through."""

    def __init__(self) -> None:
        self.sent: list[Request] = []

    async def send(self, request: Request) -> Reply:
        self.sent.append(request)
        return Reply(200, {}, b'{"OrdersResponse": {"Order": [{"orderId": 1, "PreviewIds": [{"previewId": 7}]}]}}')

    async def close(self) -> None: ...


def order(**changes: Any) -> dict[str, Any]:
    leg = {
        "Product": {"symbol": "F", "securityType": "EQ"},
        "orderAction": "BUY",
        "quantityType": "QUANTITY",
        "quantity": 1,
    }
    leg |= {name: changes.pop(name) for name in list(changes) if name in leg}
    body = {
        "allOrNone": False,
        "priceType": "LIMIT",
        "orderTerm": "GOOD_FOR_DAY",
        "marketSession": "REGULAR",
        "limitPrice": Decimal("6.00"),
        "Instrument": [leg],
    }
    return {"orderType": "EQ", "clientOrderId": "LC1", "Order": [body | changes]}


def asked(method: str, path: str, body: object) -> Request:
    return Request("a call", method, f"http://127.0.0.1:1/v1/accounts/{KEY}/orders{path}", {}, write(body))


PLACE, PREVIEW, CANCEL = "/place.json", "/preview.json", "/cancel.json"


@pytest.mark.parametrize(
    "request_",
    [
        asked("POST", PLACE, {"PlaceOrderRequest": order(orderAction="SELL")}),
        asked("POST", PLACE, {"PlaceOrderRequest": order(orderAction="SELL_SHORT")}),
        asked("POST", PLACE, {"PlaceOrderRequest": order(quantity=2)}),
        asked("POST", PLACE, {"PlaceOrderRequest": order(quantityType="ALL_I_OWN")}),
        asked("POST", PLACE, {"PlaceOrderRequest": order(Product={"symbol": "MSFT", "securityType": "EQ"})}),
        asked("POST", PLACE, {"PlaceOrderRequest": order(limitPrice=Decimal("6.01"))}),
        asked("POST", PLACE, {"PlaceOrderRequest": order(limitPrice=0)}),
        asked("POST", PLACE, {"PlaceOrderRequest": order(limitPrice="NaN")}),
        asked("POST", PLACE, {"PlaceOrderRequest": order(priceType="MARKET")}),
        asked("POST", PLACE, {"PlaceOrderRequest": order(orderTerm="GOOD_UNTIL_CANCEL")}),
        asked("POST", PLACE, {"PlaceOrderRequest": order(stopPrice=Decimal(1))}),
        asked("POST", PLACE, {"PlaceOrderRequest": order() | {"Order": order()["Order"] * 2}}),
        asked("POST", PLACE, {"PlaceOrderRequest": order() | {"orderType": "OPTN"}}),
        asked("POST", PLACE, {"PlaceOrderRequest": order(), "More": {}}),
        asked("POST", PREVIEW, {"PreviewOrderRequest": order(quantity=100)}),
        asked("POST", PREVIEW, {"PlaceOrderRequest": order()}),
        asked("POST", PLACE, []),
        asked("PUT", CANCEL, {"CancelOrderRequest": {"orderId": 8}}),
        asked("PUT", "/7/change/place.json", {"PlaceOrderRequest": order()}),
        asked("DELETE", "/7.json", {}),
        Request("elsewhere", "POST", "http://127.0.0.1:1/v1/accounts/other/orders/place.json", {}, write(order())),
    ],
)
async def test_the_guard_lets_nothing_else_out(request_: Request) -> None:
    wire = Wire()
    guard = Guard(wire, lambda: 0.0)
    guard.permit = Permit(KEY, "F", Decimal("6.00"))
    guard.own = {7}

    with pytest.raises(TransportError) as caught:
        await guard.send(request_)

    assert caught.value.sent is False
    assert wire.sent == []


async def test_the_guard_lets_four_orders_out_and_no_more() -> None:
    wire = Wire()
    guard = Guard(wire, lambda: 0.0)
    place = asked("POST", PLACE, {"PlaceOrderRequest": order()})
    with pytest.raises(TransportError, match="before anything was agreed"):
        await guard.send(place)
    guard.permit = Permit(KEY, "F", Decimal("6.00"))
    guard.own = {7}

    for _ in range(4):
        await guard.send(place)
    with pytest.raises(TransportError, match="more than 4 orders"):
        await guard.send(place)
    await guard.send(asked("PUT", CANCEL, {"CancelOrderRequest": {"orderId": 7}}))

    assert len(wire.sent) == 5
    assert guard.seen["POST", "a call"].has("previewid")
    assert "7" not in repr(guard.seen["POST", "a call"].names)


@pytest.mark.parametrize(("lag", "value"), [(0.0, 10), (1.6, 10), (1.7, 11), (4.0, 17), (30.0, 95)])
def test_the_advice_is_three_times_the_lag_and_five_seconds(
    tmp_path: Path, clock: ManualClock, lag: float, value: int
) -> None:
    findings = Findings(tmp_path / "x.json", "simulator", "••••1", "F", clock, lambda words: None, clock.now())
    assert advice(findings)[0].value is None

    findings.note("4", "list lag", "", seconds=lag)

    assert advice(findings)[0].value == value


def test_a_closed_keyboard_means_stop() -> None:
    def closed(words: str) -> str:
        raise EOFError

    with pytest.raises(live_check.Stopped):
        Talk(closed, lambda words: None).ask("?")
