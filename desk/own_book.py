"""What a strategy at work holds and has earned by itself, folded from the account's fills.

The rule: it owns what its own orders opened, and never more than the account holds. What a stop, a target or a person
closes is taken from a person's shares first, then from the strategy's. Nothing here is kept: it is worked out anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from desk import schema
from desk.adoptions import Adoption
from desk.protection import BEYOND
from desk.reader import Reader
from domain.orders import Purpose

ZERO = Decimal(0)
_FILLS = (
    sa.select(
        schema.fill,
        sa.func.coalesce(schema.signal.c.source, "").label("source"),
        sa.case(
            (schema.orders.c.reason.startswith(BEYOND, autoescape=True), Purpose.STOP.value),
            else_=sa.func.coalesce(schema.orders.c.purpose, ""),
        ).label("purpose"),
        sa.func.coalesce(schema.orders.c.signal_id, "").label("signal_id"),
    )
    .select_from(
        schema.fill.outerjoin(schema.orders, schema.fill.c.order_id == schema.orders.c.id).outerjoin(
            schema.signal,
            sa.and_(schema.orders.c.signal_id == schema.signal.c.id, schema.orders.c.signal_id != ""),
        )
    )
    .where(
        schema.fill.c.account == sa.bindparam("of_account"),
        schema.fill.c.symbol.in_(sa.bindparam("of_symbols", expanding=True)),
        schema.fill.c.seq > sa.bindparam("after"),
    )
    .order_by(schema.fill.c.seq)
)


@dataclass(slots=True)
class Line:
    """One symbol: `own` shares of `total` in the account, the `cash` they moved, and the fills that did it."""

    own: Decimal = ZERO
    total: Decimal = ZERO
    cash: Decimal = ZERO
    fees: Decimal = ZERO
    fills: int = 0
    seq: int = 0

    def take(self, row: Any, source: str) -> None:
        """One more fill of the account; those of `source` are the strategy's."""
        signed = row.quantity if row.side == "buy" else -row.quantity
        self.total, self.seq = self.total + signed, row.seq
        before, self.own = self.own, self.own + signed if row.source == source else self._left()
        if moved := self.own - before:
            fee = row.fee * abs(moved) / row.quantity
            self.cash -= moved * row.price + fee
            self.fees += fee
            self.fills += 1

    def _left(self) -> Decimal:
        """What of its own is still there, after a fill of somebody else's."""
        return min(self.own, max(self.total, ZERO)) if self.own > 0 else max(self.own, min(self.total, ZERO))


@dataclass(slots=True)
class OwnBook:
    """One strategy's book; `refresh` reads what is new."""

    adoption: Adoption
    lines: dict[str, Line] = field(default_factory=dict)

    def refresh(self, reader: Reader) -> OwnBook:
        for _ in self.rows(reader):
            pass
        return self

    def rows(self, reader: Reader) -> Iterator[tuple[str, Line, Any]]:
        """`refresh`, fill by fill in the order they came: the symbol, its line as it is after the fill, and the fill's
        row."""
        for symbol in self.adoption.symbols:
            self.lines.setdefault(symbol, Line())
        about = {"of_account": self.adoption.account, "of_symbols": self.adoption.symbols}
        for row in reader.rows(_FILLS, **about, after=max(line.seq for line in self.lines.values())):
            line = self.lines[row.symbol]
            line.take(row, self.adoption.source)
            yield row.symbol, line, row

    def own(self, symbol: str) -> Decimal:
        """What it holds of its own, below zero when short."""
        return self.lines[symbol].own if symbol in self.lines else ZERO

    def foreign(self, symbol: str) -> Decimal:
        """What else the account holds of it."""
        return self.lines[symbol].total - self.lines[symbol].own if symbol in self.lines else ZERO

    @property
    def cash(self) -> Decimal:
        """The money it began with, and what its trades did to it."""
        return Decimal(str(self.adoption.setup.cash)) + sum((line.cash for line in self.lines.values()), ZERO)

    @property
    def fees(self) -> Decimal:
        return sum((line.fees for line in self.lines.values()), ZERO)

    @property
    def fills(self) -> int:
        return sum(line.fills for line in self.lines.values())

    def equity(self, prices: Mapping[str, Decimal]) -> Decimal | None:
        """Its money and what it holds at these prices; None where one is missing."""
        held = {symbol: line.own for symbol, line in self.lines.items() if line.own}
        if any(symbol not in prices for symbol in held):
            return None
        return self.cash + sum((own * prices[symbol] for symbol, own in held.items()), ZERO)

    def gross(self, prices: Mapping[str, Decimal]) -> Decimal:
        """What all it holds is worth at these prices, shorts counted as well."""
        return sum((abs(line.own) * prices[symbol] for symbol, line in self.lines.items() if line.own), ZERO)
