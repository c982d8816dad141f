"""Cash, positions and round trips of every account, folded from a ledger's fills once and then only extended."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from itertools import chain
from typing import Any

import sqlalchemy as sa

from desk import rows, schema
from domain.positions import Account, Position
from domain.round_trips import RoundTrip, RoundTrips

_fills_after = sa.select(schema.fill).where(schema.fill.c.seq > sa.bindparam("after_seq")).order_by(schema.fill.c.seq)
_adjustments_after = (
    sa.select(schema.adjustment)
    .where(schema.adjustment.c.seq > sa.bindparam("after_seq"))
    .order_by(schema.adjustment.c.seq)
)
_ledger_id = sa.select(schema.meta.c.value).where(schema.meta.c.key == "id")


class Folds:
    """Every account folded up to the last fill seen. A ledger with another id, restored or begun anew, starts over."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._begin("")

    def _begin(self, ledger: str) -> None:
        self._ledger, self._seq, self._adjusted = ledger, 0, 0
        self._accounts: dict[str, Account] = {}
        self._trips: defaultdict[str, RoundTrips] = defaultdict(RoundTrips)

    def account(self, db: sa.Connection, name: str) -> Account | None:
        with self._turn:
            self._catch_up(db, name)
            found = self._accounts.get(name)
            return found and Account(found.name, found.cash, dict(found.positions))

    def round_trips(self, name: str, since: datetime) -> tuple[RoundTrip, ...]:
        """Up to the fill that was last caught up with."""
        with self._turn:
            return self._trips[name].since(since)

    def _catch_up(self, db: sa.Connection, name: str) -> None:
        if (ledger := db.execute(_ledger_id).scalar_one()) != self._ledger:
            self._begin(ledger)
        fills = db.execute(_fills_after, {"after_seq": self._seq}).all()
        adjustments = db.execute(_adjustments_after, {"after_seq": self._adjusted}).all()
        if {name, *(row.account for row in (*fills, *adjustments))} - self._accounts.keys():
            self._accounts = _opened(db) | self._accounts
        for adjusting, row in _in_order(fills, adjustments):
            (self._adjust if adjusting else self._fill)(row)

    def _fill(self, row: sa.Row[Any]) -> None:
        fill, self._seq = rows.fill_of(row), row.seq
        account, held = self._held(fill.account, fill.symbol)
        account.positions[fill.symbol] = held.after(fill)
        self._accounts[fill.account] = Account(account.name, account.cash + fill.cash, account.positions)
        self._trips[fill.account].fill(fill)

    def _adjust(self, row: sa.Row[Any]) -> None:
        self._adjusted = row.seq
        account, held = self._held(row.account, row.symbol)
        if row.symbol:
            account.positions[row.symbol] = held.adjusted(row.quantity)
            self._trips[row.account].adjust(row.symbol, row.quantity)
        self._accounts[row.account] = Account(account.name, account.cash + row.cash, account.positions)

    def _held(self, account: str, symbol: str) -> tuple[Account, Position]:
        found = self._accounts[account]
        return found, found.positions.get(symbol, Position(account, symbol))


def _in_order(fills: Sequence[sa.Row[Any]], adjustments: Sequence[sa.Row[Any]]) -> Iterator[tuple[bool, sa.Row[Any]]]:
    """An adjustment right behind the fill that was the newest when it was written."""
    left = iter(fills)
    for adjustment in adjustments:
        while (fill := next(left, None)) is not None:
            if fill.seq > adjustment.after_fill:
                left = chain([fill], left)
                break
            yield False, fill
        yield True, adjustment
    for fill in left:
        yield False, fill


def _opened(db: sa.Connection) -> dict[str, Account]:
    found = db.execute(sa.select(schema.account.c.name, schema.account.c.starting_cash))
    return {row.name: Account(row.name, Decimal(row.starting_cash), {}) for row in found}
