"""The model training page: train one, in a process that outlives the page, or load one that was trained.

The job's id stands in the address (`?job=...`), the way too (`?way=Load`): a reload, another tab or another day shows
the same. What is drawn while it trains comes from the events that the training writes into its folder.
"""

from __future__ import annotations

import gc
import importlib.util
import json
from pathlib import Path
from typing import Any

import streamlit as st

from desk.authority import Deed
from domain.errors import DeskError
from research.jobs import Job
from ui import jobs, model_card, model_shelf, roles, training_charts, wording
from ui import training_form as form
from ui.components import steady_figure
from ui.session import Open

KIND = jobs.Kind(
    "train",
    form.words,
    "Earlier trainings",
    gone="The training of this address is not there any more.",
    removal="The record of this training is gone then. A model that came of it stays.",
)
LIBRARIES = ("torch", "lightgbm", "sklearn")
WAYS = ("Train", "Load")
EVENTS, CHECKPOINT, RESULT = "events.jsonl", "checkpoint.pt", "result.json"
EMPTY = (
    "**Nothing trained yet.** Press *Retrain model*. From the first epoch on the losses stand here, with the speed and "
    "the time that is left; then what the model can and cannot do, first in a plain sentence, beside what always "
    "naming the commonest class would get."
)
CANDLES = (
    "**Candles** come from your own files (Settings, Your files says which folder and what a file looks like), from "
    "what this desk has kept of a real data source (Settings, Data source), or, to try it out, from the simulated "
    "market: a model trained on made-up prices knows nothing of the market, and says so everywhere."
)
NO_MODEL = {
    "failed": "It failed, so there is no model.",
    "cancelled": "It was cancelled, so there is no model.",
    "lost": "It was lost, so there is no model.",
}
NO_LIBRARY = (
    "**The training library cannot be loaded**, so nothing can be trained here and no model can be asked. Models that "
    "were saved can be looked at under Load. To mend it: `pip install -r requirements.txt` into the environment that "
    "runs this page, then start it again."
)
_WRONG, _ASKED = "tr_wrong", "tr_asked"


def show(app: Open) -> None:
    """The whole page."""
    st.title("Model training")
    way = st.segmented_control(
        "Way", WAYS, key="way", bind="query-params", required=True, default=WAYS[0], label_visibility="collapsed"
    )
    try:
        if way == "Load":
            model_shelf.show(app)
        else:
            _train(app)
    except DeskError as error:
        st.error(wording.plain(error), icon=":material/error:")


# Train


def _train(app: Open) -> None:
    if trouble := library_trouble():
        st.error(NO_LIBRARY, icon=":material/extension_off:")
        st.caption(wording.plain(trouble))
        jobs.earlier(app, KIND, None)
        return
    job = jobs.chosen(KIND)
    _once(job)
    _ask(app, opened=job is None)
    if job is None:
        _nothing_yet()
    elif job.active:
        _running(job.id)
    elif job.state == "done":
        _trained(app, job)
    else:
        _unfinished(app, job)
    jobs.earlier(app, KIND, job)


