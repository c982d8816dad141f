"""Start a strategy, or let it take over symbols from another: retire there and adopt here, in one question.

The rule: the dialog says what becomes of every position before anything is asked. The wishes go in this order: the old
ones are retired, what is to be sold is closed, the new one is adopted; the engine may refuse each for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any, NamedTuple

import streamlit as st

import bootstrap
from backtest.setup import Entry, Exit, Setup
from domain.candles import TIMEFRAMES
from domain.commands import Kind
from domain.errors import DeskError
from domain.instruments import KNOWN, instrument
from domain.params import build, params_of
from strategies.base import find, names, unusable
from ui import adopting, bot_ladder, bot_reading, dialogs, filters_form, roles, wording
from ui.asking import ask, fate, show_fate
from ui.bot_ladder import title
from ui.bot_reading import Work
from ui.param_fields import cast, field
from ui.session import Open

USUAL = Setup(cash=10_000.0, fraction=0.2, short=False, stop=Exit("pct", 1.0), target=Exit("pct", 2.0))
_LAST = "bot_start_last"
USUAL_STRATEGY = "sma_crossover"
OWN_RULES = "Stop 1 %, target 2 %, a fifth of its money in each position, long only"
BY_ATR = replace(USUAL, stop=Exit("atr", 2.0), target=Exit("atr", 3.0))
PRESETS = {
    OWN_RULES: USUAL,
    "The same, entered by limit orders 0.1 % below the bid, let go after 2 minutes": replace(USUAL, entry=Entry()),
    "Stop 2 ATR, target 3 ATR, a fifth of its money in each position, long only": BY_ATR,
    "Each trade risks 1 % of its money: stop 2 ATR, target 3 ATR, long only": replace(BY_ATR, sizing="risk"),
    "Trailing stop 1 %, target 2 %, a fifth of its money in each position, long only": replace(
        USUAL, stop=None, trail=Exit("pct", 1.0)
    ),
    "Stop 2 ATR, trailing by 2 ATR, no target, long only": replace(BY_ATR, target=None, trail=Exit("atr", 2.0)),
}


class Step(NamedTuple):
    """One command of several, under a key of its own."""

    kind: Kind
    payload: dict[str, Any]
    key: str


@dialogs.dialog
@st.dialog("Start a strategy", width="large")
def start_strategy(app: Open, key: str) -> None:
    if roles.said(Kind.ADOPT, f"start_{key}"):
        return
    with st.empty().container():
        if (asked := _asked(key)) is not None:
            _told(asked)
            return
        adopting.in_research()
        at_work = bot_reading.works()
        wish = _fields(app, at_work, key)
        how = _how(key)
        for said in consequences(at_work, wish["symbols"], **how):
            st.warning(wording.plain(said), icon=":material/inventory:")
        if way := giving_way(at_work, wish["symbols"]):
            st.checkbox("Sell at market what they hold in these symbols", key=f"start_sell_{key}")
            if any(set(work.adoption.symbols) - set(wish["symbols"]) for work in way):
                st.checkbox("Put them back to work on their other symbols", key=f"start_again_on_{key}")
        steps = steps_of(at_work, wish, key, **how)
        why_not = complaint(wish)
        st.button(
            "Retire the old and start this" if len(steps) > 1 else "Start it",
            key=f"start_go_{key}",
            type="primary",
            width="stretch",
            disabled=bool(why_not),
            help=why_not or None,
            on_click=_ask,
            args=(steps, lambda: steps_of(bot_reading.works(), _wish(key), key, **_how(key)), key),
        )
        if st.session_state.get(f"start_again_{key}"):
            st.info("Something changed as you pressed. Nothing was sent: look again and press once more.")
        for step in steps:
            show_fate(step.key)
        if why_not:
            st.caption(wording.plain(why_not))


def _asked(key: str) -> list[Step] | None:
    """What was asked already, once anything of it has reached the inbox."""
    steps: list[Step] = st.session_state.get(f"start_steps_{key}", [])
    return steps if any(fate(step.key).state in ("queued", "done", "refused") for step in steps) else None


def _ask(steps: Sequence[Step], now: Callable[[], list[Step]], key: str) -> None:
    """All of them in their order; none where the desk or a field has changed since they were drawn."""
    st.session_state[f"start_again_{key}"] = changed = list(steps) != now()
    if changed:
        return
    st.session_state[f"start_steps_{key}"] = st.session_state[_LAST] = list(steps)
    for step in steps:
        ask(step.kind, step.payload, step.key)


def outcome() -> None:
    """What became of the last ones asked, on the page: the dialog goes when the strategies at work change."""
    if steps := st.session_state.get(_LAST):
        with st.container(border=True, key="bot_start_outcome"):
            _told(steps)
            st.button("Close", key="bot_start_seen", on_click=st.session_state.pop, args=(_LAST, None))


def _told(steps: Sequence[Step]) -> None:
    for step in steps:
        st.caption(wording.plain(_words(step)))
        show_fate(step.key)


def _words(step: Step) -> str:
    payload = step.payload
    return {
        Kind.RETIRE: f"Retire {payload.get('id')}",
        Kind.CLOSE: f"Sell {payload.get('quantity')} {payload.get('symbol')}",
        Kind.ADOPT: f"Start {payload.get('strategy')} on {bot_ladder.symbols(payload.get('symbols', []))}",
    }[step.kind]


# The fields


def _held(key: str) -> Callable[[str, Any], str]:
    def held(name: str, value: Any) -> str:
        st.session_state.setdefault(f"start_{name}_{key}", value)
        return f"start_{name}_{key}"

    return held


def _value(key: str) -> Callable[[str, Any], Any]:
    return lambda name, otherwise: st.session_state.get(f"start_{name}_{key}", otherwise)


def _fields(app: Open, at_work: Sequence[Work], key: str) -> dict[str, Any]:
    held, broken = _held(key), unusable()
    usable = [name for name in names() if name not in broken]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        chosen = st.selectbox(
            "Strategy",
            usable,
            key=held("strategy", USUAL_STRATEGY if USUAL_STRATEGY in usable else usable[0]),
            format_func=lambda n: str(find(n).label),
            width=220,
        )
        for param in params_of(find(chosen)).values():
            field(param, held(f"p_{chosen}_{param.name}", cast(param, {})))
    offered = dict.fromkeys([s for work in at_work for s in work.adoption.symbols] + [*app.people.watchlist(), *KNOWN])
    left, right = st.columns([3, 2])
    left.multiselect("Symbols", list(offered), key=held("symbols", []), accept_new_options=True)
    right.segmented_control("Bars", list(TIMEFRAMES), key=held("interval", "5m"), required=True)
    rules = {**PRESETS, **{title(work.adoption): work.adoption.setup for work in at_work}}
    st.session_state[f"start_known_{key}"] = rules
    picked = st.selectbox(
        "Rules", list(rules), key=held("rules", OWN_RULES), help="Sizes, costs, stop, target and trailing stop"
    )
    with st.expander("Filters", icon=":material/filter_alt:", key=f"start_open_{key}"):
        written = rules.get(picked, USUAL).to_dict()
        filters_form.fields(written["filters"], written["good_for"], held)
    accounts = [info.name for info in bootstrap.trading().reader.accounts()]
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        if len(accounts) > 1:
            st.selectbox("Account", accounts, key=held("account", accounts[0]), width=160)
        most, said = adopting.most_money(rules.get(picked, USUAL), _value(key)("account", next(iter(accounts), "")))
        st.number_input("Its money", min_value=1.0, step=100.0, format="%.0f", key=held("cash", float(most)), width=170)
    st.caption(wording.plain(said.replace("The backtest began", "The rules begin")))
    wish = _wish(key)
    st.caption(wording.plain(adopting.rules_words(wish["setup"])))
    return wish


def _wish(key: str) -> dict[str, Any]:
    """The fields as the payload of ADOPT."""
    value = _value(key)
    strategy = str(value("strategy", ""))
    rules: Mapping[str, Setup] = st.session_state.get(f"start_known_{key}", {})
    written = rules.get(value("rules", OWN_RULES), USUAL).to_dict()
    setup = written | filters_form.chosen(written["filters"], written["good_for"], value)
    declared = params_of(find(strategy)) if strategy in names() else {}
    accounts = [info.name for info in bootstrap.trading().reader.accounts()]
    return {
        "strategy": strategy,
        "params": {name: value(f"p_{strategy}_{name}", cast(one, {})) for name, one in declared.items()},
        "symbols": [_symbol(one) for one in value("symbols", [])],
        "interval": str(value("interval", "5m")),
        "setup": {**setup, "cash": float(value("cash", None) or USUAL.cash), "exits_from": "signal"},
        "account": str(value("account", next(iter(accounts), ""))),
    }


def _symbol(text: str) -> str:
    try:
        return instrument(text).symbol
    except (DeskError, ValueError):
        return text


def _how(key: str) -> dict[str, bool]:
    """What is ticked: whether positions are `sold`, and whether what gives way starts `again` on its other symbols."""
    ticked = {"sold": f"start_sell_{key}", "again": f"start_again_on_{key}"}
    return {name: bool(st.session_state.get(of)) for name, of in ticked.items()}


def complaint(wish: Mapping[str, Any]) -> str:
    """Why it cannot be asked for; '' where it can."""
    if not wish["symbols"]:
        return "Name at least one symbol."
    try:
        build(find(wish["strategy"]), dict(wish["params"]))
        for symbol in wish["symbols"]:
            instrument(symbol)
        setup = Setup.of(wish["setup"])
    except (DeskError, ValueError, TypeError) as error:
        return str(error)
    return adopting.not_kept(setup)


# What becomes of those that give way


def giving_way(at_work: Sequence[Work], symbols: Sequence[str]) -> list[Work]:
    """The strategies that trade one of these symbols now."""
    return [work for work in at_work if set(work.adoption.symbols) & set(symbols)]


def consequences(at_work: Sequence[Work], symbols: Sequence[str], *, sold: bool, again: bool) -> list[str]:
    """A sentence or two for each strategy that gives way: its positions, and the symbols that nobody trades then."""
    said = []
    for work in giving_way(at_work, symbols):
        given = [s for s in work.adoption.symbols if s in symbols]
        others = [s for s in work.adoption.symbols if s not in symbols]
        words = [f"{title(work.adoption)} ({work.adoption.id}) is retired first, and trades no more."]
        if held := _shares(work, given):
            stays = (
                f"What it holds stays under its stops and is yours: {held}. The new strategy opens nothing there until "
            )
            words.append(f"{held} is sold at market." if sold else f"{stays}that is closed.")
        if others:
            anew = "begins anew there, with the money it began with" if again else "no strategy trades them then"
            words.append(f"Its other symbols, {bot_ladder.symbols(others)}: {anew}.")
        if left := _shares(work, others):
            stays = "; it opens nothing there until that is closed" if again else ""
            words.append(f"It leaves you {left}, under its stops{stays}.")
        said.append(" ".join(words))
    return said


def _shares(work: Work, symbols: Sequence[str]) -> str:
    return ", ".join(f"{wording.quantity(own)} {s}" for s, own in work.held.items() if s in symbols)


def steps_of(at_work: Sequence[Work], wish: dict[str, Any], key: str, *, sold: bool, again: bool) -> list[Step]:
    """The commands in the order they are asked."""
    steps, anew = list[Step](), list[Step]()
    for work in giving_way(at_work, wish["symbols"]):
        one = work.adoption
        steps.append(Step(Kind.RETIRE, {"id": one.id}, f"{key}-retire-{one.id}"))
        held = {s: abs(own) for s, own in work.held.items() if sold and s in wish["symbols"]}
        steps += [_sale(one.account, symbol, shares, key) for symbol, shares in held.items()]
        others = [symbol for symbol in one.symbols if symbol not in wish["symbols"]]
        if again and others:
            same = {"strategy": one.strategy, "params": one.params, "interval": one.interval, "account": one.account}
            same |= {"symbols": others, "setup": one.setup.to_dict()}
            anew.append(Step(Kind.ADOPT, same, f"{key}-again-{one.id}"))
    return [*steps, Step(Kind.ADOPT, wish, f"{key}-adopt"), *anew]


def _sale(account: str, symbol: str, shares: Decimal, key: str) -> Step:
    payload = {"account": account, "symbol": symbol, "quantity": format(shares, "f"), "type": "market"}
    return Step(Kind.CLOSE, payload, f"{key}-close-{symbol}"[:80])
