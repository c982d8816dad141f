"""What the page of the strategies at work reads: once for all who look, and anew only where the ledger has moved.

Prices are not part of it: they change with every tick, and only sums over what is held follow from them.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache

import numpy as np
import pandas as pd

import bootstrap
from desk import signal_record
from desk.adoptions import Adoption, BarDecision, State, adoptions, decisions, orders
from desk.ladder import Standing, stage_of, standing
from desk.own_trades import OwnTrades, Trade
from desk.signal_record import Mark
from domain import candles as cd
from domain.calendars import NEW_YORK
from domain.candles import timeframe
from domain.instruments import instrument
from domain.orders import Fill, Order
from domain.positions import ZERO, Position
from domain.quotes import Quote
from notices.summary import brought
from ui import holdings
from ui.live import Shared
from ui.session import Open

AHEAD = timedelta(days=10)
FRESH_S = 30  # its needs are of whole days and finished backtests, and take a look at files
_works, _stands = Shared(64), Shared(64)
_trades: dict[tuple[str, str], OwnTrades] = {}
_turn = threading.Lock()


@dataclass(frozen=True, slots=True)
class Work:
    """One strategy, as the ledger has it. `decided`: the newest decision by symbol; `held`: its own shares by symbol,
    below zero when short; `cash` its money beside them; `moves` the fills of its own shares."""

    adoption: Adoption
    decided: Mapping[str, BarDecision]
    held: Mapping[str, Decimal]
    cash: Decimal
    fees: Decimal
    closed: tuple[Trade, ...]
    open: tuple[Trade, ...]
    moves: tuple[Fill, ...]
    made: tuple[Order, ...]

    @property
    def working(self) -> bool:
        return self.adoption.state is State.WORKING

    @property
    def profits(self) -> list[Decimal]:
        return [trade.profit for trade in self.closed if trade.profit is not None]

    def equity(self, quotes: Mapping[str, Quote]) -> Decimal | None:
        """Its money and what it holds at the last prices; None where one is missing."""
        if any(symbol not in quotes for symbol in self.held):
            return None
        return self.cash + sum((own * quotes[symbol].last for symbol, own in self.held.items()), ZERO)

    def today(self, quotes: Mapping[str, Quote], now: datetime) -> dict[str, Decimal | None]:
        """What each symbol that it held or traded brought since midnight in New York, after fees; None where a price
        that counts is missing."""
        return today(self.held, self.moves, quotes, now)


def today(
    held: Mapping[str, Decimal], moves: tuple[Fill, ...], quotes: Mapping[str, Quote], now: datetime
) -> dict[str, Decimal | None]:
    """The same of any shares and the fills that moved them."""
    began = day_began(now)
    young = [fill for fill in moves if fill.time >= began]
    symbols = sorted({*held, *(fill.symbol for fill in young)})
    return {
        symbol: brought(
            Position("", symbol, held.get(symbol, ZERO)),
            [fill for fill in young if fill.symbol == symbol],
            quotes.get(symbol),
        )
        for symbol in symbols
    }


def total(parts: Mapping[str, Decimal | None]) -> Decimal | None:
    """Their sum; None where one of them is not known."""
    known = [part for part in parts.values() if part is not None]
    return sum(known, ZERO) if len(known) == len(parts) else None


def works(*, retired: bool = False) -> list[Work]:
    """Every strategy at work, the oldest first; with `retired`, those of the past as well."""
    reader = bootstrap.trading().reader
    mark = signal_record.mark(reader)
    found: list[Work] = _works.get((mark, retired), lambda: _read(mark, retired))
    return found


def mark() -> Mark:
    """How far the ledger has come."""
    return signal_record.mark(bootstrap.trading().reader)


def _read(mark: Mark, retired: bool) -> list[Work]:
    return [_work(one, mark) for one in adoptions(bootstrap.trading().reader, retired=retired)]


def _work(one: Adoption, mark: Mark) -> Work:
    reader = bootstrap.trading().reader
    with _turn:
        trades = _trades.setdefault((mark.ledger, one.id), OwnTrades(one)).refresh(reader)
        closed = tuple(sorted(trades.closed, key=lambda trade: trade.closed or trade.opened))
        return Work(
            one,
            {last.symbol: last for symbol in one.symbols for last in decisions(reader, one.id, symbol)},
            {symbol: line.own for symbol, line in trades.book.lines.items() if line.own},
            trades.book.cash,
            trades.book.fees,
            closed,
            tuple(trades.open),
            tuple(trades.moves),
            tuple(orders(reader, one, most=200)),
        )


def stand(one: Adoption, quotes: Mapping[str, Quote]) -> Standing:
    """Its rung, and what is missing for the next one."""
    trading = bootstrap.trading()
    now = int(trading.clock.now().timestamp()) // FRESH_S
    stage = stage_of(trading.reader, one, live=trading.place.needs_arming)

    def read() -> Standing:
        prices = {symbol: quote.last for symbol, quote in quotes.items()}
        point = trading.reader.last_point(one.account)
        equity = point.equity if point is not None else None
        return standing(trading.place, trading.reader, trading.clock, one, prices=prices, equity=equity)

    found: Standing = _stands.get((trading.place.ledger_url, one.id, len(stage.steps), now), read)
    return found


def quotes_of(app: Open, found: list[Work]) -> dict[str, Quote]:
    """The newest quote of whatever they hold, or have traded today."""
    trading = bootstrap.trading()
    began = day_began(trading.clock.now())
    symbols = {s for work in found for s in work.held}
    symbols |= {fill.symbol for work in found for fill in work.moves if fill.time >= began}
    return holdings.quotes(trading, app.desk, sorted(symbols))


# Days and bars


def day_of(moment: datetime) -> date:
    """The day of the exchange."""
    return moment.astimezone(NEW_YORK).date()


def day_began(now: datetime) -> datetime:
    """Midnight in New York."""
    return datetime.combine(day_of(now), time(), NEW_YORK).astimezone(UTC)


def next_close(symbol: str, interval: str, now: datetime) -> datetime | None:
    """When the bar closes that is the next one to be decided on; None beyond the calendar's end."""
    return _next_close(symbol, interval, int(now.timestamp()) // 30 * 30)


@lru_cache(maxsize=512)
def _next_close(symbol: str, interval: str, second: int) -> datetime | None:
    tf, what, now = timeframe(interval), instrument(symbol), datetime.fromtimestamp(second, UTC)
    back = timedelta(days=4) if tf.daily else tf.duration
    opens = cd.expected(now - back, now + AHEAD, tf, what)
    if not len(opens):
        return None
    ends = cd.ends(opens, tf, what)
    at = int(np.searchsorted(ends, pd.Timestamp(now).value, side="right"))
    if at == len(ends):
        return None
    found: datetime = pd.Timestamp(int(ends[at]), tz="UTC").to_pydatetime()
    return found
