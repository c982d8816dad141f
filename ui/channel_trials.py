"""A test of a channel, beside the page: the page goes on, and what became of it is there for everybody who looks."""

from __future__ import annotations

import asyncio
import logging
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime

import streamlit as st

import notifier
import settings as settings_file
from desk import logs
from domain.clock import SystemClock, monotonic
from domain.errors import DeskError
from notices.outbox import Outbox
from notifier import Tried

LIMIT_S = 90.0
_log = logging.getLogger("dashboard")


@dataclass(frozen=True, slots=True)
class Trial:
    """One test of a channel, under way or over."""

    name: str
    at: datetime
    began: float
    answer: Future[Tried]

    @property
    def running(self) -> bool:
        return not self.answer.done()


@dataclass(slots=True)
class Trials:
    """The newest test of each channel, for everybody who looks; one at a time a channel, on a thread of its own."""

    _newest: dict[str, Trial] = field(default_factory=dict)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def of(self, name: str) -> Trial | None:
        return self._newest.get(name)

    def begin(self, name: str, outbox: Outbox, limit_s: float = LIMIT_S) -> Trial:
        """Send a test; where one is under way it is that one."""
        with self._turn:
            trial = self._newest.get(name)
            if trial is not None and trial.running:
                return trial
            trial = self._newest[name] = Trial(name, SystemClock().now(), monotonic(), Future())
        work = threading.Thread(target=_try, args=(trial, outbox, limit_s), name=f"test-{name}", daemon=True)
        work.start()
        return trial


@st.cache_resource(max_entries=4, show_spinner=False)
def trials(data_dir: str) -> Trials:
    return Trials()


def _try(trial: Trial, outbox: Outbox, limit_s: float) -> None:
    """Whatever comes of it, the page hears of it."""

    async def go() -> None:
        try:
            async with asyncio.timeout(limit_s):
                settings = settings_file.load()
                ended = await notifier.try_channel(trial.name, settings, outbox, SystemClock())
        except TimeoutError:
            ended = Tried(trial.name, False, f"it did not end within {limit_s:.0f} s")
        except DeskError as error:
            ended = Tried(trial.name, False, logs.clean(str(error)))
        except Exception as error:  # noqa: BLE001 - whatever broke, a person pressed a button and must be told
            _log.exception("%s: the test broke", trial.name)
            ended = Tried(trial.name, False, f"{type(error).__name__}: {logs.clean(str(error))}")
        trial.answer.set_result(ended)

    asyncio.run(go())
