"""Long work in processes of its own: a row each in `data/research.db`, so that every page sees how far it is.

    jobs = Jobs("sqlite:///data/research.db")
    job = jobs.start("backtest", asked.to_dict())
    jobs.get(job.id).share, jobs.get(job.id).said      # 0.4, "random entries: 400 of 1,000"
    jobs.cancel(job.id)
    Study.load(job.folder)                             # once its state is "done"

The rule: a job is claimed by one transaction, so that two workers never take the same one, and whoever works on it says
every few seconds that it is alive. A job whose process is gone, or silent for half a minute, is `lost` and says so.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from desk.database import Database
from domain.clock import Clock, SystemClock
from domain.errors import DeskError, LedgerUnusable, UnknownName

__all__ = ["ACTIVE", "KINDS", "SILENT_S", "STATES", "Job", "JobCancelled", "Jobs"]

STATES = ("queued", "running", "done", "failed", "cancelled", "lost")
ACTIVE = ("queued", "running")
KINDS = {"backtest": "research.study:work", "train": "ml_pipeline:work"}
ALONE = ("train",)  # each job of these in a process of its own
SILENT_S = 30.0
IDLE_S = 600.0
MOST_WORKERS = 2  # of one kind, for jobs that wait
ROOT = Path(__file__).parents[1]

_metadata = sa.MetaData()
_jobs = sa.Table(
    "jobs",
    _metadata,
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    sa.Column("kind", sa.Text, nullable=False, index=True),
    sa.Column("asked", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False, index=True),
    sa.Column("share", sa.Float, nullable=False, default=0.0),
    sa.Column("said", sa.Text, nullable=False, default=""),
    sa.Column("error", sa.Text, nullable=False, default=""),
    sa.Column("asked_at", sa.Text, nullable=False),
    sa.Column("started", sa.Text),
    sa.Column("finished", sa.Text),
    sa.Column("pid", sa.Integer),
    sa.Column("beat", sa.Text),
    sa.Column("cancel", sa.Boolean, nullable=False, default=False),
)
_workers = sa.Table(
    "job_workers",
    _metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("only", sa.Text, nullable=False),  # the one job it is for; empty where it takes any
    sa.Column("job", sa.Text, nullable=False),  # what it works on
    sa.Column("claims", sa.Integer, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("beat", sa.Text, nullable=False),
)
_children: list[subprocess.Popen[bytes]] = []


class JobCancelled(DeskError):
    """The job was called off: there is no answer."""


@dataclass(frozen=True, slots=True)
class Job:
    """One piece of work. `share` is from 0 to 1, `said` what it does now, `error` why there is no answer. The answer
    lies in `folder` once `state` is `done`; beside it `error.txt`, with the whole trace, where it failed. Times are
    UTC; `beat` is the last sign of life of process `pid`. `cancel`: it was called off and has not stopped yet."""

    id: str
    kind: str
    asked: dict[str, Any]
    state: str
    share: float
    said: str
    error: str
    folder: Path
    asked_at: datetime
    started: datetime | None
    finished: datetime | None
    pid: int | None
    beat: datetime | None
    cancel: bool

    @property
    def active(self) -> bool:
        """Whether it waits or runs."""
        return self.state in ACTIVE


class Jobs:
    """The jobs of one data folder, that of the SQLite file. Safe to use from many processes and threads; each change is
    one transaction. LedgerError where the file cannot be used."""

    def __init__(
        self,
        url: str = "sqlite:///data/research.db",
        clock: Clock | None = None,
        *,
        kinds: Mapping[str, str] = KINDS,
        idle_s: float = IDLE_S,
    ) -> None:
        self._clock, self._kinds, self._idle_s = clock or SystemClock(), kinds, idle_s
        self._database = Database(url)
        if self._database.path is None:
            raise LedgerUnusable(f"jobs lie in an SQLite file (sqlite:///data/research.db): got {url}")
        self._path = self._database.path.absolute()
        self._database.create()
        with self._database.write() as db:
            _metadata.create_all(db)
        self._looking = Database(url, read_only=True)

    # Asking

    def start(self, kind: str, asked: Mapping[str, Any]) -> Job:
        """Put a job in the queue and see to a process that takes it. UnknownName for a kind that there is not."""
        if kind not in self._kinds:
            raise UnknownName.of("kind of job", kind, self._kinds)
        told = json.dumps(asked, allow_nan=False)
        key = f"{self._clock.now():%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
        self.folder(key).mkdir(parents=True)
        row = {"id": key, "kind": kind, "asked": told, "state": "queued", "asked_at": self._now()}
        with self._database.write() as db:
            db.execute(sa.insert(_jobs), [row])
            self._tend(db, kind)
        found = self.get(key)
        assert found is not None
        return found

    def get(self, id: str) -> Job | None:
        """The job as it stands; None where there is none such."""
        found = self._look(_jobs.c.id == id, 1)
        return found[0] if found else None

    def latest(self, kind: str, count: int = 20) -> list[Job]:
        """The newest first."""
        return self._look(_jobs.c.kind == kind, count)

    def cancel(self, id: str) -> None:
        """Call it off: at once where it waits, at its next step where it runs; nothing where it is over."""
        with self._database.write() as db:
            over = {"state": "cancelled", "finished": self._now(), "said": "called off before it began"}
            db.execute(sa.update(_jobs).where(_jobs.c.id == id, _jobs.c.state == "queued").values(over))
            db.execute(sa.update(_jobs).where(_jobs.c.id == id, _jobs.c.state == "running").values(cancel=True))

    def remove(self, id: str) -> None:
        """Forget a job that is over, its folder too. DeskError where it is not over."""
        found = self.get(id)
        if found is None:
            return
        if found.active:
            raise DeskError(f"job {id} is {found.state}: cancel it first")
        with self._database.write() as db:
            db.execute(sa.delete(_jobs).where(_jobs.c.id == id, _jobs.c.state.not_in(ACTIVE)))
        shutil.rmtree(found.folder, ignore_errors=True)

    def folder(self, id: str) -> Path:
        """Where the answer of a job lies."""
        return self._path.parent / "jobs" / id

    def close(self) -> None:
        self._database.close()
        self._looking.close()

    # What a worker asks; `research.runner` is the only one

    def claim(self, worker: str, kind: str, pid: int) -> Job | None:
        """The oldest job that waits, for this worker alone; None where none does."""
        with self._database.write() as db:
            only = db.execute(sa.select(_workers.c.only).where(_workers.c.id == worker)).scalar_one_or_none()
            if only is None:
                only = ""
                self._enlist(db, worker, kind, "", pid)
            waits = (_jobs.c.kind == kind) & (_jobs.c.state == "queued")
            if only:
                waits &= _jobs.c.id == only
            key = db.execute(sa.select(_jobs.c.id).where(waits).order_by(_jobs.c.number).limit(1)).scalar_one_or_none()
            if key is None:
                return None
            now = self._now()
            taken = {"state": "running", "started": now, "beat": now, "pid": pid, "said": "begins"}
            db.execute(sa.update(_jobs).where(_jobs.c.id == key).values(taken))
            db.execute(sa.update(_workers).where(_workers.c.id == worker).values(job=key, claims=_workers.c.claims + 1))
            return self._job(db.execute(sa.select(_jobs).where(_jobs.c.id == key)).one())

    def alive(self, worker: str, job: str, share: float, said: str) -> None:
        """A sign of life. One that was taken for lost, as after a machine's sleep, is running again."""
        with self._database.write() as db:
            db.execute(sa.update(_workers).where(_workers.c.id == worker).values(beat=self._now(), job=job))
            if job:
                values = {"state": "running", "error": "", "finished": None, "beat": self._now()}
                own = (_jobs.c.id == job) & _jobs.c.state.in_(("running", "lost"))
                db.execute(sa.update(_jobs).where(own).values(values | {"share": share, "said": said}))

    def called_off(self, job: str) -> bool:
        """Whether somebody wants the job stopped, or has removed it."""
        with self._looking.read() as db:
            return db.execute(sa.select(_jobs.c.cancel).where(_jobs.c.id == job)).scalar_one_or_none() is not False

    def finish(self, worker: str, job: str, state: str, said: str = "", error: str = "") -> None:
        """Say how a job ended: done, failed or cancelled."""
        values: dict[str, Any] = {"state": state, "said": said, "error": error, "finished": self._now()}
        if state == "done":
            values["share"] = 1.0
        with self._database.write() as db:
            db.execute(sa.update(_jobs).where(_jobs.c.id == job, _jobs.c.state.in_(("running", "lost"))).values(values))
            db.execute(sa.update(_workers).where(_workers.c.id == worker).values(job="", beat=self._now()))

    def waiting(self, kind: str) -> bool:
        """Whether any job of the kind waits."""
        with self._looking.read() as db:
            waits = (_jobs.c.kind == kind) & (_jobs.c.state == "queued")
            return db.execute(sa.select(_jobs.c.number).where(waits).limit(1)).first() is not None

    def leave(self, worker: str, kind: str) -> bool:
        """Sign off; False, and still signed on, where a job has come in meanwhile."""
        with self._database.write() as db:
            only = db.execute(sa.select(_workers.c.only).where(_workers.c.id == worker)).scalar_one_or_none()
            waits = (_jobs.c.kind == kind) & (_jobs.c.state == "queued")
            if not only and db.execute(sa.select(_jobs.c.number).where(waits).limit(1)).first() is not None:
                return False
            db.execute(sa.delete(_workers).where(_workers.c.id == worker))
            return True

    def make_way(self, worker: str, kind: str) -> None:
        """Sign off, and see to another process for what waits."""
        with self._database.write() as db:
            db.execute(sa.delete(_workers).where(_workers.c.id == worker))
            self._tend(db, kind)

    # Looking after them

    def _look(self, which: sa.ColumnElement[bool], count: int) -> list[Job]:
        found = self._read(which, count)
        if any(self._neglected(job) for job in found):
            with self._database.write() as db:
                for kind in {job.kind for job in found}:
                    self._tend(db, kind)
            found = self._read(which, count)
        return found

    def _read(self, which: sa.ColumnElement[bool], count: int) -> list[Job]:
        with self._looking.read() as db:
            rows = db.execute(sa.select(_jobs).where(which).order_by(_jobs.c.number.desc()).limit(count)).all()
        return [self._job(row) for row in rows]

    def _neglected(self, job: Job) -> bool:
        """Whether nobody looks after a job that is not over."""
        if job.state == "running":
            return bool(self._why_lost(job.pid, job.beat))
        if job.state != "queued":
            return False
        with self._looking.read() as db:
            rows = db.execute(sa.select(_workers).where(_workers.c.kind == job.kind)).all()
        own = [row for row in rows if row.only in ("", job.id)]
        return not own or any(self._why_lost(row.pid, _moment(row.beat)) for row in own)

    def _tend(self, db: sa.Connection, kind: str) -> None:
        """What is gone is said to be, and what waits has a worker."""
        _children[:] = [child for child in _children if child.poll() is None]
        stillborn = self._bury(db, kind)
        self._lose(db, kind)
        queued = sa.select(_jobs.c.id).where(_jobs.c.kind == kind, _jobs.c.state == "queued").order_by(_jobs.c.number)
        waiting = list(db.execute(queued).scalars())
        if not waiting:
            return
        if stillborn:
            log = self._log(kind)
            why = f"The process for it ended before it began; what it said last is in {log}."
            for key in [key for key in waiting if stillborn & {"", key}]:
                self._end(db, key, why)
            return
        workers = db.execute(sa.select(_workers).where(_workers.c.kind == kind)).all()
        if kind in ALONE:
            for key in [key for key in waiting if key not in {row.only for row in workers}]:
                self._hire(db, kind, key)
        elif sum(not row.job for row in workers) < len(waiting) and len(workers) < MOST_WORKERS:
            self._hire(db, kind, "")

    def _bury(self, db: sa.Connection, kind: str) -> set[str]:
        """Forget workers that are gone; what those were for that never came as far as a job."""
        stillborn = set()
        for row in db.execute(sa.select(_workers).where(_workers.c.kind == kind)).all():
            if self._why_lost(row.pid, _moment(row.beat)):
                db.execute(sa.delete(_workers).where(_workers.c.id == row.id))
                stillborn |= {row.only} if not row.claims else set()
        return stillborn

    def _lose(self, db: sa.Connection, kind: str) -> None:
        for row in db.execute(sa.select(_jobs).where(_jobs.c.kind == kind, _jobs.c.state == "running")).all():
            if why := self._why_lost(row.pid, _moment(row.beat)):
                self._end(db, row.id, f"{why} There is no answer: ask again.")

    def _end(self, db: sa.Connection, key: str, why: str) -> None:
        values = {"state": "lost", "error": why, "finished": self._now()}
        db.execute(sa.update(_jobs).where(_jobs.c.id == key, _jobs.c.state.in_(ACTIVE)).values(values))

    def _why_lost(self, pid: int | None, beat: datetime | None) -> str:
        """Why a process is taken for lost; empty while it lives."""
        if pid is None or _gone(pid):
            return f"Its process ({pid}) is gone."
        if beat is not None and self._clock.now() - beat > timedelta(seconds=SILENT_S):
            return f"Its process ({pid}) has said nothing since {beat:%H:%M:%S} UTC."
        return ""

    def _hire(self, db: sa.Connection, kind: str, only: str) -> None:
        """A process that outlives this one."""
        worker = secrets.token_hex(8)
        command = [sys.executable, "-m", "research.runner", "--kind", kind, "--work", self._kinds[kind]]
        command += ["--file", str(self._path), "--worker", worker, "--idle", str(0.0 if only else self._idle_s)]
        log = self._log(kind)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as out:
            child = subprocess.Popen(  # noqa: S603 - our own command
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )
        _children.append(child)
        self._enlist(db, worker, kind, only, child.pid)

    def _enlist(self, db: sa.Connection, worker: str, kind: str, only: str, pid: int) -> None:
        row = {"id": worker, "kind": kind, "only": only, "job": "", "claims": 0, "pid": pid, "beat": self._now()}
        db.execute(sa.insert(_workers), [row])

    def _log(self, kind: str) -> Path:
        return self._path.parent / "jobs" / f"{kind}.log"

    def _job(self, row: Any) -> Job:
        told = {f.name: getattr(row, f.name) for f in fields(Job) if f.name != "folder"}
        told |= {name: _moment(told[name]) for name in ("asked_at", "started", "finished", "beat")}
        return Job(**told | {"asked": json.loads(row.asked), "folder": self.folder(row.id)})

    def _now(self) -> str:
        return self._clock.now().isoformat()


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _gone(pid: int) -> bool:
    """Whether no process of this number lives; one that is over and only waits to be counted does not."""
    import psutil  # type: ignore[import-untyped]

    with contextlib.suppress(psutil.AccessDenied):
        try:
            return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return True
    return False
