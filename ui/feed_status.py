"""How the source of prices is asked: calls used and left, refusals, what rests. Figures that change every few seconds
in words that stay."""

from __future__ import annotations

from collections.abc import Iterator

import streamlit as st

from domain.errors import DeskError
from feeds.base import Asked
from feeds.market import Usage
from ui import wording
from ui.session import Open

EVERY_S = 5.0
HOUR_S = 3_600.0
NAMED = 3
_MADE_HERE = {
    "simulated": "Nobody is asked: this market is made up here, so no limit applies.",
    "files": "Nobody is asked: prices are read from your files, so no limit applies.",
}


def feed_status(app: Open) -> None:
    """The panel, for any page."""
    st.subheader("What the source is asked")
    st.fragment(run_every=EVERY_S)(_drawn)(app)


def _drawn(app: Open) -> None:
    market = app.desk.market
    try:
        usage = market.usage()
    except DeskError as error:
        st.info(wording.plain(str(error)), icon=":material/info:")
        return
    if said := _resting_state(usage, market.name, app.desk.board.error):
        st.write(wording.plain(said))
    else:
        assert usage.asked is not None, "a source that is asked has a count"
        _figures(usage.asked)
    st.caption(wording.plain(watched(usage)))
    for said in troubles(usage):
        st.warning(wording.plain(said), icon=":material/hourglass_top:")


def _resting_state(usage: Usage, name: str, error: str) -> str:
    """Why there are no figures; '' where there are."""
    if name in _MADE_HERE:
        return _MADE_HERE[name]
    if usage.at_hand and usage.elsewhere:
        return f"Another process on this machine asks {usage.label} for all. Settings → E*TRADE shows what is left."
    if usage.at_hand:
        return f"{usage.label} is not asked now: {error or 'nobody is signed in'}."
    if usage.asked is None:
        return f"{usage.label} keeps no count of its calls."
    if not usage.asked.used and not usage.asked.refusals:
        return (
            f"{usage.label} has not been asked in this hour. Calls are counted as soon as somebody looks at a symbol."
        )
    return ""


def _figures(asked: Asked) -> None:
    with st.container(horizontal=True, gap="medium"):
        st.metric(
            "Used this hour" if asked.window_s == HOUR_S else f"Used in {_span(asked.window_s)}",
            f"{asked.used:,}",
            width="content",
        )
        st.metric("Left", wording.NOTHING if asked.left is None else f"{asked.left:,}", width="content")
        st.metric("Refusals", f"{asked.refusals:,}", width="content", help="Answers of “too often” since the start")
    if asked.limit and asked.left is not None:
        st.progress(min(max(1.0 - asked.left / asked.limit, 0.0), 1.0), text=f"{_limit(asked)} {_last(asked)}")
    else:
        st.caption(f"{_limit(asked)} {_last(asked)}")


def _limit(asked: Asked) -> str:
    if asked.left is None:
        return "No limit is published."
    of = f" of {asked.limit:,}" if asked.limit else ""
    return f"{asked.left:,}{of} calls left, {'as it says itself' if asked.by_venue else 'by its published limit'}."


def _last(asked: Asked) -> str:
    if asked.refused_ago_s is None:
        return "It has refused none."
    return f"It last refused {_ago(asked.refused_ago_s)}."


def watched(usage: Usage) -> str:
    """How many symbols, in which batches, how often each."""
    watch = usage.watch
    if not watch.wanted:
        return "No symbol is looked at now."
    held = f", {watch.first} of them held or with an order: those come first" if watch.first else ""
    found = [f"{watch.wanted} symbol{'' if watch.wanted == 1 else 's'} looked at{held}."]
    if watch.pushes:
        found.append(f"{watch.pushed} are pushed." if watch.pushed else "Its line is down, so it is asked meanwhile.")
    if not usage.at_hand:
        apart = f", {watch.pause_s:.2g} s apart" if watch.pause_s else ""
        found.append(f"Calls of up to {watch.batch} symbols{apart}; each symbol every {watch.round_s:.3g} s.")
    return " ".join([*found, *_ticks(usage)])


def _ticks(usage: Usage) -> Iterator[str]:
    watch = usage.watch
    if watch.late or watch.again or watch.closed:
        yield f"Ticks: {watch.late} late, {watch.again} told twice, {watch.closed} dropped after their minute closed."
    if watch.reconnects:
        yield f"Its line was opened again {watch.reconnects} time{'' if watch.reconnects == 1 else 's'}."


def troubles(usage: Usage) -> Iterator[str]:
    """What is waited for just now, a sentence each: the longest waits first, three of them named."""
    watch = usage.watch
    waits = max(watch.busy_s, usage.asked.wait_s if usage.asked else 0.0)
    if waits >= 1 and not usage.at_hand:
        yield f"{usage.label} wants a pause: nothing is sent for {_span(waits)}."
    if watch.pushes and watch.line_error:
        yield wording.sentence(watch.line_error)
    rests = [] if usage.at_hand else sorted(watch.resting, key=lambda rest: -rest.wait_s)
    for rest in rests[:NAMED]:
        names = ", ".join(rest.symbols[:NAMED]) + (
            f" and {len(rest.symbols) - NAMED} more" * (len(rest.symbols) > NAMED)
        )
        again = f"again in {_span(rest.wait_s)}" if rest.wait_s >= 1 else "asked again now"
        yield f"{names}: {wording.sentence(rest.said, '')}; {again}."
    if len(rests) > NAMED:
        yield f"{len(rests) - NAMED} more batches rest."


def _span(seconds: float) -> str:
    """`42 s`, `3 min`."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _ago(seconds: float) -> str:
    if seconds < 60:
        return "less than a minute ago"
    return f"{seconds / 60:.0f} min ago" if seconds < 5_400 else f"{seconds / 3600:.0f} hours ago"
