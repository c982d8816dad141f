"""The checks of whether anything may be sent now, whether the quote can be believed, and whether the order is sound.

Every comparison is written so that what cannot be compared refuses.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal

from domain.calendars import MarketState, Phase
from domain.context import ZERO, Case, Unreadable, flag, moment, money, names, number
from domain.instruments import Instrument
from domain.orders import UNCERTAIN, OrderRequest, OrderType, Purpose, Session, Side, TimeInForce
from domain.quotes import Bar
from domain.trading_state import TradingState, combine
from domain.verdicts import Finding, entry_must, must, should

# Two figures for one thing that are further apart than this are taken for different units: cents and dollars.
UNIT_FACTOR = 10
SIMULATED = "simulated"


def trading_state(case: Case) -> Iterator[Finding]:
    c = case.context
    state = combine(c.global_state, c.account_state, c.instrument_state)
    yield must(state is not TradingState.DISABLED, "Trading is disabled: nothing is sent until the owner enables it.")
    if state is TradingState.REDUCE_ONLY:
        yield must(case.reduces, "Only orders that make a position smaller may go out: close positions, or re-arm.")


def mode_armed(case: Case) -> Iterator[Finding]:
    yield must(case.context.mode_armed is True, "This desk is not armed: arm it in Settings first.")


def actor(case: Case) -> Iterator[Finding]:
    c = case.context
    named = isinstance(c.actor, str) and bool(c.actor.strip())
    yield must(named, f"The order must name who asks: got {c.actor!r}.")
    yield must(c.actor_allowed is True, f"{c.actor} may not place this order: ask the owner for the trader's role.")
    yield must(
        isinstance(c.account, str) and c.account == case.request.account,
        f"The order is for account {case.request.account}, the figures are of {c.account}: review it with its own.",
    )


def broker_ready(case: Case) -> Iterator[Finding]:
    yield must(case.context.broker_ready is True, "The broker is not ready: sign in, or wait for reconciliation.")


def session(case: Case) -> Iterator[Finding]:
    market = case.context.market
    if not (isinstance(market, MarketState) and isinstance(market.phase, Phase)):
        raise Unreadable(f"the market's state must be known: got {market!r}")
    known = market.changes_at is None or moment("the phase's end", market.changes_at) > case.now
    yield must(known, f"The market's state is out of date, it ended {market.changes_at}: ask the calendar again.")
    if case.request.session is Session.EXTENDED:
        yield from _extended(case, market.phase)
    elif not case.rests:
        yield must(market.phase is Phase.OPEN, f"The market is {market.phase}: a regular order waits for the open.")


def _extended(case: Case, phase: Phase) -> Iterator[Finding]:
    yield entry_must(
        case,
        flag("extended_hours", case.limits.extended_hours),
        "Entries outside regular hours are switched off (extended_hours): order for the regular session.",
    )
    yield must(phase is not Phase.CLOSED, "The market is closed: extended hours run from 04:00 to 20:00 New York.")
    yield must(
        case.request.type is OrderType.LIMIT,
        f"Extended hours take limit orders only, this is a {case.request.type} order: name a limit.",
    )


def clock_skew(case: Case) -> Iterator[Finding]:
    moment("now", case.now)
    skew, most = number("clock_skew_s", case.context.clock_skew_s), case.limit("max_clock_skew_s")
    yield must(
        abs(skew) <= most, f"Our clock is {skew} s from the broker's, at most {most} s is allowed: set the clock."
    )


def quote_age(case: Case) -> Iterator[Finding]:
    c, quote = case.context, case.quote
    delay = number("the quote's delay", quote.delayed_s, low=ZERO)
    accepted = flag("accept_delayed", c.accept_delayed)
    yield must(
        quote.symbol == case.request.symbol,
        f"The quote is for {quote.symbol}, the order for {case.request.symbol}: ask for the right one.",
    )
    yield must(
        delay == 0 or accepted, f"The quote is {delay} s delayed: trade on a live feed, or let this desk accept it."
    )
    age = _seconds(case.now - moment("the quote's time", quote.time))
    early, most = case.limit("max_clock_skew_s"), case.limit("max_quote_age_s") + delay
    yield must(age >= -early, f"The quote is {-age} s in the future: check the clocks.")
    said = f"The quote is {age} s old by the venue's time, at most {most} s is allowed: wait for a fresh one."
    # At night no quote is fresh, and a position without its stop at the open is worse than an old quote.
    overnight = case.rests and c.market.phase is Phase.CLOSED
    yield should(age <= most, said) if overnight else must(age <= most, said)


def quote_made_up(case: Case) -> Iterator[Finding]:
    c = case.context
    made_up = flag("simulated", c.simulated) or case.quote.source == SIMULATED
    accepted = flag("accept_simulated", c.accept_simulated)
    yield must(not made_up or accepted, "The prices are made up: trade them on the simulated paper desk only.")


def quote_book(case: Case) -> Iterator[Finding]:
    bid, ask, last = case.bid, case.ask, money("the quote's last", case.quote.last, above=ZERO)
    yield must(
        ask > bid, f"The book is crossed or locked, bid {bid} and ask {ask}: wait until the ask is above the bid."
    )
    yield must(_one_unit(last, case.mid), f"The last price {last} and the middle {case.mid} cannot both be right.")
    most, spread = case.limit("max_spread_bps"), 10_000 * (ask - bid)
    said = f"The spread is {spread / case.mid:.1f} bps, at most {most} is allowed: wait, or use a limit when it closes."
    yield entry_must(case, spread <= most * case.mid, said)


def quote_day(case: Case) -> Iterator[Finding]:
    quote = case.quote
    number("the quote's volume", quote.volume, low=ZERO)
    if quote.previous_close is not None:
        close = money("the quote's previous close", quote.previous_close, above=ZERO)
        yield must(
            _one_unit(close, case.mid), f"The previous close was {close}, the middle is {case.mid}: check the units."
        )
    if quote.minute is not None:
        yield must(_sound(quote.minute), f"The forming bar is not sound: {quote.minute!r}. Wait for the next.")


def well_formed(case: Case) -> Iterator[Finding]:
    asked = case.request
    for name, kind in (
        ("side", Side),
        ("type", OrderType),
        ("time_in_force", TimeInForce),
        ("session", Session),
        ("purpose", Purpose),
    ):
        yield must(
            isinstance(getattr(asked, name), kind), f"{name} must be a {kind.__name__}: got {getattr(asked, name)!r}."
        )
    dataclasses.replace(asked)  # checks itself again: a ValueError here says what is wrong with it


def on_the_grid(case: Case) -> Iterator[Finding]:
    asked, of = case.request, case.context.instrument
    if not isinstance(of, Instrument):
        raise Unreadable(f"the instrument must be known: got {of!r}")
    lot, tick = money("the instrument's lot", of.lot, above=ZERO), money("the instrument's tick", of.tick, above=ZERO)
    yield must(of.symbol == asked.symbol, f"The instrument is {of.symbol}, the order is for {asked.symbol}.")
    yield must(
        case.quantity % lot == 0, f"Quantity {asked.quantity} must be a multiple of the lot {lot}: round it down."
    )
    for name, price in _prices(asked):
        yield must(price % tick == 0, f"{name} {price} must be a multiple of the tick {tick}: round it.")


def smallest(case: Case) -> Iterator[Finding]:
    least = money("the smallest order", case.context.instrument.min_notional, low=ZERO)
    yield must(case.notional >= least, f"The order is worth {case.notional}, the smallest is {least}: order more.")


def price_sides(case: Case) -> Iterator[Finding]:
    asked, buys = case.request, case.request.side is Side.BUY
    for name, price in _prices(asked):
        if name in ("trail", "stop_trail"):
            yield must(price <= case.mid / 2, f"A trail of {price} at {case.mid} protects nothing: keep it nearer.")
        else:
            yield must(
                _one_unit(price, case.mid), f"{name} {price} is far from the market at {case.mid}: check the unit."
            )
    if asked.stop is not None:
        right = asked.stop > case.ask if buys else asked.stop < case.bid
        where = f"above the ask {case.ask}" if buys else f"below the bid {case.bid}"
        yield must(right, f"A {asked.side} stop must lie {where}: got {asked.stop}. Use a market order to act now.")
    yield from _exit_sides(case)


def _exit_sides(case: Case) -> Iterator[Finding]:
    asked, sign = case.request, case.request.side.sign
    # Where it is filled at the worst for the stop, and at the best for the target.
    base = asked.limit or asked.stop or (case.ask if sign > 0 else case.bid)
    if asked.stop_loss is not None:
        right = (base - asked.stop_loss) * sign > 0
        yield must(right, f"The stop {asked.stop_loss} is on the wrong side of the entry near {base}: turn it round.")
    if asked.target is not None:
        right = (asked.target - base) * sign > 0
        yield must(right, f"The target {asked.target} is on the wrong side of the entry near {base}: turn it round.")


def only_reduces(case: Case) -> Iterator[Finding]:
    if case.closes:
        most = case.closable
        said = f"At most {most} {case.request.symbol} are left to {case.request.side} without turning the position"
        yield must(case.quantity <= most, f"{said}, this order is for {case.quantity}: make it that many or fewer.")


def symbol_free(case: Case) -> Iterator[Finding]:
    symbol = case.request.symbol
    frozen = symbol in names("frozen", case.context.frozen)
    yield must(not frozen, f"{symbol} is frozen until a person has looked: see what happened and release it.")


def symbol_allowed(case: Case) -> Iterator[Finding]:
    symbol, allowed = case.request.symbol, names("symbols", case.limits.symbols)
    yield must(not allowed or symbol in allowed, f"{symbol} is not on the list of symbols: add it, or trade another.")
    unsure = [o.id for o in case.resting() if o.request.symbol == symbol and o.status in UNCERTAIN]
    yield must(not unsure, f"What became of order {', '.join(unsure)} in {symbol} is not yet known: wait until it is.")


def collar(case: Case) -> Iterator[Finding]:
    asked = case.request
    if asked.limit is None:
        return
    limit, most = money("limit", asked.limit, above=ZERO), case.limit("max_collar_pct")
    base = asked.stop if asked.stop is not None else case.mid
    away = (limit - base) * asked.side.sign
    # A target waits far from the market by design; only through the market can it do harm.
    distance = max(away, ZERO) if asked.purpose is Purpose.TARGET and case.reduces else abs(away)
    said = (
        f"The limit {limit} is {100 * distance / base:.2f} % from {base}, at most {most} % is allowed: move it nearer."
    )
    yield must(100 * distance <= most * base, said)


def _prices(asked: OrderRequest) -> Iterator[tuple[str, Decimal]]:
    for name in ("limit", "stop", "trail", "stop_loss", "target", "stop_trail"):
        if (price := getattr(asked, name)) is not None:
            yield name, money(name, price, above=ZERO)


def _one_unit(first: Decimal, second: Decimal) -> bool:
    return first < UNIT_FACTOR * second and second < UNIT_FACTOR * first


def _sound(bar: object) -> bool:
    if not isinstance(bar, Bar) or not isinstance(bar.time, datetime):
        return False
    figures = (bar.open, bar.high, bar.low, bar.close)
    return all(math.isfinite(x) and x > 0 for x in figures) and math.isfinite(bar.volume) and bar.volume >= 0


def _seconds(span: timedelta) -> Decimal:
    return Decimal(span // timedelta(microseconds=1)) / 1_000_000
