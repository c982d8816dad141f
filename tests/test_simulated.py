"""The simulated market: repeatable to the bit, lawful in every timeframe, believable, and on a clock that
never goes back."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import talib
from hypothesis import given, settings
from hypothesis import strategies as st

from domain import candles
from domain.calendars import NEW_YORK, Phase, calendar
from domain.candles import TIMEFRAMES, timeframe
from domain.clock import Clock, ManualClock
from domain.errors import SettingsError, UnknownName
from domain.instruments import KNOWN, Instrument, instrument
from domain.quotes import Quote
from feeds import _simulated_clock as clocks
from feeds._simulated_clock import Kept, SimulatedClock, note, settled
from feeds._simulated_prices import tape
from feeds._simulated_walks import CHARACTERS, Regime
from feeds.simulated import PART, SimulatedFeed
from settings import Settings

ROOT = Path(__file__).resolve().parent.parent
FRIDAY_NOON = datetime(2026, 11, 20, 17, 3, 17, tzinfo=UTC)
SUNDAY = datetime(2026, 11, 22, 15, 0, tzinfo=UTC)


def at(text: str) -> datetime:
    """A New York wall-clock time as UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).astimezone(UTC)


def a_feed(now: datetime | Clock = FRIDAY_NOON, **chosen: object) -> SimulatedFeed:
    clock = ManualClock(now) if isinstance(now, datetime) else now
    wanted = {"simulated_clock": "real", "simulated_start": "", **chosen}
    return SimulatedFeed(Settings(_env_file=None, **wanted), clock)


def bars(feed: SimulatedFeed, symbol: str, tf: str, start: datetime, end: datetime) -> pd.DataFrame:
    return asyncio.run(feed.candles(instrument(symbol), timeframe(tf), start, end))


def quote(feed: SimulatedFeed, symbol: str) -> Quote:
    return asyncio.run(feed.quotes([instrument(symbol)]))[instrument(symbol).symbol]


def digest(frame: pd.DataFrame) -> str:
    times = candles.nanos(frame).astype("<i8").tobytes()
    return hashlib.sha256(times + frame.round(4).to_numpy().astype("<f8").tobytes()).hexdigest()


# The same bar for everyone


def test_every_known_instrument_has_a_character_and_prices():
    feed = a_feed()
    quotes = asyncio.run(feed.quotes(list(KNOWN.values())))

    assert set(CHARACTERS) == set(KNOWN) == set(quotes)
    assert PART is SimulatedFeed


def test_a_symbol_nobody_simulates_is_answered_with_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'NVDA'"):
        bars(a_feed(), "NVDAA", "1d", FRIDAY_NOON - timedelta(days=9), FRIDAY_NOON)

    assert asyncio.run(a_feed().quotes([Instrument("NVDAA")])) == {}


@pytest.mark.parametrize("symbol", ["AAPL", "BTCUSDT"])
@pytest.mark.parametrize("tf", TIMEFRAMES)
def test_a_bar_is_the_same_whatever_window_is_asked(symbol, tf):
    feed = a_feed()
    whole = bars(feed, symbol, tf, FRIDAY_NOON - timedelta(days=12), FRIDAY_NOON)
    for hours, length in ((3, 2), (26, 9), (80, 30), (200, 150)):
        start = FRIDAY_NOON - timedelta(hours=hours, minutes=7)
        end = start + timedelta(hours=length)

        pd.testing.assert_frame_equal(
            bars(feed, symbol, tf, start, end), candles.between(whole, start, end), check_exact=True, check_freq=False
        )


def test_the_first_asked_for_does_not_matter():
    before = bars(a_feed(), "KO", "1d", at("2024-06-03"), at("2024-07-01"))
    tape.cache_clear()
    bars(a_feed(), "KO", "1d", at("2023-01-03"), at("2026-07-01"))

    pd.testing.assert_frame_equal(bars(a_feed(), "KO", "1d", at("2024-06-03"), at("2024-07-01")), before)


def test_what_a_caller_does_to_a_frame_stays_with_that_caller():
    asked = ("AAPL", "1m", at("2026-11-19 10:00"), at("2026-11-19 11:00"))
    first = bars(a_feed(), *asked)
    kept = first.copy()
    first.loc[:, :] = 0.0

    pd.testing.assert_frame_equal(bars(a_feed(), *asked), kept)


