"""Protection, kept up: every turn, what should rest for each position is compared with what rests.

The rule: the stop comes before anything else on that symbol. How long a position that should have one is without is
measured and said; a stop that can no longer rest because the price is beyond it becomes a sale at market.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from desk.hearing import hear
from desk.protection import BEYOND, Cancel, Piece, Rest, Step, covered, pieces, steps, stopped
from desk.records import Protection
from desk.sending import cancel
from desk.submit import review, submit
from desk.targets import Targets
from desk.tools import Key, Tools
from desk.trailing import Trails
from desk.world import ENGINE
from domain.calendars import Phase
from domain.instruments import instrument
from domain.orders import OPEN, Order, OrderRequest, OrderType, Purpose, Side, Status, TimeInForce
from domain.trading_state import TradingState
from risk_manager import Denied

ZERO = Decimal(0)
ALARM_AFTER = timedelta(seconds=15)
TRIED_AGAIN_AFTER = timedelta(seconds=5)
ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Naked:
    """A position that should rest under a stop and, for `quantity`, does not."""

    account: str
    symbol: str
    quantity: Decimal
    since: datetime


class Supervisor:
    """Keeps the exits of every position as the plan says. `between` is awaited between the steps of one symbol and the
    next where each of them takes its time: nobody who wants to stop shall wait for all of them."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self.naked: dict[Key, Naked] = {}
        self.longest_naked = timedelta(0)
        self._rests: dict[tuple[str, str, Purpose], datetime] = {}
        self._targets, self._trails = Targets(tools), Trails(tools)
        self.between: Callable[[], Awaitable[None]] = _nothing
        self._measured: datetime | None = None
        self._seen = _newest(tools)

    async def close(self) -> None:
        """Nothing goes on beside the turns."""
        await self._trails.close()

    async def turn(self, claims: dict[Key, Decimal]) -> None:
        """One look at every position, and what follows from it; `claims` is what closing commands are about to take of
        each. What is cancelled is heard of once for all of them, so that its shares rest anew in the same turn."""
        looks = self._looks(claims)
        self._trails.look_back(looks)
        if self._trails.follow(looks):
            looks = self._looks(claims)
        if self._stopped():
            self._measure_all(claims)
            return
        if _newest(self._tools) != self._seen:  # timed from the fill on, however soon its stop will rest
            self._measure_all(claims)
        changed = False
        for purpose in (Purpose.STOP, Purpose.TARGET):
            self._tools.keep_only(purpose, (f"{purpose} {key[0]} {key[1]}" for key in looks))
        for _ in range(ROUNDS):
            done = await self._round(looks, claims)
            if not done:
                break
            changed = True
            if not self._tools.broker.polled or any(isinstance(step, Cancel) for step in done):
                await hear(self._tools, now=True)
            looks = self._looks(claims)
        if changed or self._tools.now() != self._measured:
            self._measure_all(claims)

    async def _round(self, looks: dict[Key, _Look], claims: dict[Key, Decimal]) -> list[Step]:
        """The next steps of every symbol; those that something came of. Where each takes its time, the ones before may
        have changed what there is: it is looked at anew."""
        done = list[Step]()
        for key, look in looks.items():
            if key[1] in self._tools.frozen or key[1] in self._tools.suspect:
                continue
            reached, todo = self._todo(key, look)
            if todo and self._tools.broker.polled:
                look = _Look.at(self._tools, key, claims.get(key, ZERO))
                reached, todo = self._todo(key, look)
            swaps = reached and any(isinstance(step, Cancel) for step in todo)
            if swaps and not await self._may_sell(key, look):
                continue
            if not await self._may_trail(key, look, todo):
                reached, todo = self._todo(key, look)
            for step in todo:
                if await self._do(key, look, step):
                    done.append(step)
            if todo and self._tools.broker.polled:
                await self.between()
                if self._stopped():
                    break
        return done

    def _stopped(self) -> bool:
        return self._tools.reader.trading_state().state is TradingState.DISABLED

    def _todo(self, key: Key, look: _Look) -> tuple[bool, list[Step]]:
        """Whether its target is reached, and the next steps."""
        oco = self._tools.broker.oco
        reached = not oco and self._targets.reached(key, look.held, look.plan, look.family)
        leg = self._trails.leg(key, look)
        return reached, steps(look.held, look.claimed, look.plan, look.family, oco=oco, reached=reached, stop=leg)

    async def _may_sell(self, key: Key, look: _Look) -> bool:
        """Whether the gates would let the target go: asked while the stop still rests."""
        request = self._request(key, look, Rest(Purpose.TARGET, abs(look.held), look.plan.target or ZERO))
        linked = frozenset(order.id for order in look.family)
        answer = await review(self._tools, request, actor=ENGINE, linked=linked)
        if isinstance(answer, Denied):
            self._targets.failed(key)
            said = " ".join(answer.reasons)[:300]
            self._tools.note(f"{Purpose.TARGET} {key[0]} {key[1]}", f"The target of {key[1]} must wait: {said}")
        return not isinstance(answer, Denied)

    async def _may_trail(self, key: Key, look: _Look, todo: list[Step]) -> bool:
        """Whether the gates would let a trailing stop rest: asked while the plain one still does."""
        going = [step.order for step in todo if isinstance(step, Cancel) and step.order.request.purpose is Purpose.STOP]
        if all(order.request.trail is not None for order in going):
            return True
        if (leg := self._trails.leg(key, look)).trail is None:
            return True
        rest = Rest(Purpose.STOP, sum((order.remaining for order in going), ZERO), leg.price, trail=leg.trail)
        linked = frozenset(order.id for order in look.family)
        answer = await review(self._tools, self._request(key, look, rest), actor=ENGINE, linked=linked)
        if isinstance(answer, Denied):
            self._trails.refused(key, " ".join(answer.reasons))
        return not isinstance(answer, Denied)

    async def _do(self, key: Key, look: _Look, step: Step) -> bool:
        """Whether anything came of it."""
        if isinstance(step, Cancel):
            gone = await cancel(self._tools, step.order, reason=step.reason)
            return gone.status is Status.CANCELLING
        return await self._rest(key, look, step)

    async def _rest(self, key: Key, look: _Look, step: Rest) -> bool:
        waits = self._rests.get((*key, step.purpose))
        if waits is not None and self._tools.now() - waits < TRIED_AGAIN_AFTER:
            return False
        self._rests[*key, step.purpose] = self._tools.now()
        request = self._request(key, look, step)
        linked = look.linked(step.parent)
        answer = await review(self._tools, request, actor=ENGINE, linked=linked)
        about = f"{step.purpose} {key[0]} {key[1]}"
        if isinstance(answer, Denied):
            if step.trail is not None:
                return await self._rest_plainly(key, look, step, answer.reasons)
            self._tools.note(about, f"The {step.purpose} of {key[1]} cannot rest: {' '.join(answer.reasons)[:300]}")
            self._not_sold(key, step)
            return step.purpose is Purpose.STOP and await self._beyond(key, look, step)
        order = await submit(
            self._tools, request, actor=ENGINE, linked=linked, parent=step.parent or f"x-{self._tools.ids()}"
        )
        if order.status is Status.WORKING:
            self._tools.clear(about)
            del self._rests[*key, step.purpose]
            self._trails.taken(key, look, step)
            return True
        if step.trail is not None and order.status in (Status.DENIED, Status.REFUSED):
            return await self._rest_plainly(key, look, step, order.reasons)
        self._tools.note(about, f"The {step.purpose} of {key[1]} was not taken: {' '.join(order.reasons)[:300]}")
        self._not_sold(key, step)
        return False

    async def _rest_plainly(self, key: Key, look: _Look, step: Rest, why: tuple[str, ...]) -> bool:
        """Nobody takes the trailing stop: a plain one rests where it would have begun, at once."""
        self._trails.refused(key, " ".join(why))
        if step.price is None:
            return False
        del self._rests[*key, step.purpose]
        return await self._rest(key, look, replace(step, trail=None))

    def _not_sold(self, key: Key, step: Rest) -> None:
        if step.purpose is Purpose.TARGET:
            self._targets.failed(key)

    def _request(self, key: Key, look: _Look, step: Rest) -> OrderRequest:
        swapped = step.purpose is Purpose.TARGET and not self._tools.broker.oco and look.plan.stops
        price = self._targets.limit(key[1], look.held, step.price) if swapped and step.price else step.price
        return _request(key, look.side, replace(step, price=price))

    async def _beyond(self, key: Key, look: _Look, step: Rest) -> bool:
        """The price is beyond the stop already: what it would have sold is sold at market, in regular hours."""
        quote, what = self._tools.facts.quotes.get(key[1]), instrument(key[1])
        if quote is None or step.price is None or what.calendar.phase(self._tools.now()) is not Phase.OPEN:
            return False
        book = quote.bid if look.side is Side.SELL else quote.ask
        if ((book or quote.last) - step.price) * look.side.sign < 0:
            return False
        request = OrderRequest(*key, look.side, step.quantity, purpose=Purpose.EXIT, reason=f"{BEYOND} {step.price}")
        order = await submit(self._tools, request, actor=ENGINE, linked=look.linked(""))
        return order.status in OPEN

    def _looks(self, claims: dict[Key, Decimal]) -> dict[Key, _Look]:
        """Every account and symbol with a position, or with exits that rest: all of them in a few questions."""
        reader = self._tools.reader
        known = (order for order in reader.open_orders() if order.id not in self._tools.overdue)
        orders = [order for order in known if order.request.purpose is not Purpose.ENTRY]
        family = reader.family({order.parent for order in orders if order.request.purpose is not Purpose.EXIT})
        found: dict[Key, _Look] = {}
        for account in reader.accounts():
            held, plans = reader.positions(account.name), reader.protection(account.name)
            mine = [order for order in orders if order.request.account == account.name]
            for symbol in sorted({*held, *(order.request.symbol for order in mine)}):
                key = (account.name, symbol)
                closing = [o for o in mine if o.request.symbol == symbol and o.request.purpose is Purpose.EXIT]
                claimed = claims.get(key, ZERO) + sum((o.remaining for o in closing), ZERO)
                exits = tuple(
                    o
                    for o in family
                    if (o.request.account, o.request.symbol) == key and o.id not in self._tools.overdue
                )
                quantity = self._tools.ours(held.get(symbol))
                found[key] = _Look(quantity, claimed, plans.get(symbol, Protection(symbol)), exits)
        return found

    def _measure_all(self, claims: dict[Key, Decimal]) -> None:
        now, still = self._tools.now(), dict[Key, Naked]()
        self._measured, seen, self._seen = now, self._seen, _newest(self._tools)
        for key, look in self._looks(claims).items():
            bare = max(ZERO, abs(look.held) - look.claimed) - stopped(pieces(look.family))
            if look.plan.stops and bare > 0:
                since = self.naked[key].since if key in self.naked else self._since(key, seen)
                still[key] = Naked(*key, bare, since)
        for key, one in {**self.naked, **still}.items():
            self._alarm(key, one, still, now)
        self.naked = still

    def _since(self, key: Key, seen: int) -> datetime:
        """Since the fill that made it so, however late that was heard; since now where a stop went."""
        fills = self._tools.reader.fills(account=key[0], symbol=key[1], most=1)
        heard = bool(fills) and fills[0].seq > seen
        return min(self._tools.now(), fills[0].fill.time) if heard else self._tools.now()

    def _alarm(self, key: Key, one: Naked, still: dict[Key, Naked], now: datetime) -> None:
        self.longest_naked = max(self.longest_naked, now - one.since)
        about = f"unprotected {key[0]} {key[1]}"
        if key in still and now - one.since > ALARM_AFTER:
            said = f"{one.quantity.normalize():f} {key[1]} have been without their stop since"
            self._tools.note(about, f"UNPROTECTED: {said} {one.since:%H:%M:%S} UTC.")
        else:
            self._tools.clear(about)


