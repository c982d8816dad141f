"""The gates: each refuses on its own, all answer, and nothing that cannot be read gets an order through."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from datetime import date
from decimal import Decimal as D
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.context import AccountKind, Context, Sent
from domain.gates import GATES
from domain.instruments import Instrument
from domain.limits import LADDER, Limits
from domain.orders import Order, OrderRequest, OrderType, Session, Side
from domain.params import params_of
from domain.round_trips import RoundTrip
from domain.trading_state import TradingState
from domain.verdicts import Outcome
from risk_manager import Approved, Denied
from tests.risk_world import (
    AFTER,
    CLOSED,
    NAN,
    NOW,
    OPEN,
    QUOTE,
    ago,
    ask,
    forced,
    refusing,
    review,
    world,
)


def test_a_sound_order_passes_every_gate() -> None:
    answer = review(ask(), world())

    assert isinstance(answer, Approved), answer.reasons
    assert [v.gate for v in answer.verdicts] == [gate.name for gate in GATES]
    assert {v.outcome for v in answer.verdicts} == {Outcome.PASSED}
    assert (answer.request, answer.at, answer.warnings) == (ask(), NOW, ())


def test_every_gate_answers_and_every_reason_is_listed() -> None:
    worst = world(
        global_state=TradingState.DISABLED,
        mode_armed=False,
        actor_allowed=False,
        broker_ready=False,
        market=CLOSED,
        clock_skew_s=9,
        quote=None,
        instrument=Instrument("MSFT"),
        frozen=frozenset({"AAPL"}),
        adv=NAN,
        equity=D(90_000),
        breaker_latched=True,
        consecutive_refusals=3,
        recent=(Sent(ago(5), "AAPL", Side.BUY),),
        buying_power=D(1),
    )

    answer = review(ask(), worst, entry_windows="10:31-16:00")

    assert isinstance(answer, Denied)
    assert refusing(answer) == [gate.name for gate in GATES]
    for said in ("circuit breaker", "lost 9.55 %", "3 orders in a row", "less than 30", "adv must be", "no quote"):
        assert any(said in reason for reason in answer.reasons), said


def test_a_verdict_keeps_what_the_gate_saw() -> None:
    [quote] = [v for v in review(ask(), world()).verdicts if v.gate == "quote"]

    assert "99.98" in quote.inputs["quote"]
    assert quote.inputs["max_spread_bps"] == "50.0"
    assert quote.to_dict()["outcome"] == "passed"


# Every setting flips a verdict

SHORT = ask(side=Side.SELL, quantity=D(90), limit=D("99.97"), stop_loss=D("101.00"), target=D("97.00"))
SHORT_NOW = ask(side=Side.SELL, type=OrderType.MARKET, limit=None, stop_loss=D("101.00"), target=D("97.00"))
SHORT_BELOW = ask(
    side=Side.SELL, type=OrderType.STOP, limit=None, stop=D("99.00"), stop_loss=D("101.00"), target=D("97.00")
)
SHORTING = {"account_kind": AccountKind.MARGIN}
EXTENDED = ask(session=Session.EXTENDED)
# The setting: a value that refuses, one that passes, and the scene where they differ.
SCENES: dict[str, tuple[Any, Any, OrderRequest, Context]] = {
    "risk_per_trade_pct": (0.1, 0.11, ask(), world()),
    "max_position_pct": (9.0, 9.1, ask(), world()),
    "max_gross_pct": (30.0, 31.0, ask(), world()),
    "max_symbol_pct": (9.0, 9.1, ask(), world()),
    "max_sector_pct": (17.0, 17.1, ask(), world()),
    "max_group_pct": (17.0, 17.1, ask(), world(correlations={"AAPL": {"KO": 0.1, "MSFT": 0.9}, "KO": {"MSFT": 0}})),
    "correlation_threshold": (0.6, 0.61, ask(), world()),
    "max_open_positions": (2, 3, ask(), world()),
    "max_orders_per_minute": (1, 2, ask(), world(recent=(Sent(ago(59), "KO", Side.BUY),))),
    "max_orders_per_day": (1, 2, ask(), world()),
    "max_consecutive_refusals": (1, 2, ask(), world()),
    "max_daily_loss_pct": (2.0, 2.1, ask(), world(day_start_equity=D("102040.82"), peak_equity=D(103_000))),
    "max_drawdown_pct": (0.99, 1.0, ask(), world()),
    "max_quantity": (89, 90, ask(), world()),
    "max_notional": (9_002.69, 9_002.70, ask(), world()),
    "max_adv_pct": (0.9, 1.0, ask(), world(adv=D(9_000))),
    "max_collar_pct": (1.9, 2.0, ask(limit=D("98.00"), stop_loss=D("97.00")), world()),
    "max_spread_bps": (3.9, 4.0, ask(), world()),
    "max_quote_age_s": (0.9, 1.0, ask(), world()),
    "max_clock_skew_s": (0.09, 0.1, ask(), world()),
    "duplicate_window_s": (21.0, 20.0, ask(), world(recent=(Sent(ago(20), "AAPL", Side.BUY),))),
    "shorting": (False, True, SHORT, world(**SHORTING)),
    "extended_hours": (False, True, EXTENDED, world(market=AFTER)),
    "settled_cash_only": (True, False, ask(), world(settled_cash=D(10_000))),
    "symbols": (("MSFT",), ("AAPL", "MSFT"), ask(), world()),
    "cool_down_min": (16, 15, ask(), world(trips=(RoundTrip("AAPL", ago(900), D("-0.01")),))),
    "max_consecutive_losses": (1, 2, ask(), world()),
    "entry_windows": ("09:30-10:30", "10:30-10:31", ask(), world()),
    "no_entry_after_open_min": (61, 60, ask(), world()),
    "no_entry_before_close_min": (330, 329, ask(), world()),
    "blackouts": ("2026-11-20 * payrolls", "2026-11-19 * payrolls; MSFT 2026-11-20 * split", ask(), world()),
    "no_entry_days_before_earnings": (2, 1, ask(), world(quote=forced(QUOTE, earnings=date(2026, 11, 24)))),
    "max_quiet_min": (9, 10, ask(), world(quote=forced(QUOTE, traded=ago(600)))),
}


@pytest.mark.parametrize("name", [name for name in params_of(Limits) if name not in LADDER])
def test_every_setting_flips_a_verdict_when_only_it_changes(name: str) -> None:
    refuses, passes, request, context = SCENES[name]
    others = {"max_group_pct": 17.0} if name == "correlation_threshold" else {}

    denied = review(request, context, **{**others, name: refuses})

    assert isinstance(review(request, context, **{**others, name: passes}), Approved)
    assert isinstance(denied, Denied)
    [gate] = [gate for gate in GATES if gate.name in refusing(denied)]
    assert name in gate.limits


def test_every_setting_belongs_to_a_gate_or_to_the_ladder() -> None:
    assert sorted([*(name for gate in GATES for name in gate.limits), *LADDER]) == sorted(params_of(Limits))


# The edges, one step to either side

BID = QUOTE.bid
MARKS, SECTORS = world().prices, world().sectors
EDGES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("quote", {"quote": forced(QUOTE, time=ago(15))}, {"quote": forced(QUOTE, time=ago(15.000001))}),
    ("quote", {"quote": forced(QUOTE, time=ago(-2))}, {"quote": forced(QUOTE, time=ago(-2.000001))}),
    ("quote", {"quote": forced(QUOTE, ask=D("99.99"))}, {"quote": forced(QUOTE, ask=BID)}),
    ("quote", {"quote": forced(QUOTE, bid=D("99.53"))}, {"quote": forced(QUOTE, bid=D("99.52"))}),
    ("clock", {"clock_skew_s": -2.0}, {"clock_skew_s": -2.001}),
    ("session", {"market": forced(OPEN, changes_at=ago(-1e-6))}, {"market": forced(OPEN, changes_at=NOW)}),
    ("pace", {"recent": (Sent(ago(30), "AAPL", Side.BUY),)}, {"recent": (Sent(ago(29.99), "AAPL", Side.BUY),)}),
    ("pace", {"recent": (Sent(ago(5), "AAPL", Side.SELL),)}, {"recent": (Sent(ago(5), "AAPL", Side.BUY),)}),
    ("pace", {"recent": (Sent(ago(60), "KO", Side.BUY),) * 10}, {"recent": (Sent(ago(59), "KO", Side.BUY),) * 10}),
    ("pace", {"consecutive_refusals": 2}, {"consecutive_refusals": 3}),
    ("loss", {"day_start_equity": D("103092.78")}, {"day_start_equity": D("103092.79")}),
    ("loss", {"peak_equity": D("117647.05")}, {"peak_equity": D("117647.06")}),
    ("size", {"adv": D(9_000)}, {"adv": D(8_999)}),
    ("exposure", {"equity": D("102040.81")}, {"equity": D("102040.82")}),
    ("funding", {"settled_cash": D("10207.70")}, {"settled_cash": D("10207.69")}),
    ("funding", {"buying_power": D("9017.70")}, {"buying_power": D("9017.69")}),
    ("funding", {"buying_power": D(80_000)}, {"buying_power": D("80000.01")}),
    ("pace", {"day_began": NOW}, {"day_began": ago(-0.001)}),
    ("pace", {"day_began": ago(26 * 3600)}, {"day_began": ago(26 * 3600 + 1)}),
    ("pace", {"recent": (Sent(ago(-2), "KO", Side.BUY),)}, {"recent": (Sent(ago(-2.001), "KO", Side.BUY),)}),
    ("pace", {"recent": (Sent(ago(60.1), "KO", Side.BUY),) * 199}, {"recent": (Sent(ago(61), "KO", Side.BUY),) * 200}),
    ("loss", {"day_start_equity": D("10000.01")}, {"day_start_equity": D(10_000)}),
    ("loss", {"peak_equity": D("10000.01")}, {"peak_equity": D(10_000)}),
    ("size", {"adv": D(3_000_000_000)}, {"adv": D(3_000_000_001)}),
    ("exposure", {"prices": {**MARKS, "AAPL": D("10.01")}}, {"prices": {**MARKS, "AAPL": D(10)}}),
    ("exposure", {"sectors": {**SECTORS, "XOM": ""}}, {"sectors": {**SECTORS, "XOM": None}}),
    ("exposure", {"correlations": {"XOM": {"KO": -1.0}}}, {"correlations": {"XOM": {"KO": -1.01}}}),
    ("funding", {"settled_cash": D(80_000)}, {"settled_cash": D("80000.01")}),
    ("funding", {"fees": D("900.27")}, {"fees": D("900.28")}),
    ("order", {"instrument": Instrument("AAPL", lot=D(45))}, {"instrument": Instrument("AAPL", lot=D(89))}),
    ("order", {"instrument": Instrument("AAPL", tick=D("0.01"))}, {"instrument": Instrument("AAPL", tick=D("0.02"))}),
]


@pytest.mark.parametrize(("gate", "inside", "outside"), EDGES)
def test_one_step_over_the_edge_refuses(gate: str, inside: dict[str, Any], outside: dict[str, Any]) -> None:
    assert refusing(review(ask(), world(**inside))) == []
    assert refusing(review(ask(), world(**outside))) == [gate]


ROUND = {"limit": D(100), "stop_loss": D(99)}
MORE_EDGES: list[tuple[str, OrderRequest, dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ("size", ask(**ROUND), {}, {"max_position_pct": 9.0}, {"max_position_pct": 8.999}),
    ("size", ask(**ROUND), {}, {"risk_per_trade_pct": 0.09}, {"risk_per_trade_pct": 0.0899}),
    ("size", SHORT, SHORTING, {"risk_per_trade_pct": 0.0927}, {"risk_per_trade_pct": 0.0926}),
    ("size", SHORT_NOW, SHORTING, {"risk_per_trade_pct": 0.0918}, {"risk_per_trade_pct": 0.0917}),
    ("size", SHORT_BELOW, SHORTING, {"risk_per_trade_pct": 0.18}, {"risk_per_trade_pct": 0.1799}),
    ("exposure", SHORT, SHORTING, {"max_symbol_pct": 9.0018}, {"max_symbol_pct": 9.0017}),
    ("loss", ask(), {"day_start_equity": D("124999.99")}, {"max_daily_loss_pct": 20}, {"max_daily_loss_pct": 19.9}),
    ("loss", ask(), {"peak_equity": D("124999.99")}, {"max_drawdown_pct": 20}, {"max_drawdown_pct": 19.9}),
]


@pytest.mark.parametrize(("gate", "wish", "scene", "inside", "outside"), MORE_EDGES)
def test_a_limit_is_met_exactly(
    gate: str, wish: OrderRequest, scene: dict[str, Any], inside: dict[str, Any], outside: dict[str, Any]
) -> None:
    context = world(**scene)
    shorts = {"shorting": True}

    assert refusing(review(wish, context, **shorts, **inside)) == []
    assert refusing(review(wish, context, **shorts, **outside)) == [gate]


def test_a_loss_that_just_reaches_its_limit_stops_entries() -> None:
    fallen = world(day_start_equity=D(125_000), peak_equity=D(125_000))

    assert refusing(review(ask(), fallen, max_daily_loss_pct=20, max_drawdown_pct=20.01)) == ["loss"]
    assert refusing(review(ask(), fallen, max_daily_loss_pct=20, max_drawdown_pct=20)) == ["loss"]


def test_a_cash_account_never_sells_short() -> None:
    assert refusing(review(SHORT, world(), shorting=True)) == ["funding"]


# What cannot be read never gets through

INF = D("Infinity")


class Nothing:
    """Something no gate has heard of; it looks the same in every process that collects these tests."""

    def __repr__(self) -> str:
        return "Nothing()"


NOT_NUMBERS = (NAN, D("sNaN"), INF, -INF, math.nan, math.inf, -math.inf, None, "100", b"1", True, [], {}, Nothing(), 1j)
Change = tuple[str, Callable[[Any], tuple[OrderRequest, Context]]]


def within(context: Context, path: str, value: Any) -> Context:
    """The context with one part replaced: `equity`, `quote.bid`, `positions[KO]`, `resting#0.filled`."""
    if "[" in path:
        name, key = path.rstrip("]").split("[")
        return forced(context, **{name: {**getattr(context, name), key: value}})
    if "." in path:
        outer, inner = path.split(".")
        name, _, at = outer.partition("#")
        parts = getattr(context, name)
        if not at:
            return forced(context, **{name: forced(parts, **{inner: value})})
        part = parts[int(at)]
        on = part.request if isinstance(part, Order) and hasattr(part.request, inner) else part
        changed = forced(on, **{inner: value})
        changed = changed if on is part else forced(part, request=changed)
        return forced(context, **{name: (*parts[: int(at)], changed, *parts[int(at) + 1 :])})
    return forced(context, **{path: value})


def read(context: Context, path: str) -> Any:
    [found] = [v for p, v in numbers_of(context) if p == path]
    return found


def numbers_of(context: Context) -> list[tuple[str, Any]]:
    """Every number of the context, by its path."""
    c = context
    plain = ("clock_skew_s", "equity", "day_start_equity", "peak_equity", "cash", "settled_cash", "buying_power")
    return [
        *((name, getattr(c, name)) for name in (*plain, "consecutive_refusals", "adv", "fees")),
        *((f"quote.{n}", getattr(c.quote, n)) for n in ("bid", "ask", "last", "previous_close", "volume", "delayed_s")),
        *((f"instrument.{n}", getattr(c.instrument, n)) for n in ("tick", "lot", "min_notional")),
        *((f"positions[{s}]", v) for s, v in c.positions.items()),
        *((f"prices[{s}]", v) for s, v in c.prices.items()),
        ("resting#0.quantity", c.resting[0].request.quantity),
        ("resting#0.limit", c.resting[0].request.limit),
        ("resting#0.filled", c.resting[0].filled),
        ("resting#1.quantity", c.resting[1].request.quantity),
        ("resting#1.filled", c.resting[1].filled),
    ]


NUMBERS = [path for path, _ in numbers_of(world())]
OTHER_PARTS = [
    *(f.name for f in dataclasses.fields(Context) if f.name not in NUMBERS),
    *("quote.time", "quote.symbol", "quote.minute", "market.phase", "market.changes_at", "recent#0.time"),
    *("recent#0.symbol", "recent#0.side", "resting#0.status", "resting#0.account", "sectors[AAPL]", "sectors[KO]"),
    *("quote.halted", "quote.traded", "quote.earnings", "quote.tells_earnings"),
    *("trips#0.closed", "trips#0.symbol", "trips#0.profit"),
    *("resting#0.side", "resting#0.symbol", "resting#0.purpose", "correlations[AAPL]", "instrument.symbol"),
]
# What looks broken above and is an honest answer here.
FITS: list[tuple[type, set[str]]] = [
    (type(None), {"quote.halted", "quote.traded", "quote.earnings"}),
    (type(None), {"quote.previous_close", "resting#0.limit", "quote.minute", "market.changes_at"}),
    (str, {"actor", "recent#0.symbol", "trips#0.symbol", "sectors[AAPL]", "sectors[KO]"}),
    (
        bool,
        {"quote.tells_earnings", "mode_armed", "actor_allowed", "broker_ready", "accept_simulated", "accept_delayed"},
    ),
    (list, {"frozen", "linked", "bought_unsettled"}),
    (dict, {"correlations", "correlations[AAPL]"}),
]
BROKEN = [
    (path, bad)
    for path in (*NUMBERS, *OTHER_PARTS)
    for bad in NOT_NUMBERS
    if not any(type(bad) is kind and path in paths for kind, paths in FITS)
]


def test_no_broken_input_of_the_world_is_approved() -> None:
    through = [(path, bad) for path, bad in BROKEN if isinstance(review(ask(), within(world(), path, bad)), Approved)]

    assert len(BROKEN) > 800
    assert through == []


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.sampled_from(range(len(BROKEN))), min_size=2, max_size=5, unique_by=lambda i: BROKEN[i][0].split("#")[0]
    )
)
def test_several_broken_inputs_at_once_are_never_approved(picked: list[int]) -> None:
    context = world()
    for at in picked:
        path, bad = BROKEN[at]
        context = attempt(context, path, bad)

    assert isinstance(review(ask(), context), Denied)


def attempt(context: Context, path: str, bad: Any) -> Context:
    """One more part broken, where the whole it belongs to still stands."""
    try:
        return within(context, path, bad)
    except (TypeError, AttributeError, IndexError):
        return context


ASKED = ("quantity", "limit", "stop_loss", "target")
STOP_LIMIT = {"type": OrderType.STOP_LIMIT, "stop": D("100.10"), "limit": D("100.20")}
TRAILING = {"type": OrderType.TRAILING_STOP, "trail": D("1.50"), "limit": None}


@pytest.mark.parametrize("bad", [*NOT_NUMBERS, D(0), D(-1), 0, -5.0], ids=repr)
def test_no_broken_number_of_the_request_is_approved(bad: Any) -> None:
    wishes = [forced(ask(), **{name: bad}) for name in ASKED if not (bad is None and name in ("stop_loss", "target"))]
    wishes += [forced(ask(**STOP_LIMIT), stop=bad), forced(ask(**STOP_LIMIT), limit=bad)]
    wishes += [forced(ask(**TRAILING), trail=bad)]
    wishes += [
        forced(ask(), **{n: bad}) for n in ("side", "type", "time_in_force", "session", "purpose", "symbol", "account")
    ]

    assert [wish for wish in wishes if isinstance(review(wish, world()), Approved)] == []
    assert isinstance(review(ask(**STOP_LIMIT), world()), Approved)
    assert isinstance(review(ask(**TRAILING), world()), Approved)


@pytest.mark.parametrize("nothing", [None, 7, "buy AAPL", Nothing(), NAN], ids=repr)
def test_what_is_no_request_or_no_world_is_denied_by_every_gate(nothing: Any) -> None:
    assert isinstance(review(nothing, world()), Denied)
    no_world = review(ask(), nothing)

    assert isinstance(no_world, Denied)
    assert len(no_world.verdicts) == len(GATES)
    assert no_world.at is None


HONEST_ZEROS = {"clock_skew_s", "consecutive_refusals", "fees", "quote.volume", "quote.delayed_s"}
HONEST_ZEROS |= {
    "instrument.min_notional",
    "resting#0.filled",
    "resting#1.filled",
    "resting#0.quantity",
    "resting#1.quantity",
}
SMALL_SKEW = {"clock_skew_s"}


@pytest.mark.parametrize("path", [p for p in NUMBERS if p not in HONEST_ZEROS])
def test_zero_where_none_can_be_is_denied(path: str) -> None:
    assert isinstance(review(ask(), within(world(), path, D(0))), Denied)


@pytest.mark.parametrize("path", [p for p in NUMBERS if p not in SMALL_SKEW])
def test_a_number_below_zero_is_denied(path: str) -> None:
    assert isinstance(review(ask(), within(world(), path, -abs(D(str(read(world(), path)))) or D(-1))), Denied)


# Shares so far today say nothing about a unit, and neither does what has filled of an order that rests.
NO_UNIT = {"quote.volume", "quote.delayed_s", "resting#0.filled", "resting#1.filled"}


@pytest.mark.parametrize("path", [p for p in NUMBERS if p not in NO_UNIT])
def test_cents_for_dollars_are_denied(path: str) -> None:
    assert isinstance(review(ask(), within(world(), path, 100 * D(str(read(world(), path))))), Denied)


TOO_SMALL_HURTS = [p for p in NUMBERS if p not in NO_UNIT | HONEST_ZEROS | {"adv", "instrument.tick", "instrument.lot"}]
TOO_SMALL_HURTS = [p for p in TOO_SMALL_HURTS if p != "resting#0.limit"]


@pytest.mark.parametrize("path", TOO_SMALL_HURTS)
def test_dollars_for_cents_are_denied(path: str) -> None:
    assert isinstance(review(ask(), within(world(), path, D(str(read(world(), path))) / 100)), Denied)


@pytest.mark.parametrize("name", ASKED)
def test_an_order_in_the_wrong_unit_is_denied(name: str) -> None:
    for scale in (D(100), D("0.01")):
        assert isinstance(review(forced(ask(), **{name: getattr(ask(), name) * scale}), world()), Denied)


@pytest.mark.parametrize(("kind", "name"), [(STOP_LIMIT, "stop"), (TRAILING, "trail"), (STOP_LIMIT, "limit")])
def test_a_stop_in_the_wrong_unit_is_denied(kind: dict[str, Any], name: str) -> None:
    wish = ask(**kind)

    assert isinstance(review(forced(wish, **{name: 100 * getattr(wish, name)}), world()), Denied)