GOLDEN = {
    ("AAPL", "1d", "2025-03-03"): (245.78, 251.4, 245.32, 250.91, 73508593.0),
    ("AAPL", "1m", "2025-03-03 09:30"): (245.78, 245.91, 245.37, 245.64, 651455.0),
    ("KO", "1d", "2010-01-04"): (29.07, 29.19, 28.65, 28.78, 11462696.0),
    ("BTCUSDT", "1h", "2026-05-02 20:00"): (107044.69, 107362.06, 106813.85, 106954.66, 703.4326171875),
}
GOLDEN_MONTHS = {
    "NVDA": "f386fc57377b2ef909796bb3edb27d02ce01accfd5ebda21601729448e6d26a4",
    "ADAUSDT": "4c23fcbf079cfd320af165a2e8c16d04b7c656ca6a42f5c0724548ba75651c8c",
}


@pytest.mark.parametrize(("symbol", "tf", "when"), GOLDEN)
def test_these_bars_never_change(symbol, tf, when):
    start = at(when)
    row = bars(a_feed(), symbol, tf, start, start + timedelta(hours=10)).iloc[0]

    assert tuple(row) == GOLDEN[symbol, tf, when]


@pytest.mark.parametrize("symbol", GOLDEN_MONTHS)
def test_a_month_of_minutes_never_changes(symbol):
    assert digest(bars(a_feed(), symbol, "1m", at("2025-03-01"), at("2025-04-01"))) == GOLDEN_MONTHS[symbol]


FRESH = """
import asyncio, hashlib, sys
from datetime import UTC, datetime
from pathlib import Path
from domain.candles import nanos, timeframe
from domain.clock import SystemClock
from domain.instruments import instrument
from feeds.simulated import SimulatedFeed
from settings import Settings
feed = SimulatedFeed(Settings(data_dir=Path(sys.argv[1]), simulated_clock="shifted"), SystemClock())
span = (datetime(2025, 3, 1, 5, tzinfo=UTC), datetime(2025, 4, 1, 4, tzinfo=UTC))
frame = asyncio.run(feed.candles(instrument("NVDA"), timeframe("1m"), *span))
print(hashlib.sha256(nanos(frame).tobytes() + frame.round(4).to_numpy().tobytes()).hexdigest())
print(feed.shift.total_seconds())
"""


def test_two_fresh_processes_agree_on_prices_and_on_the_clock(tmp_path):
    command = [sys.executable, "-c", FRESH, str(tmp_path)]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=60)[0].split() for process in both]

    assert said[0] == said[1]
    assert said[0][0] == GOLDEN_MONTHS["NVDA"]


# One law for all timeframes

WEEKS = {
    "a half-day": ("2025-11-24", "2025-12-01"),
    "clocks go forward": ("2026-03-04", "2026-03-13"),
    "clocks go back": ("2025-10-29", "2025-11-06"),
    "a shock": ("2026-08-03", "2026-08-14"),
}


@pytest.mark.parametrize("symbol", ["AAPL", "KO", "BTCUSDT", "ADAUSDT"])
@pytest.mark.parametrize("week", WEEKS)
def test_coarse_bars_are_exactly_their_minutes_resampled(symbol, week):
    feed, (start, end) = a_feed(), (at(day) for day in WEEKS[week])
    if instrument(symbol).is_crypto:
        start, end = (moment.replace(hour=0) for moment in (start, end))
    minutes = bars(feed, symbol, "1m", start, end)
    for tf in TIMEFRAMES.values():
        coarse = bars(feed, symbol, tf.name, start, end)

        law = candles.resample(minutes, tf, instrument(symbol))
        pd.testing.assert_frame_equal(coarse, law, check_exact=True, check_freq=False)


@pytest.mark.parametrize("symbol", ["SPY", "NFLX", "ETHUSDT", "ADAUSDT"])
@pytest.mark.parametrize("tf", TIMEFRAMES)
def test_every_frame_passes_the_check(symbol, tf):
    feed = a_feed()
    days = 4000 if tf == "1d" else 200
    frame = bars(feed, symbol, tf, FRIDAY_NOON - timedelta(days=days), FRIDAY_NOON + timedelta(days=30))

    candles.check(frame, instrument(symbol), timeframe(tf), FRIDAY_NOON)
    assert len(frame) > 100


