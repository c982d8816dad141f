"""Work for the processes of `tests/test_jobs.py`, each as `research.jobs` calls it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Progress = Callable[[float, str], None]
Cancel = Callable[[], bool]


def work(asked: Mapping[str, Any], folder: Path, progress: Progress, cancel: Cancel) -> None:
    """`steps` steps of a twentieth of a second; then the answer. With `fails` it ends in that error instead."""
    steps = int(asked.get("steps", 1))
    for step in range(steps):
        progress(step / steps, f"step {step} of {steps}")
        time.sleep(0.05)
    if asked.get("fails"):
        raise {"value": ValueError, "other": ZeroDivisionError}[asked["fails"]]("there is no such day")
    (folder / "answer.txt").write_text(str(os.getpid()), encoding="utf-8")


def until_cancelled(asked: Mapping[str, Any], folder: Path, progress: Progress, cancel: Cancel) -> None:
    """Never looks at what progress says, only whether it is called off."""
    while not cancel():
        time.sleep(0.05)
    raise RuntimeError("called off in the middle of something")
