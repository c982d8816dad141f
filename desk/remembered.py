"""Answers of a ledger, remembered for exactly as long as nobody has written to it.

The rule: before each answer the file is asked for its version, so that nothing outlives the commit of anybody: another
process, another engine, this very one. Where no version can be told nothing is remembered.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from desk.database import Database, Version

MOST = 512
Answer = TypeVar("Answer")


class Remembered:
    """The answers of one database. Several threads may share it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turn = threading.Lock()
        self._version: Version | None = None
        self._answers: dict[Hashable, Any] = {}

    def get(self, question: Hashable, ask: Callable[[], Answer]) -> Answer:
        """What `ask` says, asked once for all who put the same question between two commits. The answer is shared: who
        gets it must not change it."""
        with self._turn:
            version = self._database.version()
            if version != self._version:
                self._version, self._answers = version, {}
            if question in self._answers:
                known: Answer = self._answers[question]
                return known
        if version is None:
            return ask()
        # Asked after the version was: what it says may be newer than that, and is then forgotten at the next question.
        answer = ask()
        with self._turn:
            if version == self._version and len(self._answers) < MOST:
                self._answers[question] = answer
        return answer
