"""The market: prices from a feed, or from a tape that a test writes, and the quotes E*TRADE makes of them."""

from __future__ import annotations

import csv
import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from datetime import time as wall_time
from decimal import Decimal
from pathlib import Path
from typing import Protocol

import pandas as pd

from domain.calendars import NEW_YORK, Phase, calendar
from domain.candles import Timeframe, nanos, timeframe
from domain.errors import DataError, DeskError
from domain.instruments import KNOWN, Instrument, instrument
from domain.quotes import Quote
from simulator._clock import MovedClock
from simulator._wire import Refused, Tree, in_words, number, seconds

EXCHANGE = "XNYS"
REGULAR = 2  # as calendars number the phases of a day
FIRST_PRE_MARKET = wall_time(7, 0)  # E*TRADE's own, three hours after the exchanges'
DELAY = timedelta(minutes=15)
MOST, MOST_WITH_OVERRIDE = 25, 50
STATUSES = (
    "REALTIME",
    "DELAYED",
    "CLOSING",
    "EH_REALTIME",
    "EH_BEFORE_OPEN",
    "EH_CLOSED",
    "INDICATIVE_REALTIME",
)
_log = logging.getLogger(__name__)
FLAGS = ("ALL", "FUNDAMENTAL", "INTRADAY", "OPTIONS", "WEEK_52", "MF_DETAIL")


class PriceSource(Protocol):
    """What the simulator needs of a feed."""

    async def candles(self, instrument: Instrument, tf: Timeframe, start: datetime, end: datetime) -> pd.DataFrame: ...

    async def quotes(self, instruments: Sequence[Instrument]) -> dict[str, Quote]: ...


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a tape: a symbol's price from the next tick on."""

    symbol: str
    last: Decimal
    bid: Decimal | None = None
    ask: Decimal | None = None
    volume: float | None = None
    previous_close: Decimal | None = None

    @classmethod
    def read(cls, row: Mapping[str, object]) -> Row:
        """DataError where it is no sound line."""
        prices = {name: row.get(name) for name in ("last", "bid", "ask", "previous_close")}
        try:
            found = {name: Decimal(str(price)) for name, price in prices.items() if price not in (None, "")}
            volume = None if row.get("volume") in (None, "") else float(str(row["volume"]))
            line = cls(instrument(str(row["symbol"])).symbol, volume=volume, **found)
        except (ArithmeticError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"tape: a line has symbol and last, may have bid, ask, volume: got {dict(row)}") from error
        if any(not price.is_finite() or price <= 0 for price in found.values()):
            raise DataError(f"tape: prices must be above zero: got {dict(row)}")
        return line


@dataclass(slots=True)
class Day:
    """What a symbol's session has shown so far; `regular` is its last price in regular hours."""

    day: date
    open: Decimal
    high: Decimal
    low: Decimal
    regular: Decimal | None = None

    def seen(self, price: Decimal, open_now: bool) -> None:
        """Regular hours only, once they have begun."""
        if open_now and self.regular is None:
            self.open = self.high = self.low = price
        if open_now or self.regular is None:
            self.high, self.low = max(self.high, price), min(self.low, price)
        if open_now:
            self.regular = price


@dataclass(frozen=True, slots=True)
class Year:
    """What daily candles say: the year's extremes and yesterday's volume."""

    high: float
    low: float
    high_day: int
    low_day: int
    volume: int
    average_volume: int
    perf: float


