"""What the broker's own file says beside the ledger: the invariants of the order path, one sentence a breach.

Both files are read with plain SQL, past every class of the desk, so that a mistake there cannot hide itself here.
The numbers I1 to I11 are those of the list in docs/architecture.md.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from desk.closing import order_id_of
from desk.database import Database
from desk.reader import Reader
from desk.verify import problems
from domain.clock import SystemClock
from domain.limits import Limits
from domain.orders import AT_BROKER, OPEN, UNCERTAIN, Purpose, Side, Status
from domain.trading_state import TradingState

ZERO = Decimal(0)
Key = tuple[str, str]
Row = dict[str, Any]
_AT_BROKER = {str(status) for status in AT_BROKER}
_EXITS = {str(Purpose.STOP), str(Purpose.TARGET)}
ENTRY, STOP = str(Purpose.ENTRY), str(Purpose.STOP)

Plan = tuple[Decimal | None, Decimal | None, Decimal | None]  # stop, target, trail
NO_PLAN: Plan = (None, None, None)


@dataclass(frozen=True, slots=True)
class Broker:
    """The paper broker's file."""

    orders: list[Row]
    fills: list[Row]
    cash: dict[str, Decimal]
    opened_with: dict[str, Decimal]
    positions: dict[Key, Decimal]

    @classmethod
    def read(cls, path: Path) -> Broker:
        with closing(_open(path)) as db:
            orders = _rows(db, "SELECT * FROM orders ORDER BY seq")
            accounts = _rows(db, "SELECT * FROM account")
            fills = _rows(db, "SELECT * FROM fill ORDER BY seq")
            held = _rows(db, "SELECT * FROM position")
        for order in orders:
            order["request"] = defaultdict(lambda: None, json.loads(order["request"]))
            for name in ("remaining", "filled", "worst_price"):
                order[name] = Decimal(order[name])
        return cls(
            orders,
            fills,
            {row["name"]: Decimal(row["cash"]) for row in accounts},
            {row["name"]: Decimal(row["opened_with"]) for row in accounts},
            {(row["account"], row["symbol"]): quantity for row in held if (quantity := Decimal(row["quantity"]))},
        )

    def open(self, key: Key) -> list[Row]:
        return [o for o in self.orders if o["status"] in _AT_BROKER and (o["account"], o["symbol"]) == key]


@dataclass(frozen=True, slots=True)
class Book:
    """The ledger's file."""

    orders: dict[str, Row]
    attempts: dict[str, Row]
    fills: list[Row]
    audit: list[Row]
    commands: list[Row]
    plans: dict[Key, Plan]
    levels: dict[Key, Decimal | None]

    @classmethod
    def read(cls, path: Path) -> Book:
        with closing(_open(path)) as db:
            db.execute("BEGIN")
            orders = {row["id"]: row for row in _rows(db, "SELECT * FROM orders")}
            attempts = {row["client_order_id"]: row for row in _rows(db, "SELECT * FROM attempt")}
            fills = _rows(db, "SELECT * FROM fill ORDER BY seq")
            events = "('control', 'limit', 'order', 'attempt', 'fill', 'protection')"
            audit = _rows(db, f"SELECT seq, event, actor, details FROM audit WHERE event IN {events} ORDER BY seq")
            commands = _rows(db, "SELECT key, kind, state, said FROM command ORDER BY seq")
            plans = _rows(db, "SELECT account, symbol, stop, target, trail FROM protection ORDER BY seq")
            trails = _rows(db, "SELECT account, symbol, level FROM trail_level")
        for line in audit:
            line["details"] = json.loads(line["details"])
        said = {(row["account"], row["symbol"]): _plan(row) for row in plans}
        levels = {(row["account"], row["symbol"]): _amount(row["level"]) for row in trails}
        return cls(orders, attempts, fills, audit, commands, said, levels)


# Always


def always(broker: Broker, book: Book) -> Iterator[str]:
    """What holds at every moment between two turns, and in every moment of death."""
    yield from _one_for_one(broker, book)
    yield from _never_oversold(broker)
    yield from _stopped_means_stopped(book)
    yield from _within_limits(broker, book)
    yield from _plans(book)


