"""Accounts, what is in them and what happened there, as E*TRADE lists them.

Account numbers and keys never show in a repr; `masked` is what may be shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from etrade.errors import masked
from etrade.fields import Fields
from etrade.market import Product, read_product


@dataclass(frozen=True, slots=True)
class Account:
    """`key` goes into every address, `number` is what the person knows; `closed` None while it is open."""

    number: str = field(repr=False)
    key: str = field(repr=False)
    mode: str
    description: str
    name: str
    type: str
    institution: str
    status: str
    closed: datetime | None

    @property
    def masked(self) -> str:
        return masked(self.number)

    @property
    def usable(self) -> bool:
        """An open brokerage account: closed ones and linked bank products are listed too."""
        return self.status != "CLOSED" and self.institution in ("BROKERAGE", "")


def named(accounts: Iterable[Account]) -> dict[str, Account]:
    """The usable accounts by the names they bear everywhere: the masked number. Where several end in the same digits,
    all but the first are numbered, in the order of their keys: `••••9377`, `••••9377-2`."""
    found: dict[str, Account] = {}
    many: dict[str, int] = {}
    for one in sorted((one for one in accounts if one.usable), key=lambda one: one.key):
        many[one.masked] = many.get(one.masked, 0) + 1
        found[one.masked if many[one.masked] == 1 else f"{one.masked}-{many[one.masked]}"] = one
    return found


@dataclass(frozen=True, slots=True)
class Balance:
    """Money as E*TRADE sees it now. Cash usually sits in `money_market` while `cash_balance` is 0; a figure that the
    account's kind does not have is None. `quote_mode` 0 means real-time prices, 1 delayed ones."""

    account: str = field(repr=False)
    type: str
    mode: str
    option_level: str
    day_trader: str
    quote_mode: int | None
    money_market: Decimal | None
    held_for_orders: Decimal | None
    for_investment: Decimal
    for_withdrawal: Decimal | None
    net_cash: Decimal
    cash_balance: Decimal | None
    settled_cash: Decimal | None
    unsettled_cash: Decimal | None
    cash_buying_power: Decimal | None
    margin_buying_power: Decimal | None
    margin_balance: Decimal | None
    total_value: Decimal
    market_value: Decimal | None
    calls: Decimal

    @property
    def is_margin(self) -> bool:
        return self.mode == "MARGIN" or (not self.mode and self.type == "MARGIN")

    @property
    def buying_power(self) -> Decimal | None:
        """On margin what margin allows; in cash only settled money, so that no free-riding comes of it."""
        if self.is_margin:
            return self.margin_buying_power
        return self.settled_cash if self.settled_cash is not None else self.cash_buying_power


@dataclass(frozen=True, slots=True)
class Lot:
    """Shares bought together."""

    id: int
    position: int
    price: Decimal
    original: Decimal
    remaining: Decimal
    available: Decimal | None
    cost: Decimal | None
    acquired: datetime | None
    order: int | None


@dataclass(frozen=True, slots=True)
class Position:
    """`quantity` is below zero when short. `last` may be delayed: see `quote_status`. The market value of an option
    has its multiplier in it, the price paid has not."""

    id: int
    product: Product
    description: str
    kind: str
    quantity: Decimal
    price_paid: Decimal
    cost: Decimal | None
    market_value: Decimal
    gain: Decimal | None
    day_gain: Decimal | None
    commissions: Decimal | None
    acquired: datetime | None
    last: Decimal | None
    last_time: datetime | None
    quote_status: str
    lots: tuple[Lot, ...] = ()


@dataclass(frozen=True, slots=True)
class PortfolioPage:
    """One page of positions, and how many pages E*TRADE counts."""

    positions: tuple[Position, ...]
    pages: int


@dataclass(frozen=True, slots=True)
class Transaction:
    """Money or shares that moved. `posted` is None while it is pending; `type` is free text (Bought, Dividend, …);
    `quantity` is below zero for a sale."""

    id: str
    account: str = field(repr=False)
    time: datetime
    posted: datetime | None
    amount: Decimal
    type: str
    description: str
    memo: str
    symbol: str
    quantity: Decimal | None
    price: Decimal | None
    fee: Decimal | None
    settles: datetime | None
    order: str = ""


@dataclass(frozen=True, slots=True)
class TransactionsPage:
    """One page, the marker of the next ('' on the last)."""

    transactions: tuple[Transaction, ...]
    marker: str


def read_accounts(body: Fields) -> tuple[Account, ...]:
    return tuple(_account(item) for item in body.need_child("Accounts").need_many("Account"))


