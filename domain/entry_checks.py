"""The checks of when an entry may go: hours, blackouts, halts, earnings, and after losses.

None of them is asked of an order that makes a position smaller, but for the halt, which then only says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta

from domain import entry_times
from domain.calendars import MarketState, Phase
from domain.context import Case, Unreadable, flag, moment, money
from domain.round_trips import RoundTrip
from domain.verdicts import Finding, must, note, should

# Hours


def within_windows(case: Case) -> Iterator[Finding]:
    allowed, local = entry_times.windows(case.limits.entry_windows), entry_times.local(case.now)
    named = ", ".join(map(str, allowed))
    said = f"It is {local:%H:%M} in New York, entries go within {named} only (entry_windows): wait for the next window."
    yield must(not allowed or any(window.holds(local) for window in allowed), said)


def after_the_open(case: Case) -> Iterator[Finding]:
    session = _session(case)
    if session is None:
        return
    since, wait = case.now - session[0], _minutes(case, "no_entry_after_open_min")
    free = entry_times.local(session[0] + wait)
    said = f"The market opened {_said(since)} ago, entries wait {_said(wait)} (no_entry_after_open_min)"
    yield must(since >= wait, f"{said}: they may go from {free:%H:%M} New York on.")


def before_the_close(case: Case) -> Iterator[Finding]:
    session, most = _session(case), _minutes(case, "no_entry_before_close_min")
    if session is None or not most:
        return
    left = session[1] - case.now
    said = f"The market closes in {_said(left)}, the last {_said(most)} take no entries (no_entry_before_close_min)"
    yield must(left > most, f"{said}: wait for the next session.")


def _session(case: Case) -> tuple[datetime, datetime] | None:
    """Open and close of the session that runs now, an early close included; None where there is neither."""
    market = case.context.market
    if not (isinstance(market, MarketState) and isinstance(market.phase, Phase)):
        raise Unreadable(f"the market's state must be known: got {market!r}")
    if case.context.instrument.is_crypto or market.phase is not Phase.OPEN:
        return None
    return moment("the session's open", case.context.opened), moment("the session's close", market.changes_at)


# Events


def blacked_out(case: Case) -> Iterator[Finding]:
    symbol, local = case.request.symbol, entry_times.local(case.now)
    for blackout in entry_times.blackouts(case.limits.blackouts):
        whose = "It" if blackout.symbols else "Every symbol"
        said = f"{symbol}: {blackout.reason}. {whose} takes no entries until {blackout.ends()} (blackouts): wait."
        yield must(not blackout.covers(symbol, local), said)


def halted(case: Case) -> Iterator[Finding]:
    symbol = case.request.symbol
    if case.reduces:
        stands = getattr(case.context.quote, "halted", None) is True
        yield should(not stands, f"{symbol} is halted: what is sent now waits until trading goes on.")
    elif (told := case.quote.halted) is None:
        yield note("This source does not tell of halts.")
    else:
        yield must(not flag("the quote's halt", told), f"{symbol} is halted: wait until trading goes on.")


def earnings_near(case: Case) -> Iterator[Finding]:
    days, day, symbol = case.limit("no_entry_days_before_earnings"), case.quote.earnings, case.request.symbol
    told = flag("whether earnings are told", case.quote.tells_earnings)
    if day is not None and type(day) is not date:
        raise Unreadable(f"the day of {symbol}'s earnings must be a date: got {day!r}")
    if not days or case.context.instrument.is_crypto:
        return
    if not told:
        yield should(
            False, f"This source does not tell when {symbol} reports: no_entry_days_before_earnings holds nothing back."
        )
    elif day is not None:
        today = entry_times.local(case.now).date()
        left = case.context.instrument.calendar.sessions_between(today, day)
        said = f"{symbol} reports on {day}, the {days} sessions before take no entries (no_entry_days_before_earnings)"
        yield must(day < today or left > days, f"{said}: wait until it has.")


def gone_quiet(case: Case) -> Iterator[Finding]:
    most, traded, symbol = _minutes(case, "max_quiet_min"), case.quote.traded, case.request.symbol
    last = None if traded is None else moment("the last trade's time", traded)
    if not most or case.context.market.phase is not Phase.OPEN:
        return
    if last is None:
        yield should(False, f"This source does not tell when {symbol} last traded: max_quiet_min holds nothing back.")
        return
    if last > case.now + timedelta(seconds=float(case.limit("max_clock_skew_s"))):
        raise Unreadable(f"{symbol} cannot have traded in the future: {last.isoformat()}")
    session = _session(case)
    quiet = case.now - (max(last, session[0]) if session else last)
    said = f"{symbol} has not traded for {_said(quiet)}, after {_said(most)} entries wait (max_quiet_min)"
    yield must(quiet <= most, f"{said}: it may be halted, look before you go on.")


# After losses


def cooled_down(case: Case) -> Iterator[Finding]:
    wait, symbol = _minutes(case, "cool_down_min"), case.request.symbol
    lost = [trip for trip in _trips(case) if trip.symbol == symbol and trip.lost]
    if not wait or not lost:
        return
    last = lost[-1]
    free = entry_times.local(last.closed + wait)
    said = f"{symbol} closed with a loss of {-last.profit:.2f} {_said(case.now - last.closed)} ago"
    rule = f"entries in it wait {_said(wait)} (cool_down_min): it is free again at {free:%H:%M:%S} New York."
    yield must(case.now - last.closed >= wait, f"{said}, {rule}")


def losses_in_a_row(case: Case) -> Iterator[Finding]:
    most, began = case.limit("max_consecutive_losses"), moment("day_began", case.context.day_began)
    row = 0
    for trip in _trips(case):
        row = row + 1 if trip.lost and trip.closed >= began else 0
    said = f"The last {row} round trips of today lost, {most} in a row end the day (max_consecutive_losses)"
    yield must(not most or row < most, f"{said}: entries go on tomorrow.")


def _trips(case: Case) -> list[RoundTrip]:
    """In the order of time."""
    trips = case.context.trips
    if not (isinstance(trips, tuple) and all(isinstance(each, RoundTrip) for each in trips)):
        raise Unreadable(f"trips must be a tuple of round trips: got {trips!r}")
    for each in trips:
        if not isinstance(each.symbol, str):
            raise Unreadable(f"a round trip must say its symbol: got {each!r}")
        money(f"what a round trip in {each.symbol} brought", each.profit)
    return sorted(trips, key=lambda trip: moment("when a round trip closed", trip.closed))


def _minutes(case: Case, name: str) -> timedelta:
    return timedelta(minutes=float(case.limit(name)))


def _said(span: timedelta) -> str:
    """`15 min`, and with seconds where there are any: `4 min 30 s`."""
    minutes, seconds = divmod(span // timedelta(seconds=1), 60)
    return f"{minutes} min {seconds} s" if seconds else f"{minutes} min"
