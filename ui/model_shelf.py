"""The models on disk: what each is worth, which one is asked, and the way to change that.

The rule: every change asks once, with a reason, and stands in the registry's history for ever.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from desk.authority import Deed
from domain.clock import SystemClock
from domain.errors import DeskError
from domain.models import ALIASES
from model_manager import Entry, ModelManager
from ui import dialogs, model_card, roles, sign_in, wording
from ui.session import Open

SIGNS = {
    "champion": "★ champion",
    "challenger": "☆ challenger",
    "candidate": "◌ candidate",
    "retired": "▪ retired",
    "unfinished": "… unfinished",
    "damaged": "✖ damaged",
}
USABLE = ("champion", "challenger", "candidate")
MEANS = {
    "champion": "The strategy lstm and the live chart ask the champion.",
    "challenger": "A strategy can ask the challenger beside the champion, to see which does better.",
}
EMPTY = (
    "**No models yet.** Train one: it is saved here under a version of its own, with what it learned from and how it "
    "did beside plain baselines. Then it can be made the champion, which the strategy lstm and the live chart ask."
)
ROWS = {
    "status": "Status",
    "label": "Asked",
    "timeframe": "Bars",
    "tested from": "Tested from",
    "tested to": "Tested to",
    "n": "Bars tested",
    "acc": "Right",
    "majority_acc": "Majority",
    "logloss": "Log-loss",
    "brier": "Brier",
    "ece": "ECE",
    "auc": "AUC",
    "mcc": "MCC",
    "coverage_p70": "Over 70 %",
    "precision_p70": "Right there",
}
SAME = ("label", "timeframe", "tested from", "tested to")
_TOLD, _DONE = "shelf_told", "shelf_done"


def manager(app: Open) -> ModelManager:
    """The models of this desk."""
    return ModelManager(app.desk.settings.models_dir, SystemClock())


def show(app: Open) -> None:
    """The whole way Load."""
    if told := st.session_state.pop(_TOLD, None):
        st.toast(wording.plain(told), icon=":material/check:")
    here = manager(app)
    entries = list(reversed(here.entries()))
    if not entries:
        with st.container(border=True):
            st.markdown(EMPTY)
            st.caption(f"Looked in {wording.plain(here.folder.absolute())}.")
            st.button("Train the first one", type="primary", key="shelf_train", on_click=_to_training)
        return
    _asked_now(app, here, entries)
    st.subheader("Versions")
    st.dataframe(
        listed(here, entries, SystemClock().now()),
        key="shelf_table",
        hide_index=True,
        height="content" if len(entries) <= 12 else 460,
        column_config=_COLUMNS,
    )
    _pick(app, here, entries)
    _history(app, here)


def _to_training() -> None:
    st.session_state.way = "Train"


# Which one is asked


def _asked_now(app: Open, here: ModelManager, entries: list[Entry]) -> None:
    for column, alias in zip(st.columns(2), ALIASES, strict=True):
        with column, st.container(border=True, height="stretch", key=f"shelf_alias_{alias}"):
            found = next((one for one in entries if one.status == alias), None)
            meant = here.registry()["aliases"]
            if found is not None:
                st.markdown(f"**{SIGNS[alias]}: {wording.plain(found.called)}** · {_made(found)}")
                made_up = "**SIMULATED** " if model_card.simulated(found.said) else ""
                st.caption(f"{made_up}{wording.plain(model_card.about(found.said))}. {MEANS[alias]}")
            elif broken := [f"{name}_v{of[alias]}" for name, of in meant.items() if alias in of]:
                st.markdown(f"**✖ {alias}: {wording.plain(', '.join(broken))} cannot be used**")
                st.caption("Name another version, or roll back. Whoever asks it gets no answer.")
            else:
                st.markdown(f"**{SIGNS[alias][0]} No {alias} yet**")
                st.caption(f"{MEANS[alias]} Choose a version below.")
            moved = [h for h in here.registry()["history"] if h["alias"] == alias]
            if moved and moved[-1]["before"] is not None and app.may(Deed.MODELS):
                last = moved[-1]
                st.button(
                    f"Roll back to v{last['before']}",
                    key=f"shelf_back_{alias}",
                    icon=":material/undo:",
                    on_click=dialogs.soon,
                    args=("roll_back",),
                    kwargs={"alias": alias, "family": last["name"], "before": last["before"]},
                )


def _made(entry: Entry) -> str:
    return f"trained {model_card.age(str(entry.said.get('created_utc', '')), SystemClock().now())}"


# The list


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells one state of a file from another."""

    path: str
    size: int
    changed: int


