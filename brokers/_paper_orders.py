"""An order at the paper broker and what prices make of it: alone, or beside one that it cancels and that cancels it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from brokers._paper_account import Claim
from brokers.base import BrokerOrder
from domain.matching import FillRules, PriceStep, Step, step, step_exits
from domain.orders import AT_BROKER, OrderRequest, OrderType, Status
from domain.working import Working

ZERO = Decimal(0)
STOPS = (OrderType.STOP, OrderType.STOP_LIMIT, OrderType.TRAILING_STOP)


@dataclass(frozen=True, slots=True)
class Kept:
    """An order as the file keeps it. `worst_price` is what a share of it was taken to cost at most when it came."""

    working: Working
    client_order_id: str
    group: str
    status: Status
    updated: datetime
    worst_price: Decimal
    said: str = ""

    @property
    def request(self) -> OrderRequest:
        return self.working.request

    @property
    def open(self) -> bool:
        return self.status in AT_BROKER

    @property
    def is_stop(self) -> bool:
        return self.request.type in STOPS

    @property
    def claim(self) -> Claim:
        """What it would still trade."""
        asked = self.request
        return Claim(asked.symbol, asked.side, self.working.remaining, self.worst_price, self.group)

    def ended(self, status: Status, now: datetime, said: str) -> Kept:
        return replace(self, working=replace(self.working, remaining=ZERO), status=status, updated=now, said=said)

    def after(self, done: Step, now: datetime) -> Kept:
        """The order after a step. One whose last shares went to the order beside it counts as cancelled, not as filled:
        FILLED means every share that was asked for."""
        filled = self.working.filled + sum((fill.quantity for fill in done.fills), ZERO)
        value = self.working.value + sum((fill.quantity * fill.price for fill in done.fills), ZERO)
        if done.working is not None:
            changed = bool(done.fills) or done.status is not self.status
            return replace(self, working=done.working, status=done.status, updated=now if changed else self.updated)
        short = done.status is Status.FILLED and filled < self.request.quantity
        status = Status.CANCELLED if short else done.status
        ended = replace(self, working=replace(self.working, filled=filled, value=value))
        return ended.ended(status, now, self._why(status))

    def _why(self, status: Status) -> str:
        if status is Status.EXPIRED:
            return "its time was over"
        if status is Status.CANCELLED:
            return "the order beside it filled" if self.group else "immediate or cancel: no more was to be had"
        return ""

    def listed(self) -> BrokerOrder:
        """The order as the port tells it."""
        asked, working = self.request, self.working
        return BrokerOrder(
            broker_id=working.order_id,
            account=asked.account,
            symbol=asked.symbol,
            side=asked.side,
            quantity=asked.quantity,
            type=asked.type,
            status=self.status,
            placed=working.placed,
            updated=self.updated,
            limit=asked.limit,
            stop=asked.stop,
            trail=asked.trail,
            filled=working.filled,
            client_order_id=self.client_order_id,
            said=self.said,
        )


Unit = tuple[Kept, ...]


def units(orders: Iterable[Kept]) -> list[Unit]:
    """Orders that fill on their own, and pairs of which one cancels the other (the stop first), as they were placed."""
    found: dict[tuple[str, str], Unit] = {}
    for kept in orders:
        key = ("group", kept.group) if kept.group else ("order", kept.working.order_id)
        found[key] = tuple(sorted((*found.get(key, ()), kept), key=lambda each: not each.is_stop))
    return list(found.values())


def stepped(unit: Unit, prices: PriceStep, rules: FillRules, taken: Decimal) -> Sequence[Step]:
    """What these prices do to each order of the unit; `taken` is what others have of their volume."""
    if len(unit) == 1:
        return (step(unit[0].working, prices, rules, taken=taken),)
    stop, target = unit
    return step_exits(stop.working, target.working, prices, rules, taken=taken)


def group_faults(request: OrderRequest, group: str, beside: Sequence[Kept]) -> list[str]:
    """Why an order cannot join a group of these, done ones too. A group is one stop and one target for the same shares,
    and never trades more than its largest order: a leg that comes after the other has filled finds less left."""
    if not beside:
        return []
    of = (request.account, request.symbol, request.side)
    if any((k.request.account, k.request.symbol, k.request.side) != of for k in beside):
        return [f"group {group} is for other shares: give this order a group of its own"]
    if any(k.open and k.is_stop == (request.type in STOPS) for k in beside):
        return [f"group {group} has such an order already: cancel that one first"]
    left = max(k.request.quantity for k in beside) - sum((k.working.filled for k in beside), ZERO)
    return [f"{left} are left of group {group}: order at most that"] if request.quantity > left else []
