"""The rows of the paper broker's file as values: accounts, positions, orders, fills, quotes.

The rule: a fill, the order it came from, the cash and the position it moved are written in one transaction. Cash and
positions are kept as rows so that nobody adds up all fills each time; `differences` does, and compares.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from brokers._paper_file import PaperFile
from brokers._paper_orders import Kept
from brokers.base import BrokerFill
from domain.context import AccountKind
from domain.instruments import instrument
from domain.orders import Fill, OrderRequest, OrderType, Purpose, Session, Side, Status, TimeInForce
from domain.positions import Position, fold
from domain.quotes import Quote
from domain.working import Working

ZERO = Decimal(0)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Opened:
    """An account as it was opened, and its cash now."""

    name: str
    kind: AccountKind
    opened_with: Decimal
    cash: Decimal


class Book:
    """Reads and writes; every method wants `write()` or `read()` around it."""

    def __init__(self, file: PaperFile) -> None:
        self._file = file
        self._run = file.run

    def write(self) -> AbstractContextManager[None]:
        return self._file.write()

    def read(self) -> AbstractContextManager[None]:
        return self._file.read()

    def close(self) -> None:
        self._file.close()

    # Accounts

    def accounts(self) -> list[Opened]:
        return [_opened(row) for row in self._run("SELECT * FROM account ORDER BY opened, rowid")]

    def account(self, name: str) -> Opened | None:
        row = self._run("SELECT * FROM account WHERE name = ?", name).fetchone()
        return _opened(row) if row else None

    def open_account(self, name: str, kind: AccountKind, cash: Decimal, at: datetime) -> None:
        self._run("INSERT INTO account VALUES (?, ?, ?, ?, ?)", name, str(kind), str(cash), str(cash), micros(at))

    def positions(self, account: str) -> dict[str, Position]:
        """Every symbol ever held, those of quantity zero too."""
        rows = self._run("SELECT * FROM position WHERE account = ? ORDER BY symbol", account)
        return {row["symbol"]: _position(row) for row in rows}

    def unsettled(self, account: str, now: datetime) -> dict[datetime, Decimal]:
        """Proceeds of sales by the moment they settle."""
        rows = self._run("SELECT until, amount FROM unsettled WHERE account = ? AND until > ?", account, micros(now))
        return {moment(row["until"]): Decimal(row["amount"]) for row in rows}

    def add_unsettled(self, account: str, until: datetime, amount: Decimal, now: datetime) -> None:
        self._run("DELETE FROM unsettled WHERE until <= ?", micros(now))
        whole = amount + self.unsettled(account, now).get(until, ZERO)
        self._run("INSERT OR REPLACE INTO unsettled VALUES (?, ?, ?)", account, micros(until), str(whole))

    def bought_unsettled(self, account: str, now: datetime) -> frozenset[str]:
        statement = "SELECT symbol FROM bought_unsettled WHERE account = ? AND until > ?"
        return frozenset(row["symbol"] for row in self._run(statement, account, micros(now)))

    def add_bought_unsettled(self, account: str, symbol: str, until: datetime) -> None:
        self._run("INSERT OR REPLACE INTO bought_unsettled VALUES (?, ?, ?)", account, symbol, micros(until))

    # Orders

    def order(self, broker_id: str) -> Kept | None:
        return self._one("SELECT * FROM orders WHERE broker_id = ?", broker_id)

    def order_named(self, client_order_id: str) -> Kept | None:
        return self._one("SELECT * FROM orders WHERE client_order_id = ?", client_order_id)

    def orders_of(self, account: str) -> list[Kept]:
        """The open ones of an account."""
        return self._many("SELECT * FROM orders WHERE open = 1 AND account = ? ORDER BY seq", account)

    def orders_in(self, symbol: str) -> list[Kept]:
        """The open ones of a symbol, in the order they were placed."""
        return self._many("SELECT * FROM orders WHERE open = 1 AND symbol = ? ORDER BY seq", symbol)

    def orders_beside(self, group: str) -> list[Kept]:
        """All of a group, done ones too; none where it is ''."""
        return self._many("SELECT * FROM orders WHERE family <> '' AND family = ? ORDER BY seq", group)

    def orders_since(self, since: datetime) -> list[Kept]:
        """The open ones, and those placed or changed from `since` on."""
        chosen = "SELECT seq FROM orders WHERE open = 1 UNION SELECT seq FROM orders WHERE updated >= ?"
        return self._many(f"SELECT * FROM orders WHERE seq IN ({chosen}) ORDER BY seq", micros(since))  # noqa: S608

    def expired(self, now: datetime) -> list[Kept]:
        """Open orders whose time is over."""
        return self._many("SELECT * FROM orders WHERE open = 1 AND expires <= ? ORDER BY seq", micros(now))

    def working_symbols(self) -> set[str]:
        return {row["symbol"] for row in self._run("SELECT DISTINCT symbol FROM orders WHERE open = 1")}

    def next_id(self, client_order_id: str) -> str:
        """A broker's id that stays unique even beside those of a file that was thrown away."""
        [newest] = self._run("SELECT max(seq) FROM orders").fetchone()
        digest = hashlib.sha256(client_order_id.encode()).hexdigest()
        return f"P{(newest or 0) + 1}-{digest[:8]}"

    def add_order(self, kept: Kept) -> None:
        fixed = {
            "broker_id": kept.working.order_id,
            "client_order_id": kept.client_order_id,
            "account": kept.request.account,
            "symbol": kept.request.symbol,
            "family": kept.group,
            "request": _to_json(kept.request),
            "worst_price": str(kept.worst_price),
            "placed": micros(kept.working.placed),
            "expires": micros(kept.working.expires) if kept.working.expires else None,
        }
        values = {**fixed, **_moving(kept)}
        marks = ", ".join("?" * len(values))
        self._run(f"INSERT INTO orders ({', '.join(values)}) VALUES ({marks})", *values.values())  # noqa: S608

    def change_order(self, kept: Kept) -> None:
        values = _moving(kept)
        changes = ", ".join(f"{name} = ?" for name in values)
        self._run(f"UPDATE orders SET {changes} WHERE broker_id = ?", *values.values(), kept.working.order_id)  # noqa: S608

    def _one(self, statement: str, *values: object) -> Kept | None:
        return next(iter(self._many(statement, *values)), None)

    def _many(self, statement: str, *values: object) -> list[Kept]:
        return [_kept(row) for row in self._run(statement, *values)]

    # Fills

    def add_fill(self, fill: Fill, recorded: datetime) -> None:
        """The fill, and what it does to the cash and the position."""
        amounts = (str(fill.quantity), str(fill.price), str(fill.fee), micros(fill.time), micros(recorded))
        values = (fill.id, fill.order_id, fill.account, fill.symbol, str(fill.side), *amounts)
        self._run("INSERT INTO fill VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", *values)
        account = self.account(fill.account)
        assert account is not None, "an order's account exists"
        self._run("UPDATE account SET cash = ? WHERE name = ?", str(account.cash + fill.cash), fill.account)
        before = self.positions(fill.account).get(fill.symbol, Position(fill.account, fill.symbol))
        held = before.after(fill)
        moved = (str(held.quantity), str(held.cost), str(held.realised), str(held.fees))
        self._run("INSERT OR REPLACE INTO position VALUES (?, ?, ?, ?, ?, ?)", held.account, held.symbol, *moved)

    def fills_since(self, since: datetime) -> list[BrokerFill]:
        rows = self._run("SELECT * FROM fill WHERE recorded >= ? ORDER BY recorded, seq", micros(since))
        return [_fill(row) for row in rows]

    # Quotes

    def quotes(self) -> dict[str, Quote]:
        return {row["symbol"]: _quote(row) for row in self._run("SELECT * FROM quote")}

    def keep_quote(self, quote: Quote) -> None:
        prices = (str(quote.last), *(None if price is None else str(price) for price in (quote.bid, quote.ask)))
        values = (quote.symbol, micros(quote.time), *prices, quote.volume, quote.delayed_s)
        self._run("INSERT OR REPLACE INTO quote VALUES (?, ?, ?, ?, ?, ?, ?)", *values)

    # The check

    def differences(self) -> Iterator[str]:
        """Where the rows say other than all fills added up."""
        fills = [_plain(told) for told in map(_fill, self._run("SELECT * FROM fill ORDER BY seq"))]
        for account in self.accounts():
            folded = fold(account.name, account.opened_with, fills)
            if folded.cash != account.cash:
                yield f"cash of {account.name}: kept {account.cash}, its fills make {folded.cash}"
            kept = self.positions(account.name)
            for symbol in sorted({*kept, *folded.positions}):
                ours, made = kept.get(symbol), folded.positions.get(symbol)
                if ours != made:
                    yield f"{symbol} in {account.name}: kept {ours}, its fills make {made}"
        yield from self._order_differences(fills)

    def _order_differences(self, fills: Iterable[Fill]) -> Iterator[str]:
        made: dict[str, tuple[Decimal, Decimal]] = {}
        for fill in fills:
            quantity, value = made.get(fill.order_id, (ZERO, ZERO))
            made[fill.order_id] = (quantity + fill.quantity, value + fill.quantity * fill.price)
        for kept in self._many("SELECT * FROM orders ORDER BY seq"):
            working = kept.working
            quantity, value = made.get(working.order_id, (ZERO, ZERO))
            if (quantity, value) != (working.filled, working.value):
                kept_as = f"{working.filled} for {working.value}"
                yield f"order {working.order_id}: kept {kept_as}, its fills make {quantity} for {value}"
            if working.filled + working.remaining > kept.request.quantity:
                yield f"order {working.order_id}: {working.filled} filled and {working.remaining} left is too much"


