"""What followed a pattern so far, said where somebody asks to be told of it.

The rule: it is worked out as the notifier does (`notices.odds`), over as many bars, so that what is read here is what
decides there.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

import patterns
from desk.subscriptions import Subscription
from domain.candles import timeframe
from domain.errors import DeskError
from domain.instruments import instrument
from notices.odds import HISTORY, HORIZON, Odds, odds
from performance_utils import bridge
from research.edge import FEWEST, pattern_edge
from ui import wording
from ui.session import Open


def shown(app: Open, symbol: str, pattern: str, tf: str, wanted: Subscription | None) -> None:
    """The sentence for each side of the pattern, and whether `wanted` would be met by it; None asks nothing of it."""
    if not symbol or not pattern or not tf:
        st.caption("Choose a symbol: what followed this pattern there so far is shown here.")
        return
    try:
        told = seen(app, symbol, tf, pattern)
    except (DeskError, ValueError, TimeoutError) as error:
        st.caption(f":material/info: Its past cannot be looked at: {wording.plain(error or 'no answer in time')}")
        return
    for known, words in told:
        rare = known.count < FEWEST
        meets = wanted is None or known.meets(wanted)
        sign = ":material/hourglass_empty:" if rare else ":material/check:" if meets else ":material/block:"
        st.caption(f"{sign} {wording.plain(words)} {_verdict(known, wanted, meets)}")
    if app.desk.market.simulated:
        st.caption(":material/science: SIMULATED prices: this says nothing about a real market.")


def _verdict(known: Odds, wanted: Subscription | None, meets: bool) -> str:
    if wanted is None:
        return ""
    if known.count < FEWEST:
        return "**Too rare to be judged: as asked, you would not be told.**"
    return "**As asked, you would be told now.**" if meets else "**As asked, you would not be told now.**"


def seen(app: Open, symbol: str, tf: str, pattern: str) -> list[tuple[Odds, str]]:
    """The odds of each side of a pattern, and the sentence that tells them."""
    what, bars = instrument(symbol), timeframe(tf)
    bucket = app.desk.clock.now().timestamp() // min(bars.seconds, 300)
    source = f"{app.desk.settings.data_dir} {app.desk.market.name}"
    return _seen(app.desk.market, source, what.symbol, bars.name, pattern, bucket)


@st.cache_data(max_entries=64, show_spinner="Looking back over 2,000 bars …")
def _seen(_market: Any, source: str, symbol: str, tf: str, pattern: str, bucket: float) -> list[tuple[Odds, str]]:
    """Asked as the notifier asks, and kept for all who look until a bar may have closed."""
    candles = bridge().run(_market.window(instrument(symbol), timeframe(tf), bars=HISTORY), 30).candles
    table = pattern_edge(candles, [pattern], horizon=HORIZON)
    found = []
    for sign in patterns.signs(pattern):
        known = odds(candles, pattern, sign)
        row = table[table["side"] == known.side].iloc[0]
        found.append((known, odds_words(known, row, f"{symbol} {tf}")))
    return found


def odds_words(known: Odds, row: pd.Series[Any], where: str) -> str:
    """`Hammer (bullish) on NVDA 15m: seen 41 times in 2,000 bars. Within 5 bars the price then rose 61 % of the time,
    after any bar 52 %; …`"""
    times = f"{known.count} time{'' if known.count == 1 else 's'}"
    began = f"{known.pattern} ({known.side}) on {where}: seen {times} in {known.bars:,} bars."
    if known.count < FEWEST:
        return f"{began} From {FEWEST} cases on it can be said what follows it."
    way = "rose" if known.side == "bullish" else "fell"
    return (
        f"{began} Within {HORIZON} bars the price {way} {row['hit_rate']:.0%} of the time, after any bar "
        f"{row['base_hit_rate']:.0%}. Mean {_bps(1e4 * row['mean_return'])} bps against a base rate of "
        f"{_bps(1e4 * row['base_return'])}: edge {_bps(known.edge_bps)} bps (95 %: {_bps(known.low_bps)} to "
        f"{_bps(known.high_bps)}), p {1 - known.confidence:.2g}. Costs are not in it."
    )


def _bps(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")
