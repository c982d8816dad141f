"""Who runs the combinations: this process, threads, processes of this machine, or a Dask cluster.

The rule: who did it cannot be told from the result. A combination is a pure function of the task and its parameters,
and each row goes to its own place, so the order, the split and a worker lost on the way change nothing.
"""

from __future__ import annotations

import contextlib
import pickle
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import numpy as np
import numpy.typing as npt

from domain.errors import DeskError
from research import _task
from research._grid import Columns, each
from research._task import Task

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Progress = Callable[[int, int], None]
Cancel = Callable[[], bool]

FAMILY_CHUNK, CHUNK = 2_000, 64
CHUNKS_EACH = 8
POLL_S, PATIENCE = 1.0, 60  # so many polls without a single worker, and the sweep is given up
RETRIES = 10


class SweepCancelled(DeskError):
    """The sweep was stopped before its end: there is no result."""


def run(
    task: Task, columns: Columns, jobs: int, cluster: str | None, progress: Progress | None, cancel: Cancel | None
) -> tuple[Floats, int]:
    """A row a combination, by `task.columns`, and how many of them the compiled family did."""
    from joblib import effective_n_jobs  # type: ignore[import-untyped]

    if jobs == 0:
        raise ValueError("jobs must be at least 1, or -1 for every core: got 0")
    count = len(next(iter(columns.values())))
    counted = Counted(np.full((count, len(task.columns)), np.nan), progress or (lambda done, of: None), cancel)
    if cluster is not None:
        _on_cluster(task, columns, cluster, counted)
        return counted.rows, counted.compiled
    workers = int(effective_n_jobs(jobs))
    left = _in_threads(task, columns, workers, counted)
    chunks = list(_chunks(left, max(1, min(CHUNK, -(-len(left) // (workers * CHUNKS_EACH))))))
    if workers == 1 or len(chunks) < 2:
        for chunk in chunks:
            counted.take(chunk, one_by_one(task, _some(columns, chunk)), 0)
    else:
        _in_processes(task, columns, chunks, workers, counted)
    return counted.rows, counted.compiled


class Counted:
    """The rows so far: reports how many there are and stops where that is asked for."""

    def __init__(self, rows: Floats, progress: Progress, cancel: Cancel | None) -> None:
        self.rows, self.done, self.compiled = rows, 0, 0
        self._progress, self._cancel = progress, cancel
        self.check()

    def take(self, at: Ints, rows: Floats, compiled: int) -> None:
        self.rows[at] = rows
        self.done += len(at)
        self.compiled += compiled
        self._progress(self.done, len(self.rows))
        self.check()

    def check(self) -> None:
        if self._cancel is not None and self._cancel():
            raise SweepCancelled(f"the sweep was stopped after {self.done:,} of {len(self.rows):,} combinations")


# What a worker does


def one_by_one(task: Task, columns: Columns) -> Floats:
    """The backtest of each combination."""
    return np.array([task.row(params) for params in each(columns)]).reshape(-1, len(task.columns))


def everything(task: Task, columns: Columns, stamp: str) -> tuple[Floats, int]:
    """A chunk in a process far away: the family where it is one, the rest one by one. Refused by other code than the
    asker's, whose results would not be the same."""
    if stamp != _task.stamp():
        raise DeskError(
            f"a worker runs other code or libraries ({_task.stamp()}) than the one who asks ({stamp}): start every "
            "worker in a copy of the same version with the same requirements"
        )
    family = _family(task)
    if family is None:
        return one_by_one(task, columns), 0
    rows, done = family(columns)
    left = np.flatnonzero(~done)
    if len(left):
        rows[left] = one_by_one(task, _some(columns, left))
    return rows, int(done.sum())


def _family(task: Task) -> Callable[[Columns], tuple[Floats, npt.NDArray[np.bool_]]] | None:
    """The compiled pass over a family of strategies, prepared; None where the task is not of one."""
    from strategies.base import find

    if task.strategy_class is not find("sma_crossover") or task.setup.filters:
        return None
    from research import _sma_family

    return _sma_family.prepared(task)


# Who does it


def _in_threads(task: Task, columns: Columns, workers: int, counted: Counted) -> Ints:
    """What of it the compiled family can do; the combinations that are left."""
    count, family = len(counted.rows), _family(task)
    if family is None:
        return np.arange(count)
    left = []
    with ThreadPoolExecutor(workers) as pool:  # the compiled pass lets other threads run
        size = max(1, min(FAMILY_CHUNK, -(-count // workers)))
        asked = {pool.submit(family, _some(columns, chunk)): chunk for chunk in _chunks(np.arange(count), size)}
        try:
            for future in as_completed(asked):
                (rows, done), chunk = future.result(), asked[future]
                counted.take(chunk[done], rows[done], int(done.sum()))
                left.append(chunk[~done])
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return np.sort(np.concatenate(left))


def _in_processes(task: Task, columns: Columns, chunks: list[Ints], workers: int, counted: Counted) -> None:
    from joblib import Parallel, delayed

    todo = (delayed(one_by_one)(task, _some(columns, chunk)) for chunk in chunks)
    answers = Parallel(n_jobs=workers, return_as="generator")(todo)
    for chunk, rows in zip(chunks, answers, strict=True):
        counted.take(chunk, rows, 0)


def _on_cluster(task: Task, columns: Columns, address: str, counted: Counted) -> None:
    with _client(address) as client:
        workers = sum(w["nthreads"] for w in client.scheduler_info(n_workers=-1)["workers"].values())
        size = FAMILY_CHUNK if _family(task) is not None else CHUNK
        size = max(1, min(size, -(-len(counted.rows) // (workers * CHUNKS_EACH))))
        # The task travels as a task too: a worker that dies takes its copy along, and the scheduler has it made again.
        there = client.submit(pickle.loads, _pickled(task), retries=RETRIES, pure=False)
        asked = {
            client.submit(everything, there, _some(columns, chunk), _task.stamp(), retries=RETRIES, pure=False): chunk
            for chunk in _chunks(np.arange(len(counted.rows)), size)
        }
        for future in _finished(client, list(asked), counted):
            rows, compiled = future.result()
            counted.take(asked[future], rows, compiled)


def _finished(client: Any, waiting: list[Any], counted: Counted) -> Iterator[Any]:
    from distributed import wait as until

    wait: Callable[..., Any] = until
    lonely = 0
    while waiting:
        with contextlib.suppress(TimeoutError):
            wait(waiting, timeout=POLL_S, return_when="FIRST_COMPLETED")
        counted.check()
        done = [future for future in waiting if future.done()]
        lonely = 0 if done or client.scheduler_info(n_workers=-1)["workers"] else lonely + 1
        if lonely > PATIENCE:
            raise DeskError(f"the cluster lost its last worker after {counted.done:,} combinations: start workers")
        waiting = [future for future in waiting if future not in set(done)]
        yield from done


@contextlib.contextmanager
def _client(address: str) -> Iterator[Any]:
    try:
        from distributed import Client as Connected
    except ImportError:
        raise DeskError("a cluster needs Dask: pip install 'dask[distributed]'") from None
    connect: Callable[..., Any] = Connected
    start = "start one with `dask scheduler`, and `dask worker ADDRESS` in this folder on each machine"
    try:
        client = connect(address, timeout=10, set_as_default=False)
    except (OSError, ValueError) as error:
        raise DeskError(f"no Dask scheduler answers at {address} ({error}): {start}") from None
    with client, client.as_current():
        if not client.scheduler_info(n_workers=-1)["workers"]:
            raise DeskError(f"the scheduler at {address} has no workers: {start}")
        yield client


def _pickled(task: Task) -> bytes:
    import cloudpickle  # type: ignore[import-untyped]

    return bytes(cloudpickle.dumps(task))  # strategies defined in a notebook travel too


def _chunks(at: Ints, size: int) -> Iterable[Ints]:
    return [at[first : first + size] for first in range(0, len(at), size)]


def _some(columns: Columns, at: Ints) -> Columns:
    return {name: values[at] for name, values in columns.items()}
