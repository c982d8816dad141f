"""Strategies at work: the button that lets one trade on paper, and the panel of those that do.

The rule: the dialog says what will trade, under which rules and on which desk; the engine checks all of it again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import pandas as pd
import streamlit as st

import bootstrap
from backtest.setup import Setup
from desk.adoptions import Adoption, BarDecision, Done, State, adoptions, count_of_orders, decisions, orders
from desk.own_book import OwnBook
from domain.commands import Kind
from domain.errors import DeskError
from domain.limits import Limits
from domain.orders import Order, Status
from ui import dialogs, filters_form, holdings, roles, wording
from ui.session import Open

FAILED = "fail"
ROUND_TO = 100
REFUSED = (Status.DENIED, Status.REFUSED, Status.LAPSED, Status.NOT_PLACED)
MOST_OF_THE_LIMIT = Decimal("0.75")
NOTHING_AT_WORK = (
    "No strategy is at work. Run a backtest and press “Trade this on paper” under its result, or use "
    "`python trading_bot.py --adopt`. What it decides on each closed bar, and why, appears here."
)
_BADGES = {State.WORKING: ("green", ":material/play_arrow:"), State.PAUSED: ("orange", ":material/pause:")}


# The button and its dialog


def adopt_button(
    app: Open,
    *,
    strategy: str,
    params: Mapping[str, Any],
    symbols: Sequence[str],
    interval: str,
    setup: Setup,
    verdict_word: str,
) -> None:
    """The way from a backtest to the paper desk: opens a dialog with these very rules."""
    wish = {
        "strategy": strategy,
        "params": dict(params),
        "symbols": list(symbols),
        "interval": interval,
        "setup": setup.to_dict(),
    }
    named = hashlib.sha256(json.dumps(wish, sort_keys=True, default=str).encode()).hexdigest()[:12]
    if not app.may(Kind.ADOPT):
        return
    st.button(
        "Trade this on paper",
        key=f"adopt_{named}",
        icon=":material/smart_toy:",
        help="Let this strategy trade by itself on the paper desk, bar by bar",
        on_click=dialogs.soon,
        args=("adopt",),
        kwargs={"wish": wish, "verdict_word": verdict_word},
    )


@dialogs.dialog
@st.dialog("Trade this on paper", width="medium")
def adopt(app: Open, key: str, wish: dict[str, Any], verdict_word: str) -> None:
    trading, setup = bootstrap.trading(), Setup.of(wish["setup"])
    st.markdown(f"**{wording.plain(named(wish))}**")
    in_research()
    st.markdown(_what_happens(wish, setup))
    names = [info.name for info in trading.reader.accounts()]
    if len(names) > 1:
        st.selectbox("Account", names, key=f"adopt_account_{key}")
    account = st.session_state.get(f"adopt_account_{key}", names[0] if names else "")
    most, said = most_money(setup, account)
    st.number_input(
        "Its money",
        min_value=1.0,
        value=float(most),
        step=float(ROUND_TO),
        format="%.0f",
        key=f"adopt_cash_{key}",
        help="Sizes are worked out from this and from what it wins and loses, not from the whole account",
    )
    st.caption(wording.plain(said))
    st.caption(f":material/desktop_windows: {wording.plain(trading.place.words)}, account {wording.plain(account)}.")
    if verdict_word == FAILED:
        st.error("**This strategy failed its checks.** Expect it to lose money.", icon=":material/block:")
        st.checkbox("I know: let it trade on paper all the same", key=f"adopt_known_{key}")
    dialogs.confirm(
        "Let it trade on paper",
        Kind.ADOPT,
        asked(wish, account, key),
        key,
        now=lambda: asked(wish, account, key),
        why_not=_why_not(wish, setup, verdict_word, key),
    )


def named(wish: Mapping[str, Any]) -> str:
    """The strategy and what it trades: `sma_crossover, fast 5, slow 15 · AAPL, NVDA · 5m`."""
    values = [f"{name} {value}" for name, value in wish["params"].items()]
    return f"{', '.join([wish['strategy'], *values])} · {', '.join(wish['symbols'])} · {wish['interval']}"


def _what_happens(wish: Mapping[str, Any], setup: Setup) -> str:
    exits = exit_words(setup)
    lines = [
        f"It is asked each time a {wish['interval']} bar of these symbols has closed; a changed mind becomes an order "
        "at market, through every gate.",
        *([f"It enters by {setup.entry.words}; the backtest entered at the market."] if setup.entry else []),
        f"Sizes: {_size(setup)}; {'long and short' if setup.short else 'long only'}.",
        *_let_in(setup),
        f"Exits, counted from the close that decided: {exits}."
        if exits
        else "No stop, no target and no trailing stop: only the strategy itself closes what it opens.",
        "It touches only what it opened itself. Bars that close while no engine runs are not traded.",
    ]
    return "\n".join(f"- {wording.plain(line)}" for line in lines)


def exit_words(setup: Setup) -> str:
    """`stop 1 % and target 2 %`; nothing where only the strategy itself closes what it opens."""
    ways = (("stop", setup.stop), ("target", setup.target), ("trailing stop", setup.trail))
    return " and ".join(f"{name} {e.words}" for name, e in ways if e is not None)


def _let_in(setup: Setup) -> list[str]:
    """Its filters, where it has any."""
    said = filters_form.words(setup.to_dict()["filters"], setup.good_for)
    return [f"An entry is let in by {said}."] if said else []


def _size(setup: Setup) -> str:
    return {
        "equity": f"a full exposure is {setup.fraction:.4g} times its money",
        "risk": f"{setup.risk_per_trade:.2%} of its money at risk, at most {setup.max_position_pct:g} % in a position",
        "shares": f"a full exposure is {setup.shares:g} shares",
    }[setup.sizing]


def most_money(setup: Setup, account: str) -> tuple[Decimal, str]:
    """Money that the limits let it use, with some room to grow, and the sentence that says so."""
    reader, cash = bootstrap.trading().reader, Decimal(str(setup.cash))
    limits, point = Limits.from_dict(reader.limits()), reader.last_point(account)
    folded = reader.account(account)
    equity = point.equity if point is not None else folded.cash if folded is not None else None
    if setup.sizing == "shares" or equity is None:
        return cash, "The quantity is fixed; its money only says what it may come to."
    share = Decimal(str(setup.fraction if setup.sizing == "equity" else setup.max_position_pct / 100))
    order = min(equity * Decimal(str(limits.max_position_pct)) / 100, Decimal(str(limits.max_notional)))
    whole = (MOST_OF_THE_LIMIT * order / share // ROUND_TO) * ROUND_TO
    most = max(Decimal(1), min(cash, whole))
    said = f"The backtest began with {wording.amount(cash, Decimal(1))}."
    if most < cash:
        said += (
            f" One order may be {wording.amount(order, Decimal(1))} here (Settings, limits), so it begins with less."
        )
    return most, said


def asked(wish: dict[str, Any], account: str, key: str) -> dict[str, Any]:
    """The fields of the dialog as the payload of ADOPT."""
    cash = float(st.session_state.get(f"adopt_cash_{key}") or wish["setup"]["cash"])
    setup = {**wish["setup"], "cash": cash, "exits_from": "signal"}
    return {**wish, "setup": setup, "account": account}


def _why_not(wish: Mapping[str, Any], setup: Setup, verdict_word: str, key: str) -> str:
    if said := not_kept(setup):
        return said
    if verdict_word == FAILED and not st.session_state.get(f"adopt_known_{key}"):
        return "Tick that you know it failed its checks."
    return ""


def in_research() -> None:
    """Said where a strategy begins in research: where orders leave this machine, or where the limits ask for it."""
    trading = bootstrap.trading()
    limits = Limits.from_dict(trading.reader.limits())
    if trading.place.needs_arming or limits.backtest_before_paper:
        st.info(
            "It begins in research here: it is asked on each closed bar, and nothing is ordered until it is promoted.",
            icon=":material/stairs:",
        )


def not_kept(setup: Setup) -> str:
    """Which rules of a setup no desk keeps; '' where it keeps all of them."""
    if setup.max_bars:
        return "A strategy at work holds as long as it wants, without a longest holding time: run it so."
    return ""


def rules_words(written: Mapping[str, Any]) -> str:
    """The rules in one line; what is wrong with them where they cannot be."""
    try:
        return Setup.of(written).words
    except (DeskError, ValueError, TypeError) as error:
        return str(error)


# The panel


@st.fragment(run_every=2)
def adopted_panel(app: Open) -> None:
    """The strategies at work, renewed while somebody looks."""
    dialogs.step_out()
    reader = bootstrap.trading().reader
    try:
        found = adoptions(reader)
        st.subheader("Strategies at work")
        if not found:
            st.info(NOTHING_AT_WORK, icon=":material/smart_toy:")
        else:
            roles.said(Kind.RETIRE, "adopted")
        for one in found:
            _card(app, one)
    except DeskError as error:
        st.error(wording.plain(error), icon=":material/error:")


def _card(app: Open, one: Adoption) -> None:
    reader = bootstrap.trading().reader
    book = OwnBook(one).refresh(reader)
    colour, icon = _BADGES[one.state]
    with st.container(border=True, key=f"adopted_{one.id}"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.badge(one.state.upper(), color=colour, icon=icon)  # type: ignore[arg-type]
            st.markdown(f"**{wording.plain(one.label)}**")
            st.caption(f"since {wording.hour(one.since, app.zone)} · {wording.plain(one.account)}")
            if app.may(Kind.RETIRE):
                st.button(
                    "Retire",
                    key=f"adopted_retire_{one.id}",
                    icon=":material/logout:",
                    on_click=dialogs.soon,
                    args=("retire",),
                    kwargs={"adoption": one.id},
                )
        if one.state is State.PAUSED:
            st.error(f"Paused: {wording.plain(one.reason)}", icon=":material/pause:")
        st.markdown(wording.plain(_figures(app, one, book)))
        made = orders(reader, one)
        table = decided(app, one, book, made)
        st.dataframe(table, hide_index=True, key=f"adopted_table_{one.id}", column_config=_COLUMNS)
        for said in refusals(one, made):
            st.caption(f":material/block: {wording.plain(said)}")
        st.caption(wording.plain(one.setup.words))


_COLUMNS = {
    "Symbol": st.column_config.TextColumn(width=70, pinned=True),
    "Holds": st.column_config.TextColumn(alignment="right", width=70),
    "Last bar": st.column_config.TextColumn(width=130),
    "Decided": st.column_config.TextColumn(width=90),
    "Why": st.column_config.TextColumn(width=440),
    "Last order": st.column_config.TextColumn(width=300),
}


def _figures(app: Open, one: Adoption, book: OwnBook) -> str:
    """Money, profit and orders."""
    reader, begun = bootstrap.trading().reader, Decimal(str(one.setup.cash))
    equity = book.equity(_prices(app, book))
    profit = wording.signed(None if equity is None else equity - begun)
    count = count_of_orders(reader, one)
    trades = f"{count} order{'' if count == 1 else 's'}, {book.fills} fill{'' if book.fills == 1 else 's'}"
    return f"P/L {profit} of {wording.amount(begun, Decimal(1))} · {trades} · fees {wording.amount(book.fees)}"


def _prices(app: Open, book: OwnBook) -> dict[str, Decimal]:
    held = [symbol for symbol, line in book.lines.items() if line.own]
    return {symbol: quote.last for symbol, quote in holdings.quotes(bootstrap.trading(), app.desk, held).items()}


def refusals(one: Adoption, made: Sequence[Order]) -> list[str]:
    """Why a symbol's last order came to nothing, a sentence each."""
    newest = {order.request.symbol: order for order in reversed(made)}
    found = [order for symbol in one.symbols if (order := newest.get(symbol)) and order.status in REFUSED]
    return [f"{wording.order_words(o.request)}: {wording.STATES[o.status]}. {' '.join(o.reasons)}" for o in found]