def _one_for_one(broker: Broker, book: Book) -> Iterator[str]:
    """I1, I2: an order at the broker is one sending of one order, and was written down before it left."""
    by_order: Counter[str] = Counter()
    for order in broker.orders:
        attempt = book.attempts.get(order["client_order_id"])
        if attempt is None:
            yield f"I2: {order['broker_id']} at the broker is of no sending in the ledger"
            continue
        by_order[attempt["order_id"]] += 1
        ours, asked = book.orders[attempt["order_id"]], order["request"]
        for name in ("account", "symbol", "side", "purpose", "type"):
            if ours[name] != asked[name]:
                yield f"I2: {order['broker_id']} has another {name} than {ours['id']}: {asked[name]}, {ours[name]}"
        if Decimal(ours["quantity"]) != Decimal(asked["quantity"]):
            yield f"I2: {order['broker_id']} is for {asked['quantity']}, {ours['id']} for {ours['quantity']}"
    yield from (f"I1: {order} stands {n} times at the broker" for order, n in by_order.items() if n > 1)
    by_command = {order_id_of(row["key"]): row["key"] for row in book.commands if row["kind"] == "place"}
    entries = Counter(by_command.get(a["order_id"], "") for a in book.attempts.values())
    yield from (f"I1: command {key} was sent {n} times" for key, n in entries.items() if key and n > 1)


def _never_oversold(broker: Broker) -> Iterator[str]:
    """I6: what rests to sell, a pair counted once, is never more than is held; the same for buying back."""
    for key in {(o["account"], o["symbol"]) for o in broker.orders}:
        held, groups = broker.positions.get(key, ZERO), dict[str, Decimal]()
        for order in broker.open(key):
            asked = order["request"]
            if asked["purpose"] == ENTRY and asked["side"] == "buy":
                continue
            if asked["side"] == "buy" and held > 0:
                yield f"I6: {order['broker_id']} would buy {key} that is held long"
            group = order["family"] or order["broker_id"]
            groups[group] = max(groups.get(group, ZERO), order["remaining"])
        if (total := sum(groups.values(), ZERO)) > abs(held):
            yield f"I6: {total} {key[1]} rest to be closed in {key[0]}, {held} are held"


def _stopped_means_stopped(book: Book) -> Iterator[str]:
    """I7: after a stop is committed no entry leaves, after HALT nothing does."""
    state = str(TradingState.ENABLED)
    for line in book.audit:
        details = line["details"]
        if line["event"] == "control" and details["scope"] == "global":
            state = details["state"]
        elif line["event"] == "attempt":
            purpose = book.orders[details["order_id"]]["purpose"]
            if state == TradingState.DISABLED or (state == TradingState.REDUCE_ONLY and purpose == ENTRY):
                yield f"I7: {purpose} {details['order_id']} was sent while trading was {state}"


def _within_limits(broker: Broker, book: Book) -> Iterator[str]:
    """I8: nothing bought at the broker is larger than was allowed when it was written down."""
    arrived = {book.attempts[o["client_order_id"]]["order_id"]: o for o in broker.orders if _known(book, o)}
    values: dict[str, Any] = {}
    for line in book.audit:
        details = line["details"]
        if line["event"] == "limit":
            values[details["name"]] = details["new"]
        elif line["event"] == "order" and details["order"] in arrived and details["purpose"] == ENTRY:
            limits, order = Limits.from_dict(values), arrived[details["order"]]
            quantity = Decimal(order["request"]["quantity"])
            price = Decimal(order["request"]["limit"] or order["request"]["stop"] or order["worst_price"])
            if order["request"]["side"] == Side.SELL:
                continue
            if quantity > limits.max_quantity or quantity * price > Decimal(limits.max_notional) * Decimal("1.02"):
                yield f"I8: {order['broker_id']} is {quantity} at {price}: {limits.max_quantity}, {limits.max_notional}"


def _known(book: Book, order: Row) -> bool:
    return order["client_order_id"] in book.attempts


