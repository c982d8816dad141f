"""Orders: the list of an exchange's day, what can be done to an open one, and how each got where it is."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import streamlit as st

import bootstrap
from desk.records import AccountInfo
from domain.calendars import NEW_YORK
from domain.commands import Kind
from domain.errors import DeskError
from domain.instruments import instrument
from domain.orders import NEEDS, Order, Purpose
from ui import dialogs, differences, tables, verdicts, wording
from ui.session import Open

PRICES = {"limit": "Limit", "stop": "Stop", "trail": "Trail"}


def pick_account(label: str = "Account", key: str = "desk_account") -> AccountInfo | None:
    """The account a page is about: chosen where there are several; None where the engine has opened none yet."""
    known = {info.name: info for info in bootstrap.trading().reader.accounts()}
    if len(known) < 2:
        return next(iter(known.values()), None)
    chosen = st.selectbox(
        label, list(known), format_func=lambda name: f"{name} · {known[name].kind}", key=key, persist_state="session"
    )
    return known[chosen]


def of_the_day(account: str) -> list[Order]:
    """The orders of the exchange's day and whatever older ones are still open, newest first."""
    trading = bootstrap.trading()
    began = day_began(trading.clock.now())
    found = trading.reader.orders_between(began, began + timedelta(days=1, hours=2), account)
    known = {order.id: order for order in [*trading.reader.open_orders(account), *found]}
    return sorted(known.values(), key=lambda order: (order.created, order.id), reverse=True)


def levels_of(account: str, orders: Iterable[Order]) -> dict[str, Decimal | None]:
    """Where the trailing stops that rest among these have come to, by order."""
    trailing = [
        order for order in orders if order.open and order.request.purpose is Purpose.STOP and order.request.trail
    ]
    plans = bootstrap.trading().reader.protection(account) if trailing else {}
    known = {order.id: plans.get(order.request.symbol) for order in trailing}
    return {id_: plan.level for id_, plan in known.items() if plan is not None}


def day_began(now: datetime) -> datetime:
    """Midnight of the exchange's day."""
    return now.astimezone(NEW_YORK).replace(hour=0, minute=0, second=0, microsecond=0)


@st.fragment(run_every=2)
def orders_of_the_day(app: Open, account: str, key: str = "desk_orders", only_open: bool = False) -> None:
    """The list, renewed every two seconds; it keeps its place while it ticks."""
    dialogs.step_out()
    try:
        differences.not_known(app, account, key)
        shown = of_the_day(account)
    except DeskError as error:
        st.error(wording.plain(error), icon=":material/error:")
        return
    if only_open:
        shown = [order for order in shown if order.open]
    resting = [o for o in shown if o.status in tables.CANCELLABLE]
    if not shown:
        st.info(_none_yet(app, only_open), icon=":material/receipt_long:")
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"{len(shown)} orders, {sum(o.open for o in shown)} open")
        if resting and app.may(Kind.CANCEL_ALL):
            st.button(
                "Cancel all",
                icon=":material/close:",
                key=f"{key}_cancel_all",
                on_click=dialogs.soon,
                args=("cancel_all",),
                kwargs={"account": account},
            )
    st.session_state[f"{key}_shown"] = [order.id for order in shown]
    table = tables.orders_table(shown, app.zone, levels_of(account, shown))
    if not app.may(Kind.CHANGE):
        table["Do"] = [[tables.ONLY_STORY] for _ in shown]
    st.dataframe(
        table,
        hide_index=True,
        key=key,
        column_config=tables.order_columns(app.zone, on_click=lambda: _chosen(key), key=f"{key}_act"),
    )


def _none_yet(app: Open, only_open: bool) -> str:
    if only_open:
        return "No open orders. What waits at the broker, stops and targets too, appears here."
    if not app.may(Kind.PREVIEW):
        return "No orders today."
    return "No orders today. Fill in the ticket and preview one; it appears here within two seconds."


def _chosen(key: str) -> None:
    """A choice in the menu of a row: its order is looked up in the rows as they were shown."""
    click, shown = st.session_state[f"{key}_act"], st.session_state.get(f"{key}_shown", [])
    if not click or click["row"] >= len(shown):
        return
    name = next((name for name, label in tables.ORDER_MENU.items() if label == click["label"]), "story")
    dialogs.soon(f"{name}_order", order_id=shown[click["row"]])


def _found(order_id: str) -> Order | None:
    order = bootstrap.trading().reader.order(order_id)
    if order is None:
        st.error("This order is not in the ledger any more.")
    return order


