"""Ten thousand bodies that E*TRADE should never send: cut, renamed, mistyped, huge, HTML, NaN, the wrong status.

Each goes through the whole client. It may raise the project's errors and nothing else, and where data that must be
there are gone it must not look like a success. What must be there is written down here, apart from the readers.
"""

from __future__ import annotations

import asyncio
import copy
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from domain.clock import ManualClock
from domain.errors import DeskError, OrderAmbiguous, OrderRefused, SignInNeeded
from etrade.environments import simulator
from etrade.limits import Limit, Limits, Module
from etrade.orders import Action, EtradeOrder, Leg, Preview, PreviewId, PriceType
from etrade.signing import Keys, Pair
from etrade.tokens import Token
from etrade.transport import Reply, Request
from etrade_client import EtradeClient
from tests.etrade_server import MemoryStore, Tempo

SEED, BODIES = 20261121, 10_000
NOW = datetime(2026, 11, 20, 15, 30, tzinfo=UTC)
KEY = "kQ7mZr2VxPbN4tYwEoHs1A"
FINAL = {"place": {1021, 1037, 2084, 2085, 9999}, "change": {1021, 1037, 2084, 2085, 9999}, "cancel": {5001, 9999}}
CODES = (100, 101, 102, 163, 670, 900, 1002, 1021, 1033, 1037, 1508, 2084, 2085, 5001, 9999, 31337)
ORDER = EtradeOrder((Leg.stock("MSFT", Action.BUY, 10),), PriceType.LIMIT, limit=Decimal("519.5"))
STOCK = {"symbol": "MSFT", "securityType": "EQ"}
BLOCK = {
    "orderTerm": "GOOD_FOR_DAY",
    "priceType": "LIMIT",
    "limitPrice": 519.5,
    "stopPrice": 0,
    "messages": {"Message": [{"description": "200|Entered.", "code": 1026, "type": "WARNING"}]},
    "Instrument": [{"orderAction": "BUY", "quantity": 10, "Product": STOCK}],
}
LOT = {"positionId": 7, "positionLotId": 8, "price": 498.25, "originalQty": 40, "remainingQty": 40, "orderNo": 412}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A call, a good answer to it, the fields without which there is none, and whether 204 may answer it."""

    call: Callable[[EtradeClient], Awaitable[Any]]
    good: dict[str, Any]
    needs: frozenset[str]
    empty: bool = False


def _preview() -> Preview:
    return Preview(KEY, "CAMPAIGN1", ORDER, NOW, (PreviewId(1840227714106),), None, None, None, None, ())


def _change() -> Preview:
    preview = _preview()
    return Preview(KEY, preview.client_order_id, ORDER, NOW, preview.ids, None, None, None, None, (), replaces=418)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ENDPOINTS: dict[str, Endpoint] = {
    "accounts": Endpoint(
        lambda client: client.accounts(),
        {
            "AccountListResponse": {
                "Accounts": {
                    "Account": [
                        {"accountId": "84019377", "accountIdKey": KEY, "accountStatus": "ACTIVE", "accountMode": "CASH"}
                    ]
                }
            }
        },
        _words("AccountListResponse Accounts Account accountId accountIdKey accountStatus"),
        empty=True,
    ),
    "balance": Endpoint(
        lambda client: client.balance(KEY),
        {
            "BalanceResponse": {
                "accountId": "84019377",
                "accountType": "MARGIN",
                "quoteMode": 0,
                "Cash": {"moneyMktBalance": 12480.55},
                "Computed": {
                    "cashAvailableForInvestment": 12480.55,
                    "netCash": 12480.55,
                    "marginBuyingPower": 45805.1,
                    "OpenCalls": {"cashCall": 0},
                    "RealTimeValues": {"totalAccountValue": 34554.55, "netMv": 22074},
                },
            }
        },
        _words(
            "BalanceResponse accountType Computed cashAvailableForInvestment netCash RealTimeValues totalAccountValue"
        ),
    ),
    "portfolio": Endpoint(
        lambda client: client.portfolio(KEY, lots=True),
        {
            "PortfolioResponse": {
                "AccountPortfolio": [
                    {
                        "accountId": "84019377",
                        "Position": [
                            {
                                "positionId": 172604418803,
                                "dateAcquired": 1757908800000,
                                "pricePaid": 498.25,
                                "quantity": 40,
                                "marketValue": 20844,
                                "totalCost": 19930,
                                "Product": STOCK,
                                "Quick": {"lastTrade": 521.1, "lastTradeTime": 1759933815, "quoteStatus": "REALTIME"},
                                "positionLot": [LOT],
                            }
                        ],
                        "totalPages": 1,
                    }
                ]
            }
        },
        _words("PortfolioResponse AccountPortfolio Position positionId pricePaid quantity marketValue Product symbol")
        | _words("securityType"),
        empty=True,
    ),
    "lots": Endpoint(
        lambda client: client.lots(KEY, 7),
        {"PositionLotsResponse": {"PositionLot": [LOT]}},
        _words("PositionLotsResponse PositionLot positionId positionLotId price originalQty remainingQty"),
        empty=True,
    ),
    "transactions": Endpoint(
        lambda client: client.transactions(KEY),
        {
            "TransactionListResponse": {
                "transactionCount": 1,
                "Transaction": [
                    {
                        "transactionId": "25281009920416",
                        "transactionDate": 1759896000000,
                        "postDate": 0,
                        "amount": 33.2,
                        "transactionType": "Dividend",
                        "brokerage": {"product": STOCK, "quantity": 0, "price": 0, "fee": 0},
                    }
                ],
            }
        },
        _words("TransactionListResponse Transaction transactionId transactionDate amount transactionType"),
        empty=True,
    ),
    "quotes": Endpoint(
        lambda client: client.quotes(["MSFT"]),
        {
            "QuoteResponse": {
                "QuoteData": [
                    {
                        "dateTimeUTC": 1759933815,
                        "quoteStatus": "REALTIME",
                        "All": {
                            "lastTrade": 521.1,
                            "bid": 521.08,
                            "ask": 521.12,
                            "totalVolume": 6120044,
                            "open": 519.2,
                        },
                        "Product": STOCK,
                    }
                ]
            }
        },
        _words("QuoteResponse QuoteData dateTimeUTC quoteStatus All lastTrade totalVolume Product symbol securityType"),
    ),
    "look-up": Endpoint(
        lambda client: client.look_up("micro"),
        {"LookupResponse": {"Data": [{"symbol": "MSFT", "description": "MICROSOFT CORP COM", "type": "EQUITY"}]}},
        _words("LookupResponse Data symbol"),
        empty=True,
    ),
    "orders": Endpoint(
        lambda client: client.orders(KEY),
        {
            "OrdersResponse": {
                "Order": [
                    {
                        "orderId": 420,
                        "orderType": "EQ",
                        "OrderDetail": [
                            {
                                "placedTime": 1759934649310,
                                "status": "OPEN",
                                "orderTerm": "GOOD_FOR_DAY",
                                "priceType": "LIMIT",
                                "limitPrice": 518.5,
                                "replacesOrderId": 418,
                                "Instrument": [
                                    {
                                        "orderAction": "BUY",
                                        "orderedQuantity": 10,
                                        "filledQuantity": 0.0,
                                        "estimatedFees": 0,
                                        "Product": STOCK,
                                    }
                                ],
                            }
                        ],
                    }
                ]
            }
        },
        _words("OrdersResponse Order orderId OrderDetail placedTime status orderTerm priceType Instrument orderAction")
        | _words("orderedQuantity filledQuantity Product symbol securityType"),
        empty=True,
    ),
    "preview": Endpoint(
        lambda client: client.preview(KEY, ORDER, "CAMPAIGN1"),
        {
            "PreviewOrderResponse": {
                "totalOrderValue": 5195,
                "Order": [BLOCK],
                "PreviewIds": [{"previewId": 1840227714106}],
            }
        },
        _words("PreviewOrderResponse PreviewIds previewId"),
    ),
    "place": Endpoint(
        lambda client: client.place(_preview()),
        {"PlaceOrderResponse": {"placedTime": 1759933865102, "Order": [BLOCK], "OrderIds": [{"orderId": 418}]}},
        _words("PlaceOrderResponse OrderIds orderId"),
    ),
    "change": Endpoint(
        lambda client: client.place(_change()),
        {"PlaceOrderResponse": {"placedTime": 1759933865102, "Order": [BLOCK], "OrderIds": [{"orderId": 419}]}},
        _words("PlaceOrderResponse OrderIds orderId"),
    ),
    "cancel": Endpoint(
        lambda client: client.cancel(KEY, 419),
        {
            "CancelOrderResponse": {
                "orderId": 419,
                "cancelTime": 1759936100118,
                "Messages": {"Message": [{"description": "Being processed.", "code": 5011, "type": "WARNING"}]},
            }
        },
        _words("CancelOrderResponse orderId"),
    ),
    "alerts": Endpoint(
        lambda client: client.alerts(),
        {"AlertsResponse": {"totalAlerts": 1, "Alert": [{"id": 1, "createTime": 1759936023, "subject": "Executed"}]}},
        _words("AlertsResponse Alert id createTime subject"),
        empty=True,
    ),
    "alert": Endpoint(
        lambda client: client.alert(1203),
        {"AlertDetailsResponse": {"id": 1203, "createTime": 1759844113, "subject": "Executed", "msgText": "Yes."}},
        _words("AlertDetailsResponse id createTime subject"),
        empty=True,
    ),
    "delete alerts": Endpoint(
        lambda client: client.delete_alerts([1203]),
        {"AlertsResponse": {"result": "SUCCESS"}},
        _words("AlertsResponse result"),
    ),
}
WRITES = frozenset(FINAL)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A reply with what was done to it. `gone`: it must not look like a success; `code`: of its error body."""

    kind: str
    reply: Reply
    gone: bool
    code: int | None = None


