"""E*TRADE's simulator in a process of its own, on the run's fast clock, and the hands that act on it from outside.

Its prices are a function of the seed and the time, the same in every process of a run.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import mmap
import random
import struct
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter

from domain.candles import Timeframe, empty
from domain.instruments import Instrument
from domain.quotes import Quote
from simulator import _control
from simulator._clock import MovedClock
from simulator._server import CONSUMER_SECRET, Etrade, Options
from simulator._state import Account
from simulator._wire import Call, Tree

BASE = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)  # Friday, 10:30 New York
BEGIN = {"AAPL": D(100), "KO": D(60), "NVDA": D(200)}
LOOKED_UP = "SPY"  # by the doctor, before a desk is armed
ACCOUNT, ACCOUNT_KEY = "83520017", "-kQ7mZr2VxPbN4tYwEoH_A"  # the simulator's margin account
CASH = D(1_000_000)
TICK_S = 0.02
STEPS = 400
LISTS = f"GET /v1/accounts/{ACCOUNT_KEY}/orders"
PLACE, CANCEL, PREVIEW = "orders/place", "orders/cancel", "orders/preview"
# Where a fault strikes, how often, and what it is told. Together they meet about half of the order calls.
MENU: tuple[tuple[str, str, float, dict[str, Any]], ...] = (
    ("drop_before", PLACE, 0.05, {}),
    ("drop_after", PLACE, 0.08, {}),
    ("delay", PLACE, 0.12, {}),
    ("error_before", PLACE, 0.04, {"status": 500}),
    ("error_after", PLACE, 0.05, {"status": 503}),
    ("oauth_problem", PLACE, 0.03, {"problem": "token_rejected"}),
    ("too_many", PLACE, 0.02, {"seconds": 1}),
    ("rate_page", PLACE, 0.03, {}),
    ("cut_body", PLACE, 0.04, {}),
    ("bad_json", PLACE, 0.04, {}),
    ("html_200", PLACE, 0.04, {}),
    ("drop_after", CANCEL, 0.06, {}),
    ("drop_before", CANCEL, 0.05, {}),
    ("error_after", CANCEL, 0.05, {"status": 500}),
    ("delay", CANCEL, 0.06, {}),
    ("html_200", CANCEL, 0.03, {}),
    ("fill_during_cancel", CANCEL, 0.10, {}),
    ("cancel_late", CANCEL, 0.15, {}),
    ("error_before", PREVIEW, 0.05, {"status": 503}),
    ("drop_after", PREVIEW, 0.05, {}),
    ("bad_json", PREVIEW, 0.04, {}),
    ("drop_before", LISTS, 0.03, {}),
    ("error_before", LISTS, 0.03, {"status": 500}),
    ("oauth_problem", LISTS, 0.01, {"problem": "token_rejected"}),
    ("oauth_problem", LISTS, 0.004, {"problem": "token_revoked"}),  # the sign-in dies in the middle
    ("rate_page", LISTS, 0.01, {}),
    ("cut_body", LISTS, 0.02, {}),
    ("bad_json", LISTS, 0.02, {}),
    ("duplicate_rows", LISTS, 0.08, {}),
    ("reorder_rows", LISTS, 0.08, {}),
    ("error_before", "/balance", 0.02, {"status": 500}),
    ("error_before", "/portfolio", 0.02, {"status": 500}),
)


@dataclass(frozen=True, slots=True)
class Fast:
    """A clock `speed` times as fast as the machine's, the same in every process: it began at `base`. `jumps` is a file
    of eight bytes, for one that may leap ahead of all of them, as when a laptop slept."""

    began: float
    speed: float
    base: datetime = BASE
    jumps: Path | None = None

    def now(self) -> datetime:
        return self.base + timedelta(seconds=(time.monotonic() - self.began) * self.speed + self._jumped())

    def monotonic(self) -> float:
        return time.monotonic() * self.speed + self._jumped()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / self.speed)

    def jump(self, seconds: float) -> None:
        """Everybody's time is so much later, at once."""
        if self.jumps is not None:
            _seen(self.jumps)[:] = struct.pack("d", self._jumped() + seconds)

    def _jumped(self) -> float:
        return 0.0 if self.jumps is None else float(struct.unpack("d", _seen(self.jumps)[:])[0])


@functools.lru_cache(maxsize=8)
def _seen(path: Path) -> mmap.mmap:
    """The file as every process sees it."""
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), 8)


class Walk:
    """Prices that depend on the seed and the time alone, and stand still after a while."""

    def __init__(self, seed: int) -> None:
        chance = random.Random(seed)
        self._volume = chance.choice([100.0, 1_000.0, 100_000.0])
        steps = {s: [0, *(chance.randint(-40, 40) for _ in range(STEPS))] for s in BEGIN}
        self._prices = {s: self._walk(BEGIN[s], steps[s]) for s in BEGIN}

    def _walk(self, begin: D, steps: Iterable[int]) -> list[D]:
        found, price = [], begin
        for step in steps:
            price = min(begin * D("1.2"), max(begin * D("0.8"), price + begin * step / 10_000))
            found.append(price.quantize(D("0.01")))
        return found

    def last(self, symbol: str, now: datetime) -> D:
        return self._prices[symbol][max(0, min(STEPS, int((now - BASE).total_seconds() / 2)))]

    def quote(self, symbol: str, now: datetime) -> Quote:
        last, seconds = self.last(symbol, now), max(0.0, (now - BASE).total_seconds())
        book = {"bid": last - D("0.01"), "ask": last + D("0.01")}
        return Quote(symbol, now, last, "etrade", volume=1e6 + self._volume * seconds, previous_close=last, **book)