@pytest.mark.parametrize("symbol", KNOWN)
def test_every_symbol_is_lawful_and_on_its_tick(symbol):
    feed, item = a_feed(), instrument(symbol)
    days = bars(feed, symbol, "1d", at("2023-01-01"), FRIDAY_NOON)
    minutes = bars(feed, symbol, "1m", FRIDAY_NOON - timedelta(days=9), FRIDAY_NOON)

    for frame, tf in ((days, "1d"), (minutes, "1m")):
        candles.check(frame, item, timeframe(tf), FRIDAY_NOON)
        ticks = frame[["open", "high", "low", "close"]].to_numpy() / float(item.tick)
        assert np.abs(ticks - np.rint(ticks)).max() < 1e-4
        assert (frame.volume > 0).all()


def test_prices_begin_in_2010():
    span = (at("2001-01-01"), at("2010-02-01"))

    assert bars(a_feed(), "SPY", "1d", *span).index[0].date() == date(2010, 1, 4)
    assert bars(a_feed(), "BTCUSDT", "1d", *span).index[0].date() == date(2010, 1, 1)


def test_regular_hours_are_complete_half_days_short_and_holidays_empty():
    feed = a_feed()
    week = bars(feed, "AAPL", "1m", at("2025-11-24"), at("2025-12-01"))
    _, phase = instrument("AAPL").calendar.locate(candles.nanos(week))
    regular = week[phase == 2]
    by_day = regular.groupby(regular.index.tz_convert(NEW_YORK).date).size()

    assert by_day.to_dict() == {
        date(2025, 11, 24): 390,
        date(2025, 11, 25): 390,
        date(2025, 11, 26): 390,
        date(2025, 11, 28): 210,
    }
    assert bars(feed, "AAPL", "1m", at("2025-11-27"), at("2025-11-28")).empty
    last = week.index[-1].tz_convert(NEW_YORK)
    assert (last.date(), last.hour) == (date(2025, 11, 28), 16)


def test_extended_hours_are_thin_and_link_the_days():
    week = bars(a_feed(), "KO", "1m", at("2026-11-16"), at("2026-11-20"))
    _, phase = instrument("KO").calendar.locate(candles.nanos(week))
    pre, regular, post = (week[phase == part] for part in (1, 2, 3))

    assert 0.05 < len(pre) / (4 * 330) < 0.6
    assert 0.02 < len(post) / (4 * 240) < 0.6
    assert pre.volume.mean() < 0.2 * regular.volume.mean()
    steps = np.abs(np.log(week.open.to_numpy()[1:] / week.close.to_numpy()[:-1]))
    assert steps.max() < 0.03


def test_only_closed_bars_are_given_while_time_passes():
    clock = ManualClock(at("2026-11-20 09:28"))
    feed = a_feed(clock)
    tfs = [timeframe(name) for name in ("1m", "5m", "1h", "1d")]
    for _ in range(45):
        clock.advance(minutes=13.4)
        for tf in tfs:
            end = clock.now() + timedelta(days=3)
            frame = asyncio.run(feed.candles(instrument("SPY"), tf, at("2026-11-20"), end))
            ends = candles.ends(candles.nanos(frame), tf, instrument("SPY"))

            assert (ends <= pd.Timestamp(clock.now()).value).all()


def test_the_newest_bar_comes_with_its_last_second():
    clock = ManualClock(at("2026-11-20 09:59:59"))
    feed, asked = a_feed(clock), ("AAPL", "5m", at("2026-11-20 09:30"), at("2026-11-20 16:00"))
    before = bars(feed, *asked)
    clock.advance(seconds=1)

    assert len(bars(feed, *asked)) == len(before) + 1 == 6


# Believable


def returns(symbol: str, tf: str, start: str = "2024-01-02") -> pd.Series:
    frame = bars(a_feed(), symbol, tf, at(start), FRIDAY_NOON)
    _, phase = instrument(symbol).calendar.locate(candles.nanos(frame))
    return np.log(frame.close[phase == 2]).diff().dropna()


