"""Quotes and names of instruments, as E*TRADE tells them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from etrade.fields import Fields

INVALID_SYMBOL = 1002


class QuoteStatus(StrEnum):
    """How fresh a quote is. Only the REALTIME ones are."""

    REALTIME = "REALTIME"
    DELAYED = "DELAYED"
    CLOSING = "CLOSING"
    EH_REALTIME = "EH_REALTIME"
    EH_BEFORE_OPEN = "EH_BEFORE_OPEN"
    EH_CLOSED = "EH_CLOSED"
    INDICATIVE_REALTIME = "INDICATIVE_REALTIME"


LIVE = frozenset({QuoteStatus.REALTIME, QuoteStatus.EH_REALTIME})


class Detail(StrEnum):
    """How much a quote tells. INTRADAY has no open, no previous close and no sizes."""

    ALL = "ALL"
    INTRADAY = "INTRADAY"


@dataclass(frozen=True, slots=True)
class Option:
    """What makes a product an option; `call` False for a put."""

    call: bool
    expires: date
    strike: Decimal


@dataclass(frozen=True, slots=True)
class Product:
    """What is traded: `kind` is EQ, OPTN, INDX, MF, MMF or BOND."""

    symbol: str
    kind: str
    option: Option | None = None

    @property
    def key(self) -> str:
        """As a request names it: `MSFT`, or `AAPL:2025:11:21:CALL:260`."""
        if self.option is None:
            return self.symbol
        on, side = self.option.expires, "CALL" if self.option.call else "PUT"
        strike = f"{self.option.strike.normalize():f}"
        return f"{self.symbol}:{on.year}:{on.month}:{on.day}:{side}:{strike}"


@dataclass(frozen=True, slots=True)
class EtradeQuote:
    """A quote. Outside regular hours `last` stays at the regular close and `extended` is the price; a price E*TRADE
    gives as 0 is None. `volume` is the day's so far; `next_earnings` only where it was asked for."""

    product: Product
    status: str
    time: datetime
    last: Decimal | None
    bid: Decimal | None
    ask: Decimal | None
    bid_size: Decimal | None
    ask_size: Decimal | None
    open: Decimal | None
    high: Decimal | None
    low: Decimal | None
    previous_close: Decimal | None
    volume: Decimal
    average_volume: Decimal | None
    last_time: datetime | None
    exchange: str
    company: str
    next_earnings: date | None
    extended: Extended | None

    @property
    def live(self) -> bool:
        """Whether it may be traded on."""
        return self.status in LIVE

    @property
    def after_hours(self) -> bool:
        return self.extended is not None


@dataclass(frozen=True, slots=True)
class Extended:
    """The price outside regular hours."""

    last: Decimal | None
    bid: Decimal | None
    ask: Decimal | None
    volume: Decimal | None
    time: datetime | None
    status: str


@dataclass(frozen=True, slots=True)
class QuotesPage:
    """One call's quotes, and what E*TRADE remarked about the others: (code, text)."""

    quotes: tuple[EtradeQuote, ...]
    remarks: tuple[tuple[int | None, str], ...]


@dataclass(frozen=True, slots=True)
class Quotes:
    """Quotes by `Product.key`; `unknown` are the symbols asked for that no quote came for."""

    by_symbol: Mapping[str, EtradeQuote]
    unknown: tuple[str, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """An instrument whose company's name matched."""

    symbol: str
    description: str
    type: str


def read_product(item: Fields) -> Product:
    """An option that cannot be told is a fault: it must never pass for the share under it."""
    symbol, kind = item.need_text("symbol"), item.need_text("securityType")
    return Product(symbol, kind, _option(item) if kind == "OPTN" else None)


def _option(item: Fields) -> Option | None:
    year, month, day = (item.whole(f"expiry{part}") or 0 for part in ("Year", "Month", "Day"))
    side, strike = item.need_text("callPut").upper(), item.need_number("strikePrice")
    try:
        expires = date(year + 2000 if 0 < year < 100 else year, month, day)
    except (ValueError, OverflowError):
        item.faults.append("Product is an option without a day it expires on")
        return None
    if side not in ("CALL", "PUT"):
        item.faults.append("Product is an option that is neither a call nor a put")
    return Option(side == "CALL", expires, strike)


def read_quotes(body: Fields) -> QuotesPage:
    remarks = tuple((m.whole("code"), m.text("description")) for m in body.child("Messages").many("Message"))
    rows = body.many("QuoteData") if remarks else body.need_many("QuoteData", some=True)
    return QuotesPage(tuple(_quote(row) for row in rows), remarks)


def _quote(row: Fields) -> EtradeQuote:
    detail = row.need_child("All") if not row.has("Intraday") else row.child("Intraday")
    return EtradeQuote(
        product=read_product(row.need_child("Product")),
        status=row.need_text("quoteStatus"),
        time=row.need_time("dateTimeUTC"),
        last=detail.price("lastTrade") if detail.need_number("lastTrade") else None,
        bid=detail.price("bid"),
        ask=detail.price("ask"),
        bid_size=detail.number("bidSize"),
        ask_size=detail.number("askSize"),
        open=detail.price("open"),
        high=detail.price("high"),
        low=detail.price("low"),
        previous_close=detail.price("previousClose"),
        volume=detail.need_quantity("totalVolume"),
        average_volume=detail.number("averageVolume"),
        last_time=detail.time("timeOfLastTrade"),
        exchange=detail.text("primaryExchange"),
        company=detail.text("companyName"),
        next_earnings=_earnings(detail.text("nextEarningDate")),
        extended=_extended(detail),
    )


def _extended(detail: Fields) -> Extended | None:
    name = "ExtendedHourQuoteDetail" if detail.has("ExtendedHourQuoteDetail") else "ehQuote"
    if not detail.has(name):
        return None
    found = detail.child(name)
    return Extended(
        found.price("lastPrice"),
        found.price("bid"),
        found.price("ask"),
        found.number("volume"),
        found.time("timeOfLastTrade"),
        found.text("quoteStatus"),
    )


def _earnings(text: str) -> date | None:
    """mm/dd/yyyy, or nothing that can be told."""
    parts = text.split("/")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() and len(part) <= 4 for part in parts):
        return None
    try:
        return date(int(parts[2]), int(parts[0]), int(parts[1]))
    except ValueError:
        return None


def read_found(body: Fields) -> tuple[Found, ...]:
    return tuple(
        Found(row.need_text("symbol"), row.text("description"), row.text("type")) for row in body.need_many("Data")
    )
