"""From a decision to orders: close what is to be closed, then open what is to be opened, each through every gate.

The rule: what is done next is read from the ledger (the decision, its orders, what is held), so that a restart needs no
memory. An entry goes out once, and only until the next bar has closed; what closes is tried until it is done. Shares
are out from under their stop only while their sale is on its way: whatever ends a try puts them back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from backtest import sizing
from backtest.setup import Entry
from desk.adoptions import Adoption, BarDecision, State
from desk.claims import Claims
from desk.closing import order_id_of
from desk.entering import as_asked, chases, entered, entries, left_of, take_back
from desk.looking import in_time_until
from desk.lookups import freed
from desk.own_book import OwnBook
from desk.rungs import Bounds
from desk.sending import cancel
from desk.submit import decision as decided
from desk.submit import review, submit
from desk.supervisor import look_at
from desk.tools import Key, Tools
from domain.calendars import Phase
from domain.errors import OrderRefused
from domain.fill_prices import paid
from domain.instruments import instrument
from domain.orders import AT_BROKER, OPEN, Order, OrderRequest, Purpose, Side, Status
from domain.quotes import Quote
from domain.trading_state import TradingState
from risk_manager import Denied

ZERO = Decimal(0)
CLOSE_AGAIN = timedelta(seconds=30)
MOST_REASON = 200


@dataclass(slots=True)
class Carrying:
    """Carries decisions out, for the engine that holds the lease. `claims` is what commands are about to close."""

    tools: Tools
    claims: Claims
    _closed_at: dict[str, datetime] = field(default_factory=dict)

    async def step(
        self, adoption: Adoption, decision: BarDecision, book: OwnBook, market_now: datetime, bounds: Bounds
    ) -> bool:
        """The next step of a decision; True once nothing is left to do about it. `bounds` are those of the moment: the
        rung may have changed since it was made."""
        what, key = instrument(decision.symbol), (adoption.account, decision.symbol)
        orders = self.tools.reader.orders_of_signal(decision.signal_id)
        if any(order.status in OPEN for order in orders):
            await self._take_back(adoption, orders)
            return False
        own = book.refresh(self.tools.reader).own(what.symbol)
        less, more = _to_do(own, decision, orders, adoption.setup.entry)
        if not less and not more:
            self._let_go(adoption, decision)
            return True
        if what.calendar.phase(self.tools.now()) is not Phase.OPEN:
            self._let_go(adoption, decision)  # until the open its shares belong under their stops
            return self._too_late(adoption, decision, orders, less, market_now)
        if await self._others(key, decision):
            return False
        if less:
            await self._close(adoption, decision, key, own, less, orders)
            return False
        self._let_go(adoption, decision)
        return await self._open(adoption, decision, book, more, orders, market_now, bounds)

    # What closes

    async def _close(
        self, adoption: Adoption, decision: BarDecision, key: Key, own: Decimal, less: Decimal, orders: list[Order]
    ) -> None:
        """Its shares freed of their stops first, where they are not free; then sent."""
        name, now = _claim(adoption, decision), self.tools.now()
        if self.tools.reader.trading_state().state is TradingState.DISABLED:
            self.claims.drop(name)
            return
        if now - self._closed_at.get(name, now - CLOSE_AGAIN) < CLOSE_AGAIN:
            return
        look = look_at(self.tools, key)
        less = min(less, abs(look.held))
        request = OrderRequest(
            *key,
            Side.SELL if own > 0 else Side.BUY,
            less,
            purpose=Purpose.EXIT,
            signal_id=decision.signal_id,
            reason=f"{adoption.label}: {decision.said}"[:MOST_REASON],
        )
        others = self.claims.all().get(key, ZERO) - self.claims.of(name)
        if look.free - others < less:
            await self._free(adoption, decision, request)
            return
        self._closed_at[name] = now
        number = sum(order.request.purpose is Purpose.EXIT for order in orders)
        order_id = _order_id(adoption, decision, "close", number)
        order = await submit(self.tools, request, actor=adoption.actor, order_id=order_id, linked=look.linked(""))
        self._let_go(adoption, decision)
        if order.status is Status.DENIED:
            self._cannot_close(adoption, decision, " ".join(order.reasons))

    async def _free(self, adoption: Adoption, decision: BarDecision, request: OrderRequest) -> None:
        """Let the supervisor take the stop away, for a sale that the gates would let pass; where that takes too long
        the shares go back under it for a while."""
        name, now = _claim(adoption, decision), self.tools.now()
        if not self.claims.has(name):
            answer = await review(self.tools, request, actor=adoption.actor, linked=freed(self.tools, request))
            if isinstance(answer, Denied):
                with self.tools.write() as write:
                    write.add_decision(decided(answer))
                self._cannot_close(adoption, decision, " ".join(answer.reasons))
                return
        self.claims.begin(name, now)
        self.claims.take(name, (request.account, request.symbol), request.quantity)
        try:
            self.claims.not_too_long(name, now, "its stop could not be cancelled in time")
        except OrderRefused as error:
            self._cannot_close(adoption, decision, str(error))

    def _cannot_close(self, adoption: Adoption, decision: BarDecision, why: str) -> None:
        """Said, and tried again after a while; until then its shares are under their stop."""
        name = _claim(adoption, decision)
        self.claims.drop(name)
        self._closed_at[name] = self.tools.now()
        self.tools.note(_about(adoption, decision), f"{adoption.label} cannot close {decision.symbol}: {why}"[:300])

    def forget(self, adoption: Adoption) -> None:
        """Nothing is about to be closed for it any more: what it holds goes back under its stops."""
        for symbol in adoption.symbols:
            self.claims.drop(_claim_of(adoption, symbol))

    def _let_go(self, adoption: Adoption, decision: BarDecision) -> None:
        self.claims.drop(_claim(adoption, decision))
        self.tools.clear(_about(adoption, decision))

    # What opens

    async def _open(
        self,
        adoption: Adoption,
        decision: BarDecision,
        book: OwnBook,
        more: Decimal,
        orders: list[Order],
        market_now: datetime,
        bounds: Bounds,
    ) -> bool:
        late = market_now >= in_time_until(decision.symbol, adoption.tf, decision.bar_time)
        if late or adoption.state is not State.WORKING:
            why = "the next bar has closed: it came too late" if late else f"it is {adoption.state}"
            return self._refuse(adoption, decision, more, orders, f"{why}; nothing was sent.")
        if why := bounds.why_not(decision.symbol):
            return self._refuse(adoption, decision, more, orders, f"{why}; nothing was sent.")
        if book.foreign(decision.symbol) or self._ordered(adoption.account, decision.symbol):
            return self._refuse(adoption, decision, more, orders, f"The position in {decision.symbol} is not ours.")
        quote = await self.tools.facts.quote(decision.symbol)
        if quote is None or not self._fresh(quote):
            return False
        quantity = self._affordable(adoption, book, decision, more, quote)
        if (most := bounds.most(decision.symbol, quote.last)) is not None:
            quantity = min(quantity, most - abs(book.own(decision.symbol)))
        if quantity <= 0:
            why = "What is left of its money, or its rung, does not carry one lot."
            return self._refuse(adoption, decision, more, orders, why)
        request = as_asked(_entry(adoption, decision, quantity), adoption.setup.entry, orders, quote)
        if request is None:
            return False
        order = await submit(
            self.tools,
            request,
            actor=adoption.actor,
            order_id=_order_id(adoption, decision, "open", _entries(orders)),
            parent=orders[0].id if orders else "",  # what this very decision closed is no order too many
        )
        return order.status not in OPEN

    async def _take_back(self, adoption: Adoption, orders: list[Order]) -> None:
        """A limit entry that has waited long enough; at HALT nothing is asked."""
        if self.tools.reader.trading_state().state is not TradingState.DISABLED:
            await take_back(self.tools, orders, adoption.setup.entry, self.tools.now())

    def _refuse(
        self, adoption: Adoption, decision: BarDecision, quantity: Decimal, orders: list[Order], why: str
    ) -> bool:
        """An entry that nobody sends is written down as any refused order is."""
        now, order_id = self.tools.now(), _order_id(adoption, decision, "open", _entries(orders))
        request = _entry(adoption, decision, quantity)
        order = Order(order_id, request, Status.DENIED, now, now, reasons=(why,))
        with self.tools.write() as write:
            write.add_order(order, actor=adoption.actor)
        return True

    def _too_late(
        self, adoption: Adoption, decision: BarDecision, orders: list[Order], less: Decimal, market_now: datetime
    ) -> bool:
        """While the market is shut everything waits for its open; what can only open, for as long as it is in time."""
        late = market_now >= in_time_until(decision.symbol, adoption.tf, decision.bar_time)
        if less or not late:
            return False
        why = "the market had closed before it could be sent."
        return self._refuse(adoption, decision, abs(decision.wanted), orders, why)

    def _ordered(self, account: str, symbol: str) -> bool:
        """Whether somebody else's entry is on its way."""
        open_ = self.tools.reader.open_orders(account, symbol)
        return any(o.request.purpose is Purpose.ENTRY and not o.request.signal_id for o in open_)

    def _fresh(self, quote: Quote) -> bool:
        age = (self.tools.now() - quote.time).total_seconds()
        return age <= self.tools.risk.limits.max_quote_age_s + quote.delayed_s

    def _affordable(
        self, adoption: Adoption, book: OwnBook, decision: BarDecision, more: Decimal, quote: Quote
    ) -> Decimal:
        """As much of it as its own money carries, as the backtester cuts an order at the open."""
        setup, what = adoption.setup, instrument(decision.symbol)
        prices = {s: p for s in adoption.symbols if (p := self.tools.facts.price(s)) is not None}
        equity = book.equity(prices)
        if equity is None:
            return ZERO
        fills, pays = setup.fills, setup.fills.commission
        sign = 1.0 if decision.wanted > 0 else -1.0
        price = paid(float(quote.last), sign, fills.half_spread_bps + fills.slippage_bps, float(what.tick))
        coming = sum((o.remaining * prices.get(o.request.symbol, ZERO) for o in self._coming(adoption)), ZERO)
        room = setup.leverage * float(equity) - float(book.gross(prices) + coming)
        first = float(max(pays.per_order, pays.minimum))
        lots = sizing.lots_affordable(room, price, float(what.lot), first, float(pays.per_share), float(pays.bps))
        return min(more, int(lots) * what.lot)

    def _coming(self, adoption: Adoption) -> list[Order]:
        """Its own entries that are on their way."""
        found = self.tools.reader.open_orders(adoption.account)
        mine = [o for o in found if o.request.signal_id and o.request.symbol in adoption.symbols]
        return [o for o in mine if o.request.purpose is Purpose.ENTRY]

    async def _others(self, key: Key, decision: BarDecision) -> bool:
        """Whether orders of an older decision are still on their way: they are taken away first."""
        found = [
            order
            for order in self.tools.reader.open_orders(*key)
            if order.request.signal_id not in ("", decision.signal_id)
        ]
        if self.tools.reader.trading_state().state is not TradingState.DISABLED:
            for order in found:
                if order.status in AT_BROKER - {Status.CANCELLING}:
                    await cancel(self.tools, order, reason="the strategy wants something else by now")
        return bool(found)


