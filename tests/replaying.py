"""A market that repeats past bars to a whole paper desk, price by price, as far as its orders can tell.

In each bar the market stands at the open for a few seconds, then goes to the side that is worse for whoever holds the
symbol, then to the other, then to the close; on the way it passes every price at which an order rests, as a walk tick
by tick would. Where a trailing stop would be set off by a price that first goes up and then down, it does: that is the
worst path that the bar allows, and the one that a backtest supposes. Bid and ask lie so that a market order pays what
the backtester's half spread and slippage come to.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from backtest.setup import Setup
from desk import crash
from desk.adoptions import State, adoptions
from desk.looking import bucket_of
from desk.reader import Reader
from domain import candles as cd
from domain.candles import Timeframe
from domain.clock import Clock, ManualClock
from domain.commands import CommandState, Kind
from domain.instruments import Instrument, instrument
from domain.orders import Fill, OrderType, Purpose
from domain.quotes import Quote
from tests.faults.points import Died
from tests.trading import PaperDesk, Prices

STANDS_S = 20  # a cancel that died with its engine is asked for again after some seconds
TICK = D("0.01")
# What a careful owner's limits would refuse of a test's many orders.
LIMITS = {
    "shorting": True,
    "max_orders_per_day": 5_000,
    "max_orders_per_minute": 60,
    "max_open_positions": 31,
    "max_daily_loss_pct": 20.0,
    "max_drawdown_pct": 50.0,
}


class Market(Prices):
    """Prices whose book is the one that the backtester supposes."""

    def __init__(self, clock: Clock, half_spread_bps: float = 1.0, slippage_bps: float = 1.0) -> None:
        super().__init__(clock, last={})
        self._both, self._slip = D(str(half_spread_bps + slippage_bps)) / 10_000, D(str(slippage_bps)) / 10_000

    def quote(self, symbol: str) -> Quote:
        last = self.last[symbol]
        bid, ask = last * (1 - self._both) / (1 - self._slip), last * (1 + self._both) / (1 + self._slip)
        return Quote(symbol, self.clock.now(), last, "replayed", bid=bid, ask=ask, volume=1e6, previous_close=last)


@dataclass
class Replay:
    """One desk over the bars of `frames`. `deaths`: how often the engine dies, at places that chance picks."""

    folder: Path
    frames: Mapping[str, pd.DataFrame]
    interval: str = "5m"
    deaths: int = 0
    seed: int = 7
    died: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.clock, self.chance = ManualClock(datetime(2020, 1, 1, tzinfo=UTC)), random.Random(self.seed)
        self.desk = PaperDesk(self.folder, clock=self.clock, prices=Market, bars=self.bars, paper_volume_cap=0.0)
        self.adoption = ""

    async def bars(self, what: Instrument, tf: Timeframe, most: int) -> pd.DataFrame:
        """The closed bars as they are now."""
        frame = self.frames[what.symbol]
        closed = cd.ends(cd.nanos(frame), tf, what) <= pd.Timestamp(self.clock.now()).value
        return frame[closed].iloc[-most:]

    async def run(self, strategy: str, params: dict[str, Any], setup: Setup, start: datetime) -> Reader:
        """Adopt it just after `start`, and go on to the end of the bars."""
        await self.begin(start)
        await self.adopt(strategy, params, setup)
        times = sorted({time for frame in self.frames.values() for time in frame.index if time >= start})
        fatal = set(self.chance.sample(times[1:], self.deaths))
        for at, following in zip(times, [*times[1:], None], strict=True):
            present = {s: frame.loc[at] for s, frame in self.frames.items() if at in frame.index}
            await self._bar(at, present, following, dies=at in fatal)
        crash.install(None)  # a death that has not come by the last bar comes no more
        await self.desk.stop()
        return self.desk.reader

    async def begin(self, start: datetime) -> None:
        """The desk opens, under limits that its many orders stay within."""
        self.clock.time = start
        for symbol, frame in self.frames.items():
            self.desk.prices.last[symbol] = _cents(frame[frame.index < start]["close"].iloc[-1])
        await self.desk.start()
        for name, value in LIMITS.items():
            await self.desk.ask(Kind.SET_LIMIT, name=name, value=value)

    async def adopt(self, strategy: str, params: dict[str, Any], setup: Setup) -> str:
        """Take it on; its id."""
        wish = {"strategy": strategy, "params": params, "symbols": list(self.frames), "interval": self.interval}
        answer = await self.desk.ask(Kind.ADOPT, **wish, setup=setup.to_dict())
        assert answer.state is CommandState.DONE, answer.said
        return str(answer.details["adoption"])

    async def bars_close(self, count: int) -> None:
        """Go on for so many bars, to the beginning of the one that forms then."""
        frame = self.frames[next(iter(self.frames))]
        for _ in range(count):
            [at, following] = frame.index[frame.index > self.clock.now() - timedelta(minutes=5)][:2]
            await self._bar(at, {symbol: one.loc[at] for symbol, one in self.frames.items()}, following, dies=False)
            await self._decided(following.to_pydatetime())

    async def until_held(self) -> None:
        """Until the strategy holds something."""
        for _ in range(20):
            if self.desk.held():
                return
            await self.bars_close(1)
        raise AssertionError("it bought nothing in twenty bars")

    # One bar

    async def _bar(self, at: pd.Timestamp, bars: Mapping[str, Any], following: pd.Timestamp | None, dies: bool) -> None:
        if dies:
            self._doom()
        await self._decided(max(at.to_pydatetime(), self.clock.now()))
        await self._stand({symbol: _cents(bar["open"]) for symbol, bar in bars.items()})
        for symbol, bar in bars.items():
            for price in self._path(symbol, bar):
                await self._walk(symbol, price)
        self.desk.prices.last |= {symbol: _cents(bar["close"]) for symbol, bar in bars.items()}
        end = at.to_pydatetime() + cd.timeframe(self.interval).duration
        if following is None or following.to_pydatetime() > end:
            await self._decided(end)

    async def _decided(self, at: datetime) -> None:
        """The bar before has closed: the strategy is asked, and has answered before time moves on."""
        self.clock.time = at
        for turn in itertools.count(1):
            await self._turn()
            if turn > 1 and self._all_looked() and (turn > 2 or not self._busy()):
                return

    def _all_looked(self) -> bool:
        """Whether every strategy has been asked about the bar that closed last."""
        assert self.desk.engine is not None
        looking, now = self.desk.engine._desk.strategies.looking, self.clock.now()
        found = [each for each in adoptions(self.desk.reader) if each.state is State.WORKING]
        forming = {each.id: tuple(bucket_of(s, each.tf, now) for s in each.symbols) for each in found}
        return not looking._tasks and all(looking._buckets.get(id_) == buckets for id_, buckets in forming.items())

    async def _stand(self, opens: dict[str, D]) -> None:
        """The first seconds of the bar, for as long as anybody has something to do there."""
        if not (self._busy() or any(self._orders(symbol) for symbol in opens)):
            return
        self.desk.prices.last |= opens
        for _ in range(STANDS_S):
            self.clock.advance(seconds=1)
            await self._turn()
            if not self._busy():
                break
        assert not self._busy(), f"{self.clock.now()}: orders are left when the market begins to move"
        self.clock.advance(seconds=1)
        await self._turn()

    def _path(self, symbol: str, bar: Any) -> list[D]:
        held = self.desk.held(symbol)
        worse, better = (bar["low"], bar["high"]) if held >= 0 else (bar["high"], bar["low"])
        lure = self._lure(symbol, 1 if held > 0 else -1, _exact(worse), _exact(better)) if held else []
        return [*lure, _exact(worse), _exact(better), _cents(bar["close"])]

    def _lure(self, symbol: str, up: int, worse: D, better: D) -> list[D]:
        """How far the market first goes the other way so that its worst price sets the trailing stop off, where the
        price does not meet a stop on the straight way and no target on the detour."""
        plan = self.desk.reader.protection("main").get(symbol)
        if plan is None or plan.trail is None:
            return []
        stands = [up * level for level in (plan.stop, plan.level) if level is not None]
        to = worse + up * plan.trail
        before = better if plan.target is None else up * min(up * better, up * plan.target)
        met = bool(stands) and up * worse <= max(stands)
        return [] if met or up * to > up * before else [to]

    async def _walk(self, symbol: str, to: D) -> None:
        """To this price, with a step at every price on the way at which an order rests."""
        while (orders := self._orders(symbol)) and self.desk.prices.last[symbol] != to:
            now = self.desk.prices.last[symbol]
            levels = [level for order in orders for level in self._levels(order)]
            ahead = [x for x in levels if min(now, to) <= x <= max(now, to) and x != now]
            self.desk.prices.last[symbol] = min(ahead, key=lambda x: abs(x - now)) if ahead else to
            if ahead or self._trails(symbol):
                self.clock.advance(seconds=1)
                await self._turn()
        self.desk.prices.last[symbol] = to

    def _trails(self, symbol: str) -> bool:
        plan = self.desk.reader.protection("main").get(symbol)
        return plan is not None and plan.trail is not None and self.desk.held(symbol) != 0

    def _busy(self) -> bool:
        engine = self.desk.engine
        if engine is None:
            return True
        market = [o for o in self.desk.reader.open_orders() if o.request.type is OrderType.MARKET]
        return bool(market or engine._desk.strategies._todo or engine.supervisor.naked)

    def _orders(self, symbol: str) -> list[Any]:
        return [o for o in self.desk.reader.open_orders("main", symbol) if o.request.type is not OrderType.MARKET]

    def _levels(self, order: Any) -> list[D]:
        """The prices that set an order off: a stop where it lies, one that trails where the broker has it, a target one
        tick beyond."""
        asked = order.request
        if asked.trail is not None:
            engine = self.desk.engine
            kept = None if engine is None else engine.parts.broker._book.order(order.broker_id)  # type: ignore[attr-defined]
            return [] if kept is None or kept.working.level is None else [D(repr(kept.working.level))]
        if asked.purpose is Purpose.STOP:
            return [asked.stop]
        return [asked.limit + asked.side.sign * -TICK]

    # Life and death

    async def _turn(self) -> None:
        """A turn; after a death a new engine makes it at the same price: the broker on paper sees what engines see."""
        while True:
            try:
                if self.desk.engine is None:
                    await self.desk.start()
                assert self.desk.engine is not None
                await self.desk.engine.turn()
                return await self.desk.engine.looked()
            except Died:
                self._bury()

    def _doom(self) -> None:
        """From now on: at one of the next places of the code where a death is thinkable."""
        left = self.chance.randrange(1, 25)

        def hook(name: str) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                self.died.append(name)
                raise Died

        crash.install(hook)

    def _bury(self) -> None:
        """As the kernel does with a dead process: locks fall and connections close, nothing is said or written."""
        crash.install(None)
        engine = self.desk.engine
        assert engine is not None
        engine._lease._lock.drop()
        engine._ledger.close()
        engine._looking.close()
        engine.parts.broker._book.close()  # type: ignore[attr-defined]
        self.desk.engine = None


def _cents(price: float) -> D:
    return D(str(price)).quantize(TICK)


def _exact(price: float) -> D:
    return D(str(price))


def fills_of(reader: Reader) -> list[Fill]:
    """Every fill, in the order it came."""
    return [heard.fill for heard in reversed(reader.fills(most=100_000))]


def real_bars(folder: Path, symbol: str, first: str, last: str) -> pd.DataFrame:
    """Real five-minute bars of regular hours, from `first` to before `last`."""
    [path] = (folder / "equities_intraday").glob(f"{symbol}_5m_*.parquet")
    table = pd.read_parquet(path)
    times = pd.DatetimeIndex(table.pop("timestamp")).tz_localize("America/New_York").tz_convert("UTC")
    return cd.check(cd.frame(times.as_unit("ns").asi8, {c: table[c] for c in cd.COLUMNS}), instrument(symbol)).loc[
        first:last
    ]


def made_bars(seed: int, days: int, symbol: str = "AAPL", interval: str = "5m") -> pd.DataFrame:
    """A walk in cents over the first sessions of November 2025."""
    chance, tf = np.random.default_rng(seed), cd.timeframe(interval)
    begin = datetime(2025, 11, 3, tzinfo=UTC)
    bars = days * 390 * 60 // tf.seconds
    times = cd.expected(begin, begin + timedelta(days=days * 2 + 4), tf, instrument(symbol))[:bars]
    close = np.round(150 + np.cumsum(chance.normal(0, 0.25, len(times))), 2)
    opened = np.round(np.r_[150.0, close[:-1]] + chance.normal(0, 0.03, len(times)), 2)
    high = np.round(np.maximum(opened, close) + np.abs(chance.normal(0, 0.12, len(times))), 2)
    low = np.round(np.minimum(opened, close) - np.abs(chance.normal(0, 0.12, len(times))), 2)
    columns = {"open": opened, "high": high, "low": low, "close": close}
    return cd.frame(times, {**columns, "volume": np.full(len(times), 1e6)})