@pytest.mark.parametrize(
    ("one", "other", "by_day", "by_minute"),
    [
        ("NVDA", "AMD", 0.5, 0.5),
        ("USO", "RTX", 0.35, 0.25),
        ("SPY", "AAPL", 0.5, 0.5),
        ("SPY", "JPM", 0.45, 0.45),
        ("BTCUSDT", "ETHUSDT", 0.6, 0.5),
    ],
)
def test_what_belongs_together_moves_together(one, other, by_day, by_minute):
    assert np.corrcoef(returns(one, "1d"), returns(other, "1d"))[0, 1] > by_day
    minutes = (returns(symbol, "1m", "2026-09-01") for symbol in (one, other))
    assert np.corrcoef(*minutes)[0, 1] > by_minute


@pytest.mark.parametrize("symbol", KNOWN)
def test_every_symbol_lives_through_every_regime(symbol):
    shares = np.bincount(tape(symbol).regimes, minlength=3) / len(tape(symbol).regimes)

    assert shares.min() > 0.1
    assert len(shares) == len(Regime)


@pytest.mark.parametrize("symbol", KNOWN)
def test_prices_stay_within_reason_and_move_as_much_as_they_should(symbol):
    days = bars(a_feed(), symbol, "1d", at("2010-01-01"), FRIDAY_NOON)
    yearly = np.log(days.close).diff().std() * np.sqrt(365 if instrument(symbol).is_crypto else 252)

    assert days.close.max() < 100 * days.close.iloc[0]
    assert days.low.min() > (0.05 if symbol == "ADAUSDT" else 1)
    assert yearly == pytest.approx(CHARACTERS[symbol].volatility, rel=0.2)


def test_apple_costs_what_apple_might():
    days = bars(a_feed(), "AAPL", "1d", at("2024-01-02"), FRIDAY_NOON)

    assert days.low.min() > 120
    assert days.high.max() < 450


def test_volume_and_movement_smile():
    frame = bars(a_feed(), "AAPL", "1m", at("2026-06-01"), at("2026-11-01"))
    local = frame.index.tz_convert(NEW_YORK)
    minute = local.hour * 60 + local.minute - 570
    part = lambda lo, hi: frame[(minute >= lo) & (minute < hi)]  # noqa: E731
    noon = part(150, 240)
    for busy in (part(0, 30), part(360, 390)):
        assert busy.volume.mean() > 1.5 * noon.volume.mean()
    for wild in (part(0, 30), part(375, 390)):
        assert np.log(wild.close / wild.open).std() > 1.1 * np.log(noon.close / noon.open).std()


def test_stocks_gap_overnight():
    days = bars(a_feed(), "NVDA", "1d", at("2022-01-03"), FRIDAY_NOON)
    gaps = np.abs(days.open.to_numpy()[1:] / days.close.to_numpy()[:-1] - 1)

    assert np.median(gaps) > 0.003
    assert (gaps > 0.03).mean() > 0.01


def test_crypto_trades_every_minute_of_the_week():
    minutes = bars(a_feed(), "BTCUSDT", "1m", datetime(2026, 11, 9, tzinfo=UTC), datetime(2026, 11, 16, tzinfo=UTC))

    assert len(minutes) == 7 * 1440


@pytest.mark.parametrize("symbol", ["AAPL", "NVDA", "KO", "BTCUSDT"])
@pytest.mark.parametrize("tf", ["1d", "5m", "1m"])
def test_patterns_appear_by_themselves(symbol, tf):
    days = {"1d": 2500, "5m": 200, "1m": 60}[tf]
    frame = bars(a_feed(), symbol, tf, FRIDAY_NOON - timedelta(days=days), FRIDAY_NOON)
    _, phase = instrument(symbol).calendar.locate(candles.nanos(frame))
    columns = [np.ascontiguousarray(frame[name][phase == 2]) for name in ("open", "high", "low", "close")]
    share = lambda name: float(np.mean(getattr(talib, name)(*columns) != 0))  # noqa: E731

    assert 0.003 < share("CDLHAMMER") < 0.06
    assert 0.05 < share("CDLDOJI") < 0.3
    assert 0.03 < share("CDLENGULFING") < 0.25
    for star in ("CDLMORNINGSTAR", "CDLEVENINGSTAR"):
        assert 0.0002 < share(star) < 0.03


# Quotes


