"""The settings page's blocks. A change is kept at once and said; a wrong one changes nothing."""

from __future__ import annotations

import streamlit as st

import bootstrap
from desk.authority import Deed
from domain import registry
from domain.errors import DeskError
from ui import roles, sign_in, tables, wording
from ui.palettes import PALETTES, Palette
from ui.session import Open

ZONES = {"America/New_York": "New York (the exchange's own)", "UTC": "UTC"}
THEME_WORDS = (
    "**Dark or light** follows your own system. To choose, open the menu ⋮ at the top right; each browser keeps its "
    "own choice."
)


def data_source(app: Open) -> None:
    """Which feed serves candles and quotes, with its limits; a choice here wins over DATA_SOURCE."""
    market = app.desk.market
    if market.simulated:
        st.warning(
            "**SIMULATED.** The prices on every chart are made up. They teach the desk, not the market.",
            icon=":material/science:",
        )
    names = registry.names("feeds")
    # What runs is what the radio shows: another tab may have changed it, and a refused choice changed nothing. A radio
    # of its own for each answer begins with it; one that is told to change may miss it while its tab is out of sight.
    running, refused = app.desk.settings.data_source, st.session_state.setdefault("desk_source_refused", 0)
    key = f"desk_source_{running}_{refused}"
    shut = roles.said(Deed.DATA_SOURCE, "source")
    st.radio(
        "Candles and quotes come from",
        names,
        format_func=lambda name: wording.plain(registry.part("feeds", name).label),
        captions=[wording.plain(registry.part("feeds", name).limits) for name in names],
        index=names.index(running),
        key=key,
        on_change=_switch,
        args=(key,),
        disabled=shut,
    )
    if problem := st.session_state.pop("desk_source_problem", None):
        st.error(problem, icon=":material/error:")
    if fallen := bootstrap.fallen_back():
        st.warning(fallen, icon=":material/warning:")
    st.caption("Your own files always come first, then the candles kept on this machine, then this source.")
    if market.clock_note:
        st.info(market.clock_note, icon=":material/schedule:")
        note = "Moves the simulated clock forward, never back"
        if app.may(Deed.DATA_SOURCE):
            st.button("Skip to the next open", key="desk_skip", help=note, on_click=_skip, args=(app,), disabled=shut)
    kept = tables.kept_table(app.desk.market.kept())
    st.subheader("Candles kept on this machine")
    if kept.empty:
        st.write("None yet. What a real source sends is kept here, with its origin; simulated bars never are.")
    else:
        st.dataframe(kept, hide_index=True, key="desk_kept")


def _switch(key: str) -> None:
    """Only a click on the radio comes here, never a rerun."""
    try:
        sign_in.must(Deed.DATA_SOURCE)
        bootstrap.choose_source(st.session_state[key])
    except DeskError as error:
        st.session_state.desk_source_refused += 1
        st.session_state.desk_source_problem = f"{error} The desk stays with the source it had."


def _skip(app: Open) -> None:
    try:
        sign_in.must(Deed.DATA_SOURCE)
        app.desk.market.skip_to_open()
    except DeskError as error:
        st.session_state.desk_source_problem = str(error)


def appearance(app: Open) -> None:
    """Dark or light, colours of up and down, and the zone of the time axis."""
    st.session_state.desk_palette, st.session_state.desk_zone = app.palette, app.zone
    st.markdown(THEME_WORDS)
    st.radio(
        "Candle colours",
        list(PALETTES),
        format_func=lambda name: PALETTES[name].label,
        key="desk_palette",
        on_change=lambda: _prefer(app, "palette", st.session_state.desk_palette),
    )
    st.html(_sample(PALETTES[app.palette]))
    st.radio(
        "Time on charts and tables of stocks (crypto is always shown in UTC)",
        list(ZONES),
        format_func=lambda name: ZONES[name],
        key="desk_zone",
        on_change=lambda: _prefer(app, "zone", st.session_state.desk_zone),
    )


def _sample(colours: Palette) -> str:
    """Two candles and two profits as they will look; the words say what the drawing shows."""
    up, down = colours.rising.css, colours.falling.css
    candle = "display:inline-block;width:11px;height:30px;border:2px solid {0};background:{1};border-radius:1px"
    return (
        '<p style="display:flex;flex-wrap:wrap;gap:.4rem 1rem;align-items:center;margin:0">'
        f'<span style="{candle.format(up, "transparent")}"></span><span>rose: hollow</span>'
        f'<span style="{candle.format(down, down)}"></span><span>fell: filled</span>'
        f'<b style="color:{up}">▲ +12.30</b><b style="color:{down}">▼ −4.00</b></p>'
    )


def _prefer(app: Open, name: str, value: str) -> None:
    app.people.prefer(name, value)
    st.toast("Saved", icon=":material/check:")


def your_files(app: Open) -> None:
    """What was found in the user's folder, and what was refused in it and why."""
    folder = app.desk.settings.files_dir
    st.write(f"Put CSV or Parquet files into `{folder}`; they are read within seconds, no restart needed.")
    with st.expander("What a file must look like"):
        st.markdown(tables.FILE_RULES)
        st.markdown(app.desk.market.file_rules)
    if st.button("Look again", icon=":material/refresh:", key="desk_reread"):
        st.rerun()
    refused = tables.refused_table(app.desk.market.refused())
    if not refused.empty:
        verb = "is" if len(refused) == 1 else "are"
        st.error(f"{len(refused)} of your files {verb} not used.", icon=":material/error:")
        st.dataframe(refused, hide_index=True, column_config=tables.REFUSED_COLUMNS, key="desk_refused")
        for message in refused["What to mend"]:
            st.caption(message)
    held = tables.holdings_table(app.desk.market.holdings())
    if held.empty and refused.empty:
        st.info("The folder is empty. Charts show the chosen data source.", icon=":material/folder_open:")
    elif not held.empty:
        st.dataframe(held, hide_index=True, key="desk_held")
    for note in app.desk.market.file_notes():
        st.caption(f":material/info: {note}")
