"""The order book: previews, orders and what prices make of them. Orders fill by `domain.matching`, like everywhere.

The rule: everything that a clock ends (previews, day orders, cancels on their way) is settled before anything is read.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from domain.calendars import NEW_YORK, Phase
from domain.errors import DeskError, OrderRefused
from domain.fees import regulatory_fees
from domain.matching import FillRules, PriceStep, Step, step
from domain.orders import Fill, Side
from domain.orders import Status as Done
from domain.quotes import Quote
from domain.working import accept
from simulator import _tickets as tickets
from simulator._clock import MovedClock
from simulator._market import Market, phase
from simulator._money import free_shares, money, opens, settles
from simulator._state import (
    ZERO,
    Account,
    Alert,
    Event,
    Holding,
    Kept,
    Lot,
    OrderStatus,
    Preview,
    State,
    Ticket,
    Transaction,
)
from simulator._wire import Refused, invalid, number

PREVIEW_LIFE = timedelta(minutes=3)
CANCEL_TAKES = timedelta(seconds=1)
FAR_LIMIT = Decimal("0.2")
FARTHEST_STOP = 10
DUPLICATE = 1099  # nobody has published E*TRADE's own code for a clientOrderId that was used before
KINDS = {"BUY": "Bought", "SELL": "Sold", "SELL_SHORT": "Sold Short", "BUY_TO_COVER": "Bought To Cover"}
SPOKEN = {"BUY": "Buy", "SELL": "Sell", "SELL_SHORT": "Sell Short", "BUY_TO_COVER": "Buy to cover"}
EXACT = FillRules(half_spread_bps=0.0, slippage_bps=0.0, ignore_volume=True)


class Book:
    """All orders of all accounts. `accept_duplicates`: a clientOrderId may come twice, the worst a client can meet."""

    def __init__(self, state: State, market: Market, clock: MovedClock) -> None:
        self._state, self._market, self._clock = state, market, clock
        self.rules = EXACT
        self.accept_duplicates = False
        self._stepped: dict[str, datetime] = {}
        self._volumes: dict[str, float] = {}

    # Taking orders

    def preview(self, account: Account, ticket: Ticket, changes: int | None = None) -> tuple[int, Preview]:
        self._check(account, ticket, changes)
        found = Preview(account.account_id, ticket, self._clock.now(), changes)
        name = self._state.next_number()
        self._state.previews[name] = found
        return name, found

    def place(self, account: Account, ticket: Ticket, preview_id: int, changes: int | None = None) -> Kept:
        """The order, resting. What was previewed is what must be placed."""
        now, seen = self._clock.now(), self._state.previews.get(preview_id)
        fresh = seen is not None and not seen.used and now - seen.made < PREVIEW_LIFE
        if (
            seen is None
            or not fresh
            or (seen.account, seen.ticket, seen.changes)
            != (
                account.account_id,
                ticket,
                changes,
            )
        ):
            raise Refused(400, 101, "Invalid or expired preview id. Please preview the order again.")
        if ticket.client_order_id in account.client_ids and not self.accept_duplicates:
            raise Refused(400, DUPLICATE, "This client order id was used before: duplicate order")
        self._check(account, ticket, changes)
        seen.used = True
        account.client_ids.add(ticket.client_order_id)
        kept = self._rest(account, ticket)
        if changes is not None:
            self._replace(account, changes, kept)
        return kept

    def rest(self, account: Account, ticket: Ticket) -> Kept:
        """An order that nobody previewed here: its owner's, by hand. The same rules hold for it."""
        self._check(account, ticket, None)
        return self._rest(account, ticket)

    def changeable(self, account: Account, order_id: int, ticket: Ticket | None = None) -> Kept:
        """An order that may be changed or cancelled; symbol and side stay."""
        kept = account.order(order_id)
        if kept is None:
            raise invalid()
        if kept.status is not OrderStatus.OPEN:
            raise Refused(400, 5001, "This order is currently being executed or rejected. It cannot be cancelled.")
        if ticket and (ticket.symbol, ticket.action) != (kept.ticket.symbol, kept.ticket.action):
            raise invalid()
        return kept

    def cancel(self, account: Account, order_id: int, takes: timedelta = CANCEL_TAKES) -> Kept:
        """On its way: CANCEL_REQUESTED until the market has said so, or has filled it first."""
        kept, now = self.changeable(account, order_id), self._clock.now()
        kept.status, kept.cancels_at = OrderStatus.CANCEL_REQUESTED, now + takes
        kept.events.append(Event("CANCEL_REQUESTED", now))
        return kept

    def end(self, kept: Kept, status: OrderStatus) -> None:
        """It is over, now."""
        self._end(kept, status, self._clock.now())

    def fill_now(self, account: Account, kept: Kept) -> None:
        """All that is left of an order, at the market's price whatever its own: what a lost race looks like."""
        quote = self._market.newest(kept.ticket.symbol)
        if quote is None or kept.working is None:
            return
        work, now = kept.working, self._clock.now()
        price = kept.ticket.limit or quote.last
        fill = Fill(
            id=f"{work.order_id}/{work.filled + work.remaining}",
            order_id=work.order_id,
            account=account.account_id,
            symbol=kept.ticket.symbol,
            side=work.request.side,
            quantity=work.remaining,
            price=price,
            time=now,
            fee=self._fees(kept.ticket, work.remaining, price),
        )
        self._after(account, kept, Step(None, (fill,), Done.FILLED, float(price)))

    def is_open_for(self, ticket: Ticket) -> bool:
        """Whether the market this order goes to trades now."""
        now = phase(self._clock.now())
        return now is Phase.OPEN or (ticket.session == "EXTENDED" and now is not Phase.CLOSED)

    # Time and prices

    def settle(self) -> None:
        """End what the clock has ended."""
        now = self._clock.now()
        for account in self._state.accounts:
            account.unsettled = [(until, amount) for until, amount in account.unsettled if until > now]
            for kept in account.working():
                self._end_by_clock(kept, now)
        stale = [name for name, seen in self._state.previews.items() if now - seen.made > 10 * PREVIEW_LIFE]
        for name in stale:
            del self._state.previews[name]

    def meet(self) -> None:
        """Hold every resting order against the newest price of its symbol, once a price."""
        for symbol in sorted({kept.ticket.symbol for a in self._state.accounts for kept in a.working()}):
            quote = self._market.newest(symbol)
            if quote is None or quote.time <= self._stepped.get(symbol, quote.time - timedelta(1)):
                continue
            self._stepped[symbol] = quote.time
            self._meet(symbol, quote)

    def symbols(self) -> set[str]:
        """Those whose prices are needed."""
        accounts = self._state.accounts
        return {kept.ticket.symbol for a in accounts for kept in a.working()} | {
            s for a in accounts for s in a.holdings
        }

    def _meet(self, symbol: str, quote: Quote) -> None:
        prices, taken = PriceStep.of(quote, self._traded(quote)), ZERO
        self._volumes[symbol] = quote.volume
        if phase(prices.time) is Phase.CLOSED:
            return
        waiting = [(a, kept) for a in self._state.accounts for kept in a.working() if kept.ticket.symbol == symbol]
        for account, kept in sorted(waiting, key=lambda pair: pair[1].placed):
            assert kept.working is not None
            done = step(kept.working, prices, self.rules, taken=taken)
            if _all_or_nothing(kept.ticket) and done.fills and done.status is not Done.FILLED:
                kill = kept.ticket.term == "FILL_OR_KILL"
                done = Step(None if kill else kept.working, (), Done.CANCELLED if kill else kept.working.status)
            before = kept.filled
            self._after(account, kept, done)
            taken += kept.filled - before

    def _traded(self, quote: Quote) -> float:
        before = self._volumes.get(quote.symbol, quote.volume)
        return max(0.0, quote.volume - before)

    def _end_by_clock(self, kept: Kept, now: datetime) -> None:
        assert kept.working is not None
        expires = kept.working.expires
        cancelled = kept.cancels_at is not None and kept.cancels_at <= now
        if cancelled and (expires is None or kept.cancels_at is None or kept.cancels_at <= expires):
            self._end(kept, OrderStatus.CANCELLED, kept.cancels_at or now)
        elif expires is not None and expires <= now:
            self._end(kept, OrderStatus.EXPIRED, expires)

    # One order

    def _rest(self, account: Account, ticket: Ticket) -> Kept:
        quote = self._quote(ticket)
        if not any(kept.ticket.symbol == ticket.symbol for each in self._state.accounts for kept in each.working()):
            self._volumes[ticket.symbol] = quote.volume  # what traded while nobody had an order is nobody's
        last = max((kept.placed for kept in account.orders), default=None)
        now = self._clock.now()
        placed = now.replace(microsecond=now.microsecond // 1000 * 1000)
        if last is not None and placed <= last:
            placed = last + timedelta(milliseconds=1)
        number_, account.next_order = account.next_order, account.next_order + 1
        try:
            wish = tickets.request(ticket, account.account_id, quote.last)
            working = accept(f"{account.account_id}-{number_}", wish, tickets.step_of(ticket), placed)
            if working.instrument.calendar.phase(now) is Phase.OPEN:
                working = working.trailing_from(float(quote.last))
        except (OrderRefused, DeskError, ValueError):
            raise invalid() from None
        kept = Kept(
            order_id=number_,
            ticket=ticket,
            working=working,
            status=OrderStatus.OPEN,
            placed=placed,
            value=self.value(ticket),
            fees=self.fees(ticket),
            events=[Event("ORDER_PLACED", placed), Event("SENT_TO_MARKET", placed)],
        )
        account.orders.append(kept)
        return kept

    def _replace(self, account: Account, old: int, new: Kept) -> None:
        before = account.order(old)
        assert before is not None
        before.replaced_by, new.replaces = new.order_id, old
        self._end(before, OrderStatus.CANCELLED, self._clock.now(), quietly=True)

    def _end(self, kept: Kept, status: OrderStatus, at: datetime, *, quietly: bool = False) -> None:
        kept.status, kept.working, kept.cancels_at = status, None, None
        kept.events.append(Event(f"ORDER_{status.value}", at))
        if not quietly:
            self._tell(kept, at, status.value.title())

    def _after(self, account: Account, kept: Kept, done: Step) -> None:
        """What a step did to an order."""
        for fill in done.fills:
            self._post(account, kept, fill)
        if done.working is not None:
            kept.working = done.working
            return
        now = self._clock.now()
        if done.status is Done.FILLED:
            kept.status, kept.working, kept.cancels_at = OrderStatus.EXECUTED, None, None
            kept.executed = done.fills[-1].time
            kept.events.append(Event("ORDER_EXECUTED", kept.executed, kept.filled))
            self._tell(kept, now, f"Executed @ ${number(kept.average or ZERO)}")
        else:
            self._end(kept, OrderStatus(done.status.value), now)

    def _post(self, account: Account, kept: Kept, fill: Fill) -> None:
        """A fill: its money, its shares, its line in the history."""
        kept.filled += fill.quantity
        kept.filled_value += fill.quantity * fill.price
        kept.fees_paid += fill.fee
        kept.executed = fill.time
        account.cash += fill.cash
        due = settles(fill.time)
        if fill.side is Side.SELL:
            account.unsettled.append((due, fill.cash))
        self.move_shares(account, fill.symbol, fill.side.sign * fill.quantity, fill.price, fill.time, kept.order_id)
        account.transactions.append(
            Transaction(
                number=self._state.next_number(),
                at=fill.time,
                settles=due,
                kind=KINDS[kept.ticket.action],
                symbol=fill.symbol,
                quantity=fill.side.sign * fill.quantity,
                price=fill.price,
                fee=fill.fee,
                amount=fill.cash,
                order_id=kept.order_id,
            )
        )

    def move_shares(
        self, account: Account, symbol: str, change: Decimal, price: Decimal, at: datetime, order_id: int
    ) -> None:
        """Close the oldest lots first; what is left opens a new one."""
        if symbol not in account.holdings:
            account.holdings[symbol] = Holding(self._state.next_number(), symbol)
        held, left = account.holdings[symbol], change
        for lot in held.lots:
            if lot.remaining * left < 0:
                closing = min(abs(lot.remaining), abs(left)) * (1 if left > 0 else -1)
                lot.remaining += closing
                left -= closing
        held.lots = [lot for lot in held.lots if lot.remaining]
        if left:
            held.lots.append(Lot(self._state.next_number(), left, left, price, at, order_id))
        if not held.lots:
            del account.holdings[symbol]

    def _tell(self, kept: Kept, at: datetime, what: str) -> None:
        asked = kept.ticket
        subject = f"{SPOKEN[asked.action]} {number(asked.quantity)} {asked.symbol} {what}"
        self._state.alerts.append(Alert(1000 + len(self._state.alerts), at, subject, asked.symbol))

    # What E*TRADE asks before it takes one

    def warnings(self, ticket: Ticket) -> list[tuple[int, str]]:
        """What does not stop an order but should be read."""
        quote = self._market.newest(ticket.symbol)
        if quote is None or ticket.limit is None or ticket.price_type != "LIMIT":
            return []
        buying = tickets.ACTIONS[ticket.action] is Side.BUY
        through = ticket.limit / quote.last - 1 if buying else 1 - ticket.limit / quote.last
        far = "Your limit price is far from the current market. Please review it."
        return [(9011, far)] if through >= FAR_LIMIT else []

    def value(self, ticket: Ticket) -> Decimal:
        """What it would cost, at the worst price one can name now."""
        quote = self._quote(ticket)
        buying = tickets.ACTIONS[ticket.action] is Side.BUY
        book = quote.ask if buying else quote.bid
        price = book or quote.last
        if ticket.limit is not None:
            price = ticket.limit
        elif ticket.price_type == "STOP" and ticket.stop is not None:
            price = ticket.stop
        return ticket.quantity * price

    def fees(self, ticket: Ticket) -> Decimal:
        return self._fees(ticket, ticket.quantity, self.value(ticket) / ticket.quantity)

    def _fees(self, ticket: Ticket, quantity: Decimal, price: Decimal) -> Decimal:
        if tickets.ACTIONS[ticket.action] is Side.BUY:
            return ZERO
        return regulatory_fees(quantity, price, self._clock.now().astimezone(NEW_YORK).date())

    def _quote(self, ticket: Ticket) -> Quote:
        quote = self._market.newest(ticket.symbol)
        if quote is None:
            known = ticket.symbol in self._market.known
            raise (
                Refused(400, 1508, "A price is not available now. Please try again.")
                if known
                else Refused(400, 1002, f"{ticket.symbol} is an invalid symbol")
            )
        return quote

    def _check(self, account: Account, ticket: Ticket, changes: int | None) -> None:
        if changes is not None:
            self.changeable(account, changes, ticket)
        self._check_stop(ticket, self._quote(ticket))
        if opens(ticket):
            self._check_money(account, ticket, changes)
        elif ticket.quantity > free_shares(account, ticket, changes):
            raise Refused(400, 1037, "There are not enough available shares to place this order.")

    def _check_money(self, account: Account, ticket: Ticket, changes: int | None) -> None:
        if ticket.action == "SELL_SHORT" and (not account.margin or account.held(ticket.symbol) > 0):
            raise Refused(400, 1037, "There are not enough available shares to place this order.")
        has = money(account, self.last, self._clock.now(), changes)
        if self.value(ticket) > has.power:
            raise Refused(400, 1021, "There are insufficient funds in your account to place this order.")

    def last(self, symbol: str) -> Decimal | None:
        quote = self._market.newest(symbol)
        return None if quote is None else quote.last

    def _check_stop(self, ticket: Ticket, quote: Quote) -> None:
        if ticket.stop is None:
            return
        if ticket.price_type in tickets.TRAILS:
            limit = Decimal(100) if ticket.price_type == "TRAILING_STOP_PRCT" else quote.last
            if ticket.stop >= limit:
                raise Refused(400, 2085, "The stop price is out of range.")
            return
        buying = tickets.ACTIONS[ticket.action] is Side.BUY
        if ticket.stop <= quote.last if buying else ticket.stop >= quote.last:
            side = "above" if buying else "below"
            raise Refused(400, 2084, f"The stop price must be {side} the current market price.")
        if ticket.stop > quote.last * FARTHEST_STOP or ticket.stop * FARTHEST_STOP < quote.last:
            raise Refused(400, 2085, "The stop price is out of range.")


def _all_or_nothing(ticket: Ticket) -> bool:
    return ticket.all_or_none or ticket.term == "FILL_OR_KILL"
