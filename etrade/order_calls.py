"""The orders module. The rule: `place`, `change` and `cancel` send once; what is not certain is said to be so.

Reading is apart from ordering: who only looks has no object that could order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import date, datetime
from typing import Any

from etrade import listed, orders, replies
from etrade.asking import Asker, T, days_word, path_word, symbol_word, through_pages
from etrade.body import write
from etrade.calls import Call
from etrade.errors import Refused, Unavailable, Unreadable
from etrade.fields import Fields, read_as
from etrade.limits import Module
from etrade.listed import ListedOrder, OrdersPage, OrderStatus
from etrade.orders import (
    CLIENT_ORDER_ID,
    PREVIEW_LIVES_S,
    CancelAsked,
    EtradeOrder,
    Placed,
    Preview,
)

ORDERS_A_PAGE = 100


class OrderReads(Asker):
    async def orders(
        self,
        account_key: str,
        *,
        start: date | None = None,
        end: date | None = None,
        status: OrderStatus | None = None,
        symbols: Iterable[str] = (),
    ) -> tuple[ListedOrder, ...]:
        """Newest first, all pages, both sessions. Days are New York's; one of them alone is refused by E*TRADE, so
        that both or neither must be given."""
        if (start is None) != (end is None):
            raise ValueError("start and end of an orders list go together")
        query = (*days_word("fromDate", start), *days_word("toDate", end), ("count", str(ORDERS_A_PAGE)))
        query += (("status", status.value),) if status else ()
        asked = ",".join(symbol_word(symbol) for symbol in symbols)
        query += (("symbol", asked),) if asked else ()
        found: dict[int, ListedOrder] = {}

        async def page(marker: str) -> str:
            more = (*query, ("marker", marker)) if marker else query
            call = Call("the orders list", Module.ORDERS, f"/accounts/{path_word(account_key)}/orders.json", query=more)
            got = await self._ask_or(call, "OrdersResponse", listed.read_orders, OrdersPage((), ""))
            for order in got.orders:
                found.setdefault(order.id, order)
            return got.marker

        await through_pages("the orders list", page)
        return tuple(found.values())

    async def order(self, account_key: str, order_id: int) -> ListedOrder | None:
        """One order with its events; None where E*TRADE has none of that number."""
        path = f"/accounts/{path_word(account_key)}/orders/{int(order_id)}.json"
        page = await self._ask_or(
            Call("the order", Module.ORDERS, path), "OrdersResponse", listed.read_orders, OrdersPage((), "")
        )
        return next((order for order in page.orders if order.id == order_id), None)


class OrderCalls(OrderReads):
    async def preview(
        self, account_key: str, order: EtradeOrder, client_order_id: str, *, replaces: int | None = None
    ) -> Preview:
        """What it would cost; moves nothing and may be asked again. Refused with E*TRADE's reason.
        `client_order_id`: 1 to 20 letters and digits, never used before; E*TRADE hides any other mistake behind
        "service not available", so that ValueError says it here."""
        if not CLIENT_ORDER_ID.fullmatch(client_order_id):
            raise ValueError(f"a client order id is 1 to 20 letters and digits: got {client_order_id!r}")
        root = {"orderType": order.kind, "clientOrderId": client_order_id, "Order": [order.body()]}
        at = self.clock.now()
        call = Call(
            "the preview",
            Module.ORDERS,
            _order_path(account_key, "preview", replaces),
            method="POST" if replaces is None else "PUT",
            body=write({"PreviewOrderRequest": root}),
            preview=True,
        )
        made = await self._ask(call, "PreviewOrderResponse", lambda body: orders.read_preview(body, order))
        return Preview(account_key, client_order_id, order, at, **made, replaces=replaces)

    async def place(self, preview: Preview, *, signed_at: datetime | None = None) -> Placed:
        """Place what was previewed, once. `signed_at`: the moment written down before sending, which is then the one
        signed with. Refused: it does not stand. Ambiguous: it may. Unavailable, SignInAgain: nothing was sent."""
        if (self.clock.now() - preview.at).total_seconds() > PREVIEW_LIVES_S:
            raise Unavailable("the order was not sent: its preview is older than three minutes, preview it again")
        order, what = preview.order, "the order" if preview.replaces is None else "the change"
        ids = [
            {"previewId": one.id} | ({"cashMargin": one.cash_margin} if one.cash_margin else {}) for one in preview.ids
        ]
        root = {"orderType": order.kind, "clientOrderId": preview.client_order_id}
        call = Call(
            what,
            Module.ORDERS,
            _order_path(preview.account_key, "place", preview.replaces),
            method="POST" if preview.replaces is None else "PUT",
            body=write({"PlaceOrderRequest": {**root, "PreviewIds": ids, "Order": [order.body()]}}),
            alone=True,
            signed_at=signed_at,
        )
        body = await self._caller.write(call, replies.FINAL_TO_PLACE)
        return _certain(what, body, "PlaceOrderResponse", lambda found: orders.read_placed(found, preview.replaces))

    async def change(
        self,
        account_key: str,
        order_id: int,
        order: EtradeOrder,
        client_order_id: str,
        *,
        accept_warnings: bool = False,
        signed_at: datetime | None = None,
    ) -> Placed:
        """Replace a resting order: preview and place in one. E*TRADE cancels the old one and makes a new, with an id
        of its own; `quantity` is the whole one wanted. Refused, before anything was placed, where the preview warns
        (unless accepted) or echoes another order. The others as `place`."""
        preview = await self.preview(account_key, order, client_order_id, replaces=order_id)
        if preview.differs and not self.environment.canned:
            raise Refused(f"the change was not sent: E*TRADE's preview has {'; '.join(preview.differs)}")
        bad = [m.text or str(m.code) for m in preview.messages if m.kind == "ERROR" or not accept_warnings]
        if bad:
            raise Refused(f"the change was not sent: E*TRADE's preview warns: {'; '.join(bad)}")
        return await self.place(preview, signed_at=signed_at)

    async def cancel(self, account_key: str, order_id: int, *, signed_at: datetime | None = None) -> CancelAsked:
        """Ask to cancel, once; whether it was in time, `orders` tells. Refused: it is done already. The others as
        `place`. It may use the calls that are kept for cancels."""
        call = Call(
            "the cancel",
            Module.ORDERS,
            f"/accounts/{path_word(account_key)}/orders/cancel.json",
            method="PUT",
            body=write({"CancelOrderRequest": {"orderId": int(order_id)}}),
            urgent=True,
            alone=True,
            signed_at=signed_at,
        )
        body = await self._caller.write(call, replies.FINAL_TO_CANCEL)
        asked = _certain("the cancel", body, "CancelOrderResponse", orders.read_cancelled)
        if asked.order_id != order_id and not self.environment.canned:
            raise replies.uncertain("the cancel", "the answer names another order")
        return asked


def _certain(what: str, body: Any, root: str, reader: Callable[[Fields], T]) -> T:
    """A success that lacks what a success has is none, and no failure either."""
    try:
        return read_as(body, root, what, reader)
    except Unreadable as error:
        raise replies.uncertain(what, "; ".join(error.faults[:5])) from None


def _order_path(account_key: str, verb: str, replaces: int | None) -> str:
    middle = "" if replaces is None else f"/{int(replaces)}/change"
    return f"/accounts/{path_word(account_key)}/orders{middle}/{verb}.json"
