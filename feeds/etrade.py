"""E*TRADE's quotes, asked for in batches within its limits and folded into one-minute bars; its past comes from
another feed, since E*TRADE has none.

The rule: only real-time quotes are folded, and DELAYED and CLOSING ones carry a delay that trading refuses. One
process asks; every other one reads what its engine wrote down.
"""

from __future__ import annotations

import asyncio
import math
import sqlite3
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from domain import registry
from domain.calendars import NEW_YORK, Phase
from domain.candles import Timeframe, between, empty, nanos
from domain.clock import Clock, monotonic
from domain.errors import FeedBusy, FeedLimit, FeedUnavailable, SettingsError
from domain.instruments import Instrument
from domain.quotes import Quote
from etrade.errors import EtradeError, KeyRefused, OverLimit, SignInAgain
from etrade.limits import HOUR_S, Budget, Module
from etrade.market import EtradeQuote, QuoteStatus
from etrade.session import LABELS, SIGN_IN, EtradeSession
from etrade.tokens import TokenStore
from etrade.transport import Transport
from feeds._minutes import Minutes
from feeds.base import AT_HAND, Asked, Feed, Pace
from settings import Settings

A_CALL, A_WIDE_CALL = 25, 50
CALLS_A_SECOND = 3  # E*TRADE allows four; one is left for whoever else asks
LIMITS = Pace(usual=A_CALL, wide=A_WIDE_CALL, most=A_WIDE_CALL, a_second=CALLS_A_SECOND, at_once=3)
DELAY_S = 900
MOST_SERIES = 300
KEY_REFUSED = "E*TRADE refuses the consumer key: Settings → E*TRADE says what to do"
_MADE_UP = ("sandbox", "simulator")
_SOURCES = {"production": "etrade", "sandbox": "etrade-sandbox", "simulator": "etrade-simulator"}


@dataclass(frozen=True, slots=True, eq=False)
class _Past:
    """The last answer of the other feed about the newest bars of a series, or its error."""

    start: datetime
    end: datetime
    asked: float
    candles: pd.DataFrame
    error: FeedUnavailable | None = None


