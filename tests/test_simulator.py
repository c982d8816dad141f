"""The simulated E*TRADE keeps to what is known of the real one: signing in, words and codes, orders, limits, faults."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote
from xml.etree import ElementTree

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from oauthlib.oauth1 import Client
from requests_oauthlib import OAuth1, OAuth1Session

from domain.clock import ManualClock, SystemClock
from domain.errors import SettingsError
from feeds.simulated import SimulatedFeed
from settings import Settings
from simulator import _oauth
from simulator._clock import MovedClock
from simulator.etrade import CONSUMER_KEY, CONSUMER_SECRET, Etrade, Options, begun
from simulator.running import Running, running
from tests.conftest import ROOT

MARGIN, CASH = "-kQ7mZr2VxPbN4tYwEoH_A", "Tn3uWc8JqLdF_aXvGyRb0Q"
VECTORS = [
    ("https://api.etrade.com/oauth/request_token", "", "", {"oauth_callback": "oob"}, "GC/7JlF37v0ew6VSXN7PilgxIWY="),
    (
        "https://api.etrade.com/oauth/access_token",
        *("rt+Token/01=", "rtSecret+/=", {"oauth_verifier": "WX8Y2"}, "tvx5FTpBX0uL1+hHp+qDAJNgP+Q="),
    ),
    (
        "https://api.etrade.com/v1/market/quote/AAPL,MSFT.json?detailFlag=ALL",
        *("at+Token/99=", "atSecret/+9=", {}, "96DcrW3Mqs13a/fwNNaRuY4/m3Q="),
    ),
]


class Person:
    """A signed-in program: calls come back as (status, tree)."""

    def __init__(self, sim: Running, key: str = MARGIN) -> None:
        self.sim, self.account = sim, key
        self.token, self.secret = sign_in(sim)
        self.session = OAuth1Session(CONSUMER_KEY, CONSUMER_SECRET, self.token, self.secret)
        self.numbers = iter(range(1, 1000))

    def call(self, method: str, path: str, **how: Any) -> requests.Response:
        return self.session.request(method, f"{self.sim.url}{path}", timeout=10, **how)

    def get(self, path: str, **query: object) -> tuple[int, Any]:
        return told(self.call("GET", f"/v1/{path}.json", params=query))

    def orders(self, **query: object) -> list[dict[str, Any]]:
        status, tree = self.get(f"accounts/{self.account}/orders", **query)
        return [] if status == 204 else tree["OrdersResponse"]["Order"]

    def status_of(self, order_id: int) -> str:
        _, tree = self.get(f"accounts/{self.account}/orders/{order_id}")
        return str(tree["OrdersResponse"]["Order"][0]["OrderDetail"][0]["status"])

    def send(self, method: str, path: str, root: str, inside: object) -> tuple[int, Any]:
        return told(self.call(method, f"/v1/accounts/{self.account}/orders/{path}.json", json={root: inside}))

    def new_id(self) -> str:
        return f"T{next(self.numbers):06}"

    def preview(self, body: dict[str, Any], path: str = "preview") -> tuple[int, Any]:
        return self.send("PUT" if "change" in path else "POST", path, "PreviewOrderRequest", body)

    def place(self, body: dict[str, Any], preview_id: object, path: str = "place") -> tuple[int, Any]:
        wish = {**body, "PreviewIds": [{"previewId": preview_id}]}
        return self.send("PUT" if "change" in path else "POST", path, "PlaceOrderRequest", wish)

    def both(self, body: dict[str, Any]) -> tuple[int, Any]:
        """Preview and place; the first refusal."""
        status, tree = self.preview(body)
        return self.place(body, preview_of(tree)) if status == 200 else (status, tree)

    def rests(self, body: dict[str, Any]) -> int:
        status, tree = self.both(body)
        assert status == 200, tree
        return int(tree["PlaceOrderResponse"]["OrderIds"][0]["orderId"])

    def cancel(self, order_id: int) -> tuple[int, Any]:
        return self.send("PUT", "cancel", "CancelOrderRequest", {"orderId": order_id})

    def order(self, action: str, quantity: int, kind: str = "MARKET", **other: Any) -> dict[str, Any]:
        product = {"symbol": other.pop("symbol", "MSFT"), "securityType": "EQ"}
        leg = {"Product": product, "orderAction": action, "quantityType": "QUANTITY", "quantity": quantity}
        order = {"allOrNone": False, "priceType": kind, "orderTerm": "GOOD_FOR_DAY", "marketSession": "REGULAR"}
        client_id = other.pop("client_id", None) or self.new_id()
        return {"orderType": "EQ", "clientOrderId": client_id, "Order": [{**order, **other, "Instrument": [leg]}]}


def told(reply: requests.Response) -> tuple[int, Any]:
    return reply.status_code, reply.json() if reply.content else None


def code_of(answer: tuple[int, Any]) -> tuple[int, int]:
    status, tree = answer
    return status, tree["Error"]["code"]


def preview_of(tree: Any) -> int:
    return int(tree["PreviewOrderResponse"]["PreviewIds"][0]["previewId"])


def oauth_call(sim: Running, name: str, auth: OAuth1 | None, method: str = "GET") -> requests.Response:
    return requests.request(method, f"{sim.url}/oauth/{name}", auth=auth, timeout=10)


def request_token(sim: Running, callback: str | None = "oob", **how: Any) -> requests.Response:
    return oauth_call(sim, "request_token", OAuth1(CONSUMER_KEY, CONSUMER_SECRET, callback_uri=callback, **how))


def pair(reply: requests.Response) -> tuple[str, str]:
    found = parse_qs(reply.text)
    return found["oauth_token"][0], found["oauth_token_secret"][0]


def accept(sim: Running, token: str) -> str:
    """What a person does in the browser: open the link, press Accept, read the code."""
    link = f"{sim.url}/e/t/etws/authorize?key={CONSUMER_KEY}&token={quote(token, safe='')}"
    form = dict(re.findall(r'name="(\w+)" value="([^"]*)"', requests.get(link, timeout=10).text))
    shown = requests.post(f"{sim.url}/e/t/etws/authorize", data=form, timeout=10).text
    [code] = re.findall(r'id="verifier" type="text" value="(\w+)"', shown)
    return str(code)


def access_token(sim: Running, token: str, secret: str, verifier: str | None) -> requests.Response:
    return oauth_call(sim, "access_token", OAuth1(CONSUMER_KEY, CONSUMER_SECRET, token, secret, verifier=verifier))


def sign_in(sim: Running) -> tuple[str, str]:
    token, secret = pair(request_token(sim))
    return pair(access_token(sim, token, secret, accept(sim, token)))


def problem_of(reply: requests.Response) -> str:
    [problem] = re.findall(r"oauth_problem=([a-z_]+)", reply.text)
    return str(problem)


@pytest.fixture
def sim() -> Iterator[Running]:
    """Friday 20 November 2026, 10:30 New York, standing still; MSFT at 500."""
    with running() as sim:
        sim.price("MSFT", "500.00", bid="499.99", ask="500.01", previous_close="495.00")
        yield sim


@pytest.fixture
def me(sim: Running) -> Person:
    return Person(sim)


# Signatures


@pytest.mark.parametrize(("url", "token", "secret", "more", "expected"), VECTORS)
def test_the_three_vectors(url: str, token: str, secret: str, more: dict[str, str], expected: str) -> None:
    address, _, query = url.partition("?")
    pairs = [
        ("oauth_consumer_key", "demoConsumerKey0001"),
        ("oauth_nonce", "0a1b2c3d4e5f"),
        ("oauth_signature_method", "HMAC-SHA1"),
        ("oauth_timestamp", "1760000000"),
        ("oauth_version", "1.0"),
        *([("oauth_token", token)] if token else []),
        *more.items(),
        *((name, values[0]) for name, values in parse_qs(query).items()),
    ]

    base = _oauth.base_string("GET", address, pairs)

    assert _oauth.signature(base, "demo/Consumer+Secret=", secret) == expected


names = st.text("abcXYZ019-._~", min_size=1, max_size=8)
values = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), max_size=12)


@given(names, st.lists(st.tuples(names, values), max_size=5), values, values)
def test_signatures_are_oauthlibs(part: str, query: list[tuple[str, str]], one: str, two: str) -> None:
    address = f"http://127.0.0.1:8189/v1/market/quote/{part},A%2CB.json"
    joined = "&".join(f"{_oauth.encoded(name)}={_oauth.encoded(value)}" for name, value in query)
    client = Client("key", one, "token", two, nonce="n1", timestamp="1760000000")
    _, headers, _ = client.sign(f"{address}?{joined}" if joined else address)
    sent = dict(re.findall(r'(oauth_\w+)="([^"]*)"', headers["Authorization"]))
    oauth = [("oauth_" + name, value) for name, value in (("consumer_key", "key"), ("token", "token"), ("nonce", "n1"))]
    oauth += [("oauth_timestamp", "1760000000"), ("oauth_version", "1.0"), ("oauth_signature_method", "HMAC-SHA1")]

    base = _oauth.base_string("GET", address, [*query, *oauth])

    assert _oauth.encoded(_oauth.signature(base, one, two)) == sent["oauth_signature"]


def test_oauth_may_stand_in_the_query(sim: Running, me: Person) -> None:
    auth = OAuth1(CONSUMER_KEY, CONSUMER_SECRET, me.token, me.secret, signature_type="QUERY")

    assert requests.get(f"{sim.url}/v1/accounts/list.json", auth=auth, timeout=10).status_code == 200


@pytest.mark.parametrize("target", ["/v1/market/quote/MSFT,QQQX.json", "/v1/market/quote/MSFT%2CQQQX.json"])
def test_a_path_is_signed_as_it_was_sent(sim: Running, me: Person, target: str) -> None:
    url = f"{sim.url}{target}"
    _, headers, _ = Client(CONSUMER_KEY, CONSUMER_SECRET, me.token, me.secret).sign(url)
    with socket.create_connection(("127.0.0.1", int(sim.url.rsplit(":", 1)[1])), 10) as line:
        host = sim.url.removeprefix("http://")
        line.sendall(
            f"GET {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: {headers['Authorization']}\r\n"
            "Connection: close\r\n\r\n".encode()
        )
        reply = b"".join(iter(lambda: line.recv(65536), b""))

    assert reply.startswith(b"HTTP/1.1 200")


def test_the_address_is_the_one_the_caller_sees() -> None:
    with running(Options(base="https://etrade.example:8443")) as sim:
        port = sim.server._runner.addresses[0][1]  # type: ignore[union-attr]
        public = "https://etrade.example:8443/oauth/request_token"
        signed = Client(CONSUMER_KEY, CONSUMER_SECRET, callback_uri="oob")
        _, headers, _ = signed.sign(public)

        reply = requests.get(f"http://127.0.0.1:{port}/oauth/request_token", headers=headers, timeout=10)

        assert reply.status_code == 200


# Signing in


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_whole_sign_in(sim: Running, method: str) -> None:
    asked = oauth_call(sim, "request_token", OAuth1(CONSUMER_KEY, CONSUMER_SECRET, callback_uri="oob"), method)
    token, secret = pair(asked)
    code = accept(sim, token)
    auth = OAuth1(CONSUMER_KEY, CONSUMER_SECRET, token, secret, verifier=code)
    access = pair(oauth_call(sim, "access_token", auth, method))
    good = OAuth1(CONSUMER_KEY, CONSUMER_SECRET, *access)

    renewed = oauth_call(sim, "renew_access_token", good, method)
    revoked = oauth_call(sim, "revoke_access_token", good, method)
    after = requests.get(f"{sim.url}/v1/accounts/list.json", auth=good, timeout=10)

    assert "oauth_callback_confirmed=true" in asked.text
    assert re.fullmatch(r"[A-Z0-9]{5}", code)
    assert (renewed.text, revoked.text) == ("Access Token has been renewed", "Revoked Access Token")
    assert told(after) == (401, {"Error": {"message": "oauth_problem=token_revoked"}})


def test_only_oob_is_taken(sim: Running) -> None:
    elsewhere, none = request_token(sim, "https://example.com/back"), request_token(sim, None)

    assert (elsewhere.status_code, problem_of(elsewhere)) == (400, "callback_rejected")
    assert "oauth_acceptable_callback=oob" in elsewhere.text
    assert (none.status_code, problem_of(none)) == (401, "parameter_absent")


def test_oauth_refuses_with_a_page_and_v1_with_a_tree(sim: Running, me: Person) -> None:
    page = oauth_call(sim, "renew_access_token", OAuth1(CONSUMER_KEY, CONSUMER_SECRET, "nobody", "x"))
    bad = OAuth1(CONSUMER_KEY, CONSUMER_SECRET, "nobody", "x")
    tree = requests.get(f"{sim.url}/v1/accounts/list.json", auth=bad, timeout=10)
    xml = requests.get(f"{sim.url}/v1/accounts/list", auth=bad, timeout=10)
    unsigned = requests.get(f"{sim.url}/v1/accounts/list.json", timeout=10)

    assert page.headers["Content-Type"].startswith("text/html")
    assert "<b>Message</b> oauth_problem=token_rejected" in page.text
    assert told(tree) == (401, {"Error": {"message": "oauth_problem=token_rejected"}})
    assert xml.text.endswith("<Error><message>oauth_problem=token_rejected</message></Error>")
    assert told(unsigned)[1]["Error"]["message"].startswith("Unauthorized request - invalid Consumer key")


@pytest.mark.parametrize(
    ("how", "problem"),
    [
        ({"client_key": "somebodyElse"}, "consumer_key_unknown"),
        ({"client_secret": "wrong"}, "signature_invalid"),
        ({"resource_owner_secret": "wrong"}, "signature_invalid"),
        ({"resource_owner_key": "nobody"}, "token_rejected"),
        ({"timestamp": "1000000000"}, "timestamp_refused"),
        ({"timestamp": "never"}, "timestamp_refused"),
        ({"signature_method": "PLAINTEXT"}, "signature_method_rejected"),
    ],
)
def test_each_wrong_part_has_its_problem(sim: Running, me: Person, how: dict[str, str], problem: str) -> None:
    right = {
        "client_key": CONSUMER_KEY,
        "client_secret": CONSUMER_SECRET,
        "resource_owner_key": me.token,
        "resource_owner_secret": me.secret,
    }
    reply = requests.get(f"{sim.url}/v1/accounts/list.json", auth=OAuth1(**{**right, **how}), timeout=10)

    assert (reply.status_code, problem_of(reply)) == (401, problem)


def test_a_nonce_is_good_once(sim: Running, me: Person) -> None:
    now = str(int(SystemClock().now().timestamp()))
    auth = OAuth1(CONSUMER_KEY, CONSUMER_SECRET, me.token, me.secret, nonce="once", timestamp=now)
    first, second = (requests.get(f"{sim.url}/v1/accounts/list.json", auth=auth, timeout=10) for _ in range(2))

    assert (first.status_code, problem_of(second)) == (200, "nonce_used")


def test_a_missing_parameter_is_named(sim: Running, me: Person) -> None:
    url = f"{sim.url}/v1/accounts/list.json"
    _, headers, _ = Client(CONSUMER_KEY, CONSUMER_SECRET, me.token, me.secret).sign(url)
    cut = re.sub(r'oauth_nonce="[^"]*", ', "", headers["Authorization"])

    reply = requests.get(url, headers={"Authorization": cut}, timeout=10)

    assert "oauth_problem=parameter_absent&oauth_parameters_absent=oauth_nonce" in reply.text


def test_a_server_whose_clock_is_wrong_says_what_it_accepts(sim: Running, me: Person) -> None:
    sim.control("clock", skew=600)
    reply = me.call("GET", "/v1/accounts/list.json")

    assert problem_of(reply) == "timestamp_refused"
    assert "oauth_acceptable_timestamps=" in reply.text
    sent = datetime.strptime(reply.headers["Date"], "%a, %d %b %Y %H:%M:%S %Z").replace(tzinfo=UTC)
    assert sent - SystemClock().now() > timedelta(minutes=9)


def test_a_caller_on_the_moved_clock_is_let_in_and_told_its_time(sim: Running, me: Person) -> None:
    stamp = str(int(sim.server.clock.now().timestamp()))
    auth = OAuth1(CONSUMER_KEY, CONSUMER_SECRET, me.token, me.secret, timestamp=stamp)
    reply = requests.get(f"{sim.url}/v1/accounts/list.json", auth=auth, timeout=10)

    assert (reply.status_code, reply.headers["Date"]) == (200, "Fri, 20 Nov 2026 15:30:00 GMT")


def test_a_request_token_lives_five_minutes(sim: Running) -> None:
    token, secret = pair(request_token(sim))
    code = accept(sim, token)
    sim.control("clock", by=300)
    late = access_token(sim, token, secret, code)
    page = requests.get(f"{sim.url}/e/t/etws/authorize", params={"key": CONSUMER_KEY, "token": token}, timeout=10)

    assert problem_of(late) == "token_expired"
    assert (page.status_code, "older than five minutes" in page.text) == (401, True)


@pytest.mark.parametrize("wrong", ["AAAAA", None])
def test_a_wrong_code_lets_nobody_in(sim: Running, wrong: str | None) -> None:
    token, secret = pair(request_token(sim))
    accept(sim, token)
    reply = access_token(sim, token, secret, wrong)

    assert problem_of(reply) == ("token_rejected" if wrong else "parameter_absent")


def test_nobody_gets_in_without_accept_and_a_code_is_good_once(sim: Running) -> None:
    token, secret = pair(request_token(sim))
    early = access_token(sim, token, secret, "")
    code = accept(sim, token)
    first, again = (access_token(sim, token, secret, code) for _ in range(2))

    assert problem_of(early) == "parameter_absent" or problem_of(early) == "token_rejected"
    assert (first.status_code, problem_of(again)) == (200, "token_rejected")


def test_a_token_that_is_not_encoded_in_the_link_does_not_work(sim: Running) -> None:
    token = next(name for name, _ in (pair(request_token(sim)) for _ in range(40)) if "+" in name)
    raw = requests.get(f"{sim.url}/e/t/etws/authorize?key={CONSUMER_KEY}&token={token}", timeout=10)

    assert raw.status_code == 401
    assert accept(sim, token)


def test_the_authorize_page_is_a_simulators_and_escapes(sim: Running) -> None:
    token, _ = pair(request_token(sim))
    shown = requests.get(f"{sim.url}/e/t/etws/authorize", params={"key": CONSUMER_KEY, "token": token}, timeout=10)
    evil = requests.get(f"{sim.url}/e/t/etws/authorize", params={"key": "<script>", "token": "<b>"}, timeout=10)

    assert "SIMULATOR" in shown.text
    assert ">Accept</button>" in shown.text
    assert "<script>" not in evil.text


def test_two_idle_hours_put_a_token_to_sleep_until_it_is_renewed(sim: Running, me: Person) -> None:
    sim.control("clock", by=7199)
    awake = me.call("GET", "/v1/accounts/list.json").status_code
    sim.control("clock", by=7200)
    asleep = me.call("GET", "/v1/accounts/list.json")
    renewed = me.call("GET", "/oauth/renew_access_token")
    again = me.call("GET", "/v1/accounts/list.json").status_code

    assert (awake, problem_of(asleep), renewed.status_code, again) == (200, "token_rejected", 200, 200)


@pytest.mark.parametrize(
    ("start", "last", "dead"),
    [
        ("2026-11-20T22:30", "2026-11-21T04:59:59+00:00", "2026-11-21T05:00:00+00:00"),
        ("2026-07-15T22:30", "2026-07-16T03:59:59+00:00", "2026-07-16T04:00:00+00:00"),
        ("2026-03-07T22:30", "2026-03-08T04:59:59+00:00", "2026-03-08T05:00:00+00:00"),
        ("2026-03-08T22:30", "2026-03-09T03:59:59+00:00", "2026-03-09T04:00:00+00:00"),
        ("2026-10-31T22:30", "2026-11-01T03:59:59+00:00", "2026-11-01T04:00:00+00:00"),
        ("2026-11-01T22:30", "2026-11-02T04:59:59+00:00", "2026-11-02T05:00:00+00:00"),
    ],
    ids=["winter", "summer", "before spring forward", "spring forward", "before fall back", "fall back"],
)
def test_a_token_dies_at_midnight_in_new_york(start: str, last: str, dead: str) -> None:
    with running(at=begun(SystemClock(), start).now()) as sim:
        me = Person(sim)
        sim.move_to(last)
        alive = me.call("GET", "/v1/accounts/list.json").status_code
        sim.move_to(dead)
        gone, renew = me.call("GET", "/v1/accounts/list.json"), me.call("GET", "/oauth/renew_access_token")

        assert (alive, problem_of(gone), problem_of(renew)) == (200, "token_expired", "token_expired")
        assert Person(sim).call("GET", "/v1/accounts/list.json").status_code == 200


def test_a_disabled_key_is_rejected(sim: Running, me: Person) -> None:
    sim.control("tokens", reject_key=True)

    assert problem_of(me.call("GET", "/v1/accounts/list.json")) == "consumer_key_rejected"


# Shapes


def test_xml_unless_json_is_asked_for(sim: Running, me: Person) -> None:
    plain, suffix = me.call("GET", "/v1/accounts/list"), me.call("GET", "/v1/accounts/list.json")
    header = me.call("GET", "/v1/accounts/list", headers={"Accept": "application/json"})
    root = ElementTree.fromstring(plain.text)

    assert plain.headers["Content-Type"] == "application/xml"
    assert [one.findtext("accountIdKey") for one in root.iter("Account")] == [MARGIN, CASH]
    assert root.findtext(".//shareWorksAccount") == "false"
    assert suffix.json() == header.json()
    assert {"X-ET-Trace", "apiServerName", "Set-Cookie"} <= set(plain.headers)


@pytest.mark.parametrize("path", ["orders", "orders/1", "portfolio", "portfolio/5", "transactions"])
def test_nothing_found_is_204_without_a_body(me: Person, path: str) -> None:
    reply = me.call("GET", f"/v1/accounts/{MARGIN}/{path}.json")

    assert (reply.status_code, reply.content) == (204, b"")


def test_no_alerts_is_204(me: Person) -> None:
    assert [me.get(path)[0] for path in ("user/alerts", "user/alerts/7")] == [204, 204]


def test_routes_nobody_has_and_wrong_verbs(me: Person) -> None:
    assert told(me.call("GET", "/v1/nowhere.json")) == (404, {"Error": {"message": "Resource not found"}})
    assert me.get("market/news") == (401, {"Error": {"message": "Unauthorized request"}})
    assert [me.call("GET", path).status_code for path in ("/v1/", "/v1/accounts", "/v1/accounts//x")] == [404, 404, 400]
    assert code_of(told(me.call("POST", f"/v1/accounts/{MARGIN}/orders/cancel.json"))) == (405, 9999)
    assert code_of(told(me.call("POST", f"/v1/accounts/{MARGIN}/orders/389/change/place.json"))) == (405, 9999)
    assert code_of(me.get("accounts/nokey/balance", instType="BROKERAGE")) == (400, 102)
    assert code_of(me.get(f"accounts/{MARGIN}/balance")) == (400, 7002)


def test_a_balance_of_each_kind(sim: Running, me: Person) -> None:
    query = {"instType": "BROKERAGE", "realTimeNAV": "true"}
    margin = me.get(f"accounts/{MARGIN}/balance", **query)[1]["BalanceResponse"]
    cash = me.get(f"accounts/{CASH}/balance", **query)[1]["BalanceResponse"]

    assert (margin["accountMode"], margin["Computed"]["marginBuyingPower"]) == ("MARGIN", 200_000)
    assert (cash["accountMode"], cash["Computed"]["cashBuyingPower"]) == ("CASH", 100_000)
    assert "marginBuyingPower" not in cash["Computed"]
    assert margin["Computed"]["RealTimeValues"]["totalAccountValue"] == 100_000
    assert (
        "RealTimeValues"
        not in me.get(f"accounts/{MARGIN}/balance", instType="BROKERAGE")[1]["BalanceResponse"]["Computed"]
    )


# Quotes


def test_a_quote_says_where_its_prices_are(sim: Running, me: Person) -> None:
    [quote_] = me.get("market/quote/msft,QQQX")[1]["QuoteResponse"]["QuoteData"]
    everything = quote_["All"]

    assert (quote_["quoteStatus"], quote_["ahFlag"], quote_["Product"]["symbol"]) == ("REALTIME", "false", "MSFT")
    assert quote_["dateTime"] == "10:30:00 EST 11-20-2026"
    assert quote_["dateTimeUTC"] == everything["timeOfLastTrade"] == 1795188600
    assert (everything["lastTrade"], everything["bid"], everything["ask"]) == (500, 499.99, 500.01)
    assert (everything["changeClose"], everything["changeClosePercentage"]) == (5, 1.01)
    assert "ExtendedHourQuoteDetail" not in everything


def test_unknown_symbols_are_messages(sim: Running, me: Person) -> None:
    some = me.get("market/quote/MSFT,NOPE")[1]["QuoteResponse"]
    none = me.get("market/quote/NOPE")[1]["QuoteResponse"]

    said = {"description": "NOPE is an invalid symbol", "code": 1002, "type": "ERROR"}
    assert (len(some["QuoteData"]), some["Messages"]["Message"]) == (1, [said])
    assert none == {"Messages": {"Message": [said]}}


@pytest.mark.parametrize(
    ("flag", "key", "has"),
    [
        ("FUNDAMENTAL", "Fundamental", "eps"),
        ("INTRADAY", "Intraday", "totalVolume"),
        ("OPTIONS", "Option", "askSize"),
        ("WEEK_52", "Week52", "perf12Months"),
    ],
)
def test_each_flag_has_its_own_detail(me: Person, flag: str, key: str, has: str) -> None:
    [quote_] = me.get("market/quote/MSFT", detailFlag=flag)[1]["QuoteResponse"]["QuoteData"]

    assert has in quote_[key]
    assert "All" not in quote_
    assert not ({"open", "previousClose"} & set(quote_[key])) or flag == "WEEK_52"


def test_too_many_symbols(me: Person) -> None:
    some = ",".join(f"S{n}" for n in range(26))
    many = ",".join(f"S{n}" for n in range(51))

    assert code_of(me.get(f"market/quote/{some}")) == (400, 1023)
    assert me.get(f"market/quote/{some}", overrideSymbolCount="true")[0] == 200
    assert code_of(me.get(f"market/quote/{many}", overrideSymbolCount="true")) == (400, 1025)
    assert code_of(me.get("market/quote/MSFT", detailFlag="ODD")) == (400, 1020)


def test_after_hours_the_live_price_stands_aside(sim: Running) -> None:
    sim.move_to("2026-11-20T18:00")
    sim.price("MSFT", "510.00")
    me = Person(sim)
    [quote_] = me.get("market/quote/MSFT")[1]["QuoteResponse"]["QuoteData"]

    assert (quote_["quoteStatus"], quote_["ahFlag"], quote_["All"]["lastTrade"]) == ("EH_REALTIME", "true", 500)
    assert quote_["All"]["ExtendedHourQuoteDetail"]["lastPrice"] == 510


def test_quotes_are_marked_as_told(sim: Running, me: Person) -> None:
    shown = []
    for status in ("DELAYED", "CLOSING", "EH_REALTIME"):
        sim.control("rules", quote_status=status)
        [quote_] = me.get("market/quote/MSFT")[1]["QuoteResponse"]["QuoteData"]
        shown.append((quote_["quoteStatus"], quote_["dateTimeUTC"]))

    assert shown == [("DELAYED", 1795188600 - 900), ("CLOSING", 1795188600), ("EH_REALTIME", 1795188600)]


def test_lookup_and_options(sim: Running, me: Person) -> None:
    assert me.get("market/lookup/MSF")[1]["LookupResponse"]["Data"][0]["type"] == "EQUITY"
    assert code_of(me.get("market/optionchains", symbol="MSFT")) == (400, 10032)
    assert code_of(me.get("market/lookup/zzzz")) == (400, 10033)


def test_the_simulated_feed_gives_the_prices() -> None:
    with running() as dry:
        moment = dry.server.clock.now()
    feed = SimulatedFeed(Settings(simulated_clock="real"), ManualClock(moment))
    with running(feed=feed) as sim:
        me = Person(sim)
        [apple] = me.get("market/quote/AAPL", requireEarningsDate="true")[1]["QuoteResponse"]["QuoteData"]
        hits = me.get("market/lookup/apple")[1]["LookupResponse"]["Data"]
        order = me.rests(me.order("BUY", 3, symbol="AAPL"))
        feed.clock.advance(seconds=5)  # type: ignore[attr-defined]
        sim.tick(5)
        status = me.status_of(order)

    everything = apple["All"]
    assert everything["low52"] <= everything["low"] <= everything["lastTrade"] <= everything["high"]
    assert everything["bid"] < everything["ask"]
    assert re.fullmatch(r"\d\d/\d\d/2\d{3}", everything["nextEarningDate"])
    assert [hit["symbol"] for hit in hits] == ["AAPL"]
    assert status == "EXECUTED"


# Orders


def test_a_preview_then_an_order_in_the_words_of_the_reference(me: Person) -> None:
    body = me.order("BUY", 10, "LIMIT", limitPrice=480.5, client_id="TB251008K7Q2M9XA")
    _, previewed = me.preview(body)
    _, placed = me.place(body, preview_of(previewed))
    [listed] = me.orders()
    [single] = me.get(f"accounts/{MARGIN}/orders/{listed['orderId']}")[1]["OrdersResponse"]["Order"]
    detail = listed["OrderDetail"][0]

    assert previewed["PreviewOrderResponse"]["totalOrderValue"] == 4805
    assert previewed["PreviewOrderResponse"]["dstFlag"] is False
    power = previewed["PreviewOrderResponse"]["marginBpDetails"]["marginable"]
    assert (power["currentBp"], power["currentOrderImpact"], power["netBp"]) == (200_000, 4805, 195_195)
    [message] = placed["PlaceOrderResponse"]["Order"][0]["messages"]["Message"]
    assert (message["code"], message["type"]) == (1026, "WARNING")
    assert placed["PlaceOrderResponse"]["OrderIds"][0]["orderId"] == listed["orderId"] == 389
    assert (detail["status"], detail["limitPrice"], detail["stopPrice"]) == ("OPEN", 480.5, 0)
    assert detail["Instrument"][0]["filledQuantity"] == 0.0
    assert "averageExecutionPrice" not in detail["Instrument"][0]
    assert single["Events"]["Event"][0]["name"] == "ORDER_PLACED"
    assert "TB251008K7Q2M9XA" not in str((previewed, placed, listed, single))


def test_the_same_by_xml(me: Person) -> None:
    base = f"/v1/accounts/{MARGIN}/orders"
    order = (
        "<Order><allOrNone>false</allOrNone><priceType>LIMIT</priceType><orderTerm>GOOD_FOR_DAY</orderTerm>"
        "<marketSession>REGULAR</marketSession><limitPrice>480.50</limitPrice><stopPrice></stopPrice><Instrument>"
        "<Product><securityType>EQ</securityType><symbol>MSFT</symbol></Product><orderAction>BUY</orderAction>"
        "<quantityType>QUANTITY</quantityType><quantity>10</quantity></Instrument></Order>"
    )
    head = "<orderType>EQ</orderType><clientOrderId>XML1</clientOrderId>"
    kind = {"Content-Type": "application/xml"}
    asked = me.call(
        "POST", f"{base}/preview", data=f"<PreviewOrderRequest>{head}{order}</PreviewOrderRequest>", headers=kind
    )
    number = ElementTree.fromstring(asked.text).findtext("./PreviewIds/previewId")
    ids = f"<PreviewIds><previewId>{number}</previewId></PreviewIds>"
    placed = me.call(
        "POST", f"{base}/place", data=f"<PlaceOrderRequest>{head}{ids}{order}</PlaceOrderRequest>", headers=kind
    )
    order_id = ElementTree.fromstring(placed.text).findtext("./OrderIds/orderId")
    wish = f"<CancelOrderRequest><orderId>{order_id}</orderId></CancelOrderRequest>"
    cancelled = me.call("PUT", f"{base}/cancel", data=wish, headers=kind)

    assert ElementTree.fromstring(placed.text).findtext("./Order/messages/Message/code") == "1026"
    assert ElementTree.fromstring(cancelled.text).findtext("./Messages/Message/code") == "5011"


def test_buy_hold_protect_and_sell(sim: Running, me: Person) -> None:
    """Bought, it is a position; its shares are tied up by a stop until that is cancelled."""
    bought = me.rests(me.order("BUY", 10))
    before = me.status_of(bought)
    sim.tick()
    position = me.get(f"accounts/{MARGIN}/portfolio", totalsRequired="true")[1]["PortfolioResponse"]
    stop = me.rests(me.order("SELL", 10, "STOP", stopPrice=490, orderTerm="GOOD_UNTIL_CANCEL"))
    second = me.both(me.order("SELL", 1, "LIMIT", limitPrice=510))
    cancelled = me.cancel(stop)
    requested, again = me.status_of(stop), me.cancel(stop)
    sim.tick(2)
    done, late = me.status_of(stop), me.cancel(stop)
    sold = me.rests(me.order("SELL", 10))
    sim.tick()

    [held] = position["AccountPortfolio"][0]["Position"]
    assert (before, me.status_of(bought), me.status_of(sold)) == ("OPEN", "EXECUTED", "EXECUTED")
    assert (held["quantity"], held["pricePaid"], held["marketValue"]) == (10, 500.01, 5000)
    assert position["Totals"]["totalGainLoss"] == -0.1
    assert code_of(second) == (400, 1037)
    assert cancelled[1]["CancelOrderResponse"]["Messages"]["Message"][0]["code"] == 5011
    assert (requested, code_of(again)) == ("CANCEL_REQUESTED", (400, 5001))
    assert (done, code_of(late)) == ("CANCELLED", (400, 5001))
    assert me.get(f"accounts/{MARGIN}/portfolio")[0] == 204


def test_fills_follow_the_tape(sim: Running, me: Person) -> None:
    sim.control("position", account=MARGIN, symbol="MSFT", quantity=20, price="480")
    sim.control("tape", rows=[{"symbol": "MSFT", "last": price} for price in ("498", "496", "489", "505", "512")])
    limit = me.rests(me.order("BUY", 5, "LIMIT", limitPrice=495))
    stop = me.rests(me.order("SELL", 10, "STOP", stopPrice=490))
    far = me.rests(me.order("BUY", 5, "STOP_LIMIT", stopPrice=510, limitPrice=511))
    seen = []
    for _ in range(5):
        sim.tick()
        seen.append([me.status_of(each)[:4] for each in (limit, stop, far)])
    prices = [
        me.orders(status="EXECUTED")[at]["OrderDetail"][0]["Instrument"][0]["averageExecutionPrice"] for at in (0, 1)
    ]

    assert seen[:3] == [["OPEN"] * 3, ["OPEN"] * 3, ["EXEC", "EXEC", "OPEN"]]
    assert seen[4] == ["EXEC", "EXEC", "OPEN"]
    assert prices == [489, 495]


def test_a_trailing_stop_follows_and_fills(sim: Running, me: Person) -> None:
    sim.control("position", account=MARGIN, symbol="MSFT", quantity=10, price="480")
    trail = me.rests(me.order("SELL", 10, "TRAILING_STOP_CNST", stopPrice=5))
    for price in ("500", "510", "506"):
        sim.price("MSFT", price)
        sim.tick()
    before = me.status_of(trail)
    sim.price("MSFT", "505")
    sim.tick()

    assert (before, me.status_of(trail)) == ("OPEN", "EXECUTED")


def test_a_thin_market_fills_in_parts(sim: Running, me: Person) -> None:
    sim.control("rules", volume_cap=0.1)
    sim.price("MSFT", "500", volume="1000")
    sim.tick()
    whole = me.rests(me.order("BUY", 50))
    kill = me.rests(me.order("BUY", 100, "LIMIT", limitPrice=501, orderTerm="FILL_OR_KILL"))
    sim.price("MSFT", "500", volume="1200")
    sim.tick()
    [part] = [row for row in me.orders() if row["orderId"] == whole]

    assert part["OrderDetail"][0]["status"] == "OPEN"
    assert part["OrderDetail"][0]["Instrument"][0]["filledQuantity"] == 20.0
    assert part["OrderDetail"][0]["Instrument"][0]["averageExecutionPrice"] == 500
    assert me.status_of(kill) == "CANCELLED"


def test_a_short_sale_and_its_cover(sim: Running, me: Person) -> None:
    sold = me.rests(me.order("SELL_SHORT", 10))
    sim.tick()
    [held] = me.get(f"accounts/{MARGIN}/portfolio")[1]["PortfolioResponse"]["AccountPortfolio"][0]["Position"]
    too_many = me.both(me.order("BUY_TO_COVER", 11))
    me.rests(me.order("BUY_TO_COVER", 10))
    sim.tick()
    rows = me.get(f"accounts/{MARGIN}/transactions")[1]["TransactionListResponse"]["Transaction"]

    assert me.status_of(sold) == "EXECUTED"
    assert (held["quantity"], held["positionType"], held["positionIndicator"]) == (-10, "SHORT", "TYPE5")
    assert code_of(too_many) == (400, 1037)
    assert [row["transactionType"] for row in rows] == ["Bought To Cover", "Sold Short"]


def test_a_preview_dies_after_three_minutes_and_is_good_once(sim: Running, me: Person) -> None:
    body = me.order("BUY", 1, "LIMIT", limitPrice=480)
    first, second = (preview_of(me.preview(body)[1]) for _ in range(2))
    placed, again = me.place(body, first), me.place({**body, "clientOrderId": "X"}, first)
    sim.control("clock", by=180)
    late = me.place(body, second)

    assert placed[0] == 200
    assert code_of(again) == (400, 101)
    assert code_of(late) == (400, 101)
    assert code_of(me.place(body, 12345)) == (400, 101)


def test_what_is_placed_must_be_what_was_previewed(me: Person) -> None:
    body = me.order("BUY", 10, "LIMIT", limitPrice=480)
    number = preview_of(me.preview(body)[1])
    dearer = me.order("BUY", 10, "LIMIT", limitPrice=481, client_id=body["clientOrderId"])
    nameless = me.send("POST", "place", "PlaceOrderRequest", {**body, "previewId": number})

    assert code_of(me.place(dearer, number)) == (400, 101)
    assert code_of(me.place({**body, "clientOrderId": "other"}, number)) == (400, 101)
    assert code_of(nameless) == (400, 1033)
    assert me.place(body, number)[0] == 200


@pytest.mark.parametrize("client_id", ["7c9e6679-7425", "", "x" * 21, "a b", "naïve", None])
def test_an_id_that_is_not_alphanumeric_looks_like_an_outage(me: Person, client_id: str | None) -> None:
    body = {**me.order("BUY", 1, "LIMIT", limitPrice=480), "clientOrderId": client_id}

    assert code_of(me.preview(body)) == (500, 100)


def test_an_id_comes_once_unless_the_broker_does_not_care(sim: Running, me: Person) -> None:
    def twice() -> tuple[int, Any]:
        return me.both(me.order("BUY", 1, "LIMIT", limitPrice=480, client_id="SAME"))

    first, refused = twice(), twice()
    sim.control("rules", duplicates="accept")

    assert (first[0], refused[0], twice()[0]) == (200, 400, 200)
    assert len(me.orders()) == 2


@pytest.mark.parametrize(
    ("action", "kind", "prices", "answer"),
    [
        ("BUY", "STOP", {"stopPrice": 499}, (400, 2084)),
        ("SELL", "STOP", {"stopPrice": 501}, (400, 2084)),
        ("BUY", "STOP", {"stopPrice": 6000}, (400, 2085)),
        ("SELL", "TRAILING_STOP_CNST", {"stopPrice": 500}, (400, 2085)),
        ("BUY", "LIMIT", {}, (400, 9999)),
        ("BUY", "LIMIT", {"limitPrice": -1}, (400, 9999)),
        ("BUY", "LIMIT", {"limitPrice": 480.001}, (400, 9999)),
        ("BUY", "LIMIT", {"limitPrice": "NaN"}, (400, 9999)),
        ("BUY", "MARKET_ON_CLOSE", {}, (400, 9999)),
        ("BUY", "MARKET", {"marketSession": "EXTENDED"}, (400, 9999)),
        ("BUY", "MARKET", {"orderTerm": "IMMEDIATE_OR_CANCEL"}, (400, 9999)),
        ("BUY", "MARKET", {"symbol": "NOPE"}, (400, 1002)),
    ],
)
def test_orders_that_make_no_sense(
    sim: Running, me: Person, action: str, kind: str, prices: dict[str, Any], answer: tuple[int, int]
) -> None:
    sim.control("position", account=MARGIN, symbol="MSFT", quantity=10, price="480")

    assert code_of(me.preview(me.order(action, 10, kind, **prices))) == answer


def test_money_and_shares_must_be_there(sim: Running, me: Person) -> None:
    cash = Person(sim, CASH)

    assert code_of(me.both(me.order("BUY", 401, "LIMIT", limitPrice=500))) == (400, 1021)
    assert me.both(me.order("BUY", 400, "LIMIT", limitPrice=500))[0] == 200
    assert code_of(me.both(me.order("BUY", 1, "LIMIT", limitPrice=500))) == (400, 1021)
    assert code_of(cash.both(cash.order("BUY", 201, "LIMIT", limitPrice=500))) == (400, 1021)
    assert code_of(cash.both(cash.order("SELL_SHORT", 1))) == (400, 1037)
    assert code_of(cash.both(cash.order("SELL", 1))) == (400, 1037)


def test_malformed_bodies_are_9999(me: Person) -> None:
    good = me.order("BUY", 1, "LIMIT", limitPrice=480)
    lower = {**{name: inside for name, inside in good.items() if name != "Order"}, "order": good["Order"]}
    path = f"/v1/accounts/{MARGIN}/orders/preview.json"
    bodies = [b"", b"{", b"[]", b"null", b"<a", b"<!DOCTYPE x><a/>", b"\xff\xfe", b"[" * 9000, b"x" * 70_000]

    assert code_of(me.preview(lower)) == (400, 9999)
    assert {code_of(told(me.call("POST", path, data=body))) for body in bodies} == {(400, 9999)}


@pytest.mark.parametrize("huge", ["1e999999999", "1e40", "-1e40", "1e-40", "9" * 5000, True, [1], {"a": 1}])
def test_numbers_that_are_none_are_9999(me: Person, huge: object) -> None:
    order = me.order("BUY", 1, "LIMIT", limitPrice=480)
    order["Order"][0]["Instrument"][0]["quantity"] = huge
    many, dear = me.preview(order), me.preview(me.order("BUY", 1, "LIMIT", limitPrice=huge))
    cancel = me.send("PUT", "cancel", "CancelOrderRequest", {"orderId": huge})

    assert {code_of(dear), code_of(cancel)} == {(400, 9999)}
    assert code_of(many) == (400, 9999)


def test_a_limit_far_through_the_market_warns(me: Person) -> None:
    order = me.preview(me.order("BUY", 1, "LIMIT", limitPrice=600))[1]["PreviewOrderResponse"]["Order"][0]

    assert [message["code"] for message in order["messages"]["Message"]] == [9011]


def test_a_closed_market_queues_the_order(sim: Running) -> None:
    sim.move_to("2026-11-20T21:00")
    me = Person(sim)
    _, placed = me.both(me.order("BUY", 10))
    order = placed["PlaceOrderResponse"]["OrderIds"][0]["orderId"]
    sim.tick()
    waits = me.status_of(order)
    sim.move_to("2026-11-23T09:30")
    me = Person(sim)
    sim.tick()

    assert placed["PlaceOrderResponse"]["Order"][0]["messages"]["Message"][0]["code"] == 1027
    assert (waits, me.status_of(order)) == ("OPEN", "EXECUTED")


def test_day_orders_expire_at_the_close_and_others_stay(sim: Running, me: Person) -> None:
    day = me.rests(me.order("BUY", 1, "LIMIT", limitPrice=480))
    gtc = me.rests(me.order("BUY", 1, "LIMIT", limitPrice=480, orderTerm="GOOD_UNTIL_CANCEL"))
    late = me.rests(me.order("BUY", 1, "LIMIT", limitPrice=480, marketSession="EXTENDED"))
    found = []
    for moment in ("2026-11-20T15:59:59", "2026-11-20T16:00", "2026-11-20T20:00"):
        sim.move_to(moment)
        me = Person(sim)
        found.append([me.status_of(each) for each in (day, gtc, late)])

    assert found == [["OPEN", "OPEN", "OPEN"], ["EXPIRED", "OPEN", "OPEN"], ["EXPIRED", "OPEN", "EXPIRED"]]


def test_extended_orders_trade_from_seven(sim: Running) -> None:
    sim.move_to("2026-11-23T06:00")
    me = Person(sim)
    order = me.rests(me.order("BUY", 1, "LIMIT", limitPrice=501, marketSession="EXTENDED"))
    sim.tick()
    early = me.status_of(order)
    sim.move_to("2026-11-23T07:00")
    sim.tick()

    assert (early, me.status_of(order)) == ("OPEN", "EXECUTED")


def test_a_change_is_a_new_order(sim: Running, me: Person) -> None:
    old = me.rests(me.order("BUY", 10, "LIMIT", limitPrice=480))
    body = me.order("BUY", 12, "LIMIT", limitPrice=485)
    number = preview_of(me.preview(body, f"{old}/change/preview")[1])
    plain = me.place(body, number)
    _, placed = me.place(body, number, f"{old}/change/place")
    new = placed["PlaceOrderResponse"]["OrderIds"][0]["orderId"]
    rows = {row["orderId"]: row["OrderDetail"][0] for row in me.orders()}
    other = me.preview(me.order("SELL", 12, "LIMIT", limitPrice=485), f"{new}/change/preview")

    assert code_of(plain) == (400, 101)
    assert (rows[old]["status"], rows[old]["replacedByOrderId"]) == ("CANCELLED", new)
    assert (rows[new]["status"], rows[new]["replacesOrderId"]) == ("OPEN", old)
    assert code_of(other) == (400, 9999)
    assert code_of(me.preview(me.order("BUY", 1, "LIMIT", limitPrice=1), f"{old}/change/preview")) == (400, 5001)


def test_the_list_filters_and_pages(sim: Running, me: Person) -> None:
    sim.price("AAPL", "200")
    ids = [
        me.rests(me.order("BUY", 1, "LIMIT", limitPrice=100 + n, symbol=s)) for n, s in enumerate(["MSFT", "AAPL"] * 2)
    ]
    first = me.get(f"accounts/{MARGIN}/orders", count=3)[1]["OrdersResponse"]
    second = me.get(f"accounts/{MARGIN}/orders", count=3, marker=first["marker"])[1]["OrdersResponse"]

    assert [row["orderId"] for row in first["Order"] + second["Order"]] == ids[::-1]
    assert f"marker={first['marker']}" in first["next"]
    assert "marker" not in second
    assert len(me.orders(symbol="AAPL")) == 2
    assert len(me.orders(fromDate="11202026", toDate="11202026")) == 4
    assert [me.orders(**query) for query in ({"status": "EXECUTED"}, {"transactionType": "SELL"})] == [[], []]
    assert [me.orders(**query) for query in ({"marketSession": "EXTENDED"}, {"securityType": "OPTN"})] == [[], []]
    assert code_of(me.get(f"accounts/{MARGIN}/orders", fromDate="11202026")) == (400, 9999)
    assert code_of(me.get(f"accounts/{MARGIN}/orders", status="ODD")) == (400, 9999)


# What follows from fills


def test_a_cash_accounts_sale_settles_the_next_session(sim: Running) -> None:
    me = Person(sim, CASH)
    sim.control("position", account=CASH, symbol="MSFT", quantity=10, price="480")
    me.rests(me.order("SELL", 10))
    sim.tick()
    query = {"instType": "BROKERAGE"}
    before = me.get(f"accounts/{CASH}/balance", **query)[1]["BalanceResponse"]["Computed"]
    sim.move_to("2026-11-23T09:00")
    after = Person(sim, CASH).get(f"accounts/{CASH}/balance", **query)[1]["BalanceResponse"]["Computed"]

    fee = 100_000 + 4999.9 - before["netCash"]
    assert 0 < fee < 0.2
    assert (before["settledCashForInvestment"], before["unSettledCashForInvestment"]) == (
        100_000,
        pytest.approx(before["netCash"] - 100_000),
    )
    assert (after["settledCashForInvestment"], after["unSettledCashForInvestment"]) == (before["netCash"], 0)


def test_lots_close_first_in_first_out(sim: Running, me: Person) -> None:
    for price in ("480", "490"):
        sim.control("position", account=MARGIN, symbol="MSFT", quantity=10, price=price)
    me.rests(me.order("SELL", 15))
    sim.tick()
    [held] = me.get(f"accounts/{MARGIN}/portfolio", lotsRequired="true")[1]["PortfolioResponse"]["AccountPortfolio"][0][
        "Position"
    ]
    lots = me.get(f"accounts/{MARGIN}/portfolio/{held['positionId']}")[1]["PositionLotsResponse"]["PositionLot"]

    assert [(lot["originalQty"], lot["remainingQty"], lot["price"]) for lot in lots] == [(10, 5, 490)]
    assert held["positionLot"] == lots
    assert (held["quantity"], held["pricePaid"], held["totalGain"]) == (5, 490, 50)


@pytest.mark.parametrize("view", ["PERFORMANCE", "FUNDAMENTAL", "OPTIONSWATCH", "COMPLETE"])
def test_positions_have_views_and_pages(sim: Running, me: Person, view: str) -> None:
    sim.price("AAPL", "200")
    for symbol in ("AAPL", "MSFT"):
        sim.control("position", account=MARGIN, symbol=symbol, quantity=1, price="100")
    pages = [
        me.get(f"accounts/{MARGIN}/portfolio", view=view, count=1, pageNumber=n)[1]["PortfolioResponse"][
            "AccountPortfolio"
        ][0]
        for n in (1, 2)
    ]

    key = {"OPTIONSWATCH": "OptionsWatch"}.get(view, view.title())
    assert [page["Position"][0]["Product"]["symbol"] for page in pages] == ["MSFT", "AAPL"]
    assert pages[0]["Position"][0][key]["lastTrade"] == 500
    assert (pages[0]["nextPageNo"], pages[0]["totalPages"]) == ("2", 2)
    assert "next" not in pages[1]


def test_transactions_page_with_an_overlap(sim: Running, me: Person) -> None:
    for _ in range(3):
        me.rests(me.order("BUY", 1))
        sim.tick()
    path = f"accounts/{MARGIN}/transactions"
    first = me.get(path, count=2)[1]["TransactionListResponse"]
    second = me.get(path, count=2, marker=first["marker"])[1]["TransactionListResponse"]
    sim.control("rules", page_overlap=False)
    clean = me.get(path, count=2, marker=first["marker"])[1]["TransactionListResponse"]
    wanted = first["Transaction"][0]
    details = me.get(f"{path}/{wanted['transactionId']}", storeId=0)[1]["TransactionDetailsResponse"]

    ids = [[row["transactionId"] for row in page["Transaction"]] for page in (first, second, clean)]
    assert ids[0][1] == ids[1][0]
    assert ids[1][1:] == ids[2]
    assert (wanted["transactionType"], wanted["postDate"], wanted["amount"]) == ("Bought", 0, -500.01)
    assert (details["transactionId"], details["Brokerage"]["orderNo"]) == (int(wanted["transactionId"]), "391")
    assert code_of(me.get(path, count=51)) == (400, 2005)
    assert code_of(me.get(path, startDate="20261120")) == (400, 2004)
    assert code_of(me.get(path, marker="1_2")) == (400, 2008)


def test_alerts_tell_what_happened(sim: Running, me: Person) -> None:
    me.rests(me.order("BUY", 10))
    sim.tick()
    me.cancel(me.rests(me.order("BUY", 1, "LIMIT", limitPrice=480)))
    sim.tick(2)
    listed = me.get("user/alerts")[1]["AlertsResponse"]
    first = listed["Alert"][1]["id"]
    details = me.get(f"user/alerts/{first}")[1]["AlertDetailsResponse"]
    deleted = told(me.call("DELETE", f"/v1/user/alerts/{first},99999.json"))[1]["AlertsResponse"]

    assert [row["subject"] for row in listed["Alert"]] == ["Buy 1 MSFT Cancelled", "Buy 10 MSFT Executed @ $500.01"]
    assert (details["symbol"], details["readTime"] > 0) == ("MSFT", True)
    assert deleted == {"result": "ERROR", "FailedAlerts": {"alertId": [99999]}}
    assert me.get("user/alerts")[1]["AlertsResponse"]["totalAlerts"] == 1


# Limits


def test_calls_beyond_the_rate_are_refused_and_counted() -> None:
    """Two a second for accounts, four for quotes; the next second is free again."""
    real = ManualClock(SystemClock().now())
    with running(real=real, limited=True) as sim:
        sim.price("MSFT", "500")
        me = Person(sim)
        accounts = [me.call("GET", "/v1/accounts/list.json") for _ in range(3)]
        quotes = [me.get("market/quote/MSFT")[0] for _ in range(4)]
        real.advance(seconds=1)
        again = me.call("GET", "/v1/accounts/list.json").status_code
        sim.control("rules", rate_reply="error")
        trees = [me.call("GET", "/v1/accounts/list.json") for _ in range(2)]
        counters = sim.control("counters", "GET")

    assert [reply.status_code for reply in accounts] == [200, 200, 400]
    assert accounts[2].headers["Content-Type"].startswith("text/html")
    assert "Number of requests exceeded the rate limit set" in accounts[2].text
    assert (quotes, again) == ([200] * 4, 200)
    assert told(trees[1]) == (400, {"Error": {"message": "Number of requests exceeded the rate limit set"}})
    assert counters["over_limit"] == {"accounts": 2, "market": 0, "orders": 0, "alerts": 0}
    assert counters["calls"]["accounts"] == 6


def test_an_hour_has_its_own_limit() -> None:
    real = ManualClock(SystemClock().now())
    with running(real=real, limited=True) as sim:
        sim.control("rules", limits={"accounts": [100, 3]})
        me = Person(sim)
        statuses = [me.call("GET", "/v1/accounts/list.json").status_code for _ in range(4)]
        left = sim.control("counters", "GET")["left_this_hour"]["accounts"]

    assert (statuses, left) == ([200, 200, 200, 400], 0)


# Faults


def gone(me: Person, method: str, path: str, **how: Any) -> bool:
    try:
        me.call(method, path, **how)
    except requests.ConnectionError:
        return True
    return False


def test_a_drop_before_does_nothing_and_a_drop_after_did_it(sim: Running, me: Person) -> None:
    body = me.order("BUY", 1, "LIMIT", limitPrice=480)
    wish = {"PlaceOrderRequest": {**body, "PreviewIds": [{"previewId": preview_of(me.preview(body)[1])}]}}
    path = f"/v1/accounts/{MARGIN}/orders/place.json"

    sim.fault("drop_before", where="orders/place")
    before, rows = gone(me, "POST", path, json=wish), len(me.orders())
    sim.fault("drop_after", where="orders/place")
    after = gone(me, "POST", path, json=wish)

    assert (before, rows, after, len(me.orders())) == (True, 0, True, 1)
    assert sim.control("book", "GET")["accounts"][0]["orders"][0]["clientOrderId"] == body["clientOrderId"]


@pytest.mark.parametrize(("name", "placed"), [("error_before", 0), ("error_after", 1)])
@pytest.mark.parametrize("status", [500, 503])
def test_an_error_before_or_after(sim: Running, me: Person, name: str, placed: int, status: int) -> None:
    body = me.order("BUY", 1, "LIMIT", limitPrice=480)
    number = preview_of(me.preview(body)[1])
    sim.fault(name, where="orders/place", status=status)
    wish = {"PlaceOrderRequest": {**body, "PreviewIds": [{"previewId": number}]}}
    reply = me.call("POST", f"/v1/accounts/{MARGIN}/orders/place.json", json=wish)

    assert (reply.status_code, len(me.orders())) == (status, placed)


@pytest.mark.parametrize(
    ("name", "how", "status", "says"),
    [
        ("oauth_problem", {"problem": "nonce_used"}, 401, "oauth_problem=nonce_used"),
        ("too_many", {"seconds": 3}, 429, "Too Many Requests"),
        ("rate_page", {}, 400, "exceeded the rate limit"),
        ("maintenance", {}, 500, '"code": 670'),
        ("html_200", {}, 200, "<html>"),
        ("error_before", {"status": 502}, 502, "Bad Gateway"),
    ],
)
def test_faults_that_answer_instead(
    sim: Running, me: Person, name: str, how: dict[str, Any], status: int, says: str
) -> None:
    sim.fault(name, **how)
    reply = me.call("GET", "/v1/accounts/list.json")
    sim.control("faults", "DELETE")

    assert (reply.status_code, says in reply.text) == (status, True)
    assert reply.headers.get("Retry-After") == ("3" if name == "too_many" else None)
    assert me.call("GET", "/v1/accounts/list.json").status_code == 200


def test_bodies_are_cut_and_broken(sim: Running, me: Person) -> None:
    sim.fault("bad_json")
    broken = me.call("GET", "/v1/accounts/list.json")
    sim.fault("cut_body")

    with pytest.raises(requests.JSONDecodeError):
        broken.json()
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        me.call("GET", "/v1/accounts/list.json")


def test_a_delay_holds_up_its_own_call_only(sim: Running, me: Person) -> None:
    sim.fault("delay", where="balance", seconds=30)
    with pytest.raises(requests.ReadTimeout):
        me.session.get(f"{sim.url}/v1/accounts/{MARGIN}/balance.json?instType=BROKERAGE", timeout=0.2)

    assert me.call("GET", "/v1/accounts/list.json").status_code == 200


def test_rows_twice_and_in_the_wrong_order(sim: Running, me: Person) -> None:
    ids = [me.rests(me.order("BUY", 1, "LIMIT", limitPrice=480)) for _ in range(3)]
    sim.fault("reorder_rows", where="/orders")
    wrong = [row["orderId"] for row in me.orders()]
    sim.fault("duplicate_rows", where="/orders")
    twice = [row["orderId"] for row in me.orders()]

    assert wrong == ids
    assert twice == sorted(ids * 2, reverse=True)


def test_a_lagging_list_and_one_that_hides_what_is_done(sim: Running, me: Person) -> None:
    sim.fault("list_lag", seconds=3)
    order = me.rests(me.order("BUY", 1))
    hidden = me.orders()
    sim.tick(3)
    shown = [row["orderId"] for row in me.orders()]
    sim.fault("list_open_only")

    assert (hidden, shown, me.orders()) == ([], [order], [])


def test_quotes_go_stale_delayed_and_wrong(sim: Running, me: Person) -> None:
    def quote_of(name: str, **how: Any) -> Any:
        sim.fault(name, **how)
        return me.get("market/quote/MSFT")[1]["QuoteResponse"]["QuoteData"][0]

    stale, delayed, wrong = quote_of("stale_quotes", seconds=600), quote_of("delayed_quotes"), quote_of("nan_quotes")

    assert stale["dateTimeUTC"] == stale["All"]["timeOfLastTrade"] == 1795188600 - 600
    assert delayed["quoteStatus"] == "DELAYED"
    assert wrong["All"]["lastTrade"] != wrong["All"]["lastTrade"]


def test_a_cancel_loses_its_race(sim: Running, me: Person) -> None:
    order = me.rests(me.order("BUY", 10, "LIMIT", limitPrice=480))
    sim.fault("fill_during_cancel")
    answer = me.cancel(order)

    assert answer[1]["CancelOrderResponse"]["Messages"]["Message"][0]["code"] == 5011
    assert me.status_of(order) == "EXECUTED"
    assert sim.control("book", "GET")["accounts"][0]["positions"] == {"MSFT": "10"}


def test_a_cancel_takes_its_time(sim: Running, me: Person) -> None:
    order = me.rests(me.order("BUY", 10, "LIMIT", limitPrice=480))
    sim.fault("cancel_late", seconds=30)
    me.cancel(order)
    sim.tick(29)
    waits = me.status_of(order)
    sim.tick(1)

    assert (waits, me.status_of(order)) == ("CANCEL_REQUESTED", "CANCELLED")


def test_a_fault_strikes_by_chance_the_same_way_twice(sim: Running, me: Person) -> None:
    def struck() -> list[bool]:
        sim.control("faults", "DELETE")
        sim.fault("error_before", probability=0.5, seed=3)
        return [me.call("GET", "/v1/accounts/list.json").status_code == 500 for _ in range(12)]

    first = struck()

    assert first == struck()
    assert 0 < sum(first) < 12


def test_a_fault_is_for_the_next_calls_only(sim: Running, me: Person) -> None:
    sim.fault("error_before", times=2, where="GET /v1/accounts/list")
    quotes = me.get("market/quote/MSFT")[0]
    statuses = [me.call("GET", "/v1/accounts/list.json").status_code for _ in range(3)]

    assert (quotes, statuses) == (200, [500, 500, 200])
    assert sim.control("faults", "GET")["faults"][0]["hits"] == 2


# The control route and the rest


def test_wishes_that_make_no_sense_are_named(sim: Running) -> None:
    for route, wish, says in (
        ("faults", {"name": "flood"}, "no fault is called 'flood'"),
        ("faults", {"name": "delay", "often": 1}, "often is unknown"),
        ("rules", {"mood": 1}, "no rule is called 'mood'"),
        ("clock", {"to": "2020-01-01T10:00"}, "does not go back"),
        ("price", {"symbol": "MSFT", "last": "-1"}, "above zero"),
        ("nowhere", {}, "no such control route"),
    ):
        with pytest.raises(ValueError, match=says):
            sim.control(route, **wish)


def test_control_goes_over_the_wire_too(sim: Running) -> None:
    told_ = requests.post(f"{sim.url}/simulator/tick", json={"seconds": 5}, timeout=10)
    plain = requests.post(f"{sim.url}/simulator/tick", data="{}", timeout=10)

    assert told_.json()["now"] == "2026-11-20T15:30:05+00:00"
    assert (plain.status_code, "application/json" in plain.json()["error"]) == (400, True)


def test_other_hosts_and_other_origins_are_turned_away(sim: Running) -> None:
    rebound = requests.get(f"{sim.url}/simulator", headers={"Host": "evil.example"}, timeout=10)
    across = requests.post(
        f"{sim.url}/simulator/reset", json={}, headers={"Origin": "https://evil.example"}, timeout=10
    )

    assert (rebound.status_code, across.status_code) == (403, 403)


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.com"])
def test_it_binds_to_this_computer_only(host: str) -> None:
    with pytest.raises(SettingsError, match="--host"):
        Etrade(Options(host=host), MovedClock(SystemClock()))


def test_a_reset_forgets_all_but_who_is_signed_in(sim: Running, me: Person) -> None:
    me.rests(me.order("BUY", 10))
    sim.tick()
    sim.control("reset")

    assert me.orders() == []
    assert sim.control("book", "GET")["accounts"][0]["cash"] == "100000"


def test_a_restart_keeps_orders_shares_and_tokens(tmp_path: Path) -> None:
    options = Options(state=tmp_path / "etrade.json")
    with running(options) as sim:
        sim.price("MSFT", "500")
        me = Person(sim)
        me.rests(me.order("BUY", 10))
        sim.tick()
        me.rests(me.order("SELL", 10, "STOP", stopPrice=490))
    with running(options) as again:
        me.sim = again
        again.price("MSFT", "489")
        kept = [row["OrderDetail"][0]["status"] for row in me.orders()]
        again.tick(2)
        sold = me.orders()[0]["OrderDetail"][0]["status"]

    assert (kept, sold) == (["OPEN", "EXECUTED"], "EXECUTED")
    assert (tmp_path / "etrade.json").stat().st_mode & 0o077 == 0


def test_a_foreign_state_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"a": 1}')

    with pytest.raises(SettingsError, match="no state of the simulator"):
        Etrade(Options(state=tmp_path / "other.json"), MovedClock(SystemClock()))


def test_the_landing_page_says_what_it_is(sim: Running, me: Person) -> None:
    shown = requests.get(f"{sim.url}/", timeout=10).text

    assert "SIMULATOR" in shown
    assert CONSUMER_KEY in shown
    assert CONSUMER_SECRET in shown
    assert "live" in shown
    assert me.token not in shown


def test_it_starts_from_the_command_line(tmp_path: Path) -> None:
    tape = tmp_path / "tape.csv"
    tape.write_text("symbol,last,bid,ask\nZZZ,10,9.99,10.01\n")
    command = [sys.executable, "-m", "simulator.etrade", "--port", "0", "--start", "2026-11-20T10:30"]
    with subprocess.Popen([*command, "--tape", str(tape)], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(4)]
        url = re.findall(r"http://\S+", lines[0])[0]
        try:
            status = requests.get(f"{url}/simulator", timeout=10).json()
        finally:
            process.terminate()

    assert CONSUMER_KEY in lines[1]
    assert "20 Nov 2026 10:30" in lines[3]
    assert "ZZZ" in status["symbols"]


@pytest.mark.parametrize("wrong", [["--host", "0.0.0.0"], ["--start", "soon"], ["--cash", "none"]])
def test_a_wrong_option_is_named_and_nothing_starts(wrong: list[str]) -> None:
    command = [sys.executable, "-m", "simulator.etrade", "--port", "0", *wrong]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)

    assert (done.returncode, wrong[0] in done.stderr) == (2, True)
    assert "Traceback" not in done.stderr


# What happens to an account from outside


def test_a_split_scales_shares_lots_prices_and_cancels_what_rests(sim: Running, me: Person) -> None:
    sim.control("position", account=MARGIN, symbol="MSFT", quantity=7, price="400")
    sim.control("position", account=MARGIN, symbol="MSFT", quantity=4, price="450")
    resting = me.rests(me.order("SELL", 11, "STOP", stopPrice=450, orderTerm="GOOD_UNTIL_CANCEL"))

    told_ = sim.control("split", symbol="MSFT", ratio="10:1")

    assert told_["accounts"][0]["positions"] == {"MSFT": "110"}
    assert me.status_of(resting) == "CANCELLED"
    _, tree = me.get(f"accounts/{MARGIN}/portfolio", lotsRequired="true")
    [position] = tree["PortfolioResponse"]["AccountPortfolio"][0]["Position"]
    assert [(lot["remainingQty"], lot["price"], lot["totalCost"]) for lot in position["positionLot"]] == [
        (70, 40, 2800),
        (40, 45, 1800),
    ]
    _, quotes = me.get("market/quote/MSFT")
    quote = quotes["QuoteResponse"]["QuoteData"][0]["All"]
    assert (quote["lastTrade"], quote["bid"], quote["ask"]) == (50, 50, 50)
    assert quote["high"] == quote["low"] == 50


@pytest.mark.parametrize(
    ("held", "left", "paid"), [(10, 1, "1000.00"), (8, 1, "0"), (3, 0, "1500.00"), (-9, -1, "-500.00")]
)
def test_a_reverse_split_pays_fractions_out_at_the_new_price(sim: Running, held: int, left: int, paid: str) -> None:
    sim.price("MSFT", "500.00")
    sim.control("position", account=MARGIN, symbol="MSFT", quantity=held, price="400")

    account = sim.control("split", symbol="MSFT", ratio="1:8")["accounts"][0]

    assert Decimal(account["positions"].get("MSFT", "0")) == left
    assert Decimal(account["cash"]) == 100_000 + Decimal(paid)


def test_three_lots_of_one_share_come_out_whole(sim: Running) -> None:
    sim.price("MSFT", "500.00")
    for _ in range(3):
        sim.control("position", account=MARGIN, symbol="MSFT", quantity=1, price="400")

    account = sim.control("split", symbol="MSFT", ratio="1:3")["accounts"][0]

    assert (Decimal(account["positions"]["MSFT"]), account["cash"]) == (1, "100000")


def test_a_symbol_changes_and_its_shares_stay(sim: Running, me: Person) -> None:
    sim.control("position", account=MARGIN, symbol="MSFT", quantity=7, price="400")
    resting = me.rests(me.order("SELL", 7, "STOP", stopPrice=450))

    account = sim.control("symbol", **{"from": "MSFT", "to": "MSNEW"})["accounts"][0]

    assert account["positions"] == {"MSNEW": "7"}
    assert me.status_of(resting) == "CANCELLED"
    assert me.get("market/quote/MSNEW")[1]["QuoteResponse"]["QuoteData"][0]["All"]["lastTrade"] == 500
    assert "QuoteData" not in me.get("market/quote/MSFT")[1]["QuoteResponse"]


def test_money_comes_and_goes_as_a_transaction(sim: Running, me: Person) -> None:
    sim.control("cash", account=MARGIN, amount="12.34", type="Dividend", symbol="MSFT")
    account = sim.control("cash", account=MARGIN, amount="-5", type="Fee", description="WIRE FEE")

    _, tree = me.get(f"accounts/{MARGIN}/transactions")
    rows = tree["TransactionListResponse"]["Transaction"]
    assert [(row["transactionType"], row["amount"], row["description"]) for row in rows] == [
        ("Fee", -5, "WIRE FEE"),
        ("Dividend", 12.34, "MSFT MICROSOFT COM"),
    ]
    assert all(row["postDate"] for row in rows)
    assert rows[0]["brokerage"]["product"] == {}
    assert account["cash"] == "100007.34"


def test_an_order_by_hand_keeps_to_the_books_rules(sim: Running, me: Person) -> None:
    told_ = sim.control(
        "order", account=MARGIN, symbol="MSFT", action="BUY", quantity=3, price_type="LIMIT", limit="499"
    )

    assert (told_["clientOrderId"], told_["status"]) == ("by hand", "OPEN")
    assert [row["orderId"] for row in me.orders()] == [told_["orderId"]]
    with pytest.raises(ValueError, match="not enough available shares"):
        sim.control("order", account=MARGIN, symbol="MSFT", action="SELL", quantity=3)
    with pytest.raises(ValueError, match="validate the input"):
        sim.control("order", account=MARGIN, symbol="MSFT", action="BUY", quantity=3, price_type="LIMIT")


@pytest.mark.parametrize(
    ("route", "wish", "words"),
    [
        ("split", {"symbol": "MSFT", "ratio": "10"}, "ratio must be new to old"),
        ("split", {"symbol": "MSFT", "ratio": "2:2"}, "ratio must be new to old"),
        ("split", {"symbol": "NOPE", "ratio": "2:1"}, "NOPE has no price yet"),
        ("symbol", {"from": "MSFT", "to": "msft"}, "changes into another one"),
        ("cash", {"account": MARGIN, "amount": "0", "type": "Fee"}, "not zero"),
        ("cash", {"account": MARGIN, "amount": "1.005", "type": "Fee"}, "in cents"),
        ("cash", {"account": MARGIN, "amount": "", "type": "Fee"}, "an amount is missing"),
        ("cash", {"account": MARGIN, "amount": "1", "type": " "}, "needs a type"),
    ],
)
def test_what_cannot_happen_is_named(sim: Running, route: str, wish: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        sim.control(route, **wish)


def test_an_average_times_what_is_filled_is_what_was_traded(sim: Running, me: Person) -> None:
    sim.control("rules", volume_cap=0.05)
    order_id = me.rests(me.order("BUY", 140))
    cash = Decimal(sim.control("book", "GET")["accounts"][0]["cash"])
    for price, volume in (("500.01", 1_000_000), ("500.04", 1_001_400), ("499.97", 1_002_000), ("500.07", 1_009_000)):
        sim.price("MSFT", price, volume=str(volume))
        sim.tick()
    left = Decimal(sim.control("book", "GET")["accounts"][0]["cash"])

    [leg] = next(row for row in me.orders() if row["orderId"] == order_id)["OrderDetail"][0]["Instrument"]
    traded = Decimal(repr(leg["averageExecutionPrice"])) * Decimal(str(leg["filledQuantity"]))
    assert leg["filledQuantity"] > 0
    assert traded.quantize(Decimal("0.01")) == cash - left
