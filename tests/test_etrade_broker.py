"""brokers/etrade.py against a local E*TRADE: what is sent is known again, nothing is sent twice, silence is no list."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest

from brokers import _etrade_accounts as money
from brokers import _etrade_words as words
from brokers.base import Prepared
from brokers.etrade import EtradeBroker, OrderSplit
from domain import registry
from domain.clock import ManualClock
from domain.context import AccountKind
from domain.errors import BrokerUnavailable, OrderAmbiguous, OrderRefused, SettingsError, SignInNeeded
from domain.orders import OrderType, Session, Side, Status, TimeInForce
from etrade.accounts import Account, Transaction, named
from etrade.errors import Refused, RequestWrong, Unreadable
from etrade.limits import LIMITS, Limit, Module
from etrade.listed import ListedLeg, ListedOrder, OrderPart
from etrade.market import Product
from etrade.orders import Message, Placed, PreviewId
from etrade.session import SIGN_IN, EtradeSession
from etrade.vault import Vault, file_key
from etrade_client import EtradeClient, EtradeReader
from settings import Settings
from simulator.running import FRIDAY
from tests.etrade_desk import CASH, CASH_KEY, EVER, MARGIN, MARGIN_KEY, EtradeDesk, approved, etrade_desk, wish

GTC, IOC = TimeInForce.GTC, TimeInForce.IOC
NOON = datetime(2026, 11, 20, 17, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """How often it may be asked is tested elsewhere."""
    for module in Module:
        monkeypatch.setitem(LIMITS, module, Limit(100_000, 1_000_000))  # type: ignore[index]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[EtradeDesk]:
    async with etrade_desk(tmp_path) as desk:
        yield desk


@pytest.fixture
async def cash(tmp_path: Path) -> AsyncIterator[EtradeDesk]:
    async with etrade_desk(tmp_path / "cash", account=CASH) as desk:
        yield desk


# What it is, and who may have it


async def test_it_says_what_it_is(desk: EtradeDesk) -> None:
    broker = desk.broker

    assert registry.part("brokers", "etrade") is EtradeBroker
    assert (broker.name, broker.label, broker.real_money) == ("etrade", "E*TRADE (simulator)", False)
    assert (broker.oco, broker.echoes_ids, broker.tells_fills, broker.polled) == (False, False, False, True)
    assert (broker.fence_s, broker.list_lag_s) == (300, 30)
    assert await broker.fills(EVER) == []
    assert abs(broker.clock_skew_s or 9) < 5


def test_real_money_is_moved_in_production_only_and_nothing_in_the_sandbox(tmp_path: Path) -> None:
    keys = {"etrade_consumer_key": "k" * 20, "etrade_consumer_secret": "s" * 20}
    clock = ManualClock(NOON)

    real = EtradeBroker(Settings(data_dir=tmp_path, etrade_environment="production", **keys), clock, "live")  # type: ignore[arg-type]
    assert (real.real_money, real.label) == (True, "E*TRADE")
    with pytest.raises(SettingsError, match="canned"):
        EtradeBroker(Settings(data_dir=tmp_path, etrade_environment="sandbox", **keys), clock, "x")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="E\\*TRADE is off"):
        EtradeBroker(Settings(data_dir=tmp_path), clock, "x")


async def test_a_paper_desks_session_has_nothing_that_could_order(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, etrade_environment="simulator", etrade_simulator_url="http://127.0.0.1:9")
    session = EtradeSession(settings, ManualClock(NOON), store=Vault(settings.etrade_dir, file_key))
    await session.claim()

    assert type(session.client) is EtradeReader
    assert not {"preview", "place", "change", "cancel"} & set(dir(session.client))
    with pytest.raises(TypeError, match="only reads"):
        _ = session.trader
    with pytest.raises(SettingsError, match="TRADING=etrade"):
        EtradeBroker(settings, ManualClock(NOON), "desk", session=session)
    assert (
        type(EtradeClient.from_settings(settings, ManualClock(NOON), store=Vault(tmp_path, file_key))) is EtradeClient
    )
    assert (
        type(EtradeReader.from_settings(settings, ManualClock(NOON), store=Vault(tmp_path, file_key))) is EtradeReader
    )
    await session.close()


async def test_without_a_sign_in_nothing_is_asked(tmp_path: Path) -> None:
    async with etrade_desk(tmp_path, signed_in=False) as desk:
        for asked in (
            desk.broker.accounts(),
            desk.broker.orders(EVER),
            desk.place(wish()),
            desk.broker.cancel(MARGIN, "1"),
        ):
            with pytest.raises(SignInNeeded, match=SIGN_IN.replace("*", r"\*")):
                await asked
        assert desk.broker.account_names() == ()
        assert not {"orders/list", "orders/place", "orders/cancel"} & set(desk.calls())


async def test_a_sign_in_that_died_is_said_in_plain_words(desk: EtradeDesk) -> None:
    prepared = await desk.broker.prepare(approved(wish()), client_order_id="c1")
    desk.sim.control("tokens", revoke=True)

    with pytest.raises(SignInNeeded, match=r"^Sign in to E\*TRADE: Settings → E\*TRADE$"):
        await desk.broker.accounts()
    with pytest.raises(SignInNeeded, match="Sign in"):
        await desk.broker.place(approved(wish()), client_order_id="c1", prepared=prepared)
    assert desk.book()["orders"] == []


async def test_a_refused_key_is_said_as_such(desk: EtradeDesk) -> None:
    desk.sim.control("tokens", reject_key=True)

    for _ in range(2):
        with pytest.raises(SignInNeeded, match="refuses the consumer key"):
            await desk.broker.accounts()


async def test_a_session_that_another_process_owns_is_unavailable(desk: EtradeDesk) -> None:
    store = Vault(desk.settings.etrade_dir, file_key)
    other = EtradeSession(desk.settings, ManualClock(NOON), store=store, trades=True)
    broker = EtradeBroker(desk.settings, ManualClock(NOON), "desk", session=other)

    with pytest.raises(BrokerUnavailable, match="Another process"):
        await broker.accounts()
    assert broker.clock_skew_s is None
    await other.close()


async def test_its_own_session_is_claimed_when_first_asked_and_given_back(
    desk: EtradeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("etrade_client.Vault", lambda folder: Vault(folder, file_key))
    await desk.session.release()
    broker = EtradeBroker(desk.settings, ManualClock(FRIDAY.astimezone(UTC)), "desk")
    assert not desk.session.owned_elsewhere()

    [account] = await broker.accounts()

    assert account.name == MARGIN
    assert desk.session.owned_elsewhere()
    await broker.close()
    await broker.close()
    assert not desk.session.owned_elsewhere()


async def test_a_lent_session_is_not_closed(desk: EtradeDesk) -> None:
    await desk.broker.close()

    assert desk.session.owner
    assert await desk.again().accounts()


class Bridge:
    """A loop on a thread of its own, as the dashboard's market has one."""

    def __init__(self) -> None:
        self.loop, self.threads = asyncio.new_event_loop(), set[int]()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()

    async def across(self, work: Coroutine[Any, Any, Any]) -> Any:
        async def there() -> Any:
            self.threads.add(threading.get_ident())
            return await work

        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(there(), self.loop))

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


