"""Fetched candles on their way to the disk: an answer need not wait until its bars are kept.

What is on its way is already part of every answer and counts as fetched. What cannot be kept stays here, so that it is
still shown, and is told.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

import pandas as pd
from filelock import Timeout

from domain.candles import Timeframe
from domain.errors import DeskError
from domain.instruments import Instrument
from feeds.store import CandleStore, Span

SETTLE_S = 0.25  # a burst of answers goes out before the first is kept


@dataclass(frozen=True, slots=True, eq=False)
class _Fetched:
    of: Instrument
    tf: Timeframe
    candles: pd.DataFrame
    source: str
    covered: Span

    @property
    def series(self) -> tuple[str, str]:
        return self.of.symbol, self.tf.name


class Keeper:
    """One thread that merges into the store, in the order of fetching. Safe to use from many threads."""

    def __init__(self, store: CandleStore) -> None:
        self._store = store
        self._waiting: deque[_Fetched] = deque()
        self._held: list[_Fetched] = []
        self._problems: dict[tuple[str, str], str] = {}
        self._change = threading.Condition()
        self._hurry = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, of: Instrument, tf: Timeframe, candles: pd.DataFrame, source: str, covered: Span) -> None:
        """Keep these soon; they count as kept from now on."""
        with self._change:
            self._waiting.append(_Fetched(of, tf, candles, source, covered))
            if self._thread is None:
                # Not a daemon: a script that ends right after its fetch still keeps what it fetched.
                self._thread = threading.Thread(target=self._work, name="keeper")
                self._thread.start()

    def waiting(self, of: Instrument, tf: Timeframe) -> list[tuple[pd.DataFrame, str]]:
        """Frames not on disk yet and their sources, the newest fetch first."""
        return [(f.candles, f.source) for f in reversed(self._mine(of, tf))]

    def covered(self, of: Instrument, tf: Timeframe) -> list[Span]:
        """Spans that were asked and answered and are not on disk yet."""
        return [f.covered for f in self._mine(of, tf)]

    def problems(self, of: Instrument, tf: Timeframe) -> tuple[str, ...]:
        """Why bars of this series are not kept; nothing where they are."""
        said = self._problems.get((of.symbol, tf.name))
        return (said,) if said else ()

    def flush(self) -> None:
        """Wait until everything handed over so far was tried."""
        self._hurry.set()
        with self._change:
            self._change.wait_for(lambda: self._thread is None, timeout=60)
        self._hurry.clear()

    def _mine(self, of: Instrument, tf: Timeframe) -> list[_Fetched]:
        with self._change:
            return [f for f in (*self._held, *self._waiting) if f.series == (of.symbol, tf.name)]

    def _work(self) -> None:
        self._hurry.wait(SETTLE_S)
        while True:
            with self._change:
                if not self._waiting:
                    self._thread = None
                    self._change.notify_all()
                    return
                fetched = self._waiting[0]
            problem = self._merge(fetched)
            with self._change:
                self._waiting.popleft()
                if problem:
                    self._held.append(fetched)
                    self._problems[fetched.series] = f"{' '.join(fetched.series)} could not be kept on disk: {problem}"
                else:
                    self._problems.pop(fetched.series, None)

    def _merge(self, fetched: _Fetched) -> str:
        """Why it failed, or nothing."""
        try:
            self._store.merge(fetched.of, fetched.tf, fetched.candles, fetched.source, fetched.covered)
        except (OSError, Timeout, DeskError) as error:
            return getattr(error, "strerror", None) or str(error) or type(error).__name__
        return ""
