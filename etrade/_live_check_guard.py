"""What the live check may send, held against every request at the one place that all of them pass.

The rule: reads; previews and places of BUY 1 share of one symbol by a day limit at or below the agreed one; cancels of
orders this check placed. Anything else does not leave, whoever asked for it. Of an answer it keeps the status, how
long it took and the names of its fields, never a value.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlsplit

from etrade import body as bodies
from etrade.transport import Reply, Request, Transport, TransportError

MOST_PLACES = 4  # an old preview, the order, and two repeats of it
_ORDER = {"allOrNone": False, "priceType": "LIMIT", "orderTerm": "GOOD_FOR_DAY", "marketSession": "REGULAR"}


@dataclass(frozen=True, slots=True)
class Seen:
    """The last answer to a kind of call; `names` are those of all its fields."""

    status: int
    took_s: float
    names: frozenset[str]

    def has(self, name: str) -> bool:
        return name.lower() in {one.lower() for one in self.names}


@dataclass(frozen=True, slots=True)
class Permit:
    """The one order that may be sent, in the one account."""

    account_key: str = field(repr=False)
    symbol: str
    highest: Decimal


class Guard:
    """A transport before another one. `own` are the order numbers that may be cancelled."""

    def __init__(self, inner: Transport, monotonic: Callable[[], float]) -> None:
        self._inner, self._monotonic = inner, monotonic
        self.permit: Permit | None = None
        self.own: set[int] = set()
        self.places = 0
        self.seen: dict[tuple[str, str], Seen] = {}
        self.stopped: list[str] = []

    async def send(self, request: Request) -> Reply:
        if wrong := self._wrong(request):
            self.stopped.append(wrong)
            raise TransportError(f"the live check sends no such thing: {wrong}", sent=False)
        if request.url.endswith("/orders/place.json"):
            self.places += 1
        begun = self._monotonic()
        reply = await self._inner.send(request)
        took_s = self._monotonic() - begun
        self.seen[request.method, request.what] = Seen(reply.status, took_s, frozenset(_names_of(reply.body)))
        return reply

    async def close(self) -> None:
        await self._inner.close()

    def _wrong(self, request: Request) -> str:
        """Why it may not leave; '' where it may."""
        if request.method == "GET":
            return "" if request.body is None else "a read with a body"
        if self.permit is None:
            return f"{request.method} before anything was agreed"
        orders = f"/v1/accounts/{self.permit.account_key}/orders"
        try:
            document = bodies.read(request.body or b"")
        except bodies.NotData as error:
            return f"{request.method} of {error}"
        match request.method, urlsplit(request.url).path.removeprefix(orders):
            case "POST", "/preview.json":
                return self._wrong_order(document, "PreviewOrderRequest")
            case "POST", "/place.json":
                if self.places >= MOST_PLACES:
                    return f"more than {MOST_PLACES} orders"
                return self._wrong_order(document, "PlaceOrderRequest")
            case "PUT", "/cancel.json":
                mine = document.get("CancelOrderRequest", {}).get("orderId") in self.own
                return "" if mine else "a cancel of an order that is not this check's"
        return f"{request.method} to another address"

    def _wrong_order(self, document: dict[str, Any], name: str) -> str:
        """Every field is held against the one order there may be; a field more is wrong too."""
        assert self.permit is not None
        try:
            root, [order] = document[name], document[name]["Order"]
            limit = Decimal(str(order["limitPrice"]))
        except (KeyError, TypeError, ValueError, InvalidOperation):
            return "an order that is not one limit order"
        instrument = {
            "Product": {"symbol": self.permit.symbol, "securityType": "EQ"},
            "orderAction": "BUY",
            "quantityType": "QUANTITY",
            "quantity": 1,
        }
        wanted = {**_ORDER, "limitPrice": order["limitPrice"], "Instrument": [instrument]}
        if list(document) != [name] or root.get("orderType") != "EQ" or order != wanted:
            return f"an order other than BUY 1 {self.permit.symbol} by a day limit"
        if not (limit.is_finite() and 0 < limit <= self.permit.highest):
            return f"a limit of {limit}, above {self.permit.highest}"
        return ""


def _names_of(body: bytes) -> Iterator[str]:
    try:
        waiting: list[Any] = [bodies.read(body)]
    except bodies.NotData:
        return
    while waiting:
        match waiting.pop():
            case dict() as found:
                yield from found
                waiting += found.values()
            case list() as found:
                waiting += found
