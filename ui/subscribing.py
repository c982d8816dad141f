"""Tell me: what one person wants to be told of, beneath the chart for its symbol and as a list of all of it.

The rule: nobody subscribes blind. What followed a pattern so far stands beside the wish, and the wish stands there in
words before it is kept.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import streamlit as st

import patterns
from desk.authority import Deed
from desk.subscriptions import PRICES, Subscription, wish
from domain.candles import TIMEFRAMES
from domain.errors import DeskError
from domain.instruments import instrument
from domain.notices import ASKED_FOR, OF_BARS, Kind
from ui import forms, pattern_past, sign_in, subscribed, telling, wording
from ui.session import Open
from ui.subscribed import ALWAYS, EDGE
from ui.telling import Panel

KINDS = {
    Kind.PATTERN: "Pattern",
    Kind.PRICE_ABOVE: "Price above",
    Kind.PRICE_BELOW: "Price below",
    Kind.FILL: "Fills",
    Kind.BIG_TRADE: "Big trades",
    Kind.STOP_MOVED: "Stop moved",
}
FIRST_PATTERN = "Hammer"
_STYLE = """<style>
[class*="st-key-tell_row_"] { border-bottom: 1px solid var(--desk-line); padding-bottom: .2rem; }
</style>"""


@st.fragment
def tell_me(app: Open, symbol: str, tf: str) -> None:
    """Beneath the chart: a wish about the symbol shown, and those there are."""
    telling.step_out()
    try:
        _panel(Panel.of(app, "desk", symbol), tf)
    except DeskError as error:
        st.error(wording.plain(error), icon=":material/error:")


@st.fragment
def mine(app: Open) -> None:
    """Everything one person wants to be told of, and the way to more of it."""
    telling.step_out()
    try:
        _panel(Panel.of(app, "mine", ""), "15m")
    except DeskError as error:
        st.error(wording.plain(error), icon=":material/error:")


def _panel(here: Panel, tf: str) -> None:
    telling.teller(here.app)
    st.html(_STYLE)
    asked, kept = st.columns([3, 2], gap="large")
    with asked:
        _form(here, tf)
    with kept:
        subscribed.everything(here)


# The wish


def _form(here: Panel, tf: str) -> None:
    editing = _editing(here)
    about = f" about {wording.plain(here.symbol)}" if here.symbol else ""
    st.markdown(f"**{f'Change: {wording.plain(editing.words)}' if editing else f'Tell me{about}'}**")
    if here.value("tf_of") != tf:  # the chart shows other bars now
        here.put("tf_of", tf)
        here.put("tf", tf)
    kind = Kind(
        st.segmented_control(
            "Of what",
            list(KINDS),
            format_func=lambda one: KINDS[one],
            default=Kind.PATTERN,
            required=True,
            key=here.key("kind"),
            on_change=here.drop,
            args=("said",),
            label_visibility="collapsed",
            persist_state="session",
            wrap=True,
        )
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        symbol = here.symbol or _symbol(here, kind)
        if kind is Kind.PATTERN:
            _pattern(here)
        if kind in PRICES:
            _level(here, symbol)
        if kind in OF_BARS:
            _timeframe(here)
    if kind is Kind.PATTERN:
        _conditions(here)
        pattern_past.shown(here.app, symbol, here.value("pattern"), here.value("tf"), _judged(here))
    _channels(here)
    _words(here, kind)
    _buttons(here, editing)
    telling.said(here.key("said"))


def _symbol(here: Panel, kind: Kind) -> str:
    typed = st.text_input(
        "Symbol",
        key=here.key("symbol"),
        placeholder="NVDA" if kind in OF_BARS else "any",
        help=None if kind in OF_BARS else "Leave it empty for every symbol",
        width=120,
        persist_state="session",
    )
    return str(typed or "").strip().upper()


def _pattern(here: Panel) -> None:
    names = patterns.CandlestickPatterns.names()
    offered = list(dict.fromkeys([*forms.FIRST_PATTERNS, *names]))
    st.selectbox(
        "Pattern",
        offered,
        index=offered.index(FIRST_PATTERN),
        key=here.key("pattern"),
        width=230,
        persist_state="session",
    )


def _level(here: Panel, symbol: str) -> None:
    last = _last(here.app, symbol)
    st.text_input(
        "Level",
        key=here.key("level"),
        placeholder=f"last {last}" if last else "187.50",
        width=140,
        persist_state="session",
    )


def _last(app: Open, symbol: str) -> str:
    standing = app.desk.board.get(symbol) if symbol else None
    return wording.price(standing.quote.last, instrument(symbol)) if standing is not None else ""


def _timeframe(here: Panel) -> None:
    st.selectbox(
        "Bars",
        list(TIMEFRAMES),
        key=here.key("tf"),
        width=100,
        help="Only closed bars count",
        persist_state="session",
    )


def _conditions(here: Panel) -> None:
    """Every time, or only where the past speaks for it."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        when = st.segmented_control(
            "When",
            [EDGE, ALWAYS],
            default=EDGE,
            required=True,
            key=here.key("when"),
            persist_state="session",
        )
        judged = when == EDGE
        st.number_input(
            "Least edge, bps",
            min_value=0.0,
            value=0.0,
            step=1.0,
            format="%g",
            key=here.key("edge"),
            width=130,
            disabled=not judged,
            help="How much more than the base rate, in ten-thousandths; 0: anything above it",
            persist_state="session",
        )
        st.number_input(
            "Confidence, %",
            min_value=0,
            max_value=99,
            value=0,
            step=5,
            key=here.key("confidence"),
            width=130,
            disabled=not judged,
            help="The edge must be real with this probability, 1 − p; 0: not asked",
            persist_state="session",
        )


