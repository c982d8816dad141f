"""Cancel and change what rests. A change is a cancel, its confirmation, and a new order: never two at the broker."""

from __future__ import annotations

from typing import Any

from desk import ticket
from desk.claims import Claims, Wait
from desk.closing import order_id_of
from desk.hearing import hear
from desk.lookups import must_act, named, order_of
from desk.records import Waiting
from desk.sending import cancel
from desk.submit import done, refused, review, submit
from desk.ticket import TicketFault, amount
from desk.tools import Tools
from domain.commands import Answer, Command
from domain.orders import AT_BROKER, Order, OrderRequest, Purpose, Status
from risk_manager import Denied


class Changing:
    """What becomes of orders that rest."""

    def __init__(self, tools: Tools, claims: Claims) -> None:
        self._tools, self._claims = tools, claims

    async def cancel(self, waiting: Waiting) -> Answer:
        order = order_of(self._tools, waiting.command)
        if order.request.purpose in (Purpose.STOP, Purpose.TARGET):
            return refused(
                f"It protects {order.request.symbol}: take the stop or target away with “Edit stop and target”."
            )
        if order.status not in AT_BROKER:
            return refused(f"The order is {order.status}: there is nothing left to cancel.")
        must_act(self._tools)
        await cancel(self._tools, order, reason=f"cancelled by {waiting.command.actor}", actor=waiting.command.actor)
        await hear(self._tools)
        now = self._tools.reader.order(order.id) or order
        return done(f"{named(order)}: {_became(now)}", order=order.id)

    async def cancel_all(self, waiting: Waiting) -> Answer:
        payload, actor = waiting.command.payload, waiting.command.actor
        must_act(self._tools)
        chosen = [
            order
            for order in self._tools.reader.open_orders(payload.get("account") or "", payload.get("symbol") or "")
            if order.status in AT_BROKER and order.request.purpose in (Purpose.ENTRY, Purpose.EXIT)
        ]
        for order in chosen:
            await cancel(self._tools, order, reason=f"all cancelled by {actor}", actor=actor)
        await hear(self._tools)
        return done(
            f"{len(chosen)} orders cancelled; protective stops and targets stay.", orders=[o.id for o in chosen]
        )

    async def change(self, waiting: Waiting) -> Answer | None:
        """Cancel, confirm, place anew: never two at the broker."""
        command, order = waiting.command, order_of(self._tools, waiting.command)
        if order.request.purpose in (Purpose.STOP, Purpose.TARGET):
            return refused(f"It protects {order.request.symbol}: change it with “Edit stop and target”.")
        if order.status is Status.FILLED:
            return refused(f"{named(order)} had filled before it could be changed.")
        if order.status is Status.CANCELLED and self._claims.has(command.key):
            changed = _changed(order, command.payload)
            if changed is None:
                return done(f"{named(order)} filled as far as it should; nothing is left to place.", order=order.id)
            await submit(
                self._tools,
                changed,
                actor=command.actor,
                order_id=order_id_of(command.key),
                command_key=command.key,
                parent=order.parent or order.id,
            )
            return None
        self._claims.not_too_long(
            command.key, self._tools.now(), f"{named(order)} could not be cancelled in time; it was not changed"
        )
        if order.status is Status.CANCELLING:
            raise Wait
        if order.status not in AT_BROKER:
            return refused(f"{named(order)} is {order.status}: there is nothing left to change.")
        return await self._begin_change(command, order)

    async def _begin_change(self, command: Command, order: Order) -> Answer | None:
        changed = _changed(order, command.payload)
        if changed is None:
            return refused(f"{named(order)} has {order.filled} filled already: make it more than that, or cancel it.")
        if changed == order.request:
            return refused(f"{named(order)} is like that already.")
        root = order.parent or order.id
        answer = await review(self._tools, changed, actor=command.actor, linked=frozenset({order.id}), root=root)
        if isinstance(answer, Denied):
            return refused(" ".join(answer.reasons), reasons=list(answer.reasons))
        self._claims.take(command.key, (order.request.account, order.request.symbol))
        await cancel(self._tools, order, reason=f"changed by {command.actor}", actor=command.actor)
        await hear(self._tools)
        raise Wait


def _changed(order: Order, payload: dict[str, Any]) -> OrderRequest | None:
    """The order as it shall be, for what is left of it; None where nothing is."""
    if unknown := set(payload) - {"order", "quantity", "limit", "stop", "trail"}:
        raise TicketFault(f"an order's {sorted(unknown)[0]} cannot be changed: cancel it and place another")
    values = ticket.to_json(order.request)
    for name in ("limit", "stop", "trail"):
        if (price := amount(payload, name)) is not None:
            values[name] = str(price)
    left = (amount(payload, "quantity") or order.request.quantity) - order.filled
    if left <= 0:
        return None
    return ticket.from_json({**values, "quantity": format(left, "f")})


def _became(order: Order) -> str:
    if order.status is Status.CANCELLED:
        return f"cancelled, {order.filled.normalize():f} had filled." if order.filled else "cancelled."
    return (
        "it filled first."
        if order.status is Status.FILLED
        else f"{order.status.lower()}, waiting for the broker's word."
    )