def _reply(body: bytes, status: int = 200) -> Reply:
    return Reply(status, {"content-type": "application/json"}, body)


def _spots(value: Any, wanted: Callable[[str], bool]) -> Iterator[tuple[dict[str, Any], str]]:
    """Every (object, key) whose key is wanted."""
    if isinstance(value, dict):
        for key in list(value):
            if wanted(key):
                yield value, key
            yield from _spots(value[key], wanted)
    elif isinstance(value, list):
        for item in value:
            yield from _spots(item, wanted)


def _renamed(body: Any, holder: dict[str, Any], key: str, rng: random.Random) -> bytes:
    value = holder.pop(key)
    if rng.random() < 0.6:
        holder[rng.choice((key + "s", "x" + key, key[::-1] + "_", key.upper() + "0"))] = value
    return json.dumps(body).encode()


def _mistyped(body: Any, holder: dict[str, Any], key: str, rng: random.Random) -> bytes:
    old = holder[key]
    if isinstance(old, dict | list):
        new: Any = rng.choice((7, "words", True, None, [[]], ["a"]))
    elif isinstance(old, str):
        new = rng.choice((True, None, "", {"a": 1}, [1, 2]))
    else:
        new = rng.choice((True, None, "", "ten", {"a": 1}, [], "1_0", "٣", "0x10", "NaN", "1e400", 10**60))
    holder[key] = new
    return json.dumps(body).encode()


