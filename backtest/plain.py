"""The plain pass: the same run in plain Python over `domain.matching`, in exact money, bar by bar.

It is the reference the compiled pass is held to, and the way for a strategy that must look at its own position: such a
one is asked at each close (`on_bar`) and says what it wants through the desk. Bars in which nothing can happen are
passed over quickly, unless it is told to be careful; it then takes some hundred times as long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

import numpy as np
import pandas as pd

from backtest import book as b
from backtest import sizing
from backtest.book import Floats
from backtest.inputs import Inputs, One
from backtest.plain_book import Book
from backtest.run import Walked
from backtest.setup import Setup
from domain.fill_prices import paid
from domain.orders import Fill
from domain.quotes import Bar


class Seen(NamedTuple):
    """A closed bar as `on_bar` sees it; `row` is its place in its own symbol's candles."""

    symbol: str
    row: int
    time: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float

    @property
    def bar(self) -> Bar:
        return Bar(self.time, self.open, self.high, self.low, self.close, self.volume)


STRETCH = 4096
OnBar = Callable[[Seen, "Desk"], None]


class Desk:
    """What `on_bar` may see and ask: `desk.want(0.5)` holds until another wish, for the symbol of this bar."""

    def __init__(self, inputs: Inputs) -> None:
        self.setup = _exact(inputs.setup)
        self.cash, self.money = Decimal(str(inputs.setup.cash)), inputs.setup.cash
        self.fills: list[list[float]] = []
        self.trades: list[list[float]] = []
        most = replace(self.setup.fills, ignore_volume=True)
        self.books = {
            one.instrument.symbol: Book(number, one.instrument, self.setup, self._spend, most, self.fills, self.trades)
            for number, one in enumerate(inputs.ones)
        }
        self.cut = self.refused = 0
        self.busy = False
        self._known = {one.instrument.symbol: _first_known(one) for one in inputs.ones}
        self._ones = {one.instrument.symbol: one for one in inputs.ones}
        self._wishes = dict.fromkeys(self.books, 0.0)
        self._symbol = ""

    def want(self, exposure: float) -> None:
        """Wanted exposure in [-1, 1] from the next open on. ValueError for anything else."""
        if not -1.0 <= exposure <= 1.0:
            raise ValueError(f"{self._symbol}: exposure must be a number in [-1, 1]: got {exposure}")
        self._wishes[self._symbol] = float(exposure) if self.setup.short else max(float(exposure), 0.0)

    @property
    def position(self) -> float:
        """What is held of this bar's symbol, minus for short."""
        return self.books[self._symbol].size

    @property
    def entry(self) -> float | None:
        """The average price paid for it, None where nothing is held."""
        trade = self.books[self._symbol].trade
        return float(trade.paid / trade.bought) if trade is not None else None

    @property
    def equity(self) -> float:
        """The account at the last closes."""
        return self.money + self.worth({})[0]

    def worth(self, bars: dict[str, Bar]) -> tuple[float, float]:
        """Positions at these bars' opens, or the last closes: net and gross."""
        values = [
            float(book.position) * (bars[symbol].open if symbol in bars else book.mark)
            for symbol, book in self.books.items()
        ]
        return sum(values), sum(map(abs, values))

    # One moment

    def at_open(self, row: int, bars: dict[str, Bar]) -> None:
        """What is due at the open: closings of all symbols, then openings with what is free then."""
        trading = {s: bar for s, bar in bars.items() if self.books[s].waits and self.books[s].trades_in(bar)}
        for symbol, bar in trading.items():
            book = self.books[symbol]
            if book.pending * book.side > 0 and book.leaving is None:
                self._place(book, book.pending, self.money + self.worth(bars)[0], bar.open, bar)
            book.close_at_open(bar, row)
        for symbol, bar in trading.items():
            book = self.books[symbol]
            if book.closing is None and book.leaving is None and (book.opening or book.pending):
                self._open(book, bar, row, bars)
            book.guard()
        self.busy = any(book.waits for book in self.books.values())

    def inside(self, row: int, seen: Seen, careful: bool) -> None:
        """Stops and targets against a bar, then its close."""
        book = self.books[seen.symbol]
        if book.size != 0.0 and (careful or seen.low <= book.floor or seen.high >= book.ceiling):
            book.hold(seen.bar, row)
            book.guard()
            self.busy = self.busy or book.waits
        book.close_of(seen.low, seen.high, seen.close)

    def at_close(self, row: int, seen: Seen, ask: OnBar) -> None:
        """Ask, and turn a changed wish into orders."""
        self._symbol = symbol = seen.symbol
        book, most = self.books[symbol], self.setup.max_bars
        ask(seen, self)
        trade = book.trade
        if most and trade and trade.held >= most and book.leaving is None and book.closing is None:
            book.leave_after(seen.bar)
            self.busy = True
        wish = self._wishes[symbol] if seen.row >= self._known[symbol] else 0.0
        if abs(wish - book.want) > b.CLOSE_ENOUGH:
            book.want, book.signal_row, book.decision = wish, row, seen.close
            ranges = self._ones[symbol].ranges[:, seen.row].tolist()
            book.ranges = dict(zip(self.setup.periods, ranges, strict=True))
            self._decide(book, wish, seen.bar)
            self.busy = True

    def _decide(self, book: Book, wish: float, bar: Bar) -> None:
        if self.setup.size_at == "close":
            self._place(book, wish, self.equity, bar.close, bar)
            return
        turning = book.side * wish <= 0 and book.leaving is None
        book.place(0.0, Decimal(0), bar)
        if not turning:
            book.closing = None
        book.pending = wish

    def _place(self, book: Book, wish: float, equity: float, price: float, bar: Bar) -> None:
        lot = book.instrument.lot
        lots = self._lots(book, wish, equity, price, float(lot))
        self.refused += wish != 0.0 and lots == 0
        book.place(wish, int(lots) * lot, bar)

    def _lots(self, book: Book, wish: float, equity: float, price: float, lot: float) -> float:
        setup = self.setup
        if wish == 0.0:
            return 0.0
        if setup.sizing == "equity":
            return sizing.lots_by_equity(wish, setup.fraction, equity, price, lot)
        if setup.sizing == "shares":
            return sizing.whole_lots(abs(wish) * setup.shares, lot)
        away = book.away(setup.stop, price) or book.away(setup.trail, price)
        return sizing.lots_by_risk(wish, setup.risk_per_trade, equity, away, setup.max_position_pct, price, lot)

    def _open(self, book: Book, bar: Bar, row: int, bars: dict[str, Bar]) -> None:
        net, gross = self.worth(bars)
        equity = self.money + net
        if book.pending:
            self._place(book, book.pending, equity, bar.open, bar)
        if book.opening is None:
            return
        fills, lot, side = self.setup.fills, book.instrument.lot, book.opening.request.side.sign
        pays = fills.commission
        price = paid(bar.open, side, fills.half_spread_bps + fills.slippage_bps, float(book.instrument.tick))
        first = float(max(pays.per_order, pays.minimum))
        room = self.setup.leverage * equity - gross
        can = sizing.lots_affordable(room, price, float(lot), first, float(pays.per_share), float(pays.bps))
        if int(can) * lot < book.opening.remaining:
            self.cut += 1
            book.opening = replace(book.opening, remaining=int(can) * lot) if can > 0 else None
        if book.opening is not None:
            book.open_at_open(bar, row)

    def _spend(self, fill: Fill) -> None:
        self.cash += fill.cash
        self.money = float(self.cash)


