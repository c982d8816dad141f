"""brokers/: what every broker must keep to, and what the paper broker makes of orders and quotes."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import stat
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as hs

import risk_manager
from brokers.base import Broker, BrokerAccount, BrokerOrder, Prepared
from brokers.paper import PaperBroker, rules_of
from domain import registry
from domain.calendars import NEW_YORK
from domain.clock import ManualClock
from domain.context import AccountKind
from domain.errors import BrokerUnavailable, OrderRefused, SettingsError
from domain.orders import OrderRequest, OrderType, Side, Status, TimeInForce
from domain.quotes import Quote
from etrade.limits import LIMITS, Limit
from risk_manager import Approved
from settings import PaperAccount, Settings
from tests.etrade_desk import MARGIN, EtradeDesk, etrade_desk
from tests.risk_world import ask, review, world

BEGAN = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)  # a Friday, 10:30 New York
EVER = datetime(2000, 1, 1, tzinfo=UTC)
BUY, SELL, GTC = Side.BUY, Side.SELL, TimeInForce.GTC
PLENTY = 1e6


def approved(request: OrderRequest) -> Approved:
    """As if the gates had passed it: a broker's own rules are under test here."""
    return Approved(request, (), BEGAN, risk_manager._SEAL)


def wish(side: Side = BUY, quantity: float = 100, kind: str = "market", **more: Any) -> OrderRequest:
    """100 Apple at market for the account `main`, changed as asked; prices are named as in a request."""
    prices = {name: D(str(more.pop(name))) for name in ("limit", "stop", "trail") if name in more}
    account, symbol = more.pop("account", "main"), more.pop("symbol", "AAPL")
    return OrderRequest(account, symbol, side, D(str(quantity)), OrderType(kind), **prices, **more)


@dataclass
class Exchange:
    """Hands out quotes a second apart, each with what traded since the one before."""

    clock: ManualClock
    day: dict[str, float] = field(default_factory=dict)

    def quote(self, last: float | str, *, symbol: str = "AAPL", volume: float = PLENTY, **more: Any) -> Quote:
        self.clock.advance(seconds=1)
        self.day[symbol] = self.day.get(symbol, 5e6) + volume
        price = D(str(last))
        values = {"time": self.clock.now(), "bid": price, "ask": price, "volume": self.day[symbol], **more}
        return Quote(symbol, values.pop("time"), price, "test", **values)


@dataclass
class Rig:
    """A broker with its clock, its exchange and the way to open it anew."""

    broker: Any
    clock: ManualClock
    exchange: Exchange
    open: Callable[[], Any]

    async def see(self, last: float | str, **more: Any) -> None:
        await self.broker.follow([self.exchange.quote(last, **more)])

    async def place(self, request: OrderRequest, name: str = "c1", group: str = "") -> str:
        found: str = await self.broker.place(approved(request), client_order_id=name, group=group)
        return found

    async def fill(self, request: OrderRequest, at: float | str, name: str = "c1") -> str:
        """Placed, and filled at once where it can be; a quote before it makes the price known."""
        await self.see(at, symbol=request.symbol)
        broker_id = await self.place(request, name)
        await self.see(at, symbol=request.symbol)
        return broker_id

    async def order(self, broker_id: str) -> BrokerOrder:
        [found] = [one for one in await self.broker.orders(EVER) if one.broker_id == broker_id]
        return found

    async def account(self, name: str = "main") -> BrokerAccount:
        [found] = [one for one in await self.broker.accounts() if one.name == name]
        return found

    async def fills(self, broker_id: str) -> list[tuple[D, D]]:
        return [(f.quantity, f.price) for f in await self.broker.fills(EVER) if f.broker_id == broker_id]

    async def again(self) -> None:
        """The engine stops and starts."""
        await self.broker.close()
        self.broker = self.open()


def configured(folder: Path, accounts: str = "main:margin:100000", **more: Any) -> Settings:
    found = tuple(PaperAccount.parse(text) for text in accounts.split(","))
    return Settings(**{"data_dir": folder, "paper_accounts": found, "paper_slippage_bps": 0.0, **more})


def rig(folder: Path, accounts: str = "main:margin:100000", *, part: str = "paper", **more: Any) -> Rig:
    clock, settings = ManualClock(BEGAN), configured(folder, accounts, **more)

    def make() -> Any:
        return registry.part("brokers", part)(settings, clock, "desk")

    return Rig(make(), clock, Exchange(clock), make)


def hurried(folder: str, accounts: str = "main:margin:100000", **more: Any) -> Rig:
    """The paper broker without waiting for the disk: for laws that are tried many times."""
    made = rig(Path(folder), accounts, **more)
    durable = made.open

    def make() -> Any:
        broker = durable()
        broker._book._file.run("PRAGMA synchronous = OFF")
        return broker

    made.broker, made.open = make(), make
    return made


@dataclass
class AtEtrade:
    """The broker at a local E*TRADE, handled as the others."""

    desk: EtradeDesk
    name: str = MARGIN

    @property
    def broker(self) -> Any:
        return self.desk.broker

    async def see(self, last: float | str) -> None:
        self.desk.sim.price("AAPL", str(last))
        self.desk.sim.tick()

    async def place(self, request: OrderRequest, name: str = "c1") -> str:
        return await self.desk.place(request, name)

    async def order(self, broker_id: str) -> BrokerOrder:
        return await self.desk.order(broker_id)

    def now(self) -> datetime:
        return self.desk.now()

    async def wait(self, until: str) -> None:
        self.desk.move_to(until)
        await self.desk.sign_in()


