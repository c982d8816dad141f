"""What only a person can decide: that the broker's figure is right, and which order at the broker is ours."""

from __future__ import annotations

from decimal import Decimal

from desk.differences import split_of
from desk.lookups import named, order_of
from desk.records import Adjustment, Protection, Waiting
from desk.resolving import Unseen
from desk.submit import done, refused
from desk.ticket import text
from desk.tools import Tools
from domain.commands import Answer
from domain.instruments import instrument
from domain.orders import Status


class Deciding:
    """What becomes of ACCEPT and SETTLE."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def accept(self, waiting: Waiting) -> Answer | None:
        """Take over the broker's figure, as it was shown and still stands."""
        payload, actor = waiting.command.payload, waiting.command.actor
        account, about, reason = (text(payload, name) for name in ("account", "about", "reason"))
        shown = (account, about, payload.get("here"), payload.get("there"))
        now = [d for d in self._tools.differing if (d["account"], d["about"], d["here"], d["there"]) == shown]
        if not now:
            return refused(f"{about} in {account} does not differ like that any more: look again.")
        change = Decimal(now[0]["there"]) - Decimal(now[0]["here"])
        id_ = f"accept:{waiting.command.key}"
        symbol, quantity, cash = ("", Decimal(0), change) if about == "cash" else (about, change, Decimal(0))
        plan = self._scaled(account, symbol, Decimal(now[0]["here"]), Decimal(now[0]["there"])) if symbol else None
        with self._tools.write() as write:
            write.adjust(Adjustment(id_, account, symbol, quantity, cash, reason, actor))
            said = f"{about} in {account} is {now[0]['there']} now, as the broker says."
            if plan is not None:
                write.set_protection(account, symbol, stop=plan.stop, target=plan.target, trail=plan.trail, actor=actor)
                if plan.trail is not None:
                    write.begin_trail(account, symbol, plan.level)
                said += f" Stop {_or_none(plan.stop)} and target {_or_none(plan.target)} were split with it."
            write.answer_command(waiting.command.key, done(said), actor=actor)
        self._tools.differing = [d for d in self._tools.differing if d is not now[0]]
        self._tools.look_again = True
        return None

    def _scaled(self, account: str, symbol: str, here: Decimal, there: Decimal) -> Protection | None:
        """The plan at the prices after a split; None where it was none, or nothing was planned."""
        plan = self._tools.reader.protection(account).get(symbol)
        if plan is None or not here or not there or split_of(there / here) is None:
            return None
        what = instrument(symbol)
        stop, target, trail, level = (
            None if price is None else max(what.tick, what.round_price(price * here / there))
            for price in (plan.stop, plan.target, plan.trail, plan.level)
        )
        if level is not None and self._nearer_to_the_price(symbol, plan.level, level):
            level = None  # the new prices were there before the new shares and have moved it: it begins anew
        return Protection(symbol, stop, target, trail=trail, level=level)

    def _nearer_to_the_price(self, symbol: str, one: Decimal | None, other: Decimal) -> bool:
        last = self._tools.facts.price(symbol)
        return one is not None and last is not None and abs(one - last) < abs(other - last)

    async def settle(self, waiting: Waiting) -> Answer | None:
        """Say which of the orders at the broker a frozen one is; '' for none of them."""
        payload, actor, order = waiting.command.payload, waiting.command.actor, order_of(self._tools, waiting.command)
        chosen, reason = str(payload.get("broker_id") or ""), text(payload, "reason")
        if order.status is not Status.FROZEN:
            return refused(f"{named(order)} is {order.status}: there is nothing to decide.")
        seen = self._tools.unseen.get(order.id, Unseen())
        if chosen and chosen not in {one.broker_id for one in seen.candidates}:
            return refused(f"{chosen} is none of the orders that look like it: look again.")
        attempt = self._tools.reader.attempts(order.id)[-1]
        said = f"a person said so: {reason}"
        with self._tools.write() as write:
            write.add_outcome(attempt.client_order_id, said, broker_order_id=chosen)
            status = Status.WORKING if chosen else Status.NOT_PLACED
            write.move(order, status, reasons=(said,), broker_id=chosen, actor=actor)
            words = f"is order {chosen} at the broker" if chosen else "was not placed"
            write.answer_command(waiting.command.key, done(f"{named(order)} {words}."), actor=actor)
        self._tools.look_again = True
        return None


def _or_none(price: Decimal | None) -> str:
    return "none" if price is None else str(price)
