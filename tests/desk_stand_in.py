"""A stand-in for the engine of a desk at E*TRADE: its word, as a test wants it, in a real ledger of that desk."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from desk.inbox import Inbox
from desk.lease import Lease
from desk.ledger import Ledger
from desk.place import Place
from desk.records import Adjustment
from desk.writing import Writing
from domain.clock import Clock, SystemClock
from domain.commands import Answer, Command, CommandState
from domain.orders import Fill, Order, OrderRequest, OrderType, Purpose, Side, Status
from domain.trading_state import TradingState

ACCOUNT, OTHER = "••••9377", "••••1204"
PHRASE = "TRADE REAL MONEY 9377"
STEPS = [
    ("Setting", "TRADING=etrade: orders of this desk go to E*TRADE.", "Set TRADING=etrade in .env and start again."),
    ("Signed in", "until midnight in New York.", "Settings → E*TRADE."),
    ("Account", ACCOUNT, "Pick it by its name."),
    ("Compared", "Cash and shares agree with the ledger.", "See Positions."),
    ("Limits", "Set by a person.", "Settings → Risk: set each of them, to its present value if that is what you want."),
]

MISSING = {"Limits": "Not set on purpose: max_notional, max_orders_per_day."}


def steps(*missing: str) -> list[dict[str, Any]]:
    """Every step, done but for those named."""
    return [
        {
            "name": name,
            "done": name not in missing,
            "said": MISSING.get(name, "") if name in missing else said,
            "cure": cure,
        }
        for name, said, cure in STEPS
    ]


def arming(armed: bool = False, *missing: str, **changed: Any) -> dict[str, Any]:
    """What the engine says of arming."""
    told = {"armed": armed, "account": ACCOUNT, "accounts": [ACCOUNT, OTHER], "phrase": PHRASE, "by": "", "at": ""}
    who = {"by": "owner", "at": "2026-11-20T14:31:05+00:00"} if armed else {}
    return {**told, **who, "steps": steps(*missing), **changed}


def difference(about: str = "AAPL", here: str = "100", there: str = "1000", **changed: Any) -> dict[str, Any]:
    hint = "looks like a 10-for-1 split" if about == "AAPL" else ""
    return {"account": ACCOUNT, "about": about, "here": here, "there": there, "said": "", "hint": hint, **changed}


def uncertain(frozen: bool = False, until: datetime | None = None, **changed: Any) -> dict[str, Any]:
    candidates = [
        {"broker_id": "8143", "said": "buy 10 MSFT, market, 10:29:41, filled"},
        {"broker_id": "8144", "said": "buy 10 MSFT, market, 10:29:43, open"},
    ]
    told = {"order": "o-uncertain", "account": ACCOUNT, "symbol": "MSFT", "side": "buy", "quantity": "10"}
    when = {"since": "2026-11-20T15:29:41+00:00", "until": until.isoformat() if until else "2026-11-20T15:35:11+00:00"}
    return {**told, **when, "purpose": "entry", "frozen": frozen, "candidates": candidates if frozen else [], **changed}


class StandIn:
    """The one writer of the ledger at `place`. It says what `state` and `details` hold, and answers what is asked with
    `refuse`, or that it is done."""

    def __init__(self, place: Place, clock: Clock) -> None:
        self.clock, self.state, self.refuse = clock, "ready", ""
        self.details: dict[str, Any] = {"where": "process", "pid": 4711, "problems": []}
        self.seen: list[Command] = []
        place.live_path.parent.mkdir(parents=True, exist_ok=True)
        self.ledger = Ledger.open(place.ledger_url, desk=place.desk, price_source=place.price_source, clock=clock)
        self.inbox = Inbox(self.ledger.database, clock)
        self._lease = Lease(self.ledger.database, SystemClock())
        self.epoch = self._lease.acquire("engine 4711 on test")
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)
        with self.ledger.write(self.epoch) as write:
            write.add_account(ACCOUNT, "margin", Decimal(25_000))
            write.set_control("global", TradingState.ENABLED, reason="a test", actor="owner")

    def says(self, state: str = "ready", ago: timedelta = timedelta(), **details: Any) -> None:
        """From now on this; what was said before is gone."""
        with self._lock:
            self.state = state
            self.details = {"where": "process", "pid": 4711, "problems": [], **details}
        self.beat(ago)

    def beat(self, ago: timedelta = timedelta()) -> None:
        with self._lock, self.ledger.write(self.epoch) as write:
            now = write.now
            write.now -= ago
            write.beat("engine 4711 on test", self.state, started=now, details=self.details)

    def bought(self, symbol: str, quantity: int, price: str, stop: str = "") -> None:
        """Bought by this desk, with a stop that rests where one is given."""
        with self._lock, self.ledger.write(self.epoch) as write:
            order = self._working(write, f"buy-{symbol}", OrderRequest(ACCOUNT, symbol, Side.BUY, Decimal(quantity)))
            one = Decimal(quantity), Decimal(price)
            write.add_fill(Fill(f"f-{symbol}", order.id, ACCOUNT, symbol, Side.BUY, *one, self.clock.now(), Decimal(0)))
            write.move(write.order(order.id) or order, Status.FILLED)
            if stop:
                asked = {"type": OrderType.STOP, "stop": Decimal(stop), "purpose": Purpose.STOP}
                request = OrderRequest(ACCOUNT, symbol, Side.SELL, Decimal(quantity), **asked)
                self._working(write, f"stop-{symbol}", request)

    def from_outside(self, symbol: str, quantity: int) -> None:
        """Shares that E*TRADE has and no order of this desk brought."""
        with self._lock, self.ledger.write(self.epoch) as write:
            write.adjust(
                Adjustment(f"adj-{symbol}", ACCOUNT, symbol, Decimal(quantity), reason="found", actor="engine")
            )

    def _working(self, write: Writing, id_: str, request: OrderRequest) -> Order:
        new = Order(id_, request, Status.NEW, self.clock.now(), self.clock.now())
        write.add_order(new)
        return write.move(write.move(new, Status.SENDING), Status.WORKING, broker_id=f"b-{id_}")

    def run(self) -> StandIn:
        """Beat and answer until `close`."""
        self._thread.start()
        return self

    def answer(self) -> None:
        """What waits in the inbox."""
        for command in self.inbox.pending():
            self.seen.append(command)
            done = Answer(CommandState.DONE, f"{command.kind} is done.", {"checks": CHECKS})
            answer = Answer(CommandState.REFUSED, self.refuse) if self.refuse else done
            with self._lock, self.ledger.write(self.epoch) as write:
                write.answer_command(command.key, answer)

    def _live(self) -> None:
        turn = 0
        while not self._stop.wait(0.25):
            self.answer()
            turn += 1
            if turn % 4 == 0:
                self.beat()

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(5)
        self._lease.release()
        self.ledger.close()


CHECKS = [
    {"name": "keys", "verdict": "ok", "said": "the key works", "cure": ""},
    {"name": "clock", "verdict": "warn", "said": "40 s apart", "cure": "set this machine's clock by a time server"},
    {"name": "prices", "verdict": "fail", "said": "prices are late", "cure": "sign the market-data agreement"},
]
