"""The fields of a backtest's question: symbols, span, strategies side by side, rules, a sweep."""

from __future__ import annotations

from datetime import date

import streamlit as st

from backtest.setup import KINDS, SIZINGS, Setup
from domain import registry
from domain.candles import TIMEFRAMES
from domain.errors import DeskError
from domain.instruments import KNOWN
from domain.matching import FillRules
from domain.params import params_of
from strategies.base import find, unusable
from ui import backtest_draft as kept
from ui import filters_form, wording
from ui.param_fields import field as _field
from ui.session import Open

EXIT_NAMES = {"stop": "Stop", "target": "Target", "trail": "Trailing stop"}
EXIT_WORDS = {"": "none", "atr": "ATR", "pct": "% of price", "price distance": "in price"}
SIZE_WORDS = {"equity": "Share of equity", "risk": "Risk at the stop", "shares": "Fixed quantity"}
FIRST_DAY = date(1980, 1, 1)


def fields(app: Open) -> kept.Draft:
    """All fields; the draft they hold now."""
    now = kept.draft(app)
    _what(app, now)
    now = kept.collect()
    _strategies(now)
    now = kept.collect()
    _rules(now["setup"])
    _sweep_fields(now)
    return kept.collect()


def _what(app: Open, now: kept.Draft) -> None:
    left, right = st.columns([3, 2])
    own = [
        *app.people.watchlist(),
        *(h.symbol for h in app.desk.market.holdings()),
        *(k.symbol for k in app.desk.market.kept()),
    ]
    offered = list(dict.fromkeys([*now["symbols"], *own, *KNOWN]))
    left.multiselect(
        "Symbols",
        offered,
        key=kept.held("symbols", list(now["symbols"])),
        format_func=lambda s: f"{s} · {KNOWN[s].name}" if s in KNOWN and KNOWN[s].name else s,
        accept_new_options=True,
        placeholder="AAPL, or several",
    )
    right.segmented_control("Bars", list(TIMEFRAMES), key=kept.held("interval", now["interval"]), required=True)
    first, last, source, share = st.columns([1, 1, 2, 1], vertical_alignment="bottom")
    for column, name, label, empty in (
        (first, "start", "First day", "five years back"),
        (last, "end", "Last day", "today"),
    ):
        value = date.fromisoformat(now[name]) if now[name] else None
        column.date_input(
            label,
            key=kept.held(name, value),
            min_value=FIRST_DAY,
            max_value=date(2100, 1, 1),
            format="YYYY-MM-DD",
            help=f"A day of the exchange, included. Empty: {empty}.",
        )
    sources = registry.names("feeds") if now["source"] else ["", *registry.names("feeds")]
    source.selectbox(
        "Prices from",
        sources,
        key=kept.held("source", now["source"]),
        format_func=source_words,
    )
    if len(now["symbols"]) > 1:
        share.toggle(
            "One account for all",
            key=kept.held("share_cash", now["share_cash"]),
            help="Off: each symbol has the whole cash to itself",
        )


def source_words(name: str) -> str:
    """A source for a person; files and kept candles come first with each of them."""
    return str(registry.part("feeds", name).label) if name else "The desk's own"


def _strategies(now: kept.Draft) -> None:
    for name, why in unusable().items():
        st.warning(wording.plain(f"The strategy {name} is left out: {why}"), icon=":material/warning:")
    for number, one in enumerate(now["strategies"], 1):
        with st.container(border=True, key=kept.key_of(f"card_{one['id']}")):
            _one_strategy(number, one, alone=len(now["strategies"]) == 1)
    if len(now["strategies"]) < kept.MOST_STRATEGIES:
        st.button("Add a strategy beside it", icon=":material/add:", key=kept.key_of("add"), on_click=kept.add)


def _one_strategy(number: int, one: kept.Draft, *, alone: bool) -> None:
    declared = kept.declared(one["name"])
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        known = kept.offered()
        st.selectbox(
            f"Strategy {number}",
            known if one["name"] in known else [one["name"], *known],
            key=kept.held(f"s{one['id']}", one["name"]),
            format_func=lambda name: str(find(name).label) if name in known else f"{name} (gone)",
            width=190,
        )
        for name, param in declared.items():
            _field(param, kept.held(f"s{one['id']}_{one['name']}_{name}", kept.cast(param, one["params"])))
        if not alone:
            st.button(
                "Remove",
                icon=":material/close:",
                key=kept.key_of(f"drop_{one['id']}"),
                on_click=kept.drop,
                args=(one["id"],),
                help=f"Remove strategy {number}",
            )
    if one["name"] in known:
        st.caption(str(find(one["name"]).about))
    if said := kept.strategy_complaint(one):
        st.error(wording.plain(f"Strategy {number}: {said}"), icon=":material/error:")


# Rules


def _rules(now: kept.Draft) -> None:
    with st.expander("Costs, sizing and exits", icon=":material/tune:", key="bt_rules"):
        costs, size, exits = st.columns(3)
        with costs:
            _costs(now)
        with size:
            _sizing(now)
        with exits:
            _exits(now)
    with st.expander("Filters", icon=":material/filter_alt:", key="bt_filters"):
        filters_form.fields(now["filters"], now["good_for"], kept.held)
    st.caption(wording.plain(rules_words(kept.collect()["setup"])))


def rules_words(given: kept.Draft) -> str:
    """The rules in one line; what is wrong with them where they cannot be."""
    try:
        return Setup.of(given).words
    except (DeskError, ValueError, TypeError) as error:
        return str(error)