def library_trouble() -> str:
    """Why torch, LightGBM or what they stand on cannot be used; '' where they can."""
    if missing := [name for name in LIBRARIES if importlib.util.find_spec(name) is None]:
        return f"{', '.join(missing)} cannot be found."
    try:
        _library()
    except (ImportError, OSError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


@st.cache_resource(show_spinner="Loading the training library …")
def _library() -> bool:
    """Once a process. What came with it is moved out of the garbage collector's sight, as at the start."""
    import learning.labels
    import learning.options  # noqa: F401 - a second of imports, wanted here and not at the first visitor

    gc.collect()
    gc.freeze()
    return True


def _once(job: Job | None) -> None:
    """A training that is opened fills the form, once."""
    if job is not None and st.session_state.get(_ASKED) != job.id:
        st.session_state[_ASKED] = job.id
        form.begin(job.asked)


def _ask(app: Open, *, opened: bool) -> None:
    if not app.may(Deed.RESEARCH):
        roles.said(Deed.RESEARCH, "tr")
        if said := st.session_state.pop(_WRONG, ""):
            st.error(wording.plain(said), icon=":material/error:")
        return
    now = form.draft(app)
    about = "What to train" if opened else f"Train again or another one · {form.words(now)}"
    with st.expander(wording.plain(about), expanded=opened, icon=":material/edit_note:", key=f"tr_ask_{opened}"):
        _fields(app)


@st.fragment
def _fields(app: Open) -> None:
    """The form: a field that changes redraws the form and nothing else."""
    jobs.step_out()
    now = form.fields(app)
    said = st.session_state.pop(_WRONG, "") or form.complaint(app, now)
    if app.desk.market.simulated and now["source"] != form.FILES:
        st.warning(
            "**SIMULATED.** These prices are made up: what is trained on them knows nothing of the market.",
            icon=":material/science:",
        )
    if said:
        st.error(wording.plain(said), icon=":material/error:")
    shut = roles.said(Deed.RESEARCH, "tr_run")
    with st.container(horizontal=True, vertical_alignment="center"):
        label, icon = "Retrain model", ":material/model_training:"
        st.button(label, type="primary", icon=icon, key="tr_go", on_click=_go, args=(app,), disabled=shut)
        st.caption("It trains in a process of its own; this page can be closed meanwhile.")
    with st.container(key="tr_words"):
        st.caption(wording.plain(form.words(now)))


def _go(app: Open) -> None:
    _start(app, form.collect())


def _start(app: Open, told: dict[str, Any], resume: str = "") -> None:
    """In a callback: start this training. What is wrong with it stays to be said, and the fields stay as they are."""
    try:
        asked = form.asked_of(app, told) | ({"resume": resume} if resume else {})
        jobs.begin(KIND, asked)
    except (DeskError, ValueError, TypeError) as error:
        st.session_state[_WRONG] = str(error)
    else:
        st.session_state[_ASKED] = st.query_params["job"]  # the form holds this training already


def _nothing_yet() -> None:
    if jobs.jobs().latest(KIND.name, 1):
        return
    with st.container(border=True, key="tr_empty"):
        st.markdown(EMPTY)
        st.markdown(CANDLES)


# While it trains


@st.fragment(run_every=0.7)
def _running(job_id: str) -> None:
    """How far it is; once it is over the page shows what came of it."""
    job = jobs.jobs().get(job_id)
    if job is None or not job.active:
        st.rerun()
        return
    with st.container(border=True, key="tr_running"):
        jobs.head(KIND, job)
        jobs.progress(job)
        _curves(job, running=True)


def _curves(job: Job, *, running: bool) -> None:
    """Speed, time left and the losses so far."""
    told = events(job.folder)
    if not told["epochs"]:
        if running:
            st.caption("The losses stand here from the end of the first epoch on.")
        return
    _figures(job, told, running=running)
    options = job.asked.get("training", {}).get("options", {})
    mark = training_charts.SIMULATED if job.asked.get("source") == "simulated" else ""
    planned = int(options.get("epochs", 0)) if running else 0
    figure = training_charts.losses(told["epochs"], told["best"], planned, mark)
    steady_figure(figure, key=f"tr_losses_{job.id}", label="Loss of each epoch so far")


def _figures(job: Job, told: dict[str, Any], *, running: bool) -> None:
    last = told["epochs"][-1]
    of = job.asked.get("training", {}).get("options", {}).get("epochs", "?")
    cards = [
        ("Epoch", f"{max(last['epoch'], told['epoch'] if running else 0)} of {of}"),
        ("Validation loss", f"{last['val_loss']:.4f}"),
        ("Best epoch", f"{told['best']}"),
        ("Windows a second", f"{told['rate']:,.0f}"),
    ]
    if running:
        cards.append(("Left, at most", _duration(told["left_s"])))
    with st.container(horizontal=True):
        for label, value in cards:
            st.metric(label, value, width=150)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    if minutes >= 10:
        return f"{minutes} min"
    return f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"


def events(folder: Path) -> dict[str, Any]:
    """What the training has told so far: its ended epochs, the best one, and its speed now. Half a line at the end,
    still being written, is left out."""
    found: dict[str, Any] = {"epochs": [], "best": 0, "epoch": 0, "rate": 0.0, "left_s": 0.0, "windows": 0}
    try:
        text = (folder / EVENTS).read_text(encoding="utf-8")
    except (OSError, ValueError):
        return found
    lines = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
    for at, line in enumerate(lines):
        if '"step"' in line and at < len(lines) - 1:
            continue  # of what happens within an epoch only the newest is shown
        try:
            _take(found, json.loads(line))
        except (ValueError, KeyError, TypeError):
            continue
    return found


def _take(found: dict[str, Any], told: dict[str, Any]) -> None:
    if told["event"] == "begin":
        found["windows"] = told.get("windows", 0)
    if told["event"] == "epoch":
        found["epochs"].append(told)
        found["best"] = min(found["epochs"], key=lambda one: one["val_loss"])["epoch"]
    found |= {name: told[name] for name in ("epoch", "rate", "left_s") if name in told}


# Afterwards


def _trained(app: Open, job: Job) -> None:
    try:
        told = json.loads((job.folder / RESULT).read_text(encoding="utf-8"))
        here = model_shelf.manager(app)
        entry = here.entry(f"v{told['version']}", told["name"])
    except (DeskError, OSError, ValueError, KeyError) as error:
        st.error(f"What came of it cannot be read: {wording.plain(error)}", icon=":material/error:")
        _again(app, job)
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(f"**✔ Saved as {wording.plain(entry.called)}** · {model_shelf.SIGNS[entry.status]}")
        st.caption(wording.hour(job.finished or job.asked_at, app.zone))
        st.button("Load it …", key="tr_load", icon=":material/upload:", on_click=_load, args=(entry.called,))
    model_card.show(entry.called, entry.said, entry.status)


def _load(called: str) -> None:
    st.session_state.way, st.session_state.version = "Load", called


def _unfinished(app: Open, job: Job) -> None:
    """A job without a model: what happened, what is kept, and the ways on."""
    sign, _ = jobs.STATES[job.state]
    why = job.error.removesuffix(" There is no answer: ask again.")
    box = st.info if job.state == "cancelled" else st.error
    done = len(events(job.folder)["epochs"])
    kept = f" What it learned in {done} epochs is kept: resume it, or start anew." if _kept(job) and done else ""
    box(f"**{sign} {NO_MODEL[job.state]}** {wording.plain(why)}{kept}", icon=":material/block:")
    st.caption(wording.plain(form.words(job.asked)))
    if "candles" in job.error:
        st.markdown(CANDLES)
    _again(app, job)
    _curves(job, running=False)


def _kept(job: Job) -> bool:
    """Whether it can go on where it was."""
    return (job.folder / CHECKPOINT).exists()


def _again(app: Open, job: Job) -> None:
    if roles.said(Deed.RESEARCH, "tr_again"):
        return
    kept = _kept(job)
    done = len(events(job.folder)["epochs"])
    with st.container(horizontal=True, vertical_alignment="center"):
        if kept and job.state != "done":
            label = f"Resume after epoch {done}" if done else "Resume"
            st.button(
                label,
                type="primary",
                icon=":material/resume:",
                key="tr_resume",
                on_click=_start,
                args=(app, job.asked, str(job.folder)),
            )
        st.button(
            "Start anew",
            type="secondary" if kept else "primary",
            icon=":material/replay:",
            key="tr_anew",
            on_click=_start,
            args=(app, job.asked),
        )
        if "loss is not a number" in job.error:
            slow = form.slower(job.asked)
            rate = slow["training"]["options"]["lr"]
            st.button(f"Start anew with lr {rate:g}", key="tr_slower", on_click=_start, args=(app, slow))
    if said := st.session_state.pop(_WRONG, ""):
        st.error(wording.plain(said), icon=":material/error:")
