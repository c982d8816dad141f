"""The other words of the house: instruments, calendars, clocks, parameters, the registry and errors."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from domain import registry
from domain.calendars import Phase, calendar
from domain.clock import ManualClock, ShiftedClock
from domain.errors import DataError, UnknownName
from domain.instruments import KNOWN, instrument, search
from domain.params import build, check_params, param, params_of
from domain.quotes import Bar, Quote


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("written", "symbol", "crypto"),
    [
        ("aapl", "AAPL", False),
        (" brk.b ", "BRK.B", False),
        ("btc/usdt", "BTCUSDT", True),
        ("SOL-USDT", "SOLUSDT", True),
    ],
)
def test_symbols_are_read_as_people_write_them(written: str, symbol: str, crypto: bool) -> None:
    found = instrument(written)

    assert (found.symbol, found.is_crypto) == (symbol, crypto)


@pytest.mark.parametrize("nonsense", ["", "   ", "../../etc/passwd", "AAPL;DROP", "A" * 16, "..", "\x00", "ÄÖ"])
def test_what_cannot_be_a_symbol_is_refused(nonsense: str) -> None:
    with pytest.raises(DataError, match="a symbol is up to 15 letters"):
        instrument(nonsense)


def test_the_listed_markets_are_thirty_one_stocks_and_four_coins() -> None:
    assert sum(not i.is_crypto for i in KNOWN.values()) == 31
    assert sum(i.is_crypto for i in KNOWN.values()) == 4


def test_prices_round_to_the_tick_and_quantities_down_to_the_lot() -> None:
    ada = instrument("ADAUSDT")

    assert ada.round_price(Decimal("0.45678")) == Decimal("0.4568")
    assert ada.round_quantity(Decimal("12.99")) == Decimal("12.9")
    assert instrument("AAPL").round_quantity(Decimal("3.999")) == 3


def test_search_finds_by_symbol_first_and_by_name() -> None:
    assert [i.symbol for i in search("am")][:2] == ["AMD", "AMZN"]
    assert "AAPL" in [i.symbol for i in search("apple")]
    assert [i.symbol for i in search("zzz", ("ZZZT",))] == ["ZZZT"]


@pytest.mark.parametrize(
    ("moment", "phase", "change"),
    [
        ("2026-11-20 08:59", Phase.CLOSED, "2026-11-20 14:30"),
        ("2026-11-20 09:00", Phase.PRE, "2026-11-20 14:30"),
        ("2026-11-20 14:30", Phase.OPEN, "2026-11-20 21:00"),
        ("2026-11-20 21:00", Phase.AFTER, "2026-11-21 01:00"),
        ("2026-11-21 01:00", Phase.CLOSED, "2026-11-23 14:30"),
        ("2026-11-27 18:00", Phase.AFTER, "2026-11-27 22:00"),
        ("2026-11-26 15:00", Phase.CLOSED, "2026-11-27 14:30"),
    ],
)
def test_the_calendar_knows_phases_half_days_and_holidays(moment: str, phase: Phase, change: str) -> None:
    state = calendar("XNYS").state(at(moment))

    assert (state.phase, state.changes_at) == (phase, at(change))


def test_crypto_never_closes() -> None:
    assert calendar("24/7").state(at("2026-11-22 03:00")).phase is Phase.OPEN


def test_a_naive_moment_is_refused() -> None:
    with pytest.raises(ValueError, match="must carry a zone"):
        calendar("XNYS").phase(datetime(2026, 11, 20))  # noqa: DTZ001 - that is the point


def test_clocks_shift_and_obey() -> None:
    clock = ManualClock(at("2026-11-22 12:00"))
    shifted = ShiftedClock(clock, timedelta(days=-2))

    clock.advance(minutes=5)

    assert shifted.now() == at("2026-11-20 12:05")
    with pytest.raises(ValueError, match="does not go back"):
        clock.advance(seconds=-1)


@dataclass(frozen=True)
class Cross:
    fast: int = param(10, low=2, high=100)
    slow: int = param(30, low=2, high=300)
    mode: str = param("both", choices=("long", "both"))
    note: str = ""

    def __post_init__(self) -> None:
        check_params(self)


def test_a_tunable_field_is_declared_once_and_read_everywhere() -> None:
    declared = params_of(Cross)

    assert list(declared) == ["fast", "slow", "mode"]
    assert (declared["fast"].low, declared["fast"].high, declared["fast"].default) == (2, 100, 10)
    assert build(Cross, {"fast": 5}) == Cross(fast=5)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"fast": 1}, "fast must be at least 2: got 1"),
        ({"slow": 301}, "slow must be at most 300: got 301"),
        ({"fast": float("nan")}, "fast must be a finite number"),
        ({"fast": 2.5}, "fast must be a whole number"),
        ({"fast": True}, "fast must be a finite number"),
        ({"mode": "short"}, "mode must be one of long, both"),
        ({"fsat": 3}, "Did you mean 'fast'"),
    ],
)
def test_a_wrong_parameter_is_named_with_its_rule(values: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build(Cross, values)


def test_every_wrong_parameter_is_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"fast must be at least 2: got 0; slow must be at most 300: got 999"):
        Cross(fast=0, slow=999)


def test_the_registry_finds_feeds_by_their_files() -> None:
    assert {"files", "http", "simulated", "yahoo"} <= set(registry.names("feeds"))
    assert not {"base", "store", "market"} & set(registry.names("feeds"))
    with pytest.raises(UnknownName, match="Did you mean 'yahoo'"):
        registry.part("feeds", "yaho")


def test_a_quote_must_make_sense() -> None:
    with pytest.raises(ValueError, match="AAPL: a quote's last must be a positive number"):
        Quote("AAPL", at("2026-11-20 15:00"), Decimal("NaN"), "test")
    quote = Quote("AAPL", at("2026-11-20 15:00"), Decimal(110), "test", previous_close=Decimal(100))
    assert quote.change == Decimal("0.1")


def test_bars_fold_prices_and_merge() -> None:
    bar = Bar(at("2026-11-20 15:00"), 10, 10, 10, 10, 5).with_price(12, 7).with_price(9, 8)

    assert (bar.high, bar.low, bar.close, bar.volume) == (12, 9, 9, 8)
    merged = bar.merge(Bar(at("2026-11-20 15:01"), 9, 15, 8, 14, 2))
    assert (merged.open, merged.high, merged.low, merged.close, merged.volume) == (10, 15, 8, 14, 10)
