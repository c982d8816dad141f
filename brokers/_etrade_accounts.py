"""Which account is traded, what is in it, and what moved its money without a trade."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal

import numpy as np

from brokers import _etrade_words as words
from brokers._etrade_list import DAY, FURTHEST, new_york_day
from brokers.base import BrokerAccount, CashMove
from domain.calendars import calendar
from domain.context import AccountKind
from domain.errors import BrokerUnavailable, OrderRefused
from domain.orders import Side
from etrade.accounts import Account, Balance, Position, Transaction
from etrade.errors import masked
from etrade_client import EtradeReader

EXCHANGE = "XNYS"
PICK = "pick one on Settings → Trading"
ZERO = Decimal(0)
# E*TRADE's words for what moved are free text. Trades are no moves of cash, these are; of any other word, what carries
# a symbol and a quantity is taken for a trade.
TRADES = frozenset({"bought", "sold", "sold short", "bought to cover", "buy", "sell", "sell short", "buy to cover"})
MOVES = frozenset(
    {"dividend", "interest", "interest income", "margin interest", "transfer", "online transfer", "funds received"}
    | {"deposit", "withdrawal", "wire in", "wire out", "fee", "service fee", "bill payment", "pos", "atm"}
    | {"cash in lieu", "adjustment", "tax withheld", "foreign tax"}
)


def chosen(accounts: Mapping[str, Account], wanted: str, number: str) -> tuple[str, Account]:
    """The account that was picked, else the one ETRADE_ACCOUNT_ID names, else the only one. BrokerUnavailable says
    which there are."""
    there_are = ", ".join(sorted(accounts)) or "none"
    if wanted:
        if wanted not in accounts:
            raise BrokerUnavailable(f"E*TRADE has no open account {wanted}: {PICK}; there are: {there_are}")
        return wanted, accounts[wanted]
    found = [(name, one) for name, one in accounts.items() if not number or one.number == number]
    if number and not found:
        said = f"ETRADE_ACCOUNT_ID: no open account is {masked(number)}"
        raise BrokerUnavailable(f"{said}: correct it, or {PICK}; there are: {there_are}")
    if not found:
        raise BrokerUnavailable("E*TRADE has no open brokerage account for this sign-in")
    if len(found) > 1:
        raise BrokerUnavailable(f"E*TRADE has {len(found)} accounts: {PICK}")
    return found[0]


def named(accounts: Mapping[str, Account], name: str) -> Account:
    """OrderRefused where no account is called so."""
    if name not in accounts:
        raise OrderRefused(f"no account is called {name!r}; E*TRADE has {', '.join(sorted(accounts)) or 'none'}")
    return accounts[name]


async def standing(client: EtradeReader, name: str, account: Account, now: datetime) -> BrokerAccount:
    """Its money and its shares; options, funds and bonds are not told."""
    balance = await client.balance(account.key)
    shares = [one for one in await client.portfolio(account.key) if words.is_share(one.product) and one.quantity]
    positions, costs = _shares(shares)
    margin = balance.is_margin
    settled = balance.net_cash if margin else _settled(balance)
    bought = frozenset[str]() if margin else await _bought_unsettled(client, account, balance, settled, now)
    return BrokerAccount(
        name=name,
        kind=AccountKind.MARGIN if margin else AccountKind.CASH,
        cash=balance.net_cash,
        settled_cash=settled,
        buying_power=_power(balance),
        positions=positions,
        costs=costs,
        bought_unsettled=bought & positions.keys(),
    )


def _shares(held: list[Position]) -> tuple[dict[str, Decimal], dict[str, Decimal]]:
    """Quantities and what was paid for a share; a symbol held on margin and in cash is listed twice."""
    positions: dict[str, Decimal] = {}
    paid: dict[str, Decimal] = {}
    for one in held:
        symbol = one.product.symbol.upper()
        positions[symbol] = positions.get(symbol, ZERO) + one.quantity
        paid[symbol] = paid.get(symbol, ZERO) + one.quantity * one.price_paid
    positions = {symbol: quantity for symbol, quantity in positions.items() if quantity}
    return positions, {symbol: paid[symbol] / quantity for symbol, quantity in positions.items()}


def _settled(balance: Balance) -> Decimal:
    """Before resting orders: E*TRADE has taken those off its figure, and says how much it holds back for them."""
    most = balance.net_cash - (balance.unsettled_cash or ZERO)
    if balance.settled_cash is not None:
        most = min(most, balance.settled_cash + (balance.held_for_orders or ZERO))
    return max(most, min(balance.net_cash, ZERO))


def _power(balance: Balance) -> Decimal:
    power = balance.buying_power
    return power if power is not None else max(balance.for_investment, ZERO)


async def _bought_unsettled(
    client: EtradeReader, account: Account, balance: Balance, settled: Decimal, now: datetime
) -> frozenset[str]:
    """What was bought since the first sale that has not settled, where no settled money is left.

    E*TRADE does not tell this. Settled money is spent first, so that some that is left means that no purchase needed
    the other; money that came in after such a purchase hides it. Where no sale is listed (a deposit that has not
    cleared) whatever was bought today counts."""
    if not balance.unsettled_cash or settled > 0:
        return frozenset()
    today = new_york_day(now)
    session = new_york_day(calendar(EXCHANGE).last_open(now))
    listed = await client.orders(account.key, start=min(session, today) - DAY, end=today + DAY)
    told = [one for order in listed if (one := words.told(order, "")) is not None and one.filled]
    sold = [o.updated for o in told if o.side is Side.SELL and _settles(new_york_day(o.updated)) > today]
    bought = [o for o in told if o.side is Side.BUY]
    if not sold:
        return frozenset(o.symbol for o in bought if new_york_day(o.updated) == today)
    return frozenset(o.symbol for o in bought if o.updated >= min(sold))


def _settles(traded: date) -> date:
    """The day its money is good: the next session's (T+1)."""
    days = calendar(EXCHANGE).sessions.days
    at = int(np.searchsorted(days, np.datetime64(traded, "D"), side="right"))
    found: date = days[at].item() if at < len(days) else traded + DAY
    return found


async def cash_moves(
    client: EtradeReader, name: str, account: Account, since: datetime, now: datetime
) -> list[CashMove]:
    """Oldest first. E*TRADE tells the day of a move and no hour, so that all of the first day are there. One that is
    pending is left out until it is posted: its money is not there yet, and its name may still change."""
    today = new_york_day(now)
    start = min(max(new_york_day(since), today - FURTHEST), today)
    rows = await client.transactions(account.key, start=start, end=today + DAY)
    found = [row for row in rows if row.amount and row.posted is not None and is_move(row)]
    moves = [CashMove(row.id, name, row.amount, _what(row), row.time) for row in found]
    return sorted(moves, key=lambda move: (move.time, move.id))


def is_move(row: Transaction) -> bool:
    """Whether money moved without a trade."""
    word = " ".join(row.type.replace("-", " ").replace("_", " ").lower().split())
    if word in TRADES:
        return False
    return word in MOVES or not (row.symbol and row.quantity)


def _what(row: Transaction) -> str:
    said = row.description or row.memo
    return f"{row.type}: {said}" if said else row.type