def walk(inputs: Inputs, ask: OnBar, *, careful: bool = False) -> Walked:
    """The run, in plain Python; `careful` asks the fill rules about every bar of a position."""
    desk = Desk(inputs)
    cash, nets, grosses = [inputs.setup.cash], [0.0], [0.0]
    every = list(desk.books.values())
    for row, present in _rows(inputs):
        if desk.busy or careful:
            desk.at_open(row, {seen.symbol: seen.bar for seen in present})
        for seen in present:
            desk.inside(row, seen, careful)
        values = [book.size * book.mark for book in every]
        cash.append(desk.money)
        nets.append(sum(values))
        grosses.append(sum(map(abs, values)))
        for seen in present:
            desk.at_close(row, seen, ask)
    net, gross = np.array(nets), np.array(grosses)
    equity = np.array(cash) + net
    books, last, trades = desk.books.values(), len(inputs.times) - 1, desk.trades
    for book in books:
        if book.trade is not None:
            standing = book.trade.received + abs(book.position) * Decimal(str(book.mark))
            trades.append(book.trade.row(book.number, last, standing, b.STILL_OPEN))
    return Walked(
        equity,
        _share(net, equity),
        _share(gross, equity),
        np.array(desk.fills).reshape(-1, b.FILL_COLUMNS),
        np.array(trades).reshape(-1, b.TRADE_COLUMNS),
        desk.cut,
        desk.refused,
        sum(book.doubtful for book in books),
    )


def _rows(inputs: Inputs) -> Iterator[tuple[int, list[Seen]]]:
    """Each moment's number and the bars that close in it, in the order of symbols."""
    for lo in range(0, len(inputs.times), STRETCH):
        moments = pd.DatetimeIndex(inputs.times[lo : lo + STRETCH].view("datetime64[ns]")).tz_localize("UTC")
        feeds = [_bars(one, lo, moments) for one in inputs.ones]
        coming = [next(feed, None) for feed in feeds]
        for row in range(lo, lo + len(moments)):
            present = []
            for number, (feed, bar) in enumerate(zip(feeds, coming, strict=True)):
                if bar is not None and bar[0] == row:
                    present.append(bar[1])
                    coming[number] = next(feed, None)
            yield row, present


def _bars(one: One, lo: int, moments: pd.DatetimeIndex) -> Iterator[tuple[int, Seen]]:
    """A symbol's bars in a stretch, each with its moment's number."""
    hi, symbol, times = lo + len(moments), one.instrument.symbol, moments.to_pydatetime()
    first, last = (lo, hi) if one.at is None else np.searchsorted(one.at, [lo, hi])
    rows = range(lo, hi) if one.at is None else one.at[first:last].tolist()
    columns = (column.tolist() for column in one.block[:, first:last])
    for row, own, *prices in zip(rows, range(first, last), *columns, strict=True):
        yield row, Seen(symbol, own, times[row - lo], *prices)


def _first_known(one: One) -> int:
    """From which row on all ATRs are known."""
    known = np.flatnonzero(np.isfinite(one.ranges).all(axis=0))
    return int(known[0]) if len(known) else len(one.want)


def _share(values: Floats, equity: Floats) -> Floats:
    """Of the equity; NaN where something is held and nothing is left."""
    left = np.where(equity > 0.0, equity, np.nan)
    return np.where(values == 0.0, 0.0, values / left)


def _exact(setup: Setup) -> Setup:
    if not setup.whole_cents:
        raise ValueError("the plain pass charges fees in whole cents: run it with whole_cents=True")
    return setup
