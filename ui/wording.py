"""How amounts, moments and orders are written for a person: one spelling on every page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from domain.instruments import Instrument
from domain.orders import OrderRequest, OrderType, Status

CENT = Decimal("0.01")
NOTHING = "–"
STATES: dict[Status, str] = {
    Status.NEW: "new",
    Status.DENIED: "denied by the gates",
    Status.LAPSED: "lapsed before it was sent",
    Status.SENDING: "being sent",
    Status.AMBIGUOUS: "unclear, asking the broker",
    Status.WORKING: "working",
    Status.PARTIAL: "partly filled",
    Status.CANCELLING: "being cancelled",
    Status.REFUSED: "refused by the broker",
    Status.FILLED: "filled",
    Status.CANCELLED: "cancelled",
    Status.EXPIRED: "expired",
    Status.NOT_PLACED: "never reached the broker",
    Status.FROZEN: "frozen, a person must look",
}
_MARKS = re.compile(r"([\\`*_\[\]$~<>#|:])")


def plain(text: object) -> str:
    """A text as it is: nothing in it is read as Markdown, maths or an icon."""
    return _MARKS.sub(r"\\\1", str(text))


def sentence(text: str, end: str = ".") -> str:
    """Said as a sentence: a capital at its beginning, one stop at its end; '' stays ''."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}{end}" if text else ""


def number(text: object) -> Decimal | None:
    """An amount as the ledger writes it; None where it is none."""
    try:
        read = Decimal(str(text))
    except InvalidOperation:
        return None
    return read if read.is_finite() else None


def amount(value: object, step: Decimal = CENT) -> str:
    """`9405.4` as `9,405.40`; a dash where there is nothing."""
    read = number(value)
    return NOTHING if read is None else f"{read.quantize(step):,f}".replace("-", "−")


def quantity(value: object) -> str:
    """A quantity without idle zeros: `41`, `0.25`."""
    read = number(value)
    if read is None:
        return NOTHING
    text = f"{read:,f}".replace("-", "−")
    return text.rstrip("0").rstrip(".") if "." in text else text


def price(value: object, what: Instrument) -> str:
    """A price with the decimals of its tick."""
    return amount(value, what.tick)


def signed(value: Decimal | None, mark: str = "") -> str:
    """A profit with arrow and sign, so that colour is never all that tells it: `▲ +12.30`, `▼ −4.00`."""
    if value is None:
        return NOTHING
    rounded = value.quantize(CENT)
    arrow = "▲ +" if rounded > 0 else "▼ −" if rounded < 0 else "◆ "
    return f"{arrow}{abs(rounded):,f}{mark}"


def hour(moment: datetime, zone: str) -> str:
    """A moment of today or another day, in the chosen zone."""
    return f"{moment.astimezone(ZoneInfo(zone)):%a %d %b %H:%M:%S}"


def local(moment: datetime, zone: str) -> datetime:
    """A moment as the clock on the wall of that zone shows it, for an axis."""
    return moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def zone_name(zone: str) -> str:
    return "New York" if zone == "America/New_York" else zone


def order_words(asked: OrderRequest | Mapping[str, Any], level: Decimal | None = None) -> str:
    """`buy 41 AAPL at market`, `sell 10 AAPL, limit 229.40`, of a request or of its JSON. `level` is where a trailing
    stop has come to."""
    get = asked.get if isinstance(asked, Mapping) else lambda name: getattr(asked, name)
    side, kind = str(get("side") or "?"), str(get("type") or "")
    now = f", now at {quantity_price(level)}" if level is not None and get("trail") is not None else ""
    return f"{side} {quantity(get('quantity'))} {get('symbol') or '?'}{_how(kind, get)}{now}"


def trailing(trail: Decimal, level: Decimal | None = None) -> str:
    """`trailing by 1.20, now at 101.35`; without the level where none is known yet."""
    return f"trailing by {quantity_price(trail)}" + (f", now at {quantity_price(level)}" if level is not None else "")


def _how(kind: str, get: Any) -> str:
    if kind == OrderType.MARKET:
        return " at market"
    prices = {"limit": "limit", "stop": "stop", "trail": "trailing by"}
    said = [f"{word} {quantity_price(get(name))}" for name, word in prices.items() if get(name) is not None]
    return ", " + ", ".join(said) if said else f", {kind}"


def quantity_price(value: object) -> str:
    """A price of an order as it was written, with two decimals at least."""
    read = number(value)
    if read is None:
        return NOTHING
    exponent = read.as_tuple().exponent
    return f"{read:,f}" if isinstance(exponent, int) and exponent <= -2 else f"{read.quantize(CENT):,f}"
