"""Whether this desk may trade: the state of every scope, the strictest wins, and what cannot be read is DISABLED."""

from __future__ import annotations

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


_newest = (
    sa.select(schema.control)
    .where(schema.control.c.scope == sa.bindparam("scope"))
    .order_by(schema.control.c.seq.desc())
    .limit(1)
)
_scopes = sa.select(sa.func.max(schema.control.c.seq)).group_by(schema.control.c.scope)
_all = sa.select(schema.control).where(schema.control.c.seq.in_(_scopes)).order_by(schema.control.c.scope)


def strictest(db: sa.Connection, account: str = "", symbol: str = "") -> Control:
    """The strictest of the global switch, the account's and the instrument's; no global switch is DISABLED."""
    scopes = [GLOBAL]
    scopes += [account_scope(account)] if account else []
    scopes += [instrument_scope(symbol)] if symbol else []
    rows = [row for scope in scopes if (row := db.execute(_newest, {"scope": scope}).one_or_none())]
    if not rows or rows[0].scope != GLOBAL:
        return halted("no trading state is written in this ledger")
    found = [_control(row) for row in rows]
    wins = combine(*(control.state for control in found))
    return next(control for control in found if control.state is wins)


def every_scope(db: sa.Connection) -> list[Control]:
    """The newest state of each scope that was ever set."""
    return [_control(row) for row in db.execute(_all)]


def _control(row: sa.Row[tuple[object, ...]]) -> Control:
    level = KillLevel.read(row.level) if row.level else None
    return Control(TradingState.read(row.state), row.scope, level, row.reason, row.actor, row.at)
