"""The order path: durable commits beside raw sqlite3, a command on its way to the broker, recovery, page refresh."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from benchmarks.report import Goal, Section, Spread, Table, time_of
from desk.inbox import Inbox
from desk.lease import Lease
from desk.ledger import Ledger
from desk.reader import Reader
from domain.clock import SystemClock
from domain.commands import Command, Kind
from domain.orders import Fill, Order, OrderRequest, Side, Status
from tests.trading import MORNING, PaperDesk

HOW = (
    "**Commits**: an order's move in the ledger (look at the lease, change the order, its event, its line in the "
    "hash-chained audit, all in one transaction), and the same statements by hand with Python's own sqlite3, in turns, "
    "both WAL with `synchronous=FULL`. **Command to broker**: from a page's append to the inbox to the paper broker's "
    "`place`, through the running engine: every gate, the intent and the marker committed on the way. **Recovery**: "
    "from taking the lease to READY on a ledger of past orders. **Page**: what the positions page asks of the ledger."
)
PAST = 10_000
NOW = MORNING


def measure(quick: bool) -> Section:
    """Everything of the path, in one quiet run."""
    rows, goals = [], []
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        ours, raw, bare = _commits(Path(folder), 40 if quick else 400, 2 if quick else 7)
        ratio = ours.median / raw.median
        rows.append(["durable moves a second, our ledger", f"{ours.median:,.0f}", f"{ours.low:,.0f}–{ours.high:,.0f}"])
        rows.append(["the same statements, raw sqlite3", f"{raw.median:,.0f}", f"{raw.low:,.0f}–{raw.high:,.0f}"])
        rows.append(["a bare one-row commit, raw sqlite3", f"{bare.median:,.0f}", f"{bare.low:,.0f}–{bare.high:,.0f}"])
        goals.append(Goal("durable commits a second, ours / raw sqlite3's", 0.5, ratio, at_most=False))
        times = asyncio.run(_to_broker(Path(folder), 20 if quick else 200))
        cuts = sorted(times)
        p50, p99 = cuts[len(cuts) // 2], cuts[min(len(cuts) - 1, int(len(cuts) * 0.99))]
        rows.append(["command to broker call, p50", time_of(p50), f"{len(times)} orders"])
        rows.append(["command to broker call, p99", time_of(p99), f"longest {time_of(cuts[-1])}"])
        past = 200 if quick else PAST
        took, page = asyncio.run(_past(Path(folder), past))
        rows.append([f"recovery with {past:,} past orders", time_of(took), "lease to READY"])
        rows.append([f"the positions page's questions with {past:,} fills", page.time(), "all of them together"])
    return Section("The order path", HOW, Table(["What", "Median", "Spread"], rows), goals)


# Commits


def _commits(folder: Path, moves: int, turns: int) -> tuple[Spread, Spread, Spread]:
    found: dict[str, list[float]] = {"ours": [], "raw": [], "bare": []}
    for turn in range(turns):
        path = folder / f"commits-{turn}.db"
        ledger = Ledger.open(f"sqlite:///{path}", desk="paper", price_source="bench", clock=SystemClock())
        lease = Lease(ledger.database, SystemClock())
        epoch = lease.acquire("bench")
        orders = _new_orders(ledger, epoch, 3 * moves)
        ways: dict[str, Callable[[list[Order]], None]] = {
            "ours": lambda some, e=epoch, of=ledger: _ours(of, e, some),  # type: ignore[misc]
            "raw": lambda some, p=path: _raw(p, some),  # type: ignore[misc]
            "bare": lambda some, p=folder / f"bare-{turn}.db": _bare(p, len(some)),  # type: ignore[misc]
        }
        for at, (name, way) in enumerate(ways.items()):
            some = orders[at * moves : (at + 1) * moves]
            begin = time.perf_counter()
            way(some)
            found[name].append(len(some) / (time.perf_counter() - begin))
        lease.release()
        ledger.close()
    return Spread.of(found["ours"]), Spread.of(found["raw"]), Spread.of(found["bare"])


def _new_orders(ledger: Ledger, epoch: int, count: int) -> list[Order]:
    request = OrderRequest("main", "AAPL", Side.BUY, Decimal(10))
    orders = [Order(f"o{n}", request, Status.NEW, NOW, NOW) for n in range(count)]
    with ledger.write(epoch) as write:
        write.add_account("main", "margin", Decimal(100_000))
        for order in orders:
            write.add_order(order)
    return orders


def _ours(ledger: Ledger, epoch: int, orders: list[Order]) -> None:
    for order in orders:
        with ledger.write(epoch) as write:
            write.move(order, Status.SENDING)


def _raw(path: Path, orders: list[Order]) -> None:
    """What a move runs, by hand: the same file, the same triggers, the same durability."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA synchronous=FULL")
    seq = db.execute("SELECT seq FROM audit_head").fetchone()[0]
    for order in orders:
        seq += 1
        db.execute("BEGIN IMMEDIATE")
        db.execute(
            "SELECT l.*, a.seq, a.hash FROM lease l JOIN audit_head a ON a.name = 'audit' WHERE l.name = 'engine'"
        )
        db.execute(
            "UPDATE orders SET status = ?, updated = ?, broker_id = ?, reasons = ?, version = ? "
            "WHERE id = ? AND version = ? AND status = ?",
            ("SENDING", 1, "", "[]", 2, order.id, 1, "NEW"),
        )
        db.execute(
            "INSERT INTO order_event VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (order.id, 2, "NEW", "SENDING", 1, "[]", "", 1)
        )
        details = f'{{"order":"{order.id}","before":"NEW","after":"SENDING","version":2,"reasons":[],"broker_id":""}}'
        db.execute(
            "INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (seq, 1, "move", "bench", details, 1, "0" * 64, "0" * 64),
        )
        db.execute("COMMIT")
    db.close()


