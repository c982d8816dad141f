"""The steps of the live check, one after the other; what each is for stands in the words the person reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal

from domain.clock import Clock
from domain.errors import DeskError
from etrade._live_check_guard import Guard, Permit
from etrade._live_check_orders import LOOK_EVERY_S, Hand, Outcome, Sent, error_words
from etrade._live_check_talk import Findings, Halted, Pace, Talk
from etrade.accounts import Account
from etrade.errors import EtradeError
from etrade.market import EtradeQuote
from etrade.orders import Preview
from etrade_client import EtradeClient

CENT = Decimal("0.01")
FAR = Decimal("0.7")  # of the bid: a limit above that is not far from the market
OLD_PREVIEW_S = 210.0
LISTED_WITHIN_S = 60.0
BY_HAND = """\
Three things cannot be settled by one share far below the market, so nothing is sent for them:
- Stops after hours. Buy one share on E*TRADE's web site. Shortly before 16:00 New York place a
  sell stop for it, good till cancelled, a few cents below the price. Look between 16:00 and 20:00
  whether a price below the stop fills it; the desk expects that none does.
- Splits. Before a split of something you hold, note the numbers and prices of its resting orders.
  Look on the morning of the split whether E*TRADE has cancelled, kept or adjusted them.
- Too many calls. Going over E*TRADE's limit on purpose would be rude and may cost you the key for
  a while. If it ever happens, the status stands in the desk's log."""


