"""What a ledger's audit tells, as sentences for people. Lines that nobody waits for are left out.

A line's number within its ledger names the happening, so that reading it again tells nobody twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from desk.records import AuditRow
from domain.instruments import instrument
from domain.notices import ABOUT, Kind, Severity
from domain.orders import Status
from domain.trading_state import TradingState


@dataclass(frozen=True, slots=True)
class Happening:
    """Something worth telling, before it is known whom. `id` names it for ever."""

    id: str
    kind: Kind
    severity: Severity
    title: str
    text: str
    at: datetime
    symbol: str = ""
    about: str = ""
    window_s: int | None = None


@dataclass(frozen=True, slots=True)
class Before:
    """What the ledger said before a line: a position's stop and target, what an order is, a scope's trading state."""

    protection: Callable[[str, str, datetime], tuple[Decimal | None, Decimal | None]]
    order: Callable[[str], tuple[str, str]]  # symbol, and the order in words
    control: Callable[[str, datetime], str]


def of(row: AuditRow, desk: str, where: str, big_trade: Decimal, before: Before) -> Happening | None:
    """What a line tells. `desk` is the ledger's own name, `where` how pages call the desk."""
    tell = _TELLERS.get(row.event)
    told = tell(row.details, row, big_trade, before) if tell is not None else None
    if told is None:
        return None
    kind, severity, title, text, symbol = told
    lines = [line for line in (text, f"{where} · {row.at:%Y-%m-%d %H:%M:%S} UTC") if line]
    return Happening(
        f"{desk}:{row.seq}", kind, severity or ABOUT[kind].severity, title, "\n".join(lines), row.at, symbol
    )


_Told = tuple[Kind, Severity | None, str, str, str] | None
_Teller = Callable[[Mapping[str, Any], AuditRow, Decimal, Before], _Told]


def _fill(of: Mapping[str, Any], row: AuditRow, big_trade: Decimal, before: Before) -> _Told:
    quantity, price, fee = (Decimal(str(of[name])) for name in ("quantity", "price", "fee"))
    worth = quantity * price
    kind = Kind.BIG_TRADE if worth >= big_trade else Kind.FILL
    title = f"{'Bought' if of['side'] == 'buy' else 'Sold'} {plain(quantity)} {of['symbol']} at {plain(price)}"
    whose = "" if of.get("order_id") else " by an order from outside this desk"
    text = f"Account {short(of['account'])}: {money(worth)}, fee {money(fee)}{whose}."
    return kind, None, title, text, of["symbol"]


def _protection(of: Mapping[str, Any], row: AuditRow, big_trade: Decimal, before: Before) -> _Told:
    stop, target = _amount(of["stop"]), _amount(of["target"])
    was, _ = before.protection(of["account"], of["symbol"], row.at)
    # One that comes with an entry or goes with the position is told by its fill.
    if was is None or stop is None or was == stop:
        return None
    price = instrument(of["symbol"]).round_price
    said = f"Account {short(of['account'])}, by {row.actor}" + (f"; the target is {plain(target)}." if target else ".")
    title = f"Stop of {of['symbol']} moved from {plain(price(was))} to {plain(price(stop))}"
    return Kind.STOP_MOVED, None, title, said, of["symbol"]


def _breaker(of: Mapping[str, Any], row: AuditRow, big_trade: Decimal, before: Before) -> _Told:
    if of.get("latched"):
        title = f"Circuit breaker of {short(of['account'])} tripped: nothing new is bought"
        return Kind.BREAKER, None, title, str(of.get("reason", "")), ""
    if str(of.get("reason", "")).startswith("reset by"):
        return (
            Kind.BREAKER,
            Severity.NOTICE,
            f"Circuit breaker of {short(of['account'])} was reset",
            str(of["reason"]),
            "",
        )
    return None


def _control(of: Mapping[str, Any], row: AuditRow, big_trade: Decimal, before: Before) -> _Told:
    kind, _, name = str(of["scope"]).partition(":")
    scope, was = "" if kind == "global" else f" for {kind} {short(name)}", before.control(of["scope"], row.at)
    said = f"{of['reason']} (by {row.actor})"
    if not was:
        return None  # how a desk begins
    if TradingState.read(of["state"]) is TradingState.ENABLED:
        if was == TradingState.ENABLED.value:
            return None
        return Kind.BREAKER, Severity.NOTICE, f"Trading is on again{scope}", said, ""
    return Kind.BREAKER, None, f"Trading is now {of['state']}{scope}", said, ""


_TROUBLE = {
    Status.REFUSED: "was refused by the broker",
    Status.AMBIGUOUS: "got no clear answer: the desk is finding out",
    Status.FROZEN: "is frozen: a person must look",
}


def _move(of: Mapping[str, Any], row: AuditRow, big_trade: Decimal, before: Before) -> _Told:
    trouble = next((said for status, said in _TROUBLE.items() if of["after"] == status), "")
    if not trouble:
        return None
    symbol, words = before.order(of["order"])
    severity = Severity.URGENT if of["after"] == Status.FROZEN else None
    reasons = " ".join(map(str, of.get("reasons") or ()))
    return Kind.ERROR, severity, f"{words} {trouble}", f"{reasons} (order {of['order']})".strip(), symbol


def _adoption(of: Mapping[str, Any], row: AuditRow, big_trade: Decimal, before: Before) -> _Told:
    state = str(of["state"])
    severity = Severity.INFO if row.actor != "engine" else None
    said = f"{of.get('reason', '')} (by {row.actor})".strip()
    return Kind.STRATEGY, severity, f"Strategy {of['strategy']} of {short(of['account'])} is {state}", said, ""


def _arming(of: Mapping[str, Any], row: AuditRow, big_trade: Decimal, before: Before) -> _Told:
    word = "is armed: it may trade real money" if of["armed"] else "is disarmed"
    title = f"Account {short(of['account'])} {word}"
    return Kind.BREAKER, Severity.WARNING, title, f"{of['reason']} (by {row.actor})", ""


_TELLERS: dict[str, _Teller] = {
    "fill": _fill,
    "protection": _protection,
    "breaker": _breaker,
    "control": _control,
    "move": _move,
    "adoption": _adoption,
    "arming": _arming,
}
EVENTS = tuple(_TELLERS)


def mark(text: str) -> str:
    """A short name for a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def plain(amount: Decimal) -> str:
    """A number without needless zeros."""
    return f"{amount.normalize():,f}"


def money(amount: Decimal) -> str:
    return f"{amount:,.2f}"


def short(account: str) -> str:
    """A broker's number or key by its last four; a name of ours as it is."""
    secret = len(account) >= 8 and any(letter.isdigit() for letter in account)
    return f"…{account[-4:]}" if secret else account


def _amount(text: Any) -> Decimal | None:
    return None if text is None else Decimal(str(text))