def _bare(path: Path, count: int) -> None:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE IF NOT EXISTS one (id INTEGER PRIMARY KEY, text TEXT)")
    for n in range(count):
        db.execute("BEGIN IMMEDIATE")
        db.execute("INSERT INTO one (text) VALUES (?)", (f"row {n}",))
        db.execute("COMMIT")
    db.close()


# A command on its way


class _Timed:
    """The paper broker, noting when it is called."""

    def __init__(self, broker: Any) -> None:
        self._broker = broker
        self.called: list[float] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    async def place(self, *args: Any, **kwargs: Any) -> str:
        self.called.append(time.perf_counter())
        placed: str = await self._broker.place(*args, **kwargs)
        return placed


async def _to_broker(folder: Path, orders: int) -> list[float]:
    desk = PaperDesk(folder / "path", broker=_Timed)  # type: ignore[arg-type]
    desk.clock = desk.prices.clock = _Running()  # type: ignore[assignment]
    engine = await desk.start()
    for name, value in {"max_orders_per_minute": 60, "max_orders_per_day": 5000, "duplicate_window_s": 1}.items():
        desk.append(Kind.SET_LIMIT, {"name": name, "value": value})
    await engine.turn()
    stop = asyncio.Event()
    running = asyncio.create_task(engine.run(stop))
    inbox = Inbox(desk.place_of.ledger_url, desk.clock)
    times = []
    for n in range(orders):
        times.append(await _one(desk, inbox, n))
        await asyncio.sleep(0.11 + 0.013 * (n % 10))
    stop.set()
    await running
    await desk.stop()
    return times


async def _one(desk: PaperDesk, inbox: Inbox, n: int) -> float:
    called = desk.broker.called  # type: ignore[attr-defined]
    before = len(called)
    request = {"account": "main", "symbol": "AAPL", "side": "buy", "quantity": "1", "type": "limit", "limit": "97.00"}
    begin = time.perf_counter()
    inbox.append(Command(f"bench-{n:06}", Kind.PLACE, "owner", {"request": request}))
    while len(called) == before:
        await asyncio.sleep(0.001)
        if time.perf_counter() - begin > 10:
            answer = inbox.answer(f"bench-{n:06}")
            raise RuntimeError(f"order {n} never reached the broker: {answer.said if answer else 'no answer'}")
    return called[before] - begin


class _Running:
    """The market's morning, running thirty times as fast as real time, so that the pace of orders is no limit."""

    def __init__(self) -> None:
        self._begin = time.monotonic()

    def now(self) -> Any:
        return MORNING + timedelta(seconds=30 * (time.monotonic() - self._begin))


# What has been


async def _past(folder: Path, count: int) -> tuple[float, Spread]:
    """A desk with that many filled orders: how long a start takes, and the positions page's questions."""
    desk = PaperDesk(folder / "past")
    await desk.start()
    await desk.tick()
    assert desk.engine is not None
    _write_past(desk, count)
    await desk.stop()
    begin = time.perf_counter()
    await desk.start()
    took = time.perf_counter() - begin
    reader = Reader(desk.place_of.ledger_url, desk.clock)
    times = []
    for turn in range(22):
        begin = time.perf_counter()
        _ask_like_a_page(reader)
        times.append(time.perf_counter() - begin)
        if turn == 1:
            times.clear()  # the first look folds everything, once in the page's life
    await desk.stop()
    return took, Spread.of(times)


def _write_past(desk: PaperDesk, count: int) -> None:
    assert desk.engine is not None
    tools, at = desk.engine.tools, MORNING - timedelta(days=30)
    for first in range(0, count, 500):
        with tools.write() as write:
            for n in range(first, min(first + 500, count)):
                side = Side.BUY if n % 2 == 0 else Side.SELL
                request = OrderRequest("main", ("AAPL", "KO", "NVDA")[n // 2 % 3], side, Decimal(10))
                order = Order(f"past-{n}", request, Status.NEW, at, at)
                write.add_order(order)
                working = write.move(write.move(order, Status.SENDING), Status.WORKING, broker_id=f"past-{n}")
                price = Decimal(100)
                fill = Fill(f"past-{n}", order.id, "main", request.symbol, side, Decimal(10), price, at)
                write.add_fill(fill)
                write.move(replace(working, version=working.version + 1), Status.FILLED)


def _ask_like_a_page(reader: Reader) -> None:
    reader.accounts()
    reader.account("main")
    reader.open_orders("main")
    reader.protection("main")
    reader.trading_state("main")
    reader.engine()
    reader.breaker("main")
    reader.fills(account="main", most=100)
