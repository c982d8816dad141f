"""From a strategy's word on a closed bar to the decision that is kept: what it shall hold, and why.

The arithmetic is the backtester's (`backtest/sizing.py`): a changed wish is sized at the close it was decided on, from
the strategy's own money, and stop and target are counted from that close. `docs/adopting.md` has the rules in words.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from math import isfinite
from typing import Any

import numpy as np
import pandas as pd

from backtest import sizing
from backtest.book import CLOSE_ENOUGH
from backtest.setup import Exit, Setup, filter_words
from desk.adoptions import Adoption, BarDecision, Done, Said
from desk.following import Seen
from desk.last_words import LastWords
from desk.looking import end_of, in_time_until
from desk.own_book import OwnBook
from desk.rungs import CUT, Bounds
from domain.instruments import instrument
from domain.signals import Signal
from filters.base import START, State, step

ZERO = Decimal(0)
MOST_SAID = 300
Chosen = tuple[BarDecision, Signal | None]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the filters left of a `raw` wish, where they stand after it, and what each `said` where it wanted in."""

    wish: float
    after: State | None
    said: tuple[Said, ...] = ()
    raw: float = 0.0

    @property
    def words(self) -> str:
        """What stands in the way of an entry; '' where nothing does."""
        if self.after is None or self.raw == 0.0 or self.wish != 0.0:
            return ""
        against = "; ".join(one.why for one in self.said if not one.passes)
        if self.after.waits:
            return f"Held back for at most {self.after.waits} more bars: {against}. "
        return f"Not let in: {against or 'the filters pass now, but the signal is too old'}. "


