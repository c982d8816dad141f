"""pyetrade, a client nobody here wrote, signs in to the simulator and trades, by JSON and by XML."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pyetrade
import pytest
import requests

from simulator.etrade import CONSUMER_KEY, CONSUMER_SECRET
from simulator.running import Running, running


@dataclass
class People:
    """pyetrade's four clients, signed in."""

    accounts: Any
    market: Any
    orders: Any
    alerts: Any
    manager: Any
    key: str


@pytest.fixture
def sim() -> Iterator[Running]:
    with running() as sim:
        sim.price("MSFT", "500.00", bid="499.99", ask="500.01")
        yield sim


def code_for(sim: Running, token: str) -> str:
    """What a person does in the browser. pyetrade writes the token into its link as it is; a `+` must be encoded."""
    link = f"{sim.url}/e/t/etws/authorize?key={CONSUMER_KEY}&token={quote(token, safe='')}"
    asked = requests.get(link, timeout=5)
    form = dict(re.findall(r'name="(\w+)" value="([^"]*)"', asked.text))
    shown = requests.post(f"{sim.url}/e/t/etws/authorize", data=form, timeout=5)
    [code] = re.findall(r'id="verifier" type="text" value="(\w+)"', shown.text)
    return str(code)


@pytest.fixture
def people(sim: Running) -> People:
    oauth = pyetrade.ETradeOAuth(CONSUMER_KEY, CONSUMER_SECRET)
    oauth.req_token_url = f"{sim.url}/oauth/request_token"
    oauth.auth_token_url = f"{sim.url}/e/t/etws/authorize"
    oauth.access_token_url = f"{sim.url}/oauth/access_token"
    oauth.get_request_token()
    token = oauth.get_access_token(code_for(sim, oauth.resource_owner_key))
    keys = (CONSUMER_KEY, CONSUMER_SECRET, token["oauth_token"], token["oauth_token_secret"])
    accounts, market = pyetrade.ETradeAccounts(*keys), pyetrade.ETradeMarket(*keys)
    orders, alerts = pyetrade.ETradeOrder(*keys), pyetrade.ETradeAlerts(*keys)
    accounts.base_url = orders.base_url = f"{sim.url}/v1/accounts"
    market.base_url, alerts.base_url = f"{sim.url}/v1/market/", f"{sim.url}/v1/user/alerts"
    manager = pyetrade.ETradeAccessManager(*keys)
    manager.renew_access_token_url = f"{sim.url}/oauth/renew_access_token"
    manager.revoke_access_token_url = f"{sim.url}/oauth/revoke_access_token"
    return People(accounts, market, orders, alerts, manager, "-kQ7mZr2VxPbN4tYwEoH_A")


def limit_order(people: People, client_id: str, price: float, **other: Any) -> dict[str, Any]:
    return {
        "accountIdKey": people.key,
        "symbol": "MSFT",
        "orderAction": "BUY",
        "clientOrderId": client_id,
        "priceType": "LIMIT",
        "limitPrice": price,
        "allOrNone": False,
        "quantity": 10,
        "orderTerm": "GOOD_FOR_DAY",
        "marketSession": "REGULAR",
        **other,
    }


@pytest.mark.parametrize("form", ["json", "xml"])
def test_it_reads_accounts_balances_and_quotes(people: People, form: str) -> None:
    listed = people.accounts.list_accounts(resp_format=form)["AccountListResponse"]["Accounts"]["Account"]
    balance = people.accounts.get_account_balance(people.key, resp_format=form)["BalanceResponse"]
    quotes = people.market.get_quote(["MSFT", "QQQQX"], detail_flag="all", resp_format=form)["QuoteResponse"]

    assert [account["accountIdKey"] for account in listed] == [people.key, "Tn3uWc8JqLdF_aXvGyRb0Q"]
    assert float(balance["Computed"]["marginBuyingPower"]) == 200_000
    assert float(balance["Computed"]["RealTimeValues"]["totalAccountValue"]) == 100_000
    [quote_] = quotes["QuoteData"] if form == "json" else [quotes["QuoteData"]]
    assert (quote_["Product"]["symbol"], float(quote_["All"]["lastTrade"])) == ("MSFT", 500)
    assert "QQQQX is an invalid symbol" in str(quotes["Messages"])