class EtradeFeed:
    """E*TRADE, production, sandbox or simulator as ETRADE_ENVIRONMENT says. `transport` and `store` stand in for the
    real ones. SettingsError where it is off, a key is missing, or made-up history would be laid under real prices.

    `price_source` names its ledger: made-up prices never meet real ones. `sources` are the names its bars may bear.
    """

    name = "etrade"
    label = LABELS["production"]
    simulated = False
    poll_s = 1.0
    limits = (
        "E*TRADE's quotes for whoever is signed in, each second up to 75 symbols, folded into 1m bars: prices between "
        "two looks are not seen, volume is exact. E*TRADE has no past: that comes from ETRADE_HISTORY. No crypto."
    )

    def __init__(
        self, settings: Settings, clock: Clock, *, transport: Transport | None = None, store: TokenStore | None = None
    ) -> None:
        # Only a desk that sends orders there has a client that can; everywhere else it only reads.
        trades = settings.trading == "etrade"
        self.session = EtradeSession(settings, clock, transport=transport, store=store, trades=trades)
        environment = settings.etrade_environment
        self.clock = self.session.clock
        self.label, self.simulated = self.session.label, environment in _MADE_UP
        self.price_source = _SOURCES[environment]
        self.history = _history(settings, self.clock, self.simulated)
        self.sources = (self.name, self.history.name)
        self._book = settings.live_path(self.price_source)
        self._minutes: defaultdict[str, Minutes] = defaultdict(Minutes)
        self._past: OrderedDict[tuple[str, str], _Past] = OrderedDict()
        self._earnings: dict[str, date | None] = {}
        self._day: date | None = None
        self._budget: tuple[Budget, float] | None = None

    @property
    def pace(self) -> Pace:
        """E*TRADE's limits; none where nobody may ask it: signed out, or another process is the one that asks."""
        return LIMITS if self.session.may_ask else AT_HAND

    @property
    def asked_elsewhere(self) -> bool:
        """Whether another process asks for all."""
        return not self.session.owner

    def usage(self) -> Asked | None:
        """Calls about prices in the last hour, whoever of this process made them; None while nothing was asked."""
        if self._budget is None:
            return None
        left, then = self._budget
        since = monotonic() - then
        ago = None if left.refused_ago_s is None else left.refused_ago_s + since
        waits = max(0.0, left.wait_s - since)
        return Asked(left.used_in_hour, HOUR_S, left.per_hour, left.left_in_hour, False, left.refusals, ago, waits)

    @property
    def clock_note(self) -> str:
        """How the simulator's time differs from this machine's; '' where it does not."""
        offset: timedelta | None = getattr(self.clock, "offset", None)
        if offset is None or abs(offset) < timedelta(minutes=1):
            return ""
        return f"The simulator's time is {self.clock.now().astimezone(NEW_YORK):%a %d %b %H:%M} New York."

    def reach(self, tf: Timeframe) -> timedelta | None:
        """How far back there are bars; None: to the start."""
        reach = getattr(self.history, "reach", None)
        found: timedelta | None = reach(tf) if reach else None
        return found

    async def quotes(self, instruments: Sequence[Instrument]) -> dict[str, Quote]:
        """See `feeds.base.Feed`: crypto and unknown symbols are left out. At most three calls a second."""
        asked = {i.symbol: i for i in instruments if not i.is_crypto}
        self.poll_s = max(1.0, calls_for(len(asked)) / CALLS_A_SECOND)
        if not asked:
            return {}
        if not self.session.owner:
            return await asyncio.to_thread(self._told, list(asked))
        found: dict[str, Quote] = {}
        symbols, batch = list(asked), batch_for(len(asked))
        step = CALLS_A_SECOND * batch
        for at in range(0, len(symbols), step):
            began = monotonic()
            for quote in (await self._ask(symbols[at : at + step], batch)).values():
                if (mine := asked.get(quote.product.symbol)) and (read := self._read(mine, quote)):
                    found[read.symbol] = read
            if at + step < len(symbols):
                await asyncio.sleep(max(0.0, 1.0 - (monotonic() - began)))
        self.session.went_well()
        return found

    def next_earnings(self, symbol: str) -> date | None:
        """The day of the next report, of a symbol that was quoted today; None where E*TRADE names none."""
        return self._earnings.get(symbol)

    async def candles(self, instrument: Instrument, tf: Timeframe, start: datetime, end: datetime) -> pd.DataFrame:
        """See `feeds.base.Feed`: own bars where every minute was watched, the other feed's elsewhere."""
        parts = [frame for _, frame in await self.candles_by_source(instrument, tf, start, end) if len(frame)]
        if not parts:
            return empty()
        return pd.concat(parts).sort_index() if len(parts) > 1 else parts[0]

    async def candles_by_source(
        self, instrument: Instrument, tf: Timeframe, start: datetime, end: datetime
    ) -> list[tuple[str, pd.DataFrame]]:
        """The same, apart by where each bar comes from: the other feed's first, its own last; none in both."""
        own = self._minutes[instrument.symbol].bars(instrument, tf, start, end)
        try:
            past = await self._history_of(instrument, tf, start, end)
        except FeedLimit:
            raise
        except FeedUnavailable:
            if own.empty:
                raise
            past = empty()
        past = past[~np.isin(nanos(past), nanos(own))]
        return [(self.history.name, past), (self.name, own)]

    async def close(self) -> None:
        """Give the sign-in back for another process to use. Safe to call twice."""
        await self.session.close()
        await self.history.close()

    # Inside

    async def _ask(self, symbols: list[str], batch: int) -> dict[str, EtradeQuote]:
        client = self.session.need()
        today = self.clock.now().astimezone(NEW_YORK).date()
        if today != self._day:
            self._day, self._earnings = today, {}
        earnings = any(s not in self._earnings for s in symbols)
        try:
            found = dict((await client.quotes(symbols, wide=batch > A_CALL, earnings=earnings)).by_symbol)
        except OverLimit as error:
            raise FeedBusy(str(error), error.wait_s) from None
        except KeyRefused as error:
            self.session.went_wrong(error)
            raise FeedUnavailable(KEY_REFUSED) from None
        except SignInAgain as error:
            self.session.went_wrong(error)
            raise FeedUnavailable(SIGN_IN) from None
        except FeedUnavailable:
            raise
        except EtradeError as error:
            self.session.went_wrong(error)
            raise FeedUnavailable(str(error)) from None
        finally:
            self._budget = client.budget()[Module.MARKET], monotonic()
        if earnings:
            self._earnings |= {s: found[s].next_earnings if s in found else None for s in symbols}
        return found

    def _read(self, of: Instrument, told: EtradeQuote) -> Quote | None:
        """E*TRADE's quote as ours; a real-time one is folded into its minute. None where it names no price."""
        more = told.extended
        price = (more.last if more else None) or told.last
        if price is None or told.product.option is not None:
            return None
        late = told.status == QuoteStatus.DELAYED or (not told.live and self._trades(of))
        quote = Quote(
            of.symbol,
            told.time if told.live or late else (more and more.time) or told.last_time or told.time,
            price,
            self.name,
            bid=(more.bid if more else None) or told.bid,
            ask=(more.ask if more else None) or told.ask,
            volume=float(told.volume),
            previous_close=told.previous_close,
            delayed_s=DELAY_S if late else 0,
            traded=told.last_time,  # E*TRADE has no flag for a halt: its quotes go on, and only this stands still
            earnings=self._earnings.get(of.symbol),
            tells_earnings=of.symbol in self._earnings,
        )
        if not told.live:
            return quote
        return replace(quote, minute=self._minutes[of.symbol].take(quote.time, float(price), quote.volume))

    def _trades(self, of: Instrument) -> bool:
        return of.calendar.phase(self.clock.now()) is not Phase.CLOSED

    def _told(self, symbols: list[str]) -> dict[str, Quote]:
        """What the engine that owns the sign-in wrote down, after telling it what is looked at here."""
        self.session.wish(symbols)
        found = {s: quote for s, quote in _written(self._book, symbols).items() if quote.source == self.name}
        if not found:
            raise FeedUnavailable(self.session.status().said)
        fresh = self.clock.now() - timedelta(minutes=1)
        return {s: self._folded(q) if q.time > fresh and not q.delayed_s else q for s, q in found.items()}

    def _folded(self, quote: Quote) -> Quote:
        minute = self._minutes[quote.symbol].take(quote.time, float(quote.last), quote.volume)
        return replace(quote, minute=minute)

    async def _history_of(self, of: Instrument, tf: Timeframe, start: datetime, end: datetime) -> pd.DataFrame:
        """The other feed's bars; about now it is asked at its own pace, however often we are."""
        if end < self.clock.now() - max(3 * tf.duration, timedelta(hours=1)):
            return await self.history.candles(of, tf, start, end)
        key = (of.symbol, tf.name)
        known = self._past.get(key)
        if known is None or not self._answers(known, tf, start, end):
            known = self._past[key] = await self._asked_now(of, tf, start, end)
            self._past.move_to_end(key)
            while len(self._past) > MOST_SERIES:
                self._past.popitem(last=False)
        if known.error is not None:
            raise known.error
        return between(known.candles, start, end)

    def _answers(self, known: _Past, tf: Timeframe, start: datetime, end: datetime) -> bool:
        """Whether that answer is fresh and wide enough."""
        fresh = monotonic() - known.asked < self.history.poll_s
        return fresh and (known.error is not None or (known.start <= start and end - known.end <= 2 * tf.duration))

    async def _asked_now(self, of: Instrument, tf: Timeframe, start: datetime, end: datetime) -> _Past:
        try:
            return _Past(start, end, monotonic(), await self.history.candles(of, tf, start, end))
        except FeedLimit:
            raise
        except FeedUnavailable as error:
            return _Past(start, end, monotonic(), empty(), error)


def batch_for(symbols: int) -> int:
    """Symbols a call: what 25 hold is asked for as E*TRADE has it, more by 50."""
    return A_CALL if symbols <= A_CALL else A_WIDE_CALL


def calls_for(symbols: int) -> int:
    return math.ceil(symbols / batch_for(symbols))


def _history(settings: Settings, clock: Clock, made_up: bool) -> Feed:
    name = settings.etrade_history or ("simulated" if made_up else "yahoo")
    if name == "simulated" and not made_up:
        raise SettingsError("ETRADE_HISTORY=simulated would lay made-up candles under real prices: choose another")
    if name == "simulated":
        settings = settings.model_copy(update={"simulated_clock": "real", "simulated_start": ""})
    found: Any = registry.part("feeds", name)(settings, clock)
    feed: Feed = found
    return feed


def _written(path: Path, symbols: Sequence[str]) -> dict[str, Quote]:
    """Quotes out of an engine's live book."""
    if not path.exists():
        return {}
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=0.5)) as db:
            rows = dict(db.execute("SELECT symbol, body FROM quote"))
        return {s: Quote.from_text(s, rows[s]) for s in symbols if s in rows}
    except (sqlite3.Error, ValueError, KeyError):
        return {}


PART = EtradeFeed