def _costs(now: kept.Draft) -> None:
    st.markdown("**Costs**")
    known = params_of(FillRules)
    with st.container(horizontal=True):
        for name, label in (
            ("half_spread_bps", "Half spread, bps"),
            ("slippage_bps", "Slippage, bps"),
            ("volume_cap", "Of the volume"),
        ):
            _field(known[name], kept.held(f"fills_{name}", now["fills"][name]), label)
    st.caption("Commission")
    with st.container(horizontal=True):
        for name, label in kept.COMMISSION.items():
            amount = float(now["fills"]["commission"][name])
            st.number_input(label, step=0.01, format="%g", key=kept.held(f"fee_{name}", amount), width=115)
    for name, label in (
        ("regulatory_fees", "SEC and FINRA fees"),
        ("ignore_volume", "Prices without volume: no cap"),
        ("touch_fills", "A touched target fills"),
    ):
        _field(known[name], kept.held(f"fills_{name}", now["fills"][name]), label)


def _sizing(now: kept.Draft) -> None:
    known = params_of(Setup)
    st.markdown("**Sizing**")
    st.radio(
        "An exposure becomes a quantity by",
        list(SIZINGS),
        key=kept.held("setup_sizing", now["sizing"]),
        format_func=SIZE_WORDS.get,
    )
    by = {"equity": ("fraction",), "risk": ("risk_per_trade", "max_position_pct"), "shares": ("shares",)}
    labels = {
        "fraction": "Of the equity",
        "risk_per_trade": "Share at risk",
        "max_position_pct": "Position at most, %",
        "shares": "Quantity",
        "cash": "Starting cash",
        "leverage": "Leverage at most",
    }
    with st.container(horizontal=True):
        for name in (*by[kept.value_of("setup_sizing", now["sizing"])], "cash", "leverage"):
            step = 1000.0 if name == "cash" else 0.005 if name == "risk_per_trade" else None
            width = 165 if name == "cash" else 125
            _field(known[name], kept.held(f"setup_{name}", now[name]), labels[name], step=step, width=width)
    _field(known["short"], kept.held("setup_short", now["short"]), "Short sales allowed")


def _exits(now: kept.Draft) -> None:
    known = params_of(Setup)
    st.markdown("**Exits**")
    for name in kept.EXITS:
        there = now[name]
        with st.container(horizontal=True, vertical_alignment="bottom"):
            kind = st.selectbox(
                EXIT_NAMES[name],
                ["", *KINDS],
                key=kept.held(f"{name}_kind", there["kind"] if there else ""),
                format_func=EXIT_WORDS.get,
                width=125,
            )
            if kind:
                st.number_input(
                    "How many" if kind == "atr" else "How much",
                    step=0.5,
                    format="%g",
                    key=kept.held(f"{name}_amount", there["amount"] if there else 2.0),
                    width=110,
                )
            if kind == "atr":
                st.number_input(
                    "ATR bars", step=1, key=kept.held(f"{name}_period", there["period"] if there else 14), width=100
                )
    with st.container(horizontal=True):
        _field(known["max_bars"], kept.held("setup_max_bars", now["max_bars"]), "Bars at most")
    if now["sizing"] == "risk" and not (now["stop"] or now["trail"]):
        st.warning("Sizing by risk needs a stop or a trailing stop.", icon=":material/warning:")


def _sweep_fields(now: kept.Draft) -> None:
    first = now["strategies"][0]
    ranges = kept.ranges_of(first["name"])
    if not ranges:
        return
    swept = now["sweep"]
    with st.expander("Sweep over two parameters", icon=":material/grid_on:", key="bt_sweep"):
        st.toggle(
            f"Try every combination of two parameters of strategy 1, {find(first['name']).label}",
            key=kept.held("sweep", bool(swept)),
            help="Shows whether the best point stands on a plateau or alone. Every combination counts as a trial.",
        )
        if not kept.value_of("sweep", False):
            return
        usual = [*(swept or {}), *(name for name in ranges if name not in (swept or {}))]
        for at in (0, 1):
            _sweep_field(at, usual, ranges, swept)


def _sweep_field(at: int, usual: list[str], ranges: dict[str, list[float]], swept: kept.Draft | None) -> None:
    offered: list[str | None] = [*ranges] if at == 0 else [*ranges, None]
    key = kept.held(f"sweep_{at}", usual[at] if at < len(usual) else None)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        label = "Across" if at == 0 else "Down"
        name = st.selectbox(label, offered, key=key, format_func=lambda n: n or "nothing", width=150)
        if name is None:
            return
        values = (swept or {}).get(name) or ranges[name]
        for part, value in zip(kept.PARTS, values, strict=True):
            whole = isinstance(ranges[name][2], int)
            shown = int(value) if whole else float(value)
            step, form = (1, "%d") if whole else (0.1, "%g")
            st.number_input(part, step=step, format=form, key=kept.held(f"sweep_{at}_{name}_{part}", shown), width=110)


def sweep_words(now: kept.Draft) -> str:
    """How many combinations it tries."""
    if not now["sweep"]:
        return "off"
    counts = [
        max(0, int((high - low) / step + 1e-9) + 1) if step > 0 else 0 for low, high, step in now["sweep"].values()
    ]
    count = counts[0] if counts else 0
    for more in counts[1:]:
        count *= more
    return f"{count:,} combinations of {' and '.join(now['sweep'])}"


def run_words(now: kept.Draft) -> str:
    """What pressing Run will do."""
    symbols, runs = len(now["symbols"]), len(now["strategies"])
    said = [
        f"{runs} {'strategy' if runs == 1 else 'strategies'} on {symbols} {'symbol' if symbols == 1 else 'symbols'}"
    ]
    said += [sweep_words(now)] if now["sweep"] else []
    said += ["a verdict each" if runs > 1 else "a verdict"] if now["judged"] else ["no verdict"]
    return ", ".join(said)
