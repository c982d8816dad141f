"""The dialogs of a position: closing it, whole or in part, and what protects it. Each says what will come of it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import streamlit as st

import bootstrap
import indicators
from domain.commands import Kind
from domain.errors import DeskError
from risk_manager import RiskManager
from ui import dialogs, holdings, wording
from ui.holdings import Holding
from ui.session import Open

STOP_ATR = 1.5
ATR_BARS, ATR_DAYS = 14, 90
PERCENTS = ("25", "50", "75", "100")


# Closing


def _held(app: Open, name: str, symbol: str) -> Holding | None:
    found = next((one for one in holdings.held_by(app.desk, name) if one.symbol == symbol), None)
    if found is None:
        st.info(f"{symbol} is not held any more: nothing is left to do.")
    elif found.outside and not found.ours:
        st.info(f"The {symbol} here came from outside this desk, which never touches them: use E\\*TRADE's own site.")
        return None
    elif found.outside:
        st.caption(f"{wording.quantity(abs(found.outside))} more came from outside this desk and stay as they are.")
        return replace(found, quantity=found.ours, outside=Decimal(0))
    return found


@dialogs.dialog
@st.dialog("Close a position")
def close(app: Open, key: str, account: str, symbol: str, percent: str) -> None:
    one = _held(app, account, symbol)
    if one is None:
        return
    st.segmented_control(
        "How much",
        [*PERCENTS, "part"],
        default=percent,
        required=True,
        width="stretch",
        key=f"pos_part_{key}",
        format_func=lambda p: "Quantity" if p == "part" else f"{p} %",
    )
    if st.session_state[f"pos_part_{key}"] == "part":
        first, step = float(one.part(Decimal(50))), float(one.what.lot)
        st.number_input("Quantity", value=first, step=step, format=_format(one.what.lot), key=f"pos_quantity_{key}")
    st.segmented_control(
        "How",
        ["market", "limit"],
        default="market",
        required=True,
        width="stretch",
        key=f"pos_type_{key}",
        format_func=str.capitalize,
    )
    if st.session_state[f"pos_type_{key}"] == "limit":
        first = float(one.last or one.average)
        st.number_input(
            "Limit", value=first, step=float(one.what.tick), format=_format(one.what.tick), key=f"pos_limit_{key}"
        )
    payload = closing(one, key)
    st.write(_closing_words(one, payload))
    paper = "REAL MONEY" if bootstrap.trading().place.real_money else "paper"
    label = f"Place {paper} order: {wording.plain(_closing_order(one, payload))}"
    dialogs.confirm(
        label, Kind.CLOSE, payload, key, now=lambda: closing(one, key), why_not=_closing_fault(one, payload)
    )


def closing(one: Holding, key: str) -> dict[str, str]:
    """The fields of the dialog as the payload of a close."""
    state = st.session_state
    part, kind = state.get(f"pos_part_{key}", "100"), state.get(f"pos_type_{key}", "market")
    found = {"account": one.account, "symbol": one.symbol, "type": kind}
    if part == "part":
        found["quantity"] = format(one.what.round_quantity(_read(state.get(f"pos_quantity_{key}"))), "f")
    else:
        found["percent"] = part
    if kind == "limit":
        found["limit"] = format(one.what.round_price(_read(state.get(f"pos_limit_{key}"))), "f")
    return found


def _shares(one: Holding, payload: dict[str, str]) -> Decimal:
    if "quantity" in payload:
        return Decimal(payload["quantity"])
    return one.part(Decimal(payload["percent"]))


def _closing_order(one: Holding, payload: dict[str, str]) -> str:
    asked = {
        "side": one.closing,
        "quantity": _shares(one, payload),
        "symbol": one.symbol,
        "type": payload["type"],
        "limit": payload.get("limit"),
    }
    return wording.order_words(asked)


def _closing_words(one: Holding, payload: dict[str, str]) -> str:
    """What comes of it, as far as the newest price tells."""
    shares = _shares(one, payload)
    at = Decimal(payload["limit"]) if "limit" in payload else one.last
    of = f"{wording.quantity(shares)} of {wording.quantity(abs(one.quantity))} {one.symbol}"
    if at is None:
        return f"Closes {of}. No price is known, so what it brings is not either."
    brings = "brings" if one.quantity > 0 else "costs"
    profit = wording.signed(one.gain(shares, at)).replace(" ", "\u00a0")
    ends = " Its stop and target are cancelled first." if shares == abs(one.quantity) else ""
    return wording.plain(
        f"Closes {of} at about {wording.price(at, one.what)}: {brings} about {wording.amount(shares * at)}, "
        f"profit {profit}, before fees.{ends}"
    )


def _closing_fault(one: Holding, payload: dict[str, str]) -> str:
    shares = _shares(one, payload)
    if shares <= 0:
        return "That is less than one lot: choose more."
    if shares > abs(one.quantity):
        return f"Only {wording.quantity(abs(one.quantity))} are held."
    return "The limit must be above zero." if "limit" in payload and Decimal(payload["limit"]) <= 0 else ""


# Protecting


@dialogs.dialog
@st.dialog("Stop and target")
def protect(app: Open, key: str, account: str, symbol: str, suggest: bool = False) -> None:
    one = _held(app, account, symbol)
    if one is None:
        return
    price = NO_PRICE if one.last is None else wording.price(one.last, one.what)
    st.write(f"**{wording.quantity(one.quantity)} {symbol}**, average {wording.amount(one.average)}, last {price}.")
    stop = one.planned
    if suggest and stop is None and one.trail is None:
        stop, said = suggested_stop(app, one)
        st.caption(said)
    _level("Stop", f"pos_stop_at_{key}", stop, one)
    _level("Target", f"pos_target_at_{key}", one.target, one)
    help_ = "How far it follows the price, in money; of it and the stop, the nearer one is in force. Empty for none"
    _level("Trailing stop, distance", f"pos_trail_at_{key}", one.trail, one, help_)
    if one.trail is not None:
        st.caption(wording.plain(f"The stop is {wording.trailing(one.trail, one.stop if one.trails else None)}."))
    payload = protection(one, key)
    st.write(_protection_words(one, payload))
    why_not = _protection_fault(one, payload)
    dialogs.confirm(
        _protect_label(payload), Kind.PROTECT, payload, key, now=lambda: protection(one, key), why_not=why_not
    )


NO_PRICE = "not known"


def _level(label: str, key: str, value: Decimal | None, one: Holding, help_: str = "Leave it empty for none") -> None:
    st.number_input(
        label,
        value=None if value is None else float(value),
        step=float(one.what.tick),
        format=_format(one.what.tick),
        key=key,
        placeholder="none",
        help=help_,
    )


def suggested_stop(app: Open, one: Holding) -> tuple[Decimal | None, str]:
    """A stop 1.5 daily ATR from the newest price, and the sentence that says so; None where it cannot be worked out."""
    if one.last is None:
        return None, "No price is known, so no stop can be suggested."
    try:
        frame = app.desk.candles(one.symbol, "1d", ATR_DAYS).candles
        atr = round(float(indicators.atr(frame, ATR_BARS).iloc[-1]), 6) if len(frame) > ATR_BARS else 0.0
        side = one.closing.opposite
        stop = RiskManager().stop_order(side, one.last, atr, STOP_ATR, tick=one.what.tick).price
    except (DeskError, ValueError) as error:
        return None, wording.plain(f"No stop can be suggested: {error}")
    return stop, f"Suggested: {STOP_ATR} × ATR {atr:.2f} (14 daily bars) from the last price."


def protection(one: Holding, key: str) -> dict[str, str | None] | None:
    """What differs from the plan as the payload of a protect; None where nothing does."""
    found: dict[str, str | None] = {}
    for name, plan in (("stop", one.planned), ("target", one.target), ("trail", one.trail)):
        value = st.session_state.get(f"pos_{name}_at_{key}")
        wished = None if value is None else one.what.round_price(_read(value))
        if wished != plan or (name != "target" and wished is not None and one.unguarded):
            found[name] = None if wished is None else format(wished, "f")
    return {"account": one.account, "symbol": one.symbol, **found} if found else None


def _protect_label(payload: dict[str, str | None] | None) -> str:
    said = [f"{name} {payload[name] or 'none'}" for name in ("stop", "target", "trail") if payload and name in payload]
    return f"Set {' and '.join(said)}" if said else "Set it"


def _protection_words(one: Holding, payload: dict[str, str | None] | None) -> str:
    if payload is None or one.last is None:
        return ""
    said = []
    for name, word in (("stop", "At the stop"), ("target", "At the target")):
        if text := payload.get(name):
            said.append(f"{word}: {wording.signed(one.gain(abs(one.quantity), Decimal(text)))}.")
        elif name in payload:
            said.append(f"The {name} is taken away.")
    if trail := payload.get("trail"):
        distance = abs(one.quantity) * Decimal(trail)
        said.append(f"Trailing by {trail}: gives back at most about {wording.amount(distance)} from the best price.")
    elif "trail" in payload:
        said.append("The trailing stop is taken away.")
    return wording.plain(" ".join(said))


def _protection_fault(one: Holding, payload: dict[str, str | None] | None) -> str:
    if payload is None:
        return "Nothing is changed yet."
    long, trail = one.quantity > 0, payload.get("trail")
    if trail and (Decimal(trail) <= 0 or (one.last is not None and Decimal(trail) > one.last / 2)):
        return "The distance of a trailing stop must be above zero and at most half of the price."
    for name, below in (("stop", long), ("target", not long)):
        text = payload.get(name)
        if text and Decimal(text) <= 0:
            return f"The {name} must be above zero."
        if text and one.last is not None and (Decimal(text) < one.last) is not below:
            where = "below" if below else "above"
            return f"The {name} must lie {where} the last price of {wording.price(one.last, one.what)}."
    return ""


def _format(step: Decimal) -> str:
    return f"%.{max(0, -int(step.normalize().as_tuple().exponent))}f"


def _read(value: Any) -> Decimal:
    return Decimal(str(value or 0))
