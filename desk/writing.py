"""Everything the engine may write, inside one `Ledger.write` transaction.

Each method is one fact. What changes money or the right to trade also adds its line to the audit, in the same
transaction. Saying the same fact twice is harmless; saying another under the same name is a LedgerConflict.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from desk import control, rows, schema
from desk import statements as sql
from desk.audit import Chain
from desk.crash import crash_point
from desk.prepared import put
from desk.records import Adjustment, Attempt, Decision
from desk.rows import canonical
from domain.breaker import Breaker
from domain.commands import Answer, CommandState
from domain.errors import LedgerConflict, LedgerError
from domain.orders import OPEN, Fill, Order, Status, WrongMove
from domain.signals import Signal
from domain.trading_state import KillLevel, TradingState

ZERO = Decimal(0)
_MAY_FILL = frozenset(
    {Status.WORKING, Status.PARTIAL, Status.CANCELLING, Status.FILLED, Status.CANCELLED, Status.EXPIRED}
)


class Writing:
    """One open transaction at `now`. The actor of what it does by itself is `engine`."""

    def __init__(self, db: sa.Connection, epoch: int, now: datetime, chain: Chain) -> None:
        self.now, self.epoch = now, epoch
        self.crash_points: list[str] = []
        self._db, self._chain = db, chain
        self._failed = False

    # Orders

    def add_order(self, order: Order, decision: Decision | None = None, *, actor: str = "engine") -> None:
        """An order's intent, before anything is sent, with the gates' word on it. It is NEW, or DENIED at birth."""
        if order.status not in (Status.NEW, Status.DENIED) or order.version != 1 or order.filled:
            raise WrongMove(f"order {order.id}: must enter the ledger NEW or DENIED, unfilled: got {order.status}")
        self._put(sql.ADD_ORDER, rows.order_values(order))
        self._event(order, "")
        details = {**rows.request_values(order.request), "order": order.id, "status": order.status}
        self.audit("order", actor, {**details, "parent": order.parent, "reasons": order.reasons})
        if decision is not None:
            self.add_decision(decision, order_id=order.id)
        self.crash_points.append("after_intent")

    def move(
        self,
        order: Order,
        status: Status,
        *,
        reasons: tuple[str, ...] = (),
        broker_id: str = "",
        revive: bool = False,
        actor: str = "engine",
    ) -> Order:
        """The order in its next state. WrongMove where the table of moves has no such edge, LedgerConflict where the
        ledger's order is no longer the one given: read it again and decide anew."""
        after = order.become(status, self.now, reasons=reasons, broker_id=broker_id, revive=revive)
        changed = self._put(
            sql.MOVE_ORDER,
            {
                "of_id": order.id,
                "of_version": order.version,
                "of_status": order.status,
                "status": after.status,
                "updated": after.updated,
                "broker_id": after.broker_id,
                "reasons": canonical(after.reasons),
                "version": after.version,
            },
        )
        if not changed:
            raise self._stale(order)
        self._event(after, order.status)
        details = {"order": order.id, "before": order.status, "after": status, "version": after.version}
        self.audit("move", actor, {**details, "reasons": reasons, "broker_id": after.broker_id})
        return after

    def add_fill(self, fill: Fill) -> bool:
        """A fill, and with it the order's filled quantity and average price; False where it was known already.
        LedgerConflict for another fill under a known id, for one that does not fit its order, and for one too many.
        The order's state is `move`'s to change."""
        values = rows.fill_values(fill)
        known = self._run(sql.FILL_BY_ID, {"fill_id": fill.id}).one_or_none()
        if known is not None:
            return self._same_fill(fill, rows.fill_of(known))
        row = self._fillable(fill) if fill.order_id else None
        self._put(sql.ADD_FILL, {**values, "heard": self.now})
        crash_point("mid_fill_tx")
        if row is not None:
            self._count_fill(row, fill)
        self.audit("fill", "engine", values)
        self.crash_points.append("after_fill_commit")
        return True

    def told_fills(self, account: str, broker_id: str) -> list[Fill]:
        """What was counted of a broker's order that only tells sums."""
        first, behind = (f"{account}:{broker_id}{mark}" for mark in ":;")
        return [rows.fill_of(row) for row in self._run(sql.TOLD_FILLS, {"first": first, "behind": behind})]

    def order(self, order_id: str) -> Order | None:
        """The order as this transaction sees it."""
        row = self._run(sql.ORDER_BY_ID, {"of_id": order_id}).one_or_none()
        return rows.order_of(row) if row else None

    def order_at_broker(self, account: str, broker_id: str) -> Order | None:
        """The order the broker calls by this id."""
        row = self._run(sql.ORDER_AT_BROKER, {"of_account": account, "of_broker_id": broker_id}).one_or_none()
        return rows.order_of(row) if row else None

    def order_sent_as(self, client_order_id: str) -> Order | None:
        """The order that was sent under this name."""
        row = self._run(sql.ORDER_SENT_AS, {"client_id": client_order_id}).one_or_none()
        return rows.order_of(row) if row else None

    def orders(self, statuses: Collection[Status] = OPEN, *, account: str = "", symbol: str = "") -> list[Order]:
        """Orders in any of `statuses`, oldest first, of one account and symbol where named."""
        table = schema.orders.c
        conditions: list[sa.ColumnElement[bool]] = [table.status.in_(sorted(statuses))]
        conditions += [table.account == account] if account else []
        conditions += [table.symbol == symbol] if symbol else []
        return [rows.order_of(row) for row in self._run(rows.orders_where(*conditions), {})]

    # Sendings

    def add_attempt(self, attempt: Attempt) -> None:
        """A sending about to leave: in the same transaction as the move to SENDING."""
        values = {
            "order_id": attempt.order_id,
            "n": attempt.n,
            "client_order_id": attempt.client_order_id,
            "preview_id": attempt.preview_id,
            "watermark": canonical(attempt.watermark),
            "signed": attempt.signed,
        }
        self._put(sql.ADD_ATTEMPT, {**values, "epoch": self.epoch})
        self.audit("attempt", "engine", values)

    def add_outcome(
        self, client_order_id: str, said: str, *, broker_order_id: str = "", details: dict[str, Any] | None = None
    ) -> None:
        """What was heard of a sending. A broker's order number belongs to one sending of its account for ever; where
        it was heard before, saying it again is harmless and saying it of another sending is a LedgerConflict."""
        attempt = self._run(sql.ATTEMPT, {"client_id": client_order_id}).one_or_none()
        if attempt is None:
            raise LedgerError(f"sending {client_order_id}: was never written; write it before it is sent")
        told = self._told(attempt.account, broker_order_id) if broker_order_id else None
        if told not in (None, client_order_id):
            raise LedgerConflict(f"broker order {broker_order_id}: belongs to sending {told}, not {client_order_id}")
        values = {
            "client_order_id": client_order_id,
            "account": attempt.account,
            "said": said,
            "broker_order_id": broker_order_id if broker_order_id and not told else None,
            "details": canonical(details or {}),
        }
        self._put(sql.ADD_OUTCOME, {**values, "at": self.now})
        self.audit("outcome", "engine", {**values, "broker_order_id": broker_order_id})

    # Signals and decisions

    def add_signal(self, signal: Signal) -> bool:
        """A signal; False where the same wish is known already."""
        if self._run(sql.SIGNAL_BY_ID, {"signal_id": signal.id}).one_or_none():
            return False
        names = ("id", "symbol", "bar_time", "exposure", "confidence", "source", "reason")
        values = {name: getattr(signal, name) for name in names}
        self._put(sql.ADD_SIGNAL, {**values, "at": self.now})
        self.audit("signal", signal.source, values)
        return True

    def add_decision(self, decision: Decision, *, order_id: str = "") -> None:
        """Every gate's word on a wish, also on one that came to nothing."""
        self._put(
            sql.ADD_DECISION,
            {
                "order_id": order_id or decision.order_id or None,
                "command_key": decision.command_key,
                "approved": decision.approved,
                "request": canonical(decision.request),
                "verdicts": canonical(decision.verdicts),
                "inputs": canonical(decision.inputs),
                "at": decision.at or self.now,
            },
        )

    def answer_command(self, key: str, answer: Answer, *, actor: str = "engine") -> None:
        """The one answer to a command, in the transaction of what it did; a second one is a LedgerConflict."""
        if answer.state is CommandState.QUEUED:
            raise LedgerError(f"command {key}: an answer is done or refused, not queued")
        values = {"state": answer.state, "said": answer.said, "details": canonical(answer.details)}
        answered = self._put(sql.ANSWER, {**values, "of_key": key, "answered": answer.at or self.now})
        if not answered:
            raise self._broken(LedgerConflict(f"command {key}: has been answered already, or was never asked"))
        self.audit("answer", actor, {"command": key, "state": answer.state, "said": answer.said})

    # The right to trade

    def set_control(
        self, scope: str, state: TradingState, *, reason: str, actor: str, level: KillLevel | None = None
    ) -> None:
        """The trading state of `global`, of an account or of an instrument (`desk.control` spells them)."""
        values = {"scope": scope, "state": state, "level": level or 0, "reason": reason, "actor": actor}
        self._put(sql.ADD_CONTROL, {**values, "at": self.now})
        self.audit("control", actor, values)

    def control(self, account: str = "", symbol: str = "") -> control.Control:
        """What may be traded, as this transaction sees it; DISABLED where that cannot be read."""
        try:
            return control.strictest(control.every_scope(self._db), account, symbol)
        except (sa.exc.SQLAlchemyError, ValueError) as error:
            return control.halted(f"the trading state cannot be read: {type(error).__name__}")

    def set_limit(self, name: str, value: Any, *, actor: str) -> None:
        """A limit's new value (JSON, amounts as text); the old one stays in its history."""
        old = self.limits().get(name)
        values = {"name": name, "old": None if old is None else canonical(old), "new": canonical(value)}
        self._put(sql.ADD_LIMIT, {**values, "actor": actor, "at": self.now})
        self.audit("limit", actor, {"name": name, "old": old, "new": value})

    def limits(self) -> dict[str, Any]:
        """Every limit that was ever set, as it is now."""
        return {row.name: json.loads(row.new) for row in self._run(sql.LIMITS, {})}

    def set_protection(
        self,
        account: str,
        symbol: str,
        *,
        stop: Decimal | None,
        target: Decimal | None,
        trail: Decimal | None = None,
        actor: str = "engine",
    ) -> None:
        """What shall protect the position from now on; None for none."""
        values = {"account": account, "symbol": symbol, "stop": stop, "target": target, "actor": actor}
        told = values if trail is None else {**values, "trail": trail}
        self._put(sql.ADD_PROTECTION, {**values, "trail": trail, "at": self.now})
        self.audit("protection", actor, told)

    def begin_trail(self, account: str, symbol: str, level: Decimal | None = None) -> None:
        """A trailing stop begins to follow now; what an older one had come to is forgotten."""
        values = {"level": level, "since": self.now, "seen": self.now}
        if not self._put(sql.MOVE_LEVEL, {**values, "of_account": account, "of_symbol": symbol}):
            self._put(sql.ADD_LEVEL, {**values, "account": account, "symbol": symbol})

    def move_trail(self, account: str, symbol: str, level: Decimal) -> None:
        """It has come this near to the price."""
        values = {"level": level, "seen": self.now, "of_account": account, "of_symbol": symbol}
        if not self._put(sql.MOVE_LEVEL, values):
            self.begin_trail(account, symbol, level)

    def save_breaker(self, account: str, breaker: Breaker, *, actor: str = "engine") -> None:
        """The account's breaker as it is now."""
        values = {"account": account, "body": canonical(breaker.to_dict()), "actor": actor, "at": self.now}
        if not self._put(sql.SAVE_BREAKER, {**values, "of_account": account}):
            self._put(sql.ADD_BREAKER, values)
        self.audit("breaker", actor, {"account": account, **breaker.to_dict()})

    def breaker(self, account: str) -> Breaker | None:
        """The account's breaker; None where none was ever saved, a latched one where it cannot be read."""
        row = self._run(sql.BREAKER, {"of_account": account}).one_or_none()
        return rows.breaker_of(row) if row else None

    # Accounts and signs of life

    def add_account(self, name: str, kind: str, starting_cash: Decimal, *, actor: str = "engine") -> bool:
        """An account and its first cash; False where it is there already, LedgerConflict where it differs."""
        values = {"name": name, "kind": kind, "starting_cash": starting_cash}
        if known := self._run(sql.ACCOUNT, {"of_name": name}).one_or_none():
            if (known.kind, known.starting_cash) != (kind, starting_cash):
                raise LedgerConflict(f"account {name}: was opened as {known.kind} with {known.starting_cash}")
            return False
        self._put(sql.ADD_ACCOUNT, {**values, "created": self.now})
        self.audit("account", actor, values)
        return True

    def adjust(self, adjustment: Adjustment) -> bool:
        """Take over a figure of the broker's; False where this one was taken over before."""
        if self._run(sql.ADJUSTMENT_BY_ID, {"adjustment_id": adjustment.id}).one_or_none():
            return False
        names = ("id", "account", "symbol", "quantity", "cash", "reason", "actor")
        values = {name: getattr(adjustment, name) for name in names}
        values["after_fill"] = self._run(sql.NEWEST_FILL, {}).scalar_one()
        self._put(sql.ADD_ADJUSTMENT, {**values, "at": self.now})
        self.audit("adjustment", adjustment.actor, values)
        return True

    def set_arming(
        self, account: str, armed: bool, *, reason: str, actor: str, details: dict[str, Any] | None = None
    ) -> None:
        """Which account is picked, and whether it may trade, from now on."""
        values = {"account": account, "armed": armed, "reason": reason, "actor": actor}
        self._put(sql.ADD_ARMING, {**values, "details": canonical(details or {}), "at": self.now})
        self.audit("arming", actor, {**values, "details": details or {}})

    def snapshot_equity(self, account: str, cash: Decimal, equity: Decimal) -> bool:
        """A point of the equity curve at `now`; False where that moment has one."""
        key = {"of_account": account, "of_at": self.now}
        if self._run(sql.EQUITY_AT, key).one_or_none():
            return False
        self._put(sql.ADD_EQUITY, {"account": account, "at": self.now, "cash": cash, "equity": equity})
        return True

    def beat(self, holder: str, state: str, *, started: datetime, details: dict[str, Any] | None = None) -> None:
        """The engine lives and is doing `state`."""
        values = {"holder": holder, "epoch": self.epoch, "started": started, "beat": self.now, "state": state}
        values["details"] = canonical(details or {})
        if not self._put(sql.BEAT, values):
            self._put(sql.FIRST_BEAT, {**values, "name": "engine"})

    def append(self, statement: sa.Insert, values: dict[str, Any]) -> None:
        """A row of a table that a room of the desk keeps for itself; `statement` is one built once."""
        self._put(statement, values)

    def audit(self, event: str, actor: str, details: dict[str, Any]) -> None:
        """One line of the audit."""
        self._chain.add(self._db, event, actor, details, at=self.now, epoch=self.epoch)

    def finish(self) -> None:
        """The last thing before the commit; LedgerError where a write inside failed and was waved through."""
        if self._failed:
            raise LedgerError("a write inside this transaction failed; nothing of it is kept")

    # Helpers

    def _run(self, statement: sa.Executable, values: dict[str, Any]) -> sa.CursorResult[Any]:
        try:
            return self._db.execute(statement, values)
        except BaseException:
            self._failed = True
            raise

    def _put(self, statement: sa.Insert | sa.Update, values: dict[str, Any]) -> int:
        try:
            return put(self._db, statement, values)
        except BaseException:
            self._failed = True
            raise

    def _broken(self, error: LedgerError) -> LedgerError:
        self._failed = True
        return error

    def _event(self, order: Order, before: str) -> None:
        self._put(
            sql.ADD_EVENT,
            {
                "order_id": order.id,
                "version": order.version,
                "before": before,
                "after": order.status,
                "at": self.now,
                "reasons": canonical(order.reasons),
                "broker_id": order.broker_id,
                "epoch": self.epoch,
            },
        )

    def _stale(self, order: Order) -> LedgerError:
        now = self.order(order.id)
        if now is None:
            return LedgerConflict(f"order {order.id}: is not in this ledger; add it first")
        return LedgerConflict(
            f"order {order.id}: is {now.status} at version {now.version}, not {order.status} at {order.version}; "
            "read it again"
        )

    def _same_fill(self, fill: Fill, known: Fill) -> bool:
        # First heard of as somebody else's, it is counted already; whose it was cannot be written any more.
        if known not in (fill, replace(fill, order_id="")):
            raise LedgerConflict(f"fill {fill.id}: is known as {known.quantity} {known.symbol} at {known.price}")
        return False

    def _fillable(self, fill: Fill) -> sa.Row[Any]:
        row = self._run(sql.ORDER_BY_ID, {"of_id": fill.order_id}).one_or_none()
        if row is None:
            raise LedgerConflict(f"fill {fill.id}: its order {fill.order_id} is not in this ledger")
        order = rows.order_of(row)
        if order.status not in _MAY_FILL:
            raise WrongMove(f"fill {fill.id}: order {order.id} is {order.status}, it must be at the broker to fill")
        wanted = order.request
        if (fill.account, fill.symbol, fill.side) != (wanted.account, wanted.symbol, wanted.side):
            raise LedgerConflict(
                f"fill {fill.id}: {fill.side} {fill.symbol} for {fill.account} does not fit order {order.id} "
                f"({wanted.side} {wanted.symbol} for {wanted.account})"
            )
        if fill.quantity > order.remaining:
            raise LedgerConflict(
                f"fill {fill.id}: {fill.quantity} is more than order {order.id} has left ({order.remaining})"
            )
        return row

    def _count_fill(self, row: sa.Row[Any], fill: Fill) -> None:
        self._put(
            sql.COUNT_FILL,
            {
                "of_id": row.id,
                "filled": row.filled + fill.quantity,
                "filled_value": row.filled_value + fill.quantity * fill.price,
                "updated": self.now,
                "version": row.version + 1,
            },
        )

    def _told(self, account: str, broker_order_id: str) -> str | None:
        values = {"of_account": account, "broker_id": broker_order_id}
        told: str | None = self._run(sql.TOLD, values).scalar_one_or_none()
        return told
