"""Frames made ready to be read in a table: which columns, in which words, with which formats."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import streamlit as st

import patterns
from desk.records import HeardFill, OrderEvent
from domain.calendars import NEW_YORK
from domain.instruments import instrument
from domain.orders import AT_BROKER, Order, Side, Status
from research.edge import pattern_edge
from ui import wording
from ui.holdings import Holding
from ui.palettes import Worn
from ui.theme import Name, value
from ui.views import View, axis_zone, visible

SIDES = {1: "▲ bullish", -1: "▼ bearish", 0: "◆ neutral"}
NEWEST = 40
CANCELLABLE = (AT_BROKER | {Status.NEW}) - {Status.CANCELLING}
EDGE_DAYS = {"1m": 7, "5m": 45, "15m": 120, "1h": 500, "4h": 1500, "1d": 4000}


def pattern_table(candles: pd.DataFrame, instrument: Any, view: View) -> pd.DataFrame:
    """The newest marked patterns, newest first: time, pattern, side and why."""
    shown = visible(candles, instrument, view).tail(view.bars)
    found = patterns.marks(shown, view.patterns).tail(NEWEST).iloc[::-1]
    side = found["side"].map(SIDES)
    zone = axis_zone(instrument, view)
    times = shown.index[found["position"].to_numpy()].tz_convert(zone).tz_localize(None)
    return pd.DataFrame(
        {
            "Time": times,
            "Pattern": found["label"].to_numpy(),
            "Side": side.to_numpy(),
            "Why": found["text"].to_numpy(),
        }
    )


def pattern_columns(instrument: Any, view: View) -> dict[str, Any]:
    """How they are shown: times in the chart's own zone."""
    zone = "New York" if axis_zone(instrument, view) == "America/New_York" else "UTC"
    daily = view.tf == "1d"
    return {
        "Time": st.column_config.DatetimeColumn(
            f"Time ({zone})",
            format="YYYY-MM-DD" if daily else "ddd DD MMM HH:mm",
            timezone=view.zone,
            width="small",
        ),
        "Pattern": st.column_config.TextColumn(width="small"),
        "Side": st.column_config.TextColumn(width="small"),
        "Why": st.column_config.TextColumn(width="large"),
    }


@st.cache_data(ttl=600, max_entries=64, show_spinner="Resampling history two thousand times …")
def edge_table(candles: pd.DataFrame, names: tuple[str, ...], horizon: int) -> pd.DataFrame:
    """The pattern edge (`research.edge`), cached by the bars it was worked out on."""
    return pattern_edge(candles, list(names) or None, horizon=horizon)


def edge_span(candles: pd.DataFrame, view: View) -> str:
    """Which bars the table was worked out on."""
    if candles.empty:
        return "No candles to test on yet."
    first, last = (t.tz_convert(view.zone).strftime("%d %b %Y") for t in (candles.index[0], candles.index[-1]))
    return f"{len(candles):,} closed {view.tf} bars, {first} to {last}, before costs."


def edge_view(table: pd.DataFrame) -> pd.DataFrame:
    """The edge in percent, the surest first; what was too rare to test at the end."""
    shown = table.sort_values(["p_corrected", "count"], ascending=[True, False], na_position="last")
    percent = {
        "Edge": shown["edge"],
        "Low 95 %": shown["low"],
        "High 95 %": shown["high"],
        "Hit rate": shown["hit_rate"],
        "Hits over base": shown["hit_edge"],
    }
    return pd.DataFrame(
        {
            "Pattern": shown["pattern"].map(_label),
            "Taken": shown["side"].map({"bullish": "▲ long", "bearish": "▼ short"}),
            "Times": shown["count"],
            **{name: column * 100 for name, column in percent.items()},
            "p corrected": shown["p_corrected"],
            "Verdict": shown["verdict"],
        }
    )


_PERCENT = {name: st.column_config.NumberColumn(format="%+.3f %%") for name in ("Edge", "Low 95 %", "High 95 %")}
EDGE_COLUMNS: dict[str, Any] = {
    **_PERCENT,
    "Hit rate": st.column_config.NumberColumn(format="%.1f %%"),
    "Hits over base": st.column_config.NumberColumn(format="%+.1f %%"),
    "p corrected": st.column_config.NumberColumn(format="%.3f", help="Holm, over all patterns in this table"),
    "Verdict": st.column_config.TextColumn(width="medium"),
}

FILE_RULES = """
One file a symbol: `AAPL.csv`, `AAPL_5m.csv`, `BTCUSDT_1h.parquet`, or many symbols in one file with a `symbol` column.

Columns, in any case and order: a time (`timestamp`, `date`, `datetime` or `time`), `open`, `high`, `low`, `close`,
`volume`. Timeframes: 1m, 5m, 15m, 1h, 4h, 1d; coarser ones are made from finer ones. A file with one wrong row is
not used until the row is mended; the others are.
"""