def _newest(tools: Tools) -> int:
    """The newest fill in the ledger."""
    found = tools.reader.fills(most=1)
    return found[0].seq if found else 0


async def _nothing() -> None:
    """Where nobody waits."""


@dataclass(frozen=True, slots=True)
class _Look:
    """One symbol of one account as the ledger has it now: `held` is the part of it that is this desk's."""

    held: Decimal
    claimed: Decimal
    plan: Protection
    family: tuple[Order, ...]

    @classmethod
    def at(cls, tools: Tools, key: Key, claim: Decimal) -> _Look:
        account, symbol = key
        position = tools.reader.positions(account).get(symbol)
        orders = [order for order in tools.reader.open_orders(account, symbol) if order.id not in tools.overdue]
        exits = [o for o in orders if o.request.purpose in (Purpose.STOP, Purpose.TARGET)]
        closing = sum((o.remaining for o in orders if o.request.purpose is Purpose.EXIT), ZERO)
        plan = tools.reader.protection(account).get(symbol, Protection(symbol))
        family = [o for o in tools.reader.family({order.parent for order in exits}) if o.id not in tools.overdue]
        return cls(tools.ours(position), claim + closing, plan, tuple(family))

    @property
    def side(self) -> Side:
        """The side that closes the position."""
        return Side.SELL if self.held > 0 else Side.BUY

    def linked(self, parent: str) -> frozenset[str]:
        """What a new leg of this piece does not count beside itself: its own siblings, and one leg of each pair."""
        return _linked(pieces(self.family), parent)

    @property
    def free(self) -> Decimal:
        """What is held and neither covered nor about to be closed."""
        return max(ZERO, abs(self.held) - self.claimed - covered(pieces(self.family)))


def _linked(standing: list[Piece], parent: str) -> frozenset[str]:
    found = set[str]()
    for piece in standing:
        mine = piece.open if piece.parent == parent else piece.open[1:]
        found |= {order.id for order in mine}
    return frozenset(found)


def look_at(tools: Tools, key: Key) -> _Look:
    """The same, with nothing claimed by commands."""
    return _Look.at(tools, key, ZERO)


def _request(key: Key, side: Side, step: Rest) -> OrderRequest:
    is_stop, trails = step.purpose is Purpose.STOP, step.trail is not None
    return OrderRequest(
        *key,
        side,
        step.quantity,
        OrderType.TRAILING_STOP if trails else OrderType.STOP if is_stop else OrderType.LIMIT,
        stop=step.price if is_stop and not trails else None,
        trail=step.trail,
        limit=None if is_stop else step.price,
        time_in_force=TimeInForce.GTC,
        purpose=step.purpose,
        reason=f"protects the position in {key[1]}" if is_stop else f"takes the profit in {key[1]}",
    )
