"""What happens to an account from outside: splits, symbol changes, money that comes and goes, and its owner's own
orders on the web site."""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import ROUND_DOWN, Decimal
from typing import TYPE_CHECKING

from domain.instruments import instrument
from simulator import _tickets as tickets
from simulator._market import Row
from simulator._state import ZERO, Account, Holding, Kept, OrderStatus, Transaction
from simulator._wire import Tree, decimal

if TYPE_CHECKING:
    from simulator._server import Etrade

BY_HAND = "by hand"  # no program can send this as its clientOrderId
_RATIO = re.compile(r"([1-9][0-9]{0,3}):([1-9][0-9]{0,3})", re.ASCII)
_CENT, _SUB_CENT = Decimal("0.01"), Decimal("0.0001")


async def split(server: Etrade, symbol: str, ratio: str) -> Decimal:
    """`10:1`: ten for one; the new price. Open orders of the symbol are cancelled, lots keep their cost, and what is
    no whole share any more is paid out."""
    found = _RATIO.fullmatch(ratio)
    if found is None or found[1] == found[2]:
        raise ValueError(f"ratio must be new to old, such as 10:1 or 1:8: got {ratio!r}")
    times, symbol = Decimal(found[1]) / Decimal(found[2]), instrument(symbol).symbol
    row = await _row(server, symbol)
    bid, ask, before = (_scaled(price, times) if price else None for price in (row.bid, row.ask, row.previous_close))
    new = Row(symbol, _scaled(row.last, times), bid, ask, row.volume, before)
    _cancel_open(server, symbol)
    server.market.set_price(new)
    server.market.new_day(symbol)
    for account in server.state.accounts:
        if (held := account.holdings.get(symbol)) is not None:
            _split(server, account, held, Decimal(found[1]), Decimal(found[2]), new.last)
    return new.last


def _split(server: Etrade, account: Account, held: Holding, new: Decimal, old: Decimal, price: Decimal) -> None:
    before = held.quantity
    for lot in held.lots:
        lot.original, lot.remaining, lot.price = (
            lot.original * new / old,
            lot.remaining * new / old,
            lot.price * old / new,
        )
    after = before * new / old
    whole = after.quantize(Decimal(1), ROUND_DOWN)
    _post(server, account, "Stock Split", ZERO, held.symbol, after - before, f"{held.symbol} split {new}:{old}")
    if rest := whole - held.quantity:
        server.book.move_shares(account, held.symbol, rest, price, server.clock.now(), 0)
    if paid := ((after - whole) * price).quantize(_CENT):
        _post(server, account, "Cash in Lieu", paid, held.symbol, whole - after, "", price)


async def rename(server: Etrade, old: str, new: str) -> None:
    """The same shares under another symbol; open orders of the old one are cancelled."""
    old, new = instrument(old).symbol, instrument(new).symbol
    if old == new:
        raise ValueError(f"a symbol changes into another one: got {old} twice")
    row = await _row(server, old)
    _cancel_open(server, old)
    server.market.drop(old)
    server.market.set_price(replace(row, symbol=new))
    for account in server.state.accounts:
        if (held := account.holdings.pop(old, None)) is None:
            continue
        there = account.holdings.setdefault(new, Holding(held.position_id, new))
        there.lots = sorted([*there.lots, *held.lots], key=lambda lot: lot.acquired)
        _post(server, account, "Exchange Delivered Out", ZERO, old, -held.quantity)
        _post(server, account, "Exchange Received In", ZERO, new, held.quantity)


def cash(server: Etrade, account: Account, amount: Decimal, kind: str, description: str, symbol: str) -> None:
    """A dividend, interest, a deposit: the money is there and the transaction posted."""
    if not kind.strip() or amount != amount.quantize(_CENT) or not amount:
        raise ValueError(f"cash needs a type, and an amount in cents that is not zero: got {kind!r}, {amount}")
    _post(server, account, kind.strip(), amount, instrument(symbol).symbol if symbol else "", ZERO, description)


async def by_hand(server: Etrade, account: Account, wish: Tree) -> Kept:
    """An order its owner places on the web site; the book's own rules hold for it."""
    product = {"symbol": wish["symbol"], "securityType": "EQ"}
    document: Tree = {
        "orderType": "EQ",
        "clientOrderId": "byhand",
        "Order": [
            {
                "priceType": wish.get("price_type", "MARKET"),
                "orderTerm": wish.get("term", "GOOD_FOR_DAY"),
                "marketSession": wish.get("session", "REGULAR"),
                "limitPrice": wish.get("limit"),
                "stopPrice": wish.get("stop"),
                "Instrument": [
                    {"Product": product, "orderAction": wish["action"], "quantity": wish["quantity"]},
                ],
            }
        ],
    }
    ticket = replace(tickets.read(document), client_order_id=BY_HAND)
    await server.market.refresh([ticket.symbol])
    return server.book.rest(account, ticket)


def amount(found: object) -> Decimal:
    """ValueError where it is no number."""
    number = decimal(found)
    if number is None:
        raise ValueError("an amount is missing")
    return number


async def _row(server: Etrade, symbol: str) -> Row:
    """Its price now, as a line of the tape."""
    await server.market.refresh([symbol])
    quote = server.market.newest(symbol)
    if quote is None:
        raise ValueError(f"{symbol} has no price yet: set one first")
    return Row(symbol, quote.last, quote.bid, quote.ask, quote.volume, quote.previous_close)


def _scaled(price: Decimal, times: Decimal) -> Decimal:
    scaled = price / times
    return max(scaled.quantize(_CENT if scaled >= 1 else _SUB_CENT), _SUB_CENT)


def _cancel_open(server: Etrade, symbol: str) -> None:
    for account in server.state.accounts:
        for kept in account.working():
            if kept.ticket.symbol == symbol:
                server.book.end(kept, OrderStatus.CANCELLED)


def _post(
    server: Etrade,
    account: Account,
    kind: str,
    amount: Decimal,
    symbol: str,
    quantity: Decimal,
    description: str = "",
    price: Decimal = ZERO,
) -> None:
    now = server.clock.now()
    account.cash += amount
    account.transactions.append(
        Transaction(
            number=server.state.next_number(),
            at=now,
            settles=now,
            kind=kind,
            symbol=symbol,
            quantity=quantity,
            price=price,
            fee=ZERO,
            amount=amount,
            order_id=0,
            description=description,
        )
    )
