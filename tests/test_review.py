"""Reviews: what only makes a position smaller may go out, warnings are heard, and an Approved is proof."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from decimal import Decimal as D
from typing import Any

import pytest

from domain.context import AccountKind, Sent
from domain.instruments import Instrument
from domain.orders import OrderRequest, OrderType, Purpose, Session, Side, Status
from domain.trading_state import TradingState
from risk_manager import Approved, Denied, RiskManager
from tests.risk_world import (
    AFTER,
    CLOSED,
    NAN,
    NOW,
    QUOTE,
    ago,
    ask,
    close,
    forced,
    holding,
    refusing,
    resting,
    review,
    stop,
    world,
)

# What only makes a position smaller

TROUBLE = {
    "global_state": TradingState.REDUCE_ONLY,
    "breaker_latched": True,
    "day_start_equity": D(200_000),
    "peak_equity": D(200_000),
    "recent": (Sent(ago(1), "AAPL", Side.SELL),) * 500,
    "consecutive_refusals": 50,
    "equity": NAN,
    "adv": None,
    "sectors": None,
    "correlations": None,
    "buying_power": NAN,
    "settled_cash": None,
}


@pytest.mark.parametrize("wish", [close(), stop(), close(40), close(type=OrderType.LIMIT, limit=D("99.95"))], ids=repr)
def test_a_position_can_be_closed_whatever_stops_entries(wish: OrderRequest) -> None:
    assert isinstance(
        review(wish, holding(100, **TROUBLE), symbols=("KO",), max_quantity=1, max_spread_bps=1), Approved
    )


@pytest.mark.parametrize(
    ("gate", "broken"),
    [
        ("trading state", {"account_state": TradingState.DISABLED}),
        ("trading state", {"instrument_state": "enabledish"}),
        ("mode", {"mode_armed": False}),
        ("actor", {"actor_allowed": False}),
        ("actor", {"actor": " "}),
        ("broker", {"broker_ready": False}),
        ("session", {"market": CLOSED}),
        ("clock", {"clock_skew_s": NAN}),
        ("quote", {"quote": forced(QUOTE, time=ago(60))}),
        ("quote", {"quote": forced(QUOTE, delayed_s=900)}),
        ("quote", {"simulated": True}),
        ("quote", {"quote": forced(QUOTE, source="simulated")}),
        ("order", {"instrument": Instrument("AAPL", lot=D(30))}),
        ("symbol", {"frozen": frozenset({"AAPL"})}),
    ],
)
def test_a_close_still_passes_the_gates_of_sanity(gate: str, broken: dict[str, Any]) -> None:
    assert isinstance(review(close(), holding(100)), Approved)
    assert refusing(review(close(), holding(100, **broken))) == [gate]


def test_a_close_that_would_turn_the_position_is_denied() -> None:
    answer = review(close(101), holding(100))

    assert isinstance(answer, Denied)
    assert "order" in refusing(answer)
    assert any("At most 100 AAPL are left to sell" in reason for reason in answer.reasons)


def test_a_close_counts_what_already_rests_to_sell() -> None:
    protective = resting("s1", "AAPL", Side.SELL, 60, "97", Purpose.STOP)
    half = holding(100, resting=(protective,))

    assert isinstance(review(close(41), half), Denied)
    assert isinstance(review(close(40), half), Approved)
    assert RiskManager().closable(close(1), half) == 40
    assert isinstance(review(close(100), holding(100, resting=(protective,), linked=frozenset({"s1"}))), Approved)


@pytest.mark.parametrize("held", [0, -100])
def test_nothing_held_means_nothing_to_close(held: int) -> None:
    assert "order" in refusing(review(close(1), holding(held)))


def test_a_short_is_bought_back_under_reduce_only() -> None:
    cover = dataclasses.replace(close(100), side=Side.BUY)

    assert isinstance(review(cover, holding(-100, global_state=TradingState.REDUCE_ONLY)), Approved)
    assert isinstance(review(dataclasses.replace(cover, quantity=D(101)), holding(-100)), Denied)


def test_a_protective_stop_may_be_placed_at_night_and_an_entry_may_not() -> None:
    night = holding(100, market=CLOSED, quote=forced(QUOTE, time=ago(40_000)))

    answer = review(stop(), night)

    assert isinstance(answer, Approved)
    assert "40000 s old" in answer.warnings[0]
    assert refusing(review(ask(), night)) == ["session", "quote"]


def test_a_stop_on_the_wrong_side_of_the_market_is_denied_before_the_broker_does() -> None:
    assert isinstance(review(stop(price="99.97"), holding(100)), Approved)
    assert refusing(review(stop(price="99.98"), holding(100))) == ["order"]


def test_a_target_may_wait_far_from_the_market_but_not_on_its_other_side() -> None:
    target = close(type=OrderType.LIMIT, limit=D(130), purpose=Purpose.TARGET)

    assert isinstance(review(target, holding(100)), Approved)
    assert refusing(review(dataclasses.replace(target, limit=D(90)), holding(100))) == ["size"]


def test_an_entry_under_reduce_only_is_denied() -> None:
    assert refusing(review(ask(), world(account_state=TradingState.REDUCE_ONLY))) == ["trading state"]


# Words for the account


def test_delayed_and_made_up_prices_need_the_desks_explicit_yes() -> None:
    late = forced(QUOTE, delayed_s=900, time=ago(910))

    assert isinstance(review(ask(), world(quote=late, accept_delayed=True)), Approved)
    assert isinstance(review(ask(), world(simulated=True, accept_simulated=True)), Approved)
    assert refusing(review(ask(), world(quote=late))) == ["quote"]


def test_an_order_whose_fate_is_unknown_blocks_new_entries_on_its_symbol() -> None:
    lost = resting("o9", "AAPL", Side.BUY, 1, "100", Purpose.ENTRY, Status.AMBIGUOUS)

    assert refusing(review(ask(), world(resting=(lost,)))) == ["symbol"]
    assert isinstance(review(ask(), world(resting=(lost,), linked=frozenset({"o9"}))), Approved)


def test_unsettled_money_warns_where_it_is_allowed_and_when_it_is_sold() -> None:
    bought = review(ask(), world(settled_cash=D(1_000)), settled_cash_only=False)
    sold = review(close(), holding(100, bought_unsettled=frozenset({"AAPL"})))

    assert isinstance(bought, Approved)
    assert isinstance(sold, Approved)
    assert "good-faith violation" in bought.warnings[0]
    assert "good-faith violation" in sold.warnings[0]


def test_good_faith_concerns_only_cash_accounts_that_sell_what_was_not_paid_for() -> None:
    settled = holding(100, bought_unsettled=frozenset({"KO"}))
    margin = holding(100, bought_unsettled=frozenset({"AAPL"}), account_kind=AccountKind.MARGIN)
    buying = world(bought_unsettled=frozenset({"AAPL"}))

    answers = [review(close(), settled), review(close(), margin), review(ask(), buying)]
    assert [answer.warnings for answer in answers if isinstance(answer, Approved)] == [(), (), ()]


def test_the_first_order_of_the_day_counts() -> None:
    at_midnight = world(recent=(Sent(world().day_began, "KO", Side.BUY),))

    assert refusing(review(ask(), at_midnight, max_orders_per_day=1)) == ["pace"]


def test_a_sale_that_was_not_meant_as_a_close_is_held_to_every_gate() -> None:
    sale = close(50, purpose=Purpose.ENTRY, stop_loss=D(101))

    assert isinstance(review(sale, holding(100, buying_power=D(20))), Approved)  # it needs no money but its fees
    assert refusing(review(sale, holding(100, global_state=TradingState.REDUCE_ONLY))) == ["trading state"]
    assert "loss" in refusing(review(close(101), holding(100, breaker_latched=True)))


@pytest.mark.parametrize(
    "wish",
    [
        close(),
        close(purpose=Purpose.STOP),
        close(type=OrderType.LIMIT, limit=D("99.95")),
        close(type=OrderType.LIMIT, limit=D("99.95"), session=Session.EXTENDED),
    ],
    ids=repr,
)
def test_what_would_trade_at_once_waits_for_the_open(wish: OrderRequest) -> None:
    assert refusing(review(wish, holding(100, market=CLOSED))) == ["session"]


@pytest.mark.parametrize(
    "broken",
    [
        {"minute": forced(QUOTE.minute, close=float("nan"))},
        {"minute": forced(QUOTE.minute, low=0.0)},
        {"minute": forced(QUOTE.minute, volume=-1.0)},
        {"minute": forced(QUOTE.minute, time=None)},
        {"previous_close": D("10.00")},
        {"previous_close": D("1000.00")},
        {"last": D("1000.00")},
    ],
)
def test_a_quote_that_contradicts_itself_is_not_traded_on(broken: dict[str, Any]) -> None:
    assert refusing(review(ask(), world(quote=forced(QUOTE, **broken)))) == ["quote"]


def test_extended_hours_take_limit_orders_only() -> None:
    at_market = close(session=Session.EXTENDED)
    at_limit = dataclasses.replace(at_market, type=OrderType.LIMIT, limit=D("99.95"))

    assert refusing(review(at_market, holding(100, market=AFTER))) == ["session"]
    assert isinstance(review(at_limit, holding(100, market=AFTER)), Approved)


@pytest.mark.parametrize(
    "exits",
    [
        {"stop_loss": D("100.03"), "target": None},
        {"stop_loss": None, "target": D("100.03")},
        {"stop_loss": D("101.00"), "target": None},
        {"stop_loss": None, "target": D("99.00")},
    ],
)
def test_exits_on_the_wrong_side_of_the_entry_are_denied(exits: dict[str, Any]) -> None:
    assert "order" in refusing(review(ask(**exits), world()))


@pytest.mark.parametrize(
    ("kind", "worst"),
    [
        ({"type": OrderType.MARKET, "limit": None}, "100.02"),
        ({"type": OrderType.STOP, "limit": None, "stop": D("100.50")}, "100.50"),
        ({"type": OrderType.STOP_LIMIT, "limit": D("100.70"), "stop": D("100.50")}, "100.70"),
        ({"type": OrderType.TRAILING_STOP, "limit": None, "trail": D("1.50")}, "101.52"),
    ],
)
def test_a_purchase_counts_at_the_worst_price_it_may_fill_at(kind: dict[str, Any], worst: str) -> None:
    cost = float(90 * D(worst))

    assert refusing(review(ask(**kind), world(), max_notional=cost)) == []
    assert refusing(review(ask(**kind), world(), max_notional=cost - 0.01)) == ["size"]


def test_an_entry_without_a_stop_is_warned_about() -> None:
    answer = review(ask(stop_loss=None), world())

    assert isinstance(answer, Approved)
    assert "not bounded" in answer.warnings[0]


def test_symbols_nobody_has_correlated_count_as_moving_together() -> None:
    assert refusing(review(ask(), world(correlations={}), max_group_pct=29.0)) == ["exposure"]


# Approved is proof


def test_an_approved_order_cannot_be_forged() -> None:
    real = review(ask(), world())
    assert isinstance(real, Approved)

    for seal in (None, object(), "seal"):
        with pytest.raises(TypeError, match="only RiskManager"):
            Approved(ask(), (), NOW, seal)
        with pytest.raises(TypeError, match="only RiskManager"):
            dataclasses.replace(real, request=ask(quantity=D(9_000)), seal=seal)
    with pytest.raises((TypeError, ValueError)):
        dataclasses.replace(real, request=ask(quantity=D(9_000)))
    for make in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="review the request again"):
            make(real)
    with pytest.raises(TypeError, match="subclassed"):
        type("Forged", (Approved,), {"__post_init__": lambda self, seal: None})


def test_an_error_inside_a_gate_is_its_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hostile(dict[str, Any]):
        def get(self, *_: Any) -> Any:
            raise RuntimeError("no")

    answer = review(ask(), world(sectors=Hostile(AAPL="technology")))

    assert refusing(answer) == ["exposure"]
    assert "per_sector failed: RuntimeError('no')" in next(
        one.said for one in answer.verdicts if one.gate == "exposure"
    )
