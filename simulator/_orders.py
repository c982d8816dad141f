"""Orders as E*TRADE tells them: previews, places, changes, cancels and the list. No reply names a clientOrderId."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from domain.calendars import NEW_YORK
from domain.clock import Clock
from domain.orders import Side
from simulator import _tickets as tickets
from simulator._book import CANCEL_TAKES, Book
from simulator._history import read_day, within
from simulator._market import company
from simulator._money import money, opens
from simulator._state import LIVE, Account, Event, Kept, OrderStatus, Ticket
from simulator._wire import Nothing, Refused, Tree, invalid, millis, number, whole

STATUSES = (*(status.value for status in OrderStatus), "INDIVIDUAL_FILLS", "PARTIAL")
OPEN_TEXT = (1026, "200|Your order was successfully entered during market hours.")
CLOSED_TEXT = (
    1027,
    "200|The market was closed when we received your order. It will be entered at the next market open.",
)
# So many decimals that the average times what is filled is what was traded, to the cent, up to ten million shares.
AVERAGE_PLACES = 10
CANCEL_TEXT = "200|Your request to cancel your order is being processed."


@dataclass(frozen=True, slots=True)
class Showing:
    """How the list is spoiled, if it is: hide orders younger than `lag`, or those that are done."""

    lag: timedelta = timedelta()
    open_only: bool = False


class Orders:
    """The calls under /v1/accounts/{key}/orders."""

    def __init__(self, book: Book, clock: Clock) -> None:
        self._book, self._clock = book, clock

    def preview(self, account: Account, document: Tree, changes: int | None) -> Tree:
        ticket = tickets.read(document)
        preview_id, _ = self._book.preview(account, ticket, changes)
        value = self._signed(ticket)
        body: Tree = {
            "orderType": "EQ",
            "totalOrderValue": value,
            "previewTime": millis(self._clock.now()),
            "dstFlag": self._summer(),
            "accountId": account.account_id,
            **self._levels(account),
            **self._power(account, ticket, changes),
            "Order": [self._order(ticket, "EG_QUAL_NOT_IN_FORCE", self._book.warnings(ticket))],
            "PreviewIds": [self._id("previewId", preview_id, account)],
            "Disclosure": {
                "ehDisclosureFlag": ticket.session == "EXTENDED",
                "ahDisclosureFlag": False,
                "conditionalDisclosureFlag": True,
                "aoDisclosureFlag": True,
            },
        }
        return {"PreviewOrderResponse": body}

    def place(self, account: Account, document: Tree, changes: int | None) -> tuple[Kept, Tree]:
        ticket, ids = tickets.read(document), tickets.preview_ids(document)
        if len(ids) != 1:
            raise Refused(400, 101, "Invalid or expired preview id. Please preview the order again.")
        kept = self._book.place(account, ticket, ids[0], changes)
        said = OPEN_TEXT if self._book.is_open_for(ticket) else CLOSED_TEXT
        body: Tree = {
            "orderType": "EQ",
            "dstFlag": self._summer(),
            **self._levels(account),
            "placedTime": millis(kept.placed),
            "accountId": account.account_id,
            "Order": [self._order(ticket, "EG_QUAL_UNSPECIFIED", [said])],
            "OrderIds": [self._id("orderId", kept.order_id, account)],
        }
        return kept, {"PlaceOrderResponse": body}

    def cancel(self, account: Account, document: Tree, takes: timedelta = CANCEL_TAKES) -> tuple[Kept, Tree]:
        order_id = whole(document.get("orderId"))
        if order_id is None:
            raise invalid()
        kept = self._book.cancel(account, order_id, takes)
        body: Tree = {
            "accountId": account.account_id,
            "orderId": order_id,
            "cancelTime": millis(self._clock.now()),
            "Messages": {"Message": [{"description": CANCEL_TEXT, "code": 5011, "type": "WARNING"}]},
        }
        return kept, {"CancelOrderResponse": body}

    def listed(self, account: Account, query: dict[str, str], base: str, showing: Showing) -> Tree:
        """Newest first. The marker is the last row's time; what is older comes next."""
        count = whole(query.get("count") or 25)
        if count is None or count < 1:
            raise invalid()
        marker = query.get("marker", "")
        before = whole(marker)
        if marker and before is None:
            raise invalid()
        rows = [kept for kept in self._filtered(account, query, showing) if before is None or _placed(kept) < before]
        rows.sort(key=_placed, reverse=True)
        shown, more = rows[: min(count, 100)], len(rows) > min(count, 100)
        if not shown:
            raise Nothing
        tree: Tree = {}
        if more:
            last = _placed(shown[-1])
            tree = {"marker": str(last), "next": f"{base}/v1/accounts/{account.key}/orders?marker={last}"}
        return {"OrdersResponse": {**tree, "Order": [self._row(account, kept, base) for kept in shown]}}

    def one(self, account: Account, order_id: int | None, base: str, showing: Showing) -> Tree:
        kept = account.order(order_id) if order_id is not None else None
        if kept is None or not self._visible(kept, showing):
            raise Nothing
        row = self._row(account, kept, base)
        row["Events"] = {"Event": [self._event(kept, event) for event in kept.events]}
        return {"OrdersResponse": {"Order": [row]}}

    def _filtered(self, account: Account, query: dict[str, str], showing: Showing) -> list[Kept]:
        status, start, end = self._checked(query)
        symbols = {each.strip().upper() for each in query.get("symbol", "").split(",") if each.strip()}
        action, session = query.get("transactiontype", ""), query.get("marketsession", "")
        if len(symbols) > 25:
            raise Refused(400, 1023, "Number of symbols exceeds the limit of 25")
        if query.get("securitytype", "EQ") != "EQ":
            return []
        return [
            kept
            for kept in account.orders
            if (not status or _matches(kept, status))
            and (not symbols or kept.ticket.symbol in symbols)
            and action in ("", "ATNM", kept.ticket.action)
            and session in ("", kept.ticket.session)
            and within(kept.placed, start, end)
            and self._visible(kept, showing)
        ]

    def _checked(self, query: dict[str, str]) -> tuple[str, date | None, date | None]:
        status = query.get("status", "")
        if status and status not in STATUSES:
            raise invalid()
        if query.get("marketsession", "REGULAR") not in ("REGULAR", "EXTENDED"):
            raise invalid()
        start, end = read_day(query.get("fromdate", "")), read_day(query.get("todate", ""))
        if (start is None) != (end is None) or (start and end and start > end):
            raise invalid()
        return status, start, end

    def _visible(self, kept: Kept, showing: Showing) -> bool:
        if showing.open_only and kept.status not in LIVE:
            return False
        return not showing.lag or self._clock.now() - kept.placed >= showing.lag

    # Pieces

    def _row(self, account: Account, kept: Kept, base: str) -> Tree:
        asked = kept.ticket
        detail: Tree = {"placedTime": _placed(kept)}
        if kept.executed is not None:
            detail["executedTime"] = millis(kept.executed)
        detail |= {
            "orderValue": number(kept.value + (kept.fees if opens(asked) else -kept.fees), 2),
            "status": kept.status.value,
            "orderTerm": asked.term,
            "priceType": asked.price_type,
            "limitPrice": number(asked.limit or 0),
            "stopPrice": number(asked.stop or 0),
            "marketSession": asked.session,
        }
        if kept.replaces is not None:
            detail["replacesOrderId"] = kept.replaces
        if kept.replaced_by is not None:
            detail["replacedByOrderId"] = kept.replaced_by
        detail |= {"allOrNone": asked.all_or_none, "netPrice": 0, "netBid": 0, "netAsk": 0, "gcd": 0, "ratio": ""}
        leg = self._leg(asked, kept.filled, kept.average)
        leg |= {"estimatedCommission": 0, "estimatedFees": number(kept.fees_paid if kept.filled else kept.fees, 2)}
        leg["Product"] = {**_product(asked), "productId": {"symbol": asked.symbol, "typeCode": "EQUITY"}}
        detail["Instrument"] = [leg]
        path = f"{base}/v1/accounts/{account.key}/orders/{kept.order_id}"
        return {"orderId": kept.order_id, "details": path, "orderType": "EQ", "OrderDetail": [detail]}

    def _leg(self, asked: Ticket, filled: Decimal, average: Decimal | None) -> Tree:
        leg: Tree = {
            "symbolDescription": company(asked.symbol),
            "orderAction": asked.action,
            "quantityType": "QUANTITY",
            "orderedQuantity": number(asked.quantity),
            "filledQuantity": float(filled),
        }
        if average is not None:
            leg["averageExecutionPrice"] = number(average, AVERAGE_PLACES)
        return leg

    def _event(self, kept: Kept, event: Event) -> Tree:
        tree: Tree = {"name": event.name, "dateTime": millis(event.at)}
        if event.name in ("ORDER_PLACED", "ORDER_EXECUTED"):
            filled = event.filled or Decimal(0)
            leg = self._leg(kept.ticket, filled, kept.average if filled else None)
            tree["Instrument"] = [{**leg, "Product": _product(kept.ticket)}]
        return tree

    def _order(self, ticket: Ticket, quality: str, messages: list[tuple[int, str]]) -> Tree:
        order: Tree = {
            "orderTerm": ticket.term,
            "priceType": ticket.price_type,
            "limitPrice": number(ticket.limit or 0),
            "stopPrice": number(ticket.stop or 0),
            "marketSession": ticket.session,
            "allOrNone": ticket.all_or_none,
        }
        if messages:
            said = [{"description": _prefixed(words), "code": code, "type": "WARNING"} for code, words in messages]
            order["messages"] = {"Message": said}
        order |= {
            "egQual": quality,
            "estimatedCommission": 0,
            "estimatedTotalAmount": self._signed(ticket),
            "netPrice": 0,
            "netBid": 0,
            "netAsk": 0,
            "gcd": 0,
            "ratio": "",
            "Instrument": [
                {
                    "symbolDescription": company(ticket.symbol),
                    "orderAction": ticket.action,
                    "quantityType": "QUANTITY",
                    "quantity": number(ticket.quantity),
                    "cancelQuantity": 0.0,
                    "reserveOrder": True,
                    "reserveQuantity": 0.0,
                    "Product": _product(ticket),
                }
            ],
        }
        return order

    def _signed(self, ticket: Ticket) -> int | float:
        """Positive for a purchase, negative for a sale; fees make both worse."""
        value, fees = self._book.value(ticket), self._book.fees(ticket)
        buying = tickets.ACTIONS[ticket.action] is Side.BUY
        return number(value + fees if buying else fees - value, 2)

    def _power(self, account: Account, ticket: Ticket, changes: int | None) -> Tree:
        has = money(account, self._book.last, self._clock.now(), changes)
        impact = self._book.value(ticket) if opens(ticket) else Decimal(0)
        funds = has.margin_power if account.margin else has.cash
        five = {
            "currentBp": number(funds, 2),
            "currentOor": number(has.reserved, 2),
            "currentNetBp": number(has.power, 2),
            "currentOrderImpact": number(impact, 2),
            "netBp": number(has.power - impact, 2),
        }
        if account.margin:
            return {"marginBpDetails": {"nonMarginable": {"currentBp": number(has.power / 2, 2)}, "marginable": five}}
        return {"cashBpDetails": {"settled": five, "settledUnsettled": {"currentBp": number(has.cash, 2)}}}

    def _levels(self, account: Account) -> Tree:
        level = "MARGIN_TRADING_ALLOWED" if account.margin else "MARGIN_TRADING_NOT_ALLOWED"
        return {"optionLevelCd": 0, "marginLevelCd": level}

    def _id(self, name: str, value: int, account: Account) -> Tree:
        return {name: value, "cashMargin": "MARGIN" if account.margin else "CASH"}

    def _summer(self) -> bool:
        return bool(self._clock.now().astimezone(NEW_YORK).dst())


def _matches(kept: Kept, status: str) -> bool:
    if status in ("INDIVIDUAL_FILLS", "PARTIAL"):
        return 0 < kept.filled < kept.ticket.quantity
    return kept.status.value == status


def _placed(kept: Kept) -> int:
    return millis(kept.placed)


def _prefixed(words: str) -> str:
    return words if words.startswith("200|") else f"200|{words}"


def _product(ticket: Ticket) -> Tree:
    return {"symbol": ticket.symbol, "securityType": "EQ"}
