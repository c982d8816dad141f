"""feeds/etrade.py against a local E*TRADE: quotes within limits, minutes folded from them, a past without a seam."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from desk import place as places
from desk.live_book import LiveBook
from domain.candles import TIMEFRAMES
from domain.clock import ManualClock
from domain.context import Case
from domain.errors import FeedUnavailable, SettingsError
from domain.gates import ask_all
from domain.instruments import instrument
from domain.limits import Limits
from domain.orders import OrderRequest, Side
from domain.quotes import Quote
from etrade.limits import LIMITS, Limit, Module
from etrade.session import SIGN_IN
from etrade.simulated_time import SimulatorClock
from etrade.vault import Vault, file_key
from feeds._minutes import Minutes
from feeds.etrade import DELAY_S, EtradeFeed
from feeds.files import FilesFeed
from feeds.market import Market
from feeds.store import CandleStore
from settings import Settings
from simulator.running import FRIDAY, Running, running
from tests.etrade_desk import MARGIN_KEY
from tests.etrade_person import code_of
from tests.fakes import ScriptedFeed
from tests.risk_world import world

MSFT, KO, BTC = instrument("MSFT"), instrument("KO"), instrument("BTCUSDT")
MINUTE = TIMEFRAMES["1m"]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(FRIDAY.astimezone(UTC))


@pytest.fixture
def sim() -> Iterator[Running]:
    with running(limited=True) as sim:
        sim.price("MSFT", "500.00", bid="499.99", ask="500.01", volume="1000000", previous_close="495.00")
        yield sim


@pytest.fixture
def unhurried(sim: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """No limit on quotes, here or there, for what looks forty times: the limits have tests of their own."""
    monkeypatch.setitem(LIMITS, Module.MARKET, Limit(1_000, 14_000))  # type: ignore[index]
    sim.server.limits.enforced = False


def made(tmp_path: Path, sim: Running, clock: ManualClock, **more: Any) -> EtradeFeed:
    chosen = Settings(data_dir=tmp_path, etrade_environment="simulator", etrade_simulator_url=sim.url, **more)
    return EtradeFeed(chosen, clock, store=Vault(chosen.etrade_dir, file_key))


def moved(sim: Running, feed: EtradeFeed, moment: str) -> None:
    """Time goes on there, and our side knows it."""
    sim.move_to(moment)
    assert isinstance(feed.clock, SimulatorClock)
    feed.clock.hear(datetime.fromisoformat(moment))


async def signed_in(feed: EtradeFeed) -> None:
    link = await feed.session.link()
    await feed.session.finish(await asyncio.to_thread(code_of, link))


@pytest.fixture
async def feed(tmp_path: Path, sim: Running, clock: ManualClock) -> AsyncIterator[EtradeFeed]:
    feed = made(tmp_path, sim, clock)
    await signed_in(feed)
    yield feed
    await feed.close()


async def test_a_quote_bears_the_venues_time_spread_volume_and_last_close(feed: EtradeFeed) -> None:
    [quote] = (await feed.quotes([MSFT, BTC])).values()

    assert quote == Quote(
        "MSFT",
        FRIDAY.astimezone(UTC),
        D("500.00"),
        "etrade",
        D("499.99"),
        D("500.01"),
        1_000_000.0,
        D("495.00"),
        0,
        quote.minute,
        traded=FRIDAY.astimezone(UTC),
        earnings=feed.next_earnings("MSFT"),
        tells_earnings=True,
    )
    assert feed.simulated
    assert feed.label == "E*TRADE (simulator)"


@pytest.mark.parametrize("status", ["DELAYED", "CLOSING"])
async def test_delayed_and_closing_quotes_carry_a_delay_and_are_never_folded(
    feed: EtradeFeed, sim: Running, tmp_path: Path, status: str
) -> None:
    sim.control("rules", quote_status=status)

    [quote] = (await feed.quotes([MSFT])).values()

    assert quote.delayed_s == DELAY_S
    assert quote.minute is None
    assert not places.paper(Settings(data_dir=tmp_path), feed.price_source, feed.simulated).accepts_delayed


async def test_a_closing_quote_at_night_is_as_old_as_its_trade(feed: EtradeFeed, sim: Running) -> None:
    traded = FRIDAY.astimezone(UTC)
    moved(sim, feed, "2026-11-20T21:00:00-05:00")

    [quote] = (await feed.quotes([MSFT])).values()

    assert (quote.time, quote.delayed_s, quote.minute) == (traded, 0, None)
    assert feed.clock.now() - quote.time >= timedelta(hours=10)


async def test_many_symbols_go_in_batches_and_no_limit_is_exceeded(feed: EtradeFeed, sim: Running) -> None:
    names = [f"S{n:03}" for n in range(160)]
    for name in names:
        sim.price(name, "10.00")
    before = sim.control("counters", "GET")["calls"].get("market", 0)

    found = await feed.quotes([instrument(name) for name in names])

    told = sim.control("counters", "GET")
    assert sorted(found) == names
    assert told["calls"]["market"] - before == 4  # 50, 50, 50 and 10
    assert told["busiest_second"]["market"] <= 4
    assert set(told["over_limit"].values()) == {0}
    assert feed.poll_s == pytest.approx(4 / 3)


async def test_a_halt_shows_in_the_time_of_the_last_trade_alone(feed: EtradeFeed, sim: Running) -> None:
    """E*TRADE names no halt: its quotes stay fresh, and an entry is refused by what has not traded for long."""
    sim.control("halt", symbol="MSFT")
    for seconds, refused in ((300, False), (301, True)):
        moved(sim, feed, (FRIDAY + timedelta(seconds=seconds)).isoformat())
        sim.tick(0)
        [quote] = (await feed.quotes([MSFT])).values()

        assert (quote.time, quote.traded, quote.halted) == (FRIDAY + timedelta(seconds=seconds), FRIDAY, None)
        assert _events_refuse(quote) is refused

    sim.control("halt", symbol="MSFT", on=False)
    sim.tick(0)
    [quote] = (await feed.quotes([MSFT])).values()
    assert quote.traded == quote.time
    with pytest.raises(ValueError, match="ZZZZ has no price that could be halted"):
        sim.control("halt", symbol="ZZZZ")


def _events_refuse(quote: Quote) -> bool:
    seen = {"now": quote.time, "opened": FRIDAY - timedelta(hours=1), "instrument": MSFT, "quote": quote}
    case = Case(OrderRequest("main", "MSFT", Side.BUY, D(1)), world(**seen), Limits(max_quiet_min=5))
    [verdict] = [verdict for verdict in ask_all(case) if verdict.gate == "events"]
    return verdict.refused


def test_nothing_fills_in_a_halt_and_a_new_price_ends_it(sim: Running) -> None:
    sim.control("halt", symbol="MSFT")
    sim.control("order", account=MARGIN_KEY, symbol="MSFT", action="BUY", quantity="1")
    sim.tick(60)
    assert _bought(sim) == D(0)

    sim.price("MSFT", "490.00")
    sim.tick(1)

    assert _bought(sim) == D(1)


def _bought(sim: Running) -> D:
    [account] = [a for a in sim.server.state.accounts if a.key == MARGIN_KEY]
    return account.holdings["MSFT"].quantity if "MSFT" in account.holdings else D(0)


async def test_next_earnings_come_with_the_first_quote_of_a_day(feed: EtradeFeed) -> None:
    await feed.quotes([MSFT])

    assert feed.next_earnings("MSFT") is not None
    assert feed.next_earnings("KO") is None


@pytest.mark.usefixtures("unhurried")
async def test_minutes_are_folded_from_what_was_seen(feed: EtradeFeed, sim: Running) -> None:
    """From 10:30:00 on a price every five seconds; the minute of the first look was not watched from its begin."""
    prices = [500 + (n * 7) % 11 for n in range(40)]
    for at, price in enumerate(prices):
        sim.price("MSFT", str(price), volume=str(1_000_000 + 10 * at))
        await feed.quotes([MSFT])
        sim.control("tick", seconds=5)
    start = FRIDAY.astimezone(UTC)

    [(_, past), (source, own)] = await feed.candles_by_source(MSFT, MINUTE, start, start + timedelta(minutes=10))

    assert source == "etrade"
    assert list(own.index) == [start + timedelta(minutes=1), start + timedelta(minutes=2)]
    for number, (_, bar) in enumerate(own.iterrows(), 1):
        seen = prices[12 * number : 12 * number + 12]
        assert list(bar) == [seen[0], max(seen), min(seen), seen[-1], 120.0]
    assert not set(past.index) & set(own.index)


def test_a_minute_nobody_watched_to_its_end_is_no_bar() -> None:
    minutes, start = Minutes(), FRIDAY.astimezone(UTC)
    for second in [*range(0, 130, 5), *range(160, 260, 5)]:
        minutes.take(start + timedelta(seconds=second), 100.0, 1000.0 + second)

    found = minutes.bars(MSFT, MINUTE, start, start + timedelta(minutes=9))

    assert list(found.index) == [start + timedelta(minutes=1), start + timedelta(minutes=3)]


def test_a_total_that_falls_began_anew_with_the_day() -> None:
    minutes, start = Minutes(), FRIDAY.astimezone(UTC)
    for second, total in ((50, 900.0), (58, 905.0), (60, 10.0), (68, 15.0)):
        bar = minutes.take(start + timedelta(seconds=second), 100.0, total)

    assert bar.volume == 15.0


def test_five_minutes_are_made_only_of_five_watched_ones() -> None:
    minutes, start = Minutes(), FRIDAY.astimezone(UTC)
    for second in range(-5, 721, 5):
        minutes.take(start + timedelta(seconds=second), 100.0 + second % 60, 1000.0 + second)

    found = minutes.bars(MSFT, TIMEFRAMES["5m"], start, start + timedelta(minutes=20))

    assert list(found.index) == [start, start + timedelta(minutes=5)]
    assert list(found["volume"]) == [300.0, 300.0]


@pytest.mark.usefixtures("unhurried")
async def test_past_and_own_minutes_join_without_a_seam(feed: EtradeFeed, sim: Running) -> None:
    for at in range(40):
        sim.price("MSFT", "500.00", volume=str(1_000_000 + at))
        await feed.quotes([MSFT])
        sim.control("tick", seconds=5)
    end = feed.clock.now()

    whole = await feed.candles(MSFT, MINUTE, FRIDAY.astimezone(UTC) - timedelta(minutes=30), end)

    assert len(whole) == 33
    assert whole.index.is_monotonic_increasing
    assert whole.index.is_unique
    assert set(whole.index[1:] - whole.index[:-1]) == {pd.Timedelta(minutes=1)}


@pytest.mark.usefixtures("unhurried")
async def test_each_kept_bar_keeps_its_source(tmp_path: Path, sim: Running, clock: ManualClock) -> None:
    """As with real prices: the past from one feed, our own minutes beside it, each under its name in the store."""
    feed = made(tmp_path, sim, clock)
    await signed_in(feed)
    feed.simulated, late = False, ScriptedFeed(clock)
    feed.history = late
    market = Market(FilesFeed(Settings(data_dir=tmp_path), clock), CandleStore(tmp_path / "kept", clock), feed, clock)
    start = FRIDAY.astimezone(UTC)
    late.clock = ManualClock(start)  # it knows nothing of what happened since
    for at in range(40):
        sim.price("MSFT", "500.00", volume=str(1_000_000 + at))
        await feed.quotes([MSFT])
        sim.control("tick", seconds=5)
        clock.advance(seconds=5)

    answer = await market.candles(MSFT, MINUTE, start - timedelta(minutes=5), clock.now())
    await asyncio.to_thread(market.keeper.flush)
    stretches = await market.sources_of(MSFT, MINUTE, start - timedelta(minutes=5), clock.now())

    assert answer.sources == ("scripted", "etrade")
    assert [(s.source, s.bars) for s in stretches] == [("scripted", 5), ("etrade", 2)]
    late.clock = clock  # the late source has caught up: the minute nobody watched is filled, the others stay
    clock.advance(seconds=20)
    feed._past.clear()
    await market.candles(MSFT, MINUTE, start - timedelta(minutes=5), clock.now())
    await asyncio.to_thread(market.keeper.flush)
    stretches = await market.sources_of(MSFT, MINUTE, start - timedelta(minutes=5), clock.now())
    assert [(s.source, s.bars) for s in stretches] == [("scripted", 6), ("etrade", 2)]
    await market.close()


async def test_nobody_signed_in_means_a_sentence_and_no_call(tmp_path: Path, sim: Running, clock: ManualClock) -> None:
    feed = made(tmp_path, sim, clock)
    await feed.session.keep_alive()

    with pytest.raises(FeedUnavailable, match=f"^{SIGN_IN}$".replace("*", r"\*")):
        await feed.quotes([MSFT])

    assert sim.control("counters", "GET")["calls"] == {}
    assert len(await feed.candles(MSFT, MINUTE, FRIDAY - timedelta(minutes=30), FRIDAY)) == 30
    await feed.close()


async def test_a_token_known_to_be_dead_is_never_used(feed: EtradeFeed, sim: Running) -> None:
    moved(sim, feed, "2026-11-21T00:00:30-05:00")
    before = sim.control("counters", "GET")["calls"]

    with pytest.raises(FeedUnavailable, match="Sign in"):
        await feed.quotes([MSFT])
    await feed.session.keep_alive()

    assert sim.control("counters", "GET")["calls"] == before


async def test_who_does_not_own_the_sign_in_reads_what_the_engine_wrote(
    feed: EtradeFeed, sim: Running, tmp_path: Path, clock: ManualClock
) -> None:
    other = made(tmp_path, sim, clock)
    assert not await other.session.claim()
    with pytest.raises(FeedUnavailable, match="Another process"):
        await other.quotes([MSFT])
    place = places.paper(Settings(data_dir=tmp_path), feed.price_source, feed.simulated)
    LiveBook(place.live_path).write((await feed.quotes([MSFT])).values())
    before = sim.control("counters", "GET")["calls"]

    [quote] = (await other.quotes([MSFT, KO])).values()

    assert (quote.symbol, quote.last, quote.source) == ("MSFT", D("500.00"), "etrade")
    assert sim.control("counters", "GET")["calls"] == before
    wish = tmp_path / "etrade" / "wanted" / "1.json"
    wish.write_text(json.dumps({"at": clock.now().timestamp(), "symbols": ["KO"]}))
    assert feed.session.wished() == {"KO"}
    await feed.session.release()
    assert await other.session.claim()
    await other.close()


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({"etrade_environment": "off"}, "is off"),
        ({"etrade_environment": "production"}, "ETRADE_CONSUMER_KEY and ETRADE_CONSUMER_SECRET missing"),
        (
            {
                "etrade_environment": "production",
                "etrade_consumer_key": "k" * 32,
                "etrade_consumer_secret": "s" * 64,
                "etrade_history": "simulated",
            },
            "made-up candles",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path: Path, clock: ManualClock, wish: Any, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        EtradeFeed(Settings(data_dir=tmp_path, **wish), clock)


def test_made_up_prices_have_a_ledger_of_their_own(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    found = [places.paper(settings, "etrade", False), places.paper(settings, "etrade-simulator", True)]

    assert [place.name for place in found] == ["paper-etrade", "paper-etrade-simulator"]
    assert [place.simulated for place in found] == [False, True]
    assert found[0].live_path.name == "live-paper-etrade.db"
    assert len({place.ledger_url for place in [*found, places.paper(settings, "simulated", True)]}) == 3