def _account(item: Fields) -> Account:
    return Account(
        item.need_text("accountId"),
        item.need_text("accountIdKey"),
        item.text("accountMode"),
        item.text("accountDesc"),
        item.text("accountName"),
        item.text("accountType"),
        item.text("institutionType"),
        item.need_text("accountStatus"),
        item.time("closedDate"),
    )


def read_balance(body: Fields) -> Balance:
    cash, computed = body.child("Cash"), body.need_child("Computed")
    now, calls = computed.need_child("RealTimeValues"), computed.child("OpenCalls")
    owed = (calls.number(name) for name in ("minEquityCall", "fedCall", "cashCall", "houseCall"))
    return Balance(
        account=body.text("accountId"),
        type=body.need_text("accountType"),
        mode=body.text("accountMode"),
        option_level=body.text("optionLevel"),
        day_trader=body.text("dayTraderStatus"),
        quote_mode=body.whole("quoteMode"),
        money_market=cash.number("moneyMktBalance"),
        held_for_orders=cash.number("fundsForOpenOrdersCash"),
        for_investment=computed.need_number("cashAvailableForInvestment"),
        for_withdrawal=computed.number("cashAvailableForWithdrawal"),
        net_cash=computed.need_number("netCash"),
        cash_balance=computed.number("cashBalance"),
        settled_cash=computed.number("settledCashForInvestment"),
        unsettled_cash=computed.number("unSettledCashForInvestment"),
        cash_buying_power=computed.number("cashBuyingPower"),
        margin_buying_power=computed.number("marginBuyingPower"),
        margin_balance=computed.number("marginBalance"),
        total_value=now.need_number("totalAccountValue"),
        market_value=now.number("netMv"),
        calls=sum((call for call in owed if call), Decimal(0)),
    )


def read_portfolio(body: Fields) -> PortfolioPage:
    positions, pages = [], 1
    for portfolio in body.need_many("AccountPortfolio"):
        pages = max(pages, portfolio.whole("totalPages") or portfolio.whole("totalNoOfPages") or 1)
        positions += [_position(item) for item in portfolio.need_many("Position")]
    return PortfolioPage(tuple(positions), pages)


def _position(item: Fields) -> Position:
    quick = item.child("Quick")
    return Position(
        id=item.need_id("positionId"),
        product=read_product(item.need_child("Product")),
        description=item.text("symbolDescription"),
        kind=item.text("positionType"),
        quantity=item.need_number("quantity"),
        price_paid=item.need_number("pricePaid"),
        cost=item.number("totalCost"),
        market_value=item.need_number("marketValue"),
        gain=item.number("totalGain"),
        day_gain=item.number("daysGain"),
        commissions=item.number("commissions"),
        acquired=item.time("dateAcquired"),
        last=quick.price("lastTrade"),
        last_time=quick.time("lastTradeTime"),
        quote_status=quick.text("quoteStatus"),
        lots=tuple(_lot(lot) for lot in item.many("positionLot")),
    )


def read_lots(body: Fields) -> tuple[Lot, ...]:
    return tuple(_lot(lot) for lot in body.need_many("PositionLot"))


def _lot(item: Fields) -> Lot:
    return Lot(
        id=item.need_id("positionLotId"),
        position=item.need_id("positionId"),
        price=item.need_number("price"),
        original=item.need_number("originalQty"),
        remaining=item.need_number("remainingQty"),
        available=item.number("availableQty"),
        cost=item.number("totalCost"),
        acquired=item.time("acquiredDate"),
        order=item.id("orderNo"),
    )


def read_transactions(body: Fields) -> TransactionsPage:
    none = body.whole("transactionCount") == 0
    rows = body.many("Transaction") if none else body.need_many("Transaction")
    found = tuple(_transaction(item) for item in rows)
    return TransactionsPage(found, body.text("marker") if body.text("next") else "")


def read_transaction(body: Fields) -> Transaction:
    return _transaction(body)


def _transaction(item: Fields) -> Transaction:
    trade = item.child("Brokerage")
    return Transaction(
        id=item.need_text("transactionId"),
        account=item.text("accountId"),
        time=item.need_time("transactionDate"),
        posted=item.time("postDate"),
        amount=item.need_number("amount"),
        type=item.text("transactionType") or trade.need_text("transactionType"),
        description=item.text("description"),
        memo=item.text("memo") or trade.text("memo"),
        symbol=trade.child("Product").text("symbol"),
        quantity=trade.number("quantity"),
        price=trade.number("price"),
        fee=trade.number("fee"),
        settles=trade.time("settlementDate"),
        order=trade.text("orderNo"),
    )
