"""The client against a real local server that checks signatures: what goes out, what is repeated, what never."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import ssl
import traceback
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from domain.clock import ManualClock
from domain.errors import (
    BrokerUnavailable,
    DeskError,
    FeedUnavailable,
    OrderAmbiguous,
    OrderRefused,
    SettingsError,
    SignInNeeded,
)
from etrade.environments import PRODUCTION, SANDBOX, Environment, simulator
from etrade.limits import HOUR_S, LIMITS, Limit, Limits, Module
from etrade.orders import PreviewId
from etrade.signing import Keys, Pair, authorization
from etrade.tokens import Token
from etrade.transport import AiohttpTransport, Reply, Request, TransportError
from etrade_client import (
    SIMULATOR_KEYS,
    Action,
    Ambiguous,
    EtradeClient,
    EtradeOrder,
    KeyRefused,
    Leg,
    OrderStatus,
    OverLimit,
    Preview,
    PriceType,
    Refused,
    RequestWrong,
    SignInAgain,
    Unavailable,
    Unreadable,
    Verdict,
    doctor,
)
from settings import Settings
from tests.campaigns.etrade_bodies import ENDPOINTS
from tests.etrade_server import (
    CODE,
    KEY,
    KEYS,
    NUMBER,
    REQUEST_TOKEN,
    SECRET,
    TOKEN,
    MemoryStore,
    Server,
    Tempo,
    error,
    header_params,
    make_client,
    problem,
    running,
    says,
    signature,
)

ORDER = EtradeOrder((Leg.stock("MSFT", Action.BUY, 10),), PriceType.LIMIT, limit=Decimal("519.5"))
GOOD = {name: endpoint.good for name, endpoint in ENDPOINTS.items()}
CANARIES = ("CANARY", KEYS.secret, KEYS.key, NUMBER, KEY, SECRET, TOKEN)


@pytest.fixture
async def server(clock: ManualClock) -> AsyncIterator[Server]:
    async with running(clock) as made:
        yield made
        assert made.bad == [], "a signature, nonce or timestamp of ours was wrong"


@pytest.fixture
def tempo(clock: ManualClock) -> Tempo:
    return Tempo(clock)


@pytest.fixture
def store(server: Server, clock: ManualClock) -> MemoryStore:
    return MemoryStore(Token(Pair(TOKEN, SECRET), "simulator", clock.now(), clock.now()))


@pytest.fixture
async def client(server: Server, store: MemoryStore, tempo: Tempo) -> AsyncIterator[EtradeClient]:
    made = make_client(server, store, tempo)
    yield made
    await made.close()
    await made.close()


@pytest.fixture
async def hasty(server: Server, store: MemoryStore, tempo: Tempo) -> AsyncIterator[EtradeClient]:
    """A client that gives up after half a second."""
    made = make_client(server, store, tempo, timeout_s=0.5)
    yield made
    await made.close()


def preview_of(client: EtradeClient, order: EtradeOrder = ORDER) -> Preview:
    ids = (PreviewId(1840227714106),)
    return Preview(KEY, "TB251008K7Q2M9XA", order, client.clock.now(), ids, None, None, None, None, ())


# Signatures


@pytest.mark.parametrize(
    ("url", "pair", "options", "wanted"),
    [
        ("https://api.etrade.com/oauth/request_token", None, {"callback": "oob"}, "GC/7JlF37v0ew6VSXN7PilgxIWY="),
        (
            "https://api.etrade.com/oauth/access_token",
            Pair("rt+Token/01=", "rtSecret+/="),
            {"verifier": "WX8Y2"},
            "tvx5FTpBX0uL1+hHp+qDAJNgP+Q=",
        ),
        (
            "https://api.etrade.com/v1/market/quote/AAPL,MSFT.json?detailFlag=ALL",
            Pair("at+Token/99=", "atSecret/+9="),
            {},
            "96DcrW3Mqs13a/fwNNaRuY4/m3Q=",
        ),
    ],
)
def test_the_three_checked_signatures(url: str, pair: Pair | None, options: dict[str, str], wanted: str) -> None:
    at = datetime.fromtimestamp(1760000000, tz=UTC)

    said = header_params(authorization("GET", url, KEYS, at, nonce="0a1b2c3d4e5f", pair=pair, **options))

    assert said["oauth_signature"] == wanted
    assert (said["oauth_timestamp"], said["oauth_signature_method"]) == ("1760000000", "HMAC-SHA1")


words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30)


@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]),
    path=st.lists(st.sampled_from(["v1", "MSFT,AAPL", "BRK.B", "a:b", "-k_1", "%20x", "quote.json"]), max_size=5),
    query=st.dictionaries(st.sampled_from(["symbol", "count", "marker", "detailFlag"]), words, max_size=3),
    secrets=st.tuples(words, words, words, words),
)
def test_random_requests_are_signed_as_the_standard_says(
    method: str, path: list[str], query: dict[str, str], secrets: tuple[str, str, str, str]
) -> None:
    url = "https://api.etrade.com/" + "/".join(path)
    url += "?" + "&".join(f"{k}={quote(v, safe='')}" for k, v in query.items()) if query else ""
    key, secret, token, token_secret = secrets
    at = datetime.fromtimestamp(1760000000, tz=UTC)

    said = header_params(authorization(method, url, Keys(key, secret), at, nonce="n1", pair=Pair(token, token_secret)))

    assert said["oauth_signature"] == signature(method, url, said, secret, token_secret)


# Signing in


async def test_a_sign_in_from_the_link_to_the_first_call(server: Server, tempo: Tempo) -> None:
    client = make_client(server, MemoryStore(), tempo)
    assert client.sign_in().state == "none"

    asked = await client.request_token()
    url = client.authorize_url(asked)
    signed_in = await client.access_token(asked, f" {CODE} ")
    await client.accounts()

    assert url == f"{server.base}/e/t/etws/authorize?key=demoConsumerKey0001&token=rt%2BToken%2F01%3DCANARY"
    assert server.asked[0].params["oauth_callback"] == "oob"
    assert server.asked[1].params["oauth_verifier"] == CODE
    assert [asked.method for asked in server.asked] == ["GET", "GET", "GET"]
    assert signed_in.usable
    await client.close()


@pytest.mark.parametrize("code", ["", "a b", "<script>", "WX8Y2;", "x" * 40, "WX", "é1234"])
async def test_what_is_no_code_is_not_sent(client: EtradeClient, server: Server, code: str) -> None:
    asked = await client.request_token()
    before = len(server.asked)

    with pytest.raises(SignInAgain, match="no code"):
        await client.access_token(asked, code)
    assert len(server.asked) == before


async def test_a_link_older_than_five_minutes_is_not_used(client: EtradeClient, server: Server) -> None:
    asked = await client.request_token()
    server.clock.advance(minutes=5)

    with pytest.raises(SignInAgain, match="five minutes"):
        await client.access_token(asked, CODE)
    assert server.count("access_token") == 0


async def test_a_code_is_sent_once_even_where_the_answer_is_lost(
    client: EtradeClient, hasty: EtradeClient, server: Server
) -> None:
    asked = await client.request_token()
    server.next("access_token", hang)

    with pytest.raises(Unavailable):
        await hasty.access_token(asked, CODE)
    assert server.count("access_token") == 1


@pytest.mark.parametrize(
    ("word", "kind", "said"),
    [
        ("token_rejected", SignInAgain, "mistyped"),
        ("consumer_key_unknown", KeyRefused, "does not know this consumer key"),
        ("consumer_key_rejected", KeyRefused, "lapse"),
        ("signature_invalid", SignInAgain, "consumer secret"),
        ("timestamp_refused", SignInAgain, "clock"),
        ("something_new", SignInAgain, "something_new"),
    ],
)
async def test_an_oauth_problem_in_a_web_page_is_put_into_plain_words(
    client: EtradeClient, server: Server, word: str, kind: type[SignInAgain], said: str
) -> None:
    page = f"<html><head><title>Error report</title></head><body><b>Message</b> oauth_problem={word}</body></html>"
    server.next("request_token", says(page, 401))

    with pytest.raises(kind, match=said) as caught:
        await client.request_token()
    assert caught.value.problem == word
    assert isinstance(caught.value, SignInNeeded)


async def test_signing_out_ends_it_here_and_there(client: EtradeClient, server: Server) -> None:
    after = await client.revoke()

    assert server.count("revoke_access_token") == 1
    assert after.state == "dead"
    with pytest.raises(SignInAgain, match="on purpose"):
        await client.accounts()
    assert server.count("/v1/") == 0


# Reads


async def test_every_read_asks_the_right_address(client: EtradeClient, server: Server) -> None:
    day = date(2026, 11, 20)
    server.stays = {
        "/balance": lambda: says(GOOD["balance"]),
        "/portfolio.json": lambda: says(GOOD["portfolio"]),
        "/portfolio/7.json": lambda: says(GOOD["lots"]),
        "/transactions.json": lambda: says(GOOD["transactions"]),
        "/lookup/": lambda: says(GOOD["look-up"]),
        "/quote/": lambda: says(GOOD["quotes"]),
        "/orders": lambda: says(GOOD["orders"]),
        "/alerts.json": lambda: says(GOOD["alerts"]),
        "/alerts/1203.json": lambda: says(GOOD["alert"]),
        "/alerts/1,2.json": lambda: says({"AlertsResponse": {"result": "ERROR", "FailedAlerts": {"alertId": [2]}}}),
    }

    assert (await client.balance(KEY)).net_cash == Decimal("12480.55")
    assert [lot.id for lot in (await client.portfolio(KEY, lots=True))[0].lots] == [8]
    assert len(await client.lots(KEY, 7)) == 1
    assert (await client.transactions(KEY, start=day, end=day))[0].amount == Decimal("33.2")
    assert (await client.look_up("a b&c/"))[0].symbol == "MSFT"
    assert (await client.quotes(["msft", "BRK.B"], earnings=True)).unknown == ("BRK.B",)
    assert (await client.orders(KEY, start=day, end=day, status=OrderStatus.OPEN, symbols=["MSFT", "SPY"]))[0].id == 420
    assert (await client.order(KEY, 420)) is not None
    assert (await client.order(KEY, 421)) is None
    assert (await client.alerts())[0].id == 1
    assert (await client.alert(1203)) is not None
    assert (await client.delete_alerts([1, 2])).failed == (2,)

    account = f"/v1/accounts/{KEY}"
    assert [asked.target for asked in server.asked] == [
        f"{account}/balance.json?instType=BROKERAGE&realTimeNAV=true",
        f"{account}/portfolio.json?count=50&pageNumber=1&view=QUICK&lotsRequired=true",
        f"{account}/portfolio/7.json",
        f"{account}/transactions.json?startDate=11202026&endDate=11202026&count=50",
        "/v1/market/lookup/a%20b%26c%2F.json",
        "/v1/market/quote/MSFT,BRK.B.json?detailFlag=ALL&skipMiniOptionsCheck=true&requireEarningsDate=true",
        f"{account}/orders.json?fromDate=11202026&toDate=11202026&count=100&status=OPEN&symbol=MSFT%2CSPY",
        f"{account}/orders/420.json",
        f"{account}/orders/421.json",
        "/v1/user/alerts.json?count=300",
        "/v1/user/alerts/1203.json?htmlTags=false",
        "/v1/user/alerts/1,2.json",
    ]
    assert server.asked[-1].method == "DELETE"


async def test_nothing_found_is_empty_and_not_an_error(client: EtradeClient, server: Server) -> None:
    for part in ("/list", "/portfolio", "/transactions", "/orders", "/lookup", "/alerts"):
        server.stays[part] = lambda: web.Response(status=204)

    assert await client.accounts() == ()
    assert await client.portfolio(KEY) == ()
    assert await client.lots(KEY, 7) == ()
    assert await client.transactions(KEY) == ()
    assert await client.orders(KEY) == ()
    assert await client.order(KEY, 7) is None
    assert await client.look_up("x") == ()
    assert await client.alerts() == ()
    assert await client.alert(7) is None
    server.stays["/alerts"] = lambda: error(53, "none", 404)
    assert await client.alerts() == ()


async def test_a_balance_cannot_be_nothing(client: EtradeClient, server: Server) -> None:
    server.stays["/balance"] = lambda: web.Response(status=204)

    with pytest.raises(Unreadable, match="empty"):
        await client.balance(KEY)


async def test_orders_come_page_by_page(client: EtradeClient, server: Server) -> None:
    def page(number: int, marker: str) -> web.Response:
        order = json.loads(json.dumps(GOOD["orders"]["OrdersResponse"]["Order"][0])) | {"orderId": number}
        return says({"OrdersResponse": {"Order": [order]} | ({"marker": marker, "next": "x"} if marker else {})})

    server.next("/orders", page(3, "17598"), page(2, "17597"), page(1, ""))

    assert [order.id for order in await client.orders(KEY)] == [3, 2, 1]
    assert [asked.target.partition("?")[2] for asked in server.asked] == [
        "count=100",
        "count=100&marker=17598",
        "count=100&marker=17597",
    ]


async def test_pages_in_a_circle_are_noticed(client: EtradeClient, server: Server) -> None:
    body = {"OrdersResponse": GOOD["orders"]["OrdersResponse"] | {"marker": "1"}}
    server.stays["/orders"] = lambda: says(body)

    with pytest.raises(Unreadable, match="circle"):
        await client.orders(KEY)
    assert len(server.asked) == 2


async def test_a_row_on_two_pages_of_transactions_counts_once(client: EtradeClient, server: Server) -> None:
    def page(ids: list[str], marker: str) -> web.Response:
        row = GOOD["transactions"]["TransactionListResponse"]["Transaction"][0]
        rows = [row | {"transactionId": one} for one in ids]
        # E*TRADE says false although there is more.
        inner = {"Transaction": rows, "moreTransactions": False, "marker": marker, "next": "x" if marker else ""}
        return says({"TransactionListResponse": inner})

    server.next("/transactions", page(["5", "4"], "4_1"), page(["4", "3"], "3_1"), page(["3"], "3_1"))

    assert [row.id for row in await client.transactions(KEY)] == ["5", "4", "3"]


async def test_positions_come_page_by_page(client: EtradeClient, server: Server) -> None:
    def page(number: int) -> web.Response:
        inner = json.loads(json.dumps(GOOD["portfolio"]["PortfolioResponse"]["AccountPortfolio"][0]))
        inner["Position"][0]["positionId"] = number
        return says({"PortfolioResponse": {"AccountPortfolio": [inner | {"totalPages": 2}]}})

    server.next("/portfolio", page(1), page(2))

    assert [position.id for position in await client.portfolio(KEY)] == [1, 2]


@pytest.mark.parametrize(("wide", "calls", "most"), [(False, 3, 25), (True, 2, 50)])
async def test_long_lists_of_symbols_are_split(
    client: EtradeClient, server: Server, wide: bool, calls: int, most: int
) -> None:
    def answer(request: web.Request) -> web.Response:
        symbols = request.raw_path.partition("?")[0].removeprefix("/v1/market/quote/").removesuffix(".json").split(",")
        assert len(symbols) <= most
        row = GOOD["quotes"]["QuoteResponse"]["QuoteData"][0]
        rows = [row | {"Product": {"symbol": symbol, "securityType": "EQ"}} for symbol in symbols if symbol != "S7"]
        return says({"QuoteResponse": {"QuoteData": rows}})

    async def handler(request: web.Request) -> web.StreamResponse:
        return answer(request)

    server.next("/quote/", *[handler] * calls)
    found = await client.quotes([f"S{n}" for n in range(60)] + ["s1"], wide=wide)

    assert len(found.by_symbol) == 59
    assert found.unknown == ("S7",)
    assert server.count("/quote/") == calls
    assert ("overrideSymbolCount=true" in server.asked[0].target) == wide


async def test_one_bad_symbol_does_not_take_the_others_with_it(client: EtradeClient, server: Server) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        symbols = request.raw_path.partition("?")[0].removeprefix("/v1/market/quote/").removesuffix(".json").split(",")
        if "BAD" in symbols:
            return error(1002, "BAD is an invalid symbol")
        row = GOOD["quotes"]["QuoteResponse"]["QuoteData"][0]
        rows = [row | {"Product": {"symbol": symbol, "securityType": "EQ"}} for symbol in symbols]
        return says({"QuoteResponse": {"QuoteData": rows}})

    server.next("/quote/", *[handler] * 9)
    found = await client.quotes(["A", "B", "BAD", "D"])

    assert set(found.by_symbol) == {"A", "B", "D"}
    assert found.unknown == ("BAD",)


@pytest.mark.parametrize("symbol", ["A,B", "", "A B", "A/../../x?", "é", "A" * 50, "AAPL:2025:11:21:CALL:x"])
async def test_what_is_no_symbol_is_not_sent(client: EtradeClient, server: Server, symbol: str) -> None:
    with pytest.raises(RequestWrong, match="no symbol"):
        await client.quotes([symbol])
    assert server.asked == []


async def test_quotes_that_got_lost_are_not_unknown_symbols(client: EtradeClient, server: Server) -> None:
    remark = {"Message": [{"description": "QQQQX is an invalid symbol", "code": 1002, "type": "ERROR"}]}
    server.stays["/quote/"] = lambda: says({"QuoteResponse": {"Messages": remark}})

    assert (await client.quotes(["QQQQX"])).unknown == ("QQQQX",)
    with pytest.raises(Unreadable, match="QuoteData is missing"):
        await client.quotes(["MSFT", "QQQQX"])


async def test_an_options_quote_is_found_under_the_name_it_was_asked_by(client: EtradeClient, server: Server) -> None:
    option = {"symbol": "AAPL", "securityType": "OPTN", "callPut": "CALL", "strikePrice": 130.0}
    option |= {"expiryYear": 2021, "expiryMonth": 2, "expiryDay": 5}
    row = GOOD["quotes"]["QuoteResponse"]["QuoteData"][0] | {"Product": option}
    server.next("/quote/", says({"QuoteResponse": {"QuoteData": [row]}}))

    found = await client.quotes(["AAPL:2021:2:5:CALL:130.000000"])

    assert found.unknown == ()
    assert list(found.by_symbol) == ["AAPL:2021:2:5:CALL:130"]
    assert server.asked[0].path == "/v1/market/quote/AAPL:2021:2:5:CALL:130.json"


@pytest.mark.parametrize("word", ["", "a/b", "../x", "k?x=1", "é"])
async def test_an_account_key_cannot_change_the_address(client: EtradeClient, word: str) -> None:
    with pytest.raises(ValueError, match="account key"):
        await client.balance(word)


async def test_the_number_of_an_account_leads_to_its_key(client: EtradeClient) -> None:
    assert (await client.account(NUMBER)).key == KEY
    assert (await client.account()).key == KEY
    with pytest.raises(SettingsError, match=r"ETRADE_ACCOUNT_ID: no open brokerage account is ••••0000; .*••••9377"):
        await client.account("00000000")


# What is repeated


async def hang(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    return web.Response()


async def reset(request: web.Request) -> web.StreamResponse:
    assert request.transport
    request.transport.abort()
    return web.Response()


async def cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "100000"})
    await response.prepare(request)
    await response.write(b'{"PlaceOrderResponse":{"OrderIds":[{"orderId":418}]')
    assert request.transport
    request.transport.close()
    return response


def faults() -> dict[str, Any]:
    return {
        "500": says(b"", 500),
        "500/100": error(100, "The requested service is not currently available", 500),
        "163": error(163, "Try again", 500),
        "1508": error(1508, "not available"),
        "HTML 502": says("<html><body>Bad gateway</body></html>", 502),
        "HTML 200": says("<html><body>Sign in</body></html>", 200),
        "reset": reset,
        "cut": cut,
        "empty 200": says(b""),
        "not JSON": says(b'{"a":'),
        "nonce": problem("nonce_used"),
        "parameter": problem("parameter_absent"),
    }


@pytest.mark.parametrize("name", faults())
async def test_a_read_is_repeated_after_a_passing_fault(client: EtradeClient, server: Server, name: str) -> None:
    server.next("/list", faults()[name])

    assert len(await client.accounts()) == 1
    assert server.count("/list") == 2


@pytest.mark.parametrize(
    ("name", "tries"), [("500", 3), ("HTML 502", 3), ("reset", 3), ("cut", 3), ("empty 200", 3), ("nonce", 2)]
)
async def test_a_lasting_fault_is_given_up(
    client: EtradeClient, server: Server, tempo: Tempo, name: str, tries: int
) -> None:
    server.next("/list", *[faults()[name] for _ in range(5)])

    with pytest.raises(Unavailable) as caught:
        await client.accounts()
    assert server.count("/list") == tries
    assert isinstance(caught.value, BrokerUnavailable | FeedUnavailable)
    assert tries < 3 or tempo.slept > 0


async def test_a_server_that_hangs_is_given_up(hasty: EtradeClient, server: Server) -> None:
    server.next("/list", hang, hang, hang)

    with pytest.raises(Unavailable, match=r"no answer within 0\.5 s"):
        await hasty.accounts()


async def test_nobody_at_home_is_one_sentence(server: Server, store: MemoryStore, tempo: Tempo) -> None:
    client = make_client(server, store, tempo, environment=simulator("http://127.0.0.1:1"))

    with pytest.raises(Unavailable, match="no connection"):
        await client.accounts()
    await client.close()


@pytest.mark.parametrize("status", [400, 403, 404, 405])
async def test_our_own_mistake_is_not_repeated(client: EtradeClient, server: Server, status: int) -> None:
    server.next("/balance", error(102, "Please enter valid Account Key", status))

    with pytest.raises(RequestWrong, match=r"valid Account Key \(102\).*trace 0123") as caught:
        await client.balance(KEY)
    assert (caught.value.code, caught.value.status, len(caught.value.trace)) == (102, status, 32)
    assert len(server.asked) == 1


async def test_an_error_in_xml_is_understood_and_maintenance_not_repeated(client: EtradeClient, server: Server) -> None:
    server.next("/balance", says(b"<Error><code>670</code><message>Down.</message></Error>", 500))

    with pytest.raises(Unavailable, match="maintenance"):
        await client.balance(KEY)
    assert len(server.asked) == 1


async def test_an_error_under_200_is_no_success(client: EtradeClient, server: Server) -> None:
    server.next("/list", error(102, "No", 200))

    with pytest.raises(RequestWrong):
        await client.accounts()


async def test_redirects_are_not_followed(client: EtradeClient, server: Server) -> None:
    server.next("/list", says(b"", 302, Location="https://example.invalid/"))

    with pytest.raises(Unavailable, match="302"):
        await client.accounts()


async def test_a_huge_answer_is_cut_off_packed_or_not(server: Server, store: MemoryStore, tempo: Tempo) -> None:
    client = make_client(server, store, tempo, transport=AiohttpTransport(most_bytes=1 << 20))
    server.next("/list", *[says(b" " * (2 << 20)) for _ in range(3)])
    with pytest.raises(Unavailable, match="larger than 1,024 KiB"):
        await client.accounts()

    bomb = gzip.compress(b" " * (64 << 20))
    server.next("/list", *[says(bomb, **{"Content-Encoding": "gzip"}) for _ in range(3)])
    with pytest.raises(Unavailable, match="larger than 1,024 KiB"):
        await client.accounts()
    await client.close()


# What is never repeated


async def test_preview_and_place_carry_the_same_order(client: EtradeClient, server: Server) -> None:
    server.next("/orders/preview", says(GOOD["preview"]))
    server.next("/orders/place", says(GOOD["place"]))

    preview = await client.preview(KEY, ORDER, "TB251008K7Q2M9XA")
    placed = await client.place(preview)

    asked, sent = (one.body for one in server.asked)
    assert (preview.total, preview.differs, placed.order_id, placed.queued) == (Decimal(5195), (), 418, False)
    assert sent["PlaceOrderRequest"].pop("PreviewIds") == [{"previewId": 1840227714106}]
    assert asked["PreviewOrderRequest"] == sent["PlaceOrderRequest"]
    assert [(one.method, one.path) for one in server.asked] == [
        ("POST", f"/v1/accounts/{KEY}/orders/preview.json"),
        ("POST", f"/v1/accounts/{KEY}/orders/place.json"),
    ]


@pytest.mark.parametrize("word", ["", "a-b", "x" * 21, "é", "a b", "3f2504e0-4f89-41d3-9a0c-0305e82c3301"])
async def test_a_client_order_id_that_would_look_like_an_outage_is_not_sent(
    client: EtradeClient, server: Server, word: str
) -> None:
    with pytest.raises(ValueError, match="1 to 20 letters and digits"):
        await client.preview(KEY, ORDER, word)
    assert server.asked == []


@pytest.mark.parametrize("code", [101, 1033, 163])
async def test_a_preview_may_be_repeated(client: EtradeClient, server: Server, code: int) -> None:
    server.next("/preview", error(code), says(GOOD["preview"]))

    assert (await client.preview(KEY, ORDER, "A1")).ids[0].id == 1840227714106


async def test_a_refused_preview_says_why(client: EtradeClient, server: Server) -> None:
    server.next("/preview", error(1037, "There are not enough available shares to place this order."))

    with pytest.raises(OrderRefused, match="not enough available shares") as caught:
        await client.preview(KEY, ORDER, "A1")
    assert isinstance(caught.value, Refused)
    assert caught.value.code == 1037


def writes(client: EtradeClient) -> dict[str, Any]:
    change = preview_of(client)
    change = Preview(KEY, "B1", ORDER, change.at, change.ids, None, None, None, None, (), replaces=418)
    return {
        "place": lambda: client.place(preview_of(client)),
        "change": lambda: client.place(change),
        "cancel": lambda: client.cancel(KEY, 419),
    }


WRITES = ("place", "change", "cancel")
UNCERTAIN = [
    *(name for name in faults() if name != "not JSON"),
    "hang",
    "101",
    "1033",
    "unknown",
    "limit",
    "401",
    "204",
]


def uncertain(name: str) -> Any:
    more = {
        "hang": hang,
        "101": error(101, "Invalid or expired preview id."),
        "1033": error(1033, "The original order request timed out. Please resubmit."),
        "unknown": error(31337),
        "limit": error(None, "Number of requests exceeded the rate limit set"),
        "401": problem("token_rejected"),
        "204": web.Response(status=204),
    }
    return {**faults(), **more}[name]


@pytest.mark.parametrize("name", UNCERTAIN)
@pytest.mark.parametrize("write", WRITES)
async def test_what_is_not_certain_is_ambiguous_and_sent_once(
    client: EtradeClient, hasty: EtradeClient, server: Server, write: str, name: str
) -> None:
    server.next("/orders", *[uncertain(name) for _ in range(4)])

    with pytest.raises(OrderAmbiguous, match=r"not certain .*do not repeat it") as caught:
        await writes(hasty if name == "hang" else client)[write]()
    assert isinstance(caught.value, Ambiguous)
    assert len(server.asked) == 1


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("code", [1021, 1037, 2084, 2085, 5001, 9999, 100, 102, 5011])
async def test_only_a_code_known_to_be_final_is_a_refusal(
    client: EtradeClient, server: Server, write: str, code: int
) -> None:
    final = {5001, 9999} if write == "cancel" else {1021, 1037, 2084, 2085, 9999}
    server.next("/orders", error(code, "Says E*TRADE."))

    with pytest.raises(OrderRefused if code in final else OrderAmbiguous):
        await writes(client)[write]()
    assert len(server.asked) == 1


@pytest.mark.parametrize("write", WRITES)
async def test_a_final_code_in_half_a_body_or_under_200_is_not_final(
    client: EtradeClient, server: Server, write: str
) -> None:
    for answer in (says(b'{"Error":{"code":9999,"message":"Pl', 400), error(9999, "No", 200)):
        server.next("/orders", answer)
        with pytest.raises(OrderAmbiguous):
            await writes(client)[write]()


@pytest.mark.parametrize("write", WRITES)
async def test_where_nobody_is_at_home_nothing_was_sent(
    server: Server, store: MemoryStore, tempo: Tempo, write: str
) -> None:
    client = make_client(server, store, tempo, environment=simulator("http://127.0.0.1:1"))

    with pytest.raises(BrokerUnavailable, match="was not sent"):
        await writes(client)[write]()
    await client.close()


async def test_a_certificate_nobody_vouches_for_is_refused_before_anything_is_sent(
    server: Server, store: MemoryStore, tempo: Tempo, tmp_path: Path
) -> None:
    """Somebody in between gets no header and no order."""
    heard = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(100))
        writer.close()

    listener = await asyncio.start_server(listen, "127.0.0.1", 0, ssl=self_signed(tmp_path))
    base = f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    client = make_client(server, store, tempo, environment=simulator(base), timeout_s=5)

    with pytest.raises(BrokerUnavailable, match="was not sent: no connection"):
        await client.cancel(KEY, 419)
    with pytest.raises(Unavailable):
        await client.accounts()
    await client.close()
    listener.close()
    assert heard == []


def self_signed(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    begins = datetime(2020, 1, 1, tzinfo=UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, begins, begins + timedelta(days=36_500))
    certificate = made.sign(key, hashes.SHA256())
    plain = serialization.NoEncryption()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (folder / "own.pem").write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "own.pem")
    return context


@pytest.mark.parametrize("write", WRITES)
async def test_a_connection_that_takes_too_long_was_not_sent_on(
    server: Server, store: MemoryStore, tempo: Tempo, write: str
) -> None:
    """A TCP connection that opens and a handshake that never comes: certain, because no header can have left."""
    silent = await asyncio.start_server(lambda *_: asyncio.sleep(30), "127.0.0.1", 0)
    base = f"https://127.0.0.1:{silent.sockets[0].getsockname()[1]}"
    client = make_client(server, store, tempo, environment=simulator(base), timeout_s=0.5)

    with pytest.raises(BrokerUnavailable, match="was not sent"):
        await writes(client)[write]()
    await client.close()
    silent.close()


@pytest.mark.parametrize("write", WRITES)
async def test_whatever_a_transport_raises_the_order_may_stand(
    server: Server, store: MemoryStore, tempo: Tempo, write: str
) -> None:
    class Broken:
        async def send(self, request: Request) -> Reply:
            raise RuntimeError(f"boom {request.url} {request.headers}")

        async def close(self) -> None: ...

    client = make_client(server, store, tempo, transport=Broken())

    with pytest.raises(OrderAmbiguous) as caught:
        await writes(client)[write]()
    assert "boom" not in str(caught.value)


async def test_a_kept_connection_that_went_stale_does_not_repeat_or_hide_an_order(
    client: EtradeClient, server: Server
) -> None:
    """aiohttp repeats PUT on such a connection by itself; orders go out on one of their own instead."""
    await client.accounts()
    server.next("/cancel", reset, says(GOOD["cancel"]))

    with pytest.raises(OrderAmbiguous):
        await client.cancel(KEY, 419)
    assert server.count("/cancel") == 1


async def test_an_old_preview_is_not_placed(client: EtradeClient, server: Server) -> None:
    preview = preview_of(client)
    server.clock.advance(seconds=171)

    with pytest.raises(BrokerUnavailable, match="older than three minutes"):
        await client.place(preview)
    assert server.asked == []


async def test_an_order_is_signed_with_the_moment_written_down(client: EtradeClient, server: Server) -> None:
    at = server.clock.now() - timedelta(seconds=20)
    server.next("/place", says(GOOD["place"]))

    await client.place(preview_of(client), signed_at=at)
    assert int(server.asked[0].params["oauth_timestamp"]) == int(at.timestamp())

    with pytest.raises(BrokerUnavailable, match="too long ago"):
        await client.place(preview_of(client), signed_at=at - timedelta(minutes=1))
    assert len(server.asked) == 1


async def test_a_change_is_a_preview_and_a_place_of_its_own(client: EtradeClient, server: Server) -> None:
    calm = json.loads(json.dumps(GOOD["preview"]))
    del calm["PreviewOrderResponse"]["Order"][0]["messages"]
    server.next("/change/preview", says(calm))
    server.next("/change/place", says(GOOD["change"]))

    placed = await client.change(KEY, 418, ORDER, "CHANGE1")

    assert (placed.order_id, placed.replaces) == (419, 418)
    assert [(one.method, one.path) for one in server.asked] == [
        ("PUT", f"/v1/accounts/{KEY}/orders/418/change/preview.json"),
        ("PUT", f"/v1/accounts/{KEY}/orders/418/change/place.json"),
    ]


async def test_a_change_stops_at_a_warning_or_at_another_order(client: EtradeClient, server: Server) -> None:
    server.next("/change/preview", says(GOOD["preview"]), says(GOOD["preview"]))
    with pytest.raises(OrderRefused, match="warns: Entered"):
        await client.change(KEY, 418, ORDER, "CHANGE1")

    other = EtradeOrder((Leg.stock("MSFT", Action.SELL, 10),), PriceType.LIMIT, limit=Decimal("519.5"))
    with pytest.raises(OrderRefused, match="preview has"):
        await client.change(KEY, 418, other, "CHANGE2", accept_warnings=True)
    assert server.count("/change/place") == 0


async def test_a_cancel_that_names_another_order_is_not_certain(client: EtradeClient, server: Server) -> None:
    server.next("/cancel", says({"CancelOrderResponse": {"orderId": 773}}))

    with pytest.raises(OrderAmbiguous, match="another order"):
        await client.cancel(KEY, 419)


async def test_an_order_stands_whatever_else_is_wrong_with_the_answer(client: EtradeClient, server: Server) -> None:
    odd = {"placedTime": "soon", "Order": [{"messages": "words"}, 7], "OrderIds": [{"orderId": 418}]}
    server.next("/place", says({"PlaceOrderResponse": odd}))

    assert (await client.place(preview_of(client))).order_id == 418


async def test_two_parts_of_an_order_are_both_told(client: EtradeClient, server: Server) -> None:
    ids = {"OrderIds": [{"orderId": 418, "cashMargin": "CASH"}, {"orderId": 419, "cashMargin": "MARGIN"}]}
    server.next("/place", says({"PlaceOrderResponse": GOOD["place"]["PlaceOrderResponse"] | ids}))

    assert (await client.place(preview_of(client))).order_ids == (418, 419)


# Limits


@pytest.mark.parametrize(
    "answer",
    [
        lambda: error(None, "Number of requests exceeded the rate limit set"),
        lambda: says("<html><body>Over rate</body></html>", 400),
        lambda: says(b"", 429),
    ],
)
async def test_too_many_calls_are_waited_out(client: EtradeClient, server: Server, tempo: Tempo, answer: Any) -> None:
    server.next("/list", answer(), answer())

    assert len(await client.accounts()) == 1
    assert tempo.slept >= 3  # one second, then two


async def test_no_call_is_made_before_retry_after(client: EtradeClient, server: Server) -> None:
    server.next("/list", says(b"", 429, **{"Retry-After": "600"}))

    with pytest.raises(OverLimit) as caught:
        await client.accounts()
    assert 599 < caught.value.wait_s <= 600
    for _ in range(5):
        with pytest.raises(OverLimit):
            await client.accounts()
    assert len(server.asked) == 1
    assert client.budget()[Module.ACCOUNTS].wait_s > 590


async def test_what_a_place_hears_about_limits_binds_the_calls_after_it(client: EtradeClient, server: Server) -> None:
    server.next("/place", says(b"", 429, **{"Retry-After": "60"}))
    with pytest.raises(OrderAmbiguous):
        await client.place(preview_of(client))

    with pytest.raises(OverLimit):
        await client.cancel(KEY, 419)
    assert len(server.asked) == 1


async def test_no_limit_is_ever_exceeded_under_load() -> None:
    """1,000 calls that all want to go at once, and a cancel now and then: no second has more than it may."""
    tempo = Tempo()
    limits = Limits(tempo.monotonic, tempo.sleep, patience_s=1e9)
    gone: list[tuple[float, bool]] = []

    async def call(urgent: bool) -> None:
        await limits.take(Module.ORDERS, urgent=urgent)
        gone.append((tempo.now, urgent))

    await asyncio.gather(*(call(n % 50 == 49) for n in range(1000)))

    times = sorted(at for at, _ in gone)
    assert len(times) == 1000
    assert all(later - earlier >= 1.0 for earlier, later in zip(times, times[2:], strict=False))
    urgent = [number for number, (_, is_urgent) in enumerate(gone) if is_urgent]
    assert max(urgent) < 30  # the twenty cancels were not kept waiting by nine hundred reads


async def test_the_hour_has_a_limit_and_a_reserve_for_cancels() -> None:
    tempo = Tempo()
    limits = Limits(tempo.monotonic, tempo.sleep, {Module.ORDERS: Limit(2, 20, reserve=5)})
    for _ in range(15):
        await limits.take(Module.ORDERS)

    with pytest.raises(OverLimit, match="orders calls is used up"):
        await limits.take(Module.ORDERS)
    for _ in range(5):
        await limits.take(Module.ORDERS, urgent=True)
    with pytest.raises(OverLimit):
        await limits.take(Module.ORDERS, urgent=True)
    assert limits.budget()[Module.ORDERS].left_in_hour == 0
    tempo.now += HOUR_S
    await limits.take(Module.ORDERS)
    assert limits.budget()[Module.ORDERS].left_in_hour == 14


async def test_the_budget_tells_what_is_left(client: EtradeClient) -> None:
    before = client.budget()[Module.ACCOUNTS]
    await client.accounts()
    after = client.budget()[Module.ACCOUNTS]

    assert (before.left_in_hour - after.left_in_hour, after.left_in_second) == (1, 1)
    assert (LIMITS[Module.MARKET].per_second, LIMITS[Module.MARKET].per_hour) == (4, 14_000)


# Secrets


def no_canary(text: str) -> None:
    assert [canary for canary in CANARIES if canary in text] == []


async def test_nothing_secret_reaches_a_log_an_error_or_a_repr(
    client: EtradeClient, hasty: EtradeClient, server: Server, caplog: pytest.LogCaptureFixture, tempo: Tempo
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("oauthlib").getChild("oauth1").debug("a canary of the library's own")
    leak = f"Account {NUMBER} token {TOKEN} oauth_token={TOKEN} key {KEYS.key}, {KEY}"
    asked = await client.request_token()
    await client.access_token(asked, CODE)
    server.stays["/orders"] = lambda: says(GOOD["orders"])
    texts = [repr(client), repr(asked), repr(client.sign_in()), repr(await client.accounts()), repr(KEYS)]
    texts += [repr(Request("x", "GET", "http://x/" + KEY, {"Authorization": TOKEN}, TOKEN.encode()))]
    texts += [repr(preview_of(client)), repr(await client.orders(KEY))]
    answers = [
        error(102, leak),
        says(leak, 500),
        says(f"<html>{leak}</html>", 400),
        problem("token_revoked"),
        cut,
        hang,
    ]
    for answer in answers:
        for path, call in (("/list", hasty.accounts), ("/place", lambda: hasty.place(preview_of(hasty)))):
            server.answers.clear()
            server.next(path, answer if not isinstance(answer, web.Response) else says(answer.body, answer.status))
            try:
                await call()
            except DeskError as caught:
                texts += ["".join(traceback.format_exception(caught)), repr(caught), repr(vars(caught))]
    unreachable = make_client(server, MemoryStore(), tempo, environment=simulator(f"http://127.0.0.1:1/{KEY}"))
    with pytest.raises(Unavailable) as nobody:
        await unreachable.request_token()
    texts.append("".join(traceback.format_exception(nobody.value)))
    await unreachable.close()

    # Only the lines of the code itself may name what a test calls its secrets.
    for text in [*texts, *caplog.messages]:
        no_canary(text)
    assert any("list of accounts" in message for message in caplog.messages)
    assert REQUEST_TOKEN not in caplog.text


def test_environments_are_https_or_on_this_machine() -> None:
    assert PRODUCTION.api == "https://api.etrade.com/v1"
    assert SANDBOX.canned
    assert simulator("http://127.0.0.1:8189/").oauth == "http://127.0.0.1:8189/oauth"
    for address in ("http://example.com", "ftp://127.0.0.1", "", "//x"):
        with pytest.raises(SettingsError, match="https://"):
            simulator(address)
    with pytest.raises(SettingsError):
        Environment("x", "https://a", "http://b", "https://c")


def test_settings_make_a_client_or_say_what_is_missing(settings: Settings, clock: ManualClock) -> None:
    def made(**values: str) -> EtradeClient:
        return EtradeClient.from_settings(settings.model_copy(update=values), clock, store=MemoryStore())

    with pytest.raises(SettingsError, match="E\\*TRADE is off"):
        made()
    with pytest.raises(SettingsError, match="ETRADE_CONSUMER_KEY and ETRADE_CONSUMER_SECRET missing"):
        made(etrade_environment="production")
    with pytest.raises(SettingsError, match=r"^ETRADE_CONSUMER_SECRET missing"):
        made(etrade_environment="sandbox", etrade_consumer_key="k")
    assert made(etrade_environment="simulator").environment.name == "simulator"
    whole = made(etrade_environment="production", etrade_consumer_key="k", etrade_consumer_secret="s")
    assert whole.environment is PRODUCTION
    assert repr(whole) == "EtradeClient(production, none)"


def test_the_simulators_own_keys_need_not_be_set() -> None:
    server = pytest.importorskip("simulator._server")

    assert Keys(server.CONSUMER_KEY, server.CONSUMER_SECRET) == SIMULATOR_KEYS


# The doctor


async def test_the_doctor_finds_a_healthy_client_healthy(client: EtradeClient, server: Server) -> None:
    server.stays = {
        "/quote/": lambda: says(GOOD["quotes"]),
        "/balance": lambda: says(GOOD["balance"]),
        "/preview": lambda: says(GOOD["preview"]),
        "/orders.json": lambda: says(GOOD["orders"]),
    }

    checks = await doctor(client, account_number=NUMBER, symbol="MSFT", preview=True)

    assert {check.name: check.verdict for check in checks} == dict.fromkeys(
        ("keys", "clock", "sign-in", "accounts", "prices", "agreements", "orders", "order preview"), Verdict.OK
    )
    assert "••••9377" in next(check.said for check in checks if check.name == "accounts")
    assert server.count("/place") == 0
    sent = next(asked.body for asked in server.asked if "preview" in asked.path)["PreviewOrderRequest"]["Order"][0]
    assert (sent["limitPrice"], sent["Instrument"][0]["quantity"]) == (260.55, 1)


async def test_the_doctor_names_the_first_thing_that_is_wrong(client: EtradeClient, server: Server) -> None:
    server.next("request_token", says("oauth_problem=consumer_key_rejected", 401))
    checks = await doctor(client)

    assert [(check.name, check.verdict) for check in checks] == [("keys", "fail"), ("clock", "ok")]
    assert "ask E*TRADE for a new key" in checks[0].cure


async def test_the_doctor_sees_a_wrong_clock_and_delayed_prices(client: EtradeClient, server: Server) -> None:
    delayed = json.loads(json.dumps(GOOD["quotes"]))
    delayed["QuoteResponse"]["QuoteData"][0]["quoteStatus"] = "DELAYED"
    balance = json.loads(json.dumps(GOOD["balance"]))
    balance["BalanceResponse"]["quoteMode"] = 1
    server.stays = {
        "/quote/": lambda: says(delayed),
        "/balance": lambda: says(balance),
        "/orders.json": lambda: says(GOOD["orders"]),
    }
    server.dates = False
    ahead = f"{server.clock.now() + timedelta(seconds=100):%a, %d %b %Y %H:%M:%S} GMT"
    answer = says("oauth_token=CANARYxx&oauth_token_secret=CANARYyy", Date=ahead)
    server.next("request_token", answer)

    found = {check.name: check for check in await doctor(client, symbol="MSFT")}

    assert found["clock"].verdict == "warn"
    assert "behind E*TRADE's" in found["clock"].said
    assert found["prices"].verdict == found["agreements"].verdict == "warn"
    assert "agreement" in found["prices"].cure


async def test_the_doctor_tells_nobody_is_signed_in(server: Server, tempo: Tempo) -> None:
    client = make_client(server, MemoryStore(), tempo)
    checks = await doctor(client)

    assert (checks[-1].name, checks[-1].verdict) == ("sign-in", "fail")
    assert "sign-in link" in checks[-1].cure
    assert server.count("/v1/") == 0
    await client.close()


async def test_a_transport_can_be_handed_in(server: Server, store: MemoryStore, tempo: Tempo) -> None:
    class Canned:
        def __init__(self) -> None:
            self.asked: list[Request] = []

        async def send(self, request: Request) -> Reply:
            self.asked.append(request)
            if len(self.asked) == 1:
                raise TransportError("lost", sent=True)
            return Reply(200, {}, json.dumps(GOOD["accounts"]).encode())

        async def close(self) -> None: ...

    transport = Canned()
    client = make_client(server, store, tempo, transport=transport)

    assert (await client.accounts())[0].number == NUMBER
    nonces = [header_params(request.headers["Authorization"])["oauth_nonce"] for request in transport.asked]
    assert len(set(nonces)) == 2
