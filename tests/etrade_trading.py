"""A whole rehearsal desk on one virtual clock: the real engine, E*TRADE's broker, feed and sign-in, and over HTTP the
simulator they talk to. A call takes a twentieth of a second of that time, and a wait for the limits what it waits.

async with trading_desk(tmp_path) as desk:      # signed in, the account picked, armed
    await desk.place(stop_loss="490.00")
    await desk.tick(10)
    assert desk.apart() == []                   # ledger and book, to the cent and the share
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal as D
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pandas as pd

from bootstrap import BridgedSession
from brokers.etrade import EtradeBroker
from desk import place as places
from desk import signing_in
from desk.authority import LOCAL_OWNER
from desk.facts import Facts
from desk.inbox import Inbox
from desk.reader import Reader
from domain import candles as cd
from domain.calendars import NEW_YORK
from domain.clock import Clock, ManualClock
from domain.commands import Answer, Command, CommandState, Kind
from domain.instruments import Instrument
from domain.orders import Order, Purpose
from etrade.environments import simulator
from etrade.session import EtradeSession
from etrade.tokens import TokenStore
from etrade.transport import AiohttpTransport, Reply, Request, Transport
from etrade_client import SIMULATOR_KEYS, EtradeClient
from feeds.etrade import EtradeFeed
from settings import Settings
from simulator._state import Account as Book
from simulator._state import Kept
from simulator.running import FRIDAY, Running, running
from tests.etrade_desk import MARGIN, MARGIN_KEY, NUMBERS
from tests.etrade_person import code_of
from tests.etrade_server import MemoryStore
from trading_bot import Engine, Parts

A_CALL_S = 0.05
DAY = timedelta(days=1)
HALF_SPREAD = D("0.01")
LIMITS: dict[str, Any] = {"max_notional": 50_000.0, "max_daily_loss_pct": 20.0, "max_orders_per_day": 5_000}
Stamp = tuple[datetime, datetime]


class SlowLine:
    """A line on which a call takes its time, half of it on the way there; `meanwhile` is what happens on that half."""

    def __init__(self, inner: Transport, clock: ManualClock) -> None:
        self._inner, self._clock = inner, clock
        self.meanwhile: Callable[[Request], None] = lambda request: None

    async def send(self, request: Request) -> Reply:
        self._clock.advance(seconds=A_CALL_S / 2)
        self.meanwhile(request)
        try:
            return await self._inner.send(request)
        finally:
            self._clock.advance(seconds=A_CALL_S / 2)

    async def close(self) -> None:
        await self._inner.close()


class Session(EtradeSession):
    """A sign-in whose limits and pauses go by the virtual clock, and whose tokens outlive an engine."""

    def __init__(self, settings: Settings, clock: ManualClock, store: TokenStore) -> None:
        self._manual, self._kept_by, self._url = clock, store, settings.etrade_simulator_url
        self.line = SlowLine(AiohttpTransport(), clock)
        super().__init__(settings, clock, transport=self.line, store=store, trades=True)

    def _made(self) -> EtradeClient:
        where = simulator(self._url)
        return EtradeClient(
            where,
            SIMULATOR_KEYS,
            self._kept_by,
            self.clock,
            transport=self._transport,
            monotonic=lambda: self._manual.now().timestamp(),
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self._manual.advance(seconds=seconds)
        await asyncio.sleep(0)


class TradingDesk:
    """The desk a test drives: `tick` moves time and prices and turns the engine, `ask` appends a command and waits."""

    def __init__(self, folder: Path, sim: Running, clock: ManualClock) -> None:
        self.sim, self.manual = sim, clock
        wish: dict[str, Any] = {"etrade_environment": "simulator", "etrade_simulator_url": sim.url}
        self.settings = Settings(data_dir=folder / "data", trading="etrade", data_source="etrade", **wish)
        self.session = Session(self.settings, clock, MemoryStore())
        self.clock: Clock = self.session.clock
        self.feed = EtradeFeed(self.settings, clock)
        self.feed.session = self.session
        self.place_of = places.etrade(self.settings, self.feed.price_source)
        self.inbox = Inbox(self.place_of.ledger_url, self.clock)
        self.reader = Reader(self.place_of.ledger_url, self.clock)
        self.engine: Engine | None = None
        self.last: dict[str, D] = {"MSFT": D("500.00"), "KO": D("60.00"), "NVDA": D("200.00"), "SPY": D("650.00")}
        self.trades = 100_000  # shares of each symbol between two ticks
        self.account = MARGIN
        self.said: dict[str, datetime] = {}  # every sentence of the heartbeat, by when it was first there
        self._volume: dict[str, int] = {}
        self._days: dict[tuple[str, date, int], pd.DataFrame] = {}
        self._names = itertools.count(1)
        self.market_moves()

    # Its life

    async def start(self) -> Engine:
        """A new engine on the same ledger and sign-in, as after a restart."""
        await self.session.keep_alive()
        self.broker = EtradeBroker(self.settings, self.clock, self.place_of.name, session=self.session)
        facts = Facts(self.clock, self.feed.quotes, self._daily, simulated=True)
        parts = Parts(
            self.place_of,
            self.clock,
            self.broker,
            facts,
            machine_clock=self.clock,
            ids=lambda: f"{next(self._names):08x}",
            session=BridgedSession(self.session, across=_here),
        )
        self.engine = Engine(parts)
        await self.engine.open()
        return self.engine

    async def stop(self) -> None:
        if self.engine is not None:
            await self.engine.close()
            self.engine = None

    async def sign_in(self) -> Answer:
        """As a person does: the link, E*TRADE's page, the code."""
        link = await self.ask_slowly(Kind.SIGN_IN, step="link")
        code = await asyncio.to_thread(code_of, link.details["url"])
        return await self.ask_slowly(Kind.SIGN_IN, step="code", code=code)

    async def arm(self) -> Answer:
        """Everything before the first order: sign-in, account, limits, the phrase."""
        await self.sign_in()
        await self.ask(Kind.PICK_ACCOUNT, account=self.account)
        await self.tick(6)
        for name, value in LIMITS.items():
            await self.ask(Kind.SET_LIMIT, name=name, value=value)
        return await self.ask_slowly(Kind.ARM, account=self.account, phrase=f"TRADE {self.account[-4:]}")

    # Time

    async def tick(self, times: int = 1, seconds: float = 1.0, **prices: str) -> None:
        """Time moves, prices change, orders meet them, the engine turns."""
        self.last |= {symbol: D(price) for symbol, price in prices.items()}
        for _ in range(times):
            self.manual.advance(seconds=seconds)
            self.market_moves()
            await self.turn()

    async def turn(self) -> None:
        assert self.engine is not None
        await self.engine.turn()
        for said in self.engine.tools.problems.values():
            self.said.setdefault(said, self.clock.now())

    async def until(self, moment: str, step_s: float = 3600.0, **prices: str) -> None:
        """Turn on to this time of New York, in steps; at the moment itself the prices change."""
        then = datetime.fromisoformat(moment).replace(tzinfo=NEW_YORK).astimezone(UTC)
        while (left := (then - self.manual.now()).total_seconds()) > step_s:
            await self.tick(seconds=step_s)
        await self.tick(seconds=max(left, 0.0), **prices)

    async def until_true(self, holds: Callable[[], object], most: int = 60, seconds: float = 1.0) -> float:
        """Turn until it holds; how many virtual seconds that took."""
        began = self.clock.now()
        for _ in range(most):
            if holds():
                break
            await self.tick(seconds=seconds)
        assert holds(), f"not in {most} turns; said: {self.problems()}"
        return (self.clock.now() - began).total_seconds()

    def market_moves(self) -> None:
        """The prices as they are now reach the simulator, and what rests there meets them."""
        rows = []
        for symbol, last in self.last.items():
            self._volume[symbol] = volume = self._volume.get(symbol, 1_000_000) + self.trades
            row = {"symbol": symbol, "last": last, "bid": last - HALF_SPREAD, "ask": last + HALF_SPREAD}
            rows.append({**{name: str(value) for name, value in row.items()}, "volume": volume})
        self.sim.control("tape", rows=rows)
        self.sim.control("tick", seconds=0)

    async def _daily(self, what: Instrument, bars: int) -> pd.DataFrame:
        """Quiet days around today's price, each symbol at its own rhythm, two dollars from low to high."""
        now = self.clock.now()
        key = (what.symbol, now.date(), bars)
        if key not in self._days:
            self._days[key] = self._quiet_days(what, now, bars)
        return self._days[key]

    def _quiet_days(self, what: Instrument, now: datetime, bars: int) -> pd.DataFrame:
        tf = cd.timeframe("1d")
        times = cd.expected(now - timedelta(days=200), now - timedelta(days=1), tf, what)[-bars:]
        rhythm = 1 + sum(map(ord, what.symbol)) % 7
        base = float(self.last.get(what.symbol, D(100))) + np.sin(np.arange(len(times)) * rhythm) * 0.5
        columns = {"open": base, "high": base + 1, "low": base - 1, "close": base}
        return cd.frame(times, {**columns, "volume": np.full(len(times), 5e7)})

    # Asking

    def append(self, kind: Kind, payload: dict[str, Any], *, key: str = "", actor: str = LOCAL_OWNER) -> str:
        key = key or f"test-{kind.name.lower()}-{next(self._names)}"
        self.inbox.append(Command(key, kind, actor, payload))
        return key

    async def ask(self, kind: Kind, *, key: str = "", turns: int = 12, **payload: Any) -> Answer:
        """Append it and turn, a second each time, until it is answered."""
        return await self._answered(self.append(kind, payload, key=key), turns, 1.0)

    async def ask_slowly(self, kind: Kind, **payload: Any) -> Answer:
        """The same for what runs beside the turns, and takes its own time on the wire."""
        return await self._answered(self.append(kind, payload), 400, 0.1, pause_s=0.005)

    async def _answered(self, key: str, turns: int, seconds: float, pause_s: float = 0.0) -> Answer:
        for _ in range(turns):
            await self.tick(seconds=seconds)
            if (answer := self.inbox.answer(key)) is not None:
                return answer
            await asyncio.sleep(pause_s)
        raise AssertionError(f"{key} was not answered in {turns} turns")

    async def preview(self, symbol: str = "MSFT", side: str = "buy", *, key: str = "", **ticket: Any) -> Answer:
        given = {"account": self.account, "symbol": symbol, "side": side, "type": "market", "quantity": "10", **ticket}
        return await self.ask(Kind.PREVIEW, key=key, **given)

    async def place(self, symbol: str = "MSFT", side: str = "buy", **ticket: Any) -> Answer:
        """Preview, then place, as a person does."""
        key = f"preview-{next(self._names)}"
        previewed = await self.preview(symbol, side, key=key, **ticket)
        assert previewed.state is CommandState.DONE, previewed.said
        details = previewed.details
        return await self.ask(Kind.PLACE, key=details["token"], preview=key, request=details["request"])

    async def accept(self, about: str) -> Answer:
        """Take over the broker's figure as the desk shows it now."""
        [shown] = [one for one in self.differences() if one["about"] == about]
        what = {name: shown[name] for name in ("account", "about", "here", "there")}
        return await self.ask(Kind.ACCEPT, **what, reason="looked at E*TRADE's own page")

    # What a test looks at

    def held(self, symbol: str = "MSFT") -> D:
        position = self.reader.positions(self.account).get(symbol)
        return position.quantity if position else D(0)

    def open(self, symbol: str = "") -> list[Order]:
        return self.reader.open_orders(self.account, symbol)

    def orders(self, purpose: Purpose, symbol: str = "MSFT") -> list[Order]:
        """Every order of this purpose the ledger ever had, oldest first."""
        found = self.reader.orders_between(datetime(2026, 1, 1, tzinfo=UTC), datetime(2028, 1, 1, tzinfo=UTC))
        mine = [o for o in found if o.request.purpose is purpose and o.request.symbol == symbol]
        return sorted(mine, key=lambda order: order.created)

    def state(self) -> str:
        engine = self.reader.engine()
        assert engine is not None
        return engine.state

    def details(self) -> dict[str, Any]:
        """What the heartbeat tells."""
        engine = self.reader.engine()
        assert engine is not None
        return engine.details

    def problems(self) -> str:
        return " ".join(self.details()["problems"])

    def differences(self) -> list[dict[str, str]]:
        found: list[dict[str, str]] = self.details()["differences"]
        return found

    def heard(self, words: str) -> bool:
        """Whether the desk said so at any time."""
        return any(words in said for said in self.said)

    # What is true: the simulator's book, looked at between two turns

    def book(self) -> Book:
        return next(one for one in self.sim.server.state.accounts if one.account_id == NUMBERS[self.account])

    def shares(self) -> dict[str, D]:
        return {symbol: held.quantity for symbol, held in self.book().holdings.items() if held.quantity}

    def resting(self, symbol: str = "") -> list[Kept]:
        return [kept for kept in self.book().working() if symbol in ("", kept.ticket.symbol)]

    def calls(self, route: str) -> int:
        found: int = self.sim.control("counters", "GET")["routes"].get(route, 0)
        return found

    def by_hand(self, symbol: str, action: str, quantity: str, **how: str) -> None:
        """An order of the owner's on E*TRADE's own page."""
        self.sim.control("order", account=MARGIN_KEY, symbol=symbol, action=action, quantity=quantity, **how)

    def apart(self) -> list[str]:
        """Where ledger and book differ: cash to the cent, shares, and what rests."""
        book, folded, found = self.book(), self.reader.account(self.account), list[str]()
        assert folded is not None
        if round(folded.cash, 2) != round(book.cash, 2):
            found.append(f"cash: ledger {folded.cash}, book {book.cash}")
        ours = {symbol: p.quantity for symbol, p in folded.positions.items() if p.quantity}
        if ours != self.shares():
            found.append(f"shares: ledger {ours}, book {self.shares()}")
        here = {order.broker_id for order in self.open() if order.broker_id}
        there = {str(kept.order_id) for kept in book.working() if kept.ticket.client_order_id != "by hand"}
        if here != there:
            found.append(f"open orders: ledger {sorted(here)}, book {sorted(there)}")
        return found

    def faults_of_ledger(self) -> list[str]:
        """What the ledger says against itself."""
        assert self.engine is not None
        return self.engine.tools.ledger.verify()


