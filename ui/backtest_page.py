"""The backtest page: a question, the work on it that outlives the page, its answer, and the questions before it.

The job's id stands in the address (`?job=...`): a reload, another tab or another day shows the same answer.
"""

from __future__ import annotations

import contextlib
from datetime import date
from typing import Any

import streamlit as st

import bootstrap
from desk.authority import Deed
from domain.calendars import NEW_YORK
from domain.errors import DeskError
from research.jobs import Job, Jobs
from research.study import Asked, Study, sma_pairs
from ui import backtest_draft as kept
from ui import backtest_form as form
from ui import backtest_result as result
from ui import backtest_tables as tables
from ui import roles, sign_in, wording
from ui.session import Open

KIND = "backtest"
PRESET = "Which SMA pair did best over the last six months?"
MONTHS = 6
EARLIER = 8
MOST_COMPARED = 4
STATES = {
    "queued": ("◌", "waiting"),
    "running": ("▶", "running"),
    "done": ("✔", "done"),
    "failed": ("✖", "failed"),
    "cancelled": ("■", "cancelled"),
    "lost": ("?", "lost"),
}
NO_ANSWER = {
    "failed": "It failed, so there is no answer.",
    "cancelled": "It was cancelled, so there is no answer.",
    "lost": "It was lost, so there is no answer.",
}
EMPTY = (
    "**Nothing asked yet.** Press the question above, or fill in the form and press Run. Here will stand, for each "
    "strategy: a verdict with the checks behind it, the figures beside those of buying and holding, the equity with "
    "its drawdowns, every trade on the candles, the months, and what luck alone would have done."
)
CANDLES = (
    "**Candles** come from your own files (Settings, Your files says which folder and what a file looks like), from "
    "what this desk has kept of a real data source (Settings, Data source), or, to try the page out, from the "
    "simulated market: made-up prices, marked as such everywhere."
)
_GO, _WRONG, _ASKED = "bt_go", "bt_wrong", "bt_asked"


def show(app: Open) -> None:
    """The whole page."""
    st.html(_STYLE)
    st.session_state.pop(_GO, None)  # this is the whole run that a callback in a fragment asks for
    st.title("Backtest")
    try:
        job, compared = _chosen(), _compared()
        _ask(app, job, opened=job is None and not compared)
        if compared:
            _compare(compared)
        elif job is None:
            _nothing_asked(app)
        else:
            _job(app, job)
        _earlier(app, job)
    except DeskError as error:
        st.error(wording.plain(error), icon=":material/error:")


@st.cache_resource(max_entries=4, show_spinner=False)
def _jobs_at(url: str) -> Jobs:
    return Jobs(url)


def jobs() -> Jobs:
    """The jobs of this data folder."""
    folder = bootstrap.start().settings.data_dir
    return _jobs_at(f"sqlite:///{folder / 'research.db'}")


def _chosen() -> Job | None:
    """The job of the address; one that is gone is said and taken out of it."""
    wanted = st.query_params.get("job", "")
    if not wanted:
        return None
    found = jobs().get(wanted)
    if found is None or found.kind != KIND:
        st.warning("The backtest of this address is not there any more.", icon=":material/link_off:")
        st.query_params.pop("job", None)
        return None
    _once(found)
    return found


def _once(job: Job) -> None:
    """A question that is opened fills the form, once; one that cannot be asked any more leaves the form as it is."""
    if st.session_state.get(_ASKED) == job.id:
        return
    st.session_state[_ASKED] = job.id
    with contextlib.suppress(DeskError, ValueError, TypeError):
        kept.begin(Asked.of(job.asked).to_dict())


# Asking


def _ask(app: Open, job: Job | None, *, opened: bool) -> None:
    """The preset and the form; for who may not ask, a sentence."""
    if not app.may(Deed.RESEARCH):
        roles.said(Deed.RESEARCH, "bt")
        if said := st.session_state.pop(_WRONG, ""):
            st.error(wording.plain(said), icon=":material/error:")
        return
    now = kept.draft(app)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(PRESET, icon=":material/bolt:", key="bt_preset", on_click=_preset, args=(app,))
        st.caption(f"of {wording.plain(', '.join(now['symbols'][:3]) or 'no symbol yet')}, in one click")
    about = "What is asked" if opened else "Ask something else, or the same with other values"
    with st.expander(about, expanded=opened, icon=":material/edit_note:", key=f"bt_ask_{job.id if job else opened}"):
        _fields(app)