@st.cache_data(max_entries=500, show_spinner=False)
def _sha256(_path: Path, stamp: Stamp) -> str:
    with _path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def whole(here: ModelManager, entry: Entry) -> str:
    """What is wrong with the file of the weights; '' where it is, to the last byte, what was saved."""
    path, saved = here.folder / f"{entry.called}.pth", entry.said.get("files", {}).get("pth", {})
    try:
        state = path.stat()
        if state.st_size != saved.get("bytes"):
            return f"torn: {state.st_size:,} of {saved.get('bytes', 0):,} bytes"
        stamp = Stamp(str(path.absolute()), state.st_size, state.st_mtime_ns)
        same = _sha256(path, stamp) == saved.get("sha256")
    except OSError:
        return "its weights are gone"
    return "" if same else "changed since it was saved"


def listed(here: ModelManager, entries: list[Entry], now: datetime) -> pd.DataFrame:
    """A row a version, the newest first."""
    return pd.DataFrame([_line(here, entry, now) for entry in entries], columns=list(_COLUMNS))


def _line(here: ModelManager, entry: Entry, now: datetime) -> dict[str, Any]:
    row = dict.fromkeys(_COLUMNS, wording.NOTHING) | {"Version": entry.called, "Status": SIGNS[entry.status]}
    if entry.wrong:
        return row | {"File": f"✖ {entry.status}", "Learned from": entry.wrong}
    said, test = entry.said, entry.said.get("metrics", {}).get("test") or {}
    wrong = whole(here, entry)
    row |= {
        "Trained": model_card.age(said["created_utc"], now),
        "Asked": said["label"].get("kind", "?").replace("_", " "),
        "Learned from": ("SIMULATED " if model_card.simulated(said) else "") + model_card.about(said),
        "File": f"✖ {wrong}" if wrong else "✔ as saved",
    }
    if test:
        low, high = test["acc_ci95"]
        row |= {
            "Right": f"{test['acc']:.1%} ({low:.1%} to {high:.1%})",
            "Majority": f"{test['majority_acc']:.1%}",
            "Verdict": model_card.BADGES[model_card.badge_of(said)][0],
        }
    return row


_COLUMNS: dict[str, Any] = {
    "Version": st.column_config.TextColumn(pinned=True, width=115),
    "Status": st.column_config.TextColumn(width=105),
    "File": st.column_config.TextColumn(width=95, help="Whether the weights are, to the last byte, what was saved"),
    "Trained": st.column_config.TextColumn(width=105),
    "Asked": st.column_config.TextColumn(width=105),
    "Right": st.column_config.TextColumn(width=165, help="On bars that nothing was learned or tuned from"),
    "Majority": st.column_config.TextColumn(width=80, help="What always naming the commonest class gets"),
    "Verdict": st.column_config.TextColumn(width=220),
    "Learned from": st.column_config.TextColumn(width=300),
}


# One version, or two beside each other


def _pick(app: Open, here: ModelManager, entries: list[Entry]) -> None:
    by_name = {entry.called: entry for entry in entries}
    left, right = st.columns(2)
    called = left.selectbox("Look at", list(by_name), key="version", bind="query-params")
    entry = by_name[called if called in by_name else entries[0].called]
    others = [name for name, other in by_name.items() if name != entry.called and not other.wrong]
    beside = right.selectbox("Compare with", others, index=None, key="beside", placeholder="nothing")
    if entry.wrong:
        st.error(f"**{SIGNS[entry.status]}.** {wording.plain(entry.wrong)}", icon=":material/broken_image:")
        st.caption("It is never loaded. Its file can be deleted by hand; the other versions are not touched by it.")
        return
    if wrong := whole(here, entry):
        st.error(f"**Its weights are not what was saved: {wrong}.** It is refused.", icon=":material/broken_image:")
    if not roles.said(Deed.MODELS, "shelf"):
        _actions(entry, wrong)
    if beside:
        _compared(here, entry, by_name[beside])
    model_card.show(entry.called, entry.said, entry.status)


def _actions(entry: Entry, wrong: str) -> None:
    with st.container(horizontal=True, key="shelf_actions"):
        for alias in ALIASES:
            st.button(
                f"Make {alias}",
                key=f"shelf_point_{alias}",
                type="primary" if alias == "champion" else "secondary",
                disabled=bool(wrong) or entry.status in (alias, "retired"),
                on_click=dialogs.soon,
                args=("point_alias",),
                kwargs={"alias": alias, "family": entry.name, "version": entry.version},
            )
        st.button(
            "Retire",
            key="shelf_retire",
            disabled=entry.status not in ("candidate",),
            help="Never load it again; its files stay. The champion and the challenger are replaced first.",
            on_click=dialogs.soon,
            args=("retire_model",),
            kwargs={"family": entry.name, "version": entry.version},
        )