@dataclass(frozen=True, slots=True)
class Choosing:
    """Decides for one adoption by its `book`, what it decided before (`words`), the symbols somebody else holds or
    orders (`taken`), and the last `prices` of what was not looked at. `bounds`: what its rung lets it open, and how
    much of it."""

    words: LastWords
    adoption: Adoption
    book: OwnBook
    taken: frozenset[str]
    prices: Mapping[str, Decimal]
    bounds: Bounds

    def choose(self, seen: Mapping[str, Seen], now: Mapping[str, datetime]) -> list[Chosen]:
        """A decision for each bar of each symbol that has none yet, oldest first. `now` is the market's moment by
        symbol: where prices come late, bars do too."""
        marks = {**self.prices, **{symbol: Decimal(str(one.close)) for symbol, one in seen.items()}}
        if self.book.equity(marks) is None:
            return []  # a price of what it holds is missing: there is nothing to size by yet
        return [chosen for symbol, one in seen.items() for chosen in self._symbol(symbol, one, now[symbol], marks)]

    def _symbol(self, symbol: str, seen: Seen, now: datetime, marks: Mapping[str, Decimal]) -> Iterable[Chosen]:
        bars, state = self._undecided(symbol, seen, now), self._state(symbol)
        for bar in bars[:-1]:
            passed = self._let_in(seen, bar, state).after
            yield self._missed(symbol, bar, "the bar after it had closed before it could be looked at", passed), None
            state = passed or START
        if not bars:
            return
        asked = self._let_in(seen, bars[-1], state)
        if now >= in_time_until(symbol, self.adoption.tf, bars[-1]):
            why = "it was looked at when the next bar had closed already"
            yield self._missed(symbol, bars[-1], why, asked.after), None
        else:
            yield self._newest(symbol, bars[-1], seen, marks, asked)

    def _state(self, symbol: str) -> State:
        """Where the filters stood after the last bar that was decided; a step up begins anew."""
        last = self.words.newest(self.adoption.id, symbol)
        return last.state if last is not None and last.state is not None and not self._before(last) else START

    def _before(self, decision: BarDecision) -> bool:
        """Whether it was made before the strategy might open anything in its symbol, which it may by now."""
        began = self.bounds.stage.began.get(decision.symbol)
        return began is not None and (decision.at is None or decision.at < began)

    def _stood(self, symbol: str, own: Decimal) -> float | None:
        """What it last stood for; None where it begins anew with something left of its own."""
        before = self.words.acted(self.adoption.id, symbol)
        if before is None or self._before(before):
            return None if own else 0.0
        return before.exposure or 0.0

    def _let_in(self, seen: Seen, bar: datetime, before: State) -> Asked:
        """What the filters leave of the wish of a bar."""
        setup, row = self.adoption.setup, int(seen.candles.index.searchsorted(pd.Timestamp(bar)))
        if not setup.filters:
            return Asked(float(seen.wanted.exposure[-1]), None)
        raw = float(seen.wanted.exposure[row])
        passes = all(one.passes[row] for one in seen.verdicts)
        held, after = step(before, raw, bool(passes), good_for=setup.good_for)
        wants_in = raw != 0.0 and not (before.inside and before.side == np.sign(raw))
        words = zip(setup.filters, seen.verdicts, strict=True) if wants_in else ()
        said = tuple(Said(filter_words(one), bool(v.passes[row]), v.why(row)) for one, v in words)
        return Asked(held, after, said, raw)

    def _undecided(self, symbol: str, seen: Seen, now: datetime) -> list[datetime]:
        """Bars that closed since it was adopted and have no decision, oldest first."""
        last = self.words.newest(self.adoption.id, symbol)
        index, tf = seen.candles.index, self.adoption.tf
        known = last.bar_time if last else self.adoption.since - tf.duration
        bars = [bar.to_pydatetime() for bar in index[index.searchsorted(pd.Timestamp(known), side="right") :]]
        return [bar for bar in bars if self.adoption.since < end_of(symbol, tf, bar) <= now]

    def _missed(self, symbol: str, bar: datetime, why: str, state: State | None) -> BarDecision:
        said = f"Missed, and not traded: {why}."
        own = self.book.own(symbol)
        return BarDecision(self.adoption.id, symbol, bar, None, Done.MISSED, said, own, own, state=state)

    def _newest(self, symbol: str, bar: datetime, seen: Seen, marks: Mapping[str, Decimal], asked: Asked) -> Chosen:
        wish, own = asked.wish, self.book.own(symbol)
        filtered: dict[str, Any] = {"state": asked.after, "verdicts": asked.said}
        stood = self._stood(symbol, own)
        if stood is not None and not abs(wish - stood) > CLOSE_ENOUGH:
            said = f"{asked.words}Wants {wish:+.4g}, as before. {seen.why}"[:MOST_SAID]
            return BarDecision(self.adoption.id, symbol, bar, wish, Done.HELD, said, own, own, **filtered), None
        done, said, wanted = self._decided(symbol, wish, own, seen, marks)
        stop, target, trail = self._exits(symbol, wish, own, wanted, seen)
        signal = Signal(
            symbol, bar, wish, float(seen.wanted.confidence[-1]), self.adoption.source, seen.why[:MOST_SAID]
        )
        said = f"{asked.words}Wants {wish:+.4g}: {said} {seen.why}"[:MOST_SAID]
        return BarDecision(
            self.adoption.id,
            symbol,
            bar,
            wish,
            done,
            said,
            own,
            wanted,
            stop,
            target,
            signal.id,
            trail=trail,
            **filtered,
        ), signal

    def _sized(self, symbol: str, wish: float, seen: Seen, marks: Mapping[str, Decimal]) -> Decimal:
        """What the wish comes to at this close, in whole lots."""
        setup, lot = self.adoption.setup, instrument(symbol).lot
        equity = self.book.equity(marks)
        if wish == 0.0 or equity is None:
            return ZERO
        lots = lots_wanted(setup, wish, float(equity), seen.close, seen.ranges, float(lot))
        return int(lots) * lot * (1 if wish > 0 else -1)

    def _decided(
        self, symbol: str, wish: float, own: Decimal, seen: Seen, marks: Mapping[str, Decimal]
    ) -> tuple[Done, str, Decimal]:
        """What becomes of a changed wish, in words, and what it shall hold: no more than its rung allows."""
        sized = self._sized(symbol, wish, seen, marks)
        if why := self.bounds.why_not(symbol):
            return _shadowed(own, sized, why)
        within = self._within(symbol, own, sized, Decimal(str(seen.close)))
        done, said, wanted = self._allowed(symbol, wish, own, within)
        return done, f"{CUT}, from {sized.normalize():f}: {said}" if within != sized else said, wanted

    def _within(self, symbol: str, own: Decimal, sized: Decimal, price: Decimal) -> Decimal:
        """No more than its rung allows, but for what it holds already: a bound closes nothing."""
        most = self.bounds.most(symbol, price)
        if most is None:
            return sized
        held = abs(own) if own * sized > 0 else ZERO
        return min(abs(sized), max(most, held)) * (1 if sized > 0 else -1)

    def _allowed(self, symbol: str, wish: float, own: Decimal, wanted: Decimal) -> tuple[Done, str, Decimal]:
        """What becomes of it, in words; what a person holds or orders in the symbol stands in the way of opening."""
        opens = wanted != 0 and (own * wanted <= 0 or abs(wanted) > abs(own))
        if opens and symbol in self.taken:
            kept = ZERO if own * wanted <= 0 else own
            done = Done.ORDERED if own != kept else Done.NOT_OURS
            return done, f"The position in {symbol} is not ours: nothing is opened beside a person's.", kept
        if wish != 0.0 and wanted == 0 and own == 0:
            return Done.TOO_SMALL, "not one lot of that fits into its money.", ZERO
        return Done.ORDERED, f"from {own.normalize():f} to {wanted.normalize():f}.", wanted

    def _exits(
        self, symbol: str, wish: float, own: Decimal, wanted: Decimal, seen: Seen
    ) -> tuple[Decimal | None, Decimal | None, Decimal | None]:
        """Stop, target and trail of a position that is opened from nothing; one that grows keeps those it has."""
        if wanted == 0 or own * wanted > 0:
            return None, None, None
        setup, side, tick = self.adoption.setup, 1.0 if wish > 0 else -1.0, instrument(symbol).tick
        stop, target = _exit_price(symbol, setup.stop, seen, -side), _exit_price(symbol, setup.target, seen, side)
        trail = sizing.trail_distance(distance(setup.trail, seen.close, seen.ranges), float(tick))
        return stop, target, Decimal(round(trail / float(tick))) * tick if isfinite(trail) else None


