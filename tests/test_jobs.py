"""research/jobs.py and research/runner.py: work in processes of its own, with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

import strategies
from domain.clock import ManualClock
from domain.errors import DeskError, UnknownName
from research import jobs as jobs_module
from research.jobs import SILENT_S, Job, Jobs
from research.runner import Pulse, carry_out, serve
from tests.conftest import ROOT

WORK = {"toy": "tests.jobs_work:work", "endless": "tests.jobs_work:until_cancelled", "train": "tests.jobs_work:work"}
PATIENCE_S = 40.0  # for a machine that is busy with other things


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """The file of some jobs; whatever still works on them when the test is over is ended."""
    yield f"sqlite:///{tmp_path / 'research.db'}"
    for child in list(jobs_module._children):
        if str(tmp_path) in " ".join(child.args):
            child.kill()
            child.wait()


def until(jobs: Jobs, id: str, when: Callable[[Job], bool]) -> Job:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        found = jobs.get(id)
        assert found is not None
        if when(found):
            return found
        time.sleep(0.05)
    raise AssertionError(f"still {found}")


def over(job: Job) -> bool:
    return not job.active


def worker_of(job: Job) -> int:
    return int((job.folder / "answer.txt").read_text())


def test_a_job_runs_says_how_far_it_is_and_the_worker_takes_the_next_one_warm(url: str) -> None:
    jobs = Jobs(url, kinds=WORK)

    asked = jobs.start("toy", {"steps": 20})
    seen = until(jobs, asked.id, lambda job: job.share >= 0.1)
    first = until(jobs, asked.id, over)
    second = until(jobs, jobs.start("toy", {}).id, over)

    assert (asked.state, asked.asked, asked.share) == ("queued", {"steps": 20}, 0.0)
    assert (seen.state, seen.said.startswith("step")) == ("running", True)
    assert (first.state, first.share, first.error) == ("done", 1.0, "")
    assert first.started is not None
    assert first.finished is not None
    assert first.asked_at <= first.started <= first.finished
    assert worker_of(first) == first.pid == second.pid == worker_of(second) != os.getpid()
    assert [job.id for job in jobs.latest("toy")] == [second.id, first.id]


def test_a_job_is_called_off_while_it_runs(url: str) -> None:
    jobs = Jobs(url, kinds=WORK)
    running, stepping = jobs.start("endless", {}), jobs.start("toy", {"steps": 10_000})
    for job in (running, stepping):
        until(jobs, job.id, lambda job: job.state == "running")

        jobs.cancel(job.id)

        found = until(jobs, job.id, over)
        assert (found.state, found.said, found.error) == ("cancelled", "called off", "")
        assert list(found.folder.iterdir()) == []


def test_a_job_that_waits_is_called_off_at_once(url: str) -> None:
    jobs = Jobs(url)
    jobs._hire = lambda db, kind, only: None  # type: ignore[method-assign]
    waiting = jobs.start("backtest", {})

    jobs.cancel(waiting.id)

    found = jobs.get(waiting.id)
    assert found is not None
    assert (found.state, found.said) == ("cancelled", "called off before it began")


def test_what_a_job_does_not_survive_is_said_in_a_sentence(url: str, tmp_path: Path) -> None:
    jobs = Jobs(url)
    rows = [{"fails": "value"}, {"fails": "other"}]
    told = []
    for asked in rows:
        job = by_hand(jobs, asked)
        pulse = Pulse(jobs, "me")
        carry_out(jobs, job, WORK["toy"], "me", pulse)
        pulse.stop()
        found = jobs.get(job.id)
        assert found is not None
        told.append((found.state, found.error))
        assert "Traceback" in (found.folder / "error.txt").read_text()

    assert told == [
        ("failed", "there is no such day"),
        ("failed", "ZeroDivisionError: there is no such day (the whole trace is in error.txt)"),
    ]


def by_hand(jobs: Jobs, asked: dict[str, object], worker: str = "me") -> Job:
    """A job that this process claims itself."""
    jobs._hire = lambda db, kind, only: None  # type: ignore[method-assign]
    key = jobs.start("backtest", asked).id
    job = jobs.claim(worker, "backtest", os.getpid())
    assert job is not None
    assert job.id == key
    return job


def test_a_job_whose_process_is_killed_is_lost_and_the_ones_behind_it_go_on(url: str) -> None:
    jobs = Jobs(url, kinds=WORK)
    running = until(jobs, jobs.start("endless", {}).id, lambda job: job.state == "running")
    assert running.pid is not None

    os.kill(running.pid, signal.SIGKILL)
    lost = until(jobs, running.id, over)
    after = until(jobs, jobs.start("toy", {"steps": 0}).id, over)

    assert lost.state == "lost"
    assert lost.error == f"Its process ({running.pid}) is gone. There is no answer: ask again."
    assert after.state == "done"


def test_a_process_that_cannot_begin_loses_its_job_and_is_not_tried_for_ever(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = Jobs(url, kinds=WORK)
    monkeypatch.setattr(jobs_module.sys, "executable", "/bin/false")

    found = until(jobs, jobs.start("toy", {}).id, over)

    assert found.state == "lost"
    assert found.error == f"The process for it ended before it began; what it said last is in {tmp_path}/jobs/toy.log."


def test_silence_is_lost_and_a_later_sign_of_life_finds_it_again(url: str) -> None:
    clock = ManualClock(datetime(2026, 11, 20, 15, 0, tzinfo=UTC))
    jobs = Jobs(url, clock)
    job = by_hand(jobs, {})

    clock.advance(seconds=SILENT_S)
    quiet = jobs.get(job.id)
    clock.advance(seconds=1)
    silent = jobs.get(job.id)
    jobs.alive("me", job.id, 0.5, "half")
    again = jobs.get(job.id)
    jobs.finish("me", job.id, "done")
    jobs.alive("me", job.id, 0.6, "an old word")

    assert quiet is not None
    assert silent is not None
    assert again is not None
    assert (quiet.state, silent.state, again.state) == ("running", "lost", "running")
    said = f"Its process ({os.getpid()}) has said nothing since 15:00:00 UTC. There is no answer: ask again."
    assert silent.error == said
    assert (again.share, again.error, again.finished) == (0.5, "", None)
    done = jobs.get(job.id)
    assert done is not None
    assert (done.state, done.share) == ("done", 1.0)


def test_a_worker_makes_way_for_a_new_one_once_a_strategy_s_file_has_changed(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has loaded is no longer what stands there, and its next answer would be of old code."""
    monkeypatch.setattr(strategies, "__path__", [*strategies.__path__, str(tmp_path)])
    jobs, hired = Jobs(url, kinds=WORK), list[str]()
    monkeypatch.setattr(jobs, "_hire", lambda db, kind, only: hired.append(kind))
    first = jobs.start("toy", {})

    def change(*told: object) -> None:
        jobs.start("toy", {})
        (tmp_path / "mine.py").write_text("PART = None\n", encoding="utf-8")

    monkeypatch.setattr("research.runner.carry_out", change)
    hired.clear()

    serve(jobs, "toy", WORK["toy"], "old", idle_s=60.0)

    assert [job.state for job in jobs._read(jobs_module._jobs.c.kind == "toy", 9)] == ["queued", "running"]
    assert jobs.get(first.id) is not None
    assert hired[-1] == "toy"