# By what


def _channels(here: Panel) -> None:
    """A switch for each channel; one that reaches nobody says why."""
    st.caption("By these channels (none switched on: by whatever is usual for it)")
    with st.container(horizontal=True, vertical_alignment="top"):
        for state in here.states:
            why, key = telling.unusable(here.app, state), here.key(f"by_{state.name}")
            with st.container(width=135, gap=None):
                st.toggle(
                    state.label,
                    key=key,
                    disabled=bool(why) and not st.session_state.get(key, False),
                    help=why or None,
                    persist_state="session",
                )
                if why:
                    st.caption(wording.plain(why.partition(":")[0]))


def _by(here: Panel) -> list[str]:
    return [state.name for state in here.states if here.value(f"by_{state.name}")]


def _words(here: Panel, kind: Kind) -> None:
    """The wish as it would be kept, or what it still needs."""
    try:
        wished = _wished(here)
    except (DeskError, ValueError) as error:
        st.caption(f":material/edit: Not complete yet: {wording.plain(error)}")
        return
    st.info(wording.plain(sentence(here, wished)), icon=":material/notifications:")
    if not here.reaching(wished):
        st.warning(
            "None of these channels reaches you now: the history would have a line, and you nothing.",
            icon=":material/notifications_off:",
        )
    if there := _there_already(here, wished):
        st.caption(f":material/info: {wording.plain(there)}")
    if kind not in ASKED_FOR and telling.sees_all(here.app):
        usual = here.rules.channels(kind)
        if usual:
            st.caption(f"The desk's rules tell an owner of this anyway, by {telling.listed(usual)}; this adds to it.")


def _there_already(here: Panel, wished: Subscription) -> str:
    """That a price is on the far side of the level as it is: it is told when it comes back and crosses."""
    standing = here.app.desk.board.get(wished.symbol) if wished.level is not None else None
    if standing is None or wished.level is None:
        return ""
    last, above = standing.quote.last, wished.kind is Kind.PRICE_ABOVE
    if last == wished.level or (last > wished.level) is not above:
        return ""
    side, other = ("above", "below") if above else ("below", "above")
    price = wording.price(last, instrument(wished.symbol))
    return f"{wished.symbol} is {side} it already, at {price}: a bar has to close {other} it first, then it counts."


