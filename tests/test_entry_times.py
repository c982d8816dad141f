"""When entries may go: text that is understood whole or refused, edges from both sides, exits never held up."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal as D
from typing import Any

import exchange_calendars
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.calendars import NEW_YORK, calendar
from domain.context import Context
from domain.entry_times import WHOLE_DAY, Blackout, Window, blackouts, local, windows
from domain.gates import GATES as ALL_GATES
from domain.instruments import Instrument, instrument
from domain.limits import Limits
from domain.orders import OrderRequest
from domain.quotes import Quote
from domain.round_trips import RoundTrip
from domain.verdicts import Outcome, Verdict
from risk_manager import RiskManager
from tests.conftest import ROOT
from tests.risk_world import AFTER, NOW, QUOTE, ago, ask, close, forced, holding, refusing, review, stop, world

GATES = ("hours", "events", "loss")
XNYS = calendar("XNYS")
TICK = timedelta(microseconds=1)


def at(text: str) -> datetime:
    """New York time."""
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK)


def world_at(moment: datetime, **changes: Any) -> Context:
    """The world with the market as the calendar has it then."""
    of = changes.get("instrument", instrument("AAPL")).calendar
    quote = forced(QUOTE, time=moment, **changes.pop("told", {}))
    seen = {"now": moment, "market": of.state(moment), "opened": of.opened(moment), "quote": quote, "recent": ()}
    return world(**{**seen, "day_began": moment - timedelta(hours=10), **changes})


def verdict(gate: str, request: OrderRequest, context: Context, **limits: Any) -> Verdict:
    [found] = [v for v in RiskManager(Limits(**limits)).review(request, context).verdicts if v.gate == gate]
    return found


def held_back(gate: str, context: Context, **limits: Any) -> bool:
    return verdict(gate, ask(), context, **limits).refused


# What is written


def test_windows_are_read_as_they_are_written() -> None:
    assert windows("09:45-11:30, 13:00-15:45") == (Window(585, 690), Window(780, 945))
    assert windows("22:00-24:00;00:00-02:00") == (Window(1320, 1440), Window(0, 120))
    assert windows(" 10:00 - 10:01\n10:01-10:02 ") == (Window(600, 601), Window(601, 602))
    assert windows("10:01-10:02,10:00-10:01") == (Window(601, 602), Window(600, 601))
    assert windows("") == windows(" \n") == ()
    assert str(Window(585, 1440)) == "09:45-24:00"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("9:45-11:30", "entry 1, '9:45-11:30': a window is two times of New York: write it as 09:45-11:30"),
        ("09:45-11:30, noon", "entry 2, 'noon': a window is two times"),
        ("09:45-11:30,", "entry 2 is empty: take the mark before it away"),
        ("09:45", "entry 1, '09:45': a window is two times"),
        ("09:45-11:30pm", "a window is two times"),
        ("٠٩:٤٥-١١:٣٠", "a window is two times"),
        ("09:60-11:30", "with minutes up to 59"),
        ("09:45-11:60", "with minutes up to 59"),
        ("09:45-24:01", "from 00:00 to 24:00"),
        ("11:30-11:30", "must end after it begins"),
        ("22:00-02:00", "over midnight write two, 22:00-24:00 and 00:00-02:00"),
        ("09:45-11:30, 11:29-12:00", "09:45-11:30 and 11:29-12:00 overlap: join them"),
        ("11:00-12:00, 09:45-11:01", "overlap"),
        (", ".join(f"{h:02d}:{m:02d}-{h:02d}:{m + 1:02d}" for h in (1, 2, 3) for m in range(7)), "at most 20"),
    ],
)
def test_a_window_that_is_not_understood_is_no_limit(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Limits(entry_windows=text)


DAY = date(2026, 12, 9)


def test_blackouts_are_read_as_they_are_written() -> None:
    text = "2026-12-09 13:30/14:30 FOMC; 2026-12-18 * triple  witching\nNVDA 2026-11-25 earnings"

    assert blackouts(text) == (
        Blackout(DAY, DAY, Window(810, 870), (), "FOMC"),
        Blackout(date(2026, 12, 18), date(2026, 12, 18), WHOLE_DAY, (), "triple witching"),
        Blackout(date(2026, 11, 25), date(2026, 11, 25), WHOLE_DAY, ("NVDA",), "earnings"),
    )
    assert blackouts("* 2026-12-09/2026-12-10 no 13:30 news") == (
        Blackout(DAY, date(2026, 12, 10), WHOLE_DAY, (), "no 13:30 news"),
    )
    assert blackouts("BRK.B,BTCUSDT 2026-12-09 23:00/24:00 x")[0].symbols == ("BRK.B", "BTCUSDT")
    assert blackouts("") == blackouts("\n ") == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("2026-12-09 FOMC; NVDA", "entry 2, 'NVDA': '' is no day: write it as 2026-12-09 13:30/14:30 FOMC"),
        ("2026-12-09 FOMC;;2026-12-10 more", "entry 2 is empty"),
        ("2026-02-29 leap", "2026-02-29 is not in the calendar"),
        ("2026-12-09/2026-13-01 x", "is not in the calendar"),
        ("2026-12-10/2026-12-09 x", "2026-12-09 lies before 2026-12-10: turn the days round"),
        ("2026-12-9 x", "'2026-12-9' is no day"),
        ("2026/12/09 x", "'2026/12/09' is no day"),
        ("nvda 2026-12-09 x", "'nvda' is neither a day nor a symbol"),
        ("NVDA, AMD 2026-12-09 x", "'' is neither a day nor a symbol"),
        ("BTC/USDT 2026-12-09 x", "'BTC/USDT' is neither a day nor a symbol"),
        ("2026-12-09", "a reason of up to 80 letters"),
        ("2026-12-09 *", "a reason of up to 80 letters"),
        ("2026-12-09 13:30/14:30", "a reason of up to 80 letters"),
        (f"2026-12-09 {'x' * 81}", "a reason of up to 80 letters"),
        ("2026-12-09 a\x00b", "a reason of up to 80 letters"),
        ("2026-12-09 13.30/14.30 FOMC", "is no span of hours: write it as 13:30/14:30, or *"),
        ("2026-12-09 13:30-14:30 FOMC", "is no span of hours"),
        ("2026-12-09 13:30 FOMC", "is no span of hours"),
        ("2026-12-09 14:30/13:30 FOMC", "must end after it begins"),
        ("2026-12-09 23:00/25:00 FOMC", "from 00:00 to 24:00"),
        ("2026-12-09/2026-12-10 13:30/14:30 FOMC", "hours belong to one day"),
        (";".join(["2026-12-09 x"] * 201), "at most 200 entries may stand there, these are 201"),
    ],
)
def test_a_blackout_that_is_not_understood_is_no_limit(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Limits(blackouts=text)


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from("0123456789-/:;,* \nNVDAx"), max_size=40))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    for read, name in ((windows, "entry_windows"), (blackouts, "blackouts")):
        said = ""
        try:
            understood = bool(read(text))
        except ValueError as error:
            said = str(error)
        assert said.startswith(name) if said else understood == bool(text.strip())


def test_limits_of_an_older_ledger_have_the_new_ones_switched_off() -> None:
    old = Limits.from_dict({"max_quantity": 7})

    assert (old.entry_windows, old.blackouts) == ("", "")
    assert [old.cool_down_min, old.max_consecutive_losses, old.max_quiet_min] == [0, 0, 0]
    assert [old.no_entry_after_open_min, old.no_entry_before_close_min, old.no_entry_days_before_earnings] == [0, 0, 0]
    kept = Limits(entry_windows="09:45-11:30", blackouts="2026-12-09 x")
    assert Limits.from_dict(kept.to_dict()) == kept


# Hours: windows, and the edges of the session


def test_a_window_holds_its_first_moment_and_not_its_last() -> None:
    limits = {"entry_windows": "09:45-11:30, 13:00-15:45"}
    first, last = at("2026-11-20T09:45"), at("2026-11-20T11:30")

    assert held_back("hours", world_at(first - TICK), **limits)
    assert not held_back("hours", world_at(first), **limits)
    assert not held_back("hours", world_at(last - TICK), **limits)
    assert held_back("hours", world_at(last), **limits)
    assert held_back("hours", world_at(at("2026-11-20T12:00")), **limits)
    assert not held_back("hours", world_at(at("2026-11-20T13:00")), **limits)
    said = verdict("hours", ask(), world_at(last), **limits).said
    assert said == (
        "It is 11:30 in New York, entries go within 09:45-11:30, 13:00-15:45 only (entry_windows): "
        "wait for the next window."
    )


@pytest.mark.parametrize("day", ["2026-03-06", "2026-03-09", "2026-10-30", "2026-11-02"])
def test_windows_and_blackouts_stay_on_new_yorks_clock_when_it_changes(day: str) -> None:
    """The Fridays before and the Mondays after both changes: the same wall clock, another UTC hour."""
    for limits in ({"entry_windows": "09:45-11:30"}, {"blackouts": f"{day} 11:30/24:00 x; {day} 00:00/09:45 x"}):
        gate = "hours" if "entry_windows" in limits else "events"
        seen = {t: held_back(gate, world_at(at(f"{day}T{t}").astimezone(UTC)), **limits) for t in CLOCK}
        assert seen == {"09:44": True, "09:45": False, "11:29": False, "11:30": True}


CLOCK = ("09:44", "09:45", "11:29", "11:30")
BITCOIN = instrument("BTCUSDT")


def bitcoin(moment: datetime, **limits: Any) -> bool:
    context = world_at(moment, instrument=BITCOIN, told={"symbol": "BTCUSDT"})
    return verdict("hours", forced(ask(), symbol="BTCUSDT"), context, **limits).refused


def test_the_hour_that_comes_twice_counts_twice_and_the_one_that_is_left_out_never() -> None:
    night = {"entry_windows": "01:30-02:30"}
    twice = [datetime(2026, 11, 1, hour, 45, tzinfo=UTC) for hour in (4, 5, 6, 7)]  # 00:45, 01:45, 01:45, 02:45
    spring = [datetime(2026, 3, 8, hour, 45, tzinfo=UTC) for hour in (5, 6, 7)]  # 00:45, 01:45, 03:45

    assert [bitcoin(moment, **night) for moment in twice] == [True, False, False, True]
    assert [bitcoin(moment, **night) for moment in spring] == [True, False, True]


def test_crypto_has_windows_but_neither_open_nor_close() -> None:
    moment = at("2026-11-21T15:55")  # a Saturday

    assert not bitcoin(moment, no_entry_after_open_min=390, no_entry_before_close_min=390)
    assert bitcoin(moment, entry_windows="09:45-11:30")


# An ordinary day, half-days, the weeks the clocks change
SESSIONS = ["2026-11-20", "2026-11-27", "2026-12-24", "2026-03-09", "2026-11-02", "2025-07-03"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::pandas.errors.Pandas4Warning")
@pytest.mark.parametrize("day", SESSIONS)
def test_the_first_and_last_minutes_are_those_of_the_exchange(day: str) -> None:
    """Against exchange_calendars itself, early closes included."""
    nyse = exchange_calendars.get_calendar("XNYS")
    opens, closes = nyse.session_open(day).to_pydatetime(), nyse.session_close(day).to_pydatetime()
    limits = {"no_entry_after_open_min": 15, "no_entry_before_close_min": 20}
    first, last = opens + timedelta(minutes=15), closes - timedelta(minutes=20)

    seen = [held_back("hours", world_at(m), **limits) for m in (opens, first - TICK, first, last - TICK, last)]

    assert seen == [True, True, False, False, True]
    assert held_back("hours", world_at(closes - TICK), **limits)
    assert not held_back("hours", world_at(opens))
    assert not held_back("hours", world_at(closes - TICK))


def test_a_half_day_says_its_own_close() -> None:
    context = world_at(at("2026-11-27T12:45:30"))

    said = verdict("hours", ask(), context, no_entry_before_close_min=15).said

    assert said == (
        "The market closes in 14 min 30 s, the last 15 min take no entries (no_entry_before_close_min): "
        "wait for the next session."
    )
    assert not held_back("hours", world_at(at("2026-11-20T12:45:30")), no_entry_before_close_min=15)
    early = verdict("hours", ask(), world_at(at("2026-11-27T09:31")), no_entry_after_open_min=15).said
    assert early == (
        "The market opened 1 min ago, entries wait 15 min (no_entry_after_open_min): "
        "they may go from 09:45 New York on."
    )


def test_before_the_open_and_after_the_close_the_session_has_no_edges() -> None:
    limits = {"no_entry_after_open_min": 390, "no_entry_before_close_min": 390}

    for moment in (at("2026-11-20T09:00"), at("2026-11-20T16:30"), at("2026-11-21T12:00")):
        assert not held_back("hours", world_at(moment), **limits)


def test_a_session_that_cannot_be_read_refuses_entries() -> None:
    assert held_back("hours", world(opened=None))
    assert held_back("hours", world(opened=NOW + timedelta(seconds=1)))
    assert held_back("hours", world(market=forced(world().market, changes_at=None)))


def test_the_calendar_tells_the_running_session() -> None:
    assert XNYS.opened(at("2026-11-20T09:30")) == at("2026-11-20T09:30")
    assert XNYS.opened(at("2026-11-27T12:59")) == at("2026-11-27T09:30")
    for moment in ("2026-11-20T09:29", "2026-11-20T16:00", "2026-11-27T13:00", "2026-11-26T12:00"):
        assert XNYS.opened(at(moment)) is None
    assert BITCOIN.calendar.opened(NOW) is None


# Events


def test_a_blackout_stops_entries_from_its_first_moment_to_its_last() -> None:
    limits = {"blackouts": "2026-12-09 13:30/14:30 FOMC"}
    first, last = at("2026-12-09T13:30"), at("2026-12-09T14:30")

    seen = [held_back("events", world_at(m), **limits) for m in (first - TICK, first, last - TICK, last)]

    assert seen == [False, True, True, False]
    assert not held_back("events", world_at(first + timedelta(days=1)), **limits)
    said = verdict("events", ask(), world_at(first), **limits).said
    assert said == "AAPL: FOMC. Every symbol takes no entries until 2026-12-09 14:30 New York (blackouts): wait."


def test_a_blackout_of_days_lasts_from_midnight_to_midnight_of_new_york() -> None:
    [blackout] = blackouts("NVDA,AMD 2026-12-24/2026-12-26 holidays")
    first, last = at("2026-12-24T00:00"), at("2026-12-27T00:00")

    def covers(moment: datetime, symbol: str = "NVDA") -> bool:
        return blackout.covers(symbol, local(moment.astimezone(UTC)))

    assert [covers(m) for m in (first - TICK, first, last - TICK, last)] == [False, True, True, False]
    assert covers(first, "AMD")
    assert not covers(first, "AAPL")
    limits = {"blackouts": "AAPL 2026-11-20 earnings"}
    assert verdict("events", ask(), world(), **limits).said.startswith("AAPL: earnings. It takes no entries until")
    assert not held_back("events", world(), blackouts="NVDA 2026-11-20 earnings")


def test_a_halt_refuses_entries_and_only_warns_an_exit() -> None:
    stands = forced(QUOTE, halted=True)

    assert refusing(review(ask(), world(quote=stands))) == ["events"]
    assert verdict("events", ask(), world(quote=stands)).said == "AAPL is halted: wait until trading goes on."
    for wish in (close(), stop()):
        answer = verdict("events", wish, holding(100, quote=stands))
        assert answer.outcome is Outcome.WARNING
        assert "waits until trading goes on" in answer.said


def test_a_source_that_tells_no_halts_says_so_and_passes() -> None:
    answer = verdict("events", ask(), world(quote=forced(QUOTE, halted=None)))

    assert answer.outcome is Outcome.PASSED
    assert answer.said == "No event stands against an entry. This source does not tell of halts."
    assert verdict("events", ask(), world()).said == "No event stands against an entry."


@pytest.mark.parametrize(
    ("now", "reports", "days", "refused"),
    [
        ("2026-11-20", "2026-11-20", 1, True),  # after the close, perhaps
        ("2026-11-20", "2026-11-23", 1, True),  # Monday, this is the Friday before
        ("2026-11-20", "2026-11-24", 1, False),
        ("2026-11-20", "2026-11-24", 2, True),
        ("2026-11-25", "2026-11-27", 1, True),  # Thanksgiving between is no session, the half-day is one
        ("2026-11-25", "2026-11-30", 1, False),
        ("2026-11-25", "2026-11-30", 2, True),
        ("2026-11-20", "2026-11-19", 30, False),  # it has
        ("2026-11-20", "2026-11-20", 0, False),
    ],
)
def test_the_sessions_before_a_report_take_no_entries(now: str, reports: str, days: int, refused: bool) -> None:
    context = world_at(at(f"{now}T10:30"), told={"earnings": date.fromisoformat(reports)})

    assert held_back("events", context, no_entry_days_before_earnings=days) is refused


def test_a_report_that_is_no_day_refuses_also_where_no_days_are_asked_for() -> None:
    assert refusing(review(ask(), world(quote=forced(QUOTE, earnings=NOW)))) == ["events"]


def test_a_source_without_earnings_warns_where_they_are_asked_for() -> None:
    untold, none = forced(QUOTE, earnings=None, tells_earnings=False), forced(QUOTE, earnings=None)
    limits = {"no_entry_days_before_earnings": 3}

    warned = verdict("events", ask(), world(quote=untold), **limits)
    assert (warned.outcome, "does not tell when AAPL reports" in warned.said) == (Outcome.WARNING, True)
    assert verdict("events", ask(), world(quote=none), **limits).outcome is Outcome.PASSED
    assert verdict("events", ask(), world(quote=untold)).outcome is Outcome.PASSED
    coin = world(quote=forced(untold, symbol="BTCUSDT"), instrument=BITCOIN)
    assert verdict("events", forced(ask(), symbol="BTCUSDT"), coin, **limits).outcome is Outcome.PASSED


def test_what_has_not_traded_for_long_may_be_halted() -> None:
    def quiet(traded: datetime | None, **changes: Any) -> Outcome:
        return verdict("events", ask(), world(quote=forced(QUOTE, traded=traded), **changes), max_quiet_min=5).outcome

    assert quiet(ago(300)) is Outcome.PASSED
    assert quiet(ago(300.000001)) is Outcome.REFUSED
    assert quiet(ago(-2)) is Outcome.PASSED
    assert quiet(ago(-2.000001)) is Outcome.REFUSED
    assert quiet(None) is Outcome.WARNING
    # Last night's trade counts from this morning's open.
    assert quiet(ago(70_000), opened=ago(300)) is Outcome.PASSED
    assert quiet(ago(70_000), opened=ago(301)) is Outcome.REFUSED
    # After the close nothing need trade.
    assert quiet(ago(301), market=AFTER, opened=None) is Outcome.PASSED
    assert verdict("events", ask(), world(quote=forced(QUOTE, traded=ago(9_999)))).outcome is Outcome.PASSED


def test_what_a_quote_tells_travels_between_processes() -> None:
    for quote in (QUOTE, forced(QUOTE, halted=None, traded=None, earnings=None, tells_earnings=False)):
        assert Quote.from_text("AAPL", quote.to_text()) == forced(quote, minute=None)
    old = re.sub(r'"(halted|traded|earnings|tells_earnings)": [^,]+, ', "", QUOTE.to_text())
    assert "halted" not in old
    read = Quote.from_text("AAPL", old)
    assert (read.halted, read.traded, read.earnings, read.tells_earnings) == (None, None, None, False)


# After losses


def lost(symbol: str = "AAPL", seconds: float = 600, profit: str = "-0.01") -> RoundTrip:
    return RoundTrip(symbol, ago(seconds), D(profit))


@pytest.mark.parametrize(
    ("trips", "minutes", "refused"),
    [
        ((lost(seconds=900),), 15, False),
        ((lost(seconds=899.999999),), 15, True),
        ((lost(profit="0"),), 15, False),
        ((lost(profit="5"),), 15, False),
        ((lost("KO"),), 15, False),
        ((lost(seconds=1200), lost(seconds=300)), 15, True),
        ((lost(seconds=300), lost(seconds=1200)), 15, True),
        ((lost(seconds=600), lost(seconds=60, profit="9")), 15, True),
        ((lost(seconds=1),), 0, False),
        ((lost(seconds=-1),), 0, False),
        ((), 1440, False),
    ],
)
def test_after_a_loss_a_symbol_rests(trips: tuple[RoundTrip, ...], minutes: int, refused: bool) -> None:
    assert held_back("loss", world(trips=trips), cool_down_min=minutes) is refused


def test_a_cool_down_says_when_it_is_over() -> None:
    said = verdict("loss", ask(), world(trips=(lost(seconds=90, profit="-12.50"),)), cool_down_min=15).said

    assert said == (
        "AAPL closed with a loss of 12.50 1 min 30 s ago, entries in it wait 15 min (cool_down_min): "
        "it is free again at 10:43:30 New York."
    )


MIDNIGHT = (NOW - world().day_began).total_seconds()


@pytest.mark.parametrize(
    ("trips", "most", "refused"),
    [
        ((lost("KO", 30), lost("MSFT", 20)), 2, True),
        ((lost("KO", 30), lost("MSFT", 20)), 3, False),
        ((lost("KO", 30), lost("KO", 25, "0"), lost("MSFT", 20)), 2, False),
        ((lost("KO", 30), lost("MSFT", 20), lost("KO", 10, "1")), 1, False),
        ((lost("MSFT", 20), lost("KO", 30, "1"), lost("KO", 10)), 2, True),  # by time, not as they are told
        ((lost("KO", MIDNIGHT), lost("MSFT", 20)), 2, True),
        ((lost("KO", MIDNIGHT + 0.000001), lost("MSFT", 20)), 2, False),
        ((lost("KO", 30),) * 9, 0, False),
    ],
)
def test_losses_in_a_row_stop_entries_for_the_day(trips: tuple[RoundTrip, ...], most: int, refused: bool) -> None:
    assert held_back("loss", world(trips=trips), max_consecutive_losses=most) is refused


# Exits

STRICTEST = {
    "entry_windows": "00:00-00:01",
    "blackouts": "2026-01-01/2026-12-31 never",
    "no_entry_after_open_min": 390,
    "no_entry_before_close_min": 390,
    "no_entry_days_before_earnings": 30,
    "max_quiet_min": 1,
    "cool_down_min": 1440,
    "max_consecutive_losses": 1,
}
junk = st.sampled_from([None, "x", 7, D("NaN"), (), float("nan"), NOW, ago(9_999), object()])
worst_trips = st.sampled_from([(lost(seconds=1),) * 3, None, (lost(profit="NaN"),), ("x",), (lost(), 5)])
told_of = ("halted", "traded", "earnings", "tells_earnings")


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from([close(), close(1), stop()]),
    st.fixed_dictionaries({}, optional={name: st.just(value) for name, value in STRICTEST.items()}),
    st.fixed_dictionaries({}, optional={"opened": junk, "trips": worst_trips}),
    st.fixed_dictionaries({}, optional={name: junk | st.booleans() for name in told_of}),
)
def test_nothing_of_this_ever_holds_up_an_exit(
    wish: OrderRequest, limits: dict[str, Any], changes: dict[str, Any], told: dict[str, Any]
) -> None:
    """Not the strictest limits, and not what cannot be read."""
    context = holding(100, quote=forced(QUOTE, **told), **changes)

    assert refusing(review(wish, context, **limits)) == []


def test_the_strictest_limits_hold_every_entry_and_each_names_itself() -> None:
    context = world(trips=(lost(),), quote=forced(QUOTE, halted=True, earnings=date(2026, 11, 23), traded=ago(70)))

    answer = review(ask(), context, **STRICTEST)

    assert refusing(answer) == list(GATES)
    said = " ".join(answer.reasons) if hasattr(answer, "reasons") else ""
    assert [name for name in STRICTEST if f"({name})" not in said] == []


def test_an_order_that_may_turn_the_position_is_held_like_an_entry() -> None:
    too_many = holding(99, trips=(lost(),))

    assert refusing(review(close(100), too_many, entry_windows="00:00-00:01"))[:2] == ["hours", "order"]
    assert Instrument("AAPL").calendar is XNYS


def test_the_handbook_names_every_gate_and_its_limits() -> None:
    text = (ROOT / "docs" / "risk.md").read_text(encoding="utf-8")

    assert re.findall(r"^\| (\d+) \| ([a-z ]+) \|", text, re.MULTILINE) == [
        (str(number), gate.name) for number, gate in enumerate(ALL_GATES, 1)
    ]
    assert [name for gate in ALL_GATES for name in gate.limits if f"`{name}`" not in text] == []
    [example] = re.findall(r"((?:^    .+\n)+)", text, re.MULTILINE)
    assert len(blackouts(example)) == 4