def micros(time: datetime) -> int:
    """Microseconds since 1970, UTC."""
    return (time - EPOCH) // MICROSECOND


def moment(count: int) -> datetime:
    return EPOCH + count * MICROSECOND


def _moving(kept: Kept) -> dict[str, Any]:
    """The columns that change while an order lives."""
    working = kept.working
    return {
        "status": str(kept.status),
        "open": int(kept.open),
        "said": kept.said,
        "updated": micros(kept.updated),
        "remaining": str(working.remaining),
        "filled": str(working.filled),
        "value": str(working.value),
        "armed": int(working.armed),
        "level": working.level,
        "rested": int(working.rested),
        "unused": working.unused,
    }


def _kept(row: sqlite3.Row) -> Kept:
    request = _from_json(row["request"])
    working = Working(
        order_id=row["broker_id"],
        request=request,
        instrument=instrument(request.symbol),
        placed=moment(row["placed"]),
        expires=None if row["expires"] is None else moment(row["expires"]),
        remaining=Decimal(row["remaining"]),
        filled=Decimal(row["filled"]),
        value=Decimal(row["value"]),
        armed=bool(row["armed"]),
        level=row["level"],
        rested=bool(row["rested"]),
        unused=row["unused"],
    )
    return Kept(
        working,
        client_order_id=row["client_order_id"],
        group=row["family"],
        status=Status(row["status"]),
        updated=moment(row["updated"]),
        worst_price=Decimal(row["worst_price"]),
        said=row["said"],
    )


