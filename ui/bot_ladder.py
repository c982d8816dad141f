"""Each strategy at work as a card: its state, its rung and what the next one needs, its money, and what may be done.

The rule: a card asks by commands only; whether every need is met is weighed again by the engine when it is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

import streamlit as st

import bootstrap
from desk.adoptions import Adoption, State, adoptions
from desk.ladder import Need, Rung, Standing, below
from domain.commands import Kind
from domain.errors import DeskError
from domain.quotes import Quote
from strategies.base import find
from ui import bot_reading, dialogs, filters_form, palettes, roles, wording
from ui.adopting import exit_words
from ui.bot_reading import Work
from ui.bot_trades import figures
from ui.session import Open

STATES = {
    State.WORKING: ("green", ":material/play_arrow:"),
    State.PAUSED: ("orange", ":material/pause:"),
    State.RETIRED: ("gray", ":material/logout:"),
}
MEANS = {
    Rung.RESEARCH: "asked on each closed bar, nothing ordered",
    Rung.PAPER: "all of its symbols, with paper money",
    Rung.SMALL: "real money, one symbol, few shares",
    Rung.FULL: "real money, all of its symbols",
}
DONE, OPEN, HERE = "✔", "○", "●"
ENTRIES = "- Its entries that are on their way are cancelled."
ON_PAPER = "This desk has no higher rung. What small asks for is counted here; there, a strategy begins in research."
MANY = 8  # more symbols than these are counted, not named


def title(one: Adoption) -> str:
    """A strategy in words: `SMA crossover (fast 5, slow 15) on AAPL, NVDA, 5m bars`."""
    try:
        name = str(find(one.strategy).label)
    except (DeskError, ValueError):
        name = one.strategy
    values = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in one.params.items())
    return f"{name}{f' ({values})' if values else ''} on {symbols(one.symbols)}, {one.interval} bars"


def symbols(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= MANY else f"{', '.join(names[:MANY])} and {len(names) - MANY} more"


@st.fragment(run_every=2)
def cards(app: Open) -> None:
    """A card for each strategy at work."""
    dialogs.step_out()
    try:
        found = bot_reading.works()
        quotes = bot_reading.quotes_of(app, found)
        for work in found:
            _card(app, work, quotes)
    except DeskError as error:
        st.error(wording.plain(error), icon=":material/error:")


def _card(app: Open, work: Work, quotes: Mapping[str, Quote]) -> None:
    one = work.adoption
    where = bot_reading.stand(one, quotes)
    with st.container(border=True, key=f"bot_card_{one.id}"):
        _head(app, one, where)
        if one.state is State.PAUSED:
            st.warning(f"Paused: {wording.plain(one.reason)}. Its stops go on resting.", icon=":material/pause:")
        if (night := where.night) is not None and night.drifts:
            st.warning(wording.plain(night.words), icon=":material/compare_arrows:")
        _money(work, quotes)
        _rungs(where)
        _buttons(app, one, where)


def _head(app: Open, one: Adoption, where: Standing) -> None:
    colour, icon = STATES[one.state]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge(one.state.upper(), color=colour, icon=icon)  # type: ignore[arg-type]
        st.badge(where.rung.upper(), color="blue", icon=":material/stairs:")
        st.markdown(f"**{wording.plain(title(one))}**")
    said = [f"{one.id}, account {one.account}, since {wording.hour(one.since, app.zone)} by {one.actor}"]
    said.append(exit_words(one.setup) or "no stop, no target")
    if let_in := filters_form.words(one.setup.to_dict()["filters"], one.setup.good_for):
        said.append(f"let in by {let_in}")
    st.caption(wording.plain(" · ".join(said)))


def _money(work: Work, quotes: Mapping[str, Quote]) -> None:
    now, begun = bootstrap.trading().clock.now(), Decimal(str(work.adoption.setup.cash))
    equity, told = work.equity(quotes), figures(work.profits)
    cells = {
        "Own equity": wording.amount(equity),
        "Today": wording.signed(bot_reading.total(work.today(quotes, now))),
        "Since adopted": wording.signed(None if equity is None else equity - begun),
        "Trades won": told["Won"],
        "A trade": told["A trade"],
    }
    with st.container(horizontal=True, key=f"bot_money_{work.adoption.id}"):
        for label, text in cells.items():
            tone = {"▲": "up", "▼": "down"}.get(text[:1], "flat")
            with st.container(key=f"bot_cell_{tone}_{work.adoption.id}_{label.replace(' ', '')}", width=150):
                st.metric(label, text, border=True)
    held = ", ".join(f"{wording.quantity(own)} {symbol}" for symbol, own in list(work.held.items())[:MANY])
    more = f" and {len(work.held) - MANY} more" if len(work.held) > MANY else ""
    dark = [symbol for symbol in work.held if symbol not in quotes]
    said = [f"No price of {symbols(dark)}, so its worth is not known"] if dark else []
    said += [f"Began with {wording.amount(begun, Decimal(1))}", told["said"], f"fees {wording.amount(work.fees)}"]
    st.caption(wording.plain(" · ".join([*said, f"holds {held}{more}" if held else "holds nothing"])))


def ladder(where: Standing) -> str:
    """The rungs in a row, as Markdown: `✔ research → ● paper → ○ small → ○ full`."""
    live = bootstrap.trading().place.needs_arming
    rungs = [Rung.RESEARCH, *([] if live else [Rung.PAPER]), Rung.SMALL, Rung.FULL]
    at = rungs.index(where.rung)
    signs = [DONE if n < at else HERE if n == at else OPEN for n in range(len(rungs))]
    said = [f"**{sign} {rung}**" if sign == HERE else f"{sign} {rung}" for sign, rung in zip(signs, rungs, strict=True)]
    return " → ".join(said)


def _rungs(where: Standing) -> None:
    st.markdown(f"{ladder(where)} · {MEANS[where.rung]}")
    for cap in where.caps:
        st.caption(f":material/lock: {wording.plain(cap)}")
    if where.toward is None:
        st.caption("The highest rung of this desk.")
        return
    with st.expander(_toward(where), icon=":material/checklist:", key=f"bot_needs_{where.adoption.id}"):
        if where.next is None:
            st.caption(ON_PAPER)
        st.markdown(needs_words(where.needs) or "Nothing is asked for.")


def _toward(where: Standing) -> str:
    """What is missing for the rung that comes next, counted."""
    missing = len(where.missing)
    said = f"{missing} of {len(where.needs)} still open" if missing else "all is met"
    elsewhere = " on a desk with real money" if where.next is None else ""
    unasked = "" if where.bound else " (asked for here only if the limits say so)"
    return f"For {where.toward}{elsewhere}: {said}{unasked}"


def needs_words(needs: Sequence[Need]) -> str:
    """The list of them as Markdown: a sign, a word, and the figures; needs of which the same is said share a line."""
    lines: dict[tuple[bool, str], list[str]] = {}
    for need in needs:
        lines.setdefault((need.done, need.said), []).append(need.name)
    return "\n".join(_need(", ".join(names), done, said) for (done, said), names in lines.items())


def _need(names: str, done: bool, said: str) -> str:
    sign, word = (DONE, "done") if done else (OPEN, "open")
    return f"- {sign} **{wording.plain(names)}**, {word}: {wording.plain(said)}"


# What may be done


def _buttons(app: Open, one: Adoption, where: Standing) -> None:
    with st.container(horizontal=True, key=f"bot_do_{one.id}"):
        if one.state is State.PAUSED:
            _button(app, one, "Resume", "resume_strategy", Kind.RESUME_STRATEGY, ":material/play_arrow:")
        else:
            _button(app, one, "Pause", "pause_strategy", Kind.PAUSE_STRATEGY, ":material/pause:")
        if where.next is not None:
            _button(app, one, f"Promote to {where.next}", "promote", Kind.PROMOTE, ":material/arrow_upward:")
        if (lower := below(where.stage)) is not None:
            _button(app, one, f"Back to {lower[0]}", "demote", Kind.DEMOTE, ":material/arrow_downward:")
        _button(app, one, "Retire", "retire", Kind.RETIRE, ":material/logout:")


def _button(app: Open, one: Adoption, label: str, dialog: str, kind: Kind, icon: str) -> None:
    if app.may(kind):
        st.button(
            label,
            key=f"bot_{dialog}_{one.id}",
            icon=icon,
            on_click=dialogs.soon,
            args=(dialog,),
            kwargs={"adoption": one.id},
        )


def found(adoption: str) -> Adoption | None:
    """A strategy at work by its id."""
    return next((one for one in adoptions(bootstrap.trading().reader) if one.id == adoption), None)


def _gone(label: str, kind: Kind, adoption: str, key: str) -> None:
    """It was retired meanwhile, or this very dialog has done it."""
    dialogs.confirm(label, kind, {"id": adoption}, key, why_not="It is not at work any more.")


@dialogs.dialog
@st.dialog("Pause a strategy")
def pause_strategy(app: Open, key: str, adoption: str) -> None:
    if (one := found(adoption)) is None:
        _gone("Pause it", Kind.PAUSE_STRATEGY, adoption, key)
        return
    st.markdown(f"**{wording.plain(title(one))}** is asked no more until somebody resumes it.")
    st.markdown(f"{ENTRIES}\n- What it holds stays, under its stops and targets.")
    st.caption("Bars that close meanwhile are not traded afterwards.")
    dialogs.confirm("Pause it", Kind.PAUSE_STRATEGY, {"id": adoption}, key)


@dialogs.dialog
@st.dialog("Resume a strategy")
def resume_strategy(app: Open, key: str, adoption: str) -> None:
    if (one := found(adoption)) is None:
        _gone("Resume it", Kind.RESUME_STRATEGY, adoption, key)
        return
    st.markdown(f"**{wording.plain(title(one))}** is asked again from the next closed bar on.")
    st.caption(f"It was paused: {wording.plain(one.reason)}")
    dialogs.confirm("Resume it", Kind.RESUME_STRATEGY, {"id": adoption}, key)


@dialogs.dialog
@st.dialog("Promote a strategy", width="medium")
def promote(app: Open, key: str, adoption: str) -> None:
    if (one := found(adoption)) is None:
        _gone("Promote it", Kind.PROMOTE, adoption, key)
        return
    where = bot_reading.stand(one, {})
    if where.next is None:
        dialogs.confirm("Promote it", Kind.PROMOTE, None, key, why_not="It is on the highest rung of this desk.")
        return
    st.markdown(f"**{wording.plain(title(one))}**, from **{where.rung}** to **{where.next}**: {MEANS[where.next]}.")
    if where.next is Rung.SMALL:
        st.selectbox("Its one symbol", list(one.symbols), key=f"bot_symbol_{key}")
    st.markdown(needs_words(where.needs))
    st.caption("The engine weighs all of it again as you ask.")
    dialogs.confirm(
        f"Promote it to {where.next}",
        Kind.PROMOTE,
        promoting(one, where, key),
        key,
        now=lambda: promoting(one, where, key),
        why_not="Some of what it needs is still open." if where.bound and where.missing else "",
    )


def promoting(one: Adoption, where: Standing, key: str) -> dict[str, str]:
    """The dialog as the payload of PROMOTE."""
    chosen = {"symbol": str(st.session_state[f"bot_symbol_{key}"])} if where.next is Rung.SMALL else {}
    return {"id": one.id, **chosen}


@dialogs.dialog
@st.dialog("Take a strategy a rung down")
def demote(app: Open, key: str, adoption: str) -> None:
    one = found(adoption)
    lower = below(bot_reading.stand(one, {}).stage) if one is not None else None
    if one is None or lower is None:
        _gone("Take it down", Kind.DEMOTE, adoption, key)
        return
    st.markdown(f"**{wording.plain(title(one))}** goes down to **{lower[0]}**: {MEANS[lower[0]]}.")
    st.markdown(f"{ENTRIES}\n- What it holds stays, under its stops, and may only shrink.")
    st.text_input("Why (kept in the record)", key=f"bot_reason_{key}", max_chars=200)
    dialogs.confirm("Take it down", Kind.DEMOTE, demoting(one, key), key, now=lambda: demoting(one, key))


def demoting(one: Adoption, key: str) -> dict[str, str]:
    """The dialog as the payload of DEMOTE."""
    return {"id": one.id, "reason": str(st.session_state.get(f"bot_reason_{key}") or "").strip()}


def style(app: Open) -> None:
    """Figures of even width; profits in the chosen colours."""
    colours = palettes.PALETTES[app.palette]
    st.html(_STYLE.format(up=colours.rising.css, down=colours.falling.css))


def looks_on() -> None:
    """Said once to who may do nothing here."""
    roles.said(Kind.PAUSE_STRATEGY, "bot")


_STYLE = """<style>
[class*="st-key-bot_money_"] {{ gap: .5rem; }}
[class*="st-key-bot_money_"] > * {{ flex: 1 1 130px; }}
[class*="st-key-bot_cell_"], [class*="st-key-bot_cell_"] > *,
[class*="st-key-bot_cell_"] [data-testid="stMetric"] {{ width: 100% !important; }}
[class*="st-key-bot_cell_"] [data-testid="stMetric"] {{ padding: 4px 12px; }}
[class*="st-key-bot_cell_"] [data-testid="stMetricValue"] {{ font-size: 1.15rem; font-variant-numeric: tabular-nums; }}
[class*="st-key-bot_cell_up_"] [data-testid="stMetricValue"] {{ color: {up}; }}
[class*="st-key-bot_cell_down_"] [data-testid="stMetricValue"] {{ color: {down}; }}
[class*="st-key-bot_card_"] {{ gap: .6rem; }}
</style>"""
