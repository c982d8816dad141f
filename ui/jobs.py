"""Long work as pages show it: the job of the address, how far it is, and the ones before it.

The job's id stands in the address (`?job=...`): a reload, another tab or another day shows the same one. The rule: a
page only asks and looks; the work is in a process of its own, which no page can hold up or take with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st

import bootstrap
from desk.authority import Deed
from domain.errors import DeskError
from research.jobs import Job, Jobs
from ui import roles, sign_in, wording
from ui.session import Open

EARLIER = 8
STATES = {
    "queued": ("◌", "waiting"),
    "running": ("▶", "running"),
    "done": ("✔", "done"),
    "failed": ("✖", "failed"),
    "cancelled": ("■", "cancelled"),
    "lost": ("?", "lost"),
}
_GO = "jobs_go"
_STYLE = """<style>
[class*="st-key-job_row_"] { border-bottom: 1px solid var(--desk-line); padding-bottom: .3rem; }
[class*="st-key-job_row_"] > :first-child { flex: 1 1 260px; }
</style>"""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of job on its page: `words` is what was asked, in one line; `title` is of the list of earlier ones."""

    name: str
    words: Callable[[Mapping[str, Any]], str]
    title: str
    gone: str = "The job of this address is not there any more."
    removal: str = "Its files are gone then."


@st.cache_resource(max_entries=4, show_spinner=False)
def _at(url: str) -> Jobs:
    return Jobs(url)


def jobs() -> Jobs:
    """The jobs of this data folder."""
    folder = bootstrap.start().settings.data_dir
    return _at(f"sqlite:///{folder / 'research.db'}")


def chosen(kind: Kind) -> Job | None:
    """The job of the address; one that is gone is said and taken out of it."""
    wanted = st.query_params.get("job", "")
    if not wanted:
        return None
    found = jobs().get(wanted)
    if found is None or found.kind != kind.name:
        st.warning(kind.gone, icon=":material/link_off:")
        st.query_params.pop("job", None)
        return None
    return found


def show(job: str) -> None:
    """In a callback: let the page show this job."""
    st.query_params["job"] = job
    st.session_state[_GO] = True


def step_out() -> None:
    """First in a part that is drawn by itself: what `show` asked for is the whole page's to draw."""
    if st.session_state.pop(_GO, False):
        st.rerun()


def begin(kind: Kind, asked: Mapping[str, Any]) -> None:
    """In a callback: start this job and show it. Asked again while it is worked on, it is the same one. DeskError."""
    sign_in.must(Deed.RESEARCH)
    known = [job for job in jobs().latest(kind.name, EARLIER) if job.active and not job.cancel and job.asked == asked]
    show((known[0] if known else jobs().start(kind.name, asked)).id)


def head(kind: Kind, job: Job) -> None:
    """Its state in sign and word, and what was asked."""
    sign, word = STATES[job.state]
    st.markdown(f"**{sign} {word.capitalize()}** · {wording.plain(kind.words(job.asked))}")


def progress(job: Job) -> None:
    """How far a job is that is not over, and the way to stop it."""
    said = "Being cancelled …" if job.cancel else job.said or "Waiting for a process …"
    st.progress(min(max(job.share, 0.0), 1.0), text=f"{job.share:.0%} · {wording.plain(wording.sentence(said, ''))}")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Cancel",
            icon=":material/close:",
            key=f"job_cancel_{job.id}",
            on_click=cancel,
            args=(job.id,),
            disabled=job.cancel or bool(roles.why_not(Deed.RESEARCH)),
        )
        st.caption("It goes on when this page is closed; this address shows it again.")


def cancel(job: str) -> None:
    """In a callback: call it off."""
    try:
        sign_in.must(Deed.RESEARCH)
        jobs().cancel(job)
    except DeskError as error:
        st.toast(wording.plain(error), icon=":material/error:")


@st.fragment
def earlier(app: Open, kind: Kind, shown: Job | None) -> None:
    """What was asked before: open it, or remove it for good."""
    step_out()
    most = st.session_state.setdefault("jobs_most", EARLIER)
    found = jobs().latest(kind.name, most + 1)
    if not found:
        return
    st.html(_STYLE)
    title = f"{kind.title} ({min(len(found), most)}{'+' if len(found) > most else ''})"
    with st.expander(title, expanded=shown is None, icon=":material/history:"):
        for job in found[:most]:
            _row(app, kind, job, shown)
        if len(found) > most:
            st.button("More", key="jobs_more", on_click=_more)


def _row(app: Open, kind: Kind, job: Job, shown: Job | None) -> None:
    here = shown is not None and shown.id == job.id
    with st.container(horizontal=True, vertical_alignment="center", key=f"job_row_{job.id}"):
        head(kind, job)
        st.caption(f"{wording.hour(job.asked_at, app.zone)}{' · shown above' if here else ''}")
        st.button("Open", key=f"job_open_{job.id}", on_click=show, args=(job.id,), disabled=here)
        if app.may(Deed.RESEARCH):
            with st.popover("Remove", disabled=job.active):
                st.write(kind.removal)
                st.button("Remove for good", key=f"job_remove_{job.id}", on_click=_remove, args=(job.id,))


def _more() -> None:
    st.session_state.jobs_most += 3 * EARLIER


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