@pytest.fixture
def bridge() -> Iterator[Bridge]:
    bridge = Bridge()
    yield bridge
    bridge.stop()


async def test_every_call_crosses_to_the_sessions_loop(desk: EtradeDesk, bridge: Bridge) -> None:
    await desk.session.release()
    store = Vault(desk.settings.etrade_dir, file_key)
    session = EtradeSession(desk.settings, desk.session.clock, store=store, trades=True)
    await bridge.across(session.claim())
    desk.broker = EtradeBroker(desk.settings, session.clock, "desk", session=session, across=bridge.across)

    broker_id = await desk.fill(wish())
    found = await desk.order(broker_id)

    assert found.status is Status.FILLED
    assert bridge.threads == {bridge.thread.ident}
    with pytest.raises(OrderRefused):
        await desk.broker.cancel(MARGIN, broker_id)
    await bridge.across(session.close())


# Accounts


async def test_one_account_is_traded_and_it_must_be_said_which(tmp_path: Path) -> None:
    async with etrade_desk(tmp_path, account="") as desk:
        with pytest.raises(BrokerUnavailable, match=r"E\*TRADE has 2 accounts: pick one on Settings → Trading"):
            await desk.broker.accounts()
        assert desk.broker.account_names() == (MARGIN, CASH)

        desk.broker.use(CASH)
        assert [(one.name, one.kind) for one in await desk.broker.accounts()] == [(CASH, AccountKind.CASH)]
        desk.broker.use(MARGIN)
        assert [(one.name, one.kind) for one in await desk.broker.accounts()] == [(MARGIN, AccountKind.MARGIN)]
        with pytest.raises(OrderRefused, match="not the one this desk trades"):
            await desk.place(wish(account=CASH))
        with pytest.raises(OrderRefused, match="no account is called 'nobody'"):
            await desk.broker.preview(wish(account="nobody"))
        desk.broker.use("••••1111")
        with pytest.raises(BrokerUnavailable, match="no open account ••••1111: pick one"):
            await desk.broker.orders(EVER)


async def test_an_account_the_settings_name_wrongly_is_said(tmp_path: Path) -> None:
    async with etrade_desk(tmp_path, account="", etrade_account_id="12345678") as desk:
        with pytest.raises(BrokerUnavailable, match="ETRADE_ACCOUNT_ID: no open account is ••••5678"):
            await desk.broker.accounts()


def test_accounts_that_end_alike_are_numbered_by_their_keys() -> None:
    def account(number: str, key: str, status: str = "ACTIVE") -> Account:
        return Account(number, key, "MARGIN", "", "", "", "BROKERAGE", status, None)

    found = named([account("11119377", "b"), account("22229377", "a"), account("33339377", "c", "CLOSED")])

    assert {name: one.key for name, one in found.items()} == {"••••9377": "a", "••••9377-2": "b"}
    with pytest.raises(BrokerUnavailable, match="no open brokerage account"):
        money.chosen({}, "", "")


async def test_an_account_has_cash_shares_and_what_they_cost(desk: EtradeDesk) -> None:
    await desk.fill(wish(quantity=10))
    desk.sim.price("KO", "60.00")
    desk.sim.control("position", account=MARGIN_KEY, symbol="KO", quantity=-20, price="61.50")

    found = await desk.account()

    assert found.kind is AccountKind.MARGIN
    assert found.positions == {"MSFT": 10, "KO": -20}
    assert found.costs == {"MSFT": D("500.01"), "KO": D("61.5")}
    assert found.cash == D(desk.book()["cash"]) == found.settled_cash
    assert found.buying_power > found.cash
    assert found.bought_unsettled == frozenset()


async def test_more_positions_than_a_page_holds_are_all_there(desk: EtradeDesk) -> None:
    names = [f"S{n:03}" for n in range(120)]
    for name in names:
        desk.sim.control("position", account=MARGIN_KEY, symbol=name, quantity=1, price="10")

    assert sorted((await desk.account()).positions) == names


async def test_a_cash_accounts_settled_money_is_told_before_its_resting_orders(cash: EtradeDesk) -> None:
    before = await cash.account()
    await cash.place(wish(account=CASH, kind="limit", limit=450, quantity=100))

    found = await cash.account()

    assert (found.kind, found.cash, found.settled_cash) == (AccountKind.CASH, before.cash, before.settled_cash)
    assert found.buying_power == before.buying_power - 45_000


