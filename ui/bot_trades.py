"""The trades of the strategies at work, with why each began and ended, and what each day brought by symbol.

The rule: what closed trades brought is summed exactly, after all fees; what is still held counts for today only, at the
last price, as the day's mail counts it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, date
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

import bootstrap
from desk import signal_record
from desk.own_trades import Trade, Way
from desk.place import Place
from domain import trade_ratios
from domain.errors import DeskError
from domain.instruments import instrument
from domain.orders import Side
from domain.positions import ZERO
from domain.quotes import Quote
from notices import summary
from ui import bot_reading, dialogs, palettes, spreadsheet, wording
from ui.bot_reading import Work
from ui.live import Shared
from ui.session import Open

MOST, DAYS = 200, 10
ALL = "all"
SIDES = {Side.BUY: "▲ long", Side.SELL: "▼ short"}
NO_TRADE = "No trade yet. What a strategy opens appears here with its reason, and once closed with what it brought."
FILE = (
    *("symbol", "side", "quantity", "opened_utc", "entry", "closed_utc", "exit", "profit", "fees"),
    *("closed_by", "why_opened", "why_closed", "strategy", "adoption", "desk", "prices"),
)
_words = Shared(8)


# What the figures are


def figures(profits: Sequence[Decimal]) -> dict[str, str]:
    """Win rate and average profit of closed trades, in words; what is told from few trades says so."""
    count = len(profits)
    if not count:
        return {"Won": wording.NOTHING, "A trade": wording.NOTHING, "said": "no trade is closed yet"}
    values = np.array([float(profit) for profit in profits])
    won = int((values > 0).sum())
    low, high = trade_ratios.wilson(won, count) or (0.0, 1.0)
    wide = f", too few to tell: {100 * low:.0f} to {100 * high:.0f} % fits as well"
    few = wide if count < trade_ratios.FEW else ""
    trades = f"{count} closed trade{'' if count == 1 else 's'}"
    return {
        "Won": f"{100 * float(trade_ratios.win_rate(values)):.0f} %",
        "A trade": wording.signed(sum(profits, ZERO) / count),
        "said": f"{won} of {trades} won{few}",
    }


def by_day(closed: Sequence[Trade]) -> dict[date, dict[str, Decimal]]:
    """What the trades that closed on each day of the exchange brought, by symbol."""
    found: defaultdict[date, defaultdict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for trade in closed:
        if trade.day is not None and trade.profit is not None:
            found[trade.day][trade.symbol] += trade.profit
    return {day: dict(parts) for day, parts in sorted(found.items())}


def heat(days: Mapping[date, Mapping[str, Decimal]], most: int = DAYS) -> pd.DataFrame:
    """A row a symbol, a column for each of the last days on which a trade closed, sums on top and at the right."""
    shown = {f"{day:%a %d %b}": days[day] for day in list(days)[-most:]}
    symbols = sorted({symbol for parts in shown.values() for symbol in parts})
    rows = [_summed(ALL, {name: sum(parts.values(), ZERO) for name, parts in shown.items()})]
    rows += [_summed(symbol, {name: parts.get(symbol) for name, parts in shown.items()}) for symbol in symbols]
    return pd.DataFrame(rows, dtype=object)


def _summed(name: str, parts: dict[str, Decimal | None]) -> dict[str, Any]:
    return {"Symbol": name, **parts, "Sum": sum((part for part in parts.values() if part is not None), ZERO)}


# The trades


@st.fragment(run_every=4)
def trades(app: Open) -> None:
    """The whole tab."""
    dialogs.step_out()
    try:
        found = bot_reading.works(retired=True)
        quotes = bot_reading.quotes_of(app, found)
        table = table_of(app, found, quotes)
    except DeskError as error:
        st.error(wording.plain(error), icon=":material/error:")
        return
    if table.empty:
        st.info(NO_TRADE, icon=":material/swap_vert:")
        return
    st.dataframe(
        _painted(table, ["P/L"], app.colours),
        hide_index=True,
        key="bot_trades",
        column_config=COLUMNS,
        height=560 if len(table) > 14 else "auto",
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        place = bootstrap.trading().place
        mark = "-SIMULATED" if place.simulated else ""
        st.download_button(
            "Trades as CSV",
            lambda: csv_of(bot_reading.works(retired=True), place),
            file_name=f"trades-{place.name}{mark}.csv",
            mime="text/csv",
            icon=":material/download:",
            on_click="ignore",
            key="bot_trades_csv",
        )
        closed = [trade for work in found for trade in work.closed]
        said = figures([trade.profit for trade in closed if trade.profit is not None])["said"]
        st.caption(f"{wording.plain(said)}. P/L is after fees; strategies that were retired are counted here.")


def table_of(app: Open, found: Sequence[Work], quotes: Mapping[str, Quote]) -> pd.DataFrame:
    """A row a trade: what is open first, then the newest that closed."""
    opened = [(work, trade) for work in found for trade in work.open]
    closed = [(work, trade) for work in found for trade in work.closed]
    closed.sort(key=lambda pair: pair[1].closed or pair[1].opened, reverse=True)
    shown = [*opened, *closed][:MOST]
    why = _reasons([trade for _, trade in shown])
    rows = [_row(app, work, trade, quotes, why) for work, trade in shown]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(app: Open, work: Work, trade: Trade, quotes: Mapping[str, Quote], why: Mapping[str, str]) -> dict[str, Any]:
    what, zone = instrument(trade.symbol), app.zone
    return {
        "Symbol": trade.symbol,
        "Side": SIDES[trade.side],
        "Shares": wording.quantity(trade.quantity),
        "In": f"{wording.local(trade.opened, zone):%d %b %H:%M}",
        "Entry": wording.price(trade.entry, what),
        "Out": f"{wording.local(trade.closed, zone):%d %b %H:%M}" if trade.closed else "open",
        "Exit": wording.price(trade.leave, what) if trade.leave is not None else wording.NOTHING,
        "P/L": wording.signed(trade.profit if trade.profit is not None else open_profit(work, trade, quotes)),
        "Fees": wording.amount(trade.fees),
        "Closed by": str(trade.way) if trade.way else wording.NOTHING,
        "Why opened": why.get(trade.signal_id, wording.NOTHING),
        "Why closed": why_closed(trade, why),
        "Strategy": f"{work.adoption.strategy} · {work.adoption.id}",
    }


def open_profit(work: Work, trade: Trade, quotes: Mapping[str, Quote]) -> Decimal | None:
    """What an open trade has brought so far, at the last price and after its fees; None where that has none."""
    quote = quotes.get(trade.symbol)
    if quote is None:
        return None
    mine = [fill for fill in work.moves if fill.symbol == trade.symbol and fill.time >= trade.opened]
    return sum((fill.cash for fill in mine), ZERO) + work.held.get(trade.symbol, ZERO) * quote.last


def why_closed(trade: Trade, why: Mapping[str, str]) -> str:
    """What closed it, with the figures."""
    if trade.closed is None or trade.leave is None:
        return wording.NOTHING
    if trade.way is Way.SIGNAL:
        return why.get(trade.end_signal_id, "the strategy wanted out")
    if trade.way in (Way.STOP, Way.TARGET):
        return f"its {trade.way} filled at {wording.price(trade.leave, instrument(trade.symbol))}"
    return why.get(trade.end_order, str(trade.way))


def _reasons(found: Sequence[Trade]) -> dict[str, str]:
    """The words by signal and by order, read once until the ledger moves."""
    reader = bootstrap.trading().reader

    def read() -> dict[str, str]:
        ends = [trade.end_order for trade in found if trade.way is Way.PERSON]
        signals = {trade.signal_id for trade in found} | {trade.end_signal_id for trade in found}
        return {**signal_record.reasons(reader, signals), **signal_record.why_ordered(reader, ends)}

    known: dict[str, str] = _words.get((bot_reading.mark(), len(found)), read)
    return known


COLUMNS = {
    "Symbol": st.column_config.TextColumn(width=70, pinned=True),
    "Side": st.column_config.TextColumn(width=65),
    "Shares": st.column_config.TextColumn(alignment="right", width=60),
    "P/L": st.column_config.TextColumn(alignment="right", width=105),
    "Closed by": st.column_config.TextColumn(width=80),
    "In": st.column_config.TextColumn(width=95),
    "Entry": st.column_config.TextColumn(alignment="right", width=75),
    "Out": st.column_config.TextColumn(width=95),
    "Exit": st.column_config.TextColumn(alignment="right", width=75),
    "Fees": st.column_config.TextColumn(alignment="right", width=60),
    "Why opened": st.column_config.TextColumn(width=260),
    "Why closed": st.column_config.TextColumn(width=260),
    "Strategy": st.column_config.TextColumn(width=150),
}


def _painted(table: pd.DataFrame, columns: Sequence[str], colours: palettes.Worn) -> Any:
    """Profits in the chosen colours; arrow and sign say the same."""

    def colour(text: str) -> str:
        return f"color: {colours.up}" if text[:1] == "▲" else f"color: {colours.down}" if text[:1] == "▼" else ""

    return table.style.map(colour, subset=list(columns))


def csv_of(found: Sequence[Work], place: Place) -> str:
    """Every trade, oldest first, exact."""
    pairs = [(work, trade) for work in found for trade in (*work.closed, *work.open)]
    pairs.sort(key=lambda pair: pair[1].opened)
    why = _reasons([trade for _, trade in pairs])
    return spreadsheet.csv((_exact(work, trade, why, place) for work, trade in pairs), FILE)


def _exact(work: Work, trade: Trade, why: Mapping[str, str], place: Place) -> dict[str, Any]:
    return {
        "symbol": trade.symbol,
        "side": "long" if trade.side is Side.BUY else "short",
        "quantity": format(trade.quantity, "f"),
        "opened_utc": trade.opened.astimezone(UTC).isoformat(),
        "entry": format(trade.entry, "f"),
        "closed_utc": trade.closed.astimezone(UTC).isoformat() if trade.closed else "",
        "exit": format(trade.leave, "f") if trade.leave is not None else "",
        "profit": format(trade.profit, "f") if trade.profit is not None else "",
        "fees": format(trade.fees, "f"),
        "closed_by": str(trade.way or ""),
        "why_opened": why.get(trade.signal_id, ""),
        "why_closed": why_closed(trade, why) if trade.closed else "",
        "strategy": work.adoption.label,
        "adoption": work.adoption.id,
        "desk": place.name,
        "prices": "SIMULATED" if place.simulated else "real",
    }


# The days


@st.fragment(run_every=4)
def days(app: Open) -> None:
    """The whole tab: today, the last days by symbol, and the day as the mail tells it."""
    dialogs.step_out()
    try:
        found = bot_reading.works(retired=True)
        quotes = bot_reading.quotes_of(app, found)
        _today(app, found, quotes)
        _days(app, found)
        _mail()
    except DeskError as error:
        st.error(wording.plain(error), icon=":material/error:")


def today_of(found: Sequence[Work], quotes: Mapping[str, Quote]) -> dict[str, Decimal | None]:
    """What each symbol brought all strategies together since midnight in New York."""
    now, sums = bootstrap.trading().clock.now(), dict[str, Decimal | None]()
    for work in found:
        for symbol, part in work.today(quotes, now).items():
            before = sums.get(symbol, ZERO)
            sums[symbol] = None if part is None or before is None else before + part
    return sums


def _today(app: Open, found: Sequence[Work], quotes: Mapping[str, Quote]) -> None:
    parts = today_of(found, quotes)
    st.markdown("**Today**, what is held counted at the last price, after fees")
    if not parts:
        st.caption("No strategy holds anything, and none has traded today.")
        return
    rows = pd.DataFrame(
        [{"Symbol": ALL, "Today": wording.signed(bot_reading.total(parts)), "": ""}]
        + [{"Symbol": symbol, "Today": wording.signed(part), "": bar(part, parts)} for symbol, part in parts.items()]
    )
    st.dataframe(
        _painted(rows, ["Today", ""], app.colours),
        hide_index=True,
        key="bot_today",
        width=430,
        column_config={"Today": st.column_config.TextColumn(alignment="right", width=120)},
    )


def bar(part: Decimal | None, parts: Mapping[str, Decimal | None]) -> str:
    """A profit beside the largest of them, as a row of signs: `▲▲▲`, `▼`."""
    largest = max((abs(one) for one in parts.values() if one is not None), default=ZERO)
    if part is None or not largest or not part:
        return ""
    return ("▲" if part > 0 else "▼") * max(1, round(10 * abs(part) / largest))


def _days(app: Open, found: Sequence[Work]) -> None:
    st.markdown("**By day**, what the trades that closed on it brought, after fees")
    known = by_day([trade for work in found for trade in work.closed])
    if not known:
        st.caption("No trade has closed yet.")
        return
    table = heat(known)
    columns = [name for name in table if name != "Symbol"]
    said = table.copy()
    for name in columns:
        said[name] = [wording.signed(value) if value is not None else "" for value in table[name]]
    right = {name: st.column_config.TextColumn(alignment="right", width=92) for name in columns}
    st.dataframe(
        shaded(said, table, columns, app.colours),
        hide_index=True,
        key="bot_days",
        column_config={"Symbol": st.column_config.TextColumn(width=75, pinned=True), **right},
        height=560 if len(said) > 14 else "auto",
    )


def shaded(said: pd.DataFrame, values: pd.DataFrame, columns: Sequence[str], colours: palettes.Worn) -> Any:
    """The table with the ground of each cell as strong as its profit is large; sums stay bare."""
    inner = values.iloc[1:][[name for name in columns if name != "Sum"]]
    largest = max((abs(value) for value in inner.to_numpy().ravel() if value is not None), default=ZERO)

    def ground(column: pd.Series) -> list[str]:
        if column.name == "Sum" or not largest:
            return ["font-weight: 600"] * len(column)
        return [
            "font-weight: 600" if at == 0 else _ground(value, largest, colours)
            for at, value in enumerate(values[str(column.name)])
        ]

    return said.style.apply(ground, subset=list(columns))


def _ground(value: Decimal | None, largest: Decimal, colours: palettes.Worn) -> str:
    if not value:
        return ""
    colour = colours.up if value > 0 else colours.down
    return f"background-color: {palettes.faded(colour, 0.12 + 0.38 * float(abs(value) / largest))}"


def _mail() -> None:
    """The day's summary of whole accounts, people's own trades included, in the mail's own words."""
    trading = bootstrap.trading()
    label = "The day as the mail tells it"
    with st.expander(label, icon=":material/mail:", key="bot_mail", on_change="rerun") as opened:
        if not opened.open:
            return
        now = trading.clock.now()
        told = summary.summary(trading.place, trading.reader, trading.book, bot_reading.day_of(now), now)
        st.markdown(f"**{wording.plain(told.title)}**")
        st.code(told.text, language=None)
        st.caption("Of every account as a whole, with what people traded by hand.")