@asynccontextmanager
async def trading_desk(
    folder: Path, *, begins: datetime = FRIDAY, armed: bool = True, limited: bool = True
) -> AsyncIterator[TradingDesk]:
    """A desk with its engine running. `limited`: the simulator refuses what comes faster than E*TRADE allows."""
    clock = ManualClock(begins.astimezone(UTC))
    with running(at=begins, real=clock, limited=limited) as sim:
        sim.server.clock.go_on()  # it follows ours from here on
        desk = TradingDesk(folder, sim, clock)
        try:
            with patch.object(signing_in, "monotonic", lambda: clock.now().timestamp()):
                await desk.start()
                if armed:
                    answer = await desk.arm()
                    assert answer.state is CommandState.DONE, answer.said
                yield desk
        finally:
            await desk.stop()
            await desk.session.close()
            await desk.feed.close()


async def _here(work: Any) -> Any:
    return await work


def bare_spans(book: Book, symbols: Sequence[str], now: datetime) -> list[tuple[str, str, Stamp]]:
    """When shares these symbols' orders had bought stood under no order that sells them, from the book alone: symbol,
    how it began (`fill` or `swap`), from and to."""
    return [span for symbol in symbols for span in _spans(book, symbol, now)]


def _spans(book: Book, symbol: str, now: datetime) -> list[tuple[str, str, Stamp]]:
    fills = [(t.at, t.quantity, t.order_id) for t in book.transactions if t.symbol == symbol and t.order_id]
    sales = [k for k in book.orders if k.ticket.symbol == symbol and k.ticket.action == "SELL"]
    lives = {kept.order_id: (kept.placed, _ended(kept) or now + DAY) for kept in sales}
    known = {at for at, *_ in fills} | {at for life in lives.values() for at in life}
    moments = sorted(at for at in {*known, now} if at <= now)
    found, since, why = list[tuple[str, str, Stamp]](), None, ""
    for moment in moments:
        held = sum((quantity for at, quantity, _ in fills if at <= moment), D(0))
        cover = D(0)
        for kept in sales:
            begin, end = lives[kept.order_id]
            if begin <= moment < end:
                sold = sum((-q for at, q, order in fills if order == kept.order_id and at <= moment), D(0))
                cover += kept.ticket.quantity - sold
        if held > cover and since is None:
            since, why = moment, "fill" if any(at == moment and q > 0 for at, q, _ in fills) else "swap"
        elif held <= cover and since is not None:
            found.append((symbol, why, (since, moment)))
            since = None
    if since is not None:
        found.append((symbol, why, (since, now)))
    return found


def _ended(kept: Kept) -> datetime | None:
    ends = ("ORDER_CANCELLED", "ORDER_EXPIRED", "ORDER_EXECUTED", "ORDER_REJECTED")
    return next((event.at for event in kept.events if event.name in ends), None)