def _shadowed(own: Decimal, sized: Decimal, why: str) -> tuple[Done, str, Decimal]:
    """Where nothing may be opened: what it holds of its own still shrinks as it wishes; all else is only written."""
    kept = ZERO if own * sized <= 0 else min(own, sized, key=abs)
    if kept != own:
        return Done.ORDERED, f"from {own.normalize():f} to {kept.normalize():f}; {why}, so nothing is opened.", kept
    return Done.SHADOW, f"would hold {sized.normalize():f}; {why}, so nothing is ordered.", sized


def lots_wanted(
    setup: Setup, wish: float, equity: float, price: float, ranges: Mapping[int, float], lot: float
) -> float:
    """How many lots a wish comes to, as the backtester's passes work it out."""
    if setup.sizing == "equity":
        return sizing.lots_by_equity(wish, setup.fraction, equity, price, lot)
    if setup.sizing == "shares":
        return sizing.whole_lots(abs(wish) * setup.shares, lot)
    away = distance(setup.stop, price, ranges) or distance(setup.trail, price, ranges)
    return sizing.lots_by_risk(wish, setup.risk_per_trade, equity, away, setup.max_position_pct, price, lot)


def distance(way_out: Exit | None, price: float, ranges: Mapping[int, float]) -> float:
    """How far an exit lies from `price`; 0 where there is none."""
    if way_out is None:
        return 0.0
    unit = {"pct": price / 100.0, "price distance": 1.0, "atr": ranges.get(way_out.period, float("nan"))}
    return way_out.amount * unit[way_out.kind]


def _exit_price(symbol: str, way_out: Exit | None, seen: Seen, up: float) -> Decimal | None:
    tick, close = instrument(symbol).tick, seen.close
    price = sizing.exit_price(close, distance(way_out, close, seen.ranges), up, float(tick))
    return Decimal(round(price / float(tick))) * tick if isfinite(price) else None