def mutate(name: str, rng: random.Random) -> Mutant:
    """One bad answer for an endpoint."""
    endpoint = ENDPOINTS[name]
    body = copy.deepcopy(endpoint.good)
    needed = list(_spots(body, lambda key: key in endpoint.needs))
    spare = list(_spots(body, lambda key: key not in endpoint.needs))
    whole = json.dumps(body).encode()
    kind = rng.choice(KINDS)
    match kind:
        case "cut":
            return Mutant(kind, _reply(whole[: rng.randrange(len(whole))]), gone=True)
        case "required field renamed or gone":
            return Mutant(kind, _reply(_renamed(body, *rng.choice(needed), rng)), gone=True)
        case "required field mistyped":
            return Mutant(kind, _reply(_mistyped(body, *rng.choice(needed), rng)), gone=True)
        case "other field renamed or gone" if spare:
            return Mutant(kind, _reply(_renamed(body, *rng.choice(spare), rng)), gone=False)
        case "other field mistyped" if spare:
            return Mutant(kind, _reply(_mistyped(body, *rng.choice(spare), rng)), gone=False)
        case "NaN or infinity":
            holder, key = rng.choice(needed + spare)
            holder[key] = "@@"
            word = rng.choice((b"NaN", b"Infinity", b"-Infinity"))
            return Mutant(kind, _reply(json.dumps(body).encode().replace(b'"@@"', word)), gone=True)
        case "huge":
            return _huge(kind, body, whole, rng)
        case "HTML":
            page = f"<html><body><h1>{rng.choice(('Sign in', 'Bad gateway', 'Error'))}</h1>{'<p>' * 50}</body></html>"
            return Mutant(kind, _reply(page.encode(), rng.choice((200, 200, 400, 401, 403, 500, 502))), gone=True)
        case "nothing":
            status = rng.choice((200, 204, 400, 401, 500))
            return Mutant(kind, _reply(b"", status), gone=not (status == 204 and endpoint.empty))
        case "an error":
            return _error(kind, rng)
        case "good body, bad status":
            return Mutant(
                kind, _reply(whole, rng.choice((201, 202, 301, 302, 400, 401, 403, 404, 500, 503))), gone=True
            )
        case "wrapped or bare":
            inner = next(iter(body.values()))
            return Mutant(kind, _reply(json.dumps(rng.choice(([body], inner, [], 7, "x", None))).encode()), gone=True)
        case _:
            spoilt = bytearray(whole)
            for _ in range(rng.randint(1, 6)):
                spoilt[rng.randrange(len(spoilt))] = rng.randrange(256)
            return Mutant("bytes changed", _reply(bytes(spoilt)), gone=False)


