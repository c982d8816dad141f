"""The fields of the order ticket: which are shown, what they begin with, and the wish they spell.

Every field lives in `st.session_state` under `tkt_…`, so that a wish can be read there in a callback, and put back
from a preview after a reload.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import streamlit as st

from domain.instruments import Instrument
from domain.orders import NEEDS, OrderType, Session, Side, TimeInForce
from domain.quotes import Quote
from ui import wording

SIDES = {Side.BUY: "▲ Buy", Side.SELL: "▼ Sell"}
SIZES = {"quantity": "Shares", "dollars": "Dollars", "risk_pct": "Risk %"}
TYPES = {
    OrderType.MARKET: "Market",
    OrderType.LIMIT: "Limit",
    OrderType.STOP: "Stop",
    OrderType.STOP_LIMIT: "Stop limit",
    OrderType.TRAILING_STOP: "Trailing stop",
}
PRICES = {"limit": "Limit price", "stop": "Stop price", "trail": "Trail, in money"}
TIMES = {TimeInForce.DAY: "Day", TimeInForce.GTC: "Until cancelled", TimeInForce.IOC: "Now or never"}
SESSIONS = {Session.REGULAR: "Regular", Session.EXTENDED: "Extended"}
EXITS = {"atr": "ATR ×", "price": "Price", "none": "None"}
FIRST_SIZE = {"quantity": 10.0, "dollars": 5_000.0, "risk_pct": 1.0}
STOP_ATR, TARGET_ATR = 1.5, 3.0
# Where a price field begins, as a part of the newest price: on the side of the market it belongs on when buying.
_AWAY = {"stop": "0.005", "limit after stop": "0.007", "stop_loss": "-0.02", "target": "0.04"}
_TRAIL = Decimal("0.01")
_PRICE_FIELDS = ("limit", "stop", "trail", "stop_loss", "target")
_OTHERS = ("side", "by", *SIZES, "type", "loss_by", "stop_atr", "gain_by", "target_atr", "time", "session")
State = Mapping[Any, Any]


def draw(what: Instrument, quote: Quote | None, closes: bool) -> None:
    """All fields. `closes`: the side chosen makes what is held smaller, so that it needs no stop of its own."""
    st.segmented_control(
        "Side",
        list(SIDES),
        format_func=lambda side: SIDES[side],
        required=True,
        width="stretch",
        label_visibility="collapsed",
        key=_first("side", Side.BUY),
        on_change=_forget,
        args=(_PRICE_FIELDS,),
    )
    _size(what, closes)
    _type(what, quote)
    with st.container():
        if closes:
            st.caption("This makes what you hold smaller; stop and target follow the position.")
        else:
            _exit("Stop", "loss", "stop_loss", STOP_ATR, what, quote)
            _exit("Target", "gain", "target", TARGET_ATR, what, quote)
    left, right = st.columns(2)
    with left:
        _choice("Good for", "time", TIMES, TimeInForce.DAY)
    with right:
        _choice("Session", "session", SESSIONS, Session.REGULAR)


def _size(what: Instrument, closes: bool) -> None:
    offered = [name for name in SIZES if not (closes and name == "risk_pct")]
    if st.session_state.get("tkt_by") not in offered:
        st.session_state.tkt_by = "quantity"
    coins = what.is_crypto
    left, right = st.columns([1.75, 1], vertical_alignment="bottom")
    with left:
        by = st.segmented_control(
            "Size by",
            offered,
            format_func=lambda n: "Coins" if coins and n == "quantity" else SIZES[n],
            required=True,
            width="stretch",
            key="tkt_by",
        )
    step = {"quantity": what.lot, "dollars": Decimal(100), "risk_pct": Decimal("0.1")}[by]
    decimals = {"quantity": _decimals(what.lot), "dollars": 0, "risk_pct": 2}[by]
    first = 0.1 if coins and by == "quantity" else FIRST_SIZE[by]
    with right:
        _number(SIZES[by], by, first, step, decimals, hidden=True)


def _type(what: Instrument, quote: Quote | None) -> None:
    kind = st.selectbox(
        "Type",
        list(TYPES),
        format_func=lambda kind: TYPES[kind],
        key=_first("type", OrderType.MARKET),
        on_change=_forget,
        args=(("limit", "stop", "trail"),),
    )
    needed = [name for name in ("stop", "limit", "trail") if name in NEEDS[kind]]
    with st.container():
        for column, name in zip(st.columns(len(needed)) if needed else [], needed, strict=True):
            with column:
                from_where = "limit after stop" if name == "limit" and "stop" in needed else name
                _number(PRICES[name], name, begin(from_where, what, quote, _side()), what.tick, what.decimals)


def _exit(label: str, by_key: str, price_key: str, multiple: float, what: Instrument, quote: Quote | None) -> None:
    left, right = st.columns([1.75, 1], vertical_alignment="bottom")
    with left:
        by = st.segmented_control(
            label,
            list(EXITS),
            format_func=lambda by: EXITS[by],
            required=True,
            width="stretch",
            key=_first(f"{by_key}_by", "atr"),
        )
    with right:
        if by == "atr":
            _number(f"{label} ATR", _atr(by_key), multiple, Decimal("0.1"), 1, hidden=True)
        elif by == "price":
            first = begin(price_key, what, quote, _side())
            _number(f"{label} price", price_key, first, what.tick, what.decimals, hidden=True)


def _choice(label: str, name: str, options: Mapping[Any, str], first: Any) -> None:
    st.selectbox(label, list(options), format_func=lambda one: options[one], key=_first(name, first))


def _number(label: str, name: str, first: float | None, step: Decimal, decimals: int, *, hidden: bool = False) -> None:
    # Said twice, as state and as default: a tick that interrupts the first run can lose the one, and it came up empty.
    if first is not None and st.session_state.get(f"tkt_{name}") is None:
        st.session_state[f"tkt_{name}"] = first
    st.number_input(
        label,
        value=first,
        step=float(step),
        format=f"%.{decimals}f",
        key=f"tkt_{name}",
        label_visibility="collapsed" if hidden else "visible",
        placeholder="fill in",
    )


def begin(name: str, what: Instrument, quote: Quote | None, side: Side) -> float | None:
    """What a price field begins with, on the tick; None without a quote."""
    if quote is None:
        return None
    if name == "limit":
        near = (quote.ask if side is Side.BUY else quote.bid) or quote.last
    elif name == "trail":
        near = quote.last * _TRAIL
    else:
        near = quote.last * (1 + side.sign * Decimal(_AWAY[name]))
    return float(max(what.tick, what.round_price(near)))


def wish(account: str, what: Instrument, closes: bool, state: State) -> dict[str, str]:
    """The fields as the payload of a preview; a field nobody filled in is left out."""
    by, kind = state.get("tkt_by", "quantity"), OrderType(state.get("tkt_type", OrderType.MARKET))
    steps = {"quantity": what.lot, "dollars": wording.CENT}
    found: dict[str, str | None] = {
        "account": account,
        "symbol": what.symbol,
        "side": str(state.get("tkt_side", Side.BUY)),
        by: _text(state.get(f"tkt_{by}"), steps.get(by)),
        "type": str(kind),
        **{name: _text(state.get(f"tkt_{name}"), what.tick) for name in sorted(NEEDS[kind])},
        "time_in_force": str(state.get("tkt_time", TimeInForce.DAY)),
        "session": str(state.get("tkt_session", Session.REGULAR)),
        **({} if closes else _exits(what, state)),
    }
    return {name: text for name, text in found.items() if text is not None}


def _exits(what: Instrument, state: State) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for by_key, price_key in (("loss", "stop_loss"), ("gain", "target")):
        by = state.get(f"tkt_{by_key}_by", "atr")
        if by == "atr":
            found[_atr(by_key)] = _text(state.get(f"tkt_{_atr(by_key)}"), None)
        elif by == "price":
            found[price_key] = _text(state.get(f"tkt_{price_key}"), what.tick)
    return found


def missing(asked: Mapping[str, str], closes: bool, state: State) -> list[str]:
    """What must be filled in before it can be previewed, a sentence each."""
    by = state.get("tkt_by", "quantity")
    wrong = [] if _above(asked.get(by)) else [f"Size: write how many {SIZES[by].lower()}, above zero."]
    for name in NEEDS[OrderType(asked["type"])]:
        wrong += [] if _above(asked.get(name)) else [f"{PRICES[name]}: fill it in, above zero."]
    if closes:
        return wrong
    for label, by_key, price_key in (("Stop", "loss", "stop_loss"), ("Target", "gain", "target")):
        chosen = state.get(f"tkt_{by_key}_by", "atr")
        name = {"atr": _atr(by_key), "price": price_key}.get(chosen)
        wrong += (
            [] if name is None or _above(asked.get(name)) else [f"{label}: fill it in, above zero, or choose None."]
        )
    if by == "risk_pct" and state.get("tkt_loss_by") == "none":
        wrong.append("A size by risk needs a stop: the risk is what is lost there.")
    return wrong


def put_back(asked: Mapping[str, str]) -> None:
    """The fields as a preview asked for them: after a reload."""
    state = st.session_state
    state.tkt_side, state.tkt_type = Side(asked["side"]), OrderType(asked["type"])
    state.tkt_time, state.tkt_session = TimeInForce(asked["time_in_force"]), Session(asked["session"])
    state.tkt_by = next((name for name in SIZES if name in asked), "quantity")
    for by_key, price_key in (("loss", "stop_loss"), ("gain", "target")):
        by = "atr" if _atr(by_key) in asked else "price" if price_key in asked else "none"
        state[f"tkt_{by_key}_by"] = by
    for name in (*SIZES, *_PRICE_FIELDS, "stop_atr", "target_atr"):
        if name in asked:
            state[f"tkt_{name}"] = float(asked[name])


def clear() -> None:
    """Every field back to its beginning."""
    _forget((*_PRICE_FIELDS, *_OTHERS))


def _forget(names: tuple[str, ...]) -> None:
    for name in names:
        st.session_state.pop(f"tkt_{name}", None)


def _first(name: str, value: Any) -> str:
    if st.session_state.get(f"tkt_{name}") is None:
        st.session_state[f"tkt_{name}"] = value
    return f"tkt_{name}"


def _side() -> Side:
    return Side(st.session_state.get("tkt_side", Side.BUY))


def _atr(by_key: str) -> str:
    return {"loss": "stop_atr", "gain": "target_atr"}[by_key]


def _text(value: float | None, step: Decimal | None) -> str | None:
    """A field's number as exact text: on the step where there is one, else without idle zeros."""
    if value is None:
        return None
    exact = Decimal(str(value))
    if step is None:
        return format(exact.normalize(), "f")
    rounded = (exact / step).quantize(Decimal(1)) * step
    return format(rounded, "f")


def _above(text: str | None) -> bool:
    return text is not None and Decimal(text) > 0


def _decimals(step: Decimal) -> int:
    return max(0, -int(step.normalize().as_tuple().exponent))
