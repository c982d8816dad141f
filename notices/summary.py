"""A desk's day in one mail: what each symbol brought, what is held, how the accounts stand."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from desk.live_book import LiveBook
from desk.place import Place
from desk.reader import Reader
from domain.instruments import instrument
from domain.notices import ABOUT, Kind
from domain.orders import Fill
from domain.positions import Position
from domain.quotes import Quote
from notices.happenings import Happening, plain, short
from notices.rules import NEW_YORK

ZERO = Decimal(0)
MOST_FILLS = 100_000
_ZONE = ZoneInfo(NEW_YORK)


def due(now: datetime, at: time, traded: bool) -> date | None:
    """The day whose summary is due at `now`: a session's, or one on which something was traded; None before its
    time."""
    here = now.astimezone(_ZONE)
    session = instrument("SPY").calendar.session_open(here.date()) is not None
    return here.date() if here.time() >= at and (session or traded) else None


def day_began(now: datetime) -> datetime:
    """Midnight in New York."""
    return datetime.combine(now.astimezone(_ZONE).date(), time(), _ZONE).astimezone(UTC)


def fills_of_day(reader: Reader, account: str, now: datetime) -> list[Fill]:
    """The fills of an account since midnight in New York."""
    began, found, before = day_began(now), list[Fill](), None
    while len(found) < MOST_FILLS:
        page = reader.fills(account=account, before=before, most=500)
        found += [heard.fill for heard in page if heard.fill.time >= began]
        if not page or page[-1].fill.time < began:
            break
        before = page[-1].seq
    return found


def summary(place: Place, reader: Reader, book: LiveBook, day: date, now: datetime) -> Happening:
    """The day of every account. A figure whose price is missing is n/a, and so are the sums with it."""
    quotes, parts, total = book.quotes(), list[str](), ZERO
    known = True
    for info in reader.accounts():
        fills = fills_of_day(reader, info.name, now)
        folded = reader.account(info.name)
        positions = folded.positions if folded else {}
        lines, brought = _table(positions, fills, quotes)
        known, total = known and brought is not None, total + (brought or ZERO)
        parts.append("\n".join([_head(reader, info.name, fills, now), *lines]))
    words = f"{total:+,.2f}" if known else "n/a"
    title = f"{day:%a %d %b}: {words} on {place.name}"
    text = "\n\n".join([place.words, *parts]) if parts else f"{place.words}\n\nNo account yet."
    return Happening(f"summary:{place.name}:{day}", Kind.SUMMARY, ABOUT[Kind.SUMMARY].severity, title, text, now)


def _head(reader: Reader, account: str, fills: list[Fill], now: datetime) -> str:
    last = reader.last_point(account)
    before = reader.equity_curve(account, day_began(now) - timedelta(days=7))
    earlier = [point for point in before if point.at < day_began(now)]
    worth = f"equity {last.equity:,.2f}" if last else "equity n/a"
    change = f" ({last.equity - earlier[-1].equity:+,.2f} since the day before)" if last and earlier else ""
    fees = sum((fill.fee for fill in fills), ZERO)
    return f"Account {short(account)}: {worth}{change}; {len(fills)} fills, fees {fees:,.2f}"


def _table(
    positions: dict[str, Position], fills: list[Fill], quotes: dict[str, Quote]
) -> tuple[list[str], Decimal | None]:
    """A line a symbol that was held or traded today, and what all of them brought; None where one is not known."""
    symbols = sorted({s for s, p in positions.items() if p.quantity} | {fill.symbol for fill in fills})
    if not symbols:
        return ["  nothing held, nothing traded"], ZERO
    lines = [f"  {'symbol':<10}{'held':>12}{'last':>12}{'today':>14}{'open':>14}"]
    days = list[Decimal | None]()
    for symbol in symbols:
        held, quote = positions.get(symbol, Position("", symbol)), quotes.get(symbol)
        today = brought(held, [fill for fill in fills if fill.symbol == symbol], quote)
        days.append(today)
        last = plain(quote.last) if quote else "n/a"
        unrealised = ZERO if not held.quantity else held.unrealised(quote.last) if quote else None
        figures = f"{plain(held.quantity):>12}{last:>12}{_signed(today):>14}{_signed(unrealised):>14}"
        lines.append(f"  {symbol:<10}{figures}")
    known = [day for day in days if day is not None]
    total = sum(known, ZERO) if len(known) == len(days) else None
    lines.append(f"  {'all':<10}{'':>24}{_signed(total):>14}")
    return lines, total


def brought(held: Position, fills: list[Fill], quote: Quote | None) -> Decimal | None:
    """What a symbol brought today after fees: today's cash, plus what is held now at the last price, minus what was
    held at the previous close. None where a price that counts is missing."""
    at_start = held.quantity - sum((fill.side.sign * fill.quantity for fill in fills), ZERO)
    worth = _worth(held.quantity, quote.last if quote else None)
    was = _worth(at_start, quote.previous_close if quote else None)
    if worth is None or was is None:
        return None
    return sum((fill.cash for fill in fills), ZERO) + worth - was


def _worth(quantity: Decimal, price: Decimal | None) -> Decimal | None:
    if not quantity:
        return ZERO
    return None if price is None else quantity * price


def _signed(amount: Decimal | None) -> str:
    return "n/a" if amount is None else f"{amount:+,.2f}"