def test_it_previews_places_lists_and_cancels_an_order(sim: Running, people: People) -> None:
    wish = limit_order(people, "PYE0001", 480)

    preview = people.orders.preview_equity_order(**wish)["PreviewOrderResponse"]
    preview_id = preview["PreviewIds"]["previewId"]
    placed = people.orders.place_equity_order(**wish, previewId=preview_id)["PlaceOrderResponse"]
    order_id = int(placed["OrderIds"]["orderId"])
    [listed] = people.orders.list_orders(people.key, status="OPEN")["OrdersResponse"]["Order"]
    cancelled = people.orders.cancel_order(people.key, order_id)["CancelOrderResponse"]
    sim.tick(2)
    [after] = people.orders.list_orders(people.key)["OrdersResponse"]["Order"]

    assert float(preview["totalOrderValue"]) == 4800
    assert placed["Order"]["messages"]["Message"]["code"] == "1026"
    assert (listed["orderId"], listed["OrderDetail"][0]["limitPrice"]) == (order_id, 480)
    assert cancelled["Messages"]["Message"]["code"] == "5011"
    assert after["OrderDetail"][0]["status"] == "CANCELLED"


def test_it_buys_reads_the_position_and_its_alert_and_sells(sim: Running, people: People) -> None:
    """Without a preview id pyetrade previews by itself; the list goes by XML here."""
    people.orders.place_equity_order(**limit_order(people, "PYE0002", 501))
    sim.tick()

    listed = people.orders.list_orders(people.key, resp_format="xml")["OrdersResponse"]["Order"]
    portfolio = people.accounts.get_account_portfolio(people.key)["PortfolioResponse"]["AccountPortfolio"]
    lots = people.accounts.get_portfolio_position_lot("MSFT", people.key)["PositionLotsResponse"]["PositionLot"]
    history = people.accounts.list_transactions(people.key)["TransactionListResponse"]["Transaction"]
    alert = people.alerts.list_alerts()["AlertsResponse"]["Alert"]
    stop = limit_order(people, "PYE0003", 0, orderAction="SELL", priceType="STOP", stopPrice=490.0)
    resting = people.orders.place_equity_order(**stop)["PlaceOrderResponse"]["OrderIds"]["orderId"]
    cancelled = people.orders.cancel_order(people.key, int(resting))["CancelOrderResponse"]

    assert listed["OrderDetail"]["Instrument"]["averageExecutionPrice"] == "500.01"
    assert (portfolio["Position"]["quantity"], lots["remainingQty"]) == ("10", "10")
    assert (history["transactionType"], history["amount"]) == ("Bought", "-5000.1")
    assert alert["subject"] == "Buy 10 MSFT Executed @ $500.01"
    assert cancelled["Messages"]["Message"]["code"] == "5011"


def test_it_changes_an_order(people: People) -> None:
    """pyetrade asks for the preview of a change where it should, when it is told to."""
    first = people.orders.place_equity_order(**limit_order(people, "PYE0004", 480))["PlaceOrderResponse"]
    order_id = int(first["OrderIds"]["orderId"])
    wish = limit_order(people, "PYE0005", 481)

    preview = people.orders.change_preview_equity_order(people.key, order_id, **wish)["PreviewOrderResponse"]
    number = preview["PreviewIds"]["previewId"]
    changed = people.orders.place_changed_equity_order(**wish, orderId=order_id, previewId=number)
    new_id = int(changed["PlaceOrderResponse"]["OrderIds"]["orderId"])
    rows = people.orders.list_orders(people.key)["OrdersResponse"]["Order"]

    assert [(row["orderId"], row["OrderDetail"][0]["status"]) for row in rows] == [
        (new_id, "OPEN"),
        (order_id, "CANCELLED"),
    ]
    assert rows[0]["OrderDetail"][0]["replacesOrderId"] == order_id
    assert rows[1]["OrderDetail"][0]["replacedByOrderId"] == new_id


def test_an_id_with_hyphens_looks_like_an_outage(people: People) -> None:
    wish = limit_order(people, "7c9e6679-7425-40de", 480)

    with pytest.raises(Exception, match="Code: 100"):
        people.orders.preview_equity_order(**wish)


def test_it_renews_after_two_idle_hours_and_revokes(sim: Running, people: People) -> None:
    sim.control("clock", by=2 * 3600)
    with pytest.raises(requests.HTTPError, match="401"):
        people.accounts.list_accounts()

    assert people.manager.renew_access_token()
    assert people.accounts.list_accounts()
    assert people.manager.revoke_access_token()
    with pytest.raises(requests.HTTPError, match="401"):
        people.accounts.list_accounts()