def _plans(book: Book) -> Iterator[str]:
    """I5, first half: the plan of a position is what its entries asked for, unless a person said otherwise since. An
    entry that turns it begins anew; one that has only made it smaller so far changes nothing."""
    held: dict[Key, Decimal] = defaultdict(Decimal)
    wanted: dict[Key, Plan] = {}
    for line in book.audit:
        details = line["details"]
        key = (str(details.get("account")), str(details.get("symbol")))
        if line["event"] == "protection" and line["actor"] != "engine":
            wanted[key] = _plan(details)
        elif line["event"] == "fill":
            order = book.orders.get(details["order_id"] or "")
            moved = Side(details["side"]).sign * Decimal(details["quantity"])
            shrinks = held[key] * moved < 0 and abs(moved) <= abs(held[key])
            if order is not None and order["purpose"] == ENTRY and not shrinks:
                asked = _amount(order["stop_loss"]), _amount(order["target"]), _amount(order["stop_trail"])
                before = wanted.get(key, NO_PLAN) if held[key] * moved > 0 else NO_PLAN
                wanted[key] = (asked[0] or before[0], asked[1] or before[1], asked[2] or before[2])
            held[key] += moved
    for key, quantity in held.items():
        if quantity and wanted.get(key, NO_PLAN) != book.plans.get(key, NO_PLAN):
            yield f"I5: the plan of {key} is {book.plans.get(key)}, asked for was {wanted.get(key)}"


# Once all is quiet


def settled(broker: Broker, book: Book, quotes: Mapping[str, tuple[Decimal, Decimal]]) -> Iterator[str]:
    """What holds once the faults are over and the engine has turned a few times. `quotes`: bid and ask by symbol."""
    yield from _nothing_left_open(broker, book)
    yield from _same_money(broker, book)
    if _state(book) != TradingState.DISABLED:
        yield from _protected(broker, book, quotes)
    yield from (f"I3: command {c['key']} ({c['kind']}) waits" for c in book.commands if c["state"] == "queued")


def _nothing_left_open(broker: Broker, book: Book) -> Iterator[str]:
    """I2, I3: each order of the ledger is where the broker has it, and none is under way."""
    by_id = {(o["account"], o["broker_id"]): o for o in broker.orders}
    for order in book.orders.values():
        status = Status(order["status"])
        if status in {Status.NEW, Status.CANCELLING} | UNCERTAIN:
            yield f"I3: {order['purpose']} {order['id']} is still {status}"
        there = by_id.pop((order["account"], order["broker_id"]), None)
        if there is None:
            if status in OPEN or Decimal(order["filled"]):
                yield f"I2: {order['id']} is {status} and not at the broker"
        elif (status in AT_BROKER) != (there["status"] in _AT_BROKER):
            yield f"I2: {order['purpose']} {order['id']} is {status}, at the broker {there['status']}"
        elif Decimal(order["filled"]) != there["filled"]:
            yield f"I2: {order['id']} has {order['filled']} filled, at the broker {there['filled']}"
    yield from (f"I2: {id_} ({o['status']}) at the broker is no order's" for (_, id_), o in by_id.items())


def _same_money(broker: Broker, book: Book) -> Iterator[str]:
    """I4: cash to the cent and positions to the share, and both the sum of the fills."""
    for name, fills in (("the ledger", book.fills), ("the broker", broker.fills)):
        cash, held = dict(broker.opened_with), defaultdict[Key, Decimal](Decimal)
        for fill in fills:
            sign, quantity = Side(fill["side"]).sign, Decimal(fill["quantity"])
            cash[fill["account"]] -= sign * quantity * Decimal(fill["price"]) + Decimal(fill["fee"])
            held[fill["account"], fill["symbol"]] += sign * quantity
        if cash != broker.cash:
            yield f"I4: the fills of {name} make {cash}, the broker has {broker.cash}"
        if (found := {key: n for key, n in held.items() if n}) != broker.positions:
            yield f"I4: the fills of {name} make {found}, the broker has {broker.positions}"


