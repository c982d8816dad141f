"""How far a person has come with the first trade at this desk: from the ledger alone, never from what was clicked.

facts = first_trade(reader, ["ada"])    # asks only where the ledger has moved since it was asked last
"""

from __future__ import annotations

import json
import threading
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from desk import schema
from desk.closing import order_id_of
from desk.reader import Reader
from domain.commands import CommandState, Kind
from domain.orders import OPEN, Order, OrderType, Purpose, Status

MOST_ORDERS = 30  # the newest of a person: whoever wants the guide back after years is not read from the beginning
_AT_BROKER = (Status.WORKING, Status.PARTIAL)
_head = sa.select(schema.audit_head.c.seq)


@dataclass(frozen=True, slots=True)
class FirstTrade:
    """What is certain. `held_since` is when the position began that still stands; None where there is none."""

    previewed: bool = False
    placed: bool = False
    rested: bool = False
    rests: bool = False
    closed: bool = False
    symbol: str = ""
    held_since: datetime | None = None

    @property
    def far(self) -> tuple[int, bool]:
        """What is farther on sorts behind."""
        return sum((self.placed, self.rested, self.closed)), self.rests


class FirstTrades:
    """The answers for one ledger, kept for as long as it stands still. Several threads may share it."""

    def __init__(self, reader: Reader) -> None:
        self._reader, self._turn = reader, threading.Lock()
        self._version, self._kept = -1, dict[frozenset[str], FirstTrade]()

    def of(self, names: Collection[str]) -> FirstTrade:
        """How far the person behind these names has come; errors as in `desk.reader`."""
        with self._turn:
            version, key = _version(self._reader), frozenset(names)
            if version != self._version:
                self._version, self._kept = version, {}
            if key not in self._kept:
                self._kept[key] = first_trade(self._reader, key)
            return self._kept[key]


def first_trade(reader: Reader, names: Collection[str]) -> FirstTrade:
    """Of all that these names placed, what came farthest; without any cache."""
    previewed = bool(_commands(reader, Kind.PREVIEW, names, 1))
    found = [_become(reader, order, previewed) for order in _entries(reader, names)]
    return max(found, key=lambda one: one.far, default=FirstTrade(previewed))


def _version(reader: Reader) -> int:
    """The number of the newest line of the audit: orders, fills, answers and protection all leave one."""
    found = reader.rows(_head)
    return int(found[0].seq) if found else 0


def _commands(reader: Reader, kind: Kind, names: Collection[str], most: int) -> list[sa.Row[Any]]:
    """What these people asked for and had done, newest first; `ada` stands behind `ada/5f3c…` too."""
    of = schema.command.c
    mine = sa.or_(*(sa.or_(of.actor == name, of.actor.startswith(f"{name}/", autoescape=True)) for name in names))
    done = (of.kind == kind.value, of.state == CommandState.DONE.value)
    return reader.rows(sa.select(of.key, of.details).where(*done, mine).order_by(of.seq.desc()).limit(most))


def _entries(reader: Reader, names: Collection[str]) -> list[Order]:
    """Purchases (or short sales) that reached the broker and were not taken back before anything came of them."""
    keys = [(row.key, json.loads(row.details)) for row in _commands(reader, Kind.PLACE, names, MOST_ORDERS)]
    orders = [reader.order(str(details.get("order") or order_id_of(key))) for key, details in keys]
    entries = (order for order in orders if order is not None and order.request.purpose is Purpose.ENTRY)
    return [order for order in entries if order.filled or order.status in _AT_BROKER]


def _become(reader: Reader, entry: Order, previewed: bool) -> FirstTrade:
    """What became of an entry: its stop, and its position. While a purchase at market still fills, its stop covers only
    a part of what comes, and what is closed then is bought anew by the rest: the stop counts once it is whole."""
    asked = entry.request
    stops, fills = _stops(reader, entry), asked.type is OrderType.MARKET and entry.status in OPEN
    rested = not fills and bool(stops) and _stood(reader, stops)
    held = reader.positions(asked.account).get(asked.symbol)
    over = any(t.symbol == asked.symbol for t in reader.round_trips(asked.account, entry.created))
    flat = bool(entry.filled) and entry.status not in OPEN and held is None
    return FirstTrade(
        previewed=previewed,
        placed=asked.stop_loss is not None or rested,
        rested=rested,
        rests=any(order.status in _AT_BROKER for order in stops),
        closed=bool(entry.filled) and (over or flat),
        symbol=asked.symbol,
        held_since=entry.created if held is not None and held.quantity * asked.side.sign > 0 else None,
    )


def _stops(reader: Reader, entry: Order) -> list[Order]:
    """Every stop there ever was under the position from the moment the entry was placed."""
    of, asked = schema.orders.c, entry.request
    about = (of.account == asked.account, of.symbol == asked.symbol, of.purpose == Purpose.STOP.value)
    side = of.side == asked.side.opposite.value
    found = reader.rows(sa.select(of.id).where(*about, side, of.created >= entry.created).order_by(of.created))
    return [order for row in found[-MOST_ORDERS:] if (order := reader.order(row.id)) is not None]


def _stood(reader: Reader, stops: list[Order]) -> bool:
    """Whether one of them has rested at the broker, be it for a moment."""
    of, ids = schema.order_event.c, [order.id for order in stops]
    told = reader.rows(sa.select(of.order_id).where(of.order_id.in_(ids), of.after == Status.WORKING.value).limit(1))
    return bool(told)