def kept_table(kept: list[Any]) -> pd.DataFrame:
    """What the store holds, one line a symbol and timeframe."""
    return _rows(
        {
            "Symbol": k.symbol,
            "Timeframe": k.timeframe,
            "First": _when(k.first, k.timeframe),
            "Last": _when(k.last, k.timeframe),
            "Bars": k.rows,
            "From": ", ".join(k.sources),
            "Size": f"{k.size / 1024:,.0f} KiB",
        }
        for k in kept
    )


def refused_table(refused: list[Any]) -> pd.DataFrame:
    """The user's files that are not used: which, where in them, and why."""
    return _rows(
        {"File": r.file, "Row": str(r.row) if r.row > 0 else "whole file", "Rule": r.rule, "What to mend": r.message}
        for r in refused
    )


REFUSED_COLUMNS: dict[str, Any] = {
    "File": st.column_config.TextColumn(width="small"),
    "Row": st.column_config.TextColumn(width="small"),
    "Rule": st.column_config.TextColumn(width="small"),
    "What to mend": st.column_config.TextColumn(width="large"),
}


def holdings_table(held: list[Any]) -> pd.DataFrame:
    """What the user's files give."""
    return _rows(
        {
            "Symbol": h.symbol,
            "Timeframe": h.timeframe,
            "File": h.file,
            "First": _when(h.first, h.timeframe),
            "Last": _when(h.last, h.timeframe),
            "Bars": h.rows,
        }
        for h in held
    )


def _label(name: str) -> str:
    known = patterns.PATTERNS.get(name)
    return known.label if known else name


def _when(moment: datetime | None, timeframe: str) -> str:
    """A bar's open in New York's words; a day alone for daily bars."""
    if moment is None:
        return "–"
    return f"{moment.astimezone(NEW_YORK):%Y-%m-%d}" + (
        "" if timeframe == "1d" else f"{moment.astimezone(NEW_YORK): %H:%M}"
    )


