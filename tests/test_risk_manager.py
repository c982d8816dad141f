"""Sizes, stops and targets; limits under their ceilings; the breaker; the levels of the kill switch."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal as D
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.breaker import Breaker
from domain.errors import UnknownName
from domain.limits import CEILINGS, Limits
from domain.orders import OrderType, Purpose, Side
from domain.params import params_of
from domain.trading_state import KillLevel, TradingState, combine
from risk_manager import RiskManager, Size

MORNING = datetime(2026, 11, 20, 15, tzinfo=UTC)
desk = RiskManager()

# How much


def test_the_manuals_example_is_416_shares() -> None:
    size = desk.position_size(account_value=50000, risk_per_trade=0.01, atr=1.2)

    assert size == 416
    assert isinstance(size, int)


@pytest.mark.parametrize(
    ("asked", "shares"),
    [
        ({"account_value": 50_000, "risk_pct": 0.01, "stop_loss_atr": 1.2}, 416),
        ({"account_value": D(50_000), "risk_per_trade": D("0.01"), "atr": D("1.2")}, 416),
        ({"account_value": np.float64(50_000), "risk_per_trade": np.float64(0.01), "atr": np.float32(1.2)}, 416),
        ({"account_value": 50_000, "risk_pct": 0.01, "risk_per_trade": 0.01, "atr": 1.2}, 416),
        ({"account_value": 50_000, "risk_pct": 0.01, "atr": 1.2, "atr_multiple": 2}, 208),
        ({"account_value": 50_000, "risk_pct": 0.01, "atr": 1.2, "price": 24}, 416),
        ({"account_value": 50_000, "risk_pct": 0.01, "atr": 1.2, "price": 25}, 400),
        ({"account_value": 50_000, "risk_pct": 0.01, "atr": 1.2, "price": 100}, 100),
        ({"account_value": 50_000, "risk_pct": 0.01, "atr": 1.2, "lot": 100}, 400),
        ({"account_value": 50_000, "risk_pct": 0.01, "atr": 1.2, "lot": "0.001"}, None),
        ({"account_value": 50_000, "risk_pct": 0.01, "atr": 1.2, "lot": D("0.001")}, D("416.666")),
        ({"account_value": 100, "risk_pct": 0.01, "atr": 1.2}, 0),
        ({"account_value": 120, "risk_pct": 0.01, "atr": 1.2}, 1),
        ({"account_value": 0.3, "risk_pct": 0.1, "atr": 0.01}, 3),
    ],
)
def test_sizes_worked_out_by_hand(asked: dict[str, Any], shares: Any) -> None:
    if shares is None:
        with pytest.raises(ValueError, match="lot must be a number"):
            desk.position_size(**asked)
    else:
        assert desk.position_size(**asked) == shares


def test_the_roadmaps_names_work_by_position() -> None:
    assert desk.position_size(50_000, 0.01, 1.2) == 416


@pytest.mark.parametrize("name", ["account_value", "risk_per_trade", "atr", "risk_pct", "stop_loss_atr"])
@pytest.mark.parametrize(
    "bad", [math.nan, math.inf, -math.inf, 0, -1, 0.0, True, "1", D("NaN"), D("sNaN"), D("Infinity"), 10**400, [], 1j]
)
def test_what_is_no_number_above_zero_is_named(name: str, bad: Any) -> None:
    other = {"risk_per_trade": "risk_pct", "atr": "stop_loss_atr"}
    asked: dict[str, Any] = {"account_value": 50_000, "risk_per_trade": 0.01, "atr": 1.2}
    asked.pop({alias: real for real, alias in other.items()}.get(name, name))

    with pytest.raises(ValueError, match=f"^{name} must be"):
        desk.position_size(**{**asked, name: bad})


@pytest.mark.parametrize("name", ["atr_multiple", "price", "lot"])
@pytest.mark.parametrize("bad", [math.nan, math.inf, 0, -1, False, "1", D("NaN")])
def test_the_optional_inputs_are_held_to_the_same(name: str, bad: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be"):
        desk.position_size(50_000, 0.01, 1.2, **{name: bad})


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            {"risk_pct": 0.01, "risk_per_trade": 0.02, "atr": 1},
            "risk_per_trade and risk_pct are two names for one input",
        ),
        ({"risk_pct": 0.01, "stop_loss_atr": 1, "atr": 2}, "atr and stop_loss_atr are two names for one input"),
        ({"risk_pct": 0.01}, "atr .* must be given"),
        ({"atr": 1}, "risk_per_trade .* must be given"),
        ({"risk_pct": 1, "atr": 1}, "a share below 1, 0.01 for one per cent: got 1"),
    ],
)
def test_what_contradicts_itself_is_refused(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        desk.position_size(50_000, **asked)


def test_a_size_says_why_it_is_not_more() -> None:
    none = desk.sized(100, risk_per_trade=0.01, atr=1.2)
    capped = desk.sized(50_000, risk_per_trade=0.01, atr=1.2, price=100)

    assert none == Size(D(0), "risk allows 0.833333, in lots of 1 that is 0")
    assert capped == Size(D(100), "max_position_pct allows 100, in lots of 1 that is 100")


def test_the_cap_follows_the_limits() -> None:
    assert RiskManager(Limits(max_position_pct=50)).position_size(50_000, 0.01, 1.2, price=100) == 250


def test_fixed_fractional_sizes_by_the_distance_to_the_stop() -> None:
    assert desk.fixed_fractional(50_000, 0.01, entry=20, stop=18).quantity == 250
    assert desk.fixed_fractional(50_000, 0.01, entry=20, stop=22).quantity == 250
    assert desk.fixed_fractional(50_000, 0.01, entry=100, stop=98).quantity == 100  # the cap: a fifth
    with pytest.raises(ValueError, match="apart from the entry"):
        desk.fixed_fractional(50_000, 0.01, entry=20, stop=20)


def test_volatility_sizing_scales_by_the_target() -> None:
    wide = RiskManager(Limits(max_position_pct=100))

    assert wide.volatility_size(100_000, target_volatility=0.10, volatility=0.40, price=50).quantity == 500
    assert wide.volatility_size(100_000, target_volatility=0.10, volatility=0.05, price=50).quantity == 2_000
    assert desk.volatility_size(100_000, target_volatility=0.10, volatility=0.40, price=50).quantity == 400
    with pytest.raises(ValueError, match=r"^volatility must be"):
        desk.volatility_size(100_000, target_volatility=0.10, volatility=0, price=50)


@given(
    account=st.decimals("0.01", "100000000", places=2),
    risk=st.decimals("0.0001", "0.9", places=4),
    atr=st.decimals("0.0001", "1000", places=4),
    multiple=st.decimals("0.1", "10", places=1),
)
def test_the_stop_never_loses_more_than_was_risked_and_one_share_more_would(
    account: D, risk: D, atr: D, multiple: D
) -> None:
    shares = desk.position_size(account, risk, atr, atr_multiple=multiple)

    away, allowed = Fraction(atr) * Fraction(multiple), Fraction(account) * Fraction(risk)
    assert shares * away <= allowed < (shares + 1) * away


# Where out


@pytest.mark.parametrize(
    ("side", "atr", "multiple", "stop", "target"),
    [
        ("buy", 1.2, 2, "97.60", "102.40"),
        (Side.BUY, 1.234, 1, "98.77", "101.23"),
        (Side.SELL, 1.234, 1, "101.23", "98.77"),
        ("SELL", D("1.2"), 2, "102.40", "97.60"),
    ],
)
def test_stops_and_targets_round_towards_the_entry(side: Any, atr: Any, multiple: Any, stop: str, target: str) -> None:
    protective, profit = desk.stop_order(side, 100, atr, multiple), desk.target_order(side, 100, atr, multiple)

    assert (protective.price, profit.price) == (D(stop), D(target))
    assert protective.side is profit.side is Side(side.lower()).opposite
    assert (protective.type, protective.purpose) == (OrderType.STOP, Purpose.STOP)
    assert (profit.type, profit.purpose) == (OrderType.LIMIT, Purpose.TARGET)


def test_exits_become_requests() -> None:
    stop = desk.stop_order("buy", 100, 1.2).request("main", "AAPL", D(10))
    target = desk.target_order("buy", 100, 1.2).request("main", "AAPL", D(10))

    assert (stop.stop, stop.limit, stop.purpose, stop.side) == (D("98.80"), None, Purpose.STOP, Side.SELL)
    assert (target.limit, target.stop, target.purpose) == (D("102.40"), None, Purpose.TARGET)


def test_ticks_of_other_instruments_are_kept() -> None:
    assert desk.stop_order("buy", 0.45, 0.01234, tick=D("0.0001")).price == D("0.4377")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: desk.stop_order("buy", 2, 1, 2), "the stop would lie at 0, it must be above zero"),
        (lambda: desk.stop_order("buy", 2, 1, 3), "the stop would lie at -1"),
        (lambda: desk.target_order("sell", 2, 1, 2), "the target would lie at 0"),
        (lambda: desk.stop_order("buy", 100, 0.004), "less than a tick of 0.01 from 100"),
        (lambda: desk.stop_order("long", 100, 1), "side must be buy or sell"),
        (lambda: desk.stop_order("buy", math.nan, 1), "^entry must be a finite"),
        (lambda: desk.stop_order("buy", 100, 0), "^atr must be above zero"),
        (lambda: desk.target_order("buy", 100, 1, -2), "^multiple must be above zero"),
        (lambda: desk.target_order("buy", 100, 1, tick=math.inf), "^tick must be a finite"),
    ],
)
def test_an_exit_that_cannot_stand_is_refused(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


# Limits


@pytest.mark.parametrize("name", CEILINGS)
def test_no_setting_goes_through_its_ceiling(name: str) -> None:
    ceiling = CEILINGS[name]
    at = Limits(**{name: ceiling})

    assert getattr(at, name) == ceiling
    with pytest.raises(ValueError, match=f"{name} may not exceed the hard ceiling of"):
        Limits(**{name: ceiling + 1})


@pytest.mark.parametrize("name", CEILINGS)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 0, -1, None, "5", True])
def test_a_setting_that_is_no_sound_number_is_refused(name: str, bad: Any) -> None:
    if bad == 0 and not isinstance(bad, bool) and params_of(Limits)[name].low == 0:
        assert getattr(Limits(), name) == 0  # it is off
        return
    with pytest.raises(ValueError, match=name):
        Limits(**{name: bad})


def test_every_number_among_the_settings_has_a_ceiling_and_every_setting_a_word_of_help() -> None:
    declared = params_of(Limits)

    assert {name for name, p in declared.items() if p.kind in (int, float)} == set(CEILINGS)
    assert [name for name, p in declared.items() if not p.help] == []


def test_limits_are_kept_and_read_back() -> None:
    limits = Limits(max_quantity=7, symbols=("AAPL", "KO"), shorting=True)

    assert Limits.from_dict(json.loads(json.dumps(limits.to_dict()))) == limits
    with pytest.raises(UnknownName, match="Did you mean 'max_quantity'"):
        Limits.from_dict({"max_quantty": 7})
    with pytest.raises(ValueError, match="symbols must be written"):
        Limits(symbols=("aapl",))
    with pytest.raises(ValueError, match="limits must be Limits"):
        RiskManager(None)  # type: ignore[arg-type]


# The breaker


def test_the_breaker_trips_when_the_loss_reaches_the_limit_and_not_before() -> None:
    begun = Breaker().mark(D(100_000), MORNING)

    assert not begun.mark(D("97000.01"), MORNING).latched
    tripped = begun.mark(D(97_000), MORNING)
    assert tripped.latched
    assert "from 100000 to 97000, the limit is 3 %" in tripped.reason
    assert tripped.mark(D(120_000), MORNING).latched


def test_a_new_day_begins_anew_but_keeps_the_latch() -> None:
    tripped = Breaker().mark(D(100_000), MORNING).mark(D(96_000), MORNING)
    tomorrow = tripped.mark(D(95_000), MORNING + timedelta(days=1))

    assert (tomorrow.start_equity, tomorrow.latched, tomorrow.reason) == (D(96_000), True, tripped.reason)


def test_a_gap_overnight_counts_as_the_new_days_loss() -> None:
    yesterday = Breaker().mark(D(100_000), MORNING)

    assert yesterday.mark(D(96_000), MORNING + timedelta(days=1)).latched


def test_the_day_is_the_exchanges() -> None:
    late = Breaker().mark(D(100_000), datetime(2026, 11, 21, 4, 59, tzinfo=UTC))
    later = late.mark(D(99_000), datetime(2026, 11, 21, 5, 0, tzinfo=UTC))

    assert (late.day.day, later.day.day) == (20, 21)
    assert later.mark(D(99_000), MORNING) == later  # a clock that goes back changes nothing


def test_only_a_named_person_with_a_reason_resets_it() -> None:
    tripped = Breaker().mark(D(100_000), MORNING).mark(D(96_000), MORNING)

    reset = tripped.reset("owner", "bad fill, corrected", MORNING)

    assert not reset.mark(D(96_000), MORNING).latched
    assert reset.mark(D(93_000), MORNING).latched
    assert "owner" in reset.reason
    for by, reason in (("", "why"), ("owner", " ")):
        with pytest.raises(ValueError, match="must name who"):
            tripped.reset(by, reason, MORNING)


@pytest.mark.parametrize("bad", [D("NaN"), D("sNaN"), D("Infinity"), D(0), D(-5), None, 5.0, "5", True])
def test_equity_nobody_can_trust_trips_it(bad: Any) -> None:
    assert Breaker().mark(D(100_000), MORNING).mark(bad, MORNING).latched


@pytest.mark.parametrize("bad", [None, MORNING.replace(tzinfo=None), datetime.min.replace(tzinfo=UTC), 5])
def test_a_time_nobody_can_trust_trips_it(bad: Any) -> None:
    assert Breaker().mark(D(100_000), bad).latched


def test_it_stays_tripped_over_two_hundred_restarts() -> None:
    breaker = Breaker().mark(D(100_000), MORNING).mark(D(96_999), MORNING)
    reason = breaker.reason

    for days in range(200):
        breaker = Breaker.from_dict(json.loads(json.dumps(breaker.to_dict())))
        breaker = breaker.mark(D(100_000 + days), MORNING + timedelta(days=days))

    assert (breaker.latched, breaker.reason) == (True, reason)


@pytest.mark.parametrize("name", Breaker().to_dict())
@pytest.mark.parametrize("bad", [None, 5, "nonsense", [], {}, math.nan])
def test_a_stored_state_nobody_can_read_is_a_tripped_breaker(name: str, bad: Any) -> None:
    stored = Breaker().mark(D(100_000), MORNING).to_dict()
    honest = (name == "reason" and isinstance(bad, str)) or (bad is None and name in ("start_equity", "last_equity"))

    assert Breaker.from_dict({**stored, name: bad}).latched is not honest
    assert Breaker.from_dict({}).latched
    assert Breaker.from_dict(bad).latched


def test_another_limit_leaves_the_latch_alone() -> None:
    tripped = Breaker().mark(D(100_000), MORNING).mark(D(96_000), MORNING)

    assert tripped.with_limit(10.0).mark(D(96_000), MORNING).latched
    assert tripped.loss_pct() == 4
    with pytest.raises(ValueError, match="limit_pct must be"):
        tripped.with_limit(math.nan)


# The kill switch

E, R, X = TradingState.ENABLED, TradingState.REDUCE_ONLY, TradingState.DISABLED


@pytest.mark.parametrize(
    ("states", "strictest"),
    [
        ((E, E, E), E),
        ((E, R, E), R),
        ((R, X, E), X),
        ((), X),
        ((E, "enabled"), E),
        ((E, None), X),
        ((E, "on"), X),
        ((E, 1), X),
    ],
)
def test_the_strictest_state_wins_and_an_unknown_one_disables(states: tuple[Any, ...], strictest: TradingState) -> None:
    assert combine(*states) is strictest


@pytest.mark.parametrize(
    ("level", "state", "cancels", "flattens"),
    [
        (KillLevel.PAUSE, R, False, False),
        (KillLevel.CANCEL, R, True, False),
        (KillLevel.FLATTEN, R, True, True),
        (KillLevel.HALT, X, False, False),
    ],
)
def test_each_kill_level_does_what_it_says(
    level: KillLevel, state: TradingState, cancels: bool, flattens: bool
) -> None:
    assert (level.trading_state, level.cancels_entries, level.flattens) == (state, cancels, flattens)
    assert (
        KillLevel.read(level.value) is KillLevel.read(str(level.value)) is KillLevel.read(level.name.lower()) is level
    )
    assert level.means


@pytest.mark.parametrize("unreadable", [None, "", 0, 5, True, "stop it", 2.0, math.nan, [], object()])
def test_a_kill_level_nobody_can_read_halts(unreadable: Any) -> None:
    assert KillLevel.read(unreadable) is KillLevel.HALT
