"""What the limits allowed, worked out again from the ledger's own rows, past every class of the desk.

The audit is read in the order in which it was written: at each entry that was sent, what was held, what rested and what
had gone out by then is summed up anew, at the prices the market really had.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from domain.limits import Limits
from domain.orders import DONE

ZERO = Decimal(0)
# The desk reviews at the newest quote it has, which may be a silence older than the price of that second.
PRICES_APART = Decimal("1.02")
_MONEY_MOVES = "('limit', 'account', 'order', 'move', 'attempt', 'fill')"
_OVER = {str(status) for status in DONE}
Price = Callable[[str, datetime], Decimal]


@dataclass
class _Account:
    cash: Decimal = ZERO
    held: dict[str, Decimal] = field(default_factory=lambda: defaultdict(Decimal))
    sent: deque[tuple[datetime, str, str, str]] = field(
        default_factory=deque
    )  # time, symbol, side, what they belong to

    def equity(self, price: Price, at: datetime) -> Decimal:
        return self.cash + sum((n * price(symbol, at) for symbol, n in self.held.items() if n), ZERO)


@dataclass
class Bounds:
    """`closest`: how near to each limit anything came, as a share of it."""

    price: Price
    entries: int = 0
    closest: dict[str, float] = field(default_factory=dict)
    _values: dict[str, Any] = field(default_factory=dict)
    _accounts: dict[str, _Account] = field(default_factory=lambda: defaultdict(_Account))
    _orders: dict[str, dict[str, Any]] = field(default_factory=dict)
    _open: dict[str, Decimal] = field(default_factory=dict)

    def broken(self, ledger: Path) -> Iterator[str]:
        """A sentence for each entry that should not have been sent."""
        with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as db:
            self._orders = {row["id"]: row for row in _rows(db, "SELECT * FROM orders")}
            for line in _rows(db, f"SELECT * FROM audit WHERE event IN {_MONEY_MOVES} ORDER BY seq"):
                yield from self._line(line["event"], json.loads(line["details"]), _moment(line["at"]))

    def _line(self, event: str, said: dict[str, Any], at: datetime) -> Iterator[str]:
        if event == "limit":
            self._values[said["name"]] = said["new"]
        elif event == "account":
            self._accounts[said["name"]].cash = Decimal(said["starting_cash"])
        elif event == "move":
            self._moved(self._orders[said["order"]], said["before"] in _OVER, said["after"] in _OVER)
        elif event == "fill":
            self._fill(said)
        elif event == "attempt":
            yield from self._sent(self._orders[said["order_id"]], at)

    def _moved(self, order: dict[str, Any], was_over: bool, is_over: bool) -> None:
        if is_over:
            self._open.pop(order["id"], None)
        elif was_over and order["purpose"] == "entry":  # it arrived after all
            self._open[order["id"]] = Decimal(order["quantity"])

    def _fill(self, said: dict[str, Any]) -> None:
        one, quantity = self._accounts[said["account"]], Decimal(said["quantity"])
        signed = quantity if said["side"] == "buy" else -quantity
        one.cash -= signed * Decimal(said["price"]) + Decimal(said["fee"])
        one.held[said["symbol"]] += signed
        if said["order_id"] in self._open:
            self._open[said["order_id"]] -= quantity

    def _sent(self, order: dict[str, Any], at: datetime) -> Iterator[str]:
        if order["purpose"] not in ("entry", "exit"):
            return
        one = self._accounts[order["account"]]
        if order["purpose"] == "entry":
            self.entries += 1
            self._open[order["id"]] = Decimal(order["quantity"])
            yield from self._pace(one, order, at)
            yield from self._worth(one, order, at)
        one.sent.append((at, order["symbol"], order["side"], order["signal_id"] or order["id"]))

    def _pace(self, one: _Account, order: dict[str, Any], at: datetime) -> Iterator[str]:
        midnight = at.astimezone(ZoneInfo("America/New_York")).replace(hour=0, minute=0, second=0, microsecond=0)
        while one.sent and one.sent[0][0] < midnight:
            one.sent.popleft()
        others = [
            row for row in one.sent if row[3] != order["signal_id"]
        ]  # what its own decision closed is no order more
        limits, minute = self.limits, [row for row in others if at - row[0] < timedelta(minutes=1)]
        yield from self._within(order, "max_orders_per_minute", len(minute) + 1, limits.max_orders_per_minute)
        yield from self._within(order, "max_orders_per_day", len(others) + 1, limits.max_orders_per_day)
        window = timedelta(seconds=limits.duplicate_window_s)
        same = Counter(row[1:3] for row in others if at - row[0] < window)
        if same[order["symbol"], order["side"]]:
            yield f"{order['id']} in {order['symbol']} went out twice within {window}"

    def _worth(self, one: _Account, order: dict[str, Any], at: datetime) -> Iterator[str]:
        limits, equity = self.limits, one.equity(self.price, at)
        worth = Decimal(order["quantity"]) * self.price(order["symbol"], at)
        bought, sold = defaultdict[str, Decimal](Decimal), defaultdict[str, Decimal](Decimal)
        for name, left in self._open.items():
            asked = self._orders[name]
            if asked["account"] == order["account"]:
                (bought if asked["side"] == "buy" else sold)[asked["symbol"]] += left
        names = {symbol for symbol, n in one.held.items() if n} | set(bought) | set(sold)
        reach = {s: max(abs(one.held[s] + bought[s]), abs(one.held[s] - sold[s])) * self.price(s, at) for s in names}
        room = equity * PRICES_APART / 100
        for name, value, most in (
            ("max_position_pct", worth, Decimal(str(limits.max_position_pct)) * room),
            ("max_symbol_pct", reach[order["symbol"]], Decimal(str(limits.max_symbol_pct)) * room),
            ("max_gross_pct", sum(reach.values(), ZERO), Decimal(str(limits.max_gross_pct)) * room),
            ("max_notional", worth, Decimal(str(limits.max_notional)) * PRICES_APART),
        ):
            yield from self._within(order, name, value, most)
        yield from self._within(order, "max_open_positions", len(names), limits.max_open_positions)

    def _within(self, order: dict[str, Any], name: str, value: Decimal | int, most: Decimal | int) -> Iterator[str]:
        self.closest[name] = max(self.closest.get(name, 0.0), float(value / most))
        if value > most:
            yield f"{name}: {order['id']} in {order['symbol']} made it {value:.2f}, at most {most:.2f} is allowed"

    @property
    def limits(self) -> Limits:
        return Limits.from_dict(self._values)


def twice(broker_orders: list[dict[str, Any]], ledger: Path) -> Iterator[str]:
    """Decisions for which more was sent, or more came of it, than they said."""
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as db:
        orders = {row["id"]: row for row in _rows(db, "SELECT * FROM orders")}
        named = {row["client_order_id"]: row["order_id"] for row in _rows(db, "SELECT * FROM attempt")}
        decided = {row["signal_id"]: row for row in _rows(db, "SELECT * FROM bar_decision WHERE signal_id <> ''")}
    arrived = Counter(named.get(one["client_order_id"], "") for one in broker_orders)
    yield from (f"{name} reached the broker {n} times" for name, n in arrived.items() if name and n > 1)
    entries, filled = Counter[str](), defaultdict[tuple[str, str], Decimal](Decimal)
    for name in arrived:
        order = orders.get(name)
        if order is None or not order["signal_id"]:
            continue
        entries[order["signal_id"]] += order["purpose"] == "entry" and order["type"] == "market"
        filled[order["signal_id"], order["purpose"]] += Decimal(order["filled"])
    yield from (f"decision {signal}: {n} entries at the market arrived" for signal, n in entries.items() if n > 1)
    for (signal, purpose), quantity in filled.items():
        one = decided[signal]
        held, wanted = Decimal(one["held"]), Decimal(one["wanted"])
        most = abs(wanted if held * wanted <= 0 else wanted - held) if purpose == "entry" else abs(held)
        if quantity > most:
            yield f"decision {signal} in {one['symbol']}: {quantity} filled to {purpose}, it asked for {most}"


def _rows(db: sqlite3.Connection, query: str) -> list[dict[str, Any]]:
    found = db.execute(query)
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found]


def _moment(micros: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)