def _rows(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(list(rows))


# Orders, positions and fills: amounts are text, so that no number is ever rounded by a column


ORDER_MENU = {
    "story": ":material/history: What happened",
    "change": ":material/edit: Change",
    "cancel": ":material/close: Cancel",
}
ONLY_STORY = ":material/history:"  # a menu of one is drawn as a button, and only its icon fits
POSITION_MENU = {
    "100": ":material/close: Close",
    "25": "Close 25 %",
    "50": "Close 50 %",
    "75": "Close 75 %",
    "protect": ":material/shield: Edit stop and target",
    "chart": ":material/candlestick_chart: Chart",
}
ONLY_CHART = ":material/candlestick_chart:"
TRADES = {Side.BUY: "▲ buy", Side.SELL: "▼ sell"}


def orders_table(
    orders: Sequence[Order], zone: str, levels: Mapping[str, Decimal | None] | None = None
) -> pd.DataFrame:
    """Orders in words, in the order given; open ones can be changed and cancelled from their menu. `levels`: where the
    trailing stops among them have come to, by order."""
    stands = levels or {}
    return _rows(
        {
            "Do": list(ORDER_MENU.values()) if order.status in CANCELLABLE else [ONLY_STORY],
            "Time": wording.hour(order.created, zone),
            "Order": wording.order_words(order.request, stands.get(order.id)),
            "For": str(order.request.purpose),
            "State": ("● " if order.open else "") + wording.STATES[order.status],
            "Filled": f"{wording.quantity(order.filled)} / {wording.quantity(order.request.quantity)}",
            "Average": _average(order),
            "Why": " ".join(order.reasons),
        }
        for order in orders
    )


def _average(order: Order) -> str:
    return wording.price(order.average_price, instrument(order.request.symbol))


def order_columns(zone: str, *, on_click: Callable[[], None], key: str) -> dict[str, Any]:
    """How they are shown; a choice in a menu lands in `st.session_state[key]`."""
    return {
        "Do": st.column_config.ButtonColumn("", width=44, on_click=on_click, key=key, type="tertiary", pinned=True),
        "Time": st.column_config.TextColumn(f"Time ({wording.zone_name(zone)})", width=150),
        "Order": st.column_config.TextColumn(width=310),
        "For": st.column_config.TextColumn(width=105),
        "State": st.column_config.TextColumn(width=150),
        "Filled": st.column_config.TextColumn(width=80, alignment="right"),
        "Average": st.column_config.TextColumn(width=80, alignment="right"),
        "Why": st.column_config.TextColumn(width="large"),
    }


def events_table(events: Sequence[OrderEvent], zone: str) -> pd.DataFrame:
    """How an order got where it is."""
    return _rows(
        {
            "Time": wording.hour(event.at, zone),
            "Became": wording.STATES[event.after],
            "Why": " ".join(event.reasons) or wording.NOTHING,
        }
        for event in events
    )


def fills_table(fills: Sequence[HeardFill], zone: str) -> pd.DataFrame:
    """Fills in words."""
    return _rows(
        {
            "Time": wording.hour(each.fill.time, zone),
            "Symbol": each.fill.symbol,
            "Side": TRADES[each.fill.side],
            "Quantity": wording.quantity(each.fill.quantity),
            "Price": wording.quantity_price(each.fill.price),
            "Fee": wording.amount(each.fill.fee),
            "Order": each.fill.order_id or "made elsewhere",
        }
        for each in fills
    )


def fill_columns(zone: str) -> dict[str, Any]:
    right = {name: st.column_config.TextColumn(alignment="right") for name in ("Quantity", "Price", "Fee")}
    return {"Time": st.column_config.TextColumn(f"Time ({wording.zone_name(zone)})"), **right}


def fills_file(fills: Sequence[HeardFill], desk: str, simulated: bool) -> str:
    """Every fill as CSV, oldest first, exact."""
    return _csv(
        {
            "time_utc": each.fill.time.astimezone(UTC).isoformat(),
            "symbol": each.fill.symbol,
            "side": str(each.fill.side),
            "quantity": format(each.fill.quantity, "f"),
            "price": format(each.fill.price, "f"),
            "fee": format(each.fill.fee, "f"),
            "order_id": each.fill.order_id,
            "desk": desk,
            "prices": "SIMULATED" if simulated else "real",
        }
        for each in sorted(fills, key=lambda each: each.seq)
    )


def positions_table(held: Sequence[Holding]) -> pd.DataFrame:
    """Positions in words, one line a symbol."""
    return _rows(
        {
            "Do": list(POSITION_MENU.values()),
            "Symbol": one.symbol,
            "Qty": wording.quantity(one.quantity),
            "Avg": wording.price(one.average, one.what),
            "Last": NO_PRICE if one.last is None else wording.price(one.last, one.what),
            "Value": wording.amount(one.value),
            "Open P/L": wording.signed(one.profit),
            "%": wording.signed(one.percent, " %"),
            "Stop": _level(one.stop, one),
            "Target": _level(one.target, one),
            "Protected": one.guard,
        }
        for one in held
    )


NO_PRICE = "no price"


def _level(price: Decimal | None, one: Holding) -> str:
    return wording.NOTHING if price is None else wording.price(price, one.what)


def painted(table: pd.DataFrame, colours: Worn, theme: Name) -> Any:
    """Profits in the chosen colours and a missing stop in orange; the words and signs say the same."""

    warning = f"background-color: {value('warn-ground', theme)}; color: {value('on-warn', theme)}; font-weight: 700"

    def profit(text: str) -> str:
        return (
            f"color: {colours.up}" if text.startswith("▲") else f"color: {colours.down}" if text.startswith("▼") else ""
        )

    def guard(text: str) -> str:
        return warning if text.isupper() else ""

    return table.style.map(profit, subset=["Open P/L", "%"]).map(guard, subset=["Protected"])


def position_columns(*, on_click: Callable[[], None], key: str) -> dict[str, Any]:
    right = {
        name: st.column_config.TextColumn(alignment="right", width=95) for name in ("Avg", "Last", "Stop", "Target")
    }
    wide = {name: st.column_config.TextColumn(alignment="right", width=115) for name in ("Value", "Open P/L", "%")}
    return {
        "Do": st.column_config.ButtonColumn("", width=44, on_click=on_click, key=key, type="tertiary", pinned=True),
        "Symbol": st.column_config.TextColumn(width=80, pinned=True),
        "Qty": st.column_config.TextColumn(alignment="right", width=70),
        **right,
        **wide,
        "Protected": st.column_config.TextColumn(width=140, help="Does a stop rest at the broker for all of it?"),
    }


def positions_file(held: Sequence[Holding], desk: str, simulated: bool) -> str:
    """Positions as CSV, exact; an amount that is not known is left empty."""
    return _csv(
        {
            "account": one.account,
            "symbol": one.symbol,
            "quantity": format(one.quantity, "f"),
            "average": format(one.average, "f"),
            **{name: _exact(getattr(one, name)) for name in ("last", "value", "profit", "stop", "target")},
            "protected": one.guard,
            "desk": desk,
            "prices": "SIMULATED" if simulated else "real",
        }
        for one in held
    )


def limits_table(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """Limits as `ui.risk` tells them."""
    return _rows(rows)


LIMIT_COLUMNS: dict[str, Any] = {
    "What": st.column_config.TextColumn(width=430),
    "Now": st.column_config.TextColumn(alignment="right", width=80),
    "Default": st.column_config.TextColumn(alignment="right", width=80),
    "Ceiling": st.column_config.TextColumn(alignment="right", width=85),
    "Refused": st.column_config.NumberColumn("Refused this week", width=120),
    "Last refusal": st.column_config.TextColumn(width="large"),
}


def _exact(value: Decimal | None) -> str:
    return "" if value is None else format(value, "f")


def _csv(rows: Iterable[dict[str, Any]]) -> str:
    return _rows(rows).to_csv(index=False)