@pytest.mark.parametrize("symbol", ["AAPL", "USO", "BTCUSDT", "ADAUSDT"])
@pytest.mark.parametrize("minute", ["2026-11-19 09:30", "2026-11-19 12:07", "2026-11-19 15:59"])
def test_a_minute_folded_from_its_quotes_is_the_bar_that_follows(symbol, minute):
    clock = ManualClock(at(minute))
    feed, folded = a_feed(clock), None
    for _ in range(60):
        now = quote(feed, symbol)
        price = float(now.last)
        folded = folded.with_price(price, now.minute.volume) if folded else now.minute
        assert now.minute == folded
        clock.advance(seconds=1)
    [closed] = bars(feed, symbol, "1m", at(minute), clock.now()).itertuples()

    assert (folded.open, folded.high, folded.low, folded.close, folded.volume) == closed[1:]
    assert folded.time == closed.Index


def test_the_days_volume_grows_to_the_sum_of_its_bars():
    clock = ManualClock(at("2026-11-19 15:30"))
    feed, seen = a_feed(clock), 0.0
    for _ in range(200):
        clock.advance(seconds=7)
        now = quote(feed, "MSFT")
        assert now.volume >= seen
        seen = now.volume
    minutes = bars(feed, "MSFT", "1m", at("2026-11-19 04:00"), clock.now())

    assert seen == minutes.volume.sum() + now.minute.volume


def test_a_quote_is_on_the_tick_between_bid_and_ask():
    for moment in ("2026-11-19 08:20:05", "2026-11-19 11:00:08", "2026-11-19 18:00:41", "2026-11-21 11:00"):
        for symbol, found in asyncio.run(a_feed(at(moment)).quotes(list(KNOWN.values()))).items():
            tick = KNOWN[symbol].tick
            assert all(price % tick == 0 for price in (found.last, found.bid, found.ask, found.previous_close))
            assert found.bid <= found.last <= found.ask
            assert found.ask - found.bid >= tick
            assert found.source == "simulated"


def test_spreads_are_wider_outside_regular_hours():
    widths = [
        (found := quote(a_feed(at(moment)), "TSLA")).ask - found.bid
        for moment in ("2026-11-19 11:00:08", "2026-11-19 08:50:08")
    ]

    assert widths[1] >= 2 * widths[0]


def test_while_the_market_is_closed_a_quote_is_the_last_trade():
    feed = a_feed(SUNDAY)
    found = quote(feed, "AAPL")
    last = bars(feed, "AAPL", "1m", at("2026-11-20"), SUNDAY).iloc[-1]

    assert found.minute is None
    assert found.time == last.name + timedelta(seconds=59)
    assert float(found.last) == last.close
    thursday = bars(feed, "AAPL", "1d", at("2026-11-19"), at("2026-11-20"))
    assert found.previous_close == Decimal(str(thursday.close.iloc[0]))


def test_before_the_first_trade_of_a_day_the_last_one_of_the_day_before_stands():
    found = quote(a_feed(at("2026-11-20 04:00:00")), "LMT")
    yesterday = bars(a_feed(), "LMT", "1m", at("2026-11-19"), at("2026-11-20")).iloc[-1]

    assert (float(found.last), found.volume, found.minute) == (yesterday.close, 0.0, None)


def test_the_previous_close_of_crypto_is_that_of_the_utc_day_before():
    feed = a_feed(SUNDAY)
    saturday = bars(feed, "ETHUSDT", "1d", datetime(2026, 11, 21, tzinfo=UTC), SUNDAY)

    assert quote(feed, "ETHUSDT").previous_close == Decimal(str(saturday.close.iloc[0]))


def test_before_the_first_day_there_is_nothing():
    feed = a_feed(datetime(2009, 6, 1, 15, tzinfo=UTC))

    assert asyncio.run(feed.quotes([instrument("AAPL"), instrument("BTCUSDT")])) == {}
    assert bars(feed, "AAPL", "1d", at("2005-01-01"), at("2026-01-01")).empty
    assert bars(feed, "AAPL", "1m", at("2005-01-01"), at("2026-01-01")).empty


def test_threads_see_the_same_prices():
    tape.cache_clear()
    feed, digests = a_feed(), []
    work = lambda: digests.append(digest(bars(feed, "WMT", "1d", at("2015-01-01"), FRIDAY_NOON)))  # noqa: E731
    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(digests) == 6
    assert len(set(digests)) == 1


