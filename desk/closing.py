"""Close positions and say what protects them. The shares of a closing order are freed of their stops first."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Any

from desk import ticket
from desk.claims import Claims, Wait
from desk.lookups import freed, held_of
from desk.records import Waiting
from desk.submit import decision, done, refused, review, submit
from desk.supervisor import look_at
from desk.ticket import TicketFault, amount, text
from desk.tools import Key, Tools
from domain.commands import Answer
from domain.instruments import instrument
from domain.orders import OrderRequest, OrderType, Purpose, Side, TimeInForce
from risk_manager import Denied

ZERO = Decimal(0)


class Closing:
    """What becomes of positions."""

    def __init__(self, tools: Tools, claims: Claims) -> None:
        self._tools, self._claims = tools, claims

    async def close(self, waiting: Waiting) -> Answer | None:
        payload = waiting.command.payload
        key = (text(payload, "account"), instrument(text(payload, "symbol")).symbol)
        held = held_of(self._tools, key)
        if held == 0:
            return refused(f"There is no position in {key[1]} to close.")
        kind = ticket.choice(payload, "type", OrderType, OrderType.MARKET)
        if kind not in (OrderType.MARKET, OrderType.LIMIT):
            return refused(f"A position is closed at market or at a limit: got {kind}.")
        quantity = (
            self._claims.of(waiting.command.key)
            if self._claims.has(waiting.command.key)
            else _part(payload, key[1], held)
        )
        request = OrderRequest(
            *key,
            Side.SELL if held > 0 else Side.BUY,
            min(quantity, abs(held)),
            kind,
            limit=amount(payload, "limit") if kind is OrderType.LIMIT else None,
            # At a limit: what fills now, fills; the rest goes back under its stop.
            time_in_force=TimeInForce.IOC if kind is OrderType.LIMIT else TimeInForce.DAY,
            purpose=Purpose.EXIT,
            reason=f"closed by {waiting.command.actor}",
        )
        return await self.send(waiting, key, request)

    async def send(self, waiting: Waiting, key: Key, request: OrderRequest) -> Answer | None:
        """Its shares freed of their stops first, where they are not free; then sent."""
        command = waiting.command
        look = look_at(self._tools, key)
        others = self._claims.all().get(key, ZERO) - self._claims.of(command.key)
        if look.free - others >= request.quantity:
            await submit(
                self._tools,
                request,
                actor=command.actor,
                order_id=order_id_of(command.key),
                command_key=command.key,
                linked=look.linked(""),
            )
            return None
        self._claims.not_too_long(
            command.key, self._tools.now(), f"the stop of {key[1]} could not be cancelled in time; nothing was closed"
        )
        if not self._claims.has(command.key):
            answer = await review(self._tools, request, actor=command.actor, linked=freed(self._tools, request))
            if isinstance(answer, Denied):
                with self._tools.write() as write:
                    write.add_decision(decision(answer, command.key))
                return refused(" ".join(answer.reasons), reasons=list(answer.reasons))
            self._claims.take(command.key, key, request.quantity)
        raise Wait

    async def protect(self, waiting: Waiting) -> Answer | None:
        payload, actor = waiting.command.payload, waiting.command.actor
        key = (text(payload, "account"), instrument(text(payload, "symbol")).symbol)
        if (held := held_of(self._tools, key)) == 0:
            return refused(f"There is no position in {key[1]} to protect.")
        before = look_at(self._tools, key).plan
        stop = amount(payload, "stop") if "stop" in payload else before.stop
        target = amount(payload, "target") if "target" in payload else before.target
        trail = amount(payload, "trail") if "trail" in payload else before.trail
        quote = await self._tools.facts.quote(key[1])
        last = quote.last if quote else None
        if wrong := _wrong_exits(key[1], held, stop, target, last) or _wrong_trail(key[1], trail, last):
            return refused(wrong)
        with self._tools.write() as write:
            write.set_protection(*key, stop=stop, target=target, trail=trail, actor=actor)
            if trail is not None and trail != before.trail:  # it follows from where the market stands now
                write.begin_trail(*key)
            trailing = "" if trail is None and before.trail is None else f", trailing by {_or_none(trail)}"
            answer = done(
                f"{key[1]}: stop {_or_none(stop)}, target {_or_none(target)}{trailing}.",
                stop=None if stop is None else str(stop),
                target=None if target is None else str(target),
                trail=None if trail is None else str(trail),
            )
            write.answer_command(waiting.command.key, answer, actor=actor)
        return None


def order_id_of(command_key: str) -> str:
    """The order a command makes: the same command, the same order."""
    return "o-" + hashlib.sha256(command_key.encode()).hexdigest()[:16]


def _part(payload: dict[str, Any], symbol: str, held: Decimal) -> Decimal:
    """How much of a position to close: a quantity, or a part of it in whole lots, at least one."""
    what = instrument(symbol)
    if (quantity := amount(payload, "quantity")) is not None:
        if quantity > abs(held):
            raise TicketFault(f"{abs(held).normalize():f} {symbol} are held: close that many or fewer")
        return quantity
    percent = amount(payload, "percent") or Decimal(100)
    if percent > 100:
        raise TicketFault(f"percent must be at most 100: got {percent}")
    if percent == 100:
        return abs(held)
    return max(what.lot, what.round_quantity(abs(held) * percent / 100))


def _wrong_exits(symbol: str, held: Decimal, stop: Decimal | None, target: Decimal | None, last: Decimal | None) -> str:
    what, sign = instrument(symbol), 1 if held > 0 else -1
    for name, price in (("stop", stop), ("target", target)):
        if price is not None and price % what.tick:
            return f"The {name} must be a multiple of {what.tick}: got {price}."
    if stop is not None and target is not None and (target - stop) * sign <= 0:
        return f"The stop must lie {'below' if sign > 0 else 'above'} the target: got {stop} and {target}."
    if last is None:
        return ""
    if stop is not None and (last - stop) * sign <= 0:
        return f"The stop {stop} is beyond the price {last} already: close the position instead."
    if target is not None and (target - last) * sign <= 0:
        return f"The target {target} is behind the price {last} already: close the position instead."
    return ""


def _wrong_trail(symbol: str, trail: Decimal | None, last: Decimal | None) -> str:
    if trail is None:
        return ""
    if trail % (tick := instrument(symbol).tick):
        return f"The trail must be a multiple of {tick}: got {trail}."
    if last is not None and trail > last / 2:
        return f"A trail of {trail} at {last} protects nothing: keep it nearer."
    return ""


def _or_none(value: Decimal | None) -> str:
    return "none" if value is None else str(value)