_KINDS = {
    "side": Side,
    "type": OrderType,
    "time_in_force": TimeInForce,
    "session": Session,
    "purpose": Purpose,
    **dict.fromkeys(("quantity", "limit", "stop", "trail", "stop_loss", "target", "stop_trail"), Decimal),
}


def _to_json(request: OrderRequest) -> str:
    values = {name: getattr(request, name) for name in OrderRequest.__slots__}
    return json.dumps({name: str(value) for name, value in values.items() if value is not None})


def _from_json(text: str) -> OrderRequest:
    values: dict[str, Any] = json.loads(text)
    return OrderRequest(**{name: _KINDS.get(name, str)(value) for name, value in values.items()})


def _opened(row: sqlite3.Row) -> Opened:
    return Opened(row["name"], AccountKind(row["kind"]), Decimal(row["opened_with"]), Decimal(row["cash"]))


def _position(row: sqlite3.Row) -> Position:
    quantity, cost, realised, fees = (Decimal(row[name]) for name in ("quantity", "cost", "realised", "fees"))
    # Everything here is its own.
    return Position(row["account"], row["symbol"], quantity, cost, realised, fees, ours=quantity)


def _fill(row: sqlite3.Row) -> BrokerFill:
    return BrokerFill(
        id=row["id"],
        broker_id=row["broker_id"],
        account=row["account"],
        symbol=row["symbol"],
        side=Side(row["side"]),
        quantity=Decimal(row["quantity"]),
        price=Decimal(row["price"]),
        fee=Decimal(row["fee"]),
        time=moment(row["time"]),
        recorded=moment(row["recorded"]),
    )


def _plain(told: BrokerFill) -> Fill:
    of = (told.id, told.broker_id, told.account, told.symbol, told.side)
    return Fill(*of, told.quantity, told.price, told.time, told.fee)


def _quote(row: sqlite3.Row) -> Quote:
    bid, ask = (None if row[name] is None else Decimal(row[name]) for name in ("bid", "ask"))
    at, last = moment(row["time"]), Decimal(row["last"])
    return Quote(row["symbol"], at, last, "kept", bid, ask, row["volume"], delayed_s=row["delayed_s"])