def _protected(broker: Broker, book: Book, quotes: Mapping[str, tuple[Decimal, Decimal]]) -> Iterator[str]:
    """I5, second half: what is held and not about to be closed rests under its stop, to the share."""
    for key, held in broker.positions.items():
        stop, target, trail = book.plans.get(key, NO_PLAN)
        fixed, stop = stop, _nearest(held, stop, book.levels.get(key) if trail else None)
        resting = broker.open(key)
        closing_ = [o for o in resting if o["request"]["purpose"] not in _EXITS and _closes(o, held)]
        cover = abs(held) - sum((o["remaining"] for o in closing_), ZERO)
        stops = sum((o["remaining"] for o in resting if o["request"]["purpose"] == STOP), ZERO)
        if stop is None and trail is None and stops:
            yield f"I5: {stops} {key} rest under a stop nobody asked for"
        meant = stop is not None or trail is not None
        if meant and stops != cover and not (stop is not None and _beyond(stop, held, quotes.get(key[1]))):
            yield f"I5: {held} {key} are held, {stops} rest under their stop {stop}"
        rests = [o for o in resting if o["request"]["purpose"] == STOP]
        wrong = [o for o in rests if not _as_planned(o["request"], held, fixed, stop, trail)]
        yield from (f"I5: {o['broker_id']} rests at {o['request']['stop']}, the plan says {stop}" for o in wrong)
        targets = sum((o["remaining"] for o in resting if o["request"]["purpose"] not in (ENTRY, STOP, "exit")), ZERO)
        if targets > (cover if target is not None else ZERO):
            yield f"I5: {targets} {key} rest under a target, {cover} are to be covered"
    for order in broker.orders:
        if order["status"] in _AT_BROKER and order["request"]["purpose"] in _EXITS:
            key = (order["account"], order["symbol"])
            if key not in broker.positions:
                yield f"I5: {order['broker_id']} protects {key} that is not held"


def _as_planned(
    asked: Row, held: Decimal, fixed: Decimal | None, nearest: Decimal | None, trail: Decimal | None
) -> bool:
    """Plain at the plan's price; with a trail, trailing by it, or plain where it has come to or nearer to the price."""
    if (distance := _amount(asked["trail"])) is not None:
        return distance == trail
    stop = _amount(asked["stop"])
    if trail is None or stop is None or nearest is None:
        return stop == fixed
    return stop >= nearest if held > 0 else stop <= nearest


def _nearest(held: Decimal, *stops: Decimal | None) -> Decimal | None:
    known = [stop for stop in stops if stop is not None]
    return None if not known else max(known) if held > 0 else min(known)


def _plan(row: Mapping[str, Any]) -> Plan:
    return _amount(row["stop"]), _amount(row["target"]), _amount(row.get("trail"))


def _closes(order: Row, held: Decimal) -> bool:
    return Side(order["request"]["side"]).sign * held < 0


def _beyond(stop: Decimal, held: Decimal, quote: tuple[Decimal, Decimal] | None) -> bool:
    """No stop can rest on the wrong side of the price: it is sold at market, once the market opens."""
    if quote is None:
        return False
    bid, ask = quote
    return stop >= bid if held > 0 else stop <= ask


def _state(book: Book) -> str:
    found = [line["details"]["state"] for line in book.audit if line["event"] == "control"]
    return found[-1] if found else str(TradingState.DISABLED)


# The ledger against itself


def sound(url: str, accounts: Mapping[str, tuple[Decimal, Mapping[str, Decimal]]] | None = None) -> Iterator[str]:
    """I9 and I11: no contradiction in the ledger; `accounts` is what a long-lived reader makes of it, by name, and
    must be what a new one makes of it."""
    database = Database(url, read_only=True)
    with database.read() as db:
        yield from (f"I9: {said}" for said in problems(db))
    reader = Reader(url, SystemClock())
    for name, told in (accounts or {}).items():
        folded = reader.account(name)
        fresh = folded and (folded.cash, {s: p.quantity for s, p in folded.positions.items() if p.quantity})
        if fresh != told:
            yield f"I11: {name} was told as {told}, folded anew it is {fresh}"


def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5.0, isolation_level=None)
    db.row_factory = sqlite3.Row
    return db


def _rows(db: sqlite3.Connection, statement: str) -> list[Row]:
    return [dict(row) for row in db.execute(statement)]


def _amount(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)