class Market:
    """The newest quote of every symbol. A symbol on the tape leaves the feed."""

    def __init__(self, clock: MovedClock, feed: PriceSource | None) -> None:
        self._clock, self._feed = clock, feed
        self._quotes: dict[str, Quote] = {}
        self._days: dict[str, Day] = {}
        self._years: dict[tuple[str, date], Year] = {}
        self._tape: dict[str, deque[Row]] = {}
        self._up: dict[str, bool] = {}
        self._halted: set[str] = set()
        self.quote_status = ""

    # Where prices come from

    def script(self, rows: Iterable[Row]) -> None:
        """Queue lines: every tick takes the next of each symbol, the last one stays."""
        for row in rows:
            self._tape.setdefault(row.symbol, deque()).append(row)

    def set_price(self, row: Row) -> None:
        """The price from now on, whatever was queued; a halt ends with it."""
        self._halted.discard(row.symbol)
        self._tape[row.symbol] = deque()
        self._told(row)

    async def halt(self, symbol: str, on: bool) -> None:
        """Nothing trades in it until the halt ends. Its quotes go on as E*TRADE's do: only the time of its last trade
        stands still. ValueError where it has no price."""
        await self.refresh([symbol])
        if symbol not in self._quotes:
            raise ValueError(f"{symbol} has no price that could be halted: set one first")
        (self._halted.add if on else self._halted.discard)(symbol)

    def forget(self) -> None:
        """Back to the feed's prices."""
        self._halted.clear()
        self._tape.clear()
        self._quotes.clear()
        self._days.clear()

    def new_day(self, symbol: str) -> None:
        """What it has shown so far counts no more, today's prices and last year's: it was split."""
        self._days.pop(symbol, None)
        for known in [key for key in self._years if key[0] == symbol]:
            del self._years[known]
        if (quote := self._quotes.get(symbol)) is not None:
            self._took(quote)

    def drop(self, symbol: str) -> None:
        """It is traded no more; the feed may know it all the same."""
        self._halted.discard(symbol)
        for kept in (self._tape, self._quotes, self._days, self._up):
            kept.pop(symbol, None)

    def turn(self) -> None:
        """The tape's next line of every symbol; where it has ended the price stands, at a new time."""
        for symbol, rows in self._tape.items():
            if symbol in self._halted:
                continue
            if rows:
                self._told(rows.popleft())
            elif symbol in self._quotes:
                self._took(replace(self._quotes[symbol], time=self._clock.now()))

    async def refresh(self, symbols: Iterable[str]) -> None:
        """Ask the feed for those it may know; a feed that fails leaves the prices as they were."""
        wanted = [KNOWN[s] for s in dict.fromkeys(symbols) if s in KNOWN and s not in self._tape]
        stocks = [what for what in wanted if not what.is_crypto and what.symbol not in self._halted]
        if self._feed is None or not stocks:
            return
        try:
            found = await self._feed.quotes(stocks)
            for quote in found.values():
                await self._begin(quote)
                self._took(quote)
        except DeskError as error:
            _log.warning("the feed gave no prices: %s", error)

    def newest(self, symbol: str) -> Quote | None:
        return self._quotes.get(symbol)

    @property
    def known(self) -> list[str]:
        return sorted({*self._tape, *(s for s, what in KNOWN.items() if self._feed and not what.is_crypto)})

    def _told(self, row: Row) -> None:
        before = self._quotes.get(row.symbol)
        volume = row.volume if row.volume is not None else (before.volume if before else 1_000_000.0)
        close = row.previous_close or (before.previous_close if before else None) or row.last
        self._took(Quote(row.symbol, self._clock.now(), row.last, "tape", row.bid, row.ask, volume, close))

    def _took(self, quote: Quote) -> None:
        before = self._quotes.get(quote.symbol)
        if before is not None and before.last != quote.last:
            self._up[quote.symbol] = quote.last > before.last
        self._quotes[quote.symbol] = quote
        today = self._clock.now().astimezone(NEW_YORK).date()
        day = self._days.get(quote.symbol)
        if day is None or day.day != today:
            day = self._days[quote.symbol] = Day(today, quote.last, quote.last, quote.last)
        day.seen(quote.last, phase(self._clock.now()) is Phase.OPEN)

    async def _begin(self, quote: Quote) -> None:
        """What went before the first look at a symbol today: its session so far and its year."""
        now, what = self._clock.now(), instrument(quote.symbol)
        today = now.astimezone(NEW_YORK).date()
        if self._feed is None or (quote.symbol, today) in self._years:
            return
        daily = await self._feed.candles(what, timeframe("1d"), now - timedelta(days=365), now)
        if len(daily):
            self._years[quote.symbol, today] = _year(daily)
        opened = what.calendar.session_open(today)
        if opened is None or now < opened:
            return
        minutes = await self._feed.candles(what, timeframe("1m"), opened, now)
        regular = minutes[what.calendar.locate(nanos(minutes))[1] == REGULAR]
        if len(regular):
            first, high, low = (_price(what, x) for x in (regular.open.iloc[0], regular.high.max(), regular.low.min()))
            self._days[quote.symbol] = Day(today, first, high, low, _price(what, regular.close.iloc[-1]))

    # What E*TRADE makes of it

    def status(self) -> str:
        """How quotes are marked: as told, else by the hour."""
        if self.quote_status:
            return self.quote_status
        now = phase(self._clock.now())
        return {Phase.OPEN: "REALTIME", Phase.CLOSED: "CLOSING"}.get(now, "EH_REALTIME")

    async def quote_tree(self, symbols: list[str], query: dict[str, str]) -> Tree:
        """QuoteResponse. Unknown symbols stand in its messages; where none is known there is no QuoteData."""
        symbols = [each for symbol in symbols if (each := symbol.strip().upper())]
        flag = query.get("detailflag", "ALL").upper()
        if flag not in FLAGS:
            raise Refused(400, 1020, "Invalid Detail Flag")
        override = query.get("overridesymbolcount", "").lower() == "true"
        if len(symbols) > MOST_WITH_OVERRIDE:
            raise Refused(400, 1025, "Number of symbols exceeds the limit of 50")
        if len(symbols) > MOST and not override:
            raise Refused(400, 1023, "Number of symbols exceeds the limit of 25")
        if flag == "MF_DETAIL":
            raise Refused(400, 1024, "Mutual fund details need a mutual fund symbol")
        await self.refresh(symbols)
        known = [self._quotes[s] for s in symbols if s in self._quotes]
        unknown = [s for s in symbols if s not in self._quotes]
        tree: Tree = {}
        if known:
            earnings = query.get("requireearningsdate", "").lower() == "true"
            tree["QuoteData"] = [self._data(quote, flag, earnings) for quote in known]
        if unknown:
            said = [{"description": f"{s} is an invalid symbol", "code": 1002, "type": "ERROR"} for s in unknown]
            tree["Messages"] = {"Message": said}
        return {"QuoteResponse": tree}

    def lookup(self, text: str) -> Tree:
        """By company name or symbol, ten at most."""
        wanted = text.strip().upper()
        hits = [s for s in self.known if wanted and (wanted in company(s) or s.startswith(wanted))]
        if not hits:
            raise Refused(400, 10033, "No matching symbol was found")
        data = [{"symbol": s, "description": company(s), "type": "EQUITY"} for s in hits[:10]]
        return {"LookupResponse": {"Data": data}}

    def _data(self, quote: Quote, flag: str, earnings: bool) -> Tree:
        status, now = self.status(), self._clock.now()
        shown = now - DELAY if status == "DELAYED" else now
        detail = {"ALL": "All", "WEEK_52": "Week52", "OPTIONS": "Option"}.get(flag, flag.title())
        everything = self._all(quote, shown, earnings)
        kept = {name: everything[name] for name in _FIELDS[flag]} if flag in _FIELDS else everything
        if flag == "WEEK_52":
            year = self._year_of(quote)
            kept["perf12Months"] = 0 if year is None else number(year.perf, 2)
        return {
            "dateTime": in_words(shown),
            "dateTimeUTC": seconds(shown),
            "quoteStatus": status,
            "ahFlag": "false" if phase(now) is Phase.OPEN else "true",
            "hasMiniOptions": False,
            detail: kept,
            "Product": {"symbol": quote.symbol, "securityType": "EQ"},
        }

    def _year_of(self, quote: Quote) -> Year | None:
        today = self._clock.now().astimezone(NEW_YORK).date()
        return self._years.get((quote.symbol, today))

    def shown_last(self, quote: Quote) -> Decimal:
        """The regular session's last price: outside of it the live one stands in ExtendedHourQuoteDetail."""
        if phase(self._clock.now()) is Phase.OPEN:
            return quote.last
        day = self._days.get(quote.symbol)
        return (day.regular if day else None) or quote.previous_close or quote.last

    def _all(self, quote: Quote, shown: datetime, earnings: bool) -> Tree:
        last, year, at = self.shown_last(quote), self._year_of(quote), in_words(shown)
        before, day = quote.previous_close or last, self._days[quote.symbol]
        high52 = max(year.high, float(day.high)) if year else float(day.high)
        low52 = min(year.low, float(day.low)) if year else float(day.low)
        name = company(quote.symbol)
        tree: Tree = {
            "adjustedFlag": False,
            "ask": number(quote.ask or quote.last),
            "askSize": 300,
            "askTime": at,
            "bid": number(quote.bid or quote.last),
            "bidExchange": " ",
            "bidSize": 200,
            "bidTime": at,
            "changeClose": number(last - before),
            "changeClosePercentage": number((last / before - 1) * 100, 2),
            "companyName": name[:40],
            "daysToExpiration": 0,
            "dirLast": "1" if self._up.get(quote.symbol, True) else "2",
            "dividend": 0,
            "eps": 0,
            "estEarnings": 0,
            "exDividendDate": 0,
            "high": number(day.high),
            "high52": number(high52),
            "lastTrade": number(last),
            "low": number(day.low),
            "low52": number(low52),
            "open": number(day.open),
            "openInterest": 0,
            "optionStyle": "",
            "optionUnderlier": "",
            "previousClose": number(before),
            "previousDayVolume": year.volume if year else 0,
            "primaryExchange": "NSDQ",
            "symbolDescription": name,
            "totalVolume": int(quote.volume),
            "upc": 0,
            "cashDeliverable": 0,
            "marketCap": 0,
            "sharesOutstanding": 0,
            "nextEarningDate": _earnings(quote.symbol, shown) if earnings else "",
            "beta": 1,
            "yield": 0,
            "declaredDividend": 0,
            "dividendPayableDate": 0,
            "pe": 0,
            "week52LowDate": year.low_day if year else 0,
            "week52HiDate": year.high_day if year else 0,
            "intrinsicValue": 0,
            "timePremium": 0,
            "optionMultiplier": 0,
            "contractSize": 0,
            "expirationDate": 0,
            "timeOfLastTrade": seconds(min(quote.time, shown)),
            "averageVolume": year.average_volume if year else 0,
        }
        if phase(self._clock.now()) is not Phase.OPEN:
            tree["ExtendedHourQuoteDetail"] = self._extended(quote, last)
        return tree

    def _extended(self, quote: Quote, last: Decimal) -> Tree:
        closed = phase(self._clock.now()) is Phase.CLOSED
        return {
            "lastPrice": number(quote.last),
            "change": number(quote.last - last),
            "percentChange": number((quote.last / last - 1) * 100, 2),
            "bid": number(quote.bid or quote.last),
            "bidSize": 100,
            "ask": number(quote.ask or quote.last),
            "askSize": 300,
            "volume": 0,
            "timeOfLastTrade": seconds(quote.time),
            "timeZone": "",
            "quoteStatus": "EH_CLOSED" if closed else "EH_REALTIME",
        }