async def test_what_was_bought_with_unsettled_money_is_marked(cash: EtradeDesk) -> None:
    cash.sim.price("KO", "60.00", bid="60.00", ask="60.00")
    cash.sim.control("position", account=CASH_KEY, symbol="KO", quantity=1000, price="50")
    await cash.fill(wish(account=CASH, quantity=199), "c1")
    assert (await cash.account()).bought_unsettled == frozenset()
    await cash.fill(wish("sell", 900, account=CASH, symbol="KO", purpose="exit"), "c2")
    assert (await cash.account()).bought_unsettled == frozenset()  # some settled money is left

    cash.sim.tick(60)
    await cash.fill(wish(account=CASH, quantity=50, symbol="MSFT"), "c3")

    found = await cash.account()
    assert (found.settled_cash, found.bought_unsettled) == (0, {"MSFT"})
    cash.move_to("2026-11-23T10:30")
    await cash.sign_in()
    assert (await cash.account()).bought_unsettled == frozenset()


# Orders, in both languages


ORDERS = [
    (wish(), "BUY", "MARKET"),
    (wish(kind="limit", limit="450.25"), "BUY", "LIMIT"),
    (wish("sell", kind="limit", limit="520"), "SELL_SHORT", "LIMIT"),
    (wish("sell", kind="stop", stop="480", purpose="protective stop", time_in_force=GTC), "SELL", "STOP"),
    (wish("sell", kind="limit", limit="550.10", purpose="target", time_in_force=GTC), "SELL", "LIMIT"),
    (wish("sell", kind="stop limit", stop="480", limit="479.5", purpose="exit"), "SELL", "STOP_LIMIT"),
    (wish("sell", kind="trailing stop", trail="12.5", purpose="protective stop"), "SELL", "TRAILING_STOP_CNST"),
    (wish("buy", kind="stop", stop="530", purpose="protective stop", symbol="SHRT"), "BUY_TO_COVER", "STOP"),
    (wish(kind="limit", limit="450", session=Session.EXTENDED), "BUY", "LIMIT"),
    (wish(kind="limit", limit="450", time_in_force=IOC), "BUY", "LIMIT"),
]


@pytest.mark.parametrize(("request_", "action", "price_type"), ORDERS, ids=lambda one: str(one)[:40])
async def test_what_is_sent_is_listed_as_it_was_sent(
    desk: EtradeDesk, request_: Any, action: str, price_type: str
) -> None:
    desk.sim.price("SHRT", "520")
    long = request_.purpose.value != "entry" and request_.side is Side.SELL
    desk.sim.control("position", account=MARGIN_KEY, symbol="MSFT", quantity=10 if long else 0, price="400")
    desk.sim.control("position", account=MARGIN_KEY, symbol="SHRT", quantity=-10, price="400")

    broker_id = await desk.place(request_, "name1")

    [kept] = desk.book()["orders"]
    assert (kept["action"], kept["clientOrderId"]) == (action, "name1")
    one, sent = await desk.order(broker_id), words.wish(request_)
    assert sent.price_type == price_type
    assert (one.symbol, one.side, one.quantity, one.type) == (
        request_.symbol, request_.side, request_.quantity, request_.type,
    )  # fmt: skip
    assert (one.limit, one.stop, one.trail) == (request_.limit, request_.stop, request_.trail)
    assert (one.account, one.status, one.client_order_id, one.filled) == (MARGIN, Status.WORKING, "", 0)
    assert (one.average_price, one.fees, one.said) == (None, 0, "")
    assert one.placed == one.updated
    ticket = desk.sim.server.state.accounts[0].orders[0].ticket
    assert (ticket.term, ticket.session) == (sent.term.value, sent.session.value)


@pytest.mark.parametrize(
    ("request_", "words_"),
    [
        (wish(quantity="1.5"), "whole shares: got 1.5"),
        (wish(time_in_force=IOC), "immediate or cancel for limit orders only: got a market order"),
        (wish(kind="stop", stop=510, session=Session.EXTENDED), "extended hours take limit orders only: got a stop"),
        (wish(kind="limit", limit=450, session=Session.EXTENDED, time_in_force=GTC), "extended hours take day orders"),
        (wish(symbol="BTCUSDT"), "no crypto"),
        (wish(symbol="a b"), "a symbol is up to 15 letters"),
        (wish(symbol="msft"), "the symbol is written MSFT"),
        (wish(kind="limit", limit="450.001"), "limit must be a multiple of 0.01: got 450.001"),
        (wish(kind="limit", limit="0.12345"), "limit must be a multiple of 0.0001"),
        (wish("sell", kind="trailing stop", trail="0.005"), "trail must be a multiple of 0.01"),
        (wish(quantity=10**9), "a quantity is a whole number"),
    ],
)
async def test_what_e_trade_does_not_take_is_refused_before_it_is_asked(
    desk: EtradeDesk, request_: Any, words_: str
) -> None:
    for asked in (desk.broker.preview(request_), desk.place(request_)):
        with pytest.raises(OrderRefused, match=words_):
            await asked

    assert "orders/preview" not in desk.calls()


async def test_a_limit_below_a_dollar_may_be_finer(desk: EtradeDesk) -> None:
    desk.sim.price("PENY", "0.30")

    found = await desk.order(await desk.place(wish(symbol="PENY", kind="limit", limit="0.2025")))

    assert found.limit == D("0.2025")


