"""The right to trade: the kill switch and what it asks for each turn, re-arming, breakers, limits."""

from __future__ import annotations

from decimal import Decimal

from desk.claims import Claims
from desk.control import GLOBAL
from desk.halt import halt_level
from desk.hearing import hear
from desk.lookups import freed
from desk.records import Waiting
from desk.sending import cancel
from desk.submit import done, refused, review, submit
from desk.supervisor import look_at
from desk.ticket import text
from desk.tools import Key, Tools
from desk.valuation import Valuation
from desk.writing import Writing
from domain.breaker import Breaker
from domain.commands import Answer
from domain.limits import Limits
from domain.orders import AT_BROKER, UNCERTAIN, OrderRequest, Purpose, Side, Status
from domain.trading_state import KillLevel, TradingState
from risk_manager import Denied

ZERO = Decimal(0)
FLATTEN_WORD = "FLATTEN"
AT_ONCE = 4  # positions without their stop at one time, at a broker that takes a second for each call


class Switches:
    """What becomes of the right to trade."""

    def __init__(self, tools: Tools, claims: Claims, valuation: Valuation) -> None:
        self._tools, self._claims, self._valuation = tools, claims, valuation

    async def kill(self, waiting: Waiting) -> Answer | None:
        payload, actor = waiting.command.payload, waiting.command.actor
        level = KillLevel.read(payload.get("level"))
        if level is KillLevel.FLATTEN and payload.get("typed") != FLATTEN_WORD:
            return refused(f"Flattening sells every position: type {FLATTEN_WORD} to confirm it.")
        reason = str(payload.get("reason") or "pressed")[:200]
        with self._tools.write() as write:
            stop_trading(write, level, reason=reason, actor=actor)
            write.answer_command(waiting.command.key, done(level.means, level=int(level)), actor=actor)
        return None

    async def re_arm(self, waiting: Waiting) -> Answer | None:
        reason = text(waiting.command.payload, "reason")
        if found := halt_level(self._tools.place.halt_paths):
            return refused(f"The file {found[1].name} still says {found[0].name}: take it away first.")
        with self._tools.write() as write:
            write.set_control(GLOBAL, TradingState.ENABLED, reason=reason, actor=waiting.command.actor)
            write.answer_command(waiting.command.key, done("Trading is enabled again."), actor=waiting.command.actor)
        self._claims.flattening.clear()
        return None

    async def reset_breaker(self, waiting: Waiting) -> Answer | None:
        payload, actor = waiting.command.payload, waiting.command.actor
        account, reason = text(payload, "account"), text(payload, "reason")
        with self._tools.write() as write:
            breaker = write.breaker(account) or Breaker()
            write.save_breaker(account, breaker.reset(actor, reason, self._tools.now()), actor=actor)
            write.answer_command(waiting.command.key, done(f"The breaker of {account} is reset."), actor=actor)
        self._valuation.forget(account)
        return None

    async def set_limit(self, waiting: Waiting) -> Answer | None:
        payload, actor = waiting.command.payload, waiting.command.actor
        name, value = text(payload, "name"), payload.get("value")
        now = Limits.from_dict(self._tools.reader.limits())
        after = Limits.from_dict({**now.to_dict(), name: value})  # a ValueError here says what is wrong with it
        before, kept = now.to_dict()[name], after.to_dict()[name]
        with self._tools.write() as write:
            write.set_limit(name, kept, actor=actor)
            answer = done(f"{name}: {before} is now {kept}.", name=name, value=kept)
            write.answer_command(waiting.command.key, answer, actor=actor)
        return None

    async def enforce(self) -> None:
        """What the kill switch asks for beyond refusing: entries cancelled, positions closed, each turn until done."""
        control = self._tools.reader.trading_state()
        self._claims.flattening.clear()
        if control.level is not KillLevel.FLATTEN:
            self._tools.keep_only("flatten", ())
        if control.state is TradingState.DISABLED:
            return
        if control.level is not None and control.level.cancels_entries:
            await self._cancel_entries("", "the kill switch cancels entries")
        for account in self._tools.reader.accounts():
            breaker = self._tools.reader.breaker(account.name)
            if breaker is not None and breaker.latched:
                await self._cancel_entries(account.name, "the circuit breaker has tripped")
        if control.level is not None and control.level.flattens:
            await self._flatten()

    async def _cancel_entries(self, account: str, reason: str) -> None:
        """Entries that rest, of one account or of all; stops and targets stay."""
        entries = [o for o in self._tools.reader.open_orders(account) if o.request.purpose is Purpose.ENTRY]
        going = [order for order in entries if order.status in AT_BROKER - {Status.CANCELLING}]
        for order in going:
            await cancel(self._tools, order, reason=reason)
        if going:
            await hear(self._tools)

    async def _flatten(self) -> None:
        for account in self._tools.reader.accounts():
            unsure = {o.request.symbol for o in self._tools.reader.open_orders(account.name) if o.status in UNCERTAIN}
            for symbol, position in self._tools.reader.positions(account.name).items():
                if symbol not in unsure:  # until that is known, no second sale of the same shares
                    await self._flatten_one((account.name, symbol), self._tools.ours(position))

    async def _flatten_one(self, key: Key, held: Decimal) -> None:
        """Sold as soon as its shares are free; outside regular hours its stop stays and it waits for the open."""
        look = look_at(self._tools, key)
        left = max(ZERO, abs(held) - look.claimed)
        if left == 0 or key[1] in self._tools.frozen or key[1] in self._tools.suspect:
            return
        if self._tools.broker.polled and look.free < left and len(self._claims.flattening) >= AT_ONCE:
            return  # its stop stays until its turn has come
        side = Side.SELL if held > 0 else Side.BUY
        request = OrderRequest(*key, side, left, purpose=Purpose.EXIT, reason="the kill switch flattens")
        answer = await review(self._tools, request, actor="engine", linked=freed(self._tools, request))
        if isinstance(answer, Denied):
            self._tools.note(f"flatten {key}", f"{key[1]} waits to be closed: {' '.join(answer.reasons)[:200]}")
            return
        self._tools.clear(f"flatten {key}")
        if look.free >= left:
            await submit(self._tools, request, actor="engine", linked=look.linked(""))
        else:
            self._claims.flattening[key] = left


def stop_trading(write: Writing, level: KillLevel, *, reason: str, actor: str) -> None:
    """Latch the kill switch at this level, in the transaction of whoever asked."""
    write.set_control(GLOBAL, level.trading_state, reason=reason, actor=actor, level=level)