def sentence(here: Panel, wished: Subscription) -> str:
    """`Tell me by Slack when a Hammer with an edge above the base rate appears on NVDA 15m.`"""
    return f"Tell me by {_way(here, wished)} {when(wished)}."


def _way(here: Panel, wished: Subscription) -> str:
    if wished.channels:
        return telling.listed(wished.channels)
    usual = here.reaching(wished) or here.rules.channels(wished.kind)
    return f"what is usual for this ({telling.listed(usual)})" if usual else "no channel at all"


def when(wished: Subscription) -> str:
    """The occasion in words."""
    if wished.kind is Kind.PATTERN:
        what, _, where = wished.words.rpartition(" on ")
        return f"when {'an' if what[:1] in 'AEIOU' else 'a'} {what} appears on {where}"
    if wished.kind in PRICES:
        return f"when {wished.words}"
    of = f" in {wished.symbol}" if wished.symbol else ""
    return {
        Kind.FILL: f"of every fill{of}",
        Kind.BIG_TRADE: f"of every big trade{of}",
        Kind.STOP_MOVED: f"when a stop{of} is moved",
    }.get(wished.kind, f"of: {wished.words}")


def _wished(here: Panel) -> Subscription:
    """What the fields say. DeskError names what is wrong."""
    kind = Kind(here.value("kind") or Kind.PATTERN)
    about = here.symbol or str(here.value("symbol") or "").strip().upper()
    if kind in OF_BARS and not about:
        raise DeskError("Symbol: choose one, such as NVDA")
    given: dict[str, Any] = {"symbol": about, "channels": _by(here)}
    if kind in OF_BARS:
        given["timeframe"] = str(here.value("tf") or "")
    if kind in PRICES:
        given["level"] = str(here.value("level") or "").replace(",", "").strip()
        if not given["level"]:
            raise DeskError("Level: write the price, such as 187.50")
    if kind is Kind.PATTERN:
        given["pattern"] = str(here.value("pattern") or "")
        given["least_edge_bps"], given["least_confidence"] = _asked_of_past(here)
    return wish(here.app.people.person, kind.value, **given)


def _judged(here: Panel) -> Subscription | None:
    """What is asked of its past; None where nothing is."""
    edge, confidence = _asked_of_past(here)
    if edge is None and not confidence:
        return None
    return Subscription("", Kind.PATTERN, least_edge_bps=edge, least_confidence=confidence)


def _asked_of_past(here: Panel) -> tuple[float | None, float]:
    if here.value("when") == ALWAYS:
        return None, 0.0
    return float(here.value("edge") or 0.0), int(here.value("confidence") or 0) / 100


def _buttons(here: Panel, editing: Subscription | None) -> None:
    with st.container(horizontal=True):
        st.button(
            "Save the change" if editing else "Tell me",
            key=here.key("save"),
            type="primary",
            icon=":material/notifications_active:",
            on_click=_keep,
            args=(here, editing),
        )
        if not any(not telling.unusable(here.app, state) for state in here.states):
            telling.to_settings(here.key("setup"), "Set up a channel")
        if editing:
            st.button("Leave it as it was", key=here.key("cancel"), on_click=here.drop, args=("editing",))


def _keep(here: Panel, editing: Subscription | None) -> None:
    """In a callback: keep what the fields say; where that cannot be, every field stays as it is."""
    try:
        sign_in.must(Deed.OWN_CHOICES)
        wished = _wished(here)
        if wished.symbol:
            here.app.desk.probe(wished.symbol)
        if editing:
            here.app.people.all.change(editing.id, replace(wished, on=editing.on))
        else:
            here.app.people.all.subscribe(wished)
    except (DeskError, ValueError) as error:
        here.put("said", (False, wording.sentence(str(error))))
        return
    here.drop("editing")
    here.put("said", (True, f"Kept. {sentence(here, wished)}"))


def _editing(here: Panel) -> Subscription | None:
    """The one that is being changed; None where it is gone by now, or the chart shows another symbol."""
    found = (one for one in here.app.people.subscriptions() if one.id == here.value("editing"))
    return next((one for one in found if here.symbol in ("", one.symbol)), None)
