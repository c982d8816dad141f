"""The nightly replay: what each strategy did beside what its backtest would have done, night by night."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from desk.ladder import Night, Step, Why
from domain.errors import DeskError
from ui import bot_reading, dialogs, wording
from ui.bot_ladder import title
from ui.bot_reading import Work
from ui.session import Open

NO_NIGHT = (
    "No night has been compared yet. After each close the engine runs the backtest over the day's bars and compares it "
    "with what was done: decisions, fills, prices and money."
)
SIGNS = {True: "▲ drift", False: "✔ as promised"}
MOST = 10


@st.fragment(run_every=10)
def replay(app: Open) -> None:
    """The whole tab."""
    dialogs.step_out()
    try:
        for work in bot_reading.works():
            with st.container(border=True, key=f"bot_nights_{work.adoption.id}"):
                _of(app, work)
    except DeskError as error:
        st.error(wording.plain(error), icon=":material/error:")


def _of(app: Open, work: Work) -> None:
    steps = bot_reading.stand(work.adoption, {}).history
    nights = [step.night for step in reversed(steps) if step.night is not None][:MOST]
    st.markdown(f"**{wording.plain(title(work.adoption))}**")
    if not nights:
        st.caption(NO_NIGHT)
    else:
        last = nights[0]
        (st.warning if last.drifts else st.success)(
            wording.plain(last.words), icon=":material/compare_arrows:" if last.drifts else ":material/check:"
        )
        if last.differing:
            st.markdown("Differing for no known reason:")
            st.markdown("\n".join(f"- {wording.plain(said)}" for said in last.differing))
        st.dataframe(
            table_of(nights), hide_index=True, key=f"bot_nights_table_{work.adoption.id}", column_config=COLUMNS
        )
    moved = [step for step in reversed(steps) if step.why is not Why.NIGHT]
    for step in moved[:MOST]:
        st.caption(wording.plain(step_words(step, app.zone)))


def table_of(nights: list[Night]) -> pd.DataFrame:
    """A row a night, the newest first."""
    return pd.DataFrame(
        {
            "Night": f"{night.day:%a %d %b}",
            "Verdict": SIGNS[night.drifts],
            "Decisions": night.decisions,
            "Differing": night.odd,
            "Fills": night.fills,
            "Odd fills": night.odd_fills,
            "Price, bps": wording.NOTHING if night.price_bps is None else f"{night.price_bps:+.1f}".replace("-", "−"),
            "Behind, %": f"{night.behind_pct:+.2f}".replace("-", "−"),
            "Known reasons": ", ".join(f"{count} {name}" for name, count in night.explained.items()),
        }
        for night in nights
    )


COLUMNS = {
    "Night": st.column_config.TextColumn(width=90),
    "Verdict": st.column_config.TextColumn(width=110),
    "Decisions": st.column_config.NumberColumn(width=85, help="Bars on which either of the two changed its mind"),
    "Differing": st.column_config.NumberColumn(width=85, help="For no known reason"),
    "Fills": st.column_config.NumberColumn(width=60, help="Orders that filled on both sides"),
    "Odd fills": st.column_config.NumberColumn(width=80, help="On one side only, or of another size"),
    "Price, bps": st.column_config.TextColumn(alignment="right", width=85, help="How much worse the desk's fills were"),
    "Behind, %": st.column_config.TextColumn(alignment="right", width=85, help="Of its money, known reasons left out"),
    "Known reasons": st.column_config.TextColumn(width=300),
}


def step_words(step: Step, zone: str) -> str:
    """A step up or down, in a sentence."""
    only = f", {step.symbol} only" if step.symbol else ""
    return f"{wording.hour(step.at, zone)}: {step.why} to {step.rung}{only}. {wording.sentence(step.reason)}"