def _compared(here: ModelManager, one: Entry, other: Entry) -> None:
    st.subheader(f"{one.called} beside {other.called}")
    found = here.compare(f"v{one.version}", name=one.name).join(
        here.compare(f"v{other.version}", name=other.name), how="outer"
    )
    if apart := [name for name in SAME if name in found.index and found.loc[name].nunique() > 1]:
        st.warning(
            f"They differ in {', '.join(apart)}: their figures were not taken on the same questions, so the one with "
            "the higher figure need not be the better one.",
            icon=":material/warning:",
        )
    there = {name: title for name, title in ROWS.items() if name in found.index}
    rows = {title: [_figure(name, found.loc[name, c]) for c in found] for name, title in there.items()}
    table = pd.DataFrame(rows, index=list(found.columns)).T.rename_axis("Figure").reset_index()
    columns = {name: st.column_config.TextColumn(alignment="right") for name in found.columns}
    st.dataframe(table, key="shelf_beside", hide_index=True, height="content", column_config=columns)


def _figure(name: str, value: Any) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return wording.NOTHING
    if isinstance(value, str):
        return value.replace("_", " ")
    if name in model_card.SHARES:
        return f"{value:.1%}"
    return f"{value:,.0f}" if name == "n" else f"{value:.4f}".replace("-", "−")


# Changes


@dialogs.dialog
def point_alias(app: Open, key: str, alias: str, family: str, version: int) -> None:
    """Make a version the champion or the challenger."""

    @st.dialog(f"Make v{version} the {alias}?")
    def ask() -> None:
        st.write(wording.plain(f"From then on {family}_v{version} is the {alias}. {MEANS[alias]}"))
        entry = manager(app).entry(f"v{version}", family)
        if model_card.badge_of(entry.said) == "worse":
            st.warning("On later bars it did no better than the majority.", icon=":material/warning:")
        if model_card.simulated(entry.said):
            st.warning("It learned from made-up prices: it knows nothing of the market.", icon=":material/science:")
        _confirm(
            key,
            f"Make v{version} the {alias}",
            lambda why: manager(app).point(alias, f"v{version}", why=why, name=family),
            f"{family}_v{version} is the {alias} now.",
        )

    ask()


@dialogs.dialog
def roll_back(app: Open, key: str, alias: str, family: str, before: int) -> None:
    """Let an alias mean again what it meant before."""

    @st.dialog(f"Roll the {alias} back to v{before}?")
    def ask() -> None:
        st.write(wording.plain(f"From then on {family}_v{before} is the {alias} again."))
        _confirm(
            key,
            f"Roll back to v{before}",
            lambda why: manager(app).roll_back(alias, why=why, name=family),
            f"{family}_v{before} is the {alias} again.",
        )

    ask()


@dialogs.dialog
def retire_model(app: Open, key: str, family: str, version: int) -> None:
    """Never load a version again."""

    @st.dialog(f"Retire v{version}?")
    def ask() -> None:
        st.write(wording.plain(f"{family}_v{version} is never loaded again. Its files stay where they are."))
        _confirm(
            key,
            f"Retire v{version}",
            lambda why: manager(app).retire(f"v{version}", why=why, name=family),
            f"{family}_v{version} is retired.",
        )

    ask()


def _confirm(key: str, label: str, change: Callable[[str], Any], told: str) -> None:
    """The reason, and the button that does it: once, however often it is pressed."""
    if roles.said(Deed.MODELS, f"shelf_{key}"):
        return
    st.text_input("Reason", key=f"shelf_why_{key}", placeholder="better on 2,000 later bars", max_chars=200)
    st.button(
        label,
        key=f"shelf_do_{key}",
        type="primary",
        width="stretch",
        on_click=_change,
        args=(key, change, told),
        help="It stands in the history with this reason",
    )
    state = st.session_state.get(_DONE, {}).get(key)
    if state == "":
        st.session_state[_TOLD] = told
        st.rerun()
    elif state:
        st.error(wording.plain(state), icon=":material/error:")


def _change(key: str, change: Callable[[str], Any], told: str) -> None:
    done = st.session_state.setdefault(_DONE, {})
    if done.get(key) == "":
        return
    try:
        sign_in.must(Deed.MODELS)
        change(str(st.session_state.get(f"shelf_why_{key}", "")).strip())
    except (DeskError, OSError, ImportError) as error:
        done[key] = str(error)
    else:
        done[key] = ""


# History


def _history(app: Open, here: ModelManager) -> None:
    lines = list(reversed(here.registry()["history"]))
    with st.expander(f"History ({len(lines)})", icon=":material/history:"):
        if not lines:
            st.caption("Nothing was changed yet.")
            return
        table = pd.DataFrame(
            [
                {
                    "When": wording.hour(datetime.fromisoformat(h["at"]), app.zone),
                    "What": _words(h),
                    "Reason": h["why"] or wording.NOTHING,
                }
                for h in lines
            ]
        )
        st.dataframe(table, hide_index=True, key="shelf_history", height="content" if len(lines) <= 12 else 460)


def _words(line: dict[str, Any]) -> str:
    called = f"{line['name']}_v{line['version']}"
    if not line["alias"]:
        return f"{called} retired"
    before = "" if line["before"] is None else f" (before: v{line['before']})"
    verb = "rolled back to" if line["action"] == "roll back" else "is now"
    return f"{line['alias']} {verb} {called}{before}"