@dataclass(slots=True)
class Steps:
    """One run: `preview` and `first` are the order of step 4."""

    talk: Talk
    findings: Findings
    client: EtradeClient
    guard: Guard
    hand: Hand
    account: Account
    symbol: str
    market_open: Callable[[], bool]
    clock: Clock
    pace: Pace
    preview: Preview | None = None
    first: Sent | None = None

    async def all(self) -> None:
        if not await self.price():
            self.findings.note("1", "limit", "skipped: without a price nothing else can be done")
            self.by_hand()
            return
        await self.what_it_would_cost()
        if self.market_open():
            await self.old_preview()
            await self.order()
            await self.same_again()
            await self.same_id_again()
            await self.cancel()
        else:
            self.findings.note(
                "3", "orders", "skipped: steps 3 to 7 need the regular session (09:30 to 16:00 New York)"
            )
        self.by_hand()

    # 1 and 2: nothing moves

    async def price(self) -> bool:
        words = f"Read the quote of {self.symbol}. The limit will be half its price, to the cent. Costs nothing."
        if not self.talk.wanted("1  The price", words):
            return False
        quote = await self._quote()
        self.findings.note(
            "1", "quote", f"{quote.status}, last {shown(quote.last)}, bid {shown(quote.bid)}", status=quote.status
        )
        if not quote.live:
            raise Halted(
                f"the quote is {quote.status}, not real-time: what is far from the market cannot be told by it"
            )
        limit = far_limit(quote)
        self.guard.permit = Permit(self.account.key, self.symbol, limit)
        await self.hand.begin(self.symbol, limit)
        self.findings.note("1", "limit", f"BUY 1 {self.symbol} at {limit}, bid {shown(quote.bid)}", limit=str(limit))
        return True

    async def what_it_would_cost(self) -> None:
        words = "Ask E*TRADE what the order would cost. A preview moves nothing and reserves nothing."
        if not self.talk.wanted("2  A preview", words):
            return
        preview = await self.hand.preview(self.hand.new_id())
        said = [f"{one.kind} {one.code}: {one.text}" for one in preview.messages]
        found = (
            f"total {shown(preview.total)}, commission {shown(preview.commission)}; {'; '.join(said) or 'no remarks'}"
        )
        self.findings.note("2", "preview", found, codes=[one.code for one in preview.messages])
        if preview.differs:
            raise Halted(f"E*TRADE's preview is of another order: {'; '.join(preview.differs)}")

    # 3 to 7: an order far below the market

    async def old_preview(self) -> None:
        words = (
            f"Preview the order, wait {OLD_PREVIEW_S / 60:.1f} minutes, then place it. E*TRADE says a preview lives "
            "for about three, so a refusal is expected, and its code is what we look for. If it is taken after all, it "
            "is cancelled at once. Skip it if you have no time."
        )
        if not self.talk.wanted("3  How long a preview lives (optional)", words):
            return
        preview = await self.hand.preview(self.hand.new_id())
        until = self.pace.monotonic() + OLD_PREVIEW_S
        while (left := until - self.pace.monotonic()) > 0:
            self.talk.tell(f"  waiting, {left:.0f} s left")
            await self.pace.rest(min(30.0, left))
        sent, new = await self._place(preview)
        if new:
            self._found(
                "3", "preview lifetime", sent, f"a preview {OLD_PREVIEW_S:.0f} s old WAS TAKEN: it lives for longer"
            )
            await self._take_back(new)
        else:
            self._found("3", "preview lifetime", sent, f"over after {OLD_PREVIEW_S:.0f} s: {sent.words}")

    async def order(self) -> None:
        limit = self.hand.order.limit if self.hand.order else None
        words = (
            f"Place BUY 1 {self.symbol} at {limit}, and look at the list of orders twice a second until it is there. "
            "This is the order that could be filled, if the price halved within the next minutes."
        )
        if not self.talk.wanted("4  One order, and how long the list takes to show it", words):
            return
        preview = await self.hand.preview(self.hand.new_id())
        sent, _ = await self._place(preview, watch=False)
        if sent.outcome is Outcome.SILENT:
            self.findings.note("4", "place", f"{sent.words}: it may stand, looking for it for up to six minutes")
            await self.hand.watch(sent)
        if not sent.ids:
            self._found("4", "place", sent, f"{sent.outcome}: {sent.words}")
            raise Halted("the order does not stand, so that the steps after it have nothing to look at")
        if (seen := self.guard.seen.get(("POST", "the order"))) and sent.outcome is Outcome.PLACED:
            found = f"answered in {seen.took_s * 1000:.0f} ms, order {sent.ids[0]}: {sent.said}"
            self.findings.note("4", "place", found, milliseconds=round(seen.took_s * 1000), status=seen.status)
        self.preview, self.first = preview, sent
        await self._list_lag(sent)
        await self._fields(sent.ids[0])
        self._nothing_bought()

    async def same_again(self) -> None:
        if self.preview is None:
            self.findings.note("5", "the same order again", "skipped: there is no order of step 4")
            return
        words = (
            "Send the very same order again: same preview, same clientOrderId. E*TRADE should refuse it; the code says "
            "why. If it makes a second order of it, that one is cancelled at once."
        )
        if not self.talk.wanted("5  The same again", words):
            return
        await self._repeat("5", "the same order again", self.preview)

    async def same_id_again(self) -> None:
        if self.preview is None:
            self.findings.note("6", "the same id again", "skipped: there is no order of step 4")
            return
        words = (
            "Once more with a new preview, so that only the clientOrderId is an old one. If that makes a second order, "
            "it is cancelled at once."
        )
        if not self.talk.wanted("6  A new preview with the same clientOrderId", words):
            return
        try:
            preview = await self.hand.preview(self.preview.client_order_id)
        except EtradeError as error:
            found = f"the preview is refused already: {error_words(error)}"
            self.findings.note("6", "the same id again", found, code=error.code, status=error.status, taken=False)
            return
        await self._repeat("6", "the same id again", preview)

    async def cancel(self) -> None:
        if self.first is None:
            self.findings.note("7", "cancel", "skipped: there is no order of step 4")
            return
        words = (
            "Cancel the order, look how long it takes until the list says CANCELLED, and cancel it once more to learn "
            "the code for what is over. If you skip it, the clean-up cancels the order."
        )
        if not self.talk.wanted("7  Cancel it", words):
            return
        number, begun = self.first.ids[0], self.pace.monotonic()
        said = await self.hand.cancel(number)
        over = await self.hand.ended((number,))
        took = self.pace.monotonic() - begun
        status = self.hand.status(number) or "not in the list"
        found = f"{said.words}; {status} after {took:.1f} s" + ("" if over else ", and not over yet")
        self.findings.note(
            "7", "cancel", found, taken=said.taken, code=said.code, seconds=round(took, 1), status=status
        )
        self._nothing_bought()
        if over:
            again = await self.hand.cancel(number)
            found = again.words if not again.taken else f"TAKEN although it is over: {again.words}"
            self.findings.note("7", "cancel again", found, taken=again.taken, code=again.code, status=again.status)

    def by_hand(self) -> None:
        self.talk.tell("\n8  What only a look can tell")
        self.talk.tell(BY_HAND)
        self.findings.note("8", "by hand", "stops after hours, splits and too many calls are still open: see above")

    # Pieces

    async def _quote(self) -> EtradeQuote:
        quotes = await self.client.quotes([self.symbol])
        quote = quotes.by_symbol.get(self.symbol)
        if quote is None:
            raise Halted(f"E*TRADE gave no quote for {self.symbol}")
        return quote

    async def _place(self, preview: Preview, *, watch: bool = True) -> tuple[Sent, tuple[int, ...]]:
        """The placing, and the numbers of orders it made that were not there before. The price is looked at first."""
        quote, limit = await self._quote(), self.hand.order.limit if self.hand.order else None
        if quote.bid is None or limit is None or limit > quote.bid * FAR:
            raise Halted(
                f"the bid is {shown(quote.bid)} now: {limit} is no longer far below it, so nothing more is sent"
            )
        before = self.hand.ids
        sent = await self.hand.place(preview)
        if watch:
            await self.hand.watch(sent)
        return sent, tuple(number for number in sent.ids if number not in before)

    def _found(self, step: str, name: str, sent: Sent, words: str) -> None:
        taken = bool(sent.ids)
        self.findings.note(step, name, words, taken=taken, code=sent.code, status=sent.status, outcome=sent.outcome)

    async def _list_lag(self, sent: Sent) -> None:
        number, begun = sent.ids[0], sent.answered
        there = await self.hand.look_until(lambda: number in self.hand.rows, begun + LISTED_WITHIN_S)
        if not there:
            found = f"ORDER {number} WAS NOT IN THE LIST within {LISTED_WITHIN_S:.0f} s"
            self.findings.note("4", "list lag", found, not_within_s=LISTED_WITHIN_S)
            self.hand.expect_lag(LISTED_WITHIN_S)
            return
        silent = sent.outcome is Outcome.FOUND
        lag = max(self.pace.monotonic() - (sent.begun if silent else begun), 0.0)
        since = "it was sent (the answer was lost)" if silent else "the answer"
        found = f"in the list {lag:.1f} s after {since}; looked every {LOOK_EVERY_S:g} s"
        self.findings.note("4", "list lag", found, seconds=round(lag, 2))
        self.hand.expect_lag(lag)

    async def _fields(self, number: int) -> None:
        """Whether the list or the single order tells an id that would make the match exact."""
        found, value = [], {}
        try:
            await self.client.order(self.account.key, number)
        except DeskError as error:
            found.append(f"the single order cannot be read ({error})")
        for what in ("the orders list", "the order"):
            seen = self.guard.seen.get(("GET", what))
            if seen is None or not seen.has("orderId"):
                found.append(f"{what} did not show it")
                continue
            value[what] = names = [name for name in ("previewId", "clientOrderId") if seen.has(name)]
            found.append(f"{what} has {' and '.join(names) or 'neither previewId nor clientOrderId'}")
        self.findings.note("4", "ids in the list", "; ".join(found), **value)

    async def _repeat(self, step: str, name: str, preview: Preview) -> None:
        sent, new = await self._place(preview)
        if new:
            numbers = ", ".join(map(str, new))
            self._found(
                step, name, sent, f"E*TRADE MADE A SECOND ORDER OF IT (order {numbers}): A REPEAT IS NOT RECOGNISED"
            )
            await self._take_back(new)
        elif sent.ids:
            self._found(step, name, sent, f"answered with order {sent.ids[0]} again: the repeat is recognised")
        else:
            self._found(step, name, sent, f"{sent.outcome}: {sent.words}")
        self._nothing_bought()

    async def _take_back(self, numbers: tuple[int, ...]) -> None:
        for number in numbers:
            said = await self.hand.cancel(number)
            self.talk.tell(f"  order {number}: cancel {said.words}")
        await self.hand.ended(numbers)
        self._nothing_bought()

    def _nothing_bought(self) -> None:
        if bought := self.hand.bought():
            raise Halted(f"order {bought[0]} was filled: a share was bought, so nothing more is sent")


def shown(amount: Decimal | None) -> str:
    """With cents at least, or 'none'."""
    if amount is None:
        return "none"
    return f"{amount:.2f}" if amount == amount.quantize(CENT) else f"{amount:f}"


def far_limit(quote: EtradeQuote) -> Decimal:
    """Half the price, down to the cent. Halted where that is nothing, or not at least 30 % below the bid."""
    if quote.last is None or quote.bid is None:
        raise Halted("the quote has no price or no bid: what is far below the market cannot be told")
    limit = (quote.last / 2).quantize(CENT, ROUND_DOWN)
    if limit < CENT:
        raise Halted(f"half of {quote.last} is less than a cent: take a symbol that costs more")
    if limit > quote.bid * FAR:
        raise Halted(
            f"half the price is {limit} and the bid {shown(quote.bid)}: a limit must be 30 % below the bid at least"
        )
    return limit