# The clock


def shifted(now: datetime | Clock, folder: Path) -> SimulatedFeed:
    return a_feed(now, simulated_clock="shifted", data_dir=folder)


def trading(moment: datetime) -> bool:
    return calendar("XNYS").phase(moment) is Phase.OPEN


def test_in_regular_hours_the_first_start_is_on_real_time(tmp_path):
    feed = shifted(FRIDAY_NOON, tmp_path)

    assert feed.shift == timedelta()
    assert feed.clock.now() == FRIDAY_NOON
    assert feed.clock_note == ""


def test_on_a_sunday_the_first_start_goes_back_to_fridays_market(tmp_path):
    feed = shifted(SUNDAY, tmp_path / "not yet there")

    assert feed.clock.now() == at("2026-11-20 10:30")
    assert feed.clock_note == "Simulated clock: Fri 20 Nov 2026 10:30 New York, 2 days behind real time"


def test_the_simulated_clock_ticks(tmp_path):
    clock = ManualClock(SUNDAY)
    feed = shifted(clock, tmp_path)
    clock.advance(minutes=42)

    assert feed.clock.now() == at("2026-11-20 11:12")


def test_a_restart_goes_on_where_time_has_come_to(tmp_path):
    clock = ManualClock(SUNDAY)
    shifted(clock, tmp_path)
    clock.advance(hours=2)

    assert shifted(clock, tmp_path).clock.now() == at("2026-11-20 12:30")


def test_a_restart_after_the_simulated_close_jumps_forward_to_the_next_open(tmp_path):
    clock = ManualClock(SUNDAY)
    shifted(clock, tmp_path)
    clock.advance(hours=6)
    feed = shifted(clock, tmp_path)

    assert feed.clock.now() == at("2026-11-23 10:30")
    assert feed.clock_note.endswith("ahead of real time")


def test_real_time_comes_back_once_it_has_caught_up(tmp_path):
    clock = ManualClock(SUNDAY)
    shifted(clock, tmp_path).skip_to_open()  # Monday 10:30, seen on Sunday
    clock.time = at("2026-11-23 10:00")
    ahead = shifted(clock, tmp_path)
    assert ahead.clock.now() >= at("2026-11-23 10:30")

    clock.time = ahead.clock.now() + timedelta(days=1)
    while not trading(clock.time):
        clock.advance(hours=1)
    assert shifted(clock, tmp_path).shift == timedelta()


def test_a_wish_skips_to_the_next_open_and_others_follow(tmp_path):
    clock = ManualClock(SUNDAY)
    one, other = shifted(clock, tmp_path), shifted(clock, tmp_path)

    assert one.skip_to_open() == one.clock.now() == at("2026-11-23 10:30")
    clock.advance(seconds=1)
    assert other.clock.now() == one.clock.now() == at("2026-11-23 10:30:01")


def test_a_skip_before_the_open_stays_on_that_day(tmp_path):
    feed = a_feed(simulated_start="2026-11-20 06:00", data_dir=tmp_path)

    assert feed.skip_to_open() == at("2026-11-20 10:30")
    assert feed.skip_to_open() == at("2026-11-23 10:30")


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"offset_s": "x", "until": "2026-11-20T10:00Z"}', '{"offset_s": 1, "until": "2026-11-20"}',
     '{"offset_s": NaN, "until": "2026-11-20T10:00Z"}', '{"offset_s": 1e12, "until": "2026-11-20T10:00Z"}', "\x00\xff"],
)  # fmt: skip
def test_a_file_that_says_nothing_sound_is_no_file(tmp_path, content):
    (tmp_path / "simulated-clock.json").write_text(content, encoding="latin-1")

    assert shifted(SUNDAY, tmp_path).clock.now() == at("2026-11-20 10:30")


def test_a_file_broken_while_running_changes_nothing(tmp_path):
    clock = ManualClock(SUNDAY)
    feed = shifted(clock, tmp_path)
    for content in ("{", json.dumps({"offset_s": -900_000, "until": "2026-11-20T10:00+00:00"})):
        (tmp_path / "simulated-clock.json").write_text(content)
        clock.advance(minutes=20)
        feed.clock.now()

    assert feed.clock.now() == at("2026-11-20 11:10")
    assert shifted(clock, tmp_path).clock.now() == at("2026-11-20 11:10")


