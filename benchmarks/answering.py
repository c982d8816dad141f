"""A process that is asked one job after another: a line of JSON in, a line of JSON out.

Only the standard library is used here, so that a peer in a virtual environment of its own can answer too.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
Job = Callable[..., dict[str, Any]]


def serve(jobs: Mapping[str, Job]) -> None:
    """Answer until nobody asks any more. What a job prints goes to standard error; one that fails says why."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = jobs[asked.pop("do")](**asked)
        except Exception as error:
            answer = {"failed": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer | {"peak_mb": peak_mb()}), file=out, flush=True)


def peak_mb() -> float:
    """The most memory this process has held. Linux keeps a figure that leaves out what its parent held before."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)


class Asked:
    """The other end: a process of its own, ended with the block. What it says goes to a file beside the data."""

    def __init__(self, python: Path | str, module: str, folder: Path, **environment: str) -> None:
        self._said = (folder / f"{module}.log").open("a+", encoding="utf-8")
        self._process = subprocess.Popen(
            [str(python), "-m", module, str(folder)],
            cwd=ROOT,
            env=os.environ | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
        )

    def __call__(self, do: str, **asked: Any) -> dict[str, Any]:
        """The job's answer; RuntimeError with its last words where it failed."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": do} | asked) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"failed": f"it ended: {self._last_words()}"}
        if "failed" in answer:
            raise RuntimeError(f"{do} {asked}: {answer['failed']}")
        return answer

    def _last_words(self) -> str:
        self._said.seek(0)
        return self._said.read()[-400:]

    def __enter__(self) -> Asked:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._said.close()