def test_two_workers_never_take_the_same_job(url: str) -> None:
    jobs = Jobs(url)
    jobs._hire = lambda db, kind, only: None  # type: ignore[method-assign]
    for number in range(24):
        jobs.start("backtest", {"number": number})
    start, taken = threading.Barrier(4), []

    def worker(name: str) -> None:
        own = Jobs(url)
        start.wait()
        while (job := own.claim(name, "backtest", os.getpid())) is not None:
            taken.append((name, job.asked["number"]))
            own.finish(name, job.id, "done")
        own.close()

    threads = [threading.Thread(target=worker, args=(f"worker {n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(number for _, number in taken) == list(range(24))


def test_work_goes_on_when_the_one_who_asked_is_killed(url: str, tmp_path: Path) -> None:
    code = (
        "import time; from research.jobs import Jobs\n"
        f"print(Jobs({url!r}, kinds={WORK!r}, idle_s=0).start('toy', {{'steps': 10}}).id, flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    key, jobs = parent.stdout.readline().strip(), Jobs(url, kinds=WORK)
    running = until(jobs, key, lambda job: job.state == "running")

    parent.kill()
    parent.wait()
    found = until(jobs, key, over)

    assert found.state == "done"
    assert running.pid is not None
    end = time.monotonic() + PATIENCE_S
    while not jobs_module._gone(running.pid) and time.monotonic() < end:
        time.sleep(0.05)
    assert jobs_module._gone(running.pid)  # without another job it leaves


def test_each_training_has_a_process_of_its_own(url: str) -> None:
    jobs = Jobs(url, kinds=WORK)

    asked = [jobs.start("train", {"steps": 1}) for _ in range(2)]
    found = [until(jobs, job.id, over) for job in asked]

    assert [job.state for job in found] == ["done", "done"]
    assert found[0].pid != found[1].pid


def test_only_what_is_over_can_be_removed(url: str) -> None:
    jobs = Jobs(url)
    job = by_hand(jobs, {})
    (job.folder / "answer.txt").write_text("42")

    with pytest.raises(DeskError, match="cancel it first"):
        jobs.remove(job.id)
    jobs.finish("me", job.id, "done")
    jobs.remove(job.id)

    assert jobs.get(job.id) is None
    assert not job.folder.exists()
    jobs.remove(job.id)  # once more is no error


def test_what_cannot_be_a_job_is_refused(url: str) -> None:
    jobs = Jobs(url)

    with pytest.raises(UnknownName, match="Did you mean 'backtest'"):
        jobs.start("backtests", {})
    with pytest.raises(TypeError):
        jobs.start("backtest", {"when": datetime(2026, 1, 1, tzinfo=UTC)})
    assert jobs.latest("backtest") == []