def listed(status: str = "OPEN", filled: int = 0, price_type: str = "LIMIT", **more: Any) -> ListedOrder:
    """An order for 100 at 20, as E*TRADE may list it."""
    action, kind, average = more.pop("action", "BUY"), more.pop("kind", "EQ"), more.pop("average", D("20.5"))
    leg = ListedLeg(
        Product("KO", more.pop("security", "EQ")),
        action,
        D(100),
        D(filled),
        average if filled else None,
        D("1"),
        D(".25"),
    )
    prices = {"limit": D(20), "stop": None} | {name: more.pop(name) for name in ("limit", "stop") if name in more}
    part = OrderPart(
        status, price_type, "GOOD_FOR_DAY", "REGULAR", NOON, more.pop("executed", None), value=None, all_or_none=False,
        replaces=None, replaced_by=None, legs=(leg,) * more.pop("legs", 1), **prices,
    )  # fmt: skip
    return ListedOrder(417, kind, (part,) * more.pop("parts", 1), **more)


@pytest.mark.parametrize(
    ("status", "filled", "found", "said"),
    [
        ("OPEN", 0, Status.WORKING, ""),
        ("OPEN", 40, Status.PARTIAL, ""),
        ("OPEN", 100, Status.FILLED, ""),
        ("PARTIAL", 40, Status.PARTIAL, ""),
        ("INDIVIDUAL_FILLS", 40, Status.PARTIAL, ""),
        ("INDIVIDUAL_FILLS", 100, Status.FILLED, ""),
        ("CANCEL_REQUESTED", 0, Status.WORKING, ""),
        ("CANCEL_REQUESTED", 40, Status.PARTIAL, ""),
        ("EXECUTED", 100, Status.FILLED, ""),
        ("EXECUTED", 40, Status.PARTIAL, "E*TRADE says EXECUTED, with 40 of 100 filled"),
        ("DONE_TRADE_EXECUTED", 100, Status.FILLED, ""),
        ("CANCELLED", 0, Status.CANCELLED, ""),
        ("CANCELLED", 40, Status.CANCELLED, ""),
        ("EXPIRED", 40, Status.EXPIRED, ""),
        ("REJECTED", 0, Status.REFUSED, "E*TRADE rejected it"),
        ("SOMETHING_NEW", 0, Status.WORKING, "E*TRADE says SOMETHING_NEW"),
        ("SOMETHING_NEW", 40, Status.PARTIAL, "E*TRADE says SOMETHING_NEW"),
    ],
)
def test_each_state_has_its_own(status: str, filled: int, found: Status, said: str) -> None:
    one = words.told(listed(status, filled), MARGIN)

    assert one is not None
    assert (one.status, one.said, one.filled) == (found, said, filled)
    assert (one.average_price, one.fees) == ((D("20.5"), D("1.25")) if filled else (None, 0))


@pytest.mark.parametrize(
    ("price_type", "prices", "kind", "found"),
    [
        ("MARKET", {}, OrderType.MARKET, (None, None, None)),
        ("STOP", {"limit": None, "stop": D(19)}, OrderType.STOP, (None, D(19), None)),
        ("TRAILING_STOP_CNST", {"limit": None, "stop": D(2)}, OrderType.TRAILING_STOP, (None, None, D(2))),
        ("TRAILING_STOP_PRCT", {"limit": None, "stop": D(2)}, OrderType.TRAILING_STOP, (None, None, None)),
        ("MARKET_ON_CLOSE", {"limit": None}, OrderType.MARKET, (None, None, None)),
        ("ODD", {"stop": D(19)}, OrderType.STOP_LIMIT, (D(20), D(19), None)),
        ("ODD", {"limit": None, "stop": D(19)}, OrderType.STOP, (None, D(19), None)),
        ("ODD", {}, OrderType.LIMIT, (D(20), None, None)),
        ("ODD", {"limit": None}, OrderType.MARKET, (None, None, None)),
    ],
)
def test_types_of_the_web_site_are_told_as_the_nearest(
    price_type: str, prices: dict[str, Any], kind: OrderType, found: tuple[D | None, ...]
) -> None:
    one = words.told(listed(price_type=price_type, **prices), MARGIN)

    assert one is not None
    assert (one.type, (one.limit, one.stop, one.trail)) == (kind, found)
    ours = price_type in ("MARKET", "STOP", "TRAILING_STOP_CNST")
    assert one.said == ("" if ours else f"E*TRADE calls it {price_type}")


def test_only_plain_orders_for_shares_are_told_and_none_that_is_broken_is_hidden() -> None:
    others: list[dict[str, Any]] = [{"kind": "OPTN", "security": "OPTN"}, {"kind": "SPREADS", "legs": 2}]
    others += [{"kind": "ONE_CANCELS_ALL", "parts": 2}, {"kind": "CONTINGENT"}, {"security": "MF"}]

    assert [words.told(listed(**other), MARGIN) for other in others] == [None] * 5
    for broken in ({"action": "EXCHANGE"}, {"filled": 40, "average": None}):
        with pytest.raises(Unreadable, match="order 417"):
            words.told(listed(**broken), MARGIN)


# Previews, and what is read before an order leaves


async def test_a_preview_says_what_it_costs_and_moves_nothing(desk: EtradeDesk) -> None:
    before = desk.book()

    bought = await desk.broker.preview(wish(quantity=10))
    limited = await desk.broker.preview(wish(quantity=10, kind="limit", limit=450))
    far = await desk.broker.preview(wish(quantity=1, kind="limit", limit=700))

    assert (bought.price, bought.cost, bought.fees) == (D("500.01"), D("5000.1"), 0)
    assert (limited.price, limited.cost) == (450, 4500)
    assert bought.buying_power_after == (await desk.account()).buying_power - D("5000.1")
    assert bought.preview_id.isdigit()
    assert bought.warnings == ()
    assert "far from the current market" in far.warnings[0]
    assert desk.book() == before