_FIELDS = {
    "FUNDAMENTAL": ("companyName", "eps", "estEarnings", "high52", "lastTrade", "low52", "symbolDescription"),
    "INTRADAY": (
        *("ask", "bid", "changeClose", "changeClosePercentage", "companyName"),
        *("high", "lastTrade", "low", "totalVolume"),
    ),
    "OPTIONS": (
        *("ask", "askSize", "bid", "bidSize", "companyName", "daysToExpiration", "lastTrade", "openInterest"),
        *("intrinsicValue", "timePremium", "optionMultiplier", "contractSize", "symbolDescription"),
    ),
    "WEEK_52": (*("companyName", "high52", "lastTrade", "low52", "previousClose", "symbolDescription", "totalVolume"),),
}


def phase(moment: datetime) -> Phase:
    """Where E*TRADE's day is: its pre-market begins at 07:00."""
    found = calendar(EXCHANGE).phase(moment)
    early = found is Phase.PRE and moment.astimezone(NEW_YORK).time() < FIRST_PRE_MARKET
    return Phase.CLOSED if early else found


def company(symbol: str) -> str:
    """`APPLE INC`-like: what the simulator calls a company."""
    return f"{KNOWN[symbol].name.upper()} COM" if symbol in KNOWN else symbol


def read_tape(path: Path) -> list[Row]:
    """A CSV file with the columns symbol, last and, where they are wanted, bid, ask, volume, previous_close."""
    with path.open(newline="", encoding="utf-8") as file:
        return [Row.read(row) for row in csv.DictReader(file)]


