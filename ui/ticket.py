"""The order ticket: fill in, preview, confirm.

The preview's key stands in the address, so that a reload shows the same preview and what became of it. Confirming asks
under the token of the preview: however often it is pressed, there is one order. What is confirmed is what is seen: a
field that is changed puts the preview away.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

import streamlit as st

import bootstrap
from domain.clock import ago
from domain.commands import Answer, Command, CommandState, Kind
from domain.errors import DeskError
from domain.instruments import Instrument, instrument
from domain.orders import Side
from domain.quotes import Quote
from ui import holdings, orders, palettes, preview_card, roles, ticket_fields, wording
from ui.asking import ask, show_fate
from ui.session import Open

NO_ACCOUNT = "No account yet. The engine opens a paper account when it starts; then you can order here."
SILENT_S = 5.0
_HIDE_FIELDS = "<style>.st-key-tkt_fields { display: none; }</style>"
_ROW = '.st-key-desk_trade > * > [data-testid="stHorizontalBlock"]'
_STYLE = """<style>
.st-key-desk_ticket {{ border: 1px solid var(--desk-line); border-radius: 10px; padding: 12px 12px 14px;
  background: var(--desk-surface); }}
.st-key-desk_ticket, .st-key-desk_ticket [data-testid="stVerticalBlock"] {{ gap: .55rem; }}
.st-key-desk_ticket [data-testid="stHorizontalBlock"] {{ flex-wrap: nowrap; gap: .5rem; }}
.st-key-desk_ticket [data-testid="stColumn"] {{ min-width: 0; }}
.st-key-desk_ticket [data-testid="stNumberInput"] button {{ display: none; }}
.st-key-tkt_side button {{ min-height: 46px; font-size: 17px; font-weight: 700; }}
.st-key-tkt_side button:first-of-type[aria-checked="true"] {{ background: {buy}; border-color: {buy};
  color: var(--desk-ground); }}
.st-key-tkt_side button:last-of-type[aria-checked="true"] {{ background: {sell}; border-color: {sell};
  color: var(--desk-ground); }}
