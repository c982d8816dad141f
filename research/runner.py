"""The process that works on jobs: one after the other, warm, until none has come for ten minutes.

    python -m research.runner --kind backtest           # `research.jobs` starts it by itself

The rule: nothing that happens to the asker reaches it. It lives in a session of its own, a thread says every few
seconds that it is alive, and a job that fails is `failed`, with a sentence, and the whole trace in its `error.txt`.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import os
import secrets
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import settings as settings_file
from desk import logs
from domain import registry
from domain.clock import monotonic
from domain.errors import DeskError, LedgerBusy
from research.jobs import IDLE_S, KINDS, Job, JobCancelled, Jobs

log = logging.getLogger("jobs")
LOOK_S = 0.2
BEAT_S = 3.0
TRIES = 10
T = TypeVar("T")
Work = Callable[[Mapping[str, Any], Path, Callable[[float, str], None], Callable[[], bool]], None]


class Pulse:
    """A thread that says that this process lives and how far it is, and hears whether its job was called off. The
    one who works only writes and reads variables, as often as it likes."""

    def __init__(self, jobs: Jobs, worker: str) -> None:
        self._jobs, self._worker = jobs, worker
        self._job, self._told, self._beaten = "", (0.0, ""), 0.0
        self._now, self._off, self._end = (0.0, ""), False, threading.Event()
        self._one = threading.Lock()
        self._thread = threading.Thread(target=self._live, name="pulse", daemon=True)
        self._thread.start()

    def begin(self, job: str) -> None:
        with self._one:
            self._job, self._off = job, False
            self._now = self._told = (0.0, "begins")

    def over(self) -> None:
        """The job has ended: from here on nothing more is said of it."""
        with self._one:
            self._job = ""

    def progress(self, share: float, said: str) -> None:
        """JobCancelled once somebody has called the job off."""
        self._now = (min(max(float(share), 0.0), 1.0), str(said))
        if self._off:
            raise JobCancelled("called off")

    def cancelled(self) -> bool:
        return self._off

    def stop(self) -> None:
        self._end.set()
        self._thread.join()

    def _live(self) -> None:
        while not self._end.wait(LOOK_S):
            try:
                with self._one:
                    self._say()
            except DeskError as error:  # busy or full for a moment: the next beat tries again
                log.warning("no sign of life could be written: %s", error)

    def _say(self) -> None:
        due = monotonic() - self._beaten >= BEAT_S
        if self._job and self._jobs.called_off(self._job):
            self._off = True
        if due or (self._job and self._now != self._told):
            now = self._now
            self._jobs.alive(self._worker, self._job, *now)
            self._told, self._beaten = now, monotonic()


def serve(jobs: Jobs, kind: str, work: str, worker: str, idle_s: float) -> None:
    """Take job after job; return once none has waited for `idle_s` seconds, or where a strategy's file has changed:
    a new process does what waits, with the code that is there now."""
    began = registry.written("strategies")
    pulse, idle_since = Pulse(jobs, worker), monotonic()
    try:
        while True:
            if registry.written("strategies") != began:
                patiently(lambda: jobs.make_way(worker, kind))
                return
            job = patiently(lambda: jobs.claim(worker, kind, os.getpid()))
            if job is not None:
                carry_out(jobs, job, work, worker, pulse)
                idle_since = monotonic()
            elif monotonic() - idle_since >= idle_s and jobs.leave(worker, kind):
                return
            else:
                _wait(jobs, kind, min(idle_s, BEAT_S))
    finally:
        pulse.stop()


def carry_out(jobs: Jobs, job: Job, work: str, worker: str, pulse: Pulse) -> None:
    """One job, whatever comes of it."""
    pulse.begin(job.id)
    try:
        room, _, name = work.partition(":")
        found: Work = getattr(importlib.import_module(room), name)
        found(job.asked, job.folder, pulse.progress, pulse.cancelled)
    except Exception as error:  # noqa: BLE001 - whatever it is, the one who asked must hear of it
        pulse.over()
        if pulse.cancelled():
            patiently(lambda: jobs.finish(worker, job.id, "cancelled", said="called off"))
            return
        with contextlib.suppress(OSError):
            (job.folder / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
        said = _sentence(error)
        patiently(lambda: jobs.finish(worker, job.id, "failed", error=said))
    else:
        pulse.over()
        patiently(lambda: jobs.finish(worker, job.id, "done", said="done"))


def patiently(write: Callable[[], T]) -> T:
    """Once more, and again, where another writer holds the file."""
    for _ in range(TRIES):
        with contextlib.suppress(LedgerBusy):
            return write()
    return write()


def _sentence(error: Exception) -> str:
    """What went wrong, for people: our own errors speak for themselves."""
    said = str(error).strip()
    if isinstance(error, DeskError | ValueError | OSError) and said:
        return said
    return f"{type(error).__name__}: {said or 'no more is known'} (the whole trace is in error.txt)"


def _wait(jobs: Jobs, kind: str, at_most_s: float) -> None:
    """Until a job waits, or so long."""
    until = monotonic() + at_most_s
    while monotonic() < until and not jobs.waiting(kind):
        time.sleep(LOOK_S)


def main(arguments: list[str] | None = None) -> int:
    """0 once it has been idle for long enough."""
    parser = argparse.ArgumentParser(prog="python -m research.runner", description="Works on the jobs of one kind.")
    parser.add_argument("--kind", required=True, help=", ".join(KINDS))
    parser.add_argument("--work", default="", metavar="MODULE:FUNCTION", help="who does it; known kinds need none")
    parser.add_argument("--file", default="data/research.db", help="the file the jobs stand in")
    parser.add_argument("--worker", default="", help="the name it goes by")
    parser.add_argument("--idle", type=float, default=IDLE_S, metavar="SECONDS", help="how long it stays without a job")
    asked = parser.parse_args(arguments)
    work = asked.work or KINDS.get(asked.kind, "")
    if not work:
        parser.error(f"--kind {asked.kind}: there are {', '.join(KINDS)}; name others with --work")
    try:
        logs.setup(settings_file.load(), f"{asked.kind} jobs")
        jobs = Jobs(f"sqlite:///{Path(asked.file).absolute()}")
    except DeskError as error:
        print(error, file=sys.stderr)
        return 2
    try:
        serve(jobs, asked.kind, work, asked.worker or secrets.token_hex(8), asked.idle)
    except DeskError as error:
        print(error, file=sys.stderr)
        return 2
    finally:
        jobs.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
