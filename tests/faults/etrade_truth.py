"""What the broker truly did beside what the ledger says of it, where the broker never tells our name for an order.

Every breach of the invariants of the order path is a sentence. The numbers I1 to I11 are those of the list in
docs/architecture.md.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from desk.closing import order_id_of
from domain.limits import Limits
from domain.orders import AT_BROKER, OPEN, UNCERTAIN, Purpose, Side, Status
from domain.positions import _within
from domain.trading_state import TradingState
from tests.faults.etrade_memory import AtBroker, Book, Hands, Matched, Venue, looks_of
from tests.faults.truth import ENTRY, STOP, ZERO, _amount, _beyond, _state, _stopped_means_stopped

CENT, CENTS_A_FILL = Decimal("0.01"), Decimal("0.05")  # E*TRADE tells averages and estimated fees: they are rounded
Quotes = Mapping[str, tuple[Decimal, Decimal]]


# What must hold once the faults are over and the desk has settled


def settled(venue: Venue, book: Book, hands: Hands, quotes: Quotes, *, lagged: bool = False) -> Iterator[str]:
    """Every breach. `quotes`: bid and ask by symbol; `lagged`: the orders list was behind in this run."""
    matched = Matched(venue, book, hands, lagged)
    yield from matched.wrong
    yield from _one_for_one(venue, book, matched)
    yield from _never_given_up(venue, book, matched)
    yield from _nothing_left_open(venue, book, matched)
    yield from _same_money(venue, book)
    yield from _counted_as_ours(book, matched)
    yield from _never_oversold(venue)
    yield from _stopped_means_stopped(book)
    yield from _armed(book)
    yield from _within_limits(venue, book)
    yield from _plans(book)
    if _state(book) != TradingState.DISABLED:
        yield from _protected(venue, book, matched, quotes)


def _one_for_one(venue: Venue, book: Book, matched: Matched) -> Iterator[str]:
    """I1, I2: what stands at the broker is one sending of one order, written down before it left, or was by hand."""
    by_attempt, filled = Counter[str](), Counter[str]()
    for there in venue.orders.values():
        if there.by_hand:
            continue
        attempt = book.attempts.get(there.client_id)
        if attempt is None:
            yield f"I2: {there.number} at the broker is of no sending in the ledger"
            continue
        ours = book.orders[attempt["order_id"]]
        by_attempt[there.client_id] += 1
        filled[ours["id"]] += bool(there.filled)
        if there.looks != looks_of(ours):
            yield f"I2: {there.number} is {there.looks}, {ours['id']} asked for {looks_of(ours)}"
        if there.number not in matched.order_of and ours["id"] not in matched.swapped:
            yield f"I2: {ours['purpose']} {ours['id']} ({ours['status']}) does not know that it is {there.number}"
    yield from (f"I1: sending {name} stands {n} times at the broker" for name, n in by_attempt.items() if n > 1)
    entries = {id_ for id_, order in book.orders.items() if order["purpose"] == ENTRY}
    yield from (f"I1: entry {id_} was filled {n} times over" for id_, n in filled.items() if n > 1 and id_ in entries)
    yield from (
        f"I1: entry {id_} was sent {len(matched.sent[id_])} times" for id_ in entries if len(matched.sent[id_]) > 1
    )
    placed = Counter(order_id_of(row["key"]) for row in book.commands if row["kind"] == "place")
    yield from (f"I1: {n} commands made order {id_}" for id_, n in placed.items() if n > 1)


def _never_given_up(venue: Venue, book: Book, matched: Matched) -> Iterator[str]:
    """I2: what was called not placed, or refused, does not stand at the broker: neither then nor ever after."""
    numbers = {there.client_id: there.number for there in venue.orders.values() if not there.by_hand}
    for line in book.audit:
        details = line["details"]
        if line["event"] != "move" or details["after"] not in (Status.NOT_PLACED, Status.REFUSED):
            continue
        for attempt in matched.sent[details["order"]]:
            number = numbers.get(attempt["client_order_id"])
            if number and not matched.stands(number):
                said = " ".join(details["reasons"])[:80]
                yield f"I2: {details['order']} was called {details['after']} ({said}), the broker has it as {number}"


def _nothing_left_open(venue: Venue, book: Book, matched: Matched) -> Iterator[str]:
    """I2, I3: each order of the ledger is where the broker has it, and none is under way."""
    for order in book.orders.values():
        status, there = Status(order["status"]), venue.orders.get(order["broker_id"])
        if status in {Status.NEW, Status.CANCELLING} | UNCERTAIN:
            yield f"I3: {order['purpose']} {order['id']} is still {status}"
        if there is None:
            if status in OPEN - UNCERTAIN - {Status.NEW} or Decimal(order["filled"]):
                yield f"I2: {order['id']} is {status} and not at the broker"
        elif (status in AT_BROKER) != there.live:
            yield f"I2: {order['purpose']} {order['id']} is {status}, at the broker {there.status}"
        elif Decimal(order["filled"]) != there.filled:
            yield f"I2: {order['id']} has {order['filled']} filled, at the broker {there.filled}"
    yield from (f"I3: command {c['key']} ({c['kind']}) waits" for c in book.commands if c["state"] == "queued")


def _same_money(venue: Venue, book: Book) -> Iterator[str]:
    """I4: cash to the cent and positions to the share; and no figure was taken over to make it so."""
    cash, held = book.starting_cash, defaultdict[str, Decimal](Decimal)
    for fill in book.fills:
        sign, quantity = Side(fill["side"]).sign, Decimal(fill["quantity"])
        cash -= sign * quantity * Decimal(fill["price"]) + Decimal(fill["fee"])
        held[fill["symbol"]] += sign * quantity
    for one in book.adjustments:
        cash += Decimal(one["cash"])
        held[one["symbol"]] += Decimal(one["quantity"])
        if Decimal(one["quantity"]) or abs(Decimal(one["cash"])) > CENTS_A_FILL * len(book.fills):
            yield f"I4: the broker's figure was taken over: {one['symbol']} {one['quantity']}, {one['cash']}"
    if abs(cash - venue.cash) >= CENT:
        yield f"I4: the ledger makes {cash:.4f} in cash, the broker has {venue.cash:.4f}"
    if (found := {symbol: n for symbol, n in held.items() if symbol and n}) != venue.held:
        yield f"I4: the ledger makes {found}, the broker has {venue.held}"


def _counted_as_ours(book: Book, matched: Matched) -> Iterator[str]:
    """I5: what an order of ours filled counts as ours: nobody would protect it otherwise."""
    for fill in book.fills:
        number = str(fill["id"]).split(":")[1] if not fill["order_id"] else ""
        if order := matched.order_of.get(number):
            yield f"I5: the fill {fill['id']} is counted as somebody else's, and {number} as {order}"


def _never_oversold(venue: Venue) -> Iterator[str]:
    """I6: what rests to sell is never more than is held."""
    selling: dict[str, Decimal] = defaultdict(Decimal)
    for there in venue.orders.values():
        if there.side is Side.SELL:
            selling[there.symbol] += there.remaining
    for symbol, total in selling.items():
        if total > venue.held.get(symbol, ZERO):
            yield f"I6: {total} {symbol} rest to be sold, {venue.held.get(symbol, ZERO)} are held"
    yield from (f"I6: {n} {symbol} are held" for symbol, n in venue.held.items() if n < 0)


def _armed(book: Book) -> Iterator[str]:
    """I7, second half: no entry leaves while no account is armed."""
    armed = False
    for line in book.audit:
        if line["event"] == "arming":
            armed = bool(line["details"]["armed"])
        elif line["event"] == "attempt" and not armed:
            order = book.orders[line["details"]["order_id"]]
            if order["purpose"] == ENTRY:
                yield f"I7: {order['id']} was sent while nothing was armed"


def _within_limits(venue: Venue, book: Book) -> Iterator[str]:
    """I8: nothing bought at the broker is larger than was allowed when it was written down."""
    arrived = {book.attempts[o.client_id]["order_id"]: o for o in venue.orders.values() if o.client_id in book.attempts}
    values: dict[str, Any] = {}
    for line in book.audit:
        details = line["details"]
        if line["event"] == "limit":
            values[details["name"]] = details["new"]
        elif line["event"] == "order" and details["order"] in arrived and details["purpose"] == ENTRY:
            limits, there = Limits.from_dict(values), arrived[details["order"]]
            price = there.limit or (there.value / there.filled if there.filled else ZERO)
            if there.quantity > limits.max_quantity or there.quantity * price > Decimal(limits.max_notional) * Decimal(
                "1.02"
            ):
                yield f"I8: {there.number} is {there.quantity} at {price}: {limits.max_quantity}, {limits.max_notional}"


def _plans(book: Book) -> Iterator[str]:
    """I5, first half: the plan of a position is what its entries asked for, unless a person said otherwise since."""
    held, part = defaultdict[str, Decimal](Decimal), defaultdict[str, Decimal](Decimal)
    wanted: dict[str, tuple[Decimal | None, Decimal | None]] = {}
    for line in book.audit:
        details = line["details"]
        symbol = str(details.get("symbol"))
        if line["event"] == "protection" and line["actor"] != "engine":
            wanted[symbol] = (_amount(details["stop"]), _amount(details["target"]))
        elif line["event"] == "fill":
            order = book.orders.get(details["order_id"] or "")
            change = Side(details["side"]).sign * Decimal(details["quantity"])
            shrinks = part[symbol] * change < 0 and abs(change) <= abs(part[symbol])
            if order is not None and order["purpose"] == ENTRY and not shrinks:
                before = wanted.get(symbol, (None, None)) if part[symbol] * change > 0 else (None, None)
                asked = (_amount(order["stop_loss"]), _amount(order["target"]))
                wanted[symbol] = (asked[0] or before[0], asked[1] or before[1])
            held[symbol] += change
            part[symbol] = _within(part[symbol] + (change if order else ZERO), held[symbol])
    plans = {symbol: plan[:2] for (_, symbol), plan in book.plans.items()}
    for symbol, quantity in part.items():
        if quantity and wanted.get(symbol, (None, None)) != plans.get(symbol, (None, None)):
            yield f"I5: the plan of {symbol} is {plans.get(symbol)}, asked for was {wanted.get(symbol)}"


def _protected(venue: Venue, book: Book, matched: Matched, quotes: Quotes) -> Iterator[str]:
    """I5, second half: our part of what is held, and not about to be closed, rests under its stop, to the share."""
    plans = {symbol: plan[:2] for (_, symbol), plan in book.plans.items()}
    parts = our_part(venue, matched)
    for symbol in {*parts, *(o.symbol for o in venue.orders.values())}:
        held, (stop, target) = parts.get(symbol, ZERO), plans.get(symbol, (None, None))
        resting = [
            (o, book.orders[matched.order_of[o.number]])
            for o in venue.orders.values()
            if o.live and o.symbol == symbol and o.number in matched.order_of
        ]
        stops = [o for o, ours in resting if ours["purpose"] == STOP]
        closing = [o for o, ours in resting if ours["purpose"] not in (STOP, ENTRY)]
        covered, cover = _total(stops), max(ZERO, held - _total(closing))
        if stop is None and covered:
            yield f"I5: {covered} {symbol} rest under a stop nobody asked for"
        if held and stop is not None and covered != cover and not _beyond(stop, held, quotes.get(symbol)):
            all_ = venue.held.get(symbol, ZERO)
            yield f"I5: {held} of {all_} {symbol} are ours, {covered} rest under their stop {stop}"
        if not held and covered:
            yield f"I5: {covered} {symbol} rest under a stop, and none are ours"
        yield from (f"I5: {o.number} rests at {o.stop}, the plan says {stop}" for o in stops if o.stop != stop)
        targets = _total(o for o, ours in resting if ours["purpose"] == Purpose.TARGET)
        if targets > (held if target is not None else ZERO):
            yield f"I5: {targets} {symbol} rest under a target, {held} are ours"


def our_part(venue: Venue, matched: Matched) -> dict[str, Decimal]:
    """Of what is held, the shares that orders of the desk brought."""
    held, part = defaultdict[str, Decimal](Decimal), defaultdict[str, Decimal](Decimal)
    for number, symbol, change in venue.trades:
        held[symbol] += change
        ours = matched.ours(venue.orders[number])
        part[symbol] = _within(part[symbol] + (change if ours else ZERO), held[symbol])
    return dict(part)


def _total(orders: Iterable[AtBroker]) -> Decimal:
    return sum((order.remaining for order in orders), ZERO)


# Secrets


def leaks(folder: Path, secrets: Iterable[str]) -> Iterator[str]:
    """I10: in no file of the desk stands what must not be told: ledger, heartbeat, live book, log, kept sign-in."""
    wanted = [secret.encode() for secret in secrets]
    wanted += [json.dumps(secret)[1:-1].encode() for secret in secrets]
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "venue.json":
            content = path.read_bytes()
            yield from (f"I10: {path.name} holds a secret" for secret in set(wanted) if secret in content)