class Ticking:
    """A clock that moves on by a second each time it is read."""

    def __init__(self) -> None:
        self.seconds = itertools.count()

    def now(self) -> datetime:
        return SUNDAY + timedelta(seconds=next(self.seconds))


def test_starters_at_once_agree(tmp_path, monkeypatch):
    read = clocks._read
    monkeypatch.setattr(clocks, "_read", lambda path: (read(path), time.sleep(0.02))[0])
    base, feeds = Ticking(), []
    threads = [threading.Thread(target=lambda: feeds.append(shifted(base, tmp_path))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(feeds) == 6
    assert len({feed.shift for feed in feeds}) == 1
    assert {path.name for path in tmp_path.iterdir()} <= {"simulated-clock.json", "simulated-clock.json.lock"}


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 6 * 24 * 60),
    st.lists(st.tuples(st.integers(1, 40 * 60), st.sampled_from(["start", "look", "look", "skip"])), max_size=25),
)
def test_time_never_goes_back_for_anyone(minutes, steps):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "simulated-clock.json"
        base = ManualClock(SUNDAY + timedelta(minutes=minutes))
        running = [SimulatedClock(base, path)]
        seen = running[0].now()
        for later, act in steps:
            base.advance(minutes=later)
            if act == "start":
                running.append(SimulatedClock(base, path))
                assert trading(running[-1].now())
            moments = [running[-1].skip_to_open()] if act == "skip" else []
            moments += [clock.now() for clock in running]
            base.advance(seconds=1)
            moments += [clock.now() for clock in running]

            assert moments == sorted(moments)
            assert moments[0] >= seen
            assert len({clock.shift for clock in running}) == 1
            seen = moments[-1]


def test_a_start_never_goes_behind_what_may_have_been_seen():
    monday = at("2026-11-23 11:00")
    ahead = Kept(timedelta(hours=2), monday + timedelta(hours=2, minutes=5))

    assert settled(ahead, monday) == timedelta(hours=2)
    assert settled(Kept(timedelta(hours=2), monday - timedelta(minutes=5)), monday) == timedelta()


def test_a_real_clock_is_left_alone(tmp_path):
    clock = ManualClock(SUNDAY)
    feed = a_feed(clock, simulated_clock="real", data_dir=tmp_path)

    assert feed.clock is clock
    assert (feed.shift, feed.clock_note) == (timedelta(), "")
    assert not list(tmp_path.iterdir())
    with pytest.raises(SettingsError, match="SIMULATED_CLOCK"):
        feed.skip_to_open()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-20T10:30", at("2026-11-20 10:30")),
        ("2026-11-20 15:30+00:00", at("2026-11-20 10:30")),
        ("2026-11-20T15:30Z", at("2026-11-20 10:30")),
    ],
)
def test_a_demo_can_start_at_any_moment_and_writes_nothing(tmp_path, text, moment):
    clock = ManualClock(SUNDAY)
    feed = a_feed(clock, simulated_clock="shifted", simulated_start=text, data_dir=tmp_path)
    assert feed.clock.now() == moment
    clock.advance(hours=30)

    assert feed.clock.now() == moment + timedelta(hours=30)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "1999-01-04T10:00", "2100-01-04T10:00"])
def test_a_start_that_is_no_time_is_refused_with_an_example(text):
    with pytest.raises(SettingsError, match=r"SIMULATED_START: .*2026-11-20T10:30"):
        a_feed(simulated_start=text)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "data").write_text("a file where the folder should be")

    with pytest.raises(SettingsError, match="DATA_DIR"):
        shifted(SUNDAY, tmp_path / "data")


def test_the_note_speaks_of_minutes_hours_and_days():
    now = at("2026-11-20 10:31")

    assert note(now, timedelta()) == ""
    assert note(now, -timedelta(hours=16)) == "Simulated clock: Fri 20 Nov 2026 10:31 New York, 16 h behind real time"
    assert "25 min ahead of" in note(now, timedelta(minutes=25))
    assert "3 days behind" in note(now, -timedelta(days=3))