class Feed:
    """That walk as the simulator asks for it."""

    def __init__(self, seed: int, clock: MovedClock) -> None:
        self._walk, self._clock = Walk(seed), clock

    async def quotes(self, instruments: Sequence[Instrument]) -> dict[str, Quote]:
        found = {i.symbol: self._walk.quote(i.symbol, self._clock.now()) for i in instruments if i.symbol in BEGIN}
        if any(i.symbol == LOOKED_UP for i in instruments):
            found[LOOKED_UP] = Quote(LOOKED_UP, self._clock.now(), D(500), "etrade", volume=1e6, previous_close=D(500))
        return found

    async def candles(self, instrument: Instrument, tf: Timeframe, start: datetime, end: datetime) -> pd.DataFrame:
        return empty()


def menu(seed: int, speed: float) -> list[dict[str, Any]]:
    """The faults of a run: most of the menu's, and the list's lag in one run of four."""
    chance, found = random.Random(seed * 7 + 1), []
    for number, (name, where, probability, how) in enumerate(MENU):
        more = dict(how)
        if name == "delay":  # on its way for a while: some of it beyond the caller's patience
            more["seconds"] = chance.uniform(0.05, 0.8)
        if name == "cancel_late":
            more["seconds"] = chance.choice([3, 10, 40])
        found.append({"name": name, "where": where, "probability": probability, "seed": seed * 100 + number, **more})
    if lags(seed):
        found.append({"name": "list_lag", "where": LISTS, "probability": 0.5, "seed": seed})
        found[-1]["seconds"] = chance.choice([4, 12, 25])
    return found


def lags(seed: int) -> bool:
    """Whether the orders list is behind in this run."""
    return random.Random(seed * 7 + 2).random() < 0.25


def serve(clock: Fast, seed: int, state: Path | None, kept: bool, faults: list[dict[str, Any]], told: Any) -> None:
    """A simulator until it is killed; tells its address. `state`: who is signed in, read at the start; with `kept` it
    is written there too."""
    logging.getLogger("aiohttp.server").disabled = True  # a caller that died is none of its business
    asyncio.run(_serve(clock, seed, state, kept, faults, told))


async def _whole(server: Etrade, wish: Tree) -> Tree:
    """The traded account as the simulator has it, how many calls are on their way, and what nobody may be told."""
    account = next(one for one in server.state.accounts if one.account_id == ACCOUNT)
    found: Tree = TypeAdapter(Account).dump_python(account, mode="json")
    secrets = [part for token in server.state.access.values() for part in (token.key, token.secret)]
    return {**found, "on_their_way": server.on_their_way, "secrets": [CONSUMER_SECRET, *secrets]}  # type: ignore


class Counting(Etrade):
    """A simulator that knows how many calls have come and are not done: a fault may hold one up."""

    on_their_way = 0

    async def _faulty(self, request: Any, call: Call) -> Any:
        self.on_their_way += 1
        try:
            return await super()._faulty(request, call)
        finally:
            self.on_their_way -= 1


async def _serve(
    clock: Fast, seed: int, state: Path | None, kept: bool, faults: list[dict[str, Any]], told: Any
) -> None:
    moved = MovedClock(clock)
    _control._ROUTES["GET", "whole"] = _whole
    server = Counting(Options(port=0, ticking=False, state=state, seed=seed, cash=CASH), moved, Feed(seed, moved))
    moved.offset = timedelta()
    if not kept:
        server.options = replace(server.options, state=None)
    server.limits.enforced = False
    chance = random.Random(seed * 7 + 3)
    cap = chance.choice([0.0, 0.05, 0.2])
    server.book.rules = replace(server.book.rules, volume_cap=cap or 0.05, ignore_volume=not cap)
    await server.market.refresh(BEGIN)
    await server.start()
    told.send(server.url)
    hand = Hand(server.url)
    await asyncio.to_thread(lambda: [hand.ask("faults", **one) for one in faults])
    while True:
        await asyncio.sleep(TICK_S)
        if moved.stopped is None:
            async with server.alone:
                await server.tick()


class Hand:
    """What people and tests do at the simulator from outside."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(self, route: str, method: str = "POST", /, **wish: Any) -> dict[str, Any]:
        """A control call; ValueError with its words where it is refused."""
        body = json.dumps(wish).encode() if method == "POST" else None
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/simulator/{route}", body, headers, method=method)
        try:
            with self._opener.open(request, timeout=10) as answer:
                found: dict[str, Any] = json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise ValueError(error.read().decode(errors="replace")) from None
        return found

    def now(self) -> datetime:
        return datetime.fromisoformat(str(self.ask("", "GET")["now"]))

    def book(self) -> dict[str, Any]:
        """The account that is traded, as the broker truly has it."""
        accounts = self.ask("book", "GET")["accounts"]
        return next(one for one in accounts if one["accountId"] == ACCOUNT)

    def order(self, symbol: str, action: str, quantity: int, **how: str) -> int:
        """An order placed by hand; its number. ValueError where the broker would not take it."""
        found = self.ask("order", account=ACCOUNT_KEY, symbol=symbol, action=action, quantity=str(quantity), **how)
        return int(found["orderId"])
