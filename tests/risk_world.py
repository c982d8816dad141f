"""A world in which a sound order passes every gate, to be broken one part at a time."""

from __future__ import annotations

import copy
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal as D
from typing import Any

from domain.calendars import MarketState, Phase
from domain.context import AccountKind, Context, Sent
from domain.instruments import Instrument
from domain.limits import Limits
from domain.orders import Order, OrderRequest, OrderType, Purpose, Side, Status, TimeInForce
from domain.quotes import Bar, Quote
from domain.round_trips import RoundTrip
from domain.trading_state import TradingState
from risk_manager import Approved, Denied, RiskManager

NOW = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
NAN = D("NaN")
OPEN = MarketState(Phase.OPEN, Phase.CLOSED, NOW + timedelta(hours=5, minutes=30))
OPENED = NOW - timedelta(hours=1)
CLOSED = MarketState(Phase.CLOSED, Phase.OPEN, NOW + timedelta(hours=9))
AFTER = MarketState(Phase.AFTER, Phase.CLOSED, NOW + timedelta(hours=2))
QUOTE = Quote(
    "AAPL",
    NOW - timedelta(seconds=1),
    D("100.01"),
    "etrade",
    bid=D("99.98"),
    ask=D("100.02"),
    volume=12e6,
    previous_close=D("99.5"),
    minute=Bar(NOW, 100.0, 100.1, 99.9, 100.01, 5000.0),
    halted=False,
    traded=NOW - timedelta(seconds=2),
    earnings=date(2027, 1, 28),
    tells_earnings=True,
)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def forced(value: Any, **changes: Any) -> Any:
    """The value with fields no constructor would let stand."""
    broken = copy.copy(value)
    for name, change in changes.items():
        object.__setattr__(broken, name, change)
    return broken


def ask(**changes: Any) -> OrderRequest:
    """A buy of 90 Apple at 100.03, worth 9,002.70, with its exits."""
    wish = {
        "side": Side.BUY,
        "quantity": D(90),
        "type": OrderType.LIMIT,
        "limit": D("100.03"),
        "stop_loss": D("98.83"),
        "target": D("102.43"),
    }
    return OrderRequest("main", "AAPL", **{**wish, **changes})


def resting(
    id: str, symbol: str, side: Side, quantity: int, price: str, purpose: Purpose, status: Status = Status.WORKING
) -> Order:
    exit_stop = {"type": OrderType.STOP, "stop": D(price)}
    entry = {"type": OrderType.LIMIT, "limit": D(price)}
    wish = OrderRequest(
        "main", symbol, side, D(quantity), purpose=purpose, **(exit_stop if purpose is Purpose.STOP else entry)
    )
    return Order(id, wish, status, ago(600), ago(600))


def world(**changes: Any) -> Context:
    """A cash account of 100,000: 80,000 in cash, 12,000 in KO, 8,000 in MSFT, a resting entry and a protective stop."""
    usual: dict[str, Any] = {
        "now": NOW,
        "account": "main",
        "account_kind": AccountKind.CASH,
        "global_state": TradingState.ENABLED,
        "account_state": TradingState.ENABLED,
        "instrument_state": TradingState.ENABLED,
        "mode_armed": True,
        "actor": "owner",
        "actor_allowed": True,
        "broker_ready": True,
        "market": OPEN,
        "opened": OPENED,
        "clock_skew_s": 0.1,
        "instrument": Instrument("AAPL", min_notional=D(200), sector="technology"),
        "quote": QUOTE,
        "simulated": False,
        "accept_simulated": False,
        "accept_delayed": False,
        "equity": D(100_000),
        "day_start_equity": D(99_500),
        "peak_equity": D(101_000),
        "breaker_latched": False,
        "day_began": datetime(2026, 11, 20, 5, tzinfo=UTC),
        "cash": D(80_000),
        "settled_cash": D(70_000),
        "buying_power": D(70_000),
        "positions": {"KO": D(200), "MSFT": D(20)},
        "prices": {"KO": D(60), "MSFT": D(400), "AAPL": D("100.01")},
        "resting": (
            resting("o1", "KO", Side.BUY, 20, "59.50", Purpose.ENTRY),
            resting("o2", "MSFT", Side.SELL, 20, "380", Purpose.STOP),
        ),
        "recent": (Sent(ago(300), "KO", Side.BUY),),
        "consecutive_refusals": 1,
        "adv": D(50_000_000),
        "sectors": {"AAPL": "technology", "MSFT": "technology", "KO": "staples"},
        "correlations": {"AAPL": {"KO": 0.1, "MSFT": 0.6}, "KO": {"MSFT": 0.2}},
        "trips": (RoundTrip("KO", ago(3600), D("-12.50")),),
        "fees": D(15),
    }
    return Context(**{**usual, **changes})


def holding(quantity: int, **changes: Any) -> Context:
    """The same world, holding Apple instead of cash."""
    owned = {
        "positions": {"KO": D(200), "MSFT": D(20), "AAPL": D(quantity)},
        "cash": D(80_000) - quantity * D("100.01"),
    }
    return world(**{**owned, "settled_cash": D(60_000), "buying_power": D(60_000), **changes})


def close(quantity: int = 100, **changes: Any) -> OrderRequest:
    """A sale at market of Apple that is held."""
    wish = {"type": OrderType.MARKET, "purpose": Purpose.EXIT}
    return OrderRequest("main", "AAPL", Side.SELL, D(quantity), **{**wish, **changes})


def stop(quantity: int = 100, price: str = "98.00") -> OrderRequest:
    return close(quantity, type=OrderType.STOP, stop=D(price), purpose=Purpose.STOP, time_in_force=TimeInForce.GTC)


def review(request: Any, context: Any, **limits: Any) -> Approved | Denied:
    return RiskManager(Limits(**limits)).review(request, context)


def refusing(answer: Approved | Denied) -> list[str]:
    return [verdict.gate for verdict in answer.verdicts if verdict.refused]
