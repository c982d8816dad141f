"""The trades of one strategy, from nothing held to nothing held again: what opened and closed each, what it brought.

The rule: whose shares a fill moved is `OwnBook`'s to say, and a profit is the sum of the trade's cash, so that the
profits of all trades and what is open come to exactly what the book's money says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from desk.adoptions import Adoption
from desk.own_book import OwnBook
from desk.reader import Reader
from domain.calendars import NEW_YORK
from domain.orders import Fill, Purpose, Side

ZERO = Decimal(0)


class Way(StrEnum):
    """What closed a trade. OUTSIDE: a fill that no order of this desk made."""

    STOP = "stop"
    TARGET = "target"
    SIGNAL = "signal"
    PERSON = "a person"
    OUTSIDE = "outside this desk"


@dataclass(frozen=True, slots=True)
class Trade:
    """`quantity` is the most that was held, `entry` and `leave` average prices before fees. While it is open `closed`,
    `leave`, `way` and `profit` are None; else `profit` is after all `fees`. `signal_id` is the signal that opened it,
    `end_signal_id` the one that closed it ('' where none did), `end_order` the order of its last fill."""

    symbol: str
    side: Side
    opened: datetime
    quantity: Decimal
    entry: Decimal
    fees: Decimal
    signal_id: str
    closed: datetime | None = None
    leave: Decimal | None = None
    profit: Decimal | None = None
    way: Way | None = None
    end_signal_id: str = ""
    end_order: str = ""

    @property
    def day(self) -> date | None:
        """The exchange's day on which it closed."""
        return None if self.closed is None else self.closed.astimezone(NEW_YORK).date()


@dataclass(slots=True)
class _Open:
    opened: datetime
    side: Side
    signal_id: str
    most: Decimal = ZERO
    bought: Decimal = ZERO
    paid: Decimal = ZERO
    sold: Decimal = ZERO
    got: Decimal = ZERO
    flow: Decimal = ZERO
    fees: Decimal = ZERO


@dataclass(slots=True)
class OwnTrades:
    """One strategy's trades; `refresh` folds what is new. `moves` are the account's fills as far as they moved its
    shares, oldest first within a symbol."""

    adoption: Adoption
    book: OwnBook = field(init=False)
    closed: list[Trade] = field(default_factory=list)
    moves: list[Fill] = field(default_factory=list)
    _open: dict[str, _Open] = field(default_factory=dict)
    _before: dict[str, tuple[Decimal, Decimal]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.book = OwnBook(self.adoption)

    def refresh(self, reader: Reader) -> OwnTrades:
        for symbol, line, row in self.book.rows(reader):
            own, fees = self._before.get(symbol, (ZERO, ZERO))
            self._before[symbol] = line.own, line.fees
            if moved := line.own - own:
                self._take(_part(row, moved, line.fees - fees), own, row)
        return self

    @property
    def open(self) -> list[Trade]:
        """What is still held, by symbol."""
        return [_trade(symbol, one) for symbol, one in sorted(self._open.items())]

    @property
    def profits(self) -> list[Decimal]:
        """What each closed trade brought, in the order they closed."""
        found = sorted(self.closed, key=lambda trade: trade.closed or trade.opened)
        return [trade.profit for trade in found if trade.profit is not None]

    def moves_since(self, moment: datetime) -> Iterator[Fill]:
        """Its fills from `moment` on."""
        return (fill for fill in self.moves if fill.time >= moment)

    def _take(self, fill: Fill, own: Decimal, row: Any) -> None:
        self.moves.append(fill)
        left = own + fill.side.sign * fill.quantity
        closing = min(abs(own), fill.quantity) if own * fill.side.sign < 0 else ZERO
        if closing:
            self._close(fill, closing, left, row)
        if more := fill.quantity - closing:
            fee = ZERO if closing else fill.fee  # a fill through zero: its fee belongs to what it closed
            one = self._open.setdefault(fill.symbol, _Open(fill.time, fill.side, row.signal_id))
            one.bought, one.paid = one.bought + more, one.paid + more * fill.price
            one.flow -= fill.side.sign * more * fill.price + fee
            one.fees += fee
            one.most = max(one.most, abs(left))

    def _close(self, fill: Fill, closing: Decimal, left: Decimal, row: Any) -> None:
        one = self._open[fill.symbol]
        one.sold, one.got = one.sold + closing, one.got + closing * fill.price
        one.flow += -fill.side.sign * closing * fill.price - fill.fee
        one.fees += fill.fee
        if left and left * one.side.sign > 0:
            return
        del self._open[fill.symbol]
        way = _way(row, self.adoption.source)
        by_signal = row.signal_id if way is Way.SIGNAL else ""
        ended = (fill.time, one.got / one.sold, one.flow, way, by_signal, fill.order_id)
        self.closed.append(_trade(fill.symbol, one, *ended))


def _part(row: Any, moved: Decimal, fee: Decimal) -> Fill:
    side = Side.BUY if moved > 0 else Side.SELL
    return Fill(row.id, row.order_id or "", row.account, row.symbol, side, abs(moved), row.price, row.time, fee)


def _way(row: Any, source: str) -> Way:
    if row.order_id is None:
        return Way.OUTSIDE
    found = {Purpose.STOP: Way.STOP, Purpose.TARGET: Way.TARGET}.get(row.purpose)
    return found or (Way.SIGNAL if row.source == source else Way.PERSON)


def _trade(symbol: str, one: _Open, *ended: Any) -> Trade:
    return Trade(symbol, one.side, one.opened, one.most, one.paid / one.bought, one.fees, one.signal_id, *ended)
