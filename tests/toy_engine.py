"""A toy engine for the pages' tests: it answers what is asked, takes what is placed, and knows no market."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import bootstrap
import performance_utils
from desk.inbox import Inbox
from desk.lease import Lease
from desk.ledger import Ledger
from desk.records import Decision
from desk.writing import Writing
from domain.clock import Clock
from domain.commands import Answer, Command, CommandState, Kind
from domain.gates import GATES
from domain.orders import Fill, Order, OrderRequest, OrderType, Purpose, Side, Status

PRICE = Decimal("229.40")


def verdicts(refused: dict[str, str] | None = None, warned: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """Every gate's word: all pass but those named."""
    refused, warned = refused or {}, warned or {}
    found = []
    for gate in GATES:
        said = refused.get(gate.name) or warned.get(gate.name)
        outcome = "refused" if gate.name in refused else "warning" if gate.name in warned else "passed"
        words = {"said": said or gate.passes, "reasons": [said] if said else [], "inputs": {}}
        found.append({"gate": gate.name, "outcome": outcome, **words})
    return found


class ToyEngine:
    """Holds the ledger of this machine's simulated paper desk. `refuses` and `warns` are what the gates say next."""

    def __init__(self, data: Path, clock: Clock) -> None:
        data.mkdir(parents=True, exist_ok=True)
        url = f"sqlite:///{data / 'ledger-paper-simulated.db'}"
        self.clock = clock
        self.ledger = Ledger.open(url, desk="paper-simulated", price_source="simulated", clock=clock)
        self.epoch = Lease(self.ledger.database, clock).acquire("toy engine")
        self.inbox = Inbox(self.ledger.database, clock)
        self.refuses: dict[str, str] = {}
        self.warns: dict[str, str] = {}
        self.holds_for = timedelta(seconds=60)
        self.count = 0
        with self.ledger.write(self.epoch) as write:
            write.add_account("main", "margin", Decimal(100_000))
        self.beat(-timedelta(hours=1))  # it lives for the whole test, however slow the machine is

    def beat(self, ago: timedelta = timedelta()) -> None:
        """The engine was last heard so long ago."""
        with self.ledger.write(self.epoch) as write:
            write.now -= ago
            write.beat("toy engine", "ready", started=write.now, details={"problems": [], "unprotected": []})

    def work(self) -> list[Command]:
        """Answer whatever waits."""
        asked = self.inbox.pending()
        for command in asked:
            with self.ledger.write(self.epoch) as write:
                write.answer_command(command.key, self._answer(write, command))
        return asked

    def _answer(self, write: Writing, command: Command) -> Answer:
        does: dict[Kind, Callable[[Writing, Command], Answer]] = {
            Kind.PREVIEW: self._preview,
            Kind.PLACE: self._place,
            Kind.SET_LIMIT: self._limit,
        }
        if command.kind in does:
            return does[command.kind](write, command)
        return Answer(CommandState.DONE, f"{command.kind}: done.")

    def _preview(self, write: Writing, command: Command) -> Answer:
        asked = command.payload
        quantity = asked.get("quantity") or str(int(Decimal(asked.get("dollars", "9405")) / PRICE))
        request = {
            **{name: asked.get(name) for name in ("account", "symbol", "side", "type", "limit", "stop", "trail")},
            "quantity": quantity,
            "time_in_force": asked["time_in_force"],
            "session": asked["session"],
            "purpose": "entry",
            "stop_loss": "221.75",
            "target": "244.70",
        }
        told = verdicts(self.refuses, self.warns)
        approved = not self.refuses
        write.add_decision(Decision(approved, told, request=request, command_key=command.key))
        cost = Decimal(quantity) * PRICE
        details = {
            "request": request,
            "approved": approved,
            "token": f"token-{command.key}",
            "expires": (self.clock.now() + self.holds_for).isoformat(),
            "verdicts": told,
            "estimate": {
                "price": str(PRICE),
                "cost": str(cost + 1),
                "fees": "1.00",
                "buying_power": "100000.00",
                "buying_power_after": str(100_000 - cost),
            },
            "notional": str(cost),
            "loss_at_stop": str(Decimal(quantity) * Decimal("7.65")),
            "gain_at_target": str(Decimal(quantity) * Decimal("15.30")),
            "sizing": "as asked",
            "atr": "5.10",
            "atr_note": "ATR 5.10: 14 daily bars.",
            "quote": {"bid": "229.39", "ask": "229.41", "last": "229.40", "age_s": 0.4},
            "broker_said": [],
        }
        return Answer(CommandState.DONE, "Previewed.", details)

    def _place(self, write: Writing, command: Command) -> Answer:
        asked = command.payload["request"]
        order = self.order(write, asked["symbol"], Decimal(asked["quantity"]), side=Side(asked["side"]))
        return Answer(CommandState.DONE, "Placed.", {"order": order.id})

    def _limit(self, write: Writing, command: Command) -> Answer:
        write.set_limit(command.payload["name"], command.payload["value"], actor=command.actor)
        return Answer(CommandState.DONE, f"{command.payload['name']} is set.", command.payload)

    def order(
        self,
        write: Writing,
        symbol: str,
        quantity: Decimal,
        *,
        side: Side = Side.BUY,
        fills: str = "",
        price: Decimal = PRICE,
        fill_at: datetime | None = None,
        **request: Any,
    ) -> Order:
        """An order at the broker, filled as far as `fills` says."""
        self.count += 1
        asked = OrderRequest("main", symbol, side, quantity, **{"reason": "by hand", **request})
        new = Order(f"order-{self.count}", asked, Status.NEW, write.now, write.now)
        write.add_order(new)
        order = write.move(write.move(new, Status.SENDING), Status.WORKING, broker_id=f"b-{self.count}")
        if not fills:
            return order
        done = Decimal(fills)
        of = {"order_id": order.id, "account": "main", "symbol": symbol, "side": side, "fee": Decimal("1.00")}
        write.add_fill(Fill(id=f"fill-{self.count}", quantity=done, price=price, time=fill_at or write.now, **of))
        filled = write.order(order.id)
        assert filled is not None
        return write.move(filled, Status.FILLED if done == quantity else Status.PARTIAL)

    def holds(self, symbol: str = "AAPL", quantity: str = "41", stop: str = "") -> None:
        """A position, bought just now, and a stop under it where one is named."""
        with self.ledger.write(self.epoch) as write:
            self.order(write, symbol, Decimal(quantity), fills=quantity)
            if stop:
                resting = {"type": OrderType.STOP, "stop": Decimal(stop), "purpose": Purpose.STOP}
                self.order(write, symbol, Decimal(quantity), side=Side.SELL, **resting)
                write.set_protection("main", symbol, stop=Decimal(stop), target=None)


def of_this_machine(data: Path) -> ToyEngine:
    """One whose clock is the pages' own."""
    return ToyEngine(data, bootstrap.trading().clock)


@contextmanager
def open_market(data: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ToyEngine]:
    """A machine whose simulated market is open and shows AAPL, and whose engine answers when told to."""
    monkeypatch.setenv("DATA_DIR", str(data))
    monkeypatch.setenv("SIMULATED_START", "2026-11-20T10:30")
    monkeypatch.chdir(Path(__file__).parents[1])
    bootstrap.people.cache_clear()
    bootstrap._trading.cache_clear()
    monkeypatch.setattr(bootstrap, "_started", None)
    bootstrap.people().prefer("symbol", "AAPL")
    yield of_this_machine(data)
    bootstrap.people.cache_clear()
    bootstrap._trading.cache_clear()
    performance_utils.use_desk(None)