.st-key-tkt_by button, .st-key-tkt_loss_by button, .st-key-tkt_gain_by button {{ padding: 0 6px; font-size: 13px; }}
.st-key-tkt_card ul {{ list-style: none; padding: 0; margin: 0; font-variant-numeric: tabular-nums; }}
.st-key-tkt_card li {{ margin: 0; padding: 1px 0; font-size: 14px; }}
.st-key-tkt_card ul {{ padding-bottom: 6px; }}
.st-key-desk_ticket [data-testid="stAlertContainer"] ul {{ padding-left: 1rem; font-size: 13.5px; }}
.st-key-desk_ticket [data-testid="stAlertContainer"] {{ padding: 8px 10px; }}
.st-key-desk_ticket [data-testid="stAlertContainer"] p {{ font-size: 13.5px; }}
{row} {{ align-items: flex-start; }}
@media (min-width: 1001px) {{
  {row} > [data-testid="stColumn"]:last-child {{ flex: 0 0 308px; min-width: 308px; }}
  {row} > [data-testid="stColumn"]:first-child {{ flex: 1 1 0; min-width: 0; }}
}}
@media (max-width: 1000px) {{
  {row} {{ flex-wrap: wrap; }}
  {row} > [data-testid="stColumn"] {{ flex: 1 1 100%; min-width: 100%; }}
}}
</style>"""


@dataclass(frozen=True, slots=True)
class Slip:
    """What the ticket is about in one run; `closes`: the chosen side makes what is held smaller."""

    app: Open
    trading: bootstrap.Trading
    account: str
    what: Instrument
    quote: Quote | None
    closes: bool

    def wish(self) -> dict[str, str]:
        """The fields as they are at this moment."""
        return ticket_fields.wish(self.account, self.what, self.closes, st.session_state)


def beside_the_chart(app: Open) -> tuple[Any, Any]:
    """A wide place for the chart and a narrow one for the ticket; on a phone one below the other."""
    colours = palettes.PALETTES[app.palette]
    st.html(_STYLE.format(buy=colours.rising.css, sell=colours.falling.css, row=_ROW))
    with st.container(key="desk_trade"):
        chart, ticket = st.columns([3.55, 1])
    return chart, ticket.container(key="desk_ticket")


@st.fragment(run_every=1)
def order_ticket(app: Open, symbol: str) -> None:
    """The whole ticket, renewed each second: quote, preview and its time left move, what is typed stays."""
    trading, what = bootstrap.trading(), instrument(symbol)
    try:
        info = orders.pick_account()
        if info is None:
            st.info(NO_ACCOUNT, icon=":material/account_balance:")
            return
        _ticket(app, trading, info.name, what)
    except DeskError as error:
        st.error(wording.plain(error), icon=":material/error:")


def _ticket(app: Open, trading: bootstrap.Trading, account: str, what: Instrument) -> None:
    quote = holdings.quotes(trading, app.desk, [what.symbol]).get(what.symbol)
    _begin_anew(what)
    key = st.query_params.get("preview", "")
    asked = trading.reader.command(key) if key else None
    if asked and "tkt_side" not in st.session_state and asked[0].payload.get("symbol") == what.symbol:
        ticket_fields.put_back(asked[0].payload)
    slip = Slip(app, trading, account, what, quote, _closes(trading, account, what.symbol))
    _quote_line(slip)
    if not app.may(Kind.PREVIEW):
        roles.said(Kind.PREVIEW, "tkt")
        return
    # Places that never move: a field that is drawn elsewhere for one run may lose what was typed into it.
    above, fields, below = st.container(), st.container(key="tkt_fields"), st.container()
    with fields:
        ticket_fields.draw(what, quote, slip.closes)
    with above:
        looking = bool(key) and _preview(slip, key, asked)
        st.html(_HIDE_FIELDS if looking else "<style></style>")
        if not looking:
            _news()
    with below:
        if not looking:
            _blank(slip)


def _news() -> None:
    """What became of the last preview."""
    for said, draw in (("tkt_done", st.success), ("tkt_gone", st.info)):
        if text := st.session_state.get(said):
            draw(wording.plain(text))


def _begin_anew(what: Instrument) -> None:
    """Prices of one symbol are nothing to another: with a new symbol the ticket begins anew, as after an order."""
    if st.session_state.pop("tkt_placed", False) or st.session_state.get("tkt_symbol", what.symbol) != what.symbol:
        ticket_fields.clear()
    st.session_state.tkt_symbol = what.symbol


def _closes(trading: bootstrap.Trading, account: str, symbol: str) -> bool:
    held = trading.reader.positions(account).get(symbol)
    side = Side(st.session_state.get("tkt_side") or Side.BUY)
    return held is not None and held.quantity * side.sign < 0


def _quote_line(slip: Slip) -> None:
    """Last, bid and ask, and in words how far they may be believed."""
    words = slip.trading.place.words.split(" · ")[0]
    st.markdown(f"**{words}: {slip.what.symbol}**{_held_words(slip)}")
    quote = slip.quote
    if quote is None:
        st.caption("No price yet. A market order needs one; a limit can be named.")
        return
    bid, ask = (wording.price(p, slip.what) for p in (quote.bid, quote.ask))
    notes = ["SIMULATED"] if slip.trading.place.simulated else []
    notes += [f"delayed {quote.delayed_s // 60} min"] if quote.delayed_s else []
    said = f" · :orange[**{', '.join(notes)}**]" if notes else ""
    st.markdown(f"**{wording.price(quote.last, slip.what)}** :gray[bid] {bid} :gray[ask] {ask}{said}")


def _held_words(slip: Slip) -> str:
    held = slip.trading.reader.positions(slip.account).get(slip.what.symbol)
    return f" · you hold {wording.quantity(held.quantity)}" if held else ""


# Filling in


def _blank(slip: Slip) -> None:
    """The button that asks for a preview."""
    for sentence in st.session_state.get("tkt_wrong", []):
        st.error(wording.plain(sentence))
    _about(slip)
    if roles.said(Kind.PREVIEW, "tkt"):
        return
    key = st.session_state.setdefault("tkt_key", uuid4().hex)
    st.button("Preview", key="tkt_preview", type="primary", width="stretch", on_click=_ask_preview, args=(slip, key))
    show_fate(key)
    if silence := silent(slip.trading):
        st.caption(f":material/warning: {silence} A preview will wait in the queue.")


def _about(slip: Slip) -> None:
    shares = st.session_state.get("tkt_quantity")
    if slip.quote is None or shares is None or st.session_state.get("tkt_by") != "quantity":
        return
    worth = wording.number(shares) or 0
    st.caption(f"About {wording.amount(worth * slip.quote.last)} at the last price")


def _ask_preview(slip: Slip, key: str) -> None:
    """One preview a key: pressed twice, it is asked for once."""
    _say("wrong", ticket_fields.missing(slip.wish(), slip.closes, st.session_state))
    _say("gone", "")
    _say("done", "")
    if st.session_state.tkt_wrong:
        return
    ask(Kind.PREVIEW, slip.wish(), key)
    if slip.trading.reader.command(key) is not None:
        st.query_params["preview"] = key


def fill(symbol: str, asked: dict[str, str]) -> None:
    """In a callback: the ticket of this symbol filled in as a preview would ask, for a person to press Preview."""
    ticket_fields.clear()
    st.session_state.pop("tkt_placed", None)
    st.session_state.tkt_symbol = symbol
    ticket_fields.put_back(asked)
    _put_away("")


# Looking at the preview


def _preview(slip: Slip, key: str, asked: tuple[Command, Answer] | None) -> bool:
    """The preview of the address; False where it had to be put away."""
    if asked is None or asked[0].kind is not Kind.PREVIEW:
        return _put_away("The preview in the address is not known to this desk. Preview again.")
    command, answer = asked
    if command.payload != slip.wish():
        return _put_away("You changed the order, so the preview is put away. Preview again when it is right.")
    if answer.state is CommandState.QUEUED:
        st.info(f"Asking the engine… {silent(slip.trading)}", icon=":material/hourglass_top:")
        _back("Take it back")
        return True
    if answer.state is CommandState.REFUSED:
        st.error(f"**This cannot be ordered.** {wording.plain(answer.said)}", icon=":material/block:")
        _back("Change the order")
        return True
    return _answered(slip, key, answer.details)


def _answered(slip: Slip, key: str, told: dict[str, Any]) -> bool:
    placed = slip.trading.reader.command(told["token"]) if told.get("token") else None
    if placed and placed[1].state is CommandState.DONE:
        return _finished(slip, told)
    preview_card.show(told, slip.what, slip.trading.place)
    if placed and placed[1].state is CommandState.QUEUED:
        st.info(f"Sent to the engine, waiting for its answer… {silent(slip.trading)}", icon=":material/hourglass_top:")
    elif placed:
        st.error(f"**Not placed.** {wording.plain(placed[1].said)}", icon=":material/block:")
        _again(slip, key)
    else:
        _confirm(slip, key, told)
    return True


def _finished(slip: Slip, told: dict[str, Any]) -> bool:
    """It is placed: the ticket begins anew."""
    said = f"Placed: {wording.order_words(told['request'])}. It is under Orders of the day."
    st.toast(wording.plain(said), icon=":material/check:")
    _put_away("")
    _say("done", said)
    _say("placed", True)
    return False


def _confirm(slip: Slip, key: str, told: dict[str, Any]) -> None:
    if roles.said(Kind.PLACE, "tkt"):
        _back("Put it away")
        return
    why_not, left = preview_card.why_not(told), _seconds_left(slip, told)
    expired = left <= 0
    if expired and not why_not:
        why_not = "The preview has expired; the price may have moved."
    why_not = why_not or silent(slip.trading)
    st.button(
        preview_card.label(told, slip.trading.place),
        key="tkt_confirm",
        type="primary",
        width="stretch",
        disabled=bool(why_not),
        help=why_not or None,
        on_click=_ask_place,
        args=(slip, key, told),
    )
    show_fate(told["token"])
    st.caption(wording.plain(why_not) if why_not else f"Holds for {left:.0f} s more.")
    if expired or preview_card.why_not(told):
        _again(slip, key)
    else:
        _back("Change the order")


def _seconds_left(slip: Slip, told: dict[str, Any]) -> float:
    try:
        expires = datetime.fromisoformat(told["expires"])
        return -ago(slip.trading.clock, expires).total_seconds()
    except (KeyError, TypeError, ValueError):
        return 0.0


def _ask_place(slip: Slip, key: str, told: dict[str, Any]) -> None:
    """One order a preview: the token is the key of the wish. A field changed in the same breath sends nothing."""
    asked = slip.trading.reader.command(key)
    if asked is None or asked[0].payload != slip.wish() or preview_card.why_not(told) or _seconds_left(slip, told) <= 0:
        return
    ask(Kind.PLACE, {"preview": key, "request": told["request"]}, told["token"])


def _again(slip: Slip, key: str) -> None:
    st.button("Preview again", key="tkt_again", width="stretch", on_click=_ask_again, args=(slip, key))


def _ask_again(slip: Slip, old: str) -> None:
    if st.query_params.get("preview") == old:
        _put_away("")
        _ask_preview(slip, st.session_state.setdefault("tkt_key", uuid4().hex))


def _back(label: str) -> None:
    st.button(label, key="tkt_back", width="stretch", on_click=_put_away, args=("",))


def _put_away(why: str) -> bool:
    """No preview any more, and a new key for the next one."""
    st.query_params.pop("preview", None)
    st.session_state.pop("tkt_key", None)
    _say("gone", why)
    _say("done", "")
    return False


def _say(name: str, value: Any) -> None:
    st.session_state[f"tkt_{name}"] = value


def silent(trading: bootstrap.Trading) -> str:
    """Why nobody will answer; '' while the engine lives."""
    status = trading.reader.engine()
    if status is None:
        return "The engine has never run, so nobody answers yet."
    age = ago(trading.clock, status.beat).total_seconds()
    return f"The engine has been silent for {age:.0f} s, so nobody answers." if age > SILENT_S else ""
