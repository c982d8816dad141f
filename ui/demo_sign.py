"""The sign of a demo: on every page, above everything, that nothing here is real; what happens now; and at the end the
figures of the day. Nothing where this is no demo."""

from __future__ import annotations

import functools
from html import escape

import streamlit as st

import bootstrap
from domain.calendars import NEW_YORK
from domain.clock import Clock
from domain.errors import DeskError
from notices.summary import summary
from simulator.demo import script

_STYLE = """<style>
.st-key-demo_sign { border: 2px solid currentColor; border-radius: 8px; padding: 6px 12px; gap: .2rem; }
.st-key-demo_sign .demo-words { margin: 0; font-size: clamp(15px, 2.3vw, 24px); font-weight: 800; line-height: 1.25;
  letter-spacing: .04em; }
.st-key-demo_sign .demo-now { margin: 0; font-size: 14px; line-height: 1.45; min-height: 1.45em;
  font-variant-numeric: tabular-nums; }
.st-key-demo_sign pre { margin: 0; font-size: 13px; overflow-x: auto; background: none; padding: 0; }
.st-key-demo_sign .demo-day { margin: 0; font-size: 14px; }
@media (max-width: 700px) {
  .st-key-demo_sign .demo-now { min-height: 4.35em; }
  .st-key-demo_sign pre { font-size: 11px; }
}
</style>"""


def draw() -> None:
    """Every page's first lines, on a demo's desk."""
    try:
        here = bootstrap.start()
        if here.settings.demo_speed == 1.0:
            return
    except DeskError:
        return  # the page says itself what is broken
    with st.container(key="demo_sign"):
        st.html(_STYLE)
        pace = f"{here.settings.demo_speed:g} TIMES AS FAST"
        st.html(f"<p class='demo-words'>DEMO · SIMULATED PRICES · A CLOCK {pace}: NOTHING HERE IS REAL</p>")
        _now(here.clock)


@st.fragment(run_every=1)
def _now(clock: Clock) -> None:
    now = clock.now()
    over = now >= script.moment(script.ENDS)
    chapter = next(one for one in reversed(script.CHAPTERS) if now >= script.moment(one.at))
    said = f"<b>{now.astimezone(NEW_YORK):%H:%M} New York · {escape(chapter.title)}.</b> {escape(chapter.said)}"
    st.html(f"<p class='demo-now' role='status'>{said}</p>")
    with st.empty().container():
        if over:
            _figures()


def _figures() -> None:
    """What the daily summary tells people, word for word."""
    trading = bootstrap.trading()
    try:
        told = _summary(trading, trading.reader.audit_tail(1)[0].seq)
    except (DeskError, IndexError) as error:
        st.caption(f"The day's figures are not known: {error}")
        return
    st.html(f"<p class='demo-day'><b>The day: {escape(told[0])}</b></p><pre tabindex='0'>{escape(told[1])}</pre>")


@functools.lru_cache(maxsize=4)
def _summary(trading: bootstrap.Trading, version: int) -> tuple[str, str]:
    """Worked out once for what the ledger says now (`version`)."""
    told = summary(trading.place, trading.reader, trading.book, script.DAY, trading.clock.now())
    return told.title, told.text
