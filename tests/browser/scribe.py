"""A stand-in for the engine: it writes a ledger as a test wants it, beats each second, and answers what is asked."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from desk.inbox import Inbox
from desk.lease import Lease
from desk.ledger import Ledger
from desk.live_book import LiveBook
from desk.reader import Reader
from desk.records import Protection
from desk.writing import Writing
from domain.clock import ShiftedClock, SystemClock
from domain.commands import Answer, Command, CommandState, Kind
from domain.orders import Fill, Order, OrderRequest, OrderType, Purpose, Side, Status
from domain.quotes import Quote
from domain.trading_state import KillLevel, TradingState

CASH = Decimal(100_000)
NAME = "paper-simulated"


class Scribe:
    """The one writer of the ledger in `data`, on the clock of the dashboard at `url`."""

    def __init__(self, url: str, data: Path) -> None:
        self._url = url
        told = self.ask("/live/desk")["state"]["now_ms"] / 1000
        self.clock = ShiftedClock(SystemClock(), timedelta(seconds=told - SystemClock().now().timestamp()))
        address = f"sqlite:///{data / f'ledger-{NAME}.db'}"
        self.ledger = Ledger.open(address, desk="paper-simulated", price_source="simulated", clock=self.clock)
        self.reader, self.inbox = Reader(address, self.clock), Inbox(address, self.clock)
        self.book = LiveBook(data / f"live-{NAME}.db")
        self._lease = Lease(self.ledger.database, SystemClock())
        self.epoch = self._lease.acquire("dashboard 1 on test")
        self.seen: list[Command] = []
        self._stop, self._lock, self.refuse = threading.Event(), threading.Lock(), ""
        self.write(lambda w: w.add_account("main", "margin", CASH))
        self.beat()
        self._thread = threading.Thread(target=self._live, daemon=True)

    def run(self) -> Scribe:
        """Beat and answer until `stop`."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5)

    def close(self) -> None:
        self.stop()
        self._lease.release()
        self.ledger.close()

    def ask(self, path: str) -> Any:
        with urllib.request.urlopen(self._url + path, timeout=10) as reply:
            return json.load(reply)

    def write(self, what: Callable[[Writing], object]) -> None:
        with self._lock, self.ledger.write(self.epoch) as write:
            what(write)

    def beat(self, **details: Any) -> None:
        told = {"where": "process", "pid": 4711, "problems": [], "flatten_estimate": "about 4 s", **details}
        now = self.clock.now()
        self.write(lambda w: w.beat("engine 4711 on test", "ready", started=now, details=told))

    def price(self, symbol: str) -> Decimal:
        """The newest price of the dashboard, put into the book too."""
        last = None
        while last is None:
            last = self.ask(f"/live/quotes?symbols={symbol}")["chips"][0]["last"]
        price = Decimal(last.replace(",", ""))
        self.book.write([Quote(symbol, self.clock.now(), price, "simulated")])
        return price

    def order(
        self, id_: str, symbol: str, side: Side, quantity: int, fill: Decimal | None = None, **asked: Any
    ) -> None:
        """An order at the broker; filled at once where a price is given."""
        asked = {"type": OrderType.MARKET, **asked}
        request = OrderRequest("main", symbol, side, Decimal(quantity), **asked)
        now = self.clock.now()

        def go(write: Writing) -> None:
            write.add_order(new := Order(id_, request, Status.NEW, now, now))
            working = write.move(write.move(new, Status.SENDING), Status.WORKING, broker_id=f"b-{id_}")
            if fill is not None:
                write.add_fill(
                    Fill(f"f-{id_}", id_, "main", symbol, side, request.quantity, fill, now, Decimal("0.35"))
                )
                write.move(write.order(id_) or working, Status.FILLED)

        self.write(go)

    def position(self, symbol: str, quantity: int, price: Decimal, stop: Decimal, target: Decimal) -> None:
        """Bought, with stop and target planned and resting."""
        self.order(f"buy-{symbol}", symbol, Side.BUY, quantity, price)
        self.order(f"stop-{symbol}", symbol, Side.SELL, quantity, type=OrderType.STOP, stop=stop, purpose=Purpose.STOP)
        self.order(
            f"target-{symbol}", symbol, Side.SELL, quantity, type=OrderType.LIMIT, limit=target, purpose=Purpose.TARGET
        )
        self.write(lambda w: w.set_protection("main", symbol, stop=stop, target=target, actor="owner"))

    def _live(self) -> None:
        turn = 0
        while not self._stop.wait(0.25):
            turn += 1
            for command in self.inbox.pending():
                self.seen.append(command)
                self.write(lambda w, c=command: self._answer(w, c))  # type: ignore[misc]
            if turn % 4 == 0:
                self.beat()
                for symbol in self.reader.positions("main"):
                    self.price(symbol)

    def _answer(self, write: Writing, command: Command) -> None:
        if self.refuse:
            write.answer_command(command.key, Answer(CommandState.REFUSED, self.refuse))
            return
        payload = command.payload
        if command.kind is Kind.PROTECT:
            plan = self.reader.protection("main").get(payload["symbol"], Protection(payload["symbol"]))
            stop, target = payload.get("stop", plan.stop), payload.get("target", plan.target)
            as_amount = [None if one is None else Decimal(one) for one in (stop, target)]
            write.set_protection("main", payload["symbol"], stop=as_amount[0], target=as_amount[1], actor=command.actor)
        if command.kind is Kind.KILL:
            level = KillLevel(payload["level"])
            write.set_control("global", level.trading_state, reason=payload["reason"], actor=command.actor, level=level)
        if command.kind is Kind.RE_ARM:
            write.set_control("global", TradingState.ENABLED, reason=payload["reason"], actor=command.actor)
        write.answer_command(command.key, Answer(CommandState.DONE, f"{command.kind} is done."))