def _huge(kind: str, body: Any, whole: bytes, rng: random.Random) -> Mutant:
    match rng.randrange(4):
        case 0:
            return Mutant(kind, _reply(b"[" * 50_000 + b"]" * 50_000), gone=True)
        case 1:
            return Mutant(kind, _reply(whole.replace(b":", b":" + b" " * 2_000)), gone=False)
        case 2:
            next(iter(body.values()))["note"] = "x" * 300_000
            return Mutant(kind, _reply(json.dumps(body).encode()), gone=False)
        case _:
            return Mutant(kind, _reply(whole[:-1] + b',"n":' + b"9" * 6_000 + b"}"), gone=True)


def _error(kind: str, rng: random.Random) -> Mutant:
    code, status = rng.choice(CODES), rng.choice((200, 400, 400, 400, 404, 405, 500))
    words = rng.choice(("No.", "Number of requests exceeded the rate limit set", "oauth_problem=token_expired", ""))
    if rng.random() < 0.5:
        return Mutant(
            kind, _reply(json.dumps({"Error": {"code": code, "message": words}}).encode(), status), True, code
        )
    xml = f"<Error><code>{code}</code><message>{words}</message></Error>"
    if rng.random() < 0.2:
        return Mutant("an error, cut", _reply(xml[: len(xml) // 2].encode(), status), gone=True)
    return Mutant(kind, _reply(xml.encode(), status), True, code)


KINDS = (
    "cut", "required field renamed or gone", "required field mistyped", "other field renamed or gone",
    "other field mistyped", "NaN or infinity", "huge", "HTML", "nothing", "an error", "good body, bad status",
    "wrapped or bare", "bytes changed",
)  # fmt: skip


class _Says:
    """A transport that says one thing for ever, and counts."""

    def __init__(self) -> None:
        self.reply, self.asked = _reply(b""), 0

    async def send(self, request: Request) -> Reply:
        if "/oauth/" in request.url:
            return Reply(200, {}, b"Access Token has been renewed")
        self.asked += 1
        return self.reply

    async def close(self) -> None:
        """Nothing is open."""


@dataclass(slots=True)
class Tally:
    """Counts by what was done, by endpoint and by what came of it, and up to ten sentences on what went wrong."""

    bodies: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    endpoints: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    crashed: int = 0
    false_success: int = 0
    false_refusal: int = 0
    repeated: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return self.crashed + self.false_success + self.false_refusal + self.repeated == 0

    def say(self, name: str, mutant: Mutant, what: str) -> None:
        if len(self.problems) < 10:
            self.problems.append(f"{name}, {mutant.kind}, {mutant.reply.status}: {what}: {mutant.reply.body[:160]!r}")


def judge(bodies: int = BODIES, seed: int = SEED) -> Tally:
    """Send every mutant through the client and count what came of it."""
    return asyncio.run(_judge(bodies, seed))


async def _judge(bodies: int, seed: int) -> Tally:
    tally, rng = Tally(), random.Random(seed)
    names = list(ENDPOINTS)
    for number in range(bodies):
        name = names[number % len(names)]
        await _one(name, mutate(name, rng), tally)
    return tally


def _client(transport: _Says) -> EtradeClient:
    clock, tempo = ManualClock(NOW), Tempo()
    token = Token(Pair("token", "secret"), "simulator", NOW - timedelta(hours=1), NOW - timedelta(minutes=1))
    limits = Limits(tempo.monotonic, tempo.sleep, dict.fromkeys(Module, Limit(10**6, 10**7)))
    return EtradeClient(
        simulator("http://127.0.0.1:1"),
        Keys("key", "secret"),
        MemoryStore(token),
        clock,
        transport=transport,
        limits=limits,
        monotonic=tempo.monotonic,
        sleep=tempo.sleep,
    )


async def _one(name: str, mutant: Mutant, tally: Tally) -> None:
    tally.bodies += 1
    tally.kinds[mutant.kind] += 1
    tally.endpoints[name] += 1
    transport = _Says()
    transport.reply = mutant.reply
    try:
        found = await ENDPOINTS[name].call(_client(transport))
    except DeskError as error:
        tally.outcomes[type(error).__name__] += 1
        _weigh(name, mutant, error, tally)
    except Exception as error:
        tally.crashed += 1
        tally.say(name, mutant, f"{type(error).__name__}: {error}")
    else:
        tally.outcomes["read"] += 1
        # 1002 is an answer to a question for quotes: the symbol is unknown, and named so.
        if mutant.gone and not (name == "quotes" and mutant.code == 1002):
            tally.false_success += 1
            tally.say(name, mutant, f"looked like a success: {found!r}"[:200])
    if name in WRITES and transport.asked != 1:
        tally.repeated += 1
        tally.say(name, mutant, f"sent {transport.asked} times")


def _weigh(name: str, mutant: Mutant, error: DeskError, tally: Tally) -> None:
    """Something sent may only be refused by a code that is final; every other no is no certain one."""
    if name not in WRITES:
        wrong = isinstance(error, OrderAmbiguous) or (isinstance(error, OrderRefused) and name != "preview")
    else:
        final = mutant.code in FINAL[name] and mutant.reply.status >= 400
        wrong = not isinstance(error, OrderRefused if final else OrderAmbiguous) or isinstance(error, SignInNeeded)
        if mutant.kind == "bytes changed":
            wrong = not isinstance(error, OrderAmbiguous)
    if wrong:
        tally.false_refusal += 1
        tally.say(name, mutant, f"{type(error).__name__}: {error}")


def run(path: Path, bodies: int = BODIES) -> bool:
    """Run it, write the evidence, and say whether nothing was found."""
    begin = time.perf_counter()
    tally = judge(bodies)
    took = time.perf_counter() - begin
    path.write_text("\n".join([*_lines(tally, took), ""]), encoding="utf-8")
    return tally.sound


def _lines(tally: Tally, took: float) -> list[str]:
    verdict = "Nothing was found." if tally.sound else "**It found something.**"
    lines = [
        "# Bodies E\\*TRADE should never send",
        "",
        f"{tally.bodies:,} bodies, seed {SEED}, {took:.0f} s, `python -m tests.campaigns etrade_bodies`. {verdict}",
        "",
        "| | Count |",
        "| --- | --- |",
        f"| Errors that are not the project's | {tally.crashed} |",
        f"| Successes without the data of one | {tally.false_success} |",
        f"| Orders called refused that may stand, or the reverse | {tally.false_refusal} |",
        f"| place, change or cancel sent other than once | {tally.repeated} |",
        "",
    ]
    for title, counts in (("What was done", tally.kinds), ("Endpoint", tally.endpoints), ("Outcome", tally.outcomes)):
        lines += [f"| {title} | Bodies |", "| --- | --- |"]
        lines += [f"| {name} | {count:,} |" for name, count in sorted(counts.items())]
        lines.append("")
    return lines + [f"- {problem}" for problem in tally.problems]