@dialogs.dialog
@st.dialog("Cancel this order")
def cancel_order(app: Open, key: str, order_id: str) -> None:
    order = _found(order_id)
    if order is None:
        return
    st.write(f"**{wording.plain(wording.order_words(order.request))}**, {wording.STATES[order.status]}.")
    if order.filled:
        st.write(f"{wording.quantity(order.filled)} have filled and stay yours.")
    if order.request.purpose in (Purpose.STOP, Purpose.TARGET):
        st.warning(
            "It protects a position, and the plan would have it placed anew. "
            "To take the protection away, use Positions, Edit stop and target.",
            icon=":material/shield:",
        )
    label = f"Cancel: {wording.order_words(order.request)}"
    dialogs.confirm(label, Kind.CANCEL, {"order": order.id}, key, why_not=_over(order))


@dialogs.dialog
@st.dialog("Cancel all orders")
def cancel_all(app: Open, key: str, account: str) -> None:
    resting = [o for o in bootstrap.trading().reader.open_orders(account) if _would_cancel(o)]
    if resting:
        st.write("These are cancelled. Protective stops and targets stay.")
    for order in resting:
        st.write(f"- {wording.plain(wording.order_words(order.request))}")
    why_not = "" if resting else "No entry and no exit rests; stops and targets are never part of this."
    payload = {"account": account, "symbol": ""}
    count = "1 order" if len(resting) == 1 else f"{len(resting)} orders"
    dialogs.confirm(f"Cancel {count}", Kind.CANCEL_ALL, payload, key, why_not=why_not)


def _would_cancel(order: Order) -> bool:
    return order.request.purpose in (Purpose.ENTRY, Purpose.EXIT)


@dialogs.dialog
@st.dialog("Change this order")
def change_order(app: Open, key: str, order_id: str) -> None:
    order = _found(order_id)
    if order is None:
        return
    st.write(f"**{wording.plain(wording.order_words(order.request))}**, {wording.STATES[order.status]}.")
    st.caption("It is cancelled, and once that is certain a new one is placed. It loses its place in the queue.")
    for name in _changeable(order):
        _field(order, name, key)
    payload = changes(order, key)
    said = ", ".join(f"{n} {getattr(order.request, n)} → {v}" for n, v in (payload or {}).items() if n != "order")
    if said:
        st.write(f"Changes: {wording.plain(said)}")
    why_not = _over(order) or ("" if payload else "Nothing is changed yet.")
    dialogs.confirm("Change it", Kind.CHANGE, payload, key, now=lambda: changes(order, key), why_not=why_not)


def _changeable(order: Order) -> list[str]:
    return ["quantity", *(name for name in PRICES if name in NEEDS[order.request.type])]


def _field(order: Order, name: str, key: str) -> None:
    what = instrument(order.request.symbol)
    step = what.lot if name == "quantity" else what.tick
    st.number_input(
        PRICES.get(name, "Quantity"),
        value=float(getattr(order.request, name)),
        step=float(step),
        format=f"%.{_decimals(step)}f",
        key=f"desk_change_{name}_{key}",
    )


def changes(order: Order, key: str) -> dict[str, Any] | None:
    """The fields that differ from the order, as amounts; None where none does."""
    what, found = instrument(order.request.symbol), {}
    for name in _changeable(order):
        value = st.session_state.get(f"desk_change_{name}_{key}")
        if value is None:
            continue
        read = Decimal(str(value))
        wished = what.round_quantity(read) if name == "quantity" else what.round_price(read)
        if wished != getattr(order.request, name):
            found[name] = format(wished, "f")
    return {"order": order.id, **found} if found else None


def _decimals(step: Decimal) -> int:
    return max(0, -int(step.normalize().as_tuple().exponent))


def _over(order: Order) -> str:
    if order.status in tables.CANCELLABLE:
        return ""
    return f"It is {wording.STATES[order.status]}: nothing is left to do."


@dialogs.dialog
@st.dialog("What happened to this order", width="large")
def story_order(app: Open, key: str, order_id: str) -> None:
    order = _found(order_id)
    if order is None:
        return
    reader = bootstrap.trading().reader
    st.write(f"**{wording.plain(wording.order_words(order.request))}** · {wording.STATES[order.status]}")
    asked = order.request
    broker = f", at the broker {wording.plain(order.broker_id)}" if order.broker_id else ""
    why = f" Asked for: {wording.plain(asked.reason)}." if asked.reason else ""
    st.caption(f"{asked.purpose}, {asked.time_in_force}, {asked.session} session.{why} Order {order.id}{broker}.")
    st.dataframe(tables.events_table(reader.order_events(order_id), app.zone), hide_index=True)
    fills = reader.fills(order_id=order_id)
    if fills:
        st.dataframe(tables.fills_table(fills, app.zone), hide_index=True, column_config=tables.fill_columns(app.zone))
    decisions = reader.decisions(order_id=order_id, most=1)
    for decision in decisions:
        verdicts.show(decision.verdicts)
    if not decisions:
        st.caption("No gate was asked about it: none of the desk's decisions names this order.")