def no_options(query: dict[str, str]) -> Tree:
    """The simulator trades shares only."""
    if not query.get("symbol"):
        raise Refused(400, 10033, "Invalid symbol")
    raise Refused(400, 10032, "There are no options for the given symbol.")


def _earnings(symbol: str, now: datetime) -> str:
    """A made-up date 10 to 89 days ahead, the same for a symbol all quarter long."""
    quarter = date(now.year, 3 * ((now.month - 1) // 3) + 1, 1) + timedelta(days=sum(map(ord, symbol)) % 80 + 10)
    ahead = quarter if quarter > now.date() else quarter + timedelta(days=91)
    return ahead.strftime("%m/%d/%Y")


def _price(what: Instrument, price: float) -> Decimal:
    return what.round_price(Decimal(str(price)))


def _year(daily: pd.DataFrame) -> Year:
    days = nanos(daily) // 1_000_000_000
    return Year(
        high=float(daily.high.max()),
        low=float(daily.low.min()),
        high_day=int(days[int(daily.high.to_numpy().argmax())]),
        low_day=int(days[int(daily.low.to_numpy().argmin())]),
        volume=int(daily.volume.iloc[-1]),
        average_volume=int(daily.volume.tail(30).mean()),
        perf=float((daily.close.iloc[-1] / daily.close.iloc[0] - 1) * 100),
    )