@dataclass
class OnPaper(Rig):
    """A broker of this machine, handled as the others."""

    name: str = "main"

    def now(self) -> datetime:
        return self.clock.now()

    async def wait(self, until: str) -> None:
        moment = datetime.fromisoformat(until).replace(tzinfo=NEW_YORK)
        self.clock.advance(seconds=(moment - self.clock.now()).total_seconds())


@pytest.fixture(params=registry.names("brokers"))
async def every_broker(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[AtEtrade | OnPaper]:
    """Each broker of the drawer; one that lives elsewhere at its simulator."""
    if request.param == "etrade":
        for module in LIMITS:
            monkeypatch.setitem(LIMITS, module, Limit(100_000, 1_000_000))  # type: ignore[index]
        async with etrade_desk(tmp_path) as desk:
            yield AtEtrade(desk)
        return
    made = rig(tmp_path, part=request.param)
    yield OnPaper(made.broker, made.clock, made.exchange, made.open)
    await made.broker.close()


@pytest.fixture(params=[name for name in registry.names("brokers") if registry.part("brokers", name).echoes_ids])
async def any_broker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    made = rig(tmp_path, part=request.param)
    yield made
    await made.broker.close()


@pytest.fixture
async def cash(tmp_path: Path) -> AsyncIterator[Rig]:
    """A paper broker with a cash account of 20,000."""
    made = rig(tmp_path, "main:cash:20000")
    yield made
    await made.broker.close()


@pytest.fixture
async def margin(tmp_path: Path) -> AsyncIterator[Rig]:
    """A paper broker with a margin account of 20,000."""
    made = rig(tmp_path, "main:margin:20000")
    yield made
    await made.broker.close()


# What every broker keeps to


async def test_a_broker_says_what_it_is(every_broker: AtEtrade | OnPaper) -> None:
    broker: Broker = every_broker.broker

    assert broker.name in registry.names("brokers")
    assert broker.label
    claims = (broker.real_money, broker.oco, broker.echoes_ids, broker.tells_fills, broker.polled)
    assert {type(claim) for claim in claims} == {bool}
    assert broker.fence_s >= 0 <= broker.list_lag_s
    assert not broker.real_money


async def test_only_what_the_gates_approved_is_taken(every_broker: AtEtrade | OnPaper) -> None:
    denied = review(ask(quantity=D(10**7)), world())

    for unapproved in (wish(account=every_broker.name), denied, None):
        with pytest.raises(TypeError, match="approved"):
            await every_broker.broker.place(unapproved, client_order_id="c1", prepared=Prepared())
    assert await every_broker.broker.orders(EVER) == []


async def test_an_order_may_be_cancelled_until_it_is_done(every_broker: AtEtrade | OnPaper) -> None:
    name = every_broker.name
    await every_broker.see(100)
    done = await every_broker.place(wish(account=name), "c1")
    await every_broker.see(100)
    resting = await every_broker.place(wish(account=name, kind="limit", limit=99), "c2")

    await every_broker.broker.cancel(name, resting)
    with pytest.raises(OrderRefused):
        await every_broker.broker.cancel(name, done)
    with pytest.raises(OrderRefused):
        await every_broker.broker.cancel(name, "nobody")
    for _ in range(2):
        await every_broker.see(100)

    told = {one.broker_id: (one.status, one.filled) for one in await every_broker.broker.orders(EVER)}
    assert told == {done: (Status.FILLED, 100), resting: (Status.CANCELLED, 0)}


async def test_what_the_broker_refuses_leaves_nothing_behind(every_broker: AtEtrade | OnPaper) -> None:
    await every_broker.see(100)
    name, before = every_broker.name, await every_broker.broker.accounts()
    wrong = (wish(quantity=0.5, account=name), wish(kind="limit", limit="99.001", account=name))
    for request in (*wrong, wish(quantity=10**6, account=name), wish(account="nobody")):
        with pytest.raises(OrderRefused):
            await every_broker.place(request)

    assert await every_broker.broker.orders(EVER) == []
    assert await every_broker.broker.accounts() == before
    assert await every_broker.place(wish(quantity=1, account=name))  # the name is still free


async def test_a_preview_names_the_cost_and_moves_nothing(every_broker: AtEtrade | OnPaper) -> None:
    await every_broker.see(100)
    before = await every_broker.broker.accounts()

    for _ in range(2):
        estimate = await every_broker.broker.preview(wish(account=every_broker.name))
        assert (estimate.price, estimate.cost) == (100, 10_000)

    assert await every_broker.broker.accounts() == before
    assert await every_broker.broker.orders(EVER) == []


async def test_open_orders_are_told_however_old(every_broker: AtEtrade | OnPaper) -> None:
    await every_broker.see(100)
    old = await every_broker.place(wish(kind="limit", limit=90, time_in_force=GTC, account=every_broker.name), "old")
    await every_broker.wait("2026-12-18T10:30")
    new = await every_broker.place(wish(kind="limit", limit=92, time_in_force=GTC, account=every_broker.name), "new")

    listed = await every_broker.broker.orders(every_broker.now())

    assert [order.broker_id for order in listed] == [old, new]


# What a broker keeps to that tells the name we gave an order, and each of its fills


async def test_one_client_order_id_is_one_order(any_broker: Rig) -> None:
    request = wish(kind="limit", limit=99)
    first, second = await any_broker.place(request), await any_broker.place(wish(kind="limit", limit="99.00"))
    with pytest.raises(OrderRefused, match="c1 names another order"):
        await any_broker.place(wish(kind="limit", limit=98))
    with pytest.raises(OrderRefused, match="c1 names another order"):
        await any_broker.place(request, group="g")

    [order] = await any_broker.broker.orders(EVER)
    assert first == second == order.broker_id
    assert order.client_order_id == ("c1" if any_broker.broker.echoes_ids else "")


async def test_a_cancelled_order_is_listed_as_cancelled(any_broker: Rig) -> None:
    broker_id = await any_broker.place(wish(kind="limit", limit=99))
    assert (await any_broker.order(broker_id)).status is Status.WORKING
    any_broker.clock.advance(seconds=5)
    asked = any_broker.clock.now()

    await any_broker.broker.cancel("main", broker_id)
    await any_broker.broker.cancel("main", broker_id)

    [order] = await any_broker.broker.orders(asked)
    assert (order.broker_id, order.status, order.filled) == (broker_id, Status.CANCELLED, 0)


async def test_what_is_filled_cannot_be_cancelled(any_broker: Rig) -> None:
    broker_id = await any_broker.fill(wish(), 100)

    with pytest.raises(OrderRefused, match=r"done already \(FILLED\)"):
        await any_broker.broker.cancel("main", broker_id)
    for account, unknown in (("other", broker_id), ("main", "nobody")):
        with pytest.raises(OrderRefused, match="no order"):
            await any_broker.broker.cancel(account, unknown)


async def test_the_fills_of_an_order_sum_to_what_it_has_filled(any_broker: Rig) -> None:
    await any_broker.see(100)
    broker_id = await any_broker.place(wish(quantity=120))
    for volume in (1000, 1000, 1000):  # a twentieth of it each
        await any_broker.see(100, volume=volume)
        filled = sum(quantity for quantity, _ in await any_broker.fills(broker_id))
        assert (await any_broker.order(broker_id)).filled == filled

    fills = await any_broker.broker.fills(EVER)
    assert [fill.quantity for fill in fills] == [50, 50, 20]
    assert len({fill.id for fill in fills}) == 3
    assert (await any_broker.order(broker_id)).status is Status.FILLED
    assert (await any_broker.account()).positions == {"AAPL": D(120)}


async def test_fills_are_told_by_when_they_were_written_down(any_broker: Rig) -> None:
    await any_broker.fill(wish(quantity=1), 100, "c1")
    any_broker.clock.advance(seconds=10)
    since = any_broker.clock.now()
    await any_broker.fill(wish(quantity=2), 100, "c2")

    assert [fill.quantity for fill in await any_broker.broker.fills(since)] == [2]
    assert [fill.quantity for fill in await any_broker.broker.fills(EVER)] == [1, 2]


async def test_a_refused_order_leaves_nothing_behind(any_broker: Rig) -> None:
    await any_broker.see(100)
    before = await any_broker.account()
    for wrong in (wish(quantity=0.5), wish(kind="limit", limit="99.001"), wish(quantity=10**6)):
        with pytest.raises(OrderRefused):
            await any_broker.place(wrong)

    assert await any_broker.broker.orders(EVER) == []
    assert await any_broker.account() == before
    assert await any_broker.place(wish(quantity=1))  # the name is still free


async def test_an_unknown_account_is_refused(any_broker: Rig) -> None:
    await any_broker.see(100)
    for asked in (any_broker.place, any_broker.broker.preview):
        with pytest.raises(OrderRefused, match="no account is called 'nobody'"):
            await asked(wish(account="nobody"))


async def test_open_orders_are_listed_however_old(any_broker: Rig) -> None:
    old = await any_broker.place(wish(kind="limit", limit=90, time_in_force=GTC), "old")
    gone = await any_broker.place(wish(kind="limit", limit=91, time_in_force=GTC), "gone")
    await any_broker.broker.cancel("main", gone)
    any_broker.clock.advance(days=30)

    new = await any_broker.place(wish(kind="limit", limit=92, time_in_force=GTC), "new")

    listed = await any_broker.broker.orders(any_broker.clock.now())
    assert [order.broker_id for order in listed] == [old, new]


async def test_a_restart_keeps_everything(any_broker: Rig) -> None:
    await any_broker.fill(wish(quantity=10), 100, "c1")
    await any_broker.place(wish(SELL, 10, "stop", stop=95, time_in_force=GTC), "c2")
    broker = any_broker.broker
    before = (await broker.orders(EVER), await broker.fills(EVER), await broker.accounts())

    await any_broker.again()
    await broker.close()  # twice does no harm

    broker = any_broker.broker
    assert (await broker.orders(EVER), await broker.fills(EVER), await broker.accounts()) == before


async def test_a_preview_moves_nothing(any_broker: Rig) -> None:
    with pytest.raises(OrderRefused, match="no price yet for AAPL"):
        await any_broker.broker.preview(wish())
    await any_broker.see(100)
    before = await any_broker.account()

    for _ in range(2):
        estimate = await any_broker.broker.preview(wish())
        assert (estimate.price, estimate.cost) == (100, 10_000)

    assert await any_broker.account() == before
    assert await any_broker.broker.orders(EVER) == []


# The paper broker: cash accounts


async def test_a_cash_account_buys_with_what_no_resting_order_claims(cash: Rig) -> None:
    await cash.see(100)
    await cash.place(wish(quantity=150, kind="limit", limit=99), "c1")  # 14,850 of 20,000

    with pytest.raises(OrderRefused, match=r"buy AAPL: it needs 5200.00, 5150.00 may be spent in account main"):
        await cash.place(wish(quantity=52), "c2")
    assert (await cash.account()).buying_power == 5150
    await cash.place(wish(quantity=51), "c2")
    assert (await cash.account()).buying_power == 50


async def test_a_cash_account_sells_only_what_it_holds_and_nothing_claims(cash: Rig) -> None:
    await cash.see(100)
    with pytest.raises(OrderRefused, match="0 AAPL are held and free: a cash account cannot sell more"):
        await cash.place(wish(SELL, 1), "short")
    await cash.fill(wish(quantity=100), 100)
    await cash.place(wish(SELL, 60, "stop", stop=95), "stop")

    with pytest.raises(OrderRefused, match="40 AAPL are held and free"):
        await cash.place(wish(SELL, 41), "more")
    assert await cash.place(wish(SELL, 40), "rest")


async def test_a_stop_and_its_target_claim_the_same_shares(cash: Rig) -> None:
    await cash.fill(wish(quantity=100), 100)
    await cash.place(wish(SELL, 100, "stop", stop=95), "stop", group="g")
    with pytest.raises(OrderRefused, match="0 AAPL are held and free"):
        await cash.place(wish(SELL, 100, "limit", limit=105), "alone")

    assert await cash.place(wish(SELL, 100, "limit", limit=105), "target", group="g")


async def test_fridays_sale_is_settled_on_monday(cash: Rig) -> None:
    await cash.fill(wish(quantity=100), 100, "c1")
    await cash.fill(wish(SELL, 100), 110, "c2")  # 11,000 less 0.23 and 0.02 for the regulators

    account = await cash.account()
    assert (account.cash, account.settled_cash, account.buying_power) == (D("20999.75"), 10_000, 10_000)
    cash.clock.advance(days=2)
    assert (await cash.account()).settled_cash == 10_000
    cash.clock.time = datetime(2026, 11, 23, 4, 59, tzinfo=UTC)  # a minute before Monday in New York
    assert (await cash.account()).settled_cash == 10_000
    cash.clock.advance(minutes=1)
    account = await cash.account()
    assert account.settled_cash == account.buying_power == account.cash == D("20999.75")


async def test_what_is_bought_with_unsettled_money_is_named_until_it_settles(cash: Rig) -> None:
    await cash.fill(wish(quantity=100), 100, "c1")
    await cash.fill(wish(SELL, 100), 100, "c2")
    await cash.fill(wish(quantity=50, symbol="MSFT"), 100, "c3")
    assert (await cash.account()).bought_unsettled == frozenset()  # 10,000 were settled still

    await cash.fill(wish(quantity=100, symbol="KO"), 60, "c4")  # 6,000, of which 5,000 are settled

    account = await cash.account()
    assert (account.bought_unsettled, account.settled_cash) == ({"KO"}, 0)
    cash.clock.advance(days=3)
    assert (await cash.account()).bought_unsettled == frozenset()


async def test_coins_settle_at_once(cash: Rig) -> None:
    coins = {"symbol": "BTCUSDT", "quantity": "0.1"}
    await cash.fill(wish(**coins), 60_000, "c1")
    await cash.fill(wish(SELL, **coins), 60_000, "c2")

    account = await cash.account()
    assert account.cash == account.settled_cash == account.buying_power == 20_000


# The paper broker: margin accounts


async def test_margin_lends_half(margin: Rig) -> None:
    assert (await margin.account()).buying_power == 40_000
    await margin.fill(wish(quantity=100), 100)  # equity 20,000 of which 5,000 are bound
    assert (await margin.account()).buying_power == 30_000
    await margin.see(120)  # equity 22,000, worth 12,000: 2 × 22,000 less 12,000
    assert (await margin.account()).buying_power == 32_000
    await margin.place(wish(quantity=100, kind="limit", limit=110), "c2")
    assert (await margin.account()).buying_power == 21_000

    with pytest.raises(OrderRefused, match=r"it needs 21120.00, 21000.00 may be spent"):
        await margin.place(wish(quantity=176), "c3")


async def test_margin_sells_short_within_its_power(margin: Rig) -> None:
    with pytest.raises(OrderRefused, match=r"it needs 40100\.\d\d, 40000.00 may be spent"):
        await margin.fill(wish(SELL, 401), 100)
    await margin.fill(wish(SELL, 200), 100)  # 20,000 less 0.42 for the SEC and 0.04

    account = await margin.account()
    assert account.positions == {"AAPL": D(-200)}
    assert (account.cash, account.buying_power) == (D("39999.54"), D("19999.08"))
    assert (await margin.order(await margin.place(wish(BUY, 200, "stop", stop=110), "stop"))).status is Status.WORKING
    assert (await margin.account()).buying_power == D("19999.08")  # what closes needs nothing


async def test_a_position_without_a_price_counts_at_its_cost(margin: Rig) -> None:
    await margin.fill(wish(quantity=100), 100)
    file = sqlite3.connect(margin.broker._book._file.path)
    margin.broker = margin.open()
    file.execute("DELETE FROM quote")
    file.commit()

    assert (await margin.account()).buying_power == 30_000
    assert await margin.place(wish(SELL, 100), "c2")  # what closes needs no price
    with pytest.raises(OrderRefused, match="no price yet for KO"):
        await margin.place(wish(quantity=1, symbol="KO"), "c3")


async def test_a_preview_tells_price_fees_and_what_is_left(margin: Rig) -> None:
    await margin.fill(wish(quantity=100), 100, "c1")
    await margin.place(wish(SELL, 100, "stop", stop=95), "c2")

    bought = await margin.broker.preview(wish(quantity=100, kind="limit", limit=99))
    sold = await margin.broker.preview(wish(SELL, 100))

    assert (bought.price, bought.cost, bought.fees, bought.buying_power_after) == (
        99,
        9900,
        0,
        20_200,
    )  # at the last price
    assert (sold.cost, sold.fees) == (D("-9999.77"), D("0.23"))  # 0.206 and 0.0195, each up to the cent
    assert sold.buying_power_after == D("39999.54")


async def test_a_preview_warns_of_what_a_broker_would_say(cash: Rig) -> None:
    await cash.fill(wish(quantity=100), 100, "c1")
    await cash.place(wish(SELL, 100, "stop", stop=95, time_in_force=GTC), "c2")
    assert "0 AAPL are held and free" in (await cash.broker.preview(wish(SELL, 100))).warnings[0]
    with pytest.raises(OrderRefused, match="100 AAPL are held and free"):
        await cash.broker.preview(wish(SELL, 101))

    cash.clock.advance(days=1)
    await cash.see(100, delayed_s=900)

    said = (await cash.broker.preview(wish(quantity=1))).warnings
    assert said == (
        "The market is closed: the order waits until it opens.",
        "Prices are 15 minutes old: the fill will follow the delayed ones.",
    )


@pytest.mark.parametrize(
    ("request_", "price"),
    [
        (wish(), "100.05"),
        (wish(SELL), "99.95"),
        (wish(kind="limit", limit=101), "100.05"),
        (wish(kind="limit", limit=99), "99"),
        (wish(kind="stop", stop=103), "103"),
        (wish(SELL, 1, "stop", stop=97), "97"),
        (wish(SELL, 1, "stop limit", stop=97, limit="97.50"), "97.50"),
        (wish(SELL, 1, "trailing stop", trail=2), "97.95"),
    ],
)
async def test_the_expected_price(margin: Rig, request_: OrderRequest, price: str) -> None:
    await margin.see(100, bid=D("99.95"), ask=D("100.05"))

    assert (await margin.broker.preview(request_)).price == D(price)


# The paper broker: one cancels the other


async def protected(made: Rig, quantity: int = 100) -> tuple[str, str]:
    """A position with a stop at 95 and a target at 105."""
    await made.fill(wish(quantity=quantity), 100, "entry")
    stop = await made.place(wish(SELL, quantity, "stop", stop=95, time_in_force=GTC), "stop", group="g")
    return stop, await made.place(wish(SELL, quantity, "limit", limit=105, time_in_force=GTC), "target", group="g")


async def test_what_the_stop_fills_the_target_loses(margin: Rig) -> None:
    stop, target = await protected(margin)
    await margin.see(94, volume=1200)  # sixty of the hundred

    assert await margin.fills(stop) == [(60, 94)]
    await margin.see(110)

    one, other = await margin.order(stop), await margin.order(target)
    assert (one.status, one.filled) == (Status.FILLED, 100)
    assert (other.status, other.filled, other.said) == (Status.CANCELLED, 0, "the order beside it filled")
    assert (await margin.account()).positions == {}


async def test_an_exit_that_filled_in_part_and_lost_the_rest_is_cancelled_not_filled(margin: Rig) -> None:
    stop, target = await protected(margin)
    await margin.see(106, volume=800)  # forty at the target
    assert await margin.fills(target) == [(40, 106)]
    await margin.see(94)

    one, other = await margin.order(stop), await margin.order(target)
    assert (one.status, one.filled, other.status, other.filled) == (Status.CANCELLED, 60, Status.CANCELLED, 40)
    assert (await margin.account()).positions == {}


async def test_cancelling_one_of_a_pair_leaves_the_other(margin: Rig) -> None:
    stop, target = await protected(margin)
    await margin.broker.cancel("main", target)
    await margin.see(94)

    assert (await margin.order(stop)).status is Status.FILLED
    with pytest.raises(OrderRefused, match="0 are left of group g"):
        await margin.place(wish(SELL, 100, "limit", limit=105), "late", group="g")


async def test_a_group_is_one_stop_and_one_target_for_the_same_shares(margin: Rig) -> None:
    await protected(margin)

    with pytest.raises(OrderRefused, match="group g has such an order already"):
        await margin.place(wish(SELL, 100, "trailing stop", trail=2), "c9", group="g")
    with pytest.raises(OrderRefused, match="group g is for other shares"):
        await margin.place(wish(BUY, 100, "stop", stop=110), "c9", group="g")


PRICES = hs.sampled_from([94, 95, 97, 100, 103, 105, 106])
MOVES = hs.one_of(
    hs.tuples(hs.just("see"), PRICES, hs.sampled_from([0, 200, 700, 5000])),
    hs.tuples(hs.just("stop"), hs.sampled_from([95, 97]), hs.sampled_from([30, 60, 100])),
    hs.tuples(hs.just("target"), hs.sampled_from([103, 105]), hs.sampled_from([30, 60, 100])),
    hs.tuples(hs.just("trail"), hs.sampled_from([1, 3]), hs.just(100)),
    hs.tuples(hs.just("cancel"), hs.integers(0, 3), hs.just(0)),
    hs.tuples(hs.just("again"), hs.just(0), hs.just(0)),
)


async def play(made: Rig, number: int, move: tuple[str, int, int], group: str) -> None:
    """One move of a game that ends in no more than a refusal."""
    what, price, amount = move
    kinds = {"stop": ("stop", "stop"), "target": ("limit", "limit"), "trail": ("trailing stop", "trail")}
    try:
        if what == "see":
            await made.see(price, volume=amount)
        elif what == "again":
            await made.again()
        elif what == "cancel":
            listed = [order for order in await made.broker.orders(EVER) if order.side is SELL]
            await made.broker.cancel("main", listed[price % len(listed)].broker_id if listed else "none")
        else:
            kind, name = kinds[what]
            await made.place(wish(SELL, amount, kind, **{name: price}, time_in_force=GTC), f"m{number}", group)
    except OrderRefused:
        pass


@pytest.mark.parametrize("kind", ["cash", "margin"])
@given(moves=hs.lists(MOVES, min_size=2, max_size=10))
@effort(max_examples=25)
def test_a_pair_never_sells_more_than_is_held(kind: str, moves: list[tuple[str, int, int]]) -> None:
    async def game(folder: str) -> None:
        made = hurried(folder, f"main:{kind}:20000")
        await made.fill(wish(quantity=100), 100, "entry")
        for number, move in enumerate(moves):
            await play(made, number, move, "g")
            assert (await made.account()).positions.get("AAPL", 0) >= 0
            assert made.broker.check() == []
        await made.broker.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(game(folder))


# The paper broker: time


async def test_a_day_order_expires_at_the_close_without_any_quote(margin: Rig) -> None:
    day = await margin.place(wish(kind="limit", limit=90), "c1")
    kept = await margin.place(wish(kind="limit", limit=90, time_in_force=GTC), "c2")
    margin.clock.time = datetime(2026, 11, 20, 21, 0, tzinfo=UTC)

    await margin.broker.follow([])

    assert (await margin.order(day)).status is Status.EXPIRED
    assert (await margin.order(kept)).status is Status.WORKING
    assert (await margin.account()).buying_power == 31_000


async def test_listing_notices_that_an_order_has_expired(margin: Rig) -> None:
    broker_id = await margin.place(wish(kind="limit", limit=90))
    margin.clock.advance(hours=6)

    order = await margin.order(broker_id)
    assert (order.status, order.updated, order.said) == (Status.EXPIRED, margin.clock.now(), "its time was over")
    with pytest.raises(OrderRefused, match=r"done already \(EXPIRED\)"):
        await margin.broker.cancel("main", broker_id)


async def test_an_immediate_order_does_not_wait(margin: Rig) -> None:
    await margin.see(100)
    broker_id = await margin.place(wish(quantity=100, time_in_force=TimeInForce.IOC))
    await margin.see(100, volume=600)

    order = await margin.order(broker_id)
    assert (order.status, order.filled) == (Status.CANCELLED, 30)
    assert order.said == "immediate or cancel: no more was to be had"


async def test_a_trailing_stop_stands_where_it_stood_after_a_restart(margin: Rig) -> None:
    await margin.fill(wish(quantity=100), 100, "c1")
    broker_id = await margin.place(wish(SELL, 100, "trailing stop", trail=2, time_in_force=GTC), "c2")
    await margin.see(104)

    await margin.again()
    await margin.see(102.01)
    assert (await margin.order(broker_id)).status is Status.WORKING
    await margin.see(102)

    assert await margin.fills(broker_id) == [(100, 102)]


async def test_a_quote_fills_nothing_twice_and_none_goes_back(margin: Rig) -> None:
    await margin.see(100)
    broker_id = await margin.place(wish(quantity=100))
    quote = margin.exchange.quote(100, volume=1000)
    older = Quote("AAPL", quote.time - timedelta(milliseconds=1), D(90), "test", volume=quote.volume + 1000)

    for told in (quote, quote, older):
        await margin.broker.follow([told])

    assert await margin.fills(broker_id) == [(50, 100)]


async def test_a_quote_from_the_future_does_not_stop_the_rest(margin: Rig) -> None:
    await margin.see(100)
    broker_id = await margin.place(wish(quantity=100))
    await margin.see(90, time=margin.clock.now() + timedelta(hours=4))
    await margin.see(100)

    assert await margin.fills(broker_id) == [(100, 100)]


# The paper broker: volume


async def test_what_trades_within_one_stamp_counts_with_the_next(margin: Rig) -> None:
    """Some sources stamp their quotes by the minute: the same time, more volume."""
    await margin.see(100)
    broker_id = await margin.place(wish(quantity=100))
    await margin.see(100, volume=400)
    await margin.see(100, volume=400, time=margin.clock.now())
    await margin.see(100, volume=400)

    assert await margin.fills(broker_id) == [(20, 100), (40, 100)]


async def test_orders_share_one_cap(tmp_path: Path) -> None:
    made = rig(tmp_path, "main:margin:20000,other:margin:20000")
    await made.see(100)
    first = await made.place(wish(quantity=80), "c1")
    second = await made.place(wish(quantity=80, account="other"), "c2")
    await made.see(100, volume=2000)

    assert await made.fills(first) == [(80, 100)]
    assert await made.fills(second) == [(20, 100)]


async def test_without_a_cap_any_volume_will_do(tmp_path: Path) -> None:
    made = rig(tmp_path, paper_volume_cap=0)
    await made.see(100, volume=0)
    broker_id = await made.place(wish(quantity=100))
    await made.see(101, volume=0)

    assert await made.fills(broker_id) == [(100, 101)]


@pytest.mark.parametrize(
    ("pause", "day_volume"),
    [
        (timedelta(minutes=3), 9e6),  # nobody watched for three minutes
        (timedelta(seconds=1), 2000),  # the day's volume began anew
        (timedelta(seconds=1), float("nan")),
    ],
)
async def test_a_volume_nobody_watched_fills_nothing(margin: Rig, pause: timedelta, day_volume: float) -> None:
    await margin.see(100)
    broker_id = await margin.place(wish(quantity=100, time_in_force=GTC))
    margin.clock.time += pause
    margin.exchange.day["AAPL"] = day_volume

    await margin.see(100, volume=0)
    assert await margin.fills(broker_id) == []
    margin.exchange.day["AAPL"] = 2000
    await margin.see(100, volume=0)
    await margin.see(100, volume=400)
    assert await margin.fills(broker_id) == [(20, 100)]


async def test_a_rare_trade_counts_while_somebody_watches(margin: Rig) -> None:
    await margin.see(100)
    broker_id = await margin.place(wish(quantity=100))
    for _ in range(10):
        margin.clock.advance(minutes=1)
        await margin.broker.follow([])

    await margin.see(100, volume=400)
    assert await margin.fills(broker_id) == [(20, 100)]


async def test_what_traded_before_the_order_while_nobody_asked_does_not_count(margin: Rig) -> None:
    await margin.see(100)
    for _ in range(10):
        margin.clock.advance(minutes=1)
        await margin.broker.follow([])
    broker_id = await margin.place(wish(quantity=100))

    await margin.see(100)
    assert await margin.fills(broker_id) == []
    await margin.see(100, volume=400)
    assert await margin.fills(broker_id) == [(20, 100)]


async def test_the_first_quote_of_all_only_says_where_counting_begins(margin: Rig) -> None:
    broker_id = await margin.place(wish(kind="limit", limit=100))
    await margin.see(99)
    assert await margin.fills(broker_id) == []
    await margin.see(99, volume=400)

    assert await margin.fills(broker_id) == [(20, 99)]


async def test_volume_is_counted_on_over_a_quick_restart_and_not_over_a_long_one(margin: Rig) -> None:
    await margin.see(100)
    broker_id = await margin.place(wish(quantity=100))
    await margin.again()
    await margin.see(100, volume=400)
    assert await margin.fills(broker_id) == [(20, 100)]

    await margin.again()
    margin.clock.advance(hours=1)
    await margin.see(100)
    assert await margin.fills(broker_id) == [(20, 100)]


async def test_delayed_quotes_fill_when_they_are_told(margin: Rig) -> None:
    def delayed(price: float) -> Quote:
        told = margin.exchange.quote(price)
        return Quote("AAPL", told.time - timedelta(minutes=15), D(price), "test", volume=told.volume, delayed_s=900)

    await margin.broker.follow([delayed(100)])
    broker_id = await margin.place(wish(quantity=100))
    placed = margin.clock.now()
    await margin.broker.follow([delayed(101)])

    [fill] = await margin.broker.fills(EVER)
    assert (fill.broker_id, fill.price, fill.time) == (broker_id, D("101.02"), placed + timedelta(seconds=1))


async def test_a_delayed_price_of_another_session_fills_nothing(margin: Rig) -> None:
    margin.clock.time = datetime(2026, 11, 20, 14, 31, tzinfo=UTC)  # a minute after the open
    broker_id = await margin.place(wish(kind="limit", limit=105))
    for _ in range(3):
        early = margin.clock.now() - timedelta(minutes=15)
        await margin.see(100, time=early, delayed_s=900)

    assert await margin.fills(broker_id) == []


async def test_slippage_is_paid(tmp_path: Path) -> None:
    made = rig(tmp_path, paper_slippage_bps=10)
    broker_id = await made.fill(wish(quantity=100), 100)

    assert await made.fills(broker_id) == [(100, D("100.10"))]
    assert rules_of(configured(tmp_path)).half_spread_bps == 1


# The paper broker: two engines, a crash, a file that is not ours


@given(turns=hs.lists(hs.tuples(hs.integers(0, 1), hs.integers(0, 2)), min_size=4, max_size=20))
@effort(max_examples=20)
def test_twins_on_one_file_never_fill_twice(turns: list[tuple[int, int]]) -> None:
    """Two engines follow the same quotes at their own pace: no volume is counted twice, no order fills too much."""

    async def game(folder: str) -> None:
        made = hurried(folder)
        twins = (made.broker, made.open())
        quotes = [made.exchange.quote(100, volume=400) for _ in range(40)]
        made.clock.time = BEGAN
        await twins[0].follow(quotes[:1])
        broker_id = await made.place(wish(quantity=150))
        at = [0, 0]
        for who, steps in turns:
            at[who] += steps
            await twins[who].follow([quotes[at[who]]])
        seen = max(at)
        assert sum(quantity for quantity, _ in await made.fills(broker_id)) == min(20 * seen, 150)
        assert twins[1].check() == []
        for twin in twins:
            await twin.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(game(folder))


async def test_a_twin_sees_what_the_other_did(margin: Rig) -> None:
    twin = margin.open()
    await margin.see(100)
    broker_id = await margin.place(wish(quantity=100))
    assert await twin.place(approved(wish(quantity=100)), client_order_id="c1") == broker_id

    await twin.cancel("main", broker_id)

    assert (await margin.order(broker_id)).status is Status.CANCELLED
    await twin.close()


@pytest.mark.parametrize("step", ["add_fill", "add_unsettled", "keep_quote", "change_order"])
async def test_a_crash_in_the_middle_leaves_nothing_half(cash: Rig, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    await cash.fill(wish(quantity=100), 100, "c1")
    broker_id = await cash.place(wish(SELL, 100), "c2")
    before, quote = await cash.account(), cash.exchange.quote(101)
    done = getattr(cash.broker._book, step)

    def crashes(*args: Any) -> None:
        done(*args)
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(cash.broker._book, step, crashes)
        with pytest.raises(MemoryError):
            await cash.broker.follow([quote])
    assert await cash.account() == before
    assert (await cash.order(broker_id)).filled == 0
    assert cash.broker.check() == []
    await cash.broker.follow([quote])

    assert await cash.fills(broker_id) == [(100, 101)]


async def test_a_busy_file_is_a_broker_that_cannot_be_had(margin: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    path = margin.broker._book._file.path
    margin.broker._book._file.run("PRAGMA busy_timeout = 1")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(BrokerUnavailable, match="another process held it for 5 s; nothing was written"):
        await margin.place(wish(kind="limit", limit=90))
    assert await margin.broker.orders(EVER) == []

    other.execute("ROLLBACK")
    assert await margin.place(wish(kind="limit", limit=90))


def test_a_file_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "broker-desk.db"
    for make, said in (
        (lambda: path.write_text("dear diary, " * 100), "is no SQLite file"),
        (lambda: sqlite3.connect(path).execute("CREATE TABLE diary (day)"), "another program's"),
        (lambda: sqlite3.connect(path).executescript(_NEWER), "of version 9, this program knows 1"),
    ):
        path.unlink(missing_ok=True)
        make()
        before = path.read_bytes()
        with pytest.raises(SettingsError, match=said):
            PaperBroker(configured(tmp_path), ManualClock(BEGAN), "desk")
        assert path.read_bytes() == before


_NEWER = f"PRAGMA application_id = {0x5042524B}; PRAGMA user_version = 9; CREATE TABLE diary (day)"


async def test_the_file_is_durable_and_for_its_owners_eyes_only(margin: Rig) -> None:
    path = margin.broker._book._file.path

    assert path.name == "broker-desk.db"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    pragmas = ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
    assert [margin.broker._book._file._pragma(name) for name in pragmas] == ["wal", 2, 5000, 1]
    with pytest.raises(ValueError, match="a desk's name"):
        PaperBroker(configured(path.parent), margin.clock, "../elsewhere")


async def test_an_account_stays_as_it_was_opened(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await rig(tmp_path, "main:cash:20000").broker.close()
    with caplog.at_level(logging.WARNING):
        made = rig(tmp_path, "main:margin:50000,new:margin:1000")

    assert "paper account main stays as it was opened, cash with 20000" in caplog.text
    first, second = await made.broker.accounts()
    assert (first.name, first.kind, first.cash) == ("main", AccountKind.CASH, 20_000)
    assert (second.name, second.kind, second.cash) == ("new", AccountKind.MARGIN, 1000)


# The paper broker: the sums


CENTS = hs.integers(9_800, 10_200).map(lambda cents: D(cents) / 100)
KINDS = hs.sampled_from(["market", "limit", "stop", "stop limit", "trailing stop"])


@hs.composite
def wishes(draw: hs.DrawFn) -> OrderRequest:
    kind, more = draw(KINDS), dict[str, Any]()
    if kind in ("limit", "stop limit"):
        more["limit"] = draw(CENTS)
    if kind in ("stop", "stop limit"):
        more["stop"] = draw(CENTS)
    if kind == "trailing stop":
        more["trail"] = draw(hs.sampled_from(["0.10", "1.05"]))
    symbol = draw(hs.sampled_from(["AAPL", "BTCUSDT"]))
    lot = D(1) if symbol == "AAPL" else D("0.00001")
    quantity = draw(hs.integers(1, 150)) * lot
    return wish(draw(hs.sampled_from(Side)), quantity, kind, symbol=symbol, **more)


SEEN = hs.tuples(CENTS, hs.sampled_from(["AAPL", "BTCUSDT"]), hs.sampled_from([0.0, 333.3, 4000.0]))


@pytest.mark.parametrize("kind", ["cash", "margin"])
@given(moves=hs.lists(hs.one_of(wishes(), SEEN), min_size=3, max_size=25))
@effort(max_examples=25)
def test_cash_is_what_it_began_with_and_all_fills(kind: str, moves: list[Any]) -> None:
    async def game(folder: str) -> None:
        made = hurried(folder, f"main:{kind}:20000", paper_slippage_bps=1.0)
        for number, move in enumerate([(D(100), "AAPL", 1e4), (D(100), "BTCUSDT", 1e4), *moves]):
            if isinstance(move, OrderRequest):
                try:
                    await made.place(move, f"c{number}")
                except OrderRefused:
                    continue
            else:
                price, symbol, volume = move
                await made.see(price, symbol=symbol, volume=volume, bid=None, ask=None)
        account, told = await made.account(), await made.broker.fills(EVER)
        moved = sum((-f.side.sign * f.quantity * f.price - f.fee for f in told), D(0))
        assert account.cash == 20_000 + moved
        assert account.settled_cash <= account.cash
        assert account.buying_power >= 0
        assert kind == "margin" or all(quantity > 0 for quantity in account.positions.values())
        assert made.broker.check() == []
        await made.broker.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(game(folder))


async def test_the_check_finds_what_was_tampered_with(margin: Rig) -> None:
    await margin.fill(wish(quantity=100), 100)
    file = sqlite3.connect(margin.broker._book._file.path, isolation_level=None)
    for change in (
        "UPDATE account SET cash = '1'",
        "UPDATE position SET quantity = '99'",
        "UPDATE orders SET filled = '99', remaining = '2'",
    ):
        file.execute(change)

    cash, position, order, too_much = margin.broker.check()

    assert cash == "cash of main: kept 1, its fills make 10000.00"
    assert position.startswith("AAPL in main: kept Position")
    assert order.endswith("kept 99 for 10000.00, its fills make 100 for 10000.00")
    assert too_much.endswith("99 filled and 2 left is too much")


async def test_quotes_without_a_working_order_write_nothing(margin: Rig) -> None:
    file = margin.broker._book._file
    before = file.run("SELECT total_changes()").fetchone()[0]
    for _ in range(5):
        await margin.broker.follow([margin.exchange.quote(100, symbol=symbol) for symbol in ("AAPL", "KO", "MSFT")])
    assert file.run("SELECT total_changes()").fetchone()[0] == before

    await margin.again()
    assert (await margin.broker.preview(wish(quantity=1))).price == 100  # closing kept the newest prices


async def test_a_long_history_costs_nothing(margin: Rig) -> None:
    """Open orders are found by an index that holds nothing else, so no question reads through the past."""
    run = margin.broker._book._file.run
    for where in ("open = 1 AND account = 'main'", "open = 1 AND symbol = 'AAPL'", "open = 1 AND expires <= 5"):
        plan = run(f"EXPLAIN QUERY PLAN SELECT * FROM orders WHERE {where} ORDER BY seq").fetchall()
        assert "orders_open" in plan[0]["detail"]
    plan = run("EXPLAIN QUERY PLAN SELECT * FROM fill WHERE recorded >= 5 ORDER BY recorded, seq").fetchall()
    assert "fill_recorded" in plan[0]["detail"]