def _to_do(own: Decimal, decision: BarDecision, orders: list[Order], how: Entry | None) -> tuple[Decimal, Decimal]:
    """How much is to be closed and how much to be opened, of which the first comes first. An entry is made once, and
    only from what the decision was made on: what was stopped out meanwhile is not bought again."""
    wanted, held = decision.wanted, decision.held
    if own and own * wanted <= 0:
        return abs(own), ZERO
    if own and abs(own) > abs(wanted):
        return abs(own) - abs(wanted), ZERO
    if chases(orders, how):
        return ZERO, left_of(orders, before=held if held * wanted > 0 else ZERO, own=own)
    turned = held * wanted <= 0 and own == 0
    if entered(orders, how) or not (turned or own == held):
        return ZERO, ZERO
    return ZERO, abs(wanted) - abs(own)


def _entry(adoption: Adoption, decision: BarDecision, quantity: Decimal) -> OrderRequest:
    return OrderRequest(
        adoption.account,
        decision.symbol,
        Side.BUY if decision.wanted > 0 else Side.SELL,
        quantity,
        stop_loss=decision.stop,
        target=decision.target,
        stop_trail=decision.trail,
        signal_id=decision.signal_id,
        reason=f"{adoption.label}: {decision.said}"[:MOST_REASON],
    )


def _entries(orders: list[Order]) -> int:
    return len(entries(orders))


def _order_id(adoption: Adoption, decision: BarDecision, leg: str, number: int) -> str:
    """The same step of the same decision, the same order: written twice it would be refused."""
    return order_id_of(f"{adoption.id}|{decision.symbol}|{decision.bar_time.isoformat()}|{leg}|{number}")


def _claim(adoption: Adoption, decision: BarDecision) -> str:
    return _claim_of(adoption, decision.symbol)


def _claim_of(adoption: Adoption, symbol: str) -> str:
    return f"{adoption.id}|{symbol}"


def _about(adoption: Adoption, decision: BarDecision) -> str:
    return f"strategy {adoption.id} {decision.symbol}"
