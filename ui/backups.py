"""Settings → Backups: the newest one and its age, one made now, each one read again, and the way back; for owners.

The rule: a page only asks and looks. A backup is made, and read, in a process of its own that no page can hold up, and
is restored from the command line alone, with the desk stopped.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

import streamlit as st

from desk.authority import Deed
from domain.clock import SystemClock
from domain.errors import BackupError, DeskError
from settings import Settings
from ui import roles, sign_in, wording
from ui.session import Open
from upkeep import backup
from upkeep.backup import Listed

TAB = "Backups"
STALE = timedelta(days=8)
MOST, LOOK_S = 30, 2.0
NOW = "Back up now"
_LOOKING = "backups_looking"


@dataclass(slots=True)
class Run:
    """A process under way or over: `what` it does, and what it printed."""

    what: str
    path: str
    began: datetime
    process: subprocess.Popen[bytes]
    told: IO[bytes]

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    @property
    def failed(self) -> bool:
        return bool(self.process.poll())

    @property
    def said(self) -> str:
        """All of it, in one line."""
        self.told.seek(0)
        lines = self.told.read(4_000).decode(errors="replace").splitlines()
        return " · ".join(" ".join(line.split()) for line in lines if line.strip())


@dataclass(slots=True)
class Runs:
    """The newest process, for everybody who looks; one at a time."""

    newest: Run | None = None
    turn: threading.Lock = field(default_factory=threading.Lock)

    def begin(self, what: str, arguments: list[str], path: str = "") -> None:
        """Start it; BackupError where one is under way."""
        with self.turn:
            if self.newest is not None and self.newest.running:
                raise BackupError("Another one is under way: wait until it has ended.")
            told = tempfile.TemporaryFile()  # noqa: SIM115 - read for as long as the run is shown
            command = [sys.executable, "-m", "upkeep", *arguments]
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=told, stderr=told)  # noqa: S603 - ours
            self.newest = Run(what, path, SystemClock().now(), process, told)


@st.cache_resource(show_spinner=False)
def runs() -> Runs:
    """Of this server."""
    return Runs()


def backups(app: Open) -> None:
    """The whole tab."""
    if not app.may(Deed.BACKUPS):
        roles.said(Deed.BACKUPS, "backups")
        return
    roles.said(Deed.BACKUPS, "backups_idle")
    st.session_state[_LOOKING] = looking = _busy()
    st.fragment(run_every=LOOK_S if looking else None)(_drawn)(app)


def _busy() -> bool:
    newest = runs().newest
    return newest is not None and newest.running


def _drawn(app: Open) -> None:
    if st.session_state.get(_LOOKING) != _busy():
        st.rerun()  # it began or ended: from now on this part looks every two seconds, or no more
    settings, now = app.desk.settings, SystemClock().now()
    try:
        desk = backup.identity(settings.data_dir)
        found = backup.listed(settings.backup_dir, desk)[:MOST] if desk else []
    except (DeskError, OSError) as error:
        st.error(wording.plain(error), icon=":material/error:")
        return
    _standing(found, now, app.zone)
    _make(settings)
    _outcome(runs().newest)
    _automatic(settings)
    for one in found:
        _row(one, app.zone)
    _way_back(found)


def standing(found: list[Listed], now: datetime) -> tuple[str, str]:
    """How the desk is kept: good, warn or bad, and the sentence."""
    sound = next((one.manifest for one in found if one.manifest is not None), None)
    if sound is None:
        lost = "Never backed up. A disk that dies takes the ledger with it, and what you know of your trades."
        return "bad", lost if not found else "No backup here can be opened. Make a new one."
    age = ago(now - sound.made_at)
    if found[0].manifest is None:
        return "bad", f"The newest file cannot be opened. The newest sound backup is {age} old."
    if now - sound.made_at > STALE:
        return "warn", f"The newest backup is {age} old. What happened since is in none."
    return "good", f"The newest backup is {age} old."


def ago(age: timedelta) -> str:
    """An age for a person."""
    minutes = max(0, int(age.total_seconds() // 60))
    if minutes < 1:
        return "less than a minute"
    for unit, size in (("day", 1440), ("hour", 60), ("minute", 1)):
        if minutes >= size:
            count = minutes // size
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return ""


def _standing(found: list[Listed], now: datetime, zone: str) -> None:
    tone, said = standing(found, now)
    box, icon = {
        "good": (st.success, ":material/check_circle:"),
        "warn": (st.warning, ":material/history:"),
        "bad": (st.error, ":material/warning:"),
    }[tone]
    box(said, icon=icon)


def _make(settings: Settings) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            NOW,
            key="backups_now",
            type="primary",
            icon=":material/save:",
            on_click=_begin,
            args=(settings,),
            disabled=_busy() or bool(roles.why_not(Deed.BACKUPS)),
        )
        st.checkbox("with candles", key="backups_candles", help="Kept candles and your own files: large, seldom needed")
    st.caption(wording.plain(f"Goes to {settings.backup_dir.absolute()}, while the desk trades on. Keys stay out."))


def _begin(settings: Settings) -> None:
    candles = ["--candles"] if st.session_state.get("backups_candles") else []
    _start("backup", ["backup", "--to", str(settings.backup_dir), *candles])


def _verify(path: Path) -> None:
    _start("verify", ["verify", str(path)], path.name)


def _start(what: str, arguments: list[str], path: str = "") -> None:
    try:
        sign_in.must(Deed.BACKUPS)
        runs().begin(what, arguments, path)
    except (DeskError, OSError) as error:
        st.toast(wording.plain(error), icon=":material/error:")


def _outcome(run: Run | None) -> None:
    if run is None:
        return
    if run.running:
        doing = "Backing up" if run.what == "backup" else f"Reading {run.path} to the last byte"
        st.info(wording.plain(f"{doing} … it goes on when this page is closed."), icon=":material/hourglass_top:")
    elif run.failed:
        what = "No backup was made" if run.what == "backup" else "Not sound"
        st.error(wording.plain(f"{what}: {run.said}"), icon=":material/error:")
    else:
        st.caption(wording.plain(f"✔ {run.said}"))


def _automatic(settings: Settings) -> None:
    if settings.backup_daily is None:
        said = "None is made by itself. BACKUP_DAILY=18 in .env makes one each day from 18:00 New York on."
    else:
        said = (
            f"One is made each day from {settings.backup_daily}:00 New York on, while the dashboard runs; the newest "
            f"{settings.backup_keep} stay. One that fails is told like any other error."
        )
    st.caption(wording.plain(said))


def _row(one: Listed, zone: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key=f"backups_row_{one.path.stem}"):
        if one.manifest is None:
            st.markdown(f"✖ **{wording.plain(one.path.name)}** · {wording.plain(one.wrong)}")
            return
        when = f"{wording.hour(one.manifest.made_at, zone)} {wording.zone_name(zone)}"
        lines = sum(ledger.audit_seq for ledger in one.manifest.ledgers)
        size = backup.size_words(one.size)
        with_it = " · with secrets, sealed" if one.manifest.secrets else ""
        st.markdown(f"**{when}** · {size} · {lines:,} ledger lines{with_it}")
        st.button("Verify", key=f"backups_verify_{one.path.stem}", on_click=_verify, args=(one.path,), disabled=_busy())


def _way_back(found: list[Listed]) -> None:
    with st.expander("How to restore one", icon=":material/settings_backup_restore:"):
        newest = next((one.path for one in found if one.manifest is not None), None)
        st.markdown("Stop the desk (Ctrl+C where it runs), then:")
        st.code(f"make restore FROM={newest or 'backups/desk-….zip'}", language="bash")
        st.markdown(
            "What is there is moved aside, never deleted. The desk comes back **halted**: what was ordered since the "
            "backup is not in its ledger. Compare it with the broker, then let it trade. More in `docs/backup.md`."
        )