@st.fragment
def _fields(app: Open) -> None:
    """The form: a field that changes redraws the form and nothing else."""
    if st.session_state.pop(_GO, False):
        st.rerun()
    now = form.fields(app)
    if said := _wrong(now, st.session_state.pop(_WRONG, "")):
        st.error(wording.plain(said), icon=":material/error:")
    shut = roles.said(Deed.RESEARCH, "bt_run")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button("Run", type="primary", icon=":material/play_arrow:", key="bt_go_button", on_click=_run, disabled=shut)
        st.toggle("Verdict", key=kept.held("judged", now["judged"]), help="The checks take most of the time")
        st.caption(wording.plain(form.run_words(now)))


def _wrong(now: dict[str, Any], pressed: str) -> str:
    """What is wrong with the question; a strategy says it beside its own fields, so here only that nothing began."""
    begun = "Nothing was started. " if pressed else ""
    if any(kept.strategy_complaint(one) for one in now["strategies"]):
        return f"{begun}Mend the strategy that is marked above." if begun else ""
    why = pressed or kept.complaint(now)
    return f"{begun}{wording.sentence(why)}" if why else ""


def _run() -> None:
    """Start what the fields say; what is wrong with it stays to be said, and the fields stay as they are."""
    try:
        _begin(kept.asked_of(kept.collect()))
    except (DeskError, ValueError, TypeError) as error:
        st.session_state[_WRONG] = str(error)


def _preset(app: Open) -> None:
    now = kept.draft(app) if "bt_draft" not in st.session_state else kept.collect()
    try:
        found = sma_pairs(
            tuple(now["symbols"]) or ("AAPL",),
            months=MONTHS,
            today=_today(app, now),
            source=now["source"],
        )
        kept.begin(found.to_dict())
        _begin(found)
    except (DeskError, ValueError) as error:
        st.session_state[_WRONG] = str(error)


def _today(app: Open, now: dict[str, Any]) -> date:
    """The last day there is: the market's own, or the end of the candles that are kept where nothing newer comes."""
    market = app.desk.market
    last = market.clock.now().astimezone(NEW_YORK).date()
    if now["source"] != "files":
        return last
    ends = [one.last for one in (*market.holdings(), *market.kept()) if one.symbol in now["symbols"] and one.last]
    return min(last, max(ends).astimezone(NEW_YORK).date()) if ends else last


def _begin(asked: Asked) -> None:
    """One question is one job: asked again while it is worked on, it is the same."""
    sign_in.must(Deed.RESEARCH)
    told = asked.to_dict()
    running = [job for job in jobs().latest(KIND, EARLIER) if job.active and not job.cancel and job.asked == told]
    _open((running[0] if running else jobs().start(KIND, told)).id)
    st.session_state[_GO] = True


def _open(job: str) -> None:
    st.query_params.pop("compare", None)
    st.query_params["job"] = job
    st.session_state[_ASKED] = job  # the form holds this question already


def _asked_words(told: dict[str, Any]) -> str:
    """A question as it stands in a job, in one line."""
    try:
        return tables.asked_words(Asked.of(told))
    except (DeskError, ValueError, TypeError):
        return ", ".join(map(str, told.get("symbols", []))) or "a question that cannot be read"


# A job and its answer


def _job(app: Open, job: Job) -> None:
    if job.active:
        _progress(job.id)
    elif job.state == "done":
        _answer(app, job)
    else:
        _unanswered(job)


