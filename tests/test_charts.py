"""ui/charts.py: what a figure shows, and that the tail says the same as a figure drawn anew."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from domain import candles as cd
from domain.clock import ManualClock
from domain.errors import UnknownName
from domain.instruments import instrument
from domain.quotes import Bar
from feeds.simulated import SimulatedFeed
from settings import Settings
from ui import charts
from ui.views import Study, View, warm_up

AAPL, BTC = instrument("AAPL"), instrument("BTCUSDT")
STUDIES = tuple(map(Study.parse, ("ema:9", "bollinger:20:2", "vwap", "rsi:14", "macd")))


@pytest.fixture
async def bars(tmp_path, clock: ManualClock) -> pd.DataFrame:
    feed = SimulatedFeed(Settings(data_dir=tmp_path, simulated_clock="real"), clock)
    now = clock.now()
    return await feed.candles(AAPL, cd.timeframe("5m"), now - timedelta(days=8), now)


def by_name(figure, name: str):
    return next(trace for trace in figure.data if (trace.meta or trace.name) == name)


def test_a_figure_holds_the_newest_bars_and_lines_as_long(bars: pd.DataFrame) -> None:
    figure, about = charts.base(bars, AAPL, View(studies=STUDIES, bars=300))

    candles = by_name(figure, "price")
    assert len(candles.x) == 300
    assert candles.close[-1] == pytest.approx(bars["close"].iloc[-1])
    assert {len(figure.data[at].y) for at in about["lines"].values()} == {300}
    assert not np.isnan(by_name(figure, "Bollinger 20 2 upper").y).any()


def test_panels_stand_below_the_price_and_overlays_on_it(bars: pd.DataFrame) -> None:
    figure, about = charts.base(bars, AAPL, View(studies=STUDIES))

    assert figure.data[about["lines"]["EMA 9"]].yaxis == "y"
    assert figure.data[about["lines"]["RSI 14"]].yaxis == "y3"
    assert figure.layout.yaxis3.domain[1] < figure.layout.yaxis2.domain[0]
    assert [s.y0 for s in figure.layout.shapes if s.yref == "y3"] == [30, 70]


def test_the_tail_says_what_a_figure_drawn_anew_would_say(bars: pd.DataFrame) -> None:
    """A bar that forms, sent as a tail, has the very values it gets when it has closed."""
    view = View(studies=STUDIES)
    last = bars.iloc[-1]
    forming = Bar(bars.index[-1].to_pydatetime(), *(float(last[c]) for c in cd.COLUMNS))

    tail = charts.tail(bars.iloc[:-1], forming, AAPL, view)
    figure, about = charts.base(bars, AAPL, view)

    assert tail["x"] == by_name(figure, "price").x[-1]
    assert tail["bar"] == pytest.approx([last[c] for c in cd.COLUMNS])
    anew = {name: figure.data[at].y[-1] for name, at in about["lines"].items()}
    assert tail["lines"] == pytest.approx(anew, rel=1e-6)


def test_without_extended_hours_only_regular_bars_are_drawn(bars: pd.DataFrame) -> None:
    view = View(extended=False)
    figure, _ = charts.base(bars, AAPL, view)
    early = Bar(datetime(2026, 11, 20, 13, 0, tzinfo=UTC), 1, 1, 1, 1, 1)

    hours = {text[11:16] for text in by_name(figure, "price").x}
    assert min(hours) == "09:30"
    assert max(hours) == "15:55"
    assert charts.tail(bars, early, AAPL, view) == {}
    assert not figure.layout.shapes


def test_extended_hours_are_shaded(bars: pd.DataFrame) -> None:
    figure, _ = charts.base(bars, AAPL, View())

    spans = {(s.x0[11:16], s.x1[11:16]) for s in figure.layout.shapes}
    assert spans == {("04:00", "09:30"), ("16:00", "20:00")}


def test_nights_weekends_and_holidays_are_left_out_of_the_axis(bars: pd.DataFrame) -> None:
    figure, _ = charts.base(bars, AAPL, View())

    bounds = [b.bounds for b in figure.layout.xaxis.rangebreaks]
    assert ("2026-11-20T20:00:00", "2026-11-23T04:00:00") in [tuple(b) for b in bounds]


def test_a_daily_axis_skips_weekends_and_holidays() -> None:
    d1 = cd.timeframe("1d")
    times = cd.expected(datetime(2026, 11, 16, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC), d1, AAPL)
    daily = cd.frame(times, {c: np.full(len(times), 5.0) for c in cd.COLUMNS})

    figure, _ = charts.base(daily, AAPL, View(tf="1d"))

    weekend, holidays = figure.layout.xaxis.rangebreaks
    assert tuple(weekend.bounds) == ("sat", "mon")
    assert list(holidays["values"]) == ["2026-11-26"]
    assert by_name(figure, "price").x[0] == "2026-11-16"


def test_marks_carry_the_reason_they_were_made(bars: pd.DataFrame) -> None:
    figure, _ = charts.base(bars, AAPL, View(patterns=("Hammer", "Bearish Engulfing")))

    marks = by_name(figure, "patterns")
    assert len(marks.x) > 0
    assert set(marks.x) <= set(by_name(figure, "price").x)
    assert all("Hammer" in text or "Engulfing" in text for text in marks.text)


def test_simulated_prices_are_watermarked(bars: pd.DataFrame) -> None:
    marked, _ = charts.base(bars, AAPL, View(), watermark="SIMULATED")
    plain, _ = charts.base(bars, AAPL, View())

    assert "SIMULATED" in [a.text for a in marked.layout.annotations]
    assert "SIMULATED" not in [a.text for a in plain.layout.annotations]


def test_an_empty_frame_still_makes_a_figure() -> None:
    figure, about = charts.base(cd.empty(), AAPL, View(studies=STUDIES, patterns=("Hammer",)))

    assert len(by_name(figure, "price").x) == 0
    assert charts.tail(cd.empty(), None, AAPL, View()) == {}
    assert len(about["times"]) == 0


def test_the_long_tail_stands_where_its_values_belong(bars: pd.DataFrame) -> None:
    figure, about = charts.base(bars, AAPL, View(studies=(Study.parse("kama"), Study.parse("willr"))))

    axes = {name.split()[0].lower()[:4]: figure.data[at].yaxis for name, at in about["lines"].items()}
    assert axes == {"kama": "y", "will": "y3"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bolinger:20", "Did you mean 'bollinger'"),
        ("rsi:x", "length must be a number: got 'x'"),
        ("rsi:1:2", "at most 1 numbers"),
    ],
)
def test_a_study_that_cannot_be_is_named(text: str, said: str) -> None:
    with pytest.raises((ValueError, UnknownName), match=said):
        Study.parse(text)


def test_crypto_has_no_breaks_and_utc_is_a_choice(bars: pd.DataFrame) -> None:
    figure, _ = charts.base(bars, BTC, replace(View(), zone="UTC"))

    assert not figure.layout.xaxis.rangebreaks
    assert by_name(figure, "price").x[-1] == str(bars.index[-1].tz_localize(None)).replace(" ", "T")


async def test_a_vwap_is_that_of_its_whole_day_or_nothing(tmp_path, clock: ManualClock) -> None:
    feed = SimulatedFeed(Settings(data_dir=tmp_path, simulated_clock="real"), clock)
    whole = await feed.candles(BTC, cd.timeframe("1m"), clock.now() - timedelta(days=3), clock.now())
    view = View(tf="1m", studies=(Study.parse("vwap"),), bars=500)

    figure, _ = charts.base(whole.tail(view.bars + warm_up(view, BTC)), BTC, view)

    typical = whole[["high", "low", "close"]].mean(axis=1) * whole["volume"]
    days = whole.index.normalize()
    true = typical.groupby(days).cumsum() / whole["volume"].groupby(days).cumsum()
    drawn = true.where(days == days.insert(0, days[0])[:-1]).tail(500)  # without each day's first bar
    np.testing.assert_allclose(by_name(figure, "VWAP").y, drawn, rtol=1e-9)
    short, _ = charts.base(whole.tail(600), BTC, view)
    assert np.isnan(by_name(short, "VWAP").y[:10]).all()


def test_a_crypto_day_is_named_by_its_own_date_whatever_the_zone() -> None:
    times = cd.expected(datetime(2026, 11, 18, tzinfo=UTC), datetime(2026, 11, 20, tzinfo=UTC), cd.timeframe("1d"), BTC)
    daily = cd.frame(times, {c: np.full(len(times), 5.0) for c in cd.COLUMNS})

    figure, _ = charts.base(daily, BTC, View(tf="1d", zone="America/New_York"))

    assert list(by_name(figure, "price").x) == ["2026-11-18", "2026-11-19"]


def test_the_hour_that_new_york_repeats_does_not_fold_a_crypto_chart() -> None:
    m5 = cd.timeframe("5m")
    times = cd.expected(datetime(2026, 11, 1, 3, tzinfo=UTC), datetime(2026, 11, 1, 9, tzinfo=UTC), m5, BTC)
    night = cd.frame(times, {c: np.full(len(times), 5.0) for c in cd.COLUMNS})

    figure, _ = charts.base(night, BTC, View(tf="5m", zone="America/New_York"))

    assert list(by_name(figure, "price").x) == sorted(set(by_name(figure, "price").x))


def test_a_line_far_from_the_price_does_not_push_the_others_off_it(bars: pd.DataFrame) -> None:
    """Supertrend comes with a direction of 1 and -1: the trend is drawn over the candles, the direction is not."""
    figure, about = charts.base(bars, AAPL, View(studies=(Study.parse("supertrend"),)))

    assert about["lines"]
    assert {figure.data[at].yaxis for at in about["lines"].values()} == {"y"}


def test_a_cumulative_line_does_not_jump_on_the_forming_bar(bars: pd.DataFrame) -> None:
    view = View(studies=(Study.parse("obv"),), bars=100)
    last = bars.iloc[-1]
    forming = Bar(bars.index[-1].to_pydatetime(), *(float(last[c]) for c in cd.COLUMNS))

    figure, about = charts.base(bars, AAPL, view)
    tail = charts.tail(bars.iloc[:-1], forming, AAPL, view)

    assert tail["lines"]["OBV"] == pytest.approx(figure.data[about["lines"]["OBV"]].y[-1], rel=1e-6)