async def test_a_sales_preview_brings_money(desk: EtradeDesk) -> None:
    await desk.fill(wish(quantity=10))

    found = await desk.broker.preview(wish("sell", 10, purpose="exit"))

    assert found.cost < 0
    assert abs(found.price - D("499.99")) < D("0.1")


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (wish(quantity=1_000_000), "insufficient funds.*1021"),
        (wish("sell", 10, purpose="exit"), "not enough available shares.*1037"),
        (wish("sell", kind="stop", stop=510, purpose="exit"), "must be below the current market price.*2084"),
        (wish(symbol="NOPE"), "NOPE is an invalid symbol"),
    ],
)
async def test_e_trades_reasons_are_passed_on(desk: EtradeDesk, request_: Any, reason: str) -> None:
    for asked in (desk.broker.preview(request_), desk.broker.prepare(approved(request_), client_order_id="c1")):
        with pytest.raises(OrderRefused, match=reason):
            await asked
    assert desk.book()["orders"] == []


async def test_a_short_sale_is_one_and_a_cash_account_cannot(cash: EtradeDesk, desk: EtradeDesk) -> None:
    await desk.fill(wish("sell", 10))
    with pytest.raises(OrderRefused, match="1037"):
        await cash.place(wish("sell", 10, account=CASH))

    assert (await desk.account()).positions == {"MSFT": -10}
    assert (await desk.order("389")).side is Side.SELL


async def test_the_orders_of_that_symbol_are_known_before_it_leaves(desk: EtradeDesk) -> None:
    desk.sim.price("KO", "60")
    mine = await desk.fill(wish(), "c1")
    gone = await desk.place(wish(kind="limit", limit=450), "c2")
    await desk.broker.cancel(MARGIN, gone)
    await desk.place(wish(symbol="KO", kind="limit", limit=50), "c3")

    prepared = await desk.broker.prepare(approved(wish()), client_order_id="c4")

    assert prepared.known == tuple(sorted([mine, gone]))
    assert prepared.preview_id.isdigit()
    calls = desk.calls()
    await desk.broker.place(approved(wish()), client_order_id="c4", prepared=prepared)
    assert desk.calls()["orders/list"] == calls["orders/list"]