@st.fragment(run_every=0.5)
def _progress(job_id: str) -> None:
    """How far it is; once it is over the page shows what came of it."""
    job = jobs().get(job_id)
    if job is None or not job.active:
        st.rerun()
        return
    sign, word = STATES[job.state]
    with st.container(border=True, key="bt_progress"):
        st.markdown(f"**{sign} {word.capitalize()}** · {wording.plain(_asked_words(job.asked))}")
        said = "Being cancelled …" if job.cancel else job.said or "Waiting for a free process …"
        st.progress(
            min(max(job.share, 0.0), 1.0), text=f"{job.share:.0%} · {wording.plain(wording.sentence(said, ''))}"
        )
        shut = job.cancel or bool(roles.why_not(Deed.RESEARCH))
        st.button("Cancel", icon=":material/close:", key="bt_cancel", on_click=_cancel, args=(job.id,), disabled=shut)
        st.caption("It goes on when this page is closed; this address shows it again.")


def _cancel(job: str) -> None:
    try:
        sign_in.must(Deed.RESEARCH)
        jobs().cancel(job)
    except DeskError as error:
        st.toast(wording.plain(error), icon=":material/error:")


def _answer(app: Open, job: Job) -> None:
    try:
        study = loaded(str(job.folder), str(job.finished))
    except (DeskError, OSError) as error:
        st.error(f"The answer cannot be read: {wording.plain(error)}", icon=":material/error:")
        _again(job)
        return
    st.caption(f"{wording.plain(tables.asked_words(study.asked))} · asked {wording.hour(job.asked_at, app.zone)}")
    result.show(app, job.id, study)


@st.cache_resource(max_entries=6, show_spinner="Reading the answer …")
def loaded(folder: str, finished: str) -> Study:
    """The study of a job, read once for all visitors: nobody may change it."""
    return Study.load(folder)


def _unanswered(job: Job) -> None:
    """A job without an answer: what happened, and the way to try it again."""
    sign, _ = STATES[job.state]
    tell = st.warning if job.state == "cancelled" else st.error
    why = wording.plain(job.error).replace("\n", "  \n")
    tell(f"**{sign} {NO_ANSWER[job.state]}** {why}", icon=":material/error:")
    st.caption(wording.plain(_asked_words(job.asked)))
    if "no candles" in job.error:
        st.markdown(CANDLES)
    _again(job)


def _again(job: Job) -> None:
    if not roles.said(Deed.RESEARCH, "bt_again"):
        label, icon = "Run again", ":material/replay:"
        st.button(label, type="primary", icon=icon, key="bt_again", on_click=_rerun, args=(job.asked,))


def _rerun(told: dict[str, Any]) -> None:
    try:
        again = Asked.of(told)
        kept.begin(again.to_dict())
        _begin(again)
    except (DeskError, ValueError, TypeError) as error:
        st.session_state[_WRONG] = str(error)


def _nothing_asked(app: Open) -> None:
    with st.container(border=True, key="bt_empty"):
        st.markdown(EMPTY)
        st.markdown(CANDLES)
        held = sorted({s.symbol for s in (*app.desk.market.holdings(), *app.desk.market.kept())})
        if held:
            st.caption(f"There are candles of {wording.plain(', '.join(held[:20]))}.")
        else:
            st.caption("There are none of your own yet, so the form asks the simulated market.")


# Earlier questions


@st.fragment
def _earlier(app: Open, shown: Job | None) -> None:
    """What was asked before: open, compare, remove."""
    if st.session_state.pop(_GO, False):
        st.rerun()
    most = st.session_state.setdefault("bt_most", EARLIER)
    found = jobs().latest(KIND, most + 1)
    if not found:
        return
    with st.expander("Earlier backtests", expanded=shown is None, icon=":material/history:", key="bt_earlier"):
        chosen = [job.id for job in found[:most] if _row(app, job, shown)]
        with st.container(horizontal=True):
            st.button(
                f"Compare {len(chosen)}" if chosen else "Compare",
                key="bt_compare",
                disabled=not 2 <= len(chosen) <= MOST_COMPARED,
                help=f"Tick two to {MOST_COMPARED} that are done",
                on_click=_ask_compare,
                args=(chosen,),
            )
            if len(found) > most:
                st.button("More", key="bt_more", on_click=_more)