def decided(app: Open, one: Adoption, book: OwnBook, made: Sequence[Order]) -> pd.DataFrame:
    """A row a symbol: what it holds, the last decision with its reason, and what became of its last order."""
    reader = bootstrap.trading().reader
    rows = []
    for symbol in one.symbols:
        last = next(iter(decisions(reader, one.id, symbol)), None)
        order = next((o for o in made if o.request.symbol == symbol), None)
        rows.append(
            {
                "Symbol": symbol,
                "Holds": wording.quantity(book.own(symbol)),
                "Last bar": f"{wording.local(last.bar_time, app.zone):%d %b %H:%M}" if last else wording.NOTHING,
                "Decided": _word(last),
                "Why": last.said if last else "No bar has closed since it was taken on.",
                "Last order": _order(order) if order else wording.NOTHING,
            }
        )
    return pd.DataFrame(rows)


def _word(last: BarDecision | None) -> str:
    if last is None:
        return wording.NOTHING
    return {Done.ORDERED: "order", Done.HELD: "as before"}.get(last.done, str(last.done))


def _order(order: Order) -> str:
    said = f"{wording.order_words(order.request)}: {wording.STATES[order.status]}"
    filled = order.status is Status.FILLED and order.average_price is not None
    return f"{said} at {order.average_price:.2f}" if filled else said


@dialogs.dialog
@st.dialog("Retire a strategy")
def retire(app: Open, key: str, adoption: str) -> None:
    one = next((each for each in adoptions(bootstrap.trading().reader) if each.id == adoption), None)
    if one is None:
        st.info("It is not at work any more: nothing is left to do.")
        dialogs.confirm("Retire it", Kind.RETIRE, {"id": adoption}, key, why_not="It is not at work any more.")
        return
    book = OwnBook(one).refresh(bootstrap.trading().reader)
    held = [f"{wording.quantity(book.own(s))} {s}" for s in one.symbols if book.own(s)]
    st.markdown(f"**{wording.plain(one.label)}** is asked no more and opens and closes nothing from now on.")
    if held:
        st.warning(
            f"What it holds stays, under its stops, and is yours to close: {wording.plain(', '.join(held))}.",
            icon=":material/inventory:",
        )
    dialogs.confirm("Retire it", Kind.RETIRE, {"id": adoption}, key)