async def test_a_preview_that_understood_something_else_refuses(
    desk: EtradeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = desk.session.trader
    genuine = client.preview
    changes: Iterator[dict[str, Any]] = iter(
        [
            {"differs": ("limitPrice 45 for 450",)},
            {"messages": (Message(77, "ERROR", "You are not allowed."), Message(1, "WARNING", "x"))},
            {"ids": (PreviewId(1, "CASH"), PreviewId(2, "MARGIN"))},
        ]
    )

    async def spoiled(*of: Any, **how: Any) -> Any:
        return replace(await genuine(*of, **how), **next(changes))

    monkeypatch.setattr(client, "preview", spoiled)
    for reason in (
        "understood another order: limitPrice 45 for 450",
        "not take it: You are not allowed.$",
        "two orders",
    ):
        with pytest.raises(OrderRefused, match=reason):
            await desk.broker.prepare(approved(wish()), client_order_id="c1")


async def test_a_preview_that_names_no_total_or_power(desk: EtradeDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    client = desk.session.trader
    genuine = client.preview

    async def spoiled(*of: Any, **how: Any) -> Any:
        return replace(await genuine(*of, **how), total=None, buying_power_after=None)

    monkeypatch.setattr(client, "preview", spoiled)

    found = await desk.broker.preview(wish(kind="limit", limit=450))
    assert (found.cost, found.buying_power_after) == (4500, (await desk.account()).buying_power)
    with pytest.raises(BrokerUnavailable, match="names no total"):
        await desk.broker.preview(wish())


async def test_a_request_e_trade_calls_wrong_is_refused_in_a_preview_and_unavailable_elsewhere(
    desk: EtradeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def wrong(*of: Any, **how: Any) -> Any:
        raise RequestWrong("E*TRADE does not allow it")

    monkeypatch.setattr(desk.session.trader, "preview", wrong)
    monkeypatch.setattr(desk.session.trader, "orders", wrong)

    with pytest.raises(OrderRefused, match="does not allow"):
        await desk.broker.preview(wish())
    with pytest.raises(BrokerUnavailable, match="does not allow"):
        await desk.broker.orders(EVER)


# Placing


async def test_only_what_the_gates_approved_is_taken(desk: EtradeDesk) -> None:
    prepared = await desk.broker.prepare(approved(wish()), client_order_id="c1")
    broker: Any = desk.broker

    for unapproved in (wish(), None):
        with pytest.raises(TypeError, match="approved"):
            await broker.prepare(unapproved, client_order_id="c1")
        with pytest.raises(TypeError, match="approved"):
            await broker.place(unapproved, client_order_id="c1", prepared=prepared)
    assert desk.book()["orders"] == []


async def test_only_what_was_prepared_can_be_placed(desk: EtradeDesk) -> None:
    prepared = await desk.broker.prepare(approved(wish()), client_order_id="c1")

    for request, name, made in (
        (wish(), "c2", prepared),
        (wish(quantity=11), "c1", prepared),
        (wish(time_in_force=GTC), "c1", prepared),
        (wish(), "c1", Prepared()),
    ):
        with pytest.raises(ValueError, match="prepare"):
            await desk.broker.place(approved(request), client_order_id=name, prepared=made)
    assert "orders/place" not in desk.calls()


async def test_it_is_signed_with_the_moment_that_was_written_down(desk: EtradeDesk) -> None:
    prepared = await desk.broker.prepare(approved(wish()), client_order_id="c1")

    with pytest.raises(BrokerUnavailable, match="not sent: it was signed for"):
        await desk.broker.place(
            approved(wish()), client_order_id="c1", prepared=prepared, signed=desk.now() - timedelta(seconds=90)
        )
    assert desk.book()["orders"] == []
    assert await desk.broker.place(approved(wish()), client_order_id="c1", prepared=prepared, signed=desk.now())


async def test_a_preview_that_is_too_old_is_not_placed(desk: EtradeDesk) -> None:
    prepared = await desk.broker.prepare(approved(wish()), client_order_id="c1")
    desk.move_to("2026-11-20T10:33:01")

    with pytest.raises(BrokerUnavailable, match="preview it again"):
        await desk.broker.place(approved(wish()), client_order_id="c1", prepared=prepared)
    assert desk.book()["orders"] == []


@pytest.mark.parametrize(
    ("fault", "stands"),
    [
        ({"name": "drop_before"}, 0),
        ({"name": "drop_after"}, 1),
        ({"name": "error_before", "status": 503}, 0),
        ({"name": "error_after"}, 1),
        ({"name": "cut_body"}, 1),
        ({"name": "html_200"}, 1),
        ({"name": "too_many", "seconds": 1}, 0),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else None,
)
async def test_without_a_certain_answer_it_is_ambiguous_and_sent_once(
    desk: EtradeDesk, fault: dict[str, Any], stands: int
) -> None:
    prepared = await desk.broker.prepare(approved(wish()), client_order_id="c1")
    desk.sim.control("faults", where="orders/place", times=1, **fault)

    with pytest.raises(OrderAmbiguous, match="do not repeat it"):
        await desk.broker.place(approved(wish()), client_order_id="c1", prepared=prepared)

    assert len(desk.book()["orders"]) == stands
    new = [one for one in await desk.broker.orders(EVER) if one.broker_id not in prepared.known]
    assert [(one.symbol, one.side, one.quantity, one.type) for one in new] == [
        ("MSFT", Side.BUY, 10, OrderType.MARKET)
    ] * stands


async def test_a_name_that_was_used_before_makes_no_second_order(desk: EtradeDesk) -> None:
    await desk.place(wish(), "c1")

    with pytest.raises(OrderAmbiguous):
        await desk.place(wish(), "c1")
    assert len(desk.book()["orders"]) == 1


async def test_an_order_whose_money_went_meanwhile_is_refused_for_good(desk: EtradeDesk) -> None:
    big = wish(quantity=300)
    prepared = await desk.broker.prepare(approved(big), client_order_id="c1")
    desk.sim.control("order", account=MARGIN_KEY, symbol="MSFT", action="BUY", quantity=300)

    with pytest.raises(OrderRefused, match="insufficient funds"):
        await desk.broker.place(approved(big), client_order_id="c1", prepared=prepared)


async def test_an_order_that_was_split_is_told_with_all_its_ids(
    desk: EtradeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def placed(*of: Any, **how: Any) -> Placed:
        return Placed(418, (418, 419), None, ())

    monkeypatch.setattr(desk.session.trader, "place", placed)

    with pytest.raises(OrderSplit, match="its orders 418, 419: all of them stand") as caught:
        await desk.place(wish())
    assert isinstance(caught.value, OrderAmbiguous)
    assert caught.value.broker_ids == ("418", "419")


async def test_a_closed_market_queues_it(desk: EtradeDesk) -> None:
    desk.move_to("2026-11-20T21:00")

    found = await desk.order(await desk.place(wish()))

    assert found.status is Status.WORKING


async def test_extended_hours_trade_limit_orders(desk: EtradeDesk) -> None:
    desk.move_to("2026-11-20T17:00")
    desk.sim.tick()

    found = await desk.order(await desk.fill(wish(kind="limit", limit=501, session=Session.EXTENDED)))

    assert (found.status, found.filled) == (Status.FILLED, 10)


# Cancelling


async def test_a_cancelled_order_is_listed_as_cancelled(desk: EtradeDesk) -> None:
    broker_id = await desk.place(wish(kind="limit", limit=450))

    await desk.broker.cancel(MARGIN, broker_id)
    asked = await desk.order(broker_id)
    desk.sim.tick(2)

    assert asked.status is Status.WORKING  # on its way, and still at the broker
    assert (await desk.order(broker_id)).status is Status.CANCELLED


async def test_what_is_done_cannot_be_cancelled(desk: EtradeDesk) -> None:
    broker_id = await desk.fill(wish())

    with pytest.raises(OrderRefused, match="5001"):
        await desk.broker.cancel(MARGIN, broker_id)
    for account, unknown in (("nobody", broker_id), (MARGIN, "x1"), (MARGIN, "9999")):
        with pytest.raises(OrderRefused):
            await desk.broker.cancel(account, unknown)


async def test_a_cancel_that_lost_its_race_is_a_fill(desk: EtradeDesk) -> None:
    broker_id = await desk.place(wish(kind="limit", limit=450))
    desk.sim.fault("fill_during_cancel")

    await desk.broker.cancel(MARGIN, broker_id)

    assert (await desk.order(broker_id)).status is Status.FILLED


async def test_a_cancel_without_an_answer_is_ambiguous(desk: EtradeDesk) -> None:
    broker_id = await desk.place(wish(kind="limit", limit=450))
    desk.sim.fault("drop_after", where="orders/cancel")

    with pytest.raises(OrderAmbiguous):
        await desk.broker.cancel(MARGIN, broker_id)


# The list


async def test_partial_fills_add_up_to_the_cent(desk: EtradeDesk) -> None:
    desk.sim.control("rules", volume_cap=0.05)
    before = (await desk.account()).cash
    broker_id = await desk.place(wish(quantity=120))
    seen = []
    for price, volume in (("500.00", 1_001_000), ("500.37", 1_002_000), ("501.11", 1_003_000)):
        desk.sim.price("MSFT", price, volume=str(volume))
        desk.sim.tick()
        one = await desk.order(broker_id)
        cash = (await desk.account()).cash
        assert one.average_price is not None
        assert (one.filled * one.average_price).quantize(D("0.01")) + one.fees == before - cash
        seen.append((one.filled, one.status))

    assert seen == [(50, Status.PARTIAL), (100, Status.PARTIAL), (120, Status.FILLED)]
    assert (await desk.account()).positions == {"MSFT": 120}
    assert one.updated > one.placed


async def test_a_sales_fees_are_what_was_charged(desk: EtradeDesk) -> None:
    await desk.fill(wish(quantity=100), "c1")
    before = (await desk.account()).cash

    sold = await desk.order(await desk.fill(wish("sell", 100, purpose="exit"), "c2"))

    assert sold.fees > 0
    assert sold.average_price is not None
    assert before + 100 * sold.average_price - sold.fees == (await desk.account()).cash


async def test_more_orders_than_a_page_holds_are_all_there(desk: EtradeDesk) -> None:
    ids = [desk.sim.control("order", account=MARGIN_KEY, symbol="MSFT", action="BUY", quantity=1, price_type="LIMIT",
                            limit="1.00")["orderId"] for _ in range(230)]  # fmt: skip

    found = await desk.broker.orders(desk.now())

    assert [one.broker_id for one in found] == [str(each) for each in ids]


async def test_an_open_order_is_listed_however_old_and_what_became_of_it_too(desk: EtradeDesk) -> None:
    old = await desk.place(wish(kind="limit", limit=450, time_in_force=GTC), "c1")
    gone = await desk.place(wish(kind="limit", limit=440, time_in_force=GTC), "c2")
    done = await desk.fill(wish(), "c3")
    started = desk.now()
    assert [one.broker_id for one in await desk.broker.orders(started - timedelta(hours=1))] == [old, gone, done]
    desk.move_to("2026-12-18T10:30")
    await desk.sign_in()
    since = desk.now()

    assert [one.broker_id for one in await desk.broker.orders(since)] == [old, gone]
    await desk.broker.cancel(MARGIN, gone)
    desk.sim.tick(2)
    found = {one.broker_id: one.status for one in await desk.broker.orders(since)}
    assert found == {old: Status.WORKING, gone: Status.CANCELLED}
    desk.sim.price("MSFT", "449.00")
    desk.sim.tick()
    found = {one.broker_id: one.status for one in await desk.broker.orders(since)}
    assert found == {old: Status.FILLED}
    assert await desk.broker.orders(desk.now() + timedelta(seconds=1)) == []


async def test_a_restart_still_hears_what_became_of_an_old_order(desk: EtradeDesk) -> None:
    desk.sim.control("rules", volume_cap=0.05)
    part = await desk.place(wish(quantity=100, kind="limit", limit="500.05", time_in_force=GTC), "c1")
    desk.sim.price("MSFT", "500.00", volume="1000500")
    desk.sim.tick()
    assert (await desk.order(part)).status is Status.PARTIAL
    old = await desk.place(wish(kind="limit", limit=450, time_in_force=GTC), "c2")
    before = await desk.place(wish(kind="limit", limit=440, time_in_force=GTC), "c3")
    desk.move_to("2026-12-01T10:30")
    await desk.sign_in()
    since = desk.now()
    for broker_id in (part, before):
        await desk.broker.cancel(MARGIN, broker_id)
    desk.sim.control("rules", volume_cap=0)
    desk.sim.price("MSFT", "449.00")
    desk.sim.tick(2)

    told = {one.broker_id: (one.status, one.filled) for one in await desk.again().orders(since)}

    assert told == {part: (Status.CANCELLED, 25), old: (Status.FILLED, 10), before: (Status.CANCELLED, 0)}
    later = {one.broker_id for one in await desk.again().orders(desk.now() + timedelta(days=1))}
    assert later == {before}  # when it ended is not told, and nothing of it was filled


async def test_days_between_two_looks_are_looked_at(desk: EtradeDesk) -> None:
    await desk.broker.orders(desk.now())
    desk.move_to("2026-11-23T10:30")
    hand = desk.sim.control(
        "order", account=MARGIN_KEY, symbol="MSFT", action="BUY", quantity=5, price_type="LIMIT", limit="400",
        term="GOOD_UNTIL_CANCEL",
    )  # fmt: skip
    desk.move_to("2026-11-25T10:30")
    await desk.sign_in()

    [found] = await desk.broker.orders(desk.now())

    assert (found.broker_id, found.status) == (str(hand["orderId"]), Status.WORKING)
    assert desk.book()["orders"][0]["clientOrderId"] == "by hand"


async def test_a_quiet_look_costs_one_call_and_one_more_where_old_orders_rest(desk: EtradeDesk) -> None:
    await desk.place(wish(kind="limit", limit=450, time_in_force=GTC))
    await desk.broker.orders(desk.now())
    before = desk.calls()["orders/list"]
    await desk.broker.orders(desk.now())
    assert desk.calls()["orders/list"] - before == 1
    desk.move_to("2026-11-25T10:30")
    await desk.sign_in()
    await desk.broker.orders(desk.now())

    before = desk.calls()["orders/list"]
    await desk.broker.orders(desk.now())
    assert desk.calls()["orders/list"] - before == 2


async def test_an_order_the_list_dropped_says_nothing(desk: EtradeDesk) -> None:
    broker_id = await desk.fill(wish())
    resting = await desk.place(wish(kind="limit", limit=450), "c2")
    assert {one.broker_id for one in await desk.broker.orders(EVER)} == {broker_id, resting}
    desk.sim.fault("list_lag", seconds=3600)

    assert await desk.broker.orders(EVER) == []
    desk.sim.control("faults", "DELETE")
    assert {one.broker_id for one in await desk.broker.orders(EVER)} == {broker_id, resting}


@pytest.mark.parametrize("fault", ["error_before", "bad_json", "html_200", "maintenance", "drop_before"])
async def test_silence_is_never_an_empty_list(desk: EtradeDesk, fault: str) -> None:
    await desk.place(wish(kind="limit", limit=450))
    desk.sim.fault(fault, where="/orders.json", times=20)

    with pytest.raises(BrokerUnavailable):
        await desk.broker.orders(EVER)


async def test_rows_that_come_twice_are_one_order(desk: EtradeDesk) -> None:
    broker_id = await desk.place(wish(kind="limit", limit=450))
    desk.sim.fault("duplicate_rows", where="/orders.json", times=9)

    assert [one.broker_id for one in await desk.broker.orders(EVER)] == [broker_id]


async def test_an_order_changed_on_the_web_site_is_a_new_one(desk: EtradeDesk) -> None:
    old = await desk.place(wish(kind="limit", limit=450))
    changed = words.wish(wish(kind="limit", limit=451))

    placed = await desk.session.trader.change(MARGIN_KEY, int(old), changed, "web1")

    found = {one.broker_id: (one.status, one.limit) for one in await desk.broker.orders(EVER)}
    assert found == {old: (Status.CANCELLED, 450), str(placed.order_id): (Status.WORKING, 451)}


async def test_another_accounts_orders_are_not_told(desk: EtradeDesk) -> None:
    desk.sim.control("order", account=CASH_KEY, symbol="MSFT", action="BUY", quantity=1)
    mine = await desk.place(wish())

    assert [one.broker_id for one in await desk.broker.orders(EVER)] == [mine]
    desk.broker.use(CASH)
    assert [one.account for one in await desk.broker.orders(EVER)] == [CASH]


# Money that moved without a trade


async def test_dividends_and_the_like_are_told_and_trades_are_not(desk: EtradeDesk) -> None:
    await desk.fill(wish(quantity=10))
    desk.sim.control("cash", account=MARGIN_KEY, amount="33.20", type="Dividend", symbol="MSFT")
    desk.sim.control("cash", account=MARGIN_KEY, amount="-2.75", type="Margin Interest", description="NOV INTEREST")
    desk.sim.control("cash", account=CASH_KEY, amount="5", type="Interest")

    found = await desk.broker.cash_moves(desk.now())

    assert sorted((one.account, one.amount) for one in found) == [(MARGIN, D("-2.75")), (MARGIN, D("33.2"))]
    assert {one.what for one in found} == {"Margin Interest: NOV INTEREST", "Dividend: MSFT MICROSOFT COM"}
    assert len({one.id for one in found}) == 2
    desk.move_to("2026-11-21T10:30")
    await desk.sign_in()
    assert await desk.broker.cash_moves(desk.now()) == []
    assert len(await desk.broker.cash_moves(EVER)) == 2


async def test_a_split_pays_out_fractions_as_money(desk: EtradeDesk) -> None:
    desk.sim.control("position", account=MARGIN_KEY, symbol="MSFT", quantity=10, price="400")
    before = (await desk.account()).cash

    desk.sim.control("split", symbol="MSFT", ratio="1:8")

    [move] = await desk.broker.cash_moves(EVER)
    found = await desk.account()
    assert (found.positions, found.costs) == ({"MSFT": 1}, {"MSFT": 3200})
    assert move.amount == found.cash - before == 1000
    assert move.what.startswith("Cash in Lieu")


@pytest.mark.parametrize(
    ("kind", "symbol", "quantity", "moved"),
    [(kind, "MSFT", "10", False) for kind in ("Bought", "Sold", "Sold Short", "Bought To Cover", "SOLD-SHORT")]
    + [(kind, "", None, True) for kind in ("Dividend", "Interest Income", "Transfer", "Fee", "Service Fee", "POS")]
    + [("Dividend", "MSFT", "10", True), ("Cash in Lieu", "MSFT", "-0.25", True), ("Bought", "", None, False)]
    + [("Something New", "", None, True), ("Something New", "MSFT", "0", True), ("Something New", "MSFT", "3", False)],
)  # fmt: skip
def test_which_kinds_are_moves(kind: str, symbol: str, quantity: str | None, moved: bool) -> None:
    many = D(quantity) if quantity is not None else None
    row = Transaction("1", "", NOON, NOON, D(5), kind, "", "", symbol, many, None, None, None)

    assert money.is_move(row) is moved


async def test_a_move_that_is_pending_or_of_nothing_is_left_out(
    desk: EtradeDesk, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = itertools.count(1)

    def row(amount: str, posted: datetime | None) -> Transaction:
        name = str(next(made))
        return Transaction(name, "", NOON, posted, D(amount), "Fee", "", "", "", None, None, None, None)

    async def told(*of: Any, **how: Any) -> tuple[Transaction, ...]:
        return row("1", None), row("0", NOON), row("-4", NOON)

    monkeypatch.setattr(desk.session.trader, "transactions", told)

    assert [(one.id, one.amount, one.what) for one in await desk.broker.cash_moves(EVER)] == [("3", -4, "Fee")]


async def test_a_clock_that_is_wrong_is_seen_and_said(desk: EtradeDesk) -> None:
    before = desk.broker.clock_skew_s
    desk.sim.control("clock", skew=600)

    with pytest.raises(SignInNeeded, match="clock"):
        await desk.broker.accounts()

    assert before is not None
    assert abs(before) < 5
    assert desk.broker.clock_skew_s is not None
    assert abs(desk.broker.clock_skew_s) > 100


def test_an_errors_family_is_the_ports() -> None:
    assert issubclass(Refused, OrderRefused)