def _row(app: Open, job: Job, shown: Job | None) -> bool:
    """One earlier question; whether it is ticked to be compared."""
    sign, word = STATES[job.state]
    here = " · shown above" if shown is not None and shown.id == job.id else ""
    with st.container(horizontal=True, vertical_alignment="center", key=f"bt_row_{job.id}"):
        label = f"**{sign} {word}** · {wording.plain(_asked_words(job.asked))}"
        ticked = st.checkbox(label, key=f"bt_tick_{job.id}", disabled=job.state != "done")
        st.caption(f"{wording.hour(job.asked_at, app.zone)}{here}")
        st.button("Open", key=f"bt_open_{job.id}", on_click=_look, args=(job.id,), disabled=bool(here))
        if app.may(Deed.RESEARCH):
            with st.popover("Remove", disabled=job.active):
                st.write("The answer and its files are gone then. The trial ledger still counts it.")
                st.button("Remove for good", key=f"bt_remove_{job.id}", on_click=_remove, args=(job.id,))
    return bool(ticked)


def _look(job: str) -> None:
    st.query_params.pop("compare", None)
    st.query_params["job"] = job
    st.session_state[_GO] = True


def _more() -> None:
    st.session_state.bt_most += 3 * EARLIER


def _remove(job: str) -> None:
    try:
        sign_in.must(Deed.RESEARCH)
        jobs().remove(job)
    except (DeskError, OSError) as error:
        st.toast(wording.plain(error), icon=":material/error:")
        return
    if st.query_params.get("job") == job:
        st.query_params.pop("job", None)
    st.session_state[_GO] = True


def _ask_compare(chosen: list[str]) -> None:
    st.query_params.pop("job", None)
    st.query_params["compare"] = ",".join(chosen)
    st.session_state[_GO] = True


def _compared() -> list[Job]:
    """The jobs of the address that are to stand beside each other."""
    wanted = [part for part in st.query_params.get("compare", "").split(",") if part][:MOST_COMPARED]
    found = [jobs().get(one) for one in wanted]
    return [job for job in found if job is not None and job.state == "done"]


def _compare(found: list[Job]) -> None:
    """Figures of several studies side by side."""
    studies: dict[str, Study] = {}
    for name, job in zip("ABCD", found, strict=False):
        try:
            studies[name] = loaded(str(job.folder), str(job.finished))
        except (DeskError, OSError) as error:
            st.error(f"{name} cannot be read: {wording.plain(error)}", icon=":material/error:")
            continue
        st.markdown(f"**{name}** {wording.plain(tables.asked_words(studies[name].asked))}")
    if not studies:
        return
    if any(study.simulated for study in studies.values()):
        st.warning(result.SIMULATED, icon=":material/science:")
    if said := tables.unlike(list(studies.values())):
        st.warning(wording.plain(said), icon=":material/warning:")
    table = tables.beside(studies)
    columns: dict[str, Any] = {"Figure": st.column_config.TextColumn(width=165, pinned=True)}
    columns |= {name: st.column_config.TextColumn(alignment="right") for name in table.columns}
    st.dataframe(table, key="bt_beside", column_config=columns, height="content")


_STYLE = """<style>
[class*="st-key-bt_card_"] { border-left-width: 6px; }
[class*="st-key-bt_card_fail"] { border-left-color: var(--desk-bad); }
[class*="st-key-bt_card_weak"] { border-left-color: var(--desk-warn); border-left-style: dashed; }
[class*="st-key-bt_card_worth"] { border-left-color: var(--desk-info); border-left-style: double; }
[class*="st-key-bt_card_"] h2 { padding: 0; font-size: 1.55rem; overflow-wrap: anywhere; }
[class*="st-key-bt_card_fail"] h2 { color: var(--desk-bad); }
[class*="st-key-bt_card_weak"] h2 { color: var(--desk-warn); }
[class*="st-key-bt_card_worth"] h2 { color: var(--desk-info); }
[class*="st-key-bt_row_"] { border-bottom: 1px solid var(--desk-line); padding-bottom: .3rem; }
[class*="st-key-bt_wide_"] { overflow-x: auto; }
[class*="st-key-bt_wide_"] > * { min-width: 560px; }
[class*="st-key-bt_row_"] > :first-child { flex: 1 1 260px; }
</style>"""
