"""A ticket as a person fills it in, worked out into an order request: quantity from dollars or risk, exits from ATR.

Whatever is missing, unreadable or too much is a TicketFault that names the field and says what to write instead.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, TypeVar

from desk.rows import REQUEST_COLUMNS
from domain.errors import DeskError
from domain.instruments import Instrument, instrument
from domain.orders import NEEDS, OrderRequest, OrderType, Purpose, Session, Side, TimeInForce
from domain.quotes import Quote
from risk_manager import RiskManager

E = TypeVar("E", bound=StrEnum)
_AMOUNT = re.compile(r"[0-9]{1,15}(\.[0-9]{1,12})?")
_SIZES = ("quantity", "dollars", "risk_pct")
_FIELDS = frozenset(
    {
        *("account", "symbol", "side", "type", "limit", "stop", "trail", "time_in_force", "session"),
        *(*_SIZES, "stop_loss", "stop_atr", "target", "target_atr", "reason"),
    }
)
ZERO = Decimal(0)


class TicketFault(DeskError, ValueError):
    """A ticket that cannot be understood."""


@dataclass(frozen=True, slots=True)
class Worked:
    """A ticket worked out: the request, and in words why that quantity."""

    request: OrderRequest
    sizing: str


@dataclass(frozen=True, slots=True)
class Market:
    """What a ticket is worked out against: the newest quote, the daily ATR and the account's equity, None where
    unknown."""

    quote: Quote | None
    atr: Decimal | None
    equity: Decimal | None


def amount(payload: Mapping[str, Any], name: str) -> Decimal | None:
    """An amount of a payload, written as plain decimal text; None where it is left out."""
    text = payload.get(name)
    if text is None or text == "":
        return None
    if not isinstance(text, str) or not _AMOUNT.fullmatch(text):
        raise TicketFault(f"{name} must be a plain number such as 95.10: got {text!r}")
    if (value := Decimal(text)) <= 0:
        raise TicketFault(f"{name} must be above zero: got {text}")
    return value


def text(payload: Mapping[str, Any], name: str) -> str:
    """A text that must be there."""
    value = payload.get(name)
    if not isinstance(value, str) or not value.strip() or len(value) > 500:
        raise TicketFault(f"{name} must be given: got {value!r}")
    return value.strip()


def choice(payload: Mapping[str, Any], name: str, kind: type[E], default: E | None = None) -> E:
    """One of a closed set."""
    value = payload.get(name, default)
    try:
        return kind(value)
    except ValueError:
        raise TicketFault(f"{name} must be one of {', '.join(kind)}: got {value!r}") from None


def worked_out(payload: Mapping[str, Any], market: Market, risk: RiskManager) -> Worked:
    """The request behind a ticket, its prices on the tick and its quantity in whole lots."""
    if unknown := sorted(set(payload) - _FIELDS):
        raise TicketFault(f"a ticket has no field {unknown[0]!r}: it has {', '.join(sorted(_FIELDS))}")
    what, side, kind = (
        instrument(text(payload, "symbol")),
        choice(payload, "side", Side),
        choice(payload, "type", OrderType),
    )
    prices = {name: amount(payload, name) for name in ("limit", "stop", "trail")}
    if missing := [name for name in sorted(NEEDS[kind]) if prices[name] is None]:
        raise TicketFault(f"a {kind} order needs a {missing[0]}: fill it in")
    needed = {name: price if name in NEEDS[kind] else None for name, price in prices.items()}
    entry = needed["limit"] or needed["stop"] or _market_price(market.quote, side, what)
    stop_loss, target = _exits(payload, what, side, entry, market.atr, risk)
    quantity, sizing = _size(payload, what, entry, stop_loss, market.equity, risk)
    try:
        request = OrderRequest(
            account=text(payload, "account"),
            symbol=what.symbol,
            side=side,
            quantity=quantity,
            type=kind,
            time_in_force=choice(payload, "time_in_force", TimeInForce, TimeInForce.DAY),
            session=choice(payload, "session", Session, Session.REGULAR),
            stop_loss=stop_loss,
            target=target,
            reason=str(payload.get("reason") or "by hand")[:200],
            limit=needed["limit"],
            stop=needed["stop"],
            trail=needed["trail"],
        )
    except ValueError as error:
        raise TicketFault(str(error)) from None
    return Worked(request, sizing)


def _market_price(quote: Quote | None, side: Side, what: Instrument) -> Decimal:
    if quote is None:
        raise TicketFault(f"{what.symbol} has no price yet: wait for a quote, or name a limit")
    book = quote.ask if side is Side.BUY else quote.bid
    return book or quote.last


def _exits(
    payload: Mapping[str, Any], what: Instrument, side: Side, entry: Decimal, atr: Decimal | None, risk: RiskManager
) -> tuple[Decimal | None, Decimal | None]:
    return (
        _exit("stop_loss", "stop_atr", risk.stop_order, payload, what, side, entry, atr),
        _exit("target", "target_atr", risk.target_order, payload, what, side, entry, atr),
    )


def _exit(
    name: str,
    by_atr: str,
    work_out: Any,
    payload: Mapping[str, Any],
    what: Instrument,
    side: Side,
    entry: Decimal,
    atr: Decimal | None,
) -> Decimal | None:
    price, multiple = amount(payload, name), amount(payload, by_atr)
    if price is not None and multiple is not None:
        raise TicketFault(f"{name} and {by_atr} are two ways to say one thing: give one of them")
    if multiple is None:
        return price
    if atr is None:
        raise TicketFault(f"{what.symbol} has too few daily candles for an ATR: give {name} as a price")
    try:
        found: Decimal = work_out(side, entry, atr, multiple, tick=what.tick).price
    except ValueError as error:
        raise TicketFault(str(error)) from None
    return found


def _size(
    payload: Mapping[str, Any],
    what: Instrument,
    entry: Decimal,
    stop_loss: Decimal | None,
    equity: Decimal | None,
    risk: RiskManager,
) -> tuple[Decimal, str]:
    given = [name for name in _SIZES if amount(payload, name) is not None]
    if len(given) != 1:
        raise TicketFault(f"give the size once, as quantity, dollars or risk_pct: got {', '.join(given) or 'none'}")
    wished = amount(payload, given[0])
    assert wished is not None
    if given[0] == "quantity":
        return wished, "as asked"
    if given[0] == "dollars":
        quantity = what.round_quantity(wished / entry)
        sizing = f"{wished} / {entry} a share, in lots of {what.lot}"
    else:
        quantity, sizing = _by_risk(wished, entry, stop_loss, equity, what, risk)
    if quantity <= 0:
        raise TicketFault(f"not one lot of {what.lot} {what.symbol} at {entry} fits into that: {sizing}")
    return quantity, sizing


def _by_risk(
    percent: Decimal,
    entry: Decimal,
    stop_loss: Decimal | None,
    equity: Decimal | None,
    what: Instrument,
    risk: RiskManager,
) -> tuple[Decimal, str]:
    if stop_loss is None:
        raise TicketFault("a size by risk needs a stop: the risk is what is lost there")
    if equity is None:
        raise TicketFault("the account's equity is not known: a price of what it holds is missing")
    try:
        found = risk.fixed_fractional(equity, percent / 100, entry=entry, stop=stop_loss, lot=what.lot)
    except ValueError as error:
        raise TicketFault(str(error)) from None
    return found.quantity, f"{percent} % of {equity:.2f} over {abs(entry - stop_loss)} a share: {found.why}"


def to_json(request: OrderRequest) -> dict[str, Any]:
    """The request as JSON values, amounts as text."""
    values = {name: getattr(request, name) for name in REQUEST_COLUMNS}
    return {
        name: format(v, "f") if isinstance(v, Decimal) else v if v is None else str(v) for name, v in values.items()
    }


def from_json(values: object) -> OrderRequest:
    """What `to_json` made; TicketFault for anything else."""
    if not isinstance(values, Mapping) or set(values) - set(REQUEST_COLUMNS):
        raise TicketFault(f"request must be the one of the preview: got {values!r}"[:300])
    try:
        return OrderRequest(
            account=text(values, "account"),
            symbol=instrument(text(values, "symbol")).symbol,
            side=choice(values, "side", Side),
            quantity=amount(values, "quantity") or ZERO,
            type=choice(values, "type", OrderType),
            limit=amount(values, "limit"),
            stop=amount(values, "stop"),
            trail=amount(values, "trail"),
            time_in_force=choice(values, "time_in_force", TimeInForce, TimeInForce.DAY),
            session=choice(values, "session", Session, Session.REGULAR),
            purpose=choice(values, "purpose", Purpose, Purpose.ENTRY),
            stop_loss=amount(values, "stop_loss"),
            target=amount(values, "target"),
            stop_trail=amount(values, "stop_trail"),
            signal_id=str(values.get("signal_id") or ""),
            reason=str(values.get("reason") or "")[:200],
        )
    except ValueError as error:
        raise TicketFault(str(error)) from None
