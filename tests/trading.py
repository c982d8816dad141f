"""A whole paper desk on a virtual clock: the real engine, ledger and paper broker, with prices that a test sets."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from brokers.base import Broker
from brokers.paper import PaperBroker
from desk import place as places
from desk.authority import LOCAL_OWNER, Authority
from desk.facts import Bars, Facts
from desk.inbox import Inbox
from desk.reader import Reader
from domain import candles as cd
from domain.clock import Clock, ManualClock
from domain.commands import Answer, Command, CommandState, Kind
from domain.errors import FeedUnavailable
from domain.instruments import Instrument
from domain.orders import Order
from domain.quotes import Quote
from settings import Settings
from trading_bot import Engine, Parts

MORNING = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)  # Friday, 10:30 New York


@dataclass(slots=True)
class Prices:
    """What the market says. `volume` grows with each look, so that orders have something to fill on."""

    clock: Clock
    last: dict[str, D] = field(default_factory=lambda: {"AAPL": D("100.00"), "KO": D("60.00"), "NVDA": D("200.00")})
    spread: D = D("0.02")
    step: float = 100_000.0
    fails: str = ""
    _volume: dict[str, float] = field(default_factory=dict)

    async def quotes(self, wanted: Sequence[Instrument]) -> dict[str, Quote]:
        if self.fails:
            raise FeedUnavailable(self.fails)
        return {i.symbol: self.quote(i.symbol) for i in wanted if i.symbol in self.last}

    def quote(self, symbol: str) -> Quote:
        self._volume[symbol] = self._volume.get(symbol, 1_000_000.0) + self.step
        last, half = self.last[symbol], self.spread / 2
        return Quote(
            symbol,
            self.clock.now(),
            last,
            "scripted",
            bid=last - half,
            ask=last + half,
            volume=self._volume[symbol],
            previous_close=last,
        )

    async def daily(self, what: Instrument, bars: int) -> pd.DataFrame:
        """Ninety quiet days around today's price, each with a range of two dollars: an ATR of 2."""
        if what.symbol not in self.last:
            raise FeedUnavailable(f"no candles of {what.symbol}")
        tf = cd.timeframe("1d")
        times = cd.expected(self.clock.now() - timedelta(days=200), self.clock.now() - timedelta(days=1), tf, what)[
            -bars:
        ]
        base = (
            float(self.last[what.symbol]) + np.sin(np.arange(len(times)) * (1 + sum(map(ord, what.symbol)) % 7)) * 0.5
        )
        columns = {"open": base, "high": base + 1, "low": base - 1, "close": base}
        return cd.frame(times, {**columns, "volume": np.full(len(times), 5e7)})


class PaperDesk:
    """The desk a test drives: `tick` moves time and turns the engine, `ask` appends a command and waits."""

    def __init__(
        self,
        folder: Path,
        *,
        accounts: str = "main:margin:100000",
        clock: ManualClock | None = None,
        broker: Callable[[Broker], Broker] = lambda broker: broker,
        machine_clock: Clock | None = None,
        prices: Callable[[Clock], Prices] | None = None,
        bars: Bars | None = None,
        authority: Authority | None = None,
        **settings: Any,
    ) -> None:
        self.settings = Settings(data_dir=folder / "data", paper_accounts=accounts, **settings)
        self.clock = clock or ManualClock(MORNING)
        self.prices, self.bars = (prices or Prices)(self.clock), bars
        self.place_of = places.paper(self.settings, "scripted", simulated=False)
        self._authority = authority or Authority()
        self._machine, self._wrap = machine_clock or self.clock, broker
        self._names = itertools.count(1)
        self.inbox = Inbox(self.place_of.ledger_url, self.clock)
        self.reader = Reader(self.place_of.ledger_url, self.clock)
        self.engine: Engine | None = None

    async def start(self) -> Engine:
        """A new engine on the same ledger and broker file, as after a restart."""
        self.broker = self._wrap(PaperBroker(self.settings, self.clock, self.place_of.name))
        facts = Facts(self.clock, self.prices.quotes, self.prices.daily, simulated=False, bars=self.bars)
        parts = Parts(
            self.place_of,
            self.clock,
            self.broker,
            facts,
            poll_s=0.0,
            machine_clock=self._machine,
            ids=lambda: f"{next(self._names):08x}",
            authority=self._authority,
        )
        self.engine = Engine(parts)
        await self.engine.open()
        return self.engine

    async def stop(self) -> None:
        if self.engine is not None:
            await self.engine.close()
            self.engine = None

    async def tick(self, times: int = 1, seconds: float = 1.0, **prices: str) -> None:
        """Time moves, prices change, the engine turns."""
        for symbol, price in prices.items():
            self.prices.last[symbol] = D(price)
        for _ in range(times):
            self.clock.advance(seconds=seconds)
            assert self.engine is not None
            await self.engine.turn()

    def append(self, kind: Kind, payload: dict[str, Any], *, key: str = "", actor: str = LOCAL_OWNER) -> str:
        key = key or f"test-{kind.name.lower()}-{next(self._names)}"
        self.inbox.append(Command(key, kind, actor, payload))
        return key

    async def ask(
        self, kind: Kind, *, key: str = "", actor: str = LOCAL_OWNER, turns: int = 8, **payload: Any
    ) -> Answer:
        """Append it and turn until it is answered."""
        key = self.append(kind, payload, key=key, actor=actor)
        for _ in range(turns):
            await self.tick()
            if (answer := self.inbox.answer(key)) is not None:
                return answer
        raise AssertionError(f"{kind} was not answered in {turns} turns")

    async def preview(self, symbol: str = "AAPL", side: str = "buy", *, key: str = "", **ticket: Any) -> Answer:
        ticket = {"account": "main", "symbol": symbol, "side": side, "type": "market", **ticket}
        if not {"quantity", "dollars", "risk_pct"} & set(ticket):
            ticket["quantity"] = "100"
        return await self.ask(Kind.PREVIEW, key=key, **ticket)

    async def place(self, symbol: str = "AAPL", side: str = "buy", **ticket: Any) -> Answer:
        """Preview, then place, as a person does."""
        key = f"preview-{next(self._names)}"
        previewed = await self.preview(symbol, side, key=key, **ticket)
        assert previewed.state is CommandState.DONE, previewed.said
        details = previewed.details
        return await self.ask(Kind.PLACE, key=details["token"], preview=key, request=details["request"])

    # What a test looks at

    def held(self, symbol: str = "AAPL", account: str = "main") -> D:
        position = self.reader.positions(account).get(symbol)
        return position.quantity if position else D(0)

    def open(self, symbol: str = "AAPL") -> list[Order]:
        return self.reader.open_orders("main", symbol)

    def problems(self) -> list[str]:
        """What the ledger says against itself."""
        assert self.engine is not None
        return self.engine.tools.ledger.verify()


@asynccontextmanager
async def trading(folder: Path, **options: Any) -> AsyncIterator[PaperDesk]:
    """A desk with its engine running."""
    desk = PaperDesk(folder, **options)
    await desk.start()
    await desk.tick(2)
    try:
        yield desk
    finally:
        await desk.stop()
