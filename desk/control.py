"""Whether this desk may trade: the state of every scope, the strictest wins, and what cannot be read is DISABLED."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from desk import schema
from domain.trading_state import KillLevel, TradingState, combine

GLOBAL = "global"


@dataclass(frozen=True, slots=True)
class Control:
    """The trading state of a scope, why, by whom and since when; `level` is the kill switch's, None where it is off."""

    state: TradingState
    scope: str = GLOBAL
    level: KillLevel | None = None
    reason: str = ""
    actor: str = ""
    at: datetime | None = None


def account_scope(account: str) -> str:
    """The name of an account's own switch."""
    return f"account:{account}"


def instrument_scope(symbol: str) -> str:
    """The name of an instrument's own switch."""
    return f"instrument:{symbol}"


def halted(reason: str) -> Control:
    """The answer where there is none."""
    return Control(TradingState.DISABLED, level=KillLevel.HALT, reason=reason)


_newest = sa.select(sa.func.max(schema.control.c.seq)).group_by(schema.control.c.scope)
_all = sa.select(schema.control).where(schema.control.c.seq.in_(_newest)).order_by(schema.control.c.scope)


def every_scope(db: sa.Connection) -> list[Control]:
    """The newest state of each scope that was ever set."""
    return [_control(row) for row in db.execute(_all)]


def strictest(every: Iterable[Control], account: str = "", symbol: str = "") -> Control:
    """Of every scope's switch the strictest of the global one, the account's and the instrument's; no global switch is
    DISABLED."""
    by_scope = {control.scope: control for control in every}
    if GLOBAL not in by_scope:
        return halted("no trading state is written in this ledger")
    scopes = [GLOBAL]
    scopes += [account_scope(account)] if account else []
    scopes += [instrument_scope(symbol)] if symbol else []
    found = [by_scope[scope] for scope in scopes if scope in by_scope]
    wins = combine(*(control.state for control in found))
    return next(control for control in found if control.state is wins)


def _control(row: sa.Row[tuple[object, ...]]) -> Control:
    level = KillLevel.read(row.level) if row.level else None
    return Control(TradingState.read(row.state), row.scope, level, row.reason, row.actor, row.at)
