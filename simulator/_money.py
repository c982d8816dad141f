"""What an account may spend and what it holds free: cash and margin rules, settlement on the next session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from decimal import Decimal

import numpy as np

from domain.calendars import NEW_YORK, calendar
from domain.orders import Side
from simulator._market import EXCHANGE
from simulator._state import ZERO, Account, Kept, Ticket
from simulator._tickets import ACTIONS

PriceOf = Callable[[str], Decimal | None]


@dataclass(frozen=True, slots=True)
class Money:
    """An account's money at a moment. `reserved` is what its open orders would cost."""

    cash: Decimal
    unsettled: Decimal
    long_value: Decimal
    short_value: Decimal
    reserved: Decimal
    margin: bool

    @property
    def market_value(self) -> Decimal:
        return self.long_value + self.short_value

    @property
    def equity(self) -> Decimal:
        return self.cash + self.market_value

    @property
    def margin_power(self) -> Decimal:
        """Twice what half the worth of all positions leaves free (Regulation T), open orders not taken off."""
        return max(ZERO, 2 * (self.equity - (self.long_value - self.short_value) / 2))

    @property
    def settled(self) -> Decimal:
        return max(ZERO, self.cash - self.unsettled)

    @property
    def power(self) -> Decimal:
        """What one more order may cost."""
        funds = self.margin_power if self.margin else self.cash
        return max(ZERO, funds - self.reserved)


def money(account: Account, price_of: PriceOf, now: datetime, but: int | None = None) -> Money:
    """`but`: an order that is about to be replaced, and ties nothing up."""
    values = [
        held.quantity * (price_of(held.symbol) or held.cost / held.quantity)
        for held in account.holdings.values()
        if held.quantity
    ]
    return Money(
        cash=account.cash,
        unsettled=sum((amount for until, amount in account.unsettled if until > now), ZERO),
        long_value=sum((value for value in values if value > 0), ZERO),
        short_value=sum((value for value in values if value < 0), ZERO),
        reserved=sum((reserve(kept) for kept in account.working() if kept.order_id != but), ZERO),
        margin=account.margin,
    )


def opens(ticket: Ticket) -> bool:
    """Whether it opens a position or adds to one."""
    return ticket.action in ("BUY", "SELL_SHORT")


def reserve(kept: Kept) -> Decimal:
    """What an open order ties up: money for what it would open."""
    return kept.value * kept.remaining / kept.ticket.quantity if opens(kept.ticket) else ZERO


def free_shares(account: Account, ticket: Ticket, but: int | None) -> Decimal:
    """Shares that this order may close: held, less what other open orders of the same kind would close."""
    side = ACTIONS[ticket.action]
    held = account.held(ticket.symbol) * (1 if side is Side.SELL else -1)
    tied = sum(
        (
            kept.remaining
            for kept in account.working()
            if kept.ticket.symbol == ticket.symbol and kept.ticket.action == ticket.action and kept.order_id != but
        ),
        ZERO,
    )
    return held - tied


def settles(traded: datetime) -> datetime:
    """When the money of a trade is good: the next session's day (T+1), its first moment in New York."""
    day, days = traded.astimezone(NEW_YORK).date(), calendar(EXCHANGE).sessions.days
    at = int(np.searchsorted(days, np.datetime64(day, "D"), side="right"))
    due = days[at].item() if at < len(days) else day + timedelta(days=4)
    return datetime.combine(due, time(), NEW_YORK)
