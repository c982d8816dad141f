"""The paper broker: it takes orders like a real one and fills them from the market's quotes; no money moves.

Its truth is its own file beside the ledger, `broker-<desk>.db`, so it survives the engine's death as a broker would.
The rule: every change is one transaction over rows just read, so two engines on one file cannot fill an order twice.
What cash and margin accounts may do is in `_paper_account`, which quotes count is in `_paper_tape`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

from brokers._paper_account import Claim, Standing, expected_price, settlement, worst_price
from brokers._paper_book import Book, Opened
from brokers._paper_file import PaperFile
from brokers._paper_orders import Kept, group_faults, stepped, units
from brokers._paper_tape import PAUSE, Tape, readable
from brokers.base import Broker, BrokerAccount, BrokerFill, BrokerOrder, CashMove, Estimate, Prepared
from domain.calendars import NEW_YORK, Phase
from domain.clock import Clock
from domain.context import AccountKind
from domain.errors import DataError, OrderRefused
from domain.fees import regulatory_fees
from domain.instruments import Instrument, instrument
from domain.matching import FillRules, Step
from domain.orders import AT_BROKER, Fill, OrderRequest, Side, Status
from domain.quotes import Quote
from domain.working import Working, accept, faults
from risk_manager import Approved
from settings import PaperAccount, Settings

ZERO = Decimal(0)
SMALLEST_CAP = 0.0001
_log = logging.getLogger(__name__)


class PaperBroker:
    """Fills orders from the quotes it is told to `follow`; give it those of every symbol held or ordered.

    An order that opens a position and names no price of its own is refused until a quote of its symbol was followed.
    Whether a short sale on margin is wise is for the risk gates; the broker asks only whether the money suffices.
    """

    name = "paper"
    label = "Paper broker"
    real_money = False
    oco = True
    echoes_ids = True
    tells_fills = True
    polled = False
    fence_s = 0.0
    list_lag_s = 0.0
    clock_skew_s = 0.0

    def __init__(self, settings: Settings, clock: Clock, desk: str) -> None:
        """Opens the file, or makes it with the accounts in the settings. SettingsError: the file is not ours;
        BrokerUnavailable: it cannot be had now."""
        if not re.fullmatch(r"[\w-]{1,64}", desk):
            raise ValueError(f"a desk's name has up to 64 letters, digits, _ or -: got {desk!r}")
        self._clock, self._tape = clock, Tape()
        self._rules = rules_of(settings)
        self._book = Book(PaperFile(settings.data_dir / f"broker-{desk}.db"))
        self._open_accounts(settings.paper_accounts)
        self._closed = False

    # What it has

    def account_names(self) -> tuple[str, ...]:
        """None to pick from: all are traded side by side."""
        return ()

    def use(self, account: str) -> None:
        """Nothing: all are."""

    async def accounts(self) -> list[BrokerAccount]:
        self._expire()
        with self._book.read():
            return [self._standing(account).seen() for account in self._book.accounts()]

    async def orders(self, since: datetime) -> list[BrokerOrder]:
        self._expire()
        with self._book.read():
            return [kept.listed() for kept in self._book.orders_since(since)]

    async def fills(self, since: datetime) -> list[BrokerFill]:
        with self._book.read():
            return self._book.fills_since(since)

    async def cash_moves(self, since: datetime) -> list[CashMove]:
        """None: on paper only trades move money."""
        return []

    def check(self) -> list[str]:
        """Where accounts and orders say other than all fills added up, in sentences; empty where they agree. Reads the
        whole history."""
        with self._book.read():
            return list(self._book.differences())

    # What it is told to do

    async def preview(self, request: OrderRequest) -> Estimate:
        """At the newest quote followed. Resting orders that hold the shares this one would close are a warning only:
        they may be gone when it is placed."""
        self._expire()
        with self._book.read():
            what, account = _instrument(request), self._account(request)
            quote = self._newest(request.symbol)
            if quote is None:
                raise OrderRefused(f"{_named(request)}: there is no price yet for {request.symbol}: wait for its quote")
            standing = self._standing(account)
            return self._estimate(request, what, quote, standing)

    async def prepare(self, approved: Approved, *, client_order_id: str) -> Prepared:
        """Nothing: whether it takes it, `place` says for certain."""
        return Prepared()

    async def place(
        self,
        approved: Approved,
        *,
        client_order_id: str,
        prepared: Prepared = Prepared(),  # noqa: B008 - it is frozen
        group: str = "",
        signed: datetime | None = None,
    ) -> str:
        if not isinstance(approved, Approved):
            raise TypeError("a broker takes only what RiskManager.review() approved")
        if not client_order_id:
            raise ValueError("client_order_id must not be empty: it is what tells one order from another")
        self._expire()
        with self._book.write():
            known = self._book.order_named(client_order_id)
            if known is not None:
                return _same(known, approved.request, group)
            return self._take(approved.request, client_order_id, group)

    async def cancel(self, account: str, broker_id: str) -> None:
        """Cancelled at once. What was cancelled before stays so without a word."""
        self._expire()
        with self._book.write():
            kept = self._book.order(broker_id)
            if kept is None or kept.request.account != account:
                raise OrderRefused(f"there is no order {broker_id} in account {account}")
            if kept.status is Status.CANCELLED:
                return
            if kept.status not in AT_BROKER:
                raise OrderRefused(f"order {broker_id} is done already ({kept.status})")
            self._book.change_order(kept.ended(Status.CANCELLED, self._clock.now(), "as asked"))

    async def follow(self, quotes: Sequence[Quote]) -> None:
        """Fill what these prices fill. A quote no newer than the one before it, of any process, does nothing. To be
        called at every poll, with nothing where nothing is newer: what trades while nobody calls does not count."""
        now = self._clock.now()
        found = readable(quotes, now)
        self._tape.wake(now)
        with self._book.read():
            working, late = self._book.working_symbols(), self._book.expired(now)
        if wanted := [quote for quote in found if quote.symbol in working]:
            with self._book.write():
                kept = self._book.quotes()
                for quote in wanted:
                    self._meet(quote, kept, now)
        if late:
            self._expire()
        for quote in found:
            self._tape.remember(quote, now)

    async def close(self) -> None:
        """Keeps the newest prices for the next start, and closes the file."""
        if self._closed:
            return
        self._closed = True
        try:
            self._keep_newest()
        finally:
            self._book.close()

    def _keep_newest(self) -> None:
        with self._book.write():
            kept = self._book.quotes()
            for symbol, quote in self._tape.all_newest(kept).items():
                if quote != kept.get(symbol):
                    self._book.keep_quote(quote)

    # Accounts

    def _open_accounts(self, wanted: Iterable[PaperAccount]) -> None:
        with self._book.write():
            for one in wanted:
                known = self._book.account(one.name)
                if known is None:
                    self._book.open_account(one.name, AccountKind(one.kind), one.cash, self._clock.now())
                elif (known.kind, known.opened_with) != (one.kind, one.cash):
                    was = f"{known.kind} with {known.opened_with}"
                    _log.warning("paper account %s stays as it was opened, %s: settings are ignored", one.name, was)

    def _account(self, request: OrderRequest) -> Opened:
        account = self._book.account(request.account)
        if account is None:
            known = ", ".join(each.name for each in self._book.accounts())
            raise OrderRefused(f"{_named(request)}: no account is called {request.account!r}: there are {known}")
        return account

    def _standing(self, account: Opened) -> Standing:
        now, book = self._clock.now(), self._book
        newest = self._tape.all_newest(book.quotes())
        return Standing(
            name=account.name,
            kind=account.kind,
            cash=account.cash,
            unsettled=sum(book.unsettled(account.name, now).values(), ZERO),
            positions=book.positions(account.name),
            prices={symbol: quote.last for symbol, quote in newest.items()},
            resting=tuple(kept.claim for kept in book.orders_of(account.name)),
            bought_unsettled=book.bought_unsettled(account.name, now),
        )

    def _newest(self, symbol: str) -> Quote | None:
        return self._tape.newest(symbol, self._book.quotes().get(symbol))

    # Taking an order

    def _take(self, request: OrderRequest, client_order_id: str, group: str) -> str:
        what, standing = _instrument(request), self._standing(self._account(request))
        quote, now = self._newest(request.symbol), self._clock.now()
        cost = standing.positions[request.symbol].cost if standing.held(request.symbol) else ZERO
        worst = worst_price(request, quote, what, self._rules, cost)
        claim = Claim(request.symbol, request.side, request.quantity, worst, group)
        fees = self._fees(request, request.quantity, worst)
        beside = group_faults(request, group, self._book.orders_beside(group))
        _refuse(request, [*faults(request, what), *beside, *standing.faults(claim, fees)])
        working = _accepted(self._book.next_id(client_order_id), request, what, now)
        if quote is not None and _stands(quote, what, now):
            working = working.trailing_from(float(quote.last))
        self._tape.ordered(request.symbol, now)
        self._book.add_order(Kept(working, client_order_id, group, Status.WORKING, now, worst))
        if quote is not None:
            self._book.keep_quote(quote)
        return working.order_id

    def _estimate(self, request: OrderRequest, what: Instrument, quote: Quote, standing: Standing) -> Estimate:
        price = expected_price(request, quote, what, self._rules)
        fees = self._fees(request, request.quantity, price)
        worst = worst_price(request, quote, what, self._rules, ZERO)
        claim = Claim(request.symbol, request.side, request.quantity, worst)
        freed = _freed(standing, claim)
        reasons = list(freed.faults(claim, fees))
        _refuse(request, [*faults(request, what), *reasons])
        fill = _supposed(request, price, fees, self._clock.now())
        after = freed.after(fill, settles=what.is_crypto)
        held_back = [said for said in standing.faults(claim, fees) if said not in reasons]
        warnings = (*held_back, *self._warnings(quote, what))
        return Estimate(price, -fill.cash, fees, after.buying_power, warnings=warnings)

    def _warnings(self, quote: Quote, what: Instrument) -> list[str]:
        said = []
        if what.calendar.phase(self._clock.now()) is not Phase.OPEN:
            said.append("The market is closed: the order waits until it opens.")
        if quote.delayed_s:
            said.append(f"Prices are {quote.delayed_s // 60} minutes old: the fill will follow the delayed ones.")
        return said

    def _fees(self, request: OrderRequest, quantity: Decimal, price: Decimal) -> Decimal:
        fees = self._rules.commission.of(quantity, quantity * price)
        if request.side is Side.SELL and instrument(request.symbol).venue == "US":
            fees += regulatory_fees(quantity, price, self._clock.now().astimezone(NEW_YORK).date())
        return fees

    # Matching

    def _expire(self) -> None:
        """End what the clock has ended, though no quote came to tell."""
        now = self._clock.now()
        with self._book.read():
            late = self._book.expired(now)
        if late:
            with self._book.write():
                for kept in self._book.expired(now):
                    self._book.change_order(kept.ended(Status.EXPIRED, now, "its time was over"))

    def _meet(self, quote: Quote, kept: dict[str, Quote], now: datetime) -> None:
        prices = self._tape.step(quote, kept.get(quote.symbol))
        if prices is None:
            return
        taken = ZERO
        for unit in units(self._book.orders_in(quote.symbol)):
            for order, done in zip(unit, stepped(unit, prices, self._rules, taken), strict=True):
                taken += self._record(order, done, now)
        self._book.keep_quote(quote)
        kept[quote.symbol] = quote

    def _record(self, order: Kept, done: Step, now: datetime) -> Decimal:
        """Write down what a step did; the quantity it filled."""
        after = order.after(done, now)
        if after != order:
            self._book.change_order(after)
        for fill in done.fills:
            self._post(fill, now)
        return after.working.filled - order.working.filled

    def _post(self, fill: Fill, now: datetime) -> None:
        """The fill, and when its money is good. A purchase beyond the settled cash is marked until the last of the
        unsettled money is in, which may be longer than it takes: the mark warns, it forbids nothing."""
        self._book.add_fill(fill, now)
        settles = settlement(instrument(fill.symbol), fill.time)
        if fill.side is Side.SELL and settles is not None:
            self._book.add_unsettled(fill.account, settles, fill.cash, now)
        account, coming = self._book.account(fill.account), self._book.unsettled(fill.account, now)
        buying = fill.side is Side.BUY and account is not None and account.kind is AccountKind.CASH
        if account and buying and coming and account.cash < sum(coming.values(), ZERO):
            self._book.add_bought_unsettled(fill.account, fill.symbol, max(coming))


def rules_of(settings: Settings) -> FillRules:
    """The fill rules of these settings; a volume cap of 0 fills whatever is asked."""
    cap = settings.paper_volume_cap
    return FillRules(
        slippage_bps=settings.paper_slippage_bps, volume_cap=max(cap, SMALLEST_CAP), ignore_volume=cap == 0
    )


def _stands(quote: Quote, what: Instrument, now: datetime) -> bool:
    """Whether a trailing stop that comes now may begin at this price: one of the session that is on."""
    told = quote.time + timedelta(seconds=quote.delayed_s)
    return now - told <= PAUSE and {what.calendar.phase(now), what.calendar.phase(quote.time)} == {Phase.OPEN}


def _named(request: OrderRequest) -> str:
    return f"{request.side} {request.symbol}"


def _refuse(request: OrderRequest, reasons: Iterable[str]) -> None:
    if said := "; ".join(reasons):
        raise OrderRefused(f"{_named(request)}: {said}")


def _instrument(request: OrderRequest) -> Instrument:
    try:
        return instrument(request.symbol)
    except DataError as error:
        raise OrderRefused(str(error)) from error


def _accepted(broker_id: str, request: OrderRequest, what: Instrument, now: datetime) -> Working:
    try:
        return accept(broker_id, request, what, now)
    except DataError as error:
        raise OrderRefused(str(error)) from error


def _same(known: Kept, request: OrderRequest, group: str) -> str:
    if (known.request, known.group) != (request, group):
        raise OrderRefused(
            f"{_named(request)}: {known.client_order_id} names another order already: give this one an id of its own"
        )
    return known.working.order_id


def _freed(standing: Standing, claim: Claim) -> Standing:
    """The account as it is once the orders that hold the shares `claim` closes are gone."""
    if standing.held(claim.symbol) * claim.side.sign >= 0:
        return standing
    kept = [each for each in standing.resting if (each.symbol, each.side) != (claim.symbol, claim.side)]
    return replace(standing, resting=tuple(kept))


def _supposed(request: OrderRequest, price: Decimal, fees: Decimal, now: datetime) -> Fill:
    of = (request.account, request.symbol, request.side)
    return Fill("preview", "preview", *of, request.quantity, price, now, fees)


PART: type[Broker] = PaperBroker
