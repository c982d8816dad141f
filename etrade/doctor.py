"""What keeps E*TRADE from working here: one thing after the other, each with its cure. It moves nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from domain.errors import DeskError
from etrade.errors import KeyRefused, OverLimit, Refused, RequestWrong, SignInAgain, Unavailable
from etrade.order_calls import OrderCalls
from etrade.orders import Action, EtradeOrder, Leg, PriceType
from etrade.tokens import NEW_YORK, explain

if TYPE_CHECKING:
    from etrade.accounts import Account
    from etrade_client import EtradeReader

CLOCK_WARN_S, CLOCK_FAIL_S = 30.0, 240.0
WAIT, DELAYED = "wait a little and look again", 1
SIGN_THE_AGREEMENT = "sign the market-data agreement on E*TRADE's web site, then sign in here again"
_CURES: list[tuple[type[DeskError], str]] = [
    (KeyRefused, "check ETRADE_CONSUMER_KEY and ETRADE_ENVIRONMENT, or ask E*TRADE for a new key"),
    (SignInAgain, "open the sign-in link and paste the code"),
    (OverLimit, "let fewer programs ask at once, or wait until the hour is over"),
    (Unavailable, WAIT),
    (Refused, "read E*TRADE's reason; its web site may ask for an agreement or an order level first"),
    (RequestWrong, "read E*TRADE's reason; its support asks for the trace number"),
]


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. `cure` is '' where nothing is to be done."""

    name: str
    verdict: Verdict
    said: str
    cure: str = ""


async def doctor(
    client: EtradeReader, *, account_number: str = "", symbol: str = "SPY", preview: bool = False
) -> list[Check]:
    """Keys, clock, sign-in, accounts, prices, agreements, orders, in this order; it stops at the first failure that
    makes the rest pointless. `preview`: also preview (never place) the purchase of one share at half its price; that
    takes an EtradeClient (TypeError)."""
    orders = client if isinstance(client, OrderCalls) else None
    if preview and orders is None:
        raise TypeError("a preview needs an EtradeClient: a reader cannot ask for one")
    checks = [await _keys(client)]
    checks.append(_clock(client))
    if checks[0].verdict is Verdict.FAIL:
        return checks
    checks.append(await _tried("sign-in", lambda: _sign_in(client)))
    if checks[-1].verdict is Verdict.FAIL:
        return checks
    found: list[Account] = []
    checks.append(await _tried("accounts", lambda: _accounts(client, account_number, found)))
    last: list[Decimal] = []
    checks.append(await _tried("prices", lambda: _prices(client, symbol, last)))
    if not found:
        return checks
    checks.append(await _tried("agreements", lambda: _agreements(client, found[0])))
    checks.append(await _tried("orders", lambda: _orders(client, found[0])))
    if preview and last and orders is not None:
        checks.append(await _tried("order preview", lambda: _preview(orders, found[0], symbol, last[0])))
    return checks


async def _tried(name: str, look: Callable[[], Awaitable[Check]]) -> Check:
    try:
        return await look()
    except DeskError as error:
        problem = getattr(error, "problem", "")
        cure = explain(problem).cure if problem else next((c for k, c in _CURES if isinstance(error, k)), "")
        return Check(name, Verdict.FAIL, str(error), cure or "read the sentence: it names the cure")


async def _keys(client: EtradeReader) -> Check:
    """A sign-in link can be had with the keys alone."""

    async def look() -> Check:
        await client.request_token()
        return Check("keys", Verdict.OK, f"E*TRADE takes the consumer key for {client.environment.name}.")

    return await _tried("keys", look)


def _clock(client: EtradeReader) -> Check:
    skew = client.clock_skew_s
    if skew is None:
        return Check("clock", Verdict.WARN, "E*TRADE's clock could not be compared with this machine's.", WAIT)
    if abs(skew) < 2:
        return Check("clock", Verdict.OK, "This machine's clock agrees with E*TRADE's.")
    said = f"This machine's clock is {abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} E*TRADE's."
    cure = "set the clock, best by switching on time over the network"
    if abs(skew) >= CLOCK_FAIL_S:
        return Check("clock", Verdict.FAIL, said + " From five minutes on E*TRADE refuses every call.", cure)
    if abs(skew) >= CLOCK_WARN_S:
        return Check("clock", Verdict.WARN, said, cure)
    return Check("clock", Verdict.OK, said)


async def _sign_in(client: EtradeReader) -> Check:
    await client.accounts()
    return Check("sign-in", Verdict.OK, client.sign_in().said)


async def _accounts(client: EtradeReader, number: str, found: list[Account]) -> Check:
    account = await client.account(number)
    found.append(account)
    return Check(
        "accounts", Verdict.OK, f"Account {account.masked}, {account.mode.lower() or 'kind not said'}, is open."
    )


async def _prices(client: EtradeReader, symbol: str, last: list[Decimal]) -> Check:
    quotes = await client.quotes([symbol])
    quote: Any = quotes.by_symbol.get(symbol.upper()) or next(iter(quotes.by_symbol.values()), None)
    if quote is None:
        return Check("prices", Verdict.FAIL, f"E*TRADE gave no quote for {symbol}.", WAIT)
    if quote.last is not None:
        last.append(quote.last)
    if quote.live:
        return Check("prices", Verdict.OK, f"Prices come in real time ({quote.status}).")
    if quote.status == "DELAYED":
        return Check("prices", Verdict.WARN, "Prices are delayed: nothing is traded on them.", SIGN_THE_AGREEMENT)
    return Check(
        "prices", Verdict.WARN, f"Prices are of the last session ({quote.status}).", "look again while it trades"
    )


async def _agreements(client: EtradeReader, account: Account) -> Check:
    balance = await client.balance(account.key)
    if balance.quote_mode == DELAYED:
        said = "The market-data agreement is not signed: E*TRADE gives this account delayed prices."
        return Check("agreements", Verdict.WARN, said, SIGN_THE_AGREEMENT)
    if balance.quote_mode is None:
        return Check(
            "agreements", Verdict.WARN, "E*TRADE did not say which prices this account has.", SIGN_THE_AGREEMENT
        )
    return Check("agreements", Verdict.OK, "Nothing says that an agreement is missing.")


async def _orders(client: EtradeReader, account: Account) -> Check:
    today = client.clock.now().astimezone(NEW_YORK).date()
    listed = await client.orders(account.key, start=today, end=today)
    return Check("orders", Verdict.OK, f"Orders can be read: {len(listed)} today.")


async def _preview(client: OrderCalls, account: Account, symbol: str, last: Decimal) -> Check:
    limit = (last / 2).quantize(Decimal("0.01"), ROUND_DOWN)
    order = EtradeOrder((Leg.stock(symbol.upper(), Action.BUY, 1),), PriceType.LIMIT, limit=limit)
    at = client.clock.now()
    await client.preview(account.key, order, f"DOC{int(at.timestamp() * 1000):X}"[:20])
    return Check("order preview", Verdict.OK, f"An order for one {symbol} could be placed; none was.")
