"""An account's history as E*TRADE tells it: transactions, and the alerts of its customer's inbox."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from domain.calendars import NEW_YORK
from domain.clock import Clock
from simulator._accounts import PRODUCT, midnight
from simulator._market import company
from simulator._state import Account, Alert, State, Transaction
from simulator._wire import Nothing, Refused, Tree, invalid, millis, number, seconds, whole

TWO_YEARS = timedelta(days=731)
STORE_ID = 0


class History:
    """Reading an alert marks it as read; nothing else here changes anything."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state, self._clock = state, clock

    # Transactions

    def transactions(self, account: Account, query: dict[str, str], base: str, *, overlap: bool) -> Tree:
        """The last row of a page comes again as the first of the next, as it does at E*TRADE, unless `overlap` is
        off or pages have one row."""
        count = whole(query.get("count") or 50)
        if count is None or not 1 <= count <= 50:
            raise Refused(400, 2005, "Count must be between 1 and 50")
        order = (query.get("sortorder") or "DESC").upper()
        if order not in ("ASC", "DESC"):
            raise Refused(400, 2007, "Sort order must be ASC or DESC")
        rows = self._in_range(account, query)
        if order == "DESC":
            rows.reverse()
        start = _after(rows, query.get("marker", ""), overlap and count > 1)
        shown = rows[start : start + count]
        if not shown:
            raise Nothing
        more = start + count < len(rows)
        tree: Tree = {}
        if more:
            marker = _marker(shown[-1])
            tree["next"] = f"{base}/v1/accounts/{account.key}/transactions?count={count}&marker={marker}"
            tree["marker"] = marker
        tree |= {
            "pageMarkers": "",
            "moreTransactions": more,
            "transactionCount": len(shown),
            "totalCount": len(rows),
            "Transaction": [self._transaction(account, row, base) for row in shown],
        }
        return {"TransactionListResponse": tree}

    def transaction(self, account: Account, wanted: str) -> Tree:
        row = next((one for one in account.transactions if str(one.number) == wanted), None)
        if row is None:
            raise Refused(404, 1011, "No transaction was found for this id")
        return {
            "TransactionDetailsResponse": {
                "transactionId": row.number,
                "accountId": account.account_id,
                "transactionDate": millis(midnight(row.at)),
                "postDate": self._posted(row),
                "amount": number(row.amount, 2),
                "description": _description(row),
                "Category": {"categoryId": "0", "parentId": "0", "categoryName": "", "parentName": ""},
                "Brokerage": {
                    "transactionType": row.kind,
                    "quantity": number(row.quantity),
                    "price": number(row.price),
                    "settlementCurrency": "USD",
                    "paymentCurrency": "USD",
                    "fee": number(row.fee, 2),
                    "memo": "",
                    "orderNo": str(row.order_id),
                    "Product": {"symbol": row.symbol},
                },
            }
        }

    def _in_range(self, account: Account, query: dict[str, str]) -> list[Transaction]:
        start, end = (read_day(query.get(name, ""), 2004) for name in ("startdate", "enddate"))
        today = self._clock.now().astimezone(NEW_YORK).date()
        if start and end and start > end:
            raise Refused(400, 2002, "The start date must not be after the end date")
        if start and today - start > TWO_YEARS:
            raise Refused(400, 2003, "The start date must be within the last two years")
        return [row for row in account.transactions if within(row.at, start, end)]

    def _transaction(self, account: Account, row: Transaction, base: str) -> Tree:
        path = f"{base}/v1/accounts/{account.key}/transactions/{row.number}?storeId={STORE_ID}"
        return {
            "transactionId": str(row.number),
            "accountId": account.account_id,
            "transactionDate": millis(midnight(row.at)),
            "postDate": self._posted(row),
            "amount": number(row.amount, 2),
            "description": _description(row),
            "transactionType": row.kind,
            "memo": "",
            "imageFlag": False,
            "instType": "BROKERAGE",
            "storeId": STORE_ID,
            "brokerage": {
                "product": {"symbol": row.symbol, "securityType": "EQ", **PRODUCT} if row.symbol else {},
                "quantity": number(row.quantity),
                "price": number(row.price),
                "settlementCurrency": "USD",
                "paymentCurrency": "USD",
                "fee": number(row.fee, 2),
                "displaySymbol": row.symbol,
                "settlementDate": millis(row.settles),
            },
            "detailsURI": path,
        }

    def _posted(self, row: Transaction) -> int:
        """0 while it is pending."""
        return millis(row.settles) if row.settles <= self._clock.now() else 0

    # Alerts

    def alerts(self, query: dict[str, str]) -> Tree:
        count = whole(query.get("count") or 25)
        if count is None or not 1 <= count <= 300:
            raise invalid()
        status, wanted = query.get("status", "").upper(), query.get("search", "").upper()
        rows = [
            one
            for one in self._state.alerts
            if (one.status == status if status else one.status != "DELETED")
            and wanted in one.subject.upper()
            and query.get("category", "STOCK").upper() == "STOCK"
        ]
        if query.get("direction", "DESC").upper() != "ASC":
            rows.reverse()
        if not rows:
            raise Nothing
        shown = [
            {"id": one.number, "createTime": seconds(one.at), "subject": one.subject, "status": one.status}
            for one in rows[:count]
        ]
        return {"AlertsResponse": {"totalAlerts": len(rows), "Alert": shown}}

    def alert(self, wanted: int | None) -> Tree:
        """Reading one marks it as read."""
        rows = [one for one in self._state.alerts if one.status != "DELETED"]
        at = next((at for at, one in enumerate(rows) if one.number == wanted), None)
        if at is None:
            raise Nothing
        one = rows[at]
        one.status, one.read = "READ", one.read or self._clock.now()
        return {
            "AlertDetailsResponse": {
                "id": one.number,
                "createTime": seconds(one.at),
                "subject": one.subject,
                "symbol": one.symbol,
                "msgText": f"{one.subject}.",
                "readTime": seconds(one.read),
                "deleteTime": 0,
                "next": rows[at + 1].number if at + 1 < len(rows) else 0,
                "prev": rows[at - 1].number if at else 0,
            }
        }

    def delete_alerts(self, wanted: str) -> Tree:
        known: dict[int, Alert] = {one.number: one for one in self._state.alerts if one.status != "DELETED"}
        ids = [whole(text) for text in wanted.split(",")]
        failed = [each if each is not None else 0 for each in ids if each not in known]
        for each in ids:
            if each in known:
                known[each].status = "DELETED"
        if failed:
            return {"AlertsResponse": {"result": "ERROR", "FailedAlerts": {"alertId": failed}}}
        return {"AlertsResponse": {"result": "SUCCESS"}}


def read_day(text: str, code: int = 9999) -> date | None:
    """MMDDYYYY; None where it is empty."""
    if not text:
        return None
    try:
        return datetime.strptime(text, "%m%d%Y").replace(tzinfo=NEW_YORK).date()
    except ValueError:
        raise Refused(400, code, "Dates are written MMDDYYYY") from None


def within(moment: datetime, start: date | None, end: date | None) -> bool:
    day = moment.astimezone(NEW_YORK).date()
    return (start is None or day >= start) and (end is None or day <= end)


def _description(row: Transaction) -> str:
    return row.description or (f"{row.symbol} {company(row.symbol)}" if row.symbol else row.kind)


def _marker(row: Transaction) -> str:
    return f"{row.number}_{seconds(row.at)}"


def _after(rows: list[Transaction], marker: str, overlap: bool) -> int:
    if not marker:
        return 0
    at = next((at for at, row in enumerate(rows) if _marker(row) == marker), None)
    if at is None:
        raise Refused(400, 2008, "Invalid marker")
    return at if overlap else at + 1
