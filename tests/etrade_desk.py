"""A broker at a local E*TRADE, signed in, with prices that a test sets and a clock that stands still."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import risk_manager
from brokers.base import BrokerAccount, BrokerOrder
from brokers.etrade import EtradeBroker
from domain.clock import ManualClock
from domain.orders import OrderRequest, OrderType, Purpose, Side
from etrade.session import EtradeSession
from etrade.simulated_time import SimulatorClock
from etrade.vault import Vault, file_key
from risk_manager import Approved
from settings import Settings
from simulator.running import FRIDAY, Running, running
from tests.etrade_person import code_of

MARGIN_KEY, CASH_KEY = "-kQ7mZr2VxPbN4tYwEoH_A", "Tn3uWc8JqLdF_aXvGyRb0Q"
MARGIN, CASH = "••••0017", "••••4420"
NUMBERS = {MARGIN: "83520017", CASH: "61184420"}
EVER = datetime(2000, 1, 1, tzinfo=UTC)


def approved(request: OrderRequest) -> Approved:
    """As if the gates had passed it."""
    return Approved(request, (), FRIDAY.astimezone(UTC), risk_manager._SEAL)


def wish(side: str = "buy", quantity: object = 10, kind: str = "market", **more: Any) -> OrderRequest:
    """10 Microsoft at market for the margin account, changed as asked."""
    prices = {name: D(str(more.pop(name))) for name in ("limit", "stop", "trail") if name in more}
    account, symbol = more.pop("account", MARGIN), more.pop("symbol", "MSFT")
    purpose = Purpose(more.pop("purpose", "entry"))
    return OrderRequest(
        account, symbol, Side(side), D(str(quantity)), OrderType(kind), purpose=purpose, **prices, **more
    )


@dataclass(slots=True)
class EtradeDesk:
    """The broker, its session and the E*TRADE behind it."""

    sim: Running
    settings: Settings
    session: EtradeSession
    broker: EtradeBroker

    async def sign_in(self) -> None:
        link = await self.session.link()
        await self.session.finish(await asyncio.to_thread(code_of, link))

    async def place(self, request: OrderRequest, name: str = "c1") -> str:
        yes = approved(request)
        prepared = await self.broker.prepare(yes, client_order_id=name)
        return await self.broker.place(yes, client_order_id=name, prepared=prepared)

    async def fill(self, request: OrderRequest, name: str = "c1") -> str:
        """Placed, and met by the price that stands."""
        broker_id = await self.place(request, name)
        self.sim.tick()
        return broker_id

    async def order(self, broker_id: str, since: datetime = EVER) -> BrokerOrder:
        [found] = [one for one in await self.broker.orders(since) if one.broker_id == broker_id]
        return found

    async def account(self) -> BrokerAccount:
        [found] = await self.broker.accounts()
        return found

    def move_to(self, moment: str) -> None:
        """Time goes on there, and our side knows it."""
        self.sim.move_to(moment)
        self.hear()

    def hear(self) -> None:
        assert isinstance(self.session.clock, SimulatorClock)
        self.session.clock.hear(datetime.fromisoformat(self.sim.control("", "GET")["now"]))

    def now(self) -> datetime:
        return self.session.clock.now()

    def again(self) -> EtradeBroker:
        """The broker as a restarted engine has it."""
        self.broker = EtradeBroker(self.settings, self.session.clock, "desk", session=self.session)
        return self.broker

    def book(self, account: str = MARGIN) -> dict[str, Any]:
        """What the broker truly has."""
        accounts = self.sim.control("book", "GET")["accounts"]
        found: dict[str, Any] = next(one for one in accounts if one["accountId"] == NUMBERS[account])
        return found

    def calls(self) -> dict[str, int]:
        found: dict[str, int] = self.sim.control("counters", "GET")["routes"]
        return found


@asynccontextmanager
async def etrade_desk(
    folder: Path, *, account: str = MARGIN, signed_in: bool = True, **more: Any
) -> AsyncIterator[EtradeDesk]:
    """A desk at a simulator whose clock stands at Friday 10:30; Microsoft is at 500."""
    with running() as sim:
        sim.price("MSFT", "500.00", bid="499.99", ask="500.01", volume="1000000", previous_close="495.00")
        number = NUMBERS.get(account, "")
        of = {"etrade_environment": "simulator", "etrade_simulator_url": sim.url, "etrade_account_id": number, **more}
        settings = Settings(data_dir=folder / "data", **of)
        clock = ManualClock(FRIDAY.astimezone(UTC))
        session = EtradeSession(settings, clock, store=Vault(settings.etrade_dir, file_key), trades=True)
        desk = EtradeDesk(sim, settings, session, EtradeBroker(settings, session.clock, "desk", session=session))
        try:
            await session.keep_alive()
            if signed_in:
                await desk.sign_in()
            yield desk
        finally:
            await session.close()
